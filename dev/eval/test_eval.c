/*
The tests of evaluation: `make test` runs them; alone: make eval dev/eval/test_eval && dev/eval/test_eval. No
Python. The last line is `N passed, N failed`. Each check has been seen red, with the code broken on purpose.
*/
#define EVAL_LIBRARY
#include "eval.c"
#include <sys/wait.h>

#include "../../data/test/check.c"

static char scratch[] = "/tmp/olmo_eval_XXXXXX";    // a directory for files of the tests, removed at the end

// Runs a shell command in it ($EVAL is the program); its exit code, and what it printed on both outputs.
static int shell(char *out, size_t room, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int shell(char *out, size_t room, const char *format, ...) {
    char command[8192], rest[4096], here[PATH];
    va_list args;
    va_start(args, format);
    CHECK(getcwd(here, sizeof here), "no current directory");
    int n = snprintf(command, sizeof command, "exec 2>&1; EVAL=%s/dev/eval/eval; cd %s; ", here, scratch);
    CHECK(vsnprintf(command + n, sizeof command - (size_t)n, format, args) < (int)sizeof command - n,
          "this command is too long: %s", format);
    va_end(args);
    FILE *pipe = popen(command, "r");
    CHECK(pipe, "no shell can be started");
    size_t got = fread(out, 1, room - 1, pipe);
    out[got] = 0;
    while (fread(rest, 1, sizeof rest, pipe)) {}
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static const char *in_scratch(const char *name) {
    static char path[8][PATH];
    static int turn = 0;
    path_join(path[turn = (turn + 1) % 8], scratch, name);
    return path[turn];
}
static const char *put_bytes(const char *name, const char *bytes, size_t size) {
    const char *path = in_scratch(name);
    make_parents(path);
    FILE *file = open_to_write(path);
    CHECK(fwrite(bytes, 1, size, file) == size && fclose(file) == 0, "%s: cannot be written", path);
    return path;
}
static const char *put_text(const char *name,
                            const char *text) { return put_bytes(name, text, strlen(text)); }

// A task in scratch/name/rc_0shot: `lines` of "doc idx label context|continuation", with its metric.
static const char *put_task_files(const char *name, const char *metric, const char *lines) {
    static char json[1 << 16];
    char path[PATH], config[256], context[512], text[512];
    int n = 0, doc, idx, label, used;
    const char *form = "%d %d %d %511[^|]|%511[^\n]\n%n";
    for (const char *s = lines; sscanf(s, form, &doc, &idx, &label, context, text, &used) == 5; s += used) {
        n += snprintf(json + n, sizeof json - (size_t)n, "{\"request_type\": \"loglikelihood\", "
                      "\"doc_id\": %d, "
                      "\"idx\": %d, \"label\": %d, ", doc, idx, label);
        n += snprintf(json + n, sizeof json - (size_t)n,
                      "\"request\": {\"context\": \"%s\", \"continuation\": \"%s\"}}\n", context, text);
    }
    const char *slash = strrchr(name, '/');
    snprintf(config, sizeof config, "{\"task_name\": \"%s\", \"task_config\": {\"primary_metric\": \"%s\"}}",
             slash ? slash + 1 : name, metric);
    snprintf(path, sizeof path, "%s/rc_0shot/config.json", name), put_text(path, config);
    snprintf(path, sizeof path, "%s/rc_0shot/requests.jsonl", name), put_text(path, json);
    snprintf(path, sizeof path, "%s/rc_0shot", name);
    return in_scratch(path);
}

static Config small_config(int T) {
    Config c = { 32, 2, 4, 2, 64, 256, T, 0, -1, 10000, 0, 0 };
    return c;
}
// A model of noise, or (std 0) of zeros, which gives every byte the probability 1/256.
static void *noise_model(const Config *c, double std) {
    static real numbers[CHUNK];
    Layout layout;
    Weights unused;
    void *model = cpu_device.build(c, 0);
    olmo_layout(&layout, &unused, NULL, c);
    for (size_t done = 0; done < layout.size; ) {
        size_t n = zmin(CHUNK, layout.size - done);
        for (size_t i = 0; i < n; i++) numbers[i] = (real)(std*(2*uniform(hash64(done + i)) - 1));
        cpu_device.set(model, PARAMS, done, n, numbers);
        done += n;
    }
    return model;
}
static void put_model_files(const char *name, double std, int T) {
    Config c = small_config(T);
    Layout layout;
    Weights unused;
    void *model = noise_model(&c, std);
    olmo_layout(&layout, &unused, NULL, &c);
    static const Companions none = { { NULL }, { 0 } };
    const Model m = { &cpu_device, model, &c, &layout };
    export_write(in_scratch(name), m, &none, F32, 0);
    cpu_device.destroy(model);
}

// ---- lines --------------------------------------------------------------------------------------------

static void test_lines(void) {
    static char text[300000];
    int n = 0, same = 1;
    for (int i = 0; i < 900; i++) n += sprintf(text + n, "{\"line\": %d%*s}\n", i, i % 300, "");
    for (int whole = 0; whole < 2; whole++) {               // with the last newline and without
        Lines *l = lines_open(put_bytes("lines", text, (size_t)(n - !whole)));
        int i = 0, number;
        for (char *line; (line = lines_next(l)) != NULL; i++) same &= sscanf(line, "{\"line\": %d",
            &number) == 1 && number == i;
        check(same && i == 900, "900 lines %s are read one by one", whole ? "" : "whose last lacks its "
              "newline");
        lines_close(l);
    }
    Lines *l = lines_open(put_text("lines", "\n \n{}\r\n\n"));
    check(lines_next(l) && l->number == 3 && !lines_next(l), "blank lines are skipped and counted");
    lines_close(l);
#ifdef ZLIB
    char out[256];
    put_bytes("lines", text, (size_t)n);
    shell(out, sizeof out, "gzip -c lines > lines.gz; cat lines.gz lines.gz > twice.gz");
    l = lines_open(in_scratch("twice.gz"));
    int i = 0;
    while (lines_next(l)) i++;
    check(i == 1800, "two gzip streams behind each other are one file of %d lines", i);
    lines_close(l);
#endif
}

// ---- spans --------------------------------------------------------------------------------------------

static void test_spans(void) {
    Coder bytes = { NULL, NULL, '\n', 8 };
    Span s = ask_about(&bytes, "abcde", 5, "fghi", 4);        // 9 = T + 1
    check(s.n == 9 && s.ids[0] == 'a' && s.scored == 4 && !s.cut && !s.lost, "T + 1 tokens fit: T are fed");
    release(s.ids);
    s = ask_about(&bytes, "abcdef", 6, "ghij", 4);
    check(s.n == 9 && s.ids[0] == 'b' && s.scored == 4 && s.cut == 1 && !s.lost, "of T + 2 the first is cut");
    release(s.ids);
    s = ask_about(&bytes, "", 0, "ab", 2);
    check(s.n == 3 && s.ids[0] == '\n' && s.scored == 2, "before an empty context a document ends");
    release(s.ids);
    s = ask_about(&bytes, "xy", 2, "abcdefghijk", 11);
    check(s.n == 9 && s.ids[0] == 'c' && s.scored == 8 && s.cut == 4 && s.lost == 3,
          "of a continuation of T + 3 the last T are scored, after one token of context");
    size_t size;
    char *rest = rest_of_text(&bytes, &s, &size);
    check(size == 8 && !memcmp(rest, "defghijk", 8), "and bytes are counted of these alone");
    release(rest), release(s.ids);
}

// Sums of losses, one span a pass: what batches must give to the bit.
static double plain_score(void *model, const Span *s) {
    int tokens[64], targets[64];
    real losses[128];
    double sum = 0;
    for (int t = 0; t + 1 < s->n; t++) tokens[t] = s->ids[t], targets[t] = s->ids[t + 1];
    cpu_device.forward(model, losses, losses + 64, tokens, targets, NULL, 1, s->n - 1);
    for (int t = s->n - 1 - s->scored; t < s->n - 1; t++) sum += (double)losses[t];
    return -sum;
}

static int counted_passes, counted_spans;
static Model on_device(const Device *device, void *model) {
    const Model m = { device, model, NULL, NULL };
    return m;
}

static int count_spans(void *context, Span **span, size_t n) {
    (void)span;
    counted_passes++, counted_spans += (int)n;
    return !context || counted_passes < *(int *)context;
}

static void test_scoring(void) {
    enum { N = 60, T = 40 };
    Config c = small_config(T);
    void *model = noise_model(&c, 0.3);
    Coder bytes = { NULL, NULL, '\n', T };
    Span span[N], *list[N];
    const char *text = "It was a bright cold day in April, and the clocks were striking thirteen. ";
    int same = 1, all = 1;
    for (int budget = 1; budget <= 4096; budget *= 64) {
        for (int i = 0; i < N; i++) {                       // every third one twice
            int k = i - i % 3 % 2;
            span[i] = ask_about(&bytes, text + k % 7, (size_t)(k*5 % 31), text + k, (size_t)(1 + k*3 % 12));
            list[i] = &span[i];
        }
        all &= score_spans(on_device(&cpu_device, model), list, N, (size_t)budget, NULL, NULL);
        for (int i = 0; i < N; i++) same &= span[i].known && span[i].logprob == plain_score(model, &span[i]);
        if (budget < 4096) for (int i = 0; i < N; i++) release(span[i].ids);
    }
    check(all && same, "scores do not depend on the batch: equal bits to one text a pass");
    for (int i = 0; i < N; i++) list[i] = &span[i], span[i].known = i % 5 == 0;
    counted_spans = counted_passes = 0;
    score_spans(on_device(&cpu_device, model), list, N, 256, count_spans, NULL);
    for (int i = 0; i < N; i++) same &= span[i].logprob == plain_score(model, &span[i]);
    check(same && counted_spans < N*4/5 - 10, "what is known, or asked twice, is not computed again: %d of "
          "%d", counted_spans, N);
    for (int i = 0; i < N; i++) list[i] = &span[i], span[i].known = 0;
    int two = 2, known = 0;
    counted_passes = 0;
    all = score_spans(on_device(&cpu_device, model), list, N, 64, count_spans, &two);
    for (int i = 0; i < N; i++) known += span[i].known;
    check(!all && counted_passes == 2 && known > 0 && known < N, "and it stops when told: after %d of %d",
          known, N);
    for (int i = 0; i < N; i++) release(span[i].ids);
    cpu_device.destroy(model);
}

// Requests that begin alike, of which each one's tokens are in the tree once: how many there are of them
// is known, and every score has the bits of its text by itself; on a device that has no trees as well.
static int counted_tokens, largest_pass;
static void counting_forward_tree(void *model, real *losses, real *zlosses, const int *tokens,
                                  const int *positions, const int *targets, int N) {
    counted_tokens += N, largest_pass = imax(largest_pass, N);
    cpu_device.forward_tree(model, losses, zlosses, tokens, positions, targets, N);
}
static void test_sharing(void) {
    // tokens: of the tree by itself. A branch begins with the token before the first that differs.
    static const struct { const char *what, *ask[6][2]; int tokens; } rows[] = {
        { "choices of several tokens", { { "abc", "def" }, { "abc", "dxy" }, { "abc", "z" } }, 5 + 2 + 1 },
        { "one token each, as MMLU asks", { { "question", "A" }, { "question", "B" }, { "question", "C" },
                                            { "question", "D" } }, 8 + 3 },
        { "a choice that begins as another", { { "abc", "d" }, { "abc", "de" }, { "abc", "def" } },
          3 + 1 + 1 },
        { "the same twice", { { "abc", "de" }, { "abc", "de" }, { "abc", "dx" } }, 4 + 1 },
        { "one text, and its border elsewhere", { { "abc", "de" }, { "abcd", "e" } }, 4 },
        { "asked about where another is not", { { "abc", "de" }, { "abcx", "yz" }, { "abc", "xz" } },
          4 + 3 + 1 },
        { "a question within another", { { "ab", "cd" }, { "abcdef", "gh" }, { "abcdef", "xy" } },
          3 + 4 + 2 },
        { "empty contexts", { { "", "abc" }, { "", "abd" }, { "", "b" } }, 3 + 1 + 1 },
        { "one token of context", { { "a", "bc" }, { "a", "d" }, { "x", "bc" } }, 2 + 1 + 2 },
        { "nothing in common", { { "abcd", "efg" }, { "bcd", "efg" }, { "cd", "efg" } }, 6 + 5 + 4 },
        { "contexts that are cut", { { "0123456789abcdef", "gh" }, { "0123456789abcdef", "ij" },
                                     { "0123456789abcdef", "klm" } }, 12 + 2 + 12 },
    };
    Config c = small_config(12);
    void *model = noise_model(&c, 0.3);
    const Coder bytes = { NULL, NULL, '\n', 12 };
    Device with_trees = cpu_device, without = cpu_device;
    with_trees.forward_tree = counting_forward_tree, without.forward_tree = NULL;
    int small = 1;
    for (size_t r = 0; r < sizeof rows/sizeof *rows; r++) {
        Span span[6], *list[6];
        int n = 0, same = 1, tokens = 0, longest = 0;
        for (; n < 6 && rows[r].ask[n][0]; n++) {
            const char *context = rows[r].ask[n][0], *text = rows[r].ask[n][1];
            span[n] = ask_about(&bytes, context, strlen(context), text, strlen(text));
            longest = imax(longest, span[n].n - 1);
        }
        for (int tree = 1; tree >= 0; tree--) for (int budget = 1; budget <= 100; budget *= 10) {
            for (int i = 0; i < n; i++) list[i] = &span[n - 1 - i], span[i].known = 0, span[i].logprob = 0;
            counted_tokens = largest_pass = 0;
            score_spans(on_device(tree ? &with_trees : &without, model), list, (size_t)n, (size_t)budget,
                        NULL, NULL);
            for (int i = 0; i < n; i++)
                same &= span[i].known && span[i].logprob == plain_score(model, &span[i]);
            if (tree) tokens = counted_tokens;
            small &= largest_pass <= imax(budget, longest);
        }
        check(same, "%s: the bits of each by itself, in passes of all sizes", rows[r].what);
        check(tokens == rows[r].tokens, "%s: %d tokens are computed, expected %d", rows[r].what, tokens,
              rows[r].tokens);
        for (int i = 0; i < n; i++) release(span[i].ids);
    }
    check(small, "no pass is larger than it may be, but for one request");
    cpu_device.destroy(model);
}

// ---- metrics ------------------------------------------------------------------------------------------

// Three questions whose scores are given by hand, so that every way of measuring answers differently.
static void test_metrics(void) {
    Coder bytes = { NULL, NULL, '\n', 64 };
    Task *t = task_read(put_task_files("hand", "acc_per_char",
        "5 0 0 a?| x\n5 1 0 a?| xxxx\n"
        "2 0 1 b?| \xc3\xa9\xc3\xa9\n2 1 1 b?| yyy\n2 2 1 b?| y\n"
        "9 0 1 c?| z\n9 1 1 c?| zz\n"), 1);
    task_encode(t, &bytes);
    check(t->questions == 3 && t->question[0].doc == 5 && t->question[1].choices == 3
          && t->n == 14 && t->lines == 7,
          "questions stand in the order of the file, each choice with its twin");
    static const double given[7] = { -2, -4.5, -6, -6.4, -7, -3, -3 }, twin[7] = { -1, -4, -1, -9, -1, -2,
        -1 };
    for (int i = 0; i < 7; i++) t->request[i].span.logprob = given[i];
    for (int i = 0; i < 3; i++) for (int k = 0; k < t->question[i].choices; k++)
        t->request[t->question[i].twin[k]].span.logprob = twin[t->question[i].ask[k]];
    // raw: 0, 0, 0 (a tie)   token (bytes): -1 -0.9, -1.2 -1.6 -3.5, -1.5 -1: 1, 0, 1   characters: -1
    // -0.9, -2 -1.6 -3.5, -1.5 -1: 1, 1, 1   twins: -1 -0.5, -5 2.6 -6, -1 -2: 1, 1, 0   without the
    // space: -2 -1.125, -3 -2.13 -7, -3 -1.5: 1, 1, 1
    const double right[] = { 1, 1, 2, 1, 2 };
    for (int way = RAW; way <= PER_CHAR_V1; way++)
        check(task_accuracy(t, (Way)way)*3 == right[way], "way %d of measuring: %g of 3 right", way,
              task_accuracy(t, (Way)way)*3);
    check(task_primary(t) == task_accuracy(t, PER_CHAR), "the primary metric is the config's");
    check(task_f1(t, RAW) == 0.5, "F1 of choice 0: %g",
          task_f1(t, RAW));                 // one hit, two false alarms
    check(fabs(task_ce_loss(t, 0) - (2/2.0 + 6.4/4 + 3/3.0)/3) < 1e-15, "ce_loss is nats per character");
    check(fabs(task_ce_loss(t, 1) - (2/1.0 + 6.4/3 + 3/2.0)/3) < 1e-15, "_v1: without the leading space");
    check(fabs(task_bits_per_byte(t, 0) - (2/2.0 + 6.4/4 + 3/3.0)/3/log(2)) < 1e-15,
          "bits per byte of the right answers");
    t->question[1].label = 0;
    check(fabs(task_bits_per_byte(t, 0) - (2/2.0 + 6/5.0 + 3/3.0)/3/log(2)) < 1e-15,
          "of bytes, where characters have two");
    t->question[1].label = 1;
    check(t->request[2].bytes == 5 && t->request[2].characters == 3, "characters are not bytes");
    double mass = 0;
    for (int i = 0; i < 7; i++) mass += exp(given[i])/3;
    check(fabs(task_probability_mass(t) - mass) < 1e-15, "probability mass");
    check(fabs(task_chance(t) - (0.5 + 1/3.0 + 0.5)/3) < 1e-15 && fabs(task_majority(t) - 2/3.0) < 1e-15,
          "chance and majority");
    const int keep[2] = { 2, 0 };
    task_keep(t, keep, 2);
    check(t->questions == 2 && t->question[0].doc == 9 && t->request[2].skip && !t->request[0].skip &&
          t->request[t->question[0].twin[1]].skip == 0, "questions that are not kept are not asked");
    check(task_accuracy(t, RAW) == 0.5, "nor counted");
    task_free(t);
}

// What is divided by: characters or bytes, of what is left of a text that does not fit; with _v1, which takes
// the first character for a space, without that.
static void test_lengths(void) {
    Coder bytes = { NULL, NULL, '\n', 8 };
    const char *path = put_task_files("lengths", "acc_raw", "0 0 0 q?|\u00e9\u00e9\n"
                                      "1 0 0 q|\u00e9\u00e9\u00e9\u00e9abcdefgh\n"
                                      "1000000 0 0 Answer:|\u00e9\u00e9\n");
    Task *t = task_read(path, 0);
    task_encode(t, &bytes);
    const Request *r = t->request;
    check(t->n == 2 && t->lines == 2, "twins that nobody asked for are left out: %d requests", t->n);
    check(r[0].bytes == 4 && r[0].characters == 2 && r[0].lead == 2, "bytes, characters, bytes of the first: "
          "%d, %d, %d", r[0].bytes, r[0].characters, r[0].lead);
    check(r[1].bytes == 8 && r[1].characters == 8 && r[1].lead == 1, "... of what is left of it: %d, %d, %d",
          r[1].bytes, r[1].characters, r[1].lead);
    check(t->cut_contexts == 0 && t->cut_texts == 1, "what is cut is a continuation");
    t->request[0].span.logprob = -6, t->questions = 1;
    check(task_ce_loss(t, 0) == 3 && task_ce_loss(t, 1) == 6, "ce_loss: %g, _v1 %g", task_ce_loss(t, 0),
          task_ce_loss(t, 1));
    const double rate = task_bits_per_byte(t, 0)*log(2), v1 = task_bits_per_byte(t, 1)*log(2);
    check(fabs(rate - 1.5) < 1e-15 && fabs(v1 - 3) < 1e-15, "bits per byte, in nats: %g, _v1 %g", rate, v1);
    t->questions = 2, task_free(t);
    check(standard_error(0.5, 100) == 0.05, "the standard error of 50 of 100: %g", standard_error(0.5, 100));
}

// The questions that are kept take their twins along, those in the file and ours; --limit and --sample keep
// some, where there are more. Scores that are written are those of the file's lines.
static void test_kept(void) {
    Coder bytes = { NULL, NULL, '\n', 64 };
    Task *t = task_read(put_task_files("kept", "acc_raw", "0 0 0 a?| x\n1 0 0 b?| y\n2 0 0 c?| z\n"
                                       "1000000 0 0 Answer:| x\n1000001 0 0 Answer:| y\n"), 1);
    const int second[] = { 1 };
    task_encode(t, &bytes);
    Request *own = &t->request[t->question[0].twin[0]];
    Span *both[] = { &t->request[0].span, &own->span };
    scores_file = open_to_write(in_scratch("both")), scoring.task = t;
    (void)spans_scored(NULL, both, 2);
    fclose(scores_file), scores_file = NULL;
    char *written = read_text(in_scratch("both"));
    check(own->at < 0 && strchr(written, '\n') == written + strlen(written) - 1,
          "one line of two scores, of which one is of a twin of ours: %s", written);
    release(written);
    task_keep(t, second, 1);
    check(t->request[0].skip && t->request[3].skip && !t->request[1].skip && !t->request[4].skip,
          "a question goes with its twin");
    task_free(t);
    Command c;
    memset(&c, 0, sizeof c);
    static const struct { int limit, sample, doc[3], n; } rows[] = {
        { 0, 0, { 0, 1, 2 }, 3 }, { 2, 0, { 0, 1 }, 2 }, { 3, 0, { 0, 1, 2 }, 3 }, { 0, 2, { 1, 0 }, 2 },
        { 0, 3, { 0, 1, 2 }, 3 },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        t = task_read(in_scratch("kept/rc_0shot"), 1);
        c.limit = rows[i].limit, c.sample = rows[i].sample;
        choose_questions(t, &c);
        int fine = t->questions == rows[i].n;
        for (int k = 0; k < rows[i].n && fine; k++) fine = t->question[k].doc == rows[i].doc[k];
        check(fine, "--limit %d --sample %d: %d questions", c.limit, c.sample, t->questions);
        task_free(t);
    }
    Task named;
    memset(&named, 0, sizeof named);
    static const struct { const char *name; int way; } paper[] = {
        { "hellaswag", PER_TOKEN }, { "hellaswag:rc_5shot", PER_TOKEN }, { "hellas", -1 },
        { "hellaswags", -1 },
        { "arc_easy", UNCOND }, { "arc_challenge", UNCOND }, { "boolq", RAW }, { "openbookqa", UNCOND },
        { "piqa", PER_TOKEN }, { "sciq", RAW }, { "winogrande", PER_TOKEN }, { "headqa_en", UNCOND },
        { "logiqa", RAW }, { "mrpc", RAW }, { "qnli", RAW }, { "wic", RAW }, { "wnli", RAW }, { "copa", RAW },
        { "rte", RAW }, { "mmlu", -1 },
    };
    for (size_t i = 0; i < sizeof paper/sizeof *paper; i++) {
        strcpy(named.name, paper[i].name);
        const int way = paper_way(&named);
        check(way == paper[i].way, "the paper measures %s in way %d", named.name, way);
    }
}

// A model of zeros: exact ties, which go to the first choice, and -log 256 a byte.
static void test_uniform(void) {
    Config c = small_config(64);
    void *model = noise_model(&c, 0);
    Coder bytes = { NULL, NULL, '\n', 64 };
    Task *t = task_read(put_task_files("ties", "acc_raw",
        "0 0 0 q| aa\n0 1 0 q| bb\n1 0 1 q| aa\n1 1 1 q| bb\n2 0 1 q| aaa\n2 1 1 q| b\n3 0 0 q| aaaaa\n3 1 "
            "0 q| bbbbb\n"), 1);
    Span *span[64];
    task_encode(t, &bytes);
    score_spans(on_device(&cpu_device, model), span, task_spans(t, span), 64, NULL, NULL);
    check(task_accuracy(t, PER_TOKEN) == 0.5 && task_accuracy(t, PER_CHAR) == 0.5
          && task_accuracy(t, UNCOND) == 0.5,
          "all equal: the first choice is taken, so accuracy is the share of label 0");
    check(task_accuracy(t, RAW) == 0.75, "raw likelihood takes the shortest");
    check(fabs(task_bits_per_byte(t, 0) - 8) < 1e-6, "a uniform model of bytes takes 8 bits a byte: %.9f",
          task_bits_per_byte(t, 0));
    task_free(t);
    cpu_device.destroy(model);
}

// random.Random(1234).sample, as Python 3 draws (EVAL_SPEC 3.4)
static void test_sample(void) {
    static const struct { int n, first[8], last; } rows[] = {
        { 1267, { 902, 239, 15, 185, 1192, 71, 171, 201 }, 562 },
        { 1838, { 1593, 902, 239, 15, 185, 1652, 1192, 71 }, 311 },
        { 3270, { 3187, 1805, 478, 30, 371, 2384, 143, 2750 }, 1517 },
        { 10042, { 7220, 1914, 122, 1485, 9539, 572, 1375, 1612 }, 7325 },
    };
    static int sample[1000];
    for (size_t i = 0; i < 4; i++) {
        python_sample(sample, rows[i].n, 1000, 1234);
        char seen[10042] = { 0 };
        int different = 0;
        for (int k = 0; k < 1000; k++) different += !seen[sample[k]], seen[sample[k]] = 1;
        check(!memcmp(sample, rows[i].first, sizeof rows[i].first) && sample[999] == rows[i].last
              && different == 1000,
              "1000 of %d: %d, %d, %d ... as Python draws them", rows[i].n, sample[0], sample[1], sample[2]);
    }
    // Python draws from a pool up to here, and from there on again what it has drawn before.
    static const int of_21[] = { 14, 3, 0, 2, 1 }, of_22[] = { 14, 3, 0, 2, 18 };
    python_sample(sample, 21, 5, 1234);
    int fine = !memcmp(sample, of_21, sizeof of_21);
    python_sample(sample, 22, 5, 1234);
    check(fine && !memcmp(sample, of_22, sizeof of_22), "5 of 21, and 5 of 22");
}

// ---- the program: tasks -------------------------------------------------------------------------------

static const char *task_lines =
    "0 0 1 What is red?| a rose\n0 1 1 What is red?| the sea\n1 0 0 And blue?| the sky\n1 1 0 And blue?| "
        "blood, which runs\n"
    "2 0 0 A long question, that does not fit into the window of this model, since it is longer than it "
        "looks at?| no\n"
    "2 1 0 A long question, that does not fit into the window of this model, since it is longer than it "
        "looks at?| yes\n"
    "1000000 0 1 Answer:| a rose\n1000000 1 1 Answer:| the sea\n";

static char *text_of(const char *name) { return read_text(in_scratch(name)); }
static int same_text(const char *a, const char *b) {
    char *x = text_of(a), *y = text_of(b);
    int same = !strcmp(x, y);
    release(x), release(y);
    return same;
}

static void test_scores_file(void) {
    char out[8192];
    put_task_files("colours", "acc_raw", task_lines);
    put_model_files("model", 0.3, 48), put_model_files("other", 0.31, 48);
    int code = shell(out, sizeof out, "$EVAL tasks --load model --scores s --json j colours/rc_0shot && "
                     "grep -c . s");
    check(code == 0 && strstr(out, "\n8\n") && strstr(out, "2 contexts, cut"), "each line of the file has "
          "its score: %.200s", out);
    char *json = text_of("j"), *scores = text_of("s");
    const char *task = json_get(json_get(json_root(json, "j"), "tasks"), "colours");
    check(task && json_number(task, "j", "documents", 0, 9, NAN) == 3 && json_get(task, "acc_uncond")
          && json_get(task, "paper")
          && *json_get(task, "paper") == 'n' && *json_get(task, "f1") == 'n', "and the figures are JSON");
    check(!strncmp(scores, "{\"task\": \"colours\", \"doc_id\": 0, \"idx\": 0, \"logprob\": -", 50)
          && strstr(scores, "\"doc_id\": 1000000, \"idx\": 1"), "in the order of the file");
    release(json), release(scores);
    code = shell(out, sizeof out, "cp s whole; for n in 40 150 %d; do head -c $n whole > s; $EVAL tasks "
                 "--load model "
                 "--scores s --json j2 colours/rc_0shot >/dev/null 2>&1 && cmp s whole && cmp j j2 || echo "
                     "differs; done", 400);
    check(code == 0 && !*out, "a run that was cut off anywhere ends with the same files: %s", out);
    code = shell(out, sizeof out, "flock s $EVAL tasks --load model --scores s colours/rc_0shot");
    check(code == 1 && strstr(out, "error: s: another run is writing it"),
          "two runs with one --scores: %.200s", out);
    code = shell(out, sizeof out, "$EVAL tasks --load other --scores s colours/rc_0shot");
    check(code == 1 && strstr(out, "error: s: was scored by {"), "another model is refused: %.60s",
          strstr(out, "error") ? strstr(out, "error") : out);
    code = shell(out, sizeof out, "$EVAL tasks --load model --seq-len 40 --scores s colours/rc_0shot || "
                 "$EVAL tasks --load model --limit 2 --scores s colours/rc_0shot");
    check(code == 1 && same_text("s", "whole"), "so are another window and another choice of questions; "
          "and nothing is lost");
    code = shell(out, sizeof out, "sed 's/\"bytes\": 7/\"bytes\": 8/' whole > s; $EVAL tasks --load model "
                 "--scores s colours/rc_0shot; cp whole s");
    check(strstr(out, "tokens of 8 bytes, but") != NULL, "and the same tokens of another text: %.200s", out);
    put_task_files("colours", "acc_raw", "0 0 1 What is red?| a tulip\n0 1 1 What is red?| the sea\n");
    code = shell(out, sizeof out, "$EVAL tasks --load model --scores s colours/rc_0shot");
    check(code == 1 && strstr(out, "are these other request files?") && same_text("s", "whole"),
          "and other questions: %.300s", out);
    put_task_files("flowers", "acc_raw", "0 0 1 What is red?| a rose\n0 1 1 What is red?| the sea\n");
    code = shell(out, sizeof out, "$EVAL tasks --load model --scores s flowers/rc_0shot");
    check(code == 1 && strstr(out, "\"colours\", which is not asked for now") && same_text("s", "whole"),
          "and another task, whose run would lose these scores: %.200s", out);
    code = shell(out, sizeof out, "$EVAL mmlu --load model --scores s colours/rc_0shot");
    check(code == 1 && strstr(out, "error: s: was scored by {") && same_text("s", "whole"), "and MMLU");
    code = shell(out, sizeof out, "cp s.by by; sed -i 's/}$/, \"more\": 1}/' s.by; $EVAL tasks --load model "
                 "--scores s colours/rc_0shot; cp by s.by");
    check(strstr(out, "error: s: was scored by {") && same_text("s", "whole"), "and by more than we know");
    code = shell(out, sizeof out, "cp -r model bytes; echo '{}' > bytes/tokenizer.json; $EVAL tasks --load "
                 "bytes colours/rc_0shot");
    check(code == 0, "a model of bytes needs no tokenizer.json, and reads none: %s", out);
    code = shell(out, sizeof out, "rm s.by; $EVAL tasks --load model --scores s colours/rc_0shot");
    check(code == 1 && strstr(out, "s: exists, but not s.by") && same_text("s", "whole"),
          "a file of others is not touched");
    put_task_files("colours", "acc_raw", task_lines);
    code = shell(out, sizeof out, "mkdir -p deep/er; cp -r colours deep/er/; $EVAL tasks --load model "
                 "--limit 1 deep && "
                 "mv deep/er/colours/rc_0shot deep/er/colours/mc_5shot && $EVAL tasks --load model --json "
                     "j deep && cat j");
    check(code == 0 && strstr(out, "\"colours:mc_5shot\": {"), "tasks are found below a directory, and "
          "named with their variant");
}

static void test_hostile_requests(void) {
    static const struct { const char *what, *line, *sentence; } rows[] = {
        { "no JSON", "nonsense", "expected one JSON object" },
        { "a line that is cut off", "{\"request_type\": \"loglikelihood\", \"doc_id\": 0, \"id",
         "or it is cut off" },
        { "another kind of request", "{\"request_type\": \"generate_until\"}", "expected \"request_type\"" },
        { "no request", "{\"request_type\": \"loglikelihood\", \"doc_id\": 0}",
         "expected an object \"request\"" },
        { "a choice too many", "@ \"doc_id\": 9, \"idx\": 1000, \"label\": 0, #", "to 999, found" },
        { "a question too many", "@ \"doc_id\": 2000000, \"idx\": 0, \"label\": 0, #", "to 1999999, found" },
        { "a question that is none", "@ \"doc_id\": 1000000, \"idx\": 0, \"label\": 0, #\n"
          "@ \"doc_id\": 999999, \"idx\": 1, \"label\": 0, #", "doc_id 999999 lacks its choice 0" },
        { "a negative question", "@ \"doc_id\": -1, \"idx\": 0, \"label\": 0, #", "expected \"doc_id\"" },
        { "half a choice", "@ \"doc_id\": 0, \"idx\": 0.5, \"label\": 0, #", "\"idx\" to be a whole number" },
        { "a label in words", "@ \"doc_id\": 0, \"idx\": 0, \"label\": \"a\", #", "expected \"label\"" },
        { "no continuation", "@ \"doc_id\": 0, \"idx\": 0, \"label\": 0, \"request\": {\"context\": "
         "\"a\"}}", "\"continuation\"" },
        { "an empty continuation",
          "@ \"doc_id\": 0, \"idx\": 0, \"label\": 0, \"request\": {\"context\": \"a\", \"continuation\": "
              "\"\"}}", "is empty" },
        { "half a character", "@ \"doc_id\": 0, \"idx\": 0, \"label\": 0, \"request\": {\"context\": \"a\", "
          "\"continuation\": \"\\ud800\"}}", "is not UTF-8" },
        { "a byte that is no UTF-8", "@ \"doc_id\": 0, \"idx\": 0, \"label\": 0, \"request\": "
         "{\"context\": \"\xff\", "
          "\"continuation\": \"b\"}}", "is not UTF-8" },
        { "a choice twice", "@ \"doc_id\": 7, \"idx\": 0, \"label\": 1, #", "is there twice" },
        { "two right answers", "@ \"doc_id\": 7, \"idx\": 2, \"label\": 0, #", "has another label" },
        { "a choice left out", "@ \"doc_id\": 8, \"idx\": 1, \"label\": 0, #", "lacks its choice 0" },
        { "the right one left out", "@ \"doc_id\": 8, \"idx\": 0, \"label\": 1, #",
         "lacks its choice 1; is the file cut off?" },
        { "the last ones left out", "@ \"doc\": {\"choices\": [\"a\", \"b\"]}, \"doc_id\": 8, \"idx\": 0, "
         "\"label\": 0, #",
          "lacks its choice 1; is the file cut off?" },
        { "more than there are", "@ \"doc\": {\"choices\": [\"a\"]}, \"doc_id\": 8, \"idx\": 0, \"label\": "
         "0, #\n"
          "@ \"doc\": {\"choices\": [\"a\"]}, \"doc_id\": 8, \"idx\": 1, \"label\": 0, #", "lists 1 "
              "choices, but" },
    };
    char line[2048], out[4096];
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        int n = sprintf(line, "%s", "{\"request_type\": \"loglikelihood\", \"doc_id\": 7, \"idx\": 0, "
                        "\"label\": 1, "
                        "\"request\": {\"context\": \"a\", \"continuation\": \"b\"}}\n{\"request_type\": "
                            "\"loglikelihood\", "
                        "\"doc_id\": 7, \"idx\": 1, \"label\": 1, \"request\": {\"context\": \"a\", "
                            "\"continuation\": \"b\"}}\n");
        for (const char *s = rows[i].line; *s; s++)
            n += *s == '@' ? sprintf(line + n, "{\"request_type\": \"loglikelihood\",")
               : *s == '#' ? sprintf(line + n, "\"request\": {\"context\": \"a\", \"continuation\": \"b\"}}")
               : sprintf(line + n, "%c", *s);
        put_text("hostile/rc_0shot/config.json", "{\"task_name\": \"h\", \"task_config\": "
                 "{\"primary_metric\": \"acc_raw\"}}");
        put_text("hostile/rc_0shot/requests.jsonl", line);
        int code = shell(out, sizeof out, "$EVAL tasks --load model hostile/rc_0shot");
        check(code == 1 && !strncmp(out, "error: hostile/rc_0shot/requests.jsonl", 38)
              && strstr(out, rows[i].sentence)
              && strchr(out, '\n') == strrchr(out, '\n'), "%s: %.150s", rows[i].what, out);
    }
    static const struct { const char *what, *command, *sentence; } more[] = {
        { "no file", "$EVAL tasks --load model nowhere", "expected the directory of a task" },
        { "an empty directory", "mkdir -p nothing; $EVAL tasks --load model nothing",
         "there is no requests.jsonl" },
        { "an empty file", ": > hostile/rc_0shot/requests.jsonl; $EVAL tasks --load model hostile",
         "there is no request in it" },
        { "no config", "mkdir -p bare; cp colours/rc_0shot/requests.jsonl bare; $EVAL tasks --load model "
         "bare",
          "bare/config.json: cannot be read" },
        { "a metric of others", "cp -r colours odd; echo '{\"task_name\": \"o\", \"task_config\": "
         "{\"primary_metric\": \"bleu\"}}' "
          "> odd/rc_0shot/config.json; $EVAL tasks --load model odd", "is bleu; expected acc_raw" },
        { "a task twice", "$EVAL tasks --load model colours colours", "both are called colours" },
        { "two tasks in directories of one name", "mkdir -p twin; cp -r colours twin/; "
          "sed -i 's/\"colours\"/\"twins\"/' twin/colours/rc_0shot/config.json; "
          "$EVAL tasks --load model colours twin", "both would be colours_rc_0shot" },
        { "no model", "$EVAL tasks colours", "--load: expected the directory" },
        { "no task", "$EVAL tasks --load model", "expected the directories of tasks" },
        { "a NUL byte", "printf '{\\0}' > hostile/rc_0shot/requests.jsonl; $EVAL tasks --load model "
         "hostile", "a NUL byte" },
        { "a line without end", "truncate -s 65M hostile/rc_0shot/requests.jsonl; $EVAL tasks --load model "
         "hostile; truncate -s 0 hostile/rc_0shot/requests.jsonl; exit 1",
          "requests.jsonl:1: a line of more than 64 MB" },
        { "a name that is no word", "mkdir -p na/rc_0shot; cp colours/rc_0shot/requests.jsonl na/rc_0shot; "
         "printf %s '{\"task_name\": \"a b/c\\\\d\\\"e\\u007ff\\u001f~\\u0021\", \"task_config\": "
         "{\"primary_metric\": \"acc_raw\"}}' > na/rc_0shot/config.json; $EVAL tasks --load model na na",
          "both are called a_b_c_d_e_f_~!" },
        { "a file in place of a directory for --json", "touch no; $EVAL tasks --load model --json no/j "
         "--scores unused colours; test -e unused", "no/j.tmp: cannot be written" },
        { "a model beyond all bounds", "$EVAL tasks --load mad colours", "are its weights damaged?" },
        { "two choices of questions", "$EVAL tasks --load model --limit 1 --sample 1 colours",
          "--limit and --sample: only one" },
        { "another command's option", "$EVAL tasks --load model --chat colours",
          "--chat: there is no such option" },
        { "no command", "$EVAL", "expected a command" },
#ifdef ZLIB
        { "a gzip file that is cut off", "gzip -c colours/rc_0shot/requests.jsonl | head -c 150 > "
         "hostile/rc_0shot/requests.jsonl; "
          "$EVAL tasks --load model hostile",
          "requests.jsonl: cannot be read behind line 0: unexpected end of file" },
        { "a damaged gzip file", "gzip -c colours/rc_0shot/requests.jsonl | tr 'a-f' 'b-g' > "
         "hostile/rc_0shot/requests.jsonl; "
          "$EVAL tasks --load model hostile",
          "error: hostile/rc_0shot/requests.jsonl: cannot be read behind line 0: i" },
#endif
    };
    put_model_files("mad", 3e38, 48);
    for (size_t i = 0; i < sizeof more/sizeof *more; i++) {
        int code = shell(out, sizeof out, "%s", more[i].command);
        const char *error = strstr(out, "error: ");
        check(code == 1 && error && strstr(error, more[i].sentence), "%s: %.150s", more[i].what,
              error ? error : out);
    }
}

// ---- beside the official code ----------------------------------------------------------------------------

// golden/: a small model of bytes and three tasks; what ai2-olmo's evaluation code and transformers make of
// them is in official.json, by golden.py. Most contexts there are longer than the model's window.
static void test_golden(void) {
    char out[8192], here[PATH], name[64];
    double worst = 0;
    int requests = 0;
    CHECK(getcwd(here, sizeof here), "no current directory");
    int code = shell(out, sizeof out, "G=%s/dev/eval/golden; $EVAL tasks --load $G/model --scores g --json "
                     "gj $G/tasks", here);
    check(code == 0, "the golden tasks can be asked: %.100s", out);
    char *official = read_text("dev/eval/golden/official.json"), *json = text_of("gj");
    const char *root = json_root(official, "official.json"), *tasks = json_get(json_root(json, "gj"),
        "tasks");
    Lines *l = lines_open(in_scratch("g"));
    for (char *line; (line = lines_next(l)) != NULL; requests++) {
        snprintf(name, sizeof name, "%d.%d", json_int(line, "g", "doc_id", 0, 99, NAN),
                 json_int(line, "g", "idx", 0, 9, NAN));
        const char *task = member_like(root, json_get(line, "task"));
        const double theirs = figure_in(task ? json_get(task, "logprobs") : NULL, name);
        worst = fmax(worst, isnan(theirs) ? 1e9 : fabs(figure_in(line, "logprob") - theirs));
    }
    lines_close(l);
    check(requests == 94 && worst < 1e-4, "%d log-probabilities as ai2-olmo's: at most %.1e apart",
          requests, worst);
    static const char *const metrics[][2] = { { "acc", "acc_raw" }, { "len_norm", "acc_per_char_v1" },
        { "f1", "f1" },
                                              { "ce_loss", "ce_loss_v1" }, { "bpb", "bits_per_byte_v1" } };
    const char *key, *value;
    for (value = json_first(root, &key); value; value = json_next(value, &key)) for (int i = 0; i < 5; i++) {
        const double theirs = figure_in(json_get(value, "metrics"), metrics[i][0]);
        const double ours = figure_in(member_like(tasks, key), metrics[i][1]);
        if (!isnan(theirs) || !isnan(ours))
            check(fabs(ours - theirs) < 2e-6, "%.*s: their %s is %.6f, ours %.6f",
                  (int)(json_skip(key, 0) - key), key,
                  metrics[i][0], theirs, ours);
    }
    release(official), release(json);
}

// MMLU: one id is asked about, behind the plain question or behind a chat that has begun to answer.
static void test_mmlu(void) {
    char out[8192];
    Coder bytes = { NULL, NULL, 0, 64 };
    Request r;
    memset(&r, 0, sizeof r);
    coder = bytes, r.context = (char *)"Why?", r.context_size = 4, r.text = (char *)" B", r.size = 2;
    Span s = letter_span(&r, NULL);
    check(s.n == 5 && s.scored == 1 && s.ids[4] == 'B' && s.ids[3] == '?', "the letter alone is asked about");
    release(s.ids);
    for (int T = 3; T <= 4; T++) {
        coder.T = T, s = letter_span(&r, NULL);
        check(s.n == T + 1 && s.cut == 4 - T && s.ids[T] == 'B' && s.ids[T - 1] == '?',
              "in a window of %d the model reads the last %d of 4 tokens", T, T);
        release(s.ids);
    }
    coder.T = 64;
    Rendering chat = rendering_of(0);
    s = letter_span(&r, &chat);
    const char *whole = "<|user|>\nWhy?\n<|assistant|>\nThe answer is:B";
    int same = s.n == 1 + (int)strlen(whole) && s.ids[0] == 0;
    for (int i = 1; same && i < s.n; i++) same = s.ids[i] == whole[i - 1];
    check(same, "in the chat template the answer has begun");
    release(s.ids), rendering_free(&chat);
    put_task_files("mmlu/law", "acc_raw", "0 0 1 Q?| A\n0 1 1 Q?| B\n0 2 1 Q?| C\n0 3 1 Q?| D\n");
    put_task_files("mmlu/art", "acc_raw", "0 0 0 Q?| A\n0 1 0 Q?| B\n0 2 0 Q?| C\n0 3 0 Q?| D\n"
                   "1 0 2 R?| A\n1 1 2 R?| B\n1 2 2 R?| C\n1 3 2 R?| D\n");
    put_model_files("even", 0, 48);
    int code = shell(out, sizeof out, "$EVAL mmlu --load even --scores ms --json mj mmlu && "
                     "$EVAL mmlu --chat --load even mmlu && cat mj");
    check(code == 0 && strstr(out, "\"mmlu\": {\"primary_metric\": \"acc_raw\", \"documents\": 3, ")
          && strstr(out, "\"primary\": 0.333333")
          && strstr(out, "\"right\": \"100\""), "subjects and all questions together; of equal letters the "
              "first: %.100s", out);
    code = shell(out, sizeof out, "cp ms whole; head -c 300 whole > ms; $EVAL mmlu --load even --scores ms "
                 "--json mj2 mmlu >/dev/null 2>&1 && cmp ms whole && cmp mj mj2");
    check(code == 0 && !*out, "MMLU goes on where it was: %s", out);
    code = shell(out, sizeof out, "$EVAL mmlu --chat --load even --scores ms mmlu");
    check(code == 1 && strstr(out, "ms: was scored by {") && same_text("ms", "whole"), "... not as a chat");
    code = shell(out, sizeof out, "cp -r even 'a\\b\"'; $EVAL mmlu --load 'a\\b\"' --json quoted "
                 "mmlu && cat quoted");
    check(code == 0 && strstr(out, "{\"directory\": \"a\\\\b\\\"\""), "names are written as JSON: %s", out);
}

// ---- the program: perplexity --------------------------------------------------------------------------

static double figure_of(const char *json, const char *source, const char *domain, const char *name) {
    char *text = text_of(json);
    const char *s = json_get(json_get(json_root(text, json), "sources"), source);
    if (domain) s = json_get(json_get(s, "domains"), domain);
    double x = json_number(s, json, name, -1e300, 1e300, -1);
    release(text);
    return x;
}

static void test_perplexity(void) {
    char out[8192], text[512];
    // Documents of T - 1, T, T + 1 and 2T + 1 bytes, and one that is empty: the windows' edges.
    const int sizes[] = { 47, 48, 49, 97, 0 };
    Config c = small_config(48);
    void *model = noise_model(&c, 0.3);
    double sum = 0, bytes = 0;
    int n = 0;
    char lines[2048];
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < sizes[i]; k++) text[k] = (char)('a' + (k*k + i*3) % 26);
        text[sizes[i]] = 0;
        n += sprintf(lines + n, "{\"id\": \"%d\", \"text\": \"%s\"}\n", i, text);
        for (int t = 0; t < sizes[i]; t += 48) {            // EVAL_SPEC 2.2, by hand
            Span s;
            int ids[64];
            memset(&s, 0, sizeof s);
            s.ids = ids, s.scored = imin(48, sizes[i] - t), s.n = s.scored + 1;
            ids[0] = t ? text[t - 1] : '\n';
            for (int k = 0; k < s.scored; k++) ids[k + 1] = text[t + k];
            sum += plain_score(model, &s);
        }
        bytes += sizes[i];
    }
    cpu_device.destroy(model);
    put_text("paloma/edges/val/a.jsonl", lines);
    int code = shell(out, sizeof out, "$EVAL perplexity --load model --json p paloma");
    check(code == 0 && fabs(figure_of("p", "edges", "", "log_likelihood") - sum) < -1e-6*sum,
          "windows of T, each token predicted once: %.9f, by hand %.9f", figure_of("p", "edges", "",
              "log_likelihood"), sum);
    check(figure_of("p", "edges", "", "tokens") == bytes && figure_of("p", "edges", "", "documents") == 5
          && fabs(figure_of("p", "edges", NULL, "bits_per_byte") + sum/bytes/log(2)) < 1e-5, "tokens, "
              "documents, bits per byte");
    // Two domains; the same documents in other files and another order.
    put_text("paloma/two/val/a.jsonl", "{\"text\": \"One day.\", \"subdomain\": \"x\"}\n{\"text\": \"A "
             "longer text\\u00e9 of more"
             " words.\", \"subdomain\": \"y\\\"\"}\n{\"text\": \"And one more\", \"subdomain\": \"x\"}\n");
    put_text("split/two/val/a.jsonl", "{\"text\": \"And one more\", \"subdomain\": \"x\"}\n");
    put_text("split/two/val/b.jsonl", "{\"text\": \"A longer text\\u00e9 of more words.\", \"subdomain\": "
             "\"y\\\"\"}\n{\"text\": \"One "
             "day.\", \"subdomain\": \"x\"}\n");
    code = shell(out, sizeof out, "$EVAL perplexity --load model --json p paloma >/dev/null && $EVAL "
                 "perplexity --pass 1 --load model "
                 "--json q split >/dev/null && cat p; cat q");
    int same = code == 0;
    static const char *const names[] = { "log_likelihood", "tokens", "bytes", "words", "characters",
                                        "documents", "bits_per_byte" };
    for (int i = 0; i < 7; i++) same &= figure_of("p", "two", "x", names[i]) == figure_of("q", "two", "x",
        names[i]);
    check(same, "how documents lie in files, and in batches, changes no bit");
    check(figure_of("p", "two", "x", "words") == 5 && figure_of("p", "two", "y\\\"", "characters") == 29
          && figure_of("p", "two", "y\\\"", "bytes") == 30, "words, characters, bytes");
    double mean = (figure_of("p", "two", "x", "perplexity") + figure_of("p", "two", "y\\\"", "perplexity"))/2;
    check(fabs(figure_of("p", "two", NULL, "perplexity") - mean) < 1e-6*mean, "a source is the mean of its "
          "domains");
    put_text("none/empty/test/a.jsonl", "{\"text\": \"\"}\n");
    code = shell(out, sizeof out, "$EVAL perplexity --load model --json p none && cat p");
    check(code == 0 && strstr(out, "\"words\": 1, ")
          && strstr(out, "\"bits_per_byte\": null, \"perplexity\": null"),
          "without bytes there are no bits per byte");
    put_text("prefix/s/val/a.jsonl", "{\"text\": \"ab\", \"subdomain\": \"xy\"}\n"
             "{\"text\": \"c\", \"subdomain\": \"x\"}\n{\"text\": \"\", \"subdomain\": \"nothing\"}\n");
    code = shell(out, sizeof out, "$EVAL perplexity --load model --json p --scores gs prefix");
    check(code == 0 && figure_of("p", "s", "xy", "tokens") == 2 && figure_of("p", "s", "x", "tokens") == 1,
          "a domain whose name begins another's is one of its own");
    mean = (figure_of("p", "s", "xy", "bits_per_byte") + figure_of("p", "s", "x", "bits_per_byte"))/2;
    check(fabs(figure_of("p", "s", NULL, "bits_per_byte") - mean) < 1e-6*mean, "a domain without text has no "
          "part in the mean");
    const Domain of_words = { NULL, 0, (int128)6 << 32, 2, 24, 3, 24, 1 };      // 6 nats, 2 tokens, 24 bytes
    check(fabs(domain_perplexity(&of_words) - exp(3)) < 1e-12 &&
          fabs(domain_bits_per_byte(&of_words) - 0.25/log(2)) < 1e-15,
          "perplexity is per token, bits are per byte");
    char longer[256];
    snprintf(longer, sizeof longer, "{\"text\": \"%048d\", \"subdomain\": \"z\"}\n", 0);
    put_text("prefix/s/val/z.jsonl", longer);
    shell(out, sizeof out, "$EVAL perplexity --load model --scores gs prefix");
    snprintf(longer, sizeof longer, "{\"text\": \"%049d\", \"subdomain\": \"z\"}\n", 0);
    put_text("prefix/s/val/z.jsonl", longer);
    code = shell(out, sizeof out, "$EVAL perplexity --load model --scores gs prefix");
    check(code == 1 && strstr(out, "a document of 48 bytes; now it has 48, of 49"),
          "a document that has grown behind its windows is another: %s", out);
