/* Whole clusters under a virtual clock.  TALWEG_SIM_SEEDS=N sets how many seeds each test runs
 * (default 100), TALWEG_SIM_FIRST the first one: a failing seed is printed and reproduces. */
#include <stdlib.h>
#include <string.h>
#include "tests/sim/cluster.h"
#include "tests/unit/unit.h"

static uint64_t first_seed(void)
{
    const char *text = getenv("TALWEG_SIM_FIRST");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

static uint64_t seed_count(void)
{
    const char *text = getenv("TALWEG_SIM_SEEDS");
    return text == NULL ? 100 : strtoull(text, NULL, 10);
}

static struct sim_spec spec_of(uint64_t seed, uint32_t servers, uint32_t workers)
{
    return (struct sim_spec){.seed = seed,
                             .settings = sim_settings(servers, workers),
                             .delay_ms = 1 + (uint32_t)(seed * 7 % 30),
                             .is_fifo = seed % 2 == 0,
                             .absent_worker = -1,
                             .silent_worker = -1};
}

/* The digest of the undisturbed job on one server and one worker. */
static void reference(const struct settings *like, char digest_out[HEX_BYTES])
{
    struct sim_spec spec = spec_of(2, 1, 1);
    struct sim_result result;
    spec.settings = *like;
    spec.settings.cluster.servers = spec.settings.cluster.workers = 1;
    spec.settings.cluster.shards = 1;
    sim_run(&spec, &result);
    memcpy(digest_out, result.progress.digest, HEX_BYTES);
    CU_ASSERT_EQUAL_FATAL(result.progress.phase, PHASE_FINISHED);
    CU_ASSERT_EQUAL_FATAL(strlen(digest_out), 64);
}

static void check_same(const struct sim_spec *spec, const char *digest)
{
    struct sim_result result;
    sim_run(spec, &result);
    bool is_same = result.progress.phase == PHASE_FINISHED && result.refused_count == 0 &&
                   strcmp(result.progress.digest, digest) == 0;
    if (!is_same)
        printf("\n    TALWEG_SIM_FIRST=%llu: %u servers x %u shards, %u workers: %s %s, "
               "refused %llu\n",
               (unsigned long long)spec->seed, spec->settings.cluster.servers,
               spec->settings.cluster.shards, spec->settings.cluster.workers,
               phase_text(result.progress.phase), result.progress.error,
               (unsigned long long)result.refused_count);
    CU_ASSERT(is_same);
}

static void test_cluster_of_any_size_ends_with_the_same_bits(void)
{
    static const struct {
        uint32_t servers, shards, workers;
    } sizes[] = {{1, 1, 1}, {1, 1, 3}, {2, 1, 4}, {3, 2, 8}, {2, 2, 5}, {1, 3, 11}};
    struct settings settings = sim_settings(1, 1);
    char digest[HEX_BYTES];
    reference(&settings, digest);
    for (uint64_t seed = first_seed(); seed < first_seed() + seed_count(); seed++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct sim_spec spec = spec_of(seed, sizes[i].servers, sizes[i].workers);
            spec.settings.cluster.shards = sizes[i].shards;
            check_same(&spec, digest);
        }
}

static void test_cluster_resumed_on_another_size_ends_with_the_same_bits(void)
{
    struct settings settings = sim_settings(1, 1);
    char digest[HEX_BYTES];
    settings.checkpoint.every = 10;
    reference(&settings, digest);
    for (uint64_t seed = first_seed(); seed < first_seed() + seed_count(); seed++) {
        struct sim_store *store = sim_store_create();
        struct sim_spec spec = spec_of(seed, 2, 3);
        spec.store = store;
        spec.settings.checkpoint.every = 10;
        check_same(&spec, digest);
        for (uint64_t step = 10; step <= 30; step += 10) {
            struct sim_spec again = spec_of(seed + 1000, 3, 5);
            again.store = store;
            again.settings.checkpoint.every = 10;
            again.resume_step = step;
            check_same(&again, digest);
        }
        sim_store_destroy(store);
    }
}

static void test_cluster_stopped_at_any_moment_goes_on_with_the_same_bits(void)
{
    struct settings settings = sim_settings(1, 1);
    char digest[HEX_BYTES];
    reference(&settings, digest);
    for (uint64_t seed = first_seed(); seed < first_seed() + seed_count(); seed++) {
        struct sim_store *store = sim_store_create();
        struct sim_spec spec = spec_of(seed, 2, 4);
        struct sim_result result;
        uint64_t steps[SIM_HISTORY_MAX];
        spec.store = store;
        spec.stop_ms = 100 + seed * 37 % 1500;
        sim_run(&spec, &result);
        size_t count = sim_store_steps(store, steps);
        bool is_stopped = result.progress.phase == PHASE_STOPPED ||
                          result.progress.phase == PHASE_FINISHED;
        if (!is_stopped)
            printf("\n    TALWEG_SIM_FIRST=%llu: %s %s\n", (unsigned long long)seed,
                   phase_text(result.progress.phase), result.progress.error);
        CU_ASSERT(is_stopped);
        if (result.progress.phase == PHASE_STOPPED && count > 0) {
            struct sim_spec again = spec_of(seed + 1, 1, 3);
            again.store = store;
            again.resume_step = steps[count - 1];
            check_same(&again, digest);
        }
        sim_store_destroy(store);
    }
}

static void test_cluster_keeps_within_its_credit_and_still_ends(void)
{
    struct settings settings = sim_settings(1, 1);
    char digest[HEX_BYTES];
    reference(&settings, digest);
    for (uint64_t seed = first_seed(); seed < first_seed() + seed_count(); seed++) {
        struct sim_spec spec = spec_of(seed, 2, 3);
        struct sim_result result;
        spec.settings.exchange.credit_bytes = 64;
        check_same(&spec, digest);
        sim_run(&spec, &result);
        /* One block at a time, of which a run of lanes may have several nodes. */
        CU_ASSERT(result.in_flight_max <= 64 * 3);
    }
}

static void test_cluster_counts_once_what_comes_twice(void)
{
    struct settings settings = sim_settings(1, 1);
    char digest[HEX_BYTES];
    settings.job.eval_every = 1;
    settings.checkpoint.every = 5;
    reference(&settings, digest);
    for (uint64_t seed = first_seed(); seed < first_seed() + seed_count(); seed++) {
        struct sim_spec spec = spec_of(seed, 2, 5);
        spec.settings.job.eval_every = 1;
        spec.settings.checkpoint.every = 5;
        spec.twice_percent = 30;
        check_same(&spec, digest);
    }
}

static void test_cluster_fills_its_credit_and_no_more(void)
{
    enum { CREDIT = 4 * 64 };
    for (uint64_t seed = first_seed(); seed < first_seed() + seed_count(); seed++) {
        struct sim_spec spec = spec_of(seed, 1, 3); /* runs of lanes with one node and with two */
        struct sim_result result;
        spec.settings.exchange.credit_bytes = CREDIT;
        sim_run(&spec, &result);
        CU_ASSERT_EQUAL(result.progress.phase, PHASE_FINISHED);
        CU_ASSERT_EQUAL(result.in_flight_max, CREDIT);
    }
}

static void test_cluster_names_the_worker_that_never_came(void)
{
    struct sim_spec spec = spec_of(3, 2, 4);
    struct sim_result result;
    spec.absent_worker = 2;
    sim_run(&spec, &result);
    CU_ASSERT_EQUAL(result.progress.phase, PHASE_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.progress.error, "3 of 4 workers (missing rank 2)"));
    CU_ASSERT(result.end_ms < 61000);
}

