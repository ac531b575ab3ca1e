#ifndef PROTO_VIEW_H
#define PROTO_VIEW_H

/* view - the coordinator's numbered statement of who is there and who has what, and the greeting
 * that a member sends to be in it.
 *
 * Shapes:   block_shard, block_backup, block_learner: [block_count] index into shards, or NOBODY;
 *           lane_worker: [lane_count] index into workers, or NOBODY.
 * Owner:    the coordinator of the one it made; a receiver borrows it with the message.
 * Memory:   arrays are borrowed; view_copy makes a lasting one.  Thread: one.
 * Surprise: layout is NULL in a view for a worker, who made it, and for a shard that has had it;
 *           that of a hello from a wire is described, not cut (layout_describe).
 */
#include <stdint.h>
#include "common/address.h"
#include "common/early_stop.h"
#include "common/layout.h"

enum {
    HOST_BYTES = 64,
    ENDPOINT_BYTES = 160,
    KERNELS_BYTES = 64,
    VERSION_BYTES = 24,
    HEX_BYTES = 65
};

enum { SHARDS_MAX = 4096, WORKERS_MAX = 4096, LANES_MAX = 1024 };

#define NOBODY UINT32_MAX

struct run_id {
    uint64_t high, low; /* both 0: not known yet */
};

static inline bool run_equal(struct run_id a, struct run_id b)
{
    return a.high == b.high && a.low == b.low;
}

static inline bool run_is_known(struct run_id run)
{
    return run.high != 0 || run.low != 0;
}

struct hello {
    int32_t rank; /* of the server or worker process; -1: give me one */
    uint32_t shard_idx, shard_count; /* within the server process; 0, 0 for a worker */
    uint32_t pid;
    char host[HOST_BYTES];
    char endpoint[ENDPOINT_BYTES]; /* where others reach a shard; empty for a worker */
    char door[DOOR_BYTES];         /* where processes of its host borrow its payloads; or empty */
    char version[VERSION_BYTES];   /* of Talweg; all must have the same */
    char kernels[KERNELS_BYTES];   /* of a worker's matrix products */
    char fingerprint[HEX_BYTES];   /* of the job's settings that decide the weights */
    uint32_t thread_count;
    uint64_t planned_bytes; /* of memory that a worker's steps take */
    uint64_t train_count, test_count; /* samples; a worker's */
    const struct layout *layout;      /* a worker's; NULL for a shard */
};

struct shard_member {
    uint32_t rank, shard_idx;
    uint64_t incarnation;
    char endpoint[ENDPOINT_BYTES];
    char door[DOOR_BYTES];
};

struct worker_member {
    uint32_t rank;
    uint64_t incarnation;
    char door[DOOR_BYTES];
};

struct view {
    uint32_t number;     /* 1 for the first; a later one replaces an earlier */
    uint32_t era;        /* 1 for the first; grows when all blocks go back to a checkpoint */
    uint64_t start_step; /* version of every block when this era began */
    uint64_t step_count; /* steps of the whole job */
    uint64_t train_count, test_count; /* samples */
    bool is_restored;    /* that version comes from the store, not from initialisation; at step 0,
                          * from the file of model.init_from */
    uint64_t store_incarnation;
    char store_endpoint[ENDPOINT_BYTES];
    size_t shard_count, worker_count, block_count, lane_count;
    const struct shard_member *shards;
    const struct worker_member *workers;
    const uint32_t *block_shard;   /* the primary */
    const uint32_t *block_backup;  /* has all that was answered; NULL: no block has one */
    const uint32_t *block_learner; /* is being filled; NULL: no block has one */
    const uint32_t *lane_worker;
    const struct layout *layout;
    struct early_stop early_stop; /* no step is made from version hold_step, or a later one */
};

#endif
