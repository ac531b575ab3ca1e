/* What the coordinator does when members are lost, come, lag or leave. */
#include "tests/unit/coordinator_bench.h"

/* So many servers and blocks, two workers, a hundred steps. */
static void open_job(struct bench *bench, uint32_t servers, uint32_t replicas, uint32_t blocks)
{
    open_bench(bench);
    set_blocks(bench, blocks);
    bench->settings.job.steps = 100;
    bench->settings.cluster.servers = servers;
    bench->settings.cluster.replicas = replicas;
    bench->settings.cluster.answer_s = 60;
    bench->settings.cluster.give_up_s = 60;
}

static void start_job(struct bench *bench, uint32_t servers, uint32_t replicas, uint32_t blocks)
{
    open_job(bench, servers, replicas, blocks);
    join_all(bench);
    pass_ms(bench, 500); /* beats show how regular they are */
    CU_ASSERT_EQUAL_FATAL(view_of(bench)->number, 1);
    forget(bench);
}

static size_t primaries_of(const struct bench *bench, struct address who)
{
    size_t count = 0;
    for (size_t i = 0; i < view_of(bench)->block_count; i++)
        count += primary_of(bench, i) == who.id;
    return count;
}

static size_t learners(const struct bench *bench)
{
    size_t count = 0;
    for (size_t i = 0; i < view_of(bench)->block_count; i++)
        count += learner_of(bench, i) != 0;
    return count;
}

static void test_coordinator_promotes_the_backup_of_who_has_ended(void)
{
    struct bench bench;
    start_job(&bench, 2, 1, 4);
    CU_ASSERT(progress(&bench).is_protected);
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(primary_of(&bench, i) + backup_of(&bench, i), server(0).id + server(1).id);
    kill_member(&bench, server(1));
    pass_ms(&bench, 50);
    CU_ASSERT_EQUAL(view_of(&bench)->number, 2);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    CU_ASSERT_EQUAL(view_of(&bench)->shard_count, 1);
    CU_ASSERT_EQUAL(primaries_of(&bench, server(0)), 4);
    CU_ASSERT_PTR_NULL(view_of(&bench)->block_backup);
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, worker(0), MSG_VIEW));
    CU_ASSERT_PTR_NULL(was_said(&bench, server(1), MSG_VIEW));
    CU_ASSERT(!progress(&bench).is_protected);
    close_bench(&bench);
}

static void test_coordinator_waits_for_a_connection_that_may_be_made_again(void)
{
    struct bench bench;
    struct message gone = {.kind = MSG_GONE};
    open_job(&bench, 2, 1, 4);
    bench.is_remote = true;
    join_all(&bench);
    pass_ms(&bench, 500);
    hear(&bench, server(1), &gone);
    pass_ms(&bench, 50); /* it speaks again */
    silence(&bench, server(1));
    pass_ms(&bench, 300);
    hear(&bench, server(1), &gone);
    pass_ms(&bench, 400);
    CU_ASSERT_EQUAL(view_of(&bench)->number, 1);
    pass_ms(&bench, 150); /* the connection is gone half a second */
    CU_ASSERT_EQUAL(view_of(&bench)->number, 2);
    CU_ASSERT_EQUAL(primaries_of(&bench, server(0)), 4);
    close_bench(&bench);
}

static void test_coordinator_makes_a_learner_the_new_backup_once_it_is_filled(void)
{
    struct bench bench;
    start_job(&bench, 3, 1, 6);
    kill_member(&bench, server(2));
    pass_ms(&bench, 150);
    size_t unprotected = learners(&bench);
    CU_ASSERT_EQUAL(unprotected, 4); /* it was primary of two blocks and backup of two */
    uint32_t idx = 0;
    while (learner_of(&bench, idx) == 0)
        idx++;
    uint64_t learner = learner_of(&bench, idx), primary = primary_of(&bench, idx);
    CU_ASSERT_EQUAL(backup_of(&bench, idx), 0);
    fill(&bench, idx, primary);
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(primary_of(&bench, idx), primary);
    CU_ASSERT_EQUAL(backup_of(&bench, idx), learner);
    CU_ASSERT_EQUAL(learner_of(&bench, idx), 0);
    fill_all(&bench);
    pass_ms(&bench, 100);
    CU_ASSERT(progress(&bench).is_protected);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    close_bench(&bench);
}

