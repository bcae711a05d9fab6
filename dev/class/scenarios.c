// The scenarios of the exercises: what grade.c runs, once with our functions and once with the student's.
// Shapes are odd and differ from each other, so that exchanged sizes are seen; inputs have no symmetry; gradients come from
// random dout. Where an exercise's function is none of train_olmo.c's, ours stands here, above its scenario.

// The case of the scenario at hand: what its loss function, for the difference quotients, computes from.
static struct {
    int B, T, N, C, O, F, V, H, G, D, Q;
    real *x, *y, *weight, *up, *table, *saved, *work;       // up: the random gradient that arrives from above
    int *targets;
} at;

// sum of up*y: a loss whose gradient with respect to y is `up`
static double weighted_sum(const real *y, const real *up, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)y[i]*(double)up[i];
    return sum;
}

// ---- 02: layer norm --------------------------------------------------------------------------------------------------
static double norm_loss(void) {
    STUDENT(norm_forward)(at.y, at.saved, at.x, at.N, at.C);
    return weighted_sum(at.y, at.up, (size_t)at.N*at.C);
}
static void norm_scenario(void) {
    int N = at.N = random_int(3, 9), C = at.C = random_int(17, 90);
    size_t size = (size_t)N*C;
    real *x = at.x = random_reals(size, 0.7, 1.5), *y = poisoned(size), *rstd = poisoned(N);
    STUDENT(norm_forward)(y, rstd, x, N, C);
    record("y[row][channel]", y, C, 2, (int[]){ N, C });
    record("rstd[row]", rstd, C, 1, (int[]){ N });

    real *dy = at.up = random_reals(size, 0.3, 1), *before = random_reals(size, 0.1, 1), *dx = copied(before, size);
    norm_forward(y, rstd, x, N, C);                         // ours: the two functions are judged apart
    STUDENT(norm_backward)(dx, dy, y, rstd, N, C);
    record("dx[row][channel]", dx, C, 2, (int[]){ N, C });
    at.y = poisoned(size), at.saved = poisoned(N);
    record_differences("dx", dx, before, x, size, norm_loss);
}

static const Exercise exercises[] = {
    { "02_norm", "norm_forward, norm_backward", norm_scenario, 0 },
};
