// Tests of data/taggers.c and of `curate tag`: the reference's values, and what must hold of any text.
#ifndef PCRE2_CODE_UNIT_WIDTH                               // another part has included it
#include "../taggers.c"
#endif

static Tags tags_now;
static View view_now;
// What a tagger says of a text.
static const Tags *tags_of(void (*tag)(Tags *, View *), const char *text, size_t size) {
    static Document d;
    if (!d.origin) d.origin = origin_new("test");
    d.text = text, d.size = size, d.id = "x", d.path = "test", d.line = 1;
    tags_clear(&tags_now), tags_now.tagger = "t";
    view_document(&view_now, &d);
    tag(&tags_now, &view_now);
    return &tags_now;
}
static const Tags *tags_of_text(void (*tag)(Tags *, View *), const char *text) {
    return tags_of(tag, text, strlen(text));
}
// The i-th tag of a type; NULL if there are fewer.
static const Tag *tag_at(const Tags *tags, const char *type, int i) {
    for (size_t k = 0; k < tags->types; k++) if (!strcmp(tags->type[k].type, type)) {
        size_t t = tags->type[k].first;
        while (t && i--) t = tags->tag[t - 1].next;
        return t ? &tags->tag[t - 1] : NULL;
    }
    return NULL;
}
static double score_of(void (*tag)(Tags *, View *), const char *text, const char *type) {
    const Tag *t = tag_at(tags_of_text(tag, text), type, 0);
    return t ? t->score : NAN;
}

// ---- against the reference's values -----------------------------------------------------------------

static int same_spans(const json_t *a, const json_t *b) {
    if (json_array_size(a) != json_array_size(b)) return 0;
    for (size_t i = 0; i < json_array_size(a); i++) for (size_t k = 0; k < 3; k++) {
        double x = json_number_value(json_array_get(json_array_get(a, i), k));
        double y = json_number_value(json_array_get(json_array_get(b, i), k));
        if (!(fabs(x - y) <= (k == 2 ? 1e-9 : 0))) return 0;
    }
    return 1;
}

static void test_golden_tags(void) {
    static char out[1 << 18];
    int documents = 0, values = 0, different = 0, aligned = 1;
    run(out, sizeof out,
        "data/curate tag --taggers gopher_v1,gopher_v2,c4_v1,c4_v2,pii_regex_with_counts_fast_v2 - "
        "< data/test/golden/golden_taggers.jsonl 2> %s", in_scratch("tag.err"));
    Reader *r = reader_open("data/test/golden/golden_taggers.jsonl");
    char *line = out;
    for (Document d; document_read(r, &d); document_free(&d), documents++) {
        json_t *ours = json_loadb(line, strcspn(line, "\n"), JSON_ALLOW_NUL, NULL);
        json_t *a = json_object_get(tree_of(&d), "attributes");
        json_t *b = json_object_get(ours, "attributes"), *value;
        const char *key;
        aligned &= json_is_object(b) &&
            json_equal(json_object_get(ours, "id"), json_object_get(d.attributes, "id"));
        json_object_foreach(a, key, value)
            values++, different += !same_spans(value, json_object_get(b, key));
        different += (int)json_object_size(b) != (int)json_object_size(a);
        json_decref(ours);
        line += strcspn(line, "\n"), line += *line == '\n';
    }
    reader_close(r);
    check(aligned && !*line, "curate tag writes a line for each of %d documents, in order", documents);
    check(values > 500 && !different, "the reference's %d values, no key more or less: %d differ",
          values, different);
}

// ---- n-grams against a naive twin -------------------------------------------------------------------

static int same_words(const View *v, size_t i, size_t j, size_t n) {
    for (size_t k = 0; k < n; k++) {
        const WordSpan *a = &v->word[i + k], *b = &v->word[j + k];
        if (a->size != b->size || memcmp(v->text + a->byte, v->text + b->byte, a->size)) return 0;
    }
    return 1;
}
static Repetition naive_repetition(const View *v, size_t n) {
    size_t most = 0, top = 0, characters = 0, all = 0, duplicate = 0;
    for (size_t i = 0; i < v->words; i++) characters += v->word[i].chars;
    for (size_t i = 0; i + n <= v->words; i++) {
        size_t count = 0, length = 0;
        for (size_t j = 0; j + n <= v->words; j++) count += (size_t)same_words(v, i, j, n);
        for (size_t k = 0; k < n; k++) length += v->word[i + k].chars;
        if (count > most) most = count, top = count*length;
        all += length, duplicate += count > 1 ? length : 0;
    }
    return (Repetition){ (double)top/(double)characters, (double)duplicate/(double)all };
}
static void test_ngrams(void) {
    static const char *const vocabulary[] = { "a", "be", "the", "\u65e5\u672c", "x", "yy" };
    char text[4096];
    int different = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        size_t size = 0, words = hash64(seed) % 120;
        for (size_t i = 0; i < words; i++)
            size += (size_t)sprintf(text + size, "%s ",
                                    vocabulary[hash64(seed*1000 + i) % (seed % 6 + 1)]);
        Repetition fast[11];
        tags_of(tag_gopher_v1, text, size);
        count_ngrams(fast, &view_now);
        for (size_t n = 2; n <= 10 && n <= words; n++) {
            Repetition slow = naive_repetition(&view_now, n);
            different += slow.top != fast[n].top || slow.duplicate != fast[n].duplicate;
        }
    }
    check(!different, "n-grams, n = 2..10, as counted naively in 300 texts: %d differ", different);
}

// ---- by hand ----------------------------------------------------------------------------------------

