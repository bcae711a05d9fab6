/* bench.cu - how fast is train_olmo.cu, and how fast could it be on this card?
 *
 *   make bench-gpu                                 everything, and PyTorch beside it (dev/bench/step_gpu.py)
 *   dev/bench/bench_gpu kernels step               some parts: ceilings, kernels, attention, step, decode
 *   dev/bench/bench_gpu step --model 7b --micro-batch 5 --offload-optimizer
 *                                                  of this model: train_olmo's own options choose it
 *   dev/bench/bench_gpu --tsv FILE step            the numbers to FILE, too: a line each, columns by tabs
 *
 * Ceilings first: a copy, reads and writes counted, and a bf16 product of 8192^3, for a moment and for 20
 * seconds (3, where they are not asked for). A card that is limited by its power runs the long one slower,
 * and training is a long one: that rate is the limit of everything that multiplies, the copy is that of
 * everything else. A kernel's bytes are the least it could move, its operations those of the visible half of
 * attention, so that extra work shows as lost percents.
 *
 * Every kernel runs on the model's own buffers after a real pass, each time on the next layer's, so that
 * nothing is found in the cache that a step would not find there. Medians of at least 20 runs. The error is
 * that against the .c file's function on the first rows; a kernel that is fast but wrong prints FAIL. Last,
 * the sum of the kernels stands beside the measured step: what is missing was forgotten, or is waiting.
 */
#define OLMO_LIBRARY
#include "../../train_olmo.cu"

// ---- time ---------------------------------------------------------------------------------------
enum { SAMPLES = 1000, BATCH = 20 };
typedef struct { double median, p10, p90; } Time;                       // milliseconds

static int ascending(const void *a, const void *b) {
    return (*(const float *)a > *(const float *)b) - (*(const float *)a < *(const float *)b);
}

static Time time_from(float *sample, int n) {
    qsort(sample, (size_t)n, sizeof *sample, ascending);
    return { sample[n/2], sample[n/10], sample[n - 1 - n/10] };
}

// How long the card takes for run(0), run(1), ...: three to warm up, then BATCH at a time for `budget` s.
// With a pause, in s, before every four the card stays cool, and its clock high.
template <class Run> static Time time_of(Run run, double budget, double pause = 0) {
    static cudaEvent_t event[2*BATCH];
    static float sample[SAMPLES];
    const int batch = pause > 0 ? 4 : BATCH;
    int n = 0, i = 0;
    for (int k = 0; k < 2*BATCH && !event[k]; k++) CUDA(cudaEventCreate(&event[k]));
    for (; i < 3; i++) run(i);
    CUDA(cudaStreamSynchronize(card.stream));
    for (double start = seconds(); n == 0 || (seconds() - start < budget && n + batch <= SAMPLES); ) {
        if (pause > 0) usleep((useconds_t)(1e6*pause));
        for (int k = 0; k < batch; k++, i++) {
            CUDA(cudaEventRecord(event[2*k], card.stream));
            run(i);
            CUDA(cudaEventRecord(event[2*k + 1], card.stream));
        }
        CUDA(cudaStreamSynchronize(card.stream));
        for (int k = 0; k < batch; k++) CUDA(cudaEventElapsedTime(&sample[n++], event[2*k], event[2*k + 1]));
    }
    return time_from(sample, n);
}

// ---- the table ----------------------------------------------------------------------------------
static FILE *table;                                                     // --tsv, or NULL

static void record(const char *what, const char *shape, int n, Time t, double rate, const char *unit,
                   double limit) {
    if (!table) return;
    fprintf(table, "%s\t%s\t%d\t%.5g\t%.5g\t%.5g\t%.5g\t%s\t%.1f\n",
            what, shape, n, t.median, t.p10, t.p90, rate, unit, limit);
}

// ---- the ceilings -------------------------------------------------------------------------------
static double copy_rate, sustained_rate;                                // TB/s, TFLOP/s

// Random numbers: zeros would cost less power.
static __global__ void fill_kernel(elem *x, size_t n, float scale) {
    for (size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x*blockDim.x) {
        uint64_t bits = (i + 1)*0x9E3779B97F4A7C15u;
        bits = (bits ^ bits >> 30)*0xBF58476D1CE4E5B9u;
        bits = (bits ^ bits >> 27)*0x94D049BB133111EBu;
        x[i] = (elem)(scale*((float)(bits >> 40)*0x1p-23f - 1));
    }
}
static elem *random_elems(size_t n, float scale) {
    elem *x = (elem *)gpu_allocate(n, sizeof(elem), "random numbers");
    launch(fill_kernel, 1024, 256, card.stream, x, n, scale);
    return x;
}

// The first line that `command` prints.
static void line_of(const char *command, char *line, int size) {
    FILE *pipe = popen(command, "r");
    if (!pipe || !fgets(line, size, pipe)) snprintf(line, (size_t)size, "unknown");
    line[strcspn(line, "\n")] = 0;
    if (pipe) pclose(pipe);
}

