// Ladder: c[M,N] = a[M,K] . b[N,K]^T in bf16, M = 4,096, N = K = 2,048.
// What is it waiting for? That changes on every rung.
//
//   rung 1  a thread per number of c: each reads 2 K numbers from the caches for 2 K operations
//   rung 2  tiles of 32 x 32 in shared memory: what is read once serves 32 threads
//   rung 3  8 x 8 sums per thread in registers: 16 numbers from shared memory serve 64
//           multiplications
//   rung 4  tensor cores: a warp multiplies blocks of 16 x 16 x 16 in one instruction (wmma), 2 x 4
//           of them at a time
//   rung 5  train_olmo.cu: cuBLASLt, which on Hopper feeds the tensor cores by the copy engine
//           (wgmma, TMA)
//
// On an H100 (80 GB, HBM3; CUDA 13.0; copies 3.00 TB/s, product of 8192^3 763 TFLOP/s), milliseconds:
//     rung 1   rung 2   rung 3   rung 4   rung 5    at the product's rate    PyTorch 2.11
//     69.599    4.721    1.263    0.239    0.055                    0.045           0.068
//
// What would you try next? Loading the next tile while this one is multiplied (cp.async), swizzled
// shared memory, wgmma: read attention_forward_sm90 in train_olmo.cu, which does all of that.
#include <mma.h>

static __global__ void matmul_rung1(elem *c, const elem *a, const elem *b, int N, int K) {
    const int i = blockIdx.y*blockDim.y + threadIdx.y, j = blockIdx.x*blockDim.x + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < K; k++) sum += (float)a[(size_t)i*K + k]*(float)b[(size_t)j*K + k];
    c[(size_t)i*N + j] = (elem)sum;
}

static __global__ void matmul_rung2(elem *c, const elem *a, const elem *b, int N, int K) {
    __shared__ float A[32][33], B[32][33];                  // 33: a tile's columns lie in different banks
    const int x = threadIdx.x, y = threadIdx.y, i = blockIdx.y*32, j = blockIdx.x*32;
    float sum = 0;
    for (int k = 0; k < K; k += 32) {
        A[y][x] = (float)a[(size_t)(i + y)*K + k + x];
        B[y][x] = (float)b[(size_t)(j + y)*K + k + x];
        __syncthreads();
        for (int d = 0; d < 32; d++) sum += A[y][d]*B[x][d];
        __syncthreads();
    }
    c[(size_t)(i + y)*N + j + x] = (elem)sum;
}

// A block of 256 threads makes 128 x 128 numbers, a thread 8 x 8 of them: rows y, y + 16, ... and
// columns x, x + 16, ...
static __global__ void matmul_rung3(elem *c, const elem *a, const elem *b, int N, int K) {
    __shared__ float A[16][129], B[16][129];                // [k][row]
    const int x = threadIdx.x % 16, y = threadIdx.x/16, i = blockIdx.y*128, j = blockIdx.x*128;
    float sum[8][8] = {};
    for (int k = 0; k < K; k += 16) {
        for (int e = threadIdx.x; e < 128*16; e += 256) {
            const int row = e/16, d = e % 16;
            A[d][row] = (float)a[(size_t)(i + row)*K + k + d];
            B[d][row] = (float)b[(size_t)(j + row)*K + k + d];
        }
        __syncthreads();
        for (int d = 0; d < 16; d++) {
            float p[8], q[8];
            for (int r = 0; r < 8; r++) p[r] = A[d][y + 16*r], q[r] = B[d][x + 16*r];
            for (int r = 0; r < 8; r++) for (int s = 0; s < 8; s++) sum[r][s] += p[r]*q[s];
        }
        __syncthreads();
    }
    for (int r = 0; r < 8; r++) for (int s = 0; s < 8; s++) {
        c[(size_t)(i + y + 16*r)*N + j + x + 16*s] = (elem)sum[r][s];
    }
}

