#include "common/deadline.h"
#include "tests/unit/unit.h"

static void test_deadline_is_the_ceiling_until_enough_was_seen(void)
{
    struct deadline deadline = {0};
    for (int i = 0; i < DEADLINE_OBSERVATIONS_MIN; i++) {
        CU_ASSERT_EQUAL(deadline_ms(&deadline, 4, 200, 5000), 5000);
        deadline_note(&deadline, 300);
    }
    CU_ASSERT_EQUAL(deadline_ms(&deadline, 4, 200, 5000), 300);
}

static void test_deadline_is_the_median_and_some_spreads(void)
{
    static const uint64_t waits[] = {500, 300, 410, 390, 400};
    struct deadline deadline = {0};
    for (size_t i = 0; i < 5; i++)
        deadline_note(&deadline, waits[i]);
    /* Median 400; distances 100 100 10 10 0, whose median is 10. */
    CU_ASSERT_EQUAL(deadline_ms(&deadline, 4, 200, 5000), 440);
    CU_ASSERT_EQUAL(deadline_ms(&deadline, 0, 200, 5000), 400);
}

static void test_deadline_stays_within_floor_and_ceiling(void)
{
    struct deadline deadline = {0};
    for (size_t i = 0; i < 8; i++)
        deadline_note(&deadline, 5);
    CU_ASSERT_EQUAL(deadline_ms(&deadline, 4, 200, 5000), 200);
    for (size_t i = 0; i < DEADLINE_OBSERVATIONS; i++)
        deadline_note(&deadline, UINT64_MAX);
    CU_ASSERT_EQUAL(deadline_ms(&deadline, 4, 200, 5000), 5000);
}

static void test_deadline_forgets_the_oldest_and_one_out_of_line(void)
{
    struct deadline deadline = {0};
    for (size_t i = 0; i < DEADLINE_OBSERVATIONS; i++)
        deadline_note(&deadline, 4000);
    for (size_t i = 0; i + 1 < DEADLINE_OBSERVATIONS; i++)
        deadline_note(&deadline, 300);
    CU_ASSERT_EQUAL(deadline_ms(&deadline, 4, 200, 5000), 300); /* one of 4000 is left */
    deadline_note(&deadline, 300);
    CU_ASSERT_EQUAL(deadline_ms(&deadline, 1e9, 200, 5000), 300);
}

static void test_deadline_mean_leaves_the_longest_out(void)
{
    struct deadline deadline = {0};
    CU_ASSERT_EQUAL(deadline_mean(&deadline), 0.0);
    deadline_note(&deadline, 100);
    deadline_note(&deadline, 500);
    CU_ASSERT_DOUBLE_EQUAL(deadline_mean(&deadline), 300.0, 1e-9);
    deadline_note(&deadline, 100);
    deadline_note(&deadline, 100);
    CU_ASSERT_DOUBLE_EQUAL(deadline_mean(&deadline), 100.0, 1e-9);
    for (size_t i = 0; i < 3; i++)
        deadline_note(&deadline, 400);
    deadline_note(&deadline, 9000);
    CU_ASSERT_DOUBLE_EQUAL(deadline_mean(&deadline), 1500.0 / 6.0, 1e-9);
}

#define TESTS(X)                                              \
    X(test_deadline_is_the_ceiling_until_enough_was_seen)     \
    X(test_deadline_is_the_median_and_some_spreads)           \
    X(test_deadline_stays_within_floor_and_ceiling)           \
    X(test_deadline_forgets_the_oldest_and_one_out_of_line)   \
    X(test_deadline_mean_leaves_the_longest_out)

UNIT_MAIN("deadline", TESTS)
