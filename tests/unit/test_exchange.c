#include "worker/exchange.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

/* A worker with lanes 2 and 3 of four, three blocks (or six) of four weights, all on one shard. */
enum { ELEMENTS = 4, BLOCKS = 3, BLOCKS_MORE = 6, LANES = 4 };

static const struct run_id job_run = {5, 6};
static const struct address shard = {PARTY_SHARD, 70}, coordinator = {PARTY_COORDINATOR, 0},
                            compute = {PARTY_COMPUTE, 0};

struct bench {
    struct settings settings;
    struct exchange *exchange;
    struct outbox out;
    struct buffer_pool *pool;
    struct layout *layout;
    uint64_t now_ms, step_count;
    uint32_t block_count;
    uint32_t era; /* of what shards say */
};

static void hear(struct bench *bench, struct address from, const struct message *msg)
{
    outbox_clear(&bench->out);
    exchange_step(bench->exchange, bench->now_ms, from, msg, &bench->out);
}

/* What a view says that matters here; the shards are 70 and 71, the workers 1 and 2 (this one). */
struct picture {
    uint32_t number, era;
    uint64_t start_step, hold_step;
    uint32_t lane_worker[LANES], block_shard[BLOCKS_MORE];
};

static void show(struct bench *bench, const struct picture *picture)
{
    static const struct shard_member shards[2] = {{.incarnation = 70, .endpoint = "inproc://s"},
                                                  {.incarnation = 71, .endpoint = "inproc://t"}};
    static const struct worker_member workers[2] = {{0, 1, ""}, {1, 2, ""}};
    struct message view = {.kind = MSG_VIEW, .run = job_run, .era = picture->era};
    view.view_body = (struct view){.number = picture->number,
                                   .era = picture->era,
                                   .start_step = picture->start_step,
                                   .step_count = bench->step_count,
                                   .train_count = 12,
                                   .test_count = 4,
                                   .store_endpoint = "inproc://d",
                                   .shard_count = 2,
                                   .worker_count = 2,
                                   .block_count = bench->block_count,
                                   .lane_count = LANES,
                                   .shards = shards,
                                   .workers = workers,
                                   .block_shard = picture->block_shard,
                                   .lane_worker = picture->lane_worker,
                                   .early_stop = {.hold_step = picture->hold_step}};
    bench->era = picture->era;
    hear(bench, coordinator, &view);
}

static void send_view(struct bench *bench)
{
    show(bench, &(struct picture){.number = 1, .lane_worker = {0, 0, 1, 1}});
}

static void open_bench_with(struct bench *bench, enum consistency_kind consistency,
                            uint32_t block_count)
{
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {ELEMENTS * block_count}};
    *bench = (struct bench){.now_ms = 1000, .step_count = 2, .block_count = block_count};
    bench->settings.exchange.consistency = consistency;
    bench->settings.job.lanes = LANES;
    bench->settings.job.batch = 4;
    bench->settings.exchange.block_bytes = ELEMENTS * sizeof(float);
    bench->settings.exchange.credit_bytes = 1 << 20;
    bench->settings.exchange.retry_ms = 200;
    bench->settings.cluster.wait_s = bench->settings.cluster.give_up_s = 10;
    bench->settings.cluster.beat_ms = 500;
    CU_ASSERT_EQUAL_FATAL(
        layout_create(&tensor, 1, ELEMENTS * sizeof(float), &bench->layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create(0, &bench->pool), 0);
    struct exchange_spec spec = {.settings = &bench->settings, .incarnation = 2};
    spec.hello.layout = bench->layout;
    spec.hello.train_count = 12;
    spec.hello.test_count = 4;
    spec.hello.thread_count = 1;
    CU_ASSERT_EQUAL_FATAL(exchange_create(&spec, &bench->exchange), 0);
    hear(bench, (struct address){0}, NULL);
}

static void open_bench_of(struct bench *bench, enum consistency_kind consistency)
{
    open_bench_with(bench, consistency, BLOCKS);
}

static void open_bench(struct bench *bench)
{
    open_bench_of(bench, CONSISTENCY_BSP);
}

static void close_bench(struct bench *bench)
{
    outbox_free(&bench->out);
    exchange_destroy(bench->exchange);
    layout_destroy(bench->layout);
    buffer_pool_destroy(bench->pool);
}

static void send_block(struct bench *bench, struct address from, struct message msg, float value)
{
    msg.run = job_run;
    msg.era = bench->era;
    msg.payload = buffer_pool_take(bench->pool, ELEMENTS * sizeof(float));
    for (size_t i = 0; i < ELEMENTS; i++)
        ((float *)msg.payload->data)[i] = value;
    hear(bench, from, &msg);
    buffer_unref(msg.payload);
}

static void weights(struct bench *bench, uint32_t block, uint64_t version, float value)
{
    send_block(bench, shard,
               (struct message){.kind = MSG_WEIGHTS, .key = {.step = version, .block = block}},
               value);
}

static void weights_from(struct bench *bench, struct address from, uint32_t block,
                         uint64_t version)
{
    send_block(bench, from,
               (struct message){.kind = MSG_WEIGHTS, .key = {.step = version, .block = block}},
               0.5f);
}

static void lack(struct bench *bench, struct block_key key)
{
    struct message msg = {.kind = MSG_LACK, .run = job_run, .era = bench->era, .key = key};
    hear(bench, shard, &msg);
}

static void tick(struct bench *bench, uint64_t later_ms)
{
    bench->now_ms += later_ms;
    hear(bench, (struct address){0}, NULL);
}

static void leaf(struct bench *bench, uint64_t step, uint32_t lane, uint32_t block, float value)
{
    send_block(bench, compute,
               (struct message){.kind = MSG_LEAF, .key = {step, block, lane, lane + 1}}, value);
}

static void lane_done(struct bench *bench, enum message_kind kind, uint32_t lane)
{
    struct message msg = {.kind = kind};
    msg.lane = (struct lane_result){.lane = lane, .sample_count = 1};
    hear(bench, compute, &msg);
}

static size_t count(const struct bench *bench, enum message_kind kind)
{
    size_t found = 0;
    for (size_t i = 0; i < bench->out.count; i++)
        found += bench->out.items[i].msg.kind == kind;
    return found;
}

/* The n-th message of a kind, from 0. */
static const struct envelope *nth(const struct bench *bench, enum message_kind kind, size_t n)
{
    for (size_t i = 0; i < bench->out.count; i++)
        if (bench->out.items[i].msg.kind == kind && n-- == 0)
            return &bench->out.items[i];
    CU_ASSERT_FATAL(false);
    return NULL;
}

static bool is_key(const struct envelope *envelope, struct block_key key)
{
    const struct block_key *found = &envelope->msg.key;
    return found->step == key.step && found->block == key.block &&
           found->lane_begin == key.lane_begin && found->lane_end == key.lane_end;
}

static void dropped(struct bench *bench, uint32_t lane)
{
    struct message msg = {.kind = MSG_LANE_DROPPED};
    msg.task.lane = lane;
    hear(bench, compute, &msg);
}

static void begin(struct bench *bench)
{
    open_bench(bench);
    send_view(bench);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(bench, block, 0, 0.5f);
}

static void test_exchange_pulls_and_begins_when_all_weights_are_there(void)
{
    struct bench bench;
    open_bench(&bench);
    CU_ASSERT_EQUAL(count(&bench, MSG_HELLO), 1);
    send_view(&bench);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), BLOCKS);
    weights(&bench, 0, 0, 0.5f);
    weights(&bench, 2, 0, 0.5f);
    weights(&bench, 2, 0, 9.9f); /* twice */
    bench.now_ms += 1001;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 1); /* only what is missing */
    weights(&bench, 1, 0, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 2);
    const struct lane_task *task = &bench.out.items[0].msg.task;
    CU_ASSERT_EQUAL(task->lane, 2);
    for (size_t i = 0; i < ELEMENTS * BLOCKS; i++)
        CU_ASSERT_EQUAL(task->weights[i], 0.5f);
    close_bench(&bench);
}

