#include "deploy/plan/traffic.h"

#include <math.h>
#include <stdlib.h>

struct lane_node traffic_lanes(const struct plan_job *job, uint32_t workers, uint32_t idx)
{
    uint32_t each = job->lanes / workers, extra = job->lanes % workers;
    uint32_t begin = each * idx + (idx < extra ? idx : extra);
    return (struct lane_node){begin, begin + each + (idx < extra)};
}

static bool has_clocks(const struct plan_job *job)
{
    return job->consistency == CONSISTENCY_SSP || job->consistency == CONSISTENCY_ASYNC;
}

uint32_t traffic_nodes(const struct plan_job *job, struct lane_node lanes,
                       struct lane_node *nodes_out)
{
    uint32_t count = 0;
    struct lane_node node;
    for (uint32_t lane = lanes.begin; lane < lanes.end; lane = node.end) {
        node = has_clocks(job) ? (struct lane_node){lane, lane + 1}
                               : lane_node_within(lanes, lane);
        if (nodes_out != NULL)
            nodes_out[count] = node;
        count++;
    }
    return count;
}

struct lane_node traffic_busiest(const struct plan_job *job, uint32_t workers)
{
    struct lane_node best = traffic_lanes(job, workers, 0);
    uint32_t best_nodes = traffic_nodes(job, best, NULL);
    for (uint32_t i = 1; i < workers; i++) {
        struct lane_node lanes = traffic_lanes(job, workers, i);
        uint32_t nodes = traffic_nodes(job, lanes, NULL);
        if (lanes.end - lanes.begin < best.end - best.begin)
            break; /* those with one more come first */
        if (nodes > best_nodes) {
            best = lanes;
            best_nodes = nodes;
        }
    }
    return best;
}

uint32_t traffic_node_total(const struct plan_job *job, uint32_t workers)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < workers; i++)
        total += traffic_nodes(job, traffic_lanes(job, workers, i), NULL);
    return total;
}

size_t traffic_block_count(const struct plan_job *job, size_t block_idx)
{
    const struct range *range = &job->layout->blocks[block_idx].range;
    return (size_t)(range->end - range->begin);
}

/* As worker/residual.c has it after the warm-up: tensors of one dimension are sent whole. */
static uint64_t sparse_bytes(const struct plan_job *job, size_t block_idx, uint32_t nodes)
{
    const struct layout *layout = job->layout;
    size_t count = traffic_block_count(job, block_idx);
    uint64_t whole = codec_bytes(CODEC_F32, count);
    if (layout->tensors[layout->blocks[block_idx].tensor_idx].dims == 1)
        return whole;
    size_t keep = (size_t)ceil(job->topk_fraction * (double)count);
    uint64_t pairs = codec_bytes(CODEC_SPARSE, nodes * (keep == 0 ? 1 : keep));
    return pairs < whole ? pairs : whole;
}

uint64_t traffic_push_bytes(const struct plan_job *job, size_t block_idx)
{
    if (job->codec == CODEC_SPARSE)
        return sparse_bytes(job, block_idx, 1);
    return codec_bytes(job->codec, traffic_block_count(job, block_idx));
}

/* What has changed: the pairs of all nodes, when no two are of the same element. */
uint64_t traffic_pull_bytes(const struct plan_job *job, size_t block_idx, uint32_t workers)
{
    if (job->codec == CODEC_SPARSE)
        return sparse_bytes(job, block_idx, traffic_node_total(job, workers));
    return codec_bytes(job->codec, traffic_block_count(job, block_idx));
}

uint64_t traffic_copy_bytes(const struct plan_job *job, size_t block_idx, uint32_t workers)
{
    return job->replicas == 0 ? 0 : traffic_pull_bytes(job, block_idx, workers);
}

struct sized {
    size_t idx, count;
};

static int larger_first(const void *a, const void *b)
{
    const struct sized *left = a, *right = b;
    if (left->count != right->count)
        return left->count < right->count ? 1 : -1;
    return left->idx < right->idx ? -1 : left->idx > right->idx;
}

static size_t emptiest(const uint64_t *load, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (load[i] < load[best])
            best = i;
    return best;
}

int traffic_place(const struct plan_job *job, uint32_t servers, uint32_t *shard_of)
{
    size_t block_count = job->layout->block_count, shard_count = (size_t)servers * job->shards;
    struct sized *order = calloc(block_count, sizeof(*order));
    uint64_t *load = calloc(shard_count, sizeof(*load));
    if (order == NULL || load == NULL) {
        free(order);
        free(load);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < block_count; i++)
        order[i] = (struct sized){i, traffic_block_count(job, i)};
    qsort(order, block_count, sizeof(*order), larger_first);
    for (size_t i = 0; i < block_count; i++) {
        size_t shard = emptiest(load, shard_count);
        load[shard] += order[i].count;
        shard_of[order[i].idx] = (uint32_t)shard;
    }
    free(order);
    free(load);
    return 0;
}

/* Of the blocks of one server, as its primary. */
static void count_server(const struct plan_inputs *inputs, const uint32_t *shard_of,
                         uint32_t server, struct plan_traffic *out)
{
    const struct plan_job *job = &inputs->job;
    uint32_t workers = inputs->cluster.workers;
    uint64_t nodes = traffic_node_total(job, workers);
    uint64_t pullers = workers < job->lanes ? workers : job->lanes;
    *out = (struct plan_traffic){0};
    for (size_t i = 0; i < job->layout->block_count; i++) {
        if (shard_of[i] / job->shards != server)
            continue;
        out->pushed += nodes * traffic_push_bytes(job, i);
        out->pulled += pullers * traffic_pull_bytes(job, i, workers);
        out->copied += inputs->cluster.servers > 1 ? traffic_copy_bytes(job, i, workers) : 0;
    }
}

void traffic_count(const struct plan_inputs *inputs, const uint32_t *shard_of,
                   struct plan_traffic *out)
{
    const struct plan_job *job = &inputs->job;
    uint32_t workers = inputs->cluster.workers, servers = inputs->cluster.servers;
    uint32_t nodes = traffic_nodes(job, traffic_busiest(job, workers), NULL);
    struct plan_traffic most = {0};
    *out = (struct plan_traffic){0};
    for (size_t i = 0; i < job->layout->block_count; i++) {
        out->worker_up += nodes * traffic_push_bytes(job, i);
        out->worker_down += traffic_pull_bytes(job, i, workers);
    }
    for (uint32_t server = 0; server < servers; server++) {
        struct plan_traffic own;
        count_server(inputs, shard_of, server, &own);
        out->pushed += own.pushed;
        out->pulled += own.pulled;
        out->copied += own.copied;
        if (own.pushed + own.pulled > most.pushed + most.pulled)
            most = own;
    }
    out->server_in = most.pushed + out->copied / servers;
    out->server_out = most.pulled + most.copied;
}
