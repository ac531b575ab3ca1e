#include <inttypes.h>
#include <math.h>
#include <string.h>
#include "common/log.h"
#include "common/rounds.h"
#include "ps/coordinator_state.h"

enum {
    PROBE_MS = 100,        /* between two messages that find out whose connection is gone */
    GONE_LOCAL_MS = 30,    /* a unix socket closes when its process ends, seldom else */
    DEAD_LOCAL_MS = 300,   /* else it has been made again by then */
    GONE_REMOTE_MS = 500,  /* one that broke is made again within this time */
    RETURN_MS = 3000,      /* members find a coordinator that was started again */
    LEAVE_MS = 1000,       /* others may be asked to stop as well: then all do, with a checkpoint */
    LATE_FLOOR_MS = 200,
    LACK_FLOOR_MS = 1500,  /* beats tell of it, and they are half a second apart */
    DEAL_MS = 500,
    PAUSE_MS = 1000,
    FORGIVE_MS = 30000
};

/* What a clock of milliseconds and a busy machine make of workers that are equals. */
static const double BEHIND_MIN_MS = 5.0, LAGGING_MIN_MS = 1.0;

enum { ARRIVALS_MIN = 8 };

static uint64_t since(uint64_t now_ms, uint64_t then_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

static void probe(struct coordinator *c, struct outbox *out)
{
    if (since(c->now_ms, c->probe_ms) < PROBE_MS)
        return;
    c->probe_ms = c->now_ms;
    struct message beat = coordinator_message(c, MSG_BEAT);
    for (size_t i = 0; i < c->members.count; i++)
        if (c->members.items[i].state != MEMBER_GONE)
            outbox_put(out, c->members.items[i].who, &beat);
}

static bool is_local(const struct member *m)
{
    return m->who.party == PARTY_WORKER || strncmp(m->hello.endpoint, "ipc://", 6) == 0;
}

static bool is_disconnected(const struct coordinator *c, const struct member *m)
{
    uint64_t grace_ms = is_local(m) ? GONE_LOCAL_MS : GONE_REMOTE_MS;
    if (!m->is_heard)
        grace_ms = RETURN_MS;
    return m->gone_ms != 0 && since(c->now_ms, m->gone_ms) >= grace_ms;
}

/* Its process has ended: it makes no version any more. */
static bool is_known_dead(const struct coordinator *c, const struct member *m)
{
    return m->who.party == PARTY_SHARD && is_local(m) && m->is_heard && m->gone_ms != 0 &&
           since(c->now_ms, m->gone_ms) >= DEAD_LOCAL_MS;
}

/* How long a member may say nothing: from how regular its beats were. */
static uint64_t silence_ms(const struct coordinator *c, const struct member *m)
{
    const struct settings *settings = c->spec.settings;
    uint64_t floor_ms = (uint64_t)(settings->cluster.silence_floor_s * 1000.0);
    uint64_t ceiling_ms = (uint64_t)(settings->cluster.silence_s * 1000.0);
    return deadline_ms(&m->beats, 8.0, floor_ms < ceiling_ms ? floor_ms : ceiling_ms, ceiling_ms);
}

static void watch_silence(struct coordinator *c)
{
    char who[160];
    for (size_t i = 0; i < c->members.count; i++) {
        struct member *m = &c->members.items[i];
        bool is_disconnect = is_disconnected(c, m);
        uint64_t silent_ms = since(c->now_ms, m->heard_ms), limit_ms = silence_ms(c, m);
        bool is_deaf = m->owed_ms != 0 && since(c->now_ms, m->owed_ms) >= limit_ms;
        m->is_dead = m->is_dead || is_known_dead(c, m);
        if (m->state == MEMBER_GONE || (!is_disconnect && silent_ms < limit_ms && !is_deaf))
            continue;
        m->state = MEMBER_GONE;
        m->is_deaf = is_deaf;
        if (m->who.party == PARTY_WORKER)
            tracker_lose(c->tracker, c->now_ms);
        c->is_view_due = true;
        member_text(m, who, sizeof(who));
        char quoted[200];
        log_event(LOG_WARN, "lost", "who=%s why=%s silent_ms=%" PRIu64 " step=%" PRIu64,
                  log_quote(quoted, sizeof(quoted), who),
                  is_disconnect ? "connection" : is_deaf ? "deaf" : "silence", silent_ms,
                  coordinator_tracked(c).step);
    }
}

/* Who leaves goes when nothing of it is needed any more. */
static void dismiss(struct coordinator *c, struct outbox *out)
{
    for (size_t i = c->members.count; i-- > 0;) {
        struct member *m = &c->members.items[i];
        bool is_free = m->who.party == PARTY_WORKER
                           ? members_count(&c->members, PARTY_WORKER, true) > 0 ||
                                 coordinator_may_be_empty(c)
                           : !placement_uses(&c->placement, m->who.id);
        if (m->state != MEMBER_LEAVING || !is_free || c->is_view_due ||
            c->view_ms < m->leaving_ms || since(c->now_ms, m->leaving_ms) < LEAVE_MS)
            continue;
        struct message finish = coordinator_message(c, MSG_FINISH);
        outbox_put(out, m->who, &finish);
        char who[160], quoted[200];
        member_text(m, who, sizeof(who));
        log_event(LOG_INFO, "left", "who=%s", log_quote(quoted, sizeof(quoted), who));
        members_remove(&c->members, m);
        c->is_view_due = true;
    }
}

/* The lowest version that any block is known to have; UINT64_MAX when nobody has told one. */
static uint64_t lowest_version(const struct coordinator *c)
{
    uint64_t lowest = UINT64_MAX;
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if (m->who.party == PARTY_SHARD && m->state != MEMBER_GONE && m->beat.block_count > 0 &&
            m->beat.step < lowest)
            lowest = m->beat.step;
    }
    return lowest;
}

