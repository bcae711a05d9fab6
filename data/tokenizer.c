/*
The tokenizer: text to ids and back, exactly as OLMo does it (GPT-NeoX-20B's byte-level BPE), from a
Hugging Face tokenizer.json. #included by train_olmo.c (prompts and samples), and so by the programs
in data/.

    Tokenizer *t = tokenizer_load("tokenizer.json");
    Encoder *e = encoder_new(t);              one for each thread: it remembers the words it has seen
    size_t n = encode(e, text, size);         e->ids[0..n), until the next call; text: valid UTF-8
    size_t m = decode(t, text, ids, n);       text: room for n*t->longest bytes
    encoder_free(e), tokenizer_free(t);

Text becomes ids in five steps (DATA_SPEC 10.2), one function each, from the last to the first:

    encode             cut at added tokens that are searched in the raw text: <|endoftext|>
    encode_raw         Unicode normal form C, by ICU; cut at the other added tokens: runs of spaces,
                       |||EMAIL_ADDRESS|||
    encode_words       cut into words: a space goes with the word that follows it
    encode_word        the word's ids, remembered
    merge_pairs        byte-pair encoding: from single bytes, merge the neighbours that the
                       vocabulary learned first

Only ICU's two services are not ours: normal form C, and what is a letter, a number, a space (make
finds it by pkg-config; Debian: libicu-dev). A build without it refuses to load a tokenizer rather
than guess.
*/
#ifdef ICU
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uset.h>
#include <unicode/ustring.h>
#endif

// ---- UTF-8 and Unicode ------------------------------------------------------------------------------

// The code point that starts at s, of which n > 0 bytes are left, and its *length in bytes. Anything
// that is not UTF-8 is -1; then *length counts the bytes that could have begun a code point, at
// least 1 (Unicode 3.9, "maximal subparts").
static int utf8_decode(const char *s, size_t n, int *length) {
    const unsigned char *b = (const unsigned char *)s;
    int size = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
    int code = size < 2 ? b[0] : b[0] & (0x7f >> size);
    int low = b[0] == 0xe0 ? 0xa0 : b[0] == 0xf0 ? 0x90 : 0x80;     // of the second byte: nothing overlong,
    int high = b[0] == 0xed ? 0x9f : b[0] == 0xf4 ? 0x8f : 0xbf;    // no surrogates, nothing above U+10FFFF
    for (*length = 1; *length < size; ++*length, low = 0x80, high = 0xbf) {
        if ((size_t)*length == n || b[*length] < low || b[*length] > high) return -1;
        code = code << 6 | (b[*length] & 0x3f);
    }
    return size ? code : -1;
}
// The bytes of a code point; returns how many.
static int utf8_encode(char *out, int code) {
    unsigned char *b = (unsigned char *)out;
    if (code < 0x80) { b[0] = (unsigned char)code; return 1; }
    int size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = size - 1; i > 0; i--, code >>= 6) b[i] = (unsigned char)(0x80 | (code & 0x3f));
    b[0] = (unsigned char)(0xf00 >> size | code);
    return size;
}
// How many bytes from the start are valid UTF-8: n if all of them are.
static size_t utf8_valid(const char *s, size_t n) {
    size_t i = 0;
    for (int length; i < n; i += (size_t)length) if (utf8_decode(s + i, n - i, &length) < 0) break;
    return i;
}
// out = s, with U+FFFD in place of what is not UTF-8: a model's tokens may end within a character.
// out: room for 3n bytes.
static size_t utf8_repair(char *out, const char *s, size_t n) {
    size_t m = 0;
    for (size_t i = 0; i < n; ) {
        int length, code = utf8_decode(s + i, n - i, &length);
        m += (size_t)utf8_encode(out + m, code < 0 ? 0xfffd : code);
        i += (size_t)length;
    }
    return m;
}

static size_t code_points(const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) n += (text[i] & 0xc0) != 0x80;
    return n;
}

