/*
Kernel ladders: from the naive kernel to what train_olmo.cu uses, one idea per rung.

    make ladders && dev/class/kernels/ladders           all six (CUDA, sm_80 or newer)
    dev/class/kernels/ladders norm matmul               these two
    python3 dev/class/kernels/library.py                the same tasks by PyTorch, the library to compare with

    norm.cu     softmax.cu     crossentropy.cu     adamw.cu     matmul.cu     attention.cu

Each file asks one question: what is this kernel waiting for? Its rungs answer it. Every line gives
the time, what became of it (bytes that must move, per second, beside the measured copy bandwidth;
or operations per second, beside the measured product), and the distance to a reference in float on
the CPU, from train_olmo.c. The last rung is train_olmo.cu's own.
*/
#define OLMO_LIBRARY
#include "../../../train_olmo.cu"
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

typedef std::function<void()> Work;

// ---- one stream --------------------------------------------------------------------------------
// card.stream waits for no other stream. So everything goes through it, copies too: a kernel must
// not start before its inputs have arrived, and none may be read before it has ended.

static void wait() { CUDA(cudaStreamSynchronize(card.stream)); }

template <class X> static X *on_card(size_t n) { return (X *)gpu_allocate(n, sizeof(X), "a ladder"); }

template <class X> static void copy(X *to, const X *from, size_t n) {
    CUDA(cudaMemcpyAsync(to, from, n*sizeof(X), cudaMemcpyDeviceToDevice, card.stream));
}
template <class X> static void clear(X *p, size_t n) {
    CUDA(cudaMemsetAsync(p, 0, n*sizeof(X), card.stream));
}
// NaN everywhere: what a rung does not write is seen.
template <class X> static void poison(X *p, size_t n) {
    CUDA(cudaMemsetAsync(p, 255, n*sizeof(X), card.stream));
}

// n numbers with standard deviation std, the same every time; returns them as floats.
template <class X> static std::vector<float> fill(X *p, size_t n, float std, uint64_t stream) {
    std::vector<float> host(n);
    std::vector<X> stored(n);
    #pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        stored[i] = (X)(std*3.46f*((float)uniform(hash64(stream*1000003 + i)) - 0.5f));
        host[i] = (float)stored[i];
    }
    to_card(p, stored.data(), n);
    wait();
    return host;
}

// ||x - right||/||right|| over the first right.size() numbers on the card
template <class X> static double distance(const X *p, const std::vector<float> &right) {
    std::vector<X> host(right.size());
    to_host(host.data(), p, right.size());
    wait();
    double squares = 0, size = 0;
    for (size_t i = 0; i < right.size(); i++) {
        const double off = (double)(float)host[i] - (double)right[i];
        squares += off*off;
        size += (double)right[i]*(double)right[i];
    }
    return sqrt(squares/size);
}

// ---- time --------------------------------------------------------------------------------------

// Milliseconds: the median of 15 runs after 3.
static float milliseconds(const Work &run) {
    cudaEvent_t start, stop;
    std::vector<float> times;
    CUDA(cudaEventCreate(&start));
    CUDA(cudaEventCreate(&stop));
    for (int i = 0; i < 18; i++) {
        float ms;
        CUDA(cudaEventRecord(start, card.stream));
        run();
        CUDA(cudaGetLastError());
        CUDA(cudaEventRecord(stop, card.stream));
        CUDA(cudaEventSynchronize(stop));
        CUDA(cudaEventElapsedTime(&ms, start, stop));
        if (i >= 3) times.push_back(ms);
    }
    CUDA(cudaEventDestroy(start));
    CUDA(cudaEventDestroy(stop));
    std::sort(times.begin(), times.end());
    return times[times.size()/2];
}

// What this card can do: bytes per second, read and written; operations per second.
static double copy_bandwidth, product_rate;

