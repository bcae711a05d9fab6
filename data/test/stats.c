// data/stats: words against Unicode's rules; every number of a report against a corpus whose counts
// are known, or are counted here again by a slower method; the picture, threads, hostile documents.
#include "../words.c"
#include <unicode/ubrk.h>

// ---- words ------------------------------------------------------------------------------------------

// The pieces between boundaries, joined by |.
static const char *pieces_of(const char *text) {
    static char out[1024];
    const char *end = text + strlen(text);
    size_t n = 0;
    for (const char *s = text; s < end; ) {
        const char *boundary = word_boundary(s, end);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%.*s", n ? "|" : "", (int)(boundary - s), s);
        s = boundary;
    }
    return out;
}
// Texts drawn from letters of every kind, cut as ICU's own iterator cuts them: where it needs no
// dictionary, and without `:`, which joins letters in UAX #29 (WB6) but no longer in CLDR's rules.
static void test_random_words(void) {
    static const UChar32 letters[] = {
        'a', 'Z', '3', '_', '-', '\'', '"', '.', ',', ';', ' ', '\t', '\r', '\n', '\v', '\f', 0x85, 0x2028,
        0x2029, 0x3000, 0xa0, 0xad, 0x308, 0x200d, 0xb7, 0x2024, 0x66c, 0x5d0, 0x5f4, 0x20ac, 0x263a, 0x1f469,
        0x1f1e6, 0x1f3fd, 0x661,
    };
    enum { LENGTH = 10, TEXTS = 20000, LETTERS = sizeof letters/sizeof *letters };
    UErrorCode code = U_ZERO_ERROR;
    UBreakIterator *words = ubrk_open(UBRK_WORD, "root", NULL, 0, &code);
    CHECK(U_SUCCESS(code), "ICU has no iterator over words: %s", u_errorName(code));
    uint64_t draw = 1;
    int different = 0;
    for (int i = 0; i < TEXTS; i++) {
        UChar wide[2*LENGTH];
        char text[4*LENGTH];
        int n = 0, bytes = 0, at[2*LENGTH + 1] = { 0 };      // the byte at which a UTF-16 unit begins
        for (int k = 0; k < LENGTH; k++) {
            draw = draw*6364136223846793005u + 1442695040888963407u;
            const UChar32 letter = letters[(draw >> 33) % LETTERS];
            U16_APPEND_UNSAFE(wide, n, letter);
            U8_APPEND_UNSAFE(text, bytes, letter);
            at[n] = bytes;
        }
        ubrk_setText(words, wide, n, &code);
        const char *boundary = text;
        for (int next = ubrk_next(words); next != UBRK_DONE && boundary; next = ubrk_next(words)) {
            boundary = boundary < text + bytes ? word_boundary(boundary, text + bytes) : NULL;
            if (boundary != text + at[next]) different++, boundary = NULL;
        }
    }
    ubrk_close(words);
    check(U_SUCCESS(code) && !different, "words: %d texts of letters of every kind are cut as by ICU (%d are "
          "not)", TEXTS, different);
}
static void test_words(void) {
    test_random_words();
    int ascii = 0;
    for (int c = 0; c < 128; c++)
        ascii += word_break(c) == 1 << u_getIntPropertyValue(c, UCHAR_WORD_BREAK);
    check(ascii == 128, "words: the ASCII table is ICU's (%d of 128)", ascii);
    static const char *const cases[] = {                    // the rule, and what it cuts
        "WB3", "a|\r\n|\n|\r|b", "WB3a", "\n|\xcc\x88|a", "WB3c",
        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa9|a", "WB3d",
            "a|   |b|\t|\t|c",
        "WB4", "a\xcc\x88\xcc\x88" "b|-\xcc\x88|c", "WB5", "abc", "WB6-7", "don't'a|'|'|b",
        "WB6 over marks", "a'\xcc\x88" "b",
            "WB7 ends", "a|.",
        "WB7a", "\xd7\x90'|-|a|'|-", "WB7b-c", "\xd7\x90\"\xd7\x90|\"|a|\"|b", "WB8-10", "3a4|-|5",
        "WB11-12", "3.14|,|a3,200|.|-",
            "WB12 needs a digit", "3|.|a",
        "WB13", "\xe3\x82\xab\xe3\x83\x8a|\xe3\x81\xb2|\xe3\x82\x89", "WB13a-b", "a_1_\xe3\x82\xab|-|__",
        "WB15-16", "\xf0\x9f\x87\xa6\xf0\x9f\x87\xa7|\xf0\x9f\x87\xa8", "WB999",
        "\xe6\xb1\x89|\xe5\xad\x97|\xe2\x82\xac|5",
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i += 2) {
        char text[256];
        size_t n = 0;
        for (const char *c = cases[i + 1]; *c; c++) if (*c != '|') text[n++] = *c;
        text[n] = 0;
        check(!strcmp(pieces_of(text), cases[i + 1]), "words: %s", cases[i]);
    }
    const char text[] = " \xc2\xa0\t- a\n", *end = text + sizeof text - 1;
    size_t size, words = 0;
    for (const char *word = text; (word = unicode_word(word, end, &size)); word += size)
        words += size == 1;
    check(words == 2, "words: white space is none, a dash is one");
    check(!unicode_word(text, text, &size), "words: there are none in nothing");
}

// ---- reports ----------------------------------------------------------------------------------------

// Every share in a report, however deep, is a part of a whole; and shares of one table go with its counts.
static int shares_fit(json_t *value) {
    int fine = 1;
    size_t i;
    const char *name;
    json_t *member;
    json_array_foreach(value, i, member) {
        const json_t *first = json_array_get(value, 0);
        const char *counted = json_object_get(first, "count") ? "count" : "documents";
        const double share = json_number_value(json_object_get(member, "share"));
        const double count = json_number_value(json_object_get(member, counted));
        const double a = share*json_number_value(json_object_get(first, counted));
        const double b = count*json_number_value(json_object_get(first, "share"));
        fine &= fabs(a - b) <= 1e-12*fabs(a) && shares_fit(member);
    }
    json_object_foreach(value, name, member) {
        const double x = json_number_value(member);
        fine &= (strncmp(name, "share", 5) || (x >= 0 && x <= 1)) && shares_fit(member);
    }
    return fine;
}

