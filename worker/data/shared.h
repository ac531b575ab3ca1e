#ifndef WORKER_DATA_SHARED_H
#define WORKER_DATA_SHARED_H

/* shared - samples that one dataset holds, or two when one is held out of the other.
 *
 * Shapes:   those of samples.
 * Owner:    its holders; the last one that lets go closes the files.  Thread: any may take and
 *           release.
 * Memory:   at most data.memory_bytes, and a quarter of the address space a process may have.
 * Surprise: none.
 */
#include <stdatomic.h>
#include "worker/data/samples.h"

struct shared {
    struct samples samples;
    atomic_uint holder_count;
};

/* Opens the files that spec names, for one holder; what the settings say of their format is filled
 * in here.  ERR_IO, ERR_INPUT (also when a file is not there), ERR_NOMEM with a sentence. */
MUST_USE int shared_open(const struct settings *settings, struct samples_spec *spec,
                         struct shared **out, struct err_msg *why);

/* One holder more; returns shared. */
struct shared *shared_take(struct shared *shared);

/* One holder less; NULL is fine. */
void shared_release(struct shared *shared);

#endif
