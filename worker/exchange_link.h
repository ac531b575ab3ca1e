#ifndef WORKER_EXCHANGE_LINK_H
#define WORKER_EXCHANGE_LINK_H

/* exchange_link - nodes on their way to shards: credit, order, and sending again.
 *
 * Credit counts whole blocks: all nodes of the version's runs are paid for when the first is sent,
 * so that the others follow freely.  A block that alone exceeds the credit goes when nothing else
 * is under way.  Leaves of lanes added in mid-step follow freely as well: what is under way to a
 * shard stays below its credit times (1 + lanes added / nodes of the runs).
 * Every worker admits the blocks of a shard in the order of backpropagation, from the highest to
 * the lowest, so the first block that is not finished is admitted everywhere, and credit cannot run
 * in a circle.  When steps begin early, the lowest that wait overtake in a part of the credit that
 * the others can do without (README.md: why that is no circle either).  Where blocks
 * that were under way change their shard in mid-step that order is broken; then, until the step is
 * over, a link on which nothing moves admits one block more each time it has been waited for.
 *
 * Owner:    the exchange.  Thread: the worker's loop.
 * Source:   Jayarajan et al., "Priority-based Parameter Propagation for Distributed DNN Training",
 *           MLSys 2019; Peng et al. (ByteScheduler), SOSP 2019.
 * Surprise: none.
 */
#include "worker/exchange_state.h"

/* Takes the shards over from a view, and each block's primary.  What was under way to a primary
 * that has changed is queued for the new one.  ERR_NOMEM. */
MUST_USE int links_take_view(struct exchange *x, const struct view *view, struct outbox *out);

/* Forgets sums, nodes, queues and credit. */
void links_clear(struct exchange *x);

/* Sends the block's nodes that are whole and not sent, or queues the block. */
void link_push(struct exchange *x, uint32_t block_idx, struct outbox *out);

/* Tells the block's primary that a lane's gradient is no number. */
void link_void(struct exchange *x, uint32_t block_idx, uint32_t lane, struct outbox *out);

void link_pull(struct exchange *x, uint32_t block_idx, struct outbox *out);

/* The block is answered: nothing of it is held any more, its credit is free. */
void link_answered(struct exchange *x, uint32_t block_idx, struct outbox *out);

/* Sends again what a primary says it has not had. */
void link_take_lack(struct exchange *x, const struct message *msg, struct outbox *out);

/* Lets a block past the credit where a moved block may have made a circle. */
void links_unlock(struct exchange *x, struct outbox *out);

/* `from` is the block's primary. */
bool link_is_primary(const struct exchange *x, struct address from, uint32_t block_idx);

#endif
