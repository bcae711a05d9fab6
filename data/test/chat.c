/*
What a conversation becomes, and what is learned from it. #included by test_olmo.c.

    rendering      ids and masks against the official code's: in bytes, and in OLMo's own tokenizer where
                   that has been fetched
    objectives     DPO's check values (ADAPT_SPEC 3.3), the means, the gradient by differences
    invariances    splits, padding, masked positions, identical and swapped pairs, masked prompts
    the program    SFT and DPO on the command line: threads, micro-batches, resume, the reference, .jsonl
                   files that are none, --chat
*/

// ---- rendering -----------------------------------------------------------------------------------

static Conversations *conversations_of(const char *text, int group, const Tokenizer *t, int eos,
                                       int T, int as_released) {
    write_bytes("build/test/chat.jsonl", text, strlen(text));
    return conversations_open("--data", "build/test/chat.jsonl", group, t, eos, T, as_released);
}

// A row as text, labels in upper case, byte 0 as $ (that is a label: as !).
static const char *row_text(const Conversations *c, size_t row) {
    static char text[4096];
    size_t n = 0;
    for (size_t i = c->start[row]; i < c->start[row + 1]; i++) {
        const int label = c->ids[i] >= 0, id = label ? c->ids[i] : ~c->ids[i];
        text[n++] = (char)(id == 0 ? (label ? '!' : '$') : id == '\n' ? (label ? '^' : '|') : label
                           && id >= 'a' && id <= 'z' ? id - 32 : id);
    }
    text[n] = 0;
    return text;
}

// Of all code points, the 29 that Python calls white space.
static void test_white_space(void) {
    static const int spaces[] = {
        9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 0x85, 0xa0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
        0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000,
    };
    size_t found = 0, wrong = 0;
    for (int code = 0; code < 0x110000; code++) {
        char bytes[8] = "";
        const int n = utf8_encode(bytes, code);
        const int expected = found < sizeof spaces/sizeof *spaces && code == spaces[found];
        wrong += space_at(bytes) != (expected ? n : 0), found += (size_t)expected;
    }
    check(!wrong && found == 29, "of all code points the 29 that Python strips are white space (%zu are not)",
          wrong);
}

static void test_rendering(void) {
    test_white_space();
    #define U(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
    #define A(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"
    static const struct {
        const char *what, *messages;
        int as_released;
        const char *expected;
    } rows[] = {
        { "one turn", U("hi there") ", " A("hello!"), 0,
          "$<|user|>|hi there|<|assistant|>|HELLO!!" },
        { "one turn, as released: the header's newline is learned", U("hi there") ", " A("hello!"),
          1, "$<|user|>|hi there|<|assistant|>^HELLO!!" },
        { "two turns: the newline behind EOS is a label",
          "{\"role\": \"system\", \"content\": \"be brief.\"}, " U("a? ") ", " A("b") ", " U(
              "c?") ", " A("d\\n\\ne"),
          0, "$<|system|>|be brief.|<|user|>|a?|<|assistant|>|B!^<|user|>|c?|<|assistant|>|D^^E!" },
        { "two turns, as released: it is not", U("a? ") ", " A("b") ", " U("c?") ", " A("d"), 1,
          "$<|user|>|a?|<|assistant|>^B!|<|user|>|c?|<|assistant|>^D!" },
        { "contents are stripped as Python strips",
          U(" \\t\\u00a0a b\\u2003\\u3000\\n") ", " A("\\u001fc\\r\\n"), 0,
          "$<|user|>|a b|<|assistant|>|C!" },
        { "the user speaks last", U("a") ", " A("b") ", " U("c"), 0,
          "$<|user|>|a|<|assistant|>|B!^<|user|>|c" },
        { "the assistant speaks first, and twice: headers are never labels", A("a") ", " A("b"), 0,
          "$<|assistant|>|A!^<|assistant|>|B!" },
        { "... but as released they are", A("a") ", " A("b"), 1,
          "!<|ASSISTANT|>^A!^<|ASSISTANT|>^B!" },
        { "EOS within a text", U("a\\u0000b") ", " A("c\\u0000d"), 0,
          "$<|user|>|a$b|<|assistant|>|C!D!" },
    };
    char line[1024];
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        snprintf(line, sizeof line, "{\"messages\": [%s]}\n", rows[i].messages);
        Conversations *c = conversations_of(line, 1, NULL, 0, 256, rows[i].as_released);
        check(!strcmp(row_text(c, 0), rows[i].expected), "%s: %s", rows[i].what, row_text(c, 0));
        conversations_free(c);
    }

    // Rows: the shift of labels, the cut, what has no label within it.
    int tokens[64], targets[64], fine = 1;
    const char *three = "{\"messages\": [" U("hi") ", " A("yes") "]}\n\n{\"messages\": [" U(
        "a long question") ", " A("no") "]}\n{\"messages\": [" U("b") "]}\n";
    Conversations *c = conversations_of(three, 1, NULL, 0, 64, 0);
    const Rows all = conversation_rows(c);
    const int n = all.read(all.source, 0, 256, tokens, targets);
    for (int t = 0; t < n; t++)
        fine &= targets[t] == (t >= n - 5 && t < n - 1 ? tokens[t + 1] : IGNORE);
    check(all.groups == 2 && c->dropped == 1 && fine && tokens[n - 1] == 0 && targets[n - 2] == 0 &&
              all.read(all.source, 0, 256, NULL, NULL) == n,
          "targets are the labels one place later: the real EOS is one, once, and nothing follows "
          "it");
    conversations_free(c);
    c = conversations_of(three, 1, NULL, 0, 29, 0);
    check(c->rows == 1 && c->n == 29 && c->dropped == 2 && c->cut == 1,
          "a row is cut at T; cut before its answer, it is dropped and counted");
    conversations_free(c);
    c = conversations_of(three, 1, NULL, 0, 31, 0);
    check(c->rows == 1 && c->n == 31 && c->cut == 0 && c->ids[30] == 0, "a row of T is whole, with its EOS");
    conversations_free(c);
    // Sides of other lengths each way: a mask that belongs to the other side would show.
    c = conversations_of("{\"chosen\": [" U("a") ", " A("yes") "], \"rejected\": [" U("a") ", " A("n") "]}\n"
                         "{\"chosen\": [" U("ab") ", " A("n") "], \"rejected\": [" U("a") ", " A("yes") "]}\n"
                         "{\"chosen\": [" U("a") ", " A("y") "], \"rejected\": [" U("a") "]}\n",
                         2, NULL, 0, 64, 0);
    static const char *const sides[] = { "$<|user|>|a|<|assistant|>|YES!", "$<|user|>|a|<|assistant|>|N!",
                                         "$<|user|>|ab|<|assistant|>|N!", "$<|user|>|a|<|assistant|>|YES!" };
    fine = c->rows == 4 && c->dropped == 1;
    for (size_t i = 0; i < 4 && fine; i++) fine &= !strcmp(row_text(c, i), sides[i]);
    check(fine, "a pair is two rows with a mask each, and one EOS at the end; a pair without a label on "
          "one side is dropped");
    conversations_free(c);

    // What the chat tells the model turn by turn is what SFT has shown it.
    c = conversations_of("{\"messages\": [" U("a?") ", " A("b") ", " U("c?") ", " A("d") "]}\n", 1,
                         NULL, 0, 96, 0);
    Rendering r = rendering_of(0);
    size_t at = 0;
    fine = 1;
    for (int turn = 0; turn < 2; turn++) {
        user_turn(&r, turn == 0, turn ? "c?" : "a?", 2), find_ids(&r, NULL);
        for (size_t i = 0; i < r.n; i++, at++)
            fine &= (c->ids[at] < 0 ? ~c->ids[at] : c->ids[at]) == r.ids[i];
        at += 2;                                            // the answer, and its EOS
    }
    check(fine && at == c->n, "the chat's turns have the ids of the conversations that were learned");
    conversations_free(c), rendering_free(&r);

    // The template takes the place of another, and leaves the rest of tokenizer_config.json as it is.
    static const char old[] = "{\"model_max_length\": 5, \"chat_template\": \"old\", \"eos_token\": \"x\"}";
    Companions with = { { NULL }, { 0 } };
    uint64_t *size;
    const char **config = config_file(&with, &size);
    *config = copy_of(old, strlen(old)), *size = strlen(old);
    set_chat_template(&with, NULL, 0);
    const char *root = json_root(*config, "tokenizer_config.json");
    check(json_number(root, "a test", "model_max_length", 0, 9, NAN) == 5 && !strstr(root, "old") &&
              json_is(json_get(root, "eos_token"), "x") && has_chat_template(&with),
          "a chat_template replaces another one, and nothing else");
    int eos_size = 2, named = 1;
    char eos_text[] = "|E", *tokens_of[] = { eos_text };
    Tokenizer of_one;
    memset(&of_one, 0, sizeof of_one);
    of_one.vocab = 1, of_one.token = tokens_of, of_one.size = &eos_size;
    set_chat_template(&with, &of_one, 0);
    named &= json_is(json_get(json_space(*config), "eos_token"), "x") && !strstr(*config, "|E");
    release((void *)(uintptr_t)*config);
    *config = NULL, *size = 0;
    set_chat_template(&with, &of_one, 0);
    const char *eos_token = json_get(json_space(*config), "eos_token");
    named &= eos_token && json_is(eos_token, "|E");
    check(named, "the text of EOS stands beside it: the one that is there, or the tokenizer's");
    release((void *)(uintptr_t)*config);

    char *text = (char *)allocate(100*128, 1, "a test");
    for (int i = 0; i < 100; i++)
        sprintf(text + strlen(text), "{\"messages\": [" U("%d") ", " A("yes") "]}\n", i);
    Conversations held;
    c = conversations_of(text, 1, NULL, 0, 64, 0);
    Rows train = conversation_rows(c), val = hold_out_conversations(&train, &held);
    val.read(val.source, 0, 256, tokens, targets);
    check(train.groups == 95 && val.groups == 5 && tokens[10] == '9' && tokens[11] == '5',
          "the last twentieth is held out, in the file's order");
    static const struct { size_t rows; int group; uint64_t held, first; } parts[] = {
        { 1, 1, 0, 1 }, { 2, 1, 1, 1 }, { 400, 2, 10, 380 }, { 10000, 1, 256, 9744 },
    };
    fine = 1;
    for (int i = 0; i < 4; i++) {
        Conversations many, view;
        memset(&many, 0, sizeof many);
        many.rows = parts[i].rows, many.group = parts[i].group;
        Rows rest = conversation_rows(&many);
        const Rows part = hold_out_conversations(&rest, &view);
        fine &= part.groups == parts[i].held && view.first == parts[i].first &&
                (rest.groups + part.groups)*(uint64_t)rest.group == parts[i].rows;
    }
    check(fine, "... of two, one; of many, 256; of one, none");
    const uint64_t hash = conversations_hash(c);
    c->start[7]++;
    check(conversations_hash(c) != hash, "a row that ends elsewhere is other data");
    c->start[7]--;
    Batch b = batch_of(&train, 95, 7);
    batch_read(&b, &train, NULL, 0, 95, 256, 0);
    fine = b.order[0]->length < b.order[94]->length;
    for (int k = 1; k < 95; k++) {
        const Row *before = b.order[k - 1], *row = b.order[k];
        fine &= row->length > before->length || (row->length == before->length && row > before);
    }
    check(fine, "an update's rows stand in one order: by length, then by their place");
    batch_free(&b);
    conversations_free(c), release(text);
    #undef U
    #undef A
}

