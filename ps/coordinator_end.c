#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include "common/log.h"
#include "common/rounds.h"
#include "ps/coordinator_state.h"
#include "ps/view_maker.h"

enum {
    STOP_MARGIN_MAX = 1 << 20,
    ASK_AGAIN_MS = 2000,
    ASK_LAST_MS = 10000, /* shards send the last version by themselves; the store may have died */
    LAST_CHECKPOINT_MS = 5000,
    OTHER_SENTENCE_MS = 500
};

enum { FINAL_FAILURES_MAX = 3 };

void coordinator_end(struct coordinator *c, enum phase phase, int code, struct outbox *out)
{
    if (coordinator_is_over(c))
        return;
    c->phase = phase;
    struct message finish = coordinator_message(c, MSG_FINISH);
    finish.outcome.code = code;
    finish.outcome.step = coordinator_tracked(c).step;
    snprintf(finish.outcome.text, sizeof(finish.outcome.text), "%s", c->error);
    outbox_put(out, (struct address){PARTY_JOURNAL, 0}, &finish);
    for (size_t i = 0; i < c->members.count; i++)
        outbox_put(out, c->members.items[i].who, &finish);
    log_event(code == 0 ? LOG_INFO : LOG_ERROR, "end", "phase=%s step=%" PRIu64,
              phase_text(phase), finish.outcome.step);
}

void coordinator_fail(struct coordinator *c, struct outbox *out, const char *format, ...)
{
    if (coordinator_is_over(c))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(c->error, sizeof(c->error), format, args);
    va_end(args);
    coordinator_end(c, PHASE_FAILED, ERR_LOST, out);
}

void coordinator_note_nonfinite(struct coordinator *c, char sentence_out[NONFINITE_TEXT_BYTES],
                                const char *text)
{
    if (c->nonfinite_ms == 0)
        c->nonfinite_ms = c->now_ms;
    if (sentence_out[0] == '\0')
        snprintf(sentence_out, NONFINITE_TEXT_BYTES, "%s", text);
}

void coordinator_watch_nonfinite(struct coordinator *c, struct outbox *out)
{
    bool has_both = c->bad_loss[0] != '\0' && c->bad_gradient[0] != '\0';
    if (c->nonfinite_ms == 0 || (!has_both && c->now_ms - c->nonfinite_ms < OTHER_SENTENCE_MS))
        return;
    coordinator_fail(c, out, "%s%s%s", c->bad_gradient, has_both ? "; " : "", c->bad_loss);
}

/* Who has lanes must have told the digest of what it ended with. */
static bool are_digests_in(const struct coordinator *c)
{
    size_t told = 0;
    for (uint32_t lane = 0; lane < c->view.lane_count; lane++) {
        uint32_t idx = c->view.lane_worker[lane];
        if (idx == NOBODY)
            return false;
        struct address who = {PARTY_WORKER, c->view.workers[idx].incarnation};
        const struct member *m = members_find(&c->members, who);
        if (m == NULL || !m->has_finished)
            return false;
        told++;
    }
    return told > 0;
}

void coordinator_finish_if_done(struct coordinator *c, struct outbox *out)
{
    coordinator_watch_hold(c, out);
    if (coordinator_is_over(c) || c->view.number == 0 || !c->has_kept ||
        c->kept_step < c->view.step_count || !coordinator_tracked(c).has_final_eval ||
        !are_digests_in(c))
        return;
    coordinator_end(c, PHASE_FINISHED, 0, out);
}

void coordinator_ask_checkpoint(struct coordinator *c, uint64_t step, struct outbox *out)
{
    struct message ask = coordinator_message(c, MSG_CHECKPOINT_ASK);
    ask.outcome.step = step;
    for (size_t i = 0; i < c->members.count; i++)
        if (c->members.items[i].who.party == PARTY_SHARD)
            outbox_put(out, c->members.items[i].who, &ask);
}

