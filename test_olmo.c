/*
Every test of OLMo in C.      make test      (the last line counts them, and the exit code is the verdict)

One source, two programs: test_olmo computes in float and is the one to run; test_olmo_double is the same file compiled
with -DREAL=double, where finite differences are sharp enough to see every gradient. test_olmo runs it and adds its count.
The witnesses (each section below is one of them):

    1. goldens        numbers that the official code printed (OLMO_SPEC appendix A)
    2. differences    every gradient against (L(w + h) - L(w - h))/2h, for every op and every tensor        [double]
    3. references     activations, gradients and trained weights exported by transformers and ai2-olmo
    4. precision      float against double, tensor by tensor, within a budget computed from the length of the sums
    5. invariances    threads, micro-batches, KV cache, a second device: equal bits
    6. formats, data, sampling, schedules: against values worked out by hand
    7. the program    hostile files, resume, kill -9 while saving, full disks, signals, the command line
*/
#define OLMO_LIBRARY
#ifdef __CUDACC__
#include "train_olmo.cu"
#else
#include "train_olmo.c"
#endif
#include <sys/wait.h>

static int passed, failed;

// Counts one test, and says which it was.
static int check(int fine, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int check(int fine, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf(fine ? "ok    " : "FAIL  ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    if (fine) passed++; else failed++;
    return fine;
}
static int near(double x, double y, double tolerance) { return fabs(x - y) <= tolerance; }       // false for NaN

static const int in_double = sizeof(real) == sizeof(double);
static const double unit_roundoff = sizeof(real) == sizeof(double) ? 0x1p-53 : 0x1p-24;

// ---- numbers without a generator: the hash of OLMO_SPEC A.1 ----------------------------------------------------------
static uint32_t fmix(uint32_t x) {
    x ^= x >> 16; x *= 0x85ebca6b; x ^= x >> 13; x *= 0xc2b2ae35; x ^= x >> 16;
    return x;
}
static double noise(uint32_t stream, size_t i) {             // uniform, with standard deviation 1
    return (fmix((uint32_t)i*2654435761u + stream*2246822519u + 12345)/4294967296.0 - 0.5)*2*sqrt(3.0);
}
static void fill_noise(real *x, size_t n, uint32_t stream, double std) { for (size_t i = 0; i < n; i++) x[i] = (real)(std*noise(stream, i)); }
static real *noise_reals(size_t n, uint32_t stream, double std) {
    real *x = (real *)allocate(n, sizeof(real), "a test");
    fill_noise(x, n, stream, std);
    return x;
}

static Config config_of(int d, int L, int H, int G, int mlp, int vocab, int T, int tied, double clip, double z) {
    Config c = { d, L, H, G, mlp, vocab, T, tied, -1, 10000, clip, z };
    return c;
}

// The deterministic weights of A.1: uniform with mitchell's standard deviations, rounded to float.
static void golden_weights(Olmo *m) {
    for (int k = 0; k < m->layout.n; k++) {
        const Tensor *t = &m->layout.tensor[k];
        double std = init_std(t, &m->config, "mitchell");
        for (size_t i = 0; i < (size_t)t->rows*t->cols; i++) m->params[t->offset + i] = (real)(float)(std*noise((uint32_t)k, i));
    }
}
static void golden_batch(int *tokens, int *targets, int B, int T, int vocab) {
    for (int n = 0; n < B*T; n++) tokens[n] = (int)(fmix((uint32_t)n + 777) % (uint32_t)vocab);
    for (int n = 0; n < B*T; n++) targets[n] = n % T < T - 1 ? tokens[n + 1] : IGNORE;
}

// A model, a batch and its buffers, as most tests want them.
typedef struct { Olmo *m; int B, T, *tokens, *targets; real *losses, *zlosses, *dlosses; } Bench;

static Bench bench_of(Config c, int B, int T, int real_vocab) {
    Bench t;
    size_t N = (size_t)B*T;
    t.m = olmo_build(&c), t.B = B, t.T = T;
    golden_weights(t.m);
    t.tokens = (int *)allocate(2*N, sizeof(int), "a test"), t.targets = t.tokens + N;
    golden_batch(t.tokens, t.targets, B, T, real_vocab);
    t.losses = (real *)allocate(3*N, sizeof(real), "a test"), t.zlosses = t.losses + N, t.dlosses = t.zlosses + N;
    for (size_t n = 0; n < N; n++) t.dlosses[n] = (real)(1.0/(double)N);
    return t;
}
static void bench_free(Bench *t) { olmo_free(t->m), release(t->tokens), release(t->losses); }

// Forward, and the sum of the weighted losses; backward too if asked.
static double bench_loss(Bench *t, int backward) {
    double loss = 0;
    olmo_forward(t->m, t->losses, t->zlosses, t->tokens, t->targets, t->B, t->T);
    for (int n = 0; n < t->B*t->T; n++) loss += (double)t->dlosses[n]*((double)t->losses[n] + (double)t->zlosses[n]);
    if (backward) olmo_backward(t->m, t->dlosses);
    return loss;
}
static void clear_grads(Olmo *m) { memset(m->grads, 0, m->layout.size*sizeof(real)); }
static double norm_of(const real *x, size_t n) { return global_norm(x, n); }

// ======================================================================================================================
// 1. Goldens (OLMO_SPEC appendix A)
// ======================================================================================================================

static void test_parameter_counts(void) {                    // OLMO_SPEC 1.2
    const struct { const char *preset; size_t count; } known[] = {
        { "1b", 1176764416 }, { "7b", 6888095744 }, { "7b-0424", 6888095744 }, { "tiny", 256*64 + 4*(4*64*64 + 3*64*256) },
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
    check(list->size == 65584234496u, "OLMo-65B would have %zu parameters: offsets beyond 2^32 hold", list->size);
    check(list->tensor[list->n - 1].offset == list->size - 412090368u && !strcmp(list->tensor[list->n - 1].name, "transformer.ff_out.weight"), "its head is the last tensor");
    release(list);
}

static void test_op_goldens(void) {                          // A.7
    const real x[8] = { -2.5, -2.25, -1.5, -0.25, 1.5, 3.75, 6.5, 9.75 }, dy[8] = { 1, -2, 0.5, 0, 3, -1, 0.25, 2 };
    const double y8[8] = { -1.0491084, -0.9891593, -0.8093122, -0.5095669, -0.0899236, 0.4496179, 1.1090574, 1.888395 };
    const double dx8[8] = { 0.2487508, -0.4775726, 0.1011135, -0.0534586, 0.6173863, -0.4042117, -0.1807493, 0.1487416 };
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
    check(near((double)h[0], 0.3112297, 1e-7) && near((double)h[1], 0.5378829, 1e-7) && near((double)h[2], 5.2847824, 5e-7), "SwiGLU: up first, gate second (A.7)");

    real logits[8] = { 1, 2, 3, 0, 0.5, -1, 2, 1 }, losses[2], zlosses[2], lse[2];
    int targets[2] = { 2, IGNORE };
    crossentropy_forward(losses, zlosses, lse, logits, targets, 1e-4, 2, 4);
    check(near((double)losses[0], 0.4401897, 2e-7) && losses[1] == 0 && near((double)zlosses[0], 0.00118349, 1e-8) && zlosses[1] == 0, "cross entropy and z-loss (A.7)");
}

static void test_adamw_golden(void) {                        // A.7, through a model whose first three weights are the example's
    Config c = config_of(2, 1, 1, 1, 2, 2, 1, 0, 0, 0);
    Olmo *m = olmo_build(&c);
    const double g[2][3] = { { 0.1, -0.2, 0 }, { 0.3, 0.1, -1e-4 } }, p[2][3] = { { 0.98900104, -1.98800051, 2.99699998 }, { 0.97892559, -1.98332906, 3.00045204 } };
    real *w = m->weight.layer[0].att_proj, *dw = m->grad.layer[0].att_proj;
    w[0] = 1, w[1] = -2, w[2] = 3;
    for (int s = 0; s < 2; s++) {
        AdamW how = { 0.01, 0.9, 0.95, 1e-5, 0.1, 0, 0, s + 1 };
        for (int i = 0; i < 3; i++) dw[i] = (real)g[s][i];
        double norm = olmo_update(m, &how);
        int fine = near(norm, sqrt(g[s][0]*g[s][0] + g[s][1]*g[s][1] + g[s][2]*g[s][2]), 1e-7) && dw[0] == 0;
        for (int i = 0; i < 3; i++) fine &= near((double)w[i], p[s][i], 4e-7);
        check(fine, "AdamW, update %d: %.8f %.8f %.8f (A.7)", s + 1, (double)w[0], (double)w[1], (double)w[2]);
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
    double grad[10][3];                                      // A.3: norm, first, last element, in the order of the layout
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
    check(t.tokens[0] == 94 && t.tokens[1] == 192 && t.tokens[7] == 175 && near((double)m->params[0], -0.11455128, 1e-8)
          && near((double)m->weight.layer[0].att_proj[2], 0.01588308, 1e-8), "%s: weights and tokens (A.1)", g->name);
    bench_loss(&t, 0);
    const real *logits = m->acts.logits;
    for (int i = 0; i < 4; i++) fine &= near((double)logits[i], g->first[i], 3e-6) && near((double)logits[(size_t)(N - 1)*V + 380 + i], g->last[i], 3e-6);
    check(fine, "%s: logits (A.2)", g->name);
    for (int n = 0; n < N; n++) if (t.targets[n] >= 0) sum += (double)t.losses[n], lse2 += pow((double)m->acts.lse[n], 2);
    all = sum/N;
    check(near(all, g->all, 2e-6) && near(sum/(B*(T - 1)), g->mean, 2e-6) && near(lse2/(B*(T - 1)), g->lse2, 2e-5), "%s: losses %.6f %.6f, lse^2 %.6f (A.2)", g->name, all, sum/(B*(T - 1)), lse2/(B*(T - 1)));

    bench_loss(&t, 1);
    fine = 1;
    for (int k = 0; k < m->layout.n; k++) {
        const Tensor *w = &m->layout.tensor[k];
        size_t n = (size_t)w->rows*w->cols;
        const real *grad = m->grads + w->offset;
        int good = near(norm_of(grad, n), g->grad[k][0], 3e-6) && near((double)grad[0], g->grad[k][1], 1e-7) && near((double)grad[n - 1], g->grad[k][2], 1e-7);
        if (!good) printf("      %s: norm %.6f first %.6e last %.6e\n", w->name, norm_of(grad, n), (double)grad[0], (double)grad[n - 1]);
        fine &= good;
    }
    check(fine, "%s: norm, first and last element of each gradient (A.3)", g->name);
    check(near(norm_of(m->grads, m->layout.size), g->total, 5e-6), "%s: total gradient norm %.6f (A.3)", g->name, norm_of(m->grads, m->layout.size));

    m->config.z_loss = 1e-4;
    clear_grads(m);
    double with_z = bench_loss(&t, 1), total_z = norm_of(m->grads, m->layout.size);
    check(near(with_z, g->with_z, 2e-6) && near(total_z, g->total_z, 5e-6), "%s: with z-loss %.6f, gradient norm %.6f (A.2, A.3)", g->name, with_z, total_z);
    m->config.z_loss = 0;

    Recipe r = { "linear", 3e-3, 0.1, 5, 12, 4, 2, 0.1, 0.9, 0.95, 1e-5, 0, 0.5, 3, 10 };
    for (int decay = 0; decay < 2; decay++) {                // A.4, then once more with decaying embeddings
        golden_weights(m);
        memset(m->moment1, 0, m->layout.size*sizeof(real)), memset(m->moment2, 0, m->layout.size*sizeof(real));
        double keep = 1;                                     // what 12 updates leave of a weight that only decays
        for (int s = 1; s <= 12; s++) keep *= 1 - 0.1*learning_rate(&r, s);
        fine = 1;
        for (int s = 1; s <= 13; s++) {
            double loss = 0;
            clear_grads(m);
            for (int b = 0; b < 4; b += 2) {
                olmo_forward(m, t.losses, t.zlosses, t.tokens + b*T, t.targets + b*T, 2, T);
                olmo_backward(m, t.dlosses);
                for (int n = 0; n < 2*T; n++) loss += (double)t.losses[n]/N;
            }
            if (s == 13) { check(near(loss, decay ? g->after_decayed : g->loss[12], 2e-5), "%s: after 12 updates%s %.6f (A.4)", g->name, decay ? " with decaying embeddings" : "", loss); break; }
            AdamW how = { learning_rate(&r, s), r.beta1, r.beta2, r.eps, r.weight_decay, decay, clip_limit(&r, s), s };
            double norm = olmo_update(m, &how);
            int good = near(loss, g->loss[s - 1], 2e-5) && near(norm, g->norm[s - 1], 5e-5);
            if (!decay && !good) printf("      step %d: loss %.6f, norm %.5f\n", s, loss, norm);
            fine &= good;
        }
        if (!decay) check(fine, "%s: loss and gradient norm of each of 12 updates (A.4)", g->name);
        const real *wte = m->params;
        if (!decay) check(near((double)wte[0], g->wte0, 2e-6) && near((double)m->weight.layer[0].att_proj[0], g->att0, 2e-6) && near((double)wte[V*64 - 1], g->wte_last, 2e-6),
                          "%s: weights after 12 updates (A.4)", g->name);
        else if (g->wte_last_decayed != 0) check(near((double)wte[V*64 - 1], g->wte_last_decayed, 1.5e-6) && near((double)wte[V*64 - 1], g->wte_last*keep, 2e-7),
                                                  "%s: a row without gradient decays (A.4)", g->name);
    }
    bench_free(&t);
}

static void test_model_goldens(void) {
    const Golden g1 = { "G1", config_of(64, 2, 4, 4, 256, 384, 32, 1, 0, 0),
        { -0.331235, -0.995053, 0.717372, -0.036589 }, { 0.396690, 0.189389, -0.542004, -1.975174 }, 6.362488, 6.567730, 41.896508, 6.366547,
        { { 1.591345, 1.265384e-2, 1.666696e-4 }, { 1.351549, -1.351912e-3, 2.428724e-2 }, { 1.339091, 8.823933e-3, 1.061097e-2 },
          { 0.872276, 1.313434e-3, -4.247190e-3 }, { 1.174320, 1.211598e-2, -5.153393e-3 }, { 0.458706, -6.959333e-4, 3.220724e-3 },
          { 0.746509, 1.737091e-2, 3.460265e-3 }, { 0.434339, -4.388360e-3, 2.563464e-3 }, { 0.831168, -8.103678e-3, 6.616261e-3 }, { 0, 0, 0 } }, 3.152665, 3.152718,
        { 6.362488, 5.856431, 5.226082, 4.443785, 3.681574, 3.166398, 2.851250, 2.605955, 2.405053, 2.243531, 2.120821, 2.038409, 1.999923 },
        { 3.15267, 3.00444, 2.74230, 2.49319, 2.34502, 2.52714, 2.48071, 2.30650, 2.12436, 1.96676, 1.84157, 1.75344 },
        -0.1257473, 0.0207309, -0.1974375, 2.005156, 0 };
    const Golden g2 = { "G2", config_of(64, 2, 4, 2, 256, 384, 32, 0, 0.75, 0),
        { 0.008501, -0.413720, -0.249282, -0.582516 }, { -1.319317, 0.113390, 1.239507, -1.989769 }, 6.352153, 6.557061, 41.553364, 6.356178,
        { { 1.288358, -1.218973e-3, 0 }, { 1.036835, 3.382478e-3, -4.336010e-2 }, { 1.077793, 1.440279e-2, 4.032200e-2 },
          { 1.062258, -1.275837e-2, -1.127567e-2 }, { 1.432509, 7.284175e-4, 3.390731e-2 }, { 0.321386, -1.194640e-3, -1.376555e-3 },
          { 0.590557, -2.988010e-3, 1.509831e-3 }, { 0.530167, 5.263896e-3, 6.554174e-3 }, { 1.029674, -2.742562e-3, -1.546597e-5 }, { 0.702321, 4.110013e-3, -1.549962e-6 } }, 3.060001, 3.060008,
        { 6.352153, 5.853295, 5.227421, 4.462662, 3.681192, 3.079737, 2.696130, 2.408493, 2.183679, 2.010202, 1.882700, 1.799081, 1.760736 },
        { 3.06000, 2.91689, 2.61184, 2.40686, 2.30922, 2.34148, 2.26981, 2.09109, 1.88845, 1.73055, 1.62658, 1.55849 },
        -0.1020551, 0.0141572, -0.1829475, 1.760975, -0.1825846 };
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
        fine &= generate(&cpu_device, t.m, &c, tokens, 6, 14, greedy, 1) == 14;
        for (int n = 6; n < 14; n++) {
            real losses[14], zlosses[14];
            int targets[14];
            for (int i = 0; i < 14; i++) targets[i] = i == n - 1 ? tokens[n] : IGNORE;
            olmo_forward(t.m, losses, zlosses, tokens, targets, 1, n);
            sum -= (double)losses[n - 1];
            fine &= tokens[n] == expected[row];
        }
        check(fine && near(sum, score[row], 2e-5), "greedy generation, prompt %d: %d eight times, log p %.6f (A.5)", row, tokens[6], sum);
    }
    release(logits);
    bench_free(&t);
}

static void test_shuffle_goldens(void) {                     // A.6
    Pcg64 r = pcg64_seed(6198);
    check((uint64_t)(r.state >> 64) == 0x64af7980aec8b325u && (uint64_t)r.state == 0xc0457385544261a2u && (uint64_t)(r.inc >> 64) == 0xbfbe7567bc3aca8au
          && (uint64_t)r.inc == 0x0b46d43165b65edbu, "PCG64 seeded with 6198 (A.6)");
    Pcg64 s = r;
    check(pcg64_next(&s) == 0xb4539f5cff6dcdf5u && pcg64_next(&s) == 0x4943c97e3b66ef81u && pcg64_next(&s) == 0x72b1c0d75cf4db48u && pcg64_next(&s) == 0x0e59f5a93584a71du, "PCG64's first 64-bit words");
    s = r;
    check(pcg64_next32(&s) == 0xff6dcdf5u && pcg64_next32(&s) == 0xb4539f5cu && pcg64_next32(&s) == 0x3b66ef81u && pcg64_next32(&s) == 0x4943c97eu, "PCG64's first 32-bit words: low half first");
    const struct { uint32_t n; uint64_t seed; int count; uint32_t start[16]; int tail; uint32_t end[4]; } known[] = {
        { 10, 6198, 10, { 2, 4, 7, 3, 8, 9, 0, 6, 1, 5 }, 0, {0} },
        { 16, 6198, 16, { 4, 14, 6, 15, 3, 2, 13, 0, 10, 11, 9, 7, 8, 1, 12, 5 }, 0, {0} },
        { 1000, 6198, 12, { 615, 832, 881, 9, 648, 523, 809, 336, 989, 868, 283, 52 }, 4, { 382, 897, 860, 501 } },
        { 1000000, 6198, 10, { 896398, 797198, 937343, 811700, 994647, 26449, 843435, 412876, 267973, 464079 }, 3, { 454529, 237404, 904693 } },
        { 10, 6199, 10, { 6, 4, 1, 8, 3, 2, 5, 9, 0, 7 }, 0, {0} },
        { 1000, 6199, 12, { 363, 586, 975, 648, 897, 311, 471, 834, 968, 2, 884, 284 }, 0, {0} },
    };
    uint32_t *order = (uint32_t *)allocate(1000000, sizeof *order, "a test");
    for (size_t i = 0; i < sizeof known/sizeof *known; i++) {
        epoch_order(order, known[i].n, known[i].seed);
        int fine = 1;
        for (int j = 0; j < known[i].count; j++) fine &= order[j] == known[i].start[j];
        for (int j = 0; j < known[i].tail; j++) fine &= order[known[i].n - (uint32_t)known[i].tail + (uint32_t)j] == known[i].end[j];
        check(fine, "numpy's shuffle of %u, seed %llu: %u %u %u ... (A.6)", known[i].n, (unsigned long long)known[i].seed, order[0], order[1], order[2]);
    }
    release(order);
}

static void test_schedules(void) {                           // OLMO_SPEC 4.5
    Recipe b7 = preset_named("7b").recipe, b1 = preset_named("1b").recipe;
    const struct { const Recipe *r; int step; double lr; double tolerance; } known[] = {
        { &b7, 1, 3.0054e-5, 1e-12 }, { &b7, 1000, 8.4e-5, 1e-12 }, { &b7, 4999, 2.99946e-4, 1e-12 }, { &b7, 5000, 3e-4, 1e-15 },
        { &b7, 100000, 2.4563812e-4, 1e-11 }, { &b7, 476838, 3e-5, 1e-15 }, { &b7, 500000, 3e-5, 1e-15 },
        { &b1, 1, 4.018e-5, 1e-12 }, { &b1, 1000, 2.2e-4, 1e-12 }, { &b1, 2000, 4e-4, 1e-15 }, { &b1, 100000, 3.8453487e-4, 1e-11 },
        { &b1, 369664, 2.2076694e-4, 1e-11 }, { &b1, 738020, 4.00028e-5, 1e-10 }, { &b1, 739328, 4e-5, 1e-15 },
    };
    for (size_t i = 0; i < sizeof known/sizeof *known; i++)
        check(near(learning_rate(known[i].r, known[i].step), known[i].lr, known[i].tolerance), "lr of the %s schedule at step %d: %.7e", known[i].r->schedule, known[i].step, learning_rate(known[i].r, known[i].step));
    Recipe r = { "inverse-sqrt", 1, 0.1, 100, 1000, 1, 1, 0, 0.9, 0.95, 1e-5, 0, 1.0, 0, 1 };
    check(near(learning_rate(&r, 400), 0.5, 1e-12), "inverse-sqrt: half the peak at four times the warm-up");
    r.schedule = "max";
    check(near(learning_rate(&r, 300), fmax(0.1 + 0.9*(1 + cos(M_PI*200/900))/2, sqrt(100/300.0)), 1e-12) && near(learning_rate(&r, 1000), sqrt(0.1), 1e-12), "max: the larger of cosine and inverse-sqrt");
    r.schedule = "envelope";
    check(near(learning_rate(&r, 550), 0.1 + 0.5*0.9*0.5, 1e-12) && near(learning_rate(&r, 1000), 0.1, 1e-12), "envelope: cosine times a line");
    r.schedule = "constant";
    check(learning_rate(&r, 100) == 1 && learning_rate(&r, 5000) == 1 && near(learning_rate(&r, 50), 0.55, 1e-12), "constant after a warm-up from a tenth");
    check(clip_limit(&b7, 1) == 1 && clip_limit(&b7, 2) == 10 && clip_limit(&b7, 1001) == 10 && clip_limit(&b7, 1002) == 1, "7B's clip warm-up comes one step late, as in the released trainer");
}

// ======================================================================================================================
// 2. Finite differences (in double)
// ======================================================================================================================
// Each op as a scalar function of one input: sum_i w_i y_i with fixed noise w. Given din, it also runs the op's backward.

enum { OB = 2, OT = 9, OC = 12, OH = 6, OG = 2, OD = 4, OQ = (OH + 2*OG)*OD, ON = OB*OT, OF = 7, OV = 11, O_MAX = 2048 };
static double weighted(const real *y, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += noise(99, i)*(double)y[i]; return s; }
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
    real *work = (real *)allocate(attention_work(OT), sizeof(real), "a test");
    attention_forward(att, lse, work, qkv, OB, OT, 0, OH, OG, OD);
    if (dqkv) { weights_into(datt, ON*OH*OD); attention_backward(dqkv, work, datt, att, lse, qkv, OB, OT, OH, OG, OD); }
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
    if (dlogits) { weights_into(dlosses, ON); crossentropy_backward(dlogits, dlosses, lse, logits, targets, 0.1, ON, OV); }
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
        { "norm", op_norm, ON*OC }, { "clip_qkv", op_clip, ON*OC }, { "rope", op_rope, ON*OQ }, { "attention (GQA)", op_attention, ON*OQ }, { "swiglu", op_swiglu, ON*2*OF },
        { "cross entropy and z-loss", op_crossentropy, ON*OV }, { "embedding", op_embed, OV*OC }, { "matmul, input", op_matmul_input, ON*OC }, { "matmul, weight", op_matmul_weight, OV*OC },
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
            worst = fmax(worst, fabs(difference - (double)dx[i])/fmax(fabs((double)dx[i]), sqrt(scale)));
        }
        check(worst <= 1e-6 && scale > 0, "%s backward: all %d entries, worst relative error %.1e", ops[k].name, ops[k].n, worst);
    }
}

