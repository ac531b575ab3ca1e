#include <math.h>
#include <stdio.h>
#include "tests/unit/plan_case.h"
#include "tests/unit/unit.h"

/* Round trips' turns, and messages. */
static const double SLACK_S = 5e-3;

static void expect_round(struct plan_case *made, double seconds)
{
    struct plan_prediction found = plan_case_predict(made);
    if (fabs(found.round_s - seconds) > SLACK_S)
        printf("\n  a round of %.4f s, expected %.4f\n", found.round_s, seconds);
    CU_ASSERT(fabs(found.round_s - seconds) <= SLACK_S);
}

static void test_model_answers_a_block_while_the_next_comes_in(void)
{
    struct plan_case made;
    plan_case_make(&made);
    expect_round(&made, 2 * 0.1 + 3 * 0.1); /* up, down beside up, down */
    made.inputs.job.threads = 2;
    expect_round(&made, 0.1 + 3 * 0.1);
    plan_case_free(&made);
}

/* With one worker and one server either link hides behind the other. */
static void test_model_takes_both_links_away_together(void)
{
    struct plan_case made;
    plan_case_make(&made);
    struct plan_prediction found = plan_case_predict(&made);
    CU_ASSERT_EQUAL(found.bottleneck, PLAN_WORKER_LINK);
    CU_ASSERT_DOUBLE_EQUAL(found.share[PLAN_WORKER_LINK], 0.3 / 0.5, 0.01);
    made.inputs.speed.lane_s = 0.2;
    CU_ASSERT_EQUAL(plan_case_predict(&made).bottleneck, PLAN_COMPUTE);
    plan_case_free(&made);
}

static void test_model_has_workers_share_the_servers_link(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.cluster.workers = 2;
    /* The slower one's first block comes while the other sends two; then it has the link alone. */
    expect_round(&made, 0.1 + 0.3 + 2 * 0.2);
    CU_ASSERT_EQUAL(plan_case_predict(&made).bottleneck, PLAN_SERVER_LINK);
    made.inputs.cluster.servers = 2; /* a block each: now the workers' links have both */
    expect_round(&made, 0.1 + 0.2 + 0.2);
    plan_case_free(&made);
}

static void test_model_counts_what_links_carry(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.cluster.workers = 2;
    struct plan_traffic traffic = plan_case_predict(&made).traffic;
    CU_ASSERT_EQUAL(traffic.worker_up, 2000000);
    CU_ASSERT_EQUAL(traffic.worker_down, 2000000);
    CU_ASSERT_EQUAL(traffic.pushed, 4000000);
    CU_ASSERT_EQUAL(traffic.pulled, 4000000);
    CU_ASSERT_EQUAL(traffic.server_in, traffic.pushed);
    CU_ASSERT_EQUAL(traffic.server_out, traffic.pulled);
    CU_ASSERT_EQUAL(traffic.copied, 0);
    made.inputs.job.codec = CODEC_INT8;
    traffic = plan_case_predict(&made).traffic;
    CU_ASSERT_EQUAL(traffic.worker_up, 2 * codec_bytes(CODEC_INT8, CASE_WEIGHTS));
    made.inputs.job.codec = CODEC_SPARSE;
    traffic = plan_case_predict(&made).traffic;
    CU_ASSERT_EQUAL(traffic.worker_up, 2 * 2500 * CODEC_PAIR_BYTES);
    CU_ASSERT_EQUAL(traffic.worker_down, 2 * traffic.worker_up); /* the other's as well */
    plan_case_free(&made);
}

/* 3 workers of 8 lanes have 3, 3 and 2: (0,2) (2,3), (3,4) (4,6), (6,8). */
static void test_model_pushes_the_nodes_of_uneven_deals(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.job.lanes = 8;
    made.inputs.cluster.workers = 3;
    struct plan_traffic traffic = plan_case_predict(&made).traffic;
    CU_ASSERT_EQUAL(traffic.worker_up, 2 * 2000000);
    CU_ASSERT_EQUAL(traffic.pushed, 5 * 2000000);
    CU_ASSERT_EQUAL(traffic.pulled, 3 * 2000000);
    made.inputs.job.consistency = CONSISTENCY_ASYNC; /* each lane by itself */
    traffic = plan_case_predict(&made).traffic;
    CU_ASSERT_EQUAL(traffic.pushed, 8 * 2000000);
    plan_case_free(&made);
}

