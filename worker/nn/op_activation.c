/* relu, leaky_relu, elu, tanh, sigmoid: elementwise, and backward needs only what came out. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static size_t element_count(const struct op_call *call)
{
    return call->count * call->plan->out_count;
}

static void relu_forward(const struct op_call *call)
{
    if (call->plan->fused_relu && call->out == call->in[0])
        return; /* nothing is below 0 any more */
    kernel_relu(call->out, call->in[0], element_count(call));
}

static void relu_backward(const struct op_call *call)
{
    kernel_relu_grad(call->in_grad, call->out, call->out_grad, element_count(call));
}

static void leaky_relu_forward(const struct op_call *call)
{
    kernel_leaky_relu(call->out, call->in[0], (real)call->plan->spec->slope, element_count(call));
}

static void leaky_relu_backward(const struct op_call *call)
{
    kernel_leaky_relu_grad(call->in_grad, call->out, call->out_grad,
                           (real)call->plan->spec->slope, element_count(call));
}

static void elu_forward(const struct op_call *call)
{
    kernel_elu(call->out, call->in[0], (real)call->plan->spec->slope, element_count(call));
}

static void elu_backward(const struct op_call *call)
{
    kernel_elu_grad(call->in_grad, call->out, call->out_grad, (real)call->plan->spec->slope,
                    element_count(call));
}

static void tanh_forward(const struct op_call *call)
{
    kernel_tanh(call->out, call->in[0], element_count(call));
}

static void tanh_backward(const struct op_call *call)
{
    kernel_tanh_grad(call->in_grad, call->out, call->out_grad, element_count(call));
}

static void sigmoid_forward(const struct op_call *call)
{
    kernel_sigmoid(call->out, call->in[0], element_count(call));
}

static void sigmoid_backward(const struct op_call *call)
{
    kernel_sigmoid_grad(call->in_grad, call->out, call->out_grad, element_count(call));
}

const struct op_kernel op_relu = {
    .plan = op_plan_same_shape,
    .forward = relu_forward,
    .backward_data = relu_backward,
    .can_overwrite = true,
    .reads_out = true,
};

const struct op_kernel op_leaky_relu = {
    .plan = op_plan_same_shape,
    .forward = leaky_relu_forward,
    .backward_data = leaky_relu_backward,
    .can_overwrite = true,
    .reads_out = true,
};

const struct op_kernel op_elu = {
    .plan = op_plan_same_shape,
    .forward = elu_forward,
    .backward_data = elu_backward,
    .can_overwrite = true,
    .reads_out = true,
};

const struct op_kernel op_tanh = {
    .plan = op_plan_same_shape,
    .forward = tanh_forward,
    .backward_data = tanh_backward,
    .can_overwrite = true,
    .reads_out = true,
};

const struct op_kernel op_sigmoid = {
    .plan = op_plan_same_shape,
    .forward = sigmoid_forward,
    .backward_data = sigmoid_backward,
    .can_overwrite = true,
    .reads_out = true,
};
