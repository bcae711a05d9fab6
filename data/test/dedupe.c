// data/dedupe.c: the filter's sizes and its false positives, measured; planted duplicates; threads;
// a run killed again and again; damaged filters; decontamination.
#include "../dedupe.c"
#include <sys/socket.h>
#include <sys/un.h>

static void test_filter(void) {
    static const struct { double n, p; int mib; double k, rate; } table[] = {           // DATA_SPEC 4.1
        { 1e3, 1e-6, 1, 5815, 0 }, { 1e6, 1e-5, 4, 24, 1.00e-7 }, { 1e6, 1e-6, 4, 24, 1.00e-7 },
        { 1e7, 1e-6, 64, 38, 6.30e-12 },
        { 2337305, 1e-15, 32, 80, 1.09e-24 }, { 30e9, 1e-6, 128 << 10, 26, 2.26e-8 },
        { 60e9, 1e-6, 256 << 10, 26, 2.26e-8 },
    };
    for (size_t i = 0; i < sizeof table/sizeof *table; i++) {
        double bits = 8*(double)filter_bytes(table[i].n, table[i].p);
        double k = filter_best_k(bits, table[i].n), rate = filter_rate(bits, k, table[i].n);
        check(bits/8 == table[i].mib*0x1p20 && k == table[i].k &&
              fabs(rate - table[i].rate) <= 0.005*table[i].rate + 1e-300,
              "filter: %g keys with %g: %.0f MiB, k = %.0f, p = %.3g", table[i].n, table[i].p,
              bits/8/0x1p20, k, rate);
    }
    int fine = 0, all = 0;
    for (double n = 10; n < 1e12; n *= 1.7) for (double p = 1e-30; p < 0.7; p *= 3, all++) {
        double bits = 8*(double)filter_bytes(n, p);
        fine += filter_rate(bits, filter_k(bits, n, p), n) <= p*(1 + 1e-9);
    }
    check(fine == all, "filter: with k capped at log2(1/p), p is still reached (%d of %d sizes)",
          fine, all);
    uint64_t n = 700000, wrong = 0, missing = 0, asked = 4000000;
    Filter f = filter_new((double)n, 1e-3, "numbers", "");
    for (uint64_t i = 0; i < n; i++) filter_add(&f, XXH3_128bits(&i, 8));
    for (uint64_t i = 0; i < n; i++) missing += !filter_has(&f, XXH3_128bits(&i, 8));
    for (uint64_t i = n; i < n + asked; i++) wrong += filter_has(&f, XXH3_128bits(&i, 8));
    double measured = (double)wrong/(double)asked;
    double formula = filter_rate(8.0*(double)f.header.bytes, (double)f.header.k, (double)n);
    check(!missing, "filter: every key that was added is found");
    check(measured <= 1.5*formula && measured >= formula/1.5 && formula <= 1e-3,
          "filter: full, %.3g false positives measured, %.3g by the formula", measured,
          formula);
    check(fabs(filter_rate_now(&f)/formula - 1) < 0.05, "filter: its fill says %.3g",
          filter_rate_now(&f));
    filter_free(&f);
}

// Filters are kept for years: the same keys have the same file, byte for byte, in every version. (Without
// the names of inputs, in which there are times.)
static void test_filter_file(void) {
    uint64_t size;
    Filter f = filter_new(1000, 1e-6, "numbers", "--some");
    for (uint64_t i = 0; i < 100; i++) filter_add(&f, XXH3_128bits(&i, 8));
    const char *path = in_scratch("format.bloom");
    filter_save(&f, path), filter_free(&f);
    const unsigned char *bytes = map_file(path, &size);
    check(size == 208 + (1 << 20) && XXH3_64bits(bytes, size) == 0xabfa47cd448cd242,
          "filter: 100 keys have the file of version OLMOblo2 (%llu bytes, %016llx)",
          (unsigned long long)size, (unsigned long long)XXH3_64bits(bytes, size));
    munmap((void *)(uintptr_t)bytes, size);
}

