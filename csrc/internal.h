/* Parts that several kernels use; not part of the contract. */
#ifndef MOE_INTERNAL_H
#define MOE_INTERNAL_H

#include <float.h>

#include "moenoise.h"

#ifdef __FAST_MATH__
#error "the draws' bits need IEEE arithmetic: build without -ffast-math"
#endif
_Static_assert(FLT_EVAL_METHOD == 0, "the draws' bits need doubles that are not kept in a wider type");

static inline ptrdiff_t moe_min(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t moe_max(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static inline size_t moe_larger(size_t a, size_t b) { return a > b ? a : b; }

/* Sizes of memory saturate at SIZE_MAX instead of wrapping round. */
static inline size_t moe_plus(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }
static inline size_t moe_times(size_t a, size_t b) { return b != 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b; }

/* How many rows (or columns) of `width` doubles make one step between two checks for an interrupt. */
static inline ptrdiff_t moe_step(ptrdiff_t doubles, ptrdiff_t width) { return moe_max(1, doubles / moe_max(1, width)); }

/* ---- dispatch.c ---- the vector kernels of csrc/simd, built once for each instruction set */
typedef struct {
    const char *name;
    int (*all_finite)(const double *x, ptrdiff_t count);
    /* sums[i] += |x[i]|; returns their total */
    double (*add_absolute)(const double *x, ptrdiff_t count, double *sums);
} moe_unit;

const moe_unit *moe_in_use(void);

/* ---- philox.c ---- words of blocks first .. first+count-1, rounded up to a multiple of 8 blocks */
void moe_philox_blocks(moe_source source, uint64_t first, ptrdiff_t count, uint64_t *high, uint64_t *low);

/* ---- gram.c ---- least squares through the Gram matrix of the shorter side; symmetric matrices are column-major
 * with their lower triangle in use, right-hand sides and coefficients column-major */

/* The normal equations are trusted from this reciprocal condition of the Gram matrix on (condition 1e3 of X). */
#define MOE_GRAM_WELL_CONDITIONED 1e-6
/* Below this they are singular to working precision. */
#define MOE_GRAM_SINGULAR 1e-12

/* G += X'X (d x d). */
moe_status moe_gram_columns(const double *X /* n x d */, ptrdiff_t n, ptrdiff_t d, double *G,
                            const moe_interrupt *interrupt);
/* G = XX' (n x n). */
moe_status moe_gram_rows(const double *X /* n x d */, ptrdiff_t n, ptrdiff_t d, double *G,
                         const moe_interrupt *interrupt);
/* B += X'Y. */
moe_status moe_project(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m,
                       double *B /* d x m */, const moe_interrupt *interrupt);
/* Extends the column sums of |G| from those of the leading from x from block to those of the leading to x to block;
 * returns the largest of them, that block's 1-norm. */
double moe_grow_norm(const double *G, ptrdiff_t ld, ptrdiff_t from, ptrdiff_t to, double *sums /* to */);
/* Overwrites G by its Cholesky factor; `valid`: the size of the leading block that could be factored. */
typedef enum { MOE_SINGLE, MOE_DOUBLE } moe_precision;
moe_status moe_cholesky(moe_precision precision, void *G /* floats or doubles, s x s */, ptrdiff_t s, ptrdiff_t *valid,
                        const moe_interrupt *interrupt);
/* Whether X'Y, (XX')^-1 Y and what follows from them stay clear of over- and underflow, given the norm of the Gram
 * matrix. Columns of Y that are neither zero nor within bounds are left to the orthogonal method, which scales. */
int moe_gram_is_moderate(double norm, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t m);
/* An estimate of the reciprocal condition (1-norm) of LL', whose norm is given, from the leading s x s block of L. */
double moe_gram_rcond(const double *L, ptrdiff_t s, ptrdiff_t ld, double norm, double *workspace /* 4 s */);
/* coef = (X'X)^-1 X'Y or X'(XX')^-1 Y, with one step of iterative refinement. */
size_t moe_solve_columns_workspace(ptrdiff_t d, ptrdiff_t m);
moe_status moe_solve_columns(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t d,
                             ptrdiff_t m, const double *L /* d x d */, double *coef /* in: X'Y */, double *workspace,
                             const moe_interrupt *interrupt);
size_t moe_solve_rows_workspace(ptrdiff_t n, ptrdiff_t m);
moe_status moe_solve_rows(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t d,
                          ptrdiff_t m, const double *L /* leading n x n block */, ptrdiff_t ld, double *coef,
                          double *workspace, const moe_interrupt *interrupt);

/* ---- conjugate.c ---- solves with a Gram matrix whose factor, perhaps of an earlier one, is in single precision */
size_t moe_conjugate_workspace(ptrdiff_t d);
/* Factors G; `usable` is 0 where single precision does not suffice. */
moe_status moe_conjugate_factor(const double *G /* d x d */, ptrdiff_t d, int *usable, double *workspace,
                                const moe_interrupt *interrupt);
/* x += G^-1 b, to a relative error `tolerance` in the norm of G; 0 if `most` iterations did not get there. `energy`:
 * the square of that norm of what was added, as the factor sees it. */
moe_status moe_conjugate_solve(const double *G /* d x d */, ptrdiff_t d, const double *b, double tolerance,
                               ptrdiff_t most, double *x, double *energy, int *converged, double *workspace,
                               const moe_interrupt *interrupt);

/* ---- orthogonal.c ---- by complete orthogonal factorisation, or by the singular value decomposition */

/* Not monotone in n: a wide problem (n < d) needs an n x n matrix more than one with n = d. */
size_t moe_orthogonal_workspace(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, moe_method method);
moe_status moe_orthogonal(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t d,
                          ptrdiff_t m, double rcond, moe_method method, double *coef /* d x m, row-major */,
                          ptrdiff_t *rank, double *workspace, const moe_interrupt *interrupt);

#endif
