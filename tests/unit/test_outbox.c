#include "proto/outbox.h"

#include "tests/unit/unit.h"

static void test_outbox_holds_a_reference_until_it_is_cleared(void)
{
    struct buffer_pool *pool = NULL;
    struct outbox outbox = {0};
    CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
    struct message msg = {.kind = MSG_PUSH, .payload = buffer_pool_take(pool, 64)};
    struct address to = {PARTY_SHARD, 9};
    for (uint64_t i = 0; i < 200; i++) {
        msg.key.step = i;
        outbox_put(&outbox, to, &msg);
    }
    CU_ASSERT(outbox.count == 200 && !outbox_failed(&outbox));
    CU_ASSERT(atomic_load(&msg.payload->ref_count) == 201);
    CU_ASSERT(outbox.items[150].msg.key.step == 150);
    CU_ASSERT(address_equal(outbox.items[150].to, to));
    outbox_clear(&outbox);
    CU_ASSERT(outbox.count == 0 && outbox.capacity >= 200);
    CU_ASSERT(atomic_load(&msg.payload->ref_count) == 1);
    outbox_put(&outbox, to, &msg);
    outbox_free(&outbox);
    CU_ASSERT(atomic_load(&msg.payload->ref_count) == 1);
    buffer_unref(msg.payload);
    buffer_pool_destroy(pool);
}

#define TESTS(X) X(test_outbox_holds_a_reference_until_it_is_cleared)

UNIT_MAIN("outbox", TESTS)
