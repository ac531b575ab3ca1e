#include "ps/members.h"
#include <math.h>
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

static struct member *add(struct members *members, struct address who, uint32_t pid,
                          uint32_t shard_idx)
{
    struct hello hello = {.rank = -1, .pid = pid, .host = "here", .shard_idx = shard_idx};
    struct member *member = NULL;
    uint32_t rank = members_choose_rank(members, who.party, &hello);
    CU_ASSERT_EQUAL_FATAL(members_add(members, who, rank, &hello, &member), 0);
    return member;
}

static struct address shard(uint64_t id)
{
    return (struct address){PARTY_SHARD, id};
}

static struct address worker(uint64_t id)
{
    return (struct address){PARTY_WORKER, id};
}

static void test_members_gives_shards_of_one_process_one_rank(void)
{
    struct members members = {0};
    CU_ASSERT_EQUAL(add(&members, shard(1), 7, 0)->rank, 0);
    CU_ASSERT_EQUAL(add(&members, shard(2), 8, 1)->rank, 1);
    CU_ASSERT_EQUAL(add(&members, shard(3), 7, 1)->rank, 0);
    CU_ASSERT_EQUAL(add(&members, shard(4), 8, 0)->rank, 1);
    CU_ASSERT_EQUAL(add(&members, shard(5), 9, 0)->rank, 2); /* more than the job asks for */
    CU_ASSERT_PTR_EQUAL(members_holder(&members, PARTY_SHARD, 1, 0),
                        members_find(&members, shard(4)));
    CU_ASSERT_PTR_NULL(members_holder(&members, PARTY_SHARD, 2, 1));
    CU_ASSERT_PTR_NULL(members_holder(&members, PARTY_WORKER, 1, 0));
    members_free(&members);
}

