#include "deploy/plan/timeline.h"

#include <stdlib.h>
#include "deploy/plan/traffic.h"

/* Rounds until one is like the next, and rounds whose mean is taken. */
enum { ROUNDS_BEFORE = 3, ROUNDS_TAKEN = 3 };

/* What sockets of one process take for a byte one way while as many go the other way, and the
 * processor time of both ends; with keys, what encrypting takes of both (tests/bench/README.md,
 * Exchange). */
static const double SOCKET_S_A_BYTE = 1.0 / 1.6e9, CPU_S_A_BYTE = 0.5e-9;
static const double CURVE_SOCKET_S_A_BYTE = 1.0 / 0.6e9, CURVE_CPU_S_A_BYTE = 1.7e-9;

/* Connections that meet on a link do not share it evenly: of an even share, what the slowest has
 * until the others are through.  Measured (tests/bench/README.md, Plan). */
static const double SLOWEST_SHARE = 2.0 / 3.0;

/* What a message costs beside its bytes; how much longer than the link's a round trip between
 * threads is. */
static const double MESSAGE_S = 5e-6, TURN_S = 150e-6;

struct timeline {
    const struct plan_inputs *inputs;
    const struct plan_job *job;
    const uint32_t *shard_of;
    const bool *is_free;
    struct lane_node *nodes; /* of the worker, by its own lanes' numbers from 0 */
    uint32_t node_count, lane_count;
    double node_factor; /* nodes of all workers for one of this one's */
    uint32_t pullers;
    bool is_merged;     /* credit is less than a round: all nodes of a block go together */
    double lane_s;
    double *here;       /* [block]: the next version is at the worker */
    uint32_t *next;     /* [block]: one that was sent to the same shard after it */
    double *in_free, *out_free; /* [server] */
    double *sent, *to_send;     /* [server]: bytes of this worker, so far and in a round */
    struct shard_line {
        double free;
        uint64_t in_flight_bytes;
        uint32_t oldest, newest; /* blocks in flight */
    } *shards;
    double up_free, down_free, push_free, take_free;
    double computed, whole; /* when this round's lanes, and the last round's exchange, were done */
};

static const uint32_t NO_BLOCK = UINT32_MAX;

static double later(double a, double b)
{
    return a > b ? a : b;
}

/* Through something that does one thing at a time. */
static double through(double *free, double from, double seconds)
{
    *free = later(*free, from) + seconds;
    return *free;
}

static double link_s(const struct timeline *line, enum plan_part part, double bytes)
{
    double rate = line->inputs->cluster.bytes_per_s * PLAN_PAYLOAD_SHARE;
    if (line->inputs->cluster.bytes_per_s <= 0.0 || line->is_free[part])
        return 0.0;
    double socket_s = line->job->is_encrypted ? CURVE_SOCKET_S_A_BYTE : SOCKET_S_A_BYTE;
    if (part == PLAN_SERVER_LINK)
        socket_s /= line->job->shards; /* each has sockets of its own */
    return bytes * later(1.0 / rate, socket_s);
}

static double one_way_s(const struct timeline *line)
{
    if (line->is_free[PLAN_LATENCY])
        return 0.0;
    return (line->inputs->cluster.round_trip_s + TURN_S) / 2.0;
}

/* A lane on one thread: its steps, and the rounding of what it hands over. */
static double lane_seconds(const struct plan_inputs *inputs)
{
    const struct plan_job *job = &inputs->job;
    const struct plan_cluster *cluster = &inputs->cluster;
    double weights = (double)job->layout->weight_count;
    double step_s = inputs->speed.lane_s;
    uint32_t workers = cluster->workers < job->lanes ? cluster->workers : job->lanes;
    double threads = (double)workers * job->threads;
    if (job->consistency == CONSISTENCY_LOCAL)
        step_s += weights * inputs->speed.inner_s;
    double seconds = step_s * plan_round_steps(job) + weights * inputs->speed.round_s[job->codec];
    if (job->is_late || job->consistency == CONSISTENCY_LOCAL)
        seconds += weights * inputs->speed.check_s;
    return cluster->cores > 0 && threads > cluster->cores ? seconds * threads / cluster->cores
                                                          : seconds;
}

