/* bench.c - how fast is train_olmo.c, and how fast could it be on this machine?
 *
 *   make bench               everything, in two or three minutes
 *   dev/bench/bench gemm     one part: gemm, attention, memory, step or generation
 *   dev/bench/bench step --model 150m --n-layers 4 --micro-batch 4 --seq-len 512
 *                            where a step of this model goes: train_olmo's own options choose it
 *   dev/bench/bench --big    a forward and backward pass of OLMo-1B, 2048 tokens; about 14 GB
 *
 * Rates stand beside a ceiling measured in the same run: probes of nothing but fused multiply-adds, run
 * between the measurements. "best" is the fastest sample, "median" the middle one. "of peak" compares the
 * best sample with the fastest probe of the whole run. "probe" is what the probes around this very line
 * reached: where it is far below the peak, the machine was busy with something else and the line says
 * little. A product that is fast but wrong prints FAIL.
 *
 * OpenBLAS is compared if libopenblas.so.0 can be loaded (nothing is linked). Its OpenMP flavour is the
 * fair one, Debian's libopenblas0-openmp: the other brings threads of its own, which fight with ours for
 * the cores.
 */
#define OLMO_LIBRARY
#include "../../train_olmo.c"
#include <dlfcn.h>
#include <sys/resource.h>

// ---- time --------------------------------------------------------------------------------------
// A stopwatch collects the samples of one thing. Things are measured in turns, a few samples each, so
// that a noisy second hits all of them:      while (again(&watch, budget)) the_thing();

enum { SAMPLES = 4096, TURNS = 3 };
typedef struct { double sample[SAMPLES], start, turn_start; int n, running; } Watch;

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void keep(Watch *w, double sample) { if (w->n < SAMPLES) w->sample[w->n++] = sample; }

// Ends one sample and starts the next, until this turn has taken `budget` seconds. A turn takes one
// sample at least.
static int again(Watch *w, double budget) {
    double now = seconds();
    if (w->running) keep(w, now - w->start); else w->turn_start = now;
    w->running = !w->running || now - w->turn_start < budget;
    w->start = seconds();
    return w->running;
}

static double best(const Watch *w) {
    double least = w->sample[0];
    for (int i = 1; i < w->n; i++) least = fmin(least, w->sample[i]);
    return least;
}
static double median(Watch *w) {
    qsort(w->sample, (size_t)w->n, sizeof *w->sample, ascending);
    return (w->sample[w->n/2] + w->sample[(w->n - 1)/2])/2;
}

// ---- the ceiling -------------------------------------------------------------------------------
// GFLOP/s of `threads` threads that do nothing but multiply and add, in registers. Twelve independent
// sums hide the latency of the units. What comes from `unknown` the compiler cannot compute in advance;
// what goes to `sink` it cannot drop.
static volatile real unknown = 0.5f, sink;

static double fma_rate(int threads) {
    enum { SUMS = 12, REPEAT = 1 << 20 };
    double start = seconds();
    #pragma omp parallel num_threads(threads)
    {
        vec sum[SUMS], x, y, total;
        for (int v = 0; v < VL; v++) x[v] = unknown, y[v] = unknown;
        for (int i = 0; i < SUMS; i++) sum[i] = x*(real)i;
        for (int n = 0; n < REPEAT; n++)
            for (int i = 0; i < SUMS; i++) sum[i] = sum[i]*x + y;
        total = sum[0];
        for (int i = 1; i < SUMS; i++) total += sum[i];
        sink = total[0];
    }
    return 2e-9*SUMS*VL*REPEAT*threads/(seconds() - start);
}

static double peak;                                 // the fastest probe of this run, all threads

static void probe(Watch *w) {                       // keeps seconds per GFLOP: best() is the fastest
    double rate = fma_rate(omp_get_max_threads());
    peak = fmax(peak, rate);
    keep(w, 1/rate);
}

static void print_ceiling(void) {
    int threads = omp_get_max_threads();
    static Watch one, all;
    for (int i = 0; i < 40; i++) keep(&one, 1/fma_rate(1)), probe(&all);
    printf("\nfused multiply-adds in registers: the peak\n  1 thread  %7.1f GFLOP/s best %7.1f median\n",
           1/best(&one), 1/median(&one));
    if (threads > 1)
        printf("  %d threads %6.1f GFLOP/s best %7.1f median\n", threads, peak, 1/median(&all));
}

// ---- matrix products ---------------------------------------------------------------------------
typedef enum { FORWARD, DX, DW, PRODUCTS } Product; // of a layer out[N,O] = inp[N,C] . weight[O,C]^T
static const char *const product_name[] = { "forward", "dX", "dW" };