static void ceilings(double sustained) {
    const int M = 8192;
    const double gflop = 2e-9*M*M*M;
    printf("\nceilings\n");
    for (size_t gb = 1; gb <= 4; gb *= 2) {
        elem *from = random_elems(gb << 29, 1), *to = random_elems(gb << 29, 1);
        const Time t = time_of([&](int) {
            CUDA(cudaMemcpyAsync(to, from, gb << 30, cudaMemcpyDeviceToDevice, card.stream));
        }, 0.3);
        const double rate = 2e-9*(double)(gb << 30)/t.median;
        printf("  copy of %zu GiB            %6.2f TB/s\n", gb, rate);
        record("copy", "", 1, t, rate, "TB/s", 100);
        copy_rate = fmax(copy_rate, rate);
        gpu_release(from), gpu_release(to);
    }
    const size_t square = (size_t)M*M;
    elem *a = random_elems(square, 1), *b = random_elems(square, 1), *c = random_elems(square, 1);
    auto product = [&](int) { matmul_forward(c, a, b, M, M, M, 0, card.stream); };
    product(0);                                                         // its algorithm is chosen now
    CUDA(cudaStreamSynchronize(card.stream));
    const double burst = gflop/time_of(product, 0.05).median;
    printf("  product 8192^3, burst    %6.1f TFLOP/s\n", burst);
    char state[200] = "unknown";
    double start = seconds(), from = start;
    for (int n = 0; seconds() - start < sustained; n = 0, from = seconds()) {
        for (; n < 200; n++) product(n);
        if (seconds() - start > sustained*0.8 && !strcmp(state, "unknown"))
            line_of("nvidia-smi --query-gpu=clocks.sm,power.draw,temperature.gpu --format=csv,noheader",
                    state, sizeof state);
        CUDA(cudaStreamSynchronize(card.stream));
        sustained_rate = 200e-3*gflop/(seconds() - from);
    }
    const double ms = gflop/sustained_rate;
    record("product, sustained", "8192x8192x8192", 1, { ms, ms, ms }, sustained_rate, "TFLOP/s", 100);
    printf("  product 8192^3, after %.0f s %6.1f TFLOP/s (%s)\n", sustained, sustained_rate, state);
    gpu_release(a), gpu_release(b), gpu_release(c);
}

// ---- numbers on both sides ----------------------------------------------------------------------
// rows x cols numbers of the card, rows `width` apart, as the .c's.
template <class X> static real *fetched(const X *at, size_t rows, size_t cols, size_t width) {
    X *raw = (X *)allocate(rows*cols, sizeof(X), "numbers to compare");
    real *x = (real *)allocate(rows*cols, sizeof(real), "numbers to compare");
    CUDA(cudaStreamSynchronize(card.stream));
    CUDA(cudaMemcpy2D(raw, cols*sizeof(X), at, width*sizeof(X), cols*sizeof(X), rows,
                      cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < rows*cols; i++) x[i] = (real)raw[i];
    release(raw);
    return x;
}
template <class X> static void poison(X *at, size_t n) {
    CUDA(cudaMemsetAsync(at, 255, n*sizeof(X), card.stream));
}

static double difference(const real *x, const real *y, size_t n) {     // relative, as root mean squares
    double d = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)x[i] - (double)y[i])*((double)x[i] - (double)y[i]);
        size += (double)y[i]*(double)y[i];
    }
    return sqrt(d/size);
}
// Of `gpu` against `cpu`, which is released.
template <class X> static double error_of(const X *gpu, real *cpu, size_t rows, size_t cols, size_t width) {
    real *x = fetched(gpu, rows, cols, width);
    const double error = difference(x, cpu, rows*cols);
    release(x), release(cpu);
    return error;
}
static real *reals(size_t n) { return (real *)allocate(n, sizeof(real), "numbers to compare"); }

// ---- the subject: a model, and a batch ----------------------------------------------------------
typedef struct { Run run; GpuOlmo *model; int B, T, *tokens, *targets; real *losses, *weights; } Subject;

static Subject subject_build(const Options *o, int training) {
    Subject s;
    memset(&s, 0, sizeof s);
    s.model = gpu_olmo_build(&o->config, training);
    s.run.o = *o, s.run.model = { &gpu_device, s.model, &s.model->config, &s.model->layout };
    s.B = o->recipe.micro_batch, s.T = o->config.seq_len;
    const int N = s.B*s.T, V = o->config.vocab;
    s.tokens = (int *)allocate(2*(size_t)N, sizeof(int), "a batch"), s.targets = s.tokens + N;
    s.losses = reals(3*(size_t)N), s.weights = s.losses + 2*(size_t)N;
    for (int n = 0; n < N; n++) {
        s.tokens[n] = (int)(hash64((uint64_t)n) % (uint64_t)V);
        s.targets[n] = (int)(hash64((uint64_t)n + 1) % (uint64_t)V);
        s.weights[n] = (real)1/N;
    }
    launch(fill_kernel, 1024, 256, card.stream, s.model->weights, s.model->layout.size, 0.03f);
    return s;
}
static void subject_free(Subject *s) { olmo_free(s->model), release(s->tokens), release(s->losses); }
static void subject_forward(Subject *s) {
    real *zlosses = s->losses + (size_t)s->B*s->T;
    olmo_forward(s->model, s->losses, zlosses, s->tokens, s->targets, s->weights, s->B, s->T);
}

