// What is recomputed changes no bit of loss and gradients, no message and no allocation, and frees
// exactly the memory that it says: every model of models.h on all ranks of the test program.
#include "tests/allocations.h"
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/layers/trainer.h"

#include "parallel/strategy.h"
#include "runtime/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 300, CHOICES_N = CANTO_RECOMPUTE_BLOCK + 1 };

typedef struct outcome {
    double loss;
    float *grads; // owned, [count]
    int64_t count;
    canto_comm_counts forward, backward; // on the lane of schedules
    int64_t allocations;
} outcome;

typedef struct division {
    const canto_strategy *softmax;
    const canto_transport *linear;
    canto_layout layout;
} division;

enum { DIVISIONS_MAX = 32, RANKS_MAX = 8 };
static const int weights[RANKS_MAX] = {2, 1, 3, 1, 2, 1, 3, 1};

// Every strategy for this number of ranks with every transport; layouts in turn, so that all three
// are met.
static int list_divisions(division divisions[DIVISIONS_MAX])
{
    const int size = canto_test_world->size;
    int n = 0;
    assert_true(size <= RANKS_MAX);
    for (int s = 0; canto_strategies[s]; s++) {
        if (!canto_strategies[s]->applicable(size)) continue;
        for (int t = 0; canto_transports[t]; t++) {
            assert_true(n < DIVISIONS_MAX);
            const canto_layout layout = (canto_layout)(n % (CANTO_LAYOUT_UNEVEN + 1));
            divisions[n++] = (division){canto_strategies[s], canto_transports[t], layout};
        }
    }
    return n;
}

static const canto_documents texts[] = {
    {4, (int64_t[]){0, 1, 120, 127, TOKENS}},
    {1, (int64_t[]){0, TOKENS}},
};

static void open(trainer *t, const canto_model_config *config, const division *how)
{
    const trainer_desc desc = {.config = config,
                               .layout = how->layout,
                               .weights = how->layout == CANTO_LAYOUT_UNEVEN ? weights : NULL,
                               .softmax = how->softmax,
                               .linear = how->linear,
                               .dp = 1,
                               .sequences_n = 1,
                               .sequence_length = TOKENS,
                               .documents_max = 4,
                               .gradients = true};
    trainer_open(t, canto_test_world, &desc);
}

static canto_comm_counts since(const canto_comm *lane, canto_comm_counts before)
{
    return (canto_comm_counts){
        .messages_sent = lane->counts.messages_sent - before.messages_sent,
        .bytes_sent = lane->counts.bytes_sent - before.bytes_sent,
        .messages_received = lane->counts.messages_received - before.messages_received,
        .bytes_received = lane->counts.bytes_received - before.bytes_received};
}

// A step's gradients of this rank, before any reduction.
static void run(trainer *t, outcome *out)
{
    const canto_comm *lane = t->mesh.schedule;
    const int64_t allocations = canto_test_allocations();
    canto_comm_counts before = lane->counts;
    canto_model_zero_grads(t->model);
    CANTO_TEST_OK(canto_model_forward(t->model, t->tokens, NULL));
    out->forward = since(lane, before);
    CANTO_TEST_OK(canto_model_loss(t->model, t->targets, 0.25f, true, &out->loss));
    before = lane->counts;
    CANTO_TEST_OK(canto_model_backward(t->model, NULL));
    out->backward = since(lane, before);
    out->allocations = canto_test_allocations() - allocations;
    out->count = canto_params_count(t->params);
    out->grads = canto_test_take_down(t->params->grads, out->count);
}

static void compare(const char *what, const outcome *kept, const outcome *recalled)
{
    if (memcmp(&kept->loss, &recalled->loss, sizeof kept->loss) != 0)
        fail_msg("%s: loss %.17g, with everything kept %.17g", what, recalled->loss, kept->loss);
    for (int64_t i = 0; i < kept->count; i++) {
        if (memcmp(&kept->grads[i], &recalled->grads[i], sizeof(float)) != 0)
            fail_msg("%s: gradient %lld is %.9g, with everything kept %.9g", what, (long long)i,
                     recalled->grads[i], kept->grads[i]);
    }
    assert_memory_equal(&kept->forward, &recalled->forward, sizeof kept->forward);
    assert_memory_equal(&kept->backward, &recalled->backward, sizeof kept->backward);
    assert_int_equal(recalled->allocations, 0);
}

static void check_bits(int which, canto_dtype dtype, const division *how,
                       const canto_documents *documents)
{
    outcome outcomes[CHOICES_N];
    canto_model_config config;
    int32_t tokens[TOKENS], targets[TOKENS];
    models_config(which, &config);
    config.dtype = dtype;
    models_text(&config, TOKENS, documents->n, documents->starts, tokens, targets);
    for (int choice = 0; choice < CHOICES_N; choice++) {
        trainer t;
        char what[160];
        config.recompute = (canto_recompute)choice;
        open(&t, &config, how);
        trainer_load(&t, documents, tokens, targets);
        run(&t, &outcomes[choice]);
        trainer_close(&t);
        snprintf(what, sizeof what, "%s, %s, %s, %s, recompute %s", models_name(which),
                 how->softmax->name, how->linear->name, canto_layout_name(how->layout),
                 canto_recompute_name(choice));
        compare(what, &outcomes[0], &outcomes[choice]);
    }
    for (int choice = 0; choice < CHOICES_N; choice++) free(outcomes[choice].grads);
}

static void test_bits(void **state)
{
    (void)state;
    division divisions[DIVISIONS_MAX];
    const int divisions_n = list_divisions(divisions);
    for (int which = 0; which < MODELS_N; which++) {
        for (int d = 0; d < divisions_n; d++)
            check_bits(which, CANTO_F32, &divisions[d], &texts[0]);
        check_bits(which, CANTO_F32, &divisions[which % divisions_n], &texts[1]);
        check_bits(which, CANTO_BF16, &divisions[which % divisions_n], &texts[0]);
    }
}

