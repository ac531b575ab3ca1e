#include "common/early_stop.h"
#include "common/rounds.h"
#include "tests/unit/unit.h"

static const struct batching batching = {.sample_count = 100, .batch = 10, .lane_count = 2};

static struct settings patient(uint32_t patience, double min_delta, uint64_t eval_every)
{
    return (struct settings){
        .job = {.patience = patience, .min_delta = min_delta, .eval_every = eval_every}};
}

static void test_early_stop_holds_each_version_that_is_evaluated(void)
{
    struct settings settings = patient(2, 0, 7);
    uint64_t step = 0, expected[] = {7, 14, 21, 24};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        step = early_stop_next(&settings, &batching, 5, step, 24);
        CU_ASSERT_EQUAL(step, expected[i]);
    }
    settings.job.eval_every = 0; /* an epoch */
    CU_ASSERT_EQUAL(early_stop_next(&settings, &batching, 5, 9, 99), 10);
    CU_ASSERT_EQUAL(early_stop_next(&settings, &batching, 5, 10, 99), 20);
    CU_ASSERT_EQUAL(early_stop_next(&settings, &batching, 0, 10, 99), 0);
    settings.job.patience = 0;
    CU_ASSERT_EQUAL(early_stop_next(&settings, &batching, 5, 10, 99), 0);
}

/* Rounds are evaluated where a job without patience evaluates them. */
static void test_early_stop_holds_rounds_that_are_due(void)
{
    for (uint32_t steps = 1; steps < 30; steps++)
        for (uint64_t every = 1; every < 40; every++) {
            struct settings settings = patient(1, 0, every);
            settings.exchange.consistency = CONSISTENCY_LOCAL;
            settings.exchange.local_steps = steps;
            for (uint64_t round = 0; round < 20; round++) {
                uint64_t next = early_stop_next(&settings, &batching, 5, round, 1000);
                bool is_first = next > round && rounds_is_due(&settings, every, next);
                for (uint64_t between = round + 1; between < next; between++)
                    is_first &= !rounds_is_due(&settings, every, between);
                CU_ASSERT(is_first);
            }
        }
}

static void test_early_stop_counts_evaluations_that_are_no_better(void)
{
    static const double losses[] = {2.0, 1.0, 0.95, 1.5, 0.85, 0.9, 0.86, 0.86};
    static const uint64_t bests[] = {10, 20, 20, 20, 50, 50, 50, 50}, worse[] = {0, 0, 1, 2,
                                                                                0, 1, 2, 3};
    struct settings settings = patient(3, 0.1, 10);
    struct early_stop stop = {0};
    for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
        CU_ASSERT(!early_stop_is_due(&stop, &settings));
        stop.hold_step = 10 * (i + 1);
        early_stop_note(&stop, &settings, losses[i]);
        CU_ASSERT(stop.best_step == bests[i] && stop.worse_count == worse[i]);
        CU_ASSERT(stop.best_loss == losses[bests[i] / 10 - 1]);
    }
    CU_ASSERT(early_stop_is_due(&stop, &settings));
    settings.job.patience = 0;
    CU_ASSERT(!early_stop_is_due(&stop, &settings));
}

#define TESTS(X) \
    X(test_early_stop_holds_each_version_that_is_evaluated) \
    X(test_early_stop_holds_rounds_that_are_due) \
    X(test_early_stop_counts_evaluations_that_are_no_better)

UNIT_MAIN("early_stop", TESTS)
