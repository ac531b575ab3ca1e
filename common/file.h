#ifndef COMMON_FILE_H
#define COMMON_FILE_H

/* file - a whole small file read, or put in place so that a crash leaves the old one or the new
 * one.
 *
 * Owner:    the caller.  Thread: any; two threads may replace one path, the later rename stays.
 * Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"

/* Reads all of a file of at most limit_bytes into malloc'd memory, the caller's to free, with a NUL
 * after the last byte that size_out does not count.  ERR_NOT_FOUND, ERR_IO, ERR_NOMEM, ERR_INPUT
 * when it is larger or no regular file; why names the path. */
MUST_USE int file_read(const char *path, size_t limit_bytes, char **bytes_out, size_t *size_out,
                       struct err_msg *why);

/* Writes PATH.tmp-<thread id>, syncs it, renames it to path and syncs the folder.  ERR_IO, with the
 * temporary file removed and path as it was; ERR_INPUT when path is too long. */
MUST_USE int file_replace(const char *path, const void *bytes, size_t size_bytes,
                          struct err_msg *why);

/* Makes what was created, renamed or removed in a folder last over a power cut.  ERR_IO. */
MUST_USE int file_sync_folder(const char *folder, struct err_msg *why);

#endif