#ifdef ZLIB
    code = shell(out, sizeof out, "$EVAL perplexity --load model --json p prefix && "
                 "gzip prefix/s/val/*.jsonl && $EVAL perplexity --load model --json q prefix && cmp p q");
    check(code == 0, "documents are as good in gzip: %s", out);
#endif
    put_model_files("zero", 0, 48);
    code = shell(out, sizeof out, "$EVAL perplexity --load zero --json p paloma");
    check(code == 0 && fabs(figure_of("p", "edges", NULL, "perplexity") - 256) < 1e-4
          && fabs(figure_of("p", "two", "y\\\"", "bits_per_byte") - 8) < 1e-6, "a uniform model: "
              "perplexity 256, 8 bits per byte");
    static const struct { const char *text; double words; } words[] = {
        { "", 1 }, { "a", 1 }, { " a ", 3 }, { "a\xc2\xa0\t b\x1c\xe3\x80\x80", 3 }, { "a\xe2\x80\x8b" "b",
            1 }, { "  ", 2 },
    };
    same = 1;
    for (size_t i = 0; i < sizeof words/sizeof *words; i++) same &= count_words(words[i].text,
        strlen(words[i].text)) == words[i].words;
    check(same, "words are what Python's re.split(r'\\s+') makes of a text");
    // Interrupted runs, of which so many bytes have been kept; documents that stand there twice, too.
    shell(out, sizeof out, "mkdir -p paloma/again/val; head -n 3 paloma/edges/val/a.jsonl > "
          "paloma/again/val/b.jsonl; head -n 2 paloma/edges/val/a.jsonl >> paloma/again/val/b.jsonl");
    code = shell(out, sizeof out, "$EVAL perplexity --load model --json p paloma >/dev/null 2>&1 && "
                 "$EVAL perplexity --load model --scores ps --json q paloma >/dev/null 2>&1 && "
                 "cmp p q && grep -c . ps && head -n 1 ps");
    check(code == 0 && strstr(out, "16\n{\"file\": \"again/val/b.jsonl\", \"line\": ") == out
          && strstr(out, "\"window\": ") && strstr(out, "\"tokens\": "),
          "--scores keeps every window's score, and changes no figure: %.200s", out);
    code = shell(out, sizeof out, "cp ps whole; for n in 0 50 500 1200 2000; do head -c $n whole > ps; "
                 "$EVAL perplexity --load model --scores ps --json q paloma/ >/dev/null 2>&1 && cmp p q && "
                 "sort ps > a && sort whole > b && cmp a b || echo differs at $n; done");
    check(code == 0 && !*out, "a run that was cut off anywhere ends with the same figures and scores: %s",
          out);
    code = shell(out, sizeof out, "cp whole ps; sed -i 's/\"logprob\": -[0-9.]*/\"logprob\": -1/' ps; "
                 "$EVAL perplexity --load model --scores ps --json q paloma");
    check(code == 0 && figure_of("q", "again", "", "log_likelihood") == -6,
          "what is known is not computed again");
    code = shell(out, sizeof out, "cp whole ps; $EVAL perplexity --load other --scores ps paloma");
    check(code == 1 && strstr(out, "error: ps: was scored by {") && same_text("ps", "whole"),
          "another model is refused");
    code = shell(out, sizeof out, "cp -r paloma else; echo '{\"text\": \"Something else\"}' > "
                 "else/again/val/b.jsonl; $EVAL perplexity --load model --scores ps --json new else");
    check(code == 1 && strstr(out, "Is this another folder?") && same_text("ps", "whole")
          && !file_exists(in_scratch("new")) && !file_exists(in_scratch("new.tmp")),
          "and another folder, before anything is written: %.300s", out);
    static const struct { const char *what, *command, *sentence; } rows[] = {
        { "no folder", "$EVAL perplexity --load model nowhere", "expected a folder" },
        { "no sources", "$EVAL perplexity --load model model", "expected source/val/x.jsonl" },
        { "no such split", "$EVAL perplexity --load model --split test split", "found none of --split test" },
        { "a line without text", "mkdir -p h/s/val; echo '{\"id\": 1}' > h/s/val/a.jsonl; $EVAL perplexity "
         "--load model --json new h; "
          "ls new", "h/s/val/a.jsonl:1: expected a string \"text\"" },
        { "no JSON", "echo x > h/s/val/a.jsonl; $EVAL perplexity --load model h",
         "h/s/val/a.jsonl:1: expected one JSON object" },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        shell(out, sizeof out, "%s", rows[i].command);
        const char *error = strstr(out, "error: ");
        check(error && strstr(error, rows[i].sentence) && !file_exists(in_scratch("new")), "%s: %.120s",
              rows[i].what, error ? error : out);
    }
}

