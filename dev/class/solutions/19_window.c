// Exercise 19, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the window is one key wider
// WRONG 2: the window is one key narrower
// WRONG 3: the window is ignored
// WRONG 4: the window starts in an earlier sequence (negative positions)
// WRONG 5: the backward pass ignores the window
// WRONG 6: dqkv is not cleared first
// WRONG 7: the sum over P dP is missing
// WRONG 8: a window of 1 is empty
// WRONG 9: P is exp(S)/exp(lse), and both overflow
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

static int first_seen(int i, int W) {
    int from = i - W + 1 - (WRONG == 1) + (WRONG == 2 && W > 1);
    if (WRONG == 3) from = 0;
    if (WRONG == 8 && W == 1) from = i + 1;
    return from < 0 ? 0 : from;
}

void window_forward(real *att, real *lse, real *P, const real *qkv, int B, int T, int W, int H,
                    int G, int D) {
    int Q = (H + 2*G)*D;
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int i = 0; i < T; i++) {
        int row = b*T + i, from = first_seen(i, W);
        const real *q = qkv + row*Q + h*D, *k = qkv + b*T*Q + (H + h/(H/G))*D, *v = k + G*D;
        real *out = att + row*H*D + h*D, most = -INFINITY, sum = 0;
        if (WRONG == 4 && b > 0 && i - W + 1 < 0) k -= Q, v -= Q;
        for (int j = from; j <= i; j++) {
            P[j] = 0;
            for (int d = 0; d < D; d++) P[j] += q[d]*k[j*Q + d]/(real)sqrt((real)D);
            most = P[j] > most ? P[j] : most;
        }
        for (int j = from; j <= i; j++) sum += P[j] = (real)exp(P[j] - most);
        lse[(b*H + h)*T + i] = most + (real)log(sum);
        for (int d = 0; d < D; d++) out[d] = 0;
        for (int j = from; j <= i; j++) for (int d = 0; d < D; d++) out[d] += P[j]/sum*v[j*Q + d];
    }
}

void window_backward(real *dqkv, const real *datt, const real *att, const real *lse,
                     const real *qkv, int B, int T, int W, int H, int G, int D) {
    int Q = (H + 2*G)*D;
    real scale = 1/(real)sqrt((real)D);
    if (WRONG != 6) for (int i = 0; i < B*T*Q; i++) dqkv[i] = 0;
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int i = 0; i < T; i++) {
        int query = (b*T + i)*Q + h*D, head = (b*T + i)*H*D + h*D;
        real dot = 0;
        for (int d = 0; d < D; d++) dot += WRONG == 7 ? 0 : datt[head + d]*att[head + d];
        for (int j = WRONG == 5 ? 0 : first_seen(i, W); j <= i; j++) {
            int key = (b*T + j)*Q + (H + h/(H/G))*D, value = key + G*D;
            real S = 0, dP = 0;
            for (int d = 0; d < D; d++) {
                S += qkv[query + d]*qkv[key + d]*scale;
                dP += datt[head + d]*qkv[value + d];
            }
            real L = lse[(b*H + h)*T + i];
            real P = WRONG == 9 ? (real)exp(S)/(real)exp(L) : (real)exp(S - L), dS = P*(dP - dot)*scale;
            for (int d = 0; d < D; d++) {
                dqkv[value + d] += P*datt[head + d];
                dqkv[query + d] += dS*qkv[key + d];
                dqkv[key + d] += dS*qkv[query + d];
            }
        }
    }
}
