#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"
#include "worker/nn/gemm.h"

enum { BATCH = 6 };

static struct network digits_network(void)
{
    return (struct network){
        .loss = LOSS_SOFTMAX_CROSS_ENTROPY,
        .data = {.dims = 3, .shape = {8, 8, 1}, .label_count = 1, .class_count = 10}};
}

/* Every kind of operator but global_avgpool, with a residual and a dropout. */
static struct network mixed_network(void)
{
    struct network net = digits_network();
    network_add_conv(&net, 8, 3);
    network_add_kind(&net, OP_RELU);
    network_add_conv(&net, 8, 3);
    network_add_kind(&net, OP_TANH);
    network_add_sum(&net, 1, 3);
    network_add_pool(&net, OP_MAXPOOL2D, 2);
    network_add_pool(&net, OP_AVGPOOL2D, 2);
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 20);
    network_add_kind(&net, OP_SIGMOID);
    network_add(&net, (struct op_spec){.kind = OP_DROPOUT, .rate = 0.5f});
    network_add_dense(&net, 10);
    return net;
}

static struct graph *make_graph(struct network *net)
{
    struct graph *graph = NULL;
    struct err_msg why = {""};
    struct model_spec spec = network_spec(net);
    int err = graph_create(&spec, &net->data, &graph, &why);
    if (err)
        printf("\n  %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(err, 0);
    return graph;
}

static struct graph_run *make_run(const struct graph *graph, size_t batch_max)
{
    struct graph_run *run = NULL;
    CU_ASSERT_EQUAL_FATAL(graph_run_create(graph, batch_max, &run), 0);
    return run;
}

/* A graph with weights, a batch, and room for what comes out. */
struct fixture {
    struct network net;
    struct graph *graph;
    size_t weight_count;
    real *weights, *grad;
    real inputs[BATCH * 64], labels[BATCH];
    struct graph_batch batch;
};

static void open_fixture(struct fixture *f)
{
    f->net = mixed_network();
    f->graph = make_graph(&f->net);
    f->weight_count = graph_weight_count(f->graph);
    f->weights = calloc(f->weight_count, sizeof(real));
    f->grad = calloc(f->weight_count, sizeof(real));
    wave(f->weights, f->weight_count, 2.39, 0.2);
    wave(f->inputs, BATCH * 64, 0.37, 1);
    for (int i = 0; i < BATCH; i++)
        f->labels[i] = (real)(i * 7 % 10);
    f->batch = (struct graph_batch){.inputs = f->inputs,
                                    .labels = f->labels,
                                    .count = BATCH,
                                    .draw = {.seed = 3, .step = 4, .lane = 1}};
}

static void close_fixture(struct fixture *f)
{
    graph_destroy(f->graph);
    free(f->weights);
    free(f->grad);
}

static void expect_error(struct network *net, const char *const *parts)
{
    struct err_msg why = {""};
    struct graph *graph = NULL;
    struct model_spec spec = network_spec(net);
    CU_ASSERT_EQUAL(graph_create(&spec, &net->data, &graph, &why), ERR_INPUT);
    CU_ASSERT_PTR_NULL(graph);
    for (; *parts; parts++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, *parts));
        if (!strstr(why.text, *parts))
            printf("\n  no \"%s\" in \"%s\"\n", *parts, why.text);
    }
}

#define EXPECT_ERROR(net, ...) expect_error(net, (const char *const[]){__VA_ARGS__, NULL})

static void test_graph_prints_chain_of_shapes_when_kernel_does_not_fit(void)
{
    struct network net = digits_network();
    network_add_conv(&net, 6, 3);
    network_add_pool(&net, OP_MAXPOOL2D, 2);
    network_add(&net, (struct op_spec){.kind = OP_CONV2D, .filters = 4, .kernel = {5, 5}});
    EXPECT_ERROR(&net, "line 3", "conv2d_2 (conv2d)", "kernel of 5x5", "input 4x4x6",
                 "shapes: input 8x8x1 -> conv2d_0 8x8x6 -> maxpool2d_1 4x4x6 -> conv2d_2 ?");
}

