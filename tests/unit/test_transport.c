#include "common/transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>
#include "common/clock.h"
#include "tests/unit/unit.h"

enum { WAIT_MS = 10000 };

static const struct address worker = {PARTY_WORKER, 0xfedcba9876543210};
static const struct address nobody = {PARTY_WORKER, 1};
static const struct ends to_shard = {{PARTY_WORKER, 0xfedcba9876543210}, PARTY_SHARD};

/* A shard's end and a worker's end of one connection, and a folder for sockets. */
struct pair {
    struct transport *transport;
    struct channel *shard, *worker;
    char folder[64], endpoint[128];
};

static void pair_open(struct pair *pair, const char *scheme)
{
    struct err_msg why = {0};
    *pair = (struct pair){.folder = "/tmp/talweg-test-XXXXXX"};
    CU_ASSERT_FATAL(mkdtemp(pair->folder) != NULL);
    if (strcmp(scheme, "ipc") == 0)
        snprintf(pair->endpoint, sizeof(pair->endpoint), "ipc://%s/shard", pair->folder);
    else
        snprintf(pair->endpoint, sizeof(pair->endpoint), "%s",
                 strcmp(scheme, "tcp") == 0 ? "tcp://127.0.0.1:0" : "inproc://shard");
    CU_ASSERT_FATAL(transport_create(1, &pair->transport) == 0);
    CU_ASSERT_FATAL(channel_bind(pair->transport, pair->endpoint, &pair->shard, &why) == 0);
    CU_ASSERT_FATAL(channel_connect(pair->transport, channel_endpoint(pair->shard), to_shard,
                                    &pair->worker, &why) == 0);
}

static void pair_close(struct pair *pair)
{
    channel_destroy(pair->shard);
    channel_destroy(pair->worker);
    transport_destroy(pair->transport);
    CU_ASSERT(rmdir(pair->folder) == 0); /* nothing is left in it */
}

/* Waits for the channel's next message; false when none comes. */
static bool receive(struct channel *channel, struct frame *frame)
{
    struct ready ready;
    for (int tries = 0; tries < 100; tries++) {
        int err = channel_receive(channel, frame);
        if (err != ERR_AGAIN)
            return err == 0;
        if (transport_wait(&channel, 1, -1, WAIT_MS, &ready) != 0 || ready.channel_count == 0)
            return false;
    }
    return false;
}

static bool says(const struct frame *frame, const char *text)
{
    return frame->header_bytes == strlen(text) &&
           memcmp(frame->header, text, frame->header_bytes) == 0;
}

static int say(struct channel *channel, struct address to, const char *text)
{
    return channel_send(channel, to, text, strlen(text), NULL);
}

/* Whether ZeroMQ has let go of a buffer that the worker sent: its thread does so before it takes up
 * the worker's next message, so one more of them is sent and waited for. */
static bool is_let_go(const struct pair *pair, const struct buffer *buffer)
{
    struct frame frame;
    if (say(pair->worker, nobody, "next") != 0 || !receive(pair->shard, &frame))
        return false;
    frame_release(&frame);
    return atomic_load(&buffer->ref_count) == 1;
}

/* ZeroMQ takes note of what has come while it sends, some time after the last time; the descriptor
 * that tells of it is readable no more then. */
static void check_hears_what_came_before_it_sent(const char *scheme)
{
    enum { TURNS = 30, NOTE_US = 3000 };
    struct pair pair;
    struct frame frame;
    struct ready ready;
    pair_open(&pair, scheme);
    CU_ASSERT(say(pair.worker, nobody, "push") == 0);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    frame_release(&frame);
    for (int i = 0; i < TURNS; i++) {
        CU_ASSERT(channel_receive(pair.worker, &frame) == ERR_AGAIN);
        CU_ASSERT(say(pair.shard, worker, "weights") == 0);
        for (uint64_t begin_us = clock_now_us(); clock_now_us() - begin_us < NOTE_US;)
            continue;
        CU_ASSERT(say(pair.worker, nobody, "push") == 0);
        uint64_t begin_ms = clock_now_ms();
        CU_ASSERT(transport_wait(&pair.worker, 1, -1, WAIT_MS, &ready) == 0);
        CU_ASSERT(channel_is_ready(pair.worker));
        CU_ASSERT_FATAL(clock_now_ms() - begin_ms < WAIT_MS);
        CU_ASSERT_FATAL(receive(pair.worker, &frame));
        frame_release(&frame);
    }
    pair_close(&pair);
}

