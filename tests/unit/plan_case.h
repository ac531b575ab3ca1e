#ifndef TESTS_UNIT_PLAN_CASE_H
#define TESTS_UNIT_PLAN_CASE_H

/* plan_case - a job whose times are easy to reckon by hand: two tensors of 1 MB, a block each, that
 * are complete at the end of a lane of 0.1 s, over links that carry 10 MB of payload a second;
 * nothing else takes time but the turn of a round trip.
 *
 * Owner:    the test; plan_case_free.  Surprise: none.
 */
#include <CUnit/Basic.h>
#include "deploy/plan/model.h"

enum { CASE_TENSORS = 2, CASE_WEIGHTS = 250000 };

struct plan_case {
    struct plan_inputs inputs;
    struct layout *layout;
    double read_share[CASE_TENSORS], done_share[CASE_TENSORS];
};

static inline void plan_case_make(struct plan_case *made)
{
    struct tensor_spec tensors[CASE_TENSORS];
    struct err_msg why = {0};
    *made = (struct plan_case){.done_share = {1.0, 1.0}};
    for (size_t i = 0; i < CASE_TENSORS; i++) {
        tensors[i] = (struct tensor_spec){.dims = 2, .shape = {CASE_WEIGHTS / 500, 500}};
        snprintf(tensors[i].name, sizeof(tensors[i].name), "dense%zu.weight", i);
    }
    CU_ASSERT_EQUAL_FATAL(layout_create(tensors, CASE_TENSORS, 1 << 20, &made->layout, &why), 0);
    made->inputs = (struct plan_inputs){
        .job = {.layout = made->layout,
                .lanes = 2,
                .batch = 8,
                .threads = 1,
                .shards = 1,
                .codec = CODEC_F32,
                .topk_fraction = 0.01,
                .local_steps = 10,
                .credit_bytes = 32 << 20},
        .speed = {.lane_s = 0.1},
        .cluster = {.workers = 1, .servers = 1, .bytes_per_s = 1e7 / 0.93}};
}

/* Its shares, which lie in the case itself. */
static inline struct plan_prediction plan_case_predict(struct plan_case *made)
{
    struct plan_prediction prediction;
    made->inputs.speed.read_share = made->read_share;
    made->inputs.speed.done_share = made->done_share;
    CU_ASSERT_EQUAL_FATAL(plan_predict(&made->inputs, &prediction), 0);
    return prediction;
}

static inline void plan_case_free(struct plan_case *made)
{
    layout_destroy(made->layout);
}

#endif
