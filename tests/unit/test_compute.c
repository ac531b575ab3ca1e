#include "worker/clip.h"
#include "worker/compute.h"
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "common/clock.h"
#include "common/optimizer.h"
#include "common/schedule.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"
#include "worker/nn/blas.h"

/* The digits job, its compute alone. */
struct bench {
    struct settings *settings;
    struct dataset *train, *test;
    struct graph *graph;
    struct layout *layout;
    struct compute *compute;
    float *weights;
};

static void open_bench_with(struct bench *bench, const char *const *sets, size_t set_count)
{
    struct err_msg why = {0};
    *bench = (struct bench){0};
    blas_start();
    int err = settings_load(JOBS_DIR "/digits-mlp.cfg", sets, set_count, &bench->settings, &why);
    if (err == 0)
        err = dataset_open(bench->settings, DATASET_TRAIN, &bench->train, &why);
    if (err == 0)
        err = dataset_open(bench->settings, DATASET_TEST, &bench->test, &why);
    if (err != 0)
        printf("\n    %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(err, 0);
    const struct dataset_info *info = dataset_info(bench->train);
    struct graph_input input = {.dims = info->dims, .label_count = info->label_count,
                                .class_count = info->class_count};
    memcpy(input.shape, info->shape, sizeof(input.shape));
    err = graph_create(&bench->settings->model, &input, &bench->graph, &why);
    CU_ASSERT_EQUAL_FATAL(err, 0);
    err = layout_create(graph_tensors(bench->graph), graph_tensor_count(bench->graph), 4096,
                        &bench->layout, &why);
    CU_ASSERT_EQUAL_FATAL(err, 0);
    bench->weights = calloc((size_t)bench->layout->weight_count, sizeof(float));
    for (size_t i = 0; i < bench->layout->block_count; i++)
        layout_init_block(bench->layout, i, 1,
                          bench->weights + bench->layout->blocks[i].range.begin);
    struct compute_spec spec = {.settings = bench->settings,
                                .graph = bench->graph,
                                .layout = bench->layout,
                                .train = bench->train,
                                .test = bench->test};
    CU_ASSERT_EQUAL_FATAL(compute_create(&spec, &bench->compute, &why), 0);
}

static void open_bench(struct bench *bench, const char *set)
{
    const char *sets[] = {"exchange.block_bytes=4096", set};
    open_bench_with(bench, sets, ARRAY_LEN(sets));
}

/* Rounds of local_steps steps; the job is long enough for any. */
static void open_local(struct bench *bench, const char *local_steps, const char *optimizer,
                       const char *last)
{
    const char *sets[] = {"exchange.block_bytes=4096",
                          "exchange.consistency=local",
                          "optimizer.schedule=cosine",
                          "optimizer.warmup_steps=20",
                          "optimizer.weight_decay=0.01",
                          local_steps,
                          optimizer,
                          last};
    open_bench_with(bench, sets, ARRAY_LEN(sets));
}

static void close_bench(struct bench *bench)
{
    compute_destroy(bench->compute);
    layout_destroy(bench->layout);
    graph_destroy(bench->graph);
    dataset_close(bench->test);
    dataset_close(bench->train);
    settings_destroy(bench->settings);
    free(bench->weights);
}

static void submit_all(struct bench *bench, enum message_kind kind)
{
    for (uint32_t lane = 0; lane < bench->settings->job.lanes; lane++) {
        struct message task = {.kind = kind};
        task.task = (struct lane_task){.step = 3, .lane = lane, .weights = bench->weights};
        CU_ASSERT_EQUAL(compute_submit(bench->compute, &task), 0);
    }
}

/* Collects results until every lane is done; leaves go to grads[lane] [weight_count]. */
static struct lane_result collect(struct bench *bench, float *grads, size_t *leaf_count_out)
{
    struct lane_result total = {0};
    uint32_t lanes_done = 0;
    *leaf_count_out = 0;
    while (lanes_done < bench->settings->job.lanes) {
        struct message result;
        struct pollfd ready = {.fd = compute_fd(bench->compute), .events = POLLIN};
        CU_ASSERT_EQUAL_FATAL(poll(&ready, 1, 60000), 1);
        while (compute_next(bench->compute, &result)) {
            if (result.kind == MSG_LEAF) {
                const struct range *range = &bench->layout->blocks[result.key.block].range;
                memcpy(grads + result.key.lane_begin * bench->layout->weight_count + range->begin,
                       result.payload->data, result.payload->size_bytes);
                ++*leaf_count_out;
                buffer_unref(result.payload);
                continue;
            }
            CU_ASSERT_FATAL(result.kind == MSG_LANE_DONE || result.kind == MSG_EVAL_DONE);
            total.loss_sum += result.lane.loss_sum;
            total.correct_count += result.lane.correct_count;
            total.answer_count += result.lane.answer_count;
            total.sample_count += result.lane.sample_count;
            lanes_done++;
        }
    }
    return total;
}

/* Loss and hits of samples of a dataset, one by one. */
static struct lane_result reckon(const struct bench *bench, struct dataset *dataset,
                                 const uint64_t *indices, size_t count)
{
    const struct dataset_info *info = dataset_info(dataset);
    struct lane_result total = {.sample_count = count};
    struct graph_run *one = NULL;
    struct err_msg why;
    size_t input_count = 1;
    for (uint32_t d = 0; d < info->dims; d++)
        input_count *= info->shape[d];
    float *input = calloc(input_count, sizeof(*input));
    float *label = calloc(info->label_count, sizeof(*label));
    CU_ASSERT_EQUAL_FATAL(graph_run_create(bench->graph, 1, &one), 0);
    for (size_t i = 0; i < count; i++) {
        struct loss_result loss;
        struct graph_batch batch = {.inputs = input, .labels = label, .count = 1};
        CU_ASSERT_EQUAL(dataset_read(dataset, &indices[i], 1, input, label, &why), 0);
        graph_eval(one, &batch, bench->weights, &loss);
        total.loss_sum += loss.loss_sum;
        total.correct_count += loss.correct;
        total.answer_count += loss.answers;
    }
    graph_run_destroy(one);
    free(input);
    free(label);
    return total;
}

static void check_equal(const struct lane_result *found, const struct lane_result *expected)
{
    CU_ASSERT_EQUAL(found->sample_count, expected->sample_count);
    CU_ASSERT_EQUAL(found->correct_count, expected->correct_count);
    CU_ASSERT_EQUAL(found->answer_count, expected->answer_count);
    CU_ASSERT_DOUBLE_EQUAL(found->loss_sum, expected->loss_sum, 1e-4 * expected->loss_sum);
}

static void test_compute_reports_the_loss_of_the_samples_of_its_lanes(void)
{
    struct bench bench;
    size_t leaves;
    open_bench(&bench, "worker.threads=2");
    const struct settings *settings = bench.settings;
    struct batching batching = {settings->job.seed, dataset_info(bench.train)->count,
                                settings->job.batch, settings->job.lanes};
    uint64_t *samples = calloc(settings->job.batch, sizeof(*samples));
    size_t count = 0;
    for (uint32_t lane = 0; lane < settings->job.lanes; lane++)
        count += batching_lane_samples(&batching, 3, lane, samples + count);
    float *grads = calloc((size_t)bench.layout->weight_count * settings->job.lanes,
                          sizeof(*grads));
    submit_all(&bench, MSG_TRAIN_LANE);
    struct lane_result found = collect(&bench, grads, &leaves);
    struct lane_result expected = reckon(&bench, bench.train, samples, count);
    check_equal(&found, &expected);
    free(grads);
    free(samples);
    close_bench(&bench);
}

static void test_compute_gives_the_same_bits_on_any_number_of_threads(void)
{
    struct bench one, three;
    size_t leaves;
    open_bench(&one, "worker.threads=1");
    open_bench(&three, "worker.threads=3");
    size_t count = (size_t)one.layout->weight_count * one.settings->job.lanes;
    float *a = calloc(count, sizeof(*a)), *b = calloc(count, sizeof(*b));
    submit_all(&one, MSG_TRAIN_LANE);
    submit_all(&three, MSG_TRAIN_LANE);
    struct lane_result total = collect(&one, a, &leaves);
    CU_ASSERT_EQUAL(total.sample_count, one.settings->job.batch);
    CU_ASSERT_EQUAL(leaves, one.layout->block_count * one.settings->job.lanes);
    collect(&three, b, &leaves);
    CU_ASSERT_EQUAL(memcmp(a, b, count * sizeof(*a)), 0);
    size_t nonzero = 0;
    for (size_t i = 0; i < count; i++)
        nonzero += a[i] != 0.0f;
    CU_ASSERT(nonzero > count / 4);
    free(a);
    free(b);
    close_bench(&one);
    close_bench(&three);
}

static void test_compute_evaluates_every_held_out_sample_once(void)
{
    struct bench bench;
    size_t leaves;
    open_bench(&bench, "worker.threads=2");
    submit_all(&bench, MSG_EVAL_LANE);
    struct lane_result found = collect(&bench, NULL, &leaves);
    CU_ASSERT_EQUAL(leaves, 0);
    size_t count = dataset_info(bench.test)->count;
    uint64_t *samples = calloc(count, sizeof(*samples));
    for (size_t i = 0; i < count; i++)
        samples[i] = i;
    struct lane_result expected = reckon(&bench, bench.test, samples, count);
    check_equal(&found, &expected);
    free(samples);
    close_bench(&bench);
}

static void test_compute_ends_with_work_left_over(void)
{
    struct bench bench;
    open_bench(&bench, "worker.threads=2");
    for (int i = 0; i < 20; i++)
        submit_all(&bench, MSG_TRAIN_LANE);
    close_bench(&bench); /* the sanitizer tells when something is left */
    CU_ASSERT(true);
}

/* The next result; waits for it. */
static struct message wait_result(struct bench *bench)
{
    struct message result;
    while (!compute_next(bench->compute, &result)) {
        struct pollfd ready = {.fd = compute_fd(bench->compute), .events = POLLIN};
        CU_ASSERT_EQUAL_FATAL(poll(&ready, 1, 60000), 1);
    }
    return result;
}

static void test_compute_gives_the_same_bits_when_void_lanes_are_left_out(void)
{
    struct bench stop, skip;
    size_t leaves;
    open_bench(&stop, "job.on_nonfinite=stop");
    open_bench(&skip, "job.on_nonfinite=skip");
    size_t count = stop.settings->job.lanes * stop.layout->weight_count;
    float *a = calloc(count, sizeof(*a)), *b = calloc(count, sizeof(*b));
    submit_all(&stop, MSG_TRAIN_LANE);
    submit_all(&skip, MSG_TRAIN_LANE);
    struct lane_result one = collect(&stop, a, &leaves), other = collect(&skip, b, &leaves);
    CU_ASSERT_EQUAL(leaves, skip.settings->job.lanes * skip.layout->block_count);
    CU_ASSERT_EQUAL(memcmp(a, b, count * sizeof(*a)), 0);
    check_equal(&one, &other);
    free(a);
    free(b);
    close_bench(&stop);
    close_bench(&skip);
}

static void test_compute_gives_one_void_for_a_gradient_that_is_no_number(void)
{
    struct bench bench;
    struct message task = {.kind = MSG_TRAIN_LANE};
    open_bench(&bench, "job.on_nonfinite=skip");
    bench.weights[bench.layout->weight_count - 1] = NAN;
    task.task = (struct lane_task){.step = 3, .lane = 5, .weights = bench.weights};
    CU_ASSERT_EQUAL(compute_submit(bench.compute, &task), 0);
    struct message found = wait_result(&bench), done = wait_result(&bench);
    CU_ASSERT_EQUAL(found.kind, MSG_LEAF_VOID);
    CU_ASSERT(found.key.step == 3 && found.key.lane_begin == 5 && found.key.lane_end == 6);
    CU_ASSERT_EQUAL(done.kind, MSG_LANE_DONE);
    CU_ASSERT(done.lane.is_void && done.lane.step == 3 && done.lane.lane == 5);
    CU_ASSERT(done.lane.loss_sum == 0 && done.lane.sample_count == 0 &&
              done.lane.correct_count == 0);
    close_bench(&bench);
}

/* Step 3 is the task's.  The same round by hand: the optimizer over the whole vector at once, on
 * batches read here; out: [weight_count]. */
static struct lane_result round_by_hand(const struct bench *bench, uint32_t lane, float *out)
{
    const struct settings *settings = bench->settings;
    const struct dataset_info *info = dataset_info(bench->train);
    const struct layout *layout = bench->layout;
    struct batching batching = {settings->job.seed, info->count, settings->job.batch,
                                settings->job.lanes};
    uint64_t steps = settings->exchange.local_steps, taken = 0;
    uint64_t job_steps = (batching_job_steps(&batching, settings->job.epochs) + steps - 1) /
                         steps * steps;
    size_t count = (size_t)layout->weight_count, batch_max = batching_lane_max(&batching);
    float *vectors = calloc(5 * count, sizeof(*vectors));
    float *now = vectors, *next = vectors + count, *grad = vectors + 2 * count;
    float *state[2] = {vectors + 3 * count, vectors + 4 * count};
    float *inputs = calloc(batch_max * info->input_count, sizeof(*inputs));
    float *labels = calloc(batch_max * info->label_count, sizeof(*labels));
    uint64_t *indices = calloc(batch_max, sizeof(*indices));
    struct graph_run *run = NULL;
    struct lane_result total = {0};
    struct err_msg why;
    CU_ASSERT_EQUAL_FATAL(graph_run_create(bench->graph, batch_max, &run), 0);
    memcpy(now, bench->weights, count * sizeof(*now));
    for (uint64_t step = 3 * steps; step < 4 * steps; step++) {
        struct loss_result loss;
        struct graph_batch batch = {.inputs = inputs, .labels = labels,
                                    .draw = {.seed = settings->job.seed, .step = step,
                                             .lane = lane}};
        batch.count = batching_lane_samples(&batching, step, lane, indices);
        if (batch.count == 0)
            continue;
        CU_ASSERT_EQUAL(dataset_read(bench->train, indices, batch.count, inputs, labels, &why), 0);
        graph_train(run, &batch, now, grad, NULL, NULL, &loss);
        clip_gradient(settings, layout, batch.count, grad);
        for (size_t i = 0; i < layout->tensor_count; i++) {
            size_t at = (size_t)layout->tensor_begin[i];
            struct update update = {
                .weights = now + at, .grad = grad + at, .weights_out = next + at,
                .state = {state[0] + at, state[1] + at},
                .grad_scale = 1.0f / (float)batch.count, .step = taken,
                .count = (size_t)layout->tensor_begin[i + 1] - at,
                .has_decay = layout->tensors[i].has_decay,
                .rate = (float)schedule_rate(settings, step, job_steps)};
            optimizer_apply(settings, &update);
        }
        memcpy(now, next, count * sizeof(*now));
        taken++;
        total.loss_sum += loss.loss_sum;
        total.correct_count += loss.correct;
        total.answer_count += loss.answers;
        total.sample_count += loss.count;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = bench->weights[i] - now[i];
    graph_run_destroy(run);
    free(vectors);
    free(inputs);
    free(labels);
    free(indices);
    return total;
}

/* Returns the samples of the round. */
static uint64_t check_round(const char *local_steps, const char *optimizer)
{
    struct bench bench;
    size_t leaves;
    open_local(&bench, local_steps, optimizer, "worker.threads=2");
    size_t count = (size_t)bench.layout->weight_count;
    uint32_t lanes = bench.settings->job.lanes;
    uint64_t sample_count = 0;
    float *found = calloc(count * lanes, sizeof(*found)), *expected = calloc(count, sizeof(float));
    for (int twice = 0; twice < 2; twice++) { /* nothing of the first round reaches the second */
        struct lane_result total = {0};
        memset(found, 0, count * lanes * sizeof(*found));
        submit_all(&bench, MSG_TRAIN_LANE);
        struct lane_result told = collect(&bench, found, &leaves);
        CU_ASSERT_EQUAL(leaves, bench.layout->block_count * lanes);
        for (uint32_t lane = 0; lane < lanes; lane++) {
            struct lane_result part = round_by_hand(&bench, lane, expected);
            CU_ASSERT_EQUAL(memcmp(expected, found + lane * count, count * sizeof(float)), 0);
            CU_ASSERT_NOT_EQUAL(expected[count - 1], 0.0f);
            total.loss_sum += part.loss_sum;
            total.correct_count += part.correct_count;
            total.answer_count += part.answer_count;
            total.sample_count += part.sample_count;
        }
        check_equal(&told, &total);
        sample_count = told.sample_count;
    }
    free(found);
    free(expected);
    close_bench(&bench);
    return sample_count;
}

static void test_compute_makes_a_round_of_the_steps_that_the_optimizer_would_make(void)
{
    check_round("exchange.local_steps=1", "optimizer.kind=sgd");
    check_round("exchange.local_steps=7", "optimizer.kind=sgd");
    check_round("exchange.local_steps=7", "optimizer.kind=nesterov");
    check_round("exchange.local_steps=40", "optimizer.kind=adamw"); /* over the end of an epoch */
}

static void test_compute_clips_each_step_of_a_round(void)
{
    check_round("exchange.local_steps=5", "optimizer.clip_norm=0.05");
    check_round("exchange.local_steps=5", "optimizer.clip_value=0.002");
}

/* Each lane's gradient is what it would be, clipped, whether its blocks go early or not. */
static void check_clipped(const char *set)
{
    struct bench plain, clipped;
    size_t leaves;
    open_bench(&plain, "worker.threads=1");
    open_bench(&clipped, set);
    size_t count = (size_t)plain.layout->weight_count, lanes = plain.settings->job.lanes;
    uint64_t samples = plain.settings->job.batch / lanes;
    float *a = calloc(lanes * count, sizeof(*a)), *b = calloc(lanes * count, sizeof(*b));
    submit_all(&plain, MSG_TRAIN_LANE);
    submit_all(&clipped, MSG_TRAIN_LANE);
    struct lane_result one = collect(&plain, a, &leaves), other = collect(&clipped, b, &leaves);
    check_equal(&one, &other);
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, lanes * count * sizeof(*a)), 0);
    for (size_t lane = 0; lane < lanes; lane++)
        clip_gradient(clipped.settings, plain.layout, samples, a + lane * count);
    CU_ASSERT_EQUAL(memcmp(a, b, lanes * count * sizeof(*a)), 0);
    free(a);
    free(b);
    close_bench(&plain);
    close_bench(&clipped);
}

