#ifndef DEPLOY_PLAN_STUDY_H
#define DEPLOY_PLAN_STUDY_H

/* study - a job looked at on this machine: its settings, data, network and layout.
 *
 * Owner:    `talweg plan`.  Thread: the main thread.
 * Memory:   the data as far as data.memory_bytes allows, as a worker has it.
 * Surprise: none.
 */
#include "common/batching.h"
#include "deploy/plan/model.h"
#include "worker/data/dataset.h"
#include "worker/nn/graph.h"

struct study {
    struct settings *settings;
    struct settings *plain; /* the same with codec f32 and consistency bsp: what is measured */
    struct dataset *train, *test; /* test: NULL when the job has none */
    struct graph *graph;
    struct layout *layout;
    double *read_share, *done_share; /* [tensor_count], 0 until speed_profile */
};

/* Opens the job's data and plans its network.  A sentence with every error; close it in any case.
 */
MUST_USE int study_open(const char *job_path, const char *const *sets, size_t set_count,
                        struct study *study, struct err_msg *why);
void study_close(struct study *study);

struct batching study_batching(const struct study *study);

/* Initial weights [weight_count], the caller's to free.  NULL: out of memory. */
MUST_USE float *study_weights(const struct study *study);

/* Memory of this process as a worker of the job would have it before its first step; what other
 * roles have without a model.  Call it before anything is measured. */
void study_base(const struct study *study, struct plan_base *out);

#endif
