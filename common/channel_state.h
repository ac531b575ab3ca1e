#ifndef COMMON_CHANNEL_STATE_H
#define COMMON_CHANNEL_STATE_H

/* channel_state - what a transport and a channel are made of, for the files that are them:
 * transport opens and closes, channel_events hears of connections, channel_traffic sends and
 * receives, channel_wait waits.  With guard they are the door to ZeroMQ.
 *
 * Owner:    transport.  Thread: as transport.h says.  Surprise: none.
 */
#include <poll.h>
#include "common/endpoint.h"
#include "common/guard.h"
#include "common/socket_file.h"
#include "common/transport.h"
#include "common/wrap.h"

struct transport {
    void *context;
    struct keyring *ring; /* NULL: no keys */
    struct guard *guard;  /* NULL: no keys, or nothing is bound yet */
};

/* Why there is no speaking with the other end of a channel that connects. */
enum refusal {
    REFUSAL_NONE,
    REFUSAL_KEY,       /* our key is not on its list */
    REFUSAL_MECHANISM, /* one end has keys, and the other none */
    REFUSAL_ENDED      /* it ends the connection while keys are exchanged */
};

struct channel {
    void *socket, *context;
    void *monitor; /* tells of connections; NULL: nobody asks */
    struct keyring *ring; /* NULL: no keys */
    struct guard *guard;  /* NULL: no keys, or this end connects */
    enum refusal refusal;
    char newcomer[64];    /* the last one who connected: its address */
    unsigned ended_count; /* connections in a row that ended while keys were exchanged */
    struct address cut;   /* the last one whose key was found to be off the list */
    bool is_router, is_ready;
    bool is_let_in; /* a handshake has succeeded since the last refusal */
    bool is_drained; /* nothing was there, and what comes makes its descriptor readable */
    char endpoint[ENDPOINT_TEXT_BYTES];
    struct socket_file *files;
    struct wrap_pool *wraps;    /* around the parts of received messages */
    struct buffer_pool *copies; /* of payloads that arrived unaligned */
    struct pollfd *items;       /* of transport_wait, on the first channel of its list */
    size_t items_capacity;
    uint64_t bytes_out, bytes_in, refused_count;
};

/* Before the channel is bound or connected: from then on its monitor tells of connections. */
void channel_watch(struct transport *transport, struct channel *channel);

/* Takes what the monitor has told since. */
void channel_hear_events(struct channel *channel);

/* The code for an errno of ZeroMQ's. */
int channel_code_of(int error);

#endif