static void test_exchange_asks_anew_when_it_was_spared_a_step_that_is_lost(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench);
    weights(&bench, 0, 1, 0.5f);
    weights(&bench, 2, 0, 0.5f); /* older: it is pulled at version 1 */
    lack(&bench, (struct block_key){0, 2, 2, 4, CODEC_F32});
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL_OLD), 2); /* and block 2 is there */
    show(&bench, &(struct picture){.number = 2, .lane_worker = {0, 0, 0, 0}});
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL_OLD), 0);
    show(&bench, &(struct picture){.number = 3, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL_OLD), 0);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PULL), BLOCKS);
    for (size_t i = 0; i < BLOCKS; i++)
        CU_ASSERT_EQUAL(nth(&bench, MSG_PULL, i)->msg.key.step, 0); /* whatever is there */
    close_bench(&bench);
}

static void test_exchange_pushes_the_sum_of_its_own_lanes(void)
{
    struct bench bench;
    begin(&bench);
    leaf(&bench, 0, 3, 2, 1.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    leaf(&bench, 0, 2, 2, 2.0f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PUSH), 1);
    const struct message *push = &bench.out.items[0].msg;
    CU_ASSERT_EQUAL(push->key.block, 2);
    CU_ASSERT(push->key.lane_begin == 2 && push->key.lane_end == 4);
    CU_ASSERT_EQUAL(((float *)push->payload->data)[0], 3.0f);
    close_bench(&bench);
}

static void test_exchange_swaps_only_when_no_lane_reads_the_old_weights(void)
{
    struct bench bench;
    begin(&bench);
    const float *old = bench.out.items[0].msg.task.weights;
    for (uint32_t block = 0; block < BLOCKS; block++)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(&bench, 0, lane, block, 1.0f);
    lane_done(&bench, MSG_LANE_DONE, 2);
    CU_ASSERT_EQUAL(count(&bench, MSG_LANE_DONE), 1);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 1, 0.25f);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    CU_ASSERT_EQUAL(old[0], 0.5f);
    lane_done(&bench, MSG_LANE_DONE, 3);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    for (size_t i = 0; i < bench.out.count; i++)
        if (bench.out.items[i].msg.kind == MSG_TRAIN_LANE)
            CU_ASSERT(bench.out.items[i].msg.task.step == 1 &&
                      bench.out.items[i].msg.task.weights[0] == 0.25f);
    close_bench(&bench);
}

static void test_exchange_holds_back_what_exceeds_its_credit(void)
{
    struct bench bench;
    begin(&bench);
    bench.settings.exchange.credit_bytes = ELEMENTS * sizeof(float);
    for (uint32_t block = BLOCKS; block-- > 0;)
        leaf(&bench, 0, 2, block, 1.0f);
    leaf(&bench, 0, 3, 2, 1.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 1);
    leaf(&bench, 0, 3, 1, 1.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 0); /* block 2 is not answered yet */
    weights(&bench, 2, 1, 0.0f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PUSH), 1);
    CU_ASSERT_EQUAL(bench.out.items[0].msg.key.block, 1);
    close_bench(&bench);
}

static void test_exchange_pays_for_all_nodes_of_a_block_at_once(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.exchange.credit_bytes = 3 * ELEMENTS * sizeof(float);
    /* Nodes (1,2) and (2,4). */
    show(&bench, &(struct picture){.number = 1, .lane_worker = {0, 1, 1, 1}});
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 0, 0.5f);
    leaf(&bench, 0, 1, 2, 1.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 1);
    leaf(&bench, 0, 1, 1, 1.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 0); /* two blocks of two nodes are four */
    leaf(&bench, 0, 2, 2, 1.0f);
    leaf(&bench, 0, 3, 2, 1.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 1);
    weights(&bench, 2, 1, 0.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 1);
    close_bench(&bench);
}

/* Six blocks are whole, those that are within the credit are pushed. */
static void begin_with_credit(struct bench *bench, size_t blocks, bool is_overlapping)
{
    open_bench_with(bench, CONSISTENCY_BSP, BLOCKS_MORE);
    bench->settings.exchange.overlap = is_overlapping;
    bench->settings.exchange.credit_bytes = blocks * ELEMENTS * sizeof(float);
    send_view(bench);
    for (uint32_t block = 0; block < BLOCKS_MORE; block++)
        weights(bench, block, 0, 0.5f);
    for (uint32_t block = BLOCKS_MORE; block-- > 0;)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(bench, 0, lane, block, 1.0f);
}

/* When that block is answered, one other is pushed. */
static bool makes_way(struct bench *bench, uint32_t answered, uint32_t pushed)
{
    weights(bench, answered, 1, 0.25f);
    return count(bench, MSG_PUSH) == 1 && nth(bench, MSG_PUSH, 0)->msg.key.block == pushed;
}

static void test_exchange_lets_the_first_layers_overtake_where_steps_begin_early(void)
{
    struct bench bench;
    begin_with_credit(&bench, 4, true);
    CU_ASSERT(makes_way(&bench, 5, 0));
    CU_ASSERT(makes_way(&bench, 4, 1));
    close_bench(&bench);
    begin_with_credit(&bench, 4, false);
    CU_ASSERT(makes_way(&bench, 5, 1));
    CU_ASSERT(makes_way(&bench, 4, 0));
    close_bench(&bench);
}

/* In other workers it may be the block whose turn it is that nobody has answered. */
static void test_exchange_keeps_credit_for_the_block_whose_turn_it_is(void)
{
    struct bench bench;
    begin_with_credit(&bench, 2, true);
    CU_ASSERT(makes_way(&bench, 5, 0));
    show(&bench, &(struct picture){.number = 2, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 0);
    CU_ASSERT(makes_way(&bench, 4, 3));
    CU_ASSERT(makes_way(&bench, 3, 2));
    CU_ASSERT(makes_way(&bench, 0, 1));
    close_bench(&bench);
    begin_with_credit(&bench, 1, true);
    for (uint32_t block = BLOCKS_MORE; --block > 0;)
        CU_ASSERT(makes_way(&bench, block, block - 1));
    close_bench(&bench);
}

static void test_exchange_does_not_ask_again_while_blocks_are_coming(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench);
    bench.now_ms += 300;
    weights(&bench, 0, 0, 0.5f);
    bench.now_ms += 300;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    bench.now_ms += 101;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 2);
    close_bench(&bench);
}

static void test_exchange_gives_up_on_a_view_of_other_data(void)
{
    static const uint64_t counts[][2] = {{12, 5}, {11, 4}};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct bench bench;
        struct outcome end = {0};
        open_bench(&bench);
        exchange_destroy(bench.exchange);
        struct exchange_spec spec = {.settings = &bench.settings, .incarnation = 2};
        spec.hello.layout = bench.layout;
        spec.hello.train_count = counts[i][0];
        spec.hello.test_count = counts[i][1];
        CU_ASSERT_EQUAL_FATAL(exchange_create(&spec, &bench.exchange), 0);
        send_view(&bench);
        CU_ASSERT_EQUAL(count(&bench, MSG_BYE), 1);
        CU_ASSERT(exchange_is_over(bench.exchange, &end) && end.code == ERR_PROTO);
        close_bench(&bench);
    }
}

static void test_exchange_stands_by_without_lanes(void)
{
    struct bench bench;
    open_bench(&bench);
    show(&bench, &(struct picture){.number = 1, .lane_worker = {0, 0, 0, NOBODY}});
    CU_ASSERT_EQUAL(bench.out.count, 0);
    tick(&bench, 1001);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    CU_ASSERT_EQUAL(count(&bench, MSG_BEAT), 1);
    close_bench(&bench);
}

