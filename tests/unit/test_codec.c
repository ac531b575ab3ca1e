#include "common/codec.h"

#include <math.h>
#include <string.h>
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_codec_rounds_bf16_to_the_nearest_and_to_even) \
    X(test_codec_int8_keeps_within_one_scale_of_each_number) \
    X(test_codec_int8_is_right_on_average) \
    X(test_codec_rounded_numbers_stay_when_rounded_encoded_and_decoded) \
    X(test_codec_int8_draws_do_not_depend_on_where_blocks_are_cut) \
    X(test_codec_int8_draws_depend_on_step_tensor_and_node) \
    X(test_codec_keeps_what_is_no_number) \
    X(test_codec_int8_stands_the_ends_of_the_range) \
    X(test_codec_tells_which_sizes_fit) \
    X(test_codec_sparse_changes_what_is_told_and_refuses_an_index_past_the_end)

enum { ROOM = 2000 };

static const struct codec_grid grid_of_test = {.codec = CODEC_INT8, .seed = 7, .step = 3};
static const struct lane_node root = {0, 4};

/* Numbers of many magnitudes; splitmix64. */
static void fill(float *values, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t z = (seed * ROOM + i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        values[i] = ldexpf((float)(int32_t)(z >> 32) * 0x1p-31f, (int)(z % 12) - 6);
    }
}

static float rounded_bf16(float value)
{
    struct codec_grid grid = {.codec = CODEC_BF16};
    codec_round_node(&grid, root, &value, 1);
    return value;
}

static void test_codec_rounds_bf16_to_the_nearest_and_to_even(void)
{
    CU_ASSERT_EQUAL(rounded_bf16(1.0f), 1.0f);
    CU_ASSERT_EQUAL(rounded_bf16(1.0f + 0x1p-8f), 1.0f);                /* between: even */
    CU_ASSERT_EQUAL(rounded_bf16(1.0f + 0x1p-7f + 0x1p-8f), 1.0f + 0x1p-6f);
    CU_ASSERT_EQUAL(rounded_bf16(1.0f + 0x1p-8f + 0x1p-20f), 1.0f + 0x1p-7f);
    CU_ASSERT_EQUAL(rounded_bf16(-1.0f - 0x1p-8f - 0x1p-20f), -1.0f - 0x1p-7f);
    CU_ASSERT(isinf(rounded_bf16(3.4e38f)));
}

static void test_codec_int8_keeps_within_one_scale_of_each_number(void)
{
    static float values[ROOM], rounded[ROOM];
    fill(values, ROOM, 1);
    memcpy(rounded, values, sizeof(values));
    codec_round_node(&grid_of_test, root, rounded, ROOM);
    for (size_t at = 0; at < ROOM; at += CODEC_GROUP) {
        float largest = 0;
        size_t end = at + CODEC_GROUP < ROOM ? at + CODEC_GROUP : ROOM;
        for (size_t i = at; i < end; i++)
            largest = fmaxf(largest, fabsf(values[i]));
        for (size_t i = at; i < end; i++)
            CU_ASSERT(fabsf(rounded[i] - values[i]) < largest * (2.0f / 127));
    }
    CU_ASSERT(memcmp(values, rounded, sizeof(values)) != 0);
}

static void test_codec_int8_is_right_on_average(void)
{
    enum { DRAWS = 4000 };
    double sum[CODEC_GROUP] = {0}, sum_of_squares = 0;
    for (uint64_t step = 0; step < DRAWS; step++) {
        float values[CODEC_GROUP];
        struct codec_grid grid = grid_of_test;
        grid.step = step;
        for (size_t i = 0; i < CODEC_GROUP; i++)
            values[i] = (float)i * 0.3f; /* the largest 76.5: the scale is 1 */
        codec_round_node(&grid, root, values, CODEC_GROUP);
        for (size_t i = 0; i < CODEC_GROUP; i++)
            sum[i] += (double)values[i] - (double)((float)i * 0.3f);
    }
    for (size_t i = 0; i < CODEC_GROUP; i++) {
        double mean = sum[i] / DRAWS;
        CU_ASSERT(fabs(mean) < 5 * 0.5 / sqrt(DRAWS)); /* five deviations of the mean */
        sum_of_squares += mean * mean;
    }
    CU_ASSERT(sqrt(sum_of_squares / CODEC_GROUP) < 1.5 * 0.5 / sqrt(DRAWS));
}

