/* Computes standard normals from Philox bits (Box-Muller), with the same bits on every CPU. */
#ifndef MOE_SIMD_NORMAL_H
#define MOE_SIMD_NORMAL_H

#include <math.h>

#include "uniform.h"

/* Block b of a source yields its entries 2b and 2b+1:
 *   sqrt(-2 log u) cos t  and  sqrt(-2 log u) sin t,   u from the block's first word, the angle t from its second.
 * Only +, -, *, / and sqrt are used, which IEEE 754 defines to the last bit; the build forbids the compiler to
 * fuse or reorder them. */

static const uint64_t SIGN = 0x8000000000000000u;

/* c[0] + c[1] z + ... + c[degree] z^degree */
static inline __attribute__((always_inline)) void polynomial(const int vectors, const double *c, const int degree,
                                                             const lanes *z, lanes *sum)
{
    for (int i = 0; i < vectors; i++)
        sum[i] = c[degree - 1] + z[i] * c[degree];
    UNROLLED for (int k = degree - 2; k >= 0; k--)
        for (int i = 0; i < vectors; i++)
            sum[i] = c[k] + z[i] * sum[i];
}

/* u = 2^exponent (1 + f) with 1 + f in [sqrt(1/2), sqrt 2), for a normal u in (0, 1]; s = f / (2 + f). */
typedef struct {
    lanes exponent, f, s;
} reduced;

/* Of a positive normal number. */
static inline lanes exponent_of(lanes x)
{
#if defined(__AVX512F__)
    return (lanes)_mm512_getexp_pd((__m512d)x);
#else
    const uint64_t TWO_52 = 0x4330000000000000u; /* 2^52, whose last bits count ones */
    return (lanes)((lanes_bits)x >> 52 | TWO_52) - (0x1p52 + 1023.0);
#endif
}

static inline reduced reduce(lanes u)
{
    const uint64_t ONE = 0x3FF0000000000000u, HALF_ROOT = 0x3FE6A09E00000000u, FRACTION = 0x000FFFFFFFFFFFFFu;
    const lanes_bits shifted = (lanes_bits)u + (ONE - HALF_ROOT);
    const lanes one_and_f = (lanes)((shifted & FRACTION) + HALF_ROOT), f = one_and_f - 1.0;
    return (reduced){exponent_of((lanes)shifted), f, f / (one_and_f + 1.0)};
}

/* -2 log u. With z = s^2, 2 log(1 + f) = 2 f - f^2 + s (f^2 + z P(z)) by a minimax polynomial P, summed so that the
 * leading term is added last. Error below 1 ulp. At u = 1 the zero is -0, as it comes from -2 times 0. */
static inline __attribute__((always_inline)) void minus_two_log(const int vectors, const lanes *u, lanes *out)
{
    static const double P[] = {2 * 6.666666666666735130e-01, 2 * 3.999999999940941908e-01, 2 * 2.857142874366239149e-01,
                               2 * 2.222219843214978396e-01, 2 * 1.818357216161805012e-01, 2 * 1.531383769920937332e-01,
                               2 * 1.479819860511658591e-01};
    const double LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;
    reduced r[DRAWS_TILE];
    lanes z[DRAWS_TILE], p[DRAWS_TILE];
    for (int i = 0; i < vectors; i++) {
        r[i] = reduce(u[i]);
        z[i] = r[i].s * r[i].s;
    }
    polynomial(vectors, P, 6, z, p);
    for (int i = 0; i < vectors; i++) {
        const lanes e = r[i].exponent, f = r[i].f, s = r[i].s, square = f * f;
        const lanes small = (s * (square + z[i] * p[i]) + e * (2.0 * LN2_LOW)) - square;
        out[i] = e * (-2.0 * LN2_HIGH) - (f + f + small);
    }
}

/* sin x and cos x for |x| <= pi/4, by minimax polynomials in x^2. */
static inline __attribute__((always_inline)) void octant(const int vectors, const lanes *x, lanes *sine, lanes *cosine)
{
    static const double S[] = {-1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
                               2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10},
                        C[] = {4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
                               -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11};
    lanes z[DRAWS_TILE];
    for (int i = 0; i < vectors; i++)
        z[i] = x[i] * x[i];
    polynomial(vectors, S, 5, z, sine);
    for (int i = 0; i < vectors; i++)
        sine[i] = x[i] + x[i] * z[i] * sine[i];
    polynomial(vectors, C, 5, z, cosine);
    for (int i = 0; i < vectors; i++) {
        const lanes half = 0.5 * z[i], w = 1.0 - half;
        cosine[i] = w + ((1.0 - w - half) + z[i] * z[i] * cosine[i]);
    }
}

static inline lanes square_root(lanes x)
{
    for (int lane = 0; lane < LANES; lane++)
        x[lane] = sqrt(x[lane]);
    return x;
}

/* The angle is uniform on a symmetric grid of 2^54 points: q pi/2 + x with the quadrant q from the word's top two bits
 * and x in (-pi/4, pi/4) from the next 52. */
static inline lanes angle_in_quadrant(lanes_bits word)
{
    const double HALF_PI = 1.57079632679489661923;
    return HALF_PI * ((one_to_two(word << 2) - 1.5) + 0x1p-53);
}

