// Reading and writing documents: what is read is what was written, whatever the packing; what is
// broken is said, once.

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

// What the last reading found: "id=text" of each document (texts of more than 20 bytes as their
// size), joined by spaces.
static char found[8192];
static void read_all(const char *path) {
    Reader *r = reader_open(path);
    size_t n = 0;
    *found = 0;
    for (Document d; r && document_read(r, &d); document_free(&d)) {
        n += (size_t)snprintf(found + n, sizeof found - n, "%s%s=", n ? " " : "", d.id);
        n += (size_t)(d.size > 20 ? snprintf(found + n, sizeof found - n, "%zu", d.size)
                      : snprintf(found + n, sizeof found - n, "%.*s", (int)d.size, d.text));
        if (n >= sizeof found) break;
    }
    reader_close(r);
}
static void test_reading(const char *what, const char *path, const char *documents,
                         const char *sentence) {
    char *said = sentences_of(read_all, path);
    int lines = 0;
    for (const char *c = said; *c; c++) lines += *c == '\n';
    check(!strcmp(found, documents), "%s: read \"%.60s\"", what, found);
    check(*sentence ? lines == 1 && strstr(said, sentence) && strstr(said, path) : !lines,
          "%s: %s%.*s", what, *said ? "" : "no complaint", (int)strcspn(said, "\n"), said);
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
    static const char lines[] =
        "{\"id\":\"a\",\"text\":\"one\"}\n\n  \n{\"id\":\"b\",\"text\":\"two\",\"source\":\"s\"}\n"
        "{\"text\":\"three\"}";
    static const char *const names[] = { "d.jsonl", "d.jsonl.gz", "d.jsonl.zst" };
    for (int i = 0; i < 3; i++) {
        const char *path = packed_file(names[i], lines, sizeof lines - 1);
        char expected[PATH], out[PATH + 64], twice[64];
        snprintf(expected, sizeof expected, "a=one b=two %s:5=three", path);
        test_reading(names[i], path, expected, "");
        if (i == 0) continue;
        snprintf(twice, sizeof twice, "twice-%s", names[i]);
        run(out, sizeof out, "(cat %s; printf '\\n' | %s -c; cat %s) > %s", path,
            i == 1 ? "gzip" : "zstd -q", path, in_scratch(twice));
        path = in_scratch(twice);
        snprintf(expected, sizeof expected, "a=one b=two %s:5=three a=one b=two %s:10=three", path,
                 path);
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
        test_reading("a stream that is cut off",
                     cut_file(path, i == 1 ? "cut.jsonl.gz" : "cut.jsonl.zst", (size_t)size*9/10),
                     "a=one", "breaks off after line 1");
        test_reading("a stream that lacks one byte",
                     cut_file(path, i == 1 ? "cut.jsonl.gz" : "cut.jsonl.zst", (size_t)size - 1),
                     i == 1 ? "a=one b=1999958" : "a=one", "breaks off");
    }
    release(big);
    char out[PATH + 64];
    run(out, sizeof out, "(gzip -c %s; echo rubbish) > %s",
        put_text("small.jsonl", "{\"id\":\"a\",\"text\":\"one\"}\n"), in_scratch("rubbish.jsonl.gz"));
    test_reading("rubbish after a stream", in_scratch("rubbish.jsonl.gz"), "a=one",
                 "breaks off after line 1");
    run(out, sizeof out, "(zstd -q -c %s; echo rubbish) > %s", in_scratch("small.jsonl"),
        in_scratch("rubbish.jsonl.zst"));
    test_reading("rubbish after a stream", in_scratch("rubbish.jsonl.zst"), "a=one",
                 "zstd stream breaks off after line 1");
    static const char *const sums[] = { "gzip -c small.jsonl | head -c -8; printf 12345678",
                                        "gzip -c small.jsonl | head -c -4; printf 1234",
                                        "zstd -qc --check small.jsonl | head -c -4; printf 1234",
                                        "zstd -qc --check < small.jsonl | head -c -4; printf 1234" };
    for (int i = 0; i < 4; i++) {
        run(out, sizeof out, "cd %s; { %s; } > sum.jsonl", scratch, sums[i]);
        test_reading("a stream whose checksum or length is wrong", in_scratch("sum.jsonl"), "a=one",
                     "breaks off after line 1");
    }
    for (int i = 0; i < 2; i++) {
        run(out, sizeof out, "cd %s; { printf '{\"text\":\"no newline\"}' | %s -c; echo rubbish; } > "
            "sum.jsonl", scratch, i ? "zstd -q" : "gzip");
        snprintf(out, sizeof out, "%s:1=no newline", in_scratch("sum.jsonl"));
        test_reading("rubbish after a last line without a newline", in_scratch("sum.jsonl"), out,
                     "breaks off after line 0");
    }
    static const char *const frames[] = { "zstd -qc --long=28 < small.jsonl",
                                          "printf 'X*M\\030\\004\\0\\0\\0abcd'; zstd -qc "
                                          "small.jsonl", "pigz -c small.jsonl || gzip -c small.jsonl",
                                          "zstd -qc small.jsonl; printf '_*M\\030\\0\\0\\0\\0'; "
                                          "zstd -qc < /dev/null" };
    for (int i = 0; i < 4; i++) {
        run(out, sizeof out, "cd %s; { %s; } > frame.jsonl 2>/dev/null", scratch, frames[i]);
        test_reading(frames[i], in_scratch("frame.jsonl"), "a=one", "");
    }
    snprintf(out, sizeof out, "%s:1=z", put_text("null.jsonl", "{\"id\":null,\"text\":\"z\"}\n"));
    test_reading("an id that is null is none", in_scratch("null.jsonl"), out, "");
    test_reading("a directory", scratch, "", "expected a file");
    test_reading("a file that is not there", in_scratch("gone.jsonl"), "", "cannot be read");
    test_reading("an empty file", put_text("empty.jsonl", ""), "", "");
}

