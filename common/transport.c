#include "common/channel_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

enum {
    LINGER_MS = 2000,
    RECONNECT_MS = 100,
    RECONNECT_MAX_MS = 1000,
    HEARTBEAT_MS = 2000,
    HEARTBEAT_TIMEOUT_MS = 10000,
    KEEPALIVE_IDLE_S = 10,
    LISTEN_BACKLOG = 1024,
    HANDSHAKE_MS = 5000,
    SOCKETS_MAX = 8192,
    UNREAD_MAX = 256 /* messages of one peer; its credit in blocks of 1 MiB is 32 */
};

void transport_library(char *text, size_t size_bytes)
{
    int major, minor, patch;
    zmq_version(&major, &minor, &patch);
    snprintf(text, size_bytes, "libzmq %d.%d.%d", major, minor, patch);
}

int transport_create(int io_threads, struct transport **transport_out)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    if (transport == NULL)
        return ERR_NOMEM;
    transport->context = zmq_ctx_new();
    if (transport->context == NULL) {
        free(transport);
        return ERR_NET;
    }
    int limit = zmq_ctx_get(transport->context, ZMQ_SOCKET_LIMIT);
    int err = zmq_ctx_set(transport->context, ZMQ_IO_THREADS, io_threads);
    if (err == 0 && limit > 0)
        err = zmq_ctx_set(transport->context, ZMQ_MAX_SOCKETS,
                          limit < SOCKETS_MAX ? limit : SOCKETS_MAX);
    if (err != 0) {
        transport_destroy(transport);
        return ERR_NET;
    }
    *transport_out = transport;
    return 0;
}

void transport_destroy(struct transport *transport)
{
    if (transport == NULL)
        return;
    guard_destroy(transport->guard);
    while (zmq_ctx_term(transport->context) != 0 && errno == EINTR)
        continue;
    keyring_close(transport->ring);
    free(transport);
}

void transport_use_keys(struct transport *transport, struct keyring *ring)
{
    transport->ring = ring;
}

const struct keyring *transport_keys(const struct transport *transport)
{
    return transport->ring;
}

uint64_t transport_refused_count(const struct transport *transport)
{
    return transport->guard == NULL ? 0 : guard_refused_count(transport->guard);
}

static void close_message(void *owner)
{
    zmq_msg_close(owner);
}

struct option {
    int name, value;
};

/* No high-water mark for what is sent, as a ROUTER drops at one: the exchange's credit bounds what
 * is in flight. */
static const struct option common_options[] = {
    {ZMQ_SNDHWM, 0},
    {ZMQ_LINGER, LINGER_MS},
    {ZMQ_IPV6, 1},
    {ZMQ_TCP_KEEPALIVE, 1},
    {ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S},
};

/* A peer that sends more than is read is not read from, so that it fills no memory but its own. */
static const struct option router_options[] = {
    {ZMQ_RCVHWM, UNREAD_MAX},
    {ZMQ_ROUTER_MANDATORY, 1},
    {ZMQ_ROUTER_HANDOVER, 1},
    {ZMQ_BACKLOG, LISTEN_BACKLOG},
    {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS}, /* who says nothing takes up a descriptor */
};

static const struct option dealer_options[] = {
    {ZMQ_RCVHWM, 0},
    {ZMQ_IMMEDIATE, 0},
    {ZMQ_RECONNECT_IVL, RECONNECT_MS},
    {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS},
    {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
    {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS},
};

static int set_options(void *socket, const struct option *options, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (zmq_setsockopt(socket, options[i].name, &options[i].value, sizeof(int)) != 0)
            return ERR_NET;
    return 0;
}

static int set_router(void *socket)
{
    /* A domain makes ZeroMQ refuse ZMTP 1 and 2 at the greeting, and lets in all others as long as
     * nobody answers for the domain.  A peer of ZMTP 1, or stray bytes that look like one, that
     * comes while the socket is closing trips an assertion of ZeroMQ 4.3 (process_routing_id_msg)
     * and ends the process. */
    static const char domain[] = "talweg";
    if (zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, domain, sizeof(domain) - 1) != 0)
        return ERR_NET;
    return set_options(socket, router_options, ARRAY_LEN(router_options));
}

static int set_text(void *socket, int option, const char *key)
{
    return zmq_setsockopt(socket, option, key, KEY_TEXT_BYTES) == 0 ? 0 : ERR_NET;
}

/* Of a socket that binds: it asks the guard about everyone, and lets nobody in without. */
static int guard_router(struct transport *transport, struct channel *channel)
{
    const int on = 1;
    if (transport->guard == NULL &&
        guard_create(transport->context, transport->ring, &transport->guard) != 0)
        return ERR_NET;
    channel->guard = transport->guard;
    if (zmq_setsockopt(channel->socket, ZMQ_CURVE_SERVER, &on, sizeof(on)) != 0)
        return ERR_NET;
    return set_text(channel->socket, ZMQ_CURVE_SECRETKEY,
                    keyring_own(transport->ring)->secret_key);
}

static int set_dealer_keys(void *socket, const struct keyring *ring, enum party listener)
{
    const struct key *own = keyring_own(ring);
    enum key_role role = listener == PARTY_SHARD ? KEY_SERVER : KEY_COORDINATOR;
    int err = set_text(socket, ZMQ_CURVE_SERVERKEY, keyring_peer(ring, role));
    if (err == 0)
        err = set_text(socket, ZMQ_CURVE_PUBLICKEY, own->public_key);
    return err == 0 ? set_text(socket, ZMQ_CURVE_SECRETKEY, own->secret_key) : err;
}

