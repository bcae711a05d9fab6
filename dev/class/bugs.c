/*
Planted bugs.       make bug N=3                     a copy of train_olmo.c with one mistake, trained beside the healthy program
                    make bug N=3 WITNESS=gemm        does this test of test_olmo.c see it? (their names: the table at its end)
                    make bug N=3 CHECK=523           is it in this line of build/class/bug_03/train_olmo.c?

Each of these mistakes has been made by somebody, in some program, and went unnoticed for a while, because the loss still falls. The
curve beside the healthy one says how little a falling curve proves; the witnesses say where to look; the line is for you to find.

Do not read on before you have looked for them: below are the answers. A bug is a line of train_olmo.c and what stands in its place;
`make bug-check` sees to it that the line is there, once, and that the copy compiles; `build/class/bugs train`
that its loss falls.
*/
#define OLMO_LIBRARY
#include "../../train_olmo.c"

typedef struct { const char *symptom, *line, *instead, *answer; } Bug;

static const Bug bugs[] = {
    { "The model learns nearly as fast as ever.",
      "                const real second = b[i]*cosine[i] + turn*a[i]*sine[i];",
      "                const real second = b[i]*cosine[i] - turn*a[i]*sine[i];",
      "RoPE no longer turns its pairs: the second half has the wrong sign. Attention can still tell positions apart, by length "
      "instead of by angle, so it trains; but no weights of anybody else's will work in it." },
    { "It starts as always and falls behind.",
      "        for (int c = 0; c < C; c++) d[c] += rstd[n]*(g[c] - avg - out[c]*avg_y);",
      "        for (int c = 0; c < C; c++) d[c] = rstd[n]*(g[c] - avg - out[c]*avg_y);",
      "The norm's gradient overwrites the residual stream's instead of being added to it: what went around the norm is lost, and "
      "early layers hear of the loss only through all later ones." },
    { "Slower, and nobody would know why.",
      "                for (int j = 0; j < n; j++) ds[j] = scale*p[j]*(ds[j] - dot);",
      "                for (int j = 0; j < n; j++) ds[j] = p[j]*(ds[j] - dot);",
      "The scores are divided by sqrt(D) on the way down and not on the way back: queries and keys get sqrt(D) times their gradient." },
    { "The curve is hard to tell from the healthy one.",
      "            dgate[f] = d[f]*u*sigma*(1 + z*(1 - sigma));",
      "            dgate[f] = d[f]*u*sigma;",
      "The derivative of silu without its second term. For most gates it is nearly right, which is enough to train." },
    { "The first steps are off, later ones are not.",
      "    const real step_size = (real)(adamw->lr/(1 - pow(adamw->beta1, adamw->step)));",
      "    const real step_size = (real)adamw->lr;",
      "AdamW's first moment starts at zero and is not corrected for it: with the other correction still there, early steps are too small." },
    { "The gradient norm grows and grows.",
      "            g[i] = 0;",
      "            g[i] *= (real)0.5;",
      "The gradients are not cleared after the update, only halved: every step drags the last ones along. Clipping hides how large "
      "they get." },
    { "It trains. Its weights grow.",
      "        const real decay = (real)(1 - adamw->lr*weight_decay);",
      "        const real decay = (real)(1 + adamw->lr*weight_decay);",
      "The weight decay has the wrong sign: weights grow a little with every step. In 300 steps that hardly shows." },
    { "Training looks right, but what it generates is poor.",
      "    rope_forward(s->qkv, a->rope, N, T, past, H + G, D, Q);",
      "    rope_forward(s->qkv, a->rope, N, T, past ? past - 1 : 0, H + G, D, Q);",
      "With a KV cache, new tokens are turned to the position before theirs. Training has past = 0 and never sees it: a stale position, "
      "in generation only." },
    { "A little slower, with tied weights.",
      "        embed_backward(m->grad.wte, a->dx + first*C, a->tokens + first, T, C);",
      "        embed_backward(m->grad.wte, a->dx, a->tokens + first, T, C);",
      "Every sequence of the batch adds the first sequence's gradient to the embeddings of its own tokens. With a batch of 1 all is well." },
    { "The same loss, step for step, for a while.",
      "    const real clip = (real)(adamw->clip > 0 ? fmin(1, adamw->clip/(norm + 1e-6)) : 1);",
      "    const real clip = (real)(adamw->clip > 0 ? fmin(1, adamw->clip*adamw->clip/(norm*norm + 1e-6)) : 1);",
      "Clipping compares the squares: gradients above the limit are cut too much. AdamW forgives a wrong size of its gradients, "
      "but its averages now hold steps of different weights." },
    { "The loss falls; with --batch 8 --micro-batch 2 it falls otherwise than with --micro-batch 8.",
      "    gemm(dweight, C, transposed(dout, O), matrix(inp, C), O, C, B*T, T, 1);",
      "    gemm(dweight, C, transposed(dout, O), matrix(inp, C), O, C, B*T, T, B > 1);",
      "With one sequence per pass the weight gradient is overwritten instead of added to: accumulation keeps the last micro-batch alone." },
    { "It learns more slowly, and every second epoch it has seen before.",
      "        for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;",
      "        for (int shift = 1; shift < 8; shift *= 2) mask |= mask >> shift;",
      "The mask of the shuffle has holes: many exchanges can never be drawn, so the data is hardly mixed. Every window is still seen once." },
    { "Prompts are continued a little too wildly.",
      "        if (sum >= u*kept) return c->id;",
      "        if (sum >= u*total) return c->id;",
      "What top-p has kept is not normalized again: the walk goes on into what was cut off." },
    { "Nothing shows, except in the largest models.",
      "    return s > 1 && s - 1 <= r->clip_warmup_steps ? r->clip*r->clip_warmup_factor : r->clip;",
      "    return s > 1 && s - 1 <= r->clip_warmup_steps ? r->clip : r->clip*r->clip_warmup_factor;",
      "The two limits of the clipping warm-up are exchanged: tight while the warm-up lasts, loose ever after. In the default run both are 1." },
};
enum { N_BUGS = sizeof bugs/sizeof *bugs, BUG_STEPS = 300 };