// Many conversations of very different lengths: whoever finds their ids, the rows are the same, in the
// file's order, and each is what its conversation alone becomes.
static void test_rendering_threads(void) {
    enum { ROWS = 1500, LONGEST = 4096, EVERY = 97 };
    const char *path = "build/test/tokenizer.json", *text = "One day Ann had a kite, two drums and 3 balls. ";
    write_byte_tokenizer(path);
    const char *refusal = tokenizer_refusal(path);
    if (refusal) printf("skipped: threads that tokenize: %s\n", refusal);
    Tokenizer *t = refusal ? NULL : tokenizer_load(path);
    for (int group = 1; group <= 2; group++) {
        char *lines = (char *)allocate((size_t)ROWS*LONGEST, 1, "a test"), *line[ROWS + 1];
        const int before = omp_get_max_threads();
        uint64_t hash[4];
        int same = 1;
        line[0] = lines;
        for (int i = 0; i < ROWS; i++) {
            char *p = line[i];
            for (int side = 0; side < group; side++) {
                p += sprintf(p, "%s: [{\"role\": \"user\", \"content\": \"%d",
                             group == 1 ? "{\"messages\"" : side ? "\"rejected\"" : "{\"chosen\"", i);
                for (int k = i*(side + 7) % 29; k > 0; k--) p += sprintf(p, "%s", text + (k + i) % 40);
                p += sprintf(p, "?\"}, {\"role\": \"assistant\", \"content\": \"%d\"}]%s", i*i,
                             side + 1 < group ? ", " : "}\n");
            }
            line[i + 1] = p;
        }
        Conversations *c = NULL;
        for (int threads = 1; threads <= 4; threads += 3) {
            omp_set_num_threads(threads);
            conversations_free(c);
            c = conversations_of(lines, group, t, 0, 2048, 0);
            hash[threads - 1] = conversations_hash(c);
        }
        omp_set_num_threads(before);
        for (int i = 0; i < ROWS; i += EVERY) {
            char *alone = (char *)allocate(LONGEST, 1, "a test");
            memcpy(alone, line[i], (size_t)(line[i + 1] - line[i]));
            Conversations *one = conversations_of(alone, group, t, 0, 2048, 0);
            const int *ids = c->ids + c->start[i*group];
            same &= c->start[(i + 1)*group] - c->start[i*group] == one->n;
            same &= same && !memcmp(ids, one->ids, one->n*sizeof *ids);
            conversations_free(one), release(alone);
        }
        check(c->rows == (size_t)(ROWS*group) && hash[0] == hash[3] && same,
              "%d %s: equal rows by 1 and by 4 threads, each as it is alone", ROWS,
              group == 1 ? "conversations" : "pairs");
        conversations_free(c), release(lines);
    }
    tokenizer_free(t);
}

// An answer ends with EOS, once: by itself, or where --generate cuts it, so that the next turn begins as
// conversations have shown it. The model says abcd behind a newline, and then, for want of better, 0.
static void test_reply(void) {
    static const unsigned char chain[] = "\nabcd";
    static const struct { int most, n; const char *says; } rows[] = { { 2, 3, "ab" }, { 0, 5, "abcd" } };
    Config c = config_of(32, 1, 2, 2, 8, 256, 32, 0, 0, 0);
    Olmo *m = olmo_build(&c, 0);
    c.eos = 0;
    for (int i = 0; i < 4; i++) m->weight.wte[chain[i]*32 + i] = m->weight.head[chain[i + 1]*32 + i] = 1;
    for (int i = 0; i < 2; i++) {
        const Sampling greedy = { 0, 1, 0 };
        int tokens[32] = { 0, '\n' }, past = 0, fine = 1;
        const int n = reply(cpu_model(m, &c), NULL, tokens, 2, &past, rows[i].most, greedy, 0);
        for (int k = 0; k < n - 2; k++) fine &= tokens[2 + k] == rows[i].says[k];
        check(fine && n == 2 + rows[i].n, "an answer %s ends with one EOS: %d tokens",
              rows[i].most ? "that is cut" : "of its own length", n - 2);
    }
    olmo_free(m);

    // To a model of zeros all bytes are equally likely: the id that it draws is the draw's own part of 256.
    c.eos = -1;
    m = olmo_build(&c, 0);
    const Sampling fair = { 1, 1, 0 };
    int tokens[32] = { 7 }, past = 0, drawn = 0;
    const int console = print_into(stdout, "/dev/null");
    const int n = reply(cpu_model(m, &c), NULL, tokens, 1, &past, 20, fair, 5);
    print_again(stdout, console);
    for (int k = 1; k <= 20; k++)
        drawn += tokens[k] == (int)ceil(256*uniform(hash64(hash64(5) + (uint64_t)k))) - 1;
    check(n == 22 && past == 20 && drawn == 20,
          "a token is drawn by the seed and its place: %d of 20", drawn);
    int room[64] = { 7 };
    past = 0;
    const int before = print_into(stdout, "/dev/null");
    const int all = reply(cpu_model(m, &c), NULL, room, 1, &past, INT32_MAX, fair, 5);
    print_again(stdout, before);
    check(all == 32 && !room[32], "an answer ends with the context, however much is asked for: %d", all);
    olmo_free(m);
}

// A device that knows its part, and notes what it has been told, each id once and in its place.
static struct { int told[256], n, in_order; const char *part; } actor;
static void act(void *model, real *logits, const int *tokens, int n, int past) {
    (void)model;
    actor.in_order &= past == actor.n && past + n <= 256;
    for (int i = 0; i < n && actor.n < 256; i++) actor.told[actor.n++] = tokens[i];
    for (int v = 0; v < 256; v++) logits[v] = 0;
    logits[(unsigned char)*actor.part++] = 1;
}

