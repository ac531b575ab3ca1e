#ifndef WORKER_GRADIENT_H
#define WORKER_GRADIENT_H

/* gradient - one flat gradient after another, whose blocks go to their shards from where they were
 * computed.
 *
 * A block is a buffer that keeps the vector it lies in.  The next gradient takes the same vector
 * when nobody keeps it any more, else another one of the pool.
 *
 * Shapes:   flat: [weight_count] f32, aligned to 64 bytes.
 * Owner:    one thread of compute.  Thread: that one's; blocks are let go of on any.
 * Memory:   vectors of the pool; where the pool has none so large, one vector of its own, out of
 *           which blocks are copied.
 * Surprise: a block that begins at an odd element is a copy, since loans (common/lending.h) are
 *           aligned to 8 bytes.
 */
#include "common/buffer.h"
#include "common/layout.h"

struct gradient;

/* Both borrowed, the pool until the last block is let go of.  ERR_NOMEM. */
MUST_USE int gradient_create(const struct layout *layout, struct buffer_pool *pool,
                             struct gradient **gradient_out);

/* Blocks that are kept stay. */
void gradient_destroy(struct gradient *gradient);

/* Room for the next one, of unspecified content; blocks handed out before do not change.  Valid
 * until the next call.  NULL when memory is out. */
float *gradient_begin(struct gradient *gradient);

/* A block of it, which must not be written through gradient_begin's pointer any more.  The caller
 * owns the reference.  NULL when memory is out. */
struct buffer *gradient_block(struct gradient *gradient, size_t block_idx);

#endif