static void tell_shards(struct coordinator *c, uint64_t step, struct outbox *out)
{
    c->stop_ms = c->now_ms;
    coordinator_ask_checkpoint(c, step, out);
}

/* Nobody works on the next version. */
static bool is_idle(const struct coordinator *c)
{
    return members_count(&c->members, PARTY_WORKER, false) == 0;
}

/* Asks the shards to keep a version a little ahead of all of them, or the newest when nobody works
 * on the next; who is past it says so and is asked again with twice the margin. */
static void ask_stop_checkpoint(struct coordinator *c, uint64_t newest, struct outbox *out)
{
    uint64_t first = rounds_steps(c->spec.settings) > 1 ? 1 : 2; /* rounds may take long */
    c->stop_margin = c->stop_margin == 0 ? first : 2 * c->stop_margin;
    if (c->stop_margin > STOP_MARGIN_MAX)
        c->stop_margin = STOP_MARGIN_MAX;
    c->stop_step = newest + (is_idle(c) ? 0 : c->stop_margin);
    if (c->stop_step > c->view.step_count)
        c->stop_step = c->view.step_count;
    tell_shards(c, c->stop_step, out);
}

static uint64_t newest_version(const struct coordinator *c)
{
    uint64_t newest = coordinator_tracked(c).step;
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if (m->who.party == PARTY_SHARD && m->beat.block_count > 0 && m->beat.step > newest)
            newest = m->beat.step;
    }
    return newest;
}

void coordinator_stop(struct coordinator *c, struct outbox *out)
{
    if (coordinator_is_over(c) || c->phase == PHASE_STOPPING)
        return;
    if (c->view.number == 0) {
        snprintf(c->error, sizeof(c->error), "stopped before training began");
        coordinator_end(c, PHASE_STOPPED, ERR_STOPPED, out);
        return;
    }
    c->phase = PHASE_STOPPING;
    coordinator_note_progress(c);
    for (size_t i = 0; i < c->members.count; i++) { /* they end with the job */
        struct member *m = &c->members.items[i];
        c->is_view_due = c->is_view_due || m->state == MEMBER_LEAVING;
        if (m->state == MEMBER_LEAVING)
            m->state = MEMBER_HERE;
    }
    ask_stop_checkpoint(c, newest_version(c), out);
}

void coordinator_give_up(struct coordinator *c, const char *why, struct outbox *out)
{
    if (c->give_up_ms != 0 || coordinator_is_over(c))
        return;
    snprintf(c->error, sizeof(c->error), "%s", why);
    if (c->view.number == 0 || coordinator_has_orphans(c)) {
        coordinator_end(c, PHASE_FAILED, ERR_LOST, out);
        return;
    }
    c->give_up_ms = c->now_ms;
    c->stop_step = newest_version(c);
    if (c->has_kept && c->kept_step == c->stop_step)
        coordinator_end(c, PHASE_FAILED, ERR_LOST, out);
    else
        tell_shards(c, c->stop_step, out);
}

/* As long as it is not whole; when all workers are lost meanwhile, the newest that is. */
static void ask_again(struct coordinator *c, struct outbox *out)
{
    if (c->phase == PHASE_STOPPING && is_idle(c))
        c->stop_step = newest_version(c);
    tell_shards(c, c->stop_step, out);
}

void coordinator_watch_stop(struct coordinator *c, struct outbox *out)
{
    if (c->give_up_ms != 0 && c->now_ms - c->give_up_ms >= LAST_CHECKPOINT_MS)
        coordinator_end(c, PHASE_FAILED, ERR_LOST, out);
    else if ((c->phase == PHASE_STOPPING || c->give_up_ms != 0) &&
             c->now_ms - c->stop_ms >= ASK_AGAIN_MS)
        ask_again(c, out);
    else if (c->phase == PHASE_EVALUATING && c->kept_step < c->view.step_count &&
             c->now_ms - c->stop_ms >= ASK_LAST_MS)
        tell_shards(c, c->view.step_count, out);
}

