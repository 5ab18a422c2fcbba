/* Draws a matrix with given singular values and Haar-distributed singular vectors. */
#include <math.h>

#include "internal.h"

/* Stewart (1980): with v_j from a normal vector x_j of length n - j, the reflections H_0 H_1 ... applied to the
 * first columns of the identity, each column times the sign that makes it x_j / ||x_j|| at the start, are
 * uniformly distributed orthonormal columns. So  A = (H_0 ... H_{r-1}) D (G_{r-1} ... G_0)  from the diagonal D
 * of the singular values, innermost reflections first. */

size_t moe_spectral_workspace(ptrdiff_t n, ptrdiff_t d)
{
    return moe_plus((size_t)moe_max(n, d), (size_t)d);
}

/* v of the reflection I - scale v v' for a normal vector of the given length; returns the column's sign. */
static double reflector(moe_source source, uint64_t first, ptrdiff_t length, double *v, double *scale)
{
    double square = 0.0;
    moe_normal(source, first, length, v);
    for (ptrdiff_t i = 0; i < length; i++)
        square += v[i] * v[i];
    const double sign = v[0] < 0.0 ? -1.0 : 1.0, norm = sqrt(square);
    *scale = 1.0 / (square + norm * fabs(v[0])); /* 2 / v'v for the v below */
    v[0] += sign * norm;
    return -sign;
}

moe_status moe_spectral(const double *singular_values, ptrdiff_t n, ptrdiff_t d, moe_source left, moe_source right,
                        double *out, double *workspace, const moe_interrupt *interrupt)
{
    const moe_unit *unit = moe_in_use();
    const ptrdiff_t r = moe_min(n, d);
    double *v = workspace, *product = workspace + moe_max(n, d), scale;
    for (ptrdiff_t i = 0; i < n * d; i++)
        out[i] = 0.0;
    for (ptrdiff_t j = r - 1; j >= 0; j--) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        out[j * d + j] = singular_values[j] * reflector(left, (uint64_t)j * (uint64_t)n, n - j, v, &scale);
        unit->reflect_rows(out, n, d, j, r, v, scale, product);
    }
    for (ptrdiff_t j = r - 1; j >= 0; j--) {
        if (moe_stop(interrupt))
            return MOE_INTERRUPTED;
        const double sign = reflector(right, (uint64_t)j * (uint64_t)d, d - j, v, &scale);
        for (ptrdiff_t row = 0; row < n; row++)
            out[row * d + j] *= sign;
        unit->reflect_columns(out, n, d, j, v, scale);
    }
    return MOE_OK;
}
