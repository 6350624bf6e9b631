// Kernels made at run time with libffi: a closure for each slot records the call, and the call is
// made again when the stream gets there.
#include "runtime/shadow/calls.h"

#include "runtime/device.h"
#include "runtime/kernel_slots.h"

#include <ffi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS_MAX = 24, DESCRIPTIONS_MAX = 3, POINTERS_MAX = 4 };

typedef union value {
    bool b;
    int i;
    int64_t l;
    float f;
    void *p;
} value;

typedef union description {
    canto_gemm_shape gemm;
    canto_attention_shape attention;
    canto_band band;
    canto_linear_shape linear;
    canto_linear_run run;
    canto_linear_gradients gradients;
    canto_adamw adamw;
} description;

// What a letter of the table of slots stands for.
typedef struct kind {
    char letter;
    ffi_type *type;
    size_t bytes;                  // of a description; 0: not one
    int pointers_n;                // into device memory, in a description
    size_t pointers[POINTERS_MAX]; // where they are
} kind;

#define AT(type, field) offsetof(canto_linear_##type, field)

static const kind kinds[] = {
    {.letter = 'b', .type = &ffi_type_uint8},
    {.letter = 'i', .type = &ffi_type_sint},
    {.letter = 'l', .type = &ffi_type_sint64},
    {.letter = 'f', .type = &ffi_type_float},
    {.letter = 'p', .type = &ffi_type_pointer},
    {'m', &ffi_type_pointer, sizeof(canto_gemm_shape), 0, {0}},
    {'s', &ffi_type_pointer, sizeof(canto_attention_shape), 0, {0}},
    {'t', &ffi_type_pointer, sizeof(canto_band), 0, {0}},
    {'n', &ffi_type_pointer, sizeof(canto_linear_shape), 1, {AT(shape, log_decay)}},
    {'r',
     &ffi_type_pointer,
     sizeof(canto_linear_run),
     4,
     {AT(run, q), AT(run, kv), AT(run, erase), AT(run, gates)}},
    {'g',
     &ffi_type_pointer,
     sizeof(canto_linear_gradients),
     4,
     {AT(gradients, dq), AT(gradients, dkv), AT(gradients, derase), AT(gradients, dgates)}},
    {'a', &ffi_type_pointer, sizeof(canto_adamw), 0, {0}},
};

_Static_assert(sizeof(bool) == 1 && sizeof(canto_feature) == sizeof(int), "the types of letters");

typedef struct maker {
    const canto_kernel_slot *slot;
    canto_shadow_calls *calls;
    void (*real)(void);
    int n;                                // arguments after the device
    const kind *arguments[ARGUMENTS_MAX]; // of each
    ffi_type *types[ARGUMENTS_MAX + 1];   // with the device
    ffi_cif interface;
    ffi_closure *closure; // owned
} maker;

struct canto_shadow_calls {
    canto_shadow_memory *memory;   // borrowed
    canto_shadow_streams *streams; // borrowed
    int stream;
    int n;
    maker makers[]; // one a slot
};

// A recorded call. Descriptions are numbered in the order of arguments.
typedef struct call {
    maker *made_by;
    value values[ARGUMENTS_MAX];
    description descriptions[DESCRIPTIONS_MAX];
} call;

// --- running a call ---

static canto_status translate(const maker *m, int argument, void *address, void **place)
{
    char what[96];
    *place = NULL;
    if (!address) return CANTO_OK;
    snprintf(what, sizeof what, "kernel %s, argument %d", m->slot->name, argument + 1);
    return canto_shadow_translate(m->calls->memory, what, address, 0, place);
}

// The pointers of a description become places.
static canto_status translate_all(const maker *m, int argument, description *it)
{
    const kind *k = m->arguments[argument];
    for (int i = 0; i < k->pointers_n; i++) {
        void *address, *place, *at = (char *)it + k->pointers[i];
        memcpy(&address, at, sizeof address);
        CANTO_TRY(translate(m, argument, address, &place));
        memcpy(at, &place, sizeof place);
    }
    return CANTO_OK;
}

static canto_status run_call(void *argument, bool *done)
{
    call *it = argument;
    const maker *m = it->made_by;
    const canto_device *device = canto_device_cpu();
    void *values[ARGUMENTS_MAX + 1] = {&device};
    for (int i = 0, descriptions = 0; i < m->n; i++) {
        const kind *k = m->arguments[i];
        values[i + 1] = &it->values[i];
        if (k->letter == 'p') CANTO_TRY(translate(m, i, it->values[i].p, &it->values[i].p));
        if (k->bytes == 0) continue;
        description *copy = &it->descriptions[descriptions++];
        it->values[i].p = copy;
        CANTO_TRY(translate_all(m, i, copy));
    }
    ffi_call((ffi_cif *)&m->interface, m->real, NULL, values);
    *done = true;
    return CANTO_OK;
}

// --- recording a call ---

