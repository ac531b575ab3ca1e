#include "ps/coordinator.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/rounds.h"
#include "ps/coordinator_state.h"
#include "ps/view_maker.h"

enum { TICK_EVERY_MS = 10 };

struct message coordinator_message(const struct coordinator *c, enum message_kind kind)
{
    return (struct message){.kind = kind,
                            .run = c->spec.run,
                            .sender = c->spec.incarnation,
                            .view = c->view.number,
                            .era = c->view.era};
}

struct tracked coordinator_tracked(const struct coordinator *c)
{
    struct tracked tracked;
    tracker_read(c->tracker, c->now_ms, &tracked);
    return tracked;
}

void coordinator_note_progress(struct coordinator *c)
{
    c->lost_ms = 0;
    c->progress_ms = c->now_ms;
}

static void refuse(struct coordinator *c, struct address to, const char *text, struct outbox *out)
{
    c->refused_count++;
    struct message no = coordinator_message(c, MSG_REFUSED);
    no.outcome.code = ERR_REFUSED;
    snprintf(no.outcome.text, sizeof(no.outcome.text), "%s", text);
    outbox_put(out, to, &no);
    char quoted[600];
    log_event(LOG_WARN, "refused", "party=%c incarnation=%016" PRIx64 " why=%s", (char)to.party,
              to.id, log_quote(quoted, sizeof(quoted), text));
}

/* Any worker's result counts: whoever computes a lane gets the same. */
static void take_lane(struct coordinator *c, struct member *member, const struct message *msg,
                      struct outbox *out)
{
    const struct lane_result *result = &msg->lane;
    bool is_training = msg->kind == MSG_LANE_DONE;
    char who[160], text[NONFINITE_TEXT_BYTES];
    if (c->view.number == 0 || member->who.party != PARTY_WORKER ||
        result->lane >= c->view.lane_count || result->step > c->view.step_count)
        return;
    bool may_skip = c->spec.settings->job.on_nonfinite == NONFINITE_SKIP;
    if (!isfinite(result->loss_sum) && !(is_training && result->is_void && may_skip)) {
        member_text(member, who, sizeof(who));
        snprintf(text, sizeof(text),
                 "the loss of step %" PRIu64 ", lane %" PRIu32 " is not a finite number (%s): "
                 "a smaller optimizer.rate or a warm-up may help",
                 result->step, result->lane, who);
        coordinator_note_nonfinite(c, c->bad_loss, text);
        return;
    }
    struct tracked before = coordinator_tracked(c);
    if (is_training && result->sample_count > 0)
        member_note_lane(member, result->compute_us, c->now_ms);
    int err = tracker_note(c->tracker, is_training, result, c->now_ms);
    if (err == ERR_FULL)
        c->refused_count++; /* far ahead of all others: it is said again when they are as far */
    else if (err != 0)
        coordinator_fail(c, out, "no memory for the losses of step %" PRIu64, result->step);
    if (is_training && result->step == before.step)
        member_note_arrival(member, result, c->now_ms - before.step_ms);
    struct tracked after = coordinator_tracked(c);
    if (after.progress_ms == c->now_ms) /* it was news, not said again */
        coordinator_note_progress(c);
    if (after.step > before.step) {
        deadline_note(&c->steps, (c->now_ms - before.step_ms) / (after.step - before.step));
        for (size_t i = 0; i < c->members.count; i++)
            member_close_step(&c->members.items[i], before.step);
    }
    if (c->phase == PHASE_TRAINING && after.step == c->view.step_count) {
        c->phase = PHASE_EVALUATING;
        c->stop_ms = c->now_ms;
    }
    coordinator_finish_if_done(c, out);
}

static void welcome(struct coordinator *c, const struct member *member, struct outbox *out)
{
    struct message msg = coordinator_message(c, MSG_WELCOME);
    msg.welcome.rank = member->rank;
    outbox_put(out, member->who, &msg);
    if (c->view.number != 0)
        coordinator_send_view(c, member, out);
}

/* A member that is known says hello again: it has not heard us yet, or was asked to. */
static void renew(struct coordinator *c, struct member *member, const struct message *msg,
                  struct outbox *out)
{
    member->hello = msg->hello;
    member->hello.layout = NULL;
    welcome(c, member, out);
}