static void test_key_set(void) {
    KeySet set = { NULL, 0, 0 };
    int fine = 1;
    for (uint64_t i = 0; i < 10000; i++) {
        Key key = { i % 5000 << 40, i % 5000 % 7 };                  // few different positions in the table
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
                   "rm -rf %s/attributes; data/curate dedupe --name %s --expected 1000 %s "
                   "%s/documents >/dev/null 2>&1", root, name, arguments, root);
    if (!code) run(dedupe_out, sizeof dedupe_out, "cat %s/attributes/%s/a.jsonl", root, name);
    return dedupe_out;
}
static void check_attributes(const char *what, const char *arguments, const char *documents,
                             const char *expected) {
    const char *found = attributes_of("x", arguments, documents);
    check(!strcmp(found, expected), "dedupe: %s", what);
    if (strcmp(found, expected)) printf("      expected %s      found    %s", expected, found);
}
static void test_duplicates(void) {
    check_attributes("by document", "--by document",
                     "{\"id\":\"a\",\"text\":\"h\\u00e9\"}\n{\"id\":\"b\",\"text\":\"h\\u00e9\"}\n"
                     "{\"id\":\"c\",\"text\":\"he\"}\n",
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                     "{\"id\":\"b\",\"attributes\":{\"x\":[[0,2,1]]}}\n"
                     "{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by the field that is the text", "--by document --field text",
                     "{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"b\",\"text\":\"one\"}\n",
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,3,1]]}}\n");
    check_attributes("by document as released: bytes", "--by document --as-released",
                     "{\"id\":\"a\",\"text\":\"h\\u00e9\"}\n{\"id\":\"b\",\"text\":\"h\\u00e9\"}\n",
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,3,1]]}}\n");
    check_attributes("by URL, in which the second and the fourth have none", "--by url",
                     "{\"id\":\"a\",\"text\":\"1\",\"metadata\":{\"url\":\"u\"}}\n"
                     "{\"id\":\"b\",\"text\":\"\"}\n"
                     "{\"id\":\"c\",\"text\":\"12\",\"metadata\":{\"url\":\"u\"}}\n"
                     "{\"id\":\"d\",\"text\":\"\",\"metadata\":{\"url\":1}}\n",
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                     "{\"id\":\"b\",\"attributes\":{\"x\":[]}}\n"
                     "{\"id\":\"c\",\"attributes\":{\"x\":[[0,2,1]]}}\n"
                     "{\"id\":\"d\",\"attributes\":{\"x\":[]}}\n");
    const char *paragraphs =
        "{\"id\":\"a\",\"text\":\"one\\n\\ntwo\\n\"}\n{\"id\":\"b\","
        "\"text\":\"two\\n\\n\\u00e9one\\none\"}\n{\"id\":\"c\",\"text\":\"\"}\n";
    check_attributes("by paragraph", "--by paragraph", paragraphs,
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                     "{\"id\":\"b\",\"attributes\":{\"x\":[[0,4,1],[4,5,1],[10,13,1]]}}\n"
                     "{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by paragraph, blank ones left out", "--by paragraph --skip-empty", paragraphs,
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                     "{\"id\":\"b\",\"attributes\":{\"x\":[[0,4,1],[10,13,1]]}}\n"
                     "{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by paragraph, short ones left out", "--by paragraph --min-length 4",
                     paragraphs, "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                                 "{\"id\":\"b\",\"attributes\":{\"x\":[]}}\n"
                                 "{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by paragraph as released: quirk B1", "--by paragraph --as-released",
                     "{\"id\":\"a\",\"text\":\"one\\ntwo\\n\"}\n{\"id\":\"b\","
                     "\"text\":\"one\\ntwo\\n\"}\n{\"id\":\"c\","
                     "\"text\":\"\\u00e9\\u00e9\\none\"}\n",
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                     "{\"id\":\"b\",\"attributes\":{\"x\":[[0,4,1],[4,7,1],[7,7,1]]}}\n"
                     "{\"id\":\"c\",\"attributes\":{\"x\":[[3,7,1]]}}\n");
    const char *crlf = "{\"id\":\"a\",\"text\":\"one\\r\\ntwo\\r\\n\"}\n"
                       "{\"id\":\"b\",\"text\":\"two\\r\\none\"}\n";
    check_attributes("by paragraph: CR LF ends one as LF does", "--by paragraph", crlf,
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                     "{\"id\":\"b\",\"attributes\":{\"x\":[[0,5,1],[5,8,1]]}}\n");
    check_attributes("by paragraph as released: a CR is text", "--by paragraph --as-released", crlf,
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[0,5,1]]}}\n");
    const char *ngrams =
        "{\"id\":\"a\",\"text\":\"one two three four five\"}\n"
        "{\"id\":\"b\",\"text\":\"one two three four six\\nshort\\nshort\"}\n";
    check_attributes("by n-gram: all three must be old", "--by ngram --ngram 3", ngrams,
        "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n{\"id\":\"b\",\"attributes\":{\"x\":[[29,34,1]]}}\n");
    check_attributes("by n-gram: half of them", "--by ngram --ngram 3 --overlap 0.5 --skip-short",
                     ngrams, "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                             "{\"id\":\"b\",\"attributes\":{\"x\":[[0,23,0.6666666666666666]]}}\n");
    check_attributes("by n-gram: a paragraph of one is compared whole, but its n-gram is remembered",
                     "--by ngram --ngram 3 --overlap 0.5",
                     "{\"id\":\"a\",\"text\":\"one two three\"}\n"
                     "{\"id\":\"b\",\"text\":\"one two three four\\none two three\"}\n",
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                     "{\"id\":\"b\",\"attributes\":{\"x\":[[0,19,0.5],[19,32,1]]}}\n");
    const char *itself = "{\"id\":\"a\",\"text\":\"a b c a b c a b c\"}\n";
    check_attributes("by n-gram: a paragraph does not meet its own",
                     "--by ngram --ngram 3 --overlap 0.1", itself,
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by n-gram: ... nor does the exact set",
                     "--by ngram --ngram 3 --overlap 0.1 --exact", itself,
                     "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n");
    check_attributes("by n-gram as released: it does",
                     "--by ngram --ngram 3 --overlap 0.1 --as-released", itself,
                     "{\"id\":\"a\",\"attributes\":{\"x\":[[0,17,0.5714285714285714]]}}\n");
    check_attributes("by n-gram: every second one", "--by ngram --ngram 2 --stride 2 --overlap 0.1",
                     ngrams, "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                             "{\"id\":\"b\",\"attributes\":{\"x\":[[0,23,1],[29,34,1]]}}\n");
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
            for (int p = 0; p < 8; p++)
                n += (size_t)sprintf(text + n, "paragraph number %d of the heap\\n",
                                     (int)((seed = hash64(seed)) % 40000));
            n += (size_t)sprintf(text + n, "\"}\n");
        }
        put_file(name, text, n);
    }
}
static const char *heap_hash(const char *name) {
    static char out[128];
    run(out, sizeof out,
        "cd %s/many && cat $(ls attributes/%s/*.jsonl | sort) | sed 's/\"%s\"/NAME/' | md5sum; ls "
        "attributes/%s | wc -l", scratch, name, name, name);
    return out;
}