static void test_lines(void) {
    char nested[200100], line[256], deep[8192] = "";
    memset(nested, '[', 200000), strcpy(nested + 200000, "\n{\"id\":\"b\",\"text\":\"z\"}\n");
    sprintf(deep, "{\"id\":\"a\",\"text\":\"t\",\"x\":%.2046s", nested);
    memset(deep + strlen(deep), ']', 2046), strcpy(deep + 2046 + strcspn(deep, "]"), "}\n");
    struct { const char *what, *text, *documents, *sentence; size_t size; } cases[] = {
        { "a NUL that is written as JSON writes it", "{\"id\":\"a\",\"text\":\"x\\u0000y\"}", "a=x",
          "", 0 },
        { "blank lines that end in CR", "\r\n \t\r\n{\"id\":\"a\",\"text\":\"z\"}\r\n\r\n", "a=z",
          "", 0 },
        { "a bare NUL", "{\"id\":\"a\",\"text\":\"x\0y\"}\n{\"id\":\"b\",\"text\":\"z\"}\n", "b=z",
          ":1: not JSON", 46 },
        { "bytes that are not UTF-8",
          "{\"id\":\"a\",\"text\":\"x\xffy\"}\n{\"id\":\"b\",\"text\":\"z\"}\n", "b=z",
          ":1: not JSON at byte", 0 },
        { "a lone surrogate", "{\"id\":\"a\",\"text\":\"\\ud800\"}\n{\"id\":\"b\",\"text\":\"z\"}\n",
          "b=z", ":1: not JSON", 0 },
        { "JSON that goes deep", nested, "b=z", ":1: not JSON at byte", 0 },
        { "JSON as deep as both readers go", deep, "a=t", "", 0 },
        { "an array", "{\"id\":\"b\",\"text\":\"z\"}\n[1]\n", "b=z", ":2: expected a JSON object", 0 },
        { "two objects in a line", "{\"id\":\"b\",\"text\":\"z\"} {}\n", "", ":1: not JSON", 0 },
        { "a cut-off line", "{\"id\":\"b\",\"text\":\"z\"}\n{\"id\":\"c\",\"te", "b=z",
          ":2: not JSON", 0 },
        { "a byte order mark", "\xef\xbb\xbf{\"id\":\"b\",\"text\":\"z\"}\n", "b=z", "", 0 },
        { "a source that is null", "{\"id\":\"b\",\"text\":\"z\",\"source\":null}\n", "b=z", "", 0 },
        { "a byte order mark in the second line",
          "{\"id\":\"b\",\"text\":\"z\"}\n\xef\xbb\xbf{\"id\":\"c\",\"text\":\"z\"}\n", "b=z",
          ":2: not JSON", 0 },
        { "nothing but a byte order mark", "\xef\xbb\xbf", "", "", 0 },
        { "a bare NUL behind a number, which jansson overlooks",
          "{\"id\":\"a\",\"text\":\"t\",\"n\":1\0}\n", "", ":1: not JSON: ", 29 },
        { "a NUL in a text that comes before the error", "{\"text\":\"\\u0000\",}\n", "",
          "not JSON at byte 18", 0 },
        { "a whole number beyond 64 bits",
          "{\"id\":\"b\",\"text\":\"z\",\"n\":[99999999999999999999,-99999999999999999999]}\n",
          "b=z", "", 0 },
        { "one with zeros before it",
          "{\"id\":\"b\",\"text\":\"z\",\"n\":00999999999999999999999}\n", "", "not JSON at byte", 0 },
        { "a number beyond all bounds", "{\"id\":\"b\",\"text\":\"z\",\"n\":1e999}\n", "",
          "a number that is too large ends at byte 30", 0 },
        { "no text", "{\"id\":\"b\"}\n", "", "expected a string \"text\", found none", 0 },
        { "a text that is a number", "{\"id\":\"b\",\"text\":7}\n", "", "\"text\" to be a string", 0 },
        { "a text that is null", "{\"id\":\"b\",\"text\":null}\n", "", "\"text\" to be a string", 0 },
        { "an id that is a number", "{\"id\": -7.50 ,\"text\":\"z\"}\n", "-7.50=z", "", 0 },
        { "an id that is an object", "{\"text\":\"z\",\"id\":{\"$oid\":[1, \"}\"]} }\n",
          "{\"$oid\":[1, \"}\"]}=z", "", 0 },
        { "the last of two ids", "{\"id\":7,\"i\\u0064\":8,\"text\":\"z\"}\n", "8=z", "", 0 },
        { "a source that is a list", "{\"id\":\"b\",\"text\":\"z\",\"source\":[]}\n", "b=z", "", 0 },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        const char *path = put_file("lines.jsonl", cases[i].text,
                                    cases[i].size ? cases[i].size : strlen(cases[i].text));
        test_reading(cases[i].what, path, cases[i].documents, cases[i].sentence);
    }
    char *huge = (char *)allocate(longest_line + 100, 1, "a test");
    memset(huge, 'a', longest_line + 50);
    memcpy(huge, "{\"id\":\"a\",\"text\":\"", 18);
    strcpy(huge + longest_line + 40, "\"}\n{\"id\":\"b\",\"text\":\"z\"}\n");
    test_reading("a line that is too long", put_text("huge.jsonl", huge), "b=z",
                 ":1: longer than 64 MB");
    release(huge);
    size_t n = longest_line + (2 << 20);         // so long that its end is not in sight when it is given up
    huge = (char *)allocate(n + 100, 1, "a test");
    memset(huge, 'a', n);
    strcpy(huge + n, "\n{\"text\":\"z\"}\n");
    snprintf(line, sizeof line, "%s:2=z", in_scratch("huge.jsonl"));
    test_reading("a line that is much too long", put_text("huge.jsonl", huge), line,
                 ":1: longer than 64 MB");
    release(huge);
    snprintf(line, sizeof line, "%s=x y", put_text("plain.txt", "x y"));
    test_reading("a text file", in_scratch("plain.txt"), line, "");
    test_reading("a text file that is not UTF-8", put_text("plain.txt", "x\xc3"), "",
                 "expected UTF-8 text, found another byte at byte 1");
}

