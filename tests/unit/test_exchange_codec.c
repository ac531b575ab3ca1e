/* A worker whose job rounds what it pushes, or pushes the largest alone. */
#include <string.h>
#include "common/codec.h"
#include "tests/unit/unit.h"
#include "worker/exchange.h"

#define TESTS(X) \
    X(test_exchange_codec_pushes_a_rounded_sum_encoded) \
    X(test_exchange_codec_takes_weights_of_its_job_or_whole_ones) \
    X(test_exchange_codec_counts_credit_as_it_is_on_the_wire) \
    X(test_exchange_codec_sparse_pushes_the_largest) \
    X(test_exchange_codec_sparse_adds_changes_to_the_version_before) \
    X(test_exchange_codec_sparse_asks_for_all_without_the_version_before) \
    X(test_exchange_codec_sparse_does_not_take_an_index_past_the_end) \
    X(test_exchange_codec_sparse_forgets_in_a_new_era) \
    X(test_exchange_codec_sends_running_means_as_they_are) \
    X(test_exchange_codec_sends_nothing_of_what_is_frozen) \
    X(test_exchange_codec_asks_for_what_is_frozen_once)

/* A worker with both lanes, two blocks of 256 weights on one shard. */
enum { ELEMENTS = 256, BLOCKS = 2, LANES = 2, PAIRS = 3 };

static const struct run_id job_run = {5, 6};
static const struct address shard = {PARTY_SHARD, 70}, coordinator = {PARTY_COORDINATOR, 0},
                            compute = {PARTY_COMPUTE, 0};

struct bench {
    struct settings settings;
    struct exchange *exchange;
    struct outbox out;
    struct buffer_pool *pool;
    struct layout *layout;
    enum tensor_update update; /* of the only tensor */
    uint64_t now_ms;
    uint32_t number, era;
};

static void hear(struct bench *bench, struct address from, const struct message *msg)
{
    outbox_clear(&bench->out);
    exchange_step(bench->exchange, bench->now_ms, from, msg, &bench->out);
}

static void send_view(struct bench *bench, uint64_t start_step)
{
    static const struct shard_member shards[] = {{.incarnation = 70, .endpoint = "inproc://s"}};
    static const struct worker_member workers[] = {{0, 2, ""}};
    static const uint32_t lane_worker[LANES] = {0}, block_shard[BLOCKS] = {0};
    struct message view = {.kind = MSG_VIEW, .run = job_run, .era = bench->era};
    view.view_body = (struct view){.number = ++bench->number,
                                   .era = bench->era,
                                   .start_step = start_step,
                                   .step_count = 5,
                                   .train_count = 12,
                                   .store_endpoint = "inproc://d",
                                   .shard_count = 1,
                                   .worker_count = 1,
                                   .block_count = BLOCKS,
                                   .lane_count = LANES,
                                   .shards = shards,
                                   .workers = workers,
                                   .block_shard = block_shard,
                                   .lane_worker = lane_worker};
    hear(bench, coordinator, &view);
}

/* settings that a test has put in stay. */
static void open_bench(struct bench *bench, enum codec_kind codec)
{
    struct tensor_spec tensor = {.name = "w", .dims = 2, .shape = {BLOCKS, ELEMENTS},
                                 .update = bench->update};
    bench->now_ms = 1000;
    bench->settings.exchange.codec = codec;
    bench->settings.exchange.topk_fraction = (double)PAIRS / ELEMENTS;
    bench->settings.optimizer.rate = 1.0;
    bench->settings.job.lanes = LANES;
    bench->settings.job.batch = 4;
    if (bench->settings.exchange.credit_bytes == 0)
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
    CU_ASSERT_EQUAL_FATAL(exchange_create(&spec, &bench->exchange), 0);
    hear(bench, (struct address){0}, NULL);
    send_view(bench, 0);
}

static void close_bench(struct bench *bench)
{
    outbox_free(&bench->out);
    exchange_destroy(bench->exchange);
    layout_destroy(bench->layout);
    buffer_pool_destroy(bench->pool);
}

/* values as the codec has them, of which `count` are told (sparse: pairs). */
static void weights(struct bench *bench, uint32_t block, uint64_t version, enum codec_kind codec,
                    const void *bytes, size_t count)
{
    struct message msg = {.kind = MSG_WEIGHTS, .run = job_run, .era = bench->era};
    msg.key = (struct block_key){.step = version, .block = block, .codec = codec};
    msg.payload = buffer_pool_take(bench->pool, codec_bytes(codec, count));
    memcpy(msg.payload->data, bytes, msg.payload->size_bytes);
    hear(bench, shard, &msg);
    buffer_unref(msg.payload);
}

