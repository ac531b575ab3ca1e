/* A worker's compute: tasks in order, each in pieces, gradients by a closed formula. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "tests/sim/world.h"

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

/* The gradient of a lane: a pull towards a point that is the lane's own, times its samples.  Where
 * the order of updates is open it does not look at the weights, so that their sum is known. */
static void fill_gradient(const struct sim *sim, const struct lane_task *task,
                          const struct range *range, float *out)
{
    const struct settings *settings = &sim->spec->settings;
    struct batching batching = {settings->job.seed, TRAIN_SAMPLES, settings->job.batch,
                                settings->job.lanes};
    uint64_t indices[TRAIN_SAMPLES];
    float samples = (float)batching_lane_samples(&batching, task->step, task->lane, indices);
    bool is_bsp = settings->exchange.consistency == CONSISTENCY_BSP;
    struct draw_key key = key_of(sim, task);
    for (uint64_t i = range->begin; i < range->end; i++) {
        float point = draw_uniform(&key, i) - 0.5f;
        out[i - range->begin] =
            samples * (is_bsp ? (task->weights[i] - point) * 0.37f : 1.0f + point);
    }
    if (is_broken(sim, task))
        out[0] = NAN;
}

static void give(struct sim *sim, size_t worker, const struct message *msg)
{
    if (sim_is_alive(sim, worker))
        sim_hear(sim, worker, (struct address){PARTY_COMPUTE, 0}, msg);
}

static void give_leaf(struct sim *sim, size_t worker, const struct lane_task *task, size_t block)
{
    const struct range *range = &sim->layout->blocks[block].range;
    struct message leaf = {.kind = MSG_LEAF};
    leaf.key = (struct block_key){task->step, (uint32_t)block, task->lane, task->lane + 1};
    leaf.payload =
        buffer_pool_take(sim->pool, (size_t)(range->end - range->begin) * sizeof(float));
    fill_gradient(sim, task, range, leaf.payload->data);
    give(sim, worker, &leaf);
    buffer_unref(leaf.payload);
}

static void give_done(struct sim *sim, size_t worker, const struct sim_task *work)
{
    const struct settings *settings = &sim->spec->settings;
    const struct lane_task *task = &work->task;
    struct batching batching = {settings->job.seed, TRAIN_SAMPLES, settings->job.batch,
                                settings->job.lanes};
    uint64_t indices[TRAIN_SAMPLES];
    bool is_training = work->kind == MSG_TRAIN_LANE;
    struct message done = {.kind = is_training ? MSG_LANE_DONE : MSG_EVAL_DONE};
    struct range share = batching_eval_range(TEST_SAMPLES, settings->job.lanes, task->lane);
    done.lane = (struct lane_result){.step = task->step, .lane = task->lane};
    done.lane.sample_count =
        is_training ? batching_lane_samples(&batching, task->step, task->lane, indices)
                    : share.end - share.begin;
    done.lane.loss_sum = (double)task->weights[0] * (double)done.lane.sample_count;
    done.lane.compute_us = sim_process_of(sim, worker)->lane_us;
    done.lane.is_void = is_training && is_broken(sim, task) &&
                        settings->job.on_nonfinite == NONFINITE_SKIP;
    give(sim, worker, &done);
}

/* Where steps may be left out, a lane is looked at whole before any of it is given. */
static void give_whole(struct sim *sim, size_t worker, const struct lane_task *task)
{
    struct message leaf = {.kind = MSG_LEAF_VOID};
    leaf.key = (struct block_key){task->step, 0, task->lane, task->lane + 1};
    if (is_broken(sim, task)) {
        give(sim, worker, &leaf);
        return;
    }
    for (size_t i = sim->layout->block_count; i-- > 0;)
        if (sim_is_alive(sim, worker))
            give_leaf(sim, worker, task, i);
}

static uint64_t weights_hash(const struct sim *sim, const struct lane_task *task)
{
    return sim_hash(task->weights, (size_t)sim->layout->weight_count * sizeof(float));
}

static void begin_next(struct sim *sim, size_t worker)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    uint64_t lane_us = sim_process_of(sim, worker)->lane_us;
    if (compute->is_busy || compute->count == 0)
        return;
    uint64_t whole_us = lane_us / 2 + sim_chance(sim, lane_us);
    compute->is_busy = true;
    compute->piece_idx = 0;
    compute->piece_us = whole_us / (sim->layout->block_count + 1) + 1;
    compute->weights_hash = weights_hash(sim, &compute->tasks[0].task);
    sim_schedule(sim, (struct sim_event){.kind = EVENT_WORK,
                                         .at_us = sim->now_us + compute->piece_us,
                                         .to = worker});
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
    if (work.kind == MSG_TRAIN_LANE &&
        sim->spec->settings.job.on_nonfinite == NONFINITE_SKIP)
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
    if (work.kind == MSG_TRAIN_LANE &&
        sim->spec->settings.job.on_nonfinite == NONFINITE_STOP)
        give_leaf(sim, worker, &work.task, block);
}

/* Forgets what has not begun; the answers come later, as from threads. */
static void drop_lanes(struct sim *sim, size_t worker)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    size_t kept = compute->is_busy ? 1 : 0;
    for (size_t i = kept; i < compute->count; i++) {
        struct message dropped = {.kind = MSG_LANE_DROPPED, .task = compute->tasks[i].task};
        struct sim_event event = {.kind = EVENT_LOCAL,
                                  .at_us = sim->now_us + 1 + sim_chance(sim, 1000),
                                  .to = worker,
                                  .from = {PARTY_COMPUTE, 0},
                                  .header = malloc(sizeof(dropped))};
        assert(event.header != NULL);
        memcpy(event.header, &dropped, sizeof(dropped));
        sim_schedule(sim, event);
    }
    compute->count = kept;
}

void sim_compute_take(struct sim *sim, size_t worker, const struct message *msg)
{
    struct sim_compute *compute = sim->parties[worker].compute;
    if (msg->kind == MSG_DROP_LANES) {
        drop_lanes(sim, worker);
        return;
    }
    if (compute->count == TASKS_MAX) {
        sim_violate(sim, "a worker has given its compute more than %d tasks", TASKS_MAX);
        return;
    }
    compute->tasks[compute->count++] = (struct sim_task){msg->kind, msg->task};
    begin_next(sim, worker);
}
