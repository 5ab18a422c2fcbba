/* Fits a whole learning curve, the first n rows for every n, from nested factorisations. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* For n <= d:  X_n X_n' is the leading block of X_N X_N', N the largest such n, so one Cholesky factor L_N serves
 * every n by its leading block:  coef_n = X_n' (L_n L_n')^-1 y_n.
 * For n > d:   X_n'X_n and X_n'y_n grow by the new rows. Where the columns are many enough for it to pay, the former is
 * in single precision, and steps of refinement by exact gradients do the rest; elsewhere, and where these do not
 * converge, in double precision.
 *
 * The eigenvalues of a leading block lie between those of the whole (Cauchy), and those of X_n'X_n only grow with n.
 * So one estimate of a condition number serves: that of X_N X_N' for all smaller n, and the norm of one (X_n'X_n)^-1
 * for all larger n, as long as they show that the normal equations may be used. Where they do not, each size is
 * estimated for itself, and a size that is too ill-conditioned or lies behind a failed pivot is fitted orthogonally.
 * In single precision the norm is estimated anew whenever n - d has doubled: the better it is, the fewer the steps. */

enum {
    SINGLE_PRECISION_PAYS = 192, /* columns from which on it does */
    COLUMNS_AN_UPDATE = 40,      /* of a factor, by a row: d/40 of them take as long as a new one */
    MOST_UPDATES = 100,          /* each adds its rounding */
    MOST_STEPS = 8,              /* of refinement; more would take longer than double precision */
};

typedef struct {
    const double *X, *y;
    ptrdiff_t d;
    const ptrdiff_t *sizes;
    double *coef;
    const moe_interrupt *interrupt;
} curve;

/* What grows with n > d. */
typedef struct {
    double *G;                   /* X_n'X_n, lower triangle */
    double *projection;          /* X_n'y_n */
    double *sums, *gradient, *z; /* d each */
    double *L;                   /* a factor of G, in the place of what follows */
    moe_single single;           /* the same in single precision */
    double *work;                /* for the solves and the orthogonal fit */
    ptrdiff_t rows, seen;        /* rows that are in G, and in the projection */
    int in_single;               /* whether `single` has seen the same rows as the projection */
    ptrdiff_t factored, updates; /* rows in its factor, 0 without one, and how many of them came one by one */
    ptrdiff_t hard_below;        /* rows: with fewer, single precision did not suffice */
    double inverse_norm;         /* an upper bound for the norm of G^-1, but for estimation; infinite without one */
    ptrdiff_t estimated;         /* rows that were seen then */
} grown;

/* Whether the bound at hand shows that the normal equations may be used. */
static int is_safe(const grown *g, double norm)
{
    return norm * g->inverse_norm * MOE_GRAM_WELL_CONDITIONED <= 1.0;
}

static size_t factors_workspace(ptrdiff_t d)
{
    return moe_larger(moe_times((size_t)d, (size_t)d), moe_single_workspace(d));
}

static size_t grown_workspace(ptrdiff_t d)
{
    return moe_plus(moe_times((size_t)d, moe_plus((size_t)d, 4)), factors_workspace(d));
}

