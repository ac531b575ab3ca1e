#ifndef WORKER_INNER_H
#define WORKER_INNER_H

/* inner - the steps that a lane makes by itself in one round (consistency "local").
 *
 *     begin: w0 = weights of the round, all state zero
 *     step:  w = optimizer(w, gradient of the lane's samples / their number); a running mean takes
 *            in the lane's, and a frozen tensor stays
 *     end:   difference w0 - w
 *
 * The state of the job's optimizer begins at zero in every round and adam's t at 1, so that a
 * lane's round is a pure function of (job, round, lane), whoever computes it.  DiLoCo keeps the
 * state of a replica from round to round; here no lane belongs to anybody for so long.
 *
 * Shapes:   weights, gradient, difference: [weight_count] f32.
 * Owner:    one compute thread.  Thread: that one.
 * Memory:   taken in inner_create: one vector of weights and those of the optimizer's state.
 * Source:   Douillard et al. 2023, "DiLoCo", algorithm 1, lines 3 to 9.
 * Surprise: none.
 */
#include "common/layout.h"
#include "common/settings.h"

struct inner;

/* Both are borrowed for the inner's life; job_steps: of the whole job, for the schedule. */
MUST_USE int inner_create(const struct settings *settings, const struct layout *layout,
                          uint64_t job_steps, struct inner **inner_out);
void inner_destroy(struct inner *inner);

/* weights are borrowed until the next begin. */
void inner_begin(struct inner *inner, const float *weights);

/* What the next gradient is to be of; until the next inner_step. */
const float *inner_weights(const struct inner *inner);

/* grad: sum over the samples of the lane in global step `step`; of frozen tensors it is not read.
 * No samples: nothing changes. */
void inner_step(struct inner *inner, uint64_t step, const float *grad, uint64_t sample_count);

/* Weights at the begin less those now. */
void inner_difference(const struct inner *inner, float *out);

#endif
