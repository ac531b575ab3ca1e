#include "worker/data/windows.h"

#include <stdbool.h>
#include <string.h>
#include "tests/unit/unit.h"

static struct windows make(uint64_t token_count, uint32_t length)
{
    struct windows windows;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(windows_make(token_count, length, 5, "t.txt", &windows, &why), 0);
    return windows;
}

static void test_windows_lie_side_by_side_in_the_first_epoch(void)
{
    struct windows windows = make(31, 10);
    CU_ASSERT_EQUAL(windows_count(&windows), 3);
    for (uint64_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(windows_first(&windows, 0, i), 10 * i);
    windows = make(30, 10); /* the label of the last token would be missing */
    CU_ASSERT_EQUAL(windows_count(&windows), 2);
}

static void test_windows_move_along_in_later_epochs_and_stay_inside(void)
{
    struct windows windows = make(35, 10);
    bool has_moved[10] = {false};
    for (uint64_t epoch = 1; epoch < 200; epoch++) {
        uint64_t shift = windows_first(&windows, epoch, 0);
        CU_ASSERT_FATAL(shift < 10);
        has_moved[shift] = true;
        CU_ASSERT_EQUAL(windows_first(&windows, epoch, 1), 10 + shift);
        CU_ASSERT_EQUAL(windows_first(&windows, epoch, 2), shift < 4 ? 20 + shift : 24);
        CU_ASSERT_EQUAL(windows_first(&windows, epoch, 0), shift);
    }
    for (int shift = 0; shift < 10; shift++)
        CU_ASSERT(has_moved[shift]);
}

static void test_windows_hold_out_the_end(void)
{
    struct windows whole = make(100, 10), train, held;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(windows_split(&whole, 0.3, "t.txt", &train, &held, &why), 0);
    CU_ASSERT(train.begin == 0 && train.end == 70 && held.begin == 70 && held.end == 100);
    CU_ASSERT_EQUAL(windows_count(&train), 6);
    CU_ASSERT_EQUAL(windows_count(&held), 2);
    CU_ASSERT_EQUAL(windows_first(&held, 0, 1), 80);
    for (uint64_t epoch = 0; epoch < 50; epoch++) /* its last label is no held-out token */
        CU_ASSERT(windows_first(&train, epoch, 5) + 10 < 70);
    CU_ASSERT_EQUAL_FATAL(windows_split(&whole, 0.001, "t.txt", &train, &held, &why), 0);
    CU_ASSERT_EQUAL(windows_count(&held), 1);
    CU_ASSERT_EQUAL_FATAL(windows_split(&whole, 0.9, "t.txt", &train, &held, &why), 0);
    CU_ASSERT_EQUAL(train.end, 11);
}

static void test_windows_refuse_a_stream_that_is_too_short(void)
{
    struct windows windows, parts[2];
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(windows_make(10, 10, 5, "t.txt", &windows, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "t.txt: holds 10 tokens, expected at least 11"));
    windows = make(21, 10);
    CU_ASSERT_EQUAL(windows_split(&windows, 0.5, "t.txt", &parts[0], &parts[1], &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "t.txt: holds 21 tokens, expected at least 22"));
}

#define TESTS(X) \
    X(test_windows_lie_side_by_side_in_the_first_epoch) \
    X(test_windows_move_along_in_later_epochs_and_stay_inside) \
    X(test_windows_hold_out_the_end) \
    X(test_windows_refuse_a_stream_that_is_too_short)

UNIT_MAIN("windows", TESTS)
