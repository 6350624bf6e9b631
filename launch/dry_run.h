// canto train --dry-run: everything that a start would check, and nothing that it would write.
#ifndef CANTO_LAUNCH_DRY_RUN_H
#define CANTO_LAUNCH_DRY_RUN_H

#include "launch/arguments.h"
#include "launch/config.h"

// On the ranks that run, or with --ranks alone for others. Prints to standard output on rank 0;
// returns the exit code that the start would end with at once, or 0.
int canto_dry_run(canto_config *config, const canto_arguments *arguments);

#endif
