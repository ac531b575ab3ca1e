#ifndef WORKER_COMPUTING_H
#define WORKER_COMPUTING_H

/* computing - what the worker's loop asks of whoever turns lanes into gradients: the threads of
 * compute.h, or a stand-in that has its gradients ready.
 *
 * Owner:    ctx: whoever made it; it must outlive the loop.  Thread: the loop's.
 * Memory:   none.
 * Surprise: none.
 */
#include <stdbool.h>
#include "proto/message.h"

struct computing {
    /* Takes a task, MSG_DROP_LANES or MSG_BLOCK_HERE; borrowed for the call.  ERR_NOMEM. */
    int (*submit)(void *ctx, const struct message *task);
    /* The next result, whose payload's reference is the caller's; false: none now. */
    bool (*next)(void *ctx, struct message *result_out);
    void *ctx;
    int fd; /* readable while results wait */
};

#endif
