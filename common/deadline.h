#ifndef COMMON_DEADLINE_H
#define COMMON_DEADLINE_H

/* deadline - how long to wait for something, judged by how long it took of late.
 *
 * It keeps the last waits and puts the deadline some spreads above their median.  Both are robust:
 * one wait out of line moves neither.
 *
 * Owner:    a value, valid when zeroed.  Thread: its owner's.
 * Memory:   none but itself.
 * Source:   median and median absolute deviation: Hampel, "The influence curve and its role in
 *           robust estimation", JASA 1974; for what: Hayashibara et al., "The phi accrual failure
 *           detector", SRDS 2004.
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>

enum { DEADLINE_OBSERVATIONS = 32, DEADLINE_OBSERVATIONS_MIN = 4 };

struct deadline {
    uint32_t waits_ms[DEADLINE_OBSERVATIONS]; /* ring */
    size_t first, count;
};

/* One wait that came to its end; the oldest makes room. */
void deadline_note(struct deadline *deadline, uint64_t wait_ms);

/* median + factor * spread of the waits seen, at least floor_ms, at most ceiling_ms (which is not
 * below floor_ms); the spread is the median of their distances from the median.  ceiling_ms as long
 * as fewer than DEADLINE_OBSERVATIONS_MIN were seen. */
uint64_t deadline_ms(const struct deadline *deadline, double factor, uint64_t floor_ms,
                     uint64_t ceiling_ms);

/* Mean of the waits seen but for the longest eighth and one more: what they come to in the long
 * run, also where some are long again and again, while one far out of line does not count.  All of
 * them while fewer than DEADLINE_OBSERVATIONS_MIN were seen; 0 when none was. */
double deadline_mean(const struct deadline *deadline);

#endif
