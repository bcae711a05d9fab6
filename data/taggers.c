/*
Taggers: what can be said about a document by rules. #included by data/curate.c, which lists them in
a table.

A tagger reads a View, the text as rules see it, and adds tags: a type, a span of code points [start,
end), a score.

    static void tag_char_length(Tags *out, View *v) { add_tag(out, "length", 0, v->chars, (double)v->chars); }

`curate tag` prints them as Dolma's attributes (DATA_SPEC 1.2), one object for each document, where a
type becomes a key: {"id": ..., "attributes": {"TAGGER__length": [[0, 321, 321]]}}. Names,
definitions and scores are those of Dolma's taggers (dev/DATA_SPEC.md; [3.2] is its section 3.2),
down to the last bit, but for what is noted: Python's white space, Python's lower case, Python's
`re`.

One View and one Tags belong to one thread. What a tagger needs to be told or to load is in
tagger_options.
*/
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static struct {
    const char *naughty;                           // file of words and phrases for c4_v1, c4_v2; NULL: none
    const char *tokenizer;                                  // tokenizer.json for tokenizer_repetitions_v2r2
    int as_released;
} tagger_options;

// ---- tags -------------------------------------------------------------------------------------------

typedef struct { size_t start, end, next; double score; } Tag;        // next of the same type: an index + 1
typedef struct { const char *tagger, *type; size_t first, last; } TagType;       // of its tags: indices + 1
typedef struct {
    const char *tagger;                                     // the one that is speaking
    TagType *type;
    Tag *tag;
    size_t types, tags, type_room, tag_room, latest;        // latest: type that was added to
} Tags;

// Types appear in the order in which they are first added. The strings must live as long as the program.
static void add_tag(Tags *out, const char *type, size_t start, size_t end, double score) {
    size_t t = out->latest;
    if (t >= out->types || out->type[t].tagger != out->tagger || out->type[t].type != type) {
        for (t = 0; t < out->types; t++)
            if (out->type[t].tagger == out->tagger && !strcmp(out->type[t].type, type)) break;
        if (t == out->types) {
            out->type = (TagType *)room_for_one(out->type, &out->type_room, out->types,
                                                sizeof *out->type);
            out->type[out->types++] = (TagType){ out->tagger, type, 0, 0 };
        }
        out->latest = t;
    }
    out->tag = (Tag *)room_for_one(out->tag, &out->tag_room, out->tags, sizeof *out->tag);
    out->tag[out->tags++] = (Tag){ start, end, 0, score };
    if (out->type[t].last) out->tag[out->type[t].last - 1].next = out->tags;
    else out->type[t].first = out->tags;
    out->type[t].last = out->tags;
}
static void tags_clear(Tags *out) { out->types = out->tags = out->latest = 0; }
static void tags_free(Tags *out) { release(out->type), release(out->tag); }

// ---- a view of the text -----------------------------------------------------------------------------

typedef struct { size_t byte, size, start, chars; } LineSpan;  // without its newline; start: in code points
typedef struct { uint32_t byte, size, chars; } WordSpan;

typedef struct {
    const Document *document;                               // its other fields
    const char *text;                                       // valid UTF-8, in which even a NUL may stand
    size_t size, chars;                                     // bytes, code points
    size_t lines, words, line_room, word_room;
    LineSpan *line;               // [lines] text.split("\n"): one more than newlines; the last may be empty
    WordSpan *word;                                 // [words] text.split(), once view_words has been called
    int split;                                              // it has
    Encoder *encoder;                                       // of the tokenizer, if there is one
    pcre2_match_data *match;
    void *scratch[4];                                      // of the taggers, kept from document to document
    size_t scratch_room[4];
} View;

// One of four scratch memories, whose contents are left to the caller. What a tagger holds at the
// same time differs in `which`.
static void *view_scratch(View *v, int which, size_t bytes) {
    if (bytes <= v->scratch_room[which]) return v->scratch[which];
    release(v->scratch[which]);
    return v->scratch[which] = allocate(v->scratch_room[which] = 2*bytes, 1, "a tagger's scratch");
}

