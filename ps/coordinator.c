#include "ps/coordinator.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "common/log.h"
#include "ps/admission.h"
#include "ps/tracker.h"
#include "ps/view_maker.h"

enum { STOP_MARGIN_MAX = 1 << 20 };

struct coordinator {
    struct coordinator_spec spec;
    enum phase phase;
    char error[512];
    struct members members;
    struct admission admission;
    struct view view; /* number 0: not made yet */
    struct batching batching;
    struct tracker *tracker;

    bool has_final_checkpoint;
    size_t digest_count;
    char digest[HEX_BYTES], checkpoint[512];
    uint64_t stop_step, stop_margin; /* stop_step 0: not asked to stop */

    uint64_t begin_ms;
    uint64_t refused_count;
};

static struct message message_of(const struct coordinator *c, enum message_kind kind)
{
    return (struct message){.kind = kind,
                            .run = c->spec.run,
                            .sender = c->spec.incarnation,
                            .view = c->view.number};
}

static struct tracked track(const struct coordinator *c, uint64_t now_ms)
{
    struct tracked tracked;
    tracker_read(c->tracker, now_ms, &tracked);
    return tracked;
}

static uint64_t steps_done(const struct coordinator *c)
{
    return track(c, 0).step;
}

static void tell_members(struct coordinator *c, const struct message *msg, struct outbox *out)
{
    for (size_t i = 0; i < c->members.count; i++)
        outbox_put(out, c->members.items[i].who, msg);
}

static void end(struct coordinator *c, enum phase phase, int code, struct outbox *out)
{
    if (coordinator_is_over(c))
        return;
    c->phase = phase;
    struct message finish = message_of(c, MSG_FINISH);
    finish.outcome.code = code;
    finish.outcome.step = steps_done(c);
    snprintf(finish.outcome.text, sizeof(finish.outcome.text), "%s", c->error);
    tell_members(c, &finish, out);
    log_event(code == 0 ? LOG_INFO : LOG_ERROR, "end", "phase=%s step=%" PRIu64,
              phase_text(phase), steps_done(c));
}

__attribute__((format(printf, 3, 4))) static void fail(struct coordinator *c, struct outbox *out,
                                                       const char *format, ...)
{
    if (coordinator_is_over(c))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(c->error, sizeof(c->error), format, args);
    va_end(args);
    end(c, PHASE_FAILED, ERR_LOST, out);
}

static void refuse(struct coordinator *c, struct address to, const char *text, struct outbox *out)
{
    c->refused_count++;
    struct message no = message_of(c, MSG_REFUSED);
    no.outcome.code = ERR_REFUSED;
    snprintf(no.outcome.text, sizeof(no.outcome.text), "%s", text);
    outbox_put(out, to, &no);
    char quoted[600];
    log_event(LOG_WARN, "refused", "party=%c incarnation=%016" PRIx64 " why=%s", (char)to.party,
              to.id, log_quote(quoted, sizeof(quoted), text));
}

static void finish_if_done(struct coordinator *c, struct outbox *out)
{
    size_t with_lanes = c->view.lane_count < c->view.worker_count ? c->view.lane_count
                                                                  : c->view.worker_count;
    struct tracked now = track(c, 0);
    if (c->view.number == 0 || now.step < c->view.step_count || c->digest_count < with_lanes ||
        !now.has_final_eval || !c->has_final_checkpoint)
        return;
    end(c, PHASE_FINISHED, 0, out);
}

/* Asks the shards to keep a version a little ahead of all of them; who is past it says so and is
 * asked again with twice the margin. */
static void ask_stop_checkpoint(struct coordinator *c, uint64_t newest, struct outbox *out)
{
    c->stop_margin = c->stop_margin == 0 ? 2 : 2 * c->stop_margin;
    if (c->stop_margin > STOP_MARGIN_MAX)
        c->stop_margin = STOP_MARGIN_MAX;
    c->stop_step = newest + c->stop_margin;
    if (c->stop_step > c->view.step_count)
        c->stop_step = c->view.step_count;
    struct message ask = message_of(c, MSG_CHECKPOINT_ASK);
    ask.outcome.step = c->stop_step;
    for (size_t i = 0; i < c->members.count; i++)
        if (c->members.items[i].who.party == PARTY_SHARD)
            outbox_put(out, c->members.items[i].who, &ask);
}

