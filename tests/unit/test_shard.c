#include <math.h>
#include "tests/unit/shard_bench.h"

static const struct lane_node low = {0, 2}, high = {2, 4}, all = {0, 4};

/* The view of a job that goes on from the store's checkpoint of that step. */
static void restore(struct bench *bench, uint64_t step)
{
    bench->view.is_restored = true;
    bench->view.start_step = step;
    send_view(bench, 0);
}

static void test_shard_says_hello_until_it_has_a_view(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    only(&bench, coordinator, MSG_HELLO);
    pass(&bench, 0, 199);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    pass(&bench, 0, 1);
    only(&bench, coordinator, MSG_HELLO);
    send_view(&bench, 0);
    pass(&bench, 0, 1000);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_HELLO), 0);
    struct message who = {.kind = MSG_WHO, .run = run};
    hear(&bench, coordinator, &who); /* a coordinator that was started again */
    only(&bench, coordinator, MSG_HELLO);
    close_bench(&bench);
}

static void test_shard_answers_every_pusher_when_the_tree_is_whole(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    push(&bench, first, 0, low, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, second, 0, high, 8.0f);
    const struct message *answer = only(&bench, first, MSG_WEIGHTS);
    only(&bench, second, MSG_WEIGHTS);
    CU_ASSERT_EQUAL(bench.out.count, 2);
    CU_ASSERT_EQUAL(answer->key.step, 1);
    /* w = 0 - rate * (4 + 8) / 4 samples */
    CU_ASSERT_EQUAL(((float *)answer->payload->data)[3], -3.0f);
    close_bench(&bench);
}

static void test_shard_counts_a_push_once_however_often_it_comes(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    for (int i = 0; i < 3; i++)
        push(&bench, first, 0, low, 4.0f);
    push(&bench, second, 0, high, 8.0f);
    push(&bench, second, 0, high, 8.0f); /* after the step: the answer again, no change */
    CU_ASSERT_EQUAL(bench.out.count, 1);
    const struct message *answer = only(&bench, second, MSG_WEIGHTS);
    CU_ASSERT_EQUAL(((float *)answer->payload->data)[0], -3.0f);
    CU_ASSERT_EQUAL(shard_refused_count(bench.shards[0]), 0);
    close_bench(&bench);
}

static void refuse_push(struct bench *bench, uint64_t step, uint32_t begin, uint32_t end)
{
    uint64_t before = shard_refused_count(bench->shards[0]);
    push(bench, first, step, (struct lane_node){begin, end}, 1.0f);
    only(bench, first, MSG_REFUSED);
    CU_ASSERT_EQUAL(shard_refused_count(bench->shards[0]), before + 1);
}

static void test_shard_refuses_what_cannot_be_a_push(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    refuse_push(&bench, 0, 1, 3); /* no node of the tree */
    refuse_push(&bench, 0, 4, 8); /* beyond the lanes */
    struct message msg = message_of(&bench, MSG_PUSH);
    msg.key.lane_end = 1;
    msg.payload = values(&bench, 1, 1.0f);
    hear(&bench, first, &msg); /* too short */
    CU_ASSERT_PTR_NOT_NULL(
        strstr(only(&bench, first, MSG_REFUSED)->outcome.text, "of 4 bytes; expected"));
    buffer_unref(msg.payload);
    close_bench(&bench);
}

/* Its view, or the other's, is on its way: nobody is at fault. */
static void test_shard_passes_over_what_its_view_does_not_give_it(void)
{
    struct bench bench = {0};
    open_bench_of(&bench, 2 * ELEMENTS, ELEMENTS * sizeof(float));
    bench.primary[1] = 1;
    push(&bench, first, 0, low, 1.0f); /* before the view */
    send_view(&bench, 0);
    /* another shard's block */
    push_at(&bench, 0, first, (struct block_key){0, 1, 0, 2, CODEC_F32}, 1.0f);
    push(&bench, first, 1, low, 1.0f);                               /* of a step to come */
    bench.view.era = 2;
    push(&bench, first, 0, all, 1.0f); /* of an era to come */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    CU_ASSERT_EQUAL(shard_dropped_count(bench.shards[0]), 4);
    CU_ASSERT_EQUAL(shard_refused_count(bench.shards[0]), 0);
    close_bench(&bench);
}

