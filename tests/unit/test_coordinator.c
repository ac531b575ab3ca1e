#include "tests/unit/coordinator_bench.h"

static const struct address shard = {PARTY_SHARD, 30}, first = {PARTY_WORKER, 31},
                            second = {PARTY_WORKER, 32};

static const char *refuse(struct bench *bench, struct address who, const struct message *hello)
{
    hear(bench, who, hello);
    CU_ASSERT_FATAL(has(bench, who, MSG_REFUSED));
    return bench->out.items[0].msg.outcome.text;
}

static void test_coordinator_makes_the_view_when_all_are_there(void)
{
    struct bench bench;
    open_bench(&bench);
    join(&bench, second, 1);
    join(&bench, shard, -1);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_WAITING);
    join(&bench, first, -1);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    CU_ASSERT(has(&bench, shard, MSG_VIEW) && has(&bench, first, MSG_VIEW));
    CU_ASSERT(has(&bench, second, MSG_VIEW) && has(&bench, store, MSG_VIEW));
    const struct view *view = coordinator_view(bench.coordinator);
    CU_ASSERT_EQUAL(view->workers[view->lane_worker[0]].incarnation, first.id); /* rank 0 */
    CU_ASSERT_EQUAL(view->workers[view->lane_worker[3]].incarnation, second.id);
    close_bench(&bench);
}

static void test_coordinator_refuses_who_does_not_fit(void)
{
    struct bench bench;
    struct message hello;
    open_bench(&bench);
    hello = hello_of(&bench, first, 0);
    snprintf(hello.hello.version, sizeof(hello.hello.version), "0.0.9");
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, first, &hello), "it is Talweg 0.0.9"));
    hello = hello_of(&bench, first, 0);
    hello.hello.fingerprint[0] = 'z';
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, first, &hello), "another job"));
    hello = hello_of(&bench, first, WORKERS_MAX);
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, first, &hello), "past the last possible one"));
    join(&bench, first, 1);
    hello = hello_of(&bench, second, 0);
    hello.hello.train_count = 7;
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &hello), "7 training and 2"));
    hello = hello_of(&bench, second, 0);
    hello.hello.test_count = 3;
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &hello), "8 training and 3"));
    hello = hello_of(&bench, second, 0);
    hello.hello.train_count = 0;
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &hello), "must say its model"));
    hello = hello_of(&bench, second, 0);
    hello.run = (struct run_id){5, 6};
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &hello), "00050000000000000006"));
    hello = hello_of(&bench, shard, 0);
    snprintf(hello.hello.endpoint, sizeof(hello.hello.endpoint), "tcp://*:5");
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, shard, &hello), "nobody could reach it"));
    struct message beat = {.kind = MSG_BEAT, .run = {8, 9}};
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, first, &beat), "00080000000000000009"));
    beat.run = run;
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &beat), "no member"));
    CU_ASSERT_EQUAL(coordinator_refused_count(bench.coordinator), 10);
    close_bench(&bench);
}

static void test_coordinator_refuses_a_rank_whose_holder_answers(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    struct message hello = hello_of(&bench, worker(5), 1);
    hear(&bench, worker(5), &hello);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* whether it is there is to be seen */
    pass_ms(&bench, 100);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(refuse(&bench, worker(5), &hello), "rank 1 is taken by worker pid 32 on here"));
    close_bench(&bench);
}

static void test_coordinator_forgets_a_claim_that_was_given_up(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 100;
    bench.settings.cluster.answer_s = 1000;
    join_all(&bench);
    struct message hello = hello_of(&bench, worker(5), 1);
    hear(&bench, worker(5), &hello); /* and never again */
    pass_ms(&bench, 20000);
    hello = hello_of(&bench, worker(6), 1);
    silence(&bench, second);
    hear(&bench, worker(6), &hello);
    CU_ASSERT(!has(&bench, worker(6), MSG_REFUSED));
    pass_ms(&bench, 1500);
    join(&bench, worker(6), 1);
    close_bench(&bench);
}

