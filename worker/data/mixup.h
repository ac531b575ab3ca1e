#ifndef WORKER_DATA_MIXUP_H
#define WORKER_DATA_MIXUP_H

/* mixup - samples of a lane mixed with one another: m x_i + (1 - m) x_j, with the labels of both.
 *
 * j is i's place in a permutation of the lane, m is drawn from Beta(alpha, alpha) for each sample;
 * both by (seed, step, lane, place in the lane) and by nothing else.
 *
 * Shapes:   inputs [count][input_count]; labels, mix_labels [count][label_count]; weights [count].
 * Owner:    the caller's arrays.  Thread: no state.
 * Memory:   none; scratch is the caller's.
 * Source:   Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, section 2; a
 *           Beta number from two of Gamma: Marsaglia & Tsang, "A Simple Method for Generating Gamma
 *           Variables", 2000.
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/philox.h"

struct mixup {
    double alpha; /* > 0 */
    size_t input_count, label_count;
};

struct mixup_lane {
    size_t count;
    float *inputs;       /* mixed in place */
    const float *labels; /* of each sample itself */
    float *mix_labels;   /* out: of what is mixed in */
    float *weights;      /* out: m */
    uint32_t *partners;  /* scratch [count] */
    float *scratch;      /* [input_count] */
};

/* Mixes the samples of a lane.  draw: seed, step and lane. */
void mixup_apply(const struct mixup *mixup, const struct draw_key *draw,
                 const struct mixup_lane *lane);

/* A number of Beta(alpha, alpha), in [0, 1], from the key's own stream. */
float mixup_weight(double alpha, const struct draw_key *key);

#endif
