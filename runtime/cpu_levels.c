// The registry of levels: one that this architecture does not have is a line that is not there.
#include "runtime/cpu_levels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const canto_backend canto_backend_cpu;
extern const struct canto_cpu_tiles canto_cpu_tiles_portable;
extern const struct canto_cpu_roofs canto_cpu_roofs_portable;

static bool works_portable(void)
{
    return true;
}

#define LEVEL(level)                                                                               \
    .name = #level, .works = works_##level,                                                        \
    .device = {&canto_backend_cpu, &canto_cpu_kernels_##level}, .tiles = &canto_cpu_tiles_##level, \
    .roofs = &canto_cpu_roofs_##level

#ifdef __x86_64__
extern const canto_kernels canto_cpu_kernels_avx2, canto_cpu_kernels_avx512;
extern const struct canto_cpu_tiles canto_cpu_tiles_avx2, canto_cpu_tiles_avx512;
extern const struct canto_cpu_roofs canto_cpu_roofs_avx2, canto_cpu_roofs_avx512;

static bool works_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

static bool works_avx512(void)
{
    return works_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

const canto_cpu_level canto_cpu_levels[] = {
    {LEVEL(portable), .needs = "what every processor of this architecture has"},
#ifdef __x86_64__
    {LEVEL(avx2), .needs = "AVX2, FMA and F16C"},
    {LEVEL(avx512), .needs = "AVX-512 F, BW, DQ and VL"},
#endif
    {.name = NULL},
};

// What CANTO_ISA asks for, NULL: nothing.
static const char *asked(void)
{
    const char *name = getenv("CANTO_ISA");
    return name && *name ? name : NULL;
}

static const canto_cpu_level *find(const char *name)
{
    for (const canto_cpu_level *level = canto_cpu_levels; level->name; level++) {
        if (strcmp(level->name, name) == 0) return level;
    }
    return NULL;
}

const canto_cpu_level *canto_cpu_level_now(void)
{
    const canto_cpu_level *now = asked() ? find(asked()) : NULL;
    if (now && now->works()) return now;
    for (const canto_cpu_level *level = canto_cpu_levels; level->name; level++) {
        if (level->works()) now = level;
    }
    return now;
}

canto_status canto_cpu_level_check(void)
{
    const char *name = asked();
    const canto_cpu_level *level = name ? find(name) : canto_cpu_levels;
    if (level && level->works()) return CANTO_OK;
    char names[128] = "";
    for (const canto_cpu_level *other = canto_cpu_levels; other->name; other++) {
        const size_t used = strlen(names);
        if (other->works())
            snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", other->name);
    }
    if (!level)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "CANTO_ISA=%s: there is no such level; this machine has %s",
                   name, names);
    CANTO_FAIL(CANTO_ERROR_CONFIG, "CANTO_ISA=%s: this machine lacks %s; it has the levels %s",
               name, level->needs, names);
}
