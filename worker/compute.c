#include "worker/compute.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "common/batching.h"
#include "worker/ahead.h"
#include "worker/gate.h"
#include "worker/lane_work.h"
#include "worker/message_queue.h"

struct lane_thread {
    struct compute *compute;
    pthread_t thread;
    bool is_running;
    struct lane_work *work;
    uint64_t seen_drops; /* of compute->drop_count, when its task was begun */
};

struct compute {
    struct compute_spec spec;
    struct batching batching;
    struct buffer_pool *own_pool; /* NULL when the pool was given */
    struct gate *gate;
    struct lane_source *source;
    struct ahead *ahead;
    int event_fd;
    pthread_mutex_t lock;
    pthread_cond_t has_task;
    bool is_ending;
    struct message_queue tasks, results; /* under lock, as is drop_count */
    uint64_t drop_count;
    size_t thread_count;
    struct lane_thread *threads;
};

static void wake_loop(struct compute *compute)
{
    uint64_t one = 1;
    ssize_t written = write(compute->event_fd, &one, sizeof(one));
    (void)written; /* fails only when the counter is full, and then it is readable anyway */
}

static bool give(void *ctx, const struct message *result)
{
    struct lane_thread *self = ctx;
    struct compute *compute = self->compute;
    pthread_mutex_lock(&compute->lock);
    int err = message_queue_put(&compute->results, result);
    pthread_mutex_unlock(&compute->lock);
    wake_loop(compute);
    return err == 0;
}

static bool is_dropped(void *ctx)
{
    struct lane_thread *self = ctx;
    struct compute *compute = self->compute;
    pthread_mutex_lock(&compute->lock);
    bool is_dropped = compute->is_ending || compute->drop_count != self->seen_drops;
    pthread_mutex_unlock(&compute->lock);
    return is_dropped;
}

/* Waits for a task; false at the end. */
static bool take_task(struct lane_thread *self, struct message *task_out)
{
    struct compute *compute = self->compute;
    pthread_mutex_lock(&compute->lock);
    while (compute->tasks.count == 0 && !compute->is_ending)
        pthread_cond_wait(&compute->has_task, &compute->lock);
    bool is_taken = !compute->is_ending && message_queue_take(&compute->tasks, task_out);
    self->seen_drops = compute->drop_count;
    pthread_mutex_unlock(&compute->lock);
    return is_taken;
}

static void *run_thread(void *arg)
{
    struct lane_thread *self = arg;
    struct message task;
    while (take_task(self, &task))
        if (!lane_work_do(self->work, &task))
            break;
    return NULL;
}

static int start_thread(struct compute *compute, struct lane_thread *self)
{
    struct lane_work_spec spec = {.settings = compute->spec.settings,
                                  .batching = &compute->batching,
                                  .graph = compute->spec.graph,
                                  .layout = compute->spec.layout,
                                  .source = compute->source,
                                  .ahead = compute->ahead,
                                  .pool = compute->spec.pool,
                                  .gate = compute->gate,
                                  .give = give,
                                  .is_dropped = is_dropped,
                                  .ctx = self};
    self->compute = compute;
    int err = lane_work_create(&spec, &self->work);
    if (err != 0)
        return err;
    if (pthread_create(&self->thread, NULL, run_thread, self) != 0)
        return ERR_NOMEM;
    self->is_running = true;
    return 0;
}

static int start_ahead(struct compute *compute, struct err_msg *why)
{
    const struct settings *settings = compute->spec.settings;
    struct lane_source_spec spec = {settings, &compute->batching, compute->spec.train,
                                    compute->spec.test};
    int err = lane_source_create(&spec, &compute->source, why);
    if (err != 0)
        return err;
    return ahead_create(&(struct ahead_spec){.source = compute->source,
                                             .read = lane_source_read,
                                             .ctx = compute->source,
                                             .worth_us = AHEAD_WORTH_US,
                                             .lane_count = settings->job.lanes,
                                             .thread_count = settings->worker.threads},
                        &compute->ahead);
}

/* Everything but the threads of lanes. */
static int make(struct compute *compute, struct err_msg *why)
{
    int err = compute->threads == NULL || compute->event_fd < 0 ? ERR_NOMEM : 0;
    if (err == 0 && compute->spec.pool == NULL)
        err = buffer_pool_create(0, &compute->own_pool);
    if (compute->spec.pool == NULL)
        compute->spec.pool = compute->own_pool;
    if (err == 0)
        err = gate_create(compute->spec.layout, &compute->gate);
    return err == 0 ? start_ahead(compute, why) : err;
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
    compute->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&compute->lock, NULL);
    pthread_cond_init(&compute->has_task, NULL);
    compute->threads = calloc(settings->worker.threads, sizeof(*compute->threads));
    int err = make(compute, why);
    while (err == 0 && compute->thread_count < settings->worker.threads)
        err = start_thread(compute, &compute->threads[compute->thread_count++]);
    if (err != 0) {
        if (err != ERR_INPUT)
            err_set(why, err, "cannot start %u compute threads for lanes of %u samples: %s",
                    settings->worker.threads, batching_lane_max(&compute->batching),
                    err_text(err));
        compute_destroy(compute);
        return err;
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
        lane_work_destroy(thread->work);
    }
    free(compute->threads);
    ahead_destroy(compute->ahead);
    lane_source_destroy(compute->source);
    gate_destroy(compute->gate);
    message_queue_clear(&compute->tasks);
    message_queue_clear(&compute->results);
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
    ahead_forget(compute->ahead);
    while (err == 0 && message_queue_take(&compute->tasks, &task)) {
        task.kind = MSG_LANE_DROPPED;
        err = message_queue_put(&compute->results, &task);
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
    struct batch_key first;
    if (lane_work_first(compute->source, task, &first))
        ahead_want(compute->ahead, &first);
    pthread_mutex_lock(&compute->lock);
    int err = message_queue_put(&compute->tasks, task);
    pthread_cond_signal(&compute->has_task);
    pthread_mutex_unlock(&compute->lock);
    return err;
}

bool compute_next(struct compute *compute, struct message *result_out)
{
    pthread_mutex_lock(&compute->lock);
    bool is_found = message_queue_take(&compute->results, result_out);
    if (!is_found) {
        uint64_t seen;
        ssize_t got = read(compute->event_fd, &seen, sizeof(seen));
        (void)got; /* EAGAIN: it was not set */
    }
    pthread_mutex_unlock(&compute->lock);
    return is_found;
}

size_t compute_activation_bytes(const struct compute *compute)
{
    size_t bytes = 0;
    for (size_t i = 0; i < compute->thread_count; i++)
        bytes += lane_work_activation_bytes(compute->threads[i].work);
    return bytes;
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
