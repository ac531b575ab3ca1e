#include "worker/compute.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "common/batching.h"
#include "common/clock.h"
#include "common/rounds.h"
#include "common/vector_math.h"
#include "worker/gate.h"
#include "worker/gradient.h"
#include "worker/inner.h"

/* A queue of messages between threads. */
struct queue {
    struct message *items;
    size_t first, count, capacity; /* ring */
};

struct lane_thread {
    struct compute *compute;
    pthread_t thread;
    bool is_running;
    struct graph_run *run;
    uint64_t *indices;     /* [lane_max] */
    float *inputs, *labels; /* [lane_max][...] */
    struct gradient *gradient;
    float *grad;           /* [weight_count], of the task in work */
    struct inner *inner;   /* NULL unless lanes make steps by themselves */
    const struct lane_task *task;
    uint64_t seen_drops;   /* of compute->drop_count, when the task was begun */
    bool is_called_off;    /* the task was broken off, or given up while it waited */
    uint64_t waited_us; /* for weights of this task */
    bool is_failed;
};

struct compute {
    struct compute_spec spec;
    struct batching batching;
    uint32_t lane_max;
    struct buffer_pool *pool, *own_pool; /* own: NULL when the pool was given */
    struct gate *gate;
    int event_fd;
    pthread_mutex_t lock;
    pthread_cond_t has_task;
    bool is_ending;
    struct queue tasks, results; /* under lock, as is drop_count */
    uint64_t drop_count;
    size_t thread_count;
    struct lane_thread *threads;
};

static int queue_put(struct queue *queue, const struct message *msg)
{
    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity == 0 ? 64 : 2 * queue->capacity;
        struct message *items = malloc(capacity * sizeof(*items));
        if (items == NULL)
            return ERR_NOMEM;
        for (size_t i = 0; i < queue->count; i++)
            items[i] = queue->items[(queue->first + i) % queue->capacity];
        free(queue->items);
        *queue = (struct queue){items, 0, queue->count, capacity};
    }
    queue->items[(queue->first + queue->count++) % queue->capacity] = *msg;
    return 0;
}

static bool queue_take(struct queue *queue, struct message *msg_out)
{
    if (queue->count == 0)
        return false;
    *msg_out = queue->items[queue->first];
    queue->first = (queue->first + 1) % queue->capacity;
    queue->count--;
    return true;
}

static void queue_free(struct queue *queue)
{
    struct message msg;
    while (queue_take(queue, &msg))
        buffer_unref(msg.payload);
    free(queue->items);
}

static void wake_loop(struct compute *compute)
{
    uint64_t one = 1;
    ssize_t written = write(compute->event_fd, &one, sizeof(one));
    (void)written; /* fails only when the counter is full, and then it is readable anyway */
}

/* Hands a result over with its reference. */
static void give(struct lane_thread *self, const struct message *msg)
{
    struct compute *compute = self->compute;
    pthread_mutex_lock(&compute->lock);
    int err = queue_put(&compute->results, msg);
    pthread_mutex_unlock(&compute->lock);
    if (err != 0) { /* the exchange will miss it and the step's deadline will tell */
        buffer_unref(msg->payload);
        self->is_failed = true;
    }
    wake_loop(compute);
}

static void give_failure(struct lane_thread *self, int code, const char *text)
{
    struct message bye = {.kind = MSG_BYE};
    bye.outcome.code = code;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "%s", text);
    self->is_failed = true;
    give(self, &bye);
}

/* A leaf is a node, too. */
static void round_leaf(const struct lane_thread *self, size_t block_idx, float *values)
{
    const struct settings *settings = self->compute->spec.settings;
    const struct layout *layout = self->compute->spec.layout;
    const struct range *range = &layout->blocks[block_idx].range;
    struct codec_grid grid =
        codec_grid_of(settings->exchange.codec, settings->job.seed, layout, block_idx);
    struct lane_node leaf = {self->task->lane, self->task->lane + 1};
    grid.step = self->task->step;
    codec_round_node(&grid, leaf, values, (size_t)(range->end - range->begin));
}

/* graph_tensor_done: hands over each block of a finished tensor, the last one first: the one order
 * that credit relies on. */