// ---- one line a kernel --------------------------------------------------------------------------
static double sum_of_kernels;                                           // ms a step
static int wrong;

static void print_heads(void) {
    printf("  %-22s %-22s %6s %9s %17s %8s %6s %6s %8s\n", "", "",
           "n/step", "ms", "p10 - p90", "TFLOP/s", "TB/s", "limit", "error");
}
// n: how often a step does this; gflop, mb: what it has to compute and to move; error < 0: not compared
static void print_kernel(const char *name, const char *shape, int n, Time t, double gflop, double mb,
                         double error, double allowed) {
    static char whose[32];                                              // "  dX" of which product?
    char what[80];
    if (*name) snprintf(whose, sizeof whose, "%s", name);
    snprintf(what, sizeof what, "%s%s", whose, *name ? "" : shape);
    const double least = fmax(gflop/sustained_rate, mb/copy_rate*1e-3);
    char compared[32] = "", compute[32] = "", move[32] = "";
    if (error >= 0) snprintf(compared, sizeof compared, "%.0e", error);
    if (gflop > 0) snprintf(compute, sizeof compute, "%.0f", gflop/t.median);
    if (gflop == 0) snprintf(move, sizeof move, "%.2f", 1e-3*mb/t.median);
    sum_of_kernels += n*t.median;
    printf("  %-22s %-22s %6d ", name, shape, n);
    if (!(error <= allowed)) {
        printf("FAIL: relative error %.1e, expected at most %.0e\n", error, allowed);
        wrong++;
        return;
    }
    record(what, *name ? shape : "", n, t, gflop > 0 ? gflop/t.median : 1e-3*mb/t.median,
           gflop > 0 ? "TFLOP/s" : "TB/s", 100*least/t.median);
    printf("%9.4f %8.4f %8.4f %8s %6s %5.0f%% %8s\n", t.median, t.p10, t.p90, compute, move,
           100*least/t.median, compared);
}

// What an error may be: two or three roundings to bf16 (2^-9 each at most), or sums in float.
static double few_roundings(void) { return sizeof(elem) == 2 ? 3*0x1p-9 : 1e-5; }

enum { ROWS = 16, COLS = 128 };                                         // of a product that are compared

// The three products of one layer's matrix, out[N,O] = inp[N,C] . weight[O,C]^T; at(i): of layer i.
typedef struct { elem *inp; Parameter w; elem *dout, *dinp; void *out; int out_is_float; } Factors;

template <class At> static void bench_products(const char *name, int n, int N, int C, int O, At at) {
    const double gflop = 2e-9*N*C*O;
    char shape[64];
    snprintf(shape, sizeof shape, "%dx%dx%d", N, O, C);
    auto multiply = [&](const Factors &f, int add) {
        if (f.out_is_float) matmul_forward((float *)f.out, f.inp, f.w.weight, N, C, O, add, card.stream);
        else matmul_forward((elem *)f.out, f.inp, f.w.weight, N, C, O, add, card.stream);
    };
    auto forward = [&](int i) { const Factors f = at(i); multiply(f, f.out_is_float); };    // x += ...
    auto input = [&](int i) {
        const Factors f = at(i);
        matmul_backward_input(f.dinp, f.dout, f.w.weight, N, C, O, card.stream);
    };
    auto weight = [&](int i) {
        const Factors f = at(i);
        matmul_backward_weight(f.w.grad, f.dout, f.inp, N, C, O, 0, card.stream);
    };
    const Factors f = at(0);
    const int rows = imin(ROWS, N), cols = imin(COLS, imin(O, C));

    const Time t0 = time_of(forward, 0.3);
    real *a = fetched(f.inp, rows, C, C), *b = fetched(f.w.weight, cols, C, C), *c = reals(rows*cols);
    gemm_naive(c, cols, matrix(a, C), transposed(b, C), rows, cols, C, 0);
    multiply(f, 0);
    const double error = f.out_is_float ? error_of((float *)f.out, c, rows, cols, O)
                                        : error_of((elem *)f.out, c, rows, cols, O);
    print_kernel(name, shape, n, t0, gflop, 0, error, few_roundings());
    release(a), release(b);

    const Time t1 = time_of(input, 0.3);
    a = fetched(f.dout, rows, O, O), b = fetched(f.w.weight, O, cols, C), c = reals(rows*cols);
    gemm_naive(c, cols, matrix(a, O), matrix(b, cols), rows, cols, O, 0);
    poison(f.dinp, (size_t)N*C), input(0);
    print_kernel("", "  dX", n, t1, gflop, 0, error_of(f.dinp, c, rows, cols, C), few_roundings());
    release(a), release(b);

    const Time t2 = time_of(weight, 0.3);
    a = fetched(f.dout, N, rows, O), b = fetched(f.inp, N, cols, C), c = reals(rows*cols);
    gemm_naive(c, cols, transposed(a, rows), matrix(b, cols), rows, cols, N, 0);
    poison(f.w.grad, (size_t)O*C), weight(0);
    print_kernel("", "  dW", n, t2, gflop, 0, error_of(f.w.grad, c, rows, cols, C), few_roundings());
    release(a), release(b);
}

