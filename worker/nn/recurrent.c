#include "worker/nn/recurrent.h"

#include <math.h>
#include "worker/nn/gemm.h"
#include "worker/nn/kernels.h"
#include "worker/nn/panels.h"

/* Uniform in +-1 / sqrt(H), as PyTorch has it. */
static void plan_weight(struct op_plan *p, const char *suffix, uint32_t rows, uint32_t columns)
{
    struct tensor_spec *weight = op_plan_tensor(p, suffix, 2, (const uint32_t[]){rows, columns});
    weight->init = INIT_UNIFORM;
    weight->init_scale = 1 / sqrtf((float)p->spec->units);
    weight->has_decay = true;
}

int recurrent_plan(struct op_plan *p, uint32_t gates, struct err_msg *why)
{
    const struct op_shape *in = &p->in[0];
    if (in->dims != 2) {
        char found[40];
        op_shape_text(in, found);
        return err_set(why, ERR_INPUT, "needs a sequence (positions x features) but gets %s",
                       found);
    }
    uint32_t inputs = in->size[1], units = p->spec->units, columns = gates * units;
    p->out = (struct op_shape){.dims = 2, .size = {in->size[0], units}};
    plan_weight(p, "weight_ih", inputs, columns);
    plan_weight(p, "weight_hh", units, columns);
    p->flops = 2 * (uint64_t)in->size[0] * (inputs + units) * columns;
    size_t forward = panels_count(inputs, columns) + panels_count(units, columns);
    size_t backward = panels_count(columns, units) + units;
    const struct blas_shape shapes[] = {{inputs > units ? inputs : units, columns, SIZE_MAX},
                                        {SIZE_MAX, inputs, columns}};
    p->scratch_count = forward > backward ? forward : backward;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (gemm_scratch_count(shapes[i], p->products) > p->scratch_count)
            p->scratch_count = gemm_scratch_count(shapes[i], p->products);
    return 0;
}

struct recurrent recurrent_of(const struct op_call *call)
{
    const struct op_plan *p = call->plan;
    size_t steps = p->in[0].size[0];
    return (struct recurrent){.count = call->count,
                              .steps = steps,
                              .rows = call->count * steps,
                              .inputs = p->in[0].size[1],
                              .units = p->spec->units,
                              .columns = p->tensors[0].shape[1],
                              .is_reversed = p->spec->reverse};
}

size_t recurrent_place(const struct recurrent *r, size_t sample, size_t step, size_t width)
{
    size_t position = r->is_reversed ? r->steps - 1 - step : step;
    return (sample * r->steps + position) * width;
}

void recurrent_by_time(const struct recurrent *r, const real *by_sample, size_t width, real *out)
{
    for (size_t step = 0; step < r->steps; step++)
        for (size_t sample = 0; sample < r->count; sample++, out += width)
            kernel_copy(out, by_sample + recurrent_place(r, sample, step, width), width);
}

void recurrent_by_sample(const struct recurrent *r, const real *by_time, size_t width, real *out)
{
    for (size_t step = 0; step < r->steps; step++)
        for (size_t sample = 0; sample < r->count; sample++, by_time += width)
            kernel_copy(out + recurrent_place(r, sample, step, width), by_time, width);
}

/* Where the packed weight_hh of forward begins. */
static real *hidden_panels(const struct op_call *call, const struct recurrent *r)
{
    return call->scratch + panels_count(r->inputs, r->columns);
}

void recurrent_pack(const struct op_call *call, const struct recurrent *r)
{
    panels_pack(r->inputs, r->columns,
                (struct blas_matrix){call->tensor[0], r->columns, BLAS_PLAIN}, call->scratch);
    panels_pack(r->units, r->columns,
                (struct blas_matrix){call->tensor[1], r->columns, BLAS_PLAIN},
                hidden_panels(call, r));
}

void recurrent_add_input(const struct op_call *call, const struct recurrent *r, const real *x,
                         const real *bias, real *sums)
{
    kernel_fill_rows(sums, bias, r->count, r->columns);
    panels_multiply(&(struct panel_product){.rows = r->count,
                                            .cols = r->columns,
                                            .inner = r->inputs,
                                            .A = x,
                                            .A_stride = r->inputs,
                                            .panels = call->scratch,
                                            .C = sums,
                                            .C_stride = r->columns});
}

void recurrent_add_hidden(const struct op_call *call, const struct recurrent *r,
                          const real *hidden, real *sums)
{
    panels_multiply(&(struct panel_product){.rows = r->count,
                                            .cols = r->columns,
                                            .inner = r->units,
                                            .A = hidden,
                                            .A_stride = r->units,
                                            .panels = hidden_panels(call, r),
                                            .C = sums,
                                            .C_stride = r->columns});
}

real *recurrent_pack_turned(const struct op_call *call, const struct recurrent *r)
{
    panels_pack(r->columns, r->units,
                (struct blas_matrix){call->tensor[1], r->columns, BLAS_TRANSPOSED}, call->scratch);
    return call->scratch + panels_count(r->columns, r->units);
}

void recurrent_add_hidden_grad(const struct op_call *call, const struct recurrent *r,
                               const real *sums_grad, real *hidden_grad)
{
    panels_multiply(&(struct panel_product){.rows = r->count,
                                            .cols = r->units,
                                            .inner = r->columns,
                                            .A = sums_grad,
                                            .A_stride = r->columns,
                                            .panels = call->scratch,
                                            .C = hidden_grad,
                                            .C_stride = r->units});
}

void recurrent_weight_grad(const struct op_call *call, const struct recurrent *r, const real *in,
                           size_t width, const real *sums_grad, struct recurrent_grads out)
{
    gemm(&(struct gemm){.shape = {width, r->columns, r->rows},
                        .A = {in, width, BLAS_TRANSPOSED},
                        .B = {sums_grad, r->columns, BLAS_PLAIN},
                        .B_sums = out.bias,
                        .C = out.weight,
                        .C_stride = r->columns,
                        .products = call->plan->products,
                        .scratch = call->scratch});
}

void recurrent_input_grad(const struct op_call *call, const struct recurrent *r,
                          const real *sums_grad, real *by_time)
{
    gemm(&(struct gemm){.shape = {r->rows, r->inputs, r->columns},
                        .A = {sums_grad, r->columns, BLAS_PLAIN},
                        .B = {call->tensor[0], r->columns, BLAS_TRANSPOSED},
                        .C = by_time,
                        .C_stride = r->inputs,
                        .products = call->plan->products,
                        .scratch = call->scratch});
    recurrent_by_sample(r, by_time, r->inputs, call->in_grad);
}
