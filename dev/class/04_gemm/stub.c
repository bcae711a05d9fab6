// Exercise 4: a matrix product with strides, and in blocks. What to do: README.md beside this file.
#include <math.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// c[i*ldc + j] = (add ? c[i*ldc + j] : 0) + sum_k a[i*a_row + k*a_col]*b[k*b_row + j*b_col]
// for i < M, j < N, k < K. Columns N .. ldc-1 of c are not touched.
void gemm_strided(real *c, size_t ldc, const real *a, size_t a_row, size_t a_col, const real *b,
                  size_t b_row, size_t b_col, int M, int N, int K, int add) {
    // your code in place of this
    (void)c, (void)ldc, (void)a, (void)a_row, (void)a_col, (void)b, (void)b_row, (void)b_col,
    (void)M, (void)N, (void)K, (void)add;
}

// The same numbers, computed block by block (first let it call gemm_strided; then make it fast).
void gemm_blocked(real *c, size_t ldc, const real *a, size_t a_row, size_t a_col, const real *b,
                  size_t b_row, size_t b_col, int M, int N, int K, int add) {
    (void)c, (void)ldc, (void)a, (void)a_row, (void)a_col, (void)b, (void)b_row, (void)b_col,
    (void)M, (void)N, (void)K, (void)add;
}