// What the table of naughty words must not lose: items of one key, at both ends of a text, of odd
// blanks, of sizes that share a byte.
static void test_naughty(void) {
    char word[300];
    tagger_options.naughty = put_text("naughty2.txt",
                                      "foo\nsome phrase here\none place\n\u00e9t\u00e9\n"
                                      "a\u00a0b c\nx  y\n");
    release(naughty.item), memset(&naughty, 0, sizeof naughty), prepare_c4();
    static const char *const has[] = { "x some phrase here", "some phrase here x",
                                       "x some phrase here y", "x one place y", "z a\u00a0b c",
                                       "z x  y", "abcdef \u00c9T\u00c9 x" };
    for (size_t i = 0; i < sizeof has/sizeof *has; i++)
        check(score_of(tag_c4_v1, has[i], "has_naughty_word") == 1, "naughty: %s", has[i]);
    strcpy(word, "foo"), memset(word + 3, 'x', 255), strcpy(word + 258, "o");
    check(isnan(score_of(tag_c4_v1, word, "has_naughty_word")),
          "a word that shares beginning, end and size modulo 256 with one of the list is another");
    check(score_of(tag_c4_v1, "foo x javascript b", "has_javascript") == 1,
          "the search for javascript goes on behind a naughty word");
}

// ASCII goes eight bytes at a time: every place of a letter that is not, and the neighbours of A and Z.
static void test_lower_case(void) {
    char text[64], expected[64], out[128];
    int wrong = 0;
    for (int i = 0; i < 20; i++) {
        memset(text, 'A', 20), strcpy(text + i, "\u00c9@AZ[`az{A");
        memset(expected, 'a', 20), strcpy(expected + i, "\u00e9@az[`az{a");
        size_t n = lower_case(out, text, strlen(text));
        wrong += n != strlen(expected) || memcmp(out, expected, n);
    }
    check(wrong == 0, "lower case: %d of 20 texts wrong", wrong);
    check(lower_case(out, "\u0130\u212a\u023a", 7) == 7 && !memcmp(out, "i\u0307k\u2c65", 7),
          "lower case: one code point may become two, or another number of bytes");
}

// The bytes that a match cannot do without are counted 255 at a time.
static void test_possible_pii(void) {
    char text[300];
    prepare_pii();
    check(score_of(tag_pii, "1.1.1.1", "doc_count") == 1, "the shortest IP address");
    int wrong = 0;
    for (size_t n = 250; n < 262; n++)
        memset(text, '1', n), strcpy(text + n, ".1.1.1"),
            wrong += score_of(tag_pii, text, "doc_count") != 1;
    check(wrong == 0, "an IP address behind 250 to 261 digits: %d not found", wrong);
    const Tag *t = tag_at(tags_of_text(tag_pii, "\u00e9 1.1.1.1 2.2.2.2"), "IP_ADDRESS", 1);
    check(t && t->start == 10 && t->end == 17, "the second of a paragraph, in code points");
}

// Every ASCII character as a word, and as a line's end.
static void test_ascii(void) {
    int letters = 0, ends = 0, bullets = 0, symbols = 0;
    for (char c = '!'; c < 127; c++) {
        const char word[] = { c, 0 }, end[] = { 'a', ' ', 'b', ' ', 'c', c, 0 }, begin[] = { c, 'a', 0 };
        const int is_letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        letters += score_of(tag_gopher_v1, word, "fraction_of_words_with_alpha_character") == is_letter;
        symbols += score_of(tag_gopher_v1, word, "symbol_to_word_ratio") == (c == '#');
        bullets += score_of(tag_gopher_v1, begin, "fraction_of_lines_starting_with_bullet_point") ==
            (c == '*' || c == '-');
        ends += isnan(score_of(tag_c4_v1, end, "lines_with_no_ending_punctuation")) ==
            (strchr(".?!\"", c) != NULL);
    }
    check(letters == 94 && symbols == 94 && bullets == 94 && ends == 94,
          "of 94 ASCII characters, letters, #, bullets and ends of sentences are what they are: %d %d %d %d",
          letters, symbols, bullets, ends);
    static const struct { const char *text, *type; double score; } cases[] = {
        { "the be to of and that have with", "required_word_count", 8 },
        { "The thee b t off an than haves wit", "required_word_count", 0 },
        { "\u2026 #a a# \u2025 a\u2026b \u2027", "symbol_to_word_ratio", 4/6.0 },
        { "a\u2026\n\u2026\nb...\n\u2026.\n", "fraction_of_lines_ending_with_ellipsis", 2/5.0 },
        { "\u00e9 \u65e5 \u0661 \u0301 7", "fraction_of_words_with_alpha_character", 2/5.0 },
        { "aa aa\nb\naa aa\nb", "fraction_of_characters_in_duplicate_lines", 12/10.0 },
        { "one two three", "word_count", 3 }, { " \u00e9a\n", "character_count", 4 },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++)
        check(score_of(tag_gopher_v1, cases[i].text, cases[i].type) == cases[i].score, "%s of \"%s\": %g",
              cases[i].type, cases[i].text, score_of(tag_gopher_v1, cases[i].text, cases[i].type));
}

// A text of more than 10,000 question marks is none, and nobody's.
static void test_questions(void) {
    char *text = (char *)allocate(10100, 1, "a test");
    prepare_pii();
    for (int more = 0; more < 2; more++) {
        const int n = sprintf(text, "a@b.cd \n");
        memset(text + n, '?', 10000 + (size_t)more), text[n + 10000 + more] = 0;
        check(score_of(tag_pii, text, "doc_count") == !more, "an address among %d question marks is %s",
              10000 + more, more ? "not looked for" : "found");
    }
    release(text);
}

// A search that takes too many steps says so, and what was found before stays.
static void tag_with_a_limit(const char *text) {
    pcre2_set_match_limit(pii_limits, 1);
    tags_of_text(tag_pii, text);
}
static void test_pii_limit(void) {
    prepare_pii();
    char *said = sentences_of(tag_with_a_limit, "a@b.cd \n 555-123-4567 9\n");
    const Tags *tags = &tags_now;
    check(strstr(said, "test:1: paragraph 2 takes too long to search to its end for PHONE_NUMBER "
                       "(PCRE2: -47); skipped") &&
          tag_at(tags, "EMAIL_ADDRESS", 0) && !tag_at(tags, "PHONE_NUMBER", 0),
          "a search that is given up has its sentence: %s", said);
    release(said);
    prepare_pii();
}