static void test_runs(void) {
    char out[4096];
    put_heap();
    run(out, sizeof out,
        "data/curate dedupe --by paragraph --expected 5e4 --exact --threads 1 --name one "
        "%s/many/documents 2>/dev/null", scratch);
    check(strstr(out, "measured while it filled: 0 of") != NULL,
          "dedupe --exact: measures the false positives");
    run(out, sizeof out,
        "cd %s/many && cat documents/*.jsonl | sed 's/.*\"text\":\"//; s/\\\\n\"}//; s/\\\\n/\\n/g' "
        "| sort -u | wc -l", scratch);
    double unique = strtod(out, NULL);
    run(out, sizeof out, "cat %s/many/attributes/one/*.jsonl | tr -cd '[' | wc -c", scratch);
    check(60*150*8 - unique == strtod(out, NULL) - 9000,
          "dedupe: as many duplicates as `sort -u` removes: %.0f", 60*150*8 - unique);
    char expected[128];
    strcpy(expected, heap_hash("one"));
    for (int threads = 2; threads <= 5; threads++) {
        run(out, sizeof out,
            "data/curate dedupe --by paragraph --expected 5e4 --threads %d --name t%d "
            "%s/many/documents", threads, threads, scratch);
        char name[16];
        snprintf(name, sizeof name, "t%d", threads);
        check(!strcmp(heap_hash(name), expected), "dedupe: %d threads write the same bytes as one",
              threads);
    }
    char command[2048];
    snprintf(command, sizeof command,
             "data/curate dedupe --by paragraph --expected 5e4 --threads 1 --save-every 0 --bloom "
             "%s/killed.bloom --name killed %s/many/documents", scratch, scratch);
    int killed = 0;
    uint64_t seed = 25;                                      // of the pauses
    double longest = 0.12;         // follows the machine's moods, so that about half of the runs are killed
    for (int i = 0; i < 25; i++) {
        const double pause = longest*uniform(seed = hash64(seed));
        const int in_time = run(out, sizeof out,
                                "%s >/dev/null 2>&1 & p=$!; sleep %.4f; kill -9 $p 2>/dev/null; wait $p "
                                "2>/dev/null; test $? = 137", command, pause) == 0;
        killed += in_time, longest *= in_time ? 1.3 : 0.7;
        if (i % 8 == 7) run(out, sizeof out, "rm -f %s/killed.bloom", scratch);
    }
    int code = run(out, sizeof out, "%s", command);
    check(code == 0 && !strcmp(heap_hash("killed"), expected),
          "dedupe: killed %d times of 25 and started again, it writes the same bytes", killed);
    code = run(out, sizeof out, "%s 2>&1", command);
    check(code == 0 && strstr(out, "60 of 60 files were done before") &&
          !strcmp(heap_hash("killed"), expected), "dedupe: once more, and it passes over all 60 files");
    code = run(out, sizeof out, "rm %s/many/attributes/killed/07.jsonl; %s 2>&1 >/dev/null", scratch,
               command);
    check(code == 1 &&
          strstr(out, "is missing; give the --name of then, or begin with a new filter"),
          "dedupe: an attribute file that is gone is not passed over");
    code = run(out, sizeof out,
               "data/curate dedupe --by paragraph --read-only --bloom %s/killed.bloom --name again "
               "%s/many/documents >/dev/null 2>&1;cat %s/many/attributes/again/*.jsonl | tr -cd '[' "
               "| wc -c", scratch, scratch, scratch);
    check(atoi(out) == 9000 + 60*150*8,
          "dedupe --read-only: finds every paragraph in the filter of another run");
    code = run(out, sizeof out,
               "data/curate dedupe --by document --expected 9 --name x %s/many/documents/01.jsonl "
               "%s/many/documents/01.jsonl", scratch, scratch);
    check(code == 1 && strstr(out, "named twice"),
          "dedupe: a file that is named twice would meet itself");
    code = run(out, sizeof out,
               "data/curate dedupe --by document --bloom %s/killed.bloom --name x %s/many/documents",
               scratch, scratch);
    check(code == 1 && strstr(out, "this filter holds paragraphs, not documents by text"),
          "dedupe: a filter of paragraphs is no filter of documents");
    put_text("over/documents/a.jsonl", "");
    code = run(out, sizeof out,
               "cd %s/over/documents; (printf '{\"text\":\"'; seq -s '\\n' 200000; printf '\"}') | "
               "tr -d '\\n' > a.jsonl; cd - >/dev/null; data/curate dedupe --by paragraph "
               "--expected 10 --false-positives 1e-15 --name over %s/over/documents 2>&1", scratch,
               scratch);
    check(code == 0 && strstr(out, "more keys than it was made for"),
          "dedupe: says that the filter is too small");
    code = run(out, sizeof out,
               "data/curate dedupe --by document --expected 10 --name over "
               "%s/many/documents/01.jsonl 2>&1", scratch);
    check(code == 0 && !strstr(out, "more keys than"),
          "dedupe: does not say so where more keys are held than expected, as well as asked for");

    // What a filter remembers: the files as they were, and the options that chose its keys.
    put_text("twin/documents/a.txt", "one two\n");
    put_text("twin/documents/a.txt.jsonl", "{\"text\":\"one\"}\n");
    code = run(out, sizeof out,
               "data/curate dedupe --by document --expected 10 --name x %s/twin/documents", scratch);
    check(code == 1 && strstr(out, "two of the files named have their attributes there"),
          "dedupe: two inputs with one output: %s", out);
    put_text("changed/documents/a.jsonl", "{\"text\":\"one\"}\n");
    put_text("changed/documents/b.jsonl", "{\"text\":\"one\"}\n");
    snprintf(command, sizeof command,
             "data/curate dedupe --by document --expected 10 --bloom %s/changed.bloom --name x",
             scratch);
    run(out, sizeof out, "%s %s/changed/documents/a.jsonl", command, scratch);
    code = run(out, sizeof out, "%s --skip-empty %s/changed/documents", command, scratch);
    check(code == 1 && strstr(out, "were chosen with the options"),
          "dedupe: a filter's keys are chosen by one set of options: %s", out);
    code = run(out, sizeof out,
               "%s --name other --skip-empty --read-only %s/changed/documents/b.jsonl; cat "
               "%s/changed/attributes/other/b.jsonl", command, scratch, scratch);
    check(code == 0 && strstr(out, "[[0,3,1]]"),
          "dedupe: ... which does not bind what is only compared with it: %s", out);
    put_text("changed/documents/a.jsonl", "{\"text\":\"two\"}\n");
    code = run(out, sizeof out, "%s %s/changed/documents", command, scratch);
    check(code == 1 && strstr(out, "has changed since"),
          "dedupe: a file that has changed is not the one whose keys are held: %s", out);
    // A NUL may stand in an id, and in a key.
    put_text("nul/documents/a.jsonl",
             "{\"id\":\"a\\u0000b\",\"text\":\"x\",\"metadata\":{\"url\":\"u\"}}\n"
             "{\"id\":\"c\",\"text\":\"\\u0000y\",\"metadata\":{\"url\":\"u\\u0000v\"}}\n");
    run(out, sizeof out,
        "data/curate dedupe --by url --expected 9 --name x %s/nul/documents >/dev/null 2>&1; cat "
        "%s/nul/attributes/x/a.jsonl", scratch, scratch);
    check(!strcmp(out, "{\"id\":\"a\\u0000b\",\"attributes\":{\"x\":[]}}\n"
                       "{\"id\":\"c\",\"attributes\":{\"x\":[]}}\n"),
          "dedupe: ids and keys with a NUL: %s", out);
    run(out, sizeof out,
        "data/curate tag --name y --taggers char_length_v1 %s/nul/documents 2>/dev/null; cat "
        "%s/nul/attributes/y/a.jsonl", scratch, scratch);
    check(strstr(out, "{\"id\":\"a\\u0000b\",") != NULL, "tag: an id with a NUL: %s", out);
    put_text("url/documents/a.jsonl",
             "{\"id\":\"a\",\"text\":\"\u00e9\u00e9\",\"metadata\":{\"url\":\"u\"}}\n"
             "{\"id\":\"b\",\"text\":\"\u00e9\u00e9\u00e9\",\"metadata\":{\"url\":\"u\"}}\n");
    code = run(out, sizeof out,
               "data/curate dedupe --by url --field '$.metadata.url' --expected 9 --name x "
               "%s/url/documents 2>&1; cat %s/url/attributes/x/a.jsonl", scratch, scratch);
    check(strstr(out, "[[0,3,1]]") && !strstr(out, "have no"),
          "dedupe: $.metadata.url is metadata.url, and the span is that of the text: %s", out);
    put_text("url/documents/a.jsonl",
             "{\"id\":\"a\",\"text\":\"1\",\"url\":\"u\"}\n"
             "{\"id\":\"b\",\"text\":\"22\",\"metadata\":{\"url\":\"u\"}}\n"
             "{\"id\":\"c\",\"text\":\"\"}\n");
    code = run(out, sizeof out,
               "data/curate dedupe --by url --expected 9 --name z %s/url/documents 2>&1; cat "
               "%s/url/attributes/z/a.jsonl", scratch, scratch);
    check(strstr(out, "\"b\",\"attributes\":{\"z\":[[0,2,1]]") &&
          strstr(out, "1 of them have no metadata.url, nor url"),
          "dedupe: a URL may stand at either place: %s", out);
    code = run(out, sizeof out,
               "mkdir -p %s/there; data/curate dedupe --by url --expected 9 --name zz --bloom "
               "%s/there %s/url/documents; ls %s/url/attributes", scratch, scratch, scratch, scratch);
    check(strstr(out, "there: expected a file") && !strstr(out, "zz"),
          "dedupe: a filter that cannot be written is refused before the work: %s", out);
    code = run(out, sizeof out,
               "data/curate dedupe --by document --stride 2 --expected 9 --name zz %s/url/documents",
               scratch);
    check(code == 1 && strstr(out, "are for --by ngram"),
          "dedupe: an option that would do nothing is refused: %s", out);
    code = run(out, sizeof out,
               "data/curate dedupe --by paragraph --field x --expected 9 --name zz %s/url/documents",
               scratch);
    check(code == 1 && strstr(out, "--field is for"), "dedupe: ... and --field: %s", out);
    code = run(out, sizeof out,
               "data/curate dedupe --by document --expected 10 --false-positives 0.5 --bloom "
               "%s/changed.bloom --name zz %s/url/documents", scratch, scratch);
    check(code == 1 && strstr(out, "was made for a rate of false positives of 1e-06, not 0.5"),
          "dedupe: another rate than the filter's: %s", out);
    static const char *const nonsense[] = { "--stride 0", "--ngram 0", "--overlap 0",
                                            "--overlap 1.5", "--field a..b", "--field .a",
                                            "--field a." };
    for (size_t i = 0; i < sizeof nonsense/sizeof *nonsense; i++) {
        code = run(out, sizeof out,
                   "data/curate dedupe --by %s --expected 10 --name y %s %s/changed/documents",
                   i < 4 ? "ngram" : "url", nonsense[i], scratch);
        check(code == 1 && strstr(out, "expected"), "dedupe: %s is refused: %s", nonsense[i], out);
    }
    code = run(out, sizeof out, "data/curate dedupe --by document --expected 10 --name x %s",
               put_text("elsewhere.jsonl", "{\"id\":\"a\",\"text\":\"\"}\n"));
    check(code == 1 && strstr(out, "a directory named documents"),
          "dedupe: says where documents must be");
}

