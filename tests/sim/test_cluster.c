/* Whole clusters under a virtual clock, on a network that delays, reorders and repeats, with
 * processes that do not fail; seeds.h says how to replay a run. */
#include <math.h>
#include <string.h>
#include "tests/sim/seeds.h"
#include "tests/unit/unit.h"

enum { IN_TIME_MS = 120000 };

/* The reference of a job; the test ends when even that fails. */
static void reference(const struct settings *settings, char *digest_out)
{
    struct sim_history history;
    struct sim_spec like = seed_spec(1, 1, 1);
    like.settings = *settings;
    bool has_reference = seed_reference(&like, &history, digest_out);
    CU_ASSERT_FATAL(has_reference);
}

static void test_cluster_of_any_size_ends_with_the_same_bits(void)
{
    static const struct {
        uint32_t servers, shards, workers;
    } sizes[] = {{1, 1, 1}, {1, 1, 3}, {2, 1, 4}, {3, 2, 8}, {2, 2, 5}, {1, 3, 11}};
    struct settings settings = sim_settings(1, 1);
    struct seeds seeds = seeds_of(__func__, 40);
    char digest[HEX_BYTES];
    reference(&settings, digest);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct sim_spec spec = seed_spec(seed, sizes[i].servers, sizes[i].workers);
            spec.settings.cluster.shards = sizes[i].shards;
            spec.settings.cluster.replicas = sizes[i].servers > 1 ? (uint32_t)seed % 2 : 0;
            bool is_same = seed_holds(&seeds, &spec, digest, IN_TIME_MS);
            CU_ASSERT(is_same);
        }
}

static void test_cluster_resumed_on_another_size_ends_with_the_same_bits(void)
{
    struct settings settings = sim_settings(1, 1);
    struct seeds seeds = seeds_of(__func__, 20);
    char digest[HEX_BYTES];
    settings.checkpoint.every = 10;
    reference(&settings, digest);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_store *store = sim_store_create();
        struct sim_spec spec = seed_spec(seed, 2, 3);
        spec.store = store;
        spec.settings.checkpoint.every = 10;
        bool is_same = seed_holds(&seeds, &spec, digest, IN_TIME_MS);
        CU_ASSERT(is_same);
        for (uint64_t step = 10; step <= 30; step += 10) {
            struct sim_spec again = seed_spec(seed + 1000, 3, 5);
            again.store = store;
            again.settings.checkpoint.every = 10;
            again.resume_step = step;
            is_same = seed_holds(&seeds, &again, digest, IN_TIME_MS);
            CU_ASSERT(is_same);
        }
        sim_store_destroy(store);
    }
}

static void test_cluster_stopped_at_any_moment_goes_on_with_the_same_bits(void)
{
    struct settings settings = sim_settings(1, 1);
    struct seeds seeds = seeds_of(__func__, 60);
    char digest[HEX_BYTES];
    reference(&settings, digest);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_store *store = sim_store_create();
        struct sim_spec spec = seed_spec(seed, 2, 4);
        struct sim_result result;
        uint64_t steps[SIM_HISTORY_MAX];
        spec.store = store;
        spec.stop_ms = 100 + seed * 37 % 1500;
        sim_run(&spec, &result);
        size_t count = sim_store_steps(store, steps);
        bool is_stopped = (result.progress.phase == PHASE_STOPPED ||
                           result.progress.phase == PHASE_FINISHED) &&
                          result.violation[0] == 0;
        if (!is_stopped)
            seed_print(&seeds, &spec, &result);
        CU_ASSERT(is_stopped);
        if (result.progress.phase == PHASE_STOPPED && count > 0) {
            struct sim_spec again = seed_spec(seed + 1, 1, 3);
            again.store = store;
            again.resume_step = steps[count - 1];
            bool is_same = seed_holds(&seeds, &again, digest, IN_TIME_MS);
            CU_ASSERT(is_same);
        }
        sim_store_destroy(store);
    }
}

