/*
A GPU made of functions: what train_olmo.cu asks of CUDA, on a CPU. With it, g++ compiles the kernels as they
stand, and they can be run, printed from, and stepped through in a debugger, without a card:

    make test-gpu-on-cpu                            the GPU's tests, in fp32 and in bf16
    OMP_NUM_THREADS=1 gdb --args ./test_olmo_on_cpu gpu_ops
        break norm_forward_kernel<8> if threadIdx.x == 33
    CARDS=3 ./test_olmo_on_cpu --gpu-device --gpus 3 ...        the whole program, on three such cards

How it works. A launch runs its blocks one after the other (a few at a time, one on each core). The threads
of a block are fibers: each has a stack, and runs until it meets a barrier or the other lanes of its warp;
then the next one runs. So a thread may be ahead of another by a whole phase: a barrier that is missing
mostly shows. Every second block runs its threads from the last to the first, because some are missed in one
order only. The stream on which cards talk does its work as late as it may, when another stream or the host
waits for it: if nobody does, that shows.

What is stricter than on a card, so that mistakes show: memory is full of NaN until it is written, and so is
what a lane gets from one that has ended; a write beside an allocation is noticed when that is freed; where
some lanes of a warp wait for the others, and some at a barrier, the program ends (a card hangs, or worse);
so it does where memory of the host has changed before its copy to the card was waited for.

What does not show: races between blocks; a barrier missing where this order does no harm; the memory model;
shared memory that is read before it is written (it keeps what the block before has left); how many registers
or bytes of shared memory a kernel takes; kernels that start early; speed. All other work is done when it is
asked for, so results that are read before a synchronization do not show either, nor does what is sent to
other cards before it is computed.
*/
#pragma once
#undef _FORTIFY_SOURCE                                  // it takes a jump to another stack for an attack
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <deque>
#include <functional>
#include <map>
#include <tuple>
#include <vector>

#define __CUDACC__
#define CUDA_ON_CPU
#define CUDART_VERSION 12030
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static thread_local                  // a block has its core to itself

