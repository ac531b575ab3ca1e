#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"
#include "worker/nn/cross_entropy.h"
#include "worker/nn/loss.h"

enum { CLASSES = 40, ROWS = 6 };

static real z[ROWS * CLASSES], labels[ROWS], grad[ROWS * CLASSES], weights[CLASSES];

static void fill(void)
{
    wave(z, ROWS * CLASSES, 0.37, 3);
    for (size_t r = 0; r < ROWS; r++)
        labels[r] = (real)((r * 7 + 3) % CLASSES);
    for (size_t c = 0; c < CLASSES; c++)
        weights[c] = (real)(0.5 + 0.25 * (double)(c % 5));
}

/* What PyTorch 1.13.1 says of CrossEntropyLoss(weight, label_smoothing, reduction='sum') in
 * double, of scores 3 sin(0.37 i). */
struct recorded {
    double smoothing;
    bool has_weights;
    double loss, own, other, square; /* grad[1][10], of its class; grad[1][0]; |grad[4]|^2 */
};

static const struct recorded recorded[] = {
    {0, false, 28.068964519673624, -0.9938526315328278, 0.026892841791603846, 0.8825054876508251},
    {0.1, false, 28.410936627024793, -0.8963526315328277, 0.024392841791603836, 0.7120998868614622},
    {0, true, 29.63520928528904, -0.4969263157664139, 0.013446420895801923, 0.49640933680358923},
    {0.1, true, 29.817873273092964, -0.44786894734305527, 0.013541062985382114,
     0.39935431518151665},
};

static struct loss_batch batch_of(const struct loss_spec *spec, size_t count, size_t label_count)
{
    return (struct loss_batch){.spec = spec,
                               .count = count,
                               .label_count = label_count,
                               .output_count = label_count * CLASSES,
                               .outputs = z,
                               .labels = labels};
}

