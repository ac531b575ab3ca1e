#include "common/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static double decayed(const struct settings *settings, uint64_t step)
{
    if (settings->optimizer.decay_every == 0)
        return settings->optimizer.rate;
    uint64_t times = step / settings->optimizer.decay_every;
    double rate = settings->optimizer.rate * pow(settings->optimizer.decay_factor, (double)times);
    return fmax(rate, settings->optimizer.min_rate);
}

/* span: steps from the end of the warm-up to the end of the job. */
static double cosine(const struct settings *settings, uint64_t step, uint64_t span)
{
    double low = settings->optimizer.min_rate;
    if (step >= span)
        return low;
    double turn = pi * (double)step / (double)span;
    return low + (settings->optimizer.rate - low) * (1.0 + cos(turn)) / 2.0;
}

double schedule_rate(const struct settings *settings, uint64_t step, uint64_t step_count)
{
    uint64_t warmup = settings->optimizer.warmup_steps;
    double rate = settings->optimizer.rate;
    if (step < warmup)
        return rate * (double)(step + 1) / (double)warmup;
    switch (settings->optimizer.schedule) {
    case SCHEDULE_CONSTANT:
        return rate;
    case SCHEDULE_STEP:
        return decayed(settings, step - warmup);
    case SCHEDULE_COSINE:
        return cosine(settings, step - warmup, step_count > warmup ? step_count - warmup : 0);
    }
    return rate;
}
