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
    real *memory; /* buffers, each at offset * batch_max; then scratch, batch_keep and shared */
    real *batch_keep; /* what operators keep of a batch as a whole */
    real *shared; /* a gradient of a weight that has several users */
};

int graph_create(const struct model_spec *spec, const struct graph_input *input,
                 struct graph **graph_out, struct err_msg *why)
{
    *graph_out = NULL;
    blas_start();
    struct graph *graph = calloc(1, sizeof(*graph));
    if (!graph)
        return err_set(why, ERR_NOMEM, "out of memory");
    graph->does_recompute = spec->recompute;
    graph->products = spec->products;
    graph->data = *input;
    graph->node_count = spec->op_count;
    graph->specs = calloc(spec->op_count + 1, sizeof(*graph->specs));
    graph->nodes = calloc(spec->op_count + 1, sizeof(*graph->nodes));
    int err = 0;
    if (!graph->specs || !graph->nodes || loss_spec_create(spec, &graph->loss)) {
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
    free(graph->segment_begin);
    loss_spec_free(&graph->loss);
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

size_t graph_op_count(const struct graph *graph)
{
    return graph->node_count;
}

void graph_op_flops(const struct graph *graph, size_t op_idx, uint64_t *forward_out,
                    uint64_t *backward_out)
{
    assert(op_idx < graph->node_count);
    const struct graph_node *node = &graph->nodes[op_idx];
    uint64_t passes = node->is_trained ? 1 : 0;
    *forward_out = node->plan.flops;
    *backward_out = (passes + graph_input_has_gradient(graph, node, 0)) * node->plan.flops;
}

int graph_run_create(const struct graph *graph, size_t batch_max, struct graph_run **run_out)
{
    size_t bytes;
    *run_out = NULL;
    if (__builtin_mul_overflow(graph->arena_count, batch_max, &bytes) ||
        __builtin_add_overflow(bytes, graph->scratch_count, &bytes) ||
        __builtin_add_overflow(bytes, graph->batch_keep_count, &bytes) ||
        __builtin_add_overflow(bytes, graph->shared_count, &bytes) ||
        __builtin_mul_overflow(bytes, sizeof(real), &bytes) || bytes > PTRDIFF_MAX - 64)
        return ERR_NOMEM;
    struct graph_run *run = calloc(1, sizeof(*run));
    if (!run)
        return ERR_NOMEM;
    run->graph = graph;
    run->batch_max = batch_max;
    run->bytes = (bytes + 63) / 64 * 64;
    /* Not touched: a page is made where the thread that computes first writes to it. */
    run->memory = aligned_alloc(64, run->bytes);
    if (!run->memory) {
        graph_run_destroy(run);
        return ERR_NOMEM;
    }
    run->batch_keep = run->memory + graph->arena_count * batch_max + graph->scratch_count;
    run->shared = run->batch_keep + graph->batch_keep_count;
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
    int turn; /* 0: the first forward; 1: what is done again, and backward */
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
    int32_t value = node_idx < 0 ? GRAPH_NO_BUFFER
                                 : pass->run->graph->nodes[node_idx].value[pass->turn];
    return value == GRAPH_NO_BUFFER ? pass->batch->inputs : buffer_data(pass->run, value);
}

static real *scratch_of(const struct graph_run *run)
{
    return run->memory + run->graph->arena_count * run->batch_max;
}

static struct op_call make_call(const struct pass *pass, const struct graph_node *node)
{
    const struct graph *graph = pass->run->graph;
    struct op_call call = {
        .plan = &node->plan,
        .count = pass->batch->count,
        .is_training = pass->is_training,
        .is_again = pass->turn == 1,
        .draw = pass->batch->draw,
        .keep = buffer_data(pass->run, node->keep[pass->turn]),
        .batch_keep = pass->run->batch_keep + node->batch_keep_at,
        .scratch = scratch_of(pass->run),
        .out = buffer_data(pass->run, node->value[pass->turn]),
        .out_grad = buffer_data(pass->run, node->grad),
    };
    call.draw.where = DRAW_OPERATOR + node->plan.op_idx;
    for (uint32_t k = 0; k < node->plan.spec->input_count; k++)
        call.in[k] = value_data(pass, node->plan.spec->inputs[k]);
    for (size_t t = 0; t < node->plan.tensor_count; t++)
        call.tensor[t] = pass->weights + graph->tensor_at[node->tensor_idx[t]];
    return call;
}

static bool wait_for_weights(const struct pass *pass, const struct graph_node *node)
{
    const struct graph_batch *batch = pass->batch;
    for (size_t t = 0; batch->wait != NULL && t < node->plan.tensor_count; t++)
        if (!batch->wait(batch->wait_ctx, node->tensor_idx[t]))
            return false;
    return true;
}

static uint64_t look_at_clock(const struct graph_profile *profile)
{
    return profile != NULL ? profile->now_ns() : 0;
}

static void forward_node(const struct pass *pass, size_t idx)
{
    struct graph_profile *profile = pass->batch->profile;
    const struct graph_node *node = &pass->run->graph->nodes[idx];
    uint64_t begin_ns = look_at_clock(profile);
    struct op_call call = make_call(pass, node);
    node->kernel->forward(&call);
    if (profile != NULL)
        profile->forward_ns[idx] += profile->now_ns() - begin_ns;
}

/* False when the weights were not waited for to the end. */
static bool forward(const struct pass *pass)
{
    const struct graph *graph = pass->run->graph;
    assert(pass->batch->count <= pass->run->batch_max);
    for (size_t i = 0; i < graph->node_count; i++) {
        if (!wait_for_weights(pass, &graph->nodes[i]))
            return false;
        if (pass->batch->count > 0)
            forward_node(pass, i);
    }
    return true;
}

static struct loss_batch loss_batch_of(const struct pass *pass)
{
    const struct graph *graph = pass->run->graph;
    return (struct loss_batch){
        .spec = &graph->loss,
        .count = pass->batch->count,
        .output_count = graph_output_count(graph),
        .label_count = graph->data.label_count,
        .outputs = value_data(pass, (int32_t)graph->node_count - 1),
        .labels = pass->batch->labels,
        .mix_labels = pass->batch->mix_labels,
        .mix_weights = pass->batch->mix_weights,
        .scratch = scratch_of(pass->run),
    };
}

/* The loss, and its gradient in the last node's buffer. */
static void apply_loss(const struct pass *pass, struct loss_result *result_out)
{
    const struct graph *graph = pass->run->graph;
    struct graph_profile *profile = pass->batch->profile;
    uint64_t begin_ns = look_at_clock(profile);
    struct loss_batch loss = loss_batch_of(pass);
    loss_apply(&loss, buffer_data(pass->run, graph->nodes[graph->node_count - 1].grad), result_out);
    if (profile != NULL)
        profile->loss_ns += profile->now_ns() - begin_ns;
}

/* The gradient of one input: written, or added to what another reader of that value left. */
static void backward_input(const struct pass *pass, const struct graph_node *node,
                           struct op_call *call, uint32_t which)
{
    const struct graph *graph = pass->run->graph;
    const struct graph_node *from = &graph->nodes[node->plan.spec->inputs[which]];
    real *in_grad = buffer_data(pass->run, from->grad);
    bool needs_add = node->does_add[which] && !node->kernel->can_add;
    call->which = which;
    call->in_grad = needs_add ? buffer_data(pass->run, node->addend) : in_grad;
    call->adds = node->does_add[which] && node->kernel->can_add;
    node->kernel->backward_data(call);
    if (needs_add)
        kernel_add(in_grad, in_grad, call->in_grad, call->count * node->plan.in_counts[which]);
}

/* A tied tensor is done when its owner, which comes earlier in the graph, is. */
static void tell_done(const struct graph_node *node, graph_tensor_done done, void *ctx)
{
    size_t first = node->plan.tied != NULL ? 1 : 0;
    for (size_t t = node->plan.tensor_count; done && t > first; t--)
        if (node->plan.tensors[t - 1].update != UPDATE_FROZEN)
            done(ctx, node->tensor_idx[t - 1]);
}

static void backward_weights(const struct pass *pass, const struct graph_node *node,
                             struct op_call *call)
{
    const struct graph *graph = pass->run->graph;
    for (size_t t = 0; t < node->plan.tensor_count; t++)
        call->tensor_grad[t] = pass->grad + graph->tensor_at[node->tensor_idx[t]];
    real *weight_grad = call->tensor_grad[0];
    if (node->does_add_weight)
        call->tensor_grad[0] = pass->run->shared;
    node->kernel->backward_weights(call);
    if (node->does_add_weight)
        kernel_add(weight_grad, weight_grad, call->tensor_grad[0],
                   (size_t)tensor_element_count(&node->plan.tensors[0]));
}

static void backward_node(const struct pass *pass, const struct graph_node *node,
                          graph_tensor_done done, void *ctx)
{
    const struct graph *graph = pass->run->graph;
    struct op_call call = make_call(pass, node);
    if (node->is_trained || node->kernel->needs_weights_first) {
        backward_weights(pass, node, &call);
        tell_done(node, done, ctx);
    }
    for (uint32_t k = 0; k < node->plan.spec->input_count; k++)
        if (graph_input_has_gradient(graph, node, k))
            backward_input(pass, node, &call, k);
}

static void forward_again(const struct pass *pass, size_t begin, size_t before)
{
    const struct graph_node *nodes = pass->run->graph->nodes;
    for (size_t i = begin; i < before; i++)
        if (nodes[i].is_again && nodes[i].again_at == before)
            forward_node(pass, i);
}

/* From its end back to the first operator that has weights, each with what it needs and is not
 * there any more. */
static void backward_segment(const struct pass *pass, size_t begin, size_t end,
                             graph_tensor_done done, void *ctx)
{
    const struct graph *graph = pass->run->graph;
    struct graph_profile *profile = pass->batch->profile;
    for (size_t i = end; i > begin; i--) {
        forward_again(pass, begin, i - 1);
        if (!graph->nodes[i - 1].has_gradient)
            continue;
        uint64_t begin_ns = look_at_clock(profile);
        backward_node(pass, &graph->nodes[i - 1], done, ctx);
        if (profile != NULL)
            profile->backward_ns[i - 1] += profile->now_ns() - begin_ns;
    }
}

bool graph_train(struct graph_run *run, const struct graph_batch *batch, const real *weights,
                 real *grad, graph_tensor_done done, void *ctx, struct loss_result *result_out)
{
    const struct graph *graph = run->graph;
    struct pass pass = {run, batch, weights, grad, true, 0};
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
    pass.turn = 1;
    for (size_t i = graph->segment_count; i > 0; i--)
        backward_segment(&pass, graph->segment_begin[i - 1], graph->segment_begin[i], done, ctx);
    return true;
}

void graph_eval(struct graph_run *run, const struct graph_batch *batch, const real *weights,
                struct loss_result *result_out)
{
    struct pass pass = {run, batch, weights, NULL, false, 0};
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
    struct pass pass = {run, &batch, weights, NULL, false, 0};
    if (count == 0)
        return;
    (void)forward(&pass);
    struct loss_batch loss = loss_batch_of(&pass);
    loss_predict(&loss, outputs);
}