// The whole model: for every tensor one random direction, and some single entries. Relative to the size of the gradient.
static void model_differences(const char *name, Config c, int B, int T, const double h) {
    Bench t = bench_of(c, B, T, c.vocab);
    Olmo *m = t.m;
    double worst = 0;
    int entries = 0;
    for (int n = 0; n < B*T; n++) t.dlosses[n] = (real)(0.3 + fabs(noise(7, (size_t)n)));       // uneven weights, like DPO's
    if (T > 3) t.targets[1] = IGNORE;
    if (T == 1) for (int b = 0; b < B; b++) t.targets[b] = 1;                                    // T = 1 predicts nothing by itself
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
        worst = fmax(worst, error);
        for (int e = 0; e < 6; e++, entries++) {
            size_t i = fmix((uint32_t)(k*100 + e)) % n;
            p[i] = saved[i] + (real)h, up = bench_loss(&t, 0);
            p[i] = saved[i] - (real)h, down = bench_loss(&t, 0);
            p[i] = saved[i];
            double entry = fabs((up - down)/(2*h) - (double)g[i])/fmax(fabs((double)g[i]), size/sqrt((double)n));
            worst = fmax(worst, entry);
            error = fmax(error, entry);
        }
        if (error > 1e-6 || !(size > 0 || T == 1)) printf("      %s: relative error %.1e, norm %.1e\n", w->name, error, size), worst = fmax(worst, size > 0 || T == 1 ? 0 : 1);
        release(saved);
    }
    check(worst <= 1e-6, "gradients of %s: %d tensors, %d entries, worst relative error %.1e", name, m->layout.n, entries, worst);
    bench_free(&t);
}

