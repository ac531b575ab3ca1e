#include <math.h>
#include <string.h>
#include "common/err.h"
#include "worker/nn/kernels.h"
#include "worker/nn/smooth_kernels.h"
#include "tests/unit/unit.h"

enum { COUNT = 100003 };

typedef void (*map_kernel)(real *out, const real *in, size_t count);
typedef void (*grad_kernel)(real *in_grad, const real *out, const real *out_grad, size_t count);
typedef double (*exact_function)(double x);

static real inputs[COUNT], outputs[COUNT];

/* -87 .. 87, dense near zero, where most numbers of a network are. */
static void fill_inputs(void)
{
    for (int i = 0; i < COUNT; i++) {
        double x = 2.0 * i / (COUNT - 1) - 1;
        inputs[i] = (real)(87 * x * x * x);
    }
}

/* Largest distance from the exact value, in units in its last place. */
static double worst_error(map_kernel kernel, exact_function exact)
{
    double worst = 0;
    fill_inputs();
    kernel(outputs, inputs, COUNT);
    for (int i = 0; i < COUNT; i++) {
        double want = exact((double)inputs[i]);
        float size = fabsf((float)want);
        double unit = (double)nextafterf(size, INFINITY) - (double)size;
        worst = fmax(worst, fabs((double)outputs[i] - want) / unit);
    }
    return worst;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void test_kernels_keep_their_stated_error(void)
{
    CU_ASSERT(worst_error(kernel_exp, exp) <= 1);
    CU_ASSERT(worst_error(kernel_tanh, tanh) <= 2);
    CU_ASSERT(worst_error(kernel_sigmoid, sigmoid) <= 3);
}

/* elu with alpha 1, as the others are called. */
static void elu(real *out, const real *in, size_t count)
{
    kernel_elu(out, in, 1, count);
}

static double exact_elu(double x)
{
    return x > 0 ? x : expm1(x);
}

static double gelu(double x)
{
    return x * erfc(-x / sqrt(2)) / 2;
}

static double gelu_slope(double x)
{
    return erfc(-x / sqrt(2)) / 2 + x * exp(-x * x / 2) / sqrt(2 * acos(-1));
}

static double gelu_tanh(double x)
{
    return x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))) / 2;
}

static double gelu_tanh_slope(double x)
{
    double inner = sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
    double slope = sqrt(2 / acos(-1)) * (1 + 3 * 0.044715 * x * x);
    return (1 + tanh(inner)) / 2 + x * slope / (cosh(inner) * cosh(inner)) / 2;
}

static double silu(double x)
{
    return x * sigmoid(x);
}

static double silu_slope(double x)
{
    return sigmoid(x) * (1 + x * sigmoid(-x));
}

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static const struct {
    smooth_kernel kernel;
    exact_function value, slope;
} smooth[] = {
    {kernel_gelu, gelu, gelu_slope},
    {kernel_gelu_tanh, gelu_tanh, gelu_tanh_slope},
    {kernel_silu, silu, silu_slope},
    {kernel_softplus, softplus, sigmoid},
};

static void silu_alone(real *out, const real *in, size_t count)
{
    kernel_silu(out, NULL, in, count);
}

static void softplus_alone(real *out, const real *in, size_t count)
{
    kernel_softplus(out, NULL, in, count);
}

/* The derivative is asked for or not: the value is the same. */
static void test_smooth_kernels_keep_their_stated_error(void)
{
    static real slopes[COUNT], alone[COUNT];
    fill_inputs();
    for (size_t k = 0; k < ARRAY_LEN(smooth); k++) {
        double worst = 0, worst_slope = 0;
        smooth[k].kernel(outputs, slopes, inputs, COUNT);
        smooth[k].kernel(alone, NULL, inputs, COUNT);
        CU_ASSERT_EQUAL(memcmp(alone, outputs, sizeof(alone)), 0);
        for (int i = 0; i < COUNT; i++) {
            double x = (double)inputs[i], error = fabs((double)outputs[i] - smooth[k].value(x));
            worst = fmax(worst, error / fmax(fabs(x), 1));
            worst_slope = fmax(worst_slope, fabs((double)slopes[i] - smooth[k].slope(x)));
        }
        CU_ASSERT(worst <= 2e-7);
        CU_ASSERT(worst_slope <= 5e-7);
    }
    CU_ASSERT(worst_error(silu_alone, silu) <= 4);
    CU_ASSERT(worst_error(softplus_alone, softplus) <= 4);
    CU_ASSERT(worst_error(elu, exact_elu) <= 4);
}

/* From any position on, so that what is left of a vector is seen too. */
static void check_levels(smooth_kernel base, smooth_kernel best)
{
    static real values[2][COUNT], slopes[2][COUNT];
    for (size_t first = 0; first < 40; first += 3) {
        base(values[0], slopes[0], inputs + first, COUNT - 40 - first);
        best(values[1], slopes[1], inputs + first, COUNT - 40 - first);
        CU_ASSERT_EQUAL(memcmp(values[0], values[1], sizeof(values[0])), 0);
        CU_ASSERT_EQUAL(memcmp(slopes[0], slopes[1], sizeof(slopes[0])), 0);
    }
}