/* Whether the rank that somebody claims can be had: its holder is gone, or dead for sure, or does
 * not answer.  The holder then is no member any more.  ERR_AGAIN: that is not known yet. */
static int make_room(struct coordinator *c, uint32_t rank, struct address from,
                     const struct message *msg, struct err_msg *why)
{
    struct member *holder = members_holder(&c->members, from.party, rank, msg->hello.shard_idx);
    if (holder == NULL)
        return 0;
    bool is_same_host = strcmp(holder->hello.host, msg->hello.host) == 0;
    bool is_dead = holder->is_dead || (holder->gone_ms != 0 && is_same_host && holder->is_heard);
    uint64_t silence_ms = (uint64_t)(c->spec.settings->cluster.silence_s * 1000.0);
    if (holder->state != MEMBER_GONE && !is_dead) {
        bool is_old = c->now_ms - holder->challenged_ms > 2 * silence_ms; /* of another claim */
        if (holder->challenged_ms == 0 || is_old)
            holder->challenged_ms = c->now_ms;
        if (holder->heard_ms <= holder->challenged_ms)
            return ERR_AGAIN;
        holder->challenged_ms = 0;
        return err_set(why, ERR_REFUSED, "rank %" PRIu32 " is taken by %s pid %" PRIu32 " on %s",
                       rank, from.party == PARTY_SHARD ? "server" : "worker", holder->hello.pid,
                       holder->hello.host);
    }
    uint64_t lease_ms = holder->heard_ms + silence_ms;
    bool has_lease = !is_dead && from.party == PARTY_SHARD && c->view.number != 0 &&
                     placement_uses(&c->placement, holder->who.id);
    if (has_lease && lease_ms > c->lease_end_ms)
        c->lease_end_ms = lease_ms;
    members_remove(&c->members, holder);
    if (from.party == PARTY_WORKER)
        tracker_lose(c->tracker, c->now_ms);
    c->is_view_due = c->is_view_urgent = true;
    return 0;
}

static int admit(struct coordinator *c, struct address from, const struct message *msg,
                 struct member **member_out, struct err_msg *why)
{
    int err = admission_check(&c->admission, from, &msg->hello, why);
    if (err != 0)
        return err;
    uint32_t rank = members_choose_rank(&c->members, from.party, &msg->hello);
    uint32_t most = from.party == PARTY_SHARD ? SHARDS_MAX : WORKERS_MAX;
    if (rank >= most)
        return err_set(why, ERR_REFUSED, "rank %" PRIu32 " is past the last possible one, %" PRIu32,
                       rank, most - 1);
    err = make_room(c, rank, from, msg, why);
    if (err == 0)
        err = members_add(&c->members, from, rank, &msg->hello, member_out);
    return err;
}

static void warn_of_mixture(const struct coordinator *c, const struct member *newest)
{
    const struct member *other = members_with_other_kernels(&c->members, newest);
    if (other != NULL)
        log_event(LOG_WARN, "kernels_differ",
                  "worker=%" PRIu32 " kernels=%s other=%" PRIu32 " others=%s", newest->rank,
                  newest->hello.kernels, other->rank, other->hello.kernels);
}

static void take_hello(struct coordinator *c, struct address from, const struct message *msg,
                       struct outbox *out)
{
    struct member *member = members_find(&c->members, from);
    struct err_msg why = {0};
    if (member != NULL) {
        renew(c, member, msg, out);
        return;
    }
    if (run_is_known(msg->run) && !run_equal(msg->run, c->spec.run)) {
        snprintf(why.text, sizeof(why.text),
                 "this is run %016" PRIx64 "%016" PRIx64 "; you are of run %016" PRIx64
                 "%016" PRIx64,
                 c->spec.run.high, c->spec.run.low, msg->run.high, msg->run.low);
        refuse(c, from, why.text, out);
        return;
    }
    int err = admit(c, from, msg, &member, &why);
    if (err == ERR_AGAIN)
        return;
    if (err != 0) {
        refuse(c, from, why.text[0] != 0 ? why.text : err_text(err), out);
        return;
    }
    if (from.party == PARTY_WORKER) {
        admission_settle(&c->admission);
        warn_of_mixture(c, member);
    }
    member->heard_ms = c->now_ms;
    member->is_heard = true;
    log_event(LOG_INFO, "joined",
              "party=%c rank=%" PRIu32 " shard=%" PRIu32 " host=%s pid=%" PRIu32,
              (char)from.party, member->rank, member->hello.shard_idx, member->hello.host,
              member->hello.pid);
    c->is_view_due = c->is_view_urgent = true;
    welcome(c, member, out);
    if (from.party == PARTY_WORKER && c->view.number != 0)
        coordinator_deal(c, true);
    if (c->view.number == 0 && members_complete(&c->members, c->spec.settings))
        coordinator_begin_training(c, out);
}

