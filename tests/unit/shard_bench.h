#ifndef TESTS_UNIT_SHARD_BENCH_H
#define TESTS_UNIT_SHARD_BENCH_H

/* shard_bench - shards, driven by hand: what one says reaches another only when a test hands it on.
 *
 * Four lanes, four samples a step, plain gradient descent with rate 1, so that a step whose lanes
 * sum to g moves a weight by -g / 4.
 *
 * Owner:    the test.  Surprise: the outbox has what the last call to hear made, no more.
 */
#include <stdlib.h>
#include <string.h>
#include "common/lane.h"
#include "ps/shard.h"
#include "tests/unit/unit.h"

enum { ELEMENTS = 8, LANES = 4, BLOCKS_MAX = 32, SHARDS = 3, SHARD_ID = 7 };

static const struct run_id run = {11, 22};
static const struct address first = {PARTY_WORKER, 101}, second = {PARTY_WORKER, 102},
                            store = {PARTY_STORE, 55}, coordinator = {PARTY_COORDINATOR, 0},
                            nobody = {PARTY_NONE, 0};

struct bench {
    struct settings settings;
    struct shard *shards[SHARDS];
    struct outbox out;
    struct buffer_pool *pool;
    struct layout *layout;
    enum tensor_update update; /* of the only tensor, as is the next */
    float rate_scale;
    uint64_t now_ms;
    uint32_t primary[BLOCKS_MAX], backup[BLOCKS_MAX], learner[BLOCKS_MAX], lane_worker[LANES];
    struct shard_member members[SHARDS];
    struct view view; /* the next to be sent */
};

static inline struct address shard_at(uint32_t idx)
{
    return (struct address){PARTY_SHARD, SHARD_ID + idx};
}

static inline void hear_at(struct bench *bench, uint32_t idx, struct address from,
                           const struct message *msg)
{
    outbox_clear(&bench->out);
    shard_step(bench->shards[idx], bench->now_ms, from, msg, &bench->out);
}

static inline void hear(struct bench *bench, struct address from, const struct message *msg)
{
    hear_at(bench, 0, from, msg);
}

static inline void pass(struct bench *bench, uint32_t idx, uint64_t ms)
{
    bench->now_ms += ms;
    hear_at(bench, idx, nobody, NULL);
}

static inline struct message view_of(const struct bench *bench)
{
    return (struct message){.kind = MSG_VIEW,
                            .run = run,
                            .view = bench->view.number,
                            .era = bench->view.era,
                            .view_body = bench->view};
}

/* To one shard; the next one has the next number only after next_view. */
static inline void send_view(struct bench *bench, uint32_t idx)
{
    struct message view = view_of(bench);
    hear_at(bench, idx, coordinator, &view);
}

static inline void next_view(struct bench *bench)
{
    bench->view.number++;
}

static inline void restart_shard(struct bench *bench, uint32_t idx)
{
    struct shard_spec spec = {.settings = &bench->settings, .incarnation = SHARD_ID + idx};
    shard_destroy(bench->shards[idx]);
    CU_ASSERT_EQUAL_FATAL(shard_create(&spec, &bench->shards[idx]), 0);
    hear_at(bench, idx, nobody, NULL);
}

static inline void fill_view(struct bench *bench)
{
    static const struct worker_member workers[2] = {{0, 101, ""}, {1, 102, ""}};
    for (uint32_t i = 0; i < SHARDS; i++)
        bench->members[i] = (struct shard_member){.rank = i, .incarnation = SHARD_ID + i};
    for (size_t i = 0; i < BLOCKS_MAX; i++)
        bench->backup[i] = bench->learner[i] = NOBODY;
    bench->lane_worker[2] = bench->lane_worker[3] = 1;
    bench->view = (struct view){.number = 1, .era = 1, .step_count = 10, .train_count = 12,
                                .store_incarnation = store.id, .store_endpoint = "inproc://d",
                                .shard_count = SHARDS, .worker_count = 2,
                                .block_count = bench->layout->block_count, .lane_count = LANES,
                                .shards = bench->members, .workers = workers,
                                .block_shard = bench->primary, .block_backup = bench->backup,
                                .block_learner = bench->learner,
                                .lane_worker = bench->lane_worker, .layout = bench->layout};
}

