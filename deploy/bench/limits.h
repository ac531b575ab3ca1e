#ifndef DEPLOY_BENCH_LIMITS_H
#define DEPLOY_BENCH_LIMITS_H

/* limits - what this machine can do at best, to be put beside what the exchange does.
 *
 * Shapes:   1 GB = 1e9 bytes moved in one direction; CPU seconds of all processes that take part.
 * Owner:    `talweg bench exchange`.  Thread: the main thread; no other may run, since it forks.
 * Memory:   a few buffers, reused and touched before they are timed.
 * Surprise: none.
 */
#include <stdbool.h>
#include "common/err.h"

struct limit {
    double gbs, cpu_s_per_gb;
};

struct limits {
    struct limit memcpy;           /* one thread, 1 MiB, in cache */
    struct limit memcpy_large;     /* one thread, 256 MiB: memory */
    struct limit add;              /* f32 y += x, one thread, 1 MiB */
    struct limit add_large;        /* 256 MiB */
    struct limit shm_copy_add;     /* ring of 16 x 1 MiB: one process copies in, one adds out */
    struct limit shm_copy_add_256k; /* of 16 x 256 KiB */
    struct limit socket;           /* a stream in chunks of 1 MB, two processes */
    struct limit zmq_stream;       /* DEALER to ROUTER, messages of 1 MiB, two processes */
    double zmq_rtt_us;             /* of 8 bytes, p50 */
};

/* Medians of several short samples of each.  is_tcp: sockets of loopback TCP; else unix sockets.
 * ERR_IO, ERR_NET, ERR_NOMEM with a sentence. */
MUST_USE int limits_measure(bool is_tcp, struct limits *limits_out, struct err_msg *why);

#endif
