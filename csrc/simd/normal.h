/* Computes standard normals from Philox bits (Box-Muller), with the same bits on every CPU. */
#ifndef MOE_SIMD_NORMAL_H
#define MOE_SIMD_NORMAL_H

#include <math.h>

#include "uniform.h"

/* Block b of a source yields its entries 2b and 2b+1:
 *   sqrt(-2 log u) cos t  and  sqrt(-2 log u) sin t,   u from the block's first word, the angle t from its second.
 * Only +, -, *, / and sqrt are used, which IEEE 754 defines to the last bit; the build forbids the compiler to
 * fuse or reorder them. A tile of blocks goes through each step before the next one, so that the CPU always finds
 * independent work: step by step a single vector would wait for its own results most of the time. */

/* u = 2^exponent (1 + f) with 1 + f in [sqrt(1/2), sqrt 2), for a normal u in (0, 1]; s = f / (2 + f). */
typedef struct {
    lanes exponent, f, s;
} reduced;

static inline reduced reduce(lanes u)
{
    const uint64_t ONE = 0x3FF0000000000000u, HALF_ROOT = 0x3FE6A09E00000000u, FRACTION = 0x000FFFFFFFFFFFFFu;
    const uint64_t TWO_52 = 0x4330000000000000u; /* 2^52, whose last bits count ones */
    const lanes_bits shifted = (lanes_bits)u + (ONE - HALF_ROOT);
    const lanes exponent = (lanes)(shifted >> 52 | TWO_52) - (0x1p52 + 1023.0);
    const lanes f = (lanes)((shifted & FRACTION) + HALF_ROOT) - 1.0;
    return (reduced){exponent, f, f / (2.0 + f)};
}

/* log u. With z = s^2, log(1 + f) = 2 s + s z(...) by a minimax polynomial of degree 7 in z, summed so that the
 * leading term f is added last. Error below 1 ulp. */
static inline lanes log_reduced(reduced u)
{
    const double P1 = 6.666666666666735130e-01, P2 = 3.999999999940941908e-01, P3 = 2.857142874366239149e-01,
                 P4 = 2.222219843214978396e-01, P5 = 1.818357216161805012e-01, P6 = 1.531383769920937332e-01,
                 P7 = 1.479819860511658591e-01;
    const double LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;
    const lanes e = u.exponent, f = u.f, s = u.s, z = s * s;
    const lanes series = z * (P1 + z * (P2 + z * (P3 + z * (P4 + z * (P5 + z * (P6 + z * P7))))));
    const lanes half_square = 0.5 * f * f;
    return e * LN2_HIGH - ((half_square - (s * (half_square + series) + e * LN2_LOW)) - f);
}

/* sin x and cos x for |x| <= pi/4, by minimax polynomials in x^2. */
static inline lanes sin_octant(lanes x)
{
    const double S1 = -1.66666666666666324348e-01, S2 = 8.33333333332248946124e-03, S3 = -1.98412698298579493134e-04,
                 S4 = 2.75573137070700676789e-06, S5 = -2.50507602534068634195e-08, S6 = 1.58969099521155010221e-10;
    const lanes z = x * x;
    return x + x * z * (S1 + z * (S2 + z * (S3 + z * (S4 + z * (S5 + z * S6)))));
}

static inline lanes cos_octant(lanes x)
{
    const double C1 = 4.16666666666666019037e-02, C2 = -1.38888888888741095749e-03, C3 = 2.48015872894767294178e-05,
                 C4 = -2.75573143513906633035e-07, C5 = 2.08757232129817482790e-09, C6 = -1.13596475577881948265e-11;
    const lanes z = x * x;
    const lanes half = 0.5 * z, w = 1.0 - half;
    return w + ((1.0 - w - half) + z * z * (C1 + z * (C2 + z * (C3 + z * (C4 + z * (C5 + z * C6))))));
}

static inline lanes square_root(lanes x)
{
    for (int lane = 0; lane < LANES; lane++)
        x[lane] = sqrt(x[lane]);
    return x;
}

