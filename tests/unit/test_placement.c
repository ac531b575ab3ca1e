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

static void name_tensor(struct tensor_spec *spec, uint32_t dims, const uint32_t *shape)
{
    *spec = (struct tensor_spec){.dims = dims};
    memcpy(spec->shape, shape, dims * sizeof(*shape));
}

/* A convolution of k x k from `in` to `out` channels and its batch normalisation. */
static size_t add_convolution(struct tensor_spec *specs, size_t count, uint32_t out, uint32_t in,
                              uint32_t k)
{
    name_tensor(&specs[count], 4, (uint32_t[]){out, in, k, k});
    name_tensor(&specs[count + 1], 1, &out);
    name_tensor(&specs[count + 2], 1, &out);
    return count + 3;
}

/* He et al., "Deep residual learning for image recognition", 2016, table 1, 50 layers. */
static struct layout *make_resnet50(uint32_t block_bytes)
{
    static const uint32_t depths[] = {3, 4, 6, 3};
    struct tensor_spec specs[161];
    struct layout *layout = NULL;
    uint32_t in = 64;
    size_t count = add_convolution(specs, 0, 64, 3, 7);
    for (uint32_t stage = 0; stage < 4; stage++) {
        uint32_t width = 64u << stage;
        for (uint32_t i = 0; i < depths[stage]; i++) {
            count = add_convolution(specs, count, width, in, 1);
            count = add_convolution(specs, count, width, width, 3);
            count = add_convolution(specs, count, 4 * width, width, 1);
            if (i == 0)
                count = add_convolution(specs, count, 4 * width, in, 1);
            in = 4 * width;
        }
    }
    name_tensor(&specs[count++], 2, (uint32_t[]){1000, in});
    name_tensor(&specs[count++], 1, (uint32_t[]){1000});
    CU_ASSERT_EQUAL_FATAL(count, ARRAY_LEN(specs));
    for (size_t i = 0; i < count; i++)
        snprintf(specs[i].name, sizeof(specs[i].name), "t%zu", i);
    CU_ASSERT_EQUAL_FATAL(layout_create(specs, count, block_bytes, &layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(layout->weight_count, 25557032);
    return layout;
}

/* A placement over shards with ids from 1 on, one a process. */
struct stage {
    struct layout *layout;
    struct placement placement;
    struct place items[8];
    struct places places;
};

static void set_up(struct stage *stage, struct layout *layout, size_t place_count,
                   bool has_replicas)
{
    *stage = (struct stage){.layout = layout};
    CU_ASSERT_EQUAL_FATAL(placement_create(&stage->placement, layout), 0);
    stage->placement.has_replicas = has_replicas;
    for (uint32_t i = 0; i < 8; i++)
        stage->items[i] = (struct place){.id = 1 + i, .rank = i};
    stage->places = (struct places){stage->items, place_count};
    CU_ASSERT_EQUAL_FATAL(placement_deal(&stage->placement, stage->places), 0);
}

/* Equal blocks of 16 bytes. */
static struct layout *equal_blocks(uint32_t count)
{
    struct tensor_spec spec = {.name = "w", .dims = 1, .shape = {4 * count}};
    struct layout *layout = NULL;
    CU_ASSERT_EQUAL_FATAL(layout_create(&spec, 1, 16, &layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(layout->block_count, count);
    return layout;
}

static void tear_down(struct stage *stage)
{
    placement_free(&stage->placement);
    layout_destroy(stage->layout);
}

static uint64_t fullest(const struct stage *stage, const uint64_t *ids)
{
    uint64_t load[9] = {0}, most = 0;
    for (size_t i = 0; i < stage->layout->block_count; i++) {
        const struct range *range = &stage->layout->blocks[i].range;
        CU_ASSERT_FATAL(ids[i] <= stage->places.count);
        load[ids[i]] += range->end - range->begin;
        most = load[ids[i]] > most ? load[ids[i]] : most;
    }
    return most;
}

static size_t blocks_of(const struct stage *stage, const uint64_t *ids, uint64_t id)
{
    size_t count = 0;
    for (size_t i = 0; i < stage->layout->block_count; i++)
        count += ids[i] == id;
    return count;
}

/* Fills all learners. */
static size_t fill(struct stage *stage, uint32_t view)
{
    size_t count = 0;
    for (size_t i = 0; i < stage->layout->block_count; i++)
        count += placement_filled(&stage->placement, i, stage->placement.primary[i], view);
    return count;
}

/* Plans and fills until nothing is to be done; returns how many plans changed anything. */
static uint32_t settle(struct stage *stage, uint32_t view)
{
    uint32_t plans = 0;
    while (placement_plan(&stage->placement, stage->places, view + plans) > 0) {
        CU_ASSERT_FATAL(++plans < 20);
        fill(stage, view + plans);
    }
    return plans;
}

static void test_placement_is_even_in_bytes(void)
{
    static const size_t place_counts[] = {1, 3, 5, 8};
    for (size_t s = 0; s < ARRAY_LEN(place_counts); s++) {
        struct stage stage;
        set_up(&stage, make(), place_counts[s], place_counts[s] > 1);
        double mean = (double)stage.layout->weight_count / (double)place_counts[s];
        CU_ASSERT((double)fullest(&stage, stage.placement.primary) <= 1.1 * mean);
        CU_ASSERT((double)fullest(&stage, stage.placement.backup) <= 1.2 * mean);
        for (size_t i = 0; i < stage.layout->block_count; i++)
            CU_ASSERT(stage.placement.primary[i] != stage.placement.backup[i]);
        CU_ASSERT_EQUAL(placement_is_protected(&stage.placement), place_counts[s] > 1);
        CU_ASSERT_EQUAL(placement_plan(&stage.placement, stage.places, 2), 0);
        tear_down(&stage);
    }
}

static double fullest_of_mean(const struct stage *stage, const uint64_t *ids)
{
    return (double)fullest(stage, ids) * (double)stage->places.count /
           (double)stage->layout->weight_count;
}

/* {processes, shards of each}: 3, 5 and 8 shards and what a job may have else. */
static void test_placement_is_even_with_the_tensors_of_resnet50(void)
{
    static const uint32_t clusters[][2] = {{3, 1}, {5, 1}, {8, 1}, {2, 2},
                                           {2, 4}, {4, 2}, {3, 2}, {2, 1}};
    static const uint32_t block_bytes[] = {65536, 1 << 20, 4 << 20};
    for (size_t b = 0; b < ARRAY_LEN(block_bytes); b++)
        for (size_t n = 0; n < ARRAY_LEN(clusters); n++) {
            struct stage stage;
            uint32_t shards = clusters[n][0] * clusters[n][1];
            set_up(&stage, make_resnet50(block_bytes[b]), shards, true);
            for (uint32_t i = 0; i < shards; i++)
                stage.items[i].rank = i / clusters[n][1];
            CU_ASSERT_EQUAL(placement_deal(&stage.placement, stage.places), 0);
            CU_ASSERT(fullest_of_mean(&stage, stage.placement.primary) <= 1.1);
            CU_ASSERT(fullest_of_mean(&stage, stage.placement.backup) <= 1.1);
            CU_ASSERT(placement_is_protected(&stage.placement));
            CU_ASSERT_EQUAL(placement_plan(&stage.placement, stage.places, 2), 0);
            tear_down(&stage);
        }
}

/* Of primaries' traffic, when blocks have these heats. */
static double busiest_of_mean(const struct stage *stage)
{
    double most = 0.0;
    for (size_t i = 0; i < stage->places.count; i++) {
        double traffic = placement_traffic(&stage->placement, stage->items[i].id);
        most = traffic > most ? traffic : most;
    }
    return most * (double)stage->places.count;
}

static void test_placement_gives_less_to_who_has_more_traffic_and_then_rests(void)
{
    for (int has_replicas = 0; has_replicas <= 1; has_replicas++) {
        struct stage stage;
        set_up(&stage, make_resnet50(1 << 20), 4, has_replicas != 0);
        placement_warm(&stage.placement, 2, 3.0);
        CU_ASSERT_DOUBLE_EQUAL(placement_traffic(&stage.placement, 2), 0.5, 0.02);
        CU_ASSERT(busiest_of_mean(&stage) > 1.9);
        CU_ASSERT(settle(&stage, 2) > 0);
        CU_ASSERT(busiest_of_mean(&stage) < 1.5);
        CU_ASSERT(fullest_of_mean(&stage, stage.placement.primary) < 1.5);
        CU_ASSERT_EQUAL(placement_is_protected(&stage.placement), has_replicas != 0);
        CU_ASSERT_EQUAL(settle(&stage, 30), 0);
        tear_down(&stage);
    }
}

/* Hundredfold traffic counts no more than half: the rest is memory. */
static void test_placement_never_holds_more_than_about_twice_the_mean_for_traffic(void)
{
    struct stage stage;
    set_up(&stage, make_resnet50(1 << 20), 4, false);
    placement_warm(&stage.placement, 2, 100.0);
    settle(&stage, 2);
    CU_ASSERT(fullest_of_mean(&stage, stage.placement.primary) <= 2.2);
    CU_ASSERT_EQUAL(settle(&stage, 30), 0);
    tear_down(&stage);
}

static void test_placement_does_not_move_for_a_little_more_traffic(void)
{
    struct stage stage;
    set_up(&stage, make_resnet50(1 << 20), 3, true);
    placement_warm(&stage.placement, 2, 1.1);
    CU_ASSERT_EQUAL(placement_plan(&stage.placement, stage.places, 2), 0);
    tear_down(&stage);
}

static void test_placement_leaves_shards_empty_when_blocks_are_few(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(1), 5, false);
    CU_ASSERT_EQUAL(stage.placement.primary[0], 1);
    CU_ASSERT_EQUAL(stage.placement.backup[0], 0);
    CU_ASSERT(placement_uses(&stage.placement, 1) && !placement_uses(&stage.placement, 2));
    CU_ASSERT_EQUAL(placement_deal(&stage.placement, (struct places){stage.items, 0}), ERR_INPUT);
    tear_down(&stage);
}

static void test_placement_keeps_backups_in_other_processes(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(8), 4, true);
    for (uint32_t i = 0; i < 4; i++)
        stage.items[i].rank = i / 2;
    CU_ASSERT_EQUAL(placement_deal(&stage.placement, stage.places), 0);
    for (size_t i = 0; i < 8; i++)
        CU_ASSERT((stage.placement.primary[i] - 1) / 2 != (stage.placement.backup[i] - 1) / 2);
    tear_down(&stage);
}

static void test_placement_promotes_backups_of_who_is_gone(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(6), 3, true);
    size_t idx = 0;
    while (stage.placement.primary[idx] != 3)
        idx++;
    uint64_t backup = stage.placement.backup[idx];
    stage.places.count = 2; /* shard 3 is gone */
    CU_ASSERT(placement_lose(&stage.placement, stage.places));
    CU_ASSERT_EQUAL(stage.placement.primary[idx], backup);
    CU_ASSERT_EQUAL(stage.placement.backup[idx], 0);
    CU_ASSERT_EQUAL(placement_orphans(&stage.placement, stage.places), 0);
    CU_ASSERT(!placement_lose(&stage.placement, stage.places));
    CU_ASSERT(!placement_is_protected(&stage.placement));
    CU_ASSERT(placement_plan(&stage.placement, stage.places, 5) > 0);
    CU_ASSERT(stage.placement.learner[idx] != 0 && !stage.placement.is_move[idx]);
    fill(&stage, 5);
    CU_ASSERT(placement_is_protected(&stage.placement));
    CU_ASSERT(!placement_uses(&stage.placement, 3));
    tear_down(&stage);
}

static void test_placement_keeps_a_primary_without_backup_in_mind(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(4), 2, false);
    stage.places.count = 1;
    CU_ASSERT(!placement_lose(&stage.placement, stage.places));
    CU_ASSERT_EQUAL(placement_orphans(&stage.placement, stage.places), 2);
    stage.places.count = 2;
    CU_ASSERT_EQUAL(placement_orphans(&stage.placement, stage.places), 0);
    tear_down(&stage);
}

