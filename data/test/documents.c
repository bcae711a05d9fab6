// Reading and writing documents: what is read is what was written, whatever the packing; what is broken is said, once.

// Standard error of whatever `work` prints, as a string of the caller's.
static char *sentences_of(void (*work)(const char *), const char *argument) {
    const char *path = in_scratch("sentences");
    fflush(stderr);
    int before = dup(2), file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(file, 2), close(file);
    work(argument);
    fflush(stderr);
    dup2(before, 2), close(before);
    return read_text(path);
}

// What the last reading found: "id=text" of each document (texts of more than 20 bytes as their size), joined by spaces.
static char found[8192];
static void read_all(const char *path) {
    Reader *r = reader_open(path);
    size_t n = 0;
    *found = 0;
    for (Document d; r && document_read(r, &d); document_free(&d)) {
        n += (size_t)snprintf(found + n, sizeof found - n, "%s%s=", n ? " " : "", d.id);
        n += (size_t)(d.size > 20 ? snprintf(found + n, sizeof found - n, "%zu", d.size) : snprintf(found + n, sizeof found - n, "%.*s", (int)d.size, d.text));
        if (n >= sizeof found) break;
    }
    reader_close(r);
}
static void test_reading(const char *what, const char *path, const char *documents, const char *sentence) {
    char *said = sentences_of(read_all, path);
    int lines = 0;
    for (const char *c = said; *c; c++) lines += *c == '\n';
    check(!strcmp(found, documents), "%s: read \"%.60s\"", what, found);
    check(*sentence ? lines == 1 && strstr(said, sentence) && strstr(said, path) : !lines, "%s: %s%.*s", what, *said ? "" : "no complaint",
          (int)strcspn(said, "\n"), said);
    release(said);
}

static const char *packed_file(const char *name, const char *text, size_t size) {
    const char *path = in_scratch(name);
    unlink(path);
    Writer *w = writer_open(path);
    writer_put(w, text, size);
    check(!file_exists(path), "%s has no name before it is whole", name);
    writer_close(w);
    return path;
}
static const char *cut_file(const char *path, const char *name, size_t keep) {
    uint64_t size;
    const unsigned char *bytes = map_file(path, &size);
    return put_file(name, (const char *)bytes, zmin(keep, (size_t)size));
}

static void test_packings(void) {
    static const char lines[] = "{\"id\":\"a\",\"text\":\"one\"}\n\n  \n{\"id\":\"b\",\"text\":\"two\",\"source\":\"s\"}\n{\"text\":\"three\"}";
    static const char *const names[] = { "d.jsonl", "d.jsonl.gz", "d.jsonl.zst" };
    for (int i = 0; i < 3; i++) {
        const char *path = packed_file(names[i], lines, sizeof lines - 1);
        char expected[PATH], out[PATH + 64], twice[64];
        snprintf(expected, sizeof expected, "a=one b=two %s:5=three", path);
        test_reading(names[i], path, expected, "");
        if (i == 0) continue;
        snprintf(twice, sizeof twice, "twice-%s", names[i]);
        run(out, sizeof out, "(cat %s; printf '\\n' | %s -c; cat %s) > %s", path, i == 1 ? "gzip" : "zstd -q", path, in_scratch(twice));
        path = in_scratch(twice);
        snprintf(expected, sizeof expected, "a=one b=two %s:5=three a=one b=two %s:10=three", path, path);
        test_reading("compressed streams one after the other", path, expected, "");
    }
    size_t n = 2000000;                                      // its packed form fills more than one block
    char *big = (char *)allocate(n + 64, 1, "a test");
    size_t used = (size_t)sprintf(big, "{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"b\",\"text\":\"");
    Pcg64 r = pcg64_seed(7);
    while (used < n) big[used++] = (char)('a' + pcg64_next32(&r) % 26);
    strcpy(big + used, "\"}\n");
    for (int i = 1; i < 3; i++) {
        const char *path = packed_file(names[i], big, used + 3);
        uint64_t size;
        (void)map_file(path, &size);
        test_reading("a whole long document", path, "a=one b=1999958", "");
        test_reading("a stream that is cut off", cut_file(path, i == 1 ? "cut.jsonl.gz" : "cut.jsonl.zst", (size_t)size*9/10), "a=one", "breaks off after line 1");
        test_reading("a stream that lacks one byte", cut_file(path, i == 1 ? "cut.jsonl.gz" : "cut.jsonl.zst", (size_t)size - 1), i == 1 ? "a=one b=1999958" : "a=one", "breaks off");
    }
    release(big);
    char out[PATH + 64];
    run(out, sizeof out, "(gzip -c %s; echo rubbish) > %s", put_text("small.jsonl", "{\"id\":\"a\",\"text\":\"one\"}\n"), in_scratch("rubbish.jsonl.gz"));
    test_reading("rubbish after a stream", in_scratch("rubbish.jsonl.gz"), "a=one", "breaks off after line 1");
    run(out, sizeof out, "(zstd -q -c %s; echo rubbish) > %s", in_scratch("small.jsonl"), in_scratch("rubbish.jsonl.zst"));
    test_reading("rubbish after a stream", in_scratch("rubbish.jsonl.zst"), "a=one", "zstd stream breaks off after line 1");
    run(out, sizeof out, "(gzip -c %s | head -c -8; printf 12345678) > %s", in_scratch("small.jsonl"), in_scratch("sum.jsonl.gz"));
    test_reading("a stream whose checksum is wrong", in_scratch("sum.jsonl.gz"), "", "breaks off after line 0");
    snprintf(out, sizeof out, "%s:1=z", put_text("null.jsonl", "{\"id\":null,\"text\":\"z\"}\n"));
    test_reading("an id that is null is none", in_scratch("null.jsonl"), out, "");
    test_reading("a directory", scratch, "", "expected a file");
    test_reading("a file that is not there", in_scratch("gone.jsonl"), "", "cannot be read");
    test_reading("an empty file", put_text("empty.jsonl", ""), "", "");
}

