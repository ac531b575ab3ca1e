#include "common/lane.h"
#include "tests/unit/unit.h"

static bool is_node(struct lane_node node, uint32_t begin, uint32_t end)
{
    return node.begin == begin && node.end == end;
}

static void test_lane_node_is_valid_when_aligned_and_a_power_of_two(void)
{
    CU_ASSERT(lane_node_is_valid((struct lane_node){0, 8}, 8));
    CU_ASSERT(lane_node_is_valid((struct lane_node){6, 8}, 8));
    CU_ASSERT(lane_node_is_valid((struct lane_node){5, 6}, 8));
    CU_ASSERT(!lane_node_is_valid((struct lane_node){1, 3}, 8));
    CU_ASSERT(!lane_node_is_valid((struct lane_node){0, 3}, 8));
    CU_ASSERT(!lane_node_is_valid((struct lane_node){4, 4}, 8));
    CU_ASSERT(!lane_node_is_valid((struct lane_node){8, 16}, 8));
    CU_ASSERT(!lane_node_is_valid((struct lane_node){7, 3}, 8));
}

static void test_lane_node_knows_its_family(void)
{
    CU_ASSERT(is_node(lane_node_parent((struct lane_node){2, 4}), 0, 4));
    CU_ASSERT(is_node(lane_node_parent((struct lane_node){4, 8}), 0, 8));
    CU_ASSERT(is_node(lane_node_sibling((struct lane_node){2, 4}), 0, 2));
    CU_ASSERT(is_node(lane_node_sibling((struct lane_node){0, 4}), 4, 8));
    CU_ASSERT(lane_node_covers((struct lane_node){0, 4}, (struct lane_node){3, 4}));
    CU_ASSERT(!lane_node_covers((struct lane_node){0, 4}, (struct lane_node){4, 8}));
}

static void test_lane_run_falls_into_its_largest_nodes(void)
{
    struct lane_node run = {2, 7};
    CU_ASSERT(is_node(lane_node_within(run, 2), 2, 4));
    CU_ASSERT(is_node(lane_node_within(run, 3), 2, 4));
    CU_ASSERT(is_node(lane_node_within(run, 5), 4, 6));
    CU_ASSERT(is_node(lane_node_within(run, 6), 6, 7));
}

static void test_lane_shares_are_even_and_leave_none_out(void)
{
    for (uint32_t members = 1; members <= 20; members++) {
        uint32_t next = 0;
        for (uint32_t i = 0; i < members; i++) {
            struct lane_node share = lane_share(16, i, members);
            CU_ASSERT_EQUAL(share.begin, next);
            CU_ASSERT(share.end - share.begin <= 16 / members + 1);
            next = share.end;
        }
        CU_ASSERT_EQUAL(next, 16);
    }
}

#define TESTS(X)                                                   \
    X(test_lane_node_is_valid_when_aligned_and_a_power_of_two)     \
    X(test_lane_node_knows_its_family)                             \
    X(test_lane_run_falls_into_its_largest_nodes)                  \
    X(test_lane_shares_are_even_and_leave_none_out)

UNIT_MAIN("lane", TESTS)
