#include "ps/coordinator.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

/* A job of one server and two workers, four lanes, one step, a test set of two samples. */
static const struct run_id run = {1, 2};
static const struct address shard = {PARTY_SHARD, 30}, first = {PARTY_WORKER, 31},
                            second = {PARTY_WORKER, 32}, store = {PARTY_STORE, 40};

struct bench {
    struct settings settings;
    struct coordinator *coordinator;
    struct layout *layout;
    struct outbox out;
    uint64_t now_ms;
};

static void hear(struct bench *bench, struct address from, const struct message *msg)
{
    outbox_clear(&bench->out);
    coordinator_step(bench->coordinator, bench->now_ms, from, msg, &bench->out);
}

static void open_bench_at(struct bench *bench, uint64_t resume_step)
{
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {8}};
    *bench = (struct bench){.now_ms = 1000};
    bench->settings.job.lanes = 4;
    bench->settings.job.batch = 8;
    bench->settings.job.steps = 1;
    bench->settings.exchange.block_bytes = 4096;
    bench->settings.cluster.servers = bench->settings.cluster.shards = 1;
    bench->settings.cluster.workers = 2;
    bench->settings.cluster.wait_s = 5;
    bench->settings.cluster.silence_s = 3;
    bench->settings.cluster.answer_s = 4;
    bench->settings.log.every = 1;
    struct coordinator_spec spec = {.settings = &bench->settings, .run = run,
                                    .store_incarnation = store.id, .store_endpoint = "inproc://d",
                                    .resume_step = resume_step, .fingerprint = "abc"};
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 4096, &bench->layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(coordinator_create(&spec, &bench->coordinator), 0);
    hear(bench, (struct address){0}, NULL);
}

static void open_bench(struct bench *bench)
{
    open_bench_at(bench, 0);
}

static void close_bench(struct bench *bench)
{
    outbox_free(&bench->out);
    coordinator_destroy(bench->coordinator);
    layout_destroy(bench->layout);
}

static struct message hello_of(const struct bench *bench, struct address who, int32_t rank)
{
    struct message msg = {.kind = MSG_HELLO};
    msg.hello = (struct hello){.rank = rank, .pid = (uint32_t)who.id, .host = "here",
                               .version = TALWEG_VERSION, .fingerprint = "abc"};
    if (who.party == PARTY_WORKER) {
        msg.hello.layout = bench->layout;
        msg.hello.train_count = 8;
        msg.hello.test_count = 2;
    } else {
        msg.hello.shard_count = 1;
    }
    return msg;
}

static bool has(const struct bench *bench, struct address to, enum message_kind kind)
{
    for (size_t i = 0; i < bench->out.count; i++)
        if (address_equal(bench->out.items[i].to, to) && bench->out.items[i].msg.kind == kind)
            return true;
    return false;
}

static struct progress progress(const struct bench *bench)
{
    struct progress out;
    coordinator_progress(bench->coordinator, bench->now_ms, &out);
    return out;
}

static void join(struct bench *bench, struct address who, int32_t rank)
{
    struct message hello = hello_of(bench, who, rank);
    hear(bench, who, &hello);
    CU_ASSERT(has(bench, who, MSG_WELCOME));
}

static void join_all(struct bench *bench)
{
    join(bench, second, 1);
    join(bench, shard, -1);
    join(bench, first, -1);
}

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
    hello = hello_of(&bench, first, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, first, &hello), "the job has 2 workers"));
    join(&bench, first, 1);
    hello = hello_of(&bench, second, 1);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(refuse(&bench, second, &hello), "rank 1 is taken by worker pid 31 on here"));
    hello = hello_of(&bench, second, 0);
    hello.hello.train_count = 7;
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &hello), "7 training and 2"));
    hello = hello_of(&bench, second, 0);
    hello.hello.test_count = 3;
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &hello), "8 training and 3"));
    hello = hello_of(&bench, second, 0);
    hello.hello.train_count = 0;
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, second, &hello), "must say its model"));
    struct message beat = {.kind = MSG_BEAT, .run = {8, 9}};
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, first, &beat), "00080000000000000009"));
    CU_ASSERT_EQUAL(coordinator_refused_count(bench.coordinator), 8);
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
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 16, &other, NULL), 0);
    hello = hello_of(&bench, first, 0);
    hello.hello.layout = other;
    CU_ASSERT_PTR_NOT_NULL(
        strstr(refuse(&bench, first, &hello),
               "its exchange.block_bytes is 16, the coordinator's 4096"));
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
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 4096, &other, NULL), 0);
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
    struct message hello = hello_of(&bench, second, 7); /* there is no rank 7 */
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
    struct message msg = {.kind = kind, .run = run};
    msg.lane = (struct lane_result){.step = kind == MSG_EVAL_DONE, .lane = lane, .loss_sum = loss,
                                    .correct_count = 1, .sample_count = 2};
    hear(bench, who, &msg);
}

