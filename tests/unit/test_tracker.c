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

/* Rounds of two steps, epochs of three: the first epoch ends in the second round. */
static void test_tracker_counts_rounds_and_true_epochs(void)
{
    struct bench bench;
    struct metric_row row;
    open_bench(&bench, 3, 0);
    bench.settings.exchange.consistency = CONSISTENCY_LOCAL;
    bench.settings.exchange.local_steps = 2;
    train(&bench, 0, 6.0);
    train(&bench, 1, 4.0);
    CU_ASSERT_EQUAL(tracked(&bench).train_loss, 5.0);
    train(&bench, 2, 1.0);
    CU_ASSERT_EQUAL(tracked(&bench).train_loss, 1.0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 3);
    CU_ASSERT_DOUBLE_EQUAL(tracked(&bench).epoch, 2.0, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(tracked(&bench).epoch_count, 2.0, 1e-12);
    for (uint64_t round = 1; round <= 3; round++) { /* log.every is two steps */
        CU_ASSERT_FATAL(tracker_next_row(bench.tracker, &row));
        CU_ASSERT_EQUAL(row.step, round);
        CU_ASSERT_DOUBLE_EQUAL(row.epoch, (double)round * 2.0 / 3.0, 1e-12);
        CU_ASSERT_DOUBLE_EQUAL(row.rate, (double)round * 0.2, 1e-12); /* of its last step */
    }
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

/* The job's steps 0, 2 and 3 are complete, of step 1 a lane is missing. */
static void lose_a_lane(struct bench *bench)
{
    open_bench(bench, 6, 4);
    train(bench, 0, 1.0);
    CU_ASSERT_EQUAL(note(bench, true, 1, 1, 5.0), 0);
    train(bench, 2, 3.0);
    train(bench, 3, 4.0);
}

static void test_tracker_passes_over_a_step_whose_report_is_lost(void)
{
    struct bench bench;
    lose_a_lane(&bench);
    bench.now_ms = 9000; /* the step was long in work before the next was complete */
    tracker_tick(bench.tracker, 0, bench.now_ms);
    bench.now_ms += TRACKER_PATIENCE_MS - 1;
    tracker_tick(bench.tracker, 0, bench.now_ms);
    CU_ASSERT_EQUAL(tracked(&bench).step, 1);
    CU_ASSERT_EQUAL(tracked(&bench).step_ms, 1000);
    bench.now_ms += 1;
    tracker_tick(bench.tracker, 0, bench.now_ms);
    CU_ASSERT_EQUAL(tracked(&bench).step, 4);
    CU_ASSERT_EQUAL(tracked(&bench).step_ms, 12000);
    CU_ASSERT_EQUAL(tracked(&bench).passed_count, 1);
    CU_ASSERT_EQUAL(tracked(&bench).train_loss, 4.0); /* of step 3: another epoch */
    CU_ASSERT_EQUAL(note(&bench, true, 1, 0, 5.0), 0); /* late */
    train(&bench, 4, 1.0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 5);
    tracker_destroy(bench.tracker);
}

static void test_tracker_waits_for_less_when_somebody_was_lost(void)
{
    struct bench bench;
    lose_a_lane(&bench);
    bench.now_ms = 9000;
    tracker_lose(bench.tracker, bench.now_ms);
    tracker_tick(bench.tracker, 0, bench.now_ms);
    tracker_tick(bench.tracker, 0, bench.now_ms += TRACKER_LOST_MS - 1);
    CU_ASSERT_EQUAL(tracked(&bench).step, 1);
    tracker_tick(bench.tracker, 0, bench.now_ms += 1);
    CU_ASSERT_EQUAL(tracked(&bench).step, 4);
    train(&bench, 5, 1.0); /* and not of step 4, long after */
    bench.now_ms += TRACKER_PATIENCE_MS;
    tracker_tick(bench.tracker, 0, bench.now_ms);
    tracker_tick(bench.tracker, 0, bench.now_ms += TRACKER_PATIENCE_MS - 1);
    CU_ASSERT_EQUAL(tracked(&bench).step, 4);
    tracker_destroy(bench.tracker);
}

static void test_tracker_begins_an_epoch_though_its_last_step_is_lost(void)
{
    struct bench bench;
    open_bench(&bench, 6, 4);
    train(&bench, 0, 1.0);
    train(&bench, 1, 1.0);
    train(&bench, 3, 4.0);
    tracker_tick(bench.tracker, 0, bench.now_ms);
    tracker_tick(bench.tracker, 0, bench.now_ms += TRACKER_PATIENCE_MS);
    CU_ASSERT_EQUAL(tracked(&bench).step, 4);
    CU_ASSERT_EQUAL(tracked(&bench).train_loss, 4.0);
    tracker_destroy(bench.tracker);
}

static void test_ledger_forgets_steps_that_were_passed_over(void)
{
    struct ledger *ledger;
    bool is_new;
    CU_ASSERT_EQUAL_FATAL(ledger_create(LANES, &ledger), 0);
    for (uint64_t step = 3; step < 6; step++) {
        struct lane_result result = {.step = step, .lane = 1};
        CU_ASSERT(ledger_note(ledger, &result, &is_new) == 0 && is_new);
    }
    ledger_drop_before(ledger, 5);
    CU_ASSERT(!ledger_has(ledger, 3, 1) && !ledger_has(ledger, 4, 1) && ledger_has(ledger, 5, 1));
    ledger_destroy(ledger);
}

/* A worker may report steps that nobody has come to, as many as it likes: that takes no more than
 * so much memory, and what others report of the steps in work is counted all the same. */
static void test_ledger_makes_room_for_a_lower_step_when_it_is_full(void)
{
    struct ledger *ledger;
    bool is_new;
    int err = 0;
    struct lane_result result = {.step = 1000};
    CU_ASSERT_EQUAL_FATAL(ledger_create(LANES_MAX, &ledger), 0);
    for (; err == 0 && result.step <= 1000 + LEDGER_STEPS_MAX; result.step++)
        err = ledger_note(ledger, &result, &is_new);
    uint64_t count = result.step - 1001, highest = result.step - 2;
    CU_ASSERT_EQUAL(err, ERR_FULL);
    CU_ASSERT(count > 500 && count * LANES_MAX * sizeof(result) <= LEDGER_BYTES_MAX);
    result.step = 5;
    CU_ASSERT(ledger_note(ledger, &result, &is_new) == 0 && is_new);
    CU_ASSERT(ledger_has(ledger, 5, 0) && ledger_has(ledger, 1000, 0));
    CU_ASSERT(ledger_has(ledger, highest - 1, 0) && !ledger_has(ledger, highest, 0));
    ledger_destroy(ledger);
}

static void test_tracker_waits_when_the_report_comes_in_time(void)
{
    struct bench bench;
    lose_a_lane(&bench);
    tracker_tick(bench.tracker, 0, bench.now_ms);
    CU_ASSERT_EQUAL(note(&bench, true, 1, 0, 5.0), 0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 4);
    train(&bench, 5, 1.0);
    bench.now_ms += TRACKER_PATIENCE_MS; /* of another step */
    tracker_tick(bench.tracker, 0, bench.now_ms);
    CU_ASSERT_EQUAL(tracked(&bench).step, 4);
    CU_ASSERT_EQUAL(tracked(&bench).passed_count, 0);
    tracker_destroy(bench.tracker);
}

static void test_tracker_believes_that_steps_are_done(void)
{
    struct bench bench;
    open_bench(&bench, 6, 4);
    train(&bench, 0, 1.0);
    tracker_tick(bench.tracker, 3, bench.now_ms);
    tracker_tick(bench.tracker, 3, bench.now_ms += TRACKER_PATIENCE_MS);
    CU_ASSERT_EQUAL(tracked(&bench).step, 3);
    /* The last evaluation tells that there is no step left. */
    CU_ASSERT_EQUAL(note(&bench, true, 5, 0, 1.0), 0);
    evaluate(&bench, 6, 1.0);
    tracker_tick(bench.tracker, 3, bench.now_ms);
    tracker_tick(bench.tracker, 3, bench.now_ms += TRACKER_PATIENCE_MS);
    CU_ASSERT_EQUAL(tracked(&bench).step, 6);
    CU_ASSERT_EQUAL(tracked(&bench).passed_count, 5);
    CU_ASSERT(tracked(&bench).has_final_eval);
    tracker_destroy(bench.tracker);
}

static void test_tracker_knows_which_lanes_are_in(void)
{
    struct bench bench;
    lose_a_lane(&bench);
    CU_ASSERT(tracker_has_lane(bench.tracker, 0, 0));
    CU_ASSERT(!tracker_has_lane(bench.tracker, 1, 0) && tracker_has_lane(bench.tracker, 1, 1));
    CU_ASSERT(tracker_has_lane(bench.tracker, 3, 0) && !tracker_has_lane(bench.tracker, 4, 0));
    tracker_destroy(bench.tracker);
}

static void test_tracker_counts_a_step_with_a_void_lane_as_skipped(void)
{
    struct bench bench;
    struct metric_row row;
    open_bench(&bench, 4, 0);
    train(&bench, 0, 2.0);
    struct lane_result no = {.step = 1, .loss_sum = NAN, .sample_count = 1, .is_void = true};
    CU_ASSERT_EQUAL(tracker_note(bench.tracker, true, &no, bench.now_ms), 0);
    CU_ASSERT_EQUAL(note(&bench, true, 1, 1, 7.0), 0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 2);
    CU_ASSERT_EQUAL(tracked(&bench).skipped_count, 1);
    CU_ASSERT_EQUAL(tracked(&bench).train_loss, 2.0);
    CU_ASSERT_FATAL(tracker_next_row(bench.tracker, &row));
    CU_ASSERT_EQUAL(row.train_loss, 2.0);
    tracker_destroy(bench.tracker);
}

static void test_tracker_hears_steps_again_after_a_way_back(void)
{
    struct bench bench;
    struct metric_row row;
    open_bench(&bench, 6, 4);
    for (uint64_t step = 0; step < 4; step++)
        train(&bench, step, 1.0);
    evaluate(&bench, 3, 2.0);
    while (tracker_next_row(bench.tracker, &row))
        ;
    bench.now_ms = 7000;
    for (uint64_t step = 1; step < 4; step++)
        train(&bench, step, 1.0);
    evaluate(&bench, 3, 2.0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 4);
    CU_ASSERT_EQUAL(tracked(&bench).progress_ms, 7000);
    CU_ASSERT(!tracker_next_row(bench.tracker, &row));
    tracker_destroy(bench.tracker);
}

static void test_tracker_does_not_take_a_repeated_report_for_progress(void)
{
    struct bench bench;
    open_bench(&bench, 6, 4);
    CU_ASSERT_EQUAL(note(&bench, true, 0, 0, 1.0), 0);
    bench.now_ms = 7000;
    CU_ASSERT_EQUAL(note(&bench, true, 0, 0, 1.0), 0);
    CU_ASSERT_EQUAL(tracked(&bench).progress_ms, 1000);
    tracker_destroy(bench.tracker);
}

static void test_tracker_drops_half_an_evaluation_when_a_later_one_is_whole(void)
{
    struct bench bench;
    struct metric_row row;
    open_bench(&bench, 6, 4);
    CU_ASSERT_EQUAL(note(&bench, false, 2, 0, 1.0), 0);
    evaluate(&bench, 4, 2.0);
    CU_ASSERT_EQUAL(note(&bench, false, 2, 1, 1.0), 0);
    CU_ASSERT_FATAL(tracker_next_row(bench.tracker, &row));
    CU_ASSERT_EQUAL(row.step, 4);
    CU_ASSERT(!tracker_next_row(bench.tracker, &row));
    /* The last one is computed twice over, by different workers. */
    CU_ASSERT_EQUAL(note(&bench, false, 6, 0, 1.0), 0);
    evaluate(&bench, 6, 1.0);
    evaluate(&bench, 6, 1.0);
    CU_ASSERT(tracked(&bench).has_final_eval);
    CU_ASSERT(tracker_next_row(bench.tracker, &row) && row.step == 6);
    CU_ASSERT(!tracker_next_row(bench.tracker, &row));
    tracker_destroy(bench.tracker);
}

static void test_tracker_goes_on_where_the_metrics_end(void)
{
    struct bench bench;
    struct metric_row row;
    const struct batching batching = {.seed = 1, .sample_count = 6, .batch = 2,
                                      .lane_count = LANES};
    open_bench(&bench, 6, 4);
    tracker_destroy(bench.tracker);
    CU_ASSERT_EQUAL_FATAL(tracker_create(&bench.settings, &bench.tracker), 0);
    tracker_begin(bench.tracker, &batching, 6, 6, 4, bench.now_ms);
    train(&bench, 5, 1.0);
    evaluate(&bench, 3, 1.0);
    CU_ASSERT_EQUAL(tracked(&bench).step, 6);
    CU_ASSERT(!tracker_next_row(bench.tracker, &row) && !tracked(&bench).has_final_eval);
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
    X(test_tracker_counts_rounds_and_true_epochs)             \
    X(test_tracker_knows_the_last_evaluation)                 \
    X(test_tracker_passes_over_a_step_whose_report_is_lost)   \
    X(test_tracker_waits_for_less_when_somebody_was_lost)     \
    X(test_tracker_begins_an_epoch_though_its_last_step_is_lost) \
    X(test_ledger_forgets_steps_that_were_passed_over)        \
    X(test_ledger_makes_room_for_a_lower_step_when_it_is_full) \
    X(test_tracker_waits_when_the_report_comes_in_time)       \
    X(test_tracker_believes_that_steps_are_done)              \
    X(test_tracker_knows_which_lanes_are_in)                  \
    X(test_tracker_counts_a_step_with_a_void_lane_as_skipped) \
    X(test_tracker_hears_steps_again_after_a_way_back)        \
    X(test_tracker_does_not_take_a_repeated_report_for_progress) \
    X(test_tracker_drops_half_an_evaluation_when_a_later_one_is_whole) \
    X(test_tracker_goes_on_where_the_metrics_end)             \
    X(test_tracker_logs_every_so_many_steps_and_the_last)     \
    X(test_tracker_drops_the_oldest_row_when_nobody_collects) \
    X(test_tracker_measures_the_last_seconds)

UNIT_MAIN("tracker", TESTS)
