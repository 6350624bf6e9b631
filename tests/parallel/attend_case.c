#include "tests/parallel/attend_case.h"

#include <string.h>

static float *floats(canto_arena *arena, const char *what, int64_t n)
{
    float *x;
    CANTO_TEST_OK(canto_arena_array(arena, what, n, sizeof *x, (void **)&x));
    return x;
}

static int64_t q_width(const canto_attention_shape *shape)
{
    return (int64_t)shape->heads * shape->key_dim;
}

static int64_t o_width(const canto_attention_shape *shape)
{
    return (int64_t)shape->heads * shape->value_dim;
}

void canto_test_inputs_create(canto_arena *arena, const canto_attention_shape *shape,
                              int64_t tokens, canto_test_inputs *out)
{
    *out = (canto_test_inputs){.shape = *shape, .tokens = tokens};
    const int64_t kv_width = canto_attention_kv_width(shape);
    out->q = floats(arena, "q", tokens * q_width(shape));
    out->kv = floats(arena, "kv", tokens * kv_width);
    out->dout = floats(arena, "dout", tokens * o_width(shape));
    canto_test_fill("q", tokens * q_width(shape), out->q);
    canto_test_fill("kv", tokens * kv_width, out->kv);
    canto_test_fill("dout", tokens * o_width(shape), out->dout);
}

static void copy_rows(const canto_test_case *it, int64_t width, bool gather, float *mine,
                      float *all)
{
    const canto_shards *shards = &it->shards;
    for (int s = shards->first[it->comm->rank]; s < shards->first[it->comm->rank + 1]; s++) {
        const canto_span *span = &shards->spans[s];
        float *local = mine + span->local * width;
        float *global = all + span->begin * width;
        const size_t bytes = (size_t)((span->end - span->begin) * width) * sizeof *all;
        memcpy(gather ? local : global, gather ? global : local, bytes);
    }
}

// My rows of a tensor of the whole sequence, on the device.
static float *gathered(canto_arena *arena, canto_arena *memory, const canto_test_case *it,
                       const char *what, int64_t width, float *all)
{
    const size_t mark = canto_arena_mark(arena);
    float *mine = floats(arena, what, it->tokens * width);
    float *at = floats(memory, what, it->tokens * width);
    copy_rows(it, width, true, mine, all);
    canto_test_upload(at, mine, (size_t)(it->tokens * width) * sizeof *at);
    canto_arena_release(arena, mark);
    return at;
}

void canto_test_case_scatter(const canto_test_case *it, int64_t width, const float *mine,
                             float *all)
{
    copy_rows(it, width, false, (float *)mine, all); // mine is the source
}

static void create_results(canto_arena *arena, canto_test_case *it)
{
    const canto_attention_shape *shape = &it->inputs->shape;
    it->o = floats(arena, "o", it->tokens * o_width(shape));
    it->lse = floats(arena, "lse", it->tokens * shape->heads);
    it->dq = floats(arena, "dq", it->tokens * q_width(shape));
    it->dkv = floats(arena, "dkv", it->tokens * canto_attention_kv_width(shape));
}

static void create_tensors(canto_arena *arena, canto_arena *memory, canto_test_case *it)
{
    const canto_test_inputs *inputs = it->inputs;
    const canto_attention_shape *shape = &inputs->shape;
    const int64_t kv_width = canto_attention_kv_width(shape);
    canto_test_tensors *at = &it->at;
    at->q = gathered(arena, memory, it, "my q", q_width(shape), inputs->q);
    at->kv = gathered(arena, memory, it, "my kv", kv_width, inputs->kv);
    at->dout = gathered(arena, memory, it, "my dout", o_width(shape), inputs->dout);
    at->o = floats(memory, "o", it->tokens * o_width(shape));
    at->lse = floats(memory, "lse", it->tokens * shape->heads);
    at->delta = floats(memory, "delta", it->tokens * shape->heads);
    at->dq = floats(memory, "dq", it->tokens * q_width(shape));
    at->dkv = floats(memory, "dkv", it->tokens * kv_width);
    CANTO_TEST_OK(
        canto_arena_take(memory, "work", canto_attend_work_bytes(&it->shards, shape), &at->work));
}

void canto_test_case_create(canto_arena *arena, canto_arena *memory, canto_comm *comm,
                            const canto_test_split *split, const canto_mask *mask,
                            const canto_test_inputs *inputs, canto_test_case *out)
{
    *out = (canto_test_case){.comm = comm, .inputs = inputs};
    const int rank = comm->rank;
    CANTO_TEST_OK(canto_shards_create(arena, split->layout, comm->size, split->sequences_n,
                                      split->bounds, split->weights, &out->shards));
    out->tokens = canto_shards_tokens(&out->shards, rank);
    CANTO_TEST_OK(canto_needs_create(arena, &out->shards, mask->capacity, &out->needs));
    CANTO_TEST_OK(canto_schedule_create(arena, &out->shards, mask->capacity, rank, &out->schedule));
    CANTO_TEST_OK(canto_compiled_create(arena, &out->shards, mask->capacity, rank, &out->compiled));
    CANTO_TEST_OK(canto_needs_make(&out->needs, mask, &out->shards));
    CANTO_TEST_OK(canto_schedule_make(&out->schedule, split->strategy, &out->needs, &out->shards));
    CANTO_TEST_OK(canto_compiled_make(out->compiled, &out->schedule, mask, &out->shards));
    create_results(arena, out);
    create_tensors(arena, memory, out);
}

static void take_down(const canto_test_case *it, float *to, const float *from, int64_t width)
{
    canto_test_download(to, from, (size_t)(it->tokens * width) * sizeof *to);
}

void canto_test_case_forward(canto_test_case *it)
{
    const canto_attention_shape *shape = &it->inputs->shape;
    const canto_test_tensors *at = &it->at;
    CANTO_TEST_OK(canto_attend_forward(it->compiled, it->comm, canto_test_device, shape, at->q,
                                       at->kv, at->o, at->lse, at->work));
    take_down(it, it->o, at->o, o_width(shape));
    take_down(it, it->lse, at->lse, shape->heads);
}

void canto_test_case_backward(canto_test_case *it)
{
    const canto_attention_shape *shape = &it->inputs->shape;
    const canto_test_tensors *at = &it->at;
    CANTO_TEST_OK(canto_attend_backward(it->compiled, it->comm, canto_test_device, shape, at->q,
                                        at->kv, at->o, at->lse, at->dout, at->delta, at->dq,
                                        at->dkv, at->work));
    take_down(it, it->dq, at->dq, q_width(shape));
    take_down(it, it->dkv, at->dkv, canto_attention_kv_width(shape));
}