static void test_coordinator_gives_a_rank_to_who_was_started_again(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    pass_ms(&bench, 500); /* how regular its beats are is known then */
    silence(&bench, second);
    struct message hello = hello_of(&bench, worker(5), 1);
    hear(&bench, worker(5), &hello);
    pass_ms(&bench, 500);
    hear(&bench, worker(5), &hello);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    pass_ms(&bench, 700);
    join(&bench, worker(5), 1);
    tick(&bench);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 2);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(5)), 2);
    struct message beat = from_member(&bench, MSG_BEAT); /* the other was cut off alone */
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &beat), "no member of it any more"));
    close_bench(&bench);
}

static void test_coordinator_gives_a_rank_at_once_when_its_holder_has_ended(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    kill_member(&bench, second);
    join(&bench, worker(5), 1);
    tick(&bench);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 2);
    close_bench(&bench);
}

static void test_coordinator_refuses_a_server_with_other_shards(void)
{
    struct bench bench;
    struct message hello;
    open_bench(&bench);
    hello = hello_of(&bench, shard, 0);
    hello.hello.shard_count = 2;
    CU_ASSERT_PTR_NOT_NULL(
        strstr(refuse(&bench, shard, &hello), "it runs 2 shards, cluster.shards is 1"));
    close_bench(&bench);
}

static void test_coordinator_refuses_blocks_of_another_size(void)
{
    struct bench bench;
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {8}};
    struct layout *other = NULL;
    struct message hello;
    open_bench(&bench);
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 32, &other, NULL), 0);
    hello = hello_of(&bench, first, 0);
    hello.hello.layout = other;
    CU_ASSERT_PTR_NOT_NULL(
        strstr(refuse(&bench, first, &hello),
               "its exchange.block_bytes is 32, the coordinator's 16"));
    layout_destroy(other);
    close_bench(&bench);
}

static void test_coordinator_refuses_another_model(void)
{
    struct bench bench;
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {9}};
    struct layout *other = NULL;
    struct message hello;
    open_bench(&bench);
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 16, &other, NULL), 0);
    join(&bench, first, 0);
    hello = hello_of(&bench, second, 1);
    hello.hello.layout = other;
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &hello), "its model has other tensors"));
    layout_destroy(other);
    close_bench(&bench);
}

static void test_coordinator_forgets_the_model_of_a_worker_that_it_refuses(void)
{
    struct bench bench;
    open_bench(&bench);
    struct message hello = hello_of(&bench, second, WORKERS_MAX); /* there is no such rank */
    hello.hello.train_count = 99;
    refuse(&bench, second, &hello);
    join_all(&bench);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    CU_ASSERT_EQUAL(coordinator_view(bench.coordinator)->train_count, 8);
    close_bench(&bench);
}

static void test_coordinator_sends_the_view_again_to_who_asks_again(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    struct message hello = hello_of(&bench, shard, -1);
    hear(&bench, shard, &hello);
    CU_ASSERT(has(&bench, shard, MSG_VIEW));
    CU_ASSERT_PTR_NOT_NULL(bench.out.items[1].msg.view_body.layout);
    hello = hello_of(&bench, first, -1);
    hear(&bench, first, &hello);
    CU_ASSERT(has(&bench, first, MSG_VIEW));
    CU_ASSERT_PTR_NULL(bench.out.items[1].msg.view_body.layout);
    close_bench(&bench);
}

static void lane_done(struct bench *bench, struct address who, enum message_kind kind,
                      uint32_t lane, double loss)
{
    struct message msg = from_member(bench, kind);
    msg.lane = (struct lane_result){.step = kind == MSG_EVAL_DONE, .lane = lane, .loss_sum = loss,
                                    .answer_count = 2, .correct_count = 1, .sample_count = 2,
                                    .compute_us = 10000};
    hear(bench, who, &msg);
}

