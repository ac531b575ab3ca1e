#include "ps/shard.h"
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

/* One shard with one block of 8 weights, two workers, four lanes, plain gradient descent. */
enum { ELEMENTS = 8, LANES = 4, BLOCKS_MAX = 32 };

static const struct run_id run = {11, 22};
static const struct address first = {PARTY_WORKER, 101}, second = {PARTY_WORKER, 102},
                            stranger = {PARTY_WORKER, 999}, store = {PARTY_STORE, 55},
                            coordinator = {PARTY_COORDINATOR, 0};

struct bench {
    struct settings settings;
    struct shard *shard;
    struct outbox out;
    struct buffer_pool *pool;
    struct layout *layout;
    uint64_t now_ms;
};

static void hear(struct bench *bench, struct address from, const struct message *msg)
{
    outbox_clear(&bench->out);
    shard_step(bench->shard, bench->now_ms, from, msg, &bench->out);
}

static struct message view_of(const struct bench *bench, bool is_restored, uint64_t start_step)
{
    static const uint32_t block_shard[BLOCKS_MAX] = {0}, lane_worker[LANES] = {0, 0, 1, 1};
    static const struct shard_member shards[1] = {{.incarnation = 7, .endpoint = "inproc://s"}};
    static const struct worker_member workers[2] = {{0, 101}, {1, 102}};
    struct message view = {.kind = MSG_VIEW, .run = run};
    view.view_body = (struct view){.number = 1, .start_step = start_step, .step_count = 10,
                                   .train_count = 12, .is_restored = is_restored,
                                   .store_incarnation = store.id, .store_endpoint = "inproc://d",
                                   .shard_count = 1, .worker_count = 2,
                                   .block_count = bench->layout->block_count,
                                   .lane_count = LANES, .shards = shards, .workers = workers,
                                   .block_shard = block_shard, .lane_worker = lane_worker,
                                   .layout = bench->layout};
    return view;
}

static void send_view(struct bench *bench, bool is_restored, uint64_t start_step)
{
    struct message view = view_of(bench, is_restored, start_step);
    hear(bench, coordinator, &view);
}

static void open_bench_of(struct bench *bench, uint32_t elements, uint32_t block_bytes)
{
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {elements}};
    *bench = (struct bench){.now_ms = 1000};
    bench->settings.job.lanes = LANES;
    bench->settings.job.batch = 4;
    bench->settings.optimizer.rate = 1.0;
    bench->settings.cluster.wait_s = 10;
    bench->settings.cluster.silence_s = 10;
    bench->settings.cluster.beat_ms = 500;
    struct shard_spec spec = {.settings = &bench->settings, .incarnation = 7};
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, block_bytes, &bench->layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create(0, &bench->pool), 0);
    CU_ASSERT_EQUAL_FATAL(shard_create(&spec, &bench->shard), 0);
    hear(bench, (struct address){0}, NULL);
}

static void open_bench(struct bench *bench)
{
    open_bench_of(bench, ELEMENTS, 4096);
}

static void close_bench(struct bench *bench)
{
    outbox_free(&bench->out);
    shard_destroy(bench->shard);
    layout_destroy(bench->layout);
    buffer_pool_destroy(bench->pool);
}

static void push(struct bench *bench, struct address from, uint64_t step, uint32_t begin,
                 uint32_t end, float value)
{
    struct message msg = {.kind = MSG_PUSH, .run = run};
    msg.key = (struct block_key){step, 0, begin, end};
    msg.payload = buffer_pool_take(bench->pool, ELEMENTS * sizeof(float));
    for (size_t i = 0; i < ELEMENTS; i++)
        ((float *)msg.payload->data)[i] = value;
    hear(bench, from, &msg);
    buffer_unref(msg.payload);
}

static const struct message *only(const struct bench *bench, struct address to,
                                  enum message_kind kind)
{
    const struct message *found = NULL;
    for (size_t i = 0; i < bench->out.count; i++)
        if (address_equal(bench->out.items[i].to, to) && bench->out.items[i].msg.kind == kind)
            found = &bench->out.items[i].msg;
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    return found;
}