static void test_coordinator_ignores_filled_of_another_learner_primary_or_era(void)
{
    struct bench bench;
    start_job(&bench, 3, 1, 1);
    struct address primary = {PARTY_SHARD, primary_of(&bench, 0)};
    struct address backup = {PARTY_SHARD, backup_of(&bench, 0)};
    kill_member(&bench, backup);
    pass_ms(&bench, 150);
    uint64_t learner = learner_of(&bench, 0);
    CU_ASSERT_FATAL(learner != 0);
    uint32_t number = view_of(&bench)->number;
    struct message filled = from_member(&bench, MSG_FILLED);
    filled.view = number - 1; /* this learner was not named in that */
    hear(&bench, primary, &filled);
    filled = from_member(&bench, MSG_FILLED);
    filled.era++;
    hear(&bench, primary, &filled);
    fill(&bench, 0, learner);
    fill(&bench, 1, primary.id); /* there is no such block */
    pass_ms(&bench, 200);
    CU_ASSERT_EQUAL(view_of(&bench)->number, number);
    CU_ASSERT_EQUAL(learner_of(&bench, 0), learner);
    fill(&bench, 0, primary.id);
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(backup_of(&bench, 0), learner);
    close_bench(&bench);
}

/* Learners are filled as they are named, until the view stays as it is. */
static void let_blocks_move(struct bench *bench)
{
    for (int i = 0; i < 20; i++) {
        pass_ms(bench, 100);
        fill_all(bench);
    }
    pass_ms(bench, 100);
    CU_ASSERT_EQUAL(learners(bench), 0);
}

static void check_drained(uint32_t servers, uint32_t replicas)
{
    struct bench bench;
    struct message bye;
    start_job(&bench, servers, replicas, 6);
    bye = from_member(&bench, MSG_BYE);
    bye.outcome.code = ERR_STOPPED;
    hear(&bench, server(0), &bye);
    pass_ms(&bench, 200);
    if (replicas > 0)
        CU_ASSERT_EQUAL(primaries_of(&bench, server(0)), 0);
    pass_ms(&bench, 2000); /* nothing is filled yet */
    if (servers > 2 || replicas == 0)
        CU_ASSERT_PTR_NULL(was_said(&bench, server(0), MSG_FINISH));
    let_blocks_move(&bench);
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, server(0), MSG_FINISH));
    CU_ASSERT_EQUAL(view_of(&bench)->shard_count, servers - 1);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    CU_ASSERT_EQUAL(progress(&bench).is_protected, servers > 2 && replicas > 0);
    close_bench(&bench);
}

static void test_coordinator_lets_a_server_go_when_it_is_empty(void)
{
    check_drained(3, 1);
    check_drained(2, 1);
    check_drained(2, 0);
}

static void test_coordinator_moves_blocks_to_a_server_that_is_added(void)
{
    for (uint32_t replicas = 0; replicas <= 1; replicas++) {
        struct bench bench;
        start_job(&bench, 1 + replicas, replicas, 8 + 4 * replicas);
        join(&bench, server(5), -1);
        pass_ms(&bench, 200);
        CU_ASSERT(learners(&bench) > 0);
        CU_ASSERT_EQUAL(primaries_of(&bench, server(5)), 0);
        let_blocks_move(&bench);
        CU_ASSERT_EQUAL(primaries_of(&bench, server(5)), 4);
        CU_ASSERT_EQUAL(primaries_of(&bench, server(0)), 4);
        CU_ASSERT_EQUAL(progress(&bench).is_protected, replicas == 1);
        uint32_t number = view_of(&bench)->number;
        let_blocks_move(&bench);
        CU_ASSERT_EQUAL(view_of(&bench)->number, number);
        CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
        close_bench(&bench);
    }
}