struct uint3 { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

[[noreturn]] static void gpu_fault(const char *what) {
    fprintf(stderr, "error: the GPU on a CPU: %s\n", what);
    abort();                                            // for a debugger, or a core file
}

// ---- the threads of a block ----------------------------------------------------------------------

enum State { READY, AT_WARP, AT_BLOCK, ENDED };         // the middle two: waits for the others there
struct Fiber {
    ucontext_t start;
    jmp_buf here;                                       // where it goes on
    char *stack;
    State state;
    int turn;                                           // which of two slots its next exchange takes
};
enum { MAX_THREADS = 1024, STACK = 256 << 10 };

// A multiprocessor: each core has one, which runs one block at a time.
static thread_local struct {
    Fiber fiber[MAX_THREADS];
    uint64_t slot[2][MAX_THREADS];                      // what lanes show each other, in turns: a lane that
    jmp_buf scheduler;                                  // is quick must not overwrite what a slow one reads
    const std::function<void()> *kernel;
} sm;
static thread_local uint3 threadIdx, blockIdx;
static thread_local dim3 blockDim, gridDim;

// The thread that runs gives way, until the scheduler finds that what it waits for is there.
__attribute__((noinline)) static void wait_at(State state) {
    Fiber *self = &sm.fiber[threadIdx.x];
    self->state = state;
    if (_setjmp(self->here) == 0) _longjmp(sm.scheduler, 1);
}
static void fiber_main() {                              // a fiber serves one block after another
    for (;;) {
        (*sm.kernel)();
        wait_at(ENDED);
    }
}
__attribute__((noinline)) static void go_on(unsigned t) {
    Fiber *f = &sm.fiber[t];
    threadIdx = { t, 0, 0 };
    if (_setjmp(sm.scheduler)) return;
    if (f->stack) _longjmp(f->here, 1);
    f->stack = (char *)malloc(STACK);                   // its first time
    getcontext(&f->start);
    f->start.uc_stack.ss_sp = f->stack, f->start.uc_stack.ss_size = STACK;
    makecontext(&f->start, fiber_main, 0);
    setcontext(&f->start);
}

// If any of the threads begin..end-1 wait at a barrier, all that have not ended must be there: then they may
// go on.
static bool release_all(unsigned begin, unsigned end, State barrier) {
    unsigned waiting = 0, ended = 0;
    for (unsigned t = begin; t < end; t++)
        waiting += sm.fiber[t].state == barrier, ended += sm.fiber[t].state == ENDED;
    if (!waiting) return false;
    if (waiting + ended < end - begin) gpu_fault("some lanes of a warp wait for those at a barrier");
    for (unsigned t = begin; t < end; t++)
        if (sm.fiber[t].state == barrier) sm.fiber[t].state = READY;
        else sm.slot[0][t] = sm.slot[1][t] = ~0ull;                         // NaN, for whoever reads it
    return true;
}

static void run_block(bool backwards) {
    const unsigned n = blockDim.x, warps = (n + 31)/32;
    memset(sm.slot, 255, sizeof sm.slot);
    for (unsigned t = 0; t < n; t++) sm.fiber[t].state = READY, sm.fiber[t].turn = 0;
    do for (unsigned w = 0; w < warps; w++) {
        const unsigned begin = (backwards ? warps - 1 - w : w)*32, end = begin + 32 < n ? begin + 32 : n;
        do for (unsigned i = begin; i < end; i++) {
            const unsigned t = backwards ? begin + end - 1 - i : i;
            if (sm.fiber[t].state == READY) go_on(t);
        } while (release_all(begin, end, AT_WARP));
    } while (release_all(0, n, AT_BLOCK));
}

static void run_grid(dim3 grid, dim3 block, const std::function<void()> &kernel) {
    const long all = (long)grid.x*grid.y*grid.z;
    #pragma omp parallel for schedule(dynamic) if (all > 1)
    for (long b = 0; b < all; b++) {
        sm.kernel = &kernel;
        gridDim = grid, blockDim = block;
        blockIdx = { (unsigned)(b % grid.x), (unsigned)(b/grid.x % grid.y), (unsigned)(b/grid.x/grid.y) };
        run_block(b % 2);
    }
}

// ---- what kernels call ---------------------------------------------------------------------------

static inline void __syncthreads() { wait_at(AT_BLOCK); }
static inline void __syncwarp() { wait_at(AT_WARP); }

// Each lane shows x, and gets what lane `from` of its warp shows.
template <class X> static X exchange(unsigned mask, X x, unsigned from) {
    const unsigned t = threadIdx.x, turn = sm.fiber[t].turn;
    if (mask != ~0u) gpu_fault("an exchange between some lanes of a warp: only between all");
    sm.fiber[t].turn ^= 1;
    memcpy(&sm.slot[turn][t], &x, sizeof x);
    wait_at(AT_WARP);
    memcpy(&x, &sm.slot[turn][t/32*32 + from % 32], sizeof x);
    return x;
}
template <class X> static X __shfl_sync(unsigned mask, X x, int lane) { return exchange(mask, x, lane); }
template <class X> static X __shfl_xor_sync(unsigned mask, X x, int other) {
    return exchange(mask, x, threadIdx.x % 32 ^ other);
}

template <class X> static X atomicAdd(X *sum, X x) { return __atomic_fetch_add(sum, x, __ATOMIC_RELAXED); }
template <class X> static X __ldcs(const X *from) { return *from; }
template <class X> static void __stcs(X *to, X x) { *to = x; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static inline float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }

// ---- errors, the card ----------------------------------------------------------------------------

typedef enum {
    cudaSuccess, cudaErrorInvalidValue, cudaErrorMemoryAllocation, cudaErrorInvalidConfiguration = 9,
    cudaErrorStreamCaptureUnsupported = 900
} cudaError_t;
static inline const char *cudaGetErrorString(cudaError_t e) {
    return e == cudaSuccess ? "no error" : e == cudaErrorMemoryAllocation ? "out of memory"
        : e == cudaErrorInvalidConfiguration ? "invalid configuration argument"
        : e == cudaErrorStreamCaptureUnsupported ? "operation not permitted when stream is capturing"
        : "invalid argument";
}
static inline cudaError_t cudaGetLastError() { return cudaSuccess; }

// It is older than Hopper, so it has the attention of every card. 3 multiprocessors: blocks that share out
// rows have several each.
struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount, canUseHostPointerForRegisteredMem;
};
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    *p = { "a GPU on a CPU", 8, 0, 3, 1 };
    return cudaSuccess;
}
static inline cudaError_t cudaGetDeviceCount(int *n) {
    const char *cards = getenv("CARDS");
    return *n = cards ? atoi(cards) : 1, cudaSuccess;
}
static inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
static const size_t card_bytes = (size_t)16 << 30;
static inline cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    return *free = *total = card_bytes, cudaSuccess;
}