static void test_compute_clips_the_gradient_of_a_lane(void)
{
    check_clipped("optimizer.clip_norm=0.05");
    check_clipped("optimizer.clip_value=0.002");
}

static void test_compute_passes_over_steps_in_which_a_lane_has_no_samples(void)
{
    uint64_t sample_count = check_round("exchange.local_steps=40", "job.lanes=32");
    CU_ASSERT(sample_count < 40 * 32); /* one a lane, but in the last step of an epoch */
}

static void test_compute_makes_a_round_of_one_step_the_gradient_of_that_step(void)
{
    struct bench bsp, local;
    size_t leaves;
    open_bench(&bsp, "worker.threads=1");
    const char *sets[] = {"exchange.block_bytes=4096", "exchange.consistency=local",
                          "exchange.local_steps=1",    "optimizer.kind=sgd",
                          "optimizer.rate=0.25",       "optimizer.schedule=constant"};
    open_bench_with(&local, sets, ARRAY_LEN(sets));
    size_t count = (size_t)bsp.layout->weight_count * bsp.settings->job.lanes;
    float each = (float)(bsp.settings->job.batch / bsp.settings->job.lanes);
    float *a = calloc(count, sizeof(*a)), *b = calloc(count, sizeof(*b));
    submit_all(&bsp, MSG_TRAIN_LANE);
    submit_all(&local, MSG_TRAIN_LANE);
    struct lane_result one = collect(&bsp, a, &leaves), other = collect(&local, b, &leaves);
    check_equal(&one, &other);
    for (size_t i = 0; i < count; i++)
        CU_ASSERT_DOUBLE_EQUAL(b[i], 0.25f * a[i] / each, 1e-6);
    free(a);
    free(b);
    close_bench(&bsp);
    close_bench(&local);
}

