// The scenarios of the exercises: what grade.c runs, once with our functions and once with the
// student's. Shapes are odd and differ from each other, so that exchanged sizes are seen; inputs
// have no symmetry; gradients come from random dout. Where an exercise's function is none of
// train_olmo.c's, ours stands here, above its scenario.

// The case of the scenario at hand: what its loss function, for the difference quotients, computes
// from. It calls our forward function: a right backward function passes beside a wrong forward one.
static struct {
    int B, T, N, C, O, F, V, H, G, D, Q;
    // up: the random gradient that arrives from above
    real *x, *y, *weight, *up, *table, *saved, *work;
    int *targets;
} at;

// ---- 01: softmax cross entropy ------------------------------------------------------------------
static double crossentropy_loss(void) {
    real *zlosses = at.work, *lse = at.work + at.N;
    crossentropy_forward(at.y, zlosses, lse, at.x, at.targets, 1e-3, at.N, at.V);
    return weighted_sum(at.y, at.up, at.N) + weighted_sum(zlosses, at.up, at.N);
}
static void crossentropy_scenario(void) {
    enum { MOST = 16 };
    static int targets[MOST];
    int N = at.N = random_int(6, MOST), V = at.V = random_int(21, 60);
    size_t size = (size_t)N*V;
    for (int n = 0; n < N; n++) targets[n] = random_int(0, V - 1);
    targets[1] = 0, targets[3] = V - 1;
    targets[0] = -7, targets[2] = -100, targets[5] = -1;    // ignored: all that are below 0
    at.targets = targets;
    real *logits = at.x = random_reals(size, 0.5, 2), *far = copied(logits, size);
    real *losses = poisoned(N), *zlosses = poisoned(N), *lse = poisoned(N);
    STUDENT(crossentropy_forward)(losses, zlosses, lse, logits, targets, 1e-3, N, V);
    record("losses[row]", losses, V, 1, (int[]){ N });
    record("zlosses[row]", zlosses, V, 1, (int[]){ N });
    record("lse[row]", lse, V, 1, (int[]){ N });
    // exp of these overflows, or is 0; in row 4 the last one is far from all others
    for (size_t i = 0; i < size; i++) far[i] += i % (2*V) < (size_t)V ? 900 : -900;
    far[4*V + V - 1] += 900;
    real *far_losses = poisoned(N), *far_lse = poisoned(N);
    STUDENT(crossentropy_forward)(far_losses, zlosses, far_lse, far, targets, 0, N, V);
    record("losses_of_far_logits[row]", far_losses, 400, 1, (int[]){ N });
    record("lse_of_far_logits[row]", far_lse, V, 1, (int[]){ N });

    real *weights = at.up = random_reals(N, 0.5, 0.2);
    real *dlogits = poisoned(size), *in_place = copied(logits, size), *dfar = poisoned(size);
    crossentropy_forward(losses, zlosses, lse, logits, targets, 1e-3, N, V);
    STUDENT(crossentropy_backward)(dlogits, weights, lse, logits, targets, 1e-3, N, V);
    record("dlogits[row][column]", dlogits, 8, 2, (int[]){ N, V });
    STUDENT(crossentropy_backward)(in_place, weights, lse, in_place, targets, 1e-3, N, V);
    record("dlogits_in_place[row][column]", in_place, 8, 2, (int[]){ N, V });
    crossentropy_forward(far_losses, zlosses, far_lse, far, targets, 0, N, V);
    STUDENT(crossentropy_backward)(dfar, weights, far_lse, far, targets, 0, N, V);
    record("dlogits_of_far_logits[row][column]", dfar, 400, 2, (int[]){ N, V });
    at.y = poisoned(N), at.work = poisoned(2*(size_t)N);
    record_differences("dlogits", dlogits, NULL, logits, size, crossentropy_loss);
}

// ---- 02: layer norm -----------------------------------------------------------------------------
static double norm_loss(void) {
    norm_forward(at.y, at.saved, at.x, at.N, at.C);
    return weighted_sum(at.y, at.up, (size_t)at.N*at.C);
}
static void norm_scenario(void) {
    int N = at.N = random_int(3, 9), C = at.C = random_int(17, 90);
    size_t size = (size_t)N*C;
    real *x = at.x = random_reals(size, 0.7, 1.5), *y = poisoned(size), *rstd = poisoned(N);
    STUDENT(norm_forward)(y, rstd, x, N, C);
    record("y[row][channel]", y, C, 2, (int[]){ N, C });
    record("rstd[row]", rstd, C, 1, (int[]){ N });

    // rows far from 0: there, average(x^2) - average(x)^2 loses twice the digits of average(x - mean)^2
    enum { FAR = 100000 };
    real *far = random_reals(size, FAR, 1.5), *y_far = poisoned(size), *rstd_far = poisoned(N);
    STUDENT(norm_forward)(y_far, rstd_far, far, N, C);
    if (in_double) record("y_far_from_0[row][channel]", y_far, FAR*C, 2, (int[]){ N, C });

    real *dy = at.up = random_reals(size, 0.3, 1);
    real *before = random_reals(size, 0.1, 1), *dx = copied(before, size);
    norm_forward(y, rstd, x, N, C);                         // ours: the two functions are judged apart
    STUDENT(norm_backward)(dx, dy, y, rstd, N, C);
    record("dx[row][channel]", dx, C, 2, (int[]){ N, C });
    at.y = poisoned(size), at.saved = poisoned(N);
    record_differences("dx", dx, before, x, size, norm_loss);
}