static void digest(struct bench *bench, struct address who, const char *hex)
{
    digest_at(bench, who, 1, hex);
}

static void finish_checkpoint(struct bench *bench, int code)
{
    finish_checkpoint_at(bench, 1, code);
}

static void run_lanes(struct bench *bench)
{
    for (uint32_t lane = 0; lane < 4; lane++)
        lane_done(bench, lane < 2 ? first : second, MSG_LANE_DONE, lane, 1.0 + lane);
    for (uint32_t lane = 0; lane < 4; lane++)
        lane_done(bench, lane < 2 ? first : second, MSG_EVAL_DONE, lane, 3.0);
}

static void test_coordinator_finishes_when_everything_is_in(void)
{
    struct bench bench;
    struct metric_row row;
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_EVALUATING);
    CU_ASSERT_EQUAL(progress(&bench).train_loss, 10.0 / 8);
    CU_ASSERT_EQUAL(progress(&bench).test_accuracy, 0.5);
    digest(&bench, first, "d1");
    digest(&bench, second, "d1");
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    finish_checkpoint(&bench, 0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    CU_ASSERT(has(&bench, first, MSG_FINISH) && has(&bench, shard, MSG_FINISH));
    CU_ASSERT(coordinator_next_row(bench.coordinator, &row) && row.has_train && row.step == 1);
    CU_ASSERT(coordinator_next_row(bench.coordinator, &row) && row.has_test);
    CU_ASSERT(!coordinator_next_row(bench.coordinator, &row));
    close_bench(&bench);
}

static void test_coordinator_fails_when_weights_differ(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    digest(&bench, first, "d1");
    digest(&bench, second, "d2");
    check_failed(&bench, "worker 1 (pid 32 on host here) ended with other weights");
}

static void test_coordinator_fails_when_only_the_last_checkpoint_does_again_and_again(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 2;
    join_all(&bench);
    for (int i = 0; i < 5; i++)
        finish_checkpoint_at(&bench, 1, ERR_IO); /* the job goes on without */
    CU_ASSERT_EQUAL(progress(&bench).failed_checkpoint_count, 5);
    finish_checkpoint_at(&bench, 2, ERR_IO);
    finish_checkpoint_at(&bench, 2, ERR_IO);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    finish_checkpoint_at(&bench, 2, ERR_IO);
    check_failed(&bench, "checkpoint of step 2: the disk is full");
}

static void test_coordinator_fails_when_a_loss_is_not_finite(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    lane_done(&bench, second, MSG_LANE_DONE, 3, NAN);
    tick(&bench); /* a shard may know more */
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    pass_ms(&bench, 500);
    check_failed(&bench, "the loss of step 0, lane 3 is not a finite number (worker 1");
}

static void test_coordinator_says_all_that_is_known_of_a_gradient_that_is_not_finite(void)
{
    for (int order = 0; order < 2; order++) {
        struct bench bench;
        open_bench(&bench);
        join_all(&bench);
        struct message alarm = from_member(&bench, MSG_ALARM);
        alarm.outcome.code = ERR_INPUT;
        snprintf(alarm.outcome.text, sizeof(alarm.outcome.text), "a gradient of w is none");
        if (order == 0)
            hear(&bench, shard, &alarm);
        lane_done(&bench, second, MSG_LANE_DONE, 3, NAN);
        if (order == 1)
            hear(&bench, shard, &alarm);
        tick(&bench);
        check_failed(&bench, "a gradient of w is none; the loss of step 0, lane 3 is not a finite");
    }
}

