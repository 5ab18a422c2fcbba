/* Computes counter-based random bits: Philox4x32 with ten rounds (Salmon et al., SC 2011). */
#include "internal.h"

enum { ROUNDS = 10, LANES = 8 };

static const uint32_t MULTIPLIER[2] = {0xD2511F53u, 0xCD9E8D57u};
static const uint32_t WEYL[2] = {0x9E3779B9u, 0xBB67AE85u};

/* One block a lane; the lanes are independent so that the compiler can run them side by side. */
static inline void rounds(uint32_t c0[LANES], uint32_t c1[LANES], uint32_t c2[LANES], uint32_t c3[LANES],
                          const uint32_t key[2])
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        for (int lane = 0; lane < LANES; lane++) {
            const uint64_t p0 = (uint64_t)MULTIPLIER[0] * c0[lane];
            const uint64_t p1 = (uint64_t)MULTIPLIER[1] * c2[lane];
            c0[lane] = (uint32_t)(p1 >> 32) ^ c1[lane] ^ k0;
            c1[lane] = (uint32_t)p1;
            c2[lane] = (uint32_t)(p0 >> 32) ^ c3[lane] ^ k1;
            c3[lane] = (uint32_t)p0;
        }
        k0 += WEYL[0];
        k1 += WEYL[1];
    }
}

void moe_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0[LANES] = {counter[0]}, c1[LANES] = {counter[1]}, c2[LANES] = {counter[2]}, c3[LANES] = {counter[3]};
    rounds(c0, c1, c2, c3, key);
    out[0] = c0[0];
    out[1] = c1[0];
    out[2] = c2[0];
    out[3] = c3[0];
}

/* Block b of a source is the Philox output at counter (b low, b high, stream, replicate): two 64-bit words.
 * Writes words of blocks first .. first+count-1, rounded up to whole lanes. */
void moe_philox_blocks(moe_source source, uint64_t first, ptrdiff_t count, uint64_t *high, uint64_t *low)
{
    for (ptrdiff_t done = 0; done < count; done += LANES) {
        uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
        for (int lane = 0; lane < LANES; lane++) {
            const uint64_t block = first + (uint64_t)(done + lane);
            c0[lane] = (uint32_t)block;
            c1[lane] = (uint32_t)(block >> 32);
            c2[lane] = source.stream;
            c3[lane] = source.replicate;
        }
        rounds(c0, c1, c2, c3, source.key);
        for (int lane = 0; lane < LANES; lane++) {
            high[done + lane] = (uint64_t)c1[lane] << 32 | c0[lane];
            low[done + lane] = (uint64_t)c3[lane] << 32 | c2[lane];
        }
    }
}
