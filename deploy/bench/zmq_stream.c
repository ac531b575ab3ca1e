#include "deploy/bench/zmq_stream.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>
#include "common/clock.h"
#include "common/pages.h"
#include "deploy/bench/pair.h"
#include "deploy/bench/quantile.h"
#include "deploy/bench/scratch.h"

enum { VECTOR_BYTES = 64 << 20, MESSAGE_BYTES = 1 << 20, QUEUE_MESSAGES = 32 };
enum { RTT_BYTES = 8, RTT_COUNT = 1000, SILENCE_MS = 5000, ENDPOINT_BYTES = 256 };

/* The end of this process, which binds as ROUTER, and what the other one, a DEALER, works with. */
struct conversation {
    int pipe[2]; /* the other end is told the endpoint through it */
    bool is_echo, is_encrypted;
    char public_key[41], secret_key[41]; /* both ends have the same: it is for this one moment */
    void *context, *router;
    char id[256]; /* of the other end's routing id */
    size_t id_bytes;
    double rtt_us[RTT_COUNT];
};

static void keep(void *data, void *hint)
{
    (void)data;
    (void)hint; /* the vector outlives its messages */
}

static int encrypt(const struct conversation *c, void *socket, bool is_server)
{
    const int on = 1;
    if (!c->is_encrypted)
        return 0;
    int rc = is_server ? zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof(on))
                       : zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, c->public_key, 41);
    if (rc == 0 && !is_server)
        rc = zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, c->public_key, 41);
    return rc == 0 ? zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, c->secret_key, 41) : rc;
}

static void send_for_ever(void *socket, char *vector)
{
    zmq_msg_t msg;
    for (size_t i = 0;; i = (i + MESSAGE_BYTES) % VECTOR_BYTES)
        if (zmq_msg_init_data(&msg, vector + i, MESSAGE_BYTES, keep, NULL) != 0 ||
            zmq_msg_send(&msg, socket, 0) < 0)
            return;
}

/* Says that it is there, then sends back what it gets. */
static void echo_for_ever(void *socket)
{
    char bytes[RTT_BYTES] = {0};
    while (zmq_send(socket, bytes, sizeof(bytes), 0) >= 0 &&
           zmq_recv(socket, bytes, sizeof(bytes), 0) >= 0)
        continue;
}

/* The other process. */
static void speak(void *ctx)
{
    const struct conversation *c = ctx;
    char endpoint[ENDPOINT_BYTES] = "";
    int queue = QUEUE_MESSAGES;
    close(c->pipe[1]);
    if (read(c->pipe[0], endpoint, sizeof(endpoint) - 1) <= 0)
        return;
    void *context = zmq_ctx_new();
    void *socket = context == NULL ? NULL : zmq_socket(context, ZMQ_DEALER);
    char *vector = aligned_alloc(4096, VECTOR_BYTES);
    if (socket == NULL || vector == NULL)
        return;
    pages_prefer_large(vector, VECTOR_BYTES);
    memset(vector, 1, VECTOR_BYTES);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &queue, sizeof(queue));
    if (encrypt(c, socket, false) != 0 || zmq_connect(socket, endpoint) != 0)
        return;
    if (c->is_echo)
        echo_for_ever(socket);
    else
        send_for_ever(socket, vector);
}

static int failed(const char *what, struct err_msg *why)
{
    return err_set(why, ERR_NET, "bare ZeroMQ: %s: %s", what, zmq_strerror(zmq_errno()));
}

