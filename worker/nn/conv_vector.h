#ifndef WORKER_NN_CONV_VECTOR_H
#define WORKER_NN_CONV_VECTOR_H

/* conv_vector - a vector of reals, as wide as the level that a source is compiled for has them.
 *
 * Owner:    conv_product.c, winograd_tiles.c, conv_depthwise.c; no other includes this.
 * Surprise: CONV_LEVEL, the level's word, ends the names of what such a source defines.
 */
#include <stdint.h>
#include "worker/nn/real.h"

#ifndef CONV_LEVEL
#define CONV_LEVEL base
#endif
#define CONV_JOIN(name, level) name##_##level
#define CONV_EXPAND(name, level) CONV_JOIN(name, level)
#define CONV_NAME(name) CONV_EXPAND(name, CONV_LEVEL)

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

enum { LANES = VECTOR_BYTES / sizeof(real) };

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));
/* The same where it lies in an array. */
typedef real stored_vector
    __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 16")

INLINE vector load(const real *from)
{
    return *(const stored_vector *)from;
}

INLINE void store(real *to, vector value)
{
    *(stored_vector *)to = value;
}

#ifdef TALWEG_REAL_DOUBLE
typedef int64_t lane_bits;
#else
typedef int32_t lane_bits;
#endif
typedef lane_bits vector_bits __attribute__((vector_size(VECTOR_BYTES)));

/* As kernel_relu: a NaN stays a NaN. */
INLINE vector relu(vector value)
{
    vector_bits is_below = value < (vector){0};
    return (vector)((vector_bits)value & ~is_below);
}

/* a b + c, rounded once: the same everywhere, unlike what -ffp-contract leaves to the compiler. */
INLINE vector multiply_add(vector a, vector b, vector c)
{
    vector sum;
    UNROLLED
    for (int i = 0; i < LANES; i++)
#ifdef TALWEG_REAL_DOUBLE
        sum[i] = __builtin_fma(a[i], b[i], c[i]);
#else
        sum[i] = __builtin_fmaf(a[i], b[i], c[i]);
#endif
    return sum;
}

#endif
