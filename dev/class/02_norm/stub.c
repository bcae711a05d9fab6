// Exercise 2: layer norm without parameters. What to do: README.md beside this file.
#include <math.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// y = (x - mean)*rstd,   rstd = 1/sqrt(variance + 1e-5), for every row
// y, x: [N, C]; rstd: [N]
void norm_forward(real *y, real *rstd, const real *x, int N, int C) {
    // your code in place of this
    (void)y, (void)rstd, (void)x, (void)N, (void)C;
}

// dx += what reaches x through y
// dx, dy, y: [N, C]; rstd: [N]
void norm_backward(real *dx, const real *dy, const real *y, const real *rstd, int N, int C) {
    (void)dx, (void)dy, (void)y, (void)rstd, (void)N, (void)C;
}
