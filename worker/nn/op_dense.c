/* dense: out = in W + b, of a row of numbers or of each position of a sequence.
 *
 * weight: [in][out], bias: [out].  Tied to an embedding it has that one's weight, [out][in]. */
#include "worker/nn/op.h"

#include "worker/nn/gemm.h"
#include "worker/nn/graph.h"
#include "worker/nn/kernels.h"

/* The job's units, or as many as the data wants. */
static uint32_t units_of(const struct op_plan *p)
{
    if (p->spec->units > 0)
        return p->spec->units;
    if (p->tied != NULL)
        return p->tied->tensors[0].shape[0];
    return p->data->class_count > 0 ? p->data->class_count : p->data->label_count;
}

static int plan_tied(struct op_plan *p, const uint32_t shape[2], struct err_msg *why)
{
    const struct tensor_spec *weight = &p->tied->tensors[0];
    if (p->tied->tensor_count == 0 || weight->dims != 2 || p->tied->tied != NULL)
        return err_set(why, ERR_INPUT,
                       "is tied to %s, which has no weight of two dimensions of its own",
                       p->tied->spec->name);
    if (weight->shape[0] != shape[1] || weight->shape[1] != shape[0])
        return err_set(why, ERR_INPUT,
                       "turns %u numbers into %u, but the weight of %s that it is tied to is %ux%u "
                       "(expected %ux%u)",
                       shape[0], shape[1], p->tied->spec->name, weight->shape[0], weight->shape[1],
                       shape[1], shape[0]);
    p->tensors[p->tensor_count++] = *weight;
    if (p->spec->bias)
        op_plan_tensor(p, "bias", 1, &shape[1]);
    return 0;
}

/* Of forward, of the gradient of data and of that of weights, whatever the number of samples. */
static size_t scratch_of(size_t in, size_t out, enum products products)
{
    const struct blas_shape shapes[] = {
        {SIZE_MAX, out, in}, {SIZE_MAX, in, out}, {in, out, SIZE_MAX}, {out, in, SIZE_MAX}};
    size_t most = 0;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (gemm_scratch_count(shapes[i], products) > most)
            most = gemm_scratch_count(shapes[i], products);
    return most;
}

static int plan(struct op_plan *p, struct err_msg *why)
{
    const struct op_shape *in = &p->in[0];
    if (in->dims == 3) {
        char found[40];
        op_shape_text(in, found);
        return err_set(why, ERR_INPUT,
                       "needs a row of numbers but gets the image %s (put a flatten before it)",
                       found);
    }
    const uint32_t shape[] = {in->size[in->dims - 1], units_of(p)};
    p->out = *in;
    p->out.size[in->dims - 1] = shape[1];
    p->flops = 2 * (uint64_t)op_shape_rows(in) * shape[0] * shape[1];
    p->scratch_count = scratch_of(shape[0], shape[1], p->products);
    if (p->tied != NULL)
        return plan_tied(p, shape, why);
    op_plan_tensors(p, 2, shape);
    return 0;
}

/* One call's matrices: in and its gradient [rows][in], out and its gradient [rows][out]. */
struct product {
    size_t rows, in, out;
    bool is_tied;
};

static struct product product_of(const struct op_call *call)
{
    const struct op_plan *p = call->plan;
    return (struct product){call->count * op_shape_rows(&p->out), op_shape_width(&p->in[0]),
                            op_shape_width(&p->out), p->tied != NULL};
}

/* The weight as a matrix of the memory's rows, read as it is or turned. */
static struct blas_matrix weight_matrix(const struct op_call *call, const struct product *d,
                                        bool is_turned)
{
    return (struct blas_matrix){call->tensor[0], d->is_tied ? d->in : d->out,
                                d->is_tied != is_turned ? BLAS_TRANSPOSED : BLAS_PLAIN};
}

static void forward(const struct op_call *call)
{
    struct product d = product_of(call);
    gemm(&(struct gemm){.shape = {d.rows, d.out, d.in},
                        .A = {call->in[0], d.in, BLAS_PLAIN},
                        .B = weight_matrix(call, &d, false),
                        .bias = call->tensor[1],
                        .C = call->out,
                        .C_stride = d.out,
                        .products = call->plan->products,
                        .scratch = call->scratch});
}

/* dW = in^T dout, and db = sum of dout. */
static void backward_own_weights(const struct op_call *call, const struct product *d)
{
    gemm(&(struct gemm){.shape = {d->in, d->out, d->rows},
                        .A = {call->in[0], d->in, BLAS_TRANSPOSED},
                        .B = {call->out_grad, d->out, BLAS_PLAIN},
                        .B_sums = call->tensor_grad[1],
                        .C = call->tensor_grad[0],
                        .C_stride = d->out,
                        .products = call->plan->products,
                        .scratch = call->scratch});
}

/* The transpose of dW. */
static void backward_tied_weights(const struct op_call *call, const struct product *d)
{
    gemm(&(struct gemm){.shape = {d->out, d->in, d->rows},
                        .A = {call->out_grad, d->out, BLAS_TRANSPOSED},
                        .B = {call->in[0], d->in, BLAS_PLAIN},
                        .C = call->tensor_grad[0],
                        .C_stride = d->in,
                        .products = call->plan->products,
                        .scratch = call->scratch});
    if (call->tensor_grad[1]) {
        kernel_zero(call->tensor_grad[1], d->out);
        kernel_add_rows(call->tensor_grad[1], call->out_grad, d->rows, d->out);
    }
}

static void backward_weights(const struct op_call *call)
{
    struct product d = product_of(call);
    if (d.is_tied)
        backward_tied_weights(call, &d);
    else
        backward_own_weights(call, &d);
}

/* din = dout W^T. */
static void backward_data(const struct op_call *call)
{
    struct product d = product_of(call);
    gemm(&(struct gemm){.shape = {d.rows, d.in, d.out},
                        .A = {call->out_grad, d.out, BLAS_PLAIN},
                        .B = weight_matrix(call, &d, true),
                        .C = call->in_grad,
                        .C_stride = d.in,
                        .products = call->plan->products,
                        .scratch = call->scratch});
}

const struct op_kernel op_dense = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .reads_in = true,
};
