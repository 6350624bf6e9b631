// The tiny models that tests of layers share: every mixer, every decay, grouped heads, windows,
// tied and untied heads.
#ifndef CANTO_TESTS_LAYERS_MODELS_H
#define CANTO_TESTS_LAYERS_MODELS_H

#include "layers/model.h"

enum { MODELS_N = 8 };

// What model `which` has to show.
const char *models_name(int which);
// Its resolved configuration.
void models_config(int which, canto_model_config *out);

// A reproducible text: tokens [n], and as targets the token after each, -1 at the end of a document
// (starts [documents]) and at every 11th token.
void models_text(const canto_model_config *config, int64_t n, int documents, const int64_t *starts,
                 int32_t *tokens, int32_t *targets);

// The list of parameters of a model that has no memory. Free with models_params_free.
typedef struct models_params {
    canto_arenas arenas;
    canto_decoder *decoder;
    canto_params *list;
} models_params;
void models_params_make(const canto_model_config *config, models_params *out);
void models_params_free(models_params *params);

// Initial values as canto_params_init draws them, norms included not all ones. values [count] of
// the list's device.
void models_values(const canto_params *list, float *values);

#endif
