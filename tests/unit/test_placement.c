#include "ps/placement.h"
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

/* Layers of very different sizes, as in a real network. */
static struct layout *make(void)
{
    struct tensor_spec specs[40];
    struct layout *layout = NULL;
    memset(specs, 0, sizeof(specs));
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(specs[i].name, sizeof(specs[i].name), "t%u", i);
        specs[i].dims = 2;
        specs[i].shape[0] = 1 + i * i;
        specs[i].shape[1] = 1 + i * 7 % 64;
    }
    CU_ASSERT_EQUAL_FATAL(layout_create(specs, 40, 16384, &layout, NULL), 0);
    return layout;
}

static void test_placement_is_even_in_bytes(void)
{
    static const size_t shard_counts[] = {1, 3, 5, 8};
    struct layout *layout = make();
    uint32_t *placed = calloc(layout->block_count, sizeof(*placed));
    for (size_t s = 0; s < ARRAY_LEN(shard_counts); s++) {
        uint64_t load[8] = {0}, fullest = 0;
        CU_ASSERT_EQUAL_FATAL(placement_deal(layout, shard_counts[s], placed), 0);
        for (size_t i = 0; i < layout->block_count; i++) {
            CU_ASSERT_FATAL(placed[i] < shard_counts[s]);
            load[placed[i]] += layout->blocks[i].range.end - layout->blocks[i].range.begin;
        }
        for (size_t i = 0; i < shard_counts[s]; i++)
            fullest = load[i] > fullest ? load[i] : fullest;
        CU_ASSERT((double)fullest <= 1.1 * (double)layout->weight_count / (double)shard_counts[s]);
    }
    free(placed);
    layout_destroy(layout);
}

static void test_placement_leaves_shards_empty_when_blocks_are_few(void)
{
    struct tensor_spec spec = {.name = "only", .dims = 1, .shape = {10}};
    struct layout *layout = NULL;
    uint32_t placed = 99;
    CU_ASSERT_EQUAL_FATAL(layout_create(&spec, 1, 4096, &layout, NULL), 0);
    CU_ASSERT_EQUAL(placement_deal(layout, 5, &placed), 0);
    CU_ASSERT_EQUAL(placed, 0);
    layout_destroy(layout);
}

#define TESTS(X)                       \
    X(test_placement_is_even_in_bytes) \
    X(test_placement_leaves_shards_empty_when_blocks_are_few)

UNIT_MAIN("placement", TESTS)