/* How long a job may stand still: where the first result of a round comes after several steps, as
 * much longer as rounds take; until that is known, answer_s for each of the steps. */
static double patience_s(const struct coordinator *c)
{
    double answer_s = c->spec.settings->cluster.answer_s;
    uint64_t more = rounds_steps(c->spec.settings) - 1;
    uint64_t ceiling_ms = (uint64_t)(answer_s * 1000.0) * more;
    return answer_s + (double)deadline_ms(&c->steps, 6.0, 0, ceiling_ms) / 1000.0;
}

/* When something of a step is overdue. */
static uint64_t late_ms(const struct coordinator *c, uint64_t floor_ms)
{
    uint64_t ceiling_ms = (uint64_t)(patience_s(c) * 500.0);
    if (floor_ms > ceiling_ms)
        floor_ms = ceiling_ms;
    uint64_t usual_ms = deadline_ms(&c->steps, 0.0, 0, ceiling_ms);
    uint64_t late_ms = deadline_ms(&c->steps, 6.0, floor_ms, ceiling_ms);
    return late_ms > usual_ms + usual_ms / 2 ? late_ms : usual_ms + usual_ms / 2;
}

/* Steps whose reports were lost are not waited for when all blocks are past them. */
static void watch_steps(struct coordinator *c)
{
    uint64_t lowest = lowest_version(c);
    tracker_tick(c->tracker, lowest == UINT64_MAX ? 0 : lowest, c->now_ms);
    if (c->phase == PHASE_TRAINING && coordinator_tracked(c).step == c->view.step_count) {
        c->phase = PHASE_EVALUATING;
        c->stop_ms = c->now_ms;
    }
}

static struct member *owner_of(const struct coordinator *c, uint32_t lane)
{
    return members_find(&c->members, (struct address){PARTY_WORKER, c->lane_owner[lane]});
}

void coordinator_hurry(struct coordinator *c, uint32_t lane, uint64_t waited_ms, uint64_t limit_ms)
{
    struct member *owner = owner_of(c, lane);
    if (since(c->now_ms, c->lane_moved_ms[lane]) < limit_ms)
        return;
    if (!coordinator_move_lane(c, lane) || owner == NULL)
        return;
    owner->is_lagging = true;
    owner->late_ms = (double)waited_ms;
    owner->lane_told_ms = c->now_ms;
}

