#ifndef COMMON_USAGE_H
#define COMMON_USAGE_H

/* usage - what the operating system says of this process.
 *
 * Owner:    the caller.  Thread: any.  Memory: none.
 * Source:   proc(5), getrusage(2).
 * Surprise: figures are of the whole process, not of a thread.
 */
#include <stddef.h>
#include <stdint.h>

struct usage {
    uint64_t rss_bytes, peak_rss_bytes; /* resident memory now, and the most so far */
    uint64_t cpu_us;                    /* user and system time */
};

struct usage usage_now(void);

/* Seconds since this process was started, as the kernel counts: in hundredths.  0: unknown. */
double usage_age_s(void);

/* The host's name, cut to fit. */
void usage_host(char *name_out, size_t size_bytes);

#endif
