/* Reduces the Gram matrix of the shorter side of X to tridiagonal form, G = Q T Q' with Q orthogonal. */
#include <string.h>

#include "blas.h"
#include "internal.h"

/* LAPACK's sytrd, in steps between which Ctrl-C can be asked for: a block of columns is reduced while only products of
 * the old matrix with vectors are needed, then the rest of the matrix follows by one update of that rank. Q is the
 * product of the reflections H_j = I - scale_j v_j v_j', where v_j has zeros up to entry j and a 1 after them. */

enum {
    MOST_COLUMNS = 32, /* of a block */
    LEAST_COLUMNS = 4,
    LAST_COLUMNS = 96,  /* LAPACK does these in one call */
    STEP = 1 << 28,     /* doubles read between two checks for an interrupt */
};

static ptrdiff_t block_columns(ptrdiff_t s)
{
    return moe_min(MOST_COLUMNS, moe_max(LEAST_COLUMNS, moe_step(STEP, s * s)));
}

static moe_status gram(const double *X, ptrdiff_t n, ptrdiff_t d, double *G, const moe_interrupt *interrupt)
{
    const moe_status status = moe_gram_clear(G, moe_min(n, d), interrupt);
    if (status != MOE_OK)
        return status;
    return n < d ? moe_gram_rows(X, n, d, G, interrupt) : moe_gram_columns(X, n, d, G, interrupt);
}

size_t moe_tridiagonal_workspace(ptrdiff_t n, ptrdiff_t d)
{
    return moe_times((size_t)moe_min(n, d), MOST_COLUMNS);
}

moe_status moe_tridiagonal(const double *X, ptrdiff_t n, ptrdiff_t d, double *reflectors, double *diagonal,
                           double *off_diagonal, double *scales, double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t s = moe_min(n, d), columns = block_columns(s);
    double *G = reflectors;
    ptrdiff_t j = 0;
    const moe_status status = gram(X, n, d, G, interrupt);
    if (status != MOE_OK)
        return status;
    for (; s - j > LAST_COLUMNS; j += columns) {
        const int rest = (int)(s - j), width = (int)columns, ld = (int)s;
        double *corner = G + j * (s + 1);
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        lapack_dlatrd("L", &rest, &width, corner, &ld, off_diagonal + j, scales + j, workspace, &rest, 1);
        blas_dsyr2k(CblasColMajor, CblasLower, CblasNoTrans, rest - width, width, -1.0, corner + columns, ld,
                    workspace + columns, rest, 1.0, corner + columns * (s + 1), ld);
        for (ptrdiff_t i = 0; i < columns; i++)
            diagonal[j + i] = corner[i * (s + 1)];
    }
    if (moe_stop(interrupt))
        return MOE_INTERRUPTED;
    lapack_dsytrd(LAPACK_COL_MAJOR, 'L', (int)(s - j), G + j * (s + 1), (int)s, diagonal + j, off_diagonal + j,
                  scales + j, workspace, (int)(s - j) * MOST_COLUMNS);
    off_diagonal[s - 1] = scales[s - 1] = 0.0;
    for (j = 0; j < s; j++) {
        memset(G + j * s, 0, (size_t)(j + 1) * sizeof *G);
        if (j + 1 < s)
            G[j * s + j + 1] = 1.0;
    }
    return MOE_OK;
}

moe_status moe_rotate(const double *reflectors, const double *scales, ptrdiff_t s, int forth, double *v,
                      const moe_interrupt *interrupt)
{
    const ptrdiff_t check = moe_step(STEP, s);
    for (ptrdiff_t i = 0; i < s - 1; i++) {
        const ptrdiff_t j = forth ? i : s - 2 - i, first = j + 1;
        const double *reflector = reflectors + j * s + first;
        if (i % check == 0 && moe_stop(interrupt))
            return MOE_INTERRUPTED;
        const double product = blas_ddot((int)(s - first), reflector, 1, v + first, 1);
        blas_daxpy((int)(s - first), -scales[j] * product, reflector, 1, v + first, 1);
    }
    return MOE_OK;
}
