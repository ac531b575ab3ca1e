#include "tests/unit/shard_bench.h"

static const struct lane_node low = {0, 2}, high = {2, 4}, all = {0, 4};

/* Shard 0 is primary of the only block, shard 1 its backup. */
static void open_pair(struct bench *bench)
{
    open_bench(bench);
    bench->backup[0] = 1;
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(bench, i);
}

/* The same without a backup, and shard 1 learns what shard 0 has at version 1. */
static void open_learner(struct bench *bench)
{
    open_bench(bench);
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(bench, i);
    push(bench, first, 0, all, 4.0f);
    next_view(bench);
    bench->learner[0] = 1;
    send_view(bench, 1);
    send_view(bench, 0);
}

static void test_shard_answers_when_the_backup_has_it(void)
{
    struct bench bench = {0};
    open_pair(&bench);
    bench.settings.checkpoint.every = 1;
    push(&bench, first, 0, low, 4.0f);
    push(&bench, second, 0, high, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 1); /* the update alone: no answer, no checkpoint */
    struct message update = take(&bench, 1, MSG_UPDATE);
    CU_ASSERT(update.key.step == 0 && update.key.lane_begin == 0 && update.key.lane_end == LANES);
    push(&bench, first, 0, low, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* stale, and not to be answered either */
    pull(&bench, second, 0);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    give(&bench, 1, update, 1);
    give(&bench, 0, take(&bench, 0, MSG_UPDATED), 1);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 1);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 1);
    CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, 1);
    close_bench(&bench);
}

static void test_shard_sends_an_update_again_until_it_is_confirmed(void)
{
    struct bench bench = {0};
    open_pair(&bench);
    push(&bench, first, 0, all, 4.0f); /* lost */
    pass(&bench, 0, 199);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_UPDATE), 0);
    pass(&bench, 0, 1);
    struct message update = take(&bench, 1, MSG_UPDATE);
    give(&bench, 1, update, 2); /* and repeated: counted once */
    CU_ASSERT_EQUAL(take(&bench, 0, MSG_UPDATED).key.step, 1); /* lost */
    pass(&bench, 0, 399);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_UPDATE), 0); /* it waits longer every time */
    pass(&bench, 0, 1);
    carry(&bench, 1, MSG_UPDATE);
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), -1.0f);
    pass(&bench, 0, 5000);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_UPDATE) + count_of(&bench, MSG_REPLICA), 0);
    close_bench(&bench);
}

static void test_shard_promoted_goes_on_and_does_not_confirm_the_old_primary(void)
{
    struct bench bench = {0};
    open_pair(&bench);
    push(&bench, first, 0, all, 4.0f);
    carry(&bench, 1, MSG_UPDATE);
    only(&bench, first, MSG_WEIGHTS);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.backup[0] = NOBODY;
    send_view(&bench, 1); /* shard 0 does not hear of it */
    push(&bench, first, 1, all, 4.0f);
    give(&bench, 1, take(&bench, 1, MSG_UPDATE), 1);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    pass(&bench, 0, 200);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 0);
    struct block_key key = {.step = 0, .lane_end = LANES};
    push_at(&bench, 1, second, key, 4.0f); /* its answer was lost with the old primary */
    CU_ASSERT_EQUAL(weight_of(only(&bench, second, MSG_WEIGHTS)), -1.0f);
    key.step = 1;
    push_at(&bench, 1, first, key, 8.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), -3.0f);
    close_bench(&bench);
}

static void test_shard_answers_when_a_view_drops_the_backup(void)
{
    struct bench bench = {0};
    open_pair(&bench);
    push(&bench, first, 0, all, 4.0f);
    next_view(&bench);
    bench.backup[0] = NOBODY;
    send_view(&bench, 0);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 1);
    close_bench(&bench);
}

static void test_shard_fills_a_learner_and_then_waits_for_it(void)
{
    struct bench bench = {0};
    open_learner(&bench);
    struct message replica = take(&bench, 1, MSG_REPLICA);
    CU_ASSERT_EQUAL(replica.key.step, 1);
    push(&bench, first, 1, all, 4.0f);
    only(&bench, first, MSG_WEIGHTS); /* nobody waits for it yet */
    struct message update = take(&bench, 1, MSG_UPDATE);
    give(&bench, 1, update, 1); /* overtakes the state */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    give(&bench, 1, replica, 2);
    give(&bench, 0, take(&bench, 0, MSG_UPDATED), 1);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_FILLED), 0); /* it has 1, the answers told of 2 */
    pass(&bench, 0, 200);
    carry(&bench, 1, MSG_UPDATE);
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_FILLED)->key.step, 2);
    push(&bench, first, 2, all, 4.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 0);
    carry(&bench, 1, MSG_UPDATE);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 3);
    pass(&bench, 0, 1000);
    only(&bench, coordinator, MSG_FILLED); /* it may have been lost */
    next_view(&bench);
    bench.primary[0] = 1;
    bench.learner[0] = NOBODY;
    send_view(&bench, 1);
    push_at(&bench, 1, second, (struct block_key){.step = 3, .lane_end = LANES}, 4.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, second, MSG_WEIGHTS)), -4.0f);
    close_bench(&bench);
}

