#include "deploy/plan/table.h"

size_t table_size(const struct plan_inputs *inputs)
{
    return (size_t)inputs->cluster.workers + inputs->cluster.servers - 1;
}

int table_fill(const struct plan_inputs *inputs, double one_machine, struct plan_row *rows)
{
    uint32_t workers = inputs->cluster.workers;
    for (size_t i = 0; i < table_size(inputs); i++) {
        struct plan_row *row = &rows[i];
        struct plan_inputs other = *inputs;
        if (i < workers)
            other.cluster.workers = (uint32_t)i + 1;
        else
            other.cluster.servers = (uint32_t)(i - workers) + 1;
        int err = plan_predict(&other, &row->prediction);
        if (err != 0)
            return err;
        row->workers = other.cluster.workers;
        row->servers = other.cluster.servers;
        row->speedup = row->prediction.samples_per_s / one_machine;
        row->efficiency = row->speedup / row->workers;
    }
    return 0;
}