static void test_compute_gives_one_void_for_a_round_that_ends_in_no_number(void)
{
    struct bench bench;
    struct message task = {.kind = MSG_TRAIN_LANE};
    open_local(&bench, "exchange.local_steps=5", "optimizer.rate=1000", "job.on_nonfinite=skip");
    for (size_t i = 0; i < bench.layout->weight_count; i++)
        bench.weights[i] *= 1e30f; /* numbers yet, but not what they make */
    task.task = (struct lane_task){.step = 3, .lane = 5, .weights = bench.weights};
    CU_ASSERT_EQUAL(compute_submit(bench.compute, &task), 0);
    struct message found = wait_result(&bench), done = wait_result(&bench);
    CU_ASSERT_EQUAL(found.kind, MSG_LEAF_VOID);
    CU_ASSERT(found.key.step == 3 && found.key.lane_begin == 5 && found.key.lane_end == 6);
    CU_ASSERT(done.kind == MSG_LANE_DONE && done.lane.is_void && done.lane.sample_count == 0);
    close_bench(&bench);
}

static void test_compute_breaks_rounds_off_when_tasks_are_dropped_and_at_the_end(void)
{
    struct bench bench;
    struct message drop = {.kind = MSG_DROP_LANES};
    open_local(&bench, "exchange.local_steps=1000000", "optimizer.kind=sgd", "worker.threads=2");
    submit_all(&bench, MSG_TRAIN_LANE); /* would last for an hour */
    CU_ASSERT_EQUAL(compute_submit(bench.compute, &drop), 0);
    for (uint32_t i = 0; i < bench.settings->job.lanes; i++)
        CU_ASSERT_EQUAL(wait_result(&bench).kind, MSG_LANE_DROPPED);
    submit_all(&bench, MSG_TRAIN_LANE);
    close_bench(&bench);
}

