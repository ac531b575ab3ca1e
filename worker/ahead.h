#ifndef WORKER_AHEAD_H
#define WORKER_AHEAD_H

/* ahead - a thread that reads the batches of lanes before compute's threads come for them.
 *
 * It reads what tasks that wait will need, in their order; before that, what tasks in work will
 * need next; and when there is nothing of these, what each lane will need in the step after its
 * last one, should it stay here.  All that is a hint: a batch that was not begun when a thread
 * comes for it is read by that thread, as is one that could not be read, and what was read in vain
 * is read over.  So nobody waits but for the end of a read that is under way, and what is read
 * does not depend on it: a batch is a pure function of its key.  Nor is anything read ahead while
 * reads are so short that waking a thread for them takes longer.
 *
 * Owner:    the compute.  Thread: any.
 * Memory:   taken in ahead_create: a batch for each thread, and two more.
 * Surprise: none.
 */
#include "worker/lane_batch.h"

struct ahead;

enum { AHEAD_SPARE_BATCHES = 2 }; /* beside one for each thread */
enum { AHEAD_WORTH_US = 20 }; /* about what it costs to wake a thread and to be woken by it */

struct ahead_spec {
    const struct lane_source *source; /* borrowed for its life, as ctx */
    /* Fills a batch; lane_source_read, or what stands in for it. */
    int (*read)(void *ctx, const struct batch_key *key, struct lane_batch *batch,
                struct err_msg *why);
    void *ctx;
    uint64_t worth_us; /* reads that take less than this, on average, are not made ahead */
    uint32_t lane_count, thread_count; /* threads that come for batches, each for one at a time */
};

/* ERR_NOMEM. */
MUST_USE int ahead_create(const struct ahead_spec *spec, struct ahead **ahead_out);

/* Waits for the read that is under way.  All batches have been given back. */
void ahead_destroy(struct ahead *ahead);

/* A task with this first batch waits, the last of all that do. */
void ahead_want(struct ahead *ahead, const struct batch_key *first);

/* The tasks that wait were dropped. */
void ahead_forget(struct ahead *ahead);

/* The batch of that key, the caller's until ahead_give_back; *waited_us grows by the time until it
 * was there.  An error of the read, with its sentence; then there is nothing to give back. */
MUST_USE int ahead_take(struct ahead *ahead, const struct batch_key *key,
                        struct lane_batch **batch_out, uint64_t *waited_us, struct err_msg *why);
void ahead_give_back(struct ahead *ahead, struct lane_batch *batch);

#endif
