/* Ten steps of training against losses and gradients of an independent implementation.
 *
 * tests/reference/make_gradients.py made them with PyTorch in float64; the networks and the
 * formulas of weights, inputs and labels stand there and here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/safetensors.h"
#include "tests/parity/reference.h"
#include "tests/unit/unit.h"
#include "worker/nn/gemm.h"

enum { STEPS = 10, BATCH = 8, SETS = 4, CLASSES = 5, TOKENS = 11, LENGTH = 9 };
enum { INPUTS_MAX = 8 * 8 * 2, LABELS_MAX = LENGTH };

/* Relative: of each loss, and of a tensor's gradient to the largest number in it. */
static const double tolerance = 1e-4;

static void make_images(int step, real *inputs, real *labels)
{
    chirp(inputs, BATCH * 8 * 8 * 2, 1, step % SETS);
    for (int i = 0; i < BATCH; i++)
        labels[i] = (real)((i * 7 + step % SETS) % CLASSES);
}

static struct network image_network(void)
{
    return (struct network){
        .loss = LOSS_SOFTMAX_CROSS_ENTROPY,
        .data = {.dims = 3, .shape = {8, 8, 2}, .label_count = 1, .class_count = CLASSES}};
}

/* Tokens and, at each position, the class that is to be found. */
static void make_texts(int step, real *inputs, real *labels)
{
    for (int i = 0; i < BATCH * LENGTH; i++) {
        inputs[i] = (real)((3 * i * i + 5 * i + 7 * (step % SETS)) % TOKENS);
        labels[i] = (real)((5 * i * i + 3 * i + step % SETS) % TOKENS);
    }
}

