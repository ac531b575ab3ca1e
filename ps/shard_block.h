#ifndef PS_SHARD_BLOCK_H
#define PS_SHARD_BLOCK_H

/* shard_block - one block of weights on a shard: version, optimizer state, sums, who waits for it.
 *
 * A new version is written over the old one, unless somebody holds that: a reply still on its way
 * keeps it whole, and the new one gets a fresh buffer.
 * With clocks (ssp, async) every lane's update is a version of its own.
 *
 * Shapes:   weights, state: [count] f32; clocks: [lane_count].
 * Owner:    struct shard.  Thread: that shard's loop.
 * Memory:   weights from the pool; state and clocks taken at creation.
 * Source:   Li et al., "Scaling Distributed Machine Learning with the Parameter Server", OSDI 2014,
 *           section 4 (what a server keeps for a range).
 * Surprise: none.
 */
#include "common/batching.h"
#include "common/reduction.h"
#include "common/rounds.h"
#include "common/settings.h"
#include "proto/message.h"
#include "ps/shard_replica.h"

enum { SHARD_STATES_MAX = ROUNDS_STATES_MAX };

enum shard_role { ROLE_NONE, ROLE_PRIMARY, ROLE_BACKUP, ROLE_LEARNER };

/* Someone to be sent the block once it has reached a version, or a clock. */
struct shard_waiter {
    struct address who;
    uint64_t version;
    bool has_base; /* the version before is with it: what has changed since is enough */
};

/* Valid when zeroed: a block that this shard has nothing of. */
struct shard_block {
    uint32_t block_idx; /* in the layout */
    size_t count;       /* elements */
    bool has_decay;
    enum tensor_update update;
    float rate_scale; /* rounds_server_rate_scale */
    enum shard_role role;
    uint64_t primary;  /* incarnation of the shard that is, by the newest view */
    bool is_ready;     /* has weights and state */
    bool is_fed;       /* backup, learner: what it has is this primary's, or has the same bits */
    bool is_void;      /* primary: the step in work is to be left out */
    uint64_t version;  /* updates applied; in bsp that is steps */
    uint64_t captured; /* newest step sent to the store */
    uint64_t *clocks;  /* steps that each lane has been counted in; NULL: bsp */
    uint32_t lane_count;
    struct buffer *weights;
    struct buffer *previous; /* bsp: weights of the version before, or NULL: keeps_previous */
    struct buffer *encoded; /* weights as a codec other than f32 has them; NULL: not made yet */
    uint64_t pusher;    /* bsp: the first who pushed to the version in work; 0: nobody */
    bool has_pushers;   /* another has, too */
    size_t state_count;
    bool has_average; /* the last state is the weights' moving average */
    float *state[SHARD_STATES_MAX];
    struct reduction sums;
    struct shard_waiter *waiters;
    size_t waiter_count, waiter_capacity;
    struct replicas replicas; /* a primary's */
};

/* What one new version is made of. */
struct shard_update {
    const struct settings *settings; /* as servers have them: rounds.h */
    const struct batching *batching;
    uint64_t step_count;    /* of the job, for the schedule */
    struct lane_node lanes; /* with clocks: one; else all */
    bool keeps_previous; /* in bsp, until somebody pushes to the new version */
    /* What sums up to the gradient: one or two; [0] NULL, or a frozen block: the weights stay. */
    struct buffer *parts[2];
    struct buffer_pool *pool;
};

struct shard_block_spec {
    const struct settings *settings; /* of the job */
    const struct layout *layout;
    uint32_t block_idx;
    uint32_t lane_count;
    bool has_clocks;
    uint64_t step; /* that all lanes begin at */
};

/* Takes the memory of state, zeroed; the block is not ready yet. */
MUST_USE int shard_block_create(struct shard_block *block, const struct shard_block_spec *spec);
void shard_block_free(struct shard_block *block);

/* Bytes of weights alone; of weights and state. */
size_t shard_block_bytes(const struct shard_block *block);
size_t shard_block_state_bytes(const struct shard_block *block);

/* Makes the block ready with its initial weights.  ERR_NOMEM. */
MUST_USE int shard_block_init(struct shard_block *block, const struct layout *layout,
                              uint64_t seed, struct buffer_pool *pool);

/* Makes the block ready from a checkpoint's payload: weights and states.  ERR_PROTO when its size
 * is another. */
MUST_USE int shard_block_restore(struct shard_block *block, const struct message *state,
                                 struct buffer_pool *pool);

/* The same from another shard's: with the clocks, if there are any. */
MUST_USE int shard_block_clone(struct shard_block *block, const struct message *replica,
                               struct buffer_pool *pool);

/* A payload of weights and states, one after another, and of the clocks; NULL: out of memory. */
MUST_USE struct buffer *shard_block_capture(const struct shard_block *block, bool has_clocks,
                                            struct buffer_pool *pool);

/* Goes to the next version.  parts are borrowed.  ERR_NOMEM, and nothing has changed. */
MUST_USE int shard_block_apply(struct shard_block *block, const struct shard_update *update);

/* The step that the slowest lane, and the fastest, are to be counted in next. */
uint64_t shard_block_step(const struct shard_block *block);
uint64_t shard_block_newest(const struct shard_block *block);

/* The weights have changed. */
void shard_block_forget_encoded(struct shard_block *block);

/* In bsp: who pushes to the present version has it of all blocks, so nobody works on the one before
 * any more. */
void shard_block_note_pusher(struct shard_block *block, uint64_t incarnation);

/* Remembers whom to send what; the same twice is one.  Of one address at most one in bsp, else one
 * a lane: the latest. */
MUST_USE int shard_block_wait(struct shard_block *block, const struct shard_waiter *waiter);

#endif
