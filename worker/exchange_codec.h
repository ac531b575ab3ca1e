#ifndef WORKER_EXCHANGE_CODEC_H
#define WORKER_EXCHANGE_CODEC_H

/* exchange_codec - what a node's sum is on the wire, and what weights were there.
 *
 * Thread: the worker's loop.  Surprise: none.
 */
#include "worker/exchange_state.h"

/* Fills in held's payload and codec from the sum of held->node, which is borrowed.  ERR_NOMEM. */
MUST_USE int exchange_encode(struct exchange *x, uint32_t block_idx, struct buffer *sum,
                             struct held_node *held);

/* The most that a node of the block is on the wire in this step. */
uint64_t exchange_payload_bytes(const struct exchange *x, uint32_t block_idx);

/* Of a pull: sparse, when what has changed since this worker's version is enough; of a frozen block
 * that is nothing. */
enum codec_kind exchange_codec_wanted(const struct exchange *x, uint32_t block_idx);

/* msg's weights may be what its codec makes of the block, and can be used here. */
bool exchange_is_payload(const struct exchange *x, const struct message *msg);

/* Writes them to their place in the next vector.  ERR_PROTO: they are not what the codec makes, and
 * the place is part old, part new. */
MUST_USE int exchange_decode(struct exchange *x, const struct message *msg);

#endif