static void test_tags_by_hand(void) {
    int spaces = 0, wrong = 0;
    for (int code = 0; code < 0x110000; code++) {
        char bytes[8] = "";
        int n = utf8_encode(bytes, code),
            space = (code >= 9 && code <= 13) || (code >= 0x1c && code <= 0x20) || code == 0x85 ||
            code == 0xa0 ||
            code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
            code == 0x202f || code == 0x205f || code == 0x3000;
        spaces += space, wrong += space_at(bytes) != (space ? n : 0);
        char text[8] = "a";
        size_t size = 0, all = (size_t)n + 2;
        memcpy(text + 1, bytes, (size_t)n), text[n + 1] = 'b';
        wrong += next_word(text, text + all, &size) != text || size != (space ? 1 : all);
    }
    check(spaces == 29 && !wrong,
          "of all code points, the 29 that Python calls white space are, and end words: %d differ", wrong);
    check(!tag_at(tags_of_text(tag_paragraph_words, "a\n"), "paragraph", 1),
          "no paragraph after the last newline");
    tags_of_text(tag_char_length, "\xc2\xa0" "a\x1c" "b\xe3\x80\x80" "c\xe2\x80\x8b" "d");
    view_words(&view_now);
    check(view_now.words == 3 && view_now.word[2].chars == 3,
          "Python's white space: U+00A0, U+001C, U+3000; not U+200B");
    check(score_of(tag_gopher_v1, "a bb ccc dddd", "median_word_length") == 2.5,
          "the median of an even number of words");
    check(score_of(tag_gopher_v1, "x\n\nx\n\ny", "fraction_of_duplicate_lines") == 0.8 &&
          score_of(tag_gopher_v2, "x\n\nx\n\ny", "fraction_of_duplicate_lines") == 2.0/3,
          "duplicate lines with empty ones (v1) and without (v2)");
    const char *bullets = "fraction_of_lines_starting_with_bullet_point";
    check(score_of(tag_gopher_v2, "\n\n- a\n\n- b", bullets) == 2.0/3 &&
          score_of(tag_gopher_v2, "- a\n- b\n\n", bullets) == 2.0/3,
          "... but for one empty line at either end, which re.split leaves");
    check(score_of(tag_c4_v1, "a\nLorem Ipsum b", "has_lorem_ipsum") == 1, "lorem ipsum in capitals");
    check(isnan(score_of(tag_c4_v1, "a javascripted b", "has_javascript")) &&
          score_of(tag_c4_v2, "a javascripted b", "has_javascript") == 1 &&
          score_of(tag_c4_v1, "a JavaScript b", "has_javascript") == 1,
          "javascript as a word (v1), or as a part of one (v2)");
    const Tag *t = tag_at(tags_of_text(tag_c4_v1, "\u00e9\u00e9.\nno end here\nend \" \n"),
                          "lines_with_no_ending_punctuation", 0);
    check(t && t->start == 4 && t->end == 16,
          "a line without final punctuation: its span covers the newline, in code points");
    tagger_options.naughty = put_text("naughty.txt",
                                      "# a list\nfoo\nsome phrase here\n\xf0\x9f\x96\x95\nBar\n"
                                      "end it\n");
    prepare_c4();
    check(score_of(tag_c4_v1, "a bar", "has_naughty_word") == 1 &&
          score_of(tag_c4_v1, "BAR", "has_naughty_word") == 1,
          "the list is in lower case, like the text");
    check(score_of(tag_c4_v1, "end it", "has_naughty_word") == 1 &&
          score_of(tag_c4_v1, "friend item", "has_naughty_word") == 1 &&
          isnan(score_of(tag_c4_v1, "end i", "has_naughty_word")) &&
          isnan(score_of(tag_c4_v1, "nd it", "has_naughty_word")) &&
          isnan(score_of(tag_c4_v1, "end  it", "has_naughty_word")) &&
          isnan(score_of(tag_c4_v1, "end\tit", "has_naughty_word")) &&
          isnan(score_of(tag_c4_v1, "it\nend ", "has_naughty_word")),
          "phrases at a text's beginning and end, across words, and not quite");
    check(score_of(tag_c4_v1, "x FOO y", "has_naughty_word") == 1 &&
          isnan(score_of(tag_c4_v1, "x food foo, y", "has_naughty_word")) &&
          score_of(tag_c4_v1, "awesome phrase hereby", "has_naughty_word") == 1 &&
          isnan(score_of(tag_c4_v1, "some\nphrase here", "has_naughty_word")) &&
          score_of(tag_c4_v2, "\xf0\x9f\x96\x95", "has_naughty_word") == 1 &&
          isnan(score_of(tag_c4_v1, "a # a list", "has_naughty_word")),
          "naughty words by equality, phrases anywhere in a line, comments nowhere");
    check(isnan(score_of(tag_c4_v1, "one two three.\u3000", "lines_with_no_ending_punctuation")) &&
          isnan(score_of(tag_c4_v1, "a\u1680b\u1680c.", "lines_with_too_few_words")) &&
          tag_at(tags_of(tag_c4_v1, "one two three\0", 14), "lines_with_no_ending_punctuation", 0),
          "lines end before white space of every kind, and a NUL ends no sentence");
    tagger_options.as_released = 1;
    t = tag_at(tags_of_text(tag_c4_v2, "\u0130 b c.\nd"), "lines_with_too_few_words", 0);
    check(t && t->start == 8 && t->end == 9,
          "as released, c4_v2's spans after U+0130 are one further on");
    tagger_options.as_released = 0;
    t = tag_at(tags_of_text(tag_paragraph_words, "a b.\n\n\xe6\x97\xa5"), "negative_paragraph", 2);
    check(t && t->start == 6 && t->end == 7 && t->score == -1,
          "words of a paragraph, negative, after an empty one");
    t = tag_at(tags_of_text(tag_not_alphanum, "a\n--- \xe2\x9d\xa4\n"), "all_punct", 0);
    check(t && t->start == 2 && t->end == 8 && t->score == 1, "a paragraph of dashes and a heart");
    check(score_of(tag_not_alphanum, "\u2776 \u27bf", "all_punct") == 1 &&
          score_of(tag_not_alphanum, "\u2460", "all_punct") == 0, "numbers are none, but for the dingbats");
    const Tags *blank = tags_of_text(tag_not_alphanum, "a\n \nb");
    check(blank->tags == 1 && blank->tag[0].score == 0 && blank->tag[0].end == 5,
          "a blank paragraph is not one of punctuation; where there is none, that is said");
    check(score_of(tag_paragraph_words, "a \x1c b", "paragraph") == 2, "Python's white space is no word");
    prepare_pii();
    t = tag_at(tags_of_text(tag_pii, "256.1.1.1"), "IP_ADDRESS", 0);
    check(t && t->start == 1 && t->end == 9 && score_of(tag_pii, "256.1.1.1", "doc_count") == 1,
          "256.1.1.1 is found as 56.1.1.1, like in the reference");
    check(score_of(tag_pii, "x (@y.z \n", "doc_count") == 0 &&
          score_of(tag_pii, "x w@yz \n", "doc_count") == 0 &&
          score_of(tag_pii, "x w@y.z \n", "doc_count") == 1 &&
          score_of(tag_pii, "x w@y.z", "doc_count") == 0 &&
          score_of(tag_pii, "x w@y.z \n", "doc_frac") > 1,
          "an e-mail address has a name, a dot, white space after it; doc_frac counts doc_count");
    t = tag_at(tags_of_text(tag_pii, "a \xd9\xa1\xd9\xa2\xd9\xa3-456-7890"), "PHONE_NUMBER", 0);
    check(t && t->start == 1 && t->end == 14, "Arabic digits are digits of a phone number");
}