static void test_lines(void) {
    char nested[200001], line[256], deep[8192] = "";
    memset(nested, '[', 200000), nested[200000] = 0;
    sprintf(deep, "{\"id\":\"a\",\"text\":\"t\",\"x\":%.2046s", nested), memset(deep + strlen(deep), ']', 2046), strcpy(deep + 2046 + strcspn(deep, "]"), "}\n");
    struct { const char *what, *text, *documents, *sentence; size_t size; } cases[] = {
        { "a NUL that is written as JSON writes it", "{\"id\":\"a\",\"text\":\"x\\u0000y\"}", "a=x", "", 0 },
        { "blank lines that end in CR", "\r\n \t\r\n{\"id\":\"a\",\"text\":\"z\"}\r\n\r\n", "a=z", "", 0 },
        { "a bare NUL", "{\"id\":\"a\",\"text\":\"x\0y\"}\n{\"id\":\"b\",\"text\":\"z\"}\n", "b=z", ":1: not JSON", 46 },
        { "bytes that are not UTF-8", "{\"id\":\"a\",\"text\":\"x\xffy\"}\n{\"id\":\"b\",\"text\":\"z\"}\n", "b=z", ":1: not JSON at byte", 0 },
        { "a lone surrogate", "{\"id\":\"a\",\"text\":\"\\ud800\"}\n{\"id\":\"b\",\"text\":\"z\"}\n", "b=z", ":1: not JSON", 0 },
        { "JSON that goes deep", nested, "", "depth", 0 },
        { "JSON as deep as both readers go", deep, "a=t", "", 0 },
        { "an array", "{\"id\":\"b\",\"text\":\"z\"}\n[1]\n", "b=z", ":2: expected a JSON object", 0 },
        { "two objects in a line", "{\"id\":\"b\",\"text\":\"z\"} {}\n", "", ":1: not JSON", 0 },
        { "a cut-off line", "{\"id\":\"b\",\"text\":\"z\"}\n{\"id\":\"c\",\"te", "b=z", ":2: not JSON", 0 },
        { "a byte order mark", "\xef\xbb\xbf{\"id\":\"b\",\"text\":\"z\"}\n", "b=z", "", 0 },
        { "a source that is null", "{\"id\":\"b\",\"text\":\"z\",\"source\":null}\n", "b=z", "", 0 },
        { "a byte order mark in the second line", "{\"id\":\"b\",\"text\":\"z\"}\n\xef\xbb\xbf{\"id\":\"c\",\"text\":\"z\"}\n", "b=z", ":2: not JSON", 0 },
        { "nothing but a byte order mark", "\xef\xbb\xbf", "", "", 0 },
        { "a bare NUL behind a number, which jansson overlooks", "{\"id\":\"a\",\"text\":\"t\",\"n\":1\0}\n", "", ":1: not JSON: ", 29 },
        { "a NUL in a text that comes before the error", "{\"text\":\"\\u0000\",}\n", "", "not JSON at byte 18", 0 },
        { "a number beyond all bounds", "{\"id\":\"b\",\"text\":\"z\",\"n\":99999999999999999999}\n", "", "a number that is too large ends at byte 45", 0 },
        { "no text", "{\"id\":\"b\"}\n", "", "expected a string \"text\", found none", 0 },
        { "a text that is a number", "{\"id\":\"b\",\"text\":7}\n", "", "\"text\" to be a string", 0 },
        { "a text that is null", "{\"id\":\"b\",\"text\":null}\n", "", "\"text\" to be a string", 0 },
        { "an id that is a number", "{\"id\":7,\"text\":\"z\"}\n", "", "\"id\" to be a string", 0 },
        { "a source that is a list", "{\"id\":\"b\",\"text\":\"z\",\"source\":[]}\n", "", "\"source\" to be a string", 0 },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        const char *path = put_file("lines.jsonl", cases[i].text, cases[i].size ? cases[i].size : strlen(cases[i].text));
        test_reading(cases[i].what, path, cases[i].documents, cases[i].sentence);
    }
    char *huge = (char *)allocate(longest_line + 100, 1, "a test");
    memset(huge, 'a', longest_line + 50);
    memcpy(huge, "{\"id\":\"a\",\"text\":\"", 18);
    strcpy(huge + longest_line + 40, "\"}\n{\"id\":\"b\",\"text\":\"z\"}\n");
    test_reading("a line that is too long", put_text("huge.jsonl", huge), "b=z", ":1: longer than 64 MB");
    release(huge);
    size_t n = longest_line + (2 << 20);                    // so long that its end is not in sight when it is given up
    huge = (char *)allocate(n + 100, 1, "a test");
    memset(huge, 'a', n);
    strcpy(huge + n, "\n{\"text\":\"z\"}\n");
    snprintf(line, sizeof line, "%s:2=z", in_scratch("huge.jsonl"));
    test_reading("a line that is much too long", put_text("huge.jsonl", huge), line, ":1: longer than 64 MB");
    release(huge);
    snprintf(line, sizeof line, "%s=x y", put_text("plain.txt", "x y"));
    test_reading("a text file", in_scratch("plain.txt"), line, "");
    test_reading("a text file that is not UTF-8", put_text("plain.txt", "x\xc3"), "", "expected UTF-8 text, found another byte at byte 1");
}

