#include "deploy/bench/stand_in.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "common/clock.h"
#include "worker/gradient.h"

/* Each lane at most once in training and once in evaluation. */
enum { QUEUE_MAX = 2 * LANES_MAX };

/* What a lane is said to take, so that the coordinator never finds it worth while to give one to
 * another worker because of the milliseconds that it comes after the others'. */
enum { SAID_US = 100 * 1000000 };

struct stand_in {
    const struct layout *layout;
    struct times *times;
    struct gradient *gradient;
    int event_fd; /* set while queue or task has something */
    struct message queue[QUEUE_MAX]; /* ring of tasks, and of MSG_LANE_DROPPED */
    size_t first, count;
    struct message task; /* in work; MSG_NONE: none */
    size_t blocks_left;  /* of it */
    size_t burst_bytes;  /* given since the last pause */
    uint64_t next_step;  /* the lowest that times has not been told of */
};

static void drop_tasks(struct stand_in *self)
{
    for (size_t i = 0; i < self->count; i++)
        self->queue[(self->first + i) % QUEUE_MAX].kind = MSG_LANE_DROPPED;
}

/* The first task of a step is dealt when its version is whole. */
static void note_step(struct stand_in *self, const struct message *task)
{
    if (task->kind != MSG_TRAIN_LANE || task->task.step < self->next_step)
        return;
    self->next_step = task->task.step + 1;
    if (self->times != NULL)
        times_note(self->times, clock_now_us());
}

static int submit(void *ctx, const struct message *task)
{
    struct stand_in *self = ctx;
    uint64_t one = 1;
    if (task->kind == MSG_DROP_LANES) {
        drop_tasks(self);
        return 0;
    }
    if (self->count == QUEUE_MAX)
        return ERR_NOMEM;
    note_step(self, task);
    self->queue[(self->first + self->count++) % QUEUE_MAX] = *task;
    ssize_t written = write(self->event_fd, &one, sizeof(one));
    (void)written; /* fails only when the counter is full, and then it is readable anyway */
    return 0;
}

static void take_task(struct stand_in *self)
{
    self->task = self->queue[self->first];
    self->first = (self->first + 1) % QUEUE_MAX;
    self->count--;
    self->blocks_left = self->task.kind == MSG_TRAIN_LANE ? self->layout->block_count : 0;
}

static struct message make_leaf(struct stand_in *self)
{
    const struct lane_task *task = &self->task.task;
    size_t idx = --self->blocks_left;
    struct message leaf = {.kind = MSG_LEAF, .payload = gradient_block(self->gradient, idx)};
    if (leaf.payload == NULL) {
        leaf = (struct message){.kind = MSG_BYE};
        leaf.outcome = (struct outcome){.code = ERR_NOMEM, .text = "no memory for a gradient"};
        return leaf;
    }
    leaf.payload->is_read_only = true; /* it is there for the next step, too */
    leaf.key = (struct block_key){.step = task->step,
                                  .block = (uint32_t)idx,
                                  .lane_begin = task->lane,
                                  .lane_end = task->lane + 1};
    self->burst_bytes += leaf.payload->size_bytes;
    return leaf;
}

/* What answers a task when its gradient is given: its loss, or that it was dropped. */
static struct message make_end(struct stand_in *self)
{
    struct message end = self->task;
    self->task.kind = MSG_NONE;
    if (end.kind == MSG_LANE_DROPPED)
        return end;
    struct message done = {.kind = end.kind == MSG_TRAIN_LANE ? MSG_LANE_DONE : MSG_EVAL_DONE};
    done.lane = (struct lane_result){
        .step = end.task.step, .lane = end.task.lane, .sample_count = 1, .compute_us = SAID_US};
    return done;
}

static bool next(void *ctx, struct message *result_out)
{
    struct stand_in *self = ctx;
    bool is_pause = self->burst_bytes >= STAND_IN_BURST_BYTES;
    self->burst_bytes = is_pause ? 0 : self->burst_bytes;
    if (is_pause)
        return false;
    if (self->task.kind == MSG_NONE && self->count > 0)
        take_task(self);
    if (self->task.kind == MSG_NONE) {
        uint64_t seen;
        ssize_t got = read(self->event_fd, &seen, sizeof(seen));
        (void)got; /* EAGAIN: it was not set */
        return false;
    }
    *result_out = self->blocks_left > 0 ? make_leaf(self) : make_end(self);
    return true;
}

int stand_in_create(const struct layout *layout, struct buffer_pool *pool, struct times *times,
                    struct stand_in **stand_in_out)
{
    size_t count = (size_t)layout->weight_count;
    struct stand_in *self = calloc(1, sizeof(*self));
    if (self == NULL)
        return ERR_NOMEM;
    self->layout = layout;
    self->times = times;
    self->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int err = self->event_fd < 0 ? ERR_NOMEM : gradient_create(layout, pool, &self->gradient);
    if (err != 0) {
        stand_in_destroy(self);
        return err;
    }
    float *grad = gradient_begin(self->gradient);
    for (size_t i = 0; i < count; i++) /* plain numbers of both signs, none of them tiny */
        grad[i] = ((float)(i % 1021) - 510.25f) * 0x1p-12f;
    *stand_in_out = self;
    return 0;
}

void stand_in_destroy(struct stand_in *self)
{
    if (self == NULL)
        return;
    if (self->event_fd >= 0)
        close(self->event_fd);
    gradient_destroy(self->gradient);
    free(self);
}

struct computing stand_in_computing(struct stand_in *self)
{
    return (struct computing){.submit = submit, .next = next, .ctx = self, .fd = self->event_fd};
}