// --- memory ---

static const division ring = {&canto_strategy_ring, &canto_transport_lasp2, CANTO_LAYOUT_ZIGZAG};

static int64_t rows_bytes(int64_t tokens, int64_t width)
{
    const int64_t bytes = tokens * width * (int64_t)sizeof(float);
    return (bytes + CANTO_ARENA_ALIGN - 1) / CANTO_ARENA_ALIGN * CANTO_ARENA_ALIGN;
}

// What a mixer does not keep when it is recomputed.
static int64_t mixer_bytes(const canto_mixer_config *mixer, int64_t tokens)
{
    const int64_t q = mixer->heads * mixer->key_dim;
    const int64_t kv = mixer->kv_heads * (mixer->key_dim + mixer->value_dim);
    const int64_t y = mixer->heads * (mixer->value_dim + mixer->normaliser);
    const int64_t gate = mixer->kind->gate ? mixer->heads * mixer->value_dim : 0;
    const int64_t projections = rows_bytes(tokens, q) + rows_bytes(tokens, kv);
    if (mixer->kind->softmax) return projections;
    const int64_t gates =
        mixer->kind->gated
            ? rows_bytes(tokens, 16) + rows_bytes(tokens, mixer->kv_heads * mixer->key_dim)
            : 0;
    return projections + rows_bytes(tokens, y) + rows_bytes(tokens, gate) + gates;
}

static void test_memory(void **state)
{
    (void)state;
    for (int which = 0; which < MODELS_N; which++) {
        int64_t step[CHOICES_N], work[CHOICES_N];
        int64_t mixers = 0, largest = 0, rest = 0;
        canto_model_config config;
        models_config(which, &config);
        for (int choice = 0; choice < CHOICES_N; choice++) {
            trainer t;
            config.recompute = (canto_recompute)choice;
            open(&t, &config, &ring);
            step[choice] = (int64_t)t.arenas.step.peak;
            work[choice] = (int64_t)t.arenas.work.peak;
            rest = rows_bytes(t.plan.tokens, config.d_model) +
                   2 * rows_bytes(t.plan.tokens, config.d_mlp);
            for (int layer = 0; choice == 0 && layer < config.layers; layer++) {
                const int64_t bytes = mixer_bytes(canto_model_mixer(&config, layer), t.plan.tokens);
                if (bytes > largest) largest = bytes;
                mixers += bytes;
            }
            trainer_close(&t);
        }
        assert_int_equal(step[0] - step[CANTO_RECOMPUTE_ATTENTION], mixers);
        assert_int_equal(step[CANTO_RECOMPUTE_ATTENTION] - step[CANTO_RECOMPUTE_BLOCK],
                         config.layers * rest);
        // What is not kept takes room once, whatever the number of layers.
        assert_true(work[CANTO_RECOMPUTE_ATTENTION] <= work[0] + largest);
        assert_true(work[CANTO_RECOMPUTE_BLOCK] <= work[0] + largest + rest);
    }
}

// Floats that one token takes in the step arena, written out. d_model 16, d_mlp 24, heads of 4: a
// softmax layer keeps 16 of its output and 4 log-sum-exp, and has 16 + 16 of q and kv; a lightning
// layer has 16 each of q, kv, y and gate. Around the blocks: 16 embedded, the
// token, 4 of the rotary table; the stream's gradient takes the place of the last block's output.
enum { AROUND = 16 + 1 + 4, STREAM = 16 + 16, MLP = 24 + 24, STATE = 2 * 4 * 4 };

static const int64_t softmax_floats[CHOICES_N] = {
    [CANTO_RECOMPUTE_NONE] = STREAM + MLP + 16 + 4 + 16 + 16,
    [CANTO_RECOMPUTE_ATTENTION] = STREAM + MLP + 16 + 4,
    [CANTO_RECOMPUTE_BLOCK] = STREAM / 2 + 16 + 4,
};
static const int64_t lightning_floats[CHOICES_N] = {
    [CANTO_RECOMPUTE_NONE] = STREAM + MLP + 16 + 16 + 16 + 16,
    [CANTO_RECOMPUTE_ATTENTION] = STREAM + MLP,
    [CANTO_RECOMPUTE_BLOCK] = STREAM / 2,
};

static void check_floats(int which, int choice, int lightning, int softmax)
{
    trainer t;
    canto_model_config config;
    models_config(which, &config);
    assert_int_equal(config.layers, lightning + softmax);
    config.recompute = (canto_recompute)choice;
    open(&t, &config, &ring);
    const int64_t token =
        AROUND + lightning * lightning_floats[choice] + softmax * softmax_floats[choice];
    const int64_t fixed = lightning * (t.plan.segments * STATE + 2); // 2 decays
    const int64_t bytes = (int64_t)sizeof(float) * (t.plan.tokens * token + fixed);
    const int64_t pieces = 4 + 10 * config.layers;
    assert_true((int64_t)t.arenas.step.peak >= bytes);
    assert_true((int64_t)t.arenas.step.peak < bytes + pieces * CANTO_ARENA_ALIGN);
    trainer_close(&t);
}

static void test_floats(void **state)
{
    (void)state;
    for (int choice = 0; choice < CHOICES_N; choice++) {
        check_floats(5, choice, 0, 1);
        check_floats(0, choice, 3, 1);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_bits),
    cmocka_unit_test(test_memory),
    cmocka_unit_test(test_floats),
};

const canto_test_module test_recompute = {"recompute", tests, sizeof tests / sizeof *tests};