// ---- 03: rotary positions -----------------------------------------------------------------------
static double rope_loss(void) {
    size_t size = (size_t)at.N*at.Q;
    memcpy(at.y, at.x, size*sizeof(real));
    rope_forward(at.y, at.table, at.N, at.T, 0, at.H + at.G, at.D, at.Q);
    return weighted_sum(at.y, at.up, size);
}
static void rope_scenario(void) {
    int H = at.H = random_int(2, 4), G = at.G = random_int(1, 2), D = at.D = 2*random_int(2, 5);
    int T = at.T = random_int(5, 9), N = at.N = T*random_int(2, 3), Q = at.Q = (H + 2*G)*D;
    int past = random_int(1, 4);
    size_t size = (size_t)N*Q;
    real *table = at.table = new_array((size_t)(T + past)*D);
    rope_table(table, 10000, T + past, D);
    real *x = at.x = random_reals(size, 0.4, 1), *y = copied(x, size), *later = copied(x, size);
    STUDENT(rope_forward)(y, table, N, T, 0, H + G, D, Q);
    record("qkv[row][column]", y, 2, 2, (int[]){ N, Q });
    STUDENT(rope_forward)(later, table, N, T, past, H + G, D, Q);
    record("qkv_after_past[row][column]", later, 2, 2, (int[]){ N, Q });

    real *up = at.up = random_reals(size, 0.2, 1), *dqkv = copied(up, size);
    STUDENT(rope_backward)(dqkv, table, N, T, H + G, D, Q);
    record("dqkv[row][column]", dqkv, 2, 2, (int[]){ N, Q });
    at.y = poisoned(size);
    record_differences("dqkv", dqkv, NULL, x, size, rope_loss);
}

// ---- 04: a matrix product with strides ----------------------------------------------------------
// c[i*ldc + j] = (add ? c : 0) + sum_k a[i*a_row + k*a_col]*b[k*b_row + j*b_col]
static void gemm_strided(real *c, size_t ldc, const real *a, size_t a_row, size_t a_col, const real *b,
                         size_t b_row, size_t b_col, int M, int N, int K, int add) {
    gemm_naive(c, ldc, strided(a, a_row, a_col), strided(b, b_row, b_col), M, N, K, add);
}
static void gemm_blocked(real *c, size_t ldc, const real *a, size_t a_row, size_t a_col, const real *b,
                         size_t b_row, size_t b_col, int M, int N, int K, int add) {
    gemm_strided(c, ldc, a, a_row, a_col, b, b_row, b_col, M, N, K, add);
}
static void gemm_scenario(void) {
    // all four transpositions, overwriting and adding
    for (int round = 0; round < 8; round++) {
        int M = random_int(1, 70), N = random_int(1, 70), K = random_int(1, 70);
        if (round == 2) M = 32, N = 64, K = 48;             // whole blocks
        if (round == 5) M = random_int(1, 7), N = random_int(1, 7), K = random_int(1, 7);
        int ldc = N + random_int(1, 5), add = round/4;
        int ta = round & 1, lda = (ta ? M : K) + random_int(1, 3);
        int tb = round >> 1 & 1, ldb = (tb ? K : N) + random_int(1, 3);
        size_t a_row = ta ? 1 : lda, a_col = ta ? lda : 1, b_row = tb ? 1 : ldb, b_col = tb ? ldb : 1;
        real *a = random_reals((size_t)(ta ? K : M)*lda, 0.2, 1);
        real *b = random_reals((size_t)(tb ? N : K)*ldb, -0.1, 1);
        real *start = random_reals((size_t)M*ldc, 0.5, 1);
        real *c = copied(start, (size_t)M*ldc), *d = copied(start, (size_t)M*ldc);
        STUDENT(gemm_strided)(c, ldc, a, a_row, a_col, b, b_row, b_col, M, N, K, add);
        record("c[row][column]", c, K, 2, (int[]){ M, ldc });
        STUDENT(gemm_blocked)(d, ldc, a, a_row, a_col, b, b_row, b_col, M, N, K, add);
        record("c_blocked[row][column]", d, K, 2, (int[]){ M, ldc });
    }
}

// ---- 05: the three products of a linear layer ---------------------------------------------------
static double matmul_loss(void) {
    matmul_forward(at.y, at.x, at.weight, at.N, at.C, at.O, 0);
    return weighted_sum(at.y, at.up, (size_t)at.N*at.O);
}
static void matmul_scenario(void) {
    int B = at.B = random_int(2, 3), T = at.T = random_int(3, 7), N = at.N = B*T;
    int C = at.C = random_int(9, 25), O = at.O = random_int(5, 20);
    size_t no = (size_t)N*O, nc = (size_t)N*C, oc = (size_t)O*C;
    real *inp = at.x = random_reals(nc, 0.3, 1), *weight = at.weight = random_reals(oc, 0.1, 1);
    real *out = poisoned(no);
    STUDENT(matmul_forward)(out, inp, weight, N, C, O, 0);
    record("out[row][column]", out, C, 2, (int[]){ N, O });
    real *sum = random_reals(no, 0.7, 1);
    STUDENT(matmul_forward)(sum, inp, weight, N, C, O, 1);
    record("out_added[row][column]", sum, C, 2, (int[]){ N, O });

    real *dout = at.up = random_reals(no, 0.2, 1), *dinp = poisoned(nc);
    real *before = random_reals(oc, 0.3, 1), *dweight = copied(before, oc);
    at.y = poisoned(no);
    STUDENT(matmul_backward_weight)(dweight, dout, inp, B, T, C, O);
    record("dweight[out][in]", dweight, N, 2, (int[]){ O, C });
    record_differences("dweight", dweight, before, weight, oc, matmul_loss);
    STUDENT(matmul_backward_input)(dinp, dout, weight, N, C, O);
    record("dinp[row][column]", dinp, O, 2, (int[]){ N, C });
    record_differences("dinp", dinp, NULL, inp, nc, matmul_loss);
}