static void test_damaged_filters(void) {
    char out[4096];
    uint64_t size;
    attributes_of("x", "--by document", "{\"id\":\"a\",\"text\":\"1\"}\n");
    run(out, sizeof out,
        "rm -f %s/f.bloom; data/curate dedupe --by document --expected 10 --bloom %s/f.bloom --name "
        "x %s/dd/documents", scratch, scratch, scratch);
    const unsigned char *whole = map_file(in_scratch("f.bloom"), &size);
    int refused = 0, tried = 0;
    char bytes[sizeof(FilterHeader)];
    for (size_t i = 0; i < sizeof bytes; i += 5, tried++) {
        memcpy(bytes, whole, sizeof bytes), bytes[i] ^= 1 << i % 8;
        FILE *file = open_to_write(in_scratch("g.bloom"));
        fwrite(bytes, 1, sizeof bytes, file);
        fwrite(whole + sizeof bytes, 1, size - sizeof bytes, file), fclose(file);
        refused += run(out, sizeof out,
                       "data/curate dedupe --by document --bloom %s/g.bloom --name y "
                       "%s/dd/documents", scratch, scratch) == 1 && !strncmp(out, "error: ", 7);
    }
    for (size_t cut = 0; cut < size; cut += size/7 + 1, tried++) {
        put_file("g.bloom", (const char *)whole, cut);
        refused += run(out, sizeof out,
                       "data/curate dedupe --by document --bloom %s/g.bloom --name y "
                       "%s/dd/documents", scratch, scratch) == 1 && !strncmp(out, "error: ", 7);
    }
    check(refused == tried, "filter: %d of %d damaged or cut files are refused with a sentence",
          refused, tried);
    FilterHeader header;
    memcpy(&header, whole, sizeof header);
    char *nameless = (char *)allocate(size, 1, "a filter");
    memcpy(nameless, whole, size);
    for (uint64_t i = size - header.names; i < size; i++) if (nameless[i] == '/') nameless[i] = 'x';
    put_file("g.bloom", nameless, size);
    check(run(out, sizeof out, "data/curate dedupe --by document --bloom %s/g.bloom --name y %s/dd/documents",
              scratch, scratch) == 0, "filter: a name that is no path is no file's: %s", out);
    release(nameless);
    munmap((void *)(uintptr_t)whole, size);
}

