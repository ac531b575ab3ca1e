/* What conv1d, conv_transpose2d, upsample2d and global_maxpool give forward, against their
 * definitions written as plain loops; and what their shape rules refuse.  (Their gradients:
 * test_gradients.c; convolutions of images: test_operators.c and test_conv.c.) */
#include <math.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"
#include "worker/nn/op.h"

enum { SAMPLES = 2, VALUES_MAX = 8192, SCRATCH_MAX = 1 << 19 };

static struct bench {
    struct op_plan plan;
    struct err_msg why;
    real in[VALUES_MAX], out[VALUES_MAX], keep[VALUES_MAX], scratch[SCRATCH_MAX];
    real weight[VALUES_MAX], bias[16];
} bench;

/* False when the shape rule refuses; bench.why says why. */
static bool run_forward(const struct op_kernel *kernel, const struct op_spec *spec,
                        struct op_shape in)
{
    struct bench *b = &bench;
    b->plan = (struct op_plan){.spec = spec, .in = {in}, .in_count = op_shape_count(&in)};
    if (kernel->plan(&b->plan, &b->why))
        return false;
    b->plan.out_count = op_shape_count(&b->plan.out);
    CU_ASSERT_FATAL(SAMPLES * b->plan.in_count <= VALUES_MAX);
    CU_ASSERT_FATAL(SAMPLES * b->plan.out_count <= VALUES_MAX);
    CU_ASSERT_FATAL(b->plan.scratch_count <= SCRATCH_MAX);
    wave(b->in, SAMPLES * b->plan.in_count, 0.37, 1);
    wave(b->weight, VALUES_MAX, 2.39, 0.5);
    wave(b->bias, 16, 1.1, 1);
    struct op_call call = {.plan = &b->plan,
                           .count = SAMPLES,
                           .tensor = {b->weight, spec->bias ? b->bias : NULL},
                           .keep = b->keep,
                           .scratch = b->scratch,
                           .in = {b->in},
                           .out = b->out};
    kernel->forward(&call);
    return true;
}

enum { POSITIONS = 11, FEATURES = 6, FILTERS = 4 };

/* One number out of conv1d. */
static double sequence_formula(const struct op_spec *spec, size_t before, size_t sample,
                               size_t position, size_t filter)
{
    size_t features = FEATURES / spec->groups;
    size_t first = filter / (FILTERS / spec->groups) * features;
    double sum = spec->bias ? (double)bench.bias[filter] : 0;
    for (size_t k = 0; k < spec->kernel[0]; k++) {
        size_t at = position * spec->stride[0] + k * spec->dilation[0];
        for (size_t c = 0; at >= before && at - before < POSITIONS && c < features; c++)
            sum += (double)bench.in[(sample * POSITIONS + at - before) * FEATURES + first + c] *
                   (double)bench.weight[(k * features + c) * FILTERS + filter];
    }
    return sum;
}

static void check_sequence(struct op_spec spec, size_t before, size_t positions)
{
    spec.filters = FILTERS;
    CU_ASSERT_FATAL(run_forward(&op_conv1d, &spec,
                                (struct op_shape){.dims = 2, .size = {POSITIONS, FEATURES}}));
    CU_ASSERT_EQUAL(bench.plan.out.dims, 2);
    CU_ASSERT_EQUAL(bench.plan.out.size[0], positions);
    CU_ASSERT_EQUAL(bench.plan.out.size[1], FILTERS);
    double worst = 0;
    for (size_t i = 0; i < SAMPLES * positions * FILTERS; i++) {
        double want = sequence_formula(&spec, before, i / FILTERS / positions,
                                       i / FILTERS % positions, i % FILTERS);
        worst = fmax(worst, fabs((double)bench.out[i] - want));
    }
    CU_ASSERT(worst < 1e-5);
}

