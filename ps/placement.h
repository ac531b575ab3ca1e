#ifndef PS_PLACEMENT_H
#define PS_PLACEMENT_H

/* placement - which shard has which block: as even in bytes as the blocks allow.
 *
 * Blocks are dealt largest first, each to the shard that has the fewest bytes so far (the lowest
 * index among equals), so the result depends on the layout and the number of shards alone.
 *
 * Shapes:   block_shard: [layout->block_count].
 * Owner:    the caller.  Thread: no state.
 * Source:   Graham, "Bounds on multiprocessing timing anomalies", 1969 (LPT: within 4/3 of best).
 * Surprise: none.
 */
#include "common/layout.h"

MUST_USE int placement_deal(const struct layout *layout, size_t shard_count, uint32_t *block_shard);

#endif