// The bytes at s of what Python's str.split and str.strip take for white space; 0 if there is none. By hand:
// taggers.c asks this of every word's end. s: valid UTF-8 (DATA_SPEC 1.3).
static inline int space_at(const char *s) {
    const unsigned char *b = (const unsigned char *)s;
    if (*b < 0x80) return *b == ' ' || (*b >= 9 && *b <= 13) || (*b >= 0x1c && *b <= 0x1f);
    switch (*b) {
    case 0xc2:                                              // U+0085, 00A0
        return b[1] == 0x85 || b[1] == 0xa0 ? 2 : 0;
    case 0xe1:                                              // U+1680
        return b[1] == 0x9a && b[2] == 0x80 ? 3 : 0;
    case 0xe2:                                              // U+2000-200A, 2028, 2029, 202F; 205F
        if (b[1] == 0x80) return b[2] <= 0x8a || b[2] == 0xa8 || b[2] == 0xa9 || b[2] == 0xaf ? 3 : 0;
        return b[1] == 0x81 && b[2] == 0x9f ? 3 : 0;
    case 0xe3:                                              // U+3000
        return b[1] == 0x80 && b[2] == 0x80 ? 3 : 0;
    }
    return 0;
}
// The text between such white space at its ends; its *size becomes less.
static const char *strip(const char *text, size_t *size) {
    const char *end = text + *size, *last;
    for (int n; text < end && (n = space_at(text)); text += n) {}
    for (; text < end; end = last) {
        for (last = end - 1; last > text && (*last & 0xc0) == 0x80; last--) {}
        if (!space_at(last)) break;
    }
    *size = (size_t)(end - text);
    return text;
}

// What the pre-tokenizer sees in a code point: \s, \p{L}, \p{N}, or none of them (marks are none of
// them). The reference's regex library, Oniguruma 6.9.8, knows Unicode 14: whatever was assigned
// later is none of them either, whatever ICU knows by now.
typedef enum { OTHER, SPACE, LETTER, DIGIT } CharClass;
static CharClass char_class(int code) {
    if (code < 128)
        return (code | 32) >= 'a' && (code | 32) <= 'z' ? LETTER : code >= '0' && code <= '9' ? DIGIT
                         : code == ' ' || (code >= 9 && code <= 13) ? SPACE : OTHER;
#ifdef ICU
    UVersionInfo age;
    u_charAge(code, age);
    if (age[0] > 14) return OTHER;
    if (u_isUWhiteSpace(code)) return SPACE;
    uint32_t category = U_MASK(u_charType(code));
    return category & U_GC_L_MASK ? LETTER : category & U_GC_N_MASK ? DIGIT : OTHER;
#else
    return OTHER;                                           // never reached: tokenizer_load has refused
#endif
}

// ---- the vocabulary ---------------------------------------------------------------------------------

// (a<<32|b) + 1 of the ids a and b, which become `id`; 0: a free slot
typedef struct { uint64_t pair; int rank, id; } Merge;
typedef struct { int id, size, normalized; char *text; } Added;  // normalized: searched after normal form C

typedef struct {
    int vocab;                                              // ids are 0..vocab-1
    int longest;                                            // bytes of the longest token
    char **token;                                           // [vocab] their bytes
    int *size;                                             // [vocab] and how many; -1: no token has this id
    int byte[256];                                          // the ids of single bytes: where merging begins
    Merge *merge;                                           // [merge_slots] hash table, open addressing
    uint32_t merge_slots;                                   // a power of two
    Added *added;                         // [n_added] longest first, so that the first match is the longest
    int n_added;
    unsigned char begins[2][8192];    // [normalized] does an added token begin with these two bytes? (bits)
} Tokenizer;

static uint64_t hash_pair(uint64_t pair) { pair *= 0x9e3779b97f4a7c15; return pair ^ pair >> 32; }

// The slot of the merge of ids a and b, or a free one where it would have to be put.
static Merge *merge_slot(const Tokenizer *t, int a, int b, uint64_t *pair) {
    *pair = ((uint64_t)a << 32 | (uint32_t)b) + 1;
    for (uint64_t i = hash_pair(*pair); ; i++) {
        Merge *m = &t->merge[i & (t->merge_slots - 1)];
        if (m->pair == *pair || !m->pair) return m;
    }
}
static const Merge *find_merge(const Tokenizer *t, int a, int b) {
    uint64_t pair;
    const Merge *m = merge_slot(t, a, b, &pair);
    return m->pair ? m : NULL;
}

// tokenizer.json names a token by one printable character for each byte: 33-126, 161-172 and 174-255
// by themselves, the 68 others in their order by U+0100, U+0101, ... (so a space is U+0120). The
// byte that a character stands for, or -1.
static int byte_named(int code) {
    if (code < 256) return (code >= 33 && code <= 126) || (code >= 161 && code != 173) ? code : -1;
    int other = code - 256;                                 // of the others: 0-32, 127-160, 173
    return other < 33 ? other : other < 67 ? other + 94 : other == 67 ? 173 : -1;
}
// name[0..n) as the bytes it stands for, in place; returns how many, or -1.
static int token_bytes(char *name, int n) {
    int size = 0;
    for (int i = 0, length; i < n; i += length) {
        int byte = byte_named(utf8_decode(name + i, (size_t)(n - i), &length));
        if (byte < 0) return -1;
        name[size++] = (char)byte;
    }
    return size;
}

// A hash table from the tokens' bytes to their ids, for loading.
typedef struct { const Tokenizer *t; int *id; uint32_t slots; } Names;

