#include "ps/tracker.h"
#include <math.h>
#include <stdlib.h>
#include "tests/unit/unit.h"

/* Two lanes, six samples, two a step: three steps an epoch; a warm-up over ten steps. */
enum { LANES = 2 };

struct bench {
    struct settings settings;
    struct tracker *tracker;
    uint64_t now_ms;
};

static void open_bench(struct bench *bench, uint64_t step_count, uint64_t test_count)
{
    const struct batching batching = {.seed = 1, .sample_count = 6, .batch = 2,
                                      .lane_count = LANES};
    *bench = (struct bench){.now_ms = 1000};
    bench->settings.job.lanes = LANES;
    bench->settings.optimizer.rate = 1.0;
    bench->settings.optimizer.warmup_steps = 10;
    bench->settings.log.every = 2;
    CU_ASSERT_EQUAL_FATAL(tracker_create(&bench->settings, &bench->tracker), 0);
    tracker_begin(bench->tracker, &batching, 0, step_count, test_count, bench->now_ms);
}

static int note(struct bench *bench, bool is_training, uint64_t step, uint32_t lane, double loss)
{
    struct lane_result result = {.step = step, .lane = lane, .loss_sum = loss, .sample_count = 1};
    return tracker_note(bench->tracker, is_training, &result, bench->now_ms);
}

static void train(struct bench *bench, uint64_t step, double loss)
{
    for (uint32_t lane = 0; lane < LANES; lane++)
        CU_ASSERT_EQUAL(note(bench, true, step, lane, loss), 0);
}

static void evaluate(struct bench *bench, uint64_t step, double loss)
{
    for (uint32_t lane = 0; lane < LANES; lane++)
        CU_ASSERT_EQUAL(note(bench, false, step, lane, loss), 0);
}

static struct tracked tracked(const struct bench *bench)
{
    struct tracked now;
    tracker_read(bench->tracker, bench->now_ms, &now);
    return now;
}

static void test_tracker_closes_steps_that_came_out_of_order(void)
{
    struct bench bench;
    open_bench(&bench, 5, 0);
    train(&bench, 1, 2.0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 0);
    CU_ASSERT_EQUAL(tracker_missing_lane(bench.tracker), 0);
    CU_ASSERT_EQUAL(note(&bench, true, 0, 0, 4.0), 0);
    CU_ASSERT_EQUAL(tracker_missing_lane(bench.tracker), 1);
    CU_ASSERT_EQUAL(note(&bench, true, 0, 1, 4.0), 0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 2);
    CU_ASSERT_EQUAL(tracked(&bench).train_loss, 3.0);
    tracker_destroy(bench.tracker);
}

static void test_tracker_ignores_steps_of_long_ago(void)
{
    struct bench bench;
    open_bench(&bench, 100, 0);
    for (uint64_t step = 0; step < 30; step++)
        train(&bench, step, 1.0);
    for (uint64_t step = 0; step < 30; step++)
        CU_ASSERT_EQUAL(note(&bench, true, step, 0, 1.0), 0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 30);
    tracker_destroy(bench.tracker);
}

static void test_tracker_waits_for_a_worker_that_reports_late(void)
{
    struct bench bench;
    open_bench(&bench, 200, 0);
    for (uint64_t step = 0; step < 200; step++)
        CU_ASSERT_EQUAL(note(&bench, true, step, 0, 1.0), 0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 0);
    for (uint64_t step = 200; step-- > 0;)
        CU_ASSERT_EQUAL(note(&bench, true, step, 1, 1.0), 0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 200);
    tracker_destroy(bench.tracker);
}

static void test_tracker_begins_an_epoch_with_a_mean_of_its_own(void)
{
    struct bench bench;
    open_bench(&bench, 6, 0);
    for (uint64_t step = 0; step < 3; step++)
        train(&bench, step, 6.0);
    CU_ASSERT_EQUAL(tracked(&bench).train_loss, 6.0);
    train(&bench, 3, 1.0);
    CU_ASSERT_EQUAL(tracked(&bench).train_loss, 1.0);
    tracker_destroy(bench.tracker);
}

