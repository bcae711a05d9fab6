/*
OLMo in C, on a GPU or several: train_olmo.c again, in kernels.

    make train_olmo_cu && ./train_olmo_cu               bf16 weights and activations; sums in fp32
    make train_olmo_cu_fp32 && ./train_olmo_cu_fp32     fp32 throughout: to check the other against
    ./train_olmo_cu --help                              every option of the CPU program

How to read it. Lay train_olmo.c beside it: sections 2 to 5 come in the same order here, under the same
names, with nearly the same arguments and then a stream. All the rest - presets and layout, files, data,
sampling, the training loop - is the .c file itself, included below. Begin at "numbers in kernels", the
helpers that every kernel of section 2 uses, and skip "several cards" at first. What differs, and why:

- A function is a kernel, which says what one thread does, and a launcher, which has the .c function's name:
  C++ tells the two apart by their arguments. (Not olmo_build, whose are the same: here gpu_olmo_build.)
- `elem` is what weights and activations are stored in: bf16, or float in the strict program. Sums are fp32:
  those in kernels and products, the residual stream x, its gradient dx, the gradients of the parameters.
- The optimizer's fp32 weight is kept in two halves; the upper one is the bf16 weight of the forward pass.
- head_forward goes back, too, by chunks of rows, so that nothing as wide as the vocabulary is kept.
- One buffer serves where the .c has two or three: dx lies where x was, and so on (GpuActs).
- Some functions do more, or are told more; their comments say so. Cross entropy goes forward and back in
  one kernel, attention_backward rotates q and k back, and rope_forward also writes the KV cache.
- In generation SwiGLU is part of the product, and a kernel starts before the one before it has ended.
- olmo_forward_tree needs no KV cache: all tokens attend at once, and each is told which one stands before it.
- --recompute and --offload-optimizer take less memory and more time, for the same bits.

Every sum has one fixed order: blocks never add to a number in the order in which they happen to arrive. So
with the same --micro-batch a run repeats bit for bit on the same card.
*/
#ifndef OLMO_LIBRARY
#define OLMO_LIBRARY                                    // the .c file's main is the CPU's
#define OLMO_GPU_PROGRAM
#endif
#include "train_olmo.c"
#include <cublasLt.h>
#include <cuda.h>
#include <cuda_bf16.h>
#include <dlfcn.h>
#ifdef NVTX                                             // make NVTX=1: profilers show which launch is whose
#include <nvtx3/nvToolsExt.h>
struct Range { Range(const char *name) { nvtxRangePushA(name); } ~Range() { nvtxRangePop(); } };
#else
struct Range { Range(const char *) {} };
#endif

#ifdef FP32
typedef float elem;
#else
typedef __nv_bfloat16 elem;
#endif
static const char *const precision = sizeof(elem) == sizeof(float) ? "fp32" : "bf16";
typedef cudaStream_t Stream;
static_assert(sizeof(real) == sizeof(float), "the GPU computes in float");

// ---- the card ----------------------------------------------------------------------------------
static struct {
    int ready;
    cudaDeviceProp props;
    Stream stream;                                  // all work, in order
    cublasLtHandle_t blas;
    void *workspace;                                // of cuBLASLt
    int hopper;                                     // 1: it is one, and this program was made for it
    int compare_products;                           // 1: products will run often, so time the choices
    int plain_attention;                            // 1: no Hopper version of attention (for the tests)
    int pdl;                                        // 1: kernels start early: see wait_for_inputs
} card;
enum { WORKSPACE = 64 << 20 };

// Every call of a library returns whether it succeeded: 0, or an error that has a name.
#define CALLED(call, who, name) do { \
    const auto error_ = (call); \
    CHECK(!error_, "%s reports \"%s\" (%s, line %d)", who, name(error_), __FILE__, __LINE__); \
} while (0)
#define CUDA(call) CALLED(call, "the GPU", cudaGetErrorString)
#define BLAS(call) CALLED(call, "cuBLASLt", cublasLtGetStatusString)

// A kernel starts, with so many bytes of dynamic shared memory, or a sentence says why it could not.
template <int shared_bytes = 0, class... Parameters, class... Arguments>
static void launch(void (*kernel)(Parameters...), dim3 blocks, int threads, Stream stream,
                   Arguments... arguments) {
    cudaLaunchAttribute pdl = {};
    cudaLaunchConfig_t how = {};
    pdl.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    pdl.val.programmaticStreamSerializationAllowed = 1;
    how.gridDim = blocks, how.blockDim = threads, how.stream = stream;
    how.attrs = &pdl, how.numAttrs = card.pdl, how.dynamicSmemBytes = shared_bytes;
    if (shared_bytes)                               // a kernel that may want so much has to say so first
        CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
    CUDA(cudaLaunchKernelEx(&how, kernel, arguments...));
}

// Memory of the card, of zeros unless clear is 0; dies with a sentence if there is not enough.
static void *gpu_allocate(size_t count, size_t size, const char *what, int clear = 1) {
    void *p = NULL;
    size_t free = 0, total = 0;
    const cudaError_t status = must_fail() ? cudaErrorMemoryAllocation : cudaMalloc(&p, count*size);
    if (status == cudaErrorMemoryAllocation) {
        CUDA(cudaMemGetInfo(&free, &total));
        die("not enough memory on the GPU for %s: %.2f GB needed, %.2f of %.2f GB free%s", what,
            (double)(count*size)*1e-9, (double)free*1e-9, (double)total*1e-9, memory_advice);
    }
    CUDA(status);
    if (clear) CUDA(cudaMemsetAsync(p, 0, count*size, card.stream));
    return p;
}
static void gpu_release(void *p) { CUDA(cudaFree(p)); }

// A share of the arena that starts on a multiple of 256 bytes, as TMA and the fastest products want it.
template <class X> static void take(X *&p, Arena *arena, size_t count) {
    arena->used = (arena->used + 255)/256*256;
    p = (X *)take(arena, count, sizeof(X));
}

// Zeroed memory of the host. It does not move, so that kernels can read and write it, over the bus.
static void *host_allocate(size_t count, size_t size, const char *what) {
    void *p = allocate(count, size, what);
    CHECK(card.props.canUseHostPointerForRegisteredMem, "%s cannot use the host's addresses, under which "
          "--offload-optimizer shows it memory; leave that option out", card.props.name);
    const cudaError_t status = must_fail() ? cudaErrorMemoryAllocation
                                           : cudaHostRegister(p, count*size, cudaHostRegisterMapped);
    CHECK(status == cudaSuccess, "the GPU cannot reach the host's memory for %s, %.2f GB: %s", what,
          (double)(count*size)*1e-9, cudaGetErrorString(status));
    return p;
}
static void host_release(void *p) {
    if (p) CUDA(cudaHostUnregister(p));
    release(p);
}

// Ordered by card.stream. Until that is synchronized, the host leaves its side of the copy as it is.
template <class X> static void to_card(X *on_card, const X *host, size_t count) {
    CUDA(cudaMemcpyAsync(on_card, host, sizeof(X)*count, cudaMemcpyDefault, card.stream));
}
template <class X> static void to_host(X *host, const X *on_card, size_t count) {
    CUDA(cudaMemcpyAsync(host, on_card, sizeof(X)*count, cudaMemcpyDefault, card.stream));
}

// Hopper's attention (section 5) is machine code for sm_90a alone. A program that was made without it
// (GPU_ARCH) runs on an H100, too, but there those kernels are empty: only one that runs can tell.
__global__ void built_for_hopper_kernel(int *yes) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    *yes = 1;
#endif
}

// The first card that CUDA shows (CUDA_VISIBLE_DEVICES chooses another), made ready once. Rank i of this
// machine takes card i, unless the launcher has shown each rank only its own.
static void card_open(void) {
    int cards = 0;
    if (card.ready) return;
    cudaError_t status = cudaGetDeviceCount(&cards);
    CHECK(status == cudaSuccess && cards > 0,
          "no GPU can be used here: %s; train_olmo is the same program for the CPU",
          status == cudaSuccess ? "CUDA shows none" : cudaGetErrorString(status));
    const int mine = cards > 1 || ranks.forked ? ranks.local : 0;
    CHECK(mine < cards, "rank %d of this machine needs card %d, but CUDA shows only %d", mine, mine, cards);
    CUDA(cudaSetDevice(mine));
    CUDA(cudaGetDeviceProperties(&card.props, mine));
    CHECK(card.props.major >= 8, "%s: compute capability %d.%d; expected 8.0 or newer, which knows bf16",
          card.props.name, card.props.major, card.props.minor);
    CUDA(cudaStreamCreateWithFlags(&card.stream, cudaStreamNonBlocking));
    BLAS(cublasLtCreate(&card.blas));
    card.workspace = gpu_allocate(WORKSPACE, 1, "the workspace of the matrix products");
    launch(built_for_hopper_kernel, 1, 1, card.stream, (int *)card.workspace);      // which is zeroed
    to_host(&card.hopper, (int *)card.workspace, 1);
    CUDA(cudaStreamSynchronize(card.stream));
    card.ready = 1;
}

// ---- numbers in kernels ------------------------------------------------------------------------
// Products and attention are as fast as the card multiplies, every other kernel as fast as its memory. So
// these read and write a number once, where they can, and a thread moves W at a time: 8, which are 16 bytes
// of bf16, where the sizes allow it, else one. (How many bytes each moves: dev/bench/bench.cu.)
#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")

template <class X, int W> struct alignas(sizeof(X)*W) Vector { X at[W]; };

template <int W, class X> static DEVICE void load(float (&out)[W], const X *from) {
    const Vector<X, W> v = *(const Vector<X, W> *)from;
    UNROLL for (int w = 0; w < W; w++) out[w] = (float)v.at[w];
}
// away: it is not read again soon. So it leaves the L2 cache first, and drives out nothing else.
template <int W, class X> static DEVICE void store(X *to, const float (&in)[W], bool away = false) {
    Vector<X, W> v;
    UNROLL for (int w = 0; w < W; w++) v.at[w] = (X)in[w];
    if (away && sizeof v == sizeof(uint4)) __stcs((uint4 *)to, *(const uint4 *)&v);
    else *(Vector<X, W> *)to = v;
}

// Over N neighbouring lanes, all of which get the result.
template <int N = 32, class X> static DEVICE X warp_sum(X x) {
    for (int lane = N/2; lane; lane /= 2) x += __shfl_xor_sync(~0u, x, lane);
    return x;
}
template <int N = 32> static DEVICE float warp_max(float x) {
    for (int lane = N/2; lane; lane /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lane));
    return x;
}

// Lane i of every warp learns the x of warp i; a lane beyond the block's last warp gets `none`.
template <class X> static DEVICE X of_warps(X (&part)[32], X x, X none) {
    const int warp = threadIdx.x/32, lane = threadIdx.x % 32;
    __syncthreads();                                    // the previous call's readers are done with part
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return lane < blockDim.x/32 ? part[lane] : none;
}
// The .c's row_sum and row_max: over all threads of the block, a multiple of 32, which all get the result.
template <class X> static __device__ X block_sum(X x) {
    __shared__ X part[32];
    return warp_sum(of_warps(part, warp_sum(x), X(0)));
}
static __device__ float block_max(float x) {
    __shared__ float part[32];
    return warp_max(of_warps(part, warp_max(x), -INFINITY));
}

// e^(x - shift), as precise as the program: to two units of the last place, or in two instructions, as
// 2^(x*LOG2E - shift*LOG2E). Rounding the argument leaves 20 to 18 of ex2's 22 bits; bf16 has 8.
const float LOG2E = 1.44269504f;
static DEVICE float ex2(float x) {                      // 2^x: exp2f without its care for denormals
#ifdef __CUDA_ARCH__
    asm("ex2.approx.ftz.f32 %0, %0;" : "+f"(x));
    return x;
#else
    return exp2f(x);                                    // the kernels on a CPU: dev/cuda_on_cpu
#endif
}
static DEVICE float exponential(float x, float shift = 0) {
    return sizeof(elem) == sizeof(float) ? expf(x - shift) : ex2(x*LOG2E - shift*LOG2E);
}

// In generation a kernel takes a few microseconds, and nearly as long would pass between the last load of one
// and the first of the next. So there, on a Hopper card, a kernel starts once all blocks of the kernel before
// it have started (programmatic dependent launch). It asks at once for the weights, which no kernel of the
// chain writes. Before it reads or writes anything else, it waits until the kernel before it has ended. That
// one has waited, too, and so on: if a block of every kernel calls this, all earlier kernels have ended.
static DEVICE void wait_for_inputs() {
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents; griddepcontrol.wait;" ::: "memory");
#endif
}

// Threads that walk along n things: whole warps, at most 512.
static inline int threads_for(int n) { return imin(512, padded(imax(n, 1), 32)); }

// A block for each row of n numbers: of the kernel for W = 8 if n allows it, or of that for W = 1.
template <class... Parameters, class... Arguments>
static void by_rows(void (*wide)(Parameters...), void (*narrow)(Parameters...), int rows, int n,
                    Stream stream, Arguments... arguments) {
    if (n % 8 == 0) launch(wide, rows, threads_for(n/8), stream, arguments...);
    else launch(narrow, rows, threads_for(n), stream, arguments...);
}

// A thread for each of `count` things. The kernel's last argument says how many they are.
template <class... Parameters, class... Arguments>
static void by_elements(void (*kernel)(Parameters...), size_t count, Stream stream, Arguments... arguments) {
    launch(kernel, ceil_div(count, 256), 256, stream, arguments..., count);
}

// ================================================================================================
// 2. Layers: each x_forward beside its x_backward
// ================================================================================================

// ---- matrix products ---------------------------------------------------------------------------
// An Operand is a matrix as it is stored, with rows `width` numbers apart, or the same numbers read as its
// transpose. In a batch of products the next one lies `stride` numbers further.
typedef struct { const elem *at; size_t width; int is_transposed; size_t stride; } Operand;

static inline Operand as_stored(const elem *at, size_t width, size_t stride = 0) {
    return { at, width, 0, stride };
}
static inline Operand as_transposed(const elem *at, size_t width, size_t stride = 0) {
    return { at, width, 1, stride };
}

// c[M,N] = a[M,K] . b[K,N], or += if add. A batch is this many products, whose c lie c_stride apart.
template <class X> static void gemm(X *c, size_t ldc, Operand a, Operand b, int M, int N, int K,
                                    int add, Stream stream, int batch = 1, size_t c_stride = 0);

// out[O] = inp[C] . weight[O,C]^T, or += if add: in generation (section 5). gated: weight is up | gate, with
// 2*O rows, and out = up*silu(gate), as in SwiGLU.
template <bool gated = false, class X>
static void matvec(X *out, const elem *inp, const elem *weight, int C, int O, int add, Stream stream);

// out[N,O] = inp[N,C] . weight[O,C]^T,  or += if add: this is how a layer adds to the residual stream.
template <class X> void matmul_forward(X *out, const elem *inp, const elem *weight, int N, int C, int O,
                                       int add, Stream stream) {
    if (N == 1) matvec(out, inp, weight, C, O, add, stream);
    else gemm(out, O, as_stored(inp, C), as_transposed(weight, C), N, O, C, add, stream);
}

// dinp[N,C] = dout[N,O] . weight[O,C]
void matmul_backward_input(elem *dinp, const elem *dout, const elem *weight, int N, int C, int O,
                           Stream stream) {
    gemm(dinp, C, as_stored(dout, O), as_stored(weight, C), N, C, O, 0, stream);
}

// dweight[O,C] = dout[N,O]^T . inp[N,C],  or += if add: not in the first pass after an update. One sum over
// all N rows, where the .c has one for each sequence: so the bits depend on --micro-batch.
void matmul_backward_weight(float *dweight, const elem *dout, const elem *inp, int N, int C, int O,
                            int add, Stream stream) {
    gemm(dweight, C, as_transposed(dout, O), as_stored(inp, C), O, C, N, add, stream);
}

// ---- embedding ---------------------------------------------------------------------------------
// x[n,:] = wte[tokens[n],:]                                                        x: [N, C], wte: [V, C]
// (head_forward also gathers rows of xnf by it. That x is of elem.)
template <int W, class X> __global__ void embed_forward_kernel(X *x, const int *tokens, const elem *wte,
                                                               int C) {
    wait_for_inputs();
    const int n = blockIdx.x;
    float row[W];
    for (int c = threadIdx.x*W; c < C; c += blockDim.x*W) {
        load(row, wte + (size_t)tokens[n]*C + c);
        store(x + (size_t)n*C + c, row);
    }
}
template <class X> void embed_forward(X *x, const int *tokens, const elem *wte, int N, int C,
                                      Stream stream) {
    by_rows(embed_forward_kernel<8, X>, embed_forward_kernel<1, X>, N, C, stream, x, tokens, wte, C);
}

// Where each token stands: the k-th distinct one at place[first[k]], ..., place[first[k + 1] - 1], in order.
typedef struct { int *place, *first, distinct; } Places;

// Found by counting, on the CPU. place: [N], first: [N + 1], count: [V] of scratch.
static void places_find(Places *p, int *count, const int *tokens, int N, int V) {
    int start = 0;
    memset(count, 0, sizeof(int)*V);
    for (int n = 0; n < N; n++) count[tokens[n]]++;
    p->distinct = 0;
    for (int v = 0; v < V; v++) if (count[v]) {
        const int times = count[v];
        p->first[p->distinct++] = count[v] = start;
        start += times;
    }
    p->first[p->distinct] = N;
    for (int n = 0; n < N; n++) p->place[count[tokens[n]]++] = n;
}

// dwte[tokens[n],:] += dx[n,:]                                                   dwte: [V, C], dx: [N, C]
// A token that occurs twice adds twice, in the order of n: a block owns channels of one token. (Atomic
// sums would need no list of places, but their bits would differ from run to run.)
template <int W> __global__ void embed_backward_kernel(float *dwte, const float *dx, const int *tokens,
                                                       Places at, int C) {
    const int c = (blockIdx.y*blockDim.x + threadIdx.x)*W;
    const int first = at.first[blockIdx.x], end = at.first[blockIdx.x + 1];
    if (c >= C) return;
    float *to = dwte + (size_t)tokens[at.place[first]]*C + c, sum[W], d[W];
    load(sum, to);
    #pragma unroll 4
    for (int i = first; i < end; i++) {
        load(d, dx + (size_t)at.place[i]*C + c);
        for (int w = 0; w < W; w++) sum[w] += d[w];
    }
    store(to, sum);
}
void embed_backward(float *dwte, const float *dx, const int *tokens, Places at, int C, Stream stream) {
    const int wide = C % 4 == 0;
    const dim3 blocks(at.distinct, ceil_div(C, wide ? 4*128 : 128));
    launch(wide ? embed_backward_kernel<4> : embed_backward_kernel<1>, blocks, 128, stream,
           dwte, dx, tokens, at, C);
}

