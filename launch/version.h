// This build: version, compiler, options, libraries.
#ifndef CANTO_LAUNCH_VERSION_H
#define CANTO_LAUNCH_VERSION_H

#include <stdio.h>

const char *canto_version(void);
void canto_version_print(FILE *stream);

#endif
