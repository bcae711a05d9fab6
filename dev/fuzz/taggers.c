// Any bytes as JSON lines: every tagger of data/taggers.c and data/classifier.c over each document.
// Spans lie in the text.
#include "fuzz.c"
#include "../../data/words.c"
#include "../../data/dedupe.c"
#include "../../data/taggers.c"
#include "../../data/classifier.c"

static void (*const tag[])(Tags *, View *) = { tag_gopher_v1, tag_gopher_v2, tag_c4_v1, tag_c4_v2,
                                               tag_pii, tag_paragraph_words, tag_not_alphanum,
                                               tag_char_length, tag_word_repetitions, tag_ngram_english,
                                               tag_ngram_document, tag_toxic, tag_nsfw };

static void fuzz_start(void) {
    tagger_options.naughty = "data/naughty_words_en.txt";
    model_files.language = "data/language.safetensors";
    model_files.toxic = "data/toxic.safetensors";
    model_files.nsfw = "data/nsfw.safetensors";
    prepare_c4(), prepare_pii(), prepare_language(), prepare_toxic(), prepare_nsfw();
}
static void fuzz(const unsigned char *data, size_t size) {
    Reader *r = reader_open(as_file(data, size));
    if (!r) return;
    r->line.json = 1, r->separator = "\n";
    View view;
    Tags tags;
    memset(&view, 0, sizeof view), memset(&tags, 0, sizeof tags);
    for (Document d; document_read(r, &d); document_free(&d)) {
        size_t chars = code_points(d.text, d.size);
        tags_clear(&tags);
        view_document(&view, &d);
        for (size_t i = 0; i < sizeof tag/sizeof *tag; i++) tags.tagger = "tagger", tag[i](&tags, &view);
        for (size_t i = 0; i < tags.tags; i++)
            if (tags.tag[i].start > tags.tag[i].end || tags.tag[i].end > chars ||
                !isfinite(tags.tag[i].score))
                abort();
    }
    view_free(&view);
    reader_close(r);
}
