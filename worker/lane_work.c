#include "worker/lane_work.h"

#include <math.h>
#include <stdlib.h>
#include "common/clock.h"
#include "common/rounds.h"
#include "common/vector_math.h"
#include "worker/clip.h"
#include "worker/gradient.h"
#include "worker/inner.h"

struct lane_work {
    struct lane_work_spec spec;
    struct graph_run *run;
    struct gradient *gradient;
    float *grad;         /* [weight_count], of the task in work */
    struct inner *inner; /* NULL unless lanes make steps by themselves */
    const struct lane_task *task;
    uint64_t sample_count; /* of the batch in work */
    bool is_called_off; /* the task was broken off, or given up while it waited */
    uint64_t waited_us; /* for weights of this task */
    uint64_t data_us;   /* for its samples */
    bool is_failed;
};

static uint64_t job_steps(const struct lane_work_spec *spec)
{
    return rounds_of_job(spec->settings, spec->batching) * rounds_steps(spec->settings);
}

static int make(struct lane_work *self)
{
    const struct lane_work_spec *spec = &self->spec;
    int err = gradient_create(spec->layout, spec->pool, &self->gradient);
    if (err == 0)
        err = graph_run_create(spec->graph, batching_lane_max(spec->batching), &self->run);
    if (err == 0 && spec->settings->exchange.consistency == CONSISTENCY_LOCAL)
        err = inner_create(spec->settings, spec->layout, job_steps(spec), &self->inner);
    return err;
}

int lane_work_create(const struct lane_work_spec *spec, struct lane_work **work_out)
{
    *work_out = NULL;
    struct lane_work *self = calloc(1, sizeof(*self));
    if (self == NULL)
        return ERR_NOMEM;
    self->spec = *spec;
    int err = make(self);
    if (err != 0) {
        lane_work_destroy(self);
        return err;
    }
    *work_out = self;
    return 0;
}

void lane_work_destroy(struct lane_work *work)
{
    if (work == NULL)
        return;
    graph_run_destroy(work->run);
    inner_destroy(work->inner);
    gradient_destroy(work->gradient);
    free(work);
}

/* Hands a result over with its reference. */
static void give(struct lane_work *self, const struct message *msg)
{
    if (self->spec.give(self->spec.ctx, msg))
        return;
    buffer_unref(msg->payload); /* the exchange will miss it and the step's deadline will tell */
    self->is_failed = true;
}

static void give_failure(struct lane_work *self, int code, const char *text)
{
    struct message bye = {.kind = MSG_BYE};
    bye.outcome.code = code;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "%s", text);
    self->is_failed = true;
    give(self, &bye);
}

