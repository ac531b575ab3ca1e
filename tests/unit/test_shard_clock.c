#include "tests/unit/shard_bench.h"

/* ssp and async: each lane by itself.  A leaf of value g moves a weight by -g / 4. */
static void open_clocks(struct bench *bench, enum consistency_kind kind, uint32_t staleness)
{
    bench->settings.exchange.consistency = kind;
    bench->settings.exchange.staleness = staleness;
    open_bench(bench);
}

/* Every lane is a worker's of its own. */
static struct address worker_of(uint32_t lane)
{
    return (struct address){PARTY_WORKER, 201 + lane};
}

static void open_lanes(struct bench *bench, enum consistency_kind kind, uint32_t staleness)
{
    static const struct worker_member workers[LANES] = {
        {0, 201, ""}, {1, 202, ""}, {2, 203, ""}, {3, 204, ""}};
    open_clocks(bench, kind, staleness);
    bench->view.workers = workers;
    bench->view.worker_count = LANES;
    for (uint32_t lane = 0; lane < LANES; lane++)
        bench->lane_worker[lane] = lane;
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(bench, i);
}

static void push_leaf(struct bench *bench, uint32_t lane, uint64_t clock, float value)
{
    push(bench, worker_of(lane), clock, (struct lane_node){lane, lane + 1}, value);
}

static void push_all(struct bench *bench, uint64_t clock)
{
    for (uint32_t lane = 0; lane < LANES; lane++)
        push_leaf(bench, lane, clock, 4.0f);
}

static void test_shard_clock_counts_each_leaf_once(void)
{
    struct bench bench = {0};
    open_lanes(&bench, CONSISTENCY_ASYNC, 0);
    for (int i = 0; i < 3; i++)
        push_leaf(&bench, 0, 0, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, worker_of(0), MSG_WEIGHTS)->key.step, 1);
    push_leaf(&bench, 0, 2, 4.0f); /* ahead: the one between is on its way */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push_leaf(&bench, 0, 1, 8.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, worker_of(0), MSG_WEIGHTS)), -3.0f);
    push(&bench, worker_of(0), 2, (struct lane_node){0, 2}, 4.0f);
    only(&bench, worker_of(0), MSG_REFUSED); /* no leaf */
    close_bench(&bench);
}

static void test_shard_clock_may_be_ahead_by_the_staleness_and_no_more(void)
{
    struct bench bench = {0};
    open_lanes(&bench, CONSISTENCY_SSP, 1);
    push_leaf(&bench, 0, 0, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, worker_of(0), MSG_WEIGHTS)->key.step, 1);
    push_leaf(&bench, 0, 1, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* it would be 2 ahead */
    for (uint32_t lane = 1; lane < LANES; lane++) {
        CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), lane == 1 ? 0 : 1);
        push_leaf(&bench, lane, 0, 4.0f);
    }
    CU_ASSERT_EQUAL(only(&bench, worker_of(0), MSG_WEIGHTS)->key.step, 2);
    CU_ASSERT_EQUAL(weight_of(only(&bench, worker_of(0), MSG_WEIGHTS)), -5.0f);
    pass(&bench, 0, 500);
    const struct beat *beat = &only(&bench, coordinator, MSG_BEAT)->beat;
    CU_ASSERT(beat->staleness_count[0] == 1 && beat->staleness_count[1] == 4);
    CU_ASSERT(beat->step == 1 && beat->version_sum == 5);
    CU_ASSERT(beat->lack_begin == 1 && beat->lack_end == LANES);
    close_bench(&bench);
}