/* Where all processes share cores, no round is shorter than their work on those. */
static double processor_s(const struct timeline *line)
{
    const struct plan_inputs *inputs = line->inputs;
    const struct plan_speed *speed = &inputs->speed;
    const struct plan_job *job = line->job;
    struct plan_traffic traffic;
    if (inputs->cluster.cores == 0)
        return 0.0;
    struct plan_inputs alone = *inputs;
    alone.cluster.cores = 0;
    double weights = (double)job->layout->weight_count;
    double seconds = line->is_free[PLAN_COMPUTE] ? 0.0 : lane_seconds(&alone) * job->lanes;
    traffic_count(inputs, line->shard_of, &traffic);
    if (inputs->cluster.bytes_per_s > 0.0)
        seconds += (double)(traffic.pushed + traffic.pulled) *
                   (job->is_encrypted ? CURVE_CPU_S_A_BYTE : CPU_S_A_BYTE);
    seconds += weights * (speed->update_s + line->pullers * speed->decode_s[job->codec]);
    return seconds / inputs->cluster.cores;
}

static bool is_whole_first(const struct timeline *line)
{
    return line->job->is_late || line->job->consistency == CONSISTENCY_LOCAL;
}

static bool begins_early(const struct timeline *line)
{
    return line->job->overlap && line->job->consistency == CONSISTENCY_BSP;
}

/* When the first lanes' forward has all its weights, that begins at `begin`: how much later. */
static double waited_s(struct timeline *line, double begin)
{
    const struct layout *layout = line->job->layout;
    const double *read_share = line->inputs->speed.read_share;
    double shift = 0.0;
    for (size_t i = 0; i < layout->block_count; i++) {
        size_t tensor = layout->blocks[i].tensor_idx;
        double read_at = begin + line->lane_s * read_share[tensor];
        shift = later(shift, line->here[i] - read_at);
    }
    return shift;
}

/* When a node's gradient of a tensor is complete, its lanes having begun at `begin`. */
static double ready_s(const struct timeline *line, double begin, uint32_t node, uint32_t tensor)
{
    uint32_t lanes = line->nodes[node].end, threads = line->job->threads;
    uint32_t waves = (lanes + threads - 1) / threads;
    double share = is_whole_first(line) ? 1.0 : line->inputs->speed.done_share[tensor];
    return begin + line->lane_s * ((double)(waves - 1) + share);
}

/* Waits until the shard's credit has room for one more block. */
static double take_credit(struct timeline *line, uint32_t block, uint64_t bytes, double from)
{
    struct shard_line *shard = &line->shards[line->shard_of[block]];
    uint64_t nodes = line->node_count;
    while (shard->oldest != NO_BLOCK && shard->in_flight_bytes + bytes > line->job->credit_bytes) {
        from = later(from, line->here[shard->oldest]);
        shard->in_flight_bytes -= nodes * traffic_push_bytes(line->job, shard->oldest);
        shard->oldest = line->next[shard->oldest];
    }
    shard->in_flight_bytes += bytes;
    line->next[block] = NO_BLOCK;
    if (shard->oldest == NO_BLOCK)
        shard->oldest = block;
    else
        line->next[shard->newest] = block;
    shard->newest = block;
    return from;
}

/* Adds up the worker's lanes and packs the node. */
static double pack(struct timeline *line, uint32_t block, uint32_t node, double from)
{
    const struct plan_speed *speed = &line->inputs->speed;
    enum codec_kind codec = line->job->codec;
    double count = (double)traffic_block_count(line->job, block);
    uint32_t lanes = line->nodes[node].end - line->nodes[node].begin;
    double seconds = count * speed->encode_s[codec] + MESSAGE_S;
    if (lanes > 1)
        seconds += count * (speed->add_s + speed->round_s[codec]);
    return through(&line->push_free, from, line->is_free[PLAN_COMPUTE] ? 0.0 : seconds);
}

/* What the server's link takes for a worker's bytes while all others push as much; the worker is
 * the one whose bytes come last. */
