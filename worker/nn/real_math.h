#ifndef WORKER_NN_REAL_MATH_H
#define WORKER_NN_REAL_MATH_H

/* real_math - exp and tanh of one number, in a form that a loop over them is vectorised.
 *
 * As float: exp within 1 unit in the last place, tanh within 2; an input of exp beyond +-87.3
 * counts as +-87.3.  As double: libm's.
 *
 * Owner:    worker/nn.  Memory: none.  Thread: any.
 * Source:   Moshier, Cephes 2.8, single/expf.c and single/tanhf.c.
 * Surprise: none.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "worker/nn/real.h"

/* Says that a loop's elements do not depend on one another, which the compiler cannot see when out
 * is also an input. */
#define INDEPENDENT _Pragma("GCC ivdep")

#ifdef TALWEG_REAL_DOUBLE

static inline real choose(int condition, real yes, real no)
{
    return condition ? yes : no;
}

static inline real exp_of(real x)
{
    return exp(x);
}

static inline real tanh_of(real x)
{
    return tanh(x);
}

#else

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* condition ? yes : no, by bits: for a plain ?: between computed values the compiler makes a branch
 * and then does not vectorise. */
static inline float choose(int condition, float yes, float no)
{
    uint32_t mask = condition ? UINT32_MAX : 0;
    return float_of((bits_of(yes) & mask) | (bits_of(no) & ~mask));
}

/* exp(x) = 2^n exp(r), r = x - n ln 2 in +-0.35, ln 2 in two parts so that n ln2_high is exact. */
static inline real exp_of(real x)
{
    /* 1.5 * 2^23: adding it rounds to a whole number, which then stands in the low bits. */
    const float shift = 12582912.0f;
    x = choose(fabsf(x) > 87.3f, copysignf(87.3f, x), x);
    float shifted = x * 1.44269504088896341f + shift;
    float n = shifted - shift;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float y = p * (r * r) + r + 1.0f;
    return y * float_of((bits_of(shifted) + 127u) << 23);
}

/* An odd polynomial near zero, where 1 - 2 / (exp(2x) + 1) would cancel. */
static inline real tanh_of(real x)
{
    float square = x * x;
    float p = -5.70498872745e-3f;
    p = p * square + 2.06390887954e-2f;
    p = p * square + -5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square + -3.33332819422e-1f;
    float near = p * square * x + x;
    float size = fabsf(x);
    float far = copysignf(1.0f - 2.0f / (exp_of(size + size) + 1.0f), x);
    return choose(size < 0.625f, near, far);
}

#endif

#endif
