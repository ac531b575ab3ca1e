#ifndef WORKER_WORKER_LOOP_H
#define WORKER_WORKER_LOOP_H

/* worker_loop - a worker's sockets and clock around its exchange and its compute.
 *
 * Owner:    worker_main.  Thread: the caller's, until the work is over.
 * Memory:   one channel to the coordinator, one to each shard of the newest view.
 * Surprise: none.
 */
#include <signal.h>
#include "common/run_file.h"
#include "proto/courier.h"
#include "worker/computing.h"
#include "worker/exchange.h"

struct worker_loop_spec {
    struct transport *transport;
    const char *coordinator; /* endpoint */
    struct run_file *run;    /* where it says so; with an empty path when an address was given,
                                never NULL; outlives the loop */
    struct exchange *exchange;
    struct computing compute;
    struct courier *courier; /* outlives the loop */
    uint64_t incarnation;
    const volatile sig_atomic_t *is_asked_to_stop;
};

/* Runs until the exchange is over; how it ended is copied to end.  ERR_NET, ERR_NOMEM with a
 * sentence when the sockets fail. */
MUST_USE int worker_loop_run(const struct worker_loop_spec *spec, struct outcome *end,
                             struct err_msg *why);

#endif
