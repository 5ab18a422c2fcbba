/* Runs gradient descent on least squares many steps at a time, in the basis that makes the Gram matrix tridiagonal. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "blas.h"
#include "internal.h"

/* Let r = X b - y be the residual, g = X'r the gradient, t the step size. Descent moves
 *     r <- (I - t XX') r    and    g <- (I - t X'X) g,
 * the shorter of them, v, without X: with the Gram matrix Q T Q', T tridiagonal, u = Q'v moves by u <- u - t T u. After
 * some steps b has moved by -t times the sum of all g, that is by -t X' Q (sum of u) or by -t Q (sum of u).
 *
 * A step takes t (2 ||g||^2 - t ||Xg||^2) off ||r||^2. Hence the norms: where v = r, ||r|| = ||u|| and ||g||^2 = u'Tu;
 * where v = g, ||g|| = ||u||, ||Xg||^2 = u'Tu, and ||r||^2 is summed up from that end of the block where it is smaller,
 * without cancellation.
 *
 * A block of steps ends with r and g computed from b and X anew, so that rounding is corrected as it is by a direct
 * step; also once v has become much smaller, because its rounding has not. If they are not what the block has come to,
 * the block does not count, and the caller is left to make direct steps. */

static const double AGREEMENT = 1e-9; /* of what is computed anew with what was tracked, relative */
static const double ROUNDING = 64 * DBL_EPSILON; /* of X b - y, relative to ||X|| ||b|| + ||y|| */
static const double SHRINKAGE = 1e-4; /* of v, before a block ends */
static const double DOUBT = 1e-9; /* u'Tu below this part of tr(T) ||u||^2 has lost too many digits */
static const double NEARLY = 1 + 1e-5; /* times the square of the bound: where direct steps find out which is below */

enum { BLOCK_STEPS = 1000, STEP = 1 << 22, GEMV_STEP = 1 << 24 }; /* doubles between two checks for an interrupt */

/* Where descent is: the coefficients, and what follows from them. */
typedef struct {
    double *coef, *gradient, *residual; /* d, d, n */
    double residual2;
} point;

typedef struct {
    const double *X, *y, *reflectors, *scales;
    double *diagonal, *off_diagonal; /* of t T; off_diagonal[i] is left of the diagonal in row i, zero at both ends */
    ptrdiff_t n, d, s;
    double step_size, bound, frobenius, response;
    const moe_interrupt *interrupt;
} problem;

/* A block of steps: u between two zeros, t T u, the sum of u; trace[i], i = 1 .., is what step i leaves behind:
 * ||u||^2 where v = r, what it took off ||r||^2 where v = g. */
typedef struct {
    double *u, *product, *sum, *trace;
    ptrdiff_t steps;
    int near_bound, shrunk;
} block;

/* Whether v = r. */
static int follows_residual(const problem *p)
{
    return p->n < p->d;
}

static const double *followed(const problem *p, const point *at)
{
    return follows_residual(p) ? at->residual : at->gradient;
}

static double norm(const double *x, ptrdiff_t count)
{
    return blas_dnrm2((int)count, x, 1);
}

static moe_status evaluate(const problem *p, point *at)
{
    return moe_gradient(p->X, p->y, at->coef, p->n, p->d, at->gradient, &at->residual2, at->residual, p->interrupt);
}

/* product = t T u; returns u' t T u. */
static double multiply(const problem *p, block *b)
{
    for (ptrdiff_t i = 0; i < p->s; i++)
        b->product[i] = p->diagonal[i] * b->u[i] +
                        (p->off_diagonal[i] * b->u[i - 1] + p->off_diagonal[i + 1] * b->u[i + 1]);
    return blas_ddot((int)p->s, b->u, 1, b->product, 1);
}

/* Whether the gradient may be within the bound; if v = r, ||g||^2 may be too inexact to tell. */
static int may_be_within(const problem *p, double square, double curvature)
{
    const double slope2 = follows_residual(p) ? curvature / p->step_size : square;
    const double trace = p->step_size * p->frobenius * p->frobenius;
    const int is_in_doubt = follows_residual(p) && curvature <= DOUBT * trace * square;
    return p->bound >= 0.0 && (is_in_doubt || slope2 <= NEARLY * p->bound * p->bound);
}

