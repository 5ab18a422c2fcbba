/* Forms and factors Gram matrices of few columns, and solves with the factors. */
#include "tile.h"

/* Z is row-major, `width` wide, a multiple of LANES and of TILE_ROWS; symmetric matrices are column-major with leading
 * dimension `width`, their lower triangles in use. Column p of such a matrix lies in memory as row p of a Z does, so
 * the same tile serves the Gram matrix and its factor:  C[i, j] += sign * sum_p Z[p, i] Z[p, j]. */

enum { DEPTH = 32 }; /* rows of Z, which stay in the first-level cache over all tiles */

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

/* The four columns from j on, from the diagonal down (or from up to a vector above it). */
static inline __attribute__((always_inline)) void add_columns(const double *Z, ptrdiff_t depth,
                                                               ptrdiff_t width, ptrdiff_t j, double sign, double *C)
{
    ptrdiff_t i = j / LANES * LANES;
    for (; i + TILE_LANES * LANES <= width; i += TILE_LANES * LANES)
        add_tile(Z, depth, width, i, j, TILE_LANES, sign, C);
    if (i + 2 * LANES <= width)
        add_tile(Z, depth, width, i, j, 2, sign, C);
    else if (i + LANES <= width)
        add_tile(Z, depth, width, i, j, 1, sign, C);
}

/* G += Z'Z. */
static void add_gram(const double *Z, ptrdiff_t n, ptrdiff_t width, double *G)
{
    for (ptrdiff_t row = 0; row < n; row += DEPTH)
        for (ptrdiff_t j = 0; j < width; j += TILE_ROWS)
            add_columns(Z + row * width, moe_min(DEPTH, n - row), width, j, 1.0, G);
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

static inline double product(ptrdiff_t count, const double *x, const double *y)
{
    lanes sums = {0};
    double rest = 0.0;
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES)
        sums = fused(load(x + i), load(y + i), sums);
    for (; i < count; i++)
        rest += x[i] * y[i];
    return total(sums) + rest;
}

/* Overwrites the first `columns` columns of G, over all `width` rows, by those of its Cholesky factor; returns how many
 * it could. A row below them comes out solved with the factor: b' becomes (L^-1 b)'. */
static ptrdiff_t factor_columns(double *G, ptrdiff_t width, ptrdiff_t columns)
{
    for (ptrdiff_t begin = 0; begin < columns; begin += TILE_ROWS) {
        const ptrdiff_t end = moe_min(columns, begin + TILE_ROWS);
        add_columns(G, begin, width, begin, -1.0, G);
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
 * diagonal's reciprocals are known before they are needed, where quotients would have to be waited for. */
enum { SOLVED = 4 };

/* b <- L^-1 b */
static void solve_lower(const double *L, ptrdiff_t width, ptrdiff_t s, double *b)
{
    ptrdiff_t j = 0;
    for (; j + SOLVED <= s; j += SOLVED) {
        const double *c0 = L + j * width, *c1 = c0 + width, *c2 = c1 + width, *c3 = c2 + width;
        const double r0 = 1.0 / c0[j], r1 = 1.0 / c1[j + 1], r2 = 1.0 / c2[j + 2], r3 = 1.0 / c3[j + 3];
        const double x0 = b[j] * r0;
        const double x1 = (b[j + 1] - c0[j + 1] * x0) * r1;
        const double x2 = (b[j + 2] - c0[j + 2] * x0 - c1[j + 2] * x1) * r2;
        const double x3 = (b[j + 3] - c0[j + 3] * x0 - c1[j + 3] * x1 - c2[j + 3] * x2) * r3;
        ptrdiff_t i = j + SOLVED;
        b[j] = x0, b[j + 1] = x1, b[j + 2] = x2, b[j + 3] = x3;
        for (; i + LANES <= s; i += LANES) {
            const lanes first = fused(broadcast(x0), load(c0 + i), broadcast(x1) * load(c1 + i));
            const lanes second = fused(broadcast(x2), load(c2 + i), broadcast(x3) * load(c3 + i));
            store(b + i, load(b + i) - (first + second));
        }
        for (; i < s; i++)
            b[i] -= (x0 * c0[i] + x1 * c1[i]) + (x2 * c2[i] + x3 * c3[i]);
    }
    for (; j < s; j++) {
        const double *column = L + j * width;
        b[j] /= column[j];
        add_multiple(s - j - 1, -b[j], column + j + 1, b + j + 1);
    }
}

/* b <- L^-T b */
static void solve_transposed(const double *L, ptrdiff_t width, ptrdiff_t s, double *b)
{
    ptrdiff_t j = s;
    for (; j % SOLVED != 0; j--) {
        const double *column = L + (j - 1) * width;
        b[j - 1] = (b[j - 1] - product(s - j, column + j, b + j)) / column[j - 1];
    }
    for (j -= SOLVED; j >= 0; j -= SOLVED) {
        const double *c0 = L + j * width, *c1 = c0 + width, *c2 = c1 + width, *c3 = c2 + width;
        const double r0 = 1.0 / c0[j], r1 = 1.0 / c1[j + 1], r2 = 1.0 / c2[j + 2], r3 = 1.0 / c3[j + 3];
        lanes sums[SOLVED] = {{0}};
        ptrdiff_t i = j + SOLVED;
        for (; i + LANES <= s; i += LANES) {
            const lanes x = load(b + i);
            sums[0] = fused(load(c0 + i), x, sums[0]);
            sums[1] = fused(load(c1 + i), x, sums[1]);
            sums[2] = fused(load(c2 + i), x, sums[2]);
            sums[3] = fused(load(c3 + i), x, sums[3]);
        }
        double t0 = total(sums[0]), t1 = total(sums[1]), t2 = total(sums[2]), t3 = total(sums[3]);
        for (; i < s; i++)
            t0 += c0[i] * b[i], t1 += c1[i] * b[i], t2 += c2[i] * b[i], t3 += c3[i] * b[i];
        const double x3 = (b[j + 3] - t3) * r3;
        const double x2 = (b[j + 2] - t2 - c2[j + 3] * x3) * r2;
        const double x1 = (b[j + 1] - t1 - c1[j + 3] * x3 - c1[j + 2] * x2) * r1;
        const double x0 = (b[j] - t0 - c0[j + 3] * x3 - c0[j + 2] * x2 - c0[j + 1] * x1) * r0;
        b[j] = x0, b[j + 1] = x1, b[j + 2] = x2, b[j + 3] = x3;
    }
}