// Turn after turn the cache is told what has been said since, in the form of the conversations that
// were learned: one EOS at the start, one behind every answer. Lines that say nothing are no turns.
static void test_chat(void) {
    static const char turns[] = "a?\n\xff\n  \n\n c?\n"
                                "e? And this one is longer than what is left by now.\nf?\n";
    static const char part[] = "b\xc3\xa9\0d\xff d\0xyz";
    static const char expected[] = "$<|user|>|a?|<|assistant|>|b\xc3\xa9$|"
                                   "<|user|>|c?|<|assistant|>|d\xff d";
    const Sampling greedy = { 0, 1, 0 };
    const Config c = config_of(32, 1, 2, 2, 8, 256, 96, 0, 0, 0);
    Device stage = cpu_device;
    stage.decode = act, actor.n = 0, actor.in_order = 1, actor.part = part;
    write_bytes("build/test/turns", turns, strlen(turns));
    const int console = print_into(stdout, "build/test/replies"), input = dup(0);
    CHECK(freopen("build/test/turns", "r", stdin), "build/test/turns: cannot be read");
    const Model m = { &stage, NULL, &c, NULL };
    chat(m, NULL, greedy, 0, 0);
    char pending[LONGEST_TOKEN + 8];
    size_t waiting = 0, longest = 0;
    for (const char *p = "\xff" "abcdefgh"; *p; p++) {
        print_piece(pending, &waiting, p, 1, 0);
        longest = waiting > longest ? waiting : longest;
    }
    print_again(stdout, console);
    if (input >= 0) dup2(input, 0), close(input);
    char *replies = read_text("build/test/replies"), told[257] = "";
    for (int i = 0; i < actor.n; i++) {
        const int id = actor.told[i];
        told[i] = (char)(id == 0 ? '$' : id == '\n' ? '|' : id);
    }
    told[actor.n] = 0;
    check(actor.in_order && !strcmp(told, expected),
          "a chat tells the model every id once, as learned: %s", told);
    check(!strcmp(replies, "b\xc3\xa9\nd\xef\xbf\xbd d\n"
                           "(the context of 96 tokens is full: the conversation ends here)\n"
                           "\xef\xbf\xbd""abcdefgh"),
          "... prints its answers, and ends where a turn does not fit any more: %s", replies);
    check(longest == 3, "a byte that is no character holds up no more than three");
    release(replies);
}

// What --generate prints: a prompt that was given, and what follows it. By a tokenizer, without the EOS that
// ended it; of bytes, without the blanks that fill up a story; after ids, the new ids alone.
static void test_sample_text(void) {
    static const struct { int tokenizer; const char *prompt, *ids, *part, *says; } rows[] = {
        { 0, "ab", NULL, "cd  \n ", "abcd\n" },
        { 0, NULL, "97,98", "cd  \n ", "99,100,32,32,10,32\n" },
        { 1, "ab", NULL, "cd  \n ", "abcd  \n \n" },
        { 1, "ab", NULL, "cd\0ef", "abcd\n" },
        { 1, NULL, NULL, "cd\0ef", "cd\n" },
        { 1, NULL, NULL, "\0", "\n" },
    };
    static Run run;
    const char *path = "build/test/tokenizer.json";
    const Sampling greedy = { 0, 1, 0 };
    Device stage = cpu_device;
    write_byte_tokenizer(path);
    const char *refusal = tokenizer_refusal(path);
    Tokenizer *t = refusal ? NULL : tokenizer_load(path);
    if (refusal) printf("skipped: samples by a tokenizer: %s\n", refusal);
    stage.decode = act, run.model.device = &stage, run.model.config = &run.o.config;
    run.o.sampling = greedy;
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        if (rows[i].tokenizer && !t) continue;
        run.tokenizer = rows[i].tokenizer ? t : NULL;
        run.o.config = config_of(32, 1, 2, 2, 8, 256, 96, 0, 0, 0);
        run.o.config.eos = rows[i].tokenizer ? 0 : -1;
        run.o.prompt = rows[i].prompt, run.o.prompt_ids = rows[i].ids;
        actor.n = 0, actor.in_order = 1, actor.part = rows[i].part;
        const int console = print_into(stdout, "build/test/sample");
        print_sample(&run, 6);
        print_again(stdout, console);
        char *said = read_text("build/test/sample");
        check(actor.in_order && !strcmp(said, rows[i].says), "a sample%s after %s: \"%.*s\"",
              rows[i].tokenizer ? " by a tokenizer" : "",
              rows[i].ids ? rows[i].ids : rows[i].prompt ? rows[i].prompt : "an EOS",
              (int)strcspn(said, "\n"), said);
        release(said);
    }
    tokenizer_free(t);
}

// At a terminal the chat says how it ends, and when it is the user's turn.
static void test_chat_at_terminal(void) {
    const Config c = config_of(32, 1, 2, 2, 8, 256, 96, 0, 0, 0);
    const Sampling greedy = { 0, 1, 0 };
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    const int there = terminal >= 0 && !grantpt(terminal) && !unlockpt(terminal);
    const int user = there ? open(ptsname(terminal), O_RDWR | O_NOCTTY) : -1;
    Device stage = cpu_device;
    if (user < 0) {
        printf("skipped: a chat at a terminal; there is none to be had here\n");
        return;
    }
    stage.decode = act, actor.n = 0, actor.in_order = 1, actor.part = "yes\0no";
    const int console = print_into(stdout, "build/test/replies"), input = dup(0);
    FILE *const before = stdin;
    dup2(user, 0);
    CHECK((stdin = fdopen(user, "r")) && write(terminal, "a?\nb?\n\4", 7) == 7,
          "a terminal cannot be written to");
    const Model m = { &stage, NULL, &c, NULL };
    chat(m, NULL, greedy, 0, 0);
    fflush(stdout);
    fclose(stdin), stdin = before;
    dup2(console, 1), close(console);
    if (input >= 0) dup2(input, 0), close(input);
    close(terminal);
    char *replies = read_text("build/test/replies");
    check(!strcmp(replies, "Say something; Ctrl-D ends the conversation.\n> yes\n> no\n> "),
          "a chat at a terminal: %s", replies);
    release(replies);
}

// The two conversations that open-instruct's own code rendered and masked, by OLMo's own tokenizer;
// and that pieces make the ids of the whole, for beginnings and ends that try to reach across.
static void test_rendering_official(void) {
    static const char *const path = "data/tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json";
    if (!file_exists(path)) {
        printf("skipped: %s is not here (data/tokenizers.sh fetches it)\n", path);
        return;
    }
    if (tokenizer_refusal(path)) {
        printf("skipped: %s: %s\n", path, tokenizer_refusal(path));
        return;
    }
    Tokenizer *t = tokenizer_load(path);
    char *text = read_text("data/test/golden/golden_sft.json");
    for (const char *one = json_first_of(json_space(text)); one; one = json_next_of(one))
        for (int k = 0; k < 2; k++) {
            const char *messages = json_get(one, "messages"), *ids = json_get(one, "ids");
            const char *labels = json_get(one, k ? "labels_as_released" : "labels_shift_corrected");
            const int length = (int)(json_skip(messages, 0) - messages);
            char *line = (char *)allocate((size_t)length + 32, 1, "a test");
            int m = 0;
            for (int i = 0; i < length; i++) line[m++] = messages[i] == '\n' ? ' ' : messages[i];
            char *json = (char *)allocate((size_t)m + 32, 1, "a test");
            snprintf(json, (size_t)m + 32, "{\"messages\": %s}\n", line);
            Conversations *c = conversations_of(json, 1, t, 50279, 2048, k);
            size_t n = 0;
            int fine = 1;
            for (const char *id = json_first_of(ids), *label = json_first_of(labels); id && label;
                 id = json_next_of(id), label = json_next_of(label), n++) {
                const int expected = atoi(id),
                          learned = atoi(label) >= 0 && n > 0; // the first id is nobody's target
                fine &= n < c->n && (c->ids[n] < 0 ? ~c->ids[n] : c->ids[n]) == expected &&
                        (n == 0 || (c->ids[n] >= 0) == learned);
            }
            check(fine && n == c->n, "golden_sft.json: %zu ids and their labels%s", n,
                  k ? ", as released" : "");
            conversations_free(c), release(line), release(json);
        }
    release(text);

    static const char *const edges[] = { "a",
                                         ".",
                                         "'s",
                                         "7",
                                         "\xcc\x81",
                                         "\xe2\x80\x8b",
                                         "\xf0\x9f\x99\x82",
                                         "<|user|>",
                                         "|>",
                                         "<",
                                         "\xef\xbf\xbd",
                                         "x  y",
                                         "1\n\n2",
                                         "|||IP_ADDRESS|||",
                                         "\xc3\xa9" };
    enum { EDGES = sizeof edges/sizeof *edges };
    Encoder *e = encoder_new(t);
    Rendering r = rendering_of(50279);
    int fine = 1;
    for (int i = 0; i < EDGES; i++) for (int k = 0; k < EDGES; k++) {
        char whole[256];
        snprintf(whole, sizeof whole,
                 "|||IP_ADDRESS|||<|user|>\n%s\n<|assistant|>\n%s|||IP_ADDRESS|||\n<|user|>\n%s",
                 edges[i], edges[k], edges[i]);
        begin_conversation(&r);
        add_header(&r, "user"), add_text(&r, edges[i], strlen(edges[i])), add_text(&r, "\n", 1),
            begin_answer(&r, 0);
        add_text(&r, edges[k], strlen(edges[k])), end_piece(&r, 1), add_piece(&r, 50279, 1);
        add_text(&r, "\n", 1), end_piece(&r, 1), add_header(&r, "user"),
            add_text(&r, edges[i], strlen(edges[i])), end_piece(&r, 0), find_ids(&r, e);
        const size_t n = encode(e, whole, strlen(whole));
        fine &= n == r.n && !memcmp(e->ids, r.ids, n*sizeof(int));
    }
    check(fine, "%d turns that try to reach across: piece by piece they have the ids of the whole",
          EDGES * EDGES);
    rendering_free(&r), encoder_free(e), tokenizer_free(t);
}

