// data/dedupe.c: the filter's sizes and its false positives, measured; planted duplicates; threads; a run killed again and
// again; damaged filters; decontamination.
#include "../dedupe.c"

static void test_filter(void) {
    static const struct { double n, p; int mib; double k, rate; } table[] = {           // DATA_SPEC 4.1
        { 1e3, 1e-6, 1, 5815, 0 }, { 1e6, 1e-5, 4, 24, 1.00e-7 }, { 1e6, 1e-6, 4, 24, 1.00e-7 }, { 1e7, 1e-6, 64, 38, 6.30e-12 },
        { 2337305, 1e-15, 32, 80, 1.09e-24 }, { 30e9, 1e-6, 128 << 10, 26, 2.26e-8 }, { 60e9, 1e-6, 256 << 10, 26, 2.26e-8 },
    };
    for (size_t i = 0; i < sizeof table/sizeof *table; i++) {
        double bits = 8*(double)filter_bytes(table[i].n, table[i].p), k = filter_best_k(bits, table[i].n), rate = filter_rate(bits, k, table[i].n);
        check(bits/8 == table[i].mib*0x1p20 && k == table[i].k && fabs(rate - table[i].rate) <= 0.005*table[i].rate + 1e-300,
              "filter: %g keys with %g: %.0f MiB, k = %.0f, p = %.3g", table[i].n, table[i].p, bits/8/0x1p20, k, rate);
    }
    int fine = 0, all = 0;
    for (double n = 10; n < 1e12; n *= 1.7) for (double p = 1e-30; p < 0.7; p *= 3, all++) {
        double bits = 8*(double)filter_bytes(n, p);
        fine += filter_rate(bits, filter_k(bits, n, p), n) <= p*(1 + 1e-9);
    }
    check(fine == all, "filter: with k capped at log2(1/p), p is still reached (%d of %d sizes)", fine, all);
    uint64_t n = 700000, wrong = 0, missing = 0, asked = 4000000;
    Filter f = filter_new((double)n, 1e-3, "numbers", "");
    for (uint64_t i = 0; i < n; i++) filter_add(&f, XXH3_128bits(&i, 8));
    for (uint64_t i = 0; i < n; i++) missing += !filter_has(&f, XXH3_128bits(&i, 8));
    for (uint64_t i = n; i < n + asked; i++) wrong += filter_has(&f, XXH3_128bits(&i, 8));
    double measured = (double)wrong/(double)asked, formula = filter_rate(8.0*(double)f.header.bytes, (double)f.header.k, (double)n);
    check(!missing, "filter: every key that was added is found");
    check(measured <= 1.5*formula && measured >= formula/1.5 && formula <= 1e-3,
          "filter: full, %.3g false positives measured, %.3g by the formula", measured,
          formula);
    check(fabs(filter_rate_now(&f)/formula - 1) < 0.05, "filter: its fill says %.3g", filter_rate_now(&f));
    filter_free(&f);
}

static void test_key_set(void) {
    KeySet set = { NULL, 0, 0 };
    int fine = 1;
    for (uint64_t i = 0; i < 10000; i++) {
        Key key = { i % 5000 << 40, i % 5000 % 7 };                   // few different positions in the table
        fine &= set_add(&set, key) == (i >= 5000);
    }
    check(fine && set.used == 5000, "exact set: knows what was added, and nothing else");
    release(set.slot);
}