static struct network text_network(uint32_t width)
{
    struct network net = {.loss = LOSS_SOFTMAX_CROSS_ENTROPY,
                          .data = {.dims = 1,
                                   .shape = {LENGTH},
                                   .label_count = LENGTH,
                                   .class_count = TOKENS,
                                   .token_count = TOKENS}};
    network_add(&net, (struct op_spec){.kind = OP_EMBEDDING, .units = width, .deviation = 1});
    return net;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Of a tensor's initial weights.  A norm's weight is about 1; running ones are 0 and 1. */
static void fill_tensor(const struct tensor_spec *tensor, size_t idx, real *out)
{
    size_t count = (size_t)tensor_element_count(tensor);
    bool is_running = tensor->update == UPDATE_AVERAGE;
    bool is_around_one = strstr(tensor->name, "norm") != NULL && ends_with(tensor->name, ".weight");
    double fan_in = 1;
    for (uint32_t i = 0; i + 1 < tensor->dims; i++)
        fan_in *= tensor->shape[i];
    chirp(out, count, is_running ? 0 : tensor->dims > 1 ? sqrt(2 / fan_in) : 0.1, (double)idx);
    for (size_t i = 0; i < count && (is_around_one || ends_with(tensor->name, "running_var")); i++)
        out[i] += 1;
}

struct fixture {
    struct graph *graph;
    struct graph_run *run;
    struct safetensors *file;
    size_t weight_count;
    real *weights, *grad, *speed;
    real inputs[BATCH * INPUTS_MAX], labels[BATCH * LABELS_MAX];
    double worst_loss, worst_gradient;
};

static void setup(struct fixture *f, struct network *net, const char *name)
{
    struct model_spec spec = network_spec(net);
    struct err_msg why = {""};
    char path[512];
    *f = (struct fixture){.graph = NULL};
    snprintf(path, sizeof(path), "%s/%s.safetensors", REFERENCE_DIR, name);
    int err = safetensors_open(path, &f->file, &why);
    if (err == 0)
        err = graph_create(&spec, &net->data, &f->graph, &why);
    if (err != 0)
        printf("\n  %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(err, 0);
    CU_ASSERT_EQUAL_FATAL(graph_run_create(f->graph, BATCH, &f->run), 0);
    f->weight_count = graph_weight_count(f->graph);
    f->weights = calloc(3 * f->weight_count, sizeof(real));
    f->grad = f->weights + f->weight_count;
    f->speed = f->grad + f->weight_count;
    real *at = f->weights;
    for (size_t t = 0; t < graph_tensor_count(f->graph); t++) {
        fill_tensor(graph_tensor(f->graph, t), t, at);
        at += tensor_element_count(graph_tensor(f->graph, t));
    }
}

static void teardown(struct fixture *f)
{
    free(f->weights);
    graph_run_destroy(f->run);
    graph_destroy(f->graph);
    safetensors_close(f->file);
}

/* The recorded numbers of one step: `count` of them; the caller's to free. */
static float *recorded(const struct fixture *f, const char *name, size_t step, size_t count)
{
    float *values = calloc(count, sizeof(*values));
    for (size_t i = 0; i < safetensors_count(f->file); i++) {
        const struct safetensors_entry *entry = safetensors_entry(f->file, i);
        if (strcmp(entry->name, name) != 0)
            continue;
        CU_ASSERT_EQUAL_FATAL(((entry->end_bytes - entry->begin_bytes) / sizeof(float)) % count, 0);
        CU_ASSERT_EQUAL_FATAL(safetensors_read(f->file, i, step * count, values, count, NULL), 0);
        return values;
    }
    printf("\n  %s is not recorded ", name);
    CU_FAIL("a tensor that is not recorded");
    return values;
}

/* The largest difference, in parts of the largest number recorded. */
static double difference(const real *found, const float *expected, size_t count, double scale)
{
    double largest = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        worst = fmax(worst, fabs((double)found[i] * scale - (double)expected[i]));
    }
    return worst / fmax(largest, 1e-30);
}

static void compare_step(struct fixture *f, size_t step, double loss)
{
    float *expected = recorded(f, "loss", step, 1);
    f->worst_loss = fmax(f->worst_loss, fabs(loss - (double)*expected) / (double)*expected);
    free(expected);
    const real *grad = f->grad, *weights = f->weights;
    for (size_t t = 0; t < graph_tensor_count(f->graph); t++) {
        const struct tensor_spec *tensor = graph_tensor(f->graph, t);
        size_t count = (size_t)tensor_element_count(tensor);
        bool is_running = tensor->update == UPDATE_AVERAGE;
        if (!is_running || step + 1 == STEPS) {
            expected = recorded(f, tensor->name, is_running ? 0 : step, count);
            double worst = is_running ? difference(weights, expected, count, 1)
                                      : difference(grad, expected, count, 1.0 / BATCH);
            f->worst_gradient = fmax(f->worst_gradient, worst);
            free(expected);
        }
        grad += count;
        weights += count;
    }
}

/* One step of momentum, or of a running mean: w += share (mean - w). */
static void update(struct fixture *f, double rate)
{
    size_t at = 0;
    for (size_t t = 0; t < graph_tensor_count(f->graph); t++) {
        const struct tensor_spec *tensor = graph_tensor(f->graph, t);
        size_t count = (size_t)tensor_element_count(tensor);
        if (tensor->update == UPDATE_AVERAGE)
            for (size_t i = at; i < at + count; i++)
                f->weights[i] += (real)tensor->rate_scale * (f->grad[i] / BATCH - f->weights[i]);
        else
            momentum_step(f->weights + at, f->speed + at, f->grad + at, count, rate, BATCH);
        at += count;
    }
}

typedef void (*make_batch)(int step, real *inputs, real *labels);

static void compare_all(const char *name, struct network *net, make_batch make, double rate)
{
    struct fixture f;
    setup(&f, net, name);
    for (int step = 0; step < STEPS; step++) {
        struct graph_batch batch = {.inputs = f.inputs, .labels = f.labels, .count = BATCH};
        struct loss_result result;
        make(step, f.inputs, f.labels);
        graph_train(f.run, &batch, f.weights, f.grad, NULL, NULL, &result);
        update(&f, rate);
        compare_step(&f, (size_t)step, result.loss_sum / BATCH);
    }
    printf("\n  %s%s: largest relative difference of losses %.2g, of gradients %.2g ", name,
           net->products == PRODUCTS_BF16X3 ? ", bf16x3" : "", f.worst_loss, f.worst_gradient);
    CU_ASSERT(f.worst_loss <= tolerance);
    CU_ASSERT(f.worst_gradient <= tolerance);
    teardown(&f);
}

/* Products in f32, and in parts where there are any. */
static void compare(const char *name, struct network *net, make_batch make, double rate)
{
    compare_all(name, net, make, rate);
    net->products = PRODUCTS_BF16X3;
    if (gemm_is_own())
        compare_all(name, net, make, rate);
}

static void test_reference_gradients_of_convolutional_network(void)
{
    struct network net = image_network();
    network_add_conv(&net, 6, 5);
    network_add_kind(&net, OP_RELU);
    network_add_pool(&net, OP_MAXPOOL2D, 2);
    network_add_conv(&net, 8, 3);
    network_add_kind(&net, OP_TANH);
    network_add_pool(&net, OP_AVGPOOL2D, 2);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 12);
    network_add_kind(&net, OP_RELU);
    network_add_dense(&net, CLASSES);
    compare("conv", &net, make_images, 0.02);
}

