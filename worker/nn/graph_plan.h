#ifndef WORKER_NN_GRAPH_PLAN_H
#define WORKER_NN_GRAPH_PLAN_H

/* graph_plan - what is known of a network before it runs: shapes, tensors, and who lies where.
 *
 * A pass through n operators takes ticks: forward of operator i is tick i, the loss is tick n,
 * backward of operator i is tick 2n - i.  A buffer is in use from its first to its last tick;
 * buffers that are never in use together share memory.  An operator that may overwrite its input
 * does so when nobody else reads it.
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
    bool has_gradient;     /* weights lie here or before: backward comes by */
    size_t tensor_begin;   /* its first tensor */
    int32_t value;         /* buffer of the output; none: it is the batch's own inputs */
    int32_t grad;          /* buffer of the output's gradient */
    int32_t keep;          /* buffer between forward and backward */
    int32_t addend;        /* buffer of a gradient that is added to what another reader left */
    bool does_add[OP_INPUTS_MAX]; /* this input's gradient is added */
};

struct graph {
    enum loss_kind loss;
    struct graph_input data;
    size_t node_count;
    struct op_spec *specs; /* [node_count] */
    struct graph_node *nodes;
    size_t tensor_count;
    struct tensor_spec *tensors;
    size_t *tensor_at; /* [tensor_count + 1]: where each begins in the flat vector */
    size_t buffer_count;
    struct graph_buffer *buffers;
    size_t arena_count;   /* reals a sample, over all buffers */
    size_t scratch_count; /* reals, the largest that an operator wants */
    uint64_t flops;
};

/* Fills shapes, tensors and buffers of a graph that has its specs, data and loss.  ERR_INPUT with
 * the chain of shapes, ERR_NOMEM. */
MUST_USE int graph_plan(struct graph *graph, struct err_msg *why);

/* True when input `which` of the node wants a gradient. */
bool graph_input_has_gradient(const struct graph *graph, const struct graph_node *node,
                              uint32_t which);

#endif
