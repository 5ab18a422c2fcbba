/* Draws rows of a noisy block design and their exact response, each entry a function of its place alone. */
#include <string.h>

#include "internal.h"

/* Row r belongs to expert z. With g the signal's normals at r d + offset_z, and Sigma_z[perm, perm] = U'U:
 *   x[perm_i] = sum_j u_ji g_j,   y = x' beta_z,   features = noise_deviation * e, plus x on the columns of block z,
 * with e the noise's normals at r d + column. Sums run in a fixed order. */

enum {
    PANEL = 4096, /* doubles of a row panel, about the first-level cache */
    SHORT = 32,   /* up to this many columns, whole rows of g cost less than a call for each row's block */
};

size_t moe_design_workspace(const moe_blocks *blocks)
{
    return moe_plus((size_t)blocks->largest, moe_larger((size_t)blocks->largest, PANEL));
}

/* Adds one row's signal to its own block's features; returns the response. */
static double add_signal(const double *U, const ptrdiff_t *perm, const double *beta, ptrdiff_t m, const double *g,
                         double *x, double *features)
{
    double response = 0.0;
    moe_in_use()->multiply_triangular(U, m, g, x);
    for (ptrdiff_t i = 0; i < m; i++) {
        features[perm[i]] += x[i];
        response += x[i] * beta[perm[i]];
    }
    return response;
}

static void fill_noise(moe_source noise, double deviation, uint64_t first, ptrdiff_t count, double *out)
{
    if (deviation == 0.0)
        memset(out, 0, (size_t)count * sizeof *out); /* and no zero with a sign */
    else
        moe_in_use()->normal(noise, first, count, deviation, out);
}

moe_status moe_design(const moe_blocks *blocks, const double *factors, const ptrdiff_t *permutations,
                      const double *coef, double noise_deviation, moe_source signal, moe_source noise,
                      const ptrdiff_t *expert, uint64_t first_row, ptrdiff_t n, double *features, double *response,
                      double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t d = blocks->d, panel = moe_step(PANEL, d);
    double *x = workspace, *normals = workspace + blocks->largest;
    for (ptrdiff_t begin = 0; begin < n; begin += panel) {
        const ptrdiff_t rows = moe_min(panel, n - begin);
        const uint64_t place = (first_row + (uint64_t)begin) * (uint64_t)d;
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        fill_noise(noise, noise_deviation, place, rows * d, features + begin * d);
        if (d <= SHORT)
            moe_normal(signal, place, rows * d, normals);
        for (ptrdiff_t row = 0; row < rows; row++) {
            const ptrdiff_t z = expert[begin + row], column = blocks->offset[z], within = row * d + column;
            const double *g = d <= SHORT ? normals + within : normals;
            if (d > SHORT)
                moe_normal(signal, place + (uint64_t)within, blocks->size[z], normals);
            response[begin + row] = add_signal(factors + blocks->square[z], permutations + column, coef + column,
                                               blocks->size[z], g, x, features + begin * d + within);
        }
    }
    return MOE_OK;
}
