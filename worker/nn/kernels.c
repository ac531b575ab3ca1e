#include "worker/nn/kernels.h"

#include <string.h>
#include "worker/nn/real_math.h"

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

void kernel_where_equal(real *out, const int32_t *key, int32_t wanted, const real *values,
                        size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        real value = values[i]; /* read always: a load under a condition is not vectorised */
        out[i] = key[i] == wanted ? value : 0;
    }
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

void kernel_leaky_relu(real *out, const real *in, real slope, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = choose(in[i] < 0, in[i] * slope, in[i]);
}

void kernel_leaky_relu_grad(real *in_grad, const real *out, const real *out_grad, real slope,
                            size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        in_grad[i] = choose(out[i] > 0, out_grad[i], out_grad[i] * slope);
}

/* exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which does not cancel near zero. */
void kernel_elu(real *out, const real *in, real alpha, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        real below = alpha * (tanh_of(in[i] / 2) * (exp_of(in[i]) + 1));
        out[i] = choose(in[i] > 0, in[i], below);
    }
}

void kernel_elu_grad(real *in_grad, const real *out, const real *out_grad, real alpha, size_t count)
{
    INDEPENDENT
    for (size_t i = 0; i < count; i++)
        in_grad[i] = choose(out[i] > 0, out_grad[i], out_grad[i] * (out[i] + alpha));
}

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
