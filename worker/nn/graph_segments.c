#include "worker/nn/graph_plan.h"

#include <stdlib.h>
#include <string.h>

/* What the choice of segments takes. */
struct cutter {
    struct graph *graph;
    size_t *last_reader; /* [node_count]: the last operator that reads its output, or itself */
    bool *is_needed;     /* [node_count]: its value or what it keeps, by the segment's backward */
};

static void find_readers(struct cutter *cutter)
{
    for (size_t i = 0; i < cutter->graph->node_count; i++) {
        const struct op_spec *spec = cutter->graph->nodes[i].plan.spec;
        cutter->last_reader[i] = i;
        for (uint32_t k = 0; k < spec->input_count; k++)
            if (spec->inputs[k] >= 0)
                cutter->last_reader[spec->inputs[k]] = i;
    }
}

static uint64_t stored_count(const struct graph_node *node)
{
    return node->plan.out_count + node->plan.keep_count;
}

/* Cuts behind operators whose output alone is read later, so that each segment stores about the
 * same. */
static void cut(struct cutter *cutter, size_t wanted)
{
    struct graph *graph = cutter->graph;
    uint64_t total = 0, stored = 0;
    size_t reach = 0; /* how far outputs of operators before this one are read */
    for (size_t i = 0; i < graph->node_count; i++)
        total += stored_count(&graph->nodes[i]);
    graph->segment_count = 1;
    graph->segment_begin[0] = 0;
    for (size_t i = 0; i + 1 < graph->node_count; i++) {
        stored += stored_count(&graph->nodes[i]);
        if (reach <= i && graph->nodes[i].has_gradient && graph->segment_count < wanted &&
            stored * wanted >= total * graph->segment_count)
            graph->segment_begin[graph->segment_count++] = i + 1;
        if (cutter->last_reader[i] > reach)
            reach = cutter->last_reader[i];
    }
    graph->segment_begin[graph->segment_count] = graph->node_count;
}

static void need_inputs(struct cutter *cutter, const struct graph_node *node)
{
    const struct op_spec *spec = node->plan.spec;
    for (uint32_t k = 0; k < spec->input_count; k++)
        if (spec->inputs[k] >= 0)
            cutter->is_needed[spec->inputs[k]] = true;
}

/* All but the last operator of a segment, whose output was kept, and but what nobody needs. */
static void mark_again(struct cutter *cutter, size_t begin, size_t end)
{
    struct graph_node *nodes = cutter->graph->nodes;
    for (size_t i = begin; i < end; i++) {
        const struct op_kernel *kernel = nodes[i].kernel;
        if (!nodes[i].has_gradient)
            continue;
        cutter->is_needed[i] |= kernel->reads_out || nodes[i].plan.keep_count > 0;
        if (kernel->reads_in)
            need_inputs(cutter, &nodes[i]);
    }
    for (size_t i = end - 1; i-- > begin;) {
        nodes[i].is_again = cutter->is_needed[i];
        nodes[i].again_at = end - 1;
        if (nodes[i].is_again)
            need_inputs(cutter, &nodes[i]);
    }
}

/* A cheap operator of the last segment and the relu that was left to it, for backward of the one
 * that reads the relu.  What they are made of is there: the cheap operator's backward reads it. */
static void mark_cheap(const struct cutter *cutter, size_t begin)
{
    struct graph_node *nodes = cutter->graph->nodes;
    for (size_t i = begin + 1; i < cutter->graph->node_count; i++) {
        const struct op_plan *relu = &nodes[i].plan;
        size_t reader = cutter->last_reader[i];
        if (relu->spec->kind != OP_RELU || !relu->fused_relu ||
            relu->spec->inputs[0] < (int32_t)begin || nodes[i].reader_count != 1 ||
            !nodes[reader].kernel->reads_in)
            continue;
        struct graph_node *from = &nodes[relu->spec->inputs[0]];
        int32_t source = from->plan.spec->inputs[0];
        if (!from->kernel->is_cheap || !from->has_gradient ||
            (source >= 0 && nodes[source].is_again))
            continue;
        from->is_again = nodes[i].is_again = true;
        from->again_at = nodes[i].again_at = reader;
    }
}

static void count_ticks(struct graph *graph)
{
    uint32_t tick = (uint32_t)graph->node_count; /* the loss */
    for (size_t s = graph->segment_count; s-- > 0;) {
        size_t begin = graph->segment_begin[s];
        for (size_t i = graph->segment_begin[s + 1]; i-- > begin;) {
            for (size_t k = begin; k < i; k++)
                if (graph->nodes[k].is_again && graph->nodes[k].again_at == i)
                    graph->nodes[k].again_tick = ++tick;
            graph->nodes[i].backward_tick = ++tick;
        }
    }
}

int graph_cut_segments(struct graph *graph, size_t wanted, struct err_msg *why)
{
    size_t count = graph->node_count;
    struct cutter cutter = {graph, calloc(count, sizeof(size_t)), calloc(count, sizeof(bool))};
    if (graph->segment_begin == NULL)
        graph->segment_begin = calloc(count + 1, sizeof(*graph->segment_begin));
    if (cutter.last_reader == NULL || cutter.is_needed == NULL || graph->segment_begin == NULL) {
        free(cutter.last_reader);
        free(cutter.is_needed);
        return err_set(why, ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < count; i++)
        graph->nodes[i].is_again = false;
    find_readers(&cutter);
    cut(&cutter, wanted);
    for (size_t s = 0; s + 1 < graph->segment_count; s++)
        mark_again(&cutter, graph->segment_begin[s], graph->segment_begin[s + 1]);
    mark_cheap(&cutter, graph->segment_begin[graph->segment_count - 1]);
    count_ticks(graph);
    free(cutter.last_reader);
    free(cutter.is_needed);
    return 0;
}
