#include "deploy/plan/footprint.h"

#include "deploy/plan/traffic.h"

/* Of the copies that shards make for a checkpoint, what is still there when the last is made; of
 * the same, what the coordinator's store has at a time. */
static const double CAPTURED_SHARE = 2.0 / 3.0, STORED_SHARE = 0.25;

/* Of the credit, what a worker has of weights that come in, and of what was on its way before. */
static const double COMING_SHARE = 1.5;

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* What an encoded vector takes, of an f32 one. */
static double encoded_share(const struct plan_job *job)
{
    uint64_t whole = 0, sent = 0;
    for (size_t i = 0; i < job->layout->block_count; i++) {
        whole += codec_bytes(CODEC_F32, traffic_block_count(job, i));
        sent += traffic_push_bytes(job, i);
    }
    return (double)sent / (double)whole;
}

static uint32_t log2_up(uint32_t count)
{
    uint32_t bits = 0;
    while ((UINT32_C(1) << bits) < count)
        bits++;
    return bits;
}

static bool is_local(const struct plan_job *job)
{
    return job->consistency == CONSISTENCY_LOCAL;
}

/* Vectors of gradients: in work, waiting for a sibling, and pushed without an answer.  An f32 node
 * is pushed from where it was added up. */
static double gradient_vectors(const struct plan_job *job, struct lane_node lanes)
{
    uint32_t count = lanes.end - lanes.begin, nodes = traffic_nodes(job, lanes, NULL);
    uint32_t threads = job->threads < count ? job->threads : count;
    double waiting = log2_up(count / nodes), held = encoded_share(job) * nodes;
    if (job->codec == CODEC_F32)
        return least(count, threads + waiting + (nodes - 1));
    return least(count, threads + waiting) + held;
}

uint64_t footprint_worker(const struct plan_inputs *inputs)
{
    const struct plan_job *job = &inputs->job;
    double bytes = (double)job->layout->weight_count * sizeof(float);
    double credit = (double)job->credit_bytes * job->shards * inputs->cluster.servers;
    double vectors = 2.0 + gradient_vectors(job, traffic_busiest(job, inputs->cluster.workers));
    if (job->codec == CODEC_SPARSE)
        vectors += 1.0 + (job->optimizer_states > 0);
    if (is_local(job))
        vectors += job->threads * (1.0 + (double)job->optimizer_states);
    double coming = COMING_SHARE * least(credit, bytes);
    return inputs->base.worker_bytes + job->threads * inputs->base.run_bytes +
           (uint64_t)(vectors * bytes + coming);
}

/* Vectors of the optimizer's state that servers have (common/rounds.h). */
static double state_vectors(const struct plan_job *job)
{
    double average = job->has_average ? 1.0 : 0.0;
    if (is_local(job))
        return 1.0 + average;
    return (job->codec == CODEC_SPARSE ? 0.0 : (double)job->optimizer_states) + average;
}

/* Bytes of f32 that the fullest server is primary of. */
static double fullest_bytes(const struct plan_inputs *inputs, const uint32_t *shard_of)
{
    const struct plan_job *job = &inputs->job;
    uint64_t most = 0;
    for (uint32_t server = 0; server < inputs->cluster.servers; server++) {
        uint64_t own = 0;
        for (size_t i = 0; i < job->layout->block_count; i++)
            if (shard_of[i] / job->shards == server)
                own += traffic_block_count(job, i) * sizeof(float);
        most = own > most ? own : most;
    }
    return (double)most;
}

uint64_t footprint_server(const struct plan_inputs *inputs, const uint32_t *shard_of)
{
    const struct plan_job *job = &inputs->job;
    const struct plan_cluster *cluster = &inputs->cluster;
    uint32_t nodes = traffic_node_total(job, cluster->workers);
    bool is_bsp = job->consistency == CONSISTENCY_BSP || is_local(job);
    bool is_sole = cluster->workers == 1, has_copies = job->replicas > 0 && cluster->servers > 1;
    double bytes = fullest_bytes(inputs, shard_of), states = 1.0 + state_vectors(job);
    double credit = (double)job->credit_bytes * job->shards * cluster->workers;
    /* nodes that wait, then the version in replies */
    double waiting = least(credit, (nodes + (is_sole ? 0.0 : 1.0)) * bytes);
    if (job->codec != CODEC_F32) /* f32 from when it is taken apart; weights rounded, and packed */
        waiting = least(credit / encoded_share(job), nodes * bytes) + 1.5 * bytes +
                  least(credit, encoded_share(job) * (nodes + 1) * bytes);
    double vectors = states * (has_copies ? 2.0 : 1.0) + (has_copies ? 1.0 : 0.0) +
                     (is_bsp && is_sole ? 1.0 : 0.0) + states * CAPTURED_SHARE;
    return inputs->base.server_bytes +
           (uint64_t)(vectors * bytes + waiting);
}

uint64_t footprint_coordinator(const struct plan_inputs *inputs)
{
    double bytes = (double)inputs->job.layout->weight_count * sizeof(float);
    double states = 1.0 + state_vectors(&inputs->job);
    return inputs->base.coordinator_bytes + (uint64_t)(states * bytes * STORED_SHARE);
}