static void test_coordinator_goes_back_only_when_the_lease_is_over(void)
{
    struct bench bench;
    start_job(&bench, 2, 0, 4);
    finish_checkpoint_at(&bench, 20, 0);
    silence(&bench, server(1));
    pass_ms(&bench, 2900);
    CU_ASSERT_EQUAL(view_of(&bench)->number, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(progress(&bench).trouble, "blocks that no server has"));
    pass_ms(&bench, 200);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 2);
    CU_ASSERT_EQUAL(view_of(&bench)->start_step, 20);
    CU_ASSERT(view_of(&bench)->is_restored);
    CU_ASSERT_EQUAL(primaries_of(&bench, server(0)), 4);
    CU_ASSERT_EQUAL(progress(&bench).trouble[0] != 0, true); /* server 1 is still lost */
    close_bench(&bench);
}

static void test_coordinator_keeps_the_lease_of_one_whose_rank_was_given_away(void)
{
    struct bench bench;
    start_job(&bench, 2, 0, 4);
    silence(&bench, server(1));
    pass_ms(&bench, 1500);
    join(&bench, server(5), 1);
    pass_ms(&bench, 1400);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    pass_ms(&bench, 200);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 2);
    CU_ASSERT_EQUAL(primaries_of(&bench, server(5)), 2);
    close_bench(&bench);
}

static void test_coordinator_goes_back_soon_when_a_primary_has_ended(void)
{
    struct bench bench;
    start_job(&bench, 2, 0, 4);
    kill_member(&bench, server(1));
    pass_ms(&bench, 400);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 2);
    CU_ASSERT_EQUAL(view_of(&bench)->start_step, 0);
    CU_ASSERT(!view_of(&bench)->is_restored);
    close_bench(&bench);
}

static void test_coordinator_begins_every_era_with_the_file_that_the_job_names(void)
{
    static char file[] = "weights.safetensors";
    struct bench bench;
    open_job(&bench, 2, 0, 4);
    bench.settings.model.init_from = file;
    join_all(&bench);
    pass_ms(&bench, 500);
    CU_ASSERT(view_of(&bench)->is_restored && view_of(&bench)->start_step == 0);
    kill_member(&bench, server(1));
    pass_ms(&bench, 400);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 2);
    CU_ASSERT(view_of(&bench)->is_restored && view_of(&bench)->start_step == 0);
    close_bench(&bench);
}

static void test_coordinator_goes_back_at_once_when_a_primary_says_that_it_ended(void)
{
    struct bench bench;
    open_job(&bench, 2, 0, 4);
    bench.is_remote = true;
    join_all(&bench);
    struct message bye = from_member(&bench, MSG_BYE);
    bye.outcome.code = ERR_LOST;
    hear(&bench, server(1), &bye);
    silence(&bench, server(1));
    pass_ms(&bench, 50);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 2);
    close_bench(&bench);
}

static void test_coordinator_leaves_blocks_with_a_primary_that_comes_back(void)
{
    struct bench bench;
    start_job(&bench, 2, 0, 4);
    uint64_t before = primary_of(&bench, 0);
    silence(&bench, server(1));
    pass_ms(&bench, 2000);
    CU_ASSERT_EQUAL(coordinator_members(bench.coordinator)->items[0].state, MEMBER_GONE);
    actor_of(&bench, server(1))->is_alive = true;
    pass_ms(&bench, 3000);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    CU_ASSERT_EQUAL(view_of(&bench)->shard_count, 2);
    CU_ASSERT_EQUAL(primaries_of(&bench, server(1)), 2);
    CU_ASSERT_EQUAL(primary_of(&bench, 0), before);
    close_bench(&bench);
}

static void test_coordinator_takes_other_digests_after_a_way_back(void)
{
    struct bench bench;
    start_job(&bench, 2, 0, 2);
    digest_at(&bench, worker(0), 100, DIGEST_1);
    kill_member(&bench, server(1));
    pass_ms(&bench, 400);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 2);
    digest_at(&bench, worker(1), 100, DIGEST_2); /* bits may differ where clocks run free */
    digest_at(&bench, worker(0), 100, DIGEST_2);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    close_bench(&bench);
}

