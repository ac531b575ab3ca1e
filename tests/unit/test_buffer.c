#include "common/buffer.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include "common/arena.h"
#include "common/wrap.h"
#include "tests/unit/unit.h"

static bool is_zero(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static void test_arena_gives_zeroed_aligned_memory_after_every_reset(void)
{
    struct arena *arena = NULL;
    CU_ASSERT_FATAL(arena_create(100, 1 << 20, &arena) == 0);
    for (int round = 0; round < 3; round++) {
        for (size_t size = 0; size < 3000; size += 37) {
            unsigned char *taken = arena_take(arena, size);
            CU_ASSERT_FATAL(taken != NULL);
            CU_ASSERT((uintptr_t)taken % 16 == 0);
            CU_ASSERT(is_zero(taken, size));
            memset(taken, 0xff, size);
        }
        arena_reset(arena);
    }
    arena_destroy(arena);
}

static void test_arena_keeps_its_parts_apart(void)
{
    struct arena *arena = NULL;
    unsigned char *parts[50];
    CU_ASSERT_FATAL(arena_create(64, 1 << 20, &arena) == 0);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        parts[i] = arena_take(arena, 10 * i + 1);
        memset(parts[i], (int)i, 10 * i + 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        for (size_t k = 0; k <= 10 * i; k++)
            CU_ASSERT_FATAL(parts[i][k] == i);
    arena_destroy(arena);
}

static void test_arena_refuses_when_past_its_limit(void)
{
    struct arena *arena = NULL;
    CU_ASSERT_FATAL(arena_create(16, 1024, &arena) == 0);
    CU_ASSERT(arena_take(arena, 1025) == NULL);
    CU_ASSERT(arena_take(arena, SIZE_MAX) == NULL);
    CU_ASSERT(arena_take(arena, SIZE_MAX - 7) == NULL);
    CU_ASSERT(arena_take(arena, 1000) != NULL);
    CU_ASSERT(arena_take(arena, 32) == NULL);
    CU_ASSERT(arena_take(arena, 16) != NULL);
    arena_reset(arena);
    CU_ASSERT(arena_take(arena, 1024) != NULL);
    CU_ASSERT(arena_take(arena, 1) == NULL);
    arena_destroy(arena);
    arena_destroy(NULL);
}

static void test_arena_hands_the_same_memory_out_when_messages_repeat(void)
{
    struct arena *arena = NULL;
    void *first[20];
    CU_ASSERT_FATAL(arena_create(64, 1 << 20, &arena) == 0);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(first); i++) {
            void *taken = arena_take(arena, 100 * i);
            if (round == 1)
                first[i] = taken;
            CU_ASSERT(round < 2 || taken == first[i]);
        }
        arena_reset(arena);
    }
    arena_destroy(arena);
}

static void test_pool_gives_aligned_buffers_of_any_size(void)
{
    struct buffer_pool *pool = NULL;
    CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
    for (size_t size = 0; size < 300000; size += 1 + size / 3) {
        struct buffer *buffer = buffer_pool_take(pool, size);
        CU_ASSERT_FATAL(buffer != NULL);
        CU_ASSERT(buffer->size_bytes == size);
        CU_ASSERT((uintptr_t)buffer->data % 64 == 0);
        memset(buffer->data, 0xee, size);
        size_t held = buffer_pool_bytes(pool);
        buffer_unref(buffer);
        CU_ASSERT(buffer_pool_bytes(pool) == held);
    }
    CU_ASSERT(buffer_pool_take(pool, SIZE_MAX) == NULL);
    CU_ASSERT(buffer_pool_take(pool, SIZE_MAX / 2) == NULL);
    buffer_pool_destroy(pool);
    buffer_pool_destroy(NULL);
}

static void test_pool_wastes_an_eighth_at_most(void)
{
    for (size_t size = 512; size < (size_t)3 << 20; size += size / 7 + 1) {
        struct buffer_pool *pool = NULL;
        CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
        struct buffer *buffer = buffer_pool_take(pool, size);
        CU_ASSERT(buffer_pool_bytes(pool) >= size);
        CU_ASSERT(buffer_pool_bytes(pool) <= size + size / 8 + 1);
        buffer_unref(buffer);
        buffer_pool_destroy(pool);
    }
}

static void test_pool_hands_a_returned_buffer_out_again(void)
{
    struct buffer_pool *pool = NULL;
    CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
    struct buffer *first = buffer_pool_take(pool, 1 << 20);
    CU_ASSERT(buffer_ref(first) == first);
    buffer_unref(first);
    struct buffer *second = buffer_pool_take(pool, 1 << 20);
    CU_ASSERT(second != first);
    buffer_unref(first);
    CU_ASSERT(buffer_pool_take(pool, (1 << 20) - 5) == first);
    CU_ASSERT(first->size_bytes == (1 << 20) - 5);
    CU_ASSERT(buffer_pool_bytes(pool) == 2 << 20);
    buffer_unref(first);
    buffer_unref(second);
    buffer_unref(NULL);
    buffer_pool_destroy(pool);
}

