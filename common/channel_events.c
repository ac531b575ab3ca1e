#include "common/channel_state.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>
#include "common/clock.h"
#include "common/greeting.h"
#include "common/log.h"
#include "common/tcp.h"

enum {
    ENDED_MAX = 3, /* connections that end in mid-handshake: those of a host that goes down do */
    ASK_MS = 300
};

enum {
    FAILURES = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
               ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
};

static const char *reason(const struct channel *channel)
{
    bool has_keys = channel->ring != NULL;
    switch (channel->refusal) {
    case REFUSAL_KEY:
        return "it is not on the list of allowed keys there, or was taken off it";
    case REFUSAL_MECHANISM:
        return has_keys ? "it speaks without keys: start it with --keys as well, or this process "
                          "without"
                        : "it asks for a key: give --keys DIR, with a folder that `talweg keygen` "
                          "has made";
    case REFUSAL_ENDED:
        return "it ends each connection while keys are exchanged: its own key may be another than "
               "the list of allowed keys here says";
    case REFUSAL_NONE:
        break;
    }
    return "";
}

int channel_refusal(const struct channel *channel, bool has_waited, struct err_msg *why)
{
    if (channel->refusal == REFUSAL_NONE || (channel->refusal == REFUSAL_ENDED && !has_waited))
        return 0;
    if (channel->refusal == REFUSAL_KEY)
        return err_set(why, ERR_REFUSED, "%s refuses the key of %s: %s", channel->endpoint,
                       keyring_own(channel->ring)->name, reason(channel));
    return err_set(why, ERR_REFUSED, "no speaking with %s: %s", channel->endpoint,
                   reason(channel));
}

bool channel_is_let_in(const struct channel *channel)
{
    return channel->is_let_in;
}

static void refuse(struct channel *channel, enum refusal refusal)
{
    struct err_msg why = {0};
    char quoted[sizeof(why.text)];
    bool is_new = channel->refusal != refusal;
    channel->refusal = refusal;
    channel->is_let_in = false;
    if (is_new && channel_refusal(channel, true, &why) != 0)
        log_event(LOG_WARN, "refused", "why=%s", log_quote(quoted, sizeof(quoted), why.text));
}

/* Reads a greeting from a socket that passes on bytes as they come: parts by turns of who it is and
 * what he says, which is nothing when he has connected. */
static bool read_greeting(void *socket, char mechanism[GREETING_MECHANISM_BYTES])
{
    unsigned char bytes[GREETING_BYTES], id[256], part[GREETING_BYTES];
    uint64_t end_ms = clock_now_ms() + ASK_MS;
    size_t count = 0;
    while (count < GREETING_BYTES && clock_now_ms() < end_ms) {
        int id_bytes = zmq_recv(socket, id, sizeof(id), 0);
        int part_bytes = id_bytes < 0 ? -1 : zmq_recv(socket, part, sizeof(part), 0);
        if (part_bytes < 0 || (part_bytes == 0 && count > 0) ||
            (size_t)part_bytes > GREETING_BYTES - count)
            return false;
        memcpy(bytes + count, part, (size_t)part_bytes);
        count += (size_t)part_bytes;
        if (!greeting_is_begun(bytes, count) ||
            (part_bytes == 0 &&
             (zmq_send(socket, id, (size_t)id_bytes, ZMQ_SNDMORE) < 0 ||
              zmq_send(socket, greeting_hello, GREETING_HELLO_BYTES, 0) < 0)))
            return false;
    }
    greeting_mechanism(bytes, mechanism);
    return count == GREETING_BYTES;
}

/* Asks the other end, on a connection of its own, for the mechanism that it wants: a handshake that
 * fails seldom says so itself (greeting.h).  Takes up to twice ASK_MS. */
static bool is_other_mechanism(const struct channel *channel)
{
    const int wait_ms = ASK_MS, no_linger = 0, is_ipv6 = 1, no_more = -1;
    const char *own = channel->ring == NULL ? "NULL" : "CURVE";
    char mechanism[GREETING_MECHANISM_BYTES] = "";
    void *socket = zmq_socket(channel->context, ZMQ_STREAM);
    bool is_heard = socket != NULL &&
                    zmq_setsockopt(socket, ZMQ_LINGER, &no_linger, sizeof(no_linger)) == 0 &&
                    zmq_setsockopt(socket, ZMQ_IPV6, &is_ipv6, sizeof(is_ipv6)) == 0 &&
                    zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &no_more, sizeof(no_more)) == 0 &&
                    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof(wait_ms)) == 0 &&
                    zmq_setsockopt(socket, ZMQ_SNDTIMEO, &wait_ms, sizeof(wait_ms)) == 0 &&
                    zmq_connect(socket, channel->endpoint) == 0 &&
                    read_greeting(socket, mechanism);
    if (socket != NULL)
        zmq_close(socket);
    return is_heard && strcmp(mechanism, own) != 0;
}

