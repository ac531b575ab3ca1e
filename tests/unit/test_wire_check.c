#include "proto/wire_check.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "tests/unit/unit.h"

static const char hex[HEX_BYTES] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static bool passes(const struct message *msg)
{
    struct err_msg why = {0};
    int err = wire_check(msg, &why);
    CU_ASSERT(err == 0 || err == ERR_PROTO);
    CU_ASSERT((err == 0) == (why.text[0] == 0));
    return err == 0;
}

/* A copy that has this value there is refused. */
#define REFUSES(good, field, value) \
    do {                            \
        struct message bad = good;  \
        CU_ASSERT(passes(&bad));    \
        bad.field = (value);        \
        CU_ASSERT(!passes(&bad));   \
    } while (0)

static void test_wire_check_refuses_a_view_that_contradicts_itself(void)
{
    struct shard_member shards[2] = {{.endpoint = "tcp://a:1"}, {.endpoint = "tcp://a:2"}};
    struct worker_member workers[3] = {{.rank = 0}, {.rank = 1}, {.rank = 2}};
    uint32_t block_shard[3] = {0, 1, 1}, lane_worker[4] = {0, 0, 1, 2};
    struct layout layout = {.block_count = 3};
    struct message msg = {.kind = MSG_VIEW};
    msg.view_body = (struct view){.number = 1, .era = 1, .start_step = 5, .step_count = 5,
                                  .shard_count = 2, .worker_count = 3, .block_count = 3,
                                  .lane_count = 4, .shards = shards, .workers = workers,
                                  .block_shard = block_shard, .lane_worker = lane_worker,
                                  .layout = &layout};
    REFUSES(msg, view_body.number, 0);
    REFUSES(msg, view_body.era, 0);
    REFUSES(msg, view_body.start_step, 6);
    REFUSES(msg, view_body.early_stop.hold_step, 6);
    REFUSES(msg, view_body.early_stop.best_step, 1);
    REFUSES(msg, view_body.early_stop.best_loss, NAN);
    REFUSES(msg, view_body.step_count, UINT64_MAX);
    REFUSES(msg, view_body.train_count, UINT64_MAX);
    REFUSES(msg, view_body.shard_count, 0);
    REFUSES(msg, view_body.shard_count, 1);
    REFUSES(msg, view_body.shard_count, SHARDS_MAX + 1);
    REFUSES(msg, view_body.worker_count, 0);
    REFUSES(msg, view_body.worker_count, 2);
    REFUSES(msg, view_body.worker_count, WORKERS_MAX + 1);
    REFUSES(msg, view_body.block_count, 0);
    REFUSES(msg, view_body.block_count, 2);
    REFUSES(msg, view_body.lane_count, 0);
    REFUSES(msg, view_body.lane_count, 3);
    REFUSES(msg, view_body.lane_count, 2 * LANES_MAX);
    REFUSES(msg, view_body.store_endpoint[0], '\n');
    shards[1].endpoint[2] = 27;
    CU_ASSERT(!passes(&msg));
    shards[1].endpoint[2] = 'p';
    workers[2].rank = WORKERS_MAX;
    CU_ASSERT(!passes(&msg));
    workers[2].rank = 0;
    msg.view_body.layout = NULL;
    CU_ASSERT(passes(&msg));
}

static void test_wire_check_lets_nobody_have_what_a_view_can_do_without(void)
{
    struct shard_member shards[3] = {{.rank = 0}, {.rank = 1}, {.rank = 2}};
    struct worker_member workers[2] = {{.rank = 0}, {.rank = 1}};
    uint32_t primary[2] = {0, 1}, backup[2] = {1, NOBODY}, learner[2] = {2, 2};
    uint32_t lane_worker[2] = {NOBODY, 1};
    struct message msg = {.kind = MSG_VIEW};
    msg.view_body = (struct view){.number = 1, .era = 1, .shard_count = 3, .worker_count = 2,
                                  .block_count = 2, .lane_count = 2, .shards = shards,
                                  .workers = workers, .block_shard = primary,
                                  .block_backup = backup, .block_learner = learner,
                                  .lane_worker = lane_worker};
    REFUSES(msg, view_body.worker_count, 1);
    REFUSES(msg, view_body.worker_count, 0);
    REFUSES(msg, view_body.block_backup, primary); /* one shard is both */
    REFUSES(msg, view_body.block_learner, primary);
    REFUSES(msg, view_body.block_backup, learner);
    REFUSES(msg, view_body.shard_count, 2); /* the learner is not there */
    uint32_t gone[2] = {0, NOBODY}, far[2] = {1, 3};
    REFUSES(msg, view_body.block_shard, gone);
    REFUSES(msg, view_body.block_backup, far);
    REFUSES(msg, view_body.block_learner, far);
    lane_worker[1] = NOBODY;
    msg.view_body.worker_count = 0;
    msg.view_body.block_learner = NULL;
    CU_ASSERT(passes(&msg));
    msg.view_body.block_backup = NULL;
    CU_ASSERT(passes(&msg));
}