static void test_exchange_gives_up_when_a_shard_refuses_it(void)
{
    struct bench bench;
    struct outcome end = {0};
    struct message no = {.kind = MSG_REFUSED, .run = job_run, .sender = 70};
    begin(&bench);
    no.outcome.code = ERR_PROTO;
    snprintf(no.outcome.text, sizeof(no.outcome.text), "push of block 9");
    hear(&bench, shard, &no);
    CU_ASSERT_EQUAL(count(&bench, MSG_BYE), 1);
    CU_ASSERT(exchange_is_over(bench.exchange, &end) && end.code == ERR_PROTO);
    CU_ASSERT_STRING_EQUAL(end.text, "push of block 9");
    close_bench(&bench);
}

static void test_exchange_keeps_its_run_when_another_coordinator_welcomes_it(void)
{
    struct bench bench;
    struct message welcome = {.kind = MSG_WELCOME, .run = {8, 9}};
    begin(&bench);
    hear(&bench, coordinator, &welcome);
    lane_done(&bench, MSG_LANE_DONE, 2);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_LANE_DONE), 1);
    CU_ASSERT(run_equal(bench.out.items[0].msg.run, job_run));
    close_bench(&bench);
}

static void test_exchange_drops_a_leaf_of_another_step(void)
{
    struct bench bench;
    begin(&bench);
    leaf(&bench, 1, 2, 0, 7.0f);
    leaf(&bench, 0, 3, 0, 1.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 0);
    leaf(&bench, 0, 2, 0, 2.0f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PUSH), 1);
    CU_ASSERT_EQUAL(((float *)bench.out.items[0].msg.payload->data)[0], 3.0f);
    close_bench(&bench);
}

static void test_exchange_ends_when_the_coordinator_is_silent(void)
{
    struct bench bench;
    struct outcome end = {0};
    begin(&bench);
    bench.now_ms += 9999;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT(!exchange_is_over(bench.exchange, &end));
    bench.now_ms += 2;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT(exchange_is_over(bench.exchange, &end) && end.code == ERR_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(end.text, "give_up_s"));
    close_bench(&bench);
}

static void test_exchange_takes_weights_of_its_run_version_and_shard_only(void)
{
    struct bench bench;
    struct message msg = {.kind = MSG_WEIGHTS, .run = {9, 9}, .key = {.block = 1}};
    open_bench(&bench);
    msg.payload = buffer_pool_take(bench.pool, ELEMENTS * sizeof(float));
    memset(msg.payload->data, 0, msg.payload->size_bytes);
    msg.run = (struct run_id){0};
    hear(&bench, shard, &msg); /* before there is a view */
    send_view(&bench);
    msg.run = (struct run_id){9, 9};
    hear(&bench, shard, &msg); /* another run */
    msg.run = job_run;
    hear(&bench, (struct address){PARTY_SHARD, 71}, &msg); /* another shard */
    msg.key.step = 3;
    hear(&bench, shard, &msg); /* later than the last */
    msg.key.step = 0;
    msg.era = 1;
    hear(&bench, shard, &msg); /* another era */
    msg.era = 0;
    msg.key = (struct block_key){.block = BLOCKS};
    hear(&bench, shard, &msg); /* no such block */
    buffer_unref(msg.payload);
    msg.key.block = 1;
    msg.payload = buffer_pool_take(bench.pool, 4);
    hear(&bench, shard, &msg); /* another size */
    buffer_unref(msg.payload);
    weights(&bench, 0, 0, 0.5f);
    weights(&bench, 2, 0, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    weights(&bench, 1, 0, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 2);
    close_bench(&bench);
}

static void run_step(struct bench *bench, uint64_t step)
{
    for (uint32_t block = 0; block < BLOCKS; block++)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(bench, step, lane, block, 1.0f);
    for (uint32_t lane = 2; lane < 4; lane++)
        lane_done(bench, MSG_LANE_DONE, lane);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(bench, block, step + 1, 0.125f);
}

static void test_exchange_ends_with_an_evaluation_and_a_digest(void)
{
    struct bench bench;
    struct outcome end = {0};
    begin(&bench);
    run_step(&bench, 0);
    run_step(&bench, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_LANE), 2);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 1);
    lane_done(&bench, MSG_EVAL_DONE, 2);
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_DONE), 1);
    CU_ASSERT(!exchange_is_over(bench.exchange, &end));
    struct message finish = {.kind = MSG_FINISH, .run = job_run};
    hear(&bench, coordinator, &finish);
    CU_ASSERT(exchange_is_over(bench.exchange, &end) && end.code == 0);
    close_bench(&bench);
}

static void test_exchange_swaps_only_when_the_evaluation_is_done(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.eval_every = 1;
    send_view(&bench);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 0, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_LANE), 0); /* nothing has been learnt yet */
    run_step(&bench, 0);
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_LANE), 2);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    const struct lane_task *task = &bench.out.items[0].msg.task;
    const float *read = task->weights;
    run_step(&bench, 1);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    CU_ASSERT_EQUAL(read[0], 0.125f);
    lane_done(&bench, MSG_EVAL_DONE, 2);
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 0);
    lane_done(&bench, MSG_EVAL_DONE, 3);
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 1);
    close_bench(&bench);
}

/* Nobody makes a step from a version before its evaluation is known: a view says so. */
static void test_exchange_holds_a_version_until_a_view_lets_it_go_on(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.step_count = 9;
    bench.settings.job.eval_every = 1; /* the view counts */
    show(&bench, &(struct picture){.number = 1, .hold_step = 2, .lane_worker = {0, 0, 1, 1}});
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 0, 0.5f);
    run_step(&bench, 0);
    CU_ASSERT(count(&bench, MSG_EVAL_LANE) == 0 && count(&bench, MSG_TRAIN_LANE) == 2);
    run_step(&bench, 1);
    CU_ASSERT(count(&bench, MSG_EVAL_LANE) == 2 && count(&bench, MSG_TRAIN_LANE) == 0);
    show(&bench, &(struct picture){.number = 2, .hold_step = 2, .lane_worker = {0, 1, 1, 1}});
    CU_ASSERT(count(&bench, MSG_EVAL_LANE) == 1 && count(&bench, MSG_TRAIN_LANE) == 0);
    for (uint32_t lane = 1; lane < 4; lane++) {
        lane_done(&bench, MSG_EVAL_DONE, lane);
        CU_ASSERT(count(&bench, MSG_TRAIN_LANE) == 0 && count(&bench, MSG_WEIGHTS_DIGEST) == 0);
    }
    show(&bench, &(struct picture){.number = 3, .hold_step = 4, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT(count(&bench, MSG_EVAL_LANE) == 0);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    leaf(&bench, 2, 2, 2, 1.0f);
    leaf(&bench, 2, 3, 2, 1.0f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PUSH), 1); /* in one node, as ever */
    CU_ASSERT(nth(&bench, MSG_PUSH, 0)->msg.key.lane_begin == 2 &&
              nth(&bench, MSG_PUSH, 0)->msg.key.lane_end == 4);
    close_bench(&bench);
}

/* Its lanes would begin on the next version while that comes in. */
static void test_exchange_begins_nothing_early_on_a_version_that_is_held(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.step_count = 9;
    bench.settings.exchange.overlap = true;
    bench.settings.job.eval_every = 50;
    show(&bench, &(struct picture){.number = 1, .hold_step = 1, .lane_worker = {0, 0, 1, 1}});
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 0, 0.5f);
    for (uint32_t block = 0; block < BLOCKS; block++)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(&bench, 0, lane, block, 1.0f);
    for (uint32_t lane = 2; lane < 4; lane++) {
        lane_done(&bench, MSG_LANE_DONE, lane);
        CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    }
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 1, 0.25f);
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_LANE), 2);
    for (uint32_t lane = 2; lane < 4; lane++) {
        lane_done(&bench, MSG_EVAL_DONE, lane);
        CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0); /* nor of what comes after it */
    }
    weights(&bench, 2, 2, 0.125f); /* others have a view already that let them go on */
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    show(&bench, &(struct picture){.number = 2, .hold_step = 3, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 2); /* of version 1 */
    close_bench(&bench);
}

