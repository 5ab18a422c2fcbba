/* Fits least squares with few columns and one response, by small kernels of our own. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* With Z = [X y 0], the Gram matrix Z'Z holds X'X and, below it, y'X. Factoring the first d columns turns that row into
 * (L^-1 X'y)', so that one triangular solve is left; one step of refinement follows. LAPACK spends more time on
 * entering and leaving such problems than on solving them. */

enum { STEP = 1 << 28 }; /* multiplications between two checks for an interrupt */

ptrdiff_t moe_narrow_width(ptrdiff_t d)
{
    const ptrdiff_t multiple = moe_in_use()->narrow_multiple;
    return (d + multiple) / multiple * multiple; /* at least d + 1 */
}

size_t moe_narrow_workspace(ptrdiff_t n, ptrdiff_t d)
{
    const ptrdiff_t width = moe_narrow_width(d);
    return (size_t)(width * (width + 4)) + moe_gradient_workspace(n, width);
}

moe_status moe_narrow(const double *Z, const double *y, ptrdiff_t n, ptrdiff_t d, double required, double *coef,
                      double *workspace, const moe_interrupt *interrupt)
{
    const moe_unit *unit = moe_in_use();
    const ptrdiff_t width = moe_narrow_width(d), step = moe_step(STEP, width * width);
    double *G = workspace, *b = G + width * width, *gradient = b + width, *work = gradient + width, residual2;

    memset(G, 0, (size_t)(width * width) * sizeof *G);
    for (ptrdiff_t row = 0; row < n; row += step) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        unit->add_gram(Z + row * width, moe_min(step, n - row), width, G);
    }
    const double norm = moe_grow_norm(G, width, 0, d, work);
    if (!moe_gram_is_moderate(norm, y, n, 1) || unit->factor_columns(G, width, d) < d ||
        moe_gram_rcond(G, d, width, norm, work) < required)
        return MOE_ILL_CONDITIONED;

    memset(b, 0, (size_t)width * sizeof *b); /* beyond d it stays 0: the columns of y and of zeros take no part */
    for (ptrdiff_t j = 0; j < d; j++)
        b[j] = G[j * width + d];
    unit->solve_transposed(G, width, d, b);
    const moe_status status = moe_gradient(Z, y, b, n, width, gradient, &residual2, work, interrupt);
    moe_gram_solve(G, d, width, gradient);
    for (ptrdiff_t j = 0; j < d; j++)
        coef[j] = b[j] - gradient[j];
    return status;
}
