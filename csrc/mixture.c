/* Predicts by mixtures of linear experts, softly or by the most probable one, with the predictions' variances. */
#include <string.h>

#include "internal.h"

/* What is known of a panel of rows; all arrays have MOE_PANEL columns. */
typedef struct {
    double *weights;   /* k: of the experts; the scores at first */
    double *means;     /* k x m; where an expert is not needed, 0 */
    double *response;  /* 1, as `variance`, `largest` and `sums` */
    double *variance, *largest, *sums;
    double *flaws;     /* 1: 0, or NaN where a score is not finite */
    ptrdiff_t *chosen; /* 1: the expert of the largest score */
} panel;

static size_t panel_size(ptrdiff_t k, ptrdiff_t m)
{
    const size_t rows = moe_plus(moe_times((size_t)k, moe_plus(1, (size_t)m)), 6);
    return moe_times(rows, MOE_PANEL);
}

static panel place_panel(double *memory, ptrdiff_t k, ptrdiff_t m)
{
    panel p;
    p.weights = memory;
    p.means = p.weights + k * MOE_PANEL;
    p.response = p.means + k * m * MOE_PANEL;
    p.variance = p.response + MOE_PANEL;
    p.largest = p.variance + MOE_PANEL;
    p.sums = p.largest + MOE_PANEL;
    p.flaws = p.sums + MOE_PANEL;
    p.chosen = (ptrdiff_t *)(p.flaws + MOE_PANEL);
    return p;
}

/* The expert of the largest weight, or score, the first of equals. */
static void choose(const panel *p, ptrdiff_t k, ptrdiff_t rows)
{
    for (ptrdiff_t r = 0; r < rows; r++) {
        p->chosen[r] = 0;
        p->flaws[r] = 0.0;
    }
    for (ptrdiff_t i = 0; i < k; i++)
        for (ptrdiff_t r = 0; r < rows; r++) {
            const double weight = p->weights[i * MOE_PANEL + r];
            if (weight > p->weights[p->chosen[r] * MOE_PANEL + r])
                p->chosen[r] = i;
            p->flaws[r] += weight - weight; /* 0, or NaN */
        }
}

/* Whether what is asked for depends on expert i's prediction for row r. */
static int is_needed(const panel *p, ptrdiff_t i, ptrdiff_t r, int hard, int with_variance)
{
    return (hard && p->chosen[r] == i) || ((!hard || with_variance) && p->weights[i * MOE_PANEL + r] != 0.0);
}

/* The predictions that are needed, for runs of rows at a time; the others are 0. */
static moe_status evaluate_needed(const panel *p, const double *X, ptrdiff_t rows, const moe_blocks *blocks,
                                  const moe_experts *experts, int hard, const moe_interrupt *interrupt)
{
    const ptrdiff_t m = experts->m;
    const int with_variance = experts->spreads != NULL;
    memset(p->means, 0, (size_t)(blocks->k * m * MOE_PANEL) * sizeof *p->means);
    for (ptrdiff_t i = 0; i < blocks->k; i++)
        for (ptrdiff_t begin = 0, end; begin < rows; begin = end) {
            for (end = begin; end < rows && is_needed(p, i, end, hard, with_variance);)
                end++;
            if (end > begin && moe_expert_means(X + begin * blocks->d, end - begin, blocks, i, experts,
                                                p->means + i * m * MOE_PANEL + begin, interrupt) != MOE_OK)
                return MOE_INTERRUPTED;
            end += end == begin;
        }
    return MOE_OK;
}

/* response = sum_i weight_i mean_ij, or the mean of the chosen expert. */
static void mix(const panel *p, ptrdiff_t k, ptrdiff_t m, ptrdiff_t j, ptrdiff_t rows, int hard)
{
    double *restrict response = p->response;
    if (hard) {
        for (ptrdiff_t r = 0; r < rows; r++)
            response[r] = p->means[(p->chosen[r] * m + j) * MOE_PANEL + r] + p->flaws[r];
        return;
    }
    memset(response, 0, (size_t)rows * sizeof *response);
    for (ptrdiff_t i = 0; i < k; i++) {
        const double *weight = p->weights + i * MOE_PANEL, *mean = p->means + (i * m + j) * MOE_PANEL;
        for (ptrdiff_t r = 0; r < rows; r++)
            response[r] += weight[r] * mean[r];
    }
}