// ---- where figures go ---------------------------------------------------------------------------------

// Hours of work are not to end at a name that cannot be written: it is refused before any question is asked,
// and nothing lies there afterwards.
static void test_outputs(void) {
    char out[1 << 14];
    static const struct { const char *what, *command, *sentence; } rows[] = {
        { "a directory", "tasks --load model --json dir tasks", "dir: expected the name of a file" },
        { "no name", "tasks --load model --json '' tasks", ": expected the name of a file" },
        { "a pipe", "mmlu --load model --json pipe tasks", "pipe: expected the name of a file" },
        { "a directory, of perplexity", "perplexity --load model --json dir texts", "dir: expected" },
        { "a directory, for a picture", "curves --png dir A", "dir: expected the name of a file" },
        { "no gnuplot", "curves --png new A", "gnuplot failed" },
    };
    put_task_files("out/tasks/colours", "acc_raw", task_lines);
    put_text("out/texts/s/val/a.jsonl", "{\"text\": \"a\"}\n");
    put_text("out/A", "{\"tasks\": {\"piqa\": {\"primary\": 0.5}}, \"model\": {\"training_tokens\": 1000}}");
    shell(out, sizeof out, "cd out; mkdir dir; mkfifo pipe; ln -s ../model model");
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        const int code = shell(out, sizeof out, "cd out; PATH=nowhere $EVAL %s", rows[i].command);
        const char *error = strstr(out, "error: ");
        check(code == 1 && error && strstr(error, rows[i].sentence) && !strstr(out, "scored:"), "%s: %.200s",
              rows[i].what, out);
    }
    shell(out, sizeof out, "cd out; ls; test -p pipe && echo a pipe; ls dir");
    check(!strcmp(out, "A\ndir\nmodel\npipe\ntasks\ntexts\na pipe\n"), "nothing is left behind: %s", out);

    // A disk that is full from the first byte on. With room again the same command does its work.
    static const char *const full[] = {
        "tasks --load model --json j tasks", "tasks --load model --scores s tasks",
        "perplexity --load model --scores s texts",
    };
    for (int i = 0; i < 3; i++) {
        int code = shell(out, sizeof out, "cd out; ulimit -f 0; $EVAL %s", full[i]);
        check(code == 1 && strstr(out, "is the disk full?"), "a full disk: %s: %.300s", full[i], out);
        shell(out, sizeof out, "cd out; ls -d j* s*");
        check(!strstr(out, ".tmp"), "... and nothing half-written: %s", out);
        code = shell(out, sizeof out, "cd out; $EVAL %s", full[i]);
        check(code == 0, "... the same command does it when there is room: %.300s", out);
        shell(out, sizeof out, "cd out; rm -f j s s.by");
    }
}

