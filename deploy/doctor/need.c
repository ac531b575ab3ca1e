#include "deploy/doctor/need.h"

#include "common/optimizer.h"
#include "common/rounds.h"

/* A process with its libraries, ZeroMQ's buffers, a stack and a heap a thread: measured 11 MB for a
 * server and 40 MB for a worker of the digits job. */
static const uint64_t process_bytes = (uint64_t)48 << 20;

/* Logs, the libraries', ZeroMQ's own: measured 19 to 22.  A connection takes one descriptor, and
 * its shared memory two. */
enum { FILES_FIXED = 40, FILES_A_CONNECTION = 3, FILES_A_SOCKET = 6 };

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* What all workers may have on their way to one shard, which holds `bytes` of weights. */
static uint64_t in_flight(const struct settings *settings, uint64_t bytes)
{
    uint64_t nodes = up(settings->job.lanes, settings->cluster.workers);
    return settings->cluster.workers *
           least(settings->exchange.credit_bytes, bytes * nodes);
}

static uint64_t server_bytes(const struct settings *settings, uint64_t all_bytes)
{
    uint64_t copies = 1 + settings->cluster.replicas, shards = settings->cluster.shards;
    uint64_t share = up(all_bytes * copies, settings->cluster.servers);
    uint64_t vectors = 1 + rounds_state_count(settings) + (settings->cluster.workers == 1);
    if (settings->exchange.codec != CODEC_F32)
        vectors++;
    return process_bytes + share * vectors + shards * in_flight(settings, up(share, shards));
}

static uint64_t worker_bytes(const struct settings *settings, const struct model_size *size)
{
    uint64_t all_bytes = size->weight_count * sizeof(float), threads = settings->worker.threads;
    uint64_t shards = (uint64_t)settings->cluster.servers * settings->cluster.shards;
    uint64_t vectors = 2 + 2 * threads; /* two versions; a gradient, and one on its way */
    if (settings->exchange.codec == CODEC_SPARSE)
        vectors += 2;
    if (settings->exchange.consistency == CONSISTENCY_LOCAL)
        vectors += threads * (1 + optimizer_state_count(settings->optimizer.kind));
    return process_bytes + all_bytes * vectors + threads * size->run_bytes +
           2 * least(shards * settings->exchange.credit_bytes, all_bytes) +
           least(size->data_bytes, settings->data.memory_bytes);
}

struct need need_of(const struct settings *settings, const struct model_size *size)
{
    uint64_t all_bytes = size->weight_count * sizeof(float);
    return (struct need){
        .server_bytes = server_bytes(settings, all_bytes),
        .worker_bytes = worker_bytes(settings, size),
        .checkpoint_bytes = all_bytes * (1 + rounds_state_count(settings)),
    };
}

uint64_t need_checkpoints(const struct settings *settings)
{
    bool has_patience = settings->job.patience > 0; /* one an evaluation, and the best stays */
    if (settings->checkpoint.every == 0 && !has_patience)
        return 1;
    if (settings->checkpoint.keep > 0)
        return settings->checkpoint.keep + 1 + has_patience;
    if (has_patience)
        return 0;
    return settings->job.steps == 0 ? 0 : settings->job.steps / settings->checkpoint.every + 1;
}

uint64_t need_files_coordinator(const struct settings *settings)
{
    uint64_t shards = (uint64_t)settings->cluster.servers * settings->cluster.shards;
    return FILES_FIXED + 2 * FILES_A_SOCKET + settings->cluster.workers + 2 * shards;
}

uint64_t need_files_server(const struct settings *settings)
{
    uint64_t shards = (uint64_t)settings->cluster.servers * settings->cluster.shards;
    uint64_t peers = settings->cluster.workers + 2 * shards;
    return FILES_FIXED +
           settings->cluster.shards * (3 * FILES_A_SOCKET + FILES_A_CONNECTION * peers);
}

uint64_t need_files_worker(const struct settings *settings)
{
    uint64_t shards = (uint64_t)settings->cluster.servers * settings->cluster.shards;
    return FILES_FIXED + FILES_A_SOCKET + (FILES_A_CONNECTION + FILES_A_SOCKET) * shards;
}
