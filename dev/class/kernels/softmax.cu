// Ladder: softmax of 8,192 rows of 50,304 bf16 logits, in place.
// What is it waiting for? Memory: 2 bytes in, 2 out.
//
//   rung 1  a thread per row: three passes over 100 kB, each thread in a row of its own
//   rung 2  a block per row: three coalesced passes (largest, sum, write); the row is too long for
//           registers
//   rung 3  largest and sum in one pass (online_softmax in ladder.cu)
//   rung 4  8 numbers per load and thread; the second pass finds the row in the L2 cache
//
// On an H100 (80 GB, HBM3; CUDA 13.0; copies 3.00 TB/s, product of 8192^3 763 TFLOP/s), milliseconds:
//     rung 1   rung 2   rung 3   rung 4    at the copy's rate    PyTorch 2.11, not in place
//     14.573    2.544    1.942    0.837                 0.549            0.838
//
// What would you try next? Several loads of a thread under way at once (the last rung of
// crossentropy.cu shows what that is worth). Or the whole row in shared memory (100 kB fit, for two
// blocks per multiprocessor): no second read at all.

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
    const int first = threadIdx.x, step = blockDim.x;
    float most = -INFINITY, sum = 0;
    for (int v = first; v < V; v += step) most = fmaxf(most, (float)row[v]);
    most = block_max(most);
    for (int v = first; v < V; v += step) sum += __expf((float)row[v] - most);
    sum = block_sum(sum);
    for (int v = first; v < V; v += step) row[v] = (elem)(__expf((float)row[v] - most)/sum);
}

// W numbers at a time: 1 is rung 3, 8 is rung 4.
template <int W> static __global__ void softmax_online(elem *x, int V) {
    elem *row = x + (size_t)blockIdx.x*V;
    const Softmax all = online_softmax<W>(row, V);
    float p[W];
    for (int v = threadIdx.x*W; v < V; v += blockDim.x*W) {
        load(p, row + v);
        for (int w = 0; w < W; w++) p[w] = __expf(p[w] - all.most)/all.sum;
        store(row + v, p);
    }
}

static void softmax_ladder() {
    enum { N = 8192, V = 50304, CHECKED = 16 };
    const size_t size = (size_t)N*V;
    elem *x = on_card<elem>(size), *logits = on_card<elem>(size);
    std::vector<float> host = fill(logits, size, 2, 4), right((size_t)CHECKED*V);
    for (int n = 0; n < CHECKED; n++) {                             // on the CPU, in double
        const float *row = host.data() + (size_t)n*V;
        double sum = 0;
        for (int v = 0; v < V; v++) sum += exp((double)row[v]);     // they are small: no overflow
        for (int v = 0; v < V; v++) right[(size_t)n*V + v] = (float)(exp((double)row[v])/sum);
    }

    Ladder ladder = { "softmax: [8192, 50304], bf16, in place", 4.0*size, 0, 6e-3 };
    ladder.restore = [&] { copy(x, logits, size); };
    ladder.error = [&] { return distance(x, right); };
    ladder.rung("1  a thread per row", [&] {
        softmax_rung1<<<N/64, 64, 0, card.stream>>>(x, N, V);
    });
    ladder.rung("2  a block per row, three passes", [&] {
        softmax_rung2<<<N, 512, 0, card.stream>>>(x, V);
    });
    ladder.rung("3  largest and sum in one pass", [&] {
        softmax_online<1><<<N, 512, 0, card.stream>>>(x, V);
    });
    ladder.rung("4  8 numbers at a time", [&] {
        softmax_online<8><<<N, 512, 0, card.stream>>>(x, V);
    });
    gpu_release(x), gpu_release(logits);
}