// ---- 06, 07: causal attention -------------------------------------------------------------------
static void attention_case(void) {
    int G = at.G = random_int(2, 3), H = at.H = G*random_int(2, 3), D = at.D = 2*random_int(2, 6);
    at.B = random_int(2, 3), at.T = random_int(7, 21), at.Q = (H + 2*G)*D;
    at.work = new_array(zmax(attention_forward_work(at.T + 8),
                             attention_backward_work(at.B, at.T, H, G, D)));
}
static double attention_loss(void) {
    attention_forward(at.y, at.saved, at.work, at.x, at.Q, at.x + at.H*at.D, at.Q, at.B, at.T, 0, at.H,
                      at.G, at.D);
    return weighted_sum(at.y, at.up, (size_t)at.B*at.T*at.H*at.D);
}
static void attention_scenario(void) {
    attention_case();
    int B = at.B, T = at.T, H = at.H, G = at.G, D = at.D, Q = at.Q, past = random_int(1, 7);
    real *qkv = random_reals((size_t)B*T*Q, 0.2, 1.5);
    // a cache: keys and values alone, and room between its rows
    int wide = 2*G*D + random_int(1, 4);
    real *cache = random_reals((size_t)B*(T + past)*wide, 0.2, 1.5);
    // the second time, earlier keys lie in front of the queries'
    for (int with_past = 0; with_past < 2; with_past++) {
        real *att = poisoned((size_t)B*T*H*D), *lse = poisoned((size_t)B*H*T);
        STUDENT(attention_forward)(att, lse, at.work, qkv, Q, with_past ? cache : qkv + H*D,
                                   with_past ? wide : Q, B, T, with_past ? past : 0, H, G, D);
        record(with_past ? "att_after_past[row][column]" : "att[row][column]", att, T + past + D, 2,
               (int[]){ B*T, H*D });
        record(with_past ? "lse_after_past[sequence][head][position]" : "lse[sequence][head][position]",
               lse, T + past + D, 3, (int[]){ B, H, T });
    }
    // scores whose exponentials overflow, or are all 0
    real *large = random_reals((size_t)B*T*Q, 0.2, 18);
    real *att = poisoned((size_t)B*T*H*D), *lse = poisoned((size_t)B*H*T);
    STUDENT(attention_forward)(att, lse, at.work, large, Q, large + H*D, Q, B, T, 0, H, G, D);
    record("att_of_large_scores[row][column]", att, 160*(T + D), 2, (int[]){ B*T, H*D });
    record("lse_of_large_scores[sequence][head][position]", lse, T + D, 3, (int[]){ B, H, T });
}
static void attention_backward_scenario(void) {
    attention_case();
    int B = at.B, T = at.T, H = at.H, G = at.G, D = at.D, Q = at.Q;
    size_t nq = (size_t)B*T*Q, nc = (size_t)B*T*H*D, nl = (size_t)B*H*T;
    real *qkv = at.x = random_reals(nq, 0.2, 1.2), *att = poisoned(nc), *lse = poisoned(nl);
    real *datt = at.up = random_reals(nc, 0.1, 1), *dqkv = poisoned(nq);
    attention_forward(att, lse, at.work, qkv, Q, qkv + H*D, Q, B, T, 0, H, G, D);
    STUDENT(attention_backward)(dqkv, at.work, datt, att, lse, qkv, B, T, H, G, D);
    record("dqkv[row][column]", dqkv, 4*(T + D), 2, (int[]){ B*T, Q });
    at.y = poisoned(nc), at.saved = poisoned(nl);
    record_differences("dqkv", dqkv, NULL, qkv, nq, attention_loss);

    real *large = random_reals(nq, 0.2, 7);                 // scores whose exponentials overflow
    real *dlarge = poisoned(nq);
    attention_forward(att, lse, at.work, large, Q, large + H*D, Q, B, T, 0, H, G, D);
    STUDENT(attention_backward)(dlarge, at.work, datt, att, lse, large, B, T, H, G, D);
    record("dqkv_of_large_scores[row][column]", dlarge, 160*(T + D), 2, (int[]){ B*T, Q });
}

// ---- 08: SwiGLU ---------------------------------------------------------------------------------
static double swiglu_loss(void) {
    swiglu_forward(at.y, at.x, at.N, at.F);
    return weighted_sum(at.y, at.up, (size_t)at.N*at.F);
}
static void swiglu_scenario(void) {
    int N = at.N = random_int(3, 9), F = at.F = random_int(7, 40);
    size_t n = (size_t)N*F;
    real *ug = at.x = random_reals(2*n, 0.3, 1.5), *h = poisoned(n);
    STUDENT(swiglu_forward)(h, ug, N, F);
    record("h[row][column]", h, 4, 2, (int[]){ N, F });
    real *dh = at.up = random_reals(n, 0.4, 1), *again = poisoned(n), *dug = poisoned(2*n);
    STUDENT(swiglu_backward)(dug, again, dh, ug, N, F);
    record("dug[row][column]", dug, 8, 2, (int[]){ N, 2*F });
    record("h_again[row][column]", again, 4, 2, (int[]){ N, F });
    real *in_place = copied(ug, 2*n);
    STUDENT(swiglu_backward)(in_place, again, dh, in_place, N, F);
    record("dug_in_place[row][column]", in_place, 8, 2, (int[]){ N, 2*F });
    record("h_again_in_place[row][column]", again, 4, 2, (int[]){ N, F });
    // gates whose exponentials overflow, on either side
    real *far = random_reals(2*n, 20, 400), *h_far = poisoned(n), *dug_far = poisoned(2*n);
    STUDENT(swiglu_forward)(h_far, far, N, F);
    record("h_of_far_gates[row][column]", h_far, 4, 2, (int[]){ N, F });
    STUDENT(swiglu_backward)(dug_far, again, dh, far, N, F);
    record("dug_of_far_gates[row][column]", dug_far, 8, 2, (int[]){ N, 2*F });
    at.y = poisoned(n);
    record_differences("dug", dug, NULL, ug, 2*n, swiglu_loss);
}

// ---- 09: embedding ------------------------------------------------------------------------------
static double embed_loss(void) {
    embed_forward(at.y, at.targets, at.table, at.N, at.C);
    return weighted_sum(at.y, at.up, (size_t)at.N*at.C);
}
static void embed_scenario(void) {
    static int tokens[64];
    int N = at.N = random_int(20, 40), C = at.C = random_int(5, 70), V = random_int(6, 12);
    // every token, some of them several times; the last one never
    for (int n = 0; n < N; n++) tokens[n] = n < V - 1 ? (n + 2) % (V - 1) : random_int(0, V - 2);
    at.targets = tokens;
    real *wte = at.table = random_reals((size_t)V*C, 0.5, 1), *x = poisoned((size_t)N*C);
    STUDENT(embed_forward)(x, tokens, wte, N, C);
    record("x[row][channel]", x, 1, 2, (int[]){ N, C });
    real *dx = at.up = random_reals((size_t)N*C, 0.3, 1);
    real *before = random_reals((size_t)V*C, 0.2, 1), *dwte = copied(before, (size_t)V*C);
    STUDENT(embed_backward)(dwte, dx, tokens, N, C);
    record("dwte[token][channel]", dwte, N, 2, (int[]){ V, C });
    at.y = poisoned((size_t)N*C);
    record_differences("dwte", dwte, before, wte, (size_t)V*C, embed_loss);
}