static void test_coordinator_counts_a_step_that_is_left_out(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.on_nonfinite = NONFINITE_SKIP;
    join_all(&bench);
    struct message msg = from_member(&bench, MSG_LANE_DONE);
    msg.lane = (struct lane_result){.lane = 3, .loss_sum = NAN, .sample_count = 2,
                                    .is_void = true};
    hear(&bench, second, &msg);
    for (uint32_t lane = 0; lane < 3; lane++)
        lane_done(&bench, first, MSG_LANE_DONE, lane, 1.0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_EVALUATING);
    CU_ASSERT_EQUAL(progress(&bench).skipped_count, 1);
    msg.kind = MSG_EVAL_DONE; /* but weights that have no loss are of no use */
    msg.lane.step = 1;
    hear(&bench, second, &msg);
    pass_ms(&bench, 500);
    check_failed(&bench, "is not a finite number");
}

static void test_coordinator_takes_a_lane_of_any_worker(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    for (int i = 0; i < 4; i++) /* one lane, however often */
        lane_done(&bench, second, MSG_LANE_DONE, 2, 1.0);
    for (uint32_t lane = 0; lane < 3; lane++)
        lane_done(&bench, first, MSG_LANE_DONE, lane, 1.0);
    lane_done(&bench, first, MSG_LANE_DONE, 4, 1.0); /* there is none */
    lane_done(&bench, shard, MSG_LANE_DONE, 3, 1.0);
    CU_ASSERT_EQUAL(progress(&bench).step, 0);
    lane_done(&bench, first, MSG_LANE_DONE, 3, 1.0); /* the second one's, but done is done */
    CU_ASSERT_EQUAL(progress(&bench).step, 1);
    close_bench(&bench);
}

/* Its shard tells this version. */
static void pass_with(struct bench *bench, uint64_t ms, uint64_t shard_step)
{
    actor_of(bench, shard)->beat.step = shard_step;
    pass_ms(bench, ms);
}

/* Time is over, and the last checkpoint was waited for in vain. */
static void check_given_up(struct bench *bench, const char *expected)
{
    CU_ASSERT(!coordinator_is_over(bench->coordinator));
    CU_ASSERT_PTR_NOT_NULL(was_said(bench, shard, MSG_CHECKPOINT_ASK));
    pass_ms(bench, 5100);
    check_failed(bench, expected);
}

static void test_coordinator_fails_when_a_lane_never_comes(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    lane_done(&bench, first, MSG_LANE_DONE, 0, 1.0);
    for (int i = 0; i < 41; i++) { /* what is said again is no news */
        pass_ms(&bench, 100);
        lane_done(&bench, first, MSG_LANE_DONE, 0, 1.0);
    }
    check_given_up(&bench, "waited 4 s (cluster.answer_s) for lane 1 of worker 0");
}

/* Nobody knows how long a round of three steps takes. */
static void test_coordinator_is_patient_for_each_step_of_the_first_round(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.exchange.consistency = CONSISTENCY_LOCAL;
    bench.settings.exchange.local_steps = 3;
    join_all(&bench);
    pass_ms(&bench, 11900);
    CU_ASSERT_PTR_NULL(was_said(&bench, shard, MSG_CHECKPOINT_ASK));
    pass_ms(&bench, 200);
    check_given_up(&bench, "waited 12 s (cluster.answer_s) for lane 0 of worker 0");
}

static void test_coordinator_names_the_shard_that_is_behind_all_lanes(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 5;
    join_all(&bench);
    run_lanes(&bench);
    pass_with(&bench, 4100, 0);
    check_given_up(&bench, "step 1 has waited 4 s (cluster.answer_s) for server 0 shard 0 (pid 30 "
                           "on host here), whose weights are still those of step 0");
}

static void test_coordinator_says_what_is_missing_at_the_end(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    digest(&bench, first, "d1");
    pass_with(&bench, 4100, 1);
    check_given_up(&bench, "evaluation done, digests of the weights, last checkpoint missing");
}

static void test_coordinator_counts_a_lane_once_however_often_it_comes(void)
{
    struct bench bench;
    struct metric_row row;
    size_t rows = 0;
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    run_lanes(&bench);
    CU_ASSERT_EQUAL(progress(&bench).train_loss, 10.0 / 8);
    while (coordinator_next_row(bench.coordinator, &row))
        rows++;
    CU_ASSERT_EQUAL(rows, 2);
    close_bench(&bench);
}