static void take_beat(struct coordinator *c, struct member *member, const struct message *msg,
                      struct outbox *out)
{
    struct message echo = coordinator_message(c, MSG_BEAT);
    member_note_beat(member, &msg->beat, c->now_ms);
    echo.beat.sent_ms = msg->beat.sent_ms;
    echo.beat.step = coordinator_tracked(c).step;
    if (!member->is_deaf) /* else its lease is to end */
        outbox_put(out, member->who, &echo);
    if (c->view.number > msg->view)
        coordinator_send_view(c, member, out);
    if (member->hello.pid == 0) { /* it is known from the journal alone */
        struct message who = coordinator_message(c, MSG_WHO);
        outbox_put(out, member->who, &who);
    }
}

static void take_filled(struct coordinator *c, const struct member *member,
                        const struct message *msg)
{
    if (c->view.number != 0 && msg->era == c->view.era && msg->key.block < c->view.block_count &&
        placement_filled(&c->placement, msg->key.block, member->who.id, msg->view))
        c->is_view_due = true;
}

/* Anything that a member says shows that it is there. */
static void note_heard(struct coordinator *c, struct member *member, const struct message *msg)
{
    if (msg->view > member->view) {
        member->view = msg->view;
        member->owed_ms = msg->view < c->view.number ? c->now_ms : 0;
        member->is_deaf = false;
    }
    if (member->is_deaf)
        return;
    if (member->state == MEMBER_GONE) {
        member->state = member->leaving_ms != 0 ? MEMBER_LEAVING : MEMBER_HERE;
        member->is_dead = member->is_lagging = false;
        member->late_ms = 0.0; /* it was away, which does not say that it is slow */
        c->is_view_due = c->is_view_urgent = true;
        if (member->who.party == PARTY_WORKER && c->view.number != 0)
            coordinator_deal(c, true);
        log_event(LOG_INFO, "back_again", "party=%c rank=%" PRIu32, (char)member->who.party,
                  member->rank);
    }
    member->is_heard = true;
    member->gone_ms = 0;
    member->heard_ms = c->now_ms;
}

static void take_lost(struct coordinator *c, const struct message *msg)
{
    struct member *asker = members_holder(&c->members, PARTY_WORKER, (uint32_t)msg->outcome.newest,
                                          0);
    if (asker == NULL || c->view.number == 0 || msg->era != c->view.era)
        return;
    coordinator_spare(c, asker, msg->outcome.step);
}

static void take_alarm(struct coordinator *c, const struct member *member,
                       const struct message *msg)
{
    uint64_t block_idx = msg->outcome.newest;
    if (msg->outcome.code == ERR_LOST) {
        take_lost(c, msg);
    } else if (msg->outcome.code == ERR_TIMEOUT) {
        if (msg->view == c->view.number && block_idx < c->view.block_count &&
            placement_go_alone(&c->placement, block_idx, member->who.id))
            c->is_view_due = c->is_view_urgent = true;
    } else {
        coordinator_note_nonfinite(c, c->bad_gradient, msg->outcome.text);
    }
}

static void hear_member(struct coordinator *c, struct member *member, const struct message *msg,
                        struct outbox *out)
{
    note_heard(c, member, msg);
    switch (msg->kind) {
    case MSG_BEAT:
        take_beat(c, member, msg, out);
        break;
    case MSG_LANE_DONE:
    case MSG_EVAL_DONE:
        take_lane(c, member, msg, out);
        break;
    case MSG_WEIGHTS_DIGEST:
        coordinator_take_digest(c, member, msg, out);
        break;
    case MSG_CHECKPOINT_LATE:
        coordinator_take_late(c, msg, out);
        break;
    case MSG_FILLED:
        take_filled(c, member, msg);
        break;
    case MSG_ALARM:
        take_alarm(c, member, msg);
        break;
    case MSG_BYE:
        coordinator_take_bye(c, member, msg, out);
        break;
    default:
        c->refused_count++;
    }
}

