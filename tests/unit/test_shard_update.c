#include <math.h>
#include "tests/unit/shard_bench.h"

/* Blocks that no optimizer changes (UPDATE_AVERAGE, UPDATE_FROZEN), tensors with a rate of their
 * own, and the moving average of weights. */

static const struct lane_node low = {0, 2}, high = {2, 4}, all = {0, 4};

static void open_all(struct bench *bench)
{
    open_bench(bench);
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(bench, i);
}

static float last_weight(const struct bench *bench, struct address to)
{
    return weight_of(only(bench, to, MSG_WEIGHTS));
}

static bool is_near(float a, double b)
{
    return fabs((double)a - b) < 1e-6 * (1 + fabs(b));
}

/* The node of a frozen block, which has no payload. */
static void pass_node(struct bench *bench, uint32_t idx, struct address from, uint64_t step,
                      struct lane_node lanes)
{
    struct message msg = message_of(bench, MSG_PASS);
    msg.key = (struct block_key){step, 0, lanes.begin, lanes.end, CODEC_F32};
    hear_at(bench, idx, from, &msg);
}

static void test_shard_average_takes_in_the_mean(void)
{
    struct bench bench = {.update = UPDATE_AVERAGE, .rate_scale = 0.25f};
    bench.settings.optimizer.kind = OPTIMIZER_ADAM;
    bench.settings.optimizer.weight_decay = 1.0;
    open_all(&bench);
    push(&bench, first, 0, low, 4.0f);
    push(&bench, second, 0, high, 8.0f);
    CU_ASSERT_EQUAL(last_weight(&bench, first), 0.75f); /* 0.25 * (4 + 8) / 4 samples */
    push(&bench, first, 1, all, 4.0f);
    CU_ASSERT_EQUAL(last_weight(&bench, first), 0.8125f); /* 0.75 * 0.75 + 0.25 */
    close_bench(&bench);
}

static void test_shard_average_stays_in_a_step_that_is_left_out(void)
{
    struct bench bench = {.update = UPDATE_AVERAGE, .rate_scale = 0.5f};
    bench.settings.job.on_nonfinite = NONFINITE_SKIP;
    open_all(&bench);
    push(&bench, first, 0, all, 4.0f);
    struct message msg = message_of(&bench, MSG_VOID);
    msg.key = (struct block_key){1, 0, 0, 1, CODEC_F32};
    hear(&bench, first, &msg);
    CU_ASSERT_EQUAL(last_weight(&bench, first), 0.5f);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 2);
    close_bench(&bench);
}

/* Whatever the codec, and though topk's servers take off what workers have made of the gradient. */
static void test_shard_average_goes_as_it_is_with_every_codec(void)
{
    for (int codec = CODEC_F32; codec < CODEC_COUNT; codec++) {
        struct bench bench = {.update = UPDATE_AVERAGE, .rate_scale = 0.25f};
        bench.settings.exchange.codec = (enum codec_kind)codec;
        open_all(&bench);
        push(&bench, first, 0, low, 0.1f);
        push(&bench, second, 0, high, 0.7f);
        const struct message *answer = only(&bench, first, MSG_WEIGHTS);
        CU_ASSERT_EQUAL(answer->key.codec, CODEC_F32);
        CU_ASSERT_EQUAL(weight_of(answer), 0.0625f * (0.1f + 0.7f));
        close_bench(&bench);
    }
}

/* A lane's sum is of its part of the step's samples: four of them move it as one step does. */
static void test_shard_average_moves_by_lanes_with_clocks(void)
{
    struct bench bench = {.update = UPDATE_AVERAGE, .rate_scale = 0.5f};
    bench.settings.exchange.consistency = CONSISTENCY_ASYNC;
    open_all(&bench);
    double expected = 0;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        push(&bench, first, 0, (struct lane_node){lane, lane + 1}, 8.0f);
        expected += 0.5 * 0.25 * (8.0 - expected);
    }
    CU_ASSERT(is_near(last_weight(&bench, first), expected));
    close_bench(&bench);
}

/* Workers have moved it: their differences' mean is taken as it is. */
static void test_shard_average_takes_plain_means_of_rounds(void)
{
    struct bench bench = {.update = UPDATE_AVERAGE, .rate_scale = 0.5f};
    bench.settings.exchange.consistency = CONSISTENCY_LOCAL;
    bench.settings.exchange.local_steps = 1;
    bench.settings.exchange.outer_rate = 0.7;
    bench.settings.exchange.outer_momentum = 0.9;
    open_all(&bench);
    for (uint64_t step = 0; step < 3; step++)
        push(&bench, first, step, all, -4.0f);
    CU_ASSERT_EQUAL(last_weight(&bench, first), 3.0f);
    close_bench(&bench);
}

