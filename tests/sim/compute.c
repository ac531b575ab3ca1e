/* A worker's compute: tasks in order, each in pieces, gradients by a closed formula.  A task whose
 * weights still come in begins when all of them are there; until then it can be called off. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "common/rounds.h"
#include "tests/sim/world.h"
#include "worker/inner.h"

enum { DRAW_NAN = 98 };

static struct draw_key key_of(const struct sim *sim, const struct lane_task *task)
{
    return (struct draw_key){.seed = sim->spec->settings.job.seed,
                             .step = task->step,
                             .lane = task->lane,
                             .where = DRAW_OPERATOR};
}

static bool is_broken(const struct sim *sim, const struct lane_task *task)
{
    struct draw_key key = key_of(sim, task);
    key.where = DRAW_NAN;
    return draw_u32(&key, 0) % 100 < sim->spec->nan_percent;
}

static struct batching batching_of(const struct sim *sim)
{
    const struct settings *settings = &sim->spec->settings;
    return (struct batching){settings->job.seed, TRAIN_SAMPLES, settings->job.batch,
                             settings->job.lanes};
}

static bool is_local(const struct sim *sim)
{
    return sim->spec->settings.exchange.consistency == CONSISTENCY_LOCAL;
}

/* Samples of a lane in global step `step`. */
static uint64_t samples_of(const struct sim *sim, uint64_t step, uint32_t lane)
{
    struct batching batching = batching_of(sim);
    uint64_t indices[TRAIN_SAMPLES];
    return batching_lane_samples(&batching, step, lane, indices);
}

/* The gradient of a lane: a pull towards a point that is the lane's own, times its samples.  Where
 * the order of updates is open it does not look at the weights, so that their sum is known. */
static void fill_gradient(const struct sim *sim, const struct lane_task *task,
                          const struct range *range, float *out)
{
    float samples = (float)samples_of(sim, task->step, task->lane);
    bool has_clocks = settings_has_clocks(&sim->spec->settings);
    struct draw_key key = key_of(sim, task);
    for (uint64_t i = range->begin; i < range->end; i++) {
        float point = draw_uniform(&key, i) - 0.5f;
        out[i - range->begin] =
            samples * (has_clocks ? 1.0f + point : (task->weights[i] - point) * 0.37f);
    }
}

/* The whole vector of a round: the difference that its steps make. */
static void fill_round(const struct sim *sim, const struct lane_task *task, float *out)
{
    const struct settings *settings = &sim->spec->settings;
    struct range all = {0, sim->layout->weight_count};
    uint64_t round_steps = rounds_steps(settings);
    struct inner *inner = NULL;
    int err = inner_create(settings, sim->layout, round_steps * sim_step_count(sim), &inner);
    assert(err == 0);
    inner_begin(inner, task->weights);
    for (uint64_t i = 0; i < round_steps; i++) {
        struct lane_task step = {.step = task->step * round_steps + i,
                                 .lane = task->lane,
                                 .weights = inner_weights(inner)};
        fill_gradient(sim, &step, &all, out);
        inner_step(inner, step.step, out, samples_of(sim, step.step, step.lane));
    }
    inner_difference(inner, out);
    inner_destroy(inner);
}

static void give(struct sim *sim, size_t worker, const struct message *msg)
{
    if (sim_is_alive(sim, worker))
        sim_hear(sim, worker, (struct address){PARTY_COMPUTE, 0}, msg);
}

/* whole: the lane's vector where it was made at once; else NULL. */
static void give_leaf(struct sim *sim, size_t worker, const struct lane_task *task, size_t block,
                      const float *whole)
{
    const struct range *range = &sim->layout->blocks[block].range;
    struct message leaf = {.kind = MSG_LEAF};
    if (sim->layout->tensors[sim->layout->blocks[block].tensor_idx].update == UPDATE_FROZEN)
        return;
    leaf.key = (struct block_key){
        task->step, (uint32_t)block, task->lane, task->lane + 1, CODEC_F32};
    leaf.payload =
        buffer_pool_take(sim->pool, (size_t)(range->end - range->begin) * sizeof(float));
    float *out = leaf.payload->data;
    if (whole != NULL)
        memcpy(out, whole + range->begin, leaf.payload->size_bytes);
    else
        fill_gradient(sim, task, range, out);
    if (is_broken(sim, task))
        out[0] = NAN;
    struct codec_grid grid = codec_grid_of(sim->spec->settings.exchange.codec,
                                           sim->spec->settings.job.seed, sim->layout, block);
    grid.step = task->step;
    codec_round_node(&grid, (struct lane_node){task->lane, task->lane + 1}, out,
                     (size_t)(range->end - range->begin));
    give(sim, worker, &leaf);
    buffer_unref(leaf.payload);
}