static void test_model_differences(void) {
    //                                                                   d    L  H  G  mlp  V   T  tied clip  z
    model_differences("tied MHA, B=2 T=7",                    config_of( 16,  2, 4, 4, 24, 20,   7, 1, 0,   0), 2, 7, 1e-5);
    model_differences("untied GQA, clip_qkv, z-loss, B=3 T=5", config_of( 24, 3, 6, 2, 20, 30,   5, 0, 0.6, 0.1), 3, 5, 2e-6);
    model_differences("tied MQA, z-loss, B=1 T=11",           config_of( 12,  2, 3, 1, 10, 13,  11, 1, 0,   0.05), 1, 11, 1e-5);
    model_differences("B=1 T=1",                              config_of(  8,  1, 2, 2,  6,  9,   1, 0, 0,   0), 1, 1, 1e-5);
    model_differences("head size 128, T=9",                   config_of(128,  1, 1, 1, 12, 17,   9, 0, 0,   0), 1, 9, 1e-5);
    model_differences("T=101, two attention tiles, GQA",      config_of(  8,  1, 4, 2,  6, 11, 101, 1, 0,   0), 2, 101, 1e-5);
}

// ======================================================================================================================
// 3. References, and 4. precision
// ======================================================================================================================
// A tensor computed in floating point is compared by its relative error |x - y|/|y| (Euclidean norms). Its budget follows
// from the arithmetic: K roundings of at most u, added up like the steps of a random walk, end at u*sqrt(K), where K counts
// the additions behind the tensor, layer by layer. A reference has an error of its own: 2^-24 for being stored in float,
// and 2^-24 for RoPE tables that are float by definition, and made by another cosf. Nothing here was tuned until it passed.
static const double stored = 0x1p-24, tables = 0x1p-24;

