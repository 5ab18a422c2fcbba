/* The contract between the kernels and whoever calls them: no Python, no NumPy.
 *
 * Every kernel writes into memory it is given, allocates nothing, prints nothing, keeps no state, and
 * returns a moe_status. A kernel that needs scratch memory has a twin `<kernel>_workspace` that says how many
 * doubles; SIZE_MAX stands for "more than can be addressed, or counted by LAPACK".
 *
 * Matrices are row-major (C order) unless a comment says otherwise; the shape stands beside each pointer.
 * n rows, d columns (features), k experts, m right-hand sides, d_i columns and n_i rows of expert i.
 */
#ifndef MOENOISE_H
#define MOENOISE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    MOE_OK = 0,
    MOE_INTERRUPTED,              /* the caller's check asked to stop */
    MOE_NOT_POSITIVE_SEMIDEFINITE,/* a covariance has a negative eigenvalue */
    MOE_NOT_POSITIVE_DEFINITE,    /* a covariance is singular where its inverse is needed */
    MOE_NOT_FINITE,               /* X or Y holds NaN or infinity */
    MOE_ILL_CONDITIONED,          /* the normal equations were asked for and would lose too many digits */
    MOE_NO_CONVERGENCE,           /* LAPACK's iteration did not converge */
} moe_status;

/* One sentence for each status. */
const char *moe_status_message(moe_status status);

/* Asked between steps of long work; non-zero means stop. */
typedef struct {
    int (*check)(void *context);
    void *context;
} moe_interrupt;

static inline int moe_stop(const moe_interrupt *interrupt)
{
    return interrupt->check(interrupt->context);
}

/* ---- instruction sets ---------------------------------------------------------------------------------- */

/* The names of those that this build has and this CPU runs, the best one last; NULL behind the last. */
const char *moe_instruction_set(int index);

/* The name of the one in use. */
const char *moe_instruction_set_in_use(void);

/* Takes the named one (NULL: the best) for all that follows; 0 if there is none of that name. Called once, before
 * any kernel; without a call the kernels use the one that runs everywhere. */
int moe_use_instruction_set(const char *name);

/* Whether all numbers are finite. */
int moe_all_finite(const double *x, ptrdiff_t count);

/* ---- random numbers ------------------------------------------------------------------------------------ */

/* Names one sequence of draws: entry i of it depends on nothing but this and i. */
typedef struct {
    uint32_t key[2];
    uint32_t replicate;
    uint32_t stream;
} moe_source;

/* out[0..3] = Philox4x32-10 of one counter under one key. */
void moe_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Entries first .. first+count-1 of the source's uniforms in [0, 1), multiples of 2^-53. */
void moe_uniform(moe_source source, uint64_t first, ptrdiff_t count, double *out /* count */);

/* Entries first .. first+count-1 of the source's standard normals. */
void moe_normal(moe_source source, uint64_t first, ptrdiff_t count, double *out /* count */);

/* ---- designs ------------------------------------------------------------------------------------------- */

/* expert[m-1] such that at every prefix m the count of each expert is within 1 of m p_i; sum p_i = 1 to rounding. */
size_t moe_balance_workspace(ptrdiff_t k);
moe_status moe_balance(const double *probabilities /* k */, ptrdiff_t k, ptrdiff_t n, ptrdiff_t *expert /* n */,
                       double *workspace, const moe_interrupt *interrupt);

/* covariance[perm, perm] = factor' factor, factor upper triangular with `rank` non-zero rows. */
size_t moe_psd_factor_workspace(ptrdiff_t m);
moe_status moe_psd_factor(const double *covariance /* m x m */, ptrdiff_t m, double *factor /* m x m */,
                          ptrdiff_t *permutation /* m */, ptrdiff_t *rank, double *workspace,
                          const moe_interrupt *interrupt);

/* The blocks' columns: block i starts at offset[i] and has size[i] columns; its square matrices, stored one
 * after the other, start at square[i]. */