// ---- streams and graphs --------------------------------------------------------------------------
// All work is done at once, with two exceptions. What is being captured is written down, and a graph does it
// as often as it is launched: with the same pointers, and with what they point to by then. What is asked of a
// stream with a priority, in which cards talk, is put off until somebody waits for it.

typedef std::vector<std::function<void()>> Work;
struct CudaStream { Work *captured; bool late; };
struct CudaGraph { Work work; };
typedef CudaStream *cudaStream_t;
typedef CudaGraph *cudaGraph_t, *cudaGraphExec_t;
static int capturing;                                   // streams that are
static std::deque<std::function<void()>> put_off;
static size_t done;                                     // of what has been put off so far

static size_t put_off_so_far() { return done + put_off.size(); }
static void catch_up(size_t until) {
    for (; done < until; done++) put_off.front()(), put_off.pop_front();
}
static cudaError_t enqueue(cudaStream_t s, std::function<void()> work) {
    if (s && s->captured) s->captured->push_back(std::move(work));
    else if (s && s->late) put_off.push_back(std::move(work));
    else work();
    return cudaSuccess;
}
static cudaError_t not_in_capture() { return capturing ? cudaErrorStreamCaptureUnsupported : cudaSuccess; }

enum { cudaStreamNonBlocking = 1, cudaStreamCaptureModeGlobal = 0, cudaStreamCaptureModeThreadLocal = 1 };
static inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, int) {
    return *s = new CudaStream(), cudaSuccess;
}
static inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, int, int) {
    return *s = new CudaStream{ NULL, true }, cudaSuccess;
}
static inline cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *most) {
    return *least = *most = 0, cudaSuccess;
}
static void copies_end();
static inline cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    if (s && s->late) catch_up(put_off_so_far());
    return copies_end(), not_in_capture();
}
static inline cudaError_t cudaStreamBeginCapture(cudaStream_t s, int) {
    return capturing++, s->captured = new Work, cudaSuccess;
}
static inline cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph) {
    capturing--, *graph = new CudaGraph{ std::move(*s->captured) };
    delete s->captured;
    return s->captured = NULL, cudaSuccess;
}
static inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t *program, cudaGraph_t graph, int) {
    return *program = new CudaGraph(*graph), cudaSuccess;
}
static inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
static inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t program) {
    return delete program, cudaSuccess;
}
static inline cudaError_t cudaGraphLaunch(cudaGraphExec_t program, cudaStream_t s) {
    for (auto &work : program->work) enqueue(s, work);
    return cudaSuccess;
}

struct CudaEvent { double ms; size_t done; };           // when it was recorded; what must be done by then
typedef CudaEvent *cudaEvent_t;
static double clock_ahead;                              // ms: of work that is said to take so much longer
enum { cudaEventDefault, cudaEventDisableTiming = 2 };
static inline cudaError_t cudaEventCreate(cudaEvent_t *e) { return *e = new CudaEvent(), cudaSuccess; }
static inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, int) { return cudaEventCreate(e); }
static inline cudaError_t cudaEventDestroy(cudaEvent_t e) { return delete e, cudaSuccess; }
static inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    e->ms = clock_ahead + 1e3*(double)t.tv_sec + 1e-6*(double)t.tv_nsec;
    return e->done = s && s->late ? put_off_so_far() : 0, cudaSuccess;
}
static inline cudaError_t cudaEventSynchronize(cudaEvent_t e) { return catch_up(e->done), cudaSuccess; }
static inline cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) {
    return *ms = (float)(b->ms - a->ms), cudaSuccess;
}
static inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t e, int) {
    return catch_up(e->done), cudaSuccess;
}