static char dedupe_out[1 << 16];
// Runs it, and returns the attributes it wrote for the documents: lines of JSON.
static const char *attributes_of(const char *name, const char *arguments, const char *documents) {
    const char *root = in_scratch("dd");
    make_directory(root);
    put_text("dd/documents/a.jsonl", documents);
    int code = run(dedupe_out, sizeof dedupe_out,
                   "rm -rf %s/attributes; data/curate dedupe --name %s --expected 1000 %s %s/documents >/dev/null 2>&1", root, name, arguments, root);
    if (!code) run(dedupe_out, sizeof dedupe_out, "cat %s/attributes/%s/a.jsonl", root, name);
    return dedupe_out;
}
static void check_attributes(const char *what, const char *arguments, const char *documents, const char *expected) {
    const char *found = attributes_of("x", arguments, documents);
    check(!strcmp(found, expected), "dedupe: %s", what);
    if (strcmp(found, expected)) printf("      expected %s      found    %s", expected, found);
}
static void test_duplicates(void) {
    check_attributes("by document", "--by document",
        "{\"id\":\"a\",\"text\":\"h\\u00e9\"}\n{\"id\":\"b\",\"text\":\"h\\u00e9\"}\n{\"id\":\"c\",\"text\":\"he\"}\n",
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,2,1]]}}\n{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by document as released: bytes", "--by document --as-released",
                     "{\"id\":\"a\",\"text\":\"h\\u00e9\"}\n{\"id\":\"b\",\"text\":\"h\\u00e9\"}\n",
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,3,1]]}}\n");
    check_attributes("by URL, in which the second and the fourth have none", "--by url",
        "{\"id\":\"a\",\"text\":\"1\",\"metadata\":{\"url\":\"u\"}}\n{\"id\":\"b\",\"text\":\"\"}\n{\"id\":\"c\",\"text\":\"12\",\"metadata\":{\"url\":\"u\"}}\n"
        "{\"id\":\"d\",\"text\":\"\",\"metadata\":{\"url\":1}}\n",
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[]}}\n{\"id\":\"c\",\"attributes\":{\"x\":[[0,2,1]]}}\n"
        "{\"id\":\"d\",\"attributes\":{\"x\":[]}}\n");
    const char *paragraphs = "{\"id\":\"a\",\"text\":\"one\\n\\ntwo\\n\"}\n{\"id\":\"b\",\"text\":\"two\\n\\n\\u00e9one\\none\"}\n{\"id\":\"c\",\"text\":\"\"}\n";
    check_attributes("by paragraph", "--by paragraph", paragraphs,
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,4,1],[4,5,1],[10,13,1]]}}\n{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by paragraph, blank ones left out", "--by paragraph --skip-empty", paragraphs,
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,4,1],[10,13,1]]}}\n{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by paragraph, short ones left out", "--by paragraph --min-length 4", paragraphs,
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[]}}\n{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by paragraph as released: quirk B1", "--by paragraph --as-released",
        "{\"id\":\"a\",\"text\":\"one\\ntwo\\n\"}\n{\"id\":\"b\",\"text\":\"one\\ntwo\\n\"}\n{\"id\":\"c\",\"text\":\"\\u00e9\\u00e9\\none\"}\n",
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,4,1],[4,7,1],[7,7,1]]}}\n{\"id\":\"c\",\"attributes\":{\"x\":[[3,7,1]]}}\n");
    const char *ngrams = "{\"id\":\"a\",\"text\":\"one two three four five\"}\n{\"id\":\"b\",\"text\":\"one two three four six\\nshort\\nshort\"}\n";
    check_attributes("by n-gram: all three must be old", "--by ngram --ngram 3", ngrams,
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[29,34,1]]}}\n");
    check_attributes("by n-gram: half of them", "--by ngram --ngram 3 --overlap 0.5 --skip-short", ngrams,
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,23,0.6666666666666666]]}}\n");
    check_attributes("by n-gram: a paragraph of one is compared whole, but its n-gram is remembered", "--by ngram --ngram 3 --overlap 0.5",
        "{\"id\":\"a\",\"text\":\"one two three\"}\n{\"id\":\"b\",\"text\":\"one two three four\\none two three\"}\n",
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,19,0.5],[19,32,1]]}}\n");
    const char *itself = "{\"id\":\"a\",\"text\":\"a b c a b c a b c\"}\n";
    check_attributes("by n-gram: a paragraph does not meet its own", "--by ngram --ngram 3 --overlap 0.1", itself, "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by n-gram: ... nor does the exact set", "--by ngram --ngram 3 --overlap 0.1 --exact", itself, "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by n-gram as released: it does", "--by ngram --ngram 3 --overlap 0.1 --as-released", itself,
        "{\"id\":\"a\",\"attributes\":{\"x\":[[0,17,0.5714285714285714]]}}\n");
    check_attributes("by n-gram: every second one", "--by ngram --ngram 2 --stride 2 --overlap 0.1", ngrams,
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,23,1],[29,34,1]]}}\n");
}

