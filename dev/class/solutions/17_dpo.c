// Exercise 17, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the reference is left out
// WRONG 2: chosen and rejected are exchanged
// WRONG 3: the factor beta is missing in g
// WRONG 4: g is the sigmoid of z instead of -z
// WRONG 5: the loss is a sum, not a mean
// WRONG 6: g is not divided by the number of pairs
// WRONG 7: log(1 + exp(-z)) overflows far from 0
// WRONG 8: beta is 0.1, whatever is asked for
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

double dpo(double *g, const double *chosen, const double *rejected, const double *reference_chosen,
           const double *reference_rejected, double beta, int pairs) {
    double loss = 0;
    if (WRONG == 8) beta = 0.1;
    for (int i = 0; i < pairs; i++) {
        double reference = WRONG == 1 ? 0 : reference_chosen[i] - reference_rejected[i];
        double z = beta*((chosen[i] - rejected[i]) - reference);
        if (WRONG == 2) z = -z;
        loss += (WRONG == 7 ? log(1 + exp(-z)) : fmax(-z, 0) + log1p(exp(-fabs(z))))/(WRONG == 5 ? 1 : pairs);
        g[i] = (WRONG == 3 ? 1 : beta)/(1 + exp(WRONG == 4 ? -z : z))/(WRONG == 6 ? 1 : pairs);
    }
    return loss;
}
