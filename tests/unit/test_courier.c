#include "proto/courier.h"

#include <stdlib.h>
#include <string.h>
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

enum { SHARD = 5, WORKER = 6, BLOCKS = 700, WAIT_MS = 10000 };

static const struct run_id run = {1, 2};

/* A worker's courier and a shard's, and one connection between them. */
struct pair {
    char folder[PATH_MAX], endpoint[PATH_MAX + 16];
    struct transport *transport;
    struct channel *shard_end, *worker_end;
    struct courier *shard, *worker;
    struct buffer_pool *pool;
};

static void open_pair(struct pair *pair, bool is_shared)
{
    struct err_msg why = {0};
    struct address self = {PARTY_WORKER, WORKER};
    *pair = (struct pair){0};
    scratch_make(pair->folder);
    snprintf(pair->endpoint, sizeof(pair->endpoint), "ipc://%s/s", pair->folder);
    CU_ASSERT_EQUAL_FATAL(transport_create(1, &pair->transport), 0);
    CU_ASSERT_EQUAL_FATAL(channel_bind(pair->transport, pair->endpoint, &pair->shard_end, &why), 0);
    CU_ASSERT_EQUAL_FATAL(channel_connect(pair->transport, pair->endpoint,
                                          (struct ends){self, PARTY_SHARD},
                                          &pair->worker_end, &why), 0);
    const char *folder = is_shared ? pair->folder : NULL;
    CU_ASSERT_EQUAL_FATAL(courier_create(SHARD, folder, &pair->shard), 0);
    CU_ASSERT_EQUAL_FATAL(courier_create(WORKER, folder, &pair->worker), 0);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create(0, &pair->pool), 0);
    struct lender_at worker = {WORKER, courier_door(pair->worker)};
    courier_meet(pair->shard, &worker, 1);
    courier_tend(pair->worker);
    courier_tend(pair->worker);
    CU_ASSERT_EQUAL(courier_lends_to(pair->worker, SHARD), is_shared);
}

