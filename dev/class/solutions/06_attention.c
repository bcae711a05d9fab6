// Exercise 6, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: later keys are seen, too
// WRONG 2: the key at the query itself is not seen
// WRONG 3: scores are not divided by sqrt(D)
// WRONG 4: scores are divided by D
// WRONG 5: query heads share key heads by h % G
// WRONG 6: the largest score is not subtracted before exp
// WRONG 7: past is ignored
// WRONG 8: the sum is not divided out
// WRONG 9: lse lacks the largest score
// WRONG 10: lse is the logarithm of a sum that overflows
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void attention_forward(real *att, real *lse, real *work, const real *q, int q_width,
                       const real *kv, int kv_width, int B, int T, int past, int H, int G, int D) {
    int keys = past + T, shift = WRONG == 7 ? 0 : past;
    real *P = work, scale = WRONG == 3 ? 1 : WRONG == 4 ? 1/(real)D : 1/(real)sqrt((real)D);
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int i = 0; i < T; i++) {
        int g = WRONG == 5 ? h % G : h/(H/G), seen = WRONG == 1 ? shift + T : shift + i + 1;
        const real *query = q + (b*T + i)*q_width + h*D, *k = kv + b*keys*kv_width + g*D, *v = k + G*D;
        real *out = att + (b*T + i)*H*D + h*D, most = -INFINITY, sum = 0;
        if (WRONG == 2 && seen > 1) seen--;
        for (int j = 0; j < seen; j++) {
            P[j] = 0;
            for (int d = 0; d < D; d++) P[j] += query[d]*k[j*kv_width + d]*scale;
            most = P[j] > most ? P[j] : most;
        }
        if (WRONG == 6) most = 0;
        for (int j = 0; j < seen; j++) sum += P[j] = (real)exp(P[j] - most);
        lse[(b*H + h)*T + i] = (WRONG == 9 ? 0 : most) + (real)log(sum);
        if (WRONG == 10) lse[(b*H + h)*T + i] = (real)log((real)exp(most)*sum);
        for (int d = 0; d < D; d++) out[d] = 0;
        for (int j = 0; j < seen; j++) for (int d = 0; d < D; d++)
            out[d] += P[j]/(WRONG == 8 ? 1 : sum)*v[j*kv_width + d];
    }
}
