/* Computes the quadratic discriminant router: the experts' covariances, their factors, the scores of rows. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

enum {
    SCORED_ROWS = 128,   /* at a time */
    GATHERED_ROWS = 32,  /* of an expert before they are multiplied */
    STEP = 1 << 20,      /* doubles of X between two checks for an interrupt */
    TRANSPOSED = 1 << 20,/* doubles, likewise */
};

/* What is gathered of an expert: rows of its own block, padded by zeros, and the sums of their products. */
typedef struct {
    double *rows, *G;
    ptrdiff_t width, filled;
    int is_narrow;
} gathered;

_Static_assert(sizeof(gathered) % sizeof(double) == 0, "they are placed in memory for doubles");

static ptrdiff_t padded(ptrdiff_t m) { return m <= MOE_NARROW ? moe_narrow_width(m) : m; }

size_t moe_covariance_workspace(const moe_blocks *blocks)
{
    size_t size = moe_times((size_t)blocks->k, sizeof(gathered) / sizeof(double));
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const size_t width = (size_t)padded(blocks->size[i]);
        size = moe_plus(size, moe_times(GATHERED_ROWS, width));
        size = moe_plus(size, blocks->size[i] <= MOE_NARROW ? width * width : 0);
    }
    return size;
}

static void start_gathering(const moe_blocks *blocks, double *covariances, gathered *cells, double *memory)
{
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const ptrdiff_t width = padded(blocks->size[i]);
        cells[i] = (gathered){.rows = memory, .G = covariances + blocks->square[i], .width = width,
                              .is_narrow = blocks->size[i] <= MOE_NARROW};
        memset(memory, 0, (size_t)(GATHERED_ROWS * width) * sizeof *memory);
        memory += GATHERED_ROWS * width;
        if (cells[i].is_narrow) {
            cells[i].G = memory;
            memory += width * width;
        }
        memset(cells[i].G, 0, (size_t)(width * width) * sizeof *memory);
    }
}

/* G += X_i'X_i of what is gathered. */
static void multiply(gathered *cell)
{
    const int width = (int)cell->width;
    if (cell->is_narrow)
        moe_in_use()->add_gram(cell->rows, cell->filled, width, cell->G);
    else
        blas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, width, (int)cell->filled, 1.0, cell->rows, width, 1.0,
                   cell->G, width);
    cell->filled = 0;
}

/* Copies one triangle of a symmetric matrix to the other. */
static void mirror(double *C, ptrdiff_t m)
{
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = i + 1; j < m; j++)
            C[j * m + i] = C[i * m + j];
}

/* The rows are read in their own order, which memory serves fastest. */
moe_status moe_covariance(const double *X, ptrdiff_t n, const moe_blocks *blocks, const ptrdiff_t *expert,
                          const ptrdiff_t *counts, double *covariances, double *off_block, double *workspace,
                          const moe_interrupt *interrupt)
{
    const moe_unit *unit = moe_in_use();
    const ptrdiff_t d = blocks->d, check = moe_step(STEP, d);
    gathered *cells = (gathered *)workspace;
    start_gathering(blocks, covariances, cells, (double *)(cells + blocks->k));
    *off_block = 0.0;
    for (ptrdiff_t r = 0; r < n; r++) {
        const ptrdiff_t z = expert[r], column = blocks->offset[z], m = blocks->size[z];
        const double *row = X + r * d;
        gathered *cell = cells + z;
        if (r % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        *off_block += unit->sum_of_squares(row, column) + unit->sum_of_squares(row + column + m, d - column - m);
        memcpy(cell->rows + cell->filled++ * cell->width, row + column, (size_t)m * sizeof *row);
        if (cell->filled == GATHERED_ROWS)
            multiply(cell);
    }
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const ptrdiff_t m = blocks->size[i], width = cells[i].width;
        double *C = covariances + blocks->square[i];
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        multiply(cells + i);
        for (ptrdiff_t j = 0; j < m; j++) /* the column-major lower triangle is the row-major upper one */
            for (ptrdiff_t c = j; c < m; c++)
                C[j * m + c] = cells[i].G[j * width + c] / (double)counts[i];
        mirror(C, m);
    }
    return MOE_OK;
}

/* l_jj^2 / c_jj is the share of feature j that the features before it leave unexplained, whatever their scales; a
 * share that rounding alone could leave shows a singular matrix. */