static void test_coordinator_takes_digests_from_workers_only(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    digest(&bench, shard, "d0");
    digest(&bench, first, "d1");
    digest(&bench, first, "d1"); /* once a worker */
    finish_checkpoint(&bench, 0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_EVALUATING);
    digest(&bench, second, "d1");
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    close_bench(&bench);
}

static void test_coordinator_waits_for_the_evaluation(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    for (uint32_t lane = 0; lane < 4; lane++)
        lane_done(&bench, lane < 2 ? first : second, MSG_LANE_DONE, lane, 1.0);
    digest(&bench, first, "d1");
    digest(&bench, second, "d1");
    finish_checkpoint(&bench, 0);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    for (uint32_t lane = 0; lane < 4; lane++)
        lane_done(&bench, lane < 2 ? first : second, MSG_EVAL_DONE, lane, 1.0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    close_bench(&bench);
}

static void test_coordinator_hears_its_own_store_only(void)
{
    struct bench bench;
    struct message done = {.kind = MSG_CHECKPOINT_DONE, .run = run, .outcome = {.code = ERR_IO}};
    open_bench(&bench);
    join_all(&bench);
    hear(&bench, (struct address){PARTY_STORE, 41}, &done);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    close_bench(&bench);
}

static void test_coordinator_stopped_near_the_end_finishes(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    outbox_clear(&bench.out);
    coordinator_stop(bench.coordinator, &bench.out);
    CU_ASSERT_FATAL(has(&bench, shard, MSG_CHECKPOINT_ASK));
    CU_ASSERT_EQUAL(bench.out.items[0].msg.outcome.step, 1); /* the last version: there is no 2 */
    run_lanes(&bench);
    digest(&bench, first, "d1");
    digest(&bench, second, "d1");
    finish_checkpoint(&bench, 0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    close_bench(&bench);
}

static void test_coordinator_stops_at_once_while_it_waits(void)
{
    struct bench bench;
    open_bench(&bench);
    join(&bench, first, 0);
    outbox_clear(&bench.out);
    coordinator_stop(bench.coordinator, &bench.out);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_STOPPED);
    CU_ASSERT(has(&bench, first, MSG_FINISH));
    CU_ASSERT_STRING_EQUAL(progress(&bench).error, "stopped before training began");
    close_bench(&bench);
}

static void test_coordinator_gives_lanes_to_a_worker_that_comes_late(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    join(&bench, worker(2), -1);
    CU_ASSERT(has(&bench, worker(2), MSG_VIEW)); /* of those before it */
    tick(&bench);
    CU_ASSERT(has(&bench, first, MSG_VIEW) && has(&bench, worker(2), MSG_VIEW));
    CU_ASSERT_EQUAL(view_of(&bench)->number, 2);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 3);
    CU_ASSERT(lanes_of(&bench, worker(2)) > 0);
    close_bench(&bench);
}

/* Whichever tasks of a job array are the first to run. */
static void test_coordinator_begins_with_workers_of_any_rank(void)
{
    struct bench bench;
    open_bench(&bench);
    join(&bench, shard, 0);
    join(&bench, worker(7), 7);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_WAITING);
    join(&bench, second, 1);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 2);
    CU_ASSERT(lanes_of(&bench, worker(7)) > 0);
    close_bench(&bench);
}

static void test_coordinator_begins_when_one_that_was_silent_is_back(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.cluster.wait_s = 100;
    join(&bench, first, 0);
    join(&bench, shard, 0);
    silence(&bench, first);
    pass_ms(&bench, 3500);
    join(&bench, second, 1);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_WAITING);
    actor_of(&bench, first)->is_alive = true;
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    close_bench(&bench);
}

static void test_coordinator_says_who_has_not_come(void)
{
    struct bench bench;
    open_bench(&bench);
    join(&bench, second, 1);
    pass_ms(&bench, 5000);
    check_failed(&bench, "waited 5 s (cluster.wait_s) and have 0 of 1 servers (missing rank 0), "
                         "1 of 2 workers (missing rank 0)");
}