/* Both have all that was answered: whichever is back first goes on. */
static void test_placement_keeps_primary_and_backup_in_mind_when_both_are_missing(void)
{
    for (uint64_t first = 0; first < 2; first++) {
        struct stage stage;
        set_up(&stage, equal_blocks(2), 3, true);
        uint64_t ids[2] = {stage.placement.primary[0], stage.placement.backup[0]};
        struct place back = stage.items[ids[first] - 1];
        placement_lose(&stage.placement, (struct places){NULL, 0});
        CU_ASSERT_EQUAL(stage.placement.primary[0], ids[0]);
        CU_ASSERT_EQUAL(stage.placement.backup[0], ids[1]);
        CU_ASSERT(placement_lose(&stage.placement, (struct places){&back, 1}));
        CU_ASSERT_EQUAL(stage.placement.primary[0], ids[first]);
        CU_ASSERT_EQUAL(stage.placement.backup[0], 0);
        tear_down(&stage);
    }
}

static void test_placement_goes_alone_when_its_own_primary_says_so(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(2), 3, true);
    uint64_t primary = stage.placement.primary[0], backup = stage.placement.backup[0];
    CU_ASSERT(!placement_go_alone(&stage.placement, 0, backup));
    CU_ASSERT_EQUAL(stage.placement.backup[0], backup);
    CU_ASSERT(placement_go_alone(&stage.placement, 0, primary));
    CU_ASSERT_EQUAL(stage.placement.backup[0], 0);
    CU_ASSERT(!placement_go_alone(&stage.placement, 0, primary)); /* there is nobody left */
    tear_down(&stage);
}