// The report of data/stats on these files, with these options.
static json_t *stats_of(const char *arguments) {
    static char out[1 << 16];
    const char *path = in_scratch("report.json");
    json_error_t error;
    unlink(path);
    int code = run(out, sizeof out, "data/stats %s --json %s > /dev/null", arguments, path);
    json_t *report = code ? NULL : json_load_file(path, 0, &error);
    check(report != NULL, "stats %.40s...: a report that is JSON%s%s", arguments, report ? "" : ": ",
          report ? "" : out);
    check(shares_fit(report), "stats %.40s...: shares are parts of a whole", arguments);
    return report ? report : json_object();
}
static json_t *at(const json_t *report, const char *section, const char *name) {
    return json_object_get(json_object_get(report, section), name);
}
static double number_at(const json_t *report, const char *section, const char *name) {
    const json_t *value = at(report, section, name);
    return json_is_number(value) ? json_number_value(value) : -1e9;
}
static void check_number(const json_t *report, const char *section, const char *name, double expected) {
    double found = number_at(report, section, name);
    check(fabs(found - expected) <= 1e-12*fabs(expected), "stats: %s, %s: %.10g, found %.10g",
          section, name, expected, found);
}
// Row i of a table: its number, or its text.
static double row_number(const json_t *report, const char *section, const char *table, size_t i,
                         const char *name) {
    return json_number_value(json_object_get(json_array_get(at(report, section, table), i), name));
}
static const char *row_text(const json_t *report, const char *section, const char *table, size_t i,
                            const char *name) {
    const char *text = json_string_value(json_object_get(json_array_get(at(report, section, table),
            i), name));
    return text ? text : "(none)";
}

// Documents that can be counted by hand.
static void test_stats_by_hand(void) {
    const char *path = put_text("hand.jsonl",
                                "{\"id\":\"1\",\"source\":\"web\",\"text\":\"one two three\\n\\n  "
                                "\\none two\",\"metadata\":{\"url\":\"https://www.a.com/x?y\"}}\n"
                                "{\"id\":\"2\",\"source\":\"web\",\"text\":\"one "
                                "two\",\"metadata\":{\"url\":\"http://user@A.COM:80/\"}}\n"
                                "\n"
                                "{\"id\":\"3\",\"source\":\"books\",\"text\":\"one "
                                "two\",\"metadata\":{\"url\":\"http://user@A.COM:80/\"}}\n"
                                "{\"id\":\"4\",\"text\":\"\\u6f22\\u5b57, "
                                "ok\",\"url\":\"ftp://b.example.org\"}\n"
                                "{\"id\":\"5\",\"source\":\"books\",\"text\":\"\"}\n");
    json_t *r = stats_of(path);
    check_number(r, "size", "documents", 5);
    check_number(r, "size", "empty_documents", 1);
    check_number(r, "size", "bytes", 25 + 7 + 7 + 10);
    check_number(r, "size", "characters", 25 + 7 + 7 + 6);
    check_number(r, "size", "paragraphs", 2 + 1 + 1 + 1);
    check_number(r, "size", "words", 5 + 2 + 2 + 4);
    check_number(r, "size", "words_between_spaces", 5 + 2 + 2 + 2);
    check_number(r, "size", "bytes_per_word", 49.0/13);
    json_t *crlf = stats_of(put_text("crlf.jsonl", "{\"text\":\"one\\r\\ntwo\\r\\n\\r\\none\"}\n"));
    check_number(crlf, "duplicate_paragraphs", "duplicates", 1);
    json_decref(crlf);
    check(json_is_string(at(r, "size", "tokens")),
          "stats: without a tokenizer the report says that tokens are not counted");
    check_number(r, "document_lengths", "median", 2);
    check_number(r, "document_lengths", "max", 5);
    check(ends_with(json_string_value(at(r, "document_lengths", "longest")), "hand.jsonl:1"),
          "stats: the longest document is on line 1");
    check(ends_with(json_string_value(at(r, "document_lengths", "shortest")), "hand.jsonl:6"),
          "stats: the shortest document is on line 6");
    check_number(r, "duplicate_documents", "total", 5);
    check_number(r, "duplicate_documents", "duplicates", 1);
    check_number(r, "duplicate_documents", "share_of_duplicates", 0.2);
    check_number(r, "duplicate_documents", "share_of_bytes_in_duplicates", 7.0/49);
    check_number(r, "duplicate_paragraphs", "total", 5);
    check_number(r, "duplicate_paragraphs", "distinct", 3);
    check(row_number(r, "duplicate_paragraphs", "most_duplicated", 0, "count") == 3 &&
          !strcmp(row_text(r, "duplicate_paragraphs", "most_duplicated", 0, "text"), "one two"),
          "stats: the most duplicated paragraph");
    check_number(r, "duplicate_urls", "total", 4);
    check_number(r, "duplicate_urls", "duplicates", 1);
    check_number(r, "domains", "distinct", 2);
    check_number(r, "domains", "documents_without", 1);
    check(!strcmp(row_text(r, "domains", "top", 0, "domain"), "a.com") &&
          row_number(r, "domains", "top", 0, "documents") == 3 &&
          row_number(r, "domains", "top", 0, "words") == 9,
          "stats: the largest domain, however it is spelled");
    check(!strcmp(row_text(r, "suffixes", "top", 1, "suffix"), ".org") &&
          row_number(r, "suffixes", "top", 1, "words") == 4, "stats: suffixes");
    check(!strcmp(row_text(r, "sources", "top", 0, "source"), "web") &&
          row_number(r, "sources", "top", 0, "words") == 7 &&
          !strcmp(row_text(r, "sources", "top", 1, "source"), "") &&
          row_number(r, "sources", "top", 2, "documents") == 2, "stats: sources");
    check_number(r, "word_frequency", "distinct_words", 7);
    check_number(r, "word_frequency", "words_that_occur_once", 5);
    check_number(r, "2-grams", "ngrams", 4 + 1 + 1 + 3);
    check(!strcmp(row_text(r, "2-grams", "top", 0, "ngram"), "one two") &&
          row_number(r, "2-grams", "top", 0, "count") == 4, "stats: the commonest pair of words");
    check_number(r, "10-grams", "ngrams", 0);
    check_number(r, "input", "files", 1);
    check_number(r, "input", "problems", 0);
    json_decref(r);

    static const struct { const char *url, *domain; } urls[] = {
        { "", "" }, { "://", "" }, { "nothing", "" }, { "http://", "" }, { "http://:80", "" },
        { "HTTP://WWW.Example.Org?q=@x",
            "example.org" },
        { "http://a:b@c.d:8080/e", "c.d" }, { "http://[2001:db8::1]:80/", "[2001:db8::1]" },
        { "http://10.0.0.1/", "10.0.0.1" },
            { "http://www./", "www." },
        { "http://caf\xc3\xa9.fr#x", "caf\xc3\xa9.fr" }, { "http://a\\u0000b.com/", "a" },
    };
    for (size_t i = 0; i < sizeof urls/sizeof *urls; i++) {
        char line[256];
        snprintf(line, sizeof line, "{\"text\":\"x\",\"metadata\":{\"url\":\"%s\"}}\n", urls[i].url);
        r = stats_of(put_text("url.jsonl", line));
        check(!strcmp(row_text(r, "domains", "top", 0, "domain"),
                      *urls[i].domain ? urls[i].domain : "(none)"),
              "stats: the domain of \"%s\" is \"%s\"", urls[i].url, urls[i].domain);
        json_decref(r);
    }
}