static void test_conv_operators_conv1d_is_its_formula(void)
{
    check_sequence((struct op_spec){.kernel = {3}, .stride = {1}, .dilation = {1}, .groups = 1}, 0,
                   9);
    check_sequence((struct op_spec){.kernel = {4},
                                    .stride = {2},
                                    .dilation = {1},
                                    .groups = 2,
                                    .padding = {2, 2},
                                    .bias = true},
                   2, 6);
    check_sequence((struct op_spec){.kernel = {3},
                                    .stride = {1},
                                    .dilation = {2},
                                    .groups = 1,
                                    .padding_same = true,
                                    .bias = true},
                   2, 11);
}

/* Causal: what comes out at a position is made of it and of those before. */
static void test_conv_operators_conv1d_sees_no_later_position_when_causal(void)
{
    check_sequence((struct op_spec){.kernel = {3},
                                    .stride = {1},
                                    .dilation = {2},
                                    .groups = 1,
                                    .causal = true,
                                    .bias = true},
                   4, 11);
}

enum { ROWS = 5, COLS = 4, CHANNELS = 3 };

/* A transposed convolution by its definition: each pixel in adds its share to all that it meets. */
static void scatter(const struct op_spec *spec, double *want)
{
    const uint32_t *out = bench.plan.out.size;
    for (size_t i = 0; i < SAMPLES * bench.plan.out_count; i++)
        want[i] = spec->bias ? (double)bench.bias[i % FILTERS] : 0;
    for (size_t n = 0; n < SAMPLES * ROWS * COLS * spec->kernel[0] * spec->kernel[1]; n++) {
        size_t tap = n % (spec->kernel[0] * spec->kernel[1]);
        size_t pixel = n / (spec->kernel[0] * spec->kernel[1]);
        size_t row = pixel / COLS % ROWS * spec->stride[0] +
                     tap / spec->kernel[1] * spec->dilation[0] - spec->padding[0];
        size_t col = pixel % COLS * spec->stride[1] + tap % spec->kernel[1] * spec->dilation[1] -
                     spec->padding[1];
        if (row >= out[0] || col >= out[1]) /* and what is before the image, as too large */
            continue;
        size_t to = ((pixel / COLS / ROWS * out[0] + row) * out[1] + col) * FILTERS;
        for (size_t c = 0; c < CHANNELS; c++)
            for (size_t f = 0; f < FILTERS; f++)
                want[to + f] += (double)bench.in[pixel * CHANNELS + c] *
                                (double)bench.weight[(tap * CHANNELS + c) * FILTERS + f];
    }
}

static void check_transpose(struct op_spec spec, uint32_t rows, uint32_t cols)
{
    static double want[VALUES_MAX];
    double worst = 0;
    spec.filters = FILTERS;
    CU_ASSERT_FATAL(run_forward(&op_conv_transpose2d, &spec,
                                (struct op_shape){.dims = 3, .size = {ROWS, COLS, CHANNELS}}));
    CU_ASSERT_EQUAL(bench.plan.out.size[0], rows);
    CU_ASSERT_EQUAL(bench.plan.out.size[1], cols);
    scatter(&spec, want);
    for (size_t i = 0; i < SAMPLES * bench.plan.out_count; i++)
        worst = fmax(worst, fabs((double)bench.out[i] - want[i]));
    CU_ASSERT(worst < 1e-5);
}

static void test_conv_operators_conv_transpose2d_is_its_formula(void)
{
    check_transpose((struct op_spec){.kernel = {3, 2}, .stride = {1, 1}, .dilation = {1, 1}}, 7,
                    5);
    check_transpose((struct op_spec){.kernel = {4, 3},
                                     .stride = {2, 3},
                                     .dilation = {1, 1},
                                     .padding = {1, 2},
                                     .output_padding = {0, 1},
                                     .bias = true},
                    10, 9);
    check_transpose((struct op_spec){.kernel = {2, 3},
                                     .stride = {1, 2},
                                     .dilation = {3, 2},
                                     .padding = {2, 1},
                                     .output_padding = {2, 1},
                                     .bias = true},
                    6, 10);
}

