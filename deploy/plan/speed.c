#include "deploy/plan/speed.h"

#include <poll.h>
#include <stdlib.h>
#include "common/clock.h"
#include "deploy/bench/quantile.h"
#include "worker/compute.h"
#include "worker/nn/gemm.h"

enum { TIMES_MAX = 4096, PROFILES = 3, ANSWER_MS = 60000 };

/* One lane, and when in it each tensor was first read and when its gradient was complete. */
struct profile {
    struct study *study;
    uint64_t begin_us;
    double *read_s, *done_s; /* [tensor_count], the least of all */
};

static void note_least(const struct profile *profile, double *at, size_t tensor_idx)
{
    double seconds = (double)(clock_now_us() - profile->begin_us) * 1e-6;
    if (at[tensor_idx] <= 0.0 || seconds < at[tensor_idx])
        at[tensor_idx] = seconds;
}

static bool note_read(void *ctx, size_t tensor_idx)
{
    struct profile *profile = ctx;
    note_least(profile, profile->read_s, tensor_idx);
    return true;
}

static void note_done(void *ctx, size_t tensor_idx)
{
    struct profile *profile = ctx;
    note_least(profile, profile->done_s, tensor_idx);
}

/* What a lane is computed with. */
struct bench {
    struct graph_run *run;
    uint64_t *indices;
    float *inputs, *labels, *weights, *grad;
};

static void bench_free(struct bench *bench)
{
    graph_run_destroy(bench->run);
    free(bench->indices);
    free(bench->inputs);
    free(bench->labels);
    free(bench->weights);
    free(bench->grad);
}

static int bench_make(const struct study *study, size_t lane_max, struct bench *bench)
{
    const struct dataset_info *info = dataset_info(study->train);
    bench->indices = calloc(lane_max, sizeof(*bench->indices));
    bench->inputs = calloc(lane_max * info->input_count, sizeof(float));
    bench->labels = calloc(lane_max * info->label_count, sizeof(float));
    bench->weights = study_weights(study);
    bench->grad = calloc((size_t)study->layout->weight_count, sizeof(float));
    if (bench->indices == NULL || bench->inputs == NULL || bench->labels == NULL ||
        bench->weights == NULL || bench->grad == NULL)
        return ERR_NOMEM;
    return graph_run_create(study->graph, lane_max, &bench->run);
}

static int run_profile(struct study *study, struct bench *bench, struct err_msg *why)
{
    struct batching batching = study_batching(study);
    struct profile profile = {study, 0, study->read_share, study->done_share};
    double whole_s = 0.0;
    size_t tensor_count = study->layout->tensor_count;
    for (int i = 0; i < PROFILES; i++) {
        struct loss_result loss;
        size_t count = batching_lane_samples(&batching, 0, 0, bench->indices);
        profile.begin_us = clock_now_us();
        int err = dataset_read(study->train, bench->indices, count, bench->inputs, bench->labels,
                               why);
        if (err != 0)
            return err;
        struct graph_batch batch = {.inputs = bench->inputs,
                                    .labels = bench->labels,
                                    .count = count,
                                    .draw = {.seed = batching.seed},
                                    .wait = note_read,
                                    .wait_ctx = &profile};
        (void)graph_train(bench->run, &batch, bench->weights, bench->grad, note_done, &profile,
                          &loss);
        double seconds = (double)(clock_now_us() - profile.begin_us) * 1e-6;
        whole_s = i == 0 || seconds < whole_s ? seconds : whole_s;
    }
    for (size_t i = 0; i < tensor_count; i++) {
        study->read_share[i] = whole_s > 0.0 ? study->read_share[i] / whole_s : 0.0;
        study->done_share[i] = whole_s > 0.0 ? study->done_share[i] / whole_s : 1.0;
        study->done_share[i] = study->done_share[i] < 1.0 ? study->done_share[i] : 1.0;
    }
    return 0;
}

int speed_profile(struct study *study, struct err_msg *why)
{
    struct batching batching = study_batching(study);
    struct bench bench = {0};
    int err = bench_make(study, batching_lane_max(&batching), &bench);
    if (err != 0)
        err_set(why, err, "a lane of %u samples: %s", batching_lane_max(&batching), err_text(err));
    else
        err = run_profile(study, &bench, why);
    bench_free(&bench);
    return err;
}

struct lane_times {
    double seconds[TIMES_MAX];
    size_t count;
};

/* What has come back so far; how many lanes.  A negative ERR_*: a lane could not be computed. */
static int take_results(struct compute *compute, struct lane_times *times, struct err_msg *why)
{
    struct message result;
    int done = 0;
    while (compute_next(compute, &result)) {
        buffer_unref(result.payload);
        if (result.kind == MSG_BYE)
            return err_set(why, result.outcome.code, "%s", result.outcome.text);
        if (result.kind != MSG_LANE_DONE)
            continue;
        times->seconds[times->count++] = (double)result.lane.compute_us * 1e-6;
        done++;
    }
    return done;
}

/* Keeps every thread busy until the time is up. */
static int time_lanes(const struct study *study, struct compute *compute, const float *weights,
                      double seconds, struct lane_times *times)
{
    const uint32_t lanes = study->settings->job.lanes, threads = study->settings->worker.threads;
    uint64_t end_us = clock_now_us() + (uint64_t)(seconds * 1e6);
    struct err_msg why = {0};
    uint32_t given = 0, pending = 0;
    do {
        while (pending < threads && given < TIMES_MAX &&
               (given == 0 || clock_now_us() < end_us)) {
            struct message task = {.kind = MSG_TRAIN_LANE};
            task.task = (struct lane_task){
                .step = given / lanes, .lane = given % lanes, .weights = weights};
            if (compute_submit(compute, &task) != 0)
                return ERR_NOMEM;
            given++;
            pending++;
        }
        struct pollfd wait = {.fd = compute_fd(compute), .events = POLLIN};
        if (poll(&wait, 1, ANSWER_MS) <= 0)
            return ERR_TIMEOUT;
        int done = take_results(compute, times, &why);
        if (done < 0)
            return done;
        pending -= (uint32_t)done;
    } while (pending > 0);
    return 0;
}

int speed_lane(const struct study *study, double seconds, double *lane_s_out, struct err_msg *why)
{
    struct compute_spec spec = {.settings = study->plain,
                                .graph = study->graph,
                                .layout = study->layout,
                                .train = study->train};
    struct compute *compute = NULL;
    struct lane_times *times = calloc(1, sizeof(*times));
    float *weights = study_weights(study);
    int err = times == NULL || weights == NULL ? ERR_NOMEM : 0;
    if (err == 0 && !gemm_has_room(study->settings->worker.threads))
        err = ERR_NOMEM;
    if (err == 0)
        err = compute_create(&spec, &compute, why);
    if (err == 0)
        err = time_lanes(study, compute, weights, seconds, times);
    if (err == 0)
        *lane_s_out = quantile_median(times->seconds, times->count);
    compute_destroy(compute);
    free(weights);
    free(times);
    if (err != 0 && why->text[0] == 0)
        err_set(why, err, "a lane could not be computed here: %s", err_text(err));
    return err;
}
