/* concat: values side by side along the last dimension; those before it are alike. */
#include "worker/nn/op.h"

#include <string.h>
#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    const struct op_shape *first = &p->in[0];
    uint64_t width = 0;
    for (uint32_t k = 0; k < p->spec->input_count; k++) {
        const struct op_shape *in = &p->in[k];
        if (in->dims != first->dims ||
            memcmp(in->size, first->size, (in->dims - 1) * sizeof(in->size[0])) != 0) {
            char texts[2][40];
            op_shape_text(first, texts[0]);
            op_shape_text(in, texts[1]);
            return err_set(why, ERR_INPUT, "puts values side by side that differ in the last "
                           "dimension alone, but gets %s and %s", texts[0], texts[1]);
        }
        width += op_shape_width(in);
    }
    p->out = *first;
    p->out.size[first->dims - 1] = width <= OP_VALUE_MAX ? (uint32_t)width : UINT32_MAX;
    return 0;
}

/* Where input `which` begins in a row of the output. */
static size_t column_of(const struct op_plan *p, uint32_t which)
{
    size_t column = 0;
    for (uint32_t k = 0; k < which; k++)
        column += op_shape_width(&p->in[k]);
    return column;
}

static void forward(const struct op_call *call)
{
    const struct op_plan *p = call->plan;
    size_t rows = call->count * op_shape_rows(&p->out), cols = op_shape_width(&p->out);
    for (uint32_t k = 0; k < p->spec->input_count; k++) {
        size_t width = op_shape_width(&p->in[k]), column = column_of(p, k);
        for (size_t row = 0; row < rows; row++)
            kernel_copy(call->out + row * cols + column, call->in[k] + row * width, width);
    }
}

static void backward_data(const struct op_call *call)
{
    const struct op_plan *p = call->plan;
    size_t rows = call->count * op_shape_rows(&p->out), cols = op_shape_width(&p->out);
    size_t width = op_shape_width(&p->in[call->which]), column = column_of(p, call->which);
    for (size_t row = 0; row < rows; row++)
        kernel_copy(call->in_grad + row * width, call->out_grad + row * cols + column, width);
}

const struct op_kernel op_concat = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
};