/* Both threads wait for weights that never come, so that all the others are still in the queue. */
static void test_compute_answers_each_task_that_it_drops(void)
{
    struct bench bench;
    struct message task = {.kind = MSG_TRAIN_LANE}, drop = {.kind = MSG_DROP_LANES};
    open_bench(&bench, "worker.threads=2");
    uint32_t lanes = bench.settings->job.lanes;
    for (uint32_t lane = 0; lane < 2; lane++) {
        task.task = (struct lane_task){3, lane, bench.weights, 1};
        CU_ASSERT_EQUAL(compute_submit(bench.compute, &task), 0);
    }
    submit_all(&bench, MSG_EVAL_LANE);
    submit_all(&bench, MSG_EVAL_LANE);
    drop.here.hand = 1;
    CU_ASSERT_EQUAL(compute_submit(bench.compute, &drop), 0);
    for (uint32_t i = 0; i < 2 + 2 * lanes; i++) {
        struct message result = wait_result(&bench);
        CU_ASSERT_EQUAL(result.kind, MSG_LANE_DROPPED);
        CU_ASSERT_EQUAL(result.task.step, 3);
    }
    submit_all(&bench, MSG_EVAL_LANE); /* it goes on */
    CU_ASSERT_EQUAL(wait_result(&bench).kind, MSG_EVAL_DONE);
    close_bench(&bench);
}

