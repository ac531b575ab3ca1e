#ifndef PS_COORDINATOR_LOOP_H
#define PS_COORDINATOR_LOOP_H

/* coordinator_loop - the coordinator's socket, clock and files around its state machine.
 *
 * Owner:    coordinator_main.  Thread: the caller's, until the job is over.
 * Memory:   one channel; metric rows go to the report as they come, records to the logbook.
 * Surprise: after the end it listens on for a moment, so that members and whoever asks for the
 *           status hear of it.
 */
#include <signal.h>
#include "common/transport.h"
#include "ps/coordinator.h"
#include "ps/logbook.h"
#include "ps/report.h"
#include "ps/status.h"

struct coordinator_loop_spec {
    struct channel *members; /* bound, borrowed */
    struct coordinator *coordinator;
    struct report *report;
    struct logbook *logbook;
    struct status_process process;
    const volatile sig_atomic_t *is_asked_to_stop;
    void (*save)(void *context); /* called before anybody hears that the run is over */
    void *context;
};

/* Runs until the coordinator is over.  ERR_NET, ERR_IO, ERR_NOMEM with a sentence. */
MUST_USE int coordinator_loop_run(const struct coordinator_loop_spec *spec, struct err_msg *why);

/* A run that ended in an earlier life of this process: tells those of its members who are still
 * there.  finish: MSG_FINISH of that run.  Errors as above. */
MUST_USE int coordinator_loop_say_over(struct channel *members, const struct message *finish,
                                       struct err_msg *why);

#endif