static void test_exchange_names_the_tensor_that_ends_broken(void)
{
    struct bench bench;
    struct outcome end = {0};
    begin(&bench);
    run_step(&bench, 0);
    run_step(&bench, 1);
    CU_ASSERT(!exchange_is_over(bench.exchange, &end));
    close_bench(&bench);
    begin(&bench);
    run_step(&bench, 0);
    for (uint32_t block = 0; block < BLOCKS; block++)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(&bench, 1, lane, block, 1.0f);
    for (uint32_t lane = 2; lane < 4; lane++)
        lane_done(&bench, MSG_LANE_DONE, lane);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 2, block == 1 ? NAN : 0.0f);
    CU_ASSERT(exchange_is_over(bench.exchange, &end));
    CU_ASSERT_PTR_NOT_NULL(strstr(end.text, "tensor \"w\" has a weight that is not a finite"));
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 0);
    close_bench(&bench);
}

static void test_exchange_tells_why_its_compute_gave_up(void)
{
    struct bench bench;
    struct outcome end = {0};
    struct message bye = {.kind = MSG_BYE};
    begin(&bench);
    bye.outcome.code = ERR_IO;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "row 7 cannot be read");
    hear(&bench, compute, &bye);
    CU_ASSERT_EQUAL(count(&bench, MSG_BYE), 1);
    CU_ASSERT(exchange_is_over(bench.exchange, &end) && end.code == ERR_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(end.text, "row 7"));
    close_bench(&bench);
}

static void test_exchange_asked_to_stop_works_until_the_job_ends(void)
{
    struct bench bench;
    struct outcome end = {0};
    begin(&bench);
    outbox_clear(&bench.out);
    exchange_stop(bench.exchange, &bench.out);
    exchange_stop(bench.exchange, &bench.out);
    CU_ASSERT_EQUAL(bench.out.count, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_BYE), 1);
    CU_ASSERT_EQUAL(bench.out.items[0].msg.outcome.code, ERR_STOPPED);
    CU_ASSERT(!exchange_is_over(bench.exchange, &end));
    leaf(&bench, 0, 3, 2, 1.0f);
    leaf(&bench, 0, 2, 2, 2.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 1);
    close_bench(&bench);
}

static void push_all(struct bench *bench, uint64_t step)
{
    for (uint32_t block = BLOCKS; block-- > 0;)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(bench, step, lane, block, (float)block);
}

static void test_exchange_pushes_again_what_a_new_primary_has_not_had(void)
{
    struct bench bench;
    begin(&bench);
    push_all(&bench, 0);
    weights(&bench, 2, 1, 0.25f);
    show(&bench, &(struct picture){
                     .number = 2, .lane_worker = {0, 0, 1, 1}, .block_shard = {0, 1, 1}});
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PUSH), 1); /* 0 stays where it is, 2 is answered */
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){0, 1, 2, 4, CODEC_F32}));
    CU_ASSERT_EQUAL(nth(&bench, MSG_PUSH, 0)->to.id, 71);
    CU_ASSERT_EQUAL(((float *)nth(&bench, MSG_PUSH, 0)->msg.payload->data)[0], 2.0f);
    CU_ASSERT_EQUAL(bench.out.count, 1);
    lane_done(&bench, MSG_LANE_DONE, 2);
    lane_done(&bench, MSG_LANE_DONE, 3);
    weights(&bench, 0, 1, 0.25f);
    weights(&bench, 1, 1, 0.25f); /* the old primary */
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    weights_from(&bench, (struct address){PARTY_SHARD, 71}, 1, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 2);
    close_bench(&bench);
}

static void test_exchange_pulls_again_from_a_new_primary(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench);
    weights(&bench, 2, 0, 0.5f);
    show(&bench, &(struct picture){
                     .number = 2, .lane_worker = {0, 0, 1, 1}, .block_shard = {0, 1, 1}});
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PULL), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PULL, 0)->to.id, 71);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PULL, 0)->msg.key.block, 1);
    close_bench(&bench);
}

static void test_exchange_waits_for_a_block_that_has_no_primary(void)
{
    struct bench bench;
    begin(&bench);
    show(&bench, &(struct picture){
                     .number = 2, .lane_worker = {0, 0, 1, 1}, .block_shard = {0, 0, NOBODY}});
    push_all(&bench, 0);
    tick(&bench, 6000);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 2);
    show(&bench, &(struct picture){
                     .number = 3, .lane_worker = {0, 0, 1, 1}, .block_shard = {0, 0, 1}});
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PUSH), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PUSH, 0)->to.id, 71);
    close_bench(&bench);
}

static void test_exchange_sends_again_what_a_shard_lacks(void)
{
    struct bench bench;
    begin(&bench);
    push_all(&bench, 0);
    lack(&bench, (struct block_key){0, 1, 3, 4, CODEC_F32});
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PUSH), 1);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){0, 1, 2, 4, CODEC_F32}));
    lack(&bench, (struct block_key){0, 1, 0, 2, CODEC_F32});
    CU_ASSERT_EQUAL(bench.out.count, 0); /* somebody else's lanes */
    lack(&bench, (struct block_key){1, 1, 2, 4, CODEC_F32});
    CU_ASSERT_EQUAL(bench.out.count, 0); /* another step */
    weights(&bench, 1, 1, 0.5f);
    lack(&bench, (struct block_key){0, 1, 2, 4, CODEC_F32});
    CU_ASSERT_EQUAL(bench.out.count, 0); /* answered since */
    close_bench(&bench);
}

static void test_exchange_asks_again_and_less_often_while_nothing_comes(void)
{
    struct bench bench;
    begin(&bench);
    leaf(&bench, 0, 2, 2, 1.0f);
    leaf(&bench, 0, 3, 2, 1.0f);
    tick(&bench, 399);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    tick(&bench, 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PULL), 1); /* what was pushed, and that only */
    CU_ASSERT(is_key(nth(&bench, MSG_PULL, 0), (struct block_key){.step = 1, .block = 2}));
    tick(&bench, 799);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    tick(&bench, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 1);
    lack(&bench, (struct block_key){0, 2, 0, 2, CODEC_F32});
    tick(&bench, 1599);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0); /* others are late, that is all */
    tick(&bench, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 1);
    lack(&bench, (struct block_key){0, 2, 2, 3, CODEC_F32});
    tick(&bench, 400);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 1); /* something had got lost */
    close_bench(&bench);
}

static void test_exchange_judges_by_the_answers_it_has_seen(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.step_count = 9;
    send_view(&bench);
    for (uint64_t version = 0; version < 3; version++) {
        for (uint32_t block = 0; block < BLOCKS; block++)
            weights(&bench, block, version, 0.5f);
        push_all(&bench, version);
        lane_done(&bench, MSG_LANE_DONE, 2);
        lane_done(&bench, MSG_LANE_DONE, 3);
        bench.now_ms += 300;
    }
    tick(&bench, 0); /* 300 ms, as ever: not late yet, but now */
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), BLOCKS);
    tick(&bench, 599);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    weights(&bench, 0, 3, 0.5f);
    tick(&bench, 301);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 2); /* an answer makes it hopeful again */
    close_bench(&bench);
}

/* One whole step whose answers take so long, asked for once in between or not. */
static void pass_step(struct bench *bench, uint64_t version, uint64_t answer_ms)
{
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(bench, block, version, 0.5f);
    push_all(bench, version);
    lane_done(bench, MSG_LANE_DONE, 2);
    lane_done(bench, MSG_LANE_DONE, 3);
    if (answer_ms > 300)
        tick(bench, 310); /* asks again */
    bench->now_ms += answer_ms > 300 ? answer_ms - 310 : answer_ms;
}

static void test_exchange_learns_nothing_from_answers_that_it_asked_for_again(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.step_count = 99;
    bench.settings.job.eval_every = 99;
    send_view(&bench);
    uint64_t version = 0;
    for (; version < 3; version++)
        pass_step(&bench, version, 300);
    for (; version < 7; version++)
        pass_step(&bench, version, 1900);
    pass_step(&bench, version, 0);
    tick(&bench, 299);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    tick(&bench, 1); /* as if there had been none of those */
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), BLOCKS);
    close_bench(&bench);
}

