#ifndef PS_SHARD_CODEC_H
#define PS_SHARD_CODEC_H

/* shard_codec - what the job's codec makes of a block's sums and weights on the wire, and back.
 *
 * Shapes:   numbers: [block's elements] f32; payloads as common/codec.h has them.
 * Owner:    shard.  Thread: its loop's.
 * Memory:   from the shard's pool; each buffer returned is a reference of the caller's.
 * Surprise: private to shard_*.c.
 */
#include "ps/shard_state.h"

/* The numbers of a push or an update, its payload's or in a buffer of their own; the caller's to
 * give back.  ERR_PROTO: they are not what their codec makes; ERR_NOMEM. */
MUST_USE int shard_decode(struct shard *shard, const struct shard_block *block,
                          const struct message *msg, struct buffer **floats_out);

/* What the payload of that size may be: a block, as the job's codec has it or whole. */
bool shard_is_payload(const struct shard_block *block, const struct message *msg);

/* A root's sum for a replica; NULL: no memory.  The caller's. */
MUST_USE struct buffer *shard_encode_sum(struct shard *shard, const struct shard_block *block,
                                         struct buffer *sum, enum codec_kind *codec_out);

/* What the waiter is sent of the block's present version, of the one before; NULL: no memory.  The
 * caller's. */
MUST_USE struct buffer *shard_encode_weights(struct shard *shard, struct shard_block *block,
                                             const struct shard_waiter *waiter,
                                             enum codec_kind *codec_out);
MUST_USE struct buffer *shard_encode_previous(struct shard *shard,
                                              const struct shard_block *block,
                                              enum codec_kind *codec_out);

/* The block's version was made of parts: sparse, and what they change is fewer bytes than all. */
void shard_encode_change(struct shard *shard, struct shard_block *block,
                         struct buffer *const parts[2]);

#endif
