/* Whole clusters under a virtual clock whose machines and links fail; seeds.h says how to replay a
 * run.  Whatever happens, the job ends in time with the weights of the undisturbed one. */
#include <string.h>
#include "tests/sim/seeds.h"
#include "tests/unit/unit.h"

enum {
    SEEDS = 200,
    IN_TIME_MS = 40000,  /* after the last fault */
    A_DROP_MS = 6000,   /* and so much more for each percent that gets lost */
    CREDIT = 1024
};

/* Small, quick to notice what happens, and checkpointed often. */
static struct settings chaos_settings(uint32_t servers, uint32_t workers)
{
    struct settings settings = sim_settings(servers, workers);
    settings.job.steps = 12;
    settings.job.eval_every = 4;
    settings.exchange.block_bytes = 128;
    settings.exchange.credit_bytes = CREDIT;
    settings.exchange.retry_ms = 50;
    settings.checkpoint.every = 4;
    settings.checkpoint.keep = 2;
    settings.cluster.beat_ms = 100;
    settings.cluster.silence_s = 2;
    settings.cluster.silence_floor_s = 0.5;
    settings.cluster.wait_s = 30;
    settings.cluster.answer_s = 30;
    settings.cluster.give_up_s = 30;
    return settings;
}

/* The job of a test; its size, network and times follow from the seed. */
static struct sim_spec chaos_spec(uint64_t seed, const struct settings *settings)
{
    static const uint32_t drops[] = {0, 1, 3, 10};
    struct sim_spec spec = seed_spec(seed, 2 + (uint32_t)(seed % 2), 2 + (uint32_t)(seed / 2 % 3));
    uint32_t servers = spec.settings.cluster.servers, workers = spec.settings.cluster.workers;
    spec.settings = *settings;
    spec.settings.exchange.overlap = seed % 4 != 1;
    spec.settings.exchange.credit_bytes = CREDIT >> seed / 4 % 3;
    spec.settings.cluster.servers = servers;
    spec.settings.cluster.workers = workers;
    spec.settings.cluster.shards = 1 + (uint32_t)(seed / 6 % 2);
    spec.drop_percent = drops[seed / 3 % 4];
    spec.twice_percent = seed % 5 == 0 ? 10 : 0;
    spec.disk_ms = seed % 3 == 0 ? 200 : 1;
    spec.disk_fail_percent = seed % 7 == 0 ? 30 : 0;
    spec.is_slow = seed % 4 == 0;
    spec.faults.count = 1 + (uint32_t)(seed % 8);
    spec.faults.span_ms = 1500;
    spec.faults.outage_ms = seed % 2 == 0 ? 300 : 6000;
    return spec;
}

/* Runs all seeds of a test like the given one. */
static void run_all(const char *test, const struct sim_spec *like)
{
    struct seeds seeds = seeds_of(test, SEEDS);
    static struct sim_history history;
    char digest[HEX_BYTES];
    if (seeds.first == seeds.end)
        return;
    bool has_reference = seed_reference(like, &history, digest);
    CU_ASSERT_FATAL(has_reference);
    bool is_exact = !settings_has_clocks(&like->settings) &&
                    like->settings.exchange.codec != CODEC_SPARSE;
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_spec spec = chaos_spec(seed, &like->settings);
        memcpy(spec.faults.weight, like->faults.weight, sizeof(spec.faults.weight));
        spec.faults.is_gentle = like->faults.is_gentle;
        if (like->faults.count > 0)
            spec.faults.count = like->faults.count;
        if (like->faults.outage_ms > 0)
            spec.faults.outage_ms = like->faults.outage_ms;
        spec.nan_percent = like->nan_percent;
        spec.keeps_all = like->keeps_all && spec.drop_percent == 0; /* else it may be too late */
        if (like->keeps_all)
            spec.disk_fail_percent = 0;
        spec.expected = &history;
        bool is_same = seed_holds(&seeds, &spec, is_exact ? digest : "",
                                  IN_TIME_MS + A_DROP_MS * spec.drop_percent);
        CU_ASSERT(is_same);
    }
}

static struct sim_spec job_of(uint32_t replicas)
{
    struct sim_spec spec = {.settings = chaos_settings(1, 1)};
    spec.settings.cluster.replicas = replicas;
    return spec;
}

static void test_chaos_nothing_but_a_bad_network(void)
{
    struct sim_spec spec = job_of(1);
    spec.faults.weight[FAULT_CUT] = 1;
    run_all(__func__, &spec);
}

static void test_chaos_workers_die_and_stand_still(void)
{
    struct sim_spec spec = job_of(0);
    spec.faults.weight[FAULT_KILL_WORKER] = 1;
    run_all(__func__, &spec);
}