// What we take out of a line, by simdjson and as it stands, against jansson's tree of it: of lines
// whose bytes are changed at random, too, which either both refuse or both understand. (But for a
// NUL in a name, which only jansson refuses.)
static void test_two_readers(void) {
    static const char *const lines[] = {
        "{\"text\":\"a \\u00e9\\n\\ud83d\\ude00 "
        "\\\"b\\\\\",\"id\":\"x\",\"metadata\":{\"url\":\"http://h/\",\"n\":[1,-2.5e3,true,null,{}]}}",
        "{\"id\":\"one\",\"text\":\"first\",\"id\":\"two\",\"text\":\"last \\u0000 "
        "\\/\",\"source\":\"s\",\"metadata\":{\"url\":7,\"url\":\"u\"}}",
        " {\"metadata\" : [ { \"url\" : \"no\" } ] , \"source\" : null, \"text\" : "
        "\"\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80\" } ",
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
        if (memchr(line, 0, r->line.size)) continue;            // jansson passes over a NUL behind a number
        Document d;
        json_error_t error;
        json_t *tree = json_loadb(line, r->line.size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
        json_t *member[4];
        if (!tree && json_error_code(&error) == json_error_null_byte_in_key) continue;
        static const char *const name[] = { "text", "id", "source", "url" };
        for (int i = 0; i < 4; i++)
            member[i] = json_object_get(i < 3 ? tree : json_object_get(tree, "metadata"), name[i]);
        int fit = json_is_string(member[0]), ours = document_parse(&r->line, &d);
        wrong += ours != fit;
        if (ours && fit) {
            const char *string[] = { d.text, d.id, d.source, d.extra[0] ? d.extra[0] : "" };
            size_t size[] = { d.size, d.id_size, d.source_size, d.extra_size[0] };
            for (int i = 0; i < 4; i++) {
                const char *expected = json_is_string(member[i]) ? json_string_value(member[i])
                    : i == 1 ? place : "";
                size_t n = json_is_string(member[i]) ? json_string_length(member[i]) : strlen(expected);
                int other = member[i] && !json_is_string(member[i]) && !json_is_null(member[i]);
                const int flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
                json_t *again = other ? json_loadb(string[i], size[i], flags, NULL) : NULL;
                wrong += other ? !json_equal(again, member[i]) : n != size[i] ||
                    memcmp(expected, string[i], n) != 0;
                json_decref(again);
            }
            understood++;
        }
        if (ours) document_free(&d);
        json_decref(tree);
    }
    fflush(stderr), dup2(before, 2), close(before);
    reader_close(r);
    check(wrong == 0 && understood > turns/10 && understood < turns*9/10,
          "simdjson and jansson read the same: %d of %d lines wrong, %d understood", wrong, turns,
          understood);
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
        for (size_t i = 0; turn % 4 == 3 && i + 13 < n; i += 1 + pcg64_next32(&r) % 70000)
            memcpy(text + i, separator, 13);
        Reader *reader = reader_open(put_file("pieces.txt", text, n));
        while (reader_line(reader)) {
            const char *end = (const char *)memmem(text + at, n - at, separator, strlen(separator));
            size_t size = end ? (size_t)(end - text) - at : n - at;
            wrong += reader->line.size != size ||
                memcmp(reader->line.text, text + at, zmin(size, reader->line.size));
            at += size + (end ? strlen(separator) : 0);
        }
        wrong += at != n;
        reader_close(reader), release(text);
    }
    separator = NULL;
    check(wrong == 0, "text files are cut at separators as the definition says: %d pieces differ",
          wrong);
}