// ---- layer norm without parameters -------------------------------------------------------------
// y = (x - mean(x)) * rstd,    rstd = 1/sqrt(var(x) + 1e-5)                x, y: [N, C], rstd: [N]
// A row that its block takes in one step stays in registers; a longer one is read again from the cache.
template <int W> __global__ void norm_forward_kernel(elem *y, float *rstd, const float *x, int C) {
    wait_for_inputs();
    const size_t row = (size_t)blockIdx.x*C;
    const int start = threadIdx.x*W, step = blockDim.x*W;
    float v[W], sum = 0, squares = 0;
    for (int c = start; c < C; c += step) {
        load(v, x + row + c);
        for (int w = 0; w < W; w++) sum += v[w];
    }
    const float mean = block_sum(sum)/C;
    for (int c = start; c < C; c += step) {
        if (C > step) load(v, x + row + c);
        for (int w = 0; w < W; w++) squares += (v[w] - mean)*(v[w] - mean);
    }
    const float r = 1/sqrtf(block_sum(squares)/C + 1e-5f);
    for (int c = start; c < C; c += step) {
        if (C > step) load(v, x + row + c);
        for (int w = 0; w < W; w++) v[w] = (v[w] - mean)*r;
        store(y + row + c, v);
    }
    if (threadIdx.x == 0) rstd[blockIdx.x] = r;
}
void norm_forward(elem *y, float *rstd, const float *x, int N, int C, Stream stream) {
    by_rows(norm_forward_kernel<8>, norm_forward_kernel<1>, N, C, stream, y, rstd, x, C);
}

// dx += rstd * (dy - avg(dy) - y*avg(dy*y)),    and once more in the products' precision: dx_elem
// dx, dx_elem, dy, y: [N, C], rstd: [N]
template <int W> __global__ void norm_backward_kernel(float *dx, elem *dx_elem, const elem *dy,
                                                      const elem *y, const float *rstd, int C) {
    const size_t row = (size_t)blockIdx.x*C;
    const int start = threadIdx.x*W, step = blockDim.x*W;
    float g[W], out[W], d[W], sum = 0, sum_y = 0;
    for (int c = start; c < C; c += step) {
        load(g, dy + row + c);
        load(out, y + row + c);
        for (int w = 0; w < W; w++) sum += g[w], sum_y += g[w]*out[w];
    }
    const float avg = block_sum(sum)/C, avg_y = block_sum(sum_y)/C, r = rstd[blockIdx.x];
    for (int c = start; c < C; c += step) {
        if (C > step) load(g, dy + row + c), load(out, y + row + c);
        load(d, dx + row + c);
        for (int w = 0; w < W; w++) d[w] += r*(g[w] - avg - out[w]*avg_y);
        store(dx + row + c, d);
        store(dx_elem + row + c, d);
    }
}
void norm_backward(float *dx, elem *dx_elem, const elem *dy, const elem *y, const float *rstd, int N,
                   int C, Stream stream) {
    by_rows(norm_backward_kernel<8>, norm_backward_kernel<1>, N, C, stream, dx, dx_elem, dy, y, rstd, C);
}

// ---- clamping q, k, v --------------------------------------------------------------------------
// x = min(max(x, -clip), clip), in place; pass = 1 where |x| <= clip already              x, pass: [count]
__global__ void clip_forward_kernel(elem *x, unsigned char *pass, float clip, size_t count) {
    wait_for_inputs();
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float v = (float)x[i];
    pass[i] = v >= -clip && v <= clip;
    x[i] = (elem)(v < -clip ? -clip : v > clip ? clip : v);
}
void clip_forward(elem *x, unsigned char *pass, double clip, size_t count, Stream stream) {
    by_elements(clip_forward_kernel, count, stream, x, pass, (float)clip);
}

// dx = 0 where x was clipped, in place                                                   dx, pass: [count]
__global__ void clip_backward_kernel(elem *dx, const unsigned char *pass, size_t count) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < count && !pass[i]) dx[i] = (elem)0.0f;
}
void clip_backward(elem *dx, const unsigned char *pass, size_t count, Stream stream) {
    by_elements(clip_backward_kernel, count, stream, dx, pass);
}

// ---- rotary position embeddings (RoPE) ---------------------------------------------------------
// Each head's halves (a, b) are rotated by the angle of the row's position, in place:
//     a' = a cos - b sin,    b' = b cos + a sin        x: [N, Q]; the first `heads` heads are rotated
// A block takes row n, at position past[n/T] + n % T (past NULL: n % T). sign: +1, or -1 to rotate back.
// In generation keys and values, the heads from `first` on, go to row *past + n of the cache, too.
template <int W> __global__ void rotate_kernel(elem *x, const float *table, float sign, int T,
                                               const int *past, int heads, int D, int Q, elem *cache,
                                               int first) {
    wait_for_inputs();
    const int n = blockIdx.x, half = D/2, all = cache ? Q/D : heads;
    const float *angle = table + (size_t)((past ? past[n/T] : 0) + n % T)*D;
    float a[W], b[W], cosine[W], sine[W];
    for (int i = threadIdx.x*W; i < all*half; i += blockDim.x*W) {
        const int head = i/half;
        elem *pair = x + (size_t)n*Q + head*D + i % half;
        load(a, pair);
        load(b, pair + half);
        if (head < heads) {
            load(cosine, angle + i % half);
            load(sine, angle + half + i % half);
            for (int w = 0; w < W; w++) {
                const float rotated = a[w]*cosine[w] - sign*b[w]*sine[w];
                b[w] = b[w]*cosine[w] + sign*a[w]*sine[w];
                a[w] = rotated;
            }
            store(pair, a);
            store(pair + half, b);
        }
        if (cache && head >= first) {
            elem *kept = cache + (size_t)(*past + n)*(Q - first*D) + (head - first)*D + i % half;
            store(kept, a);
            store(kept + half, b);
        }
    }
}
static void rotate(elem *x, const float *table, float sign, int N, int T, const int *past, int heads,
                   int D, int Q, Stream stream, elem *cache = NULL, int first = 0) {
    const int wide = D % 16 == 0, pairs = (cache ? Q/D : heads)*(D/2);
    launch(wide ? rotate_kernel<8> : rotate_kernel<1>, N, threads_for(wide ? pairs/8 : pairs), stream,
           x, table, sign, T, past, heads, D, Q, cache, first);
}
void rope_forward(elem *qkv, const float *table, int N, int T, const int *past, int heads, int D,
                  int Q, Stream stream, elem *cache = NULL, int first = 0) {
    rotate(qkv, table, 1, N, T, past, heads, D, Q, stream, cache, first);
}
// A rotation's transpose is the rotation back.
void rope_backward(elem *dqkv, const float *table, int N, int T, int heads, int D, int Q, Stream stream) {
    rotate(dqkv, table, -1, N, T, NULL, heads, D, Q, stream);
}

// ---- causal attention --------------------------------------------------------------------------
// For every head:  S = q k^T / sqrt(D),   P = softmax of S over the keys <= query,   att = P v.
// As in the .c, a tile of queries makes its rows of S, they become P, and P makes att; no T x T matrix
// is stored. One batched product serves several key/value heads. This is for every card, head size and
// precision. Hopper cards have a version of their own, in section 5, for bf16 and two head sizes.
static int on_hopper(int D) {
    const int fits = sizeof(elem) == 2 && (D == 64 || D == 128);
    return fits && card.hopper && !card.plain_attention;
}
namespace hopper {
template <int D> void forward(elem *att, float *lse, void *work, const elem *q, int q_width,
                              const elem *kv, int kv_width, int B, int T, int H, int G, Stream stream);
template <int D> void backward(elem *dqkv, void *work, const elem *datt, const elem *att,
                               const float *lse, const elem *qkv, const float *table, int B, int T, int H,
                               int G, Stream stream);
size_t work_bytes(int B, int T, int H, int D);
}

enum { TILE = 256 };                                // queries
static size_t most_scores = 16 << 20;               // numbers of S at a time, unless a head needs more

typedef struct {
    int heads;                                      // key/value heads at a time
    float *S, *dP, *dk, *dv;                        // S, dP: [heads, TILE, keys]; dk, dv: [heads, T, D]
    elem *P, *dS;                                   // as S; rows of keys are padded to a multiple of 8
} AttentionWork;

// Hands out pointers into base, and returns how many bytes they take.
static size_t attention_layout(AttentionWork *w, char *base, int keys, int T, int G, int D, int backward) {
    Arena arena = { base, 0 };
    const size_t tile = (size_t)imin(T, TILE)*padded(keys, 8);
    const size_t scores = zmax(tile, zmin(G*tile, most_scores));
    w->heads = (int)(scores/tile);
    take(w->S, &arena, scores), take(w->P, &arena, scores);
    if (!backward) return arena.used;
    take(w->dP, &arena, scores), take(w->dS, &arena, scores);
    take(w->dk, &arena, (size_t)w->heads*T*D), take(w->dv, &arena, (size_t)w->heads*T*D);
    return arena.used;
}

// P_j = exp(scale S_j - lse),   lse = log sum_j exp(scale S_j),   over the n keys that the query sees.
// A block per row of S: query t0 + blockIdx.x of head first + blockIdx.y*group, at position past + t.
__global__ void softmax_forward_kernel(elem *P, float *lse, const float *S, float scale, int ld,
                                       int past, int t0, int T, int first, int group) {
    const int t = t0 + blockIdx.x, n = past + t + 1, head = first + blockIdx.y*group;  // n are seen
    const size_t row = ((size_t)blockIdx.y*gridDim.x + blockIdx.x)*ld;
    float most = -INFINITY, sum = 0;
    for (int j = threadIdx.x; j < n; j += blockDim.x) most = fmaxf(most, scale*S[row + j]);
    most = block_max(most);
    for (int j = threadIdx.x; j < n; j += blockDim.x) sum += exponential(scale*S[row + j], most);
    sum = block_sum(sum);
    for (int j = threadIdx.x; j < ld; j += blockDim.x)
        P[row + j] = (elem)(j < n ? exponential(scale*S[row + j], most)/sum : 0);
    if (threadIdx.x == 0) lse[(size_t)head*T + t] = most + logf(sum);
}

// att: [B, T, H*D], lse: [B, H, T], work: attention_work(...) bytes
// q: [B, T] rows, q_width apart;  kv: [B, past + T] rows of k and v heads, kv_width apart
void attention_forward(elem *att, float *lse, void *work, const elem *q, int q_width, const elem *kv,
                       int kv_width, int B, int T, int past, int H, int G, int D, Stream stream) {
    const auto fast = D == 64 ? hopper::forward<64> : hopper::forward<128>;
    if (on_hopper(D) && past == 0)
        return fast(att, lse, work, q, q_width, kv, kv_width, B, T, H, G, stream);
    const int group = H/G;
    const float scale = 1/sqrtf((float)D);
    AttentionWork w;
    attention_layout(&w, (char *)work, past + T, T, G, D, 0);
    for (int b = 0; b < B; b++) for (int t0 = 0; t0 < T; t0 += TILE) for (int g = 0; g < G; g += w.heads)
    for (int member = 0; member < group; member++) {        // heads h, h + group, ... read k, v of g, g + 1
        const int rows = imin(TILE, T - t0), seen = past + t0 + rows, ld = padded(seen, 8);
        const int heads = imin(w.heads, G - g), h = g*group + member;
        const elem *queries = q + ((size_t)b*T + t0)*q_width + h*D;
        const elem *k = kv + (size_t)b*(past + T)*kv_width + g*D, *v = k + G*D;
        elem *out = att + ((size_t)b*T + t0)*H*D + h*D;
        const size_t tile = (size_t)rows*ld;
        gemm(w.S, ld, as_stored(queries, q_width, group*D), as_transposed(k, kv_width, D),
             rows, seen, D, 0, stream, heads, tile);
        launch(softmax_forward_kernel, dim3(rows, heads), 128, stream,
               w.P, lse + (size_t)b*H*T, w.S, scale, ld, past, t0, T, h, group);
        gemm(out, (size_t)H*D, as_stored(w.P, ld, tile), as_stored(v, kv_width, D),
             rows, D, seen, 0, stream, heads, group*D);
    }
}

// P_j = exp(scale S_j - lse),   dS_j = scale P_j (dP_j - datt . att), as the .c derives it. A block per row.
__global__ void softmax_backward_kernel(elem *P, elem *dS, const float *S, const float *dP,
                                        const float *lse, const elem *datt, const elem *att, float scale,
                                        int ld, int t0, int T, int first, int group, int H, int D) {
    const int t = t0 + blockIdx.x, n = t + 1, head = first + blockIdx.y*group;
    const size_t row = ((size_t)blockIdx.y*gridDim.x + blockIdx.x)*ld, at = ((size_t)t*H + head)*D;
    float dot = 0;
    for (int d = threadIdx.x; d < D; d += blockDim.x) dot += (float)datt[at + d]*(float)att[at + d];
    dot = block_sum(dot);
    for (int j = threadIdx.x; j < ld; j += blockDim.x) {
        const float p = j < n ? exponential(scale*S[row + j], lse[(size_t)head*T + t]) : 0;
        P[row + j] = (elem)p;
        dS[row + j] = (elem)(j < n ? scale*p*(dP[row + j] - dot) : 0);
    }
}

// Moves dk, dv, [heads, T, D] of float, to dkv, [T, Q] from the first head's k on. A block per row and head.
__global__ void keys_values_kernel(elem *dkv, const float *dk, const float *dv, int T, int G, int D,
                                   int Q) {
    const int t = blockIdx.x, g = blockIdx.y;
    for (int d = threadIdx.x; d < D; d += blockDim.x) {
        dkv[(size_t)t*Q + g*D + d] = (elem)dk[((size_t)g*T + t)*D + d];
        dkv[(size_t)t*Q + (G + g)*D + d] = (elem)dv[((size_t)g*T + t)*D + d];
    }
}

//     dq = dS k,    dk += dS^T q,    dv += P^T datt                    (the 1/sqrt(D) is in dS already)
// dqkv, qkv: [B, T, Q], datt, att: [B, T, H*D], lse: [B, H, T]. "=": dqkv is the gradient of q and k before
// their rotation (rope_backward is in it), and of v. The last tile sees every key, and so comes first: it
// sets dk and dv, to which the others add.
void attention_backward(elem *dqkv, void *work, const elem *datt, const elem *att, const float *lse,
                        const elem *qkv, const float *table, int B, int T, int H, int G, int D,
                        Stream stream) {
    const auto fast = D == 64 ? hopper::backward<64> : hopper::backward<128>;
    if (on_hopper(D)) return fast(dqkv, work, datt, att, lse, qkv, table, B, T, H, G, stream);
    const int group = H/G, Q = (H + 2*G)*D, C = H*D;
    const float scale = 1/sqrtf((float)D);
    AttentionWork w;
    attention_layout(&w, (char *)work, T, T, G, D, 1);
    for (int b = 0; b < B; b++) for (int g = 0; g < G; g += w.heads) {
        const int heads = imin(w.heads, G - g);
        const elem *q = qkv + (size_t)b*T*Q, *k = q + (H + g)*D, *v = k + G*D;
        const elem *out = att + (size_t)b*T*C, *dout = datt + (size_t)b*T*C;
        elem *dq = dqkv + (size_t)b*T*Q, *dkv = dq + (H + g)*D;
        for (int t0 = (T - 1)/TILE*TILE; t0 >= 0; t0 -= TILE)
        for (int member = 0; member < group; member++) {
            const int rows = imin(TILE, T - t0), seen = t0 + rows, ld = padded(seen, 8);
            const int h = g*group + member, add = seen < T || member > 0;
            const size_t tile = (size_t)rows*ld, next = (size_t)group*D, keys = (size_t)T*D;
            const elem *queries = q + (size_t)t0*Q + h*D, *douts = dout + (size_t)t0*C + h*D;
            elem *dqueries = dq + (size_t)t0*Q + h*D;
            gemm(w.S, ld, as_stored(queries, Q, next), as_transposed(k, Q, D),
                 rows, seen, D, 0, stream, heads, tile);
            gemm(w.dP, ld, as_stored(douts, C, next), as_transposed(v, Q, D),
                 rows, seen, D, 0, stream, heads, tile);
            launch(softmax_backward_kernel, dim3(rows, heads), 128, stream,
                   w.P, w.dS, w.S, w.dP, lse + (size_t)b*H*T, dout, out, scale, ld, t0, T, h, group, H, D);
            gemm(dqueries, Q, as_stored(w.dS, ld, tile), as_stored(k, Q, D),
                 rows, D, seen, 0, stream, heads, next);
            gemm(w.dk, D, as_transposed(w.dS, ld, tile), as_stored(queries, Q, next),
                 seen, D, rows, add, stream, heads, keys);
            gemm(w.dv, D, as_transposed(w.P, ld, tile), as_stored(douts, C, next),
                 seen, D, rows, add, stream, heads, keys);
        }
        launch(keys_values_kernel, dim3(T, heads), threads_for(D), stream, dkv, w.dk, w.dv, T, G, D, Q);
    }
    rope_backward(dqkv, table, B*T, T, H + G, D, Q, stream);
}

// For generation, one query at position *past, by splits of its keys, of at most `longest`. And for a
// tree of texts, in which before[n] is the token before token n, or -1. (Section 5 has both.)
enum { SPLIT = 32, SPLIT_THREADS = 128 };               // a split's keys are a warp wide
static void attention_forward_one(elem *att, void *work, const elem *q, const elem *kv, int width,
                                  const int *past, int longest, int H, int G, int D, Stream stream);
static void attention_forward_tree(elem *att, const elem *qkv, const int *before, int N, int H, int G,
                                   int D, Stream stream);

// Bytes of scratch, of any content, for all attention. (256: the counter in Hopper's forward pass.)
static size_t attention_work(int B, int T, int H, int G, int D, int training) {
    AttentionWork unused;
    const size_t one = sizeof(float)*H*ceil_div(T, SPLIT)*(2 + D);      // for attention_forward_one
    const size_t tiles = attention_layout(&unused, NULL, T, T, G, D, training && !on_hopper(D));
    return zmax(zmax(one, tiles), on_hopper(D) && training ? hopper::work_bytes(B, T, H, D) : 256);
}

// ---- SwiGLU ------------------------------------------------------------------------------------
// h = up * silu(gate),    silu(z) = z*sigma(z),    sigma(z) = 1/(1 + e^-z)            h: [N, F]
// ug: [N, 2F] = up | gate
template <int W> __global__ void swiglu_forward_kernel(elem *h, const elem *ug, int F) {
    const size_t row = (size_t)blockIdx.x*2*F;
    float u[W], z[W];
    for (int f = threadIdx.x*W; f < F; f += blockDim.x*W) {
        load(u, ug + row + f);
        load(z, ug + row + F + f);
        for (int w = 0; w < W; w++) u[w] *= z[w]*(1/(1 + exponential(-z[w])));
        store(h + row/2 + f, u);
    }
}
void swiglu_forward(elem *h, const elem *ug, int N, int F, Stream stream) {
    by_rows(swiglu_forward_kernel<8>, swiglu_forward_kernel<1>, N, F, stream, h, ug, F);
}

// dup = dh*silu(gate),    dgate = dh*up*sigma*(1 + gate*(1 - sigma)),    and h again, unless it is NULL
// "="; dug may be ug, and h may be dh: a thread reads its numbers before it overwrites them.
template <int W> __global__ void swiglu_backward_kernel(elem *dug, elem *h, const elem *dh,
                                                        const elem *ug, int F) {
    const size_t row = (size_t)blockIdx.x*2*F;
    float u[W], z[W], d[W], out[W];
    for (int f = threadIdx.x*W; f < F; f += blockDim.x*W) {
        load(u, ug + row + f);
        load(z, ug + row + F + f);
        load(d, dh + row/2 + f);
        for (int w = 0; w < W; w++) {
            const float sigma = 1/(1 + exponential(-z[w])), silu = z[w]*sigma;
            out[w] = u[w]*silu;
            z[w] = d[w]*u[w]*sigma*(1 + z[w]*(1 - sigma));
            u[w] = d[w]*silu;
        }
        if (h) store(h + row/2 + f, out);
        store(dug + row + f, u);
        store(dug + row + F + f, z);
    }
}
void swiglu_backward(elem *dug, elem *h, const elem *dh, const elem *ug, int N, int F, Stream stream) {
    by_rows(swiglu_backward_kernel<8>, swiglu_backward_kernel<1>, N, F, stream, dug, h, dh, ug, F);
}

