#ifndef PS_SHARD_BLOCK_H
#define PS_SHARD_BLOCK_H

/* shard_block - one block of weights on its shard: its version, optimizer state and unfinished sum.
 *
 * A new version is written to a fresh buffer, so a reply still on its way keeps the old one whole.
 *
 * Shapes:   weights, state: [count] f32.
 * Owner:    struct shard.  Thread: that shard's loop.
 * Memory:   weights from the pool; state taken at creation.
 * Source:   Li et al., "Scaling Distributed Machine Learning with the Parameter Server", OSDI 2014,
 *           section 4 (what a server keeps for a range).
 * Surprise: none.
 */
#include "common/reduction.h"
#include "common/settings.h"
#include "proto/message.h"

enum { SHARD_STATES_MAX = 2 };

/* Someone to be sent the block once it has reached `version`. */
struct shard_waiter {
    struct address who;
    uint64_t version;
};

struct shard_block {
    uint32_t block_idx; /* in the layout */
    size_t count;       /* elements */
    bool has_decay;
    bool is_ready;      /* has weights and state */
    bool is_held_back;  /* its step is whole, but checkpoints are behind */
    uint64_t version;
    uint64_t captured;  /* newest version sent to the store */
    struct buffer *weights;
    float *state[SHARD_STATES_MAX]; /* NULL where the optimizer has none */
    struct reduction sums;
    struct shard_waiter *waiters;
    size_t waiter_count, waiter_capacity;
};

/* Takes the memory of state, zeroed; the block is not ready yet. */
MUST_USE int shard_block_create(struct shard_block *block, const struct layout *layout,
                                uint32_t block_idx, size_t state_count);
void shard_block_free(struct shard_block *block);

/* Bytes of weights alone. */
size_t shard_block_bytes(const struct shard_block *block);

/* Makes the block ready with its initial weights.  ERR_NOMEM. */
MUST_USE int shard_block_init(struct shard_block *block, const struct layout *layout,
                              uint64_t seed, struct buffer_pool *pool);

/* Makes the block ready from a payload of weights and state_count states.  ERR_PROTO when its size
 * is another. */
MUST_USE int shard_block_restore(struct shard_block *block, const struct message *state,
                                 size_t state_count, struct buffer_pool *pool);

/* A payload of weights and states, one after another; NULL when memory is out. */
MUST_USE struct buffer *shard_block_capture(const struct shard_block *block, size_t state_count,
                                            struct buffer_pool *pool);

struct shard_update {
    const struct settings *settings;
    uint64_t sample_count; /* of the step */
    uint64_t step_count;   /* of the job, for the schedule */
    struct lane_node root;
    struct buffer_pool *pool;
};

/* Applies the whole sum of the step, which must be there, and goes to the next version. */
MUST_USE int shard_block_apply(struct shard_block *block, const struct shard_update *update);

/* Remembers who is to be sent `version`; the same twice is one. */
MUST_USE int shard_block_wait(struct shard_block *block, struct address who, uint64_t version);

#endif
