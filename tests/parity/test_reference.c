/* Fifty steps of training against loss curves of an independent implementation.
 *
 * tests/reference/make_reference.py made the curves with PyTorch in float64; the formulas of
 * weights, inputs and labels stand there and here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/parity/reference.h"
#include "tests/unit/unit.h"

enum { STEPS = 50, BATCH = 8, SETS = 4 };

static const double tolerance = 1e-4; /* relative, of each loss */

static int read_curve(const char *name, double curve[STEPS])
{
    char path[512], line[256];
    int count = 0;
    snprintf(path, sizeof(path), "%s/%s.txt", REFERENCE_DIR, name);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    while (count < STEPS && fgets(line, sizeof(line), file))
        if (line[0] != '#')
            curve[count++] = strtod(line, NULL);
    fclose(file);
    return count;
}

static void fill_weights(const struct graph *graph, real *weights)
{
    for (size_t t = 0; t < graph_tensor_count(graph); t++) {
        const struct tensor_spec *tensor = graph_tensor(graph, t);
        double fan_in = 1;
        for (uint32_t i = 0; i + 1 < tensor->dims; i++)
            fan_in *= tensor->shape[i];
        double scale = tensor->dims > 1 ? sqrt(2 / fan_in) : 0.1;
        size_t count = (size_t)tensor_element_count(tensor);
        chirp(weights, count, scale, (double)t);
        weights += count;
    }
}

typedef void (*make_batch)(int step, real *inputs, real *labels);

static double *train(struct network *net, make_batch make, double rate)
{
    static double losses[STEPS];
    static real inputs[BATCH * 12 * 12 * 2], labels[BATCH * 3];
    struct model_spec spec = network_spec(net);
    struct graph *graph;
    struct graph_run *run;
    CU_ASSERT_EQUAL_FATAL(graph_create(&spec, &net->data, &graph, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(graph_run_create(graph, BATCH, &run), 0);
    size_t count = graph_weight_count(graph);
    real *weights = calloc(3 * count, sizeof(real));
    real *grad = weights + count, *speed = grad + count;
    fill_weights(graph, weights);
    for (int step = 0; step < STEPS; step++) {
        struct graph_batch batch = {.inputs = inputs, .labels = labels, .count = BATCH};
        struct loss_result result;
        make(step, inputs, labels);
        graph_train(run, &batch, weights, grad, NULL, NULL, &result);
        losses[step] = result.loss_sum / BATCH;
        momentum_step(weights, speed, grad, count, rate, BATCH);
    }
    free(weights);
    graph_run_destroy(run);
    graph_destroy(graph);
    return losses;
}

static void compare(const char *name, const double losses[STEPS])
{
    double curve[STEPS], worst = 0;
    CU_ASSERT_EQUAL_FATAL(read_curve(name, curve), STEPS);
    for (int i = 0; i < STEPS; i++)
        worst = fmax(worst, fabs(losses[i] - curve[i]) / curve[i]);
    printf("\n  %s: largest relative difference %.2g ", name, worst);
    CU_ASSERT(worst <= tolerance);
}

static void make_conv_batch(int step, real *inputs, real *labels)
{
    chirp(inputs, BATCH * 12 * 12 * 2, 1, step % SETS);
    for (int i = 0; i < BATCH; i++)
        labels[i] = (real)((i * 7 + step % SETS) % 5);
}

static void test_reference_convolutional_network_follows_recorded_losses(void)
{
    struct network net = {
        .loss = LOSS_SOFTMAX_CROSS_ENTROPY,
        .data = {.dims = 3, .shape = {12, 12, 2}, .label_count = 1, .class_count = 5}};
    network_add_conv(&net, 8, 5);
    network_add_kind(&net, OP_RELU);
    network_add_pool(&net, OP_MAXPOOL2D, 2);
    network_add(&net,
                (struct op_spec){.kind = OP_CONV2D, .filters = 12, .kernel = {3, 3}, .bias = true});
    network_add_kind(&net, OP_TANH);
    network_add_pool(&net, OP_AVGPOOL2D, 2);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 16);
    network_add_kind(&net, OP_RELU);
    network_add_dense(&net, 5);
    compare("conv", train(&net, make_conv_batch, 0.02));
}

static void make_dense_batch(int step, real *inputs, real *labels)
{
    chirp(inputs, BATCH * 20, 1, step % SETS);
    chirp(labels, BATCH * 3, 1, 10 + step % SETS);
}

static void test_reference_dense_network_follows_recorded_losses(void)
{
    struct network net = {.loss = LOSS_MEAN_SQUARED_ERROR,
                          .data = {.dims = 1, .shape = {20}, .label_count = 3}};
    network_add_dense(&net, 32);
    network_add_kind(&net, OP_TANH);
    network_add_dense(&net, 16);
    network_add_kind(&net, OP_SIGMOID);
    network_add_dense(&net, 3);
    compare("dense", train(&net, make_dense_batch, 0.1));
}

#define TESTS(X) \
    X(test_reference_convolutional_network_follows_recorded_losses) \
    X(test_reference_dense_network_follows_recorded_losses)

UNIT_MAIN("reference", TESTS)
