/* Computes the experts' second moments, of their own rows or of all rows by weights: one Gram matrix an expert. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

enum {
    GATHERED_ROWS = 32,  /* of an expert before they are multiplied */
    STEP = 1 << 20,      /* doubles of X between two checks for an interrupt */
};

_Static_assert(sizeof(moe_gathered) % sizeof(double) == 0, "they are placed in memory for doubles");

/* ---- gathering: rows of an expert, padded by zeros, and the sums of their products ---------------------------- */

static int is_narrow(ptrdiff_t columns) { return columns <= MOE_NARROW; }
static ptrdiff_t padded(ptrdiff_t columns) { return is_narrow(columns) ? moe_narrow_width(columns) : columns; }

size_t moe_gathering_workspace(const moe_blocks *blocks, ptrdiff_t extra)
{
    size_t size = moe_times((size_t)blocks->k, sizeof(moe_gathered) / sizeof(double));
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const ptrdiff_t columns = blocks->size[i] + extra;
        const size_t width = (size_t)padded(columns);
        size = moe_plus(size, moe_times(GATHERED_ROWS, width));
        size = moe_plus(size, is_narrow(columns) ? width * width : 0);
    }
    return size;
}

/* The sums of a wide expert are formed where they are to be; those of a narrow one are padded, and beside them. */
moe_status moe_start_gathering(const moe_blocks *blocks, ptrdiff_t extra, double *sums, double *workspace,
                               moe_gathered **cells, const moe_interrupt *interrupt)
{
    moe_gathered *cell = *cells = (moe_gathered *)workspace;
    double *memory = (double *)(cell + blocks->k);
    for (ptrdiff_t i = 0; i < blocks->k; i++, cell++) {
        const ptrdiff_t columns = blocks->size[i] + extra, width = padded(columns);
        *cell = (moe_gathered){.rows = memory, .G = sums, .columns = columns, .width = width};
        memset(memory, 0, (size_t)(GATHERED_ROWS * width) * sizeof *memory);
        memory += GATHERED_ROWS * width;
        if (is_narrow(columns)) {
            cell->G = memory;
            memory += width * width;
        }
        if (moe_gram_clear(cell->G, width, interrupt) != MOE_OK)
            return MOE_INTERRUPTED;
        sums += columns * columns;
    }
    return MOE_OK;
}

/* G += Z'Z of what is gathered. */
static void multiply(moe_gathered *cell)
{
    const int width = (int)cell->width;
    if (is_narrow(cell->columns))
        moe_in_use()->add_gram(cell->rows, cell->filled, cell->columns, width, cell->G);
    else
        blas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, width, (int)cell->filled, 1.0, cell->rows, width, 1.0,
                   cell->G, width);
    cell->filled = 0;
}

/* Where the cell's next row belongs. */
static double *next_row(moe_gathered *cell)
{
    if (cell->filled == GATHERED_ROWS)
        multiply(cell);
    return cell->rows + cell->filled++ * cell->width;
}

moe_status moe_finish_gathering(moe_gathered *cells, ptrdiff_t k, const ptrdiff_t *divisors, double *sums,
                                const moe_interrupt *interrupt)
{
    for (moe_gathered *cell = cells; cell < cells + k; cell++) {
        const ptrdiff_t columns = cell->columns;
        const double divisor = divisors == NULL ? 1.0 : (double)divisors[cell - cells];
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        multiply(cell);
        for (ptrdiff_t j = 0; j < columns; j++) /* the column-major lower triangle is the row-major upper one */
            for (ptrdiff_t c = j; c < columns; c++)
                sums[j * columns + c] = cell->G[j * cell->width + c] / divisor;
        moe_mirror(sums, columns);
        sums += columns * columns;
    }
    return MOE_OK;
}

/* ---- each row to its own expert ------------------------------------------------------------------------------- */

size_t moe_covariance_workspace(const moe_blocks *blocks)
{
    return moe_gathering_workspace(blocks, 0);
}

