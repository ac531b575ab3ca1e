#ifndef DEPLOY_PLAN_TRAFFIC_H
#define DEPLOY_PLAN_TRAFFIC_H

/* traffic - who has which lanes and blocks, and how many bytes that sends where in a round.
 *
 * Lanes are dealt evenly, in order; blocks go to the emptiest shard, the largest first: as the
 * coordinator does while all are equally fast.
 *
 * Owner:    values.  Thread: no state.  Memory: as given.
 * Surprise: none.
 */
#include "common/lane.h"
#include "deploy/plan/model.h"

/* Lanes of worker idx. */
struct lane_node traffic_lanes(const struct plan_job *job, uint32_t workers, uint32_t idx);

/* The nodes that a worker with those lanes pushes of each block, to nodes_out [lanes' number]; how
 * many. */
uint32_t traffic_nodes(const struct plan_job *job, struct lane_node lanes,
                       struct lane_node *nodes_out);

/* The lanes of the worker that has most lanes and, of those, most nodes. */
struct lane_node traffic_busiest(const struct plan_job *job, uint32_t workers);

/* Nodes of a block that all workers push. */
uint32_t traffic_node_total(const struct plan_job *job, uint32_t workers);

/* Elements of a block. */
size_t traffic_block_count(const struct plan_job *job, size_t block_idx);

/* Payload of one node of a block; of its next version; of the sum that a copy is sent. */
uint64_t traffic_push_bytes(const struct plan_job *job, size_t block_idx);
uint64_t traffic_pull_bytes(const struct plan_job *job, size_t block_idx, uint32_t workers);
uint64_t traffic_copy_bytes(const struct plan_job *job, size_t block_idx, uint32_t workers);

/* Each block's shard, to shard_of [block_count]: number / job->shards is its server.  ERR_NOMEM. */
MUST_USE int traffic_place(const struct plan_job *job, uint32_t servers, uint32_t *shard_of);

/* shard_of as of traffic_place. */
void traffic_count(const struct plan_inputs *inputs, const uint32_t *shard_of,
                   struct plan_traffic *out);

#endif
