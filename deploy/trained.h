#ifndef DEPLOY_TRAINED_H
#define DEPLOY_TRAINED_H

/* trained - a job's network with the weights of a checkpoint, ready to be used on samples.
 *
 * Owner:    `talweg eval`, `talweg predict` and `talweg generate`.  Thread: one.
 * Memory:   the weights, one batch, the data set as far as data.memory_bytes allows.  A batch has
 *           fewer samples when the network's activations are large.
 * Surprise: none.
 */
#include <argp.h>
#include <limits.h>
#include <stdbool.h>
#include "common/checkpoint.h"
#include "common/settings.h"
#include "worker/data/dataset.h"
#include "worker/nn/graph.h"

enum { TRAINED_BATCH = 256, TRAINED_RUN_BYTES = 1 << 28, TRAINED_SETS_MAX = 256 };

struct trained_spec {
    const char *job_path;
    const char *sets[TRAINED_SETS_MAX];
    size_t set_count;
    const char *checkpoint; /* a checkpoint, or a folder with some: the last one then; NULL: the
                             * weights that the job begins with (model.init_from) */
    bool is_average;        /* the weights' moving average (optimizer.average) in their place */
    bool is_best;           /* of a run's folder the best one, as its summary.json says */
    enum dataset_part part;
    const char *input; /* a file without labels in place of the part; NULL: the part */
    size_t batch_max;  /* samples at a time; 0: TRAINED_BATCH */
};

/* JOB, --checkpoint, --average, --best and --set of a command line, for the children of an argp
 * parser: on ARGP_KEY_INIT that sets child_inputs[0] to a spec, which is filled in. */
extern const struct argp_child trained_options[];

/* Everything is borrowed until trained_close. */
struct trained {
    struct settings *settings;
    struct dataset *dataset;
    const struct dataset_info *info;
    struct graph *graph;
    size_t batch_max;      /* 1..TRAINED_BATCH, so that run takes no more than TRAINED_RUN_BYTES */
    struct graph_run *run; /* of batch_max samples */
    struct layout *layout;
    float *weights;
    struct checkpoint_info checkpoint; /* digest: of the weights that are used */
    char checkpoint_path[PATH_MAX];
    uint64_t *indices; /* [batch_max] */
    float *inputs;     /* [batch_max][input_count] */
    float *labels;     /* [batch_max][label_count] */
};

/* A sentence with every error.  trained is filled in as far as it went: close it in any case. */
MUST_USE int trained_open(const struct trained_spec *spec, struct trained *trained,
                          struct err_msg *why);
void trained_close(struct trained *trained);

/* Reads the next samples from `first` on into inputs and labels; *count_out is 0 at the end. */
MUST_USE int trained_read(struct trained *trained, uint64_t first, size_t *count_out,
                          struct err_msg *why);

/* Loss of all samples. */
MUST_USE int trained_evaluate(struct trained *trained, struct loss_result *total,
                              struct err_msg *why);

#endif
