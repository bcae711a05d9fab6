// The part of NCCL that train_olmo.cu uses, for ranks whose cards are processors: what would go from card to
// card goes through the hosts' sums (data/ranks.c). Sums are taken in double, in the order of the ranks.
// (Stricter than NCCL: what is of no use after it, because another rank has it, becomes NaN.)
#pragma once

enum ncclResult_t { ncclSuccess, ncclInProgress };
enum ncclDataType_t { ncclFloat, ncclBfloat16 };
enum ncclRedOp_t { ncclSum };
typedef int ncclComm_t;
struct ncclUniqueId { int unused; };
static const char *ncclGetErrorString(ncclResult_t) { return "nothing"; }
static const char *ncclGetLastError(ncclComm_t *) { return "nothing"; }
static ncclResult_t ncclGetUniqueId(ncclUniqueId *id) { return *id = {}, ncclSuccess; }
static ncclResult_t ncclCommInitRank(ncclComm_t *, int, ncclUniqueId, int) { return ncclSuccess; }
static ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t *state) {
    return *state = ncclSuccess, ncclSuccess;
}
static ncclResult_t ncclGroupStart() { return ncclSuccess; }
static ncclResult_t ncclGroupEnd() { return ncclSuccess; }

// Number i of an array, as a double; and back.
static double nccl_get(const void *x, ncclDataType_t type, size_t i) {
    return type == ncclFloat ? ((const float *)x)[i] : (double)(float)((const __nv_bfloat16 *)x)[i];
}
static void nccl_set(void *x, ncclDataType_t type, size_t i, double number) {
    if (type == ncclFloat) ((float *)x)[i] = (float)number;
    else ((__nv_bfloat16 *)x)[i] = __nv_bfloat16((float)number);
}

// out[0..n) = the sum over the ranks of in[0..n), but of nothing where a rank does not give.
static void nccl_sum(std::vector<double> *sums, const void *in, ncclDataType_t type, size_t n, bool gives) {
    sums->assign(n, 0.0);
    for (size_t i = 0; gives && i < n; i++) (*sums)[i] = nccl_get(in, type, i);
    ranks_sum(sums->data(), (int)n);
}
static ncclResult_t ncclReduceScatter(const void *in, void *out, size_t each, ncclDataType_t type, ncclRedOp_t,
                                      ncclComm_t, cudaStream_t stream) {
    enqueue(stream, [=] {
        std::vector<double> sums;
        nccl_sum(&sums, in, type, each*ranks.world, true);
        for (size_t i = 0; i < each*ranks.world; i++) nccl_set((void *)in, type, i, NAN);   // of no use now
        for (size_t i = 0; i < each; i++) nccl_set(out, type, i, sums[each*ranks.rank + i]);
    });
    return ncclSuccess;
}
static ncclResult_t ncclReduce(const void *in, void *out, size_t n, ncclDataType_t type, ncclRedOp_t, int root,
                               ncclComm_t, cudaStream_t stream) {
    enqueue(stream, [=] {
        std::vector<double> sums;
        nccl_sum(&sums, in, type, n, true);
        for (size_t i = 0; i < n; i++) nccl_set(out, type, i, root == ranks.rank ? sums[i] : NAN);
    });
    return ncclSuccess;
}
static ncclResult_t ncclBroadcast(const void *in, void *out, size_t n, ncclDataType_t type, int root,
                                  ncclComm_t, cudaStream_t stream) {
    enqueue(stream, [=] {
        std::vector<double> sums;
        nccl_sum(&sums, in, type, n, root == ranks.rank);
        for (size_t i = 0; i < n; i++) nccl_set(out, type, i, sums[i]);
    });
    return ncclSuccess;
}
static ncclResult_t ncclAllGather(const void *in, void *out, size_t each, ncclDataType_t type, ncclComm_t,
                                  cudaStream_t stream) {
    enqueue(stream, [=] {
        for (int r = 0; r < ranks.world; r++) {
            std::vector<double> sums;
            nccl_sum(&sums, in, type, each, r == ranks.rank);
            for (size_t i = 0; i < each; i++) nccl_set(out, type, each*r + i, sums[i]);
        }
    });
    return ncclSuccess;
}