static void hear_store(struct coordinator *c, const struct message *msg, struct outbox *out)
{
    if (msg->kind == MSG_CHECKPOINT_DONE)
        coordinator_take_checkpoint(c, msg, out);
    else if (msg->kind == MSG_REFUSED)
        coordinator_fail(c, out, "%.500s", msg->outcome.text);
}

/* The first records of a run's journal: that it is, and of which job. */
static void write_begin(struct coordinator *c, struct outbox *out)
{
    static const struct address journal = {PARTY_JOURNAL, 0};
    struct message begin = coordinator_message(c, MSG_WELCOME);
    struct message job = coordinator_message(c, MSG_HELLO);
    snprintf(job.hello.version, sizeof(job.hello.version), "%s", TALWEG_VERSION);
    snprintf(job.hello.fingerprint, sizeof(job.hello.fingerprint), "%s", c->spec.fingerprint);
    if (c->has_kept) { /* first: a run that is there never forgets where it went on from */
        struct message kept = coordinator_message(c, MSG_CHECKPOINT_DONE);
        kept.outcome.step = c->kept_step;
        snprintf(kept.outcome.text, sizeof(kept.outcome.text), "%s", c->checkpoint);
        outbox_put(out, journal, &kept);
    }
    outbox_put(out, journal, &begin);
    outbox_put(out, journal, &job);
}

void coordinator_snapshot(struct coordinator *c, struct outbox *out)
{
    write_begin(c, out);
    if (c->view.number == 0)
        return;
    struct message view = coordinator_message(c, MSG_VIEW);
    view.view_body = c->view;
    outbox_put(out, (struct address){PARTY_JOURNAL, 0}, &view);
}

/* The first step: whoever is known from the journal has time to find us. */
static void begin(struct coordinator *c, struct outbox *out)
{
    c->is_begun = true;
    c->begin_ms = c->now_ms;
    coordinator_note_progress(c);
    if (!c->is_recalled) {
        write_begin(c, out);
        return;
    }
    for (size_t i = 0; i < c->members.count; i++)
        c->members.items[i].heard_ms = c->now_ms;
    if (c->view.number == 0)
        return;
    uint64_t step = c->spec.metric_step < c->view.step_count ? c->spec.metric_step
                                                             : c->view.step_count;
    tracker_begin(c->tracker, &c->batching, step, c->view.step_count, c->view.test_count,
                  c->now_ms);
    c->phase = PHASE_TRAINING;
    c->is_view_due = c->is_view_urgent = true; /* it names the store of this life */
}

/* The loop ticks after every handful of messages; looking at everything that often is of no use. */
static void tick(struct coordinator *c, struct outbox *out)
{
    if (c->now_ms - c->tick_ms < TICK_EVERY_MS)
        return;
    c->tick_ms = c->now_ms;
    coordinator_watch(c, out);
    if (c->view.number == 0 && !coordinator_is_over(c) &&
        members_complete(&c->members, c->spec.settings))
        coordinator_begin_training(c, out); /* one that was silent has come back */
    coordinator_settle(c, out);
    if (!coordinator_is_over(c))
        coordinator_finish_if_done(c, out);
}

static void answer_late(struct coordinator *c, struct address from, struct outbox *out)
{
    struct message finish = coordinator_message(c, MSG_FINISH);
    finish.outcome.code = c->phase == PHASE_FINISHED  ? 0
                          : c->phase == PHASE_STOPPED ? ERR_STOPPED
                                                      : ERR_LOST;
    snprintf(finish.outcome.text, sizeof(finish.outcome.text), "%s", c->error);
    outbox_put(out, from, &finish);
}