// The first key head of the first sequence, and its query heads, through the .c's functions.
static void attention_errors(double error[2], const GpuOlmo *m, const GpuLayerActs *k, const elem *datt,
                             const elem *dqkv) {
    const Config *c = &m->config;
    const int T = m->acts.T, H = c->n_heads, G = c->n_kv_heads, D = c->d_model/H, h = H/G;
    const int Q = (h + 2)*D, wide = (H + 2*G)*D;
    real *qkv = reals((size_t)T*Q), *dref = reals((size_t)T*Q);
    real *att = reals((size_t)T*h*D), *lse = reals((size_t)h*T);
    real *table = reals((size_t)T*D), *dout = fetched(datt, T, h*D, c->d_model), *got = reals((size_t)T*Q);
    real *work = reals(zmax(attention_forward_work(T), attention_backward_work(1, T, h, 1, D)));
    auto gather = [&](real *to, const elem *from) {
        const int first[] = { 0, H*D, (H + G)*D }, width[] = { h*D, D, D }, at[] = { 0, h*D, (h + 1)*D };
        for (int part = 0; part < 3; part++) {
            const int n = width[part];
            real *x = fetched(from + first[part], T, n, wide);
            for (int t = 0; t < T; t++) memcpy(to + (size_t)t*Q + at[part], x + (size_t)t*n, sizeof(real)*n);
            release(x);
        }
    };
    gather(qkv, k->qkv), gather(got, dqkv);
    attention_forward(att, lse, work, qkv, Q, qkv + h*D, Q, 1, T, 0, h, 1, D);
    attention_backward(dref, work, dout, att, lse, qkv, 1, T, h, 1, D);
    rope_table(table, c->rope_theta, T, D);
    rope_backward(dref, table, T, T, h + 1, D, Q);
    error[0] = error_of(k->att, att, T, h*D, c->d_model);
    error[1] = difference(got, dref, (size_t)T*Q);
    release(qkv), release(lse), release(dref), release(table), release(dout), release(got), release(work);
}

// ---- every kernel of a step ---------------------------------------------------------------------
// Each of these works on the buffers as the one before has left them; bench_kernels calls them in order.

// The model, what a pass has left, and the sizes by train_olmo.c's letters.
typedef struct {
    GpuOlmo *m;
    GpuActs *a;
    const Config *c;
    int B, T, N, L, C, F, V, H, G, D, Q;
    int head_rows;                                                      // that the head takes at a time
    int rows;                                                           // that are compared
    double mb;                                                          // of a byte a token
    double e;                                                           // bytes of a number
} Kernels;

static Kernels kernels_of(const Subject *s) {
    Kernels k;
    k.m = s->model, k.a = &s->model->acts, k.c = &s->model->config;
    k.B = s->B, k.T = s->T, k.N = s->B*s->T, k.L = k.c->n_layers;
    k.C = k.c->d_model, k.F = k.c->mlp_hidden/2, k.V = k.c->vocab;
    k.H = k.c->n_heads, k.G = k.c->n_kv_heads, k.D = k.C/k.H, k.Q = (k.H + 2*k.G)*k.D;
    k.head_rows = imin(k.a->head_rows, k.N);
    k.rows = imin(ROWS, k.N);
    k.mb = 1e-6*k.N, k.e = sizeof(elem);
    return k;
}

static GpuLayerActs *layer(const Kernels &k, int i) { return &k.a->layer[i % k.L]; }
static int head_chunks(const Kernels &k) { return ceil_div(k.N, k.head_rows); }
static const char *shape_of(int rows, int cols) {
    static char shape[64];
    snprintf(shape, sizeof shape, "%dx%d", rows, cols);
    return shape;
}

static void bench_layer_products(const Kernels &k) {
    const int N = k.N, C = k.C, F = k.F;
    auto weights = [&](int i) { return &k.m->layer[i % k.L]; };
    bench_products("att_proj", k.L, N, C, k.Q, [&](int i) {
        return Factors{ layer(k, i)->xn1, weights(i)->att_proj, k.a->dqkv, k.a->dxn, layer(k, i)->qkv, 0 };
    });
    bench_products("attn_out", k.L, N, C, C, [&](int i) {
        return Factors{ layer(k, i)->att, weights(i)->attn_out, k.a->dx_elem, k.a->dxn, k.a->x, 1 };
    });
    bench_products("ff_proj", k.L, N, C, 2*F, [&](int i) {
        elem *const other = layer(k, i + 1)->ug;                        // stands for the gradient of ug
        return Factors{ layer(k, i)->xn2, weights(i)->ff_proj, other, k.a->dxn, layer(k, i)->ug, 0 };
    });
    bench_products("ff_out", k.L, N, F, C, [&](int i) {
        return Factors{ k.a->h, weights(i)->ff_out, k.a->dx_elem, layer(k, i)->ug, k.a->x, 1 };
    });
}
static void bench_head_products(const Kernels &k) {
    bench_products("head", head_chunks(k), k.head_rows, k.C, k.V, [&](int) {
        return Factors{ k.a->xnf, k.m->head, (elem *)k.a->logits, k.a->dxn, k.a->logits, 0 };
    });
}

