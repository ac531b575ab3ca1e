/* softmax: exp(in) / sum of exp(in), over the last dimension.
 *
 * (A classifier does not end with it: softmax_cross_entropy has its own.) */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"
#include "worker/nn/real_math.h"
#include "worker/nn/row_kernels.h"

static void forward_row(real *out, const real *in, size_t cols)
{
    real top = row_max(in, cols);
    INDEPENDENT
    for (size_t c = 0; c < cols; c++)
        out[c] = exp_of(in[c] - top);
    kernel_scale(out, out, (real)(1 / row_sum(out, cols)), cols);
}

static void forward(const struct op_call *call)
{
    size_t cols = op_shape_width(&call->plan->out);
    size_t rows = call->count * op_shape_rows(&call->plan->out);
    for (size_t row = 0; row < rows; row++)
        forward_row(call->out + row * cols, call->in[0] + row * cols, cols);
}

/* in_grad = out (out_grad - sum(out_grad out)). */
static void backward_data(const struct op_call *call)
{
    size_t cols = op_shape_width(&call->plan->out);
    size_t rows = call->count * op_shape_rows(&call->plan->out);
    for (size_t row = 0; row < rows; row++) {
        const real *out = call->out + row * cols, *out_grad = call->out_grad + row * cols;
        real *in_grad = call->in_grad + row * cols;
        real sum = (real)row_product(out_grad, out, 0, cols);
        INDEPENDENT
        for (size_t c = 0; c < cols; c++)
            in_grad[c] = out[c] * (out_grad[c] - sum);
    }
}

const struct op_kernel op_softmax = {
    .plan = op_plan_same_shape,
    .forward = forward,
    .backward_data = backward_data,
    .can_overwrite = true,
    .reads_out = true,
};
