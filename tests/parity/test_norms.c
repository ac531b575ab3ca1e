/* What the normalisations, and the operators that change shapes, give forward, against their
 * formulas written as plain loops in double.  (Their gradients: test_gradients.c.) */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"
#include "worker/nn/norm_kernels.h"
#include "worker/nn/op.h"
#include "worker/nn/row_kernels.h"

enum { SAMPLES = 3, COUNT_MAX = 4096, CHANNELS_MAX = 64 };

struct bench {
    struct op_spec spec;
    struct op_plan plan;
    struct op_call call;
    struct err_msg why;
    real in[2][COUNT_MAX], out[COUNT_MAX], out_grad[COUNT_MAX], in_grad[COUNT_MAX];
    real tensor[4][CHANNELS_MAX], tensor_grad[4][CHANNELS_MAX];
    _Alignas(64) real keep[COUNT_MAX];
    _Alignas(64) real batch_keep[COUNT_MAX];
    _Alignas(64) real scratch[COUNT_MAX];
};

static struct bench bench;

static void set_call(struct bench *b, size_t count)
{
    b->call = (struct op_call){.plan = &b->plan,
                               .count = count,
                               .is_training = true,
                               .keep = b->keep,
                               .batch_keep = b->batch_keep,
                               .scratch = b->scratch,
                               .in = {b->in[0], b->in[1]},
                               .out = b->out,
                               .out_grad = b->out_grad,
                               .in_grad = b->in_grad};
    for (int t = 0; t < 4; t++) {
        b->call.tensor[t] = b->tensor[t];
        b->call.tensor_grad[t] = b->tensor_grad[t];
    }
}

/* Plans for one input, or for two when the second has dimensions; false when it is refused. */
static bool plan_op(const struct op_kernel *kernel, struct op_spec spec, struct op_shape in,
                    struct op_shape second)
{
    struct bench *b = &bench;
    b->spec = spec;
    b->spec.input_count = second.dims > 0 ? 2 : 1;
    b->plan = (struct op_plan){.spec = &b->spec, .in = {in, second}};
    b->plan.in_count = b->plan.in_counts[0] = op_shape_count(&in);
    b->plan.in_counts[1] = second.dims > 0 ? op_shape_count(&second) : 0;
    if (kernel->plan(&b->plan, &b->why))
        return false;
    b->plan.out_count = op_shape_count(&b->plan.out);
    CU_ASSERT_FATAL(SAMPLES * b->plan.in_count <= COUNT_MAX);
    CU_ASSERT_FATAL(SAMPLES * b->plan.out_count <= COUNT_MAX);
    CU_ASSERT_FATAL(SAMPLES * b->plan.keep_count <= COUNT_MAX);
    CU_ASSERT_FATAL(b->plan.scratch_count <= COUNT_MAX && b->plan.batch_keep_count <= COUNT_MAX);
    return true;
}

static bool run(const struct op_kernel *kernel, struct op_spec spec, struct op_shape in,
                struct op_shape second)
{
    struct bench *b = &bench;
    if (!plan_op(kernel, spec, in, second))
        return false;
    wave(b->in[0], COUNT_MAX, 0.37, 2);
    wave(b->in[1], COUNT_MAX, 0.91, 1);
    for (int t = 0; t < 4; t++)
        wave(b->tensor[t], CHANNELS_MAX, 1.3 + t, 1);
    for (int c = 0; c < CHANNELS_MAX; c++)
        b->tensor[3][c] = b->tensor[3][c] * b->tensor[3][c] + (real)0.1; /* a variance */
    set_call(b, SAMPLES);
    kernel->forward(&b->call);
    return true;
}

static const struct op_shape row = {1, {12}}, sequence = {2, {5, 12}}, image = {3, {4, 5, 12}};
static const struct op_shape none = {0};

/* Mean and variance of the input's elements for which `of` is `set`. */
typedef size_t (*set_of)(size_t element);

struct moments {
    double mean, variance;
    size_t count;
};

static struct moments moments_of(set_of of, size_t set)
{
    struct moments m = {0};
    size_t elements = SAMPLES * bench.plan.in_count;
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0;
        m.count = 0;
        for (size_t i = 0; i < elements; i++) {
            if (of(i) != set)
                continue;
            double x = (double)bench.in[0][i];
            sum += pass == 0 ? x : (x - m.mean) * (x - m.mean);
            m.count++;
        }
        *(pass == 0 ? &m.mean : &m.variance) = sum / (double)m.count;
    }
    return m;
}

