#ifndef DEPLOY_SAMPLER_H
#define DEPLOY_SAMPLER_H

/* sampler - draws what comes next from a network's probabilities.
 *
 *     p_i ^ (1 / temperature) / sum, over the top_k likeliest alone when that is set
 *
 * A draw is a pure function of (seed, position, probabilities).  Temperature 0 takes the likeliest,
 * the first of equals.
 *
 * Shapes:   probabilities [count], each >= 0.
 * Owner:    its creator.  Thread: one.
 * Memory:   two numbers a choice, taken in sampler_create.
 * Source:   top-k: Fan, Lewis & Dauphin, "Hierarchical Neural Story Generation", ACL 2018.
 * Surprise: what is as likely as the last of the top_k is in as well.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

struct sampler_spec {
    double temperature; /* >= 0; 1: the network's own probabilities; below 1: bolder */
    size_t top_k;       /* 0: all */
    uint64_t seed;
};

struct sampler;

/* For `count` choices, at least 1.  ERR_NOMEM. */
MUST_USE int sampler_create(const struct sampler_spec *spec, size_t count,
                            struct sampler **sampler_out);
void sampler_destroy(struct sampler *sampler);

/* The choice at a position, < count. */
size_t sampler_pick(struct sampler *sampler, const float *probabilities, uint64_t position);

#endif