// ---- launches ------------------------------------------------------------------------------------

enum { cudaLaunchAttributeProgrammaticStreamSerialization };
struct cudaLaunchAttribute { int id; struct { int programmaticStreamSerializationAllowed; } val; };
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    int numAttrs;
};
enum { cudaFuncAttributeMaxDynamicSharedMemorySize };
template <class Kernel> static cudaError_t cudaFuncSetAttribute(Kernel, int, int) { return cudaSuccess; }
template <class... Parameters, class... Arguments>
static cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *how, void (*kernel)(Parameters...),
                                      Arguments... arguments) {
    const dim3 grid = how->gridDim, block = how->blockDim;
    if (grid.x < 1 || grid.x > INT32_MAX || grid.y < 1 || grid.y > 65535 || grid.z < 1 || grid.z > 65535
        || block.x < 1 || block.x > MAX_THREADS || block.y != 1 || block.z != 1)
        return cudaErrorInvalidConfiguration;
    const std::tuple<Parameters...> given((Parameters)arguments...);        // copied now, as by a card
    return enqueue(how->stream, [=] { run_grid(grid, block, [&] { std::apply(kernel, given); }); });
}

// ---- memory --------------------------------------------------------------------------------------
// Between two guards, all bytes 255, which is NaN in float and in bf16. The first holds the size as well.

enum { GUARD = 256 };
static std::map<const char *, size_t> of_card;          // the bytes of what is allocated, or registered
static inline cudaError_t cudaMalloc(void **p, size_t size) {
    if (capturing) return cudaErrorStreamCaptureUnsupported;
    if (size > card_bytes) return cudaErrorMemoryAllocation;
    char *at = (char *)aligned_alloc(GUARD, 2*GUARD + (size + GUARD - 1)/GUARD*GUARD);
    if (!at) return cudaErrorMemoryAllocation;
    memset(at, 255, 2*GUARD + size);
    memcpy(at, &size, sizeof size);
    of_card[at + GUARD] = size;
    return *p = at + GUARD, cudaSuccess;
}
template <class X> static cudaError_t cudaMalloc(X **p, size_t size) { return cudaMalloc((void **)p, size); }
static inline cudaError_t cudaFree(void *p) {
    char *at = (char *)p - GUARD;
    size_t size, i = sizeof size;
    if (!p) return cudaSuccess;
    catch_up(put_off_so_far());                         // a card, too, first finishes all
    memcpy(&size, at, sizeof size);
    while (i < GUARD && at[i] == -1 && at[GUARD + size + i - sizeof size] == -1) i++;
    if (i < GUARD) gpu_fault("something was written beside the memory that is freed here");
    return of_card.erase((char *)p), free(at), cudaSuccess;
}
enum { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
// A copy from the host is done at once. But a card may take until the next synchronization, so there it must
// still be the same.
struct Copy { const char *from; std::vector<char> then; };
static std::vector<Copy> under_way;
static void copies_end() {
    for (auto &copy : under_way) if (memcmp(copy.from, copy.then.data(), copy.then.size()))
        gpu_fault("the host changed what a copy to the card, which may be under way, reads");
    under_way.clear();
}
static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, int, cudaStream_t s) {
    const char *at = (const char *)from;
    auto next = of_card.upper_bound(at);
    if (next == of_card.begin() || at >= std::prev(next)->first + std::prev(next)->second)
        under_way.push_back({ at, { at, at + n } });
    return enqueue(s, [=] { memcpy(to, from, n); });
}
static inline cudaError_t cudaMemcpy(void *to, const void *from, size_t n, int) {
    return memcpy(to, from, n), cudaSuccess;
}
static inline cudaError_t cudaMemsetAsync(void *to, int byte, size_t n, cudaStream_t s) {
    return enqueue(s, [=] { memset(to, byte, n); });
}
enum { cudaHostRegisterMapped = 2 };
static inline cudaError_t cudaHostRegister(void *p, size_t size, int) {
    return of_card[(char *)p] = size, cudaSuccess;
}
static inline cudaError_t cudaHostUnregister(void *p) { return of_card.erase((char *)p), cudaSuccess; }
