#ifndef DEPLOY_BENCH_PAIR_H
#define DEPLOY_BENCH_PAIR_H

/* pair - two processes of which one sends for ever, and the other, this one, takes samples of how
 * fast that is and what both use of the processors.
 *
 * Owner:    limits.  Thread: no other may run at the start, since it forks.
 * Memory:   none.  Surprise: none.
 */
#include <stdint.h>
#include <sys/types.h>
#include "deploy/bench/limits.h"

/* Samples of one call of limits_take, of each limit, and how long each lasts. */
enum { PAIR_SAMPLES = 4, PAIR_SAMPLE_US = 100000, PAIR_WARM_US = 50000 };

/* Runs child(ctx) in a process of its own, which dies with this one.  ERR_IO with a sentence. */
MUST_USE int pair_start(void (*child)(void *ctx), void *ctx, pid_t *pid_out, struct err_msg *why);

/* Kills it. */
void pair_end(pid_t pid);

/* Calls move(ctx, &bytes), which moves some bytes and adds their number to bytes, for the time of
 * some samples, after a moment that does not count.  pid: the other process, 0: none.  Errors are
 * those of move; ERR_FULL when there is no room for the samples. */
MUST_USE int pair_sample(int (*move)(void *ctx, uint64_t *bytes), void *ctx, pid_t pid,
                         struct limit_samples *samples);

#endif