static void test_coordinator_deals_lanes_of_a_lost_worker_at_once(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    kill_member(&bench, worker(1));
    pass_ms(&bench, 50);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 4);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 1);
    close_bench(&bench);
}

static void test_coordinator_takes_back_a_worker_that_was_cut_off(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    silence(&bench, worker(1));
    pass_ms(&bench, 1200);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 4);
    CU_ASSERT_PTR_NOT_NULL(strstr(progress(&bench).trouble, "worker 1 (pid 32 on host here) is l"));
    actor_of(&bench, worker(1))->is_alive = true;
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 2);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    CU_ASSERT_EQUAL(progress(&bench).trouble[0], 0);
    close_bench(&bench);
}

/* Everybody else has died since: it is needed. */
static void test_coordinator_keeps_a_leaving_worker_that_is_the_last(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    struct message bye = from_member(&bench, MSG_BYE);
    bye.outcome.code = ERR_STOPPED;
    hear(&bench, worker(1), &bye);
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 0);
    kill_member(&bench, worker(0));
    pass_ms(&bench, 2000);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 4);
    close_bench(&bench);
}

static void check_drain(struct bench *bench, bool is_server, uint32_t rank, int code,
                        const char *text)
{
    static const struct address client = {PARTY_CLIENT, 9};
    struct message drain = {.kind = MSG_DRAIN, .drain = {.is_server = is_server, .rank = rank}};
    hear(bench, client, &drain);
    CU_ASSERT_FATAL(bench->out.count == 1 && has(bench, client, MSG_DRAINING));
    CU_ASSERT_EQUAL(bench->out.items[0].msg.outcome.code, code);
    CU_ASSERT_STRING_EQUAL(bench->out.items[0].msg.outcome.text, text);
}

static void say_bye(struct bench *bench, struct address who)
{
    struct message bye = from_member(bench, MSG_BYE);
    bye.outcome.code = ERR_STOPPED;
    hear(bench, who, &bye);
}

/* All workers are asked to leave, their machines being needed elsewhere for a while. */
static void leave_one_by_one(struct bench *bench)
{
    start_job(bench, 1, 0, 1);
    bench->settings.cluster.last_worker = LAST_WORKER_WAIT;
    bench->settings.cluster.give_up_s = 6;
    say_bye(bench, worker(0));
    say_bye(bench, worker(1));
    pass_ms(bench, 1200);
    CU_ASSERT_PTR_NOT_NULL(was_said(bench, worker(0), MSG_FINISH));
    CU_ASSERT_PTR_NOT_NULL(was_said(bench, worker(1), MSG_FINISH));
    silence(bench, worker(0));
    silence(bench, worker(1));
    CU_ASSERT_EQUAL(progress(bench).phase, PHASE_TRAINING);
    CU_ASSERT_EQUAL(view_of(bench)->worker_count, 0);
}

static void test_coordinator_waits_for_others_when_its_last_worker_leaves(void)
{
    struct bench bench;
    leave_one_by_one(&bench);
    pass_ms(&bench, 4000);
    CU_ASSERT_PTR_NOT_NULL(strstr(progress(&bench).trouble, "0 of 2 workers"));
    join(&bench, worker(2), 5);
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(2)), 4);
    CU_ASSERT_EQUAL(progress(&bench).trouble[0], 0);
    check_drain(&bench, false, 5, 0, "worker 5 is being drained");
    pass_ms(&bench, 1200);
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, worker(2), MSG_FINISH));
    silence(&bench, worker(2));
    pass_ms(&bench, 6100);
    CU_ASSERT_EQUAL(asked_step(&bench, server(0)), progress(&bench).step);
    finish_checkpoint_at(&bench, progress(&bench).step, 0);
    check_failed(&bench, "0 of 2 workers (missing ranks 0 1), for 6 s (cluster.give_up_s)");
}

