/*
eval: how good is a model? Perplexity as Paloma measures it, questions as OLMo's evaluations ask them.

    make eval
    dev/eval/tasks.sh                                                       fetches the official request files
    dev/eval/eval tasks --load DIR --tokenizer FILE data/tasks/piqa/rc_0shot ...
    dev/eval/eval perplexity --load DIR --tokenizer FILE FOLDER             with source/split/x.jsonl[.gz]
    dev/eval/eval mmlu --load DIR --tokenizer FILE data/tasks/mmlu
    dev/eval/eval compare A.json B.json ...                 what --json has written, side by side
    dev/eval/eval curves [--png FILE] A.json B.json ...     the same over training
    dev/eval/eval COMMAND --help

It includes train_olmo.c, as the tests do, and asks one thing of a model: tokens, targets -> losses. So every
device will do (make eval_cu). dev/eval/README.md says what each number means, and what it was compared with.

    eval.c         the model, the progress bar, JSON, the command line
    tasks.c        questions with choices (data/requests.c has the request files and the scoring)
    perplexity.c   bits per byte of documents
    compare.c      tables, paired tests and curves of what was written
*/
#define OLMO_LIBRARY
#ifdef __CUDACC__
#include "../../train_olmo.cu"
#else
#include "../../train_olmo.c"
#endif
#include <stddef.h>

#include "../../data/whole.c"

// ---- the command line ---------------------------------------------------------------------------------

typedef struct {
    const char *name;                           // tasks, perplexity, ...
    const char *load, *tokenizer, *scores, *json, *split, *png;
    int eos, seq_len, threads, pass, limit, sample, chat, help;
    const char **files;                         // the arguments that are no options
    int n;
} Command;

// The options of this command. Returns how many there are.
static int option_list(Command *c, Option *table) {
    const char *any = "tasks mmlu perplexity compare curves", *scoring = "tasks mmlu perplexity";
    const char *asking = "tasks mmlu";
    const struct { const char *commands; Option option; } all[] = {
        { scoring, { "the model", GROUP, NULL, "" } },
        { scoring, { "--load", TEXT, &c->load, "a Hugging Face directory, or a checkpoint of train_olmo" } },
        { scoring, { "--tokenizer", TEXT, &c->tokenizer,
                     "tokenizer.json (without it: --load's; 256 tokens are bytes)" } },
        { scoring, { "--eos", WHOLE, &c->eos,
                     "id that ends a document, and begins one (-1: as in config.json)" } },
        { scoring, { "--seq-len", WHOLE, &c->seq_len,
                     "tokens the model looks at (0: as many as it was trained with)" } },
        { "mmlu", { "--chat", FLAG, &c->chat,
                    "questions are a user's messages, in the template of OLMo's chat models" } },
        { scoring, { "which questions or documents", GROUP, NULL, "" } },
        { asking, { "--limit", WHOLE, &c->limit, "the first N questions of each task (0: all)" } },
        { asking, { "--sample", WHOLE, &c->sample,
                    "N questions of each task, drawn as Catwalk draws them (0: all)" } },
        { "perplexity", { "--split", TEXT, &c->split, "val or test (without it: both)" } },
        { "tasks mmlu perplexity curves", { "results", GROUP, NULL, "" } },
        { scoring, { "--scores", TEXT, &c->scores,
                     "FILE.jsonl: each score, as it is found; a stopped run goes on" } },
        { scoring, { "--json", TEXT, &c->json, "FILE: all figures" } },
        { "curves", { "--png", TEXT, &c->png, "FILE: curves as a picture (needs gnuplot)" } },
        { any, { "run", GROUP, NULL, "" } },
        { scoring, { "--pass", WHOLE, &c->pass, "tokens in a forward pass: more need more memory" } },
        { scoring, { "--threads", WHOLE, &c->threads, "threads (0: all)" } },
        { any, { "--help", FLAG, &c->help, "this text" } },
    };
    int n = 0;
    for (size_t i = 0; i < sizeof all/sizeof *all; i++)
        if (strstr(all[i].commands, c->name)) table[n++] = all[i].option;
    return n;
}

