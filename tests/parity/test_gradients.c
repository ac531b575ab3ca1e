/* Each operator's and each loss's gradient against central differences, in double precision: the
 * sources of worker/nn are compiled for this test once more with real = double.
 *
 * A data gradient is seen through the weights before it, so operators stand behind a dense or a
 * conv2d. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"

enum { SAMPLES = 3 };

static void fill_labels(const struct network *net, real *labels, size_t count)
{
    wave(labels, count, 1.7, 1);
    for (size_t i = 0; i < count; i++) {
        if (net->data.class_count > 0)
            labels[i] = (real)((i * 7 + 1) % net->data.class_count);
        else if (net->loss == LOSS_BINARY_CROSS_ENTROPY)
            labels[i] = labels[i] > 0 ? 1 : 0;
    }
}

struct problem {
    struct graph *graph;
    struct graph_run *run;
    struct graph_batch batch;
    real *inputs, *labels, *weights, *grad, *scratch_grad;
    size_t weight_count, done_count;
    size_t last_done;
};

static void open_problem(struct problem *p, struct network *net)
{
    struct err_msg why = {""};
    struct model_spec spec = network_spec(net);
    memset(p, 0, sizeof(*p));
    if (graph_create(&spec, &net->data, &p->graph, &why)) {
        printf("%s\n", why.text);
        abort();
    }
    if (graph_run_create(p->graph, SAMPLES, &p->run))
        abort();
    size_t input_count = SAMPLES * graph_input_count(p->graph);
    size_t label_count = SAMPLES * net->data.label_count;
    p->weight_count = graph_weight_count(p->graph);
    p->inputs = calloc(input_count, sizeof(real));
    p->labels = calloc(label_count, sizeof(real));
    p->weights = calloc(p->weight_count, sizeof(real));
    p->grad = calloc(p->weight_count, sizeof(real));
    p->scratch_grad = calloc(p->weight_count, sizeof(real));
    wave(p->inputs, input_count, 0.37, 1);
    wave(p->weights, p->weight_count, 2.39, 0.4);
    fill_labels(net, p->labels, label_count);
    p->batch = (struct graph_batch){.inputs = p->inputs,
                                    .labels = p->labels,
                                    .count = SAMPLES,
                                    .draw = {.seed = 11, .step = 5, .lane = 2}};
}

static void close_problem(struct problem *p)
{
    graph_run_destroy(p->run);
    graph_destroy(p->graph);
    free(p->inputs);
    free(p->labels);
    free(p->weights);
    free(p->grad);
    free(p->scratch_grad);
}

static double loss_at(struct problem *p, size_t weight, double shift)
{
    struct loss_result result;
    real saved = p->weights[weight];
    p->weights[weight] += shift;
    graph_train(p->run, &p->batch, p->weights, p->scratch_grad, NULL, NULL, &result);
    p->weights[weight] = saved;
    return result.loss_sum;
}

static void count_done(void *ctx, size_t tensor_idx)
{
    struct problem *p = ctx;
    CU_ASSERT_EQUAL(tensor_idx, p->last_done - 1);
    p->last_done = tensor_idx;
    p->done_count++;
}

/* Weights far apart in the vector stand for large tensors; small nets are looked at in full. */
static void check_gradient(struct network *net)
{
    const double shift = 1e-5;
    struct problem p;
    struct loss_result result;
    double largest = 0, worst = 0;
    open_problem(&p, net);
    p.last_done = graph_tensor_count(p.graph);
    graph_train(p.run, &p.batch, p.weights, p.grad, count_done, &p, &result);
    CU_ASSERT_EQUAL(p.done_count, graph_tensor_count(p.graph));
    CU_ASSERT_EQUAL(result.count, SAMPLES);
    size_t stride = p.weight_count / 600 + 1;
    for (size_t i = 0; i < p.weight_count; i++)
        largest = fmax(largest, fabs(p.grad[i]));
    for (size_t i = 0; i < p.weight_count; i += stride) {
        double slope = (loss_at(&p, i, shift) - loss_at(&p, i, -shift)) / (2 * shift);
        worst = fmax(worst, fabs(slope - p.grad[i]));
    }
    CU_ASSERT(largest > 1e-6);
    CU_ASSERT(worst <= 1e-7 * fmax(largest, 1e-3));
    if (!(worst <= 1e-7 * fmax(largest, 1e-3)))
        printf("\n  worst %g, largest gradient %g\n", worst, largest);
    close_problem(&p);
}

static struct network image_network(uint32_t rows, uint32_t cols, uint32_t channels)
{
    return (struct network){.loss = LOSS_MEAN_SQUARED_ERROR,
                            .data = {.dims = 3, .shape = {rows, cols, channels}, .label_count = 2}};
}

