#ifndef COMMON_ROUNDS_H
#define COMMON_ROUNDS_H

/* rounds - what lies between two exchanges: one step, or several that a lane makes by itself.
 *
 * With consistency "local" each lane makes exchange.local_steps inner steps from the weights of
 * round r, those of steps r * local_steps onwards, and pushes the difference, weights before less
 * weights after.  The mean over the lanes is what the servers' optimizer takes for a gradient:
 *
 *     v' = outer_momentum * v + d;   w' = w - outer_rate * (d + outer_momentum * v')
 *
 * To servers, views and checkpoints a round is what a step is elsewhere, and is called so there.
 * Elsewhere a round is one step, so that all below holds for any job.
 *
 * Owner:    nobody.  Thread: no state.
 * Source:   Douillard et al. 2023, "DiLoCo", algorithm 1; Stich 2019, "Local SGD Converges Fast and
 *           Communicates Little" (outer_rate 1, outer_momentum 0).
 * Surprise: none.
 */
#include "common/batching.h"
#include "common/settings.h"

/* Steps of a round. */
uint64_t rounds_steps(const struct settings *settings);

/* Rounds of the job: its steps, made up to whole rounds, so that a job that goes on for longer
 * makes the same rounds. */
uint64_t rounds_of_job(const struct settings *settings, const struct batching *batching);

/* What is due every so many steps is due at the end of the round in which that many are full.  The
 * newest such end up to `round` (the number of rounds done); 0: none.  every > 0. */
uint64_t rounds_last_due(const struct settings *settings, uint64_t every, uint64_t round);
bool rounds_is_due(const struct settings *settings, uint64_t every, uint64_t round);

/* What a round's sum is multiplied by to be the mean that the servers' optimizer takes: over its
 * samples, or over lanes; with codec topk, workers have done so. */
float rounds_sum_scale(const struct settings *settings, const struct batching *batching,
                       uint64_t round);

/* The settings with, in `optimizer`, what servers do at the end of a round; with codec topk they
 * take off what the workers' optimizers have made.  The same pointers:
 * never destroyed, valid as long as `settings`. */
struct settings rounds_server_settings(const struct settings *settings);

#endif