static void test_coordinator_needs_digests_of_those_who_have_lanes_now(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    digest(&bench, first, "d1");
    finish_checkpoint(&bench, 0);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    kill_member(&bench, second); /* its lanes are the first one's then */
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    close_bench(&bench);
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    digest(&bench, first, "d1");
    join(&bench, worker(2), 2);
    tick(&bench);
    digest(&bench, second, "d1");
    finish_checkpoint(&bench, 0);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    digest(&bench, worker(2), "d1");
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    close_bench(&bench);
}

static void test_coordinator_asks_again_for_the_last_checkpoint(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.cluster.answer_s = 60;
    join_all(&bench);
    run_lanes(&bench);
    digest(&bench, first, "d1");
    digest(&bench, second, "d1");
    pass_with(&bench, 9900, 1);
    CU_ASSERT_PTR_NULL(was_said(&bench, shard, MSG_CHECKPOINT_ASK));
    pass_with(&bench, 200, 1);
    CU_ASSERT_EQUAL(asked_step(&bench, shard), 1);
    finish_checkpoint(&bench, 0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    close_bench(&bench);
}

static void test_coordinator_fails_when_the_checkpoint_is_past_the_end(void)
{
    struct bench bench;
    open_bench_at(&bench, 2);
    join_all(&bench);
    check_failed(&bench, "the checkpoint is of step 2, the job ends at step 1");
}

/* An era that begins past the end is none, and no view could say so. */
static void test_coordinator_does_not_count_a_checkpoint_past_the_end(void)
{
    struct bench bench;
    struct outbox records = {0};
    open_bench(&bench);
    join_all(&bench);
    finish_checkpoint_at(&bench, 166, 0);
    coordinator_snapshot(bench.coordinator, &records);
    for (size_t i = 0; i < records.count; i++)
        CU_ASSERT(records.items[i].msg.kind != MSG_CHECKPOINT_DONE);
    outbox_free(&records);
    close_bench(&bench);
}

static void test_coordinator_counts_only_the_last_checkpoint_and_digest(void)
{
    struct bench bench;
    open_bench(&bench);
    join(&bench, first, 0);
    digest_at(&bench, first, 0, "d0"); /* before there is a view */
    join(&bench, second, 1);
    join(&bench, shard, -1);
    run_lanes(&bench);
    digest_at(&bench, first, 0, "d0");
    digest_at(&bench, second, 0, "d0");
    finish_checkpoint(&bench, 0);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    digest(&bench, second, "d1");
    digest(&bench, first, "d1");
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    close_bench(&bench);
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    finish_checkpoint_at(&bench, 0, 0);
    digest(&bench, first, "d1");
    digest(&bench, second, "d1");
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    close_bench(&bench);
}

static void test_coordinator_echoes_a_beat(void)
{
    struct bench bench;
    struct message beat = {.kind = MSG_BEAT, .run = run};
    open_bench(&bench);
    join(&bench, first, 0);
    beat.beat.sent_ms = 123;
    hear(&bench, first, &beat);
    CU_ASSERT_FATAL(has(&bench, first, MSG_BEAT));
    CU_ASSERT_EQUAL(bench.out.items[0].msg.beat.sent_ms, 123);
    close_bench(&bench);
}

static void test_coordinator_does_not_blame_a_shard_without_blocks(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 5;
    join_all(&bench);
    run_lanes(&bench);
    actor_of(&bench, shard)->beat.block_count = 0;
    pass_ms(&bench, 4100);
    check_given_up(&bench, "step 1 has waited 4 s (cluster.answer_s) for lane 0 of worker 0");
}

static void test_coordinator_fails_when_a_member_leaves(void)
{
    struct bench bench;
    struct message bye = {.kind = MSG_BYE, .run = run};
    open_bench(&bench);
    join_all(&bench);
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "its disk is gone");
    hear(&bench, shard, &bye);
    check_failed(&bench, "server 0 shard 0 (pid 30 on host here) gave up: its disk is gone");
}

