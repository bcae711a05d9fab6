// Ladder: softmax of 8,192 rows of 50,304 bf16 logits, in place.      What is it waiting for?
// Memory: 2 bytes in, 2 out.
//
//   rung 1  a thread per row: three passes over 100 kB, each thread in a row of its own
//   rung 2  a block per row: three coalesced passes (largest, sum, write); the row is too long for
//   registers rung 3  largest and sum in one pass: the sum is rescaled when a larger logit comes
//   ("online": Milakov, Gimelshein 2018) rung 4  8 numbers per load and thread; the second pass
//   finds the row in the L2 cache
//
// What would you try next? The whole row in shared memory (100 kB fit, for two blocks per
// multiprocessor): no second read at all.

static __global__ void softmax_rung1(elem *x, int N, int V) {
    const int n = blockIdx.x*blockDim.x + threadIdx.x;
    if (n >= N) return;
    elem *row = x + (size_t)n*V;
    float most = -INFINITY, sum = 0;
    for (int v = 0; v < V; v++) most = fmaxf(most, (float)row[v]);
    for (int v = 0; v < V; v++) sum += __expf((float)row[v] - most);
    for (int v = 0; v < V; v++) row[v] = (elem)(__expf((float)row[v] - most)/sum);
}

static __global__ void softmax_rung2(elem *x, int V) {
    elem *row = x + (size_t)blockIdx.x*V;
    float most = -INFINITY, sum = 0;
    for (int v = threadIdx.x; v < V; v += blockDim.x) most = fmaxf(most, (float)row[v]);
    most = block_max(most);
    for (int v = threadIdx.x; v < V; v += blockDim.x) sum += __expf((float)row[v] - most);
    sum = block_sum(sum);
    for (int v = threadIdx.x; v < V; v += blockDim.x) row[v] = (elem)(__expf((float)row[v] - most)/sum);
}

// W numbers at a time: 1 is rung 3, 8 is rung 4.
template <int W> static __global__ void softmax_online(elem *x, int V) {
    elem *row = x + (size_t)blockIdx.x*V;
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
    for (int v = threadIdx.x*W; v < V; v += blockDim.x*W) {
        load(a, row + v);
        for (int w = 0; w < W; w++) a[w] = __expf(a[w] - all)/total;
        store(row + v, a);
    }
}

static void softmax_ladder() {
    enum { N = 8192, V = 50304, CHECKED = 16 };
    elem *x = on_card<elem>((size_t)N*V), *start = on_card<elem>((size_t)N*V);
    std::vector<float> host = fill(start, (size_t)N*V, 2, 4), right((size_t)CHECKED*V);
    for (int n = 0; n < CHECKED; n++) {
        const float *row = host.data() + (size_t)n*V, most = row_max(row, V);
        const float sum = row_exp(right.data() + (size_t)n*V, row, 1, most, V);
        for (int v = 0; v < V; v++) right[(size_t)n*V + v] /= sum;
    }
    auto line = [&](const char *what, const std::function<void()> &run) {
        CUDA(cudaMemcpy(x, start, sizeof(elem)*N*V, cudaMemcpyDeviceToDevice));
        // once, to be checked: softmax of a softmax is another one
        run();
        const double error = distance(x, right);
        rung(what, milliseconds(run), 4.0*N*V, 0, error, 6e-3);
    };
    ladder("softmax: [8192, 50304], bf16, in place");
    line("1  a thread per row", [&] { softmax_rung1<<<N/64, 64, 0, card.stream>>>(x, N, V); });
    line("2  a block per row, three passes", [&] { softmax_rung2<<<N, 512, 0, card.stream>>>(x, V); });
    line("3  largest and sum in one pass", [&] { softmax_online<1><<<N, 512, 0, card.stream>>>(x,
        V); });
    line("4  8 numbers at a time", [&] { softmax_online<8><<<N, 512, 0, card.stream>>>(x, V); });
    gpu_release(x), gpu_release(start);
}