static grown split(double *workspace, ptrdiff_t d)
{
    grown g = {.G = workspace, .inverse_norm = INFINITY};
    g.projection = g.G + d * d;
    g.sums = g.projection + d;
    g.gradient = g.sums + d;
    g.z = g.gradient + d;
    g.L = g.z + d;
    g.single = moe_single_split(g.L, d);
    g.work = g.L + factors_workspace(d);
    return g;
}

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
    const size_t work = moe_larger(moe_larger(moe_times(4, s), fallback),
                                   moe_larger(solve, moe_gradient_workspace(n, d)));
    const size_t wide = moe_plus(moe_times(s, s), moe_plus((size_t)n_sizes, s)); /* a factor, norms, column sums */
    const size_t tall = n > d ? grown_workspace(d) : 0;
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
    double *L = workspace, *norms = L + largest * largest, *sums = norms + count, *work = sums + largest;
    ptrdiff_t valid;
    moe_status status = moe_gram_rows(c->X, largest, c->d, L, c->interrupt);
    if (status != MOE_OK)
        return status;
    for (ptrdiff_t i = 0; i < count; i++) {
        if (moe_stop(c->interrupt))
            return MOE_INTERRUPTED;
        norms[i] = moe_grow_norm(L, largest, i > 0 ? c->sizes[i - 1] : 0, c->sizes[i], sums);
    }
    status = moe_cholesky(MOE_DOUBLE, L, largest, &valid, c->interrupt);
    if (status != MOE_OK)
        return status;
    const int all_safe = valid == largest &&
                         moe_gram_has_rcond(L, largest, largest, norms[count - 1], MOE_GRAM_WELL_CONDITIONED, work);
    for (ptrdiff_t i = 0; i < count && status == MOE_OK; i++) {
        const ptrdiff_t n = c->sizes[i];
        if (moe_stop(c->interrupt))
            status = MOE_INTERRUPTED;
        else if (moe_gram_is_moderate(norms[i], c->y, n, 1) &&
                 (all_safe ||
                  (n <= valid && moe_gram_has_rcond(L, n, largest, norms[i], MOE_GRAM_WELL_CONDITIONED, work))))
            status = moe_solve_rows(c->X, c->y, n, c->d, 1, L, largest, c->coef + i * c->d, work, c->interrupt);
        else
            status = fit_orthogonally(c, i, work);
    }
    return status;
}

/* From 0 on by steps of  coef -= M^-1 gradient  with M for X'X in single precision and the gradient from the rows. A
 * step leaves at most about `rate` of the error, in the norm of M: the largest share seen so far, but no less than what
 * rounding in single precision can cause, as a direction that the first steps hardly touch may shrink more slowly than
 * they do. `done` is 0 where the steps shrink too slowly. */
static moe_status refine(const curve *c, ptrdiff_t index, grown *g, double condition, int *done)
{
    const double SLOW = 0.02, ACCURACY = 1e-12;
    const ptrdiff_t d = c->d;
    double *coef = c->coef + index * d, first = 0.0, before = INFINITY, rate = FLT_EPSILON * condition, residual2;
    moe_status status = MOE_OK;
    memset(coef, 0, (size_t)d * sizeof *coef);
    for (ptrdiff_t j = 0; j < d; j++)
        g->gradient[j] = -g->projection[j];
    *done = 0;
    for (int step = 0; step < MOST_STEPS && status == MOE_OK; step++) {
        double energy = 0.0;
        memcpy(g->z, g->gradient, (size_t)d * sizeof *g->z);
        moe_single_solve(&g->single, g->z);
        for (ptrdiff_t j = 0; j < d; j++) {
            energy += g->z[j] * g->gradient[j];
            coef[j] -= g->z[j];
        }
        const double length = sqrt(energy), shrunk = length / before;
        if (step == 0)
            first = length;
        rate = fmax(rate, shrunk);
        *done = length * rate * sqrt(condition) <= ACCURACY * first;
        if (*done || !(shrunk <= SLOW))
            break;
        before = length;
        status = moe_gradient(c->X, c->y, coef, c->sizes[index], d, g->gradient, &residual2, g->work, c->interrupt);
    }
    return status;
}

/* Brings the factor in single precision up to date. */
static moe_status factor_single(const curve *c, ptrdiff_t n, grown *g, int *usable)
{
    const ptrdiff_t new_rows = n - g->factored;
    const int few = g->factored > 0 && new_rows <= c->d / COLUMNS_AN_UPDATE && g->updates + new_rows <= MOST_UPDATES;
    const ptrdiff_t factored = g->factored;
    *usable = 1;
    g->factored = n;
    g->updates = few ? g->updates + new_rows : 0;
    return few ? moe_single_update(&g->single, c->X + factored * c->d, new_rows, c->interrupt)
               : moe_single_factor(&g->single, usable, c->interrupt);
}

/* `done` is 0 where single precision does not suffice. */
static moe_status solve_in_single(const curve *c, ptrdiff_t index, grown *g, double norm, int *done)
{
    const ptrdiff_t n = c->sizes[index];
    const int may_improve = n - c->d >= 2 * (g->estimated - c->d); /* a better bound saves steps */
    int usable;
    *done = 0;
    if (!may_improve && !is_safe(g, norm))
        return MOE_OK;
    const moe_status status = factor_single(c, n, g, &usable);
    if (status != MOE_OK || !usable)
        return status;
    if (may_improve) {
        g->inverse_norm = moe_inverse_norm(moe_single_solve, &g->single, c->d, g->work);
        g->estimated = n;
    }
    return is_safe(g, norm) ? refine(c, index, g, norm * g->inverse_norm, done) : MOE_OK;
}

