/* A shard among a coordinator, workers, other shards and a store that say anything: it does not
 * crash, what it says can be sent, and what it holds stays within bounds.
 *
 * Input: the job (2 bytes), then turns: who speaks, and what. */
#include "ps/shard.h"
#include "tests/fuzz/fuzz_talk.h"

enum { LANES = 4, MEMBERS = 3, WORKERS = 3, ME = 7, TURNS_MAX = 400 };

/* Far above the state of these blocks, twice, and all that a shard may keep for others. */
enum { HELD_BYTES_MAX = 8 << 20 };

static struct settings settings;
static struct layout *layout;
static struct shard_member members[MEMBERS];
static struct worker_member workers[WORKERS];

static void fill_settings(unsigned byte, unsigned more)
{
    static const enum consistency_kind kinds[] = {CONSISTENCY_BSP, CONSISTENCY_SSP,
                                                  CONSISTENCY_ASYNC, CONSISTENCY_LOCAL};
    static const enum optimizer_kind optimizers[] = {OPTIMIZER_SGD, OPTIMIZER_ADAM};
    settings = (struct settings){0};
    settings.job.lanes = LANES;
    settings.job.batch = 4;
    settings.job.on_nonfinite = (byte & 16) != 0 ? NONFINITE_SKIP : NONFINITE_STOP;
    settings.optimizer.kind = optimizers[byte >> 5 & 1];
    settings.optimizer.rate = settings.optimizer.epsilon = 0.5;
    settings.cluster.wait_s = settings.cluster.give_up_s = 1000;
    settings.cluster.silence_s = settings.cluster.answer_s = 10;
    settings.cluster.beat_ms = 100;
    settings.exchange.retry_ms = 100;
    settings.exchange.parked_bytes = 4096;
    settings.exchange.consistency = kinds[byte & 3];
    settings.exchange.local_steps = 1 + (more & 3);
    settings.exchange.staleness = more >> 2 & 3;
    settings.exchange.codec = (enum codec_kind)(byte >> 2 & 3);
    settings.exchange.topk_fraction = 0.1;
    settings.checkpoint.every = more >> 4 & 3;
}

static void make_layout(void)
{
    static const struct tensor_spec tensors[] = {
        {.name = "w", .dims = 1, .shape = {600}, .init = INIT_HE, .init_scale = 1},
        {.name = "b", .dims = 1, .shape = {8}, .has_decay = true}};
    if (layout == NULL)
        must(layout_create(tensors, ARRAY_LEN(tensors), 1024, &layout, NULL) == 0);
    for (uint32_t i = 0; i < MEMBERS; i++)
        members[i] = (struct shard_member){.rank = i, .incarnation = ME + i};
    for (uint32_t i = 0; i < WORKERS; i++)
        workers[i] = (struct worker_member){.rank = i, .incarnation = 101 + i};
}

static uint32_t holder(struct feed *feed)
{
    uint32_t idx = feed_u8(feed) & 3;
    return idx < MEMBERS ? idx : NOBODY;
}

static void fill_view(struct feed *feed, struct view *out)
{
    static uint32_t primary[8], backup[8], learner[8], owners[LANES];
    must(layout->block_count <= ARRAY_LEN(primary));
    for (size_t i = 0; i < layout->block_count; i++) {
        primary[i] = feed_u8(feed) % MEMBERS;
        backup[i] = holder(feed);
        learner[i] = holder(feed);
    }
    for (size_t i = 0; i < LANES; i++)
        owners[i] = feed_u8(feed) % WORKERS;
    *out = (struct view){.number = 1 + (uint32_t)feed_number(feed),
                         .era = 1 + (feed_u8(feed) & 3),
                         .start_step = feed_u8(feed) & 3,
                         .step_count = 3 + feed_number(feed),
                         .train_count = 10 + (feed_u8(feed) & 7),
                         .is_restored = (feed_u8(feed) & 1) != 0,
                         .store_incarnation = 55,
                         .store_endpoint = "inproc://d",
                         .shard_count = MEMBERS,
                         .worker_count = WORKERS,
                         .block_count = layout->block_count,
                         .lane_count = LANES,
                         .shards = members,
                         .workers = workers,
                         .block_shard = primary,
                         .block_backup = backup,
                         .block_learner = learner,
                         .lane_worker = owners,
                         .layout = layout};
}