static void test_writing(void) {
    const char *path = in_scratch("w.jsonl");
    Writer *w = writer_open(path);
    const double numbers[] = { 0.1, 0.1 + 0.2, 1e300, 5e-324, -0.25, 123456789, 2.0/3, -7,
                               -2.2250738585072014e-308 };
    for (int i = 0; i < 9; i++) writer_number(w, numbers[i]), writer_text(w, " ");
    writer_json_string(w, "a\"\n\xc3\xa9\0z", 7);
    writer_text(w, " "), writer_real(w, 1e300), writer_text(w, " "), writer_real(w, -2), writer_real(w, 0.5);
    writer_close(w);
    char *text = read_text(path), *rest = text;
    int same = 1;
    for (int i = 0; i < 9; i++) same &= strtod(rest, &rest) == numbers[i];
    check(same && !strncmp(text, "0.1 0.30000000000000004 1e+300 5e-324 -0.25 123456789 "
                                 "0.6666666666666666 -7 ", 75) &&
          !strcmp(rest, " \"a\\\"\\n\xc3\xa9\\u0000z\" 1e+300 -2.00.5"),
          "numbers and strings are written so that they read back: %s", text);
    release(text);
}

// Bytes that are put in pieces, of more than a block, come back; though nothing packs them.
static void test_blocks(void) {
    static const char *const names[] = { "blocks.jsonl", "blocks.jsonl.gz", "blocks.jsonl.zst" };
    size_t n = 3*BLOCK + 5;
    char *text = (char *)allocate(n + 1, 1, "a test");
    for (size_t i = 0; i < n; i++) {
        const char byte = (char)hash64(i);
        text[i] = byte == '\r' || byte == '\n' ? 'x' : byte;         // all of it is one line
    }
    for (int k = 0; k < 3; k++) {
        Writer *w = writer_open(in_scratch(names[k]));
        writer_put(w, text, 7), writer_put(w, text + 7, BLOCK - 8);
        writer_put(w, text + BLOCK - 1, 1), writer_put(w, text + BLOCK, n - BLOCK);
        writer_close(w);
        Reader *r = reader_open(in_scratch(names[k]));
        check(reader_line(r) && r->line.size == n && !memcmp(r->line.text, text, n),
              "%s: what is written in pieces comes back", names[k]);
        reader_close(r);
    }
    release(text);
}

// The progress bar's length is of packed bytes, its speed of unpacked ones: of each all, and none twice.
static void test_bar(void) {
    char path[PATH], *text = (char *)allocate(1000001, 1, "a test");
    uint64_t size;
    for (int i = 0; i < 1000000; i++) text[i] = i % 100 == 99 ? '\n' : i % 100 ? 'a' : ' ';
    separator = "\n";
    strcpy(path, packed_file("bar.txt.gz", text, 1000000));
    (void)map_file(path, &size);
    Reader *r = reader_open(path);
    bar_begin("test", size);
    double before = bar.unpacked;
    for (int n = 0; reader_line(r); n++) if (n % 1000 == 0) bar_add(r, 1000);
    bar_add(r, 0), bar_add(r, 0), bar_add(NULL, 5);
    check(before == 0 && bar.done == (double)size && bar.unpacked == 1e6 &&
          bar.documents == 10005 && size < 100000,
          "the bar counts %g packed bytes, %g unpacked, %g documents", bar.done, bar.unpacked, bar.documents);
    reader_close(r), release(text);
    separator = NULL;
}

