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

/* MOE_ILL_CONDITIONED where the reciprocal condition of the Gram matrix is below `required`. */
static moe_status normal(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, double required,
                         double *coef, double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t s = moe_min(n, d);
    double *G = workspace, *columns = G + s * s /* coef, column-major */, *work = columns + d * m;
    ptrdiff_t valid;
    moe_status status;

    memset(G, 0, (size_t)(s * s) * sizeof *G);
    status = n >= d ? moe_gram_columns(X, n, d, G, interrupt) : moe_gram_rows(X, n, d, G, interrupt);
    if (status != MOE_OK)
        return status;
    const double norm = moe_symmetric_norm(G, s, s, work);
    status = moe_cholesky(G, s, &valid, interrupt);
    if (status != MOE_OK)
        return status;
    if (valid < s || !(moe_cholesky_rcond(G, s, s, norm, work) >= required))
        return MOE_ILL_CONDITIONED;
    if (n >= d) {
        memset(columns, 0, (size_t)(d * m) * sizeof *columns);
        moe_project(X, Y, n, d, m, columns);
        moe_solve_columns(X, Y, n, d, m, G, columns, work);
    } else {
        moe_solve_rows(X, Y, n, d, m, G, n, columns, work);
    }
    for (ptrdiff_t c = 0; c < d; c++)
        for (ptrdiff_t j = 0; j < m; j++)
            coef[c * m + j] = columns[j * d + c];
    return MOE_OK;
}

moe_status moe_lstsq(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, double rcond,
                     moe_method method, double *coef, ptrdiff_t *rank, ptrdiff_t *used, double *workspace,
                     const moe_interrupt *interrupt)
{
    /* A cut-off as large as this may drop directions of a well-conditioned X too. */
    const int may_cut = rcond * rcond > 0.01 * MOE_GRAM_WELL_CONDITIONED && rcond > 0.0;
    if (method == MOE_NORMAL || (method == MOE_AUTO && !may_cut)) {
        const double wanted = fmax(MOE_GRAM_SINGULAR, rcond > 0.0 ? rcond * rcond : 0.0); /* nothing is cut off */
        const double required = method == MOE_NORMAL ? wanted : MOE_GRAM_WELL_CONDITIONED;
        const moe_status status = normal(X, Y, n, d, m, required, coef, workspace, interrupt);
        *used = MOE_NORMAL;
        *rank = moe_min(n, d);
        if (status != MOE_ILL_CONDITIONED || method == MOE_NORMAL)
            return status;
    }
    *used = method == MOE_SVD ? MOE_SVD : MOE_ORTHOGONAL;
    return moe_orthogonal(X, Y, n, d, m, rcond, (moe_method)*used, coef, rank, workspace, interrupt);
}