static void test_placement_forgets_a_learner_whose_primary_is_gone(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(1), 3, true);
    CU_ASSERT_EQUAL_FATAL(stage.placement.primary[0], 1);
    stage.placement.backup[0] = 0;
    CU_ASSERT(placement_plan(&stage.placement, stage.places, 2) > 0);
    CU_ASSERT(stage.placement.learner[0] != 0);
    stage.places = (struct places){stage.items + 1, 2};
    CU_ASSERT(placement_lose(&stage.placement, stage.places));
    CU_ASSERT_EQUAL(stage.placement.learner[0], 0);
    CU_ASSERT(!placement_filled(&stage.placement, 0, 1, 9));
    tear_down(&stage);
}

static void test_placement_ignores_what_was_said_of_an_earlier_learner(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(1), 3, true);
    uint64_t primary = stage.placement.primary[0];
    stage.placement.backup[0] = 0;
    CU_ASSERT(!placement_filled(&stage.placement, 0, primary, 7)); /* there is no learner */
    CU_ASSERT(placement_plan(&stage.placement, stage.places, 7) > 0);
    uint64_t learner = stage.placement.learner[0];
    CU_ASSERT_EQUAL(placement_plan(&stage.placement, stage.places, 8), 0);
    CU_ASSERT(!placement_filled(&stage.placement, 0, primary, 6));
    CU_ASSERT(!placement_filled(&stage.placement, 0, primary + 1, 7));
    CU_ASSERT(placement_filled(&stage.placement, 0, primary, 7));
    CU_ASSERT_EQUAL(stage.placement.backup[0], learner);
    CU_ASSERT_EQUAL(stage.placement.primary[0], primary);
    tear_down(&stage);
}

