// The one table of configuration keys: everything that is known about a key stands in its row.
#include "launch/config_keys.h"

#include "runtime/store.h"

#include "layers/mixer.h"
#include "layers/recompute.h"
#include "parallel/scan.h"
#include "parallel/strategy.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *strategy_name(int index)
{
    return canto_strategies[index] ? canto_strategies[index]->name : NULL;
}

static const char *strategy_note(int index)
{
    return canto_strategies[index]->price;
}

static void strategy_set(void *field, int index)
{
    *(const canto_strategy **)field = canto_strategies[index];
}

static int strategy_get(const void *field)
{
    const canto_strategy *value = *(const canto_strategy *const *)field;
    for (int i = 0; canto_strategies[i]; i++) {
        if (canto_strategies[i] == value) return i;
    }
    return -1;
}

static const char *transport_name(int index)
{
    return canto_transports[index] ? canto_transports[index]->name : NULL;
}

static const char *transport_note(int index)
{
    return canto_transports[index]->price;
}

static void transport_set(void *field, int index)
{
    *(const canto_transport **)field = canto_transports[index];
}

static int transport_get(const void *field)
{
    const canto_transport *value = *(const canto_transport *const *)field;
    for (int i = 0; canto_transports[i]; i++) {
        if (canto_transports[i] == value) return i;
    }
    return -1;
}

static const char *backend_name(int index)
{
    return canto_backends[index] ? canto_backends[index]->name : NULL;
}

static const char *backend_note(int index)
{
    return canto_backends[index]->help;
}

// Of the backends that a build may leave out.
static const char *backend_needs(const char *word)
{
    if (strcmp(word, "cuda") == 0) return "a build with -DCANTO_CUDA=ON";
    if (strcmp(word, "shadow") == 0) return "a build with -DCANTO_SHADOW=ON";
    return NULL;
}

static void backend_set(void *field, int index)
{
    *(const canto_backend **)field = canto_backends[index];
}

static int backend_get(const void *field)
{
    const canto_backend *value = *(const canto_backend *const *)field;
    for (int i = 0; canto_backends[i]; i++) {
        if (canto_backends[i] == value) return i;
    }
    return -1;
}

static const char *kind_name(int index)
{
    return canto_mixer_kinds[index].name;
}

static const char *kind_note(int index)
{
    return canto_mixer_kinds[index].help;
}

static void kind_set(void *field, int index)
{
    *(const canto_mixer_kind **)field = &canto_mixer_kinds[index];
}

static int kind_get(const void *field)
{
    const canto_mixer_kind *value = *(const canto_mixer_kind *const *)field;
    return value ? (int)(value - canto_mixer_kinds) : -1;
}

static void layout_set(void *field, int index)
{
    *(canto_layout *)field = (canto_layout)index;
}

static int layout_get(const void *field)
{
    return (int)*(const canto_layout *)field;
}

static const char *decay_name(int index)
{
    static const char *const names[] = {[CANTO_DECAY_NONE] = "none",
                                        [CANTO_DECAY_ALIBI] = "alibi",
                                        [CANTO_DECAY_ALIBI_LAYERED] = "alibi_layered",
                                        [CANTO_DECAY_LINEAR_LAYERED] = "linear_layered",
                                        [CANTO_DECAY_RETENTION] = "retention"};
    return index < (int)(sizeof names / sizeof *names) ? names[index] : NULL;
}

static void decay_set(void *field, int index)
{
    *(canto_decay *)field = (canto_decay)index;
}

static int decay_get(const void *field)
{
    return (int)*(const canto_decay *)field;
}

static const struct {
    const char *name, *note;
} orders[] = {[CANTO_ORDER_WINDOWS] = {"windows", "each sequence at a random place"},
              [CANTO_ORDER_PACKED] = {"packed", "shuffled documents side by side, cut where a "
                                                "sequence ends"},
              [CANTO_ORDER_CUT] = {"cut", "shuffled pieces, one document a sequence; shorter "
                                          "documents left out"}};
enum { ORDERS = sizeof orders / sizeof *orders };

const char *canto_data_order_name(int index)
{
    return index < ORDERS ? orders[index].name : NULL;
}

static const char *order_note(int index)
{
    return orders[index].note;
}

static void order_set(void *field, int index)
{
    *(canto_data_order *)field = (canto_data_order)index;
}

static int order_get(const void *field)
{
    return (int)*(const canto_data_order *)field;
}

static void recompute_set(void *field, int index)
{
    *(canto_recompute *)field = (canto_recompute)index;
}

