/* What operators give forward, against their formulas written as plain loops.  (Their gradients:
 * test_gradients.c.  A forward that is wrong in the same way as its gradient passes there.) */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"
#include "worker/nn/op.h"

enum { SAMPLES = 2, PIXELS_MAX = 16384, SCRATCH_MAX = 1 << 19 };

struct bench {
    struct op_spec spec;
    struct op_plan plan;
    struct op_call call;
    real in[PIXELS_MAX], out[PIXELS_MAX], keep[PIXELS_MAX], scratch[SCRATCH_MAX];
    real in_grad[PIXELS_MAX], out_grad[PIXELS_MAX];
    real weight[PIXELS_MAX], bias[16];
};

static struct bench bench;

/* False when the shape rule refuses. */
static bool run_forward(const struct op_kernel *kernel, struct op_spec spec, struct op_shape in)
{
    struct bench *b = &bench;
    b->spec = spec;
    b->plan = (struct op_plan){.spec = &b->spec, .in = {in}, .in_count = op_shape_count(&in)};
    if (kernel->plan(&b->plan, NULL))
        return false;
    b->plan.out_count = op_shape_count(&b->plan.out);
    CU_ASSERT_FATAL(SAMPLES * b->plan.in_count <= PIXELS_MAX);
    CU_ASSERT_FATAL(SAMPLES * b->plan.out_count <= PIXELS_MAX);
    CU_ASSERT_FATAL(b->plan.scratch_count <= SCRATCH_MAX);
    wave(b->in, SAMPLES * b->plan.in_count, 0.37, 1);
    wave(b->weight, PIXELS_MAX, 2.39, 0.5);
    wave(b->bias, 16, 1.1, 1);
    b->call = (struct op_call){.plan = &b->plan,
                               .count = SAMPLES,
                               .is_training = true,
                               .draw = {.seed = 5, .where = 17},
                               .tensor = {b->weight, spec.bias ? b->bias : NULL},
                               .keep = b->keep,
                               .scratch = b->scratch,
                               .in = {b->in},
                               .out = b->out,
                               .out_grad = b->out_grad,
                               .in_grad = b->in_grad};
    kernel->forward(&b->call);
    return true;
}

/* Padding before the image, as the job file's words say it. */
static int before(const struct op_spec *spec, int axis, int in)
{
    int kernel = (int)spec->kernel[axis], stride = (int)spec->stride[axis];
    int out = (in + stride - 1) / stride, total = (out - 1) * stride + kernel - in;
    if (!spec->padding_same)
        return (int)spec->padding[axis];
    return total > 0 ? total / 2 : 0;
}

/* A pixel, or NULL where there is padding. */
static const real *pixel_at(int sample, int row, int col)
{
    const struct op_shape *in = &bench.plan.in[0];
    int rows = (int)in->size[0], cols = (int)in->size[1];
    if (row < 0 || col < 0 || row >= rows || col >= cols)
        return NULL;
    return bench.in + ((size_t)(sample * rows + row) * (size_t)cols + (size_t)col) * in->size[2];
}

/* One number out, by its definition; channel is an output channel. */
typedef double (*window_formula)(int sample, int row, int col, int channel);

static double conv_formula(int sample, int row, int col, int channel)
{
    const struct op_spec *spec = &bench.spec;
    size_t channels = bench.plan.in[0].size[2];
    double sum = spec->bias ? (double)bench.bias[channel] : 0;
    for (int i = 0; i < (int)spec->kernel[0]; i++)
        for (int j = 0; j < (int)spec->kernel[1]; j++) {
            const real *pixel = pixel_at(sample, row + i, col + j);
            size_t tap = (size_t)i * spec->kernel[1] + (size_t)j;
            for (size_t c = 0; pixel && c < channels; c++)
                sum += (double)pixel[c] *
                       (double)bench.weight[(tap * channels + c) * spec->filters + (size_t)channel];
        }
    return sum;
}

static double pool_formula(int sample, int row, int col, int channel)
{
    double sum = 0, max = -INFINITY;
    int count = 0;
    for (int i = 0; i < (int)bench.spec.kernel[0]; i++)
        for (int j = 0; j < (int)bench.spec.kernel[1]; j++) {
            const real *pixel = pixel_at(sample, row + i, col + j);
            if (!pixel)
                continue;
            sum += (double)pixel[channel];
            max = fmax(max, (double)pixel[channel]);
            count++;
        }
    return bench.spec.kind == OP_MAXPOOL2D ? max : sum / count;
}

/* Largest distance between what the operator gave and its formula. */
static double compare(window_formula formula)
{
    const struct op_shape *in = &bench.plan.in[0], *out = &bench.plan.out;
    int rows = (int)out->size[0], cols = (int)out->size[1], channels = (int)out->size[2];
    int top = before(&bench.spec, 0, (int)in->size[0]);
    int left = before(&bench.spec, 1, (int)in->size[1]);
    int stride_rows = (int)bench.spec.stride[0], stride_cols = (int)bench.spec.stride[1];
    const real *got = bench.out;
    double worst = 0;
    for (int s = 0; s < SAMPLES; s++)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++)
                for (int c = 0; c < channels; c++, got++) {
                    double want = formula(s, i * stride_rows - top, j * stride_cols - left, c);
                    worst = fmax(worst, fabs((double)*got - want));
                }
    return worst;
}

static struct op_spec window_spec(enum op_kind kind, unsigned number)
{
    struct op_spec spec = {.kind = kind, .filters = 5, .bias = number % 2 != 0};
    spec.name[0] = 'w';
    number /= 2;
    for (int axis = 0; axis < 2; axis++) {
        spec.kernel[axis] = 1 + number % 4;
        spec.stride[axis] = 1 + number / 4 % 3;
        spec.padding[axis] = number / 12 % 3;
        number /= 36;
    }
    spec.padding_same = number % 2 != 0;
    if (spec.padding_same)
        spec.padding[0] = spec.padding[1] = 0;
    return spec;
}

