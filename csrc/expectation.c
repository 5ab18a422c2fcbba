/* Computes one pass of expectation maximisation for a mixture of linear experts: posteriors, and moments by them. */
#include <math.h>
#include <string.h>

#include "internal.h"

static const double NEGLIGIBLE = 1e-20; /* a posterior that no moment notices */

/* Memory for a panel of rows; all but `constants` have MOE_PANEL columns. */
typedef struct {
    double *scores;    /* k */
    double *means;     /* k x m */
    double *largest;   /* 1 */
    double *sums;      /* 1 */
    double *constants; /* k, in one: of the responses' densities, log det F_i - m/2 log 2 pi */
} panel;

static size_t panel_size(ptrdiff_t k, ptrdiff_t m)
{
    const size_t rows = moe_plus(moe_times((size_t)k, moe_plus(1, (size_t)m)), 2);
    return moe_plus(moe_times(rows, MOE_PANEL), (size_t)k);
}

static panel place_panel(double *memory, ptrdiff_t k, ptrdiff_t m)
{
    panel p;
    p.scores = memory;
    p.means = p.scores + k * MOE_PANEL;
    p.largest = p.means + k * m * MOE_PANEL;
    p.sums = p.largest + MOE_PANEL;
    p.constants = p.sums + MOE_PANEL;
    return p;
}

static void set_constants(const double *factors, ptrdiff_t k, ptrdiff_t m, double *constants)
{
    const double TWO_PI = 6.28318530717958647693;
    for (ptrdiff_t i = 0; i < k; i++) {
        constants[i] = -0.5 * (double)m * log(TWO_PI);
        for (ptrdiff_t j = 0; j < m; j++)
            constants[i] += log(factors[(i * m + j) * m + j]);
    }
}

/* scores += log N(Y_r; mean_i, (F_i'F_i)^-1): with what the features say, the logarithm of the joint density. */
static moe_status add_response(const panel *p, const double *factors, ptrdiff_t k, ptrdiff_t m, const double *Y,
                               ptrdiff_t rows, const moe_interrupt *interrupt)
{
    double *white = p->sums; /* one component of F_i (Y_r - mean_i) */
    for (ptrdiff_t i = 0; i < k; i++) {
        double *scores = p->scores + i * MOE_PANEL;
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        for (ptrdiff_t r = 0; r < rows; r++)
            scores[r] += p->constants[i];
        for (ptrdiff_t j = 0; j < m; j++) {
            memset(white, 0, (size_t)rows * sizeof *white);
            for (ptrdiff_t l = 0; l <= j; l++) {
                const double *means = p->means + (i * m + l) * MOE_PANEL, factor = factors[(i * m + j) * m + l];
                for (ptrdiff_t r = 0; r < rows; r++)
                    white[r] += factor * (Y[r * m + l] - means[r]);
            }
            for (ptrdiff_t r = 0; r < rows; r++)
                scores[r] -= 0.5 * white[r] * white[r];
        }
    }
    return MOE_OK;
}

/* Row by row; returns the sum of the logarithms of what the softmax was divided by. */
static double store_posterior(const panel *p, ptrdiff_t k, ptrdiff_t rows, double *posterior)
{
    double sum = 0.0;
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t i = 0; i < k; i++)
            posterior[r * k + i] = p->scores[i * MOE_PANEL + r];
        sum += p->largest[r] + log(p->sums[r]);
    }
    return sum;
}

size_t moe_mixture_moments_workspace(const moe_blocks *blocks, ptrdiff_t m)
{
    return moe_plus(moe_plus(panel_size(blocks->k, m), moe_transposed_factors_size(blocks)),
                    moe_gathering_workspace(blocks, 1 + m));
}

moe_status moe_mixture_moments(const double *X, const double *Y, ptrdiff_t n, const moe_blocks *blocks,
                               const moe_gate *gate, const moe_experts *experts, const double *response_factors,
                               double *moments, double *posterior, double *log_likelihood, double *workspace,
                               const moe_interrupt *interrupt)
{
    const ptrdiff_t k = blocks->k, m = experts->m;
    const panel p = place_panel(workspace, k, m);
    double *factors = workspace + panel_size(k, m), *memory = factors + moe_transposed_factors_size(blocks);
    moe_gathered *cells;
    moe_status status = moe_start_gathering(blocks, 1 + m, moments, memory, &cells, interrupt);
    if (status == MOE_OK)
        status = moe_transpose_factors(blocks, gate->inverse_factors, factors, interrupt);
    set_constants(response_factors, k, m, p.constants);
    *log_likelihood = 0.0;
    for (ptrdiff_t begin = 0; begin < n && status == MOE_OK; begin += MOE_PANEL) {
        const ptrdiff_t rows = moe_min(MOE_PANEL, n - begin);
        const double *own_X = X + begin * blocks->d, *own_Y = Y + begin * m;
        status = moe_evaluate_panel(own_X, rows, blocks, gate, factors, experts, p.scores, p.means, interrupt);
        if (status == MOE_OK)
            status = add_response(&p, response_factors, k, m, own_Y, rows, interrupt);
        if (status != MOE_OK)
            return status;
        moe_panel_softmax(p.scores, k, rows, p.largest, p.sums);
        *log_likelihood += store_posterior(&p, k, rows, posterior + begin * k);
        status = moe_gather_weighted(cells, blocks, own_X, own_Y, rows, m, posterior + begin * k, NEGLIGIBLE,
                                     interrupt);
    }
    return status != MOE_OK ? status : moe_finish_gathering(cells, k, NULL, moments, interrupt);
}