static void test_exchange_pushes_added_lanes_as_leaves(void)
{
    struct bench bench;
    begin(&bench);
    show(&bench, &(struct picture){.number = 2, .lane_worker = {1, 1, 1, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(bench.out.count, 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.lane, 0);
    leaf(&bench, 0, 1, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){0, 2, 1, 2, CODEC_F32}));
    leaf(&bench, 0, 0, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){0, 2, 0, 1, CODEC_F32}));
    leaf(&bench, 0, 2, 2, 1.0f);
    leaf(&bench, 0, 3, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){0, 2, 2, 4, CODEC_F32}));
    show(&bench, &(struct picture){.number = 3, .lane_worker = {0, 0, 1, 1}});
    show(&bench, &(struct picture){.number = 4, .lane_worker = {1, 1, 1, 1}});
    CU_ASSERT_EQUAL(bench.out.count, 0); /* they are in work already */
    push_all(&bench, 0);
    for (uint32_t lane = 0; lane < LANES; lane++)
        lane_done(&bench, MSG_LANE_DONE, lane);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 1, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 4);
    for (uint32_t lane = 0; lane < LANES; lane++)
        leaf(&bench, 1, lane, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){1, 2, 0, 4, CODEC_F32}));
    close_bench(&bench);
}

static void test_exchange_takes_lost_lanes_back_when_others_did_them(void)
{
    struct bench bench;
    begin(&bench);
    lane_done(&bench, MSG_LANE_DONE, 3);
    show(&bench, &(struct picture){.number = 2, .lane_worker = {0, 0, 0, 1}});
    CU_ASSERT_EQUAL(bench.out.count, 0);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 1, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    dropped(&bench, 2);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step, 1);
    leaf(&bench, 1, 3, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){1, 2, 3, 4, CODEC_F32}));
    close_bench(&bench);
}

static void test_exchange_takes_lost_lanes_back_once(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.settings.job.eval_every = 1;
    send_view(&bench);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 1, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_LANE), 2);
    show(&bench, &(struct picture){.number = 2, .lane_worker = {0, 0, 0, 1}});
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 2, 0.5f);
    lane_done(&bench, MSG_EVAL_DONE, 2);
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 0); /* an evaluation might come back with it */
    lane_done(&bench, MSG_EVAL_DONE, 3);
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    dropped(&bench, 3); /* lane 2 is in work already */
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 1);
    CU_ASSERT_EQUAL(bench.out.count, 1);
    lane_done(&bench, MSG_LANE_DONE, 2);
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 0);
    lane_done(&bench, MSG_LANE_DONE, 3);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_EVAL_LANE), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_EVAL_LANE, 0)->msg.task.step, 2);
    close_bench(&bench);
}

static void test_exchange_catches_up_when_it_is_behind(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.step_count = 9;
    bench.settings.job.eval_every = 4;
    show(&bench, &(struct picture){.number = 1, .lane_worker = {0, 0, 1, 1}});
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 4, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_LANE), 2);
    leaf(&bench, 4, 2, 2, 1.0f);
    leaf(&bench, 4, 3, 2, 1.0f);
    weights(&bench, 2, 5, 0.5f);
    weights(&bench, 1, 7, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PULL, 0)->msg.key.step, 7);
    leaf(&bench, 4, 2, 0, 1.0f);
    leaf(&bench, 4, 3, 0, 1.0f);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* of no use any more */
    dropped(&bench, 2);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    dropped(&bench, 3);
    dropped(&bench, 3); /* its evaluation, which nobody else does */
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_LANE), 1);
    weights(&bench, 0, 7, 0.5f);
    weights(&bench, 2, 7, 0.5f);
    lane_done(&bench, MSG_EVAL_DONE, 2);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    lane_done(&bench, MSG_EVAL_DONE, 3);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step, 7);
    close_bench(&bench);
}

static void test_exchange_joins_when_all_blocks_have_one_version(void)
{
    struct bench bench;
    open_bench(&bench);
    bench.step_count = 9;
    send_view(&bench);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PULL, 0)->msg.key.step, 0);
    weights(&bench, 0, 3, 0.25f);
    weights(&bench, 1, 4, 0.5f);
    CU_ASSERT(is_key(nth(&bench, MSG_PULL, 0), (struct block_key){.step = 4, .block = 0}));
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 1);
    weights(&bench, 2, 3, 0.25f);
    CU_ASSERT(is_key(nth(&bench, MSG_PULL, 0), (struct block_key){.step = 4, .block = 2}));
    tick(&bench, 500);
    CU_ASSERT_EQUAL(nth(&bench, MSG_BEAT, 0)->msg.beat.step, 4); /* nothing of 3 will come */
    CU_ASSERT(nth(&bench, MSG_BEAT, 0)->msg.beat.sent_ms == bench.now_ms);
    weights(&bench, 0, 4, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    weights(&bench, 2, 4, 0.5f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    const struct lane_task *task = &nth(&bench, MSG_TRAIN_LANE, 0)->msg.task;
    CU_ASSERT_EQUAL(task->step, 4);
    for (size_t i = 0; i < ELEMENTS * BLOCKS; i++)
        CU_ASSERT_EQUAL(task->weights[i], 0.5f);
    close_bench(&bench);
}

static void test_exchange_goes_back_with_a_new_era(void)
{
    struct bench bench;
    begin(&bench);
    run_step(&bench, 0);
    push_all(&bench, 1);
    weights(&bench, 2, 2, 0.25f);
    show(&bench, &(struct picture){.number = 2, .era = 1, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PULL), BLOCKS);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PULL, 0)->msg.key.step, 0);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PULL, 0)->msg.era, 1);
    bench.era = 0;
    weights(&bench, 0, 2, 0.25f);
    bench.era = 1;
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 0, 0.5f);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    leaf(&bench, 1, 3, 2, 1.0f);
    lane_done(&bench, MSG_LANE_DONE, 3);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* its step has not been */
    dropped(&bench, 2);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step, 0);
    run_step(&bench, 0);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 2);
    close_bench(&bench);
}

static void collect(struct bench *bench, uint64_t step, uint64_t sent_ms)
{
    struct message msg = {.kind = MSG_BEAT, .run = job_run};
    msg.beat.step = step;
    msg.beat.sent_ms = sent_ms;
    hear(bench, coordinator, &msg);
}

static void test_exchange_tells_results_again_that_may_be_lost(void)
{
    struct bench bench;
    begin(&bench);
    lane_done(&bench, MSG_LANE_DONE, 2);
    bench.now_ms += 999;
    collect(&bench, 0, 1);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    bench.now_ms += 1;
    collect(&bench, 1, 1); /* it has those of step 0 */
    collect(&bench, 0, 0); /* only asks whether anybody is there */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    collect(&bench, 0, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_LANE_DONE), 1);
    collect(&bench, 0, 1);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    show(&bench, &(struct picture){.number = 2, .era = 1, .lane_worker = {0, 0, 1, 1}});
    bench.now_ms += 1000;
    collect(&bench, 0, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_LANE_DONE), 0); /* step 0 has not been */
    close_bench(&bench);
}

static void test_exchange_keeps_results_of_before_a_new_era(void)
{
    struct bench bench;
    begin(&bench);
    run_step(&bench, 0);
    show(&bench, &(struct picture){
                     .number = 2, .era = 1, .start_step = 1, .lane_worker = {0, 0, 1, 1}});
    bench.now_ms += 1000;
    collect(&bench, 0, 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_LANE_DONE), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_LANE_DONE, 0)->msg.era, 1);
    close_bench(&bench);
}

