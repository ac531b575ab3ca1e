#ifndef PS_SHARD_REPLICA_H
#define PS_SHARD_REPLICA_H

/* shard_replica - the copies of a block on other shards, as its primary knows them, and the updates
 * that they have not confirmed yet.
 *
 * A replica is sent the block's state (not if it began with it), then every update in order.  From
 * its first confirmation on, a backup from its naming on, nothing is answered before it has it.
 *
 * Owner:    the block.  Thread: its shard's.
 * Memory:   one sum an unconfirmed update, at most REPLICA_UPDATES_MAX a block.
 * Surprise: none; what is sent when is shard_feed's business.
 */
#include "common/buffer.h"
#include "common/codec.h"
#include "common/lane.h"

enum { REPLICAS_MAX = 2, REPLICA_UPDATES_MAX = 64 };

struct replica {
    uint64_t id;    /* incarnation; 0: nobody */
    uint32_t since; /* view that named it: what it said under an earlier one is void */
    bool is_learner;
    bool is_sent;      /* has been sent the block's state, or began with it */
    bool is_confirmed; /* acked has been heard */
    bool is_counted;   /* answers wait for it */
    uint64_t acked;    /* version it has */
    uint64_t from;     /* version of the state it was sent */
    uint64_t goal;     /* a learner that has this version is filled */
    uint64_t sent_ms, wait_ms; /* since when, and how long, something is awaited from it */
    uint64_t silent_ms;        /* since when it owes a confirmation */
    uint64_t filled_ms, alarm_ms; /* when the coordinator was last told */
    size_t filling_bytes;      /* of its state, on the way */
};

/* What made version log_begin + i the next one. */
struct replica_update {
    struct buffer *sum; /* as it goes on the wire; NULL: left out */
    enum codec_kind codec;
    struct lane_node lanes;
};

/* Valid when zeroed. */
struct replicas {
    struct replica items[REPLICAS_MAX];
    struct replica_update *log; /* NULL before the first */
    uint64_t log_begin;
    size_t log_count;
};

void replicas_free(struct replicas *replicas);

/* The replica on that shard, or NULL. */
struct replica *replicas_find(struct replicas *replicas, uint64_t id);

/* It has confirmed that it has the version. */
bool replica_has(const struct replica *replica, uint64_t version);

/* All that are counted have. */
bool replicas_have(const struct replicas *replicas, uint64_t version);

/* Room for one more update, of `most` (at most REPLICA_UPDATES_MAX).  A replica that has never
 * confirmed anything does not keep the block from going on: it is to be sent the state anew. */
bool replicas_make_room(struct replicas *replicas, size_t most);

/* Somebody is to be sent what makes the next version. */
bool replicas_are_fed(const struct replicas *replicas);

/* Of the sums that are kept. */
size_t replicas_log_bytes(const struct replicas *replicas);

/* Remembers what made `version` the next one, if anybody is to be sent it; sum may be NULL.
 * ERR_NOMEM.  There is room. */
MUST_USE int replicas_log(struct replicas *replicas, uint64_t version,
                          const struct replica_update *update);

/* The update of that version, or NULL when it is not kept. */
const struct replica_update *replicas_logged(const struct replicas *replicas, uint64_t version);

/* Drops updates that nobody needs any more. */
void replicas_trim(struct replicas *replicas);

#endif
