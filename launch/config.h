// The configuration of a run: one table of keys, from which parsing, overrides, help, `canto config
// show`, the stored configuration and the man page all come. Nothing here touches MPI.
#ifndef CANTO_LAUNCH_CONFIG_H
#define CANTO_LAUNCH_CONFIG_H

#include "layers/model.h"
#include "layers/optimizer.h"

#include <stdio.h>

enum { CANTO_TEXT_MAX = 1024, CANTO_WEIGHTS_MAX = 256 };

// How samples are taken from the documents of a corpus, see launch/data.h.
typedef enum canto_data_order {
    CANTO_ORDER_WINDOWS,
    CANTO_ORDER_PACKED,
    CANTO_ORDER_CUT
} canto_data_order;

const char *canto_data_order_name(int order); // NULL after the last

typedef struct canto_config {
    struct {
        char dir[CANTO_TEXT_MAX];
        int64_t seed;
        const canto_backend *device;
    } run;
    canto_model_config model; // pattern layers d_model d_mlp heads kv_heads mixers vocab tied
                              // norm_eps rope_base init_std; dtype and recompute are train.*
    struct {
        int dp, cp; // 0: automatic
        const canto_strategy *softmax;
        const canto_transport *linear;
        canto_layout layout;
        int weights_n, weights[CANTO_WEIGHTS_MAX]; // layout: uneven
        bool check;                                // compare the two ends of every message
        double timeout_s;                          // longest wait for a message
    } parallel;
    struct {
        int64_t steps, stop_after; // stop_after: save and leave after this step; 0: off
        int64_t seq_len, batch, accumulate;
        int64_t eval_every,
            eval_tokens; // eval_every 0: only at the end; eval_tokens 0: all held-out text
        canto_optimizer_config
            optimizer; // lr min_lr warmup horizon beta1 beta2 eps weight_decay clip
    } train;
    struct {
        char path[CANTO_TEXT_MAX];
        canto_data_order order;
        double held_out;                    // last part of the tokens, kept for evaluation
        char held_out_path[CANTO_TEXT_MAX]; // evaluate on this instead; empty: on held_out
        char separator[64];                 // text: a document ends after these bytes; empty: none
        int64_t eot;                        // shards: a document ends after this token; -1: none
        int64_t max_documents; // in one step's stream of a context group; 0: see launch/data.h
    } data;
    struct {
        int64_t every;
        int keep_last, keep_best;
    } store; // every 0: only at the end
    struct {
        int64_t every;
    } log; // plain line every so many steps
} canto_config;

typedef enum canto_origin {
    CANTO_ORIGIN_DEFAULT,
    CANTO_ORIGIN_FILE,
    CANTO_ORIGIN_COMMAND_LINE
} canto_origin;

typedef struct canto_config_source canto_config_source; // value, origin and place of every key

// Reads `path` (NULL: defaults only), then overrides "a.b=c", then resolves and checks what can be
// checked without knowing the number of ranks. CANTO_ERROR_CONFIG with one sentence:
// "FILE:LINE:COLUMN: ..." (1-based, of the offending word), or "command line: ...", with the
// nearest name for an unknown key. Of two overrides of one key the last wins. `source` may be NULL.
// Everything is resolved but train.horizon, see canto_config_settle.
canto_status canto_config_read(const char *path, int overrides_n, char *const *overrides,
                               canto_config *out, canto_config_source **source);
// The same from text, as stored in a checkpoint; `name` stands in messages.
canto_status canto_config_parse(const char *name, const char *text, size_t length,
                                canto_config *out, canto_config_source **source);
void canto_config_source_destroy(canto_config_source **source);

// YAML of every key, resolved; canto_config_parse reads it back to the same configuration. Caller
// frees.
char *canto_config_text(const canto_config *config);
// Table of key, value, origin; or one JSON object with `json`.
void canto_config_show(const canto_config *config, const canto_config_source *source, bool json,
                       FILE *stream);
// Every key with type, default, range and help; for --help and the man page.
void canto_config_help(FILE *stream, bool roff);
// The same as a JSON array of objects: key, type, default, help, and range or choices.
void canto_config_keys_json(FILE *stream);
// The same as two functions of bash, for the completion of keys and of the choices of their values.
void canto_config_completion(FILE *stream);

// First key that a resumed run may not change and that differs: CANTO_ERROR_CONFIG with the key and
// both values. Free to differ: parallel.*, store.*, log.*, run.dir, run.device, train.stop_after,
// train.eval_*, train.recompute, data.max_documents, train.steps upwards. A train.horizon of 0 goes
// with any stored one.
canto_status canto_config_compatible(const canto_config *stored, const canto_config *now);
// The same for model.* alone, all of which must be as stored: for commands that only read a run.
canto_status canto_config_same_model(const canto_config *stored, const canto_config *now);
// Calls `visit` with every key whose values differ, as they are written. `fixed`: a run keeps it
// (see canto_config_compatible). CANTO_ERROR_MEMORY.
typedef void (*canto_config_visit)(void *context, const char *key, const char *a, const char *b,
                                   bool fixed);
canto_status canto_config_differences(const canto_config *a, const canto_config *b,
                                      canto_config_visit visit, void *context);
// Settles train.horizon, once it is known whether the run exists. stored NULL: the first start, a
// horizon of 0 becomes train.steps. Else canto_config_compatible, and the stored horizon is taken.
canto_status canto_config_settle(const canto_config *stored, canto_config *config);
// CANTO_ERROR_CONFIG unless the text key `name` ("data.path") has a value: for commands that cannot
// do without. `source` may be NULL.
canto_status canto_config_require(const canto_config *config, const canto_config_source *source,
                                  const char *name);

#endif
