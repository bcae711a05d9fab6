/*
Taggers: what can be said about a document by rules. #included by data/curate.c, which lists them in a table.

A tagger reads a View, the text as rules see it, and adds tags: a type, a span of code points [start, end), a score.

    static void tag_char_length(Tags *out, View *v) { add_tag(out, "length", 0, v->chars, (double)v->chars); }

`curate tag` prints them as Dolma's attributes (DATA_SPEC 1.2), one object for each document, where a type becomes a key:
{"id": ..., "attributes": {"TAGGER__length": [[0, 321, 321]]}}. Names, definitions and scores are those of Dolma's taggers
(DATA_SPEC 3.2-3.7), down to the last bit: Python's white space, Python's lower case, Python's `re`.

One View and one Tags belong to one thread. What a tagger needs to be told or to load is in tagger_options.
*/
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static struct {
    const char *naughty;                                    // file of words and phrases for c4_v1, c4_v2; NULL: none
    const char *tokenizer;                                  // tokenizer.json for tokenizer_repetitions_v2r2
    int as_released;
} tagger_options;

// ---- tags ------------------------------------------------------------------------------------------------------------

typedef struct { size_t start, end, next; double score; } Tag;                          // next of the same type: an index + 1
typedef struct { const char *tagger, *type; size_t first, last; } TagType;              // of its tags: indices + 1
typedef struct {
    const char *tagger;                                     // the one that is speaking
    TagType *type;
    Tag *tag;
    size_t types, tags, type_room, tag_room, latest;        // latest: type that was added to
} Tags;

static void *doubled(void *array, size_t *room, size_t used, size_t size) {
    if (used < *room) return array;
    void *bigger = allocate(*room = 2*used + 64, size, "a document's tags");
    if (used) memcpy(bigger, array, used*size);
    release(array);
    return bigger;
}

// Types appear in the order in which they are first added. The strings must live as long as the program.
static void add_tag(Tags *out, const char *type, size_t start, size_t end, double score) {
    size_t t = out->latest;
    if (t >= out->types || out->type[t].tagger != out->tagger || out->type[t].type != type) {
        for (t = 0; t < out->types; t++) if (out->type[t].tagger == out->tagger && !strcmp(out->type[t].type, type)) break;
        if (t == out->types) {
            out->type = (TagType *)doubled(out->type, &out->type_room, out->types, sizeof *out->type);
            out->type[out->types++] = (TagType){ out->tagger, type, 0, 0 };
        }
        out->latest = t;
    }
    out->tag = (Tag *)doubled(out->tag, &out->tag_room, out->tags, sizeof *out->tag);
    out->tag[out->tags++] = (Tag){ start, end, 0, score };
    if (out->type[t].last) out->tag[out->type[t].last - 1].next = out->tags;
    else out->type[t].first = out->tags;
    out->type[t].last = out->tags;
}
static void tags_clear(Tags *out) { out->types = out->tags = out->latest = 0; }
static void tags_free(Tags *out) { release(out->type), release(out->tag); }

// ---- a view of the text ----------------------------------------------------------------------------------------------

typedef struct { size_t byte, size, start, chars; } LineSpan;           // without its newline; start: in code points
typedef struct { uint32_t byte, size, chars; } WordSpan;

typedef struct {
    const Document *document;                               // its other fields
    const char *text;                                       // valid UTF-8, in which even a NUL may stand
    size_t size, chars;                                     // bytes, code points
    size_t lines, words, line_room, word_room;
    LineSpan *line;                                         // [lines] text.split("\n"): one more than newlines; the last may be empty
    WordSpan *word;                                         // [words] text.split(), once view_words has been called
    int split;                                              // it has
    Encoder *encoder;                                       // of the tokenizer, if there is one
    pcre2_match_data *match;
    void *scratch[4];                                       // of the taggers, kept from document to document
    size_t scratch_room[4];
} View;

// Scratch memory, whose contents are left to the caller.
static void *view_scratch(View *v, int which, size_t bytes) {
    if (bytes <= v->scratch_room[which]) return v->scratch[which];
    release(v->scratch[which]);
    return v->scratch[which] = allocate(v->scratch_room[which] = 2*bytes, 1, "a tagger's scratch");
}

static size_t chars_of(const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) n += (text[i] & 0xc0) != 0x80;
    return n;
}

static void view_document(View *v, const Document *d) {
    v->document = d, v->text = d->text, v->size = d->size, v->lines = v->words = 0, v->split = 0, v->chars = 0;
    for (size_t at = 0; ; ) {
        const char *newline = (const char *)memchr(v->text + at, '\n', v->size - at);
        LineSpan line = { at, (newline ? (size_t)(newline - v->text) : v->size) - at, v->chars, 0 };
        line.chars = chars_of(v->text + at, line.size);
        v->line = (LineSpan *)doubled(v->line, &v->line_room, v->lines, sizeof line);
        v->line[v->lines++] = line;
        v->chars += line.chars + (newline != NULL), at += line.size + 1;
        if (!newline) return;
    }
}
static void view_free(View *v) {
    release(v->line), release(v->word), encoder_free(v->encoder);
    if (v->match) pcre2_match_data_free(v->match);
    for (int i = 0; i < 4; i++) release(v->scratch[i]);
}

// Lines are also paragraphs: with their newlines, and the last only if it is not empty.
static size_t line_end(const View *v, size_t i) { return v->line[i].start + v->line[i].chars + (i + 1 < v->lines); }
static size_t paragraphs(const View *v) { return v->lines - (v->line[v->lines - 1].size == 0); }

// The bytes of the white space at s in valid UTF-8, 0 if there is none. Python's: also U+001C to U+001F [1.3].
static inline int space_at(const char *s) {
    const unsigned char *b = (const unsigned char *)s;
    if (*b < 0x80) return *b == ' ' || (*b >= 9 && *b <= 13) || (*b >= 0x1c && *b <= 0x1f);
    switch (*b) {
    case 0xc2: return b[1] == 0x85 || b[1] == 0xa0 ? 2 : 0;
    case 0xe1: return b[1] == 0x9a && b[2] == 0x80 ? 3 : 0;                                         // U+1680
    case 0xe2: return (b[1] == 0x80 && (b[2] <= 0x8a || b[2] == 0xa8 || b[2] == 0xa9 || b[2] == 0xaf))       // U+2000-200A, 2028, 2029, 202F
                   || (b[1] == 0x81 && b[2] == 0x9f) ? 3 : 0;                                       // U+205F
    case 0xe3: return b[1] == 0x80 && b[2] == 0x80 ? 3 : 0;                                         // U+3000
    }
    return 0;
}
static int is_blank(const char *text, size_t size) {
    size_t i = 0;
    for (int n; i < size && (n = space_at(text + i)); i += (size_t)n) {}
    return i == size;
}
// The first word of [s, end) and its size, or NULL; what text.split() finds.
static const char *next_word(const char *s, const char *end, size_t *size) {
    for (int n; s < end && (n = space_at(s)); s += n) {}
    const char *word = s;
    while (s < end && !space_at(s)) s++;
    *size = (size_t)(s - word);
    return *size ? word : NULL;
}

static void view_words(View *v) {
    if (v->split) return;
    size_t size;
    for (const char *word = v->text, *end = word + v->size; (word = next_word(word, end, &size)); word += size) {
        v->word = (WordSpan *)doubled(v->word, &v->word_room, v->words, sizeof *v->word);
        v->word[v->words++] = (WordSpan){ (uint32_t)(word - v->text), (uint32_t)size, (uint32_t)chars_of(word, size) };
    }
    v->split = 1;
}
