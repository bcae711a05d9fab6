// Exercise 3, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: neighbours 2i, 2i+1 are paired instead of the halves
// WRONG 2: the rotation goes the other way
// WRONG 3: the values are rotated, too
// WRONG 4: the position is n instead of n % T
// WRONG 5: past is ignored
// WRONG 6: b is computed from the new a
// WRONG 7: the backward pass turns forward again
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

// sign +1: forward, -1: back
static void turn(real *x, const real *table, real sign, int N, int T, int past, int heads, int D, int Q) {
    if (WRONG == 3) heads = Q/D;
    if (WRONG == 5) past = 0;
    for (int n = 0; n < N; n++) for (int h = 0; h < heads; h++) for (int i = 0; i < D/2; i++) {
        const real *row = table + ((WRONG == 4 ? n % (T + past) : n % T) + past*(WRONG != 4))*D;
        real *head = x + n*Q + h*D;
        real *a = WRONG == 1 ? head + 2*i : head + i, *b = WRONG == 1 ? a + 1 : a + D/2;
        real cosine = row[i], sine = sign*row[D/2 + i], first = *a, second = *b;
        *a = first*cosine - second*sine;
        *b = second*cosine + (WRONG == 6 ? *a : first)*sine;
    }
}

void rope_forward(real *qkv, const real *table, int N, int T, int past, int heads, int D, int Q) {
    turn(qkv, table, WRONG == 2 ? -1 : 1, N, T, past, heads, D, Q);
}

void rope_backward(real *dqkv, const real *table, int N, int T, int heads, int D, int Q) {
    turn(dqkv, table, WRONG == 2 || WRONG == 7 ? 1 : -1, N, T, 0, heads, D, Q);
}
