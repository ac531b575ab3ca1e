#ifndef COMMON_TRANSPORT_H
#define COMMON_TRANSPORT_H

/* transport - messages between processes: the door to ZeroMQ.
 *
 * A channel that binds (ROUTER) hears many peers and answers each by its address; a channel that
 * connects (DEALER) speaks to one peer and reconnects by itself.  A message is a small header and
 * at most one payload, which is sent from where it lies and read where it arrived.
 *
 * Shapes:   frames on the wire: [routing id, 17 bytes] [header] [payload, 0 or 1].
 * Owner:    a process has one transport; a channel belongs to whoever opened it.
 * Thread:   transport: any.  A channel: one thread, from its opening to its end.  Payloads: any.
 * Memory:   a received payload is a pooled reference on ZeroMQ's own bytes; queues are bounded by
 *           what the callers send, not here.
 * Keys:     with a ring each channel is encrypted (CURVE), lets in only who is on the list, and
 *           hears a key's owner only as a party of the key's role.
 * Source:   ZeroMQ 4.3, zmq_setsockopt(3), zmq_msg_init_data(3).
 * Surprise: over inproc a received payload IS the sender's buffer; from another process it is the
 *           receiver's alone, and may be written into.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/address.h"
#include "common/buffer.h"
#include "common/err.h"
#include "common/keyring.h"

/* A longer frame ends its peer's connection; a longer header is refused. */
enum { CHANNEL_HEADER_BYTES_MAX = 64 << 20, CHANNEL_FRAME_BYTES_MAX = 128 << 20 };

enum { FRAME_PEER_BYTES = 64, PAYLOADS_MAX = 8 };

struct transport;
struct channel;

/* One received message; zeroed when there is none. */
struct frame {
    struct address from; /* who sent it; zeroed on a channel that connects */
    const void *header;  /* valid until frame_release */
    size_t header_bytes;
    size_t payload_count;
    union { /* NULL from payload_count on; aligned to 4; buffer_ref to keep one */
        struct buffer *payload;
        struct buffer *payloads[PAYLOADS_MAX];
    };
    struct buffer *header_owner; /* the transport's own */
};

/* What transport_wait found; which channels they are, channel_is_ready tells. */
struct ready {
    size_t channel_count;
    bool is_fd_ready;
};

/* "libzmq 4.3.4", as it is loaded.  text: [size_bytes], cut to fit. */
void transport_library(char *text, size_t size_bytes);

/* ERR_NOMEM; ERR_NET when no thread or descriptor can be had. */
MUST_USE int transport_create(int io_threads, struct transport **transport_out);

/* Before its first channel: all of them have keys.  Takes ring over.  For SIGHUP see guard.h. */
void transport_use_keys(struct transport *transport, struct keyring *ring);

/* The ring, or NULL.  Valid with the transport. */
const struct keyring *transport_keys(const struct transport *transport);

/* Connections refused so far because of their key, or for having none. */
uint64_t transport_refused_count(const struct transport *transport);

/* After its last channel is gone.  What was sent has up to 2 s to leave. */
void transport_destroy(struct transport *transport);

/* Listens on tcp://host:port (port 0: any free one), ipc://path (only this user may connect; the
 * folder must exist) or inproc://name (this transport only).  ERR_NET with a sentence that says why
 * and what would help, ERR_INPUT when it is no endpoint, ERR_NOMEM. */
MUST_USE int channel_bind(struct transport *transport, const char *endpoint,
                          struct channel **channel_out, struct err_msg *why);

/* One more place to listen on, for a channel made by channel_bind. */
MUST_USE int channel_also_bind(struct channel *channel, const char *endpoint, struct err_msg *why);

/* Who speaks to whom on a channel that connects: only the party of a listener matters. */
struct ends {
    struct address self;
    enum party listener; /* PARTY_COORDINATOR, PARTY_STORE or PARTY_SHARD: by its key it is known */
};

/* Speaks to endpoint, now or as soon as someone listens there; messages wait until then.
 * ERR_INPUT when it is no endpoint or self's party never goes on a wire; ERR_NET, ERR_NOMEM. */
MUST_USE int channel_connect(struct transport *transport, const char *endpoint, struct ends ends,
                             struct channel **channel_out, struct err_msg *why);

/* Of a channel that connects, as far as transport_wait has seen: ERR_REFUSED with a sentence when
 * the other end does not let us in; 0 else, and why stays.  That it ends each connection while keys
 * are exchanged may pass, so this counts when has_waited only. */
MUST_USE int channel_refusal(const struct channel *channel, bool has_waited, struct err_msg *why);

/* Of a channel that connects, as far as transport_wait has seen: the last time that the other end
 * was spoken to, it let us in. */
bool channel_is_let_in(const struct channel *channel);

/* What was sent has up to 2 s to leave, in the background; the file of an ipc socket is removed. */
void channel_destroy(struct channel *channel);

/* The last endpoint bound, with the real port; or the one connected to.  Valid with the channel. */
const char *channel_endpoint(const struct channel *channel);

/* Queues one message; never blocks.  header is copied; payload (NULL: none) is borrowed and gets
 * one more reference until its bytes have left, and must not change until then.  `to` is ignored
 * by a channel that connects.  ERR_LOST: no such peer is connected; ERR_AGAIN: not now;
 * ERR_INPUT: too long for a frame; ERR_NOMEM; ERR_NET. */
MUST_USE int channel_send(struct channel *channel, struct address to, const void *header,
                          size_t header_bytes, struct buffer *payload);

/* The same with up to PAYLOADS_MAX payloads, each in a frame of its own. */
MUST_USE int channel_send_all(struct channel *channel, struct address to, const void *header,
                              size_t header_bytes, struct buffer *const *payloads, size_t count);

/* The next message; never blocks.  ERR_AGAIN: none.  What is no message of ours (routing id, number
 * of frames, header too long) is dropped and counted.  Give it back with frame_release. */
MUST_USE int channel_receive(struct channel *channel, struct frame *frame_out);

/* Gives the header and one reference of the payload back, from any thread; zeroes the frame. */
void frame_release(struct frame *frame);

/* Where its connection comes from as this side sees it, "10.0.0.7"; "" when that is not by TCP. */
void frame_peer(const struct frame *frame, char text_out[FRAME_PEER_BYTES]);

/* Waits until a channel has a message, extra_fd (-1: none; stays unread) is readable or timeout_ms
 * (-1: none) passed; a signal ends it early with nothing ready.  ERR_NOMEM, ERR_NET. */
MUST_USE int transport_wait(struct channel *const *channels, size_t channel_count, int extra_fd,
                            int timeout_ms, struct ready *ready_out);

/* True when the last transport_wait found a message on it. */
bool channel_is_ready(const struct channel *channel);

/* Since the channel was opened: header and payload bytes queued and received, messages refused. */
uint64_t channel_bytes_out(const struct channel *channel);
uint64_t channel_bytes_in(const struct channel *channel);
uint64_t channel_refused_count(const struct channel *channel);

#endif
