/* dropout: in training each number is zero with probability `rate`, else divided by 1 - rate, so
 * that evaluation passes everything as it is.  Which ones is drawn by (seed, step, lane, operator,
 * sample, feature) and by nothing else.
 * Source: Srivastava et al. 2014, section 10 (the inverted form). */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    p->keep_count = p->in_count;
    return op_plan_same_shape(p, why);
}

/* mask: 0 or 1 / (1 - rate). */
static void draw_mask(const struct op_call *call, real *mask, size_t count)
{
    float draws[256];
    float rate = call->plan->spec->rate;
    real scale = 1 / (1 - (real)rate);
    for (size_t begin = 0; begin < count; begin += ARRAY_LEN(draws)) {
        size_t part = count - begin < ARRAY_LEN(draws) ? count - begin : ARRAY_LEN(draws);
        draw_fill_uniform(&call->draw, begin, draws, part);
        for (size_t i = 0; i < part; i++)
            mask[begin + i] = draws[i] < rate ? 0 : scale;
    }
}

static void forward(const struct op_call *call)
{
    size_t count = call->count * call->plan->out_count;
    if (call->is_training) {
        draw_mask(call, call->keep, count);
        kernel_multiply(call->out, call->in[0], call->keep, count);
    } else if (call->out != call->in[0]) {
        kernel_copy(call->out, call->in[0], count);
    }
}

static void backward_data(const struct op_call *call)
{
    kernel_multiply(call->in_grad, call->out_grad, call->keep, call->count * call->plan->out_count);
}

const struct op_kernel op_dropout = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
    .can_overwrite = true,
};
