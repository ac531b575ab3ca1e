#include "ps/status.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "common/rounds.h"

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

static void put_bool(struct row *row, const char *key, bool value)
{
    put(row, key, document_truth(value));
}

static void put_text(struct row *row, const char *key, const char *value)
{
    put(row, key, document_text(value));
}

static uint64_t silence_ms(const struct member *member, uint64_t now_ms)
{
    return now_ms > member->heard_ms ? now_ms - member->heard_ms : 0;
}

static uint64_t lanes_of(const struct view *view, const struct member *member)
{
    uint64_t count = 0;
    for (size_t i = 0; view != NULL && i < view->lane_count; i++) {
        uint32_t worker = view->lane_worker[i];
        count += worker != NOBODY && view->workers[worker].incarnation == member->who.id;
    }
    return count;
}

/* How many blocks a placement (NULL: none) gives to the shards of a server. */
static uint64_t blocks_of(const struct view *view, const uint32_t *placement, uint32_t rank)
{
    uint64_t count = 0;
    for (size_t i = 0; placement != NULL && i < view->block_count; i++)
        count += placement[i] != NOBODY && view->shards[placement[i]].rank == rank;
    return count;
}

static const char *worker_state(const struct member *member, uint64_t lane_count)
{
    if (member->state != MEMBER_HERE)
        return member_state_text(member);
    if (member->is_lagging)
        return "lagging";
    return lane_count > 0 ? "training" : "standing by";
}

static void append(struct row *list, struct row *row)
{
    int err = document_append(list->object, row->object);
    if (row->err != 0)
        err = row->err;
    if (list->err == 0)
        list->err = err;
}

/* "shm", or what the shard's endpoint begins with. */
static void transport_text(const struct shard_member *shard, bool is_shared, char text_out[16])
{
    int length = (int)strcspn(shard->endpoint, ":");
    if (is_shared)
        snprintf(text_out, 16, "shm");
    else
        snprintf(text_out, 16, "%.*s", length, shard->endpoint);
}

static bool shares_with(const struct beat *beat, size_t shard_idx)
{
    for (size_t i = 0; i < beat->shared_count; i++)
        if (beat->shared_shards[i] == shard_idx)
            return true;
    return false;
}

/* How the worker and each shard exchange payloads, by what it last said. */
static void put_links(struct row *row, const struct view *view, const struct member *member)
{
    struct row list = {.object = document_array()};
    for (size_t i = 0; view != NULL && i < view->shard_count; i++) {
        struct row link = {.object = document_object()};
        char transport[16];
        transport_text(&view->shards[i], shares_with(&member->beat, i), transport);
        put_whole(&link, "server", view->shards[i].rank);
        put_whole(&link, "shard", view->shards[i].shard_idx);
        put_text(&link, "transport", transport);
        append(&list, &link);
    }
    put(row, "links", list.object);
    if (row->err == 0)
        row->err = list.err;
}

/* Of one worker, or of all (NULL). */
static void put_waits(struct row *row, const struct coordinator *coordinator,
                      const struct member *worker)
{
    const struct members *members = coordinator_members(coordinator);
    struct member_waits waits = members_waits(members, worker);
    put_real(row, "exchange_hidden", members_hidden(members, worker));
    put_real(row, "waited_for_data", waits.data);
    put_real(row, "waited_for_exchange", waits.exchange);
}

static struct row worker_row(const struct coordinator *coordinator, const struct member *member,
                             uint64_t now_ms)
{
    struct row row = {.object = document_object()};
    const struct beat *new = &member->beat, *old = &member->earlier;
    uint64_t lane_count = lanes_of(coordinator_view(coordinator), member);
    put_whole(&row, "rank", member->rank);
    put_whole(&row, "pid", member->hello.pid);
    put_text(&row, "host", member->hello.host);
    put_text(&row, "state", worker_state(member, lane_count));
    put_bool(&row, "lagging", member->is_lagging);
    put_whole(&row, "lanes", lane_count);
    put_real(&row, "lane_ms", member->lane_ms > 0 ? member->lane_ms : NAN);
    put_whole(&row, "threads", member->hello.thread_count);
    put_text(&row, "kernels", member->hello.kernels);
    put_whole(&row, "step", new->step);
    put_real(&row, "samples_per_s", member_rate(member, new->sample_count, old->sample_count));
    put_real(&row, "pushed_bytes_per_s", member_rate(member, new->bytes_out, old->bytes_out));
    put_real(&row, "pulled_bytes_per_s", member_rate(member, new->bytes_in, old->bytes_in));
    put_whole(&row, "planned_bytes", member->hello.planned_bytes);
    put_waits(&row, coordinator, member);
    put_whole(&row, "rss_bytes", new->rss_bytes);
    put_whole(&row, "last_heard_ms", silence_ms(member, now_ms));
    put_links(&row, coordinator_view(coordinator), member);
    return row;
}

