#ifndef WORKER_EXCHANGE_GATHER_H
#define WORKER_EXCHANGE_GATHER_H

/* exchange_gather - blocks of weights come in and become the next version.
 *
 * In a step of bsp that is version + 1.  A later one tells that this worker is behind: what it has
 * to push is dropped and all blocks are asked for at the latest version seen, until they agree.
 * With clocks (ssp, async) a block is wanted at clock + 1; a worker that is new to a lane takes
 * whatever is there and begins at the slowest clock of all blocks.
 *
 * Owner:    the exchange.  Thread: the worker's loop.  Surprise: none.
 */
#include "worker/exchange_state.h"

/* Forgets what has come in; the next weights begin anew, from whatever is there. */
void gather_restart(struct exchange *x);

/* Begins to gather the version that follows the one in work. */
void gather_next(struct exchange *x);

/* Asks for every block that is not there and that nobody was asked for yet. */
void gather_pull(struct exchange *x, struct outbox *out);

void gather_take(struct exchange *x, const struct message *msg, struct outbox *out);

/* A block lacks lanes of this worker for a step that other blocks have behind them, and no worker
 * is left that could compute it: the version before the newest is gathered instead. */
void gather_step_back(struct exchange *x, const struct message *lack, struct outbox *out);

/* Asks again for what has been waited for too long. */
void gather_retry(struct exchange *x, struct outbox *out);

/* No thread reads the next vector any more: what could not be written there is asked for again. */
void gather_resume(struct exchange *x, struct outbox *out);

/* Goes on when the next version is whole and no thread reads the present one any more. */
void gather_swap(struct exchange *x, struct outbox *out);

#endif
