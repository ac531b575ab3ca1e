#include "deploy/sampler.h"

#include <math.h>
#include "tests/unit/unit.h"

enum { CHOICES = 4, DRAWS = 20000 };

static const float probabilities[CHOICES] = {0.1f, 0.4f, 0.3f, 0.2f};

static struct sampler *make(double temperature, size_t top_k, uint64_t seed)
{
    struct sampler_spec spec = {temperature, top_k, seed};
    struct sampler *sampler = NULL;
    CU_ASSERT_EQUAL_FATAL(sampler_create(&spec, CHOICES, &sampler), 0);
    return sampler;
}

/* Draws at many positions, and compares how often each choice came with what is expected. */
static void check_shares(double temperature, size_t top_k, const double *expected)
{
    size_t counts[CHOICES] = {0};
    struct sampler *sampler = make(temperature, top_k, 3);
    for (uint64_t position = 0; position < DRAWS; position++)
        counts[sampler_pick(sampler, probabilities, position)]++;
    for (size_t i = 0; i < CHOICES; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)counts[i] / DRAWS, expected[i], 0.015);
        if (expected[i] < 1e-9)
            CU_ASSERT_EQUAL(counts[i], 0);
    }
    sampler_destroy(sampler);
}

static void test_sampler_draws_by_probability_and_temperature(void)
{
    check_shares(1, 0, (double[]){0.1, 0.4, 0.3, 0.2});
    /* squares: 1 16 9 4 of 30 */
    check_shares(0.5, 0, (double[]){1.0 / 30, 16.0 / 30, 9.0 / 30, 4.0 / 30});
    check_shares(0, 0, (double[]){0, 1, 0, 0});
    check_shares(1e-3, 0, (double[]){0, 1, 0, 0});
    check_shares(1e9, 0, (double[]){0.25, 0.25, 0.25, 0.25});
}

static void test_sampler_draws_among_the_likeliest(void)
{
    check_shares(1, 1, (double[]){0, 1, 0, 0});
    check_shares(1, 2, (double[]){0, 4.0 / 7, 3.0 / 7, 0});
    check_shares(1, 4, (double[]){0.1, 0.4, 0.3, 0.2});
    check_shares(1, 9, (double[]){0.1, 0.4, 0.3, 0.2});
}

static void test_sampler_is_a_function_of_seed_and_position(void)
{
    struct sampler *one = make(1, 0, 5), *same = make(1, 0, 5), *other = make(1, 0, 6);
    size_t different = 0;
    for (uint64_t position = 100; position-- > 0;) {
        size_t choice = sampler_pick(one, probabilities, position);
        different += choice != sampler_pick(other, probabilities, position);
    }
    for (uint64_t position = 0; position < 100; position++)
        CU_ASSERT_EQUAL(sampler_pick(one, probabilities, position),
                        sampler_pick(same, probabilities, position));
    CU_ASSERT(different > 20);
    sampler_destroy(one);
    sampler_destroy(same);
    sampler_destroy(other);
}

static void test_sampler_never_picks_what_cannot_be(void)
{
    static const float certain[CHOICES] = {0, 0, 1, 0}, tiny[CHOICES] = {0, 1e-38f, 1e-38f, 0};
    struct sampler *sampler = make(0.1, 0, 1);
    for (uint64_t position = 0; position < 1000; position++) {
        size_t choice = sampler_pick(sampler, tiny, position);
        CU_ASSERT(choice == 1 || choice == 2);
        CU_ASSERT_EQUAL(sampler_pick(sampler, certain, position), 2);
    }
    sampler_destroy(sampler);
}

#define TESTS(X) \
    X(test_sampler_draws_by_probability_and_temperature) \
    X(test_sampler_draws_among_the_likeliest) \
    X(test_sampler_is_a_function_of_seed_and_position) \
    X(test_sampler_never_picks_what_cannot_be)

UNIT_MAIN("sampler", TESTS)
