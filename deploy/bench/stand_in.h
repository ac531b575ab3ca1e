#ifndef DEPLOY_BENCH_STAND_IN_H
#define DEPLOY_BENCH_STAND_IN_H

/* stand_in - in the place of a worker's compute: gradients that are there already.
 *
 * A task is answered at once: each block of one flat gradient is handed over where it lies, the
 * last one first, as by a network's backward pass (worker/gradient.h), and then the lane is done.
 * What is left of a step's time is the exchange alone.
 *
 * Owner:    bench/worker.  Thread: the worker's loop only; there is no other.
 * Memory:   one flat gradient from the courier's pool.
 * Surprise: next says "none now" after every STAND_IN_BURST_BYTES though fd stays readable, so that
 *           the loop hears its sockets meanwhile, as it does beside compute threads.
 */
#include "common/layout.h"
#include "deploy/bench/times.h"
#include "worker/computing.h"

enum { STAND_IN_BURST_BYTES = 1 << 20 };

struct stand_in;

/* All borrowed; the gradient lies in the pool; times (NULL: none) is told of each step's first
 * task.  ERR_NOMEM. */
MUST_USE int stand_in_create(const struct layout *layout, struct buffer_pool *pool,
                             struct times *times, struct stand_in **stand_in_out);
void stand_in_destroy(struct stand_in *stand_in);

/* Valid as long as the stand-in. */
struct computing stand_in_computing(struct stand_in *stand_in);

#endif