static void give_tensor(void *ctx, size_t tensor_idx)
{
    struct lane_thread *self = ctx;
    const struct layout *layout = self->compute->spec.layout;
    struct range blocks = layout_tensor_blocks(layout, tensor_idx);
    for (uint64_t i = blocks.end; i-- > blocks.begin && !self->is_failed;) {
        struct message leaf = {.kind = MSG_LEAF,
                               .payload = gradient_block(self->gradient, (size_t)i)};
        if (leaf.payload == NULL) {
            give_failure(self, ERR_NOMEM, "no memory for a gradient");
            return;
        }
        round_leaf(self, (size_t)i, leaf.payload->data);
        leaf.key = (struct block_key){.step = self->task->step,
                                      .block = (uint32_t)i,
                                      .lane_begin = self->task->lane,
                                      .lane_end = self->task->lane + 1};
        give(self, &leaf);
    }
}

/* graph_tensor_wait. */
static bool wait_tensor(void *ctx, size_t tensor_idx)
{
    struct lane_thread *self = ctx;
    self->is_called_off = !gate_wait(self->compute->gate, self->task->hand, tensor_idx,
                                     &self->waited_us);
    return !self->is_called_off;
}

static int read_samples(struct lane_thread *self, struct dataset *dataset, size_t count)
{
    struct err_msg why = {0};
    int err = dataset_read(dataset, self->indices, count, self->inputs, self->labels, &why);
    if (err != 0)
        give_failure(self, err, why.text);
    return err;
}

static void give_void(struct lane_thread *self)
{
    struct message msg = {.kind = MSG_LEAF_VOID};
    msg.key = (struct block_key){.step = self->task->step,
                                 .lane_begin = self->task->lane,
                                 .lane_end = self->task->lane + 1};
    give(self, &msg);
}

/* What is whole in self->grad, last layer first; or, where a gradient that is no number is to be
 * left out and this is one, that it is not to be had: false. */
static bool give_whole(struct lane_thread *self, const struct loss_result *loss)
{
    const struct layout *layout = self->compute->spec.layout;
    if (self->compute->spec.settings->job.on_nonfinite == NONFINITE_SKIP &&
        (!isfinite(loss->loss_sum) ||
         !vector_is_finite(self->grad, (size_t)layout->weight_count))) {
        give_void(self);
        return false;
    }
    for (size_t i = layout->tensor_count; i-- > 0;)
        give_tensor(self, i);
    return true;
}

/* Reads what the lane trains on in global step `step`. */
static int read_batch(struct lane_thread *self, uint64_t step, struct graph_batch *batch_out)
{
    const struct compute *compute = self->compute;
    uint32_t lane = self->task->lane;
    uint32_t count = batching_lane_samples(&compute->batching, step, lane, self->indices);
    *batch_out = (struct graph_batch){
        .inputs = self->inputs,
        .labels = self->labels,
        .count = count,
        .draw = {.seed = compute->batching.seed, .step = step, .lane = lane},
        .wait = self->task->hand == 0 ? NULL : wait_tensor,
        .wait_ctx = self};
    return read_samples(self, compute->spec.train, count);
}

/* Loss and gradient of the lane's part of a step, each block handed over as soon as it is complete
 * unless it is to be looked at whole.  False when there is no result. */
static bool train_step(struct lane_thread *self, struct loss_result *loss)
{
    const float *weights = self->task->weights;
    struct graph_batch batch;
    if (read_batch(self, self->task->step, &batch) != 0)
        return false;
    bool is_early = self->compute->spec.settings->job.on_nonfinite == NONFINITE_STOP;
    return graph_train(self->run, &batch, weights, self->grad, is_early ? give_tensor : NULL, self,
                       loss) &&
           (is_early || give_whole(self, loss));
}

/* The task in work is of no use to anybody any more. */
static bool look_if_called_off(struct lane_thread *self)
{
    struct compute *compute = self->compute;
    pthread_mutex_lock(&compute->lock);
    self->is_called_off = compute->is_ending || compute->drop_count != self->seen_drops;
    pthread_mutex_unlock(&compute->lock);
    return self->is_called_off;
}

/* All steps of a round, and the difference that they make; losses are summed up.  False when there
 * is no result. */
static bool train_round(struct lane_thread *self, struct loss_result *loss)
{
    uint64_t round_steps = rounds_steps(self->compute->spec.settings);
    uint64_t first = self->task->step * round_steps;
    *loss = (struct loss_result){0};
    inner_begin(self->inner, self->task->weights);
    for (uint64_t step = first; step < first + round_steps; step++) {
        struct graph_batch batch;
        struct loss_result part;
        if (look_if_called_off(self) || read_batch(self, step, &batch) != 0)
            return false;
        if (!graph_train(self->run, &batch, inner_weights(self->inner), self->grad, NULL, NULL,
                         &part))
            return false;
        inner_step(self->inner, step, self->grad, part.count);
        loss->loss_sum += part.loss_sum;
        loss->correct += part.correct;
        loss->count += part.count;
    }
    inner_difference(self->inner, self->grad);
    return give_whole(self, loss);
}

