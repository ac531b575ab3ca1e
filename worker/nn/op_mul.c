/* mul: the product, number by number, of two values of one shape. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    return op_plan_one_shape(p, "multiplies", why);
}

static void forward(const struct op_call *call)
{
    kernel_multiply(call->out, call->in[0], call->in[1], call->count * call->plan->out_count);
}

/* The gradient of one input is that of the output times the other. */
static void backward_data(const struct op_call *call)
{
    kernel_multiply(call->in_grad, call->out_grad, call->in[1 - call->which],
                    call->count * call->plan->out_count);
}

const struct op_kernel op_mul = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
    .can_overwrite = true,
    .reads_in = true,
};
