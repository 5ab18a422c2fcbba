/* Adds the share of some rows to the gradient of least squares, reading them from memory once. */
#include "products.h"

/* A few rows at a time:  r = X_p b - y_p  while they stream in, then  gradient += X_p' r  while they are in the cache.
 * Half of the next rows are fetched during the first step, half during the second, so that memory never rests. Behind
 * the last rows nothing is read: a prefetch does not fail. */

enum {
    FAR = 1 << 17,  /* doubles from which on X is not in the second-level cache anyway */
    LONG = 1 << 15, /* columns from which on fewer rows fill it */
};

/* gradient += X' residual, from the columns that were read last, and are nearest, to the first; meanwhile the rows
 * behind them from the `fetched`-th on are brought nearer, from their first columns on. */
static inline __attribute__((always_inline)) void add_rows(const int rows, const int fetched, const double *X,
                                                           ptrdiff_t d, const double *residual, double *gradient)
{
    const double *next = X + rows * d;
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
        if (fetched > 0 && j % LINE == 0) {
            fetch_rows(next, d, fetched, rows);
            next += LINE;
        }
        j -= LANES;
        lanes sum = load(gradient + j);
        for (int row = 0; row < rows; row++)
            sum = fused(load(X + row * d + j), factors[row], sum);
        store(gradient + j, sum);
    }
}

static inline __attribute__((always_inline)) void pass_rows(const int rows, const int fetched, const double *X,
                                                            const double *y, const double *coef, ptrdiff_t d,
                                                            double *gradient, double *residual)
{
    multiply_rows(rows, fetched, X, d, d, coef, residual);
    for (int row = 0; row < rows; row++)
        residual[row] -= y[row];
    add_rows(rows, fetched, X, d, residual, gradient);
}

/* residual = X coef - y, gradient += X' residual */
static void add_gradient(const double *X, const double *y, const double *coef, ptrdiff_t n, ptrdiff_t d,
                         double *gradient, double *residual)
{
    const int is_far = n > FAR / d;
    ptrdiff_t row = 0;
    for (; is_far && d < LONG && row + 8 <= n; row += 8)
        pass_rows(8, 4, X + row * d, y + row, coef, d, gradient, residual + row);
    for (; is_far && row + 4 <= n; row += 4)
        pass_rows(4, 2, X + row * d, y + row, coef, d, gradient, residual + row);
    for (; row + 8 <= n; row += 8)
        pass_rows(8, 0, X + row * d, y + row, coef, d, gradient, residual + row);
    for (; row + 2 <= n; row += 2)
        pass_rows(2, 0, X + row * d, y + row, coef, d, gradient, residual + row);
    if (row < n)
        pass_rows(1, 0, X + row * d, y + row, coef, d, gradient, residual + row);
}