/* Adds the rows to the Gram matrix in single precision and solves with it, as long as that suffices. */
static moe_status fit_in_single(const curve *c, ptrdiff_t index, grown *g, ptrdiff_t new_rows, int *done)
{
    const ptrdiff_t n = c->sizes[index];
    moe_status status = moe_single_add(&g->single, c->X + (n - new_rows) * c->d, new_rows, c->interrupt);
    *done = 0;
    if (status != MOE_OK)
        return status;
    const double norm = moe_single_norm(&g->single);
    if (!moe_gram_is_moderate(norm, c->y, n, 1))
        return MOE_OK;
    status = solve_in_single(c, index, g, norm, done);
    if (status == MOE_OK && !*done && g->updates > 0) { /* their rounding may be the cause */
        g->factored = 0;
        status = solve_in_single(c, index, g, norm, done);
    }
    if (!*done) {
        g->hard_below = n + (n - c->d); /* more rows make it easier, by how far they are more than the columns */
        g->inverse_norm = INFINITY;     /* for double precision to estimate */
    }
    return status;
}

static moe_status fit_in_double(const curve *c, ptrdiff_t index, grown *g)
{
    const ptrdiff_t d = c->d, n = c->sizes[index];
    double *coef = c->coef + index * d;
    ptrdiff_t valid = 0;
    moe_status status = g->rows == 0 ? moe_gram_clear(g->G, d, c->interrupt) : MOE_OK;
    if (status == MOE_OK)
        status = moe_gram_columns(c->X + g->rows * d, n - g->rows, d, g->G, c->interrupt);
    if (status != MOE_OK)
        return status;
    g->rows = n;
    const double norm = moe_grow_norm(g->G, d, 0, d, g->sums);
    status = moe_gram_copy(g->G, d, g->L, c->interrupt);
    if (status == MOE_OK)
        status = moe_cholesky(MOE_DOUBLE, g->L, d, &valid, c->interrupt);
    if (status != MOE_OK)
        return status;
    if (valid < d || !moe_gram_is_moderate(norm, c->y, n, 1))
        return fit_orthogonally(c, index, g->work);
    if (!is_safe(g, norm)) {
        const double rcond = moe_gram_rcond(g->L, d, d, norm, g->work);
        if (rcond < MOE_GRAM_WELL_CONDITIONED)
            return fit_orthogonally(c, index, g->work);
        g->inverse_norm = 1.0 / (rcond * norm);
        g->estimated = n;
    }
    memcpy(coef, g->projection, (size_t)d * sizeof *coef);
    status = moe_solve_columns(c->X, c->y, n, d, 1, g->L, coef, g->work, c->interrupt);
    g->in_single = d >= SINGLE_PRECISION_PAYS && n >= g->hard_below;
    g->factored = 0;
    return status != MOE_OK || !g->in_single ? status : moe_single_convert(&g->single, g->G, c->interrupt);
}

/* Sizes first .. n_sizes-1, all of them above d. */
static moe_status fit_tall(const curve *c, ptrdiff_t first, ptrdiff_t n_sizes, double *workspace)
{
    const ptrdiff_t d = c->d;
    grown g = split(workspace, d);
    moe_status status = MOE_OK;
    memset(g.projection, 0, (size_t)d * sizeof *g.projection);
    g.in_single = d >= SINGLE_PRECISION_PAYS;
    if (g.in_single)
        status = moe_single_begin(&g.single, c->X, c->sizes[first], c->interrupt);
    for (ptrdiff_t i = first; i < n_sizes && status == MOE_OK; i++) {
        const ptrdiff_t new_rows = c->sizes[i] - g.seen;
        int done = 0;
        status = moe_project(c->X + g.seen * d, c->y + g.seen, new_rows, d, 1, g.projection, c->interrupt);
        g.seen = c->sizes[i];
        if (status == MOE_OK && g.in_single)
            status = fit_in_single(c, i, &g, new_rows, &done);
        g.in_single = done;
        if (status == MOE_OK && !done)
            status = fit_in_double(c, i, &g);
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