static void test_smooth_kernels_give_same_bits_at_every_level(void)
{
    const struct smooth_kernels *base = &smooth_kernels_base, *best = smooth_kernels_best();
    fill_inputs();
    check_levels(base->gelu, best->gelu);
    check_levels(base->gelu_tanh, best->gelu_tanh);
    check_levels(base->silu, best->silu);
    check_levels(base->softplus, best->softplus);
}

static void test_leaky_relu_is_its_formula(void)
{
    const real in[] = {2, -2, 0, (real)INFINITY, -(real)INFINITY, (real)NAN};
    real out[6], grad[6] = {1, 1, 1, 1, 1, 1};
    kernel_leaky_relu(out, in, (real)0.25, 6);
    CU_ASSERT(out[0] == 2 && out[1] == (real)-0.5 && out[2] == 0);
    CU_ASSERT(isinf(out[3]) && isinf(out[4]) && out[4] < 0 && isnan(out[5]));
    kernel_leaky_relu_grad(grad, out, grad, (real)0.25, 6);
    CU_ASSERT(grad[0] == 1 && grad[1] == (real)0.25 && grad[3] == 1 && grad[4] == (real)0.25);
}

static void test_kernels_bound_large_numbers_and_pass_nan_on(void)
{
    const real edge[] = {1000, -1000, (real)INFINITY, -(real)INFINITY, (real)NAN};
    real out[5];
    kernel_exp(out, edge, 5);
    CU_ASSERT(out[0] > 1e37 && isfinite(out[0]) && out[0] == out[2] && isnan(out[4]));
    CU_ASSERT(out[1] > 0 && out[1] < 1e-37 && out[1] == out[3]);
    kernel_tanh(out, edge, 5);
    CU_ASSERT(out[0] == 1 && out[1] == -1 && out[2] == 1 && out[3] == -1 && isnan(out[4]));
    kernel_sigmoid(out, edge, 5);
    CU_ASSERT(out[0] == 1 && out[1] < 1e-37 && out[2] == 1 && out[3] < 1e-37 && isnan(out[4]));
    kernel_relu(out, edge, 5);
    CU_ASSERT(out[0] == 1000 && out[1] == 0 && isinf(out[2]) && out[3] == 0 && isnan(out[4]));
}

/* Every element alone, in the middle of a vector and in its tail: the same bits. */
static void check_position(map_kernel kernel)
{
    enum { WINDOW = 67 };
    real whole[WINDOW], shifted[WINDOW];
    for (int i = 0; i < WINDOW; i++)
        inputs[i] = (real)(9 * sin(0.37 * i));
    kernel(whole, inputs, WINDOW);
    for (size_t begin = 0; begin < WINDOW; begin++) {
        kernel(shifted, inputs + begin, WINDOW - begin);
        CU_ASSERT_EQUAL(memcmp(shifted, whole + begin, (WINDOW - begin) * sizeof(real)), 0);
        kernel(shifted, inputs + begin, 1);
        CU_ASSERT_EQUAL(memcmp(shifted, whole + begin, sizeof(real)), 0);
    }
    memcpy(shifted, inputs, sizeof(shifted));
    kernel(shifted, shifted, WINDOW);
    CU_ASSERT_EQUAL(memcmp(shifted, whole, sizeof(whole)), 0);
}

static void test_kernels_give_same_bits_at_any_position(void)
{
    check_position(kernel_exp);
    check_position(kernel_tanh);
    check_position(kernel_sigmoid);
    check_position(kernel_relu);
    check_position(elu);
    check_position(silu_alone);
    check_position(softplus_alone);
}

static void test_kernels_give_same_gradient_when_it_overwrites_its_input(void)
{
    enum { WINDOW = 67 };
    const grad_kernel kernels[] = {kernel_relu_grad, kernel_tanh_grad, kernel_sigmoid_grad};
    real out[WINDOW], grad[WINDOW], apart[WINDOW];
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < WINDOW; i++) {
            out[i] = (real)sin(0.9 * i);
            grad[i] = (real)cos(0.37 * i);
        }
        kernels[k](apart, out, grad, WINDOW);
        kernels[k](grad, out, grad, WINDOW);
        CU_ASSERT_EQUAL(memcmp(grad, apart, sizeof(apart)), 0);
    }
}

#define TESTS(X) \
    X(test_kernels_keep_their_stated_error) \
    X(test_smooth_kernels_keep_their_stated_error) \
    X(test_smooth_kernels_give_same_bits_at_every_level) \
    X(test_leaky_relu_is_its_formula) \
    X(test_kernels_bound_large_numbers_and_pass_nan_on) \
    X(test_kernels_give_same_bits_at_any_position) \
    X(test_kernels_give_same_gradient_when_it_overwrites_its_input)

UNIT_MAIN("kernels", TESTS)