static size_t channel_of(size_t element)
{
    return element % op_shape_width(&bench.plan.in[0]);
}

static size_t row_of(size_t element)
{
    return element / op_shape_width(&bench.plan.in[0]);
}

static size_t group_of(size_t element)
{
    size_t sample = element / bench.plan.in_count;
    size_t channels = op_shape_width(&bench.plan.in[0]) / bench.spec.groups;
    return sample * bench.spec.groups + channel_of(element) / channels;
}

/* Largest distance between the output and the normalised input. */
static double worst_of(set_of of)
{
    double worst = 0;
    for (size_t i = 0; i < SAMPLES * bench.plan.in_count; i++) {
        struct moments m = moments_of(of, of(i));
        double scale = 1 / sqrt(m.variance + (double)bench.spec.epsilon);
        size_t c = channel_of(i);
        double want = ((double)bench.in[0][i] - m.mean) * scale * (double)bench.tensor[0][c] +
                      (double)bench.tensor[1][c];
        worst = fmax(worst, fabs((double)bench.out[i] - want));
    }
    return worst;
}

static void test_norms_are_their_formulas(void)
{
    const struct op_shape shapes[] = {row, sequence, image};
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
        struct op_spec spec = {.epsilon = 1e-3f};
        CU_ASSERT_FATAL(run(&op_batch_norm, spec, shapes[s], none));
        CU_ASSERT(worst_of(channel_of) < 2e-6);
        CU_ASSERT_FATAL(run(&op_layer_norm, spec, shapes[s], none));
        CU_ASSERT(worst_of(row_of) < 2e-6);
        for (uint32_t groups = 1; groups <= 12; groups += groups < 4 ? 1 : 2) {
            spec.groups = groups;
            if (groups != 8 && groups != 10) {
                CU_ASSERT_FATAL(run(&op_group_norm, spec, shapes[s], none));
                CU_ASSERT(worst_of(group_of) < 2e-6);
            }
        }
    }
}