static void test_decontaminate(void) {
    char out[4096];
    put_text("eval/e.jsonl",
             "{\"id\":\"e\",\"text\":\"a b c d e f g h i j k l m\\nn o p q r s t u v w x y\\n- - - "
             "- - - - - - - - - - -\"}\n");
    make_directory(in_scratch("tr"));
    put_text("tr/documents/t.jsonl",
             "{\"id\":\"13\",\"text\":\"\\u00e9\\na b c d e f g h i j k l m\\nx\"}\n"
             "{\"id\":\"12\",\"text\":\"n o p q r s t u v w x y\"}\n"
             "{\"id\":\"dashes\",\"text\":\"- - - - - - - - - - - - - -\"}\n"
             "{\"id\":\"a part\",\"text\":\"a b c d e f g h i j k l m n\"}\n");
    int code = run(out, sizeof out,
                   "data/curate decontaminate --against %s/eval --name d %s/tr/documents >/dev/null "
                   "2>&1; cat %s/tr/attributes/d/t.jsonl", scratch, scratch, scratch);
    check(code == 0 && !strcmp(out, "{\"id\":\"13\",\"attributes\":{\"d\":[[2,28,1]]}}\n"
                                    "{\"id\":\"12\",\"attributes\":{\"d\":[]}}\n"
                               "{\"id\":\"dashes\",\"attributes\":{\"d\":[]}}\n"
                               "{\"id\":\"a part\",\"attributes\":{\"d\":[]}}\n"),
          "decontaminate: a paragraph of 13 words is found, those of 12 words and of dashes are not");
    code = run(out, sizeof out,
               "data/curate decontaminate --min-words 99 --against %s/eval %s/tr/documents", scratch,
               scratch);
    check(code == 1 && strstr(out, "no paragraph has 99 words"),
          "decontaminate: says that there is nothing to look for");
}

// Two documents, of which the second is compared with the first: what is long enough, and which
// n-grams are counted.
static void test_two_documents(void) {
    static const struct { const char *what, *arguments, *first, *second, *spans; } cases[] = {
        { "--min-length counts code points", "--by document --min-length 3", "\u00e9\u00e9",
          "\u00e9\u00e9", "" },
        { "--min-length as released: bytes", "--by document --min-length 3 --as-released",
          "\u00e9\u00e9", "\u00e9\u00e9", "[0,4,1]" },
        { "--min-length: as many are enough", "--by document --min-length 3", "abc", "abc", "[0,3,1]" },
        { "--min-words: as many are enough, and a comma is one", "--by document --min-words 4",
          "a b, c", "a b, c", "[0,6,1]" },
        { "--min-words: one more is not reached", "--by document --min-words 5", "a b, c", "a b, c",
          "" },
        { "--stride 2: n-grams at words 0, 2, 4", "--by ngram --ngram 2 --stride 2 --overlap 0.01",
          "a b c d e f g", "x b c d y f g",
          "[0,13,0.3333333333333333]" },
        { "--stride 2 as released: at 0, 1, 3, 5 (quirk B2)",
          "--by ngram --ngram 2 --stride 2 --overlap 0.01 --as-released", "a b c d e f g",
          "x b c d y f g", "[0,13,0.5]" },
        { "a paragraph of one n-gram is compared whole, and only whole",
          "--by ngram --ngram 3 --overlap 0.5", "one two three four",
          "two three four", "" },
        { "n-grams in the exact set are met by the next document", "--by ngram --ngram 3 --exact",
          "a b c d e", "a b c d e", "[0,9,1]" },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        char documents[256], expected[256];
        snprintf(documents, sizeof documents,
                 "{\"id\":\"a\",\"text\":\"%s\"}\n{\"id\":\"b\",\"text\":\"%s\"}\n", cases[i].first,
                 cases[i].second);
        snprintf(expected, sizeof expected,
                 "{\"id\":\"a\",\"attributes\":{\"x\":[]}}\n"
                 "{\"id\":\"b\",\"attributes\":{\"x\":[%s]}}\n", cases[i].spans);
        check_attributes(cases[i].what, cases[i].arguments, documents, expected);
    }
}

// The whole report, but for its times: 8 documents of 62,500 bytes with the URLs u0 u1 u2 u0 ..., the last
// without one. 3 keys set 21 bits of 2^23, which is (21/2^23)^7 of false positives.
static void test_marking_report(void) {
    char out[4096];
    put_text("report/documents/a.jsonl", "");
    run(out, sizeof out,
        "cd %s/report && text=$(head -c 62500 /dev/zero | tr '\\0' a) && for i in 0 1 2 3 4 5 6 7; do "
        "[ $i = 7 ] && url=other || url=url; echo \"{\\\"id\\\":\\\"$i\\\",\\\"text\\\":\\\"$text\\\","
        "\\\"metadata\\\":{\\\"$url\\\":\\\"u$((i%%3))\\\"}}\"; done > documents/a.jsonl", scratch);
    for (int exact = 0; exact < 2; exact++) {
        run(out, sizeof out,
            "data/curate dedupe --by url --expected 4 --name x%d --false-positives 0.01 %s "
            "%s/report/documents 2>/dev/null | sed 's/([0-9,]* a second)/(N a second)/; s/ [0-9,]* "
            "keys a second/ N keys a second/'", exact, exact ? "--exact" : "", scratch);
        char expected[1024];
        snprintf(expected, sizeof expected,
                 "documents        8 (N a second), 0.5 MB of text\n                 1 of them have "
                 "no metadata.url, nor url: they are not compared\nduplicates       4 of 7 documents "
                 "by metadata.url\nfilter           1.0 MiB, 7 bits a key: 131072.00 bytes a "
                 "document; 3 keys held, made for 4\n                 N keys a second went through "
                 "it\nfalse positives  at most 0.01 asked for, 6.16e-40 at the filter's fill now\n%s",
                 exact
                 ? "                 measured while it filled: 0 of 3 new keys: 0 (exact set: "
                   "2048.00 bytes a document)\n" : "");
        check(!strcmp(out, expected), "dedupe%s reports what it has done%s%s", exact ? " --exact" : "",
              strcmp(out, expected) ? ":\n" : "", strcmp(out, expected) ? out : "");
    }
}

