/* Each level's kernels against the same source compiled without any vector instruction, bit for
 * bit: on odd lengths, at heads of any alignment, and not an element further than asked. */
#include "common/simd.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "common/err.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_simd_has_a_level_everywhere) \
    X(test_simd_adds_the_same_bits_at_every_level) \
    X(test_simd_finds_every_number_that_is_none_at_every_level) \
    X(test_simd_draws_the_same_bits_at_every_level) \
    X(test_simd_optimizers_make_the_same_bits_at_every_level)

enum { ROOM = 1100, HEADS = 17 };

/* The plain twin. */
extern const struct simd_kernels simd_table_scalar;

static const size_t lengths[] = {0,  1,  2,  3,  4,  5,  7,  8,  9,  15, 16,
                                 17, 31, 32, 33, 63, 64, 65, 127, 1003};

typedef void (*optimizer_kernel)(const struct simd_step *step);

/* splitmix64 */
static uint64_t noise(uint64_t z)
{
    z = (z + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Any finite number of magnitude up to 2^40: zeros of both signs and denormals as well. */
static void fill(float *values, uint64_t seed)
{
    for (size_t i = 0; i < ROOM; i++) {
        uint64_t bits = noise(seed * ROOM + i);
        float value = (float)((double)(bits >> 40) * 0x1p-24 - 0.5);
        int exponent = (int)(bits % 80) - 40;
        values[i] = bits % 13 == 0 ? -0.0f : bits % 17 == 0 ? 1e-40f * value
                                                            : ldexpf(value, exponent);
    }
}

static const struct simd_kernels *kernels_at(int level)
{
    const struct simd_kernels *kernels = simd_kernels_of((enum simd_level)level);
    if (kernels == NULL)
        printf("[%s: not on this processor] ", simd_level_text((enum simd_level)level));
    return kernels;
}

static void test_simd_has_a_level_everywhere(void)
{
    CU_ASSERT_PTR_NOT_NULL(simd_kernels_of(SIMD_BASE));
    CU_ASSERT_PTR_NOT_NULL(simd_kernels_best());
    CU_ASSERT_PTR_NULL(simd_kernels_of(SIMD_LEVEL_COUNT));
}

static void check_adds(const struct simd_kernels *kernels, size_t head, size_t count)
{
    static float a[ROOM], b[ROOM], found[ROOM], expected[ROOM];
    fill(a, head);
    fill(b, head + 100);
    memcpy(found, a, sizeof(a));
    memcpy(expected, a, sizeof(a));
    kernels->add(found + head, b + HEADS - head, count);
    simd_table_scalar.add(expected + head, b + HEADS - head, count);
    CU_ASSERT(memcmp(found, expected, sizeof(found)) == 0);
    fill(found, 7);
    fill(expected, 7);
    kernels->sum(found + head, a + 1, b + HEADS - head, count);
    simd_table_scalar.sum(expected + head, a + 1, b + HEADS - head, count);
    CU_ASSERT(memcmp(found, expected, sizeof(found)) == 0);
}

static void test_simd_adds_the_same_bits_at_every_level(void)
{
    for (int level = 0; level < SIMD_LEVEL_COUNT; level++) {
        const struct simd_kernels *kernels = kernels_at(level);
        for (size_t head = 0; kernels != NULL && head < HEADS; head++)
            for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
                check_adds(kernels, head, lengths[i]);
    }
}

static void test_simd_draws_the_same_bits_at_every_level(void)
{
    enum { CHUNKS = 1000 };
    for (int level = 0; level < SIMD_LEVEL_COUNT; level++) {
        const struct simd_kernels *kernels = kernels_at(level);
        for (uint64_t chunk = 0; kernels != NULL && chunk < CHUNKS; chunk++) {
            struct simd_stream stream = {{(uint32_t)noise(chunk), 1}, {2, (uint32_t)chunk}};
            uint64_t first_block = UINT32_MAX - SIMD_PHILOX_WORDS / 8 + chunk % 2 * noise(chunk);
            uint32_t words[2][SIMD_PHILOX_WORDS];
            float values[2][SIMD_PHILOX_WORDS];
            kernels->philox_words(&stream, first_block, words[0]);
            simd_table_scalar.philox_words(&stream, first_block, words[1]);
            CU_ASSERT(memcmp(words[0], words[1], sizeof(words[0])) == 0);
            kernels->philox_normals(words[0], values[0]);
            simd_table_scalar.philox_normals(words[0], values[1]);
            CU_ASSERT(memcmp(values[0], values[1], sizeof(values[0])) == 0);
        }
    }
}

/* A bad number just outside of the range is nobody's business. */
static void check_finite(const struct simd_kernels *kernels, size_t head, size_t count)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    static float values[ROOM + 1];
    fill(values + 1, head);
    float *range = values + 1 + head;
    range[-1] = range[count] = NAN;
    CU_ASSERT(kernels->is_finite(range, count));
    for (size_t i = 0; i < count; i += 1 + i / 16) {
        float kept = range[i];
        range[i] = bad[i % ARRAY_LEN(bad)];
        CU_ASSERT(!kernels->is_finite(range, count));
        range[i] = kept;
    }
}

static void test_simd_finds_every_number_that_is_none_at_every_level(void)
{
    for (size_t head = 0; head < HEADS; head++)
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            check_finite(&simd_table_scalar, head, lengths[i]);
            for (int level = 0; level < SIMD_LEVEL_COUNT; level++)
                if (simd_kernels_of((enum simd_level)level) != NULL)
                    check_finite(simd_kernels_of((enum simd_level)level), head, lengths[i]);
        }
}