static void test_shard_says_hello_until_it_has_a_view(void)
{
    struct bench bench;
    open_bench(&bench);
    only(&bench, coordinator, MSG_HELLO);
    bench.now_ms += 100;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    bench.now_ms += 1000;
    hear(&bench, (struct address){0}, NULL);
    only(&bench, coordinator, MSG_HELLO);
    close_bench(&bench);
}

static void test_shard_answers_every_pusher_when_the_tree_is_whole(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench, false, 0);
    push(&bench, first, 0, 0, 2, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, second, 0, 2, 4, 8.0f);
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
    struct bench bench;
    open_bench(&bench);
    send_view(&bench, false, 0);
    for (int i = 0; i < 3; i++)
        push(&bench, first, 0, 0, 2, 4.0f);
    push(&bench, second, 0, 2, 4, 8.0f);
    push(&bench, second, 0, 2, 4, 8.0f); /* after the step: the answer again, no change */
    CU_ASSERT_EQUAL(bench.out.count, 1);
    const struct message *answer = only(&bench, second, MSG_WEIGHTS);
    CU_ASSERT_EQUAL(((float *)answer->payload->data)[0], -3.0f);
    CU_ASSERT_EQUAL(shard_refused_count(bench.shard), 0);
    close_bench(&bench);
}

static void refuse_push(struct bench *bench, uint64_t step, uint32_t begin, uint32_t end)
{
    uint64_t before = shard_refused_count(bench->shard);
    push(bench, first, step, begin, end, 1.0f);
    only(bench, first, MSG_REFUSED);
    CU_ASSERT_EQUAL(shard_refused_count(bench->shard), before + 1);
}

static void test_shard_refuses_what_cannot_be_a_push(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench, false, 0);
    refuse_push(&bench, 1, 0, 2); /* of a step to come */
    refuse_push(&bench, 0, 1, 3); /* no node of the tree */
    refuse_push(&bench, 0, 4, 8); /* beyond the lanes */
    struct message msg = {.kind = MSG_PUSH, .run = run, .key = {0, 5, 0, 1}};
    msg.payload = buffer_pool_take(bench.pool, 4);
    hear(&bench, first, &msg); /* another shard's block */
    CU_ASSERT_PTR_NOT_NULL(
        strstr(only(&bench, first, MSG_REFUSED)->outcome.text, "block 5 is not on this shard"));
    msg.key.block = 0;
    hear(&bench, first, &msg); /* too short */
    CU_ASSERT_PTR_NOT_NULL(
        strstr(only(&bench, first, MSG_REFUSED)->outcome.text, "expected step 0"));
    buffer_unref(msg.payload);
    close_bench(&bench);
}

static void test_shard_refuses_ghosts_by_name(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench, false, 0);
    push(&bench, stranger, 0, 0, 2, 1.0f);
    only(&bench, stranger, MSG_REFUSED);
    struct message pull = {.kind = MSG_PULL, .run = {3, 4}};
    hear(&bench, first, &pull);
    const char *text = only(&bench, first, MSG_REFUSED)->outcome.text;
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "000000000000000b0000000000000016"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "00000000000000030000000000000004"));
    close_bench(&bench);
}

static void test_shard_answers_a_pull_when_the_version_is_there(void)
{
    struct bench bench;
    struct message pull = {.kind = MSG_PULL, .run = run, .key = {.step = 1}};
    open_bench(&bench);
    send_view(&bench, false, 0);
    hear(&bench, second, &pull);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, first, 0, 0, 4, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 1);
    pull.key.step = 99; /* past the end of the job */
    hear(&bench, second, &pull);
    only(&bench, second, MSG_REFUSED);
    close_bench(&bench);
}

static void test_shard_keeps_an_old_version_whole_for_a_slow_reply(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench, false, 0);
    push(&bench, first, 0, 0, 4, 4.0f);
    struct buffer *old = buffer_ref(only(&bench, first, MSG_WEIGHTS)->payload);
    push(&bench, first, 1, 0, 4, 4.0f);
    CU_ASSERT_EQUAL(((float *)old->data)[0], -1.0f);
    CU_ASSERT_EQUAL(((float *)only(&bench, first, MSG_WEIGHTS)->payload->data)[0], -2.0f);
    buffer_unref(old);
    close_bench(&bench);
}

