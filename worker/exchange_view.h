#ifndef WORKER_EXCHANGE_VIEW_H
#define WORKER_EXCHANGE_VIEW_H

/* exchange_view - the coordinator's view becomes this worker's.
 *
 * Owner:    the exchange.  Thread: the worker's loop.  Surprise: none.
 */
#include "worker/exchange_state.h"

/* Takes a view with a higher number than the present one; gives up on one of another job. */
void exchange_take_view(struct exchange *x, const struct message *msg, struct outbox *out);

#endif
