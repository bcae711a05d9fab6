// What holds for every program of the data room: which files are its inputs, and what may become an
// output.

// A command that must be refused, with this in its sentence.
static void refuses(const char *what, const char *sentence, const char *format,
                    ...) __attribute__((format(printf, 3, 4)));
static void refuses(const char *what, const char *sentence, const char *format, ...) {
    char command[2048], out[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    int code = run(out, sizeof out, "P=$PWD/data; cd %s/c; %s", scratch, command);
    check(code == 1 && !strncmp(out, "error: ", 7) && strstr(out, sentence), "%s is refused: %s",
          what, out);
}

static void test_inputs(void) {
    char out[4096];
    put_text("c/documents/a.jsonl", "{\"id\":\"a\",\"text\":\"one two\"}\n");
    refuses("a file by two names",
            "documents/a.jsonl and ./documents/a.jsonl are one file, which is named twice",
            "$P/curate tag --taggers char_length_v1 documents ./documents/a.jsonl");
    refuses("a file and a link to it", "is named twice",
            "ln -s documents/a.jsonl link.jsonl; $P/stats documents link.jsonl");
    refuses("a directory without files", "there is no file that could be read",
            "mkdir -p empty; $P/stats documents empty");
    run(out, sizeof out,
        "cd %s/c; ln -s nowhere documents/b.jsonl; $OLDPWD/data/stats documents 2>&1 >/dev/null; rm "
        "documents/b.jsonl", scratch);
    check(strstr(out, "documents/b.jsonl: cannot be read: the link leads nowhere; skipped") != NULL,
          "a link that leads nowhere costs a sentence: %s", out);
    run(out, sizeof out,
        "P=$PWD/data; cd %s/c; mkdir -p x/documents; printf '{\"text\":\"x\"}' > \"$(printf "
        "'x/documents/\\377.jsonl')\"; $P/curate tag --taggers char_length_v1 x/documents "
        "2>/dev/null; cat x/attributes/tags/*; echo "
        "'{\"streams\":[{\"name\":\"s\",\"documents\":[\"x/documents\"],"
        "\"output\":{\"path\":\"y\"}}]}' > m.json; $P/curate mix m.json >/dev/null 2>&1; gzip -dc "
        "y/*", scratch);
    check(strstr(out, "{\"id\":\"\xef\xbf\xbd.jsonl:1\",") &&
          strstr(out, "{\"id\":\"\xef\xbf\xbd.jsonl:1\",\"text\":\"x\","
                      "\"metadata\":{\"provenance\":\"\xef\xbf\xbd.jsonl:1\"}}"),
          "a name that is not UTF-8 is repaired where it becomes an id: %s", out);
    refuses("more files than may be open", "Too many open files",
            "for i in 1 2 3 4; do cp documents/a.jsonl $i.jsonl; done; exec >/dev/null 3>&- 4>&- 5>&-; "
            "ulimit -n 6; exec $P/tokenize --threads 1 --tokenizer %s --eos 1 --out tokens 1.jsonl "
            "2.jsonl 3.jsonl 4.jsonl", small_path);
    refuses("a corpus that was moved under the same filter", "has it been moved?",
            "D='$P/curate dedupe --by document --expected 9 --name d --bloom f'; eval $D documents "
            ">/dev/null 2>&1; mkdir moved; mv documents moved; eval $D moved/documents; r=$?; mv "
            "moved/documents .; (exit $r)");
    refuses("a model of letters for toxicity", "expected a model of words, found one of letters",
            "$P/curate tag --taggers ngram_nsfw_sentence_v1 --nsfw-model $P/language.safetensors "
            "documents");
    refuses("a model of words for languages", "expected a model of letters, found one of words",
            "$P/curate tag --taggers ngram_doc_v1 --language-model $P/toxic.safetensors documents");
    refuses("a list without words", "found none",
            "echo '# nothing' > list; $P/curate tag --taggers c4_v1 --naughty list documents");
    refuses("a list with a NUL", "without a NUL",
            "printf 'a\\0b' > list; $P/curate tag --taggers c4_v1 --naughty list documents");
}

static void test_outputs(void) {
    char out[4096];
    put_text("c/m.json",
             "{\"streams\":[{\"name\":\"x\",\"documents\":[\"documents\"],"
             "\"output\":{\"path\":\"o\"}},\n"
             "{\"name\":\"x\",\"documents\":[\"documents\"],\"output\":{\"path\":\"p\"}}]}");
    refuses("a report in place of an input", "would be written over, but is an input",
            "$P/stats --json documents/a.jsonl documents");
    refuses("a picture in place of an input", "would be written over",
            "$P/stats --png documents/a.jsonl documents");
    refuses("a report in place of a document", "would be written over",
            "$P/curate mix m.json --report ./documents/a.jsonl");
    refuses("a report in place of the configuration", "would be written over",
            "$P/curate mix m.json --report m.json");
    refuses("a model in place of its text", "would be written over",
            "$P/curate train --out documents/a.jsonl documents");
    refuses("a device in place of a report", "found a directory, a pipe or a device",
            "$P/stats --json /dev/full documents");
    refuses("no name", "expected the name of a file", "$P/stats --json '' documents");
    refuses("two streams that write one shard", "two streams write ./o/x",
            "sed 's#\"p\"#\"./o\"#' m.json > two.json; $P/curate mix two.json");
    refuses("no name of a directory", "expected \"path\": the name of a directory",
            "sed 's#\"p\"#\"\"#' m.json > two.json; $P/curate mix two.json");
    refuses("shards of less than no bytes", "not to be negative",
            "sed 's#\"p\"#\"p\",\"max_size_in_bytes\":-1#' m.json > two.json; $P/curate mix two.json");
    refuses("texts of less than no bytes", "not to be negative",
            "sed 's#\"p\"#\"p\",\"min_text_length\":-1#' m.json > two.json; $P/curate mix two.json");
    refuses("no score that would fit", "\"min_score\" to be less",
            "sed 's#\"output\"#\"span_replacement\":[{\"span\":\"k\",\"min_score\":1,"
            "\"max_score\":1}],&#' m.json > two.json; $P/curate mix two.json");
    refuses("a file that another run is writing", "another run is writing it",
            "touch r.json.tmp; flock r.json.tmp $P/stats --json r.json documents");
    run(out, sizeof out,
        "cd %s/c; ls r.json* documents; cat documents/a.jsonl; test -c /dev/full && echo device",
        scratch);
    check(!strstr(out, "r.json\n") &&
          strstr(out, "a.jsonl\n{\"id\":\"a\",\"text\":\"one two\"}\ndevice\n"),
          "and nothing is changed: %s", out);
    int code = run(out, sizeof out,
                   "cd %s/c; (ulimit -f 8; $OLDPWD/data/stats --png full.png documents 2>&1 "
                   ">/dev/null); ls full*", scratch);
    check(code && (strstr(out, "is the disk full?") || strstr(out, "gnuplot failed")) &&
          !strstr(out, "full.png\n"), "a picture that is cut off is none: %s", out);
    code = run(out, sizeof out, "cd %s/c; (ulimit -f 0; $OLDPWD/data/curate tag --taggers char_length_v1 "
               "--name full documents) || find attributes/full -type f", scratch);
    check(!code && strstr(out, "/full/.command") && ends_with(out, "is the disk full?\n"),
          "a command that cannot be noted leaves nothing: %s", out);
}

// What users do: every command twice, side by side, with files that were added, restored, or come
// from the future.
static void test_ordinary_days(void) {
    char out[8192];
    put_text("o/documents/x/a.jsonl", "{\"id\":\"a\",\"text\":\"one two\"}\n");
    put_text("o/documents/y/b.jsonl", "{\"id\":\"b\",\"text\":\"3 fours\"}\n");
    put_text("o/m.json",
             "{\"streams\":[{\"name\":\"x\",\"documents\":[\"documents/x\"],"
             "\"attributes\":[\"tags\",\"d\"],\"output\":{\"path\":\"mixed\"}},\n"
             "{\"name\":\"y\",\"documents\":[\"documents/y\"],\"attributes\":[\"tags\",\"d\"],"
             "\"output\":{\"path\":\"./mixed\"}}]}");
    put_text("o/all", "set -e\n$P/curate tag --taggers char_length_v1 documents\n"
                      "$P/curate dedupe --by document --expected 9 --name d --bloom d.bloom "
                      "documents\n"
                      "$P/curate mix m.json\n$P/tokenize --tokenizer $T --eos 1 --out "
                                    "tokens mixed\n$P/stats --json report.json mixed\n");
    const char *all = "export P=$PWD/data T=%s; cd %s/o; %s; sh -c '. ./all' 2>&1; echo code $?";
    run(out, sizeof out, all, small_path, scratch, "touch -d '+2 hours' documents/x/a.jsonl");
    check(strstr(out, "code 0\n") != NULL, "documents from the future are documents: %s", out);
    run(out, sizeof out, all, small_path, scratch, ":");
    check(strstr(out, "code 0\n") && strstr(out, "was finished before"),
          "all commands once more: nothing is left to do: %s", out);
    run(out, sizeof out,
        "cd %s/o; touch -d 2001-01-01 documents/x/a.jsonl; $OLDPWD/data/curate tag --taggers "
        "char_length_v1 documents 2>/dev/null; $OLDPWD/data/curate mix m.json", scratch);
    check(strstr(out, "attributes/d/x/a.jsonl: is younger than documents/x/a.jsonl") != NULL,
          "documents restored from long ago are others: %s", out);
    run(out, sizeof out,
        "P=$PWD/data; cd %s/o; for i in 1 2 3 4 5 6; do $P/curate tag --name n$i --taggers "
        "char_length_v1 documents/x >/dev/null 2>&1 || echo x & p=$!; $P/curate tag --name n$i "
        "--taggers char_length_v1 documents/y >/dev/null 2>&1 || echo y; wait $p; done; echo done",
        scratch);
    check(!strcmp(out, "done\n"), "two halves of a corpus may be tagged at the same time: %s", out);
    run(out, sizeof out,
        "P=$PWD/data; cd %s/o; touch -d @1000000000 documents/x/a.jsonl documents/y/b.jsonl; rm "
        "d.bloom; D='$P/curate dedupe --by document --expected 9 --name e --bloom d.bloom'; eval $D "
        "documents/x >/dev/null 2>&1 && eval $D documents/y", scratch);
    check(strstr(out, "duplicates       0 of 1") != NULL,
          "two files of one size and time are two: %s", out);
    run(out, sizeof out, "cd %s/o; echo a text | $OLDPWD/data/stats /dev/stdin", scratch);
    check(strstr(out, "documents                        1\n") != NULL, "a pipe by its name: %s", out);
    run(out, sizeof out,
        "cd %s/o; mkdir -p attributes/theirs/x; echo theirs > attributes/theirs/x/a.jsonl; "
        "$OLDPWD/data/curate tag --name theirs --taggers char_length_v1 documents; cat "
        "attributes/theirs/x/a.jsonl", scratch);
    check(strstr(out, ".command is missing: who made the attributes there?") &&
          strstr(out, "\ntheirs\n"), "attributes that others made are not replaced: %s", out);
    run(out, sizeof out, "cd %s/o; $OLDPWD/data/stats --json r --png r documents", scratch);
    check(strstr(out, "expected two names") != NULL, "two reports of one name: %s", out);
    check(is_shard_name("a-0001.jsonl.gz") && is_shard_name("a.json-00010.json.zst") &&
          !is_shard_name("notes-2023.json") && !is_shard_name("a-001.jsonl.gz") &&
          !is_shard_name("0001.jsonl.gz") && !is_shard_name("a-0001.jsonl.gz.tmp"),
          "what is a shard's name");
}

// Of two runs with one filter, the second to save it would throw the keys of the first away.
static void test_two_filters(void) {
    const char *path = in_scratch("two.bloom");
    Filter f = filter_new(10, 1e-3, "paragraphs", ""), g;
    filter_save(&f, path), g = filter_load(path, "paragraphs", NULL);
    filter_add(&f, XXH3_128bits("a", 1)), filter_save(&f, path), filter_save(&f, path);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        CHECK(freopen("/dev/null", "w", stderr), "no /dev/null");
        filter_save(&g, path);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    check(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE,
          "a filter that another run has written meanwhile is not replaced: %d", status);
    filter_free(&f), filter_free(&g);
}

// Losing everything is a failure, in every program; losing all of one input is the last thing that
// is said.
static void test_losses(void) {
    static const char *const commands[] = {
        "$P/curate tag --taggers char_length_v1 %s",
        "$P/curate dedupe --by document --expected 9 --name d %s",
        "$P/stats %s",
        "$P/tokenize --tokenizer $T --eos 1 --out tokens %s",
        "$P/tokenize --tokenizer $T --print %s",
        "$P/tokenize --tokenizer $T --decode %s",
        ("echo '{\"streams\":[{\"name\":\"s\",\"documents\":[\"%s\"],"
         "\"output\":{\"path\":\"mixed\"}}]}' > m.json; $P/curate mix m.json"),
    };
    static const char *const inputs[] = { "l/documents/bad.jsonl", "l/documents/gone.jsonl.gz",
                                          "l/documents/table.json" };
    char command[1024], out[4096];
    put_text(inputs[0], "rubbish\n{\"id\":1}\n"), put_text(inputs[1], "\x1f\x8b no gzip");
    put_text(inputs[2], "[\n{\"text\":\"a\"},\n{}\n]\n");
    for (size_t i = 0; i < sizeof commands/sizeof *commands; i++) for (int k = 0; k < 3; k++) {
        snprintf(command, sizeof command, commands[i], inputs[k] + 2);
        int code = run(out, sizeof out,
                       "export P=$PWD/data T=%s; cd %s/l; rm -rf attributes mixed tokens; { %s; } "
                       "2>&1 >/dev/null", small_path, scratch, command);
        const char *last = strstr(out, "error: no document at all came of documents/");
        check(code == 1 && last && !strchr(last, '\n')[1], "nothing of %s is a failure: %s",
              inputs[k], out);
    }
    put_text("l/documents/good.jsonl", "{\"text\":\"a\",\"id\":\"a\"}\n");
    put_text("l/documents/empty.jsonl", "\n");
    for (size_t i = 0; i + 2 < sizeof commands/sizeof *commands; i++) {
        snprintf(command, sizeof command, commands[i],
                 "documents/good.jsonl documents/bad.jsonl documents/empty.jsonl");
        int code = run(out, sizeof out,
                       "export P=$PWD/data T=%s; cd %s/l; rm -rf attributes mixed tokens; { %s; } "
                       "2>&1 >/dev/null", small_path, scratch, command);
        check(code == 0 && ends_with(out, "\nWARNING: no document at all came of 1 of 2 inputs: "
                                          "documents/bad.jsonl\n"), "nothing of one input: %s", out);
    }
    int code = run(out, sizeof out, "P=$PWD/data; cd %s/l; $P/stats documents/empty.jsonl", scratch);
    check(code == 0, "what is empty has lost nothing: %s", out);
    refuses("tokens of nothing", "no input gave a document with text",
            "$P/tokenize --tokenizer %s --eos 1 --out none ../l/documents/empty.jsonl 2>&1 "
            ">/dev/null | grep ^error; false", small_path);
}

// Where documents have their text and id, for every program; and who made attributes by other fields.
static void test_fields(void) {
    char out[8192];
    put_text("f/documents/a.jsonl",
             "{\"doc\":{\"content\":\"one two\",\"n\":1},\"key\":5,\"text\":\"no\",\"id\":\"no\"}\n"
             "{\"doc\":7,\"key\":6}\n");
    put_text("f/m.json",
             "{\"streams\":[{\"name\":\"s\",\"documents\":[\"documents\"],\"attributes\":[\"tags\","
             "\"d\"],\"output\":{\"path\":\"mixed\",\"discard_fields\":[\"attributes\","
             "\"metadata\"]}}]}");
    const char *set = "set -- --text-field doc.content --id-field '$.key'; export P=$PWD/data T=%s; "
                      "cd %s/f; ";
    char command[4096];
    snprintf(command, sizeof command, "%s%s", set,
             "{ $P/curate tag --taggers char_length_v1 \"$@\" documents; $P/curate dedupe --by "
             "document --expected 9 --name d \"$@\" documents; $P/curate mix m.json \"$@\"; "
             "$P/tokenize --tokenizer $T --eos 1 --out tokens \"$@\" documents; } > /dev/null 2>&1; "
             "cat attributes/tags/a.jsonl attributes/d/a.jsonl; zcat mixed/* tokens/*.csv.gz; "
             "$P/tokenize --tokenizer $T --print \"$@\" documents 2>/dev/null; $P/stats --json - "
             "\"$@\" documents 2>/dev/null | grep '\"characters\"'");
    #pragma GCC diagnostic ignored "-Wformat-nonliteral"
    run(out, sizeof out, command, small_path, scratch);
    check(!strcmp(out, "{\"id\":\"5\",\"attributes\":{\"char_length_v1__length\":[[0,7,7]]}}\n"
                       "{\"id\":\"5\",\"attributes\":{\"d\":[]}}\n"
                  "{\"id\":\"5\",\"text\":\"one two\",\"doc\":{\"content\":\"one "
                  "two\",\"n\":1},\"metadata\":{\"provenance\":\"a.jsonl:1\"}}\n"
                  "0,8,5,documents/a.jsonl,1\r\n"
                  "{\"id\":\"5\",\"ids\":[111,110,101,32,116,119,111]}\n  \"characters\": 7,\n"),
          "--text-field and --id-field: %s", out);
    refuses("tags by other fields", "not by", "$P/curate tag --taggers char_length_v1 ../f/documents");
    refuses("tokens of other fields", "\"text_field\" was \"doc.content\" and is now \"key\"",
            "cd ../f; $P/tokenize --tokenizer %s --eos 1 --out tokens --text-field key documents",
            small_path);
    refuses("a field of no name", "expected names with dots between them",
            "$P/stats --text-field a..b documents");
}

// `documents` in a corpus is a part of it; the place of attributes is that of the directory which
// was named.
static void test_nested_documents(void) {
    char out[4096];
    put_text("n/documents/documents/a.jsonl", "{\"text\":\"a\"}\n");
    put_text("n/documents/p/documents/q/b.jsonl", "{\"text\":\"b\"}\n");
    put_text("n/m.json",
             "{\"streams\":[{\"name\":\"s\",\"documents\":[\"documents\"],\"attributes\":[\"tags\"],"
             "\"output\":{\"path\":\"mixed\"}}]}");
    int code = run(out, sizeof out,
                   "P=$PWD/data; cd %s/n; { $P/curate tag --taggers char_length_v1 documents && "
                   "$P/curate mix m.json; } >/dev/null 2>log || cat log; find . -name '*.jsonl' | "
                   "sort; zcat mixed/* | cut -d, -f1; cd documents/p; $P/curate tag --taggers "
                   "char_length_v1 documents; find . | sort", scratch);
    check(code == 0 && !strncmp(out, "./attributes/tags/documents/a.jsonl\n"
                                     "./attributes/tags/p/documents/q/b.jsonl\n"
                                     "./documents/documents/a.jsonl\n"
                                "./documents/p/documents/q/b.jsonl\n"
                                "{\"id\":\"documents/a.jsonl:1\"\n"
                                "{\"id\":\"p/documents/q/b.jsonl:1\"\n", 196),
          "documents below documents: %s", out);
    check(strstr(out, "./attributes/tags/q/b.jsonl") != NULL,
          "... which may be a corpus of its own: %s", out);
}

// Any name that the file system takes is one for every program.
static void test_any_name(void) {
    char out[4096];
    run(out, sizeof out,
        "export P=$PWD/data T=%s; cd %s; mkdir -p any/documents; cd any; for n in \"$(printf "
        "'a\\nb')\" \"$(printf 'c\\377')\" 'd e,\"' -f; do printf '{\"text\":\"%%s\"}\\n' \"${#n}\" "
        "> \"documents/$n.jsonl\"; done; D='$P/curate dedupe --by document --expected 9 --name d "
        "--bloom f documents'; echo "
        "'{\"streams\":[{\"name\":\"s\",\"documents\":[\"documents\"],\"attributes\":[\"tags\","
        "\"d\"],\"output\":{\"path\":\"mixed\"}}]}' > m.json; { $P/curate tag --taggers "
        "char_length_v1 documents && eval $D && $P/curate mix m.json && $P/tokenize --tokenizer $T "
        "--eos 1 --out tokens documents && $P/stats documents; } >/dev/null 2>log || cat log; zcat "
        "mixed/* | wc -l; zcat tokens/*.csv.gz | grep -c 'documents/d e,\"\"\\.'; eval $D 2>&1 | "
        "grep -c kept; rm documents/a*; eval $D 2>&1 | grep -c kept", small_path, scratch);
    check(!strcmp(out, "4\n1\n1\n1\n"),
          "names with a newline, without UTF-8, with a comma, like an option: %s", out);
}

// Of many files no program holds more open than it needs at a time: forty, where twenty may be open.
static void test_many_files(void) {
    static const char *const commands[] = {
        "$P/curate tag --threads 1 --taggers char_length_v1 documents",
        "$P/curate dedupe --by document --expected 99 --name d documents",
        "$P/curate decontaminate --threads 1 --against documents --name e documents",
        "$P/curate train --epochs 1 --buckets 2 --out model documents",
        "$P/curate mix --threads 1 m.json",
        "$P/stats --threads 1 documents",
        "$P/stats --threads 1 --attributes attributes",
        "$P/tokenize --threads 1 --tokenizer $T --eos 1 --out tokens documents",
        "$P/tokenize --threads 1 --tokenizer $T --print documents",
    };
    char out[4096];
    put_text("forty/m.json", "{\"streams\":[{\"name\":\"s\",\"documents\":[\"documents\"],\"attributes\":"
             "[\"tags\",\"d\"],\"output\":{\"path\":\"out\",\"max_size_in_bytes\":1}}]}");
    for (int i = 0; i < 40; i++) {
        char name[64], text[128];
        snprintf(name, sizeof name, "forty/documents/%d.jsonl", i);
        snprintf(text, sizeof text, "{\"text\":\"%d 2 3 4 5 6 7 8 9 10 11 12 13\",\"label\":%d}\n", i, i % 2);
        put_text(name, text);
    }
    for (size_t i = 0; i < sizeof commands/sizeof *commands; i++) {
        const int code = run(out, sizeof out, "export P=$PWD/data T=%s; cd %s/forty; ulimit -n 20; %s "
                             "2>&1 >/dev/null", small_path, scratch, commands[i]);
        check(code == 0 && !strstr(out, "warning"), "forty files, twenty of which may be open: %s: %s",
              commands[i], out);
    }
    check(run(out, sizeof out, "cd %s/forty; ls out attributes/tags attributes/d | wc -l", scratch) == 0 &&
          atoi(out) >= 120, "... and all of them are written: %s", out);
}

// The last that a progress bar says: all bytes have been read, packed or not, and so many documents.
static void test_bars(void) {
    static const struct { const char *name, *command; int documents; } bars[] = {
        { "tag", "$P/curate tag --taggers char_length_v1 documents", 5 },
        { "tag", "touch documents/b.jsonl; $P/curate tag --taggers char_length_v1 documents", 1 },
        { "d", "$P/curate dedupe --by document --expected 9 --name d documents", 5 },
        { "e", "$P/curate decontaminate --min-words 1 --against documents --name e documents", 5 },
        { "mix", "$P/curate mix m.json", 5 }, { "count", "$P/curate mix w.json", 5 },
        { "counting", "$P/stats documents", 5 }, { "counting", "$P/stats --attributes attributes/d", 5 },
        { "tokenize", "$P/tokenize --tokenizer $T --eos 1 --out tokens documents", 5 },
        { "tokenize", "$P/tokenize --tokenizer $T --eos 1 --out tokens documents", 0 },
    };
    static const char *const configuration =
        "{\"streams\":[{\"name\":\"s\",\"documents\":[\"documents\"],\"output\":{\"path\":\"out\"}%s}]}";
    char out[8192], text[512];
    put_text("bars/documents/a.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    put_text("bars/documents/b.jsonl", "{\"text\":\"three\"}\n");
    put_text("bars/c.jsonl", "{\"text\":\"4\"}\n");
    snprintf(text, sizeof text, configuration, ""), put_text("bars/m.json", text);
    snprintf(text, sizeof text, configuration, ",\"weight\":1"), put_text("bars/w.json", text);
    run(out, sizeof out, "cd %s/bars; cat c.jsonl c.jsonl | gzip > documents/c.jsonl.gz", scratch);
    for (size_t i = 0; i < sizeof bars/sizeof *bars; i++) {
        run(out, sizeof out, "export P=$PWD/data T=%s; cd %s/bars; { %s; } 2>&1 >/dev/null", small_path,
            scratch, bars[i].command);
        snprintf(text, sizeof text, "\r%s [##############################] 100%%  %d documents  ",
                 bars[i].name, bars[i].documents);
        check(strstr(out, text) != NULL, "its bar ends with all: %s: %s", bars[i].command, out);
    }
}

// What every command takes, it takes from the command line.
static void test_run_options(void) {
    static const char *const commands[] = {
        "$P/curate tag --taggers char_length_v1 --name o",
        "$P/curate dedupe --by document --expected 9 --name o",
        "$P/curate decontaminate --min-words 1 --against documents --name o", "$P/curate mix m.json",
        "$P/stats", "$P/tokenize --tokenizer $T --eos 1 --out o", "$P/curate train",
    };
    static const struct { const char *option, *sentence; } options[] = {
        { "--on-error sometimes", "--on-error sometimes: expected skip or stop" },
        { "--text-field .x", "--text-field .x: expected names with dots" },
        { "--id-field x.", "--id-field x.: expected names with dots" },
        { "--threads 1025", "--threads 1025: expected at most 1024" },
        { "--name o/o", "--name o/o: expected the name" },
    };
    for (size_t i = 0; i < sizeof commands/sizeof *commands; i++)
        for (size_t k = 0; k < (i < 3 ? 5 : i < 6 ? 4 : 3); k++)
            refuses(options[k].option, options[k].sentence, "T=%s; %s %s %s", small_path, commands[i],
                    options[k].option, i == 3 ? "" : "documents");
}

static void test_memory(void) {
    refuses("a filter larger than the memory", "a filter of 2e+12 keys",
            "$P/curate dedupe --by document --expected 2e12 --name m documents");
    refuses("a filter far larger than any memory", "GiB of memory, and there are",
            "$P/curate dedupe --by document --expected 9e14 --false-positives 1e-299 --name m "
            "documents");
    refuses("sketches larger than the memory", "four sketches of --sketch-mb would need",
            "$P/stats --sketch-mb 2000000000 documents");
    check(memory_there_is() > 1e8 && memory_there_is() < 1e15, "bytes of memory there are: %g",
          memory_there_is());
}

static void test_command(void) {
    test_inputs();
    test_ordinary_days();
    test_two_filters();
    test_outputs();
    test_losses();
    test_fields();
    test_nested_documents();
    test_any_name();
    test_many_files();
    test_run_options();
    test_bars();
    test_memory();
}