// ---- softmax cross entropy, with optional z-loss -----------------------------------------------
// lse = log sum_j exp(logits_j),    loss = lse - logits[target],    zloss = z*lse^2;  both 0 if target < 0
// and, where weights are given, the backward half in the same kernel, in place:
//     dlogits_j = weight * ((1 + 2 z lse) p_j - [j = target]),    p_j = exp(logits_j - lse)
// logits: [N, V] of X, which is float where no backward pass follows; losses, zlosses, targets, weights: [N].
// A block reads its row twice, the second time from the L2 cache, out of which dlogits do not drive it.

// Calls each(v, x) for all numbers that are this thread's, W at a time: x are those from column v on. Four
// loads are under way at a time; with one, the card would wait more than it reads.
template <int W, class X, class Each> static DEVICE void walk(X *row, int V, Each each) {
    enum { AHEAD = 4 };
    const int step = blockDim.x*W;
    Vector<X, W> ahead[AHEAD];
    float x[W];
    for (int v = threadIdx.x*W; v < V; v += AHEAD*step) {
        UNROLL for (int k = 0; k < AHEAD; k++)
            if (v + k*step < V) ahead[k] = *(Vector<X, W> *)(row + v + k*step);
        UNROLL for (int k = 0; k < AHEAD; k++)
            if (v + k*step < V) load(x, ahead[k].at), each(v + k*step, x);
    }
}
template <class X, int W> __launch_bounds__(512, 2)
__global__ void crossentropy_kernel(float *losses, float *zlosses, X *logits, const int *targets,
                                    const float *weights, float z, int V) {
    const int n = blockIdx.x, target = targets[n];
    X *row = logits + (size_t)n*V;
    const float at_target = target < 0 ? 0 : (float)row[target];
    float most = -INFINITY, sum = 0;                    // sum of exp(x - most) over this thread's columns
    walk<W>(row, V, [&](int, const float (&x)[W]) {
        float now = most;
        for (int w = 0; w < W; w++) now = fmaxf(now, x[w]);
        sum *= exponential(most, now);
        for (int w = 0; w < W; w++) sum += exponential(x[w], now);
        most = now;
    });
    const float all = block_max(most), share = most == -INFINITY ? sum : sum*exponential(most, all);
    const float lse = all + logf(block_sum(share));
    if (threadIdx.x == 0) {
        losses[n] = target < 0 ? 0 : lse - at_target;
        zlosses[n] = target < 0 ? 0 : z*lse*lse;
    }
    if (!weights) return;
    const float weight = target < 0 ? 0 : weights[n], factor = weight*(1 + 2*z*lse);
    walk<W>(row, V, [&](int v, float (&x)[W]) {
        for (int w = 0; w < W; w++) x[w] = weight == 0 ? 0 : factor*exponential(x[w], lse);
        if (v <= target && target < v + W)
            for (int w = 0; w < W; w++) x[w] -= v + w == target ? weight : 0;
        store(row + v, x, true);
    });
}
template <class X> void crossentropy(float *losses, float *zlosses, X *logits, const int *targets,
                                     const float *weights, double z, int N, int V, Stream stream) {
    by_rows(crossentropy_kernel<X, 8>, crossentropy_kernel<X, 1>, N, V, stream,
            losses, zlosses, logits, targets, weights, (float)z, V);
}

// ================================================================================================
// 3. Model: activations, forward, backward
// ================================================================================================

// ---- weights in two halves ---------------------------------------------------------------------
// The bf16 weight is the upper half of the optimizer's float, rounded to nearest. With `rest`, the lower
// half with a sign, it gives the float exactly. So both take 4 bytes, and no step of its own casts weights.
static DEVICE float joined(elem weight, int16_t rest) {
    if (sizeof(elem) == sizeof(float)) return (float)weight;        // in the strict program
    return __uint_as_float(((uint32_t)__bfloat16_as_ushort(weight) << 16) + (uint32_t)(int32_t)rest);
}
static DEVICE elem upper(float p) {
    if (sizeof(elem) == sizeof(float)) return (elem)p;
    return __ushort_as_bfloat16((uint16_t)((__float_as_uint(p) + 0x8000) >> 16));
}
static DEVICE int16_t lower(float p) {
    return sizeof(elem) == sizeof(float) ? 0 : (int16_t)(__float_as_uint(p) & 0xffff);
}

// p[i] = the float weight; and back. rest: NULL in the strict program, and in a model that is not trained.
__global__ void join_kernel(float *p, const elem *weight, const int16_t *rest, size_t count) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < count) p[i] = joined(weight[i], rest ? rest[i] : 0);
}
__global__ void split_kernel(elem *weight, int16_t *rest, const float *p, size_t count) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i >= count) return;
    weight[i] = upper(p[i]);
    if (rest) rest[i] = lower(p[i]);
}

// ---- activations -------------------------------------------------------------------------------
// What a layer needs for its backward pass, and which of that it makes again there rather than keep it.
// Making SwiGLU's h again costs nothing, because its backward kernel has the operands at hand. BLOCK keeps
// only the results of the two norms: all the rest follows from these, without the residual stream.
typedef enum { NOTHING, SWIGLU, GATE_UP, BLOCK } Recompute;

typedef struct {
    elem *xn1, *xn2;                                // [N, C]
    float *rstd1, *rstd2;                           // [N]
    elem *qkv, *att;                                // [N, Q], [N, C]           BLOCK: made again
    float *lse;                                     // [B, H, T]                BLOCK
    unsigned char *pass;                            // [N, Q]                   BLOCK; only with clip_qkv
    elem *ug;                                       // [N, 2F]                  BLOCK, GATE_UP
    elem *h;                                        // [N, F]                   BLOCK, GATE_UP, SWIGLU
} GpuLayerActs;

static Recompute recomputed(void) {
    static const char *const names[] = { "none", "swiglu", "gate-up", "block" };
    for (int i = NOTHING; i <= BLOCK; i++) if (!strcmp(saving.recompute, names[i])) return (Recompute)i;
    die("--recompute %s: expected none, swiglu, gate-up or block", saving.recompute);
}

typedef struct {
    int B, T;
    Recompute recompute;
    int head_rows;                                  // rows of logits that exist at a time
    int has_dlogits;                                // the last forward pass had weights: back is allowed
    int *tokens, *targets;                          // [N]
    int *positions;                                 // [N]             of each sequence's first token
    int *before;                                    // [N]             in a tree: the token before each
    float *weights, *losses, *zlosses;              // [N]
    Places places;                                  // of the tokens
    float *x, *dx;                                  // [N, C]          residual stream, gradient: one place
    elem *h, *dqkv;                                 // [N, F], [N, Q]  one place: first h or dh, then dqkv
    GpuLayerActs layer[MAX_LAYERS];
    elem *xnf;                                      // [N, C]          last norm
    float *rstdf;                                   // [N]
    char *logits;                                   // [head_rows, V]  of elem; without weights, of float
    elem *dx_elem, *dxn;                            // [N, C]
    char *work;                                     // scratch of attention
    float *rope;                                    // [seq_len, D]    made once, so in no arena
    size_t kept_bytes, logits_bytes, work_bytes;    // how much of all this is what
} GpuActs;

// 4,096 rows of OLMo's logits take 0.4 GB in bf16; the 32,768 of a pass of 16 x 2,048 would take 3.3.
enum { TRAIN_HEAD_ROWS = 4096, EVAL_HEAD_ROWS = 1024 };

// Hands out the memory for B x T tokens, as in the .c.
static size_t acts_layout(GpuActs *a, char *base, const Config *c, int training, int B, int T) {
    const int H = c->n_heads, G = c->n_kv_heads, D = c->d_model/H;
    const size_t N = (size_t)B*T, C = c->d_model, Q = (H + 2*G)*D, F = c->mlp_hidden/2, V = c->vocab;
    Arena all = { base, 0 }, *arena = &all;
    a->B = B, a->T = T;
    take(a->tokens, arena, N), take(a->targets, arena, N);
    take(a->positions, arena, N), take(a->before, arena, N);
    take(a->losses, arena, N), take(a->zlosses, arena, N);
    take(a->x, arena, N*C), a->dx = a->x;
    take(a->h, arena, N*zmax(F, Q)), a->dqkv = a->h;
    for (int l = 0; l < c->n_layers; l++) {         // layer 0 has a place for all of it
        GpuLayerActs *s = &a->layer[l];
        const Recompute again = l == 0 ? NOTHING : a->recompute;
        if (l > 0) *s = a->layer[0];
        if (l > 0 && !training) continue;
        take(s->xn1, arena, N*C), take(s->rstd1, arena, N);
        take(s->xn2, arena, N*C), take(s->rstd2, arena, N);
        if (again < BLOCK) {
            take(s->qkv, arena, N*Q);
            take(s->att, arena, N*C), take(s->lse, arena, N*H);
            if (c->clip_qkv > 0) take(s->pass, arena, N*Q);
        }
        if (again < GATE_UP) take(s->ug, arena, N*2*F);
        if (a->recompute == NOTHING) take(s->h, arena, N*F); else s->h = a->h;
    }
    take(a->xnf, arena, N*C), take(a->rstdf, arena, N);
    a->kept_bytes = arena->used;

    a->head_rows = imax(2, imin(B*T, training ? TRAIN_HEAD_ROWS : EVAL_HEAD_ROWS));     // 2: one of float
    take(a->logits, arena, a->head_rows*V*(training ? sizeof(elem) : sizeof(float)));
    a->logits_bytes = arena->used - a->kept_bytes;

    if (training) {
        take(a->weights, arena, N);
        take(a->places.place, arena, N), take(a->places.first, arena, N + 1);
        if (sizeof(elem) == sizeof(float)) a->dx_elem = (elem *)a->dx; else take(a->dx_elem, arena, N*C);
        take(a->dxn, arena, N*C);
    }
    take(a->work, arena, attention_work(B, T, H, G, D, training));
    a->work_bytes = arena->used - a->kept_bytes - a->logits_bytes;
    return arena->used;
}

// ---- one block ---------------------------------------------------------------------------------
typedef struct { elem *weight; float *grad; } Parameter;    // a matrix and its gradient, at the same offset
typedef struct { Parameter att_proj, attn_out, ff_proj, ff_out; } GpuLayer;

// From xn1 to att: lines of the .c's block_forward, which stand apart because recomputation needs them a
// second time. B sequences of T tokens stand at positions past, past + 1, ... cache is NULL in training,
// else [seq_len, 2*G*D]: the keys and values of all earlier tokens, behind which those of the T new ones are
// written. before: NULL, or in a tree, whose tokens are sequences of their own, the token before each.
static void attend(GpuActs *a, GpuLayerActs *s, const GpuLayer *w, elem *cache, const int *before,
                   const Config *c, int B, int T, int past, Stream stream) {
    const int N = B*T, C = c->d_model, H = c->n_heads, G = c->n_kv_heads, D = C/H, Q = (H + 2*G)*D;
    matmul_forward(s->qkv, s->xn1, w->att_proj.weight, N, C, Q, 0, stream);
    if (c->clip_qkv > 0) clip_forward(s->qkv, s->pass, c->clip_qkv, (size_t)N*Q, stream);
    const int *from = cache || before ? a->positions : NULL;
    rope_forward(s->qkv, a->rope, N, T, from, H + G, D, Q, stream, cache, H);

    const elem *kv = cache ? cache : s->qkv + H*D;
    const int kv_width = cache ? 2*G*D : Q;
    if (before) attention_forward_tree(s->att, s->qkv, before, N, H, G, D, stream);
    else if (cache && T == 1)
        attention_forward_one(s->att, a->work, s->qkv, kv, kv_width, from, c->seq_len, H, G, D, stream);
    else attention_forward(s->att, s->lse, a->work, s->qkv, Q, kv, kv_width, B, T, past, H, G, D, stream);
}

// The block; the .c draws it.
static void block_forward(GpuActs *a, GpuLayerActs *s, const GpuLayer *w, elem *cache, const int *before,
                          const Config *c, int B, int T, int past, Stream stream) {
    const int N = B*T, C = c->d_model, F = c->mlp_hidden/2;
    Range range("block_forward");
    norm_forward(s->xn1, s->rstd1, a->x, N, C, stream);
    attend(a, s, w, cache, before, c, B, T, past, stream);
    matmul_forward(a->x, s->att, w->attn_out.weight, N, C, C, 1, stream);   // x += att . attn_out^T

    norm_forward(s->xn2, s->rstd2, a->x, N, C, stream);
    if (cache && T == 1) matvec<true>(s->h, s->xn2, w->ff_proj.weight, C, F, 0, stream);    // both in one
    else {
        matmul_forward(s->ug, s->xn2, w->ff_proj.weight, N, C, 2*F, 0, stream);
        swiglu_forward(s->h, s->ug, N, F, stream);
    }
    matmul_forward(a->x, s->h, w->ff_out.weight, N, F, C, 1, stream);       // x += h . ff_out^T
}

// The same from the bottom up, as in the .c. add: 0 if there are no gradients yet to add to.
static void block_backward(GpuActs *a, GpuLayerActs *s, const GpuLayer *w, const Config *c, int add,
                           Stream stream) {
    const int B = a->B, T = a->T, N = B*T, C = c->d_model, F = c->mlp_hidden/2;
    const int H = c->n_heads, G = c->n_kv_heads, D = C/H, Q = (H + 2*G)*D;
    elem *dh = a->h, *dug = s->ug, *datt = a->dxn;                          // each takes another's place
    Range range("block_backward");

    if (a->recompute >= GATE_UP) matmul_forward(s->ug, s->xn2, w->ff_proj.weight, N, C, 2*F, 0, stream);
    matmul_backward_input(dh, a->dx_elem, w->ff_out.weight, N, F, C, stream);
    swiglu_backward(dug, a->recompute >= SWIGLU ? s->h : NULL, dh, s->ug, N, F, stream);
    matmul_backward_weight(w->ff_out.grad, a->dx_elem, s->h, N, F, C, add, stream);
    matmul_backward_weight(w->ff_proj.grad, dug, s->xn2, N, C, 2*F, add, stream);
    matmul_backward_input(a->dxn, dug, w->ff_proj.weight, N, C, 2*F, stream);
    norm_backward(a->dx, a->dx_elem, a->dxn, s->xn2, s->rstd2, N, C, stream);

    if (a->recompute >= BLOCK) attend(a, s, w, NULL, NULL, c, B, T, 0, stream);
    matmul_backward_weight(w->attn_out.grad, a->dx_elem, s->att, N, C, C, add, stream);
    matmul_backward_input(datt, a->dx_elem, w->attn_out.weight, N, C, C, stream);
    attention_backward(a->dqkv, a->work, datt, s->att, s->lse, s->qkv, a->rope, B, T, H, G, D, stream);
    if (c->clip_qkv > 0) clip_backward(a->dqkv, s->pass, (size_t)N*Q, stream);
    matmul_backward_weight(w->att_proj.grad, a->dqkv, s->xn1, N, C, Q, add, stream);
    matmul_backward_input(a->dxn, a->dqkv, w->att_proj.weight, N, C, Q, stream);
    norm_backward(a->dx, a->dx_elem, a->dxn, s->xn1, s->rstd1, N, C, stream);
}

// ---- the whole model ---------------------------------------------------------------------------
// What follows from the norm of all gradients is decided on the card, without asking the host: the factor
// that clips, and whether there is an update at all: none if the norm is not finite.
typedef struct { double squares, norm; float factor; int finite; } Clip;
enum { NORM_PARTIALS = 1024 };                      // of the sum of squares: a thread each, in the end
static __host__ __device__ Clip clip_of(double squares, double limit) {
    Clip clip = { squares, sqrt(squares), 1, 0 };
    clip.finite = isfinite(clip.norm);
    if (limit > 0) clip.factor = (float)fmin(1.0, limit/(clip.norm + 1e-6));
    return clip;
}

typedef struct {
    Config config;
    int training;                                   // 0: no gradients, no moments, no backward pass
    int offload;                                    // 1: rests and moments are the host's memory
    Layout layout;
    elem *weights;                                  // flat, [layout.size], as all of these
    int16_t *rests;                                 // the lower halves of the weights
    float *grads, *moment1, *moment2;
    size_t grads_size;
    int grads_used;                                 // 1: already applied; the next pass overwrites them
    Segments segments;                              // rests and moments are this rank's pieces alone;
    float *buffers;                                 // with --shard gradients grads, too: then a pass leaves
    size_t buffer_size;                             //     its gradients of whole segments in buffers
    int last_pass;                                  // 1: an update is next
    int gathering;                                  // 1: weights are still on their way
    Parameter wte, head;
    GpuLayer layer[MAX_LAYERS];
    GpuActs acts;
    void *arena;                                    // what acts points into
    size_t arena_size;
    elem *cache;                                    // [L, seq_len, 2*G*D] keys and values, for olmo_decode
    cudaGraphExec_t decode_graph;                   // all launches of olmo_decode for one token, as one
    int tokens_decoded;
    float *staging;                                 // [CHUNK]         between host and card
    double *norm_partial;                           // [NORM_PARTIALS]
    Clip *clip;
    Places places;                                  // on the host, as count: [V]
    int *count;
} GpuOlmo;

// ---- several cards -----------------------------------------------------------------------------
// The ranks of section 5 of the .c, each with a card; a rank that is alone needs nothing of this. NCCL
// moves what they tell each other, on a stream of its own, while the card computes. Segment 0 is the
// embedding, 1 + l is layer l, the last is the head, if it is untied. Of each, two ranks hold in turn:
//
//                    rank 0       rank 1
//     backward       [a a a a]    [b b b b]       the gradients of its own rows of the batch
//                         reduce_grads            while the layers below are computed
//                    [s s - -]    [- - s s]       s = a + b, of its own piece; the rest is of no use
//     update         [w w - -]    [- - w w]       new weights, by the rests and moments of its own piece
//                         gather_weights          while the layers before it are computed
//     forward        [w w w w]    [w w w w]
//
// With --shard optimizer, `grads` holds all segments: every pass adds to them, and the last one before
// an update reduces them. With --shard gradients, every pass reduces. Then `grads` holds this rank's
// pieces alone, to which s is added, and a lies in a buffer, which is free once it is reduced.
//
// The ranks and the sizes fix the order in which NCCL adds. (This does not hold if switches add, by
// NVLS; that stays off, unless the user has said otherwise.)

enum { BUFFERS = 3, MAX_WAITS = 4*MAX_SEGMENTS };     // the weights, and the gradients of three passes
static struct {
    Stream stream;
    cudaEvent_t computed;                           // by card.stream: what the other stream waits for
    cudaEvent_t reduced[BUFFERS];                   // the gradients in a buffer
    cudaEvent_t gathered[MAX_SEGMENTS];             // the weights of a segment
    cudaEvent_t wait[MAX_WAITS][2];                 // before and after card.stream has waited
    int waits;
} talking;

// What follows on talking.stream waits for all that card.stream has to do so far.
static void talking_waits(void) {
    CUDA(cudaEventRecord(talking.computed, card.stream));
    CUDA(cudaStreamWaitEvent(talking.stream, talking.computed, 0));
}

