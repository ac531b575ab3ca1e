#ifndef COMMON_SEGMENT_H
#define COMMON_SEGMENT_H

/* segment - memory that its maker may write and others on the same host may read.
 *
 * A segment is a memfd: it has no name, and its pages go when the last process that maps it is
 * gone, however that one ended.  It is sealed at birth: nobody can shrink it under a reader, and
 * whoever is handed its descriptor can map it for reading only.
 *
 * Owner:    whoever made or opened it.  Thread: any, as a value that does not change.
 * Memory:   address space for all of it at once, pages as they are touched.
 * Source:   Linux memfd_create(2), fcntl(2) F_ADD_SEALS, unix(7) SCM_RIGHTS.
 * Surprise: its content may change under a reader at any time; its size may not.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

/* The largest one that is taken from another process. */
enum { SEGMENT_BYTES_MAX = 1 << 30 };

struct segment {
    unsigned char *data;
    size_t size_bytes;
    int fd;
    uint32_t idx; /* among those of its maker */
};

/* A new one, zeroed.  ERR_NOMEM; ERR_NET when this system has no sealed memory files. */
MUST_USE int segment_create(size_t size_bytes, uint32_t idx, struct segment *segment_out);

/* Takes over fd, always.  ERR_PROTO when it is no sealed memory file of 1..SEGMENT_BYTES_MAX bytes;
 * ERR_NOMEM. */
MUST_USE int segment_open(int fd, uint32_t idx, struct segment *segment_out);

/* Zeroes it; one that is zeroed is fine. */
void segment_close(struct segment *segment);

#endif