static void test_coordinator_stops_where_it_is_when_no_worker_is_there(void)
{
    struct bench bench;
    leave_one_by_one(&bench);
    coordinator_stop(bench.coordinator, &bench.out);
    pass_ms(&bench, 2100);
    uint64_t newest = actor_of(&bench, server(0))->beat.step;
    CU_ASSERT_EQUAL(asked_step(&bench, server(0)), newest);
    finish_checkpoint_at(&bench, newest, 0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_STOPPED);
    close_bench(&bench);
}

static void test_coordinator_stops_where_it_is_when_all_workers_are_lost(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    coordinator_stop(bench.coordinator, &bench.out);
    kill_member(&bench, worker(0));
    kill_member(&bench, worker(1));
    pass_ms(&bench, 2100);
    uint64_t newest = actor_of(&bench, server(0))->beat.step;
    CU_ASSERT_EQUAL(asked_step(&bench, server(0)), newest);
    finish_checkpoint_at(&bench, newest, 0);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_STOPPED);
    close_bench(&bench);
}

/* Some blocks have made a step and others have not: the newest version will never be whole. */
static void test_coordinator_that_stops_without_workers_gives_up_soon(void)
{
    struct bench bench;
    leave_one_by_one(&bench);
    bench.settings.cluster.give_up_s = 86400;
    coordinator_stop(bench.coordinator, &bench.out);
    pass_ms(&bench, 9000);
    check_failed(&bench, "0 of 2 workers (missing ranks 0 1), for 3 s (cluster.silence_s)");
}

static void test_coordinator_lets_a_worker_go_before_all_are_there(void)
{
    struct bench bench;
    open_job(&bench, 1, 0, 1);
    bench.settings.cluster.last_worker = LAST_WORKER_WAIT;
    join(&bench, worker(0), 0);
    say_bye(&bench, worker(0));
    CU_ASSERT(has(&bench, worker(0), MSG_FINISH));
    silence(&bench, worker(0));
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_WAITING);
    join(&bench, server(0), 0);
    join(&bench, worker(1), 0);
    CU_ASSERT_PTR_NULL(view_of(&bench));
    join(&bench, worker(2), 7); /* as many as are asked for, whatever their ranks */
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    close_bench(&bench);
}

/* A link that carries one way only: it beats on, and never has the view that it is to have. */
static void test_coordinator_takes_who_hears_nothing_for_gone(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    struct message beat = from_member(&bench, MSG_BEAT);
    hear(&bench, worker(1), &beat);
    silence(&bench, worker(1)); /* its beats come by hand */
    join(&bench, worker(2), -1);
    pass_ms(&bench, 100);
    CU_ASSERT(view_of(&bench)->number > beat.view);
    for (int i = 0; i < 15; i++) {
        pass_ms(&bench, 100);
        hear(&bench, worker(1), &beat);
    }
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 0);
    CU_ASSERT(!has(&bench, worker(1), MSG_BEAT)); /* no echo: a lease would go on */
    CU_ASSERT(has(&bench, worker(1), MSG_VIEW));
    beat = from_member(&bench, MSG_BEAT);
    hear(&bench, worker(1), &beat);
    pass_ms(&bench, 100);
    CU_ASSERT(lanes_of(&bench, worker(1)) > 0);
    close_bench(&bench);
}

/* One step: each lane by its owner, who takes so much time for one; worker 1 takes slow_us, and
 * begins that much later. */
static void run_step_late(struct bench *bench, uint64_t step, uint64_t slow_us, uint64_t late_ms)
{
    uint64_t begin_ms = bench->now_ms, done = 0;
    for (uint64_t ms = 0; done < 4; ms++) {
        uint64_t counts[2] = {0, 0};
        bench->now_ms = begin_ms + ms;
        for (uint32_t lane = 0; lane < 4; lane++) {
            struct address who = {PARTY_WORKER, owner_of(bench, lane)};
            bool is_slow = who.id == worker(1).id;
            uint64_t lane_us = is_slow ? slow_us : 10000;
            if (ms != ++counts[is_slow] * lane_us / 1000 + (is_slow ? late_ms : 0))
                continue;
            lane_at(bench, who, step, lane, lane_us);
            done++;
        }
    }
    actor_of(bench, server(0))->beat.step = step + 1;
    pass_ms(bench, 100);
}

