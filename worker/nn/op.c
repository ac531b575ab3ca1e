#include "worker/nn/op.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

size_t op_shape_count(const struct op_shape *shape)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < shape->dims; i++) {
        count *= shape->size[i];
        if (count == 0 || count > OP_VALUE_MAX)
            return 0;
    }
    return (size_t)count;
}

void op_shape_text(const struct op_shape *shape, char text_out[40])
{
    if (shape->dims == 3)
        snprintf(text_out, 40, "%ux%ux%u", shape->size[0], shape->size[1], shape->size[2]);
    else if (shape->dims == 2)
        snprintf(text_out, 40, "%ux%u", shape->size[0], shape->size[1]);
    else
        snprintf(text_out, 40, "%u", shape->size[0]);
}

size_t op_shape_width(const struct op_shape *shape)
{
    return shape->size[shape->dims - 1];
}

size_t op_shape_rows(const struct op_shape *shape)
{
    return op_shape_count(shape) / op_shape_width(shape);
}

int op_plan_same_shape(struct op_plan *plan, struct err_msg *why)
{
    (void)why;
    plan->out = plan->in[0];
    return 0;
}

int op_plan_one_shape(struct op_plan *plan, const char *does, struct err_msg *why)
{
    const struct op_shape *left = &plan->in[0], *right = &plan->in[1];
    if (left->dims != right->dims ||
        memcmp(left->size, right->size, left->dims * sizeof(left->size[0])) != 0) {
        char left_text[40], right_text[40];
        op_shape_text(left, left_text);
        op_shape_text(right, right_text);
        return err_set(why, ERR_INPUT, "%s values of one shape but gets %s and %s", does, left_text,
                       right_text);
    }
    return op_plan_same_shape(plan, why);
}

static float init_scale(enum init_kind init, double fan_in, double fan_out)
{
    if (init == INIT_HE)
        return (float)sqrt(2 / fan_in);
    return init == INIT_XAVIER ? (float)sqrt(6 / (fan_in + fan_out)) : 0;
}

struct tensor_spec *op_plan_tensor(struct op_plan *plan, const char *suffix, uint32_t dims,
                                   const uint32_t *shape)
{
    assert(plan->tensor_count < OP_TENSORS_MAX);
    struct tensor_spec *tensor = &plan->tensors[plan->tensor_count++];
    *tensor = (struct tensor_spec){.dims = dims, .init = INIT_ZERO};
    memcpy(tensor->shape, shape, dims * sizeof(*shape));
    snprintf(tensor->name, sizeof(tensor->name), "%s.%s", plan->spec->name, suffix);
    return tensor;
}

void op_plan_tensors(struct op_plan *plan, uint32_t dims, const uint32_t *shape)
{
    double taps = 1; /* positions that share the weights of one input: kernel rows x columns */
    for (uint32_t i = 0; i + 2 < dims; i++)
        taps *= shape[i];
    struct tensor_spec *weight = op_plan_tensor(plan, "weight", dims, shape);
    weight->init = plan->spec->init;
    weight->has_decay = true;
    weight->init_scale =
        init_scale(plan->spec->init, taps * shape[dims - 2], taps * shape[dims - 1]);
    if (plan->spec->bias)
        op_plan_tensor(plan, "bias", 1, &shape[dims - 1]);
}

/* Pixels that a window reaches over. */
static uint64_t reach_of(const struct op_spec *spec, int axis)
{
    uint64_t dilation = spec->dilation[axis] > 0 ? spec->dilation[axis] : 1;
    return (spec->kernel[axis] - 1) * dilation + 1;
}

/* Padding that gives ceil(in / stride) outputs; an odd one falls behind, as TensorFlow has it. */
static void pad_same(struct op_plan *plan, int axis)
{
    uint64_t in = plan->in[0].size[axis], stride = plan->spec->stride[axis];
    uint64_t reach = (in - 1) / stride * stride + reach_of(plan->spec, axis);
    uint32_t total = reach > in ? (uint32_t)(reach - in) : 0;
    plan->pad_before[axis] = total / 2;
    plan->pad_after[axis] = total - total / 2;
}

static void pad_axis(struct op_plan *plan, int axis)
{
    plan->pad_before[axis] = plan->pad_after[axis] = plan->spec->padding[axis];
    if (plan->spec->padding_same)
        pad_same(plan, axis);
    if (plan->spec->causal) {
        plan->pad_before[axis] = (uint32_t)(reach_of(plan->spec, axis) - 1);
        plan->pad_after[axis] = 0;
    }
}

/* "3x5", or "3" of a sequence. */
static void pair_text(const struct op_plan *plan, const uint32_t pair[2], char text_out[40])
{
    op_shape_text(&(struct op_shape){plan->in[0].dims - 1, {pair[0], pair[1]}}, text_out);
}

int op_plan_axis(struct op_plan *plan, int axis, struct err_msg *why)
{
    const struct op_spec *spec = plan->spec;
    char found[40], kernel[40], padding[40];
    pad_axis(plan, axis);
    uint64_t reach = reach_of(spec, axis);
    uint64_t padded =
        (uint64_t)plan->in[0].size[axis] + plan->pad_before[axis] + plan->pad_after[axis];
    op_shape_text(&plan->in[0], found);
    pair_text(plan, spec->kernel, kernel);
    pair_text(plan, spec->padding, padding);
    if (reach > padded)
        return err_set(why, ERR_INPUT,
                       "a kernel of %s is larger than its input %s with padding %s", kernel, found,
                       padding);
    uint64_t out = (padded - reach) / spec->stride[axis] + 1;
    /* A window of padding alone has no maximum and no mean. */
    if (plan->pad_before[axis] >= reach)
        return err_set(why, ERR_INPUT, "padding %s must be smaller than the kernel %s", padding,
                       kernel);
    plan->out.size[axis] = out <= OP_VALUE_MAX ? (uint32_t)out : UINT32_MAX;
    return 0;
}

int op_plan_window(struct op_plan *plan, struct err_msg *why)
{
    char found[40];
    op_shape_text(&plan->in[0], found);
    if (plan->in[0].dims != 3)
        return err_set(why, ERR_INPUT, "needs an image (rows x columns x channels) but gets %s",
                       found);
    for (int axis = 0; axis < 2; axis++) {
        int err = op_plan_axis(plan, axis, why);
        if (err)
            return err;
    }
    plan->out.dims = 3;
    return 0;
}