static int is_singular(const double *C, const double *L, ptrdiff_t m)
{
    for (ptrdiff_t j = 0; j < m; j++)
        if (!(L[j * m + j] * L[j * m + j] > 16 * DBL_EPSILON * (double)m * C[j * m + j]))
            return 1;
    return 0;
}

moe_status moe_qda_factor(const double *covariances, const moe_blocks *blocks, double *inverse_factors,
                          double *log_determinants, ptrdiff_t *failed, const moe_interrupt *interrupt)
{
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const ptrdiff_t m = blocks->size[i];
        const double *C = covariances + blocks->square[i];
        double *L = inverse_factors + blocks->square[i];
        ptrdiff_t valid;
        moe_status status = moe_gram_copy(C, m, L, interrupt);
        if (status == MOE_OK)
            status = moe_cholesky(MOE_DOUBLE, L, m, &valid, interrupt);
        if (status != MOE_OK)
            return status;
        mirror(L, m); /* the column-major L that was found is the upper triangle of a row-major matrix */
        if (valid < m || is_singular(C, L, m)) {
            *failed = i;
            return MOE_NOT_POSITIVE_DEFINITE;
        }
        log_determinants[i] = 0.0;
        for (ptrdiff_t j = 0; j < m; j++)
            log_determinants[i] += 2.0 * log(L[j * m + j]);
        lapack_dtrtri(LAPACK_COL_MAJOR, 'U', 'N', (int)m, L, (int)m); /* 'U': of the transpose, the row-major L */
        for (ptrdiff_t j = 0; j < m; j++) /* above the diagonal of L^-1 */
            memset(L + j * m + j + 1, 0, (size_t)(m - j - 1) * sizeof *L);
    }
    return MOE_OK;
}

size_t moe_qda_scores_workspace(const moe_blocks *blocks)
{
    size_t size = SCORED_ROWS;
    for (ptrdiff_t i = 0; i < blocks->k; i++)
        size = moe_plus(size, moe_times((size_t)blocks->size[i], (size_t)moe_narrow_width(blocks->size[i])));
    return size;
}

/* The upper triangular L_i^-T of each expert, one after the other, with rows padded by zeros. */
static moe_status transpose_factors(const moe_blocks *blocks, const double *inverse_factors, double *T,
                                    const moe_interrupt *interrupt)
{
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const ptrdiff_t m = blocks->size[i], width = moe_narrow_width(m);
        const double *inverse = inverse_factors + blocks->square[i];
        for (ptrdiff_t c = 0; c < m; c++) {
            if (c % moe_step(TRANSPOSED, m) == 0 && moe_stop(interrupt))
                return MOE_INTERRUPTED;
            memset(T + c * width, 0, (size_t)width * sizeof *T);
            for (ptrdiff_t j = c; j < m; j++)
                T[c * width + j] = inverse[j * m + c];
        }
        T += m * width;
    }
    return MOE_OK;
}

moe_status moe_qda_scores(const double *X, ptrdiff_t n, const moe_blocks *blocks, const double *inverse_factors,
                          const double *constants, double noise_precision, double *scores, double *workspace,
                          const moe_interrupt *interrupt)
{
    const moe_unit *unit = moe_in_use();
    const ptrdiff_t d = blocks->d, k = blocks->k;
    double *squares = workspace, *factors = squares + SCORED_ROWS;
    const moe_status status = transpose_factors(blocks, inverse_factors, factors, interrupt);
    if (status != MOE_OK)
        return status;
    for (ptrdiff_t begin = 0; begin < n; begin += SCORED_ROWS) {
        const ptrdiff_t rows = moe_min(SCORED_ROWS, n - begin);
        const double *T = factors;
        for (ptrdiff_t i = 0; i < k; i++) {
            if (moe_stop(interrupt))
                return MOE_INTERRUPTED;
            const ptrdiff_t m = blocks->size[i], width = moe_narrow_width(m);
            const double *own = X + begin * d + blocks->offset[i];
            unit->whitened_squares(own, rows, d, T, m, width, squares);
            for (ptrdiff_t r = 0; r < rows; r++)
                scores[(begin + r) * k + i] = constants[i] - 0.5 * squares[r];
            for (ptrdiff_t r = 0; r < rows && noise_precision != 0.0; r++)
                scores[(begin + r) * k + i] += 0.5 * noise_precision * unit->sum_of_squares(own + r * d, m);
            T += m * width;
        }
    }
    return MOE_OK;
}
