#include "worker/nn/graph_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "worker/nn/gemm.h"

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
    [OP_SPATIAL_DROPOUT] = &op_spatial_dropout,
    [OP_DROP_PATH] = &op_drop_path,
    [OP_BATCH_NORM] = &op_batch_norm,
    [OP_LAYER_NORM] = &op_layer_norm,
    [OP_GROUP_NORM] = &op_group_norm,
    [OP_GELU] = &op_gelu,
    [OP_SILU] = &op_silu,
    [OP_LEAKY_RELU] = &op_leaky_relu,
    [OP_ELU] = &op_elu,
    [OP_SOFTPLUS] = &op_softplus,
    [OP_SOFTMAX] = &op_softmax,
    [OP_MUL] = &op_mul,
    [OP_CONCAT] = &op_concat,
    [OP_SEQUENCE] = &op_sequence,
    [OP_LAST] = &op_last,
    [OP_GLOBAL_MAXPOOL] = &op_global_maxpool,
    [OP_PAD_CHANNELS] = &op_pad_channels,
    [OP_EMBEDDING] = &op_embedding,
    [OP_POSITIONAL_EMBEDDING] = &op_positional_embedding,
    [OP_LSTM] = &op_lstm,
    [OP_GRU] = &op_gru,
    [OP_SELF_ATTENTION] = &op_self_attention,
    [OP_CONV1D] = &op_conv1d,
    [OP_CONV_TRANSPOSE2D] = &op_conv_transpose2d,
    [OP_UPSAMPLE2D] = &op_upsample2d,
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
    char inputs[160] = "", shape[40] = "?";
    bool is_plain = spec->input_count == 1 && spec->inputs[0] == (int32_t)idx - 1;
    for (size_t k = 0, at = 0; !is_plain && k < spec->input_count && at < sizeof(inputs); k++)
        at += (size_t)snprintf(inputs + at, sizeof(inputs) - at, "%s%s%s", k == 0 ? "(" : ", ",
                               spec->inputs[k] < 0 ? "input" : graph->specs[spec->inputs[k]].name,
                               k + 1 == spec->input_count ? ")" : "");
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

/* What the job says of all of an operator's tensors; one that is tied is its owner's affair. */
static void plan_updates(struct graph_node *node)
{
    struct op_plan *plan = &node->plan;
    for (size_t t = 0; t < plan->tensor_count; t++) {
        struct tensor_spec *tensor = &plan->tensors[t];
        bool is_own = t > 0 || plan->tied == NULL;
        if (is_own && plan->spec->frozen)
            tensor->update = UPDATE_FROZEN;
        else if (is_own && tensor->update == UPDATE_OPTIMIZER)
            tensor->rate_scale = plan->spec->rate_scale;
        node->is_trained |= tensor->update != UPDATE_FROZEN;
    }
    node->has_gradient |= node->is_trained;
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
        node->plan.in_counts[k] = op_shape_count(&node->plan.in[k]);
        node->has_gradient |= from && from->has_gradient;
        if (from)
            from->reader_count++;
    }
    node->plan.in_count = node->plan.in_counts[0];
    node->plan.data = &graph->data;
    node->plan.products = graph->products;
    if (spec->tied > 0)
        node->plan.tied = &graph->nodes[spec->tied - 1].plan;
    if (node->kernel->plan(&node->plan, &reason))
        return fail_at(graph, idx, &reason, why);
    node->plan.out_count = op_shape_count(&node->plan.out);
    if (node->plan.out_count == 0) {
        err_set(&reason, ERR_INPUT, "would give more than %d numbers a sample", OP_VALUE_MAX);
        return fail_at(graph, idx, &reason, why);
    }
    plan_updates(node);
    return 0;
}

/* A relu that alone reads an operator which can apply it is left to that one.  Where it goes over
 * its input it then has nothing to do; elsewhere it copies, and changes nothing. */
static void fuse_relus(struct graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct op_spec *spec = &graph->specs[i];
        if (spec->kind != OP_RELU || spec->inputs[0] < 0)
            continue;
        struct graph_node *from = &graph->nodes[spec->inputs[0]];
        if (from->reader_count == 1 && from->kernel->can_relu)
            from->plan.fused_relu = graph->nodes[i].plan.fused_relu = true;
    }
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
        return err_set(why, ERR_INPUT,
                       "model: no operator has weights that are not frozen: there is nothing to "
                       "train");
    if (loss_check(&graph->loss, &graph->data, &graph->nodes[last].plan.out, &reason)) {
        err_prefix(&reason, ERR_INPUT, "model: ");
        return fail_with_chain(graph, last, graph->node_count, &reason, why);
    }
    return 0;
}

