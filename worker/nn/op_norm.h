#ifndef WORKER_NN_OP_NORM_H
#define WORKER_NN_OP_NORM_H

/* op_norm - what batch_norm, layer_norm and group_norm share.
 *
 * Owner:    worker/nn.  Thread: any.
 * Surprise: none.
 */
#include <math.h>
#include "worker/nn/op.h"

enum { NORM_WEIGHT, NORM_BIAS, NORM_RUNNING_MEAN, NORM_RUNNING_VARIANCE };

/* Out has the shape of the input; weight and bias have its last dimension's size, and start as one
 * and zero. */
static inline void norm_plan(struct op_plan *plan)
{
    const uint32_t width[] = {(uint32_t)op_shape_width(&plan->in[0])};
    plan->out = plan->in[0];
    op_plan_tensor(plan, "weight", 1, width)->init = INIT_ONE;
    op_plan_tensor(plan, "bias", 1, width);
}

/* 1 / sqrt(variance + epsilon). */
static inline double norm_scale_of(const struct op_call *call, double variance)
{
    return 1 / sqrt(variance + (double)call->plan->spec->epsilon);
}

#endif
