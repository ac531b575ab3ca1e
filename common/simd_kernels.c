#include "common/simd_kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "common/philox_steps.h"

/* SIMD_TABLE: the name of the table that this compilation makes (CMakeLists.txt). */
extern const struct simd_kernels SIMD_TABLE;

/* That out may be w keeps no element from being computed beside its neighbours. */
#ifdef __clang__
#define EACH_ALONE _Pragma("clang loop vectorize(assume_safety)")
#else
#define EACH_ALONE _Pragma("GCC ivdep")
#endif

/* So that a loop is made for each of the two kinds of gradient. */
#define INLINE static inline __attribute__((always_inline))

static void add(float *restrict sum, const float *restrict addend, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum[i] += addend[i];
}

static void sum(float *restrict out, const float *restrict a, const float *restrict b,
                size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] + b[i];
}

/* All exponent bits set means NaN or infinity (IEEE 754-2008, 3.4): then, and only then, one more
 * in the lowest of them carries into the sign's place. */
static bool is_finite(const float *values, size_t count)
{
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        found |= (bits & 0x7fffffffu) + 0x00800000u;
    }
    return found >> 31 == 0;
}

INLINE float gradient(const struct simd_step *step, const float *grad2, size_t i, float w)
{
    float sum = grad2 == NULL ? step->grad[i] : step->grad[i] + grad2[i];
    float sign = (float)((w > 0.0f) - (w < 0.0f));
    return sum * step->scale + step->weight_decay * w + step->l1 * sign;
}

/* Each loop takes its step by value: a store to an array cannot change it. */
INLINE void sgd_loop(struct simd_step step, const float *grad2)
{
    EACH_ALONE
    for (size_t i = 0; i < step.count; i++) {
        float w = step.w[i];
        step.out[i] = w - step.rate * gradient(&step, grad2, i, w);
    }
}

/* Sutskever et al. 2013, section 2, with the rate outside of v as PyTorch has it. */
INLINE void momentum_loop(struct simd_step step, const float *grad2)
{
    EACH_ALONE
    for (size_t i = 0; i < step.count; i++) {
        float w = step.w[i];
        float v = step.momentum * step.first[i] + gradient(&step, grad2, i, w);
        step.first[i] = v;
        step.out[i] = w - step.rate * v;
    }
}

INLINE void nesterov_loop(struct simd_step step, const float *grad2)
{
    EACH_ALONE
    for (size_t i = 0; i < step.count; i++) {
        float w = step.w[i];
        float g = gradient(&step, grad2, i, w);
        float v = step.momentum * step.first[i] + g;
        step.first[i] = v;
        step.out[i] = w - step.rate * (g + step.momentum * v);
    }
}

/* Kingma & Ba 2015, algorithm 1, and Loshchilov & Hutter 2019, algorithm 2, line 12 (keep). */
INLINE void adam_loop(struct simd_step step, const float *grad2)
{
    EACH_ALONE
    for (size_t i = 0; i < step.count; i++) {
        float w = step.w[i];
        float g = gradient(&step, grad2, i, w);
        float m = step.beta1 * step.first[i] + step.rest1 * g;
        float s = step.beta2 * step.second[i] + step.rest2 * (g * g);
        step.first[i] = m;
        step.second[i] = s;
        float root = sqrtf(s) / step.root_bias + step.epsilon;
        step.out[i] = step.keep * w - step.rate * (m / root);
    }
}

#define KERNEL(name)                           \
    static void name(const struct simd_step *step) \
    {                                          \
        if (step->grad2 == NULL)               \
            name##_loop(*step, NULL);          \
        else                                   \
            name##_loop(*step, step->grad2);   \
    }

KERNEL(sgd)
KERNEL(momentum)
KERNEL(nesterov)
KERNEL(adam)

/* Rounds outside, blocks inside, each word of the state an array of its own: the inner loop is what
 * the compiler vectorises. */
static void philox_words(const struct simd_stream *stream, uint64_t first_block,
                         uint32_t words[SIMD_PHILOX_WORDS])
{
    enum { BLOCKS = SIMD_PHILOX_WORDS / 4 };
    uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS];
    for (uint32_t i = 0; i < BLOCKS; i++) {
        c0[i] = (uint32_t)(first_block + i);
        c1[i] = (uint32_t)((first_block + i) >> 32);
        c2[i] = stream->counter_high[0];
        c3[i] = stream->counter_high[1];
    }
    uint32_t k0 = stream->key[0], k1 = stream->key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        for (uint32_t i = 0; i < BLOCKS; i++) {
            uint64_t product_0 = (uint64_t)PHILOX_MULTIPLY_0 * c0[i];
            uint64_t product_1 = (uint64_t)PHILOX_MULTIPLY_1 * c2[i];
            c0[i] = (uint32_t)(product_1 >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)product_1;
            c2[i] = (uint32_t)(product_0 >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)product_0;
        }
        k0 += PHILOX_WEYL_0;
        k1 += PHILOX_WEYL_1;
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
}

static void philox_normals(const uint32_t words[SIMD_PHILOX_WORDS],
                           float values[SIMD_PHILOX_WORDS])
{
    for (uint32_t i = 0; i < SIMD_PHILOX_WORDS; i += 2)
        philox_normal_pair(words[i], words[i + 1], values + i);
}

const struct simd_kernels SIMD_TABLE = {.add = add,
                                        .sum = sum,
                                        .is_finite = is_finite,
                                        .sgd = sgd,
                                        .momentum = momentum,
                                        .nesterov = nesterov,
                                        .adam = adam,
                                        .philox_words = philox_words,
                                        .philox_normals = philox_normals};
