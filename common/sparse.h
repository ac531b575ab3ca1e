#ifndef COMMON_SPARSE_H
#define COMMON_SPARSE_H

/* sparse - which numbers of a block are worth sending, and their pairs of index and value.
 *
 * Shapes:   values: [count] f32; out: [pairs][CODEC_PAIR_BYTES], u32 and f32, in order of index.
 * Owner:    the caller's arrays.  Thread: no state.
 * Memory:   none but the stack's.
 * Source:   Aji & Heafield, "Sparse Communication for Distributed Gradient Descent", EMNLP 2017
 *           (the largest by magnitude); the selection is a radix select, Knuth vol. 3, 5.2.5.
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>

/* The magnitude, as bits without the sign, that `keep` of the values reach or pass; 1 <= keep <=
 * count.  *ties_out: how many that just reach it are among the `keep`.  NaN counts as largest. */
uint32_t sparse_threshold(const float *values, size_t count, size_t keep, size_t *ties_out);

/* Writes `keep` pairs: the values of largest magnitude, the first ones where several are as large,
 * and clears them in values. */
void sparse_move_largest(float *values, size_t count, size_t keep, void *out);

/* How many of the sums a[i] + b[i] are not zero; b may be NULL. */
size_t sparse_count(const float *a, const float *b, size_t count);

/* Writes a pair (i, values[i]) for each i whose sum is not zero; when there is none, the first. */
void sparse_gather(const float *a, const float *b, const float *values, size_t count, void *out);

#endif
