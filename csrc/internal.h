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

/* Doubles that are written for the first time between two checks for an interrupt: the system has to find the memory. */
enum { MOE_TOUCHED = 1 << 21 };

/* ---- dispatch.c ---- the vector kernels of csrc/simd, built once for each instruction set */
typedef struct {
    const char *name;
    int (*all_finite)(const double *x, ptrdiff_t count);
    /* residual = X coef - y, gradient += X' residual */
    void (*add_gradient)(const double *X, const double *y, const double *coef, ptrdiff_t n, ptrdiff_t d,
                         double *gradient, double *residual);
    /* products[r] = X_r coef */
    void (*row_products)(const double *X, ptrdiff_t n, ptrdiff_t ld, ptrdiff_t d, const double *coef,
                         double *products);
    /* the draws of moenoise.h; normals come times scale */
    void (*philox)(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
    void (*uniform)(moe_source source, uint64_t first, ptrdiff_t count, double *out);
    void (*normal)(moe_source source, uint64_t first, ptrdiff_t count, double scale, double *out);
    /* x = U'g for an upper triangular U, with the same bits on every instruction set */
    void (*multiply_triangular)(const double *U /* m x m */, ptrdiff_t m, const double *g, double *x);
    /* A[j:, j:last] <- (I - scale v v') A[j:, j:last], and A[:, j:] <- A[:, j:] (I - scale v v'), likewise */
    void (*reflect_rows)(double *A /* n x d */, ptrdiff_t n, ptrdiff_t d, ptrdiff_t j, ptrdiff_t last,
                         const double *v, double scale, double *product /* d */);
    void (*reflect_columns)(double *A /* n x d */, ptrdiff_t n, ptrdiff_t d, ptrdiff_t j, const double *v,
                            double scale);
    /* sums[i] += |x[i]|; returns their total */
    double (*add_absolute)(const double *x, ptrdiff_t count, double *sums);
    /* few columns: Z and all matrices are `width` wide, a multiple of narrow_multiple, see simd/narrow.h */
    ptrdiff_t narrow_multiple;
    void (*gather)(const double *X, ptrdiff_t ld, const double *y, const ptrdiff_t *rows, ptrdiff_t n, ptrdiff_t d,
                   ptrdiff_t width, double *Z, double *own_y);
    void (*add_gram)(const double *Z, ptrdiff_t n, ptrdiff_t columns, ptrdiff_t width, double *G);
    ptrdiff_t (*factor_columns)(double *G, ptrdiff_t width, ptrdiff_t columns);
    void (*solve_lower)(const double *L, ptrdiff_t width, ptrdiff_t s, double *b);
    void (*solve_transposed)(const double *L, ptrdiff_t width, ptrdiff_t s, double *b);
    void (*solve_comparison)(const double *L, ptrdiff_t width, ptrdiff_t s, double *b);
    /* out[i] = x[i] factor scale[i] */
    void (*scale_to_single)(const double *x, ptrdiff_t count, double factor, const double *scale, float *out);
    /* sums[i] += |h[i]| weight; returns sum_i |h[i]| weights[i] */
    double (*add_absolute_single)(const float *h, ptrdiff_t count, float weight, const float *weights, float *sums);
    /* l <- (l + s x) / c, then x <- c x - s l */
    void (*rotate_single)(float *l, float *x, ptrdiff_t count, float c, float s);
    double (*sum_of_squares)(const double *x, ptrdiff_t count);
    /* squares[r] = |X_r T|^2, T upper triangular with rows of `width` doubles, see simd/whiten.h */
    void (*whitened_squares)(const double *X, ptrdiff_t n, ptrdiff_t ld, const double *T, ptrdiff_t m, ptrdiff_t width,
                             double *squares);
    /* each column of scores to its softmax, log(sum_i exp score_i) = largest + log sum, see simd/softmax.h */
    void (*softmax)(double *scores /* k x stride */, ptrdiff_t k, ptrdiff_t columns, ptrdiff_t stride, double *largest,
                    double *sums);
} moe_unit;

const moe_unit *moe_in_use(void);

/* ---- gram.c ---- least squares through the Gram matrix of the shorter side; symmetric matrices are column-major
 * with their lower triangle in use, right-hand sides and coefficients column-major */

/* The normal equations are trusted from this reciprocal condition of the Gram matrix on (condition 1e3 of X). */
#define MOE_GRAM_WELL_CONDITIONED 1e-6
/* Below this they are singular to working precision. */
#define MOE_GRAM_SINGULAR 1e-12

/* G = 0, or a copy of another one, s x s; memory that is new to the process takes its time. */
moe_status moe_gram_clear(double *G, ptrdiff_t s, const moe_interrupt *interrupt);
moe_status moe_gram_copy(const double *G, ptrdiff_t s, double *copy, const moe_interrupt *interrupt);
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
/* b <- (LL')^-1 b, L the leading s x s block. */
void moe_gram_solve(const double *L, ptrdiff_t s, ptrdiff_t ld, double *b);
/* An estimate of the 1-norm of A^-1, A symmetric and s x s, from solves x <- A^-1 x; infinite where one overflows. */
typedef void (*moe_solver)(const void *matrix, double *x);
double moe_inverse_norm(moe_solver solve, const void *matrix, ptrdiff_t s, double *workspace /* 2 s */);
/* An estimate of the reciprocal condition (1-norm) of LL', whose norm is given. */
double moe_gram_rcond(const double *L, ptrdiff_t s, ptrdiff_t ld, double norm, double *workspace /* 2 s */);
/* Whether the reciprocal condition is at least `least`. */
int moe_gram_has_rcond(const double *L, ptrdiff_t s, ptrdiff_t ld, double norm, double least,
                       double *workspace /* 2 s */);
/* coef = (X'X)^-1 X'Y or X'(XX')^-1 Y, with one step of iterative refinement. */
size_t moe_solve_columns_workspace(ptrdiff_t d, ptrdiff_t m);
moe_status moe_solve_columns(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t d,
                             ptrdiff_t m, const double *L /* d x d */, double *coef /* in: X'Y */, double *workspace,
                             const moe_interrupt *interrupt);
size_t moe_solve_rows_workspace(ptrdiff_t n, ptrdiff_t m);
moe_status moe_solve_rows(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t d,
                          ptrdiff_t m, const double *L /* leading n x n block */, ptrdiff_t ld, double *coef,
                          double *workspace, const moe_interrupt *interrupt);

/* ---- narrow.c ---- one response, few columns (at most MOE_NARROW), at least as many rows */
enum { MOE_NARROW = 128 };

/* Some rows and columns of a problem, where they lie. */
typedef struct {
    const double *X;       /* the first of the columns, row 0 */
    ptrdiff_t ld;          /* from one row to the next */
    const double *y;
    const ptrdiff_t *rows; /* n */
    ptrdiff_t n, d;
} moe_part;

/* Columns of the packed Z = [X y 0]. */
ptrdiff_t moe_narrow_width(ptrdiff_t d);
size_t moe_narrow_workspace(ptrdiff_t n, ptrdiff_t d);
/* MOE_ILL_CONDITIONED where the reciprocal condition of X'X is below `required`.
 * The caller has just checked for an interrupt. */
moe_status moe_narrow(const moe_part *part, double required, double *coef, double *workspace,
                      const moe_interrupt *interrupt);

/* ---- lstsq.c ---- the reciprocal condition of the Gram matrix from which on the normal equations may be used; above 1
 * is never */
double moe_required_rcond(moe_method method, double rcond);

/* ---- single.c ---- a Gram matrix and its factor in single precision */
typedef struct {
    ptrdiff_t d;
    double *scale;                /* d: what brings the diagonal to 1 */
    float *H, *L;                 /* d x d, lower triangles */
    float *half, *weights, *sums; /* d each */
    float *rows;
} moe_single;

size_t moe_single_workspace(ptrdiff_t d);
moe_single moe_single_split(double *workspace, ptrdiff_t d);
/* Begins with no rows, scaled for some. */
moe_status moe_single_begin(const moe_single *g, const double *X /* n x d */, ptrdiff_t n,
                            const moe_interrupt *interrupt);
/* Begins with those in G. */
moe_status moe_single_convert(const moe_single *g, const double *G /* d x d */, const moe_interrupt *interrupt);
/* Adds some rows. */
moe_status moe_single_add(const moe_single *g, const double *X /* n x d */, ptrdiff_t n,
                          const moe_interrupt *interrupt);
/* The 1-norm of what it stands for. */
double moe_single_norm(const moe_single *g);
/* `usable` is 0 where single precision does not suffice. */
moe_status moe_single_factor(const moe_single *g, int *usable, const moe_interrupt *interrupt);
/* Adds rows to the factor, one by one: for few it is faster than a new one. */
moe_status moe_single_update(const moe_single *g, const double *X /* n x d */, ptrdiff_t n,
                             const moe_interrupt *interrupt);
/* x <- (X'X)^-1 x, about. */
void moe_single_solve(const void *single, double *x /* d */);

/* ---- tridiagonal.c ---- v <- Q'v, or Q v if not `forth` */
moe_status moe_rotate(const double *reflectors /* s x s */, const double *scales /* s */, ptrdiff_t s, int forth,
                      double *v /* s */, const moe_interrupt *interrupt);

/* ---- qda.c ---- */

/* Copies the upper triangle of a row-major matrix to the lower one. */
void moe_mirror(double *C /* m x m */, ptrdiff_t m);
/* The upper triangular L_i^-T of each expert, one after the other, with rows padded by zeros. */
size_t moe_transposed_factors_size(const moe_blocks *blocks);
moe_status moe_transpose_factors(const moe_blocks *blocks, const double *inverse_factors, double *T,
                                 const moe_interrupt *interrupt);
/* scores[r stride] = the score by expert i of row r; the same bits however many rows there are. */
moe_status moe_score_rows(const double *X /* rows x d */, ptrdiff_t rows, const moe_blocks *blocks, ptrdiff_t i,
                          const moe_gate *gate, const double *T, double *scores, ptrdiff_t stride,
                          const moe_interrupt *interrupt);

/* ---- panel.c ---- gate and experts on a panel of rows; all its arrays have MOE_PANEL columns, one a row of X */
enum { MOE_PANEL = 128 };

/* means[j, r] = the prediction of response j by expert i for row r. */
moe_status moe_expert_means(const double *X /* rows x d */, ptrdiff_t rows, const moe_blocks *blocks, ptrdiff_t i,
                            const moe_experts *experts, double *means /* m x MOE_PANEL */,
                            const moe_interrupt *interrupt);
/* scores[i, r] by expert i, and its means where they are not NULL. */
moe_status moe_evaluate_panel(const double *X /* rows x d */, ptrdiff_t rows, const moe_blocks *blocks,
                              const moe_gate *gate, const double *factors, const moe_experts *experts,
                              double *scores /* k x MOE_PANEL */, double *means /* k x m x MOE_PANEL */,
                              const moe_interrupt *interrupt);
/* moe_unit's softmax of the panel's first `rows` columns. */
void moe_panel_softmax(double *scores /* k x MOE_PANEL */, ptrdiff_t k, ptrdiff_t rows, double *largest /* MOE_PANEL */,
                       double *sums /* MOE_PANEL */);

/* ---- moments.c ---- sums of products of an expert's rows, some of which are gathered before they are multiplied */
typedef struct {
    double *rows, *G;
    ptrdiff_t columns, width, filled;
} moe_gathered;

/* Rows of [x_i, `extra` more columns]; the sums of their products go to `sums`, sum (d_i + extra)^2. */
size_t moe_gathering_workspace(const moe_blocks *blocks, ptrdiff_t extra);
moe_status moe_start_gathering(const moe_blocks *blocks, ptrdiff_t extra, double *sums, double *workspace,
                               moe_gathered **cells /* k */, const moe_interrupt *interrupt);
/* Adds weights[r, i] z z', z = [x_i, 1, Y_r], to each expert i's; weights up to `negligible` are left out. */
moe_status moe_gather_weighted(moe_gathered *cells, const moe_blocks *blocks, const double *X /* n x d */,
                               const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t m, const double *weights /* n x k */,
                               double negligible, const moe_interrupt *interrupt);
/* The sums over divisors[i], NULL for 1, as full matrices. */
moe_status moe_finish_gathering(moe_gathered *cells, ptrdiff_t k, const ptrdiff_t *divisors, double *sums,
                                const moe_interrupt *interrupt);

/* ---- orthogonal.c ---- by complete orthogonal factorisation, or by the singular value decomposition */

/* Not monotone in n: a wide problem (n < d) needs an n x n matrix more than one with n = d. */
size_t moe_orthogonal_workspace(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, moe_method method);
moe_status moe_orthogonal(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t d,
                          ptrdiff_t m, double rcond, moe_method method, double *coef /* d x m, row-major */,
                          ptrdiff_t *rank, double *workspace, const moe_interrupt *interrupt);

#endif
