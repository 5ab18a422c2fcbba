/* Computes the quadratic discriminant router: the factors of the experts' covariances, and the scores of rows. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

enum {
    STEP = 1 << 28,       /* multiplications between two checks for an interrupt */
    TRANSPOSED = 1 << 20, /* doubles, likewise */
};

void moe_mirror(double *C, ptrdiff_t m)
{
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = i + 1; j < m; j++)
            C[j * m + i] = C[i * m + j];
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
        moe_mirror(L, m); /* the column-major L that was found is the upper triangle of a row-major matrix */
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

size_t moe_transposed_factors_size(const moe_blocks *blocks)
{
    size_t size = 0;
    for (ptrdiff_t i = 0; i < blocks->k; i++)
        size = moe_plus(size, moe_times((size_t)blocks->size[i], (size_t)moe_narrow_width(blocks->size[i])));
    return size;
}

moe_status moe_transpose_factors(const moe_blocks *blocks, const double *inverse_factors, double *T,
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

moe_status moe_score_rows(const double *X, ptrdiff_t rows, const moe_blocks *blocks, ptrdiff_t i, const moe_gate *gate,
                          const double *T, double *scores, ptrdiff_t stride, const moe_interrupt *interrupt)
{
    const moe_unit *unit = moe_in_use();
    const ptrdiff_t d = blocks->d, m = blocks->size[i], step = moe_min(MOE_PANEL, moe_step(STEP, m * m));
    const double *own = X + blocks->offset[i];
    double squares[MOE_PANEL];
    for (ptrdiff_t begin = 0; begin < rows; begin += step) {
        const ptrdiff_t end = moe_min(rows, begin + step);
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        unit->whitened_squares(own + begin * d, end - begin, d, T, m, moe_narrow_width(m), squares);
        for (ptrdiff_t r = begin; r < end; r++)
            scores[r * stride] = gate->constants[i] - 0.5 * squares[r - begin];
        for (ptrdiff_t r = begin; r < end && gate->noise_precision != 0.0; r++)
            scores[r * stride] += 0.5 * gate->noise_precision * unit->sum_of_squares(own + r * d, m);
    }
    return MOE_OK;
}

size_t moe_qda_scores_workspace(const moe_blocks *blocks)
{
    return moe_transposed_factors_size(blocks);
}

moe_status moe_qda_scores(const double *X, ptrdiff_t n, const moe_blocks *blocks, const moe_gate *gate, double *scores,
                          double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t k = blocks->k;
    moe_status status = moe_transpose_factors(blocks, gate->inverse_factors, workspace, interrupt);
    for (ptrdiff_t begin = 0; begin < n && status == MOE_OK; begin += MOE_PANEL) {
        const ptrdiff_t rows = moe_min(MOE_PANEL, n - begin);
        const double *T = workspace;
        for (ptrdiff_t i = 0; i < k && status == MOE_OK; i++) {
            status = moe_score_rows(X + begin * blocks->d, rows, blocks, i, gate, T, scores + begin * k + i, k,
                                    interrupt);
            T += blocks->size[i] * moe_narrow_width(blocks->size[i]);
        }
    }
    return status;
}
