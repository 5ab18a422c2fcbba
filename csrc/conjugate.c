/* Solves with a Gram matrix by conjugate gradients, preconditioned by a Cholesky factor in single precision. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

/* With D = diag(G)^-1/2 and a factor L of D H D in single precision, where H is G, or G before X got its last rows,
 *   M = D^-1 LL' D^-1,   M^-1 r = D L^-T L^-1 D r,
 * is a preconditioner of G. For H = G two iterations reach double precision (each gains six digits or so where G
 * is well-conditioned); r added rows cost up to r more. An iteration costs one product with G and two triangular
 * solves. */

typedef struct {
    float *L;                    /* d x d, column-major, lower */
    float *half;                 /* d */
    double *scale;               /* d */
    double *r, *z, *p, *q;       /* d each */
} parts;

static parts split(double *workspace, ptrdiff_t d)
{
    parts w;
    w.scale = workspace;
    w.r = w.scale + d;
    w.z = w.r + d;
    w.p = w.z + d;
    w.q = w.p + d;
    w.half = (float *)(w.q + d);
    w.L = w.half + d;
    return w;
}

size_t moe_conjugate_workspace(ptrdiff_t d)
{
    const size_t floats = moe_times((size_t)d, (size_t)d + 1);
    return moe_plus(moe_times(5, (size_t)d), floats / 2 + 1);
}

moe_status moe_conjugate_factor(const double *G, ptrdiff_t d, int *usable, double *workspace,
                                const moe_interrupt *interrupt)
{
    const parts w = split(workspace, d);
    const ptrdiff_t check = moe_step(MOE_TOUCHED, d);
    ptrdiff_t valid = 0;
    for (ptrdiff_t j = 0; j < d; j++)
        w.scale[j] = 1.0 / sqrt(G[j * d + j]);
    for (ptrdiff_t j = 0; j < d; j++) {
        if (j % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        moe_in_use()->scale_to_single(G + j * d + j, d - j, w.scale[j], w.scale + j, w.L + j * d + j);
    }
    const moe_status status = moe_cholesky(MOE_SINGLE, w.L, d, &valid, interrupt);
    *usable = valid == d;
    return status;
}

/* z = M^-1 r. The vector is brought to unit size: single precision has little range. */
static void precondition(const parts *w, ptrdiff_t d)
{
    double largest = 0.0;
    for (ptrdiff_t i = 0; i < d; i++) {
        w->z[i] = w->scale[i] * w->r[i];
        largest = fmax(largest, fabs(w->z[i]));
    }
    if (largest == 0.0)
        return;
    for (ptrdiff_t i = 0; i < d; i++)
        w->half[i] = (float)(w->z[i] / largest);
    blas_strsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)d, w->L, (int)d, w->half, 1);
    blas_strsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, (int)d, w->L, (int)d, w->half, 1);
    for (ptrdiff_t i = 0; i < d; i++)
        w->z[i] = largest * w->scale[i] * w->half[i];
}

moe_status moe_conjugate_solve(const double *G, ptrdiff_t d, const double *b, double tolerance, ptrdiff_t most,
                               double *x, double *energy, int *converged, double *workspace,
                               const moe_interrupt *interrupt)
{
    const parts w = split(workspace, d);
    double rho, before;
    memcpy(w.r, b, (size_t)d * sizeof *b);
    precondition(&w, d);
    memcpy(w.p, w.z, (size_t)d * sizeof *w.p);
    rho = *energy = blas_ddot((int)d, w.r, 1, w.z, 1);
    for (ptrdiff_t iteration = 0; iteration < most && rho > tolerance * tolerance * *energy; iteration++) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        blas_dsymv(CblasColMajor, CblasLower, (int)d, 1.0, G, (int)d, w.p, 1, 0.0, w.q, 1);
        const double length = rho / blas_ddot((int)d, w.p, 1, w.q, 1);
        blas_daxpy((int)d, length, w.p, 1, x, 1);
        blas_daxpy((int)d, -length, w.q, 1, w.r, 1);
        precondition(&w, d);
        before = rho;
        rho = blas_ddot((int)d, w.r, 1, w.z, 1);
        for (ptrdiff_t i = 0; i < d; i++)
            w.p[i] = w.z[i] + rho / before * w.p[i];
    }
    *converged = rho >= 0.0 && rho <= tolerance * tolerance * *energy; /* not so for NaN */
    return MOE_OK;
}