// ---- objectives ----------------------------------------------------------------------------------

static void test_objectives(void) {
    static const struct { double beta, delta, loss, g;
    } dpo[] = {
        // ADAPT_SPEC 3.3
        { 0.1, 0, 0.693147181, 0.05 },
        { 0.1, 2, 0.598138869, 0.045016600 },
        { 0.1, -5, 0.974076984, 0.062245933 },
        { 5, 2, 4.53989e-05, 2.26989e-04 },
        { 1, 800, 0, 0 },
        { 1, -800, 800, 1 },
    };
    for (size_t i = 0; i < sizeof dpo/sizeof *dpo; i++) {
        Objective o = dpo_objective(dpo[i].beta);
        Row pair[2];
        double sums[MAX_SUMS] = { 0 };
        memset(pair, 0, sizeof pair);
        pair[0].loss = 10 - dpo[i].delta, pair[1].loss = 20, pair[0].reference = -10,
        pair[1].reference = -20;
        const double count = o.share(&o, pair, sums);
        check(count == 1 && near(sums[0], dpo[i].loss, 5e-10 * fmax(1, dpo[i].loss)) &&
                  near(pair[0].weight, dpo[i].g, 5e-10) && pair[1].weight == -pair[0].weight &&
                  near(sums[4], dpo[i].beta * dpo[i].delta, 1e-9) &&
                  sums[3] == (dpo[i].delta > 0) && near(sums[1] - sums[2], sums[4], 1e-9) &&
                  sums[5] == -pair[0].loss && sums[6] == -pair[1].loss,
              "DPO with beta %g at %g: loss %.9g, weights +-%.9g", dpo[i].beta, dpo[i].delta,
              sums[0], pair[0].weight);
    }
    // Rows of 1, 3 and no label with mean losses 4, 2: a mean over labels is no mean of means, and
    // no label is no NaN.
    Row row[3];
    const double expected[3][2] = { { 10, 4 }, { 10, 30 }, { 6, 2 } };
    for (int k = 0; k < 3; k++) {
        double sums[MAX_SUMS] = { 0 }, denominator = 0;
        memset(row, 0, sizeof row);
        for (int i = 0; i < 3; i++) row[i].length = 10;
        row[0].labels = 1, row[0].loss = 4, row[1].labels = 3, row[1].loss = 6;
        for (int i = 0; i < 3; i++) denominator += objectives[k].share(&objectives[k], &row[i], sums);
        check(sums[0] == expected[k][0] && denominator == expected[k][1] &&
                  row[1].weight == (k == 2 ? 1 / 3.0 : 1) && isfinite(row[2].weight),
              "denominator %s: %g/%g", objectives[k].name, sums[0], denominator);
    }
    static const struct {
        int step;
        double lr;
    } rates[] = { { 1, 0 }, { 6, 0.5 }, { 11, 1 }, { 56, 0.5 }, { 100, 1 / 90.0 }, { 101, 0 } };
    const Recipe r = { "finetune", 1, 0.7, 10, 100, 1, 1, 0, 0.9, 0.999, 1e-8, 0, 0, 0, 1 };
    int fine = 1;
    for (int i = 0; i < 6; i++) fine &= near(learning_rate(&r, rates[i].step), rates[i].lr, 1e-12);
    check(fine, "finetune: 0 at the first update, half, the peak, half, 1/90 at the last "
                "(transformers' linear schedule)");
    Recipe at_once = r;
    at_once.warmup = 0;
    check(learning_rate(&at_once, 1) == 1 && near(learning_rate(&at_once, 100), 0.01, 1e-12),
          "... without warm-up the first update has the peak");
    check(warmup_steps("3%", 8928) == 267 && warmup_steps("10%", 5711) == 571 &&
              warmup_steps("29%", 100) == 29 && warmup_steps("7", 100) == 7,
          "--warmup: steps, or a part of them rounded down");
}

// ---- invariances ---------------------------------------------------------------------------------

static const char *const ragged =
    "{\"chosen\": [{\"role\": \"user\", \"content\": \"how many?\"}, {\"role\": \"assistant\", "
    "\"content\": \"there are two of them\"}],"
    " \"rejected\": [{\"role\": \"user\", \"content\": \"how many?\"}, {\"role\": \"assistant\", "
    "\"content\": \"two\"}]}\n"
    "{\"chosen\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
    "\"content\": \"b\"}],"
    " \"rejected\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
    "\"content\": \"certainly not\"}]}\n"
    "{\"chosen\": [{\"role\": \"user\", \"content\": \"a question that is much longer than the "
    "others\"}, {\"role\": \"assistant\", \"content\": \"ok\"}],"
    " \"rejected\": [{\"role\": \"user\", \"content\": \"a question that is much longer than the "
    "others\"}, {\"role\": \"assistant\", \"content\": \"no, thanks\"}]}\n";

// A run over these rows, ready for its first step.
static Run *run_of(Conversations *c, Objective objective, int batch, int micro) {
    Run *run = (Run *)allocate(1, sizeof *run, "a test");
    Weights unused;
    run->o = options_of_preset("tiny");
    run->o.config = config_of(16, 2, 4, 2, 24, 256, 80, 1, 0, 0), run->o.config.eos = 0;
    Recipe r = { "constant", 1e-2, 0, 0, 9, batch, micro, 0, 0.9, 0.95, 1e-8, 0, 0, 0, 1 };
    run->o.recipe = r, run->o.seed = 5, run->order_epoch = -1;
    run->train = conversation_rows(c), run->objective = run->judge = objective;
    olmo_layout(&run->layout, &unused, NULL, &run->o.config);
    run->model = cpu_model(olmo_build(&run->o.config, 1), &run->o.config);
    model_init(run);
    return run;
}
static void run_free(Run *run) { olmo_free((Olmo *)run->model.handle), release(run->order), release(run); }

// The gradient of one update over all groups, with the log-probabilities of the model itself as
// reference, moved by `shift` for the chosen rows. Returns the objective's value.
static double gradient_of(Run *run, real *grads, double shift) {
    const Rows *rows = &run->train;
    double *reference = (double *)allocate(2 * rows->groups, sizeof *reference, "a test"),
           sums[MAX_SUMS] = { 0 };
    Batch b = batch_of(rows, (int)rows->groups, run->o.recipe.micro_batch);
    Olmo *m = (Olmo *)run->model.handle;
    batch_read(&b, rows, NULL, 0, (int)rows->groups, 256, 0);
    batch_through(run, &b, 0);
    for (int r = 0; r < b.n; r++) b.row[r].reference = -b.row[r].loss + (r % 2 ? 0 : shift);
    const double denominator = objective_weigh(&run->objective, &b);
    clear_grads(m);
    batch_through(run, &b, 1);
    (void)objective_sums(&run->objective, &b, sums);
    if (grads) memcpy(grads, m->grads, m->layout.size*sizeof(real));
    batch_free(&b), release(reference);
    return sums[0]/denominator;
}