static uint32_t hash_name(const char *name, int n) {                    // FNV-1a
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ (unsigned char)name[i])*16777619u;
    return h;
}
// The slot of this name: its id + 1, or 0 where it would have to be put.
static int *name_slot(const Names *names, const char *name, int n) {
    for (uint32_t i = hash_name(name, n); ; i++) {
        int *slot = &names->id[i & (names->slots - 1)];
        if (!*slot || (names->t->size[*slot - 1] == n &&
                       !memcmp(names->t->token[*slot - 1], name, (size_t)n)))
            return slot;
    }
}

enum { MOST_TOKENS = 1 << 18, LONGEST_TOKEN = 4096 };

// The JSON string at s (json_skip has checked it) without its quotes and escapes; its size, or -1:
// no string, a lone surrogate, or longer than `room`.
static int json_unescape(char *out, int room, const char *s) {
    int n = 0, unit[2];
    if (!s || *s != '"') return -1;
    for (s++; *s != '"'; s++) {
        if (n + 4 > room) return -1;
        if (*s != '\\') { out[n++] = *s; continue; }
        const char *escapes = "\"\\/bfnrt", *means = "\"\\/\b\f\n\r\t", *which = strchr(escapes, *++s);
        if (which) { out[n++] = means[which - escapes]; continue; }
        if (strspn(s + 1, "0123456789abcdefABCDEF") < 4 || sscanf(s, "u%4x", (unsigned *)&unit[0]) != 1)
            return -1;
        s += 4;
        if (unit[0] >= 0xd800 && unit[0] < 0xdc00 &&
            sscanf(s + 1, "\\u%4x", (unsigned *)&unit[1]) == 1 && (unit[1] & ~0x3ff) == 0xdc00)
            unit[0] = 0x10000 + ((unit[0] & 0x3ff) << 10 | (unit[1] & 0x3ff)), s += 6;
        if ((unit[0] & ~0x7ff) == 0xd800) return -1;
        n += utf8_encode(out + n, unit[0]);
    }
    return n;
}
// The elements of a JSON array, as json_first and json_next walk an object; NULL after the last.
static const char *json_first_of(const char *array) {
    const char *s = json_space(array + 1);
    return *s == ']' ? NULL : s;
}
static const char *json_next_of(const char *element) {
    const char *s = json_space(json_skip(element, 0));
    return *s == ',' ? json_space(s + 1) : NULL;
}

// The string at `json` into name[LONGEST_TOKEN]; its size.
static int read_name(char *name, const char *json, const char *path, const char *what) {
    int n = json_unescape(name, LONGEST_TOKEN, json);
    CHECK(n > 0, "%s: expected %s to be a string of 1 to %d bytes, found %.60s", path, what,
          LONGEST_TOKEN, json ? json : "none");
    return n;
}
static void add_token(Tokenizer *t, int id, const char *bytes, int n) {
    t->token[id] = (char *)allocate((size_t)n, 1, "a token");
    memcpy(t->token[id], bytes, (size_t)n);
    t->size[id] = n, t->longest = imax(t->longest, n), t->vocab = imax(t->vocab, id + 1);
}

static void read_vocab(Tokenizer *t, Names *names, const char *model, const char *path) {
    const char *key, *vocab = json_get(model, "vocab");
    char name[LONGEST_TOKEN];
    CHECK(vocab && *vocab == '{', "%s: expected an object \"vocab\" in \"model\"", path);
    for (const char *value = json_first(vocab, &key); value; value = json_next(value, &key)) {
        int n = token_bytes(name, read_name(name, key, path, "a token of \"vocab\""));
        char *end;
        long id = strtol(value, &end, 10);
        CHECK(end != value && strchr(",} \t\r\n", *end) && id >= 0 && id < MOST_TOKENS &&
              t->size[id] < 0, "%s: expected different ids from 0 to %d in \"vocab\", found %.80s",
              path, MOST_TOKENS - 1, key);
        if (n < 0) {                       // no names of bytes: an added token, which is no part of merging
            add_token(t, (int)id, name, json_unescape(name, LONGEST_TOKEN, key));
            continue;
        }
        add_token(t, (int)id, name, n);
        int *slot = name_slot(names, name, n);
        CHECK(!*slot, "%s: \"vocab\" has %.80s twice", path, key);
        *slot = (int)id + 1;
    }
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        t->byte[b] = *name_slot(names, &byte, 1) - 1;
        CHECK(t->byte[b] >= 0 || b == 0xc0 || b == 0xc1 || b >= 0xf5,
              "%s: \"vocab\" has no token for byte %d; this is no byte-level vocabulary", path, b);
    }
}

