/*
Every test of OLMo in C.      make test      (the last line counts them, and the exit code is the verdict)

    ./test_olmo gemm resume        only these: the names are in the table at the end
    ./test_olmo units              all but section 7
    ./test_olmo --list             the names

One source, two programs: test_olmo computes in float and is the one to run; test_olmo_double is the same
file compiled with -DREAL=double, where finite differences are sharp enough to see every gradient.
test_olmo runs it and adds its count (and that of any other test program whose path is on its command
line: data/test/test_data).
The witnesses (each section below is one of them):

    1. goldens        numbers that the official code printed (OLMO_SPEC appendix A)
    2. differences    every gradient against (L(w + h) - L(w - h))/2h, for every op and tensor [double]
    3. references     activations, gradients and trained weights exported by transformers and ai2-olmo
    4. precision      float against double, tensor by tensor, within a budget from the length of the sums
    5. invariances    threads, micro-batches, KV cache, a second device: equal bits
    6. formats, data, sampling, schedules: against values worked out by hand
    7. the program    hostile files, resume, kill -9 while saving, full disks, signals, the command line
*/
#define OLMO_LIBRARY
#ifndef _GNU_SOURCE                                         // (nvcc has it already)
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// What is written to disk, and in which order: test_durability looks at these calls. They happen all
// the same.
static char traced[8192];
static void trace(const char *call, const char *what) {
    size_t n = strlen(traced);
    snprintf(traced + n, sizeof traced - n, "%s %s\n", call, what);
}
// what these calls answer with, where a test says so
static int fsync_error, flock_error;
static const char *moved_meanwhile;                         // a directory that its owner moves as we lock it
static int traced_fsync(int file) {
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, sizeof path - 1) < 0) path[0] = 0;
    const char *name = strstr(path, "build/test/");
    trace("fsync", name ? name + strlen("build/test/") : path);
    if (!fsync_error) return fsync(file);
    errno = fsync_error;
    return -1;
}
static int traced_flock(int file, int how) {
    char moved[4096];
    if (moved_meanwhile) {
        snprintf(moved, sizeof moved, "%s.1", moved_meanwhile);
        if (rename(moved_meanwhile, moved) || mkdir(moved_meanwhile, 0777)) return -1;
    }
    if (!flock_error) return flock(file, how);
    errno = flock_error;
    return -1;
}
static int traced_rename(const char *from, const char *to) { trace("rename", to); return rename(from, to); }
static int traced_symlink(const char *to, const char *path) {
    trace("symlink", path);
    return symlink(to, path);
}
#ifndef __CUDACC__                                          // whose headers have their own idea of these
#include "data/test/clock.c"
#define fsync(file) traced_fsync(file)
#define flock(file, how) traced_flock(file, how)
#define rename(from, to) traced_rename(from, to)
#define symlink(to, path) traced_symlink(to, path)
#endif
#ifdef __CUDACC__
#include "train_olmo.cu"
enum { on_gpu = 1 };
#else
#include "train_olmo.c"
enum { on_gpu = 0 };
#endif
#ifdef CUDA_ON_CPU
enum { on_cpu = 1 };                                        // the GPU's kernels, run by dev/cuda_on_cpu
#else
enum { on_cpu = 0 };
#endif
#include <arpa/inet.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

static char self[4096];                                      // the absolute path of this program
#include "data/test/check.c"

// Runs a shell command; its standard output in out. Returns the exit code, or 128 + the signal.
static int shell(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int shell(char *out, size_t size, const char *format, ...) {
    char command[2*PATH];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    fflush(stdout);
    FILE *in = popen(command, "r");
    CHECK(in, "%s: cannot be run: %s", command, strerror(errno));
    size_t n = 0;
    for (int ch; (ch = fgetc(in)) != EOF; ) if (n + 1 < size) out[n++] = (char)ch;
    out[n] = 0;
    int status = pclose(in);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The larger one; a NaN is larger than anything, so that an error which is not a number cannot hide.
static double larger(double a, double b) { return isnan(a) || b <= a ? a : b; }
// false for NaN
static int near(double x, double y, double tolerance) { return fabs(x - y) <= tolerance; }

static const int in_double = sizeof(real) == sizeof(double);
static const double unit_roundoff = sizeof(real) == sizeof(double) ? 0x1p-53 : 0x1p-24;

// ---- numbers without a generator: the hash of OLMO_SPEC A.1 -------------------------------------
static uint32_t fmix(uint32_t x) {
    x ^= x >> 16; x *= 0x85ebca6b; x ^= x >> 13; x *= 0xc2b2ae35; x ^= x >> 16;
    return x;
}
static double noise(uint32_t stream, size_t i) {             // uniform, with standard deviation 1
    return (fmix((uint32_t)i*2654435761u + stream*2246822519u + 12345)/4294967296.0 - 0.5)*2*sqrt(3.0);
}
static void fill_noise(real *x, size_t n, uint32_t stream,
                       double std) { for (size_t i = 0; i < n; i++) x[i] = (real)(std*noise(stream, i)); }
static real *noise_reals(size_t n, uint32_t stream, double std) {
    real *x = (real *)allocate(n, sizeof(real), "a test");
    fill_noise(x, n, stream, std);
    return x;
}

static Config config_of(int d, int L, int H, int G, int mlp, int vocab, int T, int tied, double clip,
                        double z) {
    Config c = { d, L, H, G, mlp, vocab, T, tied, -1, 10000, clip, z };
    return c;
}

static Model cpu_model(Olmo *m, const Config *c) {
    const Model model = { &cpu_device, m, c, &m->layout };
    return model;
}

// The deterministic weights of A.1: uniform with mitchell's standard deviations, rounded to float.
static void golden_weights(Olmo *m) {
    for (int k = 0; k < m->layout.n; k++) {
        const Tensor *t = &m->layout.tensor[k];
        double std = init_std(t, &m->config, "mitchell");
        for (size_t i = 0; i < (size_t)t->rows*t->cols; i++)
            m->params[t->offset + i] = (real)(float)(std*noise((uint32_t)k, i));
    }
}
static void golden_batch(int *tokens, int *targets, int B, int T, int vocab) {
    for (int n = 0; n < B*T; n++) tokens[n] = (int)(fmix((uint32_t)n + 777) % (uint32_t)vocab);
    for (int n = 0; n < B*T; n++) targets[n] = n % T < T - 1 ? tokens[n + 1] : IGNORE;
}

// A model, a batch and its buffers, as most tests want them.
typedef struct { Olmo *m; int B, T, *tokens, *targets; real *losses, *zlosses, *weights; } Bench;

static Bench bench_of(Config c, int B, int T, int real_vocab) {
    Bench t;
    size_t N = (size_t)B*T;
    t.m = olmo_build(&c, 1), t.B = B, t.T = T;
    golden_weights(t.m);
    t.tokens = (int *)allocate(2*N, sizeof(int), "a test"), t.targets = t.tokens + N;
    golden_batch(t.tokens, t.targets, B, T, real_vocab);
    t.losses = (real *)allocate(3*N, sizeof(real), "a test"), t.zlosses = t.losses + N,
        t.weights = t.zlosses + N;
    for (size_t n = 0; n < N; n++) t.weights[n] = (real)(1.0/(double)N);
    return t;
}
static void bench_free(Bench *t) { olmo_free(t->m), release(t->tokens), release(t->losses); }

// Forward, and the sum of the weighted losses; backward too if asked. (Without it, acts.logits are the
// logits.)
static double bench_loss(Bench *t, int backward) {
    double loss = 0;
    olmo_forward(t->m, t->losses, t->zlosses, t->tokens, t->targets, backward ? t->weights : NULL, t->B,
                 t->T);
    for (int n = 0; n < t->B*t->T; n++)
        loss += (double)t->weights[n]*((double)t->losses[n] + (double)t->zlosses[n]);
    if (backward) olmo_backward(t->m);
    return loss;
}
static void clear_grads(Olmo *m) { memset(m->grads, 0, m->layout.size*sizeof(real)); }
static double norm_of(const real *x, size_t n) { return global_norm(x, n); }

// =================================================================================================
// 1. Goldens (OLMO_SPEC appendix A)
// =================================================================================================

static void test_parameter_counts(void) {                    // OLMO_SPEC 1.2
    const struct { const char *preset; size_t count; } known[] = {
        { "1b", 1176764416 }, { "7b", 6888095744 }, { "7b-0424", 6888095744 },
        { "tiny", 256*64 + 4*(4*64*64 + 3*64*256) },
    };
    Weights unused;
    Layout *list = (Layout *)allocate(1, sizeof(Layout), "a test");
    for (size_t i = 0; i < sizeof known/sizeof *known; i++) {
        Config c = preset_named(known[i].preset).config;
        olmo_layout(list, &unused, NULL, &c);
        check(list->size == known[i].count, "%s has %zu parameters", known[i].preset, list->size);
    }
    Config big = config_of(8192, 80, 64, 64, 44032, 50304, 2048, 0, 0, 0);
    olmo_layout(list, &unused, NULL, &big);
    check(list->size == 65584234496u, "OLMo-65B would have %zu parameters: offsets beyond 2^32 hold",
          list->size);
    check(list->tensor[list->n - 1].offset == list->size - 412090368u
          && !strcmp(list->tensor[list->n - 1].name, "transformer.ff_out.weight"),
          "its head is the last tensor");
    release(list);
}

// Every field of every preset, beside OLMO_SPEC 1.13, which counts some of them in tokens.
static void test_presets(void) {
    const double batch1b = 2048*2048.0, batch0424 = 1024*4096.0;                    // tokens an update
    check(batch1b == 4194304 && batch0424 == 4194304,
          "an update of 1B, 7B and 7B-0424 is one of 4,194,304 tokens");
    const struct { const char *name, *schedule; double field[26]; } rows[] = {
        // d L H G, mlp vocab T, tied eos theta clip z, lr final, warmup steps batch, decay beta1 beta2
        // eps, embeddings, clip: value steps factor
        { "1b", "cosine",
          { 2048, 16, 16, 16, 16384, 50304, 2048, 1, 50279, 10000, 0, 0, 4e-4, 0.1, 2000, 739328, 2048,
            0.1, 0.9, 0.95, 1e-5, 0, 1, 0, 1 } },
        { "7b", "linear",
          { 4096, 32, 32, 32, 22016, 50304, 2048, 0, 50279, 10000, 0, 0, 3e-4, 0.1, 5000,
            ceil(2e12/batch1b), 2048, 0.1, 0.9, 0.95, 1e-5, 0, 1, 1000, 10 } },
        { "7b-0424", "cosine",
          { 4096, 32, 32, 32, 22016, 50304, 4096, 0, 50279, 10000, 8, 0, 3e-4, 0.1,
            10485760000/batch0424, ceil(3e12/batch0424), 1024, 0.1, 0.9, 0.95, 1e-5, 1, 1,
            2097152000/batch0424, 5 } },
        { "150m", "cosine",
          { 768, 12, 12, 12, 8*768, 50304, 2048, 0, 50279, 10000, 0, 0, 6e-4, 0.1, 5000, 100000, 1024,
            0.1, 0.9, 0.95, 1e-5, 0, 1, 0, 1 } },
        { "tiny", "linear", { 64, 4, 4, 4, 8*64, 256, 256, 1, -1, 10000, 0, 0, 6e-3, 0.05, 100, 3500, 4,
                              0.1, 0.9, 0.95, 1e-5, 0, 1, 0, 1 } },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        Preset p = preset_named(rows[i].name);
        const Config *c = &p.config;
        const Recipe *r = &p.recipe;
        const double found[] = {
            (double)c->d_model, (double)c->n_layers, (double)c->n_heads, (double)c->n_kv_heads,
            (double)c->mlp_hidden,
            (double)c->vocab, (double)c->seq_len, (double)c->tied, (double)c->eos, c->rope_theta,
            c->clip_qkv, c->z_loss,
            r->lr, r->final_lr, (double)r->warmup, (double)r->steps, (double)r->batch, r->weight_decay,
            r->beta1, r->beta2,
            r->eps, (double)r->decay_embeddings, r->clip, (double)r->clip_warmup_steps, r->clip_warmup_factor,
        };
        int fine = !strcmp(r->schedule, rows[i].schedule);
        for (size_t k = 0; k < sizeof found/sizeof *found; k++) fine &= found[k] == rows[i].field[k];
        check(fine, "--model %s: every size, and the whole recipe (OLMO_SPEC 1.13)", rows[i].name);
    }
    check(sizeof presets/sizeof *presets == sizeof rows/sizeof *rows,
          "there is no preset without a row in this test");
}

// What OLMo-7B was fine-tuned with (ADAPT_SPEC 1): every field, so that an option given beside them
// meets no other surprise.
static void test_tunings(void) {
    static const struct { const char *name; double lr; int batch; const char *warmup; } rows[] = {
        { "sft", 2e-6, 128, "3%" }, { "dpo", 5e-7, 32, "10%" },
    };
    for (int i = 0; i < 2; i++) {
        Options o = options_of_preset("1b");
        const Recipe *r = &o.recipe;
        use_tuning(&o, tuning_named(rows[i].name));
        check(!strcmp(r->schedule, "finetune") && r->lr == rows[i].lr && r->final_lr == 0
              && r->batch == rows[i].batch && r->micro_batch == 1 && r->weight_decay == 0
              && r->beta1 == 0.9 && r->beta2 == 0.999 && r->eps == 1e-8 && !r->decay_embeddings
              && r->clip == 0 && r->clip_warmup_steps == 0 && r->clip_warmup_factor == 1
              && o.epochs == 3 && !strcmp(o.warmup, rows[i].warmup) && !strcmp(o.tuning, rows[i].name),
              "--recipe %s: every field", rows[i].name);
    }
    check(TUNINGS == 2, "there is no recipe without a row in this test");
}

static void test_op_goldens(void) {                          // A.7
    const real x[8] = { -2.5, -2.25, -1.5, -0.25, 1.5, 3.75, 6.5, 9.75 },
        dy[8] = { 1, -2, 0.5, 0, 3, -1, 0.25, 2 };
    const double y8[8] = { -1.0491084, -0.9891593, -0.8093122, -0.5095669, -0.0899236, 0.4496179,
                           1.1090574, 1.888395 };
    const double dx8[8] = { 0.2487508, -0.4775726, 0.1011135, -0.0534586, 0.6173863, -0.4042117,
                            -0.1807493, 0.1487416 };
    real y[8], rstd[1], dx[8] = {0}, table[6*8], r[8], ug[6] = { 1, -2, 3, 0.5, -1, 2 }, h[3];
    int fine = 1;
    norm_forward(y, rstd, x, 1, 8);
    norm_backward(dx, dy, y, rstd, 1, 8);
    for (int i = 0; i < 8; i++) fine &= near((double)y[i], y8[i], 2e-7) && near((double)dx[i], dx8[i], 2e-7);
    check(fine, "layer norm, forward and backward (A.7)");

    const double r8[8] = { 5.078284, -1.121388, 2.646397, 3.95995, 0.459387, 6.224346, 7.14119, 8.0199 };
    rope_table(table, 10000, 6, 8);
    for (int i = 0; i < 8; i++) r[i] = (real)(i + 1);
    rope_forward(r, table, 1, 1, 5, 1, 8, 8);
    fine = 1;
    for (int i = 0; i < 8; i++) fine &= near((double)r[i], r8[i], 1.5e-6);
    check(fine, "RoPE at position 5 (A.7)");

    swiglu_forward(h, ug, 1, 3);
    check(near((double)h[0], 0.3112297, 1e-7) && near((double)h[1], 0.5378829, 1e-7)
          && near((double)h[2], 5.2847824, 5e-7), "SwiGLU: up first, gate second (A.7)");

    real logits[8] = { 1, 2, 3, 0, 0.5, -1, 2, 1 }, losses[2], zlosses[2], lse[2];
    int targets[2] = { 2, IGNORE };
    crossentropy_forward(losses, zlosses, lse, logits, targets, 1e-4, 2, 4);
    check(near((double)losses[0], 0.4401897, 2e-7) && losses[1] == 0
          && near((double)zlosses[0], 0.00118349, 1e-8) && zlosses[1] == 0,
          "cross entropy and z-loss (A.7)");
}

// A.7, through a model whose first three weights are the example's
static void test_adamw_golden(void) {
    Config c = config_of(2, 1, 1, 1, 2, 2, 1, 0, 0, 0);
    Olmo *m = olmo_build(&c, 1);
    const double g[2][3] = { { 0.1, -0.2, 0 }, { 0.3, 0.1, -1e-4 } },
        p[2][3] = { { 0.98900104, -1.98800051, 2.99699998 }, { 0.97892559, -1.98332906, 3.00045204 } };
    real *w = m->weight.layer[0].att_proj, *dw = m->grad.layer[0].att_proj;
    w[0] = 1, w[1] = -2, w[2] = 3;
    for (int s = 0; s < 2; s++) {
        AdamW how = { 0.01, 0.9, 0.95, 1e-5, 0.1, 0, 0, s + 1 };
        for (int i = 0; i < 3; i++) dw[i] = (real)g[s][i];
        double norm = olmo_update(m, &how);
        int fine = near(norm, sqrt(g[s][0]*g[s][0] + g[s][1]*g[s][1] + g[s][2]*g[s][2]), 1e-7) && dw[0] == 0;
        for (int i = 0; i < 3; i++) fine &= near((double)w[i], p[s][i], 4e-7);
        check(fine, "AdamW, update %d: %.8f %.8f %.8f (A.7)", s + 1, (double)w[0], (double)w[1],
              (double)w[2]);
    }
    dw[1] = NAN;
    real before = w[0];
    AdamW how = { 0.01, 0.9, 0.95, 1e-5, 0.1, 0, 1, 3 };
    check(!isfinite(olmo_update(m, &how)) && w[0] == before, "an update with a NaN gradient changes nothing");
    olmo_free(m);
}

typedef struct {
    const char *name;
    Config config;
    double first[4], last[4];                                // logits[0,0,0:4], logits[3,31,380:384]
    double all, mean, lse2, with_z;                          // the four losses of A.2
    // A.3: norm, first, last element, in the order of the layout
    double grad[10][3];
    double total, total_z;
    double loss[13], norm[12];                               // A.4; the last loss is "after"
    double wte0, att0, wte_last, after_decayed, wte_last_decayed;
} Golden;

static void golden_model(const Golden *g) {
    const int B = 4, T = 32, N = B*T, V = 384;
    Bench t = bench_of(g->config, B, T, 300);
    Olmo *m = t.m;
    double all, sum = 0, lse2 = 0;
    int fine = 1;
    check(t.tokens[0] == 94 && t.tokens[1] == 192 && t.tokens[7] == 175
          && near((double)m->params[0], -0.11455128, 1e-8)
          && near((double)m->weight.layer[0].att_proj[2], 0.01588308, 1e-8),
          "%s: weights and tokens (A.1)", g->name);
    bench_loss(&t, 0);
    const real *logits = m->acts.logits;
    for (int i = 0; i < 4; i++)
        fine &= near((double)logits[i], g->first[i], 3e-6)
        && near((double)logits[(size_t)(N - 1)*V + 380 + i], g->last[i], 3e-6);
    check(fine, "%s: logits (A.2)", g->name);
    for (int n = 0; n < N; n++)
        if (t.targets[n] >= 0) sum += (double)t.losses[n], lse2 += pow((double)m->acts.lse[n], 2);
    all = sum/N;
    check(near(all, g->all, 2e-6) && near(sum/(B*(T - 1)), g->mean, 2e-6)
          && near(lse2/(B*(T - 1)), g->lse2, 2e-5), "%s: losses %.6f %.6f, lse^2 %.6f (A.2)", g->name,
          all, sum/(B*(T - 1)), lse2/(B*(T - 1)));

    bench_loss(&t, 1);
    fine = 1;
    for (int k = 0; k < m->layout.n; k++) {
        const Tensor *w = &m->layout.tensor[k];
        size_t n = (size_t)w->rows*w->cols;
        const real *grad = m->grads + w->offset;
        int good = near(norm_of(grad, n), g->grad[k][0], 3e-6)
            && near((double)grad[0], g->grad[k][1], 1e-7)
            && near((double)grad[n - 1], g->grad[k][2], 1e-7);
        if (!good)
            printf("      %s: norm %.6f first %.6e last %.6e\n", w->name, norm_of(grad, n),
                   (double)grad[0], (double)grad[n - 1]);
        fine &= good;
    }
    check(fine, "%s: norm, first and last element of each gradient (A.3)", g->name);
    check(near(norm_of(m->grads, m->layout.size), g->total, 5e-6), "%s: total gradient norm %.6f (A.3)",
          g->name, norm_of(m->grads, m->layout.size));

    m->config.z_loss = 1e-4;
    clear_grads(m);
    double with_z = bench_loss(&t, 1), total_z = norm_of(m->grads, m->layout.size);
    check(near(with_z, g->with_z, 2e-6) && near(total_z, g->total_z, 5e-6),
          "%s: with z-loss %.6f, gradient norm %.6f (A.2, A.3)", g->name, with_z, total_z);
    m->config.z_loss = 0;

    Recipe r = { "linear", 3e-3, 0.1, 5, 12, 4, 2, 0.1, 0.9, 0.95, 1e-5, 0, 0.5, 3, 10 };
    for (int decay = 0; decay < 2; decay++) {                // A.4, then once more with decaying embeddings
        golden_weights(m);
        memset(m->moment1, 0, m->layout.size*sizeof(real)),
            memset(m->moment2, 0, m->layout.size*sizeof(real));
        // what 12 updates leave of a weight that only decays
        double keep = 1;
        for (int s = 1; s <= 12; s++) keep *= 1 - 0.1*learning_rate(&r, s);
        fine = 1;
        for (int s = 1; s <= 13; s++) {
            double loss = 0;
            clear_grads(m);
            for (int b = 0; b < 4; b += 2) {
                olmo_forward(m, t.losses, t.zlosses, t.tokens + b*T, t.targets + b*T, t.weights, 2, T);
                olmo_backward(m);
                for (int n = 0; n < 2*T; n++) loss += (double)t.losses[n]/N;
            }
            if (s == 13) {
                check(near(loss, decay ? g->after_decayed : g->loss[12], 2e-5),
                      "%s: after 12 updates%s %.6f (A.4)", g->name,
                      decay ? " with decaying embeddings" : "", loss);
                break;
            }
            AdamW how = { learning_rate(&r, s), r.beta1, r.beta2, r.eps, r.weight_decay, decay,
                          clip_limit(&r, s), s };
            double norm = olmo_update(m, &how);
            int good = near(loss, g->loss[s - 1], 2e-5) && near(norm, g->norm[s - 1], 5e-5);
            if (!decay && !good) printf("      step %d: loss %.6f, norm %.5f\n", s, loss, norm);
            fine &= good;
        }
        if (!decay) check(fine, "%s: loss and gradient norm of each of 12 updates (A.4)", g->name);
        const real *wte = m->params;
        if (!decay)
            check(near((double)wte[0], g->wte0, 2e-6)
                  && near((double)m->weight.layer[0].att_proj[0], g->att0, 2e-6)
                  && near((double)wte[V*64 - 1], g->wte_last, 2e-6),
                  "%s: weights after 12 updates (A.4)", g->name);
        else if (g->wte_last_decayed != 0)
            check(near((double)wte[V*64 - 1], g->wte_last_decayed, 1.5e-6)
                  && near((double)wte[V*64 - 1], g->wte_last*keep, 2e-7),
                  "%s: a row without gradient decays (A.4)", g->name);
    }
    bench_free(&t);
}

static void test_model_goldens(void) {
    const Golden g1 = { "G1", config_of(64, 2, 4, 4, 256, 384, 32, 1, 0, 0),
                        { -0.331235, -0.995053, 0.717372, -0.036589 },
                        { 0.396690, 0.189389, -0.542004, -1.975174 }, 6.362488, 6.567730, 41.896508,
                        6.366547,
                        { { 1.591345, 1.265384e-2, 1.666696e-4 },
                          { 1.351549, -1.351912e-3, 2.428724e-2 },
                          { 1.339091, 8.823933e-3, 1.061097e-2 },
                          { 0.872276, 1.313434e-3, -4.247190e-3 },
                          { 1.174320, 1.211598e-2, -5.153393e-3 },
                          { 0.458706, -6.959333e-4, 3.220724e-3 },
                          { 0.746509, 1.737091e-2, 3.460265e-3 },
                          { 0.434339, -4.388360e-3, 2.563464e-3 },
                          { 0.831168, -8.103678e-3, 6.616261e-3 }, { 0, 0, 0 } }, 3.152665, 3.152718,
                          { 6.362488, 5.856431, 5.226082, 4.443785, 3.681574, 3.166398, 2.851250,
                            2.605955, 2.405053, 2.243531, 2.120821, 2.038409, 1.999923 },
                            { 3.15267, 3.00444, 2.74230, 2.49319, 2.34502, 2.52714, 2.48071, 2.30650,
                              2.12436, 1.96676, 1.84157, 1.75344 }, -0.1257473, 0.0207309, -0.1974375,
                              2.005156, 0 };
    const Golden g2 = { "G2", config_of(64, 2, 4, 2, 256, 384, 32, 0, 0.75, 0),
                        { 0.008501, -0.413720, -0.249282, -0.582516 },
                        { -1.319317, 0.113390, 1.239507, -1.989769 }, 6.352153, 6.557061, 41.553364,
                        6.356178,
                        { { 1.288358, -1.218973e-3, 0 }, { 1.036835, 3.382478e-3, -4.336010e-2 },
                          { 1.077793, 1.440279e-2, 4.032200e-2 },
                          { 1.062258, -1.275837e-2, -1.127567e-2 },
                          { 1.432509, 7.284175e-4, 3.390731e-2 },
                          { 0.321386, -1.194640e-3, -1.376555e-3 },
                          { 0.590557, -2.988010e-3, 1.509831e-3 },
                          { 0.530167, 5.263896e-3, 6.554174e-3 },
                          { 1.029674, -2.742562e-3, -1.546597e-5 },
                          { 0.702321, 4.110013e-3, -1.549962e-6 } }, 3.060001, 3.060008,
                          { 6.352153, 5.853295, 5.227421, 4.462662, 3.681192, 3.079737, 2.696130,
                            2.408493, 2.183679, 2.010202, 1.882700, 1.799081, 1.760736 },
                            { 3.06000, 2.91689, 2.61184, 2.40686, 2.30922, 2.34148, 2.26981, 2.09109,
                              1.88845, 1.73055, 1.62658, 1.55849 }, -0.1020551, 0.0141572, -0.1829475,
                              1.760975, -0.1825846 };
    golden_model(&g1);
    golden_model(&g2);
}

static void test_generation_golden(void) {                   // A.5: greedy
    Config c = config_of(64, 2, 4, 4, 256, 384, 32, 1, 0, 0);
    Bench t = bench_of(c, 4, 32, 300);
    const Sampling greedy = { 0, 1, 0 };
    const int expected[2] = { 29, 16 };
    const double score[2] = { -26.641783, -19.972134 };
    real *logits = (real *)allocate(384, sizeof(real), "a test");
    for (int row = 0; row < 2; row++) {
        int tokens[14], fine = 1;
        double sum = 0;
        memcpy(tokens, t.tokens + row*32, 6*sizeof(int));
        fine &= generate(cpu_model(t.m, &c), tokens, 6, 14, greedy, 1) == 14;
        for (int n = 6; n < 14; n++) {
            real losses[14], zlosses[14];
            int targets[14];
            for (int i = 0; i < 14; i++) targets[i] = i == n - 1 ? tokens[n] : IGNORE;
            olmo_forward(t.m, losses, zlosses, tokens, targets, NULL, 1, n);
            sum -= (double)losses[n - 1];
            fine &= tokens[n] == expected[row];
        }
        check(fine && near(sum, score[row], 2e-5),
              "greedy generation, prompt %d: %d eight times, log p %.6f (A.5)", row, tokens[6], sum);
    }
    release(logits);
    bench_free(&t);
}

static void test_shuffle_goldens(void) {                     // A.6
    Pcg64 r = pcg64_seed(6198);
    check((uint64_t)(r.state >> 64) == 0x64af7980aec8b325u && (uint64_t)r.state == 0xc0457385544261a2u
          && (uint64_t)(r.inc >> 64) == 0xbfbe7567bc3aca8au && (uint64_t)r.inc == 0x0b46d43165b65edbu,
          "PCG64 seeded with 6198 (A.6)");
    Pcg64 s = r;
    check(pcg64_next(&s) == 0xb4539f5cff6dcdf5u && pcg64_next(&s) == 0x4943c97e3b66ef81u
          && pcg64_next(&s) == 0x72b1c0d75cf4db48u && pcg64_next(&s) == 0x0e59f5a93584a71du,
          "PCG64's first 64-bit words");
    s = r;
    check(pcg64_next32(&s) == 0xff6dcdf5u && pcg64_next32(&s) == 0xb4539f5cu
          && pcg64_next32(&s) == 0x3b66ef81u && pcg64_next32(&s) == 0x4943c97eu,
          "PCG64's first 32-bit words: low half first");
    const struct { uint32_t n; uint64_t seed; int count; uint32_t start[16]; int tail; uint32_t end[4];
                   } known[] = {
        { 10, 6198, 10, { 2, 4, 7, 3, 8, 9, 0, 6, 1, 5 }, 0, {0} },
        { 16, 6198, 16, { 4, 14, 6, 15, 3, 2, 13, 0, 10, 11, 9, 7, 8, 1, 12, 5 }, 0, {0} },
        { 1000, 6198, 12, { 615, 832, 881, 9, 648, 523, 809, 336, 989, 868, 283, 52 }, 4,
          { 382, 897, 860, 501 } },
        { 1000000, 6198, 10,
          { 896398, 797198, 937343, 811700, 994647, 26449, 843435, 412876, 267973, 464079 }, 3,
          { 454529, 237404, 904693 } },
        { 10, 6199, 10, { 6, 4, 1, 8, 3, 2, 5, 9, 0, 7 }, 0, {0} },
        { 1000, 6199, 12, { 363, 586, 975, 648, 897, 311, 471, 834, 968, 2, 884, 284 }, 0, {0} },
    };
    uint32_t *order = (uint32_t *)allocate(1000000, sizeof *order, "a test");
    for (size_t i = 0; i < sizeof known/sizeof *known; i++) {
        epoch_order(order, known[i].n, known[i].seed);
        int fine = 1;
        for (int j = 0; j < known[i].count; j++) fine &= order[j] == known[i].start[j];
        for (int j = 0; j < known[i].tail; j++)
            fine &= order[known[i].n - (uint32_t)known[i].tail + (uint32_t)j] == known[i].end[j];
        check(fine, "numpy's shuffle of %u, seed %llu: %u %u %u ... (A.6)", known[i].n,
              (unsigned long long)known[i].seed, order[0], order[1], order[2]);
    }
    release(order);
}

static void test_schedules(void) {                           // OLMO_SPEC 4.5
    Recipe b7 = preset_named("7b").recipe, b1 = preset_named("1b").recipe;
    const struct { const Recipe *r; int step; double lr; double tolerance; } known[] = {
        { &b7, 1, 3.0054e-5, 1e-12 }, { &b7, 1000, 8.4e-5, 1e-12 }, { &b7, 4999, 2.99946e-4, 1e-12 },
        { &b7, 5000, 3e-4, 1e-15 },
        { &b7, 100000, 2.4563812e-4, 1e-11 }, { &b7, 476838, 3e-5, 1e-15 }, { &b7, 500000, 3e-5, 1e-15 },
        { &b1, 1, 4.018e-5, 1e-12 }, { &b1, 1000, 2.2e-4, 1e-12 }, { &b1, 2000, 4e-4, 1e-15 },
        { &b1, 100000, 3.8453487e-4, 1e-11 },
        { &b1, 369664, 2.2076694e-4, 1e-11 }, { &b1, 738020, 4.00028e-5, 1e-10 },
        { &b1, 739328, 4e-5, 1e-15 },
    };
    for (size_t i = 0; i < sizeof known/sizeof *known; i++)
        check(near(learning_rate(known[i].r, known[i].step), known[i].lr, known[i].tolerance),
              "lr of the %s schedule at step %d: %.7e", known[i].r->schedule, known[i].step,
              learning_rate(known[i].r, known[i].step));
    Recipe r = { "inverse-sqrt", 1, 0.1, 100, 1000, 1, 1, 0, 0.9, 0.95, 1e-5, 0, 1.0, 0, 1 };
    check(near(learning_rate(&r, 400), 0.5, 1e-12), "inverse-sqrt: half the peak at four times the warm-up");
    r.schedule = "max";
    check(near(learning_rate(&r, 300), fmax(0.1 + 0.9*(1 + cos(M_PI*200/900))/2, sqrt(100/300.0)),
               1e-12) && near(learning_rate(&r, 1000), sqrt(0.1), 1e-12),
               "max: the larger of cosine and inverse-sqrt");
    r.schedule = "envelope";
    check(near(learning_rate(&r, 550), 0.1 + 0.5*0.9*0.5, 1e-12) && near(learning_rate(&r, 1000), 0.1, 1e-12),
          "envelope: cosine times a line");
    r.schedule = "constant";
    check(learning_rate(&r, 100) == 1 && learning_rate(&r, 5000) == 1
          && near(learning_rate(&r, 50), 0.55, 1e-12), "constant after a warm-up from a tenth");
    r.schedule = "inverse-sqrt", r.warmup = 0;
    check(near(learning_rate(&r, 4), 0.5, 1e-12), "inverse-sqrt without a warm-up");
    r.schedule = "linear", r.warmup = r.steps = 10;
    check(near(learning_rate(&r, 10), 0.1, 1e-12), "a schedule that is all warm-up ends at its lowest");
    check(clip_limit(&b7, 1) == 1 && clip_limit(&b7, 2) == 10 && clip_limit(&b7, 1001) == 10
          && clip_limit(&b7, 1002) == 1,
          "7B's clip warm-up comes one step late, as in the released trainer");
}

// =================================================================================================
// 2. Finite differences (in double)
// =================================================================================================
// Each op as a scalar function of one input: sum_i w_i y_i with fixed noise w. Given din, it also runs
// the op's backward.

enum { OB = 2, OT = 9, OC = 12, OH = 6, OG = 2, OD = 4, OQ = (OH + 2*OG)*OD, ON = OB*OT, OF = 7,
       OV = 11, O_MAX = 2048 };
static double weighted(const real *y, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += noise(99, i)*(double)y[i];
    return s;
}
static void weights_into(real *dy, size_t n) { for (size_t i = 0; i < n; i++) dy[i] = (real)noise(99, i); }

static double op_norm(const real *x, real *dx) {
    static real y[ON*OC], rstd[ON], dy[ON*OC];
    norm_forward(y, rstd, x, ON, OC);
    if (dx) { weights_into(dy, ON*OC); norm_backward(dx, dy, y, rstd, ON, OC); }
    return weighted(y, ON*OC);
}
static double op_clip(const real *x, real *dx) {
    static real y[ON*OC];
    static unsigned char pass[ON*OC];
    memcpy(y, x, sizeof y);
    clip_forward(y, pass, 0.8, ON*OC);
    if (dx) { weights_into(dx, ON*OC); clip_backward(dx, pass, ON*OC); }
    return weighted(y, ON*OC);
}
static double op_rope(const real *x, real *dx) {
    static real y[ON*OQ], table[OT*OD];
    rope_table(table, 100, OT, OD);
    memcpy(y, x, sizeof y);
    rope_forward(y, table, ON, OT, 0, OH + OG, OD, OQ);
    if (dx) { weights_into(dx, ON*OQ); rope_backward(dx, table, ON, OT, OH + OG, OD, OQ); }
    return weighted(y, ON*OQ);
}
static double op_attention(const real *qkv, real *dqkv) {
    static real att[ON*OH*OD], lse[OB*OH*OT], datt[ON*OH*OD];
    const size_t scratch = zmax(attention_forward_work(OT), attention_backward_work(OB, OT, OH, OG, OD));
    real *work = (real *)allocate(scratch, sizeof(real), "a test");
    attention_forward(att, lse, work, qkv, OQ, qkv + OH*OD, OQ, OB, OT, 0, OH, OG, OD);
    if (dqkv) {
        weights_into(datt, ON*OH*OD);
        attention_backward(dqkv, work, datt, att, lse, qkv, OB, OT, OH, OG, OD);
    }
    release(work);
    return weighted(att, ON*OH*OD);
}
static double op_swiglu(const real *ug, real *dug) {
    static real h[ON*OF], again[ON*OF], dh[ON*OF];
    swiglu_forward(h, ug, ON, OF);
    if (dug) { weights_into(dh, ON*OF); swiglu_backward(dug, again, dh, ug, ON, OF); }
    return weighted(h, ON*OF);
}
static double op_crossentropy(const real *logits, real *dlogits) {
    static real losses[ON], zlosses[ON], lse[ON], dlosses[ON];
    int targets[ON];
    for (int n = 0; n < ON; n++) targets[n] = n % 5 == 4 ? IGNORE : n % OV;
    crossentropy_forward(losses, zlosses, lse, logits, targets, 0.1, ON, OV);
    if (dlogits) {
        weights_into(dlosses, ON);
        crossentropy_backward(dlogits, dlosses, lse, logits, targets, 0.1, ON, OV);
    }
    return weighted(losses, ON) + weighted(zlosses, ON);
}
static double op_embed(const real *wte, real *dwte) {
    static real x[ON*OC], dx[ON*OC];
    int tokens[ON];
    for (int n = 0; n < ON; n++) tokens[n] = n*n % OV;
    embed_forward(x, tokens, wte, ON, OC);
    if (dwte) { weights_into(dx, ON*OC); embed_backward(dwte, dx, tokens, ON, OC); }
    return weighted(x, ON*OC);
}
static double op_matmul_input(const real *inp, real *dinp) {
    static real out[ON*OV], dout[ON*OV], w[OV*OC];
    fill_noise(w, OV*OC, 5, 1);
    matmul_forward(out, inp, w, ON, OC, OV, 0);
    if (dinp) { weights_into(dout, ON*OV); matmul_backward_input(dinp, dout, w, ON, OC, OV); }
    return weighted(out, ON*OV);
}
static double op_matmul_weight(const real *w, real *dw) {
    static real out[ON*OV], dout[ON*OV], inp[ON*OC];
    fill_noise(inp, ON*OC, 5, 1);
    matmul_forward(out, inp, w, ON, OC, OV, 0);
    if (dw) { weights_into(dout, ON*OV); matmul_backward_weight(dw, dout, inp, OB, OT, OC, OV); }
    return weighted(out, ON*OV);
}

static void test_op_differences(void) {
    const struct { const char *name; double (*f)(const real *, real *); int n; } ops[] = {
        { "norm", op_norm, ON*OC }, { "clip_qkv", op_clip, ON*OC }, { "rope", op_rope, ON*OQ },
            { "attention (GQA)", op_attention, ON*OQ }, { "swiglu", op_swiglu, ON*2*OF },
        { "cross entropy and z-loss", op_crossentropy, ON*OV }, { "embedding", op_embed, OV*OC },
            { "matmul, input", op_matmul_input, ON*OC }, { "matmul, weight", op_matmul_weight, OV*OC },
    };
    for (size_t k = 0; k < sizeof ops/sizeof *ops; k++) {
        static real x[O_MAX], dx[O_MAX];
        double worst = 0, scale = 0, h = 1e-5;
        fill_noise(x, (size_t)ops[k].n, (uint32_t)k + 40, 1);
        memset(dx, 0, sizeof dx);
        ops[k].f(x, dx);
        for (int i = 0; i < ops[k].n; i++) scale += (double)dx[i]*(double)dx[i]/ops[k].n;
        for (int i = 0; i < ops[k].n; i++) {                 // every single entry
            real x0 = x[i];
            x[i] = x0 + (real)h;
            double up = ops[k].f(x, NULL);
            x[i] = x0 - (real)h;
            double difference = (up - ops[k].f(x, NULL))/(2*h);
            x[i] = x0;
            worst = larger(worst, fabs(difference - (double)dx[i])/fmax(fabs((double)dx[i]), sqrt(scale)));
        }
        check(worst <= 1e-6 && scale > 0, "%s backward: all %d entries, worst relative error %.1e",
              ops[k].name, ops[k].n, worst);
    }
}

// The whole model: for every tensor one random direction, and some single entries. Relative to the size
// of the gradient.
static void model_differences(const char *name, Config c, int B, int T, const double h) {
    Bench t = bench_of(c, B, T, c.vocab);
    Olmo *m = t.m;
    double worst = 0;
    int entries = 0;
    // uneven weights, like DPO's
    for (int n = 0; n < B*T; n++) t.weights[n] = (real)(0.3 + fabs(noise(7, (size_t)n)));
    if (T > 3) t.targets[1] = IGNORE;
    // T = 1 predicts nothing by itself
    if (T == 1) for (int b = 0; b < B; b++) t.targets[b] = 1;
    bench_loss(&t, 1);
    for (int k = 0; k < m->layout.n; k++) {
        const Tensor *w = &m->layout.tensor[k];
        size_t n = (size_t)w->rows*w->cols;
        real *p = m->params + w->offset, *g = m->grads + w->offset, *saved = noise_reals(n, 0, 0);
        double size = norm_of(g, n), along = 0, up, down;
        memcpy(saved, p, n*sizeof(real));
        for (size_t i = 0; i < n; i++) along += noise(17, i)*(double)g[i];
        for (size_t i = 0; i < n; i++) p[i] = saved[i] + (real)(h*noise(17, i));
        up = bench_loss(&t, 0);
        for (size_t i = 0; i < n; i++) p[i] = saved[i] - (real)(h*noise(17, i));
        down = bench_loss(&t, 0);
        memcpy(p, saved, n*sizeof(real));
        double error = fabs((up - down)/(2*h) - along)/fmax(fabs(along), size);
        worst = larger(worst, error);
        for (int e = 0; e < 6; e++, entries++) {
            size_t i = fmix((uint32_t)(k*100 + e)) % n;
            p[i] = saved[i] + (real)h, up = bench_loss(&t, 0);
            p[i] = saved[i] - (real)h, down = bench_loss(&t, 0);
            p[i] = saved[i];
            double entry = fabs((up - down)/(2*h) - (double)g[i])/fmax(fabs((double)g[i]),
                    size/sqrt((double)n));
            worst = larger(worst, entry);
            error = larger(error, entry);
        }
        if (error > 1e-6 || !(size > 0 || T == 1))
            printf("      %s: relative error %.1e, norm %.1e\n", w->name, error, size),
            worst = larger(worst, size > 0 || T == 1 ? 0 : 1);
        release(saved);
    }
    check(worst <= 1e-6, "gradients of %s: %d tensors, %d entries, worst relative error %.1e", name,
          m->layout.n, entries, worst);
    bench_free(&t);
}

static void test_model_differences(void) {
    // d L H G mlp V T tied clip z
    model_differences("tied MHA, B=2 T=7", config_of( 16, 2, 4, 4, 24, 20, 7, 1, 0, 0), 2, 7, 1e-5);
    model_differences("untied GQA, clip_qkv, z-loss, B=3 T=5",
                      config_of( 24, 3, 6, 2, 20, 30, 5, 0, 0.6, 0.1), 3, 5, 2e-6);
    model_differences("tied MQA, z-loss, B=1 T=11", config_of( 12, 2, 3, 1, 10, 13, 11, 1, 0, 0.05), 1,
                      11, 1e-5);
    model_differences("B=1 T=1", config_of( 8, 1, 2, 2, 6, 9, 1, 0, 0, 0), 1, 1, 1e-5);
    model_differences("head size 128, T=9", config_of(128, 1, 1, 1, 12, 17, 9, 0, 0, 0), 1, 9, 1e-5);
    model_differences("T=101, two attention tiles, GQA", config_of( 8, 1, 4, 2, 6, 11, 101, 1, 0, 0), 2,
                      101, 1e-5);
}

// =================================================================================================
// 3. References, and 4. precision
// =================================================================================================
// A tensor computed in floating point is compared by its relative error |x - y|/|y| (Euclidean norms).
// Its budget follows from the arithmetic: K roundings of at most u, added up like the steps of a random
// walk, end at u*sqrt(K), where K counts the additions behind the tensor, layer by layer. A reference
// has an error of its own: 2^-24 for being stored in float, and 2^-24 for RoPE tables that are float by
// definition, and made by another cosf. Nothing here was tuned until it passed.
static const double stored = 0x1p-24, tables = 0x1p-24;

// length: K, the roundings behind it
typedef struct { char name[96]; const real *at; size_t n; double length; } Named;

enum { MAX_NAMED = 512 };

static double budget(double length) { return unit_roundoff*sqrt(length); }

static void add_named(Named *list, int *n, const real *at, size_t count, double length,
                      const char *format, int layer, const char *what) {
    Named *e = &list[(*n)++];
    snprintf(e->name, sizeof e->name, format, layer, what);
    e->at = at, e->n = count, e->length = length;
}

// How many roundings lie behind the residual stream after `layers` blocks.
static double path_length(const Config *c, int T, int layers) {
    double C = c->d_model, D = C/c->n_heads, F = c->mlp_hidden/2;
    return layers*(2*C + C + D + 2*T + C + 2*C + C + F) + 1;
}

// Everything the forward pass keeps, under the names of dev/reference.
static int list_activations(const Bench *t, Named *list) {
    const Config *c = &t->m->config;
    const Acts *a = &t->m->acts;
    const size_t N = (size_t)t->B*t->T, C = c->d_model, D = C/c->n_heads,
        Q = (c->n_heads + 2*c->n_kv_heads)*D, F = c->mlp_hidden/2;
    int n = 0;
    for (int l = 0; l < c->n_layers; l++) {
        const LayerActs *s = &a->layer[l];
        double k = path_length(c, t->T, l) + 2*(double)C;
        add_named(list, &n, s->xn1, N*C, k, "act.l.%d.%s", l, "xn1");
        add_named(list, &n, s->rstd1, N, k, "act.l.%d.%s", l, "rstd1");
        add_named(list, &n, s->qkv, N*Q, k += (double)C, "act.l.%d.%s", l, "qkv");
        add_named(list, &n, s->lse, N*c->n_heads, k += (double)D + t->T, "act.l.%d.%s", l, "lse");
        add_named(list, &n, s->att, N*C, k += t->T, "act.l.%d.%s", l, "att");
        add_named(list, &n, s->xn2, N*C, k += 3*(double)C, "act.l.%d.%s", l, "xn2");
        add_named(list, &n, s->rstd2, N, k, "act.l.%d.%s", l, "rstd2");
        add_named(list, &n, s->ug, N*2*F, k + (double)C, "act.l.%d.%s", l, "ug");
    }
    double k = path_length(c, t->T, c->n_layers);
    int last = c->n_layers - 1;
    add_named(list, &n, a->h, N*F, k, "act.l.%d.%s", last, "h");
    add_named(list, &n, a->x, N*C, k, "act.l.%d.%s", last, "x");
    add_named(list, &n, a->xnf, N*C, k += 2*(double)C, "act.%.0d%s", 0, "xnf");
    add_named(list, &n, a->logits, N*c->vocab, k += (double)C, "act.%.0d%s", 0, "logits");
    add_named(list, &n, a->lse, N, k += c->vocab, "act.%.0d%s", 0, "lse");
    add_named(list, &n, t->losses, N, k, "act.%.0d%s", 0, "losses");
    return n;
}

// One of the flat arrays, tensor by tensor.
static int list_tensors(const Bench *t, const real *flat, double length, const char *prefix, Named *list) {
    for (int k = 0; k < t->m->layout.n; k++) {
        const Tensor *w = &t->m->layout.tensor[k];
        snprintf(list[k].name, sizeof list[k].name, "%s.%s", prefix, w->name);
        list[k].at = flat + w->offset, list[k].n = (size_t)w->rows*w->cols, list[k].length = length;
    }
    return t->m->layout.n;
}
// Behind a gradient lie the forward pass, the backward pass with two products for each of its one, and
// the sum over rows.
static double gradient_length(const Config *c, int B, int T) {
    return 3*(path_length(c, T, c->n_layers) + c->vocab + 3*c->d_model) + (double)B*T;
}

static double relative_error(const real *x, const double *y, size_t n) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++)
        difference += ((double)x[i] - y[i])*((double)x[i] - y[i]), size += y[i]*y[i];
    return size > 0 ? sqrt(difference/size) : sqrt(difference);
}

// The table: one line for each kind of tensor, the worst layer of it.
typedef struct { char kind[32]; double error, allowed; int tensors; } Line;

static void add_line(Line *table, int *n, const char *name, double error, double allowed) {
    char kind[32];
    size_t k = 0;
    for (const char *s = name; *s && k < sizeof kind - 1; ) {                       // act.l.3.xn1 -> act.xn
        const char *const skip[] = { "transformer.", "blocks.", "l." };
        size_t before = k;
        for (int i = 0; i < 3; i++)
            if (!strncmp(s, skip[i], strlen(skip[i])) && (i < 2 || s[2] < 'a')) s += strlen(skip[i]),
            before = k + 1;
        if (*s >= '0' && *s <= '9') {
            s += strspn(s, "0123456789");
            if (before > k && *s == '.') s++;
            continue;
        }
        kind[k++] = *s++;
    }
    kind[k] = 0;
    int i = 0;
    while (i < *n && strcmp(table[i].kind, kind)) i++;
    if (i == *n) { memset(&table[i], 0, sizeof *table); memcpy(table[i].kind, kind, k + 1); ++*n; }
    if (table[i].tensors++ == 0 || error/allowed > table[i].error/table[i].allowed || isnan(error))
        table[i].error = error,
        table[i].allowed = allowed;
}
static int print_lines(const char *title, const Line *table, int n) {
    int fine = 1;
    printf("      %-28s %9s %9s %6s\n", title, "error", "budget", "used");
    for (int i = 0; i < n; i++) {
        int good = table[i].error <= table[i].allowed;
        printf("      %-28s %9.1e %9.1e %5.0f%%%s\n", table[i].kind, table[i].error, table[i].allowed,
               100*table[i].error/table[i].allowed, good ? "" : "   <-- over");
        fine &= good;
    }
    return fine;
}

// A "device" whose memory is one array of the host: so that safetensors_read can fill it.
static void host_set(void *memory, Space space, size_t offset, size_t count, const real *numbers) {
    (void)space;
    for (size_t i = 0; i < count; i++) ((double *)memory)[offset + i] = (double)numbers[i];
}
static double *read_entry_of(const Safetensors *st, const char *name, size_t n) {
    const Entry *e = safetensors_find(st, name);
    Device host = cpu_device;
    host.set = host_set;
    if (!e || e->rows*e->cols != n) {
        printf("      %s: %s has not %zu numbers\n", st->path, name, n);
        return NULL;
    }
    double *x = (double *)allocate(n, sizeof(double), "a reference");
    const Model numbers = { &host, x, NULL, NULL };
    safetensors_read(st, e, numbers, PARAMS, 0);
    return x;
}
static void compare_with(const Safetensors *st, const Named *list, int n, double scale, Line *table,
                         int *lines) {
    for (int i = 0; i < n; i++) {
        double *y = read_entry_of(st, list[i].name, list[i].n);
        add_line(table, lines, list[i].name, y ? relative_error(list[i].at, y, list[i].n) : NAN,
                 scale*(budget(list[i].length) + tables) + stored);
        release(y);
    }
}

// The configuration is in the file's __metadata__, as strings.
static double metadata(const char *object, const char *path, const char *name) {
    const char *value = json_get(object, name);
    CHECK(value && *value == '"', "%s: expected a string \"%s\" in its metadata", path, name);
    return strtod(value + 1, NULL);
}
// The model and the batch that a file of dev/reference was made with.
static Bench reference_bench(const Safetensors *st, const char *path, Config *c, Recipe *r,
                             double *denominator) {
    char *header = (char *)allocate((size_t)st->data, 1, "a test");
    rewind(st->file);
    CHECK(fread(header, 1, 8, st->file) == 8
          && fread(header, 1, st->data - 8, st->file) == st->data - 8, "%s: cannot be read", path);
    const char *o = json_get(header, "__metadata__");
    CHECK(o, "%s: has no metadata", path);
    #define META(name) metadata(o, path, name)
    *c = config_of((int)META("d_model"), (int)META("n_layers"), (int)META("n_heads"), (int)META("n_kv_heads"),
                         (int)META("mlp_hidden"), (int)META("vocab"),
                         (int)META("seq_len"), (int)META("tied"), META("clip_qkv"), META("z_loss"));
    const Recipe recipe = { "linear", META("lr"), META("final_lr_frac"), (int)META("warmup"),
                            (int)META("steps"), (int)META("batch"), (int)META("micro_batch"),
                            META("weight_decay"), META("beta1"), META("beta2"), META("eps"),
                            (int)META("decay_embeddings"), META("clip"), (int)META("clip_warmup_steps"),
                            META("clip_warmup_factor") };
    c->rope_theta = META("rope_theta");
    *denominator = META("denominator_value");
    *r = recipe;
    Bench t = bench_of(*c, r->batch, c->seq_len, (int)META("vocab_real"));
    #undef META
    release(header);
    return t;
}
static void test_reference(const char *path) {
    Safetensors *st = safetensors_open(path);
    Named *list = (Named *)allocate(MAX_NAMED, sizeof *list, "a test");
    Line table[64];
    int lines = 0;
    Config c;
    Recipe r;
    double denominator;
    Bench t = reference_bench(st, path, &c, &r, &denominator);
    const int B = r.batch, T = c.seq_len, N = B*T;
    double *tokens = read_entry_of(st, "tokens", (size_t)N),
        *targets = read_entry_of(st, "targets", (size_t)N);
    int same = 1;
    for (int n = 0; n < N; n++) {
        same &= t.tokens[n] == (int)tokens[n]
            && ((int)targets[n] == IGNORE || t.targets[n] == (int)targets[n]);
        t.targets[n] = (int)targets[n], t.weights[n] = (real)(1/denominator);
    }
    check(same, "%s: the tokens are the ones it was made with", path);

    // of the last layer of a model with fewer layers: of each layer
    double *x = NULL, *h = NULL;
    for (int l = 0; l < c.n_layers - 1; l++) {
        char name[48];
        t.m->config.n_layers = l + 1, t.m->acts.B = 0;
        bench_loss(&t, 0);
        snprintf(name, sizeof name, "act.l.%d.x", l), x = read_entry_of(st, name, (size_t)N*c.d_model);
        add_line(table, &lines, name, x ? relative_error(t.m->acts.x, x, (size_t)N*c.d_model) : NAN,
                 budget(path_length(&c, T, l + 1)) + tables + stored);
        snprintf(name, sizeof name, "act.l.%d.h", l), h = read_entry_of(st, name, (size_t)N*c.mlp_hidden/2);
        add_line(table, &lines, name, h ? relative_error(t.m->acts.h, h, (size_t)N*c.mlp_hidden/2) : NAN,
                 budget(path_length(&c, T, l + 1)) + tables + stored);
        release(x), release(h);
    }
    t.m->config.n_layers = c.n_layers, t.m->acts.B = 0;
    bench_loss(&t, 0);
    compare_with(st, list, list_activations(&t, list), 1, table, &lines);
    bench_loss(&t, 1);
    const double delta = gradient_length(&c, B, T);
    compare_with(st, list, list_tensors(&t, t.m->grads, delta, "grad", list), 1, table, &lines);

    double *losses = read_entry_of(st, "losses12", 12), *norms = read_entry_of(st, "norms12", 12),
        sum_lr = 0, worst_loss = 0,
        worst_norm = 0;
    clear_grads(t.m);
    for (int s = 1; s <= r.steps; s++) {
        double loss = 0;
        for (int b = 0; b < B; b += r.micro_batch) {
            int rows = imin(r.micro_batch, B - b);
            olmo_forward(t.m, t.losses, t.zlosses, t.tokens + b*T, t.targets + b*T, t.weights, rows, T);
            olmo_backward(t.m);
            for (int n = 0; n < rows*T; n++) loss += (double)t.losses[n]/denominator;
        }
        AdamW how = { learning_rate(&r, s), r.beta1, r.beta2, r.eps, r.weight_decay, r.decay_embeddings,
                      clip_limit(&r, s), s };
        double norm = olmo_update(t.m, &how);
        sum_lr += how.lr;
        worst_loss = larger(worst_loss, fabs(loss/losses[s - 1] - 1)),
            worst_norm = larger(worst_norm, fabs(norm/norms[s - 1] - 1));
    }
    // A weight moves by lr*m/sqrt(v): of order lr, whatever the gradient's size. Where the gradient
    // itself is smaller than its error the direction is noise; over all elements that multiplies the
    // relative error by about log(1/error).
    double error = budget(delta) + tables,
        size = norm_of(t.m->params, t.m->layout.size)/sqrt((double)t.m->layout.size),
        drift = sum_lr/size*log(1/error);
    add_line(table, &lines, "losses of the steps", worst_loss, error*(1 + drift) + stored);
    add_line(table, &lines, "norms of the steps", worst_norm, error*(1 + drift) + stored);
    compare_with(st, list, list_tensors(&t, t.m->params, delta, "after12", list), drift, table, &lines);
    check(print_lines(path, table, lines),
          "%s: activations, gradients and 12 updates within the budget", path);
    release(losses), release(norms), release(tokens), release(targets), release(list);
    safetensors_close(st);
    bench_free(&t);
}

static void test_references(void) {
    static const char *const cases[] = { "small", "gqa_clip", "head128", "zloss_mask" };
    for (int i = 0; i < 4; i++) {
        char path[PATH];
        snprintf(path, sizeof path, "dev/reference/%s.safetensors", cases[i]);
        test_reference(path);
    }
}

// ---- the exchange with transformers -------------------------------------------------------------
static int same_config(const Config *a, const Config *b) {
    return a->d_model == b->d_model && a->n_layers == b->n_layers && a->n_heads == b->n_heads
        && a->n_kv_heads == b->n_kv_heads && a->mlp_hidden == b->mlp_hidden && a->vocab == b->vocab
        && a->seq_len == b->seq_len && a->tied == b->tied && a->eos == b->eos
        && a->rope_theta == b->rope_theta && a->clip_qkv == b->clip_qkv && a->z_loss == b->z_loss;
}

// Directories that transformers wrote (dev/reference/directories.py), and the logits that it computes
// from them.
static void test_exchange(void) {
    static const struct { const char *name; Config config; } cases[] = {
        //                     d  L  H  G mlp vocab T tied eos  theta  clip z
        { "fp32",            { 32, 2, 4, 4, 56, 53, 64, 0, 50,   10000,  0,  0 } },
        { "tied_other_head", { 32, 2, 4, 4, 56, 53, 64, 1,  0,   10000,  0,  0 } },
        { "gqa_clip",        { 32, 2, 4, 2, 56, 53, 64, 0, 50,  500000, 0.7, 0 } },
        { "bf16_sharded",    { 32, 2, 4, 1, 56, 53, 64, 0, -1,   10000,  0,  0 } },
    };
    enum { B = 2, T = 19, N = B*T };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        char directory[PATH], path[PATH];
        int tokens[N], targets[N];
        real losses[N], zlosses[N];
        snprintf(directory, sizeof directory, "dev/reference/hf/%s", cases[i].name);
        path_join(path, directory, "logits.safetensors");
        Config c = config_read(directory);
        check(same_config(&c, &cases[i].config), "%s: transformers' config.json says what it should",
              directory);
        Olmo *m = olmo_build(&c, 1);
        weights_read(directory, cpu_model(m, &m->config));
        Safetensors *st = safetensors_open(path);
        double *ids = read_entry_of(st, "ids", N), *logits = read_entry_of(st, "logits", (size_t)N*c.vocab);
        CHECK(ids && logits, "%s: a test needs it", path);
        for (int n = 0; n < N; n++) tokens[n] = (int)ids[n], targets[n] = IGNORE;
        olmo_forward(m, losses, zlosses, tokens, targets, NULL, B, T);
        double error = relative_error(m->acts.logits, logits, (size_t)N*c.vocab);
        // theirs is in float, too
        double allowed = sqrt(2.0)*budget(path_length(&c, T, c.n_layers) + 3*c.d_model) + tables
            + stored;
        check(error <= allowed, "%s: transformers' logits, relative error %.1e of %.1e", directory,
              error, allowed);
        safetensors_close(st);
        release(ids), release(logits), olmo_free(m);
    }
}

// What we write, taken apart without the code that reads it. A field of config.json, as text:
static int field_is(const char *config, const char *name, const char *expected) {
    const char *value = json_get(config, name);
    size_t n = strlen(expected);
    int fine = value && !strncmp(value, expected, n) && strchr(",\n", value[n]);
    if (!fine)
        printf("      \"%s\": expected %s, found %.*s\n", name, expected,
               value ? (int)strcspn(value, "\n") : 4, value ? value : "none");
    return fine;
}
// ... and a tensor: `rows` rows of `cols` numbers, of the model's matrix w from row `first` on.
static int tensor_is(const Safetensors *st, const char *name, const real *w, int first, int rows, int cols) {
    const Entry *e = safetensors_find(st, name);
    double *x = e ? read_entry_of(st, name, (size_t)rows*cols) : NULL;
    int fine = x && e->dims == 2 && (int)e->rows == rows && (int)e->cols == cols;
    for (size_t i = 0; fine && i < (size_t)rows*cols; i++)
        fine = (float)x[i] == (float)w[(size_t)first*cols + i];
    if (!fine) printf("      %s is not what it should be\n", name);
    release(x);
    return fine;
}
static int layer_tensor_is(const Safetensors *st, const char *name, int layer, const real *w, int first,
                           int rows, int cols) {
    char full[96];
    snprintf(full, sizeof full, "model.layers.%d.%s.weight", layer, name);
    return tensor_is(st, full, w, first, rows, cols);
}
// What config.json leaves out is as transformers' OlmoConfig has it.
static void shortest_config(void) {
    const char *const sizes = "\"model_type\": \"olmo\", \"hidden_size\": 16, \"num_hidden_layers\": 1, "
                              "\"num_attention_heads\": 4, \"intermediate_size\": 8, \"vocab_size\": 64";
    const char *const directory = "build/test/short";
    make_directory(directory);
    for (int older = 0; older < 2; older++) {
        FILE *file = open_to_write("build/test/short/config.json");
        fprintf(file, "{%s%s}", sizes, older ? ", \"rope_parameters\": {\"rope_type\": \"default\"}, "
                "\"rope_theta\": 500" : "");
        close_written(file, directory);
        const Config c = config_read(directory);
        check(c.n_kv_heads == 4 && c.seq_len == 2048 && c.rope_theta == (older ? 500 : 10000)
              && c.clip_qkv == 0 && !c.tied && c.eos == -1,
              "the shortest config.json%s: the other values are transformers' own",
              older ? " with RoPE's base where older files have it" : "");
    }
}

static void test_written_directory(void) {
    shortest_config();
    static const struct { Config config; const char *field[9]; } cases[] = {
        { { 24, 3, 4, 2, 20, 31, 48, 0, 7, 12345.5, 0.75, 0 },
          { "12345.5", "0.75", "7", "false", "2", "10", "31", "48", "3" } },
        { { 24, 2, 4, 4, 28, 31, 16, 1, -1, 10000, 8, 0 },
          { "10000.0", "8.0", "null", "true", "4", "14", "31", "16", "2" } },
        { { 24, 1, 4, 1, 28, 31, 16, 1, 0, 10000, 0, 0 },
          { "10000.0", "null", "0", "true", "1", "14", "31", "16", "1" } },
    };
    static const char *const names[] = { "rope_theta", "clip_qkv", "eos_token_id",
                                         "tie_word_embeddings", "num_key_value_heads",
                                         "intermediate_size", "vocab_size", "max_position_embeddings",
                                         "num_hidden_layers" };
    static const char *const always[][2] = {
        { "architectures", "[\"OlmoForCausalLM\"]" }, { "model_type", "\"olmo\"" },
        { "hidden_act", "\"silu\"" }, { "attention_bias", "false" },
        { "hidden_size", "24" }, { "num_attention_heads", "4" }, { "rope_scaling", "null" },
        { "torch_dtype", "\"float32\"" },
    };
    const char *directory = "build/test/written";
    char path[PATH], rope[128];
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        const Config *c = &cases[i].config;
        const int C = c->d_model, K = c->n_kv_heads*C/c->n_heads, F = c->mlp_hidden/2;
        Olmo *m = olmo_build(c, 0);
        golden_weights(m);
        remove_directory(directory), make_directory(directory);
        hugging_face_write(directory, cpu_model(m, c), NULL, F32, 0);

        path_join(path, directory, "config.json");
        char *text = read_text(path);
        const char *config = json_root(text, path);
        int fine = 1;
        for (size_t k = 0; k < sizeof names/sizeof *names; k++)
            fine &= field_is(config, names[k], cases[i].field[k]);
        for (size_t k = 0; k < sizeof always/sizeof *always; k++)
            fine &= field_is(config, always[k][0], always[k][1]);
        snprintf(rope, sizeof rope, "{\"rope_theta\": %s, \"rope_type\": \"default\"}", cases[i].field[0]);
        fine &= field_is(config, "rope_parameters", rope);
        check(fine, "config.json, model %zu: every field, as transformers 4 and 5 read it", i + 1);
        release(text);

        path_join(path, directory, "model.safetensors");
        Safetensors *st = safetensors_open(path);
        fine = st->n == 1 + !c->tied + 7*c->n_layers
            && tensor_is(st, "model.embed_tokens.weight", m->weight.wte, 0, c->vocab, C);
        if (!c->tied) fine &= tensor_is(st, "lm_head.weight", m->weight.head, 0, c->vocab, C);
        for (int l = 0; l < c->n_layers; l++) {
            const LayerWeights *w = &m->weight.layer[l];
            // att_proj: q, k, v
            fine &= layer_tensor_is(st, "self_attn.q_proj", l, w->att_proj, 0, C, C);
            fine &= layer_tensor_is(st, "self_attn.k_proj", l, w->att_proj, C, K, C);
            fine &= layer_tensor_is(st, "self_attn.v_proj", l, w->att_proj, C + K, K, C);
            fine &= layer_tensor_is(st, "self_attn.o_proj", l, w->attn_out, 0, C, C);
            // ff_proj: up, gate
            fine &= layer_tensor_is(st, "mlp.up_proj", l, w->ff_proj, 0, F, C);
            fine &= layer_tensor_is(st, "mlp.gate_proj", l, w->ff_proj, F, F, C);
            fine &= layer_tensor_is(st, "mlp.down_proj", l, w->ff_out, 0, C, F);
        }
        check(fine, "model.safetensors, model %zu: every tensor has the rows that its name promises", i + 1);
        safetensors_close(st);
        olmo_free(m);
    }
    remove_directory(directory);
}

// The same model in both programs: test_olmo_double --dump writes what test_olmo then reads.
static Bench precision_bench(int i) {
    Config tied = config_of(128, 4, 4, 4, 1024, 256, 160, 1, 0, 0),
        gqa = config_of(96, 3, 6, 2, 200, 1000, 101, 0, 1.5, 1e-3);
    return i ? bench_of(gqa, 3, 101, 900) : bench_of(tied, 2, 160, 256);
}
enum { PRECISION_CASES = 2 };
static void dump_named(const Named *list, int n, FILE *file) {
    for (int i = 0; i < n; i++) for (size_t j = 0; j < list[i].n; j++) {
        double x = (double)list[i].at[j];
        fwrite(&x, sizeof x, 1, file);
    }
}
static void dump_precision(const char *path) {
    Named *list = (Named *)allocate(MAX_NAMED, sizeof *list, "a test");
    FILE *file = open_to_write(path);
    for (int i = 0; i < PRECISION_CASES; i++) {
        Bench t = precision_bench(i);
        bench_loss(&t, 0);
        dump_named(list, list_activations(&t, list), file);
        bench_loss(&t, 1);
        dump_named(list, list_tensors(&t, t.m->grads, 0, "grad", list), file);
        bench_free(&t);
    }
    close_written(file, path);
    release(list);
}
static void compare_dump(const Named *list, int n, FILE *file, Line *table, int *lines) {
    for (int i = 0; i < n; i++) {
        double *y = (double *)allocate(list[i].n, sizeof(double), "a test");
        int whole = fread(y, sizeof(double), list[i].n, file) == list[i].n;
        add_line(table, lines, list[i].name, whole ? relative_error(list[i].at, y, list[i].n) : NAN,
                 budget(list[i].length));
        release(y);
    }
}
static void test_precision(void) {
    const char *path = "build/test/double.bin";
    char unused[16];
    CHECK(shell(unused, sizeof unused, "'%s_double' --dump %s", self, path) == 0,
          "%s_double --dump failed; `make test` builds it", self);
    Named *list = (Named *)allocate(MAX_NAMED, sizeof *list, "a test");
    FILE *file = fopen(path, "rb");
    CHECK(file, "%s: test_olmo_double --dump did not write it", path);
    for (int i = 0; i < PRECISION_CASES; i++) {
        Bench t = precision_bench(i);
        Line table[64];
        int lines = 0;
        bench_loss(&t, 0);
        compare_dump(list, list_activations(&t, list), file, table, &lines);
        bench_loss(&t, 1);
        compare_dump(list,
                     list_tensors(&t, t.m->grads, gradient_length(&t.m->config, t.B, t.T), "grad",
                                  list), file, table, &lines);
        check(print_lines("float against double", table, lines),
              "float against double, model %d: within the budget", i + 1);
        bench_free(&t);
    }
    fclose(file);
    release(list);
}

// =================================================================================================
// 5. Invariances: equal bits
// =================================================================================================

static int same_bits(const real *x, const real *y, size_t n) { return !memcmp(x, y, n*sizeof(real)); }

// How products are cut among threads: if all tiles were equally fast, a thread would idle for less than 40 %
// of the time, whatever their number. (One that got no tile at all would make a product of 128 x 128 slow.)
static void threads_are_busy(void) {
    static const int sizes[][2] = { { 128, 128 }, { 256, 128 }, { 384, 128 }, { 1024, 128 }, { 128, 512 },
                                    { 2048, 128 }, { 2048, 1024 }, { 768, 768 }, { 480, 50304 } };
    double least = 1;
    int fits = 1;
    for (size_t i = 0; i < sizeof sizes/sizeof *sizes; i++) for (int threads = 1; threads <= 16; threads++) {
        const int M = sizes[i][0], N = sizes[i][1];
        int mc = 0, nc = 0;
        choose_tiles(&mc, &nc, M, N, threads);
        fits &= mc > 0 && nc > 0 && mc <= MC && nc <= NC && mc % MR == 0 && nc % NR == 0;
        if (!fits) break;
        const int rounds = ceil_div(ceil_div(M, mc)*ceil_div(N, nc), threads);
        least = fmin(least, (double)M*N/((double)rounds*threads*mc*nc));
    }
    check(fits && least > 0.6, "gemm's tiles are whole panels that fit, and keep 1 to 16 threads busy: %.2f",
          least);
}

static void test_gemm(void) {
    threads_are_busy();
    // Against the naive loops, and a rigorous bound: a sum of K products is off by at most (K+1) u sum |a b|.
    int threads = omp_get_max_threads(), fine = 1, equal = 1, cases = 0;
    for (uint32_t i = 0; i < 60; i++) {
        int M = 1 + (int)(fmix(i) % 131), N = 1 + (int)(fmix(i + 1000) % 150),
            K = 1 + (int)(fmix(i + 2000) % 600), add = i & 1;
        if (i > 54) M = 500 + (int)i, N = 530 + (int)i, K = 20;                     // larger than one tile
        real *a = noise_reals((size_t)M*K, i, 1), *b = noise_reals((size_t)K*N, i + 500, 1),
            *c = noise_reals((size_t)M*N, 9, 1),
            *d = noise_reals((size_t)M*N, 9, 1);
        real *e = noise_reals((size_t)M*N, 9, 1);
        Matrix A = i & 2 ? matrix(a, (size_t)K) : transposed(a, (size_t)M),
            B = i & 4 ? matrix(b, (size_t)N) : transposed(b, (size_t)K);
        gemm(c, (size_t)N, A, B, M, N, K, K, add);
        gemm_naive(d, (size_t)N, A, B, M, N, K, add);
        for (int m = 0; m < M; m++) for (int n = 0; n < N; n++) {
            double size = add ? fabs(noise(9, (size_t)m*N + n)) : 0;
            for (int k = 0; k < K; k++)
                size += fabs((double)A.at[m*A.row + k*A.col]*(double)B.at[k*B.row + n*B.col]);
            fine &= fabs((double)c[(size_t)m*N + n] - (double)d[(size_t)m*N + n])
                <= 2*(K + 1)*unit_roundoff*size;
        }
        for (int t = 1; t <= 3; t++) {
            fill_noise(e, (size_t)M*N, 9, 1);
            omp_set_num_threads(t);
            gemm(e, (size_t)N, A, B, M, N, K, K, add);
            equal &= same_bits(c, e, (size_t)M*N);
        }
        omp_set_num_threads(threads);
        release(a), release(b), release(c), release(d), release(e), cases++;
    }
    check(fine, "gemm equals gemm_naive within the rounding of its sums: %d shapes, all strides", cases);
    check(equal, "gemm has the same bits with 1, 2 and 3 threads: %d shapes", cases);
}

// A row of a product has the same bits alone, among few and among many: generation gives what the
// forward pass gives. Rows of all three matrices lie apart, spans end in mid-run, and a NaN stands
// wherever nothing may be read.
static void test_few_rows(void) {
    enum { MANY = 40, APART = 5 };
    const int widths[] = { 1, 7, 8, 9, 24, 61 }, lengths[] = { 1, 5, 8, 64, 250, 600 };
    int equal = 1, inside = 1, cases = 0;
    for (int i = 0; i < 6; i++) for (int j = 0; j < 6; j++) for (int whole = 0; whole < 2; whole++) {
        const int N = widths[i], K = lengths[j], span = whole ? K : (K + 2)/3, add = (i + j) % 2;
        const size_t apart = (size_t)K + APART, ldc = (size_t)N + APART;
        real *a = noise_reals(MANY*apart, 1, 1), *b = noise_reals((size_t)N*apart, 2, 1);
        real *all = noise_reals(MANY*ldc, 3, 1), *some = noise_reals(MANY*ldc, 3, 1);
        for (size_t n = 0; n < MANY*apart; n++) if (n % apart >= (size_t)K) a[n] = NAN;
        for (size_t n = 0; n < (size_t)N*apart; n++) if (n % apart >= (size_t)K) b[n] = NAN;
        gemm(all, ldc, matrix(a, apart), transposed(b, apart), MANY, N, K, span, add);
        // 1 row, the next 2, the next 3 ...
        for (int first = 0, M = 1; first + M <= MANY; first += M++) {
            gemm(some + first*ldc, ldc, matrix(a + first*apart, apart), transposed(b, apart), M, N, K,
                 span, add);
            equal &= same_bits(all + first*ldc, some + first*ldc, M*ldc);
        }
        for (size_t n = 0; n < MANY*ldc; n++) inside &= !isnan((double)all[n]);
        release(a), release(b), release(all), release(some), cases++;
    }
    check(equal, "1 to 8 rows have the bits that they have among %d: %d shapes", MANY, cases);
    check(inside, "no product reads or writes between the rows: %d shapes", cases);
}

// Causal products over several blocks of rows, columns and terms: what counts is what the naive product
// of a matrix with zeros elsewhere gives.
static void test_causal_product(void) {
    enum { M = 490, N = 523, K = 301, PAST = 37 };
    const struct { const char *name; Causal causal; } cases[] = {
        { "scores", SCORES }, { "averages", AVERAGE }, { "gradients", GRADIENT },
    };
    for (int n = 0; n < 3; n++) {
        const Causal causal = cases[n].causal;
        const int add = causal == GRADIENT;
        real *a = noise_reals((size_t)M*K, 1, 1), *b = noise_reals((size_t)K*N, 2, 1);
        real *c = noise_reals((size_t)M*N, 3, 1), *expected = noise_reals((size_t)M*N, 3, 1);
        for (int i = 0; i < M; i++) for (int k = 0; k < K; k++) {
            const int counts = causal == AVERAGE ? k <= i + PAST : causal == GRADIENT ? i <= k + PAST : 1;
            if (!counts) a[(size_t)i*K + k] = 0;
        }
        causal_product(c, N, matrix(a, K), matrix(b, N), M, N, K, add, causal, PAST);
        gemm_naive(expected, N, matrix(a, K), matrix(b, N), M, N, K, add);
        double difference = 0, size = 0;
        for (int i = 0; i < M; i++) for (int j = 0; j < N; j++) {
            const double x = (double)c[(size_t)i*N + j], y = (double)expected[(size_t)i*N + j];
            if (causal == SCORES && j > i + PAST) continue;
            difference += (x - y)*(x - y), size += y*y;
        }
        check(sqrt(difference/size) <= budget(2*K),
              "causal %s of %d x %d x %d: relative error %.1e, budget %.1e", cases[n].name, M, N, K,
              sqrt(difference/size), budget(2*K));
        release(a), release(b), release(c), release(expected);
    }
}

// Attention as it is defined, in double and with all of P: the queries are the last T of past + T tokens.
// dqkv (past is 0, or dqkv NULL): from d sum(datt*att).
static void attention_naive(double *att, double *lse, double *dqkv, const real *datt, const real *qkv,
                            int B, int T, int past, int H, int G, int D) {
    const int Q = (H + 2*G)*D, keys = past + T;
    double *p = (double *)allocate(2*(size_t)keys, sizeof(double), "a test"), *dp = p + keys;
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int t = 0; t < T; t++) {
        const size_t row = (size_t)b*T + t;
        const real *q = qkv + ((size_t)b*keys + past + t)*Q + h*D,
            *k = qkv + (size_t)b*keys*Q + (H + h*G/H)*D;
        const real *v = k + G*D;
        const int seen = past + t + 1;
        double sum = 0, mean = 0, *out = att + row*H*D + h*D;
        for (int j = 0; j < seen; j++) {
            p[j] = 0;
            for (int i = 0; i < D; i++) p[j] += (double)q[i]*(double)k[(size_t)j*Q + i]/sqrt((double)D);
            sum += exp(p[j]);
        }
        lse[((size_t)b*H + h)*T + t] = log(sum);
        for (int j = 0; j < seen; j++) p[j] = exp(p[j])/sum;
        for (int i = 0; i < D; i++) {
            out[i] = 0;
            for (int j = 0; j < seen; j++) out[i] += p[j]*(double)v[(size_t)j*Q + i];
        }
        if (!dqkv) continue;
        const real *dout = datt + row*H*D + h*D;
        double *dq = dqkv + row*Q + h*D, *dk = dqkv + (size_t)b*T*Q + (H + h*G/H)*D, *dv = dk + G*D;
        for (int j = 0; j < seen; j++) {
            dp[j] = 0;
            for (int i = 0; i < D; i++) dp[j] += (double)dout[i]*(double)v[(size_t)j*Q + i];
            mean += p[j]*dp[j];
        }
        for (int j = 0; j < seen; j++) for (int i = 0; i < D; i++) {
            const double ds = p[j]*(dp[j] - mean)/sqrt((double)D);
            dq[i] += ds*(double)k[(size_t)j*Q + i];
            dk[(size_t)j*Q + i] += ds*(double)q[i];
            dv[(size_t)j*Q + i] += p[j]*(double)dout[i];
        }
    }
    release(p);
}

// Values and gradients beside the naive ones: over several tiles of queries, blocks of keys, and blocks
// of the product's sums, with every way of sharing heads. The budget: the additions behind a number, of
// the scores, softmax and averages.
static void test_attention_naive(void) {
    const struct { const char *name; int B, T, past, H, G, D; } cases[] = {
        { "GQA, T=203", 2, 203, 0, 4, 2, 6 },           { "MHA, T=600", 1, 600, 0, 3, 3, 8 },
        { "GQA, T=600", 2, 600, 0, 4, 2, 10 },          { "MQA, T=600", 1, 600, 0, 5, 1, 16 },
        { "MQA, T=1101", 1, 1101, 0, 2, 1, 34 },        { "GQA, 90 tokens after 520", 2, 90, 520, 4, 2, 12 },
        { "MHA, one token after 700", 1, 1, 700, 2, 2, 64 },
    };
    for (size_t n = 0; n < sizeof cases/sizeof *cases; n++) {
        const int B = cases[n].B, T = cases[n].T, past = cases[n].past, H = cases[n].H, G = cases[n].G,
            D = cases[n].D;
        const int Q = (H + 2*G)*D, keys = past + T;
        const size_t rows = (size_t)B*T,
            scratch = zmax(attention_forward_work(keys), attention_backward_work(B, T, H, G, D));
        real *qkv = noise_reals((size_t)B*keys*Q, 3, 1), *q = noise_reals(rows*Q, 0, 0),
            *datt = noise_reals(rows*H*D, 4, 1);
        real *att = noise_reals(rows*H*D, 0, 0), *lse = noise_reals(rows*H, 0, 0),
            *dqkv = noise_reals(rows*Q, 5, 1);
        // noise: whatever was there
        real *work = noise_reals(scratch, 6, 1);
        double *expected = (double *)allocate(rows*(H*D + H + Q), sizeof(double), "a test");
        double *expected_lse = expected + rows*H*D, *expected_dqkv = expected_lse + rows*H;
        for (int b = 0; b < B; b++) {
            memcpy(q + (size_t)b*T*Q, qkv + ((size_t)b*keys + past)*Q, (size_t)T*Q*sizeof(real));
        }
        attention_naive(expected, expected_lse, past ? NULL : expected_dqkv, datt, qkv, B, T, past, H, G, D);
        attention_forward(att, lse, work, q, Q, qkv + H*D, Q, B, T, past, H, G, D);
        const double length = D + keys + 8, error = relative_error(att, expected, rows*H*D);
        const double error_lse = relative_error(lse, expected_lse, rows*H);
        check(error <= budget(length) && error_lse <= budget(length),
              "attention, %s, beside the definition in double: relative error %.1e, log-sum-exp "
              "%.1e; budget %.1e", cases[n].name, error, error_lse, budget(length));
        if (past == 0) {
            attention_backward(dqkv, work, datt, att, lse, qkv, B, T, H, G, D);
            // of dq, dk and dv, head by head
            double worst = 0;
            for (int head = 0; head < H + 2*G; head++) {
                double difference = 0, size = 0;
                for (size_t row = 0; row < rows; row++) for (int i = 0; i < D; i++) {
                    const double x = (double)dqkv[row*Q + head*D + i], y = expected_dqkv[row*Q + head*D + i];
                    difference += (x - y)*(x - y), size += y*y;
                }
                worst = larger(worst, sqrt(difference/size));
            }
            check(worst <= budget(3*length + T*(H/G)),
                  "attention backward, %s: dq, dk and dv of every head, worst relative error %.1e, "
                  "budget %.1e", cases[n].name, worst, budget(3*length + T*(H/G)));
        }
        release(qkv), release(q), release(datt), release(att), release(lse), release(dqkv),
            release(work), release(expected);
    }
}

static void test_exp(void) {
    double worst = 0;
    for (int i = -870000; i <= 880000; i++) {
        real x = (real)(i*1e-4);
        worst = larger(worst, fabs((double)fast_exp(x)/exp((double)x) - 1));
    }
    if (!in_double) check(worst < 3*unit_roundoff, "fast_exp on [-87, 88]: relative error below %.1e", worst);
    check(isnan((double)fast_exp((real)NAN)) && fast_exp(-1000) >= 0 && fast_exp(-1000) < 1e-37,
          "fast_exp keeps a NaN, and underflows to almost nothing");
}

// Gradients and trained weights of one configuration, cut and threaded in several ways.
static void train_bits(Config c, int B, int T, int micro, int threads, real *grads, real *params) {
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    Bench t = bench_of(c, B, T, c.vocab);
    for (int s = 1; s <= 3; s++) {
        for (int b = 0; b < B; b += micro) {
            olmo_forward(t.m, t.losses, t.zlosses, t.tokens + b*T, t.targets + b*T, t.weights,
                         imin(micro, B - b), T);
            olmo_backward(t.m);
        }
        if (s == 3) memcpy(grads, t.m->grads, t.m->layout.size*sizeof(real));
        AdamW how = { 1e-2, 0.9, 0.95, 1e-5, 0.1, 0, 1, s };
        olmo_update(t.m, &how);
    }
    memcpy(params, t.m->params, t.m->layout.size*sizeof(real));
    bench_free(&t);
    omp_set_num_threads(before);
}
// A model takes passes of one shape after another. Of 12 tokens, 3 x 4 are not 2 x 6.
static void shapes_of_passes(void) {
    enum { N = 12 };
    Config c = config_of(16, 1, 2, 2, 16, 20, 8, 1, 0, 0);
    Olmo *m[2];
    int tokens[N];
    real losses[N], zlosses[N], weights[N];
    for (int i = 0; i < N; i++) tokens[i] = i*7 % 20, weights[i] = 1;
    for (int k = 0; k < 2; k++) {
        m[k] = olmo_build(&c, 1);
        fill_noise(m[k]->params, m[k]->layout.size, 5, 1);
        if (k) olmo_forward(m[k], losses, zlosses, tokens, tokens, weights, 2, 6);
        olmo_forward(m[k], losses, zlosses, tokens, tokens, weights, 3, 4);
        olmo_backward(m[k]);
    }
    check(same_bits(m[0]->grads, m[1]->grads, m[0]->layout.size),
          "gradients of 3 x 4 tokens do not depend on a pass of 2 x 6 before");
    olmo_free(m[0]), olmo_free(m[1]);
}

static void test_training_bits(void) {
    shapes_of_passes();
    const struct { const char *name; Config c; int B, T; } cases[] = {
        { "tied, T=33", config_of(48, 2, 4, 4, 100, 61, 33, 1, 0, 0), 5, 33 },
        { "untied GQA, clip_qkv, z-loss, T=300", config_of(36, 2, 6, 2, 50, 37, 300, 0, 0.7, 1e-3), 3, 300 },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        Layout *list = (Layout *)allocate(1, sizeof(Layout), "a test");
        Weights unused;
        olmo_layout(list, &unused, NULL, &cases[i].c);
        size_t n = list->size;
        real *g0 = noise_reals(n, 0, 0), *p0 = noise_reals(n, 0, 0), *g = noise_reals(n, 0, 0),
            *p = noise_reals(n, 0, 0);
        train_bits(cases[i].c, cases[i].B, cases[i].T, cases[i].B, 1, g0, p0);
        for (int threads = 2; threads <= 3; threads++) {
            train_bits(cases[i].c, cases[i].B, cases[i].T, cases[i].B, threads, g, p);
            check(same_bits(g, g0, n) && same_bits(p, p0, n), "%s: %d threads, the bits of one",
                  cases[i].name, threads);
        }
        for (int micro = 1; micro < cases[i].B; micro++) {
            train_bits(cases[i].c, cases[i].B, cases[i].T, micro, 2, g, p);
            check(same_bits(g, g0, n) && same_bits(p, p0, n),
                  "%s: micro-batches of %d, the bits of one batch of %d", cases[i].name, micro,
                  cases[i].B);
        }
        release(g0), release(p0), release(g), release(p), release(list);
    }
}

static void test_kv_cache(void) {
    const Config configs[] = { config_of(48, 3, 6, 2, 60, 53, 140, 0, 0.9, 0),
                               config_of(32, 2, 2, 2, 64, 256, 140, 1, 0, 0) };
    for (int k = 0; k < 2; k++) {
        const int T = 140, V = configs[k].vocab, cuts[] = { 1, 7, 8, 9, 100, 101, 138, 139, 140 };
        Bench t = bench_of(configs[k], 1, T, V);
        real *all = noise_reals((size_t)T*V, 0, 0), *logits = noise_reals((size_t)V, 0, 0);
        int fine = 1;
        bench_loss(&t, 0);
        memcpy(all, t.m->acts.logits, (size_t)T*V*sizeof(real));
        for (int i = 0, past = 0; i < (int)(sizeof cuts/sizeof *cuts); past = cuts[i++]) {
            olmo_decode(t.m, logits, t.tokens + past, cuts[i] - past, past);
            fine &= same_bits(logits, all + (size_t)(cuts[i] - 1)*V, (size_t)V);
        }
        check(fine,
              "KV cache, model %d: logits after pieces of 1 to 91 tokens have the bits of the whole "
              "forward pass", k + 1);
        release(all), release(logits);
        bench_free(&t);
    }
}

// Texts that begin alike, as one tree: every loss has the bits of its text by itself. First branches by
// hand - one token each, behind long stems and none, some longer than attention's tiles of queries and the
// products' runs of keys - then branches by chance.
enum { TREE = 1000, TREE_T = 300 };
static void random_tree(int *positions, int T) {
    static const int ends[][2] = { { 0, 280 }, { 280, 280 }, { 280, 280 }, { 279, 299 }, { 1, 1 }, { 0, 0 },
                                   { 0, 0 }, { 0, 130 }, { 7, 110 }, { 100, 107 }, { 100, 108 } };
    int n = 0, at = 0;
    for (size_t i = 0; i < sizeof ends/sizeof *ends; i++)
        for (int p = ends[i][0]; p <= at && p <= ends[i][1] && p < T; ) positions[n++] = p, at = ++p;
    for (; n < TREE; n++) {
        const uint32_t chance = fmix((uint32_t)n + 4321);
        positions[n] = at < T && chance % 8 ? at : (int)(chance/8 % (uint32_t)at);
        at = positions[n] + 1;
    }
}
static void test_tree(void) {
    const Config configs[] = { config_of(48, 2, 6, 2, 60, 53, TREE_T, 0, 0.9, 1e-3),
                               config_of(32, 2, 2, 2, 64, 256, TREE_T, 1, 0, 0) };
    int positions[TREE], text[TREE_T], targets[TREE_T];
    random_tree(positions, TREE_T);
    for (int k = 0; k < 4; k++) {
        const Config c = configs[k/2];
        const int training = k % 2;
        Bench t = bench_of(c, 1, TREE, c.vocab);
        Olmo *m = olmo_build(&c, training);
        real *losses = noise_reals(4*TREE, 0, 0), *zlosses = losses + TREE, *own = zlosses + TREE;
        int fine = 1, texts = 0;
        memcpy(m->params, t.m->params, m->layout.size*sizeof(real));
        for (int n = 0; n < TREE; n += 3) t.targets[n] = IGNORE;
        olmo_forward_tree(m, losses, zlosses, t.tokens, positions, t.targets, TREE);
        for (int first = 0, end; first < TREE; first = end) {
            for (end = first + 1; end < TREE && positions[end] == positions[end - 1] + 1; end++) {}
            const int from = positions[first], n = end - first, T = from + n;
            for (int i = 0; i < from; i++) targets[i] = IGNORE;
            memcpy(text + from, t.tokens + first, (size_t)n*sizeof(int));
            memcpy(targets + from, t.targets + first, (size_t)n*sizeof(int));
            olmo_forward(m, own, own + T, text, targets, NULL, 1, T);
            fine &= same_bits(own + from, losses + first, (size_t)n);
            fine &= same_bits(own + T + from, zlosses + first, (size_t)n);
            texts++;
        }
        check(fine && losses[1] > 0, "a tree of %d texts, model %d%s: the bits of each by itself", texts,
              k/2 + 1, training ? ", which trains" : "");
        olmo_free(m), release(losses);
        bench_free(&t);
    }
}

// A model built without training: the losses of one that trains, bit for bit, and the memory of one layer.
static void test_without_training(void) {
    enum { B = 3, T = 301, N = B*T, V = 37 };               // more rows than are given logits at a time
    const Config c = config_of(36, 4, 6, 2, 50, V, T, 0, 0.7, 1e-3);
    Bench t = bench_of(c, B, T, V);
    Olmo *plain = olmo_build(&c, 0);
    real *losses = noise_reals(2*N, 0, 0), *zlosses = losses + N;
    check(N > (int)HEAD_ROWS && N % (int)HEAD_ROWS != 0, "the last chunk of logits is a smaller one");
    check(!plain->grads && !plain->moment1 && !plain->moment2,
          "a model without training has neither gradients nor moments");
    memcpy(plain->params, t.m->params, t.m->layout.size*sizeof(real));
    bench_loss(&t, 1);
    olmo_forward(plain, losses, zlosses, t.tokens, t.targets, NULL, B, T);
    check(same_bits(losses, t.losses, N) && same_bits(zlosses, t.zlosses, N) && losses[0] > 0
          && zlosses[0] > 0,
          "a model without training has the losses of one with weights, bit for bit");
    bench_loss(&t, 0);
    check(same_bits(losses, t.losses, N) && same_bits(zlosses, t.zlosses, N),
          "so has a training model whose forward pass has no weights");
    int none[T], quiet = 1;
    for (int i = 0; i < T; i++) none[i] = IGNORE;
    memset(t.tokens, 0, T*sizeof(int)), memset(losses, 1, T*sizeof(real));
    losses[T] = 7;
    olmo_forward(plain, losses + 1, zlosses, t.tokens, none, NULL, 1, T - 1);
    for (int i = 1; i < T; i++) quiet &= losses[i] == 0;
    check(quiet && losses[T] == 7, "where nothing is asked, all losses are 0");

    Memory with[MAX_MEMORY], without[MAX_MEMORY];
    const int n = cpu_device.memory(with, &c, 1, B, T), m = cpu_device.memory(without, &c, 0, B, T);
    size_t all = 0, few = 0, acts = 0, weights = t.m->layout.size*sizeof(real),
        cache = cache_size(&c)*sizeof(real);
    for (int i = 0; i < n; i++) all += with[i].bytes;
    for (int i = 0; i < m; i++)
        few += without[i].bytes, acts += !strcmp(without[i].name, "activations") ? without[i].bytes : 0;
    check(all == 4*weights + t.m->arena_size + cache && few == weights + plain->arena_size + cache,
          "the memory plan is what is allocated: %zu and %zu bytes", all, few);
    // x, xn1, att, xn2, xnf; qkv; ug; h
    const size_t row = (5*36 + 60 + 50 + 25 + 4 + 6)*sizeof(real) + 60 + 3*sizeof(int);
    check(acts < N*row + 16*64,
          "without training the activations are those of one layer: %zu bytes for %d layers", acts,
          c.n_layers);
    olmo_free(plain), release(losses);
    bench_free(&t);
}

// A second device, added without touching anything: it counts the calls and lets the CPU do the work.
enum { BUILD, FORWARD, BACKWARD, UPDATE, DECODE, CALLS };
static int calls[CALLS];
static void *counting_build(const Config *c, int training) {
    calls[BUILD]++;
    return cpu_device.build(c, training);
}
static void counting_forward(void *m, real *l, real *z, const int *t, const int *y, const real *w,
                             int B, int T) {
    calls[FORWARD]++;
    cpu_device.forward(m, l, z, t, y, w, B, T);
}
static void counting_backward(void *m, int last) { calls[BACKWARD]++; cpu_device.backward(m, last); }
static double counting_update(void *m, const AdamW *how) {
    calls[UPDATE]++;
    double norm = cpu_device.update(m, how);
    return getenv("INFINITE_NORM") ? INFINITY : norm;        // a device that could not update
}
static void counting_decode(void *m, real *l, const int *t, int n, int past) {
    calls[DECODE]++;
    cpu_device.decode(m, l, t, n, past);
}
static int counting_main(int argc, char **argv) {            // the whole program, on that device
    Device d = cpu_device;
    d.name = "counting", d.build = counting_build, d.forward = counting_forward,
        d.backward = counting_backward,
        d.update = counting_update, d.decode = counting_decode;
    int code = olmo_main(argc, argv, &d);
    printf("calls %d %d %d %d %d\n", calls[BUILD], calls[FORWARD], calls[BACKWARD], calls[UPDATE],
           calls[DECODE]);
    return code;
}
// An update that did not happen, for the gradient is not finite, must end the run: it would go on and
// never learn.
static void infinite_norm(const char *flags) {
    char out[PATH];
    int code = shell(out, sizeof out,
                     "cd build/test && rm -rf device && INFINITE_NORM=1 '%s' --counting-device %s "
                     "--out device 2>&1; echo code $?; ls device", self, flags);
    check(code == 0 && strstr(out, "error: step 1: ") && strstr(out, "the gradient norm inf")
          && strstr(out, "code 1\n") && !strstr(out, "step1\n"),
          "a gradient norm that is not finite ends the run, unsaved: %.*s",
          (int)strcspn(strstr(out, "error: ") ? strstr(out, "error: ") : out, "\n"),
          strstr(out, "error: ") ? strstr(out, "error: ") : out);
}

static void test_second_device(void) {
    char plain[PATH], counted[PATH];
    const char *flags =
        "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --seq-len 32 --steps 3 --batch 4 "
        "--micro-batch 2 --sample-every 3 --eval-every 3 "
                        "--data train_olmo.c.txt --prompt ab --threads 1";
    int code = shell(plain, sizeof plain,
                     "mkdir -p build/test && cd build/test && head -c 16384 ../../train_olmo.c > "
                     "train_olmo.c.txt && rm -rf device && %s --plain-device %s --out device | tail -1",
                     self, flags);
    code |= shell(counted, sizeof counted,
                  "cd build/test && rm -rf device && %s --counting-device %s --out device | tail -2",
                  self, flags);
    // 3 steps of 2 micro-batches; validation of 512/20 windows, 2 at a time; a sample of 32 - 2 tokens
    check(code == 0 && strstr(counted, "calls 1 19 6 3 30\n"),
          "a second device needs no change: the program made the calls it should: %s",
          strstr(counted, "calls") ? strstr(counted, "calls") + 6 : "none");
    check(strlen(plain) == 31 && !strncmp(plain, counted, 31),
          "and has the same parameters at the end: %.30s", plain);
    infinite_norm(flags);
}

// Memory that runs out at the first allocation, at the second, and so on until a run needs no more:
// each time one sentence, exit code 1, and no checkpoint. FAIL_ALLOCATION=n is known to this program
// alone.
static void runs_out_of_memory(const char *device, const char *flags) {
    char out[PATH];
    int n = 0, code = 1, sentences = 1;
    while (code && sentences && n < 1000) {
        code = shell(out, sizeof out,
                     "cd build/test && rm -rf starved && FAIL_ALLOCATION=%d '%s' --%s-device "
                     "--d-model 16 --n-layers 2 --n-heads 2 --mlp-hidden 32 --seq-len 32 --steps 2 "
                     "--batch 4 --micro-batch 2 --sample-every 2 --data train_olmo.c.txt --prompt ab "
                     "--out starved %s 2>&1 >/dev/null", ++n, self, device, flags);
        if (!code) break;
        sentences = code == 1 && !strncmp(out, "error: ", 7)
            && (strstr(out, "not enough memory") || strstr(out, "cannot reach the host's memory"))
            && strchr(out, '\n') == out + strlen(out) - 1
            && newest_checkpoint("build/test/starved") < 0;
    }
    check(code == 0 && n > 20,
          "memory that runs out at any of %d allocations (%s) is a sentence and exit code 1%s%s", n - 1,
          device, code ? "; but not at the last: " : "", code ? out : "");
}
static void test_out_of_memory(void) {
    char unused[8];
    (void)shell(unused, sizeof unused,
                "mkdir -p build/test && head -c 16384 train_olmo.c > build/test/train_olmo.c.txt");
    runs_out_of_memory("plain", "--threads 1");
}

// A run's lines by a clock that goes on 0.75 s from look to look: a step takes two of them. There is a
// line for the first step, for the last, and for what lies more than two seconds behind the line
// before.
static void test_console_by_the_clock(void) {
    static char out[1 << 15];
    const char *flags =
        "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --seq-len 16 --steps 99 --batch 4 "
        "--sample-every 0 "
                        "--data ../../train_olmo.c.txt --val none --no-save --threads 1";
    int code = shell(out, sizeof out,
                     "mkdir -p build/test/clock && head -c 16384 train_olmo.c > "
                     "build/train_olmo.c.txt && cd build/test/clock && CLOCK_STEP=0.75 '%s' "
                     "--plain-device %s", self, flags), lines = 0, fine = 1;
    for (const char *at = out; (at = strstr(at, "[step=")) != NULL; at++, lines++) {
        char expected[64];
        const int step = atoi(at + 6), left = (int)(1.5*(99 - step));
        snprintf(expected, sizeof expected, " tokens/s=85.33 eta=%d:%02d\n", left/60, left % 60);
        fine &= step == 2*lines + 1 && strstr(at, expected) && strstr(at, expected) < strchr(at, '\n');
    }
    check(code == 0 && fine && lines == 50,
          "tokens/s and eta by the clock, in a line for every second step: %d lines", lines);
    code = shell(out, sizeof out,
                 "cd build/test/clock && CLOCK_STEP=0.75 '%s' --plain-device %s --energy --watts 720 "
                 "--pue 2 --carbon-intensity 0.5 --peak-tflops 1 | tail -n 2 | head -n 1", self, flags);
    // Looks: one before the first step, three per step, one at the end. 299*0.75 s of 720 W are 0.04485 kWh.
    check(code == 0
          && !strcmp(out,
                     "energy 0.04485 kWh: 720 W for 0.0622917 hours, by --watts; 0.04485 kg CO2e "
                     "(PUE 2, 0.5 kg per kWh)\n"), "and the energy: %s", out);
    // A run that goes on has not made the steps before it in its own time.
    code = shell(out, sizeof out,
                 "cd build/test/clock && rm -rf later && export CLOCK_STEP=0.75 && "
                 "'%s' --plain-device %.*s --steps 90 --out later >first && "
                 "'%s' --plain-device --resume --steps 99 --out later 2>changes | grep 'step=91/99'",
                 self, (int)(strstr(flags, " --no-save") - flags), flags, self);
    check(code == 0 && strstr(out, " eta=0:12\n"), "eta of a run that goes on: %s", out);
}

// Long work before the first update tells how far it is, every two seconds, by its speed since it began.
static void test_meter(void) {
    static const double done[] = { 1010, 1080, 1100, 1000, 1160, 1170 };
    setenv("CLOCK_STEP", "1", 1);
    const int console = print_into(stdout, "build/test/meter");
    const double now = seconds();
    Meter m = { "reference", "pairs", 5000, 1000, now, now };
    for (size_t i = 0; i < sizeof done/sizeof *done; i++) meter_show(&m, done[i]);
    print_again(stdout, console);
    unsetenv("CLOCK_STEP");
    char *said = read_text("build/test/meter");
    check(!strcmp(said,
                  "reference: 1,080 of 5,000 pairs, 40 per second, 1:38 left\nreference: 1,160 of "
                  "5,000 pairs, 32 per second, 2:00 left\n"), "progress:\n%s", said);
    release(said);
}

// =================================================================================================
// 6. Formats, data, sampling
// =================================================================================================

static void test_number_formats(void) {
    int fine = 1;
    // every half-precision number survives the round trip
    for (uint32_t h = 0; h < 65536; h++) {
        float b = float_from_bf16((uint16_t)h), f = float_from_f16((uint16_t)h);
        fine &= isnan(b) ? isnan(float_from_bf16(bf16_from_float(b))) : bf16_from_float(b) == h;
        fine &= isnan(f) ? isnan(float_from_f16(f16_from_float(f))) : f16_from_float(f) == h;
    }
    check(fine, "all 65536 bf16 and all 65536 fp16 numbers go to float and back");
    fine = 1;
    // between two neighbours: to the nearer, ties to the even one
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float low = float_from_f16((uint16_t)h), high = float_from_f16((uint16_t)(h + 1)),
            middle = (low + high)/2;
        fine &= f16_from_float(middle) == (h & 1 ? h + 1 : h)
            && f16_from_float(nextafterf(middle, 0)) == h
            && f16_from_float(nextafterf(middle, 1e9f)) == h + 1;
    }
    for (uint32_t h = 0; h < 0x7f7f; h++) {
        float low = float_from_bf16((uint16_t)h), high = float_from_bf16((uint16_t)(h + 1)),
            middle = low + (high - low)/2;
        fine &= bf16_from_float(middle) == (h & 1 ? h + 1 : h)
            && bf16_from_float(nextafterf(middle, INFINITY)) == h + 1;
    }
    check(fine, "rounding to bf16 and fp16 is to nearest, ties to even");
    check(f16_from_float(1) == 0x3c00 && f16_from_float(-2) == 0xc000 && f16_from_float(65504) == 0x7bff
          && f16_from_float(65520) == 0x7c00 && f16_from_float(5.9604645e-8f) == 1
          && bf16_from_float(1) == 0x3f80, "known codes: 1, -2, 65504, overflow, the smallest number");
}

static void test_json(void) {
    const char *good[] = { "{}", " { \"a\" : [1, -2.5e3, true, null, {\"b\": \"x\\\"y\"}] } ",
                           "{\"a\":{\"b\":{}},\"c\":[]}" };
    const char *bad[] = { "", "{", "[", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "{a:1}",
                          "{\"a\":01x}", "\"open", "{\"a\":tru}", "[1 2]", "{\"a\":-}", "{\"a\":1}}",
                          "{\"a\":\"\\q\"}", "{\"a\":0x10}", "[1;2]", "{\"a\":\"\t\"}" };
    for (size_t i = 0; i < sizeof good/sizeof *good; i++) {
        const char *end = json_skip(good[i], 0);
        check(end && !*json_space(end), "JSON: %s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad/sizeof *bad; i++) {
        const char *end = json_skip(bad[i], 0);
        check(!end || *json_space(end), "not JSON: %s", bad[i]);
    }
    const char *o = "{\"x\": {\"y\": 3}, \"list\": [10, 20], \"y\": 4, \"no\": null}";
    uint64_t list[2];
    check(json_number(o, "o", "y", 0, 9, 0) == 4
          && json_number(json_get(o, "x"), "o", "y", 0, 9, 0) == 3
          && json_number(o, "o", "no", 0, 9, 7) == 7 && !json_get(o, "z"),
          "members are found in their own object only");
    static const char *const others[] = { "\"\"", "[\"y\", 1]", "[]", "\"y\"", "1", "null" };
    int none = 1;
    for (size_t i = 0; i < sizeof others/sizeof *others; i++) none &= !json_get(others[i], "y");
    check(none, "what is no object has no members");
    check(json_whole_numbers(json_get(o, "list"), list, 2) == 2 && list[0] == 10 && list[1] == 20
          && json_whole_numbers("[1, 2, 3]", list, 2) == -1
          && json_whole_numbers("[1.5]", list, 2) == -1, "lists of whole numbers");
    char deep[65 + 65 + 1] = "";                            // arrays in arrays
    memset(deep, '[', 65), memset(deep + 65, ']', 65);
    check(!json_skip(deep, 0) && json_skip(deep + 1, 0) == deep + 65 + 64, "JSON: 64 deep, and not one more");
    static const struct { double x; const char *is; } rows[] = {
        { 8, "8.0" }, { 1e4, "10000.0" }, { 0.5, "0.5" }, { 1e22, "1e+22" },
    };
    int fine = 1;
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        char out[32];
        json_float(rows[i].x, out);
        fine &= json_skip(out, 0) == out + strlen(out) && strtod(out, NULL) == rows[i].x;
        fine &= !strcmp(out, rows[i].is);
    }
    check(fine, "JSON: a float has a point or an exponent, and all its digits");
}

static void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *file = open_to_write(path);
    fwrite(bytes, 1, n, file);
    close_written(file, path);
}
static void write_text(const char *path, const char *text) { write_bytes(path, text, strlen(text)); }

static void test_data(void) {
    uint16_t ids16[103];
    uint32_t ids32[64];
    unsigned char mask[103], numpy[128 + 2*40];
    char text[100], a[PATH] = "build/test/a.npy", b[PATH] = "build/test/b.bin", c[PATH] = "build/test/c.txt",
        m[PATH] = "build/test/mask.bin", n[PATH] = "build/test/real.npy";
    int tokens[64], targets[64], fine = 1;
    make_directory("build/test");
    for (int i = 0; i < 103; i++) ids16[i] = (uint16_t)(i*7), mask[i] = i % 3 != 0;
    for (int i = 0; i < 64; i++) ids32[i] = (uint32_t)(70000 + i);
    for (int i = 0; i < 100; i++) text[i] = (char)(' ' + i % 90);
    write_bytes(a, ids16, sizeof ids16), write_bytes(b, ids32, sizeof ids32),
        write_bytes(c, text, sizeof text),
        write_bytes(m, mask, sizeof mask);
    memcpy(numpy, "\x93NUMPY\x01\x00\x76\x00", 10);
    memset(numpy + 10, ' ', 118);
    memcpy(numpy + 10, "{'descr': '<u2', 'fortran_order': False, 'shape': (40,), }", 58);
    numpy[127] = '\n';
    memcpy(numpy + 128, ids16, 80);
    write_bytes(n, numpy, sizeof numpy);

    Corpus two = corpus_open("build/test/a.npy,build/test/real.npy", NULL, 2, 10);
    check(two.windows == 14 && two.file[0].windows == 10 && two.file[1].windows == 4,
          "a headerless file of 103 tokens and a NumPy file of 40 are 10 + 4 windows of 10");
    corpus_window(&two, 3, 1000, tokens, targets);
    for (int t = 0; t < 10; t++)
        fine &= tokens[t] == (30 + t)*7 && targets[t] == (t < 9 ? (31 + t)*7 : IGNORE);
    corpus_window(&two, 11, 1000, tokens, targets);
    for (int t = 0; t < 10; t++) fine &= tokens[t] == (10 + t)*7;
    check(fine, "windows do not overlap; targets are the next tokens; the last has none");
    Corpus wide = corpus_open(b, NULL, 4, 64), bytes = corpus_open(c, NULL, 2, 50),
        masked = corpus_open(a, m, 2, 10);
    corpus_window(&wide, 0, 80000, tokens, targets);
    check(tokens[63] == 70063, "uint32 tokens");
    corpus_window(&bytes, 1, 256, tokens, targets);
    check(bytes.windows == 2 && tokens[0] == text[50], "a text file is read as bytes");
    corpus_window(&masked, 1, 1000, tokens, targets);
    fine = 1;
    for (int t = 0; t < 9; t++)
        fine &= tokens[t] == (10 + t)*7 && targets[t] == ((11 + t) % 3 ? (11 + t)*7 : IGNORE);
    check(fine, "a label mask ignores the tokens it marks, as labels");
    Corpus val = corpus_hold_out(&two);
    check(two.windows == 12 && val.windows == 2 && val.file[0].first == 9 && val.file[1].first == 3,
          "validation holds out the last windows of each file");
    corpus_window(&val, 1, 1000, tokens, targets);
    check(tokens[0] == 30*7, "and reads them");
}

// ---- limits -------------------------------------------------------------------------------------
// A call that must end the program, in a process of its own: with code 1 and a sentence that says this.
static int dies(void (*call)(int), int which, const char *says) {
    static char words[16384];
    int status;
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        if (!freopen("build/test/died", "w", stderr)) _exit(2);
        omp_set_num_threads(1);                             // the others have stayed with the parent
        // A compiler that looked into what must fail would warn of it.
        void (*volatile hidden)(int) = call;
        hidden(which);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR, "waitpid: %s", strerror(errno));
    FILE *file = fopen("build/test/died", "rb");
    words[file ? fread(words, 1, sizeof words - 1, file) : 0] = 0;
    if (file) fclose(file);
    return WIFEXITED(status) && WEXITSTATUS(status) == 1 && !strncmp(words, "error: ", 7)
        && strstr(words, says);
}

// Tokens on the edges of the blocks that are checked at a time, of each width: those in a window count,
// others do not.
static TokenFile edge_file;
static void check_edges(int width) {
    Corpus c = { &edge_file, 1, 8, edge_file.windows };
    edge_file.width = width;
    corpus_check(&c, 100);
}
static void corpus_edges(void) {
    // tokens; windows of 8, without the first; 5 are left
    enum { BLOCK = 1 << 20, N = BLOCK + 53 };
    static const struct { int at; const char *says; } rows[] = {
        { 8, "token 8 is 100" }, { BLOCK + 7, "token 1048583 is 100" }, { BLOCK + 8, "token 1048584 is 100" },
        { BLOCK + 47, "token 1048623 is 100" }, { 7, NULL }, { BLOCK + 48, NULL }, { N - 1, NULL },
    };
    unsigned char *bytes = (unsigned char *)allocate(N, 8, "a test");
    snprintf(edge_file.path, sizeof edge_file.path, "edges.bin");
    edge_file.data = bytes, edge_file.tokens = N, edge_file.first = 1, edge_file.windows = BLOCK/8 + 5;
    for (int width = 1; width <= 8; width *= 2) {
        int fine = 1;
        memset(bytes, 0, (size_t)N*8);
        for (int i = 0; i < N; i++) bytes[(size_t)i*width] = 99;
        check_edges(width);
        for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
            bytes[(size_t)rows[i].at*width] = 100;
            if (rows[i].says) fine &= dies(check_edges, width, rows[i].says);
            else check_edges(width);
            bytes[(size_t)rows[i].at*width] = 99;
        }
        check(fine, "a token outside the vocabulary is found on every edge, %d bytes a token", width);
    }
    release(bytes);
}

// A tree's positions: each grows by one, or goes back.
static void tree_of(int which) {
    static const int rows[][3] = { { 1, 2, 3 }, { 0, 2, 1 }, { 0, -1, 0 }, { 1000, 0, 1 }, { 0, 1, 2 } };
    const Config c = config_of(4, 1, 1, 1, 8, 8, 2, 1, 0, 0);
    const int tokens[3] = { 1, 2, 3 };
    real losses[6];
    olmo_forward_tree(olmo_build(&c, 0), losses, losses + 3, tokens, rows[which], tokens, 3);
}
static void tree_limits(void) {
    static const char *const says[] = { "token 0 of a tree stands at position 1; expected 0 to 0",
        "token 1 of a tree stands at position 2; expected 0 to 1",
        "token 1 of a tree stands at position -1; expected 0 to 1",
        "token 0 of a tree stands at position 1000; expected 0 to 0",
        "token 2 of a tree stands at position 2; expected 0 to 1" };
    int fine = 1;
    for (int i = 0; i < 5; i++) fine &= dies(tree_of, i, says[i]);
    check(fine, "no branch begins where no token stands, nor is longer than the model's window");
}

// A file's fingerprint, beside one put together from the bytes that it should look at.
static void fingerprints(void) {
    enum { PIECE = 4096, WHOLE = 16*PIECE };
    static const size_t sizes[] = { 0, 1, PIECE - 1, PIECE, PIECE + 1, 3*PIECE, WHOLE - 1, WHOLE,
                                    WHOLE + 1, WHOLE + 15, 1000000 };
    unsigned char *bytes = (unsigned char *)allocate(1000000, 1, "a test");
    int fine = 1;
    for (int i = 0; i < 1000000; i++) bytes[i] = (unsigned char)(hash64((uint64_t)i) >> 3);
    for (size_t k = 0; k < sizeof sizes/sizeof *sizes; k++) {
        const size_t n = sizes[k];
        uint64_t hash = 0xcbf29ce484222325u, found, size;
        for (size_t piece = 0; piece < (n > WHOLE ? 16 : 1); piece++) {
            const size_t from = n > WHOLE ? (n - PIECE)/15*piece : 0, end = n > WHOLE ? from + PIECE : n;
            for (size_t i = from; i < end; i++) hash = (hash ^ bytes[i])*0x100000001b3u;
        }
        write_bytes("build/test/hashed", bytes, n);
        found = file_hash("build/test/hashed", &size);
        if (!(fine &= found == hash && size == n)) { printf("%zu bytes\n", n); break; }
    }
    check(fine, "the fingerprint of a file: all of it to 64 KiB, then 16 pieces from its start to its end");
    release(bytes);
}

// What is on a disk, by name: which of it is a checkpoint, and which a left-over.
static void names_of_checkpoints(void) {
    static const struct { const char *name; int step; } rows[] = {
        { "step0", 0 }, { "step7", 7 }, { "step10", 10 }, { "step999999999", 999999999 },
        { "step1000000000", -1 }, { "step", -1 },
        { "step00", -1 }, { "step07", -1 }, { "step7x", -1 }, { "step7.tmp", -1 }, { "ste7", -1 },
        { "Step7", -1 }, { "step-1", -1 }, { "", -1 },
    };
    int fine = 1;
    char left[256];
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++)
        fine &= checkpoint_step(rows[i].name) == rows[i].step;
    check(fine, "which names are those of checkpoints");
    const char *in = "rm -rf build/test/left && mkdir -p build/test/left && cd build/test/left && ";
    shell(left, sizeof left,
          "%smkdir step3 step3.tmp step12.tmp step3.tmpx step03.tmp other.tmp && touch step12.tmp/x "
          "other.tmp/y", in);
    remove_leftovers("build/test/left");
    shell(left, sizeof left, "ls build/test/left | tr '\\n' ' '");
    check(!strcmp(left, "other.tmp step03.tmp step3 step3.tmpx "),
          "what a crash leaves half-written goes, and nothing else: %s", left);
    shell(left, sizeof left,
          "%sfor i in 5 6 9 10 100; do mkdir step$i; touch step$i/x; done; mkdir steps", in);
    remove_checkpoints("build/test/left", 3);
    shell(left, sizeof left, "ls build/test/left | tr '\\n' ' '");
    check(!strcmp(left, "step10 step100 step9 steps "), "--keep 3 keeps the newest three: %s", left);
    check(newest_checkpoint("build/test/left") == 100 && newest_checkpoint("build/test/nowhere") == -1,
          "and the newest is known by number");
    shell(left, sizeof left, "%smkdir -p out out.1 out.2 out.4", in);
    check(!strcmp(free_name("build/test/left/out"), "build/test/left/out.3"),
          "an earlier run gets the first free name");
}

// JSON that is read, on its limits, and as a sentence quotes it.
static void number_of(int which) {
    static const char *const texts[] = { "{\"x\": 2.5}", "{\"x\": -1}", "{\"x\": \"1\"}", "{}",
                                         "{\"x\": null}", "{\"x\": 1.5}" };
    if (which == 5) json_int(texts[5], "file.json", "x", 0, 2, NAN);
    else json_number(texts[which], "file.json", "x", 0, 2, NAN);
}
static void json_limits(void) {
    char deep[140], text[400], *four[4];
    int fine = 1;
    for (int n = 64; n <= 65; n++) {
        memset(deep, '[', 65), memset(deep + n, ']', 65), deep[2*n] = 0;
        fine &= (json_skip(deep, 0) == deep + 2*n) == (n == 64);
    }
    check(fine, "JSON of 64 arrays in each other is read, of 65 is not");
    static const struct { const char *value, *quoted; } quotes[] = {
        { "[1, 2]", "[1, 2]" }, { "\"a b\", 3", "\"a b\"" },
        { "{\"a\":\n\n   1,\n\"b\": \n2}", "{\"a\": 1, \"b\": 2}" }, { "tru", "none" },
        { "[1000000, 2000000, 3000000, 4000000, 5000000, 6000000, 7000000, 80000, 90000, 10]",
          "[1000000, 2000000, 3000000, 4000000, 5000000, 6000000, 7000000, 80000, 90000 ..." },
        { "[1000000, 2000000, 3000000, 4000000, 5000000, 6000000, 7000000, 80000, 9000, 10]",
          "[1000000, 2000000, 3000000, 4000000, 5000000, 6000000, 7000000, 80000, 9000, 10]" },
        { "\"0123456789012345678901234567890123456789012345678901234567890123456789012345678\xc3\xa9\"",
          "\"012345678901234567890123456789012345678901234567890123456789012345678901234567 ..." },
        { "\"01234567890123456789012345678901234567890123456789012345678901234567890123456\xc3\xa9\xc3\xa9\"",
          "\"01234567890123456789012345678901234567890123456789012345678901234567890123456 ..." },
    };
    fine = !strcmp(json_quoted(NULL), "none");
    for (size_t i = 0; i < sizeof quotes/sizeof *quotes; i++)
        fine &= !strcmp(json_quoted(quotes[i].value), quotes[i].quoted);
    check(fine, "a value as a sentence quotes it: on one line, 80 bytes at most, cut between its parts");
    for (int i = 0; i < 4; i++) sprintf(text, "%d", i), four[i] = (char *)json_quoted(text);
    check(!strcmp(four[0], "0") && !strcmp(four[1], "1") && !strcmp(four[2], "2")
          && !strcmp(four[3], "3"), "four of them hold");

    const char *o = "{\"x\": 2, \"y\": 0, \"z\": null, \"xx\": 3, \"on\": true, \"off\": false}";
    uint64_t list[3];
    check(json_number(o, "o", "x", 0, 2, NAN) == 2 && json_number(o, "o", "y", 0, 2, NAN) == 0
          && json_number(o, "o", "z", 0, 2, 9) == 9 && json_int(o, "o", "xx", 3, 3, NAN) == 3
          && json_flag(o, "o", "on") && !json_flag(o, "o", "off") && !json_flag(o, "o", "no"),
          "numbers on their limits");
    for (int i = 0; i < 6; i++)
        fine &= dies(number_of, i,
                     i == 5 ? "a whole number" : i > 2 ? "found none" : "from 0 to 2, found");
    check(fine, "and beyond them");
    check(json_whole_numbers("[]", list, 3) == 0 && json_whole_numbers("[ 7 , 8 ]", list, 2) == 2
          && list[0] == 7 && list[1] == 8 && json_whole_numbers("[999999999999999999]", list, 1) == 1
          && list[0] == 999999999999999999u
          && json_whole_numbers("[1000000000000000000]", list, 1) == -1
          && json_whole_numbers("3", list, 1) == -1 && json_whole_numbers("[-1]", list, 1) == -1
          && json_whole_numbers("[1e2]", list, 1) == -1, "whole numbers of up to 18 digits");
}

// Files: paths, sizes, and disks that cannot do what they are asked to.
static void path_of(int bytes) {
    char path[PATH], name[PATH];
    snprintf(name, sizeof name, "%0*d", bytes - 6, 0);
    path_join(path, "12345", name);
    CHECK((int)strlen(path) == bytes, "a path of %zu bytes, expected %d", strlen(path), bytes);
}
static void directory_of(int bytes) {
    char path[PATH], out[PATH];
    snprintf(path, sizeof path, "%0*d", bytes, 0);
    without_slash("--out", path, out);
    path_join(path, out, "step1073741824.tmp/model-00001-of-00009.safetensors");
}
static void file_of(int which) {
    char path[PATH];
    if (which == 1) read_text("build/test/limit");
    if (which == 2) safetensors_open("build/test/limit");
    if (which == 3) close_written(open_to_write("build/test/limit2"), "build/test/limit2");
    if (which == 4) lock_directory("build/test/limit");
    if (which == 5) lock_directory("build/test");
    if (which == 6) use_threads(1025);
    if (which == 7) lock_directory("build/test/limit3");
    if (which == 8) map_open_file(fopen("build/test/limit", "rb"), "build/test/limit", 1, PROT_WRITE);
    if (which == 9) {                                       // a name that was free at first, and then taken
        const int lock = begin_directory("build/test/limit4", path);
        make_directory("build/test/limit4/taken");
        finish_directory("build/test/limit4", path, lock);
    }
}
static void file_limits(void) {
    int fine = dies(path_of, PATH, "longer than 4095 bytes");
    path_of(PATH - 1);
    directory_of(PATH - 64);
    fine &= dies(directory_of, PATH - 63, "--out: expected a path of at most 4032 bytes, found one of 4033");
    check(fine, "the longest path, and one longer");
    const uint64_t most = 100 << 20;
    for (int beyond = 0; beyond < 2; beyond++) {
        unsigned char length[8];
        FILE *file = open_to_write("build/test/limit");
        close_written(file, "build/test/limit");
        CHECK(truncate("build/test/limit", (off_t)(most - 1 + (uint64_t)beyond)) == 0,
              "build/test/limit: %s", strerror(errno));
        fine &= dies(file_of, 1,
                     beyond ? "expected a small JSON text, found 104857600 bytes"
                     : "NUL byte at byte 0");
        for (int i = 0; i < 8; i++) length[i] = (unsigned char)((most - 1 + (uint64_t)beyond) >> 8*i);
        write_bytes("build/test/limit", length, 8);
        CHECK(truncate("build/test/limit", (off_t)(most + 8)) == 0, "build/test/limit: %s", strerror(errno));
        fine &= dies(file_of, 2, beyond ? "found one of 104857600 bytes" : "NUL byte");
    }
    check(fine, "JSON of 100 MB is no text of ours, a byte less may be");
    unlink("build/test/limit");
    if (on_gpu) return;                                     // where these calls are not ours
    const int errors[] = { EINVAL, ENOTSUP, EIO, ENOSPC };
    for (int i = 0; i < 4; i++) {
        fsync_error = errors[i];
        if (i > 1) fine &= dies(file_of, 3, "writing failed");
        else file_of(3);
    }
    fsync_error = 0;
    check(fine, "a file system without fsync is written to; a disk that fails is said");
    write_bytes("build/test/limit", "x", 1);
    fine = dies(file_of, 8, "build/test/limit: cannot be mapped: Permission denied");
    check(fine, "a file that may only be read is not mapped to be written");
    fine = dies(file_of, 9, "build/test/limit4.tmp: cannot be renamed to build/test/limit4: ");
    fine &= !rmdir("build/test/limit4/taken") && !rmdir("build/test/limit4");
    fine &= !file_exists("build/test/limit4.tmp");
    check(fine, "a directory does not get a name that is taken meanwhile, and is removed");
    fine = dies(file_of, 4, "cannot be opened: Not a directory");
    flock_error = EWOULDBLOCK, fine &= dies(file_of, 5, "another run is writing");
    make_directory("build/test/limit3");
    flock_error = 0, moved_meanwhile = "build/test/limit3";
    fine &= dies(file_of, 7, "another run is writing");
    moved_meanwhile = NULL, fine &= !rmdir("build/test/limit3") && !rmdir("build/test/limit3.1");
    flock_error = ENOLCK;
    int fd = lock_directory("build/test");
    flock_error = 0;
    check(fine && fd >= 0, "one that knows no locks is written to all the same");
    close(fd), unlink("build/test/limit"), unlink("build/test/limit2");
    const int threads = omp_get_max_threads();
    use_threads(1024), omp_set_num_threads(threads);
    check(dies(file_of, 6, "expected at most 1024"), "no more than 1024 threads");
}

// NumPy's and llm.c's headers: what follows them, and how many bytes an item has.
static unsigned char header_bytes[4096];
static int header_with(int version, const char *dict, int length, int items, int width) {
    const int start = version > 1 ? 12 : 10;
    memset(header_bytes, 0, sizeof header_bytes), memset(header_bytes, ' ', 12 + (size_t)length);
    memcpy(header_bytes, "\x93NUMPY", 6);
    header_bytes[6] = (unsigned char)version, header_bytes[7] = 0;
    for (int i = 8; i < start; i++) header_bytes[i] = (unsigned char)(length >> 8*(i - 8));
    memcpy(header_bytes + start, dict, strlen(dict));
    return start + length + items*width;
}
static void numpy_of(int which) {
    int width;
    const char *const dicts[] = { "(64, 1)", "(64,1)", "(8,8)", "(64", "(65,)", "(63,)", "(64,)", "(64,)" };
    char dict[128];
    snprintf(dict, sizeof dict, "{'descr': '<u2', 'fortran_order': False, 'shape': %s, }", dicts[which]);
    const int size = header_with(1, dict, which == 6 ? 1024 : 118, 64, 2);
    numpy_header(header_bytes, (uint64_t)size - (which == 7), "a.npy", &width);
}
static void llmc_of(int which) {
    int width;
    const uint32_t head[3] = { 20240520, which == 0 ? 2u : 1u, which == 1 ? 65u : 64u };
    memset(header_bytes, 0, sizeof header_bytes), memcpy(header_bytes, head, sizeof head);
    llmc_header(header_bytes, 1024 + 128 - (which == 2 ? 2 : 0), "a.bin", &width);
}
static void header_limits(void) {
    static const char *const shapes[] = { "(64,)", "(64, )", "(64)" };
    int fine = 1, width = 0;
    char dict[128];
    for (int i = 0; i < 3; i++) for (int version = 1; version <= 3; version++) {
        snprintf(dict, sizeof dict, "{'descr': '<u4', 'fortran_order': False, 'shape': %s, }", shapes[i]);
        const int length = version == 1 ? 118 : i == 2 ? 1023 : 300,
            size = header_with(version, dict, length, 64, 4);
        fine &= numpy_header(header_bytes, (uint64_t)size, "a.npy", &width) == (uint64_t)(size - 256)
            && width == 4;
    }
    header_with(1, dict, 118, 64, 4);
    check(fine && numpy_header(header_bytes, 11, "a.npy", &width) == 0,
          "NumPy's header has up to 1023 bytes, a file of 11 has none");
    static const char *const says[] = { "one dimension", "one dimension", "one dimension",
                                        "one dimension", "announces 65", "announces 63", "damaged",
                                        "announces 64 items, the file holds 127" };
    for (int i = 0; i < 8; i++) fine &= dies(numpy_of, i, says[i]);
    check(fine, "and other shapes, lengths and numbers of items are refused");
    for (int wide = 0; wide < 2; wide++) {
        const uint32_t head[3] = { wide ? 20240801u : 20240520u, 1, 3 };
        memset(header_bytes, 0, sizeof header_bytes), memcpy(header_bytes, head, sizeof head);
        fine &= llmc_header(header_bytes, 1024 + (wide ? 12 : 6), "a.bin", &width) == 1024
            && width == (wide ? 4 : 2);
        header_bytes[8] = 0;
        fine &= llmc_header(header_bytes, 1024, "a.bin", &width) == 1024
            && llmc_header(header_bytes, 1023, "a.bin", &width) == 0;
        header_bytes[0]++;
        fine &= llmc_header(header_bytes, 1024, "a.bin", &width) == 0;
    }
    for (int i = 0; i < 3; i++) fine &= dies(llmc_of, i, "has llm.c's header of version");
    check(fine, "llm.c's header of 1024 bytes, and what it announces");
}

// The least number that rounds to more than float16 has, and the one below it.
static void save_float16(int below) {
    Config c = config_of(2, 1, 1, 1, 2, 2, 16, 1, 0, 0);
    Olmo *m = olmo_build(&c, 0);
    make_directory("build/test/shards");
    m->params[3] = below ? (real)-65519.996 : (real)-65520;
    hugging_face_write("build/test/shards", cpu_model(m, &c), NULL, F16, 0);
    olmo_free(m);
}

// Weights in shards: what the index says, where one ends, and that they come back; heads compared to
// the last number.
static void shard_limits(void) {
    save_float16(1);
    check(dies(save_float16, 0, "has the value -65520, too large for float16"),
          "float16 holds less than 65520");
    static const struct { uint64_t bytes; int shards; } rows[] =
        { { 0, 1 }, { 4096, 4 }, { 2048, 6 }, { 2047, 9 }, { 15360, 1 }, { 15359, 2 } };
    Config c = config_of(16, 1, 2, 2, 32, 64, 16, 0, 0, 0);
    Olmo *m = olmo_build(&c, 0), *back = olmo_build(&c, 0);
    char out[256];
    golden_weights(m);
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        shell(out, sizeof out, "rm -rf build/test/shards && mkdir -p build/test/shards");
        hugging_face_write("build/test/shards", cpu_model(m, &c), NULL, F32, rows[i].bytes);
        memset(back->params, 0, back->layout.size*sizeof(real));
        weights_read("build/test/shards", cpu_model(back, &back->config));
        int same = !memcmp(m->params, back->params, m->layout.size*sizeof(real)) || in_double;
        shell(out, sizeof out,
              "cd build/test/shards && ls *.safetensors | wc -l && ls | tail -n 2 | head -n 1 && cat "
              "*.index.json 2>/dev/null | grep -c '\"total_size\": 15360'");
        char expected[128];
        snprintf(expected, sizeof expected,
                 rows[i].shards == 1 ? "1\nconfig.json\n0\n"
                 : "%d\nmodel-%05d-of-%05d.safetensors\n1\n", rows[i].shards, rows[i].shards,
                 rows[i].shards);
        check(same && !strcmp(out, expected), "%d shards of at most %d bytes: %.60s", rows[i].shards,
              (int)rows[i].bytes, out);
        Shards shards = shards_open("build/test/shards");
        int aligned = 1;
        for (int k = 0; k < shards.n; k++) {
            aligned &= shards.at[k]->data % 8 == 0;
            safetensors_close(shards.at[k]);
        }
        check(aligned, "their numbers begin where those of 8 bytes may");
        release(shards.at);
    }
    hugging_face_write("build/test/shards", cpu_model(m, &c), NULL, BF16, 1024);
    shell(out, sizeof out, "grep -c '\"total_size\": 7680' build/test/shards/*.index.json");
    check(!strcmp(out, "1\n"), "in bf16, their index announces half the bytes");
    olmo_free(m), olmo_free(back);
    for (int vocab = 50000; vocab <= 50001; vocab++) {
        Config padded = config_of(2, 1, 1, 1, 2, vocab, 16, 1, 0, 0);
        config_write("build/test/shards", &padded, F32);
        char *text = read_text("build/test/shards/config.json");
        check(field_is(text, "pad_token_id", vocab == 50001 ? "1" : "null"),
              "a vocabulary of %d, and its pad_token_id", vocab);
        release(text);
    }
    // an embedding of 80,000 numbers: more than a chunk
    Config wide = config_of(16, 1, 2, 2, 32, 5000, 16, 1, 0, 0);
    Olmo *large = olmo_build(&wide, 0);
    const size_t places[] = { 0, CHUNK - 1, CHUNK, 5000*16 - 1 };
    int fine = 1;
    golden_weights(large);
    for (int k = 0; k < 5; k++) {
        Safetensors *st[2];
        const Entry *e[2];
        for (int file = 0; file < 2; file++) {
            if (file && k) large->weight.wte[places[k - 1]] += 1;
            snprintf(out, sizeof out, "build/test/shards/%d", file);
            make_directory(out),
                hugging_face_write(out, cpu_model(large, &wide), NULL, F32, 0);
            strcat(out, "/model.safetensors"), st[file] = safetensors_open(out);
            e[file] = safetensors_find(st[file], "model.embed_tokens.weight");
        }
        fine &= safetensors_same(st[0], e[0], st[1], e[1]) == (k == 0);
        safetensors_close(st[0]), safetensors_close(st[1]);
    }
    check(fine, "two tensors are compared to their last number");
    olmo_free(large);
    shell(out, sizeof out, "rm -rf build/test/shards");
}

static void warmup_of(int which) {
    static const char *const texts[] = { "1.5", "3%x", "3x", "-1", "101%", "%", "", "3%%", "2147483648",
                                         "nan", "-1%" };
    warmup_steps(texts[which], 100);
}
static void environment_of(int least) { environment("A_TEST", least, 8); }
static void list_of(int which) {
    static char full[PATH + 1];                             // no room for the NUL
    const char *const lists[] = { "", ",a", "a,,b", "a,", full };
    char item[PATH];
    memset(full, 'a', PATH);
    for (int i = 0; list_item("--flag", lists[which], i, item); i++) continue;
}
static void test_limits(void) {
    static const struct { const char *text; int steps, expected; } warmups[] = {
        { "0", 10, 0 }, { "100", 10, 100 }, { "3%", 1000, 30 }, { "3%", 33, 0 }, { "3%", 34, 1 },
        { "100%", 50, 50 }, { "0%", 50, 0 },
        { "1.5%", 200, 3 }, { "2147483647", 1, INT32_MAX },
    };
    int fine = 1;
    for (size_t i = 0; i < sizeof warmups/sizeof *warmups; i++)
        fine &= warmup_steps(warmups[i].text, warmups[i].steps) == warmups[i].expected;
    check(fine, "--warmup in steps, and in parts of all");
    for (int i = 0; i < 11; i++) fine &= dies(warmup_of, i, "expected a whole number of steps");
    check(fine, "and what is neither is refused");

    char item[PATH];
    fine = !list_item("--flag", NULL, 0, item) && !strcmp(list_item("--flag", "a,bc", 0, item), "a");
    fine &= !strcmp(list_item("--flag", "a,bc", 1, item), "bc") && !list_item("--flag", "a,bc", 2, item);
    for (int i = 0; i < 4; i++) fine &= dies(list_of, i, "separated by single commas");
    fine &= dies(list_of, 4, "longer than 4095 bytes");
    char longest[PATH] = { 0 };
    memset(longest, 'a', PATH - 1);
    fine &= !strcmp(list_item("--flag", longest, 0, item), longest);
    check(fine, "lists between commas");

    setenv("A_TEST", "", 1), fine = environment("A_TEST", 0, 9) == -1;
    setenv("A_TEST", "9", 1), fine &= environment("A_TEST", 0, 9) == 9 && dies(environment_of, 0, "A_TEST");
    setenv("A_TEST", "3x", 1), fine &= dies(environment_of, 0, "A_TEST");
    unsetenv("A_TEST"), fine &= environment("A_TEST", 0, 9) == -1;
    check(fine, "a whole number in the environment, or none");
    check(every(3, 3) && every(3, 6) && !every(3, 4) && !every(0, 4) && every(1, 1),
          "something every so many steps; 0 is never");
    check(ends_with("a.txt", ".txt") && ends_with(".txt", ".txt") && !ends_with("txt", ".txt")
          && !ends_with("a.txt.gz", ".txt"), "ends of names");
    const unsigned char low_first[8] = { 1, 2, 3, 4, 5, 6, 7, 0x88 };
    check(little_endian(low_first, 1) == 1 && little_endian(low_first, 2) == 0x0201
          && little_endian(low_first, 4) == 0x04030201
          && little_endian(low_first, 8) == 0x8807060504030201u,
          "numbers of 1 to 8 bytes, the low one first");

    static unsigned char text[(1 << 16) + 1];
    memset(text, 'a', sizeof text);
    fine = looks_like_text(text, sizeof text);
    for (int c = 0; c < 256; c++) {                          // \e colours terminals
        text[7] = (unsigned char)c;
        fine &= looks_like_text(text, 8) == (c >= 32 || (c >= 9 && c <= 13) || c == 27)
            && looks_like_text(text, 7);
    }
    text[7] = 'a', text[1 << 16] = 0;
    fine &= looks_like_text(text, sizeof text);
    text[(1 << 16) - 1] = 0;
    check(fine && !looks_like_text(text, sizeof text), "text is told from tokens by its first 64 KiB");

    Metrics metrics = { NULL, 0, 0 };                       // e^800 is no number, and JSON has no infinity
    const double sums[MAX_SUMS] = { 8000 };
    metric_means(&metrics, &objectives[0], NULL, sums, 10);
    check(metrics.n == 3 && metrics.list[0].value == 800 && !strcmp(metrics.list[1].name, "train/Perplexity")
          && metrics.list[1].value == 1e300, "the perplexity of a loss of 800");
    release(metrics.list);

    corpus_edges();
    tree_limits();
    fingerprints();
    names_of_checkpoints();
    json_limits();
    file_limits();
    header_limits();
    shard_limits();
}

static void test_sampling(void) {
    enum { V = 6, DRAWS = 20000 };
    const real logits[V] = { 0, 2, 1, 2, -1, 0.5 };
    Candidate scratch[V];
    const Sampling greedy = { 0, 1, 0 }, plain = { 1, 1, 0 }, cold = { 0.5, 1, 0 }, top2 = { 1, 1, 2 },
        nucleus = { 1, 0.6, 0 },
        cold4 = { 0.5, 1, 4 }, hot = { 2, 0.6, 0 };
    const struct { const char *name; Sampling how; double p[V]; } cases[] = {
        { "greedy takes the first of equals", greedy, { 0, 1, 0, 0, 0, 0 } },
        { "temperature 1", plain, { exp(0.0), exp(2.0), exp(1.0), exp(2.0), exp(-1.0), exp(0.5) } },
        { "temperature 0.5", cold, { exp(0.0), exp(4.0), exp(2.0), exp(4.0), exp(-2.0), exp(1.0) } },
        { "top-k 2", top2, { 0, 1, 0, 1, 0, 0 } },
        { "temperature 0.5 and top-k 4", cold4, { 0, exp(4.0), exp(2.0), exp(4.0), 0, exp(1.0) } },
        { "temperature 2 and top-p 0.6: the three likeliest of flatter odds", hot,
          { 0, exp(1.0), exp(0.5), exp(1.0), 0, 0 } },
        { "top-p 0.6: the two likeliest hold 0.735", nucleus, { 0, 1, 0, 1, 0, 0 } },
    };
    for (size_t k = 0; k < sizeof cases/sizeof *cases; k++) {
        int count[V] = {0}, fine = 1;
        double total = 0;
        for (int i = 0; i < DRAWS; i++)
            count[sample(logits, V, cases[k].how, uniform(hash64((uint64_t)i)), scratch)]++;
        for (int v = 0; v < V; v++) total += cases[k].p[v];
        for (int v = 0; v < V; v++) {                        // within four standard deviations
            double p = cases[k].p[v]/total;
            fine &= fabs(count[v] - p*DRAWS) <= 4*sqrt(DRAWS*p*(1 - p));
        }
        check(fine, "sampling: %s", cases[k].name);
    }
}

// sample() beside sorting all candidates, by logit and then by id: the same token for every draw.
static int by_logit(const void *a, const void *b) {
    const Candidate *x = (const Candidate *)a, *y = (const Candidate *)b;
    return x->logit != y->logit ? (x->logit < y->logit) - (x->logit > y->logit) : x->id - y->id;
}
static int sample_by_sorting(const real *logits, int V, Sampling how, double u, Candidate *candidate) {
    int n = V, top = 0;
    double total = 0, kept = 0, sum = 0;
    for (int v = 0; v < V; v++) candidate[v].logit = logits[v], candidate[v].id = v;
    qsort(candidate, (size_t)V, sizeof *candidate, by_logit);
    if (how.temperature == 0) return candidate[0].id;
    if (how.top_k > 0) n = imin(n, how.top_k);
    for (int i = 0; i < n; i++) {
        candidate[i].weight = exp((candidate[i].logit - (double)candidate[0].logit)/how.temperature);
        total += candidate[i].weight;
    }
    while (top < n && kept < how.top_p*total) kept += candidate[top++].weight;
    for (int i = 0; i < top; i++) if ((sum += candidate[i].weight) >= u*kept) return candidate[i].id;
    return candidate[top - 1].id;
}
static void test_sample_selects(void) {
    enum { MOST = 1000 };
    static real logits[MOST];
    static Candidate scratch[MOST];
    const double top_p[] = { 1, 0.9, 0.3, 1e-9 };
    const int sizes[] = { 1, 2, 3, 50, 999, MOST }, top_k[] = { 0, 1, 2, 40, 5000 };
    int draws = 0, different = 0;
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 5; k++)
            for (int p = 0; p < 4; p++) for (uint64_t seed = 0; seed < 40; seed++) {
        const Sampling how = { seed % 5 == 0 ? 0 : 0.3*(double)(seed % 5), top_p[p], top_k[k] };
        fill_noise(logits, MOST, (uint32_t)seed, 3);
        // many equals
        if (seed % 2) for (int v = 0; v < MOST; v++) logits[v] = (real)rint((double)logits[v]);
        const double u = uniform(hash64(seed + 77));
        const int id = sample(logits, sizes[i], how, u, scratch);
        different += id != sample_by_sorting(logits, sizes[i], how, u, scratch);
        draws++;
    }
    check(different == 0, "sampling: %d of %d draws differ from those of sorted candidates", different,
          draws);
}

// Logits that are no numbers, of weights so large that they overflow, are a sentence and no token.
static const Sampling greedily = { 0, 1, 0 }, by_chance = { 1, 1, 0 };
static void sample_of(int which) {
    static Candidate scratch[4];
    real logits[4];
    for (int v = 0; v < 4; v++) logits[v] = which < 2 ? NAN : -INFINITY;
    (void)sample(logits, 4, which % 2 ? by_chance : greedily, 0.5, scratch);
}
static void test_sample_refuses(void) {
    int fine = 1;
    for (int i = 0; i < 4; i++) fine &= dies(sample_of, i, "are its weights damaged?");
    check(fine, "sampling: logits that are no numbers are refused, greedy or not");
    const real one = -3;
    Candidate scratch;
    check(sample(&one, 1, greedily, 1, &scratch) == 0 && sample(&one, 1, by_chance, 1, &scratch) == 0,
          "sampling: of one candidate, that one");
}

static void test_eos(void) {
    Config c = config_of(16, 1, 2, 2, 32, 20, 32, 1, 0, 0);
    Bench t = bench_of(c, 1, 32, 20);
    const Sampling plain = { 1, 1, 0 };
    int ended = 0, fine = 1, tokens[32];
    c.eos = 3;
    for (uint64_t seed = 0; seed < 30; seed++) {
        tokens[0] = 1;
        int n = generate(cpu_model(t.m, &c), tokens, 1, 32, plain, seed);
        for (int i = 1; i < n - 1; i++) fine &= tokens[i] != 3;
        if (n < 32) { ended++; fine &= tokens[n - 1] == 3; }
    }
    check(fine && ended > 5, "generation stops at the end-of-document id (%d of 30 times)", ended);
    bench_free(&t);
}

static void test_init(void) {
    const Config c = config_of(64, 3, 4, 2, 256, 300, 32, 0, 0, 0);
    const char *inits[] = { "mitchell", "normal", "full_megatron" };
    Weights unused;
    Layout *list = (Layout *)allocate(1, sizeof(Layout), "a test");
    olmo_layout(list, &unused, NULL, &c);
    for (int k = 0; k < 3; k++) {
        int fine = 1;
        double cut = k == 1 ? 0 : 3;
        for (int i = 0; i < list->n; i++) {
            const Tensor *t = &list->tensor[i];
            double std = init_std(t, &c, inits[k]), sum = 0, squares = 0, most = 0;
            size_t n = (size_t)t->rows*t->cols;
            for (size_t j = 0; j < n; j++) {
                double x = (double)init_value(1, t, j, std, cut);
                sum += x, squares += x*x, most = fmax(most, fabs(x));
            }
            // a normal cut at 3 deviations has 0.98658 of one
            fine &= fabs(sum/n) < 5*std/sqrt((double)n);
            fine &= fabs(sqrt(squares/n)/(std*(cut > 0 ? 0.98658 : 1)) - 1) < 4/sqrt(2.0*(double)n)
                && (cut == 0 || most <= cut*std*1.000001);
        }
        check(fine, "init %s: mean, deviation and cut of every tensor", inits[k]);
    }
    // No two tensors, and no two seeds, draw the same numbers.
    int own = 1;
    for (int i = 0; i < list->n; i++) for (int k = 0; k < i; k++) {
        int equal = 0;
        for (size_t j = 0; j < 1000; j++)
            equal += init_value(1, &list->tensor[i], j, 1, 3)
            == init_value(1, &list->tensor[k], j, 1, 3);
        own &= equal < 3;
    }
    for (size_t j = 0; j < 1000; j++)
        own &= init_value(1, &list->tensor[0], j, 1, 3) != init_value(2, &list->tensor[0], j, 1, 3);
    check(own, "every tensor, and every seed, has a stream of numbers of its own");
    check(init_std(&list->tensor[0], &c, "normal") == 0.02
          && init_std(&list->tensor[1], &c, "full_megatron") == 0.02
          && near(init_std(&list->tensor[2], &c, "full_megatron"), 0.02/sqrt(6.0), 1e-12)
          && near(init_std(&list->tensor[list->n - 1], &c, "full_megatron"), 0.125, 1e-12),
          "the deviations of normal and full_megatron");
    Config b7 = preset_named("7b").config;
    olmo_layout(list, &unused, NULL, &b7);
    check(near(init_std(&list->tensor[2], &b7, "mitchell"), 0.011049, 1e-6)
          && near(init_std(&list->tensor[4], &b7, "mitchell"), 1/sqrt(22016.0), 1e-12)
          && near(init_std(&list->tensor[31*4 + 2], &b7, "mitchell"), 0.011049/sqrt(32.0), 1e-6),
          "7B's mitchell deviations (OLMO_SPEC 3)");
    release(list);
}

static double value_of(const Metrics *m, const char *name) {
    for (int i = 0; i < m->n; i++) if (!strcmp(m->list[i].name, name)) return m->list[i].value;
    return NAN;
}

// A variant's tensor: a gain of each first norm, one-dimensional, beside OLMo's own. It begins as ones,
// does not decay, and goes through files with its moments.
static void test_vectors(void) {
    enum { C = 24, MORE = 2*C };
    const char *directory = "build/test/vectors";
    Run *run = (Run *)allocate(1, sizeof *run, "a test");
    run->o = options_of_preset("tiny");
    run->o.config = config_of(C, 2, 4, 2, 32, 40, 8, 0, 0, 0), run->o.init = "mitchell";
    const Config *c = &run->o.config;
    Olmo *m[2];
    for (int k = 0; k < 2; k++) {
        m[k] = olmo_build(c, 1);
        Layout *list = &m[k]->layout;
        real **flat[] = { &m[k]->params, &m[k]->grads, &m[k]->moment1, &m[k]->moment2 };
        for (int l = 0; l < c->n_layers; l++) {
            add_tensor(list, NULL, GAIN, l, C, 0, "attn_norm");
            add_part(list, C, "input_layernorm");
        }
        for (int i = 0; i < 4; i++)
            release(*flat[i]), *flat[i] = (real *)allocate(list->size, sizeof(real), "a test");
    }
    Layout *list = &m[0]->layout;
    const size_t size = list->size, gains = size - MORE;
    run->model = cpu_model(m[0], c);
    model_init(run);
    int ones = 1, still = 1, shapes = 1;
    for (size_t i = gains; i < size; i++) ones &= m[0]->params[i] == 1;
    check(ones && m[0]->params[0] != 1, "a vector begins as ones");

    const real before = m[0]->params[0];
    AdamW decay = { 0.1, 0.9, 0.95, 1e-5, 0.5, 1, 1, 1 };
    olmo_update(m[0], &decay);                              // no gradients: what decays, shrinks
    for (size_t i = gains; i < size; i++) still &= m[0]->params[i] == 1;
    check(still && fabs((double)m[0]->params[0]) < fabs((double)before), "a vector does not decay");

    for (size_t i = 0; i < size; i++) {
        m[0]->params[i] = (real)(float)noise(1, i), m[0]->moment1[i] = (real)(float)noise(2, i);
        m[0]->moment2[i] = (real)(float)fabs(noise(3, i));
    }
    int n;
    Slice *slice = hugging_face_slices(list, &n), *moments = moment_slices(list);
    char weights_path[PATH], moments_path[PATH];
    make_directory(directory);
    path_join(weights_path, directory, "model.safetensors"),
        path_join(moments_path, directory, "optimizer.safetensors");
    safetensors_write(weights_path, slice, n, F32, run->model);
    safetensors_write(moments_path, moments, 2*list->n, F32, run->model);
    weights_read(directory, cpu_model(m[1], c));
    Safetensors *st = safetensors_open(weights_path), *states = safetensors_open(moments_path);
    const Entry *gain = safetensors_find(st, "model.layers.1.input_layernorm.weight");
    const Entry *moment = safetensors_find(states, "exp_avg_sq.transformer.blocks.0.attn_norm.weight");
    shapes &= gain && gain->dims == 1 && gain->rows == C && gain->cols == 1 && moment && moment->dims == 1;
    for (int i = 0; i < 2*list->n; i++) {
        const Entry *e = safetensors_find(states, moments[i].name);
        shapes &= e && has_shape_of(e, &moments[i]);
        if (e) safetensors_read(states, e, cpu_model(m[1], c), moments[i].space, moments[i].offset);
    }
    Slice as_matrix = slice[n - 1];
    as_matrix.dims = 2;
    check(shapes && gain && has_shape_of(gain, &slice[n - 1]) && !has_shape_of(gain, &as_matrix),
          "a vector has one dimension in files, and is not taken for a matrix");
    check(same_bits(m[0]->params, m[1]->params, size) && same_bits(m[0]->moment1, m[1]->moment1, size)
          && same_bits(m[0]->moment2, m[1]->moment2, size),
          "vectors, and their moments, come back from files");
    safetensors_close(st), safetensors_close(states);
    release(slice), release(moments), release(run);
    olmo_free(m[0]), olmo_free(m[1]);
}

// ---- energy and MFU: data/energy.c --------------------------------------------------------------
static void write_number(const char *path, double x) {
    FILE *file = open_to_write(path);
    fprintf(file, "%.0f\n", x);
    close_written(file, path);
}

// On a card whose energy nobody tells.
static void energy_of_card(int card) {
    static Energy e;
    energy_begin(&e, "build/test/powercap", "nowhere", card, 0);
}

// Two processors, of which one counter begins again; then two cards of a library that counts as NVML does.
// (The clock stands, but for what a test puts back: test_energy.)
static void energy_counters(void) {
    static Energy e;
    char out[256], path[PATH];
    const char *root = "build/test/powercap", *library = "build/test/libcards.so";
    shell(out, sizeof out, "rm -rf %s", root);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/intel-rapl:%d/max_energy_range_uj", root, i);
        make_parents(path), write_number(path, 9e9);
        snprintf(path, sizeof path, "%s/intel-rapl:%d/energy_uj", root, i), write_number(path, 8e9 + i);
    }
    // a part of 0
    snprintf(path, sizeof path, "%s/intel-rapl:0:1/energy_uj", root), make_parents(path),
        write_number(path, 5);
    energy_begin(&e, root, library, -1, 0);
    snprintf(path, sizeof path, "%s/intel-rapl:0/energy_uj", root), write_number(path, 8.5e9);
    snprintf(path, sizeof path, "%s/intel-rapl:1/energy_uj", root), write_number(path, 0.25e9);
    e.begun -= 10, e.read -= 10, e.since -= 10;
    double watts = energy_read(&e);
    check(e.n == 2 && near(e.joules, 500 + 1250, 0.01) && near(watts, 175, 1e-6),
          "RAPL: 500 J, and 1250 J of a counter that began again, in 10 s: %.6g J, %.6g W", e.joules, watts);
    unlink(path), write_number("build/test/powercap/intel-rapl:0/energy_uj", 8.6e9);
    watts = energy_read(&e);
    check(near(e.joules, 1850, 0.01), "a counter that is silent once is passed over: %.6g J", e.joules);
    check(near(watts, 175, 1e-6), "a step of no time has the power of the seconds before: %.6g W", watts);
    write_number("build/test/powercap/intel-rapl:0/energy_uj", 8.9e9);
    e.read -= 4, e.since -= 4;
    watts = energy_read(&e);
    check(near(watts, 100, 1e-6), "and 100 J and 300 J in the four seconds after are %.6g W", watts);
    // 350 J and 100 J in 1.5 s each: only both together are two seconds
    for (int step = 0; step < 2; step++) {
        const double before = watts;
        write_number("build/test/powercap/intel-rapl:0/energy_uj", step ? 0.35e9 : 0.25e9);
        e.read -= 1.5, e.since -= 1.5;
        watts = energy_read(&e);
        check(step ? near(watts, 150, 1e-6) : watts == before,
              "after %g seconds the power is %.6g W, before %.6g W", 1.5*(step + 1), watts, before);
    }
    energy_begin(&e, root, library, -1, 0);
    check(e.n == 1, "and one that is silent from the start is none");
    const char *const silent = "nowhere tells nothing of this card's energy";
    check(dies(energy_of_card, 0, silent) && dies(energy_of_card, 1, silent),
          "the processors' energy alone is not that of a run on a card");

    const char *const cards =                               // whose counters go on by 7 J with every look
        "static unsigned long long count[4] = { 1000, 2000, 3000, 4000 };\n"
        "int nvmlInit_v2(void) { return 0; }\n"
        "int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **card) { *card = count + i; return i > 3; }\n"
        "int nvmlDeviceGetHandleByUUID(const char *name, void **card) {\n"
        "    *card = count + name[4] - '0';\n"
        "    return name[0] != 'G';\n"
        "}\n"
        "int nvmlDeviceGetTotalEnergyConsumption(void *card, unsigned long long *out) {\n"
        "    *out = *(unsigned long long *)card += 7000;\n"
        "    return 0;\n"
        "}\n";
    write_bytes("build/test/cards.c", cards, strlen(cards));
    int code = shell(out, sizeof out, "cc -shared -fPIC -o %s build/test/cards.c 2>/dev/null", library);
    if (code) { printf("skipped: NVML; there is no `cc` here\n"); return; }
    setenv("CUDA_VISIBLE_DEVICES", "3,1", 1);
    for (int rank = 1; rank >= 0; rank--) {                  // the second rank counts its card alone
        ranks.local = rank;
        energy_begin(&e, root, library, rank, 0);
        energy_read(&e);
        check(e.n == 2 - rank && near(e.joules, 7, 1e-9) && e.gauge[0].last == (rank ? 16000 : 18000),
              "NVML: 7 J of card %d that CUDA shows%s: %.6g J", rank,
              rank ? "" : ", beside the processor's", e.joules);
        if (!rank) continue;
        energy_begin(&e, root, library, rank, 100);
        check(e.watts == 0, "and it leaves --watts to the first");
    }
    setenv("CUDA_VISIBLE_DEVICES", "GPU-1234,GPU-2345", 1);
    energy_begin(&e, root, library, 1, 0);
    check(e.n == 2 && e.gauge[0].last == 10000, "a card by its name: %.6g", e.gauge[0].last);
    unsetenv("CUDA_VISIBLE_DEVICES");
    energy_begin(&e, root, library, 2, 0);
    check(e.n == 2 && e.gauge[0].last == 17000, "without CUDA_VISIBLE_DEVICES cards have NVML's numbers");
}

static void test_energy(void) {                              // ADAPT_SPEC 5
    static const struct { const char *model; double mwh, pue, intensity, tonnes, printed; } rows[] = {
        { "Gopher-280B", 1066, 1.08, 0.330, 379.9, 380 }, { "BLOOM-176B", 433, 1.2, 0.057, 29.6, 30 },
        { "OPT-175B", 324, 1.1, 0.231, 82.3, 82 },
        { "T5-11B", 77, 1.12, 0.545, 47.0, 47 }, { "LLaMA-7B", 33, 1.1, 0.385, 14.0, 14 },
        { "Llama 2-7B", 74, 1.1, 0.385, 31.3, 31 },
        { "OLMo-7B on LUMI", 135, 1.1, 0, 0, 0 },
        { "OLMo-7B on LUMI, by hydro power", 135, 1.1, 0.024, 3.564, 3.54 },
        { "OLMo-7B on A100", 104, 1.1, 0.610, 69.8, 70 },
    };
    static Options o;
    static Energy e;
    int fine = 1;
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        o.pue = rows[i].pue, o.carbon_intensity = rows[i].intensity;
        const double tonnes = co2e(1000*rows[i].mwh, &o)/1000;
        fine &= near(tonnes, rows[i].tonnes, 0.0501) && near(tonnes, rows[i].printed, 0.501);
    }
    check(fine, "the paper's table: MWh, PUE and intensity give its tonnes of CO2e");
    setenv("CLOCK_STEP", "0", 1);                            // the clock stands
    energy_begin(&e, "nowhere", "nowhere", 0, 100);
    e.begun -= 10, e.read -= 10, e.since -= 10;
    const double watts = energy_read(&e);
    check(near(1e3*kwh(&e), 0.277778, 1e-6) && near(watts, 100, 1e-9),
          "100 W for 10 s are 0.2778 Wh: %.6g", 1e3*kwh(&e));
    energy_counters();
    unsetenv("CLOCK_STEP");

    // FLOP per token at T = 2048: 3*(2P + attention), counted by hand for both models.
    static const struct { const char *model; double palm, causal; } models[] =
        { { "1b", 7.8659e9, 7.4634e9 }, { "7b", 43.3135e9, 41.7037e9 } };
    for (int i = 0; i < 2; i++) {
        const Config c = preset_named(models[i].model).config;
        static Layout layout;
        Weights unused;
        Metrics m = { NULL, 0, 0 };
        olmo_layout(&layout, &unused, NULL, &c);
        mfu_metrics(&c, layout.size, 0, 1e9, &m);
        const int none = m.n == 0;
        mfu_metrics(&c, layout.size, 989.4, 1e3, &m);
        const double palm = value_of(&m, "throughput/device/mfu_palm"),
            causal = value_of(&m, "throughput/device/mfu_causal");
        check(none && fabs(palm*989.4e9/models[i].palm - 1) < 1e-4
              && fabs(causal*989.4e9/models[i].causal - 1) < 1e-4,
              "%s: 1000 tokens/s on an H100 are %.4f%% of it (PaLM), %.4f%% (causal)", models[i].model,
              100*palm, 100*causal);
        release(m.list);
    }
    static const struct { const char *device; double tflops; } cards[] = {
        { "NVIDIA H100 80GB HBM3 (bf16), 78.0 of 84.9 GB free", 989.4 }, { "NVIDIA H100 PCIe (bf16)", 756.5 },
        { "NVIDIA H100 NVL (bf16)", 835.5 }, { "NVIDIA H200 (bf16)", 989.4 }, { "NVIDIA B200 (bf16)", 2250 },
        { "NVIDIA A100-SXM4-80GB (bf16)", 312 }, { "NVIDIA A40 (bf16)", 149.7 },
        { "NVIDIA L40S (bf16)", 362 }, { "NVIDIA GeForce RTX 4090 (bf16)", 165.2 },
        { "NVIDIA GeForce RTX 3090 (bf16)", 71 },
        { "NVIDIA H100 80GB HBM3 (fp32), 78.0 of 84.9 GB free", 0 }, { "cpu", 0 }, { "NVIDIA T4 (bf16)", 0 },
    };
    for (size_t i = 0; i < sizeof cards/sizeof *cards; i++)
        check(peak_tflops(cards[i].device) == cards[i].tflops, "the peak of %s: %g TFLOP/s", cards[i].device,
              cards[i].tflops);

    // Four ranks that compute 1000 tokens per second together: the speed of all, of each, and each one's MFU.
    static Run run;
    Metrics m = { NULL, 0, 0 };
    double palm, causal;
    run.model.device = &cpu_device, run.o.config = config_of(32, 1, 2, 2, 8, 256, 96, 0, 0, 0);
    run.layout.size = 12345, run.o.peak_tflops = 2, ranks.world = 4;
    speed_metrics(&run, 1000, &m);
    ranks.world = 1;
    check(m.n == 4 && m.list[0].value == 1000 && !strcmp(m.list[0].label, "tokens/s")
          && m.list[1].value == 250 && !strcmp(m.list[1].label, "each"),
          "four ranks at 1000 tokens/s: %g each", m.n > 1 ? m.list[1].value : 0);
    palm = m.n == 4 ? m.list[2].value : 0, causal = m.n == 4 ? m.list[3].value : 0;
    m.n = 0;
    mfu_metrics(&run.o.config, 12345, 2, 250, &m);
    check(m.n == 2 && m.list[0].value == palm && m.list[1].value == causal && palm > causal && causal > 0,
          "and their MFU is that of one at 250: %g", palm);
    release(m.list);
}

// The program's own step, beside one put together here from the parts that the sections above have
// tested: the windows it should see, the denominator, the schedule, and AdamW. Equal bits in all
// parameters.
static void test_train_step(void) {
    enum { T = 8, V = 4200, W = 12, G = 4, STEPS = 7, N = G*T };
    uint16_t ids[W*T];
    unsigned char mask[W*T];
    uint32_t expected[W];
    int val_tokens[W*T], val_targets[W*T];
    real own[W*T], own_z[W*T], weights[N];
    Metrics metrics = { NULL, 0, 0 };
    Run *run = (Run *)allocate(1, sizeof *run, "a test");
    for (int i = 0; i < W*T; i++)
        ids[i] = (uint16_t)(hash64((uint64_t)i) % V), mask[i] = hash64((uint64_t)i + 1000) % 3 != 0;
    // k: predicted; all, with decaying embeddings; every label masked
    for (int k = 0; k < 3; k++) {
        const char *inits[] = { "mitchell", "normal", "full_megatron" };
        Weights unused;
        // 3 steps an epoch, or 2 and a rest of 3 windows
        const int windows = k == 1 ? 12 : 11, epoch = windows/G;
        if (k == 2) memset(mask, 0, sizeof mask);
        write_bytes("build/test/step.bin", ids, (size_t)windows*T*2),
            write_bytes("build/test/step_mask.bin", mask, (size_t)windows*T);
        memset(run, 0, sizeof *run);
        run->o = options_of_preset("tiny");
        run->o.config = config_of(16, 1, 2, 1, 32, V, T, k == 0, 0, 1e-2);
        Recipe r = { "linear", 1e-2, 0.1, 2, 9, G, 3, 0.1, 0.8, 0.9, 1e-5, k == 1, 0.05, 2, 4 };
        run->o.recipe = r, run->o.seed = 41 + k, run->o.denominator = k == 1 ? "all" : "predicted",
            run->o.init = inits[k];
        run->order_epoch = -1;
        run->train_files = corpus_open("build/test/step.bin", "build/test/step_mask.bin", 2, T);
        run->train = run->val = corpus_rows(&run->train_files);
        run->objective = objective_named(run->o.denominator), run->judge = objectives[0];
        olmo_layout(&run->layout, &unused, NULL, &run->o.config);
        run->model = cpu_model(olmo_build(&run->o.config, 1), &run->o.config);
        model_init(run);
        Olmo *theirs = (Olmo *)run->model.handle, *m = olmo_build(&run->o.config, 1);
        int init = 1, fine = 1;
        for (int i = 0; i < m->layout.n; i++) {
            const Tensor *t = &m->layout.tensor[i];
            for (size_t j = 0; j < (size_t)t->rows*t->cols; j++) {
                m->params[t->offset + j] = init_value((uint64_t)(41 + k), t, j,
                                                      init_std(t, &m->config, inits[k]),
                                                      k == 1 ? 0 : 3);
                init &= theirs->params[t->offset + j] == m->params[t->offset + j];
            }
        }
        check(init && theirs->params[0] != init_value(1, &m->layout.tensor[0], 0, 1, 3),
              "model_init %s: every element of every tensor, by its number", inits[k]);
        Batch batch = batch_of(&run->train, G, r.micro_batch);
        for (int s = 1; s <= STEPS; s++) {
            double loss = 0, zloss = 0, count = 0;
            int first = (s - 1) % epoch*G;
            epoch_order(expected, (uint32_t)windows, (uint64_t)(41 + k + (s - 1)/epoch));
            for (int g = 0; g < G; g++)
                corpus_window(&run->train_files, expected[first + g], V, val_tokens + g*T,
                              val_targets + g*T);
            for (int n = 0; n < N; n++) count += k == 1 || val_targets[n] >= 0;
            if (k == 2) count = 1;
            for (int n = 0; n < N; n++) weights[n] = (real)(1/count);
            olmo_forward(m, own, own_z, val_tokens, val_targets, weights, G, T);
            olmo_backward(m);
            for (int n = 0; n < N; n++) loss += (double)own[n], zloss += (double)own_z[n];
            AdamW how = { learning_rate(&r, s), r.beta1, r.beta2, r.eps, r.weight_decay,
                          r.decay_embeddings, clip_limit(&r, s), s };
            double norm = olmo_update(m, &how);
            metrics.n = 0;
            train_step(run, &batch, &metrics);
            fine &= near(value_of(&metrics, "train/CrossEntropyLoss"), loss/count, 1e-9)
                && near(value_of(&metrics, "train/ZLoss"), zloss/count, 1e-9)
                && value_of(&metrics, "optim/total_grad_norm") == norm
                && value_of(&metrics, "optim/learning_rate_group0") == how.lr
                && (k == 2 ? loss == 0 : loss > 0 && zloss > 0)
                && same_bits(theirs->params, m->params, m->layout.size) && run->at.step == s
                && run->at.tokens == (uint64_t)(s*N) && run->at.epoch == (s - 1)/epoch;
        }
        batch_free(&batch), release(run->order);
        check(fine,
              "%d steps of the program over several epochs, denominator %s%s: what its parts make of "
              "the same windows", STEPS, run->o.denominator, k == 2 ? ", every label masked" : "");
        if (k < 2) {
            double sum = 0;
            uint64_t counted = 0;
            for (uint64_t i = 0; i < (uint64_t)windows; i++)
                corpus_window(&run->train_files, i, V, val_tokens + i*T, val_targets + i*T);
            olmo_forward(m, own, own_z, val_tokens, val_targets, NULL, windows, T);
            for (int n = 0; n < windows*T; n++) if (val_targets[n] >= 0) sum += (double)own[n], counted++;
            double sums[MAX_SUMS], predicted = evaluate(run, &run->val, &run->judge, sums);
            check(near(sums[0]/predicted, sum/(double)counted, 1e-9) && predicted == (double)counted,
                  "validation is the mean over all predicted tokens, a ragged last pass included");
            uint64_t hash = params_hash(run);
            real *p = theirs->params, *end = p + run->layout.size - 1, swap = p[0];
            p[0] = p[1], p[1] = swap;
            int notices = params_hash(run) != hash;
            p[1] = p[0], p[0] = swap, *end = -*end;
            notices &= params_hash(run) != hash;
            *end = -*end;
            check(notices && params_hash(run) == hash,
                  "the hash notices two parameters that change places, and the last one's sign");
        }
        olmo_free(m), olmo_free(theirs);
    }
    release(run);
}
// Edges of section 2 that noise does not reach.
static void test_edges(void) {
    enum { V = 37 };
    real row[V], x[3] = { (real)0.75, (real)-0.75, (real)0.76 };
    unsigned char pass[3];
    int fine = 1;
    clip_forward(x, pass, 0.75, 3);
    check(pass[0] && pass[1] && !pass[2],
          "clip_qkv: a value on the limit passes its gradient, as torch's clamp");
    for (int n = 1; n <= V; n++) for (int at = 0; at < n; at++) {
        for (int v = 0; v < n; v++) row[v] = v == at ? (real)-2 : (real)(-3 - v);
        fine &= row_max(row, n) == (real)-2;
    }
    check(fine, "row_max finds the largest of 1 to %d negative numbers, wherever it is", V);
    for (int v = 0; v < V; v++) row[v] = (real)(v == V - 1 ? 500 : -500);
    real loss[1], zloss[1], lse[1];
    int target = 0;
    crossentropy_forward(loss, zloss, lse, row, &target, 0, 1, V);
    check(near((double)loss[0], 1000, 1e-3) && near((double)lse[0], 500, 1e-3),
          "cross entropy of logits of +-500");
    check(in_double || ((double)fast_exp(1000) > 1.6e38 && isfinite((double)fast_exp(1000))),
          "fast_exp overflows to a large finite number");
    const real logits[4] = { (real)log(0.5), (real)log(0.25), (real)log(0.125), (real)log(0.125) };
    Candidate scratch[4];
    // top-k leaves 2/3 and 1/3: the first alone has not 0.7 of that
    const Sampling both = { 1, 0.7, 2 };
    int second = 0;
    for (uint64_t i = 0; i < 1000; i++) { int id = sample(logits, 4, both, uniform(hash64(i)),
                                                          scratch); fine &= id < 2; second += id == 1; }
    const Sampling narrow = { 1, 0.6, 2 }, equal = { 1, 0.5, 0 };
    for (uint64_t i = 0; i < 1000; i++) fine &= sample(logits, 4, narrow, uniform(hash64(i)), scratch) == 0;
    const real even[4] = { 0, 0, 0, 0 };
    for (uint64_t i = 0; i < 1000; i++) fine &= sample(even, 4, equal, uniform(hash64(i)), scratch) < 2;
    check(fine && second > 250 && second < 420,
          "top-p counts what top-k has left, and stops where P is reached exactly");

    enum { WIDE = 1300 };                                    // a vocabulary of several blocks of 512
    static real wide[WIDE];
    double sum = 0;
    fill_noise(wide, WIDE, 3, 2);
    for (int v = 0; v < WIDE; v++) sum += exp((double)wide[v]);
    target = WIDE - 1;
    crossentropy_forward(loss, zloss, lse, wide, &target, 0, 1, WIDE);
    check(near((double)lse[0], log(sum), 1e-6)
          && near((double)loss[0], log(sum) - (double)wide[target], 1e-6),
          "cross entropy over %d columns", WIDE);

    // all zero: every token is as likely, so u alone decides
    Config c = config_of(8, 1, 2, 2, 8, 50, 16, 1, 0, 0);
    Olmo *m = olmo_build(&c, 1);
    const Sampling plain = { 1, 1, 0 };
    int tokens[16] = {0};
    fine = generate(cpu_model(m, &c), tokens, 1, 16, plain, 9) == 16;
    for (int n = 1; n < 16; n++) fine &= tokens[n] == (int)(50*uniform(hash64(hash64(9) + (uint64_t)n)));
    asked_to_stop = 1;
    fine &= generate(cpu_model(m, &c), tokens, 1, 16, plain, 9) == 1;
    asked_to_stop = 0;
    check(fine, "generation draws a number for each seed and position, until it is asked to stop");
    m->grads[0] = (real)1e-6;
    AdamW how = { 1e-3, 0.9, 0.95, 1e-5, 0, 0, 1e-6, 1 };
    olmo_update(m, &how);
    check(fabs((double)m->moment1[0]/0.5e-7 - 1) < 1e-5, "clipping divides by the norm + 1e-6");
    olmo_free(m);

    TokenFile files[4];
    memset(files, 0, sizeof files);
    files[0].windows = 1, files[1].windows = 19, files[2].windows = 41, files[3].windows = 10000;
    Corpus train = { files, 4, 8, 10061 }, val = corpus_hold_out(&train);
    check(val.windows == 0 + 1 + 2 + 256 && files[0].windows == 1 && files[1].windows == 18
          && val.file[2].first == 39 && val.file[3].first == 9744 && train.windows == 9802,
          "of files of 1, 19, 41 and 10000 windows 0, 1, 2 and 256 are held out");
    TokenFile twenty = files[0];
    twenty.windows = 40;
    Corpus forty = { &twenty, 1, 8, 40 };
    check(corpus_hold_out(&forty).windows == 2, "a twentieth of 40 windows is 2");
}

// A power failure at any moment: a file must be on the disk before its directory gets its final name,
// the directory before that, and the name itself before anything relies on it; `latest` comes last.
// Nothing of an earlier try may stay.
static void test_durability(void) {
    Config c = config_of(8, 1, 2, 2, 8, 20, 8, 1, 0, 0);
    Olmo *m = olmo_build(&c, 1);
    Progress at;
    memset(&at, 0, sizeof at);
    at.step = 3;
    char out[64], found[64] = "";
    CHECK(shell(out, sizeof out,
                "rm -rf build/test/safe && mkdir -p build/test/safe/step3.tmp && cd build/test/safe "
                "&& echo of an earlier try >step3.tmp/model.safetensors.index.json && ln -s nowhere "
                "latest.tmp") == 0, "a test needs build/test/safe");
    traced[0] = 0;
    checkpoint_write("build/test/safe/step3", cpu_model(m, &c), NULL, &at);
    const int in_order = on_gpu || !strcmp(traced,
        "fsync safe/step3.tmp/config.json\n"
        "fsync safe/step3.tmp/model.safetensors\n"
        "fsync safe/step3.tmp/optimizer.safetensors\n"
        "fsync safe/step3.tmp/train.json\n"
        "fsync safe/step3.tmp\n"
        "rename build/test/safe/step3\n"
        "symlink build/test/safe/latest.tmp\n"
        "rename build/test/safe/latest\n"
        "fsync safe\n");
    check(in_order,
          "a checkpoint reaches the disk before it gets its name, and `latest` points to it%s%s",
          in_order ? "" : ":\n", in_order ? "" : traced);
    check(shell(found, sizeof found,
                "cd build/test/safe && ls -A | tr '\\n' ' ' && readlink latest | tr '\\n' ' ' && ls "
                "step3 | wc -l") == 0 && !strcmp(found, "latest step3 step3 4\n"),
                "and nothing of an earlier try stays: %s", found);
    traced[0] = 0;
    export_write("build/test/safe/copy", cpu_model(m, &c), NULL, BF16, 0);
    const int export_too = on_gpu || !strncmp(traced,
        "fsync safe/copy.tmp/config.json\n"
        "fsync safe/copy.tmp/model.safetensors\n"
        "fsync safe/copy.tmp\n"
        "rename build/test/safe/copy\n", 117);
    static Run run;
    run.o.out = "build/test/safe";
    run.at.step = 3;
    write_text("build/test/safe/metrics.jsonl", "{\"step\": 3}\n{\"step\": 4}\n");
    traced[0] = 0;
    metrics_open(&run);
    fclose(run.metrics_file);
    check(on_gpu || !strcmp(traced, "fsync safe/metrics.jsonl.tmp\nrename build/test/safe/metrics.jsonl\n"),
          "and so do the metrics of a run that goes on");
    check(export_too, "and so does an export%s%s", export_too ? "" : ":\n", export_too ? "" : traced);
    olmo_free(m);
}

// =================================================================================================
// 7. The program: hostile files, the command line, resume, save and load, kill -9, full disks, signals
// =================================================================================================
// These tests run ./train_olmo (or what TRAIN_OLMO names: a build with sanitizers, say) as its users
// do, in the empty directory build/test/yard, and look at its exit code, at what it prints and at what
// it leaves on the disk.

static char program[PATH], home[PATH];                       // absolute: every test works inside the yard
// what the last run wrote to stdout and to stderr
static char *said, *complained;
// seconds until a run counts as hanging, and is killed: a hundred times what the longest takes
enum { PATIENCE = 300 };
// bytes a run may write to one file: our full disk
static rlim_t largest_file = RLIM_INFINITY;

// The smallest model that has every tensor, trained on token files: every test means this one unless it
// says otherwise.
static const char *const tiny_model =
    "--d-model 16 --n-layers 1 --n-heads 2 --n-kv-heads 1 --mlp-hidden 32 --vocab 64 --seq-len 16 "
                                      "--batch 4 --micro-batch 2 --warmup 2 --sample-every 0 --val none";

// ---- helpers ------------------------------------------------------------------------------------
// A whole file, with a NUL behind it; NULL if there is none.
static char *slurp(const char *path, size_t *n) {
    struct stat s;
    FILE *file = stat(path, &s) == 0 && S_ISREG(s.st_mode) ? fopen(path, "rb") : NULL;
    if (!file) return NULL;
    char *bytes = (char *)allocate((size_t)s.st_size + 1, 1, path);
    size_t got = fread(bytes, 1, (size_t)s.st_size, file);
    fclose(file);
    if (n) *n = got;
    return bytes;
}
static void copy_file(const char *from, const char *to) {
    size_t n;
    char *bytes = slurp(from, &n);
    CHECK(bytes, "%s: a test needs it", from);
    write_bytes(to, bytes, n);
    release(bytes);
}
static int same_files(const char *a, const char *b) {
    size_t n = 0, m = 0;
    char *x = slurp(a, &n), *y = slurp(b, &m);
    int same = x && y && n == m && !memcmp(x, y, n);
    release(x), release(y);
    return same;
}
static int same_in(const char *a, const char *b, const char *name) {                // a/name and b/name
    char x[PATH], y[PATH];
    path_join(x, a, name), path_join(y, b, name);
    return same_files(x, y);
}
static void system_or_die(const char *command) { CHECK(system(command) == 0, "%s: failed", command); }

// n tokens of 16 bits, all below `vocab`.
static void write_tokens(const char *path, int n, int vocab) {
    unsigned char *bytes = (unsigned char *)allocate((size_t)n, 2, path);
    for (int i = 0; i < n; i++) {
        // something can be learned from it
        int id = (int)(hash64((uint64_t)i) % (uint64_t)vocab)/(1 + i % 3);
        bytes[2*i] = (unsigned char)(id & 255), bytes[2*i + 1] = (unsigned char)(id >> 8);
    }
    write_bytes(path, bytes, 2*(size_t)n);
    release(bytes);
}

static pid_t started;                                        // the last run that a test has started

// Starts the program; the shell splits its arguments. kill() and wait_for() reach the program itself,
// for the shell becomes it.
static pid_t start_with(const char *format, va_list args) {
    char arguments[PATH], command[3*PATH];
    vsnprintf(arguments, sizeof arguments, format, args);
    snprintf(command, sizeof command,
             "exec >stdout 2>stderr; OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive exec '%s' %s", program,
             arguments);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        struct rlimit limit = { largest_file, largest_file };
        // write() fails instead
        if (largest_file != RLIM_INFINITY) setrlimit(RLIMIT_FSIZE, &limit);
        alarm(PATIENCE);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return started = pid;
}
static int still_runs(void) {
    siginfo_t how;
    how.si_pid = 0;
    return waitid(P_PID, (id_t)started, &how, WEXITED | WNOHANG | WNOWAIT) == 0 && how.si_pid == 0;
}
static int wait_for(pid_t pid) {                             // the exit code, or 128 + the signal
    int status;
    while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR, "waitpid: %s", strerror(errno));
    release(said), release(complained);
    said = slurp("stdout", NULL), complained = slurp("stderr", NULL);
    CHECK(said && complained, "%s: could not be started", program);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
static pid_t start_olmo(const char *format, ...) __attribute__((format(printf, 1, 2)));
static pid_t start_olmo(const char *format, ...) {
    va_list args;
    va_start(args, format);
    pid_t pid = start_with(format, args);
    va_end(args);
    return pid;
}
static void sleep_ms(int ms) { struct timespec t = { ms/1000, ms % 1000*1000000L }; nanosleep(&t, NULL); }

// Waits until the run has written so many bytes of metrics, or has ended.
static void wait_for_metrics(const char *path, off_t bytes) {
    struct stat s;
    while ((stat(path, &s) || s.st_size < bytes) && still_runs()) sleep_ms(1);
}

static int train_olmo(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int train_olmo(const char *format, ...) {             // ... and waits for its end
    va_list args;
    va_start(args, format);
    pid_t pid = start_with(format, args);
    va_end(args);
    return wait_for(pid);
}

// The lines of the last run's stderr that start with "error: "; -1 if others do not start with note: or
// model:. So the report of a sanitizer, which has none of these words, spoils every test.
static int error_lines(void) {
    int errors = 0;
    for (const char *line = complained; *line;
         line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n')) {
        if (!strncmp(line, "error: ", 7)) errors++;
        else if (strncmp(line, "note: ", 6) && strncmp(line, "model: ", 7)) return -1;
    }
    return errors;
}
static int went_well(int code) { return code == 0 && error_lines() == 0; }

static const char *last_line(const char *text) {
    size_t n = strlen(text);
    while (n > 1 && text[n - 2] != '\n') n--;
    return n > 1 ? text + n - 1 : text;
}

// Does the directory hold an entry with this in its name?
static int holds(const char *path, const char *part) {
    DIR *directory = opendir(path);
    int found = 0;
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL; )
        found |= strstr(entry->d_name, part) != NULL;
    closedir(directory);
    return found;
}

// One test: the program must fail with code 1 and one sentence in which both words occur, and leave
// nothing half-written.
static int refuses(const char *what, const char *names, const char *says, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));
static int refuses(const char *what, const char *names, const char *says, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int code = wait_for(start_with(format, args)),
        leftover = holds("out", ".tmp") || holds("run", ".tmp") || holds(".", ".tmp");
    va_end(args);
    int fine = code == 1 && error_lines() == 1 && strstr(complained, names) && strstr(complained, says)
        && !leftover;
    if (fine)
        return check(1, "%s: %.*s", what, (int)strcspn(strstr(complained, "error: "), "\n"),
                     strstr(complained, "error: "));
    return check(0, "%s: expected code 1 and one line `error: ` with `%s` and `%s`; found code %d%s "
                    "and\n%s", what, names, says, code, leftover ? ", half-written files" : "",
                    *complained ? complained : "nothing on stderr");
}

// Into an empty directory, which has two token files: ids.bin, 200 windows of 16, and few.bin, 30 windows.
static void enter_yard(void) {
    const char *name = getenv("TRAIN_OLMO");
    CHECK(getcwd(home, sizeof home) && realpath(name ? name : "./train_olmo", program),
          "%s: not found; `make` builds it", name ? name : "./train_olmo");
    // a program that ends with a sentence need not free everything
    setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
    system_or_die("rm -rf build/test/yard");
    make_directory("build/test/yard");
    CHECK(chdir("build/test/yard") == 0, "build/test/yard: %s", strerror(errno));
    write_tokens("ids.bin", 200*16, 64), write_tokens("few.bin", 30*16, 64);
}
static void leave_yard(void) {
    CHECK(chdir(home) == 0, "%s: %s", home, strerror(errno));
    system_or_die("rm -rf build/test/yard");
}

// ---- hostile files ------------------------------------------------------------------------------
// The text with its first `find` replaced. A row of a table that replaces nothing would test nothing:
// it fails here.
static char *replaced(const char *text, const char *find, const char *replace) {
    const char *at = strstr(text, find);
    CHECK(at, "a test wants to replace %s, which is not in %.2000s", find, text);
    char *out = (char *)allocate(strlen(text) + strlen(replace) + 1, 1, "a test");
    sprintf(out, "%.*s%s%s", (int)(at - text), text, replace, at + strlen(find));
    return out;
}
static void edit_file(const char *path, const char *find, const char *replace) {
    char *text = slurp(path, NULL), *edited;
    CHECK(text, "%s: a test needs it", path);
    edited = replaced(text, find, replace);
    write_bytes(path, edited, strlen(edited));
    release(text), release(edited);
}

// a sound safetensors file
typedef struct { char *bytes, *header, *data; size_t size, header_size, data_size; } Parsed;

static Parsed parse_weights(const char *path) {
    Parsed p;
    p.bytes = slurp(path, &p.size);
    CHECK(p.bytes, "%s: a test needs it", path);
    p.header_size = (size_t)(unsigned char)p.bytes[0] | (size_t)(unsigned char)p.bytes[1] << 8;
    p.header = (char *)allocate(p.header_size + 1, 1, "a header");
    memcpy(p.header, p.bytes + 8, p.header_size);
    p.data = p.bytes + 8 + p.header_size, p.data_size = p.size - 8 - p.header_size;
    return p;
}
static void write_weights(const char *path, uint64_t announced, const char *header, size_t n,
                          const char *data, size_t m) {
    FILE *file = open_to_write(path);
    for (int i = 0; i < 8; i++) fputc((int)(announced >> 8*i & 255), file);
    fwrite(header, 1, n, file);
    fwrite(data, 1, m, file);
    close_written(file, path);
}

static const char *const load_bad = "--load bad --eval --val ids.bin";
static const char *const bad_weights = "bad/model.safetensors";

static void hostile_headers(const Parsed *good) {
    static const struct { const char *what, *find, *replace, *says; } rows[] = {
        { "a header that is not JSON", "{\"__meta", "not JSON {\"__meta", "not JSON" },
        { "a header that is an array", "{\"__meta", "[]  {\"__meta", "one JSON object" },
        { "a header without its last brace", "[9216,10240]}}", "[9216,10240]}", "cut off" },
        { "a header with more behind its last brace", "[9216,10240]}}", "[9216,10240]}}x", "not JSON" },
        { "a control character in a name", "model.embed", "model\n.embed", "not JSON" },
        { "overlapping tensors", "[4096,5120]", "[4095,5119]", "must not overlap" },
        { "the same bytes for two tensors", "[5632,6144]", "[5120,5632]", "must not overlap" },
        { "a tensor within another", "[9216,10240]}}",
          "[9216,10240]},\"rotary_emb.inv_freq\":{\"dtype\":\"F32\","
          "\"shape\":[255],\"data_offsets\":[9220,10240]}}", "must not overlap" },
        { "a hole before the first tensor", "[64,16],\"data_offsets\":[0,4096]",
          "[63,16],\"data_offsets\":[64,4096]", "holes" },
        { "a hole before the last tensor", "[16,16],\"data_offsets\":[9216,10240]",
          "[15,16],\"data_offsets\":[9280,10240]", "holes" },
        { "a tensor past the end of the file", "[16,16],\"data_offsets\":[9216,10240]",
          "[16,17],\"data_offsets\":[9216,10304]", "10304" },
        { "an end far past the file", "[16,16],\"data_offsets\":[9216,10240]",
         "[16,17592186044416],\"data_offsets\":[9216,1125899906851840]", "1125899906851840" },
        { "a begin after its end", "[4096,5120]", "[5120,4096]", "data_offsets" },
        { "negative offsets", "[0,4096]", "[-4096,0]", "data_offsets" },
        { "offsets with fractions", "[0,4096]", "[0.0,4096.0]", "data_offsets" },
        { "offsets of 2^64", "[0,4096]", "[18446744073709551616,18446744073709555712]", "data_offsets" },
        { "one offset", "[0,4096]", "[4096]", "data_offsets" },
        { "three offsets", "[0,4096]", "[0,4096,4096]", "data_offsets" },
        { "offsets that are an object", "[0,4096]", "{\"begin\":0}", "data_offsets" },
        { "fewer bytes than the shape needs", "[64,16]", "[64,17]", "needs 4352 bytes" },
        { "more bytes than the shape needs", "[64,16]", "[64,15]", "needs 3840 bytes" },
        { "half the bytes for its dtype", "\"F32\",\"shape\":[64,16]", "\"BF16\",\"shape\":[64,16]",
          "needs 2048 bytes" },
        { "a negative shape", "[64,16]", "[-64,-16]", "shape" },
        { "a shape with a fraction", "[64,16]", "[64.5,16]", "shape" },
        { "a shape in scientific notation", "[64,16]", "[6.4e1,16]", "shape" },
        { "a shape of strings", "[64,16]", "[\"64\",16]", "shape" },
        { "a shape of arrays", "[64,16]", "[[64],16]", "shape" },
        { "a shape that is a number", "[64,16]", "1024", "shape" },
        { "a shape of 25 digits", "[64,16]", "[1000000000000000000000000,16]", "shape" },
        { "a shape of 2^64 bytes, which wraps to 0", "[64,16],\"data_offsets\":[0,4096]",
         "[2147483648,2147483648],\"data_offsets\":[0,0]", "larger than any file" },
        { "a shape of 2^64 + 2^12 bytes, which wraps to the right size", "[64,16]",
          "[2251799813685250,2048]", "larger than any file" },
        { "five dimensions", "[64,16]", "[4,4,4,4,4]", "shape" },
        { "64-bit integers", "\"F32\",\"shape\":[64,16]", "\"I64\",\"shape\":[64,8]", "I64" },
        { "32-bit integers", "\"F32\",\"shape\":[64,16]", "\"I32\",\"shape\":[64,16]",
          "has dtype I32; expected F32, BF16 or F16" },
        { "doubles", "\"F32\",\"shape\":[64,16]", "\"F64\",\"shape\":[64,8]", "F64" },
        { "a dtype that only begins like one", "\"F32\",\"shape\":[64,16]",
          "\"F32X\",\"shape\":[64,16]", "F32X" },
        { "a dtype that is a number", "\"F32\",\"shape\":[64,16]", "32,\"shape\":[64,16]", "dtype" },
        { "no dtype", "\"dtype\"", "\"dtypo\"", "lacks" },
        { "no shape", "\"shape\"", "\"shade\"", "lacks" },
        { "no offsets", "\"data_offsets\"", "\"data_offset\"", "lacks" },
        { "a tensor that is a number", "{\"__meta", "{\"x\":5,\"__meta", "expected an object" },
        { "a name of no bytes", "\"model.embed_tokens.weight\"", "\"\"", "name" },
        { "a tensor twice", "{\"__meta",
          "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\","
          "\"shape\":[0,16],\"data_offsets\":[10240,10240]},\"__meta", "9 tensors" },
        { "a name twice and another never", "self_attn.k_proj", "self_attn.v_proj",
          "k_proj.weight is missing" },
        { "a tensor of another name", "mlp.gate_proj", "mlp.gate_bias", "gate_proj.weight is missing" },
        { "one tensor too many", "{\"__meta",
          "{\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[10240,10240]},"
          "\"__meta", "9 tensors" },
        { "one dimension", "[64,16]", "[1024]", "1024 x 1" },
        { "three dimensions", "[64,16]", "[64,4,4]", "64 x 16" },
        { "no dimension", "[64,16]", "[]", "needs 4 bytes" },
        { "a matrix too narrow", "[16,16],\"data_offsets\":[9216,10240]}}",
          "[16,15],\"data_offsets\":[9216,10176]},\"rotary_emb.inv_freq\":{\"dtype\":\"F32\","
          "\"shape\":[16],\"data_offsets\":[10176,10240]}}", "16 x 15" },
        { "a transposed matrix", "[64,16]", "[16,64]", "16 x 64" },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        char *header = replaced(good->header, rows[i].find, rows[i].replace);
        write_weights(bad_weights, strlen(header), header, strlen(header), good->data, good->data_size);
        // no one file is to blame
        int names_directory = strstr(rows[i].says, "tensors") || strstr(rows[i].says, "missing");
        refuses(rows[i].what, names_directory ? "bad: " : bad_weights, rows[i].says, "%s", load_bad);
        release(header);
    }
    static const struct { int length; const char *says; } names[] =
        { { 500, "500 bytes long" }, { 128, "128 bytes long" }, { 127, "is missing" } };
    // 127 bytes are a name, if none of ours
    for (size_t i = 0; i < sizeof names/sizeof *names; i++) {
        char name[600], what[40];
        memset(name, 'x', sizeof name);
        name[0] = '"', memcpy(name + 1 + names[i].length, "\"", 2);
        char *header = replaced(good->header, "\"model.embed_tokens.weight\"", name);
        write_weights(bad_weights, strlen(header), header, strlen(header), good->data, good->data_size);
        snprintf(what, sizeof what, "a name of %d bytes", names[i].length);
        refuses(what, names[i].length < 128 ? "bad: " : bad_weights, names[i].says, "%s", load_bad);
        release(header);
    }
}

static void hostile_bytes(const Parsed *good) {
    static const struct { const char *what; uint64_t announced; const char *says; } lengths[] = {
        { "a header of 0 bytes", 0, "one of 0 bytes" },
        { "a header of 1 byte", 1, "one of 1 bytes" },
        { "a header of 4 GB", (uint64_t)1 << 32, "4294967296" },
        { "a header of 2^63 bytes", (uint64_t)1 << 63, "9223372036854775808" },
        { "a header of 2^64 - 1 bytes", UINT64_MAX, "18446744073709551615" },
        { "a header that ends in its middle", 200, "cut off" },
    };
    for (size_t i = 0; i < sizeof lengths/sizeof *lengths; i++) {
        write_weights(bad_weights, lengths[i].announced, good->header, good->header_size, good->data,
                      good->data_size);
        refuses(lengths[i].what, bad_weights, lengths[i].says, "%s", load_bad);
    }
    write_weights(bad_weights, good->size - 7, good->header, good->header_size, good->data, good->data_size);
    refuses("a header one byte longer than the file", bad_weights, "cut off", "%s", load_bad);

    const size_t kept[] = { 0, 1, 7, 8, 9, 8 + good->header_size/2, 8 + good->header_size - 1,
                            8 + good->header_size, 8 + good->header_size + 1, good->size/2,
                            good->size - 1 };
    for (size_t i = 0; i < sizeof kept/sizeof *kept; i++) {
        char what[80];
        snprintf(what, sizeof what, "a file of %zu bytes of %zu", kept[i], good->size);
        write_bytes(bad_weights, good->bytes, kept[i]);
        refuses(what, bad_weights, kept[i] < 8 ? "expected a safetensors file" : "is it cut off", "%s",
                load_bad);
    }
    for (size_t extra = 1; extra <= 4096; extra *= 64) {     // one byte, 64, 4096 behind the last tensor
        char *bytes = (char *)allocate(good->size + extra, 1, "a test");
        memcpy(bytes, good->bytes, good->size);
        write_bytes(bad_weights, bytes, good->size + extra);
        refuses("bytes behind the last tensor", bad_weights, "the header describes 10240 bytes", "%s",
                load_bad);
        release(bytes);
    }
    // a function that calls itself so often has left its stack
    enum { DEEP = 1000000 };
    char *nul = (char *)allocate(good->header_size + 1, 1, "a test"),
        *deep = (char *)allocate(2*DEEP + 6, 1, "a test");
    memcpy(nul, good->header, good->header_size);
    nul[good->header_size/2] = 0;
    write_weights(bad_weights, good->header_size, nul, good->header_size, good->data, good->data_size);
    refuses("a NUL in the header", bad_weights, "NUL", "%s", load_bad);
    memcpy(deep, "{\"a\":", 5), memset(deep + 5, '[', DEEP), memset(deep + 5 + DEEP, ']', DEEP),
        deep[5 + 2*DEEP] = '}';
    write_weights(bad_weights, 5 + DEEP, deep, 5 + DEEP, good->data, good->data_size);
    refuses("a million opened brackets", bad_weights, "not JSON", "%s", load_bad);
    write_weights(bad_weights, 6 + 2*DEEP, deep, 6 + 2*DEEP, good->data, good->data_size);
    refuses("a million arrays in each other", bad_weights, "not JSON", "%s", load_bad);
    write_weights(bad_weights, 120000000, good->header, good->header_size, good->data, good->data_size);
    CHECK(truncate(bad_weights, 130000000) == 0, "%s: %s", bad_weights, strerror(errno));
    refuses("a header of 120 MB in a file of 130 MB", bad_weights, "one of 120000000 bytes", "%s", load_bad);
    release(nul), release(deep);
    write_weights(bad_weights, 8, "{}      ", 8, "", 0);
    refuses("no tensor at all", "bad: ", "model.embed_tokens.weight is missing", "%s", load_bad);

    unlink(bad_weights);
    refuses("no weights", "bad", "found neither", "%s", load_bad);
    make_directory(bad_weights);
    refuses("a directory in place of the weights", bad_weights, "expected a file", "%s", load_bad);
    rmdir(bad_weights);
    CHECK(mkfifo(bad_weights, 0666) == 0, "%s: %s", bad_weights, strerror(errno));
    refuses("a pipe in place of the weights: to open it would be to wait for a writer", bad_weights,
            "expected a file", "%s", load_bad);
    unlink(bad_weights);
}

// Numbers that are none, in each format: the program writes a file, and one number of it is overwritten.
static void hostile_numbers(void) {
    static const struct { const char *what, *format; int at_end; unsigned char bytes[4];
                          const char *says; } rows[] = {
        { "a NaN in the first weight", "fp32", 0, { 0, 0, 0xc0, 0x7f }, "element 0;" },
        { "a NaN in the last weight", "fp32", 1, { 1, 0, 0x80, 0xff }, "element 255;" },
        { "an infinite weight", "fp32", 1, { 0, 0, 0x80, 0x7f }, "inf" },
        { "a negative infinite weight", "fp32", 0, { 0, 0, 0x80, 0xff }, "-inf" },
        { "a float16 NaN", "fp16", 1, { 0, 0, 1, 0x7e }, "nan" },
        { "a float16 infinity", "fp16", 1, { 0, 0, 0, 0x7c }, "inf" },
        { "a bfloat16 NaN", "bf16", 1, { 0, 0, 0xc0, 0x7f }, "nan" },
        { "a bfloat16 infinity", "bf16", 1, { 0, 0, 0x80, 0xff }, "-inf" },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        char weights[PATH];
        CHECK(went_well(train_olmo("--load good --export sound-%s --export-dtype %s", rows[i].format,
                                   rows[i].format)), "a test could not export: %s", complained);
        snprintf(weights, sizeof weights, "sound-%s/model.safetensors", rows[i].format);
        Parsed p = parse_weights(weights);
        memcpy(p.data + (rows[i].at_end ? p.data_size - 4 : 0), rows[i].bytes, 4);
        write_bytes(bad_weights, p.bytes, p.size);
        refuses(rows[i].what, bad_weights, rows[i].says, "%s", load_bad);
        release(p.bytes), release(p.header);
        system_or_die("rm -rf sound-*");
    }
    // Numbers by which the model's become none: none of its answers is given as if it were one.
    static const struct { const char *flags, *says; } uses[] = {
        { "--eval --val ids.bin", "--eval: the validation loss is" },
        { "--generate 3 --prompt-ids 1 --temperature 0", "largest logit is" },
        { "--generate 3 --prompt-ids 1", "largest logit is" },
    };
    const float most[2] = { 3e38f, -3e38f };
    Parsed p = parse_weights("good/model.safetensors");
    for (size_t at = 0; at + 4 <= p.data_size; at += 4) memcpy(p.data + at, &most[at % 12 == 0], 4);
    write_bytes(bad_weights, p.bytes, p.size);
    for (size_t i = 0; i < sizeof uses/sizeof *uses; i++)
        refuses("weights that overflow", "damaged", uses[i].says, "--load bad %s", uses[i].flags);
    release(p.bytes), release(p.header);
}

static void hostile_configs(void) {
    static const struct { const char *what, *find, *replace, *says; } rows[] = {
        { "a config that is cut off", "\n}", "", "not JSON" },
        { "a config with more behind it", "\n}", "\n} {}", "not JSON" },
        { "a config with a comma too many", "\n}", ",\n}", "not JSON" },
        { "a Llama", "\"model_type\": \"olmo\"", "\"model_type\": \"llama\"", "model_type" },
        { "the older format of OLMo", "\"model_type\": \"olmo\"", "\"model_type\": \"hf_olmo\"",
          "model_type" },
        { "an OLMo-2", "\"model_type\": \"olmo\"", "\"model_type\": \"olmo2\"", "model_type" },
        { "a model type that is a number", "\"model_type\": \"olmo\"", "\"model_type\": 1", "model_type" },
        { "no model type", "\"model_type\"", "\"model_typo\"", "model_type" },
        { "no hidden size", "\"hidden_size\"", "\"hidden_seize\"", "hidden_size" },
        { "a hidden size of null", "\"hidden_size\": 16", "\"hidden_size\": null", "hidden_size" },
        { "a hidden size of 0", "\"hidden_size\": 16", "\"hidden_size\": 0", "hidden_size" },
        { "a negative hidden size", "\"hidden_size\": 16", "\"hidden_size\": -16", "hidden_size" },
        { "a hidden size in a string", "\"hidden_size\": 16", "\"hidden_size\": \"16\"", "hidden_size" },
        { "a hidden size in an array", "\"hidden_size\": 16", "\"hidden_size\": [16]", "hidden_size" },
        { "a hidden size of true", "\"hidden_size\": 16", "\"hidden_size\": true", "hidden_size" },
        { "a hidden size of 1e300", "\"hidden_size\": 16", "\"hidden_size\": 1e300", "hidden_size" },
        { "a hidden size of 1e999", "\"hidden_size\": 16", "\"hidden_size\": 1e999", "hidden_size" },
        { "a hidden size of NaN", "\"hidden_size\": 16", "\"hidden_size\": NaN", "hidden_size" },
        { "a hidden size of Infinity", "\"hidden_size\": 16", "\"hidden_size\": Infinity", "found Infinity" },
        { "a hidden size of infinity", "\"hidden_size\": 16", "\"hidden_size\": infinity", "not JSON" },
        { "a hidden size of 16.5", "\"hidden_size\": 16", "\"hidden_size\": 16.5", "hidden_size" },
        { "a hidden size of 2^32 + 16", "\"hidden_size\": 16", "\"hidden_size\": 4294967312", "hidden_size" },
        { "17 channels for 2 heads", "\"hidden_size\": 16", "\"hidden_size\": 17", "heads" },
        { "heads of one channel", "\"num_attention_heads\": 2", "\"num_attention_heads\": 16", "odd" },
        { "no heads", "\"num_attention_heads\": 2", "\"num_attention_heads\": 0", "num_attention_heads" },
        { "two heads that share three keys", "\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3",
          "heads" },
        { "more keys than heads", "\"num_key_value_heads\": 1", "\"num_key_value_heads\": 4", "heads" },
        { "no layers", "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 0", "num_hidden_layers" },
        { "129 layers", "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 129", "num_hidden_layers" },
        { "2^31 layers", "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2147483648",
          "num_hidden_layers" },
        { "no inner width", "\"intermediate_size\": 16", "\"intermediate_size\": 0", "intermediate_size" },
        { "no vocabulary", "\"vocab_size\": 64", "\"vocab_size\": 0", "vocab_size" },
        { "a vocabulary of a billion", "\"vocab_size\": 64", "\"vocab_size\": 1000000000", "vocab_size" },
        { "a list of ends that holds a word", "\"eos_token_id\": null", "\"eos_token_id\": [0, \"a\"]",
          "found [0, \"a\"]" },
        { "a negative end of text", "\"eos_token_id\": null", "\"eos_token_id\": -1", "eos_token_id" },
        { "positions of 0", "\"max_position_embeddings\": 16", "\"max_position_embeddings\": 0",
          "max_position_embeddings" },
        { "positions of 1e9", "\"max_position_embeddings\": 16", "\"max_position_embeddings\": 1e9",
          "max_position_embeddings" },
        { "biases", "\"attention_bias\": false", "\"attention_bias\": true", "attention_bias" },
        { "another activation", "\"silu\"", "\"gelu\"", "hidden_act" },
        { "a scaled RoPE, as older files say it", "\"rope_scaling\": null",
         "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}", "RoPE" },
        { "a scaled RoPE, as newer files say it", "\"rope_type\": \"default\"",
          "\"rope_type\": \"yarn\"", "RoPE" },
        { "a scaled RoPE that has no type", "\"rope_scaling\": null",
          "\"rope_scaling\": {\"factor\": 2.0}", "RoPE" },
        { "a RoPE that is a word", "\"rope_scaling\": null", "\"rope_scaling\": \"none\"", "rope_scaling" },
        { "a RoPE base of 0", "{\"rope_theta\": 10000", "{\"rope_theta\": 0", "rope_theta" },
        { "a negative clip_qkv", "\"clip_qkv\": null", "\"clip_qkv\": -8", "clip_qkv" },
        { "another width than the weights", "\"intermediate_size\": 16", "\"intermediate_size\": 17",
          "the config asks for 17 x 16" },
        { "another vocabulary than the weights", "\"vocab_size\": 64", "\"vocab_size\": 65",
          "the config asks for 65 x 16" },
        { "a layer the weights lack", "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2",
         "layers.1.self_attn.q_proj.weight is missing" },
        { "a head the weights lack", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
          "lm_head.weight is missing" },
        { "a flag that is a text", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": \"true\"",
          "to be true or false" },
    };
    copy_file("good/model.safetensors", bad_weights);
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        copy_file("good/config.json", "bad/config.json");
        edit_file("bad/config.json", rows[i].find, rows[i].replace);
        refuses(rows[i].what, "bad", rows[i].says, "%s", load_bad);
    }
    static const struct { const char *what, *text, *says; } whole[] = {
        { "an empty config", "", "not JSON" }, { "a config of blanks", " \n\n", "not JSON" },
            { "a config that is an array", "[]", "JSON object" },
        { "a config that is text", "hello", "not JSON" }, { "a config without anything", "{}", "model_type" },
    };
    for (size_t i = 0; i < sizeof whole/sizeof *whole; i++) {
        write_text("bad/config.json", whole[i].text);
        refuses(whole[i].what, "bad/config.json", whole[i].says, "%s", load_bad);
    }
    write_bytes("bad/config.json", "{}\0{}", 5);
    refuses("a config with a NUL", "bad/config.json", "NUL", "%s", load_bad);
    CHECK(truncate("bad/config.json", (off_t)200 << 20) == 0, "bad/config.json: %s", strerror(errno));
    refuses("a config of 200 MB", "bad/config.json", "209715200 bytes", "%s", load_bad);
    unlink("bad/config.json");
    refuses("no config", "bad/config.json", "cannot be read", "%s", load_bad);
    make_directory("bad/config.json");
    refuses("a directory in place of the config", "bad/config.json", "expected a file", "%s", load_bad);
    rmdir("bad/config.json");
    copy_file("good/config.json", "bad/config.json");
    refuses("no directory", "nowhere", "cannot be read", "--load nowhere --eval --val ids.bin");
    refuses("a file in place of the directory", "ids.bin", "cannot be read",
            "--load ids.bin --eval --val ids.bin");
}

static void hostile_indices(void) {
    static const char *const index =
        "{\"metadata\": {\"total_size\": 10240}, \"weight_map\": {\"model.embed_tokens.weight\": "
        "\"a.safetensors\"}}";
    static const struct { const char *what, *find, *replace, *says; } rows[] = {
        { "an index that is cut off", "}}", "}", "not JSON" },
        { "an index without a map", "weight_map", "weight_cap", "weight_map" },
        { "a map that is an array", "{\"model.embed_tokens.weight\": \"a.safetensors\"}", "[]",
          "weight_map" },
        { "a map of nothing", "{\"model.embed_tokens.weight\": \"a.safetensors\"}", "{}", "missing" },
        { "a shard that is missing", "a.safetensors", "b.safetensors", "bad/b.safetensors" },
        { "a shard in another directory", "a.safetensors", "../good/model.safetensors", "same directory" },
        { "a shard with an absolute path", "a.safetensors", "/etc/passwd", "same directory" },
        { "a shard behind a backslash", "a.safetensors", "..\\\\model.safetensors", "same directory" },
        { "a shard that is a directory", "a.safetensors", "..", "expected a file" },
        { "a shard that is no safetensors file", "a.safetensors", "config.json", "safetensors" },
        { "a shard that is a number", "\"a.safetensors\"", "1", "file name" },
        { "a shard that is an object", "\"a.safetensors\"",
          "{\"model.embed_tokens.weight\": \"a.safetensors\"}", "file name" },
        { "a shard without a name", "a.safetensors", "", "file name" },
    };
    const char *path = "bad/model.safetensors.index.json";
    unlink(bad_weights);
    copy_file("good/model.safetensors", "bad/a.safetensors");
    write_text(path, index);
    int code = train_olmo("%s", load_bad);
    check(went_well(code), "an index without a fault loads: %.*s", (int)strcspn(said, "\n"), said);
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        char *text = replaced(index, rows[i].find, rows[i].replace);
        write_text(path, text);
        refuses(rows[i].what, "bad", rows[i].says, "%s", load_bad);
        release(text);
    }
    write_text(path, index);
    Parsed p = parse_weights("good/model.safetensors");
    char *header = replaced(p.header, "model.embed_tokens", "model.other_tokens");
    write_weights("bad/a.safetensors", strlen(header), header, strlen(header), p.data, p.data_size);
    refuses("a tensor that the index promises and no shard holds", "bad",
            "model.embed_tokens.weight is missing", "%s", load_bad);
    write_bytes("bad/a.safetensors", p.bytes, p.size - 1);
    refuses("a shard that is cut off", "bad/a.safetensors", "cut off", "%s", load_bad);
    release(p.bytes), release(p.header), release(header);
    unlink(path);
}

// What transformers writes, and loads, and once was refused here. Each row's `says` is in the note that
// goes with it.
static void foreign_directories(const Parsed *good) {
    static const struct { const char *what, *find, *replace, *says; int eos; } rows[] = {
        { "an end of text outside the vocabulary", "\"eos_token_id\": null", "\"eos_token_id\": 50279",
          "outside the vocabulary of 64", -1 },
        { "the first end outside it", "\"eos_token_id\": null", "\"eos_token_id\": 64",
          "64 is outside the vocabulary of 64", -1 },
        { "a list of ends of text", "\"eos_token_id\": null", "\"eos_token_id\": [50279, 7, 0]",
          "a document ends with 7", 7 },
        { "a list as json.dumps(indent=2) writes it", "\"eos_token_id\": null",
          "\"eos_token_id\": [\n    9,\n    7\n  ]", "is [ 9, 7 ];", 9 },
        { "a list of one", "\"eos_token_id\": null", "\"eos_token_id\": [63]", "", 63 },
        { "a list of none", "\"eos_token_id\": null", "\"eos_token_id\": []", "", -1 },
        { "a RoPE that is scaled by nothing", "\"rope_scaling\": null",
          "\"rope_scaling\": {\"rope_type\": \"default\"}", "", -1 },
        { "the same in older words", "\"rope_scaling\": null",
          "\"rope_scaling\": {\"type\": \"default\", \"factor\": 1.0}", "", -1 },
        { "NaN and Infinity where they do no harm", "\"use_cache\": true",
          "\"a\": NaN, \"b\": Infinity, \"c\": [-Infinity], \"use_cache\": true", "", -1 },
    };
    copy_file("good/model.safetensors", bad_weights);
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        copy_file("good/config.json", "bad/config.json");
        edit_file("bad/config.json", rows[i].find, rows[i].replace);
        int code = train_olmo("%s", load_bad),
            noted = strstr(complained, rows[i].says)
            && (*rows[i].says != 0) == (strstr(complained, "note: ") != NULL);
        int eos = went_well(code) ? config_read("bad").eos : -2;
        check(went_well(code) && noted && eos == rows[i].eos, "%s loads: %.*s", rows[i].what,
              (int)strcspn(complained, "\n"), complained);
    }
    int code = train_olmo("--load bad --eos 5 --export eos");
    check(went_well(code) && config_read("eos").eos == 5, "--eos names another end of text");
    copy_file("good/config.json", "bad/config.json");

    // 8 int64, 4 bool, and RoPE's frequencies, that are no weights
    char *header = replaced(good->header, "{\"__meta",
                            "{\"position_ids\":{\"dtype\":\"I64\","
                            "\"shape\":[8],\"data_offsets\":[10240,10304]},"
                            "\"mask\":{\"dtype\":\"BOOL\","
                            "\"shape\":[4],\"data_offsets\":[10304,10308]},"
                            "\"model.layers.0.self_attn.rotary_emb.inv_freq\":{\"dtype\":\"F32\","
                            "\"shape\":[4],\"data_offsets\":[10308,10324]},\"__meta");
    char *data = (char *)allocate(good->data_size + 4096, 1, "a test");
    memcpy(data, good->data, good->data_size);
    write_weights(bad_weights, strlen(header), header, strlen(header), data, good->data_size + 84);
    code = train_olmo("%s", load_bad);
    check(went_well(code), "buffers beside the weights do no harm: code %d", code);
    release(header);
    header = replaced(good->header, "{\"__meta",
                      "{\"lm_head.weight\":{\"dtype\":\"F32\","
                      "\"shape\":[64,16],\"data_offsets\":[10240,14336]},\"__meta");
    memcpy(data + good->data_size, good->data, 4096);
    write_weights(bad_weights, strlen(header), header, strlen(header), data, good->data_size + 4096);
    code = train_olmo("%s", load_bad);
    check(went_well(code) && !strstr(complained, "lm_head"),
          "a tied head that is there twice loads: code %d", code);
    for (int k = 0; k < 3; k++) {                           // three that cannot be the embedding
        static const char *const shapes[] = { "\"F32\",\"shape\":[32,32]", "\"F32\",\"shape\":[1024,1]",
                                              "\"I32\",\"shape\":[64,16]" };
        char *other = replaced(strstr(header, "lm_head"), "\"F32\",\"shape\":[64,16]", shapes[k]),
            *all = NULL;
        all = replaced(header, strstr(header, "lm_head"), other);
        write_weights(bad_weights, strlen(all), all, strlen(all), data, good->data_size + 4096);
        code = train_olmo("%s", load_bad);
        check(went_well(code) && strstr(complained, "lm_head.weight is left out"),
              "a tied head of %s is not the embedding", shapes[k]);
        release(other), release(all);
    }
    data[good->data_size + 4095] ^= 1;
    write_weights(bad_weights, strlen(header), header, strlen(header), data, good->data_size + 4096);
    code = train_olmo("%s", load_bad);
    check(went_well(code) && strstr(complained, "lm_head.weight is left out"),
          "and if it differs, that is said: %.*s", (int)strcspn(complained, "\n"), complained);
    release(header), release(data);

    make_directory("bad/sub");
    refuses("a file that PyTorch pickled", "bad/sub", "save_pretrained",
            "--eval --val ids.bin --load bad/sub%s",
            system("cp good/config.json bad/sub; : >bad/sub/pytorch_model.bin") ? " --no" : "");
    system_or_die("rm -rf bad/sub eos && mkdir -p a_run && cp -r good a_run/step1 && ln -s step1 "
                  "a_run/latest");
    refuses("a run in place of a model", "a_run/latest", "names the newest",
            "--eval --val ids.bin --load a_run");
    refuses("a checkpoint that is not there yet", "new_run/latest", "new_run holds no checkpoint yet",
            "--eval --val ids.bin --load new_run/latest");
    refuses("a directory that is not in this one", "bad/none: there is no such directory\n", "",
            "--eval --val ids.bin --load bad/none");
    refuses("the name of a model on a hub", "https://huggingface.co/allenai/OLMo-1B-hf",
            "tokenizer.json", "--eval --val ids.bin --load allenai/OLMo-1B-hf");
    copy_file("good/model.safetensors", bad_weights);
    edit_file("bad/config.json", "\"olmo\"",
              "{\"a name\": \"which is very long\", \"and another\": [1, 2, 3, 4, 5, 6, 7, 8, 9, "
              "10000000, 11000000, 12]}");
    refuses("a long value is quoted up to a comma", "7, 8, 9 ...;", "model_type", "%s", load_bad);
    copy_file("good/config.json", "bad/config.json");
}

// A NumPy file of 64 numbers (0 1 1 0 1 1 ...) of `width` bytes with this version and dict; the header
// is padded to `announced` bytes.
static void write_numpy(const char *path, int version, const char *dict, int announced, int width) {
    unsigned char bytes[4096];
    memset(bytes, ' ', sizeof bytes);
    memcpy(bytes, "\x93NUMPY", 6);
    // 4 bytes for the header's length, or 2
    const int start = version == 2 || version == 3 ? 12 : 10;
    bytes[6] = (unsigned char)version, bytes[7] = 0;
    for (int i = 8; i < start; i++) bytes[i] = (unsigned char)(announced >> 8*(i - 8) & 255);
    memcpy(bytes + start, dict, strlen(dict));
    memset(bytes + start + announced, 0, 64*(size_t)width);
    for (int i = 0; i < 64; i++) bytes[start + announced + i*width] = i % 3 > 0;
    write_bytes(path, bytes, (size_t)start + (size_t)announced + 64*(size_t)width);
}

// Numbers of every whole type that NumPy has, llm.c's header, and text under any name: all of it is the
// same 64 tokens.
static void foreign_tokens(void) {
    static const struct { const char *dtype; int width; } types[] = {
        { "|u1", 1 }, { "|i1", 1 }, { "<u2", 2 }, { "<i2", 2 }, { "<u4", 4 }, { "<i4", 4 },
        { "<u8", 8 }, { "<i8", 8 },
    };
    const char *model =
        "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --vocab 256 --seq-len 16 --seed 5 "
        "--val none --sample-every 0";
    const char *train = "--steps 2 --batch 4 --out twice";
    unsigned char ids[64], bytes[1024 + 64*8];
    char hash[64] = "";
    for (int i = 0; i < 64; i++) ids[i] = (unsigned char)(i % 7 + 'A');
    write_bytes("same.txt", ids, sizeof ids);
    CHECK(went_well(train_olmo("%s %s --data same.txt", model, train)),
          "a test could not train: %s", complained);
    snprintf(hash, sizeof hash, "%s", last_line(said));
    for (size_t k = 0; k < sizeof types/sizeof *types; k++) {
        const int width = types[k].width;
        memset(bytes, 0, sizeof bytes);
        char *dict = (char *)bytes + 10;
        memcpy(bytes, "\x93NUMPY\1\0\x76\0", 10), memset(dict, ' ', 118);
        int n = sprintf(dict, "{'descr': '%s', 'fortran_order': False, 'shape': (64,), }",
                        types[k].dtype);
        dict[n] = ' ';
        for (int i = 0; i < 64; i++) bytes[128 + i*width] = ids[i];
        write_bytes("same.npy", bytes, 128 + 64*(size_t)width);
        int code = train_olmo("%s %s --data same.npy", model, train);
        check(went_well(code) && !strcmp(last_line(said), hash),
              "NumPy's %s gives the same tokens: %.30s", types[k].dtype,
              code ? complained : last_line(said));
    }
    bytes[128 + 5*8 + 7] = 0x80;                             // <i8, and negative
    write_bytes("same.npy", bytes, 128 + 64*8);
    refuses("a negative token", "same.npy", "token 5 is -9223372036854775738",
            "%s %s --data same.npy", model, train);

    static const struct { uint32_t magic; int width; const char *name; } kinds[] =
        { { 20240520, 2, "GPT-2" }, { 20240801, 4, "Llama 3" } };
    for (int k = 0; k < 2; k++) {
        const uint32_t head[3] = { kinds[k].magic, 1, 64 };
        memset(bytes, 0, sizeof bytes);
        memcpy(bytes, head, sizeof head);
        for (int i = 0; i < 64; i++) bytes[1024 + i*kinds[k].width] = ids[i];
        write_bytes("llmc.bin", bytes, 1024 + 64*(size_t)kinds[k].width);
        int code = train_olmo("%s %s --data llmc.bin", model, train);
        check(went_well(code) && !strcmp(last_line(said), hash) && strstr(complained, kinds[k].name),
              "llm.c's header is recognised: %.*s", (int)strcspn(complained, "\n"), complained);
        write_bytes("llmc.bin", bytes, 1024 + 63*(size_t)kinds[k].width);
        refuses("llm.c's file that is cut off", "llmc.bin", kinds[k].name, "%s %s --data llmc.bin",
                model, train);
    }
    static const char *const names[] = { "same.md", "same", "same.c" };
    for (int k = 0; k < 3; k++) {
        write_bytes(names[k], ids, sizeof ids);
        int code = train_olmo("%s %s --data %s", model, train, names[k]);
        check(went_well(code) && !strcmp(last_line(said), hash), "text in %s is bytes, too", names[k]);
    }
    system_or_die("rm -rf same same.* twice twice.* llmc.bin");
}

// NumPy's three versions of its header, before tokens and before masks: the same tokens and the same
// labels each time.
static void numpy_versions(const char *train) {
    char dict[80], hash[2][64] = { "", "" };
    static const char *const masks[] = { "|b1", "|u1" };
    unsigned char bytes[128] = {0}, mask[64];
    for (int i = 0; i < 64; i++) mask[i] = bytes[2*i] = i % 3 > 0;
    write_bytes("v.bin", bytes, sizeof bytes), write_bytes("v_mask.bin", mask, sizeof mask);
    for (int masked = 0; masked < 2; masked++) {
        CHECK(went_well(train_olmo("%s %s v.bin %s", tiny_model, train,
                                   masked ? "--label-mask v_mask.bin" : "")),
                                   "a test could not train: %s", complained);
        snprintf(hash[masked], sizeof hash[0], "%s", last_line(said));
    }
    check(strcmp(hash[0], hash[1]) != 0, "a label mask changes what is learned");
    write_numpy("v.npy", 1, "{'descr':'<u2', 'fortran_order': False, 'shape': (64,)}", 116, 2);
    int code = train_olmo("%s %s v.npy", tiny_model, train);
    check(went_well(code) && !strcmp(last_line(said), hash[0]), "a NumPy header with fewer blanks");
    for (int version = 1; version <= 3; version++) {
        write_numpy("v.npy", version, "{'descr': '<u2', 'fortran_order': False, 'shape': (64,), }", 116, 2);
        code = train_olmo("%s %s v.npy", tiny_model, train);
        check(went_well(code) && !strcmp(last_line(said), hash[0]),
              "a NumPy header of version %d before tokens", version);
        for (int k = 0; k < 2; k++) {
            snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (64,), }",
                     masks[k]);
            write_numpy("m.npy", version, dict, 116, 1);
            code = train_olmo("%s %s v.bin --label-mask m.npy", tiny_model, train);
            check(went_well(code) && !strcmp(last_line(said), hash[1]),
                  "a NumPy header of version %d before a mask of %s", version, masks[k]);
        }
    }
}

// A floor is that of one file, in windows of one length.
static void floors_hold(void) {
    const char *model =
        "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --vocab 256 --batch 4 --sample-every "
        "0 --steps 1";
    char text[257], floor[128];
    for (int i = 0; i < 256; i++) text[i] = (char)('a' + i*i % 26);
    write_bytes("floor.txt", text, 256), write_bytes("other.txt", text, 255);
    snprintf(floor, sizeof floor,
             "0.125\nwindows of 16 bytes, in a file with the FNV-1a hash 0x%016llx\n",
             (unsigned long long)fnv1a(fnv1a_start, (unsigned char *)text, 256));
    write_text("floor.txt.floor", floor), write_text("other.txt.floor", floor);
    static const struct { const char *what, *flags; int shown; } rows[] = {
        { "the file and the windows it was made for", "--seq-len 16 --val floor.txt", 1 },
        { "windows of another length", "--seq-len 8 --val floor.txt", 0 },
        { "another file", "--seq-len 16 --val other.txt", 0 },
        { "a second file", "--seq-len 16 --val floor.txt,floor.txt", 0 },
        { "the last of its own windows", "--seq-len 16", 0 },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        int code = train_olmo("%s %s --data floor.txt --out floor", model, rows[i].flags), n = 0;
        char *metrics = slurp("floor/metrics.jsonl", NULL);
        n += strstr(said, "a perfect model of this") != NULL,
            n += strstr(said, "a perfect model: 0.1250") != NULL;
        n += strstr(said, "a perfect model=0.1250") != NULL,
            n += metrics && strstr(metrics, "\"eval/validation/floor\": 0.125");
        if (rows[i].shown && metrics) {
            char above[64];
            const double loss = json_number(strrchr(metrics, '{'), "metrics.jsonl",
                                            "eval/validation/CrossEntropyLoss", 0, 100, NAN);
            snprintf(above, sizeof above, "=0.1250 (we are %.1f%% above)", 100*(loss/0.125 - 1));
            n -= !strstr(said, above);
        }
        check(went_well(code) && n == (rows[i].shown ? 3 : 0),
              "the floor beside %s: said in %d places", rows[i].what, n);
        release(metrics);
    }
    // dev/plot.sh, with a gnuplot that only keeps what it is told.
    system_or_die("mkdir -p bin && printf '%s\n' '#!/bin/sh' 'cat \"$1\" >>plots' ': >\"$(dirname "
                  "\"$1\")/loss.png\"' >bin/gnuplot && chmod +x bin/gnuplot");
    CHECK(went_well(train_olmo("%s --seq-len 16 --data floor.txt --val floor.txt --out a", model))
          && went_well(train_olmo("%s --seq-len 8 --data floor.txt --val floor.txt --out b", model)),
          "a test could not train: %s", complained);
    static const struct { const char *runs; int drawn; } plots[] =
        { { "a", 1 }, { "a a", 1 }, { "a b", 0 }, { "b a", 0 }, { "b", 0 } };
    for (size_t i = 0; i < sizeof plots/sizeof *plots; i++) {
        char out[256], *plot;
        int code = shell(out, sizeof out,
                         "rm -f plots; set --; for run in %s; do set -- \"$@\" "
                         "$run/metrics.jsonl; done; "
                         "PATH=$PWD/bin:$PATH '%s/dev/plot.sh' \"$@\" 2>/dev/null", plots[i].runs,
                         home);
        plot = slurp("plots", NULL);
        check(code == 0 && plot && (strstr(plot, "a perfect model") != NULL) == plots[i].drawn,
              "dev/plot.sh of %s: code %d, %s", plots[i].runs, code,
              plots[i].drawn ? "with the floor" : "without a floor");
        release(plot);
    }
    system_or_die("rm -rf a b bin plots loss.png");
    write_text("floor.txt.floor", "0.125\n");
    int code = train_olmo("%s --seq-len 16 --val floor.txt --data floor.txt --out floor", model);
    check(went_well(code) && !strstr(said, "perfect"), "a floor that does not say of what is none");
    system_or_die("rm -rf floor floor.*");
}

// The processor's signal for it becomes a sentence.
static void shrinking_file(int first) {                        // of two files
    copy_file("ids.bin", "shrinks.bin");
    pid_t pid = start_olmo("%s --steps 100000000 --data %s --out shrinks", tiny_model,
                           first ? "shrinks.bin,few.bin" : "few.bin,shrinks.bin");
    wait_for_metrics("shrinks/metrics.jsonl", 1000);
    CHECK(truncate("shrinks.bin", 100) == 0, "shrinks.bin: %s", strerror(errno));
    int code = wait_for(pid);
    check(code == 1 && error_lines() == 1 && strstr(complained, "error: shrinks.bin: became shorter"),
          "a data file that becomes shorter: code %d, %.*s", code, (int)strcspn(complained, "\n"),
          complained);
    system_or_die("rm -rf shrinks shrinks.bin");
}

static void hostile_tokens(void) {
    static const struct { const char *what, *dict, *says; } rows[] = {
        { "NumPy floats", "{'descr': '<f4', 'fortran_order': False, 'shape': (32,), }", "<f4" },
        { "big-endian NumPy numbers", "{'descr': '>u2', 'fortran_order': False, 'shape': (64,), }", ">u2" },
        { "NumPy numbers of no known kind",
          "{'descr': '<i3', 'fortran_order': False, 'shape': (64,), }", "numpy.save(PATH, " },
        { "a NumPy array in Fortran's order",
          "{'descr': '<u2', 'fortran_order': True, 'shape': (64,), }", "plain" },
        { "a NumPy array of two dimensions",
          "{'descr': '<u2', 'fortran_order': False, 'shape': (8, 8), }", "one dimension" },
        { "a NumPy array of no dimension", "{'descr': '<u2', 'fortran_order': False, 'shape': (), }",
          "items" },
        { "a NumPy array of 65 numbers that holds 64",
          "{'descr': '<u2', 'fortran_order': False, 'shape': (65,), }", "65 items" },
        { "a NumPy array of -1 numbers", "{'descr': '<u2', 'fortran_order': False, 'shape': (-1,), }",
          "items" },
        { "a NumPy array of 2^63 + 64 numbers",
          "{'descr': '<u2', 'fortran_order': False, 'shape': (9223372036854775872,), }", "items" },
        { "a NumPy header without a descr", "{'fortran_order': False, 'shape': (64,), }", "found {" },
        { "a NumPy header without a shape", "{'descr': '<u2', 'fortran_order': False, }", "found {" },
        { "a NumPy header of nothing", "", "expected a NumPy array" },
    };
    const char *dict = "{'descr': '<u2', 'fortran_order': False, 'shape': (64,), }";
    const char *train = "--steps 1 --batch 1 --out out --data";
    write_numpy("x.npy", 1, dict, 118, 2);
    int code = train_olmo("%s %s x.npy", tiny_model, train);
    check(went_well(code), "a NumPy file without a fault trains: %.30s", last_line(said));
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        write_numpy("x.npy", 1, rows[i].dict, 118, 2);
        refuses(rows[i].what, "x.npy", rows[i].says, "%s %s x.npy", tiny_model, train);
    }
    write_numpy("x.npy", 9, dict, 118, 2);
    refuses("a NumPy header of version 9", "x.npy", "damaged", "%s %s x.npy", tiny_model, train);
    write_numpy("x.npy", 0, dict, 118, 2);
    refuses("a NumPy header of version 0", "x.npy", "damaged", "%s %s x.npy", tiny_model, train);
    write_numpy("x.npy", 1, dict, 118, 2);
    CHECK(truncate("x.npy", 60) == 0, "x.npy: %s", strerror(errno));
    refuses("a NumPy header that is cut off", "x.npy", "cut off", "%s %s x.npy", tiny_model, train);
    write_numpy("x.npy", 1, dict, 2000, 2);
    refuses("a NumPy header of 2000 bytes", "x.npy", "damaged", "%s %s x.npy", tiny_model, train);

    static const struct { const char *what, *file; size_t size; const char *flags, *says; } files[] = {
        { "an empty token file", "x.bin", 0, "", "empty" },
        { "an odd number of bytes", "x.bin", 1001, "", "no whole number" },
        { "1002 bytes of 4-byte tokens", "x.bin", 1002, "--dtype uint32", "no whole number" },
        { "fewer tokens than a window", "x.bin", 30, "", "fewer than one window" },
        { "fewer characters than a window", "x.txt", 15, "--vocab 256", "fewer than one window" },
        { "zeros under a name that says nothing", "x.dat", 1000, "", "what is in it" },
        { "zeros under a name without an end", "x", 1000, "", "what is in it" },
    };
    char *zeros = (char *)allocate(4096, 1, "a test");
    for (size_t i = 0; i < sizeof files/sizeof *files; i++) {
        write_bytes(files[i].file, zeros, files[i].size);
        refuses(files[i].what, files[i].file, files[i].says, "%s %s %s %s", tiny_model, train,
                files[i].file, files[i].flags);
    }
    refuses("no token file", "gone.bin", "cannot be read", "%s %s gone.bin", tiny_model, train);
    refuses("no second token file", "gone.bin", "cannot be read", "%s %s ids.bin,gone.bin", tiny_model,
            train);
    refuses("nothing between two commas", "expected paths", "single commas", "%s %s ids.bin,,ids.bin",
            tiny_model, train);
    make_directory("folder.bin");
    refuses("a directory in place of a token file", "folder.bin", "expected a file", "%s %s folder.bin",
            tiny_model, train);
    CHECK(mkfifo("pipe.bin", 0666) == 0, "pipe.bin: %s", strerror(errno));
    refuses("a pipe in place of a token file", "pipe.bin", "expected a file", "%s %s pipe.bin",
            tiny_model, train);
    write_text("documents.jsonl",
               "{\"id\": \"a\", \"text\": \"One sunny day there was a fox on the moor.\"}\n");
    refuses("documents in place of tokens", "documents.jsonl", "data/tokenize", "%s %s documents.jsonl",
            tiny_model, train);
    system_or_die("mkdir a.jsonl && cp documents.jsonl documents.JSON && for i in 1 2 3 4 5 6 7 8; do "
                  "cat documents.jsonl; done > a.jsonl/text");
    refuses("documents, named in capitals", "documents.JSON", "JSON, not text",
            "%s --vocab 256 %s documents.JSON", tiny_model, train);
    code = train_olmo("%s --vocab 256 %s a.jsonl/text", tiny_model, train);
    check(went_well(code), "a text is none because of the directory it is in: %.60s", complained);
    write_tokens("large.bin", 16*16, 1000);
    refuses("tokens outside the vocabulary", "large.bin", "vocabulary ends at 63", "%s %s large.bin",
            tiny_model, train);
    refuses("tokens of another width", "ids.bin", "vocabulary ends at 63",
            "%s %s ids.bin --dtype uint32", tiny_model, train);
    refuses("validation tokens outside the vocabulary", "large.bin", "vocabulary ends at 63",
            "%s %s ids.bin --val large.bin", tiny_model, train);
    check(!strstr(said, "[step="), "and that is said before the first step, not hours later");
    refuses("evaluation tokens outside the vocabulary", "large.bin", "vocabulary ends at 63",
            "%s %s ids.bin --eval-set large=large.bin", tiny_model, train);
    check(!strstr(said, "[step="), "and that as well");
    size_t size;
    // the last window but one, of 200: no batch of the first step
    char *late = slurp("ids.bin", &size);
    late[size - 17*2] = 64;
    write_bytes("late.bin", late, size);
    refuses("one training token outside the vocabulary", "late.bin", "token 3183 is 64",
            "%s %s few.bin,late.bin", tiny_model, train);
    check(!strstr(said, "[step="), "that, too, before the first step");
    release(late);
    // The first of several, far apart.
    FILE *sparse = open_to_write("sparse.bin");
    const long million = 1 << 20;
    for (int block = 3; block > 0; block--) {
        fseek(sparse, 2*million*block, SEEK_SET);
        fputc(64, sparse);
    }
    CHECK(fclose(sparse) == 0 && truncate("sparse.bin", 2*4*million) == 0, "sparse.bin: %s", strerror(errno));
    refuses("three tokens outside the vocabulary", "sparse.bin", "token 1048576 is 64",
            "%s %s sparse.bin --threads 1", tiny_model, train);
    unlink("sparse.bin");

    memset(zeros, 1, 4096);
    write_bytes("mask.bin", zeros, 200*16), write_bytes("short.bin", zeros, 200*16 - 1),
        write_numpy("wide.npy", 1, dict, 118, 2);
    write_tokens("128.bin", 128, 64);                        // as many as wide.npy has bytes
    code = train_olmo("%s %s ids.bin --label-mask mask.bin", tiny_model, train);
    check(went_well(code), "a mask without a fault: %.30s", last_line(said));
    numpy_versions(train);
    refuses("a mask that is too short", "short.bin", "3199", "%s %s ids.bin --label-mask short.bin",
            tiny_model, train);
    write_bytes("long.bin", zeros, 200*16 + 1);
    refuses("a mask that is too long", "long.bin", "3201", "%s %s ids.bin --label-mask long.bin",
            tiny_model, train);
    refuses("a mask of 2-byte numbers", "wide.npy", "one byte", "%s %s 128.bin --label-mask wide.npy",
            tiny_model, train);
    refuses("one mask for two files", "--label-mask", "one mask for each",
            "%s %s ids.bin,ids.bin --label-mask mask.bin", tiny_model, train);
    refuses("two masks for one file", "--label-mask", "one mask for each",
            "%s %s ids.bin --label-mask mask.bin,mask.bin", tiny_model, train);
    refuses("no mask", "gone.bin", "cannot be read", "%s %s ids.bin --label-mask gone.bin", tiny_model,
            train);
    memset(zeros, 0, 4096);
    write_bytes("mask.bin", zeros, 200*16);
    code = train_olmo("%s %s ids.bin --label-mask mask.bin", tiny_model, train);
    check(went_well(code) && strstr(complained, "note: step 1: no token of this batch is to be predicted"),
          "a batch without a label is said: %.60s", complained);
    // the last windows of ids.bin, behind the same mask
    char *held_out = replaced(tiny_model, "--val none", "");
    refuses("a mask of nothing but zeros", "masked", "predict", "%s %s ids.bin --label-mask mask.bin",
            held_out, train);
    check(!strstr(said, "[step="), "and that is said before the first step");
    release(held_out);
    release(zeros);

    foreign_tokens();
    static const char *const floors[] = { "", "low", "-1", "0", "nan", "inf" };
    for (size_t i = 0; i < sizeof floors/sizeof *floors; i++) {
        char what[80];
        snprintf(what, sizeof what, "a floor of `%s`", floors[i]);
        write_text("ids.bin.floor", floors[i]);
        refuses(what, "ids.bin.floor", "positive number", "%s %s ids.bin --val ids.bin", tiny_model, train);
    }
    unlink("ids.bin.floor");
    uint32_t high[64] = { 0x01000001 };
    write_bytes("high.bin", high, sizeof high);
    refuses("a token above 2^24", "high.bin", "vocabulary ends at 63",
            "%s --steps 1 --dtype uint32 --data high.bin", tiny_model);
}

// run/step2 is a checkpoint without a fault, except in the file that the row names.
static void hostile_checkpoints(void) {
    static const struct { const char *what, *find, *replace, *says; } rows[] = {
        { "a state that is cut off", "}", "", "not JSON" },
        { "a state without a step", "\"step\"", "\"stop\"", "step" },
        { "a state of a negative step", "\"step\": 2", "\"step\": -2", "step" },
        { "a state of step 1.5", "\"step\": 2", "\"step\": 1.5", "step" },
        { "a state of another step than its directory's", "\"step\": 2", "\"step\": 7", "step" },
        { "a state of epoch 1e300", "\"epoch\": 0", "\"epoch\": 1e300", "epoch" },
        { "a state without tokens", "\"tokens\": 128", "\"tokens\": null", "tokens" },
        { "a state of 1e300 tokens", "\"tokens\": 128", "\"tokens\": 1e300", "tokens" },
        { "a state behind the end of its epoch", "\"instance\": 8", "\"instance\": 999999", "instance" },
        { "a state of 1.5 windows", "\"instance\": 8", "\"instance\": 1.5", "instance" },
        { "a state of other data", "\"instances\": 200", "\"instances\": 201", "--resume" },
        { "a state of another seed", "\"seed\": 6198", "\"seed\": 6199", "--seed 6199" },
        { "a state whose data is a text", "\"data\": [\n  {", "\"data\": [\"\", {", "\"bytes\"" },
        { "a state whose --data is a number", "\"--data\": \"ids.bin\"", "\"--data\": 5",
          "expected a text \"--data\", found 5" },
        { "a state that keeps -1 checkpoints", "\"--keep\": 0", "\"--keep\": -1", "from 0 to" },
    };
    const char *resume = "--steps 3 --data ids.bin --out run --resume",
        *moments = "run/step2/optimizer.safetensors",
        *state = "run/step2/train.json";
    CHECK(went_well(train_olmo("%s --steps 2 --data ids.bin --out run", tiny_model)),
          "a test could not train: %s", complained);
    system_or_die("cp -r run/step2 sound");
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        edit_file(state, rows[i].find, rows[i].replace);
        refuses(rows[i].what, "", rows[i].says, "%s %s", tiny_model, resume);
        copy_file("sound/train.json", state);
        // where a test has failed
        remove_directory("run/step3"), remove_directory("run/step8");
    }
    unlink(state);
    refuses("no state", state, "cannot be read", "%s %s", tiny_model, resume);
    copy_file("sound/train.json", state);

    Parsed p = parse_weights(moments);
    char *header = replaced(p.header, "exp_avg.transformer.wte", "exp_avg.transformer.wpe");
    write_weights(moments, strlen(header), header, strlen(header), p.data, p.data_size);
    refuses("a moment of another name", moments, "exp_avg.transformer.wte.weight", "%s %s", tiny_model,
            resume);
    release(header), header = replaced(p.header, "[64,16]", "[16,64]");
    write_weights(moments, strlen(header), header, strlen(header), p.data, p.data_size);
    refuses("a moment of another shape", moments, "another shape", "%s %s", tiny_model, resume);
    release(header), header = replaced(p.header, "{\"__meta", "{\"exp_avg.more\":{\"dtype\":\"F32\","
                                       "\"shape\":[0],\"data_offsets\":[0,0]},\"__meta");
    write_weights(moments, strlen(header), header, strlen(header), p.data, p.data_size);
    refuses("a moment too many", moments, "expected 10 tensors, found 11", "%s %s", tiny_model, resume);
    release(header);
    write_bytes(moments, p.bytes, p.size - 4);
    refuses("moments that are cut off", moments, "cut off", "%s %s", tiny_model, resume);
    memcpy(p.data + p.data_size - 4, "\0\0\xc0\x7f", 4);
    write_bytes(moments, p.bytes, p.size);
    refuses("a moment that is NaN", moments, "nan", "%s %s", tiny_model, resume);
    // -1: its square root would be NaN, and so would the weight
    memcpy(p.data + p.data_size - 4, "\0\0\x80\xbf", 4);
    write_bytes(moments, p.bytes, p.size);
    refuses("a second moment that is negative", moments, "-1", "%s %s", tiny_model, resume);
    remove_directory("run/step3");
    unlink(moments);
    refuses("no moments", moments, "cannot be read", "%s %s", tiny_model, resume);
    release(p.bytes), release(p.header);
    copy_file("sound/optimizer.safetensors", moments);

    unlink("run/step2/model.safetensors");
    refuses("no weights in a checkpoint", "run/step2", "found neither", "%s %s", tiny_model, resume);
    copy_file("sound/model.safetensors", "run/step2/model.safetensors");
    write_text("run/step5", "not a directory");
    refuses("a file in place of a checkpoint", "run/step5", "cannot be read", "%s %s", tiny_model, resume);
    unlink("run/step5");
    // A resumed run keeps the lines of metrics.jsonl: what it cannot read, it must not replace.
    rename("run/metrics.jsonl", "sound/metrics.jsonl");
    CHECK(mkfifo("run/metrics.jsonl", 0666) == 0, "run/metrics.jsonl: %s", strerror(errno));
    refuses("metrics that are no file", "run/metrics.jsonl", "expected a file", "%s %s", tiny_model, resume);
    unlink("run/metrics.jsonl");
    if (symlink("/proc/self/mem", "run/metrics.jsonl") == 0 && file_exists("run/metrics.jsonl")) {
        const int code = train_olmo("%s %s", tiny_model, resume);     // its first byte is at no one's address
        check(code == 1 && error_lines() == 1 && strstr(complained, "run/metrics.jsonl: cannot be read")
              && !holds("run", "step3"), "metrics that cannot be read: code %d, %.80s", code, complained);
    }
    unlink("run/metrics.jsonl"), unlink("run/metrics.jsonl.tmp");
    rename("sound/metrics.jsonl", "run/metrics.jsonl");
    refuses("an export into a file", "ids.bin/copy.tmp", "cannot make this directory: Not a directory",
            "--load sound --export ids.bin/copy");
    refuses("a file in place of --out", "ids.bin: cannot be opened", "Not a directory",
            "%s %s --out ids.bin", tiny_model, resume);
    refuses("other data than the checkpoint's", "--resume", "not what is now in \"few.bin\"",
            "%s %s --data few.bin", tiny_model, resume);
    refuses("another seed than the checkpoint's", "--resume", "--seed 1", "%s %s --seed 1", tiny_model,
            resume);
    refuses("other sizes than the checkpoint's", "--d-model 32", "run/step2", "%s %s --d-model 32",
            tiny_model, resume);
    refuses("nothing to resume", "--resume", "holds no checkpoint",
            "%s --resume --data ids.bin --out nowhere", tiny_model);
    int code = train_olmo("%s %s", tiny_model, resume);
    check(went_well(code), "and the checkpoint without a fault goes on: %.30s", last_line(said));
    system_or_die("rm -rf run && mkdir run && mv sound run/step2.tmp");
    code = train_olmo("%s %s", tiny_model, resume);
    check(code == 1 && error_lines() == 1 && strstr(complained, "holds no checkpoint"),
          "a half-written stepN.tmp is not a checkpoint");
}

static void test_hostile_files(void) {
    enter_yard();
    CHECK(went_well(train_olmo("%s --steps 1 --data ids.bin --out made", tiny_model)),
          "a test could not train: %s", complained);
    system_or_die("mv made/step1 good && rm -rf made && cp -r good bad");
    int code = train_olmo("%s", load_bad);
    check(went_well(code), "a directory without a fault loads: %.*s", (int)strcspn(said, "\n"), said);
    Parsed good = parse_weights("good/model.safetensors");
    CHECK(good.data_size == 10240, "the offsets in these tests are those of another model");
    hostile_headers(&good);
    hostile_bytes(&good);
    hostile_numbers();
    hostile_configs();
    hostile_indices();
    foreign_directories(&good);
    hostile_tokens();
    floors_hold();
    shrinking_file(0), shrinking_file(1);
    hostile_checkpoints();
    release(good.bytes), release(good.header);
    leave_yard();
}

// ---- the command line ---------------------------------------------------------------------------
static void refused_flags(void) {
    static const struct { const char *flags, *names; } rows[] = {
        { "--frobnicate", "--frobnicate" }, { "stories.txt", "stories.txt" }, { "--step 3", "--step:" },
        { "--steps=x", "--steps x" }, { "--steps=", "--steps" }, { "-help", "-help" },
        { "--tied=1", "--tied" }, { "-h=1", "-h=1" }, { "=3", "=3" },
        { "''", "there is no such option" }, { "--steps", "--steps" }, { "--steps ''", "--steps" },
        { "--steps x", "--steps" },
        { "--steps -1", "--steps" }, { "--steps 1.5", "--steps" }, { "--steps 3x", "--steps" },
        { "--steps 2147483648", "--steps" },
        { "--steps 99999999999999999999", "--steps" }, { "--steps --eval", "--steps --eval" },
        { "--lr", "--lr" }, { "--lr ''", "--lr" },
        { "--lr fast", "--lr" }, { "--lr -1", "--lr" }, { "--lr nan", "--lr" }, { "--lr inf", "--lr" },
        { "--lr 1e999", "--lr" },
        { "--tied --untied", "--tied and --untied" }, { "--resume --load good", "choose one" },
        { "--resume --out nowhere", "--resume" },
        { "--load good --d-model 32", "--d-model 32" }, { "--load good --n-layers 2", "--n-layers 2" },
        { "--load good --n-heads 4", "--n-heads 4" },
        { "--load good --n-kv-heads 2", "--n-kv-heads 2" },
        { "--load good --mlp-hidden 64", "--mlp-hidden 64" },
        { "--load good --vocab 65", "--vocab 65" }, { "--load good --rope-theta 500", "--rope-theta 500" },
        { "--load good --clip-qkv 8", "--clip-qkv 8" },
        { "--load good --untied", "--untied does not fit the model in good, whose head is the embedding" },
        { "--load good --init normal", "--init is for new weights; these come from good" },
        { "--load nowhere", "nowhere" },
        { "--load ''", "config.json" }, { "--model 13b", "--model 13b" }, { "--model ''", "--model" },
        { "--schedule step", "--schedule step" },
        { "--init zero", "--init zero" }, { "--denominator some", "--denominator some" },
        { "--dtype int8", "--dtype int8" },
        { "--batch 0", "--batch 0" }, { "--micro-batch 0", "--micro-batch 0" },
        { "--micro-batch 2000000000", "--micro-batch 2000000000" },
        { "--batch 201", "--batch 201" }, { "--beta1 1", "--beta1 1" }, { "--beta2 2", "--beta2 2" },
        { "--generate 1 --top-p 0", "--top-p 0" },
        { "--generate 1 --top-p 1.5", "--top-p 1.5" },
        { "--generate 1 --temperature -1", "--temperature" }, { "--generate 1 --top-k -1", "--top-k" },
        { "--d-model 0", "d_model 0" }, { "--d-model 15", "d_model 15" },
        { "--d-model 131072", "d_model 131072" }, { "--n-heads 0", "0 heads" },
        { "--n-heads 16 --n-kv-heads 16", "odd" }, { "--n-kv-heads 3", "3 key/value heads" },
        { "--n-layers 0", "0 layers" },
        { "--n-layers 129", "129 layers" }, { "--mlp-hidden 0", "mlp_hidden 0" },
        { "--mlp-hidden 31", "mlp_hidden 31" },
        { "--mlp-hidden 2147483646", "mlp_hidden 2147483646" }, { "--vocab 0", "vocabulary of 0" },
        { "--vocab 2000000000", "vocabulary of 2000000000" }, { "--seq-len 0", "sequence length of 0" },
        { "--seq-len 2000000000", "sequence length of 2000000000" },
        { "--eos 64", "eos id 64" }, { "--rope-theta 0", "rope_theta 0" },
        { "--seq-len 1", "--seq-len 1: expected at least 2" },
        { "--generate 4 --prompt-ids 64", "--prompt-ids 64" },
        { "--generate 4 --prompt-ids -1", "--prompt-ids -1" },
        { "--generate 4 --prompt-ids ''", "--prompt-ids" },
        { "--generate 4 --prompt-ids 1,,2", "--prompt-ids" },
        { "--generate 4 --prompt-ids 1,2,", "--prompt-ids" },
        { "--generate 4 --prompt-ids '1 2'", "--prompt-ids" },
        { "--generate 4 --prompt-ids one", "--prompt-ids one" },
        { "--generate 4 --prompt-ids 99999999999999999999", "--prompt-ids" },
        { "--generate 4 --prompt-ids 4294967297", "--prompt-ids" },
        { "--generate 4 --prompt-ids 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "--prompt-ids" },
        { "--generate 4 --prompt One", "--prompt" },
        { "--generate 4 --prompt ''", "--prompt" }, { "--eval --val none", "no validation data; give --val" },
        { "--recompute none", "--recompute and" },
        { "--export copy --export-dtype fp8", "--export-dtype fp8" },
        { "--export copy --shard-mb -1", "--shard-mb" }, { "--data ids.bin,", "--data" },
        { "--data ''", "--data" }, { "--eval-set =few.bin", "--eval-set =few.bin: expected a short name" },
        { "--eval-set few=", "--eval-set few=: expected NAME=PATH" },
        { "--eval-set =", "--eval-set =: expected NAME=PATH" },
        { "--eval-set few.bin", "--eval-set few.bin: expected NAME=PATH" },
        { "--eval-set 'a b=few.bin'", "--eval-set a b=few.bin: expected a short name" },
        { "--eval-set a23456789012345678901234567890123456789012345678901234567890123_4=few.bin",
          "_4=few.bin: expected a short name" },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        const char *flags = rows[i].flags;
        int loads = strstr(flags, "--load") || strstr(flags, "--resume");
        int eval = strstr(flags, "--eval") != NULL;
        int instead = strstr(flags, "--generate") || eval || strstr(flags, "--export");
        int data = strstr(flags, "--data") || (instead && !eval);
        refuses(flags, rows[i].names, "", "%s %s %s %s", loads ? "" : tiny_model, instead ? "" : "--steps 1",
                data ? "" : "--data ids.bin", flags);
    }
    refuses("epochs of more steps than there are", "--epochs 2147483647", "steps are more than 2147483647",
            "%s --data ids.bin --epochs 2147483647", tiny_model);
    check(!file_exists("copy") && !file_exists("out"), "and none of these has made a directory");
}

// The hash, and every line of metrics.jsonl. out/step6 is what this run leaves.
static void promised_training_output(void) {
    static const char *const keys[] = { "step", "train/CrossEntropyLoss", "train/ZLoss",
                                        "optim/total_grad_norm", "optim/learning_rate_group0",
                                        "throughput/total_tokens" };
    char hash[64] = "";
    int code = train_olmo("%s --steps 6 --eval-every 3 --val few.bin --data ids.bin", tiny_model),
        lines = 0, sound = 1, evals = 0;
    check(went_well(code) && strstr(said, "\nsaved out/step6\n")
          && sscanf(last_line(said), "params hash 0x%16[0-9a-f]", hash) == 1 && strlen(hash) == 16
          && strlen(last_line(said)) == 31, "a training run's last line is its hash: %.30s",
          last_line(said));
    check(strstr(said, "tied head, T 16\n") && !strstr(said, "untied"),
          "nothing is clipped, the head is tied");
    char *metrics = slurp("out/metrics.jsonl", NULL);
    for (char *line = metrics, *next; line && *line; line = next, lines++) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0; else sound = 0;
        const char *end = json_skip(line, 0);
        sound &= *line == '{' && end && !*end;
        for (size_t i = 0; sound && i < sizeof keys/sizeof *keys; i++)
            sound &= json_get(line, keys[i]) != NULL;
        if (sound) sound &= (int)json_number(line, "metrics.jsonl", "step", 0, 100, NAN) == lines + 1;
        if (sound)
            sound &= (int)json_number(line, "metrics.jsonl", "throughput/total_tokens", 0, 1e6, NAN)
            == 64*(lines + 1);
        if (sound) evals += json_get(line, "eval/validation/CrossEntropyLoss") != NULL;
    }
    release(metrics);
    check(sound && lines == 6 && evals == 2,
          "metrics.jsonl has one JSON object a step, with every key that is promised, and two validations");
}

static void promised_answers(void) {
    static const char *const options[] = {                   // DESIGN section 10
        "--model", "--load", "--d-model", "--n-layers", "--n-heads", "--n-kv-heads", "--mlp-hidden",
        "--vocab", "--seq-len", "--rope-theta",
        "--clip-qkv", "--eos", "--tied", "--untied", "--init", "--data", "--val", "--tokenizer",
        "--label-mask", "--dtype", "--steps", "--batch",
        "--micro-batch", "--seed", "--recipe", "--epochs",
        "--lr", "--schedule", "--warmup", "--final-lr", "--weight-decay", "--beta1", "--beta2", "--eps",
        "--decay-embeddings", "--clip",
        "--clip-warmup-steps", "--clip-warmup-factor", "--z-loss", "--denominator", "--threads",
        "--gpus", "--shard", "--out", "--save-every", "--eval-every",
        "--sample-every", "--keep", "--no-save", "--recompute", "--offload-optimizer", "--resume",
        "--eval", "--generate", "--prompt", "--prompt-ids",
        "--temperature", "--top-k", "--top-p", "--help", "--version", "--energy", "--watts", "--pue",
        "--carbon-intensity", "--peak-tflops",
    };
    char missing[1024] = "";
    int code = train_olmo("--help");
    for (size_t i = 0; i < sizeof options/sizeof *options; i++) {
        char entry[40];
        snprintf(entry, sizeof entry, "\n  %s ", options[i]);
        if (!strstr(said, entry)) strcat(strcat(missing, " "), options[i]);
    }
    check(went_well(code) && !*missing, "--help lists all %zu options%s%s", sizeof options/sizeof *options,
          *missing ? ", but not" : "", missing);
    // lines beyond column 100; and those that end before they must
    int wide = 0, early = 0, column;
    for (const char *line = said, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        column = (int)(next - line), next += *next == '\n';
        if (strncmp(line, "  --", 4) && strncmp(line, "   ", 3)) continue;
        wide += column > 100;
        if (strncmp(next, "   ", 3)) continue;
        const char *word = next + strspn(next, " "), *end = word + strcspn(word, " \n");
        early += column + 1 + (end - word) <= 100 && !(*end == ' ' && end[1] == '[') && *end != '\n';
        early += word - next != 28;
    }
    check(!wide && !early && strstr(said, "\n  --steps N                 updates in all [3500]\n")
          && strstr(said, "\n  --lr X                    peak learning rate [0.006]\n")
          && strstr(said, "\n  --tied                    the head is") && strstr(said, "\n  --load TEXT  ")
          && strstr(said, " to the peak to 0 [linear]\n") && strstr(said, "\n\ntraining\n  --recipe TEXT "),
          "--help is set in columns, with the defaults behind: %d lines too long, %d too short", wide,
          early);
    check(strstr(said, "In brackets: the values of --model tiny.\n\nPresets (--model):\n  tiny  ")
          && strstr(said, "Fine-tuning: --load DIR") && !strncmp(said, "usage: train_olmo ", 18),
          "--help names the presets, and how to fine-tune");
    // ... with the values of the preset that is named
    code = train_olmo("--help --model 7b-0424");
    check(went_well(code) && strstr(said, "width of the residual stream [4096]")
          && strstr(said, "the values of --model 7b-0424"),
          "--help --model 7b-0424 has that model's values");
    code = train_olmo("--version");
    check(went_well(code) && strstr(said, "OLMo"), "--version: %.*s", (int)strcspn(said, "\n"), said);

    double loss, perplexity;
    unsigned long long tokens;
    int length = 0;
    code = train_olmo("--load good --eval --val few.bin");
    sscanf(said, "val loss %lf perplexity %lf tokens %llu\n%n", &loss, &perplexity, &tokens, &length);
    check(went_well(code) && length == (int)strlen(said) && length && tokens == 30*15
          && fabs(exp(loss)/perplexity - 1) < 1e-6, "--eval prints: %.*s", length - 1, said);

    code = train_olmo("--load good --generate 5 --prompt-ids 1,2,3 --seed 7");
    int ids[5],
        n = sscanf(last_line(said), "%d,%d,%d,%d,%d\n%n", ids, ids + 1, ids + 2, ids + 3, ids + 4,
                   &length);
    char first[64];
    snprintf(first, sizeof first, "%s", last_line(said));
    for (int i = 0; i < n; i++) n = ids[i] >= 0 && ids[i] < 64 ? n : 0;
    check(went_well(code) && n == 5 && length == (int)strlen(first),
          "--prompt-ids prints the new ids alone: %.*s", (int)strcspn(first, "\n"), first);
    code = train_olmo("--load good --generate 5 --prompt-ids 1,2,3 --seed 7");
    check(went_well(code) && !strcmp(first, last_line(said)), "the same seed, the same ids");
    code = train_olmo("--load good --generate 2 --prompt-ids 1 --seq-len 8 --eos 5");
    check(went_well(code), "a loaded model may get another window, and another end of documents: %s",
          complained);
    code = train_olmo("--load good --generate 20 --prompt-ids 1,2,3");
    check(went_well(code) && strstr(complained, "13 new tokens"),
          "what does not fit into --seq-len is noted");
    code = train_olmo("--load good --generate 13 --prompt-ids 1,2,3");
    check(went_well(code) && !strstr(complained, "new tokens"), "what just fits is not");
    code = train_olmo("--load good --generate 2 --prompt-ids 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16");
    check(went_well(code) && strstr(complained, "only 0 new tokens") && !strcmp(said, "\n"),
          "a prompt may fill --seq-len");
}

// What is not plainly a request to train must not train, nor move an earlier run aside.
static void plain_requests(void) {
    static const struct { const char *flags, *names; } rows[] = {
        { "--prompt One", "--generate" }, { "--prompt-ids 1", "--generate" },
        { "--generate 0", "--generate 0" },
        { "--prompt One --generate 0", "--generate" }, { "--prompt One --sample-every 0", "--generate" },
        { "--temperature 0", "--generate" }, { "--top-k 3", "--generate" }, { "--top-p 0.5", "--generate" },
        { "--export-dtype bf16", "--export DIR" }, { "--shard-mb 5", "--export DIR" },
        { "--resume --eval", "--resume is for training" },
        { "--resume --generate 3", "--resume is for training" },
        { "--sample-every 1 --prompt a --prompt-ids 1", "only one" },
        { "--epochs 1", "only one" }, { "--generate 3", "--steps is for training" },
        { "--eval --val few.bin", "--eval is done instead" },
        { "--export copy", "two commands" }, { "--watts 5", "--energy beside it" },
        { "--pue 1.1", "--energy beside it" },
        { "--carbon-intensity 0.6", "--energy beside it" },
        { "--energy --eval", "--energy is for training" },
    };
    CHECK(went_well(train_olmo("%s --steps 1 --data ids.bin", tiny_model)),
          "a test could not train: %s", complained);
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++)
        refuses(rows[i].flags, rows[i].names, "", "%s --steps 1 --data ids.bin %s",
                strstr(rows[i].flags,
                       "resume") ? ""
                       : "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --vocab 64 --seq-len "
                         "16 --batch 4", rows[i].flags);
    check(newest_checkpoint("out") == 1 && !file_exists("out.1"),
          "and the earlier run is still where it was");
    system_or_die("rm -rf out");

    int code = train_olmo("-h"), same;
    char *help = said;
    said = NULL;
    same = went_well(code) && went_well(train_olmo("--help")) && !strcmp(help, said);
    check(same, "-h is --help");
    release(help);
    code = train_olmo("%s --steps=2 --batch=3 --data=ids.bin --out=equals", tiny_model);
    check(went_well(code) && newest_checkpoint("equals") == 2, "--option=value: code %d, %.40s",
          code, complained);
    code = train_olmo("%s --steps 1 --data ids.bin --out sampled --prompt-ids 1,2 --sample-every 1",
                      tiny_model);
    check(went_well(code), "--prompt-ids with --sample-every trains: %s", complained);
}

// A run that is said to take 1000 W: what it prints and what metrics.jsonl has fit together, and
// --resume goes on with it.
static void energy_of_a_run(void) {
    double energy, power, hours, mass, total = 0, begun = seconds();
    int code =
        train_olmo("%s --steps 3 --data ids.bin --out run --energy --watts 1000 --pue 1.5 "
                   "--carbon-intensity 0.4 --peak-tflops 2", tiny_model);
    const double took = seconds() - begun;
    const char *line = strstr(said, "\nenergy ");
    const int found = line ? sscanf(line,
                                    "\nenergy %lf kWh: %lf W for %lf hours, by --watts; %lf kg CO2e "
                                    "(PUE 1.5, 0.4 kg per kWh)\nparams hash", &energy, &power, &hours,
                                    &mass) : 0;
    check(went_well(code) && found == 4 && fabs(power/1000 - 1) < 1e-4 && fabs(energy/hours - 1) < 1e-4
          && hours > 0 && 3600*hours < took && fabs(mass/(energy*1.5*0.4) - 1) < 1e-4,
          "--energy: the last line but one is %.90s", line ? line + 1 : complained);
    check(strstr(said, " MFU(PaLM)=") && strstr(said, " MFU(causal)=")
          && strstr(said, " watts=1000.0 eta="), "and each step has its power and MFU");
    char *metrics = slurp("run/metrics.jsonl", NULL);
    int fine = 1, steps = 0;
    for (char *at = metrics; at && *at; at += strcspn(at, "\n") + 1, steps++) {
        const double so_far = json_number(at, "metrics.jsonl", "energy/kWh", 0, 1, NAN);
        fine &= so_far > total
            && fabs(json_number(at, "metrics.jsonl", "energy/watts", 0, 1e4, NAN)/1000 - 1) < 1e-6
            && fabs(json_number(at, "metrics.jsonl", "energy/kg_CO2e", 0, 1, NAN)/(0.6*so_far) - 1)
            < 1e-6 && json_number(at, "metrics.jsonl", "throughput/device/mfu_palm", 0, 1, NAN) > 0;
        total = so_far;
    }
    check(fine && steps == 3 && total <= energy, "metrics.jsonl has them step by step: %.6g kWh", total);
    release(metrics);
    code = train_olmo("--out run --resume --steps 4");
    check(went_well(code) && strstr(said, " W for ") && strstr(said, "(PUE 1.5, 0.4 kg per kWh)"),
          "--resume measures on");
    code = train_olmo("%s --steps 1 --data ids.bin --out plain", tiny_model);
    check(went_well(code) && !strstr(said, "MFU") && !strstr(said, "energy"),
          "without being asked a processor's run says nothing of it");
    system_or_die("rm -rf run plain");
}

// Weights that have learned already are trained further by a recipe for that, and it is said which.
static void fine_tuning(void) {
    char hash[64];
    CHECK(went_well(train_olmo("%s --steps 1 --data ids.bin", tiny_model)),
          "a test could not train: %s", complained);
    snprintf(hash, sizeof hash, "%s", last_line(said));
    int code = train_olmo("%s --steps 1 --data ids.bin", tiny_model);
    check(went_well(code) && !strcmp(last_line(said), hash) && newest_checkpoint("out.1") == 1,
          "without --load and --resume a run begins anew, whatever lies in its directory: %.40s",
          last_line(said));
    system_or_die("rm -rf out.1");
    code = train_olmo("--load out/latest --data ids.bin --val none --sample-every 0");
    check(went_well(code)
          && strstr(said,
                    "recipe sft: 3 steps of 128 sequences; finetune, 0 steps of warm-up to lr 2e-06"),
                    "--load: the recipe is that of fine-tuning, three times through 200 windows: %s%s",
                    complained, said);
    check(strstr(said,
                 "\nout held an earlier run: moved to out.1 (--resume would have gone on with it)\n")
                 != NULL, "it is said that an earlier run is moved aside");
    check(strstr(said, "starting from out.1/step1\n") && newest_checkpoint("out.1") == 1,
          "and the run that is moved aside has its new name");
    code = train_olmo("--load out/latest --data few.bin --val none --sample-every 0 --out fine");
    check(went_well(code) && strstr(said, "3 steps of 30 sequences")
          && strstr(said, "starting from out/latest\n"),
          "a batch is no larger than the data, where nobody asked for it");
    refuses("... but where somebody did", "--batch 31", "only 30 windows of 16",
            "--load out/latest --data few.bin --val none --sample-every 0 --out fine --batch 31");
    write_tokens("two.bin", 2*16, 64);
    refuses("... or of a model that is trained from its beginning", "--batch", "only 2 windows of 16",
            "--model tiny --vocab 64 --seq-len 16 --data two.bin --val none --sample-every 0 --out fine");
    code = train_olmo("--load out/latest --data ids.bin --val none --sample-every 0 --out fine "
                      "--batch 2 --epochs 1");
    check(went_well(code) && strstr(said, "100 steps of 2 sequences; finetune, 3 steps of warm-up"),
          "--epochs and --batch decide");
    code = train_olmo("--load out/latest --data ids.bin --val none --sample-every 0 --out fine "
                      "--steps 1 --lr 1e-3 --warmup 7");
    check(went_well(code)
          && strstr(said, "1 steps of 128 sequences; finetune, 7 steps of warm-up to lr 0.0010"),
          "so do the others");
    code = train_olmo("--load out/latest --data ids.bin --val none --sample-every 0 --out fine "
                      "--model tiny --steps 1 --batch 5");
    check(went_well(code)
          && strstr(said,
                    "recipe tiny: 1 steps of 5 sequences; linear, 100 steps of warm-up to lr 0.0060"),
                    "--model takes that preset's recipe");
    code = train_olmo("--load out/latest --data ids.bin --val none --sample-every 0 --model tiny --steps 0");
    check(went_well(code) && strstr(said, "starting from out/latest\n"), "no step moves nothing: %s", said);
    system_or_die("cp -r out outer");                       // whose name only begins like that of --out
    code = train_olmo("--load outer/latest --data ids.bin --val none --sample-every 0 --steps 1 --threads 2");
    check(went_well(code) && strstr(said, "starting from outer/latest\n") && strstr(said, ", 2 threads"),
          "a model beside --out is not moved: %s", complained);
    // What was trained last is what generates, unless another model is named.
    code = train_olmo("--generate 2 --prompt-ids 1");
    check(went_well(code) && strstr(complained, "model: out/step1\n"),
          "--generate takes the newest checkpoint: %s", complained);
    code = train_olmo("--model tiny --generate 2 --prompt-ids 1");
    check(went_well(code) && strstr(complained, "note: an untrained model"),
          "--model an untrained one: %s", complained);
    refuses("a recipe that is none", "--recipe dpo-x", "no such recipe",
            "--load out/latest --data ids.bin --recipe dpo-x");
    system_or_die("rm -rf out out.* outer fine");
}

// What can only fail late must not cost the hours before it.
static void late_failures(void) {
    int code = train_olmo("%s --steps 3 --sample-every 1 --data ids.bin --out ids", tiny_model);
    check(went_well(code) && newest_checkpoint("ids") == 3,
          "samples of a model without a text, and without a prompt, do not end the run: code %d%.80s",
          code, complained);
    code = train_olmo("%s --vocab 256 --seq-len 2 --steps 3 --sample-every 1 --data ids.bin --dtype "
                      "uint16 --out two", tiny_model);
    check(went_well(code) && newest_checkpoint("two") == 3,
          "nor does a model too short for the usual prompt: code %d%.80s", code, complained);

    // A run that diverges must leave neither a checkpoint that cannot be read, nor a line that is not JSON.
    static const char *const rates[] = { "1e3", "1e8", "1e20", "1e38", "1e300" };
    // with and without validation, which would notice
    for (size_t i = 0; i < 2*(sizeof rates/sizeof *rates); i++) {
        const char *rate = rates[i/2], *val = i % 2 ? "none" : "few.bin";
        code = train_olmo("%s --steps 4 --warmup 0 --schedule constant --save-every 1 --eval-every 1 "
                          "--data ids.bin --out diverged --val %s --lr %s", tiny_model, val, rate);
        int newest = newest_checkpoint("diverged"), ended = code == 0 || (code == 1 && error_lines() == 1);
        char *text = slurp("diverged/metrics.jsonl", NULL);
        int json = text != NULL;
        for (char *line = text; line && *line; line += strcspn(line, "\n") + 1) {
            const char *end = json_skip(line, 0);
            json &= end && *end == '\n';
        }
        release(text);
        int readable = newest < 0
            || went_well(train_olmo("--load diverged/step%d --export diverged/copy", newest));
        check(ended && json && readable,
              "--lr %s --val %s: code %d, %s; metrics.jsonl is %sJSON, and the checkpoint can%s be "
              "read", rate, val, code, code ? "stopped in time" : "to the end", json ? "" : "not ",
              readable ? "" : "not");
        system_or_die("rm -rf diverged");
    }
    // An earlier run is moved aside, not overwritten; however its directory is written.
    CHECK(went_well(train_olmo("%s --steps 1 --data ids.bin --out again", tiny_model)),
          "a test could not train: %s", complained);
    code = train_olmo("%s --steps 2 --data ids.bin --out again/", tiny_model);
    check(went_well(code) && newest_checkpoint("again") == 2 && newest_checkpoint("again.1") == 1,
          "an earlier run is moved to again.1: code %d%.80s", code, complained);
}

// ---- options ------------------------------------------------------------------------------------
// Every option of the table, once more: where its value must arrive, and a value that is no one's default.
typedef struct { const char *name; size_t at; const char *value; double number; } Arrival;
#define TO(field) offsetof(Options, field)
static const Arrival arrivals[] = {
    { "--model", TO(model), "1b", 0 }, { "--load", TO(load), "somewhere", 0 },
    { "--d-model", TO(config.d_model), "3", 3 },
    { "--n-layers", TO(config.n_layers), "5", 5 }, { "--n-heads", TO(config.n_heads), "6", 6 },
    { "--n-kv-heads", TO(config.n_kv_heads), "7", 7 }, { "--mlp-hidden", TO(config.mlp_hidden), "8", 8 },
    { "--vocab", TO(config.vocab), "9", 9 }, { "--seq-len", TO(config.seq_len), "10", 10 },
    { "--rope-theta", TO(config.rope_theta), "11.5", 11.5 },
    { "--clip-qkv", TO(config.clip_qkv), "12.5", 12.5 },
    { "--eos", TO(config.eos), "13", 13 }, { "--tied", TO(tied), NULL, 1 },
    { "--untied", TO(untied), NULL, 1 },
    { "--init", TO(init), "normal", 0 }, { "--data", TO(data), "a.bin", 0 }, { "--val", TO(val), "b.bin", 0 },
    { "--dpo", TO(dpo), "h.jsonl", 0 }, { "--dpo-beta", TO(dpo_beta), "0.4", 0.4 },
    { "--as-released", TO(as_released), NULL, 1 },
    { "--eval-set", TO(eval_sets), "v=v.bin", 0 }, { "--eval-tasks", TO(eval_tasks), "tasks", 0 },
    { "--tokenizer", TO(tokenizer), "c.json", 0 }, { "--label-mask", TO(label_mask), "d.bin", 0 },
    { "--dtype", TO(dtype), "uint32", 0 }, { "--recipe", TO(tuning), "sft", 0 },
    { "--steps", TO(recipe.steps), "14", 14 },
    { "--epochs", TO(epochs), "15", 15 }, { "--batch", TO(recipe.batch), "16", 16 },
    { "--micro-batch", TO(recipe.micro_batch), "17", 17 }, { "--seed", TO(seed), "18", 18 },
    { "--lr", TO(recipe.lr), "0.19", 0.19 },
    { "--schedule", TO(recipe.schedule), "max", 0 }, { "--warmup", TO(warmup), "20", 0 },
    { "--final-lr", TO(recipe.final_lr), "0.21", 0.21 },
    { "--weight-decay", TO(recipe.weight_decay), "0.22", 0.22 },
    { "--beta1", TO(recipe.beta1), "0.23", 0.23 }, { "--beta2", TO(recipe.beta2), "0.24", 0.24 },
    { "--eps", TO(recipe.eps), "0.25", 0.25 },
    { "--decay-embeddings", TO(recipe.decay_embeddings), NULL, 1 },
    { "--clip", TO(recipe.clip), "0.26", 0.26 },
    { "--clip-warmup-steps", TO(recipe.clip_warmup_steps), "27", 27 },
    { "--clip-warmup-factor", TO(recipe.clip_warmup_factor), "2.8", 2.8 },
    { "--z-loss", TO(config.z_loss), "0.29", 0.29 },
    { "--recompute", TO(saving.recompute), "block", 0 },
    { "--offload-optimizer", TO(saving.offload_optimizer), NULL, 1 },
    { "--denominator", TO(denominator), "all", 0 }, { "--threads", TO(threads), "30", 30 },
    { "--out", TO(out), "e", 0 },
    { "--save-every", TO(save_every), "31", 31 }, { "--keep", TO(keep), "32", 32 },
    { "--no-save", TO(no_save), NULL, 1 },
    { "--energy", TO(energy), NULL, 1 }, { "--watts", TO(watts), "40.5", 40.5 },
    { "--pue", TO(pue), "1.25", 1.25 },
    { "--carbon-intensity", TO(carbon_intensity), "0.41", 0.41 },
    { "--peak-tflops", TO(peak_tflops), "42.5", 42.5 },
    { "--eval-every", TO(eval_every), "33", 33 }, { "--sample-every", TO(sample_every), "34", 34 },
    { "--resume", TO(resume), NULL, 1 },
    { "--eval", TO(eval), NULL, 1 }, { "--chat", TO(chat), NULL, 1 },
    { "--generate", TO(generate), "35", 35 }, { "--prompt", TO(prompt), "f", 0 },
    { "--prompt-ids", TO(prompt_ids), "1,2", 0 }, { "--temperature", TO(sampling.temperature), "0.36", 0.36 },
    { "--gpus", TO(gpus), "40", 40 }, { "--shard", TO(shard), "gradients", 0 },
    { "--top-k", TO(sampling.top_k), "37", 37 }, { "--top-p", TO(sampling.top_p), "0.38", 0.38 },
    { "--export", TO(export_dir), "g", 0 },
    { "--export-dtype", TO(export_dtype), "bf16", 0 }, { "--shard-mb", TO(shard_mb), "39", 39 },
    { "--help", TO(help), NULL, 1 },
    { "--version", TO(version), NULL, 1 },
};
#undef TO
static const Arrival *arrival_of(const char *name) {
    for (size_t i = 0; i < sizeof arrivals/sizeof *arrivals; i++)
        if (!strcmp(arrivals[i].name, name)) return &arrivals[i];
    return NULL;
}

static void test_options(void) {
    static Options o, before;
    Option table[MAX_OPTIONS];
    int n = option_table(&o, table), count = 0;
    // What every preset has in common.
    const Options usual = options_of_preset("150m");
    check(usual.seed == 6198 && usual.eval_every == 500 && usual.save_every == 1000 && !usual.keep
          && usual.sample_every == 1000 && usual.sampling.temperature == 0.8 && !usual.sampling.top_k
          && usual.sampling.top_p == 1 && usual.dpo_beta == 0.1 && usual.pue == 1 && !usual.epochs
          && !strcmp(usual.init, "mitchell") && !strcmp(usual.denominator, "predicted")
          && !strcmp(usual.dtype, "uint16") && !strcmp(usual.export_dtype, "fp32")
          && !strcmp(usual.shard, "optimizer") && !strcmp(usual.out, "out") && !strcmp(usual.warmup, "5000"),
          "the defaults of all options that belong to no preset");
    for (int i = 0; i < n; i++) {
        if (is_heading(&table[i])) continue;
        const Arrival *a = arrival_of(table[i].name);
        if (!check(a != NULL, "%s has its row in `arrivals`", table[i].name)) continue;
        char *argv[] = { (char *)"train_olmo", (char *)a->name, (char *)a->value };
        char *field = (char *)&o + a->at;
        o = options_of_preset("tiny"), before = o;
        parse_options(table, n, a->value ? 3 : 2, argv, NULL, o.given);
        const char *text = is_text(&table[i]) ? *(const char **)field : NULL;
        size_t size = table[i].kind == NUMBER ? sizeof(double) : is_text(&table[i]) ? sizeof(char *)
            : sizeof(int);
        int arrived = table[i].kind == NUMBER ? *(double *)field == a->number
                    : is_text(&table[i]) ? text && !strcmp(text, a->value) : *(int *)field == (int)a->number;
        int changed = memcmp(field, (char *)&before + a->at, size) != 0,
            noted = o.given[0] == (void *)field && !o.given[1];
        memcpy(field, (char *)&before + a->at, size), memcpy(o.given, before.given, sizeof o.given);
        check(arrived && changed && noted && !memcmp(&o, &before, sizeof o),
              "%s %s arrives in its own field, and in no other", a->name, a->value ? a->value : "");
        count++;
    }
    check(count == (int)(sizeof arrivals/sizeof *arrivals), "there are %d options, each once", count);
    char *several[] = { (char *)"train_olmo", (char *)"--eval-set", (char *)"a=1,b=2",
                        (char *)"--eval-set=c=3", (char *)"--lr=1", (char *)"--lr=2" };
    const char *found[6];
    o = options_of_preset("tiny"), o.eval_sets = "of a checkpoint";
    check(parse_options(table, n, 6, several, NULL, o.given) == 0 && !strcmp(o.eval_sets, "a=1,b=2,c=3")
          && o.recipe.lr == 2 && o.given[0] == &o.eval_sets && o.given[1] == &o.recipe.lr
          && !o.given[2], "a list grows, and begins anew on each command line");
    char *mixed[] = { (char *)"train_olmo", (char *)"a", (char *)"--tied", (char *)"-",
                      (char *)"--seed", (char *)"3", (char *)"b" };
    check(parse_options(table, n, 7, mixed, found, NULL) == 3 && !strcmp(found[0], "a")
          && !strcmp(found[1], "-") && !strcmp(found[2], "b") && o.tied == 1 && o.seed == 3,
          "files among options");
}

// Which options may stand together, and which need another beside them. Before the bar: the options of the
// run that --resume goes on with.
static const struct { const char *flags, *says; } requests[] = {
    { "", NULL }, { "--prompt a --generate 3", NULL }, { "--prompt a --sample-every 5", NULL },
    { "--prompt a --chat", "--chat and --prompt" },
    { "--chat --data c.jsonl", "--data is for training, --chat is done" },
    { "--chat --dpo p.jsonl", "--dpo is for training, --chat is done" },
    { "--eval --data a.bin", NULL },
    { "--prompt a", "--generate N" }, { "--prompt a --sample-every 0", "--generate N" },
    { "--prompt-ids 1 --generate 3", NULL },
    { "--prompt-ids 1 --sample-every 5", NULL }, { "--prompt-ids 1", "--generate N" },
    { "--temperature 0 --chat", NULL },
    { "--temperature 0", "--generate N" }, { "--top-k 3 --sample-every 1", NULL },
    { "--top-k 3", "--generate N" },
    { "--top-p 0.5 --generate 2", NULL }, { "--top-p 0.5", "--generate N" },
    { "--export-dtype bf16 --export d", NULL },
    { "--export-dtype bf16", "--export DIR" }, { "--shard-mb 3 --export d", NULL },
    { "--shard-mb 3", "--export DIR" },
    { "--label-mask m --data a.bin", NULL }, { "--data a.bin | --resume --label-mask m", NULL },
    { "--dpo p.jsonl | --resume --label-mask m", "the files it belongs to" },
    { "--label-mask m", "the files it belongs to" },
    { "--dpo-beta 0.1 --dpo p.jsonl", NULL }, { "--dpo p.jsonl | --resume --dpo-beta 0.1", NULL },
    { "--data a.bin | --resume --dpo-beta 0.1", "--dpo PAIRS" },
    { "--dpo-beta 0.1", "--dpo PAIRS" },
    { "--as-released --dpo p.jsonl", NULL }, { "--dpo p.jsonl | --resume --as-released", NULL },
    { "--data c.jsonl | --resume --as-released", NULL },
    { "--data a.bin | --resume --as-released", "CHAT.jsonl" },
    { "--as-released --data c.jsonl", NULL }, { "--as-released --eval --val c.jsonl", NULL },
    { "--as-released --data c.bin", "CHAT.jsonl" }, { "--as-released", "CHAT.jsonl" },
    { "--watts 3 --energy", NULL },
    { "--energy | --resume --watts 3", NULL }, { "--data a.bin | --resume --watts 3", "--energy" },
    { "--watts 3", "--energy" }, { "--pue 2 --energy", NULL },
    { "--chat --generate 5 --prompt a", "--chat and --prompt" }, { "--chat --generate 5", NULL },
    { "--energy | --resume --pue 2", NULL }, { "--data a.bin | --resume --pue 2", "--energy" },
    { "--pue 2", "--energy" }, { "--carbon-intensity 1 --energy", NULL },
    { "--energy | --resume --carbon-intensity 1", NULL },
    { "--data a.bin | --resume --carbon-intensity 1", "--energy" },
    { "--sample-every 5 | --resume --top-k 3", NULL },
    { "--sample-every 0 | --resume --top-k 3", "--generate N" },
    { "--dpo p.jsonl | --resume --denominator all", "mean over pairs" },
    { "--dpo p.jsonl | --resume --z-loss 1", "DPO has none" },
    { "--dpo p.jsonl | --resume --data d.bin", "only one of them can be trained on; --resume goes on" },
    { "--carbon-intensity 1", "--energy" }, { "--generate 0", "at least one token" },
    { "--prompt a --prompt-ids 1 --generate 3", "only one" },
    { "--epochs 2", NULL }, { "--epochs 0", "at least one" }, { "--steps 2", NULL },
    { "--epochs 2 --steps 2", "only one" },
    { "--dpo p.jsonl", NULL },
    { "--dpo p.jsonl --data d.bin", "only one" }, { "--dpo p.jsonl --denominator all", "mean over pairs" },
    { "--dpo p.jsonl --z-loss 0", NULL }, { "--dpo p.jsonl --z-loss 1", "DPO has none" },
    { "--z-loss 1 --denominator all", NULL },
    { "--dpo p.jsonl --eval", "the same model" }, { "--tied", NULL }, { "--untied", NULL },
    { "--tied --untied", "only one" },
    { "--resume --load d", "choose one" }, { "--load d", NULL }, { "--resume", NULL },
    { "--resume --chat", "--chat is done" },
    { "--resume --generate 2", "--generate is done" }, { "--resume --eval", "--eval is done" },
    { "--resume --export d", "--export is done" },
    { "--eval --steps 3", "--eval is done" }, { "--eval --epochs 3", "--eval is done" },
    { "--chat --steps 3", "--chat is done" },
    { "--chat --data d.bin", "--chat is done" }, { "--generate 3 --data d.bin", "--generate is done" },
    { "--export d --dpo p.jsonl", "--export is done" }, { "--eval --data d.bin", NULL },
    { "--eval", NULL }, { "--chat --generate 3", NULL },
    { "--energy --generate 3", "--energy is for training" }, { "--energy", NULL },
};
static void request_of(int which) {
    static Options o;
    Option table[MAX_OPTIONS];
    char flags[256], *argv[16] = { (char *)"train_olmo" };
    int n = option_table(&o, table), argc = 1;
    snprintf(flags, sizeof flags, "%s", requests[which].flags);
    o = options_of_preset("tiny");
    for (char *word = strtok(flags, " "); word; word = strtok(NULL, " ")) {
        argv[argc++] = word;
        if (!strcmp(word, "|")) parse_options(table, n, argc - 1, argv, NULL, NULL), argc = 1;
    }
    parse_options(table, n, argc, argv, NULL, o.given);
    check_command(&o), check_served(&o), check_together(&o);
}
static void test_requests(void) {
    int fine = 1;
    for (int i = 0; i < (int)(sizeof requests/sizeof *requests); i++) {
        if (!requests[i].says) request_of(i);
        else if (!dies(request_of, i, requests[i].says))
            fine = check(0, "%s: expected to be refused", requests[i].flags);
    }
    check(fine, "%zu requests: what is plain is taken, the rest refused", sizeof requests/sizeof *requests);
}

// As if a signal came in the middle of the first pass.
static void stopping_forward_tree(void *model, real *losses, real *zlosses, const int *tokens,
                                  const int *positions, const int *targets, int N) {
    asked_to_stop = asked_here = 1;
    cpu_device.forward_tree(model, losses, zlosses, tokens, positions, targets, N);
}

// What stands before an empty context: the id that ends a document; of bytes that have none, a newline.
static void test_evaluators(void) {
    static const struct { int eos, first; } rows[] = { { -1, '\n' }, { 0, 0 }, { 1, 1 }, { 255, 255 } };
    int fine = 1;
    system_or_die("mkdir -p build/test/asked/rc_0shot");
    write_text("build/test/asked/rc_0shot/config.json",
               "{\"task_name\": \"asked\", \"task_config\": {\"primary_metric\": \"acc_raw\"}}");
    write_text("build/test/asked/rc_0shot/requests.jsonl",
               "{\"request_type\": \"loglikelihood\", \"doc_id\": 0, \"idx\": 0, \"label\": 0, "
               "\"request\": {\"context\": \"\", \"continuation\": \"abc\"}}\n");
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        Run *run = (Run *)allocate(1, sizeof *run, "a run");
        run->o.config = config_of(16, 1, 2, 2, 32, 256, 8, 0, 0, 0), run->o.config.eos = rows[i].eos;
        run->o.eval_tasks = "build/test/asked", run->o.dtype = "uint16";
        open_evaluators(run);
        const Span *s = &run->tasks.task[0]->request[0].span;
        fine &= s->n == 4 && s->ids[0] == rows[i].first && s->ids[1] == 'a' && s->scored == 3;
        if (i == 0) {
            Device stopping = cpu_device;
            Metrics whole = { NULL, 0, 0 }, cut = { NULL, 0, 0 };
            stopping.forward_tree = stopping_forward_tree;
            Olmo *m = olmo_build(&run->o.config, 0);
            run->o.recipe.micro_batch = 1;
            run->model = cpu_model(m, &run->o.config), ask_evaluators(run, &whole);
            run->model.device = &stopping, ask_evaluators(run, &cut);
            asked_to_stop = asked_here = 0;
            check(whole.n == 7 && cut.n == 0, "a task that was not asked to its end has no metrics: %d",
                  cut.n);
            olmo_free(m), release(whole.list), release(cut.list);
        }
        release(run);
    }
    check(fine, "an empty context begins where a document has ended");
    system_or_die("rm -r build/test/asked");
}

// What a checkpoint keeps of a table, and what comes back: of its first `n` rows, not of one more.
static void test_kept_options(void) {
    int steps = 3, flag = 1, beyond = 7;
    double rate = 0.1;
    const char *text = "a\"b\\c\n", *none = NULL;
    const Option table[] = {
        { "forgotten", GROUP, NULL, "" }, { "--now", WHOLE, &beyond, "" },
        { "known", KEPT, NULL, "" }, { "--steps", WHOLE, &steps, "" }, { "--text", TEXT, &text, "" },
        { "--none", LIST, &none, "" },
        { "bits", DECISIVE, NULL, "" }, { "--rate", NUMBER, &rate, "" }, { "--flag", FLAG, &flag, "" },
        { "--beyond", WHOLE, &beyond, "" },
    };
    const int n = (int)(sizeof table/sizeof *table) - 1;
    char *written = NULL;
    size_t size;
    FILE *file = open_memstream(&written, &size);
    write_options(file, table, n);
    fclose(file);
    check(!strcmp(written,
                  "{\n  \"--steps\": 3,\n  \"--text\": \"a\\\"b\\\\c\\u000a\",\n  \"--rate\": "
                  "0.10000000000000001,\n  \"--flag\": 1}"), "the options that a checkpoint keeps: %s",
                  written);
    check(keeping(&table[1]) == GROUP && keeping(&table[3]) == KEPT && keeping(&table[8]) == DECISIVE,
          "which of them --resume knows");
    const char *back =
        "{\"--now\": 9, \"--steps\": 5, \"--text\": \"d\\ne\", \"--none\": \"f\", \"--rate\": 0.25, "
        "\"--flag\": 0, \"--beyond\": 9}";
    read_options(back, "a test", table, n);
    check(steps == 5 && !strcmp(text, "d\ne") && none && !strcmp(none, "f") && rate == 0.25 && flag == 0
          && beyond == 7, "and what comes back of them, and nothing else");
    steps = -1;                                     // an option whose default is none
    read_options("{\"--steps\": -1}", "a test", table, n);
    check(steps == -1 && rate == 0.25,
          "-1 is kept, where it is the default; what is not there stays as it was");
    free(written);
}

// Each option that shapes the training changes its result, to one that no other option gives; the
// others do not change it.
static void options_have_effects(void) {
    static const char *const shaping[] = {
        "", "--d-model 20", "--n-layers 2", "--n-heads 4", "--n-kv-heads 2", "--mlp-hidden 34",
        "--vocab 65", "--seq-len 8", "--rope-theta 77",
        "--clip-qkv 0.01", "--untied", "--init normal", "--init full_megatron", "--label-mask mask.bin",
        "--batch 3", "--seed 7", "--steps 6",
        "--lr 0.002", "--schedule cosine", "--warmup 3", "--final-lr 0.5", "--weight-decay 0.3",
        "--beta1 0.7", "--beta2 0.7",
        "--eps 1e-3", "--decay-embeddings", "--clip 0.02",
        "--clip 0.02 --clip-warmup-steps 2 --clip-warmup-factor 3",
        "--clip 0.02 --clip-warmup-steps 3 --clip-warmup-factor 3",
        "--clip 0.02 --clip-warmup-steps 2 --clip-warmup-factor 4",
        "--z-loss 0.01", "--denominator all", "--data few.bin", "--dtype uint32 --data wide.bin",
    };
    static const char *const neutral[] = {
        "--threads 2", "--micro-batch 1", "--out elsewhere", "--save-every 1", "--keep 1", "--no-save",
        "--eval-every 1 --val few.bin",
        "--sample-every 1", "--eos 3", "--temperature 0.1 --top-k 3 --top-p 0.5 --sample-every 2",
        "--dtype uint16", "--init mitchell",
        "--n-kv-heads 1", "--tied", "--seed 6198", "--model tiny", "--micro-batch 67108863", "--threads 1",
        "--eval-set a2345678901234567890123456789012345678901234567890123456789_-AZ=few.bin",
    };
    enum { N = sizeof shaping/sizeof *shaping };
    char hash[N][32], clash[256] = "";
    uint32_t wide[200*16];
    unsigned char mask[200*16];
    for (int i = 0; i < 200*16; i++) wide[i] = (uint32_t)(i*i % 64), mask[i] = i % 3 > 0;
    write_bytes("wide.bin", wide, sizeof wide), write_bytes("mask.bin", mask, sizeof mask);
    for (int i = 0; i < N; i++) {
        int code = train_olmo("%s --steps 5 --lr 0.01 --data ids.bin --no-save %s", tiny_model, shaping[i]);
        CHECK(went_well(code), "a test could not train with %s: %s", shaping[i], complained);
        snprintf(hash[i], sizeof hash[i], "%s", last_line(said));
        for (int k = 0; k < i; k++)
            if (!strcmp(hash[i], hash[k]))
                snprintf(clash, sizeof clash, "`%s` and `%s`", shaping[k], shaping[i]);
    }
    check(!*clash, "%d ways to train, by one option each, end with as many results%s%s", N,
          *clash ? ", but not " : "", clash);
    for (size_t i = 0; i < sizeof neutral/sizeof *neutral; i++) {
        int code = train_olmo("%s --steps 5 --lr 0.01 --data ids.bin %s", tiny_model, neutral[i]);
        check(went_well(code) && !strcmp(last_line(said), hash[0]), "%s does not change the result",
              neutral[i]);
        system_or_die("rm -rf out out.* elsewhere");
    }
}

// ---- samples ------------------------------------------------------------------------------------
// What --generate prints, beside generate() on the same weights with the same numbers.
static void sampling_options(void) {
    static const Sampling how[] = { { 0.8, 1, 0 }, { 0.5, 1, 0 }, { 1.7, 1, 5 }, { 0.9, 0.3, 0 },
                                    { 1.3, 0.8, 6 }, { 0, 1, 0 } };
    Config c = config_read("good");
    Olmo *m = olmo_build(&c, 0);
    weights_read("good", cpu_model(m, &m->config));
    for (size_t i = 0; i < sizeof how/sizeof *how; i++) {
        int tokens[16] = { 5, 6, 7 };
        char expected[128] = "";
        generate(cpu_model(m, &c), tokens, 3, 13, how[i], 40 + i);
        for (int k = 3; k < 13; k++)
            sprintf(expected + strlen(expected), "%d%s", tokens[k], k < 12 ? "," : "\n");
        int code =
            train_olmo("--load good --generate 10 --prompt-ids 5,6,7 --seed %zu --temperature %g "
                       "--top-p %g --top-k %d", 40 + i, how[i].temperature, how[i].top_p, how[i].top_k);
        check(went_well(code) && !strcmp(last_line(said), expected),
              "--temperature %g --top-p %g --top-k %d arrive: %.*s", how[i].temperature, how[i].top_p,
              how[i].top_k, (int)strcspn(expected, "\n"), expected);
    }
    olmo_free(m);
    // Each sample of a training run has a seed of its own: --seed plus the step.
    char line[256], sample[200];
    CHECK(went_well(train_olmo("%s --steps 3 --save-every 1 --sample-every 1 --seed 11 --data "
                               "ids.bin --out sampled", tiny_model)), "a test could not train: %s",
                               complained);
    const char *at = said;
    for (int step = 1; step <= 3; step++) {
        at = strstr(at, "\n    ");
        CHECK(at, "a run with --sample-every 1 printed no sample of step %d", step);
        snprintf(sample, sizeof sample, "%.*s", (int)strcspn(at + 5, "\n"), at + 5);
        char *rest = (char *)allocate(strlen(at), 1, "a test");
        strcpy(rest, at + 5);
        int code = train_olmo("--load sampled/step%d --generate 15 --prompt-ids 0 --seed %d", step,
                              11 + step);
        snprintf(line, sizeof line, "%s\n", sample);
        check(went_well(code) && !strcmp(last_line(said), line),
              "the sample of step %d is drawn with seed %d: %s", step, 11 + step, sample);
        release(said), said = rest, at = rest;
    }
    system_or_die("rm -rf sampled");
}

// A model that says what it is told: after byte chain[i] comes chain[i+1]. Without layers that do
// anything, x is the embedding of the last byte; byte b has a channel of its own there, and its
// successor's row of the head reads that channel.
static void write_chain(const char *directory, const unsigned char *chain, int n) {
    Config c = config_of(32, 1, 2, 2, 8, 256, 32, 0, 0, 0);
    Olmo *m = olmo_build(&c, 0);
    for (int i = 0; i + 1 < n; i++) {
        m->weight.wte[chain[i]*32 + i] = 1;
        m->weight.head[chain[i + 1]*32 + i] = 1;
    }
    make_directory(directory);
    hugging_face_write(directory, cpu_model(m, &c), NULL, F32, 0);
    olmo_free(m);
}
static void samples_as_text(void) {
    static const struct { const char *what, *chain, *prompt; int wanted; const char *prints; } rows[] = {
        { "bytes from 128 on, in the prompt and in the text", "\xc3\xa9\xe2\x82\xac!", "\xc3", 5,
          "\xc3\xa9\xe2\x82\xac!\n" },
        { "what a terminal would obey", "A\x1b[\x07\x7f\x08\r\x01Z", "A", 8, "A?[?????Z\n" },
        { "what it would obey in UTF-8", "A\xc2\x9fZ", "A", 3, "A?Z\n" },
        { "and the first that is a blank", "A\xc2\xa0Z", "A", 3, "A\xc2\xa0Z\n" },
        { "bytes that are no UTF-8", "A\xff\xe2\x82Z", "A", 4, "A\xef\xbf\xbd\xef\xbf\xbdZ\n" },
        { "tabs and line ends", "A\tB\nC", "A", 4, "A\tB\nC\n" },
        { "blanks at the end", "A\tB\n ", "A", 4, "A\tB\n" },
        { "nothing but blanks", "A \n", "A", 2, "A\n" },
        { "blanks of the prompt", "A xy", "A ", 2, "A xy\n" },
        { "blanks that end the prompt", "  \n", "A ", 1, "A \n" },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        system_or_die("rm -rf chain");
        write_chain("chain", (const unsigned char *)rows[i].chain, (int)strlen(rows[i].chain));
        int code = train_olmo("--load chain --generate %d --temperature 0 --prompt '%s'",
                              rows[i].wanted, rows[i].prompt);
            check(went_well(code) && !strcmp(said, rows[i].prints), "a sample with %s", rows[i].what);
    }
    // without a prompt: a usual beginning, or one letter of it
    for (int T = 3; T <= 4; T++) {
        int code =
            train_olmo("--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --seq-len %d "
                       "--generate 1 --temperature 0", T);
        check(went_well(code) && !strncmp(said, T == 3 ? "O" : "One", T == 3 ? 1 : 3)
              && (T > 3 || said[1] != 'n'), "a sample of %d tokens without a prompt: %.3s", T, said);
    }
    system_or_die("rm -rf chain");
}

// ---- the console --------------------------------------------------------------------------------
// The number behind a key in a line of metrics.jsonl.
static double metric_of(const char *line, const char *key) {
    return json_number(line, "metrics.jsonl", key, -1e300, 1e300, NAN);
}

// What a run prints, line by line: the sizes that were asked for, and the numbers that metrics.jsonl
// has with all digits.
static void console_tells_the_truth(void) {
    const struct { double x; const char *text; } figures[] = {
        { 0, "0" }, { 1e-5, "1e-05" }, { 0.00012, "0.0001" }, { 0.18614, "0.1861" }, { 1, "1.0000" },
        { 1.2345, "1.234" }, { 9.87654, "9.877" },
        { 10.5, "10.50" }, { 99.994, "99.99" }, { 100.25, "100.2" }, { 999.96, "1000.0" }, { 1000, "1000.0" },
        { 1234.4, "1,234" }, { 1234567, "1,234,567" },
        { 1e19, "1e+19" }, { -12.345, "-12.35" }, { INFINITY, "inf" },
    };
    char text[64];
    int fine = 1;
    for (size_t i = 0; i < sizeof figures/sizeof *figures; i++)
        fine &= !strcmp(figure(figures[i].x, text), figures[i].text);
    fine &= !strcmp(bytes_text(1234567, text), "1.2 MB")
        && !strcmp(bytes_text(999.9e6, text), "999.9 MB")
        && !strcmp(bytes_text(2.5e9, text), "2.50 GB");
    check(fine, "numbers as OLMo's console prints them");

    int code =
        train_olmo("--d-model 64 --n-layers 2 --n-heads 4 --n-kv-heads 2 --mlp-hidden 512 --vocab "
                   "300 --seq-len 64 --batch 4 --micro-batch 2 --sample-every 0 --untied --clip-qkv "
                   "0.3 --data ids.bin,few.bin --val ids.bin --steps 3 --warmup 2 --eval-every 2 --lr "
                   "0.006 --z-loss 1e-2 --out told");
    char *metrics = slurp("told/metrics.jsonl", NULL);
    CHECK(went_well(code) && metrics, "a test could not train: %s", complained);
    check(strstr(said,
                 "OLMo in C: 2 layers, d_model 64, 4 heads (2 key/value), mlp_hidden 512, vocabulary "
                 "300, untied head, T 64, clipped q, k, v\n")
                 && strstr(said, "\n161,280 parameters; device cpu, 1 thread"),
                 "the first lines have the sizes that were asked for");
    const char *memory = strstr(said, "\nmemory: ");
    double total = 0, sum = 0, part;
    int entries = 0;
    CHECK(memory && sscanf(memory, "\nmemory: %lf MB for passes of 2 x 64 tokens:", &total) == 1,
          "there is no line on memory in %s", said);
    const char *end = strchr(memory + 1, '\n');
    for (const char *at = strchr(memory + 9, ':'); at && at < end; at = strchr(at + 1, ','), entries++)
        if (sscanf(at + 1 + strcspn(at + 1, "0123456789"), "%lf", &part) == 1) sum += part;
    check(entries > 4 && fabs(total - sum) <= 0.05*(entries + 1) && total > 3*0.645,
          "memory: %.1f MB are the sum of their %d parts, %.1f", total, entries, sum);
    check(strstr(said, "data: 57 windows of 64 tokens in 2 files, 50 for validation\n")
          && strstr(said,
                    "recipe tiny: 3 steps of 4 sequences; linear, 2 steps of warm-up to lr 0.0060\n"),
                    "data and recipe are those that were asked for");

    // a tenth and half of the rest; the peak; a twentieth at the end
    const double rates[3] = { 0.0033, 0.006, 0.0003 };
    int steps = 0;
    fine = 1;
    for (char *line = metrics; *line; line += strcspn(line, "\n") + 1, steps++) {
        char expected[256], a[48], b[48], d[48], e[48];
        double loss = metric_of(line, "train/CrossEntropyLoss"),
            rate = metric_of(line, "optim/learning_rate_group0");
        fine &= fabs(metric_of(line, "train/Perplexity")/exp(loss) - 1) < 1e-7
            && near(rate, rates[steps], 1e-12);
        fine &= metric_of(line, "train/ZLoss") > 1e-2
            && metric_of(line, "train/ZLoss") < 1e-2*pow(log(300) + 20, 2);
        fine &= metric_of(line, "throughput/total_tokens") == 4*64*(steps + 1)
            && metric_of(line, "throughput/device/tokens_per_second") > 0;
        snprintf(expected, sizeof expected, "[step=%d/3,epoch=0] loss=%s", steps + 1, figure(loss, a));
        if (steps != 1 || strstr(said, "[step=2/3")) fine &= strstr(said, expected) != NULL;
        snprintf(expected, sizeof expected, " ppl=%s grad_norm=%s lr=%s tokens/s=", figure(exp(loss), a),
                 figure(metric_of(line, "optim/total_grad_norm"), b), figure(rate, d));
        fine &= strstr(said, expected) != NULL;
        const char *val = json_get(line, "eval/validation/CrossEntropyLoss");
        fine &= (val != NULL) == (steps > 0);
        if (!val) continue;
        double measured = metric_of(line, "eval/validation/CrossEntropyLoss");
        snprintf(expected, sizeof expected, "    eval/validation/CrossEntropyLoss=%s Perplexity=%s\n",
                 figure(measured, a), figure(exp(measured), e));
        fine &= strstr(said, expected)
            && fabs(metric_of(line, "eval/validation/Perplexity")/exp(measured) - 1) < 1e-7;
    }
    check(fine && steps == 3, "each step's line, and its line in metrics.jsonl, say the same");
    release(metrics);
    CHECK(went_well(train_olmo("--load told/step3 --eval --val ids.bin")),
          "a test could not evaluate: %s", complained);
    system_or_die("rm -rf told");
}

static void test_command_line(void) {
    enter_yard();
    promised_training_output();
    system_or_die("mv out/step6 good && rm -rf out");
    refused_flags();
    promised_answers();
    console_tells_the_truth();
    options_have_effects();
    sampling_options();
    samples_as_text();
    plain_requests();
    energy_of_a_run();
    fine_tuning();
    late_failures();
    leave_yard();
}

// ---- resume -------------------------------------------------------------------------------------
// The text of metrics.jsonl without the one number that is never the same.
static char *metrics_without_speed(const char *directory) {
    char path[PATH];
    path_join(path, directory, "metrics.jsonl");
    char *text = slurp(path, NULL), *out = text;
    const char *speed = "\"throughput/device/tokens_per_second\": ";
    if (!text) return NULL;
    for (const char *in = text; *in; ) {
        if (!strncmp(in, speed, strlen(speed))) in += strlen(speed), in += strcspn(in, ",}");
        if (!(*out++ = *in)) break;
        in++;
    }
    *out = 0;
    return text;
}
static int same_metrics(const char *a, const char *b) {
    char *x = metrics_without_speed(a), *y = metrics_without_speed(b);
    int same = x && y && strlen(x) > 100 && !strcmp(x, y);
    release(x), release(y);
    return same;
}
// Two checkpoints of the same moment; the options that no bit depends on may differ.
static int same_checkpoints(const char *a, const char *b) {
    char path[2][PATH], *text[2];
    for (int i = 0; i < 2; i++) {
        path_join(path[i], i ? b : a, "train.json");
        text[i] = slurp(path[i], NULL);
        char *options = text[i] ? strstr(text[i], "\"options\"") : NULL;
        if (options) *options = 0;
    }
    int same = text[0] && text[1] && strlen(text[0]) > 100 && !strcmp(text[0], text[1]);
    release(text[0]), release(text[1]);
    return same && same_in(a, b, "model.safetensors") && same_in(a, b, "optimizer.safetensors")
        && same_in(a, b, "config.json");
}

// The last sample of ids that a run has printed, or "none".
static void last_sample(char *out, size_t size) {
    snprintf(out, size, "none");
    for (const char *line = said; (line = strstr(line, "\n    ")) != NULL; line++)
        if (strspn(line + 5, "0123456789,"))
            snprintf(out, size, "%.*s", (int)strcspn(line + 5, "\n"), line + 5);
}

// A bare --resume goes on with all that the run was started with; what the user changes is said, and
// other data is refused.
static void bare_resume(void) {
    const char *model =
        "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --vocab 64 --seq-len 16 --untied "
        "--clip-qkv 0.5 --z-loss 1e-4";
    const char *recipe =
        "--steps 12 --batch 3 --micro-batch 2 --lr 0.01 --warmup 3 --schedule cosine --final-lr 0.2 "
        "--weight-decay 0.05 "
                         "--beta1 0.8 --beta2 0.9 --eps 1e-6 --decay-embeddings --clip 0.5 "
                         "--clip-warmup-steps 5 --clip-warmup-factor 2 "
                         "--denominator all --seed 7 --save-every 4 --eval-every 3 --sample-every 6 "
                         "--prompt-ids 1,2 --top-k 5 --temperature 0.5";
    const char *data = "--data few.bin,wide.bin --label-mask few.mask,wide.mask --dtype uint16 --val ids.bin";
    char hash[64], sample[128], again_sample[128];
    unsigned char mask[480];
    copy_file("few.bin", "wide.bin");
    for (int i = 0; i < 480; i++) mask[i] = (unsigned char)(i % 5 != 0);
    write_bytes("few.mask", mask, 480), write_bytes("wide.mask", mask, 480);
    CHECK(went_well(train_olmo("%s %s %s --out straight", model, recipe, data)),
          "a test could not train: %s", complained);
    snprintf(hash, sizeof hash, "%s", last_line(said));
    last_sample(sample, sizeof sample);
    system_or_die("mkdir run && cp -r straight/step8 run && cp straight/metrics.jsonl run && cp -r "
                  "run whole");
    int code = train_olmo("--resume --out run");
    check(went_well(code) && !strcmp(last_line(said), hash)
          && same_in("straight/step12", "run/step12", "train.json") && same_metrics("straight", "run")
          && !strstr(complained, "note: from"), "a bare --resume goes on with everything: %.60s",
          code ? complained : last_line(said));
    last_sample(again_sample, sizeof again_sample);
    check(strcmp(sample, "none") && !strcmp(sample, again_sample), "and prints the same sample: %s, then %s",
          sample, again_sample);

    char *state = slurp("straight/step12/train.json", NULL), part[256];
    const char *after = state ? strstr(state, "\"data\": [") : NULL;
    static const char *const files[] = { "few.bin", "wide.bin", "few.mask", "wide.mask" };
    for (int i = 0; i < 4 && after; i++) {
        uint64_t size, of = file_hash(files[i], &size);
        snprintf(part, sizeof part, "{\"path\": \"%s\", \"bytes\": %llu, \"hash\": \"0x%016llx\"}", files[i],
                 (unsigned long long)size, (unsigned long long)of);
        after = strstr(after, part);
    }
    check(after && json_skip(state, 0), "train.json names the data in its order: path, bytes, fingerprint");
    release(state);

    static const struct { const char *flags, *says; } changes[] = {
        { "--lr 0.02", "note: from step 9 on --lr is 0.02 (it was 0.01): so these are not the bits" },
        { "--steps 11 --batch 5", "--steps is 11 (it was 12), --batch is 5 (it was 3)" },
        { "--schedule linear", "--schedule is linear (it was cosine)" },
        { "--z-loss 0", "--z-loss is 0 (it was 0.0001)" },
        { "--denominator predicted", "--denominator is predicted (it was all)" },
        { "--micro-batch 1 --save-every 1 --threads 2 --val few.bin --lr 0.01", "" },
    };
    for (size_t i = 0; i < sizeof changes/sizeof *changes; i++) {
        system_or_die("rm -rf run && cp -r whole run");
        code = train_olmo("--resume --out run %s", changes[i].flags);
        const char *note = strstr(complained, "note: from");
        check(went_well(code) && (*changes[i].says ? note && strstr(note, changes[i].says) : !note),
              "%s: %.*s", changes[i].flags, note ? (int)strcspn(note, "\n") : 0, note ? note : "");
        if (!*changes[i].says)
            check(!strcmp(last_line(said), hash), "and has the same bits: %.30s", last_line(said));
    }
    // Moved data is the same data; another order, another file, a byte more or less, or no mask is
    // not.
    system_or_die("rm -rf run && cp -r whole run && mkdir moved && mv few.bin few.mask moved");
    code = train_olmo("--resume --out run --data moved/few.bin,wide.bin --label-mask "
                      "moved/few.mask,wide.mask");
    check(went_well(code) && !strcmp(last_line(said), hash), "data that has moved: %.60s",
          code ? complained : last_line(said));
    system_or_die("rm -rf run && cp -r whole run && mv moved/* .");
    mask[0] ^= 1;
    write_bytes("other.mask", mask, 480);
    unsigned char held_out[200*16];                         // the last 10 windows are the validation data
    memset(held_out, 1, sizeof held_out), memset(held_out + 190*16, 0, 10*16);
    write_bytes("held.mask", held_out, sizeof held_out);
    static const char *const uses[] = { "--steps 1", "--eval" };
    for (int i = 0; i < 2; i++)
        refuses("validation data whose labels are all masked", "no token to predict", "",
                "--model tiny --d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --vocab 64 --seq-len 16 "
                "--batch 4 --data ids.bin --label-mask held.mask --out masked %s", uses[i]);
    const char *again = "the same data again";
    refuses("a mask that differs in one byte", "other.mask", again,
            "--resume --out run --label-mask few.mask,other.mask");
    refuses("fewer files", "wide.bin", again,
            "--resume --out run --data few.bin --label-mask few.mask");
    write_tokens("half.bin", 480, 64);
    size_t n;
    char *half = slurp("half.bin", &n);
    half[480] ^= 1;
    write_bytes("half.bin", half, n);
    release(half);
    refuses("a file that differs in one bit", "half.bin", again,
            "--resume --out run --data few.bin,half.bin");
    refuses("files in another order", "few.bin", again, "--resume --out run --data half.bin,few.bin");
    refuses("another length of windows", "--seq-len 15", "run/step8",
            "--resume --out run --seq-len 15");
    refuses("another end of documents", "--eos 5", "run/step8", "--resume --out run --eos 5");
    static const struct { const char *flags, *says; } idle[] = {
        { "--model 1b", "--model is where a run begins" },
        { "--recipe sft", "--recipe is where a run begins" },
        { "--init normal", "--init is for new weights" },
        { "--tied", "--tied does not fit the model in run/step8, whose head is a matrix of its own" },
        { "--dpo-beta 0.3", "--dpo-beta: expected --dpo" },
        { "--as-released", "--as-released: expected --data" },
        { "--watts 3", "--watts: expected --energy" },
        { "--prompt a", "--prompt: this model's vocabulary" },       // and not the --prompt-ids of the run
    };
    for (size_t i = 0; i < sizeof idle/sizeof *idle; i++)
        refuses(idle[i].flags, idle[i].says, "", "--resume --out run %s", idle[i].flags);
    // A checkpoint of an older version keeps no options: they are given again, and nothing is compared.
    system_or_die("rm -rf run && cp -r whole run");
    edit_file("run/step8/train.json", "\"options\"", "\"opt\"");
    code = train_olmo("--resume --out run %s %s %s", model, recipe, data);
    const char *no_change = strstr(complained, "note: from");
    check(went_well(code) && !strcmp(last_line(said), hash) && strstr(complained, "keeps no options")
          && !no_change, "a checkpoint without options: %.60s", code ? complained : last_line(said));
    // ... or nothing of its data, which is then checked as a new run's is.
    static const char *const silent[] = { "\"of\": [", "\"data\": null, \"of\": [" };
    for (int i = 0; i < 2; i++) {
        system_or_die("rm -rf run && cp -r whole run");
        edit_file("run/step8/train.json", "\"data\": [", silent[i]);
        code = train_olmo("--resume --out run");
        check(went_well(code) && !strcmp(last_line(said), hash), "a checkpoint that says %s: %.60s",
              silent[i], code ? complained : last_line(said));
    }
    system_or_die("rm -rf run && cp -r whole run");
    edit_file("run/step8/train.json", "\"data\": [", silent[0]);
    write_tokens("half.bin", 480, 65);
    refuses("a token beyond the vocabulary, then", "half.bin", "64",
            "--resume --out run --data few.bin,half.bin");
    system_or_die("rm -rf run && cp -r whole run");
    edit_file("run/step8/train.json", "\"--steps\": 12", "\"--steps\": \"a\"");
    refuses("an option of another kind", "run/step8/train.json", "--steps", "--resume --out run");
    edit_file("run/step8/train.json", "\"--data\": \"few.bin,wide.bin\"", "\"--data\": 3");
    edit_file("run/step8/train.json", "\"--steps\": \"a\"", "\"--steps\": 12");
    refuses("a path that is a number", "run/step8/train.json", "--data", "--resume --out run");
    system_or_die("rm -rf run straight whole moved half.bin");
}

// What kill -9 leaves behind after step 8 of 20, while line 11 of the metrics was being written: the
// run then goes on.
// Whoever starts us may have closed 0, 1 and 2: what is printed there must not end in a file of ours.
static void closed_descriptors(void) {
    static const char *const closed[] = { "0<&- 2>&-", "0<&- 1>&- 2>&-", "1>&-" };
    int whole = 1, code = train_olmo("%s --steps 3 --data ids.bin --out open", tiny_model);
    CHECK(went_well(code), "a test could not train: %s", complained);
    for (int i = 0; i < 3; i++) {
        code = train_olmo("%s --steps 3 --data ids.bin --out closed %s", tiny_model, closed[i]);
        whole &= code == (i > 0) && same_metrics("open", "closed");
        whole &= same_checkpoints("open/step3", "closed/step3");
        system_or_die("rm -rf closed");
    }
    check(whole, "a run whose standard input, output and error are closed: the same files");
    system_or_die("rm -rf open");
}

static void test_resume(void) {
    static const struct { const char *what, *data, *flags; } runs[] = {
        { "in the first epoch", "ids.bin", "" },
        { "in the second of three epochs", "few.bin", "" },
        { "with clipping, z-loss and decayed embeddings", "few.bin",
          "--untied --clip 0.1 --z-loss 1e-3 --decay-embeddings --clip-warmup-steps 9 "
          "--clip-warmup-factor 3 --clip-qkv 0.5" },
        { "at the end of an epoch", "eight.bin", "" },
    };
    static const char *const changes[] = { "", "--threads 2", "--threads 3 --micro-batch 4",
                                           "--micro-batch 1", "--micro-batch 3", "--save-every 5" };
    enter_yard();
    write_tokens("eight.bin", 8*4*16, 64);                  // eight steps of 4 windows
    for (size_t i = 0; i < sizeof runs/sizeof *runs; i++) {
        char hash[64];
        const char *recipe = "--steps 20 --save-every 8 --eval-every 1 --val ids.bin --lr 0.01";
        CHECK(went_well(train_olmo("%s %s %s --data %s --out straight", tiny_model, recipe,
                                   runs[i].flags, runs[i].data)), "a test could not train: %s",
                                   complained);
        snprintf(hash, sizeof hash, "%s", last_line(said));
        char *metrics = slurp("straight/metrics.jsonl", NULL), *cut = metrics;
        for (int line = 0; line < 10; line++) cut = strchr(cut, '\n') + 1;
        for (size_t k = 0; k < sizeof changes/sizeof *changes; k++) {
            system_or_die("rm -rf killed && mkdir -p killed/step16.tmp && cp -r straight/step8 "
                          "killed && cp straight/step16/config.json killed/step16.tmp");
            write_bytes("killed/metrics.jsonl", metrics, (size_t)(cut - metrics) + 40);
            int code = train_olmo("%s %s %s --data %s --out killed --resume %s", tiny_model, recipe,
                                  runs[i].flags, runs[i].data, changes[k]);
            check(went_well(code) && !strcmp(last_line(said), hash)
                  && same_checkpoints("straight/step20", "killed/step20")
                  && same_metrics("straight", "killed") && !holds("killed", ".tmp"),
                  "resumed at step 8 of 20 %s%s%s: equal bits, and the same metrics: %.30s",
                  runs[i].what, *changes[k] ? ", now with " : "", changes[k],
                  code ? complained : last_line(said));
        }
        release(metrics);
        system_or_die("rm -rf straight killed");
    }
    bare_resume();
    closed_descriptors();
    // Lines in metrics.jsonl that we never wrote are dropped; they must not end a run that can go on.
    static const char *const garbage[] = { "", "}\n", "\"\"}\n", "[\"a\"]}\n", "[\"step\"]}\n", "{}\n",
                                           "{\"step\": {}}\n", "{\"step\": 1} {}\n", "\x93NUMPY}\n",
                                           "{\"step\": 99999999999999999999}\n", "\n\n\n" };
    CHECK(went_well(train_olmo("%s --steps 2 --data ids.bin --out run", tiny_model)),
          "a test could not train: %s", complained);
    for (size_t i = 0; i < sizeof garbage/sizeof *garbage; i++) {
        write_text("run/metrics.jsonl", garbage[i]);
        int code = train_olmo("%s --steps 3 --data ids.bin --out run --resume", tiny_model), lines = 0,
            sound = 1;
        char *text = slurp("run/metrics.jsonl", NULL);
        for (char *line = text; line && *line; line += strcspn(line, "\n") + 1, lines++) {
            const char *end = json_skip(line, 0);
            sound &= *line == '{' && end && *end == '\n';
        }
        release(text);
        check(went_well(code) && sound && lines == 1,
              "metrics.jsonl held `%.*s` before: code %d, and %d lines, each%s an object",
              (int)strcspn(garbage[i], "\n"), garbage[i], code, lines, sound ? "" : " not");
        remove_directory("run/step3");
    }
    leave_yard();
}

// ---- save, load, save ---------------------------------------------------------------------------
static void test_save_load_save(void) {
    static const struct { const char *what, *flags; } models[] = {
        { "tied", "--tied --n-kv-heads 2" }, { "untied", "--untied --n-kv-heads 2" },
        { "grouped keys", "--untied --n-heads 4 --n-kv-heads 2 --n-layers 2" },
        { "clipped q, k, v and another RoPE base", "--clip-qkv 0.3 --rope-theta 12345.678901234567" },
    };
    static const char *const formats[] = { "fp32", "bf16", "fp16" };
    enter_yard();
    for (size_t i = 0; i < sizeof models/sizeof *models; i++) {
        CHECK(went_well(train_olmo("%s %s --steps 3 --lr 0.01 --data ids.bin --out made", tiny_model,
                                   models[i].flags)), "a test could not train: %s", complained);
        for (int f = 0; f < 3; f++) {
            int code = train_olmo("--load made/step3 --export first --export-dtype %s", formats[f]);
            int fine = went_well(code) && !strstr(complained, "stores weights in")
                && (f || (same_in("made/step3", "first", "model.safetensors")
                          && same_in("made/step3", "first", "config.json")));
            code = train_olmo("--load first --export second --export-dtype %s", formats[f]);
            fine &= went_well(code) && same_in("first", "second", "model.safetensors")
                && same_in("first", "second", "config.json");
            // Every 16-bit number is a float, and comes back.
            code = train_olmo("--load second --export third --export-dtype fp32");
            fine &= went_well(code)
                && went_well(train_olmo("--load third --export fourth --export-dtype %s", formats[f]));
            fine &= same_in("first", "fourth", "model.safetensors")
                && same_in("first", "third", "model.safetensors") == (f == 0);
            check(fine, "%s, %s: what is loaded is what was saved, byte by byte", models[i].what, formats[f]);
            system_or_die("rm -rf first second third fourth");
        }
        system_or_die("rm -rf made");
    }
    // Numbers in config.json come back with all their digits.
    const double clip = 0.1234567890123456, theta = 12345.67890123456;
    const char *file = "made/step1/config.json";
    CHECK(went_well(train_olmo("%s --steps 1 --clip-qkv %.17g --rope-theta %.17g --data ids.bin "
                               "--out made", tiny_model, clip, theta)), "a test could not train: %s",
                               complained);
    char *text = read_text(file);
    check(json_number(text, file, "clip_qkv", 0, 1, 0) == clip
          && json_number(text, file, "rope_theta", 0, 1e6, 0) == theta,
          "config.json has all digits of clip_qkv and of rope_theta");
    release(text);
    system_or_die("rm -rf made");
    CHECK(went_well(train_olmo("%s --steps 1 --clip-qkv 8 --data ids.bin --out whole", tiny_model)),
          "a test could not train: %s", complained);
    text = read_text("whole/step1/config.json");
    check(strstr(text, "\"clip_qkv\": 8.0,") && strstr(text, "\"rope_theta\": 10000.0"),
          "and a float is written as one, for transformers 5");
    release(text);
    system_or_die("rm -rf whole");
    // 3 MB in shards of at most 1 MB: nothing changes but the files.
    const char *sharded =
        "--untied --d-model 64 --n-layers 3 --n-heads 2 --mlp-hidden 1024 --vocab 3000 --seq-len 16";
    char loss[128];
    int code = train_olmo("%s --batch 4 --steps 1 --sample-every 0 --data ids.bin --out made", sharded);
    CHECK(went_well(code), "a test could not train: %s", complained);
    code = train_olmo("--load made/step1 --eval --val few.bin");
    CHECK(went_well(code), "a test could not evaluate: %s", complained);
    snprintf(loss, sizeof loss, "%s", said);
    code = train_olmo("--load made/step1 --export shards --shard-mb 1");
    check(went_well(code) && strstr(said, "wrote shards\n") && !file_exists("shards/model.safetensors")
          && file_exists("shards/model.safetensors.index.json") && holds("shards", "model-00003-of-"),
          "a model in shards");
    code = train_olmo("--load shards --eval --val few.bin");
    check(went_well(code) && !strcmp(said, loss), "has the same loss: %.*s", (int)strcspn(said, "\n"), said);
    code = train_olmo("--load shards --export whole");
    check(went_well(code) && same_in("made/step1", "whole", "model.safetensors"),
          "and in one file again is what it was");
    // An export never mixes with what is there already: files of another shape would be loaded in its place.
    refuses("an export over an older one", "shards", "exists already", "--load made/step1 --export shards");
    // Weights that float16 cannot hold: no half of an export.
    CHECK(went_well(train_olmo("%s --steps 1 --warmup 0 --schedule constant --lr 1e6 --data ids.bin "
                               "--out large", tiny_model)), "a test could not train: %s", complained);
    refuses("weights too large for float16", "half", "too large for float16",
            "--load large/step1 --export half --export-dtype fp16");
    check(!file_exists("half"), "and no half of an export is left");
    code = train_olmo("--load large/step1 --export half --export-dtype bf16");
    check(went_well(code), "bf16 holds them: code %d", code);
    refuses("weights that are infinite", "inf", "not worth saving", "%s --steps 1 --warmup 0 --schedule "
            "constant --lr 1e39 --data ids.bin --val none --out endless", tiny_model);
    check(!holds("endless", "step1"), "and nothing is saved");
    refuses("their loss", "--eval-set few", "damaged", "%s --steps 1 --warmup 0 --schedule constant "
            "--lr 1e39 --data ids.bin --val none --eval-set few=few.bin --no-save --out ill", tiny_model);
    leave_yard();
}

// A tokenizer.json with an id for each byte, by its printable name, and no merges.
static void write_byte_tokenizer(const char *path) {
    char vocab[8192], text[sizeof vocab + 1024];
    int n = 0;
    for (int code = 0, byte; code < 512; code++) {
        if ((byte = byte_named(code)) < 0) continue;
        n += sprintf(vocab + n, "%s\"%s", n ? ", " : "", code == '"' || code == '\\' ? "\\" : "");
        n += utf8_encode(vocab + n, code);
        n += sprintf(vocab + n, "\": %d", byte);
    }
    snprintf(text, sizeof text,
             "{\"added_tokens\": [], \"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": "
             "{\"type\": \"ByteLevel\", "
             "\"add_prefix_space\": false}, \"model\": {\"type\": \"BPE\", \"vocab\": {%s}, "
             "\"merges\": []}}", vocab);
    write_text(path, text);
}

// The tokenizer belongs to the model: its files go along, and samples are text by it.
static void test_companions(void) {
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json",
                                         "special_tokens_map.json", "generation_config.json" };
    const char *model =
        "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --vocab 300 --seq-len 16 --batch 4 "
        "--data ids.bin --val none";
    char path[PATH];
    enter_yard();
    CHECK(went_well(train_olmo("%s --steps 1 --sample-every 0 --out made", model)),
          "a test could not train: %s", complained);
    system_or_die("mv made/step1 model");
    write_byte_tokenizer("model/tokenizer.json");
    for (int i = 1; i < 4; i++) path_join(path, "model", names[i]), write_text(path, names[i]);

    int code = train_olmo("--load model --data ids.bin --val none --steps 2 --save-every 1 --out fine"),
        same = 1;
    for (int i = 0; i < 4; i++) {
        same &= same_in("model", "fine/step1", names[i]);
        same &= same_in("model", "fine/step2", names[i]);
    }
    check(went_well(code) && same,
          "fine-tuning copies the four files into its checkpoints: code %d", code);
    code = train_olmo("--load fine/latest --export exported"), same = 1;
    for (int i = 0; i < 4; i++) same &= same_in("model", "exported", names[i]);
    check(went_well(code) && same, "and --export copies them on: code %d", code);
    system_or_die("cp -r model strange && rm strange/generation_config.json && "
                  "mkdir strange/generation_config.json");
    code = train_olmo("--load strange --export without");
    check(went_well(code) && strstr(complained, "generation_config.json: cannot be read: it is left out")
          && same_in("model", "without", names[0]) && !file_exists("without/generation_config.json"),
          "one that is no file is left out: code %d", code);
    code = train_olmo("--out fine --resume --steps 3"), same = 1;
    for (int i = 0; i < 4; i++) same &= same_in("model", "fine/step3", names[i]);
    check(went_well(code) && same, "and so does --resume: code %d", code);
    code = train_olmo("%s --steps 1 --sample-every 0 --out named --tokenizer model/tokenizer.json",
                      model);
    check(code == 1
          || (went_well(code) && same_in("model", "named/step1", names[0])
              && same_in("model", "named/step1", names[1])),
              "--tokenizer names files that go with a new model: code %d", code);
#ifdef ICU
    // The tokens of conversations are the tokenizer's work, and end with --eos: other ones are other data.
    const char *const turn = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
                             "{\"role\": \"assistant\", \"content\": \"b\"}]}\n";
    const char *const tuned = "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --vocab 300 "
                              "--seq-len 96 --eos 256 --data one.jsonl --val none --batch 1 --sample-every 0";
    write_text("one.jsonl", turn);
    copy_file("model/tokenizer.json", "ours.json"), copy_file("ours.json", "others.json");
    edit_file("others.json", "\"a\": 97, \"b\": 98", "\"a\": 98, \"b\": 97");
    CHECK(went_well(train_olmo("%s --steps 1 --tokenizer ours.json --out tuned", tuned)),
          "a test could not train: %s", complained);
    refuses("a resumed run with another tokenizer", "others.json", "was made with \"ours.json\"",
            "--resume --steps 2 --out tuned --tokenizer others.json");
    refuses("a resumed run with another end of text", "--eos 7", "which has 256",
            "--resume --steps 2 --out tuned --eos 7");
    copy_file("ours.json", "moved.json");
    code = train_olmo("--resume --steps 2 --out tuned --tokenizer moved.json");
    check(went_well(code), "the same one, elsewhere: %.60s", complained);
    copy_file("others.json", "moved.json");
    refuses("a tokenizer that has changed since", "moved.json", "was made with",
            "--resume --steps 3 --out tuned");
    // One beside us, whose path has no directory; one of as many tokens as the model has rows, and of
    // one more.
    char line[512];
    system_or_die("cp model/*.json . && rm config.json && cp -r model equal && cp -r model narrow");
    edit_file("equal/tokenizer.json", "\"vocab\": {", "\"vocab\": {\"ab\": 256, ");
    code = train_olmo("%s --steps 1 --sample-every 0 --out here --tokenizer tokenizer.json", model), same = 1;
    for (int i = 0; i < 4; i++) same &= same_in("model", "here/step1", names[i]);
    check(went_well(code) && same, "--tokenizer without a directory: %s", complained);
    for (int i = 0; i < 2; i++) {
        const char *directory = i ? "narrow" : "equal";
        snprintf(line, sizeof line, "%s --vocab %d --steps 1 --sample-every 0 --out %s-run", model,
                 257 - 2*i, directory);
        write_tokens("low.bin", 320, 64);
        CHECK(went_well(train_olmo("%s --data low.bin", line)), "a test could not train: %s", complained);
        snprintf(line, sizeof line, "cp %s-run/step1/* %s", directory, directory);
        system_or_die(line);
        code = train_olmo("--load %s --data low.bin --val none --steps 1 --sample-every 1 --out %s-run",
                          directory, directory);
        check(went_well(code)
              && (strstr(complained, "it has more tokens than the model has rows") != NULL) == i,
              "a tokenizer of %s tokens than the model's rows: %s", i ? "more" : "no more", complained);
    }
    refuses("a prompt for a model with fewer rows than tokens", "narrow/tokenizer.json",
            "has 256 tokens, the model only 255", "--load narrow --generate 3 --prompt a");
    system_or_die("rm -rf here equal* narrow* *.json low.bin");
#endif
    // An origin that is moved aside takes nothing with it.
    code = train_olmo("--load fine/latest --data ids.bin --val none --steps 1 --sample-every 0 --out fine");
    check(went_well(code) && same_in("model", "fine/step1", names[0]) && newest_checkpoint("fine.1") == 3,
          "even when the origin moves: code %d", code);

    code = train_olmo("--load model --data ids.bin --val none --steps 1 --sample-every 1 --out "
                      "sampled --seed 3");
    const char *sample = strstr(said, "\n    ");
    int ids = sample && strspn(sample + 5, "0123456789,") == strcspn(sample + 5, "\n");
#ifdef ICU
    check(went_well(code) && sample && !ids, "samples while training are text");
#else
    check(went_well(code) && ids && strstr(complained, "samples will be bare ids"),
          "without ICU they are ids, and that is said");
#endif
    edit_file("model/tokenizer.json", "NFC", "NFKC");
    code = train_olmo("--load model --data ids.bin --val none --steps 1 --sample-every 1 --out other");
    check(went_well(code) && strstr(complained, "note: model/tokenizer.json: samples will be bare ids")
          && same_in("model", "other/step1", names[0]),
          "a tokenizer of another kind does not stop training: code %d", code);
    code = train_olmo("--load model --generate 2 --prompt-ids 1");
    check(went_well(code) && strspn(said, "0123456789,") == strcspn(said, "\n"), "ids need none: %s", said);
    // Samples can do without a tokenizer, a prompt and conversations cannot.
    write_text("talk.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
                             "{\"role\": \"assistant\", \"content\": \"b\"}]}\n");
    refuses("a prompt, and a tokenizer of another kind", "error: model/tokenizer.json: ",
            tokenizer_refusal("model/tokenizer.json"),
            "--load model --data ids.bin --val none --steps 1 --sample-every 1 --prompt a");
    refuses("conversations, and a tokenizer of another kind", "error: model/tokenizer.json: ",
            tokenizer_refusal("model/tokenizer.json"),
            "--load model --data talk.jsonl --val none --steps 1 --eos 7");
    write_text("book.txt", "Once upon a time there was a fox that could not read at all.");
    refuses("text for a model that has a tokenizer", "book.txt", "data/tokenize",
            "--load model --data book.txt --val none --steps 1");
    refuses("a prompt that is too long, before the first step", "--prompt-ids", "more than the 16",
            "--load model --data ids.bin --val none "
            "--steps 1 --sample-every 1 --prompt-ids 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1");
    check(!strstr(said, "[step="), "which is said before the first step");
    leave_yard();
}

// ---- kill -9, full disks, signals ---------------------------------------------------------------
// Waits until the run has saved a checkpoint after this one, or has ended.
static void wait_for_checkpoint(const char *out, int step) {
    while (newest_checkpoint(out) <= step && still_runs()) sleep_ms(1);
}

// Is a checkpoint half written there?
static int half_saved(const char *out) {
    char part[] = "0.tmp";
    int found = 0;
    for (; part[0] <= '9'; part[0]++) found |= holds(out, part);
    return found;
}

// Stops a run inside a save: it is stopped at any moment, and goes on until that was one.
static void stop_while_saving(pid_t pid, const char *out) {
    int status;
    for (; ; sleep_ms(1)) {
        CHECK(still_runs(), "a run that was to save for ever has ended, or never saves");
        if (!half_saved(out)) continue;
        kill(pid, SIGSTOP);
        CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "a run that saves has ended");
        if (half_saved(out)) return;
        kill(pid, SIGCONT);
    }
}

// 50 runs that save after every step are killed: by turns at a random moment after their start, and inside
// a save; each goes on from what the one before left. In the end the parameters must be those of a run that
// was never disturbed.
static void test_kill_while_saving(void) {
    const char *model =
        "--d-model 64 --n-layers 1 --n-heads 2 --mlp-hidden 256 --vocab 4096 --seq-len 16 --batch 1 "
        "--micro-batch 1 --sample-every 0 --val none "
                        // so that --steps shapes nothing
                        "--data ids.bin --schedule constant --warmup 0 --lr 0.001";
    int torn = 0, readable = 0, resumed = 0, steps = 1;
    char hash[64];
    uint64_t moment = 2402;                                  // seeds the moments
    enter_yard();
    CHECK(went_well(train_olmo("%s --steps 1 --out run", model)), "a test could not train: %s", complained);
    for (int i = 0; i < 50; i++) {
        pid_t pid = start_olmo("%s --steps 1000000 --save-every 1 --out run --resume", model);
        moment = hash64(moment);
        sleep_ms(20 + (int)(moment % 100));
        if (i % 2) stop_while_saving(pid, "run");
        kill(pid, SIGKILL);
        wait_for(pid);
        torn += half_saved("run");
        steps = newest_checkpoint("run");
        int code = train_olmo("--out run --eval --val few.bin");
        // the newest checkpoint, whole
        readable += went_well(code) && strstr(complained, "model: run/step");
        resumed += went_well(train_olmo("%s --steps %d --save-every 1 --out run --resume", model,
                                        steps + 1)) && newest_checkpoint("run") == steps + 1;
        snprintf(hash, sizeof hash, "%s", last_line(said));
        // the disk is not ours alone
        for (int old = newest_checkpoint("run") - 1; old >= 0; old--) {
            char path[PATH];
            snprintf(path, sizeof path, "run/step%d", old);
            if (file_exists(path)) remove_directory(path);
        }
    }
    check(readable == 50 && resumed == 50,
          "killed at 50 moments, %d of them inside a save: the newest checkpoint was whole %d times, and "
          "went on %d times", torn, readable, resumed);
    check(torn >= 25, "every second moment lay inside a save: %d", torn);
    int code = train_olmo("%s --steps %d --save-every 0 --out straight", model, steps + 1);
    check(went_well(code) && !strcmp(hash, last_line(said)),
          "after %d steps the parameters are those of a run that was never killed: %.30s", steps + 1,
          last_line(said));
    leave_yard();
}

static void test_full_disk(void) {
    static const struct { const char *what; rlim_t bytes; const char *names; } rows[] = {
        { "no room for the metrics", 320, "out/metrics.jsonl" },
        { "no room for config.json", 580, "config.json" },
        { "no room for the weights", 5000, "model.safetensors" },
        { "no room for the last byte of the weights", 11000, "model.safetensors" },
        { "no room for the moments", 15000, "optimizer.safetensors" },
    };
    enter_yard();
    CHECK(went_well(train_olmo("%s --steps 1 --data ids.bin --out made", tiny_model)),
          "a test could not train: %s", complained);
    struct stat s;
    CHECK(stat("made/step1/model.safetensors", &s) == 0 && s.st_size > 11000 && s.st_size < 15000,
          "the sizes in this test are those of another model");
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        largest_file = rows[i].bytes;
        refuses(rows[i].what, rows[i].names, "writing failed",
                "%s --steps 2 --save-every 1 --eval-every 1 --val few.bin --data ids.bin", tiny_model);
        largest_file = RLIM_INFINITY;
        check(newest_checkpoint("out") < 0 && !holds("out", ".tmp") && !holds("out", "latest"),
              "and no part of a checkpoint is left");
        // the same, but a whole checkpoint is there already: it must stay
        if (i == 0) continue;
        system_or_die("rm -rf out && mkdir out && cp -r made/step1 out");
        largest_file = rows[i].bytes;
        refuses("the same on resuming", rows[i].names, "writing failed",
                "%s --steps 2 --data ids.bin --resume", tiny_model);
        largest_file = RLIM_INFINITY;
        check(newest_checkpoint("out") == 1 && same_checkpoints("made/step1", "out/step1"),
              "and the checkpoint before it is untouched");
        system_or_die("rm -rf out");
        largest_file = rows[i].bytes;
        if (i < 4)
            refuses("the same on exporting", rows[i].names, "writing failed",
                    "--load made/step1 --export copy");
        largest_file = RLIM_INFINITY;
        check(!file_exists("copy"), "and no part of an export is left");
        system_or_die("rm -rf copy");
    }
    if (file_exists("/dev/full")) {                          // Linux: a file on a disk that is always full
        make_directory("full");
        CHECK(symlink("/dev/full", "full/metrics.jsonl.tmp") == 0, "full/metrics.jsonl.tmp: %s",
              strerror(errno));
        refuses("a disk that is full from the start", "full/metrics.jsonl", "writing failed",
                "%s --steps 2 --data ids.bin --out full", tiny_model);
        refuses("a full disk under standard output", "output", "writing failed",
                "--load made/step1 --eval --val few.bin >/dev/full");
    }
    leave_yard();
}

// test_olmo --asked-device is the whole program on the CPU, which is asked to stop in a pass that a test
// has chosen: in the forward pass ASKED_AT it gets ASKED_TIMES signals, SIGTERM and SIGINT by turns.
static void asked_forward(void *m, real *l, real *z, const int *t, const int *y, const real *w, int B,
                          int T) {
    static int pass;
    cpu_device.forward(m, l, z, t, y, w, B, T);
    if (++pass != environment("ASKED_AT", 1, 1000)) return;
    for (int i = 0; i < environment("ASKED_TIMES", 1, 9); i++) raise(i % 2 ? SIGINT : SIGTERM);
}
static int asked_main(int argc, char **argv) {
    Device d = cpu_device;
    d.forward = asked_forward;
    return olmo_main(argc, argv, &d);
}
// Runs it; `apart`: the seconds between two signals.
static int asked_in_pass(int pass, int times, const char *apart, const char *flags) {
    char number[16];
    snprintf(number, sizeof number, "%d", pass), setenv("ASKED_AT", number, 1);
    snprintf(number, sizeof number, "%d", times), setenv("ASKED_TIMES", number, 1);
    setenv("CLOCK_STEP", apart, 1);
    const int code = train_olmo("--asked-device %s %s", tiny_model, flags);
    unsetenv("ASKED_AT"), unsetenv("ASKED_TIMES"), unsetenv("CLOCK_STEP");
    return code;
}

// In each pass of a step: one that is not whole is given up, and comes again on --resume, with the same
// bits.
static void asked_in_a_step(void) {
    const char *flags = "--batch 8 --steps 3 --data few.bin --out run";             // 4 passes per step
    char hash[64];
    CHECK(went_well(train_olmo("--asked-device %s --batch 8 --steps 3 --data few.bin --out straight",
                               tiny_model)), "a test could not train: %s", complained);
    snprintf(hash, sizeof hash, "%s", last_line(said));
    for (int pass = 3; pass <= 9; pass++) {
        int code = asked_in_pass(pass, 1, "0", flags);
        const int newest = newest_checkpoint("run"), whole = pass/4;
        check(went_well(code) && newest == (whole ? whole : -1) && !holds("run", ".tmp"),
              "SIGTERM in pass %d, of which a step has 4: code %d, the last step is %d", pass, code, newest);
        if (newest < 0) continue;
        code = train_olmo("--asked-device --out run --resume");
        check(went_well(code) && !strcmp(last_line(said), hash)
              && same_checkpoints("straight/step3", "run/step3"),
              "and resumed, it has the same bits: %.30s", last_line(said));
        system_or_die("rm -rf run");
    }
    system_or_die("rm -rf straight");
}

// In a validation, and in an evaluation: the checkpoint is there at once, the line of the step without
// what is not measured, and the run of one step is not asked to go on.
static void asked_in_a_validation(void) {
    char flags[256];
    for (int steps = 1; steps <= 2; steps++) for (int judged = 0; judged < 2; judged++) {
        snprintf(flags, sizeof flags, "--val few.bin --data few.bin --eval-set few=few.bin --eval-every 1 "
                 "--sample-every 1 --out run --steps %d", steps);
        const int code = asked_in_pass(judged ? 3 + 15 : 3, 1, "0", flags);          // of 30 windows, by two
        const int newest = newest_checkpoint("run");
        char *metrics = slurp("run/metrics.jsonl", NULL);
        check(went_well(code) && newest == 1 && metrics && strstr(metrics, "\"step\": 1")
              && (strstr(metrics, "eval/validation/") != NULL) == judged && !strstr(metrics, "eval/few/")
              && !strstr(said, "\n    \n"),
              "SIGTERM in %s: code %d, a checkpoint of step %d, and nothing of this in its line",
              judged ? "an evaluation" : "the validation", code, newest);
        check(strstr(complained, "note: asked to stop after 0 of 1 evaluations: the line of step 1") != NULL,
              "what is missing in its line is said");
        check(went_well(code) && (strstr(said, "--resume") != NULL) == (steps == 2)
              && strstr(last_line(said), "params hash"), "%s",
              steps == 1 ? "a finished run is not asked to go on" : "another is");
        release(metrics);
        system_or_die("rm -rf run run.1");
    }
}

static void write_conversations(const char *path, int n, int pairs);            // data/test/chat.c

// In DPO's reference, which comes before the first step: the same command goes on with it.
static void asked_in_the_reference(void) {
    const char *flags = "--vocab 256 --seq-len 96 --dpo pairs.jsonl --recipe dpo --steps 2 --out run";
    write_conversations("pairs.jsonl", 9, 1);
    CHECK(went_well(train_olmo("--asked-device %s %s --out straight", tiny_model, flags)),
          "a test could not train: %s", complained);
    char hash[64];
    snprintf(hash, sizeof hash, "%s", last_line(said));
    int code = asked_in_pass(2, 1, "0", flags);
    check(went_well(code) && newest_checkpoint("run") < 0 && strstr(said, "goes on with the reference"),
          "SIGTERM in the reference: code %d", code);
    code = train_olmo("--asked-device %s %s", tiny_model, flags);
    check(went_well(code) && !strcmp(last_line(said), hash), "and then it goes on: %.30s", last_line(said));
    system_or_die("rm -rf run straight");
}

// Several signals within a fifth of a second, as a terminal and a program around ours send them, are one. A
// later one does not wait for anything.
static void asked_again(void) {
    static const struct { int times; const char *apart; int ends_by; } rows[] = {
        { 6, "0.03", 0 }, { 2, "0.19", 0 }, { 2, "0.21", SIGINT }, { 3, "0.11", SIGTERM },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++) {
        const int code = asked_in_pass(5, rows[i].times, rows[i].apart, "--steps 9 --data few.bin --out run");
        const int newest = newest_checkpoint("run");
        if (rows[i].ends_by)
            check(code == 128 + rows[i].ends_by && newest < 0 && strstr(complained, "a second signal ends at "
                  "once") && strstr(said, "\nrecipe tiny: ") && said[strlen(said) - 1] == '\n',
                  "%d signals, %s s apart: it ends at once by %s, and what it had printed is there: code %d",
                  rows[i].times, rows[i].apart, rows[i].ends_by == SIGINT ? "SIGINT" : "SIGTERM", code);
        else
            check(went_well(code) && newest == 2 && !holds("run", ".tmp") && strstr(said, "--resume goes on"),
                  "%d signals, %s s apart: code %d, and a checkpoint of step %d", rows[i].times,
                  rows[i].apart, code, newest);
        system_or_die("rm -rf run");
    }
}

static void test_signals(void) {
    static const struct { int number; const char *name; } signals[] =
        { { SIGINT, "SIGINT" }, { SIGTERM, "SIGTERM" }, { SIGHUP, "SIGHUP" } };
    const char *recipe = "--schedule constant --warmup 0 --save-every 0 --eval-every 0 --data few.bin",
        *endless = "--steps 100000000";
    char hash[64];
    enter_yard();
    // A run that would take hours, for a busy machine sends its signal late.
    for (int i = 0; i < 3; i++) {
        pid_t pid = start_olmo("%s %s %s --out run", tiny_model, recipe, endless);
        wait_for_metrics("run/metrics.jsonl", 1000);
        kill(pid, signals[i].number);
        int code = wait_for(pid), newest = newest_checkpoint("run");
        check(went_well(code) && newest > 0 && strstr(last_line(said), "params hash 0x")
              && !holds("run", ".tmp"), "%s: code %d, and a checkpoint of step %d", signals[i].name,
              code, newest);
        code = train_olmo("%s %s --steps %d --out straight", tiny_model, recipe, newest + 20);
        CHECK(went_well(code), "a test could not train: %s", complained);
        snprintf(hash, sizeof hash, "%s", last_line(said));
        code = train_olmo("%s %s --steps %d --out run --resume", tiny_model, recipe, newest + 20);
        char straight[64], resumed[64];
        snprintf(straight, sizeof straight, "straight/step%d", newest + 20),
            snprintf(resumed, sizeof resumed, "run/step%d", newest + 20);
        check(went_well(code) && !strcmp(last_line(said), hash) && same_checkpoints(straight, resumed),
              "resumed, it ends as if nothing had been: %.30s", last_line(said));
        system_or_die("rm -rf run straight");
    }
    // What is ignored from the start stays so: nohup, and jobs in the background.
    struct stat before;
    signal(SIGHUP, SIG_IGN);
    pid_t pid = start_olmo("%s %s %s --out run", tiny_model, recipe, endless);
    signal(SIGHUP, SIG_DFL);
    wait_for_metrics("run/metrics.jsonl", 1000);
    kill(pid, SIGHUP);
    CHECK(stat("run/metrics.jsonl", &before) == 0, "run/metrics.jsonl: %s", strerror(errno));
    wait_for_metrics("run/metrics.jsonl", before.st_size + 5000);
    int runs = kill(pid, 0) == 0 && !strstr(slurp("stderr", NULL), "asked to stop");
    kill(pid, SIGTERM);
    int code = wait_for(pid);
    check(went_well(code) && runs, "a SIGHUP that is ignored ends nothing: code %d", code);
    system_or_die("rm -rf run");
    // A bus error that comes of no file of ours.
    int status;
    pid = start_olmo("%s %s %s --out run", tiny_model, recipe, endless);
    wait_for_metrics("run/metrics.jsonl", 1000);
    while (waitpid(pid, &status, WNOHANG) == 0) kill(pid, SIGBUS), sleep_ms(20);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
          "a bus error of no file of ours ends a run as it always does");
    system_or_die("rm -rf run");

    // A console that is gone ends nothing: the run is as long as it was to be.
    char out[256];
    code = shell(out, sizeof out, "'%s' %s --steps 300 --data few.bin --out run 2>gone | head -n 1",
                 program, tiny_model);
    for (int ms = 0; newest_checkpoint("run") < 300 && ms < 1000*PATIENCE; ms++) sleep_ms(1);
    check(code == 0 && newest_checkpoint("run") == 300, "| head ends nothing: the last step is %d",
          newest_checkpoint("run"));
    snprintf(program, sizeof program, "%s", self);
    asked_in_a_step();
    asked_in_a_validation();
    asked_in_the_reference();
    asked_again();
    leave_yard();
}

// =================================================================================================
// 8. The GPU against the CPU (only in the program that nvcc builds: make test-gpu)
// =================================================================================================
#ifdef __CUDACC__
// Both sides compute in float, so a difference may use two budgets of section 4, which add like their
// errors do. The bf16 program also stores in bf16: S such roundings behind a tensor, of 2^-8 each, add
// 2^-8*sqrt(S).
static double gpu_budget(double length, double stores) {
    return sqrt(2.0)*budget(length) + (sizeof(elem) == 2 ? 0x1p-8*sqrt(stores) : 0);
}
// a layer: xn1, qkv twice, P, att, xn2, ug, h; and back
enum { STORES_FORWARD = 8, STORES_BACKWARD = 12 };

// a copy in the host's memory
template <class X> static real *fetched(const X *at, size_t n) {
    X *raw = (X *)allocate(n, sizeof(X), "a test");
    real *x = (real *)allocate(n, sizeof(real), "a test");
    CUDA(cudaStreamSynchronize(card.stream));
    CUDA(cudaMemcpy(raw, at, n*sizeof(X), cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < n; i++) x[i] = (real)raw[i];
    release(raw);
    return x;
}
static double difference(const real *x, const real *y, size_t n) {                   // relative
    double d = 0, size = 0;
    for (size_t i = 0; i < n; i++)
        d += ((double)x[i] - (double)y[i])*((double)x[i] - (double)y[i]),
        size += (double)y[i]*(double)y[i];
    return size > 0 ? sqrt(d/size) : sqrt(d);
}
template <class X> static void compare_fetched(Line *table, int *lines, const char *name, const X *gpu,
                                               const real *cpu, size_t n,
                                               double allowed) {
    real *x = fetched(gpu, n);
    add_line(table, lines, name, difference(x, cpu, n), allowed);
    release(x);
}

// The same weights on both sides: multiples of bf16's precision, so that what differs is the arithmetic.
static GpuOlmo *gpu_twin(Bench *t, int training) {
    Olmo *m = t->m;
    for (size_t i = 0; i < m->layout.size; i++) m->params[i] = float_from_bf16(bf16_from_float(m->params[i]));
    GpuOlmo *g = gpu_olmo_build(&m->config, training);
    if (t->T == 1) t->targets[0] = 1;                        // a lone token has something to predict, too
    gpu_set(g, PARAMS, 0, m->layout.size, m->params);
    return g;
}
static real *gpu_fetch(GpuOlmo *g, Space space) {
    real *x = (real *)allocate(g->layout.size, sizeof(real), "a test");
    gpu_get(g, space, 0, g->layout.size, x);
    return x;
}

static void compare_activations(Line *table, int *lines, const Bench *t, const GpuOlmo *g,
                                const real *losses) {
    const Config *c = &t->m->config;
    const size_t N = (size_t)t->B*t->T, C = c->d_model, D = C/c->n_heads,
        Q = (c->n_heads + 2*c->n_kv_heads)*D, F = c->mlp_hidden/2;
    for (int l = 0; l < c->n_layers; l++) {
        const LayerActs *s = &t->m->acts.layer[l];
        const GpuLayerActs *d = &g->acts.layer[l];
        const double k = path_length(c, t->T, l + 1), b = STORES_FORWARD*l;
        compare_fetched(table, lines, "act.l.0.xn1", d->xn1, s->xn1, N*C, gpu_budget(k, b + 1));
        compare_fetched(table, lines, "act.l.0.rstd1", d->rstd1, s->rstd1, N, gpu_budget(k, b + 1));
        compare_fetched(table, lines, "act.l.0.qkv", d->qkv, s->qkv, N*Q, gpu_budget(k, b + 3));
        compare_fetched(table, lines, "act.l.0.lse", d->lse, s->lse, N*c->n_heads, gpu_budget(k, b + 4));
        compare_fetched(table, lines, "act.l.0.att", d->att, s->att, N*C, gpu_budget(k, b + 5));
        compare_fetched(table, lines, "act.l.0.xn2", d->xn2, s->xn2, N*C, gpu_budget(k, b + 6));
        compare_fetched(table, lines, "act.l.0.rstd2", d->rstd2, s->rstd2, N, gpu_budget(k, b + 6));
        compare_fetched(table, lines, "act.l.0.ug", d->ug, s->ug, N*2*F, gpu_budget(k, b + 7));
    }
    const double k = path_length(c, t->T, c->n_layers) + 2*(double)C + c->vocab,
        b = STORES_FORWARD*c->n_layers;
    compare_fetched(table, lines, "act.h", g->acts.h, t->m->acts.h, N*F, gpu_budget(k, b));
    compare_fetched(table, lines, "act.x", g->acts.x, t->m->acts.x, N*C, gpu_budget(k, b));
    compare_fetched(table, lines, "act.xnf", g->acts.xnf, t->m->acts.xnf, N*C, gpu_budget(k, b + 1));
    add_line(table, lines, "losses", difference(losses, t->losses, N), gpu_budget(k, b + 2));
}

// Values at clip_qkv's edge may be clipped on one side only, and then their gradients are 0 on one side
// only. These flips are counted apart: an error of e moves about a share e of the values over an edge.
// The CPU then clips as the GPU did.
static int take_flips(Bench *t, const GpuOlmo *g) {
    const Config *c = &t->m->config;
    const size_t n = (size_t)t->B*t->T*(c->n_heads + 2*c->n_kv_heads)*(c->d_model/c->n_heads);
    double flips = 0;
    for (int l = 0; l < c->n_layers && c->clip_qkv > 0; l++) {
        real *pass = fetched(g->acts.layer[l].pass, n);
        unsigned char *ours = t->m->acts.layer[l].pass;
        for (size_t i = 0; i < n; i++) flips += pass[i] != ours[i], ours[i] = (unsigned char)pass[i];
        release(pass);
    }
    if (flips) printf("      %.0f of %zu values were clipped on one side only\n", flips, n*c->n_layers);
    return flips <= 1 + gpu_budget(path_length(c, t->T, c->n_layers),
                                   STORES_FORWARD*c->n_layers)*(double)n*c->n_layers;
}

static void compare_gradients(Line *table, int *lines, const Bench *t, const real *gpu) {
    const Config *c = &t->m->config;
    for (int k = 0; k < t->m->layout.n; k++) {
        const Tensor *w = &t->m->layout.tensor[k];
        // layers between the loss and this one's end
        const int back = w->role == HEAD ? 0 : c->n_layers - imax(0, w->layer);
        const double stores = STORES_FORWARD*c->n_layers + 4 + STORES_BACKWARD*back;
        char name[96];
        snprintf(name, sizeof name, "grad.%s", w->name);
        add_line(table, lines, name,
                 difference(gpu + w->offset, t->m->grads + w->offset, (size_t)w->rows*w->cols),
                 gpu_budget(gradient_length(c, t->B, t->T), stores));
    }
}

static const struct { const char *what; Config c; int B; } gpu_cases[] = {
    //                                               d  L  H  G  mlp vocab    T tied clip  z
    { "more rows than the head takes",  config_of(   8, 1, 1, 1,    8,   11,    4, 0, 0,   1e-3), 1030 },
    { "grouped, clipped, z-loss, odd T", config_of( 96, 2, 6, 2,  128,  136,   33, 0, 1.5, 1e-3), 3 },
    { "one key head, odd sizes",        config_of(  60, 2, 5, 1,   88,  101,   17, 0, 0,   0   ), 2 },
    { "head size 64",                   config_of( 256, 2, 4, 2,  512,  512,  200, 1, 0,   0   ), 2 },
    { "head size 128",                  config_of( 256, 2, 2, 2,  512,  512,  320, 1, 0,   0   ), 2 },
    { "head size 128, grouped",         config_of( 512, 2, 4, 1,  512,  512,  130, 0, 2,   1e-4), 3 },
    { "head size 64, T 1024",           config_of( 128, 1, 2, 2,  256,  512, 1024, 0, 0,   0   ), 2 },
    { "one token",                      config_of(  64, 2, 2, 2,  128,   64,    1, 1, 0,   0   ), 1 },
    { "T 2048",                         config_of( 256, 1, 2, 2,  512,  512, 2048, 1, 0,   0   ), 1 },
    { "ff_out unaligned, in rows of 48", config_of( 60, 2, 5, 1,   96,  101,   17, 0, 0,   0   ), 2 },
    { "the default model",              config_of(  64, 4, 4, 4,  512,  256,  256, 1, 0,   0   ), 4 },
};
#ifdef CUDA_ON_CPU
enum { GPU_CASES = 3 };                                     // the others take minutes there
#else
enum { GPU_CASES = sizeof gpu_cases/sizeof *gpu_cases };
#endif

// Every activation, loss and gradient against the C file's; some targets ignored, weights uneven. Gradients
// that are no numbers, and count as used, must be overwritten before anything is added. A pass without
// weights must leave what lies behind its logits.
static void gpu_tensors(int plain) {
    for (int i = 0; i < GPU_CASES; i++) {
        const Config c = gpu_cases[i].c;
        card.plain_attention = 0;
        if (plain && !on_hopper(c.d_model/c.n_heads)) continue;
        card.plain_attention = plain;
        const int B = gpu_cases[i].B, N = B*c.seq_len;
        Bench t = bench_of(c, B, c.seq_len, c.vocab);
        GpuOlmo *g = gpu_twin(&t, 1);
        real *losses = (real *)allocate(2*(size_t)N, sizeof(real), "a test"), *alone = losses + N;
        Line table[64];
        int lines = 0, same = 1;
        CUDA(cudaMemsetAsync(g->grads, 255, sizeof(float)*g->grads_size, card.stream));
        g->grads_used = 1;
        for (int n = 0; n < N; n++) t.weights[n] *= (real)(n % 7 == 3 ? 0 : 1 + n % 3);
        olmo_forward(t.m, t.losses, t.zlosses, t.tokens, t.targets, t.weights, B, c.seq_len);
        to_card(olmo_reserve(g, B, c.seq_len)->weights, t.weights, N);
        olmo_forward(g, alone, t.zlosses, t.tokens, t.targets, NULL, B, c.seq_len);
        real *behind = fetched(g->acts.weights, N);
        same &= same_bits(behind, t.weights, N);
        olmo_forward(g, losses, t.zlosses, t.tokens, t.targets, t.weights, B, c.seq_len);
        compare_activations(table, &lines, &t, g, losses);
        add_line(table, &lines, "losses alone", difference(alone, t.losses, N),
                 gpu_budget(path_length(&c, c.seq_len, c.n_layers) + 2*c.d_model + c.vocab,
                            STORES_FORWARD*c.n_layers + 1));
        for (int n = 0; n < N; n++) same &= t.targets[n] >= 0 || losses[n] == 0;
        same &= take_flips(&t, g);
        olmo_backward(t.m), olmo_backward(g);
        real *grads = gpu_fetch(g, GRADS);
        compare_gradients(table, &lines, &t, grads);
        check(print_lines(gpu_cases[i].what, table, lines) && same,
              "GPU against CPU, %s%s: within the budget", gpu_cases[i].what,
              card.plain_attention ? ", plain attention" : "");
        release(grads), release(behind), release(losses), olmo_free(g), bench_free(&t);
    }
}
// ... with Hopper's attention, where it serves, and once more as on every other card.
static void test_gpu_tensors(void) {
    gpu_tensors(0), gpu_tensors(1);
    card.plain_attention = 0;
}

// Updates on both sides from the same start, and on the GPU twice: equal bits, after equal steps.
static void test_gpu_training(void) {
    const int steps = on_cpu ? 4 : 12;
    for (int i = on_cpu ? 2 : 0; i < GPU_CASES; i++) {
        const Config c = gpu_cases[i].c;
        const int B = gpu_cases[i].B, T = c.seq_len, N = B*T;
        Bench t = bench_of(c, B, T, c.vocab);
        GpuOlmo *g[2] = { gpu_twin(&t, 1), gpu_twin(&t, 1) };
        double worst = 0, first = 0, last = 0,
            allowed = gpu_budget(gradient_length(&c, B, T), 20*c.n_layers + 4)*steps, norms = 0;
        for (int step = 1; step <= steps; step++) {
            const AdamW how = { 1e-3, 0.9, 0.95, 1e-5, 0.1, 0, 1.0, step };
            double cpu = 0, gpu = 0, norm[3];
            olmo_forward(t.m, t.losses, t.zlosses, t.tokens, t.targets, t.weights, B, T), olmo_backward(t.m);
            for (int n = 0; n < N; n++) cpu += (double)t.losses[n]/N;
            for (int k = 0; k < 2; k++)
                olmo_forward(g[k], t.losses, t.zlosses, t.tokens, t.targets, t.weights, B, T),
                    olmo_backward(g[k]);
            for (int n = 0; n < N; n++) gpu += (double)t.losses[n]/N;
            norm[0] = olmo_update(t.m, &how), norm[1] = olmo_update(g[0], &how),
                norm[2] = olmo_update(g[1], &how);
            norms = larger(norms, larger(fabs(norm[1]/norm[0] - 1), norm[1] == norm[2] ? 0 : NAN));
            worst = larger(worst, fabs(gpu/cpu - 1)), last = cpu;
            if (step == 1) first = cpu;
        }
        int same = 1;
        for (int space = PARAMS; space <= MOMENT2; space++) {
            real *x = gpu_fetch(g[0], (Space)space), *y = gpu_fetch(g[1], (Space)space);
            same &= !memcmp(x, y, sizeof(real)*t.m->layout.size);
            release(x), release(y);
        }
        check(same, "GPU, %s: %d steps twice give equal bits", gpu_cases[i].what, steps);
        check(worst <= allowed && norms <= 3*allowed && last < first,
              "GPU, %s: %d steps from loss %.4f to %.4f, at most %.1e from the CPU's (norms "
              "%.1e; budget %.1e)", gpu_cases[i].what, steps, first, last, worst, norms, allowed);
        olmo_free(g[0]), olmo_free(g[1]), bench_free(&t);
    }
}

// Every way to save memory ends at the bits of the plain one, and takes less than the one before.
static void test_gpu_saving(void) {
    const struct { const char *recompute; int offload; } how[] =
        { { "none", 0 }, { "swiglu", 0 }, { "gate-up", 0 }, { "block", 0 }, { "none", 1 },
          { "block", 1 } };
    const int steps = on_cpu ? 1 : 3;
    for (int i = on_cpu ? 1 : 0; i < (on_cpu ? 2 : GPU_CASES); i++) {
        const Config c = gpu_cases[i].c;
        const int B = gpu_cases[i].B, T = c.seq_len;
        Bench t = bench_of(c, B, T, c.vocab);
        real *plain[4] = { NULL }, *losses = (real *)allocate((size_t)B*T, sizeof(real), "a test");
        size_t arena = SIZE_MAX;
        for (int k = 0; k < 6; k++) {
            saving.recompute = how[k].recompute, saving.offload_optimizer = how[k].offload;
            GpuOlmo *g = gpu_twin(&t, 1);
            for (int step = 1; step <= steps; step++) {
                const AdamW adamw = { 1e-3, 0.9, 0.95, 1e-5, 0.1, 0, 1.0, step };
                for (int pass = 0; pass < 2; pass++)
                    olmo_forward(g, losses, t.zlosses, t.tokens, t.targets, t.weights, B, T),
                        olmo_backward(g);
                (void)olmo_update(g, &adamw);
            }
            int same = 1;
            for (int space = PARAMS; space <= MOMENT2; space++) {
                real *x = gpu_fetch(g, (Space)space);
                same &= k == 0 || !memcmp(x, plain[space], sizeof(real)*t.m->layout.size);
                if (k == 0) plain[space] = x; else release(x);
            }
            if (k == 0) memcpy(t.losses, losses, sizeof(real)*B*T);
            same &= !memcmp(t.losses, losses, sizeof(real)*B*T);
            const int smaller = how[k].offload || c.n_layers == 1 || g->arena_size < arena;
            check(same && smaller,
                  "GPU, %s: --recompute %s%s: %d step(s) to the bits of none, activations of %.1f KB",
                  gpu_cases[i].what, how[k].recompute, how[k].offload ? " --offload-optimizer" : "", steps,
                  (double)g->arena_size*1e-3);
            arena = g->arena_size;
            olmo_free(g);
        }
        for (int space = PARAMS; space <= MOMENT2; space++) release(plain[space]);
        release(losses), bench_free(&t);
    }
    saving.recompute = "swiglu", saving.offload_optimizer = 0;
}

// The memory plan is what is allocated, to the byte, but for three small things: for every way to save
// memory, with and without training, alone and as one rank of two. (Only the CPU's card counts bytes.)
#ifdef CUDA_ON_CPU
static size_t bytes_given(void) {
    size_t all = 0;
    for (auto &given : of_card) all += given.second;
    return all;
}
static void test_gpu_memory(void) {
    Config c = gpu_cases[1].c;
    const int B = 3, T = c.seq_len, token = 1;
    real *logits = (real *)allocate(c.vocab, sizeof(real), "a test");
    int right = 0, tried = 0;
    card_open();
    for (const char *recompute : { "none", "swiglu", "gate-up", "block" }) for (int offload : { 0, 1 })
    for (int tied : { 0, 1 }) for (int training : { 0, 1 }) for (int how = 0; how < 3; how++) {
        Memory plan[MAX_MEMORY];
        size_t planned = CHUNK*sizeof(float) + (training ? NORM_PARTIALS*sizeof(double) + sizeof(Clip) : 0);
        size_t on_host = 0, before = bytes_given() - WORKSPACE, registered = 0;
        saving.recompute = recompute, saving.offload_optimizer = offload, c.tied = tied;
        ranks.world = how ? 2 : 1, ranks.shard_gradients = how == 2;
        const int n = gpu_memory(plan, &c, training, B, T);
        for (int i = 0; i < n; i++) planned += plan[i].bytes, on_host += plan[i].on_host ? plan[i].bytes : 0;
        GpuOlmo *g = gpu_olmo_build(&c, training);
        olmo_reserve(g, B, T);
        olmo_decode(g, logits, &token, 1, 0);
        for (void *p : { (void *)g->rests, (void *)g->moment1, (void *)g->moment2 })
            registered += g->offload && p ? of_card[(char *)p] : 0;
        right += bytes_given() - before == planned && registered == on_host, tried++;
        olmo_free(g);
    }
    ranks.world = 1, ranks.shard_gradients = 0, saving.recompute = "swiglu", saving.offload_optimizer = 0;
    check(right == tried, "GPU: %d of %d memory plans are what is allocated, to the byte", right, tried);
    release(logits);
}
#endif

static GpuOlmo *the_card;                                    // what gpu_wrong_call speaks of
static void gpu_wrong_call(int which) {
    static int tokens[64];
    static real losses[64], weights[64];
    if (which == 0) olmo_backward(the_card);
    if (which == 2) the_card->training = 0;
    if (which == 3) saving.recompute = "blocks", recomputed();
    const int T = the_card->config.seq_len + (which == 1);
    olmo_forward(the_card, losses, losses, tokens, tokens, weights, 1, T);
}

// A batch cut in two adds up to the whole one's gradients; an update with a gradient that is not finite
// changes nothing; what was set is what is got, and used gradients are zeros.
static void test_gpu_state(void) {
    const Config c = gpu_cases[1].c;
    const int B = 4, T = c.seq_len;
    Bench t = bench_of(c, B, T, c.vocab);
    GpuOlmo *g = gpu_olmo_build(&c, 1);
    const size_t size = t.m->layout.size;
    for (int space = PARAMS; space <= MOMENT2; space++) gpu_set(g, (Space)space, 0, size, t.m->params);
    int same = 1, zero = 1;
    for (int space = PARAMS; space <= MOMENT2; space++) {
        real *x = gpu_fetch(g, (Space)space);
        same &= !memcmp(x, t.m->params, size*sizeof(real));
        release(x);
    }
    check(same, "GPU: parameters, gradients and moments come back bit for bit");
    real piece[5] = { 1.5f, -0x1.fffffep-3f, 3e38f, 1e-42f, -0.0f }, back[5];
    gpu_set(g, PARAMS, 7, 5, piece), gpu_get(g, PARAMS, 7, 5, back);
    check(!memcmp(piece, back, sizeof piece),
          "GPU: and so do a rounding up, the largest, the smallest, and minus zero");

    const AdamW how = { 1e-3, 0.9, 0.95, 1e-5, 0.1, 0, 1.0, 1 };
    real *before = gpu_fetch(g, PARAMS), nan = (real)NAN;
    gpu_set(g, GRADS, size/2, 1, &nan);
    const double norm = olmo_update(g, &how);
    real *after = gpu_fetch(g, PARAMS);
    check(isnan(norm) && !memcmp(before, after, size*sizeof(real)),
          "GPU: a gradient that is no number changes nothing");
    release(before), release(after), olmo_free(g);

    g = gpu_twin(&t, 1);
    olmo_forward(g, t.losses, t.zlosses, t.tokens, t.targets, t.weights, B, T), olmo_backward(g);
    real *whole = gpu_fetch(g, GRADS);
    (void)olmo_update(g, &how);
    zero &= olmo_update(g, &how) == 0;
    real *used = gpu_fetch(g, GRADS);
    for (size_t i = 0; i < size; i++) zero &= used[i] == 0;
    check(zero, "GPU: an update leaves zeros for gradients");
    gpu_set(g, PARAMS, 0, size, t.m->params);
    // the next pass overwrites, the one after adds
    (void)olmo_update(g, &how);
    gpu_set(g, PARAMS, 0, size, t.m->params);
    for (int b = 0; b < B; b += 2) {
        olmo_forward(g, t.losses, t.zlosses, t.tokens + b*T, t.targets + b*T, t.weights, 2, T);
        olmo_backward(g);
    }
    real *cut = gpu_fetch(g, GRADS);
    double worst = 0;
    for (int k = 0; k < t.m->layout.n; k++) {
        const Tensor *w = &t.m->layout.tensor[k];
        worst = larger(worst, difference(cut + w->offset, whole + w->offset, (size_t)w->rows*w->cols));
    }
    const double allowed = gpu_budget(gradient_length(&c, B, T), 20*c.n_layers);
    if (on_cpu) {                                           // (a process with a card cannot be forked)
        the_card = g;
        check(dies(gpu_wrong_call, 0, "forward pass with weights before it")
              && dies(gpu_wrong_call, 1, "a sequence of 34 tokens; this model was built for at most 33")
              && dies(gpu_wrong_call, 2, "built without training has no backward pass")
              && dies(gpu_wrong_call, 3, "--recompute blocks: expected none, swiglu, gate-up or block"),
              "GPU: a second backward pass, too long a sequence, training where there is none, an unknown "
              "--recompute: sentences");
    }
    check(worst <= allowed,
          "GPU: two micro-batches give the gradients of one, within %.1e (budget %.1e)", worst,
          allowed);
    release(whole), release(used), release(cut), olmo_free(g);

    // as rank 0 of two, with --shard gradients; no other rank is asked for anything
    float number = 1;
    ranks.world = 2, ranks.shard_gradients = 1;
    g = gpu_olmo_build(&c, 1);
    const Piece mine = piece_of(&g->segments, 1, 0);
    float *sum = state_at(g, GRADS, mine, mine.begin);
    to_card(sum, &number, 1);
    CUDA(cudaStreamSynchronize(card.stream));
    g->grads_used = 1;
    to_host(&number, state_at(g, GRADS, mine, mine.begin), 1);
    olmo_free(g);
    ranks.world = 1, ranks.shard_gradients = 0;
    check(number == 0, "GPU: used sums of gradients read as zeros, where ranks share them out");
    bench_free(&t);
}

// Decoding in pieces against the CPU's, in models with and without training; and greedy text, with the
// cache and without.
static void test_gpu_decode(void) {
    for (int i = 0; i < GPU_CASES; i++) for (int training = 0; training < 2; training++) {
        const Config c = gpu_cases[i].c;
        // 541 tokens: more keys than attention_combine_kernel takes in one round
        const int T = imin(c.seq_len, 600), pieces[] = { 11, 1, 1, 5, 1, 150, 1, 370, 1, 1, 1000 };
        Bench t = bench_of(c, 1, T, c.vocab);
        GpuOlmo *g = gpu_twin(&t, training);
        real *cpu = (real *)allocate(2*(size_t)c.vocab, sizeof(real), "a test"), *gpu = cpu + c.vocab;
        double worst = 0;
        for (int k = 0, past = 0, n; past < T; k++, past += n) {
            n = imin(pieces[k % 11], T - past);
            olmo_decode(t.m, cpu, t.tokens + past, n, past), olmo_decode(g, gpu, t.tokens + past, n, past);
            worst = larger(worst, difference(gpu, cpu, c.vocab));
        }
        const double allowed = gpu_budget(path_length(&c, T, c.n_layers) + 3*c.d_model,
                                          STORES_FORWARD*c.n_layers + 1);
        check(worst <= allowed,
              "GPU, %s, %s training: decoded in pieces, logits at most %.1e from the CPU's (budget "
              "%.1e)", gpu_cases[i].what, training ? "with" : "without", worst, allowed);
        int alike = 1;                                      // kernels overlap: a missing wait would show here
        for (int again = 0; again < 50; again++) {
            olmo_decode(g, again ? gpu : cpu, t.tokens + T - 1, 1, T - 1);
            alike &= again == 0 || !memcmp(gpu, cpu, sizeof(real)*(size_t)c.vocab);
        }
        check(alike, "GPU, %s, %s training: a token decoded 50 times, to the same bits", gpu_cases[i].what,
              training ? "with" : "without");
        const int N = 4*c.seq_len;                          // so many tokens move the activations' memory
        const size_t arena = g->arena_size;
        real *losses = (real *)allocate(2*(size_t)N, sizeof(real), "a test");
        int *zeros = (int *)allocate(N, sizeof(int), "a test");
        olmo_forward(g, losses, losses + N, zeros, zeros, NULL, 4, c.seq_len);
        olmo_decode(g, gpu, t.tokens + T - 1, 1, T - 1);
        check(g->arena_size > arena && same_bits(gpu, cpu, (size_t)c.vocab),
              "GPU, %s, %s training: ... and once more after a longer pass", gpu_cases[i].what,
              training ? "with" : "without");
        release(losses), release(zeros);
        release(cpu), olmo_free(g), bench_free(&t);
    }
}

// Trees of texts against the CPU's, in models with and without training: more rows than are given logits at a
// time. Twice they give the same bits, and where no row is asked about, every loss is 0.
static void test_gpu_tree(void) {
    int positions[2*TREE];
    for (int i = 0; i < GPU_CASES; i++) for (int training = 0; training < 2; training++) {
        const Config c = gpu_cases[i].c;
        const int N = on_cpu && i ? TREE/4 : 2*TREE;
        Bench t = bench_of(c, 1, N, c.vocab);
        GpuOlmo *g = gpu_twin(&t, training);
        real *cpu = (real *)allocate(6*N, sizeof(real), "a test"), *gpu = cpu + 2*N, *again = gpu + 2*N;
        random_tree(positions, c.seq_len);
        memcpy(positions + TREE, positions, TREE*sizeof(int));              // of which a CPU may take a part
        for (int n = 0; n < N; n += 3) t.targets[n] = IGNORE;
        olmo_forward_tree(t.m, cpu, cpu + N, t.tokens, positions, t.targets, N);
        olmo_forward_tree(g, gpu, gpu + N, t.tokens, positions, t.targets, N);
        olmo_forward_tree(g, again, again + N, t.tokens, positions, t.targets, N);
        const double allowed = gpu_budget(path_length(&c, c.seq_len, c.n_layers) + 2*c.d_model + c.vocab,
                                          STORES_FORWARD*c.n_layers + 1);
        const double e = difference(gpu, cpu, N), z = difference(gpu + N, cpu + N, N);
        int same = same_bits(gpu, again, 2*N);
        for (int n = 0; n < N; n++) same &= (t.targets[n] < 0) == (gpu[n] == 0), t.targets[n] = IGNORE;
        olmo_forward_tree(g, again, again + N, t.tokens, positions, t.targets, N);
        for (int n = 0; n < 2*N; n++) same &= again[n] == 0;
        check(same && e <= allowed && z <= 2*allowed,
              "GPU, %s, %s training: a tree of texts, losses %.1e and z-losses %.1e from the CPU's (budget "
              "%.1e)", gpu_cases[i].what, training ? "with" : "without", e, z, allowed);
        release(cpu), olmo_free(g), bench_free(&t);
    }
}

// ---- attention alone ----------------------------------------------------------------------------
static double normal_of(uint64_t bits) {
    return sqrt(-2*log(uniform(bits)))*cos(2*M_PI*uniform(hash64(~bits)));
}

// Numbers that bf16 holds exactly, here and on the card.
static real *random_pair(elem **on_card, size_t n, uint64_t seed) {
    real *x = (real *)allocate(n, sizeof(real), "a test");
    elem *raw = (elem *)allocate(n, sizeof(elem), "a test");
    for (size_t i = 0; i < n; i++) {
        x[i] = float_from_bf16(bf16_from_float((float)normal_of(hash64(seed*1000003 + i))));
        raw[i] = (elem)x[i];
    }
    *on_card = (elem *)gpu_allocate(n, sizeof(elem), "a test");
    CUDA(cudaMemcpyAsync(*on_card, raw, n*sizeof(elem), cudaMemcpyHostToDevice, card.stream));
    CUDA(cudaStreamSynchronize(card.stream));
    release(raw);
    return x;
}
// ... of columns from, ..., from + n - 1, relative to the norm of y's, or to `beside` if that is not 0.
static double part_difference(const real *x, const real *y, size_t rows, int width, int from, int n,
                              double beside) {
    double d = 0, size = 0;
    for (size_t row = 0; row < rows; row++) for (int i = from; i < from + n; i++) {
        const double a = (double)x[row*width + i], b = (double)y[row*width + i];
        d += (a - b)*(a - b), size += b*b;
    }
    if (beside > 0) return sqrt(d)/beside;
    return size > 0 ? sqrt(d/size) : sqrt(d);
}

// Forward and backward against the .c's, the last sequences of the batch; outputs and scratch poisoned
// before each of five passes, which must give equal bits: on the whole card, on one multiprocessor and
// on seven, and from a CUDA graph.
//
// In dS = P (dP - dots) the two numbers cancel where a row has few keys: with one key all of them, for there
// dP is dots. Each carries a rounding of its own (att, of which dots are made, is stored in bf16), and that
// stays when they cancel. So in short rows the errors of dq and dk are measured beside the norm of what went
// into the difference: that of the same sums with P^2 (dP^2 + dots^2) for dS^2. In long rows, where dots
// average out, both norms are nearly one, and the norm of the result serves.
enum { SHORT_ROWS = 8 };
static void before_cancelling(double *dq, double *dk, const real *qkv, const real *datt, const real *att,
                              const real *lse, int B, int T, int H, int G, int D) {
    const int C = H*D, Q = C + 2*G*D;
    double q_sum = 0, k_sum = 0;
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++)
    for (int t = 0; t < T; t++) for (int j = 0; j <= t; j++) {
        const size_t query = (size_t)b*T + t, key = (size_t)b*T + j;
        const real *q = qkv + query*Q + h*D, *k = qkv + key*Q + C + h/(H/G)*D, *v = k + G*D;
        const real *g = datt + query*C + h*D, *o = att + query*C + h*D;
        double s = 0, dp = 0, dots = 0, q_size = 0, k_size = 0;
        for (int d = 0; d < D; d++) {
            s += (double)q[d]*k[d], dp += (double)g[d]*v[d], dots += (double)g[d]*o[d];
            q_size += (double)q[d]*q[d], k_size += (double)k[d]*k[d];
        }
        const double p = exp(s/sqrt(D) - (double)lse[((size_t)b*H + h)*T + t]);
        const double ds = p*p*(dp*dp + dots*dots)/D;
        q_sum += ds*k_size, k_sum += ds*q_size;
    }
    *dq = sqrt(q_sum), *dk = sqrt(k_sum);
}

static void attention_case(Line *table, int *lines, int *same, int B, int T, int H, int G, int D) {
    const int C = H*D, Q = C + 2*G*D, all = card.props.multiProcessorCount,
        multiprocessors[] = { all, all, 1, 7, all };
    const size_t N = (size_t)B*T, rows = (size_t)imin(B, 3)*T, first = N - rows;
    const size_t work_bytes = attention_work(B, T, H, G, D, 1);
    elem *qkv, *datt, *att = (elem *)gpu_allocate(N*C, sizeof(elem), "a test");
    elem *dqkv = (elem *)gpu_allocate(N*Q, sizeof(elem), "a test");
    real *cpu_qkv = random_pair(&qkv, N*Q, 1), *cpu_datt = random_pair(&datt, N*C, 2),
        *kept[3] = { NULL, NULL, NULL };
    real *turns = (real *)allocate((size_t)T*D, sizeof(real), "a test");
    float *lse = (float *)gpu_allocate(N*H, sizeof(float), "a test");
    float *table_on_card = (float *)gpu_allocate((size_t)T*D, sizeof(float), "a test");
    void *work = gpu_allocate(work_bytes, 1, "a test");
    rope_table(turns, 10000, T, D);
    CUDA(cudaMemcpyAsync(table_on_card, turns, sizeof(float)*T*D, cudaMemcpyHostToDevice, card.stream));
    for (int run = 0; run < (on_cpu ? 2 : 5); run++) {
        cudaGraph_t graph;
        cudaGraphExec_t program;
        card.props.multiProcessorCount = multiprocessors[run];
        CUDA(cudaMemsetAsync(work, 255, work_bytes, card.stream));
        CUDA(cudaMemsetAsync(att, 255, N*C*sizeof(elem), card.stream));
        CUDA(cudaMemsetAsync(lse, 255, N*H*sizeof(float), card.stream));
        CUDA(cudaMemsetAsync(dqkv, 255, N*Q*sizeof(elem), card.stream));
        const int in_graph = run == 4 && on_hopper(D);
        if (in_graph) CUDA(cudaStreamBeginCapture(card.stream, cudaStreamCaptureModeGlobal));
        attention_forward(att, lse, work, qkv, Q, qkv + C, Q, B, T, 0, H, G, D, card.stream);
        attention_backward(dqkv, work, datt, att, lse, qkv, table_on_card, B, T, H, G, D, card.stream);
        if (in_graph) {
            CUDA(cudaStreamEndCapture(card.stream, &graph));
            CUDA(cudaGraphInstantiate(&program, graph, 0));
            for (int i = 0; i < 3; i++) CUDA(cudaGraphLaunch(program, card.stream));
            CUDA(cudaStreamSynchronize(card.stream));
            CUDA(cudaGraphExecDestroy(program));
            CUDA(cudaGraphDestroy(graph));
        }
        real *now[3] = { fetched(att, N*C), fetched(lse, N*H), fetched(dqkv, N*Q) };
        const size_t size[3] = { N*C, N*H, N*Q };
        for (int k = 0; k < 3; k++) {
            if (run) *same &= !memcmp(now[k], kept[k], size[k]*sizeof(real)), release(now[k]);
            else kept[k] = now[k];
        }
    }
    card.props.multiProcessorCount = all;

    const int b = (int)(rows/T);
    const size_t numbers = zmax(attention_forward_work(T), attention_backward_work(b, T, H, G, D));
    real *cpu_att = (real *)allocate(rows*C, sizeof(real), "a test");
    real *cpu_lse = (real *)allocate(rows*H, sizeof(real), "a test");
    real *cpu_dqkv = (real *)allocate(rows*Q, sizeof(real), "a test");
    real *scratch = (real *)allocate(numbers, sizeof(real), "a test");
    const real *q = cpu_qkv + first*Q;
    attention_forward(cpu_att, cpu_lse, scratch, q, Q, q + C, Q, b, T, 0, H, G, D);
    attention_backward(cpu_dqkv, scratch, cpu_datt + first*C, cpu_att, cpu_lse, q, b, T, H, G, D);
    double beside[3] = { 0, 0, 0 };
    if (T <= SHORT_ROWS)
        before_cancelling(&beside[0], &beside[1], q, cpu_datt + first*C, cpu_att, cpu_lse, b, T, H, G, D);
    rope_backward(cpu_dqkv, turns, (int)rows, T, H + G, D, Q);
    const double forward = D + 2*T, backward = 3*forward + T*(double)(H/G);
    add_line(table, lines, "att", difference(kept[0] + first*C, cpu_att, rows*C), gpu_budget(forward, 3));
    add_line(table, lines, "lse", difference(kept[1] + first*H, cpu_lse, rows*H), gpu_budget(forward, 0));
    const char *const part[] = { "dq", "dk", "dv" };
    const int from[] = { 0, C, C + G*D }, width[] = { C, G*D, G*D };
    for (int k = 0; k < 3; k++) {
        const double error = part_difference(kept[2] + first*Q, cpu_dqkv, rows, Q, from[k], width[k],
                                             beside[k]);
        add_line(table, lines, part[k], error, gpu_budget(backward, 5));
    }
    gpu_release(qkv), gpu_release(datt), gpu_release(att), gpu_release(dqkv);
    gpu_release(lse), gpu_release(table_on_card), gpu_release(work);
    for (int k = 0; k < 3; k++) release(kept[k]);
    release(cpu_qkv), release(cpu_datt), release(turns);
    release(cpu_att), release(cpu_lse), release(cpu_dqkv), release(scratch);
}
static void test_gpu_attention(void) {
    const struct { int B, T, H, G; } shape[] = {
        { 1, 300, 6, 3 }, { 8, 1, 4, 2 }, { 8, 2, 4, 2 }, { 8, 3, 4, 1 }, { 1, 128, 1, 1 },
        { 2, 65, 2, 1 }, { 2, 191, 2, 2 }, { 2, 193, 2, 2 }, { 1, 385, 4, 1 }, { 2, 512, 2, 2 },
        { 3, 999, 4, 2 }, { 3, 1000, 2, 2 }, { 1, 2048, 2, 1 },
        { 16, 1024, 12, 12 },                               // far more work than multiprocessors
    };
    for (int D : { 64, 128, 32, 20 }) for (int plain = 0; plain < 2; plain++) {
        card_open();
        if ((plain && !on_hopper(D)) || (on_cpu && D != 20)) continue;
        Line table[8];
        int lines = 0, same = 1;
        card.plain_attention = plain;
        const int shapes = on_cpu ? 1 : plain || !on_hopper(D) ? 9 : (int)(sizeof shape/sizeof *shape);
        if (D == 20) most_scores = 2*256*304;               // of three key heads two, then one
        for (int i = 0; i < shapes; i++)
            attention_case(table, &lines, &same, shape[i].B, shape[i].T, shape[i].H, shape[i].G, D);
        char title[64];
        snprintf(title, sizeof title, "attention, heads of %d%s", D, on_hopper(D) ? ", Hopper's" : "");
        check(print_lines(title, table, lines), "GPU, %s: within the budget", title);
        check(same, "GPU, %s: equal bits in all passes", title);
        card.plain_attention = 0, most_scores = 16 << 20;
    }
}

// ---- references, on the card --------------------------------------------------------------------
// What transformers exported: activations, losses, gradients and twelve updates. In bf16 the weights
// are rounded first, one store more for each product.
static void gpu_reference(const char *path) {
    Config c;
    Recipe r;
    double denominator, *tokens, *targets;
    Safetensors *st = safetensors_open(path);
    Bench t = reference_bench(st, path, &c, &r, &denominator);
    const int B = r.batch, T = c.seq_len, N = B*T, L = c.n_layers, H = c.n_heads, D = c.d_model/H;
    const int Q = (H + 2*c.n_kv_heads)*D;
    GpuOlmo *g = gpu_olmo_build(&c, 1);
    Line table[64];
    int lines = 0;
    tokens = read_entry_of(st, "tokens", (size_t)N), targets = read_entry_of(st, "targets", (size_t)N);
    for (int n = 0; n < N; n++) {
        t.tokens[n] = (int)tokens[n], t.targets[n] = (int)targets[n], t.weights[n] = (real)(1/denominator);
    }
    gpu_set(g, PARAMS, 0, t.m->layout.size, t.m->params);
    olmo_forward(g, t.losses, t.zlosses, t.tokens, t.targets, t.weights, B, T);
    for (int l = 0; l < L; l++) {
        const GpuLayerActs *s = &g->acts.layer[l];
        const double k = path_length(&c, T, l + 1), b = (STORES_FORWARD + 4)*(l + 1);
        const struct { const char *name; const elem *at; size_t n; } act[] = {
            { "xn1", s->xn1, (size_t)N*c.d_model }, { "qkv", s->qkv, (size_t)N*Q },
            { "att", s->att, (size_t)N*c.d_model },
            { "xn2", s->xn2, (size_t)N*c.d_model }, { "ug", s->ug, (size_t)N*c.mlp_hidden } };
        for (int i = 0; i < 5; i++) {
            char name[48];
            snprintf(name, sizeof name, "act.l.%d.%s", l, act[i].name);
            real *x = fetched(act[i].at, act[i].n);
            double *y = read_entry_of(st, name, act[i].n);
            add_line(table, &lines, name, y ? relative_error(x, y, act[i].n) : NAN,
                     gpu_budget(k, b) + tables + stored);
            release(x), release(y);
        }
    }
    const double delta = gradient_length(&c, B, T), stores = (STORES_FORWARD + STORES_BACKWARD + 8)*L + 6;
    double *losses = read_entry_of(st, "act.losses", (size_t)N);
    add_line(table, &lines, "losses", losses ? relative_error(t.losses, losses, (size_t)N) : NAN,
             gpu_budget(delta, (STORES_FORWARD + 4)*L + 2));
    olmo_backward(g);
    real *grads = gpu_fetch(g, GRADS);
    // (in bf16 some values cross the edge of clip_qkv, and their gradients come and go: gpu_tensors
    // counts them)
    for (int k = 0; k < t.m->layout.n && !(c.clip_qkv > 0 && sizeof(elem) == 2); k++) {
        const Tensor *w = &t.m->layout.tensor[k];
        char name[96];
        snprintf(name, sizeof name, "grad.%s", w->name);
        const size_t n = (size_t)w->rows*w->cols;
        double *y = read_entry_of(st, name, n);
        add_line(table, &lines, name, y ? relative_error(grads + w->offset, y, n) : NAN,
                 gpu_budget(delta, stores) + tables + stored);
        release(y);
    }
    double *steps = read_entry_of(st, "losses12", 12), worst = 0, sum_lr = 0;
    olmo_free(g);
    g = gpu_olmo_build(&c, 1);
    gpu_set(g, PARAMS, 0, t.m->layout.size, t.m->params);
    for (int s = 1; s <= r.steps; s++) {
        double loss = 0;
        for (int b = 0; b < B; b += r.micro_batch) {
            const int rows = imin(r.micro_batch, B - b);
            olmo_forward(g, t.losses, t.zlosses, t.tokens + b*T, t.targets + b*T, t.weights, rows, T),
                olmo_backward(g);
            for (int n = 0; n < rows*T; n++) loss += (double)t.losses[n]/denominator;
        }
        const AdamW how = { learning_rate(&r, s), r.beta1, r.beta2, r.eps, r.weight_decay, r.decay_embeddings,
                            clip_limit(&r, s), s };
        (void)olmo_update(g, &how);
        sum_lr += how.lr, worst = larger(worst, fabs(loss/steps[s - 1] - 1));
    }
    const double error = gpu_budget(delta, stores) + tables;
    const double size = norm_of(t.m->params, t.m->layout.size)/sqrt((double)t.m->layout.size);
    add_line(table, &lines, "losses of the steps", worst, error*(1 + sum_lr/size*log(1/error)) + stored);
    check(print_lines(path, table, lines),
          "GPU, %s: activations, gradients and the losses of 12 updates within the budget", path);
    release(tokens), release(targets), release(losses), release(grads), release(steps);
    safetensors_close(st), olmo_free(g), bench_free(&t);
}
static void test_gpu_references(void) {
    static const char *const cases[] = { "small", "gqa_clip", "head128", "zloss_mask" };
    for (int i = 0; i < 4; i++) {
        char path[PATH];
        snprintf(path, sizeof path, "dev/reference/%s.safetensors", cases[i]);
        gpu_reference(path);
    }
}

// ---- greedy text: with the cache, and with every token again each time --------------------------
static void test_gpu_greedy(void) {
    for (int i = 1; i < 5; i++) {
        const Config c = gpu_cases[i].c;
        const int V = c.vocab, T = imin(c.seq_len, on_cpu ? 20 : 60), prompt = 7;
        Bench t = bench_of(c, 1, T, V);
        GpuOlmo *g = gpu_twin(&t, 0), *other = gpu_twin(&t, 0);
        real *cached = (real *)allocate(2*(size_t)V, sizeof(real), "a test"), *again = cached + V;
        const double allowed = 2*gpu_budget(path_length(&c, T, c.n_layers) + 3*c.d_model,
                                            STORES_FORWARD*c.n_layers + 1);
        double worst = 0;
        int differ = 0;
        for (int n = prompt, past = 0; n < T; past = n++) {
            olmo_decode(g, cached, t.tokens + past, n - past, past),
                olmo_decode(other, again, t.tokens, n, 0);
            int a = 0, b = 0;
            for (int v = 1; v < V; v++) a = cached[v] > cached[a] ? v : a, b = again[v] > again[b] ? v : b;
            const double e = difference(cached, again, V), size = norm_of(again, V);
            worst = larger(worst, e),
                differ += a != b && (double)again[b] - (double)again[a] > 2*allowed*size;
            t.tokens[n] = a;
        }
        check(worst <= allowed && !differ,
              "GPU, %s: greedy text with the cache and without, logits at most %.1e apart (budget %.1e)",
              gpu_cases[i].what, worst, allowed);
        release(cached), olmo_free(g), olmo_free(other), bench_free(&t);
    }
}

// ---- a checkpoint of the CPU goes on on the card, and back --------------------------------------
static const char *const small_run =
    "--d-model 64 --n-layers 2 --n-heads 1 --mlp-hidden 256 --seq-len 96 --batch 4 "
                                     "--micro-batch 2 --data train_olmo.c.txt --val none --schedule "
                                     "constant --warmup 0 "
                                     "--lr 1e-3 --sample-every 0";
static int run_on(const char *device, const char *flags, double *losses, int steps, char *last) {
    static char out[1 << 16];
    const int code = shell(out, sizeof out, "cd build/test && '%s' --%s-device %s %s 2>&1", self,
                           device, small_run, flags);
    const char *hash = strstr(out, "params hash ");
    snprintf(last, 64, "%.*s", 31, hash ? hash : out + (strlen(out) > 60 ? strlen(out) - 60 : 0));
    const char *directory = strstr(flags, "--out ") + 6;
    char path[PATH];
    snprintf(path, sizeof path, "build/test/%.*s/metrics.jsonl", (int)strcspn(directory, " "), directory);
    char *text = slurp(path, NULL);
    for (int i = 0; i < steps; i++) losses[i] = NAN;
    for (char *line = text, *next; line && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        const int step = (int)json_number(line, "metrics.jsonl", "step", 0, 1e6, NAN);
        if (step < 1 || step > steps) continue;
        losses[step - 1] = json_number(line, "metrics.jsonl", "train/CrossEntropyLoss", 0, 100, NAN);
    }
    release(text);
    return code;
}
static void test_gpu_resume(void) {
    double cpu[12], mixed[12], gpu[2][12], worst = 0;
    char hash[4][64];
    int code = shell(hash[0], 64, "mkdir -p build/test && cd build/test && rm -rf mixed cpu gpu0 gpu1 && "
                     "head -c 65536 ../../train_olmo.c > train_olmo.c.txt");
    code |= run_on("plain", "--steps 12 --out cpu", cpu, 12, hash[0]);
    code |= run_on("plain", "--steps 4 --out mixed", mixed, 12, hash[1]);
    code |= run_on("gpu", "--steps 8 --resume --out mixed", mixed, 12, hash[1]);
    code |= run_on("plain", "--steps 12 --resume --out mixed", mixed, 12, hash[1]);
    for (int i = 0; i < 12; i++) worst = larger(worst, fabs(mixed[i]/cpu[i] - 1));
    const Config c = config_of(64, 2, 1, 1, 256, 256, 96, 1, 0, 0);
    const double allowed = 12*gpu_budget(gradient_length(&c, 4, 96), 20*2 + 4);
    check(code == 0 && worst <= allowed,
          "GPU: 4 steps on the CPU, 4 on the card, 4 on the CPU: losses at most %.1e from the CPU's "
          "(budget %.1e)%s%s", worst, allowed, code ? "; " : "", code ? hash[1] : "");
    code |= run_on("gpu", "--steps 8 --out gpu0", gpu[0], 8, hash[2]);
    code |= run_on("gpu", "--steps 5 --out gpu1", gpu[1], 8, hash[3]);
    code |= run_on("gpu", "--steps 8 --resume --out gpu1", gpu[1], 8, hash[3]);
    check(code == 0 && !memcmp(gpu[0], gpu[1], 8*sizeof(double)) && !strcmp(hash[2], hash[3])
          && strstr(hash[2], "params hash"),
          "GPU: 8 steps, and 5 and 3 resumed, end at the same bits: %s", hash[3]);
}

static void test_gpu_out_of_memory(void) {
    char unused[8];
    (void)shell(unused, sizeof unused,
                "mkdir -p build/test && head -c 16384 train_olmo.c > build/test/train_olmo.c.txt");
    runs_out_of_memory("gpu", "--offload-optimizer");
}

// A program that keeps weights in bf16 says that it rounds what it exports. What is read back is the upper
// half of each number that it was given, rounded: half a unit of the last place goes up.
static void test_gpu_export(void) {
    double losses[2];
    char last[64];
    static char out[1 << 16];
    int code = shell(out, sizeof out, "mkdir -p build/test && cd build/test && rm -rf given exported && "
                     "head -c 65536 ../../train_olmo.c > train_olmo.c.txt");
    code |= run_on("plain", "--steps 2 --out given", losses, 2, last);
    CHECK(code == 0, "a test could not train: %s", last);
    code = shell(out, sizeof out,
                 "cd build/test && '%s' --gpu-device --load given/step2 --export exported 2>&1", self);
    const char *note = "note: --export-dtype fp32: this device stores weights in bf16";
    const int rounds = sizeof(elem) == 2, told = strstr(out, note) != NULL;
    check(code == 0 && told == rounds,
          "GPU: --export %s that it rounds: %s", rounds ? "says" : "need not say", out);
    const Config c = config_of(64, 2, 1, 1, 256, 256, 96, 1, 0, 0);
    Olmo *given = olmo_build(&c, 0), *read = olmo_build(&c, 0);
    weights_read("build/test/given/step2", cpu_model(given, &given->config));
    weights_read("build/test/exported", cpu_model(read, &read->config));
    size_t wrong = 0, rounded = 0;
    for (size_t i = 0; i < given->layout.size; i++) {
        uint32_t x, y;
        memcpy(&x, &given->params[i], 4), memcpy(&y, &read->params[i], 4);
        wrong += y != (rounds ? (x + 0x8000) & 0xffff0000 : x), rounded += y != x;
    }
    check(wrong == 0 && (rounded > 0) == rounds,
          "GPU: of %zu exported weights %zu were rounded, %zu wrongly", given->layout.size, rounded, wrong);
    olmo_free(given), olmo_free(read);
}

// ---- one update, and the ops that a whole model hides -------------------------------------------
// From noise in all four arrays. Both sides take the same ten float operations for a number, so the
// results may differ by the rounding of these: in the bf16 program too, whose weight is a float in two
// halves.
static void test_gpu_update(void) {
    // 2.6 million: the norm's blocks go round ten times
    const Config c = gpu_cases[5].c;
    Bench t = bench_of(c, 1, c.seq_len, c.vocab);
    Olmo *m = t.m;
    GpuOlmo *g = gpu_olmo_build(&c, 1);
    const size_t size = m->layout.size;
    fill_noise(m->grads, size, 1, 0.1), fill_noise(m->moment1, size, 2, 0.1),
        fill_noise(m->moment2, size, 3, 0.01);
    for (size_t i = 0; i < size; i++) m->moment2[i] *= m->moment2[i];
    real *const spaces[] = { m->params, m->grads, m->moment1, m->moment2 };
    for (int space = PARAMS; space <= MOMENT2; space++) gpu_set(g, (Space)space, 0, size, spaces[space]);
    // once more where the embedding decays, and nothing is clipped
    const AdamW how[] = { { 1e-3, 0.9, 0.95, 1e-5, 0.1, 0, 1.0, 3 },
                          { 1e-3, 0.9, 0.95, 1e-5, 0.5, 1, 0.0, 4 } };
    for (int k = 0; k < 2; k++) {
        if (k) fill_noise(m->grads, size, 4, 0.1), gpu_set(g, GRADS, 0, size, m->grads);
        const double norm = olmo_update(g, &how[k]), expected = olmo_update(m, &how[k]);
        const double allowed = sqrt(2.0)*budget(10*(k + 1));
        check(near(norm/expected, 1, allowed), "GPU: the norm of %zu gradients: %.9g, on the CPU %.9g",
              size, norm, expected);
        for (int space = PARAMS; space <= MOMENT2; space++) {
            real *x = gpu_fetch(g, (Space)space);
            const double e = difference(x, spaces[space], size);
            static const char *const names[] = { "parameters", "gradients", "first moments",
                                                 "second moments" };
            check(e <= allowed, "GPU: after %d update(s) the %s differ by %.1e from the CPU's (budget %.1e)",
                  k + 1, names[space], e, allowed);
            release(x);
        }
    }
    olmo_free(g), bench_free(&t);
}

// The clock may choose among cuBLASLt's proposals, but only one that has the bits of the first that runs.
// What stands in for cuBLASLt on a CPU has some that are faster, and differ in the first or the last number
// of c alone. c: of bf16 or float, with gaps between its rows; so large that hash_kernel goes round; and so
// large that there is no room to compare.
#ifdef CUDA_ON_CPU
static void proposals_are_judged(const elem *x) {
    const struct { int proposed[4], best; } lists[] = {
        { { SLOW, LAST, FIRST, SAME }, 3 }, { { REFUSES, SLOW, LAST, SAME }, 3 },
        { { SAME, LAST, REFUSES, SLOW }, 0 }, { { LAST, SAME, FIRST, SLOW }, 0 } };
    const struct { int M, N, ldc, lists; } shapes[] = { { 33, 20, 20, 4 }, { 33, 20, 25, 4 },
                                                        { 3, 90000, 90000, 1 } };
    int right = 0, tried = 0;
    for (auto [M, N, ldc, n] : shapes) for (auto type : { CUDA_R_16BF, CUDA_R_32F })
    for (int k = 0; k < n; k++) {
        const int K = 7;
        const Product p = { M, N, K, 1, 0, type, storage(x, M, K, K, 0, 0), storage(x, K, N, N, 0, 0),
                            storage(x, M, N, ldc, 0, 0) };
        cublasLtMatmulHeuristicResult_t proposal[4];
        Plan plan;
        for (int i = 0; i < 4; i++) proposal[i] = { { lists[k].proposed[i] }, CUBLAS_STATUS_SUCCESS };
        plan_make(&plan, &p, 0, card.stream);
        right += fastest(&plan, proposal, 4, card.stream) == lists[k].best, tried++;
    }
    check(right == tried, "GPU: of %d lists of proposals the fastest that has the first one's bits is chosen "
          "in %d", tried, right);
    const int M = 1 << 17;
    const Product p = { M, M, 1, 1, 0, CUDA_R_32F, storage(x, M, 1, 1, 0, 0), storage(x, 1, M, M, 0, 0),
                        storage(x, M, M, M, 0, 0) };
    cublasLtMatmulHeuristicResult_t proposal[2] = { { { SLOW }, CUBLAS_STATUS_SUCCESS },
                                                    { { SAME }, CUBLAS_STATUS_SUCCESS } };
    Plan plan;
    plan_make(&plan, &p, 0, card.stream);
    check(fastest(&plan, proposal, 2, card.stream) == 0, "GPU: ... and the first where no room is left");
}
#endif
static void test_gpu_products(void) {
    enum { K = 2048, MOST = 96 };
    elem *a, *b;
    int same = 0, tried = 0;
    card_open();
    release(random_pair(&a, MOST*K, 1)), release(random_pair(&b, MOST*K, 2));
    float *c = (float *)gpu_allocate(MOST*MOST, sizeof(float), "a test");
    for (int M : { 64, 96 }) for (int N : { 32, 80 }) for (int add : { 0, 1 }) for (int turned : { 0, 1 }) {
        const Product p = { M, N, K, 1, add, CUDA_R_32F, storage(a, M, K, turned ? M : K, 0, turned),
                            storage(b, K, N, N, 0, 0), storage(c, M, N, N, 0, 0) };
        real *before = noise_reals(M*N, 3, 1), *result[2];
        for (int compare = 0; compare < 2; compare++) {
            Plan plan;
            result[compare] = (real *)allocate(M*N, sizeof(real), "a test");
            plan_make(&plan, &p, compare, card.stream);
            to_card(c, before, M*N);
            BLAS(multiply(&plan, &plan.algorithm, c, a, b, card.stream));
            to_host(result[compare], c, M*N);
            CUDA(cudaStreamSynchronize(card.stream));
        }
        same += !memcmp(result[0], result[1], sizeof(real)*M*N), tried++;
        release(before), release(result[0]), release(result[1]);
    }
    check(same == tried, "GPU: %d of %d products have the same bits, whether or not the clock chose", same,
          tried);
#ifdef CUDA_ON_CPU
    proposals_are_judged(a);
#endif
    gpu_release(a), gpu_release(b), gpu_release(c);
}

// The norm of rows so small that its epsilon counts, in one step of a block and in several; the loss
// where z-loss is large.
static void test_gpu_ops(void) {
    card_open();
    for (int C : { 96, 61, 8200 }) {
        enum { N = 5 };
        real *x = noise_reals(N*(size_t)C, 7, 3e-3), *y = noise_reals(N*(size_t)C, 8, 1), rstd[N];
        float *x_on = (float *)gpu_allocate(N*(size_t)C, sizeof(float), "a test"),
            *rstd_on = (float *)gpu_allocate(N, sizeof(float), "a test");
        elem *y_on = (elem *)gpu_allocate(N*(size_t)C, sizeof(elem), "a test");
        to_card(x_on, x, N*(size_t)C);
        norm_forward(y_on, rstd_on, x_on, N, C, card.stream);
        norm_forward(y, rstd, x, N, C);
        real *y_gpu = fetched(y_on, N*(size_t)C), *rstd_gpu = fetched(rstd_on, N);
        const double e = difference(y_gpu, y, N*(size_t)C), e_rstd = difference(rstd_gpu, rstd, N);
        check(e <= gpu_budget(2.0*C, 1) && e_rstd <= gpu_budget(2.0*C, 0),
              "GPU: the norm of small rows of %d: %.1e, rstd %.1e from the CPU's (budgets %.1e, %.1e)",
              C, e, e_rstd, gpu_budget(2.0*C, 1), gpu_budget(2.0*C, 0));
        release(x), release(y), release(y_gpu), release(rstd_gpu), gpu_release(x_on),
            gpu_release(rstd_on), gpu_release(y_on);
    }
    // One row times a matrix: rows of one round and of several, for one warp and for four, of odd lengths; so
    // many outputs that blocks take several. Then as up and gate of half as many.
    const int shapes[][2] = { { 40, 5000 }, { 61, 5002 }, { 2048, 4300 }, { 4096, 4300 }, { 8192, 2200 },
                              { 8200, 1300 } };
    for (auto [C, O] : shapes) {
        elem *x_on, *w_on;
        real *x = random_pair(&x_on, C, 11), *w = random_pair(&w_on, (size_t)O*C, 12);
        real *y = noise_reals(O, 13, 1), *h = (real *)allocate(O, sizeof(real), "a test");
        float *y_on = (float *)gpu_allocate(O, sizeof(float), "a test");
        elem *h_on = (elem *)gpu_allocate(O, sizeof(elem), "a test");
        to_card(y_on, y, O);
        matmul_forward(y_on, x_on, w_on, 1, C, O, 1, card.stream);
        matvec<true>(h_on, x_on, w_on, C, O/2, 0, card.stream);
        real *y_gpu = fetched(y_on, O), *h_gpu = fetched(h_on, O/2);
        for (int o = 0; o < O; o++) {
            double sum = 0;
            for (int c = 0; c < C; c++) sum += (double)x[c]*(double)w[(size_t)o*C + c];
            h[o] = (real)sum, y[o] += (real)sum;
        }
        for (int o = 0; o < O/2; o++) h[o] *= h[O/2 + o]/(1 + (real)exp(-h[O/2 + o]));
        const double e = difference(y_gpu, y, O), e_h = difference(h_gpu, h, O/2);
        check(e <= gpu_budget(C, 0) && e_h <= gpu_budget(3.0*C, 1),
              "GPU: a row of %d times %d: %.1e from the sums in double, as up and gate %.1e (budgets %.1e, "
              "%.1e)",
              C, O, e, e_h, gpu_budget(C, 0), gpu_budget(3.0*C, 1));
        release(x), release(w), release(y), release(h), release(y_gpu), release(h_gpu);
        gpu_release(x_on), gpu_release(w_on), gpu_release(y_on), gpu_release(h_on);
    }
    for (int V : { 1000, 1003, 50304 }) {
        enum { N = 6 };
        const size_t n = N*(size_t)V;
        const double z = 0.5;
        elem *logits_on;
        real *logits = random_pair(&logits_on, n, 9), losses[N], zlosses[N], lse[N], weights[N];
        int targets[N];
        for (int i = 0; i < N; i++)
            targets[i] = i == 2 ? IGNORE : i == 3 ? V - 1 : (i*7919) % V,
            weights[i] = (real)(i == 4 ? 0 : 0.1*(i + 1));
        float *out = (float *)gpu_allocate(3*N, sizeof(float), "a test");
        int *targets_on = (int *)gpu_allocate(N, sizeof(int), "a test");
        to_card(targets_on, targets, N), to_card(out + 2*N, weights, N);
        crossentropy(out, out + N, logits_on, targets_on, out + 2*N, z, N, V, card.stream);
        crossentropy_forward(losses, zlosses, lse, logits, targets, z, N, V);
        crossentropy_backward(logits, weights, lse, logits, targets, z, N, V);
        real *gpu = fetched(out, 2*N), *dlogits = fetched(logits_on, n);
        const double loss = larger(difference(gpu, losses, N), difference(gpu + N, zlosses, N)),
            e = difference(dlogits, logits, n);
        check(loss <= gpu_budget(2.0*V, 0) + (sizeof(elem) == 2 ? 0x1p-20 : 0)
              && e <= gpu_budget(3.0*V, 1),
              "GPU: softmax over %d with a large z-loss: losses %.1e, dlogits %.1e from the CPU's "
              "(budgets %.1e, %.1e)", V, loss, e,
              gpu_budget(2.0*V, 0) + (sizeof(elem) == 2 ? 0x1p-20 : 0), gpu_budget(3.0*V, 1));
        release(logits), release(gpu), release(dlogits), gpu_release(out), gpu_release(targets_on),
            gpu_release(logits_on);
    }
}

// ---- numbers that are none ----------------------------------------------------------------------
// A weight that is no number spoils the losses of the sequences it is in, on both sides, and no others.
static void test_gpu_nan(void) {
    const Config c = gpu_cases[5].c;
    const int B = gpu_cases[5].B, T = c.seq_len, C = c.d_model;
    Bench t = bench_of(c, B, T, c.vocab);
    real *losses = (real *)allocate((size_t)B*T, sizeof(real), "a test"), nan = (real)NAN;
    GpuOlmo *g = gpu_twin(&t, 1);
    for (int n = 0; n < B*T; n++) if (t.tokens[n] == 5) t.tokens[n] = 6;
    t.tokens[T + T/2] = 5;                                  // in the second sequence alone
    t.m->params[5*(size_t)C + 3] = nan, gpu_set(g, PARAMS, 5*(size_t)C + 3, 1, &nan);
    olmo_forward(t.m, t.losses, t.zlosses, t.tokens, t.targets, t.weights, B, T);
    olmo_forward(g, losses, t.zlosses, t.tokens, t.targets, t.weights, B, T);
    int alike = 1;
    for (int n = 0; n < B*T; n++) {
        if (n >= T && n < T + T/2) continue;
        alike &= t.targets[n] < 0 || (!isnan(t.losses[n]) == !isnan(losses[n]));
    }
    check(alike && isnan(losses[T + T/2]), "GPU: a weight that is no number is seen where the CPU sees it");
    olmo_backward(g);
    const AdamW how = { 1e-3, 0.9, 0.95, 1e-5, 0.1, 0, 1.0, 1 };
    check(isnan(olmo_update(g, &how)), "GPU: ... and in the gradient norm");
    release(losses), olmo_free(g), bench_free(&t);
}
#endif

// ---- the report ---------------------------------------------------------------------------------

// Another program's tests: its report here, and its counts and failures into ours.
static void run_part(const char *program) {
    char *out = (char *)allocate(1 << 20, 1, "the report of another test program");
    int code = shell(out, 1 << 20, "%s --part", program), p = 0, f = 0;
    const char *last = strstr(out, "part: ");
    printf("---- %s ----\n", program);
    if (last) printf("%.*s", (int)(last - out), out);
    if (!last || sscanf(last, "part: %d passed, %d failed", &p, &f) != 2 || code != (f != 0))
        check(0, "%s ended with code %d before its last test", program, code);
    for (const char *line = out; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
        if (!strncmp(line, "FAIL  ", 6)) fprintf(failures, "%.*s\n", (int)strcspn(line, "\n"), line);
    passed += p, failed += f;
    release(out);
}

// ---- one run beside another, and what is only convenient ----------------------------------------
static int checkpoints_in(const char *out) {
    int n = 0;
    DIR *directory = opendir(out);
    for (struct dirent *entry; directory && (entry = readdir(directory)); )
        n += checkpoint_step(entry->d_name) >= 0;
    if (directory) closedir(directory);
    return n;
}

// A small default corpus in this directory.
static void write_corpus(const char *directory) {
    char path[PATH], text[4096];
    for (int i = 0; i < 4096; i++) text[i] = (char)('a' + i*i % 26);
    make_directory(directory);
    path_join(path, directory, "stories.txt");
    write_bytes(path, text, 4096);
    path_join(path, directory, "stories_val.txt");
    write_bytes(path, text, 1024);
}

static void test_runs(void) {
    enter_yard();
    // It moves an earlier run aside, and then holds the directory that it has made in its place.
    CHECK(went_well(train_olmo("%s --steps 1 --data few.bin", tiny_model)), "a test could not train: %s",
          complained);
    pid_t pid = start_olmo("%s --steps 100000000 --save-every 1000 --keep 2 --data few.bin",
                           tiny_model);
    for (int ms = 0; !file_exists("out.1") && ms < 1000*PATIENCE; ms++) sleep_ms(1);
    system_or_die("rm -rf out.1");
    wait_for_checkpoint("out", 0);
    pid_t other = start_olmo("%s --steps 3 --data few.bin", tiny_model);
    int code = wait_for(other);
    check(code == 1 && error_lines() == 1 && strstr(complained, "error: out: another run is writing"),
          "a second run with this --out: code %d", code);
    other = start_olmo("%s --steps 3 --data few.bin --resume", tiny_model);
    code = wait_for(other);
    check(code == 1 && error_lines() == 1 && strstr(complained, "error: out: another run is writing"),
          "--resume of a run that still runs: code %d", code);
    check(newest_checkpoint("out") > 0 && !file_exists("out.1"), "neither has moved anything");
    make_directory("copy.tmp");
    const int exporting = lock_directory("copy.tmp");
    write_text("copy.tmp/config.json", "half");
    code = train_olmo("--load out/latest --export copy");
    check(code == 1 && error_lines() == 1 && strstr(complained, "error: copy.tmp: another run is writing")
          && file_exists("copy.tmp/config.json") && !file_exists("copy"),
          "an export that another one is writing: code %d, and it is left alone", code);
    close(exporting);
    code = train_olmo("--load out/latest --export copy");
    check(went_well(code) && !file_exists("copy.tmp"), "what a dead one has left is taken: code %d", code);
    code = train_olmo("--eval --val few.bin");
    check(went_well(code), "but what only reads may read: code %d", code);
    kill(pid, SIGKILL);
    wait_for(pid);
    int newest = newest_checkpoint("out"), left = checkpoints_in("out");
    check(left >= 1 && left <= 3, "--keep 2: %d checkpoints while one is being removed", left);
    code = train_olmo("%s --steps %d --save-every 1 --keep 2 --data few.bin --resume", tiny_model,
                      newest + 5);
    check(went_well(code) && checkpoints_in("out") == 2 && newest_checkpoint("out") == newest + 5
          && !holds("out", ".tmp"), "a killed run leaves nothing locked, and --keep 2 keeps two: %d",
          checkpoints_in("out"));
    system_or_die("rm -rf out");
    code = train_olmo("%s --steps 2 --save-every 1 --data few.bin --out less", tiny_model);
    system_or_die("mkdir less/step1/kept");
    code = train_olmo("%s --steps 4 --save-every 1 --keep 1 --data few.bin --out less --resume", tiny_model);
    check(went_well(code) && strstr(complained, "note: less/step1: cannot be removed: Directory not empty")
          && file_exists("less/step1.tmp/kept") && checkpoints_in("less") == 1,
          "a checkpoint that cannot be removed: %s", complained);
    system_or_die("rm -r less/step4");
    refuses("`latest`, when the newest was removed by hand", "less/latest: is a link",
            "gone; name a checkpoint", "--load less/latest --eval --val few.bin");
    system_or_die("rm -rf less");
    code = train_olmo("%s --steps 3 --batch 1 --sample-every 2 --no-save --data few.bin --out less",
                      tiny_model);
    const char *second = strstr(said, "\n    "), *third = second ? strstr(second + 1, "\n    ") : NULL;
    check(went_well(code) && third && !strstr(third + 1, "\n    "),
          "samples come every so many steps, and after the last one");
    check(strstr(said, "memory: ") && strstr(said, " for passes of 1 x 16 tokens: "),
          "no pass is planned that is larger than a batch");
    // --steps has decided, although the recipe is one of epochs; and still does when the run goes on.
    CHECK(went_well(train_olmo("%s --recipe sft --steps 1 --data few.bin --out less", tiny_model)),
          "a test could not train: %s", complained);
    code = train_olmo("--out less --resume");
    check(went_well(code) && strstr(said, "nothing to do: the run is at step 1, and ends at step 1"),
          "a recipe of epochs with --steps ends there, resumed, too: %s", last_line(said));
    // Whoever starts us may have closed all three: what is printed must not get into a file of ours.
    code = train_olmo("%s --steps 2 --data few.bin --out closed <&- >&- 2>&-", tiny_model);
    char *metrics = slurp("closed/metrics.jsonl", NULL);
    check(code == 1 && metrics && !strncmp(metrics, "{\"step\": 1, ", 12)
          && strstr(metrics, "}\n{\"step\": 2, ") && went_well(train_olmo("--out closed --resume --steps 3")),
          "a run without stdin, stdout and stderr");
    release(metrics);
    // The default corpus is that of the current directory, if there is one.
    write_corpus("data");
    code = train_olmo("--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --seq-len 256 --steps 1 "
                      "--no-save --sample-every 0 --val none --out less");
    check(went_well(code) && strstr(said, "data: 16 windows of 256 tokens in 1 file, none for validation"),
          "the default corpus, without the stories for validation");
    system_or_die("rm -r data");
    system_or_die("rm -rf less* closed");
    code = train_olmo("%s --steps 4 --save-every 1 --no-save --data few.bin", tiny_model);
    check(went_well(code) && checkpoints_in("out") == 0 && file_exists("out/metrics.jsonl")
          && strstr(last_line(said), "params hash"), "--no-save: metrics alone");
    code = train_olmo("%s --steps 0 --data few.bin", tiny_model);
    check(went_well(code) && file_exists("out/metrics.jsonl") && !file_exists("out.1")
          && strstr(last_line(said), "params hash") && !strstr(said, "nothing to do"),
          "without a step to do, an earlier run stays where it is");
    code = train_olmo("%s --steps 0 --data few.bin --out unborn", tiny_model);
    check(went_well(code) && !file_exists("unborn"), "and none begins");
    system_or_die("rm -rf out");
    for (int saves = 1; saves >= 0; saves--) {
        code = train_olmo("%s --steps 1 --data few.bin --out out%s", tiny_model, saves ? "" : " --no-save");
        check(went_well(code), "a run that saves%s: code %d", saves ? "" : " nothing", code);
    }
    refuses("the run before one that saves nothing", "before it was moved: out.1/latest",
            "out holds no checkpoint yet", "--eval --val few.bin --load out/latest");
    refuses("what it would go on from", "before it was moved: out.1/latest", "out holds no checkpoint stepN",
            "%s --data few.bin --out out --resume", tiny_model);
    refuses("the same, of out/", "before it was moved: out.1/latest", "out holds no checkpoint stepN",
            "--resume --out out/");
    code = train_olmo("--eval --val few.bin --load out.1/latest");
    check(went_well(code), "and there it is");
    system_or_die("rm -rf out out.1");
    code = train_olmo("%s --steps 1 --data few.bin", tiny_model);
    check(went_well(code), "a run that was done: code %d", code);
    code = train_olmo("%s --data few.bin --resume --steps 1 --lr 0.5", tiny_model);
    check(went_well(code) && strstr(said, "nothing to do: the run is at step 1, and ends at step 1; --steps")
          && !strstr(complained, "from step 2"),
          "and is not done again, nor said to go on with another rate");

    // `latest` where it cannot be made: something else has the name.
    system_or_die("rm -rf out && mkdir -p out/latest/full");
    code = train_olmo("%s --steps 2 --save-every 1 --data few.bin", tiny_model);
    check(went_well(code) && checkpoints_in("out") == 2
          && strstr(complained, "note: out/latest: cannot be pointed to step1")
          && !holds("out", ".tmp"), "a `latest` that cannot be made is said, and no more: code %d",
          code);
    system_or_die("rm -rf out");

    // Directories that are missing on the way to what is written.
    code = train_olmo("%s --steps 1 --data few.bin --out deep/er/run/", tiny_model);
    check(went_well(code) && newest_checkpoint("deep/er/run") == 1, "--out makes missing parents: %s",
          complained);
    code = train_olmo("--load deep/er/run/latest --export $PWD/new/place/copy");
    check(went_well(code) && file_exists("new/place/copy/config.json"), "and so does --export: %s",
          complained);
    refuses("a directory below a file", "few.bin/run", "cannot make this directory: Not a directory",
            "%s --steps 1 --data few.bin --out few.bin/run", tiny_model);

    // The process has the program's name; its default corpus is found however it is started.
    char out[256], copy[2*PATH];
    snprintf(copy, sizeof copy,
             "mkdir -p bin links && cp '%s' bin/olmo_named && ln -s ../bin/olmo_named "
             "links/train", program);
    system_or_die(copy);
    write_corpus("bin/data");
    const char *small = "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --steps 2 --sample-every 0";
    code = shell(out, sizeof out,
                 "env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT bin/olmo_named %s --steps 100000000 "
                 "--out named >console & pid=$!; "
                 "for i in $(seq 3000); do [ -s named/metrics.jsonl ] && break; sleep 0.1; done; "
                 "cat /proc/$pid/comm; kill -9 $pid", small);
    check(!strcmp(out, "olmo_named\n"), "after its restart the process has its name: %.10s", out);
    code = shell(out, sizeof out,
                 "PATH=$PWD/bin:$PATH; mkdir -p far/away; cd far/away; olmo_named %s | tail -n 1",
                 small);
    check(!strncmp(out, "params hash", 11),
          "the default corpus beside a program found through PATH: %.30s", out);
    code = shell(out, sizeof out, "cd far/away; ../../links/train %s | tail -n 1", small);
    check(!strncmp(out, "params hash", 11), "and beside one started through a link: %.30s", out);
    code = shell(out, sizeof out,
                 "OMP_NUM_THREADS=20000 OMP_WAIT_POLICY=passive bin/olmo_named %s 2>&1", small);
    int serial = strstr(out, "built without OpenMP") != NULL;
    check(serial || (code == 1 && strstr(out, "error: 20000 threads")),
          "20,000 threads by OMP_NUM_THREADS: code %d, %.60s", code, out);
    code = shell(out, sizeof out, "OMP_NUM_THREADS=99999 bin/olmo_named %s 2>&1", small);
    check(serial || (code == 1 && strstr(out, "error: 99999 threads")), "99,999: code %d, %.60s", code, out);
    leave_yard();
}

// ---- adaptation ---------------------------------------------------------------------------------
#include "data/test/chat.c"

// ---- several ranks ------------------------------------------------------------------------------
// test_olmo --ranks-device is the whole program on CPUs that share a run, as cards do: what NCCL does
// for those is done here in shared memory, and only here. The optimizer of a rank is an Olmo of its own
// whose tensors are the rank's pieces.
enum { MOST_RANKS = 8, MOST_NUMBERS = 1 << 18 };
static real *slots;                                          // [MOST_RANKS, MOST_NUMBERS] shared by all ranks
static real *slot_of(int rank) { return slots + (size_t)rank*MOST_NUMBERS; }

typedef struct { Olmo *m, *own; Segments segments; } Ranked;

// This rank's piece of the gradients of segment k becomes the sum of all ranks', in their order.
static void reduce_scatter(Ranked *d, int k) {
    const size_t begin = d->segments.begin[k], end = d->segments.begin[k + 1];
    const Piece mine = piece_of(&d->segments, k, ranks.rank);
    real *x = d->m->grads;
    CHECK(end <= MOST_NUMBERS, "a test's model has more than %d parameters", MOST_NUMBERS);
    memcpy(slot_of(ranks.rank) + begin, x + begin, (end - begin)*sizeof(real));
    ranks_wait();
    for (size_t i = mine.begin; i < mine.end; i++) {
        real sum = 0;
        for (int r = 0; r < ranks.world; r++) sum += slot_of(r)[i];
        x[i] = sum;
    }
    ranks_wait();
}
// x[0..n) becomes that of one rank.
static void broadcast(Ranked *d, real *x, size_t n, int from) {
    (void)d;
    if (ranks.rank == from) memcpy(slot_of(from), x, n*sizeof(real));
    ranks_wait();
    memcpy(x, slot_of(from), n*sizeof(real));
    ranks_wait();
}
// Every rank's piece of the weights of segment k goes to all.
static void all_gather(Ranked *d, int k) {
    for (int r = 0; r < ranks.world; r++) {
        const Piece p = piece_of(&d->segments, k, r);
        broadcast(d, d->m->params + p.begin, p.end - p.begin, r);
    }
}

static void *ranked_build(const Config *c, int training) {
    Ranked *d = (Ranked *)allocate(1, sizeof *d, "a test");
    d->m = olmo_build(c, training), d->segments = segments_of(&d->m->layout);
    if (!training) return d;
    Olmo *own = d->own = (Olmo *)allocate(1, sizeof *own, "a test");
    own->config = *c;
    for (int k = 0; k < d->m->layout.n; k++) {
        const Tensor *t = &d->m->layout.tensor[k];
        const size_t end = t->offset + (size_t)t->rows*t->cols;
        for (size_t i = t->offset, next; i < end; i = next) {
            const Piece p = piece_at(&d->segments, i);
            next = zmin(p.end, end);
            if (p.owner == ranks.rank)
                add_tensor(&own->layout, NULL, t->role, t->layer, (int)(next - i), 0, t->name);
        }
    }
    const size_t size = own->layout.size;
    CHECK(size == d->segments.at[d->segments.n], "the pieces of rank %d are %zu numbers, not %zu",
          ranks.rank, size, d->segments.at[d->segments.n]);
    own->params = (real *)allocate(4*size, sizeof(real), "a test"), own->grads = own->params + size;
    own->moment1 = own->grads + size, own->moment2 = own->moment1 + size;
    return d;
}
static void ranked_destroy(void *model) {
    Ranked *d = (Ranked *)model;
    olmo_free(d->m);
    if (d->own) release(d->own->params), release(d->own);
    release(d);
}
static void ranked_forward(void *d, real *losses, real *zlosses, const int *tokens, const int *targets,
                           const real *weights, int B, int T) {
    olmo_forward(((Ranked *)d)->m, losses, zlosses, tokens, targets, weights, B, T);
    const char *ill = weights ? getenv("ILL_RANK") : NULL, *slow = weights ? getenv("SLOW_RANK") : NULL;
    if (slow && atoi(slow) == ranks.rank) sleep_ms(6000);
    const char *asked = weights ? NULL : getenv("ASKED_RANK");          // in its first pass of a validation
    if (asked && atoi(asked) == ranks.rank && !setenv("ASKED_RANK", "-1", 1)) raise(SIGTERM);
    if (ill && atoi(ill) == ranks.rank) losses[0] = (real)NAN;
}
// Sums over ranks, of all gradients: into the pieces.
static void ranked_reduce(Ranked *d) {
    for (int k = d->segments.n - 1; k >= 0; k--) {
        const Piece p = piece_of(&d->segments, k, ranks.rank);
        reduce_scatter(d, k);
        for (size_t i = p.begin; i < p.end; i++)
            d->own->grads[d->segments.at[k] + i - p.begin] += d->m->grads[i];
    }
    memset(d->m->grads, 0, d->m->layout.size*sizeof(real));
}
static void ranked_backward(void *model, int last) {
    Ranked *d = (Ranked *)model;
    olmo_backward(d->m);
    if (last || ranks.shard_gradients) ranked_reduce(d);
}
// of the weights, to where the optimizer has them; or out again
static void copy_pieces(Ranked *d, int out) {
    for (int k = 0; k < d->segments.n; k++) {
        const Piece p = piece_of(&d->segments, k, ranks.rank);
        real *own = d->own->params + d->segments.at[k], *all = d->m->params + p.begin;
        memcpy(out ? all : own, out ? own : all, (p.end - p.begin)*sizeof(real));
        if (out) all_gather(d, k);
    }
}
// olmo_update clips by the norm of what it has; so its limit is chosen such that the factor is that of
// all gradients.
static double ranked_update(void *model, const AdamW *adamw) {
    Ranked *d = (Ranked *)model;
    AdamW how = *adamw;
    const double ours = global_norm(d->own->grads, d->own->layout.size);
    double squares = ours*ours;
    ranks_sum(&squares, 1);
    const double norm = sqrt(squares), factor = how.clip > 0 ? fmin(1, how.clip/(norm + 1e-6)) : 1;
    if (!isfinite(norm)) return norm;
    how.clip = factor < 1 ? factor*(ours + 1e-6) : 0;
    copy_pieces(d, 0);
    olmo_update(d->own, &how);
    copy_pieces(d, 1);
    return norm;
}
static void ranked_decode(void *d, real *logits, const int *tokens, int n, int past) {
    olmo_decode(((Ranked *)d)->m, logits, tokens, n, past);
}
static real *ranked_space(Ranked *d, Space space) {
    return space == MOMENT1 ? d->own->moment1 : d->own->moment2;
}
static void ranked_move(void *model, Space space, size_t offset, size_t count, real *host, int set) {
    Ranked *d = (Ranked *)model;
    real *all = d->m->params + offset;
    if (space == PARAMS) { memcpy(set ? all : host, set ? host : all, count*sizeof(real)); return; }
    for (size_t i = offset, n; i < offset + count; i += n, host += n) {
        const Piece p = piece_at(&d->segments, i);
        real *own = ranked_space(d, space) + d->segments.at[p.segment] + (i - p.begin);
        n = zmin(p.end, offset + count) - i;
        if (p.owner == ranks.rank) memcpy(set ? own : host, set ? host : own, n*sizeof(real));
        if (!set) broadcast(d, host, n, p.owner);
    }
}
static void ranked_get(void *d, Space space, size_t offset, size_t count, real *host) {
    ranked_move(d, space, offset, count, host, 0);
}
static void ranked_set(void *d, Space space, size_t offset, size_t count, const real *host) {
    ranked_move(d, space, offset, count, (real *)(uintptr_t)host, 1);
}
// The memory is a file, for ranks that were not forked find each other, too.
static void ranked_open(void) {
    const size_t size = sizeof(real)*MOST_RANKS*MOST_NUMBERS;
    const int file = open("slots", O_RDWR | O_CREAT, 0666);
    CHECK(file >= 0 && ftruncate(file, (off_t)size) == 0, "slots: %s", strerror(errno));
    slots = (real *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(slots != MAP_FAILED, "slots: %s", strerror(errno));
    close(file);
}
// What NCCL knows of links that have failed.
static void ranked_links(void) {
    CHECK(atoi(getenv("BROKEN_LINK")) != ranks.rank, "a link has failed");
}
static int ranked_main(int argc, char **argv) {
    if (getenv("BROKEN_LINK")) check_links = ranked_links;
    static const Device device = { "cpu of several", NULL, ranked_open, cpu_memory, ranked_build,
                                   ranked_destroy, ranked_forward, NULL, ranked_backward, ranked_update,
                                   ranked_decode, ranked_get, ranked_set, "fp32", 0 };
    return olmo_main(argc, argv, &device);
}

// Every number of a flat array has one owner, pieces are equal but for the last, and a rank's own
// arrays are full.
static void test_pieces(void) {
    static const int worlds[] = { 1, 2, 3, 5, 8 };
    Layout list;
    Weights unused;
    for (size_t i = 0; i < 2*(sizeof worlds/sizeof *worlds); i++) {
        const Config c = config_of(i % 2 ? 12 : 64, 3, 2, 1, i % 2 ? 22 : 128, 67, 16, (int)(i % 2), 0, 0);
        size_t owned = 0, next = 0;
        int fine = 1;
        olmo_layout(&list, &unused, NULL, &c);
        ranks.world = worlds[i/2];
        for (ranks.rank = 0; ranks.rank < ranks.world; ranks.rank++) {
            const Segments s = segments_of(&list);
            owned += s.at[s.n];
            fine &= s.n == (ranks.world == 1 ? 1 : c.n_layers + 2 - c.tied);
        }
        ranks.rank = 0;
        const Segments s = segments_of(&list);
        for (size_t at = 0; at < list.size; at = next) {     // in order: segment by segment, rank by rank
            const Piece p = piece_at(&s, at), last = piece_at(&s, piece_of(&s, p.segment, p.owner).end - 1);
            const size_t length = s.begin[p.segment + 1] - s.begin[p.segment],
                each = length/(size_t)ranks.world/8*8;
            fine &= p.begin == at && last.begin == at && p.end > at;
            fine &= p.end - p.begin == each
                || (p.owner == ranks.world - 1 && p.end == s.begin[p.segment + 1]);
            next = p.end;
        }
        check(fine && owned == list.size && next == list.size,
              "%d ranks share out %zu numbers: each has one owner", ranks.world, list.size);
    }
    ranks.rank = 0, ranks.world = 1;
}

// What ranks tell each other, with more of it than goes into one message, while signals interrupt them.
static void interrupt(int number) { (void)number; }
static int talks(int rank, unsigned char *bytes, size_t n) {
    enum { NUMBERS = 1200 };
    const struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
    double x[3][NUMBERS];
    int fine = 1;
    ranks.rank = rank, ranks.world = 3;
    for (int i = 0; i < NUMBERS; i++) x[0][i] = 1e16 + 2*i, x[1][i] = 1 + i, x[2][i] = -1e16;
    signal(SIGALRM, interrupt), setitimer(ITIMER_REAL, &often, NULL);
    ranks_sum(x[rank], NUMBERS);
    ranks_share(bytes, n);
    setitimer(ITIMER_REAL, &never, NULL);
    for (int i = 0; i < NUMBERS; i++) fine &= x[rank][i] == (1e16 + 2*i + (1 + i)) - 1e16;
    for (size_t i = 0; i < n; i++) fine &= bytes[i] == (unsigned char)(i*i >> 8);
    return fine;
}
static void ranks_talk(void) {
    enum { LARGE = 16 << 20 };
    unsigned char *bytes = (unsigned char *)allocate(LARGE, 1, "a test");
    int line[3][2], code[3];
    pid_t pid[3];
    for (int r = 1; r < 3; r++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, line[r]) == 0, "no socket: %s", strerror(errno));
        if ((pid[r] = fork()) == 0) {
            talk[0] = line[r][1];
            const int fine = talks(r, bytes, LARGE);
            // The other end closes, when the run is over.
            close(line[1][0]), close(line[r][0]);
            leaving = 1;
            alarm(PATIENCE), signal(SIGALRM, SIG_DFL), dup2(open("/dev/null", O_WRONLY), 2);
            if (fine) ranks_wait();
            _exit(2);
        }
        talk[r] = line[r][0];
        close(line[r][1]);
    }
    for (size_t i = 0; i < LARGE; i++) bytes[i] = (unsigned char)(i*i >> 8);
    const int fine = talks(0, bytes, LARGE);
    for (int r = 1; r < 3; r++) close(talk[r]), talk[r] = 0;
    for (int r = 1; r < 3; r++) waitpid(pid[r], &code[r], 0);
    ranks.rank = 0, ranks.world = 1, release(bytes);
    signal(SIGALRM, SIG_DFL);
    check(fine && WIFEXITED(code[1]) && WIFEXITED(code[2]) && WEXITSTATUS(code[1]) < 2
          && WEXITSTATUS(code[2]) < 2, "three ranks have the same sums, in order, and the same 16 MB");
    check(fine && WEXITSTATUS(code[1]) == 1 && WEXITSTATUS(code[2]) == 1,
          "whoever is left at the very end does not wait");
}

static const char *const odd_model =
    "--ranks-device --d-model 12 --n-layers 2 --n-heads 2 --mlp-hidden 22 --vocab 67 --seq-len 16 "
    "--untied "
                                     "--warmup 2 --sample-every 0 --lr 0.01 --data ids.bin --val "
                                     "few.bin --eval-every 4 --batch 120";

// The largest relative difference between two runs' values of a name, over all steps that both have.
// NAN if there are fewer than `least`.
static double metrics_apart(const char *a, const char *b, const char *name, int least) {
    const char *const runs[] = { a, b };
    double value[2][64], worst = 0;
    int both = 0;
    for (int i = 0; i < 2; i++) {
        char path[PATH];
        path_join(path, runs[i], "metrics.jsonl");
        char *text = slurp(path, NULL);
        for (int s = 0; s < 64; s++) value[i][s] = NAN;
        for (char *line = text, *next; line && *line; line = next) {
            next = line + strcspn(line, "\n");
            if (*next) *next++ = 0;
            const char *is = json_get(line, name);
            if (is) value[i][(int)json_number(line, path, "step", 0, 63, NAN)] = strtod(is, NULL);
        }
        release(text);
    }
    for (int s = 0; s < 64; s++) {
        if (isnan(value[0][s]) || isnan(value[1][s])) continue;
        worst = larger(worst, fabs(value[1][s] - value[0][s])/fmax(1e-3, fabs(value[0][s]))), both++;
    }
    return both >= least ? worst : NAN;
}

// One rank against several; several against themselves; and from one number of ranks to another.
static void ranks_agree(void) {
    static const int worlds[] = { 2, 3, 5, 8 };
    const Config c = config_of(12, 2, 2, 2, 22, 67, 16, 0, 0, 0);
    const double allowed = 12*budget(gradient_length(&c, 120, 16));
    char hash[64], name[32];
    CHECK(went_well(train_olmo("%s --steps 12 --save-every 4 --micro-batch 15 --out one", odd_model)),
          "a test could not train: %s", complained);
    for (int i = 0; i < 4; i++) {
        const int n = worlds[i];
        snprintf(name, sizeof name, "run%d", n);
        int code = train_olmo("%s --gpus %d --steps 12 --save-every 4 --micro-batch %d --out %s",
                              odd_model, n, 120/n, name);
        const double losses = metrics_apart("one", name, "train/CrossEntropyLoss", 12);
        const double judged = metrics_apart("one", name, "eval/validation/CrossEntropyLoss", 3);
        const double norms = metrics_apart("one", name, "optim/total_grad_norm", 12),
            tokens = metrics_apart("one", name, "throughput/total_tokens", 12);
        check(went_well(code) && losses <= allowed && judged <= allowed && norms <= 10*allowed
              && tokens == 0,
              "%d ranks beside one: losses %.1e, validation %.1e apart (budget %.1e), norms %.1e%s", n,
              losses, judged, allowed, norms, code ? complained : "");
        snprintf(hash, sizeof hash, "%s", last_line(said));
        code = train_olmo("%s --gpus %d --steps 12 --micro-batch %d --out again", odd_model, n, 120/n);
        check(went_well(code) && !strcmp(hash, last_line(said)), "%d ranks twice: equal bits: %.30s", n,
              last_line(said));
        code = train_olmo("%s --gpus %d --shard gradients --steps 12 --micro-batch %d --out again",
                          odd_model, n, 120/n);
        check(went_well(code) && !strcmp(hash, last_line(said)),
              "... and with --shard gradients: %.30s", last_line(said));
        code = train_olmo("%s --gpus %d --shard gradients --steps 12 --micro-batch 7 --out again",
                          odd_model, n);
        check(went_well(code) && metrics_apart("one", "again", "train/CrossEntropyLoss", 12) <= allowed,
              "... in passes of 7: %.1e apart",
              metrics_apart("one", "again", "train/CrossEntropyLoss", 12));
        code = train_olmo("--ranks-device --resume --out %s --steps 12", name);
        check(went_well(code) && !strcmp(hash, last_line(said)), "one rank reads the same bits: %.30s",
              last_line(said));
    }
    // Resumed by as many ranks: the same bits. By others: the run of one rank, within the budget; in
    // the middle of an epoch.
    snprintf(hash, sizeof hash, "%s", last_line(said));
    system_or_die("rm -r run8/step12 run8/latest");
    int code = train_olmo("--ranks-device --gpus 8 --resume --micro-batch 15 --out run8");
    check(went_well(code) && !strcmp(hash, last_line(said)),
          "8 ranks resumed at step 8 of 12: equal bits: %.30s", last_line(said));
    system_or_die("rm -r run2/step12 run2/latest");
    code = train_olmo("--ranks-device --gpus 3 --resume --micro-batch 40 --out run2");
    check(went_well(code) && metrics_apart("one", "run2", "train/CrossEntropyLoss", 12) <= allowed,
          "begun by 2 ranks, resumed by 3: %.1e apart",
          metrics_apart("one", "run2", "train/CrossEntropyLoss", 12));
    code = train_olmo("--ranks-device --load run2/step12 --eval --val few.bin");
    double alone = NAN, shared = NAN;
    check(went_well(code) && sscanf(said, "val loss %lf", &alone) == 1,
          "one rank loads what they have saved");
    code = train_olmo("--ranks-device --gpus 3 --load run2/step12 --eval --val few.bin");
    const int found = went_well(code) && sscanf(said, "val loss %lf", &shared) == 1;
    check(found && fabs(shared/alone - 1) < 1e-12,
          "--eval by 3 ranks: %.9g, by one %.9g", shared, alone);
    system_or_die("rm -rf one run* again*");
}

// Fine-tuning: rows of different lengths, a last batch that leaves ranks without a row, a reference for
// each pair.
static void ranks_adapt(void) {
    static const char *const kinds[][2] = { { "--data chat.jsonl --recipe sft",
                                              "train/CrossEntropyLoss" },
                                              { "--dpo pairs.jsonl", "train/DPOLoss" } };
    write_conversations("chat.jsonl", 38, 0), write_conversations("pairs.jsonl", 38, 1);
    for (int k = 0; k < 2; k++) {
        const char *flags =
            "--ranks-device --d-model 32 --n-layers 2 --n-heads 4 --mlp-hidden 64 --seq-len 96 "
            "--sample-every 0 --val none "
                            "--lr 1e-3 --batch 12 --epochs 2 --micro-batch 2";
        int code = train_olmo("%s %s --out one", flags, kinds[k][0]);
        CHECK(went_well(code), "a test could not train: %s", complained);
        code = train_olmo("%s %s --gpus 3 --out three", flags, kinds[k][0]);
        const double e = metrics_apart("one", "three", kinds[k][1], 8),
            tokens = metrics_apart("one", "three", "throughput/total_tokens", 8);
        check(went_well(code) && e < 1e-5 && tokens == 0, "%s: 3 ranks are %.1e from one%s",
              kinds[k][0], e, code ? complained : "");
        if (k) check(same_in("one", "three", "reference.safetensors"), "and have written the same reference");
        system_or_die("rm -rf one three");
    }
}

// Questions while training: ranks score them in turns, and know all answers. Seven of them, and three ranks.
static void ranks_ask(void) {
    char requests[2048] = "";
    for (int i = 0, n = 0; i < 7; i++)
        n += snprintf(requests + n, sizeof requests - (size_t)n,
                      "{\"request_type\": \"loglikelihood\", \"doc_id\": %d, \"idx\": %d, \"label\": 0, "
                      "\"request\": {\"context\": \"q%d\", \"continuation\": \" is %.*s\"}}\n",
                      i < 4 ? 0 : 1, i < 4 ? i : i - 4, i, 1 + i, "abcdefgh");
    system_or_die("mkdir -p asked/rc_0shot");
    write_text("asked/rc_0shot/config.json",
               "{\"task_name\": \"asked\", \"task_config\": {\"primary_metric\": \"acc_raw\"}}");
    write_text("asked/rc_0shot/requests.jsonl", requests);
    write_text("asked.txt", "What is asked, and by whom, and how often, and what for? Nobody knows.");
    for (int n = 1; n <= 3; n += 2) {
        int code = train_olmo("--ranks-device --d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 "
                              "--vocab 256 --seq-len 16 --batch 3 --micro-batch 1 --steps 4 --eval-every 2 "
                              "--sample-every 0 --no-save --data asked.txt --val none --eval-tasks asked "
                              "--gpus %d --out asked%d", n, n);
        CHECK(went_well(code), "a test could not train: %s", complained);
    }
    const double loss = metrics_apart("asked1", "asked3", "eval/downstream/asked_rc_0shot_ce_loss_v2", 2),
        accuracy = metrics_apart("asked1", "asked3", "eval/downstream/asked_rc_0shot_acc_v2", 2);
    check(loss < 1e-5 && accuracy == 0,
          "questions to 3 ranks: cross entropies %.1e, accuracies %g from one's", loss, accuracy);
    system_or_die("rm -rf asked*");
}

// A signal that one rank gets in a validation ends it for all: not after it, as the line of the step shows.
static void ranks_asked(void) {
    char text[16*40 + 1];
    memset(text, 'x', sizeof text - 1), text[sizeof text - 1] = 0;
    write_text("rows.txt", text);
    setenv("ASKED_RANK", "1", 1);
    const int code = train_olmo("--ranks-device --d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 "
                                "--vocab 256 --seq-len 16 --batch 2 --micro-batch 1 --steps 4 --eval-every 1 "
                                "--sample-every 0 --data rows.txt --val rows.txt --gpus 2 --out halted");
    unsetenv("ASKED_RANK");
    char *metrics = slurp("halted/metrics.jsonl", NULL);
    check(went_well(code) && newest_checkpoint("halted") == 1 && metrics && strstr(metrics, "\"step\": 1")
          && !strstr(metrics, "eval/validation/") && strstr(said, "stopped as asked, after step 1 of 4"),
          "rank 1 is asked to stop in a validation: both save step 1, without it; code %d: %s", code,
          last_line(said));
    release(metrics);
    system_or_die("rm -rf halted rows.txt");
}

// The ranks of a run that --gpus has started, in their order: children of its process.
static int ranks_of(pid_t parent, int *pid, int most) {
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    FILE *file = fopen(path, "r");
    while (file && n < most && fscanf(file, "%d", &pid[n]) == 1) n++;
    if (file) fclose(file);
    return n;
}
// How many of these processes are in this state: 'T' stopped, 'Z' ended, and nobody has asked how.
static int in_state(char state, const int *pid, int n) {
    char path[64], found;
    int count = 0;
    for (int r = 0; r < n; r++) {
        snprintf(path, sizeof path, "/proc/%d/stat", pid[r]);
        FILE *file = fopen(path, "r");
        count += file && fscanf(file, "%*d (%*[^)]) %c", &found) == 1 && found == state;
        if (file) fclose(file);
    }
    return count;
}
static int alive(const int *pid, int n) {
    int living = 0;
    for (int r = 0; r < n; r++) living += kill(pid[r], 0) == 0;
    return living - in_state('Z', pid, n);                  // not everywhere does process 1 ask for orphans
}

// However one rank ends, all end, and one sentence says which it was.
static void ranks_fail(void) {
    const char *endless = "--steps 100000000 --save-every 0 --eval-every 0 --micro-batch 10 --out endless";
    int pid[MOST_RANKS], code;
    for (int victim = 0; victim < 3; victim++) {             // often while rank 0 saves
        pid_t run = start_olmo("%s --gpus 3 %s --save-every 1 --keep 2", odd_model, endless);
        wait_for_metrics("endless/metrics.jsonl", 1000);
        const int n = ranks_of(run, pid, MOST_RANKS);
        if (n == 3) kill(pid[victim], SIGKILL);
        code = wait_for(run);
        char sentence[64];
        snprintf(sentence, sizeof sentence, "error: rank %d of 3: has died", victim);
        check(n == 3 && code == 1 && error_lines() == 1 && strstr(complained, sentence)
              && !alive(pid, n), "rank %d killed: %.60s", victim, complained);
        unlink("endless/latest.tmp");                        // a link, which is always whole
        check(victim == 0 || !holds("endless", ".tmp"), "nothing is left half-written");
        system_or_die("rm -rf endless");
    }
    pid_t run = start_olmo("%s --gpus 3 %s", odd_model, endless);
    wait_for_metrics("endless/metrics.jsonl", 1000);
    const int n = ranks_of(run, pid, MOST_RANKS);
    kill(run, SIGKILL);
    wait_for(run);
    for (int ms = 0; alive(pid, n) && ms < 1000*PATIENCE; ms++) sleep_ms(1);
    check(n == 3 && !alive(pid, n), "the parent killed: no rank is left running");
    system_or_die("rm -rf endless");
    setenv("ILL_RANK", "1", 1);
    refuses("a rank that sees NaN", "error: rank 1 of 3: step 1", "is nan",
            "%s --gpus 3 --steps 3 --out ill", odd_model);
    unsetenv("ILL_RANK");
    check(newest_checkpoint("ill") < 0, "and nothing is saved");
    for (int one = 0; one < 2; one++) {                      // to the parent, and to one rank alone
        run = start_olmo("%s --gpus 3 %s", odd_model, endless);
        wait_for_metrics("endless/metrics.jsonl", 1000);
        const int all = ranks_of(run, pid, MOST_RANKS) == 3;
        if (all) kill(pid[1], SIGSTOP);                      // the others wait for one that is slow
        sleep_ms(300);
        if (all) kill(pid[1], SIGCONT);
        kill(one && all ? pid[1] : run, SIGTERM);
        code = wait_for(run);
        const int newest = newest_checkpoint("endless");
        check(went_well(code) && newest > 0 && !holds("endless", ".tmp")
              && strstr(said, "stopped as asked") && strstr(last_line(said), "params hash")
              && !strstr(strstr(said, "stopped as asked") + 1, "stopped as asked") && (!one || !*complained),
              "SIGTERM to %s: code %d, and a checkpoint of step %d", one ? "one rank" : "the parent",
              code, newest);
        code = train_olmo("--ranks-device --resume --gpus 2 --micro-batch 10 --out endless --steps %d",
                          newest + 2);
        check(went_well(code), "and two ranks go on: %s", last_line(said));
        system_or_die("rm -rf endless");
    }
}

// The same for a rank that lives, and is heard no more; and a run goes on where that only seems so.
static void ranks_fall_silent(int free_port) {
    const char *endless = "--steps 100000000 --save-every 0 --eval-every 0 --out endless";
    int pid[MOST_RANKS], status[2], code;
    char port[16];
    setenv("PATIENCE", "4", 1);
    // One of three is stopped. The others end, and then their parent ends it.
    pid_t run = start_olmo("%s --gpus 3 %s --micro-batch 10", odd_model, endless);
    wait_for_metrics("endless/metrics.jsonl", 1000);
    int n = ranks_of(run, pid, MOST_RANKS);
    if (n == 3) kill(pid[2], SIGSTOP);
    const double begun = seconds();
    code = wait_for(run);
    check(n == 3 && code == 1 && seconds() - begun < 45 && error_lines() == 1
          && strstr(complained, "rank 2 of 3: has fallen silent") && !alive(pid, n),
          "rank 2 stopped: %.60s", complained);
    system_or_die("rm -rf endless");
    // The two that could say so are killed at once: their parent says it.
    run = start_olmo("%s --gpus 3 %s --micro-batch 10", odd_model, endless);
    wait_for_metrics("endless/metrics.jsonl", 1000);
    n = ranks_of(run, pid, MOST_RANKS);
    for (int r = 0; r < 2; r++) kill(pid[r], SIGSTOP);
    for (int ms = 0; in_state('T', pid, 2) < 2 && ms < 1000*PATIENCE; ms++) sleep_ms(1);
    kill(pid[1], SIGKILL);
    // Until its parent has asked how it ended: else that may see rank 0 first.
    for (int ms = 0; kill(pid[1], 0) == 0 && ms < 1000*PATIENCE; ms++) sleep_ms(1);
    kill(pid[0], SIGKILL);
    code = wait_for(run);
    check(n == 3 && code == 1 && error_lines() == 1
          && strstr(complained, "rank 1 of 3 was ended by signal 9 (Killed)"), "ranks 1 and 0 killed: %s",
          complained);
    system_or_die("rm -rf endless");
    // A machine with ranks 0 and 1 is silent. Another has rank 2, which says so. They end when they go on.
    snprintf(port, sizeof port, "%d", free_port);
    setenv("MASTER_PORT", port, 1), setenv("MASTER_ADDR", "localhost", 1), setenv("WORLD_SIZE", "3", 1);
    for (int r = 2; r >= 0; r--) {
        setenv("RANK", r == 2 ? "2" : r ? "1" : "0", 1), setenv("LOCAL_RANK", r == 1 ? "1" : "0", 1);
        pid[r] = start_olmo("%s %s --micro-batch 10", odd_model, endless);
    }
    wait_for_metrics("endless/metrics.jsonl", 1000);
    for (int r = 0; r < 2; r++) kill(pid[r], SIGSTOP);
    code = wait_for(pid[2]);
    check(code == 1 && strstr(complained, "error: rank 0 of 3: has fallen silent"),
          "ranks 0 and 1 stopped: %.60s", complained);
    for (int r = 0; r < 2; r++) kill(pid[r], SIGCONT);
    for (int r = 0; r < 2; r++) waitpid(pid[r], &status[r], 0);
    check(WIFEXITED(status[0]) && WEXITSTATUS(status[0]) == 1 && WIFEXITED(status[1])
          && WEXITSTATUS(status[1]) == 1, "and they end when they go on");
    system_or_die("rm -rf endless");
    unsetenv("RANK"), unsetenv("LOCAL_RANK"), unsetenv("WORLD_SIZE");
    // All are stopped together, as by Ctrl-Z; and one works for long while the others wait for it.
    run = start_olmo("%s --gpus 3 %s --micro-batch 10", odd_model, endless);
    wait_for_metrics("endless/metrics.jsonl", 1000);
    n = ranks_of(run, pid, MOST_RANKS);
    for (int r = 0; r < n; r++) kill(pid[r], SIGSTOP);
    sleep_ms(6000);
    for (int r = 0; r < n; r++) kill(pid[r], SIGCONT);
    sleep_ms(1500);                                         // each counts its next second
    kill(run, SIGTERM);
    code = wait_for(run);
    check(n == 3 && went_well(code), "all stopped for 6 s: they go on%s", code ? complained : "");
    system_or_die("rm -rf endless");
    setenv("SLOW_RANK", "0", 1);
    code = train_olmo("%s --gpus 2 --micro-batch 60 --steps 1 --out endless", odd_model);
    check(went_well(code), "rank 0 is 6 s late: rank 1 waits%s", complained);
    system_or_die("rm -rf endless");
    unsetenv("SLOW_RANK"), unsetenv("PATIENCE");
    setenv("BROKEN_LINK", "1", 1);
    refuses("a link between devices that fails", "error: rank 1 of 2: a link", "has failed",
            "%s --gpus 2 %s --micro-batch 60", odd_model, endless);
    unsetenv("BROKEN_LINK");
    system_or_die("rm -rf endless");
}

// A value in the last line of a run's metrics.
static double last_metric(const char *run, const char *name) {
    char path[PATH];
    path_join(path, run, "metrics.jsonl");
    char *text = slurp(path, NULL);
    const char *line = text && *text ? last_line(text) : NULL, *value = line ? json_get(line, name) : NULL;
    const double x = value ? strtod(value, NULL) : NAN;
    release(text);
    return x;
}

// Two ranks with a disk each, as two machines have them: rank 1 works in the directory `other`. What they
// do not have alike is refused by a sentence of rank 0.
static void ranks_differ(const char *what, const char *world, const char *flags, const char *says) {
    setenv("WORLD_SIZE", world, 1), setenv("RANK", "1", 1), setenv("LOCAL_RANK", "0", 1);
    CHECK(chdir("other") == 0, "other: %s", strerror(errno));
    if (access("program", X_OK) == 0) path_join(program, ".", "program");
    const pid_t other = start_olmo("%s --steps 2 --out differ %s", odd_model, flags);
    snprintf(program, sizeof program, "%s", self);
    CHECK(chdir("..") == 0, "..: %s", strerror(errno));
    setenv("WORLD_SIZE", "2", 1), setenv("RANK", "0", 1);
    int code = wait_for(start_olmo("%s --steps 2 --out differ", odd_model)), code_of_other;
    check(code == 1 && error_lines() == 1 && strstr(complained, says) && !file_exists("differ"), "%s: %s",
          what, complained);
    waitpid(other, &code_of_other, 0);
    // Before they have met, each says its own sentence; after that rank 0 alone.
    char *own_words = slurp("other/stderr", NULL);
    check(WIFEXITED(code_of_other) && WEXITSTATUS(code_of_other) == 1 && own_words
          && (*world == '2' ? !*own_words : strstr(own_words, "ranks of 2 meet, not of 3") != NULL),
          "and the other one ends as well: %s", own_words ? own_words : "");
    release(own_words);
    unsetenv("WORLD_SIZE"), unsetenv("RANK"), unsetenv("LOCAL_RANK");
}

// What is not as it should be when they meet. busy: a port where somebody listens, and never answers.
static void ranks_do_not_meet(int busy, int free_port) {
    char port[16], busy_port[16];
    snprintf(port, sizeof port, "%d", free_port), snprintf(busy_port, sizeof busy_port, "%d", busy);
    setenv("MASTER_PORT", port, 1), setenv("MASTER_ADDR", "localhost", 1);
    system_or_die("mkdir other; cp ids.bin few.bin other");
    ranks_differ("another learning rate", "2", "--lr 0.02",
                 "rank 1 of 2: here is --lr 0.02, but on rank 0 --lr 0.01;");
    system_or_die("cp -r forked other/differ");
    ranks_differ("one of them resumes", "2", "--resume --micro-batch 4", "rank 1 of 2: here is --resume");
    system_or_die("rm -r other/differ");
    ranks_differ("another world", "3", "", "rank 1 of 3 has come");
    system_or_die("tail -c 320 few.bin > other/few.bin");
    ranks_differ("other data", "2", "", "rank 1 of 2: here is few.bin of 320 bytes");
    system_or_die("cp few.bin other");
    copy_file(self, "other/program");
    system_or_die("echo >> other/program; chmod +x other/program");
    ranks_differ("another program", "2", "", "rank 1 of 2: here is a program of");
    // The same rank twice.
    setenv("WORLD_SIZE", "3", 1), setenv("LOCAL_RANK", "0", 1);
    setenv("RANK", "0", 1);
    pid_t first = start_olmo("%s --steps 2 --out met", odd_model), second, third;
    setenv("RANK", "1", 1);
    CHECK(chdir("other") == 0, "other: %s", strerror(errno));
    second = start_olmo("%s --steps 2 --out met", odd_model);
    third = start_olmo("%s --steps 2 --out met", odd_model);
    CHECK(chdir("..") == 0, "..: %s", strerror(errno));
    waitpid(second, NULL, 0), waitpid(third, NULL, 0);
    int code = wait_for(first);
    check(code == 1 && strstr(complained, "two processes are rank 1 of 3"), "a rank that comes twice: %s",
          complained);
    // Strangers, who begin to speak and do not go on, keep nobody waiting.
    setenv("WORLD_SIZE", "2", 1), setenv("RANK", "0", 1);
    first = start_olmo("%s --micro-batch 60 --steps 2 --out met", odd_model);
    int stranger[12];
    const struct addrinfo kind = { 0, AF_INET, SOCK_STREAM, 0, 0, NULL, NULL, NULL };
    struct addrinfo *at = NULL;
    CHECK(getaddrinfo("127.0.0.1", port, &kind, &at) == 0, "127.0.0.1 has no address");
    for (int i = 0; i < 12; i++)
        for (int ms = 0; ms < 1000*PATIENCE; ms++, sleep_ms(1)) {
            stranger[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (connect(stranger[i], at->ai_addr, at->ai_addrlen) == 0) break;
            close(stranger[i]);
        }
    int speak = 0;
    static const char *const words[] = { "OL", "OLMo in ", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" };
    for (int i = 0; i < 12; i++) {
        const ssize_t n = (ssize_t)strlen(words[i % 3]);
        speak += send(stranger[i], words[i % 3], (size_t)n, MSG_NOSIGNAL) == n;
    }
    freeaddrinfo(at);
    setenv("RANK", "1", 1);
    second = start_olmo("%s --micro-batch 60 --steps 2 --out met", odd_model);
    code = wait_for(first);
    check(went_well(code) && speak == 12, "twelve strangers come first: %.30s%s", last_line(said),
          complained);
    waitpid(second, &code, 0);
    for (int i = 0; i < 12; i++) close(stranger[i]);
    setenv("PATIENCE", "1", 1), setenv("RANK", "0", 1);
    refuses("a rank that does not come", "error: rank 0 of 2: only 1 of 2 ranks", "MASTER_ADDR",
            "%s --steps 2 --out met", odd_model);
    setenv("RANK", "1", 1);
    refuses("nobody where rank 0 should be", "localhost:", "(Connection refused)", "%s --steps 2 --out met",
            odd_model);
    unsetenv("MASTER_PORT"), unsetenv("MASTER_ADDR");
    refuses("nobody, and nothing said", "127.0.0.1:29500", "MASTER_ADDR", "%s --steps 2 --out met",
            odd_model);
    setenv("MASTER_PORT", busy_port, 1);
    setenv("MASTER_ADDR", "localhost", 1);
    refuses("another program where rank 0 should be", busy_port, "something else is there",
            "%s --steps 2 --out met", odd_model);
    setenv("MASTER_ADDR", "nobody.invalid", 1), setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
    refuses("a host that nobody knows", "nobody.invalid", "MASTER_ADDR", "%s --steps 2 --out met", odd_model);
    unsetenv("RES_OPTIONS");
    unsetenv("RANK");
    refuses("a rank without a number", "WORLD_SIZE=2", "there is no RANK", "%s --steps 2 --out met",
            odd_model);
    unsetenv("PATIENCE"), unsetenv("WORLD_SIZE"), unsetenv("LOCAL_RANK");
    system_or_die("rm -rf met other");
}

static int can_connect(const char *host, int port) {
    const int line = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET, at.sin_port = htons((uint16_t)port), inet_pton(AF_INET, host, &at.sin_addr);
    const int yes = connect(line, (struct sockaddr *)(void *)&at, sizeof at) == 0;
    close(line);
    return yes;
}
// Is ::1 this machine? A container may have IPv6, and no address of it.
static int speaks_ipv6(void) {
    const int line = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 at;
    memset(&at, 0, sizeof at);
    at.sin6_family = AF_INET6, at.sin6_addr = in6addr_loopback;
    const int yes = bind(line, (struct sockaddr *)(void *)&at, sizeof at) == 0;
    close(line);
    return yes;
}

// Keeps a port for the ranks of these tests: this one, or any that is free if it is 0. A socket is bound to
// it and does not listen, so a rank may still wait there, and the system gives it to nobody else. Returns
// the port, or 0: it is not free.
static int keep_port(int *keeper, int port) {
    const int yes = 1;
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET, at.sin_port = htons((uint16_t)port);
    *keeper = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(*keeper, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(*keeper, (struct sockaddr *)(void *)&at, size) == 0
        && getsockname(*keeper, (struct sockaddr *)(void *)&at, &size) == 0) return ntohs(at.sin_port);
    close(*keeper);
    return 0;
}

// Other launchers' variables; and what cannot be.
static void ranks_started_by_others(void) {
    static const char *const names[][3] = {
        { "RANK", "WORLD_SIZE", "LOCAL_RANK" },
        { "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK" },
        { "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID" },
        { "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID" },
        { "PMI_RANK", "PMI_SIZE", "SLURM_LOCALID" } };       // srun --mpi=pmi2
    char forked[64], port[16];
    int taken = 0, busy, free_port, keeper;
    CHECK(went_well(train_olmo("%s --gpus 2 --micro-batch 60 --steps 2 --out forked", odd_model)),
          "a test could not train: %s", complained);
    snprintf(forked, sizeof forked, "%s", last_line(said));
    busy = listen_at(0, &taken);
    check(can_connect("127.0.0.1", taken) && !can_connect("127.0.0.2", taken),
          "ranks on one machine meet at its own address alone");
    do {                                                     // torchrun waits at one port, we at the next
        close(busy), taken = 0;
        busy = listen_at(1, &taken);
        free_port = taken == 65535 ? 0 : keep_port(&keeper, taken + 1);
    } while (!free_port);
    check(can_connect("127.0.0.2", taken), "others meet at any");
    for (int k = 0; k < 5; k++) {
        const int machines = k < 3 ? 1 : 2;                  // each counts its watts once
        pid_t pid[2];
        const int torchrun = k == 0;                         // which waits at this port itself
        snprintf(port, sizeof port, "%d", torchrun ? taken : free_port);
        setenv("TORCHELASTIC_USE_AGENT_STORE", torchrun ? "True" : "False", 1);
        setenv("MASTER_PORT", port, 1), setenv(names[k][1], "2", 1);
        setenv("MASTER_ADDR", k == 1 && speaks_ipv6() ? "::1" : "localhost", 1);
        if (k == 4) unsetenv("MASTER_ADDR");                 // then it is this machine
        for (int r = 1; r >= 0; r--) {                       // rank 1 first: it waits
            setenv(names[k][0], r ? "1" : "0", 1), setenv(names[k][2], r && machines == 1 ? "1" : "0", 1);
            if (k == 2) unsetenv(names[k][2]);               // one machine, then
            pid[r] = start_olmo("%s --micro-batch 60 --steps 2 --energy --watts %d --threads %d --out met",
                                odd_model, 100 - 40*r, 1 + r);
            if (r) sleep_ms(300);
        }
        int code = wait_for(pid[0]);
        check(went_well(code) && !strcmp(forked, last_line(said)),
              "two processes meet by %s: the forked ones' bits: %.30s%s", names[k][0], last_line(said),
              complained);
        waitpid(pid[1], &code, 0);
        check(code == 0, "and the other one ends as well: code %d", code);
        // The other machine's seconds are its own: more than none, but nobody knows how many.
        const double watts = last_metric("met", "energy/watts");
        check(machines == 2 ? watts > 101 : near(watts, 100, 1e-3),
              "on machines of 100 and 60 W, %d of them: %.0f W", machines, watts);
        snprintf(port, sizeof port, "%d", taken);
        setenv("MASTER_PORT", port, 1);
        if (k == 1)
            refuses("a port in use", port, "choose another MASTER_PORT", "%s --steps 2 --out met",
                    odd_model);
        for (int i = 0; i < 3; i++) unsetenv(names[k][i]);
        system_or_die("rm -rf met");
    }
    unsetenv("TORCHELASTIC_USE_AGENT_STORE");
    ranks_do_not_meet(taken, free_port);
    ranks_fall_silent(free_port);
    char command[3*PATH];
    snprintf(command, sizeof command, "sleep 0.1 & sleep 0.1 & exec '%s' %s --gpus 2 --steps 200 --out with "
             ">stdout 2>&1", self, odd_model);
    const int ended = system(command);
    char *printed = slurp("stdout", NULL);
    check(ended == 0 && printed && strstr(printed, "params hash"),
          "children of the shell that became the program are not ranks");
    release(printed);
    system_or_die("rm -rf with");
    setenv("WORLD_SIZE", "2", 1), setenv("RANK", "2", 1);
    refuses("a rank that is none", "RANK=2", "from 0 to 1", "%s --steps 2 --out met", odd_model);
    setenv("PATIENCE", "1", 1);
    int code = train_olmo("%s --steps 1 --no-save --gpus 1 --out met", odd_model);
    check(went_well(code), "--gpus 1 is a run of its own, whatever a launcher says: %s", complained);
    unsetenv("PATIENCE");
    setenv("RANK", "1st", 1);
    refuses("a rank that is no number", "RANK=1st", "from 0 to 1", "%s --steps 2 --out met", odd_model);
    unsetenv("WORLD_SIZE"), unsetenv("RANK"), unsetenv("MASTER_PORT"), unsetenv("MASTER_ADDR");
    close(busy), close(keeper);
    refuses("a batch that cannot be dealt out", "--batch 120", "7 ranks", "%s --steps 2 --gpus 7", odd_model);
    refuses("several ranks for one answer", "--generate", "--gpus 1",
            "--ranks-device --load forked/step2 --generate 3 --gpus 2 --prompt-ids 1");
    refuses("another way to share out", "--shard weights", "optimizer or gradients",
            "%s --steps 2 --gpus 2 --shard weights", odd_model);
    system_or_die("rm -rf forked");
}

#ifdef __CUDACC__
// One run by one card, and by several that share it. (Where there is one card, or no NCCL, only that it
// says so.) The steps of a model whose sizes are odd, so that no rank has a round piece of it; where a CPU
// runs the kernels few, of a small one.
static const int ranks_steps = on_cpu ? 5 : 50, ranks_batch = on_cpu ? 6 : 32;
#define RANKS_FLAGS "--warmup 2 --sample-every 0 --lr 0.01 --data ids.bin --val few.bin"
static const char *const ranks_model = on_cpu
    ? "--gpu-device --d-model 12 --n-layers 3 --n-heads 2 --n-kv-heads 1 --mlp-hidden 22 --vocab 67 "
      "--seq-len 4 --steps 5 --batch 6 --eval-every 1 --save-every 2 " RANKS_FLAGS
    : "--gpu-device --d-model 60 --n-layers 3 --n-heads 5 --n-kv-heads 1 --mlp-hidden 88 --vocab 67 "
      "--seq-len 16 --steps 50 --batch 32 --eval-every 10 --save-every 20 " RANKS_FLAGS;
static char ranks_run[512];                                 // with untied weights

// `world` cards beside the one whose run is in ./one. Leaves the hash of their weights, and ./cards.
static void cards_beside_one(char hash[64], int world, double allowed) {
    const char *const loss = "train/CrossEntropyLoss", *const judged = "eval/validation/CrossEntropyLoss";
    const int steps = ranks_steps, rows = ranks_batch/world, fewer = on_cpu ? 1 : 5;
    system_or_die("rm -rf cards again mixed && cp -r one mixed && rm -r mixed/step5* mixed/latest");
    int code = train_olmo("%s --gpus %d --micro-batch %d --out cards", ranks_run, world, rows);
    snprintf(hash, 64, "%s", last_line(said));
    const double losses = metrics_apart("one", "cards", loss, steps);
    const double validation = metrics_apart("one", "cards", judged, 5);
    const double norms = metrics_apart("one", "cards", "optim/total_grad_norm", steps);
    check(went_well(code) && losses <= allowed && validation <= allowed
          && (sizeof(elem) == 2 || norms <= 10*allowed),
          "GPU: %d cards beside one, %d steps: losses %.1e, validation %.1e apart (allowed %.1e), "
          "norms %.1e%s", world, steps, losses, validation, allowed, norms, complained);
    code = train_olmo("%s --gpus %d --micro-batch %d --out again", ranks_run, world, rows);
    check(went_well(code) && !strcmp(hash, last_line(said)), "GPU: %d cards twice: equal bits: %.30s", world,
          last_line(said));
    const double waited = last_metric("again", "throughput/device/exposed_communication_seconds");
    check(waited > 0, "GPU: ... that waited %.1e s for each other in the last step", waited);
    code = train_olmo("%s --gpus %d --micro-batch %d --shard gradients --out again", ranks_run, world, rows);
    check(went_well(code) && !strcmp(hash, last_line(said)),
          "GPU: ... and with --shard gradients: %.30s", last_line(said));
    for (int shard = 0; shard < 2; shard++) {
        code = train_olmo("%s --gpus %d --micro-batch %d --out again %s", ranks_run, world,
                          fewer, shard ? "--shard gradients" : "");
        check(went_well(code) && metrics_apart("one", "again", loss, steps) <= allowed,
              "GPU: ... in passes of %d%s: %.1e apart", fewer, shard ? ", sharing out gradients" : "",
              metrics_apart("one", "again", loss, steps));
    }
    code = train_olmo("--gpu-device --resume --out cards");
    check(went_well(code) && !strcmp(hash, last_line(said)),
          "GPU: one card reads the bits that %d have written: %.30s", world, last_line(said));
    system_or_die("rm -r cards/step5* cards/latest");
    code = train_olmo("--gpu-device --resume --gpus %d --micro-batch %d --out cards", world, rows);
    check(went_well(code) && !strcmp(hash, last_line(said)),
          "GPU: resumed at step %d, %d end at the same bits: %.30s", steps*4/5, world, last_line(said));
    code = train_olmo("--gpu-device --resume --gpus %d --micro-batch %d --out mixed", world, rows);
    check(went_well(code) && metrics_apart("one", "mixed", loss, steps) <= allowed,
          "GPU: begun by one, %d go on: %.1e apart", world, metrics_apart("one", "mixed", loss, steps));
}

// The same of tied weights, whose gradient comes from both ends of the model.
static void tied_cards_beside_one(int world, double allowed) {
    const char *const loss = "train/CrossEntropyLoss";
    char hash[64] = "";
    int code = train_olmo("%s --tied --micro-batch %d --out one", ranks_model, ranks_batch/world);
    CHECK(went_well(code), "a test could not train: %s", complained);
    for (int shard = 0; shard < 2; shard++) {
        code = train_olmo("%s --tied --gpus %d --micro-batch %d --out cards --shard %s", ranks_model, world,
                          ranks_batch/world, shard ? "gradients" : "optimizer");
        const double apart = metrics_apart("one", "cards", loss, ranks_steps);
        check(went_well(code) && apart <= allowed && (!shard || !strcmp(hash, last_line(said))),
              "GPU: tied weights, sharing out %s: %.1e apart, %.30s%s", shard ? "gradients" : "moments",
              apart, last_line(said), complained);
        snprintf(hash, sizeof hash, "%s", last_line(said));
    }
}

// Two processes that find each other, as those of two machines do: the same bits.
static void cards_meet(const char *hash) {
    char port[16];
    int keeper, pid[2], code;
    setenv("WORLD_SIZE", "2", 1), setenv("MASTER_ADDR", "localhost", 1);
    snprintf(port, sizeof port, "%d", keep_port(&keeper, 0)), setenv("MASTER_PORT", port, 1);
    for (int r = 1; r >= 0; r--) {
        setenv("RANK", r ? "1" : "0", 1), setenv("LOCAL_RANK", r ? "1" : "0", 1);
        pid[r] = start_olmo("%s --micro-batch %d --out met", ranks_run, ranks_batch/2);
        if (r) sleep_ms(300);
    }
    code = wait_for(pid[0]);
    waitpid(pid[1], NULL, 0);
    check(went_well(code) && !strcmp(hash, last_line(said)),
          "GPU: two processes that meet by MASTER_ADDR: %.30s%s", last_line(said), complained);
    unsetenv("WORLD_SIZE"), unsetenv("RANK"), unsetenv("LOCAL_RANK");
    close(keeper);
}

// A sample in the midst of a run, for which new weights are still on their way, is that of its checkpoint.
// (At this rate every update changes what the model says.)
static void cards_sample(int world) {
    char sampled[256];
    int code = train_olmo("%s --gpus %d --micro-batch %d --out sampled --lr 0.3 --warmup 0 --steps 3 "
                          "--eval-every 3 --save-every 2 --sample-every 2 --prompt-ids 5 --temperature 0",
                          ranks_run, world, ranks_batch/world);
    const char *line = strstr(said, "\n    ");
    snprintf(sampled, sizeof sampled, "%.*s", line ? (int)strcspn(line + 5, "\n") : 0, line ? line + 5 : "");
    check(went_well(code) && strchr(sampled, ','), "GPU: %d cards sample %s%s", world, sampled, complained);
    code = train_olmo("--gpu-device --load sampled/step2 --generate 99 --prompt-ids 5 --temperature 0");
    check(went_well(code) && !strncmp(sampled, last_line(said), strlen(sampled)),
          "GPU: ... as their checkpoint does: %.*s", (int)strcspn(last_line(said), "\n"), last_line(said));
}

static void test_gpu_ranks(void) {
    const Config c = on_cpu ? config_of(12, 3, 2, 1, 22, 67, 4, 0, 0, 0)
        : config_of(60, 3, 5, 1, 88, 67, 16, 0, 0, 0);
    const double of_fp32 = ranks_steps*budget(gradient_length(&c, ranks_batch, c.seq_len));
    const double allowed = sizeof(elem) == 2 ? 1e-3 : of_fp32;
    const int half = ranks_batch/2, many = on_cpu ? 3 : 4;
    char hash[64];
    int cards = 0, pid[2], code;
    CUDA(cudaGetDeviceCount(&cards));
    setenv("TRAIN_OLMO", self, 1);
    snprintf(ranks_run, sizeof ranks_run, "%s --untied", ranks_model);
    enter_yard();
    if (alone || cards < 2) {
        if (alone) refuses("two cards, without NCCL", "--gpus 2", "without NCCL", "%s --gpus 2", ranks_run);
        else refuses("two cards, of one", "rank 1 of 2", "CUDA shows only", "%s --gpus 2", ranks_run);
    }
    if (on_cpu) {                                           // now it shows more of them
        cards = many;
        setenv("CARDS", "3", 1);
        write_tokens("few.bin", 60, 64);
    }
    if (alone || cards < 2) {
        leave_yard();
        return;
    }
    CHECK(went_well(train_olmo("%s --micro-batch %d --out one", ranks_run, half)),
          "a test could not train: %s", complained);
    if (cards >= many) {
        cards_beside_one(hash, many, allowed);
        system_or_die("rm -r cards/step5* cards/latest");
        code = train_olmo("--gpu-device --resume --gpus 2 --micro-batch %d --shard gradients --out cards",
                          half);
        check(went_well(code), "GPU: begun by %d, two go on: %.30s%s", many, last_line(said), complained);
    }
    if (!on_cpu) {                                          // where three took long enough
        cards_beside_one(hash, 2, allowed);
        cards_meet(hash);
    }
    tied_cards_beside_one(cards >= many ? many : 2, allowed);
    cards_sample(cards >= many ? many : 2);
    for (int k = 0; k < (on_cpu ? 2 : 3); k++) {    // ranks 0 and 1 are killed, and rank 0 is stopped
        const int victim = k % 2, stopped = k == 2;
        if (stopped) setenv("PATIENCE", "5", 1);
        const pid_t parent = start_olmo("%s --gpus 2 --micro-batch %d --out endless --steps 10000000",
                                        ranks_run, half);
        wait_for_metrics("endless/metrics.jsonl", 1000);
        const int n = ranks_of(parent, pid, 2);
        const double killed = seconds();
        if (n == 2) kill(pid[victim], stopped ? SIGSTOP : SIGKILL);
        code = wait_for(parent);
        char sentence[64];
        snprintf(sentence, sizeof sentence, "error: rank %d of 2: has %s", victim,
                 stopped ? "fallen silent" : "died");
        check(n == 2 && code == 1 && error_lines() == 1 && strstr(complained, sentence)
              && !alive(pid, n), "GPU: rank %d %s; %.1f s later: %.50s", victim,
              stopped ? "stopped" : "killed", seconds() - killed, complained);
        system_or_die("rm -rf endless");
    }
    unsetenv("PATIENCE"), unsetenv("CARDS");
    leave_yard();
}
#endif

// ---- how ranks talk, without a run -------------------------------------------------------------
static int option_of(int line, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    CHECK(getsockopt(line, level, name, &value, &size) == 0, "getsockopt: %s", strerror(errno));
    return value;
}
static double waits(int line, int name) {
    struct timeval most;
    socklen_t size = sizeof most;
    CHECK(getsockopt(line, SOL_SOCKET, name, &most, &size) == 0, "getsockopt: %s", strerror(errno));
    return (double)most.tv_sec + 1e-6*(double)most.tv_usec;
}
// What the system does for a socket.
static void sockets_are_set(void) {
    int port = 0, soon = 5;
    const int door = listen_at(0, &port), plain = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    CHECK(getsockname(door, (struct sockaddr *)&at, &size) == 0, "getsockname: %s", strerror(errno));
    setsockopt(plain, IPPROTO_TCP, TCP_DEFER_ACCEPT, &soon, sizeof soon);
    check(at.sin_family == AF_INET && ntohl(at.sin_addr.s_addr) == INADDR_LOOPBACK
          && ntohs(at.sin_port) == port && option_of(door, SOL_SOCKET, SO_REUSEADDR)
          && option_of(door, IPPROTO_TCP, TCP_DEFER_ACCEPT)
          == option_of(plain, IPPROTO_TCP, TCP_DEFER_ACCEPT),
          "ranks of one machine meet at 127.0.0.1, port %d, when they speak", port);
    be_patient(plain, 2.5);
    check(fabs(waits(plain, SO_RCVTIMEO) - 2.5) < 0.02 && fabs(waits(plain, SO_SNDTIMEO) - 2.5) < 0.02
          && option_of(plain, IPPROTO_TCP, TCP_NODELAY) == 1,
          "a socket waits for 2.5 s, and holds nothing back");
    be_patient(plain, 0);
    check(waits(plain, SO_RCVTIMEO) == 0 && waits(plain, SO_SNDTIMEO) == 0, "and then for ever");
    close(door), close(plain);
}

// Two ranks in two processes: sums, more of them than are sent at a time; rank 0's bytes; a wish to stop.
static void two_ranks_talk(void) {
    enum { N = 1300 };
    static double x[N];
    static char bytes[3000];
    int line[2], status = 1;
    Hello h;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, line) == 0, "socketpair: %s", strerror(errno));
    fflush(NULL);
    const pid_t other = fork();
    ranks.world = 2, ranks.rank = other == 0, asked_here = other == 0;
    if (other) talk[1] = line[0]; else talk[0] = line[1];
    for (int i = 0; i < N; i++) x[i] = other ? i : 1e4*i + 0.5;
    for (int i = 0; i < 3000; i++) bytes[i] = (char)(other ? i*7 : 0);
    ranks_sum(x, N), ranks_share(bytes, sizeof bytes);
    int fine = 1, stop = agreed_to_stop();
    for (int i = 0; i < N; i++) fine &= x[i] == 10001.0*i + 0.5;
    for (int i = 0; i < 3000; i++) fine &= bytes[i] == (char)(i*7);
    if (!other) {
        h = hello(1), send_all(talk[0], &h, sizeof h);
        h.program[3] = 'x', send_all(talk[0], &h, sizeof h);
        send_all(talk[0], &h, 7);
        _exit(!(fine && stop));
    }
    while (waitpid(other, &status, 0) < 0 && errno == EINTR) {}
    close(line[1]);
    check(fine && stop && status == 0 && asked_to_stop,
          "two ranks have the same sums, bytes, and wish to stop");
    asked_to_stop = asked_here = 0;
    const int heard = hears_hello(line[0], &h) && !strncmp(h.program, "OLMo in C", 8) && h.rank == 1
        && h.world == 2 && h.is_life == 1;
    check(heard && !hears_hello(line[0], &h) && !hears_hello(line[0], &h),
          "a rank says who it is; what says something else, or not all, is none");
    ranks.world = 1, ranks.rank = 0, talk[0] = talk[1] = 0;
    close(line[0]);
}

static const struct { const char *text; int least, most, value; } numbers_there[] = {      // -2: refused
    { NULL, 0, 7, -1 }, { "", 0, 7, -1 }, { "7", 0, 7, 7 }, { "8", 0, 7, -2 }, { "0", 1, 5, -2 },
    { "1", 1, 5, 1 }, { "7x", 0, 9, -2 }, { "x", 0, 9, -2 }, { "-1", 0, 9, -2 },
};
static void read_number_there(int i) {
    (void)environment("A_NUMBER", numbers_there[i].least, numbers_there[i].most);
}
static void test_ranks_apart(void) {
    int fine = 1;
    sockets_are_set();
    two_ranks_talk();
    for (int i = 0; i < (int)(sizeof numbers_there/sizeof *numbers_there); i++) {
        const char *text = numbers_there[i].text;
        if (text) setenv("A_NUMBER", text, 1);
        const int refused = dies(read_number_there, i, "expected a whole number from ");
        fine &= refused == (numbers_there[i].value == -2);
        if (!refused) fine &= environment("A_NUMBER", numbers_there[i].least, numbers_there[i].most)
            == numbers_there[i].value;
        unsetenv("A_NUMBER");
    }
    check(fine, "a launcher's numbers: one that is there and within bounds, or none, or a sentence");
}

static void test_ranks(void) {
    enter_yard();
    refuses("cards, to the CPU's program", "--gpus 2", "program for the CPU",
            "%s --data ids.bin --steps 1 --gpus 2", tiny_model);
    setenv("WORLD_SIZE", "2", 1), setenv("RANK", "1", 1);
    refuses("a launcher, to the CPU's program", "rank 1 of 2", "program for the CPU",
            "%s --data ids.bin --steps 1", tiny_model);
    unsetenv("WORLD_SIZE"), unsetenv("RANK");
    setenv("SLURM_NTASKS", "2", 1), setenv("SLURM_PROCID", "0", 1), setenv("WORLD_SIZE", "", 1);
    int code = train_olmo("%s --data ids.bin --steps 1 --no-save", tiny_model);
    check(went_well(code), "a job of two tasks, not started by srun, is no rank: %.30s%s", last_line(said),
          complained);
    unsetenv("SLURM_NTASKS"), unsetenv("SLURM_PROCID"), unsetenv("WORLD_SIZE");
    snprintf(program, sizeof program, "%s", self);
    ranks_talk();
    ranks_agree();
    ranks_adapt();
    ranks_ask();
    ranks_asked();
    ranks_fail();
    ranks_started_by_others();
    leave_yard();
}

// ---- all of them --------------------------------------------------------------------------------
// In this order: what needs no program first, what is quick first.
// OF_PROGRAM: in float, and runs ./train_olmo
typedef enum {
    IN_FLOAT, IN_DOUBLE, IN_BOTH, OF_PROGRAM,
    ON_GPU                                                  // or on dev/cuda_on_cpu, of smaller models
} When;

static const struct { const char *name; void (*run)(void); When when; } tests[] = {
    { "parameter_counts", test_parameter_counts, IN_BOTH },
    { "presets", test_presets, IN_FLOAT },
    { "tunings", test_tunings, IN_FLOAT },
    { "op_goldens", test_op_goldens, IN_BOTH },
    { "adamw_golden", test_adamw_golden, IN_BOTH },
    { "model_goldens", test_model_goldens, IN_BOTH },
    { "generation_golden", test_generation_golden, IN_BOTH },
    { "op_differences", test_op_differences, IN_DOUBLE },
    { "model_differences", test_model_differences, IN_DOUBLE },
    { "references", test_references, IN_BOTH },
    { "exchange", test_exchange, IN_FLOAT },
    { "written_directory", test_written_directory, IN_FLOAT },
    { "exp", test_exp, IN_BOTH },
    { "gemm", test_gemm, IN_BOTH },
    { "few_rows", test_few_rows, IN_BOTH },
    { "causal_product", test_causal_product, IN_BOTH },
    { "attention_naive", test_attention_naive, IN_BOTH },
    { "training_bits", test_training_bits, IN_BOTH },
    { "kv_cache", test_kv_cache, IN_BOTH },
    { "tree", test_tree, IN_BOTH },
    { "without_training", test_without_training, IN_BOTH },
    { "precision", test_precision, IN_FLOAT },
    { "shuffle_goldens", test_shuffle_goldens, IN_FLOAT },
    { "schedules", test_schedules, IN_FLOAT },
    { "number_formats", test_number_formats, IN_FLOAT },
    { "json", test_json, IN_FLOAT },
    { "data", test_data, IN_FLOAT },
    { "limits", test_limits, IN_FLOAT },
    { "sampling", test_sampling, IN_FLOAT },
    { "eos", test_eos, IN_FLOAT },
    { "sample_selects", test_sample_selects, IN_FLOAT },
    { "sample_refuses", test_sample_refuses, IN_FLOAT },
    { "init", test_init, IN_FLOAT },
    { "vectors", test_vectors, IN_BOTH },
    { "energy", test_energy, IN_FLOAT },
    { "train_step", test_train_step, IN_FLOAT },
    { "edges", test_edges, IN_FLOAT },
    { "rendering", test_rendering, IN_FLOAT },
    { "rendering_threads", test_rendering_threads, IN_FLOAT },
    { "reply", test_reply, IN_FLOAT },
    { "sample_text", test_sample_text, IN_FLOAT },
    { "chat", test_chat, IN_FLOAT },
    { "chat_at_terminal", test_chat_at_terminal, IN_FLOAT },
    { "rendering_official", test_rendering_official, IN_FLOAT },
    { "objectives", test_objectives, IN_FLOAT },
    { "adaptation_bits", test_adaptation_bits, IN_BOTH },
    { "adaptation_differences", test_adaptation_differences, IN_DOUBLE },
    { "adaptation_learns", test_adaptation_learns, IN_FLOAT },
    { "durability", test_durability, IN_FLOAT },
    { "options", test_options, IN_FLOAT },
    { "kept_options", test_kept_options, IN_FLOAT },
    { "requests", test_requests, IN_FLOAT },
    { "evaluators", test_evaluators, IN_FLOAT },
    { "second_device", test_second_device, IN_FLOAT },
    { "console_by_the_clock", test_console_by_the_clock, IN_FLOAT },
    { "meter", test_meter, IN_FLOAT },
    { "pieces", test_pieces, IN_FLOAT },
    { "ranks_apart", test_ranks_apart, IN_FLOAT },
    { "out_of_memory", test_out_of_memory, IN_FLOAT },
    { "hostile_files", test_hostile_files, OF_PROGRAM },
    { "command_line", test_command_line, OF_PROGRAM },
    { "resume", test_resume, OF_PROGRAM },
    { "adaptation", test_adaptation, OF_PROGRAM },
    { "save_load_save", test_save_load_save, OF_PROGRAM },
    { "companions", test_companions, OF_PROGRAM },
    { "full_disk", test_full_disk, OF_PROGRAM },
    { "signals", test_signals, OF_PROGRAM },
    { "runs", test_runs, OF_PROGRAM },
    { "ranks", test_ranks, OF_PROGRAM },
    { "kill_while_saving", test_kill_while_saving, OF_PROGRAM },
#ifdef __CUDACC__
    { "gpu_update", test_gpu_update, ON_GPU },
    { "gpu_tensors", test_gpu_tensors, ON_GPU },
    { "gpu_state", test_gpu_state, ON_GPU },
    { "gpu_ops", test_gpu_ops, ON_GPU },
    { "gpu_products", test_gpu_products, ON_GPU },
    { "gpu_decode", test_gpu_decode, ON_GPU },
    { "gpu_references", test_gpu_references, ON_GPU },
    { "gpu_nan", test_gpu_nan, ON_GPU },
    { "gpu_tree", test_gpu_tree, ON_GPU },
    { "gpu_greedy", test_gpu_greedy, ON_GPU },
    { "gpu_export", test_gpu_export, ON_GPU },
    { "gpu_resume", test_gpu_resume, ON_GPU },
    { "gpu_ranks", test_gpu_ranks, ON_GPU },
    { "gpu_saving", test_gpu_saving, ON_GPU },
    { "gpu_attention", test_gpu_attention, ON_GPU },
#ifdef CUDA_ON_CPU
    { "gpu_memory", test_gpu_memory, ON_GPU },
#endif
    { "gpu_training", test_gpu_training, ON_GPU },
    { "gpu_out_of_memory", test_gpu_out_of_memory, ON_GPU },
#endif
};

// Is this test asked for? By its name, or as one of the `units`, which run no program; without any
// names all are.
static int asked_for(const char *name, When when, int argc, char **argv) {
    int names = 0;
    if (on_gpu != (when >= ON_GPU)) return 0;               // what nvcc builds tests the GPU, and only that
    if (when == (in_double ? IN_FLOAT : IN_DOUBLE) || (in_double && when == OF_PROGRAM)) return 0;
    for (int i = 1; i < argc; i++) {
        if (strchr(argv[i], '/') || argv[i][0] == '-') continue;
        names++;
        if (!strcmp(argv[i], name) || (!strcmp(argv[i], "units") && when != OF_PROGRAM)) return 1;
    }
    return !names;
}

int main(int argc, char **argv) {
    spin_less(argv);
    if (argc > 1 && !strcmp(argv[1], "--dump")) { dump_precision(argv[2]); return EXIT_SUCCESS; }
    if (argc > 1 && !strcmp(argv[1], "--counting-device")) return counting_main(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "--asked-device")) return asked_main(argc - 1, argv + 1);
    if (getenv("PATIENCE")) patience = atoi(getenv("PATIENCE"));
    if (argc > 1 && !strcmp(argv[1], "--ranks-device")) return ranked_main(argc - 1, argv + 1);
    if (getenv("FAIL_ALLOCATION")) failing_allocation = atoi(getenv("FAIL_ALLOCATION"));
    if (argc > 1 && !strcmp(argv[1], "--plain-device")) return olmo_main(argc - 1, argv + 1, &cpu_device);
#ifdef __CUDACC__
    if (argc > 1 && !strcmp(argv[1], "--gpu-device")) return olmo_main(argc - 1, argv + 1, &gpu_device);
#endif
    if (argc > 1 && !strcmp(argv[1], "--list")) {
        for (size_t i = 0; i < sizeof tests/sizeof *tests; i++)
            if (asked_for(tests[i].name, tests[i].when, argc, argv)) puts(tests[i].name);
        return EXIT_SUCCESS;
    }
    int part = argc > 1 && !strcmp(argv[1], "--part"), named = 0;
    begin_tests();
#ifdef __CUDACC__
    card_open();                                            // its driver opens files, once
#endif
    CHECK(realpath(argv[0], self), "%s: cannot be found", argv[0]);
    make_directory("build/test");
    if (!in_double) printf("---- %s ----\n", argv[0]);
    for (size_t i = 0; i < sizeof tests/sizeof *tests; i++) {
        if (!asked_for(tests[i].name, tests[i].when, argc, argv)) continue;
        named++;
        run_group(tests[i].name, tests[i].run);
    }
    CHECK(named, "%s: there is no such test; their names are in the table at the end of test_olmo.c",
          argv[argc - 1]);
    if (!in_double && !on_gpu && asked_for("double", OF_PROGRAM, argc, argv)) {
        char twin[PATH + 16];
        snprintf(twin, sizeof twin, "%s_double", self);
        run_part(twin);
    }
    // make test names those of the data room
    for (int i = 1; i < argc; i++) if (strchr(argv[i], '/')) run_part(argv[i]);
    return verdict(part);
}
