/* Factors a positive semidefinite matrix with diagonal pivoting, with the same bits on every CPU. */
#include <math.h>

#include "internal.h"

/* Row j of the factor U:  u_jj = sqrt(a_jj),  u_ji = a_ji / u_jj,  then a_il -= u_ji u_jl for i, l > j,
 * where a is what is left of the permuted matrix. The pivot is the feature of which the largest share of its own
 * variance is left, so that features of very different scale count alike. Once that share is within rounding, all that
 * is left is, since |a_il|^2 <= a_ii a_ll; a larger entry shows an indefinite matrix. */

#define RANK_TOLERANCE (16 * DBL_EPSILON) /* times m: the share of a variance that rounding can leave */
#define INDEFINITE_TOLERANCE 1e-10        /* of the geometric mean of two variances, ... */
#define VARIANCE_FLOOR 1e-6               /* ... taken for at least this share of the largest one */

size_t moe_psd_factor_workspace(ptrdiff_t m)
{
    return (size_t)m;
}

static void swap(double *x, double *y)
{
    const double t = *x;
    *x = *y;
    *y = t;
}

static void swap_symmetric(double *a, ptrdiff_t m, ptrdiff_t p, ptrdiff_t q)
{
    for (ptrdiff_t i = 0; i < m; i++)
        swap(a + p * m + i, a + q * m + i);
    for (ptrdiff_t i = 0; i < m; i++)
        swap(a + i * m + p, a + i * m + q);
}

static double share_left(const double *a, ptrdiff_t m, ptrdiff_t i, double variance)
{
    return variance > 0.0 ? a[i * m + i] / variance : 0.0;
}

static ptrdiff_t choose_pivot(const double *a, ptrdiff_t m, ptrdiff_t from, const double *variance)
{
    ptrdiff_t best = from;
    for (ptrdiff_t i = from + 1; i < m; i++)
        if (share_left(a, m, i, variance[i]) > share_left(a, m, best, variance[best]))
            best = i;
    return best;
}

static int is_negligible(const double *a, ptrdiff_t m, ptrdiff_t from, const double *variance, double largest)
{
    const double floor = VARIANCE_FLOOR * largest;
    for (ptrdiff_t i = from; i < m; i++)
        for (ptrdiff_t l = i; l < m; l++) {
            const double bound = sqrt(fmax(variance[i], floor)) * sqrt(fmax(variance[l], floor));
            if (!(fabs(a[i * m + l]) <= INDEFINITE_TOLERANCE * bound))
                return 0;
        }
    return 1;
}

moe_status moe_psd_factor(const double *covariance, ptrdiff_t m, double *factor, ptrdiff_t *permutation,
                          ptrdiff_t *rank, double *workspace, const moe_interrupt *interrupt)
{
    moe_status status = MOE_OK;
    double *a = factor, *variance = workspace, largest = 0.0;
    ptrdiff_t j;
    for (ptrdiff_t i = 0; i < m * m; i++)
        a[i] = covariance[i];
    for (ptrdiff_t i = 0; i < m; i++) {
        permutation[i] = i;
        variance[i] = a[i * m + i];
        largest = fmax(largest, fabs(variance[i]));
    }
    for (j = 0; j < m; j++) {
        if (moe_stop(interrupt)) {
            status = MOE_INTERRUPTED;
            break;
        }
        const ptrdiff_t pivot = choose_pivot(a, m, j, variance);
        if (!(share_left(a, m, pivot, variance[pivot]) > RANK_TOLERANCE * (double)m)) {
            if (!is_negligible(a, m, j, variance, largest))
                status = MOE_NOT_POSITIVE_SEMIDEFINITE;
            break;
        }
        if (pivot != j) {
            const ptrdiff_t t = permutation[j];
            permutation[j] = permutation[pivot];
            permutation[pivot] = t;
            swap(variance + j, variance + pivot);
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
