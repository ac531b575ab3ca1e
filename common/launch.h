#ifndef COMMON_LAUNCH_H
#define COMMON_LAUNCH_H

/* launch - what one of the three role executables was told: by flags, then by the environment, then
 * by what started it (Slurm, MPI, Kubernetes), then by the job file.
 *
 * A server or worker must know where the coordinator is, or the folder of the run's results, where
 * it says so itself (run_file); the coordinator and a server must know where to listen, and get a
 * default where one makes sense.  Listening beyond this machine is refused without keys, unless the
 * job says cluster.insecure = true.
 *
 * Owner:    a main.  Thread: before any other starts.
 * Memory:   the struct; launch_release frees its texts.
 * Surprise: --help, --version and options that are none end the process, as argp does.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/launcher.h"
#include "common/run_file.h"
#include "common/settings.h"

enum launch_role { LAUNCH_COORDINATOR, LAUNCH_SERVER, LAUNCH_WORKER };

enum {
    LAUNCH_ENDPOINT_BYTES = ENDPOINT_TEXT_BYTES,
    LAUNCH_SETS_MAX = 256,
    LAUNCH_RANK_MAX = LAUNCHER_RANK_MAX
};

struct launch {
    enum launch_role role;
    char *job;                               /* path of the job file */
    char coordinator[LAUNCH_ENDPOINT_BYTES]; /* servers and workers: where it is found; a path
                                                until launch_reach */
    struct run_file run;                     /* where it says so itself, if a path was given */
    char bind[LAUNCH_ENDPOINT_BYTES];        /* coordinator, servers: where to listen */
    char advertise[LAUNCH_ENDPOINT_BYTES];   /* coordinator, servers: as given, or "" */
    int rank;                                /* -1: the coordinator chooses */
    bool is_any_rank;                        /* which it is to do, whatever the launcher says */
    char *out;                               /* coordinator: folder of results */
    char *resume;                            /* coordinator: checkpoint to go on from, or NULL */
    bool is_fresh;                           /* coordinator: begin anew whatever OUT holds */
    char *log;                               /* file of the log, or NULL: stderr */
    size_t set_count;
    char *sets[LAUNCH_SETS_MAX]; /* "path=value", --servers, --workers and --threads among them */
};

/* Reads flags and environment.  ERR_INPUT with a sentence, ERR_NOMEM; release it even then. */
MUST_USE int launch_parse(enum launch_role role, int argc, char **argv, struct launch *launch_out,
                          struct err_msg *why);
void launch_release(struct launch *launch);

/* Loads the job file with the sets, fills in coordinator and bind where they are not given yet, and
 * judges them.  ERR_REFUSED: listening there is not safe; else as settings_load. */
MUST_USE int launch_settings(struct launch *launch, struct settings **settings_out,
                             struct err_msg *why);

/* Of a server or worker that was given a path for the coordinator: waits for cluster.wait_s until
 * the run is there, and fills in coordinator and bind.  state_out is RUN_THERE, or RUN_FINISHED
 * when nothing is left to do.  ERR_TIMEOUT, ERR_STOPPED as run_file_wait; errors of a bind. */
MUST_USE int launch_reach(struct launch *launch, const struct settings *settings,
                          const volatile sig_atomic_t *is_asked_to_stop,
                          enum run_state *state_out, struct err_msg *why);

/* Where socket number idx listens: the bind endpoint itself for 0; for others the same port + idx
 * (port 0: any free one), or the same path with -idx behind it.  ERR_INPUT past the last port. */
MUST_USE int launch_bind_endpoint(const struct launch *launch, uint32_t idx,
                                  char endpoint_out[LAUNCH_ENDPOINT_BYTES], struct err_msg *why);

/* Under which endpoint others reach socket number idx, which listens on `bound` (its real port):
 * the host of --advertise; else this host's name where bound is every address; else bound. */
MUST_USE int launch_advertised(const struct launch *launch, const char *bound, uint32_t idx,
                               char endpoint_out[LAUNCH_ENDPOINT_BYTES], struct err_msg *why);

/* "coordinator", "ps", "worker": the role's word in logs.  Static. */
const char *launch_role_name(enum launch_role role);

#endif
