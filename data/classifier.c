/*
The classifier: which language, is it toxic? One linear model of hashed n-grams, as fastText's
(Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification") without its hidden layer,
learned and used. #included by data/curate.c.

    data/curate train --features chars --out mine.safetensors languages.jsonl
    data/curate tag --taggers ngram_doc_v1 --language-model mine.safetensors ...

learns from lines {"text", "label", ...}, and then says what other text is.


A text is a sequence of units: its letters (language), or its words (toxicity). All n-grams of 1..n
units are its features. A hash gives each a bucket, and each bucket has a weight for every label. For
a text of N n-grams in the buckets b_1..b_N

    score_l = sum_i weight[b_i, l] / sqrt(N)            p = softmax(score)            loss = -log p_label

sqrt(N) makes the features a vector of length about one, whatever the length of the text: more text
is more evidence, but neighbouring n-grams overlap, so it does not count N times. Learning is plain
stochastic gradient descent,

    d loss / d weight[b_i, l] = (p_l - [l is the label]) / sqrt(N)

one text after the other in an order that the seed draws, the rate falling from --rate to 0. One
thread, sums in a fixed order, fused multiply-adds spelled out: the same text gives the same bytes,
whatever the compiler.

A model is a safetensors file with a float16 tensor for each label, one weight a bucket, named after
the features and the label: "chars4/en" [4096] is English by 1- to 4-grams of letters.

What is judged is a paragraph where the features are letters, a sentence where they are words
(DATA_SPEC 3.1, 3.6); so that is also what is learned from: a document's label is that of each of its
paragraphs, or sentences. A sentence ends after . ! or ? before white space, and with its line: not
always where BlingFire, which the reference uses, would end it.

The models beside this file, whose text dev/data/languages.py and dev/data/toxicity.py make from
Debian packages, byte for byte:

    data/curate train --out data/language.safetensors languages.jsonl
    data/curate train --features words --ngram 1 --buckets 65536 \
                      --out data/toxic.safetensors toxic.jsonl          (and nsfw)

language: 32 languages. toxic and nsfw know no more than two public word lists (e2guardian's and
WordNet's), put into harmless sentences: no person ever judged a sentence of theirs. They find listed
words; they see no insult made of others; and of 100 harmless sentences from elsewhere they score 2
or 3 above 0.4, for words share buckets. A filter to rely on needs sentences that people judged, such
as Jigsaw's, and then --features words alone: bigrams, a million buckets.
*/
#include <unicode/uchar.h>

enum { MAX_LABELS = 128, MAX_NGRAM = 8 };

typedef struct {
    int words, n;                                   // units are words, not letters; n-grams of 1..n of them
    int buckets, labels;                                    // buckets: a power of two
    char label[MAX_LABELS][32];
    float *weight;                                          // [buckets, labels]
} Classifier;

// ---- features ---------------------------------------------------------------------------------------

enum { EDGE = ' ' };                                  // the unit that stands for all there is between words

typedef struct {
    const Classifier *c;
    const char *text;
    size_t size, at;
    uint64_t hash[MAX_NGRAM + 1], last;                     // hash[k]: of the last k units
    int known, shift;                                       // hash[1..known] are of this text
} Ngrams;

// A letter in lower case; EDGE for any other code point, and for a byte that is not UTF-8.
static uint64_t letter_of(int code) {
    if (code < 128) return (code | 32) >= 'a' && (code | 32) <= 'z' ? (uint64_t)(code | 32) : EDGE;
    return u_isUAlphabetic(code) ? (uint64_t)u_tolower(code) : EDGE;
}

static uint64_t hash_step(uint64_t hash, uint64_t unit) { return (hash ^ unit)*0x9e3779b97f4a7c15u; }

