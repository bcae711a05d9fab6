// Exercise 10, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the moments are not corrected for their start at zero
// WRONG 2: the decay is added to the gradient (Adam with L2, not AdamW)
// WRONG 3: the decay is not multiplied by lr
// WRONG 4: eps stands inside the root
// WRONG 5: v averages the gradient instead of its square
// WRONG 6: beta1 and beta2 are exchanged
// WRONG 7: step counts from 0
// WRONG 8: eps is added before the correction of v
// WRONG 9: the decay is applied after the update
// WRONG 10: beta1 is 0.9, whatever is asked for
#include <math.h>
#include <stddef.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void adamw(real *p, real *m, real *v, const real *g, size_t n, double lr, double beta1,
           double beta2, double eps, double weight_decay, int step) {
    if (WRONG == 6) { double swap = beta1; beta1 = beta2, beta2 = swap; }
    if (WRONG == 10) beta1 = 0.9;
    double t = WRONG == 7 ? step - 1 + 1e-3 : step;
    double first = WRONG == 1 ? 1 : 1 - pow(beta1, t), second = WRONG == 1 ? 1 : 1 - pow(beta2, t);
    for (size_t i = 0; i < n; i++) {
        double grad = g[i] + (WRONG == 2 ? weight_decay*p[i] : 0);
        double decay = WRONG == 2 ? 0 : WRONG == 3 ? weight_decay : lr*weight_decay;
        double m1 = beta1*m[i] + (1 - beta1)*grad;
        double v1 = beta2*v[i] + (1 - beta2)*(WRONG == 5 ? fabs(grad) : grad*grad);
        double root = sqrt(v1)/sqrt(second) + eps;
        if (WRONG == 4) root = sqrt(v1/second + eps);
        if (WRONG == 8) root = (sqrt(v1) + eps)/sqrt(second);
        double updated = p[i]*(1 - decay) - lr/first*m1/root;
        if (WRONG == 9) updated = (p[i] - lr/first*m1/root)*(1 - decay);
        m[i] = (real)m1, v[i] = (real)v1, p[i] = (real)updated;
    }
}
