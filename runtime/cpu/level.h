// Every file of runtime/cpu/ is compiled once for each level of runtime/cpu_levels.h, with the
// instructions of that level. CANTO_LEVEL is the level's name, and what a file exports carries it:
// CANTO_CPU(add) is canto_cpu_add_avx2 in the one build and canto_cpu_add_portable in the other.
#ifndef CANTO_RUNTIME_CPU_LEVEL_H
#define CANTO_RUNTIME_CPU_LEVEL_H

#define CANTO_CPU_JOIN(name, level) canto_cpu_##name##_##level
#define CANTO_CPU_NAME(name, level) CANTO_CPU_JOIN(name, level)
#define CANTO_CPU(name)             CANTO_CPU_NAME(name, CANTO_LEVEL)

#endif