/* variance = sum_i weight_i (spread_ij + (mean_ij - response)^2): within the experts, and between them. */
static void mix_spreads(const panel *p, ptrdiff_t k, ptrdiff_t m, ptrdiff_t j, ptrdiff_t rows, const double *spreads)
{
    double *restrict variance = p->variance;
    memset(variance, 0, (size_t)rows * sizeof *variance);
    for (ptrdiff_t i = 0; i < k; i++) {
        const double *weight = p->weights + i * MOE_PANEL, *mean = p->means + (i * m + j) * MOE_PANEL;
        for (ptrdiff_t r = 0; r < rows; r++) {
            const double deviation = mean[r] - p->response[r];
            const double part = weight[r] * (spreads[i * m + j] + deviation * deviation);
            variance[r] += weight[r] == 0.0 ? 0.0 : part; /* a mean that is not needed may overflow */
        }
    }
}

/* From weights, means and choices to the answers, m a row. */
static moe_status answer(const panel *p, ptrdiff_t k, const moe_experts *experts, ptrdiff_t rows, int hard,
                         double *response, double *variance, const moe_interrupt *interrupt)
{
    const ptrdiff_t m = experts->m;
    for (ptrdiff_t j = 0; j < m; j++) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        mix(p, k, m, j, rows, hard);
        for (ptrdiff_t r = 0; r < rows; r++)
            response[r * m + j] = p->response[r];
        if (experts->spreads == NULL)
            continue;
        mix_spreads(p, k, m, j, rows, experts->spreads);
        for (ptrdiff_t r = 0; r < rows; r++)
            variance[r * m + j] = p->variance[r];
    }
    return MOE_OK;
}

size_t moe_mixture_predict_workspace(const moe_blocks *blocks, ptrdiff_t m)
{
    return moe_plus(panel_size(blocks->k, m), moe_transposed_factors_size(blocks));
}

moe_status moe_mixture_predict(const double *X, ptrdiff_t n, const moe_blocks *blocks, const moe_gate *gate,
                               const moe_experts *experts, int hard, double *response, double *variance,
                               double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t k = blocks->k, m = experts->m;
    const int chosen_only = hard && experts->spreads == NULL;
    const panel p = place_panel(workspace, k, m);
    double *factors = workspace + panel_size(k, m);
    moe_status status = moe_transpose_factors(blocks, gate->inverse_factors, factors, interrupt);
    for (ptrdiff_t begin = 0; begin < n && status == MOE_OK; begin += MOE_PANEL) {
        const ptrdiff_t rows = moe_min(MOE_PANEL, n - begin);
        const double *own = X + begin * blocks->d;
        status = moe_evaluate_panel(own, rows, blocks, gate, factors, experts, p.weights,
                                    chosen_only ? NULL : p.means, interrupt);
        if (status == MOE_OK && hard)
            choose(&p, k, rows);
        if (status == MOE_OK && chosen_only)
            status = evaluate_needed(&p, own, rows, blocks, experts, hard, interrupt);
        else if (status == MOE_OK)
            moe_panel_softmax(p.weights, k, rows, p.largest, p.sums);
        if (status == MOE_OK)
            status = answer(&p, k, experts, rows, hard, response + begin * m,
                            variance == NULL ? NULL : variance + begin * m, interrupt);
    }
    return status;
}

size_t moe_combine_experts_workspace(const moe_blocks *blocks, ptrdiff_t m)
{
    return panel_size(blocks->k, m);
}

moe_status moe_combine_experts(const double *X, ptrdiff_t n, const moe_blocks *blocks, const double *posterior,
                               const moe_experts *experts, int hard, double *response, double *variance,
                               double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t k = blocks->k, m = experts->m;
    const panel p = place_panel(workspace, k, m);
    moe_status status = MOE_OK;
    for (ptrdiff_t begin = 0; begin < n && status == MOE_OK; begin += MOE_PANEL) {
        const ptrdiff_t rows = moe_min(MOE_PANEL, n - begin);
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t i = 0; i < k; i++)
                p.weights[i * MOE_PANEL + r] = posterior[(begin + r) * k + i];
        if (hard)
            choose(&p, k, rows);
        status = evaluate_needed(&p, X + begin * blocks->d, rows, blocks, experts, hard, interrupt);
        if (status == MOE_OK)
            status = answer(&p, k, experts, rows, hard, response + begin * m,
                            variance == NULL ? NULL : variance + begin * m, interrupt);
    }
    return status;
}
