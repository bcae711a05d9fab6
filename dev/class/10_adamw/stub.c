// Exercise 10: AdamW, in torch's order. What to do: README.md beside this file.
#include <math.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// One update of n parameters p with gradients g; m, v: the moments (zero before step 1). step
// counts from 1.
void adamw(real *p, real *m, real *v, const real *g, size_t n, double lr, double beta1,
           double beta2, double eps, double weight_decay, int step) {
    // your code in place of this
    (void)p, (void)m, (void)v, (void)g, (void)n, (void)lr, (void)beta1, (void)beta2, (void)eps,
    (void)weight_decay, (void)step;
}
