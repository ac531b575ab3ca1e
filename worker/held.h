#ifndef WORKER_HELD_H
#define WORKER_HELD_H

/* held - one block's nodes of this version, from when they are whole until the block is answered.
 *
 * Owner:    the exchange's block.  Thread: the worker's loop.
 * Memory:   one reference on each sum; the table grows to the most nodes seen.
 * Surprise: none.
 */
#include "common/buffer.h"
#include "common/lane.h"

struct held_node {
    struct lane_node node;
    struct buffer *sum;
    bool is_sent; /* to the block's present primary */
};

/* Valid when zeroed. */
struct held {
    struct held_node *nodes;
    size_t count, capacity;
};

/* Takes over sum, always.  ERR_NOMEM. */
MUST_USE int held_add(struct held *held, struct lane_node node, struct buffer *sum);

/* All of it is to be sent again. */
void held_unsend(struct held *held);

/* Drops all sums and keeps the table. */
void held_clear(struct held *held);

/* Clears and frees. */
void held_free(struct held *held);

#endif