static void test_channel_hears_what_came_before_it_sent(void)
{
    check_hears_what_came_before_it_sent("tcp");
    check_hears_what_came_before_it_sent("ipc");
    check_hears_what_came_before_it_sent("inproc");
}

static void check_both_ways(const char *scheme)
{
    char peer[FRAME_PEER_BYTES];
    struct pair pair;
    struct frame frame;
    pair_open(&pair, scheme);
    CU_ASSERT(channel_receive(pair.shard, &frame) == ERR_AGAIN);
    CU_ASSERT(frame.header == NULL && frame.payload == NULL);
    CU_ASSERT(say(pair.worker, nobody, "push") == 0);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    CU_ASSERT(says(&frame, "push"));
    CU_ASSERT(address_equal(frame.from, worker));
    CU_ASSERT(frame.payload == NULL);
    frame_peer(&frame, peer);
    CU_ASSERT_STRING_EQUAL(peer, strcmp(scheme, "tcp") == 0 ? "127.0.0.1" : "");
    CU_ASSERT(say(pair.shard, frame.from, "weights") == 0);
    frame_release(&frame);
    CU_ASSERT_FATAL(receive(pair.worker, &frame));
    CU_ASSERT(says(&frame, "weights"));
    CU_ASSERT(frame.from.party == PARTY_NONE);
    frame_release(&frame);
    CU_ASSERT(channel_bytes_out(pair.worker) == 4 && channel_bytes_in(pair.shard) == 4);
    CU_ASSERT(channel_bytes_out(pair.shard) == 7 && channel_bytes_in(pair.worker) == 7);
    CU_ASSERT(channel_refused_count(pair.shard) == 0);
    pair_close(&pair);
}

static void test_channel_speaks_both_ways_over_inproc(void)
{
    check_both_ways("inproc");
}

static void test_channel_speaks_both_ways_over_ipc(void)
{
    check_both_ways("ipc");
}

static void test_channel_speaks_both_ways_over_tcp(void)
{
    check_both_ways("tcp");
}

static void check_payload(const char *scheme, size_t size)
{
    struct pair pair;
    struct frame frame;
    struct buffer_pool *pool = NULL;
    pair_open(&pair, scheme);
    CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
    struct buffer *sent = buffer_pool_take(pool, size);
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)sent->data)[i] = (unsigned char)(i * 31 + i / 999);
    CU_ASSERT(channel_send(pair.worker, nobody, "header", 6, sent) == 0);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    CU_ASSERT(says(&frame, "header"));
    CU_ASSERT_FATAL(frame.payload != NULL);
    CU_ASSERT(frame.payload->size_bytes == size);
    CU_ASSERT((uintptr_t)frame.payload->data % 4 == 0);
    CU_ASSERT(memcmp(frame.payload->data, sent->data, size) == 0);
    if (strcmp(scheme, "inproc") == 0 && size > 1000)
        CU_ASSERT(frame.payload->data == sent->data); /* nothing was copied on the way */
    CU_ASSERT(channel_bytes_in(pair.shard) == size + 6);
    struct buffer *kept = buffer_ref(frame.payload);
    frame_release(&frame);
    CU_ASSERT(frame.payload == NULL && frame.header == NULL);
    CU_ASSERT(memcmp(kept->data, sent->data, size) == 0);
    pair_close(&pair);
    /* A payload outlives the channel and the transport it came by. */
    CU_ASSERT(memcmp(kept->data, sent->data, size) == 0);
    buffer_unref(kept);
    CU_ASSERT(atomic_load(&sent->ref_count) == 1);
    buffer_unref(sent);
    buffer_pool_destroy(pool);
}

