#include "ps/store_state.h"

#include <inttypes.h>
#include <stdio.h>
#include "common/log.h"
#include "common/rounds.h"

enum { AGAIN_MS = 1000, PRUNE_MS = 1000 };

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
    struct message done = store_message(store, MSG_CHECKPOINT_DONE);
    done.outcome.code = code;
    done.outcome.step = step;
    snprintf(done.outcome.text, sizeof(done.outcome.text), "%.511s", text);
    outbox_put(out, (struct address){PARTY_COORDINATOR, 0}, &done);
}

static void mark_done(struct store *store, uint64_t step)
{
    store->done[store->done_count++ % STORE_DONE_MAX] = step;
}

static bool is_done(const struct store *store, uint64_t step)
{
    for (size_t i = 0; i < store->done_count && i < STORE_DONE_MAX; i++)
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

/* No later step makes up for the last one, nor for one that is being evaluated: it may turn out to
 * be the best. */
static bool is_last(const struct store *store, uint64_t step)
{
    return step == store->step_count || (step != 0 && step == store->early_stop.hold_step);
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
        .info = {.step = step,
                 .state_count = rounds_state_count(settings),
                 .early_stop = store->early_stop}};
    struct checkpoint_info *info = &spec.info;
    snprintf(info->run_id, sizeof(info->run_id), "%016" PRIx64 "%016" PRIx64, store->spec.run.high,
             store->spec.run.low);
    snprintf(info->fingerprint, sizeof(info->fingerprint), "%s", store->fingerprint);
    snprintf(info->optimizer, sizeof(info->optimizer), "%s", optimizer_kind_text(kind));
    for (size_t i = 0; i < info->state_count; i++)
        snprintf(info->states[i], sizeof(info->states[i]), "%s", rounds_state_name(settings, i));
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
    struct prune_rule rule = {
        .step = step,
        .keep = store->spec.settings->checkpoint.keep,
        .spared = {store->early_stop.best_step, store->early_stop.hold_step}};
    if (checkpoint_prune(store->out_dir, &rule, &why) != 0)
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

/* True when the shard need not hold it any more. */
bool store_keep(struct store *store, const struct message *msg, struct outbox *out)
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

void store_check_steps(struct store *store, struct outbox *out)
{
    check_deadlines(store, out);
    prune_later(store);
}

void store_begin_steps(struct store *store, uint64_t start_step)
{
    size_t kept = 0, count = store->done_count;
    if (count > STORE_DONE_MAX)
        count = STORE_DONE_MAX;
    for (size_t i = 0; i < STORE_STEPS_MAX; i++)
        drop(&store->open[i]);
    for (size_t i = 0; i < count; i++)
        if (store->done[i] <= start_step)
            store->done[kept++] = store->done[i];
    store->done_count = kept;
    store->newest = start_step;
    store->again_ms = 0;
}

void store_end_steps(struct store *store)
{
    if (store->prune_step > 0)
        prune(store, store->newest > store->prune_step ? store->newest : store->prune_step);
    for (size_t i = 0; i < STORE_STEPS_MAX; i++)
        drop(&store->open[i]);
}
