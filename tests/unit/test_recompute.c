/* Activations that are computed again: the same bits in less memory. */
#include <stdlib.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"
#include "worker/nn/graph_plan.h"

enum { BATCH = 24, NETWORKS = 200, MIDDLE_OPS_MAX = 40 };

static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % below;
}

static struct network image_network(void)
{
    struct network net = {
        .loss = LOSS_SOFTMAX_CROSS_ENTROPY,
        .data = {.dims = 3, .shape = {6, 6, 1}, .label_count = 1, .class_count = 10}};
    network_add_conv(&net, 4, 3);
    return net;
}

static void finish(struct network *net)
{
    network_add_kind(net, OP_FLATTEN);
    network_add_dense(net, 10);
}

/* An operator that gives an image of the same shape as it gets. */
static struct op_spec middle_op(uint64_t *state)
{
    static const enum op_kind kinds[] = {OP_CONV2D, OP_RELU,    OP_TANH,     OP_SIGMOID,
                                         OP_DROPOUT, OP_MAXPOOL2D, OP_ADD, OP_ADD,
                                         OP_BATCH_NORM, OP_LAYER_NORM, OP_GELU, OP_ELU,
                                         OP_SOFTMAX, OP_MUL};
    struct op_spec op = {.kind = kinds[draw(state, ARRAY_LEN(kinds))],
                         .filters = 4,
                         .kernel = {3, 3},
                         .stride = {1, 1},
                         .padding_same = true,
                         .rate = 0.3f,
                         .epsilon = 1e-3f,
                         .slope = 0.5f,
                         .bias = true,
                         .init = INIT_HE};
    return op;
}

/* Operators that read any output before them, mostly the last; what nobody reads is summed up. */
static struct network random_network(uint64_t seed)
{
    uint64_t state = seed;
    struct network net = image_network();
    bool is_read[NETWORK_OPS_MAX] = {false};
    size_t middle_count = 1 + draw(&state, MIDDLE_OPS_MAX);
    for (size_t i = 0; i < middle_count && net.op_count < NETWORK_OPS_MAX - 2; i++) {
        struct op_spec op = middle_op(&state);
        op.input_count = op.kind == OP_ADD || op.kind == OP_MUL ? 2 : 1;
        for (uint32_t k = 0; k < op.input_count; k++) {
            uint32_t back = draw(&state, 4) == 0 ? draw(&state, (uint32_t)net.op_count) : 0;
            op.inputs[k] = (int32_t)(net.op_count - 1 - (k == 0 ? 0 : back));
            is_read[op.inputs[k]] = true;
        }
        network_add(&net, op);
    }
    for (size_t i = 0; i + 1 < net.op_count && net.op_count < NETWORK_OPS_MAX - 2; i++)
        if (!is_read[i])
            network_add_sum(&net, (int32_t)i, (int32_t)net.op_count - 1);
    finish(&net);
    return net;
}

struct outcome_of {
    size_t bytes, weight_count; /* bytes: without scratch, which is the same either way */
    struct loss_result loss;
    real *grad; /* to be freed */
};

static struct outcome_of train(struct network *net, bool recompute)
{
    struct outcome_of out = {0};
    struct graph *graph = NULL;
    struct graph_run *run = NULL;
    struct err_msg why = {""};
    real inputs[BATCH * 36], labels[BATCH] = {3, 1, 7}; /* and zeros */
    net->recompute = recompute;
    struct model_spec spec = network_spec(net);
    CU_ASSERT_EQUAL_FATAL(graph_create(&spec, &net->data, &graph, &why), 0);
    CU_ASSERT_EQUAL_FATAL(graph_run_create(graph, BATCH, &run), 0);
    out.weight_count = graph_weight_count(graph);
    out.bytes = graph_run_bytes(run) - graph->scratch_count * sizeof(real);
    real *weights = calloc(out.weight_count, sizeof(real));
    out.grad = calloc(out.weight_count, sizeof(real));
    wave(weights, out.weight_count, 2.39, 0.4);
    wave(inputs, BATCH * 36, 0.37, 1);
    struct graph_batch batch = {.inputs = inputs,
                                .labels = labels,
                                .count = BATCH,
                                .draw = {.seed = 11, .step = 5, .lane = 2}};
    CU_ASSERT(graph_train(run, &batch, weights, out.grad, NULL, NULL, &out.loss));
    free(weights);
    graph_run_destroy(run);
    graph_destroy(graph);
    return out;
}

static bool is_same(const struct outcome_of *a, const struct outcome_of *b)
{
    return a->weight_count == b->weight_count && a->loss.loss_sum == b->loss.loss_sum &&
           memcmp(a->grad, b->grad, a->weight_count * sizeof(real)) == 0;
}

static void test_recompute_gives_the_same_bits_for_any_network(void)
{
    size_t smaller_count = 0;
    for (uint64_t seed = 1; seed <= NETWORKS; seed++) {
        struct network net = random_network(seed);
        struct outcome_of plain = train(&net, false), again = train(&net, true);
        if (!is_same(&plain, &again))
            printf("\n  network of seed %llu\n", (unsigned long long)seed);
        CU_ASSERT(is_same(&plain, &again));
        CU_ASSERT(again.bytes <= plain.bytes);
        smaller_count += again.bytes < plain.bytes;
        free(plain.grad);
        free(again.grad);
    }
    CU_ASSERT(smaller_count > NETWORKS / 4);
}

/* Sixteen layers in four segments: what four layers and three borders take, not sixteen. */
static void test_recompute_takes_the_root_of_the_memory(void)
{
    struct network net = image_network();
    for (int i = 0; i < 16; i++) {
        network_add_conv(&net, 4, 3);
        network_add_kind(&net, OP_TANH);
    }
    finish(&net);
    struct outcome_of plain = train(&net, false), again = train(&net, true);
    CU_ASSERT(is_same(&plain, &again));
    CU_ASSERT(again.bytes < plain.bytes * 6 / 10);
    free(plain.grad);
    free(again.grad);
}

/* A norm and the relu over it are computed again in any network; not where the norm reads another
 * such relu, which is not there yet. */
static void test_recompute_of_norms_alone_gives_the_same_bits(void)
{
    struct network net = image_network();
    for (int i = 0; i < 8; i++) {
        network_add_conv(&net, 4, 3);
        for (int k = 0; k < 1 + i % 3; k++) {
            network_add(&net, (struct op_spec){.kind = OP_BATCH_NORM, .epsilon = 1e-3f});
            network_add_kind(&net, OP_RELU);
        }
    }
    finish(&net);
    struct outcome_of plain = train(&net, false), again = train(&net, true);
    CU_ASSERT(is_same(&plain, &again));
    CU_ASSERT(again.bytes < plain.bytes);
    free(plain.grad);
    free(again.grad);
}

#define TESTS(X)                                             \
    X(test_recompute_gives_the_same_bits_for_any_network)    \
    X(test_recompute_of_norms_alone_gives_the_same_bits)     \
    X(test_recompute_takes_the_root_of_the_memory)

UNIT_MAIN("recompute", TESTS)