typedef void (*Sgemm)(int order, int ta, int tb, int m, int n, int k,
                      float alpha, const float *a, int lda, const float *b, int ldb,
                      float beta, float *c, int ldc);

static Sgemm openblas(void) {
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libopenblas.so", RTLD_NOW | RTLD_LOCAL);
    union {                                         // C has no cast from data to code
        void *pointer;
        Sgemm call;
        int (*parallel)(void);
        char *(*config)(void);
    } symbol;
    const char *const flavour[] = {
        "one thread only",
        "with threads of its own; its OpenMP flavour would be the fair one",
        "OpenMP",
    };
    if (!library || !(symbol.pointer = dlsym(library, "openblas_get_parallel"))) {
        printf("OpenBLAS: libopenblas.so.0 not found, not compared "
               "(Debian: apt install libopenblas0-openmp)\n");
        return NULL;
    }
    int parallel = symbol.parallel();
    symbol.pointer = dlsym(library, "openblas_get_config");
    printf("OpenBLAS: %s(%s)\n", symbol.pointer ? symbol.config() : "",
           parallel >= 0 && parallel < 3 ? flavour[parallel] : "?");
    symbol.pointer = dlsym(library, "cblas_sgemm");
    return symbol.pointer ? symbol.call : NULL;
}

// c = the product: [N,O] forward, [N,C] dX, [O,C] dW. dW adds, as training does. a and b are the two
// factors, as stored.
static void ours(Product p, real *c, const real *a, const real *b, int N, int C, int O) {
    if (p == FORWARD) matmul_forward(c, a, b, N, C, O, 0);
    if (p == DX) matmul_backward_input(c, a, b, N, C, O);
    if (p == DW) matmul_backward_weight(c, a, b, 1, N, C, O);
}
static void blas(Sgemm sgemm, Product p, float *c, const float *a, const float *b,
                 int N, int C, int O) {
    enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 };
    if (p == FORWARD) sgemm(ROW_MAJOR, AS_IS, TRANSPOSED, N, O, C, 1, a, C, b, C, 0, c, O);
    if (p == DX) sgemm(ROW_MAJOR, AS_IS, AS_IS, N, C, O, 1, a, O, b, C, 0, c, C);
    if (p == DW) sgemm(ROW_MAJOR, TRANSPOSED, AS_IS, O, C, N, 1, a, O, b, C, 1, c, C);
}
// The first rows and columns of the product, by three loops.
static void naive(Product p, real *c, const real *a, const real *b, int rows, int cols,
                  int N, int C, int O) {
    if (p == FORWARD) gemm_naive(c, cols, matrix(a, C), transposed(b, C), rows, cols, C, 0);
    if (p == DX) gemm_naive(c, cols, matrix(a, O), matrix(b, C), rows, cols, O, 0);
    if (p == DW) gemm_naive(c, cols, transposed(a, O), matrix(b, C), rows, cols, N, 0);
}

static real *random_reals(size_t count) {
    real *x = (real *)allocate(count, sizeof(real), "random numbers");
    #pragma omp parallel for
    for (size_t i = 0; i < count; i++) x[i] = (real)(2*uniform(hash64(i + count)) - 1);
    return x;
}

// Relative error of x against y, both [rows, cols], as root mean squares.
static double error_of(const real *x, size_t ldx, const real *y, size_t ldy, int rows, int cols) {
    double difference = 0, size = 0;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            double want = (double)y[i*ldy + j], d = (double)x[i*ldx + j] - want;
            difference += d*d, size += want*want;
        }
    return sqrt(difference/size);
}

static void bench_product(Sgemm sgemm, const char *what, Product p, int N, int C, int O) {
    static Watch us, them, slice, probes;
    us.n = them.n = slice.n = probes.n = 0;
    int M = p == DW ? O : N, cols = p == FORWARD ? O : C, K = p == FORWARD ? C : p == DX ? O : N;
    int rows = imin(M, 16), part_cols = imin(cols, 256);    // of the slice that three loops compute
    real *c = (real *)allocate((size_t)M*cols, sizeof(real), "a product");
    real *a = random_reals(p == FORWARD ? (size_t)N*C : (size_t)N*O);
    real *b = random_reals(p == DW ? (size_t)N*C : (size_t)O*C);
    real *check = (real *)allocate((size_t)rows*part_cols, sizeof(real), "a slice");
    double flops = 2e-9*M*cols*K;

    ours(p, c, a, b, N, C, O);                      // c was zero
    naive(p, check, a, b, rows, part_cols, N, C, O);
    double error = error_of(c, cols, check, part_cols, rows, part_cols);
    for (int turn = 0; turn < TURNS; turn++) {
        probe(&probes);
        while (again(&us, 0.05)) ours(p, c, a, b, N, C, O);
        if (sgemm) while (again(&them, 0.05)) blas(sgemm, p, c, a, b, N, C, O);
        while (again(&slice, 0.01)) naive(p, check, a, b, rows, part_cols, N, C, O);
        probe(&probes);
    }
    printf("  %-13s %5dx%5dx%5d  %-7s  ", what, M, cols, K, product_name[p]);
    if (!(error < 1e-6*sqrt(K) + 1e-6)) printf("FAIL: relative error %.1e\n", error);
    else {
        printf("%7.1f %7.1f %6.0f%% %7.1f  ", flops/best(&us), flops/median(&us),
               100*flops/best(&us)/peak, 1/median(&probes));
        if (sgemm)
            printf("%8.1f %7.1f %8.2f  ",
                   flops/best(&them), flops/median(&them), best(&them)/best(&us));
        else printf("%27s", "");
        printf("%7.2f  %7.0e\n", 2e-9*rows*part_cols*K/best(&slice), error);
    }
    release(a), release(b), release(c), release(check);
}