static void check_stays(enum codec_kind codec, size_t count, bool is_weights)
{
    static float values[ROOM], again[ROOM], decoded[ROOM];
    static unsigned char bytes[4 * ROOM];
    struct codec_grid grid = grid_of_test;
    grid.codec = codec;
    fill(values, count, count + 17);
    if (is_weights)
        codec_round_weights(&grid, values, count);
    else
        codec_round_node(&grid, root, values, count);
    memcpy(again, values, sizeof(values));
    grid.step++; /* other draws */
    codec_round_node(&grid, root, again, count);
    CU_ASSERT(memcmp(again, values, count * sizeof(float)) == 0);
    codec_encode(codec, values, count, bytes);
    CU_ASSERT(codec_fits(codec, codec_bytes(codec, count), count));
    CU_ASSERT_EQUAL(codec_decode(codec, bytes, codec_bytes(codec, count), decoded, count), 0);
    CU_ASSERT(memcmp(decoded, values, count * sizeof(float)) == 0);
}

static void test_codec_rounded_numbers_stay_when_rounded_encoded_and_decoded(void)
{
    static const size_t counts[] = {1, 2, 3, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1999};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        check_stays(CODEC_F32, counts[i], false);
        check_stays(CODEC_BF16, counts[i], false);
        check_stays(CODEC_INT8, counts[i], false);
        check_stays(CODEC_INT8, counts[i], true);
    }
}

static void test_codec_int8_draws_do_not_depend_on_where_blocks_are_cut(void)
{
    static float whole[ROOM], parts[ROOM];
    static const size_t cuts[] = {0, 256, 1024, 1280, 1792, ROOM};
    fill(whole, ROOM, 5);
    memcpy(parts, whole, sizeof(parts));
    codec_round_node(&grid_of_test, root, whole, ROOM);
    for (size_t i = 0; i + 1 < ARRAY_LEN(cuts); i++) {
        struct codec_grid grid = grid_of_test;
        grid.first = cuts[i];
        codec_round_node(&grid, root, parts + cuts[i], cuts[i + 1] - cuts[i]);
    }
    CU_ASSERT(memcmp(whole, parts, sizeof(parts)) == 0);
}

static void test_codec_int8_draws_depend_on_step_tensor_and_node(void)
{
    static float first[ROOM], other[ROOM];
    struct codec_grid grids[] = {grid_of_test, grid_of_test, grid_of_test, grid_of_test};
    struct lane_node nodes[] = {root, root, root, {0, 2}};
    grids[0].step++;
    grids[1].tensor_idx++;
    grids[2].seed++;
    for (size_t i = 0; i < ARRAY_LEN(grids); i++) {
        fill(first, ROOM, 3);
        fill(other, ROOM, 3);
        codec_round_node(&grid_of_test, root, first, ROOM);
        codec_round_node(&grids[i], nodes[i], other, ROOM);
        size_t same = 0;
        for (size_t k = 0; k < ROOM; k++)
            same += first[k] == other[k];
        CU_ASSERT(same < ROOM * 9 / 10);
    }
}

static void check_no_number(enum codec_kind codec, float value)
{
    enum { COUNT = 600, AT = 300 };
    float values[COUNT], decoded[COUNT];
    unsigned char bytes[4 * COUNT];
    struct codec_grid grid = grid_of_test;
    grid.codec = codec;
    fill(values, COUNT, 2);
    values[AT] = value;
    codec_round_node(&grid, root, values, COUNT);
    CU_ASSERT(!isfinite(values[AT]));
    codec_encode(codec, values, COUNT, bytes);
    CU_ASSERT_EQUAL(codec_decode(codec, bytes, codec_bytes(codec, COUNT), decoded, COUNT), 0);
    CU_ASSERT(!isfinite(decoded[AT]));
    CU_ASSERT(isfinite(decoded[0]));
    CU_ASSERT(isfinite(decoded[COUNT - 1]));
}