// The visible half: 4 B H D T (T+1)/2 operations forward, and 2.5 times as many backward.
static void bench_model_attention(const Kernels &k) {
    const int B = k.B, T = k.T, H = k.H, G = k.G, D = k.D, Q = k.Q;
    const double gflop = 4e-9*B*k.C*T*(T + 1)/2;
    GpuActs *a = k.a;
    double error[2];
    char shape[64];
    snprintf(shape, sizeof shape, "%dx%dx%dx%d", B, H, T, D);
    auto attend = [&](int i) {
        GpuLayerActs *s = layer(k, i);
        attention_forward(s->att, s->lse, a->work, s->qkv, Q, s->qkv + H*D, Q, B, T, 0, H, G, D, card.stream);
    };
    auto attend_back = [&](int i) {
        GpuLayerActs *s = layer(k, i);
        attention_backward(a->dqkv, a->work, a->dxn, s->att, s->lse, s->qkv, a->rope, B, T, H, G, D,
                           card.stream);
    };
    const Time forward = time_of(attend, 0.3), backward = time_of(attend_back, 0.3);
    poison(layer(k, 0)->att, (size_t)k.N*k.C), poison(a->dqkv, (size_t)k.N*Q);
    attend(0), attend_back(0);
    attention_errors(error, k.m, layer(k, 0), a->dxn, a->dqkv);
    print_kernel("attention", shape, k.L, forward, gflop, 0, error[0], few_roundings());
    print_kernel("", "  backward, and RoPE's", k.L, backward, 2.5*gflop, 0, error[1], 3*few_roundings());
}

static void bench_norm_forward(const Kernels &k) {
    const int N = k.N, C = k.C, R = k.rows;
    const Time t = time_of([&](int i) {
        norm_forward(layer(k, i)->xn1, layer(k, i)->rstd1, k.a->x, N, C, card.stream);
    }, 0.3);
    real *x = fetched(k.a->x, R, C, C), *y = reals(R*C), *rstd = reals(R);
    norm_forward(y, rstd, x, R, C);
    print_kernel("norm", shape_of(N, C), 2*k.L + 1, t, 0, k.mb*C*(4 + k.e),
                 error_of(layer(k, 2)->xn1, y, R, C, C), few_roundings());
    release(x), release(rstd);
}

static void bench_norm_backward(const Kernels &k) {
    const int N = k.N, C = k.C, R = k.rows;
    auto norm_back = [&](int i) {
        GpuLayerActs *s = layer(k, i);
        norm_backward(k.a->dx, k.a->dx_elem, k.a->dxn, s->xn2, s->rstd2, N, C, card.stream);
    };
    // From 0 on, so that the error is that of what is added.
    CUDA(cudaMemsetAsync(k.a->dx, 0, sizeof(float)*N*C, card.stream));
    real *dy = fetched(k.a->dxn, R, C, C), *dx = fetched(k.a->dx, R, C, C);
    real *y = fetched(layer(k, 0)->xn2, R, C, C), *rstd = fetched(layer(k, 0)->rstd2, 1, R, R);
    norm_backward(dx, dy, y, rstd, R, C);
    norm_back(0);
    const double error = error_of(k.a->dx, dx, R, C, C);
    const Time t = time_of(norm_back, 0.3);
    print_kernel("", "  backward, += and bf16", 2*k.L + 1, t, 0, k.mb*C*(8 + 3*k.e), error, few_roundings());
    release(dy), release(y), release(rstd);
}

static void bench_rope(const Kernels &k) {
    const int N = k.N, T = k.T, D = k.D, Q = k.Q, R = k.rows, heads = k.H + k.G;
    auto turn = [&](int i) { rope_forward(layer(k, i)->qkv, k.a->rope, N, T, 0, heads, D, Q, card.stream); };
    real *turned = fetched(layer(k, 0)->qkv, R, Q, Q), *angles = reals((size_t)T*D);
    rope_table(angles, k.c->rope_theta, T, D);
    rope_forward(turned, angles, R, T, 0, heads, D, Q);
    turn(0);
    const double error = error_of(layer(k, 0)->qkv, turned, R, Q, Q);
    const Time t = time_of(turn, 0.3);
    print_kernel("rope", shape_of(N, heads*D), k.L, t, 0, k.mb*2*k.e*heads*D, error, few_roundings());
    release(angles);
}

static void bench_clip(const Kernels &k) {
    const size_t count = (size_t)k.N*k.Q;
    if (k.c->clip_qkv <= 0) return;
    Time t = time_of([&](int i) {
        clip_forward(layer(k, i)->qkv, layer(k, i)->pass, k.c->clip_qkv, count, card.stream);
    }, 0.3);
    print_kernel("clip q, k, v", "", k.L, t, 0, k.mb*k.Q*(2*k.e + 1), -1, 0);
    t = time_of([&](int i) { clip_backward(k.a->dqkv, layer(k, i)->pass, count, card.stream); }, 0.3);
    print_kernel("", "  backward", k.L, t, 0, k.mb*k.Q, -1, 0);
}

