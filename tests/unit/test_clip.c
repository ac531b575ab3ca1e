#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"
#include "worker/clip.h"

/* Two tensors of the optimizer, with a running average and a frozen one between. */
enum { FIRST = 1003, AVERAGE = 5, FROZEN = 6, LAST = 7, ALL = FIRST + AVERAGE + FROZEN + LAST };

static struct layout *layout;
static struct settings settings;
static float grad[ALL], before[ALL];

static struct tensor_spec tensor(const char *name, uint32_t size, enum tensor_update update)
{
    struct tensor_spec spec = {.dims = 1, .shape = {size}, .update = update};
    snprintf(spec.name, sizeof(spec.name), "%s", name);
    return spec;
}

static void open_case(double norm, double value)
{
    struct err_msg why = {""};
    struct tensor_spec tensors[] = {
        tensor("first", FIRST, UPDATE_OPTIMIZER), tensor("average", AVERAGE, UPDATE_AVERAGE),
        tensor("frozen", FROZEN, UPDATE_FROZEN), tensor("last", LAST, UPDATE_OPTIMIZER)};
    CU_ASSERT_EQUAL_FATAL(layout_create(tensors, ARRAY_LEN(tensors), 4096, &layout, &why), 0);
    settings = (struct settings){.optimizer = {.clip_norm = norm, .clip_value = value}};
    for (size_t i = 0; i < ALL; i++)
        grad[i] = (float)(i % 2 == 0 ? 1.0 : -0.5) * (float)(i % 13);
    memcpy(before, grad, sizeof(grad));
}

static bool is_optimized(size_t i)
{
    return i < FIRST || i >= FIRST + AVERAGE + FROZEN;
}

static double norm_of(const float *values)
{
    double sum = 0;
    for (size_t i = 0; i < ALL; i++)
        if (is_optimized(i))
            sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

static void test_clip_scales_the_mean_down_to_the_norm(void)
{
    open_case(2.0, 0);
    double norm = norm_of(before);
    CU_ASSERT_DOUBLE_EQUAL(clip_norm(layout, grad), norm, 1e-9 * norm);
    CU_ASSERT(clip_needs_whole(&settings) && norm / 4 > 2);
    clip_gradient(&settings, layout, 4, grad); /* a sum of 4 samples: its mean is a quarter */
    CU_ASSERT_DOUBLE_EQUAL(norm_of(grad) / 4, 2, 1e-6);
    for (size_t i = 0; i < ALL; i++)
        CU_ASSERT(grad[i] == (is_optimized(i) ? before[i] * (float)(8 / norm) : before[i]));
    layout_destroy(layout);
}

static void test_clip_scales_what_is_a_little_above(void)
{
    open_case(0, 0);
    double norm = norm_of(before);
    settings.optimizer.clip_norm = norm / 3 * 0.999;
    clip_gradient(&settings, layout, 3, grad);
    CU_ASSERT_DOUBLE_EQUAL(norm_of(grad), norm * 0.999, 1e-5 * norm);
    memcpy(grad, before, sizeof(grad));
    settings.optimizer.clip_norm = norm / 3 * 1.001;
    clip_gradient(&settings, layout, 3, grad);
    CU_ASSERT_EQUAL(memcmp(grad, before, sizeof(grad)), 0);
    layout_destroy(layout);
}

static void test_clip_leaves_alone_what_is_below(void)
{
    open_case(1000, 100);
    clip_gradient(&settings, layout, 4, grad);
    CU_ASSERT_EQUAL(memcmp(grad, before, sizeof(grad)), 0);
    settings.optimizer.clip_norm = settings.optimizer.clip_value = 0;
    CU_ASSERT(!clip_needs_whole(&settings));
    clip_gradient(&settings, layout, 4, grad);
    clip_gradient(&settings, layout, 0, grad);
    CU_ASSERT_EQUAL(memcmp(grad, before, sizeof(grad)), 0);
    layout_destroy(layout);
}

static void test_clip_holds_each_number_of_the_mean_within_the_value(void)
{
    open_case(0, 1.5);
    clip_gradient(&settings, layout, 2, grad);
    for (size_t i = 0; i < ALL; i++) {
        float bounded = fminf(fmaxf(before[i], -3), 3);
        CU_ASSERT(grad[i] == (is_optimized(i) ? bounded : before[i]));
    }
    layout_destroy(layout);
}

static void test_clip_hides_no_number_that_is_none(void)
{
    for (int kind = 0; kind < 2; kind++) {
        open_case(1, 1);
        grad[5] = kind == 0 ? (float)NAN : (float)INFINITY;
        grad[FIRST - 1] = -(float)INFINITY;
        clip_gradient(&settings, layout, 3, grad);
        CU_ASSERT(kind == 0 ? isnan(grad[5]) : isinf(grad[5]));
        CU_ASSERT(isinf(grad[FIRST - 1]) && grad[FIRST - 1] < 0);
        layout_destroy(layout);
    }
}

#define TESTS(X) \
    X(test_clip_scales_the_mean_down_to_the_norm) \
    X(test_clip_scales_what_is_a_little_above) \
    X(test_clip_leaves_alone_what_is_below) \
    X(test_clip_holds_each_number_of_the_mean_within_the_value) \
    X(test_clip_hides_no_number_that_is_none)

UNIT_MAIN("clip", TESTS)