static void test_shard_waits_for_the_store_when_checkpoints_are_behind(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.checkpoint.every = 1;
    send_view(&bench, false, 0);
    for (uint64_t step = 0; step < 2; step++) {
        push(&bench, first, step, 0, 4, 4.0f);
        CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, step + 1);
    }
    push(&bench, first, 2, 0, 4, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* two copies are on their way: the step waits */
    struct message kept = {.kind = MSG_BLOCK_KEPT, .run = run, .key = {.step = 1}};
    hear(&bench, store, &kept);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 3);
    close_bench(&bench);
}

static void test_shard_takes_its_blocks_from_the_store_when_resumed(void)
{
    struct bench bench;
    struct message state = {.kind = MSG_BLOCK_STATE, .run = run, .key = {.step = 6}};
    struct message pull = {.kind = MSG_PULL, .run = run, .key = {.step = 6}};
    open_bench(&bench);
    send_view(&bench, true, 6);
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
    struct bench bench;
    open_bench(&bench);
    send_view(&bench, false, 0);
    for (uint64_t step = 0; step < 10; step++)
        push(&bench, first, step, 0, 4, 4.0f);
    push(&bench, second, 9, 0, 4, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 10);
    CU_ASSERT_EQUAL(shard_refused_count(bench.shard), 0);
    refuse_push(&bench, 10, 0, 4); /* the job has no step 10 */
    close_bench(&bench);
}

static void test_shard_does_not_answer_a_push_of_long_ago(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench, false, 0);
    for (uint64_t step = 0; step < 3; step++)
        push(&bench, first, step, 0, 4, 4.0f);
    push(&bench, second, 0, 0, 4, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    close_bench(&bench);
}

static void test_shard_keeps_its_run_when_another_coordinator_welcomes_it(void)
{
    struct bench bench;
    struct message welcome = {.kind = MSG_WELCOME, .run = {8, 9}};
    open_bench(&bench);
    send_view(&bench, false, 0);
    hear(&bench, coordinator, &welcome);
    push(&bench, first, 0, 0, 4, 4.0f);
    CU_ASSERT(run_equal(only(&bench, first, MSG_WEIGHTS)->run, run));
    close_bench(&bench);
}

static void test_shard_gives_up_on_a_view_that_does_not_fit(void)
{
    enum { NO_LAYOUT, NO_SAMPLES, OTHER_LANES, OTHER_BLOCKS, NO_PLACE, CASES };
    static const struct shard_member others[1] = {{.incarnation = 8, .endpoint = "inproc://s"}};
    for (int i = 0; i < CASES; i++) {
        struct bench bench;
        struct outcome end = {0};
        open_bench(&bench);
        struct message view = view_of(&bench, false, 0);
        if (i == NO_LAYOUT)
            view.view_body.layout = NULL;
        else if (i == NO_SAMPLES)
            view.view_body.train_count = 0;
        else if (i == OTHER_LANES)
            view.view_body.lane_count = 2;
        else if (i == OTHER_BLOCKS)
            view.view_body.block_count = 2;
        else
            view.view_body.shards = others;
        hear(&bench, coordinator, &view);
        only(&bench, coordinator, MSG_BYE);
        CU_ASSERT(shard_is_over(bench.shard, &end) && end.code == ERR_PROTO);
        close_bench(&bench);
    }
}

static void test_shard_answers_a_pull_of_a_later_version_when_it_is_there(void)
{
    struct bench bench;
    struct message pull = {.kind = MSG_PULL, .run = run, .key = {.step = 2}};
    open_bench(&bench);
    send_view(&bench, false, 0);
    hear(&bench, second, &pull);
    push(&bench, first, 0, 0, 4, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 1); /* the pusher's alone */
    push(&bench, first, 1, 0, 4, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 2);
    push(&bench, first, 2, 0, 4, 4.0f);
    CU_ASSERT_EQUAL(bench.out.count, 1); /* answered once */
    close_bench(&bench);
}

static void test_shard_answers_who_pulled_and_then_pushed(void)
{
    struct bench bench;
    struct message pull = {.kind = MSG_PULL, .run = run, .key = {.step = 3}};
    open_bench(&bench);
    send_view(&bench, false, 0);
    hear(&bench, second, &pull);
    push(&bench, second, 0, 2, 4, 8.0f);
    push(&bench, first, 0, 0, 2, 4.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 1);
    close_bench(&bench);
}