static void bench_gemm(void) {
    const struct { const char *what; int N, C, O; } shape[] = {
        { "1b att_proj", 2048, 2048, 6144 },
        { "1b ff_proj", 2048, 2048, 16384 },
        { "1b ff_out", 2048, 8192, 2048 },
        { "tiny att_proj", 1024, 64, 192 },
        { "tiny ff_proj", 1024, 64, 512 },
        { "tiny ff_out", 1024, 256, 64 },
        { "cube", 256, 256, 256 },
        { "odd", 1000, 777, 1001 },
    };
    printf("\nmatrix products: rows x columns x length of the sums\n");
    Sgemm sgemm = openblas();
    printf("  %-13s %17s  %-7s  %7s %7s %7s %7s  %8s %7s %8s  %7s  %7s\n",
           "GFLOP/s", "", "", "best", "median", "of peak", "probe",
           "OpenBLAS", "median", "ours/its", "naive*", "error");
    for (size_t i = 0; i < sizeof shape/sizeof *shape; i++)
        for (int p = 0; p < PRODUCTS; p++)
            bench_product(sgemm, shape[i].what, (Product)p, shape[i].N, shape[i].C, shape[i].O);
    printf("  * three plain loops, one thread, on the first 16 rows x 256 columns only "
           "(all of it would take minutes);\n"
           "    the error is ours, relative to that slice\n");
}

// ---- attention ---------------------------------------------------------------------------------
// As one would write it down: all of P [B, H, T, T] is computed, stored, and read again by the backward
// pass. The compiler may reorder the sums over a head, so that these loops too are vector code.
static inline real head_dot(const real *x, const real *y, int D) {
    real sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (int i = 0; i < D; i++) sum += x[i]*y[i];
    return sum;
}
static inline void head_add(real *sum, real scale, const real *x, int D) {
    #pragma omp simd
    for (int i = 0; i < D; i++) sum[i] += scale*x[i];
}

static void attention_forward_naive(real *att, real *P, const real *qkv, int B, int T, int H, int D) {
    const size_t C = (size_t)H*D, Q = 3*C;
    const real scale = 1/(real)sqrt((real)D);
    #pragma omp parallel for collapse(3)
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int t = 0; t < T; t++) {
        const real *row = qkv + (size_t)b*T*Q, *q = row + t*Q + h*D, *k = row + C + h*D, *v = k + C;
        real *p = P + (((size_t)b*H + h)*T + t)*T, *out = att + ((size_t)b*T + t)*C + h*D;
        real most = -INFINITY, sum = 0;
        for (int j = 0; j <= t; j++) {
            p[j] = scale*head_dot(q, k + j*Q, D);
            most = p[j] > most ? p[j] : most;
        }
        for (int j = 0; j <= t; j++) {
            p[j] = (real)expf((float)(p[j] - most));
            sum += p[j];
        }
        for (int i = 0; i < D; i++) out[i] = 0;
        for (int j = 0; j <= t; j++) {
            p[j] /= sum;
            head_add(out, p[j], v + j*Q, D);
        }
    }
}