/* Somebody has nothing to do who, as far as is known, would have been done by now. */
static bool has_idle_worker(const struct coordinator *c, uint64_t step, uint64_t waited_ms)
{
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        bool is_idle = m->who.party == PARTY_WORKER && m->state == MEMBER_HERE &&
                       m->lane_ms < (double)waited_ms && m->late_ms < (double)waited_ms;
        for (uint32_t lane = 0; is_idle && lane < c->spec.settings->job.lanes; lane++)
            is_idle = c->lane_owner[lane] != m->who.id ||
                      tracker_has_lane(c->tracker, step, lane);
        if (is_idle)
            return true;
    }
    return false;
}

/* By a beat since then, some block has not come to the step: none of its lanes can have begun. */
static bool is_held_up(const struct coordinator *c, uint64_t step, uint64_t since_ms)
{
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if (m->who.party == PARTY_SHARD && m->state != MEMBER_GONE && m->beat.block_count > 0 &&
            m->beat.step < step && m->beat_ms > since_ms)
            return true;
    }
    return false;
}

/* Lanes that have not reported though others are done, and lanes whose gradients some shard lacks
 * though they may have been reported: their worker may be cut off from that shard. */
static void watch_lanes(struct coordinator *c)
{
    struct tracked now = coordinator_tracked(c);
    uint64_t limit_ms = late_ms(c, LATE_FLOOR_MS), lowest = lowest_version(c);
    uint64_t waited_ms = since(c->now_ms, now.step_ms);
    bool is_in_work = now.step < c->view.step_count && lowest <= now.step &&
                      !is_held_up(c, now.step, now.step_ms);
    if (c->few_ms != 0) /* nobody can go on, whoever has the lanes */
        return;
    if (coordinator_is_held(c)) {
        coordinator_hurry_evaluations(c, late_ms(c, 2 * LACK_FLOOR_MS));
        return;
    }
    if (is_in_work && waited_ms >= limit_ms && has_idle_worker(c, now.step, waited_ms))
        for (uint32_t lane = 0; lane < c->view.lane_count; lane++)
            if (!tracker_has_lane(c->tracker, now.step, lane))
                coordinator_hurry(c, lane, waited_ms, limit_ms);
    limit_ms = late_ms(c, LACK_FLOOR_MS);
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        uint64_t lack_ms = since(m->beat_ms, m->lack_ms);
        if (m->who.party != PARTY_SHARD || m->state == MEMBER_GONE || m->beat.step > lowest ||
            lack_ms < limit_ms) /* who is ahead waits for those behind */
            continue;
        for (uint32_t lane = m->beat.lack_begin;
             lane < m->beat.lack_end && lane < c->view.lane_count; lane++)
            coordinator_hurry(c, lane, lack_ms, limit_ms);
    }
}

/* After the last step only evaluations and digests are missing: who is done helps out. */
static void watch_end(struct coordinator *c)
{
    uint64_t limit_ms = late_ms(c, 2 * LACK_FLOOR_MS);
    if (coordinator_tracked(c).step < c->view.step_count ||
        since(c->now_ms, c->progress_ms) < limit_ms)
        return;
    for (uint32_t lane = 0; lane < c->view.lane_count; lane++) {
        const struct member *owner = owner_of(c, lane);
        if (owner == NULL || !owner->has_finished)
            coordinator_hurry(c, lane, limit_ms, limit_ms);
    }
}

static bool has_arrivals(const struct member *m)
{
    return m->who.party == PARTY_WORKER && m->state == MEMBER_HERE &&
           m->arrivals.count >= ARRIVALS_MIN;
}

/* A process that is stopped again and again, or far away, holds a step up however fast it
 * computes. */
static void watch_arrivals(struct coordinator *c)
{
    double earliest_ms = INFINITY;
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if (has_arrivals(m) && deadline_mean(&m->arrivals) < earliest_ms)
            earliest_ms = deadline_mean(&m->arrivals);
    }
    for (size_t i = 0; i < c->members.count; i++) {
        struct member *m = &c->members.items[i];
        double behind_ms = has_arrivals(m) ? deadline_mean(&m->arrivals) - earliest_ms : 0.0;
        m->behind_ms = behind_ms >= BEHIND_MIN_MS ? behind_ms : 0.0;
    }
}

