/* Reflects the columns or the rows of a matrix, each sum in its natural order: the bits are the same everywhere. */
#include "lanes.h"

enum { REFLECTED_ROWS = 4 };

/* A[j:, j:last] <- (I - scale v v') A[j:, j:last]. */
static void reflect_rows(double *A, ptrdiff_t n, ptrdiff_t d, ptrdiff_t j, ptrdiff_t last, const double *v,
                         double scale, double *product)
{
    for (ptrdiff_t c = j; c < last; c++)
        product[c] = 0.0;
    for (ptrdiff_t r = j; r < n; r++)
        for (ptrdiff_t c = j; c < last; c++)
            product[c] += v[r - j] * A[r * d + c];
    for (ptrdiff_t r = j; r < n; r++) {
        const double multiple = scale * v[r - j];
        for (ptrdiff_t c = j; c < last; c++)
            A[r * d + c] -= multiple * product[c];
    }
}

/* A[:, j:] <- A[:, j:] (I - scale v v') for a few rows, side by side: in a row's sum each addition waits for the one
 * before. */
static inline void reflect_few_columns(double *A, ptrdiff_t rows, ptrdiff_t d, ptrdiff_t j, const double *v,
                                       double scale)
{
    double product[REFLECTED_ROWS] = {0.0};
    for (ptrdiff_t c = j; c < d; c++)
        for (ptrdiff_t r = 0; r < rows; r++)
            product[r] += A[r * d + c] * v[c - j];
    for (ptrdiff_t r = 0; r < rows; r++) {
        const double multiple = product[r] * scale;
        for (ptrdiff_t c = j; c < d; c++)
            A[r * d + c] -= multiple * v[c - j];
    }
}

/* A[:, j:] <- A[:, j:] (I - scale v v'). */
static void reflect_columns(double *A, ptrdiff_t n, ptrdiff_t d, ptrdiff_t j, const double *v, double scale)
{
    ptrdiff_t r = 0;
    for (; r + REFLECTED_ROWS <= n; r += REFLECTED_ROWS)
        reflect_few_columns(A + r * d, REFLECTED_ROWS, d, j, v, scale);
    for (; r < n; r++)
        reflect_few_columns(A + r * d, 1, d, j, v, scale);
}
