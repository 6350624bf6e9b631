// Double of cuBLAS: products by their definition, column after column, which OpenBLAS has too.
#include "tests/doubles/doubles.h"

#include <cblas.h>
#include <cublas_v2.h>
#include <stdlib.h>
#include <string.h>

struct cublasContext {
    struct CUstream_st *stream;
    bool open, exact, workspace;
};

static cublasStatus_t refuse(const char *why)
{
    return (cublasStatus_t)canto_doubles_refuse(CUBLAS_STATUS_INVALID_VALUE, "%s", why);
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "success" : canto_doubles_state.sentence;
}

cublasStatus_t cublasCreate_v2(cublasHandle_t *out)
{
    CANTO_DOUBLE(cublasStatus_t);
    *out = calloc(1, sizeof **out); // kept, so that a stale one is known
    (*out)->open = true;
    canto_doubles_state.objects++;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    CANTO_DOUBLE(cublasStatus_t);
    if (!handle || !handle->open) return refuse("cublasDestroy of no handle");
    handle->open = false;
    canto_doubles_state.objects--;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    CANTO_DOUBLE(cublasStatus_t);
    if (!handle->open || !canto_doubles_is_stream(stream)) return refuse("cublasSetStream");
    handle->stream = stream;
    handle->workspace = false; // it is lost, and set after the stream
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t bytes)
{
    CANTO_DOUBLE(cublasStatus_t);
    void *place;
    if (canto_shadow_translate(&canto_doubles_state.memory, "cublasSetWorkspace", workspace, bytes,
                               &place) != CANTO_OK)
        return (cublasStatus_t)canto_doubles_take_error(CUBLAS_STATUS_INVALID_VALUE);
    handle->workspace = true;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    CANTO_DOUBLE(cublasStatus_t);
    handle->exact = mode == CUBLAS_DEFAULT_MATH;
    return CUBLAS_STATUS_SUCCESS;
}

typedef struct product {
    CBLAS_TRANSPOSE trans_a, trans_b;
    int64_t m, n, k, lda, ldb, ldc;
    float alpha, beta;
    void *a, *b, *c; // places
    size_t in;       // bytes of a number of the operands; the result is fp32
} product;

static float number_at(const product *p, const void *matrix, int64_t i)
{
    if (p->in == sizeof(float)) return ((const float *)matrix)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)matrix)[i] << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

// Of bf16 numbers with a result of fp32 ones, by its definition.
static canto_status run_bf16(void *argument, bool *done)
{
    const product *p = argument;
    for (int64_t j = 0; j < p->n; j++) {
        for (int64_t i = 0; i < p->m; i++) {
            double sum = 0;
            for (int64_t l = 0; l < p->k; l++)
                sum += (double)number_at(
                           p, p->a, p->trans_a == CblasTrans ? i * p->lda + l : l * p->lda + i) *
                       (double)number_at(
                           p, p->b, p->trans_b == CblasTrans ? l * p->ldb + j : j * p->ldb + l);
            float *c = (float *)p->c + j * p->ldc + i;
            *c = (float)(p->alpha * sum + (p->beta == 0 ? 0 : (double)p->beta * *c));
        }
    }
    *done = true;
    return CANTO_OK;
}

static canto_status run_product(void *argument, bool *done)
{
    const product *p = argument;
    cblas_sgemm(CblasColMajor, p->trans_a, p->trans_b, (blasint)p->m, (blasint)p->n, (blasint)p->k,
                p->alpha, p->a, (blasint)p->lda, p->b, (blasint)p->ldb, p->beta, p->c,
                (blasint)p->ldc);
    *done = true;
    return CANTO_OK;
}

