/* gru: a lighter cell than lstm's: what it remembers is what it gives.
 *
 *   r, z = sigmoid of x W_ih + b_ih + h' W_hh + b_hh
 *   n = tanh(x W_ih + b_ih + r (h' W_hh + b_hh));  h = (1 - z) n + z h'
 *
 * where h' is of the step before.  weight_ih: [F][3H], weight_hh: [H][3H], bias_ih, bias_hh: [3H],
 * in the order r, z, n.
 * Source: Cho et al. 2014, section 2.3, with the reset behind the product, as PyTorch has it. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"
#include "worker/nn/recurrent.h"

/* What lies in keep, by time. */
struct gru {
    struct recurrent r;
    real *x;           /* [T][count][F]; at last its gradient */
    real *gates;       /* [T][count][3H]; in backward the gradient of x W_ih + b_ih */
    real *sums;        /* [T][count][3H]: h' W_hh + b_hh; in backward its gradient */
    real *hidden;      /* [T + 1][count][H], the first zero */
    real *hidden_grad; /* [count][H], of the step that backward stands at */
};

static int plan(struct op_plan *p, struct err_msg *why)
{
    int err = recurrent_plan(p, 3, why);
    if (err != 0)
        return err;
    size_t steps = p->in[0].size[0], units = p->spec->units;
    op_plan_tensor(p, "bias_ih", 1, &p->tensors[0].shape[1]);
    op_plan_tensor(p, "bias_hh", 1, &p->tensors[0].shape[1]);
    p->keep_count = p->in_count + 6 * steps * units + (steps + 1) * units + units;
    return 0;
}

static struct gru gru_of(const struct op_call *call)
{
    struct gru m = {.r = recurrent_of(call)};
    m.x = call->keep;
    m.gates = m.x + m.r.rows * m.r.inputs;
    m.sums = m.gates + m.r.rows * m.r.columns;
    m.hidden = m.sums + m.r.rows * m.r.columns;
    m.hidden_grad = m.hidden + (m.r.steps + 1) * m.r.count * m.r.units;
    return m;
}

/* One step of one sample: hidden [H], gates and sums [3H]; gates come as x W_ih + b_ih. */
static void step(real *restrict gates, const real *restrict sums, const real *restrict before,
                 real *restrict hidden, size_t units)
{
    real *restrict reset = gates, *restrict keep = gates + units;
    real *restrict new = gates + 2 * units;
    kernel_add(gates, gates, sums, 2 * units);
    kernel_sigmoid(gates, gates, 2 * units);
#pragma GCC ivdep
    for (size_t j = 0; j < units; j++)
        new[j] = new[j] + reset[j] * sums[2 * units + j];
    kernel_tanh(new, new, units);
    for (size_t j = 0; j < units; j++)
        hidden[j] = (1 - keep[j]) * new[j] + keep[j] * before[j];
}

static void forward(const struct op_call *call)
{
    struct gru m = gru_of(call);
    size_t units = m.r.units, state = m.r.count * units;
    recurrent_by_time(&m.r, call->in[0], m.r.inputs, m.x);
    recurrent_pack(call, &m.r);
    kernel_zero(m.hidden, state);
    for (size_t t = 0; t < m.r.steps; t++) {
        real *gates = m.gates + t * m.r.count * m.r.columns;
        real *sums = m.sums + t * m.r.count * m.r.columns, *hidden = m.hidden + t * state;
        recurrent_add_input(call, &m.r, m.x + t * m.r.count * m.r.inputs, call->tensor[2], gates);
        kernel_fill_rows(sums, call->tensor[3], m.r.count, m.r.columns);
        if (t > 0)
            recurrent_add_hidden(call, &m.r, hidden, sums);
        for (size_t s = 0; s < state; s += units)
            step(gates + 3 * s, sums + 3 * s, hidden + s, hidden + state + s, units);
    }
    recurrent_by_sample(&m.r, m.hidden + state, units, call->out);
}

/* One step of one sample backwards: gates and sums [3H], the others [H].  hidden_grad comes as what
 * the step after says and goes as what the step before gets past the products. */
static void step_back(real *restrict gates, real *restrict sums, const real *restrict before,
                      const real *restrict out_grad, real *restrict hidden_grad, size_t units)
{
    real *restrict reset = gates, *restrict keep = gates + units;
    real *restrict new = gates + 2 * units;
#pragma GCC ivdep
    for (size_t j = 0; j < units; j++) {
        real r = reset[j], z = keep[j], n = new[j];
        real dh = out_grad[j] + hidden_grad[j];
        real dn = dh * (1 - z) * (1 - n * n);
        real dz = dh * (before[j] - n) * (z * (1 - z));
        real dr = dn * sums[2 * units + j] * (r * (1 - r));
        reset[j] = sums[j] = dr;
        keep[j] = sums[units + j] = dz;
        new[j] = dn;
        sums[2 * units + j] = dn * r;
        hidden_grad[j] = dh * z;
    }
}

/* Through time, last step to first: gates and sums become gradients. */
static void backward_through_time(const struct op_call *call, const struct gru *m)
{
    size_t units = m->r.units, state = m->r.count * units;
    (void)recurrent_pack_turned(call, &m->r);
    kernel_zero(m->hidden_grad, state);
    for (size_t t = m->r.steps; t-- > 0;) {
        size_t at = t * m->r.count * m->r.columns;
        for (size_t s = 0; s < m->r.count; s++)
            step_back(m->gates + at + s * m->r.columns, m->sums + at + s * m->r.columns,
                      m->hidden + t * state + s * units,
                      call->out_grad + recurrent_place(&m->r, s, t, units),
                      m->hidden_grad + s * units, units);
        if (t > 0)
            recurrent_add_hidden_grad(call, &m->r, m->sums + at, m->hidden_grad);
    }
}

static void backward_weights(const struct op_call *call)
{
    struct gru m = gru_of(call);
    backward_through_time(call, &m);
    recurrent_weight_grad(call, &m.r, m.x, m.r.inputs, m.gates,
                          (struct recurrent_grads){call->tensor_grad[0], call->tensor_grad[2]});
    recurrent_weight_grad(call, &m.r, m.hidden, m.r.units, m.sums,
                          (struct recurrent_grads){call->tensor_grad[1], call->tensor_grad[3]});
}

static void backward_data(const struct op_call *call)
{
    struct gru m = gru_of(call);
    recurrent_input_grad(call, &m.r, m.gates, m.x);
}

const struct op_kernel op_gru = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .needs_weights_first = true,
    .backward_data = backward_data,
};