static void whole_weights(struct bench *bench, uint64_t version, float value)
{
    float values[ELEMENTS];
    for (size_t i = 0; i < ELEMENTS; i++)
        values[i] = value;
    for (uint32_t block = 0; block < BLOCKS; block++)
        weights(bench, block, version, CODEC_F32, values, ELEMENTS);
}

static void leaf(struct bench *bench, uint64_t step, uint32_t lane, uint32_t block,
                 const float values[ELEMENTS])
{
    struct message msg = {.kind = MSG_LEAF, .key = {step, block, lane, lane + 1, CODEC_F32}};
    msg.payload = buffer_pool_take(bench->pool, ELEMENTS * sizeof(float));
    memcpy(msg.payload->data, values, ELEMENTS * sizeof(float));
    hear(bench, compute, &msg);
    buffer_unref(msg.payload);
}

static void done(struct bench *bench, uint64_t step)
{
    for (uint32_t lane = 0; lane < LANES; lane++) {
        struct message msg = {.kind = MSG_LANE_DONE};
        msg.lane = (struct lane_result){.step = step, .lane = lane, .sample_count = 2};
        hear(bench, compute, &msg);
    }
}

static const struct message *find(const struct bench *bench, enum message_kind kind)
{
    for (size_t i = 0; i < bench->out.count; i++)
        if (bench->out.items[i].msg.kind == kind)
            return &bench->out.items[i].msg;
    return NULL;
}

static const struct message *only(const struct bench *bench, enum message_kind kind)
{
    const struct message *found = find(bench, kind);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    return found;
}

/* Both lanes' leaves of block 1: the lane's number and a hundredth of the index. */
static void both_leaves(struct bench *bench, uint64_t step, uint32_t block)
{
    for (uint32_t lane = 0; lane < LANES; lane++) {
        float values[ELEMENTS];
        for (size_t i = 0; i < ELEMENTS; i++)
            values[i] = (float)lane + (float)i * 0.01f;
        leaf(bench, step, lane, block, values);
    }
}

static void test_exchange_codec_pushes_a_rounded_sum_encoded(void)
{
    static const enum codec_kind codecs[] = {CODEC_BF16, CODEC_INT8};
    for (size_t k = 0; k < ARRAY_LEN(codecs); k++) {
        struct bench bench = {0};
        float expected[ELEMENTS], found[ELEMENTS];
        open_bench(&bench, codecs[k]);
        whole_weights(&bench, 0, 0.5f);
        both_leaves(&bench, 0, 1);
        const struct message *push = only(&bench, MSG_PUSH);
        CU_ASSERT_EQUAL(push->key.codec, codecs[k]);
        CU_ASSERT_EQUAL(push->payload->size_bytes, codec_bytes(codecs[k], ELEMENTS));
        struct codec_grid grid = codec_grid_of(codecs[k], 0, bench.layout, 1);
        for (size_t i = 0; i < ELEMENTS; i++)
            expected[i] = (float)i * 0.01f + (1.0f + (float)i * 0.01f);
        codec_round_node(&grid, (struct lane_node){0, LANES}, expected, ELEMENTS);
        CU_ASSERT_EQUAL(codec_decode(codecs[k], push->payload->data, push->payload->size_bytes,
                                     found, ELEMENTS),
                        0);
        CU_ASSERT(memcmp(found, expected, sizeof(found)) == 0);
        close_bench(&bench);
    }
}

/* One that is of another codec counts for nothing. */
static void test_exchange_codec_takes_weights_of_its_job_or_whole_ones(void)
{
    struct bench bench = {0};
    float values[ELEMENTS] = {1.5f, 2.0f}, other[ELEMENTS] = {9.0f};
    unsigned char bytes[ELEMENTS * 2];
    open_bench(&bench, CODEC_BF16);
    codec_encode(CODEC_INT8, other, ELEMENTS, bytes);
    weights(&bench, 0, 0, CODEC_INT8, bytes, ELEMENTS);
    codec_encode(CODEC_BF16, values, ELEMENTS, bytes);
    weights(&bench, 1, 0, CODEC_BF16, bytes, ELEMENTS);
    CU_ASSERT_PTR_NULL(find(&bench, MSG_TRAIN_LANE));
    weights(&bench, 0, 0, CODEC_F32, values, ELEMENTS);
    const float *flat = only(&bench, MSG_TRAIN_LANE)->task.weights;
    CU_ASSERT_EQUAL(flat[0], 1.5f);
    CU_ASSERT_EQUAL(flat[ELEMENTS + 1], 2.0f);
    close_bench(&bench);
}

/* Of f32 one block would use all of it up. */
static void test_exchange_codec_counts_credit_as_it_is_on_the_wire(void)
{
    struct bench bench = {.settings.exchange.credit_bytes = ELEMENTS * sizeof(float)};
    open_bench(&bench, CODEC_INT8);
    whole_weights(&bench, 0, 0.5f);
    both_leaves(&bench, 0, 1);
    CU_ASSERT_PTR_NOT_NULL(find(&bench, MSG_PUSH));
    both_leaves(&bench, 0, 0);
    CU_ASSERT_PTR_NOT_NULL(find(&bench, MSG_PUSH));
    close_bench(&bench);
}