// Where the bug's line stands in the source, and its number; a sentence if it is not there exactly once.
static char *find_line(char *text, const Bug *b, int number, int *line) {
    size_t n = strlen(b->line);
    char *found = NULL;
    int current = 1;
    for (char *at = text; *at; at++) {
        if ((at == text || at[-1] == '\n') && !strncmp(at, b->line, n) && (at[n] == '\n' || at[n] == ' ')) {
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
    char *text = read_text("train_olmo.c"), *at = find_line(text, b, number, &line), *tests = read_text("test_olmo.c");
    snprintf(directory, sizeof directory, "build/class/bug_%02d", number);
    make_directory("build"), make_directory("build/class"), make_directory(directory);
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

static const char *compiler(void) { return getenv("CLASS_CC") ? getenv("CLASS_CC") : "cc -O2 -march=native -fopenmp -ffp-contract=fast -fno-math-errno"; }

static int train_bug(int number, double *loss) {
    if (shell("%s -w -I. -o build/class/bug_%02d/train build/class/bug_%02d/train_olmo.c -lm", compiler(), number, number)) return 0;
    if (shell("build/class/bug_%02d/train --steps %d --eval-every 0 --sample-every 0 --no-save --out build/class/bug_%02d/out >/dev/null",
              number, BUG_STEPS, number)) return 0;
    char out[64];
    snprintf(out, sizeof out, "build/class/bug_%02d/out", number);
    return read_losses(out, loss);
}

static double average(const double *x, int from, int to) {
    double sum = 0;
    for (int i = from; i < to; i++) sum += x[i];
    return sum/(to - from);
}

static void show(int number) {
    static double healthy[BUG_STEPS], sick[BUG_STEPS];
    plant(number);
    printf("Bug %d of %d. %s\n", number, N_BUGS, bugs[number - 1].symptom);
    printf("Training the healthy program and the copy, %d steps each ...\n", BUG_STEPS);
    if (read_losses("build/class/bug_healthy", healthy) != BUG_STEPS)
        CHECK(!shell("./train_olmo --steps %d --eval-every 0 --sample-every 0 --no-save --out build/class/bug_healthy >/dev/null", BUG_STEPS) &&
              read_losses("build/class/bug_healthy", healthy) == BUG_STEPS, "the healthy run failed; does ./train_olmo run?");
    int n = train_bug(number, sick);
    CHECK(n == BUG_STEPS, "the copy's run failed after %d steps", n);
    printf("\n    steps        healthy    with the bug      (mean training loss)\n");
    for (int from = 0; from < BUG_STEPS; from += 50)
        printf("  %4d-%-4d     %8.4f        %8.4f\n", from + 1, from + 50, average(healthy, from, from + 50), average(sick, from, from + 50));
    printf("\nWhich witness finds it? make bug N=%d WITNESS=op_differences (or another name from the end of test_olmo.c)\n"
           "Which line is it?       make bug N=%d CHECK=line of build/class/bug_%02d/train_olmo.c\n", number, number, number);
}

// Runs one test of test_olmo.c, built around the copy: in float, and those that need it in double.
static void ask_witness(int number, const char *name) {
    plant(number);
    CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name), "WITNESS=%s: expected the name of a test", name);
    int red = 0;
    for (int twice = 0; twice < 2; twice++) {
        const char *type = twice ? "double" : "float";
        if (shell("%s -w -I. -DREAL=%s -o build/class/bug_%02d/test_%s build/class/bug_%02d/test_olmo.c -lm", compiler(), type, number, type, number))
            die("the tests cannot be built around the copy");
        red |= shell("TRAIN_OLMO=build/class/bug_%02d/train build/class/bug_%02d/test_%s --part %s 2>&1 | tee build/class/bug_%02d/log | grep -a '^FAIL' | head -n 5; "
                     "! grep -aq '^FAIL' build/class/bug_%02d/log", number, number, type, name, number, number) != 0;
    }
    printf(red ? "%s sees it.\n" : "%s is green: it does not see this bug, or there is no such test.\n", name);
}

static int check_all(int with_training) {
    static double loss[BUG_STEPS];
    int failed = 0;
    for (int number = 1; number <= N_BUGS; number++) {
        int line = plant(number), fine, n = 0;
        if (with_training) n = train_bug(number, loss), fine = n == BUG_STEPS && average(loss, BUG_STEPS - 20, BUG_STEPS) < 0.5*loss[0];
        else fine = !shell("%s -w -I. -O0 -fsyntax-only build/class/bug_%02d/train_olmo.c", compiler(), number);
        printf("%s  bug %d, line %d: ", fine ? "ok  " : "FAIL", number, line);
        if (with_training) printf("loss %.3f at first, %.3f after %d steps\n", n ? loss[0] : NAN, n == BUG_STEPS ? average(loss, BUG_STEPS - 20, BUG_STEPS) : NAN, n);
        else printf("stands once, and compiles\n");
        failed += !fine;
    }
    printf("%d passed, %d failed\n", N_BUGS - failed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "check")) return check_all(0);
    if (argc > 1 && !strcmp(argv[1], "train")) return check_all(1);
    int number = argc > 1 ? atoi(argv[1]) : 0;
    CHECK(number >= 1 && number <= N_BUGS, "make bug N=...: expected a number from 1 to %d", N_BUGS);
    if (argc > 3 && !strcmp(argv[2], "line")) {
        int line = plant(number), guess = atoi(argv[3]);
        if (guess != line) { printf("line %d: no. (The curves and the witnesses say where to look.)\n", guess); return EXIT_FAILURE; }
        printf("line %d: yes!\n  it says      %s\n  it must say  %s\n%s\n", line, bugs[number - 1].instead + strspn(bugs[number - 1].instead, " "),
               bugs[number - 1].line + strspn(bugs[number - 1].line, " "), bugs[number - 1].answer);
        return finished();
    }
    if (argc > 3 && !strcmp(argv[2], "witness")) { ask_witness(number, argv[3]); return finished(); }
    show(number);
    return finished();
}