void coordinator_take_digest(struct coordinator *c, struct member *member,
                             const struct message *msg, struct outbox *out)
{
    if (c->view.number == 0 || member->who.party != PARTY_WORKER ||
        msg->digest.step != c->view.step_count || msg->era != c->view.era)
        return;
    if (!member->has_finished)
        coordinator_note_progress(c);
    member->has_finished = true;
    if (c->digest[0] == 0)
        memcpy(c->digest, msg->digest.hex, sizeof(c->digest));
    if (strcmp(c->digest, msg->digest.hex) != 0) {
        char who[160];
        member_text(member, who, sizeof(who));
        coordinator_fail(c, out,
                         "%s ended with other weights (digest %s) than the first to end (%s)", who,
                         msg->digest.hex, c->digest);
        return;
    }
    coordinator_finish_if_done(c, out);
}

/* The store tries again with what comes next; only the last checkpoint cannot be done without. */
static void note_failure(struct coordinator *c, const struct message *msg, struct outbox *out)
{
    bool is_last = msg->outcome.step == c->view.step_count ||
                   (c->phase == PHASE_STOPPING && msg->outcome.step == c->stop_step);
    bool is_held = msg->outcome.step != 0 && msg->outcome.step == c->view.early_stop.hold_step;
    c->failed_checkpoint_count++;
    if (is_held)
        coordinator_note_held_failure(c);
    if (!is_last && !is_held)
        return;
    if (++c->final_failure_count < FINAL_FAILURES_MAX) {
        c->stop_ms = c->now_ms - ASK_LAST_MS + ASK_AGAIN_MS; /* soon, not at once */
        return;
    }
    coordinator_fail(c, out, "checkpoint of step %" PRIu64 ": %.400s", msg->outcome.step,
                     msg->outcome.text);
}

static void keep(struct coordinator *c, const struct message *msg, struct outbox *out)
{
    if (c->has_kept && msg->outcome.step < c->kept_step)
        return;
    c->has_kept = true;
    c->kept_step = msg->outcome.step;
    snprintf(c->checkpoint, sizeof(c->checkpoint), "%s", msg->outcome.text);
    outbox_put(out, (struct address){PARTY_JOURNAL, 0}, msg);
    coordinator_note_progress(c);
}

void coordinator_take_checkpoint(struct coordinator *c, const struct message *msg,
                                 struct outbox *out)
{
    if (msg->outcome.code != 0) {
        note_failure(c, msg, out);
        return;
    }
    if (settings_has_clocks(c->spec.settings) && c->view.number != 0 && msg->era != c->view.era)
        return; /* this era has other weights of that step */
    if (c->view.number != 0 && msg->outcome.step > c->view.step_count) {
        c->refused_count++; /* no era can begin there */
        return;
    }
    keep(c, msg, out);
    if (c->give_up_ms != 0 && msg->outcome.step == c->stop_step) {
        coordinator_end(c, PHASE_FAILED, ERR_LOST, out);
        return;
    }
    if (c->phase == PHASE_STOPPING && msg->outcome.step == c->stop_step &&
        c->stop_step < c->view.step_count) {
        snprintf(c->error, sizeof(c->error), "stopped at step %" PRIu64 " of %" PRIu64,
                 c->stop_step, c->view.step_count);
        coordinator_end(c, PHASE_STOPPED, ERR_STOPPED, out);
        return;
    }
    coordinator_finish_if_done(c, out);
}

void coordinator_take_late(struct coordinator *c, const struct message *msg, struct outbox *out)
{
    if (c->phase != PHASE_STOPPING || msg->outcome.step != c->stop_step ||
        c->stop_step == c->view.step_count) /* the last version is kept anyway */
        return;
    uint64_t newest = newest_version(c);
    ask_stop_checkpoint(c, msg->outcome.newest > newest ? msg->outcome.newest : newest, out);
}
