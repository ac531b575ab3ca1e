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
#include "common/log.h"
#include "common/path.h"
#include "common/optimizer.h"
#include "common/rounds.h"
#include "ps/resume.h"

enum { DONE_MAX = 64, WAITING_MAX = 4096, TAG_BYTES = 17 };

enum { AGAIN_MS = 1000, PRUNE_MS = 1000 };

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
    struct checkpoint_reader *source; /* what the era begins at; NULL: not from a checkpoint */
    struct resume resume;

    uint32_t view, era; /* 0: none yet */
    uint64_t step_count;
    struct layout *layout;
    uint64_t *shards; /* incarnations of the view's shards */
    size_t shard_count, part_count;

    struct open_step open[STORE_STEPS_MAX];
    uint64_t done[DONE_MAX]; /* steps that are over, well or not; a ring */
    size_t done_count;
    uint64_t newest;   /* of the checkpoints written in this era */
    uint64_t again_ms; /* when the last step of the job may be tried again */
    uint64_t prune_step, prune_ms; /* what makes older ones needless, and since when; 0: none */

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
                            .view = store->view,
                            .era = store->era};
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
static void report(const struct store *store, uint64_t step, int code, const char *text,
                   struct outbox *out)
{
    struct message done = message_of(store, MSG_CHECKPOINT_DONE);
    done.outcome.code = code;
    done.outcome.step = step;
    snprintf(done.outcome.text, sizeof(done.outcome.text), "%.511s", text);
    outbox_put(out, coordinator_address, &done);
}

