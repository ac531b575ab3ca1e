#include "common/layout.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

static const struct tensor_spec tensors[] = {
    {.name = "a.weight", .dims = 2, .shape = {30, 20}, .init = INIT_HE, .init_scale = 0.5f},
    {.name = "a.bias", .dims = 1, .shape = {20}},
    {.name = "b.weight", .dims = 2, .shape = {20, 7}, .init = INIT_XAVIER, .init_scale = 0.25f}};

static struct layout *make(uint32_t block_bytes)
{
    struct layout *layout = NULL;
    struct err_msg why;
    CU_ASSERT_EQUAL_FATAL(
        layout_create(tensors, ARRAY_LEN(tensors), block_bytes, &layout, &why), 0);
    return layout;
}

static void test_layout_cuts_tensors_into_blocks_that_join_up(void)
{
    struct layout *layout = make(256);
    CU_ASSERT_EQUAL(layout->weight_count, 600 + 20 + 140);
    CU_ASSERT_EQUAL(layout->block_count, 10 + 1 + 3);
    uint64_t next = 0;
    for (size_t i = 0; i < layout->block_count; i++) {
        const struct block_spec *block = &layout->blocks[i];
        CU_ASSERT_EQUAL(block->range.begin, next);
        CU_ASSERT(block->range.end - block->range.begin <= 64);
        CU_ASSERT(block->range.end <= layout->tensor_begin[block->tensor_idx + 1]);
        next = block->range.end;
    }
    CU_ASSERT_EQUAL(next, layout->weight_count);
    struct range middle = layout_tensor_blocks(layout, 1), last = layout_tensor_blocks(layout, 2);
    CU_ASSERT(middle.begin == 10 && middle.end == 11);
    CU_ASSERT(last.begin == 11 && last.end == 14);
    layout_destroy(layout);
}

static void fill(const struct layout *layout, float *weights)
{
    for (size_t i = 0; i < layout->block_count; i++)
        layout_init_block(layout, i, 42, weights + layout->blocks[i].range.begin);
}

static void test_layout_initial_weights_do_not_depend_on_the_blocks(void)
{
    float small[760], large[760];
    struct layout *a = make(64), *b = make(1 << 20);
    fill(a, small);
    fill(b, large);
    CU_ASSERT_EQUAL(memcmp(small, large, sizeof(small)), 0);
    double square = 0;
    for (size_t i = 0; i < 600; i++)
        square += (double)small[i] * small[i] / 600;
    CU_ASSERT(sqrt(square) > 0.45 && sqrt(square) < 0.55); /* INIT_HE: deviation 0.5 */
    float most = 0;
    for (size_t i = 620; i < 760; i++)
        most = fmaxf(most, fabsf(small[i]));
    CU_ASSERT(most <= 0.25f && most > 0.2f); /* INIT_XAVIER: bound 0.25 */
    for (size_t i = 600; i < 620; i++)
        CU_ASSERT_EQUAL(small[i], 0.0f);
    layout_destroy(a);
    layout_destroy(b);
}

static void refuse(struct tensor_spec spec, uint32_t block_bytes, const char *expected)
{
    struct tensor_spec both[2] = {tensors[1], spec};
    struct layout *layout = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(layout_create(both, 2, block_bytes, &layout, &why), ERR_INPUT);
    CU_ASSERT_PTR_NULL(layout);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, expected));
}

static void test_layout_refuses_what_makes_no_model(void)
{
    struct tensor_spec bad = tensors[0];
    bad.shape[1] = 0;
    refuse(bad, 256, "\"a.weight\" has an empty or too large shape");
    bad.shape[0] = bad.shape[1] = UINT32_MAX;
    refuse(bad, 256, "too large");
    refuse(tensors[1], 256, "two tensors are called \"a.bias\"");
    refuse(tensors[0], 6, "multiple of 4");
    bad = tensors[0];
    bad.name[0] = 0;
    refuse(bad, 256, "name");
    bad = tensors[0];
    bad.rate_scale = 1001;
    refuse(bad, 256, "\"a.weight\" has a rate_scale of 1001; expected 0 to 1000");
    bad.update = UPDATE_AVERAGE;
    bad.rate_scale = 1.5f;
    refuse(bad, 256, "has a rate_scale of 1.5; expected 0 to 1");
    bad.rate_scale = NAN;
    refuse(bad, 256, "rate_scale");
    bad = tensors[0];
    bad.dims = 5;
    refuse(bad, 256, "5 dimensions");
    bad = tensors[0];
    bad.shape[0] = bad.shape[1] = 5000;
    refuse(bad, 4, "has more than 16777216 blocks: larger exchange.block_bytes may help");
}

