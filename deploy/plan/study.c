#include "deploy/plan/study.h"

#include <stdlib.h>
#include <string.h>
#include "common/usage.h"
#include "worker/ahead.h"
#include "worker/nn/kernel_choice.h"

enum { SETS_MAX = 256 };

/* What processes have without a model, and a worker beside its data and libraries: sockets, threads
 * and what they keep. */
enum { SERVER_BASE_BYTES = 10 << 20, COORDINATOR_BASE_BYTES = 11 << 20, SOCKETS_BYTES = 5 << 20 };

static int load(const char *job_path, const char *const *sets, size_t set_count,
                struct study *study, struct err_msg *why)
{
    const char *plain[SETS_MAX + 2];
    if (set_count > SETS_MAX)
        return err_set(why, ERR_INPUT, "more than %d times --set", SETS_MAX);
    for (size_t i = 0; i < set_count; i++)
        plain[i] = sets[i];
    plain[set_count] = "exchange.codec=f32";
    plain[set_count + 1] = "exchange.consistency=bsp";
    int err = settings_load(job_path, sets, set_count, &study->settings, why);
    if (err == 0)
        err = settings_load(job_path, plain, set_count + 2, &study->plain, why);
    return err == 0 ? kernels_choose(study->settings->worker.kernels, why) : err;
}

static int open_data(struct study *study, struct err_msg *why)
{
    int err = dataset_open(study->settings, DATASET_TRAIN, &study->train, why);
    if (err == 0)
        err = dataset_open_test(study->settings, study->train, &study->test, why);
    if (err != ERR_NOT_FOUND)
        return err;
    *why = (struct err_msg){0}; /* no test part is needed */
    return 0;
}

float *study_weights(const struct study *study)
{
    const struct layout *layout = study->layout;
    float *weights = calloc((size_t)layout->weight_count, sizeof(float));
    for (size_t i = 0; weights != NULL && i < layout->block_count; i++)
        layout_init_block(layout, i, study->settings->job.seed,
                          weights + layout->blocks[i].range.begin);
    return weights;
}

int study_open(const char *job_path, const char *const *sets, size_t set_count,
               struct study *study, struct err_msg *why)
{
    *study = (struct study){0};
    int err = load(job_path, sets, set_count, study, why);
    if (err == 0)
        err = open_data(study, why);
    if (err != 0)
        return err;
    const struct dataset_info *info = dataset_info(study->train);
    struct graph_input input = {
        .dims = info->dims,
        .label_count = info->label_count,
        .class_count = info->class_count,
        .token_count = info->token_count,
    };
    memcpy(input.shape, info->shape, sizeof(input.shape));
    err = graph_create(&study->settings->model, &input, &study->graph, why);
    if (err == 0)
        err = layout_create(graph_tensors(study->graph), graph_tensor_count(study->graph),
                            study->settings->exchange.block_bytes, &study->layout, why);
    if (err != 0)
        return err;
    study->read_share = calloc(study->layout->tensor_count, sizeof(double));
    study->done_share = calloc(study->layout->tensor_count, sizeof(double));
    if (study->read_share == NULL || study->done_share == NULL)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    return 0;
}

void study_close(struct study *study)
{
    free(study->read_share);
    free(study->done_share);
    layout_destroy(study->layout);
    graph_destroy(study->graph);
    dataset_close(study->test);
    dataset_close(study->train);
    settings_destroy(study->plain);
    settings_destroy(study->settings);
}

struct batching study_batching(const struct study *study)
{
    return (struct batching){.seed = study->settings->job.seed,
                             .sample_count = dataset_info(study->train)->count,
                             .batch = study->settings->job.batch,
                             .lane_count = study->settings->job.lanes};
}

void study_base(const struct study *study, struct plan_base *out)
{
    const struct dataset_info *info = dataset_info(study->train);
    struct batching batching = study_batching(study);
    size_t lane_max = batching_lane_max(&batching);
    struct graph_run *run = NULL;
    *out = (struct plan_base){.worker_bytes = usage_now().peak_rss_bytes + SOCKETS_BYTES,
                              .server_bytes = SERVER_BASE_BYTES,
                              .coordinator_bytes = COORDINATOR_BASE_BYTES};
    out->run_bytes = lane_max * (info->input_count + info->label_count) * sizeof(float);
    out->worker_bytes += AHEAD_SPARE_BATCHES * out->run_bytes;
    if (graph_run_create(study->graph, lane_max, &run) == 0)
        out->run_bytes += graph_run_bytes(run);
    graph_run_destroy(run);
}
