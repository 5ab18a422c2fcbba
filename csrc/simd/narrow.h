/* Forms and factors Gram matrices of few columns, and solves with the factors. */
#include "tile.h"

/* Z is row-major, `width` wide, a multiple of LANES and of TILE_ROWS; symmetric matrices are column-major with leading
 * dimension `width`, their lower triangles in use. Column p of such a matrix lies in memory as row p of a Z does, so
 * the same tile serves the Gram matrix and its factor:  C[i, j] += sign * sum_p Z[p, i] Z[p, j]. */

enum {
    DEPTH = 32, /* rows of Z, which stay in the first-level cache over all tiles */
    ROWS_AHEAD = 8,
};

/* Rows that are gathered lie too far from each other for memory to guess them. */
static inline void prefetch_row(const double *x, ptrdiff_t d)
{
    for (ptrdiff_t c = 0; c < d; c += LINE)
        __builtin_prefetch(x + c);
    __builtin_prefetch(x + d - 1);
}

/* Copies `count` doubles, fewer than a vector, in powers of two: a call would cost more. */
static inline void copy_few(double *out, const double *x, ptrdiff_t count)
{
    if (count & 4) {
        memcpy(out, x, 4 * sizeof *x);
        out += 4, x += 4;
    }
    if (count & 2) {
        memcpy(out, x, 2 * sizeof *x);
        out += 2, x += 2;
    }
    if (count & 1)
        *out = *x;
}

/* own_y = y_rows, Z = [X_rows own_y 0] */
static void gather(const double *X, ptrdiff_t ld, const double *y, const ptrdiff_t *rows, ptrdiff_t n, ptrdiff_t d,
                   ptrdiff_t width, double *Z, double *own_y)
{
    const ptrdiff_t whole = d / LANES * LANES;
    for (ptrdiff_t row = 0; row < n; row++) {
        const double *x = X + rows[row] * ld;
        double *z = Z + row * width;
        if (row + ROWS_AHEAD < n)
            prefetch_row(X + rows[row + ROWS_AHEAD] * ld, d);
        for (ptrdiff_t c = 0; c < whole; c += LANES)
            store(z + c, load(x + c));
        for (ptrdiff_t c = whole; c < width; c += LANES)
            store(z + c, (lanes){0});
        copy_few(z + whole, x + whole, d - whole);
        own_y[row] = z[d] = y[rows[row]];
    }
}

static inline __attribute__((always_inline)) void add_tile(const double *Z, ptrdiff_t depth, ptrdiff_t width,
                                                           ptrdiff_t i, ptrdiff_t j, int high, double sign, double *C)
{
    tile sum;
    for (int c = 0; c < TILE_ROWS; c++)
        for (int h = 0; h < high; h++)
            sum.at[c][h] = sign * load(C + (j + c) * width + i + h * LANES);
    add_products(&sum, depth, Z + j, 1, width, Z + i, width, TILE_ROWS, high);
    for (int c = 0; c < TILE_ROWS; c++)
        for (int h = 0; h < high; h++)
            store(C + (j + c) * width + i + h * LANES, sign * sum.at[c][h]);
}

/* The four columns from j on, from the diagonal (or less than a vector above it) down to at least row `last`. */
static inline __attribute__((always_inline)) void add_columns(const double *Z, ptrdiff_t depth, ptrdiff_t width,
                                                              ptrdiff_t j, ptrdiff_t last, double sign, double *C)
{
    const ptrdiff_t rows = (last - j + LANES) / LANES * LANES;
    ptrdiff_t i = moe_min(j, width - rows);
    const ptrdiff_t end = i + rows;
    for (; i + TILE_LANES * LANES <= end; i += TILE_LANES * LANES)
        add_tile(Z, depth, width, i, j, TILE_LANES, sign, C);
    if (i + 2 * LANES == end)
        add_tile(Z, depth, width, i, j, 2, sign, C);
    else if (i + LANES == end)
        add_tile(Z, depth, width, i, j, 1, sign, C);
}

/* G += Z'Z, of the first columns. */
static void add_gram(const double *Z, ptrdiff_t n, ptrdiff_t columns, ptrdiff_t width, double *G)
{
    for (ptrdiff_t row = 0; row < n; row += DEPTH)
        for (ptrdiff_t j = 0; j < columns; j += TILE_ROWS)
            add_columns(Z + row * width, moe_min(DEPTH, n - row), width, j, columns - 1, 1.0, G);
}

/* x += factor * y. */
static inline void add_multiple(ptrdiff_t count, double factor, const double *y, double *x)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(x + i, fused(broadcast(factor), load(y + i), load(x + i)));
    for (; i < count; i++)
        x[i] += factor * y[i];
}

/* Overwrites the first `columns` columns of G by those of its Cholesky factor; returns how many it could. A row below
 * them comes out solved with the factor: b' becomes (L^-1 b)'. */
static ptrdiff_t factor_columns(double *G, ptrdiff_t width, ptrdiff_t columns)
{
    for (ptrdiff_t begin = 0; begin < columns; begin += TILE_ROWS) {
        const ptrdiff_t end = moe_min(columns, begin + TILE_ROWS);
        add_columns(G, begin, width, begin, columns, -1.0, G);
        for (ptrdiff_t j = begin; j < end; j++) {
            double *column = G + j * width;
            if (!(column[j] > 0.0))
                return j;
            const double pivot = sqrt(column[j]), reciprocal = 1.0 / pivot;
            column[j] = pivot;
            for (ptrdiff_t i = j + 1; i < width; i++)
                column[i] *= reciprocal;
            for (ptrdiff_t c = j + 1; c < end; c++)
                add_multiple(width - c, -column[c], column + c, G + c * width + c);
        }
    }
    return columns;
}