typedef struct { char name[48]; const real *at; size_t n; double length; } Named;      // length: K, the roundings behind it

enum { MAX_NAMED = 512 };

static double budget(double length) { return unit_roundoff*sqrt(length); }

static void add_named(Named *list, int *n, const real *at, size_t count, double length, const char *format, int layer, const char *what) {
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
    const size_t N = (size_t)t->B*t->T, C = c->d_model, D = C/c->n_heads, Q = (c->n_heads + 2*c->n_kv_heads)*D, F = c->mlp_hidden/2;
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
// Behind a gradient lie the forward pass, the backward pass with two products for each of its one, and the sum over rows.
static double gradient_length(const Config *c, int B, int T) { return 3*(path_length(c, T, c->n_layers) + c->vocab + 3*c->d_model) + (double)B*T; }

static double relative_error(const real *x, const double *y, size_t n) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) difference += ((double)x[i] - y[i])*((double)x[i] - y[i]), size += y[i]*y[i];
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
        for (int i = 0; i < 3; i++) if (!strncmp(s, skip[i], strlen(skip[i])) && (i < 2 || s[2] < 'a')) s += strlen(skip[i]), before = k + 1;
        if (*s >= '0' && *s <= '9') { s += strspn(s, "0123456789"); if (before > k && *s == '.') s++; continue; }
        kind[k++] = *s++;
    }
    kind[k] = 0;
    int i = 0;
    while (i < *n && strcmp(table[i].kind, kind)) i++;
    if (i == *n) { memset(&table[i], 0, sizeof *table); memcpy(table[i].kind, kind, k + 1); ++*n; }
    if (table[i].tensors++ == 0 || error/allowed > table[i].error/table[i].allowed || isnan(error)) table[i].error = error, table[i].allowed = allowed;
}
static int print_lines(const char *title, const Line *table, int n) {
    int fine = 1;
    printf("      %-28s %9s %9s %6s\n", title, "error", "budget", "used");
    for (int i = 0; i < n; i++) {
        int good = table[i].error <= table[i].allowed;
        printf("      %-28s %9.1e %9.1e %5.0f%%%s\n", table[i].kind, table[i].error, table[i].allowed, 100*table[i].error/table[i].allowed, good ? "" : "   <-- over");
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
    if (!e || e->rows*e->cols != n) { printf("      %s: %s has not %zu numbers\n", st->path, name, n); return NULL; }
    double *x = (double *)allocate(n, sizeof(double), "a reference");
    safetensors_read(st, e, &host, x, PARAMS, 0);
    return x;
}
static void compare_with(const Safetensors *st, const Named *list, int n, double scale, Line *table, int *lines) {
    for (int i = 0; i < n; i++) {
        double *y = read_entry_of(st, list[i].name, list[i].n);
        add_line(table, lines, list[i].name, y ? relative_error(list[i].at, y, list[i].n) : NAN, scale*(budget(list[i].length) + tables) + stored);
        release(y);
    }
}

// The configuration is in the file's __metadata__, as strings.
static double metadata(const char *object, const char *path, const char *name) {
    const char *value = json_get(object, name);
    CHECK(value && *value == '"', "%s: expected a string \"%s\" in its metadata", path, name);
    return strtod(value + 1, NULL);
}
static void test_reference(const char *path) {
    Safetensors *st = safetensors_open(path);
    Named *list = (Named *)allocate(MAX_NAMED, sizeof *list, "a test");
    Line table[64];
    int lines = 0;
    char *header = (char *)allocate((size_t)st->data, 1, "a test");
    rewind(st->file);
    CHECK(fread(header, 1, 8, st->file) == 8 && fread(header, 1, st->data - 8, st->file) == st->data - 8, "%s: cannot be read", path);
    const char *o = json_get(header, "__metadata__");
    CHECK(o, "%s: has no metadata", path);
    #define META(name) metadata(o, path, name)
    Config c = config_of((int)META("d_model"), (int)META("n_layers"), (int)META("n_heads"), (int)META("n_kv_heads"), (int)META("mlp_hidden"), (int)META("vocab"),
                         (int)META("seq_len"), (int)META("tied"), META("clip_qkv"), META("z_loss"));
    Recipe r = { "linear", META("lr"), META("final_lr_frac"), (int)META("warmup"), (int)META("steps"), (int)META("batch"), (int)META("micro_batch"), META("weight_decay"),
                 META("beta1"), META("beta2"), META("eps"), (int)META("decay_embeddings"), META("clip"), (int)META("clip_warmup_steps"), META("clip_warmup_factor") };
    c.rope_theta = META("rope_theta");
    const double denominator = META("denominator_value");
    const int B = r.batch, T = c.seq_len, N = B*T;
    Bench t = bench_of(c, B, T, (int)META("vocab_real"));
    #undef META
    double *tokens = read_entry_of(st, "tokens", (size_t)N), *targets = read_entry_of(st, "targets", (size_t)N);
    int same = 1;
    for (int n = 0; n < N; n++) {
        same &= t.tokens[n] == (int)tokens[n] && ((int)targets[n] == IGNORE || t.targets[n] == (int)targets[n]);
        t.targets[n] = (int)targets[n], t.dlosses[n] = (real)(1/denominator);
    }
    check(same, "%s: the tokens are the ones it was made with", path);

    double *x = NULL, *h = NULL;                             // of the last layer of a model with fewer layers: of each layer
    for (int l = 0; l < c.n_layers - 1; l++) {
        char name[48];
        t.m->config.n_layers = l + 1, t.m->acts.B = 0;
        bench_loss(&t, 0);
        snprintf(name, sizeof name, "act.l.%d.x", l), x = read_entry_of(st, name, (size_t)N*c.d_model);
        add_line(table, &lines, name, x ? relative_error(t.m->acts.x, x, (size_t)N*c.d_model) : NAN, budget(path_length(&c, T, l + 1)) + tables + stored);
        snprintf(name, sizeof name, "act.l.%d.h", l), h = read_entry_of(st, name, (size_t)N*c.mlp_hidden/2);
        add_line(table, &lines, name, h ? relative_error(t.m->acts.h, h, (size_t)N*c.mlp_hidden/2) : NAN, budget(path_length(&c, T, l + 1)) + tables + stored);
        release(x), release(h);
    }
    t.m->config.n_layers = c.n_layers, t.m->acts.B = 0;
    bench_loss(&t, 0);
    compare_with(st, list, list_activations(&t, list), 1, table, &lines);
    olmo_backward(t.m, t.dlosses);
    const double delta = gradient_length(&c, B, T);
    compare_with(st, list, list_tensors(&t, t.m->grads, delta, "grad", list), 1, table, &lines);

    double *losses = read_entry_of(st, "losses12", 12), *norms = read_entry_of(st, "norms12", 12), sum_lr = 0, worst_loss = 0, worst_norm = 0;
    clear_grads(t.m);
    for (int s = 1; s <= r.steps; s++) {
        double loss = 0;
        for (int b = 0; b < B; b += r.micro_batch) {
            int rows = imin(r.micro_batch, B - b);
            olmo_forward(t.m, t.losses, t.zlosses, t.tokens + b*T, t.targets + b*T, rows, T);
            olmo_backward(t.m, t.dlosses);
            for (int n = 0; n < rows*T; n++) loss += (double)t.losses[n]/denominator;
        }
        AdamW how = { learning_rate(&r, s), r.beta1, r.beta2, r.eps, r.weight_decay, r.decay_embeddings, clip_limit(&r, s), s };
        double norm = olmo_update(t.m, &how);
        sum_lr += how.lr;
        worst_loss = fmax(worst_loss, fabs(loss/losses[s - 1] - 1)), worst_norm = fmax(worst_norm, fabs(norm/norms[s - 1] - 1));
    }
    // A weight moves by lr*m/sqrt(v): of order lr, whatever the gradient's size. Where the gradient itself is smaller than
    // its error the direction is noise; over all elements that multiplies the relative error by about log(1/error).
    double error = budget(delta) + tables, size = norm_of(t.m->params, t.m->layout.size)/sqrt((double)t.m->layout.size), drift = sum_lr/size*log(1/error);
    add_line(table, &lines, "losses of the steps", worst_loss, error*(1 + drift) + stored);
    add_line(table, &lines, "norms of the steps", worst_norm, error*(1 + drift) + stored);
    compare_with(st, list, list_tensors(&t, t.m->params, delta, "after12", list), drift, table, &lines);
    check(print_lines(path, table, lines), "%s: activations, gradients and 12 updates within the budget", path);
    release(losses), release(norms), release(tokens), release(targets), release(header), release(list);
    safetensors_close(st);
    bench_free(&t);
}

// The same model in both programs: test_olmo_double --dump writes what test_olmo then reads.
static Bench precision_bench(int i) {
    Config tied = config_of(128, 4, 4, 4, 1024, 256, 160, 1, 0, 0), gqa = config_of(96, 3, 6, 2, 200, 1000, 101, 0, 1.5, 1e-3);
    return i ? bench_of(gqa, 3, 101, 900) : bench_of(tied, 2, 160, 256);
}
enum { PRECISION_CASES = 2 };
static void dump_named(const Named *list, int n, FILE *file) {
    for (int i = 0; i < n; i++) for (size_t j = 0; j < list[i].n; j++) { double x = (double)list[i].at[j]; fwrite(&x, sizeof x, 1, file); }
}
static void dump_precision(const char *path) {
    Named *list = (Named *)allocate(MAX_NAMED, sizeof *list, "a test");
    FILE *file = open_to_write(path);
    for (int i = 0; i < PRECISION_CASES; i++) {
        Bench t = precision_bench(i);
        bench_loss(&t, 0);
        dump_named(list, list_activations(&t, list), file);
        olmo_backward(t.m, t.dlosses);
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
        add_line(table, lines, list[i].name, whole ? relative_error(list[i].at, y, list[i].n) : NAN, budget(list[i].length));
        release(y);
    }
}
static void test_precision(const char *path) {
    Named *list = (Named *)allocate(MAX_NAMED, sizeof *list, "a test");
    FILE *file = fopen(path, "rb");
    CHECK(file, "%s: test_olmo_double --dump did not write it", path);
    for (int i = 0; i < PRECISION_CASES; i++) {
        Bench t = precision_bench(i);
        Line table[64];
        int lines = 0;
        bench_loss(&t, 0);
        compare_dump(list, list_activations(&t, list), file, table, &lines);
        olmo_backward(t.m, t.dlosses);
        compare_dump(list, list_tensors(&t, t.m->grads, gradient_length(&t.m->config, t.B, t.T), "grad", list), file, table, &lines);
        check(print_lines("float against double", table, lines), "float against double, model %d: within the budget", i + 1);
        bench_free(&t);
    }
    fclose(file);
    release(list);
}

// ======================================================================================================================
// 5. Invariances: equal bits
// ======================================================================================================================

static int same_bits(const real *x, const real *y, size_t n) { return !memcmp(x, y, n*sizeof(real)); }

static void test_gemm(void) {
    // Against the naive loops, and a rigorous bound: a sum of K products is off by at most (K+1) u sum |a b|.
    int threads = omp_get_max_threads(), fine = 1, equal = 1, cases = 0;
    for (uint32_t i = 0; i < 60; i++) {
        int M = 1 + (int)(fmix(i) % 131), N = 1 + (int)(fmix(i + 1000) % 150), K = 1 + (int)(fmix(i + 2000) % 600), add = i & 1;
        if (i > 54) M = 500 + (int)i, N = 530 + (int)i, K = 20;                     // larger than one tile
        real *a = noise_reals((size_t)M*K, i, 1), *b = noise_reals((size_t)K*N, i + 500, 1), *c = noise_reals((size_t)M*N, 9, 1), *d = noise_reals((size_t)M*N, 9, 1);
        real *e = noise_reals((size_t)M*N, 9, 1);
        Matrix A = i & 2 ? matrix(a, (size_t)K) : transposed(a, (size_t)M), B = i & 4 ? matrix(b, (size_t)N) : transposed(b, (size_t)K);
        gemm(c, (size_t)N, A, B, M, N, K, add);
        gemm_naive(d, (size_t)N, A, B, M, N, K, add);
        for (int m = 0; m < M; m++) for (int n = 0; n < N; n++) {
            double size = add ? fabs(noise(9, (size_t)m*N + n)) : 0;
            for (int k = 0; k < K; k++) size += fabs((double)A.at[m*A.row + k*A.col]*(double)B.at[k*B.row + n*B.col]);
            fine &= fabs((double)c[(size_t)m*N + n] - (double)d[(size_t)m*N + n]) <= 2*(K + 1)*unit_roundoff*size;
        }
        for (int t = 1; t <= 3; t++) {
            fill_noise(e, (size_t)M*N, 9, 1);
            omp_set_num_threads(t);
            gemm(e, (size_t)N, A, B, M, N, K, add);
            equal &= same_bits(c, e, (size_t)M*N);
        }
        omp_set_num_threads(threads);
        release(a), release(b), release(c), release(d), release(e), cases++;
    }
    check(fine, "gemm equals gemm_naive within the rounding of its sums: %d shapes, all strides", cases);
    check(equal, "gemm has the same bits with 1, 2 and 3 threads: %d shapes", cases);
}

static void test_attention_naive(void) {                     // against softmax written out with a T x T matrix, in double
    enum { B = 2, T = 203, H = 4, G = 2, D = 6, Q = (H + 2*G)*D };
    real *qkv = noise_reals((size_t)B*T*Q, 3, 2), *att = noise_reals((size_t)B*T*H*D, 0, 0), *lse = noise_reals((size_t)B*H*T, 0, 0), *work = noise_reals(attention_work(T), 0, 0);
    double worst = 0, *p = (double *)allocate(T, sizeof(double), "a test");
    attention_forward(att, lse, work, qkv, B, T, 0, H, G, D);
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int t = 0; t < T; t++) {
        const real *q = qkv + ((size_t)b*T + t)*Q + h*D;
        double most = -1e300, sum = 0;
        for (int j = 0; j <= t; j++) {
            const real *k = qkv + ((size_t)b*T + j)*Q + (H + h*G/H)*D;
            p[j] = 0;
            for (int i = 0; i < D; i++) p[j] += (double)q[i]*(double)k[i]/sqrt((double)D);
            most = fmax(most, p[j]);
        }
        for (int j = 0; j <= t; j++) sum += p[j] = exp(p[j] - most);
        for (int i = 0; i < D; i++) {
            double o = 0;
            for (int j = 0; j <= t; j++) o += p[j]/sum*(double)qkv[((size_t)b*T + j)*Q + (H + G + h*G/H)*D + i];
            worst = fmax(worst, fabs(o - (double)att[((size_t)b*T + t)*H*D + h*D + i]));
        }
        worst = fmax(worst, fabs(most + log(sum) - (double)lse[((size_t)b*H + h)*T + t]));
    }
    check(worst <= 50*unit_roundoff*sqrt((double)T), "attention and its log-sum-exp against a T x T softmax in double: worst error %.1e", worst);
    release(qkv), release(att), release(lse), release(work), release(p);
}