static void test_shard_refuses_ghosts_by_name(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    struct message pull = {.kind = MSG_PULL, .run = {3, 4}};
    hear(&bench, first, &pull);
    const char *text = only(&bench, first, MSG_REFUSED)->outcome.text;
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "000000000000000b0000000000000016"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "00000000000000030000000000000004"));
    close_bench(&bench);
}

static void test_shard_answers_a_pull_when_the_version_is_there(void)
{
    struct bench bench = {0};
    struct message pull = {.kind = MSG_PULL, .run = run, .era = 1, .key = {.step = 1}};
    open_bench(&bench);
    send_view(&bench, 0);
    hear(&bench, second, &pull);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 0);
    push(&bench, first, 0, all, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 1);
    pull.key.step = 99; /* past the end of the job */
    hear(&bench, second, &pull);
    only(&bench, second, MSG_REFUSED);
    close_bench(&bench);
}

static void test_shard_keeps_an_old_version_whole_for_a_slow_reply(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    push(&bench, first, 0, all, 4.0f);
    struct buffer *old = buffer_ref(only(&bench, first, MSG_WEIGHTS)->payload);
    push(&bench, first, 1, all, 4.0f);
    CU_ASSERT_EQUAL(((float *)old->data)[0], -1.0f);
    CU_ASSERT_EQUAL(((float *)only(&bench, first, MSG_WEIGHTS)->payload->data)[0], -2.0f);
    buffer_unref(old);
    close_bench(&bench);
}

static const struct buffer *weights_of(const struct bench *bench, struct address to)
{
    return only(bench, to, MSG_WEIGHTS)->payload;
}

/* The same updates make the same bits, whether somebody holds every version or nobody any. */
static void test_shard_makes_the_same_bits_whoever_holds_the_versions(void)
{
    struct bench free = {.settings.optimizer = {.kind = OPTIMIZER_ADAM, .beta1 = 0.9,
                                                .beta2 = 0.99, .epsilon = 1e-8}}, held = free;
    struct buffer *versions[10];
    open_bench(&free);
    open_bench(&held);
    send_view(&free, 0);
    send_view(&held, 0);
    for (uint64_t step = 0; step < 10; step++) {
        push(&free, first, step, low, 4.0f + (float)step);
        push(&free, second, step, high, 0.3f);
        push(&held, first, step, low, 4.0f + (float)step);
        push(&held, second, step, high, 0.3f);
        const struct buffer *a = weights_of(&free, first);
        versions[step] = buffer_ref(only(&held, first, MSG_WEIGHTS)->payload);
        CU_ASSERT_EQUAL(memcmp(a->data, versions[step]->data, a->size_bytes), 0);
        CU_ASSERT(step == 0 || memcmp(versions[step - 1]->data, a->data, a->size_bytes) != 0);
    }
    for (size_t i = 0; i < 10; i++)
        buffer_unref(versions[i]);
    close_bench(&free);
    close_bench(&held);
}

/* A version that is evaluated is kept, also when the view that says so comes after it was made. */
static void test_shard_keeps_the_version_that_is_evaluated(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    bench.view.early_stop.hold_step = 2;
    send_view(&bench, 0);
    push(&bench, first, 0, (struct lane_node){0, 4}, 1.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_BLOCK_STATE), 0);
    push(&bench, first, 1, (struct lane_node){0, 4}, 1.0f);
    CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, 2);
    push(&bench, first, 2, (struct lane_node){0, 4}, 1.0f); /* a worker of the next view */
    CU_ASSERT_EQUAL(count_of(&bench, MSG_BLOCK_STATE), 0);
    bench.view.early_stop.hold_step = 3;
    next_view(&bench);
    send_view(&bench, 0);
    CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, 3);
    close_bench(&bench);
}

