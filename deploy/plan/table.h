#ifndef DEPLOY_PLAN_TABLE_H
#define DEPLOY_PLAN_TABLE_H

/* table - predictions for 1 to N workers with all servers, and for 1 to S servers with all workers.
 *
 * Owner:    values.  Thread: no state.
 * Memory:   the caller's rows.
 * Surprise: none.
 */
#include "deploy/plan/model.h"

struct plan_row {
    uint32_t workers, servers;
    struct plan_prediction prediction;
    double speedup, efficiency; /* to one machine; of that, a worker's */
};

/* Rows for inputs of so many workers and servers. */
size_t table_size(const struct plan_inputs *inputs);

/* rows: [table_size].  The row of inputs itself comes after those of fewer workers.  ERR_NOMEM. */
MUST_USE int table_fill(const struct plan_inputs *inputs, double one_machine,
                        struct plan_row *rows);

#endif
