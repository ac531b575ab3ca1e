#include "common/elementary.h"
#include <math.h>
#include "tests/unit/unit.h"

static void test_elementary_log_is_near_that_of_the_c_library(void)
{
    for (double x = 1e-300; x < 1e300; x *= 1.7)
        CU_ASSERT_DOUBLE_EQUAL(elementary_log(x), log(x), 1e-14 * fabs(log(x)) + 1e-16);
}

static void test_elementary_exp_is_near_that_of_the_c_library(void)
{
    for (double x = -700; x <= 700; x += 0.37)
        CU_ASSERT_DOUBLE_EQUAL(elementary_exp(x) / exp(x), 1, 1e-13);
    CU_ASSERT_EQUAL(elementary_exp(0), 1);
}

static void test_elementary_turn_is_near_that_of_the_c_library(void)
{
    for (double x = -0.785; x <= 0.785; x += 0.01) {
        double cosine, sine;
        elementary_turn(x, &cosine, &sine);
        CU_ASSERT_DOUBLE_EQUAL(cosine, cos(x), 1e-15);
        CU_ASSERT_DOUBLE_EQUAL(sine, sin(x), 1e-15);
    }
}

#define TESTS(X)                                              \
    X(test_elementary_log_is_near_that_of_the_c_library)      \
    X(test_elementary_exp_is_near_that_of_the_c_library)      \
    X(test_elementary_turn_is_near_that_of_the_c_library)

UNIT_MAIN("elementary", TESTS)