static void test_graph_prints_chain_of_shapes_when_operand_does_not_fit(void)
{
    struct network net = digits_network();
    network_add_dense(&net, 10);
    EXPECT_ERROR(&net, "flatten", "shapes: input 8x8x1 -> dense_0 ?");
    net = digits_network();
    network_add_kind(&net, OP_FLATTEN);
    network_add_conv(&net, 3, 3);
    EXPECT_ERROR(&net, "needs an image", "gets 64", "flatten_0 64 -> conv2d_1 ?");
    net = digits_network();
    network_add_conv(&net, 4, 3);
    network_add_pool(&net, OP_AVGPOOL2D, 2);
    network_add_sum(&net, 0, 1);
    EXPECT_ERROR(&net, "8x8x4 and 4x4x4", "add_2(conv2d_0, avgpool2d_1) ?");
    net = digits_network();
    network_add_kind(&net, OP_FLATTEN);
    network_add_kind(&net, OP_GLOBAL_AVGPOOL);
    EXPECT_ERROR(&net, "needs an image", "row of 64");
}

static void test_graph_keeps_end_of_chain_when_sentence_is_too_long(void)
{
    struct network net = digits_network();
    for (int i = 0; i < 22; i++) {
        network_add_conv(&net, 34567, 1);
        memset(net.ops[i].name, 'a' + i, sizeof(net.ops[i].name) - 1);
    }
    network_add(&net, (struct op_spec){.kind = OP_CONV2D, .filters = 4, .kernel = {50, 9}});
    EXPECT_ERROR(&net, "input 8x8x1 -> ... -> ", " 8x8x34567 -> conv2d_22 ?");
}

static void test_graph_refuses_network_that_makes_no_sense(void)
{
    struct network net = digits_network();
    EXPECT_ERROR(&net, "empty");
    network_add_kind(&net, OP_FLATTEN);
    EXPECT_ERROR(&net, "nothing to train");
    network_add_dense(&net, 7);
    network_add(&net,
                (struct op_spec){.kind = OP_DENSE, .units = 10, .input_count = 1, .inputs = {0}});
    EXPECT_ERROR(&net, "line 2", "nothing reads the output of dense_1");
    net = digits_network();
    net.data.shape[0] = 60000;
    net.data.shape[1] = 4000;
    network_add_conv(&net, 60000, 1);
    EXPECT_ERROR(&net, "more than", "conv2d_0 ?");
}

static void count_done(void *ctx, size_t tensor_idx)
{
    ((int *)ctx)[tensor_idx]++;
}

/* The first convolution and the first dense layer stay, another learns slowly. */
static void test_graph_has_no_gradient_of_what_is_frozen(void)
{
    struct fixture f;
    struct loss_result loss, plain;
    int done[8] = {0};
    open_fixture(&f);
    struct graph_run *run = make_run(f.graph, BATCH);
    CU_ASSERT(graph_train(run, &f.batch, f.weights, f.grad, NULL, NULL, &plain));
    graph_run_destroy(run);
    f.net.ops[0].frozen = f.net.ops[8].frozen = true;
    f.net.ops[2].rate_scale = 0.5f;
    struct graph *graph = make_graph(&f.net);
    real *grad = calloc(f.weight_count, sizeof(real));
    run = make_run(graph, BATCH);
    CU_ASSERT(graph_train(run, &f.batch, f.weights, grad, count_done, done, &loss));
    CU_ASSERT(loss.loss_sum == plain.loss_sum);
    CU_ASSERT_EQUAL_FATAL(graph_tensor_count(graph), 8);
    size_t at = 0;
    for (size_t t = 0; t < 8; t++) {
        size_t count = (size_t)tensor_element_count(graph_tensor(graph, t));
        bool is_frozen = graph_tensor(graph, t)->update == UPDATE_FROZEN;
        CU_ASSERT(is_frozen == (t < 2 || (t >= 4 && t < 6)));
        CU_ASSERT_EQUAL(done[t], !is_frozen);
        CU_ASSERT(is_frozen || memcmp(grad + at, f.grad + at, count * sizeof(real)) == 0);
        at += count;
    }
    CU_ASSERT_EQUAL(graph_tensor(graph, 2)->rate_scale, 0.5f);
    CU_ASSERT(graph_flops(graph) < graph_flops(f.graph));
    graph_run_destroy(run);
    graph_destroy(graph);
    free(grad);
    f.net.ops[2].frozen = f.net.ops[11].frozen = true;
    EXPECT_ERROR(&f.net, "no operator has weights that are not frozen");
    close_fixture(&f);
}

