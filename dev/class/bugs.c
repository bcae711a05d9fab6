/*
Planted bugs.       make bug N=3                make a copy of train_olmo.c with one mistake, and train
                                                it beside the healthy program
                    make bug N=3 WITNESS=gemm   does this test of test_olmo.c see it? (their names:
                                                the table at its end)
                    make bug N=3 CHECK=523      is it in this line of build/class/bug_03/train_olmo.c?

Each of these mistakes has been made by somebody, in some program, and went unnoticed for a while,
because the loss still falls. The curve beside the healthy one says how little a falling curve
proves; the witnesses say where to look; the line is for you to find.

Do not read on before you have looked for them: below are the answers. A bug is a line of
train_olmo.c and what stands in its place. For the teacher: `make bug-check` sees to it that each
line is there, once, and that the copies compile; `build/class/bugs train` that their losses fall;
`build/class/bugs witnesses` that the witness named below sees each of them.
*/
#define OLMO_LIBRARY
#include "../../train_olmo.c"

typedef struct { const char *symptom, *line, *instead, *witness, *answer; } Bug;

static const Bug bugs[] = {
    { "It learns, and takes twice as long.",
      "                const real second = b[i]*cosine[i] + sign*a[i]*sine[i];",
      "                const real second = b[i]*cosine[i] - sign*a[i]*sine[i];",
      "op_goldens",
      "RoPE no longer turns its pairs: the second half has the wrong sign. Attention can still "
      "tell positions apart, by length instead of by angle, so it trains; but no weights of "
      "anybody else's will work in it." },
    { "It learns how often each letter comes, and hardly more.",
      "        for (int c = 0; c < C; c++) d[c] += rstd[n]*(g[c] - avg - out[c]*avg_y);",
      "        for (int c = 0; c < C; c++) d[c] = rstd[n]*(g[c] - avg - out[c]*avg_y);",
      "model_differences",
      "The norm's gradient overwrites the residual stream's instead of being added to it: what "
      "went around the norm is lost, and early layers hear of the loss only through all later "
      "ones." },
    { "Slower, and nobody would know why.",
      "                for (int j = 0; j < n; j++) ds[j] = scale*p[j]*(ds[j] - dot);",
      "                for (int j = 0; j < n; j++) ds[j] = p[j]*(ds[j] - dot);",
      "op_differences",
      "The scores are divided by sqrt(D) on the way down and not on the way back: queries and "
      "keys get sqrt(D) times their gradient." },
    { "The curve is hard to tell from the healthy one.",
      "            dgate[f] = d[f]*u*sigma*(1 + z*(1 - sigma));",
      "            dgate[f] = d[f]*u*sigma;",
      "op_differences",
      "The derivative of silu without its second term. For most gates it is nearly right, which "
      "is enough to train; in 300 steps it may even be ahead." },
    { "The first steps are off, later ones are not.",
      "    const real step_size = (real)(adamw->lr/(1 - pow(adamw->beta1, adamw->step)));",
      "    const real step_size = (real)adamw->lr;",
      "adamw_golden",
      "AdamW's first moment starts at zero and is not corrected for it: with the other correction "
      "still there, early steps are too small." },
    { "The gradient norm grows and grows.",
      "            g[i] = 0;",
      "            g[i] *= (real)0.5;",
      "adamw_golden",
      "The gradients are not cleared after the update, only halved: every step drags the last "
      "ones along. Clipping hides how large they get." },
    { "It trains. Its weights grow.",
      "        const real decay = (real)(1 - adamw->lr*weight_decay);",
      "        const real decay = (real)(1 + adamw->lr*weight_decay);",
      "adamw_golden",
      "The weight decay has the wrong sign: weights grow a little with every step. In 300 steps "
      "that hardly shows." },
    { "Training looks right, but what it generates is poor.",
      "        rope_forward(q, a->rope, n, n, past, H + G, D, Q);",
      "        rope_forward(q, a->rope, n, n, past ? past - 1 : 0, H + G, D, Q);",
      "kv_cache",
      "With a KV cache, new tokens are turned to the position before theirs. Training has past = "
      "0 and never sees it: a stale position, in generation only." },
    { "A little slower, with tied weights.",
      "        embed_backward(m->grad.wte, a->dx + first*C, a->tokens + first, T, C);",
      "        embed_backward(m->grad.wte, a->dx, a->tokens + first, T, C);",
      "model_differences",
      "Every sequence of the batch adds the first sequence's gradient to the embeddings of its "
      "own tokens. With a batch of 1 all is well." },
    { "A little below the healthy curve, then a little above, then the same.",
      "    const real clip = (real)(adamw->clip > 0 ? fmin(1, adamw->clip/(norm + 1e-6)) : 1);",
      "    const real clip = (real)(adamw->clip > 0 ? fmin(1, adamw->clip/(norm*norm + 1e-6)) : 1);",
      "references",
      "Clipping divides by the square of the norm: gradients above 1 are cut too much. AdamW forgives "
      "a wrong size of its gradients, but its averages now hold steps of different weights." },
    { "A little slower than the healthy one, all the way.",
      "    gemm(dweight, C, transposed(dout, O), matrix(inp, C), O, C, B*T, T, 1);",
      "    gemm(dweight, C, transposed(dout, O), matrix(inp, C), O, C, B*T, T, B > 1);",
      "references",
      "A product of one sequence overwrites the weight gradient instead of adding to it. The "
      "layers multiply whole micro-batches, so they notice nothing before --micro-batch 1; but "
      "the head goes through its batch one sequence at a time, to keep the logits small: only the "
      "last one is heard." },
    { "Behind the healthy curve at first, ahead of it later.",
      "        for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;",
      "        for (int shift = 1; shift < 8; shift *= 2) mask |= mask >> shift;",
      "shuffle_goldens",
      "The mask of the shuffle has holes: many exchanges can never be drawn, so the data is "
      "hardly mixed. Every window is still seen once." },
    { "Prompts are continued a little too wildly.",
      "        if (sum >= u*kept) return c->id;",
      "        if (sum >= u*total) return c->id;",
      "sampling",
      "What top-p has kept is not normalized again: the walk goes on into what was cut off." },
    { "Nothing shows, except in the largest models.",
      "    return s > 1 && s - 1 <= r->clip_warmup_steps ? r->clip*r->clip_warmup_factor : r->clip;",
      "    return s > 1 && s - 1 <= r->clip_warmup_steps ? r->clip : r->clip*r->clip_warmup_factor;",
      "schedules",
      "The two limits of the clipping warm-up are exchanged: tight while the warm-up lasts, loose "
      "ever after. In the default run both are 1." },
    { "Within a hundredth of the healthy curve: now below it, now above.",
      "                const int n = imin(keys, past + i + 1);",
      "                const int n = imin(keys, past + i);",
      "op_differences",
      "The mask of the backward pass is off by one: a query sees its own key on the way down and "
      "not on the way back. That key, and its value, hear nothing of it." },
    { "Nothing to see: AdamW divides by the size of its gradients.",
      "            b->weights[i] = (real)(b->targets[i] < 0 ? 0 : row->weight/denominator);",
      "            b->weights[i] = (real)(b->targets[i] < 0 ? 0 : row->weight/(b->n*row->padded));",
      "adaptation_bits",
      "Accumulation with the wrong denominator: the number of positions, padding included, "
      "instead of the number of labels. Gradients are too small by the share of the padding, and "
      "by another share in every step." },
    { "A worse start; later, nobody would notice.",
      "            const real grad = g[i]*clip;",
      "            const real grad = g[i];",
      "references",
      "The norm is computed, reported and compared with the limit; but the update reads the "
      "gradients as they were. Clipping after the update is none." },
    { "The reported gradient norm is a little too large.",
      "    const double norm = global_norm(model->grads, model->layout.size);",
      "    const double norm = hypot(global_norm(model->grads, model->layout.size), "
      "global_norm(model->grads, model->layout.tensor[0].rows*(size_t)model->layout.tensor[0].cols));",
      "references",
      "The tied matrix counts twice in the norm, once as the embedding and once as the head: "
      "everything is clipped too early." },
};
enum { N_BUGS = sizeof bugs/sizeof *bugs, BUG_STEPS = 300 };

