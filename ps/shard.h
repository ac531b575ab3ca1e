#ifndef PS_SHARD_H
#define PS_SHARD_H

/* shard - the blocks of weights that one server thread has, as a state machine.
 *
 * Of some blocks it is the primary.  push: a node of the block's tree comes in; when the root is
 * whole the optimizer makes the next version, the backup is sent what made it, and once that has
 * it everyone who pushed is answered.  pull: a block, when it has reached a version.  Of others it
 * is the backup, or a learner that is being filled.  Views say which (proto/README.md).
 * Blocks come from initialisation or from the store; at checkpoint steps each block's state is sent
 * there.
 *
 * Shapes:   a push's payload: the sum over its lanes' samples, [block's elements] f32 as the job's
 *           codec has them (common/codec.h).
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
    struct buffer_pool *pool; /* where payloads come from; NULL: one of its own */
};

MUST_USE int shard_create(const struct shard_spec *spec, struct shard **shard_out);
void shard_destroy(struct shard *shard);

/* One message in, or a tick when msg is NULL; messages out.  now_ms never goes back. */
void shard_step(struct shard *shard, uint64_t now_ms, struct address from,
                const struct message *msg, struct outbox *out);

/* Asks the coordinator to move this shard's blocks elsewhere and let it go, since this process was
 * asked to stop; it serves until then.  Ends it at once when no coordinator has answered yet. */
void shard_stop(struct shard *shard, struct outbox *out);

/* What the operating system says of the process, for the next beat. */
void shard_note_usage(struct shard *shard, const struct beat *usage);

/* True when the shard's work is over; how it ended is copied to end. */
bool shard_is_over(const struct shard *shard, struct outcome *end);

/* Where the store can be reached; NULL before the first view.  It changes when the coordinator was
 * started again. */
const char *shard_store_endpoint(const struct shard *shard);

/* All shards of the newest view, this one among them: [*count_out]; none before the first.  Valid
 * until the next step. */
const struct shard_member *shard_peers(const struct shard *shard, size_t *count_out);

/* The same of its workers. */
const struct worker_member *shard_workers(const struct shard *shard, size_t *count_out);

/* Messages refused since the start: malformed or foreign. */
uint64_t shard_refused_count(const struct shard *shard);

/* Messages passed over: of another era, for a block that is another's, or come too early.  Their
 * senders ask again. */
uint64_t shard_dropped_count(const struct shard *shard);

#endif