/* The rows are read in their own order, which memory serves fastest. */
moe_status moe_covariance(const double *X, ptrdiff_t n, const moe_blocks *blocks, const ptrdiff_t *expert,
                          const ptrdiff_t *counts, double *covariances, double *off_block, double *workspace,
                          const moe_interrupt *interrupt)
{
    const moe_unit *unit = moe_in_use();
    const ptrdiff_t d = blocks->d, check = moe_step(STEP, d);
    moe_gathered *cells;
    const moe_status status = moe_start_gathering(blocks, 0, covariances, workspace, &cells, interrupt);
    if (status != MOE_OK)
        return status;
    *off_block = 0.0;
    for (ptrdiff_t r = 0; r < n; r++) {
        const ptrdiff_t z = expert[r], column = blocks->offset[z], m = blocks->size[z];
        const double *row = X + r * d;
        if (r % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        *off_block += unit->sum_of_squares(row, column) + unit->sum_of_squares(row + column + m, d - column - m);
        memcpy(next_row(cells + z), row + column, (size_t)m * sizeof *row);
    }
    return moe_finish_gathering(cells, blocks->k, counts, covariances, interrupt);
}

/* ---- every row to every expert, by weights -------------------------------------------------------------------- */

/* sqrt(weight) [x, 1, y] */
static void gather(double *restrict z, double weight, const double *x, ptrdiff_t d, const double *y, ptrdiff_t m)
{
    const double root = sqrt(weight);
    for (ptrdiff_t c = 0; c < d; c++)
        z[c] = root * x[c];
    z[d] = root;
    for (ptrdiff_t j = 0; j < m; j++)
        z[d + 1 + j] = root * y[j];
}

moe_status moe_gather_weighted(moe_gathered *cells, const moe_blocks *blocks, const double *X, const double *Y,
                               ptrdiff_t n, ptrdiff_t m, const double *weights, double negligible,
                               const moe_interrupt *interrupt)
{
    const ptrdiff_t k = blocks->k;
    for (ptrdiff_t i = 0; i < k; i++) {
        const ptrdiff_t check = moe_step(STEP, cells[i].columns);
        const double *own = X + blocks->offset[i];
        for (ptrdiff_t r = 0; r < n; r++) {
            const double weight = weights[r * k + i];
            if (r % check == 0 && moe_stop(interrupt))
                return MOE_INTERRUPTED;
            if (!(fabs(weight) <= negligible)) /* neither NaN nor a negative one is left out */
                gather(next_row(cells + i), weight, own + r * blocks->d, blocks->size[i], Y + r * m, m);
        }
    }
    return MOE_OK;
}

size_t moe_moments_size(const moe_blocks *blocks, ptrdiff_t m)
{
    size_t size = 0;
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const size_t columns = (size_t)blocks->size[i] + 1 + (size_t)m;
        size = moe_plus(size, moe_times(columns, columns));
    }
    return size;
}

size_t moe_weighted_moments_workspace(const moe_blocks *blocks, ptrdiff_t m)
{
    return moe_gathering_workspace(blocks, 1 + m);
}

moe_status moe_weighted_moments(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t m, const moe_blocks *blocks,
                                const double *posterior, double *moments, double *workspace,
                                const moe_interrupt *interrupt)
{
    moe_gathered *cells;
    moe_status status = moe_start_gathering(blocks, 1 + m, moments, workspace, &cells, interrupt);
    for (ptrdiff_t begin = 0; begin < n && status == MOE_OK; begin += MOE_PANEL)
        status = moe_gather_weighted(cells, blocks, X + begin * blocks->d, Y + begin * m, moe_min(MOE_PANEL, n - begin),
                                     m, posterior + begin * blocks->k, 0.0, interrupt);
    return status != MOE_OK ? status : moe_finish_gathering(cells, blocks->k, NULL, moments, interrupt);
}