static void test_cluster_keeps_within_its_credit_and_still_ends(void)
{
    struct settings settings = sim_settings(1, 1);
    struct seeds seeds = seeds_of(__func__, 40);
    char digest[HEX_BYTES];
    reference(&settings, digest);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_spec spec = seed_spec(seed, 2, 3);
        struct sim_result result;
        spec.settings.exchange.credit_bytes = 64;
        bool is_same = seed_holds(&seeds, &spec, digest, IN_TIME_MS);
        CU_ASSERT(is_same);
        sim_run(&spec, &result);
        /* One block at a time, of which a worker may have several nodes, and lanes dealt later. */
        bool is_within = result.in_flight_max <= 64 * 8;
        if (!is_within)
            printf("\n    seed %llu: %llu bytes\n", (unsigned long long)seed,
                   (unsigned long long)result.in_flight_max);
        CU_ASSERT(is_within);
    }
}

/* Workers of different speed let different blocks overtake, and the shard may not keep them all. */
static void test_cluster_ends_with_little_credit_and_little_room(void)
{
    struct settings settings = sim_settings(1, 1);
    struct seeds seeds = seeds_of(__func__, 100);
    char digest[HEX_BYTES];
    reference(&settings, digest);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_spec spec = seed_spec(seed, 1, 2 + (uint32_t)(seed % 7));
        spec.settings.exchange.overlap = true;
        spec.settings.exchange.credit_bytes = 64 * (1 + seed % 8);
        spec.settings.exchange.parked_bytes = 64 * (1 + seed / 8 % 3);
        bool is_same = seed_holds(&seeds, &spec, digest, 4 * IN_TIME_MS); /* much is asked again */
        CU_ASSERT(is_same);
    }
}

static void test_cluster_counts_once_what_comes_twice(void)
{
    struct settings settings = sim_settings(1, 1);
    struct seeds seeds = seeds_of(__func__, 60);
    char digest[HEX_BYTES];
    settings.job.eval_every = 1;
    settings.checkpoint.every = 5;
    reference(&settings, digest);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_spec spec = seed_spec(seed, 2, 5);
        spec.settings.job.eval_every = 1;
        spec.settings.checkpoint.every = 5;
        spec.settings.cluster.replicas = (uint32_t)seed % 2;
        spec.twice_percent = 30;
        bool is_same = seed_holds(&seeds, &spec, digest, IN_TIME_MS);
        CU_ASSERT(is_same);
    }
}

static void test_cluster_fills_its_credit_and_no_more(void)
{
    enum { CREDIT = 4 * 64 };
    struct seeds seeds = seeds_of(__func__, 40);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_spec spec = seed_spec(seed, 1, 3); /* runs of lanes with one node and with two */
        struct sim_result result;
        spec.settings.exchange.credit_bytes = CREDIT;
        sim_run(&spec, &result);
        CU_ASSERT_EQUAL(result.progress.phase, PHASE_FINISHED);
        bool is_full = result.in_flight_max >= CREDIT && result.in_flight_max <= CREDIT * 8;
        if (!is_full)
            printf("\n    seed %llu: %llu bytes\n", (unsigned long long)seed,
                   (unsigned long long)result.in_flight_max);
        CU_ASSERT(is_full);
    }
}

static void test_cluster_names_the_worker_that_never_came(void)
{
    struct sim_spec spec = seed_spec(3, 2, 4);
    struct sim_result result;
    spec.absent_worker = 2;
    sim_run(&spec, &result);
    CU_ASSERT_EQUAL(result.progress.phase, PHASE_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.progress.error, "3 of 4 workers (missing rank 2)"));
    CU_ASSERT(result.end_ms < 61000);
    CU_ASSERT_STRING_EQUAL(result.violation, "");
}

static void test_cluster_survives_the_worker_that_fell_silent(void)
{
    struct settings settings = sim_settings(1, 1);
    struct seeds seeds = seeds_of(__func__, 20);
    char digest[HEX_BYTES];
    reference(&settings, digest);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_spec spec = seed_spec(seed, 2, 4);
        spec.silent_worker = (int32_t)(seed % 4);
        spec.silent_ms = 50 + seed * 31 % 700;
        bool is_same = seed_holds(&seeds, &spec, digest, IN_TIME_MS);
        CU_ASSERT(is_same);
    }
}

static void test_cluster_names_who_is_missing_when_too_few_are_left(void)
{
    struct sim_spec spec = seed_spec(4, 1, 1);
    struct sim_result result;
    spec.settings.cluster.give_up_s = 30;
    spec.silent_worker = 0;
    spec.silent_ms = 100;
    sim_run(&spec, &result);
    CU_ASSERT_EQUAL(result.progress.phase, PHASE_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.progress.error, "worker"));
    CU_ASSERT(result.end_ms < 60000);
    CU_ASSERT_STRING_EQUAL(result.violation, "");
}

