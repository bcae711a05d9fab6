/*
What is in a corpus: counts in the manner of WIMBD (arXiv 2310.20707; DATA_SPEC 8.2), as text, as
JSON, as a picture.

    data/stats corpus/documents                     a report on standard output
    data/stats --tokenizer tokenizer.json --json stats.json --png stats.png corpus/documents
    data/stats --attributes corpus/attributes       the scores that taggers have given (as `dolma stat`)

How it works. Documents are read in batches. The costly part, cutting a document into words,
paragraphs, tokens and so on, is done for many documents at once: that is a Sample. Then every
statistic takes the batch's samples, in the order of the documents; statistics run side by side, but
each is a plain sequential loop. So none needs a lock, or merging, and the report is the same
whatever the number of threads.

How to add one. A statistic is a struct of zeroes to begin with, a function that adds a document to
it, a function that reports it as a JSON object, and a line in the table `statistics`. The text on
standard output is that same JSON, laid out.

Memory: a batch (BATCH_BYTES of documents, some ten times that when cut up; or one document, if it is
larger), a sketch of --sketch-mb for each of the n-gram lengths, and exact tables: 21 to 43 bytes for
every distinct document, URL, paragraph, word and domain (twice that while a table grows). Identity
is a 64-bit hash: among a billion distinct texts two are taken for one with probability 0.03.
*/
#ifndef OLMO_LIBRARY                                       // dev/fuzz includes these in its own way
#define OLMO_LIBRARY
#include "../train_olmo.c"
#include "documents.c"
#endif
#include "words.c"
#include "taggers.c"

static struct {
    int top, threads, sketch_mb, exact, attributes, help;
    const char *tokenizer, *json, *png, *on_error;
} options = { .top = 20, .sketch_mb = 64, .on_error = "skip" };

static Tokenizer *tokenizer = NULL;                         // --tokenizer

// =====================================================================================================
// 1. A document, cut into pieces
// =====================================================================================================

typedef enum { CUT_DOCUMENTS, CUT_PARAGRAPHS, CUT_URLS, CUT_WORDS, CUT_SOURCES, CUT_DOMAINS,
               CUT_SUFFIXES, CUTS } Cut;
static const char *const cut_name[] = { "document", "paragraph", "url", "word", "source", "domain",
                                        "suffix" };

typedef struct { const char *text; size_t size; uint64_t hash; } Excerpt;
typedef struct { Excerpt *piece; size_t n, room; } Pieces;

typedef struct {
    Line line;                                              // its text is our copy:
    char *copy;                                             // [copy_room]
    size_t copy_room;
    int fit;                                                // for use: if not, there was a sentence
    Document d;
    Pieces cut[CUTS];                            // the document itself is one piece; absent things are none
    size_t characters, spaced_words;                        // code points; runs of anything but white space
    int *ids;                                               // [tokens] BPE, without EOS
    size_t tokens, ids_room;
    unsigned failed;                                        // Gopher rules, one bit each
    uint64_t pii[KINDS];                                    // e-mail addresses, phone numbers, IP addresses
    char host[256];
} Sample;

typedef struct { Encoder *encoder; View view; Tags tags; } Worker;   // what a thread needs to make a sample

static uint64_t hash_of(const void *bytes, size_t size) {
    uint64_t hash = XXH3_64bits(bytes, size);
    return hash ? hash : 1;                                 // 0 marks a free slot
}
static void cut_piece(Sample *s, Cut cut, const char *text, size_t size) {
    Pieces *p = &s->cut[cut];
    p->piece = (Excerpt *)room_for_one(p->piece, &p->room, p->n, sizeof *p->piece);
    p->piece[p->n++] = (Excerpt){ text, size, hash_of(text, size) };
}

// Lines that are not blank.
static void cut_paragraphs(Sample *s) {
    const char *end = s->d.text + s->d.size;
    for (const char *line = s->d.text, *next; line < end; line = next + 1) {
        next = (const char *)memchr(line, '\n', (size_t)(end - line));
        if (!next) next = end;
        int cr = next > line && next[-1] == '\r';           // CR LF ends a line as LF does
        if (!all_unicode_space(line, next))
            cut_piece(s, CUT_PARAGRAPHS, line, (size_t)(next - cr - line));
    }
}

static void cut_words(Sample *s) {
    const char *text = s->d.text, *end = text + s->d.size;
    size_t size;
    for (const char *word = text; (word = unicode_word(word, end, &size)); word += size)
        cut_piece(s, CUT_WORDS, word, size);
    s->characters = s->spaced_words = 0;
    CharClass before = SPACE, now;
    for (int length; text < end; text += length, before = now, s->characters++) {
        now = char_class(utf8_decode(text, (size_t)(end - text), &length));
        s->spaced_words += before == SPACE && now != SPACE;
    }
}

// The host name of "scheme://user@WWW.Example.org:80/path": example.org; and its suffix: .org.
// Longer than DNS allows is none.
static void cut_url(Sample *s, const char *url, size_t size) {
    cut_piece(s, CUT_URLS, url, size);
    const char *end = url + size, *host = (const char *)memmem(url, size, "://", 3);
    if (!host) return;
    host += 3;
    for (const char *c = host; c < end; c++) if (strchr("/?#", *c)) end = c;              // NUL ends it too
    for (const char *c = host; c < end; c++) if (*c == '@') host = c + 1;
    const char *colon = (const char *)memrchr(host, ':', (size_t)(end - host));
    if (colon && (size_t)(end - colon) == 1 + strspn(colon + 1, "0123456789")) end = colon;
    size_t n = (size_t)(end - host);
    if (!n || n >= sizeof s->host) return;
    for (size_t i = 0; i < n; i++)
        s->host[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] | 32 : host[i]);
    host = s->host;
    if (n > 4 && !memcmp(host, "www.", 4)) host += 4, n -= 4;
    cut_piece(s, CUT_DOMAINS, host, n);
    const char *dot = (const char *)memrchr(host, '.', n);
    if (dot && dot + 1 < host + n && (dot[1] < '0' || dot[1] > '9'))
        cut_piece(s, CUT_SUFFIXES, dot, (size_t)(host + n - dot));
}

// As data/tokenize does: of the stripped text (DATA_SPEC 6.2).
static void cut_tokens(Sample *s, Encoder *e) {
    size_t size = s->d.size;
    const char *text = strip(s->d.text, &size);
    s->tokens = encode(e, text, size);
    s->ids = (int *)with_room(s->ids, 0, s->tokens, &s->ids_room, sizeof *s->ids, "a document's tokens");
    if (s->tokens) memcpy(s->ids, e->ids, s->tokens*sizeof *s->ids);
}

