/* A worker among a coordinator and shards that say anything, while its own compute answers as it
 * should: it does not crash, what it says can be sent, and what it holds stays within bounds.
 *
 * Input: the job (2 bytes), then turns: who speaks, and what. */
#include "tests/fuzz/fuzz_talk.h"
#include "worker/exchange.h"

enum { LANES = 4, MEMBERS = 2, ME = 2, TURNS_MAX = 400, HELD_BYTES_MAX = 8 << 20, TASKS_MAX = 64 };

enum { BLOCK_MAX = 256 }; /* numbers of a block */

static struct settings settings;
static struct layout *layout;

static void fill_settings(unsigned byte, unsigned more)
{
    static const enum consistency_kind kinds[] = {CONSISTENCY_BSP, CONSISTENCY_SSP,
                                                  CONSISTENCY_ASYNC, CONSISTENCY_LOCAL};
    settings = (struct settings){0};
    settings.job.lanes = LANES;
    settings.job.batch = 4;
    settings.job.eval_every = more & 1;
    settings.job.on_nonfinite = (byte & 16) != 0 ? NONFINITE_SKIP : NONFINITE_STOP;
    settings.optimizer.rate = 0.5;
    settings.exchange.consistency = kinds[byte & 3];
    settings.exchange.local_steps = 1 + (more >> 1 & 3);
    settings.exchange.staleness = more >> 3 & 3;
    settings.exchange.codec = (enum codec_kind)(byte >> 2 & 3);
    settings.exchange.topk_fraction = 0.1;
    settings.exchange.topk_warmup_steps = 1;
    settings.exchange.block_bytes = 1024;
    settings.exchange.credit_bytes = 4096;
    settings.exchange.retry_ms = 100;
    settings.exchange.overlap = false; /* the compute here takes whole versions */
    settings.cluster.wait_s = settings.cluster.give_up_s = 1000;
    settings.cluster.beat_ms = 100;
}

static void make_layout(void)
{
    static const struct tensor_spec tensors[] = {{.name = "w", .dims = 1, .shape = {600}},
                                                 {.name = "b", .dims = 1, .shape = {8}}};
    if (layout == NULL)
        must(layout_create(tensors, ARRAY_LEN(tensors), 1024, &layout, NULL) == 0);
}

static void fill_view(struct feed *feed, struct view *out)
{
    static const struct shard_member shards[MEMBERS] = {
        {.incarnation = 70, .endpoint = "inproc://s"},
        {.incarnation = 71, .endpoint = "inproc://t"}};
    static const struct worker_member workers[MEMBERS] = {{0, 1, ""}, {1, ME, ""}};
    static uint32_t primary[8], owners[LANES];
    must(layout->block_count <= ARRAY_LEN(primary));
    for (size_t i = 0; i < layout->block_count; i++)
        primary[i] = feed_u8(feed) % MEMBERS;
    for (size_t i = 0; i < LANES; i++)
        owners[i] = feed_u8(feed) % MEMBERS;
    *out = (struct view){.number = 1 + (uint32_t)feed_number(feed),
                         .era = 1 + (feed_u8(feed) & 3),
                         .start_step = feed_u8(feed) & 3,
                         .step_count = 3 + feed_number(feed),
                         .train_count = 12,
                         .test_count = 4,
                         .store_endpoint = "inproc://d",
                         .shard_count = MEMBERS,
                         .worker_count = MEMBERS,
                         .block_count = layout->block_count,
                         .lane_count = LANES,
                         .shards = shards,
                         .workers = workers,
                         .block_shard = primary,
                         .lane_worker = owners};
}

/* The worker's own compute, which answers what it was asked when its turn comes. */
struct desk {
    struct {
        struct lane_task task;
        bool is_eval;
        float sum; /* of the weights when it was asked: they stay until it has answered */
    } items[TASKS_MAX];
    size_t count;
};

static float sum_of(const struct lane_task *task)
{
    float sum = 0;
    for (uint64_t i = 0; i < layout->weight_count; i++)
        sum += task->weights[i] == task->weights[i] ? task->weights[i] * 0x1p-64f : 1;
    return sum;
}