static void test_shard_says_so_when_asked_for_too_many_versions(void)
{
    struct bench bench;
    struct message ask = {.kind = MSG_CHECKPOINT_ASK, .run = run};
    open_bench(&bench);
    send_view(&bench, false, 0);
    for (ask.outcome.step = 1; ask.outcome.step <= 8; ask.outcome.step++) {
        hear(&bench, coordinator, &ask);
        CU_ASSERT_EQUAL(bench.out.count, 0);
    }
    hear(&bench, coordinator, &ask);
    only(&bench, coordinator, MSG_CHECKPOINT_LATE);
    push(&bench, first, 0, 0, 4, 4.0f);
    push(&bench, first, 1, 0, 4, 4.0f);
    hear(&bench, coordinator, &ask); /* the first is past: its place is free */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    close_bench(&bench);
}

static void send_state(struct bench *bench, uint64_t step, uint32_t block, size_t elements,
                       float value)
{
    struct message state = {.kind = MSG_BLOCK_STATE, .run = run};
    state.key = (struct block_key){.step = step, .block = block};
    state.payload = buffer_pool_take(bench->pool, elements * sizeof(float));
    for (size_t i = 0; i < elements; i++)
        ((float *)state.payload->data)[i] = value;
    hear(bench, store, &state);
    buffer_unref(state.payload);
}

static void test_shard_takes_the_state_of_its_start_once(void)
{
    struct bench bench;
    struct message pull = {.kind = MSG_PULL, .run = run, .key = {.step = 6}};
    struct message ask = {.kind = MSG_CHECKPOINT_ASK, .run = run, .outcome = {.step = 6}};
    open_bench(&bench);
    send_view(&bench, true, 6);
    push(&bench, first, 6, 0, 4, 1.0f);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_REFUSED)->outcome.code, ERR_NOT_FOUND);
    send_state(&bench, 5, 0, ELEMENTS, 9.0f);
    hear(&bench, first, &pull);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    send_state(&bench, 6, 0, ELEMENTS, 2.5f);
    CU_ASSERT_EQUAL(((float *)only(&bench, first, MSG_WEIGHTS)->payload->data)[0], 2.5f);
    send_state(&bench, 6, 0, ELEMENTS, 9.0f);
    hear(&bench, first, &pull);
    CU_ASSERT_EQUAL(((float *)only(&bench, first, MSG_WEIGHTS)->payload->data)[0], 2.5f);
    hear(&bench, coordinator, &ask); /* the store has that version: it came from there */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    close_bench(&bench);
}

static void test_shard_gives_up_on_a_state_of_another_size(void)
{
    struct bench bench;
    struct outcome end = {0};
    open_bench(&bench);
    send_view(&bench, true, 6);
    send_state(&bench, 6, 0, ELEMENTS + 1, 9.0f);
    only(&bench, coordinator, MSG_BYE);
    CU_ASSERT(shard_is_over(bench.shard, &end) && end.code == ERR_PROTO);
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
    struct bench bench;
    open_bench_of(&bench, 20, sizeof(float));
    send_view(&bench, true, 6);
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
    struct bench bench;
    open_bench(&bench);
    bench.settings.optimizer.warmup_steps = 4;
    bench.settings.optimizer.beta1 = 0.9;
    bench.settings.optimizer.beta2 = 0.999;
    bench.settings.optimizer.kind = OPTIMIZER_ADAM;
    shard_destroy(bench.shard);
    struct shard_spec spec = {.settings = &bench.settings, .incarnation = 7};
    CU_ASSERT_EQUAL_FATAL(shard_create(&spec, &bench.shard), 0);
    send_view(&bench, false, 0);
    push(&bench, first, 0, 0, 4, 12.0f);
    const struct message *answer = only(&bench, first, MSG_WEIGHTS);
    CU_ASSERT_DOUBLE_EQUAL(((float *)answer->payload->data)[0], -0.25, 1e-5);
    close_bench(&bench);
}

