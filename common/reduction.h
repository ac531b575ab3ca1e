#ifndef COMMON_REDUCTION_H
#define COMMON_REDUCTION_H

/* reduction - the sum of one block's gradients over the lanes of one step, along the fixed tree.
 *
 * Nodes arrive in any order, perhaps twice, perhaps made under different deals of the lanes; two
 * siblings are added as soon as both are there, so the sum's bits depend on the tree alone.  A
 * worker reduces the subtrees of its own lanes, a shard the whole tree.
 *
 * Shapes:   every sum: the block's elements, f32.
 * Owner:    the block's holder.  Thread: the holder's.
 * Memory:   one buffer a node that waits for its sibling; the table of nodes grows to the most
 *           seen.
 * Source:   design: the one idea.
 * Surprise: sums are added in place, in the buffers they arrived in.
 */
#include "common/buffer.h"
#include "common/lane.h"

struct reduction_node;

/* Valid when zeroed. */
struct reduction {
    struct reduction_node *nodes; /* disjoint; no two are siblings */
    size_t count, capacity;
};

/* Takes over sum, always.  The caller has checked that node is one of the tree's and that sum has
 * the block's size.  ERR_STALE, and nothing changes, when the node's lanes are there already;
 * ERR_NOMEM. */
MUST_USE int reduction_add(struct reduction *reduction, struct lane_node node, struct buffer *sum);

/* The sum of exactly this node, handed over to the caller; NULL while it is not whole. */
struct buffer *reduction_take(struct reduction *reduction, struct lane_node node);

/* The same question without taking. */
bool reduction_has(const struct reduction *reduction, struct lane_node node);

/* The first run of lanes, of lane_count, that no sum has; it need not be a node of the tree.
 * False: all are there. */
bool reduction_first_gap(const struct reduction *reduction, uint32_t lane_count,
                         struct lane_node *gap_out);

/* Drops all sums and keeps the table. */
void reduction_clear(struct reduction *reduction);

/* Clears and frees. */
void reduction_free(struct reduction *reduction);

/* Bytes in waiting sums. */
size_t reduction_held_bytes(const struct reduction *reduction);

#endif