// 60 files of 150 documents, in which paragraphs and whole documents come again.
static void put_heap(void) {
    static char text[1 << 17];
    uint64_t seed = 1;
    make_directory(in_scratch("many"));
    for (int f = 0; f < 60; f++) {
        char name[64];
        size_t n = 0;
        snprintf(name, sizeof name, "many/documents/%02d.jsonl", f);
        for (int d = 0; d < 150; d++) {
            n += (size_t)sprintf(text + n, "{\"id\":\"%d-%d\",\"text\":\"", f, d);
            for (int p = 0; p < 8; p++) n += (size_t)sprintf(text + n, "paragraph number %d of the heap\\n",
                                                             (int)((seed = hash64(seed)) % 40000));
            n += (size_t)sprintf(text + n, "\"}\n");
        }
        put_file(name, text, n);
    }
}
static const char *heap_hash(const char *name) {
    static char out[128];
    run(out, sizeof out, "cd %s/many && cat $(ls attributes/%s/*.jsonl | sort) | sed 's/\"%s\"/NAME/' | md5sum; ls attributes/%s | wc -l", scratch, name, name, name);
    return out;
}

static void test_runs(void) {
    char out[4096];
    put_heap();
    run(out, sizeof out,
        "data/curate dedupe --by paragraph --expected 5e4 --exact --threads 1 --name one %s/many/documents 2>/dev/null", scratch);
    check(strstr(out, "measured while it filled: 0 of") != NULL, "dedupe --exact: measures the false positives");
    run(out, sizeof out,
        "cd %s/many && cat documents/*.jsonl | sed 's/.*\"text\":\"//; s/\\\\n\"}//; s/\\\\n/\\n/g' | sort -u | wc -l", scratch);
    double unique = strtod(out, NULL);
    run(out, sizeof out, "cat %s/many/attributes/one/*.jsonl | tr -cd '[' | wc -c", scratch);
    check(60*150*8 - unique == strtod(out, NULL) - 9000, "dedupe: as many duplicates as `sort -u` removes: %.0f", 60*150*8 - unique);
    char expected[128];
    strcpy(expected, heap_hash("one"));
    for (int threads = 2; threads <= 5; threads++) {
        run(out, sizeof out, "data/curate dedupe --by paragraph --expected 5e4 --threads %d --name t%d %s/many/documents",
            threads, threads, scratch);
        char name[16];
        snprintf(name, sizeof name, "t%d", threads);
        check(!strcmp(heap_hash(name), expected), "dedupe: %d threads write the same bytes as one", threads);
    }
    char command[2048];
    snprintf(command, sizeof command, "data/curate dedupe --by paragraph --expected 5e4 --threads 1 --save-every 0 --bloom %s/killed.bloom --name killed %s/many/documents",
             scratch, scratch);
    int killed = 0;
    uint64_t seed = (uint64_t)getpid();
    for (int i = 0; i < 25; i++) {
        double pause = 0.004 + 0.12*uniform(seed = hash64(seed));
        killed += run(out, sizeof out, "%s >/dev/null 2>&1 & p=$!; sleep %.4f; kill -9 $p 2>/dev/null; wait $p 2>/dev/null; test $? = 137", command, pause) == 0;
        if (i % 8 == 7) run(out, sizeof out, "rm -f %s/killed.bloom", scratch);
    }
    int code = run(out, sizeof out, "%s", command);
    check(code == 0 && !strcmp(heap_hash("killed"), expected),
          "dedupe: killed %d times of 25 and started again, it writes the same bytes", killed);
    code = run(out, sizeof out, "%s 2>&1", command);
    check(code == 0 && strstr(out, "60 of 60 files were done before") && !strcmp(heap_hash("killed"), expected), "dedupe: once more, and it passes over all 60 files");
    code = run(out, sizeof out, "rm %s/many/attributes/killed/07.jsonl; %s 2>&1 >/dev/null", scratch, command);
    check(code == 1 && strstr(out, "is missing; give the --name of then, or begin with a new filter"), "dedupe: an attribute file that is gone is not passed over");
    code = run(out, sizeof out,
               "data/curate dedupe --by paragraph --read-only --bloom %s/killed.bloom --name again %s/many/documents >/dev/null 2>&1;"
               "cat %s/many/attributes/again/*.jsonl | tr -cd '[' | wc -c", scratch, scratch, scratch);
    check(atoi(out) == 9000 + 60*150*8, "dedupe --read-only: finds every paragraph in the filter of another run");
    code = run(out, sizeof out, "data/curate dedupe --by document --expected 9 --name x %s/many/documents/01.jsonl %s/many/documents/01.jsonl", scratch, scratch);
    check(code == 1 && strstr(out, "named twice"), "dedupe: a file that is named twice would meet itself");
    code = run(out, sizeof out, "data/curate dedupe --by document --bloom %s/killed.bloom --name x %s/many/documents", scratch, scratch);
    check(code == 1 && strstr(out, "this filter holds paragraphs, not documents by text"),
          "dedupe: a filter of paragraphs is no filter of documents");
    put_text("over/documents/a.jsonl", "");
    code = run(out, sizeof out, "cd %s/over/documents; (printf '{\"text\":\"'; seq -s '\\n' 200000; printf '\"}') | tr -d '\\n' > a.jsonl; cd - >/dev/null; "
               "data/curate dedupe --by paragraph --expected 10 --false-positives 1e-15 --name over %s/over/documents 2>&1", scratch, scratch);
    check(code == 0 && strstr(out, "more keys than it was made for"), "dedupe: says that the filter is too small");
    code = run(out, sizeof out, "data/curate dedupe --by document --expected 10 --name over %s/many/documents/01.jsonl 2>&1", scratch);
    check(code == 0 && !strstr(out, "more keys than"), "dedupe: does not say so where more keys are held than expected, as well as asked for");

    // What a filter remembers: the files as they were, and the options that chose its keys.
    put_text("twin/documents/a.txt", "one two\n"), put_text("twin/documents/a.txt.jsonl", "{\"text\":\"one\"}\n");
    code = run(out, sizeof out, "data/curate dedupe --by document --expected 10 --name x %s/twin/documents", scratch);
    check(code == 1 && strstr(out, "two of the files named have their attributes there"), "dedupe: two inputs with one output: %s", out);
    put_text("changed/documents/a.jsonl", "{\"text\":\"one\"}\n"), put_text("changed/documents/b.jsonl", "{\"text\":\"one\"}\n");
    snprintf(command, sizeof command, "data/curate dedupe --by document --expected 10 --bloom %s/changed.bloom --name x", scratch);
    run(out, sizeof out, "%s %s/changed/documents/a.jsonl", command, scratch);
    code = run(out, sizeof out, "%s --skip-empty %s/changed/documents", command, scratch);
    check(code == 1 && strstr(out, "were chosen with the options"), "dedupe: a filter's keys are chosen by one set of options: %s", out);
    code = run(out, sizeof out, "%s --name other --skip-empty --read-only %s/changed/documents/b.jsonl; cat %s/changed/attributes/other/b.jsonl", command, scratch, scratch);
    check(code == 0 && strstr(out, "[[0,3,1]]"), "dedupe: ... which does not bind what is only compared with it: %s", out);
    put_text("changed/documents/a.jsonl", "{\"text\":\"two\"}\n");
    code = run(out, sizeof out, "%s %s/changed/documents", command, scratch);
    check(code == 1 && strstr(out, "has changed since"), "dedupe: a file that has changed is not the one whose keys are held: %s", out);
    // A NUL may stand in an id, and in a key.
    put_text("nul/documents/a.jsonl", "{\"id\":\"a\\u0000b\",\"text\":\"x\",\"metadata\":{\"url\":\"u\"}}\n{\"id\":\"c\",\"text\":\"\\u0000y\",\"metadata\":{\"url\":\"u\\u0000v\"}}\n");
    run(out, sizeof out, "data/curate dedupe --by url --expected 9 --name x %s/nul/documents >/dev/null 2>&1; cat %s/nul/attributes/x/a.jsonl", scratch, scratch);
    check(!strcmp(out, "{\"id\":\"a\\u0000b\",\"attributes\":{\"x\":[]}}\n{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n"), "dedupe: ids and keys with a NUL: %s", out);
    run(out, sizeof out, "data/curate tag --name y --taggers char_length_v1 %s/nul/documents 2>/dev/null; cat %s/nul/attributes/y/a.jsonl", scratch, scratch);
    check(strstr(out, "{\"id\":\"a\\u0000b\",") != NULL, "tag: an id with a NUL: %s", out);
    put_text("url/documents/a.jsonl", "{\"id\":\"a\",\"text\":\"\u00e9\u00e9\",\"metadata\":{\"url\":\"u\"}}\n{\"id\":\"b\",\"text\":\"\u00e9\u00e9\u00e9\",\"metadata\":{\"url\":\"u\"}}\n");
    code = run(out, sizeof out, "data/curate dedupe --by url --field '$.metadata.url' --expected 9 --name x %s/url/documents 2>&1; cat %s/url/attributes/x/a.jsonl", scratch, scratch);
    check(strstr(out, "[[0,3,1]]") && !strstr(out, "have no"), "dedupe: $.metadata.url is metadata.url, and the span is that of the text: %s", out);
    put_text("url/documents/a.jsonl", "{\"id\":\"a\",\"text\":\"1\",\"url\":\"u\"}\n{\"id\":\"b\",\"text\":\"22\",\"metadata\":{\"url\":\"u\"}}\n{\"id\":\"c\",\"text\":\"\"}\n");
    code = run(out, sizeof out, "data/curate dedupe --by url --expected 9 --name z %s/url/documents 2>&1; cat %s/url/attributes/z/a.jsonl", scratch, scratch);
    check(strstr(out, "\"b\",\"attributes\":{\"z\":[[0,2,1]]") && strstr(out, "1 of them have no metadata.url, nor url"), "dedupe: a URL may stand at either place: %s", out);
    code = run(out, sizeof out, "mkdir -p %s/there; data/curate dedupe --by url --expected 9 --name zz --bloom %s/there %s/url/documents; ls %s/url/attributes", scratch, scratch, scratch, scratch);
    check(strstr(out, "there: expected a file") && !strstr(out, "zz"), "dedupe: a filter that cannot be written is refused before the work: %s", out);
    code = run(out, sizeof out, "data/curate dedupe --by document --stride 2 --expected 9 --name zz %s/url/documents", scratch);
    check(code == 1 && strstr(out, "are for --by ngram"), "dedupe: an option that would do nothing is refused: %s", out);
    code = run(out, sizeof out, "data/curate dedupe --by paragraph --field x --expected 9 --name zz %s/url/documents", scratch);
    check(code == 1 && strstr(out, "--field is for"), "dedupe: ... and --field: %s", out);
    code = run(out, sizeof out, "data/curate dedupe --by document --expected 10 --false-positives 0.5 --bloom %s/changed.bloom --name zz %s/url/documents", scratch, scratch);
    check(code == 1 && strstr(out, "was made for a rate of false positives of 1e-06, not 0.5"), "dedupe: another rate than the filter's: %s", out);
    static const char *const nonsense[] = { "--stride 0", "--ngram 0", "--overlap 0", "--overlap 1.5", "--field a..b", "--field .a", "--field a." };
    for (size_t i = 0; i < sizeof nonsense/sizeof *nonsense; i++) {
        code = run(out, sizeof out, "data/curate dedupe --by %s --expected 10 --name y %s %s/changed/documents", i < 4 ? "ngram" : "url", nonsense[i], scratch);
        check(code == 1 && strstr(out, "expected"), "dedupe: %s is refused: %s", nonsense[i], out);
    }
    code = run(out, sizeof out, "data/curate dedupe --by document --expected 10 --name x %s", put_text("elsewhere.jsonl",
                                                                                                       "{\"id\":\"a\",\"text\":\"\"}\n"));
    check(code == 1 && strstr(out, "a directory named documents"), "dedupe: says where documents must be");
}

