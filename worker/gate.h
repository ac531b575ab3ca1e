#ifndef WORKER_GATE_H
#define WORKER_GATE_H

/* gate - which blocks of weights have come in, for compute threads that began before all had.
 *
 * The loop opens blocks of a hand; a thread waits for all blocks of a tensor of its task's hand.
 * A hand begins with its first block, all blocks closed; the earlier ones stay open, since the next
 * begins only when the one before is whole or called off.
 *
 * Owner:    the compute.  Thread: open and call_off from the loop, wait from any.
 * Memory:   taken in gate_create.
 * Source:   Jayarajan et al., "Priority-based Parameter Propagation for Distributed DNN Training",
 *           MLSys 2019: a layer's forward needs that layer's weights and no others.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/layout.h"

struct gate;

/* layout is borrowed for the gate's life.  ERR_NOMEM. */
MUST_USE int gate_create(const struct layout *layout, struct gate **gate_out);
void gate_destroy(struct gate *gate);

/* A block of a hand is there: what was written to it before is seen by who waited for it. */
void gate_open(struct gate *gate, uint64_t hand, uint32_t block);

/* Whoever waits for hands up to this one, now or later, gives up. */
void gate_call_off(struct gate *gate, uint64_t hand);

/* Returns when all blocks of the tensor are there; false when the hand was called off.  *waited_us
 * grows by how long that took. */
bool gate_wait(struct gate *gate, uint64_t hand, size_t tensor_idx, uint64_t *waited_us);

#endif
