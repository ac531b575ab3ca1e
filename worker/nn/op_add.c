/* add: the sum of two values of one shape. */
#include "worker/nn/op.h"

#include <string.h>
#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    const struct op_shape *left = &p->in[0], *right = &p->in[1];
    if (left->dims != right->dims ||
        memcmp(left->size, right->size, left->dims * sizeof(left->size[0])) != 0) {
        char left_text[40], right_text[40];
        op_shape_text(left, left_text);
        op_shape_text(right, right_text);
        return err_set(why, ERR_INPUT, "adds values of one shape but gets %s and %s", left_text,
                       right_text);
    }
    return op_plan_same_shape(p, why);
}

static void forward(const struct op_call *call)
{
    kernel_add(call->out, call->in[0], call->in[1], call->count * call->plan->out_count);
}

/* The same for either input. */
static void backward_data(const struct op_call *call)
{
    if (call->in_grad != call->out_grad)
        kernel_copy(call->in_grad, call->out_grad, call->count * call->plan->out_count);
}

const struct op_kernel op_add = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
    .can_overwrite = true,
};