// Gopher's rules: what Dolma's web filter allows (DATA_SPEC 3.2). A text too short for n-grams has
// none that fail.
static const struct { const char *type; double least, most; } gopher_rule[] = {
    { "word_count", 50, 100000 }, { "median_word_length", 3, 10 }, { "symbol_to_word_ratio", 0, 0.1 },
    { "fraction_of_words_with_alpha_character", 0.8, 1 }, { "required_word_count", 2, INFINITY },
    { "fraction_of_lines_starting_with_bullet_point", 0, 0.9 },
    { "fraction_of_lines_ending_with_ellipsis", 0, 0.3 },
    { "fraction_of_duplicate_lines", 0, 0.3 }, { "fraction_of_characters_in_duplicate_lines", 0, 0.3 },
    { "fraction_of_characters_in_most_common_2grams", 0, 0.20 },
    { "fraction_of_characters_in_most_common_3grams", 0, 0.18 },
    { "fraction_of_characters_in_most_common_4grams", 0, 0.16 },
    { "fraction_of_characters_in_duplicate_5grams", 0, 0.15 },
    { "fraction_of_characters_in_duplicate_6grams", 0, 0.14 },
    { "fraction_of_characters_in_duplicate_7grams", 0, 0.13 },
    { "fraction_of_characters_in_duplicate_8grams", 0, 0.12 },
    { "fraction_of_characters_in_duplicate_9grams", 0, 0.11 },
    { "fraction_of_characters_in_duplicate_10grams", 0, 0.10 },
};
enum { GOPHER_RULES = sizeof gopher_rule/sizeof *gopher_rule };

// What the taggers of `curate tag` say about it.
static void tag_sample(Sample *s, Worker *w) {
    Tags *t = &w->tags;
    tags_clear(t);
    view_document(&w->view, &s->d);
    t->tagger = "gopher_v1", tag_gopher_v1(t, &w->view);
    t->tagger = "pii", tag_pii(t, &w->view);
    s->failed = 0, memset(s->pii, 0, sizeof s->pii);
    for (size_t i = 0; i < t->types; i++) {
        const char *type = t->type[i].type;
        size_t tag = t->type[i].first;
        double score = t->tag[tag - 1].score;
        for (int rule = 0; rule < GOPHER_RULES; rule++)
            if (!strcmp(type, gopher_rule[rule].type) &&
                (score < gopher_rule[rule].least || score > gopher_rule[rule].most))
                s->failed |= 1u << rule;
        for (int kind = 0; kind < KINDS; kind++)
            if (!strcmp(type, pii[kind].type)) for (; tag; tag = t->tag[tag - 1].next) s->pii[kind]++;
    }
}

// All of a sample but its line, which is there already.
static void cut_document(Sample *s, Worker *w) {
    for (int cut = 0; cut < CUTS; cut++) s->cut[cut].n = 0;
    s->fit = document_parse(&s->line, &s->d);
    if (!s->fit) return;
    int url = s->d.extra[0] ? 0 : 1;
    cut_piece(s, CUT_DOCUMENTS, s->d.text, s->d.size);
    cut_piece(s, CUT_SOURCES, s->d.source, s->d.source_size);
    if (s->d.extra[url]) cut_url(s, s->d.extra[url], s->d.extra_size[url]);
    cut_paragraphs(s);
    cut_words(s);
    if (w->encoder) cut_tokens(s, w->encoder);
    tag_sample(s, w);
}

// =====================================================================================================
// 2. What statistics are made of
// =====================================================================================================

// ---- exact: hash -> count ---------------------------------------------------------------------------

typedef struct { uint64_t key, count; } Tally;              // key 0: a free slot
typedef struct { Tally *tally; size_t n, slots; } Table;    // slots: a power of two

static Tally *table_slot(const Table *t, uint64_t key) {
    size_t i = (key*0x9e3779b97f4a7c15) >> 16;
    while (t->tally[i & (t->slots - 1)].key != key && t->tally[i & (t->slots - 1)].key) i++;
    return &t->tally[i & (t->slots - 1)];
}
// The count of a key, which the caller may change.
static uint64_t *table_count(Table *t, uint64_t key) {
    if (4*t->n >= 3*t->slots) {
        Table bigger = { NULL, t->n, t->slots ? 2*t->slots : 1024 };
        bigger.tally = (Tally *)allocate(bigger.slots, sizeof(Tally), "a table of counts");
        for (size_t i = 0; i < t->slots; i++)
            if (t->tally[i].key) *table_slot(&bigger, t->tally[i].key) = t->tally[i];
        release(t->tally);
        *t = bigger;
    }
    Tally *e = table_slot(t, key);
    if (!e->key) e->key = key, t->n++;
    return &e->count;
}
static int by_count(const void *a, const void *b) {            // the largest first; equals in a fixed order
    const Tally *x = (const Tally *)a, *y = (const Tally *)b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : x->key < y->key ? -1
        : x->key > y->key;
}
static int by_key(const void *a, const void *b) {
    const Tally *x = (const Tally *)a, *y = (const Tally *)b;
    return x->key < y->key ? -1 : x->key > y->key;
}
// Its n entries, sorted: the caller's to release.
static Tally *table_sorted(const Table *t, int (*order)(const void *, const void *)) {
    Tally *sorted = (Tally *)allocate(t->n + 1, sizeof *sorted, "a sorted table");
    size_t n = 0;
    for (size_t i = 0; i < t->slots; i++) if (t->tally[i].key) sorted[n++] = t->tally[i];
    qsort(sorted, n, sizeof *sorted, order);
    return sorted;
}

// ---- approximate: a count-min sketch ----------------------------------------------------------------
// Rows of `width` cells, far fewer than there are keys. A key has one cell in each row, shared with
// other keys; its estimate is the smallest of its cells, which is never too low. Of N additions, an
// estimate is more than e N/width too high with probability e^-4 at most (Cormode and Muthukrishnan
// 2005). Conservative: adding raises only the cells that are below the new estimate, which does less
// harm to others. Cells stop at 2^32-1.

enum { SKETCH_ROWS = 4 };
typedef struct { uint32_t *cell; size_t width; } Sketch;    // [SKETCH_ROWS, width]; width: a power of two

static Sketch sketch_new(size_t bytes) {
    Sketch s = { NULL, 1 };
    while (2*s.width*SKETCH_ROWS*sizeof(uint32_t) <= bytes) s.width *= 2;
    s.cell = (uint32_t *)allocate(s.width*SKETCH_ROWS, sizeof(uint32_t), "a sketch");
    return s;
}
static uint32_t *sketch_cell(const Sketch *s, uint64_t key, int row) {
    // Kirsch and Mitzenmacher: row i looks at key + i step
    uint64_t step = (key*0x9e3779b97f4a7c15) >> 20 | 1;
    return &s->cell[(size_t)row*s->width + ((key + (uint64_t)row*step) & (s->width - 1))];
}
static void sketch_prefetch(const Sketch *s, uint64_t key) {
    for (int row = 0; row < SKETCH_ROWS; row++) __builtin_prefetch(sketch_cell(s, key, row), 1);
}
// One more of this key; returns its estimate.
static uint64_t sketch_add(Sketch *s, uint64_t key) {
    uint32_t *cell[SKETCH_ROWS], least = UINT32_MAX;
    for (int row = 0; row < SKETCH_ROWS; row++) {
        cell[row] = sketch_cell(s, key, row);
        if (*cell[row] < least) least = *cell[row];
    }
    least += least < UINT32_MAX;
    for (int row = 0; row < SKETCH_ROWS; row++) if (*cell[row] < least) *cell[row] = least;
    return least;
}
// How many keys it has seen, from the cells of one row that are still 0 ("linear counting").
static double sketch_distinct(const Sketch *s) {
    size_t zero = 0;
    for (size_t i = 0; i < s->width; i++) zero += !s->cell[i];
    return -(double)s->width*log((double)(zero ? zero : 1)/(double)s->width);
}

// ---- the --top largest counts -----------------------------------------------------------------------
// Counts only grow, and every growth is offered here: so at the end these are the largest, whatever
// came between. Of equal counts those are first that were reached first.