static struct address speaker(uint8_t byte)
{
    static const struct address parties[] = {
        {PARTY_WORKER, 101}, {PARTY_WORKER, 102},   {PARTY_WORKER, 999}, {PARTY_SHARD, ME + 1},
        {PARTY_SHARD, 8},    {PARTY_SHARD, ME + 2}, {PARTY_STORE, 55},   {PARTY_COORDINATOR, 0}};
    return parties[byte & 7];
}

/* The first view, which makes this shard primary of two blocks, backup and learner of others. */
static void begin(struct shard *shard, struct talk *talk, uint64_t now_ms, struct outbox *out)
{
    static const uint8_t usual[] = {0, 1, 3, 1, 0, 3, 1, 3, 0, 0, 3, 2, 0, 1, 2, 0, 0, 0, 0, 4};
    struct feed feed = {usual, usual + sizeof(usual)};
    struct message view = {.kind = MSG_VIEW, .run = talk->run, .view = 1, .era = 1};
    fill_view(&feed, &view.view_body);
    shard_step(shard, now_ms, (struct address){0}, NULL, out);
    outbox_clear(out);
    shard_step(shard, now_ms, speaker(7), &view, out);
    talk_check(talk, out);
    outbox_clear(out);
}

static void speak(struct shard *shard, struct talk *talk, struct feed *feed, uint64_t now_ms,
                  struct outbox *out)
{
    struct address from = speaker(feed_u8(feed));
    struct message msg;
    if (!talk_next(feed, talk, from.id, &msg))
        return;
    for (size_t times = talk_times(feed); times > 0; times--) {
        shard_step(shard, now_ms, from, &msg, out);
        talk_check(talk, out);
        outbox_clear(out);
    }
    if (msg.kind == MSG_VIEW && from.party == PARTY_COORDINATOR) {
        talk->view = msg.view_body.number > talk->view ? msg.view_body.number : talk->view;
        talk->era = msg.view_body.era > talk->era ? msg.view_body.era : talk->era;
    }
    buffer_unref(msg.payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct outbox out = {0};
    struct buffer_pool *pool = NULL;
    struct shard *shard;
    struct outcome end;
    uint64_t now_ms = 1000;
    unsigned byte = feed_u8(&feed), more = feed_u8(&feed);
    fill_settings(byte, more);
    make_layout();
    struct talk talk = {.run = {11, 22}, .view = 1, .era = 1, .fill_view = fill_view};
    size_t state_count = settings.optimizer.kind == OPTIMIZER_ADAM ? 3 : 1;
    talk.sizes[0] = codec_bytes(settings.exchange.codec, 256);
    talk.sizes[1] = 256 * sizeof(float);
    talk.sizes[2] = state_count * 256 * sizeof(float);
    talk.sizes[3] = talk.sizes[2] + LANES * sizeof(uint64_t);
    must(buffer_pool_create(0, &pool) == 0);
    must(arena_create(4096, 1 << 24, &talk.arena) == 0);
    struct shard_spec spec = {.settings = &settings, .incarnation = ME, .pool = pool};
    must(shard_create(&spec, &shard) == 0);
    begin(shard, &talk, now_ms, &out);
    for (size_t turn = 0; turn < TURNS_MAX && feed_left(&feed) > 0; turn++) {
        uint8_t first = *feed.at;
        if (first >= 224) {
            now_ms += (uint64_t)(feed_u8(&feed) - 223) * 40;
            shard_step(shard, now_ms, (struct address){0}, NULL, &out);
            talk_check(&talk, &out);
            outbox_clear(&out);
        } else {
            speak(shard, &talk, &feed, now_ms, &out);
        }
        must(buffer_pool_bytes(pool) <= HELD_BYTES_MAX);
    }
    if (shard_is_over(shard, &end))
        must(end.code <= 0);
    shard_destroy(shard);
    outbox_free(&out);
    buffer_pool_destroy(pool);
    arena_destroy(talk.arena);
    return 0;
}
