/* Fits least squares with few columns and one response, by small kernels of our own. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* With Z = [X y 0], the Gram matrix Z'Z holds X'X and, below it, y'X. Factoring the first d columns turns that row into
 * (L^-1 X'y)', so that one triangular solve is left; one step of refinement follows. LAPACK spends more time on
 * entering and leaving such problems than on solving them. */

enum { STEP = 1 << 26 }; /* multiplications between two checks for an interrupt */

ptrdiff_t moe_narrow_width(ptrdiff_t d)
{
    const ptrdiff_t multiple = moe_in_use()->narrow_multiple;
    return (d + multiple) / multiple * multiple; /* at least d + 1 */
}

size_t moe_narrow_workspace(ptrdiff_t n, ptrdiff_t d)
{
    const size_t width = (size_t)moe_narrow_width(d), packed = moe_times((size_t)n, width + 1);
    return moe_plus(packed, width * (width + 4) + moe_gradient_workspace(n, (ptrdiff_t)width));
}

/* Z = [X y 0], y beside it, G = Z'Z. The caller has just checked for an interrupt. */
static moe_status pack(const moe_part *part, double *Z, double *y, double *G, const moe_interrupt *interrupt)
{
    const moe_unit *unit = moe_in_use();
    const ptrdiff_t d = part->d, width = moe_narrow_width(d);
    const ptrdiff_t step = moe_min(moe_step(STEP, width * width), moe_step(MOE_TOUCHED, width));
    memset(G, 0, (size_t)(width * width) * sizeof *G);
    for (ptrdiff_t row = 0; row < part->n; row += step) {
        const ptrdiff_t rows = moe_min(step, part->n - row);
        double *z = Z + row * width;
        if (row > 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        unit->gather(part->X, part->ld, part->y, part->rows + row, rows, d, width, z, y + row);
        unit->add_gram(z, rows, d + 1, width, G);
    }
    return MOE_OK;
}

moe_status moe_narrow(const moe_part *part, double required, double *coef, double *workspace,
                      const moe_interrupt *interrupt)
{
    const moe_unit *unit = moe_in_use();
    const ptrdiff_t n = part->n, d = part->d, width = moe_narrow_width(d);
    double *Z = workspace, *y = Z + n * width, *G = y + n, *b = G + width * width, *gradient = b + width,
           *work = gradient + width, residual2;
    moe_status status = pack(part, Z, y, G, interrupt);
    if (status != MOE_OK)
        return status;
    const double norm = moe_grow_norm(G, width, 0, d, work);
    if (!moe_gram_is_moderate(norm, y, n, 1) || unit->factor_columns(G, width, d) < d ||
        !moe_gram_has_rcond(G, d, width, norm, required, work))
        return MOE_ILL_CONDITIONED;

    memset(b, 0, (size_t)width * sizeof *b); /* beyond d it stays 0: the columns of y and of zeros take no part */
    for (ptrdiff_t j = 0; j < d; j++)
        b[j] = G[j * width + d];
    unit->solve_transposed(G, width, d, b);
    status = moe_gradient(Z, y, b, n, width, gradient, &residual2, work, interrupt);
    moe_gram_solve(G, d, width, gradient);
    for (ptrdiff_t j = 0; j < d; j++)
        coef[j] = b[j] - gradient[j];
    return status;
}