// A filter of 20,000 keys that takes one in hundreds for an old one; and what it counts.
static void test_exact(void) {
    char out[4096];
    put_text("exact/documents/a.txt", "");
    run(out, sizeof out,
        "(seq 20000; echo 7) > %s/exact/documents/a.txt; data/curate dedupe --by paragraph --exact "
        "--expected 1 --false-positives 0.9 --name x %s/exact/documents 2>/dev/null", scratch, scratch);
    check(strstr(out, "duplicates       1 of 20,001 paragraphs") != NULL,
          "dedupe --exact: the set decides, not the filter");
    check(strstr(out, " of 20,000 new keys") && !strstr(out, "filled: 0 of"),
          "dedupe --exact: the filter's false positives are counted");
    put_text("exact/documents/a.txt", "one\none\n");
    run(out, sizeof out,
        "data/curate dedupe --by paragraph --expected 9 --name x %s/exact/documents 2>/dev/null",
        scratch);
    check(strstr(out, " 1 keys held, made for 9") != NULL,
          "dedupe: a key that comes twice is held once");
}

// A filter is taken up only with the options that chose its keys: made with the first, it is refused
// with the second.
static void test_filter_options(void) {
    static const char *const pairs[][2] = {
        { "--by url", "--by document" }, { "--by ngram --stride 2", "--by ngram" },
        { "--by ngram --ngram 5", "--by ngram" },
        { "--by ngram --skip-short", "--by ngram" }, { "--by document --min-length 2", "--by document" },
        { "--by document --min-words 2", "--by document" },
        { "--by document --as-released", "--by document" },
    };
    char out[4096];
    put_text("options/documents/a.jsonl", "{\"text\":\"one\"}\n");
    for (size_t i = 0; i < sizeof pairs/sizeof *pairs; i++) {
        int code = run(out, sizeof out,
                       "C=\"$PWD/data/curate dedupe --bloom f.bloom\"; cd %s/options; rm -rf "
                       "f.bloom attributes; $C --expected 9 --name made %s documents >/dev/null "
                       "2>&1 && $C --name used %s documents", scratch, pairs[i][0], pairs[i][1]);
        check(code == 1 && strstr(out, "choose another --bloom"),
              "dedupe: a filter made with %s is refused with %s: %s", pairs[i][0], pairs[i][1], out);
    }
}

static void test_refused_options(void) {
    static const struct { const char *arguments, *sentence; } refused[] = {
        { "--read-only --expected 9", "--read-only: expected --bloom" },
        { "--read-only --expected 9 --bloom gone.bloom", "--read-only: expected --bloom" },
        { "--exact --bloom f.bloom", "exists already" }, { "", "expected the number of keys" },
        { "--expected 9 --false-positives 1", "expected a probability" },
        { "--expected 10 --bloom f.bloom", "was made for 9 keys, not 10" },
        { "--expected 9 --field $(printf %0100d 0)", "this path is too long" },
        { "--expected 0.9", "from 1 to 1e15" }, { "--expected 1e15", "from 1 to 1e15" },
        { "--expected 9 --false-positives 1e-300", "expected a probability" },
        { "--expected 9 --exact --read-only", "--exact and --read-only: choose one" },
        { "--expected 9 --by word", "--by word: expected url, document, paragraph or ngram" },
        { "--expected 9 --ngram 12", "are for --by ngram" },
        { "--expected 9 --skip-short", "are for --by ngram" },
        { "--expected 9 --overlap 0.5", "are for --by ngram" },
        { "--expected 9 --by paragraph --stride 2", "are for --by ngram" },
    };
    char out[4096];
    put_text("refused/documents/a.jsonl", "{\"text\":\"one two\"}\n");
    run(out, sizeof out,
        "data/curate dedupe --by document --expected 9 --bloom %s/refused/f.bloom --name x "
        "%s/refused/documents", scratch, scratch);
    for (size_t i = 0; i < sizeof refused/sizeof *refused; i++) {
        int code = run(out, sizeof out,
                       "P=$PWD; cd %s/refused; $P/data/curate dedupe --by document --name y %s "
                       "documents", scratch, refused[i].arguments);
        check(code == 1 && strstr(out, refused[i].sentence), "dedupe: refused with \"%s\": %s",
              refused[i].arguments, out);
    }
    for (int rate = 0; rate < 2; rate++) {
        int code = run(out, sizeof out,
                       "data/curate decontaminate --false-positives %d --min-words 1 --against "
                       "%s/refused/documents --name z %s/refused/documents", rate, scratch, scratch);
        check(code == 1 && strstr(out, "expected a probability"),
              "decontaminate: refused with --false-positives %d: %s", rate, out);
    }
}