enum { IDX_ROWS = 400, IDX_COLS = 64 };

/* Rows of bytes, ten classes in turn, as two IDX files. */
static void write_idx(const char *inputs_path, const char *labels_path)
{
    static unsigned char inputs[12 + IDX_ROWS * IDX_COLS] = {
        0, 0, 8, 2, 0, 0, IDX_ROWS >> 8, IDX_ROWS & 255, 0, 0, 0, IDX_COLS};
    static unsigned char labels[8 + IDX_ROWS] = {
        0, 0, 8, 1, 0, 0, IDX_ROWS >> 8, IDX_ROWS & 255};
    for (size_t i = 0; i < IDX_ROWS; i++)
        labels[8 + i] = (unsigned char)(i % 10);
    scratch_write(inputs_path, inputs, sizeof(inputs));
    scratch_write(labels_path, labels, sizeof(labels));
}

/* The file loses its end while it is in use, which is found ahead or by the thread of the lane. */
static void test_compute_says_what_is_wrong_with_its_data(void)
{
    char dir[PATH_MAX], inputs[PATH_MAX + 32], labels[PATH_MAX + 32];
    struct bench bench;
    struct message result;
    scratch_make(dir);
    snprintf(inputs, sizeof(inputs), "data.train_inputs=%s", scratch_path(dir, "inputs"));
    snprintf(labels, sizeof(labels), "data.train_labels=%s", scratch_path(dir, "labels"));
    write_idx(strchr(inputs, '/'), strchr(labels, '/'));
    const char *sets[] = {"exchange.block_bytes=4096", "data.format=idx", "data.memory_bytes=0",
                          inputs, labels};
    open_bench_with(&bench, sets, ARRAY_LEN(sets));
    CU_ASSERT_EQUAL(truncate(strchr(inputs, '/'), 100), 0);
    submit_all(&bench, MSG_TRAIN_LANE);
    do {
        result = wait_result(&bench);
        buffer_unref(result.payload);
    } while (result.kind != MSG_BYE);
    CU_ASSERT_EQUAL(result.outcome.code, ERR_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.outcome.text, "inputs"));
    close_bench(&bench);
    scratch_remove(dir);
}

