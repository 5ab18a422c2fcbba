/* Computes the quadratic discriminant router: the experts' covariances, their factors, the scores of rows. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

enum {
    SCORED_ROWS = 64, /* at a time */
    PACKED_ROWS = 1024,
    LEAST_PACKED_ROWS = 16,
    STEP = 1 << 30, /* multiplications between two checks for an interrupt */
};

size_t moe_covariance_workspace(const moe_blocks *blocks)
{
    return moe_times(PACKED_ROWS, (size_t)blocks->largest);
}

/* Sum of squares of a row's entries outside columns [from, to). */
static double squares_outside(const double *row, ptrdiff_t d, ptrdiff_t from, ptrdiff_t to)
{
    double sum = 0.0;
    for (ptrdiff_t c = 0; c < from; c++)
        sum += row[c] * row[c];
    for (ptrdiff_t c = to; c < d; c++)
        sum += row[c] * row[c];
    return sum;
}

/* Copies one triangle of a symmetric matrix to the other. */
static void mirror(double *C, ptrdiff_t m)
{
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = i + 1; j < m; j++)
            C[j * m + i] = C[i * m + j];
}

moe_status moe_covariance(const double *X, const moe_blocks *blocks, const ptrdiff_t *order, const ptrdiff_t *start,
                          double *covariances, double *off_block, double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t d = blocks->d;
    *off_block = 0.0;
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const ptrdiff_t m = blocks->size[i], column = blocks->offset[i], count = start[i + 1] - start[i];
        const ptrdiff_t step = moe_min(PACKED_ROWS, moe_max(LEAST_PACKED_ROWS, moe_step(STEP, m * m)));
        double *C = covariances + blocks->square[i];
        memset(C, 0, (size_t)(m * m) * sizeof *C);
        for (ptrdiff_t begin = start[i]; begin < start[i + 1]; begin += step) {
            const ptrdiff_t rows = moe_min(step, start[i + 1] - begin);
            if (moe_stop(interrupt))
                return MOE_INTERRUPTED;
            for (ptrdiff_t r = begin; r < begin + rows; r++)
                *off_block += squares_outside(X + order[r] * d, d, column, column + m);
            moe_pack(X, d, order + begin, rows, column, m, workspace);
            blas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)m, (int)rows, 1.0 / (double)count, workspace,
                       (int)m, 1.0, C, (int)m);
        }
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
        memcpy(L, C, (size_t)(m * m) * sizeof *L);
        const moe_status status = moe_cholesky(MOE_DOUBLE, L, m, &valid, interrupt);
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
    return moe_times(SCORED_ROWS, (size_t)blocks->largest);
}

static double sum_of_squares(const double *x, ptrdiff_t m)
{
    double sum = 0.0;
    for (ptrdiff_t j = 0; j < m; j++)
        sum += x[j] * x[j];
    return sum;
}

moe_status moe_qda_scores(const double *X, ptrdiff_t n, const moe_blocks *blocks, const double *inverse_factors,
                          const double *constants, double noise_precision, double *scores, double *workspace,
                          const moe_interrupt *interrupt)
{
    const ptrdiff_t d = blocks->d, k = blocks->k;
    for (ptrdiff_t begin = 0; begin < n; begin += SCORED_ROWS) {
        const ptrdiff_t rows = moe_min(SCORED_ROWS, n - begin);
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        for (ptrdiff_t i = 0; i < k; i++) {
            const ptrdiff_t m = blocks->size[i];
            const double *own = X + begin * d + blocks->offset[i];
            for (ptrdiff_t r = 0; r < rows; r++)
                memcpy(workspace + r * m, own + r * d, (size_t)m * sizeof *workspace);
            /* whitened rows: x_i' L_i^-T */
            blas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)rows, (int)m, 1.0,
                       inverse_factors + blocks->square[i], (int)m, workspace, (int)m);
            for (ptrdiff_t r = 0; r < rows; r++)
                scores[(begin + r) * k + i] = constants[i] - 0.5 * sum_of_squares(workspace + r * m, m) +
                                              0.5 * noise_precision * sum_of_squares(own + r * d, m);
        }
    }
    return MOE_OK;
}
