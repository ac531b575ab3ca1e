#ifndef COMMON_LAUNCH_H
#define COMMON_LAUNCH_H

/* launch - what one of the three role executables was told: by flags, then by the environment, then
 * by what started it (Slurm, MPI, Kubernetes), then by the job file.
 *
 * A server or worker must know where the coordinator is; the coordinator and a server must know
 * where to listen, and get a default where one makes sense.  Listening beyond this machine is
 * refused unless the job says cluster.insecure = true.
 *
 * Owner:    a main.  Thread: before any other starts.
 * Memory:   the struct; launch_release frees its texts.
 * Surprise: --help, --version and options that are none end the process, as argp does.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/settings.h"

enum launch_role { LAUNCH_COORDINATOR, LAUNCH_SERVER, LAUNCH_WORKER };

enum { LAUNCH_ENDPOINT_BYTES = 512, LAUNCH_SETS_MAX = 256, LAUNCH_RANK_MAX = 1023 };

struct launch {
    enum launch_role role;
    char *job;                               /* path of the job file */
    char coordinator[LAUNCH_ENDPOINT_BYTES]; /* servers and workers: where it is found */
    char bind[LAUNCH_ENDPOINT_BYTES];        /* coordinator, servers: where to listen */
    char advertise[LAUNCH_ENDPOINT_BYTES];   /* coordinator, servers: as given, or "" */
    int rank;                                /* -1: the coordinator chooses */
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

/* Where socket number idx listens: the bind endpoint itself for 0; for others the same port + idx
 * (port 0: any free one), or the same path with -idx behind it.  ERR_INPUT past the last port. */
MUST_USE int launch_bind_endpoint(const struct launch *launch, uint32_t idx,
                                  char endpoint_out[LAUNCH_ENDPOINT_BYTES], struct err_msg *why);

/* Under which endpoint others reach socket number idx, which listens on `bound` (its real port):
 * the host of --advertise; else this host's name where bound is every address; else bound. */
MUST_USE int launch_advertised(const struct launch *launch, const char *bound, uint32_t idx,
                               char endpoint_out[LAUNCH_ENDPOINT_BYTES], struct err_msg *why);

/* The n of a name like "worker-n", as a StatefulSet of Kubernetes gives; -1 if there is none. */
int launch_ordinal(const char *host_name);

/* "coordinator", "ps", "worker": the role's word in logs.  Static. */
const char *launch_role_name(enum launch_role role);

#endif
