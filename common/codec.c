#include "common/codec.h"

#include <assert.h>
#include <string.h>
#include "common/batching.h"
#include "common/philox.h"

/* log2 of a scale: normal numbers, as are their reciprocals. */
enum { SCALE_MIN = -126, SCALE_MAX = 122, SCALE_NONE = 127 };

enum { HALF_GROUP = CODEC_GROUP / 2 };

static const uint32_t INFINITY_BITS = 0x7f800000u;

/* What stands in a draw's lane for weights, which are no node's. */
static const uint32_t OF_WEIGHTS = UINT32_MAX;

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float power_of_two(int exponent)
{
    return float_of((uint32_t)(exponent + 127) << 23);
}

bool codec_rounds(enum codec_kind codec)
{
    return codec == CODEC_BF16 || codec == CODEC_INT8;
}

struct codec_grid codec_grid_of(enum codec_kind codec, uint64_t seed, const struct layout *layout,
                                size_t block_idx)
{
    const struct block_spec *block = &layout->blocks[block_idx];
    bool is_trained = layout->tensors[block->tensor_idx].update == UPDATE_OPTIMIZER;
    return (struct codec_grid){
        .codec = is_trained ? codec : CODEC_F32,
        .seed = seed,
        .tensor_idx = (uint32_t)block->tensor_idx,
        .first = block->range.begin - layout->tensor_begin[block->tensor_idx]};
}

/* A NaN keeps its kind: it must not become an infinity, or a number. */
static uint32_t bf16_bits(float value)
{
    uint32_t bits = bits_of(value);
    uint32_t nearest = bits + 0x7fffu + ((bits >> 16) & 1u);
    return ((bits & 0x7fffffffu) > INFINITY_BITS ? bits | 0x00400000u : nearest) >> 16;
}

static void round_bf16(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] = float_of(bf16_bits(values[i]) << 16);
}

/* log2 of the group's scale; SCALE_NONE: not all are numbers.  127 is 2^6 (1 + 0.984375): up to
 * that, a mantissa goes with the exponent 6 below its own, past it with the next. */
static int scale_of(const float *values, size_t count)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = bits_of(values[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    if (largest >= INFINITY_BITS)
        return SCALE_NONE;
    int exponent = (int)(largest >> 23) - 127 - 6 + ((largest & 0x007fffffu) > 0x007e0000u);
    return exponent < SCALE_MIN ? SCALE_MIN : exponent;
}

/* values[i] becomes the whole multiple of scale below values[i] + draw * scale, the draw being 16
 * of a word's bits.  128 makes all of it positive, where cutting off is rounding down; a whole
 * number plus a draw is exact with it, so that it stays what it is. */
static inline void round_half_group(float *values, const uint32_t *words, unsigned shift,
                                    size_t count, int exponent)
{
    float scale = power_of_two(exponent), inverse = power_of_two(-exponent);
    for (size_t i = 0; i < count; i++) {
        float draw = (float)(int32_t)(words[i] >> shift & 0xffffu) * 0x1p-16f;
        int32_t whole = (int32_t)(values[i] * inverse + draw + 128.0f) - 128;
        values[i] = (float)whole * scale;
    }
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void round_group(float *group, size_t size, const uint32_t *words)
{
    int exponent = scale_of(group, size);
    if (exponent == SCALE_NONE)
        return;
    round_half_group(group, words, 0, least(size, HALF_GROUP), exponent);
    if (size > HALF_GROUP)
        round_half_group(group + HALF_GROUP, words, 16, size - HALF_GROUP, exponent);
}

/* A word has the draws of two numbers, as far apart as half a group is long. */
static void round_int8(const struct codec_grid *grid, uint32_t lane, float *values, size_t count)
{
    struct draw_key key = {.seed = grid->seed,
                           .step = grid->step,
                           .lane = lane,
                           .where = DRAW_CODEC | grid->tensor_idx};
    assert(grid->first % CODEC_GROUP == 0);
    for (size_t at = 0; at < count; at += 2 * CODEC_GROUP) {
        uint32_t words[CODEC_GROUP]; /* of two groups */
        draw_fill_u32(&key, (grid->first + at) / 2, words, CODEC_GROUP);
        round_group(values + at, least(count - at, CODEC_GROUP), words);
        if (count - at > CODEC_GROUP)
            round_group(values + at + CODEC_GROUP, least(count - at - CODEC_GROUP, CODEC_GROUP),
                        words + HALF_GROUP);
    }
}

static void round_values(const struct codec_grid *grid, uint32_t lane, float *values, size_t count)
{
    if (grid->codec == CODEC_BF16)
        round_bf16(values, count);
    else if (grid->codec == CODEC_INT8)
        round_int8(grid, lane, values, count);
}

void codec_round_node(const struct codec_grid *grid, struct lane_node node, float *values,
                      size_t count)
{
    round_values(grid, node.end << 16 | node.begin, values, count);
}

void codec_round_weights(const struct codec_grid *grid, float *values, size_t count)
{
    round_values(grid, OF_WEIGHTS, values, count);
}

static size_t group_count(size_t count)
{
    return (count + CODEC_GROUP - 1) / CODEC_GROUP;
}

static size_t whole_words(size_t bytes)
{
    return (bytes + 3) / 4 * 4;
}

size_t codec_bytes(enum codec_kind codec, size_t count)
{
    switch (codec) {
    case CODEC_BF16:
        return whole_words(2 * count);
    case CODEC_INT8:
        return whole_words(count + group_count(count));
    case CODEC_SPARSE:
        return CODEC_PAIR_BYTES * count;
    default:
        return sizeof(float) * count;
    }
}

bool codec_fits(enum codec_kind codec, size_t size_bytes, size_t count)
{
    if (codec == CODEC_SPARSE)
        return size_bytes > 0 && size_bytes % CODEC_PAIR_BYTES == 0 &&
               size_bytes / CODEC_PAIR_BYTES <= count;
    return size_bytes == codec_bytes(codec, count);
}

static void encode_bf16(const float *values, size_t count, unsigned char *out)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half = (uint16_t)(bits_of(values[i]) >> 16);
        memcpy(out + 2 * i, &half, sizeof(half));
    }
}