/* Makes at most `most` steps from u. */
static moe_status make_steps(const problem *p, block *b, ptrdiff_t most, int may_shrink)
{
    const ptrdiff_t check = moe_step(STEP, p->s);
    double first = 0.0;
    memset(b->sum, 0, (size_t)p->s * sizeof *b->sum);
    b->near_bound = b->shrunk = 0;
    for (b->steps = 0;; b->steps++) {
        const double square = blas_ddot((int)p->s, b->u, 1, b->u, 1), curvature = multiply(p, b);
        if (b->steps == 0)
            first = square;
        else if (follows_residual(p))
            b->trace[b->steps] = square;
        b->near_bound = may_be_within(p, square, curvature);
        b->shrunk = may_shrink && square < SHRINKAGE * SHRINKAGE * first;
        if (b->steps == most || b->near_bound || b->shrunk || !isfinite(square + curvature))
            return MOE_OK;
        if (b->steps % check == 0 && moe_stop(p->interrupt))
            return MOE_INTERRUPTED;
        if (!follows_residual(p))
            b->trace[b->steps + 1] = p->step_size * (2.0 * square - curvature);
        for (ptrdiff_t i = 0; i < p->s; i++) {
            b->sum[i] += b->u[i];
            b->u[i] -= b->product[i];
        }
    }
}

/* there->coef = here->coef - t X' v or - t v, v a sum over the steps */
static moe_status move(const problem *p, const point *here, const double *v, point *there)
{
    const ptrdiff_t panel = moe_step(GEMV_STEP, p->d);
    memcpy(there->coef, here->coef, (size_t)p->d * sizeof *there->coef);
    if (!follows_residual(p)) {
        blas_daxpy((int)p->d, -p->step_size, v, 1, there->coef, 1);
        return MOE_OK;
    }
    for (ptrdiff_t row = 0; row < p->n; row += panel) {
        if (moe_stop(p->interrupt))
            return MOE_INTERRUPTED;
        blas_dgemv(CblasRowMajor, CblasTrans, (int)moe_min(panel, p->n - row), (int)p->d, -p->step_size,
                   p->X + row * p->d, (int)p->d, v + row, 1, 1.0, there->coef, 1);
    }
    return MOE_OK;
}

/* ||r|| of each step where v = r; `error` is how far the true r has come off the tracked one, by rounding. */
static void norms_from_squares(block *b, double error)
{
    for (ptrdiff_t i = 1; i <= b->steps; i++)
        b->trace[i] = sqrt(b->trace[i] + error * error);
}

/* ||r|| of each step where v = g: from the end back if the steps lose, from the start on if they gain; 0 if the sum
 * does not come out at the other end, or cancels on the way. */
static int norms_from_losses(block *b, double start2, double end2, double rounding)
{
    double lost = 0.0;
    for (ptrdiff_t i = 1; i <= b->steps; i++)
        lost += b->trace[i];
    const int backward = lost >= 0.0;
    const double from = backward ? end2 : start2, to = backward ? start2 : end2, larger = fmax(start2, end2);
    double square = from, smallest = from;
    for (ptrdiff_t k = 0; k < b->steps; k++) {
        const ptrdiff_t i = backward ? b->steps - k : k + 1;
        const double loss = b->trace[i], before = square;
        square += backward ? loss : -loss;
        b->trace[i] = sqrt(backward ? before : square);
        smallest = fmin(smallest, square);
    }
    return smallest >= 0.25 * from &&
           fabs(square - to) <= AGREEMENT * larger + rounding * (2.0 * sqrt(larger) + rounding);
}

/* Whether v, computed anew, is what the steps came to, which is lost; if so turns the trace into norms. */
static int accept(const problem *p, block *b, const point *here, const point *there, double *tracked)
{
    const double *actual = followed(p, there);
    const double reach = fmax(norm(here->coef, p->d), norm(there->coef, p->d));
    const double rounding = ROUNDING * (p->frobenius * reach + p->response);
    blas_daxpy((int)p->s, -1.0, actual, 1, tracked, 1);
    const double error = norm(tracked, p->s);
    if (!(error <= AGREEMENT * norm(actual, p->s) + rounding * (follows_residual(p) ? 1.0 : p->frobenius)))
        return 0;
    if (!follows_residual(p))
        return norms_from_losses(b, here->residual2, there->residual2, rounding);
    norms_from_squares(b, error);
    return 1;
}

