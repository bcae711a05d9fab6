/*
What compute-sanitizer's racecheck makes of attention's barriers (train_olmo.cu, section 5), on a Hopper card.

    nvcc -std=c++17 -lineinfo -diag-suppress 177 -arch=sm_90a -o build/races_gpu dev/races.cu -lcublasLt
    compute-sanitizer --tool racecheck --racecheck-report analysis build/races_gpu attention

attention runs both head sizes, forward and back, at the smallest shape that reaches every path. The others
hand a tile from thread 0 to warp 1 and back, for the next tile, as attention does; in each something may
be missing, so that a clean report means something:
    sound      nothing
    full       the warp does not wait until the tile has landed
    empty      the next tile does not wait until the warp has left the first
    lane       the warp's lane 0 says that all have left, without asking the others (__syncwarp)
*/
#define OLMO_LIBRARY
#include "../train_olmo.cu"
using namespace hopper;

enum { SOUND, FULL, EMPTY, LANE, ATTENTION, RUNS };
static const char *const names[RUNS] = { "sound", "full", "empty", "lane", "attention" };

__global__ void hand_over(int *out, const int *in, int missing) {
    __shared__ __align__(16) int tile[32];
    __shared__ Barrier full, empty;
    if (threadIdx.x == 0) bar_init(&full, 1), bar_init(&empty, 1);
    fence_async();
    __syncthreads();
    for (int n = 0; n < 2; n++) {
        if (threadIdx.x == 0) {
            if (missing != EMPTY) bar_wait(&empty, n ^ 1);
            bar_expect(&full, sizeof tile);
            bulk_load(tile, in + 32*n, sizeof tile, &full);
        }
        if (threadIdx.x >= 32) {
            if (missing != FULL) bar_wait(&full, n);
            out[32*n + threadIdx.x%32] = tile[threadIdx.x%32];
            if (missing != LANE) __syncwarp();
            if (threadIdx.x == 32) bar_arrive(&empty);
        }
    }
    if (threadIdx.x == 0) bar_wait(&full, 1);               // no copy may outlast its thread block
}

static elem *elems(size_t n) { return (elem *)gpu_allocate(n, sizeof(elem), "a tensor"); }

static void attention(int D) {
    enum { B = 1, T = 257, H = 2, G = 1 };
    const size_t C = H*D, Q = C + 2*G*D;
    elem *qkv = elems(T*Q), *dqkv = elems(T*Q), *att = elems(T*C), *datt = elems(T*C);
    float *lse = (float *)gpu_allocate(T*H, sizeof(float), "lse");
    float *table = (float *)gpu_allocate(T*D, sizeof(float), "a rotary table");
    void *work = gpu_allocate(attention_work(B, T, H, G, D, 1), 1, "scratch");
    CHECK(on_hopper(D), "heads of %d: this card has no Hopper attention", D);
    attention_forward(att, lse, work, qkv, Q, qkv + C, Q, B, T, 0, H, G, D, card.stream);
    attention_backward(dqkv, work, datt, att, lse, qkv, table, B, T, H, G, D, card.stream);
}

int main(int argc, char **argv) {
    int run = 0;
    while (run < RUNS && (argc < 2 || strcmp(argv[1], names[run]))) run++;
    CHECK(run < RUNS, "expected sound, full, empty, lane or attention");
    card_open();
    int *numbers = (int *)gpu_allocate(128, sizeof(int), "numbers");
    if (run == ATTENTION) attention(64), attention(128);
    else hand_over<<<1, 64, 0, card.stream>>>(numbers, numbers + 64, run);
    CUDA(cudaStreamSynchronize(card.stream));
}
