/* A shard whose job rounds what it sends, or sends what changes alone. */
#include <math.h>
#include "common/codec.h"
#include "tests/unit/shard_bench.h"

#define TESTS(X) \
    X(test_shard_codec_rounds_a_sum_alike_whoever_adds_it) \
    X(test_shard_codec_sends_what_the_job_ends_with_whole) \
    X(test_shard_codec_rounds_a_version_alike_whenever_it_is_sent) \
    X(test_shard_codec_refuses_what_is_of_another) \
    X(test_shard_codec_notices_what_is_no_number) \
    X(test_shard_codec_feeds_its_backup_encoded) \
    X(test_shard_codec_sparse_sends_changes_to_whom_they_are_enough) \
    X(test_shard_codec_sparse_sends_all_when_much_has_changed) \
    X(test_shard_codec_backup_refuses_an_index_past_the_end) \
    X(test_shard_codec_sparse_refuses_an_index_past_the_end)

static const struct lane_node all = {0, 4}, half_a = {0, 2}, half_b = {2, 4};

static void open_codec_bench(struct bench *bench, enum codec_kind codec)
{
    bench->settings.exchange.codec = codec;
    bench->settings.job.seed = 5;
    open_bench(bench);
    send_view(bench, 0);
}

/* What a worker pushes of a node whose sum is these values before it is rounded. */
static void push_rounded(struct bench *bench, uint32_t idx, struct address from, uint64_t step,
                         struct lane_node node, const float values[ELEMENTS])
{
    enum codec_kind codec = bench->settings.exchange.codec;
    struct codec_grid grid = codec_grid_of(codec, bench->settings.job.seed, bench->layout, 0);
    struct message msg = message_of(bench, MSG_PUSH);
    float rounded[ELEMENTS];
    memcpy(rounded, values, sizeof(rounded));
    grid.step = step;
    codec_round_node(&grid, node, rounded, ELEMENTS);
    msg.key = (struct block_key){step, 0, node.begin, node.end, codec};
    msg.payload = buffer_pool_take(bench->pool, codec_bytes(codec, ELEMENTS));
    codec_encode(codec, rounded, ELEMENTS, msg.payload->data);
    hear_at(bench, idx, from, &msg);
    buffer_unref(msg.payload);
}

static void push_pairs(struct bench *bench, struct address from, uint64_t step,
                       struct lane_node node, uint32_t idx, float value)
{
    struct message msg = message_of(bench, MSG_PUSH);
    msg.key = (struct block_key){step, 0, node.begin, node.end, CODEC_SPARSE};
    msg.payload = buffer_pool_take(bench->pool, CODEC_PAIR_BYTES);
    memcpy(msg.payload->data, &idx, sizeof(idx));
    memcpy((char *)msg.payload->data + sizeof(idx), &value, sizeof(value));
    hear(bench, from, &msg);
    buffer_unref(msg.payload);
}

static void decode(const struct message *weights, float out[ELEMENTS])
{
    CU_ASSERT_FATAL(codec_fits(weights->key.codec, weights->payload->size_bytes, ELEMENTS));
    CU_ASSERT_EQUAL(codec_decode(weights->key.codec, weights->payload->data,
                                 weights->payload->size_bytes, out, ELEMENTS),
                    0);
}

static const float left[ELEMENTS] = {0.11f, -0.7f, 3.3f, 1e-3f, 0.0f, 9.87f, -5.4f, 0.123f};
static const float right[ELEMENTS] = {2.22f, 0.3f, -3.1f, 5e-3f, 1.0f, -0.77f, 5.5f, 0.456f};

/* The bits of version 10, which the job ends with, of one step that is made of two halves or of
 * their sum. */
static void check_alike(enum codec_kind codec)
{
    float ends[2][ELEMENTS];
    for (int is_whole = 0; is_whole < 2; is_whole++) {
        struct bench bench = {0};
        open_codec_bench(&bench, codec);
        bench.view.number++;
        bench.view.era++;
        bench.view.step_count = 1;
        send_view(&bench, 0);
        if (is_whole) {
            struct codec_grid grid = codec_grid_of(codec, 5, bench.layout, 0);
            float a[ELEMENTS], b[ELEMENTS];
            memcpy(a, left, sizeof(a));
            memcpy(b, right, sizeof(b));
            codec_round_node(&grid, half_a, a, ELEMENTS);
            codec_round_node(&grid, half_b, b, ELEMENTS);
            for (size_t i = 0; i < ELEMENTS; i++)
                a[i] += b[i];
            push_rounded(&bench, 0, first, 0, all, a);
        } else {
            push_rounded(&bench, 0, second, 0, half_b, right);
            push_rounded(&bench, 0, first, 0, half_a, left);
        }
        decode(only(&bench, first, MSG_WEIGHTS), ends[is_whole]);
        close_bench(&bench);
    }
    CU_ASSERT(memcmp(ends[0], ends[1], sizeof(ends[0])) == 0);
}

