#ifndef DEPLOY_LOCAL_CLUSTER_H
#define DEPLOY_LOCAL_CLUSTER_H

/* local_cluster - a coordinator, servers and workers of one run as processes of this machine: their
 * command lines, their next life when they are killed, their orderly end, and which of them ended
 * the run.
 *
 * The roles talk over unix sockets in the run's folder.  One that is killed by a signal is started
 * again, and the run goes on.  When one fails by itself, the others get a moment to say why
 * themselves, then they are ended.
 *
 * Owner:    `talweg train`.  Thread: the main thread (children.h).
 * Memory:   the table of children.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/settings.h"
#include "deploy/children.h"
#include "deploy/run_folder.h"

struct cluster_spec {
    const char *job_path;
    const char *resume; /* NULL: anew */
    const char *const *sets;
    size_t set_count;
    uint32_t server_count, worker_count;
    const struct run_folder *folder;
    bool is_tcp; /* servers listen on loopback TCP, not on unix sockets */
    /* What is started as a worker: a program that lies beside this one and what it is told before
     * all else, [worker_word_count]; none: talweg-worker. */
    const char *const *worker_words;
    size_t worker_word_count;
    /* Is told of each process that was killed: is_lost when it is not started again. */
    void (*say)(void *context, const char *sentence, bool is_lost);
    void *say_context;
};

enum cluster_phase {
    CLUSTER_RUNNING,
    CLUSTER_STOPPING, /* the coordinator was asked to stop with a checkpoint */
    CLUSTER_LEAVING,  /* the coordinator is done: the others have a moment to leave */
    CLUSTER_FAILING,  /* one failed: the others have a moment to say why */
    CLUSTER_ENDING,   /* they were asked to end */
    CLUSTER_KILLING
};

struct cluster;

/* Starts every process; OUT/run.json must not be there.  All that the spec points to is borrowed
 * for the cluster's life.  ERR_IO with a sentence when one cannot be started; none is left then. */
MUST_USE int cluster_start(const struct cluster_spec *spec, uint64_t now_ms,
                           struct cluster **cluster_out, struct err_msg *why);

/* Kills what is left. */
void cluster_destroy(struct cluster *cluster);

/* The coordinator's endpoint. */
const char *cluster_endpoint(const struct cluster *cluster);

/* Looks who has ended, starts again who was killed, and moves on what is overdue.  True while a
 * process runs. */
bool cluster_tick(struct cluster *cluster, uint64_t now_ms);

/* First: the coordinator is asked to stop; after that: all are killed.  Those that are leaving
 * anyway are left to it. */
void cluster_interrupt(struct cluster *cluster, uint64_t now_ms);

enum cluster_phase cluster_phase(const struct cluster *cluster);

/* How often a process was started again. */
unsigned cluster_restart_count(const struct cluster *cluster);

/* Why the run ended, when it did not end well: "worker 2 (process 71) was killed by signal 9
 * (Killed)".  False when all left in order. */
bool cluster_blame(const struct cluster *cluster, char *out, size_t out_bytes);

/* The processes: the coordinator, then the servers, then the workers.  Valid with the cluster. */
const struct children *cluster_children(const struct cluster *cluster);

/* True when the coordinator gave the run up by itself, and nobody was killed: then its own sentence
 * in summary.json says more. */
bool cluster_has_ended_itself(const struct cluster *cluster);

#endif
