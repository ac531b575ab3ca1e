/* relu, tanh, sigmoid: elementwise, and their backward needs only what came out. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static size_t element_count(const struct op_call *call)
{
    return call->count * call->plan->out_count;
}

static void relu_forward(const struct op_call *call)
{
    kernel_relu(call->out, call->in[0], element_count(call));
}

static void relu_backward(const struct op_call *call)
{
    kernel_relu_grad(call->in_grad, call->out, call->out_grad, element_count(call));
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