// The bar as it is drawn; on a terminal, at most five times a second.
static void draw_bar(const char *parts) {
    bar_begin("test", 200);
    bar.done = atof(parts), bar.documents = 1234, bar.unpacked = 5e6, bar.began -= 10;
    bar_print(" end\n");
}
static void bar_drawn(void) {
    static const struct { const char *done, *drawn; } cases[] = {
        { "0", "\rtest [                              ]   0%" },
        { "51", "\rtest [#######                       ]  26%" },
        { "200", "\rtest [##############################] 100%" },
        { "300", "\rtest [##############################] 100%" },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        char *said = sentences_of(draw_bar, cases[i].done);
        check(!strncmp(said, cases[i].drawn, strlen(cases[i].drawn)) &&
              !strcmp(said + strlen(cases[i].drawn), "  1,234 documents  0.5 MB/s of text  10 s end\n"),
              "the bar, %s of 200 bytes: %s", cases[i].done, said + 1);
        release(said);
    }
    char said[1024] = "";
    int terminal = posix_openpt(O_RDWR | O_NOCTTY), screen = -1;
    if (terminal >= 0 && !grantpt(terminal) && !unlockpt(terminal))
        screen = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    if (screen < 0) {
        printf("skipped: the bar on a terminal; there is none to be had here\n");
        return;
    }
    fflush(stderr);
    int before = dup(2);
    dup2(screen, 2), close(screen);
    bar_begin("test", 0);
    bar.shown -= 0.19, bar_add(NULL, 1), bar_add(NULL, 1);
    bar.shown -= 0.02, bar_add(NULL, 1), bar_add(NULL, 1);
    dup2(before, 2), close(before);
    const ssize_t n = read(terminal, said, sizeof said - 1);
    close(terminal);
    check(n > 0 && strstr(said, "  3 documents  0.0 MB/s of text  0 s") && !strchr(said + 1, '\r') &&
          !strchr(said, '\n'),
          "on a terminal the bar is drawn once in a fifth of a second: %s", said + 1);
}
static void test_bar_drawn(void) {
    setenv("CLOCK_STEP", "0", 1);                           // the clock stands, but for what is put back
    bar_drawn();
    unsetenv("CLOCK_STEP");
}

// A directory's files in the order of their names, whatever their order there; no hidden ones, none
// that is not whole yet.
static void test_file_names(void) {
    static const char *const names[] = {
        "names/c.jsonl", "names/a.jsonl", "names/.hidden.jsonl", "names/b.jsonl.tmp",
        "names/b/x.txt", "names/.git/objects/x",
        "names/.cache/huggingface/y.jsonl", "names/d/documents/z", "names/d/attributes/n/z.jsonl",
        "names/e/attributes/z",
    };
    for (int i = 0; i < 10; i++) put_text(names[i], "12");
    const char *directory = in_scratch("names");
    Files f = files_named(&directory, 1);
    check(f.n == 5 && f.bytes == 10 && ends_with(f.path[0], "names/a.jsonl") &&
          ends_with(f.path[1], "names/b/x.txt") && ends_with(f.path[2], "names/c.jsonl"),
          "a directory names its files in order, but for hidden ones and *.tmp: %d", f.n);
    check(ends_with(f.path[3], "names/d/documents/z") && ends_with(f.path[4], "names/e/attributes/z"),
          "attributes beside documents are none, and nothing in a hidden directory is: %s", f.path[3]);
    for (int i = 0; i < f.n; i++) free(f.path[i]);
    free(f.path);
}

// Where attributes are put: beside the last directory named documents, and no other; as JSON lines.
static void test_beside_documents(void) {
    static const struct { const char *path, *below, *attributes; } cases[] = {
        { "documents/a.jsonl.gz", "a.jsonl.gz", "attributes/n/a.jsonl.gz" },
        { "x/documents/y/a.txt", "y/a.txt", "x/attributes/n/y/a.txt.jsonl" },
        { "documents/x/documents/a.ndjson", "x/documents/a.ndjson",
          "attributes/n/x/documents/a.ndjson" },
        { "x/documents/a.ndjson", "a.ndjson", "x/attributes/n/a.ndjson" },
        { "documents/a.json.ZST", "a.json.ZST", "attributes/n/a.json.ZST" },
        { "x/mydocuments/a.jsonl", "x/mydocuments/a.jsonl", NULL },
        { "documents/mydocuments/a.jsonl", "mydocuments/a.jsonl", "attributes/n/mydocuments/a.jsonl" },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        char out[PATH] = "";
        const char *below = below_documents(cases[i].path);
        check(!strcmp(below, cases[i].below), "of %s, %s is below documents: %s", cases[i].path,
              cases[i].below, below);
        if (!cases[i].attributes || strcmp(below, cases[i].below)) continue;
        attributes_path(out, cases[i].path, "n");
        check(!strcmp(out, cases[i].attributes), "the attributes of %s are in %s: %s", cases[i].path,
              cases[i].attributes, out);
    }
    // The command line decides where several directories are called so.
    static const struct { const char *named, *below; } named[] = {
        { "documents", "x/documents/a.txt" }, { "documents/x", "x/documents/a.txt" },
        { "documents/x/documents", "a.txt" }, { "documents/x/documents/", "a.txt" },
        { "documents/x/documents/a.txt", "a.txt" }, { "documents/x/document", "x/documents/a.txt" },
    };
    char **const names = named_inputs.name, *name;
    const int n = named_inputs.n;
    for (size_t i = 0; i < sizeof named/sizeof *named; i++) {
        name = strdup(named[i].named), named_inputs.name = &name, named_inputs.n = 1;
        const char *below = below_documents("documents/x/documents/a.txt");
        check(!strcmp(below, named[i].below), "... as %s is named, it is %s: %s", named[i].named,
              named[i].below, below);
        free(name);
    }
    named_inputs.name = names, named_inputs.n = n;
}