// ---- repetitions, by hand ---------------------------------------------------------------------------

// "START-END:TIMES" of each repetition.
static const char *repeats_of(void (*tag)(Tags *, View *), const char *text) {
    static char found[512];
    const Tags *tags = tags_of_text(tag, text);
    char *s = found;
    *s = 0;
    for (int i = 0; i < 10 && tag_at(tags, "repetition", i); i++) {
        const Tag *t = tag_at(tags, "repetition", i);
        s += sprintf(s, "%s%zu-%zu:%g", i ? " " : "", t->start, t->end, t->score);
    }
    return found;
}
static int repeats_are(void (*tag)(Tags *, View *), const char *text, const char *expected) {
    const char *found = repeats_of(tag, text);
    if (strcmp(found, expected))
        printf("      \"%.60s\": expected %s, found %s\n", text, expected, found);
    return !strcmp(found, expected);
}

static void test_word_repetitions(void) {
    void (*const tag)(Tags *, View *) = tag_word_repetitions;
    check(repeats_are(tag, "a a a", "0-5:3") && repeats_are(tag, "x y y y y", "2-9:4") &&
          repeats_are(tag, "a a", "") && repeats_are(tag, "", ""),
          "words of period 1: three times or more, at the start and at the end");
    check(repeats_are(tag, "x a b a b a b a y", "2-15:3") && repeats_are(tag, "a b a b a", "") &&
          repeats_are(tag, "a b a b a b", "0-11:3"),
          "period 2: half a period more is covered, and not counted; two and a half are too few");
    char text[1024] = "", expected[64];
    for (int p = 13; p <= 14; p++) {
        size_t size = 0;
        for (int i = 0; i < 3*p; i++) size += (size_t)sprintf(text + size, "%c ", 'a' + i % p);
        snprintf(expected, sizeof expected, "0-%d:3", 6*13 - 1);
        check(repeats_are(tag, text, p == 13 ? expected : ""), "period %d is %s", p,
              p == 13 ? "found" : "not looked for");
    }
    check(repeats_are(tag, "a a a b a a a b a a a b", "0-23:3") &&
          repeats_are(tag, "a a a a a a a a a", "0-17:9"),
          "the outer of two, the shorter of two periods");
    check(repeats_are(tag, "a b a b a b c b c b c", "0-11:3 10-21:3") &&
          score_of(tag, "a b a b a b c b c b c", "doc_frac_repetition") == 22.0/21 &&
          score_of(tag, "a a a b b b b b c c c", "doc_max_score_repetition") == 5 &&
          score_of(tag, "a a a bb bb bb c c c", "doc_max_length_repetition") == 8 &&
          tags_of_text(tag, "a a b b")->types == 0,
          "two that overlap both count; the document's values; none without a repetition");
    check(repeats_are(tag, "\xc2\xa0\u00e9\u65e5 \u00e9\u65e5\u3000\n\u00e9\u65e5 \U0001f600", "1-10:3"),
          "spans in code points, from word to word");
}

static void test_token_repetitions(void) {
    void (*const tag)(Tags *, View *) = tag_tokenizer_repetitions;
    tagger_options.tokenizer = small_tokenizer("repeats.json", 0);
    prepare_tokenizer();
    check(repeats_are(tag, "hello hello hello hello", "6-23:3") &&
          repeats_are(tag, "aaaaaaaaaaaa", "0-12:3") && repeats_are(tag, "hello hello hello", ""),
          "tokens: a space before the first does not belong to the span");
    check(repeats_are(tag, "x   hello   hello   hello", "4-25:3") &&
          repeats_are(tag, "x            y", "4-13:4"),
          "runs of spaces are tokens, nothing at either end");
    check(repeats_are(tag, "z \u65e5\u65e5\u65e5", "2-5:3"),
          "tokens that are parts of a character cover it");
    check(repeats_are(tag, "ze\u0301e\u0301e\u0301e\u0301", "1-8:4") &&
          repeats_are(tag, "\u212b\u212b\u212b", "0-3:3") &&
          repeats_are(tag, "z\u0958\u0958\u0958z", "1-4:3"),
          "text that is not in normal form C: spans of the text as it is");
    enum { LONG = 100000 };
    char *text = (char *)malloc(2*LONG + 15), expected[64];
    CHECK(text, "no memory");
    for (int i = 0; i < LONG + 7; i++) strcpy(text + 2*i, "\u00e9");
    snprintf(expected, sizeof expected, "0-%d:%g %d-%d:7", LONG, (double)LONG, LONG, LONG + 7);
    check(repeats_are(tag, text, expected), "each 100,000 code points by themselves");
    free(text);
}

