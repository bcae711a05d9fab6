// The tokenizer: a small one made here, whose ids can be worked out by hand, against a naive twin;
// OLMo's own two, where data/tokenizers.sh has fetched them, against ids that the Hugging Face
// library gave; broken files.

// Writes a tokenizer.json: ids 0-255 are bytes (in the order of the printable names), then one for
// each merge, then the added tokens.
static const char *const small_merges[] = { "h e", "l l", "he ll", "hell o", "\xc4\xa0 hello", "a a",
                                            "aa aa", "\xc3\x83 \xc2\xa9", "l d" };
enum { SMALL_MERGES = sizeof small_merges/sizeof *small_merges, SMALL_ADDED = 256 + SMALL_MERGES };

static void put_named_byte(FILE *file, int byte) {
    char name[8];
    int code = 0;
    while (byte_named(code) != byte) code++;
    int n = utf8_encode(name, code);
    fprintf(file, byte == '"' || byte == '\\' ? "\\%.*s" : "%.*s", n, name);
}
// `as_arrays`: merges as newer files write them. `broken`: this text in place of the one before it
// ("old\0new"), or NULL.
static const char *small_tokenizer(const char *file_name, int as_arrays) {
    const char *path = put_text(file_name, "");
    FILE *file = open_to_write(path);
    fprintf(file, "{\"version\": \"1.0\", \"added_tokens\": [");
    static const char *const added[] = { "<|end|>", "   ", "  ", "|||IP|||", "|||IPX|||" };
    for (int i = 0; i < 5; i++)
        fprintf(file, "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": "
                      "false, \"rstrip\": false, \"normalized\": %s, \"special\": false}",
                i ? ", " : "", SMALL_ADDED + i, added[i], i ? "true" : "false");
    fprintf(file, "], \"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": "
                  "\"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}, \"model\": "
                  "{\"type\": \"BPE\", \"vocab\": {");
    for (int b = 0; b < 256; b++)
        fprintf(file, "\""), put_named_byte(file, b), fprintf(file, "\": %d, ", b);
    for (int i = 0; i < SMALL_MERGES; i++) {
        const char *space = strchr(small_merges[i], ' ');
        fprintf(file, "\"%.*s%s\": %d%s", (int)(space - small_merges[i]), small_merges[i], space + 1,
                256 + i, i + 1 < SMALL_MERGES ? ", " : "}, ");
    }
    fprintf(file, "\"merges\": [");
    for (int i = 0; i < SMALL_MERGES; i++) {
        const char *space = strchr(small_merges[i], ' ');
        if (as_arrays)
            fprintf(file, "%s[\"%.*s\", \"%s\"]", i ? ", " : "", (int)(space - small_merges[i]),
                    small_merges[i], space + 1);
        else fprintf(file, "%s\"%s\"", i ? ", " : "", small_merges[i]);
    }
    fprintf(file, "]}}\n");
    CHECK(fclose(file) == 0, "%s: cannot be written", path);
    return path;
}

static int encodes_to(Encoder *e, const char *text, const int *ids, int n) {
    int same = encode(e, text, strlen(text)) == (size_t)n;
    for (int i = 0; i < n && same; i++) same = e->ids[i] == ids[i];
    return same;
}

