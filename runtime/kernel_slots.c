// One row for each slot, in the order of runtime/backend.h.
#include "runtime/kernel_slots.h"

#include <string.h>

#define SLOT(name) #name, offsetof(canto_kernels, name)

const canto_kernel_slot canto_kernel_slots[] = {
    {SLOT(gemm), "mppp"},
    {SLOT(attention_forward), "stpppp"},
    {SLOT(attention_backward), "stppppppp"},
    {SLOT(attention_merge), "lipppp"},
    {SLOT(attention_delta), "lippp"},
    {SLOT(linear_work_bytes), NULL},
    {SLOT(linear_forward), "nrppp"},
    {SLOT(linear_summary), "nrp"},
    {SLOT(linear_read), "nrpp"},
    {SLOT(linear_backward_summary), "nrppp"},
    {SLOT(linear_backward), "nrpppgp"},
    {SLOT(state_join), "illpppp"},
    {SLOT(linear_normalise), "lifpp"},
    {SLOT(linear_normalise_backward), "lifppp"},
    {SLOT(norm_forward), "llfpppp"},
    {SLOT(norm_backward), "llpppppp"},
    {SLOT(glu_forward), "lppp"},
    {SLOT(glu_backward), "lppppp"},
    {SLOT(feature_forward), "illlpp"},
    {SLOT(feature_backward), "illlppp"},
    {SLOT(log_sigmoid_forward), "llfppp"},
    {SLOT(log_sigmoid_backward), "llfppppp"},
    {SLOT(rope), "liilpip"},
    {SLOT(embed_forward), "llppp"},
    {SLOT(embed_backward), "llppp"},
    {SLOT(loss_tile), "lllpppp"},
    {SLOT(loss_sum), "lpppp"},
    {SLOT(loss_tile_backward), "lllppfp"},
    {SLOT(fill), "lfp"},
    {SLOT(add), "lpp"},
    {SLOT(multiply), "lppp"},
    {SLOT(scale), "lfp"},
    {SLOT(copy), "lpp"},
    {SLOT(narrow), "lllpp"},
    {SLOT(sum_squares), "lpp"},
    {SLOT(adamw), "lapppp"},
    {NULL, 0, NULL},
};

const char *canto_kernels_missing(const canto_kernels *kernels)
{
    for (const canto_kernel_slot *slot = canto_kernel_slots; slot->name; slot++) {
        void (*function)(void);
        memcpy(&function, (const char *)kernels + slot->offset, sizeof function);
        if (!function) return slot->name;
    }
    return NULL;
}