static void test_loss_cross_entropy_is_pytorchs(void)
{
    fill();
    for (size_t i = 0; i < ARRAY_LEN(recorded); i++) {
        const struct recorded *row = &recorded[i];
        struct loss_spec spec = {.label_smoothing = row->smoothing};
        struct loss_result result;
        double square = 0;
        if (row->has_weights) {
            spec.class_weights = weights;
            spec.class_weight_count = CLASSES;
        }
        struct loss_batch batch = batch_of(&spec, ROWS, 1);
        loss_apply(&batch, grad, &result);
        for (size_t c = 0; c < CLASSES; c++)
            square += (double)grad[4 * CLASSES + c] * (double)grad[4 * CLASSES + c];
        CU_ASSERT_DOUBLE_EQUAL(result.loss_sum, row->loss, 1e-5);
        CU_ASSERT_DOUBLE_EQUAL(grad[CLASSES + 10], row->own, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL(grad[CLASSES], row->other, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL(square, row->square, 1e-6);
        CU_ASSERT(result.count == ROWS && result.answers == ROWS);
    }
}

/* A sample of positions is the mean of samples of one, and those below 0 are as if they were not
 * there. */
static void test_loss_of_positions_is_the_mean_over_those_that_count(void)
{
    struct loss_spec spec = {.label_smoothing = 0.2};
    struct loss_result result;
    double loss = 0, slope = 0;
    fill();
    struct loss_batch one = batch_of(&spec, 1, 1);
    static const size_t counting[] = {0, 1, 3, 5};
    for (size_t i = 0; i < ARRAY_LEN(counting); i++) {
        one.outputs = z + counting[i] * CLASSES;
        one.labels = labels + counting[i];
        loss_apply(&one, grad, &result);
        loss += result.loss_sum / 4;
        slope = counting[i] == 3 ? (double)grad[9] / 4 : slope;
    }
    labels[2] = labels[4] = -1;
    struct loss_batch batch = batch_of(&spec, 1, ROWS);
    loss_apply(&batch, grad, &result);
    CU_ASSERT_DOUBLE_EQUAL(result.loss_sum, loss, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(grad[3 * CLASSES + 9], slope, 1e-7);
    CU_ASSERT(result.count == 1 && result.answers == 4);
    for (size_t c = 0; c < CLASSES; c++)
        CU_ASSERT(grad[2 * CLASSES + c] == 0 && grad[4 * CLASSES + c] == 0);
}

static void test_loss_is_nothing_when_no_position_counts(void)
{
    struct loss_spec spec = {0};
    struct loss_result result;
    fill();
    for (size_t r = 0; r < ROWS; r++)
        labels[r] = -100; /* as PyTorch's ignore_index */
    struct loss_batch batch = batch_of(&spec, 1, ROWS);
    loss_apply(&batch, grad, &result);
    CU_ASSERT(result.loss_sum == 0 && result.answers == 0 && result.correct == 0);
    for (size_t i = 0; i < ROWS * CLASSES; i++)
        CU_ASSERT(grad[i] == 0);
}

static void test_loss_counts_right_answers_over_positions(void)
{
    struct loss_spec spec = {0};
    struct loss_result result;
    fill();
    static const size_t tops[ROWS] = {39, 0, 20, 31, 32, 7};
    for (size_t r = 0; r < ROWS; r++) {
        z[r * CLASSES + tops[r]] = 9;
        labels[r] = (real)tops[r];
    }
    z[4 * CLASSES + 33] = 9; /* of two alike the first is the answer */
    labels[4] = 33;
    z[5 * CLASSES + 30] = 9;
    labels[3] = 1;
    struct loss_batch batch = batch_of(&spec, 1, ROWS);
    loss_apply(&batch, grad, &result);
    CU_ASSERT(result.correct == 4 && result.answers == 6);
}

/* The short rows' way and the long ones' are the same thing. */
static void test_loss_softmax_sums_to_one_for_any_width(void)
{
    real row[300], out[300];
    wave(row, 300, 1.3, 20);
    for (size_t cols = 1; cols <= 300; cols++) {
        double sum = 0, exact = 0, worst = 0;
        cross_entropy_softmax(row, 1, cols, out);
        for (size_t c = 0; c < cols; c++)
            exact += exp((double)row[c]);
        for (size_t c = 0; c < cols; c++) {
            sum += (double)out[c];
            worst = fmax(worst, fabs((double)out[c] - exp((double)row[c]) / exact));
        }
        CU_ASSERT_DOUBLE_EQUAL(sum, 1, 2e-6);
        CU_ASSERT(worst < 2e-6);
    }
}

static void test_loss_that_is_no_number_is_seen(void)
{
    struct loss_spec spec = {0};
    for (size_t c = 0; c < CLASSES; c += 13) {
        struct loss_result result;
        fill();
        z[c] = (real)NAN;
        struct loss_batch batch = batch_of(&spec, 1, 1);
        loss_apply(&batch, grad, &result);
        CU_ASSERT(isnan(result.loss_sum));
    }
}

static void expect_refusal(const struct loss_spec *spec, const struct graph_input *data,
                           struct op_shape output, const char *part)
{
    struct err_msg why = {""};
    CU_ASSERT_EQUAL(loss_check(spec, data, &output, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, part));
    if (!strstr(why.text, part))
        printf("\n  no \"%s\" in \"%s\"\n", part, why.text);
}

static void test_loss_refuses_outputs_that_are_no_rows_of_classes(void)
{
    struct loss_spec plain = {0}, squares = {.kind = LOSS_MEAN_SQUARED_ERROR};
    struct loss_spec weighed = {.class_weights = weights, .class_weight_count = 3};
    struct graph_input text = {.label_count = 8, .class_count = 5};
    struct graph_input classes = {.label_count = 1, .class_count = 5};
    struct op_shape rows = {.dims = 2, .size = {8, 5}}, flat = {.dims = 1, .size = {40}};
    struct op_shape one = {.dims = 1, .size = {5}};
    struct err_msg why = {""};
    CU_ASSERT_EQUAL(loss_check(&plain, &text, &rows, &why), 0);
    CU_ASSERT_EQUAL(loss_check(&plain, &classes, &one, &why), 0);
    expect_refusal(&plain, &text, flat, "must give 8x5, but gives 40");
    expect_refusal(&plain, &text, one, "a label at each of 8 positions");
    expect_refusal(&plain, &text, (struct op_shape){.dims = 2, .size = {8, 6}}, "but gives 8x6");
    expect_refusal(&plain, &classes, rows, "an answer at each of 8 positions");
    expect_refusal(&weighed, &classes, one, "has 3 numbers, but the data has 5 classes");
    expect_refusal(&squares, &text, rows, "classes at each of 8 positions");
}

#define TESTS(X) \
    X(test_loss_cross_entropy_is_pytorchs) \
    X(test_loss_of_positions_is_the_mean_over_those_that_count) \
    X(test_loss_is_nothing_when_no_position_counts) \
    X(test_loss_counts_right_answers_over_positions) \
    X(test_loss_softmax_sums_to_one_for_any_width) \
    X(test_loss_that_is_no_number_is_seen) \
    X(test_loss_refuses_outputs_that_are_no_rows_of_classes)

UNIT_MAIN("loss", TESTS)
