// Exercise 1: softmax cross entropy. What to do: README.md beside this file.
#include <math.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// losses_n = -log p(targets_n), zlosses_n = z*lse_n^2; both 0 where targets_n < 0
// lse_n = log sum_v exp(logits[n, v])
// losses, zlosses, lse, targets: [N]; logits: [N, V]
void crossentropy_forward(real *losses, real *zlosses, real *lse, const real *logits,
                          const int *targets, double z, int N, int V) {
    // your code in place of this
    (void)losses, (void)zlosses, (void)lse, (void)logits, (void)targets, (void)z, (void)N, (void)V;
}

// dlogits = the gradient of sum_n weights_n (losses_n + zlosses_n); 0 where targets_n < 0
// dlogits, logits: [N, V], and may be one array; weights, lse: [N]
void crossentropy_backward(real *dlogits, const real *weights, const real *lse, const real *logits,
                           const int *targets, double z, int N, int V) {
    (void)dlogits, (void)weights, (void)lse, (void)logits, (void)targets, (void)z, (void)N,
    (void)V;
}
