/* The vector of doubles that this unit's instruction set works on; the compiler's flags choose it. */
#ifndef MOE_LANES_H
#define MOE_LANES_H

#include <math.h>
#include <string.h>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "../internal.h"

#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX__)
#define LANES 4
#else
#define LANES 2
#endif

enum { LINE = 8 }; /* doubles that memory moves together */

typedef double lanes __attribute__((vector_size(8 * LANES)));
typedef int64_t lanes_int __attribute__((vector_size(8 * LANES)));
typedef uint64_t lanes_bits __attribute__((vector_size(8 * LANES)));

/* From and to memory that need not be aligned. */
static inline lanes load(const double *x)
{
    lanes value;
    memcpy(&value, x, sizeof value);
    return value;
}

static inline void store(double *x, lanes value)
{
    memcpy(x, &value, sizeof value);
}

static inline lanes broadcast(double value)
{
    return value - (lanes){0};
}

/* a b + c, rounded once where the instruction set can. Not for draws: their bits are the same everywhere. */
static inline lanes fused(lanes a, lanes b, lanes c)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f64(c, a, b);
#else
    return a * b + c;
#endif
}

/* By halves, which is the shortest way. */
static inline double total(lanes value)
{
    double sums[LANES];
    store(sums, value);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; lane++)
            sums[lane] += sums[lane + half];
    return sums[0];
}

#endif
