#ifndef COMMON_CODEC_H
#define COMMON_CODEC_H

/* codec - fewer bytes for a block's numbers: how they are rounded, and their form on the wire.
 *
 * bf16: the nearest of the numbers with 8 bits of precision, the even one between two.  int8: 256
 * numbers share a scale s, the smallest power of two with |x| <= 127 s; x becomes one of the two
 * whole multiples of s around it, at random so that its mean is x.  What is drawn is a function of
 * (seed, step, tensor, which element, which node), so that whoever adds up a node rounds it alike.
 * Rounding is apart from encoding: a number once rounded stays what it is when it is rounded again,
 * encoded and decoded, so a sum that is rounded at every node of the tree has the same bits whether
 * its parts came through a wire or not.  The very largest may become infinite.  sparse: pairs of
 * index and value, of the rest nothing is said; a sum is then zero there.
 *
 * Shapes:   values: [count] f32.  f32: 4 count bytes.  bf16: 2 count.  int8: [count] s8, then one
 *           s8 for each 256 of them: log2 of the scale, or 127 when one is no finite number.
 *           sparse: one pair or more, in order, 8 bytes each.  All are made up to whole words of 4.
 * Owner:    the caller's arrays.  Thread: no state.
 * Memory:   none.
 * Source:   Alistarh et al., "QSGD", NeurIPS 2017, section 3 (stochastic rounding by groups);
 *           Gupta et al., "Deep Learning with Limited Numerical Precision", ICML 2015, section 3.
 * Surprise: none.
 */
#include "common/lane.h"
#include "common/layout.h"

/* In the order of exchange.codec's choices (settings_table.c), and as numbered on the wire. */
enum codec_kind { CODEC_F32, CODEC_BF16, CODEC_INT8, CODEC_SPARSE, CODEC_COUNT };

enum { CODEC_GROUP = 256 };

/* Bytes of one pair. */
enum { CODEC_PAIR_BYTES = 8 };

/* One block of one step. */
struct codec_grid {
    enum codec_kind codec; /* the block's; f32, sparse: nothing is rounded */
    uint64_t seed, step;
    uint32_t tensor_idx;
    uint64_t first; /* element of the tensor that the block begins with; int8: of whole groups */
};

/* Numbers are rounded: bf16 and int8. */
bool codec_rounds(enum codec_kind codec);

/* codec: the job's; a block that no optimizer changes is sent as it is: f32.  step is left 0. */
struct codec_grid codec_grid_of(enum codec_kind codec, uint64_t seed, const struct layout *layout,
                                size_t block_idx);

/* Rounds a node's sum of gradients, in place. */
void codec_round_node(const struct codec_grid *grid, struct lane_node node, float *values,
                      size_t count);

/* Rounds weights; grid->step is their version. */
void codec_round_weights(const struct codec_grid *grid, float *values, size_t count);

/* Bytes of so many numbers; sparse: of so many pairs. */
size_t codec_bytes(enum codec_kind codec, size_t count);

/* A payload of that size may be a block of count numbers. */
bool codec_fits(enum codec_kind codec, size_t size_bytes, size_t count);

/* Values as they were rounded, to out [codec_bytes].  Not for sparse (sparse.h). */
void codec_encode(enum codec_kind codec, const float *values, size_t count, void *out);

/* The other way.  sparse: numbers that are not told stay.  ERR_PROTO: an index past the block's
 * end, and out is part old, part new.  bytes fit; they may change while they are read. */
MUST_USE int codec_decode(enum codec_kind codec, const void *bytes, size_t size_bytes, float *out,
                          size_t count);

#endif