// How NCCL cuts a segment: pieces of equal length, and a rest, which is the last rank's, too.
typedef struct { size_t each, mine, all, rest; } Cut;       // mine: where this rank's piece begins
static Cut cut_of(const Segments *s, int k) {
    const size_t each = piece_of(s, k, 0).end - s->begin[k], all = each*ranks.world;
    return { each, each*ranks.rank, all, s->begin[k + 1] - s->begin[k] - all };
}

#ifdef NCCL
#include <nccl.h>
static ncclComm_t all_ranks;
#define TALK(call) do { \
    ncclResult_t error_ = (call); \
    CHECK(error_ == ncclSuccess, "NCCL reports \"%s\" (%s)", ncclGetErrorString(error_), \
          ncclGetLastError(NULL)); \
} while (0)
static const char *const alone = NULL;

// Kernels that talk over a link that has failed never end. So the thread that watches the ranks asks.
static void check_nccl(void) {
    ncclResult_t state;
    TALK(ncclCommGetAsyncError(all_ranks, &state));
    if (state != ncclInProgress) TALK(state);
}
static void meet_cards(void) {
    ncclUniqueId id;
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    if (ranks.rank == 0) TALK(ncclGetUniqueId(&id));
    ranks_share(&id, sizeof id);
    TALK(ncclCommInitRank(&all_ranks, ranks.world, id, ranks.rank));
    __atomic_store_n(&check_links, &check_nccl, __ATOMIC_SEQ_CST);
}

// This rank's piece of the segment x becomes the sum over all ranks; the rest of it is overwritten.
static void reduce_scatter(float *x, Cut c) {
    float *tail = x + c.all;
    TALK(ncclGroupStart());
    if (c.each) TALK(ncclReduceScatter(x, x + c.mine, c.each, ncclFloat, ncclSum, all_ranks,
                                       talking.stream));
    if (c.rest) TALK(ncclReduce(tail, tail, c.rest, ncclFloat, ncclSum, ranks.world - 1, all_ranks,
                                talking.stream));
    TALK(ncclGroupEnd());
}
// Every rank's piece of the segment x goes to all.
static void all_gather(elem *x, Cut c) {
    const ncclDataType_t type = sizeof(elem) == sizeof(float) ? ncclFloat : ncclBfloat16;
    elem *tail = x + c.all;
    TALK(ncclGroupStart());
    if (c.each) TALK(ncclAllGather(x + c.mine, x, c.each, type, all_ranks, talking.stream));
    if (c.rest) TALK(ncclBroadcast(tail, tail, c.rest, type, ranks.world - 1, all_ranks,
                                   talking.stream));
    TALK(ncclGroupEnd());
}
// All ranks get the x[0..n) of rank `from`, and it is there on return.
static void broadcast(float *x, size_t n, int from) {
    talking_waits();
    TALK(ncclBroadcast(x, x, n, ncclFloat, from, all_ranks, talking.stream));
    CUDA(cudaStreamSynchronize(talking.stream));
}
#else
static const char *const alone = "this program was built without NCCL, by which cards talk; install it "
                                 "(libnccl-dev, or pip's nvidia-nccl-cu13), and make again";
static void meet_cards(void) {}
static void reduce_scatter(float *, Cut) {}
static void all_gather(elem *, Cut) {}
static void broadcast(float *, size_t, int) {}
#endif

static void make_events(cudaEvent_t *event, int n, unsigned flags) {
    for (int i = 0; i < n; i++) CUDA(cudaEventCreateWithFlags(&event[i], flags));
}
static void talking_open(void) {
    int least, most;
    meet_cards();
    CUDA(cudaDeviceGetStreamPriorityRange(&least, &most));
    CUDA(cudaStreamCreateWithPriority(&talking.stream, cudaStreamNonBlocking, most));
    make_events(&talking.computed, 1, cudaEventDisableTiming);
    make_events(talking.reduced, BUFFERS, cudaEventDisableTiming);
    make_events(talking.gathered, MAX_SEGMENTS, cudaEventDisableTiming);
    make_events(talking.wait[0], 2*MAX_WAITS, cudaEventDefault);
}

// What follows on card.stream waits for `event`. The first MAX_WAITS of an update are timed: this is the
// communication that computing does not hide.
static void computing_waits(cudaEvent_t event) {
    const int measured = talking.waits < MAX_WAITS;
    if (measured) CUDA(cudaEventRecord(talking.wait[talking.waits][0], card.stream));
    CUDA(cudaStreamWaitEvent(card.stream, event, 0));
    if (measured) CUDA(cudaEventRecord(talking.wait[talking.waits++][1], card.stream));
}
// Sets ranks.exposed to the seconds of all waits since the previous call. card.stream has finished them.
static void add_up_waits(void) {
    float ms;
    ranks.exposed = 0;
    for (int i = 0; i < talking.waits; i++) {
        CUDA(cudaEventElapsedTime(&ms, talking.wait[i][0], talking.wait[i][1]));
        ranks.exposed += ms*1e-3;
    }
    talking.waits = 0;
}

static int shards_gradients(void) { return ranks.world > 1 && ranks.shard_gradients; }

// Two buffers take turns: one is reduced while the other is filled. (The gradient of tied weights comes
// from both ends of the model. It has a third buffer to itself.)
static int buffer_of(const GpuOlmo *m, int k) { return k == 0 && m->config.tied ? 2 : k % 2; }

// Returns the size of all buffers, and sets *each to that of the first two.
static size_t buffers_layout(size_t *each, const Segments *s, int tied) {
    *each = 0;
    if (!shards_gradients()) return 0;
    for (int k = tied; k < s->n; k++) *each = zmax(*each, s->begin[k + 1] - s->begin[k]);
    return 2**each + (tied ? s->begin[1] : 0);
}

// Where the backward pass leaves the gradients of segment k.
static float *segment_grads(const GpuOlmo *m, int k) {
    if (shards_gradients()) return m->buffers + buffer_of(m, k)*m->buffer_size;
    return m->grads + m->segments.begin[k];
}
// Element i of the flat arrays, in piece p, which is this rank's: where it is in arrays of such pieces
// alone; its gradient, once reduced; the lower half of its weight.
static size_t own_at(const GpuOlmo *m, Piece p, size_t i) {
    return m->segments.at[p.segment] + (i - p.begin);
}
static float *grad_at(const GpuOlmo *m, Piece p, size_t i) {
    return m->grads + (shards_gradients() ? own_at(m, p, i) : i);
}
static int16_t *rest_at(const GpuOlmo *m, Piece p, size_t i) {
    return m->rests ? m->rests + own_at(m, p, i) : NULL;
}

__global__ void add_kernel(float *sum, const float *x, int add, size_t count) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < count) sum[i] = add ? sum[i] + x[i] : x[i];
}

// The gradients of segment k are complete, as far as this pass goes.
static void reduce_grads(GpuOlmo *m, int k) {
    if (ranks.world == 1 || !(m->last_pass || shards_gradients())) return;
    const Piece mine = piece_of(&m->segments, k, ranks.rank);
    const Cut cut = cut_of(&m->segments, k);
    const size_t count = mine.end - mine.begin;
    float *sum = grad_at(m, mine, mine.begin), *x = segment_grads(m, k);
    talking_waits();
    reduce_scatter(x, cut);
    if (shards_gradients() && count)
        by_elements(add_kernel, count, talking.stream, sum, x + cut.mine, !m->grads_used);
    CUDA(cudaEventRecord(talking.reduced[buffer_of(m, k)], talking.stream));
}
// Before the gradients of segment k are computed: what lay in their buffer has been reduced.
static void await_buffer(const GpuOlmo *m, int k) {
    if (shards_gradients()) computing_waits(talking.reduced[buffer_of(m, k)]);
}
// Whether a pass adds to gradients that are there, or overwrites what is there.
static int adds_to_grads(const GpuOlmo *m) { return !m->grads_used && !shards_gradients(); }

// m->clip, which follows from the squares of this rank's pieces, then follows from those of all.
static void clip_by_all(GpuOlmo *m, double limit) {
    Clip clip;
    to_host(&clip, m->clip, 1);
    CUDA(cudaStreamSynchronize(card.stream));
    ranks_sum(&clip.squares, 1);
    clip = clip_of(clip.squares, limit);
    to_card(m->clip, &clip, 1);
    CUDA(cudaStreamSynchronize(card.stream));
}

// The weights of this rank's piece of segment k are updated.
static void gather_weights(GpuOlmo *m, int k) {
    if (ranks.world == 1) return;
    talking_waits();
    all_gather(m->weights + m->segments.begin[k], cut_of(&m->segments, k));
    CUDA(cudaEventRecord(talking.gathered[k], talking.stream));
    m->gathering = 1;
}
// Before the weights of segment k are read; of any.
static void await_weights(const GpuOlmo *m, int k) {
    if (m->gathering) computing_waits(talking.gathered[k]);
}
static void await_all_weights(GpuOlmo *m) {
    for (int k = 0; k < m->segments.n; k++) await_weights(m, k);
    m->gathering = 0;
}

// ---- the whole model: memory, forward, backward ------------------------------------------------
static Parameter parameter(const GpuOlmo *m, int tensor) {
    const size_t offset = m->layout.tensor[tensor].offset;
    const int k = piece_at(&m->segments, offset).segment;
    float *grad = m->training ? segment_grads(m, k) + (offset - m->segments.begin[k]) : NULL;
    return { m->weights + offset, grad };
}

// The rotary table of the .c: [seq_len, D]
static float *rope_on_card(const Config *c) {
    const int T = c->seq_len, D = c->d_model/c->n_heads;
    float *table = (float *)allocate((size_t)T*D, sizeof(float), "the rotary table");
    float *on_card = (float *)gpu_allocate((size_t)T*D, sizeof(float), "the rotary table");
    rope_table(table, c->rope_theta, T, D);
    to_card(on_card, table, (size_t)T*D);
    CUDA(cudaStreamSynchronize(card.stream));
    release(table);
    return on_card;
}

GpuOlmo *gpu_olmo_build(const Config *c, int training) {
    card_open();
    card.compare_products = training;
    GpuOlmo *m = (GpuOlmo *)allocate(1, sizeof(GpuOlmo), "the model's tables");
    Weights unused;
    m->config = *c;
    m->training = training;
    m->acts.recompute = recomputed();
    m->offload = training && saving.offload_optimizer;
    olmo_layout(&m->layout, &unused, NULL, c);
    m->segments = segments_of(&m->layout);
    const size_t size = m->layout.size, own = m->segments.at[m->segments.n];
    m->weights = (elem *)gpu_allocate(size, sizeof(elem), "the weights");
    m->staging = (float *)gpu_allocate(CHUNK, sizeof(float), "the staging buffer");
    m->acts.rope = rope_on_card(c);
    if (training) {
        const auto state = [=](size_t size, const char *what) {
            return m->offload ? host_allocate(own, size, what) : gpu_allocate(own, size, what);
        };
        if (sizeof(elem) < sizeof(float))
            m->rests = (int16_t *)state(sizeof(int16_t), "the lower halves of the weights");
        const size_t buffers = buffers_layout(&m->buffer_size, &m->segments, c->tied);
        m->grads_size = shards_gradients() ? own : size;
        m->grads = (float *)gpu_allocate(m->grads_size, sizeof(float), "the gradients");
        if (buffers) m->buffers = (float *)gpu_allocate(buffers, sizeof(float), "a pass's gradients");
        m->moment1 = (float *)state(sizeof(float), "AdamW's first moments");
        m->moment2 = (float *)state(sizeof(float), "AdamW's second moments");
        m->norm_partial = (double *)gpu_allocate(NORM_PARTIALS, sizeof(double), "the gradient norm");
        m->clip = (Clip *)gpu_allocate(1, sizeof(Clip), "the gradient norm");
        m->count = (int *)allocate(c->vocab, sizeof(int), "a count of tokens");
    }
    int next = 0;                                   // in the order of olmo_layout
    m->wte = parameter(m, next++);
    for (int l = 0; l < c->n_layers; l++) {
        GpuLayer *w = &m->layer[l];
        for (Parameter *p : { &w->att_proj, &w->attn_out, &w->ff_proj, &w->ff_out })
            *p = parameter(m, next++);
    }
    m->head = c->tied ? m->wte : parameter(m, next++);
    CHECK(next == m->layout.n, "gpu_olmo_build takes %d tensors, but olmo_layout lists %d; they must agree",
          next, m->layout.n);
    return m;
}

// Forgets the graph of olmo_decode, because memory that it names is about to move.
static void graph_drop(GpuOlmo *m) {
    if (m->decode_graph) CUDA(cudaGraphExecDestroy(m->decode_graph));
    m->decode_graph = NULL;
}

void olmo_free(GpuOlmo *m) {
    void *const on_card[] = { m->weights, m->grads, m->buffers, m->arena, m->acts.rope, m->cache,
                              m->staging, m->norm_partial, m->clip };
    void *const state[] = { m->rests, m->moment1, m->moment2 };
    CUDA(cudaStreamSynchronize(card.stream));
    graph_drop(m);
    for (void *p : on_card) gpu_release(p);
    for (void *p : state) (m->offload ? host_release : gpu_release)(p);
    release(m->places.place);
    release(m->count);
    release(m);
}

// Activations for B x T tokens, as in the .c.
static GpuActs *olmo_reserve(GpuOlmo *m, int B, int T) {
    GpuActs *a = &m->acts;
    const int most = m->config.seq_len;
    CHECK(T <= most, "a sequence of %d tokens; this model was built for at most %d", T, most);
    a->has_dlogits = 0;
    if (a->B == B && a->T == T) return a;
    const size_t needed = acts_layout(a, NULL, &m->config, m->training, B, T), N = (size_t)B*T;
    if (needed > m->arena_size) {
        graph_drop(m);
        gpu_release(m->arena);
        m->arena = gpu_allocate(needed, 1, "the activations", 0);
        m->arena_size = needed;
    }
    acts_layout(a, (char *)m->arena, &m->config, m->training, B, T);
    release(m->places.place);
    m->places.place = (int *)allocate(2*N + 1, sizeof(int), "the places of tokens");
    m->places.first = m->places.place + N;
    return a;
}

// The embedding and the blocks, for B*T tokens that are on the card: they leave the residual stream.
// `cached`: each layer has its part of the KV cache. before, past: see attend.
static void blocks_forward(GpuOlmo *m, const int *before, int B, int T, int past, int cached) {
    const Config *c = &m->config;
    GpuActs *a = &m->acts;
    await_weights(m, 0);
    embed_forward(a->x, a->tokens, m->wte.weight, B*T, c->d_model, card.stream);
    for (int l = 0; l < c->n_layers; l++) {
        elem *cache = cached ? m->cache + cache_size(c)/c->n_layers*l : NULL;
        await_weights(m, 1 + l);
        block_forward(a, &a->layer[l], &m->layer[l], cache, before, c, B, T, past, card.stream);
    }
}

// From the residual stream after the last block to the losses of its N rows; all arguments are the host's.
// With weights the head goes back at once, chunk by chunk: the gradient of its weight is added here, and dxn
// waits for olmo_backward.
static void head_forward(GpuOlmo *m, real *losses, real *zlosses, const int *tokens, const int *targets,
                         const real *weights, int N) {
    const Config *c = &m->config;
    const int C = c->d_model, V = c->vocab, last = m->segments.n - 1;
    int asked = N;
    Stream stream = card.stream;
    GpuActs *a = &m->acts;
    Places *p = &m->places;
    norm_forward(a->xnf, a->rstdf, a->x, N, C, stream);
    await_weights(m, last);
    m->gathering = 0;
    if (weights) await_buffer(m, c->tied ? 0 : last);
    if (!m->training) {                             // the rows with a target, in place of the tokens
        asked = keep_asked(p->place, p->first, targets, N);
        to_card(a->tokens, p->place, asked);
        to_card(a->targets, p->first, asked);
    }
    // A model that trains has room for logits of elem. Without weights they are float: half as many rows.
    const int head_rows = m->training && !weights ? a->head_rows/2 : a->head_rows;
    for (int n = 0; n < asked; n += head_rows) {
        const int rows = imin(head_rows, asked - n), *target = a->targets + n;
        const elem *xnf = m->training ? a->xnf + (size_t)n*C : a->h;
        float *loss = a->losses + n, *zloss = a->zlosses + n;
        if (!m->training) embed_forward(a->h, a->tokens + n, a->xnf, rows, C, stream);
        if (weights) {
            elem *logits = (elem *)a->logits, *dlogits = logits;
            const int add = n > 0 || adds_to_grads(m);
            matmul_forward(logits, xnf, m->head.weight, rows, C, V, 0, stream);
            crossentropy(loss, zloss, dlogits, target, a->weights + n, c->z_loss, rows, V, stream);
            matmul_backward_input(a->dxn + (size_t)n*C, dlogits, m->head.weight, rows, C, V, stream);
            matmul_backward_weight(m->head.grad, dlogits, xnf, rows, C, V, add, stream);
        } else {
            float *logits = (float *)a->logits;
            matmul_forward(logits, xnf, m->head.weight, rows, C, V, 0, stream);
            crossentropy(loss, zloss, logits, target, (float *)NULL, c->z_loss, rows, V, stream);
        }
    }
    if (weights) {                                  // for embed_backward: found while the card computes
        places_find(p, m->count, tokens, N, V);
        a->places.distinct = p->distinct;
        to_card(a->places.place, p->place, N);
        to_card(a->places.first, p->first, p->distinct + 1);
    }
    to_host(losses, a->losses, asked);
    to_host(zlosses, a->zlosses, asked);
    CUDA(cudaStreamSynchronize(stream));
    if (!m->training) put_back(p->place, losses, zlosses, asked, N);
    a->has_dlogits = weights != NULL;
}

// As in the .c. tokens, targets, weights (or NULL), losses, zlosses: [B, T], all on the host
void olmo_forward(GpuOlmo *m, real *losses, real *zlosses, const int *tokens, const int *targets,
                  const real *weights, int B, int T) {
    const int N = B*T;
    Range range("olmo_forward");
    CHECK(m->training || !weights, "a model that was built without training has no backward pass");
    GpuActs *a = olmo_reserve(m, B, T);
    to_card(a->tokens, tokens, N);
    to_card(a->targets, targets, N);
    if (weights) to_card(a->weights, weights, N);

    blocks_forward(m, NULL, B, T, 0, 0);
    head_forward(m, losses, zlosses, tokens, targets, weights, N);
}

// As in the .c: grads += those of the last olmo_forward ("=" in the first pass after an update).
void olmo_backward(GpuOlmo *m) {
    const Config *c = &m->config;
    GpuActs *a = &m->acts;
    const int N = a->B*a->T, C = c->d_model, add = adds_to_grads(m);
    Stream stream = card.stream;
    Range range("olmo_backward");
    CHECK(a->has_dlogits, "a backward pass needs a forward pass with weights before it, one each");
    a->has_dlogits = 0;

    if (!c->tied) reduce_grads(m, 1 + c->n_layers);
    CUDA(cudaMemsetAsync(a->dx, 0, sizeof(float)*N*C, stream));
    norm_backward(a->dx, a->dx_elem, a->dxn, a->xnf, a->rstdf, N, C, stream);
    for (int l = c->n_layers - 1; l >= 0; l--) {
        await_buffer(m, 1 + l);
        block_backward(a, &a->layer[l], &m->layer[l], c, add, stream);
        reduce_grads(m, 1 + l);
    }
    if (!c->tied) await_buffer(m, 0);
    if (!add && !c->tied) CUDA(cudaMemsetAsync(m->wte.grad, 0, sizeof(float)*c->vocab*C, stream));
    embed_backward(m->wte.grad, a->dx, a->tokens, a->places, C, stream);
    reduce_grads(m, 0);
    m->grads_used = 0;
}

