#include "common/sparse.h"

#include <assert.h>
#include <string.h>
#include "common/codec.h"

/* A magnitude's 31 bits are looked at in three parts, the highest first. */
enum { PART_MAX = 1 << 11 };

struct part {
    unsigned shift, bits;
};

static const struct part parts[] = {{20, 11}, {9, 11}, {0, 9}};

static uint32_t magnitude(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits & 0x7fffffffu;
}

/* How many magnitudes with the prefix have each value of the part below it. */
static void count_part(const float *values, size_t count, uint32_t prefix,
                       const struct part *part, size_t counts[PART_MAX])
{
    unsigned above = part->shift + part->bits;
    memset(counts, 0, PART_MAX * sizeof(*counts));
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = magnitude(values[i]);
        if (bits >> above == prefix >> above)
            counts[bits >> part->shift & ((1u << part->bits) - 1)]++;
    }
}

uint32_t sparse_threshold(const float *values, size_t count, size_t keep, size_t *ties_out)
{
    uint32_t prefix = 0;
    size_t left = keep;
    assert(keep > 0 && keep <= count);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t counts[PART_MAX];
        uint32_t value = (1u << parts[i].bits) - 1;
        count_part(values, count, prefix, &parts[i], counts);
        while (counts[value] < left)
            left -= counts[value--];
        prefix |= value << parts[i].shift;
    }
    *ties_out = left;
    return prefix;
}

static unsigned char *put_pair(unsigned char *out, size_t idx, float value)
{
    uint32_t idx_word = (uint32_t)idx;
    memcpy(out, &idx_word, sizeof(idx_word));
    memcpy(out + sizeof(idx_word), &value, sizeof(value));
    return out + CODEC_PAIR_BYTES;
}

void sparse_move_largest(float *values, size_t count, size_t keep, void *out)
{
    size_t ties;
    uint32_t threshold = sparse_threshold(values, count, keep, &ties);
    unsigned char *at = out;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = magnitude(values[i]);
        if (bits < threshold || (bits == threshold && ties == 0))
            continue;
        ties -= bits == threshold;
        at = put_pair(at, i, values[i]);
        values[i] = 0.0f;
    }
    assert(at == (unsigned char *)out + keep * CODEC_PAIR_BYTES);
}

static float sum_at(const float *a, const float *b, size_t i)
{
    return b == NULL ? a[i] : a[i] + b[i];
}

size_t sparse_count(const float *a, const float *b, size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += sum_at(a, b, i) != 0.0f;
    return found;
}

void sparse_gather(const float *a, const float *b, const float *values, size_t count, void *out)
{
    unsigned char *at = out;
    for (size_t i = 0; i < count; i++)
        if (sum_at(a, b, i) != 0.0f)
            at = put_pair(at, i, values[i]);
    if (at == out)
        put_pair(at, 0, values[0]);
}
