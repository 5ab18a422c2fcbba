/* Adds the share of some rows to the gradient of least squares, reading them from memory once. */
#include "products.h"

/* A few rows at a time:  r = X_p b - y_p  while they stream in, then  gradient += X_p' r  while they are in the
 * cache. */

enum {
    LONG = 6000,    /* columns from which on so many rows are more than the second-level cache holds */
    OVERLAPPED = 4, /* rows; with as many before them they fit, just */
    FETCHED = 128,  /* doubles ahead */
};

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

/* Both at once, of rows that follow each other: the residuals of `rows` rows, which stream in, and the share of those
 * before them, which are in the cache. One waits for memory while the other computes. */
static inline __attribute__((always_inline)) void overlap_rows(const int rows, const double *X, const double *y,
                                                               const double *coef, ptrdiff_t d, double *gradient,
                                                               double *residual)
{
    const double *before = X - rows * d;
    lanes factors[MOST_ROWS], sums[MOST_ROWS] = {{0}};
    double rest[MOST_ROWS] = {0.0};
    ptrdiff_t j = 0;
    for (int row = 0; row < rows; row++)
        factors[row] = broadcast(residual[row - rows]);
    for (; j + LANES <= d; j += LANES) {
        const lanes b = load(coef + j);
        lanes share = load(gradient + j);
        for (int row = 0; row < rows; row++)
            __builtin_prefetch(X + row * d + j + FETCHED);
        for (int row = 0; row < rows; row++)
            sums[row] = fused(load(X + row * d + j), b, sums[row]);
        for (int row = 0; row < rows; row++)
            share = fused(load(before + row * d + j), factors[row], share);
        store(gradient + j, share);
    }
    for (; j < d; j++)
        for (int row = 0; row < rows; row++) {
            rest[row] += X[row * d + j] * coef[j];
            gradient[j] += before[row * d + j] * residual[row - rows];
        }
    for (int row = 0; row < rows; row++)
        residual[row] = total(sums[row]) + rest[row] - y[row];
}

/* add_gradient for rows too long for the second-level cache; n is a multiple of OVERLAPPED, and not 0. */
static void add_long_gradient(const double *X, const double *y, const double *coef, ptrdiff_t n, ptrdiff_t d,
                              double *gradient, double *residual)
{
    ptrdiff_t row = OVERLAPPED;
    multiply_rows(OVERLAPPED, X, d, d, coef, residual);
    for (int first = 0; first < OVERLAPPED; first++)
        residual[first] -= y[first];
    for (; row < n; row += OVERLAPPED)
        overlap_rows(OVERLAPPED, X + row * d, y + row, coef, d, gradient, residual + row);
    row -= OVERLAPPED;
    add_rows(OVERLAPPED, X + row * d, d, residual + row, gradient);
}

/* residual = X coef - y, gradient += X' residual */
static void add_gradient(const double *X, const double *y, const double *coef, ptrdiff_t n, ptrdiff_t d,
                         double *gradient, double *residual)
{
    ptrdiff_t row = 0;
    if (d >= LONG && n >= OVERLAPPED) {
        row = n / OVERLAPPED * OVERLAPPED;
        add_long_gradient(X, y, coef, row, d, gradient, residual);
    }
    for (; row + MOST_ROWS <= n; row += MOST_ROWS)
        pass_rows(MOST_ROWS, X + row * d, y + row, coef, d, gradient, residual + row);
    for (; row + 2 <= n; row += 2)
        pass_rows(2, X + row * d, y + row, coef, d, gradient, residual + row);
    if (row < n)
        pass_rows(1, X + row * d, y + row, coef, d, gradient, residual + row);
}
