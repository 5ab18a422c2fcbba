/* Computes standard normals (Box-Muller) and uniforms from Philox bits, with the same bits on every CPU. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* Only +, -, *, / and sqrt are used, which IEEE 754 defines to the last bit; the build forbids the compiler to
 * fuse or reorder them. Block b of a source yields its entries 2b and 2b+1. */

enum { TILE = 64 }; /* blocks at a time; a multiple of the lanes in philox.c */

static inline double as_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint64_t as_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The top 52 bits as a fraction in [1, 2). */
static inline double one_to_two(uint64_t word)
{
    return as_double(word >> 12 | 0x3FF0000000000000u);
}

/* log u for a normal u in (0, 1].
 * u = 2^e m with m in [sqrt(1/2), sqrt 2); s = (m-1)/(m+1); log m = 2 s + s z(...) with z = s^2, by a minimax
 * polynomial of degree 7 in z, summed so that the leading term m - 1 is added last. Error below 1 ulp. */
static inline double log_unit(double u)
{
    const double P1 = 6.666666666666735130e-01, P2 = 3.999999999940941908e-01, P3 = 2.857142874366239149e-01,
                 P4 = 2.222219843214978396e-01, P5 = 1.818357216161805012e-01, P6 = 1.531383769920937332e-01,
                 P7 = 1.479819860511658591e-01;
    const double LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;
    const uint64_t HALF_ROOT = 0x3FE6A09E00000000u, ONE = 0x3FF0000000000000u;

    const uint64_t shifted = as_bits(u) + (ONE - HALF_ROOT);
    const double e = (double)((int32_t)(shifted >> 52) - 1023);
    const double f = as_double((shifted & 0x000FFFFFFFFFFFFFu) + HALF_ROOT) - 1.0;
    const double s = f / (2.0 + f);
    const double z = s * s;
    const double series = z * (P1 + z * (P2 + z * (P3 + z * (P4 + z * (P5 + z * (P6 + z * P7))))));
    const double half_square = 0.5 * f * f;
    return e * LN2_HIGH - ((half_square - (s * (half_square + series) + e * LN2_LOW)) - f);
}

/* sin x and cos x for |x| <= pi/4, by minimax polynomials in x^2. */
static inline double sin_octant(double x)
{
    const double S1 = -1.66666666666666324348e-01, S2 = 8.33333333332248946124e-03, S3 = -1.98412698298579493134e-04,
                 S4 = 2.75573137070700676789e-06, S5 = -2.50507602534068634195e-08, S6 = 1.58969099521155010221e-10;
    const double z = x * x;
    return x + x * z * (S1 + z * (S2 + z * (S3 + z * (S4 + z * (S5 + z * S6)))));
}

static inline double cos_octant(double x)
{
    const double C1 = 4.16666666666666019037e-02, C2 = -1.38888888888741095749e-03, C3 = 2.48015872894767294178e-05,
                 C4 = -2.75573143513906633035e-07, C5 = 2.08757232129817482790e-09, C6 = -1.13596475577881948265e-11;
    const double z = x * x;
    const double half = 0.5 * z, w = 1.0 - half;
    return w + ((1.0 - w - half) + z * z * (C1 + z * (C2 + z * (C3 + z * (C4 + z * (C5 + z * C6))))));
}

/* The two normals of each block: radius sqrt(-2 log u), angle uniform on a symmetric grid of 2^54 points.
 * The angle is q pi/2 + x with the quadrant q from the top two bits and x in (-pi/4, pi/4) from the next 52. */
static void transform(const uint64_t *high, const uint64_t *low, ptrdiff_t blocks, double *out /* 2 blocks */)
{
    const double HALF_PI = 1.57079632679489661923;
    for (ptrdiff_t b = 0; b < blocks; b++) {
        const double radius = sqrt(-2.0 * log_unit(2.0 - one_to_two(high[b])));
        const double turn = (one_to_two(low[b] << 2) - 1.5) + 0x1p-53;
        const double x = HALF_PI * turn;
        const double s = sin_octant(x), c = cos_octant(x);
        const uint64_t swap = 0u - (low[b] >> 62 & 1), sign = low[b] & 0x8000000000000000u;
        const uint64_t first = (as_bits(c) & ~swap) | (as_bits(-s) & swap);
        const uint64_t second = (as_bits(s) & ~swap) | (as_bits(c) & swap);
        out[2 * b] = radius * as_double(first ^ sign);
        out[2 * b + 1] = radius * as_double(second ^ sign);
    }
}

void moe_normal(moe_source source, uint64_t first, ptrdiff_t count, double *out)
{
    uint64_t high[TILE], low[TILE];
    double tile[2 * TILE];
    for (ptrdiff_t done = 0; done < count;) {
        const uint64_t index = first + (uint64_t)done;
        const ptrdiff_t skip = (ptrdiff_t)(index & 1);
        const ptrdiff_t taken = moe_min(count - done, 2 * TILE - skip);
        const ptrdiff_t blocks = (skip + taken + 1) / 2;
        moe_philox_blocks(source, index / 2, blocks, high, low);
        transform(high, low, blocks, tile);
        memcpy(out + done, tile + skip, (size_t)taken * sizeof *out);
        done += taken;
    }
}

void moe_uniform(moe_source source, uint64_t first, ptrdiff_t count, double *out)
{
    uint64_t high[TILE], low[TILE];
    for (ptrdiff_t done = 0; done < count;) {
        const ptrdiff_t taken = moe_min(count - done, TILE);
        moe_philox_blocks(source, first + (uint64_t)done, taken, high, low);
        for (ptrdiff_t i = 0; i < taken; i++)
            out[done + i] = (double)(high[i] >> 11) * 0x1p-53;
        done += taken;
    }
}