void coordinator_stop(struct coordinator *c, struct outbox *out)
{
    if (coordinator_is_over(c) || c->phase == PHASE_STOPPING)
        return;
    if (c->phase == PHASE_WAITING) {
        snprintf(c->error, sizeof(c->error), "stopped before training began");
        end(c, PHASE_STOPPED, ERR_STOPPED, out);
        return;
    }
    c->phase = PHASE_STOPPING;
    ask_stop_checkpoint(c, steps_done(c), out);
}

/* A lane's result counts only from the worker that has the lane. */
static bool is_lane_owner(const struct coordinator *c, struct address from, uint32_t lane)
{
    return c->view.number != 0 && lane < c->view.lane_count &&
           c->view.workers[c->view.lane_worker[lane]].incarnation == from.id;
}

static void take_lane(struct coordinator *c, uint64_t now_ms, const struct member *member,
                      const struct message *msg, struct outbox *out)
{
    const struct lane_result *result = &msg->lane;
    char who[160];
    if (!is_lane_owner(c, member->who, result->lane) || result->step > c->view.step_count)
        return;
    if (!isfinite(result->loss_sum)) {
        member_text(member, who, sizeof(who));
        fail(c, out,
             "the loss of step %" PRIu64 ", lane %" PRIu32 " is not a finite number (%s): "
             "a smaller optimizer.rate or a warm-up may help",
             result->step, result->lane, who);
        return;
    }
    int err = tracker_note(c->tracker, msg->kind == MSG_LANE_DONE, result, now_ms);
    if (err == ERR_FULL)
        fail(c, out, "workers are more than %d steps apart in what they report", LEDGER_STEPS_MAX);
    else if (err != 0)
        fail(c, out, "no memory for the losses of step %" PRIu64, result->step);
    if (err != 0)
        return;
    if (c->phase == PHASE_TRAINING && steps_done(c) == c->view.step_count)
        c->phase = PHASE_EVALUATING;
    finish_if_done(c, out);
}

static void take_digest(struct coordinator *c, struct member *member, const struct message *msg,
                        struct outbox *out)
{
    if (c->view.number == 0 || member->who.party != PARTY_WORKER || member->has_finished ||
        msg->digest.step != c->view.step_count)
        return;
    member->has_finished = true;
    if (c->digest_count++ == 0)
        memcpy(c->digest, msg->digest.hex, sizeof(c->digest));
    if (strcmp(c->digest, msg->digest.hex) != 0) {
        char who[160];
        member_text(member, who, sizeof(who));
        fail(c, out, "%s ended with other weights (digest %s) than the first to end (%s)", who,
             msg->digest.hex, c->digest);
        return;
    }
    finish_if_done(c, out);
}

static void take_checkpoint(struct coordinator *c, const struct message *msg, struct outbox *out)
{
    if (msg->outcome.code != 0) {
        fail(c, out, "checkpoint of step %" PRIu64 ": %.400s", msg->outcome.step,
             msg->outcome.text);
        return;
    }
    snprintf(c->checkpoint, sizeof(c->checkpoint), "%s", msg->outcome.text);
    if (msg->outcome.step == c->view.step_count)
        c->has_final_checkpoint = true;
    if (c->phase == PHASE_STOPPING && msg->outcome.step == c->stop_step &&
        c->stop_step < c->view.step_count) {
        snprintf(c->error, sizeof(c->error), "stopped at step %" PRIu64 " of %" PRIu64,
                 c->stop_step, c->view.step_count);
        end(c, PHASE_STOPPED, ERR_STOPPED, out);
        return;
    }
    finish_if_done(c, out);
}

static void hear_store(struct coordinator *c, const struct message *msg, struct outbox *out)
{
    if (msg->kind == MSG_CHECKPOINT_DONE)
        take_checkpoint(c, msg, out);
    else if (msg->kind == MSG_REFUSED)
        fail(c, out, "%.500s", msg->outcome.text);
}