// What simdjson takes out of a line, against jansson's tree of it: of lines whose bytes are changed at random, too, which either
// both refuse or both understand. (But for what only jansson refuses, whole numbers of 64 bits and a NUL in a name: document_json.)
static void test_two_readers(void) {
    static const char *const lines[] = {
        "{\"text\":\"a \\u00e9\\n\\ud83d\\ude00 \\\"b\\\\\",\"id\":\"x\",\"metadata\":{\"url\":\"http://h/\",\"n\":[1,-2.5e3,true,null,{}]}}",
        "{\"id\":\"one\",\"text\":\"first\",\"id\":\"two\",\"text\":\"last \\u0000 \\/\",\"source\":\"s\",\"metadata\":{\"url\":7,\"url\":\"u\"}}",
        " {\"metadata\" : [ { \"url\" : \"no\" } ] , \"source\" : null, \"text\" : \"\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80\" } ",
        "{\"text\":\"\",\"metadata\":\"url\",\"added\":123456789012345678,\"x\":0.1e-5,\"y\":-0}",
    };
    static const char odd[] = "{}[]\",:\\u0 ntf-.eE1d";
    Pcg64 random = pcg64_seed(5);
    int wrong = 0, understood = 0, turns = 40000;
    char line[512], place[64];
    Reader *r = reader_open(put_text("line.jsonl", ""));
    r->line.extra[0] = "metadata.url", r->line.number = 3, r->line.text = line;
    snprintf(place, sizeof place, "%s:3", r->line.path);
    int before = dup(2), nowhere = open("/dev/null", O_WRONLY);
    fflush(stderr), dup2(nowhere, 2), close(nowhere);
    for (int turn = 0; turn < turns; turn++) {
        r->line.size = strlen(strcpy(line, lines[turn % 4]));
        for (int k = turn < 4 ? 0 : (int)(pcg64_next32(&random) % 4); k > 0; k--) {
            size_t at = pcg64_next32(&random) % r->line.size;
            switch (pcg64_next32(&random) % 4) {
            case 0: line[at] = (char)pcg64_next32(&random); break;
            case 1: line[at] = odd[pcg64_next32(&random) % (sizeof odd - 1)]; break;
            case 2: memmove(line + at, line + at + 1, r->line.size-- - at); break;
            default: memmove(line + at + 1, line + at, r->line.size++ - at);
            }
        }
        if (memchr(line, 0, r->line.size)) continue;             // jansson passes over a NUL behind a number
        Document d;
        json_t *tree = json_loadb(line, r->line.size, JSON_ALLOW_NUL, NULL), *member[4];
        static const char *const name[] = { "text", "id", "source", "url" };
        for (int i = 0; i < 4; i++) member[i] = json_object_get(i < 3 ? tree : json_object_get(tree, "metadata"), name[i]);
        int fit = json_is_string(member[0]) && (!member[1] || json_is_string(member[1])) &&
                  (!member[2] || json_is_null(member[2]) || json_is_string(member[2]));
        int ours = document_parse(&r->line, &d);
        if (ours && !tree) ours = document_json(&d) != NULL;
        wrong += ours != fit;
        if (ours && fit) {
            const char *string[] = { d.text, d.id, d.source, d.extra[0] ? d.extra[0] : "" };
            size_t size[] = { d.size, d.id_size, d.source_size, d.extra_size[0] };
            for (int i = 0; i < 4; i++) {
                const char *expected = json_is_string(member[i]) ? json_string_value(member[i]) : i == 1 ? place : "";
                size_t n = json_is_string(member[i]) ? json_string_length(member[i]) : strlen(expected);
                wrong += n != size[i] || memcmp(expected, string[i], n);
            }
            understood++;
        }
        if (ours) document_free(&d);
        json_decref(tree);
    }
    fflush(stderr), dup2(before, 2), close(before);
    reader_close(r);
    check(wrong == 0 && understood > turns/10 && understood < turns*9/10, "simdjson and jansson read the same: %d of %d lines wrong, %d understood",
          wrong, turns, understood);
}

