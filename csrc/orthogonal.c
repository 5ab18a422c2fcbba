/* Solves least squares of any rank by orthogonal transformations, in steps between which it can be stopped. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

/* First the long side goes, then a square problem of side s = min(n, d) with the same singular values is solved:
 *   tall, by chunks of rows:  [R; X_chunk] = Q [R'; 0] with Y carried along, so min ||X b - Y|| = min ||R b - Q'Y||;
 *   wide:                     X' = Q R, so b = Q c with R' c = Y; Q has orthonormal columns and keeps the norm;
 *   square:                   S P = Q [R11 R12; 0 ~0],  [R11 R12] = [T 0] Z,  c = P Z' [T^-1 (Q'Y)_1; 0],
 * a complete orthogonal factorisation (the algorithm of LAPACK's gelsy, by panels), with the rank from an incremental
 * estimate of the condition of R11; or by singular values. X and Y are scaled by powers of two first, so that no
 * square over- or underflows. Inside, all matrices are column-major. */

enum {
    ROWS_A_COLUMN = 4, /* of the working array of a tall problem, ... */
    LEAST_ROWS = 256,  /* ... and at least */
    PANEL = 64,        /* most columns factored between two checks for an interrupt */
    PIVOTED = 32,      /* the same, with pivoting */
    LEAST_COLUMNS = 8, /* fewer in large matrices, but no fewer than this */
    TILE = 32,         /* rows and columns copied at a time */
    MAX_EXPONENT = 1000,
};

/* The workspace. A (rows x s) and B (rows x m) lie side by side; S is A's upper part, or its own where X is wide. */
typedef struct {
    ptrdiff_t s, m, rows, ld /* of S */;
    double *A, *B, *S, *outer_tau, *tau, *z_tau, *u, *v, *work;
    int *pivot, *y_exponent /* m */;
    int lwork;
    const moe_interrupt *interrupt;
} problem;

static ptrdiff_t array_rows(ptrdiff_t n, ptrdiff_t d)
{
    return n > d ? moe_min(n, moe_max(ROWS_A_COLUMN * d, LEAST_ROWS)) : d;
}

/* Columns of a step of at most `multiplications`, each column costing the size of the matrix. */
static ptrdiff_t step_columns(ptrdiff_t multiplications, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t most)
{
    return moe_min(most, moe_max(LEAST_COLUMNS, multiplications / moe_max(1, rows * columns)));
}

/* What LAPACK's blocked reflections want, from the left: 64 doubles a column and a 65 x 64 block. The other uses of
 * `work` need less: a panel with pivoting 32 doubles a column and 32 more, the last permutation one column. */
static size_t reflection_work(ptrdiff_t columns)
{
    return moe_plus(moe_times((size_t)columns, PANEL), 65 * 64);
}

static size_t svd_work(ptrdiff_t s, ptrdiff_t m, size_t *integers)
{
    double size = 0.0;
    int rank = 0, count = 0;
    lapack_dgelsd(LAPACK_COL_MAJOR, (int)s, (int)s, (int)m, NULL, (int)s, NULL, (int)s, NULL, -1.0, &rank, &size, -1,
                  &count);
    *integers = (size_t)count;
    return size < INT_MAX ? (size_t)size : SIZE_MAX;
}

size_t moe_orthogonal_workspace(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, moe_method method)
{
    const size_t s = (size_t)moe_min(n, d), rows = (size_t)array_rows(n, d), columns = moe_plus(s, (size_t)m);
    const size_t square = n < d ? moe_times(s, s) : 0;
    size_t work = reflection_work((ptrdiff_t)columns), integers = 0;
    if (method == MOE_SVD)
        work = moe_larger(work, svd_work((ptrdiff_t)s, m, &integers));
    if (work > INT_MAX) /* LAPACK counts in ints */
        return SIZE_MAX;
    return moe_plus(moe_plus(moe_times(rows, columns), moe_plus(square, moe_times(7, columns))),
                    moe_plus(work, integers));
}

