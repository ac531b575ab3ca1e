#include "common/schedule.h"

#include <math.h>
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_schedule_constant_is_the_rate_at_every_step) \
    X(test_schedule_warms_up_in_a_line_and_ends_at_the_rate) \
    X(test_schedule_step_decays_every_so_many_steps_after_warmup) \
    X(test_schedule_step_stays_at_the_rate_when_decay_every_is_zero) \
    X(test_schedule_step_stops_at_the_min_rate) \
    X(test_schedule_cosine_begins_at_the_rate_and_falls_to_the_min_rate) \
    X(test_schedule_cosine_takes_a_warmup_longer_than_the_job)

static struct settings job(enum schedule_kind kind)
{
    return (struct settings){.optimizer = {.rate = 0.5, .schedule = kind}};
}

static bool is_near(double a, double b)
{
    return fabs(a - b) < 1e-12;
}

static void test_schedule_constant_is_the_rate_at_every_step(void)
{
    struct settings settings = job(SCHEDULE_CONSTANT);
    for (uint64_t step = 0; step < 100; step++)
        CU_ASSERT(schedule_rate(&settings, step, 100) == 0.5);
}

static void test_schedule_warms_up_in_a_line_and_ends_at_the_rate(void)
{
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_COSINE; kind++) {
        struct settings settings = job((enum schedule_kind)kind);
        settings.optimizer.warmup_steps = 5;
        settings.optimizer.decay_every = 10;
        settings.optimizer.decay_factor = 0.1;
        for (uint64_t step = 0; step < 5; step++)
            CU_ASSERT(is_near(schedule_rate(&settings, step, 50), 0.1 * (double)(step + 1)));
        CU_ASSERT(is_near(schedule_rate(&settings, 5, 50), 0.5));
    }
}

static void test_schedule_step_decays_every_so_many_steps_after_warmup(void)
{
    struct settings settings = job(SCHEDULE_STEP);
    settings.optimizer.warmup_steps = 3;
    settings.optimizer.decay_every = 10;
    settings.optimizer.decay_factor = 0.5;
    CU_ASSERT(is_near(schedule_rate(&settings, 12, 100), 0.5));
    CU_ASSERT(is_near(schedule_rate(&settings, 13, 100), 0.25));
    CU_ASSERT(is_near(schedule_rate(&settings, 22, 100), 0.25));
    CU_ASSERT(is_near(schedule_rate(&settings, 23, 100), 0.125));
}

static void test_schedule_step_stays_at_the_rate_when_decay_every_is_zero(void)
{
    struct settings settings = job(SCHEDULE_STEP);
    settings.optimizer.decay_factor = 0.1;
    CU_ASSERT(schedule_rate(&settings, 1000, 1001) == 0.5);
}

static void test_schedule_step_stops_at_the_min_rate(void)
{
    struct settings settings = job(SCHEDULE_STEP);
    settings.optimizer.decay_every = 1;
    settings.optimizer.decay_factor = 0.1;
    settings.optimizer.min_rate = 0.02;
    CU_ASSERT(is_near(schedule_rate(&settings, 1, 100), 0.05));
    CU_ASSERT(schedule_rate(&settings, 2, 100) == 0.02);
    CU_ASSERT(schedule_rate(&settings, UINT64_MAX - 1, UINT64_MAX) == 0.02);
}

static void test_schedule_cosine_begins_at_the_rate_and_falls_to_the_min_rate(void)
{
    struct settings settings = job(SCHEDULE_COSINE);
    settings.optimizer.min_rate = 0.1;
    CU_ASSERT(is_near(schedule_rate(&settings, 0, 100), 0.5));
    CU_ASSERT(is_near(schedule_rate(&settings, 50, 100), 0.3));
    CU_ASSERT(is_near(schedule_rate(&settings, 100, 100), 0.1));
    CU_ASSERT(is_near(schedule_rate(&settings, 250, 100), 0.1));
    for (uint64_t step = 1; step < 100; step++)
        CU_ASSERT(schedule_rate(&settings, step, 100) < schedule_rate(&settings, step - 1, 100));
}

static void test_schedule_cosine_takes_a_warmup_longer_than_the_job(void)
{
    struct settings settings = job(SCHEDULE_COSINE);
    settings.optimizer.warmup_steps = 200;
    settings.optimizer.min_rate = 0.1;
    CU_ASSERT(is_near(schedule_rate(&settings, 99, 100), 0.25));
    CU_ASSERT(schedule_rate(&settings, 200, 100) == 0.1);
}

UNIT_MAIN("schedule", TESTS)
