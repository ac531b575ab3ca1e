#ifndef TESTS_UNIT_COORDINATOR_BENCH_H
#define TESTS_UNIT_COORDINATOR_BENCH_H

/* coordinator_bench - a coordinator among members that are played: they join, beat as time passes
 * while they are alive, and what it says is kept.
 *
 * Owner:    the coordinator's tests.
 * Surprise: bench.out has the messages of the last call alone, bench.said who was sent what since
 *           the last forget (no bodies: a view's arrays are gone with the next), bench.records all
 *           that went to the journal, packed.
 */
#include "ps/coordinator.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

enum { BENCH_ACTORS_MAX = 16, BENCH_RECORDS_MAX = 512, BENCH_TICK_MS = 50 };

static const struct run_id run = {1, 2};
static const struct address store = {PARTY_STORE, 40}, nobody = {PARTY_NONE, 0};

#define FINGERPRINT "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
#define DIGEST_1 "1111111111111111111111111111111111111111111111111111111111111111"
#define DIGEST_2 "2222222222222222222222222222222222222222222222222222222222222222"

struct actor {
    struct address who;
    bool is_alive;
    struct beat beat;
};

struct said {
    struct address to;
    enum message_kind kind;
    uint64_t step; /* of an outcome */
};

struct record {
    void *bytes;
    size_t size;
};

struct bench {
    struct settings settings;
    struct coordinator *coordinator;
    struct layout *layout;
    struct outbox out;
    struct arena *arena;
    struct actor actors[BENCH_ACTORS_MAX];
    size_t actor_count;
    struct said *said;
    size_t said_count, said_capacity;
    struct record records[BENCH_RECORDS_MAX];
    size_t record_count;
    bool is_remote; /* shards are reached over TCP */
    uint64_t now_ms;
};

/* Server 0 shard 0, worker 0 and so on, by what they get for incarnation and pid. */
static inline struct address server(uint32_t idx)
{
    return (struct address){PARTY_SHARD, idx == 0 ? 30 : 50 + idx};
}

static inline struct address worker(uint32_t idx)
{
    return (struct address){PARTY_WORKER, 31 + idx};
}

static inline void keep_record(struct bench *bench, const struct message *msg)
{
    const void *bytes;
    struct record record;
    arena_reset(bench->arena);
    CU_ASSERT_EQUAL_FATAL(message_pack(msg, bench->arena, &bytes, &record.size), 0);
    CU_ASSERT_FATAL(bench->record_count < BENCH_RECORDS_MAX);
    record.bytes = malloc(record.size + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(record.bytes);
    memcpy(record.bytes, bytes, record.size);
    bench->records[bench->record_count++] = record;
}

static inline void keep_said(struct bench *bench)
{
    for (size_t i = 0; i < bench->out.count; i++) {
        const struct envelope *envelope = &bench->out.items[i];
        if (envelope->to.party == PARTY_JOURNAL)
            keep_record(bench, &envelope->msg);
        if (bench->said_count == bench->said_capacity) {
            bench->said_capacity = 2 * bench->said_capacity + 64;
            bench->said = realloc(bench->said, bench->said_capacity * sizeof(*bench->said));
            CU_ASSERT_PTR_NOT_NULL_FATAL(bench->said);
        }
        bench->said[bench->said_count++] = (struct said){
            envelope->to, envelope->msg.kind,
            envelope->msg.kind == MSG_CHECKPOINT_ASK ? envelope->msg.outcome.step : 0};
    }
}

static inline void forget(struct bench *bench)
{
    bench->said_count = 0;
}

static inline void hear(struct bench *bench, struct address from, const struct message *msg)
{
    outbox_clear(&bench->out);
    coordinator_step(bench->coordinator, bench->now_ms, from, msg, &bench->out);
    CU_ASSERT(!outbox_failed(&bench->out));
    keep_said(bench);
}

/* The loop's tick; time goes on so far that it looks at everything. */
static inline void tick(struct bench *bench)
{
    bench->now_ms += 10;
    hear(bench, nobody, NULL);
}

/* A job of one server and two workers, four lanes, one step, one block, a test set of two. */
static inline void set_job(struct bench *bench)
{
    *bench = (struct bench){.now_ms = 1000};
    bench->settings.job.lanes = 4;
    bench->settings.job.batch = 8;
    bench->settings.job.steps = 1;
    bench->settings.exchange.block_bytes = 16;
    bench->settings.cluster.servers = bench->settings.cluster.shards = 1;
    bench->settings.cluster.workers = 2;
    bench->settings.cluster.wait_s = 5;
    bench->settings.cluster.silence_s = 3;
    bench->settings.cluster.silence_floor_s = 1;
    bench->settings.cluster.answer_s = 4;
    bench->settings.cluster.give_up_s = 6;
    bench->settings.log.every = 1;
    CU_ASSERT_EQUAL_FATAL(arena_create(1 << 16, 1 << 22, &bench->arena), 0);
}

/* Equal blocks of 16 bytes. */
static inline void set_blocks(struct bench *bench, uint32_t count)
{
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {4 * count}};
    layout_destroy(bench->layout);
    bench->layout = NULL;
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 16, &bench->layout, NULL), 0);
}