// ---- any text ---------------------------------------------------------------------------------------

// 0 <= start <= end <= code points; lines cover the text from end to end.
static int spans_fit(const Tags *tags, const View *v) {
    for (size_t i = 0; i < tags->tags; i++)
        if (tags->tag[i].start > tags->tag[i].end || tags->tag[i].end > v->chars) return 0;
    size_t at = 0;
    for (size_t i = 0; i < v->lines; at = line_end(v, i), i++) if (v->line[i].start != at) return 0;
    return at == v->chars && v->chars == code_points(v->text, v->size);
}
static void test_any_text(void) {
    static const char *const piece[] = { "\n", " ", "\t", "\x1f", "\xc2\x85", "\xe2\x80\xa8", "a",
                                         "The", "*", "-", "#", "\u2026", ".", "@", "a@b.co",
                                         "555-123-4567", "1.2.3.4", "(", "{", "\u0130", "\u023a",
                                         "\U0001f600", "\u65e5" };
    static void (*const all[])(Tags *, View *) = { tag_gopher_v1, tag_gopher_v2, tag_c4_v1,
                                                   tag_c4_v2, tag_pii, tag_paragraph_words,
                                                   tag_not_alphanum,
                                                   tag_word_repetitions, tag_tokenizer_repetitions };
    char text[1024];
    int wrong = 0, scores = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        size_t size = 0, n = hash64(~seed) % 60;
        for (size_t i = 0; i < n; i++) {
            uint64_t r = hash64(seed*100 + i);
            if (r % 50 == 0) text[size++] = 0;
            else
                strcpy(text + size, piece[r % (sizeof piece/sizeof *piece)]),
                    size += strlen(text + size);
        }
        char *exact = (char *)malloc(size + 1);             // so that a sanitizer sees what is read beyond
        CHECK(exact, "no memory");
        memcpy(exact, text, size), exact[size] = 0;
        for (size_t k = 0; k < sizeof all/sizeof *all; k++) {
            const Tags *tags = tags_of(all[k], exact, size);
            wrong += !spans_fit(tags, &view_now);
            for (size_t i = 0; i < tags->tags; i++) scores += !isfinite(tags->tag[i].score);
        }
        free(exact);
    }
    check(!wrong && !scores,
          "3000 texts of odd pieces: spans lie in the text, lines cover it, scores are finite");
    view_free(&view_now), tags_free(&tags_now);
}

// The addresses that are found by hand, beside the reference's pattern in PCRE2: match and group, of
// texts of what it asks for.
static void test_addresses(void) {
    static const char *const pieces[] = { "@", "a", ".", " ", "b@c", "x.y", ",", "(", "\u3000",
                                          "\u00e9", "\n", "a@b.c ", "@@", "..", " @", "\u2029",
                                          "?", "!", ";", ":", ")" };
    #define S "\\x09-\\x0d\\x1c-\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}" \
              "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
    static const char pattern[] =
        "[." S "@,?!;:)(]*([^" S "@]+@[^" S "@,?!;:)(]+?)[." S "@,?!;:)(]?[" S "]";
    #undef S
    int error, wrong = 0, matches = 0;
    size_t where;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error,
                                     &where, NULL);
    CHECK(code && !pcre2_jit_compile(code, PCRE2_JIT_COMPLETE), "PCRE2 cannot compile the pattern");
    pcre2_match_data *data = pcre2_match_data_create(8, NULL);
    Pcg64 r = pcg64_seed(17);
    for (int turn = 0; turn < 200000; turn++) {
        char text[128] = "";
        size_t n = pcg64_next32(&r) % 16, most = 2 + pcg64_next32(&r) % 20, from = 0;
        for (size_t i = 0; i < n; i++) strcat(text, pieces[pcg64_next32(&r) % most]);
        size_t size = strlen(text);
        for (Address a; ; from = a.end, matches++) {
            int theirs = pcre2_match(code, (PCRE2_SPTR)text, size, from, 0, data, NULL) > 0;
            int ours = next_address(&a, text, from, size);
            const size_t *m = pcre2_get_ovector_pointer(data);
            int same = theirs == ours && (!ours || (m[0] == a.start && m[1] == a.end &&
                                                    m[2] == a.name && m[3] == a.domain_end));
            if (!same && wrong++ < 3) printf("      `%s` from byte %zu\n", text, from);
            if (!same || !ours) break;
        }
    }
    pcre2_match_data_free(data), pcre2_code_free(code);
    check(!wrong && matches > 20000,
          "e-mail addresses as the reference's pattern finds them: %d of %d matches wrong", wrong,
          matches);
}