static void test_shard_waits_for_the_store_when_checkpoints_are_behind(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    bench.settings.checkpoint.every = 1;
    send_view(&bench, 0);
    for (uint64_t step = 0; step < 2; step++) {
        push(&bench, first, step, all, 4.0f);
        CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, step + 1);
    }
    push(&bench, first, 2, all, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* two copies are on their way: the step waits */
    struct message kept = {.kind = MSG_BLOCK_KEPT, .run = run, .era = 1, .key = {.step = 1}};
    hear(&bench, store, &kept);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 3);
    close_bench(&bench);
}

static void test_shard_takes_its_blocks_from_the_store_when_resumed(void)
{
    struct bench bench = {0};
    struct message state = {.kind = MSG_BLOCK_STATE, .run = run, .era = 1, .key = {.step = 6}};
    struct message pull = {.kind = MSG_PULL, .run = run, .era = 1, .key = {.step = 6}};
    open_bench(&bench);
    restore(&bench, 6);
    only(&bench, store, MSG_BLOCK_FETCH);
    hear(&bench, first, &pull);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    bench.now_ms += 1001;
    hear(&bench, (struct address){0}, NULL);
    only(&bench, store, MSG_BLOCK_FETCH); /* asked again */
    state.payload = buffer_pool_take(bench.pool, ELEMENTS * sizeof(float));
    for (size_t i = 0; i < ELEMENTS; i++)
        ((float *)state.payload->data)[i] = 2.5f;
    hear(&bench, store, &state);
    CU_ASSERT_EQUAL(((float *)only(&bench, first, MSG_WEIGHTS)->payload->data)[7], 2.5f);
    buffer_unref(state.payload);
    close_bench(&bench);
}

static void test_shard_answers_a_repeated_push_of_the_last_step(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    for (uint64_t step = 0; step < 10; step++)
        push(&bench, first, step, all, 4.0f);
    push(&bench, second, 9, all, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 10);
    CU_ASSERT_EQUAL(shard_refused_count(bench.shards[0]), 0);
    refuse_push(&bench, 10, 0, 4); /* the job has no step 10 */
    close_bench(&bench);
}

static void test_shard_answers_a_push_of_long_ago_with_what_it_has(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    for (uint64_t step = 0; step < 3; step++)
        push(&bench, first, step, all, 4.0f);
    push(&bench, second, 0, all, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 3);
    close_bench(&bench);
}

static void test_shard_keeps_its_run_when_another_coordinator_welcomes_it(void)
{
    struct bench bench = {0};
    struct message welcome = {.kind = MSG_WELCOME, .run = {8, 9}};
    open_bench(&bench);
    send_view(&bench, 0);
    hear(&bench, coordinator, &welcome);
    push(&bench, first, 0, all, 4.0f);
    CU_ASSERT(run_equal(only(&bench, first, MSG_WEIGHTS)->run, run));
    close_bench(&bench);
}

static void test_shard_gives_up_on_a_view_that_does_not_fit(void)
{
    enum { NO_LAYOUT, NO_SAMPLES, OTHER_LANES, OTHER_BLOCKS, CASES };
    for (int i = 0; i < CASES; i++) {
        struct bench bench = {0};
        struct outcome end = {0};
        open_bench(&bench);
        struct message view = view_of(&bench);
        if (i == NO_LAYOUT)
            view.view_body.layout = NULL;
        else if (i == NO_SAMPLES)
            view.view_body.train_count = 0;
        else if (i == OTHER_LANES)
            view.view_body.lane_count = 2;
        else
            view.view_body.block_count = 2;
        hear(&bench, coordinator, &view);
        only(&bench, coordinator, MSG_BYE);
        CU_ASSERT(shard_is_over(bench.shards[0], &end) && end.code == ERR_PROTO);
        close_bench(&bench);
    }
}

static void test_shard_answers_a_pull_of_a_later_version_when_it_is_there(void)
{
    struct bench bench = {0};
    struct message pull = {.kind = MSG_PULL, .run = run, .era = 1, .key = {.step = 2}};
    open_bench(&bench);
    send_view(&bench, 0);
    hear(&bench, second, &pull);
    push(&bench, first, 0, all, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 1); /* the pusher's alone */
    push(&bench, first, 1, all, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 2);
    push(&bench, first, 2, all, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 1); /* answered once */
    close_bench(&bench);
}

