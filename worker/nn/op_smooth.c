/* gelu, silu, softplus: elementwise.  What comes out does not tell the derivative, so forward keeps
 * that in training, and backward is one product. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"
#include "worker/nn/smooth_kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    p->keep_count = p->in_count;
    return op_plan_same_shape(p, why);
}

static void forward_by(const struct op_call *call, smooth_kernel kernel)
{
    kernel(call->out, call->is_training ? call->keep : NULL, call->in[0],
           call->count * call->plan->out_count);
}

static void gelu_forward(const struct op_call *call)
{
    bool is_tanh = call->plan->spec->approximate == GELU_TANH;
    forward_by(call, is_tanh ? kernel_gelu_tanh : kernel_gelu);
}

static void silu_forward(const struct op_call *call)
{
    forward_by(call, kernel_silu);
}

static void softplus_forward(const struct op_call *call)
{
    forward_by(call, kernel_softplus);
}

static void backward_data(const struct op_call *call)
{
    kernel_multiply(call->in_grad, call->out_grad, call->keep, call->count * call->plan->out_count);
}

const struct op_kernel op_gelu = {
    .plan = plan,
    .forward = gelu_forward,
    .backward_data = backward_data,
    .can_overwrite = true,
};

const struct op_kernel op_silu = {
    .plan = plan,
    .forward = silu_forward,
    .backward_data = backward_data,
    .can_overwrite = true,
};

const struct op_kernel op_softplus = {
    .plan = plan,
    .forward = softplus_forward,
    .backward_data = backward_data,
    .can_overwrite = true,
};
