#include "worker/nn/graph_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "worker/nn/loss.h"

/* 2^40 weights are 4 TiB: above it sizes in bytes are not to be trusted. */
#define WEIGHTS_MAX ((uint64_t)1 << 40)

static const struct op_kernel *const kernels[OP_KIND_COUNT] = {
    [OP_DENSE] = &op_dense,
    [OP_CONV2D] = &op_conv2d,
    [OP_MAXPOOL2D] = &op_maxpool2d,
    [OP_AVGPOOL2D] = &op_avgpool2d,
    [OP_GLOBAL_AVGPOOL] = &op_global_avgpool,
    [OP_RELU] = &op_relu,
    [OP_TANH] = &op_tanh,
    [OP_SIGMOID] = &op_sigmoid,
    [OP_FLATTEN] = &op_flatten,
    [OP_DROPOUT] = &op_dropout,
    [OP_ADD] = &op_add,
};

static struct op_shape input_shape(const struct graph *graph)
{
    struct op_shape shape = {.dims = graph->data.dims};
    memcpy(shape.size, graph->data.shape, sizeof(shape.size));
    return shape;
}

/* "conv1 28x28x16", with "(relu1, conv2)" when it does not simply follow the one before. */
static void describe(const struct graph *graph, size_t idx, bool has_shape, char out[256])
{
    const struct op_spec *spec = &graph->specs[idx];
    char inputs[120] = "", shape[40] = "?";
    if (spec->input_count > 1 || spec->inputs[0] != (int32_t)idx - 1) {
        const char *names[OP_INPUTS_MAX] = {"", ""};
        for (uint32_t k = 0; k < spec->input_count; k++)
            names[k] = spec->inputs[k] < 0 ? "input" : graph->specs[spec->inputs[k]].name;
        snprintf(inputs, sizeof(inputs), "(%s%s%s)", names[0], names[1][0] ? ", " : "", names[1]);
    }
    if (has_shape)
        op_shape_text(&graph->nodes[idx].plan.out, shape);
    snprintf(out, 256, " -> %s%s %s", spec->name, inputs, shape);
}

/* Adds "; shapes: input 28x28x1 -> conv1 28x28x16 -> conv2 ?" for operators 0..last; the first
 * known_count have a shape.  What does not fit is left out right behind the input. */
static int fail_with_chain(const struct graph *graph, size_t last, size_t known_count,
                           const struct err_msg *reason, struct err_msg *why)
{
    char entry[256], chain[sizeof(why->text)] = "", input[40];
    struct op_shape shape = input_shape(graph);
    size_t room = sizeof(why->text) - 80, used = strlen(reason->text), first = last + 1;
    op_shape_text(&shape, input);
    while (first > 0) {
        describe(graph, first - 1, first - 1 < known_count, entry);
        if (used + strlen(entry) > room)
            break;
        used += strlen(entry);
        first--;
    }
    for (size_t i = first, at = 0; i <= last; i++) {
        describe(graph, i, i < known_count, entry);
        at += (size_t)snprintf(chain + at, sizeof(chain) - at, "%s", entry);
    }
    return err_set(why, ERR_INPUT, "%s; shapes: input %s%s%s", reason->text, input,
                   first > 0 ? " -> ..." : "", chain);
}

/* The same, for a reason found by the operator itself. */
static int fail_at(const struct graph *graph, size_t idx, const struct err_msg *reason,
                   struct err_msg *why)
{
    const struct op_spec *spec = &graph->specs[idx];
    struct err_msg whole;
    err_set(&whole, ERR_INPUT, "model: line %d: %s (%s) %s", spec->line, spec->name,
            op_kind_name(spec->kind), reason->text);
    return fail_with_chain(graph, idx, idx, &whole, why);
}

