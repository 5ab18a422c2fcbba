/* Solves least squares through the Cholesky factor of the Gram matrix of the shorter side, X'X or XX'. */
#include <string.h>

#include "blas.h"
#include "internal.h"

/* A row-major X (n x d) is, read column-major, X' (d x n) with leading dimension d; that is how BLAS gets it. */

enum {
    STEP = 1 << 28,  /* multiplications between two checks for an interrupt */
    PANEL = 512,     /* columns of one step of the Cholesky factorisation */
    RESIDUAL = 64,   /* rows of a residual at a time; the least of a step */
};

moe_status moe_gram_columns(const double *X, ptrdiff_t n, ptrdiff_t d, double *G, const moe_interrupt *interrupt)
{
    const ptrdiff_t step = moe_max(RESIDUAL, moe_step(STEP / d, d));
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
    const ptrdiff_t step = moe_max(RESIDUAL, moe_step(STEP / n, n));
    for (ptrdiff_t column = 0; column < d; column += step) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        blas_dsyrk(CblasColMajor, CblasLower, CblasTrans, (int)n, (int)moe_min(step, d - column), 1.0, X + column,
                   (int)d, column > 0, G, (int)n);
    }
    return MOE_OK;
}

void moe_project(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, double *B)
{
    blas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, (int)d, (int)m, (int)n, 1.0, X, (int)d, Y, (int)m, 1.0, B,
               (int)d);
}

double moe_symmetric_norm(const double *G, ptrdiff_t s, ptrdiff_t ld, double *workspace)
{
    return lapack_dlansy(LAPACK_COL_MAJOR, '1', 'L', (int)s, G, (int)ld, workspace);
}

moe_status moe_cholesky(double *G, ptrdiff_t s, ptrdiff_t *valid, const moe_interrupt *interrupt)
{
    for (*valid = 0; *valid < s;) {
        const ptrdiff_t j = *valid, width = moe_min(PANEL, s - j), below = s - j - width;
        double *diagonal = G + j * s + j;
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        const int info = lapack_dpotrf(LAPACK_COL_MAJOR, 'L', (int)width, diagonal, (int)s);
        if (info > 0) {
            *valid = j + info - 1;
            break;
        }
        *valid = j + width;
        if (below > 0) {
            blas_dtrsm(CblasColMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)below, (int)width, 1.0,
                       diagonal, (int)s, diagonal + width, (int)s);
            blas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, (int)below, (int)width, -1.0, diagonal + width,
                       (int)s, 1.0, diagonal + width * s + width, (int)s);
        }
    }
    return MOE_OK;
}

double moe_cholesky_rcond(const double *L, ptrdiff_t s, ptrdiff_t ld, double norm, double *workspace)
{
    double rcond = 0.0;
    if (!(norm > DBL_MIN / DBL_EPSILON && norm < DBL_MAX * DBL_EPSILON)) /* the Gram matrix over- or underflows */
        return 0.0;
    lapack_dpocon(LAPACK_COL_MAJOR, 'L', (int)s, L, (int)ld, norm, &rcond, workspace, (int *)(workspace + 3 * s));
    return rcond;
}

static void solve(const double *L, ptrdiff_t s, ptrdiff_t ld, ptrdiff_t m, double *B)
{
    lapack_dpotrs(LAPACK_COL_MAJOR, 'L', (int)s, (int)m, L, (int)ld, B, (int)s);
}

/* R (row-major) = Y - X coef, coef column-major. */
static void residual(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, const double *coef,
                     double *R)
{
    memcpy(R, Y, (size_t)(n * m) * sizeof *R);
    blas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)d, -1.0, coef, (int)d, X, (int)d, 1.0, R,
               (int)m);
}

size_t moe_solve_columns_workspace(ptrdiff_t d, ptrdiff_t m)
{
    return moe_times(moe_plus((size_t)d, RESIDUAL), (size_t)m);
}

void moe_solve_columns(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, const double *L,
                       double *coef, double *workspace)
{
    double *correction = workspace, *R = workspace + d * m;
    solve(L, d, d, m, coef);
    memset(correction, 0, (size_t)(d * m) * sizeof *correction);
    for (ptrdiff_t row = 0; row < n; row += RESIDUAL) {
        const ptrdiff_t rows = moe_min(RESIDUAL, n - row);
        residual(X + row * d, Y + row * m, rows, d, m, coef, R);
        moe_project(X + row * d, R, rows, d, m, correction);
    }
    solve(L, d, d, m, correction);
    blas_daxpy((int)(d * m), 1.0, correction, 1, coef, 1);
}

size_t moe_solve_rows_workspace(ptrdiff_t n, ptrdiff_t m)
{
    return moe_times(2, moe_times((size_t)n, (size_t)m));
}

void moe_solve_rows(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, const double *L,
                    ptrdiff_t ld, double *coef, double *workspace)
{
    double *R = workspace, *dual = workspace + n * m;
    memset(coef, 0, (size_t)(d * m) * sizeof *coef);
    for (int pass = 0; pass < 2; pass++) { /* the second pass refines: its right-hand side is the residual */
        residual(X, Y, n, d, m, coef, R);
        for (ptrdiff_t row = 0; row < n; row++)
            for (ptrdiff_t j = 0; j < m; j++)
                dual[j * n + row] = R[row * m + j];
        solve(L, n, ld, m, dual);
        blas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)d, (int)m, (int)n, 1.0, X, (int)d, dual, (int)n,
                   1.0, coef, (int)d);
    }
}