typedef struct {
    ptrdiff_t k, d, largest;
    const ptrdiff_t *size;   /* k */
    const ptrdiff_t *offset; /* k + 1 */
    const ptrdiff_t *square; /* k + 1 */
} moe_blocks;

/* Rows first_row .. first_row+n-1 of a noisy block design and its exact response. */
size_t moe_design_workspace(const moe_blocks *blocks);
moe_status moe_design(const moe_blocks *blocks, const double *factors /* sum d_i^2 */,
                      const ptrdiff_t *permutations /* d */, const double *coef /* d */, double noise_deviation,
                      moe_source signal, moe_source noise, const ptrdiff_t *expert /* n */, uint64_t first_row,
                      ptrdiff_t n, double *features /* n x d */, double *response /* n */, double *workspace,
                      const moe_interrupt *interrupt);

/* A matrix with the given singular values and uniformly (Haar) distributed singular vectors. */
size_t moe_spectral_workspace(ptrdiff_t n, ptrdiff_t d);
moe_status moe_spectral(const double *singular_values /* min(n, d) */, ptrdiff_t n, ptrdiff_t d, moe_source left,
                        moe_source right, double *out /* n x d */, double *workspace,
                        const moe_interrupt *interrupt);

/* ---- rows by expert ------------------------------------------------------------------------------------ */

/* order[start[i]] .. order[start[i+1]-1]: the rows of expert i, in their own order. */
void moe_bucket(const ptrdiff_t *expert /* n */, ptrdiff_t n, ptrdiff_t k, ptrdiff_t *order /* n */,
                ptrdiff_t *start /* k + 1 */);

/* out[r, :] = X[order[r], column : column+width]. */
void moe_pack(const double *X, ptrdiff_t ld, const ptrdiff_t *order /* n */, ptrdiff_t n, ptrdiff_t column,
              ptrdiff_t width, double *out /* n x width */);

/* ---- least squares ------------------------------------------------------------------------------------- */

typedef enum { MOE_AUTO = 0, MOE_NORMAL, MOE_ORTHOGONAL, MOE_SVD } moe_method;

/* A minimum-norm fit. rcond < 0 stands for eps * max(n, d). */
size_t moe_lstsq_workspace(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, moe_method method);
moe_status moe_lstsq(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m,
                     double rcond, moe_method method, double *coef /* d x m */, ptrdiff_t *rank, ptrdiff_t *used,
                     double *workspace, const moe_interrupt *interrupt);

/* The k experts' fits, each on its own rows and columns. */
size_t moe_block_lstsq_workspace(const moe_blocks *blocks, const ptrdiff_t *counts /* k */, ptrdiff_t m,
                                 moe_method method);
moe_status moe_block_lstsq(const double *X /* n x d */, const double *Y /* n x m */, const moe_blocks *blocks,
                           const ptrdiff_t *order /* n */, const ptrdiff_t *start /* k + 1 */, ptrdiff_t m,
                           double rcond, moe_method method, double *coef /* d x m */, ptrdiff_t *rank /* k */,
                           ptrdiff_t *used /* k */, double *workspace, const moe_interrupt *interrupt);

/* The minimum-norm fits of the first sizes[0] < sizes[1] < ... rows. */
size_t moe_curve_workspace(ptrdiff_t n, ptrdiff_t d, ptrdiff_t n_sizes);
moe_status moe_curve(const double *X /* n x d */, const double *y /* n */, ptrdiff_t d,
                     const ptrdiff_t *sizes /* n_sizes */, ptrdiff_t n_sizes, double *coef /* n_sizes x d */,
                     double *workspace, const moe_interrupt *interrupt);

