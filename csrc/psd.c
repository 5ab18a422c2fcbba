/* Factors a positive semidefinite matrix with diagonal pivoting, with the same bits on every CPU. */
#include <math.h>

#include "internal.h"

/* Row j of the factor U:  u_jj = sqrt(a_jj),  u_ji = a_ji / u_jj,  then a_il -= u_ji u_jl for i, l > j,
 * where a is what is left of the permuted matrix. What is left is all within rounding once its largest diagonal
 * entry is, since |a_il|^2 <= a_ii a_ll; a negative diagonal or a larger entry shows an indefinite matrix. */

#define RANK_TOLERANCE (16 * DBL_EPSILON) /* times m and the largest diagonal entry */
#define INDEFINITE_TOLERANCE 1e-10        /* times the largest diagonal entry */

static void swap_symmetric(double *a, ptrdiff_t m, ptrdiff_t p, ptrdiff_t q)
{
    for (ptrdiff_t i = 0; i < m; i++) {
        const double t = a[p * m + i];
        a[p * m + i] = a[q * m + i];
        a[q * m + i] = t;
    }
    for (ptrdiff_t i = 0; i < m; i++) {
        const double t = a[i * m + p];
        a[i * m + p] = a[i * m + q];
        a[i * m + q] = t;
    }
}

static ptrdiff_t largest_diagonal(const double *a, ptrdiff_t m, ptrdiff_t from)
{
    ptrdiff_t best = from;
    for (ptrdiff_t i = from + 1; i < m; i++)
        if (a[i * m + i] > a[best * m + best])
            best = i;
    return best;
}

static int is_negligible(const double *a, ptrdiff_t m, ptrdiff_t from, double bound)
{
    for (ptrdiff_t i = from; i < m; i++)
        for (ptrdiff_t j = i; j < m; j++)
            if (fabs(a[i * m + j]) > bound)
                return 0;
    return 1;
}

moe_status moe_psd_factor(const double *covariance, ptrdiff_t m, double *factor, ptrdiff_t *permutation,
                          ptrdiff_t *rank, const moe_interrupt *interrupt)
{
    moe_status status = MOE_OK;
    double *a = factor, scale = 0.0;
    ptrdiff_t j;
    for (ptrdiff_t i = 0; i < m * m; i++)
        a[i] = covariance[i];
    for (ptrdiff_t i = 0; i < m; i++) {
        permutation[i] = i;
        scale = fmax(scale, fabs(a[i * m + i]));
    }
    for (j = 0; j < m; j++) {
        if (moe_stop(interrupt)) {
            status = MOE_INTERRUPTED;
            break;
        }
        const ptrdiff_t pivot = largest_diagonal(a, m, j);
        if (!(a[pivot * m + pivot] > RANK_TOLERANCE * (double)m * scale)) {
            if (!is_negligible(a, m, j, INDEFINITE_TOLERANCE * scale))
                status = MOE_NOT_POSITIVE_SEMIDEFINITE;
            break;
        }
        if (pivot != j) {
            const ptrdiff_t t = permutation[j];
            permutation[j] = permutation[pivot];
            permutation[pivot] = t;
            swap_symmetric(a, m, j, pivot);
        }
        double *row = a + j * m;
        const double root = sqrt(row[j]);
        row[j] = root;
        for (ptrdiff_t i = j + 1; i < m; i++)
            row[i] /= root;
        for (ptrdiff_t i = j + 1; i < m; i++) {
            double *left = a + i * m;
            const double multiple = row[i];
            for (ptrdiff_t l = j + 1; l < m; l++) /* both triangles: a later pivot swaps whole rows */
                left[l] -= multiple * row[l];
            left[j] = 0.0; /* below the diagonal of U */
        }
    }
    *rank = j;
    for (ptrdiff_t i = j; i < m; i++)
        for (ptrdiff_t l = 0; l < m; l++)
            a[i * m + l] = 0.0;
    return status;
}
