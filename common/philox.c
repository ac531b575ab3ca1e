#include "common/philox.h"

#include <string.h>
#include "common/philox_steps.h"
#include "common/simd.h"

enum { CHUNK_WORDS = SIMD_PHILOX_WORDS };

void philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t product_0 = (uint64_t)PHILOX_MULTIPLY_0 * c0;
        uint64_t product_1 = (uint64_t)PHILOX_MULTIPLY_1 * c2;
        c0 = (uint32_t)(product_1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product_1;
        c2 = (uint32_t)(product_0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product_0;
        k0 += PHILOX_WEYL_0;
        k1 += PHILOX_WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static struct simd_stream stream_of(const struct draw_key *key)
{
    const uint32_t counter[4] = {(uint32_t)key->step, (uint32_t)(key->step >> 32), key->lane,
                                 key->where};
    const uint32_t seed[2] = {(uint32_t)key->seed, (uint32_t)(key->seed >> 32)};
    uint32_t out[4];
    philox_block(counter, seed, out);
    return (struct simd_stream){.key = {out[0], out[1]}, .counter_high = {out[2], out[3]}};
}

/* Block number block_idx of a stream. */
static void stream_block(const struct simd_stream *stream, uint64_t block_idx, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)block_idx, (uint32_t)(block_idx >> 32),
                                 stream->counter_high[0], stream->counter_high[1]};
    philox_block(counter, stream->key, out);
}

static float uniform_of(uint32_t word)
{
    return (float)(int32_t)(word >> 8) * 0x1p-24f;
}

uint32_t draw_u32(const struct draw_key *key, uint64_t index)
{
    struct simd_stream stream = stream_of(key);
    uint32_t words[4];
    stream_block(&stream, index / 4, words);
    return words[index % 4];
}

void draw_fill_u32(const struct draw_key *key, uint64_t first_index, uint32_t *out, size_t count)
{
    struct simd_stream stream = stream_of(key);
    for (size_t at = 0; at < count; at += CHUNK_WORDS) {
        uint32_t words[CHUNK_WORDS];
        size_t take = count - at < CHUNK_WORDS ? count - at : CHUNK_WORDS;
        simd_kernels_widest()->philox_words(&stream, (first_index + at) / 4, words);
        memcpy(out + at, words, take * sizeof(*out));
    }
}

float draw_uniform(const struct draw_key *key, uint64_t index)
{
    return uniform_of(draw_u32(key, index));
}

float draw_normal(const struct draw_key *key, uint64_t index)
{
    struct simd_stream stream = stream_of(key);
    uint32_t words[4];
    float pair[2];
    stream_block(&stream, index / 4, words);
    philox_normal_pair(words[index % 4 / 2 * 2], words[index % 4 / 2 * 2 + 1], pair);
    return pair[index % 2];
}

/* Numbers of one chunk's words. */
typedef void chunk_values(const uint32_t words[CHUNK_WORDS], float values_out[CHUNK_WORDS]);

static void uniform_chunk(const uint32_t words[CHUNK_WORDS], float values_out[CHUNK_WORDS])
{
    for (uint32_t i = 0; i < CHUNK_WORDS; i++)
        values_out[i] = uniform_of(words[i]);
}

static void fill(const struct draw_key *key, chunk_values *make, uint64_t index, float *out,
                 size_t count)
{
    const struct simd_kernels *kernels = simd_kernels_widest();
    struct simd_stream stream = stream_of(key);
    while (count > 0) {
        uint32_t words[CHUNK_WORDS];
        float values[CHUNK_WORDS];
        size_t skip = index % 4, take = CHUNK_WORDS - skip;
        if (take > count)
            take = count;
        kernels->philox_words(&stream, index / 4, words);
        make(words, values);
        memcpy(out, values + skip, take * sizeof(*out));
        index += take;
        out += take;
        count -= take;
    }
}

void draw_fill_uniform(const struct draw_key *key, uint64_t first_index, float *out, size_t count)
{
    fill(key, uniform_chunk, first_index, out, count);
}

void draw_fill_normal(const struct draw_key *key, uint64_t first_index, float *out, size_t count)
{
    fill(key, simd_kernels_widest()->philox_normals, first_index, out, count);
}
