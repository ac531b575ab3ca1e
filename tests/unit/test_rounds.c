#include "common/rounds.h"
#include <string.h>
#include "common/optimizer.h"
#include "common/schedule.h"
#include "tests/unit/unit.h"

static struct settings local_settings(uint32_t local_steps)
{
    struct settings settings = {0};
    settings.exchange.consistency = CONSISTENCY_LOCAL;
    settings.exchange.local_steps = local_steps;
    settings.exchange.outer_rate = 0.5;
    settings.exchange.outer_momentum = 0.75;
    settings.optimizer.kind = OPTIMIZER_ADAM;
    settings.optimizer.rate = 0.01;
    settings.optimizer.schedule = SCHEDULE_COSINE;
    settings.optimizer.warmup_steps = 7;
    settings.optimizer.weight_decay = settings.optimizer.l1 = 0.1;
    return settings;
}

static void test_rounds_are_steps_unless_local(void)
{
    struct batching batching = {.sample_count = 100, .batch = 30, .lane_count = 4};
    for (int kind = CONSISTENCY_BSP; kind <= CONSISTENCY_ASYNC; kind++) {
        struct settings settings = local_settings(50);
        settings.exchange.consistency = (enum consistency_kind)kind;
        settings.job.steps = 31;
        CU_ASSERT_EQUAL(rounds_steps(&settings), 1);
        CU_ASSERT_EQUAL(rounds_of_job(&settings, &batching), 31);
        for (uint64_t round = 0; round < 40; round++) {
            CU_ASSERT_EQUAL(rounds_last_due(&settings, 7, round), round - round % 7);
            CU_ASSERT_EQUAL(rounds_is_due(&settings, 7, round), round > 0 && round % 7 == 0);
        }
        CU_ASSERT_EQUAL(rounds_sum_scale(&settings, &batching, 0), 1.0f / 30.0f);
        CU_ASSERT_EQUAL(rounds_sum_scale(&settings, &batching, 7), 1.0f / 10.0f);
        CU_ASSERT_EQUAL(rounds_server_settings(&settings).optimizer.kind, OPTIMIZER_ADAM);
    }
}

static void test_rounds_of_topk_leave_servers_to_add(void)
{
    struct batching batching = {.sample_count = 100, .batch = 30, .lane_count = 4};
    struct settings settings = local_settings(50);
    settings.exchange.consistency = CONSISTENCY_BSP;
    settings.exchange.codec = CODEC_SPARSE;
    settings.optimizer.kind = OPTIMIZER_MOMENTUM;
    struct settings servers = rounds_server_settings(&settings);
    CU_ASSERT_EQUAL(rounds_sum_scale(&settings, &batching, 0), 1.0f);
    CU_ASSERT_EQUAL(servers.optimizer.kind, OPTIMIZER_SGD);
    CU_ASSERT_EQUAL(servers.optimizer.weight_decay, 0.0);
    CU_ASSERT_EQUAL(servers.optimizer.l1, 0.0);
    CU_ASSERT_EQUAL(schedule_rate(&servers, 0, 100), 1.0);
    CU_ASSERT_EQUAL(schedule_rate(&servers, 99, 100), 1.0);
}

static void test_rounds_of_a_job_have_all_its_steps(void)
{
    struct batching batching = {.sample_count = 100, .batch = 30, .lane_count = 4};
    struct settings settings = local_settings(5);
    settings.job.steps = 20;
    CU_ASSERT_EQUAL(rounds_of_job(&settings, &batching), 4);
    settings.job.steps = 21;
    CU_ASSERT_EQUAL(rounds_of_job(&settings, &batching), 5);
    settings.job.steps = 0;
    settings.job.epochs = 3; /* of four steps */
    CU_ASSERT_EQUAL(rounds_of_job(&settings, &batching), 3);
    settings.exchange.local_steps = 1000000;
    CU_ASSERT_EQUAL(rounds_of_job(&settings, &batching), 1);
}

/* Against counting steps one by one. */
static void test_rounds_are_due_when_the_steps_are_full(void)
{
    for (uint32_t local_steps = 1; local_steps < 12; local_steps++)
        for (uint64_t every = 1; every < 30; every++) {
            struct settings settings = local_settings(local_steps);
            uint64_t last = 0, step = 0;
            CU_ASSERT(!rounds_is_due(&settings, every, 0));
            for (uint64_t round = 1; round < 30; round++) {
                bool is_due = false;
                for (uint32_t i = 0; i < local_steps; i++)
                    is_due |= ++step % every == 0;
                last = is_due ? round : last;
                CU_ASSERT_EQUAL(rounds_is_due(&settings, every, round), is_due);
                CU_ASSERT_EQUAL(rounds_last_due(&settings, every, round), last);
            }
        }
}