static void test_damaged_filters(void) {
    char out[4096];
    uint64_t size;
    attributes_of("x", "--by document", "{\"id\":\"a\",\"text\":\"1\"}\n");
    run(out, sizeof out, "rm -f %s/f.bloom; data/curate dedupe --by document --expected 10 --bloom %s/f.bloom --name x %s/dd/documents", scratch, scratch, scratch);
    const unsigned char *whole = map_file(in_scratch("f.bloom"), &size);
    int refused = 0, tried = 0;
    char bytes[sizeof(FilterHeader)];
    for (size_t i = 0; i < sizeof bytes; i += 5, tried++) {
        memcpy(bytes, whole, sizeof bytes), bytes[i] ^= 1 << i % 8;
        FILE *file = open_to_write(in_scratch("g.bloom"));
        fwrite(bytes, 1, sizeof bytes, file), fwrite(whole + sizeof bytes, 1, size - sizeof bytes, file), fclose(file);
        refused += run(out, sizeof out, "data/curate dedupe --by document --bloom %s/g.bloom --name y %s/dd/documents",
                       scratch, scratch) == 1 && !strncmp(out, "error: ", 7);
    }
    for (size_t cut = 0; cut < size; cut += size/7 + 1, tried++) {
        put_file("g.bloom", (const char *)whole, cut);
        refused += run(out, sizeof out, "data/curate dedupe --by document --bloom %s/g.bloom --name y %s/dd/documents",
                       scratch, scratch) == 1 && !strncmp(out, "error: ", 7);
    }
    check(refused == tried, "filter: %d of %d damaged or cut files are refused with a sentence", refused, tried);
    munmap((void *)(uintptr_t)whole, size);
}