static inline void create(struct bench *bench, uint64_t resume_step)
{
    struct coordinator_spec spec = {.settings = &bench->settings, .run = run,
                                    .incarnation = 77, .resume_step = resume_step,
                                    .store_incarnation = store.id, .store_endpoint = "inproc://d",
                                    .metric_step = resume_step, .fingerprint = FINGERPRINT};
    CU_ASSERT_EQUAL_FATAL(coordinator_create(&spec, &bench->coordinator), 0);
}

static inline void open_bench_at(struct bench *bench, uint64_t resume_step)
{
    set_job(bench);
    set_blocks(bench, 1);
    create(bench, resume_step);
    hear(bench, nobody, NULL);
}

static inline void open_bench(struct bench *bench)
{
    open_bench_at(bench, 0);
}

static inline void close_bench(struct bench *bench)
{
    outbox_free(&bench->out);
    coordinator_destroy(bench->coordinator);
    layout_destroy(bench->layout);
    arena_destroy(bench->arena);
    for (size_t i = 0; i < bench->record_count; i++)
        free(bench->records[i].bytes);
    free(bench->said);
}

static inline struct message hello_of(const struct bench *bench, struct address who, int32_t rank)
{
    struct message msg = {.kind = MSG_HELLO};
    msg.hello = (struct hello){.rank = rank, .pid = (uint32_t)who.id, .host = "here",
                               .version = TALWEG_VERSION, .fingerprint = FINGERPRINT,
                               .thread_count = 1};
    if (who.party == PARTY_WORKER) {
        msg.hello.layout = bench->layout;
        msg.hello.train_count = 8;
        msg.hello.test_count = 2;
        msg.hello.thread_count = 1;
    } else {
        msg.hello.shard_count = bench->settings.cluster.shards;
        snprintf(msg.hello.endpoint, sizeof(msg.hello.endpoint), "%s",
                 bench->is_remote ? "tcp://here:1" : "ipc:///here");
    }
    return msg;
}

/* The last call's answer. */
static inline bool has(const struct bench *bench, struct address to, enum message_kind kind)
{
    for (size_t i = 0; i < bench->out.count; i++)
        if (address_equal(bench->out.items[i].to, to) && bench->out.items[i].msg.kind == kind)
            return true;
    return false;
}

/* Since the last forget; NULL: no. */
static inline const struct said *was_said(const struct bench *bench, struct address to,
                                          enum message_kind kind)
{
    for (size_t i = bench->said_count; i-- > 0;)
        if (address_equal(bench->said[i].to, to) && bench->said[i].kind == kind)
            return &bench->said[i];
    return NULL;
}

static inline struct progress progress(const struct bench *bench)
{
    struct progress out;
    coordinator_progress(bench->coordinator, bench->now_ms, &out);
    return out;
}

static inline struct actor *actor_of(struct bench *bench, struct address who)
{
    for (size_t i = 0; i < bench->actor_count; i++)
        if (address_equal(bench->actors[i].who, who))
            return &bench->actors[i];
    CU_ASSERT_FATAL(bench->actor_count < BENCH_ACTORS_MAX);
    struct actor *actor = &bench->actors[bench->actor_count++];
    *actor = (struct actor){.who = who, .is_alive = true};
    if (who.party == PARTY_SHARD)
        actor->beat.block_count = 1;
    return actor;
}

static inline void join(struct bench *bench, struct address who, int32_t rank)
{
    struct message hello = hello_of(bench, who, rank);
    hear(bench, who, &hello);
    CU_ASSERT(has(bench, who, MSG_WELCOME));
    actor_of(bench, who)->is_alive = true;
}

/* All that the job asks for. */
static inline void join_all(struct bench *bench)
{
    for (uint32_t i = bench->settings.cluster.servers; i-- > 0;)
        join(bench, server(i), (int32_t)i);
    for (uint32_t i = bench->settings.cluster.workers; i-- > 0;)
        join(bench, worker(i), (int32_t)i);
}

static inline const struct view *view_of(const struct bench *bench)
{
    return coordinator_view(bench->coordinator);
}

/* A message from one that has the newest view. */
static inline struct message from_member(const struct bench *bench, enum message_kind kind)
{
    const struct view *view = view_of(bench);
    struct message msg = {.kind = kind, .run = run};
    msg.view = view == NULL ? 0 : view->number;
    msg.era = view == NULL ? 0 : view->era;
    return msg;
}

