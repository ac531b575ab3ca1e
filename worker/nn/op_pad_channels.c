/* pad_channels: channels of zeros before and behind those that come in, an odd one behind.
 *
 * With a pool of kernel 1 and stride 2 before it, it is the short cut without parameters between
 * stages of different width: option A of He et al. 2016, section 3.3. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    uint32_t width = (uint32_t)op_shape_width(&p->in[0]);
    if (p->spec->channels < width)
        return err_set(why, ERR_INPUT, "pads to %u channels but gets %u (expected at most as many)",
                       p->spec->channels, width);
    p->out = p->in[0];
    p->out.size[p->out.dims - 1] = p->spec->channels;
    return 0;
}

/* One call's rows of channels. */
struct parts {
    size_t rows, in, out, before;
};

static struct parts parts_of(const struct op_call *call)
{
    const struct op_plan *p = call->plan;
    size_t in = op_shape_width(&p->in[0]), out = op_shape_width(&p->out);
    return (struct parts){call->count * op_shape_rows(&p->out), in, out, (out - in) / 2};
}

static void forward(const struct op_call *call)
{
    struct parts d = parts_of(call);
    kernel_zero(call->out, d.rows * d.out);
    for (size_t row = 0; row < d.rows; row++)
        kernel_copy(call->out + row * d.out + d.before, call->in[0] + row * d.in, d.in);
}

static void backward_data(const struct op_call *call)
{
    struct parts d = parts_of(call);
    for (size_t row = 0; row < d.rows; row++)
        kernel_copy(call->in_grad + row * d.in, call->out_grad + row * d.out + d.before, d.in);
}

const struct op_kernel op_pad_channels = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
};