// Pieces between separators, against the definition: any sizes, about the block size too.
static void test_separators(void) {
    Pcg64 r = pcg64_seed(11);
    int wrong = 0;
    for (int turn = 0; turn < 40; turn++) {
        size_t n = turn % 2 ? pcg64_next32(&r) % 2000 : 4*BLOCK - 20 + pcg64_next32(&r) % 40, at = 0;
        const char *separators[] = { "\n", "ab", "aba", "<|endoftext|>" };
        separator = separators[turn % 4];
        char *text = (char *)allocate(n + 1, 1, "a test");
        for (size_t i = 0; i < n; i++) text[i] = "ab\n"[pcg64_next32(&r) % (turn % 4 == 3 ? 2 : 3)];
        for (size_t i = 0; turn % 4 == 3 && i + 13 < n; i += 1 + pcg64_next32(&r) % 70000) memcpy(text + i, separator, 13);
        Reader *reader = reader_open(put_file("pieces.txt", text, n));
        while (reader_line(reader)) {
            const char *end = (const char *)memmem(text + at, n - at, separator, strlen(separator));
            size_t size = end ? (size_t)(end - text) - at : n - at;
            wrong += reader->line.size != size || memcmp(reader->line.text, text + at, zmin(size, reader->line.size));
            at += size + (end ? strlen(separator) : 0);
        }
        wrong += at != n;
        reader_close(reader), release(text);
    }
    separator = NULL;
    check(wrong == 0, "text files are cut at separators as the definition says: %d pieces differ", wrong);
}

