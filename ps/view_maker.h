#ifndef PS_VIEW_MAKER_H
#define PS_VIEW_MAKER_H

/* view_maker - makes the view of a run from its members: places blocks, deals lanes.
 *
 * Owner:    the coordinator.  Thread: its loop's.
 * Memory:   all arrays of the view; view_free gives them back.
 * Surprise: members are taken in the order of their ranks, so a view does not depend on who came
 *           first.
 */
#include "ps/members.h"

/* Fills shards, workers, block_shard, lane_worker of view, whose layout is set (borrowed).
 * ERR_NOMEM, and then view_free is to be called all the same. */
MUST_USE int view_make(const struct members *members, uint32_t lane_count, struct view *view);
void view_free(struct view *view);

#endif