static void test_shard_clock_has_no_bound_in_async_but_the_checkpoint(void)
{
    struct bench bench = {.settings.checkpoint.every = 3};
    open_lanes(&bench, CONSISTENCY_ASYNC, 0);
    for (uint64_t clock = 0; clock < 2; clock++) {
        push_leaf(&bench, 0, clock, 4.0f);
        CU_ASSERT_EQUAL(only(&bench, worker_of(0), MSG_WEIGHTS)->key.step, clock + 1);
    }
    push_leaf(&bench, 0, 2, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* at the cut it waits for the others */
    push_leaf(&bench, 0, 3, 4.0f);       /* not even if it does not wait */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    for (uint32_t lane = 1; lane < LANES; lane++)
        for (uint64_t clock = 0; clock < 3; clock++)
            push_leaf(&bench, lane, clock, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, worker_of(0), MSG_WEIGHTS)->key.step, 3);
    const struct message *state = only(&bench, store, MSG_BLOCK_STATE);
    CU_ASSERT_EQUAL(state->key.step, 3);
    CU_ASSERT_EQUAL(state->payload->size_bytes, ELEMENTS * sizeof(float));
    CU_ASSERT_EQUAL(weight_of(state), -12.0f);
    close_bench(&bench);
}

static void test_shard_clock_of_the_end_is_a_cut(void)
{
    struct bench bench = {0};
    open_clocks(&bench, CONSISTENCY_ASYNC, 0);
    bench.view.step_count = 1;
    send_view(&bench, 0);
    push_all(&bench, 0);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), LANES);
    CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, 1);
    close_bench(&bench);
}

/* One of two leaves was lost: the answer to the other must not pass for an answer to it. */
static void test_shard_clock_answer_waits_for_all_lanes_of_the_worker(void)
{
    struct bench bench = {0};
    open_clocks(&bench, CONSISTENCY_ASYNC, 0);
    send_view(&bench, 0);
    push(&bench, first, 0, (struct lane_node){0, 1}, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    pull(&bench, first, 1);
    const struct message *lack = only(&bench, first, MSG_LACK);
    CU_ASSERT(lack->key.step == 0 && lack->key.lane_begin == 1 && lack->key.lane_end == 2);
    push(&bench, first, 0, (struct lane_node){1, 2}, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 1);
    CU_ASSERT_EQUAL(bench.out.count, 1);
    close_bench(&bench);
}

static void test_shard_clock_pull_of_none_tells_the_slowest(void)
{
    struct bench bench = {0};
    open_lanes(&bench, CONSISTENCY_SSP, 2);
    push_all(&bench, 0);
    push_leaf(&bench, 2, 1, 4.0f);
    pull(&bench, first, 0);
    const struct message *answer = only(&bench, first, MSG_WEIGHTS);
    CU_ASSERT(answer->key.step == 1 && weight_of(answer) == -5.0f);
    close_bench(&bench);
}

static void test_shard_clock_goes_on_from_the_store(void)
{
    struct bench bench = {0};
    open_clocks(&bench, CONSISTENCY_SSP, 0);
    bench.view.is_restored = true;
    bench.view.start_step = 6;
    send_view(&bench, 0);
    struct message state = message_of(&bench, MSG_BLOCK_STATE);
    state.key.step = 6;
    state.payload = values(&bench, ELEMENTS, 2.5f);
    pull(&bench, first, 0);
    hear(&bench, store, &state);
    buffer_unref(state.payload);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 6);
    push_leaf(&bench, 0, 5, 4.0f); /* counted long ago */
    push_leaf(&bench, 0, 6, 4.0f);
    pass(&bench, 0, 500);
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_BEAT)->beat.version_sum, 6 * LANES + 1);
    pull(&bench, first, 0);
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), 1.5f);
    close_bench(&bench);
}

static void test_shard_clock_void_leaf_moves_the_clock_alone(void)
{
    struct bench bench = {.settings.job.on_nonfinite = NONFINITE_SKIP};
    open_lanes(&bench, CONSISTENCY_ASYNC, 0);
    struct message msg = message_of(&bench, MSG_VOID);
    msg.key = (struct block_key){0, 0, 0, 1, CODEC_F32};
    hear(&bench, worker_of(0), &msg);
    const struct message *answer = only(&bench, worker_of(0), MSG_WEIGHTS);
    CU_ASSERT(answer->key.step == 1 && weight_of(answer) == 0.0f);
    push_leaf(&bench, 0, 0, 4.0f); /* the same lane, computed by another */
    CU_ASSERT_EQUAL(weight_of(only(&bench, worker_of(0), MSG_WEIGHTS)), 0.0f);
    close_bench(&bench);
}

