#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

/* message - everything that processes say to each other, as plain values, and its form on the wire.
 *
 * A message is a protobuf header frame and, for some kinds, one raw little-endian payload frame.
 * Payloads never pass through protobuf.
 *
 * Shapes:   MSG_PUSH, MSG_WEIGHTS, MSG_LEAF payload: [block's elements] f32;
 *           MSG_BLOCK_STATE: weights, then each part of the optimizer's state, each as the block;
 *           MSG_STATUS: JSON text.
 * Owner:    a received message borrows from its arena and payload.  Thread: one.
 * Surprise: kinds from MSG_TRAIN_LANE on stay inside a process and cannot be packed.
 */
#include "common/arena.h"
#include "common/buffer.h"
#include "proto/view.h"

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
    MSG_TRAIN_LANE = 64, /* worker -> its compute: task */
    MSG_EVAL_LANE,       /* worker -> its compute: task */
    MSG_LEAF             /* compute -> worker: gradient of one block of one lane */
};

/* What a worker reports of one lane. */
struct lane_result {
    uint64_t step;
    uint32_t lane;
    double loss_sum;        /* over the lane's samples */
    uint64_t correct_count; /* classification only */
    uint64_t sample_count;
    uint64_t compute_us;
};

/* One block at one step; fields a kind has no use for are 0. */
struct block_key {
    uint64_t step; /* of a push: the step; of weights, state, pull: the version */
    uint32_t block;
    uint32_t lane_begin, lane_end; /* the node of the reduction tree */
};

struct outcome {
    int32_t code; /* 0 or ERR_* */
    uint64_t step, newest;
    char text[512]; /* a sentence, or a path where the code is 0 */
};

/* Running totals of one member since its start. */
struct beat {
    uint64_t step; /* worker: in work; shard: lowest version of its blocks */
    uint64_t sample_count, push_count, block_count;
    uint64_t bytes_in, bytes_out; /* payload */
    uint64_t held_bytes;          /* shard: weights, state and sums */
    uint64_t rss_bytes, peak_rss_bytes, cpu_us;
};

struct lane_task {
    uint64_t step;
    uint32_t lane;
    const float *weights; /* flat, of version step; stays as it is until the task is answered */
};

struct message {
    enum message_kind kind;
    struct run_id run;
    uint64_t sender; /* incarnation */
    uint32_t view;
    union {
        struct hello hello;
        struct view view_body;
        struct beat beat;
        struct lane_result lane;
        struct block_key key;
        struct outcome outcome;
        struct lane_task task;
        struct { uint64_t step; char hex[HEX_BYTES]; } digest;
        struct { uint32_t rank; } welcome;
    };
    struct buffer *payload; /* NULL when the kind has none */
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

/* "push", "weights", ...; static. */
const char *message_kind_text(enum message_kind kind);

#endif
