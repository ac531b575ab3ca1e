#ifndef DEPLOY_PLAN_MODEL_H
#define DEPLOY_PLAN_MODEL_H

/* model - what a job would cost on a cluster: bytes, memory, the time of a step.
 *
 * A pure function of what the job says, how fast this kind of machine is, and what the cluster is.
 * The time is that of the worker with most to do; each machine has one link, as fast in as out, and
 * servers have machines of their own (timeline.h).  Evaluations and checkpoints are left out.
 *
 * Shapes:   a round is what lies between two exchanges: one step, or exchange.local_steps of them.
 * Owner:    values; layout and shares are borrowed.  Thread: no state.
 * Memory:   scratch for the call.
 * Source:   the formulas of memory: worker/README.md, ps/README.md.
 * Surprise: none.
 */
#include <stdbool.h>
#include "common/settings.h"
#include "common/layout.h"

enum { PLAN_MEMBERS_MAX = 1024 };

/* Of what a link carries, what is payload: 1448 of the 1538 bytes that an Ethernet frame of 1500
 * takes, and the acknowledgements of what goes the other way. */
#define PLAN_PAYLOAD_SHARE 0.93

/* What a step's time goes to: name in JSON, words for people. */
#define PLAN_PART_TABLE(X)                                     \
    X(PLAN_COMPUTE, "worker_compute", "the workers' compute")  \
    X(PLAN_WORKER_LINK, "worker_link", "the workers' link")    \
    X(PLAN_SERVER_LINK, "server_link", "the servers' link")    \
    X(PLAN_SERVER_WORK, "server_update", "the servers' update") \
    X(PLAN_LATENCY, "latency", "the round trip")

#define PLAN_PART_ENUM(name, key, words) name,
enum plan_part { PLAN_PART_TABLE(PLAN_PART_ENUM) PLAN_PART_COUNT };
#undef PLAN_PART_ENUM

const char *plan_part_key(enum plan_part part);
const char *plan_part_words(enum plan_part part);

/* What of a job decides what it costs. */
struct plan_job {
    const struct layout *layout;
    uint32_t lanes, batch, threads; /* threads: of a worker */
    uint32_t shards, replicas;      /* shards: of a server */
    enum consistency_kind consistency;
    uint32_t local_steps;
    enum codec_kind codec;
    double topk_fraction;
    bool may_topk; /* the optimizer is one that topk can do without servers */
    bool overlap, is_late; /* is_late: no block is handed over before all are complete */
    bool is_encrypted; /* between machines */
    size_t optimizer_states;
    bool has_average; /* of the weights: servers have one vector more */
    uint64_t credit_bytes;
};

/* How fast the machines are: seconds for one weight unless said, on one thread. */
struct plan_speed {
    double lane_s;                         /* a lane of a step, forward and backward */
    const double *read_share, *done_share; /* [tensor_count]: when in that time the forward first
                                              reads a tensor, and when its gradient is complete */
    double add_s, copy_s, check_s;
    double update_s, inner_s; /* the servers' optimizer; a lane's own (local) */
    double round_s[CODEC_COUNT], encode_s[CODEC_COUNT], decode_s[CODEC_COUNT];
};

/* Memory that does not depend on the cluster. */
struct plan_base {
    uint64_t worker_bytes;               /* executable, libraries, data */
    uint64_t run_bytes;                  /* of a thread: activations and a lane's samples */
    uint64_t server_bytes, coordinator_bytes;
};

struct plan_cluster {
    uint32_t workers, servers;
    double bytes_per_s; /* of a machine's link, each way; 0: all on one machine, by shared memory */
    double round_trip_s;
    uint32_t cores; /* that all processes share; 0: workers have enough of their own */
};

struct plan_inputs {
    struct plan_job job;
    struct plan_speed speed;
    struct plan_base base;
    struct plan_cluster cluster;
};

/* Payload of one round.  A copy is what a server sends another (cluster.replicas). */
struct plan_traffic {
    uint64_t worker_up, worker_down; /* of the worker that has most */
    uint64_t pushed, pulled;         /* of all workers, which is of all servers */
    uint64_t server_in, server_out;  /* of the server that has most, copies included */
    uint64_t copied;                 /* of all servers */
};

struct plan_prediction {
    struct plan_traffic traffic;
    uint64_t worker_bytes, server_bytes, coordinator_bytes; /* memory of a process */
    uint32_t idle_workers; /* who has no lane */
    double round_s, step_s, samples_per_s;
    double share[PLAN_PART_COUNT]; /* of the time, what is saved if that part took none */
    enum plan_part bottleneck;     /* the largest of them */
};

/* layout is borrowed. */
struct plan_job plan_job_of(const struct settings *settings, const struct layout *layout);

/* Steps between two exchanges. */
uint32_t plan_round_steps(const struct plan_job *job);

/* workers and servers are from 1 to PLAN_MEMBERS_MAX.  ERR_NOMEM. */
MUST_USE int plan_predict(const struct plan_inputs *inputs, struct plan_prediction *out);

#endif
