#ifndef WORKER_EXCHANGE_STATE_H
#define WORKER_EXCHANGE_STATE_H

/* exchange_state - what the exchange knows, shared by the files it is made of and by no other.
 *
 *   exchange          who is spoken to: greeting, beats, results, the end
 *   exchange_view     the coordinator's view becomes ours
 *   exchange_lanes    lanes become tasks, leaves become nodes
 *   exchange_link     nodes go to shards, within their credit, and are held until answered
 *   exchange_codec    nodes to payloads, payloads to weights
 *   exchange_gather   weights come in, are asked for again, and make the next version
 *   exchange_early    the next step's lanes are dealt while its weights come in
 *
 * Thread: the worker's loop.  Surprise: none.
 */
#include "common/deadline.h"
#include "common/reduction.h"
#include "worker/exchange.h"
#include "worker/held.h"
#include "worker/residual.h"
#include "worker/results.h"

enum push_state {
    PUSH_WAITING, /* nothing of the block is whole */
    PUSH_QUEUED,  /* a node is whole, the link's credit is used up, or nobody is primary */
    PUSH_ADMITTED /* its nodes go out as they become whole */
};

struct exchange_block {
    bool is_frozen;       /* nothing changes it: its nodes are held without a payload */
    bool is_in_both;      /* frozen: both vectors of weights have it */
    uint32_t link;        /* of its primary; NOBODY */
    uint32_t above, below; /* its neighbours in the queue, by index; NOBODY */
    enum push_state push;
    uint64_t in_flight_bytes;  /* admitted and not answered: all its nodes */
    bool is_ahead;             /* admitted before blocks whose turn it was */
    struct reduction sums;     /* of lanes whose node is not whole */
    struct held held;          /* nodes that are */
    bool is_next_here;         /* the next vector has it, at next_version */
    uint64_t next_version;
    bool is_told;              /* compute may read it there: early.hand */
    bool is_asked;             /* its primary owes an answer to a push, a void or a pull */
    uint64_t begun_ms, asked_ms; /* when it was first and last asked */
};

/* One shard, as this worker sees it. */
struct exchange_link {
    uint64_t in_flight_bytes; /* of all its blocks */
    uint64_t ahead_bytes;     /* of those that are ahead */
    uint32_t highest, lowest; /* block of the queue of those that wait for credit; NOBODY */
    uint64_t heard_ms, admitted_ms;
    struct deadline answers;
    uint32_t quiet_count; /* rounds of asking since the last answer */
    uint64_t retry_ms;    /* of the round in work */
    bool is_pulled;       /* in the round in work */
};

struct exchange_lane {
    bool is_mine;                    /* by the newest view */
    bool is_training, is_evaluating; /* its task is not answered */
    bool is_early;                   /* nor is that of early.hand */
    bool is_recalled;                /* it was training when tasks were last taken back */
    bool is_eval_dealt;              /* of this version */
    bool is_void;                    /* its gradient is no number */
    struct lane_node node;           /* what it is pushed in; empty: not dealt in this version */
};

/* Lanes of the next step that were dealt before its weights were there, and the times of a step. */
struct exchange_early {
    bool has_hand; /* they are not called off */
    uint64_t hand; /* counts them */
    uint32_t left;  /* tasks of the hand not answered */
    uint32_t lane_count;
    uint64_t begun_ms;
    uint64_t push_ms;    /* the step's first push; 0: none yet, as of the others */
    uint64_t idle_ms;    /* since when compute has nothing to do */
    uint64_t whole_ms;   /* the next version was there */
    uint64_t exposed_us; /* of this step, so far */
};

struct exchange {
    struct exchange_spec spec;
    const struct layout *layout;
    bool is_bsp; /* or local: a version is made of all lanes */
    struct batching batching;
    struct buffer_pool *pool, *own_pool; /* own: NULL when the pool was given */
    struct residual *residual;           /* codec sparse */
    uint64_t now_ms;

    struct run_id run;
    uint32_t view, era; /* 0: none yet */
    uint64_t start_step, step_count, test_count;
    uint64_t hold_step; /* version that is evaluated before anybody goes on from it; 0: none */
    struct shard_member *shards;
    struct exchange_link *links; /* of the same index */
    size_t shard_count;

    struct exchange_lane *lanes; /* [lane_count] */
    uint32_t lane_count, mine_count;
    uint64_t node_count; /* largest nodes of the runs dealt at the version's begin */
    uint32_t train_left, eval_left; /* tasks not answered */
    bool is_held; /* the version's lanes are not dealt before a view lets them be */
    bool is_forgetting; /* those tasks are of an era that is over */
    struct exchange_early early;
    struct results results;

    struct exchange_block *blocks; /* [layout->block_count] */
    float *weights[2];             /* [weight_count]: of `version`, and the next one's */
    int now;                       /* which of the two */
    bool has_weights;
    uint64_t version;
    uint64_t target;   /* version wanted in the next vector; 0: whatever is there */
    bool is_stepping_back; /* nobody has that version any more: it is asked for by name */
    size_t here_count; /* blocks that are there at that version */
    size_t pull_next;  /* of what is to be pulled, the first block that may not have been */
    size_t pulled_bytes; /* before it, asked for and not answered, about */
    size_t retry_from; /* block where the next round of asking begins */
    bool is_moved;     /* blocks pushed in this version have changed their primary */

    uint64_t begin_ms, hello_ms, beat_ms, heard_ms, bye_ms, digest_ms;
    uint64_t hello_count;
    char digest_hex[HEX_BYTES]; /* of the final weights; empty until reckoned */
    bool is_begun;
    struct beat usage, totals;
    bool is_leaving; /* has asked the coordinator to let it go */
    bool is_over;
    struct outcome end;
};

static const struct address coordinator_address = {PARTY_COORDINATOR, 0};
static const struct address compute_address = {PARTY_COMPUTE, 0};

static inline struct message message_of(const struct exchange *x, enum message_kind kind)
{
    return (struct message){.kind = kind,
                            .run = x->run,
                            .sender = x->spec.incarnation,
                            .view = x->view,
                            .era = x->era};
}

static inline size_t block_bytes(const struct exchange *x, size_t block_idx)
{
    const struct range *range = &x->layout->blocks[block_idx].range;
    return (size_t)(range->end - range->begin) * sizeof(float);
}

static inline bool is_final(const struct exchange *x)
{
    return x->has_weights && x->version == x->step_count;
}

/* No step may be made from the version yet. */
static inline bool is_at_hold(const struct exchange *x, uint64_t version)
{
    return x->hold_step != 0 && version >= x->hold_step;
}

/* The cluster is past the step in work: what this worker has of it is of no use to anybody. */
static inline bool is_behind(const struct exchange *x)
{
    return x->has_weights && x->target > x->version + 1;
}

/* Ends this worker and tells the coordinator why. */
void exchange_give_up(struct exchange *x, int code, const char *text, struct outbox *out);

#endif