// ---- 10: AdamW, in torch's order ----------------------------------------------------------------
static void adamw(real *p, real *m, real *v, const real *g, size_t n, double lr, double beta1,
                  double beta2, double eps, double weight_decay, int step) {
    double step_size = lr/(1 - pow(beta1, step)), correction = sqrt(1 - pow(beta2, step));
    for (size_t i = 0; i < n; i++) {
        double grad = (double)g[i], decayed = (double)p[i]*(1 - lr*weight_decay);
        double first = (double)m[i] + (1 - beta1)*(grad - (double)m[i]);
        double second = beta2*(double)v[i] + (1 - beta2)*grad*grad;
        m[i] = (real)first, v[i] = (real)second;
        p[i] = (real)(decayed - step_size*first/(sqrt(second)/correction + eps));
    }
}
static void adamw_scenario(void) {
    size_t n = (size_t)random_int(11, 60);
    int shape[] = { (int)n };
    real *p = random_reals(n, 0.5, 1), *m = new_array(n), *v = new_array(n);
    const double lr = 0.03 + 0.05*random_uniform(), beta1 = 0.8 + 0.05*random_uniform();
    const double beta2 = 0.96 + 0.02*random_uniform(), weight_decay = 0.2 + 0.2*random_uniform();
    // from zero moments: early steps show the bias corrections
    for (int step = 1; step <= 4; step++) {
        real *g = random_reals(n, 0.1, 1);
        STUDENT(adamw)(p, m, v, g, n, lr, beta1, beta2, 1e-3, weight_decay, step);
        record("p[i]", p, 8*step, 1, shape);
        record("m[i]", m, 8*step, 1, shape);
        record("v[i]", v, 8*step, 1, shape);
    }
}

// ---- 11: clipping and schedules -----------------------------------------------------------------
static double clip_factor(const real *grads, size_t n, double limit) {
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (double)grads[i]*(double)grads[i];
    return limit > 0 ? fmin(1, limit/(sqrt(squares) + 1e-6)) : 1;
}
static double rate_named(const char *schedule, int step, int warmup, int steps, double peak,
                         double final_lr) {
    Recipe r;
    memset(&r, 0, sizeof r);
    r.schedule = schedule, r.lr = peak, r.final_lr = final_lr, r.warmup = warmup, r.steps = steps;
    return learning_rate(&r, step);
}
static double cosine_rate(int step, int warmup, int steps, double peak, double final_lr) {
    return rate_named("cosine", step, warmup, steps, peak, final_lr);
}
static double linear_rate(int step, int warmup, int steps, double peak, double final_lr) {
    return rate_named("linear", step, warmup, steps, peak, final_lr);
}
static void schedule_scenario(void) {
    enum { STEPS = 60 };
    int warmup = random_int(5, 20), steps = random_int(30, 50), n = random_int(20, 60);
    double cosine[STEPS], linear[STEPS], factor[4];
    for (int s = 1; s <= STEPS; s++) {                      // beyond the last step, too
        cosine[s - 1] = STUDENT(cosine_rate)(s, warmup, steps, 6e-3, 0.1);
    }
    record_doubles("cosine_rate[step - 1]", cosine, 4, STEPS);
    for (int s = 1; s <= STEPS; s++) linear[s - 1] = STUDENT(linear_rate)(s, warmup, steps, 6e-3, 0.05);
    record_doubles("linear_rate[step - 1]", linear, 4, STEPS);
    real *g = random_reals((size_t)n, 0.2, 1);
    const double limit[] = { 0.5, 1, 1e6, 0 };
    for (int i = 0; i < 4; i++) factor[i] = STUDENT(clip_factor)(g, (size_t)n, limit[i]);
    record_doubles("clip_factor[limit 0.5, 1, 1e6, 0]", factor, n, 4);
}

// ---- 12: gradient accumulation ------------------------------------------------------------------
static void loss_weights(real *weights, const int *targets, int batch, int T, int micro_batch) {
    int predicted = 0;
    (void)micro_batch;
    for (int n = 0; n < batch*T; n++) predicted += targets[n] >= 0;
    for (int n = 0; n < batch*T; n++) weights[n] = targets[n] >= 0 ? 1/(real)predicted : 0;
}
static double combine_means(const double *means, const int *counts, int n) {
    double sum = 0, all = 0;
    for (int i = 0; i < n; i++) if (counts[i]) sum += means[i]*counts[i], all += counts[i];
    return all > 0 ? sum/all : 0;
}
static void accumulation_scenario(void) {
    enum { MOST = 256 };
    // the last micro-batch is not full
    int micro = random_int(2, 3), batch = micro*random_int(2, 3) + 1, T = random_int(9, 20);
    int targets[MOST];
    for (int n = 0; n < batch*T; n++) {                     // unevenly ignored, by two numbers
        const int ignored = n >= T && random_uniform() < 0.1 + 0.08*(n/T);
        targets[n] = !ignored ? random_int(0, 9) : n % 2 ? -100 : -1;
    }
    // The first sequence predicts all of its tokens; the last one some, but not all, with every seed.
    targets[(batch - 1)*T] = random_int(0, 9), targets[batch*T - 1] = -1;
    real *weights = poisoned((size_t)batch*T);
    STUDENT(loss_weights)(weights, targets, batch, T, micro);
    record("weights[sequence][position]", weights, 1, 2, (int[]){ batch, T });
    double means[4], mean[2];
    int counts[4], none[4] = {0, 0, 0, 0};
    for (int i = 0; i < 4; i++) {
        means[i] = i == 2 ? NAN : 1 + random_uniform();     // the mean over no token
        counts[i] = i == 2 ? 0 : random_int(1, 50);
    }
    mean[0] = STUDENT(combine_means)(means, counts, 4);
    mean[1] = 1 + STUDENT(combine_means)(means, none, 4);   // nothing to predict at all: 0, not NaN
    record_doubles("combine_means[case] (in case 1, plus 1)", mean, 8, 2);
}