// No text takes more than its share of time: runs of every kind of code point, of pairs of them, and
// of what taggers look for, eight times as long, take about eight times as long. (Quadratic time
// would be sixty-four times; below a millisecond nobody can tell.)
static Encoder *linear_encoder;
static void do_encode(const char *text, size_t size) { encode(linear_encoder, text, size); }
static void do_words(const char *text, size_t left) {
    const char *end = text + left;
    for (size_t size; (text = unicode_word(text, end, &size)); text += size) {}
}
static double time_of(void (*work)(const char *, size_t), void (*tag)(Tags *, View *),
                      const char *unit, const char *between, size_t size) {
    const size_t longest = 1 + strlen(unit) + strlen(between);
    char *text = (char *)allocate(size + longest + 1, 1, "a test");
    size_t n = 0;
    for (size_t since = 0; n < size; since = since > 30000 ? 0 : since + strlen(unit)) {
        n += (size_t)snprintf(text + n, longest + 1, "%s%s%s", n ? "" : "a", unit,
                              since > 30000 ? between : "");
    }
    const double began = processor_seconds();
    if (work) work(text, n); else tags_of(tag, text, n);
    const double took = processor_seconds() - began;
    release(text);
    return took;
}
static void test_linear_time(void) {
    static const char *const units[] = {
        "\u0301\u0323", "\u0f73", "\u0344\u0323", "\u0f71\u0f72", "\u0f74\u0f73\u0301", "@", "a@",
        "a@b.", "@ a", ".,", "a.b@", "1.1.1.", " ", " 123 ", " (123)", "1",
        "\n", "a\n", "'", "a'", "1,", "\u200d", "\U0001F468\u200d", "\U0001F1E6", "a:\u0301",
        "\u05d0\"", "|||", "<|end|", "a b ", "- ", "123-", "\u1100\u1161", "\u0300a",
        "?a@b.c?", "aaaa@bbbb.", "x@y.z ", "\u3000", "\u2028", "javascript", "lorem ipsu", "\u0130",
        "#", "\u2026",
    };
    static const struct { const char *name; void (*work)(const char *, size_t);
                          void (*tag)(Tags *, View *); } works[] = {
        { "encode", do_encode, NULL }, { "words", do_words, NULL },
        { "gopher", NULL, tag_gopher_v1 }, { "repetitions", NULL, tag_tokenizer_repetitions },
        { "c4", NULL, tag_c4_v1 }, { "pii", NULL, tag_pii },
        { "paragraphs", NULL, tag_paragraph_words }, { "punctuation", NULL, tag_not_alphanum },
    };
    char unit[400][24];
    size_t n = 0, slow = 0;
    for (size_t i = 0; i < sizeof units/sizeof *units; i++) strcpy(unit[n++], units[i]);
    for (int category = 0; category < U_CHAR_CATEGORY_COUNT; category++) {
        char two[2][8] = { "", "" };
        for (int code = 1, found = 0; code <= 0x10ffff && found < 2; code++)
            if (category != U_SURROGATE && u_charType(code) == category)
                two[found][utf8_encode(two[found], code)] = 0, found++, code += 40;
        snprintf(unit[n++], 24, "%s", two[0]);
        snprintf(unit[n++], 24, "%s%s", two[1], two[0]);
        snprintf(unit[n++], 24, "a%s", two[0]);
    }
    Tokenizer *t = tokenizer_load(small_path);
    linear_encoder = encoder_new(t);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; *unit[i] && k < sizeof works/sizeof *works; k++)
            for (int breaks = 0; breaks < 2; breaks++) {
        double once = 0, more = INFINITY;                   // the best of ten: a busy machine disturbs some
        for (int round = 0; round < 10 && more >= 20*fmax(once, 0.001); round++) {
            once = fmax(once, time_of(works[k].work, works[k].tag, unit[i], breaks ? " \n" : "", 5000));
            more = fmin(more, time_of(works[k].work, works[k].tag, unit[i], breaks ? " \n" : "", 40000));
        }
        if (more < 20*fmax(once, 0.001)) continue;
        printf("      %s of runs of `%s`%s: %.4f s, of eight times as many %.4f s\n", works[k].name,
               unit[i], breaks ? " with breaks" : "", once, more);
        slow++;
    }
    check(!slow && n > 100, "no run of %zu kinds takes quadratic time: %zu do", n, slow);
    encoder_free(linear_encoder), tokenizer_free(t);
}

// ---- the command ------------------------------------------------------------------------------------