typedef struct { uint64_t key, count; char *text, *place; } Leader;
typedef struct { Leader *leader; int n; } Top;              // [--top], the largest first

// A key's count is now this. If that makes it a leader, its place, which the caller is to fill with
// a text; else NULL.
static Leader *top_offer(Top *t, uint64_t key, uint64_t count) {
    if (!t->leader)
        t->leader = (Leader *)allocate((size_t)options.top + 1, sizeof(Leader), "the largest counts");
    if (!options.top || (t->n == options.top && count <= t->leader[t->n - 1].count)) return NULL;
    int i = 0;
    while (i < t->n && t->leader[i].key != key) i++;
    Leader now = i < t->n ? t->leader[i] : (Leader){ key, 0, NULL, NULL };
    int is_new = i == t->n;
    if (is_new && t->n == options.top) i--, free(t->leader[i].text), free(t->leader[i].place);
    else t->n += is_new;
    now.count = count;
    for (; i > 0 && t->leader[i - 1].count < count; i--) t->leader[i] = t->leader[i - 1];
    t->leader[i] = now;
    return is_new ? &t->leader[i] : NULL;
}

static char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *format_text(const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    CHECK(vasprintf(&text, format, args) >= 0, "not enough memory for a text");
    va_end(args);
    return text;
}
// "path:line" of a document; and the beginning of a text, cut between two characters.
static char *place_of(const Document *d) {
    return format_text("%s:%llu", d->path, (unsigned long long)d->line);
}
static char *excerpt(const char *text, size_t size) {
    size_t n = zmin(size, 100);
    while (n < size && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    return format_text("%.*s%s", (int)n, text, n < size ? "…" : "");
}

// ---- JSON -------------------------------------------------------------------------------------------

static void put_count(json_t *to, const char *name, uint64_t n) {
    json_object_set_new(to, name, json_integer((json_int_t)n));
}
static void put_text(json_t *to, const char *name, const char *text) {
    json_t *string = json_string(text);
    if (!string) {                                          // a path that is not UTF-8
        char *repaired = (char *)allocate(3*strlen(text) + 1, 1, "a text");
        string = json_stringn(repaired, utf8_repair(repaired, text, strlen(text)));
        release(repaired);
    }
    json_object_set_new(to, name, string);
}
static void put_number(json_t *to, const char *name, double x) {
    json_object_set_new(to, name, json_real(x));
}
static void put_ratio(json_t *to, const char *name, double part, double whole) {
    if (whole > 0) json_object_set_new(to, name, json_real(part/whole));               // of nothing: absent
}
static json_t *put_rows(json_t *to, const char *name) {
    json_t *rows = json_array();
    json_object_set_new(to, name, rows);
    return rows;
}
static json_t *put_row(json_t *rows) {
    json_t *row = json_object();
    json_array_append_new(rows, row);
    return row;
}
static void put_top(json_t *to, const char *name, const Top *t, const char *what, uint64_t total) {
    json_t *rows = put_rows(to, name);
    for (int i = 0; i < t->n; i++) {
        json_t *row = put_row(rows);
        put_count(row, "count", t->leader[i].count);
        put_ratio(row, "share", (double)t->leader[i].count, (double)total);
        if (t->leader[i].place) put_text(row, "at", t->leader[i].place);
        put_text(row, what, t->leader[i].text);
    }
}

// =====================================================================================================
// 3. The statistics
// =====================================================================================================

// Lengths, and the weight of a group, are in tokens; without a tokenizer, in words.
static const char *unit(void) { return tokenizer ? "tokens" : "words"; }
static uint64_t units(const Sample *s) { return tokenizer ? s->tokens : s->cut[CUT_WORDS].n; }

// ---- how much ---------------------------------------------------------------------------------------

typedef struct { uint64_t documents, empty, bytes, characters, paragraphs, words, spaced_words,
                 tokens; } Size;

static void size_add(void *state, const Sample *s, int which) {
    Size *z = (Size *)state;
    (void)which;
    z->documents++, z->empty += !s->d.size, z->bytes += s->d.size;
    z->characters += s->characters, z->tokens += s->tokens;
    z->paragraphs += s->cut[CUT_PARAGRAPHS].n, z->words += s->cut[CUT_WORDS].n;
    z->spaced_words += s->spaced_words;
}
static json_t *size_report(void *state, int which) {
    const Size *z = (const Size *)state;
    json_t *out = json_object();
    (void)which;
    put_count(out, "documents", z->documents);
    put_count(out, "empty_documents", z->empty);
    put_count(out, "bytes", z->bytes);
    put_count(out, "characters", z->characters);
    put_count(out, "paragraphs", z->paragraphs);
    put_count(out, "words", z->words);
    put_count(out, "words_between_spaces", z->spaced_words);
    put_ratio(out, "bytes_per_document", (double)z->bytes, (double)z->documents);
    put_ratio(out, "bytes_per_word", (double)z->bytes, (double)z->words);
    if (!tokenizer) {
        put_text(out, "tokens", "not counted: --tokenizer FILE was not given");
        return out;
    }
    put_count(out, "tokens", z->tokens);
    put_ratio(out, "bytes_per_token", (double)z->bytes, (double)z->tokens);
    put_ratio(out, "fertility", (double)z->tokens, (double)z->words);
    put_ratio(out, "fertility_between_spaces", (double)z->tokens, (double)z->spaced_words);
    return out;
}

// ---- lengths of documents ---------------------------------------------------------------------------

// keys: length + 1
typedef struct { Table lengths; uint64_t n, sum, least, most; char *shortest, *longest; } Lengths;

static void lengths_add(void *state, const Sample *s, int which) {
    Lengths *l = (Lengths *)state;
    uint64_t length = units(s);
    (void)which;
    if (!l->n || length < l->least) l->least = length, free(l->shortest), l->shortest = place_of(&s->d);
    if (!l->n || length > l->most) l->most = length, free(l->longest), l->longest = place_of(&s->d);
    l->n++, l->sum += length;
    ++*table_count(&l->lengths, length + 1);
}
// The smallest length that at least q of all documents do not exceed.
static uint64_t lengths_quantile(const Lengths *l, const Tally *sorted, double q) {
    uint64_t seen = 0;
    for (size_t i = 0; i < l->lengths.n; i++)
        if ((double)(seen += sorted[i].count) >= q*(double)l->n) return sorted[i].key - 1;
    return 0;
}
static json_t *lengths_report(void *state, int which) {
    Lengths *l = (Lengths *)state;
    Tally *sorted = table_sorted(&l->lengths, by_key);
    json_t *out = json_object(), *rows;
    uint64_t bin[65] = { 0 };                     // bin 0: length 0; bin b: lengths from 2^(b-1) to 2^b - 1
    int first = 64, last = -1;
    (void)which;
    put_text(out, "unit", unit());
    put_count(out, "min", l->least);
    put_count(out, "median", lengths_quantile(l, sorted, 0.5));
    put_ratio(out, "mean", (double)l->sum, (double)l->n);
    put_count(out, "p99", lengths_quantile(l, sorted, 0.99));
    put_count(out, "max", l->most);
    if (l->n) put_text(out, "shortest", l->shortest), put_text(out, "longest", l->longest);
    for (size_t i = 0; i < l->lengths.n; i++) {
        uint64_t length = sorted[i].key - 1;
        int b = length ? 64 - __builtin_clzll(length) : 0;
        bin[b] += sorted[i].count, first = imin(first, b), last = imax(last, b);
    }
    rows = put_rows(out, "histogram");
    for (int b = first; b <= last; b++) {
        json_t *row = put_row(rows);
        put_count(row, "from", b ? 1ull << (b - 1) : 0);
        put_count(row, "to", b ? (1ull << (b - 1))*2 - 1 : 0);
        put_count(row, "documents", bin[b]);
        put_ratio(row, "share", (double)bin[b], (double)l->n);
    }
    release(sorted);
    return out;
}

// ---- duplicates: of documents, paragraphs, URLs -----------------------------------------------------
// Equal byte for byte. The first copy is no duplicate; all later ones are.

typedef struct { Table seen; Top top; uint64_t n, duplicates, bytes, duplicate_bytes; } Duplicates;

static void duplicates_add(void *state, const Sample *s, int cut) {
    Duplicates *d = (Duplicates *)state;
    for (size_t i = 0; i < s->cut[cut].n; i++) {
        Excerpt p = s->cut[cut].piece[i];
        uint64_t count = ++*table_count(&d->seen, p.hash);
        d->n++, d->bytes += p.size;
        if (count == 1) continue;
        d->duplicates++, d->duplicate_bytes += p.size;
        Leader *leader = top_offer(&d->top, p.hash, count);
        if (leader) leader->place = place_of(&s->d), leader->text = excerpt(p.text, p.size);
    }
}
static json_t *duplicates_report(void *state, int cut) {
    Duplicates *d = (Duplicates *)state;
    json_t *out = json_object();
    (void)cut;
    put_count(out, "total", d->n);
    put_count(out, "distinct", d->seen.n);
    put_count(out, "duplicates", d->duplicates);
    put_ratio(out, "share_of_duplicates", (double)d->duplicates, (double)d->n);
    put_ratio(out, "share_of_bytes_in_duplicates", (double)d->duplicate_bytes, (double)d->bytes);
    d->top.n = imin(d->top.n, 10);
    put_top(out, "most_duplicated", &d->top, "text", d->n);
    return out;
}

// ---- n-grams of words -------------------------------------------------------------------------------
// Within a document; case and punctuation count. In a sketch; under --exact in a table, which is as
// large as it must be.

typedef struct { Sketch sketch; Table table; Top top; uint64_t n; } Ngrams;

static uint64_t ngram_hash(const Excerpt *word, int n) {
    uint64_t hash[16];
    for (int i = 0; i < n; i++) hash[i] = word[i].hash;
    return n == 1 ? word->hash : hash_of(hash, (size_t)n*sizeof *hash);
}
static char *ngram_text(const Excerpt *word, int n) {
    char *text = excerpt(word->text, word->size);
    for (int i = 1; i < n; i++) {
        char *part = excerpt(word[i].text, word[i].size), *longer = format_text("%s %s", text, part);
        free(text), free(part);
        text = longer;
    }
    return text;
}
static void ngrams_add(void *state, const Sample *s, int n) {
    enum { AHEAD = 16 };                  // cells are fetched from memory so many n-grams before their turn
    Ngrams *g = (Ngrams *)state;
    const Excerpt *word = s->cut[CUT_WORDS].piece;
    size_t count = s->cut[CUT_WORDS].n < (size_t)n ? 0 : s->cut[CUT_WORDS].n - (size_t)n + 1;
    uint64_t hash[AHEAD];
    if (!options.exact && !g->sketch.cell) g->sketch = sketch_new((size_t)options.sketch_mb << 20);
    for (size_t i = 0; i < count + AHEAD; i++) {
        if (i >= AHEAD) {
            uint64_t key = hash[i % AHEAD];
            uint64_t times = options.exact ? ++*table_count(&g->table, key)
                : sketch_add(&g->sketch, key);
            Leader *leader = top_offer(&g->top, key, times);
            if (leader) leader->text = ngram_text(word + i - AHEAD, n);
        }
        if (i >= count) continue;
        hash[i % AHEAD] = ngram_hash(word + i, n);
        if (!options.exact) sketch_prefetch(&g->sketch, hash[i % AHEAD]);
    }
    g->n += count;
}
static json_t *ngrams_report(void *state, int n) {
    Ngrams *g = (Ngrams *)state;
    json_t *out = json_object();
    (void)n;
    put_count(out, "ngrams", g->n);
    if (options.exact) put_count(out, "distinct", g->table.n);
    else if (g->sketch.cell) {
        put_count(out, "distinct_estimated", (uint64_t)(sketch_distinct(&g->sketch) + 0.5));
        put_ratio(out, "a_count_is_too_high_by_at_most", exp(1)*(double)g->n, (double)g->sketch.width);
        put_number(out, "with_a_probability_of", 1 - exp(-SKETCH_ROWS));
    }
    put_top(out, "top", &g->top, "ngram", g->n);
    return out;
}

// ---- groups: sources, domains, suffixes of domains --------------------------------------------------

typedef struct { Table documents, weight; Top top; uint64_t n, total, without; } Groups;

static void groups_add(void *state, const Sample *s, int cut) {
    Groups *g = (Groups *)state;
    g->n++, g->total += units(s);
    if (!s->cut[cut].n) { g->without++; return; }
    Excerpt p = s->cut[cut].piece[0];
    ++*table_count(&g->documents, p.hash);
    uint64_t weight = *table_count(&g->weight, p.hash) += units(s);
    Leader *leader = top_offer(&g->top, p.hash, weight);
    if (leader) leader->text = excerpt(p.text, p.size);
}
static json_t *groups_report(void *state, int cut) {
    Groups *g = (Groups *)state;
    json_t *out = json_object(), *rows;
    put_count(out, "distinct", g->documents.n);
    put_count(out, "documents_without", g->without);
    rows = put_rows(out, "top");
    for (int i = 0; i < g->top.n; i++) {
        json_t *row = put_row(rows);
        uint64_t documents = *table_count(&g->documents, g->top.leader[i].key);
        put_count(row, "documents", documents);
        put_ratio(row, "share_of_documents", (double)documents, (double)g->n);
        put_count(row, unit(), g->top.leader[i].count);
        put_ratio(row, tokenizer ? "share_of_tokens" : "share_of_words",
                  (double)g->top.leader[i].count, (double)g->total);
        put_text(row, cut_name[cut], g->top.leader[i].text);
    }
    return out;
}

// ---- Gopher's rules ---------------------------------------------------------------------------------

typedef struct { uint64_t n, any, failed[GOPHER_RULES]; } Gopher;

static void gopher_add(void *state, const Sample *s, int which) {
    Gopher *g = (Gopher *)state;
    (void)which;
    g->n++, g->any += s->failed != 0;
    for (int rule = 0; rule < GOPHER_RULES; rule++) g->failed[rule] += s->failed >> rule & 1;
}
static json_t *gopher_report(void *state, int which) {
    const Gopher *g = (const Gopher *)state;
    json_t *out = json_object(), *rows;
    (void)which;
    put_count(out, "documents_that_fail", g->any);
    put_ratio(out, "share_that_fail", (double)g->any, (double)g->n);
    rows = put_rows(out, "rules");
    for (int rule = 0; rule < GOPHER_RULES; rule++) {
        json_t *row = put_row(rows);
        put_count(row, "documents", g->failed[rule]);
        put_ratio(row, "share", (double)g->failed[rule], (double)g->n);
        char allowed[64];
        snprintf(allowed, sizeof allowed, "%g or more", gopher_rule[rule].least);
        if (isfinite(gopher_rule[rule].most))
            snprintf(allowed, sizeof allowed, "%g to %g", gopher_rule[rule].least,
                     gopher_rule[rule].most);
        put_text(row, "allowed", allowed);
        put_text(row, "rule", gopher_rule[rule].type);
    }
    return out;
}

// ---- personal data ----------------------------------------------------------------------------------
// As Dolma's regular expressions find it (DATA_SPEC 3.5): there is some that they miss, and they
// take some numbers for others.

typedef struct { uint64_t n, units, any, many, found[KINDS], documents[KINDS]; } Personal;

static void personal_add(void *state, const Sample *s, int which) {
    Personal *p = (Personal *)state;
    uint64_t all = 0;
    (void)which;
    for (int kind = 0; kind < KINDS; kind++)
        p->found[kind] += s->pii[kind], p->documents[kind] += s->pii[kind] > 0, all += s->pii[kind];
    p->n++, p->units += units(s), p->any += all > 0, p->many += all > 5;
}
static json_t *personal_report(void *state, int which) {
    const Personal *p = (const Personal *)state;
    json_t *out = json_object(), *rows;
    (void)which;
    put_count(out, "documents_with_any", p->any);
    put_ratio(out, "share_with_any", (double)p->any, (double)p->n);
    // these Dolma drops; in others it masks the spans
    put_count(out, "documents_with_more_than_5", p->many);
    put_ratio(out, "share_with_more_than_5", (double)p->many, (double)p->n);
    rows = put_rows(out, "kinds");
    for (int kind = 0; kind < KINDS; kind++) {
        json_t *row = put_row(rows);
        put_count(row, "count", p->found[kind]);
        put_count(row, "documents", p->documents[kind]);
        put_ratio(row, tokenizer ? "per_million_tokens" : "per_million_words",
                  1e6*(double)p->found[kind], (double)p->units);
        put_text(row, "kind", pii[kind].type);
    }
    return out;
}

// ---- Zipf: how often the r-th most frequent word, or token, occurs ----------------------------------

// Some twenty points a decade are enough for a picture.
static void put_curve(json_t *to, const Tally *sorted, size_t n) {
    json_t *rows = put_rows(to, "curve");
    for (size_t rank = 1; rank <= n && sorted[rank - 1].count; rank += 1 + rank/9) {
        json_t *row = put_row(rows);
        put_count(row, "rank", rank);
        put_count(row, "count", sorted[rank - 1].count);
    }
}

typedef struct { Table words; } WordFrequency;

static void word_frequency_add(void *state, const Sample *s, int which) {
    WordFrequency *f = (WordFrequency *)state;
    (void)which;
    for (size_t i = 0; i < s->cut[CUT_WORDS].n; i++)
        ++*table_count(&f->words, s->cut[CUT_WORDS].piece[i].hash);
}
static json_t *word_frequency_report(void *state, int which) {
    WordFrequency *f = (WordFrequency *)state;
    Tally *sorted = table_sorted(&f->words, by_count);
    json_t *out = json_object();
    uint64_t once = 0;
    (void)which;
    for (size_t i = 0; i < f->words.n; i++) once += sorted[i].count == 1;
    put_count(out, "distinct_words", f->words.n);
    put_count(out, "words_that_occur_once", once);
    put_ratio(out, "share_that_occur_once", (double)once, (double)f->words.n);
    put_curve(out, sorted, f->words.n);
    release(sorted);
    return out;
}

typedef struct { uint64_t *count; } TokenFrequency;         // [vocab]

static void token_frequency_add(void *state, const Sample *s, int which) {
    TokenFrequency *f = (TokenFrequency *)state;
    (void)which;
    if (!tokenizer) return;
    if (!f->count)
        f->count = (uint64_t *)allocate((size_t)tokenizer->vocab, sizeof *f->count, "counts of tokens");
    for (size_t i = 0; i < s->tokens; i++) f->count[s->ids[i]]++;
}
// Spearman's correlation of the n ids (their order is that in which BPE's training found them) with
// their counts' ranks; ids of equal count share the mean of their ranks. sorted: by count; key: id +
// 1.
static double rank_correlation(const Tally *sorted, size_t n) {
    double mean = ((double)n + 1)/2, xy = 0, xx = 0, yy = 0;
    // count: twice the rank, so that means are whole
    Tally *rank = (Tally *)allocate(n + 1, sizeof *rank, "ranks");
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && sorted[end].count == sorted[i].count; end++) {}
        for (size_t k = i; k < end; k++) rank[k] = (Tally){ sorted[k].key, i + end + 1 };
    }
    qsort(rank, n, sizeof *rank, by_key);
    for (size_t i = 0; i < n; i++) {
        double x = (double)i + 1 - mean, y = (double)rank[i].count/2 - mean;
        xy += x*y, xx += x*x, yy += y*y;
    }
    release(rank);
    return xx > 0 && yy > 0 ? xy/sqrt(xx*yy) : 0;
}
static json_t *token_frequency_report(void *state, int which) {
    TokenFrequency *f = (TokenFrequency *)state;
    json_t *out = json_object(), *rows;
    (void)which;
    if (!tokenizer) {
        put_text(out, "tokens", "not counted: --tokenizer FILE was not given");
        return out;
    }
    size_t n = 0, used = 0;
    uint64_t total = 0;
    Tally *sorted = (Tally *)allocate((size_t)tokenizer->vocab, sizeof *sorted, "counts of tokens");
    for (int id = 0; id < tokenizer->vocab; id++) {
        if (tokenizer->size[id] < 0) continue;              // a number that no token has
        uint64_t count = f->count ? f->count[id] : 0;
        sorted[n++] = (Tally){ (uint64_t)id + 1, count };
        used += count > 0, total += count;
    }
    qsort(sorted, n, sizeof *sorted, by_count);
    put_count(out, "ids", n);
    put_count(out, "used", used);
    put_count(out, "unused", n - used);
    put_number(out, "spearman_of_id_and_rank", rank_correlation(sorted, used));
    rows = put_rows(out, "top");
    for (size_t i = 0; i < used && i < (size_t)options.top; i++) {
        int id = (int)sorted[i].key - 1;
        json_t *row = put_row(rows);
        char text[1024];
        text[utf8_repair(text, tokenizer->token[id], zmin((size_t)tokenizer->size[id], 300))] = 0;
        put_count(row, "id", (uint64_t)id);
        put_count(row, "count", sorted[i].count);
        put_ratio(row, "share", (double)sorted[i].count, (double)total);
        put_text(row, "token", text);
    }
    put_curve(out, sorted, n);
    release(sorted);
    return out;
}

