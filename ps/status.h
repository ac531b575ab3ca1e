#ifndef PS_STATUS_H
#define PS_STATUS_H

/* status - the answer to `talweg status`, as JSON.
 *
 * Owner:    the caller of the document.  Thread: the coordinator's loop.
 * Memory:   the document; made only when asked.
 * Surprise: a server's figures are those of its shards together.
 */
#include "common/document.h"
#include "ps/coordinator.h"

struct status_process {
    const struct settings *settings;
    struct run_id run;
    uint32_t pid;
    char host[HOST_BYTES];
    const char *endpoint; /* the coordinator's */
    const char *note;     /* what there is to know of the run's begin; "" or NULL: nothing */
};

/* NULL when memory is out. */
MUST_USE struct document *status_document(const struct coordinator *coordinator,
                                          const struct status_process *process, uint64_t now_ms);

/* 32 hex digits. */
void run_text(struct run_id run, char text_out[33]);

#endif
