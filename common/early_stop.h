#ifndef COMMON_EARLY_STOP_H
#define COMMON_EARLY_STOP_H

/* early_stop - a job that ends when its held-out loss gets no better: the best evaluation so far,
 * and the version that is evaluated next.
 *
 * With job.patience a version that is evaluated is held: nobody makes a step from it before its
 * loss is known, so that where the job ends is a function of the losses alone, and those are the
 * same on any cluster.
 *
 * Owner:    a value: of the coordinator, which says it in each view, and of each checkpoint.
 * Thread:   no state.
 * Source:   Prechelt 1998, "Early Stopping - But When?", section 2 (UP, counting evaluations).
 * Surprise: none.
 */
#include "common/batching.h"
#include "common/settings.h"

/* Valid when zeroed: nothing is held and nothing was evaluated. */
struct early_stop {
    uint64_t hold_step;   /* version that is evaluated next; 0: the job has no patience */
    uint64_t best_step;   /* of the evaluation with the lowest loss; 0: none yet */
    double best_loss;     /* of that; means nothing without one */
    uint64_t worse_count; /* evaluations since then, which were no better */
};

/* The version after `step` (the number of steps, or rounds, done) that is to be evaluated; 0 when
 * the job has no patience, or no held-out samples. */
uint64_t early_stop_next(const struct settings *settings, const struct batching *batching,
                         uint64_t test_count, uint64_t step, uint64_t step_count);

/* The loss is lower than the best by more than job.min_delta, or the first. */
bool early_stop_is_better(const struct early_stop *stop, const struct settings *settings,
                          double loss);

/* Counts the evaluation of version hold_step, which stays. */
void early_stop_note(struct early_stop *stop, const struct settings *settings, double loss);

/* So many evaluations as job.patience says were no better than the best. */
bool early_stop_is_due(const struct early_stop *stop, const struct settings *settings);

#endif
