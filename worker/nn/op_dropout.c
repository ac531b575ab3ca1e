/* dropout, spatial_dropout, drop_path: in training each number, each channel of a sample, or each
 * whole sample is zero with probability `rate`, else divided by 1 - rate, so that evaluation passes
 * everything as it is.  A channel is the last dimension's: of an image, or a feature of a sequence
 * at all its positions.  Which ones is drawn by (seed, step, lane, operator, sample, place) and by
 * nothing else.
 * Source: Srivastava et al. 2014, section 10 (the inverted form); Tompson et al. 2015, "Efficient
 * Object Localization", section 3.2 (spatial); Huang et al. 2016, "Deep Networks with Stochastic
 * Depth" (whole samples; scaled as the others). */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    p->keep_count = p->in_count;
    return op_plan_same_shape(p, why);
}

static int spatial_plan(struct op_plan *p, struct err_msg *why)
{
    p->keep_count = op_shape_width(&p->in[0]);
    return op_plan_same_shape(p, why);
}

static int path_plan(struct op_plan *p, struct err_msg *why)
{
    p->keep_count = 1;
    return op_plan_same_shape(p, why);
}

/* mask: 0 or 1 / (1 - rate), keep_count a sample. */
static void draw_mask(const struct op_call *call, real *mask)
{
    float draws[256];
    float rate = call->plan->spec->rate;
    real scale = 1 / (1 - (real)rate);
    size_t count = call->count * call->plan->keep_count;
    for (size_t begin = 0; begin < count; begin += ARRAY_LEN(draws)) {
        size_t part = count - begin < ARRAY_LEN(draws) ? count - begin : ARRAY_LEN(draws);
        draw_fill_uniform(&call->draw, begin, draws, part);
        for (size_t i = 0; i < part; i++)
            mask[begin + i] = draws[i] < rate ? 0 : scale;
    }
}

typedef void mask_function(const struct op_call *call, real *out, const real *in);

static void mask_numbers(const struct op_call *call, real *out, const real *in)
{
    kernel_multiply(out, in, call->keep, call->count * call->plan->out_count);
}

static void mask_channels(const struct op_call *call, real *out, const real *in)
{
    size_t width = call->plan->keep_count, rows = call->plan->out_count / width;
    for (size_t i = 0; i < call->count * rows; i++)
        kernel_multiply(out + i * width, in + i * width, call->keep + i / rows * width, width);
}

static void mask_samples(const struct op_call *call, real *out, const real *in)
{
    size_t size = call->plan->out_count;
    for (size_t i = 0; i < call->count; i++)
        kernel_scale(out + i * size, in + i * size, call->keep[i], size);
}

static void pass(const struct op_call *call, mask_function *mask)
{
    if (call->is_training) {
        draw_mask(call, call->keep);
        mask(call, call->out, call->in[0]);
    } else if (call->out != call->in[0]) {
        kernel_copy(call->out, call->in[0], call->count * call->plan->out_count);
    }
}

static void forward(const struct op_call *call)
{
    pass(call, mask_numbers);
}

static void backward_data(const struct op_call *call)
{
    mask_numbers(call, call->in_grad, call->out_grad);
}

static void spatial_forward(const struct op_call *call)
{
    pass(call, mask_channels);
}

static void spatial_backward_data(const struct op_call *call)
{
    mask_channels(call, call->in_grad, call->out_grad);
}

static void path_forward(const struct op_call *call)
{
    pass(call, mask_samples);
}

static void path_backward_data(const struct op_call *call)
{
    mask_samples(call, call->in_grad, call->out_grad);
}

const struct op_kernel op_dropout = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
    .can_overwrite = true,
};

const struct op_kernel op_spatial_dropout = {
    .plan = spatial_plan,
    .forward = spatial_forward,
    .backward_data = spatial_backward_data,
    .can_overwrite = true,
};

const struct op_kernel op_drop_path = {
    .plan = path_plan,
    .forward = path_forward,
    .backward_data = path_backward_data,
    .can_overwrite = true,
};