/* a0 b0 a1 b1 ... */
static inline void store_alternating(double *out /* 2 LANES */, lanes a, lanes b)
{
#if LANES == 4 && defined(__AVX__) /* compilers take detours */
    const __m256d even = _mm256_unpacklo_pd(a, b), odd = _mm256_unpackhi_pd(a, b);
    store(out, _mm256_permute2f128_pd(even, odd, 0x20));
    store(out + LANES, _mm256_permute2f128_pd(even, odd, 0x31));
#else
    for (int lane = 0; lane < LANES; lane++) {
        out[2 * lane] = a[lane];
        out[2 * lane + 1] = b[lane];
    }
#endif
}

/* The angle is uniform on a symmetric grid of 2^54 points: q pi/2 + x with the quadrant q from the word's top two bits
 * and x in (-pi/4, pi/4) from the next 52. */
static inline lanes angle_in_quadrant(lanes_bits word)
{
    const double HALF_PI = 1.57079632679489661923;
    return HALF_PI * ((one_to_two(word << 2) - 1.5) + 0x1p-53);
}

/* Turns (cosine, sine) of x into those of the angle, times radius and scale: an odd quadrant exchanges the two and
 * turns the sign of what becomes the first, its upper bit turns both. */
static inline void turn(lanes cosine, lanes sine, lanes_bits word, lanes radius, double scale,
                        double *out /* 2 LANES */)
{
    const uint64_t SIGN = 0x8000000000000000u;
    const lanes_bits c = (lanes_bits)cosine, s = (lanes_bits)sine;
    const lanes_bits exchanged = (c ^ s) & (0u - (word >> 62 & 1u));
    const lanes_bits first = c ^ exchanged ^ ((word ^ word << 1) & SIGN), second = s ^ exchanged ^ (word & SIGN);
    store_alternating(out, radius * (lanes)first * scale, radius * (lanes)second * scale);
}

/* The two normals of each block, times scale. */
static inline void box_muller(const lanes_bits *high, const lanes_bits *low, ptrdiff_t vectors, double scale,
                              double *out /* 2 vectors LANES */)
{
    reduced u[DRAWS_TILE];
    lanes log_u[DRAWS_TILE], x[DRAWS_TILE], sine[DRAWS_TILE], cosine[DRAWS_TILE];
    for (ptrdiff_t i = 0; i < vectors; i++)
        u[i] = reduce(2.0 - one_to_two(high[i]));
    for (ptrdiff_t i = 0; i < vectors; i++)
        log_u[i] = log_reduced(u[i]);
    for (ptrdiff_t i = 0; i < vectors; i++) {
        x[i] = angle_in_quadrant(low[i]);
        sine[i] = sin_octant(x[i]);
    }
    for (ptrdiff_t i = 0; i < vectors; i++)
        cosine[i] = cos_octant(x[i]);
    for (ptrdiff_t i = 0; i < vectors; i++)
        turn(cosine[i], sine[i], low[i], square_root(-2.0 * log_u[i]), scale, out + i * 2 * LANES);
}

/* scale times the entries first .. first+count-1. A tile that sticks out of the array is computed beside it. */
static void normal(moe_source source, uint64_t first, ptrdiff_t count, double scale, double *out)
{
    const philox_schedule keys = philox_expand(source.key);
    const ptrdiff_t pair = 2 * LANES;
    ptrdiff_t skip = (ptrdiff_t)(first & 1); /* of the first pair, and of its tile */
    for (ptrdiff_t done = 0, width; done < count; done += width) {
        const ptrdiff_t vectors = moe_min(DRAWS_TILE, (skip + count - done + pair - 1) / pair);
        lanes_bits high[DRAWS_TILE], low[DRAWS_TILE];
        double beside[DRAWS_TILE * 2 * LANES], *tile = beside;
        width = moe_min(vectors * pair - skip, count - done);
        if (width == vectors * pair)
            tile = out + done;
        philox_words(source, &keys, (first + (uint64_t)done) / 2, vectors, high, low);
        box_muller(high, low, vectors, scale, tile);
        if (tile == beside)
            memcpy(out + done, beside + skip, (size_t)width * sizeof *out);
        skip = 0;
    }
}

#endif
