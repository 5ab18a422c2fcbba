/* Solves least squares through the Cholesky factor of the Gram matrix of the shorter side, X'X or XX'. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

/* A row-major X (n x d) is, read column-major, X' (d x n) with leading dimension d; that is how BLAS gets it. */

enum {
    STEP = 1 << 28,         /* multiplications between two checks for an interrupt */
    LEAST_ROWS = 64,        /* a shorter step wastes BLAS */
    LEAST_COLUMNS = 64,     /* of one step of the Cholesky factorisation */
    MOST_COLUMNS = 128,     /* and a longer one waits for its triangular solve */
    WHOLE_COLUMNS = 512,    /* up to here one call does it all */
};

/* Rows of a product that costs `cost` multiplications a row. */
static ptrdiff_t step_rows(ptrdiff_t cost)
{
    return moe_max(LEAST_ROWS, moe_step(STEP, cost));
}

moe_status moe_gram_clear(double *G, ptrdiff_t s, const moe_interrupt *interrupt)
{
    const ptrdiff_t step = moe_step(MOE_TOUCHED, s);
    for (ptrdiff_t j = 0; j < s; j += step) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        memset(G + j * s, 0, (size_t)(moe_min(step, s - j) * s) * sizeof *G);
    }
    return MOE_OK;
}

moe_status moe_gram_copy(const double *G, ptrdiff_t s, double *copy, const moe_interrupt *interrupt)
{
    const ptrdiff_t step = moe_step(MOE_TOUCHED, s);
    for (ptrdiff_t j = 0; j < s; j += step) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        memcpy(copy + j * s, G + j * s, (size_t)(moe_min(step, s - j) * s) * sizeof *G);
    }
    return MOE_OK;
}

moe_status moe_gram_columns(const double *X, ptrdiff_t n, ptrdiff_t d, double *G, const moe_interrupt *interrupt)
{
    const ptrdiff_t step = step_rows(d * d);
    for (ptrdiff_t row = 0; row < n; row += step) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        blas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, (int)d, (int)moe_min(step, n - row), 1.0, X + row * d,
                   (int)d, 1.0, G, (int)d);
    }
    return MOE_OK;
}

moe_status moe_gram_rows(const double *X, ptrdiff_t n, ptrdiff_t d, double *G, const moe_interrupt *interrupt)
{
    const ptrdiff_t step = step_rows(n * n);
    for (ptrdiff_t column = 0; column < d; column += step) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        blas_dsyrk(CblasColMajor, CblasLower, CblasTrans, (int)n, (int)moe_min(step, d - column), 1.0, X + column,
                   (int)d, column > 0, G, (int)n);
    }
    return MOE_OK;
}

double moe_grow_norm(const double *G, ptrdiff_t ld, ptrdiff_t from, ptrdiff_t to, double *sums)
{
    const moe_unit *unit = moe_in_use();
    double norm = 0.0;
    memset(sums + from, 0, (size_t)(to - from) * sizeof *sums);
    for (ptrdiff_t j = 0; j < to; j++) {
        const double *column = G + j * ld;
        const ptrdiff_t below = moe_max(from, j + 1);
        if (j >= from)
            sums[j] += fabs(column[j]);
        sums[j] += unit->add_absolute(column + below, to - below, sums + below);
    }
    for (ptrdiff_t j = 0; j < to && norm == norm; j++) /* a NaN stays */
        norm = sums[j] <= norm ? norm : sums[j];
    return norm;
}

/* One step of the factorisation in either precision; `at` counts entries. */
static int factor_diagonal(moe_precision precision, void *G, ptrdiff_t at, ptrdiff_t width, ptrdiff_t ld)
{
    if (precision == MOE_SINGLE)
        return lapack_spotrf(LAPACK_COL_MAJOR, 'L', (int)width, (float *)G + at, (int)ld);
    return lapack_dpotrf(LAPACK_COL_MAJOR, 'L', (int)width, (double *)G + at, (int)ld);
}

static void update_below(moe_precision precision, void *G, ptrdiff_t at, ptrdiff_t width, ptrdiff_t below, ptrdiff_t ld)
{
    if (precision == MOE_SINGLE) {
        float *diagonal = (float *)G + at;
        blas_strsm(CblasColMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)below, (int)width, 1.0f,
                   diagonal, (int)ld, diagonal + width, (int)ld);
        blas_ssyrk(CblasColMajor, CblasLower, CblasNoTrans, (int)below, (int)width, -1.0f, diagonal + width, (int)ld,
                   1.0f, diagonal + width * ld + width, (int)ld);
    } else {
        double *diagonal = (double *)G + at;
        blas_dtrsm(CblasColMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)below, (int)width, 1.0,
                   diagonal, (int)ld, diagonal + width, (int)ld);
        blas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, (int)below, (int)width, -1.0, diagonal + width, (int)ld,
                   1.0, diagonal + width * ld + width, (int)ld);
    }
}

