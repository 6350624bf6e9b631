// Prepares the division of a stream for layers: shards, positions, one schedule for each kind of
// mask, the scan. Sends nothing itself; what the runs it starts send is priced in the tables of
// strategies and transports. New documents remake masks, schedules and pieces in the memory taken
// at creation.
#include "parallel/plan.h"

#include "parallel/digest.h"
#include "runtime/clock.h"

#include <stdlib.h>
#include <string.h>

// --- creation ---

static canto_status check_desc(const canto_plan_desc *desc)
{
    CANTO_CHECK(desc->mesh->cp == desc->mesh->schedule->size,
                "plan: a mesh of %d context ranks with a lane of %d", desc->mesh->cp,
                desc->mesh->schedule->size);
    CANTO_CHECK(desc->sequences_n > 0 && desc->sequence_length > 0,
                "plan: %d sequences of %lld tokens; both must be positive", desc->sequences_n,
                (long long)desc->sequence_length);
    CANTO_CHECK(desc->documents_max >= desc->sequences_n,
                "plan: at most %d documents for %d sequences; every sequence starts one",
                desc->documents_max, desc->sequences_n);
    CANTO_CHECK(desc->state_count_max >= 0, "plan: states of %lld floats",
                (long long)desc->state_count_max);
    return CANTO_OK;
}

static canto_status make_shards(canto_plan *plan, canto_arena *arena, const int64_t *bounds)
{
    const canto_plan_desc *desc = &plan->desc;
    return canto_shards_create(arena, desc->layout, desc->mesh->cp, desc->sequences_n, bounds,
                               desc->weights, &plan->shards);
}

static canto_status take_tables(canto_plan *plan, const int64_t *bounds)
{
    const canto_plan_desc *desc = &plan->desc;
    canto_arena measuring;
    CANTO_TRY(canto_arena_create_measuring(&measuring));
    canto_status status = make_shards(plan, &measuring, bounds);
    size_t shards_bytes = measuring.peak;
    canto_arena_destroy(&measuring);
    CANTO_TRY(status);
    canto_share share = canto_shards_share(desc->layout, desc->mesh->cp, desc->sequences_n, bounds,
                                           desc->weights, desc->mesh->cp_rank);
    // Counts of rows in products of matrices are ints (CBLAS).
    if (share.tokens > INT32_MAX)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "plan: %lld tokens on one rank, more than %d; use more ranks, or a smaller "
                   "train.seq_len or train.batch",
                   (long long)share.tokens, INT32_MAX);
    plan->tokens = share.tokens;
    plan->segments = share.spans;
    CANTO_TRY(canto_arena_create(&plan->tables, shards_bytes + CANTO_ARENA_ALIGN));
    return make_shards(plan, &plan->tables, bounds);
}

static const canto_span *my_spans(const canto_plan *plan)
{
    return &plan->shards.spans[plan->shards.first[plan->desc.mesh->cp_rank]];
}

static canto_status make_tables(canto_plan *plan)
{
    const canto_plan_desc *desc = &plan->desc;
    int64_t *bounds = malloc(sizeof *bounds * ((size_t)desc->sequences_n + 1));
    if (!bounds)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "plan: no memory for %d sequences", desc->sequences_n);
    for (int i = 0; i <= desc->sequences_n; i++) bounds[i] = i * desc->sequence_length;
    canto_status status = take_tables(plan, bounds);
    free(bounds);
    return status;
}

