// What holds for every program of the data room: which files are its inputs, and what may become an output.

// A command that must be refused, with this in its sentence.
static void refuses(const char *what, const char *sentence, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuses(const char *what, const char *sentence, const char *format, ...) {
    char command[2048], out[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    int code = run(out, sizeof out, "P=$PWD/data; cd %s/c; %s", scratch, command);
    check(code == 1 && !strncmp(out, "error: ", 7) && strstr(out, sentence), "%s is refused: %s", what, out);
}

static void test_inputs(void) {
    char out[4096];
    put_text("c/documents/a.jsonl", "{\"id\":\"a\",\"text\":\"one two\"}\n");
    refuses("a file by two names", "documents/a.jsonl: is named twice", "$P/curate tag --taggers char_length_v1 documents ./documents/a.jsonl");
    refuses("a file and a link to it", "is named twice", "ln -s documents/a.jsonl link.jsonl; $P/stats documents link.jsonl");
    refuses("a directory without files", "there is no file that could be read", "mkdir -p empty; $P/stats documents empty");
    run(out, sizeof out, "cd %s/c; ln -s nowhere documents/b.jsonl; $OLDPWD/data/stats documents 2>&1 >/dev/null; rm documents/b.jsonl", scratch);
    check(strstr(out, "documents/b.jsonl: cannot be read: the link leads nowhere; skipped") != NULL, "a link that leads nowhere costs a sentence: %s", out);
    run(out, sizeof out, "P=$PWD/data; cd %s/c; mkdir -p x/documents; printf '{\"text\":\"x\"}' > \"$(printf 'x/documents/\\377.jsonl')\"; "
        "$P/curate tag --taggers char_length_v1 x/documents 2>/dev/null; cat x/attributes/tags/*; "
        "echo '{\"streams\":[{\"name\":\"s\",\"documents\":[\"x/documents\"],\"output\":{\"path\":\"y\"}}]}' > m.json; "
        "$P/curate mix m.json >/dev/null 2>&1; gzip -dc y/*", scratch);
    check(strstr(out, "{\"id\":\"\xef\xbf\xbd.jsonl:1\",") && strstr(out, "{\"text\":\"x\",\"id\":\"\xef\xbf\xbd.jsonl:1\",\"metadata\":{\"provenance\":\"\xef\xbf\xbd.jsonl:1\"}}"),
          "a name that is not UTF-8 is repaired where it becomes an id: %s", out);
    refuses("more files than may be open", "Too many open files", "for i in 1 2 3 4; do cp documents/a.jsonl $i.jsonl; done; exec >/dev/null; ulimit -n 6; "
            "exec $P/tokenize --threads 1 --tokenizer %s --eos 1 --out tokens 1.jsonl 2.jsonl 3.jsonl 4.jsonl", small_path);
    refuses("a corpus that was moved under the same filter", "has it been moved?", "D='$P/curate dedupe --by document --expected 9 --name d --bloom f'; "
            "eval $D documents >/dev/null 2>&1; mkdir moved; cp -rp documents moved; eval $D moved/documents");
    refuses("a model of letters for toxicity", "expected a model of words, found one of letters",
            "$P/curate tag --taggers ngram_nsfw_sentence_v1 --nsfw-model $P/language.safetensors documents");
    refuses("a model of words for languages", "expected a model of letters, found one of words",
            "$P/curate tag --taggers ngram_doc_v1 --language-model $P/toxic.safetensors documents");
    refuses("a list without words", "found none", "echo '# nothing' > list; $P/curate tag --taggers c4_v1 --naughty list documents");
    refuses("a list with a NUL", "without a NUL", "printf 'a\\0b' > list; $P/curate tag --taggers c4_v1 --naughty list documents");
}

static void test_outputs(void) {
    char out[4096];
    put_text("c/m.json", "{\"streams\":[{\"name\":\"x\",\"documents\":[\"documents\"],\"output\":{\"path\":\"o\"}},\n"
                         "{\"name\":\"x\",\"documents\":[\"documents\"],\"output\":{\"path\":\"p\"}}]}");
    refuses("a report in place of an input", "would be written over, but is an input", "$P/stats --json documents/a.jsonl documents");
    refuses("a picture in place of an input", "would be written over", "$P/stats --png documents/a.jsonl documents");
    refuses("a report in place of a document", "would be written over", "$P/curate mix m.json --report ./documents/a.jsonl");
    refuses("a report in place of the configuration", "would be written over", "$P/curate mix m.json --report m.json");
    refuses("a model in place of its text", "would be written over", "$P/curate train --out documents/a.jsonl documents");
    refuses("a device in place of a report", "found a directory, a pipe or a device", "$P/stats --json /dev/full documents");
    refuses("no name", "expected the name of a file", "$P/stats --json '' documents");
    refuses("two streams that write one shard", "two streams write ./o/x", "sed 's#\"p\"#\"./o\"#' m.json > two.json; $P/curate mix two.json");
    refuses("no name of a directory", "expected \"path\": the name of a directory", "sed 's#\"p\"#\"\"#' m.json > two.json; $P/curate mix two.json");
    refuses("shards of less than no bytes", "not to be negative", "sed 's#\"p\"#\"p\",\"max_size_in_bytes\":-1#' m.json > two.json; $P/curate mix two.json");
    refuses("texts of less than no bytes", "not to be negative", "sed 's#\"p\"#\"p\",\"min_text_length\":-1#' m.json > two.json; $P/curate mix two.json");
    refuses("no score that would fit", "\"min_score\" to be less", "sed 's#\"output\"#\"span_replacement\":[{\"span\":\"k\",\"min_score\":1,\"max_score\":1}],&#' m.json > two.json; "
            "$P/curate mix two.json");
    refuses("a file that another run is writing", "another run is writing it", "touch r.json.tmp; flock r.json.tmp $P/stats --json r.json documents");
    run(out, sizeof out, "cd %s/c; ls r.json* documents; cat documents/a.jsonl; test -c /dev/full && echo device", scratch);
    check(!strstr(out, "r.json\n") && strstr(out, "a.jsonl\n{\"id\":\"a\",\"text\":\"one two\"}\ndevice\n"), "and nothing is changed: %s", out);
    int code = run(out, sizeof out, "cd %s/c; (ulimit -f 8; $OLDPWD/data/stats --png full.png documents 2>&1 >/dev/null); ls full*", scratch);
    check(code && (strstr(out, "is the disk full?") || strstr(out, "gnuplot failed")) && !strstr(out, "full.png\n"), "a picture that is cut off is none: %s", out);
}

static void test_command(void) {
    test_inputs();
    test_outputs();
}