// ---- the table --------------------------------------------------------------------------------------

typedef struct {
    const char *name;                                       // of its section in the report
    size_t size;                                            // of its state, which begins as zeroes
    void (*add)(void *state, const Sample *s, int which);
    json_t *(*report)(void *state, int which);
    int which;                                              // the same may serve several sections
    const char *elsewhere;                // what others found in corpora of theirs (DATA_SPEC 8.2), or NULL
} Statistic;

static const Statistic statistics[] = {
    { "size", sizeof(Size), size_add, size_report, 0,
      "fertility 1.15 (Dolma's Reddit) to 1.28 (its books), 2.45 (its code)" },
    { "document_lengths", sizeof(Lengths), lengths_add, lengths_report, 0, NULL },
    { "1-grams", sizeof(Ngrams), ngrams_add, ngrams_report, 1, NULL },
    { "2-grams", sizeof(Ngrams), ngrams_add, ngrams_report, 2, NULL },
    { "3-grams", sizeof(Ngrams), ngrams_add, ngrams_report, 3, NULL },
    { "10-grams", sizeof(Ngrams), ngrams_add, ngrams_report, 10, NULL },
    { "duplicate_documents", sizeof(Duplicates), duplicates_add, duplicates_report, CUT_DOCUMENTS,
      "about 50 % of RedPajama's and of LAION-2B-en's documents are duplicates (WIMBD)" },
    { "duplicate_paragraphs", sizeof(Duplicates), duplicates_add, duplicates_report, CUT_PARAGRAPHS,
      NULL },
    { "duplicate_urls", sizeof(Duplicates), duplicates_add, duplicates_report, CUT_URLS, NULL },
    { "sources", sizeof(Groups), groups_add, groups_report, CUT_SOURCES, NULL },
    { "domains", sizeof(Groups), groups_add, groups_report, CUT_DOMAINS,
      "Dolma's largest are patents.google.com, nature.com, frontiersin.org" },
    { "suffixes", sizeof(Groups), groups_add, groups_report, CUT_SUFFIXES,
      "63.6 % of Dolma's are .com" },
    { "personal_data", sizeof(Personal), personal_add, personal_report, 0,
      "in Dolma's web pages 0.02 % of documents have 1 to 5, 0.001 % have more (its datasheet: 0.05 "
      "%, 0.11 %)" },
    { "gopher_rules", sizeof(Gopher), gopher_add, gopher_report, 0,
      "15.23 % of the characters of Dolma's web pages fail a rule" },
    { "word_frequency", sizeof(WordFrequency), word_frequency_add, word_frequency_report, 0, NULL },
    { "token_frequency", sizeof(TokenFrequency), token_frequency_add, token_frequency_report, 0,
      "Dolma uses 50,057 of 50,280 ids; Spearman's correlation is 0.638" },
};
enum { STATISTICS = sizeof statistics/sizeof *statistics };