static void test_exchange_tells_every_shard_of_a_void_lane(void)
{
    struct bench bench;
    struct message msg = {.kind = MSG_LEAF_VOID, .key = {.lane_begin = 2, .lane_end = 3}};
    begin(&bench);
    hear(&bench, compute, &msg);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_VOID), BLOCKS);
    CU_ASSERT(is_key(nth(&bench, MSG_VOID, 1), (struct block_key){0, 1, 2, 3, CODEC_F32}));
    leaf(&bench, 0, 3, 1, 1.0f);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 0);
    tick(&bench, 1000);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), BLOCKS);
    lack(&bench, (struct block_key){0, 1, 0, 4, CODEC_F32});
    CU_ASSERT_EQUAL(count(&bench, MSG_VOID), 1);
    show(&bench, &(struct picture){
                     .number = 2, .lane_worker = {0, 0, 1, 1}, .block_shard = {0, 0, 1}});
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_VOID), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_VOID, 0)->to.id, 71);
    show(&bench, &(struct picture){
                     .number = 3, .lane_worker = {0, 0, 1, 1}, .block_shard = {0, 0, NOBODY}});
    CU_ASSERT_EQUAL(bench.out.count, 0);
    show(&bench, &(struct picture){.number = 4, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_VOID), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_VOID, 0)->to.id, 70);
    close_bench(&bench);
}

static void begin_clocks(struct bench *bench)
{
    open_bench_of(bench, CONSISTENCY_SSP);
    bench->step_count = 9;
    send_view(bench);
    weights(bench, 0, 3, 0.5f);
    weights(bench, 1, 2, 0.5f);
    weights(bench, 2, 4, 0.5f);
}

static void test_exchange_with_clocks_pushes_leaves(void)
{
    struct bench bench;
    begin_clocks(&bench);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step, 2); /* the slowest */
    leaf(&bench, 2, 3, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){2, 2, 3, 4, CODEC_F32}));
    weights(&bench, 2, 3, 0.5f); /* before lane 2 was counted */
    leaf(&bench, 2, 2, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){2, 2, 2, 3, CODEC_F32}));
    for (uint32_t block = 0; block < 2; block++)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(&bench, 2, lane, block, 1.0f);
    lane_done(&bench, MSG_LANE_DONE, 2);
    lane_done(&bench, MSG_LANE_DONE, 3);
    weights(&bench, 0, 3, 0.5f);
    weights(&bench, 1, 3, 0.5f);
    weights(&bench, 2, 4, 0.5f); /* another clock's */
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    weights(&bench, 2, 3, 0.5f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step, 3);
    close_bench(&bench);
}

static void test_exchange_with_clocks_begins_at_the_slowest_when_lanes_come(void)
{
    struct bench bench;
    begin_clocks(&bench);
    show(&bench, &(struct picture){.number = 2, .lane_worker = {1, 0, 1, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PULL), BLOCKS);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PULL, 0)->msg.key.step, 0);
    dropped(&bench, 2);
    dropped(&bench, 3);
    weights(&bench, 0, 2, 0.5f);
    weights(&bench, 1, 1, 0.5f);
    weights(&bench, 2, 2, 0.5f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 3);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step, 1);
    lack(&bench, (struct block_key){0, 1, 1, 2, CODEC_F32}); /* not its lane */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    lack(&bench, (struct block_key){0, 1, 0, 1, CODEC_F32});
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), BLOCKS); /* lane 0 is further behind */
    close_bench(&bench);
}

static void test_exchange_asked_to_stop_says_so_until_it_is_let_go(void)
{
    struct bench bench;
    struct outcome end = {0};
    struct message go = {.kind = MSG_FINISH, .run = job_run};
    begin(&bench);
    exchange_stop(bench.exchange, &bench.out);
    tick(&bench, 999);
    CU_ASSERT_EQUAL(count(&bench, MSG_BYE), 0);
    tick(&bench, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_BYE), 1);
    tick(&bench, 50);
    CU_ASSERT_EQUAL(count(&bench, MSG_BYE), 0);
    hear(&bench, coordinator, &go);
    CU_ASSERT(exchange_is_over(bench.exchange, &end) && end.code == 0);
    close_bench(&bench);
}

static void stand_by_at_version_1(struct bench *bench)
{
    open_bench(bench);
    bench->step_count = 9;
    send_view(bench);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(bench, block, 0, 0.5f);
    show(bench, &(struct picture){.number = 2, .lane_worker = {0, 0, 0, 0}});
    run_step(bench, 0);
    CU_ASSERT_EQUAL(bench->out.count, 0);
    tick(bench, 6000);
    CU_ASSERT_EQUAL(count(bench, MSG_PULL), 0);
    show(bench, &(struct picture){.number = 3, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT_EQUAL_FATAL(count(bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(nth(bench, MSG_TRAIN_LANE, 0)->msg.task.step, 1);
    CU_ASSERT_EQUAL_FATAL(count(bench, MSG_PULL), BLOCKS);
    CU_ASSERT_EQUAL(nth(bench, MSG_PULL, 0)->msg.key.step, 2);
}

static void test_exchange_standing_by_goes_on_at_its_own_version(void)
{
    struct bench bench;
    stand_by_at_version_1(&bench);
    leaf(&bench, 1, 2, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){1, 2, 2, 3, CODEC_F32}));
    run_step(&bench, 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step, 2);
    close_bench(&bench);
}

static void test_exchange_standing_by_catches_up_with_a_later_version(void)
{
    struct bench bench;
    stand_by_at_version_1(&bench);
    weights(&bench, 0, 6, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    dropped(&bench, 2);
    dropped(&bench, 3);
    weights(&bench, 1, 6, 0.5f);
    weights(&bench, 2, 5, 0.5f);
    CU_ASSERT(is_key(nth(&bench, MSG_PULL, 0), (struct block_key){.step = 6, .block = 2}));
    weights(&bench, 2, 6, 0.5f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step, 6);
    close_bench(&bench);
}

static void test_exchange_reports_the_digest_until_it_is_let_go(void)
{
    struct bench bench;
    begin(&bench);
    run_step(&bench, 0);
    run_step(&bench, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 1);
    tick(&bench, 999);
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 0);
    tick(&bench, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 1);
    show(&bench, &(struct picture){.number = 2, .lane_worker = {0, 0, 0, 0}});
    tick(&bench, 1000);
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 0);
    show(&bench, &(struct picture){.number = 3, .lane_worker = {0, 1, 0, 0}});
    CU_ASSERT_EQUAL(count(&bench, MSG_WEIGHTS_DIGEST), 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_EVAL_LANE), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_EVAL_LANE, 0)->msg.task.lane, 1);
    close_bench(&bench);
}

static void test_exchange_greets_again_when_it_is_asked_who_it_is(void)
{
    struct bench bench;
    struct message who = {.kind = MSG_WHO, .run = job_run};
    begin(&bench);
    bench.now_ms += 200;
    hear(&bench, coordinator, &who);
    CU_ASSERT_EQUAL(count(&bench, MSG_HELLO), 1);
    hear(&bench, coordinator, &who);
    CU_ASSERT_EQUAL(count(&bench, MSG_HELLO), 0);
    close_bench(&bench);
}

static void test_exchange_takes_no_older_view_and_none_of_another_run(void)
{
    struct bench bench;
    begin(&bench);
    show(&bench, &(struct picture){.number = 1, .lane_worker = {1, 1, 1, 1}});
    CU_ASSERT_EQUAL(bench.out.count, 0);
    struct message view = {.kind = MSG_VIEW, .run = {8, 9}, .view_body = {.number = 7}};
    hear(&bench, coordinator, &view);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    close_bench(&bench);
}

static void test_exchange_exceeds_its_credit_rather_than_wait_in_a_circle(void)
{
    struct bench bench;
    begin(&bench);
    bench.settings.exchange.credit_bytes = ELEMENTS * sizeof(float);
    push_all(&bench, 0);
    tick(&bench, 5000);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 0);
    show(&bench, &(struct picture){
                     .number = 2, .lane_worker = {0, 0, 1, 1}, .block_shard = {1, 1, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PUSH, 0)->msg.key.block, 2);
    tick(&bench, 200);
    CU_ASSERT_EQUAL(count(&bench, MSG_PUSH), 0);
    tick(&bench, 200);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PUSH), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_PUSH, 0)->msg.key.block, 1);
    close_bench(&bench);
}

