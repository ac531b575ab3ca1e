#ifndef WORKER_EXCHANGE_H
#define WORKER_EXCHANGE_H

/* exchange - a worker's side of the conversation, as a state machine: gradients out, weights in.
 *
 * It deals tasks (one lane of one step) to the worker's own compute threads, adds the lanes'
 * gradients along the tree as far as its own lanes reach, pushes each node to the block's shard,
 * and gathers the next version in a second vector.  When that is whole and no task runs, the two
 * are swapped and the next step begins.  What was pushed is held until it is answered, and sent
 * again when it is asked for or its block moves (proto/README.md).
 *
 * Shapes:   MSG_LEAF payload: [block's elements] f32, the sum over a lane's samples.
 * Owner:    the worker's loop.  Thread: that loop's only; compute threads read the weights that a
 *           task points to, which stay as they are until the task is answered.
 * Memory:   two vectors of weights; with codec topk two more, of what was not sent yet; sums of
 *           lanes that wait for their sibling; nodes that are whole until they are answered, of
 *           which at most exchange.credit_bytes are pushed to one shard, or one block.
 * Source:   Li et al., OSDI 2014; fused push-pull as in Jiang et al. (BytePS), OSDI 2020.
 * Surprise: none.
 */
#include "common/settings.h"
#include "proto/outbox.h"

struct exchange;

struct exchange_spec {
    const struct settings *settings; /* borrowed, as is hello.layout, for the exchange's life */
    struct hello hello;              /* what the worker says of itself */
    uint64_t incarnation;
    struct buffer_pool *pool; /* of what is pushed; NULL: one of its own */
};

MUST_USE int exchange_create(const struct exchange_spec *spec, struct exchange **exchange_out);
void exchange_destroy(struct exchange *exchange);

/* One message in, or a tick when msg is NULL; messages out, tasks for the compute among them.
 * now_ms never goes back. */
void exchange_step(struct exchange *exchange, uint64_t now_ms, struct address from,
                   const struct message *msg, struct outbox *out);

/* Asks the coordinator to deal this worker's lanes to others and let it go, since this process was
 * asked to stop; it works until then.  Ends it at once when no coordinator has answered yet. */
void exchange_stop(struct exchange *exchange, struct outbox *out);

/* What the operating system says of the process, for the next beat. */
void exchange_note_usage(struct exchange *exchange, const struct beat *usage);

/* True when the worker's work is over; how it ended is copied to end. */
bool exchange_is_over(const struct exchange *exchange, struct outcome *end);

/* The shards to be connected to, of the newest view: [*count_out]; none before the first.  Valid
 * until the next step. */
const struct shard_member *exchange_shards(const struct exchange *exchange, size_t *count_out);

#endif