/* Turns (cosine, sine) of x into those of the angle, but for the sign that the quadrant's upper bit gives both: an odd
 * quadrant exchanges the two and changes the sign of what becomes the first. */
static inline void turn(lanes *cosine, lanes *sine, lanes_bits word)
{
    const lanes_bits c = (lanes_bits)*cosine, s = (lanes_bits)*sine;
#if defined(__AVX512F__)
    const __mmask8 odd = _mm512_test_epi64_mask((__m512i)word, (__m512i)broadcast_bits(SIGN >> 1));
    *cosine = (lanes)_mm512_mask_xor_epi64((__m512i)c, odd, (__m512i)s, (__m512i)broadcast_bits(SIGN));
    *sine = (lanes)_mm512_mask_blend_epi64(odd, (__m512i)s, (__m512i)c);
#else
    const lanes_bits odd = 0u - (word >> 62 & 1u), exchanged = (c ^ s) & odd;
    *cosine = (lanes)(c ^ exchanged ^ (odd & SIGN));
    *sine = (lanes)(s ^ exchanged);
#endif
}

/* The order of blocks in lanes from which store_alternating makes the natural one. */
static inline lanes_bits alternating_order(void)
{
    lanes_bits order;
    for (int i = 0; i < LANES; i++)
        order[i] = (uint64_t)(i / 2 + i % 2 * (LANES / 2));
    return order;
}

/* a0 b0 a2 b2 ..., then a1 b1 a3 b3 ... */
static inline void store_alternating(double *out /* 2 LANES */, lanes a, lanes b)
{
#if defined(__AVX512F__)
    store(out, (lanes)_mm512_unpacklo_pd((__m512d)a, (__m512d)b));
    store(out + LANES, (lanes)_mm512_unpackhi_pd((__m512d)a, (__m512d)b));
#elif defined(__AVX__)
    store(out, (lanes)_mm256_unpacklo_pd((__m256d)a, (__m256d)b));
    store(out + LANES, (lanes)_mm256_unpackhi_pd((__m256d)a, (__m256d)b));
#else
    for (int lane = 0; lane < LANES; lane++) {
        out[lane * LANES] = a[lane];
        out[lane * LANES + 1] = b[lane];
    }
#endif
}

/* The two normals of each block, times scale. */
static inline __attribute__((always_inline)) void normal_tile(const int vectors, moe_source source,
                                                              const philox_schedule *keys, uint64_t block,
                                                              double scale, double *out /* 2 vectors LANES */)
{
    lanes_bits first[DRAWS_TILE], second[DRAWS_TILE];
    lanes u[DRAWS_TILE], radius[DRAWS_TILE], x[DRAWS_TILE], sine[DRAWS_TILE], cosine[DRAWS_TILE];
    philox_words(vectors, source, keys, block, alternating_order(), first, second);
    for (int i = 0; i < vectors; i++)
        x[i] = angle_in_quadrant(second[i]);
    octant(vectors, x, sine, cosine);
    for (int i = 0; i < vectors; i++)
        u[i] = 2.0 - one_to_two(first[i]);
    minus_two_log(vectors, u, radius);
    for (int i = 0; i < vectors; i++)
        radius[i] = square_root(radius[i]);
    for (int i = 0; i < vectors; i++) {
        const lanes with_sign = (lanes)((lanes_bits)radius[i] ^ (second[i] & SIGN));
        turn(&cosine[i], &sine[i], second[i]);
        cosine[i] *= with_sign;
        sine[i] *= with_sign;
    }
    if (scale != 1.0) /* which would change no bit */
        for (int i = 0; i < vectors; i++) {
            cosine[i] *= scale;
            sine[i] *= scale;
        }
    for (int i = 0; i < vectors; i++)
        store_alternating(out + i * 2 * LANES, cosine[i], sine[i]);
}

/* scale times the entries first .. first+count-1. A tile that sticks out of the array is computed beside it. */
static void normal(moe_source source, uint64_t first, ptrdiff_t count, double scale, double *out)
{
    const philox_schedule keys = philox_expand(source.key);
    ptrdiff_t skip = (ptrdiff_t)(first & 1); /* of the first block, and of its tile */
    for (ptrdiff_t done = 0, width; done < count; done += width) {
        const uint64_t block = (first + (uint64_t)done) / 2;
        const ptrdiff_t blocks = philox_together(block, (skip + count - done + 1) / 2);
        const int vectors = blocks <= DRAWS_TILE / 2 * LANES ? DRAWS_REST : DRAWS_TILE;
        double beside[DRAWS_TILE * 2 * LANES], *tile = beside;
        width = moe_min(moe_min(vectors * LANES, blocks) * 2 - skip, count - done);
        if (width == vectors * LANES * 2)
            tile = out + done;
        if (vectors == DRAWS_REST)
            normal_tile(DRAWS_REST, source, &keys, block, scale, tile);
        else
            normal_tile(DRAWS_TILE, source, &keys, block, scale, tile);
        if (tile == beside)
            memcpy(out + done, beside + skip, (size_t)width * sizeof *out);
        skip = 0;
    }
}

#endif