static void test_writing(void) {
    const char *path = in_scratch("w.jsonl");
    Writer *w = writer_open(path);
    const double numbers[] = { 0.1, 0.1 + 0.2, 1e300, 5e-324, -0.25, 123456789, 2.0/3, -7, -2.2250738585072014e-308 };
    for (int i = 0; i < 9; i++) writer_number(w, numbers[i]), writer_text(w, " ");
    writer_json_string(w, "a\"\n\xc3\xa9\0z", 7);
    writer_close(w);
    char *text = read_text(path), *rest = text;
    int same = 1;
    for (int i = 0; i < 9; i++) same &= strtod(rest, &rest) == numbers[i];
    check(same && !strncmp(text, "0.1 0.30000000000000004 1e+300 5e-324 -0.25 123456789 0.6666666666666666 -7 ", 75) && !strcmp(rest, " \"a\\\"\\n\xc3\xa9\\u0000z\""), "numbers and strings are written so that they read back: %s", text);
    release(text);
}

// Bytes that are put in pieces, of more than a block, come back; and a plain text as a tree.
static void test_blocks(void) {
    static const char *const names[] = { "blocks.jsonl", "blocks.jsonl.gz", "blocks.jsonl.zst" };
    size_t n = 3*BLOCK + 5;
    char *text = (char *)allocate(n + 1, 1, "a test");
    for (size_t i = 0; i < n; i++) text[i] = (char)('a' + hash64(i) % 26);
    for (int k = 0; k < 3; k++) {
        Writer *w = writer_open(in_scratch(names[k]));
        writer_put(w, text, 7), writer_put(w, text + 7, BLOCK - 8), writer_put(w, text + BLOCK - 1, 1), writer_put(w, text + BLOCK, n - BLOCK), writer_close(w);
        Reader *r = reader_open(in_scratch(names[k]));
        check(reader_line(r) && r->line.size == n && !memcmp(r->line.text, text, n), "%s: what is written in pieces comes back", names[k]);
        reader_close(r);
    }
    release(text);
    Reader *r = reader_open(put_text("tree.txt", "t"));
    Document d;
    check(document_read(r, &d) && document_json(&d) && json_object_size(d.json) == 3 && !strcmp(json_string_value(json_object_get(d.json, "source")), "text") &&
          !strcmp(json_string_value(json_object_get(d.json, "text")), "t"), "a plain text as a tree");
    document_free(&d), reader_close(r);
}

// A directory's files in the order of their names, whatever their order there; no hidden ones, none that is not whole yet.
static void test_file_names(void) {
    static const char *const names[] = { "names/c.jsonl", "names/a.jsonl", "names/.hidden.jsonl", "names/b.jsonl.tmp", "names/b/x.txt" };
    for (int i = 0; i < 5; i++) put_text(names[i], "12");
    const char *directory = in_scratch("names");
    Files f = files_named(&directory, 1);
    check(f.n == 3 && f.bytes == 6 && ends_with(f.path[0], "names/a.jsonl") && ends_with(f.path[1], "names/b/x.txt") &&
          ends_with(f.path[2], "names/c.jsonl"), "a directory names its files in order, but for hidden ones and *.tmp: %d", f.n);
    for (int i = 0; i < f.n; i++) free(f.path[i]);
    free(f.path);
}