// Lengths 0..100, one document of each, in a scrambled order.
static void test_stats_lengths(void) {
    char text[1 << 16];
    size_t n = 0;
    for (int i = 0; i <= 100; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"text\":\"");
        for (int words = i*37 % 101; words > 0; words--)
            n += (size_t)snprintf(text + n, sizeof text - n, " w");
        n += (size_t)snprintf(text + n, sizeof text - n, "\"}\n");
    }
    json_t *r = stats_of(put_text("lengths.jsonl", text)), *row;
    check_number(r, "document_lengths", "min", 0);
    check_number(r, "document_lengths", "median", 50);
    check_number(r, "document_lengths", "mean", 50);
    check_number(r, "document_lengths", "p99", 99);
    check_number(r, "document_lengths", "max", 100);
    double documents = 0;
    size_t i, fine = 0;
    json_array_foreach(at(r, "document_lengths", "histogram"), i, row) {
        double from = row_number(r, "document_lengths", "histogram", i, "from");
        double to = row_number(r, "document_lengths", "histogram", i, "to");
        double here = row_number(r, "document_lengths", "histogram", i, "documents");
        documents += here, fine += here == fmin(to, 100) - from + 1;
    }
    check(documents == 101 && fine == 8 && i == 8,
          "stats: the histogram's bins are powers of two, and hold every document once");
    json_decref(r);
    r = stats_of(put_text("even.jsonl",
                          "{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\"text\":\"a b c\"}\n"
                          "{\"text\":\"a b c d\"}\n"));
    check_number(r, "document_lengths", "median", 1);
    check(ends_with(json_string_value(at(r, "document_lengths", "shortest")), ":1"),
          "stats: of two shortest documents the first is named");
    json_decref(r);
}

// ---- n-grams, against counting by sorting -----------------------------------------------------------

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static int downwards(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x < y) - (x > y);
}
enum { SKEWED_DOCUMENTS = 300, SKEWED_WORDS = 200 };
static char skewed[SKEWED_DOCUMENTS][SKEWED_WORDS][8];      // words, the small ones frequent

// The counts of all n-grams, the largest first; returns how many there are. Sorted texts, runs of
// equals.
static int naive_ngrams(int *count, int n) {
    enum { MOST = SKEWED_DOCUMENTS*SKEWED_WORDS };
    char **text = (char **)allocate(MOST, sizeof *text, "n-grams");
    int all = 0, distinct = 0;
    for (int d = 0; d < SKEWED_DOCUMENTS; d++)
        for (int i = 0; i + n <= SKEWED_WORDS; i++) {
            char *t = text[all++] = (char *)calloc(8, (size_t)n);
            for (int k = 0; k < n; k++) strcat(strcat(t, k ? " " : ""), skewed[d][i + k]);
        }
    qsort(text, (size_t)all, sizeof *text, by_text);
    for (int i = 0; i < all; i++) if (i && !strcmp(text[i], text[i - 1])) count[distinct - 1]++;
    else count[distinct++] = 1;
    qsort(count, (size_t)distinct, sizeof *count, downwards);
    for (int i = 0; i < all; i++) free(text[i]);
    release(text);
    return distinct;
}
static void test_stats_ngrams(void) {
    const char *path = put_text("skewed.jsonl", "");
    FILE *file = open_to_write(path);
    uint64_t random = 1;
    for (int d = 0; d < SKEWED_DOCUMENTS; d++) {
        fprintf(file, "{\"text\": \"");
        for (int i = 0; i < SKEWED_WORDS; i++) {
            random = random*6364136223846793005u + 1442695040888963407u;
            double u = (double)(random >> 40)/(1 << 24);
            snprintf(skewed[d][i], sizeof *skewed[d], "w%d", (int)(2000*u*u*u*u));
            fprintf(file, " %s", skewed[d][i]);
        }
        fprintf(file, "\"}\n");
    }
    fclose(file);
    static int count[SKEWED_DOCUMENTS*SKEWED_WORDS];
    char arguments[2*PATH], small[2*PATH];
    snprintf(arguments, sizeof arguments, "--exact --top 50 %s", path);
    snprintf(small, sizeof small, "--sketch-mb 1 --top 50 %s", path);
    json_t *exact = stats_of(arguments), *sketch = stats_of(small);
    static const int orders[] = { 1, 2, 3, 10 };
    for (int k = 0; k < 4; k++) {
        char section[16];
        snprintf(section, sizeof section, "%d-grams", orders[k]);
        int distinct = naive_ngrams(count, orders[k]), same = 0, above = 0, near = 0;
        double bound = number_at(sketch, section, "a_count_is_too_high_by_at_most");
        double estimated = number_at(sketch, section, "distinct_estimated");
        for (size_t i = 0; i < 50; i++) {
            double found = row_number(exact, section, "top", i, "count");
            double estimate = row_number(sketch, section, "top", i, "count");
            same += found == count[i], above += estimate >= count[i];
            near += estimate <= count[i] + bound;
        }
        check(number_at(exact, section, "distinct") == distinct, "stats: %s: %d distinct", section,
              distinct);
        check(same == 50, "stats: %s: the 50 largest counts, exactly (%d)", section, same);
        check(above == 50 && near == 50, "stats: %s in the sketch: not below, at most %.3g above",
              section, bound);
        check(fabs(estimated - distinct) < 0.02*distinct + 3,
              "stats: %s in the sketch: about %d distinct: %.0f", section, distinct, estimated);
        check(number_at(sketch, section, "ngrams") == SKEWED_DOCUMENTS*(SKEWED_WORDS - orders[k] + 1),
            "stats: %s: none reaches over a document's end", section);
    }
    json_decref(exact), json_decref(sketch);
}