static void test_coordinator_stops_the_job_when_all_of_a_role_are_asked_to_stop(void)
{
    struct bench bench;
    struct message bye = {.kind = MSG_BYE, .run = run};
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    bye.outcome.code = ERR_STOPPED;
    hear(&bench, second, &bye);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    hear(&bench, second, &bye); /* again: it is not the last one */
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    hear(&bench, first, &bye);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_STOPPING);
    CU_ASSERT(has(&bench, shard, MSG_CHECKPOINT_ASK));
    hear(&bench, shard, &bye); /* and again, from another */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    pass_ms(&bench, 2000); /* nobody goes before the checkpoint is written */
    CU_ASSERT_PTR_NULL(was_said(&bench, second, MSG_FINISH));
    finish_checkpoint_at(&bench, asked_step(&bench, shard), 0);
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, second, MSG_FINISH));
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_STOPPED);
    close_bench(&bench);
}

static void test_coordinator_lets_a_worker_go_that_is_asked_to_stop(void)
{
    struct bench bench;
    struct message bye = {.kind = MSG_BYE, .run = run};
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    bye.outcome.code = ERR_STOPPED;
    hear(&bench, second, &bye);
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(lanes_of(&bench, first), 4);
    CU_ASSERT_PTR_NULL(was_said(&bench, second, MSG_FINISH));
    pass_ms(&bench, 1000);
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, second, MSG_FINISH));
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 1);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    close_bench(&bench);
}

static void test_coordinator_gives_up_when_too_few_are_left(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    actor_of(&bench, shard)->beat.step = 7;
    kill_member(&bench, first);
    kill_member(&bench, second);
    pass_ms(&bench, 5900);
    CU_ASSERT_PTR_NULL(was_said(&bench, shard, MSG_CHECKPOINT_ASK));
    CU_ASSERT_PTR_NOT_NULL(strstr(progress(&bench).trouble, "too few processes to go on"));
    pass_ms(&bench, 300);
    CU_ASSERT_EQUAL(asked_step(&bench, shard), 7);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    finish_checkpoint_at(&bench, 7, 0);
    check_failed(&bench, "too few processes to go on: 1 of 1 servers, 0 of 2 workers (missing "
                         "ranks 0 1), for 6 s (cluster.give_up_s)");
}

static void test_coordinator_goes_on_when_workers_come_in_time(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    kill_member(&bench, first);
    kill_member(&bench, second);
    pass_ms(&bench, 5000);
    CU_ASSERT_EQUAL(owner_of(&bench, 0), 0);
    join(&bench, worker(5), -1);
    pass_ms(&bench, 3000);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(5)), 4);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    CU_ASSERT_PTR_NULL(was_said(&bench, shard, MSG_CHECKPOINT_ASK));
    close_bench(&bench);
}

static void test_coordinator_stops_with_a_checkpoint_ahead(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    outbox_clear(&bench.out);
    coordinator_stop(bench.coordinator, &bench.out);
    CU_ASSERT(has(&bench, shard, MSG_CHECKPOINT_ASK));
    struct message late = {.kind = MSG_CHECKPOINT_LATE, .run = run};
    late.outcome.step = bench.out.items[0].msg.outcome.step;
    late.outcome.newest = 5;
    hear(&bench, shard, &late);
    CU_ASSERT_FATAL(has(&bench, shard, MSG_CHECKPOINT_ASK));
    struct message done = {.kind = MSG_CHECKPOINT_DONE, .run = run};
    done.outcome.step = bench.out.items[0].msg.outcome.step;
    CU_ASSERT_EQUAL(done.outcome.step, 5 + 4); /* the newest, and twice the margin */
    hear(&bench, shard, &late); /* of the ask before: answered already */
    CU_ASSERT(!has(&bench, shard, MSG_CHECKPOINT_ASK));
    finish_checkpoint_at(&bench, 2, 0); /* another one on its way */
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    hear(&bench, store, &done);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_STOPPED);
    CU_ASSERT(has(&bench, first, MSG_FINISH));
    close_bench(&bench);
}