static void test_exchange_codec_sparse_pushes_the_largest(void)
{
    struct bench bench = {0};
    float found[ELEMENTS] = {0};
    open_bench(&bench, CODEC_SPARSE);
    whole_weights(&bench, 0, 0.5f);
    both_leaves(&bench, 0, 1);
    const struct message *push = only(&bench, MSG_PUSH);
    CU_ASSERT_EQUAL(push->key.codec, CODEC_SPARSE);
    CU_ASSERT_EQUAL_FATAL(push->payload->size_bytes, PAIRS * CODEC_PAIR_BYTES);
    CU_ASSERT_EQUAL(codec_decode(CODEC_SPARSE, push->payload->data, push->payload->size_bytes,
                                 found, ELEMENTS),
                    0);
    for (size_t i = 0; i < ELEMENTS; i++) /* over the 4 samples of the step */
        CU_ASSERT_DOUBLE_EQUAL(
            found[i], i < ELEMENTS - PAIRS ? 0.0 : (1.0 + 2.0 * (double)i * 0.01) / 4.0, 1e-6);
    close_bench(&bench);
}

struct pair {
    uint32_t idx;
    float value;
};

static void test_exchange_codec_sparse_adds_changes_to_the_version_before(void)
{
    struct bench bench = {0};
    struct pair pairs[2] = {{3, 7.0f}, {200, 8.0f}};
    open_bench(&bench, CODEC_SPARSE);
    whole_weights(&bench, 0, 0.5f);
    both_leaves(&bench, 0, 1);
    both_leaves(&bench, 0, 0);
    done(&bench, 0);
    weights(&bench, 0, 1, CODEC_SPARSE, pairs, 2);
    weights(&bench, 1, 1, CODEC_SPARSE, pairs, 1);
    const float *flat = only(&bench, MSG_TRAIN_LANE)->task.weights;
    for (size_t i = 0; i < ELEMENTS * BLOCKS; i++)
        CU_ASSERT_EQUAL(flat[i], i == 3 || i == ELEMENTS + 3 ? 7.0f : i == 200 ? 8.0f : 0.5f);
    close_bench(&bench);
}

static void test_exchange_codec_sparse_asks_for_all_without_the_version_before(void)
{
    struct bench bench = {0};
    struct pair pair = {3, 7.0f};
    open_bench(&bench, CODEC_SPARSE);
    CU_ASSERT_EQUAL(only(&bench, MSG_PULL)->key.codec, CODEC_F32);
    weights(&bench, 0, 1, CODEC_SPARSE, &pair, 1); /* nothing to add it to */
    whole_weights(&bench, 1, 0.5f);
    CU_ASSERT_EQUAL(only(&bench, MSG_TRAIN_LANE)->task.weights[3], 0.5f);
    both_leaves(&bench, 1, 1);
    bench.now_ms += 5000;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(only(&bench, MSG_PULL)->key.codec, CODEC_SPARSE);
    weights(&bench, 0, 3, CODEC_SPARSE, &pair, 1); /* a version further than that */
    CU_ASSERT_PTR_NULL(find(&bench, MSG_PULL));
    float values[ELEMENTS] = {0};
    weights(&bench, 0, 3, CODEC_F32, values, ELEMENTS);
    bench.now_ms += 4000;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(only(&bench, MSG_PULL)->key.step, 3);
    CU_ASSERT_EQUAL(only(&bench, MSG_PULL)->key.codec, CODEC_F32);
    close_bench(&bench);
}

static void test_exchange_codec_sparse_does_not_take_an_index_past_the_end(void)
{
    struct bench bench = {0};
    struct pair pairs[2] = {{3, 7.0f}, {ELEMENTS, 8.0f}}, pair = {5, 9.0f};
    open_bench(&bench, CODEC_SPARSE);
    whole_weights(&bench, 0, 0.5f);
    both_leaves(&bench, 0, 1);
    both_leaves(&bench, 0, 0);
    done(&bench, 0);
    weights(&bench, 0, 1, CODEC_SPARSE, pairs, 2);
    weights(&bench, 1, 1, CODEC_SPARSE, &pair, 1);
    weights(&bench, 0, 1, CODEC_SPARSE, &pair, 1);
    const float *flat = only(&bench, MSG_TRAIN_LANE)->task.weights;
    CU_ASSERT_EQUAL(flat[3], 0.5f);
    CU_ASSERT_EQUAL(flat[5], 9.0f);
    close_bench(&bench);
}