// Attributes are as old as their documents, to the nanosecond.
static void test_times(void) {
    static const struct { struct timespec a, b; int order; } cases[] = {
        { { 1, 5 }, { 1, 6 }, -1 }, { { 1, 6 }, { 1, 5 }, 1 }, { { 1, 5 }, { 1, 5 }, 0 },
        { { 1, 9 }, { 2, 0 }, -1 }, { { 2, 0 }, { 1, 9 }, 1 },
        { { 1, 5 }, { 1L << 32 | 1, 5 }, -1 },
    };
    struct stat a, b;
    memset(&a, 0, sizeof a), memset(&b, 0, sizeof b);
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        a.st_mtim = cases[i].a, b.st_mtim = cases[i].b;
        check(time_order(&a, &b) == cases[i].order, "%ld.%09ld s beside %ld.%09ld s: %d",
              (long)cases[i].a.tv_sec, cases[i].a.tv_nsec, (long)cases[i].b.tv_sec,
              cases[i].b.tv_nsec, cases[i].order);
    }
    const char *documents = put_text("documents of 2001", "");
    const char *attributes = put_text("their attributes", "");
    const struct timespec past[2] = { { 1000000000, 123456789 }, { 1000000000, 123456789 } };
    CHECK(utimensat(AT_FDCWD, documents, past, 0) == 0 && !stat(documents, &a),
          "%s: its time cannot be set", documents);
    set_time_of(attributes, &a);
    check(!stat(attributes, &b) && b.st_mtim.tv_sec == 1000000000 &&
          b.st_mtim.tv_nsec == a.st_mtim.tv_nsec, "attributes get the time of their documents");
}

static void test_odd_names(void) {
    char out[4096], text[PATH + 32];
    char *said = sentences_of(read_all, in_scratch("gone\x1b[2J\x7f\n.jsonl"));
    check(strstr(said, "/gone [2J  .jsonl: cannot be read") != NULL,
          "no control character of a file's name reaches the terminal");
    release(said);
    test_reading("a .ndjson file",
                 put_text("two.ndjson",
                          "{\"id\":\"a\",\"text\":\"1\"}\n{\"id\":\"b\",\"text\":\"2\"}\n"),
                 "a=1 b=2", "");
    const char *path = put_text("long.txt", "");
    CHECK(truncate(path, (off_t)longest_line + 1) == 0, "%s: cannot be made longer", path);
    snprintf(text, sizeof text, "%s=%zu", path, longest_line + 1);
    test_reading("a text that is longer than a line may be", path, text, "");
    unlink(path);
    make_directory(in_scratch("hollow"));
    int code = run(out, sizeof out, "data/stats %s/two.ndjson %s/hollow", scratch, scratch);
    check(code == 1 && strstr(out, "hollow: there is no file"),
          "an empty directory is refused beside a file: %s", out);
    static const char *const refused[] = { "--name ..", "--name .x", "--name ''", "--name a/b",
                                           "--on-error stx", "--on-error ''" };
    for (size_t i = 0; i < sizeof refused/sizeof *refused; i++) {
        code = run(out, sizeof out, "data/curate tag --taggers char_length_v1 %s - < /dev/null",
                   refused[i]);
        check(code == 1 && strstr(out, "error: ") && strstr(out, ": expected "), "%s is refused: %s",
              refused[i], out);
    }
}

