/*
OLMo in C: the open language model, trained, saved, resumed, evaluated and sampled by one readable file.

    make train_olmo && ./train_olmo                 about a minute: a small OLMo learns to tell stories
    ./train_olmo --generate 200 --load out/latest   let it tell another one
    ./train_olmo --data book.txt                    the same on any text
    ./train_olmo --help                             everything else

The model is OLMo-1 (arXiv 2402.00838): a decoder-only transformer without biases, with LayerNorms
that have no parameters, rotary position embeddings (RoPE) and SwiGLU. For tokens t_1..t_T:

    x  <- embed(t)
    x  <- x + attention(norm(x))           in every layer: q, k, v from one matrix, clamped in one of
                                           the released models; RoPE turns q and k
    x  <- x + swiglu(norm(x))              in every layer: up and gate from one matrix
    loss_i = -log softmax(head . norm(x_i))[t_{i+1}]                       the cross entropy

How to read it: from the top. A section needs only those above it.

    1. config      sizes and presets                    6. files       safetensors, config.json, checkpoints
    2. layers      each x_forward beside x_backward     7. data        token files, text, order, batches
    3. model       layout, init, forward, backward      8. generation  sampling with the KV cache
    4. optimizer   AdamW, gradient clipping, schedules  9. options     one table, the command line
    5. device      how the CPU is fast; its table       10. program    a run from its data to its last step

Sections 1-4 are the lesson: whoever stops there has seen the whole of OLMo. They say what is computed,
in plain loops over a few sums and one matrix product. Section 2 only declares those; section 5 tells how
the CPU computes them fast, and may be skipped. Sections 6-10 make the model usable. What stands before
section 1 (headers, errors, memory, time) serves all of them, and teaches nothing: begin at "1. Config".

Conventions, kept everywhere:
- Arguments come in this order: outputs, scratch, inputs, weights, constants, sizes, flags. What a forward
  pass saves for its backward pass is an output. The inputs of a backward pass are gradients, then what was
  saved.
- dx is the gradient of the loss with respect to x; d y/d x, with blanks, is a derivative. "=" overwrites
  an output, "+=" adds to it; where both are wanted, the flag `add` chooses. In formulas, [i = j] is 1 where
  i = j, and 0 elsewhere.
- Shapes: B sequences of T tokens, N = B*T rows (but in gemm, M, N and K are those of BLAS); C = d_model;
  H query heads and G key/value heads of size D = C/H; Q = (H + 2G)*D, the width of a fused q|k|v row;
  F = inner width of the MLP (mlp_hidden counts 2F); V = vocabulary rows; L layers.
- All matrices are row-major; a weight [O, C] maps C inputs to O outputs: out = inp . weight^T.
- Threads own disjoint pieces of the output, and every sum has one fixed order. So no result depends on
  the number of threads, nor on how a batch is cut into micro-batches: two runs give equal bits.
- Every failure is one sentence on stderr, and exit code 1.
- (OLMO_SPEC 4.2) is section 4.2 of dev/OLMO_SPEC.md, which tells what the official code does, and where;
  (paper 2.1) is section 2.1 of arXiv 2402.00838.
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
static const char *const openmp_note = "";
#else                                           // without OpenMP the program is the same, on one thread
static const char *const openmp_note = " (built without OpenMP: one thread is all it can use)";
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_get_thread_num(void) { return 0; }
static inline void omp_set_num_threads(int n) { (void)n; }
#endif

// All arithmetic is in `real`: float, or double in the tests that compare gradients with finite
// differences.
#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// ---- errors ------------------------------------------------------------------------------------
// die("...") prints the sentence and ends the program; CHECK(it is fine, "sentence if not", ...).
static const char *half_written = NULL;         // a directory being written: removed if we fail
static void remove_half_written(void);
static void (*last_words)(const char *sentence) = NULL;     // one of several ranks: tells the others
static int error_output = 2;                                // ranks that are not heard keep stderr here

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    static char sentence[16384];                            // one line, whatever it quotes from a file
    vsnprintf(sentence, sizeof sentence, format, args);
    for (char *c = sentence; *c; c++) if ((unsigned char)*c < ' ' || *c == 127) *c = ' ';
    va_end(args);
    if (last_words) last_words(sentence);
    fprintf(stderr, "error: %s\n", sentence);
    remove_half_written();
    exit(EXIT_FAILURE);
}
#define CHECK(fine, ...) do { if (!(fine)) die(__VA_ARGS__); } while (0)

// ---- memory ------------------------------------------------------------------------------------
// For the tests: failing_allocation = k makes the k-th allocation fail; 0: none fails.
static int allocations, failing_allocation;
static int must_fail(void) { return failing_allocation && ++allocations == failing_allocation; }

static const char *memory_advice = "; try a smaller model, --micro-batch or --seq-len";     // of this program

// Zeroed memory that starts on a cache line; dies with one sentence if there is none. (calloc's large
// blocks take no space until they are touched.) It takes 128 bytes more than asked for: up to 64 to
// reach a cache line, and 64 before that line, where release() finds the address that calloc gave.
static void *allocate(size_t count, size_t size, const char *what) {
    const size_t bytes = count*size + 128, page = 4096;
    const int too_many = size && count > (SIZE_MAX - 128)/size;
    char *raw = too_many || must_fail() ? NULL : (char *)calloc(bytes, 1);
    CHECK(raw, "not enough memory for %s: %.2f GB needed%s",
          what, (double)count*(double)size*1e-9, memory_advice);
    if (bytes >= 4 << 20) {                     // from 4 MB on, ask for huge pages: fewer TLB misses
        madvise(raw + page - (uintptr_t)raw % page, bytes - page, MADV_HUGEPAGE);
    }
    char *start = raw + 128 - (uintptr_t)raw % 64;
    memcpy(start - sizeof raw, &raw, sizeof raw);
    return start;
}
static void release(void *start) {
    char *raw = NULL;
    if (start) memcpy(&raw, (char *)start - sizeof raw, sizeof raw);
    free(raw);
}

static inline int imin(int a, int b) { return a < b ? a : b; }
static inline int imax(int a, int b) { return a > b ? a : b; }
static inline size_t zmin(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t zmax(size_t a, size_t b) { return a > b ? a : b; }
static inline unsigned ceil_div(size_t n, size_t by) { return (unsigned)((n + by - 1)/by); }
static inline int padded(int n, int to) { return (n + to - 1)/to*to; }

// ---- time and figures --------------------------------------------------------------------------

// Of a clock that nobody sets.
static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9*(double)t.tv_nsec;
}

// 12345678 as 12,345,678
static const char *with_commas(double x, char *out) {
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%.0f", x), k = 0;
    for (int i = 0; i < n && k < 40; i++) {
        if (i && (n - i) % 3 == 0) out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = 0;
    return out;
}

// ================================================================================================
// 1. Config: sizes and presets
// ================================================================================================

typedef struct {
    int d_model, n_layers, n_heads, n_kv_heads; // C, L, H, G
    int mlp_hidden;                             // 2F: rows of ff_proj, the up half and the gate half
    int vocab;                                  // V: rows of the embedding, padding rows included
    int seq_len;                                // the T that the model is trained with
    int tied;                                   // 1: the head is the embedding matrix
    int eos;                                    // id that ends a document, -1: none
    double rope_theta;
    double clip_qkv;                            // clamp q, k, v to [-c, c]; 0: off
    double z_loss;                              // weight of the squared log-sum-exp of the logits; 0: off
} Config;

// How a model is trained: everything the optimizer, the schedules and the batches need.
typedef struct {
    const char *schedule;
    double lr, final_lr;                        // peak, and the fraction of it at the end
    int warmup, steps;                          // updates of warm-up; updates of the whole run
    int batch, micro_batch;                     // sequences per update; sequences per forward pass
    double weight_decay, beta1, beta2, eps;
    int decay_embeddings;
    double clip;                                // largest norm of all gradients together; 0: any
    int clip_warmup_steps;                      // the first steps may have a larger norm ...
    double clip_warmup_factor;                  // ... by this factor
} Recipe;

typedef struct { const char *name, *about; Config config; Recipe recipe; } Preset;

enum { MAX_LAYERS = 128 };

// The released models (OLMO_SPEC 1.13, from OLMo's configs/official-0724), and two sizes for
// smaller machines: `150m` has the sizes of OLMo's configs/tiny/OLMo-150M.yaml with OLMo-1's norm,
// init and context.
static const Preset presets[] = {
      //  d   L   H   G    mlp  vocab      T tied   eos   theta clip_qkv, z_loss
      // schedule   lr final warmup   steps batch micro  decay beta1 beta2   eps emb clip, its warm-up
    { "tiny", "the default: bytes, trained in about a minute",
      {   64,  4,  4,  4,   512,   256,   256, 1,     -1,  10000,  0, 0 },
      { "linear", 6e-3, 0.05,   100,   3500,    4,   4,  0.1,  0.9, 0.95,  1e-5,  0, 1.0,     0,  1 } },
    { "150m", "the sizes of OLMo's 150M ladder model",
      {  768, 12, 12, 12,  6144, 50304,  2048, 0,  50279,  10000,  0, 0 },
      { "cosine", 6e-4, 0.10,  5000, 100000, 1024,   1,  0.1,  0.9, 0.95,  1e-5,  0, 1.0,     0,  1 } },
    { "1b", "OLMo-1B",
      { 2048, 16, 16, 16, 16384, 50304,  2048, 1,  50279,  10000,  0, 0 },
      { "cosine", 4e-4, 0.10,  2000, 739328, 2048,   1,  0.1,  0.9, 0.95,  1e-5,  0, 1.0,     0,  1 } },
    { "7b", "OLMo-7B and 7B-Twin-2T",
      { 4096, 32, 32, 32, 22016, 50304,  2048, 0,  50279,  10000,  0, 0 },
      { "linear", 3e-4, 0.10,  5000, 476838, 2048,   1,  0.1,  0.9, 0.95,  1e-5,  0, 1.0,  1000, 10 } },
    { "7b-0424", "OLMo-7B of April (and July) 2024",
      { 4096, 32, 32, 32, 22016, 50304,  4096, 0,  50279,  10000,  8, 0 },
      { "cosine", 3e-4, 0.10,  2500, 715256, 1024,   1,  0.1,  0.9, 0.95,  1e-5,  1, 1.0,   500,  5 } },
};

static Preset preset_named(const char *name) {
    for (size_t i = 0; i < sizeof presets/sizeof *presets; i++) {
        if (!strcmp(presets[i].name, name)) return presets[i];
    }
    die("--model %s: there is no such preset; choose tiny, 150m, 1b, 7b or 7b-0424", name);
}

// Dies if the sizes do not fit together. source: where they come from; the sentence begins with it.
static void config_check(const Config *c, const char *source) {
    CHECK(c->d_model > 0 && c->d_model <= 1 << 16,
          "%s: d_model %d; expected 1 to %d", source, c->d_model, 1 << 16);
    CHECK(c->n_heads > 0 && c->d_model % c->n_heads == 0,
          "%s: d_model %d cannot be cut into %d heads; it must be a multiple of the number of heads",
          source, c->d_model, c->n_heads);
    CHECK(c->d_model/c->n_heads % 2 == 0,
          "%s: the head size %d is odd; RoPE needs pairs", source, c->d_model/c->n_heads);
    CHECK(c->n_kv_heads > 0 && c->n_heads % c->n_kv_heads == 0,
          "%s: %d query heads cannot share %d key/value heads evenly", source, c->n_heads, c->n_kv_heads);
    CHECK(c->n_layers > 0 && c->n_layers <= MAX_LAYERS,
          "%s: %d layers; expected 1 to %d", source, c->n_layers, MAX_LAYERS);
    CHECK(c->mlp_hidden > 0 && c->mlp_hidden % 2 == 0 && c->mlp_hidden <= 1 << 20,
          "%s: mlp_hidden %d; expected an even number from 2 to %d: it counts the up half and the gate half",
          source, c->mlp_hidden, 1 << 20);
    CHECK(c->vocab > 1 && c->vocab <= 1 << 24,
          "%s: a vocabulary of %d; expected 2 to %d", source, c->vocab, 1 << 24);
    CHECK(c->seq_len > 0 && c->seq_len <= 1 << 20,
          "%s: a sequence length of %d; expected 1 to %d", source, c->seq_len, 1 << 20);
    CHECK(c->eos >= -1 && c->eos < c->vocab,
          "%s: eos id %d is outside the vocabulary of %d", source, c->eos, c->vocab);
    CHECK(c->rope_theta > 0 && isfinite(c->rope_theta),
          "%s: rope_theta %g must be positive", source, c->rope_theta);
    CHECK(c->clip_qkv >= 0 && isfinite(c->clip_qkv),
          "%s: clip_qkv %g must be positive, or 0 for none", source, c->clip_qkv);
    CHECK(c->z_loss >= 0 && isfinite(c->z_loss),
          "%s: z_loss %g must not be negative", source, c->z_loss);
}

// ================================================================================================
// 2. Layers: each x_forward beside its x_backward
// ================================================================================================

// ---- matrix products ---------------------------------------------------------------------------
// A Matrix is a view: element (i,j) is at[i*row + j*col]. Swapping the two strides transposes it, and
// nothing is moved. So one product serves all three uses of a linear layer:
//     forward     out  = inp . W^T
//     backward    dinp = dout . W,    dW += dout^T . inp

typedef struct { const real *at; size_t row, col; } Matrix;

static inline Matrix strided(const real *at, size_t row, size_t col) {
    Matrix m;
    m.at = at;
    m.row = row;
    m.col = col;
    return m;
}
// A matrix as it is stored, its rows `width` numbers apart, and its transpose.
static inline Matrix matrix(const real *at, size_t width) { return strided(at, width, 1); }
static inline Matrix transposed(const real *at, size_t width) { return strided(at, 1, width); }

// c[i,j] = sum_k a(i,k) b(k,j), or += if add.      a: [M, K], b: [K, N], c: [M, N] with rows ldc apart
void gemm_naive(real *c, size_t ldc, Matrix a, Matrix b, int M, int N, int K, int add) {
    for (int i = 0; i < M; i++) for (int j = 0; j < N; j++) {
        real sum = 0;
        for (int k = 0; k < K; k++) sum += a.at[i*a.row + k*a.col]*b.at[k*b.row + j*b.col];
        c[i*ldc + j] = sum + (add ? c[i*ldc + j] : 0);
    }
}

// What the model calls: gemm_naive's result up to rounding, but fast (section 5). The sum over k is
// taken in runs that never cross a multiple of `span`, and the runs are added one after the other.
// So a batch may be cut at such a multiple without changing a bit. (span = K: it is not cut along k.)
void gemm(real *c, size_t ldc, Matrix a, Matrix b, int M, int N, int K, int span, int add);

// out[N,O] = inp[N,C] . weight[O,C]^T,  or += if add: this is how a layer adds to the residual stream.
void matmul_forward(real *out, const real *inp, const real *weight, int N, int C, int O, int add) {
    gemm(out, O, matrix(inp, C), transposed(weight, C), N, O, C, C, add);
}

// dinp[N,C] = dout[N,O] . weight[O,C]
void matmul_backward_input(real *dinp, const real *dout, const real *weight, int N, int C, int O) {
    gemm(dinp, C, matrix(dout, O), matrix(weight, C), N, C, O, O, 0);
}

// dweight[O,C] += dout[B*T,O]^T . inp[B*T,C].  The span is T: every sequence is summed by itself, so
// the bits do not depend on how the B sequences are cut into micro-batches.
void matmul_backward_weight(real *dweight, const real *dout, const real *inp, int B, int T, int C, int O) {
    gemm(dweight, C, transposed(dout, O), matrix(inp, C), O, C, B*T, T, 1);
}

// ---- sums over a row ---------------------------------------------------------------------------
// Section 5 computes these in vectors, always in the same order. row_exp returns the sum of its y.
static real row_sum(const real *x, int n);                          // sum_j x[j]
static real row_dot(const real *x, const real *y, int n);           // sum_j x[j]*y[j]
static real row_max(const real *x, int n);                          // max_j x[j]
static void row_add(real *y, const real *x, int n);                 // y[j] += x[j]
static inline real fast_exp(real x);                                // e^x
static real row_exp(real *y, const real *x, real scale, real shift, int n);  // y[j] = e^(scale*x[j] - shift)

// ---- embedding ---------------------------------------------------------------------------------
// x[n,:] = wte[tokens[n],:]                                                        x: [N, C], wte: [V, C]
void embed_forward(real *x, const int *tokens, const real *wte, int N, int C) {
    #pragma omp parallel for
    for (int n = 0; n < N; n++) {
        memcpy(x + (size_t)n*C, wte + (size_t)tokens[n]*C, sizeof(real)*C);
    }
}

// dwte[tokens[n],:] += dx[n,:]                                                   dwte: [V, C], dx: [N, C]
// A token that occurs twice adds twice, in the order of n. Threads own channels, not rows, because two
// rows may hold the same token.
void embed_backward(real *dwte, const real *dx, const int *tokens, int N, int C) {
    enum { CHANNELS = 64 };                                 // 4 cache lines: threads seldom share one
    #pragma omp parallel for
    for (int first = 0; first < C; first += CHANNELS) {
        const int end = imin(first + CHANNELS, C);
        for (int n = 0; n < N; n++) {
            real *d = dwte + (size_t)tokens[n]*C;
            for (int c = first; c < end; c++) d[c] += dx[(size_t)n*C + c];
        }
    }
}

// ---- layer norm without parameters -------------------------------------------------------------
// y = (x - mean(x)) * rstd,    rstd = 1/sqrt(var(x) + 1e-5)                x, y: [N, C], rstd: [N]
// Ba, Kiros, Hinton 2016 (arXiv 1607.06450), without gain and bias (paper 2.1; OLMO_SPEC 1.4). The
// 1e-5 is that of the released models; it keeps a row of equal numbers from a division by 0.
// The backward pass needs only y and rstd. So the residual stream x is never stored.
void norm_forward(real *y, real *rstd, const real *x, int N, int C) {
    #pragma omp parallel for
    for (int n = 0; n < N; n++) {
        const real *in = x + (size_t)n*C;
        real *out = y + (size_t)n*C;
        const real mean = row_sum(in, C)/C;
        for (int c = 0; c < C; c++) out[c] = in[c] - mean;
        rstd[n] = 1/(real)sqrt(row_dot(out, out, C)/C + (real)1e-5);
        for (int c = 0; c < C; c++) out[c] *= rstd[n];
    }
}

// From d mean/d x_j = 1/C, d rstd/d x_j = -rstd^2 y_j/C:  d y_i/d x_j = rstd*([i = j] - 1/C - y_i y_j/C).
// Multiplied by the gradient dy and summed over i, that is
//     dx += rstd * (dy - avg(dy) - y*avg(dy*y))                            dx, dy, y: [N, C], rstd: [N]
// "+=", because the residual stream also goes around the norm.
void norm_backward(real *dx, const real *dy, const real *y, const real *rstd, int N, int C) {
    #pragma omp parallel for
    for (int n = 0; n < N; n++) {
        const real *g = dy + (size_t)n*C, *out = y + (size_t)n*C;
        real *d = dx + (size_t)n*C;
        const real avg = row_sum(g, C)/C;
        const real avg_y = row_dot(g, out, C)/C;
        for (int c = 0; c < C; c++) d[c] += rstd[n]*(g[c] - avg - out[c]*avg_y);
    }
}

// ---- clamping q, k, v --------------------------------------------------------------------------
// x = min(max(x, -clip), clip), in place; pass[i] = 1 where |x| <= clip already.       x, pass: [count]
// (OLMo-7B of April 2024 was trained with clip = 8, so that no attention score can run away. OLMO_SPEC 1.5)
void clip_forward(real *x, unsigned char *pass, double clip, size_t count) {
    const real c = (real)clip;
    #pragma omp parallel for
    for (size_t i = 0; i < count; i++) {
        pass[i] = x[i] >= -c && x[i] <= c;
        x[i] = x[i] < -c ? -c : x[i] > c ? c : x[i];
    }
}

// dx = 0 where x was clipped, in place.                                           dx, pass: [count]
// A value of exactly +-clip passes, as in torch.
void clip_backward(real *dx, const unsigned char *pass, size_t count) {
    #pragma omp parallel for
    for (size_t i = 0; i < count; i++) dx[i] = pass[i] ? dx[i] : 0;
}

// ---- rotary position embeddings (RoPE) ---------------------------------------------------------
// Su et al. 2021 (arXiv 2104.09864): turn pairs of numbers of q and k by angles that grow with the
// position. A product q.k then depends on how far apart the two are, and not on where they stand.
//
// table[t, 0:D/2] = cos and table[t, D/2:D] = sin of the angle t/theta^(2i/D), for i = 0 .. D/2-1.
// They are computed in float whatever `real` is, because the official code does so (OLMO_SPEC 1.6): the
// released models were trained with these angles, which differ from the exact ones by up to 1e-4 in 2,048
// positions.
void rope_table(real *table, double theta, int T, int D) {
    for (int t = 0; t < T; t++) for (int i = 0; i < D/2; i++) {
        const float angle = (float)t*(1.0f/powf((float)theta, (float)(2*i)/(float)D));
        table[(size_t)t*D + i] = cosf(angle);
        table[(size_t)t*D + D/2 + i] = sinf(angle);
    }
}

// A pair (a, b) is numbers i and D/2 + i of a head, as in the official code:
//     a' = a cos - b sin,    b' = b cos + a sin                                 x: [N, Q], in place
// The first `heads` heads of a row turn. Row n stands at position past + n % T. sign: +1, or -1 to turn back.
static void rotate(real *x, const real *table, real sign, int N, int T, int past, int heads, int D, int Q) {
    #pragma omp parallel for
    for (int n = 0; n < N; n++) {
        const real *cosine = table + (size_t)(past + n % T)*D, *sine = cosine + D/2;
        for (int h = 0; h < heads; h++) {
            real *a = x + (size_t)n*Q + h*D, *b = a + D/2;
            #pragma omp simd
            for (int i = 0; i < D/2; i++) {
                const real first = a[i]*cosine[i] - sign*b[i]*sine[i];
                const real second = b[i]*cosine[i] + sign*a[i]*sine[i];
                a[i] = first;
                b[i] = second;
            }
        }
    }
}
// qkv: [N, Q], in place. heads = H + G: q and k turn, v does not. past: in training 0; in generation the
// number of tokens before the first.
void rope_forward(real *qkv, const real *table, int N, int T, int past, int heads, int D, int Q) {
    rotate(qkv, table, 1, N, T, past, heads, D, Q);
}
// dqkv: [N, Q], in place. A rotation's transpose is the rotation back.
void rope_backward(real *dqkv, const real *table, int N, int T, int heads, int D, int Q) {
    rotate(dqkv, table, -1, N, T, 0, heads, D, Q);
}

// ---- causal attention --------------------------------------------------------------------------
// For every head:  S = q k^T / sqrt(D),   P = softmax of S over the keys <= query,   att = P v.
// (Vaswani et al. 2017, arXiv 1706.03762; paper 2.1; OLMO_SPEC 1.7.)  A row of qkv, Q numbers wide:
//
//     | q_0 | q_1 | ...             | q_H-1 | k_0 | ... | k_G-1 | v_0 | ... | v_G-1 |     D numbers each
//
// Query head h reads k and v of head h/(H/G): with G < H several share them (arXiv 2305.13245).
//
// If you meet attention for the first time, read it in plain loops first: attention_forward and
// attention_backward in dev/class/plain.c.
//
// No T x T matrix is stored. A thread takes a tile of QUERIES queries, computes their rows of S in
// its own scratch, and keeps one number per query, lse = log sum_j exp(S_j), from which the
// backward pass makes P = exp(S - lse) again (Rabe and Staats 2021, arXiv 2112.05682).
// 96 is a multiple of 6 and of 12, the rows that gemm computes at a time (MR, section 5), and the S
// of 96 queries and 2,048 keys (0.8 MB) still fits into a core's L2 cache.
enum { QUERIES = 96 };

// gemm on the calling thread alone, which skips most of what does not count: no query sees later keys.
// `past` keys come before the first query. With past = 1, 3 queries and 4 keys:
//
//     query 0    x x . .         x: counts
//           1    x x x .         .: in c, may hold anything afterwards;
//           2    x x x x            in a, must be 0, because some of it is multiplied
typedef enum {
    DENSE,                      // everything counts
    SCORES,                     // S  = q k^T:    c is the triangle, [queries, keys]
    AVERAGE,                    // att = P v:     a is the triangle
    GRADIENT,                   // dv += P^T datt: a is its transpose. A key that no query sees keeps its c
} Causal;
static void causal_product(real *c, size_t ldc, Matrix a, Matrix b, int M, int N, int K, int add,
                           Causal causal, int past);
static int scratch_row(int keys);                           // numbers from one row of S to the next

// How many numbers of scratch attention_forward needs. It depends on the number of threads.
static size_t attention_forward_work(int keys) {
    return (size_t)omp_get_max_threads()*QUERIES*scratch_row(keys);
}

// att: [B, T, H*D], lse: [B, H, T], work: attention_forward_work(past + T) numbers
// q: [B, T] rows, q_width apart;  kv: [B, past + T] rows of k and v heads, kv_width apart.
// In training both lie in qkv, and past is 0; in generation kv is the cache, which holds `past`
// earlier tokens.
void attention_forward(real *att, real *lse, real *work, const real *q, int q_width,
                       const real *kv, int kv_width, int B, int T, int past, int H, int G, int D) {
    const int keys = past + T;
    const int row = scratch_row(keys);
    const int tiles = ceil_div(T, QUERIES);
    const real scale = 1/(real)sqrt((real)D);
    #pragma omp parallel for collapse(3) schedule(dynamic)          // the last tiles first: they take longest
    for (int tile = tiles - 1; tile >= 0; tile--) for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) {
        const int t0 = tile*QUERIES;
        const int rows = imin(QUERIES, T - t0);
        const int seen = past + t0 + rows;                          // keys that the tile's last query sees
        const real *queries = q + ((size_t)b*T + t0)*q_width + h*D;
        const real *k = kv + (size_t)b*keys*kv_width + h/(H/G)*D;
        const real *v = k + G*D;
        real *S = work + (size_t)omp_get_thread_num()*QUERIES*row;
        real *out = att + ((size_t)b*T + t0)*H*D + h*D;

        causal_product(S, row, matrix(queries, q_width), transposed(k, kv_width),
                       rows, seen, D, 0, SCORES, past + t0);        // S = q k^T
        for (int i = 0; i < rows; i++) {                            // P = softmax(scale S), in its place
            real *s = S + (size_t)i*row;
            const int n = past + t0 + i + 1;                        // keys that this query sees
            const real most = scale*row_max(s, n);                  // exp(S - most) cannot overflow
            const real sum = row_exp(s, s, scale, most, n);
            for (int j = 0; j < n; j++) s[j] *= 1/sum;
            for (int j = n; j < seen; j++) s[j] = 0;
            lse[((size_t)b*H + h)*T + t0 + i] = most + (real)log(sum);
        }
        causal_product(out, (size_t)H*D, matrix(S, row), matrix(v, kv_width),
                       rows, D, seen, 0, AVERAGE, past + t0);       // att = P v
    }
}

// P comes back from lse, and dP = datt . v^T. Since d P_k/d S_j = P_k ([j = k] - P_j) within a row,
//     dS_j = P_j (dP_j - sum_k P_k dP_k),    and  sum_k P_k dP_k = sum_k P_k (datt . v_k) = datt . att:
// one product of D numbers per query, instead of one of T. Then
//     dq = dS k / sqrt(D),    dk += dS^T q / sqrt(D),    dv += P^T datt
//
// A task is one query head, one block of KEYS keys, and all queries that see it: this makes enough tasks for
// all threads, even of one sequence with one key/value head. The gradient of a query adds up over the blocks,
// that of a key and its value over the heads that share them:
//     dq        block 0 writes to dqkv, later blocks to dq_parts
//     dk, dv    a group's first head writes to dqkv, the others to dkv_parts
// At the end the parts are added in a fixed order, so the bits do not depend on the threads.
// With 512 keys, P and dS of a tile (2 x 96 x 512 floats, 0.4 MB) stay in the L2 cache.
enum { KEYS = 512 };

// How many numbers of scratch: P and dS of each thread, and the parts.
static size_t attention_backward_work(int B, int T, int H, int G, int D) {
    const size_t N = (size_t)B*T, blocks = ceil_div(T, KEYS);
    const size_t tiles = (size_t)omp_get_max_threads()*2*QUERIES*scratch_row(imin(T, KEYS));
    return tiles + (blocks - 1)*N*H*D + (H/G - 1)*N*2*G*D;
}

// dqkv += the parts: those of later blocks to a row's dq, those of its group's other heads to its dk and dv.
static void attention_add_parts(real *dqkv, const real *dq_parts, const real *dkv_parts, size_t N, int T,
                                int Q, size_t C, size_t KV, int group) {
    #pragma omp parallel for
    for (size_t n = 0; n < N; n++) {
        const int t = (int)(n % (size_t)T);                                 // the position of row n
        real *dq = dqkv + n*Q, *dkv = dq + C;
        for (int block = 1; block*KEYS <= t; block++) {
            row_add(dq, dq_parts + ((block - 1)*N + n)*C, (int)C);
        }
        for (int member = 1; member < group; member++) {
            row_add(dkv, dkv_parts + ((member - 1)*N + n)*KV, (int)KV);
        }
    }
}

// dqkv, qkv: [B, T, Q], datt, att: [B, T, H*D], lse: [B, H, T]
// work: attention_backward_work(...) numbers. "=": all of dqkv is overwritten.
void attention_backward(real *dqkv, real *work, const real *datt, const real *att, const real *lse,
                        const real *qkv, int B, int T, int H, int G, int D) {
    const int Q = (H + 2*G)*D, group = H/G;
    const int blocks = ceil_div(T, KEYS);
    const int row = scratch_row(imin(T, KEYS));
    const size_t N = (size_t)B*T, C = (size_t)H*D, KV = (size_t)2*G*D;
    const real scale = 1/(real)sqrt((real)D);
    real *dq_parts = work + (size_t)omp_get_max_threads()*2*QUERIES*row;    // [blocks - 1, N, C]
    real *dkv_parts = dq_parts + (blocks - 1)*N*C;                          // [group - 1, N, KV]

    #pragma omp parallel for collapse(3) schedule(dynamic)
    for (int block = 0; block < blocks; block++) for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) {
        const int k0 = block*KEYS, keys = imin(KEYS, T - k0);
        const int g = h/group, member = h % group;
        const real *k = qkv + ((size_t)b*T + k0)*Q + (H + g)*D;
        const real *v = k + G*D;

        const size_t dq_width = block ? C : (size_t)Q;                      // where its sums go
        const size_t dkv_width = member ? KV : (size_t)Q;
        real *dq = block ? dq_parts + (block - 1)*N*C : dqkv;
        real *dkv = member ? dkv_parts + (member - 1)*N*KV : dqkv + C;
        real *dk = dkv + ((size_t)b*T + k0)*dkv_width + g*D;
        real *dv = dk + G*D;
        for (int j = 0; j < keys; j++) {
            memset(dk + j*dkv_width, 0, sizeof(real)*D);
            memset(dv + j*dkv_width, 0, sizeof(real)*D);
        }

        real *P = work + (size_t)omp_get_thread_num()*2*QUERIES*row;
        real *dS = P + (size_t)QUERIES*row;
        for (int t0 = k0; t0 < T; t0 += QUERIES) {
            const int rows = imin(QUERIES, T - t0);
            const int past = t0 - k0;                                       // keys before the first query
            const int seen = imin(keys, past + rows);                       // keys that the last query sees
            const size_t first = (size_t)b*T + t0;
            const Matrix q = matrix(qkv + first*Q + h*D, Q);
            const Matrix out = matrix(att + first*C + h*D, C);
            const Matrix dout = matrix(datt + first*C + h*D, C);

            causal_product(P, row, q, transposed(k, Q), rows, seen, D, 0, SCORES, past);      // S
            causal_product(dS, row, dout, transposed(v, Q), rows, seen, D, 0, SCORES, past);  // dP
            for (int i = 0; i < rows; i++) {                                // S becomes P, and dP becomes dS
                real *p = P + (size_t)i*row, *ds = dS + (size_t)i*row;
                const int n = imin(keys, past + i + 1);                     // keys that this query sees
                const real dot = row_dot(out.at + i*C, dout.at + i*C, D);
                row_exp(p, p, scale, lse[((size_t)b*H + h)*T + t0 + i], n);
                for (int j = 0; j < n; j++) ds[j] = scale*p[j]*(ds[j] - dot);
                for (int j = n; j < seen; j++) p[j] = ds[j] = 0;
            }
            causal_product(dq + first*dq_width + h*D, dq_width, matrix(dS, row), matrix(k, Q),
                           rows, D, seen, 0, AVERAGE, past);
            causal_product(dk, dkv_width, transposed(dS, row), q, seen, D, rows, 1, GRADIENT, past);
            causal_product(dv, dkv_width, transposed(P, row), dout, seen, D, rows, 1, GRADIENT, past);
        }
    }
    attention_add_parts(dqkv, dq_parts, dkv_parts, N, T, Q, C, KV, group);
}

// ---- SwiGLU ------------------------------------------------------------------------------------
// h = up * silu(gate),    silu(z) = z*sigma(z),    sigma(z) = 1/(1 + e^-z)            h: [N, F]
// ug: [N, 2F] = up | gate; the gate is second: OLMo's order.      (Shazeer 2020, arXiv 2002.05202)
void swiglu_forward(real *h, const real *ug, int N, int F) {
    #pragma omp parallel for
    for (int n = 0; n < N; n++) {
        const real *up = ug + (size_t)n*2*F, *gate = up + F;
        real *out = h + (size_t)n*F;
        #pragma omp simd
        for (int f = 0; f < F; f++) out[f] = up[f]*gate[f]/(1 + fast_exp(-gate[f]));
    }
}

// sigma' = sigma*(1 - sigma), so  silu'(z) = sigma + z*sigma*(1 - sigma) = sigma*(1 + z*(1 - sigma))
//     dup = dh*silu(gate),    dgate = dh*up*sigma*(1 + gate*(1 - sigma))   dug, ug: [N, 2F], h, dh: [N, F]
// and h again, which the forward pass did not keep. "="; dug may be ug, since each number is read
// before it is overwritten.
void swiglu_backward(real *dug, real *h, const real *dh, const real *ug, int N, int F) {
    #pragma omp parallel for
    for (int n = 0; n < N; n++) {
        const real *up = ug + (size_t)n*2*F, *gate = up + F, *d = dh + (size_t)n*F;
        real *dup = dug + (size_t)n*2*F, *dgate = dup + F, *out = h + (size_t)n*F;
        #pragma omp simd
        for (int f = 0; f < F; f++) {
            const real u = up[f], z = gate[f], sigma = 1/(1 + fast_exp(-z));
            out[f] = u*z*sigma;
            dup[f] = d[f]*z*sigma;
            dgate[f] = d[f]*u*sigma*(1 + z*(1 - sigma));
        }
    }
}

// ---- softmax cross entropy, with optional z-loss -----------------------------------------------
// lse = log sum_j exp(logits_j),    loss = -log softmax(logits)[target] = lse - logits[target]
// A number added to all logits changes no probability, but moves lse: zloss = z*lse^2 keeps it near 0 (PaLM,
// arXiv 2204.02311). Both losses are 0 where the target is negative. All V columns count, the padding too
// (OLMO_SPEC 1.10).                                      logits: [N, V]; losses, zlosses, lse: [N]
void crossentropy_forward(real *losses, real *zlosses, real *lse, const real *logits, const int *targets,
                          double z, int N, int V) {
    enum { PIECE = 512 };                                   // 2 KB: stays in L1
    #pragma omp parallel for
    for (int n = 0; n < N; n++) {
        const real *row = logits + (size_t)n*V;
        const real most = row_max(row, V);                  // exp(logit - most) cannot overflow
        real unused[PIECE];                                 // only the sum of the exponentials is wanted
        real sum = 0;
        for (int v = 0; v < V; v += PIECE) {
            sum += row_exp(unused, row + v, 1, most, imin(PIECE, V - v));
        }
        lse[n] = most + (real)log(sum);
        losses[n] = targets[n] < 0 ? 0 : lse[n] - row[targets[n]];
        zlosses[n] = targets[n] < 0 ? 0 : (real)z*lse[n]*lse[n];
    }
}

// d lse/d logits_j = softmax(logits)_j = exp(logits_j - lse) = p_j.
// Both losses of row n count weights[n] times (the caller's choice, see olmo_forward), so
//     dlogits_j = weight * ((1 + 2 z lse) p_j - [j = target])
// logits, dlogits: [N, V], "=", and may be one array, as in olmo_forward. weights, lse, targets: [N].
// A row without target or weight is only cleared.
void crossentropy_backward(real *dlogits, const real *weights, const real *lse, const real *logits,
                           const int *targets, double z, int N, int V) {
    #pragma omp parallel for
    for (int n = 0; n < N; n++) {
        real *d = dlogits + (size_t)n*V;
        const real weight = targets[n] < 0 ? 0 : weights[n];
        if (weight == 0) { memset(d, 0, sizeof(real)*V); continue; }
        row_exp(d, logits + (size_t)n*V, 1, lse[n], V);
        const real factor = weight*(1 + 2*(real)z*lse[n]);
        for (int v = 0; v < V; v++) d[v] *= factor;
        d[targets[n]] -= weight;
    }
}

// ================================================================================================
// 3. Model: layout, init, forward, backward
// ================================================================================================

// ---- one list of tensors -----------------------------------------------------------------------
// olmo_layout names every parameter tensor once, in order. Allocation, init, weight decay, files,
// tests and printing walk the list it makes. Parameters, gradients and both AdamW moments are flat
// arrays that share these offsets. (What a new tensor takes: "To add a tensor" in dev/class/reading.md.)

typedef enum {
    EMBEDDING,                                      // [V, C]   a row for each token
    INPUT,                                          //          reads from the residual stream
    OUTPUT,                                         //          adds to the residual stream
    HEAD,                                           // [V, C]   from the last norm to the logits
    GAIN,                                           // [rows]   of a norm: ones at first; OLMo-1 has none
} Role;

typedef struct { char name[80]; int rows; } Part;   // rows that are one tensor in Hugging Face's files

typedef struct {
    char name[80];                                  // OLMo's name (OLMO_SPEC 1.1)
    Role role;
    int layer;                                      // -1: in none
    int dims, rows, cols;                           // 2: a matrix; 1: a vector of `rows` numbers, cols is 1
    size_t offset;                                  // of the first element in the flat arrays
    int n_parts;
    Part part[3];
} Tensor;

typedef struct {
    real *att_proj, *attn_out;                      // [Q, C]   rows q|k|v;   [C, C]
    real *ff_proj, *ff_out;                         // [2F, C]  rows up|gate; [C, F]
} LayerWeights;
typedef struct {
    real *wte, *head;                               // [V, C] each; with a tied head the same array
    LayerWeights layer[MAX_LAYERS];
} Weights;

enum { MAX_TENSORS = 2 + 16*MAX_LAYERS };           // at most 16 tensors per layer; OLMo-1 has 4

typedef struct {
    Tensor tensor[MAX_TENSORS];
    int n;
    size_t size;                                    // elements of all tensors together
} Layout;

// Appends a tensor; cols 0: a vector. Returns its address in the array `base`, or NULL if base is NULL.
static real *add_tensor(Layout *list, real *base, Role role, int layer, int rows, int cols,
                        const char *name) {
    CHECK(list->n < MAX_TENSORS, "a model of more than %d tensors; raise MAX_TENSORS", MAX_TENSORS);
    Tensor *t = &list->tensor[list->n++];
    memset(t, 0, sizeof *t);
    if (layer < 0) snprintf(t->name, sizeof t->name, "transformer.%s.weight", name);
    else snprintf(t->name, sizeof t->name, "transformer.blocks.%d.%s.weight", layer, name);
    t->role = role;
    t->layer = layer;
    t->dims = cols ? 2 : 1;
    t->rows = rows;
    t->cols = cols ? cols : 1;
    t->offset = list->size;
    list->size += (size_t)t->rows*t->cols;
    return base ? base + t->offset : NULL;
}

// The next `rows` rows of the tensor added last, under the name they have in Hugging Face's files.
static void add_part(Layout *list, int rows, const char *name) {
    Tensor *t = &list->tensor[list->n - 1];
    Part *p = &t->part[t->n_parts++];
    p->rows = rows;
    if (t->layer < 0) snprintf(p->name, sizeof p->name, "%s.weight", name);
    else snprintf(p->name, sizeof p->name, "model.layers.%d.%s.weight", t->layer, name);
}

// Fills the list, and points w into the flat array `base`. (base NULL: only the list is wanted.)
void olmo_layout(Layout *list, Weights *w, real *base, const Config *c) {
    const int C = c->d_model, D = C/c->n_heads, kv = c->n_kv_heads*D, F = c->mlp_hidden/2;
    list->n = 0;
    list->size = 0;
    w->wte = add_tensor(list, base, EMBEDDING, -1, c->vocab, C, "wte");
    add_part(list, c->vocab, "model.embed_tokens");
    for (int l = 0; l < c->n_layers; l++) {
        LayerWeights *layer = &w->layer[l];
        layer->att_proj = add_tensor(list, base, INPUT, l, C + 2*kv, C, "att_proj");
        add_part(list, C, "self_attn.q_proj");
        add_part(list, kv, "self_attn.k_proj");
        add_part(list, kv, "self_attn.v_proj");
        layer->attn_out = add_tensor(list, base, OUTPUT, l, C, C, "attn_out");
        add_part(list, C, "self_attn.o_proj");
        layer->ff_proj = add_tensor(list, base, INPUT, l, 2*F, C, "ff_proj");
        add_part(list, F, "mlp.up_proj");
        add_part(list, F, "mlp.gate_proj");
        layer->ff_out = add_tensor(list, base, OUTPUT, l, C, F, "ff_out");
        add_part(list, C, "mlp.down_proj");
    }
    w->head = w->wte;
    if (c->tied) return;
    w->head = add_tensor(list, base, HEAD, -1, c->vocab, C, "ff_out");
    add_part(list, c->vocab, "lm_head");
}

// Decay pulls weights towards 0, so that a matrix does not grow without need. But a gain belongs near
// 1, not near 0; and an embedding's row would shrink at every step, though its token occurs in few of
// them. So in the released models all matrices decay but the embedding, even where it is the head too.
// (7b-0424 is the exception: decay_embeddings.)
static int decays(const Tensor *t, int decay_embeddings) {
    if (t->role == GAIN) return 0;
    return t->role != EMBEDDING || decay_embeddings;
}

// ---- init --------------------------------------------------------------------------------------
// Weights are drawn from a normal distribution with these standard deviations, truncated at three of them
// except for `normal` (OLMO_SPEC 3).
//     mitchell       1/sqrt(C);  OUTPUT 1/sqrt(2 fan_in (layer + 1)): at first, deeper layers add less to
//                    the residual stream. Of the released models; OLMo's code credits Mitchell Wortsman.
//     normal         0.02
//     full_megatron  0.02;       OUTPUT 0.02/sqrt(2L);  HEAD 1/sqrt(C).   After metaseq; Llama 2 has it too.
static double init_std(const Tensor *t, const Config *c, const char *init) {
    const double by_width = 1/sqrt((double)c->d_model);
    if (!strcmp(init, "mitchell")) return t->role == OUTPUT ? 1/sqrt(2.0*t->cols*(t->layer + 1)) : by_width;
    if (!strcmp(init, "normal")) return 0.02;
    CHECK(!strcmp(init, "full_megatron"),
          "--init %s: there is no such init; choose mitchell, normal or full_megatron", init);
    return t->role == OUTPUT ? 0.02/sqrt(2.0*c->n_layers) : t->role == HEAD ? by_width : 0.02;
}

// How many standard deviations from 0 the distribution is truncated at; 0: it is not.
static double init_cut(const char *init) { return strcmp(init, "normal") ? 3 : 0; }

// All randomness of the init is a hash: number i of stream s is hash(s + i). So the numbers do not
// depend on the order in which they are asked for.
static uint64_t hash64(uint64_t x) {                // splitmix64 (Steele, Lea, Flood 2014)
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30))*0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27))*0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// In (0, 1]: never 0, because its logarithm is taken below. (The largest is rounded up to 1.)
static double uniform(uint64_t bits) { return ((double)(bits >> 11) + 0.5)*0x1p-53; }

// Element i of a tensor: a normal number (Box and Muller), drawn again while it is beyond the cut.
static real init_value(uint64_t seed, const Tensor *t, size_t i, double std, double cut) {
    if (t->role == GAIN) return 1;
    for (uint64_t draw = hash64(hash64(seed) + t->offset + i);; draw = hash64(draw)) {
        const double z = sqrt(-2*log(uniform(draw)))*cos(2*M_PI*uniform(hash64(~draw)));
        if (cut == 0 || fabs(z) <= cut) return (real)(std*z);
    }
}

// ---- activations -------------------------------------------------------------------------------
// What a layer keeps for its backward pass: neither the residual stream, which the norm does not need,
// nor h, which SwiGLU makes again.
typedef struct {
    real *xn1, *rstd1;                              // [N, C], [N]     first norm
    real *qkv;                                      // [N, Q]          clipped and rotated
    real *att, *lse;                                // [N, C], [B, H, T]
    real *xn2, *rstd2;                              // [N, C], [N]     second norm
    real *ug;                                       // [N, 2F]         up | gate
    unsigned char *pass;                            // [N, Q]          only with clip_qkv
} LayerActs;

typedef struct {
    int B, T;
    int head_rows;                                  // rows of logits that exist at a time
    int has_dlogits;                                // a pass with loss weights awaits its backward pass
    int *tokens, *targets;                          // [N]             copies, for the backward pass
    int *positions;                                 // [N]             only with a KV cache
    real *x, *h;                                    // [N, C], [N, F]  the residual stream; inside the MLP
    LayerActs layer[MAX_LAYERS];
    real *xnf, *rstdf;                              // [N, C], [N]     last norm
    real *lse;                                      // [N]
    real *logits;                                   // [head_rows, V]  after a pass with loss weights: dlogits
    real *dx, *dxn, *dqkv, *datt, *dh;              // [N, C], [N, C], [N, Q], [N, C], [N, F]
    real *rope;                                     // [T, D]          the table of cosines and sines
    real *work;                                     //                 scratch of attention
    size_t kept_bytes, logits_bytes, work_bytes;    // for the memory plan
} Acts;

// One block of memory, handed out piece by piece, each on a cache line. base NULL: only count the bytes.
typedef struct { char *base; size_t used; } Arena;

static void *take(Arena *arena, size_t count, size_t size) {
    void *p = arena->base ? arena->base + arena->used : NULL;
    arena->used += (count*size + 63)/64*64;
    return p;
}
static real *take_reals(Arena *arena, size_t count) { return (real *)take(arena, count, sizeof(real)); }

// Without training, logits are made for this many rows at a time: all of them together would be the
// largest array. (480 rows fill one block of the fast product, section 5.)
enum { HEAD_ROWS = 480 };

// Hands out the memory for B x T tokens, and returns the bytes that it takes. Called twice: with base
// NULL to learn the bytes, then to set the pointers. Without training nothing waits for a backward
// pass, so all layers use the memory of the first.
static size_t acts_layout(Acts *a, char *base, const Config *c, int training, int B, int T) {
    const int H = c->n_heads, G = c->n_kv_heads, D = c->d_model/H;
    const size_t N = (size_t)B*T, C = c->d_model, Q = (H + 2*G)*D, F = c->mlp_hidden/2, V = c->vocab;
    Arena arena = { base, 0 };
    a->B = B;
    a->T = T;
    a->has_dlogits = 0;
    a->tokens = (int *)take(&arena, N, sizeof(int));
    a->targets = (int *)take(&arena, N, sizeof(int));
    a->positions = (int *)take(&arena, N, sizeof(int));
    a->x = take_reals(&arena, N*C);
    a->h = take_reals(&arena, N*F);
    for (int l = 0; l < c->n_layers; l++) {
        LayerActs *s = &a->layer[l];
        if (l > 0 && !training) { *s = a->layer[0]; continue; }
        s->xn1 = take_reals(&arena, N*C);
        s->rstd1 = take_reals(&arena, N);
        s->qkv = take_reals(&arena, N*Q);
        s->att = take_reals(&arena, N*C);
        s->lse = take_reals(&arena, N*H);
        s->xn2 = take_reals(&arena, N*C);
        s->rstd2 = take_reals(&arena, N);
        s->ug = take_reals(&arena, N*2*F);
        s->pass = c->clip_qkv > 0 ? (unsigned char *)take(&arena, N*Q, 1) : NULL;
    }
    a->xnf = take_reals(&arena, N*C);
    a->rstdf = take_reals(&arena, N);
    a->lse = take_reals(&arena, N);
    a->kept_bytes = arena.used;

    a->head_rows = training ? B*T : imin(B*T, HEAD_ROWS);
    a->logits = take_reals(&arena, a->head_rows*V);
    a->logits_bytes = arena.used - a->kept_bytes;

    size_t work = attention_forward_work(T);
    if (training) {
        a->dx = take_reals(&arena, N*C);
        a->dxn = take_reals(&arena, N*C);
        a->dqkv = take_reals(&arena, N*Q);
        a->datt = take_reals(&arena, N*C);
        a->dh = take_reals(&arena, N*F);
        work = zmax(work, attention_backward_work(B, T, H, G, D));
    }
    a->rope = take_reals(&arena, (size_t)T*D);
    a->work = take_reals(&arena, work);
    a->work_bytes = arena.used - a->kept_bytes - a->logits_bytes;
    return arena.used;
}

// ---- one block ---------------------------------------------------------------------------------
//
//    x [N, C]                                                         the residual stream
//    |--> norm --> xn1 [N, C] --> att_proj --> qkv [N, Q] --> clip, RoPE --> attention --> att [N, C] --.
//    + <----------------------------------------------------------------------------- attn_out <-------'
//    |--> norm --> xn2 [N, C] --> ff_proj  --> ug [N, 2F] --> swiglu --> h [N, F] ----------------------.
//    + <----------------------------------------------------------------------------- ff_out   <-------'
//    x
//
static void attend_with_cache(Acts *a, LayerActs *s, real *cache, const Config *c, int N);

// The block for B sequences of T tokens. cache: NULL, or in generation the layer's KV cache: then
// attend_with_cache (the end of this section) does RoPE and attention.
static void block_forward(Acts *a, LayerActs *s, const LayerWeights *w, real *cache, const Config *c,
                          int B, int T) {
    const int N = B*T, C = c->d_model, F = c->mlp_hidden/2;
    const int H = c->n_heads, G = c->n_kv_heads, D = C/H, Q = (H + 2*G)*D;

    norm_forward(s->xn1, s->rstd1, a->x, N, C);
    matmul_forward(s->qkv, s->xn1, w->att_proj, N, C, Q, 0);
    if (c->clip_qkv > 0) clip_forward(s->qkv, s->pass, c->clip_qkv, (size_t)N*Q);
    if (cache) attend_with_cache(a, s, cache, c, N);
    else {
        rope_forward(s->qkv, a->rope, N, T, 0, H + G, D, Q);
        attention_forward(s->att, s->lse, a->work, s->qkv, Q, s->qkv + C, Q, B, T, 0, H, G, D);
    }
    matmul_forward(a->x, s->att, w->attn_out, N, C, C, 1);                  // x += att . attn_out^T

    norm_forward(s->xn2, s->rstd2, a->x, N, C);
    matmul_forward(s->ug, s->xn2, w->ff_proj, N, C, 2*F, 0);
    swiglu_forward(a->h, s->ug, N, F);
    matmul_forward(a->x, a->h, w->ff_out, N, F, C, 1);                      // x += h . ff_out^T
}

// The same from the bottom up. a->dx is the gradient of the residual stream: on entry at the block's
// output, on return at its input. The gradients of the weights are added to dw.
static void block_backward(Acts *a, LayerActs *s, const LayerWeights *w, const LayerWeights *dw,
                           const Config *c) {
    const int B = a->B, T = a->T, N = B*T, C = c->d_model, F = c->mlp_hidden/2;
    const int H = c->n_heads, G = c->n_kv_heads, D = C/H, Q = (H + 2*G)*D;

    real *dug = s->ug;                              // overwrites ug, which nothing reads afterwards
    matmul_backward_input(a->dh, a->dx, w->ff_out, N, F, C);
    swiglu_backward(dug, a->h, a->dh, s->ug, N, F);                         // makes h again
    matmul_backward_weight(dw->ff_out, a->dx, a->h, B, T, F, C);
    matmul_backward_weight(dw->ff_proj, dug, s->xn2, B, T, C, 2*F);
    matmul_backward_input(a->dxn, dug, w->ff_proj, N, C, 2*F);
    norm_backward(a->dx, a->dxn, s->xn2, s->rstd2, N, C);

    matmul_backward_weight(dw->attn_out, a->dx, s->att, B, T, C, C);
    matmul_backward_input(a->datt, a->dx, w->attn_out, N, C, C);
    attention_backward(a->dqkv, a->work, a->datt, s->att, s->lse, s->qkv, B, T, H, G, D);
    rope_backward(a->dqkv, a->rope, N, T, H + G, D, Q);
    if (c->clip_qkv > 0) clip_backward(a->dqkv, s->pass, (size_t)N*Q);
    matmul_backward_weight(dw->att_proj, a->dqkv, s->xn1, B, T, C, Q);
    matmul_backward_input(a->dxn, a->dqkv, w->att_proj, N, C, Q);
    norm_backward(a->dx, a->dxn, s->xn1, s->rstd1, N, C);
}

// ---- the whole model ---------------------------------------------------------------------------

typedef struct {
    Config config;
    int training;                                   // 0: no gradients, no moments, no backward pass
    Layout layout;
    real *params, *grads, *moment1, *moment2;       // flat, [layout.size] each
    Weights weight, grad;                           // pointers into params and grads
    Acts acts;
    void *arena;                                    // what acts points into
    size_t arena_size;
    real *cache;                                    // [L, seq_len, 2*G*D] keys and values, for olmo_decode
} Olmo;

// A model of these sizes, all of whose weights are 0. training 0: it has no gradients and no moments.
Olmo *olmo_build(const Config *c, int training) {
    Olmo *m = (Olmo *)allocate(1, sizeof(Olmo), "the model's tables");
    Weights unused;
    m->config = *c;
    m->training = training;
    olmo_layout(&m->layout, &unused, NULL, c);
    m->params = (real *)allocate(m->layout.size, sizeof(real), "the parameters");
    olmo_layout(&m->layout, &m->weight, m->params, c);
    if (!training) return m;
    m->grads = (real *)allocate(m->layout.size, sizeof(real), "the gradients");
    m->moment1 = (real *)allocate(m->layout.size, sizeof(real), "AdamW's first moments");
    m->moment2 = (real *)allocate(m->layout.size, sizeof(real), "AdamW's second moments");
    olmo_layout(&m->layout, &m->grad, m->grads, c);
    return m;
}

void olmo_free(Olmo *m) {
    release(m->params);
    release(m->grads);
    release(m->moment1);
    release(m->moment2);
    release(m->arena);
    release(m->cache);
    release(m);
}

// Activations for B x T tokens. Their memory is kept from call to call, and replaced when it must grow.
static Acts *olmo_reserve(Olmo *m, int B, int T) {
    Acts *a = &m->acts;
    a->has_dlogits = 0;
    if (a->B == B && a->T == T) return a;
    const size_t needed = acts_layout(a, NULL, &m->config, m->training, B, T);
    if (needed > m->arena_size) {
        release(m->arena);
        m->arena = allocate(needed, 1, "the activations");
        m->arena_size = needed;
    }
    acts_layout(a, (char *)m->arena, &m->config, m->training, B, T);
    rope_table(a->rope, m->config.rope_theta, T, m->config.d_model/m->config.n_heads);
    return a;
}

// Without training, only rows with a target go through the head: in a question with choices they are few.
// row[k] is the k-th of them, kept[k] its target (kept may be targets). Returns how many there are.
static int keep_asked(int *row, int *kept, const int *targets, int N) {
    int k = 0;
    for (int n = 0; n < N; n++) if (targets[n] >= 0) {
        row[k] = n;
        kept[k++] = targets[n];
    }
    return k;
}
// Moves their losses back to their rows, the last one first. The loss of every other row is 0.
static void put_back(const int *row, real *losses, real *zlosses, int asked, int N) {
    for (int n = N - 1, k = asked - 1; n >= 0; n--) {
        const int mine = k >= 0 && row[k] == n;
        losses[n] = mine ? losses[k] : 0;
        zlosses[n] = mine ? zlosses[k] : 0;
        k -= mine;
    }
}

// From the residual stream after the last block to the losses of its N rows.
static void head_forward(Olmo *m, real *losses, real *zlosses, const real *weights, int N) {
    const Config *c = &m->config;
    const int C = c->d_model, V = c->vocab;
    Acts *a = &m->acts;
    int *row = a->tokens;                                   // only without training, where it is free now
    int asked = N;
    norm_forward(a->xnf, a->rstdf, a->x, N, C);
    if (!m->training) {
        asked = keep_asked(row, a->targets, a->targets, N);
        for (int k = 0; k < asked; k++) {
            if (row[k] > k) memcpy(a->xnf + (size_t)k*C, a->xnf + (size_t)row[k]*C, sizeof(real)*C);
        }
    }
    for (int n = 0; n < asked; n += a->head_rows) {         // in training: once, for all rows
        const int rows = imin(a->head_rows, asked - n);
        const int *target = a->targets + n;
        real *logits = a->logits, *lse = a->lse + n;
        matmul_forward(logits, a->xnf + (size_t)n*C, m->weight.head, rows, C, V, 0);
        crossentropy_forward(losses + n, zlosses + n, lse, logits, target, c->z_loss, rows, V);
        if (weights) crossentropy_backward(logits, weights + n, lse, logits, target, c->z_loss, rows, V);
    }
    if (!m->training) put_back(row, losses, zlosses, asked, N);
    a->has_dlogits = weights != NULL;
}

// tokens, targets [B,T] -> losses[b,t] = -log p(targets[b,t] | tokens[b,0..t]), 0 where the target
// is negative (ignored); zlosses[b,t] likewise. Ids must be below V; whoever reads them sees to that.
// olmo_backward will take the gradient of losses + zlosses weighted by weights[b,t]: this is how the caller
// chooses an objective. NULL: no backward pass follows.
void olmo_forward(Olmo *m, real *losses, real *zlosses, const int *tokens, const int *targets,
                  const real *weights, int B, int T) {
    const Config *c = &m->config;
    const int N = B*T;
    CHECK(m->training || !weights, "a model that was built without training has no backward pass");
    Acts *a = olmo_reserve(m, B, T);
    memcpy(a->tokens, tokens, sizeof(int)*N);
    memcpy(a->targets, targets, sizeof(int)*N);

    embed_forward(a->x, tokens, m->weight.wte, N, c->d_model);
    for (int l = 0; l < c->n_layers; l++) {
        block_forward(a, &a->layer[l], &m->weight.layer[l], NULL, c, B, T);
    }
    head_forward(m, losses, zlosses, weights, N);
}

// grads += the gradient of sum_{b,t} weights[b,t]*(losses[b,t] + zlosses[b,t]) of the last
// olmo_forward. It overwrites the activations: one backward pass per forward pass with weights.
void olmo_backward(Olmo *m) {
    const Config *c = &m->config;
    Acts *a = &m->acts;
    const int B = a->B, T = a->T, N = B*T, C = c->d_model, V = c->vocab;
    CHECK(a->has_dlogits, "a backward pass needs a forward pass with weights before it, one each");
    a->has_dlogits = 0;

    const real *dlogits = a->logits;                        // the forward pass left them here
    matmul_backward_input(a->dxn, dlogits, m->weight.head, N, C, V);
    memset(a->dx, 0, sizeof(real)*N*C);
    norm_backward(a->dx, a->dxn, a->xnf, a->rstdf, N, C);
    for (int l = c->n_layers - 1; l >= 0; l--) {
        block_backward(a, &a->layer[l], &m->weight.layer[l], &m->grad.layer[l], c);
    }
    // With tied weights the head and the embedding add to one matrix. If they do so sequence by sequence,
    // the order does not depend on B. This is why the head's weight gradient waits until now.
    for (int b = 0; b < B; b++) {
        const size_t first = (size_t)b*T;
        matmul_backward_weight(m->grad.head, dlogits + first*V, a->xnf + first*C, 1, T, C, V);
        embed_backward(m->grad.wte, a->dx + first*C, a->tokens + first, T, C);
    }
}

// ---- the model with a KV cache -----------------------------------------------------------------

// How many numbers the caches of all layers hold.
static size_t cache_size(const Config *c) {
    return (size_t)c->n_layers*c->seq_len*2*c->n_kv_heads*(c->d_model/c->n_heads);
}

// RoPE and attention for N tokens at a->positions. cache, [seq_len, 2*G*D], holds the keys and values of all
// earlier positions, and is given those of the N new tokens. Tokens at successive positions go together.
// Where the positions go back, the next tokens see the cache up to there, and overwrite the rest.
// (s->lse is for a backward pass alone, and does not matter here.)
static void attend_with_cache(Acts *a, LayerActs *s, real *cache, const Config *c, int N) {
    const int C = c->d_model, H = c->n_heads, G = c->n_kv_heads, D = C/H, Q = (H + 2*G)*D, KV = 2*G*D;
    const int *positions = a->positions;
    for (int row = 0, n; row < N; row += n) {
        const int past = positions[row];
        real *q = s->qkv + (size_t)row*Q, *kv = q + C;
        for (n = 1; row + n < N && positions[row + n] == past + n; n++) {}

        rope_forward(q, a->rope, n, n, past, H + G, D, Q);
        for (int t = 0; t < n; t++) {
            memcpy(cache + (size_t)(past + t)*KV, kv + (size_t)t*Q, sizeof(real)*KV);
        }
        attention_forward(s->att + (size_t)row*C, s->lse, a->work, q, Q, cache, KV, 1, n, past, H, G, D);
    }
}

// N tokens at a->positions through all layers, each of which has its part of the cache.
static void blocks_with_cache(Olmo *m, const int *tokens, int N) {
    const Config *c = &m->config;
    Acts *a = &m->acts;
    if (!m->cache) m->cache = (real *)allocate(cache_size(c), sizeof(real), "the KV cache");
    embed_forward(a->x, tokens, m->weight.wte, N, c->d_model);
    for (int l = 0; l < c->n_layers; l++) {
        real *cache = m->cache + cache_size(c)/c->n_layers*l;
        block_forward(a, &a->layer[l], &m->weight.layer[l], cache, c, 1, N);
    }
}

// The forward pass of one sequence in pieces: n new tokens at positions past, past + 1, ..., with
// past + n <= seq_len, after positions 0..past-1 were decoded with the same weights.
// logits: [V], after the last new token, with the same bits as olmo_forward's. It uses the activations
// of olmo_forward, so no olmo_backward may follow.
void olmo_decode(Olmo *m, real *logits, const int *tokens, int n, int past) {
    const Config *c = &m->config;
    const int C = c->d_model;
    Acts *a = olmo_reserve(m, 1, c->seq_len);
    for (int i = 0; i < n; i++) a->positions[i] = past + i;
    blocks_with_cache(m, tokens, n);
    norm_forward(a->xnf, a->rstdf, a->x + (size_t)(n - 1)*C, 1, C);
    matmul_forward(logits, a->xnf, m->weight.head, 1, C, c->vocab, 0);
}

// A token continues the one listed before it, or branches off at an earlier position.
static void check_tree(const int *positions, int N, int T) {
    for (int i = 0, next = 0; i < N; next = positions[i++] + 1) {
        const int p = positions[i], most = imin(next, T - 1);
        CHECK(p >= 0 && p <= most, "token %d of a tree stands at position %d; expected 0 to %d", i, p, most);
    }
}

// The forward pass of many texts that begin alike, for instance a question with each of its choices. Each
// common beginning is computed once. The texts form a tree (a trie), whose N tokens are listed branch by
// branch. tokens[i] stands at positions[i] < seq_len; at each position before it stands the token that was
// listed there last:
//
//     tokens       The  sky  is  blue   green  today   Grass  is
//     positions     0    1    2    3      3      4       0     1        three texts
//
// Attention walks along this list once: when it comes to "green", the keys and values of "The sky is" are
// still in the cache, and those of "blue" are overwritten. All other layers treat each token by itself, so
// all N share the matrix products. targets, losses, zlosses: [N]; the losses have the same bits as
// olmo_forward's of each text by itself. The pass overwrites the cache and the activations: no backward
// pass may follow, and no sequence that was being decoded can continue.
// (Also known as prefix sharing and tree attention: SpecInfer, arXiv 2305.09781; SGLang, arXiv 2312.07104.)
void olmo_forward_tree(Olmo *m, real *losses, real *zlosses, const int *tokens, const int *positions,
                       const int *targets, int N) {
    const int T = m->config.seq_len;
    check_tree(positions, N, T);
    Acts *a = olmo_reserve(m, ceil_div(N, T), T);              // as for whole sequences
    memcpy(a->positions, positions, sizeof(int)*N);
    memcpy(a->targets, targets, sizeof(int)*N);
    blocks_with_cache(m, tokens, N);
    head_forward(m, losses, zlosses, NULL, N);
}

// ================================================================================================
// 4. Optimizer: AdamW, gradient clipping, schedules
// ================================================================================================

typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
    int decay_embeddings;
    double clip;                                    // largest global gradient norm; 0: no clipping
    int step;                                       // 1 for the first update
} AdamW;

// sqrt(sum of squares) of all gradients. The number of partial sums is fixed, so the bits do not
// depend on the threads.
static double global_norm(const real *g, size_t size) {
    enum { PIECES = 512 };                          // far more than threads: all of them have work
    double piece[PIECES], sum = 0;
    #pragma omp parallel for
    for (int i = 0; i < PIECES; i++) {
        const size_t start = size/PIECES*i, end = i + 1 < PIECES ? start + size/PIECES : size;
        double squares = 0;
        #pragma omp simd reduction(+ : squares)
        for (size_t j = start; j < end; j++) squares += (double)g[j]*(double)g[j];
        piece[i] = squares;
    }
    for (int i = 0; i < PIECES; i++) sum += piece[i];
    return sqrt(sum);
}

// Adam (Kingma, Ba 2015, arXiv 1412.6980) with decoupled weight decay (Loshchilov, Hutter 2019, arXiv
// 1711.05101), in torch's order of operations (OLMO_SPEC 4.2, 4.3). Step t:
//     g *= min(1, clip/(norm + 1e-6))
//     p *= 1 - lr*weight_decay                                         where the tensor decays
//     m += (1 - beta1)*(g - m)                                         a moving average of g ...
//     v  = beta2*v + (1 - beta2)*g^2                                   ... and of its square
//     p -= lr/(1 - beta1^t) * m/(sqrt(v)/sqrt(1 - beta2^t) + eps)      1 - beta^t: both averages began at 0
// Then the gradients are cleared. Returns their norm before clipping; if that is not finite, nothing is
// changed.
double olmo_update(Olmo *model, const AdamW *adamw) {
    const double norm = global_norm(model->grads, model->layout.size);
    if (!isfinite(norm)) return norm;
    const real clip = (real)(adamw->clip > 0 ? fmin(1, adamw->clip/(norm + 1e-6)) : 1);
    const real beta2 = (real)adamw->beta2, eps = (real)adamw->eps;
    const real one_minus_beta1 = (real)(1 - adamw->beta1), one_minus_beta2 = (real)(1 - adamw->beta2);
    const real step_size = (real)(adamw->lr/(1 - pow(adamw->beta1, adamw->step)));
    const real correction = (real)sqrt(1 - pow(adamw->beta2, adamw->step));
    for (int k = 0; k < model->layout.n; k++) {
        const Tensor *t = &model->layout.tensor[k];
        const size_t count = (size_t)t->rows*t->cols;
        const double weight_decay = decays(t, adamw->decay_embeddings) ? adamw->weight_decay : 0;
        const real decay = (real)(1 - adamw->lr*weight_decay);
        real *p = model->params + t->offset, *g = model->grads + t->offset;
        real *m = model->moment1 + t->offset, *v = model->moment2 + t->offset;
        #pragma omp parallel for simd
        for (size_t i = 0; i < count; i++) {
            const real grad = g[i]*clip;
            m[i] += one_minus_beta1*(grad - m[i]);
            v[i] = beta2*v[i] + one_minus_beta2*grad*grad;
            p[i] = p[i]*decay - step_size*m[i]/((real)sqrt(v[i])/correction + eps);
            g[i] = 0;
        }
    }
    return norm;
}

// The learning rate of step s = 1, 2, ...: linear warm-up from a tenth of the peak, then the schedule
// (OLMO_SPEC 4.5). `finetune` is transformers' linear schedule, from 0 up to the peak and down to 0. It
// counts the updates before this one. So with a warm-up, update 1 has rate 0, and changes no parameter.
static double learning_rate(const Recipe *r, int s) {
    const double warmup = r->warmup, peak = r->lr, low = r->lr*r->final_lr;
    if (!strcmp(r->schedule, "finetune")) {
        const double before = s - 1;
        if (before < warmup) return peak*before/warmup;
        return peak*fmax(0, r->steps - before)/fmax(1, r->steps - warmup);
    }
    if (s < warmup) return peak*(0.1 + 0.9*s/warmup);

    const double done = r->steps > warmup ? fmin(1, (s - warmup)/(r->steps - warmup)) : 1;  // 0 .. 1
    const double wave = (1 + cos(M_PI*done))/2;                                             // 1 .. 0
    const double cosine = low + (peak - low)*wave;
    const double inverse_sqrt = peak*sqrt(fmax(warmup, 1)/fmax(fmax(warmup, 1), s));
    if (!strcmp(r->schedule, "cosine")) return cosine;
    if (!strcmp(r->schedule, "linear")) return peak - (peak - low)*done;
    if (!strcmp(r->schedule, "inverse-sqrt")) return inverse_sqrt;
    if (!strcmp(r->schedule, "max")) return fmax(cosine, inverse_sqrt);
    if (!strcmp(r->schedule, "envelope")) return low + (peak - low)*(1 - done)*wave;
    CHECK(!strcmp(r->schedule, "constant"), "--schedule %s: there is no such schedule; "
          "choose cosine, linear, inverse-sqrt, max, envelope, constant or finetune", r->schedule);
    return peak;
}

// The largest gradient norm that step s may have. OLMo's trainer clips with the limit that the step
// before has set. So the warm-up starts and ends one step late, and the first step has the plain limit
// (OLMO_SPEC 4.1).
static double clip_limit(const Recipe *r, int s) {
    return s > 1 && s - 1 <= r->clip_warmup_steps ? r->clip*r->clip_warmup_factor : r->clip;
}

// ================================================================================================
// 5. Device: how the CPU is fast, and its table of functions
// ================================================================================================
// The lesson is over. For those who want to know how, here are the fast product and the sums over rows that
// section 2 declared; then how several ranks share one model, and the table of functions through which
// everything below computes.

// ---- the fast product --------------------------------------------------------------------------
// After Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication". Three ideas:
// (1) An MR x NR block of c stays in vector registers while k runs.
// (2) The pieces of a and b that it reads are first packed into the order in which it reads them. So
//     they fit the caches, and strides cost nothing.
// (3) c is cut into tiles, and each belongs to one thread. So no two threads add to the same number.
//
//     gemm: c [M, N]     gemm_tile: one tile     gemm_registers: one block
//     +----+----+        +--+--+--+
//     |    |tile|        |1 |4 |7 |              MR x NR sums in registers. For up to KC of the k:
//     +----+----+        |2 |5 |8 |              sum += MR numbers from column k of a
//     |    |    |        |3 |6 |9 |                     times NR numbers from row k of b
//     +----+----+        +--+--+--+
//     (each of at most   (blocks of one column share a packed
//     MC x NC numbers)   panel of b, which stays in L1)
//
// (In the literature: macrokernel and microkernel.) gemm_few is for tiles of so few rows that packing b
// would not pay.
#if defined(__AVX512F__)                        // 32 registers: 24 sums, 2 of b, 1 of a
enum { VEC_BYTES = 64, MR = 12 };
#elif defined(__AVX__)                          // 16 registers: 12 sums, 2 of b, 1 of a
enum { VEC_BYTES = 32, MR = 6 };
#else
enum { VEC_BYTES = 16, MR = 6 };
#endif
typedef real vec __attribute__((vector_size(VEC_BYTES), aligned(sizeof(real)), may_alias));
enum { VL = VEC_BYTES/sizeof(real) };           // numbers in a vector
enum { NR = 2*VL };                             // MR rows of NR numbers are in registers at a time
enum { MC = 480, NC = 512, KC = 256 };          // MC x KC of a for L2: 0.5 MB; KC x NR of b for L1: <= 32 KB
enum { FEW = 8 };                               // so few rows of a are not worth packing b
enum { SIDE = NR < 8 ? NR : 8 };                // packing moves blocks of SIDE x SIDE: none spans two panels

// The part of a matrix that begins at element (i,j).
static inline Matrix block(Matrix m, int i, int j) { m.at += i*m.row + j*m.col; return m; }

// Eight and four numbers, however many a vec holds.
typedef real eight __attribute__((vector_size(8*sizeof(real)), aligned(sizeof(real)), may_alias));
typedef real four __attribute__((vector_size(4*sizeof(real)), aligned(sizeof(real)), may_alias));

// The first and the second halves of x and y, interleaved in pairs: one instruction each. (They go by
// pointers, because clang warns that the way to pass such a vector by value depends on the processor.)
static inline __attribute__((always_inline)) void interleave(eight *first, eight *second, const eight *x_at,
                                                             const eight *y_at) {
    const eight x = *x_at, y = *y_at;
    const eight f = { x[0], y[0], x[1], y[1], x[4], y[4], x[5], y[5] };
    const eight s = { x[2], y[2], x[3], y[3], x[6], y[6], x[7], y[7] };
    *first = f;
    *second = s;
}

// out[c][r] = in[r*ld + c] for 8 x 8 numbers, in registers. Rows r and r + 4 give one vector of four
// columns; four such vectors are interleaved twice, as a deck of cards is shuffled.
static inline __attribute__((always_inline)) void transpose(eight *out, const real *in, size_t ld) {
    for (int c = 0; c < 8; c += 4) {
        eight a[4], b[4];
        for (int r = 0; r < 4; r++) {
            const eight x = *(const eight *)(in + r*ld), y = *(const eight *)(in + (r + 4)*ld);
            const eight left = { x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3] };
            const eight right = { x[4], x[5], x[6], x[7], y[4], y[5], y[6], y[7] };
            a[r] = c ? right : left;
        }
        interleave(&b[0], &b[1], &a[0], &a[2]);
        interleave(&b[2], &b[3], &a[1], &a[3]);
        interleave(out + c, out + c + 1, &b[0], &b[2]);
        interleave(out + c + 2, out + c + 3, &b[1], &b[3]);
    }
}

// The number of vectors that n numbers fill, made odd, so that rows this far apart do not all fall into
// one set of the cache.
static inline int odd_vectors(int n) { return ceil_div(n, VL) | 1; }

// Fetches 64 numbers of the next eight rows into the cache, for code that reads eight rows side by side,
// 8 x 8 numbers per step: a processor does not foresee eight streams by itself. It takes one row after the
// other, which is fastest for memory. rows: the next eight, `width` apart, K numbers each.
static inline void prefetch(const real *rows, size_t width, int K, int step) {
    const real *next = rows + 64*step/K*width + 64*step % K;
    for (int line = 0; line < 64; line += 64/sizeof(real)) __builtin_prefetch(next + line, 0, 2);
}

// Packs the rows of x, `width` at a time, into panels p[k*width + r]. Rows missing in the last panel are
// not written. It moves blocks of SIDE x SIDE, in the order of memory, which the prefetcher foresees.
static void pack(real *p, Matrix x, int rows, int K, int width) {
    const int by_rows = x.col == 1, outer = by_rows ? rows : K, inner = by_rows ? K : rows;
    for (int o = 0; o < outer; o += SIDE) for (int i = 0; i < inner; i += SIDE) {
        const int r0 = by_rows ? o : i, k0 = by_rows ? i : o;
        const int n = imin(SIDE, rows - r0), depth = imin(SIDE, K - k0);
        const real *from = x.at + r0*x.row + k0*x.col;
        real *to = p + (size_t)(r0/width)*width*K + k0*width + r0 % width;
        if (n == SIDE && x.row == 1) {
            for (int k = 0; k < depth; k++) memcpy(to + k*width, from + k*x.col, sizeof(real)*SIDE);
        } else if (n == 8 && depth == 8 && x.col == 1) {
            prefetch(block(x, r0 + 8, 0).at, x.row, K, k0/8);
            eight turned[8];
            transpose(turned, from, x.row);
            for (int k = 0; k < 8; k++) *(eight *)(to + k*width) = turned[k];
        } else for (int k = 0; k < depth; k++) for (int r = 0; r < n; r++) {
            to[k*width + r] = from[r*x.row + k*x.col];
        }
    }
}

// c[0:m, 0:n] = MR rows of a times one packed panel of b, or += if add; m <= MR, n <= NR.
// Inlined, because a short sum takes less time than a call.
static inline __attribute__((always_inline)) void gemm_registers(real *c, size_t ldc, Matrix a, const real *b,
                                                                 int m, int n, int K, int add) {
    for (int i = 0; i < m; i++) {
        __builtin_prefetch(c + i*ldc, 1);
        __builtin_prefetch(c + i*ldc + VL, 1);
    }
    const real *at = a.at;
    vec sum[MR][2];
    memset(sum, 0, sizeof sum);
    if (n > VL) for (int k = 0; k < K; k++, at += a.col, b += NR) {
        const vec b0 = *(const vec *)b, b1 = *(const vec *)(b + VL);
        for (int i = 0; i < MR; i++) {
            sum[i][0] += at[i*a.row]*b0;
            sum[i][1] += at[i*a.row]*b1;
        }
    } else for (int k = 0; k < K; k++, at += a.col, b += NR) {          // half a panel: half the work
        const vec b0 = *(const vec *)b;
        for (int i = 0; i < MR; i++) sum[i][0] += at[i*a.row]*b0;
    }
    if (m == MR && n % VL == 0) {
        for (int i = 0; i < MR; i++) for (int v = 0; v < 2; v++) if (v*VL < n) {
            vec *out = (vec *)(c + i*ldc + v*VL);
            if (add) sum[i][v] += *out;
            *out = sum[i][v];
        }
    } else {                                                            // at the edge of the matrix
        real s[MR][NR];
        memcpy(s, sum, sizeof s);
        for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) {
            c[i*ldc + j] = s[i][j] + (add ? c[i*ldc + j] : 0);
        }
    }
}

// How many of K terms, from the k0-th on, are summed before they are added to c. All loops over k below
// take these steps, so all of them give the same bits.
static int run_length(int k0, int K, int span) { return imin(imin(KC, K - k0), span - k0 % span); }

// sum[r] += sum_i x[i] w[i][r] for `terms` rows of w, eight numbers each, in order. It keeps two sums of
// four, not one of eight: of one long chain, gcc makes separate multiplications and additions for some
// processors. These round twice, and the bits would differ from those of gemm_registers.
static inline __attribute__((always_inline)) void add_terms(four sum[2], const real *x, const eight *w,
                                                            int terms) {
    four left = sum[0], right = sum[1];
    for (int i = 0; i < terms; i++) {
        left += x[i]**(const four *)&w[i];
        right += x[i]**((const four *)&w[i] + 1);
    }
    sum[0] = left;
    sum[1] = right;
}

// n <= 8 columns of gemm_few.
static inline __attribute__((always_inline)) void gemm_eight(real *c, size_t ldc, Matrix a, Matrix b,
                                                             int M, int n, int K, int span, int add) {
    for (int k0 = 0, k; k0 < K; k0 += k) {
        k = run_length(k0, K, span);
        four sum[FEW][2];
        for (int m = 0; m < M; m++) memset(sum[m], 0, sizeof sum[m]);
        for (int at = k0; at < k0 + k; at += 8) {
            const int terms = imin(8, k0 + k - at);
            eight turned[8];
            if (n == 8 && terms == 8) {
                prefetch(b.at + 8*b.col, b.col, K, at/8);
                transpose(turned, b.at + at, b.col);
                for (int m = 0; m < M; m++) add_terms(sum[m], a.at + m*a.row + at, turned, 8);
            } else {
                pack((real *)turned, matrix(b.at + at, b.col), n, terms, 8);
                for (int m = 0; m < M; m++) add_terms(sum[m], a.at + m*a.row + at, turned, terms);
            }
        }
        for (int m = 0; m < M; m++) for (int r = 0; r < n; r++) {
            c[m*ldc + r] = sum[m][r/4][r % 4] + (add || k0 ? c[m*ldc + r] : 0);
        }
    }
}

// gemm on one thread, where a has few rows and b is the transpose of a weight. Generation multiplies all
// weights by one row per token, so it is as fast as they can be read. So they are read once, eight rows
// at a time, and transposed and used in registers. Eight, because rows often lie a multiple of 4096 bytes
// apart, and the first-level cache has room for eight such lines.
static void gemm_few(real *c, size_t ldc, Matrix a, Matrix b, int M, int N, int K, int span, int add) {
    for (int j = 0; j < N; j += 8) {
        const Matrix columns = block(b, 0, j);
        const int n = imin(8, N - j);
        if (M == 1) gemm_eight(c + j, ldc, a, columns, 1, n, K, span, add);     // its sums stay in registers
        else gemm_eight(c + j, ldc, a, columns, M, n, K, span, add);
    }
}

// Whether gemm_registers may read the rows of a where they lie, for n columns of b. If not, they are packed.
static int reads_well(Matrix a, int n) {
    if (a.col == 1) return 1;                           // its rows are contiguous
    if (a.col*sizeof(real) % 4096 == 0) return 0;       // its columns all fall into one set of the cache
    return n <= 4*NR;                                   // b is so narrow that a copy would be read too seldom
}

// gemm on one thread. The bits of c depend on span and KC, but not on how c is cut into tiles. In a causal
// product, panels and terms that do not count are skipped. Rows of a that do not fill MR are always packed,
// because gemm_registers reads MR of them.
static void gemm_tile(real *c, size_t ldc, Matrix a, Matrix b, int M, int N, int K, int span, int add,
                      Causal causal, int past) {
    static __thread real packed_a[(MC + 2*VL)*KC] __attribute__((aligned(64)));
    static __thread real packed_b[(NC + NR)*KC] __attribute__((aligned(64)));
    if (M <= FEW && a.col == 1 && b.row == 1) { gemm_few(c, ldc, a, b, M, N, K, span, add); return; }
    for (int i0 = 0; i0 < M; i0 += MC) for (int j0 = 0; j0 < N; j0 += NC) {
        const int m = imin(MC, M - i0), n = imin(NC, N - j0);
        const int unpacked = reads_well(a, n) ? m/MR*MR : 0;    // rows that are not packed: the first ones
        const int width = odd_vectors(m - unpacked)*VL;
        for (int k0 = 0, k; k0 < K; k0 += k) {
            k = run_length(k0, K, span);
            const Matrix rows = block(a, i0, k0), columns = block(b, k0, j0);
            const Matrix packed = strided(packed_a, 1, width);
            pack(packed_a, block(rows, unpacked, 0), m - unpacked, k, width);
            pack(packed_b, strided(columns.at, columns.col, columns.row), n, k, NR);
            for (int j = 0; j < n; j += NR) for (int i = 0; i < m; i += MR) {
                const int seen = i0 + i + MR + past;            // keys that the last of these queries sees
                int from = 0, to = k;                           // the terms that count
                if (causal == SCORES && j0 + j >= seen) continue;
                if (causal == AVERAGE) to = imin(k, seen - k0);
                if (causal == GRADIENT) from = imax(0, i0 + i - past - k0);
                if (from >= to) continue;
                const Matrix panel = i < unpacked ? block(rows, i, from) : block(packed, i - unpacked, from);
                gemm_registers(c + (i0 + i)*ldc + j0 + j, ldc, panel, packed_b + (size_t)j*k + from*NR,
                               imin(MR, m - i), imin(NR, n - j), to - from, add || k0);
            }
        }
    }
}

static void causal_product(real *c, size_t ldc, Matrix a, Matrix b, int M, int N, int K, int add,
                           Causal causal, int past) {
    gemm_tile(c, ldc, a, b, M, N, K, K, add, causal, past);
}

// Cuts M x N into equal tiles of whole panels, at most MC x NC, which is what the caches hold. A tile takes
// about (mc + 16)*(nc + 8)*K: packing, and its edges, count as 16 more rows and 8 more columns. The product
// ends with the thread that has the most tiles, and a quarter of a tile later, because threads are not
// equally fast. Of the cuts that give a thread one to eight tiles, this is the one that ends first.
// (16, 8 and 1/4 were fitted to the measured times of 1,300 cuts of a small model's products on Zen 4. What
// they choose is within 5 % of the best cut on average.)
static void choose_tiles(int *mc, int *nc, int M, int N, int threads) {
    double first = INFINITY;
    for (int most = NC; most >= NR; most /= 2) for (int each = 1; each <= 8; each++) {
        const int n = padded(ceil_div(N, ceil_div(N, most)), NR), columns = ceil_div(N, n);
        const int rows = imax(ceil_div(M, MC), each*threads/columns);
        const int m = padded(ceil_div(M, rows), MR);
        const int rounds = ceil_div(ceil_div(M, m)*columns, threads);
        const double end = (rounds + 0.25)*(m + 16)*(n + 8);
        if (end < first) {
            first = end;
            *mc = m;
            *nc = n;
        }
    }
}

void gemm(real *c, size_t ldc, Matrix a, Matrix b, int M, int N, int K, int span, int add) {
    int mc = MC, nc = NC;
    choose_tiles(&mc, &nc, M, N, omp_get_max_threads());
    #pragma omp parallel for collapse(2) schedule(dynamic)
    for (int i = 0; i < M; i += mc) for (int j = 0; j < N; j += nc) {
        gemm_tile(c + i*ldc + j, ldc, block(a, i, 0), block(b, 0, j), imin(mc, M - i), imin(nc, N - j),
                  K, span, add, DENSE, 0);
    }
}

// ---- sums over a row ---------------------------------------------------------------------------
// Each is VL interleaved partial sums: the compiler makes vector code of them, and their order does not
// depend on where a row lies in memory.

// From one row of attention's scratch to the next: an odd number of vectors.
static int scratch_row(int keys) { return odd_vectors(keys)*VL; }

static real sum_of_lanes(const real *lane) {
    real total = 0;
    for (int v = 0; v < VL; v++) total += lane[v];
    return total;
}

static real row_sum(const real *x, int n) {
    real lane[VL] = {0};
    int j = 0;
    for (; j + VL <= n; j += VL) {
        #pragma omp simd
        for (int v = 0; v < VL; v++) lane[v] += x[j + v];
    }
    for (int v = 0; j < n; j++, v++) lane[v] += x[j];
    return sum_of_lanes(lane);
}

static real row_dot(const real *x, const real *y, int n) {
    real lane[VL] = {0};
    int j = 0;
    for (; j + VL <= n; j += VL) {
        #pragma omp simd
        for (int v = 0; v < VL; v++) lane[v] += x[j + v]*y[j + v];
    }
    for (int v = 0; j < n; j++, v++) lane[v] += x[j]*y[j];
    return sum_of_lanes(lane);
}

static real row_max(const real *x, int n) {
    real lane[VL];
    for (int v = 0; v < VL; v++) lane[v] = x[0];
    int j = 0;
    for (; j + VL <= n; j += VL) {
        #pragma omp simd
        for (int v = 0; v < VL; v++) lane[v] = x[j + v] > lane[v] ? x[j + v] : lane[v];
    }
    for (; j < n; j++) lane[0] = x[j] > lane[0] ? x[j] : lane[0];
    for (int v = 1; v < VL; v++) lane[0] = lane[v] > lane[0] ? lane[v] : lane[0];
    return lane[0];
}

static void row_add(real *y, const real *x, int n) {
    #pragma omp simd
    for (int j = 0; j < n; j++) y[j] += x[j];
}

// e^x = 2^n e^r with n = round(x/ln 2), so |r| <= ln(2)/2, where eight terms of the Taylor series reach
// float precision. It is plain arithmetic, so that a loop over it becomes vector code; libm's exp would
// cost as much as the matrix products. x is clamped to [-87, 88]; a NaN stays a NaN. In double, which only
// the tests use, it is exp itself.
static inline real fast_exp(real x) {
    if (sizeof(real) == sizeof(double)) return (real)exp((double)x);
    const float to_integer = 12582912.0f;                   // 1.5 * 2^23: adding it rounds, and leaves n
    float y = (float)x;                                     // in the low bits
    y = y < -87.0f ? -87.0f : y;
    y = y > 88.0f ? 88.0f : y;
    const float shifted = y*1.44269504f + to_integer, n = shifted - to_integer;
    const float r = y - n*0.693145752f - n*1.42860677e-6f;  // ln 2 in two parts: n times the first is exact
    const float series = 1 + r*(1 + r*(1.0f/2 + r*(1.0f/6 + r*(1.0f/24 + r*(1.0f/120
                       + r*(1.0f/720 + r*(1.0f/5040)))))));
    int32_t bits;
    float power;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int32_t)((uint32_t)bits << 23) + (127 << 23);   // n becomes a float's exponent
    memcpy(&power, &bits, sizeof power);
    return (real)(series*power);
}

static real row_exp(real *y, const real *x, real scale, real shift, int n) {
    real lane[VL] = {0};
    int j = 0;
    for (; j + VL <= n; j += VL) {
        #pragma omp simd
        for (int v = 0; v < VL; v++) {
            y[j + v] = fast_exp(scale*x[j + v] - shift);
            lane[v] += y[j + v];
        }
    }
    for (int v = 0; j < n; j++, v++) {
        y[j] = fast_exp(scale*x[j] - shift);
        lane[v] += y[j];
    }
    return sum_of_lanes(lane);
}

// ---- ranks and their pieces --------------------------------------------------------------------
// Several processes, each with a card of its own, can train one model: rank 0, 1, ... world - 1. (The CPU
// is always rank 0 of 1.) Each has all weights and takes its share of every batch; the gradients of all are
// added up. What only the optimizer needs is cut into pieces, and each rank keeps its own (ZeRO; Rajbhandari
// et al. 2020, arXiv 1910.02054): with --shard optimizer the moments, with --shard gradients also the sums
// of gradients.
//
// The flat arrays are cut into segments (the embedding, each layer, the head), because a layer's
// gradients can leave as soon as they are complete, while those of the layers below are still to come.
// A segment is cut into `world` pieces of equal length, a multiple of 8; the last piece also has what
// remains. A rank's own arrays hold its pieces, one after the other.

static struct {
    int rank, world;                                // which of how many
    int local;                                      // which of those on this machine
    int forked;                                     // 1: started by --gpus
    int shard_gradients;
    double exposed;                                 // seconds of the last update in which a device waited
} ranks = { 0, 1, 0, 0, 0, 0 };

enum { MAX_SEGMENTS = MAX_LAYERS + 2 };
typedef struct {
    int n;
    size_t begin[MAX_SEGMENTS + 1];                 // segment k is [begin[k], begin[k+1])
    size_t at[MAX_SEGMENTS + 1];                    // where a rank's own arrays hold its piece
} Segments;

typedef struct { size_t begin, end; int segment, owner; } Piece;

// The rank's piece of the segment, as a range of the flat arrays.
static Piece piece_of(const Segments *s, int segment, int rank) {
    const size_t begin = s->begin[segment], end = s->begin[segment + 1];
    const size_t length = (end - begin)/(size_t)ranks.world/8*8;
    const Piece p = { begin + (size_t)rank*length,
                      rank + 1 < ranks.world ? begin + (size_t)(rank + 1)*length : end, segment, rank };
    return p;
}

// The piece in which the element at `offset` of a flat array lies.
Piece piece_at(const Segments *s, size_t offset) {
    int k = 0, r = 0;
    while (offset >= s->begin[k + 1]) k++;
    while (offset >= piece_of(s, k, r).end) r++;
    return piece_of(s, k, r);
}

// Cuts the flat arrays where the layer changes. A rank that is alone has one segment, and owns all of it.
Segments segments_of(const Layout *layout) {
    Segments s;
    s.n = 0;
    s.at[0] = 0;
    for (int k = 0; k < layout->n; k++) {
        const Tensor *t = &layout->tensor[k];
        const int same_layer = k && t->layer >= 0 && t->layer == t[-1].layer;
        if (k == 0 || (ranks.world > 1 && !same_layer)) s.begin[s.n++] = t->offset;
    }
    s.begin[s.n] = layout->size;
    for (int k = 0; k < s.n; k++) {
        const Piece mine = piece_of(&s, k, ranks.rank);
        s.at[k + 1] = s.at[k] + mine.end - mine.begin;
    }
    return s;
}

// ---- the table ---------------------------------------------------------------------------------
// Everything below this section computes through such a table, and never touches a model directly:
// another device is another table, and no other change.

typedef enum { PARAMS, GRADS, MOMENT1, MOMENT2 } Space;     // the flat arrays; all have olmo_layout's offsets

typedef struct { const char *name; size_t bytes; int on_host; } Memory;    // one entry of a memory plan
enum { MAX_MEMORY = 16 };

// How to save memory at the price of time; the bits stay the same. The command line sets it, and devices
// that can save memory heed it.
typedef struct { const char *recompute; int offload_optimizer; } Saving;
static Saving saving = { "swiglu", 0 };

typedef struct {
    const char *name;

    // Why several of this device cannot share a run; NULL: they can.
    const char *alone;

    // Each rank chooses its card, and connects it to those of the others. NULL: there is nothing to choose.
    void (*open)(void);

    // What a model for passes over B x T tokens will take, entry by entry. Returns how many entries, at
    // most MAX_MEMORY.
    int (*memory)(Memory *plan, const Config *c, int training, int B, int T);

    // A model whose numbers are all zero. Without training it has no gradients and no moments, and its
    // forward pass keeps no activations.
    void *(*build)(const Config *c, int training);
    void (*destroy)(void *model);

    // tokens, targets [B,T] -> losses, zlosses [B,T]. backward will take the gradient of their sum weighted
    // by weights[b,t]; NULL: no backward pass follows.
    void (*forward)(void *model, real *losses, real *zlosses, const int *tokens, const int *targets,
                    const real *weights, int B, int T);

    // tokens, positions, targets [N] -> losses, zlosses [N] of texts that begin alike (olmo_forward_tree).
    // NULL: a device without such a pass; these texts go through forward, a row each.
    void (*forward_tree)(void *model, real *losses, real *zlosses, const int *tokens, const int *positions,
                         const int *targets, int N);

    // Once per forward with weights. Gradients add up until update clears them. last: an update comes
    // next. All ranks make equally many passes.
    void (*backward)(void *model, int last);

    // Returns the norm of the gradients of all ranks before clipping; if that is not finite, nothing is
    // changed.
    double (*update)(void *model, const AdamW *adamw);

    // logits[V] after n more tokens of one sequence, of which the model has seen `past`.
    void (*decode)(void *model, real *logits, const int *tokens, int n, int past);

    // Copies `count` numbers of one of the flat arrays to or from the host. All ranks do so together,
    // because each has only its pieces.
    void (*get)(void *model, Space space, size_t offset, size_t count, real *host);
    void (*set)(void *model, Space space, size_t offset, size_t count, const real *host);

    // What a model without training keeps its weights in: "fp32", or "bf16", to which set rounds them.
    const char *stores;

    int is_card;                                            // 1: it heeds `saving`, and counts its energy
} Device;

static void add_memory(Memory *plan, int *n, const char *name, size_t bytes) {
    plan[*n].name = name;
    plan[*n].bytes = bytes;
    plan[*n].on_host = 0;
    ++*n;
}

static int cpu_memory(Memory *plan, const Config *c, int training, int B, int T) {
    static Layout layout;
    static Acts acts;
    Weights unused;
    olmo_layout(&layout, &unused, NULL, c);
    acts_layout(&acts, NULL, c, training, B, T);
    const size_t weights = layout.size*sizeof(real);
    int n = 0;
    add_memory(plan, &n, "weights", weights);
    if (training) add_memory(plan, &n, "gradients", weights);
    if (training) add_memory(plan, &n, "AdamW", 2*weights);
    add_memory(plan, &n, "activations", acts.kept_bytes);
    add_memory(plan, &n, "logits", acts.logits_bytes);
    add_memory(plan, &n, "workspace", acts.work_bytes);
    add_memory(plan, &n, "KV cache", cache_size(c)*sizeof(real));
    return n;
}
static void *cpu_build(const Config *c, int training) { return olmo_build(c, training); }
static void cpu_destroy(void *m) { olmo_free((Olmo *)m); }
static void cpu_forward(void *m, real *losses, real *zlosses, const int *tokens, const int *targets,
                        const real *weights, int B, int T) {
    olmo_forward((Olmo *)m, losses, zlosses, tokens, targets, weights, B, T);
}
static void cpu_forward_tree(void *m, real *losses, real *zlosses, const int *tokens, const int *positions,
                             const int *targets, int N) {
    olmo_forward_tree((Olmo *)m, losses, zlosses, tokens, positions, targets, N);
}
static void cpu_backward(void *m, int last) {
    (void)last;                                             // for ranks, which then send their gradients
    olmo_backward((Olmo *)m);
}
static double cpu_update(void *m, const AdamW *adamw) { return olmo_update((Olmo *)m, adamw); }
static void cpu_decode(void *m, real *logits, const int *tokens, int n, int past) {
    olmo_decode((Olmo *)m, logits, tokens, n, past);
}

static real *space_of(void *model, Space space) {
    Olmo *m = (Olmo *)model;
    switch (space) {
        case PARAMS: return m->params;
        case GRADS: return m->grads;
        case MOMENT1: return m->moment1;
        default: return m->moment2;
    }
}
static void cpu_get(void *m, Space space, size_t offset, size_t count, real *host) {
    memcpy(host, space_of(m, space) + offset, count*sizeof(real));
}
static void cpu_set(void *m, Space space, size_t offset, size_t count, const real *host) {
    memcpy(space_of(m, space) + offset, host, count*sizeof(real));
}

static const Device cpu_device = {
    "cpu", "this is the program for the CPU; train_olmo_cu trains on several cards", NULL, cpu_memory,
    cpu_build, cpu_destroy, cpu_forward, cpu_forward_tree, cpu_backward, cpu_update, cpu_decode,
    cpu_get, cpu_set, "fp32", 0,
};

// A model on a device, as what stands below takes it. It is a view, like a Matrix: a copy is the same model.
typedef struct {
    const Device *device;
    void *handle;                                           // what device->build has returned
    const Config *config;
    const Layout *layout;
} Model;

// ================================================================================================
// 6. Files: JSON, safetensors, Hugging Face directories, checkpoints
// ================================================================================================
// No file is trusted before it has been checked.

// ---- paths and files ---------------------------------------------------------------------------

enum { PATH = 4096 };                           // bytes that a path may have
enum { CHUNK = 1 << 16 };                       // numbers moved at a time between a file and a device

// Writes a path into out[PATH], as printf would.
static void path_print(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void path_print(char *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(out, PATH, format, args);
    va_end(args);
    CHECK(n < PATH, "%s...: this path is longer than %d bytes", out, PATH - 1);
}
static void path_join(char *out, const char *directory, const char *name) {
    path_print(out, "%s/%s", directory, name);
}
static int file_exists(const char *path) { struct stat s; return stat(path, &s) == 0; }

// Several ranks note here what each reads, because all must read the same.
static void (*on_reading)(const char *path) = NULL;

// Looks before it opens, because opening a pipe would wait for a writer, perhaps for ever.
static FILE *open_to_read(const char *path, size_t *size) {
    struct stat s;
    CHECK(stat(path, &s) == 0, "%s: cannot be read: %s", path, strerror(errno));
    CHECK(S_ISREG(s.st_mode), "%s: expected a file, found something else", path);
    FILE *file = fopen(path, "rb");
    CHECK(file && fstat(fileno(file), &s) == 0, "%s: cannot be read: %s", path, strerror(errno));
    *size = (size_t)s.st_size;
    if (on_reading) on_reading(path);
    return file;
}

// Makes the directories that a file's path leads through: of a/b/c.bin, a and a/b.
static void make_parents(const char *path) {
    char part[PATH];
    for (const char *slash = path; (slash = strchr(slash, '/')) != NULL; slash++) {
        path_print(part, "%.*s", (int)(slash - path), path);
        CHECK(!*part || mkdir(part, 0777) == 0 || errno == EEXIST,
              "%s: cannot make this directory: %s", part, strerror(errno));
    }
}

// Makes a directory, and those above it.
static void make_directory(const char *path) {
    char inside[PATH];
    path_join(inside, path, "");
    make_parents(inside);
}

// Written bytes are only safe once they have reached the disk. A full disk may say so only here.
static void flush_written(FILE *file, const char *path) {
    int failed = fflush(file) || ferror(file);
    // Some file systems have no fsync.
    if (!failed && fsync(fileno(file))) failed = errno != EINVAL && errno != ENOTSUP;
    CHECK(!failed, "%s: writing failed: %s; is the disk full?", path, strerror(errno));
}
static void close_written(FILE *file, const char *path) {
    flush_written(file, path);
    CHECK(fclose(file) == 0, "%s: writing failed: %s; is the disk full?", path, strerror(errno));
}
static FILE *open_to_write(const char *path) {
    FILE *file = fopen(path, "wb");
    CHECK(file, "%s: cannot be written: %s", path, strerror(errno));
    return file;
}

// A whole small file as a string. No text of ours is larger than 100 MB, or has a NUL byte.
static char *read_text(const char *path) {
    size_t size;
    FILE *file = open_to_read(path, &size);
    CHECK(size < 100 << 20, "%s: expected a small JSON text, found %zu bytes", path, size);
    char *text = (char *)allocate(size + 1, 1, path);
    size_t got = fread(text, 1, size, file);
    fclose(file);
    CHECK(got == size, "%s: %zu of %zu bytes could be read", path, got, size);
    CHECK(strlen(text) == got, "%s: expected text, found a NUL byte at byte %zu", path, strlen(text));
    return text;
}

// The path of this program's file, links followed; empty where the system does not say.
static char *own_path(char *out) {
    ssize_t n = readlink("/proc/self/exe", out, PATH - 1);
    out[n > 0 ? n : 0] = 0;
    return out;
}

// ---- directories that are whole, or not there --------------------------------------------------
// A directory that others may read, a checkpoint above all, is written under the name PATH.tmp, and gets its
// own name when its last file is on the disk. So whenever the power fails, what has that name is whole.

// Removes the plain files in a directory: a checkpoint has no others.
static void empty_directory(const char *path) {
    DIR *directory = opendir(path);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL; ) {
        char file[PATH];
        if (snprintf(file, sizeof file, "%s/%s", path, entry->d_name) < PATH) unlink(file);
    }
    closedir(directory);
}
static int remove_directory(const char *path) {              // returns whether it could
    empty_directory(path);
    return rmdir(path) == 0;
}

// After this, a rename in the directory survives a power failure.
static void sync_directory(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd >= 0) { fsync(fd); close(fd); }
}

// Only one run may write into a directory. The lock belongs to the process: however that ends, the
// directory is free again. Returns the lock, a file descriptor.
static int lock_directory(const char *path) {
    static int told;
    struct stat locked, named;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0, "%s: cannot be opened: %s", path, strerror(errno));
    int ours = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!ours && errno != EWOULDBLOCK) {
        if (!told++) fprintf(stderr, "note: %s: cannot be locked (%s); let no second run write into it\n",
                             path, strerror(errno));
        return fd;
    }
    // Before we locked it, its owner may have moved it and made another of this name.
    ours = ours && fstat(fd, &locked) == 0 && stat(path, &named) == 0 && locked.st_ino == named.st_ino;
    CHECK(ours, "%s: another run is writing into this directory; wait for its end, or choose another",
          path);
    return fd;
}

// Whoever begins or finishes a directory, or removes one that is not whole, holds this lock: no other thread
// may do any of these meanwhile.
static pthread_mutex_t finishing = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void set_half_written(const char *path) {
    pthread_mutex_lock(&finishing);
    half_written = path;
    pthread_mutex_unlock(&finishing);
}
// Renames a directory; then half_written is `half`. Returns whether it could.
static int rename_directory(const char *from, const char *to, const char *half) {
    pthread_mutex_lock(&finishing);
    const int renamed = rename(from, to) == 0;
    if (renamed) half_written = half;
    pthread_mutex_unlock(&finishing);
    return renamed;
}
// The program is about to end, so it keeps the lock: no other thread begins anything more.
static void remove_half_written(void) {
    pthread_mutex_lock(&finishing);
    // A thread that is writing may add one more file; for the next one it finds no directory.
    for (int i = 0; half_written && i < 10 && file_exists(half_written); i++) remove_directory(half_written);
}

// Sets temporary[PATH] to PATH.tmp, an empty directory, and returns its lock: another run may want it, too.
static int begin_directory(const char *path, char *temporary) {
    path_print(temporary, "%s.tmp", path);
    pthread_mutex_lock(&finishing);
    make_directory(temporary);
    const int lock = lock_directory(temporary);
    set_half_written(temporary);
    pthread_mutex_unlock(&finishing);
    empty_directory(temporary);
    return lock;
}
static void finish_directory(const char *path, const char *temporary, int lock) {
    sync_directory(temporary);
    CHECK(rename_directory(temporary, path, NULL), "%s: cannot be renamed to %s: %s", temporary, path,
          strerror(errno));
    close(lock);
}

// ---- stopping ----------------------------------------------------------------------------------
// SIGINT, SIGTERM and SIGHUP ask a training run to save what it has, and to end. All that may take
// longer than a moment looks at asked_to_stop: a batch after each pass, validation, samples. A second
// signal ends the program at once. But a terminal and a program around ours may both send one, so
// signals closer than a fifth of a second count as one.
//
// Several ranks must stop at the same step. A signal sets only asked_here, and agreed_to_stop
// (data/ranks.c) sets asked_to_stop on all ranks if one was asked.

static volatile sig_atomic_t asked_to_stop = 0, asked_here = 0;

// On stderr, from a signal handler, which may not call printf.
static void say(const char *text) {
    if (write(2, text, strlen(text)) < 0) return;           // nobody there to read it
}

static void on_signal(int number) {
    static double first;
    if (!asked_here) {
        first = seconds();
        asked_here = 1;
        asked_to_stop = ranks.world == 1;
        say("note: asked to stop; a second signal ends at once\n");
        return;
    }
    if (seconds() - first > 0.2) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

// A signal that is ignored already (by nohup, say) stays ignored.
static void heed_signals(void) {
    const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    for (int i = 0; i < 3; i++) {
        if (signal(numbers[i], on_signal) == SIG_IGN) signal(numbers[i], SIG_IGN);
    }
}

// ---- JSON --------------------------------------------------------------------------------------
// json_skip checks a text once. From then on a value is a pointer to where it starts, and is found by
// walking over the values before it.

static const char *json_space(const char *s) { return s + strspn(s, " \t\r\n"); }

static const char *json_skip(const char *s, int depth);

static const char *json_skip_string(const char *s) {
    for (s++; *s != '"'; s++) {
        if (*s == '\\' && !strchr("\"\\/bfnrtu", *++s)) return NULL;
        if ((unsigned char)*s < ' ') return NULL;           // the text's end, too
    }
    return s + 1;
}

// An object or an array.
static const char *json_skip_members(const char *s, int depth) {
    const char close = *s == '{' ? '}' : ']';
    if (depth == 64) return NULL;                           // deeper than any file of ours: hostile
    s = json_space(s + 1);
    if (*s == close) return s + 1;
    for (;; s++) {
        if (close == '}') {
            s = json_space(s);
            if (*s != '"' || !(s = json_skip_string(s)) || *(s = json_space(s)) != ':') return NULL;
            s++;
        }
        if (!(s = json_skip(s, depth + 1))) return NULL;
        s = json_space(s);
        if (*s == close) return s + 1;
        if (*s != ',') return NULL;
    }
}

static const char *json_skip_number(const char *s) {
    const size_t digits = strspn(s, "0123456789+-.eE");
    char *end;
    if (!digits || (*s != '-' && (*s < '0' || *s > '9'))) return NULL;
    (void)strtod(s, &end);
    return end == s + digits ? end : NULL;
}

// The end of the JSON value that starts at s, or NULL if there is none.
static const char *json_skip(const char *s, int depth) {
    // The last three are not JSON, but Python's json module writes them.
    static const char *const words[] = { "true", "false", "null", "NaN", "Infinity", "-Infinity" };
    s = json_space(s);
    if (*s == '"') return json_skip_string(s);
    if (*s == '{' || *s == '[') return json_skip_members(s, depth);
    for (int i = 0; i < 6; i++) {
        const size_t length = strlen(words[i]);
        if (!strncmp(s, words[i], length)) return s + length;
    }
    return json_skip_number(s);
}

// A value as a sentence quotes it: on one line, whole or cut between two of its parts. The text is valid
// until the fourth call after this one.
static const char *json_quoted(const char *value) {
    enum { LONGEST = 80 };
    static char text[4][LONGEST + 8];
    static int turn;
    char *out = text[turn = (turn + 1) % 4];
    const char *end = value ? json_skip(value, 0) : NULL;
    int n = 0, part = 0;                                    // part: where the last whole part ends
    if (!end) return "none";
    for (const char *s = value; s < end && n < LONGEST; s++) {
        // A string may be cut between any two letters, anything else before a comma.
        const int between = *value == '"' ? ((unsigned char)*s & 0xc0) != 0x80 : *s == ',';
        if (between && n) part = n;
        if (*s != '\n') out[n++] = *s;
        else if (s += strspn(s, " \t\r\n") - 1, out[n - 1] != ' ') out[n++] = ' ';
        if (s + 1 == end) part = n;
    }
    snprintf(out + part, 8, part == n ? "" : " ...");
    return out;
}

// Walking over an object's members: json_first and json_next return a member's value, and its key;
// NULL after the last, and of any other value. (json_member: the member whose key is at `at`.)
static const char *json_member(const char *at, const char **key) {
    at = json_space(at);
    if (*at != '"') return NULL;
    *key = at;
    return json_space(json_space(json_skip(at, 0)) + 1);
}
static const char *json_first(const char *object, const char **key) {
    object = json_space(object);
    return *object == '{' ? json_member(object + 1, key) : NULL;
}
static const char *json_next(const char *value, const char **key) {
    const char *at = json_space(json_skip(value, 0));
    return *at == ',' ? json_member(at + 1, key) : NULL;
}

// Whether the string at s is `text`. (No name of ours needs escapes.)
static int json_is(const char *s, const char *text) {
    size_t n = strlen(text);
    return *s == '"' && !strncmp(s + 1, text, n) && s[n + 1] == '"';
}

// The value of the member `name`, or NULL.
static const char *json_get(const char *object, const char *name) {
    const char *key, *value = json_first(object, &key);
    while (value && !json_is(key, name)) value = json_next(value, &key);
    return value;
}

// The object that the text must be. Dies with a sentence if it is anything else.
static const char *json_root(const char *text, const char *path) {
    const char *start = json_space(text), *end = json_skip(start, 0);
    CHECK(*start == '{' && end && !*json_space(end),
          "%s: expected one JSON object; this is not JSON, or it is cut off", path);
    return start;
}

// The number under `name`; dies if it is not within [low, high]. If it is absent or null, returns
// `otherwise`, or dies where that is NAN.
static double json_number(const char *object, const char *path, const char *name, double low,
                          double high, double otherwise) {
    const char *value = json_get(object, name);
    if (!value || *value == 'n') {
        CHECK(!isnan(otherwise), "%s: expected a number \"%s\", found none", path, name);
        return otherwise;
    }
    char *end;
    double number = strtod(value, &end);
    CHECK(end != value && number >= low && number <= high,
          "%s: expected \"%s\" to be a number from %.10g to %.10g, found %s", path, name, low, high,
          json_quoted(value));
    return number;
}
static double json_whole(const char *object, const char *path, const char *name, double low,
                         double high, double otherwise) {
    double number = json_number(object, path, name, low, high, otherwise);
    CHECK(number == floor(number), "%s: expected \"%s\" to be a whole number, found %g", path, name,
          number);
    return number;
}
static int json_int(const char *object, const char *path, const char *name, int low, int high,
                    double otherwise) {
    return (int)json_whole(object, path, name, low, high, otherwise);
}
// Whether `name` is true; absent or null is false.
static int json_flag(const char *object, const char *path, const char *name) {
    const char *value = json_get(object, name);
    if (!value || *value == 'n') return 0;
    CHECK(*value == 't' || *value == 'f', "%s: expected \"%s\" to be true or false, found %s", path, name,
          json_quoted(value));
    return *value == 't';
}

// The whole numbers of an array, at most `most`. Returns how many, or -1 if the array holds more or
// anything else.
static int json_whole_numbers(const char *array, size_t *out, int most) {
    int n = 0;
    if (*array != '[') return -1;
    for (const char *s = json_space(array + 1); *s != ']'; s = json_space(s + (*s == ','))) {
        size_t digits = strspn(s, "0123456789");
        if (n == most || digits == 0 || digits > 18 || json_skip(s, 0) != s + digits) return -1;
        out[n++] = strtoull(s, NULL, 10);
        s = json_space(s + digits);
    }
    return n;
}

// A string as JSON has it, quotes included.
static void write_json_string(FILE *file, const char *s) {
    fputc('"', file);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', file);
        if ((unsigned char)*s < ' ') fprintf(file, "\\u%04x", *s); else fputc(*s, file);
    }
    fputc('"', file);
}

// ---- number formats ----------------------------------------------------------------------------
// Weights are F32, BF16 or F16; the types from NO_WEIGHT on are those of buffers, which a file may hold
// beside weights.
typedef enum { F32, BF16, F16, NO_WEIGHT } Dtype;
static const struct { const char *safetensors, *torch; int size; } dtypes[] = {
    { "F32", "float32", 4 }, { "BF16", "bfloat16", 2 }, { "F16", "float16", 2 },
    { "F64", NULL, 8 }, { "I64", NULL, 8 }, { "U64", NULL, 8 }, { "I32", NULL, 4 }, { "U32", NULL, 4 },
    { "I16", NULL, 2 }, { "U16", NULL, 2 }, { "I8", NULL, 1 }, { "U8", NULL, 1 }, { "BOOL", NULL, 1 },
    { "F8_E4M3", NULL, 1 }, { "F8_E5M2", NULL, 1 }, { "F8_E8M0", NULL, 1 },
};
enum { DTYPES = sizeof dtypes/sizeof *dtypes };

// The number in n bytes, the lowest first.
static uint64_t little_endian(const unsigned char *p, int n) {
    uint64_t x = 0;
    for (int byte = n - 1; byte >= 0; byte--) x = x << 8 | p[byte];
    return x;
}

// bfloat16 is the upper half of a float. A float is rounded to the nearest, ties to even; a NaN stays one.
static float float_from_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static uint16_t bf16_from_float(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if (isnan(f)) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

// float16 has 1 + 5 + 10 bits; the value is +-(1024 + fraction)*2^(exponent - 25), or
// fraction*2^-24 where exponent is 0.
static float float_from_f16(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    float f = exponent == 31 ? (fraction ? NAN : INFINITY)
            : exponent ? ldexpf((float)(1024 + fraction), exponent - 25)
            : ldexpf((float)fraction, -24);
    return h & 0x8000 ? -f : f;
}
static uint16_t f16_from_float(float f) {
    uint16_t sign = signbit(f) ? 0x8000 : 0;
    if (isnan(f)) return sign | 0x7e00;
    int exponent = -24;
    if (f != 0) frexpf(f, &exponent);                       // |f| in [2^(exponent-1), 2^exponent)
    int shift = imax(exponent - 11, -24);                   // the last bit is worth 2^shift
    // Ties to even, as the processor rounds.
    float units = isinf(f) ? INFINITY : rintf(ldexpf(fabsf(f), -shift));
    if (ldexpf(units, shift) >= 65520) return sign | 0x7c00;
    // 1024 + fraction carries into the exponent.
    return (uint16_t)(sign | ((shift + 24)*1024 + (int)units));
}

static void floats_from(float *out, const unsigned char *in, size_t count, Dtype type) {
    for (size_t i = 0; i < count; i++) {
        uint16_t h;
        if (type == F32) { memcpy(out + i, in + 4*i, 4); continue; }
        memcpy(&h, in + 2*i, 2);
        out[i] = type == BF16 ? float_from_bf16(h) : float_from_f16(h);
    }
}
static void floats_to(unsigned char *out, const real *in, size_t count, Dtype type) {
    for (size_t i = 0; i < count; i++) {
        float f = (float)in[i];
        if (type == F32) { memcpy(out + 4*i, &f, 4); continue; }
        uint16_t h = type == BF16 ? bf16_from_float(f) : f16_from_float(f);
        memcpy(out + 2*i, &h, 2);
    }
}

// ---- safetensors -------------------------------------------------------------------------------
// 8 bytes: the length n of a header (little-endian); n bytes: JSON {"name": {"dtype", "shape",
// "data_offsets"}, ...}; then the numbers. Offsets count from the end of the header; the tensors
// must tile the rest of the file exactly.

typedef struct {
    char name[128];
    Dtype type;
    size_t rows, cols;                          // cols: all dimensions but the first, multiplied
    int dims;
    size_t begin, end;                          // in bytes
} Entry;

typedef struct {
    char path[PATH];
    FILE *file;
    size_t data;                                // where the numbers begin in the file
    int n;
    Entry *entry;
} Safetensors;

static int by_begin(const void *a, const void *b) {
    size_t x = ((const Entry *)a)->begin, y = ((const Entry *)b)->begin;
    return (x > y) - (x < y);
}

static void read_entry(Entry *e, const char *path, const char *key, const char *value) {
    const char *dtype = json_get(value, "dtype"), *shape = json_get(value, "shape");
    const char *offsets = json_get(value, "data_offsets");
    int length = (int)(json_skip(key, 0) - key) - 2;
    CHECK(length > 0 && length < (int)sizeof e->name,
          "%s: a tensor's name is %d bytes long; expected 1 to %zu", path, length, sizeof e->name - 1);
    memcpy(e->name, key + 1, (size_t)length);
    CHECK(dtype && shape && offsets, "%s: tensor %s lacks a dtype, a shape or data_offsets", path,
          e->name);
    int type = 0, n;
    while (type < DTYPES && !json_is(dtype, dtypes[type].safetensors)) type++;
    CHECK(type < DTYPES, "%s: tensor %s has dtype %s; expected F32, BF16 or F16", path, e->name,
          json_quoted(dtype));
    e->type = (Dtype)type;
    size_t dim[4] = {1, 1, 1, 1}, bound[2] = {0, 0}, count = 1;
    e->dims = json_whole_numbers(shape, dim, 4);
    CHECK(e->dims >= 0, "%s: tensor %s has shape %s; expected at most four whole numbers", path,
          e->name, json_quoted(shape));
    for (int i = 0; i < e->dims; i++) {
        CHECK(dim[i] == 0 || count <= ((size_t)1 << 50)/dim[i],
              "%s: tensor %s has shape %s, which is larger than any file", path, e->name,
              json_quoted(shape));
        count *= dim[i];
    }
    n = json_whole_numbers(offsets, bound, 2);
    const size_t bytes = count*dtypes[type].size;
    CHECK(n == 2 && bound[0] <= bound[1] && bound[1] - bound[0] == bytes,
          "%s: tensor %s needs %zu bytes for its shape, but data_offsets are %s", path, e->name, bytes,
          json_quoted(offsets));
    e->begin = bound[0];
    e->end = bound[1];
    e->rows = dim[0];
    e->cols = count/(dim[0] ? dim[0] : 1);
}

static Safetensors *safetensors_open(const char *path) {
    Safetensors *st = (Safetensors *)allocate(1, sizeof *st, path);
    path_print(st->path, "%s", path);
    size_t size;
    st->file = open_to_read(path, &size);
    unsigned char bytes[8];
    CHECK(size >= 8 && fread(bytes, 1, 8, st->file) == 8,
          "%s: expected a safetensors file, found %zu bytes", path, size);
    const size_t length = little_endian(bytes, 8);
    CHECK(length >= 2 && length <= size - 8 && length < 100 << 20,
          "%s: expected a safetensors header, found one of %zu bytes in a file of %zu; is it cut off, or not "
          "safetensors?", path, length, size);
    char *header = (char *)allocate(length + 1, 1, path);
    CHECK(fread(header, 1, length, st->file) == length, "%s: the header could not be read", path);
    CHECK(strlen(header) == length, "%s: the header holds a NUL byte; it is damaged", path);
    const char *object = json_root(header, path), *key, *value;
    for (value = json_first(object, &key); value; value = json_next(value, &key))
        st->n += !json_is(key, "__metadata__");
    st->entry = (Entry *)allocate((size_t)st->n, sizeof(Entry), path);
    int n = 0;
    for (value = json_first(object, &key); value; value = json_next(value, &key)) {
        if (json_is(key, "__metadata__")) continue;
        CHECK(*value == '{', "%s: expected an object for each tensor, found %s", path,
              json_quoted(value));
        read_entry(&st->entry[n++], path, key, value);
    }
    release(header);
    st->data = 8 + length;
    qsort(st->entry, (size_t)st->n, sizeof(Entry), by_begin);
    size_t end = 0;
    for (int i = 0; i < st->n; i++) {
        CHECK(st->entry[i].begin == end,
              "%s: tensor %s starts at byte %zu of the data, but the one before it ends at %zu; they must "
              "not overlap or leave holes", path, st->entry[i].name, st->entry[i].begin, end);
        end = st->entry[i].end;
    }
    CHECK(end == size - st->data,
          "%s: the header describes %zu bytes of numbers, the file has %zu; is it cut off?", path, end,
          size - st->data);
    return st;
}

static void safetensors_close(Safetensors *st) {
    fclose(st->file);
    release(st->entry);
    release(st);
}

static const Entry *safetensors_find(const Safetensors *st, const char *name) {
    for (int i = 0; i < st->n; i++) if (!strcmp(st->entry[i].name, name)) return &st->entry[i];
    return NULL;
}

// Numbers [first, first + n) of a tensor, at most CHUNK of them.
static void read_numbers(float *out, const Safetensors *st, const Entry *e, size_t first, size_t n) {
    static unsigned char bytes[4*CHUNK];
    const size_t size = (size_t)dtypes[e->type].size;
    const off_t at = (off_t)(st->data + e->begin + first*size);
    CHECK(fseeko(st->file, at, SEEK_SET) == 0 && fread(bytes, size, n, st->file) == n,
          "%s: the numbers of tensor %s could not be read", st->path, e->name);
    floats_from(out, bytes, n, e->type);
}

// Copies a tensor into one of the device's flat arrays, a chunk at a time. Every number must be finite.
static void safetensors_read(const Safetensors *st, const Entry *e, Model m, Space space, size_t offset) {
    static float floats[CHUNK];
    static real numbers[CHUNK];
    const size_t count = e->rows*e->cols;
    CHECK(e->type < NO_WEIGHT, "%s: tensor %s has dtype %s; expected F32, BF16 or F16", st->path,
          e->name, dtypes[e->type].safetensors);
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = zmin(CHUNK, count - done);
        read_numbers(floats, st, e, done, n);
        for (size_t i = 0; i < n; i++) {
            CHECK(isfinite(floats[i]),
                  "%s: tensor %s has the value %f at element %zu; expected finite numbers",
                  st->path, e->name, (double)floats[i], done + i);
            CHECK(space != MOMENT2 || floats[i] >= 0,
                  "%s: tensor %s, a mean of squares, has the value %g", st->path, e->name,
                  (double)floats[i]);
            numbers[i] = (real)floats[i];
        }
        m.device->set(m.handle, space, offset + done, n, numbers);
    }
}

// Whether two tensors hold the same numbers.
static int safetensors_same(const Safetensors *a, const Entry *x, const Safetensors *b,
                            const Entry *y) {
    static float p[CHUNK], q[CHUNK];
    const size_t count = x->rows*x->cols;
    if (x->rows != y->rows || x->cols != y->cols || x->type >= NO_WEIGHT || y->type >= NO_WEIGHT)
        return 0;
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = zmin(CHUNK, count - done);
        read_numbers(p, a, x, done, n);
        read_numbers(q, b, y, done, n);
        if (memcmp(p, q, n*sizeof *p)) return 0;
    }
    return 1;
}

// A tensor in a file that we write: numbers of one of the device's flat arrays, under a name. It is a
// matrix, or (dims 1) a vector of `rows` numbers, like the Tensor that they belong to.
typedef struct {
    char name[96];
    Space space;
    size_t offset;
    int rows, cols, dims;
    int shard;                                  // which of the files it is in
} Slice;

static Slice slice_of(const Tensor *t, Space space, size_t offset, int rows) {
    Slice s = { "", space, offset, rows, t->cols, t->dims, 0 };
    return s;
}
static size_t slice_bytes(const Slice *s, Dtype type) {
    return (size_t)s->rows*s->cols*dtypes[type].size;
}

static int has_shape_of(const Entry *e, const Slice *s) {
    return e->dims == s->dims && e->rows == (size_t)s->rows && e->cols == (size_t)s->cols;
}

// Writes the header of a file that holds these slices, padded so that the numbers start aligned.
static void safetensors_header(FILE *text, const Slice *slice, int n, Dtype type) {
    size_t end = 0;
    // Transformers refuses a file without "format".
    fprintf(text, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < n; i++) {
        const Slice *s = &slice[i];
        fprintf(text, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%d", s->name, dtypes[type].safetensors, s->rows);
        if (s->dims == 2) fprintf(text, ",%d", s->cols);
        fprintf(text, "],\"data_offsets\":[%zu,", end);
        end += slice_bytes(s, type);
        fprintf(text, "%zu]}", end);
    }
    fputc('}', text);
    while (ftell(text) % 8) fputc(' ', text);
}

// Writes a file of these slices, a chunk at a time from the device. Every number must be finite.
static void safetensors_write(const char *path, const Slice *slice, int n, Dtype type, Model m) {
    static real numbers[CHUNK];
    static unsigned char bytes[4*CHUNK];
    char *header = NULL;
    size_t length;
    FILE *text = open_memstream(&header, &length);
    CHECK(text, "not enough memory for the header of %s", path);
    safetensors_header(text, slice, n, type);
    fclose(text);

    FILE *file = open_to_write(path);
    for (int i = 0; i < 8; i++) fputc((int)(length >> 8*i & 255), file);
    fwrite(header, 1, length, file);
    free(header);
    for (int i = 0; i < n; i++) {
        const Slice *s = &slice[i];
        const size_t count = (size_t)s->rows*s->cols;
        for (size_t done = 0; done < count && !ferror(file); done += CHUNK) {
            const size_t k = zmin(CHUNK, count - done);
            m.device->get(m.handle, s->space, s->offset + done, k, numbers);
            for (size_t j = 0; j < k; j++) {
                const double x = (double)numbers[j];
                CHECK(isfinite((float)x), "%s: %s has the value %g; this is not worth saving", path,
                      s->name, x);
                CHECK(type != F16 || fabs(x) < 65520,
                      "%s: %s has the value %g, too large for float16; choose bf16", path, s->name, x);
            }
            floats_to(bytes, numbers, k, type);
            fwrite(bytes, (size_t)dtypes[type].size, k, file);
        }
    }
    close_written(file, path);                              // a disk that is full is said here
}

// ---- Hugging Face directories ------------------------------------------------------------------
// config.json and model.safetensors (or several with an index), as transformers' OlmoForCausalLM
// reads and writes them.

// The end of a sentence about a run without checkpoints: names the newest one that has some among the
// earlier runs that were moved aside, OUT.1, OUT.2, ... Empty if there is none.
static const char *earlier_run(const char *out) {
    static char says[PATH + 64];
    char aside[PATH], latest[PATH];
    *says = 0;
    for (int n = 1; snprintf(aside, PATH, "%s.%d", out, n) < PATH && file_exists(aside); n++) {
        path_join(latest, aside, "latest");
        if (file_exists(latest)) snprintf(says, sizeof says, "; the run before it was moved: %s", latest);
    }
    return says;
}

// The path of DIRECTORY/config.json. If there is no such directory, dies with a sentence that says what
// may have been meant.
static void find_config(char *path, const char *directory) {
    char latest[PATH], elsewhere[PATH];
    const char *slash = strchr(directory, '/');
    path_join(path, directory, "config.json");
    path_join(latest, directory, "latest");
    path_join(elsewhere, latest, "config.json");
    CHECK(file_exists(path) || !file_exists(elsewhere),
          "%s: holds no model but a run's checkpoints; %s names the newest", directory, latest);
    const int one_slash = slash && slash[1] && !strchr(slash + 1, '/');
    if (!one_slash || strchr("./~", *directory) || file_exists(directory)) return;

    struct stat link;
    CHECK(lstat(directory, &link) != 0,
          "%s: is a link, and what it leads to is gone; name a checkpoint", directory);
    char parent[PATH];                                      // OUT of OUT/latest, or a hub's OWNER/NAME
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - directory), directory);
    CHECK(strcmp(slash, "/latest"), "%s: there is no such directory; %s holds no checkpoint yet%s",
          directory, parent, earlier_run(parent));
    CHECK(!file_exists(parent), "%s: there is no such directory", directory);
    die("%s: there is no such directory, and hubs are not reached from here; download config.json, "
        "the .safetensors files and tokenizer.json from https://huggingface.co/%s/tree/main into a "
        "directory, and name that", directory, directory);
}

// The id that ends a document. transformers writes a number, a list of them, or null; and
// OlmoConfig's default is 50279, however small the vocabulary.
static int config_eos(const char *config, const char *path, int vocab) {
    enum { MOST = 64 };
    const char *value = json_get(config, "eos_token_id");
    size_t id[MOST];
    int n = value && *value == '[' ? json_whole_numbers(value, id, MOST) : 0;
    if (n == 0 && !(value && *value == '[')) {
        int one = json_int(config, path, "eos_token_id", 0, 1 << 24, -1);
        if (one < 0) return -1;
        id[n++] = (size_t)one;
    }
    CHECK(n >= 0, "%s: expected \"eos_token_id\" to be an id or a list of them, found %s", path,
          json_quoted(value));
    for (int i = 0; i < n; i++) if (id[i] < (size_t)vocab) {
        if (n > 1)
            fprintf(stderr,
                    "note: %s: \"eos_token_id\" is %s; a document ends with %d (--eos names "
                    "another)\n", path, json_quoted(value), (int)id[i]);
        return (int)id[i];
    }
    if (n)
        fprintf(stderr,
                "note: %s: \"eos_token_id\" %s is outside the vocabulary of %d: taken for none "
                "(--eos names one)\n", path, json_quoted(value), vocab);
    return -1;
}

// The object that describes RoPE, rope_scaling in older files and rope_parameters in newer ones, must
// leave the angles as they are.
static void check_rope(const char *config, const char *path, const char *name) {
    const char *rope = json_get(config, name), *type;
    if (!rope || *rope == 'n') return;
    CHECK(*rope == '{', "%s: expected an object \"%s\", found %s", path, name, json_quoted(rope));
    if (!(type = json_get(rope, "rope_type"))) type = json_get(rope, "type");
    CHECK(!type ? !json_get(rope, "factor") : json_is(type, "default"),
          "%s: \"%s\" is %s; OLMo-1's RoPE is not scaled", path, name, json_quoted(rope));
}

// The sizes in a Hugging Face directory's config.json.
static Config config_read(const char *directory) {
    char path[PATH];
    find_config(path, directory);
    char *text = read_text(path);
    const char *o = json_root(text, path);
    const char *type = json_get(o, "model_type"), *act = json_get(o, "hidden_act");
    CHECK(type && json_is(type, "olmo"),
          "%s: expected \"model_type\": \"olmo\" (transformers' OlmoForCausalLM), found %s; "
          "the older hf_olmo format, and OLMo-2, are other models", path, json_quoted(type));
    CHECK(!act || json_is(act, "silu"), "%s: expected \"hidden_act\": \"silu\", found %s", path,
          json_quoted(act));
    CHECK(!json_flag(o, path, "attention_bias"), "%s: \"attention_bias\" is true; OLMo has no biases", path);
    check_rope(o, path, "rope_parameters");
    check_rope(o, path, "rope_scaling");
    const char *rope = json_get(o, "rope_parameters");
    // Older files have rope_theta outside.
    if (!rope || *rope != '{' || !json_get(rope, "rope_theta")) rope = o;
    Config c;
    c.d_model = json_int(o, path, "hidden_size", 1, 1 << 16, NAN);
    c.n_layers = json_int(o, path, "num_hidden_layers", 1, MAX_LAYERS, NAN);
    c.n_heads = json_int(o, path, "num_attention_heads", 1, 1 << 16, NAN);
    c.n_kv_heads = json_int(o, path, "num_key_value_heads", 1, 1 << 16, c.n_heads);
    c.mlp_hidden = 2*json_int(o, path, "intermediate_size", 1, 1 << 19, NAN);
    c.vocab = json_int(o, path, "vocab_size", 2, 1 << 24, NAN);
    c.seq_len = json_int(o, path, "max_position_embeddings", 1, 1 << 20, 2048);
    c.eos = config_eos(o, path, c.vocab);
    c.rope_theta = json_number(rope, path, "rope_theta", 1e-3, 1e12, 10000);
    c.clip_qkv = json_number(o, path, "clip_qkv", 0, 1e30, 0);
    c.tied = json_flag(o, path, "tie_word_embeddings");
    c.z_loss = 0;
    release(text);
    config_check(&c, path);
    return c;
}

// A number with all its digits, and a point: where transformers 5 wants a float it refuses 8, but every
// version reads 8.0.
static const char *json_float(double x, char *out) {
    int n = sprintf(out, "%.17g", x);
    if (!strpbrk(out, ".e")) memcpy(out + n, ".0", 3);
    return out;
}

static void config_write(const char *directory, const Config *c, Dtype type) {
    char path[PATH], eos[16] = "null", clip[32] = "null", theta[32];
    if (c->eos >= 0) snprintf(eos, sizeof eos, "%d", c->eos);
    if (c->clip_qkv > 0) json_float(c->clip_qkv, clip);
    json_float(c->rope_theta, theta);
    path_join(path, directory, "config.json");
    FILE *file = open_to_write(path);
    fprintf(file, "{\n  \"architectures\": [\"OlmoForCausalLM\"],\n  \"model_type\": \"olmo\",\n");
    fprintf(file, "  \"hidden_act\": \"silu\",\n");
    fprintf(file, "  \"attention_bias\": false,\n  \"attention_dropout\": 0.0,\n");
    fprintf(file, "  \"use_cache\": true,\n  \"initializer_range\": 0.02,\n");
    fprintf(file, "  \"hidden_size\": %d,\n  \"num_hidden_layers\": %d,\n", c->d_model, c->n_layers);
    fprintf(file, "  \"num_attention_heads\": %d,\n", c->n_heads);
    fprintf(file, "  \"num_key_value_heads\": %d,\n", c->n_kv_heads);
    fprintf(file, "  \"intermediate_size\": %d,\n  \"vocab_size\": %d,\n", c->mlp_hidden/2, c->vocab);
    fprintf(file, "  \"max_position_embeddings\": %d,\n", c->seq_len);
    // Where transformers 4 looks for the angle's base, and where transformers 5 does.
    fprintf(file, "  \"rope_theta\": %s,\n  \"rope_scaling\": null,\n", theta);
    fprintf(file, "  \"rope_parameters\": {\"rope_theta\": %s, \"rope_type\": \"default\"},\n", theta);
    fprintf(file, "  \"clip_qkv\": %s,\n  \"tie_word_embeddings\": %s,\n", clip, c->tied ? "true" : "false");
    fprintf(file, "  \"bos_token_id\": null,\n  \"eos_token_id\": %s,\n", eos);
    // OLMo's tokenizer pads with 1.
    fprintf(file, "  \"pad_token_id\": %s,\n", c->vocab > 50000 ? "1" : "null");
    fprintf(file, "  \"torch_dtype\": \"%s\"\n}\n", dtypes[type].torch);
    close_written(file, path);
}

// The parameters under their Hugging Face names. The caller releases the list.
static Slice *hugging_face_slices(const Layout *layout, int *n) {
    Slice *list = (Slice *)allocate((size_t)layout->n*3, sizeof(Slice), "the list of tensors");
    *n = 0;
    for (int k = 0; k < layout->n; k++) {
        const Tensor *t = &layout->tensor[k];
        size_t offset = t->offset;
        for (int p = 0; p < t->n_parts; p++, (*n)++) {
            list[*n] = slice_of(t, PARAMS, offset, t->part[p].rows);
            snprintf(list[*n].name, sizeof list->name, "%s", t->part[p].name);
            offset += (size_t)t->part[p].rows*t->cols;
        }
    }
    return list;
}

typedef struct { Safetensors **at; int n; } Shards;

// The index's "weight_map" names a shard for each tensor; each shard is opened once.
static void open_indexed(Shards *shards, const char *directory, const char *path) {
    enum { MOST = 1024 };
    char *text = read_text(path);
    const char *map = json_get(json_root(text, path), "weight_map"), *key, *value;
    CHECK(map && *map == '{', "%s: expected an object \"weight_map\", found none", path);
    shards->at = (Safetensors **)allocate(MOST, sizeof *shards->at, "the list of shards");
    for (value = json_first(map, &key); value; value = json_next(value, &key)) {
        char name[256], file[PATH];
        int length = (int)(json_skip(value, 0) - value) - 2, known = 0;
        CHECK(*value == '"' && length > 0 && length < (int)sizeof name,
              "%s: expected a file name, found %s", path, json_quoted(value));
        snprintf(name, sizeof name, "%.*s", length, value + 1);
        CHECK(!strchr(name, '/') && !strchr(name, '\\'),
              "%s: %s: a shard must lie in the same directory", path, name);
        path_join(file, directory, name);
        for (int i = 0; i < shards->n; i++) known |= !strcmp(shards->at[i]->path, file);
        CHECK(known || shards->n < MOST, "%s: more than %d shards", path, MOST);
        if (!known) shards->at[shards->n++] = safetensors_open(file);
    }
    release(text);
}

// Opens model.safetensors, or all shards that the index names.
static Shards shards_open(const char *directory) {
    char path[PATH], old[PATH];
    Shards shards = { NULL, 0 };
    path_join(path, directory, "model.safetensors");
    if (file_exists(path)) {
        shards.at = (Safetensors **)allocate(1, sizeof *shards.at, "the list of shards");
        shards.at[shards.n++] = safetensors_open(path);
        return shards;
    }
    path_join(path, directory, "model.safetensors.index.json");
    path_join(old, directory, "pytorch_model.bin");
    CHECK(file_exists(path) || !file_exists(old),
          "%s: expected model.safetensors, found pytorch_model.bin; transformers' save_pretrained "
          "writes it as safetensors", directory);
    CHECK(file_exists(path),
          "%s: expected model.safetensors, or model.safetensors.index.json and its shards; found "
          "neither", directory);
    open_indexed(&shards, directory, path);
    return shards;
}

// The tensor of this name, and in which shard it is; NULL: it is in none.
static const Entry *shards_find(const Shards *shards, const char *name, const Safetensors **in) {
    const Entry *e = NULL;
    for (int s = 0; s < shards->n && !e; s++)
        if ((e = safetensors_find(shards->at[s], name)))
            *in = shards->at[s];
    return e;
}

// Whether a tensor is one of those that transformers' files hold beside weights: RoPE's frequencies, the
// tied head for a second time, masks and positions.
static int is_buffer(const Entry *e, int tied) {
    const int second_head = tied && !strcmp(e->name, "lm_head.weight");
    return second_head || strstr(e->name, "rotary_emb.") || e->type >= NO_WEIGHT;
}

// Fills the parameters from model.safetensors or its shards: each tensor that the layout names must
// be there with its shape, and nothing else but buffers.
static void weights_read(const char *directory, Model m) {
    const int tied = m.config->tied;
    Shards shards = shards_open(directory);
    const Safetensors *in = NULL, *other = NULL;
    int wanted = 0, present = 0;
    Slice *slice = hugging_face_slices(m.layout, &wanted);
    for (int i = 0; i < wanted; i++) {
        const Entry *e = shards_find(&shards, slice[i].name, &in);
        CHECK(e, "%s: tensor %s is missing; the config asks for it", directory, slice[i].name);
        CHECK(has_shape_of(e, &slice[i]),
              "%s: tensor %s is %zu x %zu (%d dimensions) of %s, but the config asks for %d x %d "
              "(%d dimensions) of F32, BF16 or F16", in->path, e->name, e->rows, e->cols, e->dims,
              dtypes[e->type].safetensors, slice[i].rows, slice[i].cols, slice[i].dims);
        safetensors_read(in, e, m, slice[i].space, slice[i].offset);
    }
    const Entry *head = shards_find(&shards, "lm_head.weight", &in);
    const Entry *embedding = shards_find(&shards, "model.embed_tokens.weight", &other);
    if (tied && head && !safetensors_same(in, head, other, embedding))
        fprintf(stderr,
                "note: %s: lm_head.weight is left out, for \"tie_word_embeddings\" is true, though "
                "it differs from the embedding; if the model has a head of its own, write false in "
                "config.json\n", in->path);
    for (int s = 0; s < shards.n; s++) {
        for (int i = 0; i < shards.at[s]->n; i++) present += !is_buffer(&shards.at[s]->entry[i], tied);
        safetensors_close(shards.at[s]);
    }
    release(shards.at);
    release(slice);
    CHECK(wanted == present,
          "%s: holds %d tensors where an OLMo of this config has %d; this is another model",
          directory, present, wanted);
}

// The files that belong to a model beside sizes and weights. They are read together with the model,
// because a run may move or outlive the directory that it began with, and are written byte for byte
// beside every copy of the weights.
static const char *const companion_names[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
};
enum { COMPANIONS = sizeof companion_names/sizeof *companion_names };
typedef struct {
    char *bytes[COMPANIONS];                                // NULL: there is none
    size_t size[COMPANIONS];
} Companions;

// Companion i from this file. It is a convenience: if it cannot be read, a note says so, and it is left
// out.
static void companion_read(Companions *with, int i, const char *path) {
    struct stat s;
    if (stat(path, &s)) return;
    FILE *file = S_ISREG(s.st_mode) ? fopen(path, "rb") : NULL;
    const size_t size = (size_t)s.st_size;
    char *bytes = (char *)allocate(size + 1, 1, path);
    const int whole = file && fread(bytes, 1, size, file) == size;
    if (file) fclose(file);
    if (!whole) {
        fprintf(stderr, "note: %s: cannot be read: it is left out\n", path);
        release(bytes);
        return;
    }
    release(with->bytes[i]);
    with->bytes[i] = bytes;
    with->size[i] = size;
}
static void companions_read(Companions *with, const char *directory) {
    char path[PATH];
    for (int i = 0; i < COMPANIONS; i++) {
        path_join(path, directory, companion_names[i]);
        companion_read(with, i, path);
    }
}
static void companions_write(const Companions *with, const char *directory) {
    char path[PATH];
    for (int i = 0; with && i < COMPANIONS; i++) {
        if (!with->bytes[i]) continue;
        path_join(path, directory, companion_names[i]);
        FILE *file = open_to_write(path);
        fwrite(with->bytes[i], 1, with->size[i], file);
        close_written(file, path);
    }
}

// Deals tensors out to shards of at most `most` bytes (0: to one): each is filled until the next tensor
// would not fit. Sets the slices' shards, and returns how many there are.
static int deal_out(Slice *slice, int n, Dtype type, size_t most) {
    size_t inside = 0;                                      // bytes of the last shard so far
    int shards = 1;
    for (int i = 0; i < n; i++) {
        const size_t bytes = slice_bytes(&slice[i], type);
        if (most && inside && inside + bytes > most) {
            shards++;
            inside = 0;
        }
        slice[i].shard = shards - 1;
        inside += bytes;
    }
    return shards;
}

static const char *shard_name(char *out, size_t size, int shard, int shards) {
    if (shards == 1) snprintf(out, size, "model.safetensors");
    else snprintf(out, size, "model-%05d-of-%05d.safetensors", shard + 1, shards);
    return out;
}

// Writes the list of which tensor is in which shard.
static void index_write(const char *directory, const Slice *slice, int n, int shards, Dtype type) {
    char path[PATH], name[64];
    size_t total = 0;
    for (int i = 0; i < n; i++) total += slice_bytes(&slice[i], type);
    path_join(path, directory, "model.safetensors.index.json");
    FILE *file = open_to_write(path);
    fprintf(file, "{\n  \"metadata\": {\"total_size\": %zu},\n", total);
    fprintf(file, "  \"weight_map\": {");
    for (int i = 0; i < n; i++) {
        fprintf(file, "%s\n    \"%s\": \"%s\"", i ? "," : "", slice[i].name,
                shard_name(name, sizeof name, slice[i].shard, shards));
    }
    fprintf(file, "\n  }\n}\n");
    close_written(file, path);
}

// Writes config.json and the weights into a directory, in one file or in shards of at most
// shard_bytes (0: one file).
static void hugging_face_write(const char *directory, Model m, const Companions *with, Dtype type,
                               size_t shard_bytes) {
    char path[PATH], name[64];
    int n;
    Slice *slice = hugging_face_slices(m.layout, &n);
    const int shards = deal_out(slice, n, type, shard_bytes);
    config_write(directory, m.config, type);
    companions_write(with, directory);
    for (int s = 0, first = 0, end; s < shards; s++, first = end) {
        for (end = first; end < n && slice[end].shard == s; end++) {}
        path_join(path, directory, shard_name(name, sizeof name, s, shards));
        safetensors_write(path, slice + first, end - first, type, m);
    }
    if (shards > 1) index_write(directory, slice, n, shards, type);
    release(slice);
}

// hugging_face_write into a new directory, which is complete or does not appear at all.
static void export_write(const char *path, Model m, const Companions *with, Dtype type, size_t shard_bytes) {
    char temporary[PATH];
    CHECK(!file_exists(path), "--export %s: exists already; choose a new directory", path);
    const int lock = begin_directory(path, temporary);
    hugging_face_write(temporary, m, with, type, shard_bytes);
    finish_directory(path, temporary, lock);
}

// ---- checkpoints -------------------------------------------------------------------------------
// OUT/stepN is a Hugging Face directory with two files more: optimizer.safetensors (AdamW's moments) and
// train.json (where the run is, with which options, on which data: all that the bits of a resumed run
// depend on).

typedef struct {
    int step, epoch;
    size_t tokens;                                          // seen so far
    size_t instance;                                        // the next one of this epoch's order
    size_t instances;                                       // what the order was made from ...
    int seed;                                               // ... and by
    const char *run;                                        // the run's data and options, as JSON
} Progress;

static Slice *moment_slices(const Layout *layout) {
    Slice *list = (Slice *)allocate((size_t)layout->n*2, sizeof(Slice), "the list of moments");
    for (int i = 0; i < 2*layout->n; i++) {
        const Tensor *t = &layout->tensor[i/2];
        const char *moment = i % 2 ? "exp_avg_sq" : "exp_avg";             // torch's words
        list[i] = slice_of(t, i % 2 ? MOMENT2 : MOMENT1, t->offset, t->rows);
        snprintf(list[i].name, sizeof list->name, "%s.%s", moment, t->name);
    }
    return list;
}

// Points the link OUT/latest to the newest checkpoint. It is a convenience; some file systems have no links.
static void point_latest(const char *path) {
    char temporary[PATH], latest[PATH], out[PATH];
    const char *name = strrchr(path, '/') + 1;
    snprintf(out, sizeof out, "%.*s", (int)(name - 1 - path), path);
    path_join(temporary, out, "latest.tmp");
    path_join(latest, out, "latest");
    unlink(temporary);
    if (symlink(name, temporary) || rename(temporary, latest)) {
        fprintf(stderr, "note: %s: cannot be pointed to %s: %s\n", latest, name, strerror(errno));
        unlink(temporary);
    }
    sync_directory(out);
}

// The N of a name "stepN", or -1. (step0008 is none of ours.)
static int checkpoint_step(const char *name) {
    const char *digits = name + 4;
    size_t n = strlen(name);
    if (n < 5 || n > 13 || strncmp(name, "step", 4) || strspn(digits, "0123456789") != n - 4)
        return -1;
    return *digits == '0' && n > 5 ? -1 : atoi(digits);
}

// Writes a complete checkpoint at `path`, or none: `path` itself never holds half of one.
static void checkpoint_write(const char *path, Model m, const Companions *with, const Progress *at) {
    char temporary[PATH], file_name[PATH];
    const int lock = begin_directory(path, temporary);
    hugging_face_write(temporary, m, with, F32, (size_t)5 << 30);
    Slice *moments = moment_slices(m.layout);
    path_join(file_name, temporary, "optimizer.safetensors");
    safetensors_write(file_name, moments, 2*m.layout->n, F32, m);
    release(moments);
    path_join(file_name, temporary, "train.json");
    FILE *file = open_to_write(file_name);
    fprintf(file, "{\"step\": %d, \"epoch\": %d, \"tokens\": %zu,\n", at->step, at->epoch, at->tokens);
    fprintf(file, " \"instance\": %zu, \"instances\": %zu, ", at->instance, at->instances);
    fprintf(file, "\"seed\": %d", at->seed);
    fprintf(file, "%s%s}\n", at->run ? ",\n" : "", at->run ? at->run : "");
    close_written(file, file_name);
    finish_directory(path, temporary, lock);
    point_latest(path);
}

// Removes all but the newest `keep` checkpoints in OUT. Each loses its name first, because what has that
// name must be whole.
static void remove_checkpoints(const char *out, int keep) {
    for (;;) {
        int n = 0, oldest = INT32_MAX, step;
        DIR *directory = opendir(out);
        for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL; ) {
            if ((step = checkpoint_step(entry->d_name)) >= 0) n++, oldest = imin(oldest, step);
        }
        if (directory) closedir(directory);
        if (n <= keep) return;
        char path[PATH], temporary[PATH];
        path_print(path, "%s/step%d", out, oldest);
        path_print(temporary, "%s.tmp", path);
        remove_directory(temporary);
        const int removed = rename_directory(path, temporary, temporary) && remove_directory(temporary);
        if (!removed) fprintf(stderr, "note: %s: cannot be removed: %s\n", path, strerror(errno));
        set_half_written(NULL);
        if (!removed) return;
    }
}

// Removes what a crash left half-written, OUT/stepN.tmp. (OUT is locked, so nobody is writing it now.)
static void remove_leftovers(const char *out) {
    DIR *directory = opendir(out);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL; ) {
        char path[PATH], name[PATH];
        path_join(path, out, entry->d_name);
        snprintf(name, sizeof name, "%s", entry->d_name);
        char *end = strstr(name, ".tmp");
        if (!end || end[4]) continue;
        *end = 0;
        if (checkpoint_step(name) >= 0) remove_directory(path);
    }
    if (directory) closedir(directory);
}

// Loads weights and moments from a checkpoint into the model, and returns where its run was.
static Progress checkpoint_read(const char *path, Model m) {
    const int n = 2*m.layout->n;
    char name[PATH];
    weights_read(path, m);
    path_join(name, path, "optimizer.safetensors");
    Safetensors *st = safetensors_open(name);
    Slice *moments = moment_slices(m.layout);
    CHECK(st->n == n, "%s: expected %d tensors, found %d", name, n, st->n);
    for (int i = 0; i < n; i++) {
        const Entry *e = safetensors_find(st, moments[i].name);
        CHECK(e && has_shape_of(e, &moments[i]),
              "%s: expected a tensor %s of %d x %d, found %s", name, moments[i].name,
              moments[i].rows, moments[i].cols, e ? "another shape" : "none");
        safetensors_read(st, e, m, moments[i].space, moments[i].offset);
    }
    release(moments);
    safetensors_close(st);
    path_join(name, path, "train.json");
    char *text = read_text(name);
    const char *o = json_root(text, name);
    // Whole numbers up to 2^53 survive a double.
    const double exact = 9007199254740992.0;
    Progress at;
    at.step = json_int(o, name, "step", 0, 1 << 30, NAN);
    at.epoch = json_int(o, name, "epoch", 0, 1 << 30, NAN);
    at.tokens = (size_t)json_whole(o, name, "tokens", 0, exact, NAN);
    at.seed = json_int(o, name, "seed", 0, INT32_MAX, NAN);
    at.instance = (size_t)json_whole(o, name, "instance", 0, exact, NAN);
    at.instances = (size_t)json_whole(o, name, "instances", 0, exact, NAN);
    at.run = NULL;
    release(text);
    CHECK(at.instance <= at.instances, "%s: \"instance\" %zu is behind the last of %zu", name, at.instance,
          at.instances);
    const char *digits = strstr(strrchr(path, '/'), "step");
    CHECK(digits && atoi(digits + 4) == at.step,
          "%s: is the state of step %d, but not in a directory step%d", name, at.step, at.step);
    return at;
}

// The N of the newest OUT/stepN, or -1. Dies if OUT is there and cannot be read: it may hold a run.
static int newest_checkpoint(const char *out) {
    DIR *directory = opendir(out);
    int newest = -1;
    CHECK(directory || !file_exists(out), "%s: cannot be opened: %s", out, strerror(errno));
    if (!directory) return -1;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL; )
        newest = imax(newest, checkpoint_step(entry->d_name));
    closedir(directory);
    return newest;
}

// ================================================================================================
// 7. Data: token files, text, OLMo's order, batches
// ================================================================================================

enum { IGNORE = -100 };                                     // a target without a loss

// Rows are what a run learns from or is measured on: windows of token files (here), conversations or
// pairs of them (data/chat.c). Rows of one group belong together, for instance a chosen and a rejected
// answer.
typedef struct {
    const char *unit;                                       // the plural of a group: "windows"
    int files;
    size_t groups;
    int group;                                              // rows per group: g begins with row g*group
    int T;                                                  // no row has more tokens
    int keep_rest;                                          // an epoch's last batch may be smaller
    const double *reference;                                // [groups*group] DPO: log p of each row, once
    const void *source;                                     // what `read` reads from
    // Row i into tokens[T] and targets[T], where targets[t] = tokens[t+1] or IGNORE. Returns its
    // length; NULL, NULL: no more.
    int (*read)(const void *source, size_t i, int vocab, int *tokens, int *targets);
} Rows;

// How many of n windows or groups are held out for validation where no other data is given: the last
// twentieth, at least one (of two), at most 256.
static size_t held_out(size_t n) { return n < 20 ? n > 1 : zmin(n/20, 256); }

// ---- token files -------------------------------------------------------------------------------
// A file of n tokens is cut into floor(n/T) windows of T tokens; the rest is dropped. A window has T-1
// predictions, because the label of its last token lies in the next window (OLMO_SPEC 5.1).

typedef struct {
    char path[PATH];
    const unsigned char *data;                              // the mapped file, after its header
    const unsigned char *mask;                              // per token: may it be a label? NULL: all
    int text;                                               // 1: every byte is a token
    int width;                                              // bytes of a token
    size_t tokens;                                          // in the file
    size_t first, windows;                                  // the corpus has windows [first, first + windows)
} TokenFile;

typedef struct { TokenFile *file; int n, T; size_t windows; } Corpus;

// If a mapped file becomes shorter, reading beyond its new end raises SIGBUS. Every mapping is on a list, so
// that this, too, ends with a sentence. (on_bus_error may only call what a signal handler may.)
typedef struct Mapped {
    const unsigned char *start;
    size_t size;
    char *path;
    struct Mapped *next;
} Mapped;
static Mapped *mapped_files;

static void on_bus_error(int number, siginfo_t *info, void *context) {
    const char *reason = ": became shorter while it was being read; restore it, and go on with --resume\n";
    const unsigned char *at = (const unsigned char *)info->si_addr;
    (void)context;
    for (const Mapped *m = mapped_files; m; m = m->next) {
        if (at < m->start || at >= m->start + m->size) continue;
        dup2(error_output, 2);
        say("error: ");
        say(m->path);
        say(reason);
        _exit(EXIT_FAILURE);
    }
    // None of our files: the access is repeated, and ends the program in the default way.
    signal(number, SIG_DFL);
}

// Maps all of an open file, and closes it. protection: PROT_READ, and PROT_WRITE if it is written to.
static unsigned char *map_open_file(FILE *file, const char *path, size_t size, int protection) {
    void *start = mmap(NULL, size, protection, MAP_SHARED, fileno(file), 0);
    CHECK(start != MAP_FAILED, "%s: cannot be mapped: %s", path, strerror(errno));
    fclose(file);
    Mapped *m = (Mapped *)allocate(1, sizeof *m, path);
    m->start = (const unsigned char *)start;
    m->size = size;
    m->next = mapped_files;
    CHECK((m->path = strdup(path)), "not enough memory for the name of %s", path);
    if (!mapped_files) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = on_bus_error;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGBUS, &action, NULL);
    }
    mapped_files = m;
    return (unsigned char *)start;
}
static const unsigned char *map_file(const char *path, size_t *size) {
    FILE *file = open_to_read(path, size);
    CHECK(*size > 0, "%s: the file is empty", path);
    return map_open_file(file, path, *size, PROT_READ);
}

static int ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

// A real NumPy file begins with "\x93NUMPY", a version, the header's length, and a Python dict. (OLMo's
// own ".npy" files have no header at all.) Returns the header's length (0: none), and in *width the bytes
// of an item.
static size_t numpy_header(const unsigned char *data, size_t size, const char *path, int *width) {
    static const struct { const char *name; int width; } types[] = {
        { "'<u2'", 2 }, { "'<i2'", 2 }, { "'<u4'", 4 }, { "'<i4'", 4 }, { "'<u8'", 8 }, { "'<i8'", 8 },
        { "'|u1'", 1 }, { "'|i1'", 1 }, { "'|b1'", 1 },
    };
    if (size < 12 || memcmp(data, "\x93NUMPY", 6)) return 0;
    const int version = data[6];
    const size_t start = version >= 2 ? 12 : 10;
    const size_t length = little_endian(data + 8, version >= 2 ? 4 : 2);
    const char *advice = "numpy.save(PATH, array.reshape(-1).astype('<u2')) writes what can be read";
    char header[1024], *at, *end;
    CHECK(version >= 1 && version <= 3 && length < sizeof header && start + length <= size,
          "%s: this NumPy header is damaged or cut off", path);
    memcpy(header, data + start, length);
    header[length] = 0;
    header[strcspn(header, "\n")] = 0;
    while (length && (at = strrchr(header, ' ')) && !at[1]) *at = 0;       // the blanks that pad it
    at = strstr(header, "'descr':");
    *width = 0;
    if (at) {
        at += strlen("'descr':");
        at += strspn(at, " ");
    }
    for (size_t i = 0; at && i < sizeof types/sizeof *types; i++) {
        if (!strncmp(at, types[i].name, strlen(types[i].name))) *width = types[i].width;
    }
    CHECK(*width, "%s: expected a NumPy array of whole numbers (little-endian), found %s; %s", path,
          header, advice);
    CHECK(strstr(header, "'fortran_order': False") && (at = strstr(header, "'shape': (")),
          "%s: expected a plain NumPy array, found %s; %s", path, header, advice);
    const size_t items = strtoull(at + strlen("'shape': ("), &end, 10);
    const size_t bytes = size - start - length;
    CHECK((*end == ',' && end[1 + (end[1] == ' ')] == ')') || *end == ')',
          "%s: expected a NumPy array of one dimension, found %s; %s", path, at, advice);
    CHECK(items == bytes / *width && bytes % *width == 0,
          "%s: the NumPy header announces %zu items, the file holds %zu bytes of them", path, items, bytes);
    return start + length;
}

// llm.c's files begin with 256 numbers of 32 bits: a magic number, a version, and how many tokens
// follow. Returns the header's length (0: none), and in *width the bytes of a token.
static size_t llmc_header(const unsigned char *data, size_t size, const char *path, int *width) {
    static const struct { uint32_t magic; int width; const char *tokens; } kinds[] = {
        { 20240520, 2, "GPT-2" }, { 20240801, 4, "Llama 3" },
    };
    enum { LENGTH = 256*4 };
    for (size_t i = 0; i < sizeof kinds/sizeof *kinds && size >= LENGTH; i++) {
        if (little_endian(data, 4) != kinds[i].magic) continue;
        const size_t version = little_endian(data + 4, 4), tokens = little_endian(data + 8, 4);
        *width = kinds[i].width;
        CHECK(version == 1 && tokens == (size - LENGTH) / *width,
              "%s: has llm.c's header of version %zu, which announces %zu tokens of %s; the file holds %zu "
              "bytes of them", path, version, tokens, kinds[i].tokens, size - LENGTH);
        fprintf(stderr, "note: %s: has llm.c's header; its %zu tokens are those of %s\n", path, tokens,
                kinds[i].tokens);
        return LENGTH;
    }
    return 0;
}

// Text has no control characters but those that move the cursor. Token files have zero bytes almost at
// once.
static int looks_like_text(const unsigned char *data, size_t size) {
    const char allowed[] = { '\t', '\n', '\v', '\f', '\r', '\033' };
    for (size_t i = 0; i < size && i < 1 << 16; i++) {
        if (data[i] < ' ' && !memchr(allowed, data[i], sizeof allowed)) return 0;
    }
    return 1;
}

// Opens a data file. .npy and .bin hold tokens of `width` bytes, unless a header says otherwise. In .txt,
// and in any other file that looks like text, every byte is a token.
static TokenFile token_file(const char *path, const char *mask, int width, int T) {
    TokenFile f;
    size_t size, header = 0;
    memset(&f, 0, sizeof f);
    path_print(f.path, "%s", path);
    f.data = map_file(path, &size);
    const int tokens = ends_with(path, ".npy") || ends_with(path, ".bin");
    f.text = ends_with(path, ".txt") || (!tokens && looks_like_text(f.data, size));
    CHECK(tokens || f.text,
          "%s: what is in it? Expected text, or a name that ends in .npy or .bin (tokens)", path);
    const char *slash = strrchr(path, '/');
    CHECK(!f.text || !strcasestr(slash ? slash : path, ".json"),
          "%s: JSON, not text; conversations are in .jsonl, of documents data/tokenize makes tokens", path);
    f.width = f.text ? 1 : width;
    if (tokens) header = numpy_header(f.data, size, path, &f.width);
    if (tokens && !header) header = llmc_header(f.data, size, path, &f.width);
    f.data += header;
    size -= header;
    CHECK(size % f.width == 0,
          "%s: %zu bytes are no whole number of %d-byte tokens; is it cut off, or is --dtype wrong?", path,
          size, f.width);
    f.tokens = size/f.width;
    f.windows = f.tokens/T;
    CHECK(f.windows, "%s: %zu tokens are fewer than one window of %d; use more text or a smaller --seq-len",
          path, f.tokens, T);
    if (mask) {
        int item = 1;
        f.mask = map_file(mask, &size);
        header = numpy_header(f.mask, size, mask, &item);
        f.mask += header;
        CHECK(item == 1 && size - header == f.tokens,
              "%s: expected one byte for each of the %zu tokens of %s, found %zu bytes", mask, f.tokens, path,
              size - header);
    }
    return f;
}

static void outside_vocabulary(const TokenFile *f, size_t token, int vocab) {
    const uint64_t id = little_endian(f->data + token*f->width, f->width);
    die("%s: token %zu is %lld, but the model's vocabulary ends at %d; wrong --dtype, or another "
        "tokenizer?", f->path, token, (long long)id, vocab - 1);
}

// The largest of n tokens. (There are four loops, because each must run as fast as memory.)
static uint64_t largest_token(const unsigned char *p, size_t n, int width) {
    uint8_t a = 0;
    uint16_t b = 0, x16;
    uint32_t c = 0, x32;
    uint64_t d = 0, x64;
    if (width == 1) for (size_t i = 0; i < n; i++) a = p[i] > a ? p[i] : a;
    if (width == 2) for (size_t i = 0; i < n; i++) memcpy(&x16, p + 2*i, 2), b = x16 > b ? x16 : b;
    if (width == 4) for (size_t i = 0; i < n; i++) memcpy(&x32, p + 4*i, 4), c = x32 > c ? x32 : c;
    if (width == 8) for (size_t i = 0; i < n; i++) memcpy(&x64, p + 8*i, 8), d = x64 > d ? x64 : d;
    return a | b | c | d;
}

// Checks all of a corpus before the first step: otherwise one token that the model does not know would
// end the run hours later.
static void corpus_check(const Corpus *c, int vocab) {
    enum { BLOCK = 1 << 20 };                               // tokens
    double bytes = 0;
    for (int i = 0; i < c->n; i++) bytes += (double)c->file[i].tokens*c->file[i].width;
    if (bytes > 1e10) printf("checking %.0f GB of tokens\n", bytes*1e-9);
    for (int i = 0; i < c->n; i++) {
        const TokenFile *f = &c->file[i];
        const size_t first = f->first*c->T, end = first + f->windows*c->T;
        const int64_t blocks = (int64_t)((end - first + BLOCK - 1)/BLOCK);
        int64_t bad = blocks;                               // the first block that holds such a token
        #pragma omp parallel for schedule(dynamic) reduction(min: bad)
        for (int64_t k = 0; k < blocks; k++) {
            const size_t from = first + (size_t)k*BLOCK, n = zmin(BLOCK, end - from);
            const unsigned char *block = f->data + from*f->width;
            if (k < bad && largest_token(block, n, f->width) >= (uint64_t)vocab) bad = k;
        }
        for (size_t t = first + (size_t)bad*BLOCK; bad < blocks && t < end; t++) {
            if (largest_token(f->data + t*f->width, 1, f->width) >= (uint64_t)vocab)
                outside_vocabulary(f, t, vocab);
        }
    }
}

// FNV-1a (Fowler, Noll, Vo): all fingerprints here are made with it.
static uint64_t fnv1a(uint64_t hash, const unsigned char *bytes, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) hash = (hash ^ bytes[i])*0x100000001b3u;
    return hash;
}
static const uint64_t fnv1a_start = 0xcbf29ce484222325u;

// A file's fingerprint: of all its bytes, or, where they are many, of pieces spread from its start to its
// end.
static uint64_t file_hash(const char *path, size_t *size) {
    enum { PIECES = 16, PIECE = 4096 };
    FILE *file = open_to_read(path, size);
    uint64_t hash = fnv1a_start;
    for (size_t k = 0; k < PIECES && k*PIECE < *size; k++) {
        unsigned char bytes[PIECE];
        const size_t start = *size <= PIECES*PIECE ? k*PIECE : (*size - PIECE)/(PIECES - 1)*k;
        CHECK(fseeko(file, (off_t)start, SEEK_SET) == 0, "%s: cannot be read: %s", path,
              strerror(errno));
        hash = fnv1a(hash, bytes, fread(bytes, 1, PIECE, file));
    }
    fclose(file);
    return hash;
}

// The i-th item of a comma-separated list, copied to out; NULL if the list has no more.
static char *list_item(const char *flag, const char *list, int i, char *out) {
    for (; list && i > 0; i--) list = (list = strchr(list, ',')) ? list + 1 : NULL;
    if (!list) return NULL;
    const int n = (int)strcspn(list, ",");
    CHECK(n > 0, "%s: expected paths or names separated by single commas, found \"%s\"", flag, list);
    path_print(out, "%.*s", n, list);
    return out;
}

static Corpus corpus_open(const char *paths, const char *masks, int width, int T) {
    Corpus c = { NULL, 0, T, 0 };
    char path[PATH], mask[PATH];
    CHECK(T > 1, "--seq-len %d: expected at least 2; a window of one token has none to predict", T);
    while (list_item("--data or --val", paths, c.n, path)) c.n++;
    c.file = (TokenFile *)allocate((size_t)c.n, sizeof(TokenFile), "the list of data files");
    for (int i = 0; i < c.n; i++) {
        CHECK(!masks || list_item("--label-mask", masks, i, mask),
              "--label-mask %s: expected one mask for each of the %d data files", masks, c.n);
        c.file[i] = token_file(list_item("--data or --val", paths, i, path), masks ? mask : NULL,
                               width, T);
        c.windows += c.file[i].windows;
    }
    CHECK(!masks || !list_item("--label-mask", masks, c.n, mask),
          "--label-mask %s: expected one mask for each of the %d data files", masks, c.n);
    CHECK(c.windows <= UINT32_MAX, "%s: more than 2^32 windows", paths);
    return c;
}

// Takes the last windows of each file out of `train`, for validation.
static Corpus corpus_hold_out(Corpus *train) {
    Corpus val = *train;
    val.file = (TokenFile *)allocate((size_t)val.n, sizeof(TokenFile), "the list of data files");
    val.windows = 0;
    for (int i = 0; i < val.n; i++) {
        TokenFile *from = &train->file[i], *to = &val.file[i];
        const size_t held = held_out(from->windows);
        *to = *from;
        to->first = from->windows - held;
        to->windows = held;
        from->windows -= held;
        train->windows -= held;
        val.windows += held;
    }
    return val;
}

// Window `index` of the corpus: tokens[T], and targets[T], where targets[t] = tokens[t+1] or IGNORE.
static void corpus_window(const Corpus *c, size_t index, int vocab, int *tokens, int *targets) {
    const TokenFile *f = c->file;
    CHECK(index < c->windows, "window %zu was asked for, of %zu", index, c->windows);
    for (; index >= f->windows; f++) index -= f->windows;
    const size_t start = (f->first + index)*c->T;
    for (int t = 0; t < c->T; t++) {
        const uint64_t id = little_endian(f->data + (start + t)*f->width, f->width);
        if (id >= (uint64_t)vocab) outside_vocabulary(f, start + t, vocab);
        tokens[t] = (int)id;
        if (t) targets[t - 1] = f->mask && !f->mask[start + t] ? IGNORE : (int)id;
    }
    targets[c->T - 1] = IGNORE;
}

// The windows of a corpus as rows. As in OLMo, an epoch's last windows are left out if they do not fill a
// batch.
static int read_window(const void *corpus, size_t i, int vocab, int *tokens, int *targets) {
    const Corpus *c = (const Corpus *)corpus;
    if (tokens) corpus_window(c, i, vocab, tokens, targets);
    return c->T;
}
static Rows corpus_rows(const Corpus *c) {
    Rows rows = { "windows", c->n, c->windows, 1, c->T, 0, NULL, c, read_window };
    return rows;
}

// ---- OLMo's order ------------------------------------------------------------------------------
// Epoch e trains on the windows in the order of numpy's Generator(PCG64(seed + e)).shuffle (OLMO_SPEC
// 5.2, 5.3). So a run sees what an OLMo run with this seed sees, and a resumed run only needs to know
// how far it was.

__extension__ typedef unsigned __int128 uint128;

typedef struct { uint128 state, inc; uint32_t spare; int has_spare; } Pcg64;

static uint64_t pcg64_next(Pcg64 *r) {                      // XSL-RR 128/64 (O'Neill 2014)
    const uint128 multiplier = (uint128)2549297995355413924u << 64 | 4865540595714422341u;
    r->state = r->state*multiplier + r->inc;
    uint64_t x = (uint64_t)(r->state >> 64) ^ (uint64_t)r->state;
    int turn = (int)(r->state >> 122);
    return x >> turn | x << (-turn & 63);
}
// The low half first; the high half is kept for the next call.
static uint32_t pcg64_next32(Pcg64 *r) {
    if (r->has_spare) { r->has_spare = 0; return r->spare; }
    uint64_t x = pcg64_next(r);
    r->spare = (uint32_t)(x >> 32);
    r->has_spare = 1;
    return (uint32_t)x;
}

// numpy's SeedSequence: the seed's 32-bit words are hashed into a pool of four, and the pool into
// the generator's state.
static uint32_t seed_hash(uint32_t v, uint32_t *constant, uint32_t multiplier) {
    v ^= *constant;
    *constant *= multiplier;
    v *= *constant;
    return v ^ v >> 16;
}
static Pcg64 pcg64_seed(uint64_t seed) {
    uint32_t pool[4], a = 0x43b0d7e5, b = 0x8b51f9dd;
    uint64_t word[4];
    for (int i = 0; i < 4; i++)
        pool[i] = seed_hash(i < 2 ? (uint32_t)(seed >> 32*i) : 0, &a, 0x931e8875);
    for (int from = 0; from < 4; from++) for (int to = 0; to < 4; to++) if (from != to) {
        uint32_t mixed = pool[to]*0xca01f9dd - seed_hash(pool[from], &a, 0x931e8875)*0x4973f715;
        pool[to] = mixed ^ mixed >> 16;
    }
    for (int i = 0; i < 4; i++) {
        uint64_t low = seed_hash(pool[2*i % 4], &b, 0x58f38ded);
        uint64_t high = seed_hash(pool[(2*i + 1) % 4], &b, 0x58f38ded);
        word[i] = low | high << 32;
    }
    Pcg64 r = { 0, ((uint128)word[2] << 64 | word[3]) << 1 | 1, 0, 0 };
    pcg64_next(&r);
    r.state += (uint128)word[0] << 64 | word[1];
    pcg64_next(&r);
    return r;
}

// order[0..n) = a permutation of 0..n-1 (Fisher and Yates; masked rejection, as numpy draws)
static void epoch_order(uint32_t *order, uint32_t n, uint64_t seed) {
    Pcg64 r = pcg64_seed(seed);
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i-- > 1; ) {
        uint32_t mask = i, j;
        for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
        do j = pcg64_next32(&r) & mask; while (j > i);
        uint32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

// ---- batches -----------------------------------------------------------------------------------
// The rows of one update go through the model in passes of at most `micro` rows. A pass is padded to
// its longest row. So that rows of similar length share one, they are sorted by length, and rows of
// equal length by their place in the update. This order does not depend on `micro`, and padding
// changes no bit of a row's numbers. So the gradients do not depend on `micro` either.

typedef struct {
    size_t index;                                           // which of the rows it is
    int length;                                             // tokens
    int padded;                                             // tokens with padding: T of its pass
    int filler;                                             // 1: no row was left for this rank
    int labels;                                             // tokens that are to be predicted
    size_t start;                                           // its first token in the batch
    double loss, zloss;                                     // sums over its labels, after a pass
    double reference;                                       // log p under DPO's reference
    double weight;                                          // of each of its labels, in the gradient
} Row;

typedef struct {
    int n;                                                  // rows
    int group;                                              // rows of a group
    int micro;                                              // most rows of a pass
    Row *row;                                               // [n] by their place in the update
    Row **order;                                            // [n] by length
    int *tokens, *targets;                                  // one pass after the other, each [B, T]
    real *losses, *zlosses, *weights;                       // of these tokens
} Batch;

// B rows padded to T tokens, from `start` on.
typedef struct { int B, T; size_t start; } Pass;

// Room for this rank's share of `groups` groups of these rows.
static Batch batch_of(const Rows *rows, int groups, int micro) {
    Batch b;
    groups = ceil_div(groups, ranks.world);
    size_t n = (size_t)groups*(size_t)rows->group, room = n*(size_t)rows->T;
    b.n = 0;
    b.group = rows->group;
    b.micro = micro*rows->group;
    b.row = (Row *)allocate(n, sizeof *b.row, "the rows of a batch");
    b.order = (Row **)allocate(n, sizeof *b.order, "the rows of a batch");
    b.tokens = (int *)allocate(2*room, sizeof(int), "a batch");
    b.targets = b.tokens + room;
    b.losses = (real *)allocate(3*room, sizeof(real), "the losses");
    b.zlosses = b.losses + room;
    b.weights = b.zlosses + room;
    return b;
}
static void batch_free(Batch *b) {
    release(b->row);
    release(b->order);
    release(b->tokens);
    release(b->losses);
}

// Shortest first; among equals, in the order of the update.
static int by_length(const void *a, const void *b) {
    const Row *x = *(Row *const *)a, *y = *(Row *const *)b;
    if (x->length != y->length) return x->length > y->length ? 1 : -1;
    return (x > y) - (x < y);
}

// The pass that begins with the k-th row of the order; the next one begins with row k + B.
static Pass batch_pass(const Batch *b, int k) {
    int B = imin(b->micro, b->n - k);
    Pass pass = { B, b->order[k + B - 1]->length, b->order[k]->start };
    return pass;
}

// Reads this rank's share of the groups order[0..groups), or, where order is NULL, of the groups from
// `first` on. Rows are padded with `pad`. As in OLMo, rank r takes the groups r, r + world, ... If some
// ranks have one group less, they read the first one again, as a filler without labels, so that all make
// equally many passes.
static void batch_read(Batch *b, const Rows *rows, const uint32_t *order, size_t first,
                       int groups, int vocab, int pad) {
    const int G = rows->group;
    size_t start = 0;
    b->n = (int)ceil_div(groups, ranks.world)*rows->group;
    for (int r = 0; r < b->n; r++) {
        Row *row = b->order[r] = &b->row[r];
        int g = r/G*ranks.world + ranks.rank;
        row->filler = g >= groups;
        if (row->filler) g = 0;
        row->index = (order ? order[g] : first + g)*G + r % G;
        row->length = rows->read(rows->source, row->index, vocab, NULL, NULL);
        row->reference = rows->reference ? rows->reference[row->index] : 0;
    }
    qsort(b->order, (size_t)b->n, sizeof *b->order, by_length);
    for (int k = 0; k < b->n; ) {
        const int T = batch_pass(b, k).T, end = k + batch_pass(b, k).B;
        for (; k < end; k++, start += (size_t)T) {
            Row *row = b->order[k];
            int *tokens = b->tokens + start, *targets = b->targets + start;
            rows->read(rows->source, row->index, vocab, tokens, targets);
            for (int t = row->length; t < T; t++) {
                tokens[t] = pad;
                targets[t] = IGNORE;
            }
            for (int t = 0; t < T && row->filler; t++) targets[t] = IGNORE;
            row->start = start;
            row->padded = T;
            row->labels = 0;
            for (int t = 0; t < T; t++) row->labels += targets[t] >= 0;
        }
    }
}

// ================================================================================================
// 8. Generation: text and ids, sampling with the KV cache
// ================================================================================================

// Prints text that a model has written, in UTF-8. Control characters, which a terminal would obey, become
// question marks: the 32 codes below the blank (but newline and tab), 127, and the 32 from U+0080 on,
// which begin with 0xc2.
static void print_text(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        const int second = c == 0xc2 && i + 1 < n && (unsigned char)text[i + 1] < 0xa0;
        putchar(second || (c < ' ' && c != '\n' && c != '\t') || c == 127 ? '?' : c);
        i += (size_t)second;
    }
}

#include "data/tokenizer.c"                                // a tokenizer.json: encode and decode

// The text of n ids; without a tokenizer each is a byte. *size: its bytes. The caller releases it.
static char *decoded(const Tokenizer *t, const int *ids, size_t n, size_t *size) {
    char *text = (char *)allocate(n*(t ? (size_t)t->longest : 1) + 1, 1, "a text");
    *size = t ? decode(t, text, ids, n) : n;
    for (size_t i = 0; !t && i < n; i++) text[i] = (char)ids[i];
    return text;
}

// temperature 0: greedy; top_k 0, top_p 1: off.
typedef struct { double temperature, top_p; int top_k; } Sampling;

typedef struct { real logit; int id; double weight; } Candidate;

// Whether x is likelier than y; of equals, the one with the lower id counts as likelier.
static int is_likelier(const Candidate *x, const Candidate *y) {
    return x->logit != y->logit ? x->logit > y->logit : x->id < y->id;
}

// Candidates in order, the likeliest first, as many as are asked for. A heap finds them, because sorting
// all of a large vocabulary would take milliseconds per token. A parent is likelier than its children.
typedef struct { Candidate *heap; int left; } Candidates;

static void sift_down(Candidates *c, int i) {
    for (int child; (child = 2*i + 1) < c->left; i = child) {
        if (child + 1 < c->left && is_likelier(&c->heap[child + 1], &c->heap[child])) child++;
        if (!is_likelier(&c->heap[child], &c->heap[i])) return;
        const Candidate swap = c->heap[i];
        c->heap[i] = c->heap[child];
        c->heap[child] = swap;
    }
}

// Candidate `rank`; 0 is the likeliest. Those found so far lie behind the heap, the first at the very end.
static Candidate *candidate_at(Candidates *c, int V, int rank) {
    while (V - c->left <= rank) {
        const Candidate first = c->heap[0];
        c->heap[0] = c->heap[--c->left];
        c->heap[c->left] = first;
        sift_down(c, 0);
    }
    return &c->heap[V - 1 - rank];
}

// Draws from softmax(logits/temperature), cut to the top_k likeliest tokens, then to the fewest of these
// that hold the share top_p of their probability. u is uniform in (0, 1]. candidate: [V], scratch.
static int sample(const real *logits, int V, Sampling how, double u, Candidate *candidate) {
    // The maximum is found in vectors; one loop for it and its place would take three times as long.
    const real most = row_max(logits, V);
    int best = 0;
    while (best < V - 1 && logits[best] != most) best++;
    CHECK(isfinite(most), "the model's largest logit is %g; are its weights damaged?", (double)most);
    if (how.temperature == 0) return best;

    Candidates all = { candidate, V };
    double total = 0, kept = 0, sum = 0;                    // of weights: softmax's, not yet divided
    for (int v = 0; v < V; v++) {
        candidate[v].logit = logits[v];
        candidate[v].id = v;
        candidate[v].weight = exp((logits[v] - (double)logits[best])/how.temperature);
        total += candidate[v].weight;
    }
    for (int i = V/2 - 1; i >= 0; i--) sift_down(&all, i);

    int n = V;
    if (how.top_k > 0 && how.top_k < V) {
        n = how.top_k;
        total = 0;
        for (int i = 0; i < n; i++) total += candidate_at(&all, V, i)->weight;
    }
    if (how.top_p >= 1) kept = total;
    for (int i = 0; i < n && kept < how.top_p*total; i++) {     // the fewest that hold top_p
        kept += candidate_at(&all, V, i)->weight;
    }
    for (int i = 0; i < n; i++) {
        const Candidate *c = candidate_at(&all, V, i);
        sum += c->weight;
        if (sum >= u*kept) return c->id;
    }
    return candidate_at(&all, V, n - 1)->id;
}

// Continues tokens[0..n) up to `limit` tokens in all, or to the id that ends a document, which is kept.
// Returns the new length.
static int generate(Model m, int *tokens, int n, int limit, Sampling how, uint64_t seed) {
    const int V = m.config->vocab;
    real *logits = (real *)allocate((size_t)V, sizeof(real), "the logits");
    Candidate *candidate = (Candidate *)allocate((size_t)V, sizeof(Candidate), "the candidates");
    for (int past = 0; n < limit && !asked_to_stop; past = n++) {
        m.device->decode(m.handle, logits, tokens + past, n - past, past);
        tokens[n] = sample(logits, V, how, uniform(hash64(hash64(seed) + (uint64_t)n)), candidate);
        if (tokens[n] == m.config->eos) { n++; break; }
    }
    release(logits);
    release(candidate);
    return n;
}

#include "data/chat.c"                                     // conversations and pairs of them, as rows
#include "data/requests.c"                                 // questions with choices: --eval-tasks

// ================================================================================================
// 9. Options: one table, recipes, the command line
// ================================================================================================

// ---- every option ------------------------------------------------------------------------------
// An option is a field of Options, its default in options_of_preset, and a row of option_table.

enum { MAX_OPTIONS = 96 };

typedef struct {
    Config config;
    Recipe recipe;
    Sampling sampling;
    Saving saving;
    const char *model, *load, *init;                        // model
    int tied, untied;
    const char *data, *dpo, *val, *label_mask, *dtype;      // data
    const char *tuning, *warmup, *denominator;              // training
    int epochs, seed, as_released;
    double dpo_beta;
    int eval_every, sample_every;                           // evaluation and samples
    const char *eval_sets, *eval_tasks, *tokenizer, *prompt, *prompt_ids;
    int save_every, keep, no_save, energy;                  // run
    double watts, pue, carbon_intensity, peak_tflops;
    int threads, gpus, resume;                              // here and now
    const char *shard, *out;
    int eval, generate, chat, shard_mb, help, version;      // instead of training
    const char *export_dir, *export_dtype;
    const void *given[MAX_OPTIONS + 1];                     // the fields set by the command line, and a NULL
} Options;

// A row of the table is the heading of a group, which says what --resume does with the group's options, or
// an option.
typedef enum {
    GROUP,                                                  // a heading: --resume forgets these
    KEPT,                                                   // ... goes on with these
    DECISIVE,                                               // ... too, and says which changed: so do the bits
    FLAG, WHOLE, NUMBER, TEXT,
    LIST,                                                   // a TEXT that may be given several times
} Kind;
typedef struct { const char *name; Kind kind; void *value; const char *about; } Option;
static int is_heading(const Option *option) { return option->kind <= DECISIVE; }
static int is_text(const Option *option) { return option->kind == TEXT || option->kind == LIST; }

// Whether a list of fields, which ends with a NULL, has this one.
static int is_listed(const void *const *list, const void *field) {
    while (*list && *list != field) list++;
    return *list != NULL;
}
// Whether the command line has set this field, as in given(o, &o->recipe.steps).
static int given(const Options *o, const void *field) { return is_listed(o->given, field); }

// The one table of options: the command line is parsed by it, --help prints it, and checkpoints keep its
// values. table: [MAX_OPTIONS]; returns how many rows it has.
static int option_table(Options *o, Option *table) {
    Config *c = &o->config;
    Recipe *r = &o->recipe;
    const Option all[] = {
        { "model", GROUP, NULL, "" },
        { "--model", TEXT, &o->model,
          "tiny (the default), 150m, 1b, 7b or 7b-0424: sizes, and how they are trained" },
        { "--load", TEXT, &o->load, "a Hugging Face directory: sizes and weights come from it" },
        { "--d-model", WHOLE, &c->d_model, "width of the residual stream" },
        { "--n-layers", WHOLE, &c->n_layers, "layers" },
        { "--n-heads", WHOLE, &c->n_heads, "query heads" },
        { "--n-kv-heads", WHOLE, &c->n_kv_heads,
          "key/value heads; fewer than query heads is GQA (0: as many)" },
        { "--mlp-hidden", WHOLE, &c->mlp_hidden,
          "rows of ff_proj, up and gate together (as OLMo's mlp_hidden_size)" },
        { "--vocab", WHOLE, &c->vocab, "rows of the embedding" },
        { "--seq-len", WHOLE, &c->seq_len, "tokens in a sequence" },
        { "--rope-theta", NUMBER, &c->rope_theta, "base of the rotary angles" },
        { "--clip-qkv", NUMBER, &c->clip_qkv, "clamp queries, keys and values to [-X, X] (0: off)" },
        { "--eos", WHOLE, &c->eos, "id that ends a document: generation stops at it" },
        { "--tied", FLAG, &o->tied, "the head is the embedding matrix" },
        { "--untied", FLAG, &o->untied, "the head is a matrix of its own" },
        { "--init", TEXT, &o->init, "mitchell, normal or full_megatron" },
        { "data", KEPT, NULL, "" },
        { "--data", TEXT, &o->data,
          "PATH[,PATH]: .txt is bytes; .npy and .bin are tokens; .jsonl is conversations "
          "(default: stories)" },
        { "--dpo", TEXT, &o->dpo,
          "PATH[,PATH] instead of --data: .jsonl with pairs, a chosen and a rejected conversation" },
        { "--val", TEXT, &o->val,
          "PATH[,PATH] for validation, or `none` (default: the last 1/20 of each file, at most "
          "256 windows)" },
        { "--label-mask", TEXT, &o->label_mask,
          "PATH[,PATH] beside --data: a byte for each token, 0 where it must not be a label" },
        { "--dtype", TEXT, &o->dtype, "uint16 or uint32: tokens in files without a NumPy header" },
        { "training", DECISIVE, NULL, "" },
        { "--recipe", TEXT, &o->tuning,
          "sft or dpo: as OLMo-7B was fine-tuned (the default with --load, unless --model names a preset)" },
        { "--steps", WHOLE, &r->steps, "updates in all" },
        { "--epochs", WHOLE, &o->epochs, "instead of --steps: passes over all the data" },
        { "--batch", WHOLE, &r->batch, "sequences per update" },
        { "--seed", WHOLE, &o->seed, "of init, data order and sampling" },
        { "--lr", NUMBER, &r->lr, "peak learning rate" },
        { "--schedule", TEXT, &r->schedule,
          "cosine, linear, inverse-sqrt, max, envelope, constant, or finetune: from 0 to the peak to 0" },
        { "--warmup", TEXT, &o->warmup,
          "steps from a tenth of the peak to the peak, or a part of all: 3%" },
        { "--final-lr", NUMBER, &r->final_lr, "the last learning rate, as a fraction of --lr" },
        { "--weight-decay", NUMBER, &r->weight_decay, "decoupled, of all matrices but the embedding" },
        { "--beta1", NUMBER, &r->beta1, "AdamW" },
        { "--beta2", NUMBER, &r->beta2, "AdamW" },
        { "--eps", NUMBER, &r->eps, "AdamW" },
        { "--decay-embeddings", FLAG, &r->decay_embeddings, "the embedding decays too" },
        { "--clip", NUMBER, &r->clip, "largest global gradient norm (0: no clipping)" },
        { "--clip-warmup-steps", WHOLE, &r->clip_warmup_steps, "for this many first steps ..." },
        { "--clip-warmup-factor", NUMBER, &r->clip_warmup_factor, "... --clip is multiplied by this" },
        { "--z-loss", NUMBER, &c->z_loss, "weight of the squared log-sum-exp of the logits (0: off)" },
        { "--denominator", TEXT, &o->denominator,
          "predicted: mean over labels; all: over all tokens, as OLMo's newer code; sequences: "
          "mean of each row's mean" },
        { "--dpo-beta", NUMBER, &o->dpo_beta, "how strongly DPO holds to the weights it starts from" },
        { "--as-released", FLAG, &o->as_released,
          "labels of conversations one place to the left, as OLMo's released runs had them" },
        { "evaluation", KEPT, NULL, "" },
        { "--eval-every", WHOLE, &o->eval_every, "steps between validations (0: only at the end)" },
        { "--eval-set", LIST, &o->eval_sets,
          "NAME=PATH[,NAME=PATH]: more files to validate on, as eval/NAME/" },
        { "--eval-tasks", LIST, &o->eval_tasks,
          "DIR[,DIR]: questions with choices (data/requests.c), asked at every validation" },
        { "samples", KEPT, NULL, "" },
        { "--tokenizer", TEXT, &o->tokenizer,
          "tokenizer.json: conversations, prompts and samples are text (without it: bytes, or bare ids)" },
        { "--prompt", TEXT, &o->prompt, "text to continue, with --generate N or --sample-every N" },
        { "--prompt-ids", TEXT, &o->prompt_ids, "token ids to continue: 1,2,3" },
        { "--temperature", NUMBER, &o->sampling.temperature, "divides the logits (0: greedy)" },
        { "--top-k", WHOLE, &o->sampling.top_k, "sample from the K likeliest tokens (0: all)" },
        { "--top-p", NUMBER, &o->sampling.top_p,
          "sample from the fewest tokens that hold probability P" },
        { "--sample-every", WHOLE, &o->sample_every, "steps between samples (0: none)" },
        { "run", KEPT, NULL, "" },
        { "--micro-batch", WHOLE, &r->micro_batch,
          "sequences per forward pass: fewer take less memory, with the same result" },
        { "--save-every", WHOLE, &o->save_every, "steps between checkpoints (0: only at the end)" },
        { "--keep", WHOLE, &o->keep,
          "checkpoints to keep: after each, all but the newest N are removed (0: keep all)" },
        { "--no-save", FLAG, &o->no_save, "no checkpoints, only metrics.jsonl" },
        { "--energy", FLAG, &o->energy,
          "measure the kWh that the run takes: of NVIDIA's cards by NVML, of processors by RAPL" },
        { "--watts", NUMBER, &o->watts, "... or assume this power (0: measure it)" },
        { "--pue", NUMBER, &o->pue, "watts that a computing centre takes for each watt of its computers" },
        { "--carbon-intensity", NUMBER, &o->carbon_intensity,
          "kg CO2e per kWh of the grid (0: not known, not printed)" },
        { "--peak-tflops", NUMBER, &o->peak_tflops,
          "of the device, for MFU (0: as its name says; a processor's is not known)" },
        { "here and now", GROUP, NULL, "" },
        { "--threads", WHOLE, &o->threads, "threads (0: all); the result does not depend on it" },
        { "--gpus", WHOLE, &o->gpus,
          "train on this many cards of this machine (0: on one, or as torchrun, mpirun or srun say)" },
        { "--shard", TEXT, &o->shard,
          "what several cards share out: optimizer (its moments), or gradients too: less memory" },
        { "--out", TEXT, &o->out, "directory of checkpoints and metrics.jsonl" },
        { "--resume", FLAG, &o->resume,
          "continue from the newest checkpoint of --out, with the options it was made with" },
        { "--recompute", TEXT, &o->saving.recompute,
          "activations that the GPU makes again in the backward pass: none, swiglu, gate-up or block" },
        { "--offload-optimizer", FLAG, &o->saving.offload_optimizer,
          "keep the GPU's optimizer state in the host's memory" },
        { "instead of training", GROUP, NULL, "" },
        { "--eval", FLAG, &o->eval, "print the validation loss" },
        { "--generate", WHOLE, &o->generate, "print this many new tokens" },
        { "--chat", FLAG, &o->chat,
          "talk with a fine-tuned model, one line per turn; --generate N limits an answer" },
        { "--export", TEXT, &o->export_dir, "write the model as a Hugging Face directory" },
        { "--export-dtype", TEXT, &o->export_dtype, "fp32, bf16 or fp16" },
        { "--shard-mb", WHOLE, &o->shard_mb, "megabytes that a weight file holds at most (0: one file)" },
        { "help", GROUP, NULL, "" },
        { "--help", FLAG, &o->help, "this text" },
        { "--version", FLAG, &o->version, "what this is" },
    };
    const int n = (int)(sizeof all/sizeof *all);
    CHECK(n <= MAX_OPTIONS, "option_table: %d options, and room for %d", n, MAX_OPTIONS);
    memcpy(table, all, sizeof all);
    return n;
}

// ---- reading and printing them -----------------------------------------------------------------

// An option's value, as a sentence quotes it.
static const char *option_text(const Option *option, char *out, size_t size) {
    const char *text = is_text(option) ? *(const char **)option->value : NULL;
    if (option->kind == FLAG) snprintf(out, size, "%s", *(int *)option->value ? "on" : "off");
    if (option->kind == WHOLE) snprintf(out, size, "%d", *(int *)option->value);
    if (option->kind == NUMBER) snprintf(out, size, "%.9g", *(double *)option->value);
    if (is_text(option)) snprintf(out, size, "%.100s", text ? text : "none");
    return out;
}

// Prints the table, broken at column 100. In brackets stand the values that it points to now: the
// defaults, as long as parse_options has not changed them. (A flag's default is always off.)
static void print_options(const Option *table, int n) {
    enum { INDENT = 28, WIDTH = 100 };
    for (int i = 0; i < n; i++) {
        const Option *option = &table[i];
        char value[128], standard[132] = "";
        if (is_heading(option)) { printf("\n%s\n", option->name); continue; }
        const int none = option->kind == FLAG || (is_text(option) && !*(const char **)option->value);
        if (!none) snprintf(standard, sizeof standard, " [%s]", option_text(option, value, sizeof value));
        const char *takes = is_text(option) ? " TEXT" : "";
        if (option->kind == WHOLE) takes = " N";
        if (option->kind == NUMBER) takes = " X";
        char call[64];
        snprintf(call, sizeof call, "%s%s", option->name, takes);
        int column = printf("  %-*s", INDENT - 3, call);
        for (const char *word = option->about; *word; word += strspn(word, " ")) {
            const int length = (int)strcspn(word, " "), last = !word[length];
            if (column + 1 + length + (last ? (int)strlen(standard) : 0) > WIDTH)
                column = printf("\n%*s", INDENT - 1, "") - 1;
            column += printf(" %.*s", length, word);
            word += length;
        }
        printf("%s\n", standard);
    }
}

// The row for an argument "--name", "--name=value" or "-h". *value: what follows the "=", or NULL.
static const Option *option_named(const Option *table, int n, const char *argument,
                                  const char **value) {
    size_t length = strcspn(argument, "=");
    *value = argument[length] ? argument + length + 1 : NULL;
    if (!strcmp(argument, "-h")) {
        argument = "--help";
        length = strlen(argument);
    }
    for (int k = 0; k < n; k++) {
        const char *name = table[k].name;
        if (!is_heading(&table[k]) && strlen(name) == length && !strncmp(name, argument, length))
            return &table[k];
    }
    die("%s: there is no such option; --help lists them all", argument);
}

// The least value of an option of whole numbers: 0, or -1 where that is the default, and means none.
static int least(const Option *option) { return *(int *)option->value < 0 ? -1 : 0; }

// Stores a value from the command line where the row points.
static void set_option(const Option *option, const char *value) {
    char *end = NULL;
    if (option->kind == TEXT) *(const char **)option->value = value;
    if (option->kind == LIST) {                             // a,b is a and b
        const char **list = (const char **)option->value, *before = *list ? *list : "";
        char *longer = (char *)allocate(strlen(before) + strlen(value) + 2, 1, option->name);
        sprintf(longer, "%s%s%s", before, *before ? "," : "", value);
        *list = longer;
    }
    if (option->kind == NUMBER) {
        double x = strtod(value, &end);
        CHECK(end != value && !*end && isfinite(x) && x >= 0,
              "%s %s: expected a number that is not negative", option->name, value);
        *(double *)option->value = x;
    }
    if (option->kind == WHOLE) {
        errno = 0;
        long x = strtol(value, &end, 10);
        CHECK(end != value && !*end && !errno && x >= least(option) && x <= INT32_MAX,
              "%s %s: expected a whole number from %d to %d", option->name, value, least(option), INT32_MAX);
        *(int *)option->value = (int)x;
    }
}

// Parses the command line, and sets what the table points to. Arguments that are not options (and the
// lone "-") go to files[], which has room for argc of them; NULL: there may be none. given: [n + 1] gets
// the addresses that were set, and a NULL after the last; or it is NULL itself. Returns how many files
// there are.
static int parse_options(const Option *table, int n, int argc, char **argv, const char **files,
                         const void **given) {
    int found = 0, set = 0;
    if (given) given[0] = NULL;
    for (int i = 1; i < argc; i++) {
        if (files && (argv[i][0] != '-' || !argv[i][1])) { files[found++] = argv[i]; continue; }
        const char *value;
        const Option *option = option_named(table, n, argv[i], &value);
        const int known = given && is_listed(given, option->value);
        if (given && !known) {
            given[set++] = option->value;
            given[set] = NULL;
        }
        if (option->kind == LIST && !known) *(const char **)option->value = NULL;
        if (option->kind == FLAG) {
            CHECK(!value, "%s: takes no value, found \"%s\"", option->name, value);
            *(int *)option->value = 1;
        } else {
            CHECK(value || i + 1 < argc, "%s: expected a value after it", option->name);
            set_option(option, value ? value : argv[++i]);
        }
    }
    return found;
}

// ---- what a checkpoint keeps of them -----------------------------------------------------------

// What --resume does with this option: what its heading says.
static Kind keeping(const Option *option) {
    while (!is_heading(option)) option--;
    return option->kind;
}

// Writes all options that a checkpoint keeps, as a JSON object.
static void write_options(FILE *file, const Option *table, int n) {
    const char *comma = "";
    fprintf(file, "{");
    for (int i = 0; i < n; i++) {
        const Option *option = &table[i];
        const char *text = is_text(option) ? *(const char **)option->value : NULL;
        if (is_heading(option) || keeping(option) == GROUP || (is_text(option) && !text)) continue;
        fprintf(file, "%s\n  \"%s\": ", comma, option->name);
        if (is_text(option)) write_json_string(file, text);
        else if (option->kind == NUMBER) fprintf(file, "%.17g", *(double *)option->value);
        else fprintf(file, "%d", *(int *)option->value);
        comma = ",";
    }
    fprintf(file, "}");
}

// Reads them back, from the object that write_options has written.
static void read_options(const char *object, const char *path, const Option *table, int n) {
    for (int i = 0; i < n; i++) {
        const Option *option = &table[i];
        const int known = !is_heading(option) && keeping(option) != GROUP;
        const char *value = known ? json_get(object, option->name) : NULL;
        if (!value) continue;
        if (is_text(option)) {
            const int room = (int)(json_skip(value, 0) - value) + 8;
            char *text = (char *)allocate((size_t)room, 1, "an option");
            CHECK(json_unescape(text, room, value) >= 0, "%s: expected a text \"%s\", found %s",
                  path, option->name, json_quoted(value));
            *(const char **)option->value = text;
        }
        if (option->kind == NUMBER)
            *(double *)option->value = json_number(object, path, option->name, 0, 1e300, NAN);
        if (option->kind == WHOLE || option->kind == FLAG)
            *(int *)option->value = json_int(object, path, option->name, least(option), INT32_MAX, NAN);
    }
}

// Makes the options of a checkpoint the defaults. Returns whether it has kept them.
static int resume_options(const char *directory, const Option *table, int n) {
    char path[PATH];
    path_join(path, directory, "train.json");
    char *text = read_text(path);
    const char *options = json_get(json_root(text, path), "options");
    const int kept_any = options && *options == '{';
    if (kept_any) read_options(options, path, table, n);
    else fprintf(stderr, "note: %s: keeps no options; all of them must be given again\n", path);
    release(text);
    return kept_any;
}

// Names the options that have another value than in the checkpoint. This is the user's choice, but from
// here on the run has other bits than without it.
static void say_changes(Options *then, Options *now, int step) {
    Option old[MAX_OPTIONS], new_[MAX_OPTIONS];
    const int n = option_table(then, old);
    char a[128], b[128];
    int changes = 0;
    option_table(now, new_);
    for (int i = 0; i < n; i++) {
        if (is_heading(&old[i]) || keeping(&old[i]) != DECISIVE) continue;
        option_text(&old[i], a, sizeof a);
        option_text(&new_[i], b, sizeof b);
        if (!strcmp(a, b)) continue;
        if (!changes++) fprintf(stderr, "note: from step %d on ", step + 1);
        else fprintf(stderr, ", ");
        fprintf(stderr, "%s is %s (it was %s)", old[i].name, b, a);
    }
    if (changes) fprintf(stderr, ": so these are not the bits of the run as it began\n");
}

// ---- recipes -----------------------------------------------------------------------------------

// Recipes for fine-tuning. Steps and warm-up depend on the data, so complete_recipe fills them in.
typedef struct { const char *name, *about; Recipe recipe; int epochs; const char *warmup; } Tuning;

// arXiv 2402.00838, appendix B; batches: open-instruct's configs.
static const Tuning tunings[] = {
    // schedule  lr  final warmup steps batch micro decay beta1 beta2   eps emb clip  clip warm-up
    { "sft", "OLMo-7B's supervised fine-tuning: 3 epochs",
      { "finetune", 2e-6, 0,   0,    0,  128,   1,    0, 0.9, 0.999, 1e-8,  0,  0,     0,  1 }, 3, "3%" },
    { "dpo", "its direct preference optimization: 3 epochs",
      { "finetune", 5e-7, 0,   0,    0,   32,   1,    0, 0.9, 0.999, 1e-8,  0,  0,     0,  1 }, 3, "10%" },
};
enum { TUNINGS = sizeof tunings/sizeof *tunings };

static const Tuning *tuning_named(const char *name) {
    for (int i = 0; i < TUNINGS; i++) if (!strcmp(tunings[i].name, name)) return &tunings[i];
    die("--recipe %s: there is no such recipe; choose sft or dpo", name);
}

static void use_tuning(Options *o, const Tuning *t) {
    o->tuning = t->name;
    o->recipe = t->recipe;
    o->epochs = t->epochs;
    o->warmup = t->warmup;
}

// The steps of --warmup: "100", or "3%" of all steps.
static int warmup_steps(const char *text, int steps) {
    char *end;
    const double x = strtod(text, &end);
    const double most = *end == '%' ? 100 : INT32_MAX;
    const int share = *end == '%';
    CHECK(end != text && !end[share] && x >= 0 && x <= most && (share || x == floor(x)),
          "--warmup %s: expected a whole number of steps, or a part of all like 3%%", text);
    return (int)(share ? x*steps/100 : x);
}

// All defaults: those of a preset, and the others.
static Options options_of_preset(const char *name) {
    Options o;
    Preset preset = preset_named(name);
    memset(&o, 0, sizeof o);
    static char warmup[16];
    snprintf(warmup, sizeof warmup, "%d", preset.recipe.warmup);
    o.warmup = warmup;
    o.dpo_beta = 0.1;
    o.pue = 1;
    o.model = preset.name;
    o.config = preset.config;
    o.recipe = preset.recipe;
    o.init = "mitchell";
    o.dtype = "uint16";
    o.denominator = "predicted";
    o.saving = saving;
    o.out = "out";
    o.export_dtype = "fp32";
    o.shard = "optimizer";
    o.seed = 6198;                                          // that of OLMo's configs
    o.save_every = 1000;
    o.eval_every = 500;
    o.sample_every = 1000;
    o.sampling.temperature = 0.8;
    o.sampling.top_p = 1;
    return o;
}

static void print_help(Options *o) {
    Option table[MAX_OPTIONS];
    printf("usage: train_olmo [options]      without any: train a small OLMo on stories\n");
    print_options(table, option_table(o, table));
    printf("\nIn brackets: the values of --model %s.\n\nPresets (--model):\n", o->model);
    for (size_t i = 0; i < sizeof presets/sizeof *presets; i++) {
        printf("  %-10s %s\n", presets[i].name, presets[i].about);
    }
    printf("\nRecipes (--recipe):\n");
    for (int i = 0; i < TUNINGS; i++) printf("  %-10s %s\n", tunings[i].name, tunings[i].about);
    printf("\nFine-tuning: --load DIR --data FILE --out NEW starts from the weights in DIR, with the recipe\n"
           "sft, on tokens or on conversations (.jsonl); --dpo PAIRS.jsonl with the recipe dpo. Each of its\n"
           "values can be changed, by --lr, --epochs and the others. With --model NAME it is that preset's\n"
           "recipe instead, as if training from scratch.\n");
}

// ---- what is refused ---------------------------------------------------------------------------

// Whether this run trains on conversations, or is measured on them.
static int is_conversations(const Options *o) {
    const char *paths = o->data ? o->data : o->val;
    char first[PATH];
    return o->dpo || (paths && ends_with(list_item("--data or --val", paths, 0, first), ".jsonl"));
}

// The option that asks for something instead of training, or NULL.
static const char *instead_of_training(const Options *o) {
    if (o->chat) return "--chat";
    if (o->generate) return "--generate";
    if (o->eval) return "--eval";
    return o->export_dir ? "--export" : NULL;
}

// Sizes on the command line must be those of the model that is loaded. Only a run that goes on must also
// keep the length and the end of its documents.
static void must_match(const char *flag, double asked, double found, const char *directory) {
    CHECK(asked == found, "%s %g does not fit the model in %s, which has %g", flag, asked,
          directory, found);
}
static void check_same_model(const Options *o, const Config *found, const char *directory) {
    const Config *asked = &o->config;
    must_match("--d-model", asked->d_model, found->d_model, directory);
    must_match("--n-layers", asked->n_layers, found->n_layers, directory);
    must_match("--n-heads", asked->n_heads, found->n_heads, directory);
    must_match("--n-kv-heads", asked->n_kv_heads, found->n_kv_heads, directory);
    must_match("--mlp-hidden", asked->mlp_hidden, found->mlp_hidden, directory);
    must_match("--vocab", asked->vocab, found->vocab, directory);
    must_match("--rope-theta", asked->rope_theta, found->rope_theta, directory);
    must_match("--clip-qkv", asked->clip_qkv, found->clip_qkv, directory);
    if (o->resume) must_match("--seq-len", asked->seq_len, found->seq_len, directory);
    if (o->resume) must_match("--eos", asked->eos, found->eos, directory);
    CHECK(asked->tied == found->tied, "%s does not fit the model in %s, whose head is %s",
          asked->tied ? "--tied" : "--untied", directory,
          found->tied ? "the embedding" : "a matrix of its own");
}

// Refuses what is done instead of training together with what is only for training. (--eval reads --data,
// to measure the part of it that is held out.)
static void check_command(const Options *o) {
    const char *instead = instead_of_training(o);
    const struct { const char *name; int asked; } training[] = {
        { "--resume", o->resume }, { "--energy", o->energy },
        { "--steps", given(o, &o->recipe.steps) }, { "--epochs", given(o, &o->epochs) },
        { "--data", o->data && !o->eval }, { "--dpo", o->dpo && !o->eval },
    };
    for (size_t i = 0; instead && i < sizeof training/sizeof *training; i++)
        CHECK(!training[i].asked, "%s is for training, %s is done instead of it: these are two commands",
              training[i].name, instead);
    CHECK(o->generate || !given(o, &o->generate), "--generate 0: expected at least one token");
    CHECK(!o->chat || !(o->prompt || o->prompt_ids),
          "--chat and --prompt: in a chat, every prompt is typed; --generate N without --chat continues one");
    CHECK(!o->resume || !o->load,
          "--resume goes on from the newest checkpoint in %s, --load starts from another model; "
          "choose one", o->out);
}

// Refuses an option that only serves another one, which is missing. (A run prints samples by default, but a
// prompt and nothing else means that --generate was forgotten.)
static void check_served(const Options *o) {
    const int continues = o->generate || (o->sample_every && (given(o, &o->sample_every) || o->resume));
    const int speaks = continues || o->chat, exports = o->export_dir != NULL;
    const char *const samples = "--generate N, the number of new tokens (or, while training, "
                                "--sample-every N)";
    const struct { const char *name; const void *field; int served; const char *by; } rows[] = {
        { "--prompt", &o->prompt, continues, samples },
        { "--prompt-ids", &o->prompt_ids, continues, samples },
        { "--temperature", &o->sampling.temperature, speaks, samples },
        { "--top-k", &o->sampling.top_k, speaks, samples },
        { "--top-p", &o->sampling.top_p, speaks, samples },
        { "--export-dtype", &o->export_dtype, exports, "--export DIR" },
        { "--shard-mb", &o->shard_mb, exports, "--export DIR" },
        { "--label-mask", &o->label_mask, o->data != NULL, "--data, the files it belongs to" },
        { "--dpo-beta", &o->dpo_beta, o->dpo != NULL, "--dpo PAIRS.jsonl" },
        { "--as-released", &o->as_released, is_conversations(o), "--data CHAT.jsonl or --dpo PAIRS.jsonl" },
        { "--watts", &o->watts, o->energy, "--energy" },
        { "--pue", &o->pue, o->energy, "--energy" },
        { "--carbon-intensity", &o->carbon_intensity, o->energy, "--energy" },
    };
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++)
        CHECK(rows[i].served || !given(o, rows[i].field), "%s: expected %s beside it", rows[i].name,
              rows[i].by);
}

// Refuses options that contradict each other.
static void check_together(const Options *o) {
    CHECK(!o->prompt || !o->prompt_ids, "--prompt and --prompt-ids: only one of them can be continued");
    CHECK(!o->tied || !o->untied, "--tied and --untied: only one of them can be");
    CHECK(!o->dpo || !o->data, "--dpo and --data: only one of them can be trained on%s",
          o->resume ? "; --resume goes on with that of the run" : "");
    CHECK(!given(o, &o->epochs) || !given(o, &o->recipe.steps),
          "--epochs and --steps: only one of them can decide");
    CHECK(o->epochs || !given(o, &o->epochs),
          "--epochs 0: expected at least one (--steps 0 makes no update)");
    if (!o->dpo) return;
    CHECK(!given(o, &o->denominator), "--denominator: DPO takes the mean over pairs; it has no other");
    CHECK(!o->config.z_loss, "--z-loss: DPO has none; its weights are negative for rejected answers");
    CHECK(!o->eval, "--eval: beside --dpo the reference would be the same model; expected --val CHAT.jsonl "
          "alone");
}

// The bytes of a token in files that do not say it.
static int token_width(const char *dtype) {
    CHECK(!strcmp(dtype, "uint16") || !strcmp(dtype, "uint32"),
          "--dtype %s: expected uint16 or uint32", dtype);
    return !strcmp(dtype, "uint16") ? 2 : 4;
}

// Refuses values that no run can be made with.
static void check_recipe(const Options *o) {
    const Recipe *r = &o->recipe;
    CHECK(r->batch > 0 && r->micro_batch > 0,
          "--batch %d --micro-batch %d: expected at least one sequence", r->batch, r->micro_batch);
    CHECK((size_t)r->micro_batch*(size_t)o->config.seq_len < 1 << 30,
          "--micro-batch %d: too many tokens in one pass", r->micro_batch);
    CHECK(r->beta1 < 1 && r->beta2 < 1, "--beta1 %g --beta2 %g: expected numbers below 1", r->beta1,
          r->beta2);
    CHECK(o->sampling.top_p > 0 && o->sampling.top_p <= 1,
          "--top-p %g: expected a probability above 0", o->sampling.top_p);
    CHECK(o->dpo_beta > 0, "--dpo-beta %g: expected a number above 0; at 0 nothing is learned", o->dpo_beta);
    CHECK(!strcmp(o->shard, "optimizer") || !strcmp(o->shard, "gradients"),
          "--shard %s: expected optimizer or gradients", o->shard);
    (void)token_width(o->dtype);
    (void)warmup_steps(o->warmup, 1);                       // dies if it is no number of steps
    (void)learning_rate(r, r->warmup + 1);                  // dies if there is no such schedule
}

static Dtype dtype_named(const char *name) {
    if (!strcmp(name, "fp32")) return F32;
    if (!strcmp(name, "bf16")) return BF16;
    CHECK(!strcmp(name, "fp16"), "--export-dtype %s: expected fp32, bf16 or fp16", name);
    return F16;
}

// A preset and a recipe are where a run begins. When it goes on with all its options, they would do nothing.
static void check_begun(const Options *asked, const Options *o, const char *directory) {
    const char *name = given(asked, &o->model) ? "--model" : given(asked, &o->tuning) ? "--recipe" : NULL;
    CHECK(!name, "%s is where a run begins, and --resume goes on with all options of %s; leave it out "
          "(--lr, --batch and others change one value each)", name, directory);
}

// ---- the command line --------------------------------------------------------------------------

// "out/" becomes "out". Its files' paths are longer, and must fit, too: now, not at the first checkpoint.
static const char *without_slash(const char *flag, const char *path, char *out) {
    enum { MOST = PATH - 64 };
    size_t n = strlen(path);
    CHECK(n > 0, "%s: expected the path of a directory", flag);
    CHECK(n <= MOST, "%s: expected a path of at most %d bytes, found one of %zu", flag, MOST, n);
    memcpy(out, path, n + 1);
    while (n > 1 && out[n - 1] == '/') out[--n] = 0;
    return out;
}

// Where the weights come from: the directory that --load names; what was trained last in --out, for
// --resume, or to be used instead of training; or "", nowhere: they are initialized.
static void find_weights(const Options *o, char *directory) {
    const int last = o->resume || (instead_of_training(o) && !o->load && !given(o, &o->model));
    const int newest = last ? newest_checkpoint(o->out) : -1;
    CHECK(!o->load || *o->load, "--load: expected the directory that holds config.json");
    CHECK(!o->resume || newest >= 0, "--resume: %s holds no checkpoint stepN%s", o->out, earlier_run(o->out));
    *directory = 0;
    if (o->load) path_print(directory, "%s", o->load);
    if (newest >= 0) path_print(directory, "%s/step%d", o->out, newest);
}

// Reads the command line twice: first for what names a preset, a recipe or a directory, because these
// give the defaults; then all of it over them. `before` gets the options of the run that --resume goes on
// with. Returns whether weights are to be read from `directory`.
static int choose_model(Options *o, Options *before, int argc, char **argv, char *directory) {
    static char out[PATH], export_dir[PATH];
    Option table[MAX_OPTIONS];
    const int n = option_table(o, table);
    *directory = 0;
    *o = options_of_preset("tiny");
    parse_options(table, n, argc, argv, NULL, o->given);
    const Options asked = *o;
    if (asked.help || asked.version) {                      // whatever else was asked for
        *o = options_of_preset(asked.model);
        o->help = asked.help;
        o->version = asked.version;
        return 0;
    }
    check_command(o);
    o->out = without_slash("--out", o->out, out);
    // Weights that have learned already are fine-tuned, unless a preset's recipe is asked for.
    const char *tuning = o->tuning;
    if (o->load && !given(o, &o->model) && !tuning) tuning = o->dpo ? "dpo" : "sft";
    find_weights(o, directory);
    Config found;
    if (*directory) found = config_read(directory);

    *o = options_of_preset(asked.model);
    if (tuning) use_tuning(o, tuning_named(tuning));
    o->config.n_kv_heads = 0;                               // as many as query heads
    if (*directory) o->config = found;
    const int compared = asked.resume && resume_options(directory, table, n);
    if (compared) check_begun(&asked, o, directory);
    CHECK(!*directory || !given(&asked, &o->init), "--init is for new weights; these come from %s",
          directory);
    *before = *o;
    before->resume = compared;
    if (asked.prompt) o->prompt_ids = NULL;                 // one replaces the other of the run
    if (asked.prompt_ids) o->prompt = NULL;
    parse_options(table, n, argc, argv, NULL, o->given);

    check_served(o);
    check_together(o);
    if (o->tied || o->untied) o->config.tied = o->tied;
    if (!o->config.n_kv_heads) o->config.n_kv_heads = o->config.n_heads;
    o->out = without_slash("--out", o->out, out);
    if (o->export_dir) o->export_dir = without_slash("--export", o->export_dir, export_dir);
    config_check(&o->config, "command line");
    check_recipe(o);
    saving = o->saving;
    o->recipe.micro_batch = imin(o->recipe.micro_batch, o->recipe.batch);
    if (*directory) check_same_model(o, &found, directory);
    return *directory != 0;
}

// ================================================================================================
// 10. Program: a run from its data to its last step
// ================================================================================================
// Told in the order of a run: what it minimizes; its data, directory and model; a step; the loop; main.
// Easiest to read from its end: olmo_main, then train, then train_step.

#include "data/ranks.c"                                     // several ranks: how they start, meet, end

// ---- objectives --------------------------------------------------------------------------------
// The model computes a loss per token, and training minimizes a weighted sum of them. An objective
// chooses the weights, one per row, and knows what to measure. All its sums are divided by one
// denominator, which is itself a sum over the groups:
//
//     predicted    sum of losses / number of labels: every label counts the same (OLMO_SPEC 1.12)
//     all          sum of losses / number of tokens
//     sequences    sum of (mean loss of a row) / number of rows with a label
//     dpo          sum of -log sigmoid(beta*D) / number of pairs (arXiv 2305.18290), where D is how
//                  much more the model prefers the chosen row than the reference does:
//                  D = (log p(c) - log p(r)) - (log p_ref(c) - log p_ref(r))

enum { MAX_SUMS = 8 };

// What is measured: its name in metrics.jsonl, and that on the console (NULL: it is not shown there).
typedef struct { const char *name, *label; } Measure;

typedef struct Objective {
    const char *name;
    int looks_first;                                        // 1: its weights depend on the losses
    // For one group: adds its terms to sums, sets the weights of its rows, before the division by the
    // denominator, and returns its part of the denominator.
    double (*share)(const struct Objective *o, Row *row, double *sums);
    const Measure *measure;                                 // names of the divided sums; ends with a NULL
    const char *set;                                        // what stands before them for validation data
    double beta;                                            // of DPO
} Objective;

static double share_predicted(const Objective *o, Row *row, double *sums) {
    (void)o;
    row->weight = 1;
    sums[0] += row->loss;
    sums[1] += row->zloss;
    return row->labels;
}
static double share_all(const Objective *o, Row *row, double *sums) {
    (void)share_predicted(o, row, sums);
    return row->length;
}
static double share_sequences(const Objective *o, Row *row, double *sums) {
    (void)o;
    row->weight = 1/fmax(1, row->labels);
    sums[0] += row->weight*row->loss;
    sums[1] += row->weight*row->zloss;
    return row->labels > 0;
}

// L = -log sigmoid(beta*D) gives dL/dD = -g with g = beta*sigmoid(-beta*D). log p is minus a loss, so
// dL/dloss is g for the chosen row and -g for the rejected one.
static double share_dpo(const Objective *o, Row *row, double *sums) {
    Row *chosen = row, *rejected = row + 1;
    const double beta = o->beta;
    const double won = beta*(-chosen->loss - chosen->reference);
    const double lost = beta*(-rejected->loss - rejected->reference);
    const double margin = won - lost;                       // beta*D
    const double tail = exp(-fabs(margin));                 // cannot overflow
    const double sigmoid = margin > 0 ? tail/(1 + tail) : 1/(1 + tail);         // of -margin
    chosen->weight = beta*sigmoid;
    rejected->weight = -beta*sigmoid;
    const double terms[] = { log1p(tail) + fmax(-margin, 0), won, lost, won > lost ? 1.0 : 0.0, margin,
                             -chosen->loss, -rejected->loss };
    for (int i = 0; i < 7; i++) sums[i] += terms[i];
    return 1;
}

static const Measure dpo_measured[] = {                     // TRL's names
    { "train/DPOLoss", "loss" }, { "rewards/chosen", "chosen" }, { "rewards/rejected", "rejected" },
    { "rewards/accuracies", "accuracy" }, { "rewards/margins", "margin" }, { "logps/chosen", "log_p_chosen" },
    { "logps/rejected", "log_p_rejected" }, { NULL, NULL }
};
static const Measure losses_measured[] = {
    { "train/CrossEntropyLoss", "loss" }, { "train/ZLoss", NULL }, { NULL, NULL },
};
// The first one also measures validation data.
static const Objective objectives[] = {
    { "predicted", 0, share_predicted, losses_measured, "eval/validation/", 0 },
    { "all", 0, share_all, losses_measured, "eval/validation/", 0 },
    { "sequences", 0, share_sequences, losses_measured, "eval/validation/", 0 },
};
static Objective dpo_objective(double beta) {
    Objective dpo = { "dpo", 1, share_dpo, dpo_measured, "eval/", beta };
    return dpo;
}

static Objective objective_named(const char *name) {
    for (size_t i = 0; i < sizeof objectives/sizeof *objectives; i++)
        if (!strcmp(objectives[i].name, name))
            return objectives[i];
    die("--denominator %s: expected predicted, all or sequences", name);
}

// Adds the sums of a batch to sums[MAX_SUMS], and returns its denominator.
static double objective_sums(const Objective *o, const Batch *b, double *sums) {
    double denominator = 0;
    for (int r = 0; r < b->n; r += b->group)
        if (!b->row[r].filler) denominator += o->share(o, &b->row[r], sums);
    return denominator;
}

// Sets weights[b,t]: where there is a label, the weight of its row over the denominator of the whole
// update. So the gradients of passes, and of ranks, simply add up. Returns the denominator.
static double objective_weigh(const Objective *o, Batch *b) {
    double unused[MAX_SUMS] = { 0 }, denominator = objective_sums(o, b, unused);
    ranks_sum(&denominator, 1);
    for (int r = 0; r < b->n; r++) {
        const Row *row = &b->row[r];
        for (size_t i = row->start; i < row->start + (size_t)row->padded; i++)
            b->weights[i] = (real)(b->targets[i] < 0 ? 0 : row->weight/denominator);
    }
    return denominator;
}

// ---- metrics -----------------------------------------------------------------------------------
// The metrics of a step are a list. Whatever measures something appends to it. metrics.jsonl gets all of it,
// the console what has a label.

typedef struct {
    char name[112];
    const char *label;                                      // on the console; "": the last part of its name
    double value;
    char note[48];                                          // for the console
} Metric;
typedef struct { Metric *list; int n; size_t room; } Metrics;

static Metric *metric(Metrics *m, double value, const char *label, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static Metric *metric(Metrics *m, double value, const char *label, const char *format, ...) {
    m->list = (Metric *)with_room(m->list, (size_t)m->n, (size_t)m->n + 1, &m->room, sizeof *m->list,
                                  "the metrics");
    Metric *new_one = &m->list[m->n++];
    va_list args;
    va_start(args, format);
    vsnprintf(new_one->name, sizeof new_one->name, format, args);
    va_end(args);
    new_one->label = label;
    new_one->value = value;
    new_one->note[0] = 0;
    return new_one;
}

// Appends what an objective has measured. set: NULL while training; else "eval/NAME/", which stands
// before the name, in place of its "train/".
static void metric_means(Metrics *m, const Objective *o, const char *set, const double *sums,
                         double denominator) {
    for (int i = 0; o->measure[i].name; i++) {
        const Measure *measure = &o->measure[i];
        const char *last = strrchr(measure->name, '/') + 1;
        const char *name = set && !strncmp(measure->name, "train/", 6) ? last : measure->name;
        const double mean = sums[i]/denominator;
        if (set && !measure->label) continue;
        metric(m, mean, set ? last : measure->label, "%s%s", set ? set : "", name);
        if (strcmp(last, "CrossEntropyLoss")) continue;
        metric(m, fmin(exp(mean), 1e300), set ? "Perplexity" : "ppl", "%sPerplexity",
               set ? set : "train/");
    }
}

// ---- a run -------------------------------------------------------------------------------------
typedef struct { char name[64]; Corpus files; Rows rows; } EvalSet;

typedef struct {
    Options o;
    Model model;                                            // o.config and layout, on a device
    Tokenizer *tokenizer;                                   // NULL: tokens are bytes, or bare ids
    Companions companions;                                  // the tokenizer's files, and others
    Layout layout;
    Corpus train_files, val_files;                          // what the rows are read from: token files ...
    Conversations *train_text, *val_text;                   // ... or conversations
    Rows train, val;                                        // val without groups: no validation
    EvalSet *set;                                           // [sets] of --eval-set
    int sets;
    Tasks tasks;                                            // of --eval-tasks
    Objective objective;                                    // what is minimized on `train`
    Objective judge;                                        // what is measured on `val`
    double floor;                                           // loss of a perfect model on `val`, or NAN
    Progress at;
    uint32_t *order;                                        // [train.groups] the shuffled groups ...
    int order_epoch;                                        // ... of this epoch
    Options before;                                         // of a resumed run: its checkpoint's
    char *data_text;                                        // what train.json says of the data
    double *reference;                                      // DPO's, of `train` and of `val`
    Metrics metrics;                                        // of this step
    FILE *metrics_file;                                     // metrics.jsonl
} Run;

// Rank 0 writes all files. The others hold pieces of what it writes, so they answer its questions until it
// is done.
static void by_rank_0(Run *run, void (*work)(Run *run)) {
    if (ranks.rank == 0) {
        work(run);
        ranks_dismiss();
    } else ranks_answer(run->model.handle);
}

// ---- its data ----------------------------------------------------------------------------------

// Describes a run's data for train.json: path, size and fingerprint of each file, in their order. If the
// data is conversations, the tokenizer comes last, because it makes their tokens.
static void write_data_file(FILE *file, const char *path, size_t size, uint64_t hash) {
    fprintf(file, "%s\n  {\"path\": ", ftell(file) > 1 ? "," : "");
    write_json_string(file, path);
    fprintf(file, ", \"bytes\": %zu, \"hash\": \"0x%016llx\"}", size, (unsigned long long)hash);
}
static char *data_text(const Run *run) {
    const Options *o = &run->o;
    const char *const lists[] = { o->data, o->dpo, o->label_mask };
    char path[PATH], *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    CHECK(file, "not enough memory for the list of data files");
    fprintf(file, "[");
    for (int k = 0; k < 3; k++) for (int i = 0; list_item("--data", lists[k], i, path); i++) {
        size_t size;
        const uint64_t hash = file_hash(path, &size);
        write_data_file(file, path, size, hash);
    }
    if (run->train_text && run->tokenizer) {
        const size_t size = run->companions.size[0];
        const uint64_t hash = fnv1a(fnv1a_start, (unsigned char *)run->companions.bytes[0], size);
        write_data_file(file, o->tokenizer ? o->tokenizer : companion_names[0], size, hash);
    }
    fprintf(file, "]");
    fclose(file);
    return text;
}

// The files of a resumed run must be those that it has seen, by size and fingerprint; they may lie
// elsewhere now.
static void check_same_data(const char *then, const char *now, const char *checkpoint) {
    const char *advice = "give the same data again, or start a new run from its weights with --load";
    const char *a = json_first_of(then), *b = json_first_of(now);
    for (; a && b; a = json_next_of(a), b = json_next_of(b)) {
        const char *old_hash = json_get(a, "hash"), *hash = json_get(b, "hash");
        int same = old_hash && !strncmp(old_hash, hash, 20);
        const double old_size = json_number(a, checkpoint, "bytes", 0, 1e18, NAN);
        same = same && old_size == json_number(b, checkpoint, "bytes", 0, 1e18, NAN);
        CHECK(same, "--resume: %s was made with %s, which is not what is now in %s; %s", checkpoint,
              json_quoted(json_get(a, "path")), json_quoted(json_get(b, "path")), advice);
    }
    CHECK(!a && !b, "--resume: %s was made with %s files than there are now; %s", checkpoint,
          a ? "more" : "fewer", advice);
}

// Describes the data in run->data_text. A run that goes on dies if its checkpoint was trained on other data.
// Returns whether that says on which: then the tokens have been checked before.
static int seen_before(Run *run, const char *checkpoint) {
    char path[PATH];
    run->data_text = data_text(run);
    if (!run->o.resume) return 0;
    path_join(path, checkpoint, "train.json");
    char *text = read_text(path);
    const char *then = json_get(json_root(text, path), "data");
    const int says = then && *then == '[';
    if (says) check_same_data(then, run->data_text, checkpoint);
    release(text);
    return says;
}

// The loss of a perfect model on the validation data, or NAN. It stands in "PATH.floor" beside a
// validation file that data/stories.c wrote, and holds only for these bytes, cut into windows of that
// length.
static double known_floor(const Corpus *val) {
    char path[PATH];
    double floor = NAN;
    int T = 0;
    unsigned long long hash = 0;
    const TokenFile *f = val->file;
    if (val->n != 1) return NAN;
    path_print(path, "%s.floor", f->path);
    FILE *file = fopen(path, "r");
    if (!file) return NAN;
    CHECK(fscanf(file, "%lf", &floor) == 1 && floor > 0 && isfinite(floor),
          "%s: expected a positive number", path);
    int known = fscanf(file, " windows of %d bytes, in a file with the FNV-1a hash 0x%llx", &T, &hash) == 2;
    fclose(file);
    const int its_file = known && hash == fnv1a(fnv1a_start, f->data, f->tokens*(uint64_t)f->width);
    return its_file && T == val->T ? floor : NAN;
}

// Where a file of the repository is: in the current directory, or beside the program.
static const char *beside_program(const char *name, char *out) {
    char program[PATH];
    char *slash = strrchr(own_path(program), '/');
    snprintf(out, PATH, "%s", name);
    if (slash) *slash = 0;
    if (slash && !file_exists(out)) path_join(out, program, name);
    CHECK(file_exists(out),
          "%s: the default corpus is missing; `make %s` writes it, or give --data", name, name);
    return out;
}

// Opens token files. What is not given for validation is held out of the training data.
static void open_windows(Run *run, const char *checkpoint) {
    const Options *o = &run->o;
    const int T = o->config.seq_len, width = token_width(o->dtype);
    if (o->data) {
        run->train_files = corpus_open(o->data, o->label_mask, width, T);
        for (int i = 0; i < run->train_files.n; i++)
            CHECK(!run->train_files.file[i].text || o->config.vocab == 256 || !run->companions.bytes[0],
                  "%s: is text, but this model's tokens are those of its tokenizer.json; "
                  "data/tokenize makes a token file of it", run->train_files.file[i].path);
        if (!seen_before(run, checkpoint)) corpus_check(&run->train_files, o->config.vocab);
    }
    if (!o->val) run->val_files = corpus_hold_out(&run->train_files);
    else if (strcmp(o->val, "none")) {
        run->val_files = corpus_open(o->val, NULL, width, T);
        corpus_check(&run->val_files, o->config.vocab);
    }
    run->train = corpus_rows(&run->train_files);
    run->val = corpus_rows(&run->val_files);
    run->floor = o->val && run->val_files.n ? known_floor(&run->val_files) : NAN;
}

// Opens conversations, or with --dpo pairs of them. For a model of bytes, a turn ends with byte 0.
static void open_conversations(Run *run, const char *checkpoint) {
    Options *o = &run->o;
    static Conversations held;
    const int group = o->dpo ? 2 : 1, T = o->config.seq_len;
    const char *data = o->dpo ? o->dpo : o->data, *flag = o->dpo ? "--dpo" : "--data";
    CHECK(!o->label_mask,
          "--label-mask: conversations know their labels; expected token files beside it");
    if (!run->tokenizer && o->config.vocab == 256 && o->config.eos < 0) o->config.eos = 0;
    CHECK(run->tokenizer || o->config.vocab == 256,
          "%s: conversations are text, and this model's vocabulary of %d is not bytes; give "
          "--tokenizer FILE (data/tokenize makes tokens of documents)", data ? data : o->val,
          o->config.vocab);
    CHECK(o->config.eos >= 0,
          "%s: a conversation begins, and every answer ends, with the id that ends a document; "
          "name it with --eos", flag);
    const Tokenizer *t = run->tokenizer;
    if (data) {
        run->train_text = conversations_open(flag, data, group, t, o->config.eos, T, o->as_released);
        run->train = conversation_rows(run->train_text);
        (void)seen_before(run, checkpoint);
        set_chat_template(&run->companions, t, o->config.eos);
    }
    if (!o->val) run->val = hold_out_conversations(&run->train, &held);
    if (!o->val || !strcmp(o->val, "none")) return;
    run->val_text = conversations_open("--val", o->val, group, t, o->config.eos, T, o->as_released);
    run->val = conversation_rows(run->val_text);
}

// Reads all validation rows, so that a bad token is found now and not at step 500.
static void check_validation(const Run *run) {
    const Rows *rows = &run->val;
    int *tokens = (int *)allocate(2*(size_t)rows->T, sizeof(int), "a row");
    int *targets = tokens + rows->T;
    size_t predictable = 0;
    for (size_t i = 0; i < rows->groups*rows->group; i++) {
        int length = rows->read(rows->source, i, run->o.config.vocab, tokens, targets);
        for (int t = 0; t < length; t++) predictable += targets[t] >= 0;
    }
    release(tokens);
    CHECK(!rows->groups || predictable,
          "the validation data has no token to predict; are all labels masked?");
}

static void open_data(Run *run, const char *checkpoint) {
    Options *o = &run->o;
    static char default_data[PATH], default_val[PATH];
    if (!o->data && !o->dpo && !(o->eval && o->val)) {
        CHECK(o->config.vocab == 256,
              "--data: expected token files for a vocabulary of %d; the default stories are bytes",
              o->config.vocab);
        o->data = beside_program("data/stories.txt", default_data);
        if (!o->val) o->val = beside_program("data/stories_val.txt", default_val);
    }
    if (is_conversations(o)) open_conversations(run, checkpoint);
    else open_windows(run, checkpoint);
    check_validation(run);
}

// Completes a recipe by what depends on the data: steps from epochs, the warm-up as a part of the steps,
// and no batch larger than the data.
static void complete_recipe(Options *o, const Rows *rows) {
    Recipe *r = &o->recipe;
    const Tuning *tuning = o->tuning ? tuning_named(o->tuning) : NULL;
    if (tuning && !given(o, &r->batch)) {
        r->batch = (int)zmin((size_t)r->batch, rows->groups);
        if (r->batch > ranks.world) r->batch -= r->batch % ranks.world;
    }
    CHECK(r->batch % ranks.world == 0,
          "--batch %d: cannot be dealt out evenly to %d ranks; choose a multiple of %d", r->batch,
          ranks.world, ranks.world);
    CHECK(rows->keep_rest || rows->groups >= (size_t)r->batch,
          "--batch %d: the training data has only %zu %s of %d tokens", r->batch, rows->groups, rows->unit,
          rows->T);
    r->micro_batch = imin(r->micro_batch, r->batch/ranks.world);
    const int decided = o->resume && !given(o, &o->epochs);             // by the checkpoint
    if (o->epochs && !given(o, &r->steps) && !decided) {
        const size_t batch = (size_t)r->batch, rest = rows->keep_rest ? batch - 1 : 0;
        double steps = (double)o->epochs*(double)((rows->groups + rest)/batch);
        CHECK(steps <= INT32_MAX, "--epochs %d: %.0f steps are more than %d", o->epochs, steps,
              INT32_MAX);
        r->steps = (int)steps;
    }
    r->warmup = warmup_steps(o->warmup, r->steps);
}

// ---- its directory -----------------------------------------------------------------------------

// A new run never writes into the directory of an earlier one, but moves it aside, to the first free name
// of out.1, out.2, ...
static int holds_run(const char *out) {
    char metrics[PATH];
    path_join(metrics, out, "metrics.jsonl");
    return newest_checkpoint(out) >= 0 || file_exists(metrics);
}
static const char *free_name(const char *out) {
    static char aside[PATH];
    int n = 1;
    do path_print(aside, "%s.%d", out, n++); while (file_exists(aside));
    return aside;
}
static void fresh_directory(Run *run) {
    const char *const out = run->o.out;
    int lock = file_exists(out) ? lock_directory(out) : -1;
    if (holds_run(out)) {
        const char *aside = free_name(out);
        CHECK(rename(out, aside) == 0, "%s: holds an earlier run and cannot be moved to %s: %s",
              out, aside, strerror(errno));
        printf("%s held an earlier run: moved to %s (--resume would have gone on with it)\n", out,
               aside);
        close(lock);                                        // it has moved with its directory
        lock = -1;
    }
    make_directory(out);
    if (lock < 0) lock_directory(out);
}
static void own_directory(Run *run) {
    lock_directory(run->o.out);
    remove_leftovers(run->o.out);
}

// Says where the weights came from. If that is the run which this one is about to move aside, it says under
// which name they can be found then.
static void say_origin(const Options *o, const char *directory) {
    char origin[PATH], out[PATH];
    const char *aside = NULL, *rest = directory;
    const int moves = !o->resume && o->recipe.steps > 0;
    if (moves && realpath(directory, origin) && realpath(o->out, out) && holds_run(o->out)) {
        size_t n = strlen(out);
        if (!strncmp(origin, out, n) && origin[n] == '/') {
            aside = free_name(o->out);
            rest = origin + n;
        }
    }
    printf("%s %s%s\n", o->resume ? "going on from" : "starting from", aside ? aside : "", rest);
}

// Opens metrics.jsonl to append to. Only the lines up to the step from which a resumed run continues are
// kept; a line that a crash cut off is not.
static void metrics_open(Run *run) {
    const int step = run->at.step;
    char path[PATH], temporary[PATH], *line = NULL;
    size_t capacity = 0;
    size_t size;
    path_join(path, run->o.out, "metrics.jsonl");
    path_join(temporary, run->o.out, "metrics.jsonl.tmp");
    FILE *old = step && file_exists(path) ? open_to_read(path, &size) : NULL;
    FILE *file = open_to_write(temporary);
    while (old && getline(&line, &capacity, old) > 0) {
        const char *end = *line == '{' ? json_skip(line, 0) : NULL;
        const char *value = end && !strcmp(end, "\n") ? json_get(line, "step") : NULL;
        if (value && strchr("0123456789", *value) && strtod(value, NULL) <= step) fputs(line, file);
    }
    free(line);
    CHECK(!old || !ferror(old), "%s: cannot be read: %s", path, strerror(errno));
    if (old) fclose(old);
    flush_written(file, temporary);
    CHECK(rename(temporary, path) == 0, "%s: cannot be written: %s", path, strerror(errno));
    run->metrics_file = file;
}

static void save(Run *run) {
    const Options *o = &run->o;
    char path[PATH];
    if (o->no_save) return;
    path_print(path, "%s/step%d", o->out, run->at.step);
    checkpoint_write(path, run->model, &run->companions, &run->at);
    printf("saved %s\n", path);
    if (o->keep) remove_checkpoints(o->out, o->keep);
}

// ---- its model ---------------------------------------------------------------------------------

// A 64-bit fingerprint of all parameters: FNV-1a that takes the 32 bits of a float at a time, where the
// usual one takes a byte. Equal runs print equal hashes.
static uint64_t params_hash(const Run *run) {
    static real numbers[CHUNK];
    uint64_t hash = fnv1a_start;
    const Model m = run->model;
    for (size_t done = 0; done < m.layout->size; done += CHUNK) {
        const size_t n = zmin(CHUNK, m.layout->size - done);
        m.device->get(m.handle, PARAMS, done, n, numbers);
        for (size_t i = 0; i < n; i++) {
            float f = (float)numbers[i];
            uint32_t bits;
            memcpy(&bits, &f, 4);
            hash = (hash ^ bits)*0x100000001b3u;
        }
    }
    return hash;
}

// Fills the parameters with their first values.
static void model_init(const Run *run) {
    static real numbers[CHUNK];
    const Model m = run->model;
    for (int k = 0; k < m.layout->n; k++) {
        const Tensor *t = &m.layout->tensor[k];
        double std = init_std(t, m.config, run->o.init), cut = init_cut(run->o.init);
        size_t count = (size_t)t->rows*t->cols;
        for (size_t done = 0; done < count; done += CHUNK) {
            int n = (int)zmin(CHUNK, count - done);
            #pragma omp parallel for
            for (int i = 0; i < n; i++)
                numbers[i] = init_value((uint64_t)run->o.seed, t, done + (size_t)i, std, cut);
            m.device->set(m.handle, PARAMS, t->offset + done, (size_t)n, numbers);
        }
    }
}

// The model of this run, with its weights: those of a checkpoint, those of `directory`, or fresh ones.
static void make_model(Run *run, const char *directory, int loaded, int training) {
    const Options *o = &run->o;
    run->model.handle = run->model.device->build(&o->config, training);
    if (o->resume) run->at = checkpoint_read(directory, run->model);
    else if (loaded) weights_read(directory, run->model);
    else model_init(run);
    ranks_must_agree();                                     // they have read the same files
    if (training && loaded) say_origin(o, directory);
    if (!training)
        fprintf(stderr, loaded ? "model: %s\n" : "note: an untrained model; --load names another\n",
                directory);
}

// Reads the companions of the model: the files beside its weights, and with --tokenizer that file and
// those beside it.
static void load_companions(Run *run, const char *directory) {
    const char *named = run->o.tokenizer, *slash = named ? strrchr(named, '/') : NULL;
    char beside[PATH];
    if (*directory) companions_read(&run->companions, directory);
    if (!named) return;
    snprintf(beside, sizeof beside, "%.*s", slash ? (int)(slash - named) : 1, slash ? named : ".");
    companions_read(&run->companions, beside);
    companion_read(&run->companions, 0, named);
}

// Loads the tokenizer that --tokenizer names; or, where there is text to read or to write, the one that
// came with the model. If a training run only needs it for samples, it is a convenience: samples are bare
// ids where the program cannot use it.
static void load_tokenizer(Run *run, const char *directory, int training) {
    const Options *o = &run->o;
    char beside[PATH];
    const char *path = o->tokenizer, *reason = NULL;
    const int bytes = o->config.vocab == 256;
    const int needed = !bytes && (o->chat || is_conversations(o) || o->eval_tasks);
    const int samples = !bytes && (training ? o->sample_every : o->generate) && !o->prompt_ids;
    path_join(beside, directory, "tokenizer.json");
    if (!path && (needed || samples) && *directory && file_exists(beside)) path = beside;
    if (!path) return;
    const int optional = training && path == beside && !needed;
    if (optional && !o->prompt) reason = tokenizer_refusal(path);
    if (!reason) {
        run->tokenizer = tokenizer_load(path);
        if (run->tokenizer->vocab <= o->config.vocab) return;
        reason = "it has more tokens than the model has rows in its embedding";
        CHECK(optional,
              "%s: has %d tokens, the model only %d rows in its embedding; is it this model's "
              "tokenizer?", path, run->tokenizer->vocab, o->config.vocab);
        tokenizer_free(run->tokenizer);
        run->tokenizer = NULL;
    }
    fprintf(stderr, "note: %s: samples will be bare ids: %s\n", path, reason);
}

// ---- samples -----------------------------------------------------------------------------------

// --prompt-ids 1,2,3 into tokens[0..T); returns how many.
static int listed_tokens(const Options *o, int *tokens, int T) {
    int n = 0;
    for (const char *s = o->prompt_ids; ; ) {
        char *end;
        long id = strtol(s, &end, 10);
        CHECK(end != s && (*end == ',' || !*end) && id >= 0 && id < o->config.vocab,
              "--prompt-ids %s: expected ids from 0 to %d, separated by commas", o->prompt_ids,
              o->config.vocab - 1);
        CHECK(n < T, "--prompt-ids: more than the %d tokens the model looks at (--seq-len)", T);
        tokens[n++] = (int)id;
        s = end + 1;
        if (!*end) return n;
    }
}

// What to continue, as ids: --prompt-ids; or --prompt, through the tokenizer or as bytes; or a usual
// beginning.
static int prompt_tokens(const Run *run, int *tokens) {
    const Options *o = &run->o;
    int T = o->config.seq_len, bytes = o->config.vocab == 256 && !run->tokenizer;
    if (o->prompt_ids) return listed_tokens(o, tokens, T);
    // A document begins after one has ended; without an eos, any id does.
    if (!o->prompt && (o->config.eos >= 0 || !bytes)) {
        tokens[0] = imax(0, o->config.eos);
        return 1;
    }
    const char *text = o->prompt ? o->prompt : T < 4 ? "O" : "One";
    size_t size = strlen(text), n = size;
    Encoder *e = NULL;
    CHECK(bytes || run->tokenizer,
          "--prompt: this model's vocabulary of %d is not bytes; give --tokenizer FILE, or "
          "--prompt-ids 1,2,3", o->config.vocab);
    if (run->tokenizer) {
        CHECK(utf8_valid(text, size) == size,
              "--prompt: expected UTF-8, found another byte at byte %zu", utf8_valid(text, size));
        n = encode(e = encoder_new(run->tokenizer), text, size);
    }
    CHECK(n, "--prompt: expected at least one character");
    CHECK(n <= (size_t)T, "--prompt: longer than the %d tokens the model looks at (--seq-len)", T);
    for (size_t i = 0; i < n; i++) tokens[i] = e ? e->ids[i] : (unsigned char)text[i];
    encoder_free(e);
    return (int)n;
}

// Refuses a prompt that the model cannot take: before training, not at the first sample.
static void check_prompt(const Run *run) {
    int *tokens = (int *)allocate((size_t)run->o.config.seq_len, sizeof(int), "a prompt");
    (void)prompt_tokens(run, tokens);
    release(tokens);
}

// Prints tokens as text: through the tokenizer, or as bytes.
static void print_tokens(const Tokenizer *t, const int *tokens, size_t n) {
    size_t size;
    char *raw = decoded(t, tokens, n, &size), *text = (char *)allocate(3*size + 1, 1, "a sample");
    print_text(text, utf8_repair(text, raw, size));
    release(raw);
    release(text);
}

// Prints up to `wanted` new tokens: as text after their prompt, or as bare ids.
static void print_sample(const Run *run, int wanted) {
    const Options *o = &run->o;
    const Tokenizer *t = run->tokenizer;
    const int T = o->config.seq_len;
    int *tokens = (int *)allocate((size_t)T, sizeof(int), "a sample");
    const int start = prompt_tokens(run, tokens), end = wanted < T - start ? start + wanted : T;
    if (o->generate && end - start < wanted)
        fprintf(stderr, "note: only %d new tokens; then the model's --seq-len of %d is full\n",
                end - start, T);
    int n = generate(run->model, tokens, start, end, o->sampling, (uint64_t)o->seed + run->at.step);
    if (o->prompt_ids || (!t && o->config.vocab != 256)) {
        for (int i = start; i < n; i++) printf("%s%d", i > start ? "," : "", tokens[i]);
    } else if (t) {
        const int first = o->prompt ? 0 : start;            // the end of another document is no part of this
        if (tokens[n - 1] == o->config.eos) n--;
        print_tokens(t, tokens + first, (size_t)imax(0, n - first));
    } else {
        while (n > start && (tokens[n - 1] == ' ' || tokens[n - 1] == '\n')) n--;   // stories are padded
        print_tokens(NULL, tokens, (size_t)n);
    }
    printf("\n");
    release(tokens);
}

// ---- a batch through the model -----------------------------------------------------------------

// Sends the whole batch through the model, pass by pass, and sums up the losses of each row. With `learn`,
// the weighted gradients add up. Returns 0 if it was asked to stop before the end.
static int batch_through(const Run *run, Batch *b, int learn) {
    const Model m = run->model;
    int k = 0;
    for (; k < b->n && !asked_to_stop; k += batch_pass(b, k).B) {
        const Pass p = batch_pass(b, k);
        m.device->forward(m.handle, b->losses + p.start, b->zlosses + p.start, b->tokens + p.start,
                          b->targets + p.start, learn ? b->weights + p.start : NULL, p.B, p.T);
        if (learn) m.device->backward(m.handle, k + p.B >= b->n);
        for (int i = k; i < k + p.B; i++) {
            Row *row = b->order[i];
            const real *losses = b->losses + row->start, *zlosses = b->zlosses + row->start;
            row->loss = row->zloss = 0;
            for (int t = 0; t < row->length; t++) {
                row->loss += (double)losses[t];
                row->zloss += (double)zlosses[t];
            }
        }
    }
    return k >= b->n;
}

// Sets sums[MAX_SUMS] to the sums that `judge` makes of all these rows; returns their denominator. Rows
// for several passes are read at a time, so that rows of similar length can share a pass.
static double evaluate(const Run *run, const Rows *rows, const Objective *judge, double *sums) {
    const Config *c = &run->o.config;
    const int micro = run->o.recipe.micro_batch, some = 8*micro*ranks.world;
    Batch b = batch_of(rows, some, micro);
    double denominator = 0;
    memset(sums, 0, MAX_SUMS*sizeof *sums);
    for (size_t g = 0; g < rows->groups; g += some) {
        batch_read(&b, rows, NULL, g, (int)zmin((size_t)some, rows->groups - g), c->vocab,
                   imax(0, c->eos));
        if (agreed_to_stop() || !batch_through(run, &b, 0)) break;
        denominator += objective_sums(judge, &b, sums);
    }
    batch_free(&b);
    ranks_sum(sums, MAX_SUMS);
    ranks_sum(&denominator, 1);
    return denominator;
}

// ---- one step ----------------------------------------------------------------------------------

// Reads the next groups in this epoch's order, or the first of the next epoch.
static void next_batch(Run *run, Batch *batch) {
    const Config *c = &run->o.config;
    const Rows *rows = &run->train;
    Progress *at = &run->at;
    const size_t left = rows->groups - at->instance, wanted = (size_t)run->o.recipe.batch;
    if (left == 0 || (left < wanted && !rows->keep_rest)) {
        at->epoch++;
        at->instance = 0;
    }
    if (!run->order)
        run->order = (uint32_t *)allocate(rows->groups, sizeof *run->order, "the order of the data");
    if (run->order_epoch != at->epoch)
        epoch_order(run->order, (uint32_t)rows->groups, (uint64_t)run->o.seed + at->epoch);
    run->order_epoch = at->epoch;
    const int groups = (int)zmin(wanted, rows->groups - at->instance);
    batch_read(batch, rows, run->order + at->instance, 0, groups, c->vocab, imax(0, c->eos));
    double tokens = 0;
    for (int r = 0; r < batch->n; r++) if (!batch->row[r].filler) tokens += batch->row[r].length;
    ranks_sum(&tokens, 1);
    at->tokens += (size_t)tokens;
    at->instance += groups;
}

// Weighs the rows of a batch, and adds up their gradients. Returns 0 if it was asked to stop on the way.
static int batch_gradients(const Run *run, Batch *batch, double *denominator) {
    if (run->objective.looks_first && !batch_through(run, batch, 0)) return 0;
    *denominator = objective_weigh(&run->objective, batch);
    if (*denominator == 0)
        fprintf(stderr, "note: step %d: no token of this batch is to be predicted; all its labels are "
                "masked\n", run->at.step);
    return batch_through(run, batch, 1);
}

// One update: rows, gradients, AdamW; and what is measured on the way. Returns 0 if it was asked to stop
// before the update; then nothing has changed.
static int train_step(Run *run, Batch *batch, Metrics *metrics) {
    const Recipe *r = &run->o.recipe;
    const Objective *objective = &run->objective;
    Progress *at = &run->at;
    const Progress before = *at;
    double sums[MAX_SUMS] = { 0 }, denominator;

    at->step++;
    next_batch(run, batch);
    if (!batch_gradients(run, batch, &denominator)) {
        *at = before;
        return 0;
    }
    (void)objective_sums(objective, batch, sums);
    CHECK(ranks.world == 1 || isfinite(sums[0]), "step %d: the loss of this rank's sequences is %g; this "
          "step was not saved. Go on from the last checkpoint with a lower --lr or --clip", at->step,
          sums[0]);
    ranks_sum(sums, MAX_SUMS);

    const double lr = learning_rate(r, at->step), loss = sums[0]/fmax(1, denominator);
    AdamW how = { lr, r->beta1, r->beta2, r->eps, r->weight_decay, r->decay_embeddings,
                  clip_limit(r, at->step), at->step };
    const double norm = run->model.device->update(run->model.handle, &how);
    CHECK(isfinite(loss) && isfinite(norm),
          "step %d: the loss is %g and the gradient norm %g; this step was not saved. "
          "Go on from the last checkpoint with a lower --lr or --clip", at->step, loss, norm);
    metric_means(metrics, objective, NULL, sums, fmax(1, denominator));
    metric(metrics, norm, "grad_norm", "optim/total_grad_norm");         // before clipping
    metric(metrics, lr, "lr", "optim/learning_rate_group0");
    metric(metrics, (double)at->tokens, NULL, "throughput/total_tokens");
    if (ranks.world > 1)
        metric(metrics, ranks.exposed, NULL, "throughput/device/exposed_communication_seconds");
    return 1;
}

// ---- what a step tells -------------------------------------------------------------------------

// A number as OLMo's console prints it: 12,345  123.4  12.34  1.234  0.1234  1e-05. out: [48]
static const char *figure(double x, char *out) {
    if (x < 0) {
        out[0] = '-';
        figure(-x, out + 1);
        return out;
    }
    if (x > 1000 && x < 1e18) return with_commas(x, out);
    if (!(x > 1e-4 && x < 1e18)) sprintf(out, "%.3g", x);
    else sprintf(out, "%.*f", x > 100 ? 1 : x > 10 ? 2 : x > 1 ? 3 : 4, x);
    return out;
}

// Writes a step's line in metrics.jsonl, under OLMo's names (OLMO_SPEC 6.1).
static void write_metrics(Run *run) {
    const Metrics *m = &run->metrics;
    FILE *file = run->metrics_file;
    fprintf(file, "{\"step\": %d", run->at.step);
    for (int i = 0; i < m->n; i++) {
        const double x = m->list[i].value;
        fprintf(file, x == floor(x) && fabs(x) < 1e15 ? ", \"%s\": %.0f" : ", \"%s\": %.9g",
                m->list[i].name, x);
    }
    fprintf(file, "}\n");
    CHECK(fflush(file) == 0, "%s/metrics.jsonl: writing failed: %s", run->o.out, strerror(errno));
}

static int is_evaluation(const Metric *m) { return !strncmp(m->name, "eval/", 5); }

// Prints the same on the console: training on one line, each set of an evaluation on a line of its own.
static void print_metrics(const Run *run, const Metrics *m, int eta) {
    const Progress *at = &run->at;
    const char *set = "";                                   // the name up to its last slash
    char x[48];
    printf("[step=%d/%d,epoch=%d]", at->step, run->o.recipe.steps, at->epoch);
    for (int i = 0; i < m->n; i++) {
        const Metric *one = &m->list[i];
        if (one->label && !is_evaluation(one)) printf(" %s=%s", one->label, figure(one->value, x));
    }
    printf(" eta=%d:%02d", eta/60, eta % 60);
    for (int i = 0; i < m->n; i++) {
        const Metric *one = &m->list[i];
        if (!one->label || !is_evaluation(one)) continue;
        size_t length = (size_t)(strrchr(one->name, '/') + 1 - one->name);
        int same = !strncmp(set, one->name, length);
        const char *last = *one->label ? one->label : one->name + length;
        printf("%s%s=%s%s", same ? " " : "\n    ", same ? last : one->name, figure(one->value, x),
               one->note);
        set = one->name;
    }
    printf("\n");
}

// Measures the validation loss, beside that of a perfect model where one is known.
static void validate(const Run *run, Metrics *metrics) {
    double sums[MAX_SUMS], denominator = evaluate(run, &run->val, &run->judge, sums);
    double loss = sums[0]/denominator;
    if (asked_to_stop) return;
    CHECK(isfinite(loss), "step %d: the validation loss is %g", run->at.step, loss);
    metric_means(metrics, &run->judge, run->judge.set, sums, denominator);
    if (isnan(run->floor)) return;
    Metric *floor = metric(metrics, run->floor, "  a perfect model", "eval/validation/floor");
    snprintf(floor->note, sizeof floor->note, " (we are %.1f%% above)", 100*(loss/run->floor - 1));
}

#include "data/reference.c"                                // --dpo: what the first weights say of each pair
#include "data/evaluators.c"                               // --eval-set and --eval-tasks
#include "data/energy.c"                                   // --energy: kWh, CO2e; and MFU

// ---- the training loop -------------------------------------------------------------------------

// Checks that a resumed run goes on in the data and the order that it began with; and writes down what later
// checkpoints say of the run.
static void check_resumed(Run *run) {
    Options *o = &run->o;
    Progress *at = &run->at;
    if (at->step == 0) {
        at->instances = run->train.groups;
        at->seed = o->seed;
    }
    CHECK(at->instances == run->train.groups && at->seed == o->seed,
          "--resume: the checkpoint was made with --seed %d and %zu %s of data, now there are --seed %d and "
          "%zu; give the same data and options again", at->seed, at->instances, run->train.unit, o->seed,
          run->train.groups);

    Option table[MAX_OPTIONS];
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    CHECK(file, "not enough memory for the run's options");
    fprintf(file, " \"data\": %s,\n \"options\": ", run->data_text);
    write_options(file, table, option_table(o, table));
    fclose(file);
    at->run = text;
}

// Whether what comes every `steps` steps (0: never) is due at this one.
static int every(int steps, int step) { return steps && step % steps == 0; }

static void print_hash(Run *run) {
    printf("params hash 0x%016llx\n", (unsigned long long)params_hash(run));
}

// Appends how fast a step was, in tokens per second, and what share of the device's peak that is.
static void speed_metrics(const Run *run, double speed, Metrics *metrics) {
    const Options *o = &run->o;
    const double tflops = o->peak_tflops > 0 ? o->peak_tflops : peak_tflops(run->model.device->name);
    const double each = speed/ranks.world;
    if (ranks.world > 1) metric(metrics, speed, "tokens/s", "throughput/tokens_per_second");
    metric(metrics, each, ranks.world > 1 ? "each" : "tokens/s", "throughput/device/tokens_per_second");
    if (!run->train_text) mfu_metrics(&o->config, run->layout.size, tflops, each, metrics);
}

// What comes before the first step. Returns 0 if there is none to make.
static int begin_training(Run *run, Energy *energy) {
    Options *o = &run->o;
    const int step = run->at.step, steps = o->recipe.steps;
    const int card = run->model.device->is_card ? ranks.local : -1;
    check_resumed(run);
    if (o->energy) energy_begin(energy, "/sys/class/powercap", "libnvidia-ml.so.1", card, o->watts);
    if (o->sample_every) check_prompt(run);
    if (step >= steps) {                                    // then no file is touched
        if (steps) printf("nothing to do: the run is at step %d, and ends at step %d; --steps N goes "
                          "further\n", step, steps);
        by_rank_0(run, print_hash);
        return 0;
    }
    if (run->before.resume) say_changes(&run->before, o, step);
    // The directory is only touched after all ranks have read what lies there, and found the options and
    // the data right.
    ranks_wait();
    if (!o->resume) by_rank_0(run, fresh_directory);
    heed_signals();
    if (run->objective.looks_first) compute_reference(run);
    if (asked_to_stop) {
        printf("stopped as asked; the same command goes on with the reference\n");
        return 0;
    }
    by_rank_0(run, metrics_open);
    return 1;
}

// Trains from where the run is to its last step. A step is: update, measure, write down, show, save.
static void train(Run *run) {
    const Options *o = &run->o;
    const Recipe *r = &o->recipe;
    Progress *at = &run->at;
    const int first = at->step;
    Metrics *metrics = &run->metrics;
    static Energy energy;
    if (!begin_training(run, &energy)) return;

    Batch batch = batch_of(&run->train, r->batch, r->micro_batch);
    double begun = seconds(), shown = 0;
    int saved = at->step;
    while (at->step < r->steps && !agreed_to_stop()) {
        const double start = seconds();
        const size_t tokens = at->tokens;
        metrics->n = 0;
        if (!train_step(run, &batch, metrics)) break;
        const double now = seconds(), left = (now - begun)/(at->step - first)*(r->steps - at->step);
        speed_metrics(run, (double)(at->tokens - tokens)/(now - start), metrics);
        if (o->energy) energy_metrics(&energy, o, metrics);
        const int last = at->step == r->steps;
        const int judged = last || every(o->eval_every, at->step);
        if (judged && run->val.groups) validate(run, metrics);
        if (judged) ask_evaluators(run, metrics);
        if (ranks.rank == 0) write_metrics(run);            // asks the others for nothing
        if (last || judged || now - shown > 2) {
            print_metrics(run, metrics, (int)fmin(left, 1e9));
            shown = now;
        }
        if (asked_to_stop) break;
        if (o->sample_every && (last || every(o->sample_every, at->step))) {
            printf("    ");
            print_sample(run, o->config.seq_len);
        }
        if (last || every(o->save_every, at->step)) {
            by_rank_0(run, save);
            saved = at->step;
        }
    }
    if (saved != at->step) by_rank_0(run, save);
    if (run->metrics_file) fclose(run->metrics_file);       // of rank 0
    batch_free(&batch);
    release(metrics->list);
    release(run->order);
    if (at->step < r->steps) printf("stopped as asked, after step %d of %d%s\n", at->step, r->steps,
                                    at->step && !o->no_save ? "; --resume goes on" : "");
    if (o->energy) print_energy(&energy, o);
    by_rank_0(run, print_hash);
}

// ---- how a program begins and ends -------------------------------------------------------------

// n 0: as many threads as OMP_NUM_THREADS says, or as there are processors.
static void use_threads(int n) {
    enum { MOST = 1024 };
    CHECK(n <= MOST, "--threads %d: expected at most %d", n, MOST);
    CHECK(n || omp_get_max_threads() <= MOST,
          "%d threads (OMP_NUM_THREADS, or the processors of this machine): expected at most %d",
          omp_get_max_threads(), MOST);
    if (n) omp_set_num_threads(n);
}

// What a program does first. If whoever started it closed descriptor 0, 1 or 2, the next file would get
// that number, and what is printed would go into it. So these numbers are taken. And a file that may not
// grow (`ulimit -f`) must end in a sentence, not in a signal.
static void begin_program(void) {
    int fd;
    do fd = open("/dev/null", O_RDONLY); while (fd >= 0 && fd <= 2);
    if (fd >= 0) close(fd);
    signal(SIGXFSZ, SIG_IGN);
}

// A program's exit code, after all is printed. If that did not reach its file, it is an error, too.
static int finished(void) {
    CHECK(fflush(stdout) == 0 && !ferror(stdout), "standard output: writing failed: %s",
          strerror(errno));
    return EXIT_SUCCESS;
}

// Between two parallel loops, idle threads of GNU's OpenMP spin for a while. By default this takes so long
// that on a busy machine a spinning thread takes the processor from a working one, and training becomes
// ten times slower. The setting is read before main. So the program sets it to less, and starts again.
static void spin_less(char **argv) {
    // By its own path, which gives the process its name.
    char path[PATH];
    int chosen = getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY");
    if (!chosen && setenv("GOMP_SPINCOUNT", "1000", 1) == 0) execv(own_path(path), argv);
}

// ---- main --------------------------------------------------------------------------------------

static const char *bytes_text(double bytes, char *out) {
    if (bytes < 1e9) sprintf(out, "%.1f MB", bytes*1e-6); else sprintf(out, "%.2f GB", bytes*1e-9);
    return out;
}

// Says what model it is and what memory it will take, before anything is allocated.
static void print_banner(const Run *run) {
    const Options *o = &run->o;
    const Config *c = &o->config;
    Memory plan[MAX_MEMORY];
    const int rows = o->recipe.micro_batch*(o->dpo ? 2 : 1);
    const int entries = run->model.device->memory(plan, c, 1, rows, c->seq_len);
    double total = 0;
    char a[48];
    printf("OLMo in C: %d layers, d_model %d, %d heads (%d key/value), mlp_hidden %d, vocabulary "
           "%d, %s head, T %d%s\n", c->n_layers, c->d_model, c->n_heads, c->n_kv_heads,
           c->mlp_hidden, c->vocab, c->tied ? "tied" : "untied", c->seq_len,
           c->clip_qkv > 0 ? ", clipped q, k, v" : "");
    printf("%s parameters; device %s, %d thread%s%s\n", with_commas((double)run->layout.size, a),
           run->model.device->name, omp_get_max_threads(), omp_get_max_threads() > 1 ? "s" : "",
           openmp_note);
    if (ranks.world > 1) printf("%d ranks, each on such a device; they share out %s\n", ranks.world,
                                ranks.shard_gradients ? "gradients and moments" : "the moments");
    for (int i = 0; i < entries; i++) if (!plan[i].on_host) total += (double)plan[i].bytes;
    printf("memory: %s for passes of %d x %d tokens", bytes_text(total, a), rows, c->seq_len);
    for (int i = 0; i < entries; i++)
        printf("%s%s %s%s", i ? ", " : ": ", plan[i].name, bytes_text((double)plan[i].bytes, a),
               plan[i].on_host ? " in the host's memory" : "");
    printf("\n");
}

static void print_data(const Run *run) {
    const Options *o = &run->o;
    const Recipe *r = &o->recipe;
    const Rows *rows = &run->train;
    char a[48], b[48], c[48];
    printf("data: %s %s of %s%d tokens in %d file%s, %s for validation\n",
           with_commas((double)rows->groups, a), rows->unit, rows->keep_rest ? "at most " : "",
           rows->T, rows->files, rows->files > 1 ? "s" : "",
           run->val.groups ? with_commas((double)run->val.groups, b) : "none");
    if (run->train_text && run->train_text->dropped)
        printf("dropped: %zu without a label on %s\n", run->train_text->dropped,
               rows->group > 1 ? "one side" : "any token");
    if (run->train_text && run->train_text->cut)
        printf("cut: %zu rows are longer than --seq-len %d\n", run->train_text->cut, rows->T);
    if (!o->resume) printf("recipe %s: ", o->tuning ? o->tuning : o->model); else printf("recipe: ");
    printf("%s steps of %d %s; %s, %d steps of warm-up to lr %s\n", with_commas(r->steps, a),
           r->batch, run->train.group > 1 ? run->train.unit : "sequences", r->schedule, r->warmup,
           figure(r->lr, c));
    if (!isnan(run->floor))
        printf("a perfect model of this validation data has a loss of %s: that is the floor\n",
               figure(run->floor, a));
}

// What was asked for instead of training: --eval, --chat or --generate, --export.
static void use_model(Run *run) {
    const Options *o = &run->o;
    const char *stores = run->model.device->stores;
    if (o->eval) {
        CHECK(run->val.groups, "--eval: there is no validation data; give --val");
        double sums[MAX_SUMS], predicted = evaluate(run, &run->val, &run->judge, sums);
        double loss = sums[0]/predicted;
        CHECK(isfinite(loss), "--eval: the validation loss is %g; are the model's weights damaged?", loss);
        printf("val loss %.9g perplexity %.9g tokens %.0f\n", loss, exp(loss), predicted);
        Metrics metrics = { NULL, 0, 0 };
        ask_evaluators(run, &metrics);
        for (int i = 0; i < metrics.n; i++) printf("%s %.9g\n", metrics.list[i].name, metrics.list[i].value);
    }
    if (o->chat) {
        if (!has_chat_template(&run->companions))
            fprintf(stderr, "note: no chat_template came with this model: it was never tuned on "
                            "conversations, so expect nonsense; `make chat` makes one that was\n");
        chat(run->model, run->tokenizer, o->sampling, o->generate, (uint64_t)o->seed);
    } else if (o->generate) print_sample(run, o->generate);
    if (o->export_dir) {
        if (strcmp(stores, "fp32") && strcmp(o->export_dtype, stores))
            fprintf(stderr, "note: --export-dtype %s: this device stores weights in %s, so what it exports "
                    "is rounded to that; ./train_olmo does not round it\n", o->export_dtype, stores);
        export_write(o->export_dir, run->model, &run->companions, dtype_named(o->export_dtype),
                     (size_t)o->shard_mb*1000000);
        printf("wrote %s\n", o->export_dir);
    }
}

// The program on any device: the main of the CPU, below, and that of the GPU differ only in this.
int olmo_main(int argc, char **argv, const Device *device) {
    static Run run;
    Options *o = &run.o;
    char directory[PATH];
    begin_program();
    // A line is written as soon as it is complete, also to a pipe or a file.
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    const int loaded = choose_model(o, &run.before, argc, argv, directory);
    if (o->help) { print_help(o); return finished(); }
    if (o->version) {
        printf("OLMo in C (arXiv 2402.00838), device %s\n", device->name);
        return finished();
    }
    const int training = !instead_of_training(o);
    run.objective = o->dpo ? dpo_objective(o->dpo_beta) : objective_named(o->denominator);
    run.judge = o->dpo ? run.objective : objectives[0];
    CHECK(device->is_card || !(given(o, &o->saving.recompute) || o->saving.offload_optimizer),
          "--recompute and --offload-optimizer save the memory of a GPU, for train_olmo_cu; here "
          "--micro-batch does");

    ranks.shard_gradients = !strcmp(o->shard, "gradients");
    ranks_start(o, device);
    use_threads(o->threads);
    if (device->open) device->open();
    const Model model = { ranks_device(device), NULL, &o->config, &run.layout };
    run.model = model;
    CHECK(ranks.world == 1 || training || o->eval,
          "--generate, --chat and --export are work for one rank, not %d; --gpus 1 is one", ranks.world);

    Weights unused;
    run.order_epoch = -1;
    run.floor = NAN;
    olmo_layout(&run.layout, &unused, NULL, &o->config);
    if (o->resume) by_rank_0(&run, own_directory);
    if (o->export_dir) (void)dtype_named(o->export_dtype);
    // A console that has gone (`| head`) must not end a run.
    if (training) signal(SIGPIPE, SIG_IGN);
    if (training) print_banner(&run);
    if (training || o->export_dir || o->chat) load_companions(&run, directory);
    load_tokenizer(&run, directory, training);
    if (training || o->eval) {
        open_data(&run, directory);
        open_evaluators(&run);
    }
    if (training) {
        complete_recipe(o, &run.train);
        print_data(&run);
    }

    make_model(&run, directory, loaded, training);
    if (training) train(&run);
    else use_model(&run);
    ranks_part();
    device->destroy(run.model.handle);
    tokenizer_free(run.tokenizer);
    conversations_free(run.train_text);
    conversations_free(run.val_text);
    return finished();
}

#ifndef OLMO_LIBRARY                    // tests and tools include this file without main
int main(int argc, char **argv) {
    spin_less(argv);
    return olmo_main(argc, argv, &cpu_device);
}
#endif