// A letter, or one EDGE between words; or a word's hash; after the last an EDGE, then 0.
static uint64_t next_unit(Ngrams *g) {
    uint64_t word = 0;
    for (int length; g->at < g->size; g->at += (size_t)length) {
        uint64_t code = letter_of(utf8_decode(g->text + g->at, g->size - g->at, &length));
        if (code != EDGE && g->c->words) { word = hash_step(word, code); continue; }
        if (word) return word;
        if (code == EDGE && (g->c->words || g->last == EDGE)) continue;
        g->at += (size_t)length;
        return code;
    }
    return word ? word : g->last == EDGE ? 0 : EDGE;
}

// The buckets of the n-grams that the next unit ends; returns how many, 0 after the last unit.
static int next_ngrams(Ngrams *g, uint32_t *bucket) {
    uint64_t unit = next_unit(g);
    if (!unit) return 0;
    g->last = unit;
    g->known = imin(g->known + 1, g->c->n);
    for (int k = g->known; k > 0; k--) {
        g->hash[k] = hash_step(g->hash[k - 1], unit);
        bucket[k - 1] = (uint32_t)(g->hash[k] >> g->shift);
    }
    return g->known;
}

// Every text starts with an EDGE.
static Ngrams ngrams_of(const Classifier *c, const char *text, size_t size) {
    Ngrams g;
    memset(&g, 0, sizeof g);
    g.c = c, g.text = text, g.size = size;
    g.shift = 64 - __builtin_ctz((unsigned)c->buckets);
    g.hash[1] = hash_step(0, EDGE), g.last = EDGE, g.known = 1;
    return g;
}

// ---- the model --------------------------------------------------------------------------------------

// p[l] = the probability of each label. Returns the weight of an n-gram, 1/sqrt(N).
static float classify(double *p, const Classifier *c, const char *text, size_t size) {
    Ngrams g = ngrams_of(c, text, size);
    uint32_t bucket[MAX_NGRAM];
    float sum[MAX_LABELS] = {0};
    uint64_t n = 0;
    int labels = c->labels;
    for (int k; (k = next_ngrams(&g, bucket)) > 0; n += (uint64_t)k)
        for (int i = 0; i < k; i++) {
            const float *weight = c->weight + (size_t)bucket[i]*(size_t)labels;
            for (int l = 0; l < labels; l++) sum[l] += weight[l];
        }
    double scale = n ? 1/sqrt((double)n) : 0, most = sum[0], total = 0;
    for (int l = 1; l < labels; l++) most = sum[l] > most ? sum[l] : most;
    for (int l = 0; l < labels; l++) total += p[l] = exp(scale*(sum[l] - most));
    for (int l = 0; l < labels; l++) p[l] /= total;
    return (float)scale;
}

static int likeliest(const double *p, int labels) {
    int best = 0;
    for (int l = 1; l < labels; l++) if (p[l] > p[best]) best = l;
    return best;
}

// One step down the gradient of one text's loss. Returns the loss before it.
static double classifier_learn(Classifier *c, const char *text, size_t size, int label, double rate) {
    double p[MAX_LABELS];
    float step[MAX_LABELS], scale = classify(p, c, text, size);
    uint32_t bucket[MAX_NGRAM];
    int labels = c->labels;
    for (int l = 0; l < labels; l++) step[l] = (float)(rate*((l == label) - p[l]));
    Ngrams g = ngrams_of(c, text, size);
    for (int k; (k = next_ngrams(&g, bucket)) > 0; )
        for (int i = 0; i < k; i++) {
            float *weight = c->weight + (size_t)bucket[i]*(size_t)labels;
            for (int l = 0; l < labels; l++) weight[l] = fmaf(scale, step[l], weight[l]);
        }
    return -log(p[label] > 1e-300 ? p[label] : 1e-300);
}

// ---- what is judged ---------------------------------------------------------------------------------