struct arrays {
    float w[ROOM], grad[ROOM], grad2[ROOM], first[ROOM], second[ROOM], out[ROOM];
};

static void fill_arrays(struct arrays *arrays, size_t head)
{
    memset(arrays, 0, sizeof(*arrays));
    fill(arrays->w, head);
    fill(arrays->grad, head + 1);
    fill(arrays->grad2, head + 2);
    fill(arrays->first, head + 3);
    fill(arrays->second, head + 4);
    for (size_t i = 0; i < ROOM; i++)
        arrays->second[i] = fabsf(arrays->second[i]);
}

/* One after another, each with heads of its own; with one gradient and two, apart and in place. */
static void run(optimizer_kernel kernel, struct arrays *arrays, size_t head, size_t count)
{
    for (unsigned variant = 0; variant < 4; variant++) {
        struct simd_step step = {.w = arrays->w + head, .grad = arrays->grad + HEADS - head,
                                 .first = arrays->first + head / 2, .second = arrays->second + 3,
                                 .out = arrays->out + 1, .count = count, .scale = 0.0125f,
                                 .weight_decay = 0.01f, .l1 = 1e-3f, .rate = 0.07f,
                                 .momentum = 0.9f, .beta1 = 0.9f, .rest1 = 0.1f, .beta2 = 0.99f,
                                 .rest2 = 0.01f, .root_bias = 0.3f, .epsilon = 1e-8f,
                                 .keep = 0.999f};
        if (variant & 1)
            step.grad2 = arrays->grad2 + 2;
        if (variant & 2)
            step.out = arrays->w + head;
        kernel(&step);
    }
}

static void check_optimizer(optimizer_kernel found, optimizer_kernel expected)
{
    static struct arrays a, b;
    for (size_t head = 0; head < HEADS; head++)
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            fill_arrays(&a, head);
            fill_arrays(&b, head);
            run(found, &a, head, lengths[i]);
            run(expected, &b, head, lengths[i]);
            CU_ASSERT(memcmp(&a, &b, sizeof(a)) == 0);
        }
}

static void test_simd_optimizers_make_the_same_bits_at_every_level(void)
{
    for (int level = 0; level < SIMD_LEVEL_COUNT; level++) {
        const struct simd_kernels *kernels = kernels_at(level);
        if (kernels == NULL)
            continue;
        check_optimizer(kernels->sgd, simd_table_scalar.sgd);
        check_optimizer(kernels->momentum, simd_table_scalar.momentum);
        check_optimizer(kernels->nesterov, simd_table_scalar.nesterov);
        check_optimizer(kernels->adam, simd_table_scalar.adam);
    }
}

UNIT_MAIN("simd", TESTS)
