#ifndef PS_VIEW_MAKER_H
#define PS_VIEW_MAKER_H

/* view_maker - writes down as a view who is there, where blocks lie and who has which lane.
 *
 * Owner:    the coordinator.  Thread: its loop's.
 * Memory:   all arrays of the view; view_free gives them back.
 * Surprise: members are taken in the order of their ranks, so a view does not depend on who came
 *           first.
 */
#include "ps/members.h"
#include "ps/placement.h"

/* Replaces the arrays of view: members that are not gone, the placement's shards by index, and
 * lane_owner [lane_count], worker ids.  The view's other fields stay.  ERR_NOMEM, and then it is as
 * it was. */
MUST_USE int view_make(const struct members *members, const struct placement *placement,
                       const uint64_t *lane_owner, uint32_t lane_count, struct view *view);

/* A lasting copy of a received view, but for its layout.  ERR_NOMEM. */
MUST_USE int view_copy(const struct view *from, struct view *to);
void view_free(struct view *view);

/* The member's index in the view, or NOBODY. */
uint32_t view_shard_idx(const struct view *view, uint64_t id);
uint32_t view_worker_idx(const struct view *view, uint64_t id);

#endif