// The names of the two tokens that the merge at `json` joins, as bytes: ["a", "b"], or in older
// files "a b". 0 if it is neither.
static int read_merge(char *a, int *size_a, char *b, int *size_b, const char *json) {
    const char *second = *json == '[' ? json_first_of(json) : NULL;
    if (second) {
        *size_a = json_unescape(a, LONGEST_TOKEN, second);
        *size_b = json_unescape(b, LONGEST_TOKEN, json_next_of(second));
    } else {
        int n = json_unescape(a, LONGEST_TOKEN, json);
        const char *space = n > 0 ? (const char *)memchr(a, ' ', (size_t)n) : NULL;
        if (!space) return 0;
        *size_a = (int)(space - a), *size_b = n - *size_a - 1;
        memcpy(b, space + 1, (size_t)*size_b);
    }
    if (*size_a <= 0 || *size_b <= 0) return 0;
    *size_a = token_bytes(a, *size_a), *size_b = token_bytes(b, *size_b);
    return *size_a > 0 && *size_b > 0;
}

// The order of the merges is their rank: what was learned first is merged first.
static void read_merges(Tokenizer *t, const Names *names, const char *model, const char *path) {
    const char *merges = json_get(model, "merges");
    char a[2*LONGEST_TOKEN], b[LONGEST_TOKEN];
    int rank = 0, n = 0, size_a, size_b;
    CHECK(merges && *merges == '[', "%s: expected an array \"merges\" in \"model\"", path);
    for (const char *m = json_first_of(merges); m; m = json_next_of(m)) n++;
    for (t->merge_slots = 1024; t->merge_slots < 2*(uint32_t)n; t->merge_slots *= 2) {}
    t->merge = (Merge *)allocate(t->merge_slots, sizeof *t->merge, "the merges");
    for (const char *m = json_first_of(merges); m; m = json_next_of(m), rank++) {
        CHECK(read_merge(a, &size_a, b, &size_b, m),
              "%s: expected merge %d to be two tokens, found %.80s", path, rank, m);
        int left = *name_slot(names, a, size_a) - 1, right = *name_slot(names, b, size_b) - 1;
        memcpy(a + size_a, b, (size_t)size_b);
        int both = *name_slot(names, a, size_a + size_b) - 1;
        CHECK(left >= 0 && right >= 0 && both >= 0,
              "%s: merge %d joins or makes a token that \"vocab\" has not: %.80s", path, rank, m);
        uint64_t pair;
        Merge *slot = merge_slot(t, left, right, &pair);
        slot->pair = pair, slot->rank = rank, slot->id = both;
    }
}

static int by_size(const void *a, const void *b) {                      // longest first
    return ((const Added *)b)->size - ((const Added *)a)->size;
}
static void read_added(Tokenizer *t, const char *root, const char *path) {
    const char *list = json_get(root, "added_tokens");
    char name[LONGEST_TOKEN];
    int most = 0;
    if (!list) return;
    CHECK(*list == '[', "%s: expected \"added_tokens\" to be an array", path);
    for (const char *item = json_first_of(list); item; item = json_next_of(item)) most++;
    t->added = (Added *)allocate((size_t)most + 1, sizeof *t->added, "the added tokens");
    for (const char *item = json_first_of(list); item; item = json_next_of(item)) {
        CHECK(*item == '{', "%s: expected an object in \"added_tokens\", found %.60s", path, item);
        Added *a = &t->added[t->n_added++];
        a->id = json_int(item, path, "id", 0, MOST_TOKENS - 1, NAN);
        a->size = read_name(name, json_get(item, "content"), path, "\"content\" of an added token");
        a->normalized = json_flag(item, path, "normalized");
        CHECK(a->size > 1, "%s: added token %d is a single byte; expected two or more", path, a->id);
        CHECK(!json_flag(item, path, "lstrip") && !json_flag(item, path, "rstrip") &&
              !json_flag(item, path, "single_word"),
              "%s: added token %d has lstrip, rstrip or single_word, which OLMo's have not; this "
              "program does not know them", path, a->id);
        release(t->token[a->id]);
        add_token(t, a->id, name, a->size);
        a->text = (char *)allocate((size_t)a->size, 1, "an added token");
        memcpy(a->text, name, (size_t)a->size);
        unsigned two = (unsigned char)name[0] << 8 | (unsigned char)name[1];
        t->begins[a->normalized][two >> 3] |= (unsigned char)(1 << (two & 7));
    }
    qsort(t->added, (size_t)t->n_added, sizeof *t->added, by_size);
}

// Is object[name] an object whose "type" is `type`?
static int has_type(const char *object, const char *name, const char *type) {
    const char *part = json_get(object, name);
    const char *value = part && *part == '{' ? json_get(part, "type") : NULL;
    return value && json_is(value, type);
}