static Command read_command(const char *name, const char *usage, int argc, char **argv) {
    Command c, standard;
    Option table[MAX_OPTIONS];
    memset(&standard, 0, sizeof standard);
    standard.name = name, standard.eos = -1, standard.pass = 4096;
    c = standard;
    memory_advice = "; try a smaller --pass";
    c.files = (const char **)allocate((size_t)argc + 1, sizeof *c.files, "the command line");
    c.n = parse_options(table, option_list(&c, table), argc, argv, c.files, NULL);
    if (c.help) {
        printf("usage: dev/eval/eval %s\n", usage);
        print_options(table, option_list(&standard, table));
        exit(finished());
    }
    CHECK(!c.split || !strcmp(c.split, "val") || !strcmp(c.split, "test"),
          "--split %s: expected val or test", c.split);
    CHECK(!c.limit || !c.sample, "--limit and --sample: only one of them can be");
    CHECK(c.pass > 0 && c.pass <= 1 << 28, "--pass %d: expected at least one token", c.pass);
    whole_check(c.json), whole_check(c.png);                // hours of work are not to end in vain
    use_threads(c.threads);
    return c;
}

// ---- JSON out -----------------------------------------------------------------------------------------

// A number that is none (0/0) is null.
static void put_number(FILE *f, const char *name, double x) {
    if (isfinite(x)) fprintf(f, "\"%s\": %.12g", name, x); else fprintf(f, "\"%s\": null", name);
}
static void put_string(FILE *f, const char *s, size_t n) {
    fputc('"', f);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"' || s[i] == '\\') fprintf(f, "\\%c", s[i]);
        else if ((unsigned char)s[i] < ' ' || s[i] == 127) fprintf(f, "\\u%04x", (unsigned)s[i]);
        else fputc(s[i], f);
    }
    fputc('"', f);
}

// ---- the model ----------------------------------------------------------------------------------------

static const Device *the_device;
static Run run;                                 // its config, model and layout
static Coder coder;
static Tokenizer *tokenizer;                    // NULL: tokens are bytes
static uint64_t model_hash, tokenizer_hash;
static double training_tokens = NAN;            // that a checkpoint of ours has seen

static uint64_t hash_of_file(const char *path) {
    char *text = read_text(path);
    const uint64_t hash = fnv1a(fnv1a_start, (const unsigned char *)text, strlen(text));
    release(text);
    return hash;
}

static void open_tokenizer(const Command *c) {
    const int vocab = run.o.config.vocab, eos = run.o.config.eos;
    char beside[PATH];
    const char *path = c->tokenizer;
    path_join(beside, c->load, "tokenizer.json");
    if (!path && vocab != 256 && file_exists(beside)) path = beside;
    coder.T = run.o.config.seq_len;
    coder.first = eos >= 0 ? eos : vocab == 256 ? '\n' : -1;
    CHECK(path || vocab == 256,
          "--tokenizer: expected this model's tokenizer.json; its %d tokens are no bytes", vocab);
    CHECK(coder.first >= 0, "--eos: expected the id that ends a document; %s/config.json has none", c->load);
    if (!path) return;
    tokenizer = tokenizer_load(path), tokenizer_hash = hash_of_file(path);
    CHECK(tokenizer->vocab <= vocab, "%s: has %d tokens, the model only %d rows in its embedding; "
          "is it this model's tokenizer?", path, tokenizer->vocab, vocab);
    coder.tokenizer = tokenizer, coder.encoder = encoder_new(tokenizer);
}

