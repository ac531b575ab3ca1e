#ifndef DEPLOY_BENCH_STEP_SAMPLES_H
#define DEPLOY_BENCH_STEP_SAMPLES_H

/* step_samples - what the steps of a measurement train on: some batches in memory, taken in turn.
 *
 * They are the job's own, or drawn: standard normal numbers or tokens, with labels that have
 * nothing to do with them, for a network is as fast on noise as on anything.
 *
 * Shapes:   inputs: [count][input_count], labels: [count][input.label_count].
 * Owner:    `talweg bench step`.  Thread: read-only once made, so any.
 * Memory:   the samples; with the job's data for the call also what dataset_open takes.
 * Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"
#include "common/settings.h"
#include "worker/nn/graph.h"

enum { STEP_BATCHES = 4 };

/* Valid when zeroed. */
struct step_samples {
    struct graph_input input;
    size_t input_count;
    size_t count;
    float *inputs, *labels;
};

/* ERR_NOMEM with a sentence. */
MUST_USE int step_samples_draw(const struct graph_input *input, size_t count, uint64_t seed,
                               struct step_samples *out, struct err_msg *why);

/* The first ones of the job's training part, over and over where it has fewer.  Errors as
 * dataset_open; ERR_NOMEM. */
MUST_USE int step_samples_read(const struct settings *settings, size_t count,
                               struct step_samples *out, struct err_msg *why);

/* Frees what it holds, not the struct. */
void step_samples_free(struct step_samples *samples);

#endif
