#ifndef PS_OFFICE_H
#define PS_OFFICE_H

/* office - all that a coordinator's process works with, opened for a new run or for one that has
 * not ended.
 *
 * Owner:    coordinator_main.  Thread: that of main; the store has its own.
 * Memory:   of its parts.
 * Surprise: none.
 */
#include <limits.h>
#include "common/launch.h"
#include "ps/coordinator.h"
#include "ps/logbook.h"
#include "ps/report.h"
#include "ps/resume.h"
#include "ps/store_loop.h"

/* Each part is NULL until it is made. */
struct office {
    struct launch launch;
    struct settings *settings;
    struct logbook *logbook;
    bool is_going_on; /* with the run in the logbook */
    bool is_over;     /* that run has ended: there is nothing to do but to say so */
    struct transport *transport;
    struct channel *members, *shards;
    struct store *store;
    struct store_loop *store_loop;
    struct report *report;
    struct coordinator *coordinator;
    struct run_id run;
    uint64_t store_incarnation;
    char endpoint[LAUNCH_ENDPOINT_BYTES]; /* as others reach it */
    char note[RESUME_NOTE_BYTES]; /* about a broken checkpoint that was passed over; "": none was */
};

/* With launch and settings given: everything up to the point where the run begins or goes on, the
 * store's thread among it; the members' channel alone when the run is over.  Any code, with a
 * sentence; close it even then. */
MUST_USE int office_open(struct office *office, struct err_msg *why);

/* The checkpoint of a step, of this run or of the one that it goes on from.  False when it is in
 * neither's folder. */
bool office_find_step(const struct office *office, uint64_t step, char path_out[PATH_MAX]);

void office_close(struct office *office);

#endif
