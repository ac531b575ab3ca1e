/* dense: out = in W + b.  weight: [in][out], bias: [out]. */
#include "worker/nn/op.h"

#include "worker/nn/blas.h"
#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    if (p->in[0].dims != 1) {
        char found[40];
        op_shape_text(&p->in[0], found);
        return err_set(why, ERR_INPUT,
                       "needs a row of numbers but gets the image %s (put a flatten before it)",
                       found);
    }
    const uint32_t shape[] = {p->in[0].size[0], p->spec->units};
    p->out = (struct op_shape){.dims = 1, .size = {p->spec->units}};
    op_plan_tensors(p, 2, shape);
    p->flops = 2 * (uint64_t)shape[0] * shape[1];
    return 0;
}

static void forward(const struct op_call *call)
{
    size_t in = call->plan->in_count, out = call->plan->out_count;
    if (call->bias)
        kernel_fill_rows(call->out, call->bias, call->count, out);
    blas_multiply((struct blas_shape){call->count, out, in},
                  (struct blas_matrix){call->in[0], in, BLAS_PLAIN},
                  (struct blas_matrix){call->weight, out, BLAS_PLAIN}, call->bias != NULL,
                  call->out, out);
}

/* dW = in^T dout, db = sum of dout. */
static void backward_weights(const struct op_call *call)
{
    size_t in = call->plan->in_count, out = call->plan->out_count;
    blas_multiply((struct blas_shape){in, out, call->count},
                  (struct blas_matrix){call->in[0], in, BLAS_TRANSPOSED},
                  (struct blas_matrix){call->out_grad, out, BLAS_PLAIN}, false, call->weight_grad,
                  out);
    if (call->bias_grad) {
        kernel_zero(call->bias_grad, out);
        kernel_add_rows(call->bias_grad, call->out_grad, call->count, out);
    }
}

/* din = dout W^T. */
static void backward_data(const struct op_call *call)
{
    size_t in = call->plan->in_count, out = call->plan->out_count;
    blas_multiply((struct blas_shape){call->count, in, out},
                  (struct blas_matrix){call->out_grad, out, BLAS_PLAIN},
                  (struct blas_matrix){call->weight, out, BLAS_TRANSPOSED}, false, call->in_grad,
                  in);
}

const struct op_kernel op_dense = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .reads_in = true,
};