static void test_decontaminate(void) {
    char out[4096];
    put_text("eval/e.jsonl",
             "{\"id\":\"e\",\"text\":\"a b c d e f g h i j k l m\\nn o p q r s t u v w x y\\n- - - - - - - - - - - - - -\"}\n");
    make_directory(in_scratch("tr"));
    put_text("tr/documents/t.jsonl",
             "{\"id\":\"13\",\"text\":\"\\u00e9\\na b c d e f g h i j k l m\\nx\"}\n{\"id\":\"12\",\"text\":\"n o p q r s t u v w x y\"}\n"
             "{\"id\":\"dashes\",\"text\":\"- - - - - - - - - - - - - -\"}\n{\"id\":\"a part\",\"text\":\"a b c d e f g h i j k l m n\"}\n");
    int code = run(out, sizeof out, "data/curate decontaminate --against %s/eval --name d %s/tr/documents >/dev/null 2>&1; cat %s/tr/attributes/d/t.jsonl", scratch, scratch, scratch);
    check(code == 0 && !strcmp(out, "{\"id\":\"13\",\"attributes\":{\"d\":[[2,28,1]]}}\n{\"id\":\"12\",\"attributes\":{\"d\":[]}}\n"
                                    "{\"id\":\"dashes\",\"attributes\":{\"d\":[]}}\n{\"id\":\"a part\",\"attributes\":{\"d\":[]}}\n"),
          "decontaminate: a paragraph of 13 words is found, those of 12 words and of dashes are not");
    code = run(out, sizeof out, "data/curate decontaminate --min-words 99 --against %s/eval %s/tr/documents", scratch, scratch);
    check(code == 1 && strstr(out, "no paragraph has 99 words"), "decontaminate: says that there is nothing to look for");
}

static void test_dedupe(void) {
    test_filter();
    test_key_set();
    test_duplicates();
    test_runs();
    test_damaged_filters();
    test_decontaminate();
}
