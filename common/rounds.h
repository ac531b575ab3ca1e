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
 *           Communicates Little" (outer_rate 1, outer_momentum 0); Polyak & Juditsky 1992,
 *           "Acceleration of Stochastic Approximation by Averaging".
 * Surprise: none.
 */
#include "common/batching.h"
#include "common/layout.h"
#include "common/optimizer.h"
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

/* The first round after `round` at whose end it is due. */
uint64_t rounds_next_due(const struct settings *settings, uint64_t every, uint64_t round);

/* Steps between two evaluations. */
uint64_t rounds_eval_every(const struct settings *settings, const struct batching *batching);

/* What a round's sum is multiplied by to be the mean that the servers' optimizer takes: over its
 * samples, or over lanes; with codec topk, workers have done so. */
float rounds_sum_scale(const struct settings *settings, const struct batching *batching,
                       uint64_t round);

/* A running mean (UPDATE_AVERAGE) after a round becomes keep times itself plus scale times the sum
 * that was pushed.  share: of the round's samples, how many the sum is of.  In rounds of their own
 * steps lanes have moved it, and it takes the mean of their differences. */
struct rounds_average {
    float keep, scale;
};

struct rounds_average rounds_average_of(const struct settings *settings,
                                        const struct batching *batching, uint64_t round,
                                        float rate_scale, double share);

enum { ROUNDS_STATES_MAX = 3 };

/* What servers keep of each weight beside it: the state of their optimizer and, last, the weight's
 * moving average if the job wants one.  Static names: "exp_avg", ..., "average". */
size_t rounds_state_count(const struct settings *settings);
const char *rounds_state_name(const struct settings *settings, size_t idx);
bool rounds_has_average(const struct settings *settings);

/* How much of the average's distance from the weights it makes up for after this round: 1 - d, with
 * d = optimizer.average, or (2 + round) / (11 + round) while that is less, so that an average of
 * few rounds is not one of the initial weights. */
double rounds_average_share(const struct settings *settings, uint64_t round);

/* What servers multiply their rate by for a tensor: where workers have made the steps, they have
 * done so. */
float rounds_server_rate_scale(const struct settings *settings, const struct tensor_spec *tensor);

/* The settings with, in `optimizer`, what servers do at the end of a round; with codec topk they
 * take off what the workers' optimizers have made.  The same pointers:
 * never destroyed, valid as long as `settings`. */
struct settings rounds_server_settings(const struct settings *settings);

#endif
