#ifndef COMMON_VECTOR_MATH_H
#define COMMON_VECTOR_MATH_H

/* vector_math - arithmetic on long f32 vectors whose bits do not depend on where they are cut.
 *
 * Shapes:   every vector: [count] f32; count may be 0.
 * Owner:    the caller's vectors, borrowed for the call.  Thread: no state.
 * Memory:   none.
 * Source:   none.
 * Surprise: none; each element is computed alone, so its bits are those of the scalar loop.
 */
#include <stdbool.h>
#include <stddef.h>

/* sum[i] += addend[i]; the two do not overlap. */
void vector_add(float *restrict sum, const float *restrict addend, size_t count);

/* out[i] = a[i] + b[i]; the three do not overlap. */
void vector_sum(float *restrict out, const float *restrict a, const float *restrict b,
                size_t count);

/* No NaN and no infinity. */
bool vector_is_finite(const float *values, size_t count);

#endif
