#ifndef WORKER_NN_GRAPH_H
#define WORKER_NN_GRAPH_H

/* graph - a model of the job file as one function: (weights, batch) -> (loss, gradient).
 *
 * The graph is planned once (shapes, tensors, order, memory) and is read-only from then on; a
 * graph_run holds the activations of one thread.  Nothing that a run leaves behind reaches the next
 * call: results are a pure function of (weights, batch), with the same bits on any thread.
 *
 * Shapes:   batches: inputs [count][input elements], images as NHWC.  Weights and gradients: one
 *           flat vector, tensors one after another, those next to the input first.
 *           dense weight [in][out]; conv2d weight [kh][kw][cin][cout]; bias [out] or [cout].
 * Owner:    graph: the worker; any number of threads may read it.  graph_run: one thread.
 * Memory:   all of it in graph_create and graph_run_create; the other calls allocate nothing.
 * Thread:   a run is used by one thread at a time, which one does not matter.
 * Surprise: `real` is float; tests compile this folder again with it as double (real.h).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/layout.h"
#include "common/model_spec.h"
#include "common/philox.h"
#include "worker/nn/real.h"

struct graph;
struct graph_run;

/* What the data set gives for each sample. */
struct graph_input {
    uint32_t dims;        /* 1: features or tokens, 2: a sequence, 3: an image */
    uint32_t shape[3];    /* {F}, {T, F} or {H, W, C} */
    uint32_t label_count; /* numbers a sample: 1 for a class, T for one at each position, K for a
                           * regression */
    uint32_t class_count; /* 0: regression */
    uint32_t token_count; /* inputs are tokens 0..token_count-1; 0: they are numbers */
};

/* Called before a tensor's weights are read for the first time, the first layer's first; returns
 * when they may be, or false to give up. */
typedef bool (*graph_tensor_wait)(void *ctx, size_t tensor_idx);

/* Where the time of passes goes: each adds its own, until the caller puts zeros there. */
struct graph_profile {
    uint64_t (*now_ns)(void); /* a clock that never goes back */
    uint64_t *forward_ns, *backward_ns; /* [graph_op_count], in the order of the job file */
    uint64_t loss_ns;         /* the loss and its gradient */
};

struct graph_batch {
    const real *inputs;   /* [count][input elements] */
    const real *labels;   /* [count][label_count]; a class is its index, below 0: does not count */
    const real *mix_labels;  /* mixup, in training: of what is mixed in, as labels; or NULL */
    const real *mix_weights; /* [count]: the loss is m of that of labels, 1 - m of mix_labels' */
    size_t count;         /* 0..batch_max */
    struct draw_key draw; /* seed, step, lane; `where` is set per operator (dropout) */
    graph_tensor_wait wait; /* NULL: all weights are there */
    void *wait_ctx;
    struct graph_profile *profile; /* NULL: no clock is read; waits do not count */
};

struct loss_result {
    double loss_sum;  /* over samples, in sample order */
    uint64_t correct; /* answers that were right; 0 for a regression */
    uint64_t answers; /* classes asked for: one a sample, or one a position that counts */
    uint64_t count;   /* samples */
};

/* Plans the model for inputs of this shape.  ERR_INPUT with a sentence that prints the chain of
 * shapes up to the operator that does not fit, or says what the loss expects.  Copies the spec.
 * Sets OpenBLAS to one thread: call it before other threads compute. */
MUST_USE int graph_create(const struct model_spec *spec, const struct graph_input *input,
                          struct graph **graph_out, struct err_msg *why);
void graph_destroy(struct graph *graph);

/* The weights' tensors, input side first: what layout_create takes.  Borrowed until destroy. */
size_t graph_tensor_count(const struct graph *graph);
const struct tensor_spec *graph_tensor(const struct graph *graph, size_t tensor_idx);
const struct tensor_spec *graph_tensors(const struct graph *graph);

size_t graph_weight_count(const struct graph *graph); /* elements of the flat vector */
size_t graph_input_count(const struct graph *graph);  /* numbers a sample in */
size_t graph_output_count(const struct graph *graph); /* numbers a sample out */

/* Multiplications and additions of the matrix products of one sample, forward and backward. */
uint64_t graph_flops(const struct graph *graph);

/* The operators, and what each has of graph_flops.  op_idx < graph_op_count. */
size_t graph_op_count(const struct graph *graph);
void graph_op_flops(const struct graph *graph, size_t op_idx, uint64_t *forward_out,
                    uint64_t *backward_out);

/* Memory for batches of up to batch_max samples.  The graph is borrowed until graph_run_destroy.
 * ERR_NOMEM. */
MUST_USE int graph_run_create(const struct graph *graph, size_t batch_max,
                              struct graph_run **run_out);
void graph_run_destroy(struct graph_run *run);
size_t graph_run_bytes(const struct graph_run *run);

/* Called once for each tensor that is not frozen as soon as its part of grad is complete: the last
 * layer's first. */
typedef void (*graph_tensor_done)(void *ctx, size_t tensor_idx);

/* Loss and gradient of one batch.  weights, grad: [weight_count]; grad is overwritten with the sum
 * over samples (count 0: zeros) but for frozen tensors, where it means nothing.  done may be NULL.
 * Everything is borrowed for the call.  False when batch->wait gave up; then nothing was done, grad
 * and the result mean nothing.  An empty batch waits for all weights too: whoever is done has seen
 * them there. */
bool graph_train(struct graph_run *run, const struct graph_batch *batch, const real *weights,
                 real *grad, graph_tensor_done done, void *ctx, struct loss_result *result_out);

/* Loss of one batch without dropout; batch->draw is not read. */
void graph_eval(struct graph_run *run, const struct graph_batch *batch, const real *weights,
                struct loss_result *result_out);

/* outputs: [count][output_count]: probabilities for classes, the network's own numbers for a
 * regression.  inputs: [count][input elements], count <= batch_max. */
void graph_predict(struct graph_run *run, const real *inputs, size_t count, const real *weights,
                   real *outputs);

#endif
