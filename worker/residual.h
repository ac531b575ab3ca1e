#ifndef WORKER_RESIDUAL_H
#define WORKER_RESIDUAL_H

/* residual - what of its gradients a worker has not sent yet, with codec topk.
 *
 * A worker sends the share k of each block that has grown largest, and keeps the rest.  With g the
 * mean gradient over the step's samples, as far as this worker has it, and m the momentum:
 *
 *     g += weight_decay * w + l1 * sign(w)                            (by its share of the samples)
 *     momentum:  u' = m u + g;          v' = v + rate * u'
 *     nesterov:  u' = m u + g;          v' = v + rate * (g + m u')
 *     sgd:                              v' = v + rate * g
 *     sent: the k of v' that are largest by magnitude; there v' becomes 0
 *
 * Tensors of one dimension (biases) are few and sent whole, as is all while k is large: that is
 * momentum as servers would have it.
 *
 * Servers then take the sum over the workers off the weights.  What is kept is the worker's
 * alone: it is lost when the worker is, and when the job goes on from a checkpoint.
 *
 * Shapes:   u, v: [weight_count] f32.
 * Owner:    the exchange.  Thread: the worker's loop.
 * Memory:   v, and u unless sgd; taken in residual_create.
 * Source:   Lin et al., "Deep Gradient Compression", ICLR 2018, section 3 (momentum correction,
 *           warm-up; that u' becomes 0 where v' does is left out: it takes the momentum from what
 *           is sent often, and cost half a point on Fashion-MNIST); Karimireddy et al., "Error
 *           Feedback Fixes SignSGD and other Gradient Compression Schemes", ICML 2019, algorithm 2:
 *           what is kept has its own step's rate, so that one which falls does not make less of it.
 * Surprise: which lanes a worker has, and when, decides what it sends: bits are not the same for
 *           any number of workers.
 */
#include "common/batching.h"
#include "common/settings.h"

struct residual;

/* A node's sum of gradients of one block. */
struct residual_part {
    uint32_t block_idx;
    uint64_t step;
    struct lane_node node;
    float rate;                 /* of that step */
    const float *sum, *weights; /* [the block's elements] */
};

/* settings and layout are borrowed for its life.  ERR_NOMEM. */
MUST_USE int residual_create(const struct settings *settings, const struct layout *layout,
                             struct residual **residual_out);
void residual_destroy(struct residual *residual);

/* Nothing is kept any more: weights were taken back. */
void residual_clear(struct residual *residual);

/* How many of a block's elements a push of that step has; all of them go without their indices. */
size_t residual_keep(const struct residual *residual, size_t block_idx, uint64_t step);

void residual_add(struct residual *residual, const struct batching *batching,
                  const struct residual_part *part);

/* Writes what is sent of the part's block to out: pairs (sparse.h), or all elements. */
void residual_take(struct residual *residual, const struct residual_part *part, void *out);

#endif
