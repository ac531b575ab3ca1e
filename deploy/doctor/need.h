#ifndef DEPLOY_DOCTOR_NEED_H
#define DEPLOY_DOCTOR_NEED_H

/* need - what a job takes of memory, disk and descriptors, by the formulas of ps/README.md and
 * worker/README.md, rounded up.
 *
 * Owner:    values.  Thread: any.  Memory: none.
 * Surprise: memory is the most that buffers may hold when the network is slow; much of it is rarely
 *           taken.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/settings.h"

/* What decides the size of everything.  0: not known. */
struct model_size {
    uint64_t weight_count;
    uint64_t run_bytes; /* activations of one thread, for a lane's samples */
    uint64_t data_bytes; /* of all samples, as they would lie in memory */
};

struct need {
    uint64_t server_bytes; /* memory of one server */
    uint64_t worker_bytes; /* memory of one worker */
    uint64_t checkpoint_bytes; /* disk of one checkpoint */
};

struct need need_of(const struct settings *settings, const struct model_size *size);

/* How many checkpoints lie on the disk at once: one more than are kept while it is written; 0: no
 * end is known, as many as the job makes. */
uint64_t need_checkpoints(const struct settings *settings);

/* Descriptors of one process. */
uint64_t need_files_coordinator(const struct settings *settings);
uint64_t need_files_server(const struct settings *settings);
uint64_t need_files_worker(const struct settings *settings);

#endif
