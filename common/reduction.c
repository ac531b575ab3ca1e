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

static bool is_writable(const struct buffer *sum)
{
    return !sum->is_read_only && buffer_is_sole(sum);
}

/* Addition of two floats gives the same bits in either order, so it does not matter which of the
 * two takes the sum. */
int reduction_join(struct buffer *parts[2], struct buffer_pool *pool)
{
    struct buffer *a = parts[0], *b = parts[1];
    if (b == NULL)
        return 0;
    assert(a->size_bytes == b->size_bytes);
    size_t count = a->size_bytes / sizeof(float);
    parts[1] = NULL;
    if (is_writable(a)) {
        vector_add(a->data, b->data, count);
        buffer_unref(b);
        return 0;
    }
    if (is_writable(b)) {
        vector_add(b->data, a->data, count);
        parts[0] = b;
        buffer_unref(a);
        return 0;
    }
    struct buffer *fresh = pool == NULL ? NULL : buffer_pool_take(pool, a->size_bytes);
    if (fresh == NULL) {
        parts[1] = b;
        return ERR_NOMEM;
    }
    vector_sum(fresh->data, a->data, b->data, count);
    parts[0] = fresh;
    buffer_unref(a);
    buffer_unref(b);
    return 0;
}

static bool is_open_root(const struct reduction *reduction, struct lane_node node)
{
    return reduction->open_lanes > 1 && node.begin == 0 && node.end == reduction->open_lanes;
}

/* The two nodes below an open root. */
static void halves(struct lane_node root, struct lane_node halves_out[2])
{
    halves_out[0] = (struct lane_node){0, root.end / 2};
    halves_out[1] = (struct lane_node){root.end / 2, root.end};
}

/* The place of the node's sibling, if the two are to be added. */
static size_t find_sibling(const struct reduction *reduction, struct lane_node node)
{
    if (is_open_root(reduction, lane_node_parent(node)))
        return reduction->count;
    return find(reduction, lane_node_sibling(node));
}

int reduction_add(struct reduction *reduction, struct lane_node node, struct buffer *sum,
                  struct buffer_pool *pool)
{
    bool is_here = is_covered(reduction, node) || reduction_has(reduction, node);
    int err = is_here ? ERR_STALE : 0;
    struct buffer *parts[2] = {sum, NULL};
    size_t idx;
    if (err == 0) {
        drop_covered(reduction, node);
        err = reserve(reduction);
    }
    while (err == 0 && (idx = find_sibling(reduction, node)) < reduction->count) {
        parts[1] = reduction->nodes[idx].sum;
        drop(reduction, idx);
        err = reduction_join(parts, pool);
        node = lane_node_parent(node);
        if (err == 0)
            codec_round_node(&reduction->grid, node, parts[0]->data,
                             parts[0]->size_bytes / sizeof(float));
    }
    if (err == 0) {
        reduction->nodes[reduction->count++] = (struct reduction_node){node, parts[0]};
        return 0;
    }
    buffer_unref(parts[0]);
    buffer_unref(parts[1]);
    return err;
}

bool reduction_has(const struct reduction *reduction, struct lane_node node)
{
    struct lane_node half[2];
    if (find(reduction, node) < reduction->count)
        return true;
    halves(node, half);
    return is_open_root(reduction, node) && find(reduction, half[0]) < reduction->count &&
           find(reduction, half[1]) < reduction->count;
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

bool reduction_take_parts(struct reduction *reduction, struct lane_node node,
                          struct buffer *parts_out[2])
{
    struct lane_node half[2];
    if (!reduction_has(reduction, node))
        return false;
    parts_out[0] = reduction_take(reduction, node);
    parts_out[1] = NULL;
    if (parts_out[0] != NULL)
        return true;
    halves(node, half);
    for (size_t i = 0; i < 2; i++)
        parts_out[i] = reduction_take(reduction, half[i]);
    return true;
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