/* Mean and the variance divided by rows - 1, times the samples. */
static void test_batch_norm_pushes_its_statistics(void)
{
    struct op_spec spec = {.epsilon = 1e-5f, .momentum = 0.25f};
    CU_ASSERT_FATAL(run(&op_batch_norm, spec, image, none));
    op_batch_norm.backward_weights(&bench.call);
    for (size_t c = 0; c < 12; c++) {
        struct moments m = moments_of(channel_of, c);
        double unbiased = m.variance * (double)m.count / ((double)m.count - 1);
        CU_ASSERT_DOUBLE_EQUAL((double)bench.tensor_grad[2][c], SAMPLES * m.mean, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL((double)bench.tensor_grad[3][c], SAMPLES * unbiased, 1e-5);
    }
    const struct tensor_spec *tensors = bench.plan.tensors;
    for (int t = 0; t < 4; t++)
        CU_ASSERT(tensors[t].update == (t < 2 ? UPDATE_OPTIMIZER : UPDATE_AVERAGE));
    CU_ASSERT(tensors[2].rate_scale == 0.25f && tensors[3].rate_scale == 0.25f);
    CU_ASSERT(tensors[0].init == INIT_ONE && tensors[1].init == INIT_ZERO);
    CU_ASSERT(tensors[2].init == INIT_ZERO && tensors[3].init == INIT_ONE);
}

/* Also when it is computed again, from the statistics that are there. */
static void test_batch_norm_applies_a_relu_with_the_bits_of_one_after_it(void)
{
    static real want[COUNT_MAX];
    CU_ASSERT_FATAL(run(&op_batch_norm, (struct op_spec){.epsilon = 1e-3f}, image, none));
    size_t count = SAMPLES * bench.plan.out_count, below_count = 0;
    for (size_t i = 0; i < count; i++) {
        want[i] = bench.out[i] < 0 ? 0 : bench.out[i];
        below_count += bench.out[i] < 0;
    }
    CU_ASSERT(below_count > 0 && below_count < count);
    bench.plan.fused_relu = true;
    for (int again = 0; again < 2; again++) {
        bench.call.is_again = again;
        memset(bench.out, 0xff, sizeof(bench.out));
        op_batch_norm.forward(&bench.call);
        CU_ASSERT(memcmp(bench.out, want, count * sizeof(real)) == 0);
    }
}

static void test_batch_norm_of_one_row_divides_by_nothing(void)
{
    CU_ASSERT_FATAL(run(&op_batch_norm, (struct op_spec){.epsilon = 1e-5f}, row, none));
    set_call(&bench, 1);
    wave(bench.out_grad, 12, 0.7, 1);
    op_batch_norm.forward(&bench.call);
    op_batch_norm.backward_weights(&bench.call);
    op_batch_norm.backward_data(&bench.call);
    for (size_t c = 0; c < 12; c++) {
        CU_ASSERT_EQUAL(bench.out[c], bench.tensor[1][c]);
        CU_ASSERT_EQUAL(bench.tensor_grad[2][c], bench.in[0][c]);
        CU_ASSERT_EQUAL(bench.tensor_grad[3][c], bench.tensor[3][c]);
        CU_ASSERT_EQUAL(bench.in_grad[c], 0);
    }
}

static double running_formula(size_t element)
{
    size_t c = channel_of(element);
    double scale = 1 / sqrt((double)bench.tensor[3][c] + (double)bench.spec.epsilon);
    return ((double)bench.in[0][element] - (double)bench.tensor[2][c]) * scale *
               (double)bench.tensor[0][c] +
           (double)bench.tensor[1][c];
}

/* In evaluation; and in training when they are frozen, where the gradient passes by each channel's
 * factor. */
static void test_batch_norm_uses_running_statistics(void)
{
    CU_ASSERT_FATAL(run(&op_batch_norm, (struct op_spec){.epsilon = 1e-5f}, image, none));
    for (int is_frozen = 0; is_frozen < 2; is_frozen++) {
        double worst = 0;
        bench.call.is_training = is_frozen != 0;
        for (int t = 0; is_frozen && t < 4; t++)
            bench.plan.tensors[t].update = UPDATE_FROZEN;
        op_batch_norm.forward(&bench.call);
        for (size_t i = 0; i < SAMPLES * bench.plan.in_count; i++)
            worst = fmax(worst, fabs((double)bench.out[i] - running_formula(i)));
        CU_ASSERT(worst < 5e-6);
    }
    wave(bench.out_grad, COUNT_MAX, 0.7, 1);
    op_batch_norm.backward_data(&bench.call); /* without backward_weights before it */
    for (size_t i = 0; i < SAMPLES * bench.plan.in_count; i++) {
        size_t c = channel_of(i);
        double factor =
            (double)bench.tensor[0][c] / sqrt((double)bench.tensor[3][c] + (double)1e-5f);
        CU_ASSERT_DOUBLE_EQUAL((double)bench.in_grad[i], (double)bench.out_grad[i] * factor, 1e-5);
    }
}

/* The gradient of the input is the same when the weights are frozen and have none. */
static void test_norms_pass_their_gradient_on_when_frozen(void)
{
    const struct op_kernel *kernels[] = {&op_layer_norm, &op_group_norm};
    static real want[COUNT_MAX];
    for (size_t k = 0; k < ARRAY_LEN(kernels); k++) {
        CU_ASSERT_FATAL(
            run(kernels[k], (struct op_spec){.epsilon = 1e-5f, .groups = 3}, image, none));
        wave(bench.out_grad, COUNT_MAX, 0.7, 1);
        kernels[k]->backward_weights(&bench.call);
        kernels[k]->backward_data(&bench.call);
        memcpy(want, bench.in_grad, sizeof(want));
        memset(bench.keep, 0, sizeof(bench.keep));
        for (size_t t = 0; t < bench.plan.tensor_count; t++)
            bench.plan.tensors[t].update = UPDATE_FROZEN;
        kernels[k]->forward(&bench.call);
        kernels[k]->backward_data(&bench.call);
        CU_ASSERT_EQUAL(memcmp(want, bench.in_grad, sizeof(want)), 0);
    }
}

/* Many rows, and means up to 3,000 deviations from zero. */
static void test_norm_moments_keep_their_stated_error(void)
{
    enum { ROWS = 20011, COLS = 13 };
    static real in[ROWS * COLS];
    real mean[COLS], variance[COLS], *scratch = calloc(norm_scratch_count(COLS), sizeof(real));
    wave(in, ROWS * COLS, 0.7310001, 1);
    for (size_t i = 0; i < ROWS * COLS; i++)
        in[i] += (real)(15 * (i % COLS) * (i % COLS));
    norm_moments(mean, variance, in, ROWS, COLS, scratch);
    for (size_t c = 0; c < COLS; c++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < ROWS; i++)
            sum += (double)in[i * COLS + c];
        for (size_t i = 0; i < ROWS; i++) {
            double d = (double)in[i * COLS + c] - sum / ROWS;
            squares += d * d;
        }
        double rounding = fabs(sum / ROWS) * 0x1p-24; /* of the mean as a real */
        CU_ASSERT_DOUBLE_EQUAL((double)mean[c], sum / ROWS, 1e-7 + rounding);
        CU_ASSERT_DOUBLE_EQUAL((double)variance[c] / (squares / ROWS), 1, 2e-7);
    }
    free(scratch);
}