static void test_shard_average_is_the_same_at_the_backup(void)
{
    struct bench bench = {.update = UPDATE_AVERAGE, .rate_scale = 0.25f};
    open_bench(&bench);
    bench.backup[0] = 1;
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(&bench, i);
    push(&bench, first, 0, low, 4.0f);
    push(&bench, second, 0, high, 8.0f);
    give(&bench, 1, take(&bench, 1, MSG_UPDATE), 1);
    give(&bench, 0, take(&bench, 0, MSG_UPDATED), 1);
    CU_ASSERT_EQUAL(last_weight(&bench, first), 0.75f);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.backup[0] = NOBODY;
    send_view(&bench, 1);
    struct message pull = message_of(&bench, MSG_PULL);
    pull.key.step = 1;
    hear_at(&bench, 1, first, &pull);
    CU_ASSERT_EQUAL(last_weight(&bench, first), 0.75f);
    close_bench(&bench);
}

static void test_shard_rate_scale_is_of_the_learning_rate(void)
{
    struct bench bench = {.rate_scale = 0.25f};
    open_all(&bench);
    push(&bench, first, 0, all, 4.0f);
    CU_ASSERT_EQUAL(last_weight(&bench, first), -0.25f);
    close_bench(&bench);
    bench = (struct bench){.rate_scale = 0.25f}; /* rounds: the workers' steps had it */
    bench.settings.exchange.consistency = CONSISTENCY_LOCAL;
    bench.settings.exchange.local_steps = 1;
    bench.settings.exchange.outer_rate = 1.0;
    open_all(&bench);
    push(&bench, first, 0, all, 4.0f);
    CU_ASSERT_EQUAL(last_weight(&bench, first), -1.0f);
    close_bench(&bench);
}

static void test_shard_frozen_goes_on_without_a_payload(void)
{
    struct bench bench = {.update = UPDATE_FROZEN};
    open_all(&bench);
    pass_node(&bench, 0, first, 0, low);
    CU_ASSERT_EQUAL(bench.out.count, 0); /* not all lanes are there */
    pass_node(&bench, 0, first, 0, low);
    pass_node(&bench, 0, second, 0, high);
    CU_ASSERT_EQUAL(bench.out.count, 2);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_SAME)->key.step, 1);
    CU_ASSERT_PTR_NULL(only(&bench, second, MSG_SAME)->payload);
    pass_node(&bench, 0, second, 0, high); /* again: it is answered again */
    CU_ASSERT_EQUAL(only(&bench, second, MSG_SAME)->key.step, 1);
    pull(&bench, first, 1); /* who has nothing of it gets it */
    CU_ASSERT_EQUAL(last_weight(&bench, first), 0.0f);
    struct message again = message_of(&bench, MSG_PULL);
    again.key = (struct block_key){.step = 1, .codec = CODEC_SPARSE};
    hear(&bench, first, &again); /* who has it does not */
    only(&bench, first, MSG_SAME);
    close_bench(&bench);
}

static void test_shard_frozen_and_others_are_told_apart(void)
{
    struct bench bench = {.update = UPDATE_FROZEN};
    open_all(&bench);
    push(&bench, first, 0, all, 4.0f);
    only(&bench, first, MSG_REFUSED);
    close_bench(&bench);
    bench = (struct bench){0};
    open_all(&bench);
    pass_node(&bench, 0, first, 0, all);
    only(&bench, first, MSG_REFUSED);
    close_bench(&bench);
}

/* Everybody is past a step, and one worker alone still needs it: that is the same weights. */
static void test_shard_frozen_has_every_version(void)
{
    struct bench bench = {.update = UPDATE_FROZEN};
    open_all(&bench);
    pass_node(&bench, 0, first, 0, low);
    pass_node(&bench, 0, second, 0, high);
    struct message old = message_of(&bench, MSG_PULL_OLD);
    hear(&bench, second, &old);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.step, 0);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_ALARM), 0);
    close_bench(&bench);
}

static void test_shard_frozen_is_replicated_without_a_payload(void)
{
    struct bench bench = {.update = UPDATE_FROZEN};
    open_bench(&bench);
    bench.backup[0] = 1;
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(&bench, i);
    pass_node(&bench, 0, first, 0, all);
    CU_ASSERT_EQUAL(bench.out.count, 1);
    struct message update = take(&bench, 1, MSG_UPDATE_VOID);
    CU_ASSERT_PTR_NULL(update.payload);
    give(&bench, 1, update, 1);
    give(&bench, 0, take(&bench, 0, MSG_UPDATED), 1);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_SAME)->key.step, 1);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.backup[0] = NOBODY;
    send_view(&bench, 1);
    pass_node(&bench, 1, first, 1, all);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_SAME)->key.step, 2);
    close_bench(&bench);
}