static void test_cluster_names_the_worker_that_fell_silent(void)
{
    struct sim_spec spec = spec_of(4, 2, 4);
    struct sim_result result;
    spec.silent_worker = 1;
    spec.silent_ms = 300;
    sim_run(&spec, &result);
    CU_ASSERT_EQUAL(result.progress.phase, PHASE_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.progress.error, "worker 1 (pid 101 on host sim)"));
    CU_ASSERT(result.end_ms < 25000);
}

static void test_cluster_reports_the_same_losses_whatever_its_size(void)
{
    struct sim_spec small = spec_of(5, 1, 1), large = spec_of(9, 2, 8);
    struct sim_result a, b;
    sim_run(&small, &a);
    sim_run(&large, &b);
    CU_ASSERT_EQUAL(a.progress.train_loss, b.progress.train_loss);
    CU_ASSERT_EQUAL(a.progress.test_loss, b.progress.test_loss);
}

#define TESTS(X)                                                     \
    X(test_cluster_of_any_size_ends_with_the_same_bits)              \
    X(test_cluster_resumed_on_another_size_ends_with_the_same_bits)  \
    X(test_cluster_stopped_at_any_moment_goes_on_with_the_same_bits) \
    X(test_cluster_keeps_within_its_credit_and_still_ends)           \
    X(test_cluster_counts_once_what_comes_twice)                     \
    X(test_cluster_fills_its_credit_and_no_more)                     \
    X(test_cluster_names_the_worker_that_never_came)                 \
    X(test_cluster_names_the_worker_that_fell_silent)                \
    X(test_cluster_reports_the_same_losses_whatever_its_size)

UNIT_MAIN("cluster", TESTS)
