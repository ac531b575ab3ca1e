/* What `talweg bench step` measures is a training step: lanes, their sum, the optimizer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/optimizer.h"
#include "common/schedule.h"
#include "deploy/bench/step_team.h"
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"
#include "worker/clip.h"

enum { BATCH = 11, INPUTS = 6, UNITS = 300, CLASSES = 3, STEPS = 3, LANES_MAX = 8 };

struct fixture {
    struct settings settings;
    struct step_samples samples;
    struct graph *graph;
    struct layout *layout;
    struct step_team *team;
};

static void setup(struct fixture *f, uint32_t threads)
{
    struct network net = {.loss = LOSS_SOFTMAX_CROSS_ENTROPY,
                          .data = {.dims = 1,
                                   .shape = {INPUTS},
                                   .label_count = 1,
                                   .class_count = CLASSES}};
    network_add_dense(&net, UNITS);
    network_add(&net, (struct op_spec){.kind = OP_DROPOUT, .rate = 0.5f});
    network_add_dense(&net, UNITS / 2);
    network_add_kind(&net, OP_RELU);
    network_add_dense(&net, CLASSES);
    struct model_spec spec = network_spec(&net);
    *f = (struct fixture){.settings = {.job = {.seed = 7}}};
    f->settings.optimizer.kind = OPTIMIZER_MOMENTUM;
    f->settings.optimizer.rate = 0.1;
    f->settings.optimizer.momentum = 0.9;
    f->settings.optimizer.weight_decay = 0.01;
    f->settings.optimizer.clip_norm = 0.5;
    CU_ASSERT_EQUAL_FATAL(
        step_samples_draw(&net.data, BATCH * STEP_BATCHES, 7, &f->samples, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(graph_create(&spec, &net.data, &f->graph, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(layout_create(graph_tensors(f->graph), graph_tensor_count(f->graph),
                                        1 << 20, &f->layout, NULL),
                          0);
    struct step_spec team = {.settings = &f->settings,
                             .graph = f->graph,
                             .layout = f->layout,
                             .samples = &f->samples,
                             .threads = threads,
                             .batch = BATCH};
    CU_ASSERT_EQUAL_FATAL(step_team_create(&team, &f->team, NULL), 0);
}

static void teardown(struct fixture *f)
{
    step_team_destroy(f->team);
    layout_destroy(f->layout);
    graph_destroy(f->graph);
    step_samples_free(&f->samples);
}

/* One thread's work, told from the definitions. */
struct plain {
    float *weights, *speed, *grads[LANES_MAX];
    struct graph_run *run;
};

static void plain_make(const struct fixture *f, uint32_t lanes, struct plain *plain)
{
    size_t count = (size_t)f->layout->weight_count;
    plain->weights = calloc(count, sizeof(float));
    plain->speed = calloc(count, sizeof(float));
    for (uint32_t lane = 0; lane < lanes; lane++)
        plain->grads[lane] = calloc(count, sizeof(float));
    for (size_t i = 0; i < f->layout->block_count; i++)
        layout_init_block(f->layout, i, 7, plain->weights + f->layout->blocks[i].range.begin);
    CU_ASSERT_EQUAL_FATAL(graph_run_create(f->graph, BATCH, &plain->run), 0);
}

static void plain_free(struct plain *plain)
{
    free(plain->weights);
    free(plain->speed);
    for (int lane = 0; lane < LANES_MAX; lane++)
        free(plain->grads[lane]);
    graph_run_destroy(plain->run);
}

static void plain_lane(const struct fixture *f, struct plain *plain, uint64_t step, uint32_t lane,
                       uint32_t lanes)
{
    size_t begin = BATCH * lane / lanes, end = BATCH * (lane + 1) / lanes;
    size_t first = (size_t)step % STEP_BATCHES * BATCH + begin;
    struct loss_result loss;
    struct graph_batch batch = {.inputs = f->samples.inputs + first * INPUTS,
                                .labels = f->samples.labels + first,
                                .count = end - begin,
                                .draw = {.seed = 7, .step = step, .lane = lane}};
    (void)graph_train(plain->run, &batch, plain->weights, plain->grads[lane], NULL, NULL, &loss);
    clip_gradient(&f->settings, f->layout, loss.count, plain->grads[lane]);
}

