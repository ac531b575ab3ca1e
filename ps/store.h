#ifndef PS_STORE_H
#define PS_STORE_H

/* store - the party that writes blocks' states into checkpoints and gives them back when an era
 * begins at one.
 *
 * A shard sends the state of each of its blocks when the block reaches a checkpoint's step; the
 * store writes it and answers MSG_BLOCK_KEPT.  When a step has all its blocks it becomes a
 * checkpoint, and the coordinator hears MSG_CHECKPOINT_DONE with the path, or with the code and
 * sentence of what failed; older ones are pruned a moment later.  Several steps may be in the
 * making at once.  With a new era what is in the making is dropped; its steps come again.
 *
 * Where a job names a file of weights to begin with (model.init_from), step 0 is read from that.
 *
 * Shapes:   MSG_BLOCK_STATE payload: [1 + state count][elements of the block] f32, weights first.
 * Owner:    store_loop.  Thread: that loop's own; disk work is done inside store_step.
 * Memory:   what waits (for a view, for room to send) has a ceiling; past it a message is dropped
 *           and counted, and its sender asks again.
 * Surprise: MSG_BLOCK_KEPT also follows when the step has failed: the shard need not hold it.  But
 *           the last step of the job, and one that is being evaluated (early_stop), are tried for
 *           as long as their states come again; neither this nor the best one is pruned.
 */
#include <stdint.h>
#include "common/settings.h"
#include "proto/outbox.h"

enum { STORE_STEPS_MAX = 8 }; /* checkpoints in the making at once */

struct store_spec {
    const char *out_dir;             /* made when it is not there */
    const char *resume_dir;          /* a checkpoint, or a folder of them; NULL or "": start anew */
    const struct settings *settings; /* borrowed for the store's life */
    struct run_id run;
    uint64_t incarnation;
    size_t held_bytes; /* ceiling of what waits and of blocks on their way out; 0: 256 MiB */
};

struct store;

/* Makes out_dir, clears what killed stores left in it, opens and checks the checkpoint to resume:
 * of a folder of them, the one written last that is as it was written.  ERR_IO, ERR_INPUT,
 * ERR_NOT_FOUND with a sentence. */
MUST_USE int store_create(const struct store_spec *spec, struct store **store_out,
                          struct err_msg *why);

/* Also removes what is in the making. */
void store_destroy(struct store *store);

/* The step that a resumed run starts at; 0 when it starts anew. */
uint64_t store_resume_step(const struct store *store);

/* What was known of evaluations when it was made; zeros when the run starts anew. */
struct early_stop store_resume_early_stop(const struct store *store);

/* A sentence about checkpoints that were newer, and broken; "": none were.  Valid as the store. */
const char *store_resume_note(const struct store *store);

/* The path of the checkpoint that is resumed; "" when the run starts anew.  Valid as the store. */
const char *store_resume_path(const struct store *store);

/* One message in, or a tick (msg NULL), which must come at least every 100 ms while the store has
 * work (store_is_waiting).  A view that begins at a checkpoint which cannot be read, or whose
 * layout does not fit it, is answered to the coordinator with MSG_REFUSED. */
void store_step(struct store *store, uint64_t now_ms, struct address from,
                const struct message *msg, struct outbox *out);

/* Something waits for room or for a deadline: tick soon. */
bool store_is_waiting(const struct store *store);

/* Messages dropped or refused so far. */
uint64_t store_refused_count(const struct store *store);

#endif