// Where a matrix of `columns` columns at distance ld, `rows` numbers each, lies.
static canto_status place(const char *what, const void *address, int64_t rows, int64_t columns,
                          int64_t ld, size_t bytes, void **out)
{
    CANTO_CHECK(ld >= (rows > 1 ? rows : 1), "cublasSgemm: %s: columns of %lld at distance %lld",
                what, (long long)rows, (long long)ld);
    *out = NULL;
    if (rows == 0 || columns == 0) return CANTO_OK;
    const int64_t numbers = (columns - 1) * ld + rows;
    return canto_shadow_translate(&canto_doubles_state.memory, what, address,
                                  (size_t)numbers * bytes, out);
}

static canto_status find_places(product *p, const void *a, const void *b, void *c)
{
    const bool ta = p->trans_a == CblasTrans, tb = p->trans_b == CblasTrans;
    CANTO_TRY(
        place("the first matrix", a, ta ? p->k : p->m, ta ? p->m : p->k, p->lda, p->in, &p->a));
    CANTO_TRY(
        place("the second matrix", b, tb ? p->n : p->k, tb ? p->k : p->n, p->ldb, p->in, &p->b));
    return place("the result", c, p->m, p->n, p->ldc, sizeof(float), &p->c);
}

static cublasStatus_t put(cublasHandle_t handle, product *p, cublasOperation_t trans_a,
                          cublasOperation_t trans_b,
                          canto_status (*run)(void *argument, bool *done), const void *a,
                          const void *b, void *c)
{
    p->trans_a = trans_a == CUBLAS_OP_T ? CblasTrans : CblasNoTrans;
    p->trans_b = trans_b == CUBLAS_OP_T ? CblasTrans : CblasNoTrans;
    canto_status status = find_places(p, a, b, c);
    if (status == CANTO_OK)
        status = canto_shadow_put(canto_doubles_state.streams, handle->stream->number, "gemm", run,
                                  sizeof *p, p);
    return status == CANTO_OK
               ? CUBLAS_STATUS_SUCCESS
               : (cublasStatus_t)canto_doubles_take_error(CUBLAS_STATUS_INVALID_VALUE);
}

cublasStatus_t cublasSgemm_v2_64(cublasHandle_t handle, cublasOperation_t trans_a,
                                 cublasOperation_t trans_b, int64_t m, int64_t n, int64_t k,
                                 const float *alpha, const float *a, int64_t lda, const float *b,
                                 int64_t ldb, const float *beta, float *c, int64_t ldc)
{
    CANTO_DOUBLE(cublasStatus_t);
    if (!handle->open || !handle->exact || !handle->workspace)
        return refuse("cublasSgemm: no handle, no exact fp32 or no workspace");
    if (m < 0 || n < 0 || k < 0) return refuse("cublasSgemm: a size below 0");
    product p = {.m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc, .in = sizeof(float)};
    p.alpha = *alpha;
    p.beta = *beta;
    return put(handle, &p, trans_a, trans_b, run_product, a, b, c);
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t trans_a,
                               cublasOperation_t trans_b, int64_t m, int64_t n, int64_t k,
                               const void *alpha, const void *a, cudaDataType a_type, int64_t lda,
                               const void *b, cudaDataType b_type, int64_t ldb, const void *beta,
                               void *c, cudaDataType c_type, int64_t ldc,
                               cublasComputeType_t compute, cublasGemmAlgo_t algorithm)
{
    CANTO_DOUBLE(cublasStatus_t);
    (void)algorithm;
    if (!handle->open || !handle->workspace) return refuse("cublasGemmEx: no handle or workspace");
    if (m < 0 || n < 0 || k < 0) return refuse("cublasGemmEx: a size below 0");
    if (a_type != CUDA_R_16BF || b_type != CUDA_R_16BF || c_type != CUDA_R_32F ||
        compute != CUBLAS_COMPUTE_32F)
        return refuse("cublasGemmEx: not bf16 numbers, summed in fp32");
    product p = {
        .m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc, .in = sizeof(uint16_t)};
    p.alpha = *(const float *)alpha;
    p.beta = *(const float *)beta;
    return put(handle, &p, trans_a, trans_b, run_bf16, a, b, c);
}