// What a file's name says of what it holds, and what its first line says where the name is silent.
static void test_kinds(void) {
    static const char line[] = "{\"id\":\"a\",\"text\":\"1\"}\n{\"id\":\"b\",\"text\":\"2\"}\n";
    static const char *const json[] = { "kind/x.JSONL", "kind/x.Json", "kind/part-00000",
                                        "kind/x.log", "kind/x.jsonl.1", "kind/x.NDJSON" };
    char out[PATH], packed[2][PATH];
    for (int i = 0; i < 6; i++) test_reading(json[i], put_text(json[i], line), "a=1 b=2", "");
    strcpy(packed[0], in_scratch("kind/x.json.GZ")), strcpy(packed[1], in_scratch("kind/part-0.zst"));
    run(out, sizeof out, "gzip -c %s > %s; zstd -qc %s > %s", in_scratch("kind/x.Json"), packed[0],
        in_scratch("kind/x.Json"), packed[1]);
    for (int i = 0; i < 2; i++) test_reading(packed[i], packed[i], "a=1 b=2", "");
    test_reading("JSON lines of one line", put_text("kind/one", "{\"id\":\"a\",\"text\":\"1\"}"),
                 "a=1", "");
    snprintf(out, sizeof out, "%s=44", put_text("kind/x.txt", line));
    test_reading("a .txt of JSON lines is text", in_scratch("kind/x.txt"), out, "");
    Reader *r = reader_open(in_scratch("kind/x.txt"));
    Document d;
    check(document_read(r, &d) && d.source_size == 4 && !strcmp(d.source, "text"),
          "... whose source is text");
    document_free(&d), reader_close(r);
    enum { LONG = 600000 };                                 // more than a block
    char *first = (char *)allocate(LONG + 64, 1, "a test");
    memset(first + sprintf(first, "{\"id\":\"a\",\"text\":\""), 'x', LONG);
    strcat(first, "\"}\n{\"id\":\"b\",\"text\":\"2\"}\n");
    test_reading("a long first line", put_text("kind/long", first), "a=600000 b=2", "");
    release(first);
    snprintf(out, sizeof out, "%s={\n\"text\": \"1\"\n}\n",
             put_text("kind/object", "{\n\"text\": \"1\"\n}\n"));
    test_reading("a text that begins like JSON", in_scratch("kind/object"), out, "");
    static const struct { const char *what, *name, *text, *sentence; int size; } refused[] = {
        { "JSON over several lines", "p.json", "{\n  \"id\": \"a\",\n  \"text\": \"1\"\n}\n",
          ": one JSON value over several lines", 0 },
        { "... in another way", "q.json", "{\"id\":\"a\",\n\"text\":\"1\"}\n",
          ": one JSON value over several lines", 0 },
        { "a list over several lines", "r.jsonl",
          "[\n{\"id\":\"a\",\"text\":\"1\"},\n{\"text\":\"2\"}\n]\n", "a list, not JSON lines", 0 },
        { "a list in one line", "s.json", " [{\"id\":\"a\",\"text\":\"1\"}]",
          "a list, not JSON lines", 0 },
        { "a Parquet file", "t.json", "PAR1\0\0", "a Parquet file", 6 },
        { "xz", "t.jsonl", "\xfd" "7zXZ\0", "packed by xz", 6 },
        { "bzip2", "t.json.bz2", "BZh91AY", "packed by bzip2", 0 },
        { "a zip archive", "t.zip", "PK\3\4\0", "a zip archive", 5 },
    };
    for (size_t i = 0; i < sizeof refused/sizeof *refused; i++) {
        const char *path = put_file(refused[i].name, refused[i].text,
                                    refused[i].size ? (size_t)refused[i].size : strlen(refused[i].text));
        test_reading(refused[i].what, path, "", refused[i].sentence);
    }
    run(out, sizeof out,
        "cd %s; echo text > in-a-tar; tar cf a.tar in-a-tar; gzip -c a.tar > a.tar.gz", scratch);
    test_reading("a tar archive", in_scratch("a.tar.gz"), "", "a tar archive");
    test_reading("a first line that is cut off, and good ones",
                 put_text("u.jsonl", "{\"id\":\"a\",\n{\"id\":\"b\",\"text\":\"2\"}\n"), "b=2",
                 ":1: not JSON");
    test_reading("a list, and good lines",
                 put_text("v.jsonl", "[1]\n{\"id\":\"b\",\"text\":\"2\"}\n"), "b=2",
                 ":1: expected a JSON object");
}

// CR LF is LF, in texts and between them; a CR alone stays. The pair may lie in two blocks.
static void test_crlf(void) {
    char out[PATH], *text = (char *)allocate(3*BLOCK, 1, "a test");
    separator = "\n\n";
    const char *path = put_text("crlf.txt", "a\r\nb\r\n\r\nc\rd\r\r\n");
    snprintf(out, sizeof out, "%s:1=a\nb %s:2=c\rd\r\n", path, path);
    test_reading("CR LF", path, out, "");
    separator = "--", path = put_text("blanks.txt", "a-- --b");
    snprintf(out, sizeof out, "%s:1=a %s:2=  %s:3=b", path, path, path);
    test_reading("a text of blanks is a document, a blank line is none", path, out, "");
    separator = NULL;
    snprintf(out, sizeof out, "%s=a\r", put_text("cr.txt", "a\r"));
    test_reading("a CR at the end", in_scratch("cr.txt"), out, "");
    int wrong = 0;
    for (int shift = -2; shift < 3; shift++) {
        size_t n = (size_t)(2*BLOCK + 1), at = (size_t)(BLOCK + shift);
        memset(text, 'x', n), text[at] = '\r', text[at + 1] = '\n';
        Reader *r = reader_open(put_file("block.txt", text, n));
        wrong += !reader_line(r) || r->line.size != n - 1 || r->line.text[at] != '\n' ||
            r->line.text[at - 1] != 'x' || r->line.text[at + 1] != 'x';
        reader_close(r);
    }
    release(text);
    check(!wrong, "CR LF at the end of a block: %d wrong", wrong);
    run(out, sizeof out,
        "cd %s; printf 'a\\r\\nxb\\r\\nxc' > crlf.txt; %s/data/stats --separator \"$(printf "
        "'\\r\\nx')\" crlf.txt 2>/dev/null | grep -c '^  documents  *3$'", scratch, getenv("PWD"));
    check(atoi(out) == 1, "a separator of CR LF is LF, too: %s", out);
}

