#include "common/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

enum { SAMPLE_COUNT = 1 << 18 };

static const struct draw_key KEY = {.seed = 1, .step = 2, .lane = 3, .where = 4};

/* The vectors that Random123 ships for philox4x32 with 10 rounds (kat_vectors). */
static void test_philox_block_gives_the_published_vectors(void)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t out[4];
        philox_block(rows[i].counter, rows[i].key, out);
        CU_ASSERT_EQUAL(memcmp(out, rows[i].expected, sizeof(out)), 0);
    }
}

/* The rule of the header, spelled out once more. */
static void test_draw_u32_is_the_block_that_the_header_says(void)
{
    const struct draw_key key = {
        .seed = 0x0123456789abcdef, .step = 0xfedcba9876543210, .lane = 77, .where = 88};
    const uint32_t counter[4] = {0x76543210, 0xfedcba98, 77, 88};
    const uint32_t seed[2] = {0x89abcdef, 0x01234567};
    uint32_t stream[4];
    philox_block(counter, seed, stream);
    uint64_t index = 0x500000007;
    const uint32_t place[4] = {0x40000001, 0x1, stream[2], stream[3]};
    const uint32_t stream_key[2] = {stream[0], stream[1]};
    uint32_t out[4];
    philox_block(place, stream_key, out);
    CU_ASSERT_EQUAL(draw_u32(&key, index), out[3]);
}

/* Numbers of a run must not change from one version of Talweg to the next.  Recorded from a second
 * implementation, in Python, with the logarithm, sine and cosine of its C library. */
static void test_draw_numbers_are_those_recorded(void)
{
    static const uint32_t words[] = {0x7063d992, 0x7816a311, 0x0cb63cf4,
                                     0xe8c57096, 0xe19e8bf5, 0xc2f4b13a};
    static const float uniforms[] = {0x1.c18f64p-2f, 0x1.e05a8cp-2f, 0x1.96c78p-5f,
                                     0x1.d18aep-1f,  0x1.c33d16p-1f, 0x1.85e962p-1f};
    static const float normals[] = {-0x1.fb120cp-3f, 0x1.424e5ep+0f,  0x1.529944p+0f,
                                    -0x1.080fa6p+1f, -0x1.2a770cp-5f, -0x1.00adfcp-1f};
    for (uint64_t i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL(draw_u32(&KEY, i), words[i]);
        CU_ASSERT_EQUAL(draw_uniform(&KEY, i), uniforms[i]);
        CU_ASSERT_EQUAL(draw_normal(&KEY, i), normals[i]);
    }
}

static void test_draw_u32_differs_when_any_part_of_the_key_does(void)
{
    struct draw_key keys[] = {KEY, KEY, KEY, KEY, KEY, KEY, KEY};
    keys[1].seed ^= 1;
    keys[2].seed ^= 1ull << 63;
    keys[3].step ^= 1;
    keys[4].step ^= 1ull << 63;
    keys[5].lane ^= 1;
    keys[6].where ^= 1;
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < i; j++) {
            int equal_count = 0;
            for (uint64_t n = 0; n < 100; n++)
                equal_count += draw_u32(&keys[i], n) == draw_u32(&keys[j], n);
            CU_ASSERT_EQUAL(equal_count, 0);
        }
}

static void test_draw_fill_gives_the_bits_of_one_by_one(void)
{
    static const uint64_t firsts[] = {0, 1, 2, 3, 255, 1000003, 0x3fffffff5, 0xfffffffffffffc00};
    static const size_t counts[] = {0, 1, 2, 3, 5, 64, 255, 256, 257, 700};
    float out[702];
    for (size_t f = 0; f < 8; f++)
        for (size_t c = 0; c < 10; c++) {
            for (int is_normal = 0; is_normal < 2; is_normal++) {
                memset(out, 0x7f, sizeof(out));
                float untouched = out[0];
                (is_normal ? draw_fill_normal : draw_fill_uniform)(&KEY, firsts[f], out, counts[c]);
                int differing_count = 0;
                for (size_t i = 0; i < counts[c]; i++) {
                    float one = (is_normal ? draw_normal : draw_uniform)(&KEY, firsts[f] + i);
                    differing_count += memcmp(&one, &out[i], sizeof(one)) != 0;
                }
                CU_ASSERT_EQUAL(differing_count, 0);
                CU_ASSERT_EQUAL(memcmp(&out[counts[c]], &untouched, sizeof(float)), 0);
            }
        }
}

