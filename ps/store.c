#include "ps/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/checkpoint.h"
#include "common/log.h"
#include "ps/optimizer.h"

enum { DONE_MAX = 64, WAITING_MAX = 4096, TAG_BYTES = 17 };

static const size_t held_bytes_default = (size_t)256 << 20;

/* One checkpoint in the making. */
struct open_step {
    struct checkpoint_writer *writer; /* NULL: this place is free */
    uint64_t step;
    uint64_t heard_ms; /* when its newest block came */
};

/* A message that cannot be served yet. */
struct waiting {
    struct address from;
    struct message msg; /* with a reference on its payload */
};

struct store {
    struct store_spec spec;
    char *out_dir;
    char tag[TAG_BYTES];
    char fingerprint[SETTINGS_RESUME_BYTES];
    struct checkpoint_reader *resumed; /* NULL: the run starts anew */
    char resume_path[PATH_MAX];

    uint32_t view; /* 0: none yet */
    uint64_t step_count;
    struct layout *layout;
    uint64_t *shards; /* incarnations of the view's shards */
    size_t shard_count, part_count;

    struct open_step open[STORE_STEPS_MAX];
    uint64_t done[DONE_MAX]; /* steps that are over, well or not; a ring */
    size_t done_count;
    uint64_t newest; /* of the checkpoints written */

    struct buffer_pool *pool;
    struct waiting *waiting; /* [WAITING_MAX], a ring */
    size_t waiting_first, waiting_count, waiting_bytes;
    uint64_t now_ms, refused_count;
};

static const struct address coordinator_address = {PARTY_COORDINATOR, 0};

static struct message message_of(const struct store *store, enum message_kind kind)
{
    return (struct message){.kind = kind,
                            .run = store->spec.run,
                            .sender = store->spec.incarnation,
                            .view = store->view};
}

static void refuse(struct store *store, struct address to, int code, const char *text,
                   struct outbox *out)
{
    store->refused_count++;
    struct message no = message_of(store, MSG_REFUSED);
    no.outcome.code = code;
    snprintf(no.outcome.text, sizeof(no.outcome.text), "%.511s", text);
    outbox_put(out, to, &no);
}

static void log_sentence(enum log_level level, const char *event, uint64_t step, const char *text)
{
    char quoted[1200];
    log_event(level, event, "step=%" PRIu64 " why=%s", step,
              log_quote(quoted, sizeof(quoted), text));
}

/* Tells the coordinator how a step's checkpoint ended: a path, or code and sentence. */
static void report(struct store *store, uint64_t step, int code, const char *text,
                   struct outbox *out)
{
    store->done[store->done_count++ % DONE_MAX] = step;
    struct message done = message_of(store, MSG_CHECKPOINT_DONE);
    done.outcome.code = code;
    done.outcome.step = step;
    snprintf(done.outcome.text, sizeof(done.outcome.text), "%.511s", text);
    outbox_put(out, coordinator_address, &done);
}

static bool is_done(const struct store *store, uint64_t step)
{
    for (size_t i = 0; i < store->done_count && i < DONE_MAX; i++)
        if (store->done[i] == step)
            return true;
    return false;
}

static struct open_step *open_of(struct store *store, uint64_t step)
{
    for (size_t i = 0; i < STORE_STEPS_MAX; i++)
        if (store->open[i].writer != NULL && store->open[i].step == step)
            return &store->open[i];
    return NULL;
}

static void give_up(struct store *store, struct open_step *open, int code, const char *text,
                    struct outbox *out)
{
    checkpoint_abandon(open->writer);
    open->writer = NULL;
    log_sentence(LOG_ERROR, "checkpoint_failed", open->step, text);
    report(store, open->step, code, text, out);
}

static int begin(struct store *store, uint64_t step, struct checkpoint_writer **writer_out,
                 struct err_msg *why)
{
    const struct settings *settings = store->spec.settings;
    enum optimizer_kind kind = settings->optimizer.kind;
    struct checkpoint_spec spec = {
        .out_dir = store->out_dir,
        .tag = store->tag,
        .layout = store->layout,
        .file_bytes = settings->checkpoint.file_bytes,
        .info = {.step = step, .state_count = optimizer_state_count(kind)}};
    struct checkpoint_info *info = &spec.info;
    snprintf(info->run_id, sizeof(info->run_id), "%016" PRIx64 "%016" PRIx64, store->spec.run.high,
             store->spec.run.low);
    snprintf(info->fingerprint, sizeof(info->fingerprint), "%s", store->fingerprint);
    snprintf(info->optimizer, sizeof(info->optimizer), "%s", optimizer_kind_text(kind));
    for (size_t i = 0; i < info->state_count; i++)
        snprintf(info->states[i], sizeof(info->states[i]), "%s", optimizer_state_name(kind, i));
    return checkpoint_begin(&spec, writer_out, why);
}