static void test_shard_codec_rounds_a_sum_alike_whoever_adds_it(void)
{
    check_alike(CODEC_BF16);
    check_alike(CODEC_INT8);
}

static void test_shard_codec_sends_what_the_job_ends_with_whole(void)
{
    static const enum codec_kind codecs[] = {CODEC_BF16, CODEC_INT8};
    for (size_t k = 0; k < ARRAY_LEN(codecs); k++) {
        struct bench bench = {0};
        open_codec_bench(&bench, codecs[k]);
        for (uint64_t step = 0; step < 10; step++) {
            push_rounded(&bench, 0, first, step, all, left);
            const struct message *weights = only(&bench, first, MSG_WEIGHTS);
            CU_ASSERT_EQUAL(weights->key.step, step + 1);
            CU_ASSERT_EQUAL(weights->key.codec, step + 1 < 10 ? codecs[k] : CODEC_F32);
        }
        close_bench(&bench);
    }
}

static void test_shard_codec_rounds_a_version_alike_whenever_it_is_sent(void)
{
    struct bench bench = {0};
    float once[ELEMENTS], again[ELEMENTS], old[ELEMENTS];
    open_codec_bench(&bench, CODEC_INT8);
    push_rounded(&bench, 0, first, 0, all, left);
    decode(only(&bench, first, MSG_WEIGHTS), once);
    pull(&bench, second, 1);
    decode(only(&bench, second, MSG_WEIGHTS), again);
    CU_ASSERT(memcmp(once, again, sizeof(once)) == 0);
    push_rounded(&bench, 0, first, 1, all, left);
    struct message msg = message_of(&bench, MSG_PULL_OLD);
    msg.key.step = 1;
    hear(&bench, second, &msg);
    decode(only(&bench, second, MSG_WEIGHTS), old);
    CU_ASSERT(memcmp(once, old, sizeof(once)) == 0);
    close_bench(&bench);
}

static void test_shard_codec_refuses_what_is_of_another(void)
{
    struct bench bench = {0};
    open_codec_bench(&bench, CODEC_BF16);
    push(&bench, first, 0, all, 1.0f);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_REFUSED)->outcome.code, ERR_PROTO);
    push_pairs(&bench, first, 0, all, 0, 1.0f);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_REFUSED), 1);
    bench.settings.exchange.codec = CODEC_INT8; /* the shard's settings are these: by size now */
    struct message msg = message_of(&bench, MSG_PUSH);
    msg.key = (struct block_key){0, 0, 0, 4, CODEC_INT8};
    msg.payload = buffer_pool_take(bench.pool, codec_bytes(CODEC_INT8, ELEMENTS) + 4);
    hear(&bench, first, &msg);
    CU_ASSERT_EQUAL(count_of(&bench, MSG_REFUSED), 1);
    buffer_unref(msg.payload);
    close_bench(&bench);
}

static void test_shard_codec_notices_what_is_no_number(void)
{
    static const enum codec_kind codecs[] = {CODEC_BF16, CODEC_INT8};
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct bench bench = {0};
        float broken[ELEMENTS] = {1, 2, NAN, 4, 5, 6, 7, 8};
        open_codec_bench(&bench, codecs[i]);
        push_rounded(&bench, 0, first, 0, all, broken);
        CU_ASSERT_EQUAL(only(&bench, coordinator, MSG_ALARM)->outcome.code, ERR_INPUT);
        close_bench(&bench);
    }
}

static void test_shard_codec_feeds_its_backup_encoded(void)
{
    static const enum codec_kind codecs[] = {CODEC_BF16, CODEC_INT8};
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct bench bench = {.settings.exchange.codec = codecs[i]};
        float at_primary[ELEMENTS], at_backup[ELEMENTS];
        open_bench(&bench);
        bench.backup[0] = 1;
        send_view(&bench, 0);
        send_view(&bench, 1);
        push_rounded(&bench, 0, second, 0, half_b, right);
        push_rounded(&bench, 0, first, 0, half_a, left);
        struct message update = *only(&bench, shard_at(1), MSG_UPDATE);
        CU_ASSERT_EQUAL(update.key.codec, codecs[i]);
        buffer_ref(update.payload);
        hear_at(&bench, 1, shard_at(0), &update);
        buffer_unref(update.payload);
        struct message updated = *only(&bench, shard_at(0), MSG_UPDATED);
        CU_ASSERT_EQUAL(updated.key.step, 1);
        hear_at(&bench, 0, shard_at(1), &updated);
        decode(only(&bench, first, MSG_WEIGHTS), at_primary);
        bench.primary[0] = 1;
        bench.backup[0] = NOBODY;
        next_view(&bench);
        send_view(&bench, 1);
        struct message ask = message_of(&bench, MSG_PULL);
        ask.key.step = 1;
        hear_at(&bench, 1, first, &ask);
        decode(only(&bench, first, MSG_WEIGHTS), at_backup);
        CU_ASSERT(memcmp(at_primary, at_backup, sizeof(at_backup)) == 0);
        close_bench(&bench);
    }
}

