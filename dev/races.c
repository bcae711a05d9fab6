/*
Two threads that touch the same number, one of them to write it: ThreadSanitizer finds such races, where
it can see them.

    clang -O1 -g -fopenmp -fsanitize=thread -ffp-contract=fast -Wno-unused-function \
        -o build/races dev/races.c -lm
    export TSAN_OPTIONS=ignore_noninstrumented_modules=1
    build/races --threads 4 --seq-len 600 ...     the whole program: no report, and exit code 0
    build/races planted 0                         a race that was put there: a report, and exit code 66

What it takes to see:
- clang, for GNU's OpenMP does not tell ThreadSanitizer where threads wait for each other, and LLVM's does
  (through its libarcher);
- no -march, for accesses of vectors of 64 bytes are not watched;
- a T at which every loop over threads has work for all of them: beyond 512, attention's backward pass
  cuts the keys.

.ci/run does both, so that a clean report means something.
*/
#define OLMO_LIBRARY
#include "../train_olmo.c"

enum { N = 96, T = 100, D = 8 };

// Four threads compute the same rows, the same tile, the same head: the results are right, and the race
// is there.
static void race_in_rows(real *out, real *in) {
    #pragma omp parallel for
    for (int i = 0; i < 4; i++) norm_forward(out, in + N*N, in, N, N/2);
}
static void race_in_products(real *out, real *in) {
    #pragma omp parallel for
    for (int i = 0; i < 4; i++) gemm(out, N, matrix(in, N), matrix(in, N), N, N, N, N, 0);
}
static void race_in_attention(real *out, real *in) {
    const real *qkv = in;
    real *lse = in + 3*T*D, *work = lse + T;
    #pragma omp parallel for
    for (int i = 0; i < 4; i++)
        attention_forward(out, lse, work, qkv, 3*D, qkv + D, 3*D, 1, T, 0, 1, 1, D);
}
static void race_in_one_number(real *out, real *in) {
    #pragma omp parallel for
    for (int i = 0; i < N; i++) out[0] += in[i];
}

int main(int argc, char **argv) {
    static void (*const planted[])(real *out, real *in) = {
        race_in_rows, race_in_products, race_in_attention, race_in_one_number,
    };
    enum { PLANTED = sizeof planted/sizeof *planted };
    if (argc != 3 || strcmp(argv[1], "planted")) return olmo_main(argc, argv, &cpu_device);
    int which = atoi(argv[2]);
    CHECK(which >= 0 && which < PLANTED, "planted %s: expected 0 to %d", argv[2], PLANTED - 1);
    omp_set_num_threads(4);
    real *out = (real *)allocate(1 << 20, sizeof(real), "the result");
    real *in = (real *)allocate(1 << 20, sizeof(real), "the input");
    for (int i = 0; i < N*N; i++) in[i] = (real)(i % 7);
    planted[which](out, in);
    printf("planted race %d of %d: %g\n", which, PLANTED, (double)out[0]);
    return EXIT_SUCCESS;
}
