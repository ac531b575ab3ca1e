#ifndef DEPLOY_BENCH_STEP_REPORT_H
#define DEPLOY_BENCH_STEP_REPORT_H

/* step_report - what was measured of training steps, as JSON, or as tables for people.
 *
 * Owner:    `talweg bench step`.  Thread: one.  Memory: one document.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stdio.h>
#include "common/document.h"
#include "common/model_spec.h"
#include "deploy/bench/step_team.h"

struct step_measured {
    const char *name;               /* of the job */
    const struct model_spec *model; /* borrowed, as is the graph */
    const struct graph *graph;
    const char *kernels;            /* of matrix products */
    uint32_t threads, lanes, batch;
    size_t step_count;              /* that were timed */
    double median_s, min_s, p90_s;  /* of a step */
    double cpu_s;                   /* processor time of all threads for a step: the mean */
    double update_s;                /* tree and optimizer: the mean, as are the profile's parts */
    const struct step_profile *profile; /* sums over step_count steps */
    double peak_gflops;             /* of all threads at once */
    double first_loss, last_loss;
    double ready_s, first_step_s;   /* from the process's start to its first step, and its end */
    uint64_t ready_at_ms, first_step_at_ms; /* those moments by the wall clock, in ms since 1970 */
    uint64_t peak_rss_bytes;
    size_t planned_bytes;           /* step_team_bytes */
};

/* NULL: out of memory. */
MUST_USE struct document *step_report_document(const struct step_measured *measured);

/* The same, at most 100 columns wide; a line for each operator if by_operator. */
void step_report_print(FILE *out, const struct step_measured *measured, bool by_operator);

#endif