static void test_draw_fill_of_words_gives_those_of_one_by_one(void)
{
    static const uint64_t firsts[] = {0, 4, 256, 1000004, 0x3fffffff4};
    static const size_t counts[] = {0, 1, 5, 256, 257, 700};
    uint32_t out[700];
    for (size_t f = 0; f < 5; f++)
        for (size_t c = 0; c < 6; c++) {
            int differing_count = 0;
            draw_fill_u32(&KEY, firsts[f], out, counts[c]);
            for (size_t i = 0; i < counts[c]; i++)
                differing_count += draw_u32(&KEY, firsts[f] + i) != out[i];
            CU_ASSERT_EQUAL(differing_count, 0);
        }
}

/* chi-square of `values` in [0, 1) over 256 cells: mean 255, deviation 22.6. */
static double chi_square(const float *values, size_t count)
{
    double cells[256] = {0}, sum = 0;
    for (size_t i = 0; i < count; i++)
        cells[(int)(values[i] * 256)]++;
    double expected = (double)count / 256;
    for (int i = 0; i < 256; i++)
        sum += (cells[i] - expected) * (cells[i] - expected) / expected;
    return sum;
}

static void test_draw_uniform_fills_its_range_evenly(void)
{
    static float values[SAMPLE_COUNT];
    draw_fill_uniform(&KEY, 0, values, SAMPLE_COUNT);
    for (size_t i = 0; i < SAMPLE_COUNT; i++)
        if (!(values[i] >= 0 && values[i] < 1))
            CU_FAIL_FATAL("outside of [0, 1)");
    double chi = chi_square(values, SAMPLE_COUNT);
    CU_ASSERT(chi > 165 && chi < 345); /* 4 deviations */
}

static void test_draw_normal_is_distributed_normally(void)
{
    static float values[SAMPLE_COUNT];
    double sums[5] = {0}, across = 0;
    draw_fill_normal(&KEY, 0, values, SAMPLE_COUNT);
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        for (int power = 1; power < 5; power++)
            sums[power] += pow(values[i], power) / SAMPLE_COUNT;
        across += (double)values[i] * values[i ^ 1] / SAMPLE_COUNT;
    }
    /* 5 deviations of each moment's own error at 2^18 numbers. */
    CU_ASSERT_DOUBLE_EQUAL(sums[1], 0, 0.010);
    CU_ASSERT_DOUBLE_EQUAL(sums[2], 1, 0.014);
    CU_ASSERT_DOUBLE_EQUAL(sums[3], 0, 0.038);
    CU_ASSERT_DOUBLE_EQUAL(sums[4], 3, 0.096);
    CU_ASSERT_DOUBLE_EQUAL(across, 0, 0.014);
    for (size_t i = 0; i < SAMPLE_COUNT; i++) /* the distribution function makes it uniform */
        values[i] = (float)fmin(0.5 * erfc(-values[i] * 0.70710678118654752), 0.9999999);
    double chi = chi_square(values, SAMPLE_COUNT);
    CU_ASSERT(chi > 165 && chi < 345);
}

/* Box & Muller with the C library's functions: the same numbers, but for the rounding. */
static void test_draw_normal_follows_its_formula(void)
{
    double worst = 0, largest = 0;
    for (uint64_t i = 0; i < 100000; i += 2) {
        double u = (draw_u32(&KEY, i) + 0.5) / 4294967296.0;
        uint32_t word = draw_u32(&KEY, i + 1);
        double x = (double)(int32_t)(word << 2) / 4294967296.0 * (acos(-1) / 2);
        double angle = x; /* quarters 0 to 3: x, pi/2 - x, pi + x, 3 pi/2 - x */
        if (word >> 30 & 1)
            angle = acos(-1) / 2 - angle;
        if (word >> 31)
            angle += acos(-1);
        double radius = sqrt(-2 * log(u));
        worst = fmax(worst, fabs(draw_normal(&KEY, i) - radius * cos(angle)));
        worst = fmax(worst, fabs(draw_normal(&KEY, i + 1) - radius * sin(angle)));
        largest = fmax(largest, radius);
    }
    CU_ASSERT(largest > 4 && largest < 6.8);
    CU_ASSERT(worst < 3e-7); /* half a unit in the last place of numbers up to 6.8 */
}

#define TESTS(X) \
    X(test_philox_block_gives_the_published_vectors) \
    X(test_draw_u32_is_the_block_that_the_header_says) \
    X(test_draw_numbers_are_those_recorded) \
    X(test_draw_u32_differs_when_any_part_of_the_key_does) \
    X(test_draw_fill_of_words_gives_those_of_one_by_one) \
    X(test_draw_fill_gives_the_bits_of_one_by_one) \
    X(test_draw_uniform_fills_its_range_evenly) \
    X(test_draw_normal_is_distributed_normally) \
    X(test_draw_normal_follows_its_formula)

UNIT_MAIN("philox", TESTS)
