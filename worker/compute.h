#ifndef WORKER_COMPUTE_H
#define WORKER_COMPUTE_H

/* compute - the threads that turn lanes into gradients.
 *
 * Tasks (MSG_TRAIN_LANE, MSG_EVAL_LANE) are taken in order, one lane to a thread.  While a lane
 * goes backward each block of gradient is handed over as soon as it is complete (MSG_LEAF); the
 * lane's loss follows (MSG_LANE_DONE, MSG_EVAL_DONE), or MSG_BYE with a sentence when its data
 * cannot be read.  A job that leaves out steps whose gradient is no number (on_nonfinite = skip)
 * has each lane's gradient looked at whole before any block of it is handed over; when it is no
 * number, one MSG_LEAF_VOID stands for them all.
 * With consistency "local" a lane makes all steps of a round by itself; what is handed over, at the
 * end and whole, is the difference that they make, and the loss is that of all steps.
 * A training task of a hand begins before all weights are there: its forward waits before each
 * layer until that layer's blocks are (MSG_BLOCK_HERE).
 *
 * Owner:    the worker's loop.  Thread: submit and next from that loop; the work on its own, as is
 *           the reading of samples (ahead.h).
 * Memory:   per thread: activations, one lane's samples, and of these two more; with consistency
 *           "local" the lane's own weights and its optimizer's state as well.  Gradients lie in a
 *           pool, a flat one for each thread, and for each lane of which something is not pushed
 *           and answered.
 * Surprise: none.
 */
#include "common/settings.h"
#include "worker/computing.h"
#include "worker/data/dataset.h"
#include "worker/nn/graph.h"

struct compute;

struct compute_spec {
    const struct settings *settings; /* all borrowed for the compute's life */
    const struct graph *graph;
    const struct layout *layout;
    struct dataset *train, *test; /* test: NULL when the job has none */
    struct buffer_pool *pool;     /* of gradients; NULL: one of its own */
};

MUST_USE int compute_create(const struct compute_spec *spec, struct compute **compute_out,
                            struct err_msg *why);

/* Waits for lanes in work, drops the others. */
void compute_destroy(struct compute *compute);

/* Queues a task.  MSG_DROP_LANES empties the queue instead, and calls off who is in the middle of a
 * `local` round or waits for weights of its hand or an earlier one: each of those tasks is answered
 * with MSG_LANE_DROPPED.  MSG_BLOCK_HERE lets tasks of a hand read a block.  ERR_NOMEM. */
MUST_USE int compute_submit(struct compute *compute, const struct message *task);

/* The next result; false when there is none.  The caller owns the reference on its payload. */
bool compute_next(struct compute *compute, struct message *result_out);

/* Activations and scratch of all threads. */
size_t compute_activation_bytes(const struct compute *compute);

/* Readable while results wait; for transport_wait. */
int compute_fd(const struct compute *compute);

/* The same as the loop wants it; valid as long as the compute. */
struct computing compute_computing(struct compute *compute);

#endif
