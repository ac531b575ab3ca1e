#include "common/philox.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 10, CHUNK_BLOCKS = 64, CHUNK_WORDS = 4 * CHUNK_BLOCKS };

/* Salmon et al., on Philox: multipliers, and the Weyl constants of the key schedule (golden ratio,
 * sqrt(3) - 1). */
static const uint32_t MULTIPLY_0 = 0xD2511F53, MULTIPLY_1 = 0xCD9E8D57;
static const uint32_t WEYL_0 = 0x9E3779B9, WEYL_1 = 0xBB67AE85;

/* The stream that a draw key stands for. */
struct stream {
    uint32_t key[2];
    uint32_t counter_high[2];
};

void philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t product_0 = (uint64_t)MULTIPLY_0 * c0, product_1 = (uint64_t)MULTIPLY_1 * c2;
        c0 = (uint32_t)(product_1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product_1;
        c2 = (uint32_t)(product_0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product_0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static struct stream stream_of(const struct draw_key *key)
{
    const uint32_t counter[4] = {(uint32_t)key->step, (uint32_t)(key->step >> 32), key->lane,
                                 key->where};
    const uint32_t seed[2] = {(uint32_t)key->seed, (uint32_t)(key->seed >> 32)};
    uint32_t out[4];
    philox_block(counter, seed, out);
    return (struct stream){.key = {out[0], out[1]}, .counter_high = {out[2], out[3]}};
}

/* Block number block_idx of a stream. */
static void stream_block(const struct stream *stream, uint64_t block_idx, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)block_idx, (uint32_t)(block_idx >> 32),
                                 stream->counter_high[0], stream->counter_high[1]};
    philox_block(counter, stream->key, out);
}

/* words: CHUNK_BLOCKS blocks one after another.  Rounds outside, blocks inside, each word of the
 * state an array of its own: the inner loop is what the compiler vectorises. */
static void stream_chunk(const struct stream *stream, uint64_t first_block,
                         uint32_t words[CHUNK_WORDS])
{
    uint32_t c0[CHUNK_BLOCKS], c1[CHUNK_BLOCKS], c2[CHUNK_BLOCKS], c3[CHUNK_BLOCKS];
    for (uint32_t i = 0; i < CHUNK_BLOCKS; i++) {
        c0[i] = (uint32_t)(first_block + i);
        c1[i] = (uint32_t)((first_block + i) >> 32);
        c2[i] = stream->counter_high[0];
        c3[i] = stream->counter_high[1];
    }
    uint32_t k0 = stream->key[0], k1 = stream->key[1];
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < CHUNK_BLOCKS; i++) {
            uint64_t product_0 = (uint64_t)MULTIPLY_0 * c0[i];
            uint64_t product_1 = (uint64_t)MULTIPLY_1 * c2[i];
            c0[i] = (uint32_t)(product_1 >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)product_1;
            c2[i] = (uint32_t)(product_0 >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)product_0;
        }
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    for (uint32_t i = 0; i < CHUNK_BLOCKS; i++) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
}

static float uniform_of(uint32_t word)
{
    return (float)(int32_t)(word >> 8) * 0x1p-24f;
}

/* ln((word + 1/2) / 2^32), error below 1e-14 relative.  With x = m 2^k and m in [sqrt(1/2),
 * sqrt(2)), ln x = k ln 2 + 2 artanh(s), s = (m - 1) / (m + 1); artanh by its series to s^17. */