/* Every length, with parts and without, and one of many runs. */
static void test_row_kernels_keep_their_stated_error(void)
{
    enum { LONG = 100003 };
    static real left[LONG], right[LONG];
    wave(left, LONG, 0.73, 1);
    wave(right, LONG, 1.19, 1);
    for (size_t count = 1; count <= LONG; count = count < 140 ? count + 1 : count * 9) {
        double sum = 0, squares = 0, product = 0, top = -INFINITY;
        for (size_t i = 0; i < count; i++) {
            sum += (double)left[i];
            squares += ((double)left[i] - 0.25) * ((double)left[i] - 0.25);
            product += (double)left[i] * ((double)right[i] - 0.25);
            top = fmax(top, (double)left[i]);
        }
        double bound = 1e-6 * (double)count;
        CU_ASSERT_DOUBLE_EQUAL(row_sum(left, count), sum, bound);
        CU_ASSERT_DOUBLE_EQUAL(row_squares(left, (real)0.25, count), squares, bound);
        CU_ASSERT_DOUBLE_EQUAL(row_product(left, right, (real)0.25, count), product, bound);
        CU_ASSERT_EQUAL((double)row_max(left, count), top);
    }
    for (size_t at = 0; at < 70; at++) {
        real saved = left[at];
        left[at] = (real)NAN;
        CU_ASSERT(isnan(row_max(left, 70)));
        left[at] = saved;
    }
}

static void test_softmax_is_its_formula(void)
{
    CU_ASSERT_FATAL(run(&op_softmax, (struct op_spec){.kind = OP_SOFTMAX}, sequence, none));
    for (size_t i = 0; i < SAMPLES * 60; i++) {
        double sum = 0;
        for (size_t c = 0; c < 12; c++)
            sum += exp((double)bench.in[0][i / 12 * 12 + c]);
        CU_ASSERT_DOUBLE_EQUAL((double)bench.out[i], exp((double)bench.in[0][i]) / sum, 2e-7);
    }
}

static void test_concat_puts_values_side_by_side(void)
{
    const struct op_shape narrow = {2, {5, 3}}, other = {2, {4, 3}};
    CU_ASSERT_FATAL(run(&op_concat, (struct op_spec){.kind = OP_CONCAT}, sequence, narrow));
    CU_ASSERT(bench.plan.out.dims == 2 && bench.plan.out.size[0] == 5 &&
              bench.plan.out.size[1] == 15);
    for (size_t i = 0; i < SAMPLES * 75; i++) {
        size_t r = i / 15, c = i % 15;
        CU_ASSERT_EQUAL(bench.out[i],
                        c < 12 ? bench.in[0][r * 12 + c] : bench.in[1][r * 3 + c - 12]);
    }
    CU_ASSERT(!plan_op(&op_concat, (struct op_spec){.kind = OP_CONCAT}, sequence, other));
    CU_ASSERT_PTR_NOT_NULL(strstr(bench.why.text, "5x12 and 4x3"));
    CU_ASSERT(!plan_op(&op_concat, (struct op_spec){.kind = OP_CONCAT}, sequence, row));
}

static void test_mul_is_the_product(void)
{
    CU_ASSERT_FATAL(run(&op_mul, (struct op_spec){.kind = OP_MUL}, row, row));
    for (size_t i = 0; i < SAMPLES * 12; i++)
        CU_ASSERT_EQUAL(bench.out[i], bench.in[0][i] * bench.in[1][i]);
    CU_ASSERT(!plan_op(&op_mul, (struct op_spec){.kind = OP_MUL}, row, sequence));
    CU_ASSERT_STRING_EQUAL(bench.why.text, "multiplies values of one shape but gets 12 and 5x12");
}