// =====================================================================================================
// 4. The report as text, and as a picture
// =====================================================================================================

// Text on one line, whatever it holds: a newline is \n, other control characters (C0, DEL, C1) are
// ?; quoted, if spaces are at its ends.
static void string_text(char *out, size_t room, const char *s) {
    size_t n = strlen(s), k = 0;
    int quoted = n && (s[0] == ' ' || s[n - 1] == ' ');
    if (quoted) out[k++] = '"';
    for (; *s && k + 4 < room; s++) {
        int c1 = (unsigned char)s[0] == 0xc2 && (unsigned char)s[1] < 0xa0;
        if (*s == '\n') out[k++] = '\\', out[k++] = 'n';
        else out[k++] = (unsigned char)*s < ' ' || *s == 127 || c1 ? '?' : *s;
        s += c1;
    }
    if (quoted) out[k++] = '"';
    out[k] = 0;
}
// A value as text: 12,345; 1.234; 5.600 % if its name begins with "share".
static void value_text(char *out, size_t room, const char *name, const json_t *value) {
    double x = json_number_value(value);
    if (json_is_string(value)) string_text(out, room, json_string_value(value));
    else if (!strncmp(name, "share", 5)) snprintf(out, room, "%.3f %%", 100*x);
    else if (json_is_integer(value)) with_commas(x, out);
    else snprintf(out, room, "%.5g", x);
}
static int columns_of(const char *text) { return (int)code_points(text, strlen(text)); }
// The name of a member: "bytes per token".
static const char *spaced(const char *name) {
    static char out[64];
    snprintf(out, sizeof out, "%s", name);
    for (char *c = out; *c; c++) if (*c == '_') *c = ' ';
    return out;
}

