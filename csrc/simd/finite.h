/* Tells whether an array holds only finite numbers, reading it once. */
#include "lanes.h"

/* x - x is +0 for a finite x, NaN otherwise; the bits are gathered. Four stretches are read side by side, a cache line
 * of each a step, and fetched ahead: one stretch alone does not keep the memory busy. */

enum { STRETCHES = 4, AHEAD = 64 };

static inline lanes_bits trouble(const double *x)
{
    lanes_bits seen = {0};
    for (int i = 0; i < LINE; i += LANES)
        seen |= (lanes_bits)(load(x + i) - load(x + i));
    return seen;
}

static int all_finite(const double *x, ptrdiff_t count)
{
    const ptrdiff_t stretch = count / STRETCHES / LINE * LINE;
    lanes_bits seen[STRETCHES] = {{0}};
    uint64_t any = 0;
    for (ptrdiff_t i = 0; i < stretch; i += LINE)
        for (int s = 0; s < STRETCHES; s++) {
            const double *line = x + s * stretch + i;
            __builtin_prefetch(line + AHEAD);
            seen[s] |= trouble(line);
        }
    for (ptrdiff_t i = STRETCHES * stretch; i < count; i++)
        any |= x[i] - x[i] != 0.0;
    for (int s = 0; s < STRETCHES; s++)
        for (int lane = 0; lane < LANES; lane++)
            any |= seen[s][lane];
    return any == 0;
}