static int decide_steps(struct coordinator *c, struct outbox *out)
{
    const struct settings *settings = c->spec.settings;
    c->view.step_count = settings->job.steps > 0
                             ? settings->job.steps
                             : batching_job_steps(&c->batching, settings->job.epochs);
    if (c->spec.resume_step > c->view.step_count) {
        fail(c, out, "the checkpoint is of step %" PRIu64 ", the job ends at step %" PRIu64,
             c->spec.resume_step, c->view.step_count);
        return ERR_INPUT;
    }
    return 0;
}

/* A worker made the layout and needs none. */
static void send_view(struct coordinator *c, struct address to, struct outbox *out)
{
    struct message msg = message_of(c, MSG_VIEW);
    msg.view_body = c->view;
    if (to.party == PARTY_WORKER)
        msg.view_body.layout = NULL;
    outbox_put(out, to, &msg);
}

static void send_views(struct coordinator *c, struct outbox *out)
{
    send_view(c, (struct address){PARTY_STORE, c->spec.store_incarnation}, out);
    for (size_t i = 0; i < c->members.count; i++)
        send_view(c, c->members.items[i].who, out);
}

static void begin_training(struct coordinator *c, uint64_t now_ms, struct outbox *out)
{
    c->view.layout = c->admission.layout;
    c->view.test_count = c->admission.test_count;
    c->batching = (struct batching){.seed = c->spec.settings->job.seed,
                                    .sample_count = c->admission.train_count,
                                    .batch = c->spec.settings->job.batch,
                                    .lane_count = c->spec.settings->job.lanes};
    if (decide_steps(c, out) != 0)
        return;
    if (view_make(&c->members, c->spec.settings->job.lanes, &c->view) != 0) {
        fail(c, out, "no memory for the view of %zu members", c->members.count);
        return;
    }
    c->view.number = 1;
    c->view.start_step = c->spec.resume_step;
    c->view.is_restored = c->spec.resume_step > 0;
    c->view.train_count = c->batching.sample_count;
    c->view.store_incarnation = c->spec.store_incarnation;
    memcpy(c->view.store_endpoint, c->spec.store_endpoint, sizeof(c->view.store_endpoint));
    tracker_begin(c->tracker, &c->batching, c->view.start_step, c->view.step_count,
                  c->view.test_count, now_ms);
    c->has_final_checkpoint = c->view.start_step == c->view.step_count;
    c->phase = c->has_final_checkpoint ? PHASE_EVALUATING : PHASE_TRAINING;
    log_event(LOG_INFO, "view",
              "view=1 shards=%zu workers=%zu blocks=%zu step=%" PRIu64 " steps=%" PRIu64,
              c->view.shard_count, c->view.worker_count, c->view.block_count, c->view.start_step,
              c->view.step_count);
    send_views(c, out);
}

static void welcome(struct coordinator *c, const struct member *member, struct outbox *out)
{
    struct message msg = message_of(c, MSG_WELCOME);
    msg.welcome.rank = member->rank;
    outbox_put(out, member->who, &msg);
}

static void take_hello(struct coordinator *c, uint64_t now_ms, struct address from,
                       const struct message *msg, struct outbox *out)
{
    struct member *member = members_find(&c->members, from);
    struct err_msg why = {0};
    if (member != NULL) { /* asked again: it has not heard us yet */
        member->heard_ms = now_ms;
        welcome(c, member, out);
        if (c->view.number != 0)
            send_view(c, from, out);
        return;
    }
    int err = admission_check(&c->admission, from, &msg->hello, &why);
    if (err == 0 && c->view.number != 0)
        err = err_set(&why, ERR_REFUSED, "the run has begun; all its places are taken");
    if (err == 0)
        err = members_add(&c->members, c->spec.settings, from, &msg->hello, &member, &why);
    if (err != 0) {
        refuse(c, from, why.text, out);
        return;
    }
    if (from.party == PARTY_WORKER)
        admission_settle(&c->admission);
    member->heard_ms = now_ms;
    welcome(c, member, out);
    log_event(LOG_INFO, "joined",
              "party=%c rank=%" PRIu32 " shard=%" PRIu32 " host=%s pid=%" PRIu32,
              (char)from.party, member->rank, member->hello.shard_idx, member->hello.host,
              member->hello.pid);
    if (members_complete(&c->members, c->spec.settings))
        begin_training(c, now_ms, out);
}

