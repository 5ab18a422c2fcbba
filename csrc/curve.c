/* Fits a whole learning curve, the first n rows for every n, from nested factorisations. */
#include <string.h>

#include "internal.h"

/* For n <= d:  X_n X_n' is the leading block of X_N X_N', N the largest such n, so one Cholesky factor L_N serves
 * every n by its leading block:  coef_n = X_n' (L_n L_n')^-1 y_n.
 * For n > d:   X_n'X_n and X_n'y_n grow by the new rows; each n costs one factorisation of a copy.
 * A size whose condition estimate is too large, or that lies behind a failed pivot, is fitted orthogonally. */

typedef struct {
    const double *X, *y;
    ptrdiff_t d;
    const ptrdiff_t *sizes;
    double *coef;
    const moe_interrupt *interrupt;
} curve;

static ptrdiff_t largest_wide(const ptrdiff_t *sizes, ptrdiff_t n_sizes, ptrdiff_t d, ptrdiff_t *n_wide)
{
    *n_wide = 0;
    while (*n_wide < n_sizes && sizes[*n_wide] <= d)
        ++*n_wide;
    return *n_wide > 0 ? sizes[*n_wide - 1] : 0;
}

size_t moe_curve_workspace(ptrdiff_t n, ptrdiff_t d, ptrdiff_t n_sizes)
{
    const size_t s = (size_t)moe_min(n, d);
    /* the largest size, or the largest wide one below it, may have to be fitted orthogonally */
    const size_t fallback = moe_larger(moe_orthogonal_workspace(n, d, 1, MOE_ORTHOGONAL),
                                       moe_orthogonal_workspace(moe_max(1, moe_min(n, d - 1)), d, 1, MOE_ORTHOGONAL));
    const size_t solve = moe_larger(moe_solve_columns_workspace(d, 1), moe_solve_rows_workspace((ptrdiff_t)s, 1));
    const size_t work = moe_larger(moe_larger(moe_times(4, s), fallback), solve);
    const size_t wide = moe_plus(moe_times(s, s), (size_t)n_sizes);             /* one factor, a norm for each size */
    const size_t tall = n > d ? moe_plus(moe_times(2, moe_times(s, s)), s) : 0; /* Gram, its factor, X'y */
    return moe_plus(moe_larger(wide, tall), work);
}

static moe_status fit_orthogonally(const curve *c, ptrdiff_t index, double *work)
{
    ptrdiff_t rank;
    return moe_orthogonal(c->X, c->y, c->sizes[index], c->d, 1, -1.0, MOE_ORTHOGONAL, c->coef + index * c->d, &rank,
                          work, c->interrupt);
}

/* Sizes 0 .. count-1, all of them at most d; `largest` is the last. */
static moe_status fit_wide(const curve *c, ptrdiff_t count, ptrdiff_t largest, double *workspace)
{
    double *L = workspace, *norms = L + largest * largest, *work = norms + count;
    ptrdiff_t valid;
    moe_status status = moe_gram_rows(c->X, largest, c->d, L, c->interrupt);
    if (status != MOE_OK)
        return status;
    for (ptrdiff_t i = 0; i < count; i++) {
        if (moe_stop(c->interrupt))
            return MOE_INTERRUPTED;
        norms[i] = moe_symmetric_norm(L, c->sizes[i], largest, work);
    }
    status = moe_cholesky(L, largest, &valid, c->interrupt);
    for (ptrdiff_t i = 0; i < count && status == MOE_OK; i++) {
        const ptrdiff_t n = c->sizes[i];
        if (moe_stop(c->interrupt))
            status = MOE_INTERRUPTED;
        else if (moe_gram_is_safe(L, n, largest, valid, norms[i], MOE_GRAM_WELL_CONDITIONED, c->y, n, 1, work))
            status = moe_solve_rows(c->X, c->y, n, c->d, 1, L, largest, c->coef + i * c->d, work, c->interrupt);
        else
            status = fit_orthogonally(c, i, work);
    }
    return status;
}

/* Sizes first .. n_sizes-1, all of them above d. */
static moe_status fit_tall(const curve *c, ptrdiff_t first, ptrdiff_t n_sizes, double *workspace)
{
    const ptrdiff_t d = c->d;
    double *G = workspace, *L = G + d * d, *projection = L + d * d, *work = projection + d;
    ptrdiff_t seen = 0, valid;
    moe_status status = MOE_OK;
    memset(G, 0, (size_t)(d * d) * sizeof *G);
    memset(projection, 0, (size_t)d * sizeof *projection);
    for (ptrdiff_t i = first; i < n_sizes && status == MOE_OK; i++) {
        const ptrdiff_t n = c->sizes[i];
        double *coef = c->coef + i * d;
        status = moe_gram_columns(c->X + seen * d, n - seen, d, G, c->interrupt);
        if (status == MOE_OK)
            status = moe_project(c->X + seen * d, c->y + seen, n - seen, d, 1, projection, c->interrupt);
        if (status != MOE_OK)
            break;
        seen = n;
        memcpy(L, G, (size_t)(d * d) * sizeof *L);
        status = moe_cholesky(L, d, &valid, c->interrupt);
        if (status != MOE_OK)
            break;
        const double norm = moe_symmetric_norm(G, d, d, work);
        if (moe_gram_is_safe(L, d, d, valid, norm, MOE_GRAM_WELL_CONDITIONED, c->y, n, 1, work)) {
            memcpy(coef, projection, (size_t)d * sizeof *coef);
            status = moe_solve_columns(c->X, c->y, n, d, 1, L, coef, work, c->interrupt);
        } else {
            status = fit_orthogonally(c, i, work);
        }
    }
    return status;
}

moe_status moe_curve(const double *X, const double *y, ptrdiff_t d, const ptrdiff_t *sizes, ptrdiff_t n_sizes,
                     double *coef, double *workspace, const moe_interrupt *interrupt)
{
    const curve c = {X, y, d, sizes, coef, interrupt};
    ptrdiff_t n_wide;
    const ptrdiff_t largest = largest_wide(sizes, n_sizes, d, &n_wide);
    moe_status status = MOE_OK;
    if (n_wide > 0)
        status = fit_wide(&c, n_wide, largest, workspace);
    if (status == MOE_OK && n_wide < n_sizes)
        status = fit_tall(&c, n_wide, n_sizes, workspace);
    return status;
}
