/* Computes uniforms in [0, 1) from Philox bits, with the same bits on every CPU. */
#ifndef MOE_SIMD_UNIFORM_H
#define MOE_SIMD_UNIFORM_H

#include "philox.h"

enum { DRAWS_TILE = 16 }; /* vectors of blocks at a time; a multiple of PHILOX_CHAINS */

/* The top 52 bits as a fraction in [1, 2). */
static inline lanes one_to_two(lanes_bits word)
{
    return (lanes)(word >> 12 | 0x3FF0000000000000u);
}

/* The top 53 bits as a fraction in [0, 1): those 52, and the last one of its own. */
static inline lanes zero_to_one(lanes_bits word)
{
    const lanes_bits last = (0u - (word >> 11 & 1u)) & (lanes_bits)broadcast(0x1p-53);
    return (one_to_two(word) - 1.0) + (lanes)last;
}

/* Entry i comes from the first word of block i. A tile that sticks out of the array is computed beside it. */
static void uniform(moe_source source, uint64_t first, ptrdiff_t count, double *out)
{
    const philox_schedule keys = philox_expand(source.key);
    for (ptrdiff_t done = 0, width; done < count; done += width) {
        const ptrdiff_t vectors = moe_min(DRAWS_TILE, (count - done + LANES - 1) / LANES);
        lanes_bits high[DRAWS_TILE], low[DRAWS_TILE];
        double beside[DRAWS_TILE * LANES], *tile = done + vectors * LANES <= count ? out + done : beside;
        width = moe_min(vectors * LANES, count - done);
        philox_words(source, &keys, first + (uint64_t)done, vectors, high, low);
        for (ptrdiff_t i = 0; i < vectors; i++)
            store(tile + i * LANES, zero_to_one(high[i]));
        if (tile == beside)
            memcpy(out + done, beside, (size_t)width * sizeof *out);
    }
}

#endif
