// NCCL as far as train_olmo.cu needs it: the ranks are processes of one machine, and what they tell each
// other goes through memory that they share. A call is work of its stream, which is put off (cuda_runtime.h).
//
// Stricter than NCCL: what a sum leaves undefined is NaN. What does not show: the order in which NCCL adds,
// what a group of calls needs, links.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "cuda_runtime.h"

typedef enum { ncclSuccess, ncclInProgress = 7 } ncclResult_t;
typedef enum { ncclFloat, ncclBfloat16 } ncclDataType_t;
typedef enum { ncclSum } ncclRedOp_t;
typedef struct { char path[128]; } ncclUniqueId;
static inline const char *ncclGetErrorString(ncclResult_t) { return "no error"; }

enum { NCCL_RANKS = 8, NCCL_BYTES = 1 << 20 };          // at most; of one call
struct NcclMemory {
    long arrivals;
    alignas(64) char sent[NCCL_RANKS][NCCL_BYTES];
};
struct NcclComm { NcclMemory *shared; int rank, world; };
typedef NcclComm *ncclComm_t;
static inline const char *ncclGetLastError(ncclComm_t) { return "none"; }
static inline ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t *state) {
    return *state = ncclSuccess;
}

// A file without a name: it goes when the last rank does, however that ends.
static inline ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    const int file = memfd_create("ranks", 0);
    if (file < 0 || ftruncate(file, sizeof(NcclMemory))) gpu_fault("no memory for ranks to share");
    snprintf(id->path, sizeof id->path, "/proc/%d/fd/%d", getpid(), file);
    return ncclSuccess;
}
static inline ncclResult_t ncclCommInitRank(ncclComm_t *comm, int world, ncclUniqueId id, int rank) {
    const int file = open(id.path, O_RDWR);
    void *shared = mmap(NULL, sizeof(NcclMemory), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED || world > NCCL_RANKS) gpu_fault("ranks that share no memory, or more than 8");
    close(file);
    *comm = new NcclComm{ (NcclMemory *)shared, rank, world };
    return ncclSuccess;
}

// Returns when all have called it as often as this rank has.
static void nccl_wait(ncclComm_t c) {
    const long arrival = __atomic_fetch_add(&c->shared->arrivals, 1, __ATOMIC_SEQ_CST);
    const long all = (arrival/c->world + 1)*c->world;
    while (__atomic_load_n(&c->shared->arrivals, __ATOMIC_SEQ_CST) < all) usleep(50);
}
// One call: every rank shows x[0..bytes), and `take` reads what all have shown.
template <class Take>
static ncclResult_t nccl_call(const void *x, size_t bytes, ncclComm_t c, cudaStream_t s, Take take) {
    if (bytes > NCCL_BYTES) gpu_fault("ranks that send more than 1 MiB at a time");
    enqueue(s, [=] {
        memcpy(c->shared->sent[c->rank], x, bytes);
        nccl_wait(c);
        take();
        nccl_wait(c);                                   // before anybody shows something else
    });
    return ncclSuccess;
}
static float nccl_sum(ncclComm_t c, size_t i) {         // in the order of the ranks
    float sum = 0;
    for (int r = 0; r < c->world; r++) sum += ((float *)c->shared->sent[r])[i];
    return sum;
}
static size_t nccl_bytes(size_t n, ncclDataType_t type) { return n*(type == ncclFloat ? 4 : 2); }

static inline ncclResult_t ncclReduceScatter(const void *x, void *y, size_t n, ncclDataType_t, ncclRedOp_t,
                                             ncclComm_t c, cudaStream_t s) {
    return nccl_call(x, 4*n*c->world, c, s, [=] {
        memset((void *)x, 255, 4*n*c->world);
        for (size_t i = 0; i < n; i++) ((float *)y)[i] = nccl_sum(c, n*c->rank + i);
    });
}
static inline ncclResult_t ncclReduce(const void *x, void *y, size_t n, ncclDataType_t, ncclRedOp_t, int root,
                                      ncclComm_t c, cudaStream_t s) {
    return nccl_call(x, 4*n, c, s, [=] {
        for (size_t i = 0; i < n; i++) ((float *)y)[i] = c->rank == root ? nccl_sum(c, i) : NAN;
    });
}
static inline ncclResult_t ncclAllGather(const void *x, void *y, size_t n, ncclDataType_t type, ncclComm_t c,
                                         cudaStream_t s) {
    const size_t bytes = nccl_bytes(n, type);
    return nccl_call(x, bytes, c, s, [=] {
        for (int r = 0; r < c->world; r++) memcpy((char *)y + r*bytes, c->shared->sent[r], bytes);
    });
}
static inline ncclResult_t ncclBroadcast(const void *x, void *y, size_t n, ncclDataType_t type, int root,
                                         ncclComm_t c, cudaStream_t s) {
    const size_t bytes = nccl_bytes(n, type);
    return nccl_call(x, bytes, c, s, [=] { memcpy(y, c->shared->sent[root], bytes); });
}
static inline ncclResult_t ncclGroupStart() { return ncclSuccess; }
static inline ncclResult_t ncclGroupEnd() { return ncclSuccess; }
