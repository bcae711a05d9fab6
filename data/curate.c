/*
curate: Dolma's stages over files of documents, one subcommand each.

    curate tag --taggers gopher_v1,c4_v1 wiki/documents     what each document is like, beside it
    curate dedupe ...                     what has been seen before             (data/dedupe.c)
    curate decontaminate ...              what stands in evaluation text        (data/dedupe.c)
    curate mix config.json                from both to a corpus                 (data/mix.c)
    curate train ...                      a classifier for `tag`                (data/classifier.c)

Below: the table of the taggers, `tag`, and the table of the subcommands.
*/
#define OLMO_LIBRARY
#include "../train_olmo.c"
#include "documents.c"
#include "words.c"
#include "dedupe.c"
#include "taggers.c"
#include "classifier.c"
#include "mix.c"

// ---- the taggers ------------------------------------------------------------------------------------

typedef struct {
    const char *name, *about;
    void (*tag)(Tags *out, View *v);
    void (*prepare)(void);             // before the first document, on one thread: loads, compiles; or NULL
    const char *const *file;                      // the path of what it loads, once it is prepared; or NULL
} Tagger;

static const Tagger taggers[] = {
    { "gopher_v1", "words, symbols, bullets, repetition: what Gopher's rules ask for", tag_gopher_v1,
      NULL, NULL },
    { "gopher_v2", "the same, without empty lines", tag_gopher_v2, NULL, NULL },
    { "tokenizer_repetitions_v2r2",
      "what repeats three times or more: 1 to 13 tokens of --tokenizer", tag_tokenizer_repetitions,
      prepare_tokenizer, &tagger_options.tokenizer },
    { "word_repetitions_v1", "the same of 1 to 13 words; ours, where there is no tokenizer",
      tag_word_repetitions, NULL, NULL },
    { "c4_v1", "lines without final punctuation, short lines, naughty words, code", tag_c4_v1,
      prepare_c4, &tagger_options.naughty },
    { "c4_v2", "the same, but `javascript` as a part of a word counts", tag_c4_v2, prepare_c4,
      &tagger_options.naughty },
    { "pii_regex_with_counts_fast_v2", "e-mail addresses, phone numbers, IP addresses", tag_pii,
      prepare_pii, NULL },
    { "uniseg_length_paragraphs_with_empty_v1", "words in each paragraph, and minus that",
      tag_paragraph_words, NULL, NULL },
    { "not_alphanum_paragraph_v1", "paragraphs of punctuation, symbols and emoji", tag_not_alphanum,
      NULL, NULL },
    { "char_length_v1", "code points", tag_char_length, NULL, NULL },
    { "cld2_en_paragraph_with_doc_score_v2",
      "English, by the library CLD2: each paragraph, and the document", tag_cld2_english,
      prepare_cld2, NULL },
    { "cld2_doc_v2", "the document's languages, at most three, by CLD2", tag_cld2_document,
      prepare_cld2, NULL },
    { "ngram_en_paragraph_with_doc_score_v1",
      "English, by a model of ours: each paragraph, and the document", tag_ngram_english,
      prepare_english, &model_files.language },
    { "ngram_doc_v1", "the document's languages, by the same model", tag_ngram_document,
      prepare_language, &model_files.language },
    { "ngram_hatespeech_sentence_v1",
      "toxic sentences, by a small model that knows a public word list, no more", tag_toxic,
      prepare_toxic, &model_files.toxic },
    { "ngram_nsfw_sentence_v1", "obscene sentences, likewise", tag_nsfw, prepare_nsfw,
      &model_files.nsfw },
};
enum { TAGGERS = sizeof taggers/sizeof *taggers };

// ---- curate tag -------------------------------------------------------------------------------------

typedef struct {
    const char *taggers, *experiment, *name, *on_error;
    int threads, help;
    const Tagger *chosen[TAGGERS];
    int n;
} TagRun;

static void print_taggers(void) {
    printf("\ntaggers\n");
    for (int i = 0; i < TAGGERS; i++) printf("  %-39s %s\n", taggers[i].name, taggers[i].about);
}

// As released, scores have five digits.
static void write_tag(Writer *w, const Tag *tag) {
    char digits[400];
    double score = tag->score;
    if (tagger_options.as_released && score != floor(score))
        snprintf(digits, sizeof digits, "%.5f", score), score = strtod(digits, NULL);
    writer_span(w, tag->start, tag->end, score);
}

