#include "ps/traffic.h"
#include <string.h>
#include "tests/unit/unit.h"

enum { SHARDS = 4, WINDOW_MS = 5000, BLOCKS = 32, SILENT = 0 };

/* Four shards that are primary of eight equal blocks each, and their counters. */
struct stage {
    struct layout *layout;
    struct placement placement;
    struct place items[SHARDS];
    struct members members;
    struct traffic traffic;
    uint64_t step, now_ms;
};

static void set_up(struct stage *stage)
{
    struct tensor_spec spec = {.name = "w", .dims = 1, .shape = {4 * BLOCKS}};
    *stage = (struct stage){.now_ms = 1000};
    CU_ASSERT_EQUAL_FATAL(layout_create(&spec, 1, 16, &stage->layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(placement_create(&stage->placement, stage->layout), 0);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct hello hello = {.rank = (int32_t)i};
        struct member *member;
        stage->items[i] = (struct place){.id = 1 + i, .rank = i};
        CU_ASSERT_EQUAL_FATAL(members_add(&stage->members, (struct address){PARTY_SHARD, 1 + i}, i,
                                          &hello, &member),
                              0);
    }
    CU_ASSERT_EQUAL_FATAL(
        placement_deal(&stage->placement, (struct places){stage->items, SHARDS}), 0);
}

static void tear_down(struct stage *stage)
{
    members_free(&stage->members);
    placement_free(&stage->placement);
    layout_destroy(stage->layout);
}

/* So many steps in which each shard has so many bytes a step of traffic, or says nothing; returns
 * whether blocks were warmed.  The first call begins the first window. */
static bool run(struct stage *stage, uint64_t steps, const uint64_t bytes[SHARDS], uint64_t ms)
{
    stage->step += steps;
    stage->now_ms += ms;
    for (size_t i = 0; i < SHARDS; i++) {
        struct beat beat = stage->members.items[i].beat;
        if (bytes[i] == SILENT)
            continue;
        beat.bytes_in += steps * bytes[i] / 2;
        beat.bytes_out += steps * bytes[i] / 2;
        member_note_beat(&stage->members.items[i], &beat, stage->now_ms);
    }
    return traffic_watch(&stage->traffic, &stage->members, &stage->placement, stage->step,
                         stage->now_ms);
}

static const uint64_t even[SHARDS] = {1000, 1000, 1000, 1000};
static const uint64_t one_busy[SHARDS] = {1000, 3000, 1000, 1000};

static void test_traffic_is_believed_in_the_third_window(void)
{
    struct stage stage;
    set_up(&stage);
    CU_ASSERT(!run(&stage, 1, even, 10));
    CU_ASSERT(!run(&stage, 100, one_busy, WINDOW_MS));
    CU_ASSERT(!run(&stage, 100, one_busy, WINDOW_MS));
    CU_ASSERT_DOUBLE_EQUAL(placement_traffic(&stage.placement, 2), 0.25, 1e-3);
    CU_ASSERT(run(&stage, 100, one_busy, WINDOW_MS));
    CU_ASSERT_DOUBLE_EQUAL(placement_traffic(&stage.placement, 2), 0.5, 0.01);
    for (int i = 0; i < 20; i++) /* as is expected now */
        CU_ASSERT(!run(&stage, 100, one_busy, WINDOW_MS));
    tear_down(&stage);
}

/* Of bsp: as much as there are bytes, but for what retries and a beat's time make of it. */
static void test_traffic_is_not_believed_when_it_is_noise(void)
{
    static const uint64_t noise[][SHARDS] = {{1000, 1200, 900, 1000},
                                             {5000, 1000, 1000, 1000},
                                             {1000, 1000, 1000, 4000},
                                             {1000, 5000, 1000, 1000},
                                             {1100, 1000, 1240, 1000}};
    struct stage stage;
    set_up(&stage);
    run(&stage, 1, even, 10);
    for (int i = 0; i < 50; i++)
        CU_ASSERT(!run(&stage, 40, noise[i % 5], WINDOW_MS));
    for (size_t i = 0; i < BLOCKS; i++)
        CU_ASSERT_EQUAL(stage.placement.heat[i], HEAT_ONE);
    tear_down(&stage);
}

static void test_traffic_needs_windows_of_some_time_and_steps(void)
{
    struct stage stage;
    set_up(&stage);
    run(&stage, 1, even, 10);
    for (int i = 0; i < 40; i++) /* 4 s */
        CU_ASSERT(!run(&stage, 100, one_busy, 100));
    tear_down(&stage);
    set_up(&stage);
    run(&stage, 1, even, 10);
    for (int i = 0; i < 31; i++)
        CU_ASSERT(!run(&stage, 1, one_busy, WINDOW_MS));
    CU_ASSERT_EQUAL(stage.members.items[1].traffic.excess_count, 0);
    CU_ASSERT(!run(&stage, 1, one_busy, WINDOW_MS));
    CU_ASSERT_EQUAL(stage.members.items[1].traffic.excess_count, 1);
    tear_down(&stage);
}

/* What fills a block is traffic too, and not the block's. */
static void test_traffic_is_not_judged_while_blocks_move(void)
{
    struct stage stage;
    set_up(&stage);
    run(&stage, 1, even, 10);
    run(&stage, 100, one_busy, WINDOW_MS);
    run(&stage, 100, one_busy, WINDOW_MS);
    stage.placement.learner[0] = 3;
    CU_ASSERT(!run(&stage, 100, one_busy, WINDOW_MS));
    stage.placement.learner[0] = 0;
    run(&stage, 100, one_busy, WINDOW_MS);
    run(&stage, 100, one_busy, WINDOW_MS);
    stage.placement.change_count++;
    CU_ASSERT(!run(&stage, 100, one_busy, WINDOW_MS));
    run(&stage, 100, one_busy, WINDOW_MS);
    CU_ASSERT(!run(&stage, 100, one_busy, WINDOW_MS));
    CU_ASSERT(run(&stage, 100, one_busy, WINDOW_MS));
    tear_down(&stage);
}

static void test_traffic_asks_for_twice_as_much_each_time(void)
{
    static const uint64_t other_busy[SHARDS] = {1000, 1000, 1000, 8000};
    struct stage stage;
    set_up(&stage);
    run(&stage, 1, even, 10);
    for (int n = 0, windows = 3; n < 4; n++, windows *= 2) {
        const uint64_t *bytes = n % 2 == 0 ? one_busy : other_busy;
        for (int i = 1; i < windows; i++)
            CU_ASSERT(!run(&stage, 40, bytes, WINDOW_MS));
        CU_ASSERT(run(&stage, 40, bytes, WINDOW_MS));
    }
    tear_down(&stage);
}

static void test_traffic_is_not_judged_while_a_shard_is_silent(void)
{
    static const uint64_t one_silent[SHARDS] = {SILENT, 3000, 1000, 1000};
    struct stage stage;
    set_up(&stage);
    run(&stage, 1, even, 10);
    for (int i = 0; i < 10; i++)
        CU_ASSERT(!run(&stage, 100, one_silent, WINDOW_MS));
    tear_down(&stage);
}

#define TESTS(X)                                         \
    X(test_traffic_is_believed_in_the_third_window)      \
    X(test_traffic_is_not_believed_when_it_is_noise)     \
    X(test_traffic_needs_windows_of_some_time_and_steps) \
    X(test_traffic_is_not_judged_while_blocks_move)      \
    X(test_traffic_asks_for_twice_as_much_each_time)     \
    X(test_traffic_is_not_judged_while_a_shard_is_silent)

UNIT_MAIN("traffic", TESTS)