/* Two rounds of one weight, by the formula of the header. */
static void test_rounds_servers_take_the_mean_difference_with_nesterov(void)
{
    struct settings settings = local_settings(5);
    struct settings servers = rounds_server_settings(&settings);
    struct batching batching = {.sample_count = 100, .batch = 30, .lane_count = 4};
    float w = 2.0f, out = 0.0f, velocity = 0.0f, sum = 6.0f;
    struct update update = {.weights = &w, .grad = &sum, .state = {&velocity}, .weights_out = &out,
                            .grad_scale = rounds_sum_scale(&servers, &batching, 0), .count = 1,
                            .has_decay = true, .rate = (float)schedule_rate(&servers, 0, 9)};
    CU_ASSERT_EQUAL(optimizer_state_count(servers.optimizer.kind), 1);
    CU_ASSERT_EQUAL(update.rate, 0.5f);
    optimizer_apply(&servers, &update);
    CU_ASSERT_EQUAL(velocity, 1.5f); /* d = 6 / 4 */
    CU_ASSERT_EQUAL(out, 2.0f - 0.5f * (1.5f + 0.75f * 1.5f));
    w = out;
    sum = -2.0f;
    update.step = 1;
    optimizer_apply(&servers, &update);
    CU_ASSERT_EQUAL(velocity, 0.75f * 1.5f - 0.5f);
    CU_ASSERT_EQUAL(out, w - 0.5f * (-0.5f + 0.75f * (0.75f * 1.5f - 0.5f)));
}

/* A running mean moves by lanes as far as by steps, and by what rounds say. */
static void test_rounds_say_what_becomes_of_a_running_mean(void)
{
    struct settings settings = local_settings(5);
    struct batching batching = {.sample_count = 100, .batch = 32, .lane_count = 4};
    struct rounds_average average = rounds_average_of(&settings, &batching, 0, 0.25f, 1.0);
    CU_ASSERT(average.keep == 1.0f && average.scale == -0.25f);
    settings.exchange.consistency = CONSISTENCY_BSP;
    average = rounds_average_of(&settings, &batching, 0, 0.25f, 1.0);
    CU_ASSERT(average.keep == 0.75f && average.scale == 0.25f / 32);
    average = rounds_average_of(&settings, &batching, 0, 0.25f, 0.5);
    CU_ASSERT(average.keep == 0.875f && average.scale == 0.25f / 32);
}

static void test_rounds_know_what_servers_keep_of_a_weight(void)
{
    struct settings settings = local_settings(5);
    CU_ASSERT_EQUAL(rounds_state_count(&settings), 1);
    settings.optimizer.average = 0.9;
    CU_ASSERT_EQUAL(rounds_state_count(&settings), 2);
    CU_ASSERT_STRING_EQUAL(rounds_state_name(&settings, 0), "momentum");
    CU_ASSERT_STRING_EQUAL(rounds_state_name(&settings, 1), "average");
    settings.exchange.consistency = CONSISTENCY_BSP;
    CU_ASSERT_EQUAL(rounds_state_count(&settings), 3);
    CU_ASSERT_STRING_EQUAL(rounds_state_name(&settings, 2), "average");
    CU_ASSERT_DOUBLE_EQUAL(rounds_average_share(&settings, 0), 9.0 / 11.0, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(rounds_average_share(&settings, 1000), 0.1, 1e-15);
    struct tensor_spec tensor = {.rate_scale = 0.5f};
    CU_ASSERT_EQUAL(rounds_server_rate_scale(&settings, &tensor), 0.5f);
    settings.exchange.codec = CODEC_SPARSE; /* workers have made the step */
    CU_ASSERT_EQUAL(rounds_server_rate_scale(&settings, &tensor), 1.0f);
    tensor.update = UPDATE_AVERAGE;
    CU_ASSERT_EQUAL(rounds_server_rate_scale(&settings, &tensor), 0.5f);
}

#define TESTS(X)                                                    \
    X(test_rounds_are_steps_unless_local)                           \
    X(test_rounds_of_topk_leave_servers_to_add)                     \
    X(test_rounds_of_a_job_have_all_its_steps)                      \
    X(test_rounds_are_due_when_the_steps_are_full)                  \
    X(test_rounds_servers_take_the_mean_difference_with_nesterov)   \
    X(test_rounds_say_what_becomes_of_a_running_mean)               \
    X(test_rounds_know_what_servers_keep_of_a_weight)

UNIT_MAIN("rounds", TESTS)
