/* conv2d: images; weight [kernel rows][kernel cols][channels in / groups][filters], bias [filters].
 * conv1d: a sequence, which is an image of one row; weight [kernel][channels in / groups][filters].
 *
 * Winograd's form computes 3 x 3 kernels of stride 1 (winograd.h) where the operator's key allows
 * it, and the direct form all others (conv.h). */
#include "worker/nn/op.h"

#include "worker/nn/conv.h"
#include "worker/nn/kernels.h"
#include "worker/nn/winograd.h"

/* What a job file leaves out is 1; other kinds of operator have it as 0. */
static uint32_t at_least_one(uint32_t value)
{
    return value > 0 ? value : 1;
}

static struct conv conv_of(const struct op_plan *p)
{
    const struct op_spec *spec = p->spec;
    bool is_row = p->in[0].dims == 2;
    const uint32_t *in = p->in[0].size, *out = p->out.size;
    struct conv c = {
        .size = {is_row ? 1 : in[0], is_row ? in[0] : in[1]},
        .channels = is_row ? in[1] : in[2],
        .out = {is_row ? 1 : out[0], is_row ? out[0] : out[1]},
        .filters = spec->filters,
        .groups = at_least_one(spec->groups),
    };
    for (int axis = 0; axis < 2; axis++) {
        int from = is_row ? 0 : axis; /* of the spec: a sequence has its numbers first */
        bool is_one = is_row && axis == 0;
        c.kernel[axis] = is_one ? 1 : spec->kernel[from];
        c.stride[axis] = is_one ? 1 : spec->stride[from];
        c.dilation[axis] = is_one ? 1 : at_least_one(spec->dilation[from]);
        c.before[axis] = is_one ? 0 : p->pad_before[from];
    }
    return c;
}

static bool is_winograd(const struct op_plan *p, const struct conv *c)
{
    return p->spec->winograd && winograd_fits(c);
}

/* Tensors, scratch and work, when shapes and padding are known. */
static int finish_plan(struct op_plan *p, uint32_t dims, const uint32_t *shape, struct err_msg *why)
{
    if (op_shape_count(&p->out) == 0)
        return 0; /* too large: the graph says so */
    struct conv c = conv_of(p);
    p->scratch_count = conv_scratch_count(&c);
    if (is_winograd(p, &c))
        p->scratch_count = winograd_scratch_count(&c);
    p->scratch_count += c.filters;
    if (p->scratch_count > 8 * (uint64_t)OP_VALUE_MAX)
        return err_set(why, ERR_INPUT, "is a convolution too large to compute");
    op_plan_tensors(p, dims, shape);
    p->flops = 2 * (uint64_t)c.kernel[0] * c.kernel[1] * (c.channels / c.groups) *
               op_shape_count(&p->out);
    return 0;
}

static int check_groups(const struct op_plan *p, uint32_t channels, struct err_msg *why)
{
    uint32_t groups = at_least_one(p->spec->groups);
    if (channels % groups != 0 || p->spec->filters % groups != 0)
        return err_set(why, ERR_INPUT, "cannot cut %u channels and %u filters into %u groups",
                       channels, p->spec->filters, groups);
    return 0;
}

static int plan_image(struct op_plan *p, struct err_msg *why)
{
    int err = op_plan_window(p, why);
    p->out.size[2] = p->spec->filters;
    if (err == 0)
        err = check_groups(p, p->in[0].size[2], why);
    if (err)
        return err;
    const uint32_t shape[] = {p->spec->kernel[0], p->spec->kernel[1],
                              p->in[0].size[2] / at_least_one(p->spec->groups), p->spec->filters};
    return finish_plan(p, 4, shape, why);
}

static int plan_sequence(struct op_plan *p, struct err_msg *why)
{
    char found[40];
    op_shape_text(&p->in[0], found);
    if (p->in[0].dims != 2)
        return err_set(why, ERR_INPUT, "needs a sequence (positions x features) but gets %s",
                       found);
    int err = op_plan_axis(p, 0, why);
    if (err == 0)
        err = check_groups(p, p->in[0].size[1], why);
    if (err)
        return err;
    p->out = (struct op_shape){.dims = 2, .size = {p->out.size[0], p->spec->filters}};
    const uint32_t shape[] = {p->spec->kernel[0],
                              p->in[0].size[1] / at_least_one(p->spec->groups), p->spec->filters};
    return finish_plan(p, 3, shape, why);
}

static void forward(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    struct conv_pass pass = {.conv = &c,
                             .weight = conv_weight_of(&c, call->tensor[0]),
                             .count = call->count,
                             .from = call->in[0],
                             .bias = call->tensor[1],
                             .relu = call->plan->fused_relu,
                             .to = call->out,
                             .scratch = call->scratch};
    (is_winograd(call->plan, &c) ? winograd_forward : conv_forward)(&pass);
}

/* db: summed image by image, which keeps long sums of small numbers apart. */
static void add_bias_grad(const struct op_call *call, const struct conv *c)
{
    size_t pixels = (size_t)c->out[0] * c->out[1];
    kernel_zero(call->tensor_grad[1], c->filters);
    for (size_t sample = 0; sample < call->count; sample++) {
        kernel_zero(call->scratch, c->filters);
        kernel_add_rows(call->scratch, call->out_grad + sample * call->plan->out_count, pixels,
                        c->filters);
        kernel_add(call->tensor_grad[1], call->tensor_grad[1], call->scratch, c->filters);
    }
}

static void backward_weights(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    (is_winograd(call->plan, &c) ? winograd_backward_weights : conv_backward_weights)(
        &c, call->count, call->in[0], call->out_grad, call->tensor_grad[0], call->scratch);
    if (call->tensor_grad[1])
        add_bias_grad(call, &c);
}

static void backward_data(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    struct conv_pass pass = {.conv = &c,
                             .weight = conv_weight_of(&c, call->tensor[0]),
                             .count = call->count,
                             .from = call->out_grad,
                             .to = call->in_grad,
                             .scratch = call->scratch};
    (is_winograd(call->plan, &c) ? winograd_backward_data : conv_backward_data)(&pass);
}

const struct op_kernel op_conv2d = {
    .plan = plan_image,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .reads_in = true,
    .can_relu = true,
};

const struct op_kernel op_conv1d = {
    .plan = plan_sequence,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .reads_in = true,
    .can_relu = true,
};