// In the last of my spans that does not begin behind it.
int64_t canto_plan_position(const canto_plan *plan, int64_t token)
{
    const canto_span *spans = my_spans(plan);
    int low = 0, high = plan->segments - 1;
    while (low < high) {
        const int middle = high - (high - low) / 2;
        if (spans[middle].local <= token) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return spans[low].begin + token - spans[low].local;
}

static canto_status take_buffers(canto_plan *plan, canto_arena *tables, canto_arena *memory)
{
    const canto_plan_desc *desc = &plan->desc;
    // A document that starts within a span makes one piece more.
    int64_t pieces = (int64_t)plan->segments + desc->documents_max;
    CANTO_TRY(
        canto_arena_array(tables, "pieces", pieces, sizeof *plan->pieces, (void **)&plan->pieces));
    CANTO_TRY(canto_arena_array(tables, "documents", (int64_t)desc->documents_max + 1,
                                sizeof(int64_t), (void **)&plan->starts));
    plan->documents = (canto_documents){0, plan->starts};
    CANTO_TRY(canto_needs_create(tables, &plan->shards, desc->documents_max, &plan->needs));
    if (desc->state_count_max == 0) return CANTO_OK;
    canto_scan_desc scan = {.device = desc->device,
                            .comm = desc->mesh->schedule,
                            .transport = desc->linear,
                            .shards = &plan->shards,
                            .state_count_max = desc->state_count_max};
    return canto_scan_create(tables, memory, &scan, &plan->scan);
}

canto_status canto_plan_create(canto_arena *tables, canto_arena *memory,
                               const canto_plan_desc *desc, canto_plan *out)
{
    *out = (canto_plan){.desc = *desc, .trace = desc->mesh->schedule->trace};
    CANTO_TRY(check_desc(desc));
    canto_status status = make_tables(out);
    if (status == CANTO_OK) status = take_buffers(out, tables, memory);
    if (status != CANTO_OK) canto_plan_destroy(out);
    return status;
}

void canto_plan_destroy(canto_plan *plan)
{
    canto_arena_destroy(&plan->tables);
    *plan = (canto_plan){0};
}

canto_status canto_plan_add_mask(canto_plan *plan, canto_arena *tables, int64_t left, int64_t right,
                                 int *id)
{
    for (*id = 0; *id < plan->masks_n; ++*id) {
        if (plan->masks[*id].left == left && plan->masks[*id].right == right) return CANTO_OK;
    }
    CANTO_CHECK(plan->masks_n < CANTO_PLAN_MASKS_MAX,
                "plan: more than %d different masks; give layers fewer window sizes",
                CANTO_PLAN_MASKS_MAX);
    CANTO_CHECK(plan->documents.n == 0, "plan: masks are added before the first documents");
    int documents = plan->desc.documents_max, rank = plan->desc.mesh->cp_rank;
    canto_plan_mask *mask = &plan->masks[plan->masks_n];
    *mask = (canto_plan_mask){.left = left, .right = right};
    CANTO_TRY(canto_mask_create(tables, documents, &mask->mask));
    CANTO_TRY(canto_schedule_create(tables, &plan->shards, documents, rank, &mask->schedule));
    CANTO_TRY(canto_compiled_create(tables, &plan->shards, documents, rank, &mask->compiled));
    CANTO_TRY(canto_comm_reserve(plan->desc.mesh->schedule,
                                 canto_attend_messages(&plan->shards, documents)));
    plan->masks_n++;
    return CANTO_OK;
}

// --- documents ---

static canto_status check_documents(const canto_plan *plan, const canto_documents *documents)
{
    const canto_plan_desc *desc = &plan->desc;
    const int64_t *starts = documents->starts;
    if (documents->n > desc->documents_max) {
        CANTO_FAIL(CANTO_ERROR_CAPACITY,
                   "plan: %d documents in a step, made for %d; raise "
                   "data.max_documents",
                   documents->n, desc->documents_max);
    }
    CANTO_CHECK(documents->n > 0 && starts[0] == 0, "plan: the first document must start at 0");
    int sequence = 0;
    for (int i = 0; i < documents->n; i++) {
        CANTO_CHECK(starts[i] < starts[i + 1], "plan: document %d at %lld is empty", i,
                    (long long)starts[i]);
        sequence += starts[i] == sequence * desc->sequence_length;
    }
    CANTO_CHECK(starts[documents->n] == plan->shards.length,
                "plan: documents end at %lld, the stream at %lld", (long long)starts[documents->n],
                (long long)plan->shards.length);
    CANTO_CHECK(sequence == desc->sequences_n,
                "plan: a document crosses the boundary of sequences %d and %d at %lld",
                sequence - 1, sequence, (long long)(sequence * desc->sequence_length));
    return CANTO_OK;
}

static bool same_documents(const canto_documents *a, const canto_documents *b)
{
    return a->n == b->n &&
           memcmp(a->starts, b->starts, sizeof *a->starts * ((size_t)a->n + 1)) == 0;
}

static void make_pieces(canto_plan *plan)
{
    const canto_span *spans = my_spans(plan);
    const int64_t *starts = plan->documents.starts;
    plan->pieces_n = 0;
    for (int s = 0; s < plan->segments; s++) {
        int d = canto_documents_find(&plan->documents, spans[s].begin);
        for (int64_t at = spans[s].begin; at < spans[s].end; d++) {
            int64_t end = starts[d + 1] < spans[s].end ? starts[d + 1] : spans[s].end;
            plan->pieces[plan->pieces_n++] =
                (canto_piece){.local = spans[s].local + at - spans[s].begin,
                              .tokens = end - at,
                              .segment = s,
                              .continues = starts[d] < spans[s].begin,
                              .ends = end == spans[s].end};
            at = end;
        }
    }
}

static canto_status make_schedule(canto_plan *plan, canto_plan_mask *mask)
{
    CANTO_TRY(canto_mask_set(&mask->mask, &plan->documents, mask->left, mask->right));
    CANTO_TRY(canto_needs_make(&plan->needs, &mask->mask, &plan->shards));
    CANTO_TRY(
        canto_schedule_make(&mask->schedule, plan->desc.softmax, &plan->needs, &plan->shards));
    return canto_compiled_make(mask->compiled, &mask->schedule, &mask->mask, &plan->shards);
}

static uint64_t make_digest(const canto_plan *plan)
{
    canto_digest digest;
    canto_digest_init(&digest);
    canto_digest_add(&digest, 2,
                     (int64_t[]){(int64_t)canto_shards_digest(&plan->shards), plan->documents.n});
    canto_digest_add(&digest, plan->documents.n + 1, plan->documents.starts);
    for (int i = 0; i < plan->masks_n; i++) {
        const canto_plan_mask *mask = &plan->masks[i];
        canto_digest_add(
            &digest, 2,
            (int64_t[]){(int64_t)canto_mask_digest(&mask->mask), (int64_t)mask->schedule.digest});
    }
    if (plan->scan)
        canto_digest_add(&digest, 1, (int64_t[]){(int64_t)canto_scan_digest(plan->scan)});
    return canto_digest_value(&digest);
}

static canto_status remake(canto_plan *plan, const canto_documents *documents)
{
    plan->documents.n = 0; // until everything fits the new ones
    memcpy(plan->starts, documents->starts, sizeof *plan->starts * ((size_t)documents->n + 1));
    canto_documents mine = {documents->n, plan->starts};
    if (plan->scan) CANTO_TRY(canto_scan_documents(plan->scan, &mine));
    plan->documents = mine;
    canto_status status = CANTO_OK;
    for (int i = 0; i < plan->masks_n && status == CANTO_OK; i++)
        status = make_schedule(plan, &plan->masks[i]);
    if (status != CANTO_OK) plan->documents.n = 0;
    CANTO_TRY(status);
    make_pieces(plan);
    plan->digest = make_digest(plan);
    return CANTO_OK;
}

canto_status canto_plan_update(canto_plan *plan, const canto_documents *documents)
{
    double start_s = canto_clock_s();
    CANTO_TRY(check_documents(plan, documents));
    if (!same_documents(&plan->documents, documents)) CANTO_TRY(remake(plan, documents));
    plan->make_s = canto_clock_s() - start_s;
    return CANTO_OK;
}

// --- running ---

static canto_status check_mask(const canto_plan *plan, int mask)
{
    CANTO_CHECK(mask >= 0 && mask < plan->masks_n, "plan: there is no mask %d among %d", mask,
                plan->masks_n);
    CANTO_CHECK(plan->documents.n > 0,
                "plan: no documents yet; call canto_plan_update before attention");
    return CANTO_OK;
}

size_t canto_plan_work_bytes(const canto_plan *plan, int mask, const canto_attention_shape *shape)
{
    (void)mask;
    return canto_attend_work_bytes(&plan->shards, shape);
}

canto_status canto_plan_attend_forward(canto_plan *plan, int mask,
                                       const canto_attention_shape *shape, const float *q,
                                       const float *kv, float *o, float *lse, void *work)
{
    CANTO_TRY(check_mask(plan, mask));
    return canto_attend_forward(plan->masks[mask].compiled, plan->desc.mesh->schedule,
                                plan->desc.device, shape, q, kv, o, lse, work);
}

canto_status canto_plan_attend_backward(canto_plan *plan, int mask,
                                        const canto_attention_shape *shape, const float *q,
                                        const float *kv, const float *o, const float *lse,
                                        const float *dout, float *delta, float *dq, float *dkv,
                                        void *work)
{
    CANTO_TRY(check_mask(plan, mask));
    return canto_attend_backward(plan->masks[mask].compiled, plan->desc.mesh->schedule,
                                 plan->desc.device, shape, q, kv, o, lse, dout, delta, dq, dkv,
                                 work);
}
