// What `canto plot` leaves in its directory: the figures as CSV, a script for gnuplot, and the SVGs
// that it draws. Local.
//
//     steps.csv  evaluations.csv  ranks.csv      what is drawn, with a line of names
//     plots.gp                                   draws from them, in this directory
//     loss.svg  speed.svg  times.svg
#ifndef CANTO_LAUNCH_PLOT_FILES_H
#define CANTO_LAUNCH_PLOT_FILES_H

#include "launch/plot_data.h"

// Makes the directory if there is none, and its CSV files and script. title: of the plots.
canto_status canto_plot_write(const canto_plot_data *data, const char *title, const char *dir);
// Runs gnuplot there. CANTO_ERROR_UNSUPPORTED if it is not installed.
canto_status canto_plot_draw(const char *dir);

#endif