/* All that are alive beat, and the loop ticks, until so much time is over. */
static inline void pass_ms(struct bench *bench, uint64_t ms)
{
    for (uint64_t end_ms = bench->now_ms + ms; bench->now_ms < end_ms;) {
        bench->now_ms += BENCH_TICK_MS;
        for (size_t i = 0; i < bench->actor_count; i++) {
            struct message beat = from_member(bench, MSG_BEAT);
            beat.beat = bench->actors[i].beat;
            if (bench->actors[i].is_alive)
                hear(bench, bench->actors[i].who, &beat);
        }
        hear(bench, nobody, NULL);
    }
}

static inline void silence(struct bench *bench, struct address who)
{
    actor_of(bench, who)->is_alive = false;
}

/* Its process has ended: the next message to it finds no connection. */
static inline void kill_member(struct bench *bench, struct address who)
{
    struct message gone = {.kind = MSG_GONE};
    silence(bench, who);
    hear(bench, who, &gone);
}

static inline void lane_at(struct bench *bench, struct address who, uint64_t step, uint32_t lane,
                           uint64_t compute_us)
{
    struct message msg = from_member(bench, MSG_LANE_DONE);
    msg.lane = (struct lane_result){.step = step, .lane = lane, .loss_sum = 1.0,
                                    .sample_count = 2, .compute_us = compute_us};
    hear(bench, who, &msg);
}

static inline uint64_t primary_of(const struct bench *bench, size_t block_idx)
{
    const struct view *view = view_of(bench);
    return view->shards[view->block_shard[block_idx]].incarnation;
}

/* 0: none. */
static inline uint64_t other_of(const struct view *view, const uint32_t *idxs, size_t block_idx)
{
    return idxs == NULL || idxs[block_idx] == NOBODY
               ? 0
               : view->shards[idxs[block_idx]].incarnation;
}

static inline uint64_t backup_of(const struct bench *bench, size_t block_idx)
{
    return other_of(view_of(bench), view_of(bench)->block_backup, block_idx);
}

static inline uint64_t learner_of(const struct bench *bench, size_t block_idx)
{
    return other_of(view_of(bench), view_of(bench)->block_learner, block_idx);
}

static inline uint64_t owner_of(const struct bench *bench, uint32_t lane)
{
    const struct view *view = view_of(bench);
    return view->lane_worker[lane] == NOBODY
               ? 0
               : view->workers[view->lane_worker[lane]].incarnation;
}

static inline uint32_t lanes_of(const struct bench *bench, struct address who)
{
    uint32_t count = 0;
    for (uint32_t lane = 0; lane < view_of(bench)->lane_count; lane++)
        count += owner_of(bench, lane) == who.id;
    return count;
}

static inline void fill(struct bench *bench, uint32_t block, uint64_t primary)
{
    struct message msg = from_member(bench, MSG_FILLED);
    msg.key.block = block;
    hear(bench, (struct address){PARTY_SHARD, primary}, &msg);
}

/* Every learner gets what it is to have. */
static inline void fill_all(struct bench *bench)
{
    for (uint32_t i = 0; i < view_of(bench)->block_count; i++)
        if (learner_of(bench, i) != 0)
            fill(bench, i, primary_of(bench, i));
}

static inline void digest_at(struct bench *bench, struct address who, uint64_t step,
                             const char *hex)
{
    struct message msg = from_member(bench, MSG_WEIGHTS_DIGEST);
    msg.digest.step = step;
    snprintf(msg.digest.hex, sizeof(msg.digest.hex), "%s", hex);
    hear(bench, who, &msg);
}

static inline void finish_checkpoint_at(struct bench *bench, uint64_t step, int code)
{
    struct message msg = {.kind = MSG_CHECKPOINT_DONE, .run = run};
    msg.outcome.step = step;
    msg.outcome.code = code;
    snprintf(msg.outcome.text, sizeof(msg.outcome.text), "the disk is full");
    hear(bench, store, &msg);
}

/* The last checkpoint that this shard was asked for. */
static inline uint64_t asked_step(const struct bench *bench, struct address who)
{
    const struct said *ask = was_said(bench, who, MSG_CHECKPOINT_ASK);
    return ask == NULL ? UINT64_MAX : ask->step;
}

/* Closes the bench. */
static inline void check_failed(struct bench *bench, const char *expected)
{
    struct progress now = progress(bench);
    CU_ASSERT_EQUAL(now.phase, PHASE_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(now.error, expected));
    if (strstr(now.error, expected) == NULL)
        printf("\n    found: %s\n", now.error);
    close_bench(bench);
}

#endif
