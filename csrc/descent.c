/* Runs gradient descent on least squares, reading the matrix once an iteration. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

/* A panel of rows is multiplied twice while it is in the cache:  r = X_p b - y_p,  then  gradient += X_p' r. */

enum { PANEL = 1 << 14, CHECK_EVERY = 1 << 24 }; /* doubles */

static ptrdiff_t panel_rows(ptrdiff_t n, ptrdiff_t d)
{
    return moe_min(n, moe_step(PANEL, d));
}

size_t moe_gradient_workspace(ptrdiff_t n, ptrdiff_t d)
{
    return (size_t)panel_rows(n, d);
}

moe_status moe_gradient(const double *X, const double *y, const double *coef, ptrdiff_t n, ptrdiff_t d,
                        double *gradient, double *residual2, double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t panel = panel_rows(n, d), check = moe_step(CHECK_EVERY, d * panel) * panel;
    double *r = workspace, sum = 0.0;
    memset(gradient, 0, (size_t)d * sizeof *gradient);
    for (ptrdiff_t row = 0; row < n; row += panel) {
        const ptrdiff_t rows = moe_min(panel, n - row);
        if (row % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        memcpy(r, y + row, (size_t)rows * sizeof *r);
        blas_dgemv(CblasRowMajor, CblasNoTrans, (int)rows, (int)d, 1.0, X + row * d, (int)d, coef, 1, -1.0, r, 1);
        blas_dgemv(CblasRowMajor, CblasTrans, (int)rows, (int)d, 1.0, X + row * d, (int)d, r, 1, 1.0, gradient, 1);
        for (ptrdiff_t i = 0; i < rows; i++)
            sum += r[i] * r[i];
    }
    *residual2 = sum;
    return MOE_OK;
}

size_t moe_descent_workspace(ptrdiff_t n, ptrdiff_t d)
{
    return moe_plus((size_t)d, moe_gradient_workspace(n, d));
}

moe_status moe_descent(const double *X, const double *y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t steps, double step_size,
                       double tol, double *coef, double *residual_norms, ptrdiff_t *done, double *workspace,
                       const moe_interrupt *interrupt)
{
    double *gradient = workspace, *work = workspace + d, residual2, enough = 0.0;
    for (*done = 0;; ++*done) {
        const moe_status status = moe_gradient(X, y, coef, n, d, gradient, &residual2, work, interrupt);
        if (status != MOE_OK)
            return status;
        residual_norms[*done] = sqrt(residual2);
        const double slope = blas_dnrm2((int)d, gradient, 1);
        if (*done == 0)
            enough = tol * slope;
        if (*done == steps || !isfinite(residual2) || (tol > 0.0 && slope <= enough))
            return MOE_OK;
        blas_daxpy((int)d, -step_size, gradient, 1, coef, 1);
    }
}