static void test_shard_answers_who_pulled_and_then_pushed(void)
{
    struct bench bench = {0};
    struct message pull = {.kind = MSG_PULL, .run = run, .era = 1, .key = {.step = 3}};
    open_bench(&bench);
    send_view(&bench, 0);
    hear(&bench, second, &pull);
    push(&bench, second, 0, high, 8.0f);
    push(&bench, first, 0, low, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 1);
    close_bench(&bench);
}

static void test_shard_says_so_when_asked_for_too_many_versions(void)
{
    struct bench bench = {0};
    struct message ask = {.kind = MSG_CHECKPOINT_ASK, .run = run, .era = 1};
    open_bench(&bench);
    send_view(&bench, 0);
    for (ask.outcome.step = 1; ask.outcome.step <= 8; ask.outcome.step++) {
        hear(&bench, coordinator, &ask);
        CU_ASSERT_EQUAL(bench.out.count, 0);
    }
    hear(&bench, coordinator, &ask);
    only(&bench, coordinator, MSG_CHECKPOINT_LATE);
    push(&bench, first, 0, all, 4.0f);
    push(&bench, first, 1, all, 4.0f);
    hear(&bench, coordinator, &ask); /* the first is past: its place is free */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    close_bench(&bench);
}

static void send_state(struct bench *bench, uint64_t step, uint32_t block, size_t elements,
                       float value)
{
    struct message state = {.kind = MSG_BLOCK_STATE, .run = run, .era = 1};
    state.key = (struct block_key){.step = step, .block = block};
    state.payload = buffer_pool_take(bench->pool, elements * sizeof(float));
    for (size_t i = 0; i < elements; i++)
        ((float *)state.payload->data)[i] = value;
    hear(bench, store, &state);
    buffer_unref(state.payload);
}

static void test_shard_takes_the_state_of_its_start_once(void)
{
    struct bench bench = {0};
    struct message pull = {.kind = MSG_PULL, .run = run, .era = 1, .key = {.step = 6}};
    struct message ask = {.kind = MSG_CHECKPOINT_ASK, .run = run, .era = 1, .outcome = {.step = 6}};
    open_bench(&bench);
    restore(&bench, 6);
    push(&bench, first, 6, all, 1.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    send_state(&bench, 5, 0, ELEMENTS, 9.0f);
    hear(&bench, first, &pull);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    send_state(&bench, 6, 0, ELEMENTS, 2.5f);
    CU_ASSERT_EQUAL(((float *)only(&bench, first, MSG_WEIGHTS)->payload->data)[0], 2.5f);
    send_state(&bench, 6, 0, ELEMENTS, 9.0f);
    hear(&bench, first, &pull);
    CU_ASSERT_EQUAL(((float *)only(&bench, first, MSG_WEIGHTS)->payload->data)[0], 2.5f);
    hear(&bench, coordinator, &ask); /* it came from a store, but who asks may be another */
    CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, 6);
    close_bench(&bench);
}

static void test_shard_gives_up_on_a_state_of_another_size(void)
{
    struct bench bench = {0};
    struct outcome end = {0};
    open_bench(&bench);
    restore(&bench, 6);
    send_state(&bench, 6, 0, ELEMENTS + 1, 9.0f);
    only(&bench, coordinator, MSG_BYE);
    CU_ASSERT(shard_is_over(bench.shards[0], &end) && end.code == ERR_PROTO);
    close_bench(&bench);
}

static size_t fetches(const struct bench *bench)
{
    size_t found = 0;
    for (size_t i = 0; i < bench->out.count; i++)
        found += bench->out.items[i].msg.kind == MSG_BLOCK_FETCH;
    return found;
}

static void test_shard_fetches_a_few_blocks_at_a_time(void)
{
    struct bench bench = {0};
    open_bench_of(&bench, 20, sizeof(float));
    restore(&bench, 6);
    CU_ASSERT_EQUAL(fetches(&bench), 8);
    bench.now_ms += 900;
    for (uint32_t block = 0; block < 7; block++) {
        send_state(&bench, 6, block, 1, 1.0f);
        CU_ASSERT_EQUAL(fetches(&bench), 0);
    }
    bench.now_ms += 900;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(fetches(&bench), 0); /* they are coming: none is asked for again */
    send_state(&bench, 6, 7, 1, 1.0f);
    CU_ASSERT_EQUAL(fetches(&bench), 8);
    CU_ASSERT_EQUAL(bench.out.items[0].msg.key.block, 8);
    close_bench(&bench);
}