/* The figures of all shards of one server process. */
struct server_sum {
    const struct member *last; /* a shard of it; NULL: there is none of that rank */
    uint64_t shards, blocks, bytes, heard_ms, step;
    double pushes, in, out;
    bool is_leaving, is_lost;
};

static struct server_sum add_up(const struct members *members, uint32_t rank, uint64_t now_ms)
{
    struct server_sum sum = {.step = UINT64_MAX};
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->items[i];
        if (m->who.party != PARTY_SHARD || m->rank != rank)
            continue;
        sum.last = m;
        sum.shards++;
        sum.blocks += m->beat.block_count;
        sum.bytes += m->beat.held_bytes;
        if (m->beat.block_count > 0 && m->beat.step < sum.step)
            sum.step = m->beat.step;
        sum.pushes += member_rate(m, m->beat.push_count, m->earlier.push_count);
        sum.in += member_rate(m, m->beat.bytes_in, m->earlier.bytes_in);
        sum.out += member_rate(m, m->beat.bytes_out, m->earlier.bytes_out);
        if (silence_ms(m, now_ms) > sum.heard_ms)
            sum.heard_ms = silence_ms(m, now_ms);
        sum.is_leaving |= m->state == MEMBER_LEAVING;
        sum.is_lost |= m->state == MEMBER_GONE;
    }
    return sum;
}

static void put_blocks(struct row *row, const struct view *view, const struct server_sum *sum)
{
    uint32_t rank = sum->last->rank;
    uint64_t primary = blocks_of(view, view == NULL ? NULL : view->block_shard, rank);
    uint64_t backup = blocks_of(view, view == NULL ? NULL : view->block_backup, rank);
    uint64_t filling = blocks_of(view, view == NULL ? NULL : view->block_learner, rank);
    const char *state = primary + backup > 0 ? "serving" : filling > 0 ? "filling" : "standing by";
    if (sum->is_leaving)
        state = "leaving";
    put_text(row, "state", sum->is_lost ? "lost" : state);
    put_whole(row, "primary_blocks", primary);
    put_whole(row, "backup_blocks", backup);
    put_whole(row, "filling_blocks", filling);
}

/* Where each of its shards is reached. */
static void put_endpoints(struct row *row, const struct members *members, uint32_t rank)
{
    struct row list = {.object = document_array()};
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->items[i];
        struct row endpoint = {.object = NULL};
        if (m->who.party != PARTY_SHARD || m->rank != rank)
            continue;
        endpoint.object = document_text(m->hello.endpoint);
        append(&list, &endpoint);
    }
    put(row, "endpoints", list.object);
    if (row->err == 0)
        row->err = list.err;
}

/* False when there is no server of that rank. */
static bool server_row(const struct coordinator *coordinator, uint32_t rank, uint64_t now_ms,
                       struct row *row)
{
    struct server_sum sum = add_up(coordinator_members(coordinator), rank, now_ms);
    if (sum.last == NULL)
        return false;
    *row = (struct row){.object = document_object()};
    put_whole(row, "rank", rank);
    put_whole(row, "pid", sum.last->hello.pid);
    put_text(row, "host", sum.last->hello.host);
    put_whole(row, "shards", sum.shards);
    put_whole(row, "blocks", sum.blocks);
    put_blocks(row, coordinator_view(coordinator), &sum);
    put_whole(row, "bytes", sum.bytes);
    put_whole(row, "step", sum.step == UINT64_MAX ? 0 : sum.step);
    put_real(row, "pushes_per_s", sum.pushes);
    put_real(row, "bytes_in_per_s", sum.in);
    put_real(row, "bytes_out_per_s", sum.out);
    put_whole(row, "rss_bytes", sum.last->beat.rss_bytes);
    put_whole(row, "last_heard_ms", sum.heard_ms);
    put_endpoints(row, coordinator_members(coordinator), rank);
    return true;
}

static const struct member *worker_of(const struct members *members, uint32_t rank)
{
    for (size_t i = 0; i < members->count; i++)
        if (members->items[i].who.party == PARTY_WORKER && members->items[i].rank == rank)
            return &members->items[i];
    return NULL;
}

/* One more than the highest rank of anybody: some come on top of those that the job asks for. */
static uint32_t rank_end(const struct members *members)
{
    uint32_t end = 0;
    for (size_t i = 0; i < members->count; i++)
        if (members->items[i].rank >= end)
            end = members->items[i].rank + 1;
    return end;
}

