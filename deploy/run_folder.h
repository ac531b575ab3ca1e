#ifndef DEPLOY_RUN_FOLDER_H
#define DEPLOY_RUN_FOLDER_H

/* run_folder - the --out folder of a run on this machine: made, locked, with a place for sockets.
 *
 * OUT/log/ takes a log a process, OUT/run/ (this user only) the lock and the unix sockets.  A unix
 * socket's path is short (108 bytes): where OUT is too deep for that, sockets go to a folder of
 * their own under /tmp.
 *
 * Owner:    `talweg train`.  Thread: one.
 * Memory:   paths.
 * Surprise: none.
 */
#include <limits.h>
#include "common/err.h"

struct run_folder {
    char out[PATH_MAX];     /* absolute */
    char sockets[PATH_MAX]; /* absolute; where sockets go */
    int lock_fd;            /* held until close; no child inherits it */
};

/* Makes what is missing.  ERR_IO, ERR_INPUT with the path and the reason; ERR_REFUSED when another
 * run has it. On failure nothing is held. */
MUST_USE int run_folder_open(const char *out, struct run_folder *folder_out, struct err_msg *why);

/* Removes the sockets that are left and lets the lock go. */
void run_folder_close(struct run_folder *folder);

/* Formats a path within OUT; longer ones are cut. */
void run_folder_path(const struct run_folder *folder, char path_out[PATH_MAX], const char *format,
                     ...) __attribute__((format(printf, 3, 4)));

#endif
