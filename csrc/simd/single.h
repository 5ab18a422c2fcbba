/* Brings doubles to unit scale and single precision, and does sums and rotations there. */
#include "lanes.h"

/* out[i] = x[i] factor scale[i], which the compiler turns into vectors by itself. */
static void scale_to_single(const double *restrict x, ptrdiff_t count, double factor, const double *restrict scale,
                            float *restrict out)
{
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] = (float)(x[i] * factor * scale[i]);
}

/* l <- (l + s x) / c, then x <- c x - s l: a column of a factor and a row that is added to what it is a factor of. */
static void rotate_single(float *restrict l, float *restrict x, ptrdiff_t count, float c, float s)
{
    const float reciprocal = 1.0f / c;
    for (ptrdiff_t i = 0; i < count; i++) {
        l[i] = (l[i] + s * x[i]) * reciprocal;
        x[i] = c * x[i] - s * l[i];
    }
}

/* sums[i] += |h[i]| weight; returns sum_i |h[i]| weights[i]. */
static double add_absolute_single(const float *h, ptrdiff_t count, float weight, const float *weights, float *sums)
{
    enum { SUMS = 2 * LANES }; /* side by side: the compiler may not reorder one sum */
    float products[SUMS] = {0.0f};
    double sum = 0.0;
    ptrdiff_t i = 0;
    for (; i + SUMS <= count; i += SUMS)
        for (int lane = 0; lane < SUMS; lane++) {
            const float size = fabsf(h[i + lane]);
            sums[i + lane] += size * weight;
            products[lane] += size * weights[i + lane];
        }
    for (; i < count; i++) {
        sums[i] += fabsf(h[i]) * weight;
        sum += fabsf(h[i]) * weights[i];
    }
    for (int lane = 0; lane < SUMS; lane++)
        sum += products[lane];
    return sum;
}
