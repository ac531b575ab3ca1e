#ifndef PS_TRAFFIC_H
#define PS_TRAFFIC_H

/* traffic - which shards have more or less traffic than their bytes, told from their counters.
 *
 * A beat counts a shard's bytes in and out as a whole.  They are compared over windows of some
 * seconds and steps in which no block moved; a shard's excess is its traffic over that expected of
 * its blocks, by the median of all shards.  Only when it is beyond a quarter, on the same side in
 * three windows one after another, its blocks are warmed or cooled by the least of the three, and
 * the next plan evens out.  In bsp traffic is in proportion to bytes, and what else a machine does
 * comes and goes: then nothing moves.  Each time blocks were warmed twice as many windows are asked
 * for: a move costs the copy of a block, and traffic that changes all the time is not worth it.
 *
 * Owner:    the coordinator.  Thread: its loop's.
 * Memory:   none but itself; marks are in struct member.
 * Surprise: after a coordinator's death all of it is measured anew.
 */
#include "ps/members.h"
#include "ps/placement.h"

/* Valid when zeroed. */
struct traffic {
    uint64_t begin_ms, begin_step;
    uint64_t change_count; /* the placement's, at the window's begin */
    uint32_t window_count; /* asked for; 0: none were judged yet */
    bool is_begun;
};

/* To be called now and then, with the step that is done.  Returns whether blocks were warmed. */
bool traffic_watch(struct traffic *traffic, struct members *members, struct placement *placement,
                   uint64_t step, uint64_t now_ms);

#endif