// All that one document's line says. Types in the order of the taggers, and of their first tags.
static void write_tags(Writer *w, const TagRun *run, const Document *d, const Tags *tags) {
    writer_text(w, "{\"id\":"), writer_json_string(w, d->id, d->id_size);
    writer_text(w, ",\"attributes\":{");
    for (size_t i = 0; i < tags->types; i++) {
        const TagType *type = &tags->type[i];
        writer_text(w, i ? ",\"" : "\"");
        if (run->experiment) writer_text(w, run->experiment), writer_text(w, "__");
        writer_text(w, type->tagger), writer_text(w, "__"), writer_text(w, type->type);
        writer_text(w, "\":[");
        for (size_t t = type->first; t; t = tags->tag[t - 1].next) {
            if (t != type->first) writer_text(w, ",");
            write_tag(w, &tags->tag[t - 1]);
        }
        writer_text(w, "]");
    }
    writer_text(w, "}}\n");
}

// From one file to another. Documents are read and written in order. In between all threads share
// them, if there are fewer files than threads; else each thread has a file of its own, and this one,
// number `thread`, does them alone. view: one for each thread.
enum { GROUP_OF_DOCUMENTS = 256 };
static void tag_file(const TagRun *run, View *view, int thread, const char *in, const char *out) {
    struct stat documents;
    int known = strcmp(in, "-") && !stat(in, &documents);               // its time before it is read
    Reader *r = reader_open(in);
    if (!r) return;
    Writer *w = writer_open(out);
    Document *document = (Document *)allocate(GROUP_OF_DOCUMENTS, sizeof *document, "documents");
    Tags *tags = (Tags *)allocate(GROUP_OF_DOCUMENTS, sizeof *tags, "their tags");
    for (int n = 1; n; ) {
        size_t size = 0;
        for (n = 0; n < GROUP_OF_DOCUMENTS && size < 16 << 20 && document_read(r, &document[n]); n++)
            size += document[n].size;
        #pragma omp parallel for schedule(dynamic, 1)
        for (int i = 0; i < n; i++) {
            View *v = &view[thread + omp_get_thread_num()];
            tags_clear(&tags[i]);
            view_document(v, &document[i]);
            for (int k = 0; k < run->n; k++)
                tags[i].tagger = run->chosen[k]->name, run->chosen[k]->tag(&tags[i], v);
        }
        for (int i = 0; i < n; i++)
            write_tags(w, run, &document[i], &tags[i]), document_free(&document[i]);
        bar_add(r, (uint64_t)n);
    }
    writer_close(w), reader_close(r);
    if (known) set_time_of(out, &documents);
    for (int i = 0; i < GROUP_OF_DOCUMENTS; i++) tags_free(&tags[i]);
    release(document), release(tags);
}

static void choose_taggers(TagRun *run) {
    char name[PATH];
    CHECK(run->taggers, "expected --taggers; `curate tag --help` lists them");
    for (int i = 0; list_item("--taggers", run->taggers, i, name); i++) {
        int k = 0;
        while (k < TAGGERS && strcmp(taggers[k].name, name)) k++;
        CHECK(k < TAGGERS, "--taggers: there is no tagger %s; `curate tag --help` lists them", name);
        for (int j = 0; j < run->n; j++)
            CHECK(run->chosen[j] != &taggers[k], "--taggers: %s is named twice", name);
        run->chosen[run->n++] = &taggers[k];
    }
    for (int i = 0; i < run->n; i++) if (run->chosen[i]->prepare) run->chosen[i]->prepare();
}

// An output that is whole (it has its name) is kept if it is about the file as it is now.
static int is_done(const char *in, const char *out) {
    struct stat i, o;
    return !stat(in, &i) && !stat(out, &o) && time_order(&i, &o) == 0;
}

// The command, as far as its results depend on it: {"curate": "tag", "taggers", "experiment",
// "as_released", "files": {name: hash of what is in it}}
static char *command_of(const TagRun *run) {
    json_t *files = json_object(), *json;
    for (int i = 0; i < run->n; i++) {
        const char *path = run->chosen[i]->file ? *run->chosen[i]->file : NULL;
        const char *slash = path ? strrchr(path, '/') : NULL;
        if (path)
            json_object_set_new(files, slash ? slash + 1 : path,
                                json_sprintf("%016llx", (unsigned long long)hash_file(path)));
    }
    json = json_pack("{ss ss ss sb so}", "curate", "tag", "taggers", run->taggers, "experiment",
                     run->experiment ? run->experiment : "", "as_released",
                     tagger_options.as_released, "files", files);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    CHECK(text, "--taggers, --experiment, or a file's name: expected UTF-8");
    json_decref(json);
    return text;
}