/* The triangular solves go by SOLVED columns: what follows on each other within them is scalar, the rest is not. The
 * diagonal's reciprocals are known before they are needed, where quotients would have to be waited for.
 * Below its diagonal the comparison matrix of L holds -|l_ij|. Its inverse is at least |L^-1|, entry by entry. */
enum { SOLVED = 4 };

static inline double entry(const double *L, const int comparison)
{
    return comparison ? -fabs(*L) : *L;
}

static inline lanes entries(const double *L, const int comparison)
{
    const lanes_bits SIGN = (lanes_bits){0} + 0x8000000000000000u;
    return comparison ? (lanes)((lanes_bits)load(L) | SIGN) : load(L);
}

/* b <- L^-1 b */
static inline __attribute__((always_inline)) void substitute_down(const double *L, ptrdiff_t width, ptrdiff_t s,
                                                                  double *b, const int comparison)
{
    ptrdiff_t j = 0;
    for (; j + SOLVED <= s; j += SOLVED) {
        const double *c0 = L + j * width, *c1 = c0 + width, *c2 = c1 + width, *c3 = c2 + width;
        const double r0 = 1.0 / c0[j], r1 = 1.0 / c1[j + 1], r2 = 1.0 / c2[j + 2], r3 = 1.0 / c3[j + 3];
        const double x0 = b[j] * r0;
        const double x1 = (b[j + 1] - entry(c0 + j + 1, comparison) * x0) * r1;
        const double x2 = (b[j + 2] - entry(c0 + j + 2, comparison) * x0 - entry(c1 + j + 2, comparison) * x1) * r2;
        const double x3 = (b[j + 3] - entry(c0 + j + 3, comparison) * x0 - entry(c1 + j + 3, comparison) * x1 -
                           entry(c2 + j + 3, comparison) * x2) * r3;
        ptrdiff_t i = j + SOLVED;
        b[j] = x0, b[j + 1] = x1, b[j + 2] = x2, b[j + 3] = x3;
        for (; i + LANES <= s; i += LANES) {
            const lanes first = fused(broadcast(x0), entries(c0 + i, comparison),
                                      broadcast(x1) * entries(c1 + i, comparison));
            const lanes second = fused(broadcast(x2), entries(c2 + i, comparison),
                                       broadcast(x3) * entries(c3 + i, comparison));
            store(b + i, load(b + i) - (first + second));
        }
        for (; i < s; i++)
            b[i] -= (x0 * entry(c0 + i, comparison) + x1 * entry(c1 + i, comparison)) +
                    (x2 * entry(c2 + i, comparison) + x3 * entry(c3 + i, comparison));
    }
    for (; j < s; j++) {
        const double *column = L + j * width;
        b[j] /= column[j];
        for (ptrdiff_t i = j + 1; i < s; i++)
            b[i] -= entry(column + i, comparison) * b[j];
    }
}

/* b <- L^-T b */
static inline __attribute__((always_inline)) void substitute_up(const double *L, ptrdiff_t width, ptrdiff_t s,
                                                                double *b, const int comparison)
{
    ptrdiff_t j = s;
    for (; j % SOLVED != 0; j--) {
        const double *column = L + (j - 1) * width;
        for (ptrdiff_t i = j; i < s; i++)
            b[j - 1] -= entry(column + i, comparison) * b[i];
        b[j - 1] /= column[j - 1];
    }
    for (j -= SOLVED; j >= 0; j -= SOLVED) {
        const double *c0 = L + j * width, *c1 = c0 + width, *c2 = c1 + width, *c3 = c2 + width;
        const double r0 = 1.0 / c0[j], r1 = 1.0 / c1[j + 1], r2 = 1.0 / c2[j + 2], r3 = 1.0 / c3[j + 3];
        lanes sums[SOLVED] = {{0}};
        ptrdiff_t i = j + SOLVED;
        for (; i + LANES <= s; i += LANES) {
            const lanes x = load(b + i);
            for (int c = 0; c < SOLVED; c++)
                sums[c] = fused(entries(c0 + c * width + i, comparison), x, sums[c]);
        }
        double t0 = total(sums[0]), t1 = total(sums[1]), t2 = total(sums[2]), t3 = total(sums[3]);
        for (; i < s; i++) {
            t0 += entry(c0 + i, comparison) * b[i], t1 += entry(c1 + i, comparison) * b[i];
            t2 += entry(c2 + i, comparison) * b[i], t3 += entry(c3 + i, comparison) * b[i];
        }
        const double x3 = (b[j + 3] - t3) * r3;
        const double x2 = (b[j + 2] - t2 - entry(c2 + j + 3, comparison) * x3) * r2;
        const double x1 = (b[j + 1] - t1 - entry(c1 + j + 3, comparison) * x3 -
                           entry(c1 + j + 2, comparison) * x2) * r1;
        const double x0 = (b[j] - t0 - entry(c0 + j + 3, comparison) * x3 - entry(c0 + j + 2, comparison) * x2 -
                           entry(c0 + j + 1, comparison) * x1) * r0;
        b[j] = x0, b[j + 1] = x1, b[j + 2] = x2, b[j + 3] = x3;
    }
}

static void solve_lower(const double *L, ptrdiff_t width, ptrdiff_t s, double *b)
{
    substitute_down(L, width, s, b, 0);
}

static void solve_transposed(const double *L, ptrdiff_t width, ptrdiff_t s, double *b)
{
    substitute_up(L, width, s, b, 0);
}

/* b <- C^-T C^-1 b, C the comparison matrix of L */
static void solve_comparison(const double *L, ptrdiff_t width, ptrdiff_t s, double *b)
{
    substitute_down(L, width, s, b, 1);
    substitute_up(L, width, s, b, 1);
}