static void test_codec_keeps_what_is_no_number(void)
{
    static const enum codec_kind codecs[] = {CODEC_F32, CODEC_BF16, CODEC_INT8};
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        check_no_number(codecs[i], NAN);
        check_no_number(codecs[i], -NAN);
        check_no_number(codecs[i], INFINITY);
        check_no_number(codecs[i], -INFINITY);
    }
}

static void test_codec_int8_stands_the_ends_of_the_range(void)
{
    static const float ends[] = {3.3e38f, 1.18e-38f, 1e-45f, 0.0f, 127.0f, 127.00001f, 63.5f};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        float values[3] = {ends[i], -ends[i], 0.0f}, decoded[3];
        unsigned char bytes[4];
        codec_round_node(&grid_of_test, root, values, 3);
        CU_ASSERT_EQUAL(values[2], 0.0f);
        CU_ASSERT(fabsf(values[0] - ends[i]) <= ends[i] * (2.0f / 127) + 0x1p-126f);
        CU_ASSERT(fabsf(values[1] + ends[i]) <= ends[i] * (2.0f / 127) + 0x1p-126f);
        codec_encode(CODEC_INT8, values, 3, bytes);
        CU_ASSERT_EQUAL(codec_decode(CODEC_INT8, bytes, sizeof(bytes), decoded, 3), 0);
        CU_ASSERT_EQUAL(decoded[0], values[0]);
        CU_ASSERT_EQUAL(decoded[1], values[1]);
    }
}

static void test_codec_tells_which_sizes_fit(void)
{
    CU_ASSERT_EQUAL(codec_bytes(CODEC_F32, 3), 12);
    CU_ASSERT_EQUAL(codec_bytes(CODEC_BF16, 3), 8);
    CU_ASSERT_EQUAL(codec_bytes(CODEC_INT8, 256), 260);
    CU_ASSERT_EQUAL(codec_bytes(CODEC_INT8, 257), 260);
    CU_ASSERT_EQUAL(codec_bytes(CODEC_SPARSE, 2), 16);
    CU_ASSERT(codec_fits(CODEC_BF16, 8, 3));
    CU_ASSERT(!codec_fits(CODEC_BF16, 12, 3));
    CU_ASSERT(codec_fits(CODEC_SPARSE, 8, 3));
    CU_ASSERT(codec_fits(CODEC_SPARSE, 24, 3));
    CU_ASSERT(!codec_fits(CODEC_SPARSE, 32, 3));
    CU_ASSERT(!codec_fits(CODEC_SPARSE, 12, 3));
    CU_ASSERT(!codec_fits(CODEC_SPARSE, 0, 3));
}

static void test_codec_sparse_changes_what_is_told_and_refuses_an_index_past_the_end(void)
{
    float values[4] = {1, 2, 3, 4};
    struct {
        uint32_t idx;
        float value;
    } pairs[2] = {{1, 20}, {3, 40}};
    CU_ASSERT_EQUAL(codec_decode(CODEC_SPARSE, pairs, sizeof(pairs), values, 4), 0);
    CU_ASSERT_EQUAL(values[0], 1);
    CU_ASSERT_EQUAL(values[1], 20);
    CU_ASSERT_EQUAL(values[2], 3);
    CU_ASSERT_EQUAL(values[3], 40);
    pairs[1].idx = 4;
    CU_ASSERT_EQUAL(codec_decode(CODEC_SPARSE, pairs, sizeof(pairs), values, 4), ERR_PROTO);
}

UNIT_MAIN("codec", TESTS)
