/* Computes softmaxes: weights in proportion to the exponentials of scores. */
#include "lanes.h"

/* The larger one of each lane; b where they cannot be compared. */
static inline lanes larger(lanes a, lanes b)
{
    const lanes_bits a_is = (lanes_bits)(a > b);
    return (lanes)(((lanes_bits)a & a_is) | ((lanes_bits)b & ~a_is));
}

/* exp x for x <= 0, within 1 ulp; 0 where that is below the normal numbers. With x = e ln 2 + r, |r| <= ln 2 / 2,
 *   exp r = 1 + r + r c / (2 - c),   c = r - r^2 P(r^2),   by a minimax polynomial P (as in Sun's fdlibm). */
static inline lanes exp_of_negative(lanes x)
{
    const double LOWEST = -708.0, INVERSE_LN2 = 1.44269504088896338700, LN2_HIGH = 6.93147180369123816490e-01,
                 LN2_LOW = 1.90821492927058770002e-10;
    const double P1 = 1.66666666666666019037e-01, P2 = -2.77777777770155933842e-03, P3 = 6.61375632143793436117e-05,
                 P4 = -1.65339022054652515390e-06, P5 = 4.13813679705723846039e-08;
    const double ROUND = 0x1.8p52; /* added, it leaves the nearest whole number in the last bits */
    const lanes_bits is_normal = (lanes_bits)(x >= LOWEST);
    const lanes bounded = (lanes)((lanes_bits)x & is_normal);
    const lanes rounded = bounded * INVERSE_LN2 + ROUND, e = rounded - ROUND;
    const lanes high = bounded - e * LN2_HIGH, low = e * LN2_LOW, r = high - low, z = r * r;
    const lanes c = r - z * (P1 + z * (P2 + z * (P3 + z * (P4 + z * P5))));
    const lanes value = 1.0 - ((low - r * c / (2.0 - c)) - high);
    return (lanes)(((lanes_bits)value + ((lanes_bits)rounded << 52)) & is_normal);
}

/* Overwrites each column of scores, k x stride, by its softmax, and leaves what it was divided by in two parts:
 * log(sum_i exp score_i) = largest + log sum. A column with a score that is not finite comes out NaN. The number of
 * columns is a multiple of LANES. */
static void softmax(double *scores, ptrdiff_t k, ptrdiff_t columns, ptrdiff_t stride, double *largest, double *sums)
{
    for (ptrdiff_t c = 0; c < columns; c += LANES) {
        lanes most = load(scores + c), sum = {0};
        for (ptrdiff_t i = 0; i < k; i++) {
            const lanes score = load(scores + i * stride + c);
            most = larger(score, most);
            sum += score - score; /* 0, or NaN */
        }
        for (ptrdiff_t i = 0; i < k; i++) {
            const lanes part = exp_of_negative(load(scores + i * stride + c) - most);
            sum += part;
            store(scores + i * stride + c, part);
        }
        for (ptrdiff_t i = 0; i < k; i++)
            store(scores + i * stride + c, load(scores + i * stride + c) / sum);
        store(largest + c, most);
        store(sums + c, sum);
    }
}
