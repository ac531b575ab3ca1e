#ifndef COMMON_LOG_H
#define COMMON_LOG_H

/* log - what a process tells the one who runs it, a logfmt line an event.
 *
 * ts=2026-11-24T01:02:03.123Z level=info role=ps rank=1 ev=push_stale shard=1 step=40
 *
 * An event is logged once, where it is decided; what happens per message is a counter instead.
 *
 * Owner:    the process.
 * Thread:   log_open before any thread starts; log_event from any: a line is one write(2).
 * Memory:   none; a line is at most LOG_LINE_BYTES, the rest is cut.
 * Surprise: until log_open, and when the descriptor does not take it, a line is dropped.
 */
#include <stddef.h>

enum { LOG_LINE_BYTES = 4096 };

/* In the order of the setting log.level. */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Lines of `level` and above go to fd, which stays the caller's.  role is copied, at most 31 bytes;
 * rank -1 is left out of the lines. */
void log_open(int fd, enum log_level level, const char *role, int rank);

/* event: the stable name.  format gives "key=value key=value", or is NULL; a value from outside
 * that may hold spaces goes through log_quote.  Control characters come out as spaces. */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes text to quoted_out [size_bytes >= 3] so that it is one logfmt value: as it is, or in
 * double quotes with \" \\ \n \t where it needs them; too long a text is cut.  Returns quoted_out.
 */
const char *log_quote(char *quoted_out, size_t size_bytes, const char *text);

#endif
