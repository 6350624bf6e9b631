// Units of 1000, as disks and links are sold.
#include "launch/amount.h"

#include <stdio.h>

canto_amount canto_amount_bytes(int64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB"};
    canto_amount out;
    double value = (double)bytes / 1e3;
    int unit = 0;
    for (; value >= 9999.95 && unit < 4; unit++) value /= 1000;
    if (bytes < 10000)
        snprintf(out.text, sizeof out.text, "%lld B", (long long)bytes);
    else
        snprintf(out.text, sizeof out.text, "%.1f %s", value, units[unit]);
    return out;
}

const char *canto_plural(int64_t n)
{
    return n == 1 ? "" : "s";
}
