#ifndef WORKER_RESULTS_H
#define WORKER_RESULTS_H

/* results - what a worker told the coordinator of its lanes of late, so that it can be told again.
 *
 * Owner:    the exchange.  Thread: the worker's loop.
 * Memory:   a ring of RESULTS_MAX; the oldest makes room.
 * Surprise: none.
 */
#include "proto/message.h"

enum { RESULTS_MAX = 512 };

struct result {
    enum message_kind kind; /* MSG_LANE_DONE, MSG_EVAL_DONE */
    struct lane_result lane;
    uint64_t sent_ms;
};

/* Valid when zeroed. */
struct results {
    struct result items[RESULTS_MAX];
    size_t first, count;
};

void results_note(struct results *results, const struct result *result);

/* A result of `step` or later that was sent at before_ms or earlier; it counts as sent at now_ms
 * from then on.  NULL when there is none (any more); valid until the next call. */
const struct result *results_next(struct results *results, uint64_t step, uint64_t before_ms,
                                  uint64_t now_ms);

/* Keeps the losses of steps before `step` and the evaluations of versions up to it. */
void results_forget(struct results *results, uint64_t step);

#endif
