#ifndef WORKER_NN_OP_H
#define WORKER_NN_OP_H

/* op - the operators of a network: for each its shape rule, forward and backward.
 *
 * One file per operator holds its three parts side by side; op_kernel is what the graph knows.
 * An operator has no state: what forward leaves for backward lies in `keep`, and both are pure
 * functions of what the call points to.
 *
 * Shapes:   a value: [count][H][W][C], [count][T][F] or [count][F], without gaps.
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

enum { OP_TENSORS_MAX = 6 };

/* One sample of a value: {F}, {T, F} (a sequence: positions, features) or {H, W, C}. */
struct op_shape {
    uint32_t dims;
    uint32_t size[3];
};

struct graph_input;

/* What the shape rule finds out; the graph fills the first part before. */
struct op_plan {
    const struct op_spec *spec;
    uint32_t op_idx;
    struct op_shape in[OP_INPUTS_MAX];
    size_t in_count; /* elements a sample, of the first input */
    size_t in_counts[OP_INPUTS_MAX];
    const struct graph_input *data;
    enum products products;
    const struct op_plan *tied; /* the operator whose weight it uses; NULL: it has its own */

    struct op_shape out;
    size_t out_count;
    uint32_t pad_before[2], pad_after[2]; /* conv2d, pools: rows, columns */
    size_t tensor_count;
    struct tensor_spec tensors[OP_TENSORS_MAX];
    size_t keep_count;    /* reals a sample that forward leaves for backward */
    size_t batch_keep_count; /* the same for the samples together, whatever their count */
    size_t scratch_count; /* reals for one call, whatever its count */
    bool fused_relu;      /* a relu alone reads the output, and forward applies it; of that relu:
                           * its input has been through it */
    uint64_t flops;       /* multiplications and additions of forward, a sample */
};

struct op_call {
    const struct op_plan *plan;
    size_t count; /* samples, >= 1 */
    bool is_training;
    bool is_again; /* forward was done on this batch before: what it put in batch_keep is there */
    struct draw_key draw; /* of this operator */
    const real *tensor[OP_TENSORS_MAX]; /* the plan's, in order; tied: [0] is the other's [0] */
    real *keep, *batch_keep, *scratch;
    const real *in[OP_INPUTS_MAX];
    real *out;

    /* Backward only. */
    const real *out_grad;
    real *tensor_grad[OP_TENSORS_MAX]; /* overwritten */
    uint32_t which;                    /* the input in question */
    real *in_grad;                     /* of that input; overwritten */
    bool adds; /* in_grad holds what another reader left, and is added to; where the kernel can */
};

struct op_kernel {
    /* Fills the second part of the plan, or ERR_INPUT with why the input does not fit. */
    int (*plan)(struct op_plan *plan, struct err_msg *why);
    void (*forward)(const struct op_call *call);
    void (*backward_weights)(const struct op_call *call); /* NULL: has no tensors */
    void (*backward_data)(const struct op_call *call); /* after backward_weights, unless all of the
                                                        * operator's tensors are frozen */
    bool needs_weights_first; /* backward_data takes what backward_weights left in keep: that is
                               * called whatever is frozen */
    bool can_overwrite; /* in_grad may be the memory of out_grad, and out that of an input unless
                         * backward reads the input */
    bool can_add;       /* backward_data does what `adds` asks for */
    bool is_view;       /* out is the input's memory under another shape: forward does nothing */
    bool reads_in;      /* backward reads the input */
    bool reads_out;     /* backward reads the output */
    bool can_relu;      /* forward applies a relu where plan->fused_relu says so */
    bool is_cheap;      /* forward costs so little that it is rather done again than its output,
                         * with a relu over it, kept until backward; it reads_in */
};

extern const struct op_kernel op_dense, op_conv2d, op_maxpool2d, op_avgpool2d, op_global_avgpool,
    op_relu, op_tanh, op_sigmoid, op_flatten, op_dropout, op_add, op_spatial_dropout, op_drop_path,
    op_batch_norm, op_layer_norm, op_group_norm, op_gelu, op_silu, op_leaky_relu, op_elu,
    op_softplus, op_softmax, op_mul, op_concat, op_sequence, op_last, op_global_maxpool,
    op_pad_channels, op_embedding, op_positional_embedding, op_lstm, op_gru, op_self_attention,
    op_conv1d, op_conv_transpose2d, op_upsample2d;

/* Elements of a value; 0 when there are more than OP_VALUE_MAX. */
size_t op_shape_count(const struct op_shape *shape);
enum { OP_VALUE_MAX = 1 << 28 };

/* "28x28x3" or "784". */
void op_shape_text(const struct op_shape *shape, char text_out[40]);

/* Out has the shape of the first input: the rule of all elementwise operators. */
int op_plan_same_shape(struct op_plan *plan, struct err_msg *why);

/* The same for two inputs, which must have one shape: "adds values of one shape but gets ..". */
int op_plan_one_shape(struct op_plan *plan, const char *does, struct err_msg *why);

/* Elements of a shape's last dimension, and how many rows of them a sample has. */
size_t op_shape_width(const struct op_shape *shape);
size_t op_shape_rows(const struct op_shape *shape);

/* Adds the tensor "<operator>.<suffix>" of this shape, which starts at zero.  It is the plan's. */
struct tensor_spec *op_plan_tensor(struct op_plan *plan, const char *suffix, uint32_t dims,
                                   const uint32_t *shape);

/* Adds the tensor "<operator>.weight" of this shape, initialised as the job says, and the bias of
 * the last dimension's size if it has one.  (A plan that is tied begins with the other's.) */
void op_plan_tensors(struct op_plan *plan, uint32_t dims, const uint32_t *shape);

/* One axis of a window: size out (out.size[axis]) and padding, from the same entry of the spec's
 * kernel, stride, dilation and padding.  ERR_INPUT. */
int op_plan_axis(struct op_plan *plan, int axis, struct err_msg *why);

/* Rule of conv2d and pools: rows and columns out (out.size[0], [1]) and padding.  ERR_INPUT. */
int op_plan_window(struct op_plan *plan, struct err_msg *why);

#endif