// Normal form C as the reference computes it: by the tables of Unicode 9, where later marks do not change
// places.
#ifdef ICU
static const UNormalizer2 *nfc;                             // for all tokenizers, once one has been loaded
static void open_nfc(void) {
    static const char pattern[] = "[:Age=9.0:]";
    UErrorCode error = U_ZERO_ERROR;
    UChar wide[sizeof pattern];
    u_charsToUChars(pattern, wide, sizeof pattern);
    if (!nfc)
        nfc = unorm2_openFiltered(unorm2_getNFCInstance(&error),
                                  uset_openPattern(wide, sizeof pattern - 1, &error), &error);
    CHECK(U_SUCCESS(error), "ICU has no tables for normal form C: %s", u_errorName(error));
}
#else
static void open_nfc(void) {}
#endif

// Why this is no tokenizer of the kind OLMo-1 has (NFC, ByteLevel with GPT-2's words, BPE), as the
// end of a sentence; or NULL.
static const char *unlike_olmo(const char *root, const char *path) {
    const char *model = json_get(root, "model"), *words = json_get(root, "pre_tokenizer");
    if (!model || !has_type(root, "model", "BPE"))
        return "expected \"model\" to be of type BPE; is this a tokenizer.json?";
    if (!has_type(root, "normalizer", "NFC") || !has_type(root, "pre_tokenizer", "ByteLevel") ||
        json_flag(words, path, "add_prefix_space") ||
        (json_get(words, "use_regex") && !json_flag(words, path, "use_regex")))
        return "expected OLMo-1's kind of tokenizer: normalizer NFC, pre_tokenizer ByteLevel with "
               "its regex and no prefix space";
    static const struct { const char *name, *reason; } unknown[] = {
        { "dropout", "\"dropout\" is set; OLMo's tokenizers do without it" },
        { "unk_token", "\"unk_token\" is set; OLMo's tokenizers do without it" },
        { "continuing_subword_prefix",
          "\"continuing_subword_prefix\" is set; OLMo's tokenizers do without it" },
        { "end_of_word_suffix", "\"end_of_word_suffix\" is set; OLMo's tokenizers do without it" },
    };
    for (int i = 0; i < 4; i++) {
        const char *value = json_get(model, unknown[i].name);
        if (value && *value != 'n' && strncmp(value, "\"\"", 2)) return unknown[i].reason;
    }
    if (json_flag(model, path, "byte_fallback") || json_flag(model, path, "ignore_merges"))
        return "\"byte_fallback\" or \"ignore_merges\" is set; OLMo's tokenizers do without them";
    return NULL;
}

#ifdef ICU
static const char *const no_unicode = NULL;
#else
static const char *const no_unicode =
    "this program was built without a Unicode library, so it cannot tokenize as OLMo does; install "
    "ICU and pkg-config (Debian, "
    "Ubuntu: apt install libicu-dev pkg-config), then make again, or give token ids";
#endif

// Why tokenizer_load would refuse this file, though nothing is wrong with it; or NULL.
static const char *tokenizer_refusal(const char *path) {
    char *text = read_text(path);
    const char *reason = unlike_olmo(json_root(text, path), path);
    release(text);
    return no_unicode ? no_unicode : reason;
}

// A Hugging Face tokenizer.json of the kind OLMo-1 has. Anything else ends the program with a sentence.
Tokenizer *tokenizer_load(const char *path) {
    CHECK(!no_unicode, "%s: %s", path, no_unicode);
    char *text = read_text(path);
    const char *root = json_root(text, path), *model = json_get(root, "model");
    const char *reason = unlike_olmo(root, path);
    CHECK(!reason, "%s: %s", path, reason);

    Tokenizer *t = (Tokenizer *)allocate(1, sizeof *t, "a tokenizer");
    Names names = { t, (int *)allocate(2*MOST_TOKENS, sizeof(int), "the tokens' names"), 2*MOST_TOKENS };
    t->token = (char **)allocate(MOST_TOKENS, sizeof *t->token, "the tokens");
    t->size = (int *)allocate(MOST_TOKENS, sizeof *t->size, "the tokens' sizes");
    for (int i = 0; i < MOST_TOKENS; i++) t->size[i] = -1;
    t->longest = 3;                                     // decode writes U+FFFD for an id that is no token's
    read_vocab(t, &names, model, path);
    read_merges(t, &names, model, path);
    read_added(t, root, path);
    open_nfc();
    release(names.id), release(text);
    return t;
}

static void tokenizer_free(Tokenizer *t) {
    if (!t) return;
    for (int i = 0; i < t->vocab; i++) release(t->token[i]);
    for (int i = 0; i < t->n_added; i++) release(t->added[i].text);
    release(t->token), release(t->size), release(t->merge), release(t->added), release(t);
}

