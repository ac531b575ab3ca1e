#ifndef WORKER_DATA_INFLATE_H
#define WORKER_DATA_INFLATE_H

/* inflate - the bytes of a file in order, unpacked when they are gzip.  The door to zlib.
 *
 * Whether a file is packed is told by its content, not by its name.
 *
 * Shapes:   a stream of bytes.
 * Owner:    who opened it.  Thread: one at a time.
 * Memory:   a fixed window, whatever the size of the file.
 * Source:   RFC 1952 (gzip), through zlib's gz* functions.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

struct inflate;

/* Opens a regular file.  ERR_NOT_FOUND, ERR_IO or ERR_INPUT (a folder, a pipe) with a sentence. */
MUST_USE int inflate_open(const char *path, struct inflate **in_out, struct err_msg *why);
void inflate_close(struct inflate *in);

/* Reads the next size_bytes; *got_out is less only at the end.  ERR_IO when the packed stream is
 * damaged or ends early, or the disk fails. */
MUST_USE int inflate_read(struct inflate *in, void *out, size_t size_bytes, size_t *got_out,
                          struct err_msg *why);

/* Reads the next size_bytes, which belong to the file's header; ERR_INPUT when it ends before. */
MUST_USE int inflate_read_header(struct inflate *in, void *out, size_t size_bytes,
                                 struct err_msg *why);

/* Where the next byte comes from, counted in unpacked bytes. */
uint64_t inflate_offset(const struct inflate *in);

bool inflate_is_packed(const struct inflate *in);

/* The path it was opened with; borrowed until inflate_close. */
const char *inflate_path(const struct inflate *in);

#endif
