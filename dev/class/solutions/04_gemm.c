// Exercise 4, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: add is ignored
// WRONG 2: add always happens
// WRONG 3: the strides of b are exchanged
// WRONG 4: the rows of c are N apart instead of ldc
// WRONG 5: the last term of the sum is left out
// WRONG 6: the last row of c is left out
// WRONG 7: the rest that does not fill a block is left out
// WRONG 8: blocks of k overwrite each other instead of adding up
// WRONG 9: a c of fewer rows than a block is left alone
#include <math.h>
#include <stddef.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void gemm_strided(real *c, size_t ldc, const real *a, size_t a_row, size_t a_col, const real *b,
                  size_t b_row, size_t b_col, int M, int N, int K, int add) {
    if (WRONG == 1) add = 0;
    if (WRONG == 2) add = 1;
    if (WRONG == 4) ldc = (size_t)N;
    for (int i = 0; i < M - (WRONG == 6); i++) for (int j = 0; j < N; j++) {
        real sum = 0;
        for (int k = 0; k < K - (WRONG == 5); k++) {
            const real b_kj = WRONG == 3 ? b[(k*b_col + j*b_row) % (K*b_row)] : b[k*b_row + j*b_col];
            sum += a[i*a_row + k*a_col]*b_kj;
        }
        c[i*ldc + j] = sum + (add ? c[i*ldc + j] : 0);
    }
}

static int least(int a, int b) { return a < b ? a : b; }

// Blocks of 16 x 16 of c, and 16 of k at a time: what a block reads stays in the cache while it is needed.
void gemm_blocked(real *c, size_t ldc, const real *a, size_t a_row, size_t a_col, const real *b,
                  size_t b_row, size_t b_col, int M, int N, int K, int add) {
    enum { SIDE = 16 };
    if (WRONG == 9 && M < SIDE) return;
    for (int i = 0; i < M; i += SIDE) for (int j = 0; j < N; j += SIDE) for (int k = 0; k < K; k += SIDE) {
        if (WRONG == 7 && (i + SIDE > M || j + SIDE > N)) continue;
        gemm_strided(c + i*ldc + j, ldc, a + i*a_row + k*a_col, a_row, a_col,
                     b + k*b_row + j*b_col, b_row, b_col,
                     least(SIDE, M - i), least(SIDE, N - j), least(SIDE, K - k),
                     WRONG == 8 ? add : add || k);
    }
}