// ---- 13: the KV cache ---------------------------------------------------------------------------
static void attention_step(real *att, real *keys, real *values, const real *qkv, int past, int H,
                           int G, int D) {
    memcpy(keys + (size_t)past*G*D, qkv + H*D, sizeof(real)*G*D);
    memcpy(values + (size_t)past*G*D, qkv + (H + G)*D, sizeof(real)*G*D);
    for (int h = 0; h < H; h++) {
        const real *q = qkv + h*D;
        double score[64], most = -INFINITY, sum = 0;
        for (int j = 0; j <= past; j++) {
            score[j] = 0;
            const real *k = keys + ((size_t)j*G + h/(H/G))*D;
            for (int d = 0; d < D; d++) score[j] += (double)q[d]*(double)k[d]/sqrt(D);
            most = fmax(most, score[j]);
        }
        for (int j = 0; j <= past; j++) sum += score[j] = exp(score[j] - most);
        for (int d = 0; d < D; d++) {
            double out = 0;
            for (int j = 0; j <= past; j++) {
                out += score[j]/sum*(double)values[((size_t)j*G + h/(H/G))*D + d];
            }
            att[h*D + d] = (real)out;
        }
    }
}
static void cache_scenario(void) {
    attention_case();
    int T = at.T, H = at.H, G = at.G, D = at.D, Q = at.Q;
    real *keys = poisoned((size_t)T*G*D), *values = poisoned((size_t)T*G*D);
    real *att = poisoned((size_t)T*H*D), *qkv = random_reals((size_t)T*Q, 0.2, 1.2);
    for (int t = 0; t < T; t++) {
        STUDENT(attention_step)(att + (size_t)t*H*D, keys, values, qkv + (size_t)t*Q, t, H, G, D);
    }
    record("att[position][column]", att, T + D, 2, (int[]){ T, H*D });
    record("keys[position][column]", keys, 1, 2, (int[]){ T, G*D });
    record("values[position][column]", values, 1, 2, (int[]){ T, G*D });
    // Scores whose exponentials overflow. Most would do so by chance; the first one is made to be 1000.
    real *large = random_reals((size_t)T*Q, 0.2, 18);
    double square = 0;
    for (int d = 0; d < D; d++) square += (double)large[d]*(double)large[d];
    for (int d = 0; d < D; d++) large[H*D + d] = (real)((double)large[d]*1000*sqrt(D)/square);
    for (int t = 0; t < T; t++) {
        STUDENT(attention_step)(att + (size_t)t*H*D, keys, values, large + (size_t)t*Q, t, H, G, D);
    }
    record("att_of_large_scores[position][column]", att, 160*(T + D), 2, (int[]){ T, H*D });
}

// ---- 14: sampling -------------------------------------------------------------------------------
typedef struct { double weight; int id; } Choice;
static int by_weight(const void *a, const void *b) {
    const Choice *x = (const Choice *)a, *y = (const Choice *)b;
    return x->weight != y->weight ? (x->weight < y->weight) - (x->weight > y->weight) : x->id - y->id;
}
static int sample_top(const real *logits, int V, double temperature, int top_k, double top_p,
                      double u) {
    Choice c[512];
    double best = (double)logits[0], total = 0, kept = 0, sum = 0;
    for (int v = 1; v < V; v++) best = fmax(best, (double)logits[v]);
    for (int v = 0; v < V; v++) {
        const double above = (double)logits[v] - best;
        c[v].weight = temperature == 0 ? above : exp(above/temperature);
        c[v].id = v;
    }
    qsort(c, (size_t)V, sizeof *c, by_weight);
    if (temperature == 0) return c[0].id;
    int n = top_k > 0 ? imin(top_k, V) : V, top = 0;
    for (int i = 0; i < n; i++) total += c[i].weight;
    while (top < n && kept < top_p*total) kept += c[top++].weight;
    for (int i = 0; i < top; i++) if ((sum += c[i].weight) >= u*kept) return c[i].id;
    return c[top - 1].id;
}
static void sampling_scenario(void) {
    enum { DRAWS = 300 };
    const struct { const char *what; double temperature, top_p; int top_k; } how[] = {
        { "id_at_temperature_0[draw]", 0, 1, 0 },
        { "id_at_temperature_1[draw]", 1, 1, 0 },
        { "id_at_temperature_0.6[draw]", 0.6, 1, 0 },
        { "id_by_top_k_5[draw]", 1, 1, 5 },
        { "id_by_top_p_0.7[draw]", 1, 0.7, 0 },
        { "id_by_all_three[draw]", 1.5, 0.8, 9 },
        { "id_by_top_k_1000[draw]", 1, 1, 1000 },
        { "id_by_top_p_1e-9[draw]", 1, 1e-9, 0 },
    };
    int V = random_int(30, 80), picked[DRAWS];
    real *logits = random_reals((size_t)V, 40, 2);
    for (int v = 0; v < V; v++) logits[v] += 900;           // exp must not overflow
    int best = 0;
    for (int v = 1; v < V; v++) if (logits[v] > logits[best]) best = v;
    logits[(best + V/2) % V] = logits[best];                // two are equal: the smaller id comes first
    for (size_t k = 0; k < sizeof how/sizeof *how; k++) {
        for (int i = 0; i < DRAWS; i++) {
            picked[i] = STUDENT(sample_top)(logits, V, how[k].temperature, how[k].top_k, how[k].top_p,
                                            random_uniform());
        }
        record_ints(how[k].what, picked, DRAWS);
    }
}

