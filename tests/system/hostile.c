/* hostile KEYS RANK ENDPOINT shard|coordinator SECONDS WHAT: a peer with a worker's valid key that
 * means harm.  WHAT it does to the listener, for so many seconds:
 *
 *   garbage   random bytes as headers and payloads
 *   lies      well-formed messages with fields of them changed: sizes, ranges, counts, kinds
 *   flood     whole blocks of 1 MiB, as fast as they go
 *   replay    the same messages again and again, hello and pushes, each from the same routing id
 *   crowd     1,000 connections at once, which say a little and stay
 *
 * Prints what it sent.  Exit code 0 also when it is not heard: that is for the script to judge. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/philox.h"
#include "common/random.h"
#include "common/transport.h"
#include "proto/message.h"

enum { CROWD = 1000, AT_ONCE = 64 };
enum { BLOCK_BYTES = 1 << 20, HEADER_BYTES = 4096, ARENA_BYTES = 1 << 20 };

struct hostile {
    struct transport *transport;
    struct channel *channel;
    const char *endpoint;
    enum party listener;
    struct buffer_pool *pool;
    struct arena *arena;
    uint64_t end_ms, sent_count, sent_bytes, self;
    struct draw_key key;
    uint64_t drawn;
};

static uint32_t draw(struct hostile *hostile)
{
    return draw_u32(&hostile->key, hostile->drawn++);
}

static struct channel *connect_as(struct hostile *hostile, uint64_t id)
{
    struct channel *channel = NULL;
    struct err_msg why = {0};
    struct ends ends = {{PARTY_WORKER, id}, hostile->listener};
    if (channel_connect(hostile->transport, hostile->endpoint, ends, &channel, &why) != 0) {
        fprintf(stderr, "hostile: %s\n", why.text);
        exit(1);
    }
    return channel;
}

/* Lets what was sent leave, and throws away what is answered. */
static void breathe(struct channel *channel, int wait_ms)
{
    struct ready ready;
    struct frame frame;
    if (transport_wait(&channel, 1, -1, wait_ms, &ready) != 0)
        return;
    while (channel_receive(channel, &frame) == 0)
        frame_release(&frame);
}

static void send_bytes(struct hostile *hostile, struct channel *channel, const void *header,
                       size_t header_bytes, struct buffer *payload)
{
    if (channel_send(channel, (struct address){0}, header, header_bytes, payload) != 0)
        return;
    hostile->sent_count++;
    hostile->sent_bytes += header_bytes + (payload == NULL ? 0 : payload->size_bytes);
}

static struct buffer *random_payload(struct hostile *hostile, size_t bytes)
{
    struct buffer *payload = buffer_pool_take(hostile->pool, bytes);
    if (payload != NULL)
        draw_fill_u32(&hostile->key, hostile->drawn & ~UINT64_C(3), payload->data, bytes / 4);
    return payload;
}

static void send_garbage(struct hostile *hostile, struct channel *channel)
{
    uint32_t header[HEADER_BYTES / 4];
    size_t bytes = draw(hostile) % HEADER_BYTES;
    struct buffer *payload =
        draw(hostile) % 2 == 0 ? NULL : random_payload(hostile, 4 * (1 + draw(hostile) % 4096));
    draw_fill_u32(&hostile->key, hostile->drawn & ~UINT64_C(3), header, HEADER_BYTES / 4);
    hostile->drawn += HEADER_BYTES / 4;
    send_bytes(hostile, channel, header, bytes, payload);
    buffer_unref(payload);
}

/* A message of a worker's, with numbers from anywhere. */
static struct message make_message(struct hostile *hostile)
{
    static const enum message_kind kinds[] = {MSG_HELLO, MSG_BEAT, MSG_LANE_DONE, MSG_PUSH,
                                              MSG_PULL, MSG_VOID, MSG_BYE, MSG_WEIGHTS_DIGEST,
                                              MSG_PULL_OLD, MSG_STATUS_ASK, MSG_DRAIN,
                                              MSG_UPDATE, MSG_BLOCK_STATE, MSG_FINISH};
    struct message msg = {.kind = kinds[draw(hostile) % ARRAY_LEN(kinds)],
                          .sender = hostile->self,
                          .view = draw(hostile) % 4,
                          .era = draw(hostile) % 4};
    if (msg.kind == MSG_HELLO)
        snprintf(msg.hello.version, sizeof(msg.hello.version), "0.0");
    else if (msg.kind != MSG_DRAIN && msg.kind != MSG_BEAT)
        msg.key = (struct block_key){.step = draw(hostile) % 1000,
                                     .block = draw(hostile) % 8,
                                     .lane_end = 1U << draw(hostile) % 4};
    bool has_payload =
        msg.kind == MSG_PUSH || msg.kind == MSG_UPDATE || msg.kind == MSG_BLOCK_STATE;
    msg.payload = has_payload ? random_payload(hostile, 4 * (1 + draw(hostile) % 1000)) : NULL;
    return msg;
}

