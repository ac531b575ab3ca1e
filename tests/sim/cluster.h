#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

/* cluster - a whole cluster in one process under a virtual clock: the real state machines of
 * coordinator, shards and workers, joined by a network that delays, reorders and repeats, all from
 * one seed.
 *
 * Every message is packed and unpacked as on a wire, its payload copied.  The store keeps blocks in
 * memory; a worker's compute is a closed formula of (weights, step, lane).
 *
 * Owner:    the test.  Thread: one.
 * Surprise: none.
 */
#include "common/settings.h"
#include "ps/coordinator.h"

enum { SIM_HISTORY_MAX = 64 };

struct sim_store; /* checkpoints, kept from one run to the next */

struct sim_spec {
    uint64_t seed;  /* of the network and the speeds, not of the job */
    struct settings settings;
    uint32_t delay_ms;        /* the most that a message takes */
    bool is_fifo;             /* messages between two parties stay in order */
    uint32_t twice_percent;   /* how many messages arrive twice, the second at any later moment */
    uint64_t resume_step;     /* 0: anew; else a checkpoint that store has */
    struct sim_store *store;  /* NULL: a fresh one, dropped at the end */
    uint64_t stop_ms;         /* coordinator_stop at this time; 0: never */
    int32_t absent_worker;    /* never starts; -1: none */
    int32_t silent_worker;    /* falls silent at silent_ms; -1: none */
    uint64_t silent_ms;
};

struct sim_result {
    struct progress progress;
    uint64_t end_ms;
    uint64_t message_count;
    uint64_t refused_count;
    uint64_t in_flight_max; /* bytes pushed to one shard by one worker and not yet answered */
};

/* Settings of a small job; the caller changes what it wants. */
struct settings sim_settings(uint32_t servers, uint32_t workers);

struct sim_store *sim_store_create(void);
void sim_store_destroy(struct sim_store *store);

/* Steps of which the store has every block, ascending; returns how many. */
size_t sim_store_steps(const struct sim_store *store, uint64_t steps_out[SIM_HISTORY_MAX]);

/* Runs until the coordinator is over, and asserts that it is within an hour of virtual time. */
void sim_run(const struct sim_spec *spec, struct sim_result *result_out);

#endif