static void mark_done(struct store *store, uint64_t step)
{
    store->done[store->done_count++ % DONE_MAX] = step;
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

static void drop(struct open_step *open)
{
    checkpoint_abandon(open->writer);
    open->writer = NULL;
}

/* No later step makes up for the last one. */
static bool is_last(const struct store *store, uint64_t step)
{
    return step == store->step_count;
}

/* The step cannot be written.  Other steps are over then; the last one keeps what it has. */
static void fail(struct store *store, uint64_t step, int code, const char *text,
                 struct outbox *out)
{
    struct open_step *open = open_of(store, step);
    log_sentence(LOG_ERROR, "checkpoint_failed", step, text);
    report(store, step, code, text, out);
    if (is_last(store, step)) {
        store->again_ms = store->now_ms + AGAIN_MS;
        return;
    }
    mark_done(store, step);
    if (open != NULL)
        drop(open);
}

static int begin(struct store *store, uint64_t step, struct checkpoint_writer **writer_out,
                 struct err_msg *why)
{
    const struct settings *settings = store->spec.settings;
    enum optimizer_kind kind = rounds_server_settings(settings).optimizer.kind;
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

/* The lowest step makes room for a later one; the last one never does. */
static struct open_step *make_room(struct store *store, uint64_t step, struct outbox *out)
{
    struct open_step *lowest = &store->open[0];
    for (size_t i = 1; i < STORE_STEPS_MAX; i++)
        if (store->open[i].step < lowest->step)
            lowest = &store->open[i];
    if (lowest->step >= step || is_last(store, lowest->step))
        return NULL;
    fail(store, lowest->step, ERR_FULL, "not whole yet, and later ones need the place", out);
    return lowest;
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
    if (open == NULL)
        open = make_room(store, step, out);
    int err;
    if (open == NULL)
        err = err_set(&why, ERR_FULL, "%d other checkpoints are not whole yet", STORE_STEPS_MAX);
    else
        err = begin(store, step, &open->writer, &why);
    if (err == 0) {
        open->step = step;
        return open;
    }
    fail(store, step, err, why.text, out);
    return NULL;
}

/* All blocks are there. */
static int commit(struct store *store, struct open_step *open, struct outbox *out,
                  struct err_msg *why)
{
    char path[PATH_MAX];
    int err = checkpoint_commit(open->writer, path, why);
    if (err != 0)
        return err;
    open->writer = NULL;
    mark_done(store, open->step);
    store->newest = open->step > store->newest ? open->step : store->newest;
    log_event(LOG_INFO, "checkpoint", "step=%" PRIu64, open->step);
    report(store, open->step, 0, path, out);
    if (store->prune_step == 0) {
        store->prune_step = open->step;
        store->prune_ms = 0; /* writing it took its time: the clock begins afterwards */
    }
    return 0;
}

/* Removes what the checkpoint of this step has made needless. */
static void prune(const struct store *store, uint64_t step)
{
    struct err_msg why;
    size_t keep = store->spec.settings->checkpoint.keep;
    if (checkpoint_prune(store->out_dir, step, keep, &why) != 0)
        log_sentence(LOG_WARN, "checkpoint_prune", step, why.text);
}

/* Not at once: an era that begins at an older one may be on its way here from a coordinator that
 * has not heard yet of the new one.  A reader that is open reads on in what is removed. */
static void prune_later(struct store *store)
{
    if (store->prune_ms == 0)
        store->prune_ms = store->now_ms;
    if (store->prune_step == 0 || store->now_ms - store->prune_ms < PRUNE_MS)
        return;
    prune(store, store->prune_step);
    store->prune_step = store->newest > store->prune_step ? store->newest : 0;
    store->prune_ms = store->now_ms;
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

/* True when the shard need not hold it any more. */
static bool keep(struct store *store, const struct message *msg, struct outbox *out)
{
    struct err_msg why;
    uint64_t step = msg->key.step;
    if (is_done(store, step))
        return true;
    if (is_last(store, step) && store->now_ms < store->again_ms)
        return false;
    struct open_step *open = open_step(store, step, out);
    if (open == NULL)
        return !is_last(store, step);
    open->heard_ms = store->now_ms;
    int err = checkpoint_put(open->writer, msg->key.block, msg->payload->data, &why);
    if (err == 0 && checkpoint_missing(open->writer, NULL) == 0)
        err = commit(store, open, out, &why);
    if (err == 0)
        return true;
    fail(store, step, err, why.text, out);
    return !is_last(store, step);
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
    if (keep(store, msg, out))
        outbox_put(out, from, &kept);
}

/* False when there is no room now. */
static bool take_fetch(struct store *store, struct address from, const struct message *msg,
                       struct outbox *out)
{
    struct err_msg why;
    if (store->source == NULL || msg->key.step != checkpoint_info(store->source)->step) {
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
    int err = checkpoint_read(store->source, store->layout, msg->key.block, store->part_count,
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
    /* Of weights that were taken back, or ahead of the view that tells of it; or of a shard that is
     * in no view, or not yet in this one again: who still wants it asks again. */
    if (msg->era != store->era || !is_member(store, from)) {
        store->refused_count++;
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

/* Opens the checkpoint of a step that an era of this run begins at. */
static int open_source(struct store *store, uint64_t step, struct err_msg *why)
{
    char path[PATH_MAX], name[64];
    struct checkpoint_reader *reader;
    if (store->source != NULL && checkpoint_info(store->source)->step == step)
        return 0;
    snprintf(name, sizeof(name), "checkpoint-%" PRIu64, step);
    int err = path_join(path, store->out_dir, name, why);
    if (err == 0)
        err = checkpoint_open(step == store->resume.step ? store->resume.path : path, &reader, why);
    if (err == 0) {
        checkpoint_close(store->source);
        store->source = reader;
    }
    /* A run that is taken up again with a later checkpoint is past it, almost surely. */
    return store->era == 0 && step < store->resume.step ? 0 : err;
}

static int check_layout(struct store *store, const struct view *view, struct err_msg *why)
{
    int err = 0;
    if (store->layout == NULL && view->layout == NULL)
        return err_set(why, ERR_PROTO, "a view without a layout");
    if (store->layout == NULL)
        err = layout_create(view->layout->tensors, view->layout->tensor_count,
                            view->layout->block_bytes, &store->layout, why);
    if (err == 0 && store->source != NULL)
        err = checkpoint_check(store->source, store->layout, store->fingerprint, why);
    return err;
}

/* All that is in the making is of weights that were taken back; the steps come again. */
static void begin_era(struct store *store, const struct view *view)
{
    size_t kept = 0, count = store->done_count < DONE_MAX ? store->done_count : DONE_MAX;
    for (size_t i = 0; i < STORE_STEPS_MAX; i++)
        drop(&store->open[i]);
    for (size_t i = 0; i < count; i++)
        if (store->done[i] <= view->start_step)
            store->done[kept++] = store->done[i];
    store->done_count = kept;
    store->newest = view->start_step;
    store->again_ms = 0;
    store->era = view->era;
}

static int adopt(struct store *store, const struct view *view, struct err_msg *why)
{
    int err = 0;
    if (view->era != store->era && view->is_restored)
        err = open_source(store, view->start_step, why);
    if (err == 0)
        err = check_layout(store, view, why);
    if (err == 0 && copy_members(store, view) != 0)
        err = err_set(why, ERR_NOMEM, "no memory for the view");
    if (err == 0 && view->era != store->era)
        begin_era(store, view);
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

/* A step that does not get whole is passed over.  When a later one is, nobody needs to know: the
 * shards were past it when it was asked for. */
static void pass_over(struct store *store, struct open_step *open, double limit_s,
                      struct outbox *out)
{
    char text[200];
    size_t first, missing = checkpoint_missing(open->writer, &first);
    snprintf(text, sizeof(text),
             "%zu of %zu blocks have not come, the first is block %zu, and none in the last %.0f s "
             "(cluster.answer_s)",
             missing, store->layout->block_count, first, limit_s);
    bool is_needed = open->step >= store->newest;
    log_sentence(is_needed ? LOG_WARN : LOG_INFO, "checkpoint_passed_over", open->step, text);
    if (is_needed)
        report(store, open->step, ERR_TIMEOUT, text, out);
    open->heard_ms = store->now_ms;
    if (is_last(store, open->step))
        return;
    mark_done(store, open->step);
    drop(open);
}

static void check_deadlines(struct store *store, struct outbox *out)
{
    double limit_s = store->spec.settings->cluster.answer_s;
    for (size_t i = 0; i < STORE_STEPS_MAX; i++) {
        struct open_step *open = &store->open[i];
        if (open->writer != NULL && (double)(store->now_ms - open->heard_ms) >= limit_s * 1000.0)
            pass_over(store, open, limit_s, out);
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
    prune_later(store);
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
        err = resume_open(spec->resume_dir, &store->resume, &store->source, why);
    if (err == 0 && store->source != NULL)
        err = checkpoint_check_settings(store->source, store->fingerprint, why);
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
    enum optimizer_kind kind = rounds_server_settings(spec->settings).optimizer.kind;
    store->part_count = 1 + optimizer_state_count(kind);
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
    if (store->prune_step > 0)
        prune(store, store->newest > store->prune_step ? store->newest : store->prune_step);
    for (size_t i = 0; i < STORE_STEPS_MAX; i++)
        checkpoint_abandon(store->open[i].writer);
    while (store->waiting_count > 0)
        drop_first(store);
    free(store->waiting);
    buffer_pool_destroy(store->pool);
    checkpoint_close(store->source);
    layout_destroy(store->layout);
    free(store->shards);
    free(store->out_dir);
    free(store);
}

uint64_t store_resume_step(const struct store *store)
{
    return store->resume.step;
}

const char *store_resume_path(const struct store *store)
{
    return store->resume.path;
}

const char *store_resume_note(const struct store *store)
{
    return store->resume.note;
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
