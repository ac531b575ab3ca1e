/* sequence, last: to sequences and from them.
 *
 * sequence reads an image's pixels, by rows, as positions, and a row of numbers as positions of one
 * number each: the same memory.  last gives the last position of a sequence as a row. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static int plan_sequence(struct op_plan *p, struct err_msg *why)
{
    const struct op_shape *in = &p->in[0];
    if (in->dims == 2)
        return err_set(why, ERR_INPUT, "gets %ux%u, which is a sequence already", in->size[0],
                       in->size[1]);
    uint32_t width = in->dims == 3 ? in->size[2] : 1;
    p->out = (struct op_shape){.dims = 2, .size = {(uint32_t)(p->in_count / width), width}};
    return 0;
}

static void sequence_forward(const struct op_call *call)
{
    (void)call;
}

static void sequence_backward(const struct op_call *call)
{
    if (call->in_grad != call->out_grad)
        kernel_copy(call->in_grad, call->out_grad, call->count * call->plan->out_count);
}

static int plan_last(struct op_plan *p, struct err_msg *why)
{
    if (p->in[0].dims != 2) {
        char found[40];
        op_shape_text(&p->in[0], found);
        return err_set(why, ERR_INPUT, "needs a sequence (positions x features) but gets %s",
                       found);
    }
    p->out = (struct op_shape){.dims = 1, .size = {p->in[0].size[1]}};
    return 0;
}

static void last_forward(const struct op_call *call)
{
    size_t width = call->plan->out_count, whole = call->plan->in_count;
    for (size_t sample = 0; sample < call->count; sample++)
        kernel_copy(call->out + sample * width, call->in[0] + (sample + 1) * whole - width, width);
}

static void last_backward(const struct op_call *call)
{
    size_t width = call->plan->out_count, whole = call->plan->in_count;
    for (size_t sample = 0; sample < call->count; sample++) {
        real *in_grad = call->in_grad + sample * whole;
        kernel_zero(in_grad, whole - width);
        kernel_copy(in_grad + whole - width, call->out_grad + sample * width, width);
    }
}

const struct op_kernel op_sequence = {
    .plan = plan_sequence,
    .forward = sequence_forward,
    .backward_data = sequence_backward,
    .can_overwrite = true,
    .is_view = true,
};

const struct op_kernel op_last = {
    .plan = plan_last,
    .forward = last_forward,
    .backward_data = last_backward,
};
