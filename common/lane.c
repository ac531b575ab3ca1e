#include "common/lane.h"

static uint32_t node_size(struct lane_node node)
{
    return node.end - node.begin;
}

bool lane_node_is_valid(struct lane_node node, uint32_t lane_count)
{
    if (node.begin >= node.end || node.end > lane_count)
        return false;
    uint32_t size = node_size(node);
    return (size & (size - 1)) == 0 && node.begin % size == 0;
}

bool lane_node_covers(struct lane_node outer, struct lane_node inner)
{
    return outer.begin <= inner.begin && inner.end <= outer.end;
}

struct lane_node lane_node_parent(struct lane_node node)
{
    uint32_t size = 2 * node_size(node);
    uint32_t begin = node.begin - node.begin % size;
    return (struct lane_node){begin, begin + size};
}

struct lane_node lane_node_sibling(struct lane_node node)
{
    uint32_t size = node_size(node);
    uint32_t begin = node.begin ^ size;
    return (struct lane_node){begin, begin + size};
}

struct lane_node lane_node_within(struct lane_node run, uint32_t lane)
{
    struct lane_node node = {lane, lane + 1};
    while (true) {
        struct lane_node parent = lane_node_parent(node);
        if (!lane_node_covers(run, parent))
            return node;
        node = parent;
    }
}

struct lane_node lane_share(uint32_t lane_count, uint32_t idx, uint32_t member_count)
{
    uint64_t begin = (uint64_t)lane_count * idx / member_count;
    uint64_t end = (uint64_t)lane_count * (idx + 1) / member_count;
    return (struct lane_node){(uint32_t)begin, (uint32_t)end};
}