static void test_wire_check_refuses_a_block_key_out_of_range(void)
{
    float floats[4] = {0};
    struct buffer payload = {.data = floats, .size_bytes = sizeof(floats)};
    struct message msg = {.kind = MSG_PUSH, .payload = &payload};
    msg.key = (struct block_key){.step = 7, .block = 9, .lane_begin = 8, .lane_end = 12};
    REFUSES(msg, key.block, WIRE_BLOCKS_MAX);
    REFUSES(msg, key.step, WIRE_COUNT_MAX + 1);
    REFUSES(msg, key.lane_end, 8);
    REFUSES(msg, key.lane_end, 0);
    REFUSES(msg, key.lane_end, 11);
    REFUSES(msg, key.lane_begin, 9);
    REFUSES(msg, key.lane_end, UINT32_MAX);
    REFUSES(msg, payload, NULL);
    msg.key = (struct block_key){.lane_end = LANES_MAX};
    REFUSES(msg, key.lane_end, 2 * LANES_MAX);
    msg.kind = MSG_WEIGHTS;
    msg.key.lane_end = 0;
    REFUSES(msg, key.lane_begin, 1);
    msg.kind = MSG_PULL;
    msg.payload = NULL;
    REFUSES(msg, payload, &payload);
}

static void test_wire_check_knows_which_kinds_are_of_a_node(void)
{
    float floats[4] = {0};
    struct buffer payload = {.data = floats, .size_bytes = sizeof(floats)};
    const enum message_kind of_node[] = {MSG_PUSH, MSG_VOID, MSG_UPDATE, MSG_UPDATE_VOID};
    const enum message_kind of_block[] = {MSG_PULL, MSG_WEIGHTS, MSG_UPDATED, MSG_REPLICA,
                                          MSG_FILLED};
    for (size_t i = 0; i < ARRAY_LEN(of_node) + ARRAY_LEN(of_block); i++) {
        bool is_of_node = i < ARRAY_LEN(of_node);
        struct message msg = {.kind = is_of_node ? of_node[i] : of_block[i - ARRAY_LEN(of_node)],
                              .key = {.step = 3, .lane_begin = 4, .lane_end = 8}};
        if (wire_kind_of(msg.kind)->payload == PAYLOAD_FLOATS)
            msg.payload = &payload;
        REFUSES(msg, key.lane_end, 7);
        REFUSES(msg, key.lane_end, 4);
        msg.key = (struct block_key){.step = 3};
        CU_ASSERT(passes(&msg) == !is_of_node);
    }
    struct message pull = {.kind = MSG_PULL, .key = {.codec = CODEC_SPARSE}};
    CU_ASSERT_EQUAL(wire_check(&pull, NULL), 0);
    pull.key.codec = CODEC_COUNT;
    CU_ASSERT_EQUAL(wire_check(&pull, NULL), ERR_PROTO);
    pull.key.codec = (enum codec_kind)UINT32_MAX;
    CU_ASSERT_EQUAL(wire_check(&pull, NULL), ERR_PROTO);
    struct message updated = {.kind = MSG_UPDATED, .key = {.codec = CODEC_BF16}};
    CU_ASSERT_EQUAL(wire_check(&updated, NULL), ERR_PROTO);
    struct message lack = {.kind = MSG_LACK, .key = {.lane_begin = 3, .lane_end = 8}};
    REFUSES(lack, key.lane_end, 3);
    REFUSES(lack, key.lane_end, 2);
    REFUSES(lack, key.lane_end, LANES_MAX + 1);
    REFUSES(lack, key.lane_begin, 8);
    REFUSES(lack, key.block, WIRE_BLOCKS_MAX);
    lack.key = (struct block_key){.step = 3};
    CU_ASSERT(!passes(&lack));
}