static void test_members_gives_the_rank_asked_for_or_the_lowest_that_nobody_has(void)
{
    struct members members = {0};
    struct hello hello = {.rank = 9};
    CU_ASSERT_EQUAL(members_choose_rank(&members, PARTY_WORKER, &hello), 9);
    hello.rank = -1;
    for (uint32_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(add(&members, worker(10 + i), 20 + i, 0)->rank, i);
    CU_ASSERT_EQUAL(members_choose_rank(&members, PARTY_WORKER, &hello), 3);
    members_find(&members, worker(11))->state = MEMBER_GONE;
    CU_ASSERT_EQUAL(members_choose_rank(&members, PARTY_WORKER, &hello), 1);
    members_find(&members, worker(10))->state = MEMBER_LEAVING; /* has its rank still */
    CU_ASSERT_EQUAL(members_choose_rank(&members, PARTY_WORKER, &hello), 1);
    members_free(&members);
}

static void test_members_counts_who_is_there_and_who_stays(void)
{
    struct members members = {0};
    for (uint32_t i = 0; i < 4; i++)
        add(&members, worker(10 + i), 20 + i, 0);
    members_find(&members, worker(11))->state = MEMBER_GONE;
    members_find(&members, worker(12))->state = MEMBER_LEAVING;
    CU_ASSERT_EQUAL(members_count(&members, PARTY_WORKER, false), 3);
    CU_ASSERT_EQUAL(members_count(&members, PARTY_WORKER, true), 2);
    CU_ASSERT_EQUAL(members_count(&members, PARTY_SHARD, false), 0);
    CU_ASSERT_STRING_EQUAL(member_state_text(members_find(&members, worker(11))), "lost");
    members_remove(&members, members_find(&members, worker(11)));
    CU_ASSERT_PTR_NULL(members_find(&members, worker(11)));
    CU_ASSERT_EQUAL(members.count, 3);
    CU_ASSERT_EQUAL(members_find(&members, worker(13))->rank, 3);
    members_free(&members);
}

static void test_members_says_who_is_missing(void)
{
    struct settings settings = job();
    struct members members = {0};
    char text[200];
    add(&members, shard(1), 7, 0);
    add(&members, shard(2), 7, 1);
    add(&members, shard(3), 8, 0); /* one of two shards: not here yet */
    members_missing_text(&members, &settings, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "1 of 2 servers (missing rank 1), "
                                 "0 of 2 workers (missing ranks 0 1)");
    CU_ASSERT(!members_complete(&members, &settings));
    add(&members, shard(4), 8, 1);
    add(&members, worker(5), 9, 0);
    add(&members, worker(6), 9, 0);
    CU_ASSERT(members_complete(&members, &settings));
    members_find(&members, worker(5))->state = MEMBER_GONE;
    CU_ASSERT(!members_complete(&members, &settings));
    members_missing_text(&members, &settings, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "2 of 2 servers, 1 of 2 workers (missing rank 0)");
    add(&members, worker(7), 9, 0); /* of any rank */
    CU_ASSERT(members_complete(&members, &settings));
    members_missing_text(&members, &settings, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "2 of 2 servers, 2 of 2 workers");
    members_find(&members, shard(1))->state = MEMBER_GONE;
    CU_ASSERT(!members_complete(&members, &settings));
    add(&members, shard(8), 10, 0); /* came while rank 0 was taken for alive */
    add(&members, shard(9), 10, 1);
    members_find(&members, shard(8))->rank = members_find(&members, shard(9))->rank = 2;
    CU_ASSERT(members_complete(&members, &settings));
    members_missing_text(&members, &settings, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "2 of 2 servers, 2 of 2 workers");
    members_find(&members, worker(7))->state = MEMBER_GONE;
    members_find(&members, shard(4))->state = MEMBER_GONE;
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

static void test_members_notes_since_when_a_shard_lacks_the_same_lanes(void)
{
    struct member member = {0};
    struct beat beat = {.step = 4, .lack_begin = 1, .lack_end = 3, .version_sum = 8};
    member_note_beat(&member, &beat, 1000);
    CU_ASSERT_EQUAL(member.lack_ms, 1000);
    member_note_beat(&member, &beat, 1500);
    CU_ASSERT_EQUAL(member.lack_ms, 1000);
    beat.version_sum = 9; /* another block moved */
    member_note_beat(&member, &beat, 2000);
    CU_ASSERT_EQUAL(member.lack_ms, 2000);
    beat.lack_begin = 2;
    member_note_beat(&member, &beat, 2500);
    CU_ASSERT_EQUAL(member.lack_ms, 2500);
    beat.step = 5;
    member_note_beat(&member, &beat, 3000);
    CU_ASSERT_EQUAL(member.lack_ms, 3000);
    beat.lack_begin = beat.lack_end = 0;
    member_note_beat(&member, &beat, 3500);
    member_note_beat(&member, &beat, 4000);
    CU_ASSERT_EQUAL(member.lack_ms, 4000); /* it lacks nothing */
}

static void test_members_takes_the_mean_time_of_the_last_lanes(void)
{
    struct member member = {0};
    member.late_ms = 99.0;
    member_note_lane(&member, 4000, 1000);
    CU_ASSERT_DOUBLE_EQUAL(member.lane_ms, 4.0, 1e-9); /* the only one known */
    CU_ASSERT_EQUAL(member.late_ms, 0.0);
    for (int i = 0; i < 32; i++) /* stopped every now and then */
        member_note_lane(&member, i % 4 == 0 ? 37000 : 1000, 2000);
    CU_ASSERT_DOUBLE_EQUAL(member.lane_ms, (3 * 37.0 + 24 * 1.0) / 27.0, 1e-9);
    for (int i = 0; i < 32; i++) /* once, for long */
        member_note_lane(&member, i == 4 ? 900000000 : 1000, 2000);
    CU_ASSERT_DOUBLE_EQUAL(member.lane_ms, 1.0, 1e-9);
    CU_ASSERT_EQUAL(member.lane_told_ms, 2000);
    member_forget_lanes(&member);
    CU_ASSERT_EQUAL(member.lane_ms, 0.0);
}

static void test_members_tells_who_has_other_kernels(void)
{
    static const char *const kernels[] = {"Haswell", "Haswell", "", "SkylakeX"};
    struct members members = {0};
    struct member *member;
    for (uint32_t i = 0; i < 4; i++) {
        CU_ASSERT_PTR_NULL(i == 0 ? NULL
                                  : members_with_other_kernels(&members, &members.items[0]));
        member = add(&members, (struct address){PARTY_WORKER, i + 1}, i, 0);
        snprintf(member->hello.kernels, sizeof(member->hello.kernels), "%s", kernels[i]);
    }
    CU_ASSERT_PTR_EQUAL(members_with_other_kernels(&members, &members.items[0]),
                        &members.items[3]);
    CU_ASSERT_PTR_EQUAL(members_with_other_kernels(&members, &members.items[3]),
                        &members.items[0]);
    members_free(&members);
}

static void test_members_are_in_a_view_in_the_order_of_their_ranks(void)
{
    struct members members = {0};
    struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {8}};
    struct layout *layout = NULL;
    struct placement placement = {0};
    struct view view = {0}, copied = {0};
    static const uint64_t owners[] = {5, 0}, expected[] = {4, 1, 2, 3};
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 16, &layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(placement_create(&placement, layout), 0);
    add(&members, shard(1), 7, 1);
    add(&members, shard(2), 8, 0);
    add(&members, shard(3), 8, 1);
    add(&members, shard(4), 7, 0);
    add(&members, worker(5), 9, 0);
    add(&members, worker(6), 9, 0)->state = MEMBER_GONE;
    placement.primary[0] = 3;
    placement.primary[1] = 4;
    placement.backup[1] = 2;
    CU_ASSERT_EQUAL_FATAL(view_make(&members, &placement, owners, 2, &view), 0);
    CU_ASSERT_EQUAL_FATAL(view.shard_count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        CU_ASSERT_EQUAL(view.shards[i].incarnation, expected[i]);
    CU_ASSERT_EQUAL(view.worker_count, 1);
    CU_ASSERT(view.block_shard[0] == 3 && view.block_shard[1] == 0);
    CU_ASSERT(view.block_backup[0] == NOBODY && view.block_backup[1] == 2);
    CU_ASSERT_PTR_NULL(view.block_learner);
    CU_ASSERT(view.lane_worker[0] == 0 && view.lane_worker[1] == NOBODY);
    CU_ASSERT_EQUAL(view_copy(&view, &copied), 0);
    CU_ASSERT_EQUAL(view_shard_idx(&copied, 2), 2);
    CU_ASSERT_EQUAL(view_worker_idx(&copied, 6), NOBODY);
    CU_ASSERT_EQUAL(copied.block_backup[1], 2);
    view_free(&copied);
    view_free(&view);
    placement_free(&placement);
    layout_destroy(layout);
    members_free(&members);
}

static void test_members_tell_what_compute_waited_for(void)
{
    struct members members = {0};
    CU_ASSERT(isnan(members_waits(&members, NULL).data));
    add(&members, shard(1), 7, 0)->beat.compute_us = 1000; /* not a worker */
    struct member *one = add(&members, worker(2), 8, 0), *other = add(&members, worker(3), 9, 0);
    CU_ASSERT(isnan(members_waits(&members, one).exchange));
    one->beat.compute_us = 600;
    one->beat.data_us = 100;
    one->beat.exposed_us = 400;
    other->beat.compute_us = 1000;
    struct member_waits all = members_waits(&members, NULL), first = members_waits(&members, one);
    CU_ASSERT_DOUBLE_EQUAL(first.data, 0.1, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(first.exchange, 0.4, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(all.data, 0.05, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(all.exchange, 0.2, 1e-12);
    members_free(&members);
}

#define TESTS(X)                                                               \
    X(test_members_gives_shards_of_one_process_one_rank)                       \
    X(test_members_gives_the_rank_asked_for_or_the_lowest_that_nobody_has)     \
    X(test_members_counts_who_is_there_and_who_stays)                          \
    X(test_members_tell_what_compute_waited_for)                               \
    X(test_members_says_who_is_missing)                                        \
    X(test_members_reckons_rates_from_the_last_seconds)                        \
    X(test_members_notes_since_when_a_shard_lacks_the_same_lanes)              \
    X(test_members_takes_the_mean_time_of_the_last_lanes)                      \
    X(test_members_tells_who_has_other_kernels)                                \
    X(test_members_are_in_a_view_in_the_order_of_their_ranks)

UNIT_MAIN("members", TESTS)
