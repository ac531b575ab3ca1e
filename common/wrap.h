#ifndef COMMON_WRAP_H
#define COMMON_WRAP_H

/* wrap - a buffer around bytes that something else owns, given back to it by the last holder.
 *
 * Shapes:   owner: room for whatever owns the bytes, a zmq_msg_t say.
 * Owner:    each holder of a reference on the buffer.  Thread: any; a pool has a lock.
 * Memory:   a pool keeps the wraps that came back, so a steady stream takes none.
 * Surprise: a pool outlives wrap_pool_destroy until its last wrap has come back.
 */
#include "common/buffer.h"

enum { WRAP_OWNER_BYTES = 64 };

struct wrap_pool;

struct wrap {
    struct buffer buffer; /* data and size_bytes are the taker's to fill */
    struct wrap_pool *pool;
    struct wrap *next; /* while it is kept */
    _Alignas(16) unsigned char owner[WRAP_OWNER_BYTES];
};

/* close is called with a wrap's owner when its last reference goes, on that thread. */
MUST_USE int wrap_pool_create(void (*close)(void *owner), struct wrap_pool **pool_out);
void wrap_pool_destroy(struct wrap_pool *pool);

/* A wrap with one reference and no bytes yet; its owner must be something that close can close
 * before the reference goes.  NULL when memory is out. */
MUST_USE struct wrap *wrap_pool_take(struct wrap_pool *pool);

#endif
