/* Fits a whole learning curve, the first n rows for every n, from nested factorisations. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* For n <= d:  X_n X_n' is the leading block of X_N X_N', N the largest such n, so one Cholesky factor L_N serves
 * every n by its leading block:  coef_n = X_n' (L_n L_n')^-1 y_n.
 * For n > d:   X_n'X_n and X_n'y_n grow by the new rows. Where the columns are many enough for it to pay, a factor in
 * single precision is made, which serves later sizes as well where a new one would cost more than it saves, and conjugate
 * gradients do the rest; elsewhere, and where that does not converge, a factor in double precision.
 *
 * The eigenvalues of a leading block lie between those of the whole (Cauchy), and those of X_n'X_n only grow with n.
 * So one estimate of a condition number serves: that of X_N X_N' for all smaller n, and the norm of one (X_n'X_n)^-1
 * for all larger n, as long as they show that the normal equations may be used. Where they do not, each size is
 * estimated for itself, and a size that is too ill-conditioned or lies behind a failed pivot is fitted orthogonally. */

enum {
    SINGLE_PRECISION_PAYS = 192, /* columns from which on it does */
    COLUMNS_AN_ITERATION = 36,   /* a factor, of d^3/3 products, costs as much as d/36 iterations, ... */
    MOST_ITERATIONS = 25,        /* ... as long as caches hold the matrices */
    SPARE_ITERATIONS = 12,
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
    double *G;           /* X_n'X_n, lower triangle */
    double *projection;  /* X_n'y_n */
    double *L;           /* a factor of G */
    double *sums, *rhs;  /* d each */
    double *single;      /* a factor in single precision, with what conjugate gradients need */
    double *work;        /* for the solves and the orthogonal fit */
    ptrdiff_t factored;  /* rows that the factor in single precision has seen; 0 without one */
    double inverse_norm; /* an upper bound for the norm of G^-1, but for estimation; infinite without one */
} grown;

/* Whether the bound at hand shows that the normal equations may be used. */
static int is_safe(const grown *g, double norm)
{
    return norm * g->inverse_norm * MOE_GRAM_WELL_CONDITIONED <= 1.0;
}

static grown split(double *workspace, ptrdiff_t d)
{
    grown g = {.G = workspace, .inverse_norm = INFINITY};
    g.projection = g.G + d * d;
    g.L = g.projection + d;
    g.sums = g.L + d * d;
    g.rhs = g.sums + d;
    g.single = g.rhs + d;
    g.work = g.single + moe_conjugate_workspace(d);
    return g;
}