static void test_shard_keeps_a_version_it_is_asked_for(void)
{
    struct bench bench;
    struct message ask = {.kind = MSG_CHECKPOINT_ASK, .run = run, .outcome = {.step = 2}};
    open_bench(&bench);
    send_view(&bench, false, 0);
    push(&bench, first, 0, 0, 4, 4.0f);
    hear(&bench, coordinator, &ask);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, first, 1, 0, 4, 4.0f);
    const struct message *state = only(&bench, store, MSG_BLOCK_STATE);
    CU_ASSERT_EQUAL(state->key.step, 2);
    CU_ASSERT_EQUAL(((float *)state->payload->data)[0], -2.0f);
    hear(&bench, coordinator, &ask); /* again: it has been sent */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    push(&bench, first, 2, 0, 4, 4.0f);
    hear(&bench, coordinator, &ask);
    const struct message *late = only(&bench, coordinator, MSG_CHECKPOINT_LATE);
    CU_ASSERT(late->outcome.step == 2 && late->outcome.newest == 3);
    close_bench(&bench);
}

static void test_shard_ends_when_the_coordinator_is_silent(void)
{
    struct bench bench;
    struct outcome end = {0};
    open_bench(&bench);
    send_view(&bench, false, 0);
    bench.now_ms += 9999;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT(!shard_is_over(bench.shard, &end));
    bench.now_ms += 2;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT(shard_is_over(bench.shard, &end));
    CU_ASSERT_EQUAL(end.code, ERR_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(end.text, "silence_s"));
    close_bench(&bench);
}

static void test_shard_asked_to_stop_serves_until_the_job_ends(void)
{
    struct bench bench;
    struct outcome end = {0};
    open_bench(&bench);
    send_view(&bench, false, 0);
    outbox_clear(&bench.out);
    shard_stop(bench.shard, &bench.out);
    shard_stop(bench.shard, &bench.out);
    CU_ASSERT_EQUAL(bench.out.count, 1);
    CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_BYE)->outcome.code, ERR_STOPPED);
    CU_ASSERT(!shard_is_over(bench.shard, &end));
    push(&bench, first, 0, 0, 4, 4.0f);
    only(&bench, first, MSG_WEIGHTS);
    close_bench(&bench);
    open_bench(&bench); /* nobody has answered yet: there is nothing to wait for */
    shard_stop(bench.shard, &bench.out);
    CU_ASSERT(shard_is_over(bench.shard, &end) && end.code == ERR_STOPPED);
    close_bench(&bench);
}

#define TESTS(X)                                                   \
    X(test_shard_asked_to_stop_serves_until_the_job_ends) \
    X(test_shard_says_hello_until_it_has_a_view)                   \
    X(test_shard_answers_every_pusher_when_the_tree_is_whole)      \
    X(test_shard_counts_a_push_once_however_often_it_comes)        \
    X(test_shard_refuses_what_cannot_be_a_push)                    \
    X(test_shard_refuses_ghosts_by_name)                           \
    X(test_shard_answers_a_pull_when_the_version_is_there)         \
    X(test_shard_keeps_an_old_version_whole_for_a_slow_reply)      \
    X(test_shard_waits_for_the_store_when_checkpoints_are_behind)  \
    X(test_shard_takes_its_blocks_from_the_store_when_resumed)     \
    X(test_shard_answers_a_repeated_push_of_the_last_step)         \
    X(test_shard_does_not_answer_a_push_of_long_ago)               \
    X(test_shard_keeps_its_run_when_another_coordinator_welcomes_it) \
    X(test_shard_gives_up_on_a_view_that_does_not_fit)               \
    X(test_shard_keeps_a_version_it_is_asked_for)                  \
    X(test_shard_answers_a_pull_of_a_later_version_when_it_is_there) \
    X(test_shard_answers_who_pulled_and_then_pushed) \
    X(test_shard_says_so_when_asked_for_too_many_versions) \
    X(test_shard_takes_the_state_of_its_start_once) \
    X(test_shard_gives_up_on_a_state_of_another_size) \
    X(test_shard_fetches_a_few_blocks_at_a_time) \
    X(test_shard_counts_steps_from_none) \
    X(test_shard_ends_when_the_coordinator_is_silent)

UNIT_MAIN("shard", TESTS)