static void test_tag_command(void) {
    char out[4096];
    const char *good = "{\"id\":\"a\",\"text\":\"one two\",\"source\":\"s\"}\n";
    put_text("t/documents/x/a.jsonl",
             "{\"id\":\"a\",\"text\":\"one two\"}\nnot json\n{\"id\":\"b\",\"text\":7}\n"
             "{\"id\":\"c\",\"text\":\"\\u0000 3\"}\n");
    put_text("t/documents/b.jsonl", good);
    int code = run(out, sizeof out, "data/curate tag --taggers char_length_v1 %s && cat %s",
                   in_scratch("t/documents"), in_scratch("t/attributes/tags/x/a.jsonl"));
    check(code == 0 && strstr(out, "{\"id\":\"a\",\"attributes\":{\"char_length_v1__length\":[[0,7,"
                                   "7]]}}\n{\"id\":\"c\","
                                   "\"attributes\":{\"char_length_v1__length\":[[0,3,3]]}}\n") &&
          strstr(out, "a.jsonl:2: ") && strstr(out, "a.jsonl:3: "),
          "attributes beside the documents; what is no document has a sentence, and no line");
    code = run(out, sizeof out, "touch -d '1 minute' %s; data/curate tag --taggers char_length_v1 %s",
               in_scratch("t/documents/b.jsonl"), in_scratch("t/documents"));
    check(code == 0 && strstr(out, "1 of 2 files"),
          "the second time only the file that is newer than its attributes is tagged");
    code = run(out, sizeof out,
               "touch -d 2001-01-01 %s; data/curate tag --taggers char_length_v1 %s",
               in_scratch("t/documents/b.jsonl"), in_scratch("t/documents"));
    check(code == 0 && strstr(out, "1 of 2 files"),
          "a file that an older one has replaced is tagged again");
    code = run(out, sizeof out, "data/curate tag --taggers char_length_v1 %s",
               in_scratch("t/documents"));
    check(code == 0 && strstr(out, "2 of 2 files"), "... and then kept");
    code = run(out, sizeof out, "data/curate dedupe --by document --expected 9 --name tags %s",
               in_scratch("t/documents"));
    check(code == 1 && strstr(out, "made by") && strstr(out, "and not by     curate dedupe"),
          "dedupe does not replace the attributes of tag: %s", out);
    code = run(out, sizeof out,
               "data/curate decontaminate --min-words 1 --against %s --name tags %s",
               in_scratch("t/documents"), in_scratch("t/documents"));
    check(code == 1 && strstr(out, "and not by     curate decontaminate"),
          "nor does decontaminate: %s", out);
    put_text("sep/documents/a.txt", "one##two two");
    run(out, sizeof out,
        "data/curate tag --taggers char_length_v1 --separator '##' %s/sep/documents 2>&1; cat "
        "%s/sep/attributes/tags/a.txt.jsonl", scratch, scratch);
    check(strstr(out, "{\"id\":\"a.txt:1\",\"attributes\":{\"char_length_v1__length\":[[0,3,3]]}}\n"
                      "{\"id\":\"a.txt:2\"") != NULL, "tag --separator: %s", out);
    code = run(out, sizeof out, "data/curate tag --taggers char_length_v1 %s/sep/documents 2>&1",
               scratch);
    check(code == 1 && strstr(out, "--separator 2323"),
          "tag: documents that were cut otherwise are others: %s", out);
    code = run(out, sizeof out, "data/curate tag --taggers c4_v1 %s", in_scratch("t/documents"));
    check(code == 1 && strstr(out, "the attributes there were made by"),
          "attributes of other taggers are not taken for these");
    // The note is of what results depend on: the list's contents, not its place; and only where a
    // tagger reads it.
    put_text("l1/list.txt", "foo\n"), put_text("l2/list.txt", "foo\n");
    run(out, sizeof out, "data/curate tag --name n --taggers c4_v1 --naughty %s %s",
        in_scratch("l1/list.txt"), in_scratch("t/documents"));
    code = run(out, sizeof out, "data/curate tag --name n --taggers c4_v1 --naughty %s %s",
               in_scratch("l2/list.txt"), in_scratch("t/documents"));
    check(code == 0 && strstr(out, "2 of 2 files"),
          "the same list in another place is the same command: %s", out);
    put_text("l2/list.txt", "bar\n");
    code = run(out, sizeof out, "data/curate tag --name n --taggers c4_v1 --naughty %s %s",
               in_scratch("l2/list.txt"), in_scratch("t/documents"));
    check(code == 1 && strstr(out, "the attributes there were made by"),
          "another list in the same place is another: %s", out);
    code = run(out, sizeof out, "data/curate tag --taggers char_length_v1 --naughty %s %s",
               in_scratch("l2/list.txt"), in_scratch("t/documents"));
    check(code == 0, "a list that no tagger reads changes nothing: %s", out);
    // A document without an id has the same one from wherever it is named.
    put_text("u/documents/a.jsonl", "{\"text\":\"x\"}\n");
    run(out, sizeof out,
        "P=$PWD; data/curate tag --name n --taggers char_length_v1 %s; cd %s/u && $P/data/curate "
        "tag --name m --taggers char_length_v1 documents; cmp attributes/n/a.jsonl "
        "attributes/m/a.jsonl && cat attributes/m/a.jsonl", in_scratch("u/documents"), scratch);
    check(strstr(out, "{\"id\":\"a.jsonl:1\",") && !strstr(out, "differ"),
          "ids that are made up do not depend on how a path is spelled: %s", out);
    code = run(out, sizeof out,
               "data/curate tag --experiment e --taggers char_length_v1 %s && cat %s",
               in_scratch("t/documents"), in_scratch("t/attributes/e/b.jsonl"));
    check(code == 0 && strstr(out, "{\"e__char_length_v1__length\":[[0,7,7]]}"),
          "--experiment is a prefix and a directory");
    code = run(out, sizeof out,
               "for n in 1 2 7; do for i in $(seq 40); do cat "
               "data/test/golden/golden_taggers.jsonl; done | data/curate tag --threads $n "
               "--taggers gopher_v1,c4_v2,pii_regex_with_counts_fast_v2 - 2> %s | cksum; done | "
               "sort -u | wc -l", in_scratch("tag.err"));
    check(code == 0 && atoi(out) == 1, "1, 2 and 7 threads write the same");
    check(run(out, sizeof out,
              "data/curate tag --on-error stop --taggers char_length_v1 --name n2 %s",
              in_scratch("t/documents")) == 1 &&
          run(out, sizeof out, "ls -A %s", in_scratch("t/attributes/n2/x")) == 0 &&
          !strstr(out, "a.jsonl"), "--on-error stop: nothing half-written is left");
    check(run(out, sizeof out, "data/curate tag --taggers tokenizer_repetitions_v2r2 -") == 1 &&
          strstr(out, "needs --tokenizer FILE"), "tokens without a tokenizer have their sentence");
    check(run(out, sizeof out, "data/curate tag --taggers nonsense -") == 1 &&
          strstr(out, "no tagger nonsense"), "an unknown tagger has its sentence");
    check(run(out, sizeof out, "data/curate tag --taggers char_length_v1 %s",
              put_text("elsewhere.jsonl", good)) == 1 && strstr(out, "directory named documents"),
          "a path without documents/ has its sentence");
    for (int i = 0; i < 2; i++)
        check(run(out, sizeof out, "data/curate %s", i ? "-h" : "--help") == 0
              && strstr(out, "decontaminate"), "curate %s lists the subcommands", i ? "-h" : "--help");
    int named = run(out, sizeof out, "data/curate tag --help") == 0 && strstr(out, "\ntaggers\n  gopher_v1 ")
        && strstr(out, "\n  char_length_v1                          code points\n")
        && strstr(out, "\n  ngram_nsfw_sentence_v1 ");
    check(named, "curate tag --help lists the taggers");
}

// Every key that our configurations ask for is one that the taggers, or dedupe and decontaminate, write.
static void test_configured_keys(void) {
    static const char *const written[] = { "duplicate_urls", "duplicate_documents",
                                           "duplicate_paragraphs",
                                           "bff_duplicate_paragraph_spans_decontamination",
        "cld2_en_paragraph_with_doc_score_v2__doc_en",
        "tokenizer_repetitions_v2r2__doc_max_score_repetition",
        "word_repetitions_v1__doc_max_score_repetition",
        "c4_v1__has_naughty_word", "c4_v2__has_naughty_word",
        "pii_regex_with_counts_fast_v2__PHONE_NUMBER", "pii_regex_with_counts_fast_v2__IP_ADDRESS" };
    static char all[1 << 18], out[4096], key[256];
    static const char *const configurations[] = { "data/mix.json", "data/debian.json" };
    const char *text = put_text("keys/documents/d.jsonl",
                                "{\"id\":\"a\",\"text\":\"You stupid cunt, the be to of and that "
                                "have with a@b.com word and then some more words to make ten or "
                                "more n-grams of them\\nx {\\n\\n\"}\n");
    run(all, sizeof all,
        "data/curate tag --taggers "
        "gopher_v1,gopher_v2,c4_v1,c4_v2,pii_regex_with_counts_fast_v2,ngram_hatespeech_sentence_v1,"
        "ngram_nsfw_sentence_v1 - < %s", text);
    for (int i = 0; i < 2; i++) {
        int unknown = 0, keys = 0;
        run(out, sizeof out,
            "grep -o '\"[a-z0-9]*_[A-Za-z0-9_]*[\" ]' %s | tr -d '\" ' | grep -v "
            "'^min_\\|^max_\\|^span_\\|^discard_' | sort -u", configurations[i]);
        for (char *name = strtok(out, "\n"); name; name = strtok(NULL, "\n"), keys++) {
            int known = 0;
            for (size_t k = 0; k < sizeof written/sizeof *written; k++)
                known |= !strcmp(name, written[k]);
            snprintf(key, sizeof key, "\"%s\":", name);
            if (!known && !strstr(all, key))
                unknown++, printf("      %s asks for %s\n", configurations[i], name);
        }
        check(keys > 20 && !unknown, "%s: of %d keys %d are none that anything writes",
              configurations[i], keys, unknown);
    }
}