static int recompute_get(const void *field)
{
    return (int)*(const canto_recompute *)field;
}

static const struct {
    const char *name, *note;
    canto_dtype dtype;
} dtypes[] = {
    {"fp32", "everything in single precision", CANTO_F32},
    {"bf16", "operands of matrix products rounded to bf16, everything else as in fp32", CANTO_BF16},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static const char *dtype_name(int index)
{
    return index < DTYPES ? dtypes[index].name : NULL;
}

static const char *dtype_note(int index)
{
    return dtypes[index].note;
}

static void dtype_set(void *field, int index)
{
    *(canto_dtype *)field = dtypes[index].dtype;
}

static int dtype_get(const void *field)
{
    int index = 0;
    while (dtypes[index].dtype != *(const canto_dtype *)field) index++;
    return index;
}

static const canto_choices strategies = {strategy_name, strategy_set, strategy_get, strategy_note,
                                         NULL};
static const canto_choices transports = {transport_name, transport_set, transport_get,
                                         transport_note, NULL};
static const canto_choices backends = {backend_name, backend_set, backend_get, backend_note,
                                       backend_needs};
static const canto_choices kinds = {kind_name, kind_set, kind_get, kind_note, NULL};
static const canto_choices layouts = {canto_layout_name, layout_set, layout_get, NULL, NULL};
static const canto_choices decays = {decay_name, decay_set, decay_get, NULL, NULL};
static const canto_choices data_orders = {canto_data_order_name, order_set, order_get, order_note,
                                          NULL};
static const canto_choices recomputes = {canto_recompute_name, recompute_set, recompute_get,
                                         canto_recompute_help, NULL};

static const canto_choices dtype_choices = {dtype_name, dtype_set, dtype_get, dtype_note, NULL};

#define FIELD(member)                                                                              \
    .offset = offsetof(canto_config, member), .size = sizeof(((canto_config *)0)->member)
#define COUNTED(member) FIELD(member), .count = offsetof(canto_config, member##_n)
#define ENTRY(member)                                                                              \
    .offset = offsetof(canto_mixer_config, member),                                                \
    .size = sizeof(((canto_mixer_config *)0)->member)

// Integers stay below 2^53, so that JSON carries them exactly.
#define COUNT_MAX     9007199254740992.0
#define INT(lo, hi)   .type = CANTO_KEY_INT, .min = (lo), .max = (hi)
#define FLOAT(lo, hi) .type = CANTO_KEY_FLOAT, .min = (lo), .max = (hi)
#define BOOL          .type = CANTO_KEY_BOOL
#define TEXT(lo)      .type = CANTO_KEY_TEXT, .min = (lo)
#define CHOICE(rows)  .type = CANTO_KEY_CHOICE, .choices = &(rows)
#define FIXED         .resume = CANTO_RESUME_FIXED
#define FREE          .resume = CANTO_RESUME_FREE
#define UPWARDS       .resume = CANTO_RESUME_UPWARDS

// clang-format off
const canto_key canto_keys[] = {
    {"run.dir", TEXT(1), FREE, FIELD(run.dir), .initial = "runs/default",
     .help = "Directory of checkpoints, metrics and logs; made at the first start, continued afterwards."},
    {"run.seed", INT(0, COUNT_MAX), FIXED, FIELD(run.seed), .initial = "1",
     .help = "Seed of initial weights and of the order of the data."},
    {"run.device", CHOICE(backends), FREE, FIELD(run.device), .initial = "cpu",
     .help = "Where tensors lie and kernels run."},

    {"model.pattern", TEXT(1), FIXED, FIELD(model.pattern), .initial = "LLLS",
     .help = "Letters of mixers, one a layer, repeated over all layers."},
    {"model.layers", INT(1, CANTO_LAYERS_MAX), FIXED, FIELD(model.layers), .initial = "4",
     .help = "Number of blocks."},
    {"model.d_model", INT(1, 65536), FIXED, FIELD(model.d_model), .initial = "256",
     .help = "Width of the residual stream."},
    {"model.d_mlp", INT(0, 262144), FIXED, FIELD(model.d_mlp), .initial = "0",
     .help = "Width of the SwiGLU; 0: 8/3 of d_model, rounded up to a multiple of 32."},
    {"model.heads", INT(1, 1024), FIXED, FIELD(model.heads), .initial = "4",
     .help = "Query heads of a mixer that does not say otherwise."},
    {"model.kv_heads", INT(0, 1024), FIXED, FIELD(model.kv_heads), .initial = "0",
     .help = "Key and value heads, a divisor of heads; 0: as many as heads."},
    {"model.mixers", .type = CANTO_KEY_MIXERS, FIXED, COUNTED(model.mixers),
     .initial = "[{letter: L, kind: lightning, decay: alibi_layered}, {letter: S, kind: softmax, rope: true}, "
                "{letter: R, kind: retention}, {letter: G, kind: gla}]",
     .help = "Further mixers, or other meanings of L, S, R and G, each with a letter for model.pattern."},
    {"model.vocab", INT(2, 1048576), FIXED, FIELD(model.vocab), .initial = "256",
     .help = "Number of tokens; text is read as bytes, which need 256."},
    {"model.tied", BOOL, FIXED, FIELD(model.tied), .initial = "true",
     .help = "Whether the head is the embedding."},
    {"model.norm_eps", FLOAT(1e-30, 1), FIXED, FIELD(model.norm_eps), .initial = "1e-5",
     .help = "Added to the mean square in every RMSNorm."},
    {"model.rope_base", FLOAT(1.001, 1e12), FIXED, FIELD(model.rope_base), .initial = "10000",
     .help = "Base of the wavelengths of rotary positions."},
    {"model.init_std", FLOAT(1e-6, 10), FIXED, FIELD(model.init_std), .initial = "0.02",
     .help = "Standard deviation of initial weights."},

    {"parallel.dp", INT(0, 1048576), FREE, FIELD(parallel.dp), .initial = "0",
     .help = "Data-parallel replicas; 0: what parallel.cp leaves."},
    {"parallel.cp", INT(0, 1048576), FREE, FIELD(parallel.cp), .initial = "0",
     .help = "Ranks that share each sequence; 0: what parallel.dp leaves."},
    {"parallel.softmax", CHOICE(strategies), FREE, FIELD(parallel.softmax), .initial = "ring",
     .help = "How keys and values reach the queries of softmax attention."},
    {"parallel.linear", CHOICE(transports), FREE, FIELD(parallel.linear), .initial = "lasp2",
     .help = "How the states of linear attention pass from rank to rank."},
    {"parallel.layout", CHOICE(layouts), FREE, FIELD(parallel.layout), .initial = "zigzag",
     .help = "Which positions of a sequence each rank holds."},
    {"parallel.weights", .type = CANTO_KEY_INTS, FREE, COUNTED(parallel.weights), .min = 0, .max = 1000000,
     .initial = "[]", .help = "Share of each context rank in layout uneven."},
    {"parallel.check", BOOL, FREE, FIELD(parallel.check), .initial = "false",
     .help = "Compare the two ends of every message."},
    {"parallel.timeout_s", FLOAT(0.1, 1e6), FREE, FIELD(parallel.timeout_s), .initial = "300",
     .help = "Longest wait for a message in seconds, before the run ends and names who is missing."},

    {"train.steps", INT(1, COUNT_MAX), UPWARDS, FIELD(train.steps), .initial = "1000",
     .help = "Last step of the run."},
    {"train.stop_after", INT(0, COUNT_MAX), FREE, FIELD(train.stop_after), .initial = "0",
     .help = "Save and leave after this step, to be continued; 0, or a step that is past: off."},
    {"train.seq_len", INT(1, 68719476736.0), FIXED, FIELD(train.seq_len), .initial = "1024",
     .help = "Tokens of a sequence."},
    {"train.batch", INT(1, 1048576), FIXED, FIELD(train.batch), .initial = "4",
     .help = "Sequences of a step over all replicas, which share them as evenly as they can; each needs one."},
    {"train.accumulate", INT(1, 1048576), FIXED, FIELD(train.accumulate), .initial = "1",
     .help = "Batches whose gradients are added before a step of the optimizer."},
    {"train.dtype", CHOICE(dtype_choices), FIXED, FIELD(model.dtype), .initial = "fp32",
     .help = "Precision of the operands of matrix products; sums and parameters are fp32 always."},
    {"train.recompute", CHOICE(recomputes), FREE, FIELD(model.recompute), .initial = "none",
     .help = "What the backward pass computes again instead of keeping it; changes no bit of a result and no message."},
    {"train.eval_every", INT(0, COUNT_MAX), FREE, FIELD(train.eval_every), .initial = "0",
     .help = "Evaluate on held-out text every so many steps; 0: only at the end."},
    {"train.eval_tokens", INT(0, COUNT_MAX), FREE, FIELD(train.eval_tokens), .initial = "0",
     .help = "Tokens of an evaluation; 0: all held-out text."},
    {"train.lr", FLOAT(0, 100), FIXED, FIELD(train.optimizer.lr), .initial = "1e-3",
     .help = "Highest learning rate."},
    {"train.min_lr", FLOAT(0, 100), FIXED, FIELD(train.optimizer.min_lr), .initial = "1e-4",
     .help = "Learning rate at the horizon and after it."},
    {"train.warmup", INT(0, COUNT_MAX), FIXED, FIELD(train.optimizer.warmup), .initial = "100",
     .help = "Steps in which the learning rate rises from 0."},
    {"train.horizon", INT(0, COUNT_MAX), FIXED, FIELD(train.optimizer.horizon), .initial = "0",
     .help = "Step at which the cosine ends; 0: train.steps of the first start."},
    {"train.beta1", FLOAT(0, 0.999999), FIXED, FIELD(train.optimizer.beta1), .initial = "0.9",
     .help = "AdamW: decay of the first moment."},
    {"train.beta2", FLOAT(0, 0.999999), FIXED, FIELD(train.optimizer.beta2), .initial = "0.95",
     .help = "AdamW: decay of the second moment."},
    {"train.eps", FLOAT(1e-30, 1), FIXED, FIELD(train.optimizer.eps), .initial = "1e-8",
     .help = "AdamW: added to the root of the second moment."},
    {"train.weight_decay", FLOAT(0, 10), FIXED, FIELD(train.optimizer.weight_decay), .initial = "0.1",
     .help = "AdamW: decay of matrices; norms, biases and decays are left alone."},
    {"train.clip", FLOAT(0, 1e9), FIXED, FIELD(train.optimizer.clip), .initial = "1",
     .help = "Largest norm of all gradients together; 0: no clipping."},

    {"data.path", TEXT(0), FIXED, FIELD(data.path), .initial = "",
     .help = "Text or llm.c shard (.bin) to train on, or a directory of either; kept as an absolute path."},
    {"data.order", CHOICE(data_orders), FIXED, FIELD(data.order), .initial = "windows",
     .help = "How sequences are taken from documents, a function of run.seed alone."},
    {"data.held_out", FLOAT(0, 0.9), FIXED, FIELD(data.held_out), .initial = "0.05",
     .help = "Last part of the tokens, kept for evaluation."},
    {"data.held_out_path", TEXT(0), FIXED, FIELD(data.held_out_path), .initial = "",
     .help = "File or directory to evaluate on; all of data.path is then trained on. Empty: data.held_out."},
    {"data.separator", TEXT(0), FIXED, FIELD(data.separator), .initial = "",
     .help = "Text: bytes after which a document ends; empty: every file is one document."},
    {"data.eot", INT(-1, 1048575), FIXED, FIELD(data.eot), .initial = "-1",
     .help = "Shards: token after which a document ends; -1: every file is one document."},
    {"data.max_documents", INT(0, 1048576), FREE, FIELD(data.max_documents), .initial = "0",
     .help = "Most documents in one step's stream of a context group; 0: as many as can occur, with separators in windows train.batch."},

    {"store.every", INT(0, COUNT_MAX), FREE, FIELD(store.every), .initial = "500",
     .help = "Save a checkpoint every so many steps; 0: only at the end."},
    {"store.keep_last", INT(0, 1000000), FREE, FIELD(store.keep_last), .initial = "2",
     .help = "Checkpoints to keep; 0: all."},
    {"store.keep_best", INT(0, CANTO_STORE_MARKS_MAX), FREE, FIELD(store.keep_best), .initial = "1",
     .help = "Checkpoints with the lowest held-out loss to keep besides; above 0 every evaluation "
             "saves one first."},

    {"log.every", INT(1, COUNT_MAX), FREE, FIELD(log.every), .initial = "10",
     .help = "Steps between lines where the output is not a terminal."},
    {.name = NULL},
};

const canto_key canto_mixer_keys[] = {
    {"letter", .type = CANTO_KEY_LETTER, ENTRY(letter), .help = "Its letter in model.pattern; required."},
    {"kind", CHOICE(kinds), ENTRY(kind), .help = "What it computes; required."},
    {"heads", INT(0, 1024), ENTRY(heads), .initial = "0", .help = "Query heads; 0: model.heads."},
    {"kv_heads", INT(0, 1024), ENTRY(kv_heads), .initial = "0",
     .help = "Key and value heads, a divisor of heads; 0: model.kv_heads, or heads where heads is given."},
    {"key_dim", INT(0, CANTO_HEAD_DIM_MAX), ENTRY(key_dim), .initial = "0",
     .help = "Width of a query and a key; 0: d_model / heads, half of it for gla."},
    {"value_dim", INT(0, CANTO_HEAD_DIM_MAX), ENTRY(value_dim), .initial = "0",
     .help = "Width of a value; 0: d_model / heads, twice key_dim for retention."},
    {"window", INT(0, COUNT_MAX), ENTRY(window), .initial = "0",
     .help = "Softmax: a token sees itself and window - 1 tokens before it; 0: everything before it."},
    {"decay", CHOICE(decays), ENTRY(decay), .help = "Linear kinds but gla: constant decay of the state; default: the kind's."},
    {"normaliser", BOOL, ENTRY(normaliser),
     .help = "Linear kinds: divide by the sum of weights; default: the kind's."},
    {"rope", BOOL, ENTRY(rope), .help = "Rotary positions; default: true for softmax and retention, false otherwise."},
    {.name = NULL},
};
// clang-format on

const canto_key *canto_key_find(const canto_key *table, const char *section, const char *name)
{
    size_t prefix = strlen(section);
    for (const canto_key *key = table; key->name; key++) {
        if (strncmp(key->name, section, prefix) == 0 && strcmp(key->name + prefix, name) == 0) {
            return key;
        }
    }
    return NULL;
}

int canto_key_section(const canto_key *key)
{
    const char *dot = strchr(key->name, '.');
    return dot ? (int)(dot - key->name) : 0;
}

bool canto_key_begins_section(const canto_key *key)
{
    if (key == canto_keys) return true;
    int length = canto_key_section(key);
    return length != canto_key_section(key - 1) ||
           memcmp(key->name, key[-1].name, (size_t)length) != 0;
}

bool canto_key_is_section(const char *name)
{
    for (const canto_key *key = canto_keys; key->name; key++) {
        int length = canto_key_section(key);
        if (strlen(name) == (size_t)length && strncmp(key->name, name, (size_t)length) == 0) {
            return true;
        }
    }
    return false;
}

static int min(int a, int b)
{
    return a < b ? a : b;
}

enum { NAME_MAX_LENGTH = 40, FAR = 1000 };

// Letters to insert, delete or replace (Levenshtein); FAR for names too long to be a misspelling.
static int edit_distance(const char *a, size_t a_n, const char *b)
{
    size_t b_n = strlen(b);
    if (a_n > NAME_MAX_LENGTH || b_n > NAME_MAX_LENGTH) return FAR;
    int row[NAME_MAX_LENGTH + 1];
    for (size_t j = 0; j <= b_n; j++) row[j] = (int)j;
    for (size_t i = 1; i <= a_n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_n; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = min(replaced, 1 + min(row[j], row[j - 1]));
        }
    }
    return row[b_n];
}