static void test_graph_refuses_outputs_that_do_not_fit_the_loss(void)
{
    struct network net = digits_network();
    network_add_kind(&net, OP_FLATTEN);
    network_add_dense(&net, 9);
    EXPECT_ERROR(&net, "10 classes", "9 output(s)", "flatten_0 64 -> dense_1 9");
    net.loss = LOSS_BINARY_CROSS_ENTROPY;
    EXPECT_ERROR(&net, "10 classes", "softmax_cross_entropy");
    net.loss = LOSS_MEAN_SQUARED_ERROR;
    net.data.class_count = 0;
    net.data.label_count = 3;
    EXPECT_ERROR(&net, "3 label(s)", "9 output(s)");
    net.loss = LOSS_SOFTMAX_CROSS_ENTROPY;
    EXPECT_ERROR(&net, "needs a class", "mean_squared_error");
}

static void test_graph_lists_tensors_input_side_first(void)
{
    struct network net = digits_network();
    network_add_conv(&net, 6, 5);
    network_add_kind(&net, OP_FLATTEN);
    network_add(&net, (struct op_spec){.kind = OP_DENSE, .units = 10, .init = INIT_XAVIER});
    struct graph *graph = make_graph(&net);
    CU_ASSERT_EQUAL_FATAL(graph_tensor_count(graph), 3);
    const struct tensor_spec *conv = graph_tensor(graph, 0), *bias = graph_tensor(graph, 1);
    const struct tensor_spec *dense = graph_tensor(graph, 2);
    const uint32_t conv_shape[] = {5, 5, 1, 6};
    CU_ASSERT_STRING_EQUAL(conv->name, "conv2d_0.weight");
    CU_ASSERT_EQUAL(memcmp(conv->shape, conv_shape, sizeof(conv_shape)), 0);
    CU_ASSERT(conv->init == INIT_HE && conv->has_decay);
    CU_ASSERT_DOUBLE_EQUAL(conv->init_scale, sqrt(2.0 / 25), 1e-7);
    CU_ASSERT_STRING_EQUAL(bias->name, "conv2d_0.bias");
    CU_ASSERT(bias->dims == 1 && bias->shape[0] == 6);
    CU_ASSERT(bias->init == INIT_ZERO && !bias->has_decay);
    CU_ASSERT(dense->dims == 2 && dense->shape[0] == 384 && dense->shape[1] == 10);
    CU_ASSERT_DOUBLE_EQUAL(dense->init_scale, sqrt(6.0 / 394), 1e-7);
    CU_ASSERT_EQUAL(graph_weight_count(graph), 150 + 6 + 3840);
    CU_ASSERT_EQUAL(graph_output_count(graph), 10);
    graph_destroy(graph);
}