static void give_done(struct sim *sim, size_t worker, const struct sim_task *work)
{
    const struct settings *settings = &sim->spec->settings;
    const struct lane_task *task = &work->task;
    uint64_t round_steps = rounds_steps(settings), first = task->step * round_steps;
    bool is_training = work->kind == MSG_TRAIN_LANE;
    struct message done = {.kind = is_training ? MSG_LANE_DONE : MSG_EVAL_DONE};
    struct range share = batching_eval_range(TEST_SAMPLES, settings->job.lanes, task->lane);
    done.lane = (struct lane_result){.step = task->step, .lane = task->lane};
    done.lane.sample_count = is_training ? 0 : share.end - share.begin;
    for (uint64_t step = first; is_training && step < first + round_steps; step++)
        done.lane.sample_count += samples_of(sim, step, task->lane);
    done.lane.loss_sum = (double)task->weights[0] * (double)done.lane.sample_count;
    done.lane.compute_us = sim_process_of(sim, worker)->lane_us;
    done.lane.is_void = is_training && is_broken(sim, task) &&
                        settings->job.on_nonfinite == NONFINITE_SKIP;
    give(sim, worker, &done);
}

/* Where steps may be left out, a lane is looked at whole before any of it is given; a round is made
 * whole. */
static bool is_given_whole(const struct sim *sim)
{
    return is_local(sim) || sim->spec->settings.job.on_nonfinite == NONFINITE_SKIP;
}

static void give_whole(struct sim *sim, size_t worker, const struct lane_task *task)
{
    struct message leaf = {.kind = MSG_LEAF_VOID};
    leaf.key = (struct block_key){task->step, 0, task->lane, task->lane + 1, CODEC_F32};
    if (is_broken(sim, task)) {
        give(sim, worker, &leaf);
        return;
    }
    float *whole = NULL;
    if (is_local(sim)) {
        whole = malloc((size_t)sim->layout->weight_count * sizeof(*whole));
        assert(whole != NULL);
        fill_round(sim, task, whole);
    }
    for (size_t i = sim->layout->block_count; i-- > 0;)
        if (sim_is_alive(sim, worker))
            give_leaf(sim, worker, task, i, whole);
    free(whole);
}

static uint64_t weights_hash(const struct sim *sim, const struct lane_task *task)
{
    return sim_hash(task->weights, (size_t)sim->layout->weight_count * sizeof(float));
}

static uint64_t block_hash(const struct sim *sim, const float *weights, size_t block)
{
    const struct range *range = &sim->layout->blocks[block].range;
    return sim_hash(weights + range->begin, (size_t)(range->end - range->begin) * sizeof(float));
}

/* Blocks that a hand's tasks were told of stay as they were. */
static void check_hand(struct sim *sim, const struct sim_compute *compute)
{
    for (size_t i = 0; i < sim->layout->block_count; i++)
        if (compute->is_here[i] &&
            compute->block_hash[i] != block_hash(sim, compute->hand_weights, i))
            sim_violate(sim, "block %zu changed under the tasks of hand %llu", i,
                        (unsigned long long)compute->hand);
}

static bool has_weights(const struct sim *sim, const struct sim_compute *compute,
                        const struct lane_task *task)
{
    for (size_t i = 0; task->hand != 0 && i < sim->layout->block_count; i++)
        if (!compute->is_here[i])
            return false;
    return true;
}

static void begin_next(struct sim *sim, size_t worker)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    uint64_t lane_us = sim_process_of(sim, worker)->lane_us;
    if (compute->is_busy || compute->count == 0 ||
        !has_weights(sim, compute, &compute->tasks[0].task))
        return;
    if (compute->tasks[0].task.hand != 0)
        check_hand(sim, compute);
    uint64_t whole_us = lane_us / 2 + sim_chance(sim, lane_us);
    compute->is_busy = true;
    compute->is_called_off = false;
    compute->piece_idx = 0;
    compute->piece_us = whole_us / (sim->layout->block_count + 1) + 1;
    compute->weights_hash = weights_hash(sim, &compute->tasks[0].task);
    sim_schedule(sim, (struct sim_event){.kind = EVENT_WORK,
                                         .at_us = sim->now_us + compute->piece_us,
                                         .to = worker});
}

/* What was begun last is no more; the next one begins. */
static void break_off(struct sim *sim, size_t worker)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    struct message dropped = {.kind = MSG_LANE_DROPPED, .task = compute->tasks[0].task};
    memmove(compute->tasks, compute->tasks + 1, --compute->count * sizeof(*compute->tasks));
    compute->is_busy = false;
    give(sim, worker, &dropped);
    if (sim_is_alive(sim, worker))
        begin_next(sim, worker);
}

