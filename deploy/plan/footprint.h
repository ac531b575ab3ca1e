#ifndef DEPLOY_PLAN_FOOTPRINT_H
#define DEPLOY_PLAN_FOOTPRINT_H

/* footprint - the memory that each role has at most, resident.
 *
 * Owner:    values.  Thread: no state.  Memory: none.
 * Source:   worker/README.md, "Memory of a worker"; ps/README.md, "Memory of a server";
 *           what those leave out, such as the copies for the last checkpoint, was measured with
 *           runs of a few workers (tests/system/plan.sh).
 * Surprise: the credit counts as far as the model can fill it.
 */
#include "deploy/plan/model.h"

/* Of the worker that has most lanes. */
uint64_t footprint_worker(const struct plan_inputs *inputs);

/* Of the server that has most; shard_of as of traffic_place. */
uint64_t footprint_server(const struct plan_inputs *inputs, const uint32_t *shard_of);

/* With what it keeps of a checkpoint until it is written. */
uint64_t footprint_coordinator(const struct plan_inputs *inputs);

#endif
