/* lstm: a cell that remembers, step by step along a sequence.
 *
 *   i, f, o = sigmoid, g = tanh of x W_ih + h' W_hh + b;  c = f c' + i g;  h = o tanh(c)
 *
 * where h' and c' are of the step before.  weight_ih: [F][4H], weight_hh: [H][4H], bias: [4H], in
 * the order i, f, g, o.
 * Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"
#include "worker/nn/recurrent.h"

/* What lies in keep, by time. */
struct lstm {
    struct recurrent r;
    real *x;      /* [T][count][F]; at last its gradient */
    real *gates;  /* [T][count][4H]; in backward the gradient of the sums they are made of */
    real *cell;   /* [T + 1][count][H], the first zero */
    real *hidden; /* [T + 1][count][H], the first zero */
    real *cell_grad, *hidden_grad; /* [count][H], of the step that backward stands at */
};

static int plan(struct op_plan *p, struct err_msg *why)
{
    int err = recurrent_plan(p, 4, why);
    if (err != 0)
        return err;
    size_t steps = p->in[0].size[0], units = p->spec->units;
    op_plan_tensor(p, "bias", 1, &p->tensors[0].shape[1]);
    p->keep_count = p->in_count + 4 * steps * units + 2 * (steps + 1) * units + 2 * units;
    return 0;
}

static struct lstm lstm_of(const struct op_call *call)
{
    struct lstm m = {.r = recurrent_of(call)};
    size_t state = m.r.count * m.r.units;
    m.x = call->keep;
    m.gates = m.x + m.r.rows * m.r.inputs;
    m.cell = m.gates + m.r.rows * m.r.columns;
    m.hidden = m.cell + (m.r.steps + 1) * state;
    m.cell_grad = m.hidden + (m.r.steps + 1) * state;
    m.hidden_grad = m.cell_grad + state;
    return m;
}

/* One step of one sample: all [H] but gates [4H], which come as sums. */
static void step(real *gates, const real *cell_before, real *cell, real *hidden, size_t units)
{
    const real *in = gates, *forget = gates + units, *new = gates + 2 * units;
    kernel_sigmoid(gates, gates, 2 * units);
    kernel_tanh(gates + 2 * units, new, units);
    kernel_sigmoid(gates + 3 * units, gates + 3 * units, units);
    for (size_t j = 0; j < units; j++)
        cell[j] = forget[j] * cell_before[j] + in[j] * new[j];
    kernel_tanh(hidden, cell, units);
    kernel_multiply(hidden, hidden, gates + 3 * units, units);
}

static void forward(const struct op_call *call)
{
    struct lstm m = lstm_of(call);
    size_t units = m.r.units, state = m.r.count * units;
    recurrent_by_time(&m.r, call->in[0], m.r.inputs, m.x);
    recurrent_pack(call, &m.r);
    kernel_zero(m.cell, state);
    kernel_zero(m.hidden, state);
    for (size_t t = 0; t < m.r.steps; t++) {
        real *gates = m.gates + t * m.r.count * m.r.columns;
        real *cell = m.cell + t * state, *hidden = m.hidden + t * state;
        recurrent_add_input(call, &m.r, m.x + t * m.r.count * m.r.inputs, call->tensor[2], gates);
        if (t > 0)
            recurrent_add_hidden(call, &m.r, hidden, gates);
        for (size_t s = 0; s < state; s += units)
            step(gates + 4 * s, cell + s, cell + state + s, hidden + state + s, units);
    }
    recurrent_by_sample(&m.r, m.hidden + state, units, call->out);
}

/* One step of one sample backwards: all [H] but gates [4H].  hidden_grad comes as what the step
 * after says and goes as zero; cell_grad of this step becomes that of the step before. */
static void step_back(real *restrict gates, const real *restrict cell_before,
                      const real *restrict tanh_cell, const real *restrict out_grad,
                      real *restrict hidden_grad, real *restrict cell_grad, size_t units)
{
    real *restrict in = gates, *restrict forget = gates + units;
    real *restrict new = gates + 2 * units, *restrict out = gates + 3 * units;
#pragma GCC ivdep
    for (size_t j = 0; j < units; j++) {
        real i = in[j], f = forget[j], g = new[j], o = out[j], c = tanh_cell[j];
        real dh = out_grad[j] + hidden_grad[j];
        real dc = dh * o * (1 - c * c) + cell_grad[j];
        in[j] = dc * g * (i * (1 - i));
        forget[j] = dc * cell_before[j] * (f * (1 - f));
        new[j] = dc * i * (1 - g * g);
        out[j] = dh * c * (o * (1 - o));
        cell_grad[j] = dc * f;
        hidden_grad[j] = 0;
    }
}

/* Through time, last step to first: gates become gradients. */
static void backward_through_time(const struct op_call *call, const struct lstm *m)
{
    size_t units = m->r.units, state = m->r.count * units;
    real *tanh_cell = recurrent_pack_turned(call, &m->r);
    kernel_zero(m->cell_grad, state);
    kernel_zero(m->hidden_grad, state);
    for (size_t t = m->r.steps; t-- > 0;) {
        real *gates = m->gates + t * m->r.count * m->r.columns;
        for (size_t s = 0; s < m->r.count; s++) {
            const real *cell = m->cell + t * state + s * units;
            kernel_tanh(tanh_cell, cell + state, units);
            step_back(gates + s * m->r.columns, cell, tanh_cell,
                      call->out_grad + recurrent_place(&m->r, s, t, units),
                      m->hidden_grad + s * units, m->cell_grad + s * units, units);
        }
        if (t > 0)
            recurrent_add_hidden_grad(call, &m->r, gates, m->hidden_grad);
    }
}

static void backward_weights(const struct op_call *call)
{
    struct lstm m = lstm_of(call);
    backward_through_time(call, &m);
    recurrent_weight_grad(call, &m.r, m.x, m.r.inputs, m.gates,
                          (struct recurrent_grads){call->tensor_grad[0], call->tensor_grad[2]});
    recurrent_weight_grad(call, &m.r, m.hidden, m.r.units, m.gates,
                          (struct recurrent_grads){call->tensor_grad[1], NULL});
}

static void backward_data(const struct op_call *call)
{
    struct lstm m = lstm_of(call);
    recurrent_input_grad(call, &m.r, m.gates, m.x);
}

const struct op_kernel op_lstm = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .needs_weights_first = true,
    .backward_data = backward_data,
};
