#ifndef COMMON_SIMD_KERNELS_H
#define COMMON_SIMD_KERNELS_H

/* simd_kernels - the loops of vector_math, optimizer and philox, one table of them for each level
 * that simd_kernels.c is compiled for.
 *
 * Shapes:   every array: [count] f32, aligned to 4 bytes.
 * Owner:    the caller's arrays.  Thread: no state.
 * Memory:   none.
 * Source:   as common/optimizer.h and common/philox.h.
 * Surprise: the same source is compiled several times; no level may change a bit of what another
 *           gives, so each element is computed alone, by the same operations in the same order.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIMD_PHILOX_WORDS = 256 };

/* One step of an optimizer.  No two arrays overlap but for out, which may be w itself. */
struct simd_step {
    const float *w;
    const float *grad, *grad2; /* their sum is the gradient's; grad2 NULL: grad alone */
    float *first, *second;     /* state; NULL where the optimizer has none */
    float *out;
    size_t count;
    float scale, weight_decay, l1; /* g = gradient * scale + weight_decay * w + l1 * sign(w) */
    float rate, momentum;
    /* adam: rate is rate / (1 - beta1^t) */
    float beta1, rest1; /* rest = 1 - beta, taken in double */
    float beta2, rest2;
    float root_bias; /* sqrt(1 - beta2^t) */
    float epsilon;
    float keep; /* what decoupled decay leaves of a weight; 1 without */
};

/* The stream that a draw key stands for. */
struct simd_stream {
    uint32_t key[2];
    uint32_t counter_high[2];
};

struct simd_kernels {
    void (*add)(float *restrict sum, const float *restrict addend, size_t count);
    void (*sum)(float *restrict out, const float *restrict a, const float *restrict b,
                size_t count);
    bool (*is_finite)(const float *values, size_t count);
    void (*sgd)(const struct simd_step *step);
    void (*momentum)(const struct simd_step *step);
    void (*nesterov)(const struct simd_step *step);
    void (*adam)(const struct simd_step *step);
    /* Blocks of four words, one after another from first_block on. */
    void (*philox_words)(const struct simd_stream *stream, uint64_t first_block,
                         uint32_t words_out[SIMD_PHILOX_WORDS]);
    /* What draw_normal makes of them. */
    void (*philox_normals)(const uint32_t words[SIMD_PHILOX_WORDS],
                           float values_out[SIMD_PHILOX_WORDS]);
};

#endif