/* The k experts' fits side by side, for each n; zeros for an expert without rows. */
size_t moe_block_curve_workspace(const moe_blocks *blocks, const ptrdiff_t *counts /* k */, ptrdiff_t n_sizes);
moe_status moe_block_curve(const double *X /* n x d */, const double *y /* n */, const moe_blocks *blocks,
                           const ptrdiff_t *order /* n */, const ptrdiff_t *start /* k + 1 */,
                           const ptrdiff_t *sizes /* n_sizes */, ptrdiff_t n_sizes, double *coef /* n_sizes x d */,
                           double *workspace, const moe_interrupt *interrupt);

/* ---- gradient descent ---------------------------------------------------------------------------------- */

/* gradient = X'(X coef - y); returns ||X coef - y||^2 through residual2 and leaves X coef - y in the workspace.
 * Asks for an interrupt between stretches of rows, not before the first. */
size_t moe_gradient_workspace(ptrdiff_t n, ptrdiff_t d);
moe_status moe_gradient(const double *X /* n x d */, const double *y /* n */, const double *coef /* d */, ptrdiff_t n,
                        ptrdiff_t d, double *gradient /* d */, double *residual2, double *workspace,
                        const moe_interrupt *interrupt);

/* At most `steps` steps of coef <- coef - step_size * gradient, as long as the gradient's norm is above `bound`
 * (negative: always); `done` of them were made. residual_norms[i] = ||X coef - y|| after i steps. */
size_t moe_descent_workspace(ptrdiff_t n, ptrdiff_t d);
moe_status moe_descent(const double *X /* n x d */, const double *y /* n */, ptrdiff_t n, ptrdiff_t d,
                       ptrdiff_t steps, double step_size, double bound, double *coef /* d */,
                       double *residual_norms /* steps + 1 */, ptrdiff_t *done, double *gradient_norm,
                       double *workspace, const moe_interrupt *interrupt);

/* The Gram matrix of the shorter side, s = min(n, d), in tridiagonal form: XX' or X'X = Q T Q', with the diagonal of T
 * and s - 1 entries beside it, and Q as reflections. */
size_t moe_tridiagonal_workspace(ptrdiff_t n, ptrdiff_t d);
moe_status moe_tridiagonal(const double *X /* n x d */, ptrdiff_t n, ptrdiff_t d, double *reflectors /* s x s */,
                           double *diagonal /* s */, double *off_diagonal /* s */, double *scales /* s */,
                           double *workspace, const moe_interrupt *interrupt);

/* The steps of moe_descent in that form. It makes no more of them where their result does not agree with X, and where
 * the gradient's norm comes near to `bound`. */
size_t moe_reduced_descent_workspace(ptrdiff_t n, ptrdiff_t d);
moe_status moe_reduced_descent(const double *X /* n x d */, const double *y /* n */, ptrdiff_t n, ptrdiff_t d,
                               const double *reflectors /* s x s */, const double *diagonal /* s */,
                               const double *off_diagonal /* s */, const double *scales /* s */, ptrdiff_t steps,
                               double step_size, double bound, double *coef /* d */,
                               double *residual_norms /* steps + 1 */, ptrdiff_t *done, double *workspace,
                               const moe_interrupt *interrupt);

/* ---- routing ------------------------------------------------------------------------------------------- */

/* C_i = X_i' X_i / n_i from own rows and columns; off_block: sum of squares of all entries outside own blocks. */
size_t moe_covariance_workspace(const moe_blocks *blocks);
moe_status moe_covariance(const double *X /* n x d */, ptrdiff_t n, const moe_blocks *blocks,
                          const ptrdiff_t *expert /* n */, const ptrdiff_t *counts /* k, of rows */,
                          double *covariances /* sum d_i^2 */, double *off_block, double *workspace,
                          const moe_interrupt *interrupt);

/* inverse_factors: the lower L_i^-1 with C_i = L_i L_i'; log_determinants: log |C_i|.
 * On MOE_NOT_POSITIVE_DEFINITE, `failed` is the expert. */
