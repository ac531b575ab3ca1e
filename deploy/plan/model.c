#include "deploy/plan/model.h"

#include <stdlib.h>
#include "common/optimizer.h"
#include "deploy/plan/footprint.h"
#include "deploy/plan/timeline.h"
#include "deploy/plan/traffic.h"

#define PLAN_PART_KEY(name, key, words) key,
#define PLAN_PART_WORDS(name, key, words) words,

const char *plan_part_key(enum plan_part part)
{
    static const char *const keys[] = {PLAN_PART_TABLE(PLAN_PART_KEY)};
    return keys[part];
}

const char *plan_part_words(enum plan_part part)
{
    static const char *const texts[] = {PLAN_PART_TABLE(PLAN_PART_WORDS)};
    return texts[part];
}

struct plan_job plan_job_of(const struct settings *settings, const struct layout *layout)
{
    enum optimizer_kind kind = settings->optimizer.kind;
    return (struct plan_job){
        .layout = layout,
        .lanes = settings->job.lanes,
        .batch = settings->job.batch,
        .threads = settings->worker.threads,
        .shards = settings->cluster.shards,
        .replicas = settings->cluster.replicas,
        .consistency = settings->exchange.consistency,
        .local_steps = settings->exchange.local_steps,
        .codec = settings->exchange.codec,
        .topk_fraction = settings->exchange.topk_fraction,
        .may_topk = kind == OPTIMIZER_SGD || kind == OPTIMIZER_MOMENTUM ||
                    kind == OPTIMIZER_NESTEROV,
        .overlap = settings->exchange.overlap,
        .is_late = settings->job.on_nonfinite == NONFINITE_SKIP,
        .is_encrypted = !settings->cluster.insecure,
        .optimizer_states = optimizer_state_count(kind),
        .has_average = settings->optimizer.average > 0,
        .credit_bytes = settings->exchange.credit_bytes,
    };
}

uint32_t plan_round_steps(const struct plan_job *job)
{
    return job->consistency == CONSISTENCY_LOCAL ? job->local_steps : 1;
}

/* Of the round, what is saved without some parts. */
static int find_saving(const struct plan_inputs *inputs, const uint32_t *shard_of, double round_s,
                       const bool is_free[PLAN_PART_COUNT], double *share_out)
{
    double without_s = 0.0;
    int err = timeline_round(inputs, shard_of, is_free, &without_s);
    *share_out = round_s > 0.0 ? 1.0 - without_s / round_s : 0.0;
    return err;
}

/* What each part costs is what would be saved without it: parts that hide behind others cost
 * nothing, however busy they are.  Two links that are equally busy hide behind each other, so they
 * are taken away together as well, and that counts for the busier one. */
static int find_bottleneck(const struct plan_inputs *inputs, const uint32_t *shard_of,
                           struct plan_prediction *out)
{
    bool are_links_free[PLAN_PART_COUNT] = {[PLAN_WORKER_LINK] = true, [PLAN_SERVER_LINK] = true};
    double links = 0.0;
    int err = find_saving(inputs, shard_of, out->round_s, are_links_free, &links);
    for (enum plan_part part = 0; part < PLAN_PART_COUNT && err == 0; part++) {
        bool is_free[PLAN_PART_COUNT] = {false};
        is_free[part] = true;
        err = find_saving(inputs, shard_of, out->round_s, is_free, &out->share[part]);
    }
    enum plan_part link = out->share[PLAN_WORKER_LINK] >= out->share[PLAN_SERVER_LINK]
                              ? PLAN_WORKER_LINK
                              : PLAN_SERVER_LINK;
    out->share[link] = links > out->share[link] ? links : out->share[link];
    out->bottleneck = PLAN_COMPUTE;
    for (enum plan_part part = 0; part < PLAN_PART_COUNT; part++)
        if (out->share[part] > out->share[out->bottleneck])
            out->bottleneck = part;
    return err;
}

int plan_predict(const struct plan_inputs *inputs, struct plan_prediction *out)
{
    static const bool none_is_free[PLAN_PART_COUNT];
    const struct plan_job *job = &inputs->job;
    uint32_t workers = inputs->cluster.workers;
    uint32_t *shard_of = calloc(job->layout->block_count, sizeof(*shard_of));
    *out = (struct plan_prediction){0};
    int err = shard_of == NULL ? ERR_NOMEM : traffic_place(job, inputs->cluster.servers, shard_of);
    if (err == 0)
        err = timeline_round(inputs, shard_of, none_is_free, &out->round_s);
    if (err == 0)
        err = find_bottleneck(inputs, shard_of, out);
    if (err == 0) {
        traffic_count(inputs, shard_of, &out->traffic);
        out->worker_bytes = footprint_worker(inputs);
        out->server_bytes = footprint_server(inputs, shard_of);
        out->coordinator_bytes = footprint_coordinator(inputs);
        out->idle_workers = workers > job->lanes ? workers - job->lanes : 0;
        out->step_s = out->round_s / plan_round_steps(job);
        out->samples_per_s = job->batch / out->step_s;
    }
    free(shard_of);
    return err;
}