static void take_late(struct coordinator *c, const struct message *msg, struct outbox *out)
{
    if (c->phase != PHASE_STOPPING || msg->outcome.step != c->stop_step ||
        c->stop_step == c->view.step_count) /* the last version is kept anyway */
        return;
    uint64_t done = steps_done(c);
    uint64_t newest = msg->outcome.newest > done ? msg->outcome.newest : done;
    ask_stop_checkpoint(c, newest, out);
}

static void hear_member(struct coordinator *c, uint64_t now_ms, struct member *member,
                        const struct message *msg, struct outbox *out)
{
    struct message echo;
    char who[160];
    member->heard_ms = now_ms;
    switch (msg->kind) {
    case MSG_BEAT:
        member_note_beat(member, &msg->beat, now_ms);
        echo = message_of(c, MSG_BEAT);
        outbox_put(out, member->who, &echo);
        break;
    case MSG_LANE_DONE:
    case MSG_EVAL_DONE:
        take_lane(c, now_ms, member, msg, out);
        break;
    case MSG_WEIGHTS_DIGEST:
        take_digest(c, member, msg, out);
        break;
    case MSG_CHECKPOINT_LATE:
        take_late(c, msg, out);
        break;
    case MSG_BYE:
        if (msg->outcome.code == ERR_STOPPED) {
            coordinator_stop(c, out);
            break;
        }
        member_text(member, who, sizeof(who));
        fail(c, out, "%s gave up: %.300s", who, msg->outcome.text);
        break;
    default:
        c->refused_count++;
    }
}

static void watch_members(struct coordinator *c, uint64_t now_ms, struct outbox *out)
{
    double limit_ms = c->spec.settings->cluster.silence_s * 1000.0;
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if ((double)(now_ms - m->heard_ms) < limit_ms)
            continue;
        char who[160];
        member_text(m, who, sizeof(who));
        fail(c, out, "%s has said nothing for %.0f s (cluster.silence_s) at step %" PRIu64, who,
             limit_ms / 1000.0, steps_done(c));
        return;
    }
}

/* A shard that, by its last beat, has a block of an earlier version; NULL when there is none. */
static const struct member *shard_behind(const struct coordinator *c, uint64_t version)
{
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if (m->who.party == PARTY_SHARD && m->beat.block_count > 0 && m->beat.step < version)
            return m;
    }
    return NULL;
}

/* Names what is missing at the end, else the shard that is behind all lanes, else the first lane
 * that is missing and its worker. */
static void fail_step(struct coordinator *c, double limit_s, struct outbox *out)
{
    struct tracked now = track(c, 0);
    const struct member *m = shard_behind(c, now.step);
    char who[160];
    if (m != NULL) {
        member_text(m, who, sizeof(who));
        fail(c, out, "step %" PRIu64 " has waited %.0f s (cluster.answer_s) for %s, whose weights "
             "are still those of step %" PRIu64 ": a slow disk for checkpoints or a broken "
             "connection may be why", now.step, limit_s, who, m->beat.step);
        return;
    }
    if (now.step == c->view.step_count) {
        fail(c, out, "all %" PRIu64 " steps are done, but for %.0f s (cluster.answer_s) nothing "
             "came of what is missing: evaluation %s, digests of the weights from %zu workers, "
             "last checkpoint %s", now.step, limit_s, now.has_final_eval ? "done" : "missing",
             c->digest_count, c->has_final_checkpoint ? "written" : "missing");
        return;
    }
    uint32_t lane = tracker_missing_lane(c->tracker);
    uint64_t id = c->view.workers[c->view.lane_worker[lane]].incarnation;
    m = members_find(&c->members, (struct address){PARTY_WORKER, id});
    member_text(m, who, sizeof(who));
    fail(c, out, "step %" PRIu64 " has waited %.0f s (cluster.answer_s) for lane %" PRIu32
         " of %s", now.step, limit_s, lane, who);
}

static void tick(struct coordinator *c, uint64_t now_ms, struct outbox *out)
{
    const struct settings *settings = c->spec.settings;
    if (c->begin_ms == 0)
        c->begin_ms = now_ms;
    watch_members(c, now_ms, out);
    if (c->phase == PHASE_WAITING) {
        if ((double)(now_ms - c->begin_ms) < settings->cluster.wait_s * 1000.0)
            return;
        char text[400];
        members_missing_text(&c->members, settings, text, sizeof(text));
        fail(c, out, "waited %.0f s (cluster.wait_s) and have %s", settings->cluster.wait_s, text);
        return;
    }
    uint64_t idle_ms = now_ms - track(c, now_ms).progress_ms;
    if ((double)idle_ms >= settings->cluster.answer_s * 1000.0)
        fail_step(c, settings->cluster.answer_s, out);
}