static int create_channel(struct transport *transport, bool is_router, struct channel **out,
                          struct err_msg *why)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL)
        return err_set(why, ERR_NOMEM, "no memory for a channel");
    int64_t frame_max = CHANNEL_FRAME_BYTES_MAX;
    int err = ERR_NOMEM;
    channel->is_router = is_router;
    channel->context = transport->context;
    channel->ring = transport->ring;
    if (wrap_pool_create(close_message, &channel->wraps) != 0 ||
        buffer_pool_create(0, &channel->copies) != 0)
        goto fail;
    err = ERR_NET;
    channel->socket = zmq_socket(transport->context, is_router ? ZMQ_ROUTER : ZMQ_DEALER);
    if (channel->socket == NULL ||
        set_options(channel->socket, common_options, ARRAY_LEN(common_options)) != 0 ||
        zmq_setsockopt(channel->socket, ZMQ_MAXMSGSIZE, &frame_max, sizeof(frame_max)) != 0)
        goto fail;
    err = is_router ? set_router(channel->socket)
                    : set_options(channel->socket, dealer_options, ARRAY_LEN(dealer_options));
    if (err == 0 && is_router && channel->ring != NULL)
        err = guard_router(transport, channel);
    if (err != 0)
        goto fail;
    *out = channel;
    return 0;
fail:
    err_set(why, err, "cannot open a socket: %s", zmq_strerror(errno));
    channel_destroy(channel);
    return err;
}
void channel_destroy(struct channel *channel)
{
    if (channel == NULL)
        return;
    socket_files_remove(&channel->files);
    if (channel->monitor != NULL) {
        zmq_socket_monitor(channel->socket, NULL, 0);
        zmq_close(channel->monitor);
    }
    if (channel->socket != NULL) {
        const int no_linger = 0; /* who has refused us takes nothing more */
        if (channel->refusal != REFUSAL_NONE)
            zmq_setsockopt(channel->socket, ZMQ_LINGER, &no_linger, sizeof(no_linger));
        zmq_close(channel->socket);
    }
    wrap_pool_destroy(channel->wraps);
    buffer_pool_destroy(channel->copies);
    free(channel->items);
    free(channel);
}

int channel_bind(struct transport *transport, const char *endpoint, struct channel **channel_out,
                 struct err_msg *why)
{
    struct channel *channel = NULL;
    int err = create_channel(transport, true, &channel, why);
    if (err == 0) {
        snprintf(channel->endpoint, sizeof(channel->endpoint), "%s", endpoint);
        channel_watch(transport, channel);
        err = channel_also_bind(channel, endpoint, why);
    }
    if (err != 0) {
        channel_destroy(channel);
        return err;
    }
    *channel_out = channel;
    return 0;
}

int channel_also_bind(struct channel *channel, const char *endpoint, struct err_msg *why)
{
    assert(channel->is_router);
    channel->is_drained = false;
    int err = endpoint_check(endpoint, why);
    if (err == 0)
        err = endpoint_check_free(endpoint, why);
    if (err != 0)
        return err;
    /* ZeroMQ makes the socket's file within this call; nobody else may connect to it. */
    mode_t before = umask(077);
    int rc = zmq_bind(channel->socket, endpoint);
    int error = errno;
    umask(before);
    if (rc != 0)
        return endpoint_bind_failed(endpoint, error, zmq_strerror(error), why);
    size_t size = sizeof(channel->endpoint);
    if (zmq_getsockopt(channel->socket, ZMQ_LAST_ENDPOINT, channel->endpoint, &size) != 0)
        return err_set(why, ERR_NET, "%s: its port cannot be told", endpoint);
    endpoint_unmap(channel->endpoint);
    const char *path = endpoint_ipc_path(channel->endpoint);
    if (path != NULL && socket_files_add(&channel->files, path) != 0)
        return err_set(why, ERR_NOMEM, "no memory to listen on %s", endpoint);
    return 0;
}

int channel_connect(struct transport *transport, const char *endpoint, struct ends ends,
                    struct channel **channel_out, struct err_msg *why)
{
    char id[ADDRESS_TEXT_BYTES + 1];
    if (!address_is_wire(ends.self))
        return err_set(why, ERR_INPUT, "party %d speaks on no wire", (int)ends.self.party);
    int err = endpoint_check_peer(endpoint, why);
    if (err != 0)
        return err;
    struct channel *channel = NULL;
    err = create_channel(transport, false, &channel, why);
    if (err != 0)
        return err;
    address_format(ends.self, id);
    snprintf(channel->endpoint, sizeof(channel->endpoint), "%s", endpoint);
    channel_watch(transport, channel);
    if (channel->ring != NULL)
        err = set_dealer_keys(channel->socket, channel->ring, ends.listener);
    if (err != 0 || zmq_setsockopt(channel->socket, ZMQ_ROUTING_ID, id, ADDRESS_TEXT_BYTES) != 0 ||
        zmq_connect(channel->socket, endpoint) != 0) {
        err = err_set(why, errno == EINVAL ? ERR_INPUT : ERR_NET, "cannot connect to %s: %s",
                      endpoint, zmq_strerror(errno));
        channel_destroy(channel);
        return err;
    }
    *channel_out = channel;
    return 0;
}

const char *channel_endpoint(const struct channel *channel)
{
    return channel->endpoint;
}

uint64_t channel_bytes_out(const struct channel *channel)
{
    return channel->bytes_out;
}

uint64_t channel_bytes_in(const struct channel *channel)
{
    return channel->bytes_in;
}

uint64_t channel_refused_count(const struct channel *channel)
{
    return channel->refused_count;
}
