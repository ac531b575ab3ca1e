#include "worker/results.h"

static struct result *item(struct results *results, size_t idx)
{
    return &results->items[(results->first + idx) % RESULTS_MAX];
}

void results_note(struct results *results, const struct result *result)
{
    if (results->count == RESULTS_MAX) {
        results->first = (results->first + 1) % RESULTS_MAX;
        results->count--;
    }
    *item(results, results->count++) = *result;
}

const struct result *results_next(struct results *results, uint64_t step, uint64_t before_ms,
                                  uint64_t now_ms)
{
    for (size_t i = 0; i < results->count; i++) {
        struct result *result = item(results, i);
        if (result->lane.step < step || result->sent_ms > before_ms)
            continue;
        result->sent_ms = now_ms;
        return result;
    }
    return NULL;
}

void results_forget(struct results *results, uint64_t step)
{
    size_t kept = 0;
    for (size_t i = 0; i < results->count; i++) {
        struct result result = *item(results, i);
        if (result.lane.step < step ||
            (result.kind == MSG_EVAL_DONE && result.lane.step == step))
            *item(results, kept++) = result;
    }
    results->count = kept;
}
