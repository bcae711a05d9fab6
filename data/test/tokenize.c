// data/tokenize, run as a command, with the small tokenizer of tokenizer.c: what is in a token file,
// byte by byte; properties of large random inputs; order; threads; kill -9; hostile input; and
// OLMo's own tokenizer, where it is.

static char small_path[PATH], tokens_out[1 << 16];          // the tokenizer; what the last command printed
enum { SMALL_EOS = SMALL_ADDED };                           // <|end|>

// data/tokenize with the small tokenizer; its exit code.
static int tokenize(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int tokenize(const char *format, ...) {
    char arguments[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(arguments, sizeof arguments, format, args);
    va_end(args);
    return run(tokens_out, sizeof tokens_out, "cd %s && %s/data/tokenize --tokenizer %s --eos %d %s",
               scratch, getenv("PWD"), small_path, SMALL_EOS, arguments);
}
static int says(const char *words) { return strstr(tokens_out, words) != NULL; }

// A whole file of scratch; *size is -1 if it cannot be read.
static unsigned char *whole_file(const char *name, long *size) {
    FILE *file = fopen(in_scratch(name), "rb");
    *size = -1;
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *size = ftell(file);
    rewind(file);
    unsigned char *bytes = (unsigned char *)allocate((size_t)*size + 1, 1, name);
    CHECK(fread(bytes, 1, (size_t)*size, file) == (size_t)*size, "%s: cannot be read", name);
    fclose(file);
    return bytes;
}
static int has_bytes(const char *name, const void *expected, long n) {
    long size;
    unsigned char *bytes = whole_file(name, &size);
    int same = size == n && !memcmp(bytes, expected, (size_t)n);
    release(bytes);
    return same;
}
// The output of a shell command in scratch.
static const char *shell(const char *command) {
    static char out[1 << 16];
    run(out, sizeof out, "cd %s && { %s; }", scratch, command);
    return out;
}
// One fingerprint of all files in a directory of scratch, and of their names.
static const char *fingerprint(const char *directory, char *out) {
    char command[256];
    snprintf(command, sizeof command, "cd %s && ls -A | tr '\\n' ' ' && cat * | cksum", directory);
    return strcpy(out, shell(command));
}

// ---- by hand ----------------------------------------------------------------------------------------

static void test_tokens_by_hand(void) {
    put_text("hand.jsonl",
        "{\"id\": \"a\", \"text\": \" \\n hello hello\\u001c\\u3000 \"}\n"
        "\n"
        "{\"id\": \"empty\", \"text\": \" \\t\\u0085\\u2028\"}\n"
        "{\"id\": \"b,\\\"c\\\"\", \"text\": \"hell<|end|>\", \"source\": \"s\"}\n"
        "{\"text\": \"<|end|>\\u200b\"}\n"
        "{\"id\": \"line\\nend\", \"text\": \"<|end|> a\"}\n");
    const unsigned char expected[] = { 3, 1, 4, 1, 9, 1, /**/ 2, 1, 9, 1, /**/ 9, 1, 226, 0, 128, 0,
                                       139, 0, 9, 1, /**/ 9, 1,
                                      ' ', 0, 'a', 0, 9, 1 };
    int code = tokenize("--no-shuffle --out hand hand.jsonl");
    check(code == 0 && has_bytes("hand/part-0-00000.npy", expected, sizeof expected),
          "stripped as Python strips, empty ones left out, little-endian, an EOS after each that "
          "does not end in one");
    check(!strcmp(shell("zcat hand/part-0-00000.csv.gz"),
                  "0,3,a,hand.jsonl,1\r\n3,5,\"b,\"\"c\"\"\",hand.jsonl,4\r\n"
                  "5,10,hand.jsonl:5,hand.jsonl,5\r\n"
                  "10,14,\"line\nend\",hand.jsonl,6\r\n"),
          "a row for each document, quoted as Python quotes");
    check(says("4 documents, 14 tokens, 41 bytes of text (2.93 a token)"), "the result in figures");
    check(says("documents end with id 265, which is \"<|end|>\""), "and what ends a document");
    check(!strcmp(shell("ls -A hand | tr '\\n' ' '"),
                  "part-0-00000.csv.gz part-0-00000.npy tokenize.json "),
          "nothing else in the directory");

    const unsigned char wide[] = { 9, 1, 0, 0, 226, 0, 0, 0, 128, 0, 0, 0, 139, 0, 0, 0, 9, 1, 0, 0 };
    put_text("wide.jsonl", "{\"id\": \"w\", \"text\": \"\\u200b\"}\n");
    tokenize("--dtype uint32 --bos %d --out wide wide.jsonl", SMALL_EOS);
    check(has_bytes("wide/part-0-00000.npy", wide, sizeof wide), "--dtype uint32, --bos");
    const unsigned char begun[] = { 226, 0, 128, 0, 139, 0, 9, 1 };
    tokenize("--bos 226 --out begun wide.jsonl");
    check(has_bytes("begun/part-0-00000.npy", begun, sizeof begun),
          "--bos: not repeated where a document begins with it");

    put_text("plain.txt", "he\n##hello##  \n##he\n");
    const unsigned char plain[] = { 0, 1, 9, 1, 3, 1, 9, 1, 0, 1, 9, 1 };
    tokenize("--no-shuffle --separator '##' --out plain plain.txt");
    check(has_bytes("plain/part-0-00000.npy", plain, sizeof plain), "plain text, cut at --separator");
    check(!strcmp(shell("zcat plain/*.gz"),
                  "0,2,plain.txt:1,plain.txt,1\r\n2,4,plain.txt:2,plain.txt,2\r\n"
                  "4,6,plain.txt:4,plain.txt,4\r\n"), "its rows");
}

// The order of the released data is that of the ring: a document of each open file in turn
// (DATA_SPEC T2).
static void test_token_order(void) {
    put_text("ring/a.jsonl",
             "{\"id\":\"a1\",\"text\":\"a\"}\n{\"id\":\"a2\",\"text\":\"a\"}\n"
             "{\"id\":\"a3\",\"text\":\"a\"}\n");
    put_text("ring/b.jsonl",
             "{\"id\":\"b1\",\"text\":\"b\"}\n{\"id\":\"b2\",\"text\":\"b\"}\n"
             "{\"id\":\"b3\",\"text\":\"b\"}\n");
    const char *ids = "zcat order/*.csv.gz | cut -d, -f3 | tr '\\n' ' '; rm -rf order";
    tokenize("--as-released --out order ring");
    const char *order = shell(ids);
    check(!strcmp(order, "a1 b1 a2 b2 a3 b3 ") || !strcmp(order, "b1 a1 b2 a2 b3 a3 "),
          "--as-released: in turn, not shuffled (%s)", order);
    tokenize("--as-released --ring 1 --batch 2 --out order ring");
    order = shell(ids);
    check(!strcmp(order, "a1 a2 a3 b1 b2 b3 ") || !strcmp(order, "b1 b2 b3 a1 a2 a3 "),
          "--ring 1: one file after the other (%s)", order);
    int a_first = 0, different = 0;
    char first[256] = "";
    for (int seed = 0; seed < 10; seed++) {
        tokenize("--as-released --seed %d --out order ring", seed);
        a_first += *shell(ids) == 'a';
        tokenize("--seed %d --ring 1 --out order ring", seed);
        order = shell(ids);
        different += seed && strcmp(order, first) != 0;
        if (!seed) snprintf(first, sizeof first, "%.200s", order);
    }
    check(a_first > 0 && a_first < 10, "--seed permutes the files (a first %d times of 10)", a_first);
    check(different > 3, "--seed shuffles the documents (%d other orders)", different);
    put_text("c.jsonl", "{\"id\":\"c1\",\"text\":\"c\"}\n");
    tokenize("--no-shuffle --batch 2 --out order c.jsonl ring/b.jsonl ring/a.jsonl");
    check(!strcmp(shell(ids), "c1 b1 b2 b3 a1 a2 a3 "), "--no-shuffle: the order of the command line");
    tokenize("--groups 5 --no-shuffle --out order ring");
    check(!strcmp(shell("for f in order/*.csv.gz; do echo $f; zcat $f; done | tr -d '\\r' | cut -d, "
                        "-f3 | tr '\\n' ' '; rm -rf order"),
                  "order/part-0-00000.csv.gz a1 a2 a3 order/part-1-00000.csv.gz b1 b2 b3 "),
          "--groups: no more than there are files");
}

// ---- properties of a large input --------------------------------------------------------------------

enum { MANY = 6000 };
static char *many_text[MANY];                               // stripped; "": the document is left out

// Random texts in 12 files: JSON lines, gzip, zstd; document i has the id "i". Some files are empty,
// some long.
static void put_many(void) {
    static const char *const pieces[] = { "hello", " hello", " ", "  ", "\\n", "a", "aaaa",
                                          "\\u00e9", "\\u3042",
                                         "\\ud83d\\ude00", "<|end|>", "|||IP|||",
                                          "\\u001f", "\\u0000", "\\\"", "ld", "   ", "'s", "." };
    static const char *const plain[] = { "hello", " hello", " ", "  ", "\n", "a", "aaaa", "\xc3\xa9",
                                         "\xe3\x81\x82",
                                        "\xf0\x9f\x98\x80", "<|end|>", "|||IP|||",
                                         // (\1 stands for NUL here)
                                         "\x1f", "\1", "\"", "ld", "   ", "'s", "." };
    Pcg64 random = pcg64_seed(7);
    FILE *file = NULL;
    run(tokens_out, sizeof tokens_out, "mkdir -p %s/many", scratch);
    for (int i = 0, f = -1; i < MANY; i++) {
        if (f < 0 || (f < 11 && pcg64_next32(&random) % 500 == 0)) {
            char name[64];
            if (file) fclose(file);
            snprintf(name, sizeof name, "many/%d.jsonl", ++f);
            file = open_to_write(in_scratch(name));
        }
        int n = (int)(pcg64_next32(&random) % (i % 100 ? 30 : 3000));
        many_text[i] = (char *)allocate((size_t)n*8 + 1, 1, "a text");
        fprintf(file, "{\"id\": \"%d\", \"text\": \"", i);
        for (int k = 0; k < n; k++) {
            uint32_t which = pcg64_next32(&random) % (sizeof pieces/sizeof *pieces);
            fputs(pieces[which], file);
            strcat(many_text[i] + (k > 9 ? strlen(many_text[i]) : 0), plain[which]);
        }
        fprintf(file, "\", \"source\": \"many\"}\n");
        char *text = many_text[i] + strspn(many_text[i], " \n\x1f");
        size_t size = strlen(text);
        while (size && strchr(" \n\x1f", text[size - 1])) size--;
        memmove(many_text[i], text, size), many_text[i][size] = 0;
    }
    fclose(file);
    run(tokens_out, sizeof tokens_out,
        "cd %s/many && : > empty.jsonl && gzip 1.jsonl && for f in 2 3; do [ ! -f $f.jsonl ] || "
        "zstd -q --rm $f.jsonl; done", scratch);
}

// Reads all files of a directory back. Every document must be there once, its slice between EOS ids,
// and decode to its text.
static void check_many(const char *directory, const char *what, uint64_t most) {
    Tokenizer *t = tokenizer_load(small_path);
    int seen[MANY] = { 0 }, files = 0, spans = 1, ends = 1, texts = 1, sizes = 1, count = 0;
    int expected = 0;
    char command[256], name[256];
    snprintf(command, sizeof command, "ls %s | grep npy$", directory);
    char *list = strdup(shell(command));
    for (char *base = strtok(list, "\n"); base; base = strtok(NULL, "\n"), files++) {
        long size;
        snprintf(name, sizeof name, "%s/%s", directory, base);
        unsigned char *bytes = whole_file(name, &size);
        snprintf(name, sizeof name, "%s/%.*s.csv.gz", directory, (int)strlen(base) - 4, base);
        separator = "\n";                                   // CR LF is read as LF
        Reader *r = reader_open(in_scratch(name));
        separator = NULL;
        unsigned long long at = 0, start, end;
        for (int id; r && reader_line(r) && r->line.size; at = end) {
            char row[256];
            snprintf(row, sizeof row, "%.*s", (int)r->line.size, r->line.text);
            if (sscanf(row, "%llu,%llu,%d,many/", &start, &end, &id) != 3 || id < 0 || id >= MANY ||
                end*2 > (unsigned long long)size) { spans = 0; break; }
            spans &= start == at && end > start, seen[id]++, count++;
            int *ids = (int *)allocate(end - start, sizeof *ids, "ids");
            for (unsigned long long i = start; i < end; i++)
                ids[i - start] = bytes[2*i] | bytes[2*i + 1] << 8;
            size_t n = end - start, length = strlen(many_text[id]), ends_itself = length >= 7 &&
                !strcmp(many_text[id] + length - 7, "<|end|>");
            ends &= ids[n - 1] == SMALL_EOS;
            char *text = (char *)allocate(n*(size_t)t->longest + 1, 1, "text");
            size_t m = decode(t, text, ids, n - !ends_itself);
            for (size_t i = 0; i < m; i++) if (!text[i]) text[i] = 1;
            texts &= m == length && !memcmp(text, many_text[id], m);
            release(text), release(ids);
        }
        reader_close(r), release(bytes);
        sizes &= at*2 == (unsigned long long)size && at <= most;
    }
    int once = 1;
    for (int i = 0; i < MANY; i++)
        once &= seen[i] == (*many_text[i] != 0), expected += *many_text[i] != 0;
    check(once && count == expected && files, "%s: every document once (%d in %d files)", what,
          count, files);
    check(spans && sizes,
          "%s: spans follow each other and fill the file, which holds at most %llu tokens", what,
          (unsigned long long)most);
    check(ends, "%s: every document ends with EOS", what);
    check(texts, "%s: every slice decodes to the stripped text", what);
    free(list), tokenizer_free(t);
}

static void test_many_documents(void) {
    char first[4096], other[4096];
    put_many();
    check(tokenize("--threads 1 --batch 700 --groups 3 --shard-tokens 20000 --out m1 many") == 0,
          "many documents (%.80s)", tokens_out);
    check_many("m1", "three groups, small files", 20000);
    fingerprint("m1", first);
    const char *sum = shell("cat m1/*.npy > m1.npy; zcat m1/*.csv.gz | cut -d, -f-3 | cat m1.npy - | cksum");
    check(!strcmp(sum, "3089677519 567331\n"),
          "the same order, and the same bytes, in every version: %s", sum);
    for (int threads = 2; threads <= 5; threads++) {
        tokenize("--threads %d --batch 700 --groups 3 --shard-tokens 20000 --out m2 many", threads);
        check(!strcmp(fingerprint("m2", other), first), "%d threads: the same bytes", threads);
        shell("rm -rf m2");
    }
    tokenize("--batch 700 --groups 3 --shard-tokens 20000 --seed 1 --out m2 many");
    check(strcmp(fingerprint("m2", other), first) != 0, "another seed: another order");
    check_many("m2", "another seed", 20000);
    tokenize("--no-shuffle --batch 100 --out m3 many");
    check_many("m3", "not shuffled, one file", 1 << 30);
    check(!strcmp(shell("zcat m3/*.csv.gz | cut -d, -f4 | uniq | wc -l"),
                  shell("zcat m3/*.csv.gz | cut -d, -f4 | sort -u | wc -l")),
          "not shuffled: no file is interrupted by another");
    tokenize("--out m4 many");
    check(atoi(shell("zcat m4/*.csv.gz | cut -d, -f4 | uniq | wc -l")) > MANY/4,
          "shuffled: the files are well mixed");
    check(atoi(shell("zcat m4/*.csv.gz | cut -d, -f3 > a; zcat m3/*.csv.gz | cut -d, -f3 > b; paste "
                     "a b | awk '$1 == $2' | wc -l")) < 50,
          "shuffled: few documents stand where they stood");
    tokenize("--as-released --batch 700 --shard-tokens 20000 --out m5 many");
    check_many("m5", "as released, a file is never full", 19999);
    for (int i = 0; i < MANY; i++) release(many_text[i]);
}

static void test_file_sizes(void) {
    put_text("sizes.jsonl", "{\"id\":\"a\",\"text\":\".,.,.,.,.\"}\n{\"id\":\"b\",\"text\":\"hello\"}\n"
                            "{\"id\":\"c\",\"text\":\".,.\"}\n{\"id\":\"d\",\"text\":\".,.,\"}\n");
    check(tokenize("--no-shuffle --shard-tokens 6 --out sizes sizes.jsonl") == 0 &&
          says("warning: sizes.jsonl:1: a document of 10 tokens does not fit into a file of at most "
               "6 (--shard-tokens); skipped"), "a document that fits into no file: a sentence");
    check(!strcmp(shell("stat -c '%n %s' sizes/*.npy | tr '\\n' ' '"),
                  "sizes/part-0-00000.npy 12 sizes/part-0-00001.npy 10 "),
          "a file is filled to its last token");
    tokenize("--no-shuffle --as-released --shard-tokens 6 --out sizes2 sizes.jsonl");
    check(!strcmp(shell("stat -c '%s' sizes2/*.npy | tr '\\n' ' '"), "4 8 10 "),
          "--as-released: but for one");
    check(tokenize("--on-error stop --no-shuffle --shard-tokens 6 --out sizes3 sizes.jsonl") == 1 &&
          says("error: sizes.jsonl:1: a document of 10"),
          "--on-error stop: the end");
    check(!strcmp(shell("ls -A sizes3"), "tokenize.json\n"), "no half-written file stays");
    // Two files are full, a third is begun, and then comes a document that fits into none.
    char five[512] = "";
    for (int i = 0; i < 5; i++) strcat(five, "{\"text\":\"hello\"}\n");
    put_text("late.jsonl", strcat(five, "{\"text\":\".,.,.,.,.\"}\n"));
    tokenize("--on-error stop --no-shuffle --shard-tokens 4 --out late late.jsonl");
    check(!strcmp(shell("ls -A late | tr '\\n' ' '; "
                        "grep -o '.files.:\\[\\[.*document.:[0-9]*' late/tokenize.json"),
                  "part-0-00000.csv.gz part-0-00000.npy part-0-00001.csv.gz part-0-00001.npy tokenize.json "
                  "\"files\":[[\"part-0-00000.npy\",4,2],[\"part-0-00001.npy\",4,2]],\"next\":{\"group\":0,"
                  "\"shard\":2,\"batch\":0,\"document\":4\n"),
          "every file that is finished is noted at once");
    check(tokenize("--no-shuffle --shard-tokens 4 --out late late.jsonl") == 0 &&
          says("going on after 2 finished files") && says("3 files, 5 documents, 10 tokens"),
          "... and not written again: %s", tokens_out);
}

// ---- interruptions ----------------------------------------------------------------------------------

// kill -9 at moments spread over the run, then the same command again, to its end.
static void test_kills(void) {
    char undisturbed[4096], other[4096];
    const char *options = "--batch 300 --groups 2 --shard-tokens 15000 many";
    double start = seconds();
    tokenize("--out k0 %s", options);
    double whole = seconds() - start;
    fingerprint("k0", undisturbed);
    int killed = 0, same = 1, went_on = 0;
    double longest = whole;        // follows the machine's moods, so that about half of the runs are killed
    Pcg64 random = pcg64_seed(11);
    for (int round = 0; round < 200 && (killed < 40 || !went_on); round++) {
        for (int k = 0; k < 3; k++) {
            int code = run(tokens_out, sizeof tokens_out,
                           "cd %s && timeout -s KILL %.4f %s/data/tokenize --tokenizer %s --eos %d "
                           "--out k1 %s", scratch,
                           0.001 + longest*(double)(pcg64_next32(&random) % 1000)/1000,
                           getenv("PWD"), small_path, SMALL_EOS, options);
            killed += code == 128 + SIGKILL, longest *= code == 128 + SIGKILL ? 1.1 : 0.9;
            went_on += says("going on after");
        }
        int code = tokenize("--out k1 %s", options);
        same &= code == 0 && !strcmp(fingerprint("k1", other), undisturbed);
        shell("rm -rf k1");
    }
    check(killed >= 40, "killed %d times", killed);
    check(went_on > 0, "%d times a run went on from finished files", went_on);
    check(same, "after kill -9 the same command ends with the bytes of an undisturbed run, and "
                "nothing else");

    int code = 0;
    double wait = whole*0.6;                // too soon, and nobody listens; too late, and all is done
    for (int round = 0; round < 300 && !says("stopped as asked"); round++) {
        shell("rm -rf k1");
        code = run(tokens_out, sizeof tokens_out,
                   "cd %s && timeout --preserve-status -s INT %.3f %s/data/tokenize --tokenizer %s "
                   "--eos %d --out k1 %s", scratch, wait, getenv("PWD"), small_path, SMALL_EOS, options);
        wait *= code == 0 ? 0.9 : 1.1;
    }
    check(code == 130 && says("stopped as asked; the same command goes on after"),
          "Ctrl-C: a sentence says how to go on, and exit code 130");
    check(!strcmp(shell("ls -A k1 | grep -c tmp"), "0\n"), "Ctrl-C: nothing half-written");
    tokenize("--out k1 %s", options);
    check(!strcmp(fingerprint("k1", other), undisturbed), "Ctrl-C, and on: the same bytes");
    tokenize("--out k1 %s", options);
    check(says("was finished before") && !strcmp(fingerprint("k1", other), undisturbed),
          "a finished run again: nothing changes");
}

static void test_other_recipes(void) {
    put_text("r.jsonl", "{\"id\":\"a\",\"text\":\"hello\"}\n"), shell("touch -d '2002-02-02 UTC' r.jsonl");
    tokenize("--out r r.jsonl");
    char *state = strdup(shell("sed 's/\"tokenizer_xxh3\":\"[0-9a-f]*\"/\"tokenizer_xxh3\":\"...\"/' "
                               "r/tokenize.json"));
    check(!strcmp(state,
                  "{\"recipe\":{\"tokenizer_xxh3\":\"...\",\"eos\":265,\"bos\":-1,\"dtype\":\"uint16\","
                  "\"shard_tokens\":1000000000,\"seed\":3920,\"no_shuffle\":false,\"groups\":1,\"ring\":8,"
                  "\"batch\":10000,\"as_released\":false,\"separator\":\"\",\"inputs\":[[\"r.jsonl\",26,"
                  "1012608000,0]],\"text_field\":\"text\",\"id_field\":\"id\"},\"files\":[["
                  "\"part-0-00000.npy\",2,1]],\"next\":{\"group\":1,\"shard\":0,\"batch\":0,\"document\":0,"
                  "\"file\":1,\"open\":[],\"text_bytes\":5}}\n"),
          "tokenize.json is as older versions left it: %s", state);
    free(state);
    const char *others[][2] = { { "--seed 1", "\"seed\" was 3920 and is now 1" },
                                { "--bos 3", "\"bos\" was -1 and is now 3" },
        { "--shard-tokens 100", "\"shard_tokens\"" }, { "--no-shuffle", "\"no_shuffle\"" },
        { "--groups 2", "\"groups\"" },
            { "--ring 2", "\"ring\"" },
        { "--batch 2", "\"batch\"" }, { "--as-released", "\"as_released\"" },
        { "--separator x", "\"separator\"" },
            { "--dtype uint32", "\"dtype\"" },
        { "wide.jsonl", "\"inputs\"" }, { "--eos 1", "\"eos\"" } };
    for (size_t i = 0; i < sizeof others/sizeof *others; i++) {
        int code = tokenize("--out r r.jsonl %s", others[i][0]);
        check(code == 1 && says("made with another recipe") && says(others[i][1]),
              "%s: refused in a directory made without", others[i][0]);
    }
    put_text("r.jsonl", "{\"id\":\"a\",\"text\":\"hello \"}\n"), shell("touch -d '2002-02-02 UTC' r.jsonl");
    check(tokenize("--out r r.jsonl") == 1 && says("another recipe"), "an input has changed its size");
    tokenize("--out changed r.jsonl");
    shell("touch -d 2001-01-01 r.jsonl");
    check(tokenize("--out changed r.jsonl") == 1 && says("another recipe"), "an input was written anew");
    shell("touch -d '2002-02-02 00:00:00.5' r.jsonl");
    check(tokenize("--out changed r.jsonl") == 1 && says("another recipe"),
          "an input was written anew within a second");
    shell("mkdir -p beside && cp r.jsonl beside/");
    tokenize("--out beside beside");
    check(tokenize("--out beside beside") == 0 && says("was finished before"),
          "what an earlier run has written into the directory of the documents is no input");
    tokenize("--out beside/tokens beside/r.jsonl");
    check(tokenize("--out beside/tokens beside/r.jsonl beside/tokens") == 0 && says("was finished before"),
          "nor is it in a directory below");
    check(tokenize("--out beside/tokens beside/tokens") == 1 && says("and no documents"),
          "a directory that holds nothing else is refused");
    put_text("r.jsonl", "{\"id\":\"a\",\"text\":\"hello\"}\n"), shell("touch -d '2002-02-02 UTC' r.jsonl");
    small_tokenizer("other.json", 1);
    check(tokenize("--tokenizer other.json --out r r.jsonl") == 1 && says("\"tokenizer_xxh3\""),
          "another tokenizer");
    check(tokenize("--threads 1 --on-error stop --out r r.jsonl") == 0,
          "--threads and --on-error are no part of the recipe");

    shell("cp -r r r2; truncate -s 2 r2/part-0-00000.npy");
    check(tokenize("--out r2 r.jsonl") == 1 &&
          says("was finished with 2 tokens, and is now of another size"), "a finished file was cut");
    shell("rm r2/part-0-00000.npy");
    check(tokenize("--out r2 r.jsonl") == 1 && says("missing"), "a finished file is missing");
    shell("rm r2/tokenize.json; touch r2/part-0-00000.npy");
    check(tokenize("--out r2 r.jsonl") == 1 && says("no tokenize.json"),
          "token files of unknown origin");
    char command[512];
    const char *damaged_states[] = { "", "{", "[]", "{\"recipe\": 3}", "\\0",
                                     "s/\"group\":1/\"group\":-1/",
                                    "s/\"group\":1/\"group\":\"x\"/", "s/\"file\":1/\"file\":7/",
        "s/\"open\":..,/\"open\":[[9,1]],/", "s/\"open\":..,/\"open\":3,/",
        "s/\"files\":.*\"next\"/\"files\":0,\"next\"/",
        "s/part-0-00000.npy/..\\/r\\/&/", "s/part-0-00000.npy/tokenize/",
        "s/\"shard\":0/\"shard\":99999999999/", "s/,\"text_bytes\":5//" };
    int fine = 0, n = (int)(sizeof damaged_states/sizeof *damaged_states);
    for (int i = 0; i < n; i++) {
        snprintf(command, sizeof command, *damaged_states[i] == 's' ? "sed -i '%s' r3/tokenize.json"
                 : "printf '%s' > r3/tokenize.json", damaged_states[i]);
        shell("rm -rf r3; cp -r r r3");
        shell(command);
        int code = tokenize("--out r3 r.jsonl");
        int good = code == 1 && !strncmp(tokens_out, "error: r3/tokenize.json: ", 25);
        if (!good) printf("      %s: %d %s\n", damaged_states[i], code, tokens_out);
        fine += good;
    }
    check(fine == n, "damaged tokenize.json: %d of %d are refused in a sentence", fine, n);
}

// ---- what is nearly right ---------------------------------------------------------------------------

// A finished directory, of which one thing is not as it was left.
static void test_nearly_finished(void) {
    put_text("f.jsonl", "{\"id\":\"a\",\"text\":\"hello\"}\n");
    tokenize("--out f f.jsonl");
    shell("cp -r f f2; sed -i 's/\"document\":0/\"document\":10000/' f2/tokenize.json");
    check(tokenize("--out f2 f.jsonl") == 0,
          "a state may have all documents of a batch, 10,000, in finished files");
    shell("sed -i 's/\"document\":10000/\"document\":10001/' f2/tokenize.json");
    check(tokenize("--out f2 f.jsonl") == 1 &&
          says("expected \"document\" to be a whole number from 0 to 10000"), "... but not more");
    shell("cp -r f f3; rm f3/part-0-00000.csv.gz");
    check(tokenize("--out f3 f.jsonl") == 1 &&
          says("f3/part-0-00000.csv.gz: was finished, and is now missing"),
          "the rows of a finished file are missing");
}

// Ids need not follow each other, and need not fit into 16 bits.
static void test_wide_vocabularies(void) {
    shell("sed 's/\"id\": 269/\"id\": 65535/' small.json > most.json; sed 's/\"id\": 269/\"id\": "
          "65536/' small.json > more.json");
    check(tokenize("--tokenizer most.json --out most hand.jsonl") == 0, "65,536 ids fit into uint16");
    check(tokenize("--tokenizer more.json --out more hand.jsonl") == 1 &&
          says("more.json: has 65537 ids, more than uint16 can tell apart"),
          "65,537 ids do not fit into uint16");
    put_text("wider.jsonl", "{\"id\":\"w\",\"text\":\"|||IPX|||\"}\n");
    const unsigned char wider[] = { 0, 0, 1, 0, 9, 1, 0, 0 };
    check(tokenize("--tokenizer more.json --dtype uint32 --out more wider.jsonl") == 0 &&
          has_bytes("more/part-0-00000.npy", wider, sizeof wider), "... but into uint32");
    put_text("gap.jsonl", "{\"id\":\"gap\",\"ids\":[269]}\n{\"id\":\"last\",\"ids\":[65536]}\n");
    check(tokenize("--tokenizer more.json --decode gap.jsonl") == 0 &&
          says("gap.jsonl:1: item 0 of \"ids\" is 269, which is no token") &&
          says("{\"id\":\"last\",\"text\":\"|||IPX|||\"}") && !says("\"id\":\"gap\",\"text\""),
          "--decode: an id in a gap of the vocabulary is no token");
}

static void test_batches(void) {
    char documents[8192];
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)sprintf(documents + n, "{\"id\":\"%d\",\"text\":\"%d\"}\n", i, i);
    put_text("hundred.jsonl", documents);
    tokenize("--batch 50 --out batches hundred.jsonl");
    int same = 0, fifties = 0, id[100] = { 0 }, at = 0;
    const char *order = shell("zcat batches/*.csv.gz | cut -d, -f3");
    for (char *end; at < 100 && *order; order = end + (*end == '\n'), at++)
        id[at] = (int)strtol(order, &end, 10);
    for (int i = 0; i < 50; i++)
        fifties += id[i] < 50 && id[i + 50] >= 50, same += id[i] + 50 == id[i + 50];
    check(at == 100 && fifties == 50, "--batch 50: the first fifty come first");
    check(same < 25, "each batch has an order of its own (%d of 50 stand where they stood in the "
                     "one before)", same);
}

static void test_names_of_rows(void) {
    put_text("cr.jsonl", "{\"id\":\"a\\rb\",\"text\":\"a\"}\n");
    tokenize("--out cr cr.jsonl");
    check(!strcmp(shell("zcat cr/*.csv.gz"), "0,2,\"a\rb\",cr.jsonl,1\r\n"),
          "a row whose id has a carriage return: in quotes");
    put_text("latin/\xff.jsonl", "{\"id\":\"a\",\"text\":\"a\"}\n");
    check(tokenize("--out latin1 latin") == 0 &&
          !strcmp(shell("zcat latin1/*.csv.gz"), "0,2,a,latin/\xef\xbf\xbd.jsonl,1\r\n"),
          "a source whose name is not UTF-8 is repaired in the row");
    check(tokenize("--out latin1 latin") == 0 && says("was finished before"), "... and known again");
}

// ---- hostile input, wrong command lines -------------------------------------------------------------

static void test_hostile_documents(void) {
    run(tokens_out, sizeof tokens_out, "mkdir -p %s/bad", scratch);
    put_text("bad/lines.jsonl",
             "{\"id\":\"1\",\"text\":\"hello\"}\n{\"id\":\"2\",\"text\":\"\xff\"}\n"
             "{\"id\":3,\"text\":7}\n"
             "{\"id\":\"4\"}\n{\"id\":\"5\",\"text\":[]}\n"
             "not JSON\n[1,2]\n{\"id\":\"6\",\"text\":\"\\ud800\"}\n"
             "{\"id\":\"7\",\"text\":null,\"source\":7}\n"
             "{\"id\":\"\\u0000,\",\"text\":\"a\\u0000b\"}\n");
    put_file("bad/nul.jsonl", "\0\0\0\n{\"id\":\"8\",\"text\":\"he\"}\n\0", 29);
    put_file("bad/text.txt", "a\0b\xff", 4);
    shell("yes '{\"id\":\"z\",\"text\":\"hello\"}' | head -5000 | gzip > whole.gz; head -c 100 "
          "whole.gz > bad/cut.jsonl.gz; yes '{\"id\":\"z\",\"text\":\"hello\"}' | head -5000 | zstd "
          "-q > whole.zst; head -c 30 whole.zst > bad/cut.jsonl.zst; head -c 200000 /dev/zero | tr "
          "'\\0' '[' > bad/deep.json; printf '\\037\\213nothing' > bad/none.jsonl.gz");
    int code = tokenize("--out bad1 bad");
    check(code == 0 && says("problems: each has its sentence above"), "hostile documents are skipped");
    const char *sentences[] = { "lines.jsonl:2:", "lines.jsonl:3:", "lines.jsonl:4:",
                                "lines.jsonl:5:", "lines.jsonl:6:",
                               "lines.jsonl:7:", "lines.jsonl:8:",
                                "lines.jsonl:9:", "nul.jsonl:1:", "nul.jsonl:3:", "text.txt:",
                                "cut.jsonl.gz:",
                                    "cut.jsonl.zst:", "deep.json: one JSON value", "none.jsonl.gz:" };
    int found = 0, n = (int)(sizeof sentences/sizeof *sentences);
    for (int i = 0; i < n; i++) {
        found += says(sentences[i]);
        if (!says(sentences[i])) printf("      no sentence about %s\n", sentences[i]);
    }
    check(found == n, "each with its file and line: %d of %d", found, n);
    check(!strcmp(shell("zcat bad1/*.csv.gz | grep -av ',z,' | cut -d, -f3- | LC_ALL=C sort | tr "
                        "'\\0' '0'"), "\"0,\",bad/lines.jsonl,10\r\n1,bad/lines.jsonl,1\r\n"
                                      "8,bad/nul.jsonl,2\r\n"), "the others are all there");
    check(tokenize("--on-error stop --out bad2 bad") == 1 && says("error: bad/"), "--on-error stop");
    check(!strcmp(shell("ls -A bad2"), "tokenize.json\n"), "--on-error stop: nothing half-written");
}

static void test_command_lines(void) {
    struct { const char *arguments, *sentence; } wrong[] = {
        { "", "expected one of --out DIR, --print and --decode" },
        { "--print --decode", "expected one of" }, { "--out x",
                "expected files or directories" },
        { "--out x nowhere.jsonl", "nowhere.jsonl: cannot be read" },
        { "--out x --eos 270 hand.jsonl", "the ids of" },
            { "--out x --bos 270 hand.jsonl", "the ids of" },
        { "--out x --dtype int8 hand.jsonl", "expected uint16 or uint32" },
        { "--out x --groups 0 hand.jsonl", "--groups" },
        { "--out x --ring 0 hand.jsonl", "--ring" }, { "--out x --ring 65 hand.jsonl", "--ring" },
            { "--out x --batch 0 hand.jsonl", "--batch" },
        { "--out x --shard-tokens 1 hand.jsonl", "--shard-tokens" },
        { "--out x --shard-tokens 2.5 hand.jsonl", "--shard-tokens" },
        { "--out x --on-error ignore hand.jsonl", "expected skip or stop" },
        { "--out x -", "standard input cannot be read twice" },
        { "--out hand.jsonl hand.jsonl", "hand.jsonl" }, { "--out x --nonsense", "no such option" } };
    for (size_t i = 0; i < sizeof wrong/sizeof *wrong; i++) {
        int code = tokenize("%s", wrong[i].arguments);
        check(code == 1 && !strncmp(tokens_out, "error: ", 7) && says(wrong[i].sentence),
              "`%s` is refused", wrong[i].arguments);
        if (!says(wrong[i].sentence)) printf("      %s\n", tokens_out);
    }
    check(tokenize("--ring 64 --batch 1048576 --shard-tokens 20 --out filled hand.jsonl") == 0,
          "as much as there may be of each");
    put_text("one.jsonl", "{\"id\":\"a\",\"text\":\"a\"}\n");
    check(tokenize("--shard-tokens 2 --out least one.jsonl") == 0, "a file may hold two tokens");
    check(tokenize("--shard-tokens 1e15 --out x one.jsonl") == 1 && says("--shard-tokens 1e+15: expected"),
          "... but not 1e15");
    check(tokenize("--batch 1048577 --out x hand.jsonl") == 1 &&
          says("--batch 1048577: expected 1 to 1048576"),
          "... and a document more in a batch");
    check(tokenize("--help") == 0 && says("--shard-tokens") && says("[3920]"), "--help");
    make_directory(in_scratch("busy"));
    const int other = lock_directory(in_scratch("busy"));
    check(tokenize("--out busy hand.jsonl") == 1 && says("busy: another run is writing to it"),
          "two runs in one directory");
    close(other);
}

// ---- --print, --decode, train_olmo ------------------------------------------------------------------

static void test_printing(void) {
    put_text("p.jsonl",
             "{\"id\":\"a\\\"\\n\",\"text\":\" hello  \"}\n\n{\"text\":\"\"}\n"
             "{\"id\":\"c\",\"text\":\"e\\u0301\\u0000\"}\n");
    tokenize("--print < p.jsonl");
    check(!strcmp(tokens_out,
                  "{\"id\":\"a\\\"\\n\",\"ids\":[260,267]}\n"
                  "{\"id\":\"standard input:3\",\"ids\":[]}\n"
                  "{\"id\":\"c\",\"ids\":[263,0]}\n"),
          "--print: all of the text, no EOS");
    tokenize("--print p.jsonl | %s/data/tokenize --tokenizer %s --decode", getenv("PWD"), small_path);
    check(!strcmp(tokens_out,
                  "{\"id\":\"a\\\"\\n\",\"text\":\" hello  \"}\n"
                  "{\"id\":\"p.jsonl:3\",\"text\":\"\"}\n"
                  "{\"id\":\"c\",\"text\":\"\xc3\xa9\\u0000\"}\n"),
          "--decode: the text again, in normal form C");
    put_text("d.jsonl", "{\"id\":7.0,\"ids\":[65]}\n{\"id\":null,\"ids\":[65]}\n");
    tokenize("--decode d.jsonl");
    check(!strcmp(tokens_out, "{\"id\":\"7.0\",\"text\":\"A\"}\n{\"id\":\"d.jsonl:2\",\"text\":\"A\"}\n"),
          "--decode: ids that are no strings");
    put_text("d.jsonl", "{\"ids\":[226,128]}\n{\"id\":\"cut\",\"ids\":[226,128,65,255]}\n");
    tokenize("--decode d.jsonl");
    check(!strcmp(tokens_out,
                  "{\"id\":\"d.jsonl:1\",\"text\":\"\xef\xbf\xbd\"}\n"
                  "{\"id\":\"cut\",\"text\":\"\xef\xbf\xbd" "A\xef\xbf\xbd\"}\n"),
          "--decode: bytes that are not UTF-8");

    const char *wrong[] = { "{\"ids\":[270]}", "{\"ids\":[536870911]}", "{\"ids\":[-1]}",
                            "{\"ids\":[1.5]}",
                           "{\"ids\":[\"1\"]}", "{\"ids\":[true]}",
                           "{\"ids\":7}", "{}", "[1]", "1", "x", "",
                            "{\"ids\":[4294967361]}",
                            "{\"ids\":[99999999999999999999]}",
                                "{\"ids\":[1,]}", "{\"ids\":[1]" };
    for (size_t i = 0; i < sizeof wrong/sizeof *wrong; i++) {
        char lines[256];
        snprintf(lines, sizeof lines, "%s\n{\"id\":\"next\",\"ids\":[65]}\n", wrong[i]);
        put_text("w.jsonl", lines);
        int code = tokenize("--decode w.jsonl");
        int blank = !*wrong[i];
        check(code == 0 && says("{\"id\":\"next\",\"text\":\"A\"}") &&
              (blank || !strncmp(tokens_out, "warning: w.jsonl:1: ", 20) ||
               says("\nwarning: w.jsonl:1: ")), "--decode %s: %s", wrong[i],
              blank ? "no line" : "a sentence, and on");
        if (!blank)
            check(tokenize("--on-error stop --decode w.jsonl") == 1 && says("error: w.jsonl:1: "),
                  "--decode %s: the end, if so asked", wrong[i]);
    }
    shell("yes '{\"text\":\"hello\"}' | head -3000 > long.jsonl");
    tokenize("--print --batch 7 --threads 3 < long.jsonl | sed 's/.*input:\\([0-9]*\\).*/\\1/' > "
             "numbers; seq 3000 | cmp - numbers && echo in order");
    check(says("in order"), "--print: many threads, many batches, and the order of the input");
}

static void test_official_tokens(void) {
    const char *official = "data/tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json",
        *golden = "data/test/golden/golden_tokenizer.jsonl";
    if (!file_exists(official)) {
        printf("skipped: %s is not here; data/tokenizers.sh fetches it\n", official);
        return;
    }
    run(tokens_out, sizeof tokens_out, "data/tokenize --tokenizer %s --print %s > %s/golden.jsonl",
        official, golden, scratch);
    Reader *expected = reader_open(golden), *found = reader_open(in_scratch("golden.jsonl"));
    int lines = 0, same = 0;
    for (; reader_line(expected); lines++) {
        json_t *a = json_loadb(expected->line.text, expected->line.size, JSON_ALLOW_NUL, NULL);
        json_t *b = NULL;
        if (reader_line(found)) b = json_loadb(found->line.text, found->line.size, JSON_ALLOW_NUL, NULL);
        same += b && json_equal(json_object_get(a, "ids"), json_object_get(b, "ids"));
        json_decref(a), json_decref(b);
    }
    check(lines > 100 && same == lines && !reader_line(found), "--print: %d of %d golden lines",
          same, lines);
    reader_close(expected), reader_close(found);
}

static void test_training_on_tokens(void) {
    shell("yes '{\"text\":\"hello hello'\"'\"'s hell. a\"}' | head -300 > train.jsonl");
    tokenize("--out trained train.jsonl");
    int code = run(tokens_out, sizeof tokens_out,
                   "./train_olmo --data %s/trained/part-0-00000.npy --vocab 272 --eos %d --seq-len "
                   "64 --d-model 32 --n-layers 1 --n-heads 2 --batch 2 --micro-batch 1 --steps 2 "
                   "--sample-every 0 --out %s/run", scratch, SMALL_EOS, scratch);
    check(code == 0 && says("params hash 0x"), "train_olmo reads the tokens");
    if (code) printf("      %s\n", tokens_out);
}

static void test_tokenize(void) {
    test_tokens_by_hand();
    test_token_order();
    test_file_sizes();
    test_many_documents();
    test_kills();
    test_other_recipes();
    test_nearly_finished();
    test_wide_vocabularies();
    test_batches();
    test_names_of_rows();
    test_hostile_documents();
    test_command_lines();
    test_printing();
    test_official_tokens();
    test_training_on_tokens();
}
