#include "common/permute.h"

#include <assert.h>

/* With halves below 3 bits the network reaches some orders visibly more often than others. */
enum { BITS_MIN = 6 };

static uint32_t bits_for(uint64_t count)
{
    uint32_t bits = count <= 1 ? 0 : 64 - (uint32_t)__builtin_clzll(count - 1);
    return bits < BITS_MIN ? BITS_MIN : bits;
}

static uint64_t mask_of(uint32_t bits)
{
    return UINT64_MAX >> (64 - bits);
}

/* A 64-bit finaliser: each input bit turns about half of the output bits (Stafford's "Mix13"). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void permute_init(struct permute *permute, uint64_t count, uint64_t key)
{
    assert(count >= 1);
    uint32_t bits = bits_for(count);
    permute->count = count;
    permute->low_bits = bits / 2;
    permute->low_mask = mask_of(bits / 2);
    permute->high_mask = mask_of(bits - bits / 2);
    /* The round keys are a splitmix64 sequence (Steele et al., OOPSLA 2014) started at mix(key). */
    uint64_t state = mix(key);
    for (int i = 0; i < PERMUTE_ROUNDS; i++)
        permute->round_keys[i] = mix(state += 0x9e3779b97f4a7c15u);
}

/* One pass through the network: a bijection of 0 .. 2^bits-1.  Each round changes one half by a
 * function of the other, so it can be undone, whatever the function. */
static uint64_t pass(const struct permute *permute, uint64_t index)
{
    uint64_t high = index >> permute->low_bits, low = index & permute->low_mask;
    for (int i = 0; i < PERMUTE_ROUNDS; i += 2) {
        high ^= mix(low + permute->round_keys[i]) & permute->high_mask;
        low ^= mix(high + permute->round_keys[i + 1]) & permute->low_mask;
    }
    return high << permute->low_bits | low;
}

uint64_t permute_at(const struct permute *permute, uint64_t index)
{
    assert(index < permute->count);
    /* Ends: the cycle of the bijection that index lies on comes back to index at the latest. */
    do
        index = pass(permute, index);
    while (index >= permute->count);
    return index;
}