#define TESTS(X)                                                                    \
    X(test_coordinator_makes_the_view_when_all_are_there)                           \
    X(test_coordinator_refuses_who_does_not_fit)                                    \
    X(test_coordinator_refuses_a_rank_whose_holder_answers)                         \
    X(test_coordinator_forgets_a_claim_that_was_given_up)                           \
    X(test_coordinator_gives_a_rank_to_who_was_started_again)                       \
    X(test_coordinator_gives_a_rank_at_once_when_its_holder_has_ended)              \
    X(test_coordinator_refuses_a_server_with_other_shards)                          \
    X(test_coordinator_refuses_blocks_of_another_size)                              \
    X(test_coordinator_refuses_another_model)                                       \
    X(test_coordinator_forgets_the_model_of_a_worker_that_it_refuses)               \
    X(test_coordinator_sends_the_view_again_to_who_asks_again)                      \
    X(test_coordinator_finishes_when_everything_is_in)                              \
    X(test_coordinator_fails_when_weights_differ)                                   \
    X(test_coordinator_fails_when_only_the_last_checkpoint_does_again_and_again)    \
    X(test_coordinator_fails_when_a_loss_is_not_finite)                             \
    X(test_coordinator_says_all_that_is_known_of_a_gradient_that_is_not_finite)     \
    X(test_coordinator_counts_a_step_that_is_left_out)                              \
    X(test_coordinator_takes_a_lane_of_any_worker)                          \
    X(test_coordinator_fails_when_a_lane_never_comes)                               \
    X(test_coordinator_is_patient_for_each_step_of_the_first_round)                 \
    X(test_coordinator_names_the_shard_that_is_behind_all_lanes)                    \
    X(test_coordinator_says_what_is_missing_at_the_end)                             \
    X(test_coordinator_counts_a_lane_once_however_often_it_comes)                   \
    X(test_coordinator_takes_digests_from_workers_only)                             \
    X(test_coordinator_waits_for_the_evaluation)                                    \
    X(test_coordinator_hears_its_own_store_only)                                    \
    X(test_coordinator_stopped_near_the_end_finishes)                               \
    X(test_coordinator_stops_at_once_while_it_waits)                                \
    X(test_coordinator_gives_lanes_to_a_worker_that_comes_late)                     \
    X(test_coordinator_begins_with_workers_of_any_rank)                             \
    X(test_coordinator_begins_when_one_that_was_silent_is_back)                     \
    X(test_coordinator_says_who_has_not_come)                                       \
    X(test_coordinator_needs_digests_of_those_who_have_lanes_now)                   \
    X(test_coordinator_asks_again_for_the_last_checkpoint)                          \
    X(test_coordinator_fails_when_the_checkpoint_is_past_the_end)                   \
    X(test_coordinator_does_not_count_a_checkpoint_past_the_end)                     \
    X(test_coordinator_counts_only_the_last_checkpoint_and_digest)                  \
    X(test_coordinator_echoes_a_beat)                                               \
    X(test_coordinator_does_not_blame_a_shard_without_blocks)                       \
    X(test_coordinator_fails_when_a_member_leaves)                                  \
    X(test_coordinator_stops_the_job_when_all_of_a_role_are_asked_to_stop)          \
    X(test_coordinator_lets_a_worker_go_that_is_asked_to_stop)                      \
    X(test_coordinator_gives_up_when_too_few_are_left)                              \
    X(test_coordinator_goes_on_when_workers_come_in_time)                           \
    X(test_coordinator_stops_with_a_checkpoint_ahead)

UNIT_MAIN("coordinator", TESTS)
