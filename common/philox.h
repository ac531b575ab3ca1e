#ifndef COMMON_PHILOX_H
#define COMMON_PHILOX_H

/* philox - random numbers that are a pure function of where they are used.
 *
 * philox_block is Philox4x32-10, a bijection of 128-bit counters keyed by 64 bits.  A draw key
 * makes a stream of its own from it: one block, keyed by the seed and with (step, lane, where) as
 * counter, gives the stream's key and the upper half of its counters; number i of the stream is
 * word i % 4 of the block whose lower half is i / 4.
 *
 * Shapes:   out: [count] f32.
 * Owner:    values.  Thread: no state.  Memory: none.
 * Source:   Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011; normal numbers:
 *           Box & Muller, "A Note on the Generation of Random Normal Deviates", 1958.
 * Surprise: logarithm, sine and cosine are our own (elementary.h).
 */
#include <stddef.h>
#include <stdint.h>

/* Who draws; no two uses of a job share all four. */
struct draw_key {
    uint64_t seed;
    uint64_t step;
    uint32_t lane;
    uint32_t where; /* enum draw_where in batching.h */
};

/* One block: four words from a 128-bit counter, low word first. */
void philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Number `index` of the key's stream. */
uint32_t draw_u32(const struct draw_key *key, uint64_t index);

/* Uniform in [0, 1), a multiple of 2^-24. */
float draw_uniform(const struct draw_key *key, uint64_t index);

/* out[i] = draw_u32(key, first_index + i), many at a time.  first_index: a multiple of 4. */
void draw_fill_u32(const struct draw_key *key, uint64_t first_index, uint32_t *out, size_t count);

/* Standard normal, |x| < 6.8. */
float draw_normal(const struct draw_key *key, uint64_t index);

/* out[i] = draw_uniform(key, first_index + i), or draw_normal: the same bits, many at a time. */
void draw_fill_uniform(const struct draw_key *key, uint64_t first_index, float *out, size_t count);
void draw_fill_normal(const struct draw_key *key, uint64_t first_index, float *out, size_t count);

#endif