static void attention_backward_naive(real *dqkv, real *dP, const real *datt, const real *P,
                                     const real *qkv, int B, int T, int H, int D) {
    const size_t C = (size_t)H*D, Q = 3*C;
    const real scale = 1/(real)sqrt((real)D);
    memset(dqkv, 0, sizeof(real)*B*T*Q);
    #pragma omp parallel for collapse(2)
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int t = 0; t < T; t++) {
        const size_t first = (size_t)b*T*Q + h*D;   // of this head's q, at position 0
        const real *q = qkv + first + t*Q, *k = qkv + first + C, *v = k + C;
        const real *p = P + (((size_t)b*H + h)*T + t)*T, *dout = datt + ((size_t)b*T + t)*C + h*D;
        real *dq = dqkv + first + t*Q, *dk = dqkv + first + C, *dv = dk + C;
        real *dp = dP + ((size_t)b*H + h)*T, mean = 0;
        for (int j = 0; j <= t; j++) {
            dp[j] = head_dot(dout, v + j*Q, D);
            head_add(dv + j*Q, p[j], dout, D);
            mean += p[j]*dp[j];
        }
        for (int j = 0; j <= t; j++) {
            real ds = scale*p[j]*(dp[j] - mean);
            head_add(dq, ds, k + j*Q, D);
            head_add(dk + j*Q, ds, q, D);
        }
    }
}

static void bench_attention_shape(int B, int T, int H, int D) {
    static const char *const what[] = { "forward", "backward", "forward, naive", "backward, naive" };
    static Watch watch[4], probes;
    const size_t n = (size_t)B*T*H*D;
    real *qkv = random_reals(3*n), *datt = random_reals(n);
    const size_t room = zmax(attention_forward_work(T), attention_backward_work(B, T, H, H, D));
    real *work = (real *)allocate(room, sizeof(real), "scratch");
    real *att = random_reals(n), *lse = random_reals((size_t)B*H*T), *dqkv = random_reals(3*n);
    real *att2 = random_reals(n), *dqkv2 = random_reals(3*n);
    real *P = random_reals((size_t)B*H*T*T), *dP = random_reals((size_t)B*H*T);
    probes.n = 0;
    for (int i = 0; i < 4; i++) watch[i].n = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        probe(&probes);
        while (again(&watch[0], 0.2))
            attention_forward(att, lse, work, qkv, 3*H*D, qkv + H*D, 3*H*D, B, T, 0, H, H, D);
        while (again(&watch[1], 0.2))
            attention_backward(dqkv, work, datt, att, lse, qkv, B, T, H, H, D);
        probe(&probes);
        while (again(&watch[2], 0.05)) attention_forward_naive(att2, P, qkv, B, T, H, D);
        while (again(&watch[3], 0.05))
            attention_backward_naive(dqkv2, dP, datt, P, qkv, B, T, H, D);
    }
    double error = fmax(error_of(att, H*D, att2, H*D, B*T, H*D),
                        error_of(dqkv, 3*H*D, dqkv2, 3*H*D, B*T, 3*H*D));
    printf("  B=%d T=%d, %d heads of %d; probe %.1f GFLOP/s; relative error to the naive loops %.0e%s\n",
           B, T, H, D, 1/median(&probes), error, error < 1e-4 ? "" : " FAIL");
    for (int i = 0; i < 4; i++) {
        double flops = (i % 2 ? 10e-9 : 4e-9)*B*H*D*T*(T + 1)/2, t = best(&watch[i]);
        printf("    %-15s %9.3f ms best %9.3f median  %7.1f GFLOP/s best %5.0f%% of peak",
               what[i], 1e3*t, 1e3*median(&watch[i]), flops/t, 100*flops/t/peak);
        if (i < 2) printf("  %5.1fx the naive loops' speed", best(&watch[i + 2])/t);
        printf("\n");
    }
    release(qkv), release(datt), release(work), release(att), release(lse), release(dqkv);
    release(att2), release(dqkv2), release(P), release(dP);
}

static void bench_attention(void) {
    printf("\ncausal attention: products of the visible half only, "
           "4 B H D T(T+1)/2 FLOP forward, 2.5 times that backward\n");
    bench_attention_shape(1, 2048, 16, 128);        // OLMo-1B
    bench_attention_shape(4, 256, 2, 32);           // tiny
}

// ---- memory ------------------------------------------------------------------------------------
static void print_memory(void) {
    char a[48];
    printf("\nmemory (as allocated)\n");
    for (int i = 0; i < 3; i++) {                   // tiny, 150m, 1b
        const Preset *p = &presets[i];
        const int B = p->recipe.micro_batch, T = p->config.seq_len;
        for (int training = 1; training >= 0; training--) {
            Memory plan[MAX_MEMORY];
            double total = 0;
            int n = cpu_device.memory(plan, &p->config, training, B, T);
            printf("  %-5s %-15s B=%d T=%d:",
                   p->name, training ? "training" : "without training", B, T);
            for (int k = 0; k < n; k++) {
                total += (double)plan[k].bytes;
                printf(" %s %s,", plan[k].name, bytes_text((double)plan[k].bytes, a));
            }
            printf(" together %s\n", bytes_text(total, a));
        }
    }
}