static void hear(struct coordinator *c, struct address from, const struct message *msg,
                 struct outbox *out)
{
    struct member *member = members_find(&c->members, from);
    if (msg->kind == MSG_GONE) {
        if (member != NULL && member->gone_ms == 0)
            member->gone_ms = c->now_ms;
    } else if (coordinator_is_over(c)) {
        answer_late(c, from, out);
    } else if (msg->kind == MSG_HELLO) {
        if (member != NULL)
            note_heard(c, member, msg);
        take_hello(c, from, msg, out);
    } else if (member == NULL && c->is_recalled && run_equal(msg->run, c->spec.run)) {
        struct message who = coordinator_message(c, MSG_WHO); /* the journal does not know it */
        outbox_put(out, from, &who);
    } else if (member == NULL || !run_equal(msg->run, c->spec.run)) {
        char text[200];
        snprintf(text, sizeof(text),
                 "this is run %016" PRIx64 "%016" PRIx64 "; you speak of run %016" PRIx64
                 "%016" PRIx64 " or are no member of it any more",
                 c->spec.run.high, c->spec.run.low, msg->run.high, msg->run.low);
        refuse(c, from, text, out);
    } else {
        hear_member(c, member, msg, out);
    }
}

void coordinator_step(struct coordinator *c, uint64_t now_ms, struct address from,
                      const struct message *msg, struct outbox *out)
{
    c->now_ms = now_ms;
    if (!c->is_begun && !coordinator_is_over(c))
        begin(c, out);
    if (msg == NULL) {
        if (!coordinator_is_over(c))
            tick(c, out);
    } else if (from.party == PARTY_STORE) {
        if (from.id == c->spec.store_incarnation && !coordinator_is_over(c))
            hear_store(c, msg, out);
    } else if (from.party == PARTY_CLIENT) {
        if (msg->kind == MSG_DRAIN)
            coordinator_take_drain(c, from, msg, out);
    } else if (from.party == PARTY_SHARD || from.party == PARTY_WORKER) {
        hear(c, from, msg, out);
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
    c->has_kept = spec->resume_step > 0;
    c->kept_step = spec->resume_step;
    snprintf(c->checkpoint, sizeof(c->checkpoint), "%s", spec->resume_path);
    c->lane_owner = calloc(spec->settings->job.lanes, sizeof(*c->lane_owner));
    c->lane_moved_ms = calloc(spec->settings->job.lanes, sizeof(*c->lane_moved_ms));
    int err = c->lane_owner == NULL || c->lane_moved_ms == NULL ? ERR_NOMEM : 0;
    if (err == 0)
        err = tracker_create(spec->settings, &c->tracker);
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
    placement_free(&c->placement);
    members_free(&c->members);
    admission_free(&c->admission);
    tracker_destroy(c->tracker);
    free(c->lane_owner);
    free(c->lane_moved_ms);
    free(c);
}

void coordinator_progress(const struct coordinator *c, uint64_t now_ms, struct progress *out)
{
    struct tracked now;
    tracker_read(c->tracker, now_ms, &now);
    *out = (struct progress){
        .phase = c->phase,
        .step = now.step,
        .step_count = c->view.step_count,
        .start_step = c->view.start_step,
        .epoch = now.epoch,
        .epoch_count = now.epoch_count,
        .loss = now.loss,
        .train_loss = now.train_loss,
        .test_loss = now.test_loss,
        .test_accuracy = now.test_accuracy,
        .samples_per_s = now.samples_per_s,
        .mean_samples_per_s = now.mean_samples_per_s,
        .left_s = NAN,
        .wall_s = !c->is_begun ? 0.0 : (double)(now_ms - c->begin_ms) / 1000.0,
        .view = c->view.number,
        .era = c->view.era,
        .is_protected = c->view.number != 0 && placement_is_protected(&c->placement),
        .skipped_count = now.skipped_count,
        .failed_checkpoint_count = c->failed_checkpoint_count,
    };
    if (now.samples_per_s > 0.0 && now.step < c->view.step_count)
        out->left_s = (double)(c->view.step_count - now.step) * c->batching.batch *
                      (double)rounds_steps(c->spec.settings) / now.samples_per_s;
    for (size_t i = 0; i < c->members.count; i++)
        for (size_t n = 0; n < BEAT_STALENESS; n++)
            out->staleness_count[n] += c->members.items[i].beat.staleness_count[n];
    coordinator_trouble_text(c, out->trouble, sizeof(out->trouble));
    memcpy(out->digest, c->digest, sizeof(out->digest));
    memcpy(out->checkpoint, c->checkpoint, sizeof(out->checkpoint));
    memcpy(out->error, c->error, sizeof(out->error));
    memcpy(out->ending, c->ending, sizeof(out->ending));
    out->early_stop = c->view.early_stop;
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