static void finish_task(struct sim *sim, size_t worker)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    struct sim_task work = compute->tasks[0];
    if (weights_hash(sim, &work.task) != compute->weights_hash)
        sim_violate(sim, "weights changed under a task of step %llu lane %u",
                    (unsigned long long)work.task.step, work.task.lane);
    memmove(compute->tasks, compute->tasks + 1, --compute->count * sizeof(*compute->tasks));
    compute->is_busy = false;
    if (work.kind == MSG_TRAIN_LANE && is_given_whole(sim))
        give_whole(sim, worker, &work.task);
    if (sim_is_alive(sim, worker))
        give_done(sim, worker, &work);
    if (sim_is_alive(sim, worker))
        begin_next(sim, worker);
}

void sim_compute_work(struct sim *sim, size_t worker)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    if (!sim_is_alive(sim, worker) || !compute->is_busy)
        return;
    if (compute->is_called_off) {
        break_off(sim, worker);
        return;
    }
    size_t blocks = sim->layout->block_count;
    if (compute->piece_idx == blocks) {
        finish_task(sim, worker);
        return;
    }
    struct sim_task work = compute->tasks[0];
    size_t block = blocks - 1 - compute->piece_idx++;
    sim_schedule(sim, (struct sim_event){.kind = EVENT_WORK,
                                         .at_us = sim->now_us + compute->piece_us,
                                         .to = worker});
    if (work.kind == MSG_TRAIN_LANE && !is_given_whole(sim))
        give_leaf(sim, worker, &work.task, block, NULL);
}

/* As a thread that was called off goes on to the end of its layer first. */
static uint64_t answer_us(struct sim *sim, size_t worker, const struct lane_task *task)
{
    return task->hand == 0 ? 1000 : sim_process_of(sim, worker)->lane_us;
}

/* Forgets what has not begun, and a round in work; the answers come later, as from threads. */
static void drop_lanes(struct sim *sim, size_t worker)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    size_t kept = compute->is_busy ? 1 : 0;
    compute->is_called_off =
        compute->is_busy && is_local(sim) && compute->tasks[0].kind == MSG_TRAIN_LANE;
    for (size_t i = kept; i < compute->count; i++) {
        struct message dropped = {.kind = MSG_LANE_DROPPED, .task = compute->tasks[i].task};
        struct sim_event event = {.kind = EVENT_LOCAL,
                                  .at_us = sim->now_us + 1 +
                                           sim_chance(sim, answer_us(sim, worker, &dropped.task)),
                                  .to = worker,
                                  .from = {PARTY_COMPUTE, 0},
                                  .header = malloc(sizeof(dropped))};
        assert(event.header != NULL);
        memcpy(event.header, &dropped, sizeof(dropped));
        sim_schedule(sim, event);
    }
    compute->count = kept;
}

/* An answer that comes later is on its way to the worker. */
void sim_compute_answer(struct sim *sim, size_t worker, const struct message *msg)
{
    const struct sim_compute *compute = sim->parties[worker].compute;
    if (sim_is_alive(sim, worker) && compute != NULL && msg->kind == MSG_LANE_DROPPED &&
        msg->task.hand != 0 && msg->task.hand == compute->hand)
        check_hand(sim, compute);
}

static void begin_hand(struct sim_compute *compute, const struct lane_task *task)
{
    compute->hand = task->hand;
    compute->hand_weights = task->weights;
    memset(compute->is_here, 0, sizeof(compute->is_here));
}

static void open_block(struct sim *sim, struct sim_compute *compute, const struct message *msg)
{
    if (msg->here.hand != compute->hand || compute->is_here[msg->here.block])
        sim_violate(sim, "block %u of hand %llu came out of turn", msg->here.block,
                    (unsigned long long)msg->here.hand);
    compute->is_here[msg->here.block] = true;
    compute->block_hash[msg->here.block] =
        block_hash(sim, compute->hand_weights, msg->here.block);
}

void sim_compute_take(struct sim *sim, size_t worker, const struct message *msg)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    if (msg->kind == MSG_DROP_LANES) {
        drop_lanes(sim, worker);
        return;
    }
    if (msg->kind == MSG_BLOCK_HERE) {
        open_block(sim, compute, msg);
        begin_next(sim, worker);
        return;
    }
    if (compute->count == TASKS_MAX) {
        sim_violate(sim, "a worker has given its compute more than %d tasks", TASKS_MAX);
        return;
    }
    if (msg->task.hand > compute->hand)
        begin_hand(compute, &msg->task);
    compute->tasks[compute->count++] = (struct sim_task){msg->kind, msg->task};
    begin_next(sim, worker);
}