// The first paragraph of [s, end) that is not blank, with its newline, or NULL.
static const char *next_paragraph(const char *s, const char *end, size_t *size) {
    for (; s < end; s += *size) {
        const char *newline = (const char *)memchr(s, '\n', (size_t)(end - s));
        *size = (size_t)((newline ? newline + 1 : end) - s);
        if (!all_python_space(s, *size)) return s;
    }
    return NULL;
}
// The first sentence, without the white space around it, or NULL.
static const char *next_sentence(const char *s, const char *end, size_t *size) {
    for (int n; s < end && (n = space_at(s)); s += n) {}
    const char *at = s, *solid = s;                         // solid: behind what is not white space
    for (int n; at < end && *at != '\n'; at += n ? n : 1) {
        n = space_at(at);
        if (n && (at[-1] == '.' || at[-1] == '!' || at[-1] == '?')) break;
        if (!n) solid = at + 1;
    }
    *size = (size_t)(solid - s);
    return *size ? s : NULL;
}
static const char *pieces_are(const Classifier *c) { return c->words ? "sentences" : "paragraphs"; }
static const char *next_piece(const Classifier *c, const char *s, const char *end, size_t *size) {
    return c->words ? next_sentence(s, end, size) : next_paragraph(s, end, size);
}

// ---- model files ------------------------------------------------------------------------------------

// The tensors of section 6's Slices, one after the other; in memory the labels of a bucket lie together.
static float *weight_at(void *model, size_t offset) {
    Classifier *c = (Classifier *)model;
    return c->weight + offset % (size_t)c->buckets*(size_t)c->labels + offset/(size_t)c->buckets;
}
static void weights_get(void *model, Space space, size_t offset, size_t count, real *host) {
    (void)space;
    for (size_t i = 0; i < count; i++) host[i] = *weight_at(model, offset + i);
}
static void weights_set(void *model, Space space, size_t offset, size_t count, const real *host) {
    (void)space;
    for (size_t i = 0; i < count; i++) *weight_at(model, offset + i) = (float)host[i];
}
static const Device classifier_device = { .name = "classifier", .get = weights_get, .set = weights_set };
static Model model_of(Classifier *c) { return (Model){ .device = &classifier_device, .handle = c }; }

static void classifier_allocate(Classifier *c) {
    c->weight = (float *)allocate((size_t)c->buckets*(size_t)c->labels, sizeof *c->weight,
                                  "the weights of a classifier");
}
static void classifier_free(Classifier *c) { release(c->weight), release(c); }

static void classifier_save(const char *path, Classifier *c) {
    Slice slice[MAX_LABELS];
    Whole *w = whole_begin(path);
    for (int l = 0; l < c->labels; l++) {
        slice[l] = (Slice){ .offset = (size_t)l*(size_t)c->buckets, .rows = c->buckets, .cols = 1 };
        snprintf(slice[l].name, sizeof slice[l].name, "%s%d/%s", c->words ? "words" : "chars", c->n,
                 c->label[l]);
    }
    safetensors_write(w->temporary, slice, c->labels, F16, model_of(c));
    whole_end(w);
}

// A label is what a tensor's name and an attribute's key can hold.
static int label_fits(const char *label) {
    size_t n = strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && n < sizeof ((Classifier *)0)->label[0] && !label[n];
}