static size_t grown_workspace(ptrdiff_t d)
{
    return moe_plus(moe_times((size_t)d, moe_plus(moe_times(2, (size_t)d), 3)), moe_conjugate_workspace(d));
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

/* About how many iterations conjugate gradients need to come to `accuracy` with a factor of the Gram matrix of the first
 * `seen` of n rows. Such a factor lacks what the others contribute. Of draws of one distribution that is, in the
 * direction where they contribute most, a share of `edge`^2 of the whole: the right edge of the Jacobi ensemble's
 * spectrum. The preconditioned matrix then has its eigenvalues between 1 and 1 / (1 - edge^2). */
static double expected_iterations(ptrdiff_t seen, ptrdiff_t n, ptrdiff_t d, double accuracy)
{
    const double features = (double)d / (double)n, others = 1.0 - (double)seen / (double)n;
    if (features + others >= 1.0)
        return INFINITY;
    const double edge = sqrt(features * (1.0 - others)) + sqrt(others * (1.0 - features));
    const double root = 1.0 / sqrt(1.0 - edge * edge);
    return log(accuracy) / log((root - 1.0) / (root + 1.0));
}

/* Solves X'X coef = X'y, then once more for what is left of the gradient, which the rows of X tell exactly. `done` is 0
 * where that did not converge, or the second time did not find much less to do than the first. */
static moe_status fit_in_single(const curve *c, ptrdiff_t index, grown *g, int *done)
{
    const ptrdiff_t d = c->d, n = c->sizes[index], worth_a_factor = moe_min(MOST_ITERATIONS, d / COLUMNS_AN_ITERATION);
    const double TOLERANCE[2] = {1e-5, 1e-8}, LEFT = 1e-4;
    double *coef = c->coef + index * d, energy[2] = {0.0, 0.0}, residual2;
    moe_status status = MOE_OK;
    *done = 1;
    if (!(expected_iterations(g->factored, n, d, TOLERANCE[0] * TOLERANCE[1]) <= (double)worth_a_factor)) {
        status = moe_conjugate_factor(g->G, d, done, g->single, c->interrupt);
        g->factored = *done ? n : 0;
    }
    memset(coef, 0, (size_t)d * sizeof *coef);
    memcpy(g->rhs, g->projection, (size_t)d * sizeof *coef);
    for (int round = 0; round < 2 && status == MOE_OK && *done; round++) {
        if (round == 1) {
            status = moe_gradient(c->X, c->y, coef, n, d, g->rhs, &residual2, g->work, c->interrupt);
            for (ptrdiff_t j = 0; j < d; j++)
                g->rhs[j] = -g->rhs[j];
        }
        if (status == MOE_OK)
            status = moe_conjugate_solve(g->G, d, g->rhs, TOLERANCE[round], worth_a_factor + SPARE_ITERATIONS, coef,
                                         energy + round, done, g->single, c->interrupt);
    }
    *done = *done && energy[1] <= LEFT * LEFT * energy[0];
    if (!*done) /* these rows are not like those before */
        g->factored = 0;
    return status;
}

static moe_status fit_in_double(const curve *c, ptrdiff_t index, grown *g, double norm, int moderate)
{
    const ptrdiff_t d = c->d;
    double *coef = c->coef + index * d;
    ptrdiff_t valid = 0;
    moe_status status = moe_gram_copy(g->G, d, g->L, c->interrupt);
    if (status == MOE_OK)
        status = moe_cholesky(MOE_DOUBLE, g->L, d, &valid, c->interrupt);
    if (status != MOE_OK)
        return status;
    if (valid < d || !moderate)
        return fit_orthogonally(c, index, g->work);
    if (!is_safe(g, norm)) {
        const double rcond = moe_gram_rcond(g->L, d, d, norm, g->work);
        if (rcond < MOE_GRAM_WELL_CONDITIONED)
            return fit_orthogonally(c, index, g->work);
        g->inverse_norm = 1.0 / (rcond * norm);
    }
    memcpy(coef, g->projection, (size_t)d * sizeof *coef);
    return moe_solve_columns(c->X, c->y, c->sizes[index], d, 1, g->L, coef, g->work, c->interrupt);
}

/* Sizes first .. n_sizes-1, all of them above d. */
static moe_status fit_tall(const curve *c, ptrdiff_t first, ptrdiff_t n_sizes, double *workspace)
{
    const ptrdiff_t d = c->d;
    grown g = split(workspace, d);
    ptrdiff_t seen = 0;
    moe_status status = moe_gram_clear(g.G, d, c->interrupt);
    memset(g.projection, 0, (size_t)d * sizeof *g.projection);
    for (ptrdiff_t i = first; i < n_sizes && status == MOE_OK; i++) {
        const ptrdiff_t n = c->sizes[i];
        int done = 0;
        status = moe_gram_columns(c->X + seen * d, n - seen, d, g.G, c->interrupt);
        if (status == MOE_OK)
            status = moe_project(c->X + seen * d, c->y + seen, n - seen, d, 1, g.projection, c->interrupt);
        if (status != MOE_OK)
            break;
        seen = n;
        const double norm = moe_grow_norm(g.G, d, 0, d, g.sums);
        const int moderate = moe_gram_is_moderate(norm, c->y, n, 1);
        if (d >= SINGLE_PRECISION_PAYS && moderate && is_safe(&g, norm))
            status = fit_in_single(c, i, &g, &done);
        if (status == MOE_OK && !done)
            status = fit_in_double(c, i, &g, norm, moderate);
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