static void test_shard_sends_a_lost_state_anew(void)
{
    struct bench bench = {0};
    open_learner(&bench);
    only(&bench, shard_at(1), MSG_REPLICA); /* lost */
    push(&bench, first, 1, all, 4.0f);      /* lost */
    pass(&bench, 0, 200);
    CU_ASSERT_EQUAL(only(&bench, shard_at(1), MSG_REPLICA)->key.step, 2);
    carry(&bench, 1, MSG_REPLICA);
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_FILLED)->key.step, 2);
    close_bench(&bench);
}

/* What it lacks is no longer kept after so many steps; and it never held them up. */
static void test_shard_does_not_keep_updates_without_end_for_a_silent_learner(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    bench.view.step_count = 1000;
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(&bench, i);
    next_view(&bench);
    bench.learner[0] = 1;
    send_view(&bench, 1);
    send_view(&bench, 0);
    for (uint64_t step = 0; step < 100; step++) {
        push(&bench, first, step, all, 4.0f);
        CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, step + 1);
    }
    bench.now_ms += 500;
    pass(&bench, 0, 0);
    CU_ASSERT(only(&bench, coordinator, MSG_BEAT)->beat.held_bytes <=
              66 * ELEMENTS * sizeof(float));
    CU_ASSERT_EQUAL(only(&bench, shard_at(1), MSG_REPLICA)->key.step, 100);
    close_bench(&bench);
}

/* The record that a shard keeps of a learner is of one life of it only. */
static void test_shard_passes_over_what_a_learner_said_before_it_was_named(void)
{
    struct bench bench = {0};
    open_learner(&bench);
    give(&bench, 1, take(&bench, 1, MSG_REPLICA), 1);
    struct message late = take(&bench, 0, MSG_UPDATED);
    next_view(&bench);
    bench.learner[0] = NOBODY;
    send_view(&bench, 1);
    send_view(&bench, 0);
    next_view(&bench);
    bench.learner[0] = 1;
    send_view(&bench, 1);
    send_view(&bench, 0);
    give(&bench, 0, late, 1);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* it has nothing any more */
    pass(&bench, 0, 200);
    carry(&bench, 1, MSG_REPLICA);
    only(&bench, coordinator, MSG_FILLED);
    close_bench(&bench);
}

/* Missed views may have emptied the learner: what it confirmed before them is in doubt. */
static void test_shard_fills_a_learner_again_after_a_missed_view(void)
{
    struct bench bench = {0};
    open_learner(&bench);
    carry(&bench, 1, MSG_REPLICA);
    next_view(&bench);
    bench.learner[0] = NOBODY;
    send_view(&bench, 1); /* shard 0 does not hear of it */
    next_view(&bench);
    bench.learner[0] = 1;
    send_view(&bench, 1);
    send_view(&bench, 0);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_FILLED), 0);
    carry(&bench, 1, MSG_REPLICA);
    push(&bench, first, 1, all, 4.0f);
    carry(&bench, 1, MSG_UPDATE);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 2);
    close_bench(&bench);
}

/* The same of a backup that comes back as a learner. */
static void test_shard_fills_a_backup_again_that_missed_views_have_emptied(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    bench.backup[0] = 1;
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(&bench, i);
    next_view(&bench);
    bench.backup[0] = NOBODY;
    send_view(&bench, 1); /* shard 0 does not hear of it */
    next_view(&bench);
    bench.learner[0] = 1;
    send_view(&bench, 1);
    send_view(&bench, 0);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_FILLED), 0);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_REPLICA), 1);
    close_bench(&bench);
}

/* Shard 2 has been filled and takes over; the backup missed the last update, which nobody was
 * answered.  Nothing is answered before it has that. */
static void test_shard_that_takes_over_brings_the_backup_up_first(void)
{
    struct bench bench = {0};
    open_pair(&bench);
    next_view(&bench);
    bench.learner[0] = 2;
    for (uint32_t i = SHARDS; i-- > 0;)
        send_view(&bench, i);
    carry(&bench, 2, MSG_REPLICA);
    push(&bench, first, 0, all, 4.0f);
    struct message late = take(&bench, 1, MSG_UPDATE);
    give(&bench, 2, take(&bench, 2, MSG_UPDATE), 1);
    next_view(&bench);
    bench.primary[0] = 2;
    bench.learner[0] = NOBODY;
    send_view(&bench, 1);
    give(&bench, 1, late, 1);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* it follows another by now */
    send_view(&bench, 2);
    struct message replica = take(&bench, 1, MSG_REPLICA);
    push_at(&bench, 2, first, (struct block_key){.lane_end = LANES}, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    give(&bench, 1, replica, 1);
    give(&bench, 2, take(&bench, 2, MSG_UPDATED), 1);
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), -1.0f);
    close_bench(&bench);
}

