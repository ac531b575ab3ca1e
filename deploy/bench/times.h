#ifndef DEPLOY_BENCH_TIMES_H
#define DEPLOY_BENCH_TIMES_H

/* times - when a worker of the benchmark had each version whole: a file that the worker writes and
 * its starter reads, both mapped, while it runs.
 *
 * Owner:    either process its mapping.  Thread: one writer, one reader.
 * Memory:   pages of the file as they are written; TIMES_MAX samples, later ones are not kept.
 * Surprise: the clock is CLOCK_MONOTONIC, which all processes of a host share.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"

enum { TIMES_MAX = 1 << 22 };

struct times;

/* The starter's end: makes the file.  ERR_IO with a sentence. */
MUST_USE int times_create(const char *path, struct times **times_out, struct err_msg *why);

/* The worker's end.  ERR_IO with a sentence. */
MUST_USE int times_open(const char *path, struct times **times_out, struct err_msg *why);
void times_close(struct times *times);

/* The worker waits for its starter; base_rss_bytes: what it had before its model was there. */
void times_await(struct times *times, uint64_t base_rss_bytes);
void times_let_go(struct times *times);
uint64_t times_base_rss_bytes(const struct times *times);

/* A version is whole at now_us. */
void times_note(struct times *times, uint64_t now_us);

uint64_t times_count(const struct times *times);

/* idx below times_count. */
uint64_t times_at_us(const struct times *times, uint64_t idx);

#endif