// ---- what the taggers say ---------------------------------------------------------------------------

// The goldens' texts, against the scores that Dolma's own taggers gave them and the limits of
// DATA_SPEC 3.2.
static void test_stats_tags(void) {
    static const struct { const char *rule; double least, most; } limits[] = {
        { "word_count", 50, 1e5 }, { "median_word_length", 3, 10 }, { "symbol_to_word_ratio", 0, 0.1 },
            { "fraction_of_words_with_alpha_character", 0.8, 9 },
        { "required_word_count", 2, 1e9 }, { "fraction_of_lines_starting_with_bullet_point", 0, 0.9 },
            { "fraction_of_lines_ending_with_ellipsis", 0, 0.3 },
        { "fraction_of_duplicate_lines", 0, 0.3 },
        { "fraction_of_characters_in_duplicate_lines", 0, 0.3 },
        { "fraction_of_characters_in_most_common_2grams", 0, 0.2 },
        { "fraction_of_characters_in_most_common_3grams", 0, 0.18 },
        { "fraction_of_characters_in_most_common_4grams", 0, 0.16 },
        { "fraction_of_characters_in_duplicate_5grams", 0, 0.15 },
        { "fraction_of_characters_in_duplicate_6grams", 0, 0.14 },
        { "fraction_of_characters_in_duplicate_7grams", 0, 0.13 },
        { "fraction_of_characters_in_duplicate_8grams", 0, 0.12 },
        { "fraction_of_characters_in_duplicate_9grams", 0, 0.11 },
        { "fraction_of_characters_in_duplicate_10grams", 0, 0.1 },
    };
    enum { LIMITS = sizeof limits/sizeof *limits };
    static const char *const kinds[] = { "EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS" };
    double failed[LIMITS] = { 0 }, found[3] = { 0 }, any = 0;
    const char *golden = "data/test/golden/golden_taggers.jsonl";
    Reader *r = reader_open(golden);
    check(r != NULL, "stats: the goldens of the taggers are there");
    for (Document d; r && document_read(r, &d); document_free(&d)) {
        const json_t *attributes = json_object_get(tree_of(&d), "attributes");
        char key[128];
        int fails = 0;
        for (int i = 0; i < LIMITS; i++) {
            snprintf(key, sizeof key, "gopher_v1__%s", limits[i].rule);
            const json_t *score = json_array_get(json_array_get(json_object_get(attributes, key), 0), 2);
            int out = score && (json_number_value(score) < limits[i].least ||
                                json_number_value(score) > limits[i].most);
            failed[i] += out, fails |= out;
        }
        any += fails;
        for (int k = 0; k < 3; k++) {
            snprintf(key, sizeof key, "pii_regex_with_counts_fast_v2__%s", kinds[k]);
            found[k] += (double)json_array_size(json_object_get(attributes, key));
        }
    }
    reader_close(r);
    json_t *report = stats_of(golden);
    check_number(report, "gopher_rules", "documents_that_fail", any);
    for (size_t i = 0; i < LIMITS; i++)
        check(!strcmp(row_text(report, "gopher_rules", "rules", i, "rule"), limits[i].rule) &&
              row_number(report, "gopher_rules", "rules", i, "documents") == failed[i],
              "stats: %g documents fail %s", failed[i], limits[i].rule);
    for (size_t k = 0; k < 3; k++)
        check(row_number(report, "personal_data", "kinds", k, "count") == found[k],
              "stats: %g of %s", found[k], kinds[k]);
    json_decref(report);

    // One document has six, one has one, two have none; a text of a hundred plain words fails no rule.
    char plain[2048], text[8192];
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(plain + n, sizeof plain - n, i % 50 ? "w%c%c%c " : "that ",
                              'a' + i % 7, 'a' + i*3 % 26, 'a' + i*i % 23);
    snprintf(text, sizeof text,
             "{\"text\":\"a@b.cd e@f.gh 10.0.0.1 and 10.0.0.2 or 10.0.0.3 555-123-4567 \"}\n"
             "{\"text\":\"call (555) 123-4567\"}\n{\"text\":\"%s\"}\n{\"text\":\"\"}\n", plain);
    report = stats_of(put_text("tags.jsonl", text));
    check_number(report, "personal_data", "documents_with_any", 2);
    check_number(report, "personal_data", "documents_with_more_than_5", 1);
    static const double counts[] = { 2, 2, 3 };
    for (size_t k = 0; k < 3; k++)
        check(row_number(report, "personal_data", "kinds", k, "count") == counts[k],
              "stats: planted %s: %g, found %g", kinds[k], counts[k],
              row_number(report, "personal_data", "kinds", k, "count"));
    check(fabs(row_number(report, "personal_data", "kinds", 2,
                          "per_million_words") - 3e6/number_at(report, "size", "words")) < 1e-6,
          "stats: per million words");
    check_number(report, "gopher_rules", "documents_that_fail", 3);
    json_decref(report);
}