/* Samples that cannot be augmented are found out before a thread begins. */
static void test_compute_refuses_to_augment_what_is_no_image(void)
{
    struct bench bench;
    struct compute *none = NULL;
    struct err_msg why = {0};
    open_bench(&bench, "worker.threads=1");
    bench.settings->augment.flip = 0.5;
    struct compute_spec spec = {.settings = bench.settings,
                                .graph = bench.graph,
                                .layout = bench.layout,
                                .train = bench.train,
                                .test = bench.test};
    CU_ASSERT_EQUAL(compute_create(&spec, &none, &why), ERR_INPUT);
    CU_ASSERT_PTR_NULL(none);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "expected images"));
    close_bench(&bench);
}

/* Mixed samples have other losses, the same in whichever thread; evaluations are never mixed. */
static void test_compute_mixes_samples_in_training_alone(void)
{
    struct bench plain, one, three;
    size_t leaves;
    const char *sets[] = {"exchange.block_bytes=4096", "augment.mixup=0.4", "worker.threads=1"};
    open_bench(&plain, "worker.threads=1");
    open_bench_with(&one, sets, ARRAY_LEN(sets));
    sets[2] = "worker.threads=3";
    open_bench_with(&three, sets, ARRAY_LEN(sets));
    size_t count = (size_t)one.layout->weight_count * one.settings->job.lanes;
    float *a = calloc(count, sizeof(*a)), *b = calloc(count, sizeof(*b));
    submit_all(&one, MSG_TRAIN_LANE);
    submit_all(&three, MSG_TRAIN_LANE);
    struct lane_result mixed = collect(&one, a, &leaves);
    collect(&three, b, &leaves);
    CU_ASSERT_EQUAL(memcmp(a, b, count * sizeof(*a)), 0);
    submit_all(&plain, MSG_TRAIN_LANE);
    struct lane_result trained = collect(&plain, b, &leaves);
    CU_ASSERT(fabs(trained.loss_sum - mixed.loss_sum) > 1e-3);
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, count * sizeof(*a)), 0);
    submit_all(&plain, MSG_EVAL_LANE);
    submit_all(&one, MSG_EVAL_LANE);
    struct lane_result found = collect(&one, NULL, &leaves);
    struct lane_result expected = collect(&plain, NULL, &leaves);
    CU_ASSERT_DOUBLE_EQUAL(found.loss_sum, expected.loss_sum, 1e-9 * expected.loss_sum);
    free(a);
    free(b);
    close_bench(&plain);
    close_bench(&one);
    close_bench(&three);
}