static struct network row_network(uint32_t features)
{
    return (struct network){.loss = LOSS_MEAN_SQUARED_ERROR,
                            .data = {.dims = 1, .shape = {features}, .label_count = 2}};
}

static void finish_image(struct network *net)
{
    network_add_kind(net, OP_FLATTEN);
    network_add_dense(net, 2);
    check_gradient(net);
}

static void test_gradient_dense(void)
{
    struct network net = row_network(5);
    network_add_dense(&net, 4);
    network_add(&net, (struct op_spec){.kind = OP_DENSE, .units = 3}); /* no bias */
    network_add_dense(&net, 2);
    check_gradient(&net);
}

/* The convolution in question stands second, behind one that makes its channels. */
static void check_conv(uint32_t channels, struct op_spec conv)
{
    struct network net = image_network(7, 6, 2);
    conv.kind = OP_CONV2D;
    network_add_conv(&net, channels, 1);
    network_add(&net, conv);
    finish_image(&net);
}

static void test_gradient_conv2d_by_kernel_rows(void)
{
    check_conv(8, (struct op_spec){.filters = 3, .kernel = {3, 3}, .padding_same = true});
    check_conv(9, (struct op_spec){.filters = 3, .kernel = {3, 3}, .bias = true});
    check_conv(8,
               (struct op_spec){.filters = 2, .kernel = {5, 3}, .padding = {2, 0}, .bias = true});
    check_conv(8, (struct op_spec){.filters = 2, .kernel = {4, 2}, .padding_same = true});
    check_conv(8, (struct op_spec){.filters = 2, .kernel = {7, 6}, .bias = true});
    check_conv(3, (struct op_spec){.filters = 4, .kernel = {1, 1}, .bias = true});
    check_conv(8, (struct op_spec){.filters = 4, .kernel = {3, 1}, .bias = true});
    check_conv(3, (struct op_spec){.filters = 4, .kernel = {1, 1}, .padding = {0, 0}});
}

static void test_gradient_conv2d_by_whole_windows(void)
{
    check_conv(3, (struct op_spec){.filters = 3, .kernel = {3, 3}, .padding_same = true});
    check_conv(2, (struct op_spec){.filters = 3, .kernel = {3, 2}, .bias = true});
    check_conv(
        8,
        (struct op_spec){
            .filters = 2, .kernel = {3, 3}, .stride = {2, 2}, .padding_same = true, .bias = true});
    check_conv(
        8, (struct op_spec){.filters = 2, .kernel = {2, 3}, .stride = {3, 2}, .padding = {1, 2}});
    check_conv(8, (struct op_spec){.filters = 2, .kernel = {1, 1}, .stride = {2, 2}});
}

static void check_pool(enum op_kind kind, struct op_spec pool)
{
    struct network net = image_network(7, 6, 2);
    pool.kind = kind;
    network_add_conv(&net, 3, 3);
    network_add(&net, pool);
    finish_image(&net);
}