static void test_chaos_one_worker_dies_and_nothing_is_taken_back(void)
{
    struct sim_spec spec = job_of(0);
    spec.faults.weight[FAULT_KILL_WORKER] = 1;
    spec.faults.count = 1;
    spec.faults.outage_ms = 300; /* its successor comes while the others are at the same step */
    spec.faults.is_gentle = true;
    run_all(__func__, &spec);
}

static void test_chaos_workers_die_together(void)
{
    struct sim_spec spec = job_of(0);
    spec.faults.weight[FAULT_KILL_WORKER] = 1;
    spec.faults.count = 12;
    spec.faults.outage_ms = 300;
    run_all(__func__, &spec);
}

static void test_chaos_servers_die_one_at_a_time_and_nothing_is_taken_back(void)
{
    struct sim_spec spec = job_of(1);
    spec.faults.weight[FAULT_KILL_SERVER] = 1;
    spec.faults.is_gentle = true;
    run_all(__func__, &spec);
}

static void test_chaos_servers_die_with_replicas(void)
{
    struct sim_spec spec = job_of(1);
    spec.faults.weight[FAULT_KILL_SERVER] = 1;
    run_all(__func__, &spec);
}

static void test_chaos_servers_die_without_replicas(void)
{
    struct sim_spec spec = job_of(0);
    spec.faults.weight[FAULT_KILL_SERVER] = 1;
    run_all(__func__, &spec);
}

static void test_chaos_coordinator_dies(void)
{
    struct sim_spec spec = job_of(1);
    spec.faults.weight[FAULT_KILL_COORDINATOR] = 1;
    spec.faults.weight[FAULT_KILL_WRITING] = 1;
    run_all(__func__, &spec);
}

static void test_chaos_partitions(void)
{
    struct sim_spec spec = job_of(1);
    spec.faults.weight[FAULT_PART] = 2;
    spec.faults.weight[FAULT_CUT] = 1;
    spec.faults.weight[FAULT_PAUSE] = 2;
    run_all(__func__, &spec);
}

/* One direction between two machines, for longer than a job that stands still is put up with. */
static void test_chaos_one_link_is_cut_for_long(void)
{
    struct sim_spec spec = job_of(1);
    spec.settings.job.steps = 48;
    spec.settings.checkpoint.every = 8;
    spec.faults.weight[FAULT_CUT] = 1;
    spec.settings.cluster.wait_s = 120; /* the cut may be there before the job begins */
    spec.faults.count = 1;
    spec.faults.outage_ms = 90000;
    run_all(__func__, &spec);
}

/* Long enough that who is cut off could go on beside the others for a while. */
static void test_chaos_partitions_of_a_longer_job(void)
{
    struct sim_spec spec = job_of(0);
    spec.settings.job.steps = 48;
    spec.settings.checkpoint.every = 8;
    spec.faults.weight[FAULT_PART] = 3;
    spec.faults.weight[FAULT_PAUSE] = 1;
    run_all(__func__, &spec);
}

static void test_chaos_drain_join_and_replace(void)
{
    struct sim_spec spec = job_of(1);
    spec.faults.weight[FAULT_DRAIN] = 2;
    spec.faults.weight[FAULT_JOIN] = 2;
    spec.faults.weight[FAULT_REPLACE] = 1;
    run_all(__func__, &spec);
}

static void test_chaos_workers_are_preempted_and_come_again(void)
{
    struct sim_spec spec = job_of(1);
    spec.settings.cluster.last_worker = LAST_WORKER_WAIT;
    spec.faults.weight[FAULT_PREEMPT] = 4;
    spec.faults.weight[FAULT_KILL_WORKER] = 1;
    run_all(__func__, &spec);
}

static void set_everything(struct sim_spec *spec)
{
    static const uint8_t weight[FAULT_KINDS] = {[FAULT_KILL_WORKER] = 4,
                                                [FAULT_KILL_SERVER] = 4,
                                                [FAULT_KILL_COORDINATOR] = 2,
                                                [FAULT_KILL_WRITING] = 2,
                                                [FAULT_KILL_ALL] = 1,
                                                [FAULT_PAUSE] = 4,
                                                [FAULT_CUT] = 3,
                                                [FAULT_PART] = 3,
                                                [FAULT_REPLACE] = 1,
                                                [FAULT_JOIN] = 2,
                                                [FAULT_DRAIN] = 2};
    memcpy(spec->faults.weight, weight, sizeof(spec->faults.weight));
}

static void test_chaos_everything_together(void)
{
    struct sim_spec spec = job_of(1);
    set_everything(&spec);
    run_all(__func__, &spec);
}

static void test_chaos_everything_together_without_replicas(void)
{
    struct sim_spec spec = job_of(0);
    set_everything(&spec);
    run_all(__func__, &spec);
}

