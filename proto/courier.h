#ifndef PROTO_COURIER_H
#define PROTO_COURIER_H

/* courier - messages over channels: packs and sends, receives and unpacks, counts what is refused.
 *
 * Owner:    one loop.  Thread: that loop's.
 * Memory:   two arenas, reset with every message.
 * Surprise: none.
 */
#include "common/transport.h"
#include "proto/message.h"

struct courier;

/* One received message and what it borrows from; given back with letter_release. */
struct letter {
    struct address from; /* zeroed from a channel that connects: the loop knows who is there */
    struct message msg;
    struct frame frame;
};

MUST_USE int courier_create(struct courier **courier_out);
void courier_destroy(struct courier *courier);

/* As channel_send. */
MUST_USE int courier_send(struct courier *courier, struct channel *channel, struct address to,
                          const struct message *msg);

/* The next well-formed message of the channel; malformed ones, and ones whose header tells another
 * sender than their routing id, are dropped and counted.  ERR_AGAIN: none. */
MUST_USE int courier_receive(struct courier *courier, struct channel *channel,
                             struct letter *letter_out);
void letter_release(struct letter *letter);

/* Malformed messages so far. */
uint64_t courier_refused_count(const struct courier *courier);

#endif
