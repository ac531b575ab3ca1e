#include "common/transport.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/socket_file.h"
#include "common/tcp.h"
#include "common/wrap.h"

enum {
    LINGER_MS = 2000,
    RECONNECT_MS = 100,
    RECONNECT_MAX_MS = 1000,
    HEARTBEAT_MS = 2000,
    HEARTBEAT_TIMEOUT_MS = 10000,
    KEEPALIVE_IDLE_S = 10,
    LISTEN_BACKLOG = 1024,
    SOCKETS_MAX = 8192,
    REFUSALS_A_CALL_MAX = 64, /* so that a peer's rubbish does not keep a loop from its work */
    PARTS_MAX = 2             /* header, payload */
};

struct transport {
    void *context;
};

_Static_assert(sizeof(zmq_msg_t) <= WRAP_OWNER_BYTES, "a wrap has room for a message");

struct channel {
    void *socket;
    void *monitor; /* tells of connections as they are made; NULL: none by TCP */
    bool is_router, is_ready;
    bool is_drained; /* nothing was there, and what comes makes its descriptor readable */
    char endpoint[ENDPOINT_TEXT_BYTES];
    struct socket_file *files;
    struct wrap_pool *wraps;    /* around the parts of received messages */
    struct buffer_pool *copies; /* of payloads that arrived unaligned */
    struct pollfd *items;       /* of transport_wait, on the first channel of its list */
    size_t items_capacity;
    uint64_t bytes_out, bytes_in, refused_count;
};

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
    while (zmq_ctx_term(transport->context) != 0 && errno == EINTR)
        continue;
    free(transport);
}

static void close_message(void *owner)
{
    zmq_msg_close(owner);
}

struct option {
    int name, value;
};

/* No high-water marks: a ROUTER drops at one, and a reader stopped by one misses its heartbeats.
 * What may be in flight is bounded by the exchange's credit in bytes. */
static const struct option common_options[] = {
    {ZMQ_SNDHWM, 0},
    {ZMQ_RCVHWM, 0},
    {ZMQ_LINGER, LINGER_MS},
    {ZMQ_IPV6, 1},
    {ZMQ_TCP_KEEPALIVE, 1},
    {ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S},
};

static const struct option router_options[] = {
    {ZMQ_ROUTER_MANDATORY, 1},
    {ZMQ_ROUTER_HANDOVER, 1},
    {ZMQ_BACKLOG, LISTEN_BACKLOG},
};

static const struct option dealer_options[] = {
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

static int create_channel(struct transport *transport, bool is_router, struct channel **out,
                          struct err_msg *why)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL)
        return err_set(why, ERR_NOMEM, "no memory for a channel");
    int64_t frame_max = CHANNEL_FRAME_BYTES_MAX;
    int err = ERR_NOMEM;
    channel->is_router = is_router;
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
    if (err != 0)
        goto fail;
    *out = channel;
    return 0;
fail:
    err_set(why, err, "cannot open a socket: %s", zmq_strerror(errno));
    channel_destroy(channel);
    return err;
}

/* An event is a part with its number, u16, and the descriptor, u32, and one with the address. */
static void tune_new(struct channel *channel)
{
    unsigned char event[6];
    char address[ENDPOINT_TEXT_BYTES];
    while (channel->monitor != NULL &&
           zmq_recv(channel->monitor, event, sizeof(event), ZMQ_DONTWAIT) == sizeof(event)) {
        uint32_t fd;
        memcpy(&fd, event + 2, sizeof(fd));
        tcp_tune((int)fd);
        (void)zmq_recv(channel->monitor, address, sizeof(address), ZMQ_DONTWAIT);
    }
}

/* So that connections by TCP can be tuned when they are there: ZeroMQ has no option for that.  A
 * channel works without, too. */
