// Exercise 20, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the values are normalized, too
// WRONG 2: the whole row is normalized as one
// WRONG 3: the mean is subtracted
// WRONG 4: the term through rstd is missing in the gradient
// WRONG 5: the factor rstd is missing in the gradient
// WRONG 6: the last head is left out
// WRONG 7: 1e-5 stands outside of the root
// WRONG 8: rstd is not written
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void qknorm_forward(real *qkv, real *rstd, int N, int heads, int D, int Q) {
    int count = WRONG == 1 ? Q/D : WRONG == 6 ? heads - 1 : heads;
    for (int n = 0; n < N; n++) for (int h = 0; h < count; h++) {
        real *x = qkv + n*Q + h*D, r;
        double square = 0, mean = 0;
        for (int d = 0; d < D; d++) mean += WRONG == 3 ? x[d]/D : 0;
        for (int d = 0; d < D; d++) square += (x[d] - mean)*(x[d] - mean)/D;
        if (WRONG == 2) {
            square = 0;
            for (int i = 0; i < heads*D; i++) square += qkv[n*Q + i]*qkv[n*Q + i]/(heads*D);
        }
        r = (real)(WRONG == 7 ? 1/(sqrt(square) + 1e-5) : 1/sqrt(square + 1e-5));
        if (h < heads && WRONG != 8) rstd[n*heads + h] = r;
        for (int d = 0; d < D; d++) x[d] = (x[d] - (real)mean)*r;
    }
}

void qknorm_backward(real *dqkv, const real *qkv, const real *rstd, int N, int heads, int D,
                     int Q) {
    for (int n = 0; n < N; n++) for (int h = 0; h < heads - (WRONG == 6); h++) {
        real *d = dqkv + n*Q + h*D, average = 0;
        const real *y = qkv + n*Q + h*D;
        for (int i = 0; i < D; i++) average += WRONG == 4 ? 0 : d[i]*y[i]/D;
        for (int i = 0; i < D; i++) d[i] = (WRONG == 5 ? 1 : rstd[n*heads + h])*(d[i] - y[i]*average);
    }
}