static void set_clocks(struct sim_spec *spec, enum consistency_kind kind)
{
    spec->settings.exchange.consistency = kind;
    spec->settings.optimizer.kind = OPTIMIZER_SGD;
    spec->settings.optimizer.rate = 0.1;
    spec->settings.optimizer.weight_decay = 0.0;
}

static void test_chaos_ssp_applies_each_gradient_once(void)
{
    struct sim_spec spec = job_of(1);
    set_clocks(&spec, CONSISTENCY_SSP);
    set_everything(&spec);
    run_all(__func__, &spec);
}

/* Blocks move to servers that come, and keep their copies meanwhile. */
static void test_chaos_ssp_servers_die_one_at_a_time_and_nothing_is_taken_back(void)
{
    struct sim_spec spec = job_of(1);
    set_clocks(&spec, CONSISTENCY_SSP);
    spec.faults.weight[FAULT_KILL_SERVER] = 2;
    spec.faults.weight[FAULT_JOIN] = 1;
    spec.faults.is_gentle = true;
    run_all(__func__, &spec);
}

static void test_chaos_async_applies_each_gradient_once(void)
{
    struct sim_spec spec = job_of(1);
    set_clocks(&spec, CONSISTENCY_ASYNC);
    set_everything(&spec);
    run_all(__func__, &spec);
}

static void test_chaos_async_lanes_meet_at_every_checkpoint(void)
{
    struct sim_spec spec = job_of(0);
    set_clocks(&spec, CONSISTENCY_ASYNC);
    spec.faults.weight[FAULT_KILL_WORKER] = 1;
    spec.keeps_all = true;
    run_all(__func__, &spec);
}

static void test_chaos_steps_are_left_out_everywhere_or_nowhere(void)
{
    struct sim_spec spec = job_of(1);
    spec.settings.job.on_nonfinite = NONFINITE_SKIP;
    spec.nan_percent = 3;
    set_everything(&spec);
    run_all(__func__, &spec);
}

/* Rounds as many as steps elsewhere, each of three steps that a lane makes by itself. */
static void set_local(struct sim_spec *spec)
{
    struct settings *settings = &spec->settings;
    settings->exchange.consistency = CONSISTENCY_LOCAL;
    settings->exchange.local_steps = 3;
    settings->exchange.outer_rate = 0.7;
    settings->exchange.outer_momentum = 0.9;
    settings->job.steps = 3 * settings->job.steps - 1;
    settings->job.eval_every *= 3;
    settings->checkpoint.every *= 3;
}

static void test_chaos_local_rounds_end_with_the_same_bits(void)
{
    struct sim_spec spec = job_of(1);
    set_local(&spec);
    set_everything(&spec);
    run_all(__func__, &spec);
}

static void test_chaos_local_rounds_are_left_out_everywhere_or_nowhere(void)
{
    struct sim_spec spec = job_of(0);
    set_local(&spec);
    spec.settings.job.on_nonfinite = NONFINITE_SKIP;
    spec.nan_percent = 3;
    set_everything(&spec);
    run_all(__func__, &spec);
}

static void test_chaos_rounded_to_bf16_it_ends_with_the_same_bits(void)
{
    struct sim_spec spec = job_of(1);
    spec.settings.exchange.codec = CODEC_BF16;
    set_everything(&spec);
    run_all(__func__, &spec);
}

static void test_chaos_rounded_to_int8_it_ends_with_the_same_bits(void)
{
    struct sim_spec spec = job_of(1);
    spec.settings.exchange.codec = CODEC_INT8;
    spec.settings.exchange.block_bytes = CREDIT;
    set_everything(&spec);
    run_all(__func__, &spec);
}

static void test_chaos_local_rounds_in_int8_end_with_the_same_bits(void)
{
    struct sim_spec spec = job_of(0);
    spec.settings.exchange.codec = CODEC_INT8;
    spec.settings.exchange.block_bytes = CREDIT;
    set_local(&spec);
    set_everything(&spec);
    run_all(__func__, &spec);
}

/* Bits are open; that all end with the same ones, in time, is not. */
static void test_chaos_with_the_largest_only_it_ends(void)
{
    struct sim_spec spec = job_of(1);
    spec.settings.exchange.codec = CODEC_SPARSE;
    spec.settings.exchange.topk_fraction = 0.1;
    spec.settings.exchange.topk_warmup_steps = 3;
    spec.settings.optimizer.kind = OPTIMIZER_MOMENTUM;
    set_everything(&spec);
    run_all(__func__, &spec);
}