static void begin_early(struct bench *bench, uint64_t step_count)
{
    open_bench(bench);
    bench->settings.exchange.overlap = true;
    bench->settings.job.eval_every = 100;
    bench->step_count = step_count;
    send_view(bench);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(bench, block, 0, 0.5f);
}

/* Both lanes of a step are computed and pushed; what follows is in the outbox. */
static void compute_step(struct bench *bench, uint64_t step)
{
    for (uint32_t block = BLOCKS; block-- > 0;)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(bench, step, lane, block, 1.0f);
    for (uint32_t lane = 2; lane < 4; lane++)
        lane_done(bench, MSG_LANE_DONE, lane);
}

static void given_up(struct bench *bench, uint32_t lane, uint64_t hand)
{
    struct message msg = {.kind = MSG_LANE_DROPPED};
    msg.task.lane = lane;
    msg.task.hand = hand;
    hear(bench, compute, &msg);
}

/* The n-th MSG_BLOCK_HERE is of that block and hand. */
static bool is_here(const struct bench *bench, size_t n, uint32_t block, uint64_t hand)
{
    const struct message *msg = &nth(bench, MSG_BLOCK_HERE, n)->msg;
    return msg->here.block == block && msg->here.hand == hand;
}

static void test_exchange_deals_the_next_step_while_its_weights_come_in(void)
{
    struct bench bench;
    begin_early(&bench, 9);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.hand, 0);
    for (uint32_t block = BLOCKS; block-- > 0;)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(&bench, 0, lane, block, 1.0f);
    lane_done(&bench, MSG_LANE_DONE, 2);
    weights(&bench, 2, 1, 0.25f); /* before its own lanes are computed */
    CU_ASSERT_EQUAL(bench.out.count, 0);
    lane_done(&bench, MSG_LANE_DONE, 3);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    const struct lane_task *task = &nth(&bench, MSG_TRAIN_LANE, 0)->msg.task;
    const float *next = task->weights;
    CU_ASSERT(task->step == 1 && task->lane == 2 && task->hand == 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_BLOCK_HERE), 1);
    CU_ASSERT(is_here(&bench, 0, 2, 1));
    weights(&bench, 0, 1, 0.25f);
    CU_ASSERT_EQUAL_FATAL(bench.out.count, 1);
    CU_ASSERT(is_here(&bench, 0, 0, 1) && next[0] == 0.25f);
    weights(&bench, 0, 1, 9.0f); /* twice */
    CU_ASSERT(bench.out.count == 0 && next[0] == 0.25f);
    weights(&bench, 1, 1, 0.25f);
    CU_ASSERT_EQUAL(bench.out.count, 1); /* the lanes are dealt already */
    CU_ASSERT(is_here(&bench, 0, 1, 1));
    leaf(&bench, 1, 2, 2, 1.0f);
    leaf(&bench, 1, 3, 2, 1.0f);
    CU_ASSERT(is_key(nth(&bench, MSG_PUSH, 0), (struct block_key){1, 2, 2, 4, CODEC_F32}));
    close_bench(&bench);
}

static void test_exchange_deals_nothing_early_where_that_is_not_to_be(void)
{
    struct bench bench;
    begin_early(&bench, 1); /* there is no next step */
    compute_step(&bench, 0);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    close_bench(&bench);
    begin_early(&bench, 9);
    bench.settings.job.eval_every = 1; /* its weights are tried first */
    compute_step(&bench, 0);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 1, 0.25f);
    CU_ASSERT_EQUAL(count(&bench, MSG_EVAL_LANE), 2);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.hand, 0);
    close_bench(&bench);
    begin_early(&bench, 9);
    bench.settings.exchange.overlap = false;
    compute_step(&bench, 0);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    close_bench(&bench);
}

static void test_exchange_calls_early_lanes_off_for_one_of_the_step_in_work(void)
{
    struct bench bench;
    begin_early(&bench, 9);
    compute_step(&bench, 0);
    weights(&bench, 0, 1, 0.25f);
    show(&bench, &(struct picture){.number = 2, .lane_worker = {0, 1, 1, 1}});
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_DROP_LANES), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_DROP_LANES, 0)->msg.here.hand, 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 1);
    CU_ASSERT(nth(&bench, MSG_DROP_LANES, 0) < nth(&bench, MSG_TRAIN_LANE, 0));
    const struct lane_task *task = &nth(&bench, MSG_TRAIN_LANE, 0)->msg.task;
    CU_ASSERT(task->step == 0 && task->lane == 1 && task->hand == 0 && task->weights[0] == 0.5f);
    weights(&bench, 1, 1, 0.25f);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* nobody is told */
    given_up(&bench, 2, 1);
    lane_done(&bench, MSG_LANE_DONE, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0); /* not while one is to be answered */
    given_up(&bench, 3, 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 3);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 2)->msg.task.hand, 2);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_BLOCK_HERE), 2);
    CU_ASSERT(is_here(&bench, 0, 0, 2) && is_here(&bench, 1, 1, 2));
    close_bench(&bench);
}

static void test_exchange_calls_early_lanes_off_when_it_loses_one(void)
{
    struct bench bench;
    begin_early(&bench, 9);
    compute_step(&bench, 0);
    show(&bench, &(struct picture){.number = 2, .lane_worker = {0, 0, 0, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 1, 0.25f);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    given_up(&bench, 2, 1);
    given_up(&bench, 3, 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 1);
    CU_ASSERT_EQUAL(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.lane, 3);
    close_bench(&bench);
    begin_early(&bench, 9);
    compute_step(&bench, 0);
    show(&bench, &(struct picture){.number = 2, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT_EQUAL(bench.out.count, 0); /* the same lanes */
    close_bench(&bench);
}

static void test_exchange_writes_no_block_that_an_early_lane_may_read(void)
{
    struct bench bench;
    begin_early(&bench, 9);
    compute_step(&bench, 0);
    const float *next = nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.weights;
    weights(&bench, 0, 1, 0.25f);
    weights(&bench, 0, 3, 0.75f); /* it is behind */
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 1); /* the others' pushes will be answered */
    CU_ASSERT_EQUAL(next[0], 0.25f);
    weights(&bench, 1, 3, 0.75f); /* nobody was told of this one */
    CU_ASSERT_EQUAL(next[ELEMENTS], 0.75f);
    weights(&bench, 0, 3, 0.75f);
    CU_ASSERT_EQUAL(next[0], 0.25f);
    given_up(&bench, 2, 1);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    given_up(&bench, 3, 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_PULL), 1);
    CU_ASSERT(is_key(nth(&bench, MSG_PULL, 0), (struct block_key){.step = 3, .block = 0}));
    weights(&bench, 0, 3, 0.75f);
    CU_ASSERT_EQUAL(next[0], 0.75f);
    weights(&bench, 2, 3, 0.75f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step == 3 &&
              nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.hand == 0);
    close_bench(&bench);
}

static void test_exchange_gives_early_lanes_up_with_a_new_era(void)
{
    struct bench bench;
    begin_early(&bench, 9);
    compute_step(&bench, 0);
    const float *next = nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.weights;
    weights(&bench, 0, 1, 0.25f);
    show(&bench, &(struct picture){.number = 2, .era = 1, .lane_worker = {0, 0, 1, 1}});
    CU_ASSERT_EQUAL(count(&bench, MSG_DROP_LANES), 1);
    weights(&bench, 0, 0, 0.5f);
    CU_ASSERT_EQUAL(next[0], 0.25f);
    weights(&bench, 1, 0, 0.5f);
    given_up(&bench, 2, 1);
    given_up(&bench, 3, 1);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 1);
    weights(&bench, 2, 0, 0.5f);
    CU_ASSERT_EQUAL(count(&bench, MSG_TRAIN_LANE), 0);
    weights(&bench, 0, 0, 0.5f);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 2);
    CU_ASSERT(nth(&bench, MSG_TRAIN_LANE, 0)->msg.task.step == 0 && next[0] == 0.5f);
    close_bench(&bench);
}