static void open_model(const Command *c) {
    Config *config = &run.o.config;
    char path[PATH], parameters[48], memory[48];
    Memory plan[MAX_MEMORY];
    Weights unused;
    double bytes = 0;
    CHECK(c->load && *c->load, "--load: expected the directory of a model");
    *config = config_read(c->load);
    if (c->seq_len) config->seq_len = c->seq_len;
    if (c->eos >= 0) config->eos = c->eos;
    config_check(config, "command line");
    open_tokenizer(c);
    if (the_device->open) the_device->open();
    olmo_layout(&run.layout, &unused, NULL, config);
    const int T = config->seq_len, n = the_device->memory(plan, config, 0, ceil_div(c->pass, T), T);
    for (int i = 0; i < n; i++) bytes += (double)plan[i].bytes;
    fprintf(stderr, "model: %s, %s parameters, T %d; device %s, %s\n", c->load,
            with_commas((double)run.layout.size, parameters), T, the_device->name, bytes_text(bytes, memory));
    fprintf(stderr, "tokens: %s; %d stands before an empty context\n",
            tokenizer ? "a tokenizer's" : "bytes", coder.first);
    const Model model = { the_device, the_device->build(config, 0), config, &run.layout };
    run.model = model;
    weights_read(c->load, model);
    model_hash = params_hash(&run);
    path_join(path, c->load, "train.json");
    if (!file_exists(path)) return;
    char *text = read_text(path);
    training_tokens = json_number(json_root(text, path), path, "tokens", 0, 1e18, NAN);
    release(text);
}

static void close_model(void) {
    the_device->destroy(run.model.handle);
    encoder_free(coder.encoder);
    tokenizer_free(tokenizer);
}

// What a score depends on besides the texts, as members of a JSON object.
static void describe_model(char *out, size_t room, const Command *c) {
    const Config *m = &run.o.config;
    char tokens[32] = "bytes";
    const int name = (int)strcspn(the_device->name, ",");   // what follows changes from run to run
    if (tokenizer) snprintf(tokens, sizeof tokens, "0x%016llx", (unsigned long long)tokenizer_hash);
    int n = snprintf(out, room, "\"weights\": \"0x%016llx\", \"heads\": %d, \"kv_heads\": %d, "
                     "\"rope_theta\": %.9g, "
                     "\"clip_qkv\": %.9g, \"T\": %d, \"tokenizer\": \"%s\", \"first\": %d, "
                     "\"command\": \"%s\", \"chat\": %d, \"limit\": %d, \"sample\": %d, "
                     "\"device\": \"%.*s\"",
                     (unsigned long long)model_hash, m->n_heads, m->n_kv_heads, m->rope_theta,
                     m->clip_qkv, coder.T, tokens, coder.first,
                     c->name, c->chat, c->limit, c->sample, name, the_device->name);
    CHECK(n > 0 && (size_t)n < room, "the model's description is too long");
}

// The beginning of a --json file.
static void put_model(FILE *f, const Command *c) {
    char text[1024];
    describe_model(text, sizeof text, c);
    fprintf(f, "{\"model\": {\"directory\": ");
    put_string(f, c->load, strlen(c->load));
    fprintf(f, ", ");
    put_number(f, "training_tokens", training_tokens);
    fprintf(f, ", %s},\n", text);
}

// ---- the progress bar ---------------------------------------------------------------------------------
// On a terminal, on standard error, five times a second; elsewhere nothing.

static struct { const char *what; double total, began, shown; } bar;

static void bar_begin(const char *what, double total) {
    bar.what = what, bar.total = total, bar.began = bar.shown = seconds();
}
static void bar_to(double done, double tokens) {        // done: of the total; tokens: so far, for the rate
    const double now = seconds(), past = now - bar.began + 1e-9;
    const double part = fmin(1, (done + 1e-9)/(bar.total + 1e-9));
    const int left = (int)fmin(past*(1/part - 1), 1e9);
    char rate[48];
    if (!isatty(2) || now - bar.shown < 0.2) return;
    bar.shown = now;
    fprintf(stderr, "\r%-24.24s [%-30.*s] %3.0f%%  %s tokens/s  %d:%02d left ", bar.what, (int)(30*part),
            "##############################", 100*part, with_commas(tokens/past, rate), left/60, left%60);
    fflush(stderr);
}
static void bar_end(void) { if (isatty(2)) fprintf(stderr, "\r%*s\r", 100, ""); }

// 0 if there is no file.
static double file_bytes(const char *path) { struct stat s; return stat(path, &s) ? 0 : (double)s.st_size; }

// ---- the file of scores -------------------------------------------------------------------------------
// With --scores FILE.jsonl every score is appended to it as soon as it is known, so that a run that was
// stopped goes on there. FILE.by says what scored it: another model, or other options, are refused.
// One run at a time writes it.