static problem lay_out(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, moe_method method, double *workspace,
                       const moe_interrupt *interrupt)
{
    const ptrdiff_t s = moe_min(n, d), rows = array_rows(n, d), columns = s + m;
    size_t integers;
    problem p = {.s = s, .m = m, .rows = rows, .A = workspace, .B = workspace + rows * s, .interrupt = interrupt};
    double *next = p.B + rows * m;
    p.S = n < d ? next : p.A;
    p.ld = n < d ? s : rows;
    next += n < d ? s * s : 0;
    p.outer_tau = next;
    p.tau = next + columns;
    p.z_tau = next + 2 * columns;
    p.u = next + 3 * columns;
    p.v = next + 4 * columns;
    p.pivot = (int *)(next + 5 * columns);
    p.y_exponent = (int *)(next + 6 * columns);
    p.work = next + 7 * columns;
    p.lwork = (int)reflection_work(columns);
    if (method == MOE_SVD)
        p.lwork = (int)moe_larger((size_t)p.lwork, svd_work(s, m, &integers));
    return p;
}

/* e such that the largest of every stride-th entry is in [2^(e-1), 2^e), within what a double can scale by. */
static moe_status largest_exponent(const double *x, ptrdiff_t count, ptrdiff_t stride, int *exponent)
{
    double largest = 0.0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const double size = fabs(x[i * stride]);
        largest = size > largest || size != size ? size : largest; /* NaN stays */
    }
    if (!(largest <= DBL_MAX))
        return MOE_NOT_FINITE;
    frexp(largest, exponent);
    *exponent = *exponent > MAX_EXPONENT ? MAX_EXPONENT : *exponent < -MAX_EXPONENT ? -MAX_EXPONENT : *exponent;
    return MOE_OK;
}

/* Copies a row-major matrix, times a scale, into a column-major one, by tiles that fit the cache. */
static void transpose(const double *in, ptrdiff_t rows, ptrdiff_t columns, double scale, double *out, ptrdiff_t ld)
{
    for (ptrdiff_t top = 0; top < rows; top += TILE)
        for (ptrdiff_t left = 0; left < columns; left += TILE)
            for (ptrdiff_t c = left; c < moe_min(left + TILE, columns); c++)
                for (ptrdiff_t r = top; r < moe_min(top + TILE, rows); r++)
                    out[c * ld + r] = scale * in[r * columns + c];
}

/* The same for the responses, each column with its own scale. */
static void transpose_responses(const problem *p, const double *Y, ptrdiff_t rows, double *out)
{
    for (ptrdiff_t j = 0; j < p->m; j++) {
        const double scale = ldexp(1.0, -p->y_exponent[j]);
        for (ptrdiff_t r = 0; r < rows; r++)
            out[j * p->rows + r] = scale * Y[r * p->m + j];
    }
}

/* QR of the first `factored` columns of A (height x columns, leading dimension p->rows); Q' is applied to the rest. */
static moe_status factor(const problem *p, ptrdiff_t height, ptrdiff_t columns, ptrdiff_t factored)
{
    const int ld = (int)p->rows;
    const ptrdiff_t reflections = moe_min(height, factored), step = step_columns((ptrdiff_t)1 << 31, height, columns, PANEL);
    for (ptrdiff_t j = 0; j < reflections; j += step) {
        const ptrdiff_t width = moe_min(step, reflections - j), rest = columns - j - width;
        double *panel = p->A + j * p->rows + j;
        if (moe_stop(p->interrupt))
            return MOE_INTERRUPTED;
        lapack_dgeqrf(LAPACK_COL_MAJOR, (int)(height - j), (int)width, panel, ld, p->outer_tau + j, p->work,
                      p->lwork);
        if (rest > 0)
            lapack_dormqr(LAPACK_COL_MAJOR, 'L', 'T', (int)(height - j), (int)rest, (int)width, panel, ld,
                          p->outer_tau + j, panel + width * p->rows, ld, p->work, p->lwork);
    }
    return MOE_OK;
}

