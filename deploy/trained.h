#ifndef DEPLOY_TRAINED_H
#define DEPLOY_TRAINED_H

/* trained - a job's network with the weights of a checkpoint, ready to be used on samples.
 *
 * Owner:    `talweg eval` and `talweg predict`.  Thread: one.
 * Memory:   the weights, one batch, the data set as far as data.memory_bytes allows.
 * Surprise: none.
 */
#include <argp.h>
#include <limits.h>
#include "common/checkpoint.h"
#include "common/settings.h"
#include "worker/data/dataset.h"
#include "worker/nn/graph.h"

enum { TRAINED_BATCH = 256, TRAINED_SETS_MAX = 256 };

struct trained_spec {
    const char *job_path;
    const char *sets[TRAINED_SETS_MAX];
    size_t set_count;
    const char *checkpoint; /* a checkpoint, or a folder with some: the last one then */
    enum dataset_part part;
    const char *input; /* a file without labels in place of the part; NULL: the part */
};

/* JOB, --checkpoint and --set of a command line, for the children of an argp parser: on
 * ARGP_KEY_INIT that sets child_inputs[0] to a spec, which is filled in. */
extern const struct argp_child trained_options[];

/* Everything is borrowed until trained_close. */
struct trained {
    struct settings *settings;
    struct dataset *dataset;
    const struct dataset_info *info;
    struct graph *graph;
    struct graph_run *run; /* of TRAINED_BATCH samples */
    struct layout *layout;
    float *weights;
    struct checkpoint_info checkpoint;
    char checkpoint_path[PATH_MAX];
    uint64_t *indices; /* [TRAINED_BATCH] */
    float *inputs;     /* [TRAINED_BATCH][input_count] */
    float *labels;     /* [TRAINED_BATCH][label_count] */
};

/* A sentence with every error.  trained is filled in as far as it went: close it in any case. */
MUST_USE int trained_open(const struct trained_spec *spec, struct trained *trained,
                          struct err_msg *why);
void trained_close(struct trained *trained);

/* Reads the next samples from `first` on into inputs and labels; *count_out is 0 at the end. */
MUST_USE int trained_read(struct trained *trained, uint64_t first, size_t *count_out,
                          struct err_msg *why);

#endif
