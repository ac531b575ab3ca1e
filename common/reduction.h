#ifndef COMMON_REDUCTION_H
#define COMMON_REDUCTION_H

/* reduction - the sum of one block's gradients over the lanes of one step, along the fixed tree.
 *
 * Nodes arrive in any order, perhaps twice, perhaps made under different deals of the lanes; two
 * siblings are added, and the sum rounded as the job's codec has it, as soon as both are there, so
 * the sum's bits depend on the tree alone.  A
 * worker reduces the subtrees of its own lanes, a shard the whole tree; the shard's optimizer makes
 * the last addition of all while it reads.
 *
 * Shapes:   every sum: the block's elements, f32.
 * Owner:    the block's holder.  Thread: the holder's.
 * Memory:   one buffer a node that waits for its sibling; the table of nodes grows to the most
 *           seen.
 * Source:   design: the one idea.
 * Surprise: sums are added in place, in a buffer that they arrived in, if one of the two is nobody
 *           else's and may be written; only else in one of the pool's.
 */
#include "common/buffer.h"
#include "common/codec.h"

struct reduction_node;

/* Valid when zeroed. */
struct reduction {
    struct reduction_node *nodes; /* disjoint; siblings only below an open root */
    size_t count, capacity;
    uint32_t open_lanes; /* of the tree whose root is left as two summands; 0: none is left so */
    struct codec_grid grid; /* what sums are rounded to; its step is of the sums in work */
};

/* Takes over sum, always.  The caller has checked that node is one of the tree's and that sum has
 * the block's size.  ERR_STALE, and nothing changes, when the node's lanes are there already;
 * ERR_NOMEM, when some that were there may be gone. */
MUST_USE int reduction_add(struct reduction *reduction, struct lane_node node, struct buffer *sum,
                           struct buffer_pool *pool);

/* The sum of exactly this node, handed over to the caller; NULL while it is not whole.  Not for an
 * open root. */
struct buffer *reduction_take(struct reduction *reduction, struct lane_node node);

/* The same of any node: one buffer and NULL, or the two whose sum it is.  False: not whole. */
bool reduction_take_parts(struct reduction *reduction, struct lane_node node,
                          struct buffer *parts_out[2]);

/* Adds what reduction_take_parts gave: parts become the sum and NULL.  ERR_NOMEM, and parts are as
 * they were. */
MUST_USE int reduction_join(struct buffer *parts[2], struct buffer_pool *pool);

/* The sum of this node is whole. */
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
