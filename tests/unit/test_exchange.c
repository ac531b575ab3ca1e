#include "worker/exchange.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

/* A worker with lanes 2 and 3 of four, three blocks of four weights, all on one shard. */
enum { ELEMENTS = 4, BLOCKS = 3, LANES = 4 };

static const struct run_id job_run = {5, 6};
static const struct address shard = {PARTY_SHARD, 70}, coordinator = {PARTY_COORDINATOR, 0},
                            compute = {PARTY_COMPUTE, 0};

struct bench {
    struct settings settings;
    struct exchange *exchange;
    struct outbox out;
    struct buffer_pool *pool;
    struct layout *layout;
    uint64_t now_ms;
};

static void hear(struct bench *bench, struct address from, const struct message *msg)
{
    outbox_clear(&bench->out);
    exchange_step(bench->exchange, bench->now_ms, from, msg, &bench->out);
}

static void send_view_with(struct bench *bench, const uint32_t *lane_worker,
                           uint64_t train_count, uint64_t test_count)
{
    static const uint32_t block_shard[BLOCKS] = {0, 0, 0};
    static const struct shard_member shards[1] = {{.incarnation = 70, .endpoint = "inproc://s"}};
    static const struct worker_member workers[2] = {{0, 1}, {1, 2}};
    struct message view = {.kind = MSG_VIEW, .run = job_run};
    view.view_body = (struct view){.number = 1, .step_count = 2, .train_count = train_count,
                                   .test_count = test_count, .store_endpoint = "inproc://d",
                                   .shard_count = 1, .worker_count = 2, .block_count = BLOCKS,
                                   .lane_count = LANES, .shards = shards, .workers = workers,
                                   .block_shard = block_shard, .lane_worker = lane_worker};
    hear(bench, coordinator, &view);
}

static void send_view(struct bench *bench)
{
    static const uint32_t lane_worker[LANES] = {0, 0, 1, 1};
    send_view_with(bench, lane_worker, 12, 4);
}

static void open_bench(struct bench *bench)
{
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {ELEMENTS * BLOCKS}};
    *bench = (struct bench){.now_ms = 1000};
    bench->settings.job.lanes = LANES;
    bench->settings.job.batch = 4;
    bench->settings.exchange.credit_bytes = 1 << 20;
    bench->settings.cluster.wait_s = bench->settings.cluster.silence_s = 10;
    bench->settings.cluster.beat_ms = 500;
    CU_ASSERT_EQUAL_FATAL(
        layout_create(&tensor, 1, ELEMENTS * sizeof(float), &bench->layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create(0, &bench->pool), 0);
    struct exchange_spec spec = {.settings = &bench->settings, .incarnation = 2};
    spec.hello.layout = bench->layout;
    spec.hello.train_count = 12;
    spec.hello.test_count = 4;
    CU_ASSERT_EQUAL_FATAL(exchange_create(&spec, &bench->exchange), 0);
    hear(bench, (struct address){0}, NULL);
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
    static const uint32_t lane_worker[LANES] = {0, 1, 1, 1}; /* nodes (1,2) and (2,4) */
    struct bench bench;
    open_bench(&bench);
    bench.settings.exchange.credit_bytes = 3 * ELEMENTS * sizeof(float);
    send_view_with(&bench, lane_worker, 12, 4);
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

static void test_exchange_does_not_ask_again_while_blocks_are_coming(void)
{
    struct bench bench;
    open_bench(&bench);
    send_view(&bench);
    bench.now_ms += 900;
    weights(&bench, 0, 0, 0.5f);
    bench.now_ms += 900;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    bench.now_ms += 101;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 2);
    close_bench(&bench);
}

static void test_exchange_gives_up_on_a_view_of_other_data(void)
{
    static const uint32_t lane_worker[LANES] = {0, 0, 1, 1};
    static const uint64_t counts[][2] = {{12, 5}, {11, 4}};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct bench bench;
        struct outcome end = {0};
        open_bench(&bench);
        send_view_with(&bench, lane_worker, counts[i][0], counts[i][1]);
        CU_ASSERT_EQUAL(count(&bench, MSG_BYE), 1);
        CU_ASSERT(exchange_is_over(bench.exchange, &end) && end.code == ERR_PROTO);
        close_bench(&bench);
    }
}

static void test_exchange_stands_by_without_lanes(void)
{
    static const uint32_t lane_worker[LANES] = {0, 0, 0, 0};
    struct bench bench;
    open_bench(&bench);
    send_view_with(&bench, lane_worker, 12, 4);
    CU_ASSERT_EQUAL(bench.out.count, 0);
    bench.now_ms += 1001;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(count(&bench, MSG_PULL), 0);
    CU_ASSERT_EQUAL(count(&bench, MSG_BEAT), 1);
    close_bench(&bench);
}

static void test_exchange_gives_up_when_a_shard_refuses_it(void)
{
    struct bench bench;
    struct outcome end = {0};
    struct message no = {.kind = MSG_REFUSED, .run = job_run};
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
    CU_ASSERT_PTR_NOT_NULL(strstr(end.text, "silence_s"));
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
    msg.key.step = 1;
    hear(&bench, shard, &msg); /* another version */
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

#define TESTS(X)                                                       \
    X(test_exchange_asked_to_stop_works_until_the_job_ends) \
    X(test_exchange_pulls_and_begins_when_all_weights_are_there)       \
    X(test_exchange_pushes_the_sum_of_its_own_lanes)                   \
    X(test_exchange_swaps_only_when_no_lane_reads_the_old_weights)     \
    X(test_exchange_holds_back_what_exceeds_its_credit)                \
    X(test_exchange_pays_for_all_nodes_of_a_block_at_once) \
    X(test_exchange_does_not_ask_again_while_blocks_are_coming) \
    X(test_exchange_gives_up_on_a_view_of_other_data) \
    X(test_exchange_takes_weights_of_its_run_version_and_shard_only) \
    X(test_exchange_stands_by_without_lanes) \
    X(test_exchange_gives_up_when_a_shard_refuses_it) \
    X(test_exchange_keeps_its_run_when_another_coordinator_welcomes_it) \
    X(test_exchange_drops_a_leaf_of_another_step) \
    X(test_exchange_ends_when_the_coordinator_is_silent) \
    X(test_exchange_swaps_only_when_the_evaluation_is_done) \
    X(test_exchange_ends_with_an_evaluation_and_a_digest)              \
    X(test_exchange_names_the_tensor_that_ends_broken) \
    X(test_exchange_tells_why_its_compute_gave_up)

UNIT_MAIN("exchange", TESTS)
