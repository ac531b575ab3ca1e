#ifndef COMMON_ROLE_H
#define COMMON_ROLE_H

/* role - how a role's process begins and ends: its log, its last sentence, its exit code.
 *
 * Owner:    a main.  Thread: the first.  Memory: none.
 * Surprise: without --log the log goes to stderr, and the last sentence with it.
 */
#include "common/launch.h"
#include "common/transport.h"

/* Opens the log that launch asks for, and lets the process keep memory that it frees.  ERR_IO with
 * a sentence. */
MUST_USE int role_begin(const struct launch *launch, const struct settings *settings,
                        struct err_msg *why);

/* The process's transport, with the keys of cluster.keys if the job has them.  The caller destroys
 * it.  As keyring_open, and ERR_NET; with a sentence. */
MUST_USE int role_open_transport(const struct launch *launch, const struct settings *settings,
                                 struct transport **transport_out, struct err_msg *why);

/* Says why on stderr and in the log when err is not 0.  Returns the exit code: 0 or 1. */
int role_end(const struct launch *launch, int err, const struct err_msg *why);

#endif
