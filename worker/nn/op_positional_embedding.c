/* positional_embedding: adds to each position of a sequence a row that is learned for it.
 *
 * weight: [T][D].
 * Source: Gehring et al. 2017, section 3.1; Radford et al. 2018, section 3.1. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    char found[40];
    op_shape_text(&p->in[0], found);
    if (p->in[0].dims != 2)
        return err_set(why, ERR_INPUT, "needs a sequence (positions x features) but gets %s",
                       found);
    struct tensor_spec *weight = op_plan_tensor(p, "weight", 2, p->in[0].size);
    weight->init = INIT_NORMAL;
    weight->init_scale = p->spec->deviation;
    weight->has_decay = true;
    return op_plan_same_shape(p, why);
}

static void forward(const struct op_call *call)
{
    size_t table = call->plan->out_count;
    for (size_t i = 0; i < call->count; i++)
        kernel_add(call->out + i * table, call->in[0] + i * table, call->tensor[0], table);
}

static void backward_weights(const struct op_call *call)
{
    size_t table = call->plan->out_count;
    kernel_zero(call->tensor_grad[0], table);
    kernel_add_rows(call->tensor_grad[0], call->out_grad, call->count, table);
}

static void backward_data(const struct op_call *call)
{
    if (call->in_grad != call->out_grad)
        kernel_copy(call->in_grad, call->out_grad, call->count * call->plan->out_count);
}

const struct op_kernel op_positional_embedding = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .can_overwrite = true,
};
