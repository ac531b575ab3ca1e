#ifndef DEPLOY_CHILDREN_H
#define DEPLOY_CHILDREN_H

/* children - the processes that `talweg train` starts, starts again, and ends.
 *
 * Each child is in a process group of its own, so that Ctrl-C at the terminal reaches the parent
 * only, and is killed by the kernel when the parent is gone (PR_SET_PDEATHSIG).  What a child
 * writes to stdout and stderr goes to a file beside its log; its last line says why it ended.
 *
 * Owner:    `talweg train`.  Thread: the main thread; the kernel's promise is tied to the thread
 *           that forked.
 * Memory:   a table of the children asked for at creation.
 * Surprise: none.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "common/err.h"

enum { CHILD_NAME_BYTES = 32 };

struct child {
    char name[CHILD_NAME_BYTES]; /* "worker 3" */
    char said_path[PATH_MAX];    /* stdout and stderr; removed when the child said nothing */
    pid_t pid;                   /* of its last start */
    unsigned start_count;
    bool is_running;
    int wait_status; /* of waitpid, once it is not running */
};

struct children;

MUST_USE int children_create(size_t count_max, struct children **children_out);

/* Kills and reaps what still runs. */
void children_destroy(struct children *children);

/* Starts argv[0] (a path) with stdout and stderr appended to said_path.  ERR_IO with a sentence
 * when it cannot be started; ERR_FULL past count_max. */
MUST_USE int children_spawn(struct children *children, const char *name, char *const argv[],
                            const char *said_path, struct err_msg *why);

/* Starts one that has ended once more, under its name; what it says is appended.  ERR_IO. */
MUST_USE int children_respawn(struct children *children, size_t idx, char *const argv[],
                              struct err_msg *why);

/* Reaps one child that has ended and returns it, borrowed until destroy or respawn; NULL: none
 * has. */
const struct child *children_reap(struct children *children);

size_t children_count(const struct children *children);
const struct child *children_at(const struct children *children, size_t idx);
size_t children_running(const struct children *children);

/* Sends a signal to one child, or to all that run. */
void children_signal(const struct children *children, size_t idx, int signal_number);
void children_signal_all(const struct children *children, int signal_number);

/* True when it left by itself with code 0. */
bool child_is_fine(const struct child *child);

/* Why it ended, as part of a sentence: "was killed by signal 9 (Killed)", "ended with code 1: " and
 * the last line it wrote. */
void child_why(const struct child *child, char *out, size_t out_bytes);

#endif
