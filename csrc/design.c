/* Draws rows of a noisy block design and their exact response, each entry a function of its place alone. */
#include <string.h>

#include "internal.h"

/* Row r belongs to expert z. With g the signal's normals at r d + offset_z, and Sigma_z[perm, perm] = U'U:
 *   x[perm_i] = sum_j u_ji g_j,   y = x' beta_z,   features = noise_deviation * e, plus x on the columns of block z,
 * with e the noise's normals at r d + column. Sums run in a fixed order. */

enum { PANEL = 4096 }; /* doubles of a row panel, about half of the first-level cache */

size_t moe_design_workspace(const moe_blocks *blocks)
{
    return moe_times(2, (size_t)blocks->largest);
}

/* Adds one row's signal to its own block's features; returns the response. */
static double add_signal(const double *U, const ptrdiff_t *perm, const double *beta, ptrdiff_t m, const double *g,
                         double *x, double *features)
{
    double response = 0.0;
    for (ptrdiff_t i = 0; i < m; i++)
        x[i] = 0.0;
    for (ptrdiff_t j = 0; j < m; j++)
        for (ptrdiff_t i = j; i < m; i++)
            x[i] += U[j * m + i] * g[j];
    for (ptrdiff_t i = 0; i < m; i++) {
        features[perm[i]] += x[i];
        response += x[i] * beta[perm[i]];
    }
    return response;
}

static void fill_noise(moe_source noise, double deviation, uint64_t first, ptrdiff_t count, double *out)
{
    if (deviation == 0.0) {
        memset(out, 0, (size_t)count * sizeof *out);
        return;
    }
    moe_normal(noise, first, count, out);
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] *= deviation;
}

moe_status moe_design(const moe_blocks *blocks, const double *factors, const ptrdiff_t *permutations,
                      const double *coef, double noise_deviation, moe_source signal, moe_source noise,
                      const ptrdiff_t *expert, uint64_t first_row, ptrdiff_t n, double *features, double *response,
                      double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t d = blocks->d, panel = moe_step(PANEL, d);
    double *g = workspace, *x = workspace + blocks->largest;
    for (ptrdiff_t begin = 0; begin < n; begin += panel) {
        const ptrdiff_t end = moe_min(n, begin + panel);
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        fill_noise(noise, noise_deviation, (first_row + (uint64_t)begin) * (uint64_t)d, (end - begin) * d,
                   features + begin * d);
        for (ptrdiff_t row = begin; row < end; row++) {
            const ptrdiff_t z = expert[row], column = blocks->offset[z];
            moe_normal(signal, (first_row + (uint64_t)row) * (uint64_t)d + (uint64_t)column, blocks->size[z], g);
            response[row] = add_signal(factors + blocks->square[z], permutations + column, coef + column,
                                       blocks->size[z], g, x, features + row * d + column);
        }
    }
    return MOE_OK;
}