static void test_conv_operators_upsample2d_repeats_or_mixes(void)
{
    static const double line[] = {0, 0.25, 0.75, 1}; /* between 0 and 1, as PyTorch has it */
    struct op_spec spec = {.factor = 2};
    const struct op_shape image = {.dims = 3, .size = {2, 2, 1}};
    for (int mode = 0; mode < 2; mode++) {
        spec.interpolation = mode == 0 ? INTERPOLATION_NEAREST : INTERPOLATION_BILINEAR;
        CU_ASSERT_FATAL(run_forward(&op_upsample2d, &spec, image));
        for (size_t i = 0; i < SAMPLES * 16; i++) {
            const real *in = bench.in + i / 16 * 4;
            double down = mode == 0 ? (double)(i / 4 % 4 / 2) : line[i / 4 % 4];
            double right = mode == 0 ? (double)(i % 4 / 2) : line[i % 4];
            double want = (1 - down) * ((1 - right) * (double)in[0] + right * (double)in[1]) +
                          down * ((1 - right) * (double)in[2] + right * (double)in[3]);
            CU_ASSERT_DOUBLE_EQUAL((double)bench.out[i], want, 1e-6);
        }
    }
}

static void test_conv_operators_global_maxpool_is_the_largest_of_each_channel(void)
{
    CU_ASSERT_FATAL(run_forward(&op_global_maxpool,
                                &(struct op_spec){.kind = OP_GLOBAL_MAXPOOL},
                                (struct op_shape){.dims = 3, .size = {ROWS, COLS, CHANNELS}}));
    CU_ASSERT_EQUAL(bench.plan.out.dims, 1);
    for (size_t i = 0; i < SAMPLES * CHANNELS; i++) {
        double max = -INFINITY;
        const real *image = bench.in + i / CHANNELS * ROWS * COLS * CHANNELS + i % CHANNELS;
        for (size_t k = 0; k < ROWS * COLS; k++)
            max = fmax(max, (double)image[k * CHANNELS]);
        CU_ASSERT_EQUAL((double)bench.out[i], max);
    }
}

static void check_refused(const struct op_kernel *kernel, struct op_spec spec, struct op_shape in,
                          const char *part)
{
    CU_ASSERT(!run_forward(kernel, &spec, in));
    CU_ASSERT_PTR_NOT_NULL(strstr(bench.why.text, part));
}

static void test_conv_operators_refuse_what_does_not_fit(void)
{
    const struct op_shape image = {.dims = 3, .size = {5, 4, 6}};
    const struct op_shape sequence = {.dims = 2, .size = {5, 6}};
    struct op_spec spec = {
        .kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .filters = 4, .groups = 4};
    check_refused(&op_conv2d, spec, image, "cannot cut 6 channels and 4 filters into 4 groups");
    check_refused(&op_conv1d, spec, image, "needs a sequence (positions x features)");
    check_refused(&op_conv_transpose2d, spec, sequence, "needs an image");
    check_refused(&op_upsample2d, spec, sequence, "needs an image");
    spec.groups = 1;
    spec.dilation[0] = 3;
    check_refused(&op_conv2d, spec, image, "a kernel of 3x3 is larger than its input 5x4x6");
    check_refused(&op_conv1d, spec, sequence, "a kernel of 3 is larger than its input 5x6");
    spec.dilation[0] = 1;
    spec.output_padding[1] = 1;
    check_refused(&op_conv_transpose2d, spec, image, "output_padding 1 must be smaller");
    spec.output_padding[1] = 0;
    spec.padding[0] = 9;
    check_refused(&op_conv_transpose2d, spec, image, "leaves nothing");
}

#define TESTS(X) \
    X(test_conv_operators_conv1d_is_its_formula) \
    X(test_conv_operators_conv1d_sees_no_later_position_when_causal) \
    X(test_conv_operators_conv_transpose2d_is_its_formula) \
    X(test_conv_operators_upsample2d_repeats_or_mixes) \
    X(test_conv_operators_global_maxpool_is_the_largest_of_each_channel) \
    X(test_conv_operators_refuse_what_does_not_fit)

UNIT_MAIN("conv_operators", TESTS)
