/* Sums products into a tile of registers: the one inner loop of the small matrix kernels. */
#ifndef MOE_TILE_H
#define MOE_TILE_H

#include "lanes.h"

enum {
    TILE_ROWS = 4,
    TILE_LANES = 3, /* vectors; with the rows 12 sums, which with their operands fit into 16 registers */
};

typedef struct {
    lanes at[TILE_ROWS][TILE_LANES];
} tile;

/* sum[r][v] += sum_p a[r a_row + p a_step] b[p b_step + v], a broadcast, b as `high` vectors. */
static inline __attribute__((always_inline)) void add_products(tile *sum, ptrdiff_t depth, const double *a,
                                                               ptrdiff_t a_row, ptrdiff_t a_step, const double *b,
                                                               ptrdiff_t b_step, int rows, int high)
{
    for (ptrdiff_t p = 0; p < depth; p++) {
        lanes vectors[TILE_LANES];
        for (int h = 0; h < high; h++)
            vectors[h] = load(b + p * b_step + h * LANES);
        for (int r = 0; r < rows; r++) {
            const lanes factor = broadcast(a[r * a_row + p * a_step]);
            for (int h = 0; h < high; h++)
                sum->at[r][h] = fused(factor, vectors[h], sum->at[r][h]);
        }
    }
}

#endif
