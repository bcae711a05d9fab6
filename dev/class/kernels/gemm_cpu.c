/*
The matrix product on a CPU: from three loops to train_olmo.c's gemm, one idea per rung.

    make ladder-cpu                              c[M,N] = a[M,K] . b[N,K]^T, as in a linear layer's
    forward pass

    rung 1   three loops, as the formula says
    rung 2   the sum over k runs in several partial sums: they fill a vector
    rung 3   blocks of 4 x 4 sums in registers: each number that is read is used four times
    rung 4   blocks of MR rows by 2 vectors, b copied into the order in which it is read (packed)
    rung 5   the same, in pieces of k and of rows that stay in the caches
    rung 6   a is packed as well
    rung 7   the pieces on all threads; each owns its part of c, so no sums meet
    gemm     train_olmo.c's, which also takes any strides, and skips what causal attention masks

The question for each rung: what is the processor waiting for now? Every line gives the time, the
share of the processor's peak of fused multiply-adds (measured in the same run), and the largest
difference to a product in double. What would you try next? The edges (rung 4 on asks for multiples
of MR and of two vectors); prefetching c; other sizes of the pieces.
*/
#define OLMO_LIBRARY
#include "../../../train_olmo.c"

// multiples of everything, so that no rung has to speak of edges
enum { M = 480, N = 1024, K = 1024 };
typedef void Product(real *c, const real *a, const real *b);

static void rung1(real *c, const real *a, const real *b) {
    for (int i = 0; i < M; i++) for (int j = 0; j < N; j++) {
        real sum = 0;
        for (int k = 0; k < K; k++) sum += a[i*K + k]*b[j*K + k];
        c[i*N + j] = sum;
    }
}

// A compiler may not change the order of a sum, so rung 1 adds one product at a time. Here the
// order says VL sums at once.
static void rung2(real *c, const real *a, const real *b) {
    for (int i = 0; i < M; i++) for (int j = 0; j < N; j++) {
        vec sum = {0};
        for (int k = 0; k < K; k += VL) sum += *(const vec *)(a + i*K + k)**(const vec *)(b + j*K + k);
        real total = 0;
        for (int v = 0; v < VL; v++) total += sum[v];
        c[i*N + j] = total;
    }
}

// 8 vectors are read for 16 multiplications, where rung 2 reads 2 for 1; and 16 sums do not wait
// for each other.
static void rung3(real *c, const real *a, const real *b) {
    for (int i = 0; i < M; i += 4) for (int j = 0; j < N; j += 4) {
        vec sum[4][4];
        memset(sum, 0, sizeof sum);
        for (int k = 0; k < K; k += VL)
            for (int x = 0; x < 4; x++) for (int y = 0; y < 4; y++)
                sum[x][y] += *(const vec *)(a + (i + x)*K + k)**(const vec *)(b + (j + y)*K + k);
        for (int x = 0; x < 4; x++) for (int y = 0; y < 4; y++) {
            real total = 0;
            for (int v = 0; v < VL; v++) total += sum[x][y][v];
            c[(i + x)*N + j + y] = total;
        }
    }
}

// Vectors now run along j, so no sum over a vector is needed at the end. For that b must lie with
// NR columns side by side: packed[k*NR + r] = b[j + r, k].
static void pack_panel(real *packed, const real *b, int k0, int depth) {
    for (int r = 0; r < NR; r++) for (int k = 0; k < depth; k++) packed[k*NR + r] = b[r*K + k0 + k];
}

// c[0:MR, 0:NR] += a[0:MR, 0:depth] . packed, with a's rows `a_row` apart and its columns `a_col` apart
static inline void block_of_c(real *c, const real *a, int a_row, int a_col, const real *packed, int depth) {
    vec sum[MR][2];
    memset(sum, 0, sizeof sum);
    for (int k = 0; k < depth; k++) {
        const vec b0 = *(const vec *)(packed + k*NR), b1 = *(const vec *)(packed + k*NR + VL);
        for (int x = 0; x < MR; x++) {
            sum[x][0] += a[x*a_row + k*a_col]*b0;
            sum[x][1] += a[x*a_row + k*a_col]*b1;
        }
    }
    for (int x = 0; x < MR; x++) for (int y = 0; y < 2; y++) *(vec *)(c + x*N + y*VL) += sum[x][y];
}

static real packed_b[NR*K], packed_a[M*KC];

static void rung4(real *c, const real *a, const real *b) {
    memset(c, 0, sizeof(real)*M*N);
    for (int j = 0; j < N; j += NR) {
        pack_panel(packed_b, b + j*K, 0, K);
        for (int i = 0; i < M; i += MR) block_of_c(c + i*N + j, a + i*K, K, 1, packed_b, K);
    }
}

// A panel of b with K = 1024 rows is 128 kB: too much for the first cache. KC rows of it fit, and
// stay for all rows of a.
static void rung5(real *c, const real *a, const real *b) {
    memset(c, 0, sizeof(real)*M*N);
    for (int k = 0; k < K; k += KC) for (int j = 0; j < N; j += NR) {
        pack_panel(packed_b, b + j*K, k, KC);
        for (int i = 0; i < M; i += MR) block_of_c(c + i*N + j, a + i*K + k, K, 1, packed_b, KC);
    }
}