/* Of numbers that are rounded the scale may come out smaller than it was, and divides them all the
 * same. */
static void encode_int8(const float *values, size_t count, unsigned char *out)
{
    for (size_t at = 0; at < count; at += CODEC_GROUP) {
        size_t size = least(count - at, CODEC_GROUP);
        int exponent = scale_of(values + at, size);
        out[count + at / CODEC_GROUP] = (unsigned char)(int8_t)exponent;
        float inverse = exponent == SCALE_NONE ? 0.0f : power_of_two(-exponent);
        for (size_t i = at; i < at + size; i++)
            out[i] = inverse == 0.0f ? 0 : (unsigned char)(int8_t)(int32_t)(values[i] * inverse);
    }
}

void codec_encode(enum codec_kind codec, const float *values, size_t count, void *out)
{
    size_t bytes = codec_bytes(codec, count);
    assert(codec != CODEC_SPARSE);
    if (codec == CODEC_F32) {
        memcpy(out, values, bytes);
        return;
    }
    memset((unsigned char *)out + bytes - least(bytes, 4), 0, least(bytes, 4));
    if (codec == CODEC_BF16)
        encode_bf16(values, count, out);
    else
        encode_int8(values, count, out);
}

static void decode_bf16(const unsigned char *bytes, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, bytes + 2 * i, sizeof(half));
        out[i] = float_of((uint32_t)half << 16);
    }
}

/* A scale that no encoder writes is taken for SCALE_NONE: the numbers come out as NaN. */
static void decode_int8(const unsigned char *bytes, float *out, size_t count)
{
    for (size_t at = 0; at < count; at += CODEC_GROUP) {
        size_t size = least(count - at, CODEC_GROUP);
        int exponent = (int8_t)bytes[count + at / CODEC_GROUP];
        bool is_scale = exponent >= SCALE_MIN && exponent <= SCALE_MAX;
        float scale = is_scale ? power_of_two(exponent) : float_of(INFINITY_BITS | 0x00400000u);
        for (size_t i = at; i < at + size; i++)
            out[i] = (float)(int8_t)bytes[i] * scale;
    }
}

static int decode_sparse(const unsigned char *bytes, size_t size_bytes, float *out, size_t count)
{
    for (size_t at = 0; at < size_bytes; at += CODEC_PAIR_BYTES) {
        uint32_t idx;
        memcpy(&idx, bytes + at, sizeof(idx));
        if (idx >= count)
            return ERR_PROTO;
        memcpy(&out[idx], bytes + at + sizeof(idx), sizeof(*out));
    }
    return 0;
}

int codec_decode(enum codec_kind codec, const void *bytes, size_t size_bytes, float *out,
                 size_t count)
{
    switch (codec) {
    case CODEC_BF16:
        decode_bf16(bytes, out, count);
        return 0;
    case CODEC_INT8:
        decode_int8(bytes, out, count);
        return 0;
    case CODEC_SPARSE:
        return decode_sparse(bytes, size_bytes, out, count);
    default:
        memcpy(out, bytes, sizeof(float) * count);
        return 0;
    }
}
