// Exercise 1, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the largest logit is not subtracted before exp
// WRONG 2: an ignored target counts with target 0
// WRONG 3: the last column is left out of the sum
// WRONG 4: the z-loss is z*lse instead of z*lse^2
// WRONG 5: the gradient lacks the one at the target
// WRONG 6: the gradient lacks the term of the z-loss
// WRONG 7: the weights are not used
// WRONG 8: the probability of the target is used for all columns
// WRONG 9: no negative target but -100 is ignored
// WRONG 10: token 0 is ignored, too
// WRONG 11: p is exp(logit)/exp(lse), and both overflow
// WRONG 12: the last column is left out of the search for the largest logit
// WRONG 13: the gradient of the z-loss is not multiplied by the weight
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

static int is_ignored(int target) {
    if (WRONG == 2) return 0;
    if (WRONG == 9) return target == -100;
    return WRONG == 10 ? target <= 0 : target < 0;
}

void crossentropy_forward(real *losses, real *zlosses, real *lse, const real *logits,
                          const int *targets, double z, int N, int V) {
    for (int n = 0; n < N; n++) {
        const real *row = logits + n*V;
        real most = row[0], sum = 0;
        for (int v = 1; v < V - (WRONG == 12); v++) most = row[v] > most ? row[v] : most;
        if (WRONG == 1) most = 0;
        for (int v = 0; v < V - (WRONG == 3); v++) sum += (real)exp(row[v] - most);
        lse[n] = most + (real)log(sum);
        int ignored = is_ignored(targets[n]), target = targets[n] < 0 ? 0 : targets[n];
        losses[n] = ignored ? 0 : lse[n] - row[target];
        zlosses[n] = ignored ? 0 : (real)z*lse[n]*(WRONG == 4 ? 1 : lse[n]);
    }
}

void crossentropy_backward(real *dlogits, const real *weights, const real *lse, const real *logits,
                           const int *targets, double z, int N, int V) {
    for (int n = 0; n < N; n++) for (int v = 0; v < V; v++) {
        int target = targets[n] < 0 && WRONG == 2 ? 0 : targets[n];
        real logit = logits[n*V + (WRONG == 8 && target >= 0 ? target : v)];
        real p = WRONG == 11 ? (real)exp(logit)/(real)exp(lse[n]) : (real)exp(logit - lse[n]);
        real d = p*(1 + (WRONG == 6 ? 0 : 2*(real)z*lse[n])) - (WRONG != 5 && v == target);
        d *= WRONG == 7 ? 1 : weights[n];
        if (WRONG == 13) d += (1 - weights[n])*2*(real)z*lse[n]*p;
        dlogits[n*V + v] = is_ignored(target) ? 0 : d;
    }
}