static void test_exp(void) {
    double worst = 0;
    for (int i = -870000; i <= 880000; i++) { real x = (real)(i*1e-4); worst = fmax(worst, fabs((double)fast_exp(x)/exp((double)x) - 1)); }
    check(worst < 3*unit_roundoff, "fast_exp on [-87, 88]: relative error below %.1e", worst);
    check(isnan((double)fast_exp((real)NAN)) && fast_exp(-1000) >= 0 && fast_exp(-1000) < 1e-37, "fast_exp keeps a NaN, and underflows to almost nothing");
}

// Gradients and trained weights of one configuration, cut and threaded in several ways.
static void train_bits(Config c, int B, int T, int micro, int threads, real *grads, real *params) {
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    Bench t = bench_of(c, B, T, c.vocab);
    for (int s = 1; s <= 3; s++) {
        for (int b = 0; b < B; b += micro) {
            olmo_forward(t.m, t.losses, t.zlosses, t.tokens + b*T, t.targets + b*T, imin(micro, B - b), T);
            olmo_backward(t.m, t.dlosses);
        }
        if (s == 3) memcpy(grads, t.m->grads, t.m->layout.size*sizeof(real));
        AdamW how = { 1e-2, 0.9, 0.95, 1e-5, 0.1, 0, 1, s };
        olmo_update(t.m, &how);
    }
    memcpy(params, t.m->params, t.m->layout.size*sizeof(real));
    bench_free(&t);
    omp_set_num_threads(before);
}
static void test_training_bits(void) {
    const struct { const char *name; Config c; int B, T; } cases[] = {
        { "tied, T=33", config_of(48, 2, 4, 4, 100, 61, 33, 1, 0, 0), 5, 33 },
        { "untied GQA, clip_qkv, z-loss, T=300", config_of(36, 2, 6, 2, 50, 37, 300, 0, 0.7, 1e-3), 3, 300 },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        Layout *list = (Layout *)allocate(1, sizeof(Layout), "a test");
        Weights unused;
        olmo_layout(list, &unused, NULL, &cases[i].c);
        size_t n = list->size;
        real *g0 = noise_reals(n, 0, 0), *p0 = noise_reals(n, 0, 0), *g = noise_reals(n, 0, 0), *p = noise_reals(n, 0, 0);
        train_bits(cases[i].c, cases[i].B, cases[i].T, cases[i].B, 1, g0, p0);
        for (int threads = 2; threads <= 3; threads++) {
            train_bits(cases[i].c, cases[i].B, cases[i].T, cases[i].B, threads, g, p);
            check(same_bits(g, g0, n) && same_bits(p, p0, n), "%s: %d threads, the bits of one", cases[i].name, threads);
        }
        for (int micro = 1; micro < cases[i].B; micro++) {
            train_bits(cases[i].c, cases[i].B, cases[i].T, micro, 2, g, p);
            check(same_bits(g, g0, n) && same_bits(p, p0, n), "%s: micro-batches of %d, the bits of one batch of %d", cases[i].name, micro, cases[i].B);
        }
        release(g0), release(p0), release(g), release(p), release(list);
    }
}

