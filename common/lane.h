#ifndef COMMON_LANE_H
#define COMMON_LANE_H

/* lane - the fixed binary tree over the lanes of a step.
 *
 * Lanes are numbered 0 .. lane_count-1, lane_count a power of two.  A node is an aligned run of a
 * power of two of them: node (0,8) has the children (0,4) and (4,8), a leaf is one lane.  Two nodes
 * are nested or disjoint, never partly over each other.
 *
 * Owner:    values.  Thread: no state.  Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Half-open range of lanes. */
struct lane_node {
    uint32_t begin, end;
};

/* A node of the tree over lane_count lanes. */
bool lane_node_is_valid(struct lane_node node, uint32_t lane_count);

/* outer has all lanes of inner. */
bool lane_node_covers(struct lane_node outer, struct lane_node inner);

struct lane_node lane_node_parent(struct lane_node node);

/* The other child of the parent. */
struct lane_node lane_node_sibling(struct lane_node node);

/* The largest node that has `lane` and lies within run. */
struct lane_node lane_node_within(struct lane_node run, uint32_t lane);

/* Lanes of member idx of member_count when lane_count lanes are dealt evenly, in order. */
struct lane_node lane_share(uint32_t lane_count, uint32_t idx, uint32_t member_count);

#endif
