/* The reduction as other systems do it: nodes are added in the order they arrived.  Linked in
 * place of common/reduction.c, it must make the sim's digests differ: the test that runs it is
 * expected to fail. */
#include "common/reduction.h"

#include <stdlib.h>
#include "common/vector_math.h"

struct reduction_node {
    struct lane_node node;
    struct buffer *sum;
};

static uint32_t lanes_within(const struct reduction *reduction, struct lane_node node)
{
    uint32_t lanes = 0;
    for (size_t i = 0; i < reduction->count; i++)
        if (lane_node_covers(node, reduction->nodes[i].node))
            lanes += reduction->nodes[i].node.end - reduction->nodes[i].node.begin;
    return lanes;
}

int reduction_add(struct reduction *reduction, struct lane_node node, struct buffer *sum,
                  struct buffer_pool *pool)
{
    (void)pool;
    struct reduction_node *nodes =
        realloc(reduction->nodes, (reduction->count + 1) * sizeof(*nodes));
    if (nodes == NULL) {
        buffer_unref(sum);
        return ERR_NOMEM;
    }
    reduction->nodes = nodes;
    nodes[reduction->count++] = (struct reduction_node){node, sum};
    return 0;
}

bool reduction_has(const struct reduction *reduction, struct lane_node node)
{
    return lanes_within(reduction, node) == node.end - node.begin;
}

struct buffer *reduction_take(struct reduction *reduction, struct lane_node node)
{
    if (!reduction_has(reduction, node))
        return NULL;
    struct buffer *total = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < reduction->count; i++) {
        struct reduction_node *entry = &reduction->nodes[i];
        if (!lane_node_covers(node, entry->node)) {
            reduction->nodes[kept++] = *entry;
        } else if (total == NULL) {
            total = entry->sum;
        } else {
            vector_add(total->data, entry->sum->data, total->size_bytes / sizeof(float));
            buffer_unref(entry->sum);
        }
    }
    reduction->count = kept;
    return total;
}

bool reduction_take_parts(struct reduction *reduction, struct lane_node node,
                          struct buffer *parts_out[2])
{
    parts_out[0] = reduction_take(reduction, node);
    parts_out[1] = NULL;
    return parts_out[0] != NULL;
}

int reduction_join(struct buffer *parts[2], struct buffer_pool *pool)
{
    (void)pool;
    return parts[1] == NULL ? 0 : ERR_INPUT;
}

bool reduction_first_gap(const struct reduction *reduction, uint32_t lane_count,
                         struct lane_node *gap_out)
{
    for (uint32_t lane = 0; lane < lane_count; lane++) {
        bool is_covered = false;
        for (size_t i = 0; i < reduction->count; i++)
            is_covered = is_covered || (reduction->nodes[i].node.begin <= lane &&
                                        lane < reduction->nodes[i].node.end);
        *gap_out = (struct lane_node){lane, lane + 1};
        if (!is_covered)
            return true;
    }
    return false;
}

void reduction_clear(struct reduction *reduction)
{
    for (size_t i = 0; i < reduction->count; i++)
        buffer_unref(reduction->nodes[i].sum);
    reduction->count = 0;
}

void reduction_free(struct reduction *reduction)
{
    reduction_clear(reduction);
    free(reduction->nodes);
    *reduction = (struct reduction){0};
}

size_t reduction_held_bytes(const struct reduction *reduction)
{
    size_t bytes = 0;
    for (size_t i = 0; i < reduction->count; i++)
        bytes += reduction->nodes[i].sum->size_bytes;
    return bytes;
}