// ---- tokens -----------------------------------------------------------------------------------------

static void test_stats_tokens(void) {
    char arguments[2*PATH];
    const char *path = put_text("tokens.jsonl",
                                "{\"text\":\"hello hello\"}\n{\"text\":\" \\n\\u001ehello bbb \"}\n"
                                "{\"text\":\" \"}\n");
    snprintf(arguments, sizeof arguments, "--tokenizer %s %s",
             small_tokenizer("stats_small.json", 0), path);
    json_t *r = stats_of(arguments);                      // hello, " hello" | hello, " ", b, b, b | nothing
    check_number(r, "size", "tokens", 7);
    check_number(r, "size", "fertility", 7.0/5);            // U+001E is a word to Unicode
    check_number(r, "document_lengths", "median", 2);
    check_number(r, "token_frequency", "used", 4);
    check_number(r, "token_frequency", "unused", SMALL_ADDED + 5 - 4);
    check(row_number(r, "token_frequency", "top", 0, "id") == 'b' &&
          row_number(r, "token_frequency", "top", 0, "count") == 3 &&
          row_number(r, "token_frequency", "top", 1, "id") == 259, "stats: the commonest tokens");
    // Ids " " < b < hello < " hello" have ranks 1 2 3 4 by id, and by count (1, 3, 2, 1) ranks 3.5,
    // 1, 2, 3.5: sum of products of deviations -1.5*1 + -0.5*-1.5 + 0.5*-0.5 + 1.5*1 = 0.5, over
    // sqrt(5*4.5).
    check_number(r, "token_frequency", "spearman_of_id_and_rank", 0.5/sqrt(5*4.5));
    json_decref(r);
}

// ---- attributes -------------------------------------------------------------------------------------

static void test_stats_attributes(void) {
    char text[1 << 16];
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "{\"id\":\"%d\",\"attributes\":{\"a\":[[%d,%d,%g]],"
                              "\"b__label__x\":%s}}\n", i, i, 2*i, (i*7 % 100)/8.0 - 2,
                              i ? "[[0,5,1.5],[5,9,0.5]]" : "[]");
    n += (size_t)snprintf(text + n, sizeof text - n,
                          "{\"attributes\":[]}\n{\"attributes\":{\"a\":[[0,1,2]],\"c\":[[1,2]]}}\n"
                          "{\"attributes\":{\"a\":[[0,1,null]]}}\n");
    char arguments[PATH];
    snprintf(arguments, sizeof arguments, "--attributes %s", put_text("attributes.jsonl", text));
    json_t *r = stats_of(arguments);
    // a/score: -2, -1.875, ... 10.375, once each; b: once nothing, 99 times two spans
    static const struct { const char *name; double total, sum, least, median, p90, most; } rows[] = {
        { "a/score", 100, 4950/8.0 - 200, -2, 49/8.0 - 2, 89/8.0 - 2, 99/8.0 - 2 },
        { "a/length", 100, 4950, 0, 49, 89, 99 },
        { "b__label__x/score", 199, 99*1.5, 0, 0.5, 1, 1 },
        { "b__label__x/length", 199, 99*9, 0, 4, 5, 5 },
    };
    check(json_array_size(at(r, "attributes", "names")) == 4,
        "stats --attributes: two histograms for each name; none for what is only on broken lines");
    for (size_t i = 0; i < 4; i++) {
        check(!strcmp(row_text(r, "attributes", "names", i, "name"), rows[i].name),
              "stats --attributes: %s", rows[i].name);
        const struct { const char *name; double expected; } columns[] = { { "total", rows[i].total },
                { "sum", rows[i].sum }, { "min",
            rows[i].least },
            { "median", rows[i].median }, { "p90", rows[i].p90 }, { "max", rows[i].most } };
        for (int c = 0; c < 6; c++) {
            double found = row_number(r, "attributes", "names", i, columns[c].name);
            check(fabs(found - columns[c].expected) <= 2e-5*fabs(columns[c].expected),
                  "stats --attributes: %s of %s: %g, found %g", columns[c].name, rows[i].name,
                  columns[c].expected, found);
        }
        json_t *row = json_array_get(at(r, "attributes", "names"), i);
        json_t *counts = json_object_get(row, "counts"), *one;
        double sum = 0;
        size_t k;
        json_array_foreach(counts, k, one) sum += json_number_value(one);
        check(sum == rows[i].total && json_array_size(json_object_get(row,
                "bins")) == json_array_size(counts) + 1,
              "stats --attributes: the bins of %s hold all", rows[i].name);
    }
    check_number(r, "input", "problems", 3);
    json_decref(r);
}

// ---- edges ------------------------------------------------------------------------------------------

// Of equal counts the one that was reached first leads; --top 0 lists nothing.
static void test_stats_ties(void) {
    char arguments[2*PATH];
    const char *path = put_text("ties.jsonl",
                                "{\"text\":\"a b b a\"}\n{\"text\":\"\"}\n{\"text\":\"\"}\n");
    for (int top = 0; top <= 2; top++) {
        snprintf(arguments, sizeof arguments, "--top %d %s", top, path);
        json_t *r = stats_of(arguments);
        check(json_array_size(at(r, "1-grams", "top")) == (size_t)top &&
              json_array_size(at(r, "sources", "top")) == (size_t)imin(top, 1) &&
              json_array_size(at(r, "duplicate_documents", "most_duplicated")) == (size_t)imin(top,
                1), "stats --top %d: so many rows", top);
        if (top)
            check(!strcmp(row_text(r, "1-grams", "top", 0, "ngram"), "b") &&
                  row_number(r, "1-grams", "top", 0, "count") == 2,
                  "stats --top %d: of two words with equal counts the first to reach it leads", top);
        json_decref(r);
    }
}

