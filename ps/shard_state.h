#ifndef PS_SHARD_STATE_H
#define PS_SHARD_STATE_H

/* shard_state - what a shard's own files share: its state, and what one calls of another.
 *
 * Owner:    shard.  Thread: its loop's.
 * Surprise: private to shard.c and shard_*.c.
 *
 *   shard          the door: greets, beats, ticks, and gives each message to the file it concerns
 *   shard_view     what a view makes of every block
 *   shard_codec    payloads to numbers and back (a header of its own)
 *   shard_answer   pulls, and everyone who waits for a version
 *   shard_count    pushes: what makes a new version
 *   shard_feed     a primary's side of its blocks' replicas
 *   shard_follow   a backup's and a learner's
 *   shard_keep     blocks' states to the store and back
 */
#include "ps/shard.h"
#include "ps/shard_block.h"

enum { SHARD_RETRY_MS = 1000, SHARD_ASKED_MAX = 8 };

/* A checkpoint's copy of a block that the store has not confirmed. */
struct shard_copy {
    uint64_t step;
    uint32_t block;
    struct buffer *state;
    uint64_t sent_ms, wait_ms; /* when last; how long until once more */
};

struct shard {
    struct shard_spec spec;
    struct settings server_settings; /* of spec.settings: rounds.h */
    struct run_id run;
    struct buffer_pool *pool, *own_pool; /* own: NULL when the pool was given */
    uint64_t now_ms; /* of the step in work */

    uint32_t view, era; /* 0: none yet */
    uint64_t start_step, step_count;
    uint64_t hold_step; /* version that is evaluated next, and kept as a checkpoint; 0: none */
    struct batching batching;
    struct address store;
    char store_endpoint[ENDPOINT_BYTES];
    struct shard_member *shards; /* of the view */
    size_t shard_count;
    struct worker_member *workers;
    size_t worker_count;
    uint64_t *lane_worker; /* [lane_count]: incarnation, 0: nobody */
    struct layout *layout;
    struct shard_block *blocks; /* [layout->block_count] */
    size_t primary_count;
    size_t ready_count; /* states taken from the store in this era */
    size_t state_bytes; /* weights and optimizer state of the blocks that it is primary of */
    size_t other_bytes; /* of the others it has */

    struct shard_copy *copies;
    size_t copy_count, copy_capacity, copy_bytes;
    uint64_t kept_ms; /* when the store last confirmed one */
    uint64_t asked[SHARD_ASKED_MAX]; /* extra checkpoint steps; 0 = free */

    size_t filling_bytes; /* of blocks' states on their way to learners */
    size_t parked_bytes;  /* in sums that wait for their sibling */
    size_t log_bytes;     /* in sums that replicas have not confirmed, at the last tick */
    uint64_t lease_ms;    /* the newest beat that the coordinator has echoed was sent then */

    uint64_t begin_ms, hello_count;
    uint64_t hello_ms, beat_ms, fetch_ms, heard_ms, bye_ms; /* when last done; heard: coordinator */
    struct beat usage, totals;
    uint64_t refused_count, dropped_count;
    bool is_leaving; /* has asked the coordinator to let it go */
    bool is_over;
    struct outcome end;
};

/* shard */

struct message shard_message(const struct shard *shard, enum message_kind kind);
struct address shard_coordinator(void);
void shard_refuse(struct shard *shard, struct address to, int code, const char *text,
                  struct outbox *out);
void shard_finish(struct shard *shard, int code, const char *text);

/* Ends this shard and tells the coordinator why. */
void shard_give_up(struct shard *shard, int code, const char *text, struct outbox *out);
bool shard_is_bsp(const struct shard *shard);

/* NULL: no such block. */
struct shard_block *shard_find(struct shard *shard, uint32_t block_idx);

/* The block, if this shard can answer for it now; else NULL. */
struct shard_block *shard_serving(struct shard *shard, uint32_t block_idx);

/* shard_view */

void shard_take_view(struct shard *shard, const struct message *msg, struct outbox *out);

/* shard_answer */

/* True when all that must have the block's version have it: it may be told. */
bool shard_is_settled(const struct shard_block *block);
void shard_take_pull(struct shard *shard, struct address from, const struct message *msg,
                     struct outbox *out);
void shard_take_pull_old(struct shard *shard, struct address from, const struct message *msg,
                         struct outbox *out);

/* Sends the waiter the block if it is as far, else remembers it.  True: sent. */
bool shard_answer_or_wait(struct shard *shard, struct shard_block *block,
                          const struct shard_waiter *waiter, struct outbox *out);
void shard_answer_waiters(struct shard *shard, struct shard_block *block, struct outbox *out);

/* The first lanes that the block's step in work has not had; false: none. */
bool shard_first_lack(const struct shard_block *block, struct lane_node *lanes_out);

/* shard_count */

void shard_take_push(struct shard *shard, struct address from, const struct message *msg,
                     struct outbox *out);

/* The block's version may be settled now: everyone who waits for that gets it, and the next version
 * is made if its sum is whole. */
void shard_settle(struct shard *shard, struct shard_block *block, struct outbox *out);

/* Settles every block: what kept one may be over. */
void shard_settle_all(struct shard *shard, struct outbox *out);
void shard_clear_sums(struct shard *shard, struct shard_block *block);

/* shard_feed */

/* The view's backup and learner of a block that this shard is primary of; 0: none.  is_start: they
 * begin with the same state as this one. */
struct shard_followers {
    uint64_t backup, learner;
    bool is_start;
    bool is_doubtful; /* a view has been missed: a learner may have been something else between */
};

void shard_name_followers(struct shard *shard, struct shard_block *block,
                          const struct shard_followers *followers);

/* Nobody any more. */
void shard_drop_followers(struct shard *shard, struct shard_block *block);

/* update made the block's version what it is. */
void shard_feed(struct shard *shard, struct shard_block *block,
                const struct replica_update *update, struct outbox *out);
void shard_take_updated(struct shard *shard, struct address from, const struct message *msg,
                        struct outbox *out);

/* Sends again what has not been confirmed, and states while there is room on the way. */
void shard_feed_tick(struct shard *shard, struct outbox *out);

/* shard_follow */

void shard_take_update(struct shard *shard, struct address from, const struct message *msg,
                       struct outbox *out);
void shard_take_replica(struct shard *shard, struct address from, const struct message *msg,
                        struct outbox *out);

/* shard_keep */

bool shard_is_checkpoint(const struct shard *shard, uint64_t step);

/* The last step up to `step` at which a checkpoint is cut; 0: none. */
uint64_t shard_last_cut(const struct shard *shard, uint64_t step);

/* False: earlier copies fill the memory allowed for them. */
bool shard_is_keeping_up(const struct shard *shard);

/* Sends the block's state to the store if its version is a checkpoint's and has not been. */
void shard_capture(struct shard *shard, struct shard_block *block, struct outbox *out);
void shard_ask_checkpoint(struct shard *shard, uint64_t step, struct outbox *out);
void shard_hear_store(struct shard *shard, const struct message *msg, struct outbox *out);
void shard_keep_tick(struct shard *shard, struct outbox *out);

/* The store is another one: everything that is under way is asked for and sent again. */
void shard_keep_again(struct shard *shard, struct outbox *out);
void shard_drop_copies(struct shard *shard);

#endif
