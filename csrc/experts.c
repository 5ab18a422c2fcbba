/* Fits the experts one by one, each on its own rows and columns. */
#include <string.h>

#include "internal.h"

void moe_bucket(const ptrdiff_t *expert, ptrdiff_t n, ptrdiff_t k, ptrdiff_t *order, ptrdiff_t *start)
{
    memset(start, 0, (size_t)(k + 1) * sizeof *start);
    for (ptrdiff_t row = 0; row < n; row++)
        start[expert[row] + 1]++;
    for (ptrdiff_t i = 0; i < k; i++)
        start[i + 1] += start[i];
    for (ptrdiff_t row = 0; row < n; row++) /* start[i] runs to the end of bucket i ... */
        order[start[expert[row]]++] = row;
    memmove(start + 1, start, (size_t)k * sizeof *start); /* ... which is the start of the next */
    start[0] = 0;
}

void moe_pack(const double *X, ptrdiff_t ld, const ptrdiff_t *order, ptrdiff_t n, ptrdiff_t column, ptrdiff_t width,
              double *out)
{
    for (ptrdiff_t row = 0; row < n; row++)
        memcpy(out + row * width, X + order[row] * ld + column, (size_t)width * sizeof *out);
}

/* The largest packed [X_i Y_i]. */
static size_t largest_pack(const moe_blocks *blocks, const ptrdiff_t *counts, ptrdiff_t m)
{
    size_t size = 0;
    for (ptrdiff_t i = 0; i < blocks->k; i++)
        size = moe_larger(size, moe_times((size_t)counts[i], moe_plus((size_t)blocks->size[i], (size_t)m)));
    return size;
}

static int is_narrow(ptrdiff_t rows, ptrdiff_t width, ptrdiff_t m)
{
    return width <= MOE_NARROW && rows >= width && m == 1;
}

size_t moe_block_lstsq_workspace(const moe_blocks *blocks, const ptrdiff_t *counts, ptrdiff_t m, moe_method method)
{
    size_t work = 0, narrow = 0;
    for (ptrdiff_t i = 0; i < blocks->k; i++) {
        const ptrdiff_t rows = counts[i], width = blocks->size[i];
        work = moe_larger(work, moe_lstsq_workspace(rows, width, m, method));
        if (is_narrow(rows, width, m))
            narrow = moe_larger(narrow, moe_narrow_workspace(rows, width));
    }
    return moe_larger(moe_plus(largest_pack(blocks, counts, m), work), narrow);
}

typedef struct {
    const double *X, *Y;
    const moe_blocks *blocks;
    const ptrdiff_t *order, *start; /* rows by expert: from start[i] on */
    ptrdiff_t m;
    double rcond;
    moe_method method;
    double *workspace;
    const moe_interrupt *interrupt;
} problem;

static moe_part expert_part(const problem *p, ptrdiff_t i)
{
    const double *X = p->X + p->blocks->offset[i];
    return (moe_part){X, p->blocks->d, p->Y, p->order + p->start[i], p->start[i + 1] - p->start[i], p->blocks->size[i]};
}

static moe_status fit_expert(const problem *p, ptrdiff_t i, double *coef, ptrdiff_t *rank, ptrdiff_t *used)
{
    const moe_part part = expert_part(p, i);
    const ptrdiff_t rows = part.n, d = part.d, m = p->m;
    const double required = moe_required_rcond(p->method, p->rcond);
    if (moe_stop(p->interrupt))
        return MOE_INTERRUPTED;
    if (is_narrow(rows, d, m) && required <= 1.0) {
        const moe_status status = moe_narrow(&part, required, coef, p->workspace, p->interrupt);
        *rank = d;
        *used = MOE_NORMAL;
        if (status != MOE_ILL_CONDITIONED)
            return status;
    }
    double *X = p->workspace, *Y = X + rows * d, *work = Y + rows * m;
    moe_pack(p->X, p->blocks->d, part.rows, rows, p->blocks->offset[i], d, X);
    moe_pack(p->Y, m, part.rows, rows, 0, m, Y);
    return moe_lstsq(X, Y, rows, d, m, p->rcond, p->method, coef, rank, used, work, p->interrupt);
}