static void run_step(struct bench *bench, uint64_t step, uint64_t slow_us)
{
    run_step_late(bench, step, slow_us, 0);
}

static void test_coordinator_gives_a_slow_worker_fewer_lanes(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    for (uint64_t step = 0; step < 10; step++)
        run_step(&bench, step, 11000);
    CU_ASSERT_EQUAL(view_of(&bench)->number, 1); /* that is as good as the same */
    for (uint64_t step = 10; step < 50; step++)
        run_step(&bench, step, 25000);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 3);
    for (uint64_t step = 50; step < 99; step++)
        run_step(&bench, step, 300000);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 4);
    CU_ASSERT_PTR_NOT_NULL(strstr(progress(&bench).trouble, "worker 1 (pid 32 on host here) lags"));
    pass_ms(&bench, 31000); /* it gets another chance */
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    close_bench(&bench);
}

/* It computes as fast as the other, but what holds it up holds every step up. */
static void test_coordinator_gives_no_lanes_to_who_is_behind_however_fast_it_computes(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    for (uint64_t step = 0; step < 40; step++)
        run_step_late(&bench, step, 10000, step == 20 ? 300 : 0);
    CU_ASSERT_EQUAL(view_of(&bench)->number, 1); /* once is never */
    for (uint64_t step = 40; step < 80; step++)
        run_step_late(&bench, step, 10000, step % 2 * 150);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 4);
    CU_ASSERT_PTR_NOT_NULL(strstr(progress(&bench).trouble, "ms after the others'"));
    close_bench(&bench);
}

static void test_coordinator_gives_late_lanes_to_who_is_idle(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    for (uint64_t step = 0; step < 10; step++)
        run_step(&bench, step, 10000);
    lane_at(&bench, worker(0), 10, 0, 10000);
    lane_at(&bench, worker(0), 10, 1, 10000);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    pass_ms(&bench, 50);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    pass_ms(&bench, 150);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 4);
    CU_ASSERT_EQUAL(view_of(&bench)->worker_count, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(progress(&bench).trouble, "worker 1 (pid 32 on host here) lags"));
    lane_at(&bench, worker(1), 10, 2, 10000); /* so it was not so slow */
    lane_at(&bench, worker(1), 10, 3, 10000);
    pass_ms(&bench, 1100);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    close_bench(&bench);
}

static void test_coordinator_moves_no_lane_while_all_are_at_work(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    for (uint64_t step = 0; step < 10; step++)
        run_step(&bench, step, 10000);
    lane_at(&bench, worker(0), 10, 0, 10000);
    lane_at(&bench, worker(1), 10, 2, 10000);
    pass_ms(&bench, 3000);
    CU_ASSERT_EQUAL(view_of(&bench)->number, 1);
    close_bench(&bench);
}

static void test_coordinator_moves_lanes_that_a_shard_lacks_though_they_are_done(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    for (uint64_t step = 0; step < 10; step++)
        run_step(&bench, step, 10000);
    struct beat *beat = &actor_of(&bench, server(0))->beat;
    beat->step = 9; /* all have reported, but two lanes' gradients are not there */
    beat->lack_begin = 2;
    beat->lack_end = 4;
    pass_ms(&bench, 1400);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    pass_ms(&bench, 300);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 4);
    close_bench(&bench);
}

static void test_coordinator_moves_no_lane_for_a_shard_that_waits_for_another(void)
{
    struct bench bench;
    start_job(&bench, 2, 0, 2);
    for (uint64_t step = 0; step < 10; step++)
        run_step(&bench, step, 10000);
    actor_of(&bench, server(0))->beat.lack_end = 4;
    actor_of(&bench, server(1))->beat.step = 9;
    pass_ms(&bench, 3000);
    CU_ASSERT_EQUAL(view_of(&bench)->number, 1);
    close_bench(&bench);
}

