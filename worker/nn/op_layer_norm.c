/* layer_norm: out = (in - mean) / sqrt(variance + epsilon) weight + bias, mean and variance over
 * the last dimension: the numbers of a row, of each position of a sequence, the channels of each
 * pixel of an image (all of an image: group_norm with one group).
 *
 * Source: Ba, Kiros and Hinton 2016, eq. 4. */
#include "worker/nn/kernels.h"
#include "worker/nn/norm_kernels.h"
#include "worker/nn/op_norm.h"
#include "worker/nn/real_math.h"
#include "worker/nn/row_kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    (void)why;
    norm_plan(p);
    p->keep_count = 2 * op_shape_rows(&p->in[0]); /* each row's mean and 1 / deviation */
    p->scratch_count = norm_scratch_count(op_shape_width(&p->in[0]));
    return 0;
}

/* One call: its rows, and what is kept of each, [rows]. */
struct parts {
    size_t rows, cols;
    real *mean, *scale;
};

static struct parts parts_of(const struct op_call *call)
{
    size_t rows = call->count * op_shape_rows(&call->plan->out);
    return (struct parts){rows, op_shape_width(&call->plan->out), call->keep, call->keep + rows};
}

static void normalise_row(real *out, const real *in, const struct op_call *call, real center,
                          real scale)
{
    const real *weight = call->tensor[NORM_WEIGHT], *bias = call->tensor[NORM_BIAS];
    size_t cols = op_shape_width(&call->plan->out);
    INDEPENDENT
    for (size_t c = 0; c < cols; c++)
        out[c] = (in[c] - center) * scale * weight[c] + bias[c];
}

static void forward(const struct op_call *call)
{
    struct parts d = parts_of(call);
    for (size_t row = 0; row < d.rows; row++) {
        const real *in = call->in[0] + row * d.cols;
        d.mean[row] = (real)(row_sum(in, d.cols) / (double)d.cols);
        double variance = row_squares(in, d.mean[row], d.cols) / (double)d.cols;
        d.scale[row] = (real)norm_scale_of(call, variance);
        normalise_row(call->out + row * d.cols, in, call, d.mean[row], d.scale[row]);
    }
}

static void backward_weights(const struct op_call *call)
{
    struct parts d = parts_of(call);
    norm_row_grad_sums(call->tensor_grad[NORM_BIAS], call->tensor_grad[NORM_WEIGHT],
                       call->out_grad, call->in[0], d.mean, d.scale, d.rows, d.cols,
                       call->scratch);
}

/* What a row's gradient is made of. */
struct row_grad {
    real center, scale, mean, pull;
    const real *in, *grad; /* [cols]; grad: out_grad weight */
};

static inline real grad_at(const struct row_grad *row, size_t c)
{
    return (row->grad[c] - row->mean - (row->in[c] - row->center) * row->pull) * row->scale;
}

/* With x = (in - mean) scale and g = out_grad weight: in_grad = scale (g - mean(g) - x mean(g x)).
 */
static void backward_row(const struct op_call *call, const struct parts *d, size_t row)
{
    size_t cols = d->cols;
    real *grad = call->scratch, *in_grad = call->in_grad + row * cols;
    struct row_grad r = {.center = d->mean[row], .scale = d->scale[row], .grad = grad};
    r.in = call->in[0] + row * cols;
    kernel_multiply(grad, call->out_grad + row * cols, call->tensor[NORM_WEIGHT], cols);
    double products = row_product(grad, r.in, r.center, cols) / (double)cols;
    r.mean = (real)(row_sum(grad, cols) / (double)cols);
    r.pull = (real)(products * (double)r.scale * (double)r.scale);
    if (call->adds) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++)
            in_grad[c] += grad_at(&r, c);
        return;
    }
    INDEPENDENT
    for (size_t c = 0; c < cols; c++)
        in_grad[c] = grad_at(&r, c);
}

static void backward_data(const struct op_call *call)
{
    struct parts d = parts_of(call);
    for (size_t row = 0; row < d.rows; row++)
        backward_row(call, &d, row);
}

const struct op_kernel op_layer_norm = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .can_overwrite = true,
    .can_add = true,
    .reads_in = true,
};
