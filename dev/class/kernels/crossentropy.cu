// Ladder: loss and dlogits of 8,192 rows of 50,304 bf16 logits.
// What is it waiting for? Memory; so: how often is a row read?
//
//   rung 1  three kernels, as a framework would: log-sum-exp, loss, then dlogits into an array of
//           its own
//   rung 2  dlogits in place: no faster, but half the memory, and logits are the largest array of
//           a training step
//   rung 3  train_olmo.cu: one kernel. The block that has just read a row for its sum reads it
//           again from the L2 cache and writes the gradient over it; the weights of the rows are
//           known beforehand, so nothing has to be kept. Four loads of a thread are under way at once
//
// On an H100 (80 GB, HBM3; CUDA 13.0; copies 3.00 TB/s, product of 8192^3 763 TFLOP/s), milliseconds:
//     rung 1   rung 2   rung 3             at the copy's rate    PyTorch 2.11: eager, compiled
//      0.852    0.855    0.651                 0.549             2.195,    1.391
// (Rung 3 took 0.838 before its loads ran ahead. That its stores stream is newer than these figures.)
//
// What would you try next? Loads ahead in rungs 1 and 2, too. Shared memory for the row; or never to
// write the logits: make loss and gradient in the product's own epilogue.

template <int W> static __global__ void lse_kernel(float *lse, const elem *logits, int V) {
    const Softmax all = online_softmax<W>(logits + (size_t)blockIdx.x*V, V);
    if (threadIdx.x == 0) lse[blockIdx.x] = all.most + logf(all.sum);
}

static __global__ void loss_kernel(float *losses, const float *lse, const elem *logits,
                                   const int *targets, int N, int V) {
    const int n = blockIdx.x*blockDim.x + threadIdx.x;
    if (n < N) losses[n] = lse[n] - (float)logits[(size_t)n*V + targets[n]];
}

template <int W>
static __global__ void dlogits_kernel(elem *dlogits, const elem *logits, const float *lse,
                                      const float *weights, const int *targets, int V) {
    const int n = blockIdx.x;
    float d[W];
    for (int v = threadIdx.x*W; v < V; v += blockDim.x*W) {
        load(d, logits + (size_t)n*V + v);
        for (int w = 0; w < W; w++) {
            const float p = __expf(d[w] - lse[n]);
            d[w] = weights[n]*(p - (v + w == targets[n]));
        }
        store(dlogits + (size_t)n*V + v, d);
    }
}

static void crossentropy_ladder() {
    enum { N = 8192, V = 50304, CHECKED = 16 };
    const size_t size = (size_t)N*V;
    elem *logits = on_card<elem>(size), *x = on_card<elem>(size), *apart = on_card<elem>(size);
    float *losses = on_card<float>(N), *zlosses = on_card<float>(N);
    float *lse = on_card<float>(N), *weights = on_card<float>(N);
    int *targets = on_card<int>(N);
    std::vector<float> host = fill(logits, size, 2, 5), host_weights = fill(weights, N, 1, 6);
    std::vector<int> ids(N);
    for (int n = 0; n < N; n++) ids[n] = (int)(hash64(n) % V);
    to_card(targets, ids.data(), N);

    std::vector<float> right_losses(CHECKED), right((size_t)CHECKED*V);                 // the CPU's
    std::vector<float> unused(CHECKED), kept(CHECKED);
    crossentropy_forward(right_losses.data(), unused.data(), kept.data(), host.data(), ids.data(), 0,
                         CHECKED, V);
    crossentropy_backward(right.data(), host_weights.data(), kept.data(), host.data(), ids.data(), 0,
                          CHECKED, V);

    Ladder ladder = { "crossentropy: [8192, 50304], bf16, loss and dlogits", 4.0*size, 0, 6e-3 };
    elem *dlogits = apart;                                          // where this rung writes them
    ladder.restore = [&] {
        copy(x, logits, size);
        poison(apart, size);
        poison(losses, N);
    };
    ladder.error = [&] { return fmax(distance(dlogits, right), distance(losses, right_losses)); };
    auto three_kernels = [&] {
        lse_kernel<8><<<N, 512, 0, card.stream>>>(lse, x, V);
        loss_kernel<<<N/256, 256, 0, card.stream>>>(losses, lse, x, targets, N, V);
        dlogits_kernel<8><<<N, 512, 0, card.stream>>>(dlogits, x, lse, weights, targets, V);
    };
    ladder.rung("1  lse, loss, dlogits apart", three_kernels);
    dlogits = x;
    ladder.rung("2  dlogits in place", three_kernels);
    ladder.rung("3  train_olmo.cu: one kernel", [&] {
        crossentropy(losses, zlosses, x, targets, weights, 0, N, V, card.stream);
    });
    gpu_release(logits), gpu_release(x), gpu_release(apart), gpu_release(targets);
    gpu_release(losses), gpu_release(zlosses), gpu_release(lse), gpu_release(weights);
}
