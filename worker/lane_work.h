#ifndef WORKER_LANE_WORK_H
#define WORKER_LANE_WORK_H

/* lane_work - what one compute thread does with a task: forward, backward, hand over.
 *
 * Owner:    the compute, one for each thread.  Thread: that one.
 * Memory:   taken in lane_work_create: activations; with consistency "local" the lane's own weights
 *           and its optimizer's state as well.
 * Surprise: none.
 */
#include "common/batching.h"
#include "common/buffer.h"
#include "common/settings.h"
#include "proto/message.h"
#include "worker/ahead.h"
#include "worker/gate.h"
#include "worker/nn/graph.h"

struct lane_work;

struct lane_work_spec { /* all borrowed for the work's life */
    const struct settings *settings;
    const struct batching *batching;
    const struct graph *graph;
    const struct layout *layout;
    const struct lane_source *source; /* of batches, which ahead hands out */
    struct ahead *ahead;
    struct buffer_pool *pool; /* of gradients */
    struct gate *gate;
    /* Takes over a result with its payload's reference; false when memory is out. */
    bool (*give)(void *ctx, const struct message *result);
    /* Nobody wants the task in work any more. */
    bool (*is_dropped)(void *ctx);
    void *ctx;
};

/* ERR_NOMEM. */
MUST_USE int lane_work_create(const struct lane_work_spec *spec, struct lane_work **work_out);
void lane_work_destroy(struct lane_work *work);

/* Activations and scratch. */
size_t lane_work_activation_bytes(const struct lane_work *work);

/* The batch that a task begins with; false when it needs none. */
bool lane_work_first(const struct lane_source *source, const struct message *task,
                     struct batch_key *key_out);

/* Gives all results of a MSG_TRAIN_LANE or MSG_EVAL_LANE.  False when that could not be: what is
 * wrong was given as MSG_BYE, and there is nothing more to do. */
bool lane_work_do(struct lane_work *work, const struct message *task);

#endif