static int plan_shapes(struct graph *graph, struct err_msg *why)
{
    struct op_shape input = input_shape(graph);
    if (input.dims < 1 || input.dims > 3 || op_shape_count(&input) == 0)
        return err_set(why, ERR_INPUT,
                       "model: samples must be a row of numbers, a sequence of rows or an image");
    if (graph->node_count == 0)
        return err_set(why, ERR_INPUT, "model.operators is empty");
    if (graph->products == PRODUCTS_BF16X3 && !gemm_is_own())
        return err_set(why, ERR_INPUT,
                       "model.products: found \"bf16x3\", which this processor cannot do; expected "
                       "\"f32\", or x86-64 with AVX2 on each machine of the job");
    for (size_t i = 0; i < graph->node_count; i++) {
        int err = plan_node(graph, i, why);
        if (err)
            return err;
    }
    fuse_relus(graph);
    return check_whole(graph, why);
}

/* Places the tensors that are the node's own, and finds the one that is another's. */
static int plan_node_tensors(struct graph *graph, struct graph_node *node, struct err_msg *why)
{
    const struct op_plan *plan = &node->plan;
    for (size_t t = 0; t < plan->tensor_count; t++) {
        if (t == 0 && plan->tied != NULL) {
            struct graph_node *owner = &graph->nodes[plan->spec->tied - 1];
            size_t count = (size_t)tensor_element_count(&plan->tensors[0]);
            node->tensor_idx[0] = owner->tensor_idx[0];
            if (owner->tied_last != NULL)
                owner->tied_last->does_add_weight = true;
            owner->tied_last = node;
            owner->does_add_weight = true;
            if (count > graph->shared_count)
                graph->shared_count = count;
            continue;
        }
        size_t at = graph->tensor_at[graph->tensor_count];
        uint64_t elements = tensor_element_count(&plan->tensors[t]);
        if (elements == 0 || at + elements > WEIGHTS_MAX)
            return err_set(why, ERR_INPUT, "model: line %d: %s has too many weights",
                           plan->spec->line, plan->spec->name);
        node->tensor_idx[t] = graph->tensor_count;
        graph->tensors[graph->tensor_count++] = plan->tensors[t];
        graph->tensor_at[graph->tensor_count] = at + elements;
    }
    return 0;
}

/* Tensors in the order of the operators, and the work of one sample: forward once, backward once
 * for the weights and once for the data. */
static int plan_tensors(struct graph *graph, struct err_msg *why)
{
    size_t tensors_max = graph->node_count * OP_TENSORS_MAX;
    graph->tensors = calloc(tensors_max, sizeof(*graph->tensors));
    graph->tensor_at = calloc(tensors_max + 1, sizeof(*graph->tensor_at));
    if (!graph->tensors || !graph->tensor_at)
        return err_set(why, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < graph->node_count; i++) {
        struct graph_node *node = &graph->nodes[i];
        int err = plan_node_tensors(graph, node, why);
        if (err != 0)
            return err;
        uint64_t passes = node->is_trained ? 2 : 1;
        graph->flops += (passes + graph_input_has_gradient(graph, node, 0)) * node->plan.flops;
        node->batch_keep_at = graph->batch_keep_count;
        graph->batch_keep_count += (node->plan.batch_keep_count + 15) / 16 * 16;
        if (node->plan.scratch_count > graph->scratch_count)
            graph->scratch_count = node->plan.scratch_count;
    }
    size_t outputs = graph->nodes[graph->node_count - 1].plan.out_count;
    size_t loss_count = loss_scratch_count(&graph->data, outputs);
    if (loss_count > graph->scratch_count)
        graph->scratch_count = loss_count;
    graph->scratch_count = (graph->scratch_count + 15) / 16 * 16; /* what follows is aligned */
    return 0;
}

bool graph_input_has_gradient(const struct graph *graph, const struct graph_node *node,
                              uint32_t which)
{
    int32_t from = node->plan.spec->inputs[which];
    return from >= 0 && graph->nodes[from].has_gradient;
}

int graph_plan(struct graph *graph, struct err_msg *why)
{
    int err = plan_shapes(graph, why);
    if (err == 0)
        err = plan_tensors(graph, why);
    if (err == 0)
        err = graph_plan_buffers(graph, why);
    return err;
}