static void test_wire_check_refuses_a_hello_out_of_range(void)
{
    struct message msg = {.kind = MSG_HELLO};
    msg.hello = (struct hello){.rank = -1, .shard_idx = 1, .shard_count = 2, .host = "here"};
    memcpy(msg.hello.fingerprint, hex, sizeof(hex));
    REFUSES(msg, hello.rank, -2);
    REFUSES(msg, hello.rank, INT32_MIN);
    REFUSES(msg, hello.rank, WORKERS_MAX);
    REFUSES(msg, hello.shard_idx, 2);
    REFUSES(msg, hello.shard_count, 0);
    REFUSES(msg, hello.shard_count, SHARDS_MAX + 1);
    REFUSES(msg, hello.thread_count, 65537);
    REFUSES(msg, hello.train_count, UINT64_MAX);
    REFUSES(msg, hello.test_count, UINT64_MAX);
    REFUSES(msg, hello.host[1], '\r');
    REFUSES(msg, hello.kernels[0], 127);
    REFUSES(msg, hello.fingerprint[0], 'X');
    REFUSES(msg, hello.fingerprint[63], 0);
    memset(msg.hello.version, 'v', sizeof(msg.hello.version));
    CU_ASSERT(!passes(&msg));
}

static void test_wire_check_refuses_results_out_of_range(void)
{
    struct message msg = {.kind = MSG_LANE_DONE};
    msg.lane = (struct lane_result){
        .lane = 3, .sample_count = 2, .answer_count = 8, .correct_count = 8};
    REFUSES(msg, lane.lane, LANES_MAX);
    REFUSES(msg, lane.correct_count, 9);
    REFUSES(msg, lane.step, UINT64_MAX);
    REFUSES(msg, lane.compute_us, UINT64_MAX);
    msg.lane.loss_sum = NAN; /* training that diverges must be able to say so */
    CU_ASSERT(passes(&msg));
    msg = (struct message){.kind = MSG_BYE, .outcome = {.code = ERR_LOST}};
    REFUSES(msg, outcome.code, 1);
    REFUSES(msg, outcome.code, INT32_MIN);
    REFUSES(msg, outcome.newest, UINT64_MAX);
    memset(msg.outcome.text, 'x', sizeof(msg.outcome.text));
    CU_ASSERT(!passes(&msg));
    msg = (struct message){.kind = MSG_WEIGHTS_DIGEST};
    memcpy(msg.digest.hex, hex, sizeof(hex));
    REFUSES(msg, digest.hex[5], 0);
    REFUSES(msg, digest.hex[5], 'A');
    REFUSES(msg, digest.step, UINT64_MAX);
    msg = (struct message){.kind = MSG_WELCOME, .welcome = {WORKERS_MAX - 1}};
    REFUSES(msg, welcome.rank, WORKERS_MAX);
    msg = (struct message){.kind = MSG_BEAT};
    REFUSES(msg, beat.cpu_us, UINT64_MAX);
    REFUSES(msg, beat.exchange_us, UINT64_MAX);
    REFUSES(msg, beat.exposed_us, 1); /* more than all of it */
    REFUSES(msg, beat.compute_us, UINT64_MAX);
    REFUSES(msg, beat.data_us, 1); /* more than all of it */
    REFUSES(msg, beat.bytes_in, UINT64_MAX);
    REFUSES(msg, beat.sent_ms, UINT64_MAX);
    REFUSES(msg, beat.version_sum, UINT64_MAX);
    REFUSES(msg, beat.parked_bytes, UINT64_MAX);
    REFUSES(msg, beat.staleness_count[BEAT_STALENESS - 1], UINT64_MAX);
    REFUSES(msg, beat.lack_begin, 1);
    msg.beat.lack_begin = 3;
    msg.beat.lack_end = LANES_MAX;
    REFUSES(msg, beat.lack_end, 3);
    REFUSES(msg, beat.lack_end, LANES_MAX + 1);
    REFUSES(msg, beat.lack_begin, UINT32_MAX);
    msg = (struct message){.kind = MSG_DRAIN, .drain = {.rank = WORKERS_MAX - 1}};
    REFUSES(msg, drain.rank, WORKERS_MAX);
    msg = (struct message){.kind = MSG_ALARM, .outcome = {.code = ERR_LOST}};
    REFUSES(msg, outcome.code, 1);
}

static void test_wire_check_refuses_an_echo_that_is_too_long(void)
{
    struct err_msg why = {0};
    struct buffer payload = {.size_bytes = WIRE_ECHO_BYTES_MAX};
    struct message msg = {.kind = MSG_ECHO, .payload = &payload};
    CU_ASSERT(wire_check(&msg, &why) == 0);
    payload.size_bytes++;
    CU_ASSERT(wire_check(&msg, &why) == ERR_PROTO);
    CU_ASSERT_STRING_EQUAL(why.text, "echo: has 1048577 bytes; at most 1048576 are sent back");
}

