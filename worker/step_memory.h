#ifndef WORKER_STEP_MEMORY_H
#define WORKER_STEP_MEMORY_H

/* step_memory - the memory that the steps of a worker take, known before the first one.
 *
 * Activations of its threads, two vectors of weights, a gradient for each thread, the lanes of
 * samples that are read ahead, and what `local` and topk keep beside them (worker/README.md,
 * "Memory of a worker").
 *
 * Owner:    none.  Thread: any.  Memory: none.
 * Surprise: the program itself, the data that is kept in memory and what is on its way to and from
 *           the servers (exchange.credit_bytes) come to it; `talweg plan` reckons all of it.
 */
#include "common/layout.h"
#include "common/settings.h"
#include "worker/data/dataset.h"

struct step_memory {
    uint64_t activations, weights, gradients, beside, samples; /* bytes */
};

/* activation_bytes: of all threads. */
struct step_memory step_memory_of(const struct settings *settings, const struct layout *layout,
                              const struct dataset_info *info, uint64_t activation_bytes);

uint64_t step_memory_total(const struct step_memory *memory);

#endif