/* The step's open checkpoint, begun if need be; NULL when that failed, which has been reported. */
static struct open_step *open_step(struct store *store, uint64_t step, struct outbox *out)
{
    struct open_step *open = open_of(store, step);
    struct err_msg why;
    for (size_t i = 0; i < STORE_STEPS_MAX && open == NULL; i++)
        if (store->open[i].writer == NULL)
            open = &store->open[i];
    if (open != NULL && open->writer != NULL)
        return open;
    int err;
    if (open == NULL)
        err = err_set(&why, ERR_FULL, "%d other checkpoints are not whole yet", STORE_STEPS_MAX);
    else
        err = begin(store, step, &open->writer, &why);
    if (err == 0) {
        open->step = step;
        return open;
    }
    log_sentence(LOG_ERROR, "checkpoint_failed", step, why.text);
    report(store, step, err, why.text, out);
    return NULL;
}

/* All blocks are there. */
static void commit(struct store *store, struct open_step *open, struct outbox *out)
{
    char path[PATH_MAX];
    struct err_msg why;
    struct checkpoint_writer *writer = open->writer;
    open->writer = NULL;
    int err = checkpoint_commit(writer, path, &why);
    if (err != 0) {
        log_sentence(LOG_ERROR, "checkpoint_failed", open->step, why.text);
        report(store, open->step, err, why.text, out);
        return;
    }
    store->newest = open->step > store->newest ? open->step : store->newest;
    log_event(LOG_INFO, "checkpoint", "step=%" PRIu64, open->step);
    report(store, open->step, 0, path, out);
    if (checkpoint_prune(store->out_dir, open->step, store->spec.settings->checkpoint.keep, &why))
        log_sentence(LOG_WARN, "checkpoint_prune", open->step, why.text);
}

static size_t block_state_bytes(const struct store *store, uint32_t block)
{
    const struct range *range = &store->layout->blocks[block].range;
    return (size_t)(range->end - range->begin) * sizeof(float) * store->part_count;
}

static bool is_member(const struct store *store, struct address from)
{
    for (size_t i = 0; from.party == PARTY_SHARD && i < store->shard_count; i++)
        if (store->shards[i] == from.id)
            return true;
    return false;
}

static void keep(struct store *store, const struct message *msg, struct outbox *out)
{
    struct open_step *open = open_step(store, msg->key.step, out);
    struct err_msg why;
    if (open == NULL)
        return;
    open->heard_ms = store->now_ms;
    int err = checkpoint_put(open->writer, msg->key.block, msg->payload->data, &why);
    if (err != 0)
        give_up(store, open, err, why.text, out);
    else if (checkpoint_missing(open->writer, NULL) == 0)
        commit(store, open, out);
}

static void take_state(struct store *store, struct address from, const struct message *msg,
                       struct outbox *out)
{
    char text[256];
    size_t expected = block_state_bytes(store, msg->key.block);
    if (msg->key.step > store->step_count || msg->payload == NULL ||
        msg->payload->size_bytes != expected) {
        snprintf(text, sizeof(text),
                 "state of block %" PRIu32 " at step %" PRIu64
                 " has %zu bytes; expected %zu, and a step up to %" PRIu64,
                 msg->key.block, msg->key.step, msg->payload == NULL ? 0 : msg->payload->size_bytes,
                 expected, store->step_count);
        refuse(store, from, ERR_PROTO, text, out);
        return;
    }
    struct message kept = message_of(store, MSG_BLOCK_KEPT);
    kept.key = (struct block_key){.step = msg->key.step, .block = msg->key.block};
    if (!is_done(store, msg->key.step))
        keep(store, msg, out);
    outbox_put(out, from, &kept);
}

/* False when there is no room now. */
static bool take_fetch(struct store *store, struct address from, const struct message *msg,
                       struct outbox *out)
{
    struct err_msg why;
    if (store->resumed == NULL || msg->key.step != checkpoint_info(store->resumed)->step) {
        err_set(&why, ERR_NOT_FOUND, "block %" PRIu32 " of step %" PRIu64 " is not in the store",
                msg->key.block, msg->key.step);
        refuse(store, from, ERR_NOT_FOUND, why.text, out);
        return true;
    }
    struct message state = message_of(store, MSG_BLOCK_STATE);
    state.key = (struct block_key){.step = msg->key.step, .block = msg->key.block};
    state.payload = buffer_pool_take(store->pool, block_state_bytes(store, msg->key.block));
    if (state.payload == NULL)
        return false;
    int err = checkpoint_read(store->resumed, store->layout, msg->key.block, store->part_count,
                              state.payload->data, &why);
    if (err != 0)
        refuse(store, from, err, why.text, out);
    else
        outbox_put(out, from, &state);
    buffer_unref(state.payload);
    return true;
}

