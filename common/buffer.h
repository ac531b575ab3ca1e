#ifndef COMMON_BUFFER_H
#define COMMON_BUFFER_H

/* buffer - bytes with a reference count, and the pool they come from and go back to.
 *
 * A payload is never copied on its way: a received message, a partial sum, a version of a block are
 * each one buffer, held by whoever still needs it, and released by the last, on whatever thread.
 *
 * Shapes:   data: [size_bytes], aligned to 64 bytes when from a pool, to 4 when from the network.
 * Owner:    each holder of a reference.  Thread: counts are atomic, a pool has a lock.
 * Memory:   a pool keeps what was returned and hands it out again; it stays under its ceiling.
 *           One in segments gives nothing back to the system before its last buffer has come back.
 * Source:   none.
 * Surprise: a pool outlives buffer_pool_destroy until its last buffer has come back.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/segment.h"

struct buffer {
    void *data;
    size_t size_bytes;                     /* valid bytes in data */
    const struct segment *segment;         /* that data lies in; NULL: this process's alone */
    atomic_uint ref_count;                 /* starts at 1 */
    bool is_read_only;                     /* data lie where they cannot be written */
    void (*release)(struct buffer *self);  /* called by the last buffer_unref */
};

struct buffer_pool;

/* One more holder; returns the buffer for convenience. */
struct buffer *buffer_ref(struct buffer *buffer);

/* One holder less; NULL is fine.  The last one releases it. */
void buffer_unref(struct buffer *buffer);

/* The caller's reference is the only one: nobody else reads the bytes, or will. */
bool buffer_is_sole(const struct buffer *buffer);

/* A pool whose buffers, in use or kept, never exceed ceiling_bytes (0 = no ceiling). */
MUST_USE int buffer_pool_create(size_t ceiling_bytes, struct buffer_pool **pool_out);

/* A pool without a ceiling whose buffers lie in segments, for processes on this host to read.
 * ERR_NET: this system has none; ERR_NOMEM. */
MUST_USE int buffer_pool_create_shared(struct buffer_pool **pool_out);
void buffer_pool_destroy(struct buffer_pool *pool);

/* A buffer of size_bytes with one reference and unspecified content.  NULL at the ceiling or when
 * memory is out. */
MUST_USE struct buffer *buffer_pool_take(struct buffer_pool *pool, size_t size_bytes);

/* The segment of that number, or NULL.  Valid until the pool's last buffer has come back. */
const struct segment *buffer_pool_segment(struct buffer_pool *pool, uint32_t idx);

/* Bytes now held by the pool and by holders of its buffers. */
size_t buffer_pool_bytes(struct buffer_pool *pool);

#endif