static int plan_node(struct graph *graph, size_t idx, struct err_msg *why)
{
    struct graph_node *node = &graph->nodes[idx];
    const struct op_spec *spec = &graph->specs[idx];
    struct err_msg reason = {""};
    node->kernel = kernels[spec->kind];
    node->plan.spec = spec;
    node->plan.op_idx = (uint32_t)idx;
    for (uint32_t k = 0; k < spec->input_count; k++) {
        struct graph_node *from = spec->inputs[k] < 0 ? NULL : &graph->nodes[spec->inputs[k]];
        node->plan.in[k] = from ? from->plan.out : input_shape(graph);
        node->has_gradient |= from && from->has_gradient;
        if (from)
            from->reader_count++;
    }
    node->plan.in_count = op_shape_count(&node->plan.in[0]);
    if (node->kernel->plan(&node->plan, &reason))
        return fail_at(graph, idx, &reason, why);
    node->plan.out_count = op_shape_count(&node->plan.out);
    if (node->plan.out_count == 0) {
        err_set(&reason, ERR_INPUT, "would give more than %d numbers a sample", OP_VALUE_MAX);
        return fail_at(graph, idx, &reason, why);
    }
    node->has_gradient |= node->plan.tensor_count > 0;
    return 0;
}

/* What holds of the network as a whole. */
static int check_whole(const struct graph *graph, struct err_msg *why)
{
    struct err_msg reason = {""};
    size_t last = graph->node_count - 1;
    for (size_t i = 0; i < last; i++)
        if (graph->nodes[i].reader_count == 0)
            return err_set(why, ERR_INPUT,
                           "model: line %d: nothing reads the output of %s; each operator but the "
                           "last must be an input of another",
                           graph->specs[i].line, graph->specs[i].name);
    if (!graph->nodes[last].has_gradient)
        return err_set(why, ERR_INPUT, "model: no operator has weights: there is nothing to train");
    if (loss_check(graph->loss, &graph->data, graph->nodes[last].plan.out_count, &reason)) {
        err_prefix(&reason, ERR_INPUT, "model: ");
        return fail_with_chain(graph, last, graph->node_count, &reason, why);
    }
    return 0;
}

static int plan_shapes(struct graph *graph, struct err_msg *why)
{
    struct op_shape input = input_shape(graph);
    if ((input.dims != 1 && input.dims != 3) || op_shape_count(&input) == 0)
        return err_set(why, ERR_INPUT, "model: samples must be a row of numbers or an image");
    if (graph->node_count == 0)
        return err_set(why, ERR_INPUT, "model.operators is empty");
    for (size_t i = 0; i < graph->node_count; i++) {
        int err = plan_node(graph, i, why);
        if (err)
            return err;
    }
    return check_whole(graph, why);
}

/* Tensors in the order of the operators, and the work of one sample: forward once, backward once
 * for the weights and once for the data. */
static int plan_tensors(struct graph *graph, struct err_msg *why)
{
    size_t count = 0;
    graph->tensors = calloc(graph->node_count * OP_TENSORS_MAX, sizeof(*graph->tensors));
    graph->tensor_at = calloc(graph->node_count * OP_TENSORS_MAX + 1, sizeof(*graph->tensor_at));
    if (!graph->tensors || !graph->tensor_at)
        return err_set(why, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < graph->node_count; i++) {
        struct graph_node *node = &graph->nodes[i];
        node->tensor_begin = graph->tensor_count;
        for (size_t t = 0; t < node->plan.tensor_count; t++) {
            uint64_t elements = tensor_element_count(&node->plan.tensors[t]);
            if (elements == 0 || count + elements > WEIGHTS_MAX)
                return err_set(why, ERR_INPUT, "model: line %d: %s has too many weights",
                               graph->specs[i].line, graph->specs[i].name);
            graph->tensors[graph->tensor_count] = node->plan.tensors[t];
            graph->tensor_at[graph->tensor_count++] = count;
            count += elements;
        }
        uint64_t passes = node->plan.tensor_count > 0 ? 2 : 1;
        graph->flops += (passes + graph_input_has_gradient(graph, node, 0)) * node->plan.flops;
        if (node->plan.scratch_count > graph->scratch_count)
            graph->scratch_count = node->plan.scratch_count;
    }
    graph->tensor_at[graph->tensor_count] = count;
    return 0;
}