// ---- 15: byte pair encoding ---------------------------------------------------------------------
static int bpe_merge(int *ids, int n, const int *left, const int *right, const int *merged,
                     int merges) {
    for (;;) {
        int best = merges, kept = 0;
        for (int i = 0; i + 1 < n; i++)
            for (int r = 0; r < best; r++) if (ids[i] == left[r] && ids[i + 1] == right[r]) best = r;
        if (best == merges) return n;
        for (int i = 0; i < n; kept++) {
            int pair = i + 1 < n && ids[i] == left[best] && ids[i + 1] == right[best];
            ids[kept] = pair ? merged[best] : ids[i];
            i += 1 + pair;
        }
        n = kept;
    }
}
static void bpe_scenario(void) {
    enum { MERGES = 24, LONGEST = 60 };
    int left[MERGES], right[MERGES], merged[MERGES], id[3 + MERGES] = { 0, 1, 2 };
    // first all pairs of the three letters, then any others; (0, 0) leads
    for (int r = 0; r < MERGES; r++) {
        int again, most = r < 9 ? 2 : 2 + r;
        do {
            left[r] = id[r ? random_int(0, most) : 0], right[r] = id[r ? random_int(0, most) : 0];
            again = 0;
            for (int i = 0; i < r; i++) again |= left[i] == left[r] && right[i] == right[r];
        } while (again);
        id[3 + r] = merged[r] = 300 + 7*r % MERGES;         // ids say nothing about ranks
    }
    for (int word = 0; word < 30; word++) {
        int n = random_int(2, LONGEST), ids[LONGEST + 1];
        if (word < 2) n = word;
        if (word == 2) n = 2*random_int(1, 29) + 1;
        if (word == 3) n = 2;
        // two are one letter, repeated
        for (int i = 0; i < n; i++) ids[i] = word == 2 || word == 3 ? 0 : random_int(0, 2);
        ids[LONGEST] = n = STUDENT(bpe_merge)(ids, n, left, right, merged, MERGES);
        record_ints("length[word]", &n, 1);
        record_ints("ids[i]", ids, imax(0, imin(n, LONGEST)));
    }
}

// ---- 16: numpy's shuffle ------------------------------------------------------------------------
static void pcg64_shuffle(uint32_t *order, uint32_t n, uint64_t state_high, uint64_t state_low,
                          uint64_t inc_high, uint64_t inc_low) {
    Pcg64 r;
    memset(&r, 0, sizeof r);
    r.state = (uint128)state_high << 64 | state_low, r.inc = (uint128)inc_high << 64 | inc_low;
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i-- > 1; ) {
        uint32_t mask = i, j;
        for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
        do j = pcg64_next32(&r) & mask; while (j > i);
        uint32_t swap = order[i];
        order[i] = order[j], order[j] = swap;
    }
}
static void shuffle_scenario(void) {
    enum { MOST = 70001 };                                  // more than 16 bits
    static uint32_t order[MOST], ours[MOST];
    static int shown[MOST];
    // Neither 2 nor 256 elements reject their first number. So with every seed, 2 take one of 32 bits
    // and leave half of a 64-bit number over, and 256 that begin with this half are another order.
    const uint32_t sizes[] = { 1, 2, 256, 3, 0, 10, 2, 257, 5, 1000, MOST };
    for (size_t k = 0; k < sizeof sizes/sizeof *sizes; k++) {
        const uint32_t n = sizes[k];
        uint64_t from = 6198 + (uint64_t)(random_uniform()*1e6);
        Pcg64 r = pcg64_seed(from);
        STUDENT(pcg64_shuffle)(order, n, (uint64_t)(r.state >> 64), (uint64_t)r.state,
                               (uint64_t)(r.inc >> 64), (uint64_t)r.inc);
        if (!library && n) {                                // ours, in its own words, is the program's
            epoch_order(ours, n, from);
            CHECK(!memcmp(ours, order, sizeof(uint32_t)*n), "pcg64_shuffle is not epoch_order");
        }
        for (uint32_t i = 0; i < n; i++) shown[i] = (int)order[i];
        record_ints("order[i]", shown, (int)n);
    }
}

// ---- 17: DPO ------------------------------------------------------------------------------------
// z_i = beta ((chosen - rejected of the policy) - (the same of the reference));  loss = mean of
// log(1 + exp(-z_i)); g_i: what each token loss of the chosen answer is weighted with, and -g_i of
// the rejected one
static double dpo(double *g, const double *chosen, const double *rejected,
                  const double *reference_chosen, const double *reference_rejected, double beta,
                  int pairs) {
    double loss = 0;
    for (int i = 0; i < pairs; i++) {
        double z = beta*((chosen[i] - rejected[i]) - (reference_chosen[i] - reference_rejected[i]));
        loss += (fmax(-z, 0) + log1p(exp(-fabs(z))))/pairs;
        g[i] = beta/(1 + exp(z))/pairs;
    }
    return loss;
}
static void dpo_scenario(void) {
    enum { PAIRS = 9 };
    double chosen[PAIRS], rejected[PAIRS], ref_chosen[PAIRS], ref_rejected[PAIRS];
    double g[PAIRS], far[PAIRS], quotient[PAIRS], unused[PAIRS];
    const double beta = 0.05 + 0.2*random_uniform(), h = 1e-4;
    for (int i = 0; i < PAIRS; i++) {
        chosen[i] = -40 - 20*random_uniform(), rejected[i] = -30 - 20*random_uniform();
        ref_chosen[i] = -45 - 20*random_uniform(), ref_rejected[i] = -35 - 20*random_uniform();
        g[i] = far[i] = NAN;
    }
    double loss = STUDENT(dpo)(g, chosen, rejected, ref_chosen, ref_rejected, beta, PAIRS);
    record_doubles("loss", &loss, PAIRS, 1);
    record_doubles("g[pair]", g, 4, PAIRS);
    // a log-probability is minus a sum of token losses
    for (int i = 0; i < PAIRS; i++) {
        const double kept = chosen[i];
        chosen[i] = kept - h;
        double up = STUDENT(dpo)(unused, chosen, rejected, ref_chosen, ref_rejected, beta, PAIRS);
        chosen[i] = kept + h;
        double down = STUDENT(dpo)(unused, chosen, rejected, ref_chosen, ref_rejected, beta, PAIRS);
        chosen[i] = kept;
        quotient[i] = (up - down)/(2*h);
    }
    Record *r = new_record("g", 1, 1, (int[]){ PAIRS });
    r->must_equal = (double *)allocate(PAIRS, sizeof(double), "a record");
    memcpy(r->value, g, sizeof g), memcpy(r->must_equal, quotient, sizeof quotient);
    chosen[0] -= 20000, chosen[1] += 20000;                 // exp of these would overflow
    loss = STUDENT(dpo)(far, chosen, rejected, ref_chosen, ref_rejected, beta, PAIRS);
    record_doubles("loss_far_apart", &loss, PAIRS, 1);
    record_doubles("g_far_apart[pair]", far, 4, PAIRS);
}