// ---- the model with a KV cache -----------------------------------------------------------------
// The launches of olmo_decode. The tokens and `past` are on the card already.
static void decode_launch(GpuOlmo *m, int n, int past) {
    const int C = m->config.d_model, V = m->config.vocab;
    GpuActs *a = &m->acts;
    card.pdl = n == 1 && card.hopper && CUDART_VERSION >= 12030;      // before, no graph could hold it
    blocks_forward(m, NULL, 1, n, past, 1);
    norm_forward(a->xnf, a->rstdf, a->x + (size_t)(n - 1)*C, 1, C, card.stream);
    matmul_forward((float *)a->logits, a->xnf, m->head.weight, 1, C, V, 0, card.stream);
    card.pdl = 0;
}

// As in the .c. logits: [V], tokens: [n]. All launches for one token are a CUDA graph.
void olmo_decode(GpuOlmo *m, real *logits, const int *tokens, int n, int past) {
    const Config *c = &m->config;
    if (!m->cache) m->cache = (elem *)gpu_allocate(cache_size(c), sizeof(elem), "the KV cache");
    GpuActs *a = olmo_reserve(m, 1, c->seq_len);
    await_all_weights(m);
    to_card(a->tokens, tokens, n);
    to_card(a->positions, &past, 1);
    if (n == 1 && m->tokens_decoded++ > 0) {        // from the second on: the first has loaded all kernels
        cudaGraph_t graph;
        if (!m->decode_graph) {
            CUDA(cudaStreamBeginCapture(card.stream, cudaStreamCaptureModeThreadLocal));
            decode_launch(m, 1, past);
            CUDA(cudaStreamEndCapture(card.stream, &graph));
            CUDA(cudaGraphInstantiate(&m->decode_graph, graph, 0));
            CUDA(cudaGraphDestroy(graph));
        }
        CUDA(cudaGraphLaunch(m->decode_graph, card.stream));
    } else decode_launch(m, n, past);
    to_host(logits, (float *)a->logits, c->vocab);
    CUDA(cudaStreamSynchronize(card.stream));
}

// The forward pass of many texts that begin alike, as in the .c, which draws such a tree; but the losses are
// olmo_forward's within rounding. tokens, positions, targets, losses, zlosses: [N]
void olmo_forward_tree(GpuOlmo *m, real *losses, real *zlosses, const int *tokens, const int *positions,
                       const int *targets, int N) {
    const int T = m->config.seq_len;
    check_tree(positions, N, T);
    GpuActs *a = olmo_reserve(m, ceil_div(N, T), T);           // as for whole sequences
    int *latest = (int *)allocate((size_t)T + N, sizeof(int), "a tree"), *before = latest + T;
    for (int n = 0; n < N; n++) {                   // latest[p]: the last token at position p so far
        const int p = positions[n];
        before[n] = p > 0 ? latest[p - 1] : -1;
        latest[p] = n;
    }
    to_card(a->tokens, tokens, N);
    to_card(a->targets, targets, N);
    to_card(a->positions, positions, N);
    to_card(a->before, before, N);
    blocks_forward(m, a->before, N, 1, 0, 0);
    head_forward(m, losses, zlosses, tokens, targets, NULL, N);
    release(latest);
}

// ================================================================================================
// 4. Optimizer: AdamW, gradient clipping
// ================================================================================================

// sqrt(sum of squares) of all gradients: 256 threads make each partial sum, and one block joins these.
__global__ void norm_partials_kernel(double *partial, const float *g, size_t size) {
    double squares = 0;
    for (size_t i = blockIdx.x*256 + threadIdx.x; i < size; i += NORM_PARTIALS*256)
        squares += (double)g[i]*(double)g[i];
    squares = block_sum(squares);
    if (threadIdx.x == 0) partial[blockIdx.x] += squares;
}
__global__ void norm_join_kernel(Clip *clip, const double *partial, double limit) {
    const double squares = block_sum(partial[threadIdx.x]);
    if (threadIdx.x == 0) *clip = clip_of(squares, limit);
}
static void global_norm(GpuOlmo *m, double limit, Stream stream) {
    CUDA(cudaMemsetAsync(m->norm_partial, 0, NORM_PARTIALS*sizeof(double), stream));
    for (int k = 0; k < m->segments.n; k++) {
        const Piece mine = piece_of(&m->segments, k, ranks.rank);
        const size_t count = mine.end - mine.begin;
        const float *g = grad_at(m, mine, mine.begin);
        const int blocks = (int)zmin(NORM_PARTIALS, ceil_div(count, 256));
        if (count) launch(norm_partials_kernel, blocks, 256, stream, m->norm_partial, g, count);
    }
    launch(norm_join_kernel, 1, NORM_PARTIALS, stream, m->clip, m->norm_partial, limit);
    if (ranks.world > 1) clip_by_all(m, limit);
}

typedef struct { float step_size, correction, eps, beta2, one_minus_beta1, one_minus_beta2; } AdamWFactors;

// The .c's update of one tensor, W numbers a thread. 28 bytes a number move: g, m, v and both halves of the
// weight are read, and all but g are written.
template <int W> __global__ void adamw_kernel(elem *weight, int16_t *rest, const float *g, float *m,
                                              float *v, size_t count, const Clip *clip, float decay,
                                              AdamWFactors f) {
    const size_t i = (blockIdx.x*(size_t)blockDim.x + threadIdx.x)*W;
    if (i >= count || !clip->finite) return;
    float grad[W], m_new[W], v_new[W];
    Vector<elem, W> p = *(Vector<elem, W> *)(weight + i);
    Vector<int16_t, W> low = {};
    if (rest) low = *(Vector<int16_t, W> *)(rest + i);
    load(grad, g + i);
    load(m_new, m + i);
    load(v_new, v + i);
    for (int w = 0; w < W; w++) {
        grad[w] *= clip->factor;
        m_new[w] += f.one_minus_beta1*(grad[w] - m_new[w]);
        v_new[w] = f.beta2*v_new[w] + f.one_minus_beta2*grad[w]*grad[w];
        const float step = f.step_size*m_new[w]/(sqrtf(v_new[w])/f.correction + f.eps);
        const float now = joined(p.at[w], low.at[w])*decay - step;
        p.at[w] = upper(now);
        low.at[w] = lower(now);
    }
    store(m + i, m_new);
    store(v + i, v_new);
    *(Vector<elem, W> *)(weight + i) = p;
    if (rest) *(Vector<int16_t, W> *)(rest + i) = low;
}

// Gradients that an update has used stand for zeros; whoever reads them needs the zeros themselves.
static void clear_used(GpuOlmo *m) {
    if (m->grads_used) CUDA(cudaMemsetAsync(m->grads, 0, sizeof(float)*m->grads_size, card.stream));
    m->grads_used = 0;
}

// The end of the tensors from element i on that decay if the tensor of element i does, and only then.
static size_t alike_until(const Layout *list, size_t i, int decay_embeddings, int *decaying) {
    const Tensor *t = list->tensor, *end = t + list->n;
    while (t + 1 < end && t[1].offset <= i) t++;
    *decaying = decays(t, decay_embeddings);
    while (++t < end && decays(t, decay_embeddings) == *decaying) {}
    return t < end ? t->offset : list->size;
}

// One update: the .c has the formulas. The host learns the norm when all is done.
double olmo_update(GpuOlmo *model, const AdamW *adamw) {
    const float beta2 = (float)adamw->beta2, eps = (float)adamw->eps;
    const float one_minus_beta1 = (float)(1 - adamw->beta1), one_minus_beta2 = (float)(1 - adamw->beta2);
    const float step_size = (float)(adamw->lr/(1 - pow(adamw->beta1, adamw->step)));
    const float correction = (float)sqrt(1 - pow(adamw->beta2, adamw->step));
    const AdamWFactors f = { step_size, correction, eps, beta2, one_minus_beta1, one_minus_beta2 };
    Stream stream = card.stream;
    Clip clip;
    Range range("olmo_update");
    if (ranks.world > 1) computing_waits(talking.reduced[buffer_of(model, 0)]);  // the last to be so
    clear_used(model);
    global_norm(model, adamw->clip, stream);
    for (int k = 0; k < model->segments.n; k++) {
        const Piece mine = piece_of(&model->segments, k, ranks.rank);
        for (size_t i = mine.begin, next; i < mine.end; i = next) {
            int decaying;                                   // neighbours that decay alike go together
            next = zmin(mine.end, alike_until(&model->layout, i, adamw->decay_embeddings, &decaying));
            const float decay = (float)(1 - (decaying ? adamw->lr*adamw->weight_decay : 0));
            const size_t count = next - i, own = own_at(model, mine, i);
            int16_t *rest = rest_at(model, mine, i);
            float *g = grad_at(model, mine, i), *m = model->moment1 + own, *v = model->moment2 + own;
            const int four = count % 4 == 0 && i % 4 == 0 && own % 4 == 0;
            launch(four ? adamw_kernel<4> : adamw_kernel<1>, ceil_div(count, four ? 4*256 : 256), 256, stream,
                   model->weights + i, rest, g, m, v, count, model->clip, decay, f);
        }
        gather_weights(model, k);
    }
    to_host(&clip, model->clip, 1);
    CUDA(cudaStreamSynchronize(stream));
    model->grads_used = clip.finite;
    if (ranks.world > 1) add_up_waits();
    return clip.norm;
}

// ================================================================================================
// 5. Device: how the GPU is fast, and its table of functions
// ================================================================================================

// ---- the fast product --------------------------------------------------------------------------
// cuBLASLt multiplies. A Product is all that it wants to know of one; a Plan is what it made of that.
enum { MAX_PROPOSALS = 16, PLANS = 512 };
typedef struct { int rows, cols; size_t width, stride; int transposed, align; } Storage;
typedef struct {                                    // (no gaps between numbers, so that memcmp sees them all)
    int M, N, K, batch, add;
    cudaDataType type;                              // of c
    Storage a, b, c;
} Product;

typedef struct {
    Product product;
    cublasLtMatmulDescOpaque_t how;
    cublasLtMatrixLayoutOpaque_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
} Plan;

template <class X> static const cudaDataType type_of = sizeof(X) == sizeof(float) ? CUDA_R_32F : CUDA_R_16BF;

// Of an operand of M x N numbers. align: bytes; algorithms differ in how many they load at once.
template <class X>
static Storage storage(const X *at, int M, int N, size_t width, size_t stride, int transposed) {
    const size_t bits = (uintptr_t)at | stride*sizeof(X) | 256;
    return { transposed ? N : M, transposed ? M : N, width, stride, transposed, (int)(bits & -bits) };
}

// cuBLASLt is told everything through one kind of function: what, and where its value lies.
template <class Set, class Whom, class What, class X>
static void tell(Set set, Whom whom, What what, X value) {
    BLAS(set(whom, what, &value, sizeof value));
}

// cuBLASLt counts columns first. So it sees every matrix transposed, and we ask it for c^T = b^T . a^T.
static void layout_make(cublasLtMatrixLayout_t layout, cudaDataType type, Storage s, int batch) {
    const auto set = cublasLtMatrixLayoutSetAttribute;
    BLAS(cublasLtMatrixLayoutInit(layout, type, s.cols, s.rows, (int64_t)s.width));
    tell(set, layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, (int32_t)batch);
    tell(set, layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, (int64_t)s.stride);
}

static cublasStatus_t multiply(Plan *plan, const cublasLtMatmulAlgo_t *algorithm, void *c, const elem *a,
                               const elem *b, Stream stream) {
    const float one = 1, beta = plan->product.add ? 1.0f : 0.0f;
    return cublasLtMatmul(card.blas, &plan->how, &one, b, &plan->b, a, &plan->a, &beta, c, &plan->c,
                          c, &plan->c, algorithm, card.workspace, WORKSPACE, stream);
}

// A number that depends on every bit of x, and looks random.
static DEVICE unsigned long long mixed(unsigned long long x) {
    x *= 0x9e3779b97f4a7c15u;
    return (x ^ (x >> 29))*0xbf58476d1ce4e5b9u;
}
// x[i]: in [-1, 1), and the same in every run.
__global__ void numbers_kernel(elem *x, size_t count) {
    const size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x;
    if (i < count) x[i] = (elem)((float)(mixed(i) >> 40)*0x1p-23f - 1);
}
// *hash += a number that depends on every bit of x and where it stands. (A sum of integers has no order.)
__global__ void hash_kernel(unsigned long long *hash, const unsigned short *x, size_t count) {
    unsigned long long sum = 0;
    const size_t step = (size_t)gridDim.x*blockDim.x;
    for (size_t i = blockIdx.x*(size_t)blockDim.x + threadIdx.x; i < count; i += step)
        sum += mixed(x[i] + i*65536);
    atomicAdd(hash, sum);
}

// Which of cuBLASLt's proposals is the fastest? A clock never says the same twice, and a run must give
// the same bits twice. So the clock may choose only among those whose result has the bits of the first
// proposal's. Most have: they sum in one order, and differ in their tiles. The operands are made up, because
// real ones could hide the order: a sum of zeros, or of one number, has the same bits in every order.
static int fastest(Plan *plan, const cublasLtMatmulHeuristicResult_t *proposal, int n, Stream stream) {
    const Product *p = &plan->product;
    const size_t x_size = zmax(p->a.rows*p->a.width, p->b.rows*p->b.width);
    const size_t bytes = (p->M*p->c.width*(p->type == CUDA_R_32F ? 4 : 2) + 255)/256*256;
    unsigned long long *sum = (unsigned long long *)card.workspace, hash, first = 0;    // between products
    cudaEvent_t event[2];                                   // before and after a product
    int best = -1, alike[MAX_PROPOSALS];
    float times[MAX_PROPOSALS], time;
    elem *c = NULL, *x;                                     // x: both operands
    if (cudaMalloc(&c, bytes + x_size*sizeof(elem)) != cudaSuccess) n = 0;      // no room: take the first,
    (void)cudaGetLastError();                                                   // which has the same bits
    x = c + bytes/sizeof(elem);
    if (n > 0) by_elements(numbers_kernel, x_size, stream, x);
    make_events(event, 2, cudaEventDefault);
    for (int round = 0; round < 5; round++) for (int i = 0; i < n; i++) if (round == 0 || alike[i]) {
        by_elements(numbers_kernel, bytes/sizeof(elem), stream, c);             // to which products may add
        CUDA(cudaEventRecord(event[0], stream));
        alike[i] = multiply(plan, &proposal[i].algo, c, x, x, stream) == CUBLAS_STATUS_SUCCESS;
        CUDA(cudaEventRecord(event[1], stream));
        CUDA(cudaMemsetAsync(sum, 0, sizeof *sum, stream));
        launch(hash_kernel, 1024, 256, stream, sum, (const unsigned short *)c, bytes/2);
        to_host(&hash, sum, 1);
        CUDA(cudaStreamSynchronize(stream));
        CUDA(cudaEventElapsedTime(&time, event[0], event[1]));
        times[i] = round == 0 ? time : fminf(times[i], time);
        if (alike[i] && best < 0) best = i, first = hash;
        alike[i] &= hash == first;
        if (alike[i] && times[i] < times[best]) best = i;
    }
    for (cudaEvent_t e : event) CUDA(cudaEventDestroy(e));
    gpu_release(c);
    return imax(best, 0);
}

