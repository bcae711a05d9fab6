// Exercise 11, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: gradients smaller than the limit are scaled up
// WRONG 2: the norm is not the root of the sum
// WRONG 3: limit 0 makes all gradients 0
// WRONG 4: the warm-up starts from 0
// WRONG 5: after the last step the rate goes on falling
// WRONG 6: the wave starts at step 0 instead of at the end of the warm-up
// WRONG 7: final_lr is taken as a rate, not as a fraction of the peak
// WRONG 8: the steps are counted from 0
#include <math.h>
#include <stddef.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

double clip_factor(const real *grads, size_t n, double limit) {
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (double)grads[i]*(double)grads[i];
    double factor = limit/((WRONG == 2 ? squares : sqrt(squares)) + 1e-6);
    if (limit == 0 && WRONG != 3) return 1;
    return WRONG == 1 ? factor : fmin(1, factor);
}

static double rate(int wave, int step, int warmup, int steps, double peak, double final_lr) {
    double low = WRONG == 7 ? final_lr : peak*final_lr;
    if (WRONG == 8) step--;
    if (step < warmup) return WRONG == 4 ? peak*step/warmup : peak*(0.1 + 0.9*step/warmup);
    double done = WRONG == 6 ? (double)step/steps : (double)(step - warmup)/(steps - warmup);
    if (WRONG != 5) done = fmin(1, done);
    return wave ? low + (peak - low)*(1 + cos(3.14159265358979323846*done))/2 : peak - (peak - low)*done;
}

double cosine_rate(int step, int warmup, int steps, double peak, double final_lr) {
    return rate(1, step, warmup, steps, peak, final_lr);
}

double linear_rate(int step, int warmup, int steps, double peak, double final_lr) {
    return rate(0, step, warmup, steps, peak, final_lr);
}
