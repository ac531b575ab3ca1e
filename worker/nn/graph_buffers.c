#include "worker/nn/graph_plan.h"

#include <stdlib.h>
#include <string.h>

/* Beyond it a network is so deep that less memory no longer comes from more segments. */
enum { SEGMENTS_MAX = 48 };

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

static int32_t value_of(const struct graph *graph, int32_t node_idx, int turn)
{
    return node_idx < 0 ? GRAPH_NO_BUFFER : graph->nodes[node_idx].value[turn];
}

/* Whether the input is of no use to anybody behind this node's forward.  What is computed again
 * needs what is not; and what is not computed again is there once. */
static bool is_input_spent(const struct graph *graph, const struct graph_node *node, uint32_t which,
                           int turn)
{
    int32_t from = node->plan.spec->inputs[which];
    int32_t value = value_of(graph, from, turn);
    while (from >= 0 && graph->nodes[from].kernel->is_view)
        from = graph->nodes[from].plan.spec->inputs[0];
    return value != GRAPH_NO_BUFFER && !graph->buffers[value].is_pinned &&
           (!node->is_again || graph->nodes[from].is_again);
}

/* Where the output goes: over an input if that is allowed and nobody reads it again. */
static int32_t choose_value(struct graph *graph, const struct graph_node *node, int turn)
{
    const struct op_spec *spec = node->plan.spec;
    if (node->kernel->is_view)
        return value_of(graph, spec->inputs[0], turn);
    bool is_read_later = node->kernel->reads_in && (turn == 1 || !node->is_again);
    for (uint32_t k = 0; node->kernel->can_overwrite && k < spec->input_count; k++)
        if (!is_read_later && is_input_spent(graph, node, k, turn))
            return value_of(graph, spec->inputs[k], turn);
    return add_buffer(graph, node->plan.out_count);
}

/* Forward: the first (turn 0), or the one for backward (turn 1). */
static void plan_forward(struct graph *graph, size_t idx, int turn)
{
    struct graph_node *node = &graph->nodes[idx];
    const struct op_spec *spec = node->plan.spec;
    size_t tick = turn == 0 ? idx : node->again_tick;
    bool is_last = turn == 1 || !node->is_again;
    int32_t value = choose_value(graph, node, turn), keep = GRAPH_NO_BUFFER;
    touch(graph, value, tick);
    if (value != GRAPH_NO_BUFFER)
        graph->buffers[value].is_pinned |=
            (node->kernel->reads_out && is_last) || node->reader_count > 1;
    for (uint32_t k = 0; k < spec->input_count; k++)
        touch(graph, value_of(graph, spec->inputs[k], turn), tick);
    if (node->plan.keep_count > 0) {
        keep = add_buffer(graph, node->plan.keep_count);
        touch(graph, keep, tick);
    }
    for (; turn < 2; turn++) {
        node->value[turn] = value;
        node->keep[turn] = keep;
    }
}

/* What backward reads has to be there until then. */
static void plan_backward_reads(struct graph *graph, const struct graph_node *node)
{
    const struct op_spec *spec = node->plan.spec;
    touch(graph, node->keep[1], node->backward_tick);
    if (node->kernel->reads_out)
        touch(graph, node->value[1], node->backward_tick);
    for (uint32_t k = 0; node->kernel->reads_in && k < spec->input_count; k++)
        touch(graph, value_of(graph, spec->inputs[k], 1), node->backward_tick);
}

static bool is_last_gradient(const struct graph *graph, const struct graph_node *node,
                             uint32_t which)
{
    for (uint32_t k = which + 1; k < node->plan.spec->input_count; k++)
        if (graph_input_has_gradient(graph, node, k))
            return false;
    return true;
}

static size_t largest_input(const struct graph_node *node)
{
    size_t largest = 0;
    for (uint32_t k = 0; k < node->plan.spec->input_count; k++)
        if (node->plan.in_counts[k] > largest)
            largest = node->plan.in_counts[k];
    return largest;
}

/* Where the gradient of input `which` goes.  Operators come last to first: the first to arrive at a
 * value writes, the others add. */
static void plan_in_grad(struct graph *graph, size_t idx, uint32_t which)
{
    struct graph_node *node = &graph->nodes[idx];
    struct graph_node *from = &graph->nodes[node->plan.spec->inputs[which]];
    size_t tick = node->backward_tick;
    if (from->grad == GRAPH_NO_BUFFER) {
        /* Over the output's gradient, where no other input's still has to be made of that. */
        from->grad = node->kernel->can_overwrite && is_last_gradient(graph, node, which)
                         ? node->grad
                         : add_buffer(graph, node->plan.in_counts[which]);
        touch(graph, from->grad, tick);
        return;
    }
    node->does_add[which] = true;
    touch(graph, from->grad, tick);
    if (node->kernel->can_add)
        return;
    if (node->addend == GRAPH_NO_BUFFER)
        node->addend = add_buffer(graph, largest_input(node));
    touch(graph, node->addend, tick);
}

static void plan_grad(struct graph *graph, size_t idx)
{
    struct graph_node *node = &graph->nodes[idx];
    if (!node->has_gradient)
        return;
    touch(graph, node->grad, node->backward_tick);
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

/* Buffers and their places for at most so many segments. */
static int plan_segments(struct graph *graph, size_t wanted, struct err_msg *why)
{
    size_t last = graph->node_count - 1;
    int err = graph_cut_segments(graph, wanted, why);
    if (err != 0)
        return err;
    graph->buffer_count = graph->arena_count = 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        struct graph_node *node = &graph->nodes[i];
        node->grad = node->addend = GRAPH_NO_BUFFER;
        memset(node->does_add, 0, sizeof(node->does_add));
        plan_forward(graph, i, 0);
    }
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].is_again)
            plan_forward(graph, i, 1);
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].has_gradient)
            plan_backward_reads(graph, &graph->nodes[i]);
    graph->nodes[last].grad = add_buffer(graph, graph->nodes[last].plan.out_count);
    touch(graph, graph->nodes[last].grad, graph->node_count);
    touch(graph, graph->nodes[last].value[0], graph->node_count);
    for (size_t i = graph->node_count; i > 0; i--)
        plan_grad(graph, i - 1);
    return place_buffers(graph, why);
}

int graph_plan_buffers(struct graph *graph, struct err_msg *why)
{
    /* A node has at most two values, two keeps, an addend, and a gradient of its output. */
    graph->buffers = calloc(6 * graph->node_count, sizeof(*graph->buffers));
    if (!graph->buffers)
        return err_set(why, ERR_NOMEM, "out of memory");
    size_t most = graph->does_recompute ? SEGMENTS_MAX : 1, best = 1, least = SIZE_MAX;
    for (size_t wanted = 1; wanted <= most; wanted++) {
        int err = plan_segments(graph, wanted, why);
        if (err != 0)
            return err;
        if (graph->arena_count < least) {
            least = graph->arena_count;
            best = wanted;
        }
    }
    return best == most ? 0 : plan_segments(graph, best, why);
}
