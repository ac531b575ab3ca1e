#ifndef COMMON_BATCHING_H
#define COMMON_BATCHING_H

/* batching - which samples a lane of a step trains on: a pure function of (seed, step, lane).
 *
 * An epoch visits every sample once, in an order that is a keyed permutation of its own.  Step s of
 * an epoch takes the next `batch` positions; the last step of an epoch takes what is left.  A
 * step's positions are dealt to its lanes in order, as evenly as they divide; a lane may be empty.
 *
 * Owner:    a value, valid once filled in.  Thread: no state.  Surprise: none.
 */
#include <stdint.h>
#include "common/layout.h"

struct batching {
    uint64_t seed;
    uint64_t sample_count; /* of the training part, >= 1 */
    uint32_t batch;        /* samples of a whole step, >= lane_count */
    uint32_t lane_count;
};

/* Number of `where` in draw keys, so that no two purposes share random numbers. */
enum draw_where {
    DRAW_INIT = 1,
    DRAW_ORDER = 2,
    DRAW_HELD_OUT = 3,
    DRAW_MIX_ORDER = 4,
    DRAW_WINDOWS = 5,
    DRAW_GENERATE = 6,
    DRAW_OPERATOR = 16,
    DRAW_AUGMENT = 1 << 28, /* and the sample's place in its lane */
    DRAW_MIX = 1 << 29,     /* the same */
    DRAW_CODEC = 1 << 30 /* and the tensor's index */
};

uint64_t batching_epoch_steps(const struct batching *batching);

/* Steps of a job of that many epochs. */
uint64_t batching_job_steps(const struct batching *batching, uint64_t epochs);

/* Samples of a step: batch, or fewer in the last step of an epoch. */
uint64_t batching_step_samples(const struct batching *batching, uint64_t step);

/* The most samples a lane can have. */
uint32_t batching_lane_max(const struct batching *batching);

/* Writes what a lane takes to out [batching_lane_max] and returns how many: e * sample_count + i is
 * sample i in epoch e. */
uint32_t batching_lane_samples(const struct batching *batching, uint64_t step, uint32_t lane,
                               uint64_t *out);

/* The held-out samples, by index, that a lane evaluates. */
struct range batching_eval_range(uint64_t sample_count, uint32_t lane_count, uint32_t lane);

#endif