/* Whom lanes were kept from until now since it could not get their weights. */
static bool has_recovered(const struct coordinator *c, struct member *m)
{
    if (m->lost_step == 0 || m->lost_step > lowest_version(c))
        return false;
    m->lost_step = 0;
    return true;
}

static void watch_deal(struct coordinator *c)
{
    double sum_ms = 0.0;
    size_t known = 0;
    bool is_forced = false;
    if (since(c->now_ms, c->deal_ms) < DEAL_MS)
        return;
    for (size_t i = 0; i < c->members.count; i++) {
        struct member *m = &c->members.items[i];
        if ((m->lane_ms > 0.0 || m->late_ms > 0.0 || m->behind_ms > 0.0) &&
            since(c->now_ms, m->lane_told_ms) >= FORGIVE_MS)
            member_forget_lanes(m); /* it has had no lane to show what it can */
        is_forced |= has_recovered(c, m);
        sum_ms += m->lane_ms;
        known += m->lane_ms > 0.0;
    }
    for (size_t i = 0; i < c->members.count; i++) {
        struct member *m = &c->members.items[i];
        double others_ms = known > 1 ? (sum_ms - m->lane_ms) / (double)(known - 1) : 0.0;
        m->is_lagging = m->late_ms > 0.0 || m->behind_ms > 0.0 ||
                        (known > 1 && m->lane_ms > 2.0 * others_ms &&
                         m->lane_ms > others_ms + LAGGING_MIN_MS);
    }
    watch_arrivals(c);
    coordinator_deal(c, is_forced);
}

static void few_text(const struct coordinator *c, char *text, size_t size)
{
    char have[400];
    members_missing_text(&c->members, c->spec.settings, have, sizeof(have));
    snprintf(text, size, "too few processes to go on: %s%s", have,
             coordinator_has_orphans(c) ? ", and blocks that no server has" : "");
}

