// What a generated stream begins with: bytes of a text, or numbers of tokens. Local.
#ifndef CANTO_LAUNCH_PROMPT_H
#define CANTO_LAUNCH_PROMPT_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct canto_prompt {
    int64_t n;
    int32_t *tokens; // owned
} canto_prompt;

// A text's bytes, or else numbers below `vocab` separated by commas: "1,2,3". CANTO_ERROR_CONFIG
// telling the place of what is no such number, or that there is nothing.
canto_status canto_prompt_read(const char *words, bool text, int vocab, canto_prompt *out);
void canto_prompt_free(canto_prompt *prompt); // also of a zeroed one

#endif
