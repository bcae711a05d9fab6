// cuBLASLt's product as a plain loop, with all that train_olmo.cu tells it: columns first, widths, strides
// of a batch, transposes, beta.
#pragma once
#include "cuda_bf16.h"

typedef enum { CUBLAS_STATUS_SUCCESS, CUBLAS_STATUS_INVALID_VALUE = 7 } cublasStatus_t;
static inline const char *cublasLtGetStatusString(cublasStatus_t s) {
    return s ? "invalid value" : "success";
}
typedef enum { CUDA_R_32F = 0, CUDA_R_16BF = 14 } cudaDataType;
enum { CUBLAS_COMPUTE_32F = 68 };
enum { CUBLAS_OP_N, CUBLAS_OP_T };
enum { CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB };
enum { CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET };

// rows x cols, a column `width` numbers behind the one before
typedef struct { cudaDataType type; size_t rows, cols; int64_t width, stride; int32_t batch; }
    cublasLtMatrixLayoutOpaque_t, *cublasLtMatrixLayout_t;
typedef struct { int transposed[2]; } cublasLtMatmulDescOpaque_t, *cublasLtMatmulDesc_t;

static cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t m, cudaDataType type, size_t rows,
                                               size_t cols, int64_t width) {
    *m = { type, rows, cols, width, 0, 1 };
    return (size_t)width < rows ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t m, int what, const void *value,
                                                       size_t size) {
    const int is_count = what == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
    if (size != (is_count ? sizeof m->batch : sizeof m->stride)) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(is_count ? (void *)&m->batch : (void *)&m->stride, value, size);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t how, int, cudaDataType) {
    *how = {};
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t how, int which, const void *value,
                                                     size_t size) {
    if (size != sizeof(int)) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&how->transposed[which], value, size);
    return CUBLAS_STATUS_SUCCESS;
}

// Algorithms, which have no wishes. Two are of no use: one is proposed with a bad state, one refuses. Three
// are fast, but give other bits: one sums in another order, two differ in the first number of c alone, or in
// the last. SAME has the bits of SLOW. `takes`: how long, by the card's clock; nobody waits for that.
typedef void *cublasLtHandle_t;
enum { UNFIT, SLOW, REFUSES, BACKWARDS, FIRST, LAST, SAME, ALGORITHMS };
static const double takes[ALGORITHMS] = { 0, 2000, 0, 0, 0, 0, 1000 };                  // ms
typedef struct { int order; } cublasLtMatmulAlgo_t;
typedef struct { int unused; } cublasLtMatmulPreferenceOpaque_t;
typedef struct { cublasLtMatmulAlgo_t algo; cublasStatus_t state; } cublasLtMatmulHeuristicResult_t;
enum { CUBLASLT_REDUCTION_SCHEME_NONE, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2 };
enum { CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
       CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
       CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES };
static cublasStatus_t cublasLtCreate(cublasLtHandle_t *) { return CUBLAS_STATUS_SUCCESS; }
static cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreferenceOpaque_t *) {
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreferenceOpaque_t *, int,
                                                           const void *, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
    cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreferenceOpaque_t *, int,
    cublasLtMatmulHeuristicResult_t *proposal, int *found) {
    for (int i = 0; i < ALGORITHMS; i++)
        proposal[i] = { { i }, i == UNFIT ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS };
    return *found = ALGORITHMS, CUBLAS_STATUS_SUCCESS;
}

// Number i of a matrix, as a float; and back.
static inline float number(const void *x, cudaDataType type, size_t i) {
    return type == CUDA_R_32F ? ((const float *)x)[i] : (float)((const __nv_bfloat16 *)x)[i];
}
static inline void put_number(void *x, cudaDataType type, size_t i, float value) {
    if (type == CUDA_R_32F) ((float *)x)[i] = value;
    else ((__nv_bfloat16 *)x)[i] = value;
}

// d = alpha op(a) op(b) + beta c, of which c is not read if beta is 0
static cublasStatus_t cublasLtMatmul(
    cublasLtHandle_t, cublasLtMatmulDesc_t how, const float *alpha,
    const void *a, cublasLtMatrixLayout_t a_is, const void *b, cublasLtMatrixLayout_t b_is,
    const float *beta, const void *c, cublasLtMatrixLayout_t c_is,
    void *d, cublasLtMatrixLayout_t d_is, const cublasLtMatmulAlgo_t *algorithm, void *, size_t,
    cudaStream_t stream) {
    const auto A = *a_is, B = *b_is, C = *c_is, D = *d_is;
    const int order = algorithm->order, ta = how->transposed[0], tb = how->transposed[1];
    const size_t M = D.rows, N = D.cols, K = ta ? A.rows : A.cols;
    const float times = *alpha, keep = *beta;
    if ((ta ? A.cols : A.rows) != M || (tb ? B.rows : B.cols) != N || (tb ? B.cols : B.rows) != K
        || C.rows != M || C.cols != N || A.batch != D.batch || B.batch != D.batch || C.batch != D.batch
        || order == UNFIT || order == REFUSES)
        return CUBLAS_STATUS_INVALID_VALUE;
    enqueue(stream, [=] {
        std::vector<float> columns(K*M);                // of op(a), as floats
        clock_ahead += takes[order];
        for (int i = 0; i < D.batch; i++) {
            for (size_t k = 0; k < K; k++) for (size_t m = 0; m < M; m++)
                columns[k*M + m] = number(a, A.type, i*A.stride + (ta ? m*A.width + k : k*A.width + m));
            #pragma omp parallel for
            for (size_t n = 0; n < N; n++) {
                std::vector<float> sums(M);
                float *sum = sums.data();
                for (size_t step = 0; step < K; step++) {
                    const size_t k = order == BACKWARDS ? K - 1 - step : step;
                    const float y = number(b, B.type, i*B.stride + (tb ? k*B.width + n : n*B.width + k));
                    const float *x = &columns[k*M];
                    #pragma omp simd
                    for (size_t m = 0; m < M; m++) sum[m] += x[m]*y;
                }
                for (size_t m = 0; m < M; m++) {
                    const float before = keep == 0 ? 0 : keep*number(c, C.type, i*C.stride + n*C.width + m);
                    put_number(d, D.type, i*D.stride + n*D.width + m, times*sum[m] + before);
                }
            }
            const size_t differs = i*D.stride + (order == LAST ? (N - 1)*D.width + M - 1 : 0);
            if (order == FIRST || order == LAST) ((char *)d)[differs*(D.type == CUDA_R_32F ? 4 : 2)] ^= 1;
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}
