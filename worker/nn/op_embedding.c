/* embedding: a row of numbers for each token: {T} tokens in, {T, D} out, and one token gives {D}.
 *
 * weight: [vocabulary][D].  Tokens come as the data gives them, so it reads the model's input and
 * nothing else, and has no gradient to pass on.  The data's reader guarantees that each token is
 * 0..token_count-1; the shape rule, that the vocabulary holds them all. */
#include "worker/nn/op.h"

#include <assert.h>
#include "worker/nn/graph.h"
#include "worker/nn/kernels.h"

static int check(const struct op_plan *p, struct err_msg *why)
{
    uint32_t token_count = p->data->token_count, vocabulary = p->spec->vocabulary;
    if (p->spec->inputs[0] >= 0)
        return err_set(why, ERR_INPUT,
                       "takes the tokens of the data, so its input must be \"input\"");
    if (token_count == 0 || p->in[0].dims != 1)
        return err_set(why, ERR_INPUT, "needs tokens, but the data's inputs are %s",
                       token_count == 0 ? "numbers" : "not one row of them");
    if (vocabulary > 0 && vocabulary < token_count)
        return err_set(why, ERR_INPUT,
                       "has a vocabulary of %u, but the data has %u tokens (expected as many or "
                       "more; 0 stands for as many)",
                       vocabulary, token_count);
    return 0;
}

static int plan(struct op_plan *p, struct err_msg *why)
{
    int err = check(p, why);
    if (err != 0)
        return err;
    uint32_t vocabulary = p->spec->vocabulary;
    const uint32_t shape[] = {vocabulary > 0 ? vocabulary : p->data->token_count, p->spec->units};
    struct tensor_spec *weight = op_plan_tensor(p, "weight", 2, shape);
    weight->init = INIT_NORMAL;
    weight->init_scale = p->spec->deviation;
    weight->has_decay = true;
    p->out = (struct op_shape){.dims = 2, .size = {p->in[0].size[0], shape[1]}};
    if (p->in[0].size[0] == 1)
        p->out = (struct op_shape){.dims = 1, .size = {shape[1]}};
    return 0;
}

/* Where a token's row begins. */
static size_t row_of(const struct op_call *call, size_t idx)
{
    const uint32_t *shape = call->plan->tensors[0].shape;
    real token = call->in[0][idx];
    assert(token >= 0 && token < (real)shape[0]);
    return (size_t)token * shape[1];
}

static void forward(const struct op_call *call)
{
    size_t width = call->plan->tensors[0].shape[1];
    for (size_t i = 0; i < call->count * call->plan->in_count; i++)
        kernel_copy(call->out + i * width, call->tensor[0] + row_of(call, i), width);
}

/* A row's gradient: the sum over where its token stands, first sample to last. */
static void backward_weights(const struct op_call *call)
{
    const struct tensor_spec *weight = &call->plan->tensors[0];
    size_t width = weight->shape[1];
    kernel_zero(call->tensor_grad[0], (size_t)tensor_element_count(weight));
    for (size_t i = 0; i < call->count * call->plan->in_count; i++) {
        real *sum = call->tensor_grad[0] + row_of(call, i);
        kernel_add(sum, sum, call->out_grad + i * width, width);
    }
}

const struct op_kernel op_embedding = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .reads_in = true,
};