static void test_channel_carries_payloads_of_every_size(void)
{
    static const size_t sizes[] = {0, 4, 28, 36, 400, 8000, 8192, 9000, 65536, 4 << 20};
    static const char *const schemes[] = {"inproc", "ipc", "tcp"};
    for (size_t s = 0; s < ARRAY_LEN(schemes); s++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            check_payload(schemes[s], sizes[i]);
}

static void test_channel_carries_several_payloads(void)
{
    static const char *const schemes[] = {"inproc", "ipc", "tcp"};
    struct buffer_pool *pool = NULL;
    struct buffer *sent[PAYLOADS_MAX + 1];
    CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
    for (size_t i = 0; i <= PAYLOADS_MAX; i++) {
        sent[i] = buffer_pool_take(pool, i % 2 == 0 ? 100000 + 4 * i : 4 * i);
        memset(sent[i]->data, (int)(i + 1), sent[i]->size_bytes);
    }
    for (size_t s = 0; s < ARRAY_LEN(schemes); s++) {
        struct pair pair;
        struct frame frame;
        pair_open(&pair, schemes[s]);
        for (size_t count = 0; count <= PAYLOADS_MAX; count++) {
            CU_ASSERT(channel_send_all(pair.worker, nobody, "push", 4, sent, count) == 0);
            CU_ASSERT_FATAL(receive(pair.shard, &frame));
            CU_ASSERT(says(&frame, "push"));
            CU_ASSERT_EQUAL_FATAL(frame.payload_count, count);
            for (size_t i = 0; i < count; i++) {
                CU_ASSERT_FATAL(frame.payloads[i]->size_bytes == sent[i]->size_bytes);
                CU_ASSERT((uintptr_t)frame.payloads[i]->data % 4 == 0);
                CU_ASSERT(memcmp(frame.payloads[i]->data, sent[i]->data, sent[i]->size_bytes) == 0);
            }
            frame_release(&frame);
            CU_ASSERT(frame.payload_count == 0 && frame.payload == NULL);
        }
        CU_ASSERT(channel_send_all(pair.worker, nobody, "push", 4, sent, PAYLOADS_MAX + 1) ==
                  ERR_INPUT);
        pair_close(&pair);
    }
    for (size_t i = 0; i <= PAYLOADS_MAX; i++) {
        CU_ASSERT(atomic_load(&sent[i]->ref_count) == 1);
        buffer_unref(sent[i]);
    }
    buffer_pool_destroy(pool);
}

static void test_channel_aligns_payloads_when_headers_have_odd_lengths(void)
{
    struct pair pair;
    struct frame frame;
    char header[64] = {0};
    float floats[40];
    pair_open(&pair, "tcp");
    for (size_t i = 0; i < ARRAY_LEN(floats); i++)
        floats[i] = (float)i;
    struct buffer_pool *pool = NULL;
    CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
    struct buffer *sent = buffer_pool_take(pool, sizeof(floats));
    memcpy(sent->data, floats, sizeof(floats));
    for (size_t length = 0; length < sizeof(header); length++)
        CU_ASSERT(channel_send(pair.worker, nobody, header, length, sent) == 0);
    for (size_t length = 0; length < sizeof(header); length++) {
        CU_ASSERT_FATAL(receive(pair.shard, &frame));
        CU_ASSERT(frame.header_bytes == length);
        CU_ASSERT((uintptr_t)frame.payload->data % 4 == 0);
        CU_ASSERT(memcmp(frame.payload->data, floats, sizeof(floats)) == 0);
        frame_release(&frame);
    }
    pair_close(&pair);
    CU_ASSERT(atomic_load(&sent->ref_count) == 1);
    buffer_unref(sent);
    buffer_pool_destroy(pool);
}

static void test_channel_gives_buffers_back_to_their_pool_when_sent(void)
{
    struct pair pair;
    struct frame frame;
    struct buffer_pool *pool = NULL;
    pair_open(&pair, "ipc");
    CU_ASSERT_FATAL(buffer_pool_create(1 << 20, &pool) == 0);
    for (int i = 0; i < 50; i++) {
        struct buffer *buffer = buffer_pool_take(pool, 1 << 20);
        CU_ASSERT_FATAL(buffer != NULL); /* the pool has room for one: it is always the same */
        memset(buffer->data, i, buffer->size_bytes);
        CU_ASSERT(channel_send(pair.worker, nobody, "push", 4, buffer) == 0);
        CU_ASSERT_FATAL(receive(pair.shard, &frame));
        CU_ASSERT(*(unsigned char *)frame.payload->data == i);
        frame_release(&frame);
        CU_ASSERT_FATAL(is_let_go(&pair, buffer));
        buffer_unref(buffer);
    }
    pair_close(&pair);
    buffer_pool_destroy(pool);
}

static void test_channel_keeps_the_order_of_messages(void)
{
    struct pair pair;
    struct frame frame;
    pair_open(&pair, "ipc");
    for (uint32_t i = 0; i < 5000; i++)
        CU_ASSERT(channel_send(pair.worker, nobody, &i, sizeof(i), NULL) == 0);
    for (uint32_t i = 0; i < 5000; i++) {
        CU_ASSERT_FATAL(receive(pair.shard, &frame));
        CU_ASSERT(memcmp(frame.header, &i, sizeof(i)) == 0);
        frame_release(&frame);
    }
    pair_close(&pair);
}

static void test_channel_says_lost_when_the_peer_is_not_there(void)
{
    struct pair pair;
    struct buffer_pool *pool = NULL;
    pair_open(&pair, "tcp");
    CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
    struct buffer *payload = buffer_pool_take(pool, 1000);
    CU_ASSERT(say(pair.shard, nobody, "weights") == ERR_LOST);
    CU_ASSERT(channel_send(pair.shard, nobody, "weights", 7, payload) == ERR_LOST);
    CU_ASSERT(atomic_load(&payload->ref_count) == 1);
    CU_ASSERT(channel_bytes_out(pair.shard) == 0);
    buffer_unref(payload);
    buffer_pool_destroy(pool);
    pair_close(&pair);
}

static void test_channel_refuses_a_frame_that_is_too_long(void)
{
    struct pair pair;
    char byte = 0;
    struct buffer huge = {.data = &byte, .size_bytes = (size_t)CHANNEL_FRAME_BYTES_MAX + 1};
    atomic_init(&huge.ref_count, 1);
    pair_open(&pair, "inproc");
    CU_ASSERT(channel_send(pair.worker, nobody, "push", 4, &huge) == ERR_INPUT);
    CU_ASSERT(channel_send(pair.worker, nobody, &byte, (size_t)CHANNEL_HEADER_BYTES_MAX + 1,
                           NULL) == ERR_INPUT);
    pair_close(&pair);
}

/* Speaks raw ZeroMQ to the endpoint: frames of one byte each. */
static void speak_raw(const char *endpoint, const char *id, size_t id_bytes, int frame_count)
{
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    CU_ASSERT_FATAL(socket != NULL);
    if (id_bytes > 0)
        CU_ASSERT_FATAL(zmq_setsockopt(socket, ZMQ_ROUTING_ID, id, id_bytes) == 0);
    CU_ASSERT_FATAL(zmq_connect(socket, endpoint) == 0);
    for (int i = 0; i < frame_count; i++)
        CU_ASSERT(zmq_send(socket, "x", 1, i + 1 < frame_count ? ZMQ_SNDMORE : 0) == 1);
    zmq_close(socket);
    zmq_ctx_term(context);
}

static void test_channel_refuses_and_counts_what_is_not_ours(void)
{
    static const char *const foreign[] = {"", "x0000000000000001", "w000000000000000", "wrong",
                                          "w000000000000000G", "w000000000000000A",
                                          "m0000000000000001", "w00000000000000011"};
    struct pair pair;
    struct frame frame;
    pair_open(&pair, "ipc");
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        speak_raw(pair.endpoint, foreign[i], strlen(foreign[i]), 2);
    speak_raw(pair.endpoint, "w0000000000000002", 17, 2 + PAYLOADS_MAX);
    speak_raw(pair.endpoint, "w0000000000000003", 17, 9 + PAYLOADS_MAX);
    speak_raw(pair.endpoint, "w0000000000000004", 17, 2);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    CU_ASSERT(frame.from.id == 4 && frame.payload != NULL);
    frame_release(&frame);
    /* Peers are heard in no fixed order: the last of the refused may come after the good one. */
    struct channel *const shard[] = {pair.shard};
    struct ready ready = {.channel_count = 1};
    while (channel_refused_count(pair.shard) < ARRAY_LEN(foreign) + 2 && ready.channel_count > 0) {
        CU_ASSERT(channel_receive(pair.shard, &frame) == ERR_AGAIN);
        CU_ASSERT_FATAL(transport_wait(shard, 1, -1, 1000, &ready) == 0);
    }
    CU_ASSERT(channel_refused_count(pair.shard) == ARRAY_LEN(foreign) + 2);
    CU_ASSERT(say(pair.worker, nobody, "still well") == 0);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    CU_ASSERT(says(&frame, "still well"));
    frame_release(&frame);
    pair_close(&pair);
}

/* Bytes that are no ZeroMQ at all, or an older one, to a socket that listens. */
static void speak_rubbish(const struct pair *pair)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/shard", pair->folder);
    for (int round = 0; round < 20; round++) {
        unsigned char bytes[4096];
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (unsigned char)((i + 1) * 2654435761u * (unsigned)(round + 1) >> 13);
        if (round % 2 == 1)
            memcpy(bytes, "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL", 16);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        CU_ASSERT_FATAL(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
        CU_ASSERT(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0 || errno == EPIPE);
        close(fd);
    }
}

static void test_channel_outlives_bytes_that_are_no_zeromq(void)
{
    struct pair pair;
    struct frame frame;
    pair_open(&pair, "ipc");
    speak_rubbish(&pair);
    CU_ASSERT(say(pair.worker, nobody, "still well") == 0);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    CU_ASSERT(says(&frame, "still well"));
    frame_release(&frame);
    pair_close(&pair);
}

static void test_channel_closes_well_while_such_bytes_arrive(void)
{
    for (int times = 0; times < 50; times++) {
        struct pair pair;
        pair_open(&pair, "ipc");
        speak_rubbish(&pair);
        pair_close(&pair);
    }
}

static void test_channel_connects_before_anyone_listens(void)
{
    struct transport *transport = NULL;
    struct channel *early = NULL, *late = NULL;
    struct err_msg why = {0};
    struct frame frame;
    char folder[] = "/tmp/talweg-test-XXXXXX", endpoint[64];
    CU_ASSERT_FATAL(mkdtemp(folder) != NULL);
    snprintf(endpoint, sizeof(endpoint), "ipc://%s/late", folder);
    CU_ASSERT_FATAL(transport_create(1, &transport) == 0);
    CU_ASSERT_FATAL(channel_connect(transport, endpoint, to_shard, &early, &why) == 0);
    CU_ASSERT(say(early, nobody, "hello") == 0);
    CU_ASSERT_FATAL(channel_bind(transport, endpoint, &late, &why) == 0);
    CU_ASSERT_FATAL(receive(late, &frame));
    CU_ASSERT(says(&frame, "hello"));
    frame_release(&frame);
    channel_destroy(early);
    channel_destroy(late);
    transport_destroy(transport);
    rmdir(folder);
}

static void test_channel_delivers_what_was_said_before_it_was_destroyed(void)
{
    struct pair pair;
    struct frame frame;
    pair_open(&pair, "tcp");
    for (int i = 0; i < 100; i++)
        CU_ASSERT(say(pair.worker, nobody, "bye") == 0);
    channel_destroy(pair.worker);
    pair.worker = NULL;
    for (int i = 0; i < 100; i++) {
        CU_ASSERT_FATAL(receive(pair.shard, &frame));
        frame_release(&frame);
    }
    pair_close(&pair);
}

static void test_channel_hears_a_peer_that_came_back(void)
{
    struct pair pair;
    struct frame frame;
    struct err_msg why = {0};
    pair_open(&pair, "tcp");
    for (int life = 0; life < 5; life++) {
        CU_ASSERT(say(pair.worker, nobody, "hello") == 0);
        CU_ASSERT_FATAL(receive(pair.shard, &frame));
        CU_ASSERT(say(pair.shard, frame.from, "welcome") == 0);
        frame_release(&frame);
        CU_ASSERT_FATAL(receive(pair.worker, &frame));
        frame_release(&frame);
        channel_destroy(pair.worker);
        pair.worker = NULL;
        CU_ASSERT_FATAL(channel_connect(pair.transport, channel_endpoint(pair.shard), to_shard,
                                        &pair.worker, &why) == 0);
    }
    pair_close(&pair);
}

static void test_channel_listens_on_two_endpoints(void)
{
    struct pair pair;
    struct channel *other = NULL;
    struct frame frame;
    struct err_msg why = {0};
    pair_open(&pair, "tcp");
    CU_ASSERT_FATAL(channel_also_bind(pair.shard, "inproc://near", &why) == 0);
    CU_ASSERT_FATAL(channel_connect(pair.transport, "inproc://near",
                                    (struct ends){nobody, PARTY_SHARD}, &other, &why) == 0);
    CU_ASSERT(say(other, nobody, "near") == 0);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    CU_ASSERT(says(&frame, "near") && address_equal(frame.from, nobody));
    frame_release(&frame);
    CU_ASSERT(say(pair.worker, nobody, "far") == 0);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    CU_ASSERT(says(&frame, "far") && address_equal(frame.from, worker));
    frame_release(&frame);
    channel_destroy(other);
    pair_close(&pair);
}

static void test_wait_tells_channels_and_descriptor_apart(void)
{
    struct pair pair;
    struct frame frame;
    struct ready ready;
    uint64_t count = 1;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pair_open(&pair, "ipc");
    struct channel *const both[] = {pair.shard, pair.worker};
    CU_ASSERT(transport_wait(both, 2, fd, 0, &ready) == 0);
    CU_ASSERT(ready.channel_count == 0 && !ready.is_fd_ready);
    CU_ASSERT(write(fd, &count, sizeof(count)) == sizeof(count));
    CU_ASSERT(transport_wait(both, 2, fd, WAIT_MS, &ready) == 0);
    CU_ASSERT(ready.is_fd_ready);
    CU_ASSERT(transport_wait(NULL, 0, fd, WAIT_MS, &ready) == 0);
    CU_ASSERT(ready.is_fd_ready);
    CU_ASSERT(read(fd, &count, sizeof(count)) == sizeof(count));
    CU_ASSERT(say(pair.worker, nobody, "push") == 0);
    CU_ASSERT(transport_wait(both, 2, fd, WAIT_MS, &ready) == 0);
    CU_ASSERT(ready.channel_count == 1 && !ready.is_fd_ready);
    CU_ASSERT(channel_is_ready(pair.shard) && !channel_is_ready(pair.worker));
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    frame_release(&frame);
    CU_ASSERT(transport_wait(both, 2, fd, 0, &ready) == 0);
    CU_ASSERT(!channel_is_ready(pair.shard));
    close(fd);
    pair_close(&pair);
}

/* The sentence of a bind that must fail with this code. */
static struct err_msg refusal(const char *endpoint, int code)
{
    struct transport *transport = NULL;
    struct channel *channel = NULL;
    struct err_msg why = {0};
    CU_ASSERT_FATAL(transport_create(1, &transport) == 0);
    int err = channel_bind(transport, endpoint, &channel, &why);
    CU_ASSERT(err == code);
    if (err != code)
        printf("\n%s: %d, %s\n", endpoint, err, why.text);
    channel_destroy(channel);
    transport_destroy(transport);
    return why;
}

static bool mentions(struct err_msg why, const char *words)
{
    if (strstr(why.text, words) == NULL)
        printf("\nexpected \"%s\" in: %s\n", words, why.text);
    return strstr(why.text, words) != NULL;
}

static void test_bind_says_which_port_is_in_use(void)
{
    struct pair pair;
    pair_open(&pair, "tcp");
    const char *port = strrchr(channel_endpoint(pair.shard), ':') + 1;
    char words[64];
    CU_ASSERT(strcmp(port, "0") != 0);
    snprintf(words, sizeof(words), "port %s is in use", port);
    CU_ASSERT(mentions(refusal(channel_endpoint(pair.shard), ERR_NET), words));
    pair_close(&pair);
}

static void test_bind_leaves_the_socket_of_a_living_process_alone(void)
{
    struct pair pair;
    struct frame frame;
    pair_open(&pair, "ipc");
    CU_ASSERT(mentions(refusal(pair.endpoint, ERR_NET), "another process listens there"));
    CU_ASSERT(say(pair.worker, nobody, "still well") == 0);
    CU_ASSERT_FATAL(receive(pair.shard, &frame));
    frame_release(&frame);
    pair_close(&pair);
}

static void test_bind_replaces_the_socket_of_a_dead_process_but_no_file(void)
{
    char folder[] = "/tmp/talweg-test-XXXXXX", path[64], endpoint[80];
    struct transport *transport = NULL;
    struct channel *channel = NULL;
    struct stat found;
    CU_ASSERT_FATAL(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/it", folder);
    snprintf(endpoint, sizeof(endpoint), "ipc://%s", path);
    FILE *file = fopen(path, "w");
    CU_ASSERT_FATAL(file != NULL);
    fclose(file);
    CU_ASSERT(mentions(refusal(endpoint, ERR_INPUT), "no socket"));
    CU_ASSERT(stat(path, &found) == 0 && S_ISREG(found.st_mode));
    unlink(path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    close(fd);
    CU_ASSERT_FATAL(transport_create(1, &transport) == 0);
    CU_ASSERT(channel_bind(transport, endpoint, &channel, NULL) == 0);
    CU_ASSERT(stat(path, &found) == 0 && (found.st_mode & 077) == 0);
    channel_destroy(channel);
    transport_destroy(transport);
    unlink(path);
    rmdir(folder);
}

static void test_bind_says_permission_denied_when_it_is(void)
{
    char folder[] = "/tmp/talweg-test-XXXXXX", endpoint[80];
    CU_ASSERT_FATAL(mkdtemp(folder) != NULL);
    CU_ASSERT_FATAL(chmod(folder, 0555) == 0);
    snprintf(endpoint, sizeof(endpoint), "ipc://%s/it", folder);
    bool is_root = geteuid() == 0; /* who may write anywhere */
    CU_ASSERT_FATAL(!is_root || seteuid(65534) == 0);
    CU_ASSERT(mentions(refusal(endpoint, ERR_NET), "permission denied; this user may not"));
    CU_ASSERT_FATAL(!is_root || seteuid(0) == 0);
    rmdir(folder);
}

static void test_bind_says_which_address_is_not_there(void)
{
    CU_ASSERT(mentions(refusal("tcp://192.0.2.77:0", ERR_NET), "no such address"));
    CU_ASSERT(mentions(refusal("ipc:///nowhere/at/all", ERR_NET), "folder does not exist"));
    CU_ASSERT(mentions(refusal("nonsense", ERR_INPUT), "is no endpoint"));
}

static void test_connect_says_what_is_wrong(void)
{
    struct transport *transport = NULL;
    struct channel *channel = NULL;
    struct err_msg why = {0};
    struct address local = {PARTY_COMPUTE, 1};
    CU_ASSERT_FATAL(transport_create(1, &transport) == 0);
    CU_ASSERT(channel_connect(transport, "tcp://127.0.0.1:0", to_shard, &channel, &why) ==
              ERR_INPUT);
    CU_ASSERT(mentions(why, "cannot connect to tcp://127.0.0.1:0"));
    CU_ASSERT(channel_connect(transport, "tcp://*:7", to_shard, &channel, &why) == ERR_INPUT);
    CU_ASSERT(channel_connect(transport, "nonsense", to_shard, &channel, &why) == ERR_INPUT);
    CU_ASSERT(channel_connect(transport, "inproc://x", (struct ends){local, PARTY_SHARD}, &channel,
                              &why) == ERR_INPUT);
    CU_ASSERT(channel == NULL);
    transport_destroy(transport);
}

#define TESTS(X)                                                        \
    X(test_channel_hears_what_came_before_it_sent)                      \
    X(test_channel_speaks_both_ways_over_inproc)                        \
    X(test_channel_speaks_both_ways_over_ipc)                           \
    X(test_channel_speaks_both_ways_over_tcp)                           \
    X(test_channel_carries_payloads_of_every_size)                      \
    X(test_channel_carries_several_payloads)                            \
    X(test_channel_aligns_payloads_when_headers_have_odd_lengths)       \
    X(test_channel_gives_buffers_back_to_their_pool_when_sent)          \
    X(test_channel_keeps_the_order_of_messages)                         \
    X(test_channel_says_lost_when_the_peer_is_not_there)                \
    X(test_channel_refuses_a_frame_that_is_too_long)                    \
    X(test_channel_refuses_and_counts_what_is_not_ours)                 \
    X(test_channel_outlives_bytes_that_are_no_zeromq)                   \
    X(test_channel_closes_well_while_such_bytes_arrive)                 \
    X(test_channel_connects_before_anyone_listens)                      \
    X(test_channel_delivers_what_was_said_before_it_was_destroyed)      \
    X(test_channel_hears_a_peer_that_came_back)                         \
    X(test_channel_listens_on_two_endpoints)                            \
    X(test_wait_tells_channels_and_descriptor_apart)                    \
    X(test_bind_says_which_port_is_in_use)                              \
    X(test_bind_leaves_the_socket_of_a_living_process_alone)            \
    X(test_bind_replaces_the_socket_of_a_dead_process_but_no_file)      \
    X(test_bind_says_permission_denied_when_it_is)                      \
    X(test_bind_says_which_address_is_not_there)                        \
    X(test_connect_says_what_is_wrong)

UNIT_MAIN("transport", TESTS)
