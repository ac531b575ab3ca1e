#ifndef WORKER_EXCHANGE_EARLY_H
#define WORKER_EXCHANGE_EARLY_H

/* exchange_early - the next step's lanes are dealt while its weights are still coming in.
 *
 * When a worker of bsp has computed its lanes and waits for the next version, it deals the lanes of
 * the next step on the vector in which that is gathered, as a numbered hand, and tells its compute
 * of each block as it comes.  A thread cannot give anything of that step before it has read all
 * weights, so who pushes step t+1 has version t+1 of every block, as ever; version t stays in the
 * other vector until then.  With the last block the hand's tasks are the step's own.  Whatever else
 * comes - a lane of the step in work, other lanes, a later version, another era - calls the hand
 * off first: its tasks are given up and answered, and dealt again when their time comes.
 *
 * Nobody writes to a block that a thread was told of until all tasks of the hand are answered.
 *
 * How much of the exchange was hidden behind compute is reckoned here as well (README.md).
 *
 * Owner:    the exchange.  Thread: the worker's loop.  Surprise: none.
 */
#include "worker/exchange_state.h"

/* This job's steps may begin early. */
bool early_is_on(const struct exchange *x);

/* Deals a hand if this worker would only wait otherwise. */
void early_begin(struct exchange *x, struct outbox *out);

/* The block is there at the version that is gathered. */
void early_block_here(struct exchange *x, uint32_t block_idx, struct outbox *out);

/* Takes the hand's tasks back; each is answered. */
void early_call_off(struct exchange *x, struct outbox *out);

/* The last block is there: what is left of the hand are tasks of the version in work. */
void early_take_over(struct exchange *x);

/* True when the compute's answer was to a task of a hand that was called off; it is counted. */
bool early_is_answered(struct exchange *x, const struct lane_task *task);

/* A thread may still read the block as it was gathered. */
bool early_is_read(const struct exchange *x, const struct exchange_block *block);

/* What is measured of a step: something is pushed; a lane is computed; all blocks of the next
 * version are there; that version begins, or the step is given up.  And a lane has told how long it
 * waited for weights. */
void early_note_push(struct exchange *x);
void early_note_computed(struct exchange *x);
void early_note_whole(struct exchange *x);
void early_note_begun(struct exchange *x);
void early_note_given_up(struct exchange *x);
void early_note_lane(struct exchange *x, const struct lane_result *lane);

#endif