/* A leaf is a node, too. */
static void round_leaf(const struct lane_work *self, size_t block_idx, float *values)
{
    const struct settings *settings = self->spec.settings;
    const struct layout *layout = self->spec.layout;
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
    struct lane_work *self = ctx;
    struct range blocks = layout_tensor_blocks(self->spec.layout, tensor_idx);
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

/* The same of a tensor in the middle of backpropagation. */
static void give_tensor_early(void *ctx, size_t tensor_idx)
{
    struct lane_work *self = ctx;
    clip_tensor(self->spec.settings, self->spec.layout, tensor_idx, self->sample_count, self->grad);
    give_tensor(self, tensor_idx);
}

/* graph_tensor_wait. */
static bool wait_tensor(void *ctx, size_t tensor_idx)
{
    struct lane_work *self = ctx;
    self->is_called_off =
        !gate_wait(self->spec.gate, self->task->hand, tensor_idx, &self->waited_us);
    return !self->is_called_off;
}

static void give_void(struct lane_work *self)
{
    struct message msg = {.kind = MSG_LEAF_VOID};
    msg.key = (struct block_key){.step = self->task->step,
                                 .lane_begin = self->task->lane,
                                 .lane_end = self->task->lane + 1};
    give(self, &msg);
}

/* Of all tensors that there is a gradient of. */
static bool is_finite(const struct lane_work *self)
{
    const struct layout *layout = self->spec.layout;
    for (size_t i = 0; i < layout->tensor_count; i++) {
        uint64_t begin = layout->tensor_begin[i], end = layout->tensor_begin[i + 1];
        if (layout->tensors[i].update != UPDATE_FROZEN &&
            !vector_is_finite(self->grad + begin, (size_t)(end - begin)))
            return false;
    }
    return true;
}

/* What is whole in self->grad, last layer first; or, where a gradient that is no number is to be
 * left out and this is one, that it is not to be had: false. */
static bool give_whole(struct lane_work *self, const struct loss_result *loss)
{
    const struct layout *layout = self->spec.layout;
    if (self->spec.settings->job.on_nonfinite == NONFINITE_SKIP &&
        (!isfinite(loss->loss_sum) || !is_finite(self))) {
        give_void(self);
        return false;
    }
    for (size_t i = layout->tensor_count; i-- > 0;)
        if (layout->tensors[i].update != UPDATE_FROZEN)
            give_tensor(self, i);
    return true;
}

/* NULL: they cannot be read, which was given. */
static struct lane_batch *take_batch(struct lane_work *self, const struct batch_key *key)
{
    struct err_msg why = {0};
    struct lane_batch *batch;
    int err = ahead_take(self->spec.ahead, key, &batch, &self->data_us, &why);
    if (err == 0)
        return batch;
    give_failure(self, err, why.text);
    return NULL;
}

/* Loss and gradient of a batch, as graph_train; false also when it cannot be read. */
static bool train_batch(struct lane_work *self, const struct batch_key *key, const float *weights,
                        graph_tensor_done done, struct loss_result *loss)
{
    struct lane_batch *taken = take_batch(self, key);
    if (taken == NULL)
        return false;
    struct graph_batch batch = {
        .inputs = taken->inputs,
        .labels = taken->labels,
        .mix_labels = taken->mix_labels,
        .mix_weights = taken->mix_weights,
        .count = taken->count,
        .draw = {.seed = self->spec.batching->seed, .step = key->step, .lane = key->lane},
        .wait = self->task->hand == 0 ? NULL : wait_tensor,
        .wait_ctx = self};
    self->sample_count = taken->count;
    bool is_done = graph_train(self->run, &batch, weights, self->grad, done, self, loss);
    ahead_give_back(self->spec.ahead, taken);
    return is_done;
}

/* The lane's part of a step, each block handed over as soon as it is complete unless it is to be
 * looked at whole.  False when there is no result. */
static bool train_step(struct lane_work *self, const struct batch_key *key,
                       struct loss_result *loss)
{
    const struct settings *settings = self->spec.settings;
    bool is_early =
        settings->job.on_nonfinite == NONFINITE_STOP && !clip_needs_whole(settings);
    if (!train_batch(self, key, self->task->weights, is_early ? give_tensor_early : NULL, loss))
        return false;
    if (is_early)
        return true;
    clip_gradient(settings, self->spec.layout, self->sample_count, self->grad);
    return give_whole(self, loss);
}

/* The task in work is of no use to anybody any more. */
static bool look_if_called_off(struct lane_work *self)
{
    self->is_called_off = self->spec.is_dropped(self->spec.ctx);
    return self->is_called_off;
}

/* All steps of a round, and the difference that they make; losses are summed up.  False when there
 * is no result. */
static bool train_round(struct lane_work *self, struct batch_key *key, struct loss_result *loss)
{
    *loss = (struct loss_result){0};
    inner_begin(self->inner, self->task->weights);
    do {
        struct loss_result part;
        if (look_if_called_off(self) ||
            !train_batch(self, key, inner_weights(self->inner), NULL, &part))
            return false;
        clip_gradient(self->spec.settings, self->spec.layout, part.count, self->grad);
        inner_step(self->inner, key->step, self->grad, part.count);
        loss->loss_sum += part.loss_sum;
        loss->correct += part.correct;
        loss->answers += part.answers;
        loss->count += part.count;
    } while (lane_source_next(self->spec.source, key));
    inner_difference(self->inner, self->grad);
    return give_whole(self, loss);
}

static void train_lane(struct lane_work *self, struct batch_key *key, struct lane_result *result)
{
    struct loss_result loss;
    self->grad = gradient_begin(self->gradient);
    if (self->grad == NULL) {
        give_failure(self, ERR_NOMEM, "no memory for a gradient");
        return;
    }
    bool is_done =
        self->inner == NULL ? train_step(self, key, &loss) : train_round(self, key, &loss);
    if (!is_done) {
        result->is_void = !self->is_called_off;
        return;
    }
    result->loss_sum = loss.loss_sum;
    result->correct_count = loss.correct;
    result->answer_count = loss.answers;
    result->sample_count = loss.count;
}

static void eval_lane(struct lane_work *self, struct batch_key *key, struct lane_result *result)
{
    do {
        struct lane_batch *taken = take_batch(self, key);
        if (taken == NULL)
            return;
        struct graph_batch batch = {
            .inputs = taken->inputs, .labels = taken->labels, .count = taken->count};
        struct loss_result loss;
        graph_eval(self->run, &batch, self->task->weights, &loss);
        ahead_give_back(self->spec.ahead, taken);
        result->loss_sum += loss.loss_sum;
        result->correct_count += loss.correct;
        result->answer_count += loss.answers;
        result->sample_count += batch.count;
    } while (lane_source_next(self->spec.source, key));
}

size_t lane_work_activation_bytes(const struct lane_work *work)
{
    return graph_run_bytes(work->run);
}

bool lane_work_first(const struct lane_source *source, const struct message *task,
                     struct batch_key *key_out)
{
    enum batch_part part = task->kind == MSG_TRAIN_LANE ? BATCH_TRAIN : BATCH_EVAL;
    return lane_source_first(source, part, task->task.step, task->task.lane, key_out);
}

bool lane_work_do(struct lane_work *work, const struct message *task)
{
    uint64_t begin_us = clock_now_us();
    bool is_training = task->kind == MSG_TRAIN_LANE;
    struct message result = {.kind = is_training ? MSG_LANE_DONE : MSG_EVAL_DONE};
    work->task = &task->task;
    work->waited_us = work->data_us = 0;
    work->is_called_off = false;
    result.lane = (struct lane_result){.step = task->task.step, .lane = task->task.lane};
    struct batch_key key;
    bool has_batch = lane_work_first(work->spec.source, task, &key);
    if (is_training)
        train_lane(work, &key, &result.lane);
    else if (has_batch)
        eval_lane(work, &key, &result.lane);
    result.lane.compute_us = clock_now_us() - begin_us - work->waited_us;
    result.lane.wait_us = work->waited_us;
    result.lane.data_us = work->data_us;
    if (work->is_called_off)
        result = (struct message){.kind = MSG_LANE_DROPPED, .task = task->task};
    if (!work->is_failed)
        give(work, &result);
    return !work->is_failed;
}