/* bench starts zeroed; settings that a test has put in stay. */
static inline void open_bench_of(struct bench *bench, uint32_t elements, uint32_t block_bytes)
{
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {elements},
                                 .update = bench->update, .rate_scale = bench->rate_scale};
    bench->now_ms = 1000;
    bench->settings.job.lanes = LANES;
    bench->settings.job.batch = 4;
    bench->settings.optimizer.rate = 1.0;
    bench->settings.cluster.wait_s = 10;
    bench->settings.cluster.silence_s = 1000;
    bench->settings.cluster.give_up_s = 2000;
    bench->settings.cluster.beat_ms = 500;
    bench->settings.exchange.retry_ms = 200;
    if (bench->settings.exchange.parked_bytes == 0)
        bench->settings.exchange.parked_bytes = 1 << 20;
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, block_bytes, &bench->layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create(0, &bench->pool), 0);
    fill_view(bench);
    for (uint32_t i = SHARDS; i-- > 0;)
        restart_shard(bench, i);
}

static inline void open_bench(struct bench *bench)
{
    open_bench_of(bench, ELEMENTS, 4096);
}

static inline void close_bench(struct bench *bench)
{
    outbox_free(&bench->out);
    for (uint32_t i = 0; i < SHARDS; i++)
        shard_destroy(bench->shards[i]);
    layout_destroy(bench->layout);
    buffer_pool_destroy(bench->pool);
}

static inline struct buffer *values(struct bench *bench, size_t count, float value)
{
    struct buffer *buffer = buffer_pool_take(bench->pool, count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        ((float *)buffer->data)[i] = value;
    return buffer;
}

static inline struct message message_of(const struct bench *bench, enum message_kind kind)
{
    return (struct message){
        .kind = kind, .run = run, .view = bench->view.number, .era = bench->view.era};
}

static inline void push_at(struct bench *bench, uint32_t idx, struct address from,
                           struct block_key key, float value)
{
    struct message msg = message_of(bench, MSG_PUSH);
    msg.key = key;
    msg.payload = values(bench, ELEMENTS, value);
    hear_at(bench, idx, from, &msg);
    buffer_unref(msg.payload);
}

static inline void push(struct bench *bench, struct address from, uint64_t step,
                        struct lane_node lanes, float value)
{
    push_at(bench, 0, from, (struct block_key){step, 0, lanes.begin, lanes.end, CODEC_F32}, value);
}

static inline void pull(struct bench *bench, struct address from, uint64_t step)
{
    struct message msg = message_of(bench, MSG_PULL);
    msg.key.step = step;
    hear(bench, from, &msg);
}

static inline size_t count_of(const struct bench *bench, enum message_kind kind)
{
    size_t found = 0;
    for (size_t i = 0; i < bench->out.count; i++)
        found += bench->out.items[i].msg.kind == kind;
    return found;
}

static inline const struct message *only(const struct bench *bench, struct address to,
                                         enum message_kind kind)
{
    const struct message *found = NULL;
    for (size_t i = 0; i < bench->out.count; i++)
        if (address_equal(bench->out.items[i].to, to) && bench->out.items[i].msg.kind == kind)
            found = &bench->out.items[i].msg;
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    return found;
}

static inline float weight_of(const struct message *weights)
{
    return ((const float *)weights->payload->data)[ELEMENTS - 1];
}

/* Takes what the last call said to shard `to`, of a kind, to be handed on with give. */
static inline struct message take(struct bench *bench, uint32_t to, enum message_kind kind)
{
    struct message msg = *only(bench, shard_at(to), kind);
    if (msg.payload != NULL)
        buffer_ref(msg.payload);
    return msg;
}

/* Hands it on, as often as is said, and drops it. */
static inline void give(struct bench *bench, uint32_t to, struct message msg, int times)
{
    struct address from = {PARTY_SHARD, msg.sender};
    for (int i = 0; i < times; i++)
        hear_at(bench, to, from, &msg);
    buffer_unref(msg.payload);
}

/* What the last call said to `to` goes there, and the answer back to shard 0. */
static inline void carry(struct bench *bench, uint32_t to, enum message_kind kind)
{
    give(bench, to, take(bench, to, kind), 1);
    give(bench, 0, take(bench, 0, MSG_UPDATED), 1);
}

#endif
