#ifndef PROTO_BATCH_H
#define PROTO_BATCH_H

/* batch - envelopes of an outbox that go as one message of the wire: alike but for block and
 * payload.
 *
 * Owner:    values that borrow from the outbox; pieces hold references.  Thread: one, but the
 *           last reference on a piece may go on any.
 * Surprise: none.
 */
#include "proto/outbox.h"

/* Payloads up to this are copied side by side where they lie apart: that is cheaper than a frame
 * of their own, which costs some microseconds of both processes.  Smaller and larger ones do not
 * mix. */
enum { SMALL_BYTES = 64 << 10 };

struct batch {
    struct envelope *items[PARCEL_BLOCKS_MAX];
    size_t count, size_bytes;
};

/* Parts of all payloads in the order of the batch, each of one block or of several. */
struct pieces {
    struct buffer *at[PARCEL_BLOCKS_MAX];
    size_t count;
};

/* The envelope of that index and those behind it that can go with it.  Payloads that lie one behind
 * the other from the last to the first are listed the other way round. */
void batch_collect(struct outbox *outbox, size_t first, struct batch *batch_out);

/* Of a batch with payloads: those that lie side by side are one piece, or a few.  ERR_NOMEM: there
 * are none. */
MUST_USE int batch_cut(const struct batch *batch, struct pieces *pieces_out);

/* One piece, which all payloads are copied to.  ERR_NOMEM. */
MUST_USE int batch_gather(const struct batch *batch, struct buffer_pool *pool,
                          struct pieces *pieces_out);

/* Gives the references back; empties it. */
void pieces_release(struct pieces *pieces);

#endif
