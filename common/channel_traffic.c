#include "common/channel_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>
#include "common/log.h"

enum {
    REFUSALS_A_CALL_MAX = 64,    /* so that a peer's rubbish does not keep a loop from its work */
    PARTS_MAX = 1 + PAYLOADS_MAX /* header, payloads */
};

_Static_assert(sizeof(zmq_msg_t) <= WRAP_OWNER_BYTES, "a wrap has room for a message");

int channel_code_of(int error)
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
    int err = channel_code_of(errno);
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

/* One more reference until its bytes have left. */
static int wrap_payload(struct buffer *payload, zmq_msg_t *msg_out)
{
    if (zmq_msg_init_data(msg_out, payload->data, payload->size_bytes, payload_sent,
                          buffer_ref(payload)) == 0)
        return 0;
    buffer_unref(payload);
    return ERR_NOMEM;
}

/* Address, header, payloads; consumes the messages, sent or not. */
static int send_parts(struct channel *channel, struct address to, zmq_msg_t *parts, size_t count)
{
    size_t i = 0;
    channel->is_drained = false; /* sending may take note of what came */
    int err = channel->is_router ? send_address(channel->socket, to) : 0;
    for (; i < count && err == 0; i++)
        err = send_part(channel->socket, &parts[i], i + 1 == count);
    for (; i < count; i++)
        zmq_msg_close(&parts[i]);
    return err;
}

int channel_send_all(struct channel *channel, struct address to, const void *header,
                     size_t header_bytes, struct buffer *const *payloads, size_t count)
{
    zmq_msg_t parts[PARTS_MAX];
    size_t total_bytes = header_bytes, made = 1;
    if (header_bytes > CHANNEL_HEADER_BYTES_MAX || count > PAYLOADS_MAX)
        return ERR_INPUT;
    for (size_t i = 0; i < count; i++) {
        if (payloads[i]->size_bytes > CHANNEL_FRAME_BYTES_MAX)
            return ERR_INPUT;
        total_bytes += payloads[i]->size_bytes;
    }
    /* All parts are made before the first is sent, so that no message is left half said. */
    if (zmq_msg_init_size(&parts[0], header_bytes) != 0)
        return ERR_NOMEM;
    if (header_bytes > 0)
        memcpy(zmq_msg_data(&parts[0]), header, header_bytes);
    int err = 0;
    for (size_t i = 0; i < count && err == 0; i++) {
        err = wrap_payload(payloads[i], &parts[made]);
        made += err == 0;
    }
    if (err == 0) {
        err = send_parts(channel, to, parts, made);
    } else {
        for (size_t i = 0; i < made; i++)
            zmq_msg_close(&parts[i]);
    }
    if (err == 0)
        channel->bytes_out += total_bytes;
    return err;
}

int channel_send(struct channel *channel, struct address to, const void *header,
                 size_t header_bytes, struct buffer *payload)
{
    return channel_send_all(channel, to, header, header_bytes, &payload, payload != NULL);
}

static int receive_part(void *socket, zmq_msg_t *msg)
{
    int rc;
    do {
        rc = zmq_msg_recv(msg, socket, ZMQ_DONTWAIT);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? channel_code_of(errno) : 0;
}

/* Whose key is off the list: the connection is ended, and no other is made with that key. */
static void cut_off(struct channel *channel, zmq_msg_t *msg, const char *name, struct address from)
{
    if (address_equal(channel->cut, from))
        return; /* more of what it had sent */
    log_event(LOG_WARN, "key_cut_off", "key=%s", name);
    channel->cut = from;
    shutdown(zmq_msg_get(msg, ZMQ_SRCFD), SHUT_RDWR);
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

/* Header and payloads into parts[]; *has_more when there are more than may be. */
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
    int err = 0;
    if (parts[0]->buffer.size_bytes > CHANNEL_HEADER_BYTES_MAX) {
        for (size_t i = 0; i < count; i++)
            buffer_unref(&parts[i]->buffer);
        return ERR_PROTO;
    }
    frame->header_owner = &parts[0]->buffer;
    frame->header = frame->header_owner->data;
    frame->header_bytes = frame->header_owner->size_bytes;
    channel->bytes_in += frame->header_bytes;
    for (size_t i = 1; i < count; i++) {
        struct buffer *payload = align(channel, parts[i]);
        if (payload == NULL) {
            err = ERR_NOMEM;
            continue;
        }
        channel->bytes_in += payload->size_bytes;
        frame->payloads[frame->payload_count++] = payload;
    }
    if (err != 0)
        frame_release(frame);
    return err;
}

/* ERR_PROTO when whoever sent it has a key that is not on the list any more, or is not for such a
 * party.  msg is the header: ZeroMQ does not always say the user of a routing id.  What comes from
 * within this process has neither user nor connection. */
static int check_speaker(struct channel *channel, zmq_msg_t *msg, struct address from)
{
    if (channel->ring == NULL)
        return 0;
    const char *user = zmq_msg_gets(msg, "User-Id");
    if (user == NULL)
        return zmq_msg_get(msg, ZMQ_SRCFD) < 0 ? 0 : ERR_PROTO;
    int number = (int)strtol(user, NULL, 10);
    const struct key *key = keyring_at(channel->ring, number);
    if (!keyring_is_allowed(channel->ring, number)) {
        cut_off(channel, msg, key->name, from);
        return ERR_PROTO;
    }
    return key_speaks_as(key->role, from.party) ? 0 : ERR_PROTO;
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
    if (err == 0 && channel->is_router)
        err = check_speaker(channel, (zmq_msg_t *)parts[0]->owner, frame->from);
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

void frame_peer(const struct frame *frame, char text_out[FRAME_PEER_BYTES])
{
    static const char mapped[] = "::ffff:"; /* how a socket for both families shows IPv4 */
    static const char unix_peer[] = "localhost:"; /* uid, gid, pid */
    const struct wrap *wrap = (const struct wrap *)(const void *)frame->header_owner;
    const zmq_msg_t *msg = wrap == NULL ? NULL : (const zmq_msg_t *)wrap->owner;
    const char *peer = msg == NULL ? NULL : zmq_msg_gets(msg, "Peer-Address");
    if (peer == NULL || strncmp(peer, unix_peer, sizeof(unix_peer) - 1) == 0)
        peer = "";
    peer += peer[0] == '[';
    if (strncmp(peer, mapped, sizeof(mapped) - 1) == 0 && strchr(peer, '.') != NULL)
        peer += sizeof(mapped) - 1;
    snprintf(text_out, FRAME_PEER_BYTES, "%.*s", (int)strcspn(peer, "]"), peer);
}

void frame_release(struct frame *frame)
{
    buffer_unref(frame->header_owner);
    for (size_t i = 0; i < PAYLOADS_MAX; i++)
        buffer_unref(frame->payloads[i]);
    *frame = (struct frame){0};
}
