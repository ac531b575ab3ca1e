#ifndef PROTO_OUTBOX_H
#define PROTO_OUTBOX_H

/* outbox - what a step function wants said, in order, until its loop has sent it.
 *
 * Owner:    the loop.  Thread: one.
 * Memory:   grows to the largest burst, then stays; each entry holds a reference on its payload.
 * Surprise: a put that finds no memory is remembered and reported by outbox_failed.
 */
#include "proto/message.h"

struct envelope {
    struct address to;
    struct message msg;
};

struct outbox {
    struct envelope *items;
    size_t count, capacity;
    bool is_failed;
};

/* Appends a copy of msg; its payload, if any, gets one more reference. */
void outbox_put(struct outbox *outbox, struct address to, const struct message *msg);

/* True when a put was lost to lack of memory. */
bool outbox_failed(const struct outbox *outbox);

/* Drops the entries and their references; keeps the memory. */
void outbox_clear(struct outbox *outbox);

/* Clears and frees. */
void outbox_free(struct outbox *outbox);

#endif
