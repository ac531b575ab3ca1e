#ifndef WORKER_DATA_SPOOL_H
#define WORKER_DATA_SPOOL_H

/* spool - bytes written once, one after another: in memory up to a ceiling, beyond it in a file.
 *
 * What has no fixed offsets on disk (a packed file, a CSV) is written here once, and read by offset
 * from then on.  The file has no name, so it goes when the process goes, however it goes.
 *
 * Shapes:   a run of bytes.
 * Owner:    who created it, until spool_take.  Thread: one at a time.
 * Memory:   at most the ceiling (at least 64 KiB), while it still fits; then one write buffer.
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

struct spool;

/* What a spool became: memory (fd -1, to be freed) or a file (memory NULL, fd to be closed). */
struct spooled {
    void *memory;
    int fd;
    uint64_t size_bytes;
};

/* dir: where the file would lie; "" means TMPDIR, or /tmp.  Borrowed until spool_take or
 * spool_destroy.  ERR_NOMEM. */
MUST_USE int spool_create(const char *dir, uint64_t memory_bytes, struct spool **spool_out);
void spool_destroy(struct spool *spool);

/* ERR_IO with a sentence when the file cannot be made or the disk is full; ERR_NOMEM. */
MUST_USE int spool_add(struct spool *spool, const void *bytes, size_t size_bytes,
                       struct err_msg *why);

/* Ends writing and hands over what was written.  Consumes the spool, also on failure. */
MUST_USE int spool_take(struct spool *spool, struct spooled *out, struct err_msg *why);

#endif
