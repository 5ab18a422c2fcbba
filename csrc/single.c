/* Solves with a Gram matrix in single precision, which takes half the time of double precision. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

/* H = D X'X D with D = diag(X_s'X_s)^-1/2, X_s the rows that it was scaled for, and its factor LL' = H. From
 *   M^-1 r = D L^-T L^-1 D r
 * six digits or so are right where X'X is well-conditioned; more take steps of refinement. */

enum { ROWS = 128 }; /* brought to single precision at a time */

size_t moe_single_workspace(ptrdiff_t d)
{
    const size_t matrices = moe_times((size_t)d, (size_t)d); /* two, of floats */
    return moe_plus(matrices, moe_times((size_t)d, ROWS / 2 + 4));
}

moe_single moe_single_split(double *workspace, ptrdiff_t d)
{
    moe_single g = {.d = d, .scale = workspace};
    g.H = (float *)(g.scale + d);
    g.L = g.H + d * d;
    g.half = g.L + d * d;
    g.weights = g.half + d;
    g.sums = g.weights + d;
    g.rows = g.sums + d;
    return g;
}

/* From squared lengths of columns to their scale and weights. */
static void set_scale(const moe_single *g)
{
    double largest = 0.0;
    for (ptrdiff_t j = 0; j < g->d; j++)
        largest = fmax(largest, g->scale[j]);
    for (ptrdiff_t j = 0; j < g->d; j++) {
        g->weights[j] = (float)sqrt(g->scale[j] / largest);
        g->scale[j] = 1.0 / sqrt(g->scale[j]);
    }
}

moe_status moe_single_begin(const moe_single *g, const double *X, ptrdiff_t n, const moe_interrupt *interrupt)
{
    const ptrdiff_t d = g->d, check = moe_step(MOE_TOUCHED, d);
    memset(g->scale, 0, (size_t)d * sizeof *g->scale);
    for (ptrdiff_t row = 0; row < n; row++) {
        if (row % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        for (ptrdiff_t j = 0; j < d; j++)
            g->scale[j] += X[row * d + j] * X[row * d + j];
    }
    set_scale(g);
    for (ptrdiff_t j = 0; j < d; j++) {
        if (j % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        memset(g->H + j * d + j, 0, (size_t)(d - j) * sizeof *g->H);
    }
    return MOE_OK;
}

moe_status moe_single_convert(const moe_single *g, const double *G, const moe_interrupt *interrupt)
{
    const ptrdiff_t d = g->d, check = moe_step(MOE_TOUCHED, d);
    for (ptrdiff_t j = 0; j < d; j++)
        g->scale[j] = G[j * d + j];
    set_scale(g);
    for (ptrdiff_t j = 0; j < d; j++) {
        if (j % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        moe_in_use()->scale_to_single(G + j * d + j, d - j, g->scale[j], g->scale + j, g->H + j * d + j);
    }
    return MOE_OK;
}

moe_status moe_single_add(const moe_single *g, const double *X, ptrdiff_t n, const moe_interrupt *interrupt)
{
    const ptrdiff_t d = g->d;
    for (ptrdiff_t begin = 0; begin < n; begin += ROWS) {
        const ptrdiff_t rows = moe_min(ROWS, n - begin);
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        for (ptrdiff_t row = 0; row < rows; row++)
            moe_in_use()->scale_to_single(X + (begin + row) * d, d, 1.0, g->scale, g->rows + row * d);
        blas_ssyrk(CblasColMajor, CblasLower, CblasNoTrans, (int)d, (int)rows, 1.0f, g->rows, (int)d, 1.0f, g->H,
                   (int)d);
    }
    return MOE_OK;
}

/* With weights w = smallest D / D:  |X'X|_ij = |H|_ij w_i w_j / smallest D^2. */
double moe_single_norm(const moe_single *g)
{
    const ptrdiff_t d = g->d;
    double norm = 0.0, smallest = INFINITY;
    memset(g->sums, 0, (size_t)d * sizeof *g->sums);
    for (ptrdiff_t j = 0; j < d && norm == norm; j++) { /* a NaN stays */
        const float *column = g->H + j * d, weight = g->weights[j];
        const double below = moe_in_use()->add_absolute_single(column + j + 1, d - j - 1, weight, g->weights + j + 1,
                                                               g->sums + j + 1);
        const double sum = weight * (below + g->sums[j] + fabsf(column[j]) * weight);
        norm = sum <= norm ? norm : sum;
        smallest = fmin(smallest, g->scale[j]);
    }
    return norm / (smallest * smallest);
}

moe_status moe_single_factor(const moe_single *g, int *usable, const moe_interrupt *interrupt)
{
    const ptrdiff_t d = g->d, check = moe_step(MOE_TOUCHED, d);
    ptrdiff_t valid = 0;
    for (ptrdiff_t j = 0; j < d; j++) {
        if (j % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        memcpy(g->L + j * d + j, g->H + j * d + j, (size_t)(d - j) * sizeof *g->L);
    }
    const moe_status status = moe_cholesky(MOE_SINGLE, g->L, d, &valid, interrupt);
    *usable = valid == d;
    return status;
}

/* LL' + xx' = L_1 L_1' + x_1 x_1' where column j of L_1 is the new one and x_1 has a zero there: a rotation each. */
moe_status moe_single_update(const moe_single *g, const double *X, ptrdiff_t n, const moe_interrupt *interrupt)
{
    const ptrdiff_t d = g->d;
    float *x = g->rows;
    for (ptrdiff_t row = 0; row < n; row++) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        moe_in_use()->scale_to_single(X + row * d, d, 1.0, g->scale, x);
        for (ptrdiff_t j = 0; j < d; j++) {
            float *column = g->L + j * d;
            const float before = column[j];
            column[j] = sqrtf(before * before + x[j] * x[j]);
            moe_in_use()->rotate_single(column + j + 1, x + j + 1, d - j - 1, column[j] / before, x[j] / before);
        }
    }
    return MOE_OK;
}

/* The vector is brought to unit size: single precision has little range. */
void moe_single_solve(const void *single, double *x)
{
    const moe_single *g = single;
    const ptrdiff_t d = g->d;
    double largest = 0.0;
    for (ptrdiff_t i = 0; i < d; i++) {
        x[i] *= g->scale[i];
        largest = fmax(largest, fabs(x[i]));
    }
    if (largest == 0.0)
        return;
    for (ptrdiff_t i = 0; i < d; i++)
        g->half[i] = (float)(x[i] / largest);
    blas_strsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)d, g->L, (int)d, g->half, 1);
    blas_strsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, (int)d, g->L, (int)d, g->half, 1);
    for (ptrdiff_t i = 0; i < d; i++)
        x[i] = largest * g->scale[i] * g->half[i];
}
