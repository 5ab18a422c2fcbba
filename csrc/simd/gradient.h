/* Adds the share of some rows to the gradient of least squares, reading them from memory once. */
#include "lanes.h"

/* A few rows at a time:  r = X_p b - y_p  while they stream in, then  gradient += X_p' r  while they are in the cache.
 * Several rows make several streams, which memory serves faster than one. */
enum { MOST_ROWS = 8 };

/* The products of `rows` rows with coef; the caller's `rows` is a constant, so that the loops over it unroll. */
static inline __attribute__((always_inline)) void multiply_rows(const int rows, const double *X, ptrdiff_t d,
                                                                const double *coef, double *products)
{
    lanes sums[MOST_ROWS] = {{0}};
    ptrdiff_t j = 0;
    for (; j + LANES <= d; j += LANES) {
        const lanes b = load(coef + j);
        for (int row = 0; row < rows; row++)
            sums[row] = fused(load(X + row * d + j), b, sums[row]);
    }
    for (int row = 0; row < rows; row++)
        products[row] = total(sums[row]);
    for (; j < d; j++)
        for (int row = 0; row < rows; row++)
            products[row] += X[row * d + j] * coef[j];
}

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
    multiply_rows(rows, X, d, coef, residual);
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
