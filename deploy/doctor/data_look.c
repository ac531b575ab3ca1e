#include "deploy/doctor/data_look.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "worker/data/dataset.h"
#include "worker/lane_batch.h"
#include "worker/nn/graph.h"

/* What the child makes, and never frees: it ends. */
struct finds {
    struct dataset *train, *test;
    struct graph *graph;
    struct graph_run *run;
    struct layout *layout;
};

/* The first sample of a part decodes to finite numbers. */
static int read_first(const struct dataset *dataset, struct err_msg *why)
{
    const struct dataset_info *info = dataset_info(dataset);
    uint64_t first = 0;
    float *inputs = calloc(info->input_count, sizeof(*inputs));
    float *labels = calloc(info->label_count, sizeof(*labels));
    int err = ERR_NOMEM;
    if (inputs && labels)
        err = dataset_read(dataset, &first, 1, inputs, labels, why);
    else
        err_set(why, err, "%s", err_text(err));
    free(inputs);
    free(labels);
    return err;
}

static int open_data(const struct settings *settings, struct finds *finds, struct err_msg *why)
{
    int err = dataset_open(settings, DATASET_TRAIN, &finds->train, why);
    if (err == 0)
        err = read_first(finds->train, why);
    if (err == 0)
        err = lane_batch_check(settings, dataset_info(finds->train), why);
    if (err == 0)
        err = dataset_open_test(settings, finds->train, &finds->test, why);
    if (err == ERR_NOT_FOUND)
        return 0;
    return err == 0 ? read_first(finds->test, why) : err;
}

static int plan(const struct settings *settings, struct finds *finds, struct err_msg *why)
{
    const struct dataset_info *info = dataset_info(finds->train);
    struct graph_input input = {.dims = info->dims,
                                .label_count = info->label_count,
                                .class_count = info->class_count,
                                .token_count = info->token_count};
    uint32_t lane_batch = (settings->job.batch + settings->job.lanes - 1) / settings->job.lanes;
    memcpy(input.shape, info->shape, sizeof(input.shape));
    int err = graph_create(&settings->model, &input, &finds->graph, why);
    if (err == 0)
        err = layout_create(graph_tensors(finds->graph), graph_tensor_count(finds->graph),
                            settings->exchange.block_bytes, &finds->layout, why);
    if (err != 0)
        return err;
    err = graph_run_create(finds->graph, lane_batch, &finds->run);
    return err == 0 ? 0 : err_set(why, err, "a lane of %u samples: %s", lane_batch, err_text(err));
}

static void look_at(const struct settings *settings, struct data_look *look)
{
    struct finds finds = {0};
    struct err_msg why = {0};
    uint64_t begin_ms = clock_now_ms();
    int err = open_data(settings, &finds, &why);
    look->state = err == 0 ? DATA_GOOD : DATA_BAD;
    if (err == 0) {
        const struct dataset_info *info = dataset_info(finds.train);
        look->train_count = info->count;
        look->test_count = finds.test ? dataset_info(finds.test)->count : 0;
        look->input_count = info->input_count;
        look->label_count = info->label_count;
        why = (struct err_msg){0};
        err = plan(settings, &finds, &why);
        look->is_model = err != 0;
        look->state = err == 0 ? DATA_GOOD : DATA_BAD;
    }
    if (err == 0) {
        look->weight_count = finds.layout->weight_count;
        look->block_count = finds.layout->block_count;
        look->run_bytes = graph_run_bytes(finds.run);
    }
    snprintf(look->why, sizeof(look->why), "%s", why.text);
    look->took_ms = clock_now_ms() - begin_ms;
}

void data_look_begin(struct data_look *look, const struct settings *settings)
{
    int ends[2];
    *look = (struct data_look){.state = DATA_BROKEN, .fd = -1};
    if (pipe(ends) != 0) {
        snprintf(look->why, sizeof(look->why), "no pipe: %s", strerror(errno));
        return;
    }
    look->pid = fork();
    if (look->pid == 0) {
        struct data_look found = {0};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_DFL);
        look_at(settings, &found);
        /* A struct is less than a pipe holds, so this does not block. */
        _exit(write(ends[1], &found, sizeof(found)) == (ssize_t)sizeof(found) ? 0 : 1);
    }
    close(ends[1]);
    look->fd = ends[0];
    if (look->pid > 0)
        return;
    snprintf(look->why, sizeof(look->why), "no process: %s", strerror(errno));
    close(look->fd);
    look->pid = 0;
}

/* Waits for what the child writes in one piece, or for its end. */
static enum data_state hear(struct data_look *look, unsigned timeout_ms)
{
    struct data_look found;
    struct pollfd item = {.fd = look->fd, .events = POLLIN};
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    int ready;
    do {
        uint64_t now_ms = clock_now_ms();
        ready = poll(&item, 1, now_ms < end_ms ? (int)(end_ms - now_ms) : 0);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return DATA_SLOW;
    if (read(look->fd, &found, sizeof(found)) != (ssize_t)sizeof(found))
        return DATA_BROKEN;
    found.pid = look->pid;
    found.fd = look->fd;
    *look = found;
    return look->state;
}

void data_look_end(struct data_look *look, unsigned timeout_ms)
{
    int status = 0;
    if (look->pid <= 0)
        return;
    look->state = hear(look, timeout_ms);
    if (look->state == DATA_SLOW)
        kill(look->pid, SIGKILL);
    while (waitpid(look->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (look->state == DATA_BROKEN)
        snprintf(look->why, sizeof(look->why), "%s",
                 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it ended without a word");
    close(look->fd);
    look->pid = 0;
}