// An array of objects with the same members; numbers to the right, text to the left. Arrays within
// are for --json.
static void print_table(const json_t *rows) {
    enum { COLUMNS = 12 };
    int width[COLUMNS + 1] = { 0 }, column;
    char text[2048];
    const char *name;
    size_t i;
    json_t *row, *value;
    json_array_foreach(rows, i, row) {
        column = 0;
        json_object_foreach(row, name, value) {
            if (json_is_array(value) || column == COLUMNS) break;
            value_text(text, sizeof text, name, value);
            width[column] = imax(width[column], imax(columns_of(text), columns_of(name)));
            column++;
        }
    }
    for (int heading = 1; heading >= 0; heading--)
        json_array_foreach(rows, i, row) {
            if (heading && i) break;
            column = 0;
            printf("   ");
            json_object_foreach(row, name, value) {
                if (json_is_array(value) || column == COLUMNS) break;
                if (heading) snprintf(text, sizeof text, "%s", spaced(name));
                else value_text(text, sizeof text, name, value);
                int pad = width[column] - columns_of(text), left = json_is_string(value);
                printf(" %*s%s%*s", left ? 0 : pad, "", text, left && width[column + 1] ? pad : 0, "");
                column++;
            }
            printf("\n");
        }
}

static void print_section(const char *title, const json_t *section) {
    const char *name;
    json_t *value;
    char text[2048];
    printf("\n%s\n", spaced(title));
    json_object_foreach((json_t *)section, name, value) {
        if (!strcmp(name, "curve")) continue;               // for the picture
        if (!json_is_array(value))
            value_text(text, sizeof text, name, value), printf("  %-32s %s\n", spaced(name), text);
        else if (json_array_size(value)) printf("  %s\n", spaced(name)), print_table(value);
    }
}

// Two panels, drawn by gnuplot: the histogram of lengths; ranks and counts of words, and of tokens
// if they were counted.
static void draw(const json_t *report, const char *path) {
    const json_t *lengths = json_object_get(report, "document_lengths"), *row;
    const char *const curves[] = { "word_frequency", "token_frequency" };
    size_t i;
    Whole *w = whole_begin(path);
    CHECK(setenv("STATS_PNG", w->temporary, 1) == 0, "%s: not enough memory", path);
    signal(SIGPIPE, SIG_IGN);                               // gnuplot's failure has a sentence of its own
    FILE *plot = popen("gnuplot > \"$STATS_PNG\"", "w");
    CHECK(plot, "gnuplot cannot be started: %s", strerror(errno));
    fprintf(plot, "set terminal pngcairo size 1400,560 font 'sans,13' background rgb 'white'\n"
                  "$bins << END\n");
    json_array_foreach(json_object_get(lengths, "histogram"), i, row) {
        json_int_t from = json_integer_value(json_object_get(row, "from"));
        fprintf(plot, "%lld ", json_integer_value(json_object_get(row, "documents")));
        fprintf(plot, from < 8 ? "%lld\n" : "2^{%lld}\n",
                from < 8 ? from : 63 - __builtin_clzll((unsigned long long)from));
    }
    fprintf(plot, "END\n");
    for (int c = 0; c < 2; c++) {
        fprintf(plot, "$%s << END\n", curves[c]);
        json_array_foreach(json_object_get(json_object_get(report, curves[c]), "curve"), i, row)
            fprintf(plot, "%lld %lld\n", json_integer_value(json_object_get(row, "rank")),
                    json_integer_value(json_object_get(row, "count")));
        fprintf(plot, "END\n");
    }
    fprintf(plot, "set multiplot layout 1,2\n"
            "set border 3 linecolor rgb '#555555'\nset tics nomirror out\n"
            "set grid linecolor rgb '#dddddd' linewidth 1 linetype 1\n"
            "set title 'lengths of documents'\n"
            "set xlabel '%s (bars: from a power of two to the next)'\nset ylabel 'documents'\n"
            "set style fill solid 0.85 noborder\nset boxwidth 0.85\nset yrange [0:*]\nunset key\n"
            "plot $bins using 0:1:xtic(2) with boxes linecolor rgb '#1f5fa8'\n", unit());
    fprintf(plot, "set title 'rank and frequency'\nset xlabel 'rank'\nset ylabel 'occurrences'\n"
                  "set key top right\n"
            "set logscale xy\nset yrange [*:*]\nset xtics auto\nset format '10^{%%T}'\n"
            "plot $word_frequency using 1:2 with lines linewidth 2 linecolor rgb '#1f5fa8' title "
            "'words'%s\n", tokenizer ? ", $token_frequency using 1:2 with lines linewidth 2 "
                                       "linecolor rgb '#c8501e' title 'tokens'" : "");
    int failed = ferror(plot);
    CHECK(pclose(plot) == 0 && !failed,
          "%s: gnuplot failed, or is not installed (Debian: gnuplot-nox)", path);
    whole_end_png(w);
}

