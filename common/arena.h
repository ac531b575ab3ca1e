#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

/* arena - scratch memory of one message: taken bit by bit, given back at once.
 *
 * Owner:    whoever created it.  Thread: one.
 * Memory:   chunks are kept over a reset, so a steady stream of messages allocates nothing.
 * Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"

struct arena;

/* limit_bytes bounds what may be taken between two resets: a peer's message cannot ask for more. */
MUST_USE int arena_create(size_t first_bytes, size_t limit_bytes, struct arena **arena_out);
void arena_destroy(struct arena *arena);

/* size_bytes of zeroed memory, aligned to 16; NULL past the limit.  Valid until the next reset. */
MUST_USE void *arena_take(struct arena *arena, size_t size_bytes);

/* Gives everything back. */
void arena_reset(struct arena *arena);

#endif
