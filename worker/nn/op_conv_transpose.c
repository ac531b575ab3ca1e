/* conv_transpose2d: the gradient of a convolution as an operator of its own.  What a convolution of
 * the same numbers would take for an image is what comes out here, [rows][cols][filters], and its
 * maps are what goes in.  Weight [kernel rows][kernel cols][channels in][filters], bias [filters].
 *
 * Out, as PyTorch has it: (in - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.
 */
#include "worker/nn/op.h"

#include "worker/nn/conv.h"
#include "worker/nn/kernels.h"

static uint32_t dilation_of(const struct op_spec *spec, int axis)
{
    return spec->dilation[axis] > 0 ? spec->dilation[axis] : 1;
}

static struct conv conv_of(const struct op_plan *p)
{
    const struct op_spec *spec = p->spec;
    struct conv c = {.channels = p->out.size[2], .filters = p->in[0].size[2], .groups = 1};
    for (int axis = 0; axis < 2; axis++) {
        c.size[axis] = p->out.size[axis];
        c.out[axis] = p->in[0].size[axis];
        c.kernel[axis] = spec->kernel[axis];
        c.stride[axis] = spec->stride[axis];
        c.dilation[axis] = dilation_of(spec, axis);
        c.before[axis] = spec->padding[axis];
    }
    return c;
}

/* [taps][channels in][filters]: the convolution's filters are this operator's channels. */
static struct conv_weight weight_of(const struct conv *c, const real *data)
{
    return (struct conv_weight){data, (size_t)c->channels * c->filters, 1, c->channels};
}

static size_t weight_count(const struct conv *c)
{
    return (size_t)c->kernel[0] * c->kernel[1] * c->channels * c->filters;
}

static int plan_axis(struct op_plan *p, int axis, struct err_msg *why)
{
    const struct op_spec *spec = p->spec;
    uint32_t stride = spec->stride[axis], dilation = dilation_of(spec, axis);
    if (spec->output_padding[axis] >= stride && spec->output_padding[axis] >= dilation)
        return err_set(why, ERR_INPUT,
                       "output_padding %u must be smaller than the stride %u or the dilation %u",
                       spec->output_padding[axis], stride, dilation);
    int64_t out = ((int64_t)p->in[0].size[axis] - 1) * stride - 2 * (int64_t)spec->padding[axis] +
                  (int64_t)dilation * (spec->kernel[axis] - 1) + spec->output_padding[axis] + 1;
    if (out < 1)
        return err_set(why, ERR_INPUT, "padding %ux%u leaves nothing of its output",
                       spec->padding[0], spec->padding[1]);
    p->out.size[axis] = out <= OP_VALUE_MAX ? (uint32_t)out : UINT32_MAX;
    return 0;
}

static int plan(struct op_plan *p, struct err_msg *why)
{
    char found[40];
    op_shape_text(&p->in[0], found);
    if (p->in[0].dims != 3)
        return err_set(why, ERR_INPUT, "needs an image (rows x columns x channels) but gets %s",
                       found);
    p->out = (struct op_shape){.dims = 3, .size = {1, 1, p->spec->filters}};
    for (int axis = 0; axis < 2; axis++) {
        int err = plan_axis(p, axis, why);
        if (err)
            return err;
    }
    if (op_shape_count(&p->out) == 0)
        return 0; /* too large: the graph says so */
    struct conv c = conv_of(p);
    uint64_t scratch = (uint64_t)conv_scratch_count(&c) + weight_count(&c);
    if (scratch > 8 * (uint64_t)OP_VALUE_MAX)
        return err_set(why, ERR_INPUT, "is a convolution too large to compute");
    const uint32_t shape[] = {p->spec->kernel[0], p->spec->kernel[1], p->in[0].size[2],
                              p->spec->filters};
    op_plan_tensors(p, 4, shape);
    p->scratch_count = (size_t)scratch;
    p->flops = 2 * (uint64_t)c.kernel[0] * c.kernel[1] * c.channels * op_shape_count(&p->in[0]);
    return 0;
}

static void forward(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    conv_backward_data(&(struct conv_pass){.conv = &c,
                                           .weight = weight_of(&c, call->tensor[0]),
                                           .count = call->count,
                                           .from = call->in[0],
                                           .bias = call->tensor[1],
                                           .to = call->out,
                                           .scratch = call->scratch});
}

static void backward_data(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    conv_forward(&(struct conv_pass){.conv = &c,
                                     .weight = weight_of(&c, call->tensor[0]),
                                     .count = call->count,
                                     .from = call->out_grad,
                                     .to = call->in_grad,
                                     .scratch = call->scratch});
}

/* The convolution's gradient is [taps][filters][channels in]. */
static void backward_weights(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    real *turned = call->scratch, *grad = call->tensor_grad[0];
    conv_backward_weights(&c, call->count, call->out_grad, call->in[0], turned,
                          call->scratch + weight_count(&c));
    for (size_t tap = 0; tap < (size_t)c.kernel[0] * c.kernel[1]; tap++)
        for (size_t i = 0; i < c.filters; i++)
            for (size_t j = 0; j < c.channels; j++)
                *grad++ = turned[(tap * c.channels + j) * c.filters + i];
    if (!call->tensor_grad[1])
        return;
    kernel_zero(call->tensor_grad[1], c.channels);
    kernel_add_rows(call->tensor_grad[1], call->out_grad,
                    call->count * call->plan->out_count / c.channels, c.channels);
}

const struct op_kernel op_conv_transpose2d = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .reads_in = true,
};