static void test_kv_cache(void) {
    const Config configs[] = { config_of(48, 3, 6, 2, 60, 53, 140, 0, 0.9, 0), config_of(32, 2, 2, 2, 64, 256, 140, 1, 0, 0) };
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
        check(fine, "KV cache, model %d: logits after pieces of 1 to 91 tokens have the bits of the whole forward pass", k + 1);
        release(all), release(logits);
        bench_free(&t);
    }
}

// A second device, added without touching anything: it counts the calls and lets the CPU do the work.
enum { BUILD, FORWARD, BACKWARD, UPDATE, DECODE, CALLS };
static int calls[CALLS];
static void *counting_build(const Config *c) { calls[BUILD]++; return cpu_device.build(c); }
static void counting_forward(void *m, real *l, real *z, const int *t, const int *y, int B, int T) { calls[FORWARD]++; cpu_device.forward(m, l, z, t, y, B, T); }
static void counting_backward(void *m, const real *d) { calls[BACKWARD]++; cpu_device.backward(m, d); }
static double counting_update(void *m, const AdamW *how) { calls[UPDATE]++; return cpu_device.update(m, how); }
static void counting_decode(void *m, real *l, const int *t, int n, int past) { calls[DECODE]++; cpu_device.decode(m, l, t, n, past); }
static int counting_main(int argc, char **argv) {            // the whole program, on that device
    Device d = cpu_device;
    d.name = "counting", d.build = counting_build, d.forward = counting_forward, d.backward = counting_backward, d.update = counting_update, d.decode = counting_decode;
    int code = olmo_main(argc, argv, &d);
    printf("calls %d %d %d %d %d\n", calls[BUILD], calls[FORWARD], calls[BACKWARD], calls[UPDATE], calls[DECODE]);
    return code;
}
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

