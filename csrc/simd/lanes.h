/* The vector of doubles that this unit's instruction set works on; the compiler's flags choose it. */
#ifndef MOE_LANES_H
#define MOE_LANES_H

#include <math.h>
#include <string.h>

#include "../internal.h"

#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX__)
#define LANES 4
#else
#define LANES 2
#endif

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

#endif