static double arrival_s(struct timeline *line, uint32_t server, double bytes)
{
    double all = line->node_factor;
    double slow_end = line->to_send[server] * SLOWEST_SHARE * (all - 1.0) / (all - SLOWEST_SHARE);
    double slow = slow_end - line->sent[server];
    slow = slow < bytes ? later(slow, 0.0) : bytes;
    line->sent[server] += bytes;
    return link_s(line, PLAN_SERVER_LINK, slow * all / SLOWEST_SHARE + (bytes - slow));
}

/* From the worker to the shard, which takes it apart; when it has been added. */
static double push(struct timeline *line, uint32_t block, uint64_t bytes, double from)
{
    const struct plan_speed *speed = &line->inputs->speed;
    struct shard_line *shard = &line->shards[line->shard_of[block]];
    uint32_t server = line->shard_of[block] / line->job->shards;
    double nodes = line->node_factor * (line->is_merged ? line->node_count : 1);
    double up = through(&line->up_free, from, link_s(line, PLAN_WORKER_LINK, (double)bytes));
    double in = through(&line->in_free[server], from, arrival_s(line, server, (double)bytes));
    double seconds = speed->decode_s[line->job->codec] * (line->job->codec != CODEC_F32) +
                     speed->check_s + speed->add_s + speed->round_s[line->job->codec];
    seconds = nodes * (seconds * (double)traffic_block_count(line->job, block) + MESSAGE_S);
    return through(&shard->free, later(up, in) + one_way_s(line),
                   line->is_free[PLAN_SERVER_WORK] ? 0.0 : seconds);
}

/* The next version, at the primary and at its copy. */
static double update(struct timeline *line, uint32_t block, double from)
{
    const struct plan_speed *speed = &line->inputs->speed;
    const struct plan_job *job = line->job;
    struct shard_line *shard = &line->shards[line->shard_of[block]];
    uint32_t server = line->shard_of[block] / job->shards;
    double seconds = (double)traffic_block_count(job, block) *
                     (speed->update_s + speed->round_s[job->codec] + speed->encode_s[job->codec]);
    if (line->is_free[PLAN_SERVER_WORK])
        seconds = 0.0;
    double done = through(&shard->free, from, seconds);
    if (job->replicas == 0 || line->inputs->cluster.servers < 2)
        return done;
    double bytes = (double)traffic_copy_bytes(job, block, line->inputs->cluster.workers);
    double copy_s = link_s(line, PLAN_SERVER_LINK, bytes);
    double out = through(&line->out_free[server], done, copy_s);
    double in = through(&line->in_free[server], done, copy_s); /* of others' blocks, as many */
    return through(&shard->free, later(out, in) + one_way_s(line), seconds) + one_way_s(line);
}

static void answer(struct timeline *line, uint32_t block, double from)
{
    const struct plan_job *job = line->job;
    uint32_t server = line->shard_of[block] / job->shards;
    double bytes = (double)traffic_pull_bytes(job, block, line->inputs->cluster.workers);
    double out = through(&line->out_free[server], from,
                         link_s(line, PLAN_SERVER_LINK, bytes * line->pullers));
    double down = through(&line->down_free, from, link_s(line, PLAN_WORKER_LINK, bytes));
    double seconds = (double)traffic_block_count(job, block) *
                         line->inputs->speed.decode_s[job->codec] + MESSAGE_S;
    line->here[block] = through(&line->take_free, later(out, down) + one_way_s(line),
                                line->is_free[PLAN_COMPUTE] ? 0.0 : seconds);
    line->whole = later(line->whole, line->here[block]);
}

static void send_node(struct timeline *line, double begin, uint32_t node)
{
    const struct layout *layout = line->job->layout;
    bool is_last = node + 1 == line->node_count;
    for (uint32_t block = (uint32_t)layout->block_count; block-- > 0;) {
        uint64_t bytes = traffic_push_bytes(line->job, block);
        double at = ready_s(line, begin, node, layout->blocks[block].tensor_idx);
        if (line->is_merged) {
            bytes *= line->node_count;
            at = take_credit(line, block, bytes, at);
        }
        at = push(line, block, bytes, pack(line, block, node, at));
        if (is_last)
            answer(line, block, update(line, block, at));
    }
}