// Files that the filter has met, in the words of the command line or in others; and files that it
// has not.
static void test_remembered_files(void) {
    char out[4096], command[2048];
    snprintf(command, sizeof command,
             "$P/data/curate dedupe --by document --expected 9 --bloom %s/met.bloom --name x", scratch);
    put_text("met/documents/a.jsonl", "{\"text\":\"one\"}\n");
    put_text("met/c", "{\"text\":\"three\"}\n");
    int code = run(out, sizeof out,
                   "P=$PWD; %s %s/met/documents >/dev/null 2>&1; cd %s/met && %s documents "
                   ">/dev/null", command, scratch, scratch, command);
    check(code == 0 && strstr(out, "1 of 1 files were done before"),
          "dedupe: a file is the same by a relative path: %s", out);
    code = run(out, sizeof out,
               "P=$PWD; cd %s/met && touch -r documents/a.jsonl time && echo >> documents/a.jsonl "
               "&& touch -r time documents/a.jsonl; %s documents", scratch, command);
    check(code == 1 && strstr(out, "has changed since"),
          "dedupe: a file of another size is another, whatever its time: %s", out);

    code = run(out, sizeof out,
               "P=$PWD; cd %s/met && touch -d 2004-04-04 c && mv c documents/c.jsonl && %s "
               "documents/c.jsonl >/dev/null 2>&1 && mv documents/c.jsonl documents/d.jsonl; %s "
               "documents/d.jsonl; rm documents/d.jsonl", scratch, command, command);
    check(code == 0 && strstr(out, "has it been moved?"), "dedupe: a file that was moved: %s", out);
    code = run(out, sizeof out,
               "P=$PWD; cd %s/met && N=\"new\nline\" && mkdir \"$N\" && cp -r documents \"$N\" && cd \"$N\" "
               "&& touch -d 2003-03-03 documents/a.jsonl && %s documents >/dev/null 2>&1; %s documents "
               ">/dev/null", scratch, command, command);
    check(code == 0 && strstr(out, "1 of 1 files were done before"),
          "dedupe: a path with a newline in it is remembered: %s", out);

    // What root cannot open either: a socket.
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = in_scratch("met/documents/b.jsonl");
    int made = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(snprintf(address.sun_path, sizeof address.sun_path, "%s",
                   path) < (int)sizeof address.sun_path &&
          bind(made, (struct sockaddr *)&address, sizeof address) == 0, "%s: no socket can be made",
          path);
    close(made);
    code = run(out, sizeof out, "P=$PWD; %s %s >/dev/null; rm %s", command, path, path);
    check(code == 0 && strstr(out, "cannot be read"),
          "dedupe: a file that cannot be read has its sentence: %s", out);
    put_text("met/documents/b.jsonl", "{\"id\":\"b\",\"text\":\"one\"}\n");
    code = run(out, sizeof out, "P=$PWD; %s %s >/dev/null 2>&1; cat %s/met/attributes/x/b.jsonl",
               command, path, scratch);
    check(code == 0 && strstr(out, "[[0,3,1]]"), "dedupe: ... and is done when it can be: %s", out);
}

// A run that waits for a pipe, in its last file, is killed for certain. Its filter is that of the
// groups of files before.
static void test_checkpoint(void) {
    char out[4096], command[2048], name[64];
    for (int i = 10; i < 26; i++)
        snprintf(name, sizeof name, "pipe/documents/%d.jsonl", i),
            put_text(name, "{\"text\":\"one\"}\n");
    snprintf(command, sizeof command,
             "$P/data/curate dedupe --by document --expected 9 --threads 1 --bloom f.bloom --name x "
             "documents/*.jsonl");
    for (int every = 600; every >= 0; every -= 600) {
        run(out, sizeof out,
            "P=$PWD; cd %s/pipe; rm -rf attributes documents/26.jsonl; mkfifo documents/26.jsonl; "
            "%s --save-every %d >/dev/null 2>&1 & p=$!; for i in $(seq 15000); do test -e %s && "
            "break; sleep 0.02; done; kill -9 $p; wait $p; echo $?; ls", scratch, command, every,
            every ? "attributes/x/25.jsonl" : "f.bloom");
        check(strstr(out, "137\n") && (strstr(out, "f.bloom\n") != NULL) == !every,
              "dedupe: killed, with --save-every %d it has%s saved its filter", every,
              every ? " not" : "");
    }
    put_text("pipe/documents/new", "{\"text\":\"one\"}\n");
    int code = run(out, sizeof out,
                   "P=$PWD; cd %s/pipe; mv documents/new documents/26.jsonl; %s >/dev/null", scratch,
                   command);
    check(code == 0 && strstr(out, " of 17 files were done before"),
          "dedupe: what was killed goes on where it was saved: %s", out);
    run(out, sizeof out,
        "cd %s/pipe/attributes/x; cat ??.jsonl | grep -c '\\[\\[0,3,1\\]\\]'; grep -c '\\[\\]' "
        "10.jsonl", scratch);
    check(!strcmp(out, "16\n1\n"), "dedupe: ... and no document has met its own key");
}

// Of two runs with one filter the second one to save it would lose the keys of the first. It is kept waiting
// by a pipe: whoever opens that knows that it has read the filter.
static void test_two_runs(void) {
    char out[4096];
    put_text("both/documents/a.jsonl", "{\"text\":\"one\"}\n");
    put_text("both/documents/b.jsonl", "{\"text\":\"two\"}\n");
    run(out, sizeof out,
        "P=$PWD; cd %s/both; mkfifo documents/pipe.jsonl; C=\"$P/data/curate dedupe --by document --bloom "
        "f.bloom\"; $C --expected 9 --name x documents/a.jsonl >/dev/null 2>&1; $C --name y "
        "documents/pipe.jsonl >/dev/null 2>error & p=$!; exec 3>documents/pipe.jsonl; $C --name x "
        "documents/b.jsonl >/dev/null 2>&1; echo $?; cp f.bloom first; echo '{\"text\":\"three\"}' >&3; "
        "exec 3>&-; wait $p; echo $?; cat error; cmp f.bloom first && ls -d f.*", scratch);
    check(!strncmp(out, "0\n1\n", 4) && strstr(out, "f.bloom: another run has written this filter") &&
          ends_with(out, "\nf.bloom\n"), "dedupe: two runs with one filter: %s", out);
}

// Compared with a filter that is only read, documents do not meet each other.
static void test_read_only(void) {
    static const char *const by[] = { "document", "ngram --ngram 3" };
    char out[4096];
    put_text("only/documents/a.jsonl", "{\"id\":\"a\",\"text\":\"held by it\"}\n");
    put_text("only/documents/b.jsonl",
             "{\"id\":\"b\",\"text\":\"one two three four\"}\n"
             "{\"id\":\"c\",\"text\":\"one two three four\"}\n");
    for (int i = 0; i < 2; i++) {
        run(out, sizeof out,
            "P=$PWD; cd %s/only; rm -rf f.bloom attributes; C=\"$P/data/curate dedupe --by %s "
            "--bloom f.bloom\"; ($C --name x --expected 9 documents/a.jsonl; $C --name y "
            "--read-only documents/b.jsonl) >/dev/null 2>&1; cat attributes/y/b.jsonl", scratch, by[i]);
        check(!strcmp(out, "{\"id\":\"b\",\"attributes\":{\"y\":[]}}\n"
                           "{\"id\":\"c\",\"attributes\":{\"y\":[]}}\n"),
              "dedupe --by %s --read-only: adds nothing", by[i]);
    }
}

