#ifndef DEPLOY_BENCH_LIMITS_H
#define DEPLOY_BENCH_LIMITS_H

/* limits - what this machine can do at best, to be put beside what the exchange does.
 *
 * Shapes:   1 GB = 1e9 bytes moved in one direction; CPU seconds of both processes that take part.
 * Owner:    `talweg bench exchange`.  Thread: the main thread; no other may run, since it forks.
 * Memory:   two vectors at a time, reused and touched before anything is timed.
 * Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"

/* Name, key in JSON, line of the table over unix sockets and over TCP. */
#define LIMIT_TABLE(X)                                                                         \
    X(LIMIT_MEMCPY, "memcpy", "memcpy, 1 MiB", "memcpy, 1 MiB")                                \
    X(LIMIT_MEMCPY_LARGE, "memcpy_large", "memcpy, 128 MiB", "memcpy, 128 MiB")                \
    X(LIMIT_ADD, "add", "y += x, 1 MiB", "y += x, 1 MiB")                                      \
    X(LIMIT_ADD_LARGE, "add_large", "y += x, 128 MiB", "y += x, 128 MiB")                      \
    X(LIMIT_SHM, "shm_copy_add", "shared ring of 16 x 1 MiB, copy in, add out",                \
      "shared ring of 16 x 1 MiB, copy in, add out")                                           \
    X(LIMIT_SHM_SMALL, "shm_copy_add_256k", "shared ring of 16 x 256 KiB, copy in, add out",   \
      "shared ring of 16 x 256 KiB, copy in, add out")                                         \
    X(LIMIT_SOCKET, "socket", "unix stream, chunks of 1 MB", "TCP stream, chunks of 1 MB")     \
    X(LIMIT_ZMQ, "zmq_stream", "ZeroMQ over ipc, messages of 1 MiB",                           \
      "ZeroMQ over tcp, messages of 1 MiB")

#define LIMIT_ENUM(name, key, unix_label, tcp_label) name,
enum limit_kind { LIMIT_TABLE(LIMIT_ENUM) LIMIT_COUNT };
#undef LIMIT_ENUM

enum { LIMIT_SAMPLES_MAX = 16 };

struct limit_samples {
    double gbs[LIMIT_SAMPLES_MAX], cpu_s_per_gb[LIMIT_SAMPLES_MAX];
    size_t count;
};

/* What bytes go through between two processes: unix sockets, loopback TCP, or that with CURVE for
 * what ZeroMQ sends. */
enum limit_wire { WIRE_UNIX, WIRE_TCP, WIRE_CURVE };

/* Valid when zeroed. */
struct limits {
    struct limit_samples of[LIMIT_COUNT];
    double rtt_us[LIMIT_SAMPLES_MAX]; /* medians of round trips of 8 bytes over ZeroMQ */
    size_t rtt_count;
};

/* The key in JSON; the line of the table.  Static. */
const char *limit_key(enum limit_kind kind);
const char *limit_label(enum limit_kind kind, enum limit_wire wire);

/* Adds a few short samples of each to those that are there.  ERR_IO, ERR_NET, ERR_NOMEM, ERR_FULL
 * with a sentence. */
MUST_USE int limits_take(struct limits *limits, enum limit_wire wire, struct err_msg *why);

/* Medians of what was taken. */
double limit_gbs(const struct limits *limits, enum limit_kind kind);
double limit_cpu_s_per_gb(const struct limits *limits, enum limit_kind kind);
double limit_rtt_us(const struct limits *limits);

#endif
