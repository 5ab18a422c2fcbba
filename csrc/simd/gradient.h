/* Adds the share of some rows to the gradient of least squares, reading them from memory once. */
#include "products.h"

/* A few rows at a time:  r = X_p b - y_p  while they stream in, then  gradient += X_p' r  while they are in the
 * cache. */

/* gradient += X' residual, from the columns that were read last, and are nearest, to the first. */
static inline __attribute__((always_inline)) void add_rows(const int rows, const double *X, ptrdiff_t d,
                                                           const double *residual, double *gradient)
{
    lanes factors[MOST_ROWS];
    ptrdiff_t j = d;
    for (int row = 0; row < rows; row++)
        factors[row] = broadcast(residual[row]);
    while (j % LANES != 0) {
        j--;
        for (int row = 0; row < rows; row++)
            gradient[j] += X[row * d + j] * residual[row];
    }
    while (j > 0) {
        j -= LANES;
        lanes sum = load(gradient + j);
        for (int row = 0; row < rows; row++)
            sum = fused(load(X + row * d + j), factors[row], sum);
        store(gradient + j, sum);
    }
}

static inline __attribute__((always_inline)) void pass_rows(const int rows, const double *X, const double *y,
                                                            const double *coef, ptrdiff_t d, double *gradient,
                                                            double *residual)
{
    multiply_rows(rows, X, d, d, coef, residual);
    for (int row = 0; row < rows; row++)
        residual[row] -= y[row];
    add_rows(rows, X, d, residual, gradient);
}

/* residual = X coef - y, gradient += X' residual */
static void add_gradient(const double *X, const double *y, const double *coef, ptrdiff_t n, ptrdiff_t d,
                         double *gradient, double *residual)
{
    ptrdiff_t row = 0;
    for (; row + MOST_ROWS <= n; row += MOST_ROWS)
        pass_rows(MOST_ROWS, X + row * d, y + row, coef, d, gradient, residual + row);
    for (; row + 2 <= n; row += 2)
        pass_rows(2, X + row * d, y + row, coef, d, gradient, residual + row);
    if (row < n)
        pass_rows(1, X + row * d, y + row, coef, d, gradient, residual + row);
}