/* Two inputs, their exclusive or: no straight line parts them. */
static void test_graph_learns_exclusive_or(void)
{
    struct network net = {.loss = LOSS_BINARY_CROSS_ENTROPY,
                          .data = {.dims = 1, .shape = {2}, .label_count = 1, .class_count = 2}};
    const real inputs[] = {0, 0, 0, 1, 1, 0, 1, 1}, labels[] = {0, 1, 1, 0};
    struct graph_batch batch = {.inputs = inputs, .labels = labels, .count = 4};
    struct loss_result result;
    real weights[33], grad[33], chances[4];
    network_add_dense(&net, 8);
    network_add_kind(&net, OP_TANH);
    network_add_dense(&net, 1);
    struct graph *graph = make_graph(&net);
    struct graph_run *run = make_run(graph, 4);
    CU_ASSERT_EQUAL_FATAL(graph_weight_count(graph), 33);
    wave(weights, 33, 2.39, 1);
    for (int step = 0; step < 500; step++) {
        graph_train(run, &batch, weights, grad, NULL, NULL, &result);
        for (int i = 0; i < 33; i++)
            weights[i] -= (real)0.3 * grad[i];
    }
    graph_eval(run, &batch, weights, &result);
    CU_ASSERT(result.correct == 4 && result.count == 4);
    CU_ASSERT(result.loss_sum < 0.1);
    graph_predict(run, inputs, 4, weights, chances);
    CU_ASSERT(chances[0] < 0.1 && chances[1] > 0.9 && chances[2] > 0.9 && chances[3] < 0.1);
    graph_run_destroy(run);
    graph_destroy(graph);
}

/* The same bits after a batch of other numbers, even of NaNs, and in a run of another size. */
static void test_graph_result_depends_on_nothing_but_weights_and_batch(void)
{
    struct fixture f;
    struct loss_result result, again;
    open_fixture(&f);
    struct graph_run *run = make_run(f.graph, BATCH), *other = make_run(f.graph, BATCH + 37);
    real *grad = calloc(f.weight_count, sizeof(real)), poison[BATCH * 64];
    for (int i = 0; i < BATCH * 64; i++)
        poison[i] = (real)NAN;
    struct graph_batch bad = f.batch;
    bad.inputs = poison;
    graph_train(run, &f.batch, f.weights, f.grad, NULL, NULL, &result);
    graph_train(run, &bad, f.weights, grad, NULL, NULL, &again);
    CU_ASSERT(isnan(again.loss_sum));
    graph_eval(run, &bad, f.weights, &again);
    graph_train(other, &bad, f.weights, grad, NULL, NULL, &again);
    for (int k = 0; k < 2; k++) {
        graph_train(k == 0 ? run : other, &f.batch, f.weights, grad, NULL, NULL, &again);
        CU_ASSERT_EQUAL(memcmp(grad, f.grad, f.weight_count * sizeof(real)), 0);
        CU_ASSERT_EQUAL(memcmp(&again, &result, sizeof(result)), 0);
    }
    free(grad);
    graph_run_destroy(run);
    graph_run_destroy(other);
    close_fixture(&f);
}

struct thread_work {
    const struct fixture *fixture;
    struct graph_run *run;
    real *grad;
};

static void *train_many(void *ctx)
{
    struct thread_work *work = ctx;
    const struct fixture *f = work->fixture;
    struct loss_result result;
    for (int i = 0; i < 50; i++)
        graph_train(work->run, &f->batch, f->weights, work->grad, NULL, NULL, &result);
    return NULL;
}

static void test_graph_gives_same_bits_on_concurrent_threads(void)
{
    struct fixture f;
    struct loss_result result;
    pthread_t threads[3];
    struct thread_work work[3];
    open_fixture(&f);
    for (int i = 0; i < 3; i++)
        work[i] = (struct thread_work){&f, make_run(f.graph, BATCH),
                                       calloc(f.weight_count, sizeof(real))};
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, train_many, &work[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    graph_train(work[0].run, &f.batch, f.weights, f.grad, NULL, NULL, &result);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(memcmp(work[i].grad, f.grad, f.weight_count * sizeof(real)), 0);
        graph_run_destroy(work[i].run);
        free(work[i].grad);
    }
    close_fixture(&f);
}

