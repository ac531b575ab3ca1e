#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

/* clock - what time it is.  Only the loops around the step functions ask; those are told.
 *
 * Owner:    the process.  Thread: any, no state.  Surprise: none.
 */
#include <stdint.h>

enum { CLOCK_TEXT_BYTES = 32 };

/* Monotonic, from an unspecified start; only differences mean something. */
uint64_t clock_now_ms(void);
uint64_t clock_now_us(void);
uint64_t clock_now_ns(void);

/* The wall clock in ms since 1970; it may be set while we look. */
uint64_t clock_wall_ms(void);

/* Processor time of all threads of this process, user and system. */
uint64_t clock_cpu_us(void);

/* The wall clock in UTC, "2026-11-24T01:02:03.123Z". */
void clock_utc_text(char text_out[CLOCK_TEXT_BYTES]);

#endif
