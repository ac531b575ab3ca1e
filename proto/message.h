#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

/* message - everything that processes say to each other, as plain values, and its form on the wire.
 *
 * A message is a protobuf header frame and, for some kinds, a raw little-endian payload frame, or
 * several when it is of several blocks.  Payloads never pass through protobuf.
 *
 * Shapes:   MSG_LEAF payload: [block's elements] f32; MSG_PUSH, MSG_WEIGHTS, MSG_UPDATE: the same
 *           in the form that key.codec says (common/codec.h);
 *           MSG_BLOCK_STATE: weights, then each part of the optimizer's state, each as the block;
 *           MSG_REPLICA: the same and, unless bsp, the lanes' clocks, [lane_count] u64;
 *           MSG_STATUS: JSON text; MSG_ECHO: at most WIRE_ECHO_BYTES_MAX that mean nothing.
 * Owner:    a received message borrows from its arena and payload.  Thread: one.
 * Surprise: kinds from MSG_TRAIN_LANE on stay inside a process and cannot be packed.
 */
#include "common/arena.h"
#include "common/buffer.h"
#include "common/codec.h"
#include "common/lending.h"
#include "proto/view.h"

enum { BEAT_STALENESS = 8, BEAT_SHARED = 32, PARCEL_BLOCKS_MAX = 512 };

enum message_kind {
    MSG_NONE = 0,
    MSG_HELLO,           /* member -> coordinator: hello */
    MSG_WELCOME,         /* coordinator -> member: rank; the header tells the run */
    MSG_REFUSED,         /* anyone -> sender: outcome; go away */
    MSG_VIEW,            /* coordinator -> members: view */
    MSG_BEAT,            /* member -> coordinator: beat */
    MSG_LANE_DONE,       /* worker -> coordinator: lane_result of training */
    MSG_EVAL_DONE,       /* worker -> coordinator: the same of the held-out part, at version step */
    MSG_WEIGHTS_DIGEST,  /* worker -> coordinator: digest of all weights at version step */
    MSG_CHECKPOINT_ASK,  /* coordinator -> shard: keep version step as well */
    MSG_CHECKPOINT_LATE, /* shard -> coordinator: step has gone by; newest is the version it has */
    MSG_CHECKPOINT_DONE, /* store -> coordinator: outcome of the checkpoint of step */
    MSG_FINISH,          /* coordinator -> members: outcome; leave */
    MSG_BYE,             /* member -> coordinator: outcome; I leave */
    MSG_STATUS_ASK,      /* client -> coordinator */
    MSG_STATUS,          /* coordinator -> client */
    MSG_PUSH,            /* worker -> shard: node's sum of gradients of a block */
    MSG_PULL,            /* worker -> shard: a block at version step, when it is there */
    MSG_WEIGHTS,         /* shard -> worker: a block at version step */
    MSG_BLOCK_FETCH,     /* shard -> store: block */
    MSG_BLOCK_STATE,     /* shard -> store and back: a block's whole state at version step */
    MSG_BLOCK_KEPT,      /* store -> shard: block of step is written */
    MSG_WHO,             /* coordinator -> member: say hello (again) */
    MSG_VOID,            /* worker -> shard: the node's gradient is no number: leave the step out */
    MSG_LACK,            /* shard -> worker: these lanes of the block's step have not come */
    MSG_UPDATE,          /* primary -> backup, learner: what makes version step the next one */
    MSG_UPDATE_VOID,     /* the same of a step that is left out */
    MSG_UPDATED,         /* backup, learner -> primary: has the block at version step */
    MSG_REPLICA,         /* primary -> learner: a block's whole state at version step */
    MSG_FILLED,          /* primary -> coordinator: the block's learner has all of it */
    MSG_ALARM,           /* shard -> coordinator: outcome; the job must end (ERR_LOST: the worker of
                            rank newest asks for a version that is kept no more) */
    MSG_DRAIN,           /* client -> coordinator: move everything off a member and let it go */
    MSG_DRAINING,        /* coordinator -> client: outcome of that */
    MSG_PULL_OLD,        /* worker -> shard: a block at version step, present or the one before */
    MSG_ECHO,            /* client -> coordinator, shard, which sends it back (ps/echo.h) */
    MSG_PASS,            /* worker -> shard: node of a step of a frozen block: nothing to add */
    MSG_SAME,            /* shard -> worker: a frozen block at version step, as the worker has it */
    MSG_TRAIN_LANE = 64, /* worker -> its compute: task */
    MSG_EVAL_LANE,       /* worker -> its compute: task */
    MSG_LEAF,            /* compute -> worker: gradient of one block of one lane */
    MSG_LEAF_VOID,       /* compute -> worker: the lane's gradient is no number: key.step, lanes */
    MSG_DROP_LANES,      /* worker -> its compute: forget tasks not begun, `local` rounds not ended,
                            and tasks of hands up to here.hand that wait for weights */
    MSG_LANE_DROPPED,    /* compute -> worker: task; one answer to each task forgotten */
    MSG_BLOCK_HERE,      /* worker -> its compute: here; tasks of that hand may read the block */
    MSG_GONE             /* loop -> coordinator: the connection to `from` is gone */
};

