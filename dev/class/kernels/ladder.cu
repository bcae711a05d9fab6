/*
Kernel ladders: from the naive kernel to what train_olmo.cu uses, one idea per rung.

    make ladders && dev/class/kernels/ladders           all six;  ... norm matmul: these alone
    (CUDA, sm_80 or newer)

    norm.cu     softmax.cu     crossentropy.cu     adamw.cu     matmul.cu     attention.cu

Each file asks one question: what is this kernel waiting for? Its rungs answer it. Every line gives
the time, what became of it (bytes that must move, per second, beside the measured copy bandwidth;
or operations per second, beside the measured product), and the distance to a reference in float on
the CPU, from train_olmo.c. The last rung is train_olmo.cu's own. No figures stand in the files'
heads yet: so far these ladders have been compiled, and not been run on a card.
*/
#define OLMO_LIBRARY
#include "../../../train_olmo.cu"
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

// bytes per second, read and written; operations per second
static double copy_bandwidth, product_rate;

// Milliseconds: the median of 15 runs after 3.
static float milliseconds(const std::function<void()> &run) {
    cudaEvent_t start, stop;
    std::vector<float> times;
    CUDA(cudaEventCreate(&start));
    CUDA(cudaEventCreate(&stop));
    for (int i = 0; i < 18; i++) {
        float ms;
        CUDA(cudaEventRecord(start, card.stream));
        run();
        LAUNCHED();
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

template <class X> static X *on_card(size_t n) { return (X *)gpu_allocate(n, sizeof(X), "a ladder"); }

// n numbers with standard deviation std, the same every time
template <class X> static std::vector<float> fill(X *p, size_t n, float std, uint64_t stream) {
    std::vector<float> host(n);
    std::vector<X> stored(n);
    #pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        float x = std*3.46f*((float)uniform(hash64(stream*1000003 + i)) - 0.5f);
        stored[i] = (X)x;
        host[i] = (float)stored[i];
    }
    CUDA(cudaMemcpy(p, stored.data(), n*sizeof(X), cudaMemcpyHostToDevice));
    return host;
}

// ||x - right||/||right|| over the first right.size() numbers on the card
template <class X> static double distance(const X *p, const std::vector<float> &right) {
    std::vector<X> host(right.size());
    double d = 0, size = 0;
    CUDA(cudaMemcpy(host.data(), p, right.size()*sizeof(X), cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < right.size(); i++) {
        double e = (double)(float)host[i] - (double)right[i];
        d += e*e, size += (double)right[i]*(double)right[i];
    }
    return sqrt(d/size);
}

static int wrong;
static float first_ms;
static void ladder(const char *title) { printf("\n%s\n", title); first_ms = 0; }

// One line. bytes or operations: the least that must be done (the other is 0).
static void rung(const char *what, float ms, double bytes, double operations, double error,
    double most) {
    if (first_ms == 0) first_ms = ms;
    printf("  %-44s %9.3f ms %7.1fx", what, (double)ms, (double)(first_ms/ms));
    if (bytes > 0) printf("  %6.2f TB/s %4.0f %%", bytes/(double)ms*1e-9,
        100*bytes/(double)ms*1e3/copy_bandwidth);
    else printf("  %5.0f TFLOP/s %3.0f %%", operations/(double)ms*1e-9,
        100*operations/(double)ms*1e3/product_rate);
    printf("   error %.0e%s\n", error, error <= most ? "" : "  WRONG");
    wrong += !(error <= most);
    fflush(stdout);
}

#include "norm.cu"
#include "softmax.cu"
#include "crossentropy.cu"
#include "adamw.cu"
#include "matmul.cu"
#include "attention.cu"

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(); } ladders[] = {
        { "norm", norm_ladder }, { "softmax", softmax_ladder }, { "crossentropy",
            crossentropy_ladder }, { "adamw", adamw_ladder },
        { "matmul", matmul_ladder }, { "attention", attention_ladder },
    };
    card_open();
    card.compare_products = 1;
    const size_t n = (size_t)1 << 30, side = 8192;
    char *from = on_card<char>(n), *to = on_card<char>(n);
    copy_bandwidth = 2e3*(double)n/(double)milliseconds([&] { CUDA(cudaMemcpyAsync(to, from, n,
        cudaMemcpyDeviceToDevice, card.stream)); });
    fill((elem *)from, side*side, 1, 1), fill((elem *)to, side*side, 1, 2);
    elem *c = on_card<elem>(side*side);
    product_rate = 2e3*(double)side*side*side/(double)milliseconds([&] { matmul_forward(c,
        (elem *)from, (elem *)to, side, side, side, 0, card.stream); });
    gpu_release(from), gpu_release(to), gpu_release(c);
    printf("%s: copies %.2f TB/s, product of 8192^3 %.0f TFLOP/s (bf16)\n", card.props.name,
        copy_bandwidth*1e-12, product_rate*1e-12);
    for (auto &l : ladders) {
        int asked = argc < 2;
        for (int i = 1; i < argc; i++) asked |= !strcmp(argv[i], l.name);
        if (asked) l.run();
    }
    printf("\n%d wrong\n", wrong);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
