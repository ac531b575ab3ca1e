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

/* Of samples with many labels: the second as a whole, and every fourth. */
static bool is_left_out(const struct network *net, size_t label_idx)
{
    size_t count = net->data.label_count;
    return count > 1 && (label_idx / count == 1 || label_idx % 4 == 2);
}

static void fill_labels(const struct network *net, real *labels, size_t count)
{
    wave(labels, count, 1.7, 1);
    for (size_t i = 0; i < count; i++) {
        if (net->data.class_count > 0)
            labels[i] = is_left_out(net, i) ? -1 : (real)((i * 7 + 1) % net->data.class_count);
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
    for (size_t i = 0; net->data.token_count > 0 && i < input_count; i++)
        p->inputs[i] = (real)((i * 5 + i / 3) % net->data.token_count);
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

/* Whether a weight is a statistic of what came by, which no loss of training depends on. */
static bool is_statistic(const struct problem *p, size_t weight)
{
    size_t end = 0;
    for (size_t t = 0; t < graph_tensor_count(p->graph); t++) {
        end += (size_t)tensor_element_count(graph_tensor(p->graph, t));
        if (weight < end)
            return graph_tensor(p->graph, t)->update == UPDATE_AVERAGE;
    }
    return false;
}

/* Weights far apart in the vector stand for large tensors; small nets are looked at in full. */
static void check_problem(struct problem *p)
{
    const double shift = 1e-5;
    struct loss_result result;
    double largest = 0, worst = 0;
    p->last_done = graph_tensor_count(p->graph);
    graph_train(p->run, &p->batch, p->weights, p->grad, count_done, p, &result);
    CU_ASSERT_EQUAL(p->done_count, graph_tensor_count(p->graph));
    CU_ASSERT_EQUAL(result.count, SAMPLES);
    size_t stride = p->weight_count / 600 + 1;
    for (size_t i = 0; i < p->weight_count; i++)
        p->grad[i] = is_statistic(p, i) ? 0 : p->grad[i];
    for (size_t i = 0; i < p->weight_count; i++)
        largest = fmax(largest, fabs(p->grad[i]));
    for (size_t i = 0; i < p->weight_count; i += stride) {
        double slope = (loss_at(p, i, shift) - loss_at(p, i, -shift)) / (2 * shift);
        worst = fmax(worst, fabs(slope - p->grad[i]));
    }
    CU_ASSERT(largest > 1e-6);
    CU_ASSERT(worst <= 1e-7 * fmax(largest, 1e-3));
    if (!(worst <= 1e-7 * fmax(largest, 1e-3)))
        printf("\n  worst %g, largest gradient %g\n", worst, largest);
}

static void check_gradient(struct network *net)
{
    struct problem p;
    open_problem(&p, net);
    check_problem(&p);
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

static struct network sequence_network(uint32_t positions, uint32_t features)
{
    return (struct network){.loss = LOSS_MEAN_SQUARED_ERROR,
                            .data = {.dims = 2, .shape = {positions, features}, .label_count = 2}};
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

/* An operator of three channels, behind the convolution that makes them. */
static void check_image_op(struct op_spec op)
{
    struct network net = image_network(5, 4, 2);
    network_add_conv(&net, 3, 3);
    network_add(&net, op);
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

static void test_gradient_conv2d_with_dilation(void)
{
    check_conv(3, (struct op_spec){.filters = 3, .kernel = {3, 2}, .dilation = {2, 3}});
    check_conv(2, (struct op_spec){.filters = 3,
                                   .kernel = {3, 3},
                                   .dilation = {2, 1},
                                   .padding_same = true,
                                   .bias = true});
    check_conv(2, (struct op_spec){.filters = 3,
                                   .kernel = {2, 3},
                                   .stride = {2, 3},
                                   .dilation = {3, 2},
                                   .padding = {1, 2}});
    check_conv(2, (struct op_spec){
                      .filters = 2, .kernel = {3, 2}, .stride = {2, 4}, .dilation = {2, 2}});
}

static void test_gradient_conv2d_with_groups(void)
{
    check_conv(4, (struct op_spec){
                      .filters = 6, .kernel = {3, 3}, .groups = 2, .padding_same = true});
    check_conv(6, (struct op_spec){.filters = 9,
                                   .kernel = {3, 2},
                                   .stride = {2, 1},
                                   .groups = 3,
                                   .padding = {1, 1},
                                   .bias = true});
    check_conv(4, (struct op_spec){.filters = 8, .kernel = {2, 2}, .groups = 4, .bias = true});
}

/* Seventeen channels: a few vectors and one left over. */
static void test_gradient_conv2d_depthwise(void)
{
    check_conv(17, (struct op_spec){.filters = 17,
                                    .kernel = {3, 3},
                                    .groups = 17,
                                    .padding_same = true,
                                    .bias = true});
    check_conv(17, (struct op_spec){
                       .filters = 17, .kernel = {3, 2}, .stride = {2, 2}, .groups = 17});
    check_conv(5, (struct op_spec){.filters = 5,
                                   .kernel = {2, 3},
                                   .stride = {1, 3},
                                   .dilation = {3, 2},
                                   .groups = 5,
                                   .padding = {2, 1}});
}

static void test_gradient_conv2d_winograd(void)
{
    struct op_spec conv = {
        .kernel = {3, 3}, .winograd = true, .filters = 16, .padding_same = true, .bias = true};
    check_conv(16, conv);
    conv.filters = 80; /* a block of filters and a part of one */
    check_conv(16, conv);
    conv = (struct op_spec){.kernel = {3, 3}, .winograd = true, .filters = 16};
    check_conv(80, conv);
    conv.padding[0] = 2;
    conv.padding[1] = 1;
    check_conv(32, conv);
}

static void test_gradient_conv_transpose2d(void)
{
    check_image_op((struct op_spec){
        .kind = OP_CONV_TRANSPOSE2D, .filters = 4, .kernel = {3, 3}, .bias = true});
    check_image_op((struct op_spec){.kind = OP_CONV_TRANSPOSE2D,
                                    .filters = 5,
                                    .kernel = {3, 2},
                                    .stride = {2, 3},
                                    .padding = {1, 0},
                                    .output_padding = {1, 2},
                                    .bias = true});
    check_image_op((struct op_spec){.kind = OP_CONV_TRANSPOSE2D,
                                    .filters = 2,
                                    .kernel = {2, 3},
                                    .stride = {1, 2},
                                    .dilation = {3, 2},
                                    .padding = {2, 1},
                                    .output_padding = {2, 0}});
}

static void test_gradient_upsample2d(void)
{
    check_image_op((struct op_spec){.kind = OP_UPSAMPLE2D, .factor = 2});
    check_image_op((struct op_spec){
        .kind = OP_UPSAMPLE2D, .factor = 2, .interpolation = INTERPOLATION_BILINEAR});
    check_image_op((struct op_spec){
        .kind = OP_UPSAMPLE2D, .factor = 3, .interpolation = INTERPOLATION_BILINEAR});
}

static void check_conv1d(struct op_spec conv)
{
    struct network net = row_network(5);
    conv.kind = OP_CONV1D;
    net.data.dims = 2;
    net.data.shape[0] = 9;
    net.data.shape[1] = 4;
    network_add_dense(&net, 4);
    network_add(&net, conv);
    finish_image(&net);
}

static void test_gradient_conv1d(void)
{
    check_conv1d((struct op_spec){.filters = 3, .kernel = {3}, .stride = {1}, .bias = true});
    check_conv1d(
        (struct op_spec){.filters = 3, .kernel = {4}, .stride = {2}, .padding_same = true});
    check_conv1d((struct op_spec){
        .filters = 6, .kernel = {3}, .stride = {1}, .dilation = {2}, .groups = 2, .causal = true});
    check_conv1d((struct op_spec){.filters = 4, .kernel = {2}, .stride = {1}, .groups = 4});
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

static void test_gradient_spatial_dropout(void)
{
    struct network net = image_network(3, 4, 2);
    network_add_conv(&net, 5, 3);
    network_add(&net, (struct op_spec){.kind = OP_SPATIAL_DROPOUT, .rate = 0.4f});
    finish_image(&net);
    net = (struct network){.loss = LOSS_MEAN_SQUARED_ERROR,
                           .data = {.dims = 2, .shape = {4, 3}, .label_count = 2}};
    network_add_dense(&net, 5);
    network_add(&net, (struct op_spec){.kind = OP_SPATIAL_DROPOUT, .rate = 0.4f});
    network_add_kind(&net, OP_TANH);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

/* As it is used: on a branch that is added to what it began with. */
static void test_gradient_drop_path(void)
{
    struct network net = row_network(5);
    network_add_dense(&net, 7);
    network_add_dense(&net, 7);
    network_add(&net, (struct op_spec){.kind = OP_DROP_PATH, .rate = 0.5f});
    network_add_sum(&net, 0, 2);
    network_add_dense(&net, 2);
    check_gradient(&net);
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

static void test_gradient_dense_of_a_sequence(void)
{
    struct network net = sequence_network(4, 3);
    network_add_dense(&net, 5);
    network_add_kind(&net, OP_TANH);
    network_add_dense(&net, 2);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 0); /* as many as there are labels */
    check_gradient(&net);
}

static void add_tied(struct network *net, uint32_t owner_idx, bool bias)
{
    network_add(net, (struct op_spec){.kind = OP_DENSE, .tied = owner_idx + 1, .bias = bias});
    network_add_kind(net, OP_TANH);
}

static void test_gradient_tied_weights(void)
{
    struct network net = row_network(6);
    network_add_dense(&net, 5); /* 0: 6 to 5 */
    network_add_kind(&net, OP_TANH);
    add_tied(&net, 0, true); /* 5 to 6 */
    network_add_dense(&net, 5);
    add_tied(&net, 0, false);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

/* `ops` read a sequence that an embedding makes of the data's tokens. */
static void check_sequence(uint32_t steps, uint32_t width, const struct op_spec *ops, size_t count)
{
    struct network net = {
        .loss = LOSS_MEAN_SQUARED_ERROR,
        .data = {.dims = 1, .shape = {steps}, .label_count = 2, .token_count = 5}};
    network_add(&net, (struct op_spec){.kind = OP_EMBEDDING, .units = width});
    for (size_t i = 0; i < count; i++)
        network_add(&net, ops[i]);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void test_gradient_embedding(void)
{
    check_sequence(7, 3, NULL, 0);
    check_sequence(1, 4, NULL, 0);
    struct network net = {
        .loss = LOSS_MEAN_SQUARED_ERROR,
        .data = {.dims = 1, .shape = {4}, .label_count = 2, .token_count = 5}};
    network_add(&net, (struct op_spec){.kind = OP_EMBEDDING, .units = 3, .vocabulary = 6});
    network_add_kind(&net, OP_TANH);
    add_tied(&net, 0, true); /* at each position a number for each word */
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void test_gradient_positional_embedding(void)
{
    check_sequence(4, 3, (struct op_spec[]){{.kind = OP_POSITIONAL_EMBEDDING}, {.kind = OP_TANH}},
                   2);
}

static void check_recurrent(enum op_kind kind)
{
    check_sequence(6, 3, (struct op_spec[]){{.kind = kind, .units = 5}}, 1);
    check_sequence(5, 4, (struct op_spec[]){{.kind = kind, .units = 3, .reverse = true}}, 1);
    check_sequence(2, 2, (struct op_spec[]){{.kind = kind, .units = 33}}, 1);
    check_sequence(
        4, 2,
        (struct op_spec[]){{.kind = kind, .units = 4}, {.kind = kind, .units = 3, .reverse = true}},
        2);
}

static void test_gradient_lstm(void)
{
    check_recurrent(OP_LSTM);
}

static void test_gradient_gru(void)
{
    check_recurrent(OP_GRU);
}

/* Lengths within a tile of scores, at its edge, and beyond. */
static void test_gradient_self_attention(void)
{
    static const uint32_t lengths[] = {5, 32, 70, 130};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
        for (uint32_t heads = 1; heads <= 2; heads++) {
            struct op_spec ops[] = {{.kind = OP_DENSE, .units = 12, .bias = true},
                                    {.kind = OP_SELF_ATTENTION, .heads = heads}};
            ops[1].causal = i % 2 == heads - 1;
            check_sequence(lengths[i], 3, ops, 2);
        }
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

static void check_positions(uint32_t classes, double label_smoothing, const double *weights)
{
    struct network net = {.loss = LOSS_SOFTMAX_CROSS_ENTROPY,
                          .label_smoothing = label_smoothing,
                          .data = {.dims = 2,
                                   .shape = {19, 3},
                                   .label_count = 19,
                                   .class_count = classes}};
    double copy[64];
    if (weights != NULL) {
        memcpy(copy, weights, classes * sizeof(*copy));
        net.class_weights = (struct real_list){classes, copy};
    }
    network_add_dense(&net, classes);
    check_gradient(&net);
}

/* Rows of classes on both sides of where sums are taken in parts. */
static void test_gradient_cross_entropy_of_positions(void)
{
    double weights[41];
    for (size_t i = 0; i < ARRAY_LEN(weights); i++)
        weights[i] = 0.3 + 0.2 * (double)(i % 6);
    check_positions(5, 0, NULL);
    check_positions(41, 0, NULL);
    check_positions(5, 0.1, weights);
    check_positions(41, 0, weights);
    check_positions(41, 0.15, NULL);
    check_positions(41, 0.15, weights);
}

static void test_gradient_label_smoothing_and_class_weights(void)
{
    double weights[11] = {1, 0, 2, 0.5, 1, 1, 3, 0.1, 1, 1, 0.7};
    struct network net = class_network(11);
    net.label_smoothing = 0.1;
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 11);
    check_gradient(&net);
    net.class_weights = (struct real_list){11, weights};
    check_gradient(&net);
    net.label_smoothing = 0;
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

/* The loss of a batch, all of whose samples have labels of one kind, or a mixture of two. */
static double loss_of(struct problem *p, const real *labels, const real *mix_labels)
{
    struct loss_result result;
    struct graph_batch batch = p->batch;
    batch.labels = labels;
    batch.mix_labels = mix_labels;
    graph_eval(p->run, &batch, p->weights, &result);
    return result.loss_sum;
}

static void check_mixup(struct network *net)
{
    const real weights[SAMPLES] = {0.3, 1, 0.85};
    const real quarters[SAMPLES] = {0.25, 0.25, 0.25};
    struct problem p;
    open_problem(&p, net);
    real *mixed = calloc(SAMPLES * net->data.label_count, sizeof(real));
    for (size_t i = 0; i < SAMPLES * net->data.label_count; i++)
        mixed[i] = net->data.class_count > 0 ? (real)((i * 5 + 3) % net->data.class_count)
                   : net->loss == LOSS_BINARY_CROSS_ENTROPY ? (real)(i % 2)
                                                            : (real)sin((double)i);
    p.batch.mix_labels = mixed;
    p.batch.mix_weights = weights;
    check_problem(&p);
    p.batch.mix_weights = quarters;
    double whole = loss_of(&p, p.labels, mixed);
    double own = loss_of(&p, p.labels, NULL), other = loss_of(&p, mixed, NULL);
    CU_ASSERT_DOUBLE_EQUAL(whole, 0.25 * own + 0.75 * other, 1e-12 * whole);
    CU_ASSERT(fabs(own - other) > 1e-3);
    free(mixed);
    close_problem(&p);
}

static void test_gradient_of_two_labels_mixed(void)
{
    struct network net = class_network(11);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 11);
    check_mixup(&net);
    net = row_network(5);
    net.data.label_count = 4;
    network_add_dense(&net, 4);
    check_mixup(&net);
    net.loss = LOSS_BINARY_CROSS_ENTROPY;
    check_mixup(&net);
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

/* An operator with a gradient before it and a nonlinear function behind, on a row, a sequence and
 * an image of 6 channels. */
static void check_anywhere(struct op_spec op)
{
    struct network net = row_network(5);
    network_add_dense(&net, 6);
    network_add(&net, op);
    network_add_kind(&net, OP_TANH);
    network_add_dense(&net, 2);
    check_gradient(&net);
    net = sequence_network(4, 3);
    network_add_dense(&net, 6);
    network_add(&net, op);
    network_add_kind(&net, OP_TANH);
    finish_image(&net);
    net = image_network(3, 4, 2);
    network_add_conv(&net, 6, 3);
    network_add(&net, op);
    network_add_kind(&net, OP_TANH);
    finish_image(&net);
}

static void test_gradient_batch_norm(void)
{
    struct op_spec op = {.kind = OP_BATCH_NORM, .epsilon = 1e-3f, .momentum = 0.1f};
    check_anywhere(op);
    op.epsilon = 0.5f;
    check_anywhere(op);
}

static void test_gradient_layer_norm(void)
{
    check_anywhere((struct op_spec){.kind = OP_LAYER_NORM, .epsilon = 1e-2f});
    struct network net = row_network(5);
    network_add_dense(&net, 75);
    network_add(&net, (struct op_spec){.kind = OP_LAYER_NORM, .epsilon = 1e-5f});
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void test_gradient_group_norm(void)
{
    for (uint32_t groups = 1; groups <= 3; groups++)
        check_anywhere((struct op_spec){
            .kind = OP_GROUP_NORM, .groups = groups, .epsilon = 1e-2f});
}

static void test_gradient_smooth_activations(void)
{
    check_anywhere((struct op_spec){.kind = OP_GELU});
    check_anywhere((struct op_spec){.kind = OP_GELU, .approximate = GELU_TANH});
    check_anywhere((struct op_spec){.kind = OP_SILU});
    check_anywhere((struct op_spec){.kind = OP_SOFTPLUS});
}

static void test_gradient_leaky_relu(void)
{
    check_anywhere((struct op_spec){.kind = OP_LEAKY_RELU, .slope = 0.2f});
}

static void test_gradient_elu(void)
{
    check_anywhere((struct op_spec){.kind = OP_ELU, .slope = 0.7f});
}

static void test_gradient_softmax(void)
{
    check_anywhere((struct op_spec){.kind = OP_SOFTMAX});
    struct network net = row_network(5);
    network_add_dense(&net, 75);
    network_add_kind(&net, OP_SOFTMAX);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

/* A gate, a square, and a product with the network's input. */
static void test_gradient_mul(void)
{
    struct network net = row_network(5);
    network_add_dense(&net, 5); /* 0 */
    network_add_kind(&net, OP_TANH);
    network_add(&net, (struct op_spec){
                          .kind = OP_DENSE, .units = 5, .input_count = 1, .inputs = {0}});
    network_add_kind(&net, OP_SIGMOID); /* 3 */
    network_add(&net, (struct op_spec){.kind = OP_MUL, .inputs = {1, 3}, .input_count = 2});
    network_add(&net, (struct op_spec){.kind = OP_MUL, .inputs = {4, 4}, .input_count = 2});
    network_add(&net, (struct op_spec){.kind = OP_MUL, .inputs = {-1, 5}, .input_count = 2});
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void test_gradient_concat(void)
{
    struct network net = image_network(3, 4, 2);
    network_add_conv(&net, 3, 3); /* 0 */
    network_add_kind(&net, OP_TANH);
    network_add_conv(&net, 2, 1); /* 2 */
    network_add(&net, (struct op_spec){
                          .kind = OP_CONCAT, .inputs = {2, -1, 1, 2}, .input_count = 4});
    network_add_kind(&net, OP_TANH);
    finish_image(&net);
    net = row_network(5);
    network_add_dense(&net, 3);
    network_add_dense(&net, 4);
    network_add(&net, (struct op_spec){.kind = OP_CONCAT, .inputs = {0, 1}, .input_count = 2});
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void test_gradient_sequence_and_last(void)
{
    struct network net = image_network(3, 4, 2);
    network_add_conv(&net, 3, 3); /* 0, read by both */
    network_add_kind(&net, OP_SEQUENCE);
    network_add_dense(&net, 4);
    network_add_kind(&net, OP_LAST); /* 3 */
    network_add(&net, (struct op_spec){.kind = OP_SEQUENCE, .input_count = 1, .inputs = {0}});
    network_add_kind(&net, OP_TANH);
    network_add_dense(&net, 4);
    network_add_kind(&net, OP_GLOBAL_AVGPOOL);
    network_add_sum(&net, 3, 7);
    network_add_kind(&net, OP_SEQUENCE); /* 4 positions of 1 */
    network_add_dense(&net, 3);
    network_add_kind(&net, OP_TANH);
    finish_image(&net);
}

static void test_gradient_global_maxpool(void)
{
    struct network net = image_network(5, 4, 2);
    network_add_conv(&net, 3, 3);
    network_add_kind(&net, OP_GLOBAL_MAXPOOL);
    network_add_dense(&net, 2);
    check_gradient(&net);
    net = sequence_network(4, 3);
    network_add_dense(&net, 5);
    network_add_kind(&net, OP_GLOBAL_MAXPOOL);
    network_add_dense(&net, 2);
    check_gradient(&net);
}

static void test_gradient_pad_channels(void)
{
    check_anywhere((struct op_spec){.kind = OP_PAD_CHANNELS, .channels = 9});
}

static void add_conv_norm(struct network *net, uint32_t filters, uint32_t stride, int32_t from)
{
    network_add(net, (struct op_spec){.kind = OP_CONV2D,
                                      .input_count = 1,
                                      .inputs = {from},
                                      .filters = filters,
                                      .kernel = {3, 3},
                                      .stride = {stride, stride},
                                      .padding = {1, 1}});
    network_add(net, (struct op_spec){.kind = OP_BATCH_NORM, .epsilon = 1e-3f});
}

/* The blocks of He et al. 2016: the second with a short cut of option A. */
static void test_gradient_residual_network_with_batch_norm(void)
{
    struct network net = class_network(4);
    add_conv_norm(&net, 4, 1, -1);
    network_add_kind(&net, OP_RELU); /* 2 */
    add_conv_norm(&net, 4, 1, 2);
    network_add_kind(&net, OP_RELU);
    add_conv_norm(&net, 4, 1, 5);
    network_add_sum(&net, 7, 2);
    network_add_kind(&net, OP_RELU); /* 9 */
    add_conv_norm(&net, 8, 2, 9);
    network_add_kind(&net, OP_RELU);
    add_conv_norm(&net, 8, 1, 12); /* 14 */
    network_add(&net, (struct op_spec){.kind = OP_MAXPOOL2D,
                                       .input_count = 1,
                                       .inputs = {9},
                                       .kernel = {1, 1},
                                       .stride = {2, 2}});
    network_add(&net, (struct op_spec){.kind = OP_PAD_CHANNELS, .channels = 8});
    network_add_sum(&net, 14, 16);
    network_add_kind(&net, OP_RELU);
    network_add_kind(&net, OP_GLOBAL_AVGPOOL);
    network_add_dense(&net, 4);
    check_gradient(&net);
}

static struct network language_network(void)
{
    struct network net = {.loss = LOSS_SOFTMAX_CROSS_ENTROPY,
                          .data = {.dims = 1,
                                   .shape = {6},
                                   .label_count = 6,
                                   .class_count = 7,
                                   .token_count = 7}};
    network_add(&net, (struct op_spec){.kind = OP_EMBEDDING, .units = 8}); /* 0 */
    return net;
}

/* Forward and backward through time, side by side. */
static void test_gradient_recurrent_network(void)
{
    struct network net = language_network();
    network_add(&net, (struct op_spec){.kind = OP_LSTM, .units = 5});
    network_add(&net, (struct op_spec){.kind = OP_GRU,
                                       .units = 4,
                                       .reverse = true,
                                       .input_count = 1,
                                       .inputs = {0}});
    network_add(&net,
                (struct op_spec){.kind = OP_CONCAT, .input_count = 2, .inputs = {1, 2}});
    network_add(&net, (struct op_spec){.kind = OP_DROPOUT, .rate = 0.2f});
    network_add_dense(&net, 0);
    check_gradient(&net);
}

/* A block as GPT-2 has it, and the output tied to the embedding. */
static void test_gradient_transformer(void)
{
    struct network net = language_network();
    network_add_kind(&net, OP_POSITIONAL_EMBEDDING); /* 1 */
    network_add(&net, (struct op_spec){.kind = OP_LAYER_NORM, .epsilon = 1e-5f});
    network_add_dense(&net, 24);
    network_add(&net, (struct op_spec){.kind = OP_SELF_ATTENTION, .heads = 2, .causal = true});
    network_add_dense(&net, 8);
    network_add_sum(&net, 1, 5); /* 6 */
    network_add(&net, (struct op_spec){.kind = OP_LAYER_NORM, .epsilon = 1e-5f});
    network_add_dense(&net, 16);
    network_add_kind(&net, OP_GELU);
    network_add_dense(&net, 8);
    network_add_sum(&net, 6, 10);
    network_add(&net, (struct op_spec){.kind = OP_LAYER_NORM, .epsilon = 1e-5f});
    network_add(&net, (struct op_spec){.kind = OP_DENSE, .tied = 1, .bias = true});
    check_gradient(&net);
}

#define TESTS(X) \
    X(test_gradient_dense) \
    X(test_gradient_conv2d_by_kernel_rows) \
    X(test_gradient_conv2d_by_whole_windows) \
    X(test_gradient_conv2d_with_dilation) \
    X(test_gradient_conv2d_with_groups) \
    X(test_gradient_conv2d_depthwise) \
    X(test_gradient_conv2d_winograd) \
    X(test_gradient_conv_transpose2d) \
    X(test_gradient_conv1d) \
    X(test_gradient_upsample2d) \
    X(test_gradient_maxpool2d) \
    X(test_gradient_avgpool2d) \
    X(test_gradient_global_avgpool) \
    X(test_gradient_relu) \
    X(test_gradient_tanh) \
    X(test_gradient_sigmoid) \
    X(test_gradient_dropout) \
    X(test_gradient_spatial_dropout) \
    X(test_gradient_drop_path) \
    X(test_gradient_flatten) \
    X(test_gradient_dense_of_a_sequence) \
    X(test_gradient_tied_weights) \
    X(test_gradient_embedding) \
    X(test_gradient_positional_embedding) \
    X(test_gradient_lstm) \
    X(test_gradient_gru) \
    X(test_gradient_self_attention) \
    X(test_gradient_add) \
    X(test_gradient_softmax_cross_entropy) \
    X(test_gradient_cross_entropy_of_positions) \
    X(test_gradient_label_smoothing_and_class_weights) \
    X(test_gradient_binary_cross_entropy) \
    X(test_gradient_mean_squared_error) \
    X(test_gradient_of_two_labels_mixed) \
    X(test_gradient_convolutional_network) \
    X(test_gradient_residual_network) \
    X(test_gradient_batch_norm) \
    X(test_gradient_layer_norm) \
    X(test_gradient_group_norm) \
    X(test_gradient_smooth_activations) \
    X(test_gradient_leaky_relu) \
    X(test_gradient_elu) \
    X(test_gradient_softmax) \
    X(test_gradient_mul) \
    X(test_gradient_concat) \
    X(test_gradient_sequence_and_last) \
    X(test_gradient_global_maxpool) \
    X(test_gradient_pad_channels) \
    X(test_gradient_residual_network_with_batch_norm) \
    X(test_gradient_recurrent_network) \
    X(test_gradient_transformer)

UNIT_MAIN("gradients", TESTS)
