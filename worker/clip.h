#ifndef WORKER_CLIP_H
#define WORKER_CLIP_H

/* clip - bounds what one lane's gradient may do: by its norm, or number by number.
 *
 * A lane's gradient is a sum over its samples; the bounds are on its mean, so a sum of n samples is
 * held to n times as much.  The norm is over all tensors that the optimizer changes, whole: running
 * averages and frozen tensors neither count nor are scaled.  As each lane is clipped by itself,
 * what comes out depends on nothing but the lane.
 *
 * What is no finite number stays as it is, so that it is found where gradients are looked at.
 *
 * Owner:    compute.  Memory: none.  Thread: any.
 * Source:   Pascanu et al. 2013, "On the difficulty of training recurrent neural networks",
 *           algorithm 1.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/layout.h"
#include "common/settings.h"

/* The gradient must be whole before any of it is handed over. */
bool clip_needs_whole(const struct settings *settings);

/* By value: the part of grad that is one tensor.  grad: [weight_count]. */
void clip_tensor(const struct settings *settings, const struct layout *layout, size_t tensor_idx,
                 uint64_t sample_count, float *grad);

/* All that the settings ask for: by value first, then by norm. */
void clip_gradient(const struct settings *settings, const struct layout *layout,
                   uint64_t sample_count, float *grad);

/* The norm over the tensors that the optimizer changes. */
double clip_norm(const struct layout *layout, const float *grad);

#endif
