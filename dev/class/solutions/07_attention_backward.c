// Exercise 7, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: dqkv is not cleared first
// WRONG 2: the sum over P dP is missing
// WRONG 3: the factor 1/sqrt(D) is missing in dq and dk
// WRONG 4: the factor 1/sqrt(D) is missing where P is made again
// WRONG 5: query heads that share a key head overwrite its gradient
// WRONG 6: dv is made from dP instead of P
// WRONG 7: later keys receive gradient, too
// WRONG 8: dq and dk are exchanged in the last product
// WRONG 9: P is exp(S)/exp(lse), and both overflow
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void attention_backward(real *dqkv, real *work, const real *datt, const real *att, const real *lse,
                        const real *qkv, int B, int T, int H, int G, int D) {
    int Q = (H + 2*G)*D;
    real scale = 1/(real)sqrt((real)D);
    (void)work;
    if (WRONG != 1) for (int i = 0; i < B*T*Q; i++) dqkv[i] = 0;
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) {
        if (WRONG == 5) for (int t = 0; t < T; t++) for (int d = 0; d < D; d++)
            dqkv[(b*T + t)*Q + (H + h/(H/G))*D + d] = dqkv[(b*T + t)*Q + (H + G + h/(H/G))*D + d] = 0;
        for (int i = 0; i < T; i++) {
            int query = (b*T + i)*Q + h*D, head = (b*T + i)*H*D + h*D;
            real dot = 0;
            for (int d = 0; d < D; d++) dot += datt[head + d]*att[head + d];
            if (WRONG == 2) dot = 0;
            for (int j = 0; j < (WRONG == 7 ? T : i + 1); j++) {
                int key = (b*T + j)*Q + (H + h/(H/G))*D, value = key + G*D;
                real S = 0, dP = 0;
                for (int d = 0; d < D; d++) {
                    S += qkv[query + d]*qkv[key + d]*(WRONG == 4 ? 1 : scale);
                    dP += datt[head + d]*qkv[value + d];
                }
                real L = lse[(b*H + h)*T + i];
                real P = WRONG == 9 ? (real)exp(S)/(real)exp(L) : (real)exp(S - L);
                real dS = P*(dP - dot)*(WRONG == 3 ? 1 : scale);
                for (int d = 0; d < D; d++) {
                    dqkv[value + d] += (WRONG == 6 ? dP : P)*datt[head + d];
                    dqkv[query + d] += dS*qkv[(WRONG == 8 ? query : key) + d];
                    dqkv[key + d] += dS*qkv[(WRONG == 8 ? key : query) + d];
                }
            }
        }
    }
}
