#include "deploy/doctor/echo_client.h"

#include <stdlib.h>
#include <string.h>
#include "common/arena.h"
#include "common/clock.h"
#include "common/random.h"
#include "common/transport.h"
#include "proto/message.h"

enum {
    SMALL_BYTES = 64,
    SMALL_COUNT = 15,
    PIECE_BYTES = 64 << 10,
    TOTAL_BYTES = 16 << 20,
    LONG_US = 80000 /* a round that took so long is told well */
};

struct echo_client {
    struct transport *transport;
    struct channel *channel;
    struct arena *arena;
    struct buffer_pool *pool;
    uint64_t id;
};

int echo_client_open(const char *endpoint, const char *keys, struct echo_client **out,
                     struct err_msg *why)
{
    struct echo_client *client = calloc(1, sizeof(*client));
    struct keyring *ring = NULL;
    int err = client ? random_bytes(&client->id, sizeof(client->id)) : ERR_NOMEM;
    if (err == 0)
        err = arena_create(4096, 1 << 20, &client->arena);
    if (err == 0)
        err = buffer_pool_create(0, &client->pool);
    if (err == 0)
        err = transport_create(1, &client->transport);
    if (err != 0)
        err_set(why, err, "%s", err_text(err));
    if (err == 0 && keys[0])
        err = keyring_open(keys, KEY_CLIENT, -1, &ring, why);
    if (ring)
        transport_use_keys(client->transport, ring);
    if (err == 0) {
        struct ends ends = {{PARTY_CLIENT, client->id}, PARTY_SHARD};
        err = channel_connect(client->transport, endpoint, ends, &client->channel, why);
    }
    if (err != 0) {
        echo_client_close(client);
        return err;
    }
    *out = client;
    return 0;
}

void echo_client_close(struct echo_client *client)
{
    if (!client)
        return;
    channel_destroy(client->channel);
    transport_destroy(client->transport);
    buffer_pool_destroy(client->pool);
    arena_destroy(client->arena);
    free(client);
}

static int send_one(struct echo_client *client, size_t size_bytes)
{
    const void *header;
    size_t header_bytes;
    struct buffer *payload = buffer_pool_take(client->pool, size_bytes);
    if (!payload)
        return ERR_NOMEM;
    memset(payload->data, 0x5a, size_bytes);
    struct message msg = {.kind = MSG_ECHO, .sender = client->id, .payload = payload};
    arena_reset(client->arena);
    int err = message_pack(&msg, client->arena, &header, &header_bytes);
    if (err == 0)
        err = channel_send(client->channel, (struct address){0}, header, header_bytes, payload);
    buffer_unref(payload);
    return err;
}

/* Takes echoes until so many bytes have come back.  ERR_TIMEOUT. */
static int take(struct echo_client *client, size_t size_bytes, uint64_t end_ms)
{
    size_t taken = 0;
    while (taken < size_bytes) {
        struct ready ready;
        struct frame frame;
        uint64_t now_ms = clock_now_ms();
        if (now_ms >= end_ms)
            return ERR_TIMEOUT;
        int err = transport_wait(&client->channel, 1, -1, (int)(end_ms - now_ms), &ready);
        if (err == 0)
            err = channel_receive(client->channel, &frame);
        if (err == ERR_AGAIN)
            continue;
        if (err != 0)
            return err;
        taken += frame.payload ? frame.payload->size_bytes : 0;
        frame_release(&frame);
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int echo_client_round_trip(struct echo_client *client, unsigned timeout_ms, double *least_ms_out,
                           double *median_ms_out)
{
    double took_ms[SMALL_COUNT];
    size_t count = 0;
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    int err = 0;
    /* The first makes the connection and is not counted. */
    for (size_t i = 0; i <= SMALL_COUNT && err == 0; i++) {
        uint64_t begin_us = clock_now_us();
        err = send_one(client, SMALL_BYTES);
        if (err == 0)
            err = take(client, SMALL_BYTES, end_ms);
        if (err == 0 && i > 0)
            took_ms[count++] = (double)(clock_now_us() - begin_us) / 1000;
    }
    if (count == 0)
        return err;
    qsort(took_ms, count, sizeof(took_ms[0]), compare);
    *least_ms_out = took_ms[0];
    *median_ms_out = took_ms[count / 2];
    return 0;
}

int echo_client_bandwidth(struct echo_client *client, unsigned timeout_ms,
                          double *bytes_per_s_out)
{
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    size_t sent_bytes = 0, round_bytes = PIECE_BYTES;
    bool is_told = false;
    while (sent_bytes + round_bytes <= TOTAL_BYTES) {
        uint64_t begin_us = clock_now_us();
        int err = 0;
        for (size_t bytes = 0; bytes < round_bytes && err == 0; bytes += PIECE_BYTES)
            err = send_one(client, PIECE_BYTES);
        if (err == 0)
            err = take(client, round_bytes, end_ms);
        if (err != 0)
            return is_told ? 0 : err;
        uint64_t took_us = clock_now_us() - begin_us;
        *bytes_per_s_out = (double)round_bytes * 1e6 / (double)(took_us + 1);
        is_told = true;
        if (took_us >= LONG_US)
            break;
        sent_bytes += round_bytes;
        round_bytes *= 2;
    }
    return is_told ? 0 : ERR_TIMEOUT;
}
