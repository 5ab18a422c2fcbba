/* Computes sums of absolute values along the columns and rows of a matrix. */
#include "lanes.h"

/* sums[i] += |x[i]|; returns their total. */
static double add_absolute(const double *x, ptrdiff_t count, double *sums)
{
    const lanes_bits MAGNITUDE = (lanes_bits){0} + 0x7FFFFFFFFFFFFFFFu;
    lanes sizes = {0};
    double rest = 0.0;
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const lanes size = (lanes)((lanes_bits)load(x + i) & MAGNITUDE);
        store(sums + i, load(sums + i) + size);
        sizes += size;
    }
    for (; i < count; i++) {
        sums[i] += fabs(x[i]);
        rest += fabs(x[i]);
    }
    return total(sizes) + rest;
}