static void test_pad_channels_puts_zeros_on_both_sides(void)
{
    struct op_spec spec = {.kind = OP_PAD_CHANNELS, .channels = 15};
    CU_ASSERT_FATAL(run(&op_pad_channels, spec, image, none));
    for (size_t i = 0; i < SAMPLES * 20 * 15; i++) {
        size_t c = i % 15;
        CU_ASSERT_EQUAL(bench.out[i], c >= 1 && c < 13 ? bench.in[0][i / 15 * 12 + c - 1] : 0);
    }
    spec.channels = 11;
    CU_ASSERT(!plan_op(&op_pad_channels, spec, image, none));
}

static void test_sequence_and_last_take_positions(void)
{
    CU_ASSERT_FATAL(plan_op(&op_sequence, (struct op_spec){.kind = OP_SEQUENCE}, image, none));
    CU_ASSERT(bench.plan.out.dims == 2 && bench.plan.out.size[0] == 20 &&
              bench.plan.out.size[1] == 12);
    CU_ASSERT_FATAL(plan_op(&op_sequence, (struct op_spec){.kind = OP_SEQUENCE}, row, none));
    CU_ASSERT(bench.plan.out.size[0] == 12 && bench.plan.out.size[1] == 1);
    CU_ASSERT(!plan_op(&op_sequence, (struct op_spec){.kind = OP_SEQUENCE}, sequence, none));
    CU_ASSERT_FATAL(run(&op_last, (struct op_spec){.kind = OP_LAST}, sequence, none));
    for (size_t i = 0; i < SAMPLES * 12; i++)
        CU_ASSERT_EQUAL(bench.out[i], bench.in[0][i / 12 * 60 + 48 + i % 12]);
    CU_ASSERT(!plan_op(&op_last, (struct op_spec){.kind = OP_LAST}, image, none));
}

static void test_global_pools_take_sequences(void)
{
    for (int is_max = 0; is_max < 2; is_max++) {
        CU_ASSERT_FATAL(run(is_max ? &op_global_maxpool : &op_global_avgpool,
                            (struct op_spec){.kind = OP_GLOBAL_MAXPOOL}, sequence, none));
        for (size_t i = 0; i < SAMPLES * 12; i++) {
            double sum = 0, top = -INFINITY;
            for (size_t t = 0; t < 5; t++) {
                double x = (double)bench.in[0][i / 12 * 60 + t * 12 + i % 12];
                sum += x;
                top = fmax(top, x);
            }
            CU_ASSERT_DOUBLE_EQUAL((double)bench.out[i], is_max ? top : sum / 5, 1e-6);
        }
        CU_ASSERT(!plan_op(is_max ? &op_global_maxpool : &op_global_avgpool,
                           (struct op_spec){.kind = OP_GLOBAL_MAXPOOL}, row, none));
    }
}

static void test_group_norm_refuses_groups_that_do_not_divide(void)
{
    struct op_spec spec = {.kind = OP_GROUP_NORM, .groups = 5};
    CU_ASSERT(!plan_op(&op_group_norm, spec, image, none));
    CU_ASSERT_PTR_NOT_NULL(strstr(bench.why.text, "12 channels into 5 groups"));
}

#define TESTS(X) \
    X(test_norms_are_their_formulas) \
    X(test_batch_norm_pushes_its_statistics) \
    X(test_batch_norm_applies_a_relu_with_the_bits_of_one_after_it) \
    X(test_batch_norm_of_one_row_divides_by_nothing) \
    X(test_batch_norm_uses_running_statistics) \
    X(test_norms_pass_their_gradient_on_when_frozen) \
    X(test_norm_moments_keep_their_stated_error) \
    X(test_row_kernels_keep_their_stated_error) \
    X(test_softmax_is_its_formula) \
    X(test_concat_puts_values_side_by_side) \
    X(test_mul_is_the_product) \
    X(test_pad_channels_puts_zeros_on_both_sides) \
    X(test_sequence_and_last_take_positions) \
    X(test_global_pools_take_sequences) \
    X(test_group_norm_refuses_groups_that_do_not_divide)

UNIT_MAIN("norms", TESTS)
