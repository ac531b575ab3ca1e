#ifndef DEPLOY_BENCH_STEP_TEAM_H
#define DEPLOY_BENCH_STEP_TEAM_H

/* step_team - threads that make whole training steps in one process, without a cluster.
 *
 * As workers do it, a thread computes one lane at a time, alone; as many lanes as threads, made up
 * to a power of two.  Gradients are then summed along the tree and the job's
 * optimizer applied, each thread on its part of the flat vector: the bits are those of a cluster
 * with so many lanes.
 *
 * Owner:    `talweg bench step`.  Thread: the caller's is one of the team; the others wait for it.
 * Memory:   all in step_team_create: weights, optimizer state, a gradient for each lane, the
 *           activations of each thread.
 * Surprise: none.
 */
#include "common/layout.h"
#include "deploy/bench/step_samples.h"

struct step_spec {
    const struct settings *settings; /* all borrowed for the team's life */
    const struct graph *graph;
    const struct layout *layout;
    const struct step_samples *samples; /* STEP_BATCHES batches */
    uint32_t threads;
    uint32_t batch; /* samples of a step, >= step_lanes(threads) */
};

struct step_result {
    double compute_s; /* until the last lane was done */
    double update_s;  /* from there on: tree and optimizer */
    double loss;      /* mean over the samples, before the step */
};

/* Where time went since the last step_team_forget, in ns, the mean over threads. */
struct step_profile {
    double *forward_ns, *backward_ns; /* [graph_op_count] */
    double loss_ns;
};

struct step_team;

/* Lanes of a step. */
uint32_t step_lanes(uint32_t threads);

/* ERR_NOMEM with a sentence. */
MUST_USE int step_team_create(const struct step_spec *spec, struct step_team **team_out,
                              struct err_msg *why);
void step_team_destroy(struct step_team *team);

/* The next step. */
void step_team_step(struct step_team *team, struct step_result *result_out);

/* What all its threads can do at once: peak_gflops of each, added up.  One short sample. */
double step_team_peak_gflops(struct step_team *team);

/* Borrowed until the next step. */
const struct step_profile *step_team_profile(struct step_team *team);
void step_team_forget(struct step_team *team);

/* What step_team_create took, and the samples. */
size_t step_team_bytes(const struct step_team *team);

/* [weight_count], borrowed until the next step. */
const float *step_team_weights(const struct step_team *team);

#endif
