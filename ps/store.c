#include "ps/store_state.h"

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
#include "common/rounds.h"

enum { WAITING_MAX = 4096 };

static const size_t held_bytes_default = (size_t)256 << 20;

struct message store_message(const struct store *store, enum message_kind kind)
{
    return (struct message){.kind = kind,
                            .run = store->spec.run,
                            .sender = store->spec.incarnation,
                            .view = store->view,
                            .era = store->era};
}

void store_refuse(struct store *store, struct address to, int code, const char *text,
                  struct outbox *out)
{
    store->refused_count++;
    struct message no = store_message(store, MSG_REFUSED);
    no.outcome.code = code;
    snprintf(no.outcome.text, sizeof(no.outcome.text), "%.511s", text);
    outbox_put(out, to, &no);
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
        store_refuse(store, from, ERR_PROTO, text, out);
        return;
    }
    struct message kept = store_message(store, MSG_BLOCK_KEPT);
    kept.key = (struct block_key){.step = msg->key.step, .block = msg->key.block};
    if (store_keep(store, msg, out))
        outbox_put(out, from, &kept);
}

/* A step's block that no checkpoint has: weights of a file, and no state yet but their average. */
static int read_initial(const struct store *store, uint32_t block, float *parts,
                        struct err_msg *why)
{
    const struct settings *settings = store->spec.settings;
    size_t bytes = block_state_bytes(store, block) / store->part_count;
    size_t count = bytes / sizeof(*parts), last = store->part_count - 1;
    memset(parts + count, 0, last * bytes);
    int err = pretrained_read_block(store->initial, block, settings->job.seed, parts, why);
    if (err == 0 && rounds_has_average(settings))
        memcpy(parts + last * count, parts, bytes);
    return err;
}

static bool has_step(const struct store *store, uint64_t step)
{
    if (step == 0)
        return store->initial != NULL;
    return store->source != NULL && step == checkpoint_info(store->source)->step;
}

/* False when there is no room now. */
static bool take_fetch(struct store *store, struct address from, const struct message *msg,
                       struct outbox *out)
{
    struct err_msg why;
    if (!has_step(store, msg->key.step)) {
        err_set(&why, ERR_NOT_FOUND, "block %" PRIu32 " of step %" PRIu64 " is not in the store",
                msg->key.block, msg->key.step);
        store_refuse(store, from, ERR_NOT_FOUND, why.text, out);
        return true;
    }
    struct message state = store_message(store, MSG_BLOCK_STATE);
    state.key = (struct block_key){.step = msg->key.step, .block = msg->key.block};
    state.payload = buffer_pool_take(store->pool, block_state_bytes(store, msg->key.block));
    if (state.payload == NULL)
        return false;
    int err = msg->key.step == 0
                  ? read_initial(store, msg->key.block, state.payload->data, &why)
                  : checkpoint_read(store->source, store->layout, msg->key.block,
                                    store->part_count, state.payload->data, &why);
    if (err != 0)
        store_refuse(store, from, err, why.text, out);
    else
        outbox_put(out, from, &state);
    buffer_unref(state.payload);
    return true;
}

/* Of a step past an evaluation of which the view has not come that says how it ended. */
static bool is_ahead(const struct store *store, uint64_t step)
{
    uint64_t hold_step = store->early_stop.hold_step;
    return hold_step != 0 && step > hold_step && step <= store->step_count;
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
        store_refuse(store, from, ERR_PROTO, "there is no block of that number", out);
        return true;
    }
    if (msg->kind == MSG_BLOCK_FETCH)
        return take_fetch(store, from, msg, out);
    if (is_ahead(store, msg->key.step))
        return false;
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
    if (has_step(store, step))
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
    if (err == 0 && store->initial != NULL && store->view == 0)
        err = pretrained_match(store->initial, store->layout, why);
    return err;
}

/* All that is in the making is of weights that were taken back; the steps come again. */
static void begin_era(struct store *store, const struct view *view)
{
    store_begin_steps(store, view->start_step);
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
        store_refuse(store, from, err, why.text, out);
        return;
    }
    store->view = msg->view_body.number;
    store->step_count = msg->view_body.step_count;
    store->early_stop = msg->view_body.early_stop;
}

static void take(struct store *store, struct address from, const struct message *msg,
                 struct outbox *out)
{
    if (!run_equal(msg->run, store->spec.run)) {
        store_refuse(store, from, ERR_REFUSED, "this store serves another run", out);
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

void store_step(struct store *store, uint64_t now_ms, struct address from,
                const struct message *msg, struct outbox *out)
{
    store->now_ms = now_ms;
    if (msg != NULL)
        take(store, from, msg, out);
    serve_waiting(store, out);
    store_check_steps(store, out);
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
    if (err == 0 && store->source == NULL && model_has_init(&spec->settings->model))
        err = pretrained_open(&spec->settings->model, &store->initial, why);
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
    store->part_count = 1 + rounds_state_count(spec->settings);
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
    store_end_steps(store);
    while (store->waiting_count > 0)
        drop_first(store);
    free(store->waiting);
    buffer_pool_destroy(store->pool);
    checkpoint_close(store->source);
    pretrained_close(store->initial);
    layout_destroy(store->layout);
    free(store->shards);
    free(store->out_dir);
    free(store);
}

struct early_stop store_resume_early_stop(const struct store *store)
{
    return store->resume.early_stop;
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