/* From here to there; b->steps is 0 if no step was made that counts. `may_shrink`: whether the block may end because v
 * has become small; the next may not where only the tracked v had, because the true one is rounding. */
static moe_status run_block(const problem *p, block *b, const point *here, point *there, ptrdiff_t most,
                            int *may_shrink)
{
    memcpy(b->u, followed(p, here), (size_t)p->s * sizeof *b->u);
    moe_status status = moe_rotate(p->reflectors, p->scales, p->s, 1, b->u, p->interrupt);
    if (status == MOE_OK)
        status = make_steps(p, b, moe_min(most, BLOCK_STEPS), *may_shrink);
    if (status != MOE_OK || b->steps == 0)
        return status;
    status = moe_rotate(p->reflectors, p->scales, p->s, 0, b->sum, p->interrupt);
    if (status == MOE_OK)
        status = moe_rotate(p->reflectors, p->scales, p->s, 0, b->u, p->interrupt);
    if (status == MOE_OK)
        status = move(p, here, b->sum, there);
    if (status == MOE_OK)
        status = evaluate(p, there);
    if (status != MOE_OK)
        return status;
    if (b->shrunk && norm(followed(p, there), p->s) > 2.0 * norm(b->u, p->s))
        *may_shrink = 0;
    if (accept(p, b, here, there, b->u))
        b->trace[b->steps] = sqrt(there->residual2);
    else
        b->steps = 0;
    return MOE_OK;
}

/* t T with the off-diagonal between two zeros. */
static void scale(problem *p, const double *diagonal, const double *off_diagonal)
{
    double trace = 0.0;
    for (ptrdiff_t i = 0; i < p->s; i++) {
        trace += diagonal[i];
        p->diagonal[i] = p->step_size * diagonal[i];
        p->off_diagonal[i] = i == 0 ? 0.0 : p->step_size * off_diagonal[i - 1];
    }
    p->off_diagonal[p->s] = 0.0;
    p->frobenius = sqrt(trace);
}

size_t moe_reduced_descent_workspace(ptrdiff_t n, ptrdiff_t d)
{
    const size_t points = moe_plus(moe_times(3, (size_t)d), moe_times(2, (size_t)n));
    return moe_plus(points, moe_plus(moe_times(5, (size_t)moe_min(n, d)), 3));
}

moe_status moe_reduced_descent(const double *X, const double *y, ptrdiff_t n, ptrdiff_t d, const double *reflectors,
                               const double *diagonal, const double *off_diagonal, const double *scales,
                               ptrdiff_t steps, double step_size, double bound, double *coef, double *residual_norms,
                               ptrdiff_t *done, double *workspace, const moe_interrupt *interrupt)
{
    const ptrdiff_t s = moe_min(n, d);
    point here = {.coef = coef, .gradient = workspace, .residual = workspace + d};
    point there = {.coef = here.residual + n, .gradient = here.residual + n + d, .residual = here.residual + n + 2 * d};
    problem p = {.X = X, .y = y, .reflectors = reflectors, .scales = scales, .n = n, .d = d, .s = s,
                 .step_size = step_size, .bound = bound, .interrupt = interrupt,
                 .response = norm(y, n)};
    block b = {.u = there.residual + n + 1, .product = there.residual + n + s + 2};
    b.sum = b.product + s;
    p.diagonal = b.sum + s;
    p.off_diagonal = p.diagonal + s;
    b.u[-1] = b.u[s] = 0.0;
    scale(&p, diagonal, off_diagonal);

    int may_shrink = 1;
    moe_status status = evaluate(&p, &here);
    residual_norms[0] = sqrt(here.residual2);
    for (*done = 0; status == MOE_OK && *done < steps && isfinite(here.residual2);) {
        b.trace = residual_norms + *done;
        status = run_block(&p, &b, &here, &there, steps - *done, &may_shrink);
        if (status != MOE_OK || b.steps == 0)
            break;
        *done += b.steps;
        const point old = here;
        here = there;
        there = old;
        if (b.near_bound)
            break;
    }
    if (here.coef != coef)
        memcpy(coef, here.coef, (size_t)d * sizeof *coef);
    return status;
}