/* Binds, and tells the other end where. */
static int listen_at(struct conversation *c, const char *endpoint, struct err_msg *why)
{
    char bound[ENDPOINT_BYTES];
    size_t length = sizeof(bound);
    int queue = QUEUE_MESSAGES, silence_ms = SILENCE_MS, linger_ms = 0;
    c->context = zmq_ctx_new();
    c->router = c->context == NULL ? NULL : zmq_socket(c->context, ZMQ_ROUTER);
    if (c->router == NULL)
        return failed("no socket", why);
    zmq_setsockopt(c->router, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(c->router, ZMQ_RCVTIMEO, &silence_ms, sizeof(silence_ms));
    zmq_setsockopt(c->router, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
    if (encrypt(c, c->router, true) != 0 || zmq_bind(c->router, endpoint) != 0 ||
        zmq_getsockopt(c->router, ZMQ_LAST_ENDPOINT, bound, &length) != 0)
        return failed(endpoint, why);
    if (write(c->pipe[1], bound, length) != (ssize_t)length)
        return err_set(why, ERR_IO, "bare ZeroMQ: a pipe cannot be written");
    return 0;
}

/* One message with its routing id in front, as its receiver has it: looked at nowhere. */
static int take_message(void *ctx, uint64_t *bytes)
{
    struct conversation *c = ctx;
    zmq_msg_t msg;
    int id_bytes = zmq_recv(c->router, c->id, sizeof(c->id), 0);
    if (id_bytes <= 0 || (size_t)id_bytes > sizeof(c->id))
        return ERR_NET;
    c->id_bytes = (size_t)id_bytes;
    zmq_msg_init(&msg);
    int size = zmq_msg_recv(&msg, c->router, 0);
    zmq_msg_close(&msg);
    if (size < 0)
        return ERR_NET;
    *bytes += (uint64_t)size;
    return 0;
}

static int round_trips(struct conversation *c, struct limits *limits, struct err_msg *why)
{
    const char bytes[RTT_BYTES] = {0};
    uint64_t count = 0;
    int err = take_message(c, &count);
    for (int sample = 0; sample < PAIR_SAMPLES && err == 0; sample++) {
        for (int i = 0; i < RTT_COUNT && err == 0; i++) {
            uint64_t begin_us = clock_now_us();
            if (zmq_send(c->router, c->id, c->id_bytes, ZMQ_SNDMORE) < 0 ||
                zmq_send(c->router, bytes, sizeof(bytes), 0) < 0)
                err = ERR_NET;
            else
                err = take_message(c, &count);
            c->rtt_us[i] = (double)(clock_now_us() - begin_us);
        }
        if (limits->rtt_count == LIMIT_SAMPLES_MAX)
            err = ERR_FULL;
        if (err == 0)
            limits->rtt_us[limits->rtt_count++] = quantile_median(c->rtt_us, RTT_COUNT);
    }
    return err == 0 ? 0 : failed("a message there and back", why);
}

static int converse(struct conversation *c, const char *endpoint, struct limits *limits,
                    struct err_msg *why)
{
    pid_t pid = 0;
    if (pipe(c->pipe) != 0)
        return err_set(why, ERR_IO, "no pipe can be made");
    int err = pair_start(speak, c, &pid, why);
    if (err == 0)
        err = listen_at(c, endpoint, why);
    if (err == 0 && c->is_echo)
        err = round_trips(c, limits, why);
    else if (err == 0 && (err = pair_sample(take_message, c, pid, &limits->of[LIMIT_ZMQ])) != 0)
        failed("a stream of messages", why);
    if (pid != 0)
        pair_end(pid);
    if (c->router != NULL)
        zmq_close(c->router);
    if (c->context != NULL)
        zmq_ctx_term(c->context);
    close(c->pipe[0]);
    close(c->pipe[1]);
    return err;
}

int zmq_stream_take(struct limits *limits, enum limit_wire wire, struct err_msg *why)
{
    struct conversation stream = {.is_encrypted = wire == WIRE_CURVE};
    if (stream.is_encrypted && zmq_curve_keypair(stream.public_key, stream.secret_key) != 0)
        return failed("no pair of keys", why);
    struct conversation echo = stream;
    echo.is_echo = true;
    char folder[PATH_MAX], endpoint[PATH_MAX + 16];
    int err = scratch_make(folder, why);
    if (err != 0)
        return err;
    snprintf(endpoint, sizeof(endpoint),
             wire != WIRE_UNIX ? "tcp://127.0.0.1:*" : "ipc://%s/zmq", folder);
    err = converse(&stream, endpoint, limits, why);
    if (err == 0)
        err = converse(&echo, endpoint, limits, why);
    scratch_remove(folder);
    return err;
}