static void test_tracker_knows_the_last_evaluation(void)
{
    struct bench bench;
    open_bench(&bench, 6, 0);
    CU_ASSERT(tracked(&bench).has_final_eval); /* there is nothing to evaluate */
    tracker_destroy(bench.tracker);
    open_bench(&bench, 6, 4);
    bench.now_ms = 5000;
    evaluate(&bench, 3, 2.0);
    CU_ASSERT(!tracked(&bench).has_final_eval);
    CU_ASSERT_EQUAL(tracked(&bench).progress_ms, 5000);
    CU_ASSERT_EQUAL(tracked(&bench).test_loss, 2.0);
    evaluate(&bench, 6, 1.0);
    CU_ASSERT(tracked(&bench).has_final_eval);
    tracker_destroy(bench.tracker);
}

static void test_tracker_logs_every_so_many_steps_and_the_last(void)
{
    static const struct {
        uint64_t step;
        double loss, rate;
    } expected[] = {{2, 1.5, 0.2}, {4, 3.5, 0.4}, {5, 5.0, 0.5}};
    struct bench bench;
    struct metric_row row;
    open_bench(&bench, 5, 0);
    for (uint64_t step = 0; step < 5; step++)
        train(&bench, step, 1.0 + (double)step);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        CU_ASSERT_FATAL(tracker_next_row(bench.tracker, &row));
        CU_ASSERT_EQUAL(row.step, expected[i].step);
        CU_ASSERT_EQUAL(row.train_loss, expected[i].loss);
        CU_ASSERT_DOUBLE_EQUAL(row.rate, expected[i].rate, 1e-12);
    }
    CU_ASSERT(!tracker_next_row(bench.tracker, &row));
    tracker_destroy(bench.tracker);
}

static void test_tracker_drops_the_oldest_row_when_nobody_collects(void)
{
    enum { STEPS = TRACKER_ROWS_MAX + 44 };
    struct bench bench;
    struct metric_row row;
    open_bench(&bench, STEPS, 0);
    bench.settings.log.every = 1;
    for (uint64_t step = 0; step < STEPS; step++)
        train(&bench, step, 1.0);
    for (uint64_t step = 45; step <= STEPS; step++) {
        CU_ASSERT_FATAL(tracker_next_row(bench.tracker, &row));
        CU_ASSERT_EQUAL(row.step, step);
    }
    CU_ASSERT(!tracker_next_row(bench.tracker, &row));
    tracker_destroy(bench.tracker);
}

static void test_tracker_measures_the_last_seconds(void)
{
    struct bench bench;
    open_bench(&bench, 1000, 0);
    for (uint64_t step = 0; step < 40; step++) { /* two samples in half a second, then a tenth */
        bench.now_ms += step < 20 ? 500 : 100;
        train(&bench, step, 1.0);
    }
    CU_ASSERT_DOUBLE_EQUAL(tracked(&bench).mean_samples_per_s, 80.0 / 12.0, 1e-9);
    CU_ASSERT(tracked(&bench).samples_per_s > 80.0 / 12.0);
    tracker_destroy(bench.tracker);
}

#define TESTS(X)                                              \
    X(test_tracker_closes_steps_that_came_out_of_order)       \
    X(test_tracker_ignores_steps_of_long_ago)                 \
    X(test_tracker_waits_for_a_worker_that_reports_late)      \
    X(test_tracker_begins_an_epoch_with_a_mean_of_its_own)    \
    X(test_tracker_knows_the_last_evaluation)                 \
    X(test_tracker_logs_every_so_many_steps_and_the_last)     \
    X(test_tracker_drops_the_oldest_row_when_nobody_collects) \
    X(test_tracker_measures_the_last_seconds)

UNIT_MAIN("tracker", TESTS)