static Classifier *classifier_load(const char *path) {
    Safetensors *st = safetensors_open(path);
    Classifier *c = (Classifier *)allocate(1, sizeof *c, path);
    CHECK(st->n >= 2 && st->n <= MAX_LABELS,
          "%s: expected a classifier of 2 to %d labels, found %d tensors", path, MAX_LABELS, st->n);
    c->labels = st->n, c->buckets = (int)zmin(st->entry[0].rows, INT32_MAX);
    for (int l = 0; l < c->labels; l++) {
        const Entry *e = &st->entry[l];
        const char *slash = strchr(e->name, '/');
        int words = !strncmp(e->name, "words", 5), n = e->name[0] ? e->name[5] - '0' : 0;
        CHECK((words || !strncmp(e->name, "chars", 5)) && n >= 1 && n <= MAX_NGRAM &&
              slash == e->name + 6 && label_fits(slash + 1),
              "%s: tensor %s: expected the name to be like chars4/en or words2/toxic; is this a "
              "classifier?", path, e->name);
        if (l == 0) c->words = words, c->n = n;
        CHECK(words == c->words && n == c->n && e->rows == (size_t)c->buckets && e->cols == 1,
              "%s: tensors %s and %s differ in features or shape; expected one weight a bucket in "
              "each", path, st->entry[0].name, e->name);
        CHECK(c->buckets >= 2 && !(c->buckets & (c->buckets - 1)),
              "%s: tensor %s has %d buckets; expected a power of two", path, e->name, c->buckets);
        strcpy(c->label[l], slash + 1);
        for (int k = 0; k < l; k++)
            CHECK(strcmp(c->label[k], c->label[l]), "%s: the label %s stands there twice", path,
                  c->label[l]);
    }
    classifier_allocate(c);
    for (int l = 0; l < c->labels; l++)
        safetensors_read(st, &st->entry[l], model_of(c), PARAMS, (size_t)l*(size_t)c->buckets);
    safetensors_close(st);
    return c;
}

// ---- taggers ----------------------------------------------------------------------------------------

// NULL: the one that lies beside this program
static struct { const char *language, *toxic, *nsfw; } model_files;
static Classifier *language_model, *toxic_model, *nsfw_model;

// A file that comes with the program, and lies beside it.
static const char *beside_curate(char *out, const char *name) {
    ssize_t n = readlink("/proc/self/exe", out, PATH - 64);
    while (n > 0 && out[n - 1] != '/') n--;
    snprintf(out + imax((int)n, 0), 64, "%s", name);
    return out;
}
static void prepare_model(Classifier **c, const char **path, const char *name, int words) {
    char beside[PATH];
    if (!*path)
        CHECK((*path = strdup(beside_curate(beside, name))),
              "not enough memory for the name of a model");
    if (!*c) *c = classifier_load(*path);
    CHECK((*c)->words == words, "%s: expected a model of %s, found one of %s", *path,
          words ? "words" : "letters", words ? "letters" : "words");
}
static void prepare_language(void) {
    prepare_model(&language_model, &model_files.language, "language.safetensors", 0);
}
static int english_label;                                   // in language_model
static void prepare_english(void) {
    prepare_language();
    for (english_label = 0; english_label < language_model->labels &&
         strcmp(language_model->label[english_label], "en"); )
        english_label++;
    CHECK(english_label < language_model->labels, "%s: expected a label en, for English, found none",
          model_files.language);
}
static void prepare_toxic(void) {
    prepare_model(&toxic_model, &model_files.toxic, "toxic.safetensors", 1);
}
static void prepare_nsfw(void) { prepare_model(&nsfw_model, &model_files.nsfw, "nsfw.safetensors", 1); }

#ifdef CLD2
int cld2_languages(const char **code, int *percent, const char *text, int size);             // data/cld2.cc
#else
static int cld2_languages(const char **code, int *percent, const char *text, int size) {
    (void)code, (void)percent, (void)text, (void)size;
    die("this program was built without CLD2: install libcld2-dev, remove data/curate and make "
        "data; or use the ngram_ taggers");
}
#endif
static void prepare_cld2(void) {                            // is it there?
    const char *code[3];
    int percent[3];
    cld2_languages(code, percent, "", 0);
}

// As the reference does, text that CLD2 refuses is shown to it again without what it refuses. (The
// reference first tries to write it in ASCII; and it takes the first letters of a language's name
// for its code: ge, sp. Here: de, es.)
static int cld2_tolerant(const char **code, int *percent, const char *text, size_t size) {
    int n = cld2_languages(code, percent, text, (int)size);
    if (n >= 0) return n;
    char *clean = (char *)allocate(size, 1, "a text without control characters");
    size_t kept = 0;
    for (size_t i = 0, length; i < size; i += length) {
        int bytes, c = utf8_decode(text + i, size - i, &bytes);
        length = (size_t)bytes;
        if (c < 32 || (c >= 127 && c < 160) || (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef))
            continue;
        memcpy(clean + kept, text + i, length), kept += length;
    }
    n = cld2_languages(code, percent, clean, (int)kept);
    release(clean);
    return imax(n, 0);
}

