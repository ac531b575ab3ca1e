#ifndef DEPLOY_BENCH_ZMQ_STREAM_H
#define DEPLOY_BENCH_ZMQ_STREAM_H

/* zmq_stream - what ZeroMQ does by itself between two processes: messages in one direction, and a
 * small one there and back.
 *
 * The one other door to zmq.h besides common/transport: what transport does is measured against
 * this, so this must not go through it.
 *
 * Owner:    limits.  Thread: the main thread; ZeroMQ has its own while a call lasts.
 * Memory:   a vector that is sent from where it lies, with room for 32 messages in each queue.
 * Source:   zmq_msg_init_data(3), zmq_socket(3).
 * Surprise: none.
 */
#include "deploy/bench/limits.h"

/* As limits_take, of LIMIT_ZMQ and the round trip. */
MUST_USE int zmq_stream_take(struct limits *limits, enum limit_wire wire, struct err_msg *why);

#endif