static void test_shard_frozen_counts_lanes_with_clocks(void)
{
    struct bench bench = {.update = UPDATE_FROZEN};
    bench.settings.exchange.consistency = CONSISTENCY_SSP;
    bench.settings.checkpoint.every = 1;
    open_all(&bench);
    for (uint32_t lane = 0; lane < LANES; lane++)
        pass_node(&bench, 0, lane < 2 ? first : second, 0, (struct lane_node){lane, lane + 1});
    CU_ASSERT_EQUAL(only(&bench, second, MSG_SAME)->key.step, 1);
    CU_ASSERT_EQUAL(only(&bench, store, MSG_BLOCK_STATE)->key.step, 1);
    close_bench(&bench);
}

/* w after steps of mean gradient 1 and rate 1: -1, -2, ...; d = 2/11 at first, then 3/12. */
static void test_shard_keeps_the_average_of_weights(void)
{
    struct bench bench = {0};
    bench.settings.optimizer.average = 0.999;
    bench.settings.optimizer.kind = OPTIMIZER_MOMENTUM; /* its state comes before the average */
    bench.settings.optimizer.momentum = 0.0;
    bench.settings.checkpoint.every = 2;
    open_all(&bench);
    push(&bench, first, 0, all, 4.0f);
    push(&bench, first, 1, all, 4.0f);
    const struct message *state = only(&bench, store, MSG_BLOCK_STATE);
    double average = 9.0 / 11.0 * -1.0;
    average += 9.0 / 12.0 * (-2.0 - average);
    CU_ASSERT_EQUAL_FATAL(state->payload->size_bytes, 3 * ELEMENTS * sizeof(float));
    const float *parts = state->payload->data;
    CU_ASSERT_EQUAL(parts[0], -2.0f);
    CU_ASSERT_EQUAL(parts[ELEMENTS], 1.0f);
    CU_ASSERT(is_near(parts[2 * ELEMENTS], average));
    CU_ASSERT(is_near(parts[3 * ELEMENTS - 1], average));
    close_bench(&bench);
}

static void test_shard_average_of_weights_is_the_backups_too(void)
{
    struct bench bench = {0};
    bench.settings.optimizer.average = 0.5;
    open_bench(&bench);
    bench.backup[0] = 1;
    for (uint32_t i = 0; i < SHARDS; i++)
        send_view(&bench, i);
    push(&bench, first, 0, all, 4.0f);
    give(&bench, 1, take(&bench, 1, MSG_UPDATE), 1);
    give(&bench, 0, take(&bench, 0, MSG_UPDATED), 1);
    next_view(&bench);
    bench.primary[0] = 1;
    bench.backup[0] = NOBODY;
    bench.settings.checkpoint.every = 2;
    send_view(&bench, 1);
    push_at(&bench, 1, first, (struct block_key){1, 0, 0, LANES, CODEC_F32}, 4.0f);
    const float *parts = only(&bench, store, MSG_BLOCK_STATE)->payload->data;
    double average = 9.0 / 11.0 * -1.0;
    average += 9.0 / 12.0 * (-2.0 - average);
    CU_ASSERT(is_near(parts[ELEMENTS], average));
    close_bench(&bench);
}

#define TESTS(X)                                                  \
    X(test_shard_average_takes_in_the_mean)                       \
    X(test_shard_average_stays_in_a_step_that_is_left_out)        \
    X(test_shard_average_goes_as_it_is_with_every_codec)          \
    X(test_shard_average_moves_by_lanes_with_clocks)              \
    X(test_shard_average_takes_plain_means_of_rounds)             \
    X(test_shard_average_is_the_same_at_the_backup)               \
    X(test_shard_rate_scale_is_of_the_learning_rate)              \
    X(test_shard_frozen_goes_on_without_a_payload)                \
    X(test_shard_frozen_and_others_are_told_apart)                \
    X(test_shard_frozen_has_every_version)                        \
    X(test_shard_frozen_is_replicated_without_a_payload)          \
    X(test_shard_frozen_counts_lanes_with_clocks)                 \
    X(test_shard_keeps_the_average_of_weights)                    \
    X(test_shard_average_of_weights_is_the_backups_too)

UNIT_MAIN("shard_update", TESTS)