// More words than a row has cells: with what the sketch does about it, its estimates are lower than
// they would be without.
static void test_stats_sketch(void) {
    enum { WORDS = 100000 };
    char arguments[2*PATH];
    const char *path = put_text("sketch.jsonl", "");
    FILE *file = open_to_write(path);
    fprintf(file, "{\"text\":\"");
    for (int i = 0; i < WORDS; i++) fprintf(file, "w%d ", i);
    fprintf(file, "\"}\n");
    fclose(file);
    snprintf(arguments, sizeof arguments, "--sketch-mb 1 --top 100 %s", path);
    json_t *r = stats_of(arguments);
    double sum = 0;
    for (size_t i = 0; i < 100; i++) sum += row_number(r, "1-grams", "top", i, "count");
    check(sum >= 100 && sum < 250,
          "stats: the sketch's 100 highest estimates of words that occur once: %g together; if "
          "every cell were raised, 322", sum);
    json_decref(r);
}

static void test_stats_excerpts(void) {
    char text[8192], as[100], expected[128];
    size_t n = 0;
    memset(as, 'a', 99), as[99] = 0;
    for (int copy = 0; copy < 3; copy++)
        n += (size_t)sprintf(text + n, "{\"text\":\"%s\xc3\xa9 and on\"}\n", as);
    for (int i = 0; i < 20; i++) n += (size_t)sprintf(text + n, "{\"text\":\"text %d\"}\n", i/2);
    json_t *r = stats_of(put_text("excerpts.jsonl", text));
    snprintf(expected, sizeof expected, "%s\xe2\x80\xa6", as);
    check(!strcmp(row_text(r, "duplicate_documents", "most_duplicated", 0, "text"), expected),
          "stats: a long text is cut between two characters");
    check(number_at(r, "duplicate_documents", "duplicates") == 12 &&
          json_array_size(at(r, "duplicate_documents", "most_duplicated")) == 10,
          "stats: of 11 texts that have duplicates 10 are listed");
    json_decref(r);
}

static void test_stats_urls(void) {
    static const struct { const char *url, *domain, *suffix; } urls[] = {
        { "http://a@b@c.d", "c.d", ".d" }, { "http://www.x", "x", "(none)" },
        { "http://10.0.0.1", "10.0.0.1", "(none)" },
        { "http://a.", "a.", "(none)" }, { "http://a.b.9c/", "a.b.9c", "(none)" },
    };
    char line[512], host[301];
    for (size_t i = 0; i < sizeof urls/sizeof *urls; i++) {
        snprintf(line, sizeof line, "{\"text\":\"x\",\"metadata\":{\"url\":\"%s\"}}\n", urls[i].url);
        json_t *r = stats_of(put_text("url.jsonl", line));
        check(!strcmp(row_text(r, "domains", "top", 0, "domain"), urls[i].domain) &&
              !strcmp(row_text(r, "suffixes", "top", 0, "suffix"), urls[i].suffix),
              "stats: of %s the domain is %s, the suffix %s", urls[i].url, urls[i].domain,
              urls[i].suffix);
        json_decref(r);
    }
    memset(host, 'h', 300), host[300] = 0;
    static const int lengths[] = { 255, 256, 300 };
    for (size_t i = 0; i < 3; i++) {
        int length = lengths[i];
        snprintf(line, sizeof line, "{\"text\":\"x\",\"url\":\"http://%.*s\"}\n", length, host);
        json_t *r = stats_of(put_text("url.jsonl", line));
        check(number_at(r, "domains", "documents_without") == (length > 255) &&
              number_at(r, "duplicate_urls", "total") == 1, "stats: a host of %d bytes is %s",
              length, length > 255 ? "none" : "one");
        json_decref(r);
    }
    json_t *r = stats_of(put_text("url.jsonl",
                                  "{\"text\":\"x\",\"url\":\"http://second.org\","
                                  "\"metadata\":{\"url\":\"http://first.org\"}}\n"));
    check(!strcmp(row_text(r, "domains", "top", 0, "domain"), "first.org"),
          "stats: metadata.url comes before url");
    json_decref(r);
}

static void test_stats_personal(void) {
    json_t *r = stats_of(put_text("personal.jsonl",
                                  "{\"text\":\"a@b.cd e@f.gh \"}\n"
                                  "{\"text\":\"a@b.cd e@f.gh 10.0.0.1 and 10.0.0.2 or 10.0.0.3 "
                                  "\"}\n{\"text\":\"nobody\"}\n"));
    static const double counts[] = { 4, 0, 3 }, documents[] = { 2, 0, 1 };
    for (size_t k = 0; k < 3; k++)
        check(row_number(r, "personal_data", "kinds", k, "count") == counts[k] &&
              row_number(r, "personal_data", "kinds", k, "documents") == documents[k],
              "stats: %g %s in %g documents", counts[k],
              row_text(r, "personal_data", "kinds", k, "kind"), documents[k]);
    check_number(r, "personal_data", "documents_with_any", 2);
    check(number_at(r, "personal_data", "documents_with_more_than_5") == 0,
          "stats: five are not more than five");
    json_decref(r);
}

static void test_stats_curve(void) {
    char text[16384];
    size_t n = (size_t)sprintf(text, "{\"text\":\"");
    for (int i = 0; i < 1000; i++) n += (size_t)sprintf(text + n, "w%d%s", i, i < 999 ? " " : "\"}\n");
    json_t *r = stats_of(put_text("curve.jsonl", text)), *row;
    int points[4] = { 0 };
    size_t i;
    json_array_foreach(at(r, "word_frequency", "curve"), i, row)
        points[imin(3, (int)log10(json_number_value(json_object_get(row, "rank")) + 0.5))]++;
    check(points[0] == 9, "stats: the curve has a point for each of the first nine ranks (%d)",
          points[0]);
    for (int decade = 1; decade < 3; decade++)
        check(points[decade] >= 17 && points[decade] <= 23, "stats: then some twenty a decade (%d)",
              points[decade]);
    json_decref(r);
}