static void open_blocks(struct bench *bench, uint64_t hand, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        struct message here = {.kind = MSG_BLOCK_HERE};
        here.here.hand = hand;
        here.here.block = (uint32_t)i;
        CU_ASSERT_EQUAL(compute_submit(bench->compute, &here), 0);
    }
}

static void submit_hand(struct bench *bench, uint64_t hand, const float *weights)
{
    for (uint32_t lane = 0; lane < bench->settings->job.lanes; lane++) {
        struct message task = {.kind = MSG_TRAIN_LANE};
        task.task = (struct lane_task){3, lane, weights, hand};
        CU_ASSERT_EQUAL(compute_submit(bench->compute, &task), 0);
    }
}

static bool is_quiet(struct bench *bench, int ms)
{
    struct message result;
    struct pollfd ready = {.fd = compute_fd(bench->compute), .events = POLLIN};
    return poll(&ready, 1, ms) == 0 && !compute_next(bench->compute, &result);
}

/* Each block is written just before the compute is told of it, as the exchange does. */
static void test_compute_reads_each_block_only_when_it_is_there(void)
{
    struct bench plain, early;
    size_t leaves;
    open_bench(&plain, "worker.threads=2");
    open_bench(&early, "worker.threads=2");
    const struct layout *layout = early.layout;
    size_t count = (size_t)layout->weight_count;
    float *weights = calloc(count, sizeof(*weights));
    float *a = calloc(count * plain.settings->job.lanes, sizeof(*a));
    float *b = calloc(count * plain.settings->job.lanes, sizeof(*b));
    submit_all(&plain, MSG_TRAIN_LANE);
    struct lane_result expected = collect(&plain, a, &leaves);
    for (uint64_t hand = 1; hand <= 5; hand++) {
        for (size_t i = 0; i < count; i++)
            weights[i] = NAN;
        submit_hand(&early, hand, weights);
        for (size_t i = layout->block_count; i-- > 0;) {
            const struct range *range = &layout->blocks[i].range;
            memcpy(weights + range->begin, early.weights + range->begin,
                   (size_t)(range->end - range->begin) * sizeof(float));
            if (i == 0)
                CU_ASSERT(is_quiet(&early, 20));
            open_blocks(&early, hand, i, i + 1);
        }
        struct lane_result found = collect(&early, b, &leaves);
        check_equal(&found, &expected);
        CU_ASSERT_EQUAL(memcmp(a, b, count * plain.settings->job.lanes * sizeof(*a)), 0);
    }
    free(weights);
    free(a);
    free(b);
    close_bench(&plain);
    close_bench(&early);
}

