#ifndef DEPLOY_PLAN_TIMELINE_H
#define DEPLOY_PLAN_TIMELINE_H

/* timeline - how long a round takes: blocks go one after another through what can be busy.
 *
 *     compute thread -> loop -> worker's link --+-> shard -> server's link --+-> loop
 *                               server's link --+   (copy)   worker's link --+
 *
 * Each has a time at which it is free again; a message takes both links between two machines at
 * once, and is there when the slower one is done.  The worker with most lanes stands for all: where
 * it sends a node, all workers together send so many times as much to the server, and its bytes
 * come last, since connections do not share a link evenly.  A lane of the next step begins when the
 * last is done and waits before each layer for that layer's blocks (exchange.overlap), else when
 * all blocks are there.  A shard's credit holds blocks back; that first layers overtake
 * (worker/README.md) is left out.
 *
 * Owner:    values.  Thread: no state.
 * Memory:   a few numbers a block, for the call.
 * Surprise: none.
 */
#include "deploy/plan/model.h"

/* Seconds of one round when it follows others; is_free: parts that take no time.  shard_of as of
 * traffic_place.  ERR_NOMEM. */
MUST_USE int timeline_round(const struct plan_inputs *inputs, const uint32_t *shard_of,
                            const bool is_free[PLAN_PART_COUNT], double *round_s_out);

#endif
