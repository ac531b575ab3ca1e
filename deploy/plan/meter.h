#ifndef DEPLOY_PLAN_METER_H
#define DEPLOY_PLAN_METER_H

/* meter - what the network between two machines carries, by one TCP connection.
 *
 * One side answers, once, and ends; the other asks for round trips of a byte, then sends and gets
 * zeros until it knows the rate.  Nothing else goes either way.
 *
 *     'e'            answered with 'e'
 *     'u' u64 bytes  that many bytes follow; answered with 'u' when all are there
 *     'd' u64        answered with that many bytes
 *
 * Owner:    `talweg plan`.  Thread: the main thread.
 * Memory:   64 KiB on the stack.
 * Source:   none.
 * Surprise: the answering side listens on a network; it reads and sends nothing but the above, of
 *           at most METER_BYTES_MAX at a time, and hangs up on who is silent for METER_WAIT_S.
 */
#include <stdint.h>
#include "common/err.h"

enum { METER_BYTES_MAX = 1 << 30, METER_WAIT_S = 10, METER_ANSWER_S = 600 };

struct meter_reading {
    double round_trip_s;            /* median */
    double up_bytes_s, down_bytes_s; /* payload */
};

/* where: HOST:PORT, [ADDRESS]:PORT or tcp://HOST:PORT.  Waits for one who asks, up to
 * METER_ANSWER_S, and answers until that one hangs up.  ERR_INPUT, ERR_NET with a sentence. */
MUST_USE int meter_answer(const char *where, struct err_msg *why);

/* Takes about two seconds.  ERR_INPUT, ERR_NET with a sentence. */
MUST_USE int meter_read(const char *where, struct meter_reading *out, struct err_msg *why);

#endif
