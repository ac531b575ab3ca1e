#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

/* world - what the files of the simulator share: machines, processes on them, parties in those, and
 * the heap of events to come.
 *
 * A machine is a place in the network.  A process runs on one, until it is killed or leaves; the
 * next on the same machine is another process.  A process has parties: a coordinator and a store,
 * or the shards of a server, or a worker with its compute.
 *
 * Owner:    sim_run.  Thread: one.
 * Surprise: machine 0 is the coordinator's.
 */
#include "common/philox.h"
#include "proto/outbox.h"
#include "ps/shard.h"
#include "tests/sim/cluster.h"
#include "worker/exchange.h"

enum {
    PARTIES_MAX = 384,
    PROCESSES_MAX = 192,
    MACHINES_MAX = 32,
    TASKS_MAX = 128,
    TRAIN_SAMPLES = 100,
    TEST_SAMPLES = 40,
    NODES_MAX = 64,
    SIM_ERAS_MAX = 32,
    NO_PROCESS = -1
};

enum event_kind {
    EVENT_LETTER,  /* a message reaches a party */
    EVENT_TICK,    /* of a process */
    EVENT_WORK,    /* a compute has done the next piece of its task */
    EVENT_LOCAL,   /* a message inside a process: header is a struct message */
    EVENT_FAULT,
    EVENT_RESTART, /* of the machine's process */
    EVENT_STOP,    /* coordinator_stop */
    EVENT_SILENCE  /* the silent worker's */
};

struct sim_event {
    enum event_kind kind;
    uint64_t at_us, number; /* number: later ones after earlier ones of the same moment */
    size_t to;              /* a party; of EVENT_TICK a process, of EVENT_RESTART a machine */
    struct address from;
    void *header;
    size_t header_bytes;
    struct buffer *payload;
};

struct sim_task {
    enum message_kind kind;
    struct lane_task task;
};

/* A worker's own threads: one task at a time, in pieces, so that other messages come between. */
struct sim_compute {
    struct sim_task tasks[TASKS_MAX];
    size_t count;
    bool is_busy;
    size_t piece_idx;
    uint64_t piece_us;
    uint64_t weights_hash; /* when the task began */
    bool is_called_off;    /* the task is broken off where it is looked at next */
    uint64_t hand;         /* the newest of tasks that began before their weights were there */
    const float *hand_weights;
    bool is_here[SIM_BLOCKS_MAX];       /* of that hand */
    uint64_t block_hash[SIM_BLOCKS_MAX]; /* when it came */
};

/* What a worker has pushed of a block's step and not had answered. */
struct sim_pushed {
    size_t to; /* party */
    uint64_t step, bytes;
    struct { uint32_t begin, end; } nodes[NODES_MAX];
    size_t node_count;
};

struct sim_party {
    struct address self;
    size_t process;
    struct coordinator *coordinator;
    struct shard *shard;
    struct exchange *exchange;
    struct sim_compute *compute;
    bool is_store, is_over;
    bool is_known; /* to the present coordinator's sockets: it has spoken to it */
    uint32_t era;
    struct sim_pushed pushed[SIM_BLOCKS_MAX];
};

enum process_kind { PROCESS_COORDINATOR, PROCESS_SERVER, PROCESS_WORKER };

struct sim_process {
    enum process_kind kind;
    int32_t rank;
    size_t machine;
    bool is_alive, is_leaving, is_silent;
    bool is_preempted; /* leaves, and is started again */
    bool is_gone_hidden; /* nobody hears that its connections ended */
    uint64_t paused_us;  /* until when */
    uint64_t clock_ms;   /* its clock is that much ahead */
    uint64_t lane_us;    /* a worker: time of one lane */
    size_t first, count; /* parties */
};

struct sim_machine {
    int32_t process;   /* the newest that ran here, or NO_PROCESS */
    uint32_t restarts; /* of one that left by itself */
};

/* A packed record or an open checkpoint's block. */
struct sim_bytes {
    uint64_t step;
    uint32_t block;
    void *data;
    size_t size;
};

struct sim_list {
    struct sim_bytes *items;
    size_t count, capacity;
};

struct sim_store {
    struct sim_list blocks; /* of whole checkpoints */
    size_t block_count;
};

/* Who answered the newest version of a block first. */
struct sim_front {
    uint64_t version;
    uint32_t era, view;
    size_t shard; /* party */
    bool has_progress;            /* another version than the era's first */
    uint64_t version_of_era[SIM_ERAS_MAX]; /* newest of each earlier era */
};