static void test_pool_stays_under_its_ceiling(void)
{
    struct buffer_pool *pool = NULL;
    CU_ASSERT_FATAL(buffer_pool_create(4 << 20, &pool) == 0);
    struct buffer *held[4];
    for (size_t i = 0; i < 4; i++)
        held[i] = buffer_pool_take(pool, 1 << 20);
    CU_ASSERT(held[3] != NULL);
    CU_ASSERT(buffer_pool_take(pool, 1) == NULL);
    for (size_t i = 0; i < 4; i++)
        buffer_unref(held[i]);
    CU_ASSERT(buffer_pool_bytes(pool) == 4 << 20);
    /* What is kept in other sizes makes room. */
    struct buffer *large = buffer_pool_take(pool, 4 << 20);
    CU_ASSERT_FATAL(large != NULL);
    CU_ASSERT(buffer_pool_bytes(pool) == 4 << 20);
    CU_ASSERT(buffer_pool_take(pool, (4 << 20) + 1) == NULL);
    buffer_unref(large);
    buffer_pool_destroy(pool);
}

static void test_pool_outlives_its_destroy_when_a_buffer_is_held(void)
{
    struct buffer_pool *pool = NULL;
    CU_ASSERT_FATAL(buffer_pool_create(0, &pool) == 0);
    struct buffer *first = buffer_pool_take(pool, 5000), *second = buffer_pool_take(pool, 100);
    buffer_unref(buffer_pool_take(pool, 70));
    buffer_pool_destroy(pool);
    memset(first->data, 1, 5000);
    buffer_unref(first);
    memset(second->data, 2, 100);
    buffer_unref(second);
}

enum { HAND_COUNT = 4, TURN_COUNT = 20000 };

/* Takes, shares and gives back; every buffer is written whole to show two holders of one. */
static void *take_and_give(void *context)
{
    struct buffer_pool *pool = context;
    for (unsigned turn = 0; turn < TURN_COUNT; turn++) {
        size_t size = 64 + turn % 5 * 64;
        struct buffer *buffer = buffer_pool_take(pool, size);
        if (buffer == NULL)
            return context;
        memset(buffer->data, (int)turn, size);
        buffer_ref(buffer);
        buffer_unref(buffer);
        if (*(unsigned char *)buffer->data != (unsigned char)turn)
            return context;
        buffer_unref(buffer);
    }
    return NULL;
}

static void test_pool_is_shared_by_threads(void)
{
    struct buffer_pool *pool = NULL;
    pthread_t hands[HAND_COUNT];
    CU_ASSERT_FATAL(buffer_pool_create(1 << 20, &pool) == 0);
    for (size_t i = 0; i < HAND_COUNT; i++)
        CU_ASSERT_FATAL(pthread_create(&hands[i], NULL, take_and_give, pool) == 0);
    for (size_t i = 0; i < HAND_COUNT; i++) {
        void *failed = NULL;
        pthread_join(hands[i], &failed);
        CU_ASSERT(failed == NULL);
    }
    CU_ASSERT(buffer_pool_bytes(pool) <= HAND_COUNT * (64 + 128 + 192 + 256 + 320));
    buffer_pool_destroy(pool);
}

static void count_close(void *owner)
{
    int *count;
    memcpy(&count, owner, sizeof(count));
    (*count)++;
}

static struct wrap *wrap_of(struct wrap_pool *pool, int *count)
{
    struct wrap *wrap = wrap_pool_take(pool);
    CU_ASSERT_FATAL(wrap != NULL);
    memcpy(wrap->owner, &count, sizeof(count));
    return wrap;
}

static void test_wrap_closes_its_owner_once_and_is_used_again(void)
{
    struct wrap_pool *pool = NULL;
    int count = 0;
    CU_ASSERT_FATAL(wrap_pool_create(count_close, &pool) == 0);
    struct wrap *first = wrap_of(pool, &count);
    buffer_ref(&first->buffer);
    buffer_unref(&first->buffer);
    CU_ASSERT(count == 0);
    buffer_unref(&first->buffer);
    CU_ASSERT(count == 1);
    CU_ASSERT(wrap_of(pool, &count) == first);
    struct wrap *second = wrap_of(pool, &count);
    buffer_unref(&second->buffer);
    wrap_pool_destroy(pool);
    buffer_unref(&first->buffer);
    CU_ASSERT(count == 3);
}

#define TESTS(X)                                                        \
    X(test_arena_gives_zeroed_aligned_memory_after_every_reset)         \
    X(test_arena_keeps_its_parts_apart)                                 \
    X(test_arena_refuses_when_past_its_limit)                           \
    X(test_arena_hands_the_same_memory_out_when_messages_repeat)        \
    X(test_pool_gives_aligned_buffers_of_any_size)                      \
    X(test_pool_wastes_an_eighth_at_most)                               \
    X(test_pool_hands_a_returned_buffer_out_again)                      \
    X(test_pool_stays_under_its_ceiling)                                \
    X(test_pool_outlives_its_destroy_when_a_buffer_is_held)             \
    X(test_pool_is_shared_by_threads)                                   \
    X(test_wrap_closes_its_owner_once_and_is_used_again)

UNIT_MAIN("buffer", TESTS)