static void check_pools(enum op_kind kind)
{
    check_pool(kind, (struct op_spec){.kernel = {2, 2}});
    check_pool(kind, (struct op_spec){.kernel = {3, 2}, .stride = {2, 1}});
    check_pool(kind, (struct op_spec){.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
    check_pool(kind, (struct op_spec){.kernel = {3, 4}, .stride = {1, 3}, .padding_same = true});
}

static void test_gradient_maxpool2d(void)
{
    check_pools(OP_MAXPOOL2D);
}

static void test_gradient_avgpool2d(void)
{
    check_pools(OP_AVGPOOL2D);
}

static void test_gradient_global_avgpool(void)
{
    struct network net = image_network(5, 4, 2);
    network_add_conv(&net, 3, 3);
    network_add_kind(&net, OP_GLOBAL_AVGPOOL);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void check_elementwise(enum op_kind kind)
{
    struct network net = row_network(5);
    network_add_dense(&net, 7);
    network_add(&net, (struct op_spec){.kind = kind, .rate = 0.4f});
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void test_gradient_relu(void)
{
    check_elementwise(OP_RELU);
}

static void test_gradient_tanh(void)
{
    check_elementwise(OP_TANH);
}

static void test_gradient_sigmoid(void)
{
    check_elementwise(OP_SIGMOID);
}

static void test_gradient_dropout(void)
{
    check_elementwise(OP_DROPOUT);
}

static void test_gradient_flatten(void)
{
    struct network net = image_network(3, 4, 2);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 2);
    check_gradient(&net);
    net = image_network(3, 4, 2);
    network_add_conv(&net, 2, 3); /* 0, read by both flattens */
    network_add_kind(&net, OP_FLATTEN);
    network_add(&net, (struct op_spec){.kind = OP_FLATTEN, .input_count = 1, .inputs = {0}});
    network_add_kind(&net, OP_TANH);
    network_add_sum(&net, 1, 3);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void test_gradient_add(void)
{
    struct network net = row_network(5);
    network_add_dense(&net, 4);
    network_add_sum(&net, 0, 0);
    network_add_kind(&net, OP_TANH);
    network_add(&net,
                (struct op_spec){.kind = OP_DENSE, .units = 4, .input_count = 1, .inputs = {-1}});
    network_add_sum(&net, 2, 3);
    network_add_sum(&net, 4, 2);
    network_add_dense(&net, 5);
    network_add_sum(&net, -1, 6);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static struct network class_network(uint32_t classes)
{
    return (struct network){
        .loss = LOSS_SOFTMAX_CROSS_ENTROPY,
        .data = {.dims = 3, .shape = {8, 8, 1}, .label_count = 1, .class_count = classes}};
}

static void test_gradient_softmax_cross_entropy(void)
{
    struct network net = class_network(11);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 11);
    check_gradient(&net);
}

static void test_gradient_binary_cross_entropy(void)
{
    struct network net = row_network(5);
    net.loss = LOSS_BINARY_CROSS_ENTROPY;
    net.data.label_count = 3;
    network_add_dense(&net, 3);
    check_gradient(&net);
    net = class_network(2);
    net.loss = LOSS_BINARY_CROSS_ENTROPY;
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 1);
    check_gradient(&net);
}

static void test_gradient_mean_squared_error(void)
{
    struct network net = row_network(5);
    net.data.label_count = 4;
    network_add_dense(&net, 4);
    check_gradient(&net);
}

static void test_gradient_convolutional_network(void)
{
    struct network net = class_network(10);
    network_add_conv(&net, 6, 5);
    network_add_kind(&net, OP_RELU);
    network_add_pool(&net, OP_MAXPOOL2D, 2);
    network_add_conv(&net, 9, 3);
    network_add_kind(&net, OP_TANH);
    network_add_pool(&net, OP_AVGPOOL2D, 2);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 12);
    network_add_kind(&net, OP_SIGMOID);
    network_add(&net, (struct op_spec){.kind = OP_DROPOUT, .rate = 0.3f});
    network_add_dense(&net, 10);
    check_gradient(&net);
}

/* Two residual blocks, the second with a 1x1 convolution on its short cut. */
static void test_gradient_residual_network(void)
{
    struct network net = class_network(4);
    network_add_conv(&net, 8, 3);
    network_add_kind(&net, OP_RELU); /* 1 */
    network_add_conv(&net, 8, 3);
    network_add_kind(&net, OP_RELU);
    network_add_conv(&net, 8, 3);
    network_add_sum(&net, 1, 4);
    network_add_kind(&net, OP_RELU); /* 6 */
    network_add(&net, (struct op_spec){.kind = OP_CONV2D,
                                       .filters = 10,
                                       .kernel = {3, 3},
                                       .stride = {2, 2},
                                       .padding_same = true,
                                       .bias = true});
    network_add_kind(&net, OP_RELU);
    network_add_conv(&net, 10, 3); /* 9 */
    network_add(&net, (struct op_spec){.kind = OP_CONV2D,
                                       .input_count = 1,
                                       .inputs = {6},
                                       .filters = 10,
                                       .kernel = {1, 1},
                                       .stride = {2, 2}});
    network_add_sum(&net, 9, 10);
    network_add_kind(&net, OP_RELU);
    network_add_kind(&net, OP_GLOBAL_AVGPOOL);
    network_add_dense(&net, 4);
    check_gradient(&net);
}

#define TESTS(X) \
    X(test_gradient_dense) \
    X(test_gradient_conv2d_by_kernel_rows) \
    X(test_gradient_conv2d_by_whole_windows) \
    X(test_gradient_maxpool2d) \
    X(test_gradient_avgpool2d) \
    X(test_gradient_global_avgpool) \
    X(test_gradient_relu) \
    X(test_gradient_tanh) \
    X(test_gradient_sigmoid) \
    X(test_gradient_dropout) \
    X(test_gradient_flatten) \
    X(test_gradient_add) \
    X(test_gradient_softmax_cross_entropy) \
    X(test_gradient_binary_cross_entropy) \
    X(test_gradient_mean_squared_error) \
    X(test_gradient_convolutional_network) \
    X(test_gradient_residual_network)

UNIT_MAIN("gradients", TESTS)
