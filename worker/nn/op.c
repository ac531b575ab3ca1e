#include "worker/nn/op.h"

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
    else
        snprintf(text_out, 40, "%u", shape->size[0]);
}

int op_plan_same_shape(struct op_plan *plan, struct err_msg *why)
{
    (void)why;
    plan->out = plan->in[0];
    return 0;
}

static float init_scale(enum init_kind init, double fan_in, double fan_out)
{
    if (init == INIT_HE)
        return (float)sqrt(2 / fan_in);
    return init == INIT_XAVIER ? (float)sqrt(6 / (fan_in + fan_out)) : 0;
}

void op_plan_tensors(struct op_plan *plan, uint32_t dims, const uint32_t *shape)
{
    struct tensor_spec *weight = &plan->tensors[0], *bias = &plan->tensors[1];
    double taps = 1; /* positions that share the weights of one input: kernel rows x columns */
    for (uint32_t i = 0; i + 2 < dims; i++)
        taps *= shape[i];
    *weight = (struct tensor_spec){.dims = dims, .init = plan->spec->init, .has_decay = true};
    memcpy(weight->shape, shape, dims * sizeof(*shape));
    weight->init_scale =
        init_scale(plan->spec->init, taps * shape[dims - 2], taps * shape[dims - 1]);
    snprintf(weight->name, sizeof(weight->name), "%s.weight", plan->spec->name);
    *bias = (struct tensor_spec){.dims = 1, .shape = {shape[dims - 1]}, .init = INIT_ZERO};
    snprintf(bias->name, sizeof(bias->name), "%s.bias", plan->spec->name);
    plan->tensor_count = plan->spec->bias ? 2 : 1;
}

/* Padding that gives ceil(in / stride) outputs; an odd one falls behind, as TensorFlow has it. */
static void pad_same(struct op_plan *plan, int axis)
{
    uint64_t in = plan->in[0].size[axis], stride = plan->spec->stride[axis];
    uint64_t reach = (in - 1) / stride * stride + plan->spec->kernel[axis];
    uint32_t total = reach > in ? (uint32_t)(reach - in) : 0;
    plan->pad_before[axis] = total / 2;
    plan->pad_after[axis] = total - total / 2;
}

int op_plan_window(struct op_plan *plan, struct err_msg *why)
{
    const struct op_spec *spec = plan->spec;
    char found[40];
    op_shape_text(&plan->in[0], found);
    if (plan->in[0].dims != 3)
        return err_set(why, ERR_INPUT, "needs an image (rows x columns x channels) but gets %s",
                       found);
    for (int axis = 0; axis < 2; axis++) {
        plan->pad_before[axis] = plan->pad_after[axis] = spec->padding[axis];
        if (spec->padding_same)
            pad_same(plan, axis);
        uint64_t padded =
            (uint64_t)plan->in[0].size[axis] + plan->pad_before[axis] + plan->pad_after[axis];
        if (spec->kernel[axis] > padded)
            return err_set(
                why, ERR_INPUT, "a kernel of %ux%u is larger than its input %s with padding %ux%u",
                spec->kernel[0], spec->kernel[1], found, spec->padding[0], spec->padding[1]);
        uint64_t out = (padded - spec->kernel[axis]) / spec->stride[axis] + 1;
        /* A window of padding alone has no maximum and no mean. */
        if (plan->pad_before[axis] >= spec->kernel[axis])
            return err_set(why, ERR_INPUT, "padding %ux%u must be smaller than the kernel %ux%u",
                           spec->padding[0], spec->padding[1], spec->kernel[0], spec->kernel[1]);
        plan->out.size[axis] = out <= OP_VALUE_MAX ? (uint32_t)out : UINT32_MAX;
    }
    plan->out.dims = 3;
    return 0;
}