moe_status moe_cholesky(moe_precision precision, void *G, ptrdiff_t s, ptrdiff_t *valid, const moe_interrupt *interrupt)
{
    const ptrdiff_t step = moe_max(LEAST_COLUMNS, 8 * (STEP / moe_max(s * s, 1)));
    const ptrdiff_t columns = s <= WHOLE_COLUMNS ? s : moe_min(MOST_COLUMNS, step);
    for (*valid = 0; *valid < s;) {
        const ptrdiff_t j = *valid, width = moe_min(columns, s - j);
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        const int info = factor_diagonal(precision, G, j * s + j, width, s);
        if (info > 0) {
            *valid = j + info - 1;
            break;
        }
        *valid = j + width;
        if (*valid < s)
            update_below(precision, G, j * s + j, width, s - *valid, s);
    }
    return MOE_OK;
}

int moe_gram_is_moderate(double norm, const double *Y, ptrdiff_t n, ptrdiff_t m)
{
    const double SMALL = 1e-100, LARGE = 1e100;
    if (!(norm > SMALL && norm < LARGE))
        return 0;
    if (m == 1) { /* the sum of squares tells at once what is neither zero nor near the limits */
        const double squares = moe_in_use()->sum_of_squares(Y, n);
        if (squares > SMALL && squares < LARGE)
            return 1;
    }
    for (ptrdiff_t j = 0; j < m; j++) {
        double largest = 0.0;
        for (ptrdiff_t row = 0; row < n; row++) {
            const double size = fabs(Y[row * m + j]);
            largest = size > largest || size != size ? size : largest; /* NaN stays */
        }
        if (largest != 0.0 && !(largest > SMALL && largest < LARGE))
            return 0;
    }
    return 1;
}

void moe_gram_solve(const double *L, ptrdiff_t s, ptrdiff_t ld, double *b)
{
    if (s <= MOE_NARROW) {
        moe_in_use()->solve_lower(L, ld, s, b);
        moe_in_use()->solve_transposed(L, ld, s, b);
    } else {
        blas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)s, L, (int)ld, b, 1);
        blas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, (int)s, L, (int)ld, b, 1);
    }
}

/* Hager's estimate of the 1-norm of a symmetric matrix A, here an inverse, from a few products, with Higham's safeguard
 * (Accuracy and Stability of Numerical Algorithms, section 15.3): climb from x to the column where |A sign(Ax)| is
 * largest, as long as that helps; then try a vector of alternating signs. */
double moe_inverse_norm(moe_solver solve, const void *matrix, ptrdiff_t s, double *workspace)
{
    enum { MOST_CLIMBS = 5 };
    double *x = workspace, *sign = x + s, inverse_norm = 0.0, alternating = 0.0;
    ptrdiff_t column = -1;
    for (ptrdiff_t i = 0; i < s; i++)
        x[i] = 1.0 / (double)s;
    for (int climb = 0; climb < MOST_CLIMBS; climb++) {
        double sum = 0.0;
        ptrdiff_t steepest = 0;
        solve(matrix, x);
        for (ptrdiff_t i = 0; i < s; i++)
            sum += fabs(x[i]);
        if (sum <= inverse_norm)
            break;
        if (!isfinite(sum)) /* overflow: as good as singular */
            return INFINITY;
        inverse_norm = sum;
        for (ptrdiff_t i = 0; i < s; i++)
            sign[i] = x[i] < 0.0 ? -1.0 : 1.0;
        solve(matrix, sign);
        for (ptrdiff_t i = 1; i < s; i++)
            steepest = fabs(sign[i]) > fabs(sign[steepest]) ? i : steepest;
        if (steepest == column)
            break;
        column = steepest;
        memset(x, 0, (size_t)s * sizeof *x);
        x[column] = 1.0;
    }
    for (ptrdiff_t i = 0; i < s; i++)
        x[i] = (i % 2 ? -1.0 : 1.0) * (1.0 + (double)i / (double)moe_max(1, s - 1));
    solve(matrix, x);
    for (ptrdiff_t i = 0; i < s; i++)
        alternating += fabs(x[i]);
    return isfinite(alternating) ? fmax(inverse_norm, 2.0 * alternating / (3.0 * (double)s)) : INFINITY;
}

typedef struct {
    const double *L;
    ptrdiff_t s, ld;
} factor;

static void solve_with_factor(const void *matrix, double *x)
{
    const factor *f = matrix;
    moe_gram_solve(f->L, f->s, f->ld, x);
}

double moe_gram_rcond(const double *L, ptrdiff_t s, ptrdiff_t ld, double norm, double *workspace)
{
    const factor f = {L, s, ld};
    const double rcond = 1.0 / (norm * moe_inverse_norm(solve_with_factor, &f, s, workspace));
    return rcond <= 1.0 ? rcond : rcond == rcond ? 1.0 : 0.0; /* 0 for NaN */
}

/* |(LL')^-1| <= C^-T C^-1, C the comparison matrix of L, so one solve with it bounds the norm. The bound grows fast
 * with s and the condition, but where it suffices it saves the many solves of the estimate. */