static void test_shard_takes_the_place_of_its_backup_in_bsp(void)
{
    struct bench bench = {0};
    open_pair(&bench);
    push(&bench, first, 0, low, 4.0f);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.backup[0] = 0;
    send_view(&bench, 0);
    send_view(&bench, 1);
    struct message replica = take(&bench, 0, MSG_REPLICA);
    give(&bench, 0, replica, 1);
    give(&bench, 1, take(&bench, 1, MSG_UPDATED), 1);
    push(&bench, second, 0, high, 4.0f); /* it is not the primary any more */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push_at(&bench, 1, first, (struct block_key){.lane_end = LANES}, 8.0f);
    give(&bench, 0, take(&bench, 0, MSG_UPDATE), 1);
    give(&bench, 1, take(&bench, 1, MSG_UPDATED), 1);
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), -2.0f);
    close_bench(&bench);
}

static void test_shard_void_step_reaches_the_backup(void)
{
    struct bench bench = {.settings.job.on_nonfinite = NONFINITE_SKIP};
    open_pair(&bench);
    struct message msg = message_of(&bench, MSG_VOID);
    msg.key = (struct block_key){0, 0, 3, 4, CODEC_F32};
    hear(&bench, second, &msg);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 0);
    carry(&bench, 1, MSG_UPDATE_VOID);
    CU_ASSERT_EQUAL(weight_of(only(&bench, second, MSG_WEIGHTS)), 0.0f);
    push(&bench, first, 1, all, 4.0f);
    carry(&bench, 1, MSG_UPDATE);
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), -1.0f);
    close_bench(&bench);
}

static void test_shard_ends_when_a_view_gives_it_what_it_has_not(void)
{
    struct bench bench = {0};
    struct outcome end = {0};
    open_pair(&bench);
    next_view(&bench);
    bench.primary[0] = 2;
    send_view(&bench, 2);
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_BYE)->outcome.code, ERR_LOST);
    CU_ASSERT(shard_is_over(bench.shards[2], &end) && end.code == ERR_LOST);
    bench.learner[0] = 2;
    bench.primary[0] = 0;
    restart_shard(&bench, 2);
    send_view(&bench, 2);
    next_view(&bench);
    bench.backup[0] = 2;
    send_view(&bench, 2); /* a learner that was not filled */
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_BYE)->outcome.code, ERR_LOST);
    close_bench(&bench);
}

static void test_shard_promoted_at_a_checkpoint_sends_it(void)
{
    struct bench bench = {.settings.checkpoint.every = 1};
    open_pair(&bench);
    push(&bench, first, 0, all, 4.0f);
    give(&bench, 1, take(&bench, 1, MSG_UPDATE), 1);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.backup[0] = NOBODY;
    send_view(&bench, 1);
    CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, 1);
    close_bench(&bench);
}

static void test_shard_promoted_has_the_optimizer_s_state(void)
{
    struct bench bench = {.settings.optimizer.kind = OPTIMIZER_MOMENTUM,
                          .settings.optimizer.momentum = 0.5};
    open_learner(&bench);
    give(&bench, 1, take(&bench, 1, MSG_REPLICA), 1);
    give(&bench, 0, take(&bench, 0, MSG_UPDATED), 1);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.learner[0] = NOBODY;
    send_view(&bench, 1);
    push_at(&bench, 1, first, (struct block_key){.step = 1, .lane_end = LANES}, 4.0f);
    /* v = 1, w = -1; then v = 0.5 + 1, w = -2.5 */
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), -2.5f);
    close_bench(&bench);
}

#define TESTS(X) \
    X(test_shard_answers_when_the_backup_has_it) \
    X(test_shard_sends_an_update_again_until_it_is_confirmed) \
    X(test_shard_promoted_goes_on_and_does_not_confirm_the_old_primary) \
    X(test_shard_answers_when_a_view_drops_the_backup) \
    X(test_shard_fills_a_learner_and_then_waits_for_it) \
    X(test_shard_sends_a_lost_state_anew) \
    X(test_shard_does_not_keep_updates_without_end_for_a_silent_learner) \
    X(test_shard_passes_over_what_a_learner_said_before_it_was_named) \
    X(test_shard_fills_a_backup_again_that_missed_views_have_emptied) \
    X(test_shard_fills_a_learner_again_after_a_missed_view) \
    X(test_shard_that_takes_over_brings_the_backup_up_first) \
    X(test_shard_takes_the_place_of_its_backup_in_bsp) \
    X(test_shard_void_step_reaches_the_backup) \
    X(test_shard_ends_when_a_view_gives_it_what_it_has_not) \
    X(test_shard_promoted_at_a_checkpoint_sends_it) \
    X(test_shard_promoted_has_the_optimizer_s_state)

UNIT_MAIN("shard_replica", TESTS)
