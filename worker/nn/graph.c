#include "worker/nn/graph.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "worker/nn/blas.h"
#include "worker/nn/graph_plan.h"
#include "worker/nn/kernels.h"
#include "worker/nn/loss.h"

struct graph_run {
    const struct graph *graph;
    size_t batch_max;
    size_t bytes;
    real *memory; /* buffers, each at offset * batch_max; behind them the scratch */
};

int graph_create(const struct model_spec *spec, const struct graph_input *input,
                 struct graph **graph_out, struct err_msg *why)
{
    *graph_out = NULL;
    blas_start();
    struct graph *graph = calloc(1, sizeof(*graph));
    if (!graph)
        return err_set(why, ERR_NOMEM, "out of memory");
    graph->loss = spec->loss;
    graph->data = *input;
    graph->node_count = spec->op_count;
    graph->specs = calloc(spec->op_count + 1, sizeof(*graph->specs));
    graph->nodes = calloc(spec->op_count + 1, sizeof(*graph->nodes));
    int err = 0;
    if (!graph->specs || !graph->nodes) {
        err = err_set(why, ERR_NOMEM, "out of memory");
        goto fail;
    }
    if (spec->op_count > 0)
        memcpy(graph->specs, spec->ops, spec->op_count * sizeof(*graph->specs));
    err = graph_plan(graph, why);
    if (err)
        goto fail;
    *graph_out = graph;
    return 0;
fail:
    graph_destroy(graph);
    return err;
}

void graph_destroy(struct graph *graph)
{
    if (!graph)
        return;
    free(graph->specs);
    free(graph->nodes);
    free(graph->tensors);
    free(graph->tensor_at);
    free(graph->buffers);
    free(graph);
}

size_t graph_tensor_count(const struct graph *graph)
{
    return graph->tensor_count;
}

const struct tensor_spec *graph_tensor(const struct graph *graph, size_t tensor_idx)
{
    assert(tensor_idx < graph->tensor_count);
    return &graph->tensors[tensor_idx];
}

const struct tensor_spec *graph_tensors(const struct graph *graph)
{
    return graph->tensors;
}

size_t graph_weight_count(const struct graph *graph)
{
    return graph->tensor_at[graph->tensor_count];
}

size_t graph_input_count(const struct graph *graph)
{
    struct op_shape shape = {.dims = graph->data.dims};
    memcpy(shape.size, graph->data.shape, sizeof(shape.size));
    return op_shape_count(&shape);
}

size_t graph_output_count(const struct graph *graph)
{
    return graph->nodes[graph->node_count - 1].plan.out_count;
}

uint64_t graph_flops(const struct graph *graph)
{
    return graph->flops;
}

int graph_run_create(const struct graph *graph, size_t batch_max, struct graph_run **run_out)
{
    size_t bytes;
    *run_out = NULL;
    if (__builtin_mul_overflow(graph->arena_count, batch_max, &bytes) ||
        __builtin_add_overflow(bytes, graph->scratch_count + 16, &bytes) ||
        __builtin_mul_overflow(bytes, sizeof(real), &bytes) || bytes > PTRDIFF_MAX - 64)
        return ERR_NOMEM;
    struct graph_run *run = calloc(1, sizeof(*run));
    if (!run)
        return ERR_NOMEM;
    run->graph = graph;
    run->batch_max = batch_max;
    run->bytes = (bytes + 63) / 64 * 64;
    run->memory = aligned_alloc(64, run->bytes);
    if (!run->memory) {
        graph_run_destroy(run);
        return ERR_NOMEM;
    }
    memset(run->memory, 0, run->bytes); /* page faults now, not in the first step */
    *run_out = run;
    return 0;
}

void graph_run_destroy(struct graph_run *run)
{
    if (!run)
        return;
    free(run->memory);
    free(run);
}

size_t graph_run_bytes(const struct graph_run *run)
{
    return run->bytes;
}

/* What one call works on. */
struct pass {
    struct graph_run *run;
    const struct graph_batch *batch;
    const real *weights;
    real *grad;
    bool is_training;
};

static real *buffer_data(const struct graph_run *run, int32_t buffer_idx)
{
    if (buffer_idx == GRAPH_NO_BUFFER)
        return NULL;
    return run->memory + run->graph->buffers[buffer_idx].offset * run->batch_max;
}

/* A node's output; the batch's inputs for -1 and for a view of them. */
static const real *value_data(const struct pass *pass, int32_t node_idx)
{
    int32_t value = node_idx < 0 ? GRAPH_NO_BUFFER : pass->run->graph->nodes[node_idx].value;
    return value == GRAPH_NO_BUFFER ? pass->batch->inputs : buffer_data(pass->run, value);
}

static struct op_call make_call(const struct pass *pass, const struct graph_node *node)
{
    const struct graph *graph = pass->run->graph;
    struct op_call call = {
        .plan = &node->plan,
        .count = pass->batch->count,
        .is_training = pass->is_training,
        .draw = pass->batch->draw,
        .keep = buffer_data(pass->run, node->keep),
        .scratch = pass->run->memory + graph->arena_count * pass->run->batch_max,
        .out = buffer_data(pass->run, node->value),
        .out_grad = buffer_data(pass->run, node->grad),
    };
    call.draw.where = DRAW_OPERATOR + node->plan.op_idx;
    for (uint32_t k = 0; k < node->plan.spec->input_count; k++)
        call.in[k] = value_data(pass, node->plan.spec->inputs[k]);
    if (node->plan.tensor_count > 0)
        call.weight = pass->weights + graph->tensor_at[node->tensor_begin];
    if (node->plan.tensor_count > 1)
        call.bias = pass->weights + graph->tensor_at[node->tensor_begin + 1];
    return call;
}