static void test_second_device(const char *self) {
    char plain[PATH], counted[PATH];
    const char *flags = "--d-model 16 --n-layers 1 --n-heads 2 --mlp-hidden 32 --seq-len 32 --steps 3 --batch 4 --micro-batch 2 --sample-every 3 --eval-every 3 "
                        "--data train_olmo.c.txt --prompt ab --threads 1";
    int code = shell(plain, sizeof plain, "mkdir -p build/test && cd build/test && head -c 16384 ../../train_olmo.c > train_olmo.c.txt && rm -rf device && %s --plain-device %s --out device | tail -1", self, flags);
    code |= shell(counted, sizeof counted, "cd build/test && rm -rf device && %s --counting-device %s --out device | tail -2", self, flags);
    // 3 steps of 2 micro-batches; validation of 512/20 windows, 2 at a time; a sample of 32 - 2 tokens
    check(code == 0 && strstr(counted, "calls 1 19 6 3 30\n"), "a second device needs no change: the program made the calls it should: %s", strstr(counted, "calls") ? strstr(counted, "calls") + 6 : "none");
    check(strlen(plain) == 31 && !strncmp(plain, counted, 31), "and has the same parameters at the end: %.30s", plain);
}

// ======================================================================================================================
// 6. Formats, data, sampling
// ======================================================================================================================

static void test_number_formats(void) {
    int fine = 1;
    for (uint32_t h = 0; h < 65536; h++) {                   // every half-precision number survives the round trip
        float b = float_from_bf16((uint16_t)h), f = float_from_f16((uint16_t)h);
        fine &= isnan(b) ? isnan(float_from_bf16(bf16_from_float(b))) : bf16_from_float(b) == h;
        fine &= isnan(f) ? isnan(float_from_f16(f16_from_float(f))) : f16_from_float(f) == h;
    }
    check(fine, "all 65536 bf16 and all 65536 fp16 numbers go to float and back");
    fine = 1;
    for (uint32_t h = 0; h < 0x7bff; h++) {                  // between two neighbours: to the nearer, ties to the even one
        float low = float_from_f16((uint16_t)h), high = float_from_f16((uint16_t)(h + 1)), middle = (low + high)/2;
        fine &= f16_from_float(middle) == (h & 1 ? h + 1 : h) && f16_from_float(nextafterf(middle, 0)) == h && f16_from_float(nextafterf(middle, 1e9f)) == h + 1;
    }
    for (uint32_t h = 0; h < 0x7f7f; h++) {
        float low = float_from_bf16((uint16_t)h), high = float_from_bf16((uint16_t)(h + 1)), middle = low + (high - low)/2;
        fine &= bf16_from_float(middle) == (h & 1 ? h + 1 : h) && bf16_from_float(nextafterf(middle, INFINITY)) == h + 1;
    }
    check(fine, "rounding to bf16 and fp16 is to nearest, ties to even");
    check(f16_from_float(1) == 0x3c00 && f16_from_float(-2) == 0xc000 && f16_from_float(65504) == 0x7bff && f16_from_float(65520) == 0x7c00
          && f16_from_float(5.9604645e-8f) == 1 && bf16_from_float(1) == 0x3f80, "known codes: 1, -2, 65504, overflow, the smallest number");
}

static void test_json(void) {
    const char *good[] = { "{}", " { \"a\" : [1, -2.5e3, true, null, {\"b\": \"x\\\"y\"}] } ", "{\"a\":{\"b\":{}},\"c\":[]}" };
    const char *bad[] = { "", "{", "[", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "{a:1}", "{\"a\":01x}", "\"open", "{\"a\":tru}", "[1 2]", "{\"a\":-}", "{\"a\":1}}", "{\"a\":\"\\q\"}" };
    for (size_t i = 0; i < sizeof good/sizeof *good; i++) { const char *end = json_skip(good[i], 0); check(end && !*json_space(end), "JSON: %s", good[i]); }
    for (size_t i = 0; i < sizeof bad/sizeof *bad; i++) { const char *end = json_skip(bad[i], 0); check(!end || *json_space(end), "not JSON: %s", bad[i]); }
    const char *o = "{\"x\": {\"y\": 3}, \"list\": [10, 20], \"y\": 4, \"no\": null}";
    uint64_t list[2];
    check(json_number(o, "o", "y", 0, 9, 0) == 4 && json_number(json_get(o, "x"), "o", "y", 0, 9, 0) == 3 && json_number(o, "o", "no", 0, 9, 7) == 7 && !json_get(o, "z"), "members are found in their own object only");
    check(json_whole_numbers(json_get(o, "list"), list, 2) == 2 && list[0] == 10 && list[1] == 20 && json_whole_numbers("[1, 2, 3]", list, 2) == -1 && json_whole_numbers("[1.5]", list, 2) == -1,
          "lists of whole numbers");
}

static void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *file = open_to_write(path);
    fwrite(bytes, 1, n, file);
    close_written(file, path);
}