bool graph_input_has_gradient(const struct graph *graph, const struct graph_node *node,
                              uint32_t which)
{
    int32_t from = node->plan.spec->inputs[which];
    return from >= 0 && graph->nodes[from].has_gradient;
}

/* Offsets on a cache line, whatever the batch. */
static int32_t add_buffer(struct graph *graph, size_t count)
{
    struct graph_buffer *buffer = &graph->buffers[graph->buffer_count];
    *buffer = (struct graph_buffer){.count = (count + 15) / 16 * 16, .first_tick = UINT32_MAX};
    return (int32_t)graph->buffer_count++;
}

static void touch(struct graph *graph, int32_t buffer_idx, size_t tick)
{
    if (buffer_idx == GRAPH_NO_BUFFER)
        return;
    struct graph_buffer *buffer = &graph->buffers[buffer_idx];
    if (tick < buffer->first_tick)
        buffer->first_tick = (uint32_t)tick;
    if (tick > buffer->last_tick)
        buffer->last_tick = (uint32_t)tick;
}

static size_t backward_tick(const struct graph *graph, size_t idx)
{
    return 2 * graph->node_count - idx;
}

static int32_t value_of(const struct graph *graph, int32_t node_idx)
{
    return node_idx < 0 ? GRAPH_NO_BUFFER : graph->nodes[node_idx].value;
}

/* Where the output goes: over an input if that is allowed and nobody reads it again. */
static int32_t choose_value(struct graph *graph, const struct graph_node *node)
{
    const struct op_spec *spec = node->plan.spec;
    if (node->kernel->is_view)
        return value_of(graph, spec->inputs[0]);
    for (uint32_t k = 0; node->kernel->can_overwrite && k < spec->input_count; k++) {
        int32_t value = value_of(graph, spec->inputs[k]);
        if (value != GRAPH_NO_BUFFER && !graph->buffers[value].is_pinned)
            return value;
    }
    return add_buffer(graph, node->plan.out_count);
}

static void plan_value(struct graph *graph, size_t idx)
{
    struct graph_node *node = &graph->nodes[idx];
    const struct op_spec *spec = node->plan.spec;
    node->value = choose_value(graph, node);
    touch(graph, node->value, idx);
    if (node->value != GRAPH_NO_BUFFER)
        graph->buffers[node->value].is_pinned |= node->kernel->reads_out || node->reader_count > 1;
    if (node->kernel->reads_out && node->has_gradient)
        touch(graph, node->value, backward_tick(graph, idx));
    for (uint32_t k = 0; k < spec->input_count; k++) {
        touch(graph, value_of(graph, spec->inputs[k]), idx);
        if (node->kernel->reads_in && node->has_gradient)
            touch(graph, value_of(graph, spec->inputs[k]), backward_tick(graph, idx));
    }
    node->keep = GRAPH_NO_BUFFER;
    if (node->plan.keep_count > 0) {
        node->keep = add_buffer(graph, node->plan.keep_count);
        touch(graph, node->keep, idx);
        touch(graph, node->keep, backward_tick(graph, idx));
    }
}

/* Where the gradient of input `which` goes.  Operators come last to first: the first to arrive at a
 * value writes, the others add. */
static void plan_in_grad(struct graph *graph, size_t idx, uint32_t which)
{
    struct graph_node *node = &graph->nodes[idx];
    struct graph_node *from = &graph->nodes[node->plan.spec->inputs[which]];
    size_t tick = backward_tick(graph, idx);
    if (from->grad == GRAPH_NO_BUFFER) {
        /* Over the output's gradient, unless the other input took that already. */
        bool is_free = which == 0 || !graph_input_has_gradient(graph, node, 0);
        from->grad = node->kernel->can_overwrite && is_free
                         ? node->grad
                         : add_buffer(graph, node->plan.in_count);
        touch(graph, from->grad, tick);
        return;
    }
    node->does_add[which] = true;
    if (node->addend == GRAPH_NO_BUFFER)
        node->addend = add_buffer(graph, node->plan.in_count);
    touch(graph, node->addend, tick);
    touch(graph, from->grad, tick);
}