static void watch_few(struct coordinator *c, struct outbox *out)
{
    bool is_idle = members_count(&c->members, PARTY_WORKER, false) == 0;
    bool is_stopping = is_idle && c->phase == PHASE_STOPPING; /* it waits for no other worker */
    double limit_s = is_stopping ? 0.0 : c->spec.settings->cluster.give_up_s;
    bool is_few = is_idle || members_count(&c->members, PARTY_SHARD, false) == 0 ||
                  coordinator_has_orphans(c);
    if (!is_few) {
        c->few_ms = 0;
        return;
    }
    if (c->few_ms == 0)
        c->few_ms = c->now_ms;
    coordinator_note_progress(c); /* this deadline is the one that counts */
    double waited_s = (double)since(c->now_ms, c->few_ms) / 1000.0;
    if (waited_s < limit_s || waited_s < c->spec.settings->cluster.silence_s)
        return;
    char text[460], why[512];
    few_text(c, text, sizeof(text));
    snprintf(why, sizeof(why), "%s, for %.0f s (cluster.%s), at step %" PRIu64, text, waited_s,
             is_stopping ? "silence_s" : "give_up_s", coordinator_tracked(c).step);
    coordinator_give_up(c, why, out);
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
static void stuck_text(const struct coordinator *c, char *text, size_t size)
{
    struct tracked now = coordinator_tracked(c);
    double limit_s = patience_s(c);
    const struct member *m = shard_behind(c, now.step);
    char who[160] = "nobody";
    if (m != NULL) {
        member_text(m, who, sizeof(who));
        snprintf(text, size, "step %" PRIu64 " has waited %.0f s (cluster.answer_s) for %s, whose "
                 "weights are still those of step %" PRIu64 ", without lanes %" PRIu32 " to %"
                 PRIu32 ": a slow disk for checkpoints or a broken connection may be why",
                 now.step, limit_s, who, m->beat.step, m->beat.lack_begin, m->beat.lack_end);
    } else if (coordinator_is_held(c)) {
        snprintf(text, size, "step %" PRIu64 " is evaluated before anybody goes on (job.patience), "
                 "but for %.0f s (cluster.answer_s) nothing came of what is missing: evaluation "
                 "%s, checkpoint %s", now.step, limit_s,
                 now.eval_step == now.step ? "done" : "missing",
                 c->has_kept && c->kept_step == now.step ? "written" : "missing");
    } else if (now.step == c->view.step_count) {
        snprintf(text, size, "all %" PRIu64 " steps are done, but for %.0f s (cluster.answer_s) "
                 "nothing came of what is missing: evaluation %s, digests of the weights, last "
                 "checkpoint %s", now.step, limit_s, now.has_final_eval ? "done" : "missing",
                 c->has_kept && c->kept_step == now.step ? "written" : "missing");
    } else {
        uint32_t lane = tracker_missing_lane(c->tracker);
        m = lane < c->view.lane_count ? owner_of(c, lane) : NULL;
        if (m != NULL)
            member_text(m, who, sizeof(who));
        snprintf(text, size, "step %" PRIu64 " has waited %.0f s (cluster.answer_s) for lane %"
                 PRIu32 " of %s", now.step, limit_s, lane, who);
    }
}

static void watch_progress(struct coordinator *c, struct outbox *out)
{
    char why[512];
    uint64_t sum = 0;
    for (size_t i = 0; i < c->members.count; i++)
        if (c->members.items[i].who.party == PARTY_SHARD)
            sum += c->members.items[i].beat.version_sum;
    if (sum != c->version_sum)
        coordinator_note_progress(c);
    c->version_sum = sum;
    if ((double)since(c->now_ms, c->progress_ms) < patience_s(c) * 1000.0)
        return;
    stuck_text(c, why, sizeof(why));
    coordinator_give_up(c, why, out);
}

void coordinator_trouble_text(const struct coordinator *c, char *text, size_t size)
{
    char who[160];
    text[0] = 0;
    if (c->view.number == 0 || coordinator_is_over(c))
        return;
    if (c->few_ms != 0) {
        few_text(c, text, size);
        return;
    }
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if (m->state != MEMBER_GONE && !m->is_lagging)
            continue;
        member_text(m, who, sizeof(who));
        if (m->state == MEMBER_GONE)
            snprintf(text, size, "%s is lost, silent for %.1f s", who,
                     (double)since(c->now_ms, m->heard_ms) / 1000.0);
        else if (m->behind_ms > 0.0)
            snprintf(text, size, "%s lags: its lanes come %.1f ms after the others'", who,
                     m->behind_ms);
        else
            snprintf(text, size, "%s lags: %.1f ms a lane", who,
                     m->late_ms > m->lane_ms ? m->late_ms : m->lane_ms);
        return;
    }
}

/* Nobody is silent who could not be heard, since this process itself stood still. */
static void excuse_pause(struct coordinator *c)
{
    uint64_t gap_ms = c->now_ms - c->watch_ms;
    bool is_pause = c->watch_ms != 0 && gap_ms >= PAUSE_MS;
    c->watch_ms = c->now_ms;
    if (!is_pause)
        return;
    for (size_t i = 0; i < c->members.count; i++) {
        struct member *m = &c->members.items[i];
        m->heard_ms += gap_ms;
        m->owed_ms += m->owed_ms == 0 ? 0 : gap_ms;
    }
    log_event(LOG_WARN, "paused", "ms=%" PRIu64, gap_ms);
}

void coordinator_watch(struct coordinator *c, struct outbox *out)
{
    char text[400];
    excuse_pause(c);
    probe(c, out);
    watch_silence(c);
    if (c->view.number == 0) {
        double limit_s = c->spec.settings->cluster.wait_s;
        if ((double)since(c->now_ms, c->begin_ms) < limit_s * 1000.0)
            return;
        members_missing_text(&c->members, c->spec.settings, text, sizeof(text));
        coordinator_fail(c, out, "waited %.0f s (cluster.wait_s) and have %s", limit_s, text);
        return;
    }
    coordinator_watch_nonfinite(c, out);
    dismiss(c, out);
    watch_steps(c);
    watch_lanes(c);
    watch_end(c);
    watch_deal(c);
    if (c->phase == PHASE_TRAINING)
        traffic_watch(&c->traffic, &c->members, &c->placement, coordinator_tracked(c).step,
                      c->now_ms);
    watch_few(c, out);
    watch_progress(c, out);
    coordinator_watch_stop(c, out);
    coordinator_ask_held(c, out);
}
