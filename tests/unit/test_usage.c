#include "common/usage.h"
#include "tests/unit/unit.h"

static void test_usage_age_is_that_of_this_process(void)
{
    double first_s = usage_age_s();
    CU_ASSERT(first_s > -0.02 && first_s < 600); /* the start is rounded to a hundredth */
    CU_ASSERT(usage_age_s() >= first_s);
}

static void test_usage_has_memory_and_time(void)
{
    struct usage usage = usage_now();
    CU_ASSERT(usage.rss_bytes > 0);
    CU_ASSERT(usage.peak_rss_bytes > 0);
    CU_ASSERT(usage.cpu_us > 0);
}

#define TESTS(X) \
    X(test_usage_age_is_that_of_this_process) \
    X(test_usage_has_memory_and_time)

UNIT_MAIN("usage", TESTS)
