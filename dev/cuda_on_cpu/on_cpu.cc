// A program for the GPU, compiled for a CPU. PROGRAM: its file.
#include "cuda_runtime.h"                               // first, as nvcc does
#include PROGRAM

// Hopper's attention is machine code of that card. No other card asks for it.
namespace hopper {
template <int D> void forward(elem *, float *, void *, const elem *, int, const elem *, int, int, int, int,
                              int, Stream) { gpu_fault("Hopper's attention"); }
template <int D> void backward(elem *, void *, const elem *, const elem *, const float *, const elem *,
                               const float *, int, int, int, int, Stream) { gpu_fault("Hopper's attention"); }
size_t work_bytes(int, int, int, int) { gpu_fault("Hopper's attention"); }
}