static void view_document(View *v, const Document *d) {
    v->document = d, v->text = d->text, v->size = d->size, v->lines = v->words = 0;
    v->split = 0, v->chars = 0;
    for (size_t at = 0; ; ) {
        const char *newline = (const char *)memchr(v->text + at, '\n', v->size - at);
        LineSpan line = { at, (newline ? (size_t)(newline - v->text) : v->size) - at, v->chars, 0 };
        line.chars = code_points(v->text + at, line.size);
        v->line = (LineSpan *)room_for_one(v->line, &v->line_room, v->lines, sizeof line);
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
static size_t line_end(const View *v, size_t i) {
    return v->line[i].start + v->line[i].chars + (i + 1 < v->lines);
}
static size_t paragraphs(const View *v) { return v->lines - (v->line[v->lines - 1].size == 0); }

// The first word of [s, end) and its size, or NULL; what text.split() finds.
static const char *next_word(const char *s, const char *end, size_t *size) {
    for (int n; s < end && (n = space_at(s)); s += n) {}
    const char *word = s;
    while (s < end && (is_solid(*s) || !space_at(s))) s++;
    *size = (size_t)(s - word);
    return *size ? word : NULL;
}

static void view_words(View *v) {
    if (v->split) return;
    size_t size;
    for (const char *word = v->text, *end = word + v->size; (word = next_word(word, end, &size));
         word += size) {
        v->word = (WordSpan *)room_for_one(v->word, &v->word_room, v->words, sizeof *v->word);
        v->word[v->words++] = (WordSpan){ (uint32_t)(word - v->text), (uint32_t)size,
                                          (uint32_t)code_points(word, size) };
    }
    v->split = 1;
}

// ---- what repeats -----------------------------------------------------------------------------------

typedef struct { uint64_t key; uint32_t count; } Counter;               // key 0: a free slot
typedef struct { Counter *slot; size_t mask; } Counters;

// An empty table for n keys: open addressing, at most half full.
static Counters counters_for(View *v, size_t n) {
    Counters c = { NULL, 64 };
    while (c.mask < 2*n) c.mask *= 2;
    c.slot = (Counter *)memset(view_scratch(v, 0, c.mask*sizeof *c.slot), 0, c.mask*sizeof *c.slot);
    c.mask--;
    return c;
}
// Counts the key; returns its slot. Keys are spread here: they need not be hashes.
static uint32_t count_key(const Counters *c, uint64_t key) {
    key += !key;
    size_t i = (size_t)((key*0x9e3779b97f4a7c15u) >> 32) & c->mask;
    while (c->slot[i].key && c->slot[i].key != key) i = (i + 1) & c->mask;
    c->slot[i].key = key, c->slot[i].count++;
    return (uint32_t)i;
}

// ---- gopher_v1, gopher_v2: rules of Rae et al. 2021 [3.2] -------------------------------------------

// The length of the k-th shortest word, by bisection: the least one that more than k words do not
// exceed.
static uint32_t kth_length(const View *v, size_t k) {
    uint32_t low = 0, high = 1;
    for (size_t i = 0; i < v->words; i++) high = v->word[i].chars > high ? v->word[i].chars : high;
    while (low < high) {
        uint32_t middle = low + (high - low)/2;
        size_t within = 0;
        for (size_t i = 0; i < v->words; i++) within += v->word[i].chars <= middle;
        if (within > k) high = middle; else low = middle + 1;
    }
    return low;
}

static int has_letter(const char *word, size_t size) {
    for (size_t i = 0; i < size; i++) if ((word[i] | 32) >= 'a' && (word[i] | 32) <= 'z') return 1;
    for (size_t i = 0; i < size; ) {
        int length, code = utf8_decode(word + i, size - i, &length);
        if (char_class(code) == LETTER) return 1;
        i += (size_t)length;
    }
    return 0;
}
static int has_symbol(const char *word, size_t size) {                  // # or the ellipsis U+2026
    return memchr(word, '#', size) || (memchr(word, 0xe2, size) && memmem(word, size, "\u2026", 3));
}
static int is_required_word(const char *word, size_t size) {
    static const char *const required[] = { "the", "be", "to", "of", "and", "that", "have", "with" };
    for (size_t i = 0; size <= 4 && i < sizeof required/sizeof *required; i++)
        if (strlen(required[i]) == size && !memcmp(required[i], word, size)) return 1;
    return 0;
}

typedef struct { double top, duplicate; } Repetition;                   // fractions of characters

/*
Where n-grams of words repeat, n = 2..10. An n-gram that occurs twice is made of two (n-1)-grams that
occur twice, so each level needs to count only those, and few are left soon. gram[i] is a number for
the n-gram at word i, equal for equal ones, and 0 where it occurs once; at the next level the pair
(gram[i], gram[i+1]) is the key. So nothing is hashed but the words: 64 bits each, and two words of a
document would have to share them (by chance: 3 in 10^8 documents of a million words) to be confused.

    top        count * length of the most common n-gram / all characters        (the first of several)
    duplicate  sum of the lengths of n-grams that repeat / sum of all of them   (overlaps count each time)
*/
static void count_ngrams(Repetition *repetition, View *v) {
    // characters before word i
    size_t words = v->words, *before = (size_t *)view_scratch(v, 1, (words + 1)*sizeof *before);
    uint32_t *gram = (uint32_t *)view_scratch(v, 2, (words + 1)*sizeof *gram);
    before[0] = 0;
    for (size_t i = 0; i < words; i++) before[i + 1] = before[i] + v->word[i].chars;
    size_t candidates = words;
    for (size_t n = 1; n <= 10 && n <= words; n++) {
        size_t ngrams = words - n + 1, top = 0, most = 1, all = 0, duplicate = 0;
        Counters c = counters_for(v, candidates);
        for (size_t i = 0; i < ngrams; i++) {
            uint64_t key = n == 1 ? XXH3_64bits(v->text + v->word[i].byte, v->word[i].size)
                : (uint64_t)gram[i] << 32 | gram[i + 1];
            int possible = n == 1 || (gram[i] && gram[i + 1]);
            gram[i] = possible ? count_key(&c, key) + 1 : 0;
        }
        candidates = 0;
        for (size_t i = 0; i < ngrams; i++) {
            size_t count = gram[i] ? c.slot[gram[i] - 1].count : 1, length = before[i + n] - before[i];
            if (count > most) most = count, top = i;
            if (count > 1) duplicate += length, candidates++;
            else gram[i] = 0;
            all += length;
        }
        repetition[n].top = (double)(most*(before[top + n] - before[top]))/(double)before[words];
        repetition[n].duplicate = (double)duplicate/(double)all;
    }
}

// Lines as text.split("\n"); for v2 without empty ones, except at either end: re.split(r"\n+", text).
static void tag_gopher_lines(Tags *out, View *v, int skip_empty, size_t characters) {
    size_t lines = 0, bullets = 0, ellipses = 0, duplicates = 0, duplicate_chars = 0;
    Counters c = counters_for(v, v->lines);
    uint32_t *slot = (uint32_t *)view_scratch(v, 1, v->lines*sizeof *slot);
    size_t *chars = (size_t *)view_scratch(v, 2, v->lines*sizeof *chars);
    for (size_t i = 0; i < v->lines; i++) {
        const LineSpan *l = &v->line[i];
        const char *line = v->text + l->byte;
        if (skip_empty && !l->size && i && i + 1 < v->lines) continue;
        bullets += l->size && (*line == '*' || *line == '-');
        ellipses += l->size >= 3 && !memcmp(line + l->size - 3, "\u2026", 3);
        slot[lines] = count_key(&c, XXH3_64bits(line, l->size)), chars[lines++] = l->chars;
    }
    for (size_t i = 0; i < lines; i++)
        if (c.slot[slot[i]].count > 1) duplicates++, duplicate_chars += chars[i];
    double n = (double)lines;
    add_tag(out, "fraction_of_lines_starting_with_bullet_point", 0, v->chars, (double)bullets/n);
    add_tag(out, "fraction_of_lines_ending_with_ellipsis", 0, v->chars, (double)ellipses/n);
    add_tag(out, "fraction_of_duplicate_lines", 0, v->chars, (double)duplicates/n);
    add_tag(out, "fraction_of_characters_in_duplicate_lines", 0, v->chars,
            (double)duplicate_chars/(double)(characters ? characters : 1));
}

static void tag_gopher(Tags *out, View *v, int skip_empty_lines) {
    static const char *const top[] = { "fraction_of_characters_in_most_common_2grams",
                                       "fraction_of_characters_in_most_common_3grams",
                                       "fraction_of_characters_in_most_common_4grams" };
    static const char *const duplicate[] = { "fraction_of_characters_in_duplicate_5grams",
                                             "fraction_of_characters_in_duplicate_6grams",
                                             "fraction_of_characters_in_duplicate_7grams",
                                             "fraction_of_characters_in_duplicate_8grams",
                                             "fraction_of_characters_in_duplicate_9grams",
                                             "fraction_of_characters_in_duplicate_10grams" };
    Repetition repetition[11];
    view_words(v);
    count_ngrams(repetition, v);
    for (size_t n = 2; n <= 4 && n <= v->words; n++)
        add_tag(out, top[n - 2], 0, v->chars, repetition[n].top);
    for (size_t n = 5; n <= 10 && n <= v->words; n++)
        add_tag(out, duplicate[n - 5], 0, v->chars, repetition[n].duplicate);

    size_t characters = 0, symbols = 0, letters = 0, required = 0;
    for (size_t i = 0; i < v->words; i++) {
        const char *word = v->text + v->word[i].byte;
        size_t size = v->word[i].size;
        characters += v->word[i].chars, symbols += (size_t)has_symbol(word, size);
        letters += (size_t)has_letter(word, size), required += (size_t)is_required_word(word, size);
    }
    double words = v->words ? (double)v->words : 1;
    double median = 0;                                      // of an even number: the mean of the middle two
    if (v->words) median = ((double)kth_length(v, (v->words - 1)/2) + (double)kth_length(v, v->words/2))/2;
    add_tag(out, "character_count", 0, v->chars, (double)v->chars);
    add_tag(out, "word_count", 0, v->chars, (double)v->words);
    add_tag(out, "median_word_length", 0, v->chars, median);
    add_tag(out, "symbol_to_word_ratio", 0, v->chars, (double)symbols/words);
    add_tag(out, "fraction_of_words_with_alpha_character", 0, v->chars, (double)letters/words);
    add_tag(out, "required_word_count", 0, v->chars, (double)required);
    tag_gopher_lines(out, v, skip_empty_lines, characters);
}
static void tag_gopher_v1(Tags *out, View *v) { tag_gopher(out, v, 0); }
static void tag_gopher_v2(Tags *out, View *v) { tag_gopher(out, v, 1); }

// ---- tokenizer_repetitions_v2r2, word_repetitions_v1 [3.4] ------------------------------------------

// or a word; equal ones have equal keys. Its code points [start, end)
typedef struct { uint32_t key, start, end; } Token;
typedef struct { size_t start, end, times; } Repeat;
typedef struct { size_t times, length, sum; } Repeats;      // the most, the longest, all lengths

// of two with one start the longer, of equal ones the shorter period
static int outer_first(const void *a, const void *b) {
    const Repeat *x = (const Repeat *)a, *y = (const Repeat *)b;
    return x->start != y->start ? (x->start < y->start ? -1 : 1) : x->end != y->end
        ? (x->end > y->end ? -1 : 1)
         : (x->times < y->times) - (x->times > y->times);
}

/*
What stands three times or more in a row, with a period of at most 13 tokens. For each period p, one
pass finds the longest runs of tokens that equal the p-th before them:

    x a b a b a b a y       p = 2: a run of five. With the p tokens before it, a stretch of
                            7 = 3 periods and a half: 3 times

The reference compares whole rows of p tokens, then looks how far equality goes on at both ends; it
keeps what is there three times. That is the same: such a run has 2p tokens or more, and any 2p - 1
neighbours hold a row. Of stretches that lie in one another the outer counts, for a repeat of period
1 is one of period 2 as well.
*/
static void tag_repeats(Tags *out, View *v, const Token *token, size_t n, size_t start, Repeats *all) {
    // n/(2p + 1) for each p; 1/3 + 1/5 + ... + 1/27 < 2
    Repeat *repeat = (Repeat *)view_scratch(v, 0, (2*n + 1)*sizeof *repeat);
    size_t found = 0, covered = 0;
    for (size_t p = 1; p <= 13; p++) {
        for (size_t i = p, run = 0; i <= n; i++) {
            if (i < n && token[i].key == token[i - p].key) { run++; continue; }
            if (run >= 2*p)
                repeat[found++] = (Repeat){ token[i - run - p].start, token[i - 1].end, (run + p)/p };
            run = 0;
        }
    }
    qsort(repeat, found, sizeof *repeat, outer_first);
    for (const Repeat *r = repeat; r < repeat + found; r++) {
        size_t length = r->end - r->start;
        if (r > repeat && r->end <= covered) continue;
        covered = r->end;
        add_tag(out, "repetition", start + r->start, start + r->end, (double)r->times);
        all->times = r->times > all->times ? r->times : all->times;
        all->length = length > all->length ? length : all->length, all->sum += length;
    }
}
// nothing is said where nothing repeats
static void tag_all_repeats(Tags *out, const View *v, const Repeats *all) {
    if (!all->times) return;
    add_tag(out, "doc_max_score_repetition", 0, v->chars, (double)all->times);
    add_tag(out, "doc_max_length_repetition", 0, v->chars, (double)all->length);
    add_tag(out, "doc_frac_repetition", 0, v->chars, (double)all->sum/(double)v->chars);
}

// The same of words, which need no tokenizer file. The reference has no such tagger; one of its
// others asks a regular expression for repeated characters, which takes quadratic time.
static void tag_word_repetitions(Tags *out, View *v) {
    Repeats all = { 0, 0, 0 };
    view_words(v);
    Counters c = counters_for(v, v->words);
    Token *token = (Token *)view_scratch(v, 1, (v->words + 1)*sizeof *token);
    size_t chars = 0, byte = 0;                            // up to which the text's code points are counted
    for (size_t i = 0; i < v->words; i++) {
        const WordSpan *w = &v->word[i];
        chars += code_points(v->text + byte, w->byte - byte);
        token[i] = (Token){ count_key(&c, XXH3_64bits(v->text + w->byte, w->size)), (uint32_t)chars,
                            (uint32_t)chars + w->chars };
        chars += w->chars, byte = w->byte + w->size;
    }
    tag_repeats(out, v, token, v->words, 0, &all);
    tag_all_repeats(out, v, &all);
}

static Tokenizer *repetition_tokenizer;
static void prepare_tokenizer(void) {
    CHECK(tagger_options.tokenizer,
          "tokenizer_repetitions_v2r2 needs --tokenizer FILE, a tokenizer.json (the reference's: "
          "allenai_eleuther-ai-gpt-neox-20b-pii-special.json; data/tokenizers.sh fetches it); "
          "word_repetitions_v1 needs none");
    if (!repetition_tokenizer) repetition_tokenizer = tokenizer_load(tagger_options.tokenizer);
}

// Tokens are made of the text's normal form C. from[i]: the code point of the text that byte i of it
// comes from, where i < room. Between places that normalization does not see across, the k-th code
// point stands for the k-th of the text, or for the last. (Where a character has several marks, the
// reference's spans may begin or end one code point further on.)
static void trace_normal_form(uint32_t *from, size_t room, Encoder *e, const char *text, size_t size) {
    size_t bytes = 0, chars = 0, all = size;
    int changes = normal_form(e, text, &all) != text, length;
    for (size_t i = 0, next; i < size; i = next) {
        size_t n, last = 0, k = 0;     // one piece [i, next): its bytes in normal form, its last code point
        utf8_decode(text + i, size - i, &length);
        for (next = i + (size_t)length; changes && next < size; next += (size_t)length, last++)
            if (unorm2_hasBoundaryBefore(nfc, utf8_decode(text + next, size - next, &length))) break;
        n = next - i;
        const char *normal = changes ? normal_form(e, text + i, &n) : text + i;
        for (size_t j = 0; j < n && bytes < room; j++) {
            k += j && (normal[j] & 0xc0) != 0x80;
            from[bytes++] = (uint32_t)(chars + (k < last ? k : last));
        }
        chars += last + 1;
    }
    while (bytes < room) from[bytes++] = (uint32_t)chars - 1;
}

// Each 100,000 code points by themselves. As in the reference, spaces at a token's ends do not
// belong to its span.
static void tag_tokenizer_repetitions(Tags *out, View *v) {
    Repeats all = { 0, 0, 0 };
    if (!v->encoder) v->encoder = encoder_new(repetition_tokenizer);
    const Tokenizer *t = v->encoder->t;
    for (size_t byte = 0, start = 0, size, chars; byte < v->size; byte += size, start += chars) {
        const char *text = v->text + byte;
        int length;
        for (size = chars = 0; byte + size < v->size && chars < 100000; size += (size_t)length, chars++)
            utf8_decode(text + size, v->size - byte - size, &length);
        // normal form C has at most three times the bytes
        uint32_t *from = (uint32_t *)view_scratch(v, 1, 3*size*sizeof *from);
        trace_normal_form(from, 3*size, v->encoder, text, size);
        size_t tokens = encode(v->encoder, text, size), at = 0;
        Token *token = (Token *)view_scratch(v, 2, tokens*sizeof *token);
        for (size_t i = 0; i < tokens; i++) {
            int id = v->encoder->ids[i];
            size_t first = 0, n = (size_t)t->size[id], last = n - 1;
            while (first < n && t->token[id][first] == ' ') first++;
            while (last > first && t->token[id][last] == ' ') last--;
            uint32_t end = from[at + last] + 1;
            token[i] = (Token){ (uint32_t)id, first < n ? from[at + first] : end, end };
            at += n;
        }
        tag_repeats(out, v, token, tokens, start, &all);
    }
    tag_all_repeats(out, v, &all);
}

// ---- c4_v1, c4_v2: rules of Raffel et al. 2020 [3.3] ------------------------------------------------

// The bytes of the ASCII text at the beginning.
static size_t ascii_run(const char *text, size_t size) {
    size_t n = 0;
    for (uint64_t eight; n + 8 <= size && (memcpy(&eight, text + n, 8),
                                           !(eight & 0x8080808080808080u)); n += 8) {}
    while (n < size && !(text[n] & 0x80)) n++;
    return n;
}
// The text in lower case, as str.lower() (but for the sigma at the end of a Greek word); out: room
// for 2*size bytes. Only U+0130 becomes two code points.
static size_t lower_case(char *out, const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; ) {
        size_t run = ascii_run(text + i, size - i);
        for (size_t k = 0; k < run; k++)
            out[n + k] = (char)(text[i + k] | (text[i + k] >= 'A' && text[i + k] <= 'Z') << 5);
        n += run, i += run;
        for (int length; i < size && text[i] & 0x80; i += (size_t)length) {
            int code = utf8_decode(text + i, size - i, &length);
            if (code == 0x130) memcpy(out + n, "i\u0307", 3), n += 3;
            else n += (size_t)utf8_encode(out + n, u_tolower(code));
        }
    }
    return n;
}

// The naughty words and phrases, from a file with one on a line. A word counts where it stands
// alone; a phrase, which has a space, anywhere: so it is looked for around the spaces behind words.
// A table tells which of them have the key of a place.
// space: where its first one is; 0 in a word
typedef struct { const char *text; size_t size, space; uint32_t key, next; } Phrase;
// first, next: an index + 1; 0: there is none
static struct { Phrase *item; uint32_t n, first[2048]; } naughty;

// By what an item must have in common with the text: its first two bytes, its last, its size; of a
// phrase the bytes around the space.
static uint32_t word_key(const char *word, size_t size) {
    uint32_t first = (unsigned char)word[0], second = (unsigned char)word[size > 1];
    uint32_t last = (unsigned char)word[size - 1];
    return (first | second << 8 | last << 16 | (uint32_t)size << 24)*0x9e3779b1u;
}
static uint32_t phrase_key(const char *space) {
    return ((uint32_t)(unsigned char)space[-1] << 8 | (unsigned char)space[1])*0x9e3779b1u;
}

static void prepare_c4(void) {
    if (naughty.n || !tagger_options.naughty) return;
    uint64_t size;
    FILE *file = open_to_read(tagger_options.naughty, &size);
    CHECK(size < 1 << 20, "%s: expected a list of words of less than 1 MB", tagger_options.naughty);
    char *list = (char *)allocate(size + 1, 1, "a list of words");
    char *text = (char *)allocate(2*size + 1, 1, "a list of words");
    CHECK(fread(list, 1, size, file) == size, "%s: cannot be read", tagger_options.naughty);
    fclose(file);
    CHECK(utf8_valid(list, size) == size && strlen(list) == size,
          "%s: expected UTF-8, without a NUL", tagger_options.naughty);
    lower_case(text, list, size), release(list);
    size_t room = 0;
    for (char *line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        const char *space = strchr(line, ' ');
        Phrase p = { line, strlen(line), space ? (size_t)(space - line) : 0, 0, 0 };
        if (*line == '#') continue;                         // whose list it is, and its licence
        CHECK(*line != ' ' && line[p.size - 1] != ' ', "%s: \"%s\" begins or ends with a space",
              tagger_options.naughty, line);
        p.key = space ? phrase_key(space) : word_key(line, p.size);
        p.next = naughty.first[p.key >> 21];
        naughty.item = (Phrase *)room_for_one(naughty.item, &room, naughty.n, sizeof p);
        naughty.item[naughty.n++] = p;
        naughty.first[p.key >> 21] = naughty.n;
    }
    CHECK(naughty.n, "%s: expected words or phrases, one on a line, found none", tagger_options.naughty);
}

// Does an item with this key stand in [text, end)? at: where its first space would be; of a word,
// its beginning.
static int is_naughty(uint32_t key, const char *text, const char *at, const char *end) {
    for (uint32_t i = naughty.first[key >> 21]; i; i = naughty.item[i - 1].next) {
        const Phrase *p = &naughty.item[i - 1];
        size_t left = (size_t)(end - at), wanted = p->size - p->space;
        int fits = p->space ? p->space <= (size_t)(at - text) && wanted <= left : wanted == left;
        if (p->key == key && fits && !memcmp(at - p->space, p->text, p->size)) return 1;
    }
    return 0;
}

static size_t occurrences(const char *text, size_t size, const char *what) {
    size_t n = 0, m = strlen(what);
    for (const char *s = text, *end = text + size;
         (s = (const char *)memmem(s, (size_t)(end - s), what, m)); s += m)
        n++;
    return n;
}

// The last byte before the white space at a line's end, or NULL.
static const char *last_solid(const char *line, const char *end) {
    while (end > line) {
        const char *last = end - 1;
        if (is_solid(*last) && !(*last & 0x80)) return last;
        while (last > line && (*last & 0xc0) == 0x80) last--;
        if (!space_at(last)) return end - 1;
        end = last;
    }
    return NULL;
}

// Lines that do not end a sentence, or have fewer than three words. As released, c4_v2's spans are
// of the lower-case text, in which every U+0130 before them is two code points.
static void tag_c4_lines(Tags *out, View *v, int v2) {
    size_t size, wider = 0;
    for (size_t i = 0; i < v->lines; i++) {
        const char *line = v->text + v->line[i].byte, *end = line + v->line[i].size;
        const char *last = last_solid(line, end);
        size_t words = 0, start = v->line[i].start + wider;
        for (const char *word = line; words < 3 && (word = next_word(word, end, &size)); word += size)
            words++;
        if (v2 && tagger_options.as_released) wider += occurrences(line, v->line[i].size, "\u0130");
        if (!last || !strchr(".?!\"", *last) || !*last)
            add_tag(out, "lines_with_no_ending_punctuation", start, line_end(v, i) + wider, 1);
        if (words < 3) add_tag(out, "lines_with_too_few_words", start, line_end(v, i) + wider, 1);
    }
}

// v1 wants `javascript` to be a word, v2 only a part of one.
static void tag_c4(Tags *out, View *v, int v2) {
    char *lower = (char *)view_scratch(v, 3, 2*v->size + 1);
    size_t size = lower_case(lower, v->text, v->size), length;
    const char *end = lower + size;
    int javascript = v2 && memmem(lower, size, "javascript", 10), naughty_word = 0;
    for (const char *word = lower; (word = next_word(word, end, &length)); word += length) {
        javascript |= length == 10 && !memcmp(word, "javascript", 10);
        if (naughty_word) continue;
        naughty_word = is_naughty(word_key(word, length), word, word, word + length) ||
                       (word + length + 1 < end && word[length] == ' ' &&
                        is_naughty(phrase_key(word + length), lower, word + length, end));
    }
    tag_c4_lines(out, v, v2);
    if (naughty_word) add_tag(out, "has_naughty_word", 0, v->chars, 1);
    if (javascript) add_tag(out, "has_javascript", 0, v->chars, 1);
    if (memmem(lower, size, "lorem ipsum", 11)) add_tag(out, "has_lorem_ipsum", 0, v->chars, 1);
    if (memchr(v->text, '{', v->size)) add_tag(out, "has_curly_brace", 0, v->chars, 1);
    add_tag(out, "line_count", 0, v->chars, (double)v->lines);
}
static void tag_c4_v1(Tags *out, View *v) { tag_c4(out, v, 0); }
static void tag_c4_v2(Tags *out, View *v) { tag_c4(out, v, 1); }

// ---- pii_regex_with_counts_fast_v2 [3.5] ------------------------------------------------------------

// The reference's patterns; its white space spelled out, because PCRE2's own \s is another [1.3]. A
// run of white space is searched from its beginning alone: what it finds there is what it would find
// from within.
#define S "\\x09-\\x0d\\x1c-\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}" \
          "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define OCTET "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
typedef enum { EMAIL, PHONE, IP, KINDS } Pii;
static const struct { const char *type, *pattern; } pii[KINDS] = {
    { "EMAIL_ADDRESS", NULL },                              // by hand: next_address
    { "PHONE_NUMBER", "(?<![" S "])[" S "]++\\(?(\\d{3})\\)?[-. ]*(\\d{3})[-. ]?(\\d{4})" },
    { "IP_ADDRESS", "(?:" OCTET "\\.){3}" OCTET },
};
#undef S
#undef OCTET
static pcre2_code *pii_code[KINDS];
static pcre2_match_context *pii_limits;

static void prepare_pii(void) {
    pii_limits = pcre2_match_context_create(NULL);
    CHECK(pii_limits, "not enough memory for regular expressions");
    // steps of one search: twice PCRE2's own limit, some tenths of a second
    pcre2_set_match_limit(pii_limits, 20000000);
    for (int k = PHONE; k < KINDS; k++) {
        int error;
        size_t at;
        pii_code[k] = pcre2_compile((PCRE2_SPTR)pii[k].pattern, PCRE2_ZERO_TERMINATED,
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &at, NULL);
        CHECK(pii_code[k], "PCRE2 cannot compile %s: error %d at byte %zu", pii[k].pattern, error, at);
        pcre2_jit_compile(pii_code[k], PCRE2_JIT_COMPLETE);          // where there is no JIT, it interprets
    }
}

/*
E-mail addresses. The reference's pattern is, with W for white space and M for the marks . @ , ? ! ;
: ) (

    [WM]* ( [^W@]+ @ ([^WM]|[.])+? ) [WM]? W               the outer group is the address

which takes a regular expression's engine quadratic time where a text has no break, or nothing else.
By hand it is linear, for what comes behind an @ does not depend on what is before it: each @ has one
end, or none. The first @ that has one, and a name before it, gives the match its beginning, all
marks and white space before the name; of those @ that this run of marks reaches, the last one that
has an end is the match, as the engine is greedy.
*/
typedef struct { size_t start, name, domain_end, end; } Address;        // bytes: the match is [start, end)

static int is_mark(char c) {
    switch (c) {
        case '@': case '.': case ',': case '?': case '!': case ';': case ':': case ')': case '(': return 1;
    }
    return 0;
}
// The bytes of white space, or of a mark, at s; 0 if there is neither.
static int break_at(const char *s) { return is_mark(*s) ? 1 : space_at(s); }
static size_t char_before(const char *text, size_t at) {
    do at--; while (at && (text[at] & 0xc0) == 0x80);
    return at;
}
// Where the name before an @ begins, at `from` or later.
static size_t name_before(const char *text, size_t from, size_t at) {
    for (size_t before; at > from; at = before) {
        before = char_before(text, at);
        if (text[before] == '@' || space_at(text + before)) break;
    }
    return at;
}
// The ends of the domain behind the @ at `at`, and of the match; or 0.
static int domain_ends(Address *a, const char *text, size_t at, size_t size) {
    size_t end = at + 1;
    while (end < size && (text[end] == '.' || !break_at(text + end))) end++;
    if (end == at + 1 || end == size) return 0;
    int space = space_at(text + end);
    int dot = space && text[end - 1] == '.' && end - 1 > at + 1;        // of a sentence
    size_t next = end + (size_t)(space ? space : 1);
    int more = !dot && next < size ? space_at(text + next) : 0;
    a->domain_end = end - (size_t)dot, a->end = next + (size_t)more;
    return space || more;
}
// The next match in [from, size): 1, or 0 if there is none.
static int next_address(Address *a, const char *text, size_t from, size_t size) {
    const char *found;
    size_t at = from, marks_end, name = 0;
    for (;; at++) {                                         // the first @ with a name and an end
        if (at >= size || !(found = (const char *)memchr(text + at, '@', size - at))) return 0;
        at = (size_t)(found - text), name = name_before(text, from, at);
        if (name < at && domain_ends(a, text, at, size)) break;
    }
    a->start = marks_end = name;
    for (size_t before; a->start > from; a->start = before) {
        before = char_before(text, a->start);
        if (!break_at(text + before)) break;
    }
    for (int n; marks_end < size && (n = break_at(text + marks_end)); marks_end += (size_t)n) {}
    for (size_t later = at; later < marks_end; ) {          // later ones that the marks reach
        Address other;
        size_t behind = later + 1;
        if (!(found = (const char *)memchr(text + behind, '@', size - behind))) break;
        later = (size_t)(found - text);
        size_t other_name = name_before(text, behind, later);
        if (other_name > marks_end) break;
        if (other_name == later || !domain_ends(&other, text, later, size)) continue;
        at = later, a->domain_end = other.domain_end, a->end = other.end;
    }
    a->name = zmin(marks_end, at - 1);
    return 1;
}
// A domain has a dot, and a name is not just a parenthesis.
static int is_email(const char *address, size_t size) {
    const char *at = (const char *)memchr(address, '@', size);
    return !(at == address + 1 && *address == '(') && memchr(at, '.', size - (size_t)(at - address));
}

// The kinds, 1 << EMAIL and so on, for which a paragraph has what a match cannot do without. A byte
// above 0xbf may begin a digit.
static unsigned possible_pii(const char *text, size_t size) {
    size_t dots = 0, digits = 0;
    for (size_t i = 0, n; i < size; i += n) {
        // of 255 bytes: so that the compiler counts 32 at a time
        unsigned char some_dots = 0, some_digits = 0;
        n = zmin(size - i, 255);
        for (size_t k = i; k < i + n; k++) {
            unsigned char b = (unsigned char)text[k];
            some_dots += b == '.', some_digits += ((unsigned char)(b - '0') < 10) | (b > 0xbf);
        }
        dots += some_dots, digits += some_digits;
    }
    unsigned email = memchr(text, '@', size) != NULL, phone = digits >= 10, ip = dots >= 3 && digits >= 4;
    return email << EMAIL | phone << PHONE | ip << IP;
}

// The next match of a kind in [from, size), [*start, *end): 1; or 0 if there is none.
static int next_pii(View *v, Pii kind, size_t paragraph, const char *text, size_t from, size_t size,
                    size_t *start, size_t *end) {
    Address a = { 0, 0, 0, from };
    if (kind == EMAIL) {
        int found;
        while ((found = next_address(&a, text, a.end, size)) &&
               !is_email(text + a.name, a.domain_end - a.name)) {}
        *start = a.start, *end = a.end;
        return found;
    }
    if (!v->match) v->match = pcre2_match_data_create(8, NULL);
    CHECK(v->match, "not enough memory for regular expressions");
    int found = pcre2_match(pii_code[kind], (PCRE2_SPTR)text, size, from, PCRE2_NO_UTF_CHECK,
                            v->match, pii_limits);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        problem(v->document->origin, v->document->line,
                "paragraph %zu takes too long to search to its end for %s (PCRE2: %d)", paragraph,
                pii[kind].type, found);
    const size_t *match = pcre2_get_ovector_pointer(v->match);
    if (found >= 0) *start = match[0], *end = match[1];
    return found >= 0;
}

// Matches in one paragraph; returns the sum of their lengths, and adds to their number.
static size_t tag_pii_of(Tags *out, View *v, Pii kind, size_t i, size_t *number) {
    const char *text = v->text + v->line[i].byte;
    size_t size = v->line[i].size + (i + 1 < v->lines), sum = 0, from = 0, to = 0;
    size_t seen = 0, chars = v->line[i].start;              // the code points before byte `seen`
    while (next_pii(v, kind, i + 1, text, to, size, &from, &to)) {
        size_t start = chars + code_points(text + seen, from - seen);
        size_t end = start + code_points(text + from, to - from);
        add_tag(out, pii[kind].type, start, end, 1);
        seen = to, chars = end, sum += end - start, ++*number;
    }
    return sum;
}

// doc_frac is the share of the text, plus 1: the reference counts the span of doc_count as well
// (quirk P1). Its exclusion of URLs (quirk P2) could never apply, so there is none here: it looks
// only at the address itself.
static void tag_pii(Tags *out, View *v) {
    enum { MOST_QUESTIONS = 10000 };                     // the reference's: a text that has more is no text
    size_t questions = 0, number = 0, sum = 0;
    for (size_t i = 0; i < v->size; i++) questions += v->text[i] == '?';
    for (size_t i = 0; i < paragraphs(v) && questions <= MOST_QUESTIONS; i++) {
        unsigned possible = possible_pii(v->text + v->line[i].byte, v->line[i].size);
        for (int kind = 0; possible && kind < KINDS; kind++)
            if (possible >> kind & 1) sum += tag_pii_of(out, v, (Pii)kind, i, &number);
    }
    add_tag(out, "doc_count", 0, v->chars, (double)number);
    add_tag(out, "doc_frac", 0, v->chars, v->chars ? (double)(sum + v->chars)/(double)v->chars : -1);
}

// ---- lengths, and lines that are no text [3.7] ------------------------------------------------------

static void tag_char_length(Tags *out, View *v) {
    add_tag(out, "length", 0, v->chars, (double)v->chars);
}

// Words as Unicode cuts them (words.c). The negative is there because a mixer can only ask for a
// least score.
static void tag_paragraph_words(Tags *out, View *v) {
    for (size_t i = 0; i < paragraphs(v); i++) {
        size_t words = 0, size;
        const char *word = v->text + v->line[i].byte, *end = word + v->line[i].size;
        for (; (word = unicode_word(word, end, &size)); word += size)
            words += !all_python_space(word, size);
        add_tag(out, "paragraph", v->line[i].start, line_end(v, i), (double)words);
        add_tag(out, "negative_paragraph", v->line[i].start, line_end(v, i), -(double)words);
    }
}

// Punctuation, symbols, white space (Unicode's, without U+001C to U+001F), and the blocks of emoji.
static int is_decoration(int code) {
    return U_MASK(u_charType(code)) & (U_GC_P_MASK | U_GC_S_MASK) || u_isUWhiteSpace(code) ||
        (code >= 0x1f300 && code <= 0x1f64f) ||
           (code >= 0x1f680 && code <= 0x1f6ff) || (code >= 0x2600 && code <= 0x27bf);
}
// Paragraphs of nothing else; a document without any says so.
static void tag_not_alphanum(Tags *out, View *v) {
    size_t found = 0;
    for (size_t i = 0; i < paragraphs(v); i++) {
        const char *line = v->text + v->line[i].byte;
        size_t size = v->line[i].size, at = 0;
        for (int length; at < size && is_decoration(utf8_decode(line + at, size - at, &length));
             at += (size_t)length) {}
        if (at == size && !all_python_space(line, size))
            add_tag(out, "all_punct", v->line[i].start, line_end(v, i), 1), found++;
    }
    if (!found) add_tag(out, "all_punct", 0, v->chars, 0);
}
