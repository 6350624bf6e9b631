// slots.c on a GPU.
#include "tests/gpu/slots.h"

canto_status canto_test_slots_open(const canto_device **out)
{
    return canto_device_open(canto_backend_find("cuda"), 0, out);
}