static void test_small_tokenizer(void) {
    Tokenizer *t = tokenizer_load(small_tokenizer("small.json", 0));
    Tokenizer *arrays = tokenizer_load(small_tokenizer("arrays.json", 1));
    Encoder *e = encoder_new(t), *f = encoder_new(arrays);
    const int HE = 256, HELL = 258, HELLO = 259, _HELLO = 260, AA = 261, AAAA = 262, E_ACUTE = 263,
        LD = 264, END = SMALL_ADDED,
              SPACES3 = END + 1, SPACES2 = END + 2, IP = END + 3, IPX = END + 4;
    struct { const char *text; int ids[12], n; } cases[] = {
        { "hello", { HELLO }, 1 }, { " hello", { _HELLO }, 1 }, { "hell", { HELL }, 1 },
        { "he", { HE }, 1 }, { "hello hello", { HELLO, _HELLO }, 2 },
        { "a", { 'a' }, 1 }, { "aaa", { AA, 'a' }, 2 }, { "aaaaaaa", { AAAA, AA, 'a' }, 3 },
        { "hello's", { HELLO, '\'', 's' }, 3 }, { "hello'll", { HELLO, '\'', 257 }, 3 },
        { "hello'ld", { HELLO, '\'', LD }, 3 },
        { "  hello", { SPACES2, HELLO }, 2 }, { "    hello", { SPACES3, _HELLO }, 2 },
        { "hello  ", { HELLO, SPACES2 }, 2 },
        { "\t hello", { '\t', _HELLO }, 2 }, { "\t\thello", { '\t', '\t', HELLO }, 3 },
        // e and a combining acute: normal form C
        { "\xc3\xa9", { E_ACUTE }, 1 }, { "e\xcc\x81", { E_ACUTE }, 1 },
        { "<|end|>hello<|end|>", { END, HELLO, END }, 3 },
        { "<|end|", { '<', '|', 'e', 'n', 'd', '|' }, 6 },
        { "|||IP|||", { IP }, 1 }, { "|||IPX|||", { IPX }, 1 }, { "a |||IP|||", { 'a', ' ', IP }, 3 },
        { "e<|end|>\xcc\x81", { 'e', END, 0xcc, 0x81 }, 4 },                  // cut before it is normalized
        // a mark of Unicode 10 does not change places,
        { "q\xcc\x81\xe1\xb7\xb9", { 'q', 0xcc, 0x81, 0xe1, 0xb7, 0xb9 }, 6 },
        // nor does U+0EBA, of Unicode 12
        { "\xe0\xba\x81\xe0\xbb\x88\xe0\xba\xba",
          { 0xe0, 0xba, 0x81, 0xe0, 0xbb, 0x88, 0xe0, 0xba, 0xba }, 9 },
        { "", { 0 }, 0 },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++)
        check(encodes_to(e, cases[i].text, cases[i].ids, cases[i].n) &&
              encodes_to(f, cases[i].text, cases[i].ids, cases[i].n),
              "the small tokenizer encodes \"%s\" as worked out by hand", cases[i].text);
    check(encode(e, "<|end|>", 6) == 6 && encode(e, "hello'll", 7) == 3,
          "nothing beyond the end of a text is looked at");
    const char *tab = "\thello";
    check(word_end(tab, tab + 6) == tab + 1, "only a space goes with the word that follows it");
    static const char *const endings[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'" };
    int ends = 0;
    for (size_t i = 0; i < 8; i++) {
        char s[8];
        const int size = snprintf(s, sizeof s, "%sX", endings[i]);
        ends += word_end(s, s + size) == s + size - 1;
    }
    check(ends == 8, "%d of 8 endings are words of their own, whatever follows", ends);
    enum { PIECES = 5000 };                // the ids of the first pieces stay while the room for them grows
    char *text = (char *)allocate(12*PIECES + 1, 1, "a test");
    for (int i = 0; i < PIECES; i++) memcpy(text + 12*i, "hello<|end|>", 12);
    size_t n = encode(e, text, 12*PIECES);
    int same = n == 2*PIECES;
    for (size_t i = 0; i < n && same; i++) same = e->ids[i] == (i % 2 ? END : HELLO);
    check(same, "%d pieces between added tokens keep their ids", PIECES);
    release(text), encoder_free(e), encoder_free(f), tokenizer_free(t), tokenizer_free(arrays);
}

// merge_pairs, as its definition reads: O(n^2), no heap, no list.
static size_t merge_naive(const Tokenizer *t, int *ids, const char *word, size_t n) {
    for (size_t i = 0; i < n; i++) ids[i] = t->byte[(unsigned char)word[i]];
    for (;;) {
        const Merge *best = NULL;
        size_t where = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const Merge *m = find_merge(t, ids[i], ids[i + 1]);
            if (m && (!best || m->rank < best->rank)) best = m, where = i;
        }
        if (!best) return n;
        ids[where] = best->id;
        n--;
        memmove(ids + where + 1, ids + where + 2, (n - where - 1)*sizeof *ids);
    }
}
static void test_merging(const Tokenizer *t, const char *letters, const char *what) {
    Encoder *e = encoder_new(t);
    Pcg64 r = pcg64_seed(1);
    int different = 0, ids[400], lengths[] = { 1, 2, 3, 7, 20, 32, 33, 60, 399 };
    for (int turn = 0; turn < 9000; turn++) {
        char word[400];
        size_t n = (size_t)lengths[turn % 9], m;
        for (size_t i = 0; i < n; i++) word[i] = letters[pcg64_next32(&r) % strlen(letters)];
        m = merge_naive(t, ids, word, n);
        for (int again = 0; again < 2; again++) {           // computed, and then remembered
            e->n = 0, reserve_ids(e, n);
            encode_word(e, word, n);
            different += e->n != m || memcmp(e->ids, ids, m*sizeof *ids) != 0;
        }
    }
    check(different == 0,
          "%s: 9,000 words of 1 to 399 bytes, with and without memory, have the ids of the naive "
          "merging", what);
    encoder_free(e);
}