static void close_pair(struct pair *pair)
{
    channel_destroy(pair->worker_end);
    channel_destroy(pair->shard_end);
    transport_destroy(pair->transport);
    courier_destroy(pair->worker);
    courier_destroy(pair->shard);
    buffer_pool_destroy(pair->pool);
    nftw(pair->folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Every block has its own size and content. */
static size_t count_of(uint32_t block)
{
    return 1 + block * 7 % 900;
}

static void put_push(struct outbox *outbox, struct buffer_pool *pool, uint32_t block)
{
    struct message push = {.kind = MSG_PUSH, .run = run, .sender = WORKER, .view = 1, .era = 1};
    push.key = (struct block_key){.step = 3, .block = block, .lane_begin = 0, .lane_end = 1};
    push.payload = buffer_pool_take(pool, count_of(block) * sizeof(float));
    for (size_t i = 0; i < count_of(block); i++)
        ((float *)push.payload->data)[i] = (float)(block * 1000 + i);
    outbox_put(outbox, (struct address){PARTY_SHARD, SHARD}, &push);
    buffer_unref(push.payload);
}

static void check_push(const struct letter *letter, uint32_t block)
{
    const struct message *msg = &letter->msg;
    CU_ASSERT(msg->kind == MSG_PUSH && letter->from.id == WORKER && msg->key.step == 3);
    CU_ASSERT_EQUAL(msg->key.block, block);
    CU_ASSERT_EQUAL(msg->parcel.count + msg->parcel.loan_count, 0);
    CU_ASSERT_EQUAL_FATAL(msg->payload->size_bytes, count_of(block) * sizeof(float));
    const float *values = msg->payload->data;
    CU_ASSERT_EQUAL((uintptr_t)values % sizeof(float), 0);
    bool is_equal = true;
    for (size_t i = 0; i < count_of(block); i++)
        is_equal = is_equal && values[i] == (float)(block * 1000 + i);
    CU_ASSERT(is_equal);
}

static int receive(struct pair *pair, struct letter *letter)
{
    struct ready ready;
    int err = courier_receive(pair->shard, pair->shard_end, letter);
    while (err == ERR_AGAIN &&
           transport_wait(&pair->shard_end, 1, -1, WAIT_MS, &ready) == 0 && ready.channel_count > 0)
        err = courier_receive(pair->shard, pair->shard_end, letter);
    return err;
}

/* Sends the outbox; how many messages of the wire that took. */
static size_t send_all(struct pair *pair, struct outbox *outbox)
{
    size_t sent = 0;
    for (size_t i = 0; i < outbox->count; i++) {
        if (outbox->items[i].msg.kind == MSG_NONE)
            continue;
        CU_ASSERT_EQUAL(courier_send_batch(pair->worker, pair->worker_end, outbox, i), 0);
        sent++;
    }
    outbox_clear(outbox);
    return sent;
}

static void exchange_blocks(bool is_shared, bool has_own_pool)
{
    struct pair pair;
    struct outbox outbox = {0};
    struct letter letter;
    open_pair(&pair, is_shared);
    struct buffer_pool *pool = has_own_pool ? courier_pool(pair.worker) : pair.pool;
    for (uint32_t block = 0; block < BLOCKS; block++)
        put_push(&outbox, pool, block);
    CU_ASSERT(send_all(&pair, &outbox) < BLOCKS / 50);
    for (uint32_t block = 0; block < BLOCKS; block++) {
        CU_ASSERT_EQUAL_FATAL(receive(&pair, &letter), 0);
        check_push(&letter, block);
        CU_ASSERT_EQUAL(letter.msg.payload->is_read_only, is_shared);
        letter_release(&letter);
    }
    CU_ASSERT(!courier_has_more(pair.shard));
    CU_ASSERT_EQUAL(courier_refused_count(pair.shard), 0);
    outbox_free(&outbox);
    close_pair(&pair);
}

static void test_courier_sends_small_blocks_together(void)
{
    exchange_blocks(false, true);
}

static void test_courier_lends_small_blocks_together(void)
{
    exchange_blocks(true, true);
}

static void test_courier_lends_a_copy_of_what_lies_elsewhere(void)
{
    exchange_blocks(true, false);
}

static void test_courier_keeps_apart_what_differs(void)
{
    struct pair pair;
    struct outbox outbox = {0};
    struct letter letter;
    open_pair(&pair, false);
    for (uint32_t block = 0; block < 4; block++)
        put_push(&outbox, pair.pool, block);
    outbox.items[1].msg.key.step = 4;
    outbox.items[3].msg.key.lane_end = 2;
    CU_ASSERT_EQUAL(send_all(&pair, &outbox), 3);
    const uint32_t order[4] = {0, 2, 1, 3};
    for (size_t i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL_FATAL(receive(&pair, &letter), 0);
        CU_ASSERT_EQUAL(letter.msg.key.block, order[i]);
        CU_ASSERT_EQUAL(letter.msg.key.step, order[i] == 1 ? 4u : 3u);
        letter_release(&letter);
    }
    outbox_free(&outbox);
    close_pair(&pair);
}

static void test_courier_refuses_a_loan_when_nothing_is_shared(void)
{
    struct pair pair;
    struct letter letter;
    struct loan loan = {.size_bytes = 4096, .number = 1};
    struct message push = {.kind = MSG_PUSH, .run = run, .sender = WORKER, .view = 1, .era = 1};
    open_pair(&pair, false);
    push.key = (struct block_key){.step = 3, .lane_end = 1};
    push.parcel = (struct parcel){.loan_count = 1, .loans = &loan};
    CU_ASSERT_EQUAL(courier_send(pair.worker, pair.worker_end, (struct address){PARTY_SHARD, SHARD},
                                 &push), 0);
    struct message bye = {.kind = MSG_PULL, .run = run, .sender = WORKER};
    CU_ASSERT_EQUAL(courier_send(pair.worker, pair.worker_end, (struct address){PARTY_SHARD, SHARD},
                                 &bye), 0);
    CU_ASSERT_EQUAL_FATAL(receive(&pair, &letter), 0);
    CU_ASSERT_EQUAL(letter.msg.kind, MSG_PULL);
    CU_ASSERT_EQUAL(courier_refused_count(pair.shard), 1);
    letter_release(&letter);
    close_pair(&pair);
}

/* Blocks of 128 KiB, which lie apart, or side by side from the last to the first. */
static void exchange_large(bool is_shared, bool is_side_by_side)
{
    enum { LARGE = 20, LARGE_BYTES = 128 << 10 };
    struct pair pair;
    struct outbox outbox = {0};
    struct letter letter;
    bool is_seen[LARGE] = {0};
    open_pair(&pair, is_shared);
    struct buffer_pool *pool = is_shared ? courier_pool(pair.worker) : pair.pool;
    struct buffer *whole = buffer_pool_take(pool, LARGE * LARGE_BYTES), parts[LARGE];
    memset(whole->data, 0, whole->size_bytes);
    for (uint32_t i = LARGE; i-- > 0;) {
        struct message push = {.kind = MSG_PUSH, .run = run, .sender = WORKER, .view = 1, .era = 1};
        push.key = (struct block_key){.step = 3, .block = i, .lane_end = 1};
        size_t place = is_side_by_side ? i : i * 7 % LARGE; /* 7 and 20 have no common divisor */
        parts[i] = (struct buffer){.data = (char *)whole->data + place * LARGE_BYTES,
                                   .size_bytes = LARGE_BYTES,
                                   .segment = whole->segment};
        atomic_init(&parts[i].ref_count, 1);
        *(float *)parts[i].data = (float)i;
        push.payload = &parts[i];
        outbox_put(&outbox, (struct address){PARTY_SHARD, SHARD}, &push);
    }
    CU_ASSERT_EQUAL(send_all(&pair, &outbox), 3); /* of 8, 8 and 4 */
    for (uint32_t i = 0; i < LARGE; i++) {
        CU_ASSERT_EQUAL_FATAL(receive(&pair, &letter), 0);
        uint32_t block = letter.msg.key.block;
        CU_ASSERT_FATAL(block < LARGE && !is_seen[block]);
        is_seen[block] = true;
        CU_ASSERT_EQUAL_FATAL(letter.msg.payload->size_bytes, LARGE_BYTES);
        CU_ASSERT_EQUAL(*(const float *)letter.msg.payload->data, (float)block);
        CU_ASSERT(buffer_is_sole(letter.msg.payload)); /* sums are made in it */
        CU_ASSERT_EQUAL(letter.msg.payload->is_read_only, is_shared);
        letter_release(&letter);
    }
    CU_ASSERT_EQUAL(courier_refused_count(pair.shard), 0);
    close_pair(&pair);
    for (size_t i = 0; i < LARGE; i++)
        CU_ASSERT_EQUAL(atomic_load(&parts[i].ref_count), 1);
    buffer_unref(whole);
    outbox_free(&outbox);
}

static void test_courier_sends_large_blocks_in_a_frame_each(void)
{
    exchange_large(false, false);
}

static void test_courier_sends_what_lies_side_by_side_in_fewer_frames(void)
{
    exchange_large(false, true);
}

static void test_courier_lends_large_blocks_together(void)
{
    exchange_large(true, false);
    exchange_large(true, true);
}

/* A peer whose loan of several cannot be had: what came before it is there, the rest is refused. */
static void test_courier_refuses_the_rest_of_what_cannot_be_reached(void)
{
    static const uint32_t blocks[] = {1, 2}, bytes[] = {64, 64};
    static const struct loan loans[] = {{.size_bytes = 64, .number = 1},
                                        {.size_bytes = 64, .number = 2}};
    struct pair pair;
    struct letter letter;
    struct message push = {.kind = MSG_PUSH, .run = run, .sender = WORKER, .view = 1, .era = 1};
    struct message pull = {.kind = MSG_PULL, .run = run, .sender = WORKER};
    open_pair(&pair, false);
    push.key = (struct block_key){.step = 3, .block = 1, .lane_end = 1};
    push.parcel = (struct parcel){
        .count = 2, .blocks = blocks, .bytes = bytes, .loan_count = 2, .loans = loans};
    struct arena *arena = NULL;
    const void *header;
    size_t header_bytes;
    CU_ASSERT_EQUAL_FATAL(arena_create(4096, 4096, &arena), 0);
    CU_ASSERT_EQUAL_FATAL(message_pack(&push, arena, &header, &header_bytes), 0);
    CU_ASSERT_EQUAL(channel_send(pair.worker_end, (struct address){PARTY_SHARD, SHARD}, header,
                                 header_bytes, NULL), 0);
    arena_destroy(arena);
    CU_ASSERT_EQUAL(courier_send(pair.worker, pair.worker_end, (struct address){PARTY_SHARD, SHARD},
                                 &pull), 0);
    CU_ASSERT_EQUAL_FATAL(receive(&pair, &letter), 0);
    CU_ASSERT_EQUAL(letter.msg.kind, MSG_PULL);
    CU_ASSERT_EQUAL(courier_refused_count(pair.shard), 1);
    CU_ASSERT(!courier_has_more(pair.shard));
    letter_release(&letter);
    close_pair(&pair);
}

#define TESTS(X)                                                 \
    X(test_courier_sends_small_blocks_together)                  \
    X(test_courier_lends_small_blocks_together)                  \
    X(test_courier_lends_a_copy_of_what_lies_elsewhere)          \
    X(test_courier_keeps_apart_what_differs)                     \
    X(test_courier_sends_large_blocks_in_a_frame_each)           \
    X(test_courier_sends_what_lies_side_by_side_in_fewer_frames) \
    X(test_courier_lends_large_blocks_together)                  \
    X(test_courier_refuses_a_loan_when_nothing_is_shared)        \
    X(test_courier_refuses_the_rest_of_what_cannot_be_reached)

UNIT_MAIN("courier", TESTS)