void coordinator_step(struct coordinator *c, uint64_t now_ms, struct address from,
                      const struct message *msg, struct outbox *out)
{
    if (coordinator_is_over(c))
        return;
    if (msg == NULL) {
        tick(c, now_ms, out);
        return;
    }
    if (from.party == PARTY_STORE) {
        if (from.id == c->spec.store_incarnation)
            hear_store(c, msg, out);
        return;
    }
    if (from.party != PARTY_SHARD && from.party != PARTY_WORKER)
        return;
    struct member *member = members_find(&c->members, from);
    if (msg->kind == MSG_HELLO) {
        take_hello(c, now_ms, from, msg, out);
    } else if (member == NULL || !run_equal(msg->run, c->spec.run)) {
        char text[200];
        snprintf(text, sizeof(text),
                 "this is run %016" PRIx64 "%016" PRIx64 "; you speak of run %016" PRIx64
                 "%016" PRIx64 " or have not said hello",
                 c->spec.run.high, c->spec.run.low, msg->run.high, msg->run.low);
        refuse(c, from, text, out);
    } else {
        hear_member(c, now_ms, member, msg, out);
    }
}

int coordinator_create(const struct coordinator_spec *spec, struct coordinator **coordinator_out)
{
    struct coordinator *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return ERR_NOMEM;
    c->spec = *spec;
    c->admission =
        (struct admission){.settings = spec->settings, .fingerprint = c->spec.fingerprint};
    int err = tracker_create(spec->settings, &c->tracker);
    if (err != 0) {
        coordinator_destroy(c);
        return err;
    }
    *coordinator_out = c;
    return 0;
}

void coordinator_destroy(struct coordinator *c)
{
    if (c == NULL)
        return;
    view_free(&c->view);
    members_free(&c->members);
    admission_free(&c->admission);
    tracker_destroy(c->tracker);
    free(c);
}

void coordinator_progress(const struct coordinator *c, uint64_t now_ms, struct progress *out)
{
    struct tracked now = track(c, now_ms);
    *out = (struct progress){
        .phase = c->phase,
        .step = now.step,
        .step_count = c->view.step_count,
        .start_step = c->view.start_step,
        .epoch_steps = now.epoch_steps,
        .loss = now.loss,
        .train_loss = now.train_loss,
        .test_loss = now.test_loss,
        .test_accuracy = now.test_accuracy,
        .samples_per_s = now.samples_per_s,
        .mean_samples_per_s = now.mean_samples_per_s,
        .left_s = NAN,
        .wall_s = c->begin_ms == 0 ? 0.0 : (double)(now_ms - c->begin_ms) / 1000.0,
    };
    if (now.samples_per_s > 0.0 && now.step < c->view.step_count)
        out->left_s = (double)(c->view.step_count - now.step) * c->batching.batch /
                      now.samples_per_s;
    memcpy(out->digest, c->digest, sizeof(out->digest));
    memcpy(out->checkpoint, c->checkpoint, sizeof(out->checkpoint));
    memcpy(out->error, c->error, sizeof(out->error));
}

const struct members *coordinator_members(const struct coordinator *c)
{
    return &c->members;
}

const struct view *coordinator_view(const struct coordinator *c)
{
    return c->view.number == 0 ? NULL : &c->view;
}

bool coordinator_next_row(struct coordinator *c, struct metric_row *row_out)
{
    return tracker_next_row(c->tracker, row_out);
}

bool coordinator_is_over(const struct coordinator *c)
{
    return c->phase == PHASE_FINISHED || c->phase == PHASE_STOPPED || c->phase == PHASE_FAILED;
}

const char *phase_text(enum phase phase)
{
    static const char *const texts[] = {"waiting",  "training", "evaluating", "stopping",
                                        "finished", "stopped",  "failed"};
    return texts[phase];
}

uint64_t coordinator_refused_count(const struct coordinator *c)
{
    return c->refused_count;
}