static void plain_step(const struct fixture *f, struct plain *plain, uint64_t step, uint32_t lanes)
{
    size_t count = (size_t)f->layout->weight_count;
    for (uint32_t lane = 0; lane < lanes; lane++)
        plain_lane(f, plain, step, lane, lanes);
    for (uint32_t half = 1; half < lanes; half *= 2)
        for (uint32_t lane = 0; lane < lanes; lane += 2 * half)
            for (size_t i = 0; i < count; i++)
                plain->grads[lane][i] += plain->grads[lane + half][i];
    for (size_t t = 0; t < f->layout->tensor_count; t++) {
        uint64_t begin = f->layout->tensor_begin[t];
        struct update update = {.weights = plain->weights + begin,
                                .grad = plain->grads[0] + begin,
                                .grad_scale = 1.0f / BATCH,
                                .state = {plain->speed + begin},
                                .weights_out = plain->weights + begin,
                                .count = (size_t)(f->layout->tensor_begin[t + 1] - begin),
                                .has_decay = f->layout->tensors[t].has_decay,
                                .step = step,
                                .rate = (float)schedule_rate(&f->settings, step, 1000)};
        optimizer_apply(&f->settings, &update);
    }
}

static void compare(uint32_t threads, uint32_t lanes)
{
    struct fixture f;
    struct plain plain = {0};
    struct step_result result;
    setup(&f, threads);
    CU_ASSERT_EQUAL(step_lanes(threads), lanes);
    plain_make(&f, lanes, &plain);
    for (uint64_t step = 0; step < STEPS; step++) {
        step_team_step(f.team, &result);
        plain_step(&f, &plain, step, lanes);
        CU_ASSERT(isfinite(result.loss));
        CU_ASSERT(result.compute_s > 0 && result.update_s > 0);
    }
    CU_ASSERT_EQUAL(memcmp(step_team_weights(f.team), plain.weights,
                           (size_t)f.layout->weight_count * sizeof(float)),
                    0);
    plain_free(&plain);
    teardown(&f);
}

static void test_step_team_makes_the_step_of_its_lanes(void)
{
    compare(1, 1);
    compare(2, 2);
    compare(3, 4);
    compare(8, 8);
}

static void test_step_team_profile_begins_again_when_forgotten(void)
{
    struct fixture f;
    struct step_result result;
    setup(&f, 2);
    step_team_step(f.team, &result);
    const struct step_profile *profile = step_team_profile(f.team);
    CU_ASSERT(profile->forward_ns[0] > 0 && profile->backward_ns[0] > 0 && profile->loss_ns > 0);
    step_team_forget(f.team);
    profile = step_team_profile(f.team);
    CU_ASSERT(profile->forward_ns[0] == 0 && profile->backward_ns[0] == 0 && profile->loss_ns == 0);
    teardown(&f);
}

static void test_step_team_bytes_count_vectors_and_activations(void)
{
    struct fixture one, two;
    setup(&one, 1);
    setup(&two, 2);
    size_t vector = (size_t)one.layout->weight_count * sizeof(float);
    CU_ASSERT(step_team_bytes(one.team) > 3 * vector); /* weights, velocity, a gradient */
    CU_ASSERT(step_team_bytes(two.team) > step_team_bytes(one.team) + vector);
    teardown(&one);
    teardown(&two);
}

static void test_step_team_reaches_some_peak(void)
{
    struct fixture f;
    setup(&f, 2);
    CU_ASSERT(step_team_peak_gflops(f.team) > 0.1);
    teardown(&f);
}

static void test_step_samples_are_drawn_within_their_ranges(void)
{
    struct graph_input tokens = {
        .dims = 1, .shape = {5}, .label_count = 5, .class_count = 9, .token_count = 9};
    struct step_samples samples;
    CU_ASSERT_EQUAL_FATAL(step_samples_draw(&tokens, 50, 3, &samples, NULL), 0);
    CU_ASSERT_EQUAL(samples.input_count, 5);
    double largest = 0;
    for (int i = 0; i < 250; i++) {
        CU_ASSERT(samples.inputs[i] >= 0 && samples.inputs[i] <= 8);
        CU_ASSERT(samples.labels[i] == floorf(samples.labels[i]) && samples.labels[i] <= 8);
        largest = fmax(largest, (double)samples.inputs[i]);
    }
    CU_ASSERT_EQUAL(largest, 8);
    CU_ASSERT(memcmp(samples.inputs, samples.labels, 250 * sizeof(float)) != 0);
    step_samples_free(&samples);
}

#define TESTS(X) \
    X(test_step_team_makes_the_step_of_its_lanes) \
    X(test_step_team_profile_begins_again_when_forgotten) \
    X(test_step_team_bytes_count_vectors_and_activations) \
    X(test_step_team_reaches_some_peak) \
    X(test_step_samples_are_drawn_within_their_ranges)

UNIT_MAIN("step_team", TESTS)