static void make_round(struct timeline *line)
{
    uint32_t threads = line->job->threads;
    double begin = begins_early(line) ? line->computed : line->whole;
    double shift = begins_early(line) ? waited_s(line, begin) : 0.0;
    begin += shift;
    line->computed = begin + line->lane_s * ((line->lane_count + threads - 1) / threads);
    for (size_t i = 0; i < line->inputs->cluster.servers; i++)
        line->sent[i] = 0.0;
    for (size_t i = 0; i < (size_t)line->inputs->cluster.servers * line->job->shards; i++) {
        line->shards[i].in_flight_bytes = 0;
        line->shards[i].oldest = line->shards[i].newest = NO_BLOCK;
    }
    for (uint32_t node = line->is_merged ? line->node_count - 1 : 0; node < line->node_count;
         node++)
        send_node(line, begin, node);
}

/* Whether a shard's part of a round is more than one worker may have on its way to it. */
static bool add_up(struct timeline *line)
{
    bool is_over = false;
    for (size_t i = 0; i < line->job->layout->block_count; i++) {
        struct shard_line *shard = &line->shards[line->shard_of[i]];
        uint64_t bytes = line->node_count * traffic_push_bytes(line->job, i);
        line->to_send[line->shard_of[i] / line->job->shards] += (double)bytes;
        shard->in_flight_bytes += bytes;
        is_over = is_over || shard->in_flight_bytes > line->job->credit_bytes;
    }
    return is_over;
}

static int open(struct timeline *line)
{
    const struct plan_job *job = line->job;
    uint32_t workers = line->inputs->cluster.workers, servers = line->inputs->cluster.servers;
    struct lane_node lanes = traffic_busiest(job, workers);
    line->lane_count = lanes.end - lanes.begin;
    line->nodes = calloc(line->lane_count, sizeof(*line->nodes));
    line->here = calloc(job->layout->block_count, sizeof(*line->here));
    line->next = calloc(job->layout->block_count, sizeof(*line->next));
    line->in_free = calloc(servers, sizeof(*line->in_free));
    line->out_free = calloc(servers, sizeof(*line->out_free));
    line->sent = calloc(servers, sizeof(*line->sent));
    line->to_send = calloc(servers, sizeof(*line->to_send));
    line->shards = calloc((size_t)servers * job->shards, sizeof(*line->shards));
    if (line->nodes == NULL || line->here == NULL || line->next == NULL || line->in_free == NULL ||
        line->out_free == NULL || line->sent == NULL || line->to_send == NULL ||
        line->shards == NULL)
        return ERR_NOMEM;
    line->node_count = traffic_nodes(job, lanes, line->nodes);
    for (uint32_t i = 0; i < line->node_count; i++) {
        line->nodes[i].begin -= lanes.begin;
        line->nodes[i].end -= lanes.begin;
    }
    line->node_factor = (double)traffic_node_total(job, workers) / line->node_count;
    line->pullers = workers < job->lanes ? workers : job->lanes;
    line->lane_s = line->is_free[PLAN_COMPUTE] ? 0.0 : lane_seconds(line->inputs);
    line->is_merged = add_up(line);
    return 0;
}

int timeline_round(const struct plan_inputs *inputs, const uint32_t *shard_of,
                   const bool is_free[PLAN_PART_COUNT], double *round_s_out)
{
    struct timeline line = {
        .inputs = inputs, .job = &inputs->job, .shard_of = shard_of, .is_free = is_free};
    double before = 0.0;
    int err = open(&line);
    for (int i = 0; i < ROUNDS_BEFORE + ROUNDS_TAKEN && err == 0; i++) {
        before = i == ROUNDS_BEFORE ? line.whole : before;
        make_round(&line);
    }
    if (err == 0)
        *round_s_out = later((line.whole - before) / ROUNDS_TAKEN, processor_s(&line));
    free(line.nodes);
    free(line.here);
    free(line.next);
    free(line.in_free);
    free(line.out_free);
    free(line.sent);
    free(line.to_send);
    free(line.shards);
    return err;
}
