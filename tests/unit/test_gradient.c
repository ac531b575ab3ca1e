#include "worker/gradient.h"
#include "tests/unit/unit.h"

enum { BLOCK_BYTES = 16 }; /* 4 elements */

/* Two tensors, of 10 and 3 elements: blocks at 0, 4, 8 and 10. */
struct bench {
    struct layout *layout;
    struct buffer_pool *pool;
    struct gradient *gradient;
};

static void open_bench(struct bench *bench, uint32_t first_count)
{
    struct err_msg why;
    struct tensor_spec tensors[] = {{.name = "a", .dims = 1, .shape = {first_count}},
                                    {.name = "b", .dims = 1, .shape = {3}}};
    CU_ASSERT_EQUAL_FATAL(layout_create(tensors, 2, BLOCK_BYTES, &bench->layout, &why), 0);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create_shared(&bench->pool), 0);
    CU_ASSERT_EQUAL_FATAL(gradient_create(bench->layout, bench->pool, &bench->gradient), 0);
}

static void close_bench(struct bench *bench)
{
    gradient_destroy(bench->gradient);
    buffer_pool_destroy(bench->pool);
    layout_destroy(bench->layout);
}

static float *fill(struct bench *bench, float with)
{
    float *flat = gradient_begin(bench->gradient);
    CU_ASSERT_PTR_NOT_NULL_FATAL(flat);
    for (uint64_t i = 0; i < bench->layout->weight_count; i++)
        flat[i] = with + (float)i;
    return flat;
}

static void test_gradient_hands_its_blocks_over_where_they_lie(void)
{
    struct bench bench;
    open_bench(&bench, 10);
    const float *flat = fill(&bench, 0.0f);
    for (size_t i = 0; i < bench.layout->block_count; i++) {
        struct buffer *block = gradient_block(bench.gradient, i);
        CU_ASSERT_PTR_NOT_NULL_FATAL(block);
        CU_ASSERT_PTR_EQUAL(block->data, flat + bench.layout->blocks[i].range.begin);
        CU_ASSERT_PTR_NOT_NULL(block->segment);
        CU_ASSERT_EQUAL(block->size_bytes, i < 2 ? 16 : i == 2 ? 8 : 12);
        buffer_unref(block);
    }
    close_bench(&bench);
}

static void test_gradient_takes_the_same_vector_again_when_no_block_is_kept(void)
{
    struct bench bench;
    open_bench(&bench, 10);
    const float *flat = fill(&bench, 0.0f);
    buffer_unref(gradient_block(bench.gradient, 1));
    CU_ASSERT_PTR_EQUAL(gradient_begin(bench.gradient), flat);
    close_bench(&bench);
}

static void test_gradient_leaves_blocks_that_are_kept_as_they_are(void)
{
    struct bench bench;
    open_bench(&bench, 10);
    const float *flat = fill(&bench, 0.0f);
    struct buffer *kept = gradient_block(bench.gradient, 1);
    CU_ASSERT_PTR_NOT_EQUAL(fill(&bench, 100.0f), flat);
    CU_ASSERT_EQUAL(((const float *)kept->data)[0], 4.0f);
    close_bench(&bench);
    CU_ASSERT_EQUAL(((const float *)kept->data)[3], 7.0f); /* longer than all else, too */
    buffer_unref(kept);
}

static void test_gradient_copies_a_block_that_begins_at_an_odd_element(void)
{
    struct bench bench;
    open_bench(&bench, 9); /* blocks at 0, 4, 8 and 9 */
    const float *flat = fill(&bench, 0.0f);
    struct buffer *block = gradient_block(bench.gradient, 3);
    CU_ASSERT_PTR_NOT_EQUAL(block->data, flat + 9);
    CU_ASSERT_EQUAL(((const float *)block->data)[2], 11.0f);
    buffer_unref(block);
    close_bench(&bench);
}

static void test_gradient_copies_out_of_its_own_where_the_pool_has_none_so_large(void)
{
    struct bench bench;
    open_bench(&bench, 40);
    gradient_destroy(bench.gradient);
    buffer_pool_destroy(bench.pool);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create(128, &bench.pool), 0);
    CU_ASSERT_EQUAL_FATAL(gradient_create(bench.layout, bench.pool, &bench.gradient), 0);
    const float *flat = fill(&bench, 0.0f);
    struct buffer *block = gradient_block(bench.gradient, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(block);
    CU_ASSERT_PTR_EQUAL(fill(&bench, 100.0f), flat);
    CU_ASSERT_EQUAL(((const float *)block->data)[0], 4.0f);
    buffer_unref(block);
    close_bench(&bench);
}

#define TESTS(X)                                                                     \
    X(test_gradient_hands_its_blocks_over_where_they_lie)                            \
    X(test_gradient_takes_the_same_vector_again_when_no_block_is_kept)               \
    X(test_gradient_leaves_blocks_that_are_kept_as_they_are)                         \
    X(test_gradient_copies_a_block_that_begins_at_an_odd_element)                    \
    X(test_gradient_copies_out_of_its_own_where_the_pool_has_none_so_large)

UNIT_MAIN("gradient", TESTS)