/* False: it is to forget what it has not begun. */
static bool take_tasks(struct desk *desk, const struct outbox *out)
{
    bool is_dropped = false;
    for (size_t i = 0; i < out->count; i++) {
        const struct message *msg = &out->items[i].msg;
        is_dropped = is_dropped || msg->kind == MSG_DROP_LANES;
        if (msg->kind != MSG_TRAIN_LANE && msg->kind != MSG_EVAL_LANE)
            continue;
        must(desk->count < TASKS_MAX);
        desk->items[desk->count].task = msg->task;
        desk->items[desk->count].is_eval = msg->kind == MSG_EVAL_LANE;
        desk->items[desk->count++].sum = sum_of(&msg->task);
    }
    return !is_dropped;
}

/* The version of each block that was asked for last, to whom; party NONE: it was not. */
struct asked {
    struct address whom;
    uint64_t version;
};

/* The bench of one call. */
struct bench {
    struct exchange *exchange;
    struct talk talk;
    struct desk desk;
    struct asked asked[8];
    struct outbox out;
    uint64_t now_ms;
    bool is_dropped;
};

static void note_asked(struct bench *bench)
{
    for (size_t i = 0; i < bench->out.count; i++) {
        const struct message *msg = &bench->out.items[i].msg;
        bool is_push =
            msg->kind == MSG_PUSH || msg->kind == MSG_VOID || msg->kind == MSG_PASS;
        if (!is_push && msg->kind != MSG_PULL && msg->kind != MSG_PULL_OLD)
            continue;
        must(msg->key.block < layout->block_count);
        bench->asked[msg->key.block] =
            (struct asked){bench->out.items[i].to, msg->key.step + is_push};
    }
}

static void hear(struct bench *bench, struct address from, const struct message *msg)
{
    exchange_step(bench->exchange, bench->now_ms, from, msg, &bench->out);
    talk_check(&bench->talk, &bench->out);
    bench->is_dropped = !take_tasks(&bench->desk, &bench->out) || bench->is_dropped;
    note_asked(bench);
    outbox_clear(&bench->out);
}

static void compute_says(struct bench *bench, struct message msg)
{
    hear(bench, (struct address){PARTY_COMPUTE, 0}, &msg);
}

static void say_leaves(struct bench *bench, const struct lane_task *task, uint8_t byte)
{
    for (size_t i = layout->block_count; i-- > 0;) {
        const struct range *range = &layout->blocks[i].range;
        struct message leaf = {.kind = (byte & 8) != 0 ? MSG_LEAF_VOID : MSG_LEAF};
        leaf.key = (struct block_key){.step = task->step,
                                      .block = (uint32_t)i,
                                      .lane_begin = task->lane,
                                      .lane_end = task->lane + 1};
        if (leaf.kind == MSG_LEAF) {
            float numbers[BLOCK_MAX];
            for (size_t n = 0; n < BLOCK_MAX; n++)
                numbers[n] = (float)byte;
            leaf.payload = fuzz_buffer(numbers, (range->end - range->begin) * sizeof(float));
        }
        compute_says(bench, leaf);
        buffer_unref(leaf.payload);
        if (leaf.kind == MSG_LEAF_VOID)
            return;
    }
}

/* Answers the first task of the desk. */
static void answer(struct bench *bench, uint8_t byte)
{
    if (bench->desk.count == 0)
        return;
    struct lane_task task = bench->desk.items[0].task;
    bool is_eval = bench->desk.items[0].is_eval;
    must(memcmp(&(float){sum_of(&task)}, &bench->desk.items[0].sum, sizeof(float)) == 0);
    memmove(&bench->desk.items[0], &bench->desk.items[1],
            --bench->desk.count * sizeof(bench->desk.items[0]));
    if (!is_eval)
        say_leaves(bench, &task, settings.job.on_nonfinite == NONFINITE_SKIP ? byte : byte & 7);
    struct message done = {.kind = is_eval ? MSG_EVAL_DONE : MSG_LANE_DONE};
    done.lane = (struct lane_result){
        .step = task.step, .lane = task.lane, .loss_sum = 1, .sample_count = 1};
    compute_says(bench, done);
}

/* Everything that is not begun is forgotten when that was asked. */
static void drop_tasks(struct bench *bench)
{
    size_t count = bench->desk.count;
    bench->is_dropped = false;
    for (size_t i = 0; i < count; i++) {
        struct message dropped = {.kind = MSG_LANE_DROPPED, .task = bench->desk.items[0].task};
        memmove(&bench->desk.items[0], &bench->desk.items[1],
                --bench->desk.count * sizeof(bench->desk.items[0]));
        compute_says(bench, dropped);
    }
}

