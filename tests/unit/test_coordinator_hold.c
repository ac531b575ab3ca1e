/* A coordinator whose job has patience: versions that are evaluated are held, the best one's
 * checkpoint is waited for, and the job ends when nothing gets better. */
#include "tests/unit/coordinator_bench.h"

/* Evaluated every two steps of ten. */
static void open_job(struct bench *bench, uint32_t patience)
{
    open_bench(bench);
    bench->settings.job.steps = 10;
    bench->settings.job.eval_every = 2;
    bench->settings.job.patience = patience;
    join_all(bench);
}

static uint64_t hold_step(const struct bench *bench)
{
    return view_of(bench)->early_stop.hold_step;
}

static void evaluate(struct bench *bench, uint64_t step, double loss)
{
    for (uint32_t lane = 0; lane < 4; lane++) {
        struct message msg = from_member(bench, MSG_EVAL_DONE);
        msg.lane = (struct lane_result){
            .step = step, .lane = lane, .loss_sum = 2 * loss, .sample_count = 2};
        hear(bench, worker(lane / 2), &msg);
    }
}

/* All lanes of these steps report. */
static void train(struct bench *bench, uint64_t begin, uint64_t end)
{
    for (uint64_t step = begin; step < end; step++)
        for (uint32_t lane = 0; lane < 4; lane++)
            lane_at(bench, worker(lane / 2), step, lane, 1000);
    actor_of(bench, server(0))->beat.step = end;
}

static void test_coordinator_holds_until_the_best_is_evaluated_and_kept(void)
{
    struct bench bench;
    open_job(&bench, 2);
    CU_ASSERT(hold_step(&bench) == 2 && view_of(&bench)->step_count == 10);
    train(&bench, 0, 2);
    pass_ms(&bench, 1000);
    CU_ASSERT_EQUAL(hold_step(&bench), 2);
    evaluate(&bench, 2, 1.0);
    CU_ASSERT_EQUAL(hold_step(&bench), 2); /* the best so far, and not kept */
    finish_checkpoint_at(&bench, 2, 0);
    CU_ASSERT(hold_step(&bench) == 4 && view_of(&bench)->early_stop.best_step == 2);
    CU_ASSERT(has(&bench, worker(0), MSG_VIEW) && has(&bench, server(0), MSG_VIEW) &&
              has(&bench, store, MSG_VIEW));
    train(&bench, 2, 4);
    evaluate(&bench, 4, 1.5); /* worse: nobody waits for its checkpoint */
    CU_ASSERT(hold_step(&bench) == 6 && view_of(&bench)->early_stop.worse_count == 1);
    evaluate(&bench, 4, 1.5); /* said again */
    CU_ASSERT(hold_step(&bench) == 6 && view_of(&bench)->early_stop.worse_count == 1);
    close_bench(&bench);
}

static void test_coordinator_ends_early_when_its_patience_is_over(void)
{
    struct bench bench;
    open_job(&bench, 2);
    train(&bench, 0, 6);
    evaluate(&bench, 2, 1.0);
    finish_checkpoint_at(&bench, 2, 0);
    evaluate(&bench, 4, 1.0); /* no better */
    evaluate(&bench, 6, 1.25);
    CU_ASSERT(!coordinator_is_over(bench.coordinator)); /* the last version is to be kept */
    finish_checkpoint_at(&bench, 6, 0);
    struct progress now = progress(&bench);
    CU_ASSERT(now.phase == PHASE_FINISHED && now.step == 6 && now.error[0] == 0);
    CU_ASSERT(now.early_stop.best_step == 2 && now.early_stop.best_loss == 1.0);
    CU_ASSERT_PTR_NOT_NULL(strstr(now.ending, "stopped early at step 6 of 10"));
    CU_ASSERT_PTR_NOT_NULL(strstr(now.ending, "in 2 evaluations"));
    CU_ASSERT(has(&bench, worker(0), MSG_FINISH) && has(&bench, server(0), MSG_FINISH));
    close_bench(&bench);
}

/* Reports that were lost with a worker do not make it end at an earlier step. */
static void test_coordinator_ends_early_at_the_step_evaluated_whatever_was_reported(void)
{
    struct bench bench;
    open_job(&bench, 1);
    train(&bench, 0, 1);
    evaluate(&bench, 2, 1.0);
    finish_checkpoint_at(&bench, 2, 0);
    evaluate(&bench, 4, 2.0);
    finish_checkpoint_at(&bench, 4, 0);
    CU_ASSERT(progress(&bench).phase == PHASE_FINISHED && progress(&bench).step == 4);
    close_bench(&bench);
}

