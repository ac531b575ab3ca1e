#include <math.h>
#include <string.h>
#include "worker/nn/kernels.h"
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
    X(test_kernels_bound_large_numbers_and_pass_nan_on) \
    X(test_kernels_give_same_bits_at_any_position) \
    X(test_kernels_give_same_gradient_when_it_overwrites_its_input)

UNIT_MAIN("kernels", TESTS)