static void test_adaptation_bits(void) {
    const struct { const char *name; Objective objective; int group;
    } cases[] = {
        { "SFT", objectives[0], 1 },
        { "SFT by sequences", objectives[2], 1 },
        { "DPO", dpo_objective(0.1), 2 },
    };
    for (int k = 0; k < 3; k++) {
        Conversations *c = conversations_of(ragged, 2, NULL, 0, 80, 0);
        c->group =
            cases[k].group; // each side a conversation of its own, where pairs are not wanted
        real *first = NULL;
        size_t size = 0;
        int fine = 1, ways = 0;
        for (int micro = 1; micro <= 6 / cases[k].group; micro++)
            for (int threads = 1; threads <= 3; threads += 2) {
                const int before = omp_get_max_threads();
                omp_set_num_threads(threads);
                Run *run = run_of(c, cases[k].objective, 5 / cases[k].group, micro);
                Batch b = batch_of(&run->train, run->o.recipe.batch, micro);
                Metrics metrics = { NULL, 0, 0 };
                for (int s = 0; s < 4; s++) metrics.n = 0, train_step(run, &b, &metrics);
                const Olmo *m = (const Olmo *)run->model.handle;
                size = m->layout.size;
                if (!first) {
                    first = noise_reals(size, 0, 0);
                    memcpy(first, m->params, size * sizeof(real));
                }
                fine &= same_bits(first, m->params, size), ways++;
                batch_free(&b), release(metrics.list), run_free(run);
                omp_set_num_threads(before);
            }
        check(fine,
              "%s: %d ways to split rows of different lengths into passes and threads, equal bits "
              "after four updates",
              cases[k].name, ways);
        release(first), conversations_free(c);
    }

    // Longer padding changes no bit; a masked position's dlogits are zero.
    Config config = config_of(16, 2, 4, 2, 24, 256, 80, 0, 0, 0);
    Conversations *c = conversations_of(ragged, 2, NULL, 0, 80, 0);
    const Rows rows = conversation_rows(c);
    int tokens[80], targets[80], fine = 1, zero = 1;
    real weights[80], losses[80], zlosses[80], *grads[2];
    const int n = rows.read(rows.source, 0, 256, tokens, targets);
    for (int t = n; t < 80; t++) tokens[t] = 0, targets[t] = IGNORE;
    for (int t = 0; t < 80; t++) weights[t] = (real)(targets[t] >= 0 ? 0.25 : 0);
    for (int k = 0; k < 2; k++) {
        const int T = k ? 80 : n;
        Olmo *m = olmo_build(&config, 1);
        golden_weights(m);
        olmo_forward(m, losses, zlosses, tokens, targets, weights, 1, T);
        for (int t = 0; t < T; t++)
            for (int v = 0; v < 256; v++)
                zero &= weights[t] != 0 || m->acts.logits[(size_t)t * 256 + (size_t)v] == 0;
        olmo_backward(m);
        grads[k] = noise_reals(m->layout.size, 0, 0);
        for (size_t i = 0; i < m->layout.size; i++) grads[k][i] = m->grads[i] + 0;
        if (k) for (size_t i = 0; i < m->layout.size; i++) fine &= grads[0][i] == grads[1][i];
        olmo_free(m);
    }
    check(fine, "padding a row from %d to 80 tokens changes no bit of the gradient", n);
    check(zero, "the logits of a position without a label have a gradient of exactly zero");
    release(grads[0]), release(grads[1]);

    // What DPO's gradient must do.
    Run *run = run_of(c, dpo_objective(0.1), 3, 1);
    const size_t size = run->layout.size;
    real *a = noise_reals(size, 0, 0), *b = noise_reals(size, 0, 0);
    const double loss = gradient_of(run, a, 0), norm = norm_of(a, size);
    check(near(loss, log(2), 1e-12) && norm > 1e-4,
          "at the reference DPO's loss is ln 2 for every pair, and its gradient is not zero: %.6g",
          norm);
    int *ids = (int *)allocate(c->n, sizeof(int), "a test");
    memcpy(ids, c->ids, c->n*sizeof(int));
    size_t start[7], at = 0;
    memcpy(start, c->start, sizeof start);
    for (int r = 0; r < 6; r++) {                           // chosen and rejected change places
        const int from = r ^ 1;
        memcpy(c->ids + at, ids + start[from], (start[from + 1] - start[from])*sizeof(int));
        c->start[r] = at, at += start[from + 1] - start[from];
    }
    (void)gradient_of(run, b, 0);
    for (size_t i = 0; i < size; i++) b[i] += a[i];
    check(norm_of(b, size) < 64 * unit_roundoff * norm,
          "swapping chosen and rejected negates the gradient: the sum is %.3g of it",
          norm_of(b, size) / norm);
    memcpy(c->ids, ids, c->n*sizeof(int)), memcpy(c->start, start, sizeof start);
    (void)gradient_of(run, a, 0.5);
    for (size_t i = 0; i < c->n; i++)
        if (ids[i] < 0) c->ids[i] = ~ids[i]; // prompts are labels, too
    (void)gradient_of(run, b, 0.5);
    for (size_t i = 0; i < size; i++) b[i] -= a[i];
    check(
        norm_of(b, size) < 1000 * unit_roundoff * norm,
        "masking or keeping the prompt leaves the gradient as it is: the difference is %.3g of it",
        norm_of(b, size) / norm);
    memcpy(c->ids, ids, c->n*sizeof(int));
    run_free(run);

    // The same text on both sides.
    const char *twin = "{\"role\": \"user\", \"content\": \"a?\"}, {\"role\": \"assistant\", "
                       "\"content\": \"b c d\"}";
    char line[512];
    snprintf(line, sizeof line, "{\"chosen\": [%s], \"rejected\": [%s]}\n", twin, twin);
    Conversations *same = conversations_of(line, 2, NULL, 0, 80, 0);
    run = run_of(same, dpo_objective(0.1), 1, 1);
    (void)gradient_of(run, b, 0);
    check(norm_of(b, size) < 64 * unit_roundoff * norm,
          "a pair of identical answers has a gradient within rounding of zero: %.3g",
          norm_of(b, size));
    run_free(run), conversations_free(same), conversations_free(c), release(ids), release(a),
        release(b);
}

// d loss/dw by differences, for DPO and for the mean of means; and updates that move what they should.
static void test_adaptation_differences(void) {
    const struct { const char *name; Objective objective; double shift; } cases[] = {
        { "DPO", dpo_objective(0.5), 0.7 }, { "SFT by sequences", objectives[2], 0 },
    };
    for (int k = 0; k < 2; k++) {
        Conversations *c = conversations_of(ragged, 2, NULL, 0, 80, 0);
        if (k == 1) c->group = 1;
        Run *run = run_of(c, cases[k].objective, 3, 2);
        const size_t size = run->layout.size;
        Olmo *m = (Olmo *)run->model.handle;
        real *g = noise_reals(size, 0, 0), *u = noise_reals(size, 77, 1), *w = noise_reals(size, 0, 0);
        double fixed[6], moved[2], slope = 0;
        // The reference stays where it was while the weights move.
        Batch b = batch_of(&run->train, (int)run->train.groups, 2);
        batch_read(&b, &run->train, NULL, 0, (int)run->train.groups, 256, 0);
        batch_through(run, &b, 0);
        for (int r = 0; r < 6; r++) fixed[r] = -b.row[r].loss + (r % 2 ? 0 : cases[k].shift);
        memcpy(w, m->params, size*sizeof(real));
        for (int side = -1; side <= 1; side++) {
            const double h = 1e-5;
            double sums[MAX_SUMS] = { 0 };
            for (size_t i = 0; i < size; i++) m->params[i] = w[i] + (real)(side*h)*u[i];
            batch_through(run, &b, 0);
            for (int r = 0; r < 6; r++) b.row[r].reference = fixed[r];
            const double denominator = objective_weigh(&run->objective, &b);
            (void)objective_sums(&run->objective, &b, sums);
            if (side) { moved[side > 0] = sums[0]/denominator; continue; }
            clear_grads(m);
            batch_through(run, &b, 1);
            memcpy(g, m->grads, size*sizeof(real));
        }
        for (size_t i = 0; i < size; i++) slope += (double)g[i]*(double)u[i];
        const double numerical = (moved[1] - moved[0])/2e-5;
        check(fabs(numerical / slope - 1) < 1e-6,
              "%s: a directional difference of %.9g, and the gradient says %.9g", cases[k].name,
              numerical, slope);
        batch_free(&b), run_free(run), conversations_free(c), release(g), release(u), release(w);
    }
}

