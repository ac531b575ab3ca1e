#include "common/early_stop.h"

#include "common/rounds.h"

uint64_t early_stop_next(const struct settings *settings, const struct batching *batching,
                         uint64_t test_count, uint64_t step, uint64_t step_count)
{
    if (settings->job.patience == 0 || test_count == 0)
        return 0;
    uint64_t next = rounds_next_due(settings, rounds_eval_every(settings, batching), step);
    return next < step_count ? next : step_count;
}

bool early_stop_is_better(const struct early_stop *stop, const struct settings *settings,
                          double loss)
{
    return stop->best_step == 0 || loss < stop->best_loss - settings->job.min_delta;
}

void early_stop_note(struct early_stop *stop, const struct settings *settings, double loss)
{
    if (!early_stop_is_better(stop, settings, loss)) {
        stop->worse_count++;
        return;
    }
    stop->best_step = stop->hold_step;
    stop->best_loss = loss;
    stop->worse_count = 0;
}

bool early_stop_is_due(const struct early_stop *stop, const struct settings *settings)
{
    return settings->job.patience > 0 && stop->worse_count >= settings->job.patience;
}
