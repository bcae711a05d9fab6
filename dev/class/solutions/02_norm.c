// Exercise 2, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the mean is not subtracted
// WRONG 2: the variance is divided by C - 1 (the unbiased estimate)
// WRONG 3: 1e-5 is added outside of the root
// WRONG 4: the last row is left out
// WRONG 5: the gradient overwrites dx instead of being added to it
// WRONG 6: the average of dy is not subtracted
// WRONG 7: the term y*average(dy*y) is missing
// WRONG 8: the factor rstd is missing in the gradient
// WRONG 9: the variance is average(x^2) - average(x)^2
// WRONG 10: eps is 1e-6 instead of 1e-5
// WRONG 11: the averages in the gradient are divided by C - 1
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void norm_forward(real *y, real *rstd, const real *x, int N, int C) {
    const real eps = (real)(WRONG == 10 ? 1e-6 : 1e-5);
    for (int n = 0; n < N - (WRONG == 4); n++) {
        const real *in = x + n*C;
        real mean = 0, variance = 0;
        for (int c = 0; c < C; c++) mean += in[c]/C;
        for (int c = 0; c < C; c++) variance += (in[c] - mean)*(in[c] - mean)/(C - (WRONG == 2));
        if (WRONG == 9) {
            variance = -mean*mean;
            for (int c = 0; c < C; c++) variance += in[c]*in[c]/C;
        }
        rstd[n] = WRONG == 3 ? 1/((real)sqrt(variance) + eps) : 1/(real)sqrt(variance + eps);
        for (int c = 0; c < C; c++) y[n*C + c] = (in[c] - (WRONG == 1 ? 0 : mean))*rstd[n];
    }
}

void norm_backward(real *dx, const real *dy, const real *y, const real *rstd, int N, int C) {
    const int of = C - (WRONG == 11);
    for (int n = 0; n < N; n++) {
        real average = 0, average_y = 0;
        for (int c = 0; c < C; c++) average += dy[n*C + c]/of, average_y += dy[n*C + c]*y[n*C + c]/of;
        for (int c = 0; c < C; c++) {
            real d = dy[n*C + c] - (WRONG == 6 ? 0 : average) - (WRONG == 7 ? 0 : y[n*C + c]*average_y);
            d *= WRONG == 8 ? 1 : rstd[n];
            dx[n*C + c] = d + (WRONG == 5 ? 0 : dx[n*C + c]);
        }
    }
}