static void train_lane(struct lane_thread *self, struct message *result)
{
    struct loss_result loss;
    self->grad = gradient_begin(self->gradient);
    if (self->grad == NULL) {
        give_failure(self, ERR_NOMEM, "no memory for a gradient");
        return;
    }
    bool is_done = self->inner == NULL ? train_step(self, &loss) : train_round(self, &loss);
    if (!is_done) {
        result->lane.is_void = !self->is_called_off;
        return;
    }
    result->lane.loss_sum = loss.loss_sum;
    result->lane.answer_count = loss.count;
    result->lane.correct_count = loss.correct;
    result->lane.sample_count = loss.count;
}

/* In pieces of at most lane_max samples, always the same ones. */
static void eval_lane(struct lane_thread *self, struct message *result)
{
    const struct compute *compute = self->compute;
    struct range share = batching_eval_range(dataset_info(compute->spec.test)->count,
                                             compute->batching.lane_count, self->task->lane);
    while (share.begin < share.end && !self->is_failed) {
        uint64_t left = share.end - share.begin;
        size_t count = left < compute->lane_max ? (size_t)left : compute->lane_max;
        for (size_t i = 0; i < count; i++)
            self->indices[i] = share.begin + i;
        share.begin += count;
        if (read_samples(self, compute->spec.test, count) != 0)
            return;
        struct graph_batch batch = {
            .inputs = self->inputs, .labels = self->labels, .count = count};
        struct loss_result loss;
        graph_eval(self->run, &batch, self->task->weights, &loss);
        result->lane.loss_sum += loss.loss_sum;
        result->lane.answer_count += loss.count;
        result->lane.correct_count += loss.correct;
        result->lane.sample_count += count;
    }
}

static void work(struct lane_thread *self, const struct message *task)
{
    uint64_t begin_us = clock_now_us();
    bool is_training = task->kind == MSG_TRAIN_LANE;
    struct message result = {.kind = is_training ? MSG_LANE_DONE : MSG_EVAL_DONE};
    self->task = &task->task;
    self->waited_us = 0;
    self->is_called_off = false;
    result.lane = (struct lane_result){.step = task->task.step, .lane = task->task.lane};
    if (is_training)
        train_lane(self, &result);
    else
        eval_lane(self, &result);
    result.lane.compute_us = clock_now_us() - begin_us - self->waited_us;
    result.lane.wait_us = self->waited_us;
    if (self->is_called_off)
        result = (struct message){.kind = MSG_LANE_DROPPED, .task = task->task};
    if (!self->is_failed)
        give(self, &result);
}

static void *run_thread(void *arg)
{
    struct lane_thread *self = arg;
    struct compute *compute = self->compute;
    struct message task;
    while (!self->is_failed) {
        pthread_mutex_lock(&compute->lock);
        while (compute->tasks.count == 0 && !compute->is_ending)
            pthread_cond_wait(&compute->has_task, &compute->lock);
        bool is_ending = compute->is_ending;
        if (!is_ending)
            queue_take(&compute->tasks, &task);
        self->seen_drops = compute->drop_count;
        pthread_mutex_unlock(&compute->lock);
        if (is_ending)
            break;
        work(self, &task);
    }
    return NULL;
}

static uint64_t job_steps(const struct compute *compute)
{
    const struct settings *settings = compute->spec.settings;
    return rounds_of_job(settings, &compute->batching) * rounds_steps(settings);
}

static int start_thread(struct compute *compute, struct lane_thread *self)
{
    const struct dataset_info *info = dataset_info(compute->spec.train);
    size_t lane_max = compute->lane_max;
    self->compute = compute;
    self->indices = calloc(lane_max, sizeof(*self->indices));
    self->inputs = calloc(lane_max * info->input_count, sizeof(float));
    self->labels = calloc(lane_max * info->label_count, sizeof(float));
    if (self->indices == NULL || self->inputs == NULL || self->labels == NULL)
        return ERR_NOMEM;
    int err = gradient_create(compute->spec.layout, compute->pool, &self->gradient);
    if (err == 0)
        err = graph_run_create(compute->spec.graph, lane_max, &self->run);
    if (err == 0 && compute->spec.settings->exchange.consistency == CONSISTENCY_LOCAL)
        err = inner_create(compute->spec.settings, compute->spec.layout, job_steps(compute),
                           &self->inner);
    if (err != 0)
        return err;
    if (pthread_create(&self->thread, NULL, run_thread, self) != 0)
        return ERR_NOMEM;
    self->is_running = true;
    return 0;
}