static void test_adaptation_learns(void) {
    Conversations *c = conversations_of(ragged, 2, NULL, 0, 80, 0);
    Run *run = run_of(c, dpo_objective(0.1), 3, 3);
    double reference[6], margin = 0;
    Batch b = batch_of(&run->train, 3, 3);
    Metrics metrics = { NULL, 0, 0 };
    batch_read(&b, &run->train, NULL, 0, 3, 256, 0);
    batch_through(run, &b, 0);
    for (int r = 0; r < 6; r++) reference[r] = -b.row[r].loss;
    run->train.reference = reference, run->o.recipe.lr = 1e-3;
    int grows = 1;
    for (int s = 0; s < 5; s++) {
        metrics.n = 0, train_step(run, &b, &metrics);
        const double now = value_of(&metrics, "rewards/margins");
        grows &= s == 0 ? now == 0 && near(value_of(&metrics, "train/DPOLoss"), log(2), 1e-12) &&
                              value_of(&metrics, "rewards/accuracies") == 0
                        : now > margin;
        margin = now;
    }
    check(grows,
          "five updates of DPO: the margin begins at 0, with no pair won and a loss of ln 2, and "
          "grows to %.3g",
          margin);
    check(b.micro == 6 && run->at.tokens == 5*c->n,
          "--micro-batch counts pairs, and both sides are tokens seen");
    const Progress before = run->at;
    asked_to_stop = 1;
    const int done = train_step(run, &b, &metrics);
    asked_to_stop = 0;
    check(!done && !memcmp(&before, &run->at, sizeof before), "an update that is given up has not been");
    batch_free(&b), run_free(run);

    release(metrics.list), conversations_free(c);
}

// ---- the program ---------------------------------------------------------------------------------

static const char *const small = "--d-model 32 --n-layers 2 --n-heads 4 --mlp-hidden 64 --seq-len "
                                 "96 --sample-every 0 --val none";

static void write_conversations(const char *path, int n, int pairs) {
    static const char *const words[] = { "red", "blue", "green", "white" };
    FILE *file = open_to_write(path);
    for (int i = 0; i < n; i++) {
        const char *word = words[i % 4], *user = "{\"role\": \"user\", \"content\": \"%s %d?\"}, "
                                                 "{\"role\": \"assistant\", \"content\": \"%s\"}]";
        char a[64];
        snprintf(a, sizeof a, "It is %s.", word);
        fprintf(file, pairs ? "{\"chosen\": [" : "{\"messages\": [");
        fprintf(file, user, word, i % 4 ? i : 0, pairs ? a : word);
        if (pairs) fprintf(file, ", \"rejected\": ["), fprintf(file, user, word, i % 4 ? i : 0, word);
        fprintf(file, "}\n");
    }
    close_written(file, path);
}

// Twelve updates beside dev/reference/adapt.py's, which shares nothing with us but the weights and
// the data: within 1e-4, rewards absolutely, everything else relatively.
static void beside_pytorch(void) {
    static const struct { const char *name, *flags;
    } kinds[] = {
        { "predicted", "--data %s/chat.jsonl" },
        { "sequences", "--denominator sequences --data %s/chat.jsonl" },
        { "dpo", "--dpo %s/pairs.jsonl" },
    };
    char golden[PATH], path[PATH], flags[2*PATH];
    path_join(golden, home, "data/test/golden/adapt"), path_join(path, golden, "updates.json");
    char *theirs = read_text(path);
    for (int k = 0; k < 3; k++) {
        snprintf(flags, sizeof flags, kinds[k].flags, golden);
        int code = train_olmo("--load %s %s --val none --steps 12 --batch 8 --micro-batch 3 --lr "
                              "1e-3 --warmup 3 --schedule finetune --sample-every 0 "
                              "--out beside",
                              golden, flags),
            lines = 0, values = 0;
        CHECK(went_well(code), "a test could not train: %s", complained);
        char *ours = slurp("beside/metrics.jsonl", NULL), *line = ours;
        double worst = 0;
        for (const char *step = json_first_of(json_get(json_space(theirs), kinds[k].name)), *name;
             step && *line; step = json_next_of(step), lines++) {
            for (const char *value = json_first(step, &name); value;
                 value = json_next(value, &name), values++) {
                char bare[64];
                snprintf(bare, sizeof bare, "%.*s", (int)(json_skip(name, 0) - name) - 2, name + 1);
                const char *mine = json_get(line, bare);
                const double a = mine ? strtod(mine, NULL) : NAN, b = strtod(value, NULL);
                worst = larger(worst, fabs(a - b) /
                                          (strncmp(bare, "rewards", 7) ? fmax(fabs(b), 1e-6) : 1));
            }
            line += strcspn(line, "\n") + 1;
        }
        check(worst < 1e-4 && lines == 12 && values >= 36,
              "%s beside PyTorch, 12 updates: %d values within %.1e", kinds[k].name, values, worst);
        release(ours);
    }
    release(theirs);
}

static void hostile_conversations(void) {
    #define HI "{\"role\": \"user\", \"content\": \"hi\"}"
    static const struct { const char *what, *line, *says;
    } rows[] = {
        { "no JSON", "hello", "line 2: expected one JSON object" },
        { "an array", "[1]", "line 2: expected one JSON object" },
        { "a line that is cut off", "{\"messages\": [" HI, "line 2: expected one JSON object" },
        { "two objects in a line", "{\"messages\": [" HI "]} {}",
          "line 2: expected one JSON object" },
        { "no messages", "{\"id\": 1}", "line 2: expected \"messages\"" },
        { "empty messages", "{\"messages\": []}", "holds no message" },
        { "messages that are none", "{\"messages\": \"hi\"}", "to be an array" },
        { "a message that is none", "{\"messages\": [" HI ", 7]}", "message 2" },
        { "a role that nobody knows", "{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}",
          "system, user or assistant, found \"tool\"" },
        { "no role", "{\"messages\": [{\"content\": \"a\"}]}",
          "system, user or assistant, found none" },
        { "no content", "{\"messages\": [{\"role\": \"user\"}]}",
          "a string \"content\", found none" },
        { "content null", "{\"messages\": [{\"role\": \"user\", \"content\": null}]}",
          "a string \"content\", found null" },
        { "empty content", "{\"messages\": [{\"role\": \"user\", \"content\": \" \\n\"}]}",
          "message 1 (user) says nothing" },
        { "two roles", "{\"messages\": [{\"role\": \"user\", \"role\": \"assistant\", \"content\": \"a\"}]}",
          "\"role\" stands twice" },
        { "two contents", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\", \"content\": \"b\"}]}",
          "\"content\" stands twice" },
        { "messages twice", "{\"messages\": [" HI "], \"id\": 1, \"messages\": [" HI "]}",
          "line 2: \"messages\" stands twice" },
        { "half a \\u",
          "{\"messages\": [{\"role\": \"user\", \"content\": \"\\u12\"}]}", "without four digits" },
        { "half a surrogate pair",
          "{\"messages\": [{\"role\": \"user\", \"content\": \"\\ud83d\"}]}", "lone surrogate" },
        { "bytes that are not UTF-8",
          "{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}",
          "line 2: expected UTF-8" },
    };
#undef HI
    const char *first = "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": "
                        "\"assistant\", \"content\": \"yes\"}]}\n";
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        FILE *file = open_to_write("bad.jsonl");
        fprintf(file, "%s%s\n", first, rows[i].line);
        close_written(file, "bad.jsonl");
        refuses(rows[i].what, "bad.jsonl", rows[i].says, "%s --data bad.jsonl --steps 1", small);
    }
    char *deep = (char *)allocate(70 << 20, 1, "a test");
    memset(deep, '[', 100000), memcpy(deep + 100000, "\n", 2);
    write_text("bad.jsonl", deep);
    refuses("100,000 brackets", "bad.jsonl", "too deep", "%s --data bad.jsonl --steps 1", small);
    memset(deep, ' ', 66 << 20);
    write_bytes("bad.jsonl", deep, 66 << 20);
    refuses("a line of 69 MB", "bad.jsonl", "MB in one line", "%s --data bad.jsonl --steps 1", small);
    release(deep);
    write_bytes("bad.jsonl", "{\"messages\": \0}\n", 17);
    refuses("a NUL byte", "bad.jsonl", "NUL byte", "%s --data bad.jsonl --steps 1", small);
    system_or_die("printf '\\357\\273\\277' > marked.jsonl && sed 's/$/\\r/' chat.jsonl >> marked.jsonl");
    char hash[64];
    for (int i = 0; i < 2; i++) {
        const char *file = i ? "marked.jsonl" : "chat.jsonl";
        CHECK(went_well(train_olmo("%s --data %s --steps 1 --out marked", small, file)),
              "a test could not train: %s", complained);
        if (!i) snprintf(hash, sizeof hash, "%s", last_line(said));
    }
    check(!strcmp(last_line(said), hash), "Windows' files: a mark in front and a CR per line change nothing");
    write_text("bad.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n");
    refuses("nothing to learn", "bad.jsonl", "has anything to learn",
            "%s --data bad.jsonl --steps 1", small);
    // Rows that teach nothing, or not all of what they say, are counted on the console.
    char lines[2048];
    int length = sprintf(lines, "%s{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n"
                         "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, "
                         "{\"role\": \"assistant\", \"content\": \"", first);
    memset(lines + length, 'y', 900), strcpy(lines + length + 900, "\"}]}\n");
    write_text("bad.jsonl", lines);
    int code = train_olmo("%s --data bad.jsonl --val none --steps 1 --out counted", small);
    check(went_well(code) && strstr(said, "dropped: 1 without a label on any token\n") &&
              strstr(said, "cut: 1 rows are longer than --seq-len "),
          "conversations without an answer, and too long ones, are counted");
    system_or_die("rm -rf counted");
    write_text("bad.jsonl", "");
    refuses("an empty file", "bad.jsonl", "empty", "%s --data bad.jsonl --steps 1", small);
    refuses("pairs where conversations are asked for", "pairs.jsonl", "expected \"messages\"",
            "%s --data pairs.jsonl --steps 1", small);
    refuses("conversations where pairs are asked for", "chat.jsonl", "expected \"chosen\"",
            "%s --dpo chat.jsonl --steps 1", small);
    refuses("--label-mask beside conversations", "--label-mask", "know their labels",
            "%s --data chat.jsonl --label-mask mask.bin --steps 1", small);
    system_or_die("cp pairs.jsonl pairs.txt");
    refuses("pairs by another name", "pairs.txt", "a name that ends in .jsonl",
            "%s --dpo pairs.txt --steps 1", small);
    refuses("--dpo beside --data", "--dpo and --data", "only one",
            "%s --dpo pairs.jsonl --data chat.jsonl --steps 1", small);
    refuses("--dpo-beta 0", "--dpo-beta 0", "nothing is learned",
            "%s --dpo pairs.jsonl --dpo-beta 0 --steps 1", small);
    refuses("--dpo-beta alone", "--dpo-beta", "--dpo PAIRS.jsonl",
            "%s --data chat.jsonl --dpo-beta 1 --steps 1", small);
    refuses("a warm-up that is none", "--warmup", "3%", "%s --data chat.jsonl --warmup x --steps 1",
            small);
    refuses("a warm-up of more than all", "--warmup", "3%",
            "%s --data chat.jsonl --warmup 120%% --steps 1", small);
}

