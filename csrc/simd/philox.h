/* Computes counter-based random bits: Philox4x32 with ten rounds (Salmon et al., SC 2011), one block a lane. */
#ifndef MOE_SIMD_PHILOX_H
#define MOE_SIMD_PHILOX_H

#include "lanes.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* A block is a counter of four 32-bit words, encrypted under a key of two. A word sits in the low half of a 64-bit
 * lane, where it is ready to be multiplied; the high half may hold anything, since products take the low halves
 * only. So a whole product can stand for its low word, and no lane is ever moved. */

enum {
    PHILOX_ROUNDS = 10,
    PHILOX_CHAINS = 2, /* vectors of blocks computed side by side, to hide the latency of the products */
};

static inline lanes_bits broadcast_bits(uint64_t bits)
{
    return bits + (lanes_bits){0};
}

/* The 64-bit products of the lanes' low halves: one instruction, which compilers do not find for themselves. */
static inline lanes_bits multiply_low_halves(lanes_bits a, lanes_bits b)
{
#if LANES == 8 && defined(__AVX512F__)
    return (lanes_bits)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif LANES == 4 && defined(__AVX2__)
    return (lanes_bits)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif LANES == 2 && defined(__SSE2__)
    return (lanes_bits)_mm_mul_epu32((__m128i)a, (__m128i)b);
#elif LANES == 2 && defined(__aarch64__)
    return (lanes_bits)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
    return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

/* The key of each round, in all lanes. */
typedef struct {
    lanes_bits word[PHILOX_ROUNDS][2];
} philox_schedule;

static inline philox_schedule philox_expand(const uint32_t key[2])
{
    philox_schedule keys;
    for (uint32_t round = 0; round < PHILOX_ROUNDS; round++) {
        keys.word[round][0] = broadcast_bits(key[0] + round * 0x9E3779B9u);
        keys.word[round][1] = broadcast_bits(key[1] + round * 0xBB67AE85u);
    }
    return keys;
}

/* Encrypts the counters in c. */
static inline void philox_rounds(lanes_bits c[PHILOX_CHAINS][4], const philox_schedule *keys)
{
    const lanes_bits M0 = broadcast_bits(0xD2511F53u), M1 = broadcast_bits(0xCD9E8D57u);
    for (int round = 0; round < PHILOX_ROUNDS; round++)
        for (int chain = 0; chain < PHILOX_CHAINS; chain++) {
            const lanes_bits p0 = multiply_low_halves(c[chain][0], M0);
            const lanes_bits p1 = multiply_low_halves(c[chain][2], M1);
            c[chain][0] = p1 >> 32 ^ c[chain][1] ^ keys->word[round][0];
            c[chain][1] = p1;
            c[chain][2] = p0 >> 32 ^ c[chain][3] ^ keys->word[round][1];
            c[chain][3] = p0;
        }
}

/* One block, as everyone computes it. */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    const philox_schedule keys = philox_expand(key);
    lanes_bits c[PHILOX_CHAINS][4];
    for (int chain = 0; chain < PHILOX_CHAINS; chain++)
        for (int word = 0; word < 4; word++)
            c[chain][word] = broadcast_bits(counter[word]);
    philox_rounds(c, &keys);
    for (int word = 0; word < 4; word++)
        out[word] = (uint32_t)c[0][word][0];
}

/* Block b of a source is the Philox output at counter (b low, b high, stream, replicate): two 64-bit words.
 * Writes the words of the blocks from `first` on, `vectors` of them rounded up to a multiple of PHILOX_CHAINS. */
static inline void philox_words(moe_source source, const philox_schedule *keys, uint64_t first, ptrdiff_t vectors,
                                lanes_bits *high, lanes_bits *low)
{
    lanes_bits lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = (uint64_t)i;
    for (ptrdiff_t begin = 0; begin < vectors; begin += PHILOX_CHAINS) {
        lanes_bits c[PHILOX_CHAINS][4];
        for (int chain = 0; chain < PHILOX_CHAINS; chain++) {
            const lanes_bits block = lane + (first + (uint64_t)(begin + chain) * LANES);
            c[chain][0] = block;
            c[chain][1] = block >> 32;
            c[chain][2] = broadcast_bits(source.stream);
            c[chain][3] = broadcast_bits(source.replicate);
        }
        philox_rounds(c, keys);
        for (int chain = 0; chain < PHILOX_CHAINS; chain++) {
            high[begin + chain] = c[chain][1] << 32 | (c[chain][0] & 0xFFFFFFFFu);
            low[begin + chain] = c[chain][3] << 32 | (c[chain][2] & 0xFFFFFFFFu);
        }
    }
}

#endif