static inline double log_of(uint32_t word)
{
    double x = ((double)(int32_t)(word ^ 0x80000000u) + 0x1p31 + 0.5) * 0x1p-32;
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    /* Adding the distance from sqrt(1/2) to 1 carries into the exponent when m is past sqrt(1/2).
     */
    uint64_t shifted = bits + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
    int32_t exponent = (int32_t)(shifted >> 52) - 1023;
    uint64_t mantissa_bits = (shifted & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu;
    double m;
    memcpy(&m, &mantissa_bits, sizeof(m));
    double s = (m - 1) / (m + 1), z = s * s;
    double series = 1.0 / 17;
    series = series * z + 1.0 / 15;
    series = series * z + 1.0 / 13;
    series = series * z + 1.0 / 11;
    series = series * z + 1.0 / 9;
    series = series * z + 1.0 / 7;
    series = series * z + 1.0 / 5;
    series = series * z + 1.0 / 3;
    series = series * z + 1.0;
    return (double)exponent * 0x1.62e42fefa39efp-1 + 2 * s * series;
}

/* cosine and sine of x in [-pi/4, pi/4] by their series, error below 1e-15. */
static inline void turn(double x, double *cosine_out, double *sine_out)
{
    double z = x * x;
    double sine = -1.0 / 1307674368000;
    sine = sine * z + 1.0 / 6227020800;
    sine = sine * z - 1.0 / 39916800;
    sine = sine * z + 1.0 / 362880;
    sine = sine * z - 1.0 / 5040;
    sine = sine * z + 1.0 / 120;
    sine = sine * z - 1.0 / 6;
    *sine_out = sine * z * x + x;
    double cosine = 1.0 / 20922789888000;
    cosine = cosine * z - 1.0 / 87178291200;
    cosine = cosine * z + 1.0 / 479001600;
    cosine = cosine * z - 1.0 / 3628800;
    cosine = cosine * z + 1.0 / 40320;
    cosine = cosine * z - 1.0 / 720;
    cosine = cosine * z + 1.0 / 24;
    cosine = cosine * z - 1.0 / 2;
    *cosine_out = cosine * z + 1;
}

/* Box & Muller: two uniform words make two independent normal numbers, radius sqrt(-2 ln u), any
 * angle.  The angle is a quarter (top 2 bits) and a position in it (the other 30, as -pi/4..pi/4).
 */
static inline void normal_pair(uint32_t radius_word, uint32_t angle_word, float pair_out[2])
{
    double radius = sqrt(-2 * log_of(radius_word));
    double cosine, sine;
    turn((double)(int32_t)(angle_word << 2) * (0x1.921fb54442d18p+0 * 0x1p-32), &cosine, &sine);
    /* Chosen by exact multiplication with 0, 1 or -1: a branch would keep the loop around from
     * being vectorised. */
    double odd = (double)(int32_t)(angle_word >> 30 & 1), even = 1 - odd;
    double side = radius - 2 * radius * (double)(int32_t)(angle_word >> 31);
    pair_out[0] = (float)(side * (even * cosine + odd * sine));
    pair_out[1] = (float)(side * (even * sine + odd * cosine));
}

uint32_t draw_u32(const struct draw_key *key, uint64_t index)
{
    struct stream stream = stream_of(key);
    uint32_t words[4];
    stream_block(&stream, index / 4, words);
    return words[index % 4];
}

void draw_fill_u32(const struct draw_key *key, uint64_t first_index, uint32_t *out, size_t count)
{
    struct stream stream = stream_of(key);
    for (size_t at = 0; at < count; at += CHUNK_WORDS) {
        uint32_t words[CHUNK_WORDS];
        size_t take = count - at < CHUNK_WORDS ? count - at : CHUNK_WORDS;
        stream_chunk(&stream, (first_index + at) / 4, words);
        memcpy(out + at, words, take * sizeof(*out));
    }
}

float draw_uniform(const struct draw_key *key, uint64_t index)
{
    return uniform_of(draw_u32(key, index));
}

float draw_normal(const struct draw_key *key, uint64_t index)
{
    struct stream stream = stream_of(key);
    uint32_t words[4];
    float pair[2];
    stream_block(&stream, index / 4, words);
    normal_pair(words[index % 4 / 2 * 2], words[index % 4 / 2 * 2 + 1], pair);
    return pair[index % 2];
}

/* Numbers of one chunk's words. */
typedef void chunk_values(const uint32_t words[CHUNK_WORDS], float values_out[CHUNK_WORDS]);

static void uniform_chunk(const uint32_t words[CHUNK_WORDS], float values_out[CHUNK_WORDS])
{
    for (uint32_t i = 0; i < CHUNK_WORDS; i++)
        values_out[i] = uniform_of(words[i]);
}

static void normal_chunk(const uint32_t words[CHUNK_WORDS], float values_out[CHUNK_WORDS])
{
    for (uint32_t i = 0; i < CHUNK_WORDS; i += 2)
        normal_pair(words[i], words[i + 1], values_out + i);
}

static void fill(const struct draw_key *key, chunk_values *make, uint64_t index, float *out,
                 size_t count)
{
    struct stream stream = stream_of(key);
    while (count > 0) {
        uint32_t words[CHUNK_WORDS];
        float values[CHUNK_WORDS];
        size_t skip = index % 4, take = CHUNK_WORDS - skip;
        if (take > count)
            take = count;
        stream_chunk(&stream, index / 4, words);
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
    fill(key, normal_chunk, first_index, out, count);
}