// Where attributes are put: beside the last directory named documents, and no other; as JSON lines.
static void test_beside_documents(void) {
    static const struct { const char *path, *below, *attributes; } cases[] = {
        { "documents/a.jsonl.gz", "a.jsonl.gz", "attributes/n/a.jsonl.gz" }, { "x/documents/y/a.txt", "y/a.txt", "x/attributes/n/y/a.txt.jsonl" },
        { "documents/x/documents/a.ndjson", "a.ndjson", "documents/x/attributes/n/a.ndjson" },
        { "x/mydocuments/a.jsonl", "x/mydocuments/a.jsonl", NULL },
        { "documents/mydocuments/a.jsonl", "mydocuments/a.jsonl", "attributes/n/mydocuments/a.jsonl" },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        char out[PATH] = "";
        const char *below = below_documents(cases[i].path);
        check(!strcmp(below, cases[i].below), "of %s, %s is below documents: %s", cases[i].path, cases[i].below, below);
        if (!cases[i].attributes || strcmp(below, cases[i].below)) continue;
        attributes_path(out, cases[i].path, "n");
        check(!strcmp(out, cases[i].attributes), "the attributes of %s are in %s: %s", cases[i].path, cases[i].attributes, out);
    }
}

// Attributes are as old as their documents, to the nanosecond.
static void test_times(void) {
    static const struct { struct timespec a, b; int order; } cases[] = {
        { { 1, 5 }, { 1, 6 }, -1 }, { { 1, 6 }, { 1, 5 }, 1 }, { { 1, 5 }, { 1, 5 }, 0 }, { { 1, 9 }, { 2, 0 }, -1 }, { { 2, 0 }, { 1, 9 }, 1 },
        { { 1, 5 }, { 1L << 32 | 1, 5 }, -1 },
    };
    struct stat a, b;
    memset(&a, 0, sizeof a), memset(&b, 0, sizeof b);
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        a.st_mtim = cases[i].a, b.st_mtim = cases[i].b;
        check(time_order(&a, &b) == cases[i].order, "%ld.%09ld s beside %ld.%09ld s: %d", (long)cases[i].a.tv_sec, cases[i].a.tv_nsec,
              (long)cases[i].b.tv_sec, cases[i].b.tv_nsec, cases[i].order);
    }
    const char *documents = put_text("documents of 2001", ""), *attributes = put_text("their attributes", "");
    const struct timespec past[2] = { { 1000000000, 123456789 }, { 1000000000, 123456789 } };
    CHECK(utimensat(AT_FDCWD, documents, past, 0) == 0 && !stat(documents, &a), "%s: its time cannot be set", documents);
    set_time_of(attributes, &a);
    check(!stat(attributes, &b) && b.st_mtim.tv_sec == 1000000000 && b.st_mtim.tv_nsec == a.st_mtim.tv_nsec,
          "attributes get the time of their documents");
}

static void test_odd_names(void) {
    char out[4096], text[PATH + 32];
    char *said = sentences_of(read_all, in_scratch("gone\x1b[2J\x7f\n.jsonl"));
    check(strstr(said, "/gone [2J  .jsonl: cannot be read") != NULL, "no control character of a file's name reaches the terminal");
    release(said);
    test_reading("a .ndjson file", put_text("two.ndjson", "{\"id\":\"a\",\"text\":\"1\"}\n{\"id\":\"b\",\"text\":\"2\"}\n"), "a=1 b=2", "");
    const char *path = put_text("long.txt", "");
    CHECK(truncate(path, (off_t)longest_line + 1) == 0, "%s: cannot be made longer", path);
    snprintf(text, sizeof text, "%s=%zu", path, longest_line + 1);
    test_reading("a text that is longer than a line may be", path, text, "");
    unlink(path);
    make_directory(in_scratch("hollow"));
    int code = run(out, sizeof out, "data/stats %s/two.ndjson %s/hollow", scratch, scratch);
    check(code == 1 && strstr(out, "hollow: there is no file"), "an empty directory is refused beside a file: %s", out);
    static const char *const refused[] = { "--name ..", "--name .x", "--name ''", "--name a/b", "--on-error stx", "--on-error ''" };
    for (size_t i = 0; i < sizeof refused/sizeof *refused; i++) {
        code = run(out, sizeof out, "data/curate tag --taggers char_length_v1 %s - < /dev/null", refused[i]);
        check(code == 1 && strstr(out, "error: ") && strstr(out, ": expected "), "%s is refused: %s", refused[i], out);
    }
}

static void test_documents(void) {
    test_file_names();
    test_packings();
    test_lines();
    test_two_readers();
    test_separators();
    test_writing();
    test_blocks();
    test_beside_documents();
    test_times();
    test_odd_names();
}
