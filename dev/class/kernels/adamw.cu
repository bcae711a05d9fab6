// Ladder: AdamW of 256 million parameters, with clipping and bf16 weights.      What is it waiting
// for? Memory, and nothing else.
//
//   rung 1  five kernels, as one writes it down: scale g; m; v; master weight; bf16 copy of it
//   rung 2  one kernel: g, m, v and the weight are read once and written once; master weight and
//   its bf16 copy are both stored rung 3  train_olmo.cu: no copy. The bf16 weight is the upper half
//   of the master weight, whose lower half takes 2 bytes: 26
//           bytes per parameter instead of 30 (gradients are not cleared: the next backward pass
//           overwrites them)
//
// (The share of the limit counts the bytes of rung 3, so that a rung that moves more shows it.)
// What would you try next? m in bf16 with stochastic rounding; but measure what it does to the
// loss, not to the time.

static __global__ void adamw_scale(float *g, const Clip *clip, size_t n) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < n) g[i] *= clip->factor;
}
static __global__ void adamw_first(float *m, const float *g, float share, size_t n) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < n) m[i] += share*(g[i] - m[i]);
}
static __global__ void adamw_second(float *v, const float *g, float beta2, float share, size_t n) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < n) v[i] = beta2*v[i] + share*g[i]*g[i];
}
static __global__ void adamw_master(float *p, const float *m, const float *v, float decay,
    AdamWFactors f, size_t n) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < n) p[i] = p[i]*decay - f.step_size*m[i]/(sqrtf(v[i])/f.correction + f.eps);
}
static __global__ void adamw_copy(elem *w, const float *p, size_t n) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < n) w[i] = (elem)p[i];
}

static __global__ void adamw_fused(float *p, elem *weight, const float *g, float *m, float *v,
    size_t n, const Clip *clip, float decay,
                                   AdamWFactors f) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float grad = g[i]*clip->factor;
    m[i] += f.one_minus_beta1*(grad - m[i]);
    v[i] = f.beta2*v[i] + f.one_minus_beta2*grad*grad;
    p[i] = p[i]*decay - f.step_size*m[i]/(sqrtf(v[i])/f.correction + f.eps);
    weight[i] = (elem)p[i];
}

static void adamw_ladder() {
    const size_t n = 256 << 20, checked = 4096;
    float *p = on_card<float>(n), *g = on_card<float>(n), *m = on_card<float>(n),
        *v = on_card<float>(n);
    elem *weight = on_card<elem>(n);
    int16_t *rest = on_card<int16_t>(n);
    Clip *clip = on_card<Clip>(1), factor = {};
    factor.norm = 2, factor.factor = 0.5f, factor.finite = 1;
    CUDA(cudaMemcpy(clip, &factor, sizeof factor, cudaMemcpyHostToDevice));
    const AdamWFactors f = { 1e-3f, 0.9f, 1e-5f, 0.95f, 0.1f, 0.05f };
    const float decay = 1 - 1e-4f;
    std::vector<float> hp, hg = fill(g, checked, 1, 7), right(checked);
    // the first update, from zero moments; weights that bf16 can hold
    for (size_t i = 0; i < checked; i++) {
        const float grad = hg[i]*0.5f, first = 0.1f*grad, second = 0.05f*grad*grad;
        right[i] = (float)(1
            + (int)(i % 64))*0.015625f*decay - f.step_size*first/(sqrtf(second)/f.correction + f.eps);
    }
    std::vector<float> weights(n);
    std::vector<elem> small(n);
    for (size_t i = 0; i < n; i++) weights[i] = (float)(1 + (int)(i % 64))*0.015625f,
        small[i] = (elem)weights[i];
    const unsigned blocks = ceil_div(n, 256);
    auto line = [&](const char *what, const std::function<void()> &run) {
        CUDA(cudaMemcpy(p, weights.data(), n*sizeof(float), cudaMemcpyHostToDevice));
        CUDA(cudaMemcpy(weight, small.data(), n*sizeof(elem), cudaMemcpyHostToDevice));
        for (void *zero : { (void *)m, (void *)v }) CUDA(cudaMemset(zero, 0, n*sizeof(float)));
        CUDA(cudaMemset(rest, 0, n*sizeof(int16_t)));
        fill(g, checked, 1, 7);
        run();
        const double error = distance(weight, right);
        rung(what, milliseconds(run), 26.0*(double)n, 0, error, 4e-3);
    };
    ladder("adamw: 268 million parameters");
    line("1  five kernels", [&] {
        adamw_scale<<<blocks, 256, 0, card.stream>>>(g, clip, n);
        adamw_first<<<blocks, 256, 0, card.stream>>>(m, g, f.one_minus_beta1, n);
        adamw_second<<<blocks, 256, 0, card.stream>>>(v, g, f.beta2, f.one_minus_beta2, n);
        adamw_master<<<blocks, 256, 0, card.stream>>>(p, m, v, decay, f, n);
        adamw_copy<<<blocks, 256, 0, card.stream>>>(weight, p, n);
    });
    line("2  one kernel, master and copy", [&] { adamw_fused<<<blocks, 256, 0, card.stream>>>(p,
        weight, g, m, v, n, clip, decay, f); });
    line("3  train_olmo.cu: two halves", [&] {
        adamw_kernel<4><<<ceil_div(n, 4*256), 256, 0, card.stream>>>(weight, rest, g, m, v, n, clip,
            decay, f);
    });
    for (void *q : { (void *)p, (void *)g, (void *)m, (void *)v, (void *)weight, (void *)rest,
        (void *)clip }) gpu_release(q);
}