// Where the bug's line stands in the source, and its number; a sentence if it is not there exactly
// once.
static char *find_line(char *text, const Bug *b, int number, int *line) {
    size_t n = strlen(b->line);
    char *found = NULL;
    int current = 1;
    for (char *at = text; *at; at++) {
        const int begins = at == text || at[-1] == '\n';
        if (begins && !strncmp(at, b->line, n) && (at[n] == '\n' || at[n] == ' ')) {
            CHECK(!found, "bug %d: its line stands in train_olmo.c more than once", number);
            found = at, *line = current;
        }
        current += *at == '\n';
    }
    CHECK(found, "bug %d: its line is no longer in train_olmo.c; dev/class/bugs.c must follow", number);
    return found;
}

// build/class/bug_NN/train_olmo.c, and test_olmo.c beside it, which includes it. Returns the line.
static int plant(int number) {
    const Bug *b = &bugs[number - 1];
    char directory[64], path[128];
    int line;
    char *text = read_text("train_olmo.c"), *tests = read_text("test_olmo.c");
    char *at = find_line(text, b, number, &line);
    snprintf(directory, sizeof directory, "build/class/bug_%02d", number);
    make_directory(directory);
    snprintf(path, sizeof path, "%s/train_olmo.c", directory);
    FILE *file = open_to_write(path);
    fwrite(text, 1, (size_t)(at - text), file);
    fputs(b->instead, file);
    fputs(at + strlen(b->line), file);
    close_written(file, path);
    snprintf(path, sizeof path, "%s/test_olmo.c", directory);
    file = open_to_write(path);
    fputs(tests, file);
    close_written(file, path);
    release(text), release(tests);
    return line;
}

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *format, ...) {
    char command[2*PATH];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    fflush(stdout);
    return system(command);
}

