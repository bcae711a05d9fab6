// Exercise 13, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the new key is stored one position too late
// WRONG 2: the token does not see itself
// WRONG 3: keys are not kept: only the newest is seen
// WRONG 4: values are read where keys are stored
// WRONG 5: query heads share key heads by h % G
// WRONG 6: scores are not divided by sqrt(D)
// WRONG 7: the oldest key is forgotten
// WRONG 8: the largest score is not subtracted before exp
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void attention_step(real *att, real *keys, real *values, const real *qkv, int past, int H, int G,
                    int D) {
    int row = WRONG == 1 && past > 0 ? past - 1 : past;
    for (int i = 0; i < G*D; i++) {
        keys[row*G*D + i] = qkv[H*D + i];
        values[past*G*D + i] = qkv[(H + G)*D + i];
    }
    for (int h = 0; h < H; h++) {
        int g = WRONG == 5 ? h % G : h/(H/G);
        int from = WRONG == 3 ? past : WRONG == 7 && past > 0;
        int to = WRONG == 2 && past > 0 ? past - 1 : past;
        double most = -INFINITY, sum = 0, P[1024];
        for (int j = from; j <= to; j++) {
            P[j] = 0;
            for (int d = 0; d < D; d++) P[j] += qkv[h*D + d]*keys[(j*G + g)*D + d]/(WRONG == 6 ? 1 : sqrt(D));
            most = fmax(most, P[j]);
        }
        for (int j = from; j <= to; j++) sum += P[j] = exp(P[j] - (WRONG == 8 ? 0 : most));
        for (int d = 0; d < D; d++) {
            double out = 0;
            for (int j = from; j <= to; j++) out += P[j]/sum*(WRONG == 4 ? keys : values)[(j*G + g)*D + d];
            att[h*D + d] = (real)out;
        }
    }
}