/* A convolution without bias and its norm; from: the operator that it reads. */
static void add_normed_conv(struct network *net, int32_t from, uint32_t kernel, uint32_t stride)
{
    network_add(net, (struct op_spec){.kind = OP_CONV2D,
                                      .inputs = {from},
                                      .input_count = 1,
                                      .filters = 8,
                                      .kernel = {kernel, kernel},
                                      .stride = {stride, stride},
                                      .padding = {kernel / 2, kernel / 2},
                                      .init = INIT_HE});
    network_add(net,
                (struct op_spec){.kind = OP_BATCH_NORM, .momentum = 0.1f, .epsilon = 1e-5f});
}

static void test_reference_gradients_of_network_with_batch_norm(void)
{
    struct network net = image_network();
    add_normed_conv(&net, -1, 3, 1);
    network_add_kind(&net, OP_RELU);
    network_add_pool(&net, OP_MAXPOOL2D, 2);
    add_normed_conv(&net, 3, 3, 1);
    network_add_kind(&net, OP_RELU);
    network_add_kind(&net, OP_GLOBAL_AVGPOOL);
    network_add_dense(&net, CLASSES);
    compare("cnn", &net, make_images, 0.05);
}

static void test_reference_gradients_of_residual_network(void)
{
    struct network net = image_network();
    add_normed_conv(&net, -1, 3, 1);
    network_add_kind(&net, OP_RELU);
    add_normed_conv(&net, 2, 3, 1);
    network_add_kind(&net, OP_RELU);
    add_normed_conv(&net, 5, 3, 1);
    network_add_sum(&net, 7, 2);
    network_add_kind(&net, OP_RELU);
    add_normed_conv(&net, 9, 3, 2);
    network_add_kind(&net, OP_RELU);
    add_normed_conv(&net, 12, 3, 1);
    add_normed_conv(&net, 9, 1, 2);
    network_add_sum(&net, 14, 16);
    network_add_kind(&net, OP_RELU);
    network_add_kind(&net, OP_GLOBAL_AVGPOOL);
    network_add_dense(&net, CLASSES);
    compare("resnet", &net, make_images, 0.05);
}

static void test_reference_gradients_of_lstm(void)
{
    struct network net = text_network(6);
    network_add(&net, (struct op_spec){.kind = OP_LSTM, .units = 12});
    network_add_dense(&net, TOKENS);
    compare("lstm", &net, make_texts, 0.1);
}

static void test_reference_gradients_of_gru(void)
{
    struct network net = text_network(6);
    network_add(&net, (struct op_spec){.kind = OP_GRU, .units = 12});
    network_add_dense(&net, TOKENS);
    compare("gru", &net, make_texts, 0.1);
}

static void add_layer_norm(struct network *net)
{
    network_add(net, (struct op_spec){.kind = OP_LAYER_NORM, .epsilon = 1e-5f});
}

static void test_reference_gradients_of_transformer(void)
{
    struct network net = text_network(16);
    network_add(&net, (struct op_spec){.kind = OP_POSITIONAL_EMBEDDING, .deviation = 1});
    add_layer_norm(&net);
    network_add_dense(&net, 48);
    network_add(&net, (struct op_spec){.kind = OP_SELF_ATTENTION, .heads = 2, .causal = true});
    network_add_dense(&net, 16);
    network_add_sum(&net, 1, 5);
    add_layer_norm(&net);
    network_add_dense(&net, 64);
    network_add_kind(&net, OP_GELU);
    network_add_dense(&net, 16);
    network_add_sum(&net, 6, 10);
    add_layer_norm(&net);
    network_add(&net, (struct op_spec){.kind = OP_DENSE, .bias = true, .tied = 1});
    compare("gpt", &net, make_texts, 0.05);
}

#define TESTS(X) \
    X(test_reference_gradients_of_convolutional_network) \
    X(test_reference_gradients_of_network_with_batch_norm) \
    X(test_reference_gradients_of_residual_network) \
    X(test_reference_gradients_of_lstm) \
    X(test_reference_gradients_of_gru) \
    X(test_reference_gradients_of_transformer)

UNIT_MAIN("reference_gradients", TESTS)
