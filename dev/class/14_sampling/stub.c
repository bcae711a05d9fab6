// Exercise 14: top-k and top-p sampling. What to do: README.md beside this file.
#include <math.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// Draws a token from softmax(logits/temperature), cut first to the top_k likeliest (0: all), then
// to the fewest that hold top_p of what is left. Candidates are gone through from the likeliest on
// (equal ones by id), and the first at which the sum of probabilities reaches u (in (0,1)) times
// the sum of all that are left is taken. temperature 0: the likeliest. V <= 512
int sample_top(const real *logits, int V, double temperature, int top_k, double top_p, double u) {
    // your code in place of this
    (void)logits, (void)V, (void)temperature, (void)top_k, (void)top_p, (void)u;
    return 0;
}
