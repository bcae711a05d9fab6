// Ladder: loss and dlogits of 8,192 rows of 50,304 bf16 logits.      What is it waiting for?
// Memory; so: how often is a row read?
//
//   rung 1  three kernels, as a framework would: log-sum-exp, loss, then dlogits into an array of
//   its own rung 2  two kernels: the losses, then dlogits in place (half the memory)
//   rung 3  train_olmo.cu: one kernel. The block that has just read a row for its sum reads it
//   again from the L2 cache and
//           writes the gradient over it; the weights of the rows are known beforehand, so nothing
//           has to be kept
//
// What would you try next? Shared memory for the row, as in softmax.cu; or never to write the
// logits: make loss and gradient in the product's own epilogue.

template <int W> static __global__ void lse_kernel(float *lse, const elem *logits, int V) {
    const elem *row = logits + (size_t)blockIdx.x*V;
    float most = -INFINITY, sum = 0, now, a[W];
    for (int v = threadIdx.x*W; v < V; v += blockDim.x*W) {
        load(a, row + v);
        now = most;
        for (int w = 0; w < W; w++) now = fmaxf(now, a[w]);
        sum *= __expf(most - now);
        for (int w = 0; w < W; w++) sum += __expf(a[w] - now);
        most = now;
    }
    const float all = block_max(most), total = block_sum(most == -INFINITY ? 0
        : sum*__expf(most - all));
    if (threadIdx.x == 0) lse[blockIdx.x] = all + logf(total);
}

static __global__ void loss_kernel(float *losses, const float *lse, const elem *logits,
    const int *targets, int N, int V) {
    const int n = blockIdx.x*blockDim.x + threadIdx.x;
    if (n < N) losses[n] = lse[n] - (float)logits[(size_t)n*V + targets[n]];
}

template <int W> static __global__ void dlogits_kernel(elem *dlogits, const elem *logits,
    const float *lse, const float *weights,
                                                       const int *targets, int V) {
    const int n = blockIdx.x;
    float a[W];
    for (int v = threadIdx.x*W; v < V; v += blockDim.x*W) {
        load(a, logits + (size_t)n*V + v);
        for (int w = 0; w < W; w++) a[w] = weights[n]*(__expf(a[w] - lse[n]) - (v + w == targets[n]));
        store(dlogits + (size_t)n*V + v, a);
    }
}

static void crossentropy_ladder() {
    enum { N = 8192, V = 50304, CHECKED = 16 };
    elem *x = on_card<elem>((size_t)N*V), *start = on_card<elem>((size_t)N*V),
        *apart = on_card<elem>((size_t)N*V);
    float *losses = on_card<float>(N), *zlosses = on_card<float>(N), *lse = on_card<float>(N),
        *weights = on_card<float>(N);
    int *targets = on_card<int>(N);
    std::vector<float> host = fill(start, (size_t)N*V, 2, 5), w = fill(weights, N, 1, 6),
        right((size_t)CHECKED*V), l(CHECKED), z(CHECKED), s(CHECKED);
    std::vector<int> ids(N);
    for (int n = 0; n < N; n++) ids[n] = (int)(hash64(n) % V);
    CUDA(cudaMemcpy(targets, ids.data(), sizeof(int)*N, cudaMemcpyHostToDevice));
    // the CPU's
    crossentropy_forward(l.data(), z.data(), s.data(), host.data(), ids.data(), 0, CHECKED, V);
    crossentropy_backward(right.data(), w.data(), s.data(), host.data(), ids.data(), 0, CHECKED, V);
    auto line = [&](const char *what, elem *out, const std::function<void()> &run) {
        CUDA(cudaMemcpy(x, start, sizeof(elem)*N*V, cudaMemcpyDeviceToDevice));
        run();
        const double error = fmax(distance(out, right), distance(losses, l));
        rung(what, milliseconds(run), 4.0*N*V, 0, error, 6e-3);
    };
    ladder("crossentropy: [8192, 50304], bf16, loss and dlogits");
    auto forward = [&] {
        lse_kernel<8><<<N, 512, 0, card.stream>>>(lse, x, V);
        loss_kernel<<<N/256, 256, 0, card.stream>>>(losses, lse, x, targets, N, V);
    };
    line("1  lse, loss, dlogits apart", apart, [&] { forward(); dlogits_kernel<8><<<N, 512, 0,
        card.stream>>>(apart, x, lse, weights, targets, V); });
    line("2  dlogits in place", x, [&] { forward(); dlogits_kernel<8><<<N, 512, 0, card.stream>>>(x, x,
        lse, weights, targets, V); });
    line("3  train_olmo.cu: one kernel", x, [&] { crossentropy(losses, zlosses, x, targets, weights, 0,
        N, V, card.stream); });
    for (void *p : { (void *)x, (void *)start, (void *)apart, (void *)losses, (void *)zlosses,
        (void *)lse, (void *)weights, (void *)targets }) gpu_release(p);
}