/* The backup has counted what was answered, lane by lane, and a push that comes again is no news to
 * it. */
static void test_shard_clock_backup_counts_the_same_leaves(void)
{
    struct bench bench = {0};
    open_lanes(&bench, CONSISTENCY_ASYNC, 0);
    push_leaf(&bench, 3, 0, 4.0f);
    next_view(&bench);
    bench.learner[0] = 1;
    send_view(&bench, 1);
    send_view(&bench, 0);
    carry(&bench, 1, MSG_REPLICA);
    push_leaf(&bench, 2, 0, 8.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 0);
    struct message update = take(&bench, 1, MSG_UPDATE);
    CU_ASSERT(update.key.step == 1 && update.key.lane_begin == 2 && update.key.lane_end == 3);
    give(&bench, 1, update, 2);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.learner[0] = NOBODY;
    send_view(&bench, 1);
    push_at(&bench, 1, worker_of(2), (struct block_key){0, 0, 2, 3, CODEC_F32}, 8.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, worker_of(2), MSG_WEIGHTS)), -3.0f);
    push_at(&bench, 1, worker_of(2), (struct block_key){1, 0, 2, 3, CODEC_F32}, 4.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, worker_of(2), MSG_WEIGHTS)), -4.0f);
    close_bench(&bench);
}

/* Shard 1 missed nothing by number, but its version is made of another leaf than that of shard 2,
 * which takes over: it goes back to what that has. */
static void test_shard_clock_backup_follows_a_new_primary(void)
{
    struct bench bench = {0};
    open_lanes(&bench, CONSISTENCY_ASYNC, 0);
    next_view(&bench);
    bench.backup[0] = 1;
    bench.learner[0] = 2;
    bench.view.era = 2;
    for (uint32_t i = SHARDS; i-- > 0;)
        send_view(&bench, i);
    carry(&bench, 2, MSG_REPLICA);
    push_leaf(&bench, 0, 0, 400.0f); /* reaches the backup only, and is answered to nobody */
    give(&bench, 1, take(&bench, 1, MSG_UPDATE), 1);
    next_view(&bench);
    bench.primary[0] = 2;
    bench.learner[0] = NOBODY;
    send_view(&bench, 1);
    send_view(&bench, 2);
    struct message replica = take(&bench, 1, MSG_REPLICA);
    push_at(&bench, 2, worker_of(1), (struct block_key){0, 0, 1, 2, CODEC_F32}, 4.0f);
    struct message update = take(&bench, 1, MSG_UPDATE);
    struct message later = update;
    buffer_ref(later.payload);
    give(&bench, 1, update, 1);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* of a version 0 that it has not got */
    give(&bench, 1, replica, 1);
    give(&bench, 2, take(&bench, 2, MSG_UPDATED), 1);
    give(&bench, 1, later, 1);
    give(&bench, 2, take(&bench, 2, MSG_UPDATED), 1);
    CU_ASSERT_EQUAL(weight_of(only(&bench, worker_of(1), MSG_WEIGHTS)), -1.0f);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.backup[0] = NOBODY;
    send_view(&bench, 1);
    push_at(&bench, 1, worker_of(0), (struct block_key){0, 0, 0, 1, CODEC_F32}, 4.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, worker_of(0), MSG_WEIGHTS)), -2.0f);
    close_bench(&bench);
}