static const char *compiler(void) {
    const char *given = getenv("CLASS_CC");
    return given ? given : "cc -O2 -march=native -fopenmp -ffp-contract=fast -fno-math-errno";
}

// The losses of a run, from its metrics; returns how many.
static int read_losses(const char *directory, double *loss) {
    char path[PATH], line[4096];
    int n = 0;
    path_join(path, directory, "metrics.jsonl");
    FILE *file = fopen(path, "r");
    while (file && n < BUG_STEPS && fgets(line, sizeof line, file))
        loss[n++] = json_number(line, path, "train/CrossEntropyLoss", 0, 1e9, NAN);
    if (file) fclose(file);
    return n;
}

// Trains the default model with `program`. Returns how many of the BUG_STEPS losses it wrote.
static int run_program(const char *program, const char *out, double *loss) {
    if (shell("%s --steps %d --eval-every 0 --sample-every 0 --no-save --out %s >/dev/null", program,
              BUG_STEPS, out)) return 0;
    return read_losses(out, loss);
}
static int train_bug(int number, double *loss) {
    char program[64], out[64];
    snprintf(program, sizeof program, "build/class/bug_%02d/train", number);
    snprintf(out, sizeof out, "build/class/bug_%02d/out", number);
    if (shell("%s -w -I. -o %s %s_olmo.c -lm", compiler(), program, program)) return 0;
    return run_program(program, out, loss);
}

static double average(const double *x, int from, int to) {
    double sum = 0;
    for (int i = from; i < to; i++) sum += x[i];
    return sum/(to - from);
}

static void show(int number) {
    static double healthy[BUG_STEPS], sick[BUG_STEPS];
    const char *out = "build/class/bug_healthy";
    plant(number);
    printf("Bug %d of %d. %s\n", number, N_BUGS, bugs[number - 1].symptom);
    printf("Training the healthy program and the copy, %d steps each ...\n", BUG_STEPS);
    if (read_losses(out, healthy) != BUG_STEPS) {
        CHECK(run_program("./train_olmo", out, healthy) == BUG_STEPS,
              "the healthy run failed; does ./train_olmo run?");
    }
    int n = train_bug(number, sick);
    CHECK(n == BUG_STEPS, "the copy's run failed after %d steps", n);
    printf("\n    steps        healthy    with the bug      (mean training loss)\n");
    for (int from = 0; from < BUG_STEPS; from += 50) {
        const double well = average(healthy, from, from + 50), ill = average(sick, from, from + 50);
        printf("  %4d-%-4d     %8.4f        %8.4f\n", from + 1, from + 50, well, ill);
    }
    printf("\nWhich witness finds it? make bug N=%d WITNESS=op_differences (or another name from the "
           "end of test_olmo.c)\n", number);
    printf("Which line is it?       make bug N=%d CHECK=line of build/class/bug_%02d/train_olmo.c\n",
           number, number);
}