// Row i of --attributes, its list of bins or counts: number k.
static double listed(const json_t *report, size_t i, const char *list, size_t k) {
    return json_number_value(json_array_get(json_object_get(json_array_get(at(report, "attributes",
            "names"), i), list), k));
}
static size_t list_size(const json_t *report, size_t i, const char *list) {
    return json_array_size(json_object_get(json_array_get(at(report, "attributes", "names"), i), list));
}
static void test_stats_scores(void) {
    static char text[1 << 18];
    char arguments[PATH];
    size_t n = 0;
    for (int i = 0; i < 3000; i++)
        n += (size_t)sprintf(text + n, "{\"attributes\":{\"many\":[[0,1,%d]]}}\n", i*7 % 3000);
    snprintf(arguments, sizeof arguments, "--attributes %s", put_text("scores.jsonl", text));
    json_t *r = stats_of(arguments);
    size_t bins = list_size(r, 0, "counts");
    double sum = 0, low = listed(r, 0, "bins", 0), high = listed(r, 0, "bins", 1000);
    int even = 1, ends = low == 0 && high <= 2999 && high > 2999*(1 - 2e-5);
    for (size_t b = 0; b < bins; b++) {
        double count = listed(r, 0, "counts", b);
        sum += count, even &= count >= 2 && count <= 4;
        ends &= fabs(listed(r, 0, "bins", b) - (low + (high - low)*(double)b/1000)) < 1e-9;
    }
    check(bins == 1000 && list_size(r, 0, "bins") == 1001,
          "stats --attributes: 3000 different scores go into 1000 bins");
    check(sum == 3000 && even,
          "stats --attributes: each has about three, and together they have all (%g)", sum);
    check(ends, "stats --attributes: the bins are equally wide, from the least to the most");
    json_decref(r);

    n = 0;
    for (int i = 0; i <= 100; i++)
        n += (size_t)sprintf(text + n, "{\"attributes\":{\"each\":[[0,1,%d]]}}\n", i*7 % 101);
    sprintf(text + n, "{\"attributes\":{\"below\":[[0,1,-0.300001]]}}\n"
                      "{\"attributes\":{\"four\":[[0,1,1,9]]}}\n{\"attributes\":{\n");
    snprintf(arguments, sizeof arguments, "--attributes %s", put_text("scores.jsonl", text));
    r = stats_of(arguments);
    static const struct { const char *name; double expected; } quantiles[] = {
        { "p1", 1 }, { "p10", 10 }, { "median", 50 }, { "p90", 90 }, { "p99", 99 },
    };
    for (size_t q = 0; q < 5; q++) {
        double found = row_number(r, "attributes", "names", 0, quantiles[q].name);
        check(fabs(found - quantiles[q].expected) <= 2e-5*quantiles[q].expected,
              "stats --attributes: %s of 0 to 100: %g, found %g", quantiles[q].name,
              quantiles[q].expected, found);
    }
    double start = listed(r, 2, "bins", 0);
    check(!strcmp(row_text(r, "attributes", "names", 2, "name"), "below/score") &&
          start <= -0.300001 && start > -0.300001*(1 + 2e-5),
          "stats --attributes: a bin begins below what is in it, less than nothing too (%.9g)", start);
    check(number_at(r, "input", "problems") == 2 && json_array_size(at(r, "attributes", "names")) == 4,
          "stats --attributes: a list of four numbers is no span, a line that is cut off no line");
    json_decref(r);
    char out[1024];
    check(run(out, sizeof out, "data/stats --sketch-mb 0 %s/scores.jsonl", scratch) == 1 &&
          strstr(out, "--sketch-mb 0: expected at least 1"), "stats: a sketch of nothing is refused");
}

// ---- the program ------------------------------------------------------------------------------------

// Is every plain member of the JSON report a line of the text?
static void check_text_is_json(const char *text, const json_t *report) {
    const char *title, *name;
    json_t *section, *value;
    int members = 0, found = 0;
    json_object_foreach((json_t *)report, title, section)
        json_object_foreach(section, name, value) {
            char line[256], number[64], spaces[64];
            if (!json_is_integer(value)) continue;
            snprintf(spaces, sizeof spaces, "%s", name);
            for (char *c = spaces; *c; c++) if (*c == '_') *c = ' ';
            snprintf(line, sizeof line, "\n  %-32s %s\n", spaces,
                     with_commas((double)json_integer_value(value), number));
            members++, found += strstr(text, line) != NULL;
        }
    check(members > 30 && found == members,
          "stats: all %d whole numbers of the JSON stand in the text (%d)", members, found);
}

