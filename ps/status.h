#ifndef PS_STATUS_H
#define PS_STATUS_H

/* status - the answer to `talweg status`, as JSON.
 *
 * Owner:    the caller of the document.  Thread: the coordinator's loop.
 * Memory:   the document; made only when asked.
 * Surprise: a server's figures are those of its shards together.
 */
#include "common/document.h"
#include "common/transport.h"
#include "ps/coordinator.h"

struct status_process {
    const struct settings *settings;
    struct run_id run;
    uint32_t pid;
    char host[HOST_BYTES];
    const char *endpoint; /* the coordinator's */
    const struct transport *transport; /* whose keys are asked for; NULL: nobody's */
    char fingerprint[HEX_BYTES]; /* of its settings */
    char client[FRAME_PEER_BYTES]; /* the address that the question came from; "": not known */
    uint64_t wall_ms;     /* since 1970, as the coordinator's clock says */
    const char *note;     /* what there is to know of the run's begin; "" or NULL: nothing */
};

/* NULL when memory is out. */
MUST_USE struct document *status_document(const struct coordinator *coordinator,
                                          const struct status_process *process, uint64_t now_ms);

/* 32 hex digits. */
void run_text(struct run_id run, char text_out[33]);

#endif
