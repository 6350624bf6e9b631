// Products by oneDNN: fp32 by its sgemm, bf16 by its matmul, one primitive for each shape that
// occurs. Primitives are made for one thread, because how a product is cut, and with it its last
// bits, would else depend on the number of threads.
#include "runtime/products.h"

#include "runtime/probe.h"

#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdio.h>
#ifdef _OPENMP
#include <omp.h>
#endif

// --- one thread ---

static int alone(void)
{
#ifdef _OPENMP
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    return threads;
#else
    return 1;
#endif
}

static void together(int threads)
{
#ifdef _OPENMP
    omp_set_num_threads(threads);
#else
    (void)threads;
#endif
}

// --- what the library is ---

static bool has_bf16(void)
{
    // Below this, its products of bf16 numbers are emulated, or plain loops.
    const int isa = (int)dnnl_get_effective_cpu_isa(), needed = (int)dnnl_cpu_isa_avx512_core_bf16;
    return (isa & needed) == needed;
}

canto_probe_products canto_probe_products_look(void)
{
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } names[] = {
        {dnnl_cpu_isa_avx512_core_amx, "AMX"},
        {dnnl_cpu_isa_avx512_core_bf16, "AVX-512 with BF16"},
        {dnnl_cpu_isa_avx512_core, "AVX-512"},
        {dnnl_cpu_isa_avx2, "AVX2"},
    };
    const int isa = (int)dnnl_get_effective_cpu_isa();
    const dnnl_version_t *version = dnnl_version();
    canto_probe_products out = {.library = "oneDNN", .bf16 = has_bf16()};
    snprintf(out.version, sizeof out.version, "%d.%d.%d", version->major, version->minor,
             version->patch);
    for (size_t i = 0; i < sizeof names / sizeof *names && !out.fastest; i++) {
        if ((isa & (int)names[i].isa) == (int)names[i].isa) out.fastest = names[i].name;
    }
    return out;
}

// --- fp32 ---

void canto_products_f32(const canto_gemm_shape *s, const float *a, const float *b, float *c)
{
    const int threads = alone();
    // Fails for shapes that are none, alone.
    (void)dnnl_sgemm(s->trans_a ? 'T' : 'N', s->trans_b ? 'T' : 'N', s->m, s->n, s->k, 1, a, s->lda,
                     b, s->ldb, s->adds ? 1 : 0, c, s->ldc);
    together(threads);
}

// --- bf16 ---

typedef struct product {
    canto_gemm_shape shape;
    dnnl_memory_desc_t a, b, c, scratch;
    dnnl_primitive_t run; // owned, for the life of the process
} product;

enum { PRODUCTS_MAX = 256 };

static struct {
    pthread_mutex_t lock;
    dnnl_engine_t engine; // NULL: not yet
    int n;
    product list[PRODUCTS_MAX]; // in the order of their first use
} made = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_same(const canto_gemm_shape *a, const canto_gemm_shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->trans_a == b->trans_a &&
           a->trans_b == b->trans_b && a->adds == b->adds && a->out == b->out && a->lda == b->lda &&
           a->ldb == b->ldb && a->ldc == b->ldc;
}

static dnnl_status_t describe(dnnl_memory_desc_t *out, int64_t rows, int64_t columns, bool trans,
                              int64_t ld, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, columns}, plain = {ld, 1}, turned = {1, ld};
    return dnnl_memory_desc_init_by_strides(out, 2, dims, type, trans ? turned : plain);
}

static dnnl_status_t make_attributes(bool adds, dnnl_primitive_attr_t *attr)
{
    dnnl_post_ops_t after;
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (status != dnnl_success) return status;
    status = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (status != dnnl_success || !adds) return status;
    status = dnnl_post_ops_create(&after);
    if (status != dnnl_success) return status;
    status = dnnl_post_ops_append_sum(after, 1);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*attr, after);
    dnnl_post_ops_destroy(after);
    return status;
}