static void test_graph_dropout_depends_on_seed_step_and_lane(void)
{
    struct fixture f;
    struct loss_result first, result;
    open_fixture(&f);
    struct graph_run *run = make_run(f.graph, BATCH);
    graph_train(run, &f.batch, f.weights, f.grad, NULL, NULL, &first);
    struct draw_key draws[] = {f.batch.draw, f.batch.draw, f.batch.draw};
    draws[0].seed++;
    draws[1].step++;
    draws[2].lane++;
    for (size_t i = 0; i < ARRAY_LEN(draws); i++) {
        f.batch.draw = draws[i];
        graph_train(run, &f.batch, f.weights, f.grad, NULL, NULL, &result);
        CU_ASSERT(result.loss_sum != first.loss_sum);
    }
    graph_run_destroy(run);
    close_fixture(&f);
}

/* Evaluation drops nothing, so it is the network without its dropout. */
static void test_graph_eval_is_deterministic_and_without_dropout(void)
{
    struct fixture f;
    struct loss_result result, again, plain_result;
    open_fixture(&f);
    struct network plain = f.net;
    plain.ops[10] = plain.ops[11];
    plain.ops[10].inputs[0] = 9;
    plain.op_count--;
    struct graph *plain_graph = make_graph(&plain);
    struct graph_run *run = make_run(f.graph, BATCH), *plain_run = make_run(plain_graph, BATCH);
    graph_eval(run, &f.batch, f.weights, &result);
    f.batch.draw = (struct draw_key){.seed = 99};
    graph_train(run, &f.batch, f.weights, f.grad, NULL, NULL, &again);
    CU_ASSERT(again.loss_sum != result.loss_sum);
    graph_eval(run, &f.batch, f.weights, &again);
    CU_ASSERT_EQUAL(memcmp(&again, &result, sizeof(result)), 0);
    graph_eval(plain_run, &f.batch, f.weights, &plain_result);
    CU_ASSERT_EQUAL(memcmp(&plain_result, &result, sizeof(result)), 0);
    graph_run_destroy(run);
    graph_run_destroy(plain_run);
    graph_destroy(plain_graph);
    close_fixture(&f);
}

static int largest_of(const real chances[10])
{
    int best = 0;
    for (int k = 1; k < 10; k++)
        if (chances[k] > chances[best])
            best = k;
    return best;
}

static void test_graph_predicts_the_probabilities_that_eval_counts(void)
{
    struct fixture f;
    struct loss_result result;
    real chances[BATCH * 10];
    uint64_t correct = 0;
    double loss = 0;
    open_fixture(&f);
    struct graph_run *run = make_run(f.graph, BATCH);
    graph_predict(run, f.inputs, BATCH, f.weights, chances);
    f.labels[2] = (real)largest_of(chances + 20);
    graph_eval(run, &f.batch, f.weights, &result);
    CU_ASSERT(result.correct >= 1 && result.correct < BATCH);
    for (int i = 0; i < BATCH; i++) {
        double sum = 0;
        for (int k = 0; k < 10; k++)
            sum += (double)chances[i * 10 + k];
        CU_ASSERT_DOUBLE_EQUAL(sum, 1, 1e-6);
        correct += largest_of(chances + i * 10) == (int)f.labels[i];
        loss -= log((double)chances[i * 10 + (int)f.labels[i]]);
    }
    CU_ASSERT_EQUAL(correct, result.correct);
    CU_ASSERT_DOUBLE_EQUAL(loss, result.loss_sum, 1e-5);
    graph_run_destroy(run);
    close_fixture(&f);
}

struct done_order {
    size_t count, tensors[16];
};

static void note_done(void *ctx, size_t tensor_idx)
{
    struct done_order *order = ctx;
    order->tensors[order->count++] = tensor_idx;
}

static void check_done_order(const struct done_order *order, size_t tensor_count)
{
    CU_ASSERT_EQUAL_FATAL(order->count, tensor_count);
    for (size_t i = 0; i < tensor_count; i++)
        CU_ASSERT_EQUAL(order->tensors[i], tensor_count - 1 - i);
}

static void test_graph_tells_tensors_done_last_layer_first(void)
{
    struct fixture f;
    struct loss_result result;
    struct done_order order = {0};
    open_fixture(&f);
    struct graph_run *run = make_run(f.graph, BATCH);
    graph_train(run, &f.batch, f.weights, f.grad, note_done, &order, &result);
    check_done_order(&order, graph_tensor_count(f.graph));
    graph_run_destroy(run);
    close_fixture(&f);
}

