// Exercise 9, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: a repeated token overwrites its earlier gradient
// WRONG 2: dwte is cleared first
// WRONG 3: the row number is taken for the token
// WRONG 4: the last row is left out
// WRONG 5: the last channel is left out
// WRONG 6: the gradient of a token is averaged over its occurrences
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void embed_forward(real *x, const int *tokens, const real *wte, int N, int C) {
    for (int n = 0; n < N - (WRONG == 4); n++) for (int c = 0; c < C; c++)
        x[n*C + c] = wte[(WRONG == 3 ? n % (tokens[n] + 1) : tokens[n])*C + c];
}

void embed_backward(real *dwte, const real *dx, const int *tokens, int N, int C) {
    if (WRONG == 2) for (int n = 0; n < N; n++) for (int c = 0; c < C; c++) dwte[tokens[n]*C + c] = 0;
    for (int n = 0; n < N; n++) {
        int times = 0;
        for (int k = 0; k < N; k++) times += tokens[k] == tokens[n];
        for (int c = 0; c < C - (WRONG == 5); c++) {
            real *at = dwte + tokens[n]*C + c;
            *at = (WRONG == 1 ? 0 : *at) + dx[n*C + c]/(WRONG == 6 ? times : 1);
        }
    }
}