// Of a kind of sentence three are enough for a file, and fifty for all files; all are counted.
static void test_many_sentences(void) {
    char text[4000] = "", out[1 << 14];
    for (int i = 0; i < 100; i++) strcat(text, i % 10 ? "{\"id\":\"a\"}\n" : "rubbish\n");
    uint64_t before = problems;
    char *said = sentences_of(read_all, put_text("often.jsonl", text));
    int lines = 0;
    for (const char *c = said; *c; c++) lines += *c == '\n';
    check(lines == 6 && problems == before + 100,
          "a hundred broken lines of two kinds: %d sentences, %llu problems", lines,
          (unsigned long long)(problems - before));
    check(strstr(said, "often.jsonl:3: ") &&
          strstr(said, "; more like this of this file are only counted\n"),
          "the third says that it is the last: %s", said);
    release(said);
    run(out, sizeof out,
        "cd %s; mkdir many-bad; for i in $(seq 100); do echo rubbish > many-bad/$i.jsonl; done; "
        "%s/data/stats many-bad 2>&1 >/dev/null | grep -c 'not JSON'", scratch, getenv("PWD"));
    check(atoi(out) == 50, "a hundred broken files: %s", out);
}

// A program that fails while other threads still write leaves nothing half-written: not even if it takes its
// time to end.
static void take_time(void) { usleep(20000); }
static void *write_on(void *directory) {
    char path[PATH];
    for (unsigned i = 0; i < UINT32_MAX; i++) {
        path_print(path, "%s/%u", (const char *)directory, i % 8);
        Whole *w = whole_begin(path);
        fprintf(w->file, "%u\n", i), whole_end(w);
    }
    return NULL;
}
static void test_ending(void) {
    char directory[PATH], out[1024];
    int code = 0;
    strcpy(directory, in_scratch("ending"));
    for (int i = 0; i < 10; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            pthread_t writer;
            atexit(take_time);                              // the last one to be called
            whole_check(in_scratch("ending/first"));
            if (pthread_create(&writer, NULL, write_on, directory)) _exit(2);
            while (!file_exists(in_scratch("ending/0"))) usleep(100);
            exit(1);
        }
        waitpid(child, &code, 0);
        if (!WIFEXITED(code) || WEXITSTATUS(code) != 1) break;
    }
    run(out, sizeof out, "ls %s | grep tmp", directory);
    check(WIFEXITED(code) && WEXITSTATUS(code) == 1 && !*out, "what other threads write when a program fails "
          "is removed: %s", out);
}

// The last words name three inputs that gave nothing; not one that gave something.
static void test_hollow_inputs(void) {
    char out[4096];
    for (int n = 3; n <= 4; n++) {
        run(out, sizeof out, "cd %s; rm -rf hollow; mkdir hollow; printf '{\"text\":\"a\"}\\nrubbish\\n' > "
            "hollow/0.jsonl; "
            "for i in $(seq %d); do echo rubbish > hollow/$i.jsonl; done; %s/data/stats hollow 2>&1 "
            ">/dev/null | tail -n 1", scratch, n, getenv("PWD"));
        check(!strcmp(out, n == 3 ? "WARNING: no document at all came of 3 of 4 inputs: hollow/3.jsonl, "
                                    "hollow/2.jsonl, hollow/1.jsonl\n"
                      : "WARNING: no document at all came of 4 of 5 inputs: hollow/4.jsonl, hollow/3.jsonl, "
                        "hollow/2.jsonl ...\n"), "%d inputs of which nothing came: %s", n, out);
    }
}

static void test_documents(void) {
    test_file_names();
    test_kinds();
    test_crlf();
    test_many_sentences();
    test_bar();
    test_bar_drawn();
    test_packings();
    test_lines();
    test_two_readers();
    test_separators();
    test_writing();
    test_blocks();
    test_beside_documents();
    test_times();
    test_odd_names();
    test_hollow_inputs();
    test_ending();
}
