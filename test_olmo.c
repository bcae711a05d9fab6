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
        else if (g->wte_last_decayed != 0) check(near((double)wte[V*64 - 1], g->wte_last_decayed, 2e-7), "%s: a row without gradient decays (A.4)", g->name);
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