/* What a worker reports of one lane. */
struct lane_result {
    uint64_t step;
    uint32_t lane;
    double loss_sum;        /* over the lane's samples */
    uint64_t answer_count;  /* classes asked for, one a sample or position; 0: regression */
    uint64_t correct_count; /* of those */
    uint64_t sample_count;
    uint64_t compute_us; /* without wait_us */
    uint64_t wait_us;    /* for blocks of weights; known inside the worker only, as the next */
    uint64_t data_us;    /* for samples, part of compute_us */
    bool is_void; /* its gradient is no number, and the job leaves such steps out */
};

/* One block at one step; fields a kind has no use for are 0. */
struct block_key {
    uint64_t step; /* of a push: the step; of weights, state, pull: the version */
    uint32_t block;
    uint32_t lane_begin, lane_end; /* the node of the reduction tree */
    enum codec_kind codec; /* of the payload; of a pull: sparse, when it has the version before */
};

struct outcome {
    int32_t code; /* 0 or ERR_* */
    uint64_t step, newest;
    char text[512]; /* a sentence, or a path where the code is 0 */
};

/* Running totals of one member since its start.  The coordinator echoes a beat's sent_ms, with the
 * step whose losses it collects. */
struct beat {
    uint64_t sent_ms; /* by the clock of the member; 0: nothing to echo */
    uint64_t step; /* worker: in work; shard: lowest version of the blocks that it is primary of */
    uint32_t lack_begin, lack_end; /* shard: first lanes that step has not had; 0, 0: none */
    uint64_t version_sum;          /* shard: over the versions of those blocks: does it move? */
    uint64_t staleness_count[BEAT_STALENESS]; /* shard: answers by clocks behind; last: or more */
    uint64_t parked_bytes; /* shard: in sums that wait for their sibling */
    uint64_t sample_count, push_count, block_count;
    uint64_t bytes_in, bytes_out; /* payload */
    uint64_t held_bytes;          /* shard: weights, state and sums */
    uint64_t rss_bytes, peak_rss_bytes, cpu_us;
    /* worker: the first shards of its view, by index, that payloads are lent to */
    uint32_t shared_shards[BEAT_SHARED], shared_count;
    uint64_t exchange_us, exposed_us; /* worker: of exchanges, and of that not behind compute */
    uint64_t compute_us, data_us; /* worker: on lanes, and of that waiting for their samples */
};

struct lane_task {
    uint64_t step;
    uint32_t lane;
    const float *weights; /* flat, of version step; stays as it is until the task is answered */
    uint64_t hand;        /* 0: they are all there; else each may be read from its MSG_BLOCK_HERE */
};

/* What a wire's message has beside a header and a payload.  Only couriers see it: they make
 * messages of one block and with a payload of it.  Payloads of several blocks come in pieces, each
 * in a frame or a loan and of one whole block or more. */
struct parcel {
    size_t count; /* 0, or blocks that the message is of, key.block first */
    const uint32_t *blocks;
    const uint32_t *bytes; /* [count] of each block's payload, side by side; NULL: there are none */
    size_t loan_count;     /* 0: payloads are in frames */
    const struct loan *loans;
    size_t frame_count; /* 0: the payload is the only frame, if any; else 2 or more */
    struct buffer *const *frames;
};

struct message {
    enum message_kind kind;
    struct run_id run;
    uint64_t sender; /* incarnation */
    uint32_t view;   /* number of the view it was made under */
    uint32_t era;    /* of that view */
    union {
        struct hello hello;
        struct view view_body;
        struct beat beat;
        struct lane_result lane;
        struct block_key key;
        struct outcome outcome;
        struct lane_task task;
        struct { uint64_t hand; uint32_t block; } here;
        struct { uint64_t step; char hex[HEX_BYTES]; } digest;
        struct { uint32_t rank; } welcome;
        struct { bool is_server; uint32_t rank; } drain;
    };
    struct buffer *payload; /* NULL when the kind has none */
    struct parcel parcel;
};

/* Header bytes into the arena.  ERR_NOMEM past its limit; ERR_INPUT for a local kind and for a
 * message that message_unpack would refuse: a field out of range, no payload or one too many. */
MUST_USE int message_pack(const struct message *msg, struct arena *arena, const void **bytes_out,
                          size_t *size_out);

/* Reads a header from a peer: every field is checked against its range and the *_MAX limits before
 * it is used, a payload's presence against the kind (wire_check.h).  payload is borrowed; arrays
 * and the layout lie in the arena, until its reset.  ERR_PROTO with a sentence, ERR_NOMEM past the
 * arena's limit; *out then stays as it was. */
MUST_USE int message_unpack(const void *bytes, size_t size, struct buffer *payload,
                            struct arena *arena, struct message *out, struct err_msg *why);

/* The same of a message with any number of payload frames, borrowed with their array. */
MUST_USE int message_unpack_all(const void *bytes, size_t size, struct buffer *const *payloads,
                                size_t payload_count, struct arena *arena, struct message *out,
                                struct err_msg *why);

/* "libprotobuf-c 1.4.1", as it is loaded.  text: [size_bytes], cut to fit. */
void message_library(char *text, size_t size_bytes);

/* "push", "weights", ...; static. */
const char *message_kind_text(enum message_kind kind);

#endif
