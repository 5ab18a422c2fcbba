/* Brings doubles to unit scale and single precision. */
#include "lanes.h"

/* out[i] = x[i] factor scale[i], which the compiler turns into vectors by itself. */
static void scale_to_single(const double *restrict x, ptrdiff_t count, double factor, const double *restrict scale,
                            float *restrict out)
{
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] = (float)(x[i] * factor * scale[i]);
}