static void plan_grad(struct graph *graph, size_t idx)
{
    struct graph_node *node = &graph->nodes[idx];
    if (!node->has_gradient)
        return;
    touch(graph, node->grad, backward_tick(graph, idx));
    for (uint32_t k = 0; k < node->plan.spec->input_count; k++)
        if (graph_input_has_gradient(graph, node, k))
            plan_in_grad(graph, idx, k);
}

static bool is_used_together(const struct graph_buffer *a, const struct graph_buffer *b)
{
    return a->first_tick <= b->last_tick && b->first_tick <= a->last_tick;
}

static int by_size_down(const void *left, const void *right)
{
    const struct graph_buffer *a = *(const struct graph_buffer *const *)left;
    const struct graph_buffer *b = *(const struct graph_buffer *const *)right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return a < b ? -1 : a > b; /* a fixed order, so that a plan is the same everywhere */
}

/* The lowest place where the buffer does not meet one that is in use with it.  placed: by offset.
 */
static size_t lowest_offset(struct graph_buffer *const *placed, size_t placed_count,
                            const struct graph_buffer *buffer)
{
    size_t offset = 0;
    for (size_t i = 0; i < placed_count; i++) {
        if (!is_used_together(placed[i], buffer))
            continue;
        if (placed[i]->offset >= offset + buffer->count)
            break;
        if (placed[i]->offset + placed[i]->count > offset)
            offset = placed[i]->offset + placed[i]->count;
    }
    return offset;
}

/* Largest first, each as low as it goes. */
static int place_buffers(struct graph *graph, struct err_msg *why)
{
    struct graph_buffer **order = calloc(graph->buffer_count, 2 * sizeof(struct graph_buffer *));
    if (!order)
        return err_set(why, ERR_NOMEM, "out of memory");
    struct graph_buffer **placed = order + graph->buffer_count;
    for (size_t i = 0; i < graph->buffer_count; i++)
        order[i] = &graph->buffers[i];
    qsort(order, graph->buffer_count, sizeof(struct graph_buffer *), by_size_down);
    for (size_t i = 0; i < graph->buffer_count; i++) {
        struct graph_buffer *buffer = order[i];
        size_t at = i;
        buffer->offset = lowest_offset(placed, i, buffer);
        for (; at > 0 && placed[at - 1]->offset > buffer->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = buffer;
        if (buffer->offset + buffer->count > graph->arena_count)
            graph->arena_count = buffer->offset + buffer->count;
    }
    free(order);
    return 0;
}

static int plan_buffers(struct graph *graph, struct err_msg *why)
{
    /* A node has at most a value, a keep, an addend, and the gradients of two inputs; the loss has
     * one more. */
    size_t last = graph->node_count - 1;
    graph->buffers = calloc(5 * graph->node_count + 1, sizeof(*graph->buffers));
    if (!graph->buffers)
        return err_set(why, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < graph->node_count; i++) {
        graph->nodes[i].grad = graph->nodes[i].addend = GRAPH_NO_BUFFER;
        plan_value(graph, i);
    }
    graph->nodes[last].grad = add_buffer(graph, graph->nodes[last].plan.out_count);
    touch(graph, graph->nodes[last].grad, graph->node_count);
    touch(graph, graph->nodes[last].value, graph->node_count);
    for (size_t i = graph->node_count; i > 0; i--)
        plan_grad(graph, i - 1);
    return place_buffers(graph, why);
}

int graph_plan(struct graph *graph, struct err_msg *why)
{
    int err = plan_shapes(graph, why);
    if (err == 0)
        err = plan_tensors(graph, why);
    if (err == 0)
        err = plan_buffers(graph, why);
    return err;
}