// Runs one test of test_olmo.c, built around the copy: in float, and if that is green in double, for
// some tests need one of them. Returns whether one of both fails.
static int witness_sees(int number, const char *name) {
    char directory[64];
    int seen = 0;
    plant(number);
    CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name),
          "WITNESS=%s: expected the name of a test", name);
    snprintf(directory, sizeof directory, "build/class/bug_%02d", number);
    for (int twice = 0; twice < 2 && !seen; twice++) {
        const char *type = twice ? "double" : "float";
        if (shell("%s -O1 -w -I. -DREAL=%s -o %s/test_%s %s/test_olmo.c -lm", compiler(), type, directory,
                  type, directory)) die("the tests cannot be built around the copy");
        (void)shell("TRAIN_OLMO=%s/train %s/test_%s --part %s >%s/log 2>&1", directory, directory, type,
                    name, directory);
        seen |= !shell("grep -a '^FAIL' %s/log | head -n 5 | grep .", directory);
    }
    return seen;
}

static int verdict(int failed) {
    printf("%d passed, %d failed\n", N_BUGS - failed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

// Each line stands once, and its copy compiles.
static int check_lines(void) {
    int failed = 0;
    for (int number = 1; number <= N_BUGS; number++) {
        const int line = plant(number);
        const int fine = !shell("%s -w -I. -O0 -fsyntax-only build/class/bug_%02d/train_olmo.c",
                                compiler(), number);
        printf("%s  bug %d, line %d: stands once, and compiles\n", fine ? "ok  " : "FAIL", number, line);
        failed += !fine;
    }
    return verdict(failed);
}

// The loss of each copy falls.
static int check_training(void) {
    static double loss[BUG_STEPS];
    int failed = 0;
    for (int number = 1; number <= N_BUGS; number++) {
        const int line = plant(number), n = train_bug(number, loss);
        const double last = n == BUG_STEPS ? average(loss, BUG_STEPS - 20, BUG_STEPS) : NAN;
        const int fine = last < 0.5*loss[0];
        printf("%s  bug %d, line %d: loss %.3f at first, %.3f after %d steps\n", fine ? "ok  " : "FAIL",
               number, line, n ? loss[0] : NAN, last, n);
        failed += !fine;
    }
    return verdict(failed);
}

// The witness of each bug sees it.
static int check_witnesses(void) {
    int failed = 0;
    for (int number = 1; number <= N_BUGS; number++) {
        const char *name = bugs[number - 1].witness;
        const int fine = witness_sees(number, name);
        printf("%s  bug %d: %s sees it\n", fine ? "ok  " : "FAIL", number, name);
        failed += !fine;
    }
    return verdict(failed);
}

static int check_guess(int number, int guess) {
    const Bug *b = &bugs[number - 1];
    const int line = plant(number);
    if (guess != line) {
        printf("line %d: no. (The curves and the witnesses say where to look.)\n", guess);
        return EXIT_FAILURE;
    }
    printf("line %d: yes!\n", line);
    printf("  it says      %s\n", b->instead + strspn(b->instead, " "));
    printf("  it must say  %s\n", b->line + strspn(b->line, " "));
    printf("%s\nOne of the witnesses that see it is %s.\n", b->answer, b->witness);
    return finished();
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "check")) return check_lines();
    if (!strcmp(what, "train")) return check_training();
    if (!strcmp(what, "witnesses")) return check_witnesses();
    const int number = atoi(what);
    CHECK(number >= 1 && number <= N_BUGS, "make bug N=...: expected a number from 1 to %d", N_BUGS);
    if (argc > 3 && !strcmp(argv[2], "line")) return check_guess(number, atoi(argv[3]));
    if (argc > 3 && !strcmp(argv[2], "witness")) {
        printf("Building the tests around the copy, which takes a minute ...\n");
        printf(witness_sees(number, argv[3]) ? "%s sees it.\n" :
               "%s is green: it does not see this bug, or there is no such test.\n", argv[3]);
        return finished();
    }
    show(number);
    return finished();
}
