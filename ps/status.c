#include "ps/status.h"

#include <inttypes.h>

void run_text(struct run_id run, char text_out[33])
{
    snprintf(text_out, 33, "%016" PRIx64 "%016" PRIx64, run.high, run.low);
}

/* Puts into an object and remembers a failure, so that a row reads as a list of its members. */
struct row {
    struct document *object;
    int err;
};

static void put(struct row *row, const char *key, struct document *value)
{
    int err = value == NULL ? ERR_NOMEM : document_put(row->object, key, value);
    if (row->err == 0)
        row->err = err;
}

static void put_whole(struct row *row, const char *key, uint64_t value)
{
    put(row, key, document_whole((int64_t)value));
}

static void put_real(struct row *row, const char *key, double value)
{
    put(row, key, document_real(value));
}

static void put_text(struct row *row, const char *key, const char *value)
{
    put(row, key, document_text(value));
}

static uint64_t silence_ms(const struct member *member, uint64_t now_ms)
{
    return now_ms > member->heard_ms ? now_ms - member->heard_ms : 0;
}

static uint64_t lanes_of(const struct coordinator *coordinator, const struct member *member)
{
    const struct view *view = coordinator_view(coordinator);
    uint64_t count = 0;
    for (size_t i = 0; view != NULL && i < view->lane_count; i++)
        count += view->workers[view->lane_worker[i]].incarnation == member->who.id;
    return count;
}

static struct row worker_row(const struct coordinator *coordinator, const struct member *member,
                             uint64_t now_ms)
{
    struct row row = {.object = document_object()};
    const struct beat *new = &member->beat, *old = &member->earlier;
    put_whole(&row, "rank", member->rank);
    put_whole(&row, "pid", member->hello.pid);
    put_text(&row, "host", member->hello.host);
    put_whole(&row, "lanes", lanes_of(coordinator, member));
    put_whole(&row, "threads", member->hello.thread_count);
    put_text(&row, "kernels", member->hello.kernels);
    put_whole(&row, "step", new->step);
    put_real(&row, "samples_per_s", member_rate(member, new->sample_count, old->sample_count));
    put_real(&row, "pushed_bytes_per_s", member_rate(member, new->bytes_out, old->bytes_out));
    put_real(&row, "pulled_bytes_per_s", member_rate(member, new->bytes_in, old->bytes_in));
    put_whole(&row, "rss_bytes", new->rss_bytes);
    put_whole(&row, "last_heard_ms", silence_ms(member, now_ms));
    return row;
}

/* The figures of all shards of one server process; false when there is none of that rank. */
static bool server_row(const struct coordinator *coordinator, uint32_t rank, uint64_t now_ms,
                       struct row *row)
{
    const struct members *members = coordinator_members(coordinator);
    const struct member *last = NULL;
    uint64_t shards = 0, blocks = 0, bytes = 0, heard_ms = 0, step = UINT64_MAX;
    double pushes = 0.0, in = 0.0, out = 0.0;
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->items[i];
        if (m->who.party != PARTY_SHARD || m->rank != rank)
            continue;
        last = m;
        shards++;
        blocks += m->beat.block_count;
        bytes += m->beat.held_bytes;
        if (m->beat.block_count > 0 && m->beat.step < step)
            step = m->beat.step;
        pushes += member_rate(m, m->beat.push_count, m->earlier.push_count);
        in += member_rate(m, m->beat.bytes_in, m->earlier.bytes_in);
        out += member_rate(m, m->beat.bytes_out, m->earlier.bytes_out);
        if (silence_ms(m, now_ms) > heard_ms)
            heard_ms = silence_ms(m, now_ms);
    }
    if (last == NULL)
        return false;
    *row = (struct row){.object = document_object()};
    put_whole(row, "rank", rank);
    put_whole(row, "pid", last->hello.pid);
    put_text(row, "host", last->hello.host);
    put_whole(row, "shards", shards);
    put_whole(row, "blocks", blocks);
    put_whole(row, "bytes", bytes);
    put_whole(row, "step", step == UINT64_MAX ? 0 : step);
    put_real(row, "pushes_per_s", pushes);
    put_real(row, "bytes_in_per_s", in);
    put_real(row, "bytes_out_per_s", out);
    put_whole(row, "rss_bytes", last->beat.rss_bytes);
    put_whole(row, "last_heard_ms", heard_ms);
    return true;
}

