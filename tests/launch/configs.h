// What tests of the configuration share: reading a text and an override, and judging the sentence
// of a refusal.
#ifndef CANTO_TESTS_LAUNCH_CONFIGS_H
#define CANTO_TESTS_LAUNCH_CONFIGS_H

#include "launch/config_keys.h"

// As the file bad.yaml; as one argument of the command line.
canto_status configs_parse(const char *text, size_t length, canto_config *out);
canto_status configs_override(const char *argument, canto_config *out);

// 1, and a line that tells why, unless the status is that of a bad configuration and its sentence
// begins with `prefix` and has all of `words`, which are separated by '|'. Clears the sentence.
int configs_wrong(const char *what, canto_status status, const char *prefix, const char *words);
// Fails the test in that case.
void configs_check(const char *what, canto_status status, const char *prefix, const char *words);

#endif
