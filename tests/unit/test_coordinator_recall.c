/* A coordinator goes on from what another one wrote down. */
#include "tests/unit/coordinator_bench.h"

/* Two servers, a backup for each of four blocks, three workers of which one came late. */
static void open_job(struct bench *bench)
{
    open_bench(bench);
    set_blocks(bench, 4);
    bench->settings.job.steps = 100;
    bench->settings.cluster.servers = 2;
    bench->settings.cluster.replicas = 1;
    bench->settings.cluster.answer_s = 60;
    join_all(bench);
    pass_ms(bench, 500);
    join(bench, worker(2), -1);
    pass_ms(bench, 100);
    finish_checkpoint_at(bench, 20, 0);
    forget(bench);
}

/* Reads records into a new coordinator; 0 or the first error. */
static int recall(struct bench *bench, const struct record *records, size_t count)
{
    struct arena *arena = NULL;
    struct err_msg why = {0};
    int err = 0;
    CU_ASSERT_EQUAL_FATAL(arena_create(1 << 16, 1 << 22, &arena), 0);
    for (size_t i = 0; i < count && err == 0; i++) {
        struct message msg = {0};
        arena_reset(arena);
        CU_ASSERT_EQUAL_FATAL(
            message_unpack(records[i].bytes, records[i].size, NULL, arena, &msg, &why), 0);
        err = coordinator_recall(bench->coordinator, &msg, &why);
    }
    CU_ASSERT(err == 0 || why.text[0] != 0);
    arena_destroy(arena);
    return err;
}

/* The coordinator is started again after some time; the members do not know yet. */
static void restart(struct bench *bench)
{
    coordinator_destroy(bench->coordinator);
    bench->coordinator = NULL;
    create(bench, 0);
    CU_ASSERT_EQUAL_FATAL(recall(bench, bench->records, bench->record_count), 0);
    bench->now_ms += 2000;
    forget(bench);
}

struct places_seen {
    uint64_t primary[4], backup[4], lanes[4];
    uint32_t number;
};

static struct places_seen see(const struct bench *bench)
{
    struct places_seen seen = {.number = view_of(bench)->number};
    for (uint32_t i = 0; i < 4; i++) {
        seen.primary[i] = primary_of(bench, i);
        seen.backup[i] = backup_of(bench, i);
        seen.lanes[i] = owner_of(bench, i);
    }
    return seen;
}

static void check_same_places(const struct bench *bench, const struct places_seen *before)
{
    struct places_seen after = see(bench);
    CU_ASSERT_EQUAL(memcmp(after.primary, before->primary, sizeof(after.primary)), 0);
    CU_ASSERT_EQUAL(memcmp(after.backup, before->backup, sizeof(after.backup)), 0);
    CU_ASSERT_EQUAL(memcmp(after.lanes, before->lanes, sizeof(after.lanes)), 0);
}

static void say_hello_again(struct bench *bench, struct address who, int32_t rank)
{
    struct message hello = hello_of(bench, who, rank);
    hello.run = run;
    hello.view = view_of(bench)->number;
    hear(bench, who, &hello);
    CU_ASSERT(has(bench, who, MSG_WELCOME));
}

static void all_say_hello_again(struct bench *bench)
{
    for (uint32_t i = 0; i < 3; i++)
        say_hello_again(bench, worker(i), (int32_t)i);
    for (uint32_t i = 0; i < 2; i++)
        say_hello_again(bench, server(i), (int32_t)i);
}

static void test_coordinator_goes_on_from_its_journal(void)
{
    struct bench bench;
    open_job(&bench);
    struct places_seen before = see(&bench);
    restart(&bench);
    CU_ASSERT_EQUAL(bench.record_count > 0, true);
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    CU_ASSERT(view_of(&bench)->number > before.number);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 3);
    check_same_places(&bench, &before);
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, worker(2), MSG_WHO));
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, server(1), MSG_WHO));
    CU_ASSERT_PTR_NULL(was_said(&bench, server(1), MSG_REFUSED));
    all_say_hello_again(&bench);
    forget(&bench);
    pass_ms(&bench, 4000);
    CU_ASSERT_PTR_NULL(was_said(&bench, worker(2), MSG_WHO));
    check_same_places(&bench, &before);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    close_bench(&bench);
}