static void test_data(void) {
    uint16_t ids16[103];
    uint32_t ids32[64];
    unsigned char mask[103], numpy[128 + 2*40];
    char text[100], a[PATH] = "build/test/a.npy", b[PATH] = "build/test/b.bin", c[PATH] = "build/test/c.txt", m[PATH] = "build/test/mask.bin", n[PATH] = "build/test/real.npy";
    int tokens[64], targets[64], fine = 1;
    make_directory("build"), make_directory("build/test");
    for (int i = 0; i < 103; i++) ids16[i] = (uint16_t)(i*7), mask[i] = i % 3 != 0;
    for (int i = 0; i < 64; i++) ids32[i] = (uint32_t)(70000 + i);
    for (int i = 0; i < 100; i++) text[i] = (char)(' ' + i % 90);
    write_bytes(a, ids16, sizeof ids16), write_bytes(b, ids32, sizeof ids32), write_bytes(c, text, sizeof text), write_bytes(m, mask, sizeof mask);
    memcpy(numpy, "\x93NUMPY\x01\x00\x76\x00", 10);
    memset(numpy + 10, ' ', 118);
    memcpy(numpy + 10, "{'descr': '<u2', 'fortran_order': False, 'shape': (40,), }", 58);
    numpy[127] = '\n';
    memcpy(numpy + 128, ids16, 80);
    write_bytes(n, numpy, sizeof numpy);

    Corpus two = corpus_open("build/test/a.npy,build/test/real.npy", NULL, 2, 10);
    check(two.windows == 14 && two.file[0].windows == 10 && two.file[1].windows == 4, "a headerless file of 103 tokens and a NumPy file of 40 are 10 + 4 windows of 10");
    corpus_window(&two, 3, 1000, tokens, targets);
    for (int t = 0; t < 10; t++) fine &= tokens[t] == (30 + t)*7 && targets[t] == (t < 9 ? (31 + t)*7 : IGNORE);
    corpus_window(&two, 11, 1000, tokens, targets);
    for (int t = 0; t < 10; t++) fine &= tokens[t] == (10 + t)*7;
    check(fine, "windows do not overlap; targets are the next tokens; the last has none");
    Corpus wide = corpus_open(b, NULL, 4, 64), bytes = corpus_open(c, NULL, 2, 50), masked = corpus_open(a, m, 2, 10);
    corpus_window(&wide, 0, 80000, tokens, targets);
    check(tokens[63] == 70063, "uint32 tokens");
    corpus_window(&bytes, 1, 256, tokens, targets);
    check(bytes.windows == 2 && tokens[0] == text[50], "a text file is read as bytes");
    corpus_window(&masked, 1, 1000, tokens, targets);
    fine = 1;
    for (int t = 0; t < 9; t++) fine &= targets[t] == ((11 + t) % 3 ? (11 + t)*7 : IGNORE);
    check(fine, "a label mask ignores the tokens it marks, as labels");
    Corpus val = corpus_hold_out(&two);
    check(two.windows == 12 && val.windows == 2 && val.file[0].first == 9 && val.file[1].first == 3, "validation holds out the last windows of each file");
    corpus_window(&val, 1, 1000, tokens, targets);
    check(tokens[0] == 30*7, "and reads them");
}

static void test_sampling(void) {
    enum { V = 6, DRAWS = 20000 };
    const real logits[V] = { 0, 2, 1, 2, -1, 0.5 };
    Candidate scratch[V];
    const Sampling greedy = { 0, 1, 0 }, plain = { 1, 1, 0 }, cold = { 0.5, 1, 0 }, top2 = { 1, 1, 2 }, nucleus = { 1, 0.6, 0 };
    const struct { const char *name; Sampling how; double p[V]; } cases[] = {
        { "greedy takes the first of equals", greedy, { 0, 1, 0, 0, 0, 0 } },
        { "temperature 1", plain, { exp(0.0), exp(2.0), exp(1.0), exp(2.0), exp(-1.0), exp(0.5) } },
        { "temperature 0.5", cold, { exp(0.0), exp(4.0), exp(2.0), exp(4.0), exp(-2.0), exp(1.0) } },
        { "top-k 2", top2, { 0, 1, 0, 1, 0, 0 } },
        { "top-p 0.6: the two likeliest hold 0.735", nucleus, { 0, 1, 0, 1, 0, 0 } },
    };
    for (size_t k = 0; k < sizeof cases/sizeof *cases; k++) {
        int count[V] = {0}, fine = 1;
        double total = 0;
        for (int i = 0; i < DRAWS; i++) count[sample(logits, V, cases[k].how, uniform(hash64((uint64_t)i)), scratch)]++;
        for (int v = 0; v < V; v++) total += cases[k].p[v];
        for (int v = 0; v < V; v++) {                        // within four standard deviations
            double p = cases[k].p[v]/total;
            fine &= fabs(count[v] - p*DRAWS) <= 4*sqrt(DRAWS*p*(1 - p));
        }
        check(fine, "sampling: %s", cases[k].name);
    }
}

static void test_eos(void) {
    Config c = config_of(16, 1, 2, 2, 32, 20, 32, 1, 0, 0);
    Bench t = bench_of(c, 1, 32, 20);
    const Sampling plain = { 1, 1, 0 };
    int ended = 0, fine = 1, tokens[32];
    c.eos = 3;
    for (uint64_t seed = 0; seed < 30; seed++) {
        tokens[0] = 1;
        int n = generate(&cpu_device, t.m, &c, tokens, 1, 32, plain, seed);
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
            for (size_t j = 0; j < n; j++) { double x = (double)init_value(1, t, j, std, cut); sum += x, squares += x*x, most = fmax(most, fabs(x)); }
            fine &= fabs(sum/n) < 5*std/sqrt((double)n);                            // a normal cut at 3 deviations has 0.98658 of one
            fine &= fabs(sqrt(squares/n)/(std*(cut > 0 ? 0.98658 : 1)) - 1) < 4/sqrt(2.0*(double)n) && (cut == 0 || most <= cut*std*1.000001);
        }
        check(fine, "init %s: mean, deviation and cut of every tensor", inits[k]);
    }
    Config b7 = preset_named("7b").config;
    olmo_layout(list, &unused, NULL, &b7);
    check(near(init_std(&list->tensor[2], &b7, "mitchell"), 0.011049, 1e-6) && near(init_std(&list->tensor[4], &b7, "mitchell"), 1/sqrt(22016.0), 1e-12)
          && near(init_std(&list->tensor[31*4 + 2], &b7, "mitchell"), 0.011049/sqrt(32.0), 1e-6), "7B's mitchell deviations (OLMO_SPEC 3)");
    release(list);
}

// ======================================================================================================================
// 7. The program
// ======================================================================================================================
// ---- all of them -----------------------------------------------------------------------------------------------------

static void run_double_tests(const char *self) {             // test_olmo_double's own report, and its counts into ours
    char *out = (char *)allocate(1 << 20, 1, "the report of test_olmo_double");
    int code = shell(out, 1 << 20, "%s_double --part", self), p = 0, f = 0;
    const char *last = strstr(out, "part: ");
    if (last) printf("%.*s", (int)(last - out), out);
    if (!last || sscanf(last, "part: %d passed, %d failed", &p, &f) != 2 || code != (f != 0)) check(0, "%s_double ended with code %d before its last test", self, code);
    passed += p, failed += f;
    release(out);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--dump")) { dump_precision(argv[2]); return EXIT_SUCCESS; }
    if (argc > 1 && !strcmp(argv[1], "--counting-device")) return counting_main(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "--plain-device")) return olmo_main(argc - 1, argv + 1, &cpu_device);
    char self[PATH], unused[16];
    CHECK(realpath(argv[0], self), "%s: cannot be found", argv[0]);
    make_directory("build"), make_directory("build/test");
    printf("---- %s ----\n", in_double ? "in double" : "in float");

    test_parameter_counts();
    test_op_goldens();
    test_adamw_golden();
    test_model_goldens();
    test_generation_golden();
    if (in_double) {
        test_op_differences();
        test_model_differences();
    }
    const char *const cases[] = { "small", "gqa_clip", "head128", "zloss_mask" };
    for (int i = 0; i < 4; i++) {
        char path[PATH];
        snprintf(path, sizeof path, "dev/reference/%s.safetensors", cases[i]);
        test_reference(path);
    }
    test_exp();
    test_gemm();
    test_attention_naive();
    test_training_bits();
    test_kv_cache();
    if (!in_double) {
        CHECK(shell(unused, sizeof unused, "%s_double --dump build/test/double.bin", self) == 0, "%s_double --dump failed; `make test` builds it", self);
        test_precision("build/test/double.bin");
        test_shuffle_goldens();
        test_schedules();
        test_number_formats();
        test_json();
        test_data();
        test_sampling();
        test_eos();
        test_init();
        test_second_device(self);
        run_double_tests(self);
    }
    printf("%s%d passed, %d failed\n", argc > 1 && !strcmp(argv[1], "--part") ? "part: " : "", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
