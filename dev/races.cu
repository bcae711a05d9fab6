/*
What compute-sanitizer's racecheck makes of the barriers of Hopper's attention (train_olmo.cu, section 5).

    nvcc -std=c++17 -lineinfo -diag-suppress 177 -arch=sm_90a -o build/races_gpu dev/races.cu -lcublasLt
    compute-sanitizer --tool racecheck --racecheck-report analysis build/races_gpu attention

attention runs both head sizes, forward and back, at the smallest shape that reaches every path. The others
hand a tile of 128 bytes from thread 0 to warp 1 and back, for the next tile, as attention does. What is
missing, and what racecheck of CUDA 13.0 says of it:
    each       nothing; all 32 lanes arrive, to say that they have left the tile. No hazard
    sound      nothing; lane 0 arrives for its warp, after __syncwarp(). 124 hazards: 4 bytes of 31 lanes
    lane       __syncwarp(). 124 hazards again: racecheck does not see the difference
    empty      the next tile does not wait until the warp has left the first. 128 hazards: of all lanes
    full       the warp does not wait until the tile has landed. 384 hazards
So it follows an mbarrier for the thread that arrives, and for no lane on whose behalf this is done. Of
attention it therefore names two pairs: bulk_load of the next lse and dots with those who read the last ones,
and bulk_load of the next sum with those who wrote or turned the last dq. Any other pair would be news.
memcheck, initcheck and synccheck find nothing.
*/
#define OLMO_LIBRARY
#include "../train_olmo.cu"
using namespace hopper;

enum { EACH, SOUND, LANE, EMPTY, FULL, ATTENTION, RUNS };
static const char *const names[RUNS] = { "each", "sound", "lane", "empty", "full", "attention" };

// missing: what, by the names above.
__global__ void hand_over(int *out, const int *in, int missing) {
    __shared__ __align__(16) int tile[32];
    __shared__ Barrier full, empty;
    if (threadIdx.x == 0) bar_init(&full, 1), bar_init(&empty, missing == EACH ? 32 : 1);
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
            if (threadIdx.x == 32 || missing == EACH) bar_arrive(&empty);
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
    CHECK(run < RUNS, "expected each, sound, lane, empty, full or attention");
    card_open();
    int *numbers = (int *)gpu_allocate(128, sizeof(int), "numbers");
    if (run == ATTENTION) attention(64), attention(128);
    else hand_over<<<1, 64, 0, card.stream>>>(numbers, numbers + 64, run);
    CUDA(cudaStreamSynchronize(card.stream));
}