/* Adam's first step, by its formula: m and v are unbiased to g and g^2, so every weight moves by
 * the rate; the first step of a warm-up of four has a quarter of it. */
static void test_shard_counts_steps_from_none(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    bench.settings.optimizer.warmup_steps = 4;
    bench.settings.optimizer.beta1 = 0.9;
    bench.settings.optimizer.beta2 = 0.999;
    bench.settings.optimizer.kind = OPTIMIZER_ADAM;
    restart_shard(&bench, 0);
    send_view(&bench, 0);
    push(&bench, first, 0, all, 12.0f);
    const struct message *answer = only(&bench, first, MSG_WEIGHTS);
    CU_ASSERT_DOUBLE_EQUAL(((float *)answer->payload->data)[0], -0.25, 1e-5);
    close_bench(&bench);
}

static void test_shard_keeps_a_version_it_is_asked_for(void)
{
    struct bench bench = {0};
    struct message ask = {.kind = MSG_CHECKPOINT_ASK, .run = run, .era = 1, .outcome = {.step = 2}};
    open_bench(&bench);
    send_view(&bench, 0);
    push(&bench, first, 0, all, 4.0f);
    hear(&bench, coordinator, &ask);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, first, 1, all, 4.0f);
    const struct message *state = only(&bench, store, MSG_BLOCK_STATE);
    CU_ASSERT_EQUAL(state->key.step, 2);
    CU_ASSERT_EQUAL(((float *)state->payload->data)[0], -2.0f);
    hear(&bench, coordinator, &ask); /* again: it has been sent */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, first, 2, all, 4.0f);
    hear(&bench, coordinator, &ask);
    const struct message *late = only(&bench, coordinator, MSG_CHECKPOINT_LATE);
    CU_ASSERT(late->outcome.step == 2 && late->outcome.newest == 3);
    close_bench(&bench);
}

static void test_shard_ends_when_the_coordinator_is_silent(void)
{
    struct bench bench = {0};
    struct outcome end = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    pass(&bench, 0, 1999999);
    CU_ASSERT(!shard_is_over(bench.shards[0], &end));
    pass(&bench, 0, 2);
    CU_ASSERT(shard_is_over(bench.shards[0], &end));
    CU_ASSERT_EQUAL(end.code, ERR_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(end.text, "give_up_s"));
    close_bench(&bench);
}

static void echo(struct bench *bench, uint64_t sent_ms)
{
    struct message beat = message_of(bench, MSG_BEAT);
    beat.beat.sent_ms = sent_ms;
    hear(bench, coordinator, &beat);
}

/* What the coordinator has written off makes no progress beside its successor. */
static void test_shard_makes_no_version_without_a_lease(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    pass(&bench, 0, 500);
    uint64_t sent_ms = only(&bench, coordinator, MSG_BEAT)->beat.sent_ms;
    CU_ASSERT_EQUAL(sent_ms, bench.now_ms);
    bench.now_ms += 799501; /* a millisecond past 0.8 silence_s since the view */
    push(&bench, first, 0, all, 4.0f);
    echo(&bench, 0); /* a probe is no echo */
    echo(&bench, bench.now_ms + 1);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    echo(&bench, sent_ms); /* of long ago, and yet late enough */
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 1);
    push(&bench, first, 1, all, 4.0f);
    bench.now_ms += 500;
    push(&bench, first, 2, all, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    close_bench(&bench);
}

static void send_void(struct bench *bench, uint64_t step)
{
    struct message msg = message_of(bench, MSG_VOID);
    msg.key = (struct block_key){step, 0, 3, 4, CODEC_F32};
    hear(bench, second, &msg);
}