/* A copy that is sent what it cannot read stays as it is, and does not confirm. */
static void test_shard_codec_backup_refuses_an_index_past_the_end(void)
{
    struct bench bench = {.settings.exchange.codec = CODEC_SPARSE};
    struct message update;
    open_bench(&bench);
    bench.backup[0] = 1;
    send_view(&bench, 1);
    for (uint32_t idx = ELEMENTS; idx >= ELEMENTS - 1; idx--) {
        float value = 1.0f;
        update = message_of(&bench, MSG_UPDATE);
        update.key = (struct block_key){0, 0, 0, 4, CODEC_SPARSE};
        update.payload = buffer_pool_take(bench.pool, CODEC_PAIR_BYTES);
        memcpy(update.payload->data, &idx, sizeof(idx));
        memcpy((char *)update.payload->data + sizeof(idx), &value, sizeof(value));
        hear_at(&bench, 1, shard_at(0), &update);
        buffer_unref(update.payload);
        CU_ASSERT_EQUAL(count_of(&bench, MSG_REFUSED), idx == ELEMENTS);
        CU_ASSERT_EQUAL(count_of(&bench, MSG_UPDATED), idx != ELEMENTS);
    }
    CU_ASSERT_EQUAL(only(&bench, shard_at(0), MSG_UPDATED)->key.step, 1);
    close_bench(&bench);
}

/* A sum is what workers have scaled: rate 1 takes it off as it is. */
static void test_shard_codec_sparse_sends_changes_to_whom_they_are_enough(void)
{
    struct bench bench = {0};
    float whole[ELEMENTS], onto[ELEMENTS], start[ELEMENTS];
    open_codec_bench(&bench, CODEC_SPARSE);
    pull(&bench, second, 0);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.codec, CODEC_F32);
    decode(only(&bench, second, MSG_WEIGHTS), start);
    push_pairs(&bench, second, 0, half_b, 5, 2.0f);
    push_pairs(&bench, first, 0, half_a, 3, 1.0f);
    const struct message *change = only(&bench, first, MSG_WEIGHTS);
    CU_ASSERT_EQUAL(change->key.codec, CODEC_SPARSE);
    CU_ASSERT_EQUAL(change->payload->size_bytes, 2 * CODEC_PAIR_BYTES);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.codec, CODEC_SPARSE);
    memcpy(onto, start, sizeof(onto));
    decode(change, onto);
    CU_ASSERT_EQUAL(onto[3], start[3] - 1.0f);
    CU_ASSERT_EQUAL(onto[5], start[5] - 2.0f);
    pull(&bench, second, 1);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.codec, CODEC_F32);
    decode(only(&bench, second, MSG_WEIGHTS), whole);
    CU_ASSERT(memcmp(whole, onto, sizeof(whole)) == 0);
    struct message ask = message_of(&bench, MSG_PULL);
    ask.key = (struct block_key){.step = 1, .codec = CODEC_SPARSE};
    hear(&bench, second, &ask);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.codec, CODEC_SPARSE);
    ask.key.step = 2; /* asked for without the version before, then pushed for: whole */
    ask.key.codec = CODEC_F32;
    hear(&bench, second, &ask);
    push_pairs(&bench, second, 1, all, 0, 1.0f);
    CU_ASSERT_EQUAL(only(&bench, second, MSG_WEIGHTS)->key.codec, CODEC_F32);
    close_bench(&bench);
}

static void test_shard_codec_sparse_sends_all_when_much_has_changed(void)
{
    struct bench bench = {0};
    open_codec_bench(&bench, CODEC_SPARSE);
    push(&bench, first, 0, all, 1.0f); /* as in a warm-up: every element, without indices */
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.codec, CODEC_F32);
    close_bench(&bench);
}

static void test_shard_codec_sparse_refuses_an_index_past_the_end(void)
{
    struct bench bench = {0};
    open_codec_bench(&bench, CODEC_SPARSE);
    push_pairs(&bench, first, 0, all, ELEMENTS, 1.0f);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_REFUSED)->outcome.code, ERR_PROTO);
    push_pairs(&bench, first, 0, all, ELEMENTS - 1, 1.0f);
    CU_ASSERT_EQUAL(only(&bench, first, MSG_WEIGHTS)->key.step, 1);
    close_bench(&bench);
}

UNIT_MAIN("shard_codec", TESTS)
