/* Computes squared lengths of rows, as they are and after multiplication by a triangular matrix. */
#include "tile.h"

/* squares[r] += |x T_j|^2 for `rows` rows x of X and `high` vectors of columns of T from j on, where column c of T is
 * zero below row c. The products are squared as they come out of the registers. */
static inline __attribute__((always_inline)) void add_tile_squares(const double *X, ptrdiff_t ld, const double *T,
                                                                   ptrdiff_t m, ptrdiff_t width, ptrdiff_t j, int rows,
                                                                   int high, lanes *squares)
{
    tile sum = {{{{0}}}};
    add_products(&sum, moe_min(m, j + high * LANES), X, ld, 1, T + j, width, rows, high);
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < high; h++)
            squares[r] = fused(sum.at[r][h], sum.at[r][h], squares[r]);
}

static inline __attribute__((always_inline)) void whiten_rows(const double *X, ptrdiff_t ld, const double *T,
                                                              ptrdiff_t m, ptrdiff_t width, int rows, double *squares)
{
    lanes sums[TILE_ROWS] = {{0}};
    ptrdiff_t j = 0;
    for (int r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < m; c += LINE)
            __builtin_prefetch(X + (r + rows) * ld + c);
    for (; m - j > 4 * LANES; j += 3 * LANES)
        add_tile_squares(X, ld, T, m, width, j, rows, 3, sums);
    for (; m - j > LANES; j += 2 * LANES) /* not 3 + 1: one vector alone leaves the units waiting for its sums */
        add_tile_squares(X, ld, T, m, width, j, rows, 2, sums);
    if (j < m)
        add_tile_squares(X, ld, T, m, width, j, rows, 1, sums);
    for (int r = 0; r < rows; r++)
        squares[r] = total(sums[r]);
}

/* squares[r] = |X_r T|^2 for the upper triangular T (m x m), row-major with rows of `width` doubles, zeros beyond m. */
static void whitened_squares(const double *X, ptrdiff_t n, ptrdiff_t ld, const double *T, ptrdiff_t m, ptrdiff_t width,
                             double *squares)
{
    ptrdiff_t row = 0;
    for (; row + TILE_ROWS <= n; row += TILE_ROWS)
        whiten_rows(X + row * ld, ld, T, m, width, TILE_ROWS, squares + row);
    for (; row < n; row++)
        whiten_rows(X + row * ld, ld, T, m, width, 1, squares + row);
}

/* |x|^2 */
static double sum_of_squares(const double *x, ptrdiff_t count)
{
    enum { CHAINS = 4 };
    lanes sums[CHAINS] = {{0}};
    double rest = 0.0;
    ptrdiff_t i = 0;
    for (; i + CHAINS * LANES <= count; i += CHAINS * LANES)
        for (int chain = 0; chain < CHAINS; chain++) {
            const lanes value = load(x + i + chain * LANES);
            sums[chain] = fused(value, value, sums[chain]);
        }
    for (; i < count; i++)
        rest += x[i] * x[i];
    return total((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}