static struct row workers_list(const struct coordinator *coordinator, uint64_t now_ms)
{
    struct row list = {.object = document_array()};
    const struct members *members = coordinator_members(coordinator);
    for (uint32_t rank = 0; rank < rank_end(members); rank++) {
        const struct member *member = worker_of(members, rank);
        if (member == NULL)
            continue;
        struct row row = worker_row(coordinator, member, now_ms);
        append(&list, &row);
    }
    return list;
}

static struct row servers_list(const struct coordinator *coordinator, uint64_t now_ms)
{
    struct row list = {.object = document_array()}, row;
    for (uint32_t rank = 0; rank < rank_end(coordinator_members(coordinator)); rank++)
        if (server_row(coordinator, rank, now_ms, &row))
            append(&list, &row);
    return list;
}

static void put_progress(struct row *row, const struct progress *progress, uint64_t round_steps)
{
    put_text(row, "phase", phase_text(progress->phase));
    put_whole(row, "step", progress->step);
    put_whole(row, "steps", progress->step_count);
    put_whole(row, "round_steps", round_steps);
    put_real(row, "epoch", progress->epoch);
    put_real(row, "epochs", progress->epoch_count);
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

/* How well it all holds. */
static void put_health(struct row *row, const struct progress *progress,
                       const struct settings *settings)
{
    put_whole(row, "view", progress->view);
    put_whole(row, "era", progress->era);
    put_whole(row, "replicas", settings->cluster.replicas);
    put_bool(row, "protected", progress->is_protected);
    if (progress->trouble[0] != 0)
        put_text(row, "trouble", progress->trouble);
    put_whole(row, "skipped_steps", progress->skipped_count);
    put_whole(row, "failed_checkpoints", progress->failed_checkpoint_count);
    if (!settings_has_clocks(settings))
        return;
    struct row counts = {.object = document_array()};
    for (size_t i = 0; i < BEAT_STALENESS; i++) {
        struct row count = {.object = document_whole((int64_t)progress->staleness_count[i])};
        append(&counts, &count);
    }
    put(row, "staleness", counts.object);
    if (row->err == 0)
        row->err = counts.err;
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

static void put_self(struct row *self, const struct status_process *process)
{
    char transport[32], message[32];
    transport_library(transport, sizeof(transport));
    message_library(message, sizeof(message));
    put_whole(self, "pid", process->pid);
    put_text(self, "host", process->host);
    put_text(self, "endpoint", process->endpoint);
    put_text(self, "version", TALWEG_VERSION);
    put_text(self, "zmq", transport);
    put_text(self, "protobuf", message);
}

/* Nothing without keys: whoever can reach the port may speak. */
static void put_keys(struct row *row, const struct keyring *ring)
{
    struct row keys = {.object = document_object()};
    char digest[DIGEST_HEX_BYTES] = "";
    if (ring == NULL) {
        document_destroy(keys.object);
        return;
    }
    keys.err = keyring_digest(ring, digest);
    put_whole(&keys, "allowed", keyring_allowed_count(ring));
    put_text(&keys, "digest", digest);
    put(row, "keys", keys.object);
    if (row->err == 0)
        row->err = keys.err;
}

/* 0 until the model is known. */
static uint64_t weight_count(const struct view *view)
{
    return view == NULL || view->layout == NULL ? 0 : view->layout->weight_count;
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
    if (process->note != NULL && process->note[0] != 0)
        put_text(&row, "note", process->note);
    put_progress(&row, &progress, rounds_steps(process->settings));
    put_health(&row, &progress, process->settings);
    put_waits(&row, coordinator, NULL);
    put_waiting(&row, coordinator, process->settings);
    if (process->transport != NULL)
        put_whole(&row, "refused_connections", transport_refused_count(process->transport));
    put_self(&self, process);
    put(&row, "coordinator", self.object);
    if (process->transport != NULL)
        put_keys(&row, transport_keys(process->transport));
    put_whole(&row, "now_ms", process->wall_ms);
    put_text(&row, "fingerprint", process->fingerprint);
    put_text(&row, "you", process->client);
    put_whole(&row, "weights", weight_count(coordinator_view(coordinator)));
    struct row servers = servers_list(coordinator, now_ms);
    struct row workers = workers_list(coordinator, now_ms);
    put(&row, "servers", servers.object);
    put(&row, "workers", workers.object);
    if (row.err != 0 || self.err != 0 || servers.err != 0 || workers.err != 0) {
        document_destroy(row.object);
        return NULL;
    }
    return row.object;
}
