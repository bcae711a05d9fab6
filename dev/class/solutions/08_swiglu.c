// Exercise 8, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: up and gate are exchanged
// WRONG 2: silu is applied to up as well
// WRONG 3: the sigmoid stands alone, without its factor z
// WRONG 4: the derivative of silu is the sigmoid alone
// WRONG 5: rows are F apart instead of 2F
// WRONG 6: dug is wrong when it is ug itself (up was overwritten before it was used)
// WRONG 7: h is not made again
// WRONG 8: the sigmoid is exp(z)/(1 + exp(z)), and both overflow
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

static real sigmoid(real z) {
    return WRONG == 8 ? (real)exp(z)/(1 + (real)exp(z)) : 1/(1 + (real)exp(-z));
}

void swiglu_forward(real *h, const real *ug, int N, int F) {
    for (int n = 0; n < N; n++) for (int f = 0; f < F; f++) {
        const real *row = ug + n*(WRONG == 5 ? F : 2*F);
        real up = row[WRONG == 1 ? F + f : f], gate = row[WRONG == 1 ? f : F + f];
        h[n*F + f] = (WRONG == 2 ? up*sigmoid(up) : up)*(WRONG == 3 ? 1 : gate)*sigmoid(gate);
    }
}

void swiglu_backward(real *dug, real *h, const real *dh, const real *ug, int N, int F) {
    for (int n = 0; n < N; n++) for (int f = 0; f < F; f++) {
        int u = n*2*F + (WRONG == 1 ? F + f : f), g = n*2*F + (WRONG == 1 ? f : F + f);
        real up = ug[u], gate = ug[g], s = sigmoid(gate), d = dh[n*F + f];
        if (WRONG != 7) h[n*F + f] = up*gate*s;
        dug[u] = d*gate*s;
        if (WRONG == 6) up = ug[u];
        dug[g] = d*up*(WRONG == 4 ? s : s + gate*s*(1 - s));
    }
}