// What a newcomer and an adversary once broke.
static void test_tag_rough(void) {
    static char out[1 << 16];
    int code = run(out, sizeof out,
                   "mkdir -p %s/rough/documents && cd %s/rough/documents && mkfifo pipe.jsonl && "
                   "for i in 1 2 3 4 5; do echo '{\"id\":\"a\",\"text\":\"b\"}' > $i.jsonl; done; "
                   "ln -s %s/rough/documents %s/rough/link", scratch, scratch, scratch, scratch);
    code = run(out, sizeof out,
               "OMP_MAX_ACTIVE_LEVELS=2 OMP_NUM_THREADS=4 timeout 300 data/curate tag --taggers "
               "gopher_v1 %s/rough/documents 2>&1", scratch);
    check(code == 0, "tag: nested threads allowed, and a pipe in the directory: exit code %d", code);
    code = run(out, sizeof out, "data/curate tag --threads 100000 --taggers gopher_v1 - </dev/null");
    check(code == 1 && strstr(out, "expected at most 1024"),
          "tag: 100,000 threads are refused: %.60s", out);
    code = run(out, sizeof out,
               "data/curate tag --taggers gopher_v1 --name twice %s/rough/documents "
               "%s/rough/documents/1.jsonl", scratch, scratch);
    check(code == 1 && strstr(out, "is named twice"), "tag: a file named twice is refused");
    code = run(out, sizeof out, "data/curate tag --taggers gopher_v1, - </dev/null");
    check(code == 1 && strstr(out, "expected paths or names"), "tag: a comma too many is refused");
    code = run(out, sizeof out, "data/curate tag --taggers gopher_v1 - < /tmp");
    check(strstr(out, "reading failed") &&
          !strstr(strstr(out, "reading failed") + 1, "reading failed"),
          "tag: standard input that cannot be read is said once");
    code = run(out, sizeof out,
               "ulimit -f 8; yes '{\"id\":\"a\",\"text\":\"many words in it\"}' | head -n 20000 | "
               "data/curate tag --taggers gopher_v1 - > %s/full", scratch);
    check(code == 1 && strstr(out, "error: "),
          "tag: an output that may not grow is a sentence: %d %.60s", code, out);
}

// Names and options that `curate tag` refuses; what belongs to its command; scores as released.
static void test_tag_options(void) {
    static const struct { const char *first, *second; } other[] = { { "", "--as-released" },
            { "--experiment a", "--experiment b" } };
    static const struct { const char *arguments, *sentence; } refused[] = {
        { "--taggers c4_v1,c4_v1", "c4_v1 is named twice" },
        { "--taggers c4_v1 --name t --experiment 'a\"b'", "--experiment a\"b: expected the name" },
    };
    char out[4096];
    put_text("other/documents/a.jsonl", "{\"id\":\"a\",\"text\":\"one 2 3\"}\n");
    for (size_t i = 0; i < sizeof other/sizeof *other; i++) {
        int code = run(out, sizeof out,
                       "P=$PWD; cd %s/other; T=\"$P/data/curate tag --taggers gopher_v1 --name "
                       "n%zu\"; $T %s documents 2>/dev/null && $T %s documents", scratch, i,
                       other[i].first, other[i].second);
        check(code == 1 && strstr(out, "the attributes there were made by"),
              "tag %s: another command than with \"%s\": %s", other[i].second, other[i].first, out);
    }
    for (size_t i = 0; i < sizeof refused/sizeof *refused; i++) {
        int code = run(out, sizeof out, "data/curate tag %s %s/other/documents",
                       refused[i].arguments, scratch);
        check(code == 1 && strstr(out, refused[i].sentence), "tag: refused with %s: %s",
              refused[i].arguments, out);
    }
    run(out, sizeof out,
        "data/curate tag --taggers gopher_v1 --as-released - < %s/other/documents/a.jsonl "
        "2>/dev/null", scratch);
    check(strstr(out, "__fraction_of_words_with_alpha_character\":[[0,7,0.33333]]") != NULL,
          "tag --as-released: scores have five digits");
    run(out, sizeof out,
        "P=$PWD; cd %s/other; cp documents/a.jsonl ./-; $P/data/curate tag --taggers char_length_v1 "
        "- < documents/a.jsonl 2>/dev/null", scratch);
    check(!strcmp(out, "{\"id\":\"a\",\"attributes\":{\"char_length_v1__length\":[[0,7,7]]}}\n"),
          "tag -: standard input, even where a file has this name");
}

static void test_taggers(void) {
    test_golden_tags();
    test_ngrams();
    test_tags_by_hand();
    test_ascii();
    test_pii_limit();
    test_questions();
    test_lower_case();
    test_possible_pii();
    test_naughty();
    test_word_repetitions();
    test_token_repetitions();
    test_addresses();
    test_linear_time();
    test_any_text();
    test_tag_command();
    test_configured_keys();
    test_tag_rough();
    test_tag_options();
}
