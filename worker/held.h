#ifndef WORKER_HELD_H
#define WORKER_HELD_H

/* held - one block's nodes of this version, from when they are whole until the block is answered.
 *
 * Owner:    the exchange's block.  Thread: the worker's loop.
 * Memory:   one reference on each payload; the table grows to the most nodes seen.
 * Surprise: none.
 */
#include "common/buffer.h"
#include "common/codec.h"
#include "common/lane.h"

struct held_node {
    struct lane_node node;
    struct buffer *payload; /* its sum, as it goes on the wire */
    enum codec_kind codec;  /* of that */
    bool is_sent; /* to the block's present primary */
};

/* Valid when zeroed. */
struct held {
    struct held_node *nodes;
    size_t count, capacity;
};

/* Takes over the node's payload, always.  ERR_NOMEM. */
MUST_USE int held_add(struct held *held, const struct held_node *node);

/* All of it is to be sent again. */
void held_unsend(struct held *held);

/* Drops all payloads and keeps the table. */
void held_clear(struct held *held);

/* Clears and frees. */
void held_free(struct held *held);

#endif
