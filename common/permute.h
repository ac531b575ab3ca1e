#ifndef COMMON_PERMUTE_H
#define COMMON_PERMUTE_H

/* permute - a keyed permutation of 0 .. count-1 that needs no table: shuffling without state.
 *
 * A Feistel network permutes the smallest power of two that holds count and is at least 64; an
 * index that falls past count is sent through again until it falls within, after less than two
 * passes on average when count is above 32.
 *
 * Owner:    a value, read-only after permute_init.  Thread: any.  Memory: none.
 * Source:   Black & Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002: the
 *           cycle-walking cipher.
 * Surprise: none.  It shuffles; it keeps no secret.
 */
#include <stdint.h>

enum { PERMUTE_ROUNDS = 8 };

struct permute {
    uint64_t count;
    uint64_t round_keys[PERMUTE_ROUNDS];
    uint64_t high_mask, low_mask; /* of the two halves of an index, each shifted down to bit 0 */
    uint32_t low_bits;            /* the halves' sizes differ by one bit at most */
};

/* count >= 1. */
void permute_init(struct permute *permute, uint64_t count, uint64_t key);

/* Where index (< count) goes. */
uint64_t permute_at(const struct permute *permute, uint64_t index);

#endif