static void test_coordinator_with_patience_makes_all_steps_when_they_help(void)
{
    struct bench bench;
    open_job(&bench, 1);
    for (uint64_t step = 2; step <= 10; step += 2) {
        train(&bench, step - 2, step);
        evaluate(&bench, step, 1.0 / (double)step);
        finish_checkpoint_at(&bench, step, 0);
    }
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    digest_at(&bench, worker(0), 10, DIGEST_1);
    digest_at(&bench, worker(1), 10, DIGEST_1);
    struct progress now = progress(&bench);
    CU_ASSERT(now.phase == PHASE_FINISHED && now.ending[0] == 0);
    CU_ASSERT(now.early_stop.best_step == 10 && now.early_stop.best_loss == 0.1);
    close_bench(&bench);
}

static void test_coordinator_asks_again_for_the_checkpoint_of_the_best(void)
{
    struct bench bench;
    open_job(&bench, 2);
    train(&bench, 0, 2);
    evaluate(&bench, 2, 1.0);
    finish_checkpoint_at(&bench, 2, ERR_IO);
    forget(&bench);
    pass_ms(&bench, 2500);
    CU_ASSERT_EQUAL(asked_step(&bench, server(0)), 2);
    finish_checkpoint_at(&bench, 2, ERR_IO);
    CU_ASSERT(!coordinator_is_over(bench.coordinator));
    finish_checkpoint_at(&bench, 2, ERR_IO);
    check_failed(&bench, "checkpoint of step 2: the disk is full");
}

/* The journal's last view says which version is held and what was best. */
static void test_coordinator_remembers_the_best_over_its_own_death(void)
{
    struct bench bench;
    struct arena *arena = NULL;
    struct err_msg why;
    open_job(&bench, 2);
    train(&bench, 0, 2);
    evaluate(&bench, 2, 1.0);
    finish_checkpoint_at(&bench, 2, 0);
    train(&bench, 2, 4);
    evaluate(&bench, 4, 3.0);
    coordinator_destroy(bench.coordinator);
    create(&bench, 0);
    CU_ASSERT_EQUAL_FATAL(arena_create(1 << 16, 1 << 22, &arena), 0);
    for (size_t i = 0; i < bench.record_count; i++) {
        struct message msg = {0};
        CU_ASSERT_EQUAL_FATAL(message_unpack(bench.records[i].bytes, bench.records[i].size, NULL,
                                             arena, &msg, &why),
                              0);
        CU_ASSERT_EQUAL_FATAL(coordinator_recall(bench.coordinator, &msg, &why), 0);
    }
    arena_destroy(arena);
    bench.now_ms += 1000;
    pass_ms(&bench, 200);
    struct early_stop stop = view_of(&bench)->early_stop;
    CU_ASSERT(stop.hold_step == 6 && stop.best_step == 2 && stop.best_loss == 1.0 &&
              stop.worse_count == 1);
    evaluate(&bench, 6, 3.0);
    finish_checkpoint_at(&bench, 6, 0);
    CU_ASSERT(progress(&bench).phase == PHASE_FINISHED && progress(&bench).step == 6);
    close_bench(&bench);
}

/* A run that goes on from a checkpoint counts the evaluations before it, and that version's own. */
static void test_coordinator_goes_on_with_what_the_checkpoint_says(void)
{
    struct bench bench;
    set_job(&bench);
    set_blocks(&bench, 1);
    bench.settings.job.steps = 10;
    bench.settings.job.eval_every = 2;
    bench.settings.job.patience = 2;
    struct coordinator_spec spec = {
        .settings = &bench.settings, .run = run, .incarnation = 77, .resume_step = 4,
        .store_incarnation = store.id, .store_endpoint = "inproc://d", .metric_step = 4,
        .fingerprint = FINGERPRINT,
        .early_stop = {.hold_step = 4, .best_step = 2, .best_loss = 1.0, .worse_count = 0}};
    CU_ASSERT_EQUAL_FATAL(coordinator_create(&spec, &bench.coordinator), 0);
    hear(&bench, nobody, NULL);
    join_all(&bench);
    CU_ASSERT(hold_step(&bench) == 4 && view_of(&bench)->early_stop.best_step == 2);
    evaluate(&bench, 4, 2.0);
    CU_ASSERT(hold_step(&bench) == 6 && view_of(&bench)->early_stop.worse_count == 1);
    close_bench(&bench);
}

#define TESTS(X) \
    X(test_coordinator_holds_until_the_best_is_evaluated_and_kept) \
    X(test_coordinator_ends_early_when_its_patience_is_over) \
    X(test_coordinator_ends_early_at_the_step_evaluated_whatever_was_reported) \
    X(test_coordinator_with_patience_makes_all_steps_when_they_help) \
    X(test_coordinator_asks_again_for_the_checkpoint_of_the_best) \
    X(test_coordinator_remembers_the_best_over_its_own_death) \
    X(test_coordinator_goes_on_with_what_the_checkpoint_says)

UNIT_MAIN("coordinator_hold", TESTS)
