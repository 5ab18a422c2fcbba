/* Evaluates gate and experts on a panel of rows: every expert's score and prediction of each. */
#include "internal.h"

enum { STEP = 1 << 26 }; /* multiplications between two checks for an interrupt */

moe_status moe_expert_means(const double *X, ptrdiff_t rows, const moe_blocks *blocks, ptrdiff_t i,
                            const moe_experts *experts, double *means, const moe_interrupt *interrupt)
{
    const ptrdiff_t m = experts->m, d = blocks->size[i], check = moe_step(STEP, rows * d);
    const double *coef = experts->coef + m * blocks->offset[i], *intercepts = experts->intercepts + i * m;
    for (ptrdiff_t j = 0; j < m; j++) {
        double *own = means + j * MOE_PANEL;
        if (j % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        moe_in_use()->row_products(X + blocks->offset[i], rows, blocks->d, d, coef + j * d, own);
        for (ptrdiff_t r = 0; r < rows; r++)
            own[r] += intercepts[j];
    }
    return MOE_OK;
}

moe_status moe_evaluate_panel(const double *X, ptrdiff_t rows, const moe_blocks *blocks, const moe_gate *gate,
                              const double *factors, const moe_experts *experts, double *scores, double *means,
                              const moe_interrupt *interrupt)
{
    const double *T = factors;
    moe_status status = MOE_OK;
    for (ptrdiff_t i = 0; i < blocks->k && status == MOE_OK; i++) {
        status = moe_score_rows(X, rows, blocks, i, gate, T, scores + i * MOE_PANEL, 1, interrupt);
        if (status == MOE_OK && means != NULL)
            status = moe_expert_means(X, rows, blocks, i, experts, means + i * experts->m * MOE_PANEL, interrupt);
        T += blocks->size[i] * moe_narrow_width(blocks->size[i]);
    }
    return status;
}

void moe_panel_softmax(double *scores, ptrdiff_t k, ptrdiff_t rows, double *largest, double *sums)
{
    enum { MOST_LANES = 8 };
    const ptrdiff_t columns = (rows + MOST_LANES - 1) / MOST_LANES * MOST_LANES;
    for (ptrdiff_t i = 0; i < k; i++)
        for (ptrdiff_t r = rows; r < columns; r++)
            scores[i * MOE_PANEL + r] = 0.0;
    moe_in_use()->softmax(scores, k, columns, MOE_PANEL, largest, sums);
}
