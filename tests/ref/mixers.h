// What each kind of mixer is, written down a second time from its paper: a mistake in the table of
// layers/mixer.c differs from this one, and references that read this one differ in their numbers.
#ifndef CANTO_TESTS_REF_MIXERS_H
#define CANTO_TESTS_REF_MIXERS_H

#include "layers/mixer.h"

extern const canto_mixer_kind canto_ref_mixer_kinds[]; // `help` left out; ended by name NULL
// NULL if nobody has written that kind down.
const canto_mixer_kind *canto_ref_mixer_kind(const char *name);

#endif