/* With patience the job ends where its losses say, which are those of the undisturbed run. */
static bool ends_alike(const struct sim_result *result, const struct sim_result *reference)
{
    const struct early_stop *stop = &result->progress.early_stop;
    const struct early_stop *expected = &reference->progress.early_stop;
    if (result->progress.phase == PHASE_STOPPED)
        return result->has_drained;
    return result->progress.phase == PHASE_FINISHED && result->progress.ending[0] != 0 &&
           result->progress.step == reference->progress.step &&
           stop->hold_step == expected->hold_step && stop->best_step == expected->best_step &&
           stop->best_loss == expected->best_loss && stop->worse_count == expected->worse_count;
}

/* No loss is ever so much better than the first. */
static struct sim_spec patient_job(uint32_t replicas)
{
    struct sim_spec spec = job_of(replicas);
    spec.settings.job.steps = 40;
    spec.settings.job.eval_every = 3;
    spec.settings.job.patience = 3;
    spec.settings.job.min_delta = 1e9;
    return spec;
}

static void run_patient(const char *test, const struct sim_spec *like)
{
    struct seeds seeds = seeds_of(test, SEEDS);
    static struct sim_history history;
    static struct sim_result reference, result;
    struct sim_spec alone = seed_spec(2, 1, 1);
    if (seeds.first == seeds.end)
        return;
    alone.settings = like->settings;
    alone.settings.cluster.replicas = 0;
    alone.record = &history;
    sim_run(&alone, &reference);
    CU_ASSERT_FATAL(ends_alike(&reference, &reference) && reference.progress.step == 12);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_spec spec = chaos_spec(seed, &like->settings);
        memcpy(spec.faults.weight, like->faults.weight, sizeof(spec.faults.weight));
        spec.expected = &history;
        sim_run(&spec, &result);
        bool is_well = result.violation[0] == 0 && ends_alike(&result, &reference) &&
                       result.end_ms <=
                           result.calm_ms + IN_TIME_MS + A_DROP_MS * spec.drop_percent;
        if (!is_well)
            seed_print(&seeds, &spec, &result);
        CU_ASSERT(is_well);
    }
}

static void test_chaos_patience_ends_at_the_same_step(void)
{
    struct sim_spec spec = patient_job(1);
    set_everything(&spec);
    run_patient(__func__, &spec);
}

static void test_chaos_patience_ends_at_the_same_step_without_replicas(void)
{
    struct sim_spec spec = patient_job(0);
    set_everything(&spec);
    run_patient(__func__, &spec);
}

static void test_chaos_patience_outlives_the_coordinator_and_workers(void)
{
    struct sim_spec spec = patient_job(0);
    spec.faults.weight[FAULT_KILL_COORDINATOR] = 1;
    spec.faults.weight[FAULT_KILL_WRITING] = 1;
    spec.faults.weight[FAULT_KILL_WORKER] = 2;
    run_patient(__func__, &spec);
}

#define TESTS(X)                                                      \
    X(test_chaos_nothing_but_a_bad_network)                           \
    X(test_chaos_workers_die_and_stand_still)                         \
    X(test_chaos_one_worker_dies_and_nothing_is_taken_back) \
    X(test_chaos_workers_die_together) \
    X(test_chaos_servers_die_one_at_a_time_and_nothing_is_taken_back) \
    X(test_chaos_servers_die_with_replicas)                           \
    X(test_chaos_servers_die_without_replicas)                        \
    X(test_chaos_coordinator_dies)                                    \
    X(test_chaos_partitions)                                          \
    X(test_chaos_one_link_is_cut_for_long)                            \
    X(test_chaos_partitions_of_a_longer_job)                          \
    X(test_chaos_drain_join_and_replace)                              \
    X(test_chaos_workers_are_preempted_and_come_again)                \
    X(test_chaos_everything_together)                                 \
    X(test_chaos_everything_together_without_replicas)                \
    X(test_chaos_ssp_applies_each_gradient_once)                      \
    X(test_chaos_ssp_servers_die_one_at_a_time_and_nothing_is_taken_back) \
    X(test_chaos_async_applies_each_gradient_once)                    \
    X(test_chaos_async_lanes_meet_at_every_checkpoint)                \
    X(test_chaos_local_rounds_end_with_the_same_bits)                 \
    X(test_chaos_local_rounds_are_left_out_everywhere_or_nowhere)     \
    X(test_chaos_rounded_to_bf16_it_ends_with_the_same_bits)          \
    X(test_chaos_rounded_to_int8_it_ends_with_the_same_bits)          \
    X(test_chaos_local_rounds_in_int8_end_with_the_same_bits)         \
    X(test_chaos_with_the_largest_only_it_ends)                       \
    X(test_chaos_patience_ends_at_the_same_step)                      \
    X(test_chaos_patience_ends_at_the_same_step_without_replicas)     \
    X(test_chaos_patience_outlives_the_coordinator_and_workers)       \
    X(test_chaos_steps_are_left_out_everywhere_or_nowhere)

UNIT_MAIN("chaos", TESTS)