static void test_model_leaves_workers_beyond_the_lanes_idle(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.cluster.workers = 2;
    struct plan_prediction two = plan_case_predict(&made);
    made.inputs.cluster.workers = 5;
    struct plan_prediction five = plan_case_predict(&made);
    CU_ASSERT_EQUAL(two.idle_workers, 0);
    CU_ASSERT_EQUAL(five.idle_workers, 3);
    CU_ASSERT_EQUAL(five.round_s, two.round_s);
    CU_ASSERT_EQUAL(five.traffic.pulled, two.traffic.pulled);
    plan_case_free(&made);
}

static void test_model_exchanges_once_a_round(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.job.consistency = CONSISTENCY_LOCAL;
    expect_round(&made, 10 * 2 * 0.1 + 3 * 0.1);
    struct plan_prediction found = plan_case_predict(&made);
    CU_ASSERT_DOUBLE_EQUAL(found.step_s, found.round_s / 10, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(found.samples_per_s, 8 / found.step_s, 1e-9);
    CU_ASSERT_EQUAL(found.traffic.pushed, 2000000);
    plan_case_free(&made);
}

static void test_model_waits_for_credit(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.job.credit_bytes = 1 << 20;
    expect_round(&made, 2 * 0.1 + 4 * 0.1); /* each up and down before the next */
    plan_case_free(&made);
}

static void test_model_pushes_what_is_complete_during_backpropagation(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.done_share[1] = 0.5; /* half a lane before the end */
    expect_round(&made, 0.15 + 0.1 + 0.1 + 0.1);
    made.inputs.job.is_late = true;
    expect_round(&made, 0.2 + 0.3);
    plan_case_free(&made);
}

static void test_model_begins_a_step_before_all_weights_are_there(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.job.overlap = true;
    expect_round(&made, 0.5); /* all are read at once */
    made.read_share[0] = made.read_share[1] = 0.4;
    expect_round(&made, 0.5 - 0.04);
    made.inputs.job.overlap = false;
    expect_round(&made, 0.5);
    plan_case_free(&made);
}

static void test_model_sends_copies_before_it_answers(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.cluster.servers = 2;
    expect_round(&made, 0.2 + 0.3);
    made.inputs.job.replicas = 1;
    struct plan_prediction found = plan_case_predict(&made);
    CU_ASSERT_EQUAL(found.traffic.copied, 2000000);
    CU_ASSERT_EQUAL(found.traffic.server_in, 1000000 + 1000000);
    CU_ASSERT(found.round_s > 0.2 + 0.3 + 0.09);
    made.inputs.cluster.servers = 1; /* nobody to copy to */
    CU_ASSERT_EQUAL(plan_case_predict(&made).traffic.copied, 0);
    plan_case_free(&made);
}

static void test_model_adds_the_round_trip(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.cluster.bytes_per_s = 1e11;
    made.inputs.speed.lane_s = 0.001;
    made.inputs.cluster.round_trip_s = 0.05;
    expect_round(&made, 0.002 + 0.05);
    CU_ASSERT_EQUAL(plan_case_predict(&made).bottleneck, PLAN_LATENCY);
    plan_case_free(&made);
}

static void test_model_encrypts_no_faster_than_threads_can(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.cluster.bytes_per_s = 1e12;
    made.inputs.speed.lane_s = 0.0;
    double open_s = plan_case_predict(&made).round_s;
    made.inputs.job.is_encrypted = true;
    CU_ASSERT(plan_case_predict(&made).round_s > 2 * open_s);
    made.inputs.cluster.bytes_per_s = 1e6; /* much slower than that */
    double slow_s = plan_case_predict(&made).round_s;
    made.inputs.job.is_encrypted = false;
    CU_ASSERT_EQUAL(plan_case_predict(&made).round_s, slow_s);
    plan_case_free(&made);
}

static void test_model_names_the_servers_update(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.cluster.bytes_per_s = 1e11;
    made.inputs.speed.lane_s = 0.001;
    made.inputs.speed.update_s = 0.1 / CASE_WEIGHTS;
    expect_round(&made, 0.002 + 2 * 0.1);
    CU_ASSERT_EQUAL(plan_case_predict(&made).bottleneck, PLAN_SERVER_WORK);
    made.inputs.job.shards = 2;
    expect_round(&made, 0.002 + 0.1);
    plan_case_free(&made);
}

static void test_model_is_no_faster_than_shared_cores(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.cluster = (struct plan_cluster){.workers = 2, .servers = 1, .cores = 1};
    made.inputs.cluster.bytes_per_s = 1e11;
    expect_round(&made, 2 * 0.1);
    made.inputs.speed.update_s = 0.3 / CASE_WEIGHTS;
    expect_round(&made, 0.2 + 2 * 0.3);
    plan_case_free(&made);
}

static void test_model_has_the_memory_of_the_readmes(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.base = (struct plan_base){100000, 7000, 50000, 20000};
    made.inputs.job.optimizer_states = 2;
    struct plan_prediction found = plan_case_predict(&made);
    /* weights, two of state, the version before, copies of three for a checkpoint; a node */
    CU_ASSERT_EQUAL(found.server_bytes, 50000 + 6 * 2000000 + 2000000);
    CU_ASSERT_EQUAL(found.coordinator_bytes, 20000 + 3 * 500000);
    /* two of weights, two lanes' gradients, one and a half of what comes in */
    CU_ASSERT_EQUAL(found.worker_bytes, 100000 + 7000 + 5.5 * 2000000);
    made.inputs.cluster.workers = 2;
    found = plan_case_predict(&made);
    /* no version before, but one in replies; two nodes */
    CU_ASSERT_EQUAL(found.server_bytes, 50000 + 5 * 2000000 + 3 * 2000000);
    CU_ASSERT_EQUAL(found.worker_bytes, 100000 + 7000 + 4.5 * 2000000);
    made.inputs.job.credit_bytes = 1 << 20;
    found = plan_case_predict(&made);
    CU_ASSERT_EQUAL(found.server_bytes, 50000 + 5 * 2000000 + 2 * (1 << 20));
    CU_ASSERT_EQUAL(found.worker_bytes, 100000 + 7000 + 3 * 2000000 + 1.5 * (1 << 20));
    plan_case_free(&made);
}

/* More of anything never makes a step longer. */
static void test_model_is_monotonic(void)
{
    struct plan_case made;
    plan_case_make(&made);
    made.inputs.job.lanes = 16;
    made.inputs.cluster.workers = 5;
    double before = INFINITY;
    for (double rate = 1e6; rate < 1e10; rate *= 2) {
        made.inputs.cluster.bytes_per_s = rate;
        double now = plan_case_predict(&made).round_s;
        CU_ASSERT(now <= before);
        before = now;
    }
    made.inputs.cluster.bytes_per_s = 1e8;
    before = INFINITY;
    for (uint64_t credit = 1 << 16; credit < 1 << 28; credit *= 2) {
        made.inputs.job.credit_bytes = credit;
        double now = plan_case_predict(&made).round_s;
        CU_ASSERT(now <= before + 1e-12);
        before = now;
    }
    plan_case_free(&made);
}

#define TESTS(X)                                                   \
    X(test_model_answers_a_block_while_the_next_comes_in)          \
    X(test_model_takes_both_links_away_together)                   \
    X(test_model_has_workers_share_the_servers_link)               \
    X(test_model_counts_what_links_carry)                          \
    X(test_model_pushes_the_nodes_of_uneven_deals)                 \
    X(test_model_leaves_workers_beyond_the_lanes_idle)             \
    X(test_model_exchanges_once_a_round)                           \
    X(test_model_waits_for_credit)                                 \
    X(test_model_pushes_what_is_complete_during_backpropagation)   \
    X(test_model_begins_a_step_before_all_weights_are_there)       \
    X(test_model_sends_copies_before_it_answers)                   \
    X(test_model_adds_the_round_trip)                              \
    X(test_model_encrypts_no_faster_than_threads_can)              \
    X(test_model_names_the_servers_update)                         \
    X(test_model_is_no_faster_than_shared_cores)                   \
    X(test_model_has_the_memory_of_the_readmes)                    \
    X(test_model_is_monotonic)

UNIT_MAIN("plan model", TESTS)