static void test_shard_leaves_a_void_step_out(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    send_void(&bench, 0);
    only(&bench, second, MSG_REFUSED); /* this job stops at such gradients */
    bench.settings.job.on_nonfinite = NONFINITE_SKIP;
    push(&bench, first, 0, low, 4.0f);
    send_void(&bench, 0);
    const struct message *answer = only(&bench, first, MSG_WEIGHTS);
    CU_ASSERT(answer->key.step == 1 && weight_of(answer) == 0.0f);
    only(&bench, second, MSG_WEIGHTS);
    send_void(&bench, 0); /* again: the step is past */
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 1);
    push(&bench, first, 1, all, 4.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), -1.0f);
    close_bench(&bench);
}

static void test_shard_names_who_sent_what_is_no_number(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    push(&bench, second, 0, all, (float)HUGE_VAL);
    CU_ASSERT_EQUAL(bench.out.count, 1);
    const char *text = only(&bench, coordinator, MSG_ALARM)->outcome.text;
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "worker 1 sent a gradient of w"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "lanes 0..4 of step 0"));
    push(&bench, first, 0, all, 4.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, first, MSG_WEIGHTS)), -1.0f);
    close_bench(&bench);
}

static void test_shard_says_which_lanes_a_step_lacks(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    push(&bench, first, 0, (struct lane_node){0, 1}, 4.0f);
    pull(&bench, second, 1);
    const struct message *lack = only(&bench, second, MSG_LACK);
    CU_ASSERT(lack->key.step == 0 && lack->key.lane_begin == 1 && lack->key.lane_end == 4);
    pull(&bench, second, 2); /* not of the step in work */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    pass(&bench, 0, 500);
    const struct beat *beat = &only(&bench, coordinator, MSG_BEAT)->beat;
    CU_ASSERT(beat->lack_begin == 1 && beat->lack_end == 4 && beat->step == 0);
    CU_ASSERT(beat->block_count == 1 && beat->parked_bytes == ELEMENTS * sizeof(float));
    close_bench(&bench);
}

static void test_shard_forgets_everything_in_a_new_era(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    bench.settings.checkpoint.every = 1;
    send_view(&bench, 0);
    push(&bench, first, 0, all, 4.0f);
    push(&bench, first, 1, low, 4.0f);
    bench.view.number = bench.view.era = 2;
    bench.view.layout = NULL; /* it has it */
    send_view(&bench, 0);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, second, 0, high, 8.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, second, 0, low, 8.0f);
    CU_ASSERT_EQUAL(weight_of(only(&bench, second, MSG_WEIGHTS)), -4.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 1);
    pass(&bench, 0, 2000);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_BLOCK_STATE), 1); /* of the new era alone */
    close_bench(&bench);
}

static void test_shard_sends_its_copies_again_until_they_are_kept(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    bench.settings.checkpoint.every = 1;
    send_view(&bench, 0);
    push(&bench, first, 0, all, 4.0f);
    pass(&bench, 0, 2000);
    CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, 1);
    next_view(&bench);
    bench.view.store_incarnation = 56; /* the coordinator was started again */
    send_view(&bench, 0);
    CU_ASSERT_EQUAL(
        only(&bench, (struct address){PARTY_STORE, 56}, MSG_BLOCK_STATE)->key.step, 1);
    struct message kept = message_of(&bench, MSG_BLOCK_KEPT);
    kept.key.step = 1;
    hear(&bench, store, &kept);
    pass(&bench, 0, 2000);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_BLOCK_STATE), 0);
    close_bench(&bench);
}

/* Room for one sum: the first block's comes to its end, the second's waits its turn. */
static void test_shard_puts_further_blocks_off_when_much_is_parked(void)
{
    struct bench bench = {.settings.exchange.parked_bytes = ELEMENTS * sizeof(float)};
    open_bench_of(&bench, 2 * ELEMENTS, ELEMENTS * sizeof(float));
    send_view(&bench, 0);
    push_at(&bench, 0, first, (struct block_key){0, 1, 0, 2, CODEC_F32}, 4.0f);
    push(&bench, first, 0, low, 4.0f);
    CU_ASSERT_EQUAL(shard_dropped_count(bench.shards[0]), 1);
    push(&bench, first, 0, all, 4.0f); /* whole: parks nothing */
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.block, 0);
    push_at(&bench, 0, second, (struct block_key){0, 1, 2, 4, CODEC_F32}, 4.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 2);
    push_at(&bench, 0, first, (struct block_key){1, 0, 0, 2, CODEC_F32}, 4.0f); /* room again */
    push_at(&bench, 0, second, (struct block_key){1, 0, 2, 4, CODEC_F32}, 4.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 2);
    close_bench(&bench);
}

