// Exercise 16: numpy's shuffle. What to do: README.md beside this file.
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// order = 0 .. n-1, shuffled as numpy's Generator(PCG64).shuffle does from this state (README.md
// has the steps)
void pcg64_shuffle(uint32_t *order, uint32_t n, uint64_t state_high, uint64_t state_low,
                   uint64_t inc_high, uint64_t inc_low) {
    // your code in place of this
    (void)order, (void)n, (void)state_high, (void)state_low, (void)inc_high, (void)inc_low;
}