static void bench_swiglu(const Kernels &k) {
    const int N = k.N, F = k.F, R = k.rows;
    elem *h = k.a->h;
    auto forward = [&](int i) { swiglu_forward(h, layer(k, i)->ug, N, F, card.stream); };
    auto backward = [&](int i) {
        swiglu_backward(layer(k, i)->ug, h, h, layer(k, i)->ug, N, F, card.stream);
    };
    real *ug = fetched(layer(k, 0)->ug, R, 2*F, 2*F), *expected = reals((size_t)R*F);
    swiglu_forward(expected, ug, R, F);
    Time t = time_of(forward, 0.3);
    forward(0);
    print_kernel("swiglu", shape_of(N, F), k.L, t, 0, k.mb*3*k.e*F, error_of(h, expected, R, F, F),
                 few_roundings());

    real *dh = fetched(h, R, F, F), *dug = reals((size_t)R*2*F), *again = reals((size_t)R*F);
    swiglu_backward(dug, again, dh, ug, R, F);
    backward(0);
    const double error = error_of(layer(k, 0)->ug, dug, R, 2*F, 2*F);
    t = time_of(backward, 0.3);
    print_kernel("", "  backward, in place", k.L, t, 0, k.mb*6*k.e*F, error, few_roundings());
    release(ug), release(dh), release(again);
}

static void bench_crossentropy(const Kernels &k, const int *targets) {
    const int V = k.V, R = k.rows, rows = k.head_rows;
    GpuActs *a = k.a;
    elem *on_card = (elem *)a->logits;
    auto loss = [&](int) {
        crossentropy(a->losses, a->zlosses, on_card, a->targets, a->weights, k.c->z_loss, rows, V,
                     card.stream);
    };
    matmul_forward(on_card, a->xnf, k.m->head.weight, rows, k.C, V, 0, card.stream);
    real *logits = fetched(on_card, R, V, V), *losses = reals(3*R), *zlosses = losses + R, *lse = zlosses + R;
    real *weights = fetched(a->weights, 1, R, R);
    crossentropy_forward(losses, zlosses, lse, logits, targets, k.c->z_loss, R, V);
    crossentropy_backward(logits, weights, lse, logits, targets, k.c->z_loss, R, V);
    loss(0);
    const double error = error_of(on_card, logits, R, V, V);
    const Time t = time_of(loss, 0.3);
    print_kernel("softmax, loss, dlogits", shape_of(rows, V), head_chunks(k), t, 0, 1e-6*rows*2*k.e*V, error,
                 few_roundings());
    release(losses), release(weights);
}

static void bench_embedding(const Kernels &k) {
    const int N = k.N, C = k.C;
    GpuActs *a = k.a;
    Time t = time_of([&](int) { embed_forward(a->x, a->tokens, k.m->wte.weight, N, C, card.stream); }, 0.3);
    print_kernel("embedding", shape_of(N, C), 1, t, 0, k.mb*C*(4 + k.e), -1, 0);
    t = time_of([&](int) {
        embed_backward(k.m->wte.grad, a->dx, a->tokens, a->places, C, card.stream);
    }, 0.3);
    print_kernel("", "  backward", 1, t, 0, k.mb*C*4 + 8e-6*a->places.distinct*C, -1, 0);
    t = time_of([&](int) { CUDA(cudaMemsetAsync(a->dx, 0, sizeof(float)*N*C, card.stream)); }, 0.1);
    print_kernel("dx = 0", shape_of(N, C), 1, t, 0, k.mb*C*4, -1, 0);
}

static void bench_update(const Kernels &k) {
    GpuOlmo *m = k.m;
    const double size = (double)m->layout.size;
    AdamW how = { 0, 0.9, 0.95, 1e-5, 0, 0, 1, 1 };
    CUDA(cudaMemsetAsync(m->grads, 0, sizeof(float)*m->layout.size, card.stream));
    const Time t = time_of([&](int) { olmo_update(m, &how), m->grads_used = 0; }, 0.5);
    // the gradient twice; read and written: weight and remainder (4), two moments (8)
    print_kernel("norm, clip, AdamW", "all parameters", 1, t, 0, 1e-6*size*(4 + 4 + 2*4 + 2*8), -1, 0);
}

static void bench_kernels(Subject *s) {
    subject_forward(s), olmo_backward(s->model), subject_forward(s);
    const Kernels k = kernels_of(s);
    printf("\nkernels: %d layers, d_model %d, %d heads of %d, mlp_hidden %d, vocabulary %d, B=%d T=%d, %s\n",
           k.L, k.C, k.H, k.D, k.c->mlp_hidden, k.V, k.B, k.T, precision);
    print_heads();
    bench_layer_products(k);
    subject_forward(s);
    bench_head_products(k);
    subject_forward(s), olmo_backward(s->model), subject_forward(s);    // everything is a model's again
    bench_model_attention(k);
    bench_norm_forward(k);
    subject_forward(s);
    bench_norm_backward(k);
    bench_rope(k);
    bench_clip(k);
    bench_swiglu(k);
    subject_forward(s);
    bench_crossentropy(k, s->targets);
    bench_embedding(k);
    bench_update(k);
}