int moe_gram_has_rcond(const double *L, ptrdiff_t s, ptrdiff_t ld, double norm, double least, double *workspace)
{
    if (s <= MOE_NARROW) {
        double inverse_norm = 0.0;
        for (ptrdiff_t i = 0; i < s; i++)
            workspace[i] = 1.0;
        moe_in_use()->solve_comparison(L, ld, s, workspace);
        for (ptrdiff_t i = 0; i < s && inverse_norm == inverse_norm; i++) /* a NaN, after an overflow, stays */
            inverse_norm = workspace[i] <= inverse_norm ? inverse_norm : workspace[i];
        if (norm * inverse_norm * least <= 1.0)
            return 1;
    }
    return moe_gram_rcond(L, s, ld, norm, workspace) >= least;
}

/* B (column-major) <- (LL')^-1 B */
static void solve(const double *L, ptrdiff_t s, ptrdiff_t ld, ptrdiff_t m, double *B)
{
    if (m == 1)
        moe_gram_solve(L, s, ld, B);
    else
        lapack_dpotrs(LAPACK_COL_MAJOR, 'L', (int)s, (int)m, L, (int)ld, B, (int)s);
}

/* R (row-major) = Y - X coef, coef column-major. */
static void residual(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, const double *coef,
                     double *R)
{
    memcpy(R, Y, (size_t)(n * m) * sizeof *R);
    if (m == 1)
        blas_dgemv(CblasRowMajor, CblasNoTrans, (int)n, (int)d, -1.0, X, (int)d, coef, 1, 1.0, R, 1);
    else
        blas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)d, -1.0, coef, (int)d, X, (int)d,
                   1.0, R, (int)m);
}

/* B (column-major) += X'R, where R has leading dimension ld and is row-major or not. */
static void add_product(const double *X, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, const double *R, ptrdiff_t ld,
                        int row_major, double *B)
{
    if (m == 1)
        blas_dgemv(CblasRowMajor, CblasTrans, (int)n, (int)d, 1.0, X, (int)d, R, 1, 1.0, B, 1);
    else
        blas_dgemm(CblasColMajor, CblasNoTrans, row_major ? CblasTrans : CblasNoTrans, (int)d, (int)m, (int)n, 1.0,
                   X, (int)d, R, (int)ld, 1.0, B, (int)d);
}

moe_status moe_project(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, double *B,
                       const moe_interrupt *interrupt)
{
    const ptrdiff_t step = step_rows(d * m);
    for (ptrdiff_t row = 0; row < n; row += step) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        add_product(X + row * d, moe_min(step, n - row), d, m, Y + row * m, m, 1, B);
    }
    return MOE_OK;
}

size_t moe_solve_columns_workspace(ptrdiff_t d, ptrdiff_t m)
{
    return moe_times(moe_plus((size_t)d, LEAST_ROWS), (size_t)m);
}

moe_status moe_solve_columns(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, const double *L,
                             double *coef, double *workspace, const moe_interrupt *interrupt)
{
    double *correction = workspace, *R = workspace + d * m;
    const ptrdiff_t check = moe_max(1, step_rows(d * m) / LEAST_ROWS) * LEAST_ROWS;
    solve(L, d, d, m, coef);
    memset(correction, 0, (size_t)(d * m) * sizeof *correction);
    for (ptrdiff_t row = 0; row < n; row += LEAST_ROWS) {
        const ptrdiff_t rows = moe_min(LEAST_ROWS, n - row);
        if (row % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        residual(X + row * d, Y + row * m, rows, d, m, coef, R);
        add_product(X + row * d, rows, d, m, R, m, 1, correction);
    }
    solve(L, d, d, m, correction);
    for (ptrdiff_t j = 0; j < m; j++)
        blas_daxpy((int)d, 1.0, correction + j * d, 1, coef + j * d, 1);
    return MOE_OK;
}

size_t moe_solve_rows_workspace(ptrdiff_t n, ptrdiff_t m)
{
    return moe_times(2, moe_times((size_t)n, (size_t)m));
}

moe_status moe_solve_rows(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, const double *L,
                          ptrdiff_t ld, double *coef, double *workspace, const moe_interrupt *interrupt)
{
    double *R = workspace, *dual = workspace + n * m;
    const ptrdiff_t step = step_rows(d * m);
    memset(coef, 0, (size_t)(d * m) * sizeof *coef);
    for (int pass = 0; pass < 2; pass++) { /* the second pass refines: its right-hand side is the residual */
        memcpy(R, Y, (size_t)(n * m) * sizeof *R);
        for (ptrdiff_t row = 0; row < n && pass == 1; row += step) {
            if (moe_stop(interrupt))
                return MOE_INTERRUPTED;
            residual(X + row * d, Y + row * m, moe_min(step, n - row), d, m, coef, R + row * m);
        }
        for (ptrdiff_t row = 0; row < n; row++)
            for (ptrdiff_t j = 0; j < m; j++)
                dual[j * n + row] = R[row * m + j];
        solve(L, n, ld, m, dual);
        for (ptrdiff_t row = 0; row < n; row += step) {
            if (moe_stop(interrupt))
                return MOE_INTERRUPTED;
            add_product(X + row * d, moe_min(step, n - row), d, m, dual + row, n, 0, coef);
        }
    }
    return MOE_OK;
}
