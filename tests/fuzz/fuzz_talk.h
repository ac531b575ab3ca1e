#ifndef TESTS_FUZZ_FUZZ_TALK_H
#define TESTS_FUZZ_FUZZ_TALK_H

/* fuzz_talk - what peers that have a key may say to a state machine: messages of any kind whose
 * fields lie near those that matter, and that have passed the check of the wire.
 *
 * Owner:    the fuzzers of state machines.  Surprise: texts and arrays are borrowed from statics.
 */
#include "proto/message.h"
#include "proto/outbox.h"
#include "proto/wire_check.h"
#include "tests/fuzz/fuzz.h"

enum { TALK_PAYLOAD_MAX = 16384, TALK_OUTBOX_MAX = 4096, TALK_AGAIN_MAX = 64 };

/* What a stranger knows of the run. */
struct talk {
    struct run_id run;
    uint32_t view, era; /* as the state machine has them, or nearly */
    struct arena *arena;
    /* The bodies that are particular to who listens; NULL: such messages are not said. */
    void (*fill_hello)(struct feed *feed, struct hello *out);
    void (*fill_view)(struct feed *feed, struct view *out);
    size_t sizes[4]; /* of payloads that would be right, in bytes */
};

static inline struct lane_node talk_lanes(struct feed *feed)
{
    uint8_t byte = feed_u8(feed);
    uint32_t width = 1u << (byte & 3);
    return (struct lane_node){(byte >> 2) * width, ((byte >> 2) + 1u) * width};
}

static inline void talk_outcome(struct feed *feed, struct outcome *out)
{
    static const char *const texts[] = {"", "x", "/no/such/folder", "50 %s and \t %n"};
    out->code = -(int32_t)(feed_u8(feed) % 15);
    out->step = feed_number(feed);
    out->newest = feed_number(feed);
    snprintf(out->text, sizeof(out->text), "%s", texts[feed_u8(feed) & 3]);
}

static inline void talk_beat(struct feed *feed, struct beat *out)
{
    out->sent_ms = feed_number(feed);
    out->step = feed_number(feed);
    out->lack_begin = feed_u8(feed) & 7;
    out->lack_end = feed_u8(feed) & 7;
    out->version_sum = feed_number(feed);
    out->bytes_in = feed_number(feed);
    out->bytes_out = feed_number(feed);
    out->block_count = feed_number(feed);
    out->exchange_us = feed_number(feed);
    out->shared_count = feed_u8(feed) & 1;
    out->shared_shards[0] = feed_u8(feed);
    out->staleness_count[0] = feed_number(feed);
}

static inline void talk_lane(struct feed *feed, struct lane_result *out)
{
    static const double losses[] = {1.0, -1e300, 1.0 / 0.0, 0.0 / 0.0};
    uint8_t flags = feed_u8(feed);
    out->lane = flags & 7;
    out->is_void = (flags & 8) != 0;
    out->loss_sum = losses[(flags & 0xc0) == 0xc0 ? flags >> 4 & 3 : 0];
    out->step = feed_number(feed);
    out->sample_count = feed_number(feed);
    out->compute_us = feed_number(feed);
}

static inline void talk_key(struct feed *feed, enum message_kind kind, struct block_key *out)
{
    struct lane_node lanes = talk_lanes(feed);
    out->step = feed_number(feed);
    out->block = (uint32_t)feed_number(feed);
    if (kind == MSG_PUSH || kind == MSG_VOID || kind == MSG_PASS || kind == MSG_UPDATE ||
        kind == MSG_UPDATE_VOID || kind == MSG_LACK) {
        out->lane_begin = lanes.begin;
        out->lane_end = lanes.end;
    }
    if (kind == MSG_PUSH || kind == MSG_PULL || kind == MSG_WEIGHTS || kind == MSG_UPDATE)
        out->codec = (enum codec_kind)(feed_u8(feed) % CODEC_COUNT);
}