static void test_cluster_reports_the_same_losses_whatever_its_size(void)
{
    struct sim_spec small = seed_spec(5, 1, 1), large = seed_spec(9, 2, 8);
    struct sim_result a, b;
    sim_run(&small, &a);
    sim_run(&large, &b);
    CU_ASSERT_EQUAL(a.progress.train_loss, b.progress.train_loss);
    CU_ASSERT_EQUAL(a.progress.test_loss, b.progress.test_loss);
}

static void test_cluster_of_local_rounds_ends_with_the_same_bits_on_any_size(void)
{
    static const uint32_t sizes[][2] = {{1, 1}, {2, 3}, {3, 8}};
    struct settings settings = sim_settings(1, 1);
    struct seeds seeds = seeds_of(__func__, 20);
    char digest[HEX_BYTES];
    settings.exchange.consistency = CONSISTENCY_LOCAL;
    settings.exchange.local_steps = 4;
    settings.exchange.outer_rate = 0.7;
    settings.exchange.outer_momentum = 0.9;
    settings.checkpoint.every = 10;
    reference(&settings, digest);
    for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
        struct sim_store *store = sim_store_create();
        const uint32_t *size = sizes[seed % ARRAY_LEN(sizes)];
        struct sim_spec spec = seed_spec(seed, size[0], size[1]);
        struct sim_spec again = seed_spec(seed + 1000, size[1], size[0]);
        spec.settings = again.settings = settings;
        spec.store = again.store = store;
        bool is_same = seed_holds(&seeds, &spec, digest, IN_TIME_MS);
        CU_ASSERT(is_same);
        again.resume_step = 5; /* of 8 rounds: the first that has 20 steps */
        is_same = seed_holds(&seeds, &again, digest, IN_TIME_MS);
        CU_ASSERT(is_same);
        sim_store_destroy(store);
    }
}

/* One step a round, and the servers take the mean: that is bsp with sgd, up to rounding. */
static void test_cluster_of_local_rounds_of_one_step_is_that_of_bsp(void)
{
    static struct sim_history bsp, local;
    struct sim_spec spec = {.settings = sim_settings(1, 1)};
    struct settings *settings = &spec.settings;
    char digest[HEX_BYTES];
    settings->job.lanes = 4;
    settings->job.batch = 20; /* so that all lanes of all steps have as many */
    settings->optimizer.kind = OPTIMIZER_SGD;
    bool has_ended = seed_reference(&spec, &bsp, digest);
    CU_ASSERT(has_ended);
    settings->exchange.consistency = CONSISTENCY_LOCAL;
    settings->exchange.local_steps = 1;
    settings->exchange.outer_rate = 1.0;
    settings->exchange.outer_momentum = 0.0;
    has_ended = seed_reference(&spec, &local, digest);
    CU_ASSERT(has_ended);
    float most = 0.0f;
    for (size_t i = 0; i < SIM_WEIGHTS_MAX; i++) {
        CU_ASSERT_DOUBLE_EQUAL(bsp.weights[i], local.weights[i], 1e-6);
        most = fmaxf(most, fabsf(local.weights[i]));
    }
    CU_ASSERT(most > 0.01f);
}

#define TESTS(X)                                                     \
    X(test_cluster_of_any_size_ends_with_the_same_bits)              \
    X(test_cluster_resumed_on_another_size_ends_with_the_same_bits)  \
    X(test_cluster_stopped_at_any_moment_goes_on_with_the_same_bits) \
    X(test_cluster_keeps_within_its_credit_and_still_ends)           \
    X(test_cluster_counts_once_what_comes_twice)                     \
    X(test_cluster_fills_its_credit_and_no_more)                     \
    X(test_cluster_ends_with_little_credit_and_little_room)          \
    X(test_cluster_names_the_worker_that_never_came)                 \
    X(test_cluster_survives_the_worker_that_fell_silent)             \
    X(test_cluster_names_who_is_missing_when_too_few_are_left)       \
    X(test_cluster_of_local_rounds_ends_with_the_same_bits_on_any_size) \
    X(test_cluster_of_local_rounds_of_one_step_is_that_of_bsp)       \
    X(test_cluster_reports_the_same_losses_whatever_its_size)

UNIT_MAIN("cluster", TESTS)