static void test_unicode(void) {
    int wrong = 0, length;
    char bytes[4];
    for (int code = 0; code < 0x110000; code++) {
        int n = utf8_encode(bytes, code), back = utf8_decode(bytes, (size_t)n, &length);
        int surrogate = code >= 0xd800 && code < 0xe000;
        wrong += surrogate ? back != -1 : back != code || length != n;
        for (int cut = 1; cut < n && !surrogate; cut++)
            wrong += utf8_decode(bytes, (size_t)cut, &length) != -1 || length != cut;
    }
    check(wrong == 0, "every code point goes to UTF-8 and back; surrogates and cut-off ones are "
                      "refused");
    // one U+FFFD for each maximal subpart (Unicode 3.9, tables 3-8 to 3-11)
    struct { const char *bytes, *repaired; } broken[] = {
        { "a\xc0\xaf" "b", "a\xef\xbf\xbd\xef\xbf\xbd" "b" },
        { "\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf4\x91\x92\x93" "A", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" "A" },
        { "\xe1\x80\xe2\xf0\x91\x92\xf1\xbf" "A",
          "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" "A" },
        { "\xff\xe2\x82\xac", "\xef\xbf\xbd\xe2\x82\xac" },
        { "\xc1\x81", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf5\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
    };
    for (size_t i = 0; i < sizeof broken/sizeof *broken; i++) {
        char out[64];
        size_t n = utf8_repair(out, broken[i].bytes, strlen(broken[i].bytes));
        check(n == strlen(broken[i].repaired) && !memcmp(out, broken[i].repaired, n),
              "broken UTF-8, case %zu: one U+FFFD for each maximal part", i);
    }
}

// What words are cut by: marks are no letters; numbers need no value; what Unicode 15 brought is not
// known yet.
static void test_char_classes(void) {
    static const struct { int code; CharClass expected; } cases[] = {
        { 'a', LETTER }, { 'Z', LETTER }, { '0', DIGIT }, { '_', OTHER }, { '\r', SPACE },
        { 0x1c, OTHER }, { 0x85, SPACE }, { 0xa0, SPACE },
        { 0x3000, SPACE }, { 0x200b, OTHER }, { 0x301, OTHER }, { 0x93f, OTHER }, { 0xbd, DIGIT },
        { 0x2160, DIGIT }, { 0x661, DIGIT },
        { 0x2b0, LETTER }, { 0x65e5, LETTER }, { 0xa7c0, LETTER }, { 0x11f04, OTHER },
        { 0x11f50, OTHER }, { 0x1f600, OTHER },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++)
        check(char_class(cases[i].code) == cases[i].expected, "U+%04X is of class %d",
              (unsigned)cases[i].code, cases[i].expected);
    int same = 0;
    for (int c = 0; c < 256; c++) {                         // of ASCII there is a table, of the others ICU's
        const uint32_t category = U_MASK(u_charType(c));
        same += char_class(c) == (u_isUWhiteSpace(c) ? SPACE : category & U_GC_L_MASK ? LETTER
                                  : category & U_GC_N_MASK ? DIGIT : OTHER);
    }
    check(same == 256, "256 code points are of the class that ICU gives them (%d)", same);
}

// Escapes of JSON strings. -1: none, or one that stands for no character.
static void test_unescape(void) {
    static const struct { const char *json; int n; const char *bytes; } cases[] = {
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", 8, "\"\\/\b\f\n\r\t" },
        { "\"\\u0041\\u00e9\\u20ac\"", 6, "A\xc3\xa9\xe2\x82\xac" },
        { "\"\\ud83d\\ude00!\"", 5, "\xf0\x9f\x98\x80!" }, { "\"\\ud83d\\ud83d\"", -1, "" },
        { "\"\\ud83dx\"", -1, "" }, { "\"\\ude00\"", -1, "" },
        { "\"\\u1\", \"\"\"", -1, "" }, { "\"\\u-001\"", -1, "" }, { "\"\\u0x1 \"", -1, "" },
        { "\"\\ud83d\\u+e00\"", -1, "" }, { "7", -1, "" },
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        int n = json_unescape(out, sizeof out, cases[i].json);
        check(n == cases[i].n && (n < 0 || !memcmp(out, cases[i].bytes, (size_t)n)),
              "the JSON string %s has %d bytes", cases[i].json, cases[i].n);
    }
    check(json_unescape(out, 8, "\"abcde\"") == 5 && json_unescape(out, 8, "\"abcdef\"") == -1,
          "a string longer than its room is refused");
}

// Lines {"text", "ids", "ids_v1_5" where they differ, "decoded" where it is not the text}, made with
// the Hugging Face library.
static void test_official_tokenizer(const char *path, const char *golden, const char *field, int least) {
    if (!file_exists(path)) {
        printf("skipped: %s is not there; data/tokenizers.sh fetches it\n", path);
        return;
    }
    Tokenizer *t = tokenizer_load(path);
    Encoder *e = encoder_new(t);
    Reader *r = reader_open(golden);
    int lines = 0, ids_wrong = 0, text_wrong = 0;
    for (Document d; document_read(r, &d); document_free(&d), lines++) {
        const json_t *line = tree_of(&d), *ids = json_object_get(line, field);
        const json_t *decoded = json_object_get(line, "decoded");
        if (!ids) ids = json_object_get(line, "ids");
        size_t n = encode(e, d.text, d.size), room = n*(size_t)t->longest + 1;
        size_t same = n == json_array_size(ids);
        for (size_t i = 0; i < n && same; i++)
            same = e->ids[i] == json_integer_value(json_array_get(ids, i));
        ids_wrong += !same;
        char *raw = (char *)allocate(room, 1, "a test"), *text = (char *)allocate(3*room, 1, "a test");
        size_t size = utf8_repair(text, raw, decode(t, raw, e->ids, n));
        const char *expected = decoded ? json_string_value(decoded) : d.text;
        text_wrong += size != (decoded ? json_string_length(decoded) : d.size) ||
            memcmp(text, expected, size);
        release(raw), release(text);
    }
    reader_close(r);
    check(lines >= least && ids_wrong == 0, "%s: ids of %d golden texts in %s, %d differ", path,
          lines, golden, ids_wrong);
    check(text_wrong == 0, "%s: decoded again, %d of the golden texts differ", path, text_wrong);
    test_merging(t, "etaoin shrdlu,", path);
    size_t n = (size_t)1 << 20;
    char *as = (char *)allocate(n, 1, "a test");
    memset(as, 'a', n);
    const double before = processor_seconds();
    size_t got = encode(e, as, n), total = 0;
    for (size_t i = 0; i < got; i++) total += (size_t)t->size[e->ids[i]];
    const double took = processor_seconds() - before;
    check(total == n && took < 20, "%s: one word of a million letters is encoded in %.2f s", path, took);
    release(as), encoder_free(e), tokenizer_free(t);
}

// small.json with one text replaced by another; NULL: cut off there.
static const char *damaged(const char *old, const char *new_text) {
    char *text = read_text(in_scratch("small.json")), *at = strstr(text, old);
    char *out = (char *)allocate(strlen(text) + 4096, 1, "a test");
    CHECK(at, "the small tokenizer has no %s", old);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, new_text ? new_text : "",
            new_text ? at + strlen(old) : "");
    const char *path = put_text("damaged.json", out);
    release(text), release(out);
    return path;
}
// What other files of the kind have, and ours has not.
static void test_other_tokenizers(void) {
    static const char *const cases[][2] = {
        { ", \"use_regex\": true", "" },
        { "\"type\": \"BPE\"", "\"type\": \"BPE\", \"dropout\": null, \"end_of_word_suffix\": \"\"" },
        { "\"added_tokens\": [",
          "\"added_tokens\": [{\"id\": 280, \"content\": \"<}x\", \"normalized\": false}, " },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        Tokenizer *t = tokenizer_load(damaged(cases[i][0], cases[i][1]));
        Encoder *e = encoder_new(t);
        // the third has two added tokens that differ in their second byte
        const int ids[] = { 259, SMALL_ADDED, 280 };
        check(encodes_to(e, i == 2 ? "hello<|end|><}x" : "hello<|end|>", ids, i == 2 ? 3 : 2),
              "a tokenizer.json with %.60s works", cases[i][1]);
        encoder_free(e), tokenizer_free(t);
    }
}
// Of neighbours those are merged first whose merge was learned first; what a merge has taken away is merged
// with nothing more. Of added tokens the longest fits; where they are normalized, the normal form of a text.
static void test_orders(void) {
    enum { E_ACUTE = 263, YZ = 281, ZX, XY, TWO, THREE, E_BAR, XWV = 289 };
    static const char merges[] = "\"yz\": 281, \"zx\": 282, \"xy\": 283, \"wv\": 288, "
                                 "\"xwv\": 289, \"ld\": 264}, "
                                 "\"merges\": [\"y z\", \"z x\", \"x y\", \"w v\", \"x wv\", ";
    static const char added[] = "\"added_tokens\": ["
                                "{\"id\": 284, \"content\": \"<<\", \"normalized\": false}, "
                                "{\"id\": 285, \"content\": \"<<<\", \"normalized\": false}, "
                                "{\"id\": 286, \"content\": \"\\u00e9|\", \"normalized\": true}, "
                                "{\"id\": 287, \"content\": \"<<\\u00e9\", \"normalized\": true}, ";
    static const struct { const char *text; int added, ids[3], n; } cases[] = {
        { "xyz", 0, { 'x', YZ }, 2 }, { "zxy", 0, { ZX, 'y' }, 2 }, { "yzxy", 0, { YZ, XY }, 2 },
        { "xyzx", 0, { 'x', YZ, 'x' }, 3 }, { "yzxwv", 0, { YZ, XWV }, 2 },
        { "<<", 1, { TWO }, 1 }, { "<<<", 1, { THREE }, 1 }, { "<<<<", 1, { THREE, '<' }, 2 },
        { "\u00e9|", 1, { E_BAR }, 1 }, { "e\u0301|", 1, { E_BAR }, 1 },
        { "<<\u00e9", 1, { TWO, E_ACUTE }, 2 },              // what is not normalized is found before
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        Tokenizer *t = tokenizer_load(cases[i].added ? damaged("\"added_tokens\": [", added)
                                      : damaged("\"ld\": 264}, \"merges\": [", merges));
        Encoder *e = encoder_new(t);
        check(encodes_to(e, cases[i].text, cases[i].ids, cases[i].n),
              "what is merged, or found, first: \"%s\"", cases[i].text);
        encoder_free(e), tokenizer_free(t);
    }
}
// A name in "vocab" that stands for no bytes (ByteLevel has no space) is text, and comes of no merge.
static void test_text_in_vocab(void) {
    Tokenizer *t = tokenizer_load(damaged("\"vocab\": {", "\"vocab\": {\"x\\u0020y\": 281, "));
    Encoder *e = encoder_new(t);
    const int id = 281, bytes[] = { 'x', ' ', 'y' };
    char text[64];
    check(decode(t, text, &id, 1) == 3 && !memcmp(text, "x y", 3) && encodes_to(e, "x y", bytes, 3),
          "a token of \"vocab\" that is no bytes' name is read, not written");
    const int none[] = { 280, -1, 282, INT32_MAX };
    check(decode(t, text, none, 4) == 12 && !memcmp(text, "\ufffd\ufffd\ufffd\ufffd", 12),
          "an id that no token has is U+FFFD");
    encoder_free(e), tokenizer_free(t);
}
static void test_hostile_tokenizers(void) {
    test_other_tokenizers();
    test_text_in_vocab();
    test_orders();
    struct { const char *old, *new_text, *sentence; } cases[] = {
        { "\"merges\"", NULL, "cut off" }, { "\"version\"", "\"version", "not JSON" },
        { "\"model\"", "\"other\"", "of type BPE" },
        { "\"BPE\"", "\"Unigram\"", "of type BPE" }, { "\"NFC\"", "\"NFKC\"", "normalizer NFC" },
        { "{\"type\": \"NFC\"}", "null", "normalizer NFC" },
        { "\"ByteLevel\"", "\"Whitespace\"", "ByteLevel" },
        { "\"add_prefix_space\": false", "\"add_prefix_space\": true", "no prefix space" },
        { "\"use_regex\": true", "\"use_regex\": false", "its regex" },
        { "\"vocab\": {", "\"vocab\": 7, \"x\": {", "\"vocab\"" },
        { "\"merges\": [", "\"merges\": 7, \"x\": [", "\"merges\"" },
        { "\"merges\": [", "\"merges\": [\"h\", ", "two tokens" },
        { "\"merges\": [", "\"merges\": [[\"h\"], ", "two tokens" },
        { "\"merges\": [", "\"merges\": [[\"h\", 3], ", "two tokens" },
        { "\"merges\": [", "\"merges\": [\"h zz\", ", "\"vocab\" has not" },
        { "\"h e\"", "\"h h\"", "\"vocab\" has not" },
        { "\"he\": 256", "\"he\": 255", "different ids" },
        { "\"he\": 256", "\"he\": -1", "different ids" },
        { "\"he\": 256", "\"he\": 99999999", "different ids" },
        { "\"he\": 256", "\"he\": \"x\"", "different ids" }, { "\"ld\":", "\"ll\":", "twice" },
        { "\"a\": 97", "\"aaa\": 97", "byte 97" },
        { "\"he\": 256", "\"h\\ud800\": 256", "to be a string" },
        { "\"he\": 256", "\"\": 256", "to be a string" },
        { "\"type\": \"BPE\"", "\"type\": \"BPE\", \"dropout\": 0.1", "dropout" },
        { "\"type\": \"BPE\"", "\"type\": \"BPE\", \"unk_token\": \"u\"", "unk_token" },
        { "\"type\": \"BPE\"", "\"type\": \"BPE\", \"byte_fallback\": true", "byte_fallback" },
        { "\"lstrip\": false", "\"lstrip\": true", "lstrip" },
        { "\"single_word\": false", "\"single_word\": true", "single_word" },
        { "\"content\": \"<|end|>\"", "\"content\": \"<\"", "single byte" },
        { "\"content\": \"<|end|>\"", "\"content\": 3", "to be a string" },
        { "\"content\": \"<|end|>\", ", "", "to be a string" },
        { "\"id\": 265", "\"id\": -3", "\"id\"" }, { "\"id\": 265", "\"id\": 1e9", "\"id\"" },
        { "\"rstrip\": false", "\"rstrip\": true", "rstrip" },
        { "\"type\": \"BPE\"", "\"type\": \"BPE\", \"ignore_merges\": true", "ignore_merges" },
        { "\"type\": \"BPE\"", "\"type\": \"BPE\", \"continuing_subword_prefix\": \"#\"",
          "continuing_subword_prefix" },
        { "\"he\": 256", "\"he\": 262144", "different ids" },
        { "\"merges\": [", "\"merges\": [[\"\", \"h\"], ", "two tokens" },
        { "\"merges\": [", "\"merges\": [[\"h\", \"\xe2\x82\xac\"], ", "two tokens" },
        { "\"ld\": 264}, \"merges\": [", "\"ld\": 264, \"hzz\": 290}, \"merges\": [\"h zz\", ",
          "\"vocab\" has not" },
        { "\"added_tokens\": [", "\"added_tokens\": [3, ", "expected an object" },
        { "\"added_tokens\": [", "\"added_tokens\": 3, \"x\": [", "an array" },
    };
    char out[4096];
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        const char *path = damaged(cases[i].old, cases[i].new_text);
        int code = run(out, sizeof out,
                       "./train_olmo --generate 1 --vocab 300 --seq-len 8 --n-layers 1 --tokenizer "
                       "%s", path);
        check(code == 1 && !strncmp(out, "error: ", 7) && strstr(out, path) &&
              strstr(out, cases[i].sentence) && strchr(out, '\n') == out + strlen(out) - 1,
              "a tokenizer.json with %.30s for %.30s is refused: %.*s",
              cases[i].new_text ? cases[i].new_text : "its end", cases[i].old,
              (int)strcspn(out, "\n"), out);
    }
    int code = run(out, sizeof out,
                   "./train_olmo --generate 4 --vocab 300 --seq-len 8 --n-layers 1 --tokenizer %s "
                   "--prompt 'hello hello' 2>/dev/null", in_scratch("small.json"));
    check(code == 0 && !strncmp(out, "hello hello", 11),
          "train_olmo --tokenizer: the prompt is text, and so is what follows");
    code = run(out, sizeof out,
               "./train_olmo --generate 4 --vocab 260 --seq-len 8 --n-layers 1 --tokenizer %s "
               "--prompt hello", in_scratch("small.json"));
    check(code == 1 && strstr(out, "has 270 tokens, the model only 260 rows"),
          "a tokenizer larger than the model's vocabulary is refused");
    code = run(out, sizeof out,
               "./train_olmo --generate 4 --vocab 300 --seq-len 8 --n-layers 1 --tokenizer %s "
               "--prompt \"$(printf 'a\\377')\"", in_scratch("small.json"));
    check(code == 1 && strstr(out, "expected UTF-8"), "a prompt that is not UTF-8 is refused");
}