// ---- in the training loop --------------------------------------------------------------------------------

static void test_in_loop(void) {
    char out[8192], here[PATH], name[128];
    CHECK(getcwd(here, sizeof here), "no current directory");
    put_task_files("colours", "acc_per_char", task_lines);
    put_text("text.txt", "It was a bright cold day in April, and the clocks were striking thirteen. And so "
             "on, and so on it went.");
    const char *train = "%s/train_olmo --steps 3 --eval-every 2 --save-every 2 --sample-every 0 --d-model "
        "16 --n-layers 1 "
        "--n-heads 2 --mlp-hidden 32 --seq-len 16 --batch 2 --data text.txt --val none --out loop ";
    char command[2*PATH];
    snprintf(command, sizeof command, train, here);
    int code = shell(out, sizeof out, "%s --eval-set a=text.txt --eval-set b=text.txt --eval-tasks colours "
                     "&& "
                     "$EVAL tasks --load loop/step3 --json last colours >/dev/null && grep -c eval/ "
                         "loop/metrics.jsonl", command);
    check(code == 0 && strstr(out, "\n2\n") && strstr(out, "eval/downstream/colours_rc_0shot_len_norm_v2="),
          "evaluated at step 2 and at the last, and told on the console");
    char *metrics = text_of("loop/metrics.jsonl"), *json = text_of("last");
    const char *line = strstr(metrics,
                              "{\"step\": 3"), *task = json_get(json_get(json_root(json, "last"), "tasks"),
                              "colours");
    static const struct { const char *loop, *figure; } rows[] = {
        { "len_norm_v1", "acc_per_char_v1" }, { "len_norm_v2", "acc_per_char" }, { "ce_loss_v1",
            "ce_loss_v1" },
        { "ce_loss_v2", "ce_loss" }, { "bpb_v1", "bits_per_byte_v1" }, { "bpb_v2",
            "bits_per_byte" }, { "chance", "chance" },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        snprintf(name, sizeof name, "eval/downstream/colours_rc_0shot_%s", rows[i].loop);
        const double loop = line ? figure_in(line, name) : NAN, program = figure_in(task, rows[i].figure);
        check(fabs(loop - program) < 1e-5, "%s is %.6f, as the checkpoint scores in eval tasks: %.6f",
              name, loop, program);
    }
    check(line && figure_in(line, "eval/a/CrossEntropyLoss") == figure_in(line, "eval/b/CrossEntropyLoss")
          && figure_in(line, "eval/a/Perplexity") > 1, "--eval-set may be given several times");
    release(metrics), release(json);
    static const struct { const char *metric, *loop; } ways[] = { { "acc_raw", "acc" }, { "f1", "f1" } };
    for (int k = 0; k < 2; k++) {
        put_task_files("colours", ways[k].metric, task_lines);
        shell(out, sizeof out,
              "%s --eval-tasks colours >/dev/null && $EVAL tasks --load loop/step3 --json last "
              "colours >/dev/null", command);
        metrics = text_of("loop/metrics.jsonl"), json = text_of("last");
        line = strstr(metrics, "{\"step\": 3"),
            task = json_get(json_get(json_root(json, "last"), "tasks"), "colours");
        const double program = figure_in(task, ways[k].metric);
        for (int v = 1; v <= 2; v++) {
            snprintf(name, sizeof name, "eval/downstream/colours_rc_0shot_%s_v%d", ways[k].loop, v);
            const double loop = line ? figure_in(line, name) : NAN;
            check(fabs(loop - program) < 1e-5, "%s is %.6f, as in eval tasks: %.6f", name, loop, program);
        }
        release(metrics), release(json);
    }
    put_task_files("colours", "acc_per_char", task_lines);
    char with[4096], without[4096];
    shell(with, sizeof with, "%s --eval-tasks colours | tail -n 1", command);
    shell(without, sizeof without, "%s | tail -n 1", command);
    check(strstr(with, "params hash 0x") && !strcmp(with, without), "evaluation changes no bit of a run: "
          "%.40s", with);
    put_task_files("shades", "acc_per_char", task_lines);
    code = shell(out, sizeof out,
                 "%s --eval-tasks colours,shades | grep -c ' shades_rc_0shot_len_norm_v2='", command);
    check(code == 0 && !strcmp(out, "2\n"), "each task of a line has all of its name: %s", out);
    code = shell(out, sizeof out, "%s --eval-set a=text.txt,a=text.txt", command);
    check(code == 1 && strstr(out, "this name is there twice"), "two sets of one name");
    code = shell(out, sizeof out, "%s --eval-set text.txt", command);
    check(code == 1 && strstr(out, "expected NAME=PATH"), "a set without a name");
    code = shell(out, sizeof out, "%s --vocab 300 --eval-tasks colours", command);
    check(code == 1 && strstr(out, "expected --tokenizer FILE"), "texts, and no tokenizer");
    code = shell(out, sizeof out, "%s --eval-tasks nowhere", command);
    check(code == 1 && strstr(out, "expected the directory of a task"), "no such task");
}