// p(English) of a paragraph.
static double cld2_english(const char *text, size_t size) {
    const char *code[3];
    int percent[3], n = cld2_tolerant(code, percent, text, size);
    for (int i = 0; i < n; i++) if (!strcmp(code[i], "en")) return percent[i]/100.0;
    return 0;
}
static double ngram_english(const char *text, size_t size) {
    double p[MAX_LABELS];
    classify(p, language_model, text, size);
    return p[english_label];
}

// Each paragraph, and the document [3.1]: doc_en = sum of len(paragraph) p(English) / len(document).
static void tag_english(Tags *out, View *v, double (*english_in)(const char *text, size_t size)) {
    size_t size, start = 0, chars;
    double total = 0;
    const char *from = v->text, *end = from + v->size;
    for (const char *s; (s = next_paragraph(from, end, &size)); from = s + size, start += chars) {
        double score = english_in(s, size);
        start += code_points(from, (size_t)(s - from)), chars = code_points(s, size);
        add_tag(out, "en", start, start + chars, score);
        add_tag(out, "not_en", start, start + chars, 1 - score);
        total += (double)chars*score;
    }
    add_tag(out, "doc_en", 0, v->chars, v->chars ? total/(double)v->chars : 0);
    add_tag(out, "doc_not_en", 0, v->chars, v->chars ? 1 - total/(double)v->chars : 0);
}
static void tag_cld2_english(Tags *out, View *v) { tag_english(out, v, cld2_english); }
static void tag_ngram_english(Tags *out, View *v) { tag_english(out, v, ngram_english); }

// Every language of a document: CLD2's at most three; our model's that have at least a hundredth.
static void tag_cld2_document(Tags *out, View *v) {
    const char *code[3];
    int percent[3], n = cld2_tolerant(code, percent, v->text, v->size);
    for (int i = 0; i < n; i++) add_tag(out, code[i], 0, v->chars, percent[i]/100.0);
}
static void tag_ngram_document(Tags *out, View *v) {
    double p[MAX_LABELS];
    classify(p, language_model, v->text, v->size);
    for (int l = 0; l < language_model->labels; l++)
        if (p[l] > 0.01) add_tag(out, language_model->label[l], 0, v->chars, p[l]);
}

// Every label of every sentence [3.6].
static void tag_sentences(Tags *out, View *v, const Classifier *c) {
    size_t size, start = 0, chars;
    double p[MAX_LABELS];
    const char *from = v->text, *end = from + v->size;
    for (const char *s; (s = next_sentence(from, end, &size)); from = s + size, start += chars) {
        start += code_points(from, (size_t)(s - from)), chars = code_points(s, size);
        classify(p, c, s, size);
        for (int l = 0; l < c->labels; l++) add_tag(out, c->label[l], start, start + chars, p[l]);
    }
}
static void tag_toxic(Tags *out, View *v) { tag_sentences(out, v, toxic_model); }
static void tag_nsfw(Tags *out, View *v) { tag_sentences(out, v, nsfw_model); }

// ---- curate train -----------------------------------------------------------------------------------

typedef struct {
    const char *features, *out, *on_error;
    int ngram, buckets, epochs, seed, help;
    double rate;
} TrainOptions;

typedef struct { const char *text; size_t size; int label; } Labelled;
typedef struct { Labelled *piece; size_t n, room; } Pieces;