static void test_coordinator_passes_over_a_step_whose_reports_are_lost(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    lane_at(&bench, worker(0), 0, 0, 10000);
    actor_of(&bench, server(0))->beat.step = 100; /* all is done, whatever was heard of it */
    pass_ms(&bench, 2000);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_TRAINING);
    pass_ms(&bench, 1500);
    CU_ASSERT_EQUAL(progress(&bench).phase, PHASE_EVALUATING);
    CU_ASSERT_EQUAL(progress(&bench).step, 100);
    close_bench(&bench);
}

static void test_coordinator_drains_who_it_is_asked_to(void)
{
    struct bench bench;
    open_job(&bench, 1, 0, 1);
    check_drain(&bench, true, 0, ERR_REFUSED, "server 0: the job is not training");
    join_all(&bench);
    check_drain(&bench, true, 0, ERR_REFUSED, "server 0 is the last one");
    check_drain(&bench, true, 3, ERR_NOT_FOUND, "there is no server 3");
    check_drain(&bench, false, 0, 0, "worker 0 is being drained");
    check_drain(&bench, false, 0, 0, "worker 0 is being drained");
    check_drain(&bench, false, 1, ERR_REFUSED, "worker 1 is the last one");
    pass_ms(&bench, 1200);
    CU_ASSERT_PTR_NOT_NULL(was_said(&bench, worker(0), MSG_FINISH));
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 4);
    check_drain(&bench, false, 0, ERR_NOT_FOUND, "there is no worker 0");
    close_bench(&bench);
}

static void test_coordinator_drains_no_shard_of_the_last_server(void)
{
    struct bench bench;
    open_job(&bench, 1, 0, 2);
    bench.settings.cluster.shards = 2;
    struct message hello = hello_of(&bench, server(0), 0);
    hear(&bench, server(0), &hello);
    hello.hello.shard_idx = 1;
    hear(&bench, server(1), &hello);
    join(&bench, worker(0), 0);
    join(&bench, worker(1), 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(view_of(&bench));
    check_drain(&bench, true, 0, ERR_REFUSED, "server 0 is the last one");
    const struct members *members = coordinator_members(bench.coordinator);
    for (size_t i = 0; i < members->count; i++)
        CU_ASSERT_EQUAL(members->items[i].state, MEMBER_HERE);
    close_bench(&bench);
}

static void test_coordinator_writes_a_view_down_before_anybody_hears_of_it(void)
{
    struct bench bench;
    static const struct address journal = {PARTY_JOURNAL, 0};
    start_job(&bench, 2, 1, 4);
    kill_member(&bench, server(1));
    while (view_of(&bench)->number == 1)
        tick(&bench);
    CU_ASSERT(has(&bench, journal, MSG_VIEW) && has(&bench, store, MSG_VIEW));
    bool is_written = false;
    for (size_t i = 0; i < bench.out.count; i++) {
        const struct envelope *envelope = &bench.out.items[i];
        if (envelope->msg.kind != MSG_VIEW)
            continue;
        is_written = is_written || envelope->to.party == PARTY_JOURNAL;
        CU_ASSERT(is_written);
    }
    close_bench(&bench);
}

static void test_coordinator_sends_the_view_to_who_is_behind(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    struct message beat = from_member(&bench, MSG_BEAT);
    hear(&bench, worker(0), &beat);
    CU_ASSERT(!has(&bench, worker(0), MSG_VIEW));
    beat.view = 0;
    hear(&bench, worker(0), &beat);
    CU_ASSERT(has(&bench, worker(0), MSG_VIEW));
    close_bench(&bench);
}

/* The worker of that rank asks for version 5, which no shard has any more. */
static void ask_in_vain(struct bench *bench, uint32_t rank)
{
    struct message alarm = from_member(bench, MSG_ALARM);
    alarm.outcome = (struct outcome){.code = ERR_LOST, .step = 5, .newest = rank};
    hear(bench, server(0), &alarm);
    tick(bench);
}

static void test_coordinator_spares_who_cannot_get_its_weights(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    actor_of(&bench, server(0))->beat.step = 5;
    pass_ms(&bench, 100);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    ask_in_vain(&bench, 1);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 0);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 4);
    ask_in_vain(&bench, 1); /* it has not had that view yet */
    pass_ms(&bench, 3500);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 0);
    actor_of(&bench, server(0))->beat.step = 6;
    pass_ms(&bench, 700);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(1)), 2);
    close_bench(&bench);
}