/* graph_tensor_wait: weights that are no numbers until they are waited for, then those of f. */
struct late_weights {
    struct fixture *f;
    real *weights;
    size_t count, give_up_at;
};

static bool bring_tensor(void *ctx, size_t tensor_idx)
{
    struct late_weights *late = ctx;
    CU_ASSERT_EQUAL(tensor_idx, late->count); /* in order, each once */
    if (late->count == late->give_up_at)
        return false;
    size_t begin = 0;
    for (size_t i = 0; i < tensor_idx; i++)
        begin += (size_t)tensor_element_count(graph_tensor(late->f->graph, i));
    size_t count = (size_t)tensor_element_count(graph_tensor(late->f->graph, tensor_idx));
    memcpy(late->weights + begin, late->f->weights + begin, count * sizeof(real));
    late->count++;
    return true;
}

static void test_graph_reads_no_weights_before_it_has_waited_for_them(void)
{
    struct fixture f;
    struct loss_result result, expected;
    open_fixture(&f);
    struct graph_run *run = make_run(f.graph, BATCH);
    size_t tensor_count = graph_tensor_count(f.graph);
    real *weights = calloc(f.weight_count, sizeof(*weights));
    real *grad = calloc(f.weight_count, sizeof(*grad));
    CU_ASSERT(graph_train(run, &f.batch, f.weights, f.grad, NULL, NULL, &expected));
    for (size_t give_up_at = 0; give_up_at <= tensor_count; give_up_at++) {
        struct late_weights late = {&f, weights, 0, give_up_at};
        struct done_order order = {0};
        f.batch.wait = bring_tensor;
        f.batch.wait_ctx = &late;
        for (size_t i = 0; i < f.weight_count; i++)
            weights[i] = (real)NAN;
        bool is_done = graph_train(run, &f.batch, weights, grad, note_done, &order, &result);
        CU_ASSERT_EQUAL(is_done, give_up_at == tensor_count);
        CU_ASSERT_EQUAL(late.count, give_up_at);
        CU_ASSERT_EQUAL(order.count, is_done ? tensor_count : 0);
    }
    CU_ASSERT_EQUAL(memcmp(grad, f.grad, f.weight_count * sizeof(*grad)), 0);
    CU_ASSERT_EQUAL(result.loss_sum, expected.loss_sum);
    struct late_weights late = {&f, weights, 0, tensor_count - 1};
    struct graph_batch empty = {.wait = bring_tensor, .wait_ctx = &late};
    CU_ASSERT(!graph_train(run, &empty, weights, grad, NULL, NULL, &result)); /* it waits too */
    CU_ASSERT_EQUAL(late.count, tensor_count - 1);
    free(weights);
    free(grad);
    graph_run_destroy(run);
    close_fixture(&f);
}

static void test_graph_gives_zero_gradient_for_empty_batch(void)
{
    struct fixture f;
    struct loss_result result;
    struct done_order order = {0};
    open_fixture(&f);
    struct graph_run *run = make_run(f.graph, BATCH);
    wave(f.grad, f.weight_count, 1, 1);
    f.batch = (struct graph_batch){.count = 0};
    graph_train(run, &f.batch, f.weights, f.grad, note_done, &order, &result);
    check_done_order(&order, graph_tensor_count(f.graph));
    CU_ASSERT(result.count == 0 && result.correct == 0 && result.loss_sum == 0);
    size_t other_count = 0;
    for (size_t i = 0; i < f.weight_count; i++)
        other_count += f.grad[i] != 0;
    CU_ASSERT_EQUAL(other_count, 0);
    graph_eval(run, &f.batch, f.weights, &result);
    CU_ASSERT_EQUAL(result.count, 0);
    graph_run_destroy(run);
    close_fixture(&f);
}