/* Three blocks of 8, 16 and 8 bytes, in one payload, two or three. */
static void test_wire_check_refuses_pieces_that_are_cut_otherwise(void)
{
    static const uint32_t blocks[] = {7, 3, 9};
    uint32_t bytes[] = {8, 16, 8};
    struct buffer pieces[] = {{.size_bytes = 24}, {.size_bytes = 8}, {.size_bytes = 8}};
    struct buffer *const frames[] = {&pieces[0], &pieces[1], &pieces[2]};
    struct loan loans[] = {{.size_bytes = 24, .number = 1}, {.size_bytes = 8, .number = 2}};
    struct message msg = {.kind = MSG_WEIGHTS,
                          .key = {.step = 3, .block = 7},
                          .payload = frames[0],
                          .parcel = {.count = 3, .blocks = blocks, .bytes = bytes}};
    pieces[0].size_bytes = 32;
    CU_ASSERT(passes(&msg));
    REFUSES(msg, parcel.bytes, NULL);
    REFUSES(msg, parcel.count, 2);
    REFUSES(msg, key.block, 3);
    REFUSES(msg, payload, NULL);
    pieces[0].size_bytes = 28;
    CU_ASSERT(!passes(&msg));
    pieces[0].size_bytes = 24;
    CU_ASSERT(!passes(&msg));
    msg.parcel.frames = frames;
    msg.parcel.frame_count = 2;
    CU_ASSERT(passes(&msg));
    REFUSES(msg, parcel.frame_count, 3);
    REFUSES(msg, parcel.bytes, NULL);
    pieces[1].size_bytes = 12;
    CU_ASSERT(!passes(&msg));
    pieces[1].size_bytes = 0;
    CU_ASSERT(!passes(&msg));
    pieces[0].size_bytes = 20; /* in sum they fit, but the second block is torn */
    pieces[1].size_bytes = 12;
    CU_ASSERT(!passes(&msg));
    bytes[0] = bytes[1] = 8; /* all of the first and none of the last */
    pieces[0].size_bytes = 24;
    pieces[1].size_bytes = 4;
    CU_ASSERT(!passes(&msg));
    bytes[1] = 16;
    msg.parcel.frame_count = 0;
    msg.parcel.loans = loans;
    msg.parcel.loan_count = 2;
    msg.payload = NULL;
    CU_ASSERT(passes(&msg));
    loans[1].size_bytes = 16;
    CU_ASSERT(!passes(&msg));
    struct message single = {.kind = MSG_WEIGHTS,
                             .payload = frames[0],
                             .parcel = {.frame_count = 2, .frames = frames}};
    CU_ASSERT(!passes(&single)); /* one block has one payload */
    struct message text = {.kind = MSG_STATUS, .payload = frames[0]};
    CU_ASSERT(passes(&text));
    text.parcel = (struct parcel){.frame_count = 2, .frames = frames};
    CU_ASSERT(!passes(&text));
}

static void test_wire_kinds_have_their_own_texts(void)
{
    for (int kind = MSG_HELLO; kind <= MSG_DRAINING; kind++) {
        const struct wire_kind *row = wire_kind_of((enum message_kind)kind);
        CU_ASSERT_FATAL(row != NULL);
        CU_ASSERT((int)row->kind == kind);
        CU_ASSERT(message_kind_text(row->kind) == row->text);
    }
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_PUSH), "push");
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_BLOCK_KEPT), "block_kept");
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_UPDATED), "updated");
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_DRAINING), "draining");
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_LEAF), "leaf");
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_LEAF_VOID), "leaf_void");
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_DROP_LANES), "drop_lanes");
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_LANE_DROPPED), "lane_dropped");
    CU_ASSERT_STRING_EQUAL(message_kind_text(MSG_GONE), "gone");
    CU_ASSERT_STRING_EQUAL(message_kind_text((enum message_kind)40), "unknown");
}

#define TESTS(X)                                                   \
    X(test_wire_check_refuses_a_view_that_contradicts_itself)      \
    X(test_wire_check_lets_nobody_have_what_a_view_can_do_without) \
    X(test_wire_check_refuses_a_block_key_out_of_range)            \
    X(test_wire_check_knows_which_kinds_are_of_a_node)             \
    X(test_wire_check_refuses_a_hello_out_of_range)                \
    X(test_wire_check_refuses_results_out_of_range)                \
    X(test_wire_check_refuses_an_echo_that_is_too_long)            \
    X(test_wire_check_refuses_pieces_that_are_cut_otherwise)       \
    X(test_wire_kinds_have_their_own_texts)

UNIT_MAIN("wire_check", TESTS)