// A block of 4 x 2 warps makes 128 x 128 numbers, a warp 32 x 64 of them: 2 x 4 blocks of 16 x 16.
// wmma stores its sums as floats.
static __global__ void matmul_rung4(float *c, const elem *a, const elem *b, int N, int K) {
    using namespace nvcuda::wmma;
    __shared__ alignas(32) elem A[128][40], B[128][40];     // 32 columns, and 8 against bank conflicts
    const int warp = threadIdx.x/32, row = warp/2*32, col = warp % 2*64;
    const int i = blockIdx.y*128, j = blockIdx.x*128;
    fragment<accumulator, 16, 16, 16, float> sum[2][4];
    for (int r = 0; r < 2; r++) for (int s = 0; s < 4; s++) fill_fragment(sum[r][s], 0.0f);
    for (int k = 0; k < K; k += 32) {
        for (int e = threadIdx.x; e < 128*4; e += 256) {    // 8 numbers at a time
            const int at = e/4, d = e % 4*8;
            *(uint4 *)&A[at][d] = *(const uint4 *)(a + (size_t)(i + at)*K + k + d);
            *(uint4 *)&B[at][d] = *(const uint4 *)(b + (size_t)(j + at)*K + k + d);
        }
        __syncthreads();
        for (int d = 0; d < 32; d += 16) {
            fragment<matrix_a, 16, 16, 16, elem, row_major> p[2];
            fragment<matrix_b, 16, 16, 16, elem, col_major> q[4];
            for (int r = 0; r < 2; r++) load_matrix_sync(p[r], &A[row + 16*r][d], 40);
            for (int s = 0; s < 4; s++) load_matrix_sync(q[s], &B[col + 16*s][d], 40);
            for (int r = 0; r < 2; r++) for (int s = 0; s < 4; s++) {
                mma_sync(sum[r][s], p[r], q[s], sum[r][s]);
            }
        }
        __syncthreads();
    }
    for (int r = 0; r < 2; r++) for (int s = 0; s < 4; s++) {
        float *at = c + (size_t)(i + row + 16*r)*N + j + col + 16*s;
        store_matrix_sync(at, sum[r][s], N, mem_row_major);
    }
}

static void matmul_ladder() {
    enum { M = 4096, N = 2048, K = 2048, CHECKED = 16 };
    const size_t size = (size_t)M*N;
    elem *a = on_card<elem>((size_t)M*K), *b = on_card<elem>((size_t)N*K), *c = on_card<elem>(size);
    float *sums = on_card<float>(size);
    std::vector<float> ha = fill(a, (size_t)M*K, 1, 8), hb = fill(b, (size_t)N*K, 1, 9);
    std::vector<float> right((size_t)CHECKED*N);
    matmul_forward(right.data(), ha.data(), hb.data(), CHECKED, K, N, 0);               // the CPU's

    Ladder ladder = { "matmul: 4096 x 2048 x 2048, bf16", 0, 2.0*size*K, 4e-3 };
    ladder.restore = [&] { poison(c, size), poison(sums, size); };
    ladder.error = [&] { return distance(c, right); };
    ladder.rung("1  a thread per number", [&] {
        matmul_rung1<<<dim3(N/32, M/32), dim3(32, 32), 0, card.stream>>>(c, a, b, N, K);
    });
    ladder.rung("2  tiles in shared memory", [&] {
        matmul_rung2<<<dim3(N/32, M/32), dim3(32, 32), 0, card.stream>>>(c, a, b, N, K);
    });
    ladder.rung("3  8 x 8 sums in registers", [&] {
        matmul_rung3<<<dim3(N/128, M/128), 256, 0, card.stream>>>(c, a, b, N, K);
    });
    ladder.error = [&] { return distance(sums, right); };
    ladder.rung("4  tensor cores (wmma)", [&] {
        matmul_rung4<<<dim3(N/128, M/128), 256, 0, card.stream>>>(sums, a, b, N, K);
    });
    ladder.error = [&] { return distance(c, right); };
    ladder.rung("5  train_olmo.cu: cuBLASLt", [&] {
        matmul_forward(c, a, b, M, K, N, 0, card.stream);
    });
    gpu_release(a), gpu_release(b), gpu_release(c), gpu_release(sums);
}
