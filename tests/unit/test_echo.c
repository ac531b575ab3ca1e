#include "ps/echo.h"

#include "tests/unit/unit.h"

enum { MIB = 1 << 20 };

static size_t allowed(struct echo *echo, uint64_t now_ms, size_t asked_count)
{
    size_t count = 0;
    for (size_t i = 0; i < asked_count; i++)
        count += echo_allows(echo, now_ms, MIB);
    return count;
}

static void test_echo_allows_a_burst_and_no_more(void)
{
    struct echo echo = {0};
    CU_ASSERT_EQUAL(allowed(&echo, 1000, 100), 64);
    CU_ASSERT_EQUAL(echo.dropped_count, 36);
    CU_ASSERT_EQUAL(allowed(&echo, 1000, 1), 0);
}

static void test_echo_allows_more_as_time_passes(void)
{
    struct echo echo = {0};
    CU_ASSERT_EQUAL(allowed(&echo, 1000, 100), 64);
    CU_ASSERT_EQUAL(allowed(&echo, 2001, 100), 16);
    CU_ASSERT_EQUAL(allowed(&echo, 1500, 100), 0); /* a clock that goes back gives nothing */
    CU_ASSERT_EQUAL(allowed(&echo, 3600000, 100), 64);
}

static void test_echo_allows_nothing_that_wraps(void)
{
    struct echo echo = {.sent_bytes = 0, .at_ms = 0};
    CU_ASSERT(echo_allows(&echo, UINT64_MAX, 64 * MIB));
    CU_ASSERT(!echo_allows(&echo, UINT64_MAX, 1));
}

#define TESTS(X)                            \
    X(test_echo_allows_a_burst_and_no_more) \
    X(test_echo_allows_more_as_time_passes) \
    X(test_echo_allows_nothing_that_wraps)

UNIT_MAIN("echo", TESTS)
