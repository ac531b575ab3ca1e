#ifndef PS_SHARD_H
#define PS_SHARD_H

/* shard - the blocks of weights that one server thread owns, as a state machine.
 *
 * push: a node of a block's tree comes in; when the root is whole the optimizer makes the next
 * version, and everyone who pushed is sent it.  pull: a block, when it has reached a version.
 * Blocks come from initialisation or, in a resumed run, from the store; at checkpoint steps each
 * block's state is sent there.
 *
 * Shapes:   a push's payload: [block's elements] f32, the sum over its lanes' samples.
 * Owner:    the shard's loop.  Thread: that loop's only.
 * Memory:   weights, optimizer state, sums that wait for their sibling, and checkpoint copies up
 *           to twice the state; at that bound a checkpoint step waits for the store.
 * Source:   Li et al., "Scaling Distributed Machine Learning with the Parameter Server", OSDI 2014.
 * Surprise: none.
 */
#include "common/settings.h"
#include "proto/outbox.h"

struct shard;

struct shard_spec {
    const struct settings *settings; /* borrowed for the shard's life */
    struct hello hello;              /* what it says of itself; layout unused */
    uint64_t incarnation;
};

MUST_USE int shard_create(const struct shard_spec *spec, struct shard **shard_out);
void shard_destroy(struct shard *shard);

/* One message in, or a tick when msg is NULL; messages out.  now_ms never goes back. */
void shard_step(struct shard *shard, uint64_t now_ms, struct address from,
                const struct message *msg, struct outbox *out);

/* Asks the coordinator to end the job with a checkpoint, since this process was asked to stop; the
 * shard serves until then.  Ends it at once when no coordinator has answered yet. */
void shard_stop(struct shard *shard, struct outbox *out);

/* What the operating system says of the process, for the next beat. */
void shard_note_usage(struct shard *shard, const struct beat *usage);

/* True when the shard's work is over; how it ended is copied to end. */
bool shard_is_over(const struct shard *shard, struct outcome *end);

/* Where the store can be reached; NULL before the first view. */
const char *shard_store_endpoint(const struct shard *shard);

/* Messages refused since the start: malformed, foreign or out of order. */
uint64_t shard_refused_count(const struct shard *shard);

#endif