struct sim {
    const struct sim_spec *spec;
    struct sim_result *result;
    struct sim_party parties[PARTIES_MAX];
    size_t party_count;
    struct sim_process processes[PROCESSES_MAX];
    size_t process_count;
    struct sim_machine machines[MACHINES_MAX];
    size_t machine_count;
    uint64_t cut_us[MACHINES_MAX][MACHINES_MAX]; /* until when, from the first to the second */
    uint64_t last_us[PARTIES_MAX][PARTIES_MAX];  /* when the newest letter between them arrives */

    struct sim_event *heap;
    size_t heap_count, heap_capacity;
    uint64_t now_us, number;
    struct draw_key chance;
    uint64_t chance_idx;
    struct buffer_pool *pool;
    struct arena *arena, *unpack_arena;
    struct layout *layout;

    struct sim_store *store;
    struct sim_list open;    /* checkpoints in the making */
    struct sim_list journal; /* the coordinator's records */
    uint64_t failed_steps[SIM_HISTORY_MAX];
    size_t failed_count;
    uint32_t store_era;
    uint64_t store_hold_step; /* which is tried for as long as it comes, as the last step is */
    bool is_store_ready;     /* has a view */

    uint64_t kept_steps;  /* a bit for each step of which a checkpoint was whole */
    uint64_t known_step;  /* the newest of which a coordinator knew and went on */

    bool is_write_fatal; /* the coordinator dies at its next record */
    bool is_holding;     /* this run: a cut holds messages back instead of losing them */
    bool is_resetting;   /* this run: a cut looks like a closed connection */
    bool is_local;       /* this run: processes are on one machine and say so */
    bool is_queueing;    /* this run: what is sent to a dead process waits for the next one there */
    uint64_t calm_us;    /* when the last fault ends */
    uint64_t over_us;    /* when the coordinator was over; 0: not yet */
    uint32_t newest_era;
    bool was_protected;  /* every block has had a backup since a server was last killed */
    bool is_over;        /* the run is to end */
    bool has_trace;

    struct sim_front fronts[SIM_BLOCKS_MAX];
    struct sim_history seen;
};

/* network.c */
uint64_t sim_chance(struct sim *sim, uint64_t below);
bool sim_is_likely(struct sim *sim, uint32_t percent);
void sim_schedule(struct sim *sim, struct sim_event event);
struct sim_event sim_next(struct sim *sim);
void sim_drop(struct sim_event *event);
void sim_post(struct sim *sim, size_t from, struct address to, const struct message *msg);
void sim_deliver(struct sim *sim, struct sim_event *event);

/* processes.c */
struct sim_process *sim_process_of(struct sim *sim, size_t party);
bool sim_is_alive(struct sim *sim, size_t party);
uint64_t sim_clock_ms(struct sim *sim, size_t party);
size_t sim_add_machine(struct sim *sim);
void sim_start(struct sim *sim, size_t machine, enum process_kind kind, int32_t rank);
void sim_kill(struct sim *sim, size_t process);
void sim_restart(struct sim *sim, size_t machine);
void sim_hear(struct sim *sim, size_t party, struct address from, const struct message *msg);
void sim_tick(struct sim *sim, size_t process);
void sim_stop(struct sim *sim, size_t process);
void sim_flush(struct sim *sim, size_t from, struct outbox *out);
struct coordinator *sim_coordinator(struct sim *sim);
void sim_text(const struct sim *sim, size_t party, char *text, size_t size);

/* compute.c */
void sim_compute_take(struct sim *sim, size_t worker, const struct message *msg);
void sim_compute_work(struct sim *sim, size_t worker);
void sim_compute_answer(struct sim *sim, size_t worker, const struct message *msg);

/* sim_store.c */
void sim_store_hear(struct sim *sim, size_t self, struct address from, const struct message *msg);
void sim_store_died(struct sim *sim);
struct sim_bytes *sim_list_add(struct sim_list *list, uint64_t step, uint32_t block,
                               const void *data, size_t size);
void sim_list_clear(struct sim_list *list);

/* faults.c */
void sim_choose_manners(struct sim *sim);
void sim_plan_faults(struct sim *sim);
void sim_strike(struct sim *sim);

/* checks.c */
__attribute__((format(printf, 2, 3))) void sim_violate(struct sim *sim, const char *format, ...);
__attribute__((format(printf, 2, 3))) void sim_trace(struct sim *sim, const char *format, ...);
void sim_trace_letter(struct sim *sim, size_t from, size_t to, const struct message *msg,
                      const char *fate);
void sim_check_post(struct sim *sim, size_t from, size_t to, const struct message *msg);
void sim_check_hear(struct sim *sim, size_t to, const struct message *msg);
void sim_check_known(struct sim *sim, const struct message *msg);
void sim_check_end(struct sim *sim);
uint64_t sim_hash(const void *data, size_t bytes);
uint64_t sim_step_count(const struct sim *sim); /* of the job; rounds count as steps */

#endif
