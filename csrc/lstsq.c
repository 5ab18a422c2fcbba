/* Fits minimum-norm least squares: by the normal equations where they are safe, orthogonally elsewhere. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* "Safe" is decided by a condition estimate of the Gram matrix that was formed, never by the shape. */

static size_t normal_workspace(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m)
{
    const size_t s = (size_t)moe_min(n, d);
    const size_t solve = n >= d ? moe_solve_columns_workspace(d, m) : moe_solve_rows_workspace(n, m);
    return moe_plus(moe_plus(moe_times(s, s), moe_times((size_t)d, (size_t)m)), moe_larger(solve, moe_times(4, s)));
}

size_t moe_lstsq_workspace(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, moe_method method)
{
    size_t size = 0;
    if (method == MOE_AUTO || method == MOE_NORMAL)
        size = normal_workspace(n, d, m);
    if (method != MOE_NORMAL)
        size = moe_larger(size, moe_orthogonal_workspace(n, d, m, method));
    return size;
}

/* Asked for by name they only have to be regular and, as they cannot drop a direction, `rcond` must drop none. Chosen
 * for the user they also have to keep the digits, and an `rcond` that comes near to their limit rules them out. */
double moe_required_rcond(moe_method method, double rcond)
{
    const double cut = rcond > 0.0 ? rcond * rcond : 0.0; /* of the Gram matrix */
    if (method == MOE_NORMAL)
        return fmax(MOE_GRAM_SINGULAR, cut);
    return method == MOE_AUTO && cut < 0.01 * MOE_GRAM_WELL_CONDITIONED ? MOE_GRAM_WELL_CONDITIONED : 2.0;
}

/* MOE_ILL_CONDITIONED where the Gram matrix may not be solved with. */
static moe_status normal(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, double required,
                         double *coef, double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t s = moe_min(n, d);
    double *G = workspace, *columns = G + s * s /* coef, column-major */, *work = columns + d * m, norm;
    ptrdiff_t valid;
    moe_status status;

    status = moe_gram_clear(G, s, interrupt);
    if (status != MOE_OK)
        return status;
    status = n >= d ? moe_gram_columns(X, n, d, G, interrupt) : moe_gram_rows(X, n, d, G, interrupt);
    if (status != MOE_OK)
        return status;
    norm = moe_grow_norm(G, s, 0, s, work);
    status = moe_cholesky(MOE_DOUBLE, G, s, &valid, interrupt);
    if (status != MOE_OK)
        return status;
    if (valid < s || !moe_gram_is_moderate(norm, Y, n, m) || !moe_gram_has_rcond(G, s, s, norm, required, work))
        return MOE_ILL_CONDITIONED;
    if (n >= d) {
        memset(columns, 0, (size_t)(d * m) * sizeof *columns);
        status = moe_project(X, Y, n, d, m, columns, interrupt);
        if (status == MOE_OK)
            status = moe_solve_columns(X, Y, n, d, m, G, columns, work, interrupt);
    } else {
        status = moe_solve_rows(X, Y, n, d, m, G, n, columns, work, interrupt);
    }
    for (ptrdiff_t c = 0; c < d && status == MOE_OK; c++)
        for (ptrdiff_t j = 0; j < m; j++)
            coef[c * m + j] = columns[j * d + c];
    return status;
}

moe_status moe_lstsq(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, double rcond,
                     moe_method method, double *coef, ptrdiff_t *rank, ptrdiff_t *used, double *workspace,
                     const moe_interrupt *interrupt)
{
    const double required = moe_required_rcond(method, rcond);
    if (required <= 1.0) {
        const moe_status status = normal(X, Y, n, d, m, required, coef, workspace, interrupt);
        *used = MOE_NORMAL;
        *rank = moe_min(n, d);
        if (status != MOE_ILL_CONDITIONED || method == MOE_NORMAL)
            return status;
    }
    *used = method == MOE_SVD ? MOE_SVD : MOE_ORTHOGONAL;
    return moe_orthogonal(X, Y, n, d, m, rcond, (moe_method)*used, coef, rank, workspace, interrupt);
}
