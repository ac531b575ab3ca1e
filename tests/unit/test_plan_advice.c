#include <math.h>
#include <string.h>
#include "deploy/plan/advice.h"
#include "deploy/plan/rate.h"
#include "deploy/plan/table.h"
#include "tests/unit/plan_case.h"
#include "tests/unit/unit.h"

static const struct advice_option *find(const struct advice *advice, const char *text)
{
    for (size_t i = 0; i < advice->option_count; i++)
        if (strcmp(advice->options[i].text, text) == 0)
            return &advice->options[i];
    return NULL;
}

static void give(struct plan_case *made, struct advice *advice)
{
    (void)plan_case_predict(made); /* sets the shares */
    CU_ASSERT_EQUAL_FATAL(advice_give(&made->inputs, advice), 0);
}

static void test_advice_compares_with_one_machine(void)
{
    struct plan_case made;
    struct advice advice;
    plan_case_make(&made);
    made.inputs.cluster.workers = 2;
    give(&made, &advice);
    CU_ASSERT_DOUBLE_EQUAL(advice.one_machine, 8 / 0.2, 0.1);
    CU_ASSERT_DOUBLE_EQUAL(advice.speedup, 0.2 / 0.8, 0.01);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(advice.text, "2 machines over 86 Mbit/s would be 0.25 times one machine: use "));
    plan_case_free(&made);
}

static void test_advice_is_what_the_model_says_of_the_change(void)
{
    struct plan_case made;
    struct advice advice;
    plan_case_make(&made);
    made.inputs.cluster.workers = 2;
    give(&made, &advice);
    const struct advice_option *int8 = find(&advice, "codec int8");
    const struct advice_option *local = find(&advice, "local steps 50");
    CU_ASSERT_FATAL(int8 != NULL && local != NULL);
    made.inputs.job.codec = CODEC_INT8;
    CU_ASSERT_EQUAL(int8->prediction.round_s, plan_case_predict(&made).round_s);
    made.inputs.job.codec = CODEC_F32;
    made.inputs.job.consistency = CONSISTENCY_LOCAL;
    made.inputs.job.local_steps = 50;
    CU_ASSERT_EQUAL(local->prediction.round_s, plan_case_predict(&made).round_s);
    CU_ASSERT(int8->is_named && !find(&advice, "codec bf16")->is_named);
    plan_case_free(&made);
}

static void test_advice_cuts_blocks_smaller(void)
{
    struct plan_case made;
    struct advice advice;
    plan_case_make(&made);
    give(&made, &advice);
    const struct advice_option *blocks = find(&advice, "block_bytes 65536");
    CU_ASSERT_FATAL(blocks != NULL);
    /* 16 pieces a tensor: nearly all comes back beside what is sent */
    CU_ASSERT_DOUBLE_EQUAL(blocks->prediction.round_s, 0.2 + 0.2 + 0.1 / 15, 0.01);
    plan_case_free(&made);
}

static void test_advice_is_silent_when_all_is_well(void)
{
    struct plan_case made;
    struct advice advice;
    plan_case_make(&made);
    made.inputs.cluster.workers = 2;
    made.inputs.cluster.bytes_per_s = 1e10;
    give(&made, &advice);
    CU_ASSERT_PTR_NULL(strstr(advice.text, "use"));
    CU_ASSERT(advice.speedup > 1.9);
    plan_case_free(&made);
}

static void test_advice_has_topk_only_for_optimizers_that_can(void)
{
    struct plan_case made;
    struct advice advice;
    plan_case_make(&made);
    give(&made, &advice);
    CU_ASSERT_PTR_NULL(find(&advice, "codec topk"));
    made.inputs.job.may_topk = true;
    give(&made, &advice);
    CU_ASSERT_PTR_NOT_NULL(find(&advice, "codec topk"));
    made.inputs.job.consistency = CONSISTENCY_LOCAL;
    give(&made, &advice);
    CU_ASSERT_PTR_NULL(find(&advice, "codec topk"));
    plan_case_free(&made);
}

static void test_advice_says_who_has_no_lane(void)
{
    struct plan_case made;
    struct advice advice;
    plan_case_make(&made);
    made.inputs.cluster.workers = 3;
    give(&made, &advice);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(advice.text, "; 1 of them would have no lane, since job.lanes is 2"));
    plan_case_free(&made);
}

static void test_table_has_all_workers_and_all_servers(void)
{
    struct plan_case made;
    struct plan_row rows[4];
    plan_case_make(&made);
    made.inputs.cluster.workers = 2;
    made.inputs.cluster.servers = 3;
    (void)plan_case_predict(&made);
    CU_ASSERT_EQUAL_FATAL(table_size(&made.inputs), ARRAY_LEN(rows));
    CU_ASSERT_EQUAL_FATAL(table_fill(&made.inputs, 40.0, rows), 0);
    CU_ASSERT(rows[0].workers == 1 && rows[0].servers == 3);
    CU_ASSERT(rows[1].workers == 2 && rows[1].servers == 3);
    CU_ASSERT(rows[2].workers == 2 && rows[2].servers == 1);
    CU_ASSERT(rows[3].workers == 2 && rows[3].servers == 2);
    CU_ASSERT_DOUBLE_EQUAL(rows[1].speedup, rows[1].prediction.samples_per_s / 40.0, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(rows[1].efficiency, rows[1].speedup / 2, 1e-9);
    plan_case_free(&made);
}

static void test_rate_reads_what_people_write(void)
{
    static const struct {
        const char *text;
        double bytes_per_s;
    } good[] = {{"1Gbit/s", 125e6}, {"100 Mbit/s", 12.5e6}, {"2.5Gbit", 312.5e6},
                {"12.5MB/s", 12.5e6}, {"64kbit/s", 8e3}, {"1000B", 1000}};
    static const char *const bad[] = {"",     "fast",   "10",    "1Tbit/s", "1gbit/s",
                                      "-1MB", "0Mbit/s", "nanMB", "1Gbit/s/s", "1Gbit/h"};
    double found;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CU_ASSERT_EQUAL_FATAL(rate_parse(good[i].text, &found), 0);
        CU_ASSERT_DOUBLE_EQUAL(found, good[i].bytes_per_s, 1e-6);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(rate_parse(bad[i], &found), ERR_INPUT);
}

static void test_rate_prints_what_it_reads(void)
{
    char text[RATE_TEXT_BYTES];
    rate_print(125e6, text);
    CU_ASSERT_STRING_EQUAL(text, "1 Gbit/s");
    rate_print(31.25e6, text);
    CU_ASSERT_STRING_EQUAL(text, "250 Mbit/s");
    rate_print(8e3, text);
    CU_ASSERT_STRING_EQUAL(text, "64 kbit/s");
}

#define TESTS(X)                                            \
    X(test_advice_compares_with_one_machine)                \
    X(test_advice_is_what_the_model_says_of_the_change)     \
    X(test_advice_cuts_blocks_smaller)                      \
    X(test_advice_is_silent_when_all_is_well)               \
    X(test_advice_has_topk_only_for_optimizers_that_can)    \
    X(test_advice_says_who_has_no_lane)                     \
    X(test_table_has_all_workers_and_all_servers)           \
    X(test_rate_reads_what_people_write)                    \
    X(test_rate_prints_what_it_reads)

UNIT_MAIN("plan advice", TESTS)
