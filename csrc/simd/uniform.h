/* Computes uniforms in [0, 1) from Philox bits, with the same bits on every CPU. */
#ifndef MOE_SIMD_UNIFORM_H
#define MOE_SIMD_UNIFORM_H

#include "philox.h"

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

static inline __attribute__((always_inline)) void uniform_tile(const int vectors, moe_source source,
                                                               const philox_schedule *keys, uint64_t block,
                                                               double *out /* vectors LANES */)
{
    lanes_bits order, first[DRAWS_TILE], second[DRAWS_TILE];
    for (int i = 0; i < LANES; i++)
        order[i] = (uint64_t)i;
    philox_words(vectors, source, keys, block, order, first, second);
    for (int i = 0; i < vectors; i++)
        store(out + i * LANES, zero_to_one(first[i]));
}

/* Entry i comes from the first word of block i. A tile that sticks out of the array is computed beside it. */
static void uniform(moe_source source, uint64_t first, ptrdiff_t count, double *out)
{
    const philox_schedule keys = philox_expand(source.key);
    for (ptrdiff_t done = 0, width; done < count; done += width) {
        const uint64_t block = first + (uint64_t)done;
        const ptrdiff_t left = philox_together(block, count - done);
        const int vectors = left <= DRAWS_TILE / 2 * LANES ? DRAWS_REST : DRAWS_TILE;
        double beside[DRAWS_TILE * LANES], *tile = left < vectors * LANES ? beside : out + done;
        width = moe_min(vectors * LANES, left);
        if (vectors == DRAWS_REST)
            uniform_tile(DRAWS_REST, source, &keys, block, tile);
        else
            uniform_tile(DRAWS_TILE, source, &keys, block, tile);
        if (tile == beside)
            memcpy(out + done, beside, (size_t)width * sizeof *out);
    }
}

#endif