int compute_create(const struct compute_spec *spec, struct compute **compute_out,
                   struct err_msg *why)
{
    const struct settings *settings = spec->settings;
    struct compute *compute = calloc(1, sizeof(*compute));
    if (compute == NULL)
        return err_set(why, ERR_NOMEM, "no memory for the compute threads");
    compute->spec = *spec;
    compute->batching = (struct batching){.seed = settings->job.seed,
                                          .sample_count = dataset_info(spec->train)->count,
                                          .batch = settings->job.batch,
                                          .lane_count = settings->job.lanes};
    compute->lane_max = batching_lane_max(&compute->batching);
    compute->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&compute->lock, NULL);
    pthread_cond_init(&compute->has_task, NULL);
    compute->threads = calloc(settings->worker.threads, sizeof(*compute->threads));
    int err = compute->threads == NULL || compute->event_fd < 0 ? ERR_NOMEM : 0;
    if (err == 0 && spec->pool == NULL)
        err = buffer_pool_create(0, &compute->own_pool);
    compute->pool = spec->pool == NULL ? compute->own_pool : spec->pool;
    if (err == 0)
        err = gate_create(spec->layout, &compute->gate);
    while (err == 0 && compute->thread_count < settings->worker.threads)
        err = start_thread(compute, &compute->threads[compute->thread_count++]);
    if (err != 0) {
        compute_destroy(compute);
        return err_set(why, err, "cannot start %u compute threads for lanes of %u samples: %s",
                       settings->worker.threads, compute->lane_max, err_text(err));
    }
    *compute_out = compute;
    return 0;
}

void compute_destroy(struct compute *compute)
{
    if (compute == NULL)
        return;
    pthread_mutex_lock(&compute->lock);
    compute->is_ending = true;
    pthread_cond_broadcast(&compute->has_task);
    pthread_mutex_unlock(&compute->lock);
    if (compute->gate != NULL)
        gate_call_off(compute->gate, UINT64_MAX);
    for (size_t i = 0; i < compute->thread_count; i++) {
        struct lane_thread *thread = &compute->threads[i];
        if (thread->is_running)
            pthread_join(thread->thread, NULL);
        graph_run_destroy(thread->run);
        inner_destroy(thread->inner);
        free(thread->indices);
        free(thread->inputs);
        free(thread->labels);
        gradient_destroy(thread->gradient);
    }
    free(compute->threads);
    gate_destroy(compute->gate);
    queue_free(&compute->tasks);
    queue_free(&compute->results);
    buffer_pool_destroy(compute->own_pool);
    if (compute->event_fd >= 0)
        close(compute->event_fd);
    pthread_cond_destroy(&compute->has_task);
    pthread_mutex_destroy(&compute->lock);
    free(compute);
}

static int drop_tasks(struct compute *compute, uint64_t hand)
{
    struct message task;
    int err = 0;
    pthread_mutex_lock(&compute->lock);
    compute->drop_count++;
    while (err == 0 && queue_take(&compute->tasks, &task)) {
        task.kind = MSG_LANE_DROPPED;
        err = queue_put(&compute->results, &task);
    }
    pthread_mutex_unlock(&compute->lock);
    gate_call_off(compute->gate, hand);
    wake_loop(compute);
    return err;
}

int compute_submit(struct compute *compute, const struct message *task)
{
    if (task->kind == MSG_DROP_LANES)
        return drop_tasks(compute, task->here.hand);
    if (task->kind == MSG_BLOCK_HERE) {
        gate_open(compute->gate, task->here.hand, task->here.block);
        return 0;
    }
    pthread_mutex_lock(&compute->lock);
    int err = queue_put(&compute->tasks, task);
    pthread_cond_signal(&compute->has_task);
    pthread_mutex_unlock(&compute->lock);
    return err;
}

bool compute_next(struct compute *compute, struct message *result_out)
{
    pthread_mutex_lock(&compute->lock);
    bool is_found = queue_take(&compute->results, result_out);
    if (!is_found) {
        uint64_t seen;
        ssize_t got = read(compute->event_fd, &seen, sizeof(seen));
        (void)got; /* EAGAIN: it was not set */
    }
    pthread_mutex_unlock(&compute->lock);
    return is_found;
}

int compute_fd(const struct compute *compute)
{
    return compute->event_fd;
}

static int submit(void *ctx, const struct message *task)
{
    return compute_submit(ctx, task);
}

static bool next(void *ctx, struct message *result_out)
{
    return compute_next(ctx, result_out);
}

struct computing compute_computing(struct compute *compute)
{
    return (struct computing){
        .submit = submit, .next = next, .ctx = compute, .fd = compute->event_fd};
}