static void test_exchange_codec_sparse_forgets_in_a_new_era(void)
{
    struct bench bench = {0};
    float large[ELEMENTS], none[ELEMENTS] = {0}, found[ELEMENTS] = {0};
    for (size_t i = 0; i < ELEMENTS; i++)
        large[i] = 100.0f + (float)i;
    open_bench(&bench, CODEC_SPARSE);
    whole_weights(&bench, 0, 0.5f);
    leaf(&bench, 0, 0, 1, large);
    leaf(&bench, 0, 1, 1, none);
    CU_ASSERT_PTR_NOT_NULL(find(&bench, MSG_PUSH));
    bench.era++;
    send_view(&bench, 0);
    struct message dropped = {.kind = MSG_LANE_DROPPED};
    for (uint32_t lane = 0; lane < LANES; lane++) {
        dropped.task.lane = lane;
        hear(&bench, compute, &dropped);
    }
    whole_weights(&bench, 0, 0.5f);
    leaf(&bench, 0, 0, 1, none);
    leaf(&bench, 0, 1, 1, none);
    const struct message *push = only(&bench, MSG_PUSH);
    CU_ASSERT_EQUAL(codec_decode(CODEC_SPARSE, push->payload->data, push->payload->size_bytes,
                                 found, ELEMENTS),
                    0);
    for (size_t i = 0; i < ELEMENTS; i++)
        CU_ASSERT_EQUAL(found[i], 0.0f);
    close_bench(&bench);
}

static void test_exchange_codec_sends_running_means_as_they_are(void)
{
    for (int codec = CODEC_F32; codec < CODEC_COUNT; codec++) {
        struct bench bench = {.update = UPDATE_AVERAGE};
        open_bench(&bench, (enum codec_kind)codec);
        whole_weights(&bench, 0, 0.5f);
        both_leaves(&bench, 0, 1);
        const struct message *push = only(&bench, MSG_PUSH);
        CU_ASSERT_EQUAL(push->key.codec, CODEC_F32);
        CU_ASSERT_EQUAL_FATAL(push->payload->size_bytes, ELEMENTS * sizeof(float));
        float seventh = (0.0f + 7.0f * 0.01f) + (1.0f + 7.0f * 0.01f);
        CU_ASSERT_EQUAL(((const float *)push->payload->data)[7], seventh);
        close_bench(&bench);
    }
}

/* A frozen block is at the version, and as this worker has it. */
static void same(struct bench *bench, uint32_t block, uint64_t version)
{
    struct message msg = {.kind = MSG_SAME, .run = job_run, .era = bench->era};
    msg.key = (struct block_key){.step = version, .block = block};
    hear(bench, shard, &msg);
}

static size_t count_of(const struct bench *bench, enum message_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < bench->out.count; i++)
        count += bench->out.items[i].msg.kind == kind;
    return count;
}

static void test_exchange_codec_sends_nothing_of_what_is_frozen(void)
{
    struct bench bench = {.update = UPDATE_FROZEN};
    open_bench(&bench, CODEC_INT8);
    whole_weights(&bench, 0, 0.5f);
    for (uint64_t step = 0; step < 3; step++) {
        CU_ASSERT_EQUAL(count_of(&bench, MSG_PASS), BLOCKS);
        const struct message *pass = only(&bench, MSG_PASS);
        CU_ASSERT_PTR_NULL(pass->payload);
        CU_ASSERT(pass->key.step == step && pass->key.lane_end == LANES);
        both_leaves(&bench, step, 1); /* nobody asked for that */
        CU_ASSERT_EQUAL(bench.out.count, 0);
        same(&bench, 0, step + 1);
        same(&bench, 1, step + 1);
        done(&bench, step);
        const float *flat = only(&bench, MSG_TRAIN_LANE)->task.weights;
        CU_ASSERT(flat[0] == 0.5f && flat[ELEMENTS * BLOCKS - 1] == 0.5f);
    }
    close_bench(&bench);
}

static void test_exchange_codec_asks_for_what_is_frozen_once(void)
{
    struct bench bench = {.update = UPDATE_FROZEN};
    open_bench(&bench, CODEC_F32);
    CU_ASSERT_EQUAL(only(&bench, MSG_PULL)->key.codec, CODEC_F32); /* all of it */
    same(&bench, 0, 0); /* which cannot be meant */
    whole_weights(&bench, 0, 0.5f);
    bench.now_ms += 1000;
    hear(&bench, (struct address){0}, NULL);
    CU_ASSERT_EQUAL(only(&bench, MSG_PULL)->key.codec, CODEC_SPARSE); /* it has it */
    struct message lack = {.kind = MSG_LACK, .run = job_run, .era = bench.era};
    lack.key = (struct block_key){.lane_begin = 0, .lane_end = LANES};
    hear(&bench, shard, &lack);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_PASS), 1); /* again */
    close_bench(&bench);
}

UNIT_MAIN("exchange_codec", TESTS)
