#include "worker/residual.h"

#include <math.h>
#include <string.h>
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_residual_sends_the_largest_and_keeps_the_rest_for_later) \
    X(test_residual_keeps_what_it_has_at_its_own_rate) \
    X(test_residual_with_all_sent_is_the_gradient_scaled) \
    X(test_residual_corrects_momentum_as_the_paper_has_it) \
    X(test_residual_of_two_nodes_is_that_of_their_sum) \
    X(test_residual_takes_its_share_of_decay) \
    X(test_residual_warms_up_from_all_to_the_share) \
    X(test_residual_sends_a_bias_whole_and_keeps_its_velocity) \
    X(test_residual_forgets)

enum { COUNT = 16, LANES = 4 };

/* 8 samples a step, so 2 a lane. */
static const struct batching batching = {.sample_count = 80, .batch = 8, .lane_count = LANES};
static const struct lane_node all = {0, LANES};
static float weights[COUNT];

struct bench {
    struct settings settings;
    struct layout *layout;
    struct residual *residual;
    float rate;
};

static void open_bench(struct bench *bench, enum optimizer_kind kind)
{
    struct tensor_spec tensor = {.name = "w", .dims = 2, .shape = {1, COUNT}, .has_decay = true};
    struct tensor_spec bias = {.name = "b", .dims = 1, .shape = {COUNT}};
    struct tensor_spec tensors[2] = {tensor, bias};
    bench->rate = 1.0f;
    bench->settings.optimizer.kind = kind;
    bench->settings.optimizer.momentum = 0.5;
    if (bench->settings.exchange.topk_fraction == 0.0)
        bench->settings.exchange.topk_fraction = 1.0 / COUNT;
    CU_ASSERT_EQUAL_FATAL(layout_create(tensors, 2, 4096, &bench->layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(residual_create(&bench->settings, bench->layout, &bench->residual), 0);
}

static void close_bench(struct bench *bench)
{
    residual_destroy(bench->residual);
    layout_destroy(bench->layout);
}

/* One step whose sum of gradients over all samples is sum[]; what is sent, as a whole vector. */
static void step_of(struct bench *bench, uint64_t step, struct lane_node node, const float *sum,
                    float sent_out[COUNT])
{
    struct residual_part part = {0, step, node, bench->rate, sum, weights};
    unsigned char bytes[COUNT * sizeof(float)];
    size_t keep = residual_keep(bench->residual, 0, step);
    enum codec_kind codec = keep == COUNT ? CODEC_F32 : CODEC_SPARSE;
    residual_add(bench->residual, &batching, &part);
    residual_take(bench->residual, &part, bytes);
    memset(sent_out, 0, COUNT * sizeof(float));
    CU_ASSERT_EQUAL(codec_decode(codec, bytes, codec_bytes(codec, keep), sent_out, COUNT), 0);
}

static void test_residual_sends_the_largest_and_keeps_the_rest_for_later(void)
{
    struct bench bench = {0};
    float sum[COUNT] = {[2] = 8.0f, [3] = -40.0f}, none[COUNT] = {0}, sent[COUNT];
    open_bench(&bench, OPTIMIZER_SGD);
    step_of(&bench, 0, all, sum, sent);
    CU_ASSERT_EQUAL(sent[3], -5.0f);
    CU_ASSERT_EQUAL(sent[2], 0.0f);
    step_of(&bench, 1, all, none, sent);
    CU_ASSERT_EQUAL(sent[2], 1.0f);
    CU_ASSERT_EQUAL(sent[3], 0.0f);
    close_bench(&bench);
}

static void test_residual_keeps_what_it_has_at_its_own_rate(void)
{
    struct bench bench = {0};
    float sum[COUNT] = {[2] = 8.0f, [3] = -40.0f}, none[COUNT] = {0}, sent[COUNT];
    open_bench(&bench, OPTIMIZER_SGD);
    bench.rate = 0.5f;
    step_of(&bench, 0, all, sum, sent);
    CU_ASSERT_EQUAL(sent[3], -2.5f);
    bench.rate = 0.0f;
    step_of(&bench, 1, all, none, sent);
    CU_ASSERT_EQUAL(sent[2], 0.5f);
    close_bench(&bench);
}

static void test_residual_with_all_sent_is_the_gradient_scaled(void)
{
    struct bench bench = {.settings.exchange.topk_fraction = 1.0};
    float sum[COUNT], sent[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        sum[i] = (float)i - 7.5f;
    open_bench(&bench, OPTIMIZER_SGD);
    CU_ASSERT_EQUAL(residual_keep(bench.residual, 0, 0), COUNT);
    for (uint64_t step = 0; step < 3; step++) {
        step_of(&bench, step, all, sum, sent);
        for (size_t i = 0; i < COUNT; i++)
            CU_ASSERT_EQUAL(sent[i], sum[i] / 8.0f);
    }
    close_bench(&bench);
}

/* Lin et al., algorithm 1 with momentum correction, element by element: the larger is sent, the
 * other collects until it is. */
static void check_momentum(enum optimizer_kind kind)
{
    struct bench bench = {0};
    float u[2] = {0, 0}, v[2] = {0, 0}, sent[COUNT];
    float sum[COUNT] = {8.0f, 3.0f};
    open_bench(&bench, kind);
    for (uint64_t step = 0; step < 6; step++) {
        for (size_t i = 0; i < 2; i++) {
            float g = sum[i] / 8.0f;
            u[i] = 0.5f * u[i] + g;
            v[i] += kind == OPTIMIZER_NESTEROV ? g + 0.5f * u[i] : u[i];
        }
        size_t largest = v[1] > v[0];
        step_of(&bench, step, all, sum, sent);
        CU_ASSERT_DOUBLE_EQUAL(sent[largest], v[largest], 1e-6);
        CU_ASSERT_EQUAL(sent[1 - largest], 0.0f);
        v[largest] = 0.0f;
    }
    close_bench(&bench);
}

static void test_residual_corrects_momentum_as_the_paper_has_it(void)
{
    check_momentum(OPTIMIZER_MOMENTUM);
    check_momentum(OPTIMIZER_NESTEROV);
}

/* The second of a step moves no velocity on; it has what the first has left. */
static void test_residual_of_two_nodes_is_that_of_their_sum(void)
{
    static const enum optimizer_kind kinds[] = {OPTIMIZER_MOMENTUM, OPTIMIZER_NESTEROV};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct bench one = {0}, two = {0};
        /* What is sent first is of element 0, of which the second node has nothing. */
        float first[COUNT] = {80.0f, 8.0f, 4.0f}, second[COUNT] = {0, 0, 24.0f}, both[COUNT];
        float none[COUNT] = {0}, sent[COUNT], of_one, of_two;
        for (size_t i = 0; i < COUNT; i++)
            both[i] = first[i] + second[i];
        open_bench(&one, kinds[k]);
        open_bench(&two, kinds[k]);
        step_of(&one, 0, all, both, sent);
        step_of(&one, 0, all, none, sent); /* as many pushes */
        of_one = sent[2];
        step_of(&two, 0, (struct lane_node){0, 2}, first, sent);
        CU_ASSERT_EQUAL(sent[2], 0.0f);
        step_of(&two, 0, (struct lane_node){2, 3}, second, sent);
        of_two = sent[2];
        CU_ASSERT(of_one > 0.0f);
        CU_ASSERT_EQUAL(of_one, of_two);
        step_of(&one, 1, all, none, sent);
        of_one = sent[1];
        step_of(&two, 1, all, none, sent);
        CU_ASSERT_EQUAL(of_one, sent[1]);
        close_bench(&one);
        close_bench(&two);
    }
}

static void test_residual_takes_its_share_of_decay(void)
{
    struct bench bench = {.settings.optimizer = {.weight_decay = 0.5, .l1 = 0.25}};
    float none[COUNT] = {0}, sent[COUNT];
    open_bench(&bench, OPTIMIZER_SGD);
    weights[6] = -4.0f;
    step_of(&bench, 0, (struct lane_node){2, 4}, none, sent); /* half of the samples */
    CU_ASSERT_EQUAL(sent[6], 0.5f * (0.5f * -4.0f - 0.25f));
    weights[6] = 0.0f;
    close_bench(&bench);
}

static void test_residual_warms_up_from_all_to_the_share(void)
{
    struct bench bench = {.settings.exchange = {.topk_fraction = 0.0625, .topk_warmup_steps = 4}};
    static const size_t keeps[] = {COUNT, COUNT, 4, 2, 1, 1};
    open_bench(&bench, OPTIMIZER_SGD);
    for (uint64_t step = 0; step < ARRAY_LEN(keeps); step++)
        CU_ASSERT_EQUAL(residual_keep(bench.residual, 0, step), keeps[step]);
    close_bench(&bench);
}

static void test_residual_sends_a_bias_whole_and_keeps_its_velocity(void)
{
    struct bench bench = {0};
    float sum[COUNT] = {8.0f, 16.0f}, none[COUNT] = {0}, sent[COUNT];
    open_bench(&bench, OPTIMIZER_MOMENTUM);
    CU_ASSERT_EQUAL(residual_keep(bench.residual, 1, 9), COUNT);
    for (uint64_t step = 0; step < 3; step++) {
        struct residual_part part = {1, step, all, 1.0f, step == 0 ? sum : none, weights};
        residual_add(bench.residual, &batching, &part);
        residual_take(bench.residual, &part, sent);
        CU_ASSERT_EQUAL(sent[0], ldexpf(1.0f, -(int)step));
        CU_ASSERT_EQUAL(sent[1], ldexpf(2.0f, -(int)step));
    }
    close_bench(&bench);
}

static void test_residual_forgets(void)
{
    struct bench bench = {0};
    float sum[COUNT] = {[2] = 8.0f, [3] = -40.0f}, none[COUNT] = {0}, sent[COUNT];
    open_bench(&bench, OPTIMIZER_MOMENTUM);
    step_of(&bench, 0, all, sum, sent);
    residual_clear(bench.residual);
    step_of(&bench, 0, all, none, sent);
    for (size_t i = 0; i < COUNT; i++)
        CU_ASSERT_EQUAL(sent[i], 0.0f);
    close_bench(&bench);
}

UNIT_MAIN("residual", TESTS)
