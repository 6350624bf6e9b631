// Text in a manual page.
#ifndef CANTO_LAUNCH_ROFF_H
#define CANTO_LAUNCH_ROFF_H

#include <stdio.h>

// Writes `text` so that it stands on the page as it was typed: hyphens, backslashes, quotes, and a
// dot at the start of a line.
void canto_roff_write(const char *text, FILE *stream);

#endif
