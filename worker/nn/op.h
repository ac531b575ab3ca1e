#ifndef WORKER_NN_OP_H
#define WORKER_NN_OP_H

/* op - the operators of a network: for each its shape rule, forward and backward.
 *
 * One file per operator holds its three parts side by side; op_kernel is what the graph knows.
 * An operator has no state: what forward leaves for backward lies in `keep`, and both are pure
 * functions of what the call points to.
 *
 * Shapes:   a value: [count][H][W][C] or [count][F], without gaps.
 * Owner:    graph.  Thread: any number at once, each with a call of its own.
 * Memory:   none of its own; sizes are asked for by the shape rule, the graph provides.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/layout.h"
#include "common/model_spec.h"
#include "common/philox.h"
#include "worker/nn/real.h"

enum { OP_TENSORS_MAX = 2 }; /* weight, then bias */

/* One sample of a value: {F} or {H, W, C}. */
struct op_shape {
    uint32_t dims; /* 1 or 3 */
    uint32_t size[3];
};

/* What the shape rule finds out; the graph fills the first part before. */
struct op_plan {
    const struct op_spec *spec;
    uint32_t op_idx;
    struct op_shape in[OP_INPUTS_MAX];
    size_t in_count; /* elements a sample, of one input */

    struct op_shape out;
    size_t out_count;
    uint32_t pad_before[2], pad_after[2]; /* conv2d, pools: rows, columns */
    size_t tensor_count;
    struct tensor_spec tensors[OP_TENSORS_MAX];
    size_t keep_count;    /* reals a sample that forward leaves for backward */
    size_t scratch_count; /* reals for one call, whatever its count */
    uint64_t flops;       /* multiplications and additions of forward, a sample */
};

struct op_call {
    const struct op_plan *plan;
    size_t count; /* samples, >= 1 */
    bool is_training;
    struct draw_key draw; /* of this operator */
    const real *weight, *bias;
    real *keep, *scratch;
    const real *in[OP_INPUTS_MAX];
    real *out;

    /* Backward only. */
    const real *out_grad;
    real *weight_grad, *bias_grad; /* overwritten */
    real *in_grad;                 /* of the input in question; overwritten */
};

struct op_kernel {
    /* Fills the second part of the plan, or ERR_INPUT with why the input does not fit. */
    int (*plan)(struct op_plan *plan, struct err_msg *why);
    void (*forward)(const struct op_call *call);
    void (*backward_weights)(const struct op_call *call); /* NULL: has no tensors */
    void (*backward_data)(const struct op_call *call);
    bool can_overwrite; /* out may be the memory of an input, in_grad that of out_grad */
    bool is_view;       /* out is the input's memory under another shape: forward does nothing */
    bool reads_in;      /* backward reads the input */
    bool reads_out;     /* backward reads the output */
};

extern const struct op_kernel op_dense, op_conv2d, op_maxpool2d, op_avgpool2d, op_global_avgpool,
    op_relu, op_tanh, op_sigmoid, op_flatten, op_dropout, op_add;

/* Elements of a value; 0 when there are more than OP_VALUE_MAX. */
size_t op_shape_count(const struct op_shape *shape);
enum { OP_VALUE_MAX = 1 << 28 };

/* "28x28x3" or "784". */
void op_shape_text(const struct op_shape *shape, char text_out[40]);

/* Out has the shape of the first input: the rule of all elementwise operators. */
int op_plan_same_shape(struct op_plan *plan, struct err_msg *why);

/* Adds the tensor "<operator>.weight" of this shape, initialised as the job says, and the bias of
 * the last dimension's size if it has one. */
void op_plan_tensors(struct op_plan *plan, uint32_t dims, const uint32_t *shape);

/* Rule of conv2d and pools: rows and columns out (out.size[0], [1]) and padding.  ERR_INPUT. */
int op_plan_window(struct op_plan *plan, struct err_msg *why);

#endif
