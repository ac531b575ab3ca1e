#ifndef WORKER_MESSAGE_QUEUE_H
#define WORKER_MESSAGE_QUEUE_H

/* message_queue - messages in the order in which they were put, between compute's threads.
 *
 * Owner:    the compute.  Thread: one at a time; the compute's lock sees to it.
 * Memory:   grows to the most messages that ever waited, and stays so.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include "proto/message.h"

struct message_queue { /* empty when zeroed */
    struct message *items;
    size_t first, count, capacity; /* ring */
};

/* Takes over the reference on the payload, but not when it fails.  ERR_NOMEM. */
MUST_USE int message_queue_put(struct message_queue *queue, const struct message *msg);

/* The oldest; its payload's reference is the caller's.  False: there is none. */
bool message_queue_take(struct message_queue *queue, struct message *msg_out);

/* Lets go of all that is left. */
void message_queue_clear(struct message_queue *queue);

#endif
