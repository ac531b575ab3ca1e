#ifndef DEPLOY_BENCH_PROCESS_H
#define DEPLOY_BENCH_PROCESS_H

/* process - what the operating system says of another process.
 *
 * Owner:    the caller.  Thread: any.  Memory: none.
 * Source:   proc(5), clock_getcpuclockid(3).
 * Surprise: figures of a process that is gone are 0.
 */
#include <stdint.h>
#include <sys/types.h>

/* User and system time of all its threads. */
double process_cpu_s(pid_t pid);

uint64_t process_rss_bytes(pid_t pid);
uint64_t process_peak_rss_bytes(pid_t pid);

#endif