moe_status moe_block_lstsq(const double *X, const double *Y, const moe_blocks *blocks, const ptrdiff_t *order,
                           const ptrdiff_t *start, ptrdiff_t m, double rcond, moe_method method, double *coef,
                           ptrdiff_t *rank, ptrdiff_t *used, double *workspace, const moe_interrupt *interrupt)
{
    const problem p = {X, Y, blocks, order, start, m, rcond, method, workspace, interrupt};
    moe_status status = MOE_OK;
    for (ptrdiff_t i = 0; i < blocks->k && status == MOE_OK; i++)
        status = fit_expert(&p, i, coef + blocks->offset[i] * m, rank + i, used + i);
    return status;
}

size_t moe_block_curve_workspace(const moe_blocks *blocks, const ptrdiff_t *counts, ptrdiff_t n_sizes)
{
    size_t work = 0;
    for (ptrdiff_t i = 0; i < blocks->k; i++)
        if (counts[i] > 0)
            work = moe_larger(work, moe_curve_workspace(counts[i], blocks->size[i], n_sizes));
    /* beside the pack: distinct counts, and their fits */
    const size_t fits = moe_times((size_t)n_sizes, moe_plus((size_t)blocks->largest, 1));
    return moe_plus(moe_plus(largest_pack(blocks, counts, 1), fits), work);
}

/* How many of the expert's rows are among the first `size` rows. */
static ptrdiff_t count_below(const ptrdiff_t *order, ptrdiff_t rows, ptrdiff_t from, ptrdiff_t size)
{
    while (from < rows && order[from] < size)
        from++;
    return from;
}

/* The expert's row counts at each size, without zeros and repeats. */
static ptrdiff_t distinct_counts(const ptrdiff_t *order, ptrdiff_t rows, const ptrdiff_t *sizes, ptrdiff_t n_sizes,
                                 ptrdiff_t *counts)
{
    ptrdiff_t distinct = 0, count = 0;
    for (ptrdiff_t s = 0; s < n_sizes; s++) {
        const ptrdiff_t before = count;
        count = count_below(order, rows, before, sizes[s]);
        if (count > before)
            counts[distinct++] = count;
    }
    return distinct;
}

/* Copies each size's fit to its place; an expert without rows so far keeps the zeros. */
static void spread(const double *fits, ptrdiff_t width, const ptrdiff_t *order, ptrdiff_t rows,
                   const ptrdiff_t *sizes, ptrdiff_t n_sizes, double *coef, ptrdiff_t ld)
{
    ptrdiff_t count = 0, distinct = 0;
    for (ptrdiff_t s = 0; s < n_sizes; s++) {
        const ptrdiff_t before = count;
        count = count_below(order, rows, before, sizes[s]);
        distinct += count > before;
        if (count > 0)
            memcpy(coef + s * ld, fits + (distinct - 1) * width, (size_t)width * sizeof *fits);
    }
}

moe_status moe_block_curve(const double *X, const double *y, const moe_blocks *blocks, const ptrdiff_t *order,
                           const ptrdiff_t *start, const ptrdiff_t *sizes, ptrdiff_t n_sizes, double *coef,
                           double *workspace, const moe_interrupt *interrupt)
{
    ptrdiff_t *counts = (ptrdiff_t *)workspace;
    double *fits = workspace + n_sizes;
    moe_status status = MOE_OK;
    memset(coef, 0, (size_t)(n_sizes * blocks->d) * sizeof *coef);
    for (ptrdiff_t i = 0; i < blocks->k && status == MOE_OK; i++) {
        const ptrdiff_t rows = start[i + 1] - start[i], width = blocks->size[i], column = blocks->offset[i];
        const ptrdiff_t *own = order + start[i];
        double *own_X = fits + n_sizes * width, *own_y = own_X + rows * width, *work = own_y + rows;
        const ptrdiff_t distinct = distinct_counts(own, rows, sizes, n_sizes, counts);
        if (distinct == 0)
            continue;
        moe_pack(X, blocks->d, own, rows, column, width, own_X);
        moe_pack(y, 1, own, rows, 0, 1, own_y);
        status = moe_curve(own_X, own_y, width, counts, distinct, fits, work, interrupt);
        if (status == MOE_OK)
            spread(fits, width, own, rows, sizes, n_sizes, coef + column, blocks->d);
    }
    return status;
}