/* Every worker sends it before long, so it is what makes room. */
static void test_shard_parks_the_last_block_that_is_not_done_in_any_case(void)
{
    struct bench bench = {.settings.exchange.parked_bytes = ELEMENTS * sizeof(float)};
    open_bench_of(&bench, 3 * ELEMENTS, ELEMENTS * sizeof(float));
    send_view(&bench, 0);
    push_at(&bench, 0, first, (struct block_key){0, 0, 0, 2, CODEC_F32}, 4.0f);
    push_at(&bench, 0, first, (struct block_key){0, 1, 0, 2, CODEC_F32}, 4.0f); /* put off */
    push_at(&bench, 0, first, (struct block_key){0, 2, 0, 2, CODEC_F32}, 4.0f);
    push_at(&bench, 0, second, (struct block_key){0, 2, 2, 4, CODEC_F32}, 4.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 2);
    CU_ASSERT_EQUAL(shard_dropped_count(bench.shards[0]), 1);
    push_at(&bench, 0, first, (struct block_key){0, 1, 0, 2, CODEC_F32}, 4.0f); /* the last now */
    push_at(&bench, 0, second, (struct block_key){0, 1, 2, 4, CODEC_F32}, 4.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 2);
    close_bench(&bench);
}

static void test_shard_asked_to_stop_serves_until_the_job_ends(void)
{
    struct bench bench = {0};
    struct outcome end = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    outbox_clear(&bench.out);
    shard_stop(bench.shards[0], &bench.out);
    shard_stop(bench.shards[0], &bench.out);
    CU_ASSERT_EQUAL(bench.out.count, 1);
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_BYE)->outcome.code, ERR_STOPPED);
    CU_ASSERT(!shard_is_over(bench.shards[0], &end));
    push(&bench, first, 0, all, 4.0f);
    only(&bench, first, MSG_WEIGHTS);
    pass(&bench, 0, 1000); /* it may have been lost */
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_BYE)->outcome.code, ERR_STOPPED);
    close_bench(&bench);
    bench = (struct bench){0};
    open_bench(&bench); /* nobody has answered yet: there is nothing to wait for */
    shard_stop(bench.shards[0], &bench.out);
    CU_ASSERT(shard_is_over(bench.shards[0], &end) && end.code == ERR_STOPPED);
    close_bench(&bench);
}

static void pull_old(struct bench *bench, uint32_t idx, struct address from, uint64_t step)
{
    struct message msg = message_of(bench, MSG_PULL_OLD);
    msg.key.step = step;
    hear_at(bench, idx, from, &msg);
}

static void test_shard_keeps_the_version_before_for_who_comes_after_a_sole_worker(void)
{
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    pull_old(&bench, 0, second, 0); /* there is none before the first */
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 0);
    push(&bench, first, 0, all, 4.0f);
    push(&bench, first, 1, low, 4.0f);
    push(&bench, first, 1, high, 4.0f);
    pull_old(&bench, 0, second, 1);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 1);
    CU_ASSERT_EQUAL(weight_of(only(&bench, second, MSG_WEIGHTS)), -1.0f);
    push(&bench, first, 2, low, 4.0f); /* it has version 2 of all blocks */
    pull_old(&bench, 0, second, 1);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 2);
    close_bench(&bench);
}

static void test_shard_keeps_no_version_before_that_another_worker_has(void)
{
    static const struct address stranger = {PARTY_WORKER, 103};
    struct bench bench = {0};
    open_bench(&bench);
    send_view(&bench, 0);
    push(&bench, first, 0, all, 4.0f);
    push(&bench, first, 1, low, 4.0f);
    push(&bench, second, 1, high, 4.0f);
    push(&bench, first, 2, low, 4.0f);
    push(&bench, second, 2, high, 4.0f);
    pull_old(&bench, 0, second, 2);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), 0);
    const struct message *alarm = only(&bench, coordinator, MSG_ALARM);
    CU_ASSERT_EQUAL(alarm->outcome.code, ERR_LOST);
    CU_ASSERT(alarm->outcome.step == 2 && alarm->outcome.newest == 1);
    pull_old(&bench, 0, stranger, 2); /* of a view to come */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, first, 3, all, 4.0f); /* alone, from here on */
    pull_old(&bench, 0, second, 3);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 3);
    close_bench(&bench);
}

