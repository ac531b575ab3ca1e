#include "common/deadline.h"

#include <string.h>

void deadline_note(struct deadline *deadline, uint64_t wait_ms)
{
    size_t idx = (deadline->first + deadline->count) % DEADLINE_OBSERVATIONS;
    deadline->waits_ms[idx] = wait_ms < UINT32_MAX ? (uint32_t)wait_ms : UINT32_MAX;
    if (deadline->count < DEADLINE_OBSERVATIONS)
        deadline->count++;
    else
        deadline->first = (deadline->first + 1) % DEADLINE_OBSERVATIONS;
}

/* Sorts the values; the upper one of the two in the middle when there is an even number. */
static uint32_t median(uint32_t *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint32_t value = values[i];
        size_t at = i;
        for (; at > 0 && values[at - 1] > value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
    return values[count / 2];
}

uint64_t deadline_ms(const struct deadline *deadline, double factor, uint64_t floor_ms,
                     uint64_t ceiling_ms)
{
    uint32_t values[DEADLINE_OBSERVATIONS];
    if (deadline->count < DEADLINE_OBSERVATIONS_MIN)
        return ceiling_ms;
    memcpy(values, deadline->waits_ms, sizeof(values)); /* the ring is filled from its start on */
    uint32_t middle = median(values, deadline->count);
    for (size_t i = 0; i < deadline->count; i++)
        values[i] = values[i] > middle ? values[i] - middle : middle - values[i];
    double wait_ms = (double)middle + factor * (double)median(values, deadline->count);
    if (wait_ms < (double)floor_ms)
        return floor_ms;
    return wait_ms < (double)ceiling_ms ? (uint64_t)wait_ms : ceiling_ms;
}

double deadline_mean(const struct deadline *deadline)
{
    uint32_t values[DEADLINE_OBSERVATIONS];
    double sum = 0.0;
    if (deadline->count == 0)
        return 0.0;
    size_t left_out = deadline->count < DEADLINE_OBSERVATIONS_MIN ? 0 : 1 + deadline->count / 8;
    size_t count = deadline->count - left_out;
    memcpy(values, deadline->waits_ms, sizeof(values));
    median(values, deadline->count); /* sorts them */
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i];
    return sum / (double)count;
}
