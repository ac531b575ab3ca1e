#include <stdlib.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"

enum { OPS = 4, BATCH = 3, INPUTS = 6, UNITS = 5, CLASSES = 3 };

/* A clock that goes on by one each time it is looked at. */
static uint64_t ticks;

static uint64_t tick(void)
{
    return ++ticks;
}

struct fixture {
    struct graph *graph;
    struct graph_run *run;
    real inputs[BATCH * INPUTS], labels[BATCH];
    real *weights, *grad;
    uint64_t forward_ns[OPS], backward_ns[OPS];
    struct graph_profile profile;
    struct graph_batch batch;
};

static void setup(struct fixture *f)
{
    struct network net = {.loss = LOSS_SOFTMAX_CROSS_ENTROPY,
                          .data = {.dims = 1,
                                   .shape = {INPUTS},
                                   .label_count = 1,
                                   .class_count = CLASSES}};
    network_add_kind(&net, OP_TANH);
    network_add_dense(&net, UNITS);
    network_add_kind(&net, OP_RELU);
    network_add_dense(&net, CLASSES);
    struct model_spec spec = network_spec(&net);
    *f = (struct fixture){.graph = NULL};
    CU_ASSERT_EQUAL_FATAL(graph_create(&spec, &net.data, &f->graph, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(graph_run_create(f->graph, BATCH, &f->run), 0);
    wave(f->inputs, BATCH * INPUTS, 0.7, 1);
    f->weights = calloc(graph_weight_count(f->graph), sizeof(real));
    f->grad = calloc(graph_weight_count(f->graph), sizeof(real));
    f->profile = (struct graph_profile){
        .now_ns = tick, .forward_ns = f->forward_ns, .backward_ns = f->backward_ns};
    f->batch = (struct graph_batch){
        .inputs = f->inputs, .labels = f->labels, .count = BATCH, .profile = &f->profile};
    ticks = 0;
}

static void teardown(struct fixture *f)
{
    free(f->weights);
    free(f->grad);
    graph_run_destroy(f->run);
    graph_destroy(f->graph);
}

static void train(struct fixture *f)
{
    struct loss_result result;
    CU_ASSERT(graph_train(f->run, &f->batch, f->weights, f->grad, NULL, NULL, &result));
}

static void test_graph_profile_adds_each_operators_time(void)
{
    struct fixture f;
    setup(&f);
    train(&f);
    train(&f);
    for (int i = 0; i < OPS; i++) {
        CU_ASSERT_EQUAL(f.forward_ns[i], 2);
        CU_ASSERT_EQUAL(f.backward_ns[i], i == 0 ? 0 : 2); /* nothing to learn before it */
    }
    CU_ASSERT_EQUAL(f.profile.loss_ns, 2);
    teardown(&f);
}

static void test_graph_profile_reads_no_clock_when_there_is_none(void)
{
    struct fixture f;
    setup(&f);
    f.batch.profile = NULL;
    train(&f);
    CU_ASSERT_EQUAL(ticks, 0);
    CU_ASSERT_EQUAL(f.forward_ns[0], 0);
    teardown(&f);
}

static bool wait_long(void *ctx, size_t tensor_idx)
{
    (void)ctx;
    (void)tensor_idx;
    ticks += 1000;
    return true;
}

static void test_graph_profile_leaves_waits_out(void)
{
    struct fixture f;
    setup(&f);
    f.batch.wait = wait_long;
    train(&f);
    for (int i = 0; i < OPS; i++)
        CU_ASSERT_EQUAL(f.forward_ns[i], 1);
    teardown(&f);
}

static void test_graph_op_flops_are_the_graphs(void)
{
    struct fixture f;
    uint64_t sum = 0, forward, backward;
    setup(&f);
    CU_ASSERT_EQUAL_FATAL(graph_op_count(f.graph), OPS);
    for (size_t i = 0; i < OPS; i++) {
        graph_op_flops(f.graph, i, &forward, &backward);
        sum += forward + backward;
    }
    CU_ASSERT_EQUAL(sum, graph_flops(f.graph));
    graph_op_flops(f.graph, 1, &forward, &backward);
    CU_ASSERT_EQUAL(forward, 2 * INPUTS * UNITS);
    CU_ASSERT_EQUAL(backward, 2 * INPUTS * UNITS); /* of its weights: tanh has none */
    graph_op_flops(f.graph, 3, &forward, &backward);
    CU_ASSERT_EQUAL(backward, 2 * 2 * UNITS * CLASSES);
    teardown(&f);
}

static void test_graph_op_flops_of_frozen_weights_are_none(void)
{
    struct network net = {.loss = LOSS_MEAN_SQUARED_ERROR,
                          .data = {.dims = 1, .shape = {INPUTS}, .label_count = 2}};
    struct graph *graph = NULL;
    uint64_t forward, backward;
    network_add_dense(&net, UNITS);
    net.ops[0].frozen = true;
    network_add_dense(&net, 2);
    struct model_spec spec = network_spec(&net);
    CU_ASSERT_EQUAL_FATAL(graph_create(&spec, &net.data, &graph, NULL), 0);
    graph_op_flops(graph, 0, &forward, &backward);
    CU_ASSERT(forward == 2 * INPUTS * UNITS && backward == 0);
    graph_op_flops(graph, 1, &forward, &backward);
    CU_ASSERT(forward == 2 * UNITS * 2 && backward == 2 * UNITS * 2);
    CU_ASSERT_EQUAL(graph_flops(graph), 2 * INPUTS * UNITS + 2 * (2 * UNITS * 2));
    graph_destroy(graph);
}

#define TESTS(X) \
    X(test_graph_profile_adds_each_operators_time) \
    X(test_graph_profile_reads_no_clock_when_there_is_none) \
    X(test_graph_profile_leaves_waits_out) \
    X(test_graph_op_flops_are_the_graphs) \
    X(test_graph_op_flops_of_frozen_weights_are_none)

UNIT_MAIN("graph_profile", TESTS)