// The documents of all the files that have a label.
static Document *read_labelled(size_t *n, Files files) {
    Document *all = NULL;
    size_t room = 0;
    for (int i = 0; i < files.n; i++) {
        Reader *r = reader_open(files.path[i]);
        if (!r) continue;
        r->line.extra[0] = "label";
        for (Document d; document_read(r, &d); ) {
            if (!d.extra[0] || !label_fits(d.extra[0])) {
                problem(d.origin, d.line,
                        "expected a string \"label\" of 1 to 31 letters, digits, - or _");
                origin_lost(d.origin);
                document_free(&d);
                continue;
            }
            all = (Document *)room_for_one(all, &room, *n, sizeof *all);
            all[(*n)++] = d;
        }
        reader_close(r);
    }
    return all;
}

// The labels in the order of the alphabet.
static void collect_labels(Classifier *c, const Document *document, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int at = 0;
        while (at < c->labels && strcmp(c->label[at], document[i].extra[0]) < 0) at++;
        if (at < c->labels && !strcmp(c->label[at], document[i].extra[0])) continue;
        CHECK(c->labels < MAX_LABELS, "more than %d labels; are these labels, or texts?", MAX_LABELS);
        memmove(c->label[at + 1], c->label[at], (size_t)(c->labels++ - at)*sizeof c->label[0]);
        strcpy(c->label[at], document[i].extra[0]);
    }
    CHECK(c->labels >= 2, "expected documents of at least two labels, found %d in %zu documents",
          c->labels, n);
}

static void add_pieces(Pieces *to, const Classifier *c, const Document *d) {
    int label = 0;
    while (strcmp(c->label[label], d->extra[0])) label++;
    size_t size;
    for (const char *s = d->text, *end = s + d->size; (s = next_piece(c, s, end, &size)); s += size) {
        to->piece = (Labelled *)room_for_one(to->piece, &to->room, to->n, sizeof *to->piece);
        to->piece[to->n++] = (Labelled){ s, size, label };
    }
}

// Each epoch in an order of its own.
static void classifier_train(Classifier *c, const Pieces *from, int epochs, double rate, int seed) {
    size_t n = from->n;
    uint32_t *order = (uint32_t *)allocate(n, sizeof *order, "an order of pieces");
    for (int epoch = 0; epoch < epochs; epoch++) {
        double loss = 0, began = seconds();
        epoch_order(order, (uint32_t)n, (uint64_t)seed + (uint64_t)epoch);
        for (size_t i = 0; i < n; i++) {
            const Labelled *p = &from->piece[order[i]];
            double done = ((double)epoch + (double)i/(double)n)/epochs;
            loss += classifier_learn(c, p->text, p->size, p->label, rate*(1 - done));
        }
        fprintf(stderr, "epoch %d of %d: loss %.4f, %.1f s\n", epoch + 1, epochs, loss/(double)n,
                seconds() - began);
    }
    release(order);
}

// What it makes of texts it has not seen.
static void print_judgement(const Classifier *c, const Pieces *of) {
    if (!of->n) {
        printf("too few documents to hold out a tenth of them: how good it is, nobody knows\n");
        return;
    }
    int labels = c->labels;
    size_t *count = (size_t *)allocate((size_t)labels*(size_t)labels, sizeof *count,
                                       "a table of errors");
    size_t right = 0;
    double p[MAX_LABELS];
    for (const Labelled *piece = of->piece; piece < of->piece + of->n; piece++) {
        classify(p, c, piece->text, piece->size);
        count[piece->label*labels + likeliest(p, labels)]++;
    }
    printf("label              held out  precision  recall  most often taken for\n");
    for (int l = 0; l < labels; l++) {
        size_t is = 0, called = 0, both = count[l*labels + l], worst = 0;
        const char *other = "";
        for (int k = 0; k < labels; k++) {
            size_t wrong = k == l ? 0 : count[l*labels + k];
            is += count[l*labels + k], called += count[k*labels + l];
            if (wrong > worst) worst = wrong, other = c->label[k];
        }
        right += both;
        double precision = called ? (double)both/(double)called : 0;
        double recall = is ? (double)both/(double)is : 0;
        printf("%-18s %8zu  %9.4f  %6.4f  %s\n", c->label[l], is, precision, recall, other);
    }
    printf("accuracy %.4f on %zu held-out %s\n", (double)right/(double)of->n, of->n, pieces_are(c));
    release(count);
}