static void test_shard_backup_keeps_the_version_before_for_a_sole_firstlone(void)
{
    for (uint32_t sole = 0; sole < 2; sole++) {
        struct bench bench = {0};
        open_bench(&bench);
        bench.backup[0] = 1;
        for (size_t i = 0; i < LANES && sole; i++)
            bench.lane_worker[i] = 0;
        send_view(&bench, 1);
        send_view(&bench, 0);
        push(&bench, first, 0, all, 4.0f);
        carry(&bench, 1, MSG_UPDATE);
        next_view(&bench);
        bench.primary[0] = 1;
        bench.backup[0] = NOBODY;
        send_view(&bench, 1);
        pull_old(&bench, 1, second, 0);
        CU_ASSERT_EQUAL(count_of(&bench, MSG_WEIGHTS), sole);
        CU_ASSERT_EQUAL(count_of(&bench, MSG_ALARM), 1 - sole);
        close_bench(&bench);
    }
}

#define TESTS(X) \
    X(test_shard_keeps_the_version_before_for_who_comes_after_a_sole_worker) \
    X(test_shard_keeps_no_version_before_that_another_worker_has) \
    X(test_shard_backup_keeps_the_version_before_for_a_sole_firstlone) \
    X(test_shard_says_hello_until_it_has_a_view) \
    X(test_shard_answers_every_pusher_when_the_tree_is_whole) \
    X(test_shard_counts_a_push_once_however_often_it_comes) \
    X(test_shard_refuses_what_cannot_be_a_push) \
    X(test_shard_passes_over_what_its_view_does_not_give_it) \
    X(test_shard_refuses_ghosts_by_name) \
    X(test_shard_answers_a_pull_when_the_version_is_there) \
    X(test_shard_keeps_an_old_version_whole_for_a_slow_reply) \
    X(test_shard_makes_the_same_bits_whoever_holds_the_versions) \
    X(test_shard_waits_for_the_store_when_checkpoints_are_behind) \
    X(test_shard_keeps_the_version_that_is_evaluated) \
    X(test_shard_takes_its_blocks_from_the_store_when_resumed) \
    X(test_shard_answers_a_repeated_push_of_the_last_step) \
    X(test_shard_answers_a_push_of_long_ago_with_what_it_has) \
    X(test_shard_keeps_its_run_when_another_coordinator_welcomes_it) \
    X(test_shard_gives_up_on_a_view_that_does_not_fit) \
    X(test_shard_answers_a_pull_of_a_later_version_when_it_is_there) \
    X(test_shard_answers_who_pulled_and_then_pushed) \
    X(test_shard_says_so_when_asked_for_too_many_versions) \
    X(test_shard_takes_the_state_of_its_start_once) \
    X(test_shard_gives_up_on_a_state_of_another_size) \
    X(test_shard_fetches_a_few_blocks_at_a_time) \
    X(test_shard_counts_steps_from_none) \
    X(test_shard_keeps_a_version_it_is_asked_for) \
    X(test_shard_ends_when_the_coordinator_is_silent) \
    X(test_shard_makes_no_version_without_a_lease) \
    X(test_shard_leaves_a_void_step_out) \
    X(test_shard_names_who_sent_what_is_no_number) \
    X(test_shard_says_which_lanes_a_step_lacks) \
    X(test_shard_forgets_everything_in_a_new_era) \
    X(test_shard_sends_its_copies_again_until_they_are_kept) \
    X(test_shard_puts_further_blocks_off_when_much_is_parked) \
    X(test_shard_parks_the_last_block_that_is_not_done_in_any_case) \
    X(test_shard_asked_to_stop_serves_until_the_job_ends)

UNIT_MAIN("shard", TESTS)