static void append(struct row *list, struct row *row)
{
    int err = document_append(list->object, row->object);
    if (row->err != 0)
        err = row->err;
    if (list->err == 0)
        list->err = err;
}

static const struct member *worker_of(const struct members *members, uint32_t rank)
{
    for (size_t i = 0; i < members->count; i++)
        if (members->items[i].who.party == PARTY_WORKER && members->items[i].rank == rank)
            return &members->items[i];
    return NULL;
}

static struct row workers_list(const struct coordinator *coordinator, uint32_t worker_count,
                               uint64_t now_ms)
{
    struct row list = {.object = document_array()};
    for (uint32_t rank = 0; rank < worker_count; rank++) {
        const struct member *member = worker_of(coordinator_members(coordinator), rank);
        if (member == NULL)
            continue;
        struct row row = worker_row(coordinator, member, now_ms);
        append(&list, &row);
    }
    return list;
}

static struct row servers_list(const struct coordinator *coordinator, uint32_t server_count,
                               uint64_t now_ms)
{
    struct row list = {.object = document_array()}, row;
    for (uint32_t rank = 0; rank < server_count; rank++)
        if (server_row(coordinator, rank, now_ms, &row))
            append(&list, &row);
    return list;
}

static void put_progress(struct row *row, const struct progress *progress)
{
    put_text(row, "phase", phase_text(progress->phase));
    put_whole(row, "step", progress->step);
    put_whole(row, "steps", progress->step_count);
    put_real(row, "epoch", progress->epoch_steps == 0 ? 0.0
                                                      : (double)progress->step /
                                                            (double)progress->epoch_steps);
    put_real(row, "epochs", progress->epoch_steps == 0 ? 0.0
                                                       : (double)progress->step_count /
                                                             (double)progress->epoch_steps);
    put_real(row, "loss", progress->loss);
    put_real(row, "test_loss", progress->test_loss);
    put_real(row, "test_accuracy", progress->test_accuracy);
    put_real(row, "samples_per_s", progress->samples_per_s);
    put_real(row, "left_s", progress->left_s);
    put_real(row, "wall_s", progress->wall_s);
    if (progress->error[0] != 0)
        put_text(row, "error", progress->error);
    if (progress->checkpoint[0] != 0)
        put_text(row, "checkpoint", progress->checkpoint);
}

static void put_waiting(struct row *row, const struct coordinator *coordinator,
                        const struct settings *settings)
{
    char text[400];
    if (coordinator_view(coordinator) != NULL)
        return;
    members_missing_text(coordinator_members(coordinator), settings, text, sizeof(text));
    put_text(row, "waiting_for", text);
}

struct document *status_document(const struct coordinator *coordinator,
                                 const struct status_process *process, uint64_t now_ms)
{
    struct row row = {.object = document_object()}, self = {.object = document_object()};
    struct progress progress;
    char run[33];
    coordinator_progress(coordinator, now_ms, &progress);
    run_text(process->run, run);
    put_text(&row, "job", process->settings->job.name);
    put_text(&row, "run_id", run);
    put_progress(&row, &progress);
    put_waiting(&row, coordinator, process->settings);
    put_whole(&self, "pid", process->pid);
    put_text(&self, "host", process->host);
    put_text(&self, "endpoint", process->endpoint);
    put(&row, "coordinator", self.object);
    struct row servers = servers_list(coordinator, process->settings->cluster.servers, now_ms);
    struct row workers = workers_list(coordinator, process->settings->cluster.workers, now_ms);
    put(&row, "servers", servers.object);
    put(&row, "workers", workers.object);
    if (row.err != 0 || self.err != 0 || servers.err != 0 || workers.err != 0) {
        document_destroy(row.object);
        return NULL;
    }
    return row.object;
}
