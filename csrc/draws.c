/* Draws the entries of a source, by the vector kernels in use. */
#include "internal.h"

void moe_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    moe_in_use()->philox(counter, key, out);
}

void moe_uniform(moe_source source, uint64_t first, ptrdiff_t count, double *out)
{
    moe_in_use()->uniform(source, first, count, out);
}

void moe_normal(moe_source source, uint64_t first, ptrdiff_t count, double *out)
{
    moe_in_use()->normal(source, first, count, 1.0, out);
}
