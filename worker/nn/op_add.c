/* add: the sum of two values of one shape. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    return op_plan_one_shape(p, "adds", why);
}

static void forward(const struct op_call *call)
{
    kernel_add(call->out, call->in[0], call->in[1], call->count * call->plan->out_count);
}

/* The same for either input. */
static void backward_data(const struct op_call *call)
{
    if (call->in_grad != call->out_grad)
        kernel_copy(call->in_grad, call->out_grad, call->count * call->plan->out_count);
}

const struct op_kernel op_add = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
    .can_overwrite = true,
};
