#ifndef WORKER_EXCHANGE_LANES_H
#define WORKER_EXCHANGE_LANES_H

/* exchange_lanes - this worker's lanes: which they are, what the compute is given to do, and what
 * comes of it.
 *
 * A lane that the worker has when a version begins is pushed within the largest node of its run; a
 * lane that a view adds later by itself, since others may count on its neighbours.  A lane that is
 * taken away is computed to the end if it was begun.  With clocks every lane is pushed by itself.
 *
 * Owner:    the exchange.  Thread: the worker's loop.  Surprise: none.
 */
#include "worker/exchange_state.h"

/* Takes this worker's lanes from a view and deals the added ones of the version in work. */
void lanes_take_view(struct exchange *x, const struct view *view, struct outbox *out);

/* The version's weights are tried on the held-out part before anything else. */
bool lanes_is_eval_due(const struct exchange *x, uint64_t version);

/* Deals all lanes of a version that begins. */
void lanes_begin(struct exchange *x, struct outbox *out);

/* Takes tasks back that no thread has begun, since the step is given up. */
void lanes_cancel(struct exchange *x, struct outbox *out);

/* The same when the next version is there: training of lanes that this worker has lost is of no use
 * then.  What is still its own is dealt again. */
void lanes_cancel_lost(struct exchange *x, struct outbox *out);

/* With clocks: begins again at the slowest, since a lane's clock may be behind this worker's. */
void lanes_rejoin(struct exchange *x, struct outbox *out);

/* What the compute says. */
void lanes_take_leaf(struct exchange *x, const struct message *msg, struct outbox *out);
void lanes_take_void(struct exchange *x, const struct message *msg, struct outbox *out);
void lanes_take_result(struct exchange *x, const struct message *msg, struct outbox *out);
void lanes_take_dropped(struct exchange *x, const struct message *msg, struct outbox *out);

/* All that this worker has to push of a block in this version has been sent or is void. */
bool lanes_are_pushed(const struct exchange *x, const struct exchange_block *block);

#endif