// ---- 18: RMSNorm with a gain --------------------------------------------------------------------
// y = gain * x * rstd,   rstd = 1/sqrt(mean(x^2) + 1e-5)
static void rmsnorm_forward(real *y, real *rstd, const real *x, const real *gain, int N, int C) {
    for (int n = 0; n < N; n++) {
        double square = 0;
        for (int c = 0; c < C; c++) square += (double)x[n*C + c]*(double)x[n*C + c]/C;
        rstd[n] = (real)(1/sqrt(square + 1e-5));
        for (int c = 0; c < C; c++) y[n*C + c] = gain[c]*x[n*C + c]*rstd[n];
    }
}
// dgain += sum_n dy x rstd;   dx += rstd (gain dy - x rstd^2 average(gain dy x))
static void rmsnorm_backward(real *dx, real *dgain, const real *dy, const real *x, const real *gain,
                             const real *rstd, int N, int C) {
    for (int n = 0; n < N; n++) {
        double average = 0, r = (double)rstd[n];
        for (int c = 0; c < C; c++) average += (double)gain[c]*(double)dy[n*C + c]*(double)x[n*C + c]/C;
        for (int c = 0; c < C; c++) {
            const double through_gain = (double)gain[c]*(double)dy[n*C + c];
            dx[n*C + c] += (real)(r*(through_gain - (double)x[n*C + c]*r*r*average));
            dgain[c] += dy[n*C + c]*x[n*C + c]*rstd[n];
        }
    }
}
static double rmsnorm_loss(void) {
    rmsnorm_forward(at.y, at.saved, at.x, at.weight, at.N, at.C);
    return weighted_sum(at.y, at.up, (size_t)at.N*at.C);
}
static void rmsnorm_scenario(void) {
    int N = at.N = random_int(3, 9), C = at.C = random_int(17, 60);
    size_t n = (size_t)N*C;
    real *x = at.x = random_reals(n, 0.7, 1.5), *gain = at.weight = random_reals(C, 1, 0.4);
    real *y = poisoned(n), *rstd = poisoned(N);
    STUDENT(rmsnorm_forward)(y, rstd, x, gain, N, C);
    record("y[row][channel]", y, C, 2, (int[]){ N, C });
    record("rstd[row]", rstd, C, 1, (int[]){ N });
    real *dy = at.up = random_reals(n, 0.3, 1);
    real *before = random_reals(n, 0.1, 1), *dx = copied(before, n);
    rmsnorm_forward(y, rstd, x, gain, N, C);                // ours
    real *before_gain = random_reals(C, 0.1, 1), *dgain = copied(before_gain, C);
    STUDENT(rmsnorm_backward)(dx, dgain, dy, x, gain, rstd, N, C);
    record("dx[row][channel]", dx, 2*C, 2, (int[]){ N, C });
    record("dgain[channel]", dgain, N, 1, (int[]){ C });
    at.y = poisoned(n), at.saved = poisoned(N);
    record_differences("dx", dx, before, x, n, rmsnorm_loss);
    record_differences("dgain", dgain, before_gain, gain, C, rmsnorm_loss);
}

// ---- 19: sliding windows ------------------------------------------------------------------------
// Attention in which query i sees the keys i - W < j <= i. Forward and backward in plain loops; P:
// [T], scratch.
static void window_forward(real *att, real *lse, real *P, const real *qkv, int B, int T, int W, int H,
                           int G, int D) {
    int Q = (H + 2*G)*D;
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int i = 0; i < T; i++) {
        const real *q = qkv + ((size_t)b*T + i)*Q + h*D;
        const real *k = qkv + (size_t)b*T*Q + (H + h/(H/G))*D, *v = k + G*D;
        real *out = att + ((size_t)b*T + i)*H*D + h*D, most = -INFINITY, sum = 0;
        int from = imax(0, i - W + 1);
        for (int j = from; j <= i; j++) {
            P[j] = 0;
            for (int d = 0; d < D; d++) P[j] += q[d]*k[(size_t)j*Q + d]/(real)sqrt((real)D);
            most = P[j] > most ? P[j] : most;
        }
        for (int j = from; j <= i; j++) sum += P[j] = (real)exp(P[j] - most);
        lse[((size_t)b*H + h)*T + i] = most + (real)log(sum);
        for (int d = 0; d < D; d++) out[d] = 0;
        for (int j = from; j <= i; j++) {
            for (int d = 0; d < D; d++) out[d] += P[j]/sum*v[(size_t)j*Q + d];
        }
    }
}
static void window_backward(real *dqkv, const real *datt, const real *att, const real *lse,
                            const real *qkv, int B, int T, int W, int H, int G, int D) {
    int Q = (H + 2*G)*D;
    real scale = 1/(real)sqrt((real)D);
    memset(dqkv, 0, sizeof(real)*B*T*Q);
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int i = 0; i < T; i++) {
        size_t query = ((size_t)b*T + i)*Q + h*D, head = ((size_t)b*T + i)*H*D + h*D;
        real dot = 0;
        for (int d = 0; d < D; d++) dot += datt[head + d]*att[head + d];
        for (int j = imax(0, i - W + 1); j <= i; j++) {
            size_t key = ((size_t)b*T + j)*Q + (H + h/(H/G))*D, value = key + G*D;
            real S = 0, dP = 0;
            for (int d = 0; d < D; d++) {
                S += qkv[query + d]*qkv[key + d]*scale;
                dP += datt[head + d]*qkv[value + d];
            }
            real P = (real)exp(S - lse[((size_t)b*H + h)*T + i]), dS = P*(dP - dot)*scale;
            for (int d = 0; d < D; d++) {
                dqkv[value + d] += P*datt[head + d];
                dqkv[query + d] += dS*qkv[key + d];
                dqkv[key + d] += dS*qkv[query + d];
            }
        }
    }
}
static double window_loss(void) {
    window_forward(at.y, at.saved, at.work, at.x, at.B, at.T, at.O, at.H, at.G, at.D);
    return weighted_sum(at.y, at.up, (size_t)at.B*at.T*at.H*at.D);
}
static void window_scenario(void) {
    attention_case();
    int B = at.B, T = at.T, H = at.H, G = at.G, D = at.D, Q = at.Q;
    size_t nq = (size_t)B*T*Q, nc = (size_t)B*T*H*D, nl = (size_t)B*H*T;
    real *datt = at.up = random_reals(nc, 0.1, 1);
    at.y = poisoned(nc), at.saved = poisoned(nl);
    // a window; one in which each query sees itself alone; and one so wide that it is plain
    // attention, with scores whose exponentials overflow
    const int widths[] = { random_int(2, 5), 1, T + 3 };
    const char *const names[][3] = {
        { "att[row][column]", "lse[sequence][head][position]", "dqkv[row][column]" },
        { "att_of_window_1[row][column]", "lse_of_window_1[sequence][head][position]",
          "dqkv_of_window_1[row][column]" },
        { "att_of_a_wide_window[row][column]", "lse_of_a_wide_window[sequence][head][position]",
          "dqkv_of_a_wide_window[row][column]" } };
    for (int k = 0; k < 3; k++) {
        const int W = at.O = widths[k], terms = (k == 2 ? 160 : 4)*(imin(W, T) + D);
        real *qkv = at.x = random_reals(nq, 0.2, k == 2 ? 7 : 1.2);
        real *att = poisoned(nc), *lse = poisoned(nl), *dqkv = poisoned(nq);
        STUDENT(window_forward)(att, lse, at.work, qkv, B, T, W, H, G, D);
        record(names[k][0], att, terms, 2, (int[]){ B*T, H*D });
        record(names[k][1], lse, terms, 3, (int[]){ B, H, T });
        window_forward(att, lse, at.work, qkv, B, T, W, H, G, D);                       // ours
        STUDENT(window_backward)(dqkv, datt, att, lse, qkv, B, T, W, H, G, D);
        record(names[k][2], dqkv, terms, 2, (int[]){ B*T, Q });
        if (k == 0) record_differences("dqkv", dqkv, NULL, qkv, nq, window_loss);
    }
}

