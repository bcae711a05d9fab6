// Ladder: layer norm, 32,768 rows of 2,048 floats to bf16.
// What is it waiting for? Memory: it reads 4 bytes per number and writes 2.
//
//   rung 1  a thread per row: neighbouring threads read addresses 8 kB apart, each a memory
//           transaction of its own
//   rung 2  a warp per row: 32 neighbours read 32 neighbouring numbers; sums by shuffles
//   rung 3  a block per row: more rows are under way at once than warps with whole rows can be
//   rung 4  train_olmo.cu: 8 numbers per thread and load, and the row stays in registers between
//           its three passes
//
// On an H100 (80 GB, HBM3; CUDA 13.0; copies 3.00 TB/s, product of 8192^3 763 TFLOP/s), milliseconds:
//     rung 1   rung 2   rung 3   rung 4    at the copy's rate    PyTorch 2.11: eager, compiled
//      1.807    0.330    0.216    0.137                 0.134             0.353,    0.205
//
// At the copy bandwidth there is nothing left to win: stop here. What would you try next? Reading x
// as bf16 (half the bytes).

static __global__ void norm_rung1(elem *y, const float *x, int N, int C) {
    const int n = blockIdx.x*blockDim.x + threadIdx.x;
    if (n >= N) return;
    const float *row = x + (size_t)n*C;
    elem *out = y + (size_t)n*C;
    float mean = 0, variance = 0;
    for (int c = 0; c < C; c++) mean += row[c]/C;
    for (int c = 0; c < C; c++) variance += (row[c] - mean)*(row[c] - mean)/C;
    const float rstd = 1/sqrtf(variance + 1e-5f);
    for (int c = 0; c < C; c++) out[c] = (elem)((row[c] - mean)*rstd);
}

static __global__ void norm_rung2(elem *y, const float *x, int N, int C) {
    const int n = (blockIdx.x*blockDim.x + threadIdx.x)/32, lane = threadIdx.x % 32;
    if (n >= N) return;
    const float *row = x + (size_t)n*C;
    elem *out = y + (size_t)n*C;
    float sum = 0, squares = 0;
    for (int c = lane; c < C; c += 32) sum += row[c];
    const float mean = warp_sum(sum)/C;
    for (int c = lane; c < C; c += 32) squares += (row[c] - mean)*(row[c] - mean);
    const float rstd = 1/sqrtf(warp_sum(squares)/C + 1e-5f);
    for (int c = lane; c < C; c += 32) out[c] = (elem)((row[c] - mean)*rstd);
}

static __global__ void norm_rung3(elem *y, const float *x, int C) {
    const float *row = x + (size_t)blockIdx.x*C;
    elem *out = y + (size_t)blockIdx.x*C;
    float sum = 0, squares = 0;
    for (int c = threadIdx.x; c < C; c += blockDim.x) sum += row[c];
    const float mean = block_sum(sum)/C;
    for (int c = threadIdx.x; c < C; c += blockDim.x) squares += (row[c] - mean)*(row[c] - mean);
    const float rstd = 1/sqrtf(block_sum(squares)/C + 1e-5f);
    for (int c = threadIdx.x; c < C; c += blockDim.x) out[c] = (elem)((row[c] - mean)*rstd);
}

static void norm_ladder() {
    enum { N = 32768, C = 2048, CHECKED = 64 };
    const size_t size = (size_t)N*C;
    float *x = on_card<float>(size), *rstd = on_card<float>(N);
    elem *y = on_card<elem>(size);
    std::vector<float> host = fill(x, size, 1, 3), right(CHECKED*C), unused(CHECKED);
    norm_forward(right.data(), unused.data(), host.data(), CHECKED, C);                 // the CPU's

    Ladder ladder = { "norm: [32768, 2048], float to bf16", 6.0*size, 0, 4e-3 };
    ladder.restore = [&] { poison(y, size); };
    ladder.error = [&] { return distance(y, right); };
    ladder.rung("1  a thread per row", [&] {
        norm_rung1<<<N/128, 128, 0, card.stream>>>(y, x, N, C);
    });
    ladder.rung("2  a warp per row", [&] {
        norm_rung2<<<N/8, 256, 0, card.stream>>>(y, x, N, C);
    });
    ladder.rung("3  a block per row", [&] {
        norm_rung3<<<N, 256, 0, card.stream>>>(y, x, C);
    });
    ladder.rung("4  train_olmo.cu: 8 at a time, kept", [&] {
        norm_forward(y, rstd, x, N, C, card.stream);
    });
    gpu_release(x), gpu_release(y), gpu_release(rstd);
}