static void write_json(const json_t *report, const char *path) {
    Writer *w = writer_open(path);
    json_dump_callback(report, put_json, w, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    writer_text(w, "\n");
    writer_close(w);
}

// =====================================================================================================
// 5. The scores that taggers have given: --attributes (DATA_SPEC 1.2, 8.1)
// =====================================================================================================
// Lines {"id": ..., "attributes": {"name": [[start, end, score], ...], ...}}. Of every name two
// histograms, name/score and name/length, in buckets as `dolma stat` has them: x = m 2^e with 1/2 <=
// |m| < 1 goes to (floor(100,000 m), e). A bucket's lower end stands for its values: they differ
// from it by 1 in 50,000 at most. (The least value of all is known.)

typedef struct { char *name; Table buckets; uint64_t n; double sum, least, most; } Tracker;
// numbers: hash of a name -> its number + 1
typedef struct { Tracker *tracker; size_t n, room; Table numbers; } Trackers;

static uint64_t bucket_of(double x) {
    int e;
    int64_t m = (int64_t)floor(frexp(x, &e)*100000);
    return (uint64_t)(m + (1 << 20)) << 16 | (uint64_t)(e + (1 << 15));
}
static double bucket_start(uint64_t bucket) {
    return ldexp((double)((int64_t)(bucket >> 16) - (1 << 20))/100000,
                 (int)(bucket & 0xffff) - (1 << 15));
}

static double within_doubles(double x) { return fmin(DBL_MAX, fmax(-DBL_MAX, x)); }
static void tracker_add(Trackers *all, const char *name, const char *what, double x) {
    x = within_doubles(x);                                  // the length of a span that nobody meant
    char *full = format_text("%s/%s", name, what);
    uint64_t *number = table_count(&all->numbers, hash_of(full, strlen(full)));
    if (!*number) {
        all->tracker = (Tracker *)room_for_one(all->tracker, &all->room, all->n, sizeof *all->tracker);
        all->tracker[all->n++] = (Tracker){ .name = full, .least = x, .most = x };
        *number = all->n;
    } else free(full);
    Tracker *t = &all->tracker[*number - 1];
    t->n++, t->sum = within_doubles(t->sum + x), t->least = fmin(t->least, x);
    t->most = fmax(t->most, x);
    ++*table_count(&t->buckets, bucket_of(x));
}

// The three numbers of a span, or 0. Any numbers: `mix` asks for more.
static int read_span(const json_t *span, double number[3]) {
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(span, i);
        if (!json_is_number(value)) return 0;
        number[i] = json_number_value(value);
    }
    return json_array_size(span) == 3;
}

// A line's attributes, all of them or none: its sample is fit only if they are what they should be.
static void parse_attributes(Sample *s) {
    const char *name;
    double number[3];
    json_error_t error;
    json_t *spans, *span, *attributes;
    size_t i;
    s->fit = 0;
    memset(&s->d, 0, sizeof s->d);
    const int flags = JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;         // whole numbers of any size
    json_t *line = s->d.attributes = json_loadb(s->line.text, s->line.size, flags, &error);
    if (!line) {
        problem(s->line.origin, s->line.number, "not JSON at byte %d: %s", error.position, error.text);
        return;
    }
    attributes = json_object_get(line, "attributes");
    if (!json_is_object(attributes))
        problem(s->line.origin, s->line.number,
                "expected an object \"attributes\"; is this an attribute file?");
    else {
        s->fit = 1;
        json_object_foreach(attributes, name, spans) {
            if (!json_is_array(spans)) s->fit = 0;
            json_array_foreach(spans, i, span) if (!read_span(span, number)) s->fit = 0;
            if (!s->fit) {
                problem(s->line.origin, s->line.number,
                        "expected \"%s\" to be a list of [start, end, score]", name);
                break;
            }
        }
    }
    if (s->fit) origin_gave(s->line.origin); else document_free(&s->d);
}
static void attributes_add(void *state, const Sample *s, int which) {
    Trackers *all = (Trackers *)state;
    const char *name;
    json_t *spans;
    (void)which;
    json_object_foreach(json_object_get(s->d.attributes, "attributes"), name, spans) {
        size_t n = json_array_size(spans);
        for (size_t i = 0; i < n || i == 0; i++) {
            double number[3] = { 0, 0, 0 };                 // an empty list counts as one such span
            read_span(json_array_get(spans, i), number);
            // fastText's probabilities may exceed 1 by a little
            if (strstr(name, "__label__") && number[2] > 1) number[2] = 1;
            tracker_add(all, name, "score", number[2]);
            tracker_add(all, name, "length", number[1] - number[0]);
        }
    }
}

static int by_bucket_start(const void *a, const void *b) {
    double x = bucket_start(((const Tally *)a)->key), y = bucket_start(((const Tally *)b)->key);
    return x < y ? -1 : x > y;
}
// At most 1000 bins of equal width, or the buckets themselves if they are no more: "bins" are their
// ends, "counts" what is in them.
static void put_bins(json_t *to, const Tracker *t, const Tally *sorted) {
    size_t n = t->buckets.n, bins = zmin(n, 1000);
    json_t *counts = put_rows(to, "counts"), *ends = put_rows(to, "bins");
    double low = bucket_start(sorted[0].key), high = bucket_start(sorted[n - 1].key);
    for (size_t b = 0, i = 0; b < bins; b++) {
        double end = low + (high - low)*(double)(b + 1)/1000;
        uint64_t count = 0;
        json_array_append_new(ends, json_real(bins == n ? bucket_start(sorted[b].key)
                                              : low + (high - low)*(double)b/1000));
        if (bins == n) count = sorted[i++].count;
        else
            while (i < n && (bucket_start(sorted[i].key) < end || b + 1 == bins))
                count += sorted[i++].count;
        json_array_append_new(counts, json_integer((json_int_t)count));
    }
    json_array_append_new(ends, json_real(bins == n ? bucket_start(sorted[n - 1].key + (1 << 16))
                                          : high));
}
static json_t *attributes_report(void *state, int which) {
    Trackers *all = (Trackers *)state;
    json_t *out = json_object(), *rows = put_rows(out, "names");
    const double parts[] = { 0.01, 0.1, 0.5, 0.9, 0.99 };
    const char *const names[] = { "p1", "p10", "median", "p90", "p99" };
    (void)which;
    for (size_t k = 0; k < all->n; k++) {
        const Tracker *t = &all->tracker[k];
        Tally *sorted = table_sorted(&t->buckets, by_bucket_start);
        json_t *row = put_row(rows);
        uint64_t seen = 0;
        size_t i = 0;
        put_count(row, "total", t->n);
        put_number(row, "sum", t->sum);
        put_ratio(row, "mean", t->sum, (double)t->n);
        put_number(row, "min", t->least);
        for (size_t q = 0; q < sizeof parts/sizeof *parts; q++) {
            while (seen + sorted[i].count < parts[q]*(double)t->n) seen += sorted[i++].count;
            put_number(row, names[q], fmax(t->least, bucket_start(sorted[i].key)));
        }
        put_number(row, "max", t->most);
        put_text(row, "name", t->name);
        put_bins(row, t, sorted);
        release(sorted);
    }
    return out;
}

