// Exercise 15: byte pair encoding. What to do: README.md beside this file.
#include <math.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// While any neighbours ids[i], ids[i+1] are a pair left[r], right[r]: takes the pair with the
// smallest r, and replaces each of its occurrences, from left to right, by merged[r]. Works in
// place; returns the new length.
int bpe_merge(int *ids, int n, const int *left, const int *right, const int *merged, int merges) {
    // your code in place of this
    (void)ids, (void)n, (void)left, (void)right, (void)merged, (void)merges;
    return 0;
}