// ---- where a step goes -------------------------------------------------------------------------
// Every function that a step calls, timed alone, over all layers and on the model's own buffers. If
// these times do not add up to that of the whole step, something was forgotten: the last line tells.

typedef struct {
    Run run;
    Olmo *model;
    int B, T, *tokens, *targets;
    real *losses, *weights;
} Subject;

static Subject subject_build(const Options *o) {
    Subject s;
    memset(&s, 0, sizeof s);
    s.model = olmo_build(&o->config, 1);
    const Model model = { &cpu_device, s.model, &s.model->config, &s.model->layout };
    s.run.o = *o, s.run.model = model;
    s.B = o->recipe.micro_batch, s.T = o->config.seq_len;
    int N = s.B*s.T;
    s.tokens = (int *)allocate(2*(size_t)N, sizeof(int), "a batch");
    s.targets = s.tokens + N;
    s.losses = (real *)allocate(3*(size_t)N, sizeof(real), "the losses");
    s.weights = s.losses + 2*(size_t)N;
    for (int n = 0; n < N; n++) {
        s.tokens[n] = (int)(hash64((uint64_t)n) % (uint64_t)o->config.vocab);
        s.targets[n] = (int)(hash64((uint64_t)n + 1) % (uint64_t)o->config.vocab);
        s.weights[n] = (real)1/N;
    }
    model_init(&s.run);
    return s;
}
static void subject_free(Subject *s) { olmo_free(s->model), release(s->tokens), release(s->losses); }
static void subject_forward(Subject *s) {
    olmo_forward(s->model, s->losses, s->losses + (size_t)s->B*s->T, s->tokens, s->targets, s->weights,
                 s->B, s->T);
}

typedef enum { ATT_PROJ, ATTN_OUT, FF_PROJ, FF_OUT, HEAD_PRODUCT, MATRICES } Place;

// One of the five matrix products of the model, of all layers.
static void step_product(const Subject *s, Place place, Product p) {
    const Config *c = &s->model->config;
    Acts *a = &s->model->acts;
    const int N = s->B*s->T, C = c->d_model, Q = C + 2*c->n_kv_heads*(C/c->n_heads);
    const int F = c->mlp_hidden/2, V = c->vocab;
    for (int l = 0; l < (place == HEAD_PRODUCT ? 1 : c->n_layers); l++) {
        const LayerWeights *w = &s->model->weight.layer[l], *dw = &s->model->grad.layer[l];
        LayerActs *keep = &a->layer[l];
        const struct { real *inp, *out, *dinp, *dout, *w, *dw; int C, O, add; } at[] = {
            { keep->xn1, keep->qkv, a->dxn, a->dqkv, w->att_proj, dw->att_proj, C, Q, 0 },
            { keep->att, a->x, a->datt, a->dx, w->attn_out, dw->attn_out, C, C, 1 },
            { keep->xn2, keep->ug, a->dxn, keep->ug, w->ff_proj, dw->ff_proj, C, 2*F, 0 },
            { a->h, a->x, a->dh, a->dx, w->ff_out, dw->ff_out, F, C, 1 },
            { a->xnf, a->logits, a->dxn, a->logits, s->model->weight.head, s->model->grad.head,
              C, V, 0 },
        }, *m = &at[place];
        if (p == FORWARD) matmul_forward(m->out, m->inp, m->w, N, m->C, m->O, m->add);
        if (p == DX) matmul_backward_input(m->dinp, m->dout, m->w, N, m->C, m->O);
        if (p == DW) matmul_backward_weight(m->dw, m->dout, m->inp, s->B, s->T, m->C, m->O);
    }
}

typedef enum { ATTENTION, SWIGLU, NORM, ROPE, CLIP, CROSSENTROPY, EMBED, OPS } Op;