static FILE *scores_file;

// A crash may have cut the last line off: what stands behind the last newline goes.
static void drop_broken_line(const char *path) {
    FILE *file = fopen(path, "rb");
    CHECK(file, "%s: cannot be read: %s", path, strerror(errno));
    off_t at = 0, whole = 0;
    for (int byte; (byte = fgetc(file)) != EOF; ) if (at++, byte == '\n') whole = at;
    fclose(file);
    CHECK(whole == at || truncate(path, whole) == 0, "%s: cannot be written: %s", path, strerror(errno));
}

// Calls `use` for every line that is there already, as the members of a JSON object.
static void open_scores(const Command *c, void (*use)(void *context, const char *o, const char *place),
                        void *context) {
    char path[PATH], text[1024], *found;
    describe_model(text, sizeof text, c);
    path_print(path, "%s.by", c->scores);
    const int begun = file_bytes(c->scores) > 0 || file_exists(path);
    scores_file = fopen(c->scores, "ab");
    CHECK(scores_file, "%s: cannot be written: %s", c->scores, strerror(errno));
    CHECK(flock(fileno(scores_file), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK,
          "%s: another run is writing it; wait for its end, or choose another --scores", c->scores);
    if (begun) {
        CHECK(file_exists(path),
              "%s: exists, but not %s, which says what scored it; choose another --scores", c->scores, path);
        found = read_text(path);
        found[strcspn(found, "\n")] = 0;
        CHECK(strlen(found) == strlen(text) + 2 && !strncmp(found + 1, text, strlen(text)),
              "%s: was scored by %s and not by {%s}; choose another --scores, or remove both files",
              c->scores, found, text);
        release(found);
    } else {
        Whole *w = whole_begin(path);
        fprintf(w->file, "{%s}\n", text), whole_end(w);
    }
    drop_broken_line(c->scores);
    if (file_bytes(c->scores) > 0) {
        Lines *l = lines_open(c->scores);
        for (char *line; (line = lines_next(l)) != NULL; ) use(context, json_root(line, l->place), l->place);
        lines_close(l);
    }
}
static void flush_scores(void) {
    CHECK(!scores_file || fflush(scores_file) == 0, "--scores: writing failed: %s", strerror(errno));
}

// A run that was asked to stop.
static void stop_here(const Command *c) {
    bar_end();
    CHECK(c->scores, "stopped as asked; with --scores FILE the same command would go on where it was");
    printf("stopped as asked; the same command goes on\n");
    exit(finished());
}

#include "tasks.c"
#include "perplexity.c"
#include "compare.c"

int eval_main(int argc, char **argv, const Device *device) {
    static const struct { const char *name, *usage; void (*run)(const Command *c); } commands[] = {
        { "tasks", "tasks --load DIR [options] TASK_DIRECTORY...", tasks_main },
        { "perplexity", "perplexity --load DIR [options] FOLDER", perplexity_main },
        { "mmlu", "mmlu --load DIR [options] DIRECTORY", mmlu_main },
        { "compare", "compare A.json B.json ...", compare_main },
        { "curves", "curves [--png FILE] A.json B.json ... or metrics.jsonl", curves_main },
    };
    const size_t n = sizeof commands/sizeof *commands;
    const int help = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    the_device = device;
    begin_program();
    for (size_t i = 0; argc > 1 && i < n; i++) if (!strcmp(argv[1], commands[i].name)) {
        Command c = read_command(argv[1], commands[i].usage, argc - 1, argv + 1);
        commands[i].run(&c);
        return finished();
    }
    CHECK(help, "%s: expected a command: tasks, perplexity, mmlu, compare or curves; --help explains each",
          argc > 1 ? argv[1] : "eval");
    for (size_t i = 0; i < n; i++) printf("dev/eval/eval %s\n", commands[i].usage);
    return finished();
}

#ifndef EVAL_LIBRARY                            // the tests include this file without main
int main(int argc, char **argv) {
#ifdef __CUDACC__
    return eval_main(argc, argv, &gpu_device);
#else
    spin_less(argv);
    return eval_main(argc, argv, &cpu_device);
#endif
}
#endif
