#include "common/sparse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/codec.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_sparse_threshold_is_the_magnitude_that_sorting_finds) \
    X(test_sparse_moves_the_largest_and_leaves_the_rest) \
    X(test_sparse_takes_the_first_of_equals) \
    X(test_sparse_takes_what_is_no_number_first) \
    X(test_sparse_gathers_what_a_sum_changes)

enum { ROOM = 1500 };

/* Numbers of many magnitudes, some of them equal; splitmix64. */
static void fill(float *values, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t z = (seed * ROOM + i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        values[i] = ldexpf((float)(int32_t)(z >> 32) * 0x1p-31f, (int)(z % 40) - 20);
        if (z % 7 == 0)
            values[i] = z % 2 == 0 ? 0.125f : -0.125f;
    }
}

static int by_magnitude(const void *a, const void *b)
{
    float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return (x < y) - (x > y);
}

static void check_threshold(size_t count, size_t keep)
{
    static float values[ROOM], sorted[ROOM];
    size_t ties, above = 0;
    fill(values, count, count);
    memcpy(sorted, values, count * sizeof(float));
    qsort(sorted, count, sizeof(*sorted), by_magnitude);
    uint32_t bits = sparse_threshold(values, count, keep, &ties);
    float threshold;
    memcpy(&threshold, &bits, sizeof(threshold));
    for (size_t i = 0; i < count; i++)
        above += fabsf(values[i]) > threshold;
    CU_ASSERT_EQUAL(threshold, fabsf(sorted[keep - 1]));
    CU_ASSERT_EQUAL(above + ties, keep);
}

static void test_sparse_threshold_is_the_magnitude_that_sorting_finds(void)
{
    static const size_t counts[] = {1, 2, 3, 100, 1499};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        for (size_t keep = 1; keep <= counts[i]; keep += 1 + keep / 3)
            check_threshold(counts[i], keep);
}

static uint32_t index_at(const unsigned char *pairs, size_t i)
{
    uint32_t idx;
    memcpy(&idx, pairs + i * CODEC_PAIR_BYTES, sizeof(idx));
    return idx;
}

static void test_sparse_moves_the_largest_and_leaves_the_rest(void)
{
    enum { KEEP = 40 };
    static float values[ROOM], before[ROOM], moved[ROOM];
    unsigned char pairs[KEEP * CODEC_PAIR_BYTES];
    fill(values, ROOM, 4);
    memcpy(before, values, sizeof(before));
    sparse_move_largest(values, ROOM, KEEP, pairs);
    CU_ASSERT_EQUAL(codec_decode(CODEC_SPARSE, pairs, sizeof(pairs), moved, ROOM), 0);
    float least_moved = INFINITY, most_left = 0;
    size_t moved_count = 0;
    for (size_t i = 0; i < ROOM; i++) {
        CU_ASSERT_EQUAL(values[i] + moved[i], before[i]);
        CU_ASSERT(moved[i] == 0.0f || values[i] == 0.0f);
        moved_count += moved[i] != 0.0f;
        if (moved[i] != 0.0f)
            least_moved = fminf(least_moved, fabsf(moved[i]));
        most_left = fmaxf(most_left, fabsf(values[i]));
    }
    CU_ASSERT_EQUAL(moved_count, KEEP);
    CU_ASSERT(least_moved >= most_left);
    for (size_t i = 1; i < KEEP; i++)
        CU_ASSERT(index_at(pairs, i - 1) < index_at(pairs, i));
}

static void test_sparse_takes_the_first_of_equals(void)
{
    float values[6] = {1, -2, 2, 3, -2, 0};
    unsigned char pairs[2 * CODEC_PAIR_BYTES];
    sparse_move_largest(values, 6, 2, pairs);
    CU_ASSERT_EQUAL(index_at(pairs, 0), 1);
    CU_ASSERT_EQUAL(index_at(pairs, 1), 3);
    CU_ASSERT_EQUAL(values[2], 2);
}

static void test_sparse_takes_what_is_no_number_first(void)
{
    float values[4] = {1, 1e38f, -NAN, 2}, told[4] = {0};
    unsigned char pairs[CODEC_PAIR_BYTES];
    sparse_move_largest(values, 4, 1, pairs);
    CU_ASSERT_EQUAL(codec_decode(CODEC_SPARSE, pairs, sizeof(pairs), told, 4), 0);
    CU_ASSERT(isnan(told[2]));
}

static void test_sparse_gathers_what_a_sum_changes(void)
{
    static const float a[4] = {0, 1, 2, 0}, b[4] = {0, -1, 1, 3}, none[4] = {0};
    static const float weights[4] = {10, 20, 30, 40};
    unsigned char pairs[4 * CODEC_PAIR_BYTES];
    float base[4] = {1, 2, 3, 4};
    CU_ASSERT_EQUAL(sparse_count(a, b, 4), 2);
    CU_ASSERT_EQUAL(sparse_count(a, NULL, 4), 2);
    CU_ASSERT_EQUAL(sparse_count(none, NULL, 4), 0);
    sparse_gather(a, b, weights, 4, pairs);
    CU_ASSERT_EQUAL(codec_decode(CODEC_SPARSE, pairs, 2 * CODEC_PAIR_BYTES, base, 4), 0);
    CU_ASSERT_EQUAL(base[0], 1);
    CU_ASSERT_EQUAL(base[1], 2);
    CU_ASSERT_EQUAL(base[2], 30);
    CU_ASSERT_EQUAL(base[3], 40);
    sparse_gather(none, NULL, weights, 4, pairs);
    CU_ASSERT_EQUAL(index_at(pairs, 0), 0);
    CU_ASSERT_EQUAL(codec_decode(CODEC_SPARSE, pairs, CODEC_PAIR_BYTES, base, 4), 0);
    CU_ASSERT_EQUAL(base[0], 10);
}

UNIT_MAIN("sparse", TESTS)