/* Gradients and activations that are never in use together share memory. */
static void test_graph_run_shares_memory_between_layers(void)
{
    struct network net = {.loss = LOSS_MEAN_SQUARED_ERROR,
                          .data = {.dims = 1, .shape = {1024}, .label_count = 1024}};
    for (int i = 0; i < 8; i++) {
        network_add_dense(&net, 1024);
        network_add_kind(&net, OP_RELU);
    }
    struct graph *graph = make_graph(&net);
    struct graph_run *run = make_run(graph, 16);
    /* One value a layer, relu over dense, and two gradients in turn; and what a product packs. */
    size_t packed = gemm_scratch_count((struct blas_shape){SIZE_MAX, 1024, 1024}, PRODUCTS_F32);
    CU_ASSERT(graph_run_bytes(run) <= (10 * 16 * 1024 + packed) * sizeof(real) + 4096);
    graph_run_destroy(run);
    graph_destroy(graph);
}

/* conv-norm-relu, then residual blocks of two convolutions each. */
static size_t residual_bytes(size_t block_count)
{
    struct network net = digits_network();
    int32_t from = 1;
    network_add_conv(&net, 8, 3);
    network_add_kind(&net, OP_RELU);
    for (size_t i = 0; i < block_count; i++) {
        network_add_conv(&net, 8, 3);
        network_add(&net, (struct op_spec){.kind = OP_BATCH_NORM, .epsilon = 1e-5f});
        network_add_kind(&net, OP_RELU);
        network_add_conv(&net, 8, 3);
        network_add(&net, (struct op_spec){.kind = OP_BATCH_NORM, .epsilon = 1e-5f});
        network_add_sum(&net, from, (int32_t)net.op_count - 1);
        network_add_kind(&net, OP_RELU);
        from = (int32_t)net.op_count - 1;
    }
    network_add_kind(&net, OP_GLOBAL_AVGPOOL);
    network_add_dense(&net, 10);
    struct graph *graph = make_graph(&net);
    struct graph_run *run = make_run(graph, 64);
    size_t bytes = graph_run_bytes(run);
    graph_run_destroy(run);
    graph_destroy(graph);
    return bytes;
}

/* What a block's backward reads and is not computed again: what each convolution gives, for the
 * norm behind it, and what the last relu gives, for itself and the next block. */
static void test_graph_keeps_three_values_of_a_residual_block(void)
{
    size_t value_bytes = (size_t)64 * 8 * 8 * 8 * sizeof(real);
    size_t block_bytes = residual_bytes(2) - residual_bytes(1);
    CU_ASSERT(block_bytes >= 3 * value_bytes);
    CU_ASSERT(block_bytes <= 3 * value_bytes + 1024); /* and statistics of 8 channels */
}

#define TESTS(X) \
    X(test_graph_prints_chain_of_shapes_when_kernel_does_not_fit) \
    X(test_graph_prints_chain_of_shapes_when_operand_does_not_fit) \
    X(test_graph_keeps_end_of_chain_when_sentence_is_too_long) \
    X(test_graph_refuses_network_that_makes_no_sense) \
    X(test_graph_has_no_gradient_of_what_is_frozen) \
    X(test_graph_refuses_outputs_that_do_not_fit_the_loss) \
    X(test_graph_lists_tensors_input_side_first) \
    X(test_graph_learns_exclusive_or) \
    X(test_graph_result_depends_on_nothing_but_weights_and_batch) \
    X(test_graph_gives_same_bits_on_concurrent_threads) \
    X(test_graph_dropout_depends_on_seed_step_and_lane) \
    X(test_graph_eval_is_deterministic_and_without_dropout) \
    X(test_graph_predicts_the_probabilities_that_eval_counts) \
    X(test_graph_tells_tensors_done_last_layer_first) \
    X(test_graph_reads_no_weights_before_it_has_waited_for_them)   \
    X(test_graph_gives_zero_gradient_for_empty_batch) \
    X(test_graph_run_shares_memory_between_layers) \
    X(test_graph_keeps_three_values_of_a_residual_block)

UNIT_MAIN("graph", TESTS)