static void test_placement_empties_a_place_that_is_left(void)
{
    for (size_t places = 2; places <= 4; places++) {
        struct stage stage;
        set_up(&stage, equal_blocks(12), places, true);
        stage.items[0].is_leaving = true;
        CU_ASSERT(placement_plan(&stage.placement, stage.places, 2) > 0);
        CU_ASSERT_EQUAL(blocks_of(&stage, stage.placement.primary, 1), 0); /* swapped at once */
        fill(&stage, 2);
        settle(&stage, 3);
        CU_ASSERT(!placement_uses(&stage.placement, 1));
        CU_ASSERT_EQUAL(placement_orphans(&stage.placement, stage.places), 0);
        CU_ASSERT_EQUAL(placement_is_protected(&stage.placement), places > 2);
        tear_down(&stage);
    }
}

static void test_placement_moves_blocks_without_backup_by_learners(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(6), 2, false);
    stage.items[0].is_leaving = true;
    CU_ASSERT(placement_plan(&stage.placement, stage.places, 2) > 0);
    CU_ASSERT_EQUAL(blocks_of(&stage, stage.placement.primary, 1), 3); /* nothing is there yet */
    CU_ASSERT_EQUAL(blocks_of(&stage, stage.placement.learner, 2), 3);
    CU_ASSERT_EQUAL(fill(&stage, 2), 3);
    CU_ASSERT(!placement_uses(&stage.placement, 1));
    CU_ASSERT_EQUAL(blocks_of(&stage, stage.placement.backup, 0), 6);
    tear_down(&stage);
}