static void send_message(struct hostile *hostile, struct channel *channel, bool is_changed,
                         unsigned times)
{
    struct message msg = make_message(hostile);
    const void *packed;
    size_t bytes;
    unsigned char copy[HEADER_BYTES];
    arena_reset(hostile->arena);
    int err = message_pack(&msg, hostile->arena, &packed, &bytes);
    if (err == 0 && bytes > 0 && bytes <= sizeof(copy)) {
        memcpy(copy, packed, bytes);
        for (unsigned i = 0; is_changed && i < 1 + draw(hostile) % 4; i++)
            copy[draw(hostile) % bytes] = (unsigned char)draw(hostile);
        for (unsigned i = 0; i < times; i++)
            send_bytes(hostile, channel, copy, bytes, msg.payload);
    }
    buffer_unref(msg.payload);
}

static void flood(struct hostile *hostile)
{
    struct buffer *block = random_payload(hostile, BLOCK_BYTES);
    uint32_t header[16] = {0};
    while (block != NULL && clock_now_ms() < hostile->end_ms) {
        for (int i = 0; i < AT_ONCE; i++)
            send_bytes(hostile, hostile->channel, header, sizeof(header), block);
        breathe(hostile->channel, 1);
        while (atomic_load(&block->ref_count) > AT_ONCE && clock_now_ms() < hostile->end_ms)
            breathe(hostile->channel, 1);
    }
    buffer_unref(block);
}

static void crowd(struct hostile *hostile)
{
    struct channel *channels[CROWD];
    for (size_t i = 0; i < CROWD; i++) {
        channels[i] = connect_as(hostile, hostile->self + 1 + i);
        send_garbage(hostile, channels[i]);
    }
    while (clock_now_ms() < hostile->end_ms)
        for (size_t i = 0; i < CROWD && clock_now_ms() < hostile->end_ms; i++)
            breathe(channels[i], i % 100 == 0 ? 10 : 0);
    for (size_t i = 0; i < CROWD; i++)
        channel_destroy(channels[i]);
}

static void pester(struct hostile *hostile, const char *what)
{
    bool is_garbage = strcmp(what, "garbage") == 0, is_lying = strcmp(what, "lies") == 0;
    while (clock_now_ms() < hostile->end_ms) {
        for (int i = 0; i < AT_ONCE; i++) {
            if (is_garbage)
                send_garbage(hostile, hostile->channel);
            else
                send_message(hostile, hostile->channel, is_lying, is_lying ? 1 : 20);
        }
        breathe(hostile->channel, 1);
    }
}

int main(int argc, char **argv)
{
    struct hostile hostile = {.key = {.seed = 1}};
    struct keyring *ring;
    struct err_msg why = {0};
    if (argc != 7) {
        fprintf(stderr, "usage: %s KEYS RANK ENDPOINT shard|coordinator SECONDS WHAT\n", argv[0]);
        return 2;
    }
    if (keyring_open(argv[1], KEY_WORKER, atoi(argv[2]), &ring, &why) != 0 ||
        transport_create(1, &hostile.transport) != 0 ||
        random_bytes(&hostile.self, sizeof(hostile.self)) != 0 ||
        buffer_pool_create(0, &hostile.pool) != 0 ||
        arena_create(HEADER_BYTES, ARENA_BYTES, &hostile.arena) != 0) {
        fprintf(stderr, "hostile: %s\n", why.text);
        return 1;
    }
    transport_use_keys(hostile.transport, ring);
    hostile.endpoint = argv[3];
    hostile.listener = strcmp(argv[4], "shard") == 0 ? PARTY_SHARD : PARTY_COORDINATOR;
    hostile.end_ms = clock_now_ms() + (uint64_t)(1000 * atof(argv[5]));
    hostile.channel = connect_as(&hostile, hostile.self);
    if (strcmp(argv[6], "flood") == 0)
        flood(&hostile);
    else if (strcmp(argv[6], "crowd") == 0)
        crowd(&hostile);
    else
        pester(&hostile, argv[6]);
    printf("%s: sent %llu messages, %llu bytes\n", argv[6], (unsigned long long)hostile.sent_count,
           (unsigned long long)hostile.sent_bytes);
    fflush(stdout);
    _exit(0); /* what is still on its way is not waited for */
}
