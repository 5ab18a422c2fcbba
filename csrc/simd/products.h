/* Computes the products of rows with a vector of coefficients, with the same bits however many rows there are. */
#ifndef MOE_SIMD_PRODUCTS_H
#define MOE_SIMD_PRODUCTS_H

#include "lanes.h"

/* Several rows make several streams, which memory serves faster than one, and several sums, which do not wait for each
 * other. */
enum { MOST_ROWS = 8 };

/* Asks for a line of each of the rows from `row` to `end` to be brought into the second-level cache. */
static inline __attribute__((always_inline)) void fetch_rows(const double *X, ptrdiff_t ld, int row, const int end)
{
    for (; row < end; row++)
        __builtin_prefetch(X + row * ld, 0, 2);
}

/* The products of `rows` rows with coef; meanwhile the first `fetched` of as many rows behind them are brought nearer.
 * The caller's `rows` and `fetched` are constants, so that the loops over them unroll. */
static inline __attribute__((always_inline)) void multiply_rows(const int rows, const int fetched, const double *X,
                                                                ptrdiff_t ld, ptrdiff_t d, const double *coef,
                                                                double *products)
{
    lanes sums[MOST_ROWS] = {{0}};
    ptrdiff_t j = 0;
    for (; j + LINE <= d; j += LINE) {
        fetch_rows(X + rows * ld + j, ld, 0, fetched);
        for (ptrdiff_t i = j; i < j + LINE; i += LANES) {
            const lanes b = load(coef + i);
            for (int row = 0; row < rows; row++)
                sums[row] = fused(load(X + row * ld + i), b, sums[row]);
        }
    }
    for (; j + LANES <= d; j += LANES) {
        const lanes b = load(coef + j);
        for (int row = 0; row < rows; row++)
            sums[row] = fused(load(X + row * ld + j), b, sums[row]);
    }
    for (int row = 0; row < rows; row++)
        products[row] = total(sums[row]);
    for (; j < d; j++)
        for (int row = 0; row < rows; row++)
            products[row] += X[row * ld + j] * coef[j];
}

/* products[r] = X_r coef */
static void row_products(const double *X, ptrdiff_t n, ptrdiff_t ld, ptrdiff_t d, const double *coef, double *products)
{
    ptrdiff_t row = 0;
    for (; row + MOST_ROWS <= n; row += MOST_ROWS)
        multiply_rows(MOST_ROWS, 0, X + row * ld, ld, d, coef, products + row);
    for (; row < n; row++)
        multiply_rows(1, 0, X + row * ld, ld, d, coef, products + row);
}

#endif