static const Statistic attribute_statistics[] = {
    { "attributes", sizeof(Trackers), attributes_add, attributes_report, 0, NULL },
};

// =====================================================================================================
// 6. The program
// =====================================================================================================

enum { BATCH = 4096, BATCH_BYTES = 8 << 20 };               // samples, and bytes of input, at a time

typedef struct { Files files; int at; Reader *reader; } Input;

// The next line, or piece of text, of all files, copied to the sample; 0 after the last.
static int next_sample(Input *in, Sample *s) {
    for (;;) {
        if (!in->reader) {
            if (in->at == in->files.n) return 0;
            in->reader = reader_open(in->files.path[in->at++]);
            if (in->reader)
                in->reader->line.extra[0] = "metadata.url", in->reader->line.extra[1] = "url";
            continue;
        }
        while (reader_line(in->reader)) {
            const Reader *r = in->reader;
            if (line_is_blank(&r->line)) continue;
            s->copy = (char *)with_room(s->copy, 0, r->line.size + PADDING, &s->copy_room, 1, "a line");
            memcpy(s->copy, r->line.text, r->line.size);
            s->line = r->line, s->line.text = s->copy;
            bar_add(in->reader, 0);
            return 1;
        }
        reader_close(in->reader);
        in->reader = NULL;
    }
}

// Counts all files with these statistics: the report.
static json_t *count(Input *in, const Statistic *statistic, int statistics_n) {
    static Sample sample[BATCH];
    static void *state[STATISTICS];
    static Worker *worker;                                  // [threads]
    worker = (Worker *)allocate((size_t)omp_get_max_threads(), sizeof *worker, "threads");
    for (int i = 0; tokenizer && i < omp_get_max_threads(); i++)
        worker[i].encoder = encoder_new(tokenizer);
    for (int k = 0; k < statistics_n; k++) state[k] = allocate(1, statistic[k].size, statistic[k].name);

    for (int n = -1; n; ) {
        size_t bytes = 0;
        for (n = 0; n < BATCH && bytes < BATCH_BYTES && next_sample(in, &sample[n]); n++)
            bytes += sample[n].line.size;
        #pragma omp parallel for schedule(dynamic, 1)
        for (int i = 0; i < n; i++)
            if (options.attributes) parse_attributes(&sample[i]);
            else cut_document(&sample[i], &worker[omp_get_thread_num()]);
        #pragma omp parallel for schedule(dynamic, 1)
        for (int k = 0; k < statistics_n; k++)
            for (int i = 0; i < n; i++)
                if (sample[i].fit) statistic[k].add(state[k], &sample[i], statistic[k].which);
        uint64_t fit = 0;
        for (int i = 0; i < n; i++) if (sample[i].fit) document_free(&sample[i].d), fit++;
        bar_add(NULL, fit);
    }
    json_t *report = json_object();
    for (int k = 0; k < statistics_n; k++) {
        json_t *section = statistic[k].report(state[k], statistic[k].which);
        if (statistic[k].elsewhere) put_text(section, "elsewhere", statistic[k].elsewhere);
        json_object_set_new(report, statistic[k].name, section);
    }
    return report;
}

int main(int argc, char **argv) {
    begin_program();
    const Option table[] = {
        { "what", GROUP, NULL, "" },
        { "--tokenizer", TEXT, &options.tokenizer, "tokenizer.json: counts BPE tokens as well" },
        { "--attributes", FLAG, &options.attributes,
          "the files are attribute files: the distribution of every tagger's scores and lengths" },
        READING_OPTIONS,
        { "how", GROUP, NULL, "" },
        { "--top", WHOLE, &options.top, "how many n-grams, domains and so on are listed" },
        { "--sketch-mb", WHOLE, &options.sketch_mb,
          "megabytes of the sketch that counts n-grams, one for each of n = 1, 2, 3, 10" },
        { "--exact", FLAG, &options.exact,
          "count n-grams exactly: some 30 bytes for every distinct one, instead of the sketch" },
        { "--on-error", TEXT, &options.on_error,
          "skip or stop: what to do about a document that cannot be used" },
        { "--threads", WHOLE, &options.threads, "threads (0: all); the result does not depend on it" },
        { "where to", GROUP, NULL, "" },
        { "--json", TEXT, &options.json, "the report as JSON (-: on standard output, instead of text)" },
        { "--png", TEXT, &options.png,
          "lengths, and rank-frequency curves, as a picture (needs gnuplot)" },
        { "--help", FLAG, &options.help, "this text" },
    };
    int names;
    const char **name =
        command_line("data/stats [options] FILES-OR-DIRECTORIES...      what is in a corpus", NULL,
                     table, (int)(sizeof table/sizeof *table), &options.help, argc, argv, &names);
    CHECK(options.top <= 100000, "--top %d: expected 100000 at most", options.top);
    CHECK(options.sketch_mb >= 1, "--sketch-mb 0: expected at least 1");
    if (!options.exact)
        check_memory(4.0*0x1p20*options.sketch_mb, "four sketches of --sketch-mb", "take smaller ones");
    CHECK(!options.png || !options.attributes, "--png: there is no picture of --attributes");
    choose_on_error(options.on_error);
    use_threads(options.threads);
    prepare_pii();
    if (options.tokenizer) tokenizer = tokenizer_load(options.tokenizer);
    static Input in;
    in.files = files_named(name, names);
    check_no_input(&in.files, options.json), check_no_input(&in.files, options.png);
    CHECK(!options.json || !options.png || strcmp(options.json, options.png),
          "--json and --png: expected two names, found %s twice", options.png);
    whole_check(options.json), whole_check(options.png);

    bar_begin("counting", in.files.bytes);
    json_t *report = options.attributes ? count(&in, attribute_statistics, 1)
        : count(&in, statistics, STATISTICS);
    bar_end();
    json_t *input = json_object(), *section;
    put_count(input, "files", (uint64_t)in.files.n);
    put_count(input, "bytes_of_files", in.files.bytes);
    put_count(input, "problems", problems);
    json_object_set_new(report, "input", input);

    const char *title;
    int text = !options.json || strcmp(options.json, "-");  // JSON on standard output is there alone
    if (options.json) write_json(report, options.json);
    if (text) json_object_foreach(report, title, section) print_section(title, section);
    if (options.png) draw(report, options.png);
    json_decref(report), release(name);
    return documents_finished();
}
