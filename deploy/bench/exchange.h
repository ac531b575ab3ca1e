#ifndef DEPLOY_BENCH_EXCHANGE_H
#define DEPLOY_BENCH_EXCHANGE_H

/* exchange - one case of the benchmark: a real coordinator, real servers, and workers whose compute
 * is a stand-in, run until they have been measured for long enough, and then killed.
 *
 * Shapes:   1 GB = 1e9 bytes of payload, pushed plus pulled: each step moves the model twice for
 *           every worker.  Headers and what is sent twice do not count.
 * Owner:    `talweg bench exchange`.  Thread: the main thread.
 * Memory:   the steps' times, sorted.
 * Surprise: a worker that has more than one run of lanes pushes more than is counted here: with a
 *           number of workers that is a power of two, none has.
 */
#include <signal.h>
#include "common/settings.h"
#include "deploy/bench/limits.h"
#include "deploy/bench/model.h"

enum bench_transport { BENCH_SHM, BENCH_IPC, BENCH_TCP, BENCH_CURVE, BENCH_TRANSPORT_COUNT };

struct bench_case {
    enum bench_transport transport;
    uint32_t servers, shards, workers; /* shards: of each server */
    uint32_t block_bytes;
    enum bench_model model;
    uint64_t model_bytes; /* of the flat model */
    enum optimizer_kind optimizer; /* OPTIMIZER_SGD: one addition; OPTIMIZER_ADAM */
    double seconds; /* at least */
    const char *const *sets; /* more settings of the job, "path=value" */
    size_t set_count;
    const volatile sig_atomic_t *is_asked_to_stop;
};

/* One of the kinds of process; of memory: all servers together, the largest worker. */
struct bench_side {
    double cpu_s_per_gb; /* user and system, all threads, all processes of the kind */
    uint64_t peak_bytes; /* resident, VmHWM */
    uint64_t base_bytes; /* resident before the model was there */
};

struct bench_result {
    uint64_t model_bytes;
    uint32_t block_count, lanes;
    double goodput_gbs;
    double step_p50_us, step_p99_us; /* from one version whole at a worker to the next */
    uint64_t step_count; /* measured, over all workers */
    double wall_s;
    struct bench_side worker, server, coordinator;
};

/* "shm", "ipc", "tcp", "tcp+curve".  Static. */
const char *bench_transport_name(enum bench_transport transport);

/* What its bytes go through. */
enum limit_wire bench_wire(enum bench_transport transport);

/* ERR_NOT_FOUND when there is no such name. */
MUST_USE int bench_transport_find(const char *name, enum bench_transport *transport_out);

/* ERR_STOPPED: asked to; ERR_LOST: a process ended, with its reason; ERR_TIMEOUT; ERR_IO;
 * ERR_NOMEM; all with a sentence. */
MUST_USE int bench_exchange(const struct bench_case *what, struct bench_result *result_out,
                            struct err_msg *why);

#endif
