// This build: version, compiler, options, libraries.
#ifndef CANTO_LAUNCH_VERSION_H
#define CANTO_LAUNCH_VERSION_H

#include <stdio.h>

const char *canto_version(void);
const char *canto_version_build(void); // "RelWithDebInfo, GNU 12.2.0, native ON"
void canto_version_print(FILE *stream);

#endif
