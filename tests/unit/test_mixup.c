#include "worker/data/mixup.h"
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "tests/unit/unit.h"

enum { COUNT = 13, INPUTS = 4 };

struct lane {
    float inputs[COUNT * INPUTS], labels[COUNT], mix_labels[COUNT], weights[COUNT];
    float scratch[INPUTS];
    uint32_t partners[COUNT];
};

/* Sample i is i * 100 + its place; its label is i. */
static void mix(struct lane *lane, double alpha, struct draw_key draw)
{
    struct mixup mixup = {alpha, INPUTS, 1};
    for (size_t i = 0; i < COUNT * INPUTS; i++)
        lane->inputs[i] = (float)(i / INPUTS * 100 + i % INPUTS);
    for (size_t i = 0; i < COUNT; i++)
        lane->labels[i] = (float)i;
    mixup_apply(&mixup, &draw,
                &(struct mixup_lane){.count = COUNT,
                                     .inputs = lane->inputs,
                                     .labels = lane->labels,
                                     .mix_labels = lane->mix_labels,
                                     .weights = lane->weights,
                                     .partners = lane->partners,
                                     .scratch = lane->scratch});
}

static void test_mixup_mixes_each_sample_with_the_one_whose_label_it_names(void)
{
    for (uint64_t step = 0; step < 50; step++) {
        struct lane lane;
        bool is_seen[COUNT] = {false};
        size_t moved_count = 0;
        mix(&lane, 0.4, (struct draw_key){1, step, 2, 0});
        for (size_t i = 0; i < COUNT; i++) {
            size_t j = (size_t)lane.mix_labels[i];
            CU_ASSERT_FATAL(j < COUNT && !is_seen[j]); /* a permutation */
            is_seen[j] = true;
            moved_count += j != i;
            double m = (double)lane.weights[i];
            CU_ASSERT(m >= 0 && m <= 1 && lane.labels[i] == (float)i);
            for (size_t k = 0; k < INPUTS; k++)
                CU_ASSERT_DOUBLE_EQUAL(lane.inputs[i * INPUTS + k],
                                       m * (double)(i * 100 + k) + (1 - m) * (double)(j * 100 + k),
                                       1e-3);
        }
        CU_ASSERT(moved_count > COUNT / 2);
    }
}

static void test_mixup_is_a_function_of_seed_step_and_lane(void)
{
    struct lane one, same, other;
    mix(&one, 1, (struct draw_key){1, 2, 3, 0});
    mix(&same, 1, (struct draw_key){1, 2, 3, 77});
    CU_ASSERT_EQUAL(memcmp(one.inputs, same.inputs, sizeof(one.inputs)), 0);
    CU_ASSERT_EQUAL(memcmp(one.weights, same.weights, sizeof(one.weights)), 0);
    mix(&other, 1, (struct draw_key){1, 2, 4, 0});
    CU_ASSERT_NOT_EQUAL(memcmp(one.weights, other.weights, sizeof(one.weights)), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(one.mix_labels, other.mix_labels, sizeof(one.mix_labels)), 0);
    mix(&other, 1, (struct draw_key){1, 3, 3, 0});
    CU_ASSERT_NOT_EQUAL(memcmp(one.weights, other.weights, sizeof(one.weights)), 0);
}

/* Mean 1/2, variance 1 / (4 (2 alpha + 1)); with alpha = 1 uniform. */
static void check_moments(double alpha)
{
    enum { DRAWS = 40000 };
    double sum = 0, squares = 0, expected = 1 / (4 * (2 * alpha + 1));
    size_t quarter_count = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        struct draw_key key = {.seed = 5, .step = i, .where = 1};
        double m = (double)mixup_weight(alpha, &key);
        CU_ASSERT_FATAL(m >= 0 && m <= 1);
        sum += m;
        squares += (m - 0.5) * (m - 0.5);
        quarter_count += m < 0.25;
    }
    CU_ASSERT_DOUBLE_EQUAL(sum / DRAWS, 0.5, 4 * sqrt(expected / DRAWS));
    CU_ASSERT_DOUBLE_EQUAL(squares / DRAWS, expected, 0.03 * expected);
    if (alpha == 1)
        CU_ASSERT_DOUBLE_EQUAL((double)quarter_count / DRAWS, 0.25, 0.01);
}

static void test_mixup_weight_is_of_the_beta_distribution(void)
{
    const double alphas[] = {1e-4, 0.1, 0.4, 1, 3, 100};
    for (size_t i = 0; i < sizeof(alphas) / sizeof(alphas[0]); i++)
        check_moments(alphas[i]);
}

#define TESTS(X)                                                          \
    X(test_mixup_mixes_each_sample_with_the_one_whose_label_it_names)     \
    X(test_mixup_is_a_function_of_seed_step_and_lane)                     \
    X(test_mixup_weight_is_of_the_beta_distribution)

UNIT_MAIN("mixup", TESTS)