/* Leaves R in the upper s x s part of A, and the upper s rows of Q'Y in B. */
static moe_status reduce_tall(const problem *p, const double *X, const double *Y, ptrdiff_t n, double x_scale)
{
    const ptrdiff_t s = p->s, m = p->m, rows = p->rows;
    ptrdiff_t filled = 0, taken;
    for (ptrdiff_t row = 0; row < n; row += taken) {
        taken = moe_min(rows - filled, n - row);
        transpose(X + row * s, taken, s, x_scale, p->A + filled, rows);
        transpose_responses(p, Y + row * m, taken, p->B + filled);
        if (factor(p, filled + taken, s + m, s) != MOE_OK)
            return MOE_INTERRUPTED;
        filled = moe_min(filled + taken, s);
        for (ptrdiff_t c = 0; c < s; c++)
            for (ptrdiff_t r = c + 1; r < filled; r++)
                p->A[c * rows + r] = 0.0; /* where the reflections were */
    }
    return MOE_OK;
}

/* Leaves Q in A, R' in S and Y in the upper s rows of B. */
static moe_status reduce_wide(const problem *p, const double *X, const double *Y, double x_scale)
{
    const ptrdiff_t s = p->s, d = p->rows;
    for (ptrdiff_t i = 0; i < s * d; i++) /* a row-major X is a column-major X' */
        p->A[i] = x_scale * X[i];
    if (factor(p, d, s, s) != MOE_OK)
        return MOE_INTERRUPTED;
    for (ptrdiff_t c = 0; c < s; c++)
        for (ptrdiff_t r = 0; r < s; r++)
            p->S[c * s + r] = c <= r ? p->A[r * d + c] : 0.0;
    transpose_responses(p, Y, s, p->B);
    return MOE_OK;
}

/* S P = Q R; the largest remaining column is factored next. */
static moe_status factor_pivoted(const problem *p)
{
    const int s = (int)p->s, ld = (int)p->ld;
    const ptrdiff_t step = step_columns((ptrdiff_t)1 << 28, s, s, PIVOTED);
    for (int j = 0; j < s; j++) {
        p->pivot[j] = j + 1;
        p->u[j] = p->v[j] = blas_dnrm2(s, p->S + j * p->ld, 1);
    }
    for (int j = 0, done; j < s; j += done) {
        const int rest = s - j, width = (int)moe_min(step, rest);
        if (moe_stop(p->interrupt))
            return MOE_INTERRUPTED;
        lapack_dlaqps(&s, &rest, &j, &width, &done, p->S + j * p->ld, &ld, p->pivot + j, p->tau + j, p->u + j,
                      p->v + j, p->work, p->work + PIVOTED, &rest);
    }
    return MOE_OK;
}

/* The largest leading block of R whose estimated condition is below 1 / rcond; u and v are singular vectors of it. */
static ptrdiff_t estimate_rank(const problem *p, double rcond)
{
    const int LARGEST = 1, SMALLEST = 2;
    double largest = fabs(p->S[0]), smallest = largest;
    int rank = 1;
    if (largest == 0.0)
        return 0;
    for (p->u[0] = p->v[0] = 1.0; rank < p->s; rank++) {
        const double *column = p->S + rank * p->ld;
        double larger, smaller, s1, c1, s2, c2;
        lapack_dlaic1(&SMALLEST, &rank, p->u, &smallest, column, column + rank, &smaller, &s1, &c1);
        lapack_dlaic1(&LARGEST, &rank, p->v, &largest, column, column + rank, &larger, &s2, &c2);
        if (!(smaller >= larger * rcond && smaller > 0.0))
            break;
        for (int i = 0; i < rank; i++) {
            p->u[i] *= s1;
            p->v[i] *= s2;
        }
        p->u[rank] = c1;
        p->v[rank] = c2;
        smallest = smaller;
        largest = larger;
    }
    return rank;
}

