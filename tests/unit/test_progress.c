#include "deploy/progress.h"

#include <string.h>
#include "tests/unit/unit.h"

static void test_progress_time_text_is_hours_minutes_seconds(void)
{
    char text[32];
    progress_time_text(7, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "0:07");
    progress_time_text(3723.4, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "1:02:03");
    progress_time_text(-1, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "0:00");
}

/* A status says what it likes: no number of it may be too large for the type it is turned into. */
static void test_progress_time_text_ends_at_the_longest_time(void)
{
    char text[32];
    progress_time_text(1e300, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "277777777:46:40");
}

static void test_progress_format_fills_the_bar_when_there_are_more_steps_than_all(void)
{
    char line[PROGRESS_LINE_BYTES];
    struct progress_state state = {
        .phase = "training", .step = UINT64_MAX, .step_count = 1, .loss = 1.0, .left_s = -1};
    progress_format(&state, 10, false, line, sizeof(line));
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "[==========]"));
    state.step = 0;
    progress_format(&state, 10, false, line, sizeof(line));
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "[>         ]"));
}

#define TESTS(X)                                                                  \
    X(test_progress_time_text_is_hours_minutes_seconds)                           \
    X(test_progress_time_text_ends_at_the_longest_time)                           \
    X(test_progress_format_fills_the_bar_when_there_are_more_steps_than_all)

UNIT_MAIN("progress", TESTS)