/* After the last block the hand's tasks are as any others. */
static void test_exchange_deals_lanes_again_that_were_dropped_after_they_were_early(void)
{
    struct bench bench;
    begin_early(&bench, 9);
    compute_step(&bench, 0);
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(&bench, block, 1, 0.25f);
    weights(&bench, 1, 2, 0.25f); /* others were faster */
    given_up(&bench, 2, 1);
    CU_ASSERT_EQUAL_FATAL(count(&bench, MSG_TRAIN_LANE), 1);
    const struct lane_task *task = &nth(&bench, MSG_TRAIN_LANE, 0)->msg.task;
    CU_ASSERT(task->step == 1 && task->lane == 2 && task->hand == 0);
    close_bench(&bench);
}

static struct beat beat_of(struct bench *bench)
{
    tick(bench, 500);
    return nth(bench, MSG_BEAT, 0)->msg.beat;
}

/* A step whose first push is at 0, lanes computed at 10, blocks there at 20, 30 and 40 ms. */
static void time_step(struct bench *bench)
{
    for (uint32_t block = BLOCKS; block-- > 0;)
        for (uint32_t lane = 2; lane < 4; lane++)
            leaf(bench, 0, lane, block, 1.0f);
    bench->now_ms += 10;
    lane_done(bench, MSG_LANE_DONE, 2);
    lane_done(bench, MSG_LANE_DONE, 3);
    for (uint32_t block = 0; block < BLOCKS; block++) {
        bench->now_ms += 10;
        weights(bench, block, 1, 0.25f);
    }
}

static void test_exchange_tells_how_much_of_it_was_hidden_behind_compute(void)
{
    struct bench bench;
    struct message done = {.kind = MSG_LANE_DONE};
    begin_early(&bench, 9);
    bench.settings.exchange.overlap = false;
    time_step(&bench);
    struct beat beat = beat_of(&bench);
    CU_ASSERT(beat.exchange_us == 40000 && beat.exposed_us == 30000);
    close_bench(&bench);
    begin_early(&bench, 9);
    time_step(&bench);
    beat = beat_of(&bench);
    CU_ASSERT(beat.exchange_us == 40000 && beat.exposed_us == 0);
    done.lane = (struct lane_result){.step = 1, .lane = 2, .sample_count = 1, .wait_us = 12000};
    hear(&bench, compute, &done);
    beat = beat_of(&bench);
    CU_ASSERT_EQUAL(beat.exposed_us, 12000);
    done.lane.lane = 3;
    done.lane.wait_us = 90000; /* never more than all of it */
    hear(&bench, compute, &done);
    beat = beat_of(&bench);
    CU_ASSERT_EQUAL(beat.exposed_us, 40000);
    close_bench(&bench);
}

static void test_exchange_tells_how_much_of_compute_waited_for_data(void)
{
    struct bench bench;
    struct message done = {.kind = MSG_LANE_DONE};
    begin_early(&bench, 9);
    done.lane = (struct lane_result){
        .lane = 2, .sample_count = 1, .compute_us = 6000, .data_us = 1000};
    hear(&bench, compute, &done);
    done.lane.lane = 3;
    done.lane.data_us = 500;
    hear(&bench, compute, &done);
    struct beat beat = beat_of(&bench);
    CU_ASSERT(beat.compute_us == 12000 && beat.data_us == 1500);
    close_bench(&bench);
}

#define TESTS(X) \
    X(test_exchange_deals_the_next_step_while_its_weights_come_in) \
    X(test_exchange_deals_nothing_early_where_that_is_not_to_be) \
    X(test_exchange_tells_how_much_of_compute_waited_for_data) \
    X(test_exchange_calls_early_lanes_off_for_one_of_the_step_in_work) \
    X(test_exchange_calls_early_lanes_off_when_it_loses_one) \
    X(test_exchange_writes_no_block_that_an_early_lane_may_read) \
    X(test_exchange_gives_early_lanes_up_with_a_new_era) \
    X(test_exchange_deals_lanes_again_that_were_dropped_after_they_were_early) \
    X(test_exchange_tells_how_much_of_it_was_hidden_behind_compute) \
    X(test_exchange_pulls_and_begins_when_all_weights_are_there) \
    X(test_exchange_asks_anew_when_it_was_spared_a_step_that_is_lost) \
    X(test_exchange_pushes_the_sum_of_its_own_lanes) \
    X(test_exchange_swaps_only_when_no_lane_reads_the_old_weights) \
    X(test_exchange_holds_back_what_exceeds_its_credit) \
    X(test_exchange_pays_for_all_nodes_of_a_block_at_once) \
    X(test_exchange_lets_the_first_layers_overtake_where_steps_begin_early) \
    X(test_exchange_keeps_credit_for_the_block_whose_turn_it_is) \
    X(test_exchange_does_not_ask_again_while_blocks_are_coming) \
    X(test_exchange_gives_up_on_a_view_of_other_data) \
    X(test_exchange_stands_by_without_lanes) \
    X(test_exchange_gives_up_when_a_shard_refuses_it) \
    X(test_exchange_keeps_its_run_when_another_coordinator_welcomes_it) \
    X(test_exchange_drops_a_leaf_of_another_step) \
    X(test_exchange_ends_when_the_coordinator_is_silent) \
    X(test_exchange_takes_weights_of_its_run_version_and_shard_only) \
    X(test_exchange_ends_with_an_evaluation_and_a_digest) \
    X(test_exchange_swaps_only_when_the_evaluation_is_done) \
    X(test_exchange_holds_a_version_until_a_view_lets_it_go_on) \
    X(test_exchange_begins_nothing_early_on_a_version_that_is_held) \
    X(test_exchange_names_the_tensor_that_ends_broken) \
    X(test_exchange_tells_why_its_compute_gave_up) \
    X(test_exchange_asked_to_stop_works_until_the_job_ends) \
    X(test_exchange_pushes_again_what_a_new_primary_has_not_had) \
    X(test_exchange_pulls_again_from_a_new_primary) \
    X(test_exchange_waits_for_a_block_that_has_no_primary) \
    X(test_exchange_sends_again_what_a_shard_lacks) \
    X(test_exchange_asks_again_and_less_often_while_nothing_comes) \
    X(test_exchange_judges_by_the_answers_it_has_seen) \
    X(test_exchange_learns_nothing_from_answers_that_it_asked_for_again) \
    X(test_exchange_pushes_added_lanes_as_leaves) \
    X(test_exchange_takes_lost_lanes_back_when_others_did_them) \
    X(test_exchange_takes_lost_lanes_back_once) \
    X(test_exchange_catches_up_when_it_is_behind) \
    X(test_exchange_joins_when_all_blocks_have_one_version) \
    X(test_exchange_goes_back_with_a_new_era) \
    X(test_exchange_tells_results_again_that_may_be_lost) \
    X(test_exchange_keeps_results_of_before_a_new_era) \
    X(test_exchange_tells_every_shard_of_a_void_lane) \
    X(test_exchange_with_clocks_pushes_leaves) \
    X(test_exchange_with_clocks_begins_at_the_slowest_when_lanes_come) \
    X(test_exchange_asked_to_stop_says_so_until_it_is_let_go) \
    X(test_exchange_standing_by_goes_on_at_its_own_version) \
    X(test_exchange_standing_by_catches_up_with_a_later_version) \
    X(test_exchange_reports_the_digest_until_it_is_let_go) \
    X(test_exchange_greets_again_when_it_is_asked_who_it_is) \
    X(test_exchange_takes_no_older_view_and_none_of_another_run) \
    X(test_exchange_exceeds_its_credit_rather_than_wait_in_a_circle)

UNIT_MAIN("exchange", TESTS)
