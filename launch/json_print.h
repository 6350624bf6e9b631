// JSON that a command prints.
#ifndef CANTO_LAUNCH_JSON_PRINT_H
#define CANTO_LAUNCH_JSON_PRINT_H

#include <stdio.h>

struct json_t; // of jansson

// `value`, which it takes over, by lines with two blanks of indent.
void canto_json_print(struct json_t *value, FILE *stream);

#endif
