/* Assigns rows to experts so that every prefix is as balanced as whole rows allow: |count_i(m) - m p_i| < 1. */
#include "internal.h"

/* Tijdeman (1980), "The chairman assignment problem". At step m the experts that are owed at least
 * 1/(2k - 2) of a row may be chosen; among them the one that would first be owed too much, that is with
 * the smallest (1 - 1/(2k - 2) - owed_i) / p_i, gets the row. Then |count_i - m p_i| <= 1 - 1/(2k - 2).
 * All that is owed sums to 1, so one is owed enough; where rounding hides that, the one owed most is chosen. */

enum { STEP = 1 << 22 }; /* experts looked at between two checks for an interrupt */

size_t moe_balance_workspace(ptrdiff_t k)
{
    return (size_t)k;
}

static ptrdiff_t choose(const double *p, ptrdiff_t k, double m, const double *count)
{
    const double slack = k > 1 ? 0.5 / (double)(k - 1) : 0.0;
    ptrdiff_t chosen = -1, owed_most = 0;
    double earliest = 0.0, most = -1.0;
    for (ptrdiff_t i = 0; i < k; i++) {
        const double owed = m * p[i] - count[i];
        const double deadline = (1.0 - slack - owed) / p[i];
        if (owed >= slack && (chosen < 0 || deadline < earliest)) {
            chosen = i;
            earliest = deadline;
        }
        if (owed > most) {
            owed_most = i;
            most = owed;
        }
    }
    return chosen >= 0 ? chosen : owed_most;
}

moe_status moe_balance(const double *probabilities, ptrdiff_t k, ptrdiff_t n, ptrdiff_t *expert, double *workspace,
                       const moe_interrupt *interrupt)
{
    double *count = workspace;
    const ptrdiff_t step = moe_step(STEP, k);
    for (ptrdiff_t i = 0; i < k; i++)
        count[i] = 0.0;
    for (ptrdiff_t row = 0; row < n; row++) {
        if (row % step == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        const ptrdiff_t chosen = k > 1 ? choose(probabilities, k, (double)row + 1.0, count) : 0;
        expert[row] = chosen;
        count[chosen] += 1.0;
    }
    return MOE_OK;
}