/* A counted follower that is silent: updates are kept up to a bound, then pushes are put off. */
static void test_shard_clock_puts_pushes_off_when_too_much_is_unconfirmed(void)
{
    struct bench bench = {0};
    open_clocks(&bench, CONSISTENCY_ASYNC, 0);
    bench.view.step_count = 1000;
    bench.backup[0] = 1;
    send_view(&bench, 0);
    for (uint64_t clock = 0; clock < 70; clock++)
        push(&bench, first, clock, (struct lane_node){0, 1}, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    bench.now_ms += 200;
    pass(&bench, 0, 300);
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_BEAT)->beat.version_sum, 64);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_UPDATE), 64);
    close_bench(&bench);
}

/* The same bound in bytes, of all blocks together, as of the last tick. */
static void test_shard_clock_puts_pushes_off_sooner_when_their_bytes_are_too_many(void)
{
    struct bench bench = {.settings.exchange.parked_bytes = 2 * ELEMENTS * sizeof(float) - 1};
    open_clocks(&bench, CONSISTENCY_ASYNC, 0);
    bench.view.step_count = 1000;
    bench.backup[0] = 1;
    send_view(&bench, 0);
    uint64_t clock = 0;
    for (; clock < 2; clock++)
        push(&bench, first, clock, (struct lane_node){0, 1}, 4.0f);
    pass(&bench, 0, 0);
    for (; clock < 20; clock++)
        push(&bench, first, clock, (struct lane_node){0, 1}, 4.0f);
    bench.now_ms += 500;
    pass(&bench, 0, 0);
    const struct beat *beat = &only(&bench, coordinator, MSG_BEAT)->beat;
    CU_ASSERT_EQUAL(beat->version_sum, 4);
    CU_ASSERT(beat->held_bytes >= 5 * ELEMENTS * sizeof(float)); /* weights, and those updates */
    close_bench(&bench);
}

/* The last step of an epoch may have no sample for a lane: its clock goes on all the same. */
static void test_shard_clock_of_an_empty_lane_goes_on(void)
{
    struct bench bench = {.settings.optimizer.kind = OPTIMIZER_MOMENTUM,
                          .settings.optimizer.momentum = 0.5};
    open_clocks(&bench, CONSISTENCY_ASYNC, 0);
    bench.view.train_count = 2; /* lanes 2 and 3 are empty in every step */
    send_view(&bench, 0);
    push(&bench, (struct address){PARTY_WORKER, 999}, 0, (struct lane_node){0, 1}, 4.0f);
    push(&bench, (struct address){PARTY_WORKER, 999}, 0, (struct lane_node){3, 4}, 0.0f);
    /* w = -4 / 2 samples, and lane 3 does not let the momentum move it on */
    const struct message *answer = only(&bench, (struct address){PARTY_WORKER, 999}, MSG_WEIGHTS);
    CU_ASSERT(answer->key.step == 1 && weight_of(answer) == -2.0f);
    close_bench(&bench);
}

#define TESTS(X) \
    X(test_shard_clock_counts_each_leaf_once) \
    X(test_shard_clock_may_be_ahead_by_the_staleness_and_no_more) \
    X(test_shard_clock_has_no_bound_in_async_but_the_checkpoint) \
    X(test_shard_clock_of_the_end_is_a_cut) \
    X(test_shard_clock_answer_waits_for_all_lanes_of_the_worker) \
    X(test_shard_clock_pull_of_none_tells_the_slowest) \
    X(test_shard_clock_goes_on_from_the_store) \
    X(test_shard_clock_void_leaf_moves_the_clock_alone) \
    X(test_shard_clock_backup_counts_the_same_leaves) \
    X(test_shard_clock_backup_follows_a_new_primary) \
    X(test_shard_clock_puts_pushes_off_sooner_when_their_bytes_are_too_many) \
    X(test_shard_clock_puts_pushes_off_when_too_much_is_unconfirmed) \
    X(test_shard_clock_of_an_empty_lane_goes_on)

UNIT_MAIN("shard_clock", TESTS)