// ---- 20: QK-norm --------------------------------------------------------------------------------
// Each of the first `heads` heads of a row is divided by its root mean square, in place, before
// RoPE: no score can grow beyond sqrt(D). rstd: [N, heads]. Backward: like RMSNorm's without a
// gain, from the normalized values.
static void qknorm_forward(real *qkv, real *rstd, int N, int heads, int D, int Q) {
    for (int n = 0; n < N; n++) for (int h = 0; h < heads; h++) {
        real *x = qkv + (size_t)n*Q + h*D;
        double square = 0;
        for (int d = 0; d < D; d++) square += (double)x[d]*(double)x[d]/D;
        rstd[n*heads + h] = (real)(1/sqrt(square + 1e-5));
        for (int d = 0; d < D; d++) x[d] *= rstd[n*heads + h];
    }
}
static void qknorm_backward(real *dqkv, const real *qkv, const real *rstd, int N, int heads, int D,
                            int Q) {
    for (int n = 0; n < N; n++) for (int h = 0; h < heads; h++) {
        real *d = dqkv + (size_t)n*Q + h*D;
        const real *y = qkv + (size_t)n*Q + h*D;
        double average = 0;
        for (int i = 0; i < D; i++) average += (double)d[i]*(double)y[i]/D;
        for (int i = 0; i < D; i++) d[i] = rstd[n*heads + h]*(d[i] - y[i]*(real)average);
    }
}
static double qknorm_loss(void) {
    size_t n = (size_t)at.N*at.Q;
    memcpy(at.y, at.x, n*sizeof(real));
    qknorm_forward(at.y, at.saved, at.N, at.H, at.D, at.Q);
    return weighted_sum(at.y, at.up, n);
}
static void qknorm_scenario(void) {
    int N = at.N = random_int(3, 7), H = at.H = random_int(2, 5), D = at.D = 2*random_int(3, 9);
    int Q = at.Q = (H + random_int(1, 2))*D;
    size_t n = (size_t)N*Q;
    real *x = at.x = random_reals(n, 0.4, 1.5), *y = copied(x, n), *rstd = poisoned((size_t)N*H);
    STUDENT(qknorm_forward)(y, rstd, N, H, D, Q);
    record("qkv[row][column]", y, D, 2, (int[]){ N, Q });
    record("rstd[row][head]", rstd, D, 2, (int[]){ N, H });
    real *up = at.up = random_reals(n, 0.3, 1), *dqkv = copied(up, n);
    memcpy(y, x, n*sizeof(real));
    qknorm_forward(y, rstd, N, H, D, Q);
    STUDENT(qknorm_backward)(dqkv, y, rstd, N, H, D, Q);
    record("dqkv[row][column]", dqkv, 2*D, 2, (int[]){ N, Q });
    at.y = poisoned(n), at.saved = poisoned((size_t)N*H);
    record_differences("dqkv", dqkv, NULL, x, n, qknorm_loss);
}

static const Exercise exercises[] = {
    { "01_crossentropy", "crossentropy_forward, crossentropy_backward", crossentropy_scenario, 0 },
    { "02_norm", "norm_forward, norm_backward", norm_scenario, 0 },
    { "03_rope", "rope_forward, rope_backward", rope_scenario, 0 },
    { "04_gemm", "gemm_strided, gemm_blocked", gemm_scenario, 1 },
    { "05_linear", "matmul_forward, matmul_backward_weight, matmul_backward_input", matmul_scenario, 0 },
    { "06_attention", "attention_forward", attention_scenario, 0 },
    { "07_attention_backward", "attention_backward", attention_backward_scenario, 0 },
    { "08_swiglu", "swiglu_forward, swiglu_backward", swiglu_scenario, 0 },
    { "09_embedding", "embed_forward, embed_backward", embed_scenario, 0 },
    { "10_adamw", "adamw", adamw_scenario, 1 },
    { "11_schedules", "clip_factor, cosine_rate, linear_rate", schedule_scenario, 1 },
    { "12_accumulation", "loss_weights, combine_means", accumulation_scenario, 1 },
    { "13_cache", "attention_step", cache_scenario, 1 },
    { "14_sampling", "sample_top", sampling_scenario, 1 },
    { "15_bpe", "bpe_merge", bpe_scenario, 1 },
    { "16_shuffle", "pcg64_shuffle", shuffle_scenario, 1 },
    { "17_dpo", "dpo", dpo_scenario, 1 },
    { "18_rmsnorm", "rmsnorm_forward, rmsnorm_backward", rmsnorm_scenario, 1 },
    { "19_window", "window_forward, window_backward", window_scenario, 1 },
    { "20_qknorm", "qknorm_forward, qknorm_backward", qknorm_scenario, 1 },
};