/* Every kernel 1..4, stride 1..3, padding 0..2 or "same", rows and columns apart. */
static void check_windows(const struct op_kernel *kernel, enum op_kind kind, uint32_t channels,
                          window_formula formula)
{
    int checked = 0;
    double worst = 0;
    for (unsigned number = 0; number < 2 * 36 * 36 * 2; number++) {
        struct op_spec spec = window_spec(kind, number);
        if (!run_forward(kernel, spec, (struct op_shape){.dims = 3, .size = {7, 5, channels}}))
            continue;
        if (spec.padding_same) {
            CU_ASSERT_EQUAL(bench.plan.out.size[0], (7 + spec.stride[0] - 1) / spec.stride[0]);
            CU_ASSERT_EQUAL(bench.plan.out.size[1], (5 + spec.stride[1] - 1) / spec.stride[1]);
        }
        worst = fmax(worst, compare(formula));
        checked++;
    }
    CU_ASSERT(checked > 2000);
    CU_ASSERT(worst < 1e-5);
}

static void test_operator_conv2d_is_its_formula(void)
{
    check_windows(&op_conv2d, OP_CONV2D, 1, conv_formula);
    check_windows(&op_conv2d, OP_CONV2D, 3, conv_formula);
    check_windows(&op_conv2d, OP_CONV2D, 24, conv_formula);
}

static void test_operator_maxpool2d_is_its_formula(void)
{
    check_windows(&op_maxpool2d, OP_MAXPOOL2D, 3, pool_formula);
    check_windows(&op_maxpool2d, OP_MAXPOOL2D, 17, pool_formula);
}

static void test_operator_avgpool2d_is_its_formula(void)
{
    check_windows(&op_avgpool2d, OP_AVGPOOL2D, 3, pool_formula);
}

static void test_operator_maxpool2d_gives_gradient_to_first_of_equals(void)
{
    struct op_spec spec = {.kind = OP_MAXPOOL2D, .kernel = {2, 2}, .stride = {2, 2}};
    CU_ASSERT_FATAL(
        run_forward(&op_maxpool2d, spec, (struct op_shape){.dims = 3, .size = {4, 4, 1}}));
    memset(bench.in, 0, sizeof(bench.in));
    op_maxpool2d.forward(&bench.call);
    for (int i = 0; i < 4 * SAMPLES; i++)
        bench.out_grad[i] = 1;
    op_maxpool2d.backward_data(&bench.call);
    for (int i = 0; i < 16 * SAMPLES; i++)
        CU_ASSERT_EQUAL(bench.in_grad[i], i / 4 % 2 == 0 && i % 2 == 0 ? 1 : 0);
}

static void test_operator_maxpool2d_passes_nan_on(void)
{
    struct op_spec spec = {.kind = OP_MAXPOOL2D, .kernel = {2, 2}, .stride = {2, 2}};
    const struct op_shape image = {.dims = 3, .size = {2, 2, 1}};
    for (int at = 0; at < 4; at++) {
        CU_ASSERT_FATAL(run_forward(&op_maxpool2d, spec, image));
        bench.in[at] = (real)NAN;
        op_maxpool2d.forward(&bench.call);
        CU_ASSERT(isnan(bench.out[0]) && !isnan(bench.out[1]));
    }
}

static void test_operator_global_avgpool_is_the_mean_of_each_channel(void)
{
    CU_ASSERT_FATAL(run_forward(&op_global_avgpool, (struct op_spec){.kind = OP_GLOBAL_AVGPOOL},
                                (struct op_shape){.dims = 3, .size = {4, 5, 3}}));
    for (size_t i = 0; i < SAMPLES * 3; i++) {
        double sum = 0;
        for (size_t pixel = 0; pixel < 20; pixel++)
            sum += (double)bench.in[(i / 3 * 20 + pixel) * 3 + i % 3];
        CU_ASSERT_DOUBLE_EQUAL((double)bench.out[i], sum / 20, 1e-6);
    }
}

/* Each number is dropped by its own draw and the others are scaled up. */
static void test_operator_dropout_scales_what_it_keeps(void)
{
    enum { FEATURES = 5000 };
    struct op_spec spec = {.kind = OP_DROPOUT, .rate = 0.3f};
    int dropped = 0, wrong = 0;
    CU_ASSERT_FATAL(
        run_forward(&op_dropout, spec, (struct op_shape){.dims = 1, .size = {FEATURES}}));
    for (int i = 0; i < SAMPLES * FEATURES; i++) {
        bool is_dropped = draw_uniform(&bench.call.draw, (uint64_t)i) < 0.3f;
        double want = is_dropped ? 0 : (double)bench.in[i] / 0.7;
        wrong += fabs((double)bench.out[i] - want) > 1e-6;
        dropped += is_dropped;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(abs(dropped - 3000) < 250);
}

#define TESTS(X)                                                 \
    X(test_operator_conv2d_is_its_formula)                       \
    X(test_operator_maxpool2d_is_its_formula)                    \
    X(test_operator_avgpool2d_is_its_formula)                    \
    X(test_operator_maxpool2d_gives_gradient_to_first_of_equals) \
    X(test_operator_maxpool2d_passes_nan_on)                     \
    X(test_operator_global_avgpool_is_the_mean_of_each_channel)  \
    X(test_operator_dropout_scales_what_it_keeps)

UNIT_MAIN("operators", TESTS)
