// Exercise 3: rotary positions. What to do: README.md beside this file.
#include <math.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// Turns the halves (a, b) of each of the first `heads` heads of row n by the angles of position
// past + n % T, in place.
// qkv: [N, Q]; table[t] = D/2 cosines, then D/2 sines
void rope_forward(real *qkv, const real *table, int N, int T, int past, int heads, int D, int Q) {
    // your code in place of this
    (void)qkv, (void)table, (void)N, (void)T, (void)past, (void)heads, (void)D, (void)Q;
}

// The transpose of that (past = 0), in place.
// dqkv: [N, Q]
void rope_backward(real *dqkv, const real *table, int N, int T, int heads, int D, int Q) {
    (void)dqkv, (void)table, (void)N, (void)T, (void)heads, (void)D, (void)Q;
}