static void tag_files(const TagRun *run, Files files) {
    int threads = omp_get_max_threads(), kept = 0, n = 0;
    View *view = (View *)allocate((size_t)threads, sizeof *view, "views of texts");
    char (*out)[PATH] = (char (*)[PATH])allocate((size_t)files.n, sizeof *out,
                                                 "the names of the files"), *command = command_of(run);
    for (int i = 0; i < files.n; i++)
        if (strcmp(files.path[i], "-")) attributes_path(out[i], files.path[i], run->name);
        else strcpy(out[i], "-");
    check_different(out, files.n);
    for (int i = 0; i < files.n; i++) {
        if (strcmp(out[i], "-")) note_command(command, files.path[i], run->name);
        if (strcmp(out[i], "-") && is_done(files.path[i], out[i])) kept++;
        else memmove(out[n], out[i], PATH), files.path[n++] = files.path[i];
    }
    if (kept) fprintf(stderr, "%d of %d files were done before: kept\n", kept, files.n);
    bar_begin("tag", files_bytes(files.path, n));
    #pragma omp parallel for schedule(dynamic, 1) if (n >= threads)
    for (int i = 0; i < n; i++) tag_file(run, view, omp_get_thread_num(), files.path[i], out[i]);
    bar_end();
    for (int i = 0; i < threads; i++) view_free(&view[i]);
    release(view), release(out), free(command);
}

static int tag_command(int argc, char **argv) {
    TagRun run = { .on_error = "skip" };
    char list[PATH];
    const Option table[] = {
        { "what", GROUP, NULL, "" },
        { "--taggers", TEXT, &run.taggers, "NAME[,NAME]: see below" },
        { "--experiment", TEXT, &run.experiment, "a prefix of all keys: EXPERIMENT__TAGGER__TYPE" },
        { "--name", TEXT, &run.name,
          "of the attributes' directory (default: the experiment's, or tags)" },
        { "--naughty", TEXT, &tagger_options.naughty,
          "c4_v1, c4_v2: a file of words and phrases, or none (default: naughty_words_en.txt beside "
          "this program)" },
        { "--tokenizer", TEXT, &tagger_options.tokenizer,
          "tokenizer_repetitions_v2r2: a tokenizer.json" },
        { "--language-model", TEXT, &model_files.language,
          "ngram_en_..., ngram_doc: a model of `curate train` in place of ours; the same for ..." },
        { "--toxic-model", TEXT, &model_files.toxic, "... ngram_hatespeech_..." },
        { "--nsfw-model", TEXT, &model_files.nsfw, "... ngram_nsfw_..." },
        { "run", GROUP, NULL, "" },
        READING_OPTIONS,
        { "--as-released", FLAG, &tagger_options.as_released,
          "as the reference's files: scores of five digits, c4_v2's spans in lower-case text" },
        { "--threads", WHOLE, &run.threads, "threads (0: all); the result does not depend on it" },
        { "--on-error", TEXT, &run.on_error, "skip what cannot be read, or stop" },
        { "--help", FLAG, &run.help, "this text" },
    };
    int names;
    const char **name =
        command_line("curate tag --taggers NAME[,NAME] [options] FILES AND DIRECTORIES, or - for "
                     "standard input", print_taggers, table, (int)(sizeof table/sizeof *table),
                     &run.help, argc, argv, &names);
    choose_on_error(run.on_error);
    if (!tagger_options.naughty) tagger_options.naughty = beside_curate(list, "naughty_words_en.txt");
    if (!strcmp(tagger_options.naughty, "none")) tagger_options.naughty = NULL;
    if (run.experiment) check_name("--experiment", run.experiment);
    if (!run.name) run.name = run.experiment ? run.experiment : "tags";
    check_name("--name", run.name);
    use_threads(run.threads);
    choose_taggers(&run);
    tag_files(&run, files_named(name, names));
    release(name);
    return documents_finished();
}

// ---- the program ------------------------------------------------------------------------------------

static const struct { const char *name, *about; int (*command)(int argc, char **argv); } commands[] = {
    { "tag", "what each document is like, by rules and small models", tag_command },
    { "dedupe", "mark URLs, documents and paragraphs seen before; the last also by their n-grams",
      dedupe_command },
    { "decontaminate", "mark documents in which evaluation text stands", decontaminate_command },
    { "mix", "filter, cut and sample: from documents and attributes to a corpus", mix_command },
    { "train", "a classifier of languages, or of what is said", train_command },
};

int main(int argc, char **argv) {
#ifdef _OPENMP
    omp_set_max_active_levels(1);               // tag_file's loop runs on one thread inside tag_files' loop
#endif
    begin_program();
    int n = (int)(sizeof commands/sizeof *commands);
    for (int i = 0; argc > 1 && i < n; i++)
        if (!strcmp(argv[1], commands[i].name)) return commands[i].command(argc - 1, argv + 1);
    int help = argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    CHECK(help, "%s: expected a subcommand; curate --help lists them", argc > 1 ? argv[1] : "curate");
    printf("usage: curate SUBCOMMAND ...      curate SUBCOMMAND --help explains each\n\n");
    for (int i = 0; i < n; i++) printf("  %-15s %s\n", commands[i].name, commands[i].about);
    return finished();
}