/* Overwrites the upper s rows of B by the minimum-norm solution of min ||S c - B||. */
static moe_status solve_complete(const problem *p, double rcond, ptrdiff_t *rank)
{
    const int s = (int)p->s, m = (int)p->m, ld = (int)p->ld, ldb = (int)p->rows;
    if (factor_pivoted(p) != MOE_OK)
        return MOE_INTERRUPTED;
    *rank = estimate_rank(p, rcond);
    const int r = (int)*rank;
    if (r > 0) {
        lapack_dormqr(LAPACK_COL_MAJOR, 'L', 'T', s, m, s, p->S, ld, p->tau, p->B, ldb, p->work, p->lwork);
        if (r < s)
            lapack_dtzrzf(LAPACK_COL_MAJOR, r, s, p->S, ld, p->z_tau, p->work, p->lwork);
        blas_dtrsm(CblasColMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, r, m, 1.0, p->S, ld, p->B, ldb);
    }
    for (ptrdiff_t j = 0; j < m; j++)
        memset(p->B + j * ldb + r, 0, (size_t)(s - r) * sizeof *p->B);
    if (r > 0 && r < s)
        lapack_dormrz(LAPACK_COL_MAJOR, 'L', 'T', s, m, r, s - r, p->S, ld, p->z_tau, p->B, ldb, p->work, p->lwork);
    for (ptrdiff_t j = 0; j < m; j++) {
        memcpy(p->work, p->B + j * ldb, (size_t)s * sizeof *p->work);
        for (ptrdiff_t i = 0; i < s; i++)
            p->B[j * ldb + p->pivot[i] - 1] = p->work[i];
    }
    return MOE_OK;
}

/* The same by singular values: one call that cannot be stopped. */
static moe_status solve_svd(const problem *p, double rcond, ptrdiff_t *rank)
{
    const int s = (int)p->s;
    int found = 0;
    rcond = fmax(rcond, DBL_MIN); /* gelsd takes 0 for eps */
    const int info = lapack_dgelsd(LAPACK_COL_MAJOR, s, s, (int)p->m, p->S, (int)p->ld, p->B, (int)p->rows, p->u,
                                   rcond, &found, p->work, p->lwork, (int *)(p->work + p->lwork));
    *rank = found;
    return info > 0 ? MOE_NO_CONVERGENCE : MOE_OK;
}

moe_status moe_orthogonal(const double *X, const double *Y, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, double rcond,
                          moe_method method, double *coef, ptrdiff_t *rank, double *workspace,
                          const moe_interrupt *interrupt)
{
    const problem p = lay_out(n, d, m, method, workspace, interrupt);
    int x_exponent;
    moe_status status = largest_exponent(X, n * d, 1, &x_exponent);
    for (ptrdiff_t j = 0; j < m && status == MOE_OK; j++)
        status = largest_exponent(Y + j, n, m, p.y_exponent + j);
    if (status != MOE_OK)
        return status;
    const double x_scale = ldexp(1.0, -x_exponent);
    if (n > d) {
        status = reduce_tall(&p, X, Y, n, x_scale);
    } else if (n < d) {
        status = reduce_wide(&p, X, Y, x_scale);
    } else {
        transpose(X, n, d, x_scale, p.A, p.rows);
        transpose_responses(&p, Y, n, p.B);
    }
    if (status != MOE_OK)
        return status;
    if (rcond < 0.0)
        rcond = DBL_EPSILON * (double)moe_max(n, d);
    status = method == MOE_SVD ? solve_svd(&p, rcond, rank) : solve_complete(&p, rcond, rank);
    if (status != MOE_OK)
        return status;
    if (n < d) {
        for (ptrdiff_t j = 0; j < m; j++)
            memset(p.B + j * p.rows + n, 0, (size_t)(d - n) * sizeof *p.B);
        lapack_dormqr(LAPACK_COL_MAJOR, 'L', 'N', (int)d, (int)m, (int)n, p.A, (int)d, p.outer_tau, p.B, (int)d,
                      p.work, p.lwork);
    }
    for (ptrdiff_t c = 0; c < d; c++)
        for (ptrdiff_t j = 0; j < m; j++)
            coef[c * m + j] = ldexp(p.B[j * p.rows + c], p.y_exponent[j] - x_exponent);
    return MOE_OK;
}
