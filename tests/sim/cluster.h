#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

/* cluster - a whole cluster in one process under a virtual clock: the real state machines of
 * coordinator, shards and workers, joined by a network that loses, delays, reorders and repeats,
 * on machines that fail; all of it from one seed.
 *
 * Every message is packed and unpacked as on a wire, its payload copied.  The store keeps blocks in
 * memory; a worker's compute is a closed formula of (weights, step, lane).  What must never happen
 * is looked for while it runs (checks.c).
 *
 * Owner:    the test.  Thread: one.
 * Surprise: TALWEG_SIM_TRACE=1 prints every event of every run.
 */
#include "common/settings.h"
#include "ps/coordinator.h"

enum {
    SIM_HISTORY_MAX = 64, /* steps */
    SIM_BLOCKS_MAX = 32,
    SIM_WEIGHTS_MAX = 256,
    SIM_TEXT_BYTES = 600
};

enum sim_fault {
    FAULT_KILL_WORKER,
    FAULT_KILL_SERVER,
    FAULT_KILL_COORDINATOR, /* its store with it */
    FAULT_KILL_WRITING,     /* the same, at its next journal record, which may be torn */
    FAULT_KILL_ALL,
    FAULT_PAUSE,   /* any process stands still for a while */
    FAULT_CUT,     /* one direction between two machines */
    FAULT_PART,    /* a group of machines from all others, both ways or one */
    FAULT_REPLACE, /* a second process of the same rank, while the first is only cut off */
    FAULT_JOIN,    /* one more worker or server */
    FAULT_DRAIN,   /* a member is asked to stop */
    FAULT_PREEMPT, /* a worker is, the last one too; killed if it takes long; it comes again */
    FAULT_KINDS
};

struct sim_faults {
    uint8_t weight[FAULT_KINDS]; /* how often each, among all */
    uint32_t count;              /* 0: none */
    uint32_t span_ms;            /* they begin within so much of the start */
    uint32_t outage_ms;          /* and last that long at most */
    bool is_gentle; /* one server is out at a time, and only while every block has a backup */
};

/* What a run is to be like: filled by an undisturbed one, compared with by others. */
struct sim_history {
    uint64_t hash[SIM_BLOCKS_MAX][SIM_HISTORY_MAX + 1]; /* of each version's weights; 0: none */
    uint64_t rounded[SIM_BLOCKS_MAX][SIM_HISTORY_MAX + 1]; /* of what is sent of them, by a codec */
    float weights[SIM_WEIGHTS_MAX];                     /* in the end */
};

struct sim_store; /* checkpoints, kept from one run to the next */

struct sim_spec {
    uint64_t seed;  /* of the network, the speeds and the faults, not of the job */
    struct settings settings;
    uint32_t delay_ms;        /* the most that a message takes */
    bool is_fifo;             /* messages between two parties stay in order */
    uint32_t twice_percent;   /* how many messages arrive twice, the second at any later moment */
    uint32_t drop_percent;    /* how many do not arrive */
    uint32_t disk_ms;         /* the most that the store takes to answer */
    uint32_t disk_fail_percent; /* of checkpoints before the last */
    uint32_t nan_percent;     /* of lanes whose gradient is no number: the same ones in every run */
    bool keeps_all;           /* every checkpoint is to be written: no server dies, no disk fails */
    bool is_slow;             /* the first worker is ten times as slow as the others */
    uint64_t resume_step;     /* 0: anew; else a checkpoint that store has */
    struct sim_store *store;  /* NULL: a fresh one, dropped at the end */
    uint64_t stop_ms;         /* coordinator_stop at this time; 0: never */
    int32_t absent_worker;    /* never starts; -1: none */
    int32_t silent_worker;    /* falls silent at silent_ms; -1: none */
    uint64_t silent_ms;
    struct sim_faults faults;
    struct sim_history *record;         /* to be filled, or NULL */
    const struct sim_history *expected; /* to be like, or NULL */
};

struct sim_result {
    struct progress progress;
    uint64_t end_ms;  /* when the coordinator was over */
    uint64_t calm_ms; /* when the last fault was */
    uint64_t message_count;
    uint64_t refused_count;
    uint64_t in_flight_max; /* bytes pushed to one shard by one worker and not yet answered */
    uint64_t parked_max;    /* bytes that a shard said it holds of sums */
    uint32_t outbox_max;
    uint32_t fault_count;
    bool has_drained; /* some member was asked to stop */
    char violation[SIM_TEXT_BYTES]; /* what must not happen and did; "" when nothing */
};

/* Settings of a small job; the caller changes what it wants. */
struct settings sim_settings(uint32_t servers, uint32_t workers);

struct sim_store *sim_store_create(void);
void sim_store_destroy(struct sim_store *store);

/* Steps of which the store has every block, ascending; returns how many. */
size_t sim_store_steps(const struct sim_store *store, uint64_t steps_out[SIM_HISTORY_MAX]);

/* Runs until the coordinator is over and everyone has left. */
void sim_run(const struct sim_spec *spec, struct sim_result *result_out);

#endif