static void measure_card() {
    const size_t n = (size_t)1 << 30, side = 8192;
    char *from = on_card<char>(n), *to = on_card<char>(n);
    elem *a = (elem *)from, *b = (elem *)to, *c = on_card<elem>(side*side);
    copy_bandwidth = 2e3*(double)n/(double)milliseconds([&] { copy(to, from, n); });
    fill(a, side*side, 1, 1);
    fill(b, side*side, 1, 2);
    const float ms = milliseconds([&] {
        matmul_forward(c, a, b, side, side, side, 0, card.stream);
    });
    product_rate = 2e3*(double)side*side*side/(double)ms;
    gpu_release(from), gpu_release(to), gpu_release(c);
    printf("%s: copies %.2f TB/s, product of 8192^3 %.0f TFLOP/s (bf16)\n", card.props.name,
           copy_bandwidth*1e-12, product_rate*1e-12);
}

// ---- a ladder ----------------------------------------------------------------------------------

static int wrong;                                       // rungs of all ladders

struct Ladder {
    const char *title;
    double bytes, operations;                           // the least that must be done (the other is 0)
    double most;                                        // the largest error: a few roundings to bf16
    Work restore = {};                                  // inputs as they were, outputs NaN
    std::function<double()> error = {};
    float first_ms = 0;

    // Runs once, to be checked, and then for the clock (on what the last run has left).
    void rung(const char *what, const Work &run) {
        if (!first_ms) printf("\n%s\n", title);
        restore();
        run();
        CUDA(cudaGetLastError());
        const double off = error();
        const float ms = milliseconds(run);
        if (!first_ms) first_ms = ms;
        printf("  %-40s %9.3f ms %7.1fx", what, (double)ms, (double)(first_ms/ms));
        if (bytes > 0) {
            const double rate = bytes*1e3/(double)ms;
            printf("  %7.2f TB/s %4.0f %%", rate*1e-12, 100*rate/copy_bandwidth);
        } else {
            const double rate = operations*1e3/(double)ms;
            printf("  %4.0f TFLOP/s %4.0f %%", rate*1e-12, 100*rate/product_rate);
        }
        printf("   error %.0e%s\n", off, off <= most ? "" : "  WRONG");
        fflush(stdout);
        wrong += !(off <= most);                        // NaN is wrong, too
    }
};

// The largest number of a row and the sum of exp(x - largest), by the whole block in one pass: when
// a larger number comes, the sum is scaled down to it ("online": Milakov and Gimelshein, 2018).
// W numbers per load; V: a multiple of W.
struct Softmax { float most, sum; };
template <int W> static __device__ Softmax online_softmax(const elem *row, int V) {
    float most = -INFINITY, sum = 0, x[W];
    for (int v = threadIdx.x*W; v < V; v += blockDim.x*W) {
        load(x, row + v);
        float now = most;
        for (int w = 0; w < W; w++) now = fmaxf(now, x[w]);
        sum *= __expf(most - now);
        for (int w = 0; w < W; w++) sum += __expf(x[w] - now);
        most = now;
    }
    const float all = block_max(most);
    const float share = most == -INFINITY ? 0 : sum*__expf(most - all);     // a thread without columns
    return { all, block_sum(share) };
}

#include "norm.cu"
#include "softmax.cu"
#include "crossentropy.cu"
#include "adamw.cu"
#include "matmul.cu"
#include "attention.cu"

int main(int argc, char **argv) {
    static const struct { const char *name; void (*climb)(); } ladders[] = {
        { "norm", norm_ladder },
        { "softmax", softmax_ladder },
        { "crossentropy", crossentropy_ladder },
        { "adamw", adamw_ladder },
        { "matmul", matmul_ladder },
        { "attention", attention_ladder },
    };
    card_open();
    card.compare_products = 1;
    measure_card();
    for (auto &ladder : ladders) {
        int asked = argc < 2;
        for (int i = 1; i < argc; i++) asked |= !strcmp(argv[i], ladder.name);
        if (asked) ladder.climb();
    }
    printf("\n%d wrong\n", wrong);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
