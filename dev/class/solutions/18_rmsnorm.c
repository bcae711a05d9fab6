// Exercise 18, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the mean is subtracted (that is LayerNorm)
// WRONG 2: the gain is left out of dx
// WRONG 3: dgain is overwritten by each row
// WRONG 4: dx is overwritten
// WRONG 5: the term through rstd is missing
// WRONG 6: dgain lacks rstd
// WRONG 7: the sum of squares is not divided by C
// WRONG 8: rstd holds the root, not one over it
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void rmsnorm_forward(real *y, real *rstd, const real *x, const real *gain, int N, int C) {
    for (int n = 0; n < N; n++) {
        double square = 0, mean = 0;
        for (int c = 0; c < C; c++) mean += WRONG == 1 ? x[n*C + c]/C : 0;
        for (int c = 0; c < C; c++) square += (x[n*C + c] - mean)*(x[n*C + c] - mean)/(WRONG == 7 ? 1 : C);
        rstd[n] = (real)(1/sqrt(square + 1e-5));
        for (int c = 0; c < C; c++) y[n*C + c] = gain[c]*(x[n*C + c] - (real)mean)*rstd[n];
        if (WRONG == 8) rstd[n] = 1/rstd[n];
    }
}

void rmsnorm_backward(real *dx, real *dgain, const real *dy, const real *x, const real *gain,
                      const real *rstd, int N, int C) {
    for (int n = 0; n < N; n++) {
        double average = 0, r = rstd[n];
        for (int c = 0; c < C; c++) average += (double)gain[c]*dy[n*C + c]*x[n*C + c]/C;
        if (WRONG == 5) average = 0;
        for (int c = 0; c < C; c++) {
            double d = r*((WRONG == 2 ? 1 : gain[c])*dy[n*C + c] - x[n*C + c]*r*r*average);
            dx[n*C + c] = (real)(d + (WRONG == 4 ? 0 : dx[n*C + c]));
            dgain[c] = (WRONG == 3 ? 0 : dgain[c]) + dy[n*C + c]*x[n*C + c]*(WRONG == 6 ? 1 : rstd[n]);
        }
    }
}