static void plan_make(Plan *plan, const Product *p, int compare, Stream stream) {
    cublasLtMatmulHeuristicResult_t proposal[MAX_PROPOSALS];
    cublasLtMatmulPreferenceOpaque_t wish;
    const uint32_t in_order = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const auto set_how = cublasLtMatmulDescSetAttribute;
    const auto set_wish = cublasLtMatmulPreferenceSetAttribute;
    int found = 0, n = 0;
    plan->product = *p;
    BLAS(cublasLtMatmulDescInit(&plan->how, CUBLAS_COMPUTE_32F, CUDA_R_32F));       // and no TF32
    if (p->b.transposed) tell(set_how, &plan->how, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (p->a.transposed) tell(set_how, &plan->how, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_T);
    layout_make(&plan->a, type_of<elem>, p->a, p->batch);
    layout_make(&plan->b, type_of<elem>, p->b, p->batch);
    layout_make(&plan->c, p->type, p->c, p->batch);

    BLAS(cublasLtMatmulPreferenceInit(&wish));
    tell(set_wish, &wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, (uint64_t)WORKSPACE);
    tell(set_wish, &wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, in_order);
    tell(set_wish, &wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, (uint32_t)p->b.align);
    tell(set_wish, &wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, (uint32_t)p->a.align);
    tell(set_wish, &wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, (uint32_t)p->c.align);
    tell(set_wish, &wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, (uint32_t)p->c.align);
    BLAS(cublasLtMatmulAlgoGetHeuristic(card.blas, &plan->how, &plan->b, &plan->a, &plan->c, &plan->c, &wish,
                                        MAX_PROPOSALS, proposal, &found));
    for (int i = 0; i < found; i++) if (!proposal[i].state) proposal[n++] = proposal[i];     // valid ones
    CHECK(n > 0, "cuBLASLt has no algorithm for a product of %d x %d x %d", p->M, p->N, p->K);
    plan->algorithm = proposal[compare ? fastest(plan, proposal, n, stream) : 0].algo;
}

template <class X> static void gemm(X *c, size_t ldc, Operand a, Operand b, int M, int N, int K,
                                    int add, Stream stream, int batch, size_t c_stride) {
    static Plan plans[PLANS];
    static int made = 0;
    const Product p = { M, N, K, batch, add, type_of<X>,
                        storage(a.at, M, K, a.width, a.stride, a.is_transposed),
                        storage(b.at, K, N, b.width, b.stride, b.is_transposed),
                        storage(c, M, N, ldc, c_stride, 0) };
    int i = 0;
    while (i < imin(made, PLANS) && memcmp(&plans[i].product, &p, sizeof p)) i++;
    if (i == imin(made, PLANS)) {                           // a new product: the oldest plan makes room
        i = made++ % PLANS;
        plan_make(&plans[i], &p, card.compare_products && batch == 1 && (double)M*N*K > 5e9, stream);
    }
    BLAS(multiply(&plans[i], &plans[i].algorithm, c, a.at, b.at, stream));
}

// ---- the product of one row ---------------------------------------------------------------------
// Loads row[c..c+W) as stored; zeros from C on. They stay packed until they are used: unpacked, each bf16
// would take a register. A streaming load, because no weight is read twice.
enum { WIDE = sizeof(uint4)/sizeof(elem) };
template <int W> static DEVICE uint4 fetch(const elem *row, int c, int C) {
    uint4 packed = {};
    if (c < C && W > 1) packed = __ldcs((const uint4 *)(row + c));
    else if (c < C) *(elem *)&packed = row[c];
    return packed;
}

// One row times a matrix: every weight is read once, and this takes all the time. So each warp always has
// AHEAD loads of weights under way: the first before the row is there, then those of its next output, while
// it sums up this one. WARPS warps share an output: one, or four if C is large. gated: 4 to 7 have gate.
template <class X, int W, int WARPS, bool gated>
__global__ void __launch_bounds__(256, 2) matvec_kernel(X *out, const elem *inp, const elem *weight, int C,
                                                        int O, int add) {
    enum { AHEAD = 8, STEP = WARPS*32*W, OUTPUTS = 8/WARPS/(gated ? 2 : 1) };
    __shared__ float parts[2][8];                       // two, so that one barrier an output suffices
    const int warp = threadIdx.x/32, lane = threadIdx.x % 32, member = warp/WARPS;
    const int start = (warp % WARPS*32 + lane)*W, stride = gridDim.x*OUTPUTS;
    const elem *row = weight + (blockIdx.x*OUTPUTS + member % OUTPUTS + (size_t)member/OUTPUTS*O)*C;
    int next = blockIdx.x*OUTPUTS + member % OUTPUTS;   // the output whose weights are under way
    uint4 x[AHEAD], w[AHEAD];
    UNROLL for (int k = 0; k < AHEAD; k++) w[k] = fetch<W>(row, start + k*STEP, next < O ? C : 0);
    wait_for_inputs();
    UNROLL for (int k = 0; k < AHEAD; k++) x[k] = fetch<W>(inp, start + k*STEP, C);
    for (int first = blockIdx.x*OUTPUTS, turn = 0; first < O; first += stride, turn ^= 1) {
        const int o = next;
        const float before = add && o < O ? (float)out[o] : 0;
        float a[W], b[W], sum = 0, total = 0, gate = 0;
        int c = start;
        do {
            c += AHEAD*STEP;
            if (c - start >= C) c = start, next += stride, row += (size_t)stride*C;     // the next output's
            UNROLL for (int k = 0; k < AHEAD; k++) {
                load(a, (const elem *)&x[k]);
                load(b, (const elem *)&w[k]);
                for (int i = 0; i < W; i++) sum += a[i]*b[i];
                w[k] = fetch<W>(row, c + k*STEP, next < O ? C : 0);
            }
            if (C > AHEAD*STEP) UNROLL for (int k = 0; k < AHEAD; k++) x[k] = fetch<W>(inp, c + k*STEP, C);
        } while (c > start);
        float (&part)[8] = parts[turn];
        part[warp] = warp_sum(sum);
        __syncthreads();
        if (lane || warp % WARPS || member >= OUTPUTS || o >= O) continue;
        for (int k = 0; k < WARPS; k++) total += part[warp + k], gate += part[(warp + 4 + k) % 8];
        if (gated) total *= gate/(1 + exponential(-gate));
        out[o] = (X)(total + before);
    }
}
template <bool gated, class X>
static void matvec(X *out, const elem *inp, const elem *weight, int C, int O, int add, Stream stream) {
    const int aligned = (uintptr_t)weight % sizeof(uint4) == 0;                // behind odd sizes it is not
    const int wide = C % WIDE == 0 && aligned, warps = wide && C > 4096 ? 4 : 1;
    const auto one = wide ? matvec_kernel<X, WIDE, 1, gated> : matvec_kernel<X, 1, 1, gated>;
    const int blocks = imin(ceil_div(O, 8/warps/(gated ? 2 : 1)), 2*card.props.multiProcessorCount);
    launch(warps == 4 ? matvec_kernel<X, WIDE, 4, gated> : one, blocks, 256, stream,
           out, inp, weight, C, O, add);
}

// ---- attention of one query ---------------------------------------------------------------------
// In generation, one query per head meets all keys of the cache, a block for each split of them (split-KV,
// as in Flash-Decoding). A block leaves m_i, the maximum of its scores s; l_i, the sum of e^(s - m_i); and
// o_i, that of e^(s - m_i) v. Then, with m the maximum of all m_i:
//     att = sum_i e^(m_i - m) o_i / sum_i e^(m_i - m) l_i
// q: [H*D], kv: [n] rows, width apart; partial: [H, splits, 2 + D]

// Asks for `bytes`, a multiple of 16: a load that comes later finds them in the L2 cache.
static DEVICE void prefetch(const void *from, unsigned bytes) {
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" :: "l"(from), "r"(bytes));
#endif
}

template <int W>
__global__ void __launch_bounds__(SPLIT_THREADS, 4)
attention_split_kernel(float *partial, const elem *q, const elem *kv, int width, const int *past, int group,
                       int G, int D, float scale) {
    enum { LANES = SPLIT_THREADS/SPLIT };               // threads that share a key's product
    __shared__ float score[SPLIT];
    const int h = blockIdx.x, first = blockIdx.y*SPLIT, count = min(SPLIT, *past + 1 - first);
    const int key = threadIdx.x/LANES, lane = threadIdx.x % LANES;
    const elem *k = kv + (size_t)first*width + h/group*D, *v = k + G*D;
    float x[W], y[W], dot = 0, o;
    if (count <= 0) return;                             // a grid for the longest sequence; block y = 0 waits
    if (W > 1 && threadIdx.x < 2*SPLIT && threadIdx.x % SPLIT < count)      // all but the newest are there
        prefetch((threadIdx.x < SPLIT ? k : v) + threadIdx.x % SPLIT*width, D*sizeof(elem));
    wait_for_inputs();
    // The last split's missing keys are its last key, once more: loads without conditions go out together.
    #pragma unroll 4
    for (int d = lane*W; d < D; d += LANES*W) {
        load(x, q + h*D + d);
        load(y, k + min(key, count - 1)*width + d);
        for (int w = 0; w < W; w++) dot += x[w]*y[w];
    }
    dot = warp_sum<LANES>(dot);
    if (lane == 0) score[key] = key < count ? scale*dot : -INFINITY;
    __syncthreads();
    const float mine = score[threadIdx.x % SPLIT], most = warp_max(mine), p = exponential(mine, most);
    const float sum = warp_sum(p);
    float *out = partial + ((size_t)h*gridDim.y + blockIdx.y)*(2 + D);
    if (threadIdx.x == 0) out[0] = most, out[1] = sum;
    for (int d = threadIdx.x; d < (D + 31)/32*32; d += SPLIT_THREADS) {     // whole warps, to exchange p
        o = 0;
        elem value[SPLIT];
        UNROLL for (int j = 0; j < SPLIT; j++) value[j] = v[min(j, count - 1)*width + min(d, D - 1)];
        UNROLL for (int j = 0; j < SPLIT; j++) o += __shfl_sync(~0u, p, j)*(float)value[j];
        if (d < D) out[2 + d] = o;
    }
}

__global__ void attention_combine_kernel(elem *att, const float *partial, const int *past, int longest,
                                         int D) {
    enum { AHEAD = 16 };                                // loads under way together
    wait_for_inputs();
    const float *in = partial + (size_t)blockIdx.x*longest*(2 + D);
    const int splits = *past/SPLIT + 1;
    for (int d = threadIdx.x; d < D; d += blockDim.x) {
        float most = -INFINITY, sum = 0, o = 0;
        for (int i = 0; i < splits; i += AHEAD) {
            float m[AHEAD], s[AHEAD], v[AHEAD], now = most;
            UNROLL for (int k = 0; k < AHEAD; k++) {
                const float *at = in + (size_t)min(i + k, splits - 1)*(2 + D);
                m[k] = i + k < splits ? at[0] : -INFINITY, s[k] = at[1], v[k] = at[2 + d];
                now = fmaxf(now, m[k]);
            }
            const float shrink = exponential(most, now);    // of the sums so far, under the new maximum
            sum *= shrink, o *= shrink, most = now;
            UNROLL for (int k = 0; k < AHEAD; k++) {
                const float share = exponential(m[k], most);
                sum += share*s[k], o += share*v[k];
            }
        }
        att[(size_t)blockIdx.x*D + d] = (elem)(o/sum);
    }
}

// *past + 1 keys, of at most `longest`. The number is the card's, so that one CUDA graph serves them all.
static void attention_forward_one(elem *att, void *work, const elem *q, const elem *kv, int width,
                                  const int *past, int longest, int H, int G, int D, Stream stream) {
    const int splits = ceil_div(longest, SPLIT);
    const auto kernel = D % 8 ? attention_split_kernel<1> : attention_split_kernel<8>;
    float *partial = (float *)work, scale = 1/sqrtf((float)D);
    launch(kernel, dim3(H, splits), SPLIT_THREADS, stream, partial, q, kv, width, past, H/G, G, D, scale);
    launch(attention_combine_kernel, H, threads_for(D), stream, att, partial, past, splits, D);
}

// ---- attention in a tree ------------------------------------------------------------------------
// In a tree of texts a token sees itself, the token before it, the one before that, and so on, until
// before[j] is -1. A warp goes this way for two heads, each by LANES threads, a thread for W channels of
// att; when a score exceeds all so far, the sums shrink (online softmax, arXiv 1805.02867). Eight neighbours
// are a block: nearly all that they see is the same, and in its cache.
//     att: [N, H*D], qkv: [N, Q], before: [N]
enum { LANES = 16, NEIGHBOURS = 8 };

template <int W>
__global__ void attention_tree_kernel(elem *att, const elem *qkv, const int *before, int N, int H, int G,
                                      int D, float scale) {
    const int n = blockIdx.x*NEIGHBOURS + threadIdx.x/32;
    const int h = min(H - 1, (int)(2*blockIdx.y + threadIdx.x/LANES % 2));
    const int lane = threadIdx.x % LANES, own = (blockIdx.z*LANES + lane)*W, Q = (H + 2*G)*D;
    if (n >= N) return;
    const elem *q = qkv + (size_t)n*Q + h*D, *keys = qkv + (H + h/(H/G))*D;
    float most = -INFINITY, sum = 0, x[W] = {}, k[W], v[W] = {}, o[W] = {};
    if (own < D) load(x, q + own);
    for (int j = n, next; j >= 0; j = next) {
        const elem *key = keys + (size_t)j*Q;
        float dot = 0;
        next = before[j];                               // what is loaded here arrives during the product
        if (own < D) load(v, key + G*D + own);
        if (W > 1 && own < D) {                         // a wide head: x is all that this thread needs of q
            load(k, key + own);
            for (int w = 0; w < W; w++) dot += x[w]*k[w];
        }
        for (int d = lane; W == 1 && d < D; d += LANES) dot += (float)q[d]*(float)key[d];
        const float score = scale*warp_sum<LANES>(dot), now = fmaxf(most, score);
        const float shrink = exponential(most, now), p = exponential(score, now);
        for (int w = 0; w < W; w++) o[w] = o[w]*shrink + p*v[w];
        sum = sum*shrink + p;
        most = now;
    }
    for (int w = 0; w < W; w++) o[w] /= sum;
    if (own < D) store(att + ((size_t)n*H + h)*D + own, o);
}
static void attention_forward_tree(elem *att, const elem *qkv, const int *before, int N, int H, int G,
                                   int D, Stream stream) {
    const int wide = D % 8 == 0 && D <= 8*LANES;
    const dim3 blocks(ceil_div(N, NEIGHBOURS), ceil_div(H, 2), wide ? 1 : ceil_div(D, LANES));
    launch(wide ? attention_tree_kernel<8> : attention_tree_kernel<1>, blocks, 32*NEIGHBOURS, stream,
           att, qkv, before, N, H, G, D, 1/sqrtf((float)D));
}

// ---- causal attention on Hopper ----------------------------------------------------------------
// The same again, for bf16 and head sizes 64 and 128, after FlashAttention-2 and -3 (arXiv 2307.08691,
// 2407.08608; that o is rescaled only if the maximum moved far is version 4's), for what Hopper adds:
//     wgmma      a warpgroup (4 warps) multiplies 64 rows by a tile in shared memory; its threads go on
//     TMA        one thread asks for a tile, which lands in shared memory by itself
//     mbarrier   counts arrivals and bytes; whoever needs them waits for the end of a phase
// In every thread block warpgroup 0 feeds TMA and the others compute.
//
// A tile in shared memory is cut into panels of 64 columns. A panel's row is 128 bytes, and its eight
// pieces of 16 bytes are swizzled: piece i of row r lies at i ^ (r % 8), so that neither the pieces of
// a row nor those of a column meet in one memory bank.
//
// What the larger ideas gave at B=8 H=16 T=2048 D=128, each beside the one before, forward:
//     +20%  one thread block per multiprocessor, which takes its next queries from a counter, has them
//           loaded while it finishes the previous ones, and writes by TMA; heads in groups
//     + 6%  ex2.approx in place of exp2f       + 3%  o rescaled only when the maximum has moved far
//     +11%  at D = 64, T = 1024: blocks of queries counted from the last one
// and backward, where two kernels with 7 products came first:
//     -20%  one kernel and 5 products; dq summed in turns; the next S runs under dq and dk
//     +28%  the proxy fence limited to shared::cta (without it, it waits for the whole GPU, every tile)
//     +35%  rotary factors in one batch of loads; dk and dv through shared memory; two buffers for dq
//     + 5%  dk's product runs while the warpgroups exchange dS; lse is read a tile ahead
// Of no use, so left out: ping-pong of the warpgroups by barriers; dS stored transposed; a part of the
// exponentials as polynomials; a persistent backward kernel. A loss of 4%: exponentials that stay before the
// wait for o, behind which the compiler puts them.
// The speed of all together, beside cuDNN's: dev/bench/README.md. compute-sanitizer: dev/races.cu.
#ifndef CUDA_ON_CPU
namespace hopper {
#define MAP const __grid_constant__ CUtensorMap         // see tile_map
#define PTX(...) asm volatile(__VA_ARGS__ : "memory")
typedef uint64_t Barrier;
enum { WARPGROUP = 128, KEY_TILE = 128 };               // threads; keys a tile
enum { PANEL = 64, ROW = 2*PANEL };                     // columns; bytes of a panel's row

// -- barriers and copies
DEVICE uint32_t shared(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

DEVICE void bar_init(Barrier *b, int arrivals) {
    PTX("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(shared(b)), "r"(arrivals));
}
DEVICE void bar_arrive(Barrier *b) { PTX("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(shared(b))); }
DEVICE void bar_expect(Barrier *b, int bytes) {         // arrives; the phase waits for the bytes as well
    PTX("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(shared(b)), "r"(bytes));
}
DEVICE void bar_wait(Barrier *b, int phase) {           // until the phase of this parity has ended
    PTX("{\n.reg .pred P;\nW: mbarrier.try_wait.parity.shared::cta.b64 P, [%0], %1;\n@!P bra W;\n}"
        :: "r"(shared(b)), "r"(phase));
}
DEVICE void group_sync(int id, int threads) { PTX("bar.sync %0, %1;" :: "r"(id), "r"(threads)); }

// What this thread wrote to shared memory becomes visible to wgmma and to TMA.
DEVICE void fence_async(void) { PTX("fence.proxy.async.shared::cta;" ::); }

// Tiles of a [B, T, columns] tensor (see tile_map). Rows outside of it are read as zeros, and those past T
// are not written. (To store a tile before row 0 is an illegal instruction.)
DEVICE void tile_load(void *tile, const CUtensorMap *from, Barrier *full, int b, int row, int col) {
    PTX("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        " [%0], [%1, {0, %3, %4, %5}], [%2];"
        :: "r"(shared(tile)), "l"(from), "r"(shared(full)), "r"(row), "r"(col/PANEL), "r"(b));
}
DEVICE void tile_store(const CUtensorMap *to, const void *tile, int b, int row, int col) {
    PTX("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {0, %2, %3, %4}], [%1];"
        :: "l"(to), "r"(shared(tile)), "r"(row), "r"(col/PANEL), "r"(b));
}
// The same for bytes in a row, a multiple of 16.
DEVICE void bulk_load(void *to, const void *from, int bytes, Barrier *full) {
    PTX("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
        :: "r"(shared(to)), "l"(from), "r"(bytes), "r"(shared(full)));
}
DEVICE void bulk_store(void *to, const void *from, int bytes) {
    PTX("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;"
        :: "l"(to), "r"(shared(from)), "r"(bytes));
}
DEVICE void bulk_add(float4 *to, const float4 *from, int bytes) {
    PTX("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;"
        :: "l"(to), "r"(shared(from)), "r"(bytes));
}
// This thread's stores: they may start; they have left shared memory; they have arrived.
DEVICE void stores_start(void) { PTX("cp.async.bulk.commit_group;" ::); }
DEVICE void stores_left(void) { PTX("cp.async.bulk.wait_group.read 0;" ::); }
DEVICE void stores_arrived(void) { PTX("cp.async.bulk.wait_group 0;" ::); }

// Turns between thread blocks, by a number in global memory.
DEVICE void turn_wait(const int *turn, int mine) {
    int now;
    do PTX("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(now) : "l"(turn));
    while (now != mine);
    PTX("fence.proxy.async.global;" ::);
}
DEVICE void turn_pass(int *turn, int next) {
    PTX("fence.proxy.async.global;" ::);
    PTX("st.release.gpu.global.b32 [%0], %1;" :: "l"(turn), "r"(next));
}

// N buffers in turn: the n-th tile takes buffer n%N, in phase n/N%2 of its two barriers. `full` says that
// it has landed, `empty` that all warps have left it, so that the next may come.
template <int N> struct Ring {
    Barrier full[N], empty[N];

    DEVICE void init(int leaving) {
        for (int i = 0; i < N; i++) bar_init(&full[i], 1), bar_init(&empty[i], leaving);
    }
    DEVICE Barrier *fill(uint32_t n, int bytes) {    // these bytes will come: to this barrier
        bar_wait(&empty[n%N], n/N%2 ^ 1);
        bar_expect(&full[n%N], bytes);
        return &full[n%N];
    }
    DEVICE void wait(int n) { bar_wait(&full[n%N], n/N%2); }
    DEVICE void leave(int n) { if (threadIdx.x%32 == 0) bar_arrive(&empty[n%N]); }
};

// -- products of one warpgroup: d (64 x N, in registers) = or += A (64 x 16) B (16 x N)
// Each warp holds 16 rows of d, and a thread two of them, r = lane/4 and r + 8. Packed to bf16, d has just
// the layout in which A is taken from registers. mma_abt etc. leave a group of products in flight.
DEVICE int row_of(int j) { return (j & 2)*4; }          // element d[j] is in row r + row_of(j),
DEVICE int col_of(int j) { return j/4*8 + threadIdx.x%4*2 + (j & 1); }          // and in this column

DEVICE void mma_begin(void) { PTX("wgmma.fence.sync.aligned;" ::); }
DEVICE void mma_end(void) { PTX("wgmma.commit_group.sync.aligned;" ::); }
// Waits until only N groups are in flight; the empty asm keeps the compiler from reading d earlier.
template <int N, int R> DEVICE void mma_wait(float (&d)[R]) {
    PTX("wgmma.wait_group.sync.aligned %0;" :: "n"(N));
    UNROLL for (int i = 0; i < R; i++) PTX("" : "+f"(d[i]) :);
}
#define NAMES16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES32 NAMES16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES48 NAMES32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define NAMES64 NAMES48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGS4(io, i) io(d[i]), io(d[i + 1]), io(d[i + 2]), io(d[i + 3])
#define REGS16(io, i) REGS4(io, i), REGS4(io, i + 4), REGS4(io, i + 8), REGS4(io, i + 12)
#define LIST16(io) REGS16(io, 0)
#define LIST32(io) LIST16(io), REGS16(io, 16)
#define LIST64(io) LIST32(io), REGS16(io, 32), REGS16(io, 48)
#define WGMMA(R, N) "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" NAMES##R "}, "
// mma: A and B in shared memory; `transposed`: both have the 16 along their rows.
// mma_reg: A in registers, and B transposed. (The numbers in quotes are the operands after d's.)
#define MMA(R, N, A, B, C, D, E) \
    template <int add, int transposed> DEVICE void mma(float (&d)[R], uint64_t a, uint64_t b) { \
        if (add) asm volatile(WGMMA(R, N) "%" A ", %" B ", 1, 1, 1, %" C ", %" C ";" \
                              : LIST##R("+f") : "l"(a), "l"(b), "n"(transposed)); \
        else asm volatile(WGMMA(R, N) "%" A ", %" B ", 0, 1, 1, %" C ", %" C ";" \
                          : LIST##R("=f") : "l"(a), "l"(b), "n"(transposed)); \
    } \
    DEVICE void mma_reg(float (&d)[R], const uint32_t *a, uint64_t b) { \
        asm volatile(WGMMA(R, N) "{%" A ", %" B ", %" C ", %" D "}, %" E ", 1, 1, 1, 1;" \
                     : LIST##R("+f") : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)); \
    }
MMA(16, 32, "16", "17", "18", "19", "20")
MMA(32, 64, "32", "33", "34", "35", "36")
MMA(64, 128, "64", "65", "66", "67", "68")

// How wgmma finds a swizzled tile: its address, and how far its panels are apart where several of them
// are columns of B; 8 rows are a unit of the swizzle. (PTX ISA, "Matrix Descriptor Format")
DEVICE uint64_t descriptor(const char *tile, int panel) {
    const uint64_t address = (shared(tile) & 0x3FFFF) >> 4, eight_rows = 8*ROW >> 4, swizzle128 = 1;
    return address | (uint64_t)(panel >> 4) << 16 | eight_rows << 32 | swizzle128 << 62;
}
// d = A B^T over D columns: 64 rows at a, N rows at b, in tiles of a_rows and b_rows rows
template <int D, int R>
DEVICE void mma_abt(float (&d)[R], const char *a, int a_rows, const char *b, int b_rows) {
    const uint64_t da = descriptor(a, 0), db = descriptor(b, 0);
    mma_begin();
    mma<0, 0>(d, da, db);
    UNROLL for (int k = 1; k < D/16; k++)
        mma<1, 0>(d, da + (k/4*a_rows*ROW + k%4*32)/16, db + (k/4*b_rows*ROW + k%4*32)/16);
    mma_end();
}
// d = A^T B over KEY_TILE rows: 64 columns at a, N columns of one panel at b
template <int R> DEVICE void mma_atb(float (&d)[R], const char *a, const char *b) {
    const uint64_t da = descriptor(a, 0), db = descriptor(b, 0);
    mma_begin();
    mma<0, 1>(d, da, db);
    UNROLL for (int k = 1; k < KEY_TILE/16; k++) mma<1, 1>(d, da + k*16*ROW/16, db + k*16*ROW/16);
    mma_end();
}
// d += P B: P is 64 x 16K in registers; 16K rows of N columns at b, in a tile of b_rows rows
template <int K, int R>
DEVICE void mma_pb(float (&d)[R], const uint32_t (&p)[4*K], const char *b, int b_rows) {
    const uint64_t db = descriptor(b, b_rows*ROW);
    mma_begin();
    UNROLL for (int k = 0; k < K; k++) mma_reg(d, p + 4*k, db + k*16*ROW/16);
    mma_end();
}

// -- small things
// The loading warpgroup gives registers to the computing ones. (Asking for more than it gave hangs.)
template <int N> DEVICE void registers_down(void) { PTX("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(N)); }
template <int N> DEVICE void registers_up(void) { PTX("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(N)); }

DEVICE int warp_uniform(int x) { return __shfl_sync(~0u, x, 0); }  // tells the compiler: one value a warp

DEVICE uint32_t pack2(float a, float b) {
    __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    return *(uint32_t *)&v;
}
// A warp writes 16 x 16 packed numbers to a panel: 16 rows from `row`, the pieces `piece`, piece + 1.
DEVICE void store_block(char *panel, int row, int piece, const uint32_t *p) {
    row += threadIdx.x%16, piece += threadIdx.x%32/16;
    PTX("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
        :: "r"(shared(panel) + row*ROW + (piece ^ row%8)*16), "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]));
}
// A warp writes its rows r and r + 8 of d, times scale[0] and scale[1], as bf16 to a tile of `rows` rows.
template <int R>
DEVICE void store_rows(char *tile, int rows, int row, const float (&d)[R], const float (&scale)[2]) {
    UNROLL for (int j = 0; j < R; j += 8) {
        uint32_t p[4];
        UNROLL for (int i = 0; i < 4; i++) p[i] = pack2(d[j + 2*i]*scale[i%2], d[j + 2*i + 1]*scale[i%2]);
        store_block(tile + j/32*rows*ROW, row, j/4%8, p);
    }
}

struct Sizes { int B, T, H, G; };
struct Work { int b, head, block; };

// The work behind a ticket. Heads come in groups whose keys and values fill about 16 MB, so that they
// stay in the L2 cache (groups of one head cost 6%, of four times as many heads 16%). In a group the
// longest blocks of all heads come first, so that short ones fill the end.
template <int D> DEVICE Work work_of(int ticket, int B, int heads, int blocks, int T) {
    const int group = max(1, (1 << 22)/(T*D)), first = ticket/(group*blocks)*group;
    const int size = min(group, B*heads - first), rest = ticket - first*blocks, head = first + rest%size;
    return {head/heads, head%heads, rest/size};
}

// -- forward
// A thread block takes 64 queries for each computing warpgroup, and walks over their keys from the
// diagonal to the left. Its blocks of queries are counted from the last one back: so the block that is
// not full has few keys. KS, VS: tiles of keys and of values, at D = 128 as many as fit.
template <int D> struct Forward {
    enum { GROUPS = D == 64 ? 3 : 2, QUERY_TILE = 64*GROUPS, THREADS = WARPGROUP*(1 + GROUPS) };
    enum { KS = D == 64 ? 4 : 3, VS = D == 64 ? 4 : 2 };
    char q[2][QUERY_TILE*D*2], k[KS][KEY_TILE*D*2], v[VS][KEY_TILE*D*2];
    Ring<2> of_q;
    Ring<KS> of_k;
    Ring<VS> of_v;
    int ticket[2];
};

// One tile of S becomes P, in place, in this thread's two rows; m: their maximum so far, l: their sum. If
// m moves, what was summed before must shrink. But m has only to be near the maximum: it stays, until P
// could exceed 2^8. c: e^(scale x) = 2^(c x).
DEVICE bool softmax(float (&s)[KEY_TILE/2], float (&m)[2], float (&l)[2], float (&shrink)[2], float c) {
    float most[2] = {m[0], m[1]};
    UNROLL for (int j = 0; j < KEY_TILE/2; j++) most[j/2%2] = fmaxf(most[j/2%2], s[j]);
    UNROLL for (int r = 0; r < 2; r++) most[r] = warp_max<4>(most[r]);
    const bool move = __any_sync(~0u, (most[0] - m[0])*c > 8 || (most[1] - m[1])*c > 8);
    if (move) UNROLL for (int r = 0; r < 2; r++) {
        shrink[r] = ex2((m[r] - most[r])*c);
        m[r] = most[r], l[r] *= shrink[r];
    }
    const float shift[2] = {m[0]*c, m[1]*c};
    UNROLL for (int j = 0; j < KEY_TILE/2; j += 2) {
        s[j] = ex2(s[j]*c - shift[j/2%2]), s[j + 1] = ex2(s[j + 1]*c - shift[j/2%2]);
        l[j/2%2] += s[j] + s[j + 1];
    }
    return move;
}

// One thread loads, and runs ahead: queries by their tickets, and keys and values as soon as there is room.
template <int D> DEVICE void load_tiles(Forward<D> &s, int *tickets, const CUtensorMap *queries,
                                        const CUtensorMap *keys, const Sizes &a, int blocks, int end) {
    typedef Forward<D> F;
    #pragma unroll 1
    for (int n = 0, kv = 0;; n++) {                         // n counts blocks of queries, kv tiles of keys
        const int ticket = atomicAdd(tickets, 1);
        bar_wait(&s.of_q.empty[n%2], n/2%2 ^ 1);
        s.ticket[n%2] = ticket;
        if (ticket >= blocks*a.B*a.H) { bar_arrive(&s.of_q.full[n%2]); return; }
        const Work x = work_of<D>(ticket, a.B, a.H, blocks, a.T);
        const int first = end - (x.block + 1)*F::QUERY_TILE;
        const int k_col = x.head/(a.H/a.G)*D, v_col = k_col + a.G*D;
        bar_expect(&s.of_q.full[n%2], sizeof s.q[0]);
        tile_load(s.q[n%2], queries, &s.of_q.full[n%2], x.b, first, x.head*D);
        #pragma unroll 1
        for (int i = (first + F::QUERY_TILE - 1)/KEY_TILE; i >= 0; i--, kv++) {
            tile_load(s.k[kv%F::KS], keys, s.of_k.fill(kv, sizeof s.k[0]), x.b, i*KEY_TILE, k_col);
            tile_load(s.v[kv%F::VS], keys, s.of_v.fill(kv, sizeof s.v[0]), x.b, i*KEY_TILE, v_col);
        }
    }
}

template <int D> __global__ void __launch_bounds__(Forward<D>::THREADS, 1)
attention_forward_kernel(float *lse, int *tickets, MAP att, MAP queries, MAP keys, Sizes a, float scale) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    typedef Forward<D> F;
    extern __shared__ __align__(1024) char raw[];
    F &s = *(F *)raw;
    const int wg = warp_uniform(threadIdx.x/WARPGROUP), T = a.T, H = a.H, end = (T + 63)/64*64;
    const int blocks = (end + F::QUERY_TILE - 1)/F::QUERY_TILE, total = blocks*a.B*H;
    if (threadIdx.x == 0) s.of_q.init(F::GROUPS), s.of_k.init(4*F::GROUPS), s.of_v.init(4*F::GROUPS);
    fence_async();
    __syncthreads();

    if (wg == 0) {
        registers_down<24>();
        if (threadIdx.x == 0) load_tiles(s, tickets, &queries, &keys, a, blocks, end);
        return;
    }

    registers_up<F::GROUPS == 3 ? 160 : 240>();
    const int w = wg - 1, t = threadIdx.x%WARPGROUP, lane = t%32, warp_row = t/32*16;
    float o[D/2], sc[KEY_TILE/2];
    uint32_t p[KEY_TILE/4];
    for (int n = 0, kv = 0;; n++) {
        char *q = s.q[n%2] + w*64*ROW;                  // the 64 queries of this warpgroup
        s.of_q.wait(n);
        const int ticket = s.ticket[n%2];
        if (ticket >= total) break;
        const Work x = work_of<D>(ticket, a.B, H, blocks, T);
        const int last = end - x.block*F::QUERY_TILE - 1, first = last + 1 - F::QUERY_TILE + w*64;
        const int row = first + warp_row + lane/4, diagonal = max(first, 0)/KEY_TILE;
        int i = last/KEY_TILE;
        for (; i > diagonal; i--, kv++) {               // keys that only later warpgroups see
            s.of_k.wait(kv), s.of_k.leave(kv);
            s.of_v.wait(kv), s.of_v.leave(kv);
        }
        float m[2] = {-INFINITY, -INFINITY}, l[2] = {0, 0}, shrink[2];  // of rows r and r + 8
        UNROLL for (int j = 0; j < D/2; j++) o[j] = 0;
        for (; i >= 0; i--, kv++) {
            s.of_k.wait(kv);                            // S = q k^T, in flight ...
            mma_abt<D>(sc, q, F::QUERY_TILE, s.k[kv%F::KS], KEY_TILE);
            if (i < diagonal) {                         // ... with o += P v of the previous tile
                s.of_v.wait(kv - 1);
                mma_pb<KEY_TILE/16>(o, p, s.v[(kv - 1)%F::VS], KEY_TILE);
                mma_wait<1>(sc);
            } else {
                if (n > 0 && t == 0) {                  // the previous output has left its queries' place
                    stores_left();
                    bar_arrive(&s.of_q.empty[(n - 1)%2]);
                }
                mma_wait<0>(sc);
                UNROLL for (int j = 0; j < KEY_TILE/2; j++)
                    if (i*KEY_TILE + col_of(j) > row + row_of(j)) sc[j] = -INFINITY;
            }
            s.of_k.leave(kv);
            const bool move = softmax(sc, m, l, shrink, scale*LOG2E);
            mma_wait<0>(o);
            if (i < diagonal) s.of_v.leave(kv - 1);
            UNROLL for (int j = 0; j < KEY_TILE/4; j++) p[j] = pack2(sc[2*j], sc[2*j + 1]);
            if (move) UNROLL for (int j = 0; j < D/2; j++) o[j] *= shrink[j/2%2];
        }
        s.of_v.wait(kv - 1);
        mma_pb<KEY_TILE/16>(o, p, s.v[(kv - 1)%F::VS], KEY_TILE);
        UNROLL for (int r = 0; r < 2; r++) {
            for (int other = 1; other < 4; other *= 2) l[r] += __shfl_xor_sync(~0u, l[r], other);
            const int query = row + 8*r;
            if (lane%4 == 0 && query >= 0 && query < T)
                lse[((size_t)x.b*H + x.head)*T + query] = m[r]*scale + logf(l[r]);
            l[r] = 1/l[r];
        }
        group_sync(1 + w, WARPGROUP);                   // all four warps are done with q:
        mma_wait<0>(o);
        s.of_v.leave(kv - 1);
        store_rows(q, F::QUERY_TILE, warp_row, o, l);   // the output takes its place, and leaves
        fence_async();
        group_sync(1 + w, WARPGROUP);
        if (t > 0 || first < 0) continue;
        for (int j = 0; j < D/PANEL; j++)
            tile_store(&att, q + j*F::QUERY_TILE*ROW, x.b, first, x.head*D + j*PANEL);
        stores_start();
    }
    if (t == 0) stores_left();
#endif
}

// -- backward
// With P = exp(S - lse) again, dP = datt v^T and dots_i = datt_i . att_i:
//     dS_ij = P_ij (dP_ij - dots_i),   dq = dS k / sqrt(D),   dk = dS^T q / sqrt(D),   dv = P^T datt
//
// First the dots, and lse in base 2, of [B, H, T rounded up to whole blocks of keys]. Rows past T get
// +inf for lse, which makes their P zero. Tickets and turns are set to zero. D/8 threads share a row.
template <int D>
__global__ void attention_rows_kernel(float *dots, float *lse2, int *turns, int *tickets,
                                      const elem *datt, const elem *att, const float *lse, Sizes a) {
    const int rows = (a.T + KEY_TILE - 1)/KEY_TILE*KEY_TILE, i = blockIdx.x*blockDim.x + threadIdx.x;
    const int row = i/(D/8), lane = i%(D/8), t = row%rows, head = row/rows;
    float x[8] = {}, y[8] = {}, dot = 0;
    if (i == 0) *tickets = 0;
    if (row >= a.B*a.H*rows) return;
    if (t < a.T) {
        const size_t at = (((size_t)head/a.H*a.T + t)*a.H + head%a.H)*D + lane*8;
        load(x, att + at);
        load(y, datt + at);
    }
    for (int w = 0; w < 8; w++) dot += x[w]*y[w];
    dot = warp_sum<D/8>(dot);
    if (lane > 0) return;
    dots[row] = dot;
    lse2[row] = t < a.T ? lse[(size_t)head*a.T + t]*LOG2E : INFINITY;
    if (row%64 == 0) turns[row/64] = 0;
}

// Gradients rotate back by their position's angles: two numbers at a; at b their partners, half a head on.
DEVICE void rotate_back(float *a, float *b, float2 cosine, float2 sine) {
    const float x = a[0]*cosine.x + b[0]*sine.x, y = a[1]*cosine.y + b[1]*sine.y;
    b[0] = b[0]*cosine.x - a[0]*sine.x, b[1] = b[1]*cosine.y - a[1]*sine.y;
    a[0] = x, a[1] = y;
}

// A thread block takes 128 keys of one key head, 64 for each warpgroup, and walks over the queries of
// its heads in tiles of 64, the last tile first. Five products a tile, some transposed, so that P and dS
// are left in registers just as operands must lie:
//     S^T = k q^T,   dP^T = v datt^T,   dv += P^T datt,   dk += dS^T q,
//     dq = dS k      for which dS passes through shared memory; each warpgroup makes half of the columns
//
// dq is summed over blocks of keys, which other thread blocks hold. They take turns: block n adds its
// tile to `sums` when the tile's turn says n, so the sum has one order. The diagonal block is the last:
// it takes the sum, turns it back and writes dq. A thread block waits only for holders of older tickets,
// and these are at work already: so the turns come, in whatever order the GPU starts its blocks. And as
// all begin with the last queries, they mostly have come when they are wanted.
template <int D> struct Backward {
    enum { THREADS = 3*WARPGROUP, TILE_BYTES = 64*D*2 };
    typedef float4 Sums[2][D/16][WARPGROUP];                // of each warpgroup, thread t's numbers
    char k[2*TILE_BYTES], v[2*TILE_BYTES], tile[4][TILE_BYTES];  // tile: of q and datt in turn
    char ds[2][KEY_TILE*ROW];
    Sums dq[2];
    float number[4][64];                                    // lse beside q, dots beside datt
    Ring<4> of_tile;
    Barrier full_kv, ready_dq[2], full_dq[2];               // ready: to be filled
    int ticket;
};

// dq of a diagonal tile is complete. Its columns j and j + D/2, a pair that turns together, are in both
// warpgroups: each turns half of the pairs back and leaves them as bf16, in the same place.
template <int D> DEVICE void finish_dq(typename Backward<D>::Sums &sums, const float *table, int query,
                                       int T, int w, float scale) {
    const int t = threadIdx.x%WARPGROUP, lane = t%32, warp_row = t/32*16, col = w*D/4;
    float2 cosine[2][D/32], sine[2][D/32];
    uint32_t lower[D/16], upper[D/16];
    UNROLL for (int r = 0; r < 2; r++) UNROLL for (int j = 0; j < D/32; j++) {
        const int at = min(query + warp_row + lane/4 + 8*r, T - 1)*D + col + 8*j + lane%4*2;
        cosine[r][j] = *(float2 *)(table + at), sine[r][j] = *(float2 *)(table + at + D/2);
    }
    group_sync(1, 2*WARPGROUP);                             // both halves are there
    UNROLL for (int j = 0; j < D/32; j++) {
        float4 a = sums[0][col/8 + j][t], b = sums[1][col/8 + j][t];
        rotate_back(&a.x, &b.x, cosine[0][j], sine[0][j]);
        rotate_back(&a.z, &b.z, cosine[1][j], sine[1][j]);
        lower[2*j] = pack2(a.x*scale, a.y*scale), lower[2*j + 1] = pack2(a.z*scale, a.w*scale);
        upper[2*j] = pack2(b.x*scale, b.y*scale), upper[2*j + 1] = pack2(b.z*scale, b.w*scale);
    }
    group_sync(1, 2*WARPGROUP);                             // both have read them
    char *low = (char *)sums, *up = D == 128 ? low + 64*ROW : low;
    UNROLL for (int j = 0; j < D/32; j += 2) {
        store_block(low, warp_row, col/8 + j, lower + 2*j);
        store_block(up, warp_row, (col + D/2)%PANEL/8 + j, upper + 2*j);
    }
}

// What a thread block has to do: one block of keys of key head g, with all queries that see it. They are of
// `share` heads from `head` on, in the tiles from `first` on.
struct Task { int H, G, b, block, g, head, share, first, tiles; };

// One thread loads the keys and values, and then queries and datt, tile by tile, as soon as there is room.
template <int D>
DEVICE void load_tiles(Backward<D> &s, const Task &x, const CUtensorMap *datt, const CUtensorMap *queries,
                       const CUtensorMap *keys, const float *lse, const float *dots) {
    const int k_col = (x.H + x.g)*D;
    bar_expect(&s.full_kv, sizeof s.k + sizeof s.v);
    tile_load(s.k, keys, &s.full_kv, x.b, x.block*KEY_TILE, k_col);
    tile_load(s.v, keys, &s.full_kv, x.b, x.block*KEY_TILE, k_col + x.G*D);
    uint32_t n = 0;                                         // counts tiles
    #pragma unroll 1
    for (int h = x.head; h < x.head + x.share; h++) for (int q = x.tiles - 1; q >= x.first; q--) {
        const int at = ((x.b*x.H + h)*x.tiles + q)*64;
        #pragma unroll 1
        for (int g = 0; g < 2; g++, n++) {
            Barrier *full = s.of_tile.fill(n, sizeof s.tile[0] + sizeof s.number[0]);
            tile_load(s.tile[n%4], g ? datt : queries, full, x.b, q*64, h*D);
            bulk_load(s.number[n%4], (g ? dots : lse) + at, sizeof s.number[0], full);
        }
    }
}

// Two threads carry dq away, each every second tile, from buffer i; at last dv (buffer 0) and dk (buffer 1).
template <int D> DEVICE void carry_dq(Backward<D> &s, const Task &x, int i, float4 *sums, int *turns,
                                      const CUtensorMap *dqueries, const CUtensorMap *dkeys) {
    const int bytes = sizeof s.dq[i];
    int n = 0;                                              // counts the uses of the buffer
    float4 *buffer = s.dq[i][0][0];
    Barrier *ready = &s.ready_dq[i], *full = &s.full_dq[i];
    #pragma unroll 1
    for (int h = x.head; h < x.head + x.share; h++) for (int q = x.tiles - 1 - i; q >= x.first; q -= 2, n++) {
        const int at = (x.b*x.H + h)*x.tiles + q;
        const bool diagonal = q < x.first + 2;
        float4 *sum = sums + (size_t)at*(bytes/sizeof *sums);
        if (diagonal && x.block > 0) {                      // the computing threads get the sum so far
            turn_wait(turns + at, x.block);
            bar_expect(ready, bytes);
            bulk_load(buffer, sum, bytes, ready);
        } else bar_arrive(ready);
        bar_wait(full, n%2);
        if (diagonal) {
            tile_store(dqueries, buffer, x.b, q*64, h*D);
            stores_start();
            stores_left();
        } else {
            if (x.block == 0) bulk_store(sum, buffer, bytes);
            else turn_wait(turns + at, x.block), bulk_add(sum, buffer, bytes);
            stores_start();
            stores_arrived();
            turn_pass(turns + at, x.block + 1);
        }
    }
    bar_arrive(ready);
    bar_wait(full, n%2);
    tile_store(dkeys, buffer, x.b, x.block*KEY_TILE, (x.H + x.g + (i ? 0 : x.G))*D);
    stores_start();
    stores_left();
}

template <int D> __global__ void __launch_bounds__(Backward<D>::THREADS, 1)
attention_backward_kernel(float4 *sums, int *turns, int *tickets, MAP dqueries, MAP dkeys, MAP datt,
                          MAP queries, MAP keys, const float *lse, const float *dots, const float *table,
                          Sizes a, float scale) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    typedef Backward<D> F;
    extern __shared__ __align__(1024) char raw[];
    F &s = *(F *)raw;
    const int wg = warp_uniform(threadIdx.x/WARPGROUP), T = a.T, share = a.H/a.G;
    const int blocks = (T + KEY_TILE - 1)/KEY_TILE, tiles = 2*blocks;
    if (threadIdx.x == 0) {
        s.ticket = atomicAdd(tickets, 1);
        s.of_tile.init(8);
        bar_init(&s.full_kv, 1);
        for (int i = 0; i < 2; i++) bar_init(&s.ready_dq[i], 1), bar_init(&s.full_dq[i], 8);
    }
    fence_async();
    __syncthreads();
    const Work work = work_of<D>(warp_uniform(s.ticket), a.B, a.G, blocks, T);
    const int first = 2*work.block;
    const Task x = { a.H, a.G, work.b, work.block, work.head, work.head*share, share, first, tiles };

    if (wg == 0) registers_down<24>();
    if (threadIdx.x == 0) load_tiles(s, x, &datt, &queries, &keys, lse, dots);
    else if (threadIdx.x == 32 || threadIdx.x == 64)
        carry_dq(s, x, threadIdx.x/64, sums, turns, &dqueries, &dkeys);
    if (wg == 0) return;

    registers_up<240>();
    const int w = wg - 1, t = threadIdx.x%WARPGROUP, lane = t%32, warp_row = t/32*16;
    const int row = w*64 + warp_row + lane/4;           // of this thread, in the block of keys
    const float c = scale*LOG2E;
    const char *k = s.k + w*64*ROW, *v = s.v + w*64*ROW;                    // this warpgroup's 64 keys
    const char *k_half = s.k + (D == 128 ? w*KEY_TILE*ROW : w*ROW/2);       // its half of the columns
    float dk[D/2], dv[D/2], dq[D/4], sc[32], dp[32];
    float2 l[8];                                        // lse of the tile's queries
    uint32_t p[16], ds[16];
    int n = 0, left = tiles - 1 - first;                // n counts tiles; left: in this head, after this
    // (zeroed before any product is in flight, or the compiler makes the products wait for each other)
    UNROLL for (int j = 0; j < D/2; j++) dk[j] = dv[j] = 0;
    UNROLL for (int j = 0; j < D/2; j++) asm volatile("" : "+f"(dk[j]), "+f"(dv[j]));
    bar_wait(&s.full_kv, 0);
    s.of_tile.wait(0);
    mma_abt<D>(sc, k, KEY_TILE, s.tile[0], 64);
    mma_wait<0>(sc);
    UNROLL for (int j = 0; j < 8; j++) l[j] = *(float2 *)&s.number[0][col_of(4*j)];
    for (int more = share*(left + 1); more-- > 0; n++) {              // this tile's S^T and lse are here
        const int i = n%2, q = 2*n, g = q + 1, next = q + 2;                // of these tiles
        const bool diagonal = left < 2;
        s.of_tile.wait(g);                              // dP^T, and meanwhile P
        mma_abt<D>(dp, v, KEY_TILE, s.tile[g%4], 64);
        if (diagonal) UNROLL for (int j = 0; j < 32; j++)
            if (row + row_of(j) > left*64 + col_of(j)) sc[j] = -INFINITY;
        UNROLL for (int j = 0; j < 32; j += 2) {
            sc[j] = ex2(sc[j]*c - l[j/4].x), sc[j + 1] = ex2(sc[j + 1]*c - l[j/4].y);
            p[j/2] = pack2(sc[j], sc[j + 1]);
        }
        mma_pb<4>(dv, p, s.tile[g%4], 64);              // dv += P^T datt, and meanwhile dS
        mma_wait<1>(dp);
        UNROLL for (int j = 0; j < 32; j += 2) {
            const float2 dot = *(float2 *)&s.number[g%4][col_of(j)];
            ds[j/2] = pack2(sc[j]*(dp[j] - dot.x), sc[j + 1]*(dp[j + 1] - dot.y));
        }
        mma_pb<4>(dk, ds, s.tile[q%4], 64);             // dk += dS^T q, and meanwhile dS^T moves
        UNROLL for (int j = 0; j < 16; j += 4) store_block(s.ds[i], w*64 + warp_row, j/2, ds + j);
        fence_async();
        group_sync(1, 2*WARPGROUP);                     // both warpgroups' dS^T is in place
        mma_atb(dq, s.ds[i], k_half);                   // dq = dS k
        mma_wait<2>(dv);
        s.of_tile.leave(g);
        // S^T of the next tile; after the very last, unused. (A branch would keep the products apart.)
        if (more) s.of_tile.wait(next);
        mma_abt<D>(sc, k, KEY_TILE, s.tile[next%4], 64);
        mma_wait<2>(dk);
        s.of_tile.leave(q);
        mma_wait<1>(dq);                                // S^T goes on while dq leaves
        bar_wait(&s.ready_dq[i], n/2%2);
        typename F::Sums &buffer = s.dq[i];
        if (diagonal && x.block > 0) UNROLL for (int j = 0; j < D/16; j++) {
            const float4 sum = buffer[w][j][t];
            dq[4*j] += sum.x, dq[4*j + 1] += sum.y, dq[4*j + 2] += sum.z, dq[4*j + 3] += sum.w;
        }
        UNROLL for (int j = 0; j < D/16; j++)
            buffer[w][j][t] = make_float4(dq[4*j], dq[4*j + 1], dq[4*j + 2], dq[4*j + 3]);
        if (diagonal) finish_dq<D>(buffer, table, x.block*KEY_TILE + left*64, T, w, scale);
        fence_async();
        __syncwarp();
        if (lane == 0) bar_arrive(&s.full_dq[i]);
        UNROLL for (int j = 0; j < 8; j++) l[j] = *(float2 *)&s.number[next%4][col_of(4*j)];
        mma_wait<0>(sc);
        if (left-- == 0) left = tiles - 1 - first;      // the next head begins
    }
    const float once[2] = {1, 1}, scales[2] = {scale, scale};
    UNROLL for (int j = 0; j < D/4; j += 2) {
        const int position = min(x.block*KEY_TILE + row + row_of(j), T - 1);
        const float *angle = table + (size_t)position*D + col_of(j);
        rotate_back(dk + j, dk + j + D/4, *(const float2 *)angle, *(const float2 *)(angle + D/2));
    }
    bar_wait(&s.ready_dq[0], n/2%2);
    store_rows((char *)s.dq[0], KEY_TILE, w*64 + warp_row, dv, once);
    bar_wait(&s.ready_dq[1], n/2%2);
    store_rows((char *)s.dq[1], KEY_TILE, w*64 + warp_row, dk, scales);
    fence_async();
    __syncwarp();
    if (lane == 0) bar_arrive(&s.full_dq[0]), bar_arrive(&s.full_dq[1]);
#endif
}

// -- host
// How TMA sees a bf16 tensor [B, T, columns]: as {64 columns, T rows, panels, B}, in tiles of `rows` rows and
// `panels` panels. (To ask the driver for its function spares linking with libcuda.)
static CUtensorMap tile_map(const elem *tensor, int B, int T, int columns, int rows, int panels) {
    static const auto encode = (decltype(&cuTensorMapEncodeTiled))
        dlsym(dlopen("libcuda.so.1", RTLD_LAZY), "cuTensorMapEncodeTiled");
    CHECK(encode, "the CUDA driver has no cuTensorMapEncodeTiled; a driver for CUDA 12 or newer is needed");
    const cuuint64_t width = columns, height = T, sizes[4] = {PANEL, height, width/PANEL, (cuuint64_t)B};
    const cuuint64_t strides[3] = {2*width, ROW, 2*height*width};
    const cuuint32_t box[4] = {PANEL, (cuuint32_t)rows, (cuuint32_t)panels, 1}, steps[4] = {1, 1, 1, 1};
    CUtensorMap map;
    CUresult failed = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, (void *)tensor, sizes, strides, box,
                             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    CHECK(!failed, "CUDA refuses tiles of a tensor [%d, %d, %d] (error %d)", B, T, columns, (int)failed);
    return map;
}

// What `work` holds. The forward pass needs the ticket counter alone.
struct Scratch { int *tickets, *turns; float *lse2, *dots; float4 *sums; size_t bytes; };
static Scratch scratch_at(void *work, int B, int T, int H, int D) {
    const size_t rows = (size_t)B*H*padded(T, KEY_TILE);
    Arena arena = { (char *)work, 0 };
    Scratch s;
    take(s.tickets, &arena, 1), take(s.turns, &arena, rows/64);
    take(s.lse2, &arena, rows), take(s.dots, &arena, rows);
    take(s.sums, &arena, rows*D/4);
    s.bytes = arena.used;
    return s;
}

size_t work_bytes(int B, int T, int H, int D) { return scratch_at(NULL, B, T, H, D).bytes; }

template <int D> void forward(elem *att, float *lse, void *work, const elem *q, int q_width,
                              const elem *kv, int kv_width, int B, int T, int H, int G, Stream stream) {
    typedef Forward<D> F;
    const int blocks = imin(card.props.multiProcessorCount, B*H*ceil_div(padded(T, 64), F::QUERY_TILE));
    int *tickets = scratch_at(work, B, T, H, D).tickets;
    CUDA(cudaMemsetAsync(tickets, 0, sizeof *tickets, stream));
    launch<sizeof(F)>(attention_forward_kernel<D>, blocks, F::THREADS, stream,
                      lse, tickets, tile_map(att, B, T, H*D, 64, 1),
                      tile_map(q, B, T, q_width, F::QUERY_TILE, D/PANEL),
                      tile_map(kv, B, T, kv_width, KEY_TILE, D/PANEL), Sizes{ B, T, H, G }, 1/sqrtf(D));
}

// attention_backward and rope_backward in one. (No card holds tensors for which the largest index that is
// an int, B*H*T*D/8 in attention_rows_kernel, would overflow.)
template <int D> void backward(elem *dqkv, void *work, const elem *datt, const elem *att,
                               const float *lse, const elem *qkv, const float *table, int B, int T, int H,
                               int G, Stream stream) {
    typedef Backward<D> F;
    const int Q = (H + 2*G)*D, blocks = ceil_div(T, KEY_TILE), panels = D/PANEL;
    const int grid = ceil_div((size_t)B*H*blocks*KEY_TILE*(D/8), 256);
    const Scratch s = scratch_at(work, B, T, H, D);
    launch(attention_rows_kernel<D>, grid, 256, stream,
           s.dots, s.lse2, s.turns, s.tickets, datt, att, lse, Sizes{ B, T, H, G });
    launch<sizeof(F)>(attention_backward_kernel<D>, B*G*blocks, F::THREADS, stream,
                      s.sums, s.turns, s.tickets, tile_map(dqkv, B, T, Q, 64, panels),
                      tile_map(dqkv, B, T, Q, KEY_TILE, panels), tile_map(datt, B, T, H*D, 64, panels),
                      tile_map(qkv, B, T, Q, 64, panels), tile_map(qkv, B, T, Q, KEY_TILE, panels),
                      s.lse2, s.dots, table, Sizes{ B, T, H, G }, 1/sqrtf(D));
}
}
#endif

// ---- the table ---------------------------------------------------------------------------------
static int gpu_memory(Memory *plan, const Config *c, int training, int B, int T) {
    static Layout layout;
    static GpuActs acts;
    Weights unused;
    olmo_layout(&layout, &unused, NULL, c);
    acts.recompute = recomputed();
    acts_layout(&acts, NULL, c, training, B, T);
    const Segments segments = segments_of(&layout);
    const size_t size = layout.size, own = segments.at[segments.n];
    int n = 0;
    add_memory(plan, &n, "weights", size*sizeof(elem));
    if (training) {
        size_t buffer_size, grads = buffers_layout(&buffer_size, &segments, c->tied);
        grads += shards_gradients() ? own : size;
        const size_t halves = sizeof(elem) < sizeof(float) ? own*sizeof(int16_t) : 0;
        add_memory(plan, &n, "gradients", grads*sizeof(float));
        add_memory(plan, &n, halves ? "lower halves of the weights and AdamW" : "AdamW",
                   halves + 2*own*sizeof(float));
        plan[n - 1].on_host = saving.offload_optimizer;
    }
    add_memory(plan, &n, "activations", acts.kept_bytes);
    add_memory(plan, &n, "logits", acts.logits_bytes);
    const size_t rope = sizeof(float)*c->seq_len*(c->d_model/c->n_heads);
    add_memory(plan, &n, "workspace", acts.work_bytes + WORKSPACE + rope);
    add_memory(plan, &n, "KV cache", cache_size(c)*sizeof(elem));
    return n;
}

// Numbers come and go as float. In the staging buffer the halves of parameters meet, and from there a piece's
// owner tells it to the others.
static float *state_at(GpuOlmo *m, Space space, Piece p, size_t i) {
    if (space != GRADS) return (space == MOMENT1 ? m->moment1 : m->moment2) + own_at(m, p, i);
    clear_used(m);
    return grad_at(m, p, i);
}
static void gpu_get(void *model, Space space, size_t offset, size_t count, real *host) {
    GpuOlmo *m = (GpuOlmo *)model;
    for (size_t i = offset, k; i < offset + count; i += k, host += k) {
        const Piece p = piece_at(&m->segments, i);
        const int mine = p.owner == ranks.rank;
        k = zmin(CHUNK, zmin(p.end, offset + count) - i);
        if (mine && space == PARAMS)
            by_elements(join_kernel, k, card.stream, m->staging, m->weights + i, rest_at(m, p, i));
        else if (mine) to_card(m->staging, state_at(m, space, p, i), k);
        if (ranks.world > 1) broadcast(m->staging, k, p.owner);
        to_host(host, m->staging, k);
    }
    CUDA(cudaStreamSynchronize(card.stream));
}
static void gpu_set(void *model, Space space, size_t offset, size_t count, const real *host) {
    GpuOlmo *m = (GpuOlmo *)model;
    await_all_weights(m);                                   // of the last update
    for (size_t i = offset, k; i < offset + count; i += k, host += k) {
        const Piece p = piece_at(&m->segments, i);
        const int mine = p.owner == ranks.rank;
        k = zmin(CHUNK, zmin(p.end, offset + count) - i);
        if (space == PARAMS) {
            int16_t *rest = mine ? rest_at(m, p, i) : NULL;
            to_card(m->staging, host, k);
            by_elements(split_kernel, k, card.stream, m->weights + i, rest, m->staging);
        } else if (mine) to_card(state_at(m, space, p, i), host, k);
    }
    CUDA(cudaStreamSynchronize(card.stream));
}

// The table's name tells the card and its memory, beside which the plan is printed.
static char card_name[400] = "GPU";
static void gpu_open(void) {
    size_t free, total;
    memory_advice = "; try --recompute block, --offload-optimizer, or a smaller --micro-batch or --seq-len";
    card_open();
    if (ranks.world > 1) talking_open();
    CUDA(cudaMemGetInfo(&free, &total));
    const int slower = sizeof(elem) < sizeof(float) && card.props.major == 9 && !card.hopper;
    snprintf(card_name, sizeof card_name, "%s (%s%s), %.1f of %.1f GB free", card.props.name, precision,
             slower ? ", made without sm_90a: slow attention" : "", (double)free*1e-9, (double)total*1e-9);
}

// In the order of the .c's Device, which knows a model as void *.
static const Device gpu_device = {
    card_name, alone, gpu_open, gpu_memory,
    [](auto... x) -> void * { return gpu_olmo_build(x...); },
    [](void *m) { olmo_free((GpuOlmo *)m); },
    [](void *m, auto... x) { olmo_forward((GpuOlmo *)m, x...); },
    [](void *m, auto... x) { olmo_forward_tree((GpuOlmo *)m, x...); },
    [](void *m, int last) {
        ((GpuOlmo *)m)->last_pass = last;
        olmo_backward((GpuOlmo *)m);
    },
    [](void *m, auto... x) { return olmo_update((GpuOlmo *)m, x...); },
    [](void *m, auto... x) { olmo_decode((GpuOlmo *)m, x...); },
    gpu_get, gpu_set, precision, 1,
};

#ifdef OLMO_GPU_PROGRAM
int main(int argc, char **argv) { return olmo_main(argc, argv, &gpu_device); }
#endif