static void digest_at(struct bench *bench, struct address who, uint64_t step, const char *hex)
{
    struct message msg = {.kind = MSG_WEIGHTS_DIGEST, .run = run, .digest = {.step = step}};
    snprintf(msg.digest.hex, sizeof(msg.digest.hex), "%s", hex);
    hear(bench, who, &msg);
}

static void digest(struct bench *bench, struct address who, const char *hex)
{
    digest_at(bench, who, 1, hex);
}

static void finish_checkpoint_at(struct bench *bench, uint64_t step, int code)
{
    struct message msg = {.kind = MSG_CHECKPOINT_DONE, .run = run};
    msg.outcome.step = step;
    msg.outcome.code = code;
    snprintf(msg.outcome.text, sizeof(msg.outcome.text), "the disk is full");
    hear(bench, store, &msg);
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

static void check_failed(struct bench *bench, const char *expected)
{
    struct progress now = progress(bench);
    CU_ASSERT_EQUAL(now.phase, PHASE_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(now.error, expected));
    if (strstr(now.error, expected) == NULL)
        printf("\n    found: %s\n", now.error);
    close_bench(bench);
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

static void test_coordinator_fails_when_the_checkpoint_does(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    finish_checkpoint(&bench, ERR_IO);
    check_failed(&bench, "checkpoint of step 1: the disk is full");
}

static void test_coordinator_fails_when_a_loss_is_not_finite(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    lane_done(&bench, second, MSG_LANE_DONE, 3, NAN);
    check_failed(&bench, "the loss of step 0, lane 3 is not a finite number (worker 1");
}

static void test_coordinator_ignores_a_lane_from_who_has_it_not(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    for (uint32_t lane = 0; lane < 5; lane++) /* there is no lane 4 */
        lane_done(&bench, first, MSG_LANE_DONE, lane, 1.0);
    for (int i = 0; i < 4; i++) /* one lane, however often */
        lane_done(&bench, second, MSG_LANE_DONE, 2, 1.0);
    CU_ASSERT_EQUAL(progress(&bench).step, 0);
    lane_done(&bench, second, MSG_LANE_DONE, 3, 1.0);
    CU_ASSERT_EQUAL(progress(&bench).step, 1);
    close_bench(&bench);
}

static void test_coordinator_fails_when_a_lane_never_comes(void)
{
    struct bench bench;
    struct message beat = {.kind = MSG_BEAT, .run = run};
    open_bench(&bench);
    join_all(&bench);
    lane_done(&bench, first, MSG_LANE_DONE, 0, 1.0);
    for (int i = 0; i < 5; i++) {
        bench.now_ms += 1000;
        hear(&bench, first, &beat);
        hear(&bench, second, &beat);
        hear(&bench, shard, &beat);
        hear(&bench, (struct address){0}, NULL);
    }
    check_failed(&bench, "waited 4 s (cluster.answer_s) for lane 1 of worker 0");
}

static void pass_seconds(struct bench *bench, int seconds, uint64_t shard_step)
{
    struct message beat = {.kind = MSG_BEAT, .run = run};
    for (int i = 0; i < seconds; i++) {
        bench->now_ms += 1000;
        beat.beat = (struct beat){0};
        hear(bench, first, &beat);
        hear(bench, second, &beat);
        beat.beat = (struct beat){.block_count = 1, .step = shard_step};
        hear(bench, shard, &beat);
        hear(bench, (struct address){0}, NULL);
    }
}

static void test_coordinator_names_the_shard_that_is_behind_all_lanes(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.steps = 5;
    join_all(&bench);
    run_lanes(&bench);
    pass_seconds(&bench, 5, 0);
    check_failed(&bench, "step 1 has waited 4 s (cluster.answer_s) for server 0 shard 0 (pid 30 on "
                         "host here), whose weights are still those of step 0");
}

static void test_coordinator_says_what_is_missing_at_the_end(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    run_lanes(&bench);
    digest(&bench, first, "d1");
    pass_seconds(&bench, 5, 1);
    check_failed(&bench, "evaluation done, digests of the weights from 1 workers, last checkpoint "
                         "missing");
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

static void test_coordinator_refuses_who_comes_after_the_view(void)
{
    struct bench bench;
    open_bench(&bench);
    join_all(&bench);
    struct message hello = hello_of(&bench, (struct address){PARTY_WORKER, 50}, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(refuse(&bench, (struct address){PARTY_WORKER, 50}, &hello),
                                  "the run has begun; all its places are taken"));
    close_bench(&bench);
}

static void test_coordinator_fails_when_the_checkpoint_is_past_the_end(void)
{
    struct bench bench;
    open_bench_at(&bench, 2);
    join_all(&bench);
    check_failed(&bench, "the checkpoint is of step 2, the job ends at step 1");
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
    hear(&bench, first, &beat);
    CU_ASSERT(has(&bench, first, MSG_BEAT));
    close_bench(&bench);
}

static void test_coordinator_does_not_blame_a_shard_without_blocks(void)
{
    struct bench bench;
    struct message beat = {.kind = MSG_BEAT, .run = run};
    open_bench(&bench);
    bench.settings.job.steps = 5;
    bench.settings.cluster.silence_s = 100;
    join_all(&bench);
    run_lanes(&bench);
    hear(&bench, shard, &beat);
    bench.now_ms += 4000;
    hear(&bench, (struct address){0}, NULL);
    check_failed(&bench, "step 1 has waited 4 s (cluster.answer_s) for lane 0 of worker 0");
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

static void test_coordinator_stops_the_job_when_a_member_is_asked_to_stop(void)
{
    struct bench bench;
    struct message bye = {.kind = MSG_BYE, .run = run};
    open_bench(&bench);
    bench.settings.job.steps = 100;
    join_all(&bench);
    bye.outcome.code = ERR_STOPPED;
    hear(&bench, second, &bye);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_STOPPING);
    CU_ASSERT(has(&bench, shard, MSG_CHECKPOINT_ASK));
    hear(&bench, shard, &bye); /* and again, from another */
    CU_ASSERT_EQUAL(bench.out.count, 0);
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

#define TESTS(X)                                              \
    X(test_coordinator_makes_the_view_when_all_are_there)     \
    X(test_coordinator_refuses_who_does_not_fit)              \
    X(test_coordinator_finishes_when_everything_is_in)        \
    X(test_coordinator_fails_when_weights_differ)             \
    X(test_coordinator_fails_when_the_checkpoint_does)        \
    X(test_coordinator_fails_when_a_loss_is_not_finite)       \
    X(test_coordinator_ignores_a_lane_from_who_has_it_not)    \
    X(test_coordinator_fails_when_a_lane_never_comes)         \
    X(test_coordinator_fails_when_a_member_leaves)            \
    X(test_coordinator_refuses_a_server_with_other_shards) \
    X(test_coordinator_refuses_blocks_of_another_size) \
    X(test_coordinator_refuses_another_model) \
    X(test_coordinator_forgets_the_model_of_a_worker_that_it_refuses) \
    X(test_coordinator_sends_the_view_again_to_who_asks_again) \
    X(test_coordinator_names_the_shard_that_is_behind_all_lanes) \
    X(test_coordinator_says_what_is_missing_at_the_end) \
    X(test_coordinator_counts_a_lane_once_however_often_it_comes) \
    X(test_coordinator_takes_digests_from_workers_only) \
    X(test_coordinator_waits_for_the_evaluation) \
    X(test_coordinator_hears_its_own_store_only) \
    X(test_coordinator_stopped_near_the_end_finishes) \
    X(test_coordinator_stops_at_once_while_it_waits) \
    X(test_coordinator_refuses_who_comes_after_the_view) \
    X(test_coordinator_fails_when_the_checkpoint_is_past_the_end) \
    X(test_coordinator_counts_only_the_last_checkpoint_and_digest) \
    X(test_coordinator_echoes_a_beat) \
    X(test_coordinator_does_not_blame_a_shard_without_blocks) \
    X(test_coordinator_stops_the_job_when_a_member_is_asked_to_stop) \
    X(test_coordinator_stops_with_a_checkpoint_ahead)

UNIT_MAIN("coordinator", TESTS)