static void test_coordinator_finishes_what_another_began(void)
{
    struct bench bench;
    open_job(&bench);
    bench.settings.job.steps = 100;
    for (uint64_t step = 0; step < 30; step++)
        for (uint32_t lane = 0; lane < 4; lane++)
            lane_at(&bench, worker(0), step, lane, 1000);
    restart(&bench);
    pass_ms(&bench, 100);
    all_say_hello_again(&bench);
    for (uint64_t step = 0; step < 100; step++)
        for (uint32_t lane = 0; lane < 4; lane++)
            lane_at(&bench, worker(0), step, lane, 1000);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_EVALUATING);
    struct message eval = from_member(&bench, MSG_EVAL_DONE);
    for (uint32_t lane = 0; lane < 4; lane++) {
        eval.lane = (struct lane_result){.step = 100, .lane = lane, .sample_count = 1};
        hear(&bench, worker(0), &eval);
    }
    for (uint32_t i = 0; i < 3; i++)
        digest_at(&bench, worker(i), 100, DIGEST_1);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    finish_checkpoint_at(&bench, 100, 0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_FINISHED);
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, (struct address){PARTY_JOURNAL, 0}, MSG_FINISH));
    close_bench(&bench);
}

static void test_coordinator_loses_who_does_not_come_back_to_it(void)
{
    struct bench bench;
    open_job(&bench);
    silence(&bench, server(1));
    silence(&bench, worker(2));
    restart(&bench);
    pass_ms(&bench, 2900);
    CU_ASSERT_EQUAL(view_of(&bench)->shard_count, 2);
    pass_ms(&bench, 300);
    CU_ASSERT_EQUAL(view_of(&bench)->shard_count, 1);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 2);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(primary_of(&bench, i), server(0).id);
    close_bench(&bench);
}

static void test_coordinator_gives_members_time_to_find_it(void)
{
    struct bench bench;
    open_job(&bench);
    restart(&bench);
    struct message gone = {.kind = MSG_GONE};
    hear(&bench, server(1), &gone); /* not connected again yet */
    silence(&bench, server(1));
    pass_ms(&bench, 2500);
    CU_ASSERT_EQUAL(view_of(&bench)->shard_count, 2);
    actor_of(&bench, server(1))->is_alive = true;
    pass_ms(&bench, 1000);
    CU_ASSERT_EQUAL(view_of(&bench)->shard_count, 2);
    close_bench(&bench);
}

static void test_coordinator_goes_back_to_the_checkpoint_of_its_journal(void)
{
    struct bench bench;
    open_job(&bench);
    restart(&bench);
    silence(&bench, server(0));
    silence(&bench, server(1));
    pass_ms(&bench, 3500);
    join(&bench, server(5), 0);
    join(&bench, server(6), 1);
    pass_ms(&bench, 200);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 2);
    CU_ASSERT_EQUAL(view_of(&bench)->start_step, 20);
    CU_ASSERT(view_of(&bench)->is_restored);
    close_bench(&bench);
}

static void test_coordinator_asks_who_is_there_that_its_journal_does_not_know(void)
{
    struct bench bench;
    open_job(&bench);
    restart(&bench);
    struct message beat = {.kind = MSG_BEAT, .run = run};
    hear(&bench, worker(5), &beat); /* was cut off when the last view was made */
    CU_ASSERT(has(&bench, worker(5), MSG_WHO) && !has(&bench, worker(5), MSG_REFUSED));
    join(&bench, worker(5), 5);
    beat.run = (struct run_id){7, 7};
    hear(&bench, worker(6), &beat);
    CU_ASSERT(has(&bench, worker(6), MSG_REFUSED));
    close_bench(&bench);
}

static void test_coordinator_begins_a_run_of_which_nothing_but_the_name_was_written(void)
{
    struct bench bench;
    open_bench_at(&bench, 0);
    bench.settings.job.steps = 100;
    restart(&bench);
    join_all(&bench);
    CU_ASSERT_EQUAL(view_of(&bench)->number, 1);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    close_bench(&bench);
}

static void test_coordinator_begins_at_the_checkpoint_that_its_journal_names(void)
{
    struct bench bench;
    open_bench_at(&bench, 30);
    bench.settings.job.steps = 100;
    restart(&bench); /* whose caller does not know of it */
    join_all(&bench);
    CU_ASSERT_EQUAL(view_of(&bench)->start_step, 30);
    CU_ASSERT(view_of(&bench)->is_restored);
    close_bench(&bench);
}