/* How long a lane of that hand, whose weights come after wait_ms, says it has waited for them. */
static uint64_t waited_us(struct bench *bench, uint64_t hand, int wait_ms)
{
    struct message result, task = {.kind = MSG_TRAIN_LANE};
    task.task = (struct lane_task){3, 1, bench->weights, hand};
    CU_ASSERT_EQUAL(compute_submit(bench->compute, &task), 0);
    CU_ASSERT(is_quiet(bench, wait_ms));
    open_blocks(bench, hand, 0, bench->layout->block_count);
    do {
        result = wait_result(bench);
        buffer_unref(result.payload);
    } while (result.kind == MSG_LEAF);
    CU_ASSERT_EQUAL(result.kind, MSG_LANE_DONE);
    return result.lane.wait_us;
}

/* Its thread may begin late, but not each time. */
static void test_compute_tells_how_long_a_lane_waited_for_weights(void)
{
    struct bench bench;
    uint64_t longest_us = 0;
    open_bench(&bench, "worker.threads=1");
    for (uint64_t hand = 1; hand < 50 && longest_us < 30000; hand++) {
        uint64_t begin_us = clock_now_us(), us = waited_us(&bench, hand, 40);
        CU_ASSERT(us <= clock_now_us() - begin_us);
        longest_us = us > longest_us ? us : longest_us;
    }
    CU_ASSERT(longest_us >= 30000);
    close_bench(&bench);
}

/* All threads wait for weights of hand 1; a lane of the step before has to be computed. */
static void test_compute_calls_off_lanes_that_wait_and_goes_on(void)
{
    struct bench bench;
    struct message drop = {.kind = MSG_DROP_LANES}, task = {.kind = MSG_TRAIN_LANE};
    open_bench(&bench, "worker.threads=2");
    uint32_t lanes = bench.settings->job.lanes, dropped_count = 0, done_count = 0;
    for (uint64_t hand = 1; hand < 20; hand++) {
        submit_hand(&bench, hand, bench.weights);
        open_blocks(&bench, hand, 0, bench.layout->block_count - 1);
        drop.here.hand = hand;
        CU_ASSERT_EQUAL(compute_submit(bench.compute, &drop), 0);
        task.task = (struct lane_task){2, 0, bench.weights, 0};
        CU_ASSERT_EQUAL(compute_submit(bench.compute, &task), 0);
        for (dropped_count = done_count = 0; dropped_count < lanes || done_count < 1;) {
            struct message result = wait_result(&bench);
            buffer_unref(result.payload);
            dropped_count += result.kind == MSG_LANE_DROPPED && result.task.hand == hand;
            done_count += result.kind == MSG_LANE_DONE && result.lane.step == 2;
            if (result.kind == MSG_LEAF)
                CU_ASSERT_EQUAL(result.key.step, 2);
        }
    }
    submit_hand(&bench, 20, bench.weights);
    open_blocks(&bench, 20, 0, bench.layout->block_count);
    do {
        struct message result = wait_result(&bench);
        buffer_unref(result.payload);
        done_count += result.kind == MSG_LANE_DONE;
    } while (done_count < 1 + lanes);
    submit_hand(&bench, 21, bench.weights);
    close_bench(&bench); /* while lanes wait */
}

#define TESTS(X)                                                  \
    X(test_compute_gives_the_same_bits_on_any_number_of_threads)  \
    X(test_compute_reports_the_loss_of_the_samples_of_its_lanes)  \
    X(test_compute_evaluates_every_held_out_sample_once)          \
    X(test_compute_gives_the_same_bits_when_void_lanes_are_left_out) \
    X(test_compute_gives_one_void_for_a_gradient_that_is_no_number) \
    X(test_compute_answers_each_task_that_it_drops)               \
    X(test_compute_says_what_is_wrong_with_its_data)              \
    X(test_compute_refuses_to_augment_what_is_no_image)           \
    X(test_compute_mixes_samples_in_training_alone)               \
    X(test_compute_makes_a_round_of_the_steps_that_the_optimizer_would_make) \
    X(test_compute_clips_each_step_of_a_round)                    \
    X(test_compute_clips_the_gradient_of_a_lane)                  \
    X(test_compute_passes_over_steps_in_which_a_lane_has_no_samples) \
    X(test_compute_makes_a_round_of_one_step_the_gradient_of_that_step) \
    X(test_compute_gives_one_void_for_a_round_that_ends_in_no_number) \
    X(test_compute_breaks_rounds_off_when_tasks_are_dropped_and_at_the_end) \
    X(test_compute_reads_each_block_only_when_it_is_there)        \
    X(test_compute_tells_how_long_a_lane_waited_for_weights)      \
    X(test_compute_calls_off_lanes_that_wait_and_goes_on)         \
    X(test_compute_ends_with_work_left_over)

UNIT_MAIN("compute", TESTS)
