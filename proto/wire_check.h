#ifndef PROTO_WIRE_CHECK_H
#define PROTO_WIRE_CHECK_H

/* wire_check - what each kind of message must have, and the range of every field.
 *
 * One check for both ways: what it refuses can neither be sent nor be received.
 *
 * Owner:    message.  Thread: no state.
 * Surprise: loss_sum may be infinite or NaN: training that diverges must be able to say so.
 */
#include "proto/message.h"

enum { WIRE_VERSION = 5 };

enum {
    WIRE_BLOCKS_MAX = 1 << 24,
    WIRE_TEXT_BYTES_MAX = 64 << 20,
    WIRE_ECHO_BYTES_MAX = 1 << 20,
    WIRE_LOAN_BYTES_MAX = 128 << 20 /* as a frame */
};

/* Steps, counts and sizes stay below, so that sums of them do not wrap. */
#define WIRE_COUNT_MAX ((uint64_t)1 << 53)

/* Numbered as the fields of Header.body in talweg.proto. */
enum wire_body {
    BODY_NONE = 0,
    BODY_HELLO = 7,
    BODY_WELCOME = 8,
    BODY_VIEW = 9,
    BODY_BEAT = 10,
    BODY_LANE = 11,
    BODY_DIGEST = 12,
    BODY_OUTCOME = 13,
    BODY_KEY = 14,
    BODY_DRAIN = 16
};

enum wire_payload {
    PAYLOAD_NONE,
    PAYLOAD_FLOATS, /* f32, or what a codec makes of them: one or more words of four bytes */
    PAYLOAD_TEXT,
    PAYLOAD_ECHO
};

struct wire_kind {
    enum message_kind kind;
    const char *text;
    enum wire_body body;
    enum wire_payload payload;
};

/* The row of a kind that goes on a wire, or NULL. */
const struct wire_kind *wire_kind_of(enum message_kind kind);

/* Several of this kind for one peer may go as one: they are alike in all but block and payload. */
bool wire_kind_is_parcel(enum message_kind kind);

/* ERR_PROTO with a sentence when a field is out of its range, arrays do not fit each other, or the
 * payload is not what the kind has. */
MUST_USE int wire_check(const struct message *msg, struct err_msg *why);

#endif
