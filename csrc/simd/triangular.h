/* Multiplies a vector by an upper triangular matrix, each sum in the order of the rows: the same bits everywhere. */
#include "lanes.h"

enum { TRIANGULAR_VECTORS = 4 }; /* of sums side by side */

/* x[begin .. begin + vectors LANES - 1] of x_i = sum_{j <= i} u_ji g_j. Below its diagonal U adds zeros, which change
 * nothing. */
static inline void triangular_columns(const double *U /* m x m */, ptrdiff_t m, const double *g, ptrdiff_t begin,
                                      int vectors, double *x)
{
    lanes sums[TRIANGULAR_VECTORS] = {{0}};
    for (ptrdiff_t j = 0; j < begin + vectors * LANES; j++)
        for (int i = 0; i < vectors; i++)
            sums[i] += load(U + j * m + begin + i * LANES) * g[j];
    for (int i = 0; i < vectors; i++)
        store(x + begin + i * LANES, sums[i]);
}

/* x = U'g. The last columns are computed together with some before them, which come out the same again. */
static void multiply_triangular(const double *U /* m x m */, ptrdiff_t m, const double *g, double *x)
{
    const ptrdiff_t wide = TRIANGULAR_VECTORS * LANES;
    if (m >= wide)
        for (ptrdiff_t begin = 0; begin < m; begin += wide)
            triangular_columns(U, m, g, moe_min(begin, m - wide), TRIANGULAR_VECTORS, x);
    else if (m >= LANES)
        for (ptrdiff_t begin = 0; begin < m; begin += LANES)
            triangular_columns(U, m, g, moe_min(begin, m - LANES), 1, x);
    else
        for (ptrdiff_t i = 0; i < m; i++) {
            x[i] = 0.0;
            for (ptrdiff_t j = 0; j <= i; j++)
                x[i] += U[j * m + i] * g[j];
        }
}
