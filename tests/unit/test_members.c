#include "ps/members.h"
#include <stdlib.h>
#include <string.h>
#include "ps/view_maker.h"
#include "tests/unit/unit.h"

/* Two servers of two shards, two workers. */
static struct settings job(void)
{
    struct settings settings = {0};
    settings.cluster.servers = settings.cluster.shards = settings.cluster.workers = 2;
    return settings;
}

static struct member *add(struct members *members, const struct settings *settings,
                          struct address who, uint32_t pid, uint32_t shard_idx)
{
    struct hello hello = {.rank = -1, .pid = pid, .host = "here", .shard_idx = shard_idx};
    struct member *member = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(members_add(members, settings, who, &hello, &member, &why), 0);
    return member;
}

static struct address shard(uint64_t id)
{
    return (struct address){PARTY_SHARD, id};
}

static void test_members_gives_shards_of_one_process_one_rank(void)
{
    struct settings settings = job();
    struct members members = {0};
    struct err_msg why = {0};
    struct member *member = NULL;
    struct hello third = {.rank = -1, .pid = 9, .host = "here"};
    CU_ASSERT_EQUAL(add(&members, &settings, shard(1), 7, 0)->rank, 0);
    CU_ASSERT_EQUAL(add(&members, &settings, shard(2), 8, 1)->rank, 1);
    CU_ASSERT_EQUAL(add(&members, &settings, shard(3), 7, 1)->rank, 0);
    CU_ASSERT_EQUAL(add(&members, &settings, shard(4), 8, 0)->rank, 1);
    CU_ASSERT_EQUAL(members_add(&members, &settings, shard(5), &third, &member, &why),
                    ERR_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "the job has 2 servers (ranks 0 to 1) and no place"));
    members_free(&members);
}

static void test_members_says_who_is_missing(void)
{
    struct settings settings = job();
    struct members members = {0};
    char text[200];
    add(&members, &settings, shard(1), 7, 0);
    add(&members, &settings, shard(2), 7, 1);
    add(&members, &settings, shard(3), 8, 0); /* one of two shards: not here yet */
    members_missing_text(&members, &settings, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "1 of 2 servers (missing rank 1), "
                                 "0 of 2 workers (missing ranks 0 1)");
    CU_ASSERT(!members_complete(&members, &settings));
    add(&members, &settings, shard(4), 8, 1);
    add(&members, &settings, (struct address){PARTY_WORKER, 5}, 9, 0);
    add(&members, &settings, (struct address){PARTY_WORKER, 6}, 9, 0);
    CU_ASSERT(members_complete(&members, &settings));
    for (size_t size = 1; size < sizeof(text); size++) {
        memset(text, 'x', sizeof(text));
        members_missing_text(&members, &settings, text, size);
        CU_ASSERT(strlen(text) < size);
    }
    members_free(&members);
}

static void test_members_reckons_rates_from_the_last_seconds(void)
{
    struct member member = {0};
    for (uint64_t second = 1; second <= 20; second++) { /* 100 a second, then none */
        struct beat beat = {.push_count = second < 10 ? second * 100 : 1000};
        member_note_beat(&member, &beat, second * 1000);
        if (second == 9)
            CU_ASSERT_EQUAL(
                member_rate(&member, member.beat.push_count, member.earlier.push_count), 100.0);
    }
    CU_ASSERT_EQUAL(member_rate(&member, member.beat.push_count, member.earlier.push_count), 0.0);
}

static void test_members_are_in_a_view_in_the_order_of_their_ranks(void)
{
    struct settings settings = job();
    struct members members = {0};
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {64}};
    struct layout *layout = NULL;
    struct view view = {0};
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 16, &layout, NULL), 0);
    add(&members, &settings, shard(1), 7, 1);
    add(&members, &settings, shard(2), 8, 0);
    add(&members, &settings, shard(3), 8, 1);
    add(&members, &settings, shard(4), 7, 0);
    add(&members, &settings, (struct address){PARTY_WORKER, 5}, 9, 0);
    view.layout = layout;
    CU_ASSERT_EQUAL_FATAL(view_make(&members, 4, &view), 0);
    static const uint64_t expected[] = {4, 1, 2, 3};
    CU_ASSERT_EQUAL_FATAL(view.shard_count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        CU_ASSERT_EQUAL(view.shards[i].incarnation, expected[i]);
    view_free(&view);
    layout_destroy(layout);
    members_free(&members);
}

#define TESTS(X)                                                  \
    X(test_members_gives_shards_of_one_process_one_rank)          \
    X(test_members_says_who_is_missing)                           \
    X(test_members_reckons_rates_from_the_last_seconds)           \
    X(test_members_are_in_a_view_in_the_order_of_their_ranks)

UNIT_MAIN("members", TESTS)
