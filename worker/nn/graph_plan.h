#ifndef WORKER_NN_GRAPH_PLAN_H
#define WORKER_NN_GRAPH_PLAN_H

/* graph_plan - what is known of a network before it runs: shapes, tensors, and who lies where.
 *
 * A pass through n operators takes ticks: forward of operator i is tick i, the loss is tick n, then
 * comes backward, last operator to first, and before each what is computed again for it.  A buffer
 * is in use from its first to its last tick; buffers that are never in use together share memory.
 * An operator that may overwrite its input does so when nobody else reads it.
 *
 * A relu over a cheap operator, as batch_norm is, is not kept for the one that reads it: both are
 * computed again before backward of that one.
 *
 * With model.recompute the operators are cut into segments where one value alone goes on to the
 * next.  That value is kept, the others of a segment are computed again before its backward, where
 * that reads them.  (Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.)
 *
 * Shapes:   buffer sizes and offsets are reals for one sample; a run multiplies them by its batch.
 * Owner:    struct graph.  Thread: read-only once made.
 * Memory:   taken in graph_plan, in proportion to the operators.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "worker/nn/graph.h"
#include "worker/nn/loss.h"
#include "worker/nn/op.h"

enum { GRAPH_NO_BUFFER = -1 };

struct graph_buffer {
    size_t count, offset;           /* reals a sample */
    uint32_t first_tick, last_tick; /* in use, both included */
    bool is_pinned;                 /* its value is read again: do not overwrite */
};

struct graph_node {
    struct op_plan plan;
    const struct op_kernel *kernel;
    uint32_t reader_count; /* inputs of other operators that are this one's output */
    bool has_gradient;     /* weights that change lie here or before: backward comes by */
    bool is_trained;       /* such weights lie here */
    size_t tensor_idx[OP_TENSORS_MAX];
    struct graph_node *tied_last; /* of those that use its weight; NULL: none does */
    bool does_add_weight;  /* its weight's gradient is added to what another user of it left */
    bool is_again;         /* its forward is done again, before backward of operator again_at */
    size_t again_at;       /* of the same segment */
    uint32_t again_tick, backward_tick;
    int32_t value[2];      /* buffer of the output: in the first forward, and from where it is done
                            * again on; none: it is the batch's own inputs */
    int32_t keep[2];       /* buffer between forward and backward, likewise */
    size_t batch_keep_at;  /* what it keeps of the batch as a whole: in the run's batch_keep */
    int32_t grad;          /* buffer of the output's gradient */
    int32_t addend;        /* buffer of a gradient that is added to what another reader left */
    bool does_add[OP_INPUTS_MAX]; /* this input's gradient is added */
};

struct graph {
    struct loss_spec loss;
    struct graph_input data;
    size_t node_count;
    struct op_spec *specs; /* [node_count] */
    struct graph_node *nodes;
    size_t tensor_count;
    struct tensor_spec *tensors;
    size_t *tensor_at; /* [tensor_count + 1]: where each begins in the flat vector */
    bool does_recompute;
    enum products products;
    size_t segment_count;
    size_t *segment_begin; /* [segment_count + 1]: first operator of each, then node_count */
    size_t buffer_count;
    struct graph_buffer *buffers;
    size_t arena_count;   /* reals a sample, over all buffers */
    size_t batch_keep_count; /* reals, over all operators */
    size_t scratch_count; /* reals, the largest that an operator or the loss wants */
    size_t shared_count;  /* reals, the largest weight that has several users */
    uint64_t flops;
};

/* Fills shapes, tensors and buffers of a graph that has its specs, data and loss.  ERR_INPUT with
 * the chain of shapes, ERR_NOMEM. */
MUST_USE int graph_plan(struct graph *graph, struct err_msg *why);

/* Finds the buffers and their places, once shapes and tensors are known.  ERR_NOMEM. */
MUST_USE int graph_plan_buffers(struct graph *graph, struct err_msg *why);

/* Cuts the operators into at most `wanted` segments, marks what is computed again and counts ticks.
 * ERR_NOMEM. */
MUST_USE int graph_cut_segments(struct graph *graph, size_t wanted, struct err_msg *why);

/* True when input `which` of the node wants a gradient. */
bool graph_input_has_gradient(const struct graph *graph, const struct graph_node *node,
                              uint32_t which);

#endif
