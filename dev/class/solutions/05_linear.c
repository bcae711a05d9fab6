// Exercise 5, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the weight is read as its transpose
// WRONG 2: add is ignored
// WRONG 3: dweight is overwritten instead of added to
// WRONG 4: only the first sequence reaches dweight
// WRONG 5: dweight is stored as its transpose
// WRONG 6: dinp is added to what was there
// WRONG 7: the last output is left out of dinp
// WRONG 8: the last row is left out
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void matmul_forward(real *out, const real *inp, const real *weight, int N, int C, int O, int add) {
    for (int n = 0; n < N - (WRONG == 8); n++) for (int o = 0; o < O; o++) {
        real sum = add && WRONG != 2 ? out[n*O + o] : 0;
        for (int c = 0; c < C; c++) sum += inp[n*C + c]*weight[WRONG == 1 ? c*O + o : o*C + c];
        out[n*O + o] = sum;
    }
}

void matmul_backward_weight(real *dweight, const real *dout, const real *inp, int B, int T, int C,
                            int O) {
    for (int o = 0; o < O; o++) for (int c = 0; c < C; c++) {
        real sum = 0;
        for (int n = 0; n < (WRONG == 4 ? T : B*T); n++) sum += dout[n*O + o]*inp[n*C + c];
        real *at = dweight + (WRONG == 5 ? c*O + o : o*C + c);
        *at = sum + (WRONG == 3 ? 0 : *at);
    }
}

void matmul_backward_input(real *dinp, const real *dout, const real *weight, int N, int C, int O) {
    for (int n = 0; n < N; n++) for (int c = 0; c < C; c++) {
        real sum = WRONG == 6 ? dinp[n*C + c] : 0;
        for (int o = 0; o < O - (WRONG == 7); o++) sum += dout[n*O + o]*weight[o*C + c];
        dinp[n*C + c] = sum;
    }
}