static void test_layout_initial_weights_do_not_depend_on_other_tensors(void)
{
    struct tensor_spec other[3];
    memcpy(other, tensors, sizeof(other));
    other[0].shape[0] = 31;
    struct layout *a = make(1 << 20), *b = NULL;
    float in_a[140], in_b[140];
    CU_ASSERT_EQUAL_FATAL(layout_create(other, 3, 1 << 20, &b, NULL), 0);
    layout_init_block(a, 2, 42, in_a);
    layout_init_block(b, 2, 42, in_b);
    CU_ASSERT_EQUAL(memcmp(in_a, in_b, sizeof(in_a)), 0);
    layout_destroy(a);
    layout_destroy(b);
}

static void check_digest_differs(const struct tensor_spec *other, uint32_t block_bytes)
{
    struct layout *a = make(256), *b = NULL;
    char first[65], second[65];
    CU_ASSERT_EQUAL_FATAL(layout_create(other, 3, block_bytes, &b, NULL), 0);
    CU_ASSERT_EQUAL(layout_digest(a, first), 0);
    CU_ASSERT_EQUAL(layout_digest(b, second), 0);
    CU_ASSERT(strcmp(first, second) != 0);
    layout_destroy(a);
    layout_destroy(b);
}

static void test_layout_digest_tells_models_apart(void)
{
    struct tensor_spec other[3];
    memcpy(other, tensors, sizeof(other));
    check_digest_differs(other, 512);
    other[0].shape[0] = 20;
    other[0].shape[1] = 30;
    check_digest_differs(other, 256);
    memcpy(other, tensors, sizeof(other));
    other[0].has_decay = !other[0].has_decay;
    check_digest_differs(other, 256);
    memcpy(other, tensors, sizeof(other));
    other[0].init_scale *= 2;
    check_digest_differs(other, 256);
    memcpy(other, tensors, sizeof(other));
    other[1].init = INIT_HE;
    check_digest_differs(other, 256);
    memcpy(other, tensors, sizeof(other));
    other[1].update = UPDATE_FROZEN;
    check_digest_differs(other, 256);
    memcpy(other, tensors, sizeof(other));
    other[2].rate_scale = 0.5f;
    check_digest_differs(other, 256);
}

/* What was written before tensors had rates of their own is of the same layout. */
static void test_layout_digest_does_not_tell_a_rate_of_1_from_none(void)
{
    struct tensor_spec other[3];
    struct layout *a = make(256), *b = NULL;
    char first[65], second[65];
    memcpy(other, tensors, sizeof(other));
    other[0].rate_scale = other[1].rate_scale = 1;
    CU_ASSERT_EQUAL_FATAL(layout_create(other, 3, 256, &b, NULL), 0);
    CU_ASSERT_EQUAL(tensor_rate_scale(&a->tensors[0]), 1.0f);
    CU_ASSERT_EQUAL(layout_digest(a, first), 0);
    CU_ASSERT_EQUAL(layout_digest(b, second), 0);
    CU_ASSERT_STRING_EQUAL(first, second);
    layout_destroy(a);
    layout_destroy(b);
}

#define TESTS(X)                                               \
    X(test_layout_cuts_tensors_into_blocks_that_join_up)       \
    X(test_layout_initial_weights_do_not_depend_on_the_blocks) \
    X(test_layout_refuses_what_makes_no_model)                 \
    X(test_layout_initial_weights_do_not_depend_on_other_tensors) \
    X(test_layout_digest_tells_models_apart)                   \
    X(test_layout_digest_does_not_tell_a_rate_of_1_from_none)

UNIT_MAIN("layout", TESTS)
