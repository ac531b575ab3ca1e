#ifndef DEPLOY_PLAN_ADVICE_H
#define DEPLOY_PLAN_ADVICE_H

/* advice - what a cluster gains, and what would make it gain more.
 *
 * Every alternative is the same model with one thing changed: a codec, rounds of local steps,
 * smaller blocks, more servers, fewer workers.  One that gains little is not spoken of.
 *
 * Owner:    values.  Thread: no state.  Memory: none kept.
 * Surprise: none.
 */
#include "deploy/plan/model.h"

enum { ADVICE_OPTIONS_MAX = 16, ADVICE_TEXT_BYTES = 1024 };

struct advice_option {
    char text[64];      /* "codec int8" */
    struct plan_prediction prediction;
    double speedup;     /* to one machine */
    bool is_named;      /* in the sentence */
};

struct advice {
    double one_machine; /* samples a second of one worker and one server on one machine */
    struct plan_prediction now;
    double speedup;     /* of the cluster as it was given, to one machine */
    struct advice_option options[ADVICE_OPTIONS_MAX];
    size_t option_count;
    char text[ADVICE_TEXT_BYTES]; /* one or two sentences */
};

/* The inputs of a single machine that does the job alone, in f32. */
struct plan_inputs advice_alone(const struct plan_inputs *inputs);

/* ERR_NOMEM. */
MUST_USE int advice_give(const struct plan_inputs *inputs, struct advice *out);

#endif
