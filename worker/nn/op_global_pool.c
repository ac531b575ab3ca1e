/* global_avgpool, global_maxpool: of each channel over all pixels of an image, of each feature over
 * all positions of a sequence.
 *
 * Of equal maxima the first gets the gradient; a NaN wins, so that it is seen. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"
#include "worker/nn/real_math.h"

static int plan_avgpool(struct op_plan *p, struct err_msg *why)
{
    const struct op_shape *in = &p->in[0];
    if (in->dims == 1)
        return err_set(why, ERR_INPUT,
                       "needs an image (rows x columns x channels) or a sequence (positions x "
                       "features) but gets a row of %u",
                       in->size[0]);
    p->out = (struct op_shape){.dims = 1, .size = {in->size[in->dims - 1]}};
    return 0;
}

static void avgpool_forward(const struct op_call *call)
{
    size_t channels = call->plan->out_count, pixels = call->plan->in_count / channels;
    for (size_t sample = 0; sample < call->count; sample++) {
        real *mean = call->out + sample * channels;
        kernel_zero(mean, channels);
        kernel_add_rows(mean, call->in[0] + sample * pixels * channels, pixels, channels);
        kernel_scale(mean, mean, 1 / (real)pixels, channels);
    }
}

static void avgpool_backward(const struct op_call *call)
{
    size_t channels = call->plan->out_count, pixels = call->plan->in_count / channels;
    for (size_t sample = 0; sample < call->count; sample++) {
        real *in_grad = call->in_grad + sample * pixels * channels;
        kernel_scale(in_grad, call->out_grad + sample * channels, 1 / (real)pixels, channels);
        for (size_t pixel = 1; pixel < pixels; pixel++)
            kernel_copy(in_grad + pixel * channels, in_grad, channels);
    }
}

/* What forward keeps: the winning pixel of each channel. */
static int plan_maxpool(struct op_plan *p, struct err_msg *why)
{
    p->keep_count = op_shape_width(&p->in[0]);
    return plan_avgpool(p, why);
}

/* Each channel's larger one, and its pixel. */
static void take_pixel(real *best, int32_t *winner, const real *in, int32_t pixel, size_t channels)
{
    INDEPENDENT
    for (size_t c = 0; c < channels; c++) {
        real value = in[c];
        int is_better = (value > best[c]) | (value != value);
        best[c] = is_better ? value : best[c];
        winner[c] = is_better ? pixel : winner[c];
    }
}

static void maxpool_forward(const struct op_call *call)
{
    size_t channels = call->plan->out_count, pixels = call->plan->in_count / channels;
    for (size_t sample = 0; sample < call->count; sample++) {
        const real *in = call->in[0] + sample * pixels * channels;
        real *best = call->out + sample * channels;
        int32_t *winner = (int32_t *)(void *)call->keep + sample * channels;
        kernel_copy(best, in, channels);
        for (size_t c = 0; c < channels; c++)
            winner[c] = 0;
        for (size_t pixel = 1; pixel < pixels; pixel++)
            take_pixel(best, winner, in + pixel * channels, (int32_t)pixel, channels);
    }
}

static void maxpool_backward(const struct op_call *call)
{
    size_t channels = call->plan->out_count, whole = call->plan->in_count;
    kernel_zero(call->in_grad, call->count * whole);
    for (size_t sample = 0; sample < call->count; sample++) {
        const int32_t *winner = (const int32_t *)(const void *)call->keep + sample * channels;
        const real *out_grad = call->out_grad + sample * channels;
        for (size_t c = 0; c < channels; c++)
            call->in_grad[sample * whole + (size_t)winner[c] * channels + c] = out_grad[c];
    }
}

const struct op_kernel op_global_avgpool = {
    .plan = plan_avgpool,
    .forward = avgpool_forward,
    .backward_data = avgpool_backward,
};

const struct op_kernel op_global_maxpool = {
    .plan = plan_maxpool,
    .forward = maxpool_forward,
    .backward_data = maxpool_backward,
};