// Everything else of the forward (back = 0) or backward pass, of all layers.
static void step_op(const Subject *s, Op op, int back) {
    const Config *c = &s->model->config;
    Acts *a = &s->model->acts;
    const int B = s->B, T = s->T, N = B*T, C = c->d_model;
    const int H = c->n_heads, G = c->n_kv_heads, D = C/H, Q = (H + 2*G)*D;
    const int F = c->mlp_hidden/2, V = c->vocab;
    real *unused = s->losses + N;
    if (op == CROSSENTROPY && !back)
        crossentropy_forward(s->losses, unused, a->lse, a->logits, s->targets, c->z_loss, N, V);
    if (op == CROSSENTROPY && back)
        crossentropy_backward(a->logits, s->weights, a->lse, a->logits, s->targets, c->z_loss, N, V);
    if (op == EMBED && !back) embed_forward(a->x, s->tokens, s->model->weight.wte, N, C);
    if (op == EMBED && back)
        for (int b = 0; b < B; b++)
            embed_backward(s->model->grad.wte, a->dx + (size_t)b*T*C, s->tokens + (size_t)b*T, T, C);
    if (op == NORM && !back) norm_forward(a->xnf, a->rstdf, a->x, N, C);
    if (op == NORM && back) {
        memset(a->dx, 0, sizeof(real)*N*C);
        norm_backward(a->dx, a->dxn, a->xnf, a->rstdf, N, C);
    }
    for (int l = 0; l < c->n_layers; l++) {
        LayerActs *k = &a->layer[l];
        if (op == NORM && !back) {
            norm_forward(k->xn1, k->rstd1, a->x, N, C);
            norm_forward(k->xn2, k->rstd2, a->x, N, C);
        }
        if (op == NORM && back) {
            norm_backward(a->dx, a->dxn, k->xn2, k->rstd2, N, C);
            norm_backward(a->dx, a->dxn, k->xn1, k->rstd1, N, C);
        }
        if (op == ROPE && !back) rope_forward(k->qkv, a->rope, N, T, 0, H + G, D, Q);
        if (op == ROPE && back) rope_backward(a->dqkv, a->rope, N, T, H + G, D, Q);
        if (op == CLIP && c->clip_qkv > 0 && !back)
            clip_forward(k->qkv, k->pass, c->clip_qkv, (size_t)N*Q);
        if (op == CLIP && c->clip_qkv > 0 && back)
            clip_backward(a->dqkv, k->pass, (size_t)N*Q);
        if (op == ATTENTION && !back)
            attention_forward(k->att, k->lse, a->work, k->qkv, Q, k->qkv + H*D, Q, B, T, 0, H, G, D);
        if (op == ATTENTION && back)
            attention_backward(a->dqkv, a->work, a->datt, k->att, k->lse, k->qkv, B, T, H, G, D);
        if (op == SWIGLU && !back) swiglu_forward(a->h, k->ug, N, F);
        if (op == SWIGLU && back) swiglu_backward(k->ug, a->h, a->dh, k->ug, N, F);
    }
}

static void bench_step(const Options *o, double budget) {
    static const char *const place_name[] = { "att_proj", "attn_out", "ff_proj", "ff_out", "head" };
    static const char *const op_name[] = {
        "attention", "swiglu", "norm", "rope", "clip q, k, v", "cross entropy", "embedding",
    };
    static Watch forward, backward, update, probes, product[MATRICES][PRODUCTS], other[OPS][2];
    Subject s = subject_build(o);
    const Config *c = &o->config;
    const int C = c->d_model, Q = C + 2*c->n_kv_heads*(C/c->n_heads);
    const int F = c->mlp_hidden/2, N = s.B*s.T;
    const int size[MATRICES][2] = { { C, Q }, { C, C }, { C, 2*F }, { F, C }, { C, c->vocab } };
    AdamW how = { 1e-6, 0.9, 0.95, 1e-5, 0.1, 0, 1, 1 };
    double start = seconds(), parts = 0, flops = 0, t;
    char a[48];

    // A first step, not counted, touches all memory. Then a round is a whole step, and its parts.
    subject_forward(&s), olmo_backward(s.model), olmo_update(s.model, &how);
    forward.n = backward.n = update.n = probes.n = 0;
    memset(product, 0, sizeof product), memset(other, 0, sizeof other);
    for (int round = 0; round < 2 || (seconds() - start < budget && round < 500); round++) {
        probe(&probes);
        how.step = round + 1;
        t = seconds(), subject_forward(&s), keep(&forward, seconds() - t);
        t = seconds(), olmo_backward(s.model), keep(&backward, seconds() - t);
        t = seconds(), olmo_update(s.model, &how), keep(&update, seconds() - t);
        subject_forward(&s);                        // the backward pass has used up the activations
        for (int i = 0; i < MATRICES; i++)
            for (int p = 0; p < PRODUCTS; p++) {
                t = seconds(), step_product(&s, (Place)i, (Product)p);
                keep(&product[i][p], seconds() - t);
            }
        subject_forward(&s);
        for (int i = 0; i < OPS; i++)
            for (int back = 0; back < 2; back++)
                t = seconds(), step_op(&s, (Op)i, back), keep(&other[i][back], seconds() - t);
    }

    double step = median(&forward) + median(&backward) + median(&update);
    printf("\nwhere a step goes: %d layers, d_model %d, %d heads, mlp_hidden %d, vocabulary %d, "
           "B=%d T=%d, %s parameters; medians of %d rounds\n",
           c->n_layers, C, c->n_heads, c->mlp_hidden, c->vocab,
           s.B, s.T, figure((double)s.model->layout.size, a), forward.n);
    printf("  %-14s %10s %8s   %10s %8s   %10s %8s   %9s\n", "products",
           "forward ms", "GFLOP/s", "dX ms", "GFLOP/s", "dW ms", "GFLOP/s", "of step");
    for (int i = 0; i < MATRICES; i++) {
        double sum = 0, work = 2e-9*N*size[i][0]*size[i][1]*(i == HEAD_PRODUCT ? 1 : c->n_layers);
        printf("  %-14s", place_name[i]);
        for (int p = 0; p < PRODUCTS; p++) {
            printf(" %10.3f %8.1f  ", 1e3*median(&product[i][p]), work/median(&product[i][p]));
            sum += median(&product[i][p]);
        }
        printf(" %8.1f%%\n", 100*sum/step);
        parts += sum, flops += 3*work;
    }
    flops += 3*c->n_layers*4e-9*s.B*C*s.T*(s.T + 1)/2;
    printf("  %-14s %10s %8s   %10s\n", "others", "forward ms", "", "backward ms");
    for (int i = 0; i < OPS; i++) if (i != CLIP || c->clip_qkv > 0) {
        double sum = median(&other[i][0]) + median(&other[i][1]);
        printf("  %-14s %10.3f %8s   %10.3f %8s   %10s %8s   %8.1f%%\n", op_name[i],
               1e3*median(&other[i][0]), "", 1e3*median(&other[i][1]), "", "", "", 100*sum/step);
        parts += sum;
    }
    printf("  %-14s %10.3f ms, %.1f GB/s %41s %8.1f%%\n", "AdamW", 1e3*median(&update),
           36e-9*(double)s.model->layout.size/median(&update), "", 100*median(&update)/step);
    parts += median(&update);
    printf("  sum of the parts %.3f ms | whole step %.3f ms (forward %.3f, backward %.3f, update %.3f) "
           "| unexplained %.1f%%\n",
           1e3*parts, 1e3*step, 1e3*median(&forward), 1e3*median(&backward), 1e3*median(&update),
           100*(1 - parts/step));
    printf("  %.0f tokens/s, %.1f GFLOP/s (causal count, 3 x forward), %.0f%% of peak; "
           "probe %.1f GFLOP/s\n", N/step, flops/step, 100*flops/step/peak, 1/median(&probes));
    subject_free(&s);
}

