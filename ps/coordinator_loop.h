#ifndef PS_COORDINATOR_LOOP_H
#define PS_COORDINATOR_LOOP_H

/* coordinator_loop - the coordinator's socket, clock and files around its state machine.
 *
 * Owner:    coordinator_main.  Thread: the caller's, until the job is over.
 * Memory:   one channel; metric rows go to the report as they come.
 * Surprise: after the end it listens on for a moment, so that members and whoever asks for the
 *           status hear of it.
 */
#include <signal.h>
#include "common/transport.h"
#include "ps/coordinator.h"
#include "ps/report.h"
#include "ps/status.h"

struct coordinator_loop_spec {
    struct channel *members; /* bound, borrowed */
    struct coordinator *coordinator;
    struct report *report;
    struct status_process process;
    const volatile sig_atomic_t *is_asked_to_stop;
};

/* Runs until the coordinator is over.  ERR_NET, ERR_IO, ERR_NOMEM with a sentence. */
MUST_USE int coordinator_loop_run(const struct coordinator_loop_spec *spec, struct err_msg *why);

#endif