static void test_coordinator_goes_back_when_nobody_can_get_a_version(void)
{
    struct bench bench;
    start_job(&bench, 1, 0, 1);
    actor_of(&bench, server(0))->beat.step = 5;
    ask_in_vain(&bench, 1);
    ask_in_vain(&bench, 0);
    pass_ms(&bench, 2900);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 1);
    pass_ms(&bench, 200);
    CU_ASSERT_EQUAL(view_of(&bench)->era, 2);
    CU_ASSERT_EQUAL(lanes_of(&bench, worker(0)), 2); /* both begin again */
    close_bench(&bench);
}

#define TESTS(X)                                                               \
    X(test_coordinator_promotes_the_backup_of_who_has_ended)                   \
    X(test_coordinator_waits_for_a_connection_that_may_be_made_again)          \
    X(test_coordinator_makes_a_learner_the_new_backup_once_it_is_filled)       \
    X(test_coordinator_ignores_filled_of_another_learner_primary_or_era)       \
    X(test_coordinator_lets_a_server_go_when_it_is_empty)                      \
    X(test_coordinator_moves_blocks_to_a_server_that_is_added)                 \
    X(test_coordinator_goes_back_only_when_the_lease_is_over)                  \
    X(test_coordinator_keeps_the_lease_of_one_whose_rank_was_given_away)       \
    X(test_coordinator_spares_who_cannot_get_its_weights) \
    X(test_coordinator_goes_back_when_nobody_can_get_a_version) \
    X(test_coordinator_goes_back_soon_when_a_primary_has_ended)             \
    X(test_coordinator_begins_every_era_with_the_file_that_the_job_names) \
    X(test_coordinator_goes_back_at_once_when_a_primary_says_that_it_ended)    \
    X(test_coordinator_leaves_blocks_with_a_primary_that_comes_back)           \
    X(test_coordinator_takes_other_digests_after_a_way_back)                   \
    X(test_coordinator_deals_lanes_of_a_lost_worker_at_once)                   \
    X(test_coordinator_takes_back_a_worker_that_was_cut_off)                   \
    X(test_coordinator_keeps_a_leaving_worker_that_is_the_last)                \
    X(test_coordinator_waits_for_others_when_its_last_worker_leaves)           \
    X(test_coordinator_stops_where_it_is_when_no_worker_is_there)              \
    X(test_coordinator_stops_where_it_is_when_all_workers_are_lost)            \
    X(test_coordinator_that_stops_without_workers_gives_up_soon)               \
    X(test_coordinator_lets_a_worker_go_before_all_are_there)                  \
    X(test_coordinator_takes_who_hears_nothing_for_gone)                       \
    X(test_coordinator_gives_a_slow_worker_fewer_lanes)                        \
    X(test_coordinator_gives_no_lanes_to_who_is_behind_however_fast_it_computes) \
    X(test_coordinator_gives_late_lanes_to_who_is_idle)                        \
    X(test_coordinator_moves_no_lane_while_all_are_at_work)                    \
    X(test_coordinator_moves_lanes_that_a_shard_lacks_though_they_are_done)    \
    X(test_coordinator_moves_no_lane_for_a_shard_that_waits_for_another)       \
    X(test_coordinator_passes_over_a_step_whose_reports_are_lost)              \
    X(test_coordinator_drains_who_it_is_asked_to)                              \
    X(test_coordinator_drains_no_shard_of_the_last_server)                     \
    X(test_coordinator_writes_a_view_down_before_anybody_hears_of_it)          \
    X(test_coordinator_sends_the_view_to_who_is_behind)

UNIT_MAIN("coordinator_views", TESTS)