/* Each shard gives what it was asked for last, as it should. */
static void serve(struct bench *bench, uint8_t byte)
{
    static const float zeros[BLOCK_MAX];
    unsigned char bytes[sizeof(zeros)];
    for (size_t i = 0; i < layout->block_count; i++) {
        struct asked asked = bench->asked[i];
        size_t count = layout->blocks[i].range.end - layout->blocks[i].range.begin;
        bool is_rounded = codec_rounds(settings.exchange.codec) && (byte & 1) != 0;
        struct message weights = {.kind = MSG_WEIGHTS,
                                  .run = bench->talk.run,
                                  .sender = asked.whom.id,
                                  .view = bench->talk.view,
                                  .era = bench->talk.era};
        if (asked.whom.party == PARTY_NONE)
            continue;
        weights.key = (struct block_key){.step = asked.version, .block = (uint32_t)i};
        weights.key.codec = is_rounded ? settings.exchange.codec : CODEC_F32;
        codec_encode(weights.key.codec, zeros, count, bytes);
        weights.payload = fuzz_buffer(bytes, codec_bytes(weights.key.codec, count));
        hear(bench, asked.whom, &weights);
        buffer_unref(weights.payload);
    }
}

static void speak(struct bench *bench, struct feed *feed)
{
    static const struct address parties[] = {
        {PARTY_SHARD, 70}, {PARTY_SHARD, 71}, {PARTY_SHARD, 99}, {PARTY_COORDINATOR, 0}};
    struct address from = parties[feed_u8(feed) & 3];
    struct message msg;
    if (!talk_next(feed, &bench->talk, from.id, &msg))
        return;
    for (size_t times = talk_times(feed); times > 0; times--)
        hear(bench, from, &msg);
    if (msg.kind == MSG_VIEW && from.party == PARTY_COORDINATOR) {
        bench->talk.view = msg.view_body.number;
        bench->talk.era = msg.view_body.era;
    }
    buffer_unref(msg.payload);
}

static void turn(struct bench *bench, struct feed *feed)
{
    uint8_t first = *feed->at;
    if (first >= 240) {
        bench->now_ms += (uint64_t)(feed_u8(feed) - 239) * 60;
        hear(bench, (struct address){0}, NULL);
    } else if (first >= 216) {
        answer(bench, feed_u8(feed));
    } else if (first >= 208) {
        serve(bench, feed_u8(feed));
    } else {
        speak(bench, feed);
    }
    if (bench->is_dropped)
        drop_tasks(bench);
}

static void begin(struct bench *bench)
{
    static const uint8_t usual[] = {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1};
    struct feed feed = {usual, usual + sizeof(usual)};
    struct message view = {.kind = MSG_VIEW, .run = bench->talk.run, .view = 1, .era = 1};
    fill_view(&feed, &view.view_body);
    hear(bench, (struct address){0}, NULL);
    hear(bench, (struct address){PARTY_COORDINATOR, 0}, &view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct bench bench = {.now_ms = 1000};
    struct buffer_pool *pool = NULL;
    unsigned byte = feed_u8(&feed), more = feed_u8(&feed);
    fill_settings(byte, more);
    make_layout();
    bench.talk = (struct talk){.run = {5, 6}, .view = 1, .era = 1, .fill_view = fill_view};
    bench.talk.sizes[0] = codec_bytes(settings.exchange.codec, 256);
    bench.talk.sizes[1] = 256 * sizeof(float);
    bench.talk.sizes[2] = codec_bytes(settings.exchange.codec, 8);
    bench.talk.sizes[3] = codec_bytes(settings.exchange.codec, 88);
    must(buffer_pool_create(0, &pool) == 0);
    must(arena_create(4096, 1 << 24, &bench.talk.arena) == 0);
    struct exchange_spec spec = {.settings = &settings, .incarnation = ME, .pool = pool};
    spec.hello = (struct hello){
        .layout = layout, .train_count = 12, .test_count = 4, .thread_count = 1};
    must(exchange_create(&spec, &bench.exchange) == 0);
    begin(&bench);
    for (size_t i = 0; i < TURNS_MAX && feed_left(&feed) > 0; i++) {
        turn(&bench, &feed);
        must(buffer_pool_bytes(pool) <= HELD_BYTES_MAX);
    }
    exchange_destroy(bench.exchange);
    outbox_free(&bench.out);
    buffer_pool_destroy(pool);
    arena_destroy(bench.talk.arena);
    return 0;
}
