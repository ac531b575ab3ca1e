#include "ps/dealing.h"
#include <stddef.h>
#include "tests/unit/unit.h"

static void test_dealing_is_even_when_nothing_is_known(void)
{
    struct hand hands[3] = {{.id = 5}, {.id = 6}, {.id = 7}};
    uint64_t owners[8];
    static const uint64_t expected[8] = {5, 5, 5, 6, 6, 6, 7, 7};
    dealing_deal(hands, 3, 8, owners);
    for (size_t i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(owners[i], expected[i]);
    CU_ASSERT_EQUAL(hands[0].count, 3);
    CU_ASSERT_EQUAL(hands[2].count, 2);
}

static void test_dealing_gives_a_slow_worker_fewer_or_none(void)
{
    struct hand hands[2] = {{.id = 5, .lane_ms = 10, .threads = 1},
                            {.id = 6, .lane_ms = 25, .threads = 1}};
    uint64_t owners[4];
    dealing_deal(hands, 2, 4, owners);
    CU_ASSERT_EQUAL(hands[0].count, 3);
    CU_ASSERT_EQUAL(hands[1].count, 1);
    CU_ASSERT_EQUAL(owners[2], 5);
    CU_ASSERT_EQUAL(owners[3], 6);
    CU_ASSERT_DOUBLE_EQUAL(dealing_span_ms(hands, 2), 30.0, 1e-9);
    hands[1].lane_ms = 100;
    dealing_deal(hands, 2, 4, owners);
    CU_ASSERT_EQUAL(hands[1].count, 0);
    CU_ASSERT_EQUAL(owners[3], 5);
}

static void test_dealing_takes_an_unknown_worker_for_the_mean_of_the_others(void)
{
    struct hand hands[2] = {{.id = 5, .lane_ms = 10, .threads = 1}, {.id = 6, .threads = 1}};
    uint64_t owners[4];
    dealing_deal(hands, 2, 4, owners);
    CU_ASSERT_EQUAL(hands[0].count, 2);
    CU_ASSERT_EQUAL(hands[1].count, 2);
}

static void test_dealing_counts_threads(void)
{
    struct hand hands[2] = {{.id = 5, .lane_ms = 10, .threads = 3},
                            {.id = 6, .lane_ms = 10, .threads = 1}};
    uint64_t owners[8];
    dealing_deal(hands, 2, 8, owners);
    CU_ASSERT_EQUAL(hands[0].count, 6);
    CU_ASSERT_EQUAL(hands[1].count, 2);
    CU_ASSERT_DOUBLE_EQUAL(dealing_span_ms(hands, 2), 20.0, 1e-9);
}

static void test_dealing_without_workers_leaves_lanes_with_nobody(void)
{
    uint64_t owners[3] = {1, 2, 3};
    dealing_deal(NULL, 0, 3, owners);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(owners[i], 0);
    CU_ASSERT_DOUBLE_EQUAL(dealing_span_ms(NULL, 0), 0.0, 1e-9);
}

static void test_dealing_gives_nothing_to_who_would_hold_the_others_up(void)
{
    struct hand hands[] = {{.id = 1, .lane_ms = 1.0}, {.id = 2, .lane_ms = 1.0, .behind_ms = 9.0}};
    uint64_t owners[8];
    dealing_deal(hands, 2, 8, owners);
    CU_ASSERT_EQUAL(hands[0].count, 8);
    CU_ASSERT_DOUBLE_EQUAL(dealing_span_ms(hands, 2), 8.0, 1e-9);
    hands[1].behind_ms = 2.0;
    dealing_deal(hands, 2, 8, owners);
    CU_ASSERT_EQUAL(hands[0].count, 5);
    CU_ASSERT_EQUAL(hands[1].count, 3);
}

#define TESTS(X)                                                         \
    X(test_dealing_is_even_when_nothing_is_known)                        \
    X(test_dealing_gives_a_slow_worker_fewer_or_none)                    \
    X(test_dealing_takes_an_unknown_worker_for_the_mean_of_the_others)   \
    X(test_dealing_counts_threads)                                       \
    X(test_dealing_gives_nothing_to_who_would_hold_the_others_up)        \
    X(test_dealing_without_workers_leaves_lanes_with_nobody)

UNIT_MAIN("dealing", TESTS)
