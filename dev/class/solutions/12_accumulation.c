// Exercise 12, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: each micro-batch gets an equal share, however many tokens it predicts
// WRONG 2: each sequence gets an equal share
// WRONG 3: ignored tokens count in the denominator
// WRONG 4: ignored tokens have a weight
// WRONG 5: the means are averaged without their counts
// WRONG 6: no token at all gives NaN
// WRONG 7: the weights are those of a sum, not of a mean
// WRONG 8: the mean of a group without tokens is looked at
// WRONG 9: no negative target but -100 is ignored
// WRONG 10: a last micro-batch that is not full has no weight
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

void loss_weights(real *weights, const int *targets, int batch, int T, int micro_batch) {
    if (WRONG == 10) {
        for (int n = 0; n < batch*T; n++) weights[n] = 0;
        batch -= batch % micro_batch;
    }
    // sequences that share a denominator
    int group = WRONG == 1 ? micro_batch : WRONG == 2 ? 1 : batch;
    for (int b = 0; b < batch; b += group) {
        int last = b + group < batch ? b + group : batch, groups = (batch + group - 1)/group;
        int predicted = 0;
        for (int n = b*T; n < last*T; n++) {
            int ignored = WRONG == 9 ? targets[n] == -100 : targets[n] < 0;
            predicted += !ignored || WRONG == 3;
        }
        for (int n = b*T; n < last*T; n++)
            weights[n] = (WRONG == 9 ? targets[n] == -100 : targets[n] < 0 && WRONG != 4) ? 0
                : WRONG == 7 ? 1 : 1/((real)predicted*groups);
    }
}

double combine_means(const double *means, const int *counts, int n) {
    double sum = 0, all = 0;
    for (int i = 0; i < n; i++) {
        if (!counts[i] && WRONG != 5 && WRONG != 8) continue;
        sum += means[i]*(WRONG == 5 ? 1 : counts[i]), all += WRONG == 5 ? 1 : counts[i];
    }
    return all > 0 || WRONG == 6 ? sum/all : 0;
}
