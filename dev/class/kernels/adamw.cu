// Ladder: AdamW of 268 million parameters, with clipping and bf16 weights.
// What is it waiting for? Memory, and nothing else.
//
//   rung 1  five kernels, as one writes it down: scale g; m; v; master weight; bf16 copy of it
//   rung 2  one kernel: g, m, v and the weight are read once and written once; master weight and
//           its bf16 copy are both stored: 30 bytes per parameter
//   rung 3  train_olmo.cu: no copy. The bf16 weight is the upper half of the master weight, whose
//           lower half takes 2 bytes: 28 bytes per parameter (gradients are not cleared: the next
//           backward pass overwrites them)
//
// On an H100 (80 GB, HBM3; CUDA 13.0; copies 3.00 TB/s, product of 8192^3 763 TFLOP/s), milliseconds:
//     rung 1   rung 2   rung 3             at the copy's rate    PyTorch 2.11, fused, no bf16 copy
//      5.447    2.719    2.511                 2.505             3.090
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
static __global__ void adamw_copy(elem *weight, const float *p, size_t n) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < n) weight[i] = (elem)p[i];
}

static __global__ void adamw_fused(float *p, elem *weight, const float *g, float *m, float *v,
                                   const Clip *clip, float decay, AdamWFactors f, size_t n) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float grad = g[i]*clip->factor;
    const float first = m[i] + f.one_minus_beta1*(grad - m[i]);
    const float second = f.beta2*v[i] + f.one_minus_beta2*grad*grad;
    const float now = p[i]*decay - f.step_size*first/(sqrtf(second)/f.correction + f.eps);
    m[i] = first;
    v[i] = second;
    p[i] = now;
    weight[i] = (elem)now;
}

static void adamw_ladder() {
    const size_t n = 256 << 20, CHECKED = 4096;
    float *p = on_card<float>(n), *m = on_card<float>(n), *v = on_card<float>(n);
    float *g = on_card<float>(n), *gradients = on_card<float>(n);
    elem *weight = on_card<elem>(n), *weights = on_card<elem>(n);
    int16_t *rest = on_card<int16_t>(n);
    Clip *clip = on_card<Clip>(1), half = {};
    half.norm = 2, half.factor = 0.5f, half.finite = 1;
    to_card(clip, &half, 1);
    // a step size so large that a weight without its update is far off
    const AdamWFactors f = { 0.2f, 0.9f, 1e-5f, 0.95f, 0.1f, 0.05f };
    const float decay = 0.97f;
    const std::vector<float> hg = fill(gradients, n, 1, 7), hp = fill(weights, n, 0.5f, 11);
    std::vector<float> right(CHECKED);
    for (size_t i = 0; i < CHECKED; i++) {                          // the first update: moments are 0
        const float grad = hg[i]*half.factor, first = 0.1f*grad, second = 0.05f*grad*grad;
        right[i] = hp[i]*decay - f.step_size*first/(sqrtf(second)/f.correction + f.eps);
    }

    Ladder ladder = { "adamw: 268 million parameters", 28.0*n, 0, 4e-3 };
    ladder.restore = [&] {
        copy(g, gradients, n);
        copy(weight, weights, n);
        to_card(p, hp.data(), n);                                   // they are numbers of bf16
        clear(rest, n), clear(m, n), clear(v, n);
    };
    ladder.error = [&] { return distance(weight, right); };
    const unsigned blocks = ceil_div(n, 256);
    ladder.rung("1  five kernels", [&] {
        adamw_scale<<<blocks, 256, 0, card.stream>>>(g, clip, n);
        adamw_first<<<blocks, 256, 0, card.stream>>>(m, g, f.one_minus_beta1, n);
        adamw_second<<<blocks, 256, 0, card.stream>>>(v, g, f.beta2, f.one_minus_beta2, n);
        adamw_master<<<blocks, 256, 0, card.stream>>>(p, m, v, decay, f, n);
        adamw_copy<<<blocks, 256, 0, card.stream>>>(weight, p, n);
    });
    ladder.rung("2  one kernel, master and copy", [&] {
        adamw_fused<<<blocks, 256, 0, card.stream>>>(p, weight, g, m, v, clip, decay, f, n);
    });
    ladder.rung("3  train_olmo.cu: two halves", [&] {
        adamw_kernel<4><<<ceil_div(n, 4*256), 256, 0, card.stream>>>(weight, rest, g, m, v, n, clip,
                                                                     decay, f);
    });
    gpu_release(p), gpu_release(m), gpu_release(v), gpu_release(g), gpu_release(gradients);
    gpu_release(weight), gpu_release(weights), gpu_release(rest), gpu_release(clip);
}