moe_status moe_qda_factor(const double *covariances /* sum d_i^2 */, const moe_blocks *blocks,
                          double *inverse_factors /* sum d_i^2 */, double *log_determinants /* k */,
                          ptrdiff_t *failed, const moe_interrupt *interrupt);

/* What turns a row into the experts' scores. */
typedef struct {
    const double *inverse_factors; /* sum d_i^2 */
    const double *constants;       /* k */
    double noise_precision;
} moe_gate;

/* scores[r, i] = constants[i] - 1/2 ||L_i^-1 x_i||^2 + 1/2 noise_precision ||x_i||^2, x_i block i of row r. */
size_t moe_qda_scores_workspace(const moe_blocks *blocks);
moe_status moe_qda_scores(const double *X /* n x d */, ptrdiff_t n, const moe_blocks *blocks, const moe_gate *gate,
                          double *scores /* n x k */, double *workspace, const moe_interrupt *interrupt);

/* ---- mixtures of linear experts ------------------------------------------------------------------------ */

/* Expert i predicts mean_ij = intercepts[i, j] + x_i' (row j of its coef), with errors of variance spreads[i, j]. */
typedef struct {
    ptrdiff_t m;
    const double *coef;       /* m d: the experts' m x d_i, one after the other */
    const double *intercepts; /* k x m */
    const double *spreads;    /* k x m, or NULL */
} moe_experts;

/* response_j = sum_i q_i mean_ij with q the softmax of the row's scores, or with `hard` the mean of the expert of the
 * largest score, the first of equals; variance_j = sum_i q_i (spreads_ij + (mean_ij - response_j)^2), without spreads
 * not computed. A row with a score that is not finite has a response of NaN. A row's bits depend on nothing else. */
size_t moe_mixture_predict_workspace(const moe_blocks *blocks, ptrdiff_t m);
moe_status moe_mixture_predict(const double *X /* n x d */, ptrdiff_t n, const moe_blocks *blocks, const moe_gate *gate,
                               const moe_experts *experts, int hard, double *response /* n x m */,
                               double *variance /* n x m */, double *workspace, const moe_interrupt *interrupt);

/* The same from given q. An expert of weight 0 is not evaluated; a weight that is not finite travels. */
size_t moe_combine_experts_workspace(const moe_blocks *blocks, ptrdiff_t m);
moe_status moe_combine_experts(const double *X /* n x d */, ptrdiff_t n, const moe_blocks *blocks,
                               const double *posterior /* n x k */, const moe_experts *experts, int hard,
                               double *response /* n x m */, double *variance /* n x m */, double *workspace,
                               const moe_interrupt *interrupt);

/* moments: sum_r posterior[r, i] z z' with z = [x_i, 1, Y_r], one expert's after the other, for weights that are not
 * negative. */
size_t moe_moments_size(const moe_blocks *blocks, ptrdiff_t m);
size_t moe_weighted_moments_workspace(const moe_blocks *blocks, ptrdiff_t m);
moe_status moe_weighted_moments(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n, ptrdiff_t m,
                                const moe_blocks *blocks, const double *posterior /* n x k */,
                                double *moments /* sum (d_i + 1 + m)^2 */, double *workspace,
                                const moe_interrupt *interrupt);

/* One pass of expectation maximisation: posterior = softmax of h_i = score_i + log N(Y_r; mean_i, (F_i'F_i)^-1), F_i
 * lower triangular with a positive diagonal; its moments, and log_likelihood = sum_r log sum_i exp h_i. */
size_t moe_mixture_moments_workspace(const moe_blocks *blocks, ptrdiff_t m);
moe_status moe_mixture_moments(const double *X /* n x d */, const double *Y /* n x m */, ptrdiff_t n,
                               const moe_blocks *blocks, const moe_gate *gate, const moe_experts *experts,
                               const double *response_factors /* k x m x m */,
                               double *moments /* sum (d_i + 1 + m)^2 */, double *posterior /* n x k */,
                               double *log_likelihood, double *workspace, const moe_interrupt *interrupt);

#endif
