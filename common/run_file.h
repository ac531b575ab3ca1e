#ifndef COMMON_RUN_FILE_H
#define COMMON_RUN_FILE_H

/* run_file - where a run's coordinator is, by the file that it writes: OUT/run.json.
 *
 * A server or worker may be told a path instead of an address: the folder of a run's results on a
 * file system that all machines see, its run.json, or the coordinator's unix socket.  Nothing needs
 * to be there yet.  A summary.json that is not older than run.json says that the run is over.
 *
 * Owner:    launch until the coordinator is known; then a loop, which follows it.  Thread: one.
 * Memory:   the struct.
 * Surprise: run_file_wait blocks its thread.
 */
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/endpoint.h"

enum run_state {
    RUN_ABSENT,   /* no run has begun there, or it cannot be read: why says what was found */
    RUN_STOPPED,  /* stopped or failed; somebody may go on with it: why says how it ended */
    RUN_FINISHED, /* trained: nothing is left to do */
    RUN_THERE
};

struct run_file {
    char path[PATH_MAX];                /* "": an address was given */
    char endpoint[ENDPOINT_TEXT_BYTES]; /* of the coordinator, as last read */
    uint64_t look_ms;                   /* when last looked */
};

/* Whether a text is such a path and no address: it has a slash and no scheme. */
bool run_file_is_path(const char *text);

/* Looks once; endpoint_out is set when the run is there. */
enum run_state run_file_look(const char *path, char endpoint_out[ENDPOINT_TEXT_BYTES],
                             struct err_msg *why);

/* Looks until the run is there or has finished; file->path is given, file->endpoint is set when it
 * is there.  ERR_TIMEOUT after limit_s with a sentence that says what is missing; ERR_STOPPED when
 * asked to stop meanwhile. */
MUST_USE int run_file_wait(struct run_file *file, double limit_s,
                           const volatile sig_atomic_t *is_asked_to_stop,
                           enum run_state *state_out, struct err_msg *why);

/* True when the coordinator is elsewhere than file->endpoint said, which now says where: it was
 * started again on another machine.  Looks at most once a second. */
bool run_file_has_moved(struct run_file *file, uint64_t now_ms);

#endif
