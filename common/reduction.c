#include "common/reduction.h"

#include <assert.h>
#include <stdlib.h>
#include "common/vector_math.h"

struct reduction_node {
    struct lane_node node;
    struct buffer *sum;
};

static void drop(struct reduction *reduction, size_t idx)
{
    reduction->nodes[idx] = reduction->nodes[--reduction->count];
}

static size_t find(const struct reduction *reduction, struct lane_node node)
{
    for (size_t i = 0; i < reduction->count; i++)
        if (reduction->nodes[i].node.begin == node.begin &&
            reduction->nodes[i].node.end == node.end)
            return i;
    return reduction->count;
}

static bool is_covered(const struct reduction *reduction, struct lane_node node)
{
    for (size_t i = 0; i < reduction->count; i++)
        if (lane_node_covers(reduction->nodes[i].node, node))
            return true;
    return false;
}

static void drop_covered(struct reduction *reduction, struct lane_node node)
{
    for (size_t i = reduction->count; i-- > 0;) {
        if (!lane_node_covers(node, reduction->nodes[i].node))
            continue;
        buffer_unref(reduction->nodes[i].sum);
        drop(reduction, i);
    }
}

static int reserve(struct reduction *reduction)
{
    if (reduction->count < reduction->capacity)
        return 0;
    size_t capacity = reduction->capacity == 0 ? 4 : 2 * reduction->capacity;
    struct reduction_node *nodes = realloc(reduction->nodes, capacity * sizeof(*nodes));
    if (nodes == NULL)
        return ERR_NOMEM;
    reduction->nodes = nodes;
    reduction->capacity = capacity;
    return 0;
}

/* Addition of two floats gives the same bits in either order, so it does not matter which of the
 * two siblings' buffers takes the sum. */
static struct buffer *add_siblings(struct buffer *kept, struct buffer *gone)
{
    assert(kept->size_bytes == gone->size_bytes);
    vector_add(kept->data, gone->data, kept->size_bytes / sizeof(float));
    buffer_unref(gone);
    return kept;
}

int reduction_add(struct reduction *reduction, struct lane_node node, struct buffer *sum)
{
    int err = is_covered(reduction, node) ? ERR_STALE : 0;
    if (err == 0) {
        drop_covered(reduction, node);
        err = reserve(reduction);
    }
    if (err != 0) {
        buffer_unref(sum);
        return err;
    }
    size_t idx;
    while ((idx = find(reduction, lane_node_sibling(node))) < reduction->count) {
        sum = add_siblings(sum, reduction->nodes[idx].sum);
        drop(reduction, idx);
        node = lane_node_parent(node);
    }
    reduction->nodes[reduction->count++] = (struct reduction_node){node, sum};
    return 0;
}

bool reduction_has(const struct reduction *reduction, struct lane_node node)
{
    return find(reduction, node) < reduction->count;
}

/* The first lane from `lane` on that no sum has. */
static uint32_t skip_covered(const struct reduction *reduction, uint32_t lane)
{
    for (size_t i = 0; i < reduction->count;)
        if (reduction->nodes[i].node.begin <= lane && lane < reduction->nodes[i].node.end) {
            lane = reduction->nodes[i].node.end;
            i = 0;
        } else {
            i++;
        }
    return lane;
}

bool reduction_first_gap(const struct reduction *reduction, uint32_t lane_count,
                         struct lane_node *gap_out)
{
    struct lane_node gap = {skip_covered(reduction, 0), lane_count};
    if (gap.begin >= lane_count)
        return false;
    for (size_t i = 0; i < reduction->count; i++)
        if (reduction->nodes[i].node.begin > gap.begin && reduction->nodes[i].node.begin < gap.end)
            gap.end = reduction->nodes[i].node.begin;
    *gap_out = gap;
    return true;
}

struct buffer *reduction_take(struct reduction *reduction, struct lane_node node)
{
    size_t idx = find(reduction, node);
    if (idx == reduction->count)
        return NULL;
    struct buffer *sum = reduction->nodes[idx].sum;
    drop(reduction, idx);
    return sum;
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
