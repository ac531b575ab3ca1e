#include "worker/nn/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Says that a loop's elements do not depend on one another, which the compiler cannot see when out
 * is also an input. */
#define INDEPENDENT _Pragma("GCC ivdep")

void kernel_zero(real *out, size_t count)
{
    memset(out, 0, count * sizeof(*out));
}

void kernel_copy(real *out, const real *in, size_t count)
{
    memcpy(out, in, count * sizeof(*out));
}

void kernel_add(real *out, const real *left, const real *right, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = left[i] + right[i];
}

void kernel_scale(real *out, const real *in, real factor, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = in[i] * factor;
}

void kernel_multiply(real *out, const real *left, const real *right, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = left[i] * right[i];
}

void kernel_fill_rows(real *out, const real *row, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++)
        kernel_copy(out + i * cols, row, cols);
}

void kernel_add_rows(real *sums, const real *matrix, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++)
        kernel_add(sums, sums, matrix + i * cols, cols);
}

void kernel_relu(real *out, const real *in, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = in[i] < 0 ? 0 : in[i];
}

void kernel_relu_grad(real *in_grad, const real *out, const real *out_grad, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        real passed = out_grad[i]; /* read always: a load under a condition is not vectorised */
        in_grad[i] = out[i] > 0 ? passed : 0;
    }
}

#ifdef TALWEG_REAL_DOUBLE

static real exp_of(real x)
{
    return exp(x);
}

static real tanh_of(real x)
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

void kernel_exp(real *out, const real *in, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = exp_of(in[i]);
}

void kernel_tanh(real *out, const real *in, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = tanh_of(in[i]);
}

void kernel_tanh_grad(real *in_grad, const real *out, const real *out_grad, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        in_grad[i] = out_grad[i] * (1 - out[i] * out[i]);
}

void kernel_sigmoid(real *out, const real *in, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = 1 / (1 + exp_of(-in[i]));
}

void kernel_sigmoid_grad(real *in_grad, const real *out, const real *out_grad, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        in_grad[i] = out_grad[i] * (out[i] * (1 - out[i]));
}