// ---- the step -----------------------------------------------------------------------------------
// Steps of so many passes and an update, for 8 seconds, but at least 3: prints and returns their time.
static Time bench_steps(Subject *s, int passes) {
    enum { STEPS = 30 };
    static AdamW how = { 1e-6, 0.9, 0.95, 1e-5, 0.1, 0, 1, 1 };
    float step[STEPS], pass[STEPS], update[STEPS];
    double begin = 0;
    int n = 0;
    for (int i = passes > 1 ? 0 : -2; i < STEPS && (n < 3 || seconds() - begin < 8); i++) { // < 0: warm-up
        const double start = seconds();
        if (i == 0) begin = start;
        for (int k = 0; k < passes; k++) subject_forward(s), olmo_backward(s->model);
        CUDA(cudaStreamSynchronize(card.stream));
        const double middle = seconds();
        how.step++, olmo_update(s->model, &how);
        if (i < 0) continue;
        pass[n] = (float)(1e3*(middle - start)/passes);
        update[n] = (float)(1e3*(seconds() - middle));
        step[n++] = (float)(1e3*(seconds() - start));
    }
    const Time t = time_from(step, n), one_pass = time_from(pass, n), one_update = time_from(update, n);
    const double N = s->B*s->T, rate = 1e3*N*passes/t.median;
    Metrics done = { NULL, 0, 0 };
    mfu_metrics(&s->model->config, s->model->layout.size, 1, rate, &done);      // of 1 TFLOP/s: so, TFLOP/s
    const double palm = done.list[0].value, causal = done.list[1].value;
    char shape[64];
    snprintf(shape, sizeof shape, "%dx%dx%d", passes, s->B, s->T);
    record("step", shape, 1, t, rate, "tokens/s", 100*causal/sustained_rate);
    printf("\nstep, %d micro-batch%s of %d x %d: %.1f ms (p10 %.1f, p90 %.1f), %.0f tokens/s\n", passes,
           passes > 1 ? "es" : "", s->B, s->T, t.median, t.p10, t.p90, rate);
    printf("  MFU of 989.4 TFLOP/s: %.1f%% (6P + 12LdT, as most count), %.1f%% (causal attention); of the "
           "measured product: %.1f%%\n", 100*palm/989.4, 100*causal/989.4, 100*causal/sustained_rate);
    printf("  a pass %.1f ms, the update %.1f ms; so with 64 passes a step %.0f tokens/s\n",
           one_pass.median, one_update.median, 64e3*N/(64*one_pass.median + one_update.median));
    release(done.list);
    return t;
}

static void bench_step(Subject *s, int compare) {
    size_t free, total;
    const double step = bench_steps(s, 1).median;
    (void)bench_steps(s, 16);
    if (compare) printf("  sum of the kernels %.1f ms | measured step %.1f ms | unexplained %.1f%%\n",
                        sum_of_kernels, step, 100*(1 - sum_of_kernels/step));
    CUDA(cudaMemGetInfo(&free, &total));
    printf("  memory in use on the card %.1f GiB\n", (double)(total - free)/(1 << 30));
}

// ---- attention alone, at other shapes -----------------------------------------------------------
static void bench_attention(void) {
    const int shapes[][5] = {                                           // B, T, H, G, D
        { 8, 2048, 16, 16, 128 }, { 4, 2048, 32, 32, 128 }, { 8, 2048, 32, 8, 128 }, { 4, 4096, 16, 16, 128 },
        { 16, 1024, 16, 16, 128 }, { 32, 512, 16, 16, 128 },
        { 8, 2048, 32, 32, 64 }, { 16, 2048, 12, 12, 64 }, { 16, 1024, 32, 32, 64 }, { 4, 4096, 32, 32, 64 },
    };
    printf("\nattention, %s: 4 B H D T T/2 operations forward, 2.5 times that backward; run after run, or "
           "(cool) four at a time with pauses\n", precision);
    for (const int *p : shapes) {
        const int B = p[0], T = p[1], H = p[2], G = p[3], D = p[4], C = H*D, Q = (H + 2*G)*D;
        const size_t N = (size_t)B*T;
        elem *qkv = random_elems(N*Q, 2), *dqkv = random_elems(N*Q, 1);
        elem *att = random_elems(N*C, 1), *datt = random_elems(N*C, 2);
        float *lse = (float *)gpu_allocate(N*H, sizeof(float), "lse");
        float *table = (float *)gpu_allocate((size_t)T*D, sizeof(float), "a rotary table");
        void *work = gpu_allocate(attention_work(B, T, H, G, D, 1), 1, "scratch");
        auto forward = [&](int) {
            attention_forward(att, lse, work, qkv, Q, qkv + C, Q, B, T, 0, H, G, D, card.stream);
        };
        auto backward = [&](int) {
            attention_backward(dqkv, work, datt, att, lse, qkv, table, B, T, H, G, D, card.stream);
        };
        const Time f = time_of(forward, 0.2), cool_f = time_of(forward, 0.3, 0.02);
        const Time b = time_of(backward, 0.2), cool_b = time_of(backward, 0.3, 0.02);
        const double gflop = 2e-9*B*C*T*T;
        char shape[64];
        snprintf(shape, sizeof shape, "%dx%dx%dx%d", B, H, T, D);
        record("attention", shape, 1, f, gflop/f.median, "TFLOP/s", 0);
        record("attention  backward", shape, 1, b, 2.5*gflop/b.median, "TFLOP/s", 0);
        printf("  ours  D=%-3d B=%-2d T=%-4d H=%-2d G=%-2d  forward %.3f ms %4.0f TFLOP/s (cool %4.0f)   "
               "backward %.3f ms %4.0f TFLOP/s (cool %4.0f)\n", D, B, T, H, G, f.median, gflop/f.median,
               gflop/cool_f.median, b.median, 2.5*gflop/b.median, 2.5*gflop/cool_b.median);
        gpu_release(qkv), gpu_release(dqkv), gpu_release(att), gpu_release(datt);
        gpu_release(lse), gpu_release(table), gpu_release(work);
    }
}

