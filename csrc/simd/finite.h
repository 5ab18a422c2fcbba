/* Tells whether an array holds only finite numbers, reading it once. */
#include "lanes.h"

/* x - x is +0 for a finite x, NaN otherwise; the bits are gathered in independent chains. */
static int all_finite(const double *x, ptrdiff_t count)
{
    enum { CHAINS = 4 };
    lanes_bits seen[CHAINS] = {{0}};
    uint64_t any = 0;
    ptrdiff_t i = 0;
    for (; i + CHAINS * LANES <= count; i += CHAINS * LANES)
        for (int chain = 0; chain < CHAINS; chain++) {
            const lanes value = load(x + i + chain * LANES);
            seen[chain] |= (lanes_bits)(value - value);
        }
    for (; i < count; i++)
        any |= x[i] - x[i] != 0.0;
    for (int chain = 0; chain < CHAINS; chain++)
        for (int lane = 0; lane < LANES; lane++)
            any |= seen[chain][lane];
    return any == 0;
}
