// At most one token a byte, so that one allocation is enough.
#include "launch/prompt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static canto_status read_numbers(const char *words, int vocab, canto_prompt *out)
{
    for (const char *at = words;; at++) {
        char *end = NULL;
        errno = 0;
        const long long value = *at >= '0' && *at <= '9' ? strtoll(at, &end, 10) : -1;
        if (value < 0 || value >= vocab || errno != 0 || (*end != ',' && *end != '\0'))
            CANTO_FAIL(CANTO_ERROR_CONFIG,
                       "generate: this run was trained on tokens, and -p '%.60s' is no number in "
                       "0..%d at its byte %lld; write numbers separated by commas",
                       words, vocab - 1, (long long)(at - words));
        out->tokens[out->n++] = (int32_t)value;
        if (*end == '\0') return CANTO_OK;
        at = end;
    }
}

canto_status canto_prompt_read(const char *words, bool text, int vocab, canto_prompt *out)
{
    const size_t length = strlen(words);
    *out = (canto_prompt){0};
    if (length == 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "generate: the prompt is empty; give at least one %s with -p",
                   text ? "byte" : "token");
    out->tokens = malloc(length * sizeof *out->tokens);
    if (!out->tokens)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "generate: no memory for a prompt of %zu bytes", length);
    if (!text) {
        canto_status status = read_numbers(words, vocab, out);
        if (status != CANTO_OK) canto_prompt_free(out);
        return status;
    }
    for (size_t i = 0; i < length; i++) out->tokens[i] = (uint8_t)words[i];
    out->n = (int64_t)length;
    return CANTO_OK;
}

void canto_prompt_free(canto_prompt *prompt)
{
    free(prompt->tokens);
    *prompt = (canto_prompt){0};
}