static canto_status check_pointers(const maker *m, const call *it)
{
    void *place;
    for (int i = 0, descriptions = 0; i < m->n; i++) {
        const kind *k = m->arguments[i];
        if (k->letter == 'p') CANTO_TRY(translate(m, i, it->values[i].p, &place));
        if (k->bytes == 0) continue;
        description copy = it->descriptions[descriptions++];
        CANTO_TRY(translate_all(m, i, &copy));
    }
    return CANTO_OK;
}

static size_t value_bytes(const kind *k)
{
    return k->type->size;
}

static canto_status record(maker *m, void **arguments)
{
    call it = {.made_by = m};
    for (int i = 0, descriptions = 0; i < m->n; i++) {
        const kind *k = m->arguments[i];
        memcpy(&it.values[i], arguments[i + 1], value_bytes(k));
        if (k->bytes == 0) continue;
        CANTO_CHECK(it.values[i].p, "kernel %s, argument %d: NULL", m->slot->name, i + 1);
        memcpy(&it.descriptions[descriptions++], it.values[i].p, k->bytes);
    }
    CANTO_TRY(check_pointers(m, &it));
    return canto_shadow_put(m->calls->streams, m->calls->stream, m->slot->name, run_call, sizeof it,
                            &it);
}

// Kernels return nothing, so an error waits in the streams for somebody who asks.
static void called(ffi_cif *interface, void *result, void **arguments, void *user)
{
    (void)interface, (void)result;
    maker *m = user;
    canto_shadow_fail(m->calls->streams, record(m, arguments));
}

// --- making the table ---

static const kind *find_kind(char letter)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].letter == letter) return &kinds[i];
    }
    return NULL;
}

static canto_status read_arguments(maker *m)
{
    const char *letters = m->slot->arguments;
    int descriptions = 0;
    m->types[0] = &ffi_type_pointer;
    for (m->n = 0; letters[m->n]; m->n++) {
        const kind *k = find_kind(letters[m->n]);
        CANTO_CHECK(k && m->n < ARGUMENTS_MAX, "shadow: kernel %s: unknown argument %c or too many",
                    m->slot->name, letters[m->n]);
        m->arguments[m->n] = k;
        m->types[m->n + 1] = k->type;
        descriptions += k->bytes > 0;
    }
    CANTO_CHECK(descriptions <= DESCRIPTIONS_MAX, "shadow: kernel %s: %d descriptions",
                m->slot->name, descriptions);
    return CANTO_OK;
}

static canto_status make(maker *m, canto_kernels *table)
{
    void *code = NULL;
    CANTO_TRY(read_arguments(m));
    const ffi_status prepared =
        ffi_prep_cif(&m->interface, FFI_DEFAULT_ABI, (unsigned)m->n + 1, &ffi_type_void, m->types);
    if (prepared == FFI_OK) m->closure = ffi_closure_alloc(sizeof *m->closure, &code);
    if (!m->closure || ffi_prep_closure_loc(m->closure, &m->interface, called, m, code) != FFI_OK) {
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED,
                   "shadow: this system lets nobody make functions at run time (kernel %s)",
                   m->slot->name);
    }
    memcpy((char *)table + m->slot->offset, &code, sizeof code);
    return CANTO_OK;
}

static canto_status make_all(canto_shadow_calls *calls, const canto_kernels *real,
                             canto_kernels *table)
{
    for (const canto_kernel_slot *slot = canto_kernel_slots; slot->name; slot++) {
        if (!slot->arguments) continue; // the copy does
        maker *m = &calls->makers[calls->n++];
        *m = (maker){.slot = slot, .calls = calls};
        memcpy(&m->real, (const char *)real + slot->offset, sizeof m->real);
        CANTO_TRY(make(m, table));
    }
    return CANTO_OK;
}

static size_t slots_count(void)
{
    size_t n = 0;
    while (canto_kernel_slots[n].name) n++;
    return n;
}

canto_status canto_shadow_calls_open(const canto_kernels *real, canto_shadow_memory *memory,
                                     canto_shadow_streams *streams, int stream,
                                     canto_kernels *table, canto_shadow_calls **out)
{
    canto_shadow_calls *calls = calloc(1, sizeof *calls + slots_count() * sizeof *calls->makers);
    *out = calls;
    if (!calls) CANTO_FAIL(CANTO_ERROR_MEMORY, "shadow: no memory for kernels");
    calls->memory = memory;
    calls->streams = streams;
    calls->stream = stream;
    *table = *real;
    const canto_status status = make_all(calls, real, table);
    if (status != CANTO_OK) canto_shadow_calls_close(out);
    return status;
}

void canto_shadow_calls_close(canto_shadow_calls **calls)
{
    for (int i = 0; *calls && i < (*calls)->n; i++) {
        if ((*calls)->makers[i].closure) ffi_closure_free((*calls)->makers[i].closure);
    }
    free(*calls);
    *calls = NULL;
}