static dnnl_status_t make_primitive(product *p, const dnnl_primitive_attr_t attr)
{
    const canto_gemm_shape *s = &p->shape;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t how;
    dnnl_status_t status = describe(&p->a, s->m, s->k, s->trans_a, s->lda, dnnl_bf16);
    if (status == dnnl_success) status = describe(&p->b, s->k, s->n, s->trans_b, s->ldb, dnnl_bf16);
    if (status == dnnl_success)
        status =
            describe(&p->c, s->m, s->n, false, s->ldc, s->out == CANTO_BF16 ? dnnl_bf16 : dnnl_f32);
    if (status == dnnl_success) status = dnnl_matmul_desc_init(&desc, &p->a, &p->b, NULL, &p->c);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&how, &desc, attr, made.engine, NULL);
    if (status != dnnl_success) return status;
    p->scratch = *dnnl_primitive_desc_query_md(how, dnnl_query_scratchpad_md, 0);
    status = dnnl_primitive_create(&p->run, how);
    dnnl_primitive_desc_destroy(how);
    return status;
}

static dnnl_status_t make(const canto_gemm_shape *shape, product *p)
{
    dnnl_primitive_attr_t attr = NULL;
    *p = (product){.shape = *shape};
    dnnl_status_t status = dnnl_success;
    if (!made.engine) status = dnnl_engine_create(&made.engine, dnnl_cpu, 0);
    if (status == dnnl_success) status = make_attributes(shape->adds, &attr);
    if (status == dnnl_success) status = make_primitive(p, attr);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

// The one of that shape; made in `own` when the list is full. NULL: the library has none.
static const product *find(const canto_gemm_shape *shape, product *own)
{
    const product *found = NULL;
    pthread_mutex_lock(&made.lock);
    for (int i = 0; i < made.n && !found; i++) {
        if (is_same(&made.list[i].shape, shape)) found = &made.list[i];
    }
    product *place = made.n < PRODUCTS_MAX ? &made.list[made.n] : own;
    if (!found && make(shape, place) == dnnl_success) {
        found = place;
        made.n += place != own;
    }
    pthread_mutex_unlock(&made.lock);
    return found;
}

static dnnl_status_t run(const product *p, const void *a, const void *b, void *c)
{
    // The library only reads the operands.
    const struct {
        int what;
        const dnnl_memory_desc_t *desc;
        void *data;
    } operands[] = {
        {DNNL_ARG_SRC, &p->a, (void *)a},
        {DNNL_ARG_WEIGHTS, &p->b, (void *)b},
        {DNNL_ARG_DST, &p->c, c},
        {DNNL_ARG_SCRATCHPAD, &p->scratch, DNNL_MEMORY_ALLOCATE},
    };
    enum { N = sizeof operands / sizeof *operands };
    dnnl_exec_arg_t arguments[N] = {{0}};
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = dnnl_stream_create(&stream, made.engine, dnnl_stream_default_flags);
    for (int i = 0; i < N && status == dnnl_success; i++) {
        arguments[i].arg = operands[i].what;
        status = dnnl_memory_create(&arguments[i].memory, operands[i].desc, made.engine,
                                    operands[i].data);
    }
    if (status == dnnl_success) status = dnnl_primitive_execute(p->run, stream, N, arguments);
    if (status == dnnl_success) status = dnnl_stream_wait(stream);
    for (int i = 0; i < N; i++) {
        if (arguments[i].memory) dnnl_memory_destroy(arguments[i].memory);
    }
    if (stream) dnnl_stream_destroy(stream);
    return status;
}

bool canto_products_bf16(const canto_gemm_shape *shape, const uint16_t *a, const uint16_t *b,
                         void *c)
{
    if (!has_bf16()) return false;
    const int threads = alone();
    product own;
    const product *p = find(shape, &own);
    const bool done = p && run(p, a, b, c) == dnnl_success;
    if (p == &own) dnnl_primitive_destroy(own.run);
    together(threads);
    return done;
}