/* Mostly of a size that fits, filled with one number or with what comes. */
static inline struct buffer *talk_payload(struct feed *feed, const struct talk *talk)
{
    static const uint32_t words[] = {0,          0x3f800000, 0xbf800000, 0x7fc00000,
                                     0x7f800000, 0x7f7fffff, 1,          0xffffffff};
    unsigned char bytes[TALK_PAYLOAD_MAX];
    uint8_t first = feed_u8(feed), fill = feed_u8(feed);
    size_t size = first < 240 ? talk->sizes[first & 3] : 4 * feed_number(feed);
    if (size == 0 || size > TALK_PAYLOAD_MAX)
        return NULL;
    for (size_t at = 0; at < size; at += 4)
        memcpy(bytes + at, &words[fill & 7], size - at < 4 ? size - at : 4);
    if (fill >= 128) {
        struct feed part = feed_part(feed, size);
        memcpy(bytes, part.at, feed_left(&part));
    }
    return fuzz_buffer(bytes, size);
}

static inline bool talk_body(struct feed *feed, const struct talk *talk, struct message *msg)
{
    static const char digits[] = "0123456789abcdef";
    switch (wire_kind_of(msg->kind)->body) {
    case BODY_HELLO:
        if (talk->fill_hello != NULL)
            talk->fill_hello(feed, &msg->hello);
        return talk->fill_hello != NULL;
    case BODY_VIEW:
        if (talk->fill_view != NULL)
            talk->fill_view(feed, &msg->view_body);
        return talk->fill_view != NULL;
    case BODY_WELCOME:
        msg->welcome.rank = feed_u16(feed);
        return true;
    case BODY_BEAT:
        talk_beat(feed, &msg->beat);
        return true;
    case BODY_LANE:
        talk_lane(feed, &msg->lane);
        return true;
    case BODY_DIGEST:
        msg->digest.step = feed_number(feed);
        memset(msg->digest.hex, digits[feed_u8(feed) & 15], HEX_BYTES - 1);
        return true;
    case BODY_OUTCOME:
        talk_outcome(feed, &msg->outcome);
        return true;
    case BODY_KEY:
        talk_key(feed, msg->kind, &msg->key);
        return true;
    case BODY_DRAIN:
        msg->drain.is_server = (feed_u8(feed) & 1) != 0;
        msg->drain.rank = feed_u16(feed);
        return true;
    case BODY_NONE:
        return true;
    }
    return false;
}

/* The next message, with a payload of its own; false: it is none that could be received. */
static inline bool talk_next(struct feed *feed, const struct talk *talk, uint64_t sender,
                             struct message *out)
{
    struct err_msg why;
    uint8_t kind = feed_u8(feed), flags = feed_u8(feed);
    *out = (struct message){.kind = (enum message_kind)(1 + kind % MSG_PULL_OLD),
                            .run = talk->run,
                            .sender = sender,
                            .view = talk->view,
                            .era = talk->era};
    if ((flags & 7) == 7)
        out->view = (uint32_t)feed_number(feed);
    if ((flags & 0x38) == 0x38)
        out->era = (uint32_t)feed_number(feed);
    if ((flags & 0xc0) == 0xc0)
        out->run.low += feed_u8(feed);
    if (!talk_body(feed, talk, out))
        return false;
    if (wire_kind_of(out->kind)->payload != PAYLOAD_NONE)
        out->payload = talk_payload(feed, talk);
    if (wire_check(out, &why) == 0)
        return true;
    buffer_unref(out->payload);
    return false;
}

/* How often it is said. */
static inline size_t talk_times(struct feed *feed)
{
    uint8_t byte = feed_u8(feed);
    return byte < 240 ? 1 : 1 + byte % TALK_AGAIN_MAX;
}

/* What a state machine says can be sent, and is not without bound. */
static inline void talk_check(const struct talk *talk, const struct outbox *out)
{
    must(!outbox_failed(out) && out->count <= TALK_OUTBOX_MAX);
    for (size_t i = 0; i < out->count; i++) {
        const struct message *msg = &out->items[i].msg;
        const void *bytes;
        size_t size;
        if (wire_kind_of(msg->kind) == NULL) /* stays inside */
            continue;
        arena_reset(talk->arena);
        must(message_pack(msg, talk->arena, &bytes, &size) == 0);
    }
}

#endif