static void test_placement_evens_out_over_who_is_added_and_then_rests(void)
{
    for (int has_replicas = 0; has_replicas <= 1; has_replicas++) {
        struct stage stage;
        set_up(&stage, make(), 2, has_replicas != 0);
        stage.places.count = 3;
        CU_ASSERT(settle(&stage, 2) > 0);
        double mean = (double)stage.layout->weight_count / 3.0;
        CU_ASSERT((double)fullest(&stage, stage.placement.primary) <= 1.15 * mean);
        CU_ASSERT(blocks_of(&stage, stage.placement.primary, 3) > 0);
        if (has_replicas) {
            CU_ASSERT((double)fullest(&stage, stage.placement.backup) <= 1.3 * mean);
            CU_ASSERT(blocks_of(&stage, stage.placement.backup, 3) > 0);
        }
        CU_ASSERT_EQUAL(placement_is_protected(&stage.placement), has_replicas != 0);
        CU_ASSERT_EQUAL(settle(&stage, 30), 0);
        tear_down(&stage);
    }
}

static void test_placement_moves_nothing_while_blocks_are_being_filled(void)
{
    struct stage stage;
    set_up(&stage, equal_blocks(6), 3, true);
    stage.placement.backup[0] = 0;
    CU_ASSERT(placement_plan(&stage.placement, stage.places, 2) > 0);
    stage.places.count = 4;
    CU_ASSERT_EQUAL(placement_plan(&stage.placement, stage.places, 3), 0);
    fill(&stage, 3);
    CU_ASSERT(placement_plan(&stage.placement, stage.places, 4) > 0);
    CU_ASSERT(blocks_of(&stage, stage.placement.learner, 4) > 0);
    tear_down(&stage);
}

#define TESTS(X)                                                        \
    X(test_placement_is_even_in_bytes)                                  \
    X(test_placement_is_even_with_the_tensors_of_resnet50)              \
    X(test_placement_gives_less_to_who_has_more_traffic_and_then_rests) \
    X(test_placement_never_holds_more_than_about_twice_the_mean_for_traffic) \
    X(test_placement_does_not_move_for_a_little_more_traffic)           \
    X(test_placement_leaves_shards_empty_when_blocks_are_few)           \
    X(test_placement_keeps_backups_in_other_processes)                  \
    X(test_placement_promotes_backups_of_who_is_gone)                   \
    X(test_placement_keeps_a_primary_without_backup_in_mind)            \
    X(test_placement_keeps_primary_and_backup_in_mind_when_both_are_missing) \
    X(test_placement_goes_alone_when_its_own_primary_says_so)           \
    X(test_placement_forgets_a_learner_whose_primary_is_gone)           \
    X(test_placement_ignores_what_was_said_of_an_earlier_learner)       \
    X(test_placement_empties_a_place_that_is_left)                      \
    X(test_placement_moves_blocks_without_backup_by_learners)           \
    X(test_placement_evens_out_over_who_is_added_and_then_rests)        \
    X(test_placement_moves_nothing_while_blocks_are_being_filled)

UNIT_MAIN("placement", TESTS)