static void test_stats_program(void) {
    static char out[1 << 17], other[1 << 17];
    char skewed_path[PATH], json[PATH], png[PATH];
    snprintf(skewed_path, sizeof skewed_path, "%s/skewed.jsonl", scratch);
    snprintf(json, sizeof json, "%s/made/stats.json", scratch);
    snprintf(png, sizeof png, "%s/made/st'a ts.png", scratch);

    // Threads change neither text nor JSON.
    int code = run(out, sizeof out,
                   "data/stats --threads 1 %s 2>/dev/null; data/stats --threads 1 --json - %s "
                   "2>/dev/null", skewed_path, skewed_path);
    check(code == 0, "stats: one thread");
    for (int threads = 2; threads <= 3; threads++) {
        run(other, sizeof other,
            "data/stats --threads %d %s 2>/dev/null; data/stats --threads %d --json - %s "
            "2>/dev/null", threads, skewed_path, threads, skewed_path);
        check(strlen(out) > 10000 && !strcmp(out, other),
              "stats: %d threads print the same bytes as one", threads);
    }
    // The same from gzip, from standard input, and from two halves.
    run(out, sizeof out, "cat %s | data/stats - 2>/dev/null | grep -v 'skewed\\|standard\\|files'",
        skewed_path);
    run(other, sizeof other,
        "gzip -c %s > %s/packed.jsonl.gz; data/stats %s/packed.jsonl.gz 2>/dev/null | grep -v "
        "'packed\\|files'", skewed_path, scratch, scratch);
    check(strlen(out) > 3000 && !strcmp(out, other),
          "stats: gzip and standard input give the same report");
    run(other, sizeof other,
        "mkdir -p %s/halves; split -l 150 --additional-suffix .jsonl %s %s/halves/; data/stats "
        "%s/halves 2>/dev/null | grep -v 'halves\\|files'", scratch, skewed_path, scratch, scratch);
    check(!strcmp(out, other), "stats: so do two halves of the file");

    code = run(out, sizeof out, "data/stats --json %s %s 2>/dev/null", json, skewed_path);
    json_error_t error;
    json_t *report = json_load_file(json, 0, &error);
    check(code == 0 && report, "stats: --json makes its directory");
    check_text_is_json(out, report);
    json_decref(report);

    // The picture, or a sentence.
    if (run(out, sizeof out, "command -v gnuplot") == 0) {
        code = run(out, sizeof out, "data/stats --png \"%s\" %s 2>&1 >/dev/null", png, skewed_path);
        unsigned char head[24] = { 0 };
        FILE *file = fopen(png, "rb");
        size_t got = file ? fread(head, 1, sizeof head, file) : 0;
        if (file) fclose(file);
        check(code == 0 && got == 24 && !memcmp(head, "\x89PNG", 4) &&
              (head[18] << 8 | head[19]) == 1400, "stats: --png draws a picture 1400 wide");
    } else printf("skipped: pictures; gnuplot is not installed\n");
    code = run(out, sizeof out, "PATH= data/stats --png %s/none.png %s", scratch, skewed_path);
    check(code == 1 && strstr(out, "gnuplot"), "stats: without gnuplot there is a sentence");
    check(run(out, sizeof out, "ls %s/none.png*", scratch) != 0,
          "stats: and no picture, nor half of one");

    // Hostile documents cost a sentence each, and never the terminal.
    const char hostile[] =
        "{\"text\":\"\xff\xfe\"}\n{\"text\":\"a\\u0000b\\u001b[31m\\u009b2J\\u007f "
        "c\",\"source\":\"\\u001b]0;x\\u0007\"}\n[[[[[\n{\"text\":3}\n"
                           "{\"id\":7,\"text\":\"\"}\n{\"text\":\"d\",\"metadata\":[],\"url\":{}}\n"
                           "{\"text\":\"e\",\"metadata\":{\"url\":5}}\n{\"text\":\"cut";
    const char *path = put_file("hostile.jsonl", hostile, sizeof hostile - 1);
    code = run(out, sizeof out, "data/stats %s 2>/dev/null", path);
    int control = 0;
    for (const char *c = out; *c; c++)
        control += ((unsigned char)*c < ' ' && *c != '\n') || *c == 127 ||
            ((unsigned char)*c == 0xc2 && (unsigned char)c[1] < 0xa0);
    check(code == 0 && !control,
          "stats: control characters of a document do not reach the terminal (%d)", control);
    report = stats_of(path);
    check_number(report, "size", "documents", 4);
    check_number(report, "input", "problems", 4);
    json_decref(report);
    check(run(out, sizeof out, "data/stats --threads 1 --on-error stop %s", path) == 1 &&
          strstr(out, "hostile.jsonl:1"), "stats: --on-error stop stops at the first");
    char deep[8192];
    memset(deep, '[', sizeof deep - 1), deep[sizeof deep - 1] = 0;
    code = run(out, sizeof out, "data/stats --json - %s", put_text("deep.jsonl", deep));
    check(code == 1 && strstr(out, "\"documents\": 0") &&
          strstr(out, "error: no document at all came of"),
          "stats: a report about nothing is a failure: %d", code);

    check(run(out, sizeof out, "data/stats") == 1 && strstr(out, "error: "),
          "stats: without files there is a sentence");
    check(run(out, sizeof out, "data/stats --top 100000 %s > /dev/null 2>&1", path) == 0,
          "stats: 100,000 rows may be asked for");
    check(run(out, sizeof out, "data/stats --top 100001 %s", skewed_path) == 1 &&
          strstr(out, "--top 100001: expected 100000 at most"),
          "stats: more rows than anybody reads are refused");
    check(run(out, sizeof out, "data/stats --help") == 0 && strstr(out, "--tokenizer"), "stats: --help");
    check(run(out, sizeof out, "data/stats --json /dev/null/x %s", skewed_path) == 1 &&
          strstr(out, "error: "), "stats: a report that cannot be written is an error");
}

// Five documents whose whole report was worked out: as a page, as JSON with tokens, and as what gnuplot
// is told to draw. (golden/stats; "gnuplot" is a script here that keeps what it reads.)
static void test_stats_pages(void) {
    static const struct { const char *golden, *command; } pages[] = {
        { "page.txt", "data/stats --top 3 $G/page.jsonl" },
        { "page.json", "data/stats --top 3 --json - --tokenizer $T $G/page.jsonl" },
        { "plot.txt", "PATH=data/../build/test:$PATH data/stats --png $S/plot.png --tokenizer $T "
                      "$G/page.jsonl >$S/said && "
                      "cat $S/plotted" },
        { "scores.json", "data/stats --attributes --json - $G/scores.jsonl" },
        { "scores.txt", "data/stats --attributes $G/scores.jsonl" },
    };
    char out[1 << 15], command[256];
    // In the project, for the scratch directory may be where nothing can be run.
    run(out, sizeof out,
        "mkdir -p data/../build/test && cd -P data/../build/test && printf '#!/bin/sh\ncat > $S/plotted\n"
        "printf 1234IEND1234\n' > gnuplot && chmod +x gnuplot");
    for (size_t i = 0; i < sizeof pages/sizeof *pages; i++) {
        snprintf(command, sizeof command, "{ %s; } 2>/dev/null", pages[i].command);
        const int code = run(out, sizeof out, "export S=%s G=data/test/golden/stats T=%s; %s >$S/page; r=$?; "
                             "diff $G/%s $S/page; exit $r", scratch, small_path, command, pages[i].golden);
        check(code == 0 && !*out, "stats: all of %s%s%s", pages[i].golden, *out ? ":\n" : "", out);
    }
}

static void test_stats(void) {
    test_words();
    test_stats_by_hand();
    test_stats_lengths();
    test_stats_ngrams();
    test_stats_tags();
    test_stats_tokens();
    test_stats_attributes();
    test_stats_ties();
    test_stats_sketch();
    test_stats_excerpts();
    test_stats_urls();
    test_stats_personal();
    test_stats_curve();
    test_stats_scores();
    test_stats_program();
    test_stats_pages();
}