// MR rows of a lie K numbers apart: MR streams, and with K a power of two all in one set of the
// cache. Packed, they are one.
static void pieces(real *c, const real *a, const real *b, int rows, real *pa, real *pb) {
    for (int k = 0; k < K; k += KC) {
        for (int i = 0; i < rows; i++) for (int d = 0; d < KC; d++) pa[i/MR*MR*KC + d*MR
            + i % MR] = a[i*K + k + d];
        for (int j = 0; j < N; j += NR) {
            pack_panel(pb, b + j*K, k, KC);
            for (int i = 0; i < rows; i += MR) block_of_c(c + i*N + j, pa + i*KC, 1, MR, pb, KC);
        }
    }
}
static void rung6(real *c, const real *a, const real *b) {
    memset(c, 0, sizeof(real)*M*N);
    pieces(c, a, b, M, packed_a, packed_b);
}

static void rung7(real *c, const real *a, const real *b) {
    enum { ROWS = 60 };                         // of c, for a thread at a time
    memset(c, 0, sizeof(real)*M*N);
    #pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < M; i += ROWS) {
        static __thread real pa[ROWS*KC], pb[NR*KC];
        pieces(c + i*N, a + i*K, b, ROWS, pa, pb);
    }
}

static void ours(real *c, const real *a, const real *b) { matmul_forward(c, a, b, M, K, N, 0); }

// Multiply-adds per second that a thread can do when it waits for nothing: 12 independent sums in
// registers.
static double peak_of_thread(void) {
    vec sum[12], x = {0}, y = {0};
    memset(sum, 0, sizeof sum);
    for (int v = 0; v < VL; v++) x[v] = 1, y[v] = (real)1e-8;
    struct timespec t0, t1;
    const int rounds = 4000000;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (int r = 0; r < rounds; r++) {
        for (int s = 0; s < 12; s++) sum[s] = sum[s]*x + y;
        __asm__ volatile("" : "+m"(x));         // or the loop would be done once
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double total = 0;
    for (int s = 0; s < 12; s++) total += (double)sum[s][0];
    double time = (double)(t1.tv_sec - t0.tv_sec) + 1e-9*(double)(t1.tv_nsec - t0.tv_nsec);
    return total > 0 ? 2.0*12*VL*rounds/time*1e-9 : 0;
}

int main(void) {
    static const struct { const char *name; Product *product; int threads; } rung[] = {
        { "1  three loops", rung1, 0 }, { "2  partial sums in a vector", rung2, 0 },
            { "3  4 x 4 sums in registers", rung3, 0 },
        { "4  MR rows x 2 vectors, b packed", rung4, 0 }, { "5  in pieces for the caches", rung5, 0 },
            { "6  a packed as well", rung6, 0 },
        { "7  on all threads", rung7, 1 }, { "gemm of train_olmo.c", ours, 1 },
    };
    real *a = (real *)allocate(M*K, sizeof(real), "a"), *b = (real *)allocate(N*K, sizeof(real), "b"),
        *c = (real *)allocate(M*N, sizeof(real), "c");
    double *right = (double *)allocate(M*N, sizeof(double), "the product in double"), first = 0;
    for (int i = 0; i < M*K; i++) a[i] = (real)(uniform(hash64((uint64_t)i)) - 0.5);
    for (int i = 0; i < N*K; i++) b[i] = (real)(uniform(hash64((uint64_t)i + 1u*M*K)) - 0.5);
    for (int i = 0; i < M; i++) for (int j = 0; j < N; j++) for (int k = 0; k < K; k++)
        right[i*N + j] += (double)a[i*K + k]*(double)b[j*K + k];
    const double peak = peak_of_thread();
    printf("%d x %d x %d, vectors of %d numbers; peak of a thread %.0f GFLOP/s, %d threads\n\n", M, N,
        K, VL, peak, omp_get_max_threads());
    printf("rung                                   ms   GFLOP/s   of the peak   times rung 1   "
           "largest error\n");
    int failed = 0;
    for (size_t r = 0; r < sizeof rung/sizeof *rung; r++) {
        double best = 1e9, worst = 0;
        for (int i = 0; i < M*N; i++) c[i] = (real)NAN;
        for (int round = 0; round < 5; round++) {
            struct timespec t0, t1;
            clock_gettime(CLOCK_MONOTONIC, &t0);
            rung[r].product(c, a, b);
            clock_gettime(CLOCK_MONOTONIC, &t1);
            best = fmin(best, (double)(t1.tv_sec - t0.tv_sec) + 1e-9*(double)(t1.tv_nsec - t0.tv_nsec));
        }
        for (int i = 0; i < M*N; i++) worst = isnan(c[i]) ? INFINITY : fmax(worst,
            fabs((double)c[i] - right[i]));
        const double speed = 2.0*M*N*K/best*1e-9, most = peak*(rung[r].threads ? omp_get_max_threads()
            : 1);
        if (!r) first = best;
        int fine = worst <= K*0x1p-24;          // sums of K products below 1/4
        printf("%-34s %7.1f  %8.1f  %9.0f %%  %12.1f  %14.1e%s\n", rung[r].name, 1e3*best, speed,
            100*speed/most, first/best, worst, fine ? "" : "  WRONG");
        failed += !fine;
    }
    return failed ? EXIT_FAILURE : finished();
}
