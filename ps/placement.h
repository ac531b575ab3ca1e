#ifndef PS_PLACEMENT_H
#define PS_PLACEMENT_H

/* placement - which shard is primary, backup or learner of which block, and what is to move next.
 *
 * Blocks are dealt largest first, each to the shard that has the least load so far, so the first
 * deal depends on the layout and the number of shards alone.  From then on a block only goes where
 * it has been filled: a plan names learners, and placement_filled lets them take their places.
 *
 * A block's load is half its bytes and half the traffic measured of it, both as shares of all; as
 * long as nobody has said otherwise (placement_warm) traffic is in proportion to bytes.  Only
 * half, so that by traffic no shard comes to be primary of more than about twice the mean of
 * bytes.  What shards are backup of is evened out by bytes: it is memory more than traffic.
 *
 * Shapes:   primary, backup, learner, is_move, since, heat: [layout->block_count]; shards by
 *           incarnation, 0: none.
 * Owner:    the coordinator.  Thread: its loop's.
 * Memory:   the arrays.
 * Source:   Graham, "Bounds on multiprocessing timing anomalies", 1969 (LPT: within 4/3 of best).
 * Surprise: none.
 */
#include <stdbool.h>
#include "common/layout.h"

/* A shard that blocks may lie on. */
struct place {
    uint64_t id;   /* incarnation */
    uint32_t rank; /* of its process: a backup is of another */
    bool is_leaving;
};

enum { HEAT_ONE = 1024 };

struct places {
    const struct place *items;
    size_t count;
};

/* Zeroed before placement_create. */
struct placement {
    const struct layout *layout; /* borrowed */
    bool has_replicas; /* each block is to have a backup */
    uint64_t *primary, *backup, *learner;
    bool *is_move;     /* the learner is to be primary, not backup */
    uint32_t *since;   /* number of the view that first names the learner */
    uint32_t *heat;    /* traffic a byte, over the mean of all blocks, in parts of HEAT_ONE */
    uint64_t change_count; /* of who has what, so far */
};

MUST_USE int placement_create(struct placement *placement, const struct layout *layout);
void placement_free(struct placement *placement);

/* All blocks anew: for the first view and after a return to a checkpoint.  ERR_NOMEM; ERR_INPUT
 * without a place. */
MUST_USE int placement_deal(struct placement *placement, struct places places);

/* Backups take over from primaries that are in none of these places; learners that are not there
 * are forgotten, and backups of a primary that is.  When primary and backup are both missing they
 * are kept in mind: either has all that was answered, and may come back.  Returns whether anything
 * changed. */
bool placement_lose(struct placement *placement, struct places places);

/* Blocks whose primary is in none of these places. */
size_t placement_orphans(const struct placement *placement, struct places places);

/* What makes things better, one stage at a time: empties places that are left, gives blocks without
 * a backup a learner, evens out loads.  view: number of the view that will say so.  Returns whether
 * anything changed; ERR_NOMEM as a negative number. */
MUST_USE int placement_plan(struct placement *placement, struct places places, uint32_t view);

/* The block's learner has all that its primary has, says the primary.  view: of that message.
 * False when it speaks of an earlier learner or an earlier primary. */
bool placement_filled(struct placement *placement, size_t block_idx, uint64_t primary,
                      uint32_t view);

/* Whoever the block's primary waits for does not answer it, says the primary: the block goes on
 * alone until it is given another backup.  False when it has nobody, or another primary. */
bool placement_go_alone(struct placement *placement, size_t block_idx, uint64_t primary);

/* The traffic to be expected of a shard as primary, as a share of all of it; 0: it is of none. */
double placement_traffic(const struct placement *placement, uint64_t primary);

/* What this shard is primary of has `factor` times the traffic that was thought.  Heat stays with
 * the blocks wherever they go. */
void placement_warm(struct placement *placement, uint64_t primary, double factor);

/* Some block is being filled. */
bool placement_is_filling(const struct placement *placement);

/* Every block has a backup. */
bool placement_is_protected(const struct placement *placement);

/* Some block has this shard as anything. */
bool placement_uses(const struct placement *placement, uint64_t id);

#endif