// A misspelling changes at most a third of the letters, and never all of them.
static bool near(int distance, const char *name)
{
    int length = (int)strlen(name);
    return distance <= (length + 2) / 3 && distance < length;
}

void canto_key_suggest(const canto_key *table, const char *section, const char *name, size_t size,
                       char *out)
{
    const canto_key *best = NULL;
    int best_cost = FAR;
    for (const canto_key *key = table; key->name; key++) {
        int prefix = canto_key_section(key);
        const char *leaf = key->name + (prefix ? prefix + 1 : 0);
        int distance = edit_distance(name, strlen(name), leaf);
        bool here = strncmp(key->name, section, strlen(section)) == 0;
        // Elsewhere only the exact name is worth a hint, and it beats a misspelling here.
        if (here ? !near(distance, name) : distance > 0) continue;
        int cost = 2 * distance + !here;
        if (cost < best_cost) {
            best = key;
            best_cost = cost;
        }
    }
    if (size > 0) out[0] = '\0';
    if (best) snprintf(out, size, "; did you mean %s?", best->name);
}

void canto_section_suggest(const char *name, size_t size, char *out)
{
    const canto_key *best = NULL;
    int best_distance = FAR;
    for (const canto_key *key = canto_keys; key->name; key++) {
        int distance = edit_distance(key->name, (size_t)canto_key_section(key), name);
        if (near(distance, name) && distance < best_distance) {
            best = key;
            best_distance = distance;
        }
    }
    if (size > 0) out[0] = '\0';
    if (best) {
        snprintf(out, size, "; did you mean %.*s?", canto_key_section(best), best->name);
    }
}