static void test_adaptation(void) {
    char hash[64];
    enter_yard();
    write_conversations("chat.jsonl", 22, 0), write_conversations("pairs.jsonl", 22, 1);
    write_text("four.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a?\"}, "
                             "{\"role\": \"assistant\", \"content\": \"blue\"},"
                             " {\"role\": \"user\", \"content\": \"b?\"}, {\"role\": "
                             "\"assistant\", \"content\": \"green\"}]}\n"
                             "{\"messages\": [{\"role\": \"user\", \"content\": \"c?\"}, "
                             "{\"role\": \"assistant\", \"content\": \"red\"}]}\n");

    // By heart, and said again: one turn after the other through the cache, each ending by itself.
    CHECK(went_well(train_olmo("%s --data four.jsonl --steps 150 --lr 1e-2 --warmup 10 --out sft",
                               small)),
          "a test could not train: %s", complained);
    check(
        strstr(said, "data: 2 conversations of at most 96 tokens in 1 file, none for validation") !=
            NULL,
        "conversations are counted");
    write_text("turns", "a?\n\n  b?  \nc?\n");
    CHECK(went_well(train_olmo("--load sft/latest --chat --temperature 0 < turns")),
          "a test could not chat: %s", complained);
    check(!strncmp(said, "blue\ngreen\n", 11) && !strstr(complained, "chat_template"),
          "two conversations by heart, and one said again, turn by turn: %.30s", said);
    int code = train_olmo("--load sft/latest --chat --temperature 0 --generate 2 < turns");
    check(went_well(code) && !strncmp(said, "bl\n", 3), "--generate limits an answer");
    check(json_get(
              json_root(slurp("sft/latest/tokenizer_config.json", NULL), "tokenizer_config.json"),
              "chat_template") != NULL,
          "what was fine-tuned carries a chat_template");
    CHECK(went_well(train_olmo("%s --data ids.bin --dtype uint16 --steps 1 --out plain --vocab 64",
                               small)),
          "a test could not train: %s", complained);
    CHECK(went_well(
              train_olmo("%s --data %s/data/stories_val.txt --steps 1 --out plain", small, home)),
          "a test could not train: %s", complained);
    code = train_olmo("--load plain/latest --chat < turns");
    check(went_well(code) && strstr(complained, "never tuned on conversations"),
          "a model that has none is said to have none, and chats");
    check(strstr(said, "the context of 96 tokens is full") != NULL, "a full context is said");

    // An epoch's last batch is kept, and be it a single conversation: 22 of them have as many tokens in
    // batches of 7 as in one of 22.
    double tokens[2];
    for (int i = 0; i < 2; i++) {
        CHECK(went_well(train_olmo("--load sft/latest --val none --sample-every 0 --data chat.jsonl "
                                   "--batch %d --epochs 1 --no-save --out once%d", i ? 7 : 22, i)),
              "a test could not train: %s", complained);
        char path[32];
        snprintf(path, sizeof path, "once%d/metrics.jsonl", i);
        const char *line = slurp(path, NULL), *at = NULL;
        while ((line = strstr(line, "throughput/total_tokens\": ")) != NULL) at = line += 26;
        tokens[i] = at ? atof(at) : -i;
    }
    check(tokens[0] > 0 && tokens[0] == tokens[1],
          "22 conversations in batches of 7: %.0f tokens, in one batch %.0f", tokens[1], tokens[0]);

    // 22 conversations in batches of 8 are 3 updates, of 8, 8 and 6.
    static const char *const runs[][2] = {
        { "SFT", "--data chat.jsonl --lr 1e-3" },
        { "SFT as released, by sequences",
          "--data chat.jsonl --lr 1e-3 --as-released --denominator sequences" },
        { "DPO", "--dpo pairs.jsonl --lr 1e-3" },
    };
    static const char *const changes[] = { "", "--threads 2", "--threads 3 --micro-batch 4",
                                           "--micro-batch 3" };
    char *metrics[3];
    for (int k = 0; k < 3; k++) {
        code = train_olmo("--load sft/latest --val none --sample-every 0 %s --batch 8 --epochs 2 "
                          "--warmup 2 --save-every 2 --out straight",
                          runs[k][1]);
        CHECK(went_well(code), "a test could not train: %s", complained);
        check(strstr(said, "6 steps of 8") && strstr(said, "finetune, 2 steps of warm-up"),
              "%s: two epochs of 22 in batches of 8 are 6 steps: the rest is kept", runs[k][0]);
        snprintf(hash, sizeof hash, "%s", last_line(said));
        metrics[k] = slurp("straight/metrics.jsonl", NULL);
        for (size_t i = 0; i < sizeof changes/sizeof *changes; i++) {
            system_or_die("rm -rf killed && mkdir killed && cp -r straight/step4 killed && cp "
                          "straight/*.safetensors killed 2>/dev/null; head -n 5 "
                          "straight/metrics.jsonl > killed/metrics.jsonl");
            code = train_olmo("--out killed --resume %s", changes[i]);
            check(went_well(code) && !strcmp(last_line(said), hash) &&
                      same_checkpoints("straight/step6", "killed/step6") &&
                      same_metrics("straight", "killed"),
                  "%s resumed at step 4 of 6%s%s: equal bits, and the same metrics: %.60s",
                  runs[k][0], *changes[i] ? ", now with " : "", changes[i],
                  code ? complained : last_line(said));
        }
        system_or_die("rm -rf straight");
    }
    check(strstr(metrics[0], "\"optim/learning_rate_group0\": 0,") &&
              strcmp(metrics[0], metrics[1]),
          "the first update of finetune has rate 0; other labels are other losses");
    static const char *const names[] = { "\"train/DPOLoss\": 0.693147181",
                                         "\"rewards/chosen\": 0",
                                         "\"rewards/rejected\": 0",
                                         "\"rewards/accuracies\": 0",
                                         "\"rewards/margins\": 0",
                                         "\"logps/chosen\": -",
                                         "\"logps/rejected\": -",
                                         "\"optim/total_grad_norm\": ",
                                         "\"optim/learning_rate_group0\": ",
                                         "\"throughput/total_tokens\": " };
    int named = 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        named &=
            strstr(metrics[2], names[i]) && strstr(metrics[2], names[i]) < strchr(metrics[2], '\n');
    check(named, "DPO's metrics by TRL's names; at the reference the loss is ln 2 and every reward 0");
    for (int k = 0; k < 3; k++) release(metrics[k]);

    CHECK(went_well(train_olmo("--load sft/latest --data chat.jsonl --val none --sample-every 0 "
                               "--steps 1 --out one")),
          "a test could not train: %s", complained);
    check(strstr(said, "1 steps of 22 sequences") != NULL, "a recipe's batch is never larger than the data");
    system_or_die("sed 's/red/rot/' chat.jsonl > rot.jsonl");
    refuses("a resumed run with other conversations", "rot.jsonl", "was made with",
            "--out one --resume --steps 2 --data rot.jsonl");

    // The reference: one that is half computed goes on; one that belongs to other pairs is made
    // anew, or refused by a resumed run.
    int fine;
    const char *without_val = "--load sft/latest --dpo pairs.jsonl --sample-every 0 --steps 2 "
                              "--batch 4 --lr 1e-3";
    const char *dpo = "--load sft/latest --dpo pairs.jsonl --val none --sample-every 0 --steps 2 "
                      "--batch 4 --lr 1e-3";
    CHECK(went_well(train_olmo("%s --out a", dpo)), "a test could not train: %s", complained);
    snprintf(hash, sizeof hash, "%s", last_line(said));
    size_t size;
    char *file = slurp("a/reference.safetensors", &size);
    Safetensors *st = safetensors_open("a/reference.safetensors");
    const Entry *train = safetensors_find(st, "train"), *val = safetensors_find(st, "validation");
    const double *log_p = (const double *)(const void *)(file + st->data);
    int sound = st->n == 2 && train && train->rows == 22 && train->cols == 2 && val && val->rows == 0
        && st->data == 1024;
    sound &= train && !strcmp(dtypes[train->type].safetensors, "F64") && val
        && !strcmp(dtypes[val->type].safetensors, "F64");
    for (int i = 0; sound && i < 44; i++) sound &= log_p[i] < 0 && log_p[i] > -1000;
    check(sound, "the reference is a safetensors file: 22 pairs of log p");
    safetensors_close(st);
    code = train_olmo("--load sft/latest --data chat.jsonl --val none --steps 0 --sample-every 0 --out none");
    const char *params = strstr(file + 8, "\"params\":\"") + strlen("\"params\":\"");
    check(went_well(code) && !strncmp(last_line(said) + strlen("params hash 0x"), params, 16)
          && params[16] == '"', "of the weights that training began with: %.16s", params);
    const double unknown = NAN;
    make_directory("b");
    for (size_t at = 1024 + 8*7; at < size; at += 8*3) memcpy(file + at, &unknown, 8);
    write_bytes("b/reference.safetensors", file, size);
    code = train_olmo("%s --out b", dpo);
    char *whole = slurp("b/reference.safetensors", NULL),
         *made = slurp("a/reference.safetensors", NULL);
    check(went_well(code) && !strcmp(last_line(said), hash) && !memcmp(whole, made, size),
          "a reference that was interrupted goes on where it was");
    write_conversations("others.jsonl", 22, 1),
        system_or_die("sed -i 's/It is/That is/' others.jsonl && rm -r b/step* b/metrics.jsonl");
    code = train_olmo("--load sft/latest --dpo others.jsonl --val none --sample-every 0 --steps 2 "
                      "--batch 4 --lr 1e-3 --out b");
    release(whole), whole = slurp("b/reference.safetensors", NULL);
    check(went_well(code) && memcmp(whole, made, size), "a reference of other pairs is not used");
    // One that has lost numbers cannot be made whole by weights that have moved on.
    write_bytes("a/reference.safetensors", file, size);
    refuses("a resumed run with half a reference", "reference.safetensors", "numbers are missing",
            "--out a --resume --steps 3");
    const pid_t pid = start_olmo("--load sft/latest --dpo pairs.jsonl --val none --sample-every 0 --batch 4 "
                                 "--steps 100000000 --out shrinks");
    wait_for_metrics("shrinks/metrics.jsonl", 1000);
    CHECK(truncate("shrinks/reference.safetensors", 0) == 0, "shrinks: %s", strerror(errno));
    code = wait_for(pid);
    check(code == 1 && strstr(complained, "error: shrinks/reference.safetensors: became shorter"),
          "a reference that shrinks while it is read: code %d", code);
    write_bytes("a/reference.safetensors", file, size - 8);
    refuses("a resumed run with a reference that is cut off", "reference.safetensors", "found another file",
            "--out a --resume --steps 3");
    system_or_die("rm a/reference.safetensors");
    refuses("a resumed run without its reference", "reference.safetensors", "found none",
            "--out a --resume --steps 3");
    release(file), release(whole), release(made);
    code = train_olmo("--load sft/latest --dpo pairs.jsonl --sample-every 0 --steps 2 --batch 4 "
                      "--lr 1e-3 --warmup 1 --eval-every 1 --out c");
    st = safetensors_open("c/reference.safetensors");
    train = safetensors_find(st, "train"), val = safetensors_find(st, "validation");
    check(train && train->rows == 21 && train->begin == 0 && val && val->rows == 1 && val->cols == 2
          && val->begin == 21*16, "and behind them those for validation");
    safetensors_close(st);
    char *last = slurp("c/metrics.jsonl", NULL);
    check(went_well(code) && strstr(last, "\"eval/DPOLoss\": ") &&
              strstr(last, "\"eval/rewards/accuracies\": ") && strstr(said, "21 pairs"),
          "one pair of 22 is held out, and judged by the same measures");
    check(strstr(said, "\nrecipe dpo: ") != NULL, "weights that have learned go on by DPO's recipe");
    last[strcspn(last, "\n")] = 0;
    check(strstr(last, "\"eval/DPOLoss\": 0.693147181,") && strstr(last, "\"eval/rewards/chosen\": 0,") &&
              strstr(last, "\"eval/rewards/rejected\": 0,"),
          "beside a reference of its own: before anything has moved, no reward");
    release(last);
    code = train_olmo("%s --val pairs.jsonl --out d", without_val);
    made = slurp("d/reference.safetensors", &size);
    system_or_die("rm -r d/step* d/metrics.jsonl");
    code += train_olmo("%s --val others.jsonl --out d", without_val);
    whole = slurp("d/reference.safetensors", NULL);
    check(went_well(code) && !memcmp(made + 1024, whole + 1024, 22*16) && memcmp(made + 1024 + 22*16,
                                                                           whole + 1024 + 22*16, 22*16),
          "a reference of other pairs for validation is not used");
    release(made), made = whole;
    system_or_die("rm -r d/step* d/metrics.jsonl");
    code = train_olmo("--load plain/latest --dpo pairs.jsonl --sample-every 0 --steps 1 --batch 4 "
                      "--val others.jsonl --out d");
    whole = slurp("d/reference.safetensors", NULL);
    fine = went_well(code);
    for (size_t at = 1024; at < size; at += 8) fine &= memcmp(made + at, whole + at, 8) != 0;
    check(fine, "... nor one of other weights");
    release(whole), release(made);
    code = train_olmo("--load sft/latest --eval --val chat.jsonl");
    check(went_well(code) && strstr(said, " tokens 114\n"),
          "--eval on conversations: the loss of their labels: %.*s", (int)strcspn(said, "\n"),
          said);
    const double by_label = atof(said + strlen("val loss "));
    code = train_olmo("--load sft/latest --data chat.jsonl --denominator sequences --val chat.jsonl "
                      "--steps 1 --warmup 1 --sample-every 0 --out judged");   // whose rate is 0
    last = slurp("judged/metrics.jsonl", NULL);
    double judged = json_number(json_space(last), "a test", "eval/validation/CrossEntropyLoss", 0, 99, NAN);
    check(went_well(code) && near(judged, by_label, 1e-8),
          "whatever the denominator of training is, validation counts every label the same: %.9g", by_label);
    release(last);
    code = train_olmo("--load sft/latest --data chat.jsonl --as-released --val chat.jsonl --steps 1 "
                      "--warmup 1 --sample-every 0 --out judged");
    last = slurp("judged/metrics.jsonl", NULL);
    const double learned = json_number(json_space(last), "a test", "train/CrossEntropyLoss", 0, 99, NAN);
    judged = json_number(json_space(last), "a test", "eval/validation/CrossEntropyLoss", 0, 99, NAN);
    check(went_well(code) && near(judged, learned, 1e-6) && !near(learned, by_label, 1e-3),
          "... and with the labels that training has: %.9g as released", learned);
    release(last);
    beside_pytorch();
    hostile_conversations();
    leave_yard();
}