static void test_coordinator_snapshot_says_what_all_records_said(void)
{
    struct bench bench, other;
    open_job(&bench);
    struct places_seen before = see(&bench);
    size_t first = bench.record_count;
    outbox_clear(&bench.out);
    coordinator_snapshot(bench.coordinator, &bench.out);
    for (size_t i = 0; i < bench.out.count; i++)
        CU_ASSERT_EQUAL(bench.out.items[i].to.party, PARTY_JOURNAL);
    keep_said(&bench);
    CU_ASSERT_EQUAL(bench.record_count - first, 4); /* run, job, checkpoint, view */
    set_job(&other);
    other.settings = bench.settings;
    create(&other, 0);
    CU_ASSERT_EQUAL_FATAL(recall(&other, bench.records + first, bench.record_count - first), 0);
    CU_ASSERT_EQUAL(view_of(&other)->number, before.number);
    check_same_places(&other, &before);
    coordinator_snapshot(other.coordinator, &other.out);
    keep_said(&other);
    CU_ASSERT_EQUAL_FATAL(other.record_count, 4);
    for (size_t i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL_FATAL(other.records[i].size, bench.records[first + i].size);
        CU_ASSERT_EQUAL(memcmp(other.records[i].bytes, bench.records[first + i].bytes,
                               other.records[i].size), 0);
    }
    close_bench(&other);
    close_bench(&bench);
}

static void test_coordinator_refuses_a_journal_of_another_job(void)
{
    struct bench bench, other;
    open_job(&bench);
    set_job(&other);
    other.settings = bench.settings;
    other.settings.job.lanes = 8;
    create(&other, 0);
    CU_ASSERT_EQUAL(recall(&other, bench.records, bench.record_count), ERR_INPUT);
    close_bench(&other);
    struct coordinator_spec spec = {.settings = &bench.settings, .run = run, .fingerprint = "00"};
    coordinator_destroy(bench.coordinator);
    CU_ASSERT_EQUAL_FATAL(coordinator_create(&spec, &bench.coordinator), 0);
    CU_ASSERT_EQUAL(recall(&bench, bench.records, bench.record_count), ERR_INPUT);
    close_bench(&bench);
}

static void test_coordinator_refuses_a_journal_whose_members_are_one(void)
{
    struct bench bench, other;
    open_job(&bench);
    struct message msg = {.kind = MSG_VIEW};
    struct err_msg why;
    msg.view_body = *view_of(&bench);
    struct shard_member shards[2] = {msg.view_body.shards[0], msg.view_body.shards[1]};
    msg.view_body.shards = shards;
    set_job(&other);
    other.settings = bench.settings;
    create(&other, 0);
    CU_ASSERT_EQUAL(coordinator_recall(other.coordinator, &msg, &why), 0);
    shards[1].incarnation = shards[0].incarnation;
    CU_ASSERT_EQUAL(coordinator_recall(other.coordinator, &msg, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "a shard of server 1 by another's incarnation"));
    shards[1].incarnation = 0;
    CU_ASSERT_EQUAL(coordinator_recall(other.coordinator, &msg, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "a shard of server 1 without an incarnation"));
    close_bench(&other);
    close_bench(&bench);
}

#define TESTS(X)                                                                  \
    X(test_coordinator_goes_on_from_its_journal)                                  \
    X(test_coordinator_finishes_what_another_began)                               \
    X(test_coordinator_loses_who_does_not_come_back_to_it)                        \
    X(test_coordinator_gives_members_time_to_find_it)                             \
    X(test_coordinator_goes_back_to_the_checkpoint_of_its_journal)                \
    X(test_coordinator_asks_who_is_there_that_its_journal_does_not_know)          \
    X(test_coordinator_begins_a_run_of_which_nothing_but_the_name_was_written)    \
    X(test_coordinator_begins_at_the_checkpoint_that_its_journal_names)           \
    X(test_coordinator_snapshot_says_what_all_records_said)                       \
    X(test_coordinator_refuses_a_journal_of_another_job)                          \
    X(test_coordinator_refuses_a_journal_whose_members_are_one)

UNIT_MAIN("coordinator_recall", TESTS)