/* Ever more seldom, as the channel waits for the answer. */
static bool is_time_to_ask(unsigned ended_count)
{
    return (ended_count & (ended_count - 1)) == 0;
}

/* Of a channel that connects. */
static void note_handshake(struct channel *channel, unsigned event, uint32_t value)
{
    bool is_mismatch = event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
                       value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH;
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        channel->refusal = REFUSAL_NONE;
        channel->ended_count = 0;
        channel->is_let_in = true;
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        refuse(channel, REFUSAL_KEY);
    } else if (is_mismatch) {
        refuse(channel, REFUSAL_MECHANISM);
    } else if (channel->refusal == REFUSAL_NONE) {
        channel->ended_count++;
        if (is_time_to_ask(channel->ended_count) && is_other_mechanism(channel))
            refuse(channel, REFUSAL_MECHANISM);
        else if (channel->ended_count >= ENDED_MAX && channel->ring != NULL)
            refuse(channel, REFUSAL_ENDED);
    }
}

/* A number of an event, u16, and a value, u32. */
static void hear_event(struct channel *channel, const unsigned char event[6])
{
    uint16_t number;
    uint32_t value;
    memcpy(&number, event, sizeof(number));
    memcpy(&value, event + sizeof(number), sizeof(value));
    if (number == ZMQ_EVENT_CONNECTED || number == ZMQ_EVENT_ACCEPTED) {
        tcp_tune((int)value);
        tcp_peer((int)value, channel->newcomer, sizeof(channel->newcomer));
    } else if (!channel->is_router) {
        note_handshake(channel, number, value);
    } else if (channel->guard != NULL && number != ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        guard_note_stranger(channel->guard, channel->newcomer);
    }
}

/* An event is a part with number and value, and one with the channel's own address. */
void channel_hear_events(struct channel *channel)
{
    unsigned char event[6];
    char address[ENDPOINT_TEXT_BYTES];
    while (channel->monitor != NULL &&
           zmq_recv(channel->monitor, event, sizeof(event), ZMQ_DONTWAIT) == sizeof(event)) {
        (void)zmq_recv(channel->monitor, address, sizeof(address), ZMQ_DONTWAIT);
        hear_event(channel, event);
    }
}

/* What is worth hearing of: connections by TCP, so that they can be tuned, as ZeroMQ has no option
 * for that, and handshakes that say who is not let in. */
static int events_of(const struct channel *channel)
{
    bool is_tcp = strncmp(channel->endpoint, "tcp:", 4) == 0;
    bool is_near = strncmp(channel->endpoint, "inproc:", 7) == 0;
    int events = is_tcp ? ZMQ_EVENT_CONNECTED | ZMQ_EVENT_ACCEPTED : 0;
    if (!is_near && !channel->is_router)
        events |= FAILURES | ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    if (!is_near && channel->guard != NULL)
        events |= FAILURES;
    return events;
}

/* A channel works without, too. */
void channel_watch(struct transport *transport, struct channel *channel)
{
    const int no_limit = 0, events = events_of(channel);
    char name[64];
    snprintf(name, sizeof(name), "inproc://monitor-%p", (void *)channel);
    if (events == 0 || channel->monitor != NULL)
        return;
    channel->monitor = zmq_socket(transport->context, ZMQ_PAIR);
    if (channel->monitor == NULL)
        return;
    /* Nobody must wait for what is not read. */
    if (zmq_setsockopt(channel->monitor, ZMQ_RCVHWM, &no_limit, sizeof(no_limit)) != 0 ||
        zmq_socket_monitor(channel->socket, name, events) != 0 ||
        zmq_connect(channel->monitor, name) != 0) {
        zmq_socket_monitor(channel->socket, NULL, 0); /* or ZeroMQ would wait for who reads it */
        zmq_close(channel->monitor);
        channel->monitor = NULL;
    }
    channel_hear_events(channel); /* as it is empty now, its descriptor tells when it is not */
}