// ---- generation ---------------------------------------------------------------------------------
// One sequence. A token reads every weight once, and the keys and values so far: that is the limit.
static void bench_decode(const Options *o) {
    Subject s = subject_build(o, 0);
    Config *c = &s.model->config;
    const int V = c->vocab, prompt = c->seq_len*3/10, more = prompt;
    const double width = (double)c->d_model/c->n_heads*c->n_kv_heads, e = sizeof(elem);
    const double weights = (double)s.model->layout.size - (c->tied ? 0 : (double)V*c->d_model);
    const double bytes = e*(weights + (prompt + more/2)*2*width*c->n_layers);
    const Sampling greedy = { 0, 1, 0 };
    real *logits = reals(V);
    auto milliseconds = [](double since) { return 1e3*(seconds() - since); };
    c->eos = -1;                                                        // it may not end early
    for (int warm = 0; warm < 2; warm++) {
        const double begin = seconds();
        olmo_decode(s.model, logits, s.tokens, prompt, 0);
        const double first = milliseconds(begin), middle = seconds();
        for (int n = 0; n < more; n++) olmo_decode(s.model, logits, s.tokens + n, 1, prompt + n);
        const double alone = milliseconds(middle)/more, last = seconds();
        (void)generate(s.run.model, s.tokens, prompt, prompt + more, greedy, 0);
        const double chosen = (milliseconds(last) - first)/more, limit = 100e-9*bytes/alone/copy_rate;
        if (!warm) continue;
        record("decode, without the choice", "1", more, { alone, alone, alone },
               1e3/alone, "tokens/s", limit);
        record("decode, greedy", "1", more, { chosen, chosen, chosen },
               1e3/chosen, "tokens/s", limit*alone/chosen);
        printf("\ndecode, one sequence, %d tokens after a prompt of %d (%.1f ms, %.0f tokens/s)\n"
               "  without the choice of the token %.3f ms, %.0f tokens/s, %.2f TB/s: %.0f%% of the copy\n"
               "  with it, greedy                 %.3f ms, %.0f tokens/s\n",
               more, prompt, first, 1e3*prompt/first,
               alone, 1e3/alone, 1e-9*bytes/alone, limit, chosen, 1e3/chosen);
    }
    release(logits), subject_free(&s);
}

// ---- main ---------------------------------------------------------------------------------------
static const char *const parts[] = { "ceilings", "kernels", "attention", "step", "decode" };
enum { CEILINGS = 1, KERNELS = 2, ATTENTION = 4, STEP = 8, DECODE = 16, ALL = 31 };

// The bit of a part, or 0.
static int part_named(const char *name) {
    for (int i = 0; i < 5; i++) if (!strcmp(name, parts[i])) return 1 << i;
    return 0;
}

static void print_header(int argc, char **argv) {
    char device[256], commit[64];
    line_of("nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv,noheader",
            device, sizeof device);
    line_of("git rev-parse --short HEAD 2>/dev/null", commit, sizeof commit);
    if (table)
        fprintf(table, "# %s | commit %s\n"
                       "what\tshape\tn/step\tms\tp10\tp90\trate\tunit\t%% of limit\n", device, commit);
    printf("%s | CUDA %d.%d | commit %s |", device, CUDART_VERSION/1000, CUDART_VERSION%1000/10, commit);
    for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
    printf("\n");
}

// --tsv FILE, then parts, then the options of train_olmo, which choose the model.
int main(int argc, char **argv) {
    Options o = options_of_preset("1b"), before;
    char directory[PATH];
    int wanted = 0, i = 1;
    if (argc > 2 && !strcmp(argv[1], "--tsv")) table = open_to_write(argv[2]), i = 3;
    for (; i < argc && part_named(argv[i]); i++) wanted |= part_named(argv[i]);
    CHECK(i == argc || argv[i][0] == '-',
          "%s: expected ceilings, kernels, attention, step or decode", argv[i]);
    if (!wanted) wanted = ALL;
    o.recipe.micro_batch = 16;
    if (i < argc) choose_model(&o, &before, argc - i + 1, argv + i - 1, directory);
    setvbuf(stdout, NULL, _IOLBF, 0);
    card_open();
    print_header(argc, argv);
    if (wanted != ATTENTION) ceilings(wanted & CEILINGS ? 20 : 3);
    if (wanted & ATTENTION) bench_attention();
    if (wanted & (KERNELS | STEP)) {
        Subject s = subject_build(&o, 1);
        subject_forward(&s), olmo_backward(s.model);
        if (wanted & KERNELS) bench_kernels(&s);
        if (wanted & STEP) bench_step(&s, wanted & KERNELS);
        subject_free(&s);
    }
    if (wanted & DECODE) bench_decode(&o);
    if (table) fclose(table);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