// Long runs of marks, which are put in order before ICU sees them, have the normal form that ICU
// alone finds: marks of all classes, such as become two, such as count as none, and such as the
// tables of Unicode 9 do not know.
static void test_marks(void) {
    static const int marks[] = {
        0x301, 0x323, 0x327, 0x345, 0x334, 0x340, 0x343, 0x344, 0xf71, 0xf72, 0xf73, 0xf75, 0xf81,
            0x5b0, 0x5bf, 0x64b, 0x3099,
        0x93c, 0x94d, 0x1d165, 0x1d16d, 0xeba, 0xe48, 0x1df6, 0x8d3, 0x10f46, 0x20dd,
    };
    Tokenizer *t = tokenizer_load(in_scratch("small.json"));
    Encoder *e = encoder_new(t);
    Pcg64 r = pcg64_seed(23);
    int wrong = 0, changed = 0;
    for (int turn = 0; turn < 5000; turn++) {
        char text[1024], expected[3*1024];
        UChar before[1024], after[3*1024];
        size_t n = 0, size;
        int length = (int)(pcg64_next32(&r) % 150), kinds = 2 + (int)(pcg64_next32(&r) % 26);
        for (int i = 0; i < length; i++) {
            int other = pcg64_next32(&r) % 60 == 0;
            n += (size_t)utf8_encode(text + n,
                                     other ? "aA\n\xe9"[pcg64_next32(&r) % 4] & 0xff
                                     : marks[pcg64_next32(&r) % (unsigned)kinds]);
        }
        UErrorCode error = U_ZERO_ERROR;
        int32_t units, bytes;
        u_strFromUTF8(before, 1024, &units, text, (int32_t)n, &error);
        units = unorm2_normalize(nfc, before, units, after, 3*1024, &error);
        u_strToUTF8(expected, sizeof expected, &bytes, after, units, &error);
        size = n;
        const char *ours = normal_form(e, text, &size);
        wrong += U_FAILURE(error) || size != (size_t)bytes || memcmp(ours, expected, size);
        changed += size != n || memcmp(ours, text, n);
    }
    check(!wrong && changed > 3000, "runs of marks in normal form C: %d of %d wrong", wrong, changed);
    encoder_free(e), tokenizer_free(t);
}

static void test_tokenizer(void) {
    test_marks();
    test_unicode();
    test_char_classes();
    test_unescape();
    test_small_tokenizer();
    Tokenizer *t = tokenizer_load(in_scratch("small.json"));
    test_merging(t, "hello ad", "the small tokenizer");
    tokenizer_free(t);
    static const char *const first = "data/tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json";
    test_official_tokenizer(first, "data/test/golden/golden_tokenizer.jsonl", "ids", 147);
    // as OLMo's chat template writes them
    test_official_tokenizer(first, "data/test/golden/golden_chat.jsonl", "ids", 2);
    test_official_tokenizer("data/tokenizers/allenai_gpt-neox-olmo-dolma-v1_5.json",
                            "data/test/golden/golden_tokenizer.jsonl", "ids_v1_5", 147);
    test_hostile_tokenizers();
}
