#include <inttypes.h>
#include <string.h>
#include "common/log.h"
#include "ps/coordinator_state.h"

enum { ASK_HELD_MS = 10000, ASK_FAILED_MS = 2000 };

void coordinator_begin_holds(struct coordinator *c)
{
    struct early_stop *stop = &c->view.early_stop;
    uint64_t start = c->view.start_step, resumed = c->spec.early_stop.hold_step;
    *stop = c->spec.early_stop;
    stop->hold_step = early_stop_next(c->spec.settings, &c->batching, c->view.test_count, start,
                                      c->view.step_count);
    if (stop->hold_step != 0 && resumed == start && start > 0)
        stop->hold_step = start; /* it was to be evaluated when its checkpoint was made */
    c->held_ms = c->now_ms;
}

bool coordinator_is_held(const struct coordinator *c)
{
    uint64_t hold_step = c->view.early_stop.hold_step;
    return hold_step != 0 && hold_step < c->view.step_count &&
           coordinator_tracked(c).step >= hold_step;
}

static bool is_kept(const struct coordinator *c)
{
    return c->has_kept && c->kept_step >= c->view.early_stop.hold_step;
}

static bool is_evaluated(const struct coordinator *c)
{
    return coordinator_tracked(c).eval_step == c->view.early_stop.hold_step;
}

/* The evaluation that is waited for is in, and so is its checkpoint if it is the best one, or the
 * last. */
static bool is_decided(const struct coordinator *c, struct early_stop *next_out)
{
    const struct settings *settings = c->spec.settings;
    double loss = coordinator_tracked(c).test_loss;
    bool is_better = early_stop_is_better(&c->view.early_stop, settings, loss);
    *next_out = c->view.early_stop;
    early_stop_note(next_out, settings, loss);
    return is_kept(c) || (!is_better && !early_stop_is_due(next_out, settings));
}

static void end_early(struct coordinator *c, struct outbox *out)
{
    const struct early_stop *stop = &c->view.early_stop;
    tracker_reach(c->tracker, stop->hold_step, c->now_ms);
    snprintf(c->ending, sizeof(c->ending),
             "stopped early at step %" PRIu64 " of %" PRIu64 ": in %" PRIu64
             " evaluation%s the held-out loss was no better than %.6g of step %" PRIu64,
             stop->hold_step, c->view.step_count, stop->worse_count,
             stop->worse_count == 1 ? "" : "s", stop->best_loss, stop->best_step);
    coordinator_end(c, PHASE_FINISHED, 0, out);
}

void coordinator_watch_hold(struct coordinator *c, struct outbox *out)
{
    struct early_stop next;
    if (c->view.number == 0 || c->view.early_stop.hold_step == 0 || c->is_all_evaluated ||
        coordinator_is_over(c) || !is_evaluated(c) || !is_decided(c, &next))
        return;
    uint64_t hold_step = next.hold_step;
    c->view.early_stop = next;
    log_event(LOG_INFO, "evaluated",
              "step=%" PRIu64 " loss=%.9g best_step=%" PRIu64 " worse=%" PRIu64, hold_step,
              coordinator_tracked(c).test_loss, next.best_step, next.worse_count);
    c->is_all_evaluated = hold_step == c->view.step_count;
    if (c->is_all_evaluated)
        return; /* the job ends here in any case */
    if (early_stop_is_due(&next, c->spec.settings)) {
        end_early(c, out);
        return;
    }
    c->view.early_stop.hold_step = early_stop_next(c->spec.settings, &c->batching,
                                                   c->view.test_count, hold_step,
                                                   c->view.step_count);
    c->held_ms = c->now_ms;
    c->is_view_due = c->is_view_urgent = true;
    coordinator_settle(c, out);
}

/* The store may have died with it, or could not write it. */
void coordinator_ask_held(struct coordinator *c, struct outbox *out)
{
    if (!coordinator_is_held(c) || is_kept(c) || !is_evaluated(c) ||
        c->now_ms - c->held_ms < ASK_HELD_MS)
        return;
    c->held_ms = c->now_ms;
    coordinator_ask_checkpoint(c, c->view.early_stop.hold_step, out);
}

void coordinator_note_held_failure(struct coordinator *c)
{
    c->held_ms = c->now_ms - ASK_HELD_MS + ASK_FAILED_MS; /* soon, not at once */
}

/* Somebody has evaluated all lanes that it has. */
static bool has_evaluated_all(const struct coordinator *c, uint64_t step)
{
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        bool is_idle = m->who.party == PARTY_WORKER && m->state == MEMBER_HERE;
        for (uint32_t lane = 0; is_idle && lane < c->view.lane_count; lane++)
            is_idle = c->lane_owner[lane] != m->who.id ||
                      tracker_has_evaluation(c->tracker, step, lane);
        if (is_idle)
            return true;
    }
    return false;
}

void coordinator_hurry_evaluations(struct coordinator *c, uint64_t limit_ms)
{
    uint64_t step = c->view.early_stop.hold_step;
    if (is_evaluated(c) || c->now_ms - c->progress_ms < limit_ms || !has_evaluated_all(c, step))
        return;
    for (uint32_t lane = 0; lane < c->view.lane_count; lane++)
        if (!tracker_has_evaluation(c->tracker, step, lane))
            coordinator_hurry(c, lane, limit_ms, limit_ms);
}
