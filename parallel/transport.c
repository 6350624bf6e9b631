// The registry of transports.
#include "parallel/scan.h"

#include <string.h>

const canto_transport *const canto_transports[] = {
    &canto_transport_lasp1,
    &canto_transport_lasp2,
    NULL,
};

const canto_transport *canto_transport_find(const char *name)
{
    for (int i = 0; canto_transports[i]; i++) {
        if (strcmp(canto_transports[i]->name, name) == 0) return canto_transports[i];
    }
    return NULL;
}