// ---- generation --------------------------------------------------------------------------------
// A token of generation reads all weights once, so it can be no faster than reading is: both are
// measured, in turns.

// The numbers, added up: reading at its plainest. The sum is returned so that nothing can be left out.
static double read_all(const real *x, size_t n) {
    enum { PIECES = 256 };
    double sum = 0;
    #pragma omp parallel for schedule(dynamic) reduction(+ : sum)
    for (int i = 0; i < PIECES; i++) sum += (double)row_sum(x + n/PIECES*(size_t)i, (int)(n/PIECES));
    return sum;
}

static void bench_generation(int layers) {
    static Watch reading, token, choosing[3];
    const struct { const char *name; Sampling how; } ways[] = {
        { "greedy", { 0, 1, 0 } }, { "top-p 0.9", { 1, 0.9, 0 } }, { "top-k 40", { 1, 1, 40 } },
    };
    Run run;
    memset(&run, 0, sizeof run);
    run.o = options_of_preset("1b"), run.o.config.n_layers = layers;
    const Config c = run.o.config;
    Olmo *m = olmo_build(&c, 0);
    const Model model = { &cpu_device, m, &m->config, &m->layout };
    run.model = model;
    model_init(&run);
    real *logits = (real *)allocate((size_t)c.vocab, sizeof(real), "the logits");
    Candidate *scratch = (Candidate *)allocate((size_t)c.vocab, sizeof(Candidate), "the candidates");
    const double bytes = (double)m->layout.size*sizeof(real);
    double sum = 0;
    for (int past = 0, id = 1; past < 24; past++) {
        double t = seconds();
        sum += read_all(m->params, m->layout.size);
        if (past) keep(&reading, seconds() - t);            // the first of each touches the memory
        t = seconds();
        olmo_decode(m, logits, &id, 1, past);
        if (past) keep(&token, seconds() - t);
        for (int i = 0; i < 3; i++) {
            t = seconds();
            id = sample(logits, c.vocab, ways[i].how, uniform(hash64((uint64_t)past)), scratch);
            keep(&choosing[i], seconds() - t);
        }
    }
    const double read = 1e-9*bytes/median(&reading), decode = 1e-9*bytes/median(&token);
    printf("\ngeneration: OLMo-1B with %d of its 16 layers, %.2f GB of weights (their sum: %.3g); "
           "medians of %d tokens\n",
           layers, 1e-9*bytes, sum, token.n);
    printf("  reading the weights %.1f GB/s | a token %.1f ms, %.1f GB/s: %.0f%% of it\n",
           read, 1e3*median(&token), decode, 100*decode/read);
    printf("  choosing one of %d:", c.vocab);
    for (int i = 0; i < 3; i++)
        printf("%s %s %.2f ms", i ? "," : "", ways[i].name, 1e3*median(&choosing[i]));
    printf("\n");
    release(logits), release(scratch), olmo_free(m);
}