static void watch(struct transport *transport, struct channel *channel)
{
    char name[64];
    snprintf(name, sizeof(name), "inproc://monitor-%p", (void *)channel);
    if (strncmp(channel->endpoint, "tcp:", 4) != 0 || channel->monitor != NULL)
        return;
    channel->monitor = zmq_socket(transport->context, ZMQ_PAIR);
    if (channel->monitor == NULL)
        return;
    /* Nobody must wait for what is not read. */
    const struct option no_limit = {ZMQ_RCVHWM, 0};
    if (set_options(channel->monitor, &no_limit, 1) != 0 ||
        zmq_socket_monitor(channel->socket, name, ZMQ_EVENT_CONNECTED | ZMQ_EVENT_ACCEPTED) != 0 ||
        zmq_connect(channel->monitor, name) != 0) {
        zmq_socket_monitor(channel->socket, NULL, 0); /* or ZeroMQ would wait for who reads it */
        zmq_close(channel->monitor);
        channel->monitor = NULL;
    }
    tune_new(channel); /* as it is empty now, its descriptor tells when it is not */
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
    if (channel->socket != NULL)
        zmq_close(channel->socket);
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
        watch(transport, channel);
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

int channel_connect(struct transport *transport, const char *endpoint, struct address self,
                    struct channel **channel_out, struct err_msg *why)
{
    char id[ADDRESS_TEXT_BYTES + 1];
    if (!address_is_wire(self))
        return err_set(why, ERR_INPUT, "party %d speaks on no wire", (int)self.party);
    int err = endpoint_check_peer(endpoint, why);
    if (err != 0)
        return err;
    struct channel *channel = NULL;
    err = create_channel(transport, false, &channel, why);
    if (err != 0)
        return err;
    address_format(self, id);
    snprintf(channel->endpoint, sizeof(channel->endpoint), "%s", endpoint);
    watch(transport, channel);
    if (zmq_setsockopt(channel->socket, ZMQ_ROUTING_ID, id, ADDRESS_TEXT_BYTES) != 0 ||
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

static int code_of(int error)
{
    switch (error) {
    case EAGAIN:
        return ERR_AGAIN;
    case EHOSTUNREACH:
        return ERR_LOST;
    case ENOMEM:
        return ERR_NOMEM;
    default:
        return ERR_NET;
    }
}

/* Consumes the message, sent or not. */
static int send_part(void *socket, zmq_msg_t *msg, bool is_last)
{
    int flags = ZMQ_DONTWAIT | (is_last ? 0 : ZMQ_SNDMORE), rc;
    do {
        rc = zmq_msg_send(msg, socket, flags);
    } while (rc < 0 && errno == EINTR);
    if (rc >= 0)
        return 0;
    int err = code_of(errno);
    zmq_msg_close(msg);
    return err;
}

static int send_address(void *socket, struct address to)
{
    char id[ADDRESS_TEXT_BYTES + 1];
    zmq_msg_t msg;
    address_format(to, id);
    /* Short enough to lie within zmq_msg_t: takes no memory and cannot fail. */
    if (zmq_msg_init_size(&msg, ADDRESS_TEXT_BYTES) != 0)
        return ERR_NOMEM;
    memcpy(zmq_msg_data(&msg), id, ADDRESS_TEXT_BYTES);
    return send_part(socket, &msg, false);
}

static void payload_sent(void *data, void *hint)
{
    (void)data;
    buffer_unref(hint);
}

int channel_send(struct channel *channel, struct address to, const void *header,
                 size_t header_bytes, struct buffer *payload)
{
    zmq_msg_t header_msg, payload_msg;
    if (header_bytes > CHANNEL_HEADER_BYTES_MAX ||
        (payload != NULL && payload->size_bytes > CHANNEL_FRAME_BYTES_MAX))
        return ERR_INPUT;
    /* All parts are made before the first is sent, so that no message is left half said. */
    if (zmq_msg_init_size(&header_msg, header_bytes) != 0)
        return ERR_NOMEM;
    if (header_bytes > 0)
        memcpy(zmq_msg_data(&header_msg), header, header_bytes);
    if (payload != NULL && zmq_msg_init_data(&payload_msg, payload->data, payload->size_bytes,
                                             payload_sent, buffer_ref(payload)) != 0) {
        buffer_unref(payload);
        zmq_msg_close(&header_msg);
        return ERR_NOMEM;
    }
    channel->is_drained = false; /* sending may take note of what came */
    int err = channel->is_router ? send_address(channel->socket, to) : 0;
    if (err == 0)
        err = send_part(channel->socket, &header_msg, payload == NULL);
    else
        zmq_msg_close(&header_msg);
    if (payload != NULL && err == 0)
        err = send_part(channel->socket, &payload_msg, true);
    else if (payload != NULL)
        zmq_msg_close(&payload_msg);
    if (err == 0)
        channel->bytes_out += header_bytes + (payload == NULL ? 0 : payload->size_bytes);
    return err;
}

static int receive_part(void *socket, zmq_msg_t *msg)
{
    int rc;
    do {
        rc = zmq_msg_recv(msg, socket, ZMQ_DONTWAIT);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? code_of(errno) : 0;
}

/* ERR_PROTO when the message is not from an address of ours; *has_more when parts follow. */
static int receive_address(void *socket, struct address *from_out, bool *has_more)
{
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    int err = receive_part(socket, &msg);
    if (err == 0) {
        *has_more = zmq_msg_more(&msg) != 0;
        if (!address_parse(zmq_msg_data(&msg), zmq_msg_size(&msg), from_out))
            err = ERR_PROTO;
    }
    zmq_msg_close(&msg);
    return err;
}

/* What is left of a message that is not wanted. */
static void drop_rest(void *socket, bool has_more)
{
    while (has_more) {
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        has_more = receive_part(socket, &msg) == 0 && zmq_msg_more(&msg) != 0;
        zmq_msg_close(&msg);
    }
}

/* Header and payload into parts[]; *has_more when there is more than that. */
static int receive_parts(struct channel *channel, struct wrap **parts, size_t *count,
                         bool *has_more)
{
    do {
        struct wrap *wrap = wrap_pool_take(channel->wraps);
        if (wrap == NULL)
            return ERR_NOMEM;
        zmq_msg_t *msg = (zmq_msg_t *)wrap->owner;
        zmq_msg_init(msg);
        int err = receive_part(channel->socket, msg);
        if (err != 0) {
            buffer_unref(&wrap->buffer);
            return err;
        }
        wrap->buffer.data = zmq_msg_data(msg);
        wrap->buffer.size_bytes = zmq_msg_size(msg);
        parts[(*count)++] = wrap;
        *has_more = zmq_msg_more(msg) != 0;
    } while (*has_more && *count < PARTS_MAX);
    return 0;
}

/* A small message may lie anywhere in ZeroMQ's read buffer; floats must not. */
static struct buffer *align(struct channel *channel, struct wrap *wrap)
{
    struct buffer *arrived = &wrap->buffer;
    if ((uintptr_t)arrived->data % sizeof(float) == 0)
        return arrived;
    struct buffer *copy = buffer_pool_take(channel->copies, arrived->size_bytes);
    if (copy != NULL)
        memcpy(copy->data, arrived->data, arrived->size_bytes);
    buffer_unref(arrived);
    return copy;
}

/* Consumes the parts. */
static int fill_frame(struct channel *channel, struct wrap **parts, size_t count,
                      struct frame *frame)
{
    if (parts[0]->buffer.size_bytes > CHANNEL_HEADER_BYTES_MAX) {
        for (size_t i = 0; i < count; i++)
            buffer_unref(&parts[i]->buffer);
        return ERR_PROTO;
    }
    frame->header_owner = &parts[0]->buffer;
    frame->header = frame->header_owner->data;
    frame->header_bytes = frame->header_owner->size_bytes;
    channel->bytes_in += frame->header_bytes;
    if (count < 2)
        return 0;
    frame->payload = align(channel, parts[1]);
    if (frame->payload == NULL) {
        frame_release(frame);
        return ERR_NOMEM;
    }
    channel->bytes_in += frame->payload->size_bytes;
    return 0;
}

/* One message, whole or dropped.  ERR_AGAIN: there is none; ERR_PROTO: it was none of ours. */
static int receive_message(struct channel *channel, struct frame *frame)
{
    struct wrap *parts[PARTS_MAX];
    size_t count = 0;
    bool has_more = false;
    int err = channel->is_router ? receive_address(channel->socket, &frame->from, &has_more) : 0;
    if (err == 0 && channel->is_router && !has_more)
        err = ERR_PROTO;
    if (err == 0)
        err = receive_parts(channel, parts, &count, &has_more);
    if (err == 0 && has_more)
        err = ERR_PROTO;
    drop_rest(channel->socket, has_more);
    if (err == 0)
        return fill_frame(channel, parts, count, frame);
    for (size_t i = 0; i < count; i++)
        buffer_unref(&parts[i]->buffer);
    return err;
}

int channel_receive(struct channel *channel, struct frame *frame_out)
{
    for (int i = 0; i < REFUSALS_A_CALL_MAX; i++) {
        *frame_out = (struct frame){0};
        int err = receive_message(channel, frame_out);
        channel->is_drained = err == ERR_AGAIN;
        if (err != ERR_PROTO)
            return err;
        channel->refused_count++;
    }
    *frame_out = (struct frame){0};
    return ERR_AGAIN;
}

void frame_release(struct frame *frame)
{
    buffer_unref(frame->header_owner);
    buffer_unref(frame->payload);
    *frame = (struct frame){0};
}

/* Room for count items on the first channel, which its thread alone uses. */
static struct pollfd *poll_items(struct channel *first, size_t count)
{
    if (first->items_capacity < count) {
        struct pollfd *items = realloc(first->items, count * sizeof(*items));
        if (items == NULL)
            return NULL;
        first->items = items;
        first->items_capacity = count;
    }
    return first->items;
}

/* Costs two system calls, and makes the socket's descriptor unreadable. */
static bool has_message(struct channel *channel)
{
    int events = 0;
    size_t size = sizeof(events);
    channel->is_drained = zmq_getsockopt(channel->socket, ZMQ_EVENTS, &events, &size) == 0 &&
                          (events & ZMQ_POLLIN) == 0;
    return !channel->is_drained; /* channel_receive says what has failed */
}

static struct pollfd item_of(void *socket)
{
    struct pollfd item = {.fd = -1, .events = POLLIN}; /* is passed over */
    size_t size = sizeof(item.fd);
    if (socket != NULL)
        (void)zmq_getsockopt(socket, ZMQ_FD, &item.fd, &size);
    return item;
}

/* Two items a channel: its socket's, its monitor's. */
static int wait_once(struct channel *const *channels, size_t count, struct pollfd *items,
                     size_t item_count, int timeout_ms)
{
    bool is_any = false;
    for (size_t i = 0; i < count; i++) {
        channels[i]->is_ready = !channels[i]->is_drained && has_message(channels[i]);
        is_any |= channels[i]->is_ready;
    }
    int found = poll(items, (nfds_t)item_count, is_any ? 0 : timeout_ms);
    for (size_t i = 0; i < count && found > 0; i++) {
        if (items[2 * i].revents != 0 && !channels[i]->is_ready)
            channels[i]->is_ready = has_message(channels[i]);
        if (items[2 * i + 1].revents != 0)
            tune_new(channels[i]);
    }
    return found;
}

/* What zmq_poll does, with fewer system calls: a descriptor of ZeroMQ's becomes readable once after
 * nothing was there, so what was seen empty and not sent to since need not be asked. */
int transport_wait(struct channel *const *channels, size_t channel_count, int extra_fd,
                   int timeout_ms, struct ready *ready_out)
{
    struct pollfd fd_item;
    size_t item_count = 2 * channel_count + 1;
    struct pollfd *items = channel_count == 0 ? &fd_item : poll_items(channels[0], item_count);
    if (items == NULL)
        return ERR_NOMEM;
    uint64_t begin_ms = clock_now_ms(), passed_ms = 0;
    int found;
    for (size_t i = 0; i < channel_count; i++) {
        items[2 * i] = item_of(channels[i]->socket);
        items[2 * i + 1] = item_of(channels[i]->monitor);
    }
    items[item_count - 1] = (struct pollfd){.fd = extra_fd, .events = POLLIN};
    do {
        *ready_out = (struct ready){0};
        found = wait_once(channels, channel_count, items, item_count,
                          timeout_ms < 0 ? -1 : timeout_ms - (int)passed_ms);
        for (size_t i = 0; i < channel_count; i++)
            ready_out->channel_count += channels[i]->is_ready;
        ready_out->is_fd_ready = extra_fd >= 0 && found > 0 && items[item_count - 1].revents != 0;
        passed_ms = clock_now_ms() - begin_ms;
    } while (found > 0 && ready_out->channel_count == 0 && !ready_out->is_fd_ready &&
             (timeout_ms < 0 || passed_ms < (uint64_t)timeout_ms));
    return found >= 0 || errno == EINTR ? 0 : code_of(errno);
}

bool channel_is_ready(const struct channel *channel)
{
    return channel->is_ready;
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