// ---- comparing -------------------------------------------------------------------------------------------

static void test_compare(void) {
    char out[1 << 15];
    check(mcnemar(0, 0) == 1 && fabs(mcnemar(1, 5) - 14/64.0) < 1e-12
          && fabs(mcnemar(10, 0) - 2/1024.0) < 1e-12
          && mcnemar(7, 7) == 1, "McNemar's exact test: %g, %g", mcnemar(1, 5), mcnemar(10, 0));
    put_text("A", "{\"tasks\": {\"piqa\": {\"primary\": 0.5, \"stderr\": 0.1, \"paper\": 0.25, \"right\": "
             "\"1111100000\"},"
             " \"only\": {\"primary\": 1}}, \"model\": {\"training_tokens\": 1000}}");
    put_text("B", "{\"tasks\": {\"piqa\": {\"primary\": 0.9, \"stderr\": 0.09, \"right\": \"0111111111\", "
             "\"chance\": 0.5}},"
             " \"model\": {\"training_tokens\": 2000}}");
    put_text("C", "{\"sources\": {\"s\": {\"bits_per_byte\": 1.5, \"domains\": {\"x\": {\"bits_per_byte\": "
             "1},"
             " \"y\": {\"bits_per_byte\": 2}, \"z\": {\"bits_per_byte\": null}}}}}");
    put_text("D", "{\"sources\": {\"s\": {\"bits_per_byte\": 1.3, \"domains\": {\"y\": {\"bits_per_byte\": "
             "1.7},"
             " \"x\": {\"bits_per_byte\": 0.9}}}}}");
    int code = shell(out, sizeof out, "$EVAL compare A B C D");
    check(code == 0 && strstr(out, "50.0+-10.0") && strstr(out, "90.0+-9.0 0.219"),
          "accuracies, errors, p-values: %.400s", out);
    check(strstr(out, "OLMo-1B") && strstr(out, " 34.5 ") && strstr(out, " 25.0 "), "beside the paper's");
    code = shell(out, sizeof out, "$EVAL compare C D");
    check(code == 0 && strstr(out, "1.5000") && strstr(out, "1.3000 -0.200+-0.100"),
          "bits per byte, domain by domain: %s", out);
    put_text("F", "{\"tasks\": {\"t\": {\"primary\": 1, \"right\": \"11\"}}, \"sources\": "
             "{\"s\": {\"bits_per_byte\": 2, \"domains\": {\"x\": {\"bits_per_byte\": 2}}}}}");
    put_text("G", "{\"tasks\": {\"t\": {\"primary\": 0, \"right\": \"000\"}}, \"sources\": "
             "{\"s\": {\"bits_per_byte\": 3, \"domains\": {\"x\": {\"bits_per_byte\": 3}}}}}");
    code = shell(out, sizeof out, "$EVAL compare F G | grep '^[st] ' | tr -s ' '");
    check(code == 0 && !strcmp(out, "t 100.0 0.0 \ns 2.0000 3.0000 \n"), "a name has one row; other "
          "questions are not paired, and one domain has no error: %s", out);
    Points p = { NULL, 0, 0 };
    points_of_line(&p, "{\"throughput/total_tokens\": 9, \"eval/downstream/x_acc_v2\": 0.5}");
    points_of_line(&p, "{\"throughput/total_tokens\": 5, \"eval/downstream/x_acc_v2\": 0.25, "
                   "\"eval/downstream/x_chance\": 0.125}");
    qsort(p.list, p.n, sizeof *p.list, by_curve);
    check(p.n == 2 && p.list[0].tokens == 5 && p.list[0].value == 0.25 && p.list[0].chance == 0.125 &&
          p.list[1].tokens == 9 && isnan(p.list[1].chance) && !strcmp(p.list[1].name, "x"),
          "a curve's points, by tokens, each with its chance");
    release(p.list);
    code = shell(out, sizeof out, "echo '{}' > E; $EVAL compare E");
    check(code == 1 && strstr(out, "E: expected \"tasks\" or \"sources\""), "what is no result");
    if (shell(out, sizeof out, "command -v gnuplot")) {
        printf("skipped: curves; gnuplot is not installed here\n");
        return;
    }
    code = shell(out, sizeof out, "$EVAL curves --png c.png B A && head -c 4 c.png && $EVAL curves "
                 "loop.1/metrics.jsonl");
    check(code == 0 && strstr(out, "piqa") && strstr(out, "PNG") && strstr(out, "colours_rc_0shot"),
          "curves over training, as a picture and in the terminal");
    code = shell(out, sizeof out, "$EVAL curves C");
    check(code == 1 && strstr(out, "does not tell how many tokens"), "a model without a past has no curve");
}

int main(int argc, char **argv) {
    begin_tests();
    CHECK(mkdtemp(scratch), "%s: cannot be made", scratch);
    test_lines();
    test_spans();
    test_scoring();
    test_sharing();
    test_metrics();
    test_lengths();
    test_kept();
    test_uniform();
    test_sample();
    test_scores_file();
    test_hostile_requests();
    test_golden();
    test_mmlu();
    test_perplexity();
    test_outputs();
    test_in_loop();
    test_compare();
    char out[256];
    shell(out, sizeof out, "rm -rf %s", scratch);
    return verdict(argc > 1 && !strcmp(argv[1], "--part"));
}