// ---- OLMo-1B -----------------------------------------------------------------------------------
static void bench_big(void) {
    Options o = options_of_preset("1b");
    const Config *c = &o.config;
    struct rusage usage;
    double start = seconds();
    printf("\nOLMo-1B, one forward and backward pass, B=1 T=%d; the first, so it also touches all "
           "memory\n", c->seq_len);
    fflush(stdout);
    Subject s = subject_build(&o);
    printf("  weights made in %.1f s\n", seconds() - start), fflush(stdout);
    start = seconds(), subject_forward(&s);
    double forward = seconds() - start, loss = 0;
    for (int n = 0; n < c->seq_len; n++) loss += (double)s.losses[n]/c->seq_len;
    start = seconds(), olmo_backward(s.model);
    double backward = seconds() - start;
    double flops = (6e-9*(double)s.model->layout.size   // tied: the head is in size
                    + 6e-9*c->n_layers*c->d_model*(c->seq_len + 1))*c->seq_len;
    getrusage(RUSAGE_SELF, &usage);
    double gib = (double)usage.ru_maxrss/(1 << 20);
    printf("  forward %.2f s, backward %.2f s: %.1f tokens/s, %.1f GFLOP/s (causal count), "
           "%.0f%% of peak\n", forward, backward, c->seq_len/(forward + backward),
           flops/(forward + backward), 100*flops/(forward + backward)/peak);
    printf("  loss %.4f (log V is %.4f), gradient norm %.4g\n",
           loss, log(c->vocab), global_norm(s.model->grads, s.model->layout.size));
    printf("  peak memory %.2f GiB\n", gib);
    CHECK(gib <= 24, "a pass of OLMo-1B took %.2f GiB; it must stay within 24", gib);
    subject_free(&s);
}

// ---- main --------------------------------------------------------------------------------------
// The first line that `command` prints.
static void line_of(const char *command, char *line, int size) {
    FILE *pipe = popen(command, "r");
    if (!pipe || !fgets(line, size, pipe)) snprintf(line, (size_t)size, "unknown");
    line[strcspn(line, "\n")] = 0;
    if (pipe) pclose(pipe);
}

static void print_header(int argc, char **argv) {
    char cpu[256], commit[64];
    line_of("sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null", cpu, sizeof cpu);
    line_of("git rev-parse --short HEAD 2>/dev/null", commit, sizeof commit);
    printf("%s, %d thread%s, vectors of %d bytes | compiler %s | commit %s |",
           cpu, omp_get_max_threads(), omp_get_max_threads() > 1 ? "s" : "",
           VEC_BYTES, __VERSION__, commit);
    for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
    printf("\n");
}

int main(int argc, char **argv) {
    static const char *const sections[] = {
        "--big", "gemm", "attention", "memory", "step", "generation",
    };
    int only = 0;                                   // 0: all but --big
    for (int i = 0; argc > 1 && i < 6; i++)
        if (!strcmp(argv[1], sections[i])) only = i + 1;
    CHECK(only || argc == 1, "%s: expected gemm, attention, memory, step, generation or --big", argv[1]);
    CHECK(only == 5 || argc <= 2, "%s: only `step` takes options", argv[2]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    Options o, before;
    char directory[PATH];
    if (only == 5) {
        choose_model(&o, &before, argc - 1, argv + 1, directory);
        if (o.threads) omp_set_num_threads(o.threads);
    }
    print_header(argc, argv);
    print_ceiling();
    if (only == 1) bench_big();
    if (!only || only == 2) bench_gemm();
    if (!only || only == 3) bench_attention();
    if (!only || only == 4) print_memory();
    if (only == 5) bench_step(&o, 20);
    if (!only || only == 6) bench_generation(4);
    if (!only) {
        o = options_of_preset("tiny");
        bench_step(&o, 10);
        o = options_of_preset("150m");
        o.config.n_layers = 4, o.config.seq_len = 512, o.recipe.micro_batch = 4;
        bench_step(&o, 20);
    }
    printf("\nthe peak of this run: %.1f GFLOP/s\n", peak);
    return EXIT_SUCCESS;
}