static bool wait_for_weights(const struct pass *pass, const struct graph_node *node)
{
    const struct graph_batch *batch = pass->batch;
    for (size_t t = 0; batch->wait != NULL && t < node->plan.tensor_count; t++)
        if (!batch->wait(batch->wait_ctx, node->tensor_begin + t))
            return false;
    return true;
}

/* False when the weights were not waited for to the end. */
static bool forward(const struct pass *pass)
{
    const struct graph *graph = pass->run->graph;
    assert(pass->batch->count <= pass->run->batch_max);
    for (size_t i = 0; i < graph->node_count; i++) {
        if (!wait_for_weights(pass, &graph->nodes[i]))
            return false;
        if (pass->batch->count == 0)
            continue;
        struct op_call call = make_call(pass, &graph->nodes[i]);
        graph->nodes[i].kernel->forward(&call);
    }
    return true;
}

static struct loss_batch loss_batch_of(const struct pass *pass)
{
    const struct graph *graph = pass->run->graph;
    return (struct loss_batch){
        .kind = graph->loss,
        .count = pass->batch->count,
        .output_count = graph_output_count(graph),
        .label_count = graph->data.label_count,
        .outputs = value_data(pass, (int32_t)graph->node_count - 1),
        .labels = pass->batch->labels,
    };
}

/* The loss, and its gradient in the last node's buffer. */
static void apply_loss(const struct pass *pass, struct loss_result *result_out)
{
    const struct graph *graph = pass->run->graph;
    struct loss_batch loss = loss_batch_of(pass);
    loss_apply(&loss, buffer_data(pass->run, graph->nodes[graph->node_count - 1].grad), result_out);
}

/* The gradient of one input: written, or added to what another reader of that value left. */
static void backward_input(const struct pass *pass, const struct graph_node *node,
                           struct op_call *call, uint32_t which)
{
    const struct graph *graph = pass->run->graph;
    const struct graph_node *from = &graph->nodes[node->plan.spec->inputs[which]];
    real *in_grad = buffer_data(pass->run, from->grad);
    call->in_grad = node->does_add[which] ? buffer_data(pass->run, node->addend) : in_grad;
    node->kernel->backward_data(call);
    if (node->does_add[which])
        kernel_add(in_grad, in_grad, call->in_grad, call->count * node->plan.in_count);
}

static void tell_done(const struct graph_node *node, graph_tensor_done done, void *ctx)
{
    for (size_t t = node->plan.tensor_count; done && t > 0; t--)
        done(ctx, node->tensor_begin + t - 1);
}

static void backward_node(const struct pass *pass, const struct graph_node *node,
                          graph_tensor_done done, void *ctx)
{
    const struct graph *graph = pass->run->graph;
    struct op_call call = make_call(pass, node);
    if (node->plan.tensor_count > 0) {
        call.weight_grad = pass->grad + graph->tensor_at[node->tensor_begin];
        if (node->plan.tensor_count > 1)
            call.bias_grad = pass->grad + graph->tensor_at[node->tensor_begin + 1];
        node->kernel->backward_weights(&call);
        tell_done(node, done, ctx);
    }
    for (uint32_t k = 0; k < node->plan.spec->input_count; k++)
        if (graph_input_has_gradient(graph, node, k))
            backward_input(pass, node, &call, k);
}

bool graph_train(struct graph_run *run, const struct graph_batch *batch, const real *weights,
                 real *grad, graph_tensor_done done, void *ctx, struct loss_result *result_out)
{
    const struct graph *graph = run->graph;
    struct pass pass = {run, batch, weights, grad, true};
    *result_out = (struct loss_result){0};
    if (!forward(&pass))
        return false;
    if (batch->count == 0) {
        kernel_zero(grad, graph_weight_count(graph));
        for (size_t i = graph->node_count; i > 0; i--)
            tell_done(&graph->nodes[i - 1], done, ctx);
        return true;
    }
    apply_loss(&pass, result_out);
    for (size_t i = graph->node_count; i > 0; i--)
        if (graph->nodes[i - 1].has_gradient)
            backward_node(&pass, &graph->nodes[i - 1], done, ctx);
    return true;
}

void graph_eval(struct graph_run *run, const struct graph_batch *batch, const real *weights,
                struct loss_result *result_out)
{
    struct pass pass = {run, batch, weights, NULL, false};
    *result_out = (struct loss_result){0};
    if (batch->count == 0)
        return;
    (void)forward(&pass);
    apply_loss(&pass, result_out);
}

void graph_predict(struct graph_run *run, const real *inputs, size_t count, const real *weights,
                   real *outputs)
{
    struct graph_batch batch = {.inputs = inputs, .count = count};
    struct pass pass = {run, &batch, weights, NULL, false};
    if (count == 0)
        return;
    (void)forward(&pass);
    struct loss_batch loss = loss_batch_of(&pass);
    loss_predict(&loss, outputs);
}
