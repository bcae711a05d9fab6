// Exercise 17: the gradient of DPO. What to do: README.md beside this file.
#include <math.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// z_i = beta*((chosen_i - rejected_i) - (reference_chosen_i - reference_rejected_i)); the loss is
// the mean of -log sigmoid(z_i). All arguments are log-probabilities of whole answers. g_i: the
// weight of every token loss of the chosen answer i (the rejected one gets -g_i). Returns the loss.
double dpo(double *g, const double *chosen, const double *rejected, const double *reference_chosen,
           const double *reference_rejected, double beta, int pairs) {
    // your code in place of this
    (void)g, (void)chosen, (void)rejected, (void)reference_chosen, (void)reference_rejected,
    (void)beta, (void)pairs;
    return 0;
}
