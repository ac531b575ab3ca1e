/* flatten: [H][W][C] read as [H * W * C]: the same memory. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    (void)why;
    p->out = (struct op_shape){.dims = 1, .size = {(uint32_t)p->in_count}};
    return 0;
}

static void forward(const struct op_call *call)
{
    (void)call;
}

static void backward_data(const struct op_call *call)
{
    if (call->in_grad != call->out_grad)
        kernel_copy(call->in_grad, call->out_grad, call->count * call->plan->out_count);
}

const struct op_kernel op_flatten = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
    .can_overwrite = true,
    .is_view = true,
};
