#ifndef PROTO_COURIER_H
#define PROTO_COURIER_H

/* courier - messages over channels: packs and sends, receives and unpacks, counts what is refused.
 *
 * What is alike but for block and payload, and small, goes as one message of the wire and is taken
 * apart again at the other end, so that small blocks cost no more a byte than large ones.  To a
 * process on this host that has been at the courier's door, payloads are lent where they lie
 * (common/lending.h) and headers alone are sent.
 *
 * Owner:    one loop.  Thread: that loop's.
 * Memory:   two arenas, reset with every message of a wire; a pool of buffers.
 * Surprise: none.
 */
#include "common/borrower.h"
#include "common/transport.h"
#include "proto/message.h"
#include "proto/outbox.h"

struct courier;

/* One received message and what it borrows from; given back with letter_release. */
struct letter {
    struct address from; /* zeroed from a channel that connects: the loop knows who is there */
    struct message msg;
    struct frame frame;
};

/* Of the process of that incarnation.  folder: where the door is opened and others' are reached;
 * NULL: all goes through sockets, as it does, with a line of log, where memory cannot be shared. */
MUST_USE int courier_create(uint64_t self, const char *folder, struct courier **courier_out);
void courier_destroy(struct courier *courier);

/* Where payloads should come from: they are lent without a copy.  Valid with the courier. */
struct buffer_pool *courier_pool(const struct courier *courier);

/* The door that others borrow at; "" when there is none.  Valid with the courier. */
const char *courier_door(const struct courier *courier);

/* Opens and closes the ways of borrowing: these are who is there. */
void courier_meet(struct courier *courier, const struct lender_at *lenders, size_t count);

/* Serves the door.  To be called at every tick of the loop. */
void courier_tend(struct courier *courier);

/* Takes back what was lent and is not needed any more.  To be called at every turn of the loop. */
void courier_take_back(struct courier *courier);

/* True when payloads for that process are lent. */
bool courier_lends_to(const struct courier *courier, uint64_t id);

/* As channel_send. */
MUST_USE int courier_send(struct courier *courier, struct channel *channel, struct address to,
                          const struct message *msg);

/* Sends the envelope of that index and those behind it that can go with it.  What was sent, or
 * failed, is marked by kind MSG_NONE.  As channel_send. */
MUST_USE int courier_send_batch(struct courier *courier, struct channel *channel,
                                struct outbox *outbox, size_t first);

/* The next well-formed message of the channel; malformed ones, and ones whose header tells another
 * sender than their routing id, are dropped and counted.  ERR_AGAIN: none. */
MUST_USE int courier_receive(struct courier *courier, struct channel *channel,
                             struct letter *letter_out);

/* True while the last message received was one of several that came as one: courier_receive gives
 * the next of them, whatever the channel, and at once. */
bool courier_has_more(const struct courier *courier);
void letter_release(struct letter *letter);

/* Malformed messages so far. */
uint64_t courier_refused_count(const struct courier *courier);

#endif