// ---- encode -----------------------------------------------------------------------------------------

// what the memory of words keeps: short ones, a cache line each
enum { WORD_BYTES = 32, WORD_IDS = 7, WORDS = 1 << 15 };

// size 0: a free slot
typedef struct { char text[WORD_BYTES]; int ids[WORD_IDS]; unsigned char size, n; } Word;
// a token of a word in the making: neighbours, rank of its merge with `after`
typedef struct { int id, before, after, rank; } Symbol;

typedef struct {
    const Tokenizer *t;
    int *ids;                                               // the result
    size_t n, room;
    Word *words;                  // [WORDS] a word has one place; the latest one that hashes there keeps it
    Symbol *symbols;                                        // [symbol_room]
    uint64_t *heap;                                       // [3*symbol_room] merges to do: rank<<32 | symbol
    size_t symbol_room;
    uint16_t *utf16;                         // [4*text_room] the text as ICU takes it, then its normal form
    char *text;                                             // [9*text_room] the normal form in UTF-8
    size_t text_room;
} Encoder;

static Encoder *encoder_new(const Tokenizer *t) {
    Encoder *e = (Encoder *)allocate(1, sizeof *e, "an encoder");
    e->t = t;
    e->words = (Word *)allocate(WORDS, sizeof *e->words, "an encoder's words");
    return e;
}
static void encoder_free(Encoder *e) {
    if (e)
        release(e->ids), release(e->words), release(e->symbols), release(e->heap), release(e->utf16),
            release(e->text), release(e);
}

// Room for `more` ids, and a word's worth beyond.
static void reserve_ids(Encoder *e, size_t more) {
    if (e->n + more + WORD_IDS <= e->room) return;
    e->room = 2*(e->n + more) + 1024;
    int *ids = (int *)allocate(e->room, sizeof *ids, "the ids of a text");
    if (e->n) memcpy(ids, e->ids, e->n*sizeof *ids);
    release(e->ids);
    e->ids = ids;
}

// A heap of numbers, the least on top: heap[0..n).
static void heap_push(uint64_t *heap, size_t *n, uint64_t x) {
    size_t i = (*n)++;
    for (; i && heap[(i - 1)/2] > x; i = (i - 1)/2) heap[i] = heap[(i - 1)/2];
    heap[i] = x;
}
static uint64_t heap_pop(uint64_t *heap, size_t *n) {
    uint64_t least = heap[0], x = heap[--*n];
    size_t i = 0, child;
    for (; (child = 2*i + 1) < *n; i = child) {
        if (child + 1 < *n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= x) break;
        heap[i] = heap[child];
    }
    heap[i] = x;
    return least;
}

// Byte-pair encoding of word[0..n) into e->ids: of all neighbours that have a merge, join the pair
// of the lowest rank, the leftmost among equals, and again until none has one. The heap makes that
// O(n log n); an entry whose pair has changed since is recognized by its rank. (Sennrich, Haddow and
// Birch, 2016)
static void set_rank(Encoder *e, size_t *heap_size, int i) {
    Symbol *s = &e->symbols[i];
    const Merge *m = s->after >= 0 ? find_merge(e->t, s->id, e->symbols[s->after].id) : NULL;
    s->rank = m ? m->rank : -1;
    if (m) heap_push(e->heap, heap_size, (uint64_t)m->rank << 32 | (uint32_t)i);
}
static void merge_pairs(Encoder *e, const char *word, size_t n) {
    size_t heap_size = 0;
    CHECK(n < INT32_MAX/4, "a word of %zu MB: more than this program can merge", n >> 20);
    if (n > e->symbol_room) {
        release(e->symbols), release(e->heap);
        e->symbol_room = 2*n + 64;
        e->symbols = (Symbol *)allocate(e->symbol_room, sizeof *e->symbols, "a long word");
        e->heap = (uint64_t *)allocate(3*e->symbol_room, sizeof *e->heap, "a long word's merges");
    }
    Symbol *s = e->symbols;
    for (int i = 0; i < (int)n; i++)
        s[i].id = e->t->byte[(unsigned char)word[i]], s[i].before = i - 1,
            s[i].after = i + 1 < (int)n ? i + 1 : -1;
    for (int i = 0; i < (int)n; i++) set_rank(e, &heap_size, i);
    while (heap_size) {
        uint64_t top = heap_pop(e->heap, &heap_size);
        int i = (int)(uint32_t)top, gone;
        if (s[i].rank != (int)(top >> 32)) continue;
        gone = s[i].after;
        s[i].id = find_merge(e->t, s[i].id, s[gone].id)->id;
        s[i].after = s[gone].after, s[gone].rank = -1;
        if (s[i].after >= 0) s[s[i].after].before = i;
        set_rank(e, &heap_size, i);
        if (s[i].before >= 0) set_rank(e, &heap_size, s[i].before);
    }
    for (int i = 0; i >= 0; i = s[i].after) e->ids[e->n++] = s[i].id;
}

