/* Computes counter-based random bits: Philox4x32 with ten rounds (Salmon et al., SC 2011), one block a lane. */
#ifndef MOE_SIMD_PHILOX_H
#define MOE_SIMD_PHILOX_H

#include "lanes.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* A block is a counter of four 32-bit words, encrypted under a key of two. A word sits in the low half of a 64-bit
 * lane, where it is ready to be multiplied; the high half may hold anything, since products take the low halves
 * only. So a whole product can stand for its low word, and with its halves swapped for its high word. */

enum { PHILOX_ROUNDS = 10 };

/* So many vectors of blocks go through each step of the draws together: the CPU always finds independent work, where
 * one alone would wait for its own results most of the time. */
enum {
    DRAWS_TILE = 8,
    DRAWS_REST = 2, /* the same for the rest of a draw, up to half a tile of blocks */
};

/* Before a loop over steps: fully unrolled, it leaves a tile's vectors in registers from step to step. */
#define UNROLLED _Pragma("GCC unroll 16")

static const uint64_t PHILOX_FACTORS[2] = {0xD2511F53u, 0xCD9E8D57u}, LOW_HALF = 0xFFFFFFFFu;

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
    return (a & LOW_HALF) * (b & LOW_HALF);
#endif
}

/* A shuffle, for which a CPU has more units than for shifts. */
static inline lanes_bits swap_halves(lanes_bits a)
{
#if LANES == 8 && defined(__AVX512F__)
    return (lanes_bits)_mm512_shuffle_epi32((__m512i)a, _MM_PERM_CDAB);
#elif LANES == 4 && defined(__AVX2__)
    return (lanes_bits)_mm256_shuffle_epi32((__m256i)a, _MM_SHUFFLE(2, 3, 0, 1));
#elif LANES == 2 && defined(__SSE2__)
    return (lanes_bits)_mm_shuffle_epi32((__m128i)a, _MM_SHUFFLE(2, 3, 0, 1));
#elif LANES == 2 && defined(__aarch64__)
    return (lanes_bits)vrev64q_u32((uint32x4_t)a);
#else
    return a >> 32 | a << 32;
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

/* Blocks in the middle of a round: the products of the first word and of the third, while the second and the fourth
 * wait to be added to their high halves. */
typedef struct {
    lanes_bits product[2], waiting[2];
} philox_state;

/* From the middle of a round to that of the next. */
static inline philox_state philox_round(philox_state s, const lanes_bits key[2])
{
    const lanes_bits first = swap_halves(s.product[1]) ^ (s.waiting[0] ^ key[0]);
    const lanes_bits third = swap_halves(s.product[0]) ^ (s.waiting[1] ^ key[1]);
    return (philox_state){{multiply_low_halves(first, broadcast_bits(PHILOX_FACTORS[0])),
                           multiply_low_halves(third, broadcast_bits(PHILOX_FACTORS[1]))},
                          {s.product[1], s.product[0]}};
}

/* From the middle of the first round to the end: two 64-bit words a block, of which the low halves come first. */
static inline __attribute__((always_inline)) void philox_encrypt(const int vectors, philox_state *s,
                                                                 const philox_schedule *keys, lanes_bits *first,
                                                                 lanes_bits *second)
{
    const lanes_bits *last = keys->word[PHILOX_ROUNDS - 1];
    UNROLLED for (int round = 0; round < PHILOX_ROUNDS - 1; round++)
        for (int i = 0; i < vectors; i++)
            s[i] = philox_round(s[i], keys->word[round]);
    for (int i = 0; i < vectors; i++) {
        first[i] = swap_halves(s[i].product[1]) ^ (s[i].waiting[0] & LOW_HALF) ^ last[0];
        second[i] = swap_halves(s[i].product[0]) ^ (s[i].waiting[1] & LOW_HALF) ^ last[1];
    }
}

/* One block, as everyone computes it. */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    const philox_schedule keys = philox_expand(key);
    philox_state s = {{broadcast_bits(counter[0] * PHILOX_FACTORS[0]), broadcast_bits(counter[2] * PHILOX_FACTORS[1])},
                      {broadcast_bits(counter[1]), broadcast_bits(counter[3])}};
    lanes_bits words[2];
    philox_encrypt(1, &s, &keys, &words[0], &words[1]);
    for (int i = 0; i < 4; i++)
        out[i] = (uint32_t)(words[i / 2][0] >> i % 2 * 32);
}

/* Block b of a source is the Philox output at counter (b low, b high, stream, replicate): two 64-bit words. Blocks
 * with the same b high are computed together: of what the first round begins with, only the product of b low differs
 * between them. So nearly all of the first two rounds is constant, which compilers see. */

/* How many blocks from `block` on have the same b high, at most `most`. */
static inline ptrdiff_t philox_together(uint64_t block, ptrdiff_t most)
{
    const uint64_t together = LOW_HALF + 1 - (block & LOW_HALF);
    return together < (uint64_t)most ? (ptrdiff_t)together : most;
}

/* The words of the blocks from `block` on, right as far as they have the same b high. Of each LANES blocks, lane i
 * takes number order[i]. */
static inline __attribute__((always_inline)) void philox_words(const int vectors, moe_source source,
                                                               const philox_schedule *keys, uint64_t block,
                                                               lanes_bits order, lanes_bits *first, lanes_bits *second)
{
    philox_state s[DRAWS_TILE];
    for (int i = 0; i < vectors; i++) {
        const uint64_t low = (block & LOW_HALF) + (uint64_t)i * LANES;
        s[i].product[0] = order * PHILOX_FACTORS[0] + low * PHILOX_FACTORS[0];
        s[i].product[1] = broadcast_bits(source.stream * PHILOX_FACTORS[1]);
        s[i].waiting[0] = broadcast_bits(block >> 32);
        s[i].waiting[1] = broadcast_bits(source.replicate);
    }
    philox_encrypt(vectors, s, keys, first, second);
}

#endif
