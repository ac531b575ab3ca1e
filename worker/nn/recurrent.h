#ifndef WORKER_NN_RECURRENT_H
#define WORKER_NN_RECURRENT_H

/* recurrent - what lstm and gru share: their shape rule, and the way of a batch through time.
 *
 * Inside, a batch lies by time, [T][count][..], so that one step of all samples is one matrix of
 * count rows.  Weights are packed once a call and used in each step (panels.h); what does not wait
 * for the step before, the gradients of weights and of the input, is one product over all steps.  A
 * reversed operator begins at the last position; step t then is position T - 1 - t.  Each sample
 * begins with a state of zeros.
 *
 * Shapes:   in: [count][T][F], out: [count][T][H]; G columns of gates, 4H or 3H.
 * Owner:    the operators.  Thread: any number at once.
 * Memory:   the call's keep and scratch.
 * Surprise: none.
 */
#include <stdbool.h>
#include "worker/nn/op.h"

struct recurrent {
    size_t count, steps; /* samples, T */
    size_t rows;         /* count * steps */
    size_t inputs, units, columns; /* F, H, G */
    bool is_reversed;
};

/* Shape rule: out, weight_ih [F][G], weight_hh [H][G], flops and scratch, where G is gates H.  The
 * biases are the operator's to add.  ERR_INPUT. */
int recurrent_plan(struct op_plan *plan, uint32_t gates, struct err_msg *why);

struct recurrent recurrent_of(const struct op_call *call);

/* Where step `step` of sample `sample` begins in a value of `width` numbers a position, which lies
 * by sample. */
size_t recurrent_place(const struct recurrent *r, size_t sample, size_t step, size_t width);

/* From by sample to by time, and back. */
void recurrent_by_time(const struct recurrent *r, const real *by_sample, size_t width, real *out);
void recurrent_by_sample(const struct recurrent *r, const real *by_time, size_t width, real *out);

/* Packs both weights into scratch, as forward wants them. */
void recurrent_pack(const struct op_call *call, const struct recurrent *r);
/* sums[count][G] = bias + x W_ih, with x [count][F] of one step. */
void recurrent_add_input(const struct op_call *call, const struct recurrent *r, const real *x,
                         const real *bias, real *sums);
/* sums[count][G] += hidden W_hh, with hidden [count][H] of the step before. */
void recurrent_add_hidden(const struct op_call *call, const struct recurrent *r,
                          const real *hidden, real *sums);

/* Packs weight_hh, turned, into scratch, as backward wants it; returns H reals of scratch behind
 * it. */
real *recurrent_pack_turned(const struct op_call *call, const struct recurrent *r);
/* hidden_grad[count][H] += sums_grad[count][G] W_hh^T. */
void recurrent_add_hidden_grad(const struct op_call *call, const struct recurrent *r,
                               const real *sums_grad, real *hidden_grad);

/* Where the gradients of a weight and of the bias that is added to the same sums go. */
struct recurrent_grads {
    real *weight, *bias; /* bias: NULL: to nowhere */
};

/* weight[width][G] = in[rows][width]^T sums_grad[rows][G], bias[G] = the sum of sums_grad's rows;
 * after the last step back, since scratch is what it takes. */
void recurrent_weight_grad(const struct op_call *call, const struct recurrent *r, const real *in,
                           size_t width, const real *sums_grad, struct recurrent_grads out);
/* The input's gradient, by sample, of sums_grad[rows][G]; by_time: [rows][F] of room. */
void recurrent_input_grad(const struct op_call *call, const struct recurrent *r,
                          const real *sums_grad, real *by_time);

#endif