/* A message of a shard.  False when it has to wait. */
static bool serve(struct store *store, struct address from, const struct message *msg,
                  struct outbox *out)
{
    if (store->view == 0)
        return false;
    if (!is_member(store, from)) {
        refuse(store, from, ERR_REFUSED, "this shard is not in the store's view of the run", out);
        return true;
    }
    if (msg->key.block >= store->layout->block_count) {
        refuse(store, from, ERR_PROTO, "there is no block of that number", out);
        return true;
    }
    if (msg->kind == MSG_BLOCK_FETCH)
        return take_fetch(store, from, msg, out);
    take_state(store, from, msg, out);
    return true;
}

/* Past the ceiling the message is dropped: a fetch is asked for again, and a state cannot come
 * before the view unless its sender is at fault. */
static void put_off(struct store *store, struct address from, const struct message *msg)
{
    size_t bytes = msg->payload == NULL ? 0 : msg->payload->size_bytes;
    if (store->waiting_count == WAITING_MAX ||
        bytes > store->spec.held_bytes - store->waiting_bytes) {
        store->refused_count++;
        return;
    }
    size_t at = (store->waiting_first + store->waiting_count++) % WAITING_MAX;
    store->waiting[at] = (struct waiting){.from = from, .msg = *msg};
    store->waiting_bytes += bytes;
    if (msg->payload != NULL)
        buffer_ref(msg->payload);
}

static void drop_first(struct store *store)
{
    struct buffer *payload = store->waiting[store->waiting_first].msg.payload;
    store->waiting_bytes -= payload == NULL ? 0 : payload->size_bytes;
    buffer_unref(payload);
    store->waiting_first = (store->waiting_first + 1) % WAITING_MAX;
    store->waiting_count--;
}

static void serve_waiting(struct store *store, struct outbox *out)
{
    while (store->waiting_count > 0) {
        const struct waiting *first = &store->waiting[store->waiting_first];
        if (!serve(store, first->from, &first->msg, out))
            return;
        drop_first(store);
    }
}

static int copy_members(struct store *store, const struct view *view)
{
    uint64_t *shards = calloc(view->shard_count + 1, sizeof(*shards));
    if (shards == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < view->shard_count; i++)
        shards[i] = view->shards[i].incarnation;
    free(store->shards);
    store->shards = shards;
    store->shard_count = view->shard_count;
    return 0;
}

static int adopt(struct store *store, const struct view *view, struct err_msg *why)
{
    int err = copy_members(store, view);
    if (err != 0)
        return err_set(why, err, "no memory for the view");
    if (store->layout != NULL)
        return 0;
    if (view->layout == NULL)
        return err_set(why, ERR_PROTO, "a view without a layout");
    err = layout_create(view->layout->tensors, view->layout->tensor_count,
                        view->layout->block_bytes, &store->layout, why);
    if (err == 0 && store->resumed != NULL)
        err = checkpoint_check(store->resumed, store->layout, store->fingerprint, why);
    if (err == 0)
        return 0;
    layout_destroy(store->layout);
    store->layout = NULL;
    return err;
}

static void take_view(struct store *store, struct address from, const struct message *msg,
                      struct outbox *out)
{
    struct err_msg why;
    if (msg->view_body.number <= store->view)
        return; /* sent twice, or overtaken */
    int err = adopt(store, &msg->view_body, &why);
    if (err != 0) {
        refuse(store, from, err, why.text, out);
        return;
    }
    store->view = msg->view_body.number;
    store->step_count = msg->view_body.step_count;
}

static void take(struct store *store, struct address from, const struct message *msg,
                 struct outbox *out)
{
    if (!run_equal(msg->run, store->spec.run)) {
        refuse(store, from, ERR_REFUSED, "this store serves another run", out);
        return;
    }
    if (from.party == PARTY_COORDINATOR && msg->kind == MSG_VIEW) {
        take_view(store, from, msg, out);
        return;
    }
    bool is_for_us = msg->kind == MSG_BLOCK_STATE || msg->kind == MSG_BLOCK_FETCH;
    if (from.party != PARTY_SHARD || !is_for_us) {
        store->refused_count++;
        return;
    }
    if (!serve(store, from, msg, out))
        put_off(store, from, msg);
}

/* A step whose blocks have stopped coming never gets whole.  When a later one has, nobody waits
 * for it: the shards were past it when it was asked for. */
