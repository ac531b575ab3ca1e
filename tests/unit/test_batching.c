#include "common/batching.h"
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

enum { SAMPLES = 1003 };

static const struct batching uneven = {.seed = 3, .sample_count = SAMPLES, .batch = 50,
                                       .lane_count = 8};

/* Marks what every lane of an epoch trains on; returns the samples seen. */
static uint64_t visit_epoch(const struct batching *batching, uint64_t epoch, unsigned *seen)
{
    uint64_t steps = batching_epoch_steps(batching), total = 0;
    uint64_t samples[64];
    for (uint64_t step = epoch * steps; step < (epoch + 1) * steps; step++)
        for (uint32_t lane = 0; lane < batching->lane_count; lane++) {
            uint32_t count = batching_lane_samples(batching, step, lane, samples);
            CU_ASSERT(count <= batching_lane_max(batching));
            for (uint32_t i = 0; i < count; i++)
                seen[samples[i] - epoch * SAMPLES]++;
            total += count;
        }
    return total;
}

static void test_batching_sees_every_sample_once_an_epoch(void)
{
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        unsigned seen[SAMPLES] = {0};
        CU_ASSERT_EQUAL(visit_epoch(&uneven, epoch, seen), SAMPLES);
        for (size_t i = 0; i < SAMPLES; i++)
            CU_ASSERT_EQUAL(seen[i], 1);
    }
}

static void test_batching_orders_epochs_and_seeds_differently(void)
{
    uint64_t first[64], next_epoch[64], other_seed[64];
    struct batching other = uneven;
    other.seed = 4;
    uint32_t count = batching_lane_samples(&uneven, 0, 2, first);
    batching_lane_samples(&uneven, batching_epoch_steps(&uneven), 2, next_epoch);
    batching_lane_samples(&other, 0, 2, other_seed);
    for (uint32_t i = 0; i < count; i++)
        next_epoch[i] -= SAMPLES;
    CU_ASSERT(memcmp(first, next_epoch, count * sizeof(*first)) != 0);
    CU_ASSERT(memcmp(first, other_seed, count * sizeof(*first)) != 0);
}

static void test_batching_last_step_takes_what_is_left(void)
{
    CU_ASSERT_EQUAL(batching_epoch_steps(&uneven), 21);
    CU_ASSERT_EQUAL(batching_step_samples(&uneven, 0), 50);
    CU_ASSERT_EQUAL(batching_step_samples(&uneven, 20), 3);
    CU_ASSERT_EQUAL(batching_step_samples(&uneven, 21), 50);
    uint64_t samples[64];
    CU_ASSERT_EQUAL(batching_lane_samples(&uneven, 20, 2, samples), 1);
    CU_ASSERT_EQUAL(batching_lane_samples(&uneven, 20, 3, samples), 0);
    CU_ASSERT_EQUAL(batching_job_steps(&uneven, 4), 84);
}

static void test_batching_eval_ranges_join_up(void)
{
    for (uint64_t count = 0; count < 40; count++) {
        uint64_t next = 0;
        for (uint32_t lane = 0; lane < 16; lane++) {
            struct range share = batching_eval_range(count, 16, lane);
            CU_ASSERT_EQUAL(share.begin, next);
            CU_ASSERT(share.end - share.begin <= count / 16 + 1);
            next = share.end;
        }
        CU_ASSERT_EQUAL(next, count);
    }
}

#define TESTS(X)                                         \
    X(test_batching_sees_every_sample_once_an_epoch)     \
    X(test_batching_orders_epochs_and_seeds_differently) \
    X(test_batching_last_step_takes_what_is_left)        \
    X(test_batching_eval_ranges_join_up)

UNIT_MAIN("batching", TESTS)
