#ifndef PS_STORE_STATE_H
#define PS_STORE_STATE_H

/* store_state - what a store knows, for the files that it is made of: store.c takes views and
 * requests and serves what an era begins with, store_write.c makes checkpoints.
 *
 * Owner:    store.c.  Thread: the store's.
 * Memory:   store.h says.
 * Surprise: none.
 */
#include "common/path.h"
#include "common/pretrained.h"
#include "ps/resume.h"
#include "ps/store.h"

enum { STORE_DONE_MAX = 64, STORE_TAG_BYTES = 17 };

/* One checkpoint in the making. */
struct open_step {
    struct checkpoint_writer *writer; /* NULL: this place is free */
    uint64_t step;
    uint64_t heard_ms; /* when its newest block came */
};

/* A message that cannot be served yet. */
struct waiting {
    struct address from;
    struct message msg; /* with a reference on its payload */
};

struct store {
    struct store_spec spec;
    char *out_dir;
    char tag[STORE_TAG_BYTES];
    char fingerprint[SETTINGS_RESUME_BYTES];
    struct checkpoint_reader *source; /* what the era begins at; NULL: not from a checkpoint */
    struct pretrained *initial;       /* what step 0 begins with; NULL: seeds, or never needed */
    struct resume resume;

    uint32_t view, era; /* 0: none yet */
    uint64_t step_count;
    struct early_stop early_stop; /* of the view */
    struct layout *layout;
    uint64_t *shards; /* incarnations of the view's shards */
    size_t shard_count, part_count;

    struct open_step open[STORE_STEPS_MAX];
    uint64_t done[STORE_DONE_MAX]; /* steps that are over, well or not; a ring */
    size_t done_count;
    uint64_t newest;   /* of the checkpoints written in this era */
    uint64_t again_ms; /* when the last step of the job may be tried again */
    uint64_t prune_step, prune_ms; /* what makes older ones needless, and since when; 0: none */

    struct buffer_pool *pool;
    struct waiting *waiting; /* [WAITING_MAX], a ring */
    size_t waiting_first, waiting_count, waiting_bytes;
    uint64_t now_ms, refused_count;
};

struct message store_message(const struct store *store, enum message_kind kind);
void store_refuse(struct store *store, struct address to, int code, const char *text,
                  struct outbox *out);

/* Keeps a block of a step's checkpoint, and writes that when it is whole.  True when the shard need
 * not hold the block any more. */
bool store_keep(struct store *store, const struct message *msg, struct outbox *out);

/* Gives up what does not get whole, and removes checkpoints that newer ones have made needless. */
void store_check_steps(struct store *store, struct outbox *out);

/* Forgets all steps in the making, and of those that are over the ones past start_step: they come
 * again. */
void store_begin_steps(struct store *store, uint64_t start_step);

/* Forgets all steps in the making, and removes at once what is needless. */
void store_end_steps(struct store *store);

#endif