static void check_deadlines(struct store *store, struct outbox *out)
{
    double limit_s = store->spec.settings->cluster.answer_s;
    for (size_t i = 0; i < STORE_STEPS_MAX; i++) {
        struct open_step *open = &store->open[i];
        if (open->writer == NULL || (double)(store->now_ms - open->heard_ms) < limit_s * 1000.0)
            continue;
        size_t first, missing = checkpoint_missing(open->writer, &first);
        char text[200];
        snprintf(text, sizeof(text),
                 "%zu of %zu blocks have not come, the first is block %zu, and none in the last "
                 "%.0f s (cluster.answer_s)",
                 missing, store->layout->block_count, first, limit_s);
        if (open->step >= store->newest) {
            give_up(store, open, ERR_TIMEOUT, text, out);
            continue;
        }
        log_sentence(LOG_INFO, "checkpoint_passed_over", open->step, text);
        checkpoint_abandon(open->writer);
        open->writer = NULL;
        store->done[store->done_count++ % DONE_MAX] = open->step;
    }
}

void store_step(struct store *store, uint64_t now_ms, struct address from,
                const struct message *msg, struct outbox *out)
{
    store->now_ms = now_ms;
    if (msg != NULL)
        take(store, from, msg, out);
    serve_waiting(store, out);
    check_deadlines(store, out);
}

static int prepare_folder(const char *out_dir, struct err_msg *why)
{
    struct stat status;
    if (mkdir(out_dir, 0777) != 0 && errno != EEXIST)
        return err_set(why, ERR_IO, "%s: cannot make the folder: %s", out_dir, strerror(errno));
    if (stat(out_dir, &status) != 0 || !S_ISDIR(status.st_mode))
        return err_set(why, ERR_IO, "%s: is not a folder", out_dir);
    if (faccessat(AT_FDCWD, out_dir, R_OK | W_OK | X_OK, AT_EACCESS) != 0)
        return err_set(why, ERR_IO, "%s: checkpoints cannot be written there: %s", out_dir,
                       strerror(errno));
    return 0;
}

static int open_resumed(struct store *store, const char *dir, struct err_msg *why)
{
    int err = checkpoint_latest(dir, store->resume_path, why);
    if (err == 0)
        err = checkpoint_open(store->resume_path, &store->resumed, why);
    return err != 0 ? err : checkpoint_check_settings(store->resumed, store->fingerprint, why);
}

static int prepare(struct store *store, struct err_msg *why)
{
    const struct store_spec *spec = &store->spec;
    store->out_dir = strdup(spec->out_dir);
    store->waiting = calloc(WAITING_MAX, sizeof(*store->waiting));
    if (store->out_dir == NULL || store->waiting == NULL ||
        buffer_pool_create(spec->held_bytes, &store->pool) != 0 ||
        settings_resume_fingerprint(spec->settings, store->fingerprint) != 0)
        return err_set(why, ERR_NOMEM, "no memory for the store of checkpoints");
    int err = prepare_folder(store->out_dir, why);
    if (err == 0)
        err = checkpoint_sweep(store->out_dir, store->tag, why);
    if (err == 0 && spec->resume_dir != NULL && spec->resume_dir[0] != 0)
        err = open_resumed(store, spec->resume_dir, why);
    return err;
}

int store_create(const struct store_spec *spec, struct store **store_out, struct err_msg *why)
{
    struct store *store = calloc(1, sizeof(*store));
    if (store == NULL)
        return err_set(why, ERR_NOMEM, "no memory for the store of checkpoints");
    store->spec = *spec;
    if (spec->held_bytes == 0)
        store->spec.held_bytes = held_bytes_default;
    store->part_count = 1 + optimizer_state_count(spec->settings->optimizer.kind);
    snprintf(store->tag, sizeof(store->tag), "%016" PRIx64, spec->incarnation);
    int err = prepare(store, why);
    if (err != 0) {
        store_destroy(store);
        return err;
    }
    *store_out = store;
    return 0;
}

void store_destroy(struct store *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < STORE_STEPS_MAX; i++)
        checkpoint_abandon(store->open[i].writer);
    while (store->waiting_count > 0)
        drop_first(store);
    free(store->waiting);
    buffer_pool_destroy(store->pool);
    checkpoint_close(store->resumed);
    layout_destroy(store->layout);
    free(store->shards);
    free(store->out_dir);
    free(store);
}

uint64_t store_resume_step(const struct store *store)
{
    return store->resumed == NULL ? 0 : checkpoint_info(store->resumed)->step;
}

const char *store_resume_path(const struct store *store)
{
    return store->resume_path;
}

bool store_is_waiting(const struct store *store)
{
    for (size_t i = 0; i < STORE_STEPS_MAX; i++)
        if (store->open[i].writer != NULL)
            return true;
    return store->waiting_count > 0;
}

uint64_t store_refused_count(const struct store *store)
{
    return store->refused_count;
}
