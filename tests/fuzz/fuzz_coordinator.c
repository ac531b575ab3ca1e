/* A coordinator among members, strangers, clients and a store that say anything: it does not crash,
 * what it says can be sent, every view that it makes is one, and nothing grows without bound.
 *
 * Input: the job (1 byte), then turns: who speaks, and what. */
#include "tests/fuzz/fuzz_coordinator.h"
#include "tests/fuzz/fuzz_talk.h"

enum { TURNS_MAX = 400, LAYOUTS = 3, MEMBERS_MAX = 64 };

static struct layout *layouts[LAYOUTS];

static void make_layouts(void)
{
    static const uint32_t lengths[LAYOUTS] = {12, 16, 4096};
    for (size_t i = 0; i < LAYOUTS && layouts[i] == NULL; i++) {
        struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {lengths[i]}};
        must(layout_create(&tensor, 1, i == 1 ? 64 : FUZZ_BLOCK_BYTES, &layouts[i], NULL) == 0);
    }
}

/* Mostly what a server or worker of this job says. */
static void fill_hello(struct feed *feed, struct hello *out)
{
    static const char *const endpoints[] = {"ipc:///here", "tcp://here:1", "tcp://*:0", ""};
    uint8_t flags = feed_u8(feed);
    *out = (struct hello){.rank = (int32_t)(feed_u8(feed) & 3) - 1,
                          .shard_count = flags & 1,
                          .pid = feed_u8(feed) & 3,
                          .host = "here",
                          .version = TALWEG_VERSION,
                          .kernels = "Haswell",
                          .fingerprint = FUZZ_PRINT,
                          .thread_count = flags >> 1 & 1,
                          .train_count = 8,
                          .test_count = 2,
                          .layout = layouts[0]};
    snprintf(out->endpoint, sizeof(out->endpoint), "%s", endpoints[flags >> 2 & 1]);
    if (flags < 192)
        return;
    out->rank = (int32_t)feed_number(feed);
    out->shard_count = feed_u8(feed);
    out->shard_idx = feed_u8(feed);
    out->fingerprint[0] = (char)feed_u8(feed);
    out->version[0] = (char)feed_u8(feed);
    out->thread_count = (uint32_t)feed_number(feed);
    out->train_count = feed_number(feed);
    out->test_count = feed_number(feed);
    uint8_t which = feed_u8(feed) & 3;
    out->layout = which < LAYOUTS ? layouts[which] : NULL;
    snprintf(out->endpoint, sizeof(out->endpoint), "%s", endpoints[feed_u8(feed) & 3]);
}

static struct address speaker(struct feed *feed)
{
    static const struct address parties[] = {
        {PARTY_WORKER, 31}, {PARTY_WORKER, 32}, {PARTY_WORKER, 33},        {PARTY_SHARD, 30},
        {PARTY_SHARD, 51},  {PARTY_SHARD, 52},  {PARTY_STORE, FUZZ_STORE}, {PARTY_CLIENT, 9}};
    uint8_t byte = feed_u8(feed);
    struct address from = parties[byte & 7];
    if ((byte & 0x78) == 0x78) /* somebody new, as often as a stranger likes */
        from = (struct address){(byte & 1) != 0 ? PARTY_WORKER : PARTY_SHARD,
                                1000u + feed_u8(feed)};
    return from;
}

/* What it says, and to whom a view goes: no more than there are members. */
static void check_said(const struct talk *talk, struct coordinator *c, struct outbox *out)
{
    talk_check(talk, out);
    for (size_t i = 0; i < out->count; i++) {
        struct err_msg why;
        if (out->items[i].msg.kind == MSG_VIEW)
            must(wire_check(&out->items[i].msg, &why) == 0);
    }
    must(coordinator_members(c)->count <= 4 * MEMBERS_MAX + 8);
    outbox_clear(out);
}

static void follow(struct coordinator *c, struct talk *talk)
{
    const struct view *view = coordinator_view(c);
    talk->view = view == NULL ? 0 : view->number;
    talk->era = view == NULL ? 0 : view->era;
}

static void speak(struct coordinator *c, struct talk *talk, struct feed *feed, uint64_t now_ms,
                  struct outbox *out)
{
    struct address from = speaker(feed);
    struct message msg;
    if (!talk_next(feed, talk, from.id, &msg))
        return;
    for (size_t times = talk_times(feed); times > 0; times--) {
        coordinator_step(c, now_ms, from, &msg, out);
        check_said(talk, c, out);
    }
    buffer_unref(msg.payload);
}

/* All that the job asks for say hello. */
static void begin(struct coordinator *c, struct talk *talk, uint64_t now_ms, struct outbox *out)
{
    static const struct address all[] = {
        {PARTY_SHARD, 30}, {PARTY_SHARD, 51}, {PARTY_WORKER, 31}, {PARTY_WORKER, 32}};
    coordinator_step(c, now_ms, (struct address){0}, NULL, out);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const uint8_t usual[] = {all[i].party == PARTY_SHARD, 1 + (i & 1), (uint8_t)i};
        struct feed feed = {usual, usual + sizeof(usual)};
        struct message hello = {.kind = MSG_HELLO, .sender = all[i].id};
        fill_hello(&feed, &hello.hello);
        coordinator_step(c, now_ms, all[i], &hello, out);
    }
    check_said(talk, c, out);
}

static void turn(struct coordinator *c, struct talk *talk, struct feed *feed, uint64_t *now_ms,
                 struct outbox *out)
{
    static const struct message gone = {.kind = MSG_GONE};
    uint8_t first = *feed->at;
    if (first >= 224) {
        *now_ms += (uint64_t)(feed_u8(feed) - 223) * 60;
        coordinator_step(c, *now_ms, (struct address){0}, NULL, out);
    } else if (first == 223) {
        feed_u8(feed);
        coordinator_step(c, *now_ms, speaker(feed), &gone, out);
    } else if (first == 222) {
        feed_u8(feed);
        coordinator_stop(c, out);
    } else {
        speak(c, talk, feed, *now_ms, out);
    }
    check_said(talk, c, out);
    follow(c, talk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct outbox out = {0};
    struct settings settings;
    uint64_t now_ms = 1000;
    uint8_t flags = feed_u8(&feed), more = feed_u8(&feed);
    make_layouts();
    fuzz_coordinator_settings(flags, &settings);
    struct talk talk = {.run = fuzz_run, .fill_hello = fill_hello};
    must(arena_create(4096, 1 << 24, &talk.arena) == 0);
    struct coordinator *c = fuzz_make_coordinator(&settings);
    if ((more & 1) != 0)
        begin(c, &talk, now_ms, &out);
    follow(c, &talk);
    for (size_t i = 0; i < TURNS_MAX && feed_left(&feed) > 0; i++)
        turn(c, &talk, &feed, &now_ms, &out);
    fuzz_coordinator_look(c, now_ms);
    coordinator_snapshot(c, &out);
    talk_check(&talk, &out);
    coordinator_destroy(c);
    outbox_free(&out);
    arena_destroy(talk.arena);
    return 0;
}
