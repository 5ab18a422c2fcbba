/* Runs gradient descent on least squares, reading the matrix once an iteration. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

enum { CHECK_EVERY = 1 << 24, ROWS = 8 }; /* doubles, and rows at a time that suit the vector kernel */

size_t moe_gradient_workspace(ptrdiff_t n, ptrdiff_t d)
{
    (void)d;
    return (size_t)n;
}

moe_status moe_gradient(const double *X, const double *y, const double *coef, ptrdiff_t n, ptrdiff_t d,
                        double *gradient, double *residual2, double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t panel = moe_step(CHECK_EVERY, d * ROWS) * ROWS;
    double *residual = workspace;
    memset(gradient, 0, (size_t)d * sizeof *gradient);
    for (ptrdiff_t row = 0; row < n; row += panel) {
        if (row > 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        moe_in_use()->add_gradient(X + row * d, y + row, coef, moe_min(panel, n - row), d, gradient, residual + row);
    }
    *residual2 = blas_ddot((int)n, residual, 1, residual, 1);
    return MOE_OK;
}

size_t moe_descent_workspace(ptrdiff_t n, ptrdiff_t d)
{
    return moe_plus((size_t)d, moe_gradient_workspace(n, d));
}

moe_status moe_descent(const double *X, const double *y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t steps, double step_size,
                       double bound, double *coef, double *residual_norms, ptrdiff_t *done, double *gradient_norm,
                       double *workspace, const moe_interrupt *interrupt)
{
    double *gradient = workspace, *work = gradient + d, residual2;
    for (*done = 0;; ++*done) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        const moe_status status = moe_gradient(X, y, coef, n, d, gradient, &residual2, work, interrupt);
        if (status != MOE_OK)
            return status;
        residual_norms[*done] = sqrt(residual2);
        *gradient_norm = blas_dnrm2((int)d, gradient, 1);
        if (*done == steps || !isfinite(residual2) || *gradient_norm <= bound)
            return MOE_OK;
        blas_daxpy((int)d, -step_size, gradient, 1, coef, 1);
    }
}