// Headers that are whole, but make no sense; and a byte too many.
static void test_odd_filters(void) {
    static const char *const what[] = { "as it was", "of half its bytes", "of no bit a key",
                                        "of too many bits a key", "of a rate of 1", "of no keys",
                                        "of a kind without end", "of options without end",
                                        "with a byte too many", "of another bit a key" };
    char out[4096];
    uint64_t size;
    attributes_of("x", "--by document", "{\"id\":\"a\",\"text\":\"1\"}\n");
    run(out, sizeof out,
        "rm -f %s/h.bloom; data/curate dedupe --by document --expected 10 --bloom %s/h.bloom --name "
        "x %s/dd/documents", scratch, scratch, scratch);
    const char *whole = (const char *)map_file(in_scratch("h.bloom"), &size);
    for (int i = 0; i < 10; i++) {
        FilterHeader h;
        memcpy(&h, whole, sizeof h);
        uint64_t names = h.names, bytes = i == 1 ? h.bytes/2 : h.bytes;
        if (i == 1) h.bytes = bytes;
        if (i == 2) h.k = 0;
        if (i == 3) h.k = 1101;
        if (i == 4) h.rate = 1;
        if (i == 5) h.expected = 0;
        if (i == 6) memset(h.what, 'a', sizeof h.what);
        if (i == 7) memset(h.options, 'a', sizeof h.options);
        h.check = filter_check(&h);
        if (i == 9) h.k--;                                  // sound by itself, but not what was written
        FILE *file = open_to_write(in_scratch("odd.bloom"));
        fwrite(&h, 1, sizeof h, file), fwrite(whole + sizeof h, 1, bytes, file);
        fwrite(whole + size - names, 1, names, file);
        fwrite("x", 1, i == 8, file), fclose(file);
        int code = run(out, sizeof out,
                       "data/curate dedupe --by document --bloom %s/odd.bloom --name x "
                       "%s/dd/documents >/dev/null", scratch, scratch);
        const char *expected = i == 0 ? "1 of 1 files were done before" : i == 8
            ? "as its header says" : i == 9 ? "header is damaged" : "makes no sense";
        check(code == (i > 0) && strstr(out, expected), "filter: %s %s: %.150s", what[i],
              i ? "is refused" : "is taken", out);
    }
    munmap((void *)(uintptr_t)whole, size);
}

// What counts as evaluation text, and which command has made the attributes.
static void test_evaluation(void) {
    char out[4096];
    check(!is_punctuation("- 7", 3) && !is_punctuation("\u0301", 2) && !is_punctuation("- a", 3) &&
          is_punctuation("- \u2026 \u263a", 8), "punctuation has no letter, digit or mark");
    put_text("against/a/a.txt", "1 2 3 4 5 6 7 8 9 10 11 12 13\n");
    put_text("against/b/b.txt", "a b c d e f g h i j k l m\n");
    put_text("against/c/a.txt", "1 2 3 4 5 6 7 8 9 10 11 12 13\n");
    put_text("against/d/d.txt", "1 2 3 4 5 6 7 8 9 10 11 12 14\n");
    put_text("against/documents/t.jsonl", "{\"id\":\"n\",\"text\":\"1 2 3 4 5 6 7 8 9 10 11 12 13\"}\n"
             "{\"id\":\"l\",\"text\":\"a b c d e f g h i j k l m\"}\n");
    run(out, sizeof out,
        "P=$PWD; cd %s/against; $P/data/curate decontaminate --against a,b --name ab documents "
        ">/dev/null 2>&1; cat attributes/ab/t.jsonl", scratch);
    check(strstr(out, "\"n\",\"attributes\":{\"ab\":[[0,29,1]]") != NULL,
          "decontaminate: 13 numbers are 13 words");
    check(strstr(out, "\"l\",\"attributes\":{\"ab\":[[0,25,1]]") != NULL,
          "decontaminate: the second of two paths counts, too");
    static const struct { const char *arguments, *what; int code; } commands[] = {
        { "--against a", "makes them", 0 },
        { "--against c", "makes them again, with the same text in another place", 0 },
        { "--against d", "does not replace them: another text", 1 },
        { "--against a --min-words 12", "does not replace them: other words", 1 },
    };
    for (size_t i = 0; i < sizeof commands/sizeof *commands; i++) {
        int code = run(out, sizeof out,
                       "P=$PWD; cd %s/against; $P/data/curate decontaminate --name again %s "
                       "documents >/dev/null", scratch, commands[i].arguments);
        check(code == commands[i].code &&
              (!code || strstr(out, "the attributes there were made by")), "decontaminate %s %s: %s",
              commands[i].arguments, commands[i].what, out);
    }
    run(out, sizeof out,
        "data/curate dedupe --by ngram --expected 9 --overlap 0.5 --name o %s/against/documents",
        scratch);
    int code = run(out, sizeof out,
                   "data/curate dedupe --by ngram --expected 9 --overlap 0.6 --name o "
                   "%s/against/documents", scratch);
    check(code == 1 && strstr(out, "the attributes there were made by"),
          "dedupe: another --overlap does not replace attributes: %s", out);
}

static void test_dedupe(void) {
    test_filter();
    test_filter_file();
    test_key_set();
    test_duplicates();
    test_runs();
    test_damaged_filters();
    test_decontaminate();
    test_two_documents();
    test_marking_report();
    test_exact();
    test_filter_options();
    test_refused_options();
    test_remembered_files();
    test_checkpoint();
    test_two_runs();
    test_read_only();
    test_odd_filters();
    test_evaluation();
}