static int train_command(int argc, char **argv) {
    TrainOptions o = { .features = "chars", .out = "classifier.safetensors", .on_error = "skip",
                       .epochs = 20, .rate = 1, .seed = 6198 };
    const Option table[] = {
        { "options", GROUP, NULL, "" },
        { "--features", TEXT, &o.features,
          "chars (letters, for languages) or words (for what is said)" },
        { "--out", TEXT, &o.out, "the model: a .safetensors file" },
        { "--ngram", WHOLE, &o.ngram, "the longest n-grams (0: 4 letters, 2 words)" },
        { "--buckets", WHOLE, &o.buckets,
          "that n-grams are hashed to: a power of two (0: 4096 for letters, 1048576 for words)" },
        { "--epochs", WHOLE, &o.epochs, "times each text is learned from" },
        { "--rate", NUMBER, &o.rate, "the first learning rate; it falls to 0" },
        { "--seed", WHOLE, &o.seed, "of the held-out tenth of the documents, and of the order" },
        FIELD_OPTIONS,
        { "--on-error", TEXT, &o.on_error,
          "skip or stop: what becomes of a document that cannot be used" },
        { "--help", FLAG, &o.help, "this text" },
    };
    int names;
    const char **file =
        command_line("curate train [options] FILES AND DIRECTORIES of documents with a \"label\": a "
                     "classifier", NULL, table, (int)(sizeof table/sizeof *table), &o.help, argc,
                     argv, &names);
    Classifier *c = (Classifier *)allocate(1, sizeof *c, "a classifier");
    choose_on_error(o.on_error);
    c->words = !strcmp(o.features, "words");
    CHECK(c->words || !strcmp(o.features, "chars"), "--features %s: expected chars or words",
          o.features);
    c->n = o.ngram ? o.ngram : c->words ? 2 : 4;
    c->buckets = o.buckets ? o.buckets : c->words ? 1 << 20 : 1 << 12;
    CHECK(c->n <= MAX_NGRAM, "--ngram %d: expected 1 to %d", c->n, MAX_NGRAM);
    CHECK(c->buckets >= 2 && !(c->buckets & (c->buckets - 1)),
          "--buckets %d: expected a power of two", c->buckets);
    CHECK(o.epochs > 0, "--epochs 0: expected at least one");

    Files files = files_named(file, names);
    check_no_input(&files, o.out), whole_check(o.out);
    size_t documents = 0;
    Pieces learned = {0}, held_out = {0};
    Document *document = read_labelled(&documents, files);
    collect_labels(c, document, documents);
    uint32_t *order = (uint32_t *)allocate(documents, sizeof *order, "an order of documents");
    epoch_order(order, (uint32_t)documents, (uint64_t)o.seed);
    for (size_t i = 0; i < documents; i++)
        add_pieces(i < documents/10 ? &held_out : &learned, c, &document[order[i]]);
    CHECK(learned.n && learned.n < UINT32_MAX, "expected text to learn from, found %zu %s",
          learned.n, pieces_are(c));
    classifier_allocate(c);
    classifier_train(c, &learned, o.epochs, o.rate, o.seed);
    classifier_save(o.out, c);
    print_judgement(c, &held_out);
    printf("%s: %d labels, %d buckets, learned from %zu %s\n", o.out, c->labels, c->buckets,
           learned.n, pieces_are(c));
    for (size_t i = 0; i < documents; i++) document_free(&document[i]);
    release(document), release(learned.piece), release(held_out.piece), release(order);
    release(file), classifier_free(c);
    return documents_finished();
}