// The same, for most words from memory: a text's words repeat.
static void encode_word(Encoder *e, const char *word, size_t n) {
    uint64_t part[WORD_BYTES/8] = { 0 }, hash = n;
    if (n > WORD_BYTES) { merge_pairs(e, word, n); return; }
    memcpy(part, word, n);
    for (int i = 0; i < WORD_BYTES/8; i++) hash = (hash ^ part[i])*0x9e3779b97f4a7c15;
    Word *w = &e->words[hash >> 49];
    if (w->size == n && !memcmp(w->text, part, WORD_BYTES)) {
        memcpy(e->ids + e->n, w->ids, sizeof w->ids);     // all of them is faster than as many as there are
        e->n += w->n;
        return;
    }
    size_t first = e->n;
    merge_pairs(e, word, n);
    if (e->n - first > WORD_IDS) return;
    memcpy(w->text, part, WORD_BYTES);
    memcpy(w->ids, e->ids + first, (e->n - first)*sizeof *w->ids);
    w->size = (unsigned char)n, w->n = (unsigned char)(e->n - first);
}

static CharClass class_at(const char *p, const char *end, int *length) {
    return char_class(utf8_decode(p, (size_t)(end - p), length));
}

// The end of the word that starts at p: the first of these that is there.
//     's 't 're 've 'm 'll 'd
//     a space, if any, and letters; or a space and digits; or a space and other marks
//     white space
// White space that something follows leaves its last character to the word behind it.
static const char *word_end(const char *p, const char *end) {
    static const char *const endings[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d" };
    if (*p == '\'') for (int i = 0; i < 7; i++) {
        size_t n = strlen(endings[i]);
        if ((size_t)(end - p) >= n && !memcmp(p, endings[i], n)) return p + n;
    }
    const char *q = p + (*p == ' '), *last = p;
    int length;
    CharClass kind = q < end ? class_at(q, end, &length) : SPACE;
    if (kind != SPACE) {
        do q += length; while (q < end && class_at(q, end, &length) == kind);
        return q;
    }
    for (q = p; q < end && class_at(q, end, &length) == SPACE; q += length) last = q;
    return q < end && last > p ? last : q;
}
static void encode_words(Encoder *e, const char *text, size_t n) {
    for (const char *p = text, *end = text + n, *next; p < end; p = next)
        encode_word(e, p, (size_t)((next = word_end(p, end)) - p));
}

// Added tokens stand for themselves; the text between them goes on to `encode_rest`.
static void cut_at_added(Encoder *e, const char *text, size_t n, int normalized,
                         void (*encode_rest)(Encoder *, const char *, size_t)) {
    const Tokenizer *t = e->t;
    const char *end = text + n, *rest = text;
    for (const char *p = text; p + 1 < end; ) {
        unsigned two = (unsigned char)p[0] << 8 | (unsigned char)p[1];
        const Added *found = NULL;
        int may_begin = t->begins[normalized][two >> 3] >> (two & 7) & 1;
        for (int i = 0; may_begin && i < t->n_added && !found; i++) {
            const Added *a = &t->added[i];
            int fits = a->normalized == normalized && a->size <= end - p;
            if (fits && !memcmp(p, a->text, (size_t)a->size)) found = a;
        }
        if (!found) { p++; continue; }
        encode_rest(e, rest, (size_t)(p - rest));
        e->ids[e->n++] = found->id;
        rest = p += found->size;
    }
    encode_rest(e, rest, (size_t)(end - rest));
}

#ifdef ICU
// Three Tibetan vowels are two marks each in normal form, but count as none by themselves: so let
// them be two. text: room for as many units as it has bytes in UTF-8, where they take three.
static int32_t split_vowels(UChar *text, int32_t n) {
    int32_t more = 0, to;
    for (int32_t i = 0; i < n; i++) more += text[i] == 0xf73 || text[i] == 0xf75 || text[i] == 0xf81;
    to = n += more;
    for (int32_t i = n - more - 1; more; i--) {
        UChar second = text[i] == 0xf73 ? 0xf72 : text[i] == 0xf75 ? 0xf74 : text[i] == 0xf81
            ? 0xf80 : 0;
        text[--to] = second ? second : text[i];
        if (second) text[--to] = 0xf71, more--;
    }
    return n;
}
// Marks behind a letter have an order, that of their combining classes; those of one class keep
// theirs. ICU finds it by insertion, in quadratic time: seconds for 100 kB of marks. So long runs of
// them are sorted before it looks, by counting. scratch: room for the text.
static void order_run(UChar *text, int32_t n, UChar *scratch) {
    enum { CLASSES = 256 };
    int32_t at[CLASSES + 1] = { 0 };                        // at[k]: where the marks of class k go
    UChar32 c;
    for (int32_t i = 0, size = 0; i < n; size = 0) {
        U16_NEXT(text + i, size, n - i, c);
        at[unorm2_getCombiningClass(nfc, c) + 1] += size, i += size;
    }
    for (int k = 1; k <= CLASSES; k++) at[k] += at[k - 1];
    for (int32_t i = 0; i < n; ) {
        U16_NEXT(text, i, n, c);
        int32_t *to = &at[unorm2_getCombiningClass(nfc, c)];
        U16_APPEND_UNSAFE(scratch, *to, c);
    }
    memcpy(text, scratch, (size_t)n*sizeof *text);
}
static int32_t order_marks(UChar *text, int32_t n, UChar *scratch) {
    enum { LONG_RUN = 32 };
    n = split_vowels(text, n);
    for (int32_t end = 0, start, next; end < n; end = next) {
        UChar32 c;
        int mark = 1;
        for (start = next = end; next < n && mark; ) {      // marks: [start, end)
            end = next;
            U16_NEXT(text, next, n, c);
            mark = unorm2_getCombiningClass(nfc, c) > 0;
        }
        if (mark) end = next;
        if (end - start > LONG_RUN) order_run(text + start, end - start, scratch);
    }
    return n;
}
#endif

// Normal form C of text[0..*n): the text itself, if that is it already, as nearly everywhere; else a
// copy, and its *n.
static const char *normal_form(Encoder *e, const char *text, size_t *n) {
    size_t plain = 0;
    while (plain < *n && (unsigned char)text[plain] < 0xcc) plain++;    // nothing below U+0300 ever changes
    if (plain == *n) return text;
#ifdef ICU
    UErrorCode error = U_ZERO_ERROR;
    int32_t units = 0, size = 0;
    CHECK(*n < INT32_MAX/9, "a text of %zu MB: more than ICU can normalize at once", *n >> 20);
    if (*n > e->text_room) {
        release(e->utf16), release(e->text);
        e->text_room = 2**n;
        e->utf16 = (uint16_t *)allocate(4*e->text_room, sizeof *e->utf16, "a text in UTF-16");
        e->text = (char *)allocate(9*e->text_room, 1, "a text in normal form C");
    }
    UChar *before = (UChar *)e->utf16, *after = before + e->text_room;
    u_strFromUTF8(before, (int32_t)e->text_room, &units, text, (int32_t)*n, &error);
    if (U_SUCCESS(error) && unorm2_quickCheck(nfc, before, units, &error) == UNORM_YES) return text;
    units = U_SUCCESS(error) ? order_marks(before, units, after) : 0;
    units = unorm2_normalize(nfc, before, units, after, (int32_t)(3*e->text_room), &error);
    u_strToUTF8(e->text, (int32_t)(9*e->text_room), &size, after, units, &error);
    CHECK(U_SUCCESS(error), "a text cannot be brought into normal form C: %s; is it UTF-8?",
          u_errorName(error));
    *n = (size_t)size;
    return e->text;
#else
    (void)e;                                                // never reached, as above
    return text;
#endif
}

static void encode_raw(Encoder *e, const char *text, size_t n) {
    text = normal_form(e, text, &n);
    reserve_ids(e, n + 1);                // no more than one id a byte, and one for what follows this piece
    cut_at_added(e, text, n, 1, encode_words);
}

// text[0..size), which is UTF-8, as e->ids[0..n): returns n. The ids stay until the next call. No
// end-of-document id is added.
static size_t encode(Encoder *e, const char *text, size_t size) {
    e->n = 0;
    reserve_ids(e, 1);
    cut_at_added(e, text, size, 0, encode_raw);
    return e->n;
}

// ---- decode -----------------------------------------------------------------------------------------

// The bytes of the tokens, one after the other: returns how many. They need not be UTF-8
// (utf8_repair makes them so); an id that is no token's becomes U+FFFD. Text that was encoded comes
// back in normal form C.
static size_t decode(const Tokenizer *t, char *text, const int *ids, size_t n) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        int known = ids[i] >= 0 && ids[i] < t->vocab && t->size[ids[i]] >= 0;
        int size = known ? t->size[ids[i]] : 3;
        memcpy(text + m, known ? t->token[ids[i]] : "\xef\xbf\xbd", (size_t)size);
        m += (size_t)size;
    }
    return m;
}
