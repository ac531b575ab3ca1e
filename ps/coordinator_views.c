#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/rounds.h"
#include "ps/coordinator_state.h"
#include "ps/dealing.h"
#include "ps/view_maker.h"

/* A view is made at most so often unless somebody waits for it; a deal must save a fifth; a version
 * that is asked for in vain for so long, while nothing moves, will not come. */
enum { VIEW_EVERY_MS = 50, DEAL_SAVES_PERCENT = 20, LOST_MS = 3000 };

/* Shards that are not gone; [*places], to be freed. */
static int list_places(const struct coordinator *c, struct places *places)
{
    struct place *items = calloc(c->members.count + 1, sizeof(*items));
    places->items = items;
    places->count = 0;
    if (items == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if (m->who.party == PARTY_SHARD && m->state != MEMBER_GONE)
            items[places->count++] = (struct place){
                .id = m->who.id, .rank = m->rank, .is_leaving = m->state == MEMBER_LEAVING};
    }
    return 0;
}

static int by_rank(const void *a, const void *b)
{
    const struct member *left = *(const struct member *const *)a;
    const struct member *right = *(const struct member *const *)b;
    return left->rank < right->rank ? -1 : left->rank > right->rank;
}

static bool is_hand(const struct member *m)
{
    return m->who.party == PARTY_WORKER && m->state == MEMBER_HERE;
}

/* It has the weights of the step in work or can get them, as far as is known. */
static bool is_able(const struct member *m)
{
    return is_hand(m) && m->lost_step == 0;
}

static size_t count_able(const struct coordinator *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->members.count; i++)
        count += is_able(&c->members.items[i]);
    return count;
}

/* Workers that lanes may be dealt to, in order of rank; [*count_out], to be freed. */
static struct hand *list_hands(const struct coordinator *c, size_t *count_out)
{
    const struct member **list = calloc(c->members.count + 1, sizeof(*list));
    struct hand *hands = calloc(c->members.count + 1, sizeof(*hands));
    size_t count = 0;
    bool is_any = count_able(c) == 0;
    for (size_t i = 0; list != NULL && i < c->members.count; i++)
        if (is_any ? is_hand(&c->members.items[i]) : is_able(&c->members.items[i]))
            list[count++] = &c->members.items[i];
    if (list == NULL || hands == NULL) {
        free(list);
        free(hands);
        return NULL;
    }
    qsort(list, count, sizeof(*list), by_rank);
    for (size_t i = 0; i < count; i++)
        hands[i] = (struct hand){.id = list[i]->who.id,
                                 .lane_ms = list[i]->late_ms > list[i]->lane_ms
                                                ? list[i]->late_ms
                                                : list[i]->lane_ms,
                                 .behind_ms = list[i]->behind_ms,
                                 .threads = list[i]->hello.thread_count};
    free(list);
    *count_out = count;
    return hands;
}

/* How long a step takes as lanes lie now. */
static double span_now_ms(const struct coordinator *c, struct hand *hands, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hands[i].count = 0;
        for (uint32_t lane = 0; lane < c->spec.settings->job.lanes; lane++)
            hands[i].count += c->lane_owner[lane] == hands[i].id;
    }
    return dealing_span_ms(hands, count);
}

void coordinator_deal(struct coordinator *c, bool is_forced)
{
    uint32_t lane_count = c->spec.settings->job.lanes;
    size_t count;
    struct hand *hands = list_hands(c, &count);
    uint64_t *owners = calloc(lane_count, sizeof(*owners));
    c->deal_ms = c->now_ms;
    if (hands != NULL && owners != NULL) { /* without memory lanes stay where they are */
        double before_ms = span_now_ms(c, hands, count);
        dealing_deal(hands, count, lane_count, owners);
        double after_ms = dealing_span_ms(hands, count);
        bool is_better = after_ms * 100.0 <= before_ms * (100 - DEAL_SAVES_PERCENT);
        if ((is_forced || is_better) &&
            memcmp(owners, c->lane_owner, lane_count * sizeof(*owners)) != 0) {
            memcpy(c->lane_owner, owners, lane_count * sizeof(*owners));
            c->is_view_due = true;
        }
    }
    free(hands);
    free(owners);
}

void coordinator_spare(struct coordinator *c, struct member *worker, uint64_t step)
{
    bool has_lanes = false;
    for (uint32_t lane = 0; lane < c->spec.settings->job.lanes; lane++)
        has_lanes |= c->lane_owner[lane] == worker->who.id;
    if (!has_lanes)
        return; /* it has asked before its newest view came */
    worker->lost_step = step + 1;
    if (count_able(c) > 0) {
        coordinator_deal(c, true);
        c->is_view_urgent = c->is_view_due;
    } else if (c->lost_ms == 0) {
        c->lost_ms = c->now_ms;
    }
}

/* The hand after the lane's owner, in rank, that has fewest lanes for its speed. */
bool coordinator_move_lane(struct coordinator *c, uint32_t lane)
{
    size_t count, best = SIZE_MAX, after = 0;
    double best_cost = 0.0;
    struct hand *hands = list_hands(c, &count);
    if (hands == NULL)
        return false;
    span_now_ms(c, hands, count);
    for (size_t i = 0; i < count; i++)
        if (hands[i].id == c->lane_owner[lane])
            after = i + 1;
    for (size_t n = 0; n < count; n++) {
        size_t i = (after + n) % count;
        double cost = hands[i].behind_ms + hands[i].lane_ms * (double)(hands[i].count + 1);
        if (hands[i].id == c->lane_owner[lane] || (best != SIZE_MAX && cost >= best_cost))
            continue;
        best = i;
        best_cost = cost;
    }
    if (best != SIZE_MAX) {
        c->lane_owner[lane] = hands[best].id;
        c->lane_moved_ms[lane] = c->now_ms;
        c->is_view_due = c->is_view_urgent = true;
    }
    free(hands);
    return best != SIZE_MAX;
}

void coordinator_send_view(struct coordinator *c, const struct member *member, struct outbox *out)
{
    struct message msg = coordinator_message(c, MSG_VIEW);
    msg.view_body = c->view;
    if (member->who.party == PARTY_WORKER || member->view > 0)
        msg.view_body.layout = NULL;
    outbox_put(out, member->who, &msg);
}

static void publish(struct coordinator *c, struct outbox *out)
{
    c->view.number++;
    c->view.store_incarnation = c->spec.store_incarnation;
    memcpy(c->view.store_endpoint, c->spec.store_endpoint, sizeof(c->view.store_endpoint));
    c->is_view_due = c->is_view_urgent = false;
    c->view_ms = c->now_ms;
    if (view_make(&c->members, &c->placement, c->lane_owner, c->spec.settings->job.lanes,
                  &c->view) != 0) {
        coordinator_fail(c, out, "no memory for the view of %zu members", c->members.count);
        return;
    }
    struct message msg = coordinator_message(c, MSG_VIEW);
    msg.view_body = c->view;
    outbox_put(out, (struct address){PARTY_JOURNAL, 0}, &msg);
    outbox_put(out, (struct address){PARTY_STORE, c->spec.store_incarnation}, &msg);
    for (size_t i = 0; i < c->members.count; i++) {
        struct member *m = &c->members.items[i];
        if (m->owed_ms == 0)
            m->owed_ms = c->now_ms;
        if (m->state != MEMBER_GONE)
            coordinator_send_view(c, m, out);
    }
    log_event(LOG_INFO, "view",
              "view=%" PRIu32 " era=%" PRIu32 " shards=%zu workers=%zu step=%" PRIu64
              " protected=%d",
              c->view.number, c->view.era, c->view.shard_count, c->view.worker_count,
              coordinator_tracked(c).step, placement_is_protected(&c->placement));
}

static int decide_steps(struct coordinator *c, struct outbox *out)
{
    c->view.step_count = rounds_of_job(c->spec.settings, &c->batching);
    if (c->has_kept && c->kept_step > c->view.step_count) {
        coordinator_fail(c, out,
                         "the checkpoint is of step %" PRIu64 ", the job ends at step %" PRIu64,
                         c->kept_step, c->view.step_count);
        return ERR_INPUT;
    }
    return 0;
}

static int place_first(struct coordinator *c)
{
    struct places places;
    int err = placement_create(&c->placement, c->admission.layout);
    c->placement.has_replicas = c->spec.settings->cluster.replicas > 0;
    if (err == 0)
        err = list_places(c, &places);
    if (err != 0)
        return err;
    err = placement_deal(&c->placement, places);
    free((void *)places.items);
    return err;
}

/* What the era begins with comes from the store: a checkpoint, or the file that the job names. */
static bool is_stored(const struct coordinator *c)
{
    return c->view.start_step > 0 || model_has_init(&c->spec.settings->model);
}

void coordinator_begin_training(struct coordinator *c, struct outbox *out)
{
    c->view.layout = c->admission.layout;
    c->view.test_count = c->admission.test_count;
    c->view.train_count = c->admission.train_count;
    c->batching = (struct batching){.seed = c->spec.settings->job.seed,
                                    .sample_count = c->admission.train_count,
                                    .batch = c->spec.settings->job.batch,
                                    .lane_count = c->spec.settings->job.lanes};
    if (decide_steps(c, out) != 0)
        return;
    if (place_first(c) != 0) {
        coordinator_fail(c, out, "no memory for the places of the blocks");
        return;
    }
    c->view.era = 1;
    c->view.start_step = c->has_kept ? c->kept_step : 0;
    c->view.is_restored = is_stored(c);
    coordinator_begin_holds(c);
    tracker_begin(c->tracker, &c->batching, c->view.start_step, c->view.step_count,
                  c->view.test_count, c->now_ms);
    c->phase = c->view.start_step == c->view.step_count ? PHASE_EVALUATING : PHASE_TRAINING;
    coordinator_note_progress(c);
    coordinator_deal(c, true);
    publish(c, out);
}

bool coordinator_has_orphans(const struct coordinator *c)
{
    struct places places;
    if (c->view.number == 0 || list_places(c, &places) != 0)
        return false;
    size_t orphans = placement_orphans(&c->placement, places);
    free((void *)places.items);
    return orphans > 0;
}

/* Whether a primary that is gone may still be making versions: it does so for less than silence_s
 * after the last that was heard of it. */
static bool is_lease_over(const struct coordinator *c)
{
    double limit_ms = c->spec.settings->cluster.silence_s * 1000.0;
    for (size_t i = 0; i < c->members.count; i++) {
        const struct member *m = &c->members.items[i];
        if (m->who.party == PARTY_SHARD && m->state == MEMBER_GONE && !m->is_dead &&
            placement_uses(&c->placement, m->who.id) &&
            (double)(c->now_ms - m->heard_ms) < limit_ms)
            return false;
    }
    return c->now_ms >= c->lease_end_ms;
}

/* Everything goes back to the last checkpoint, over the shards that are there. */
static void begin_era(struct coordinator *c, struct places places, struct outbox *out)
{
    size_t orphans = placement_orphans(&c->placement, places);
    if (c->has_kept && c->kept_step > c->view.step_count) { /* a journal may say so */
        coordinator_fail(c, out,
                         "the checkpoint is of step %" PRIu64 ", the job ends at step %" PRIu64,
                         c->kept_step, c->view.step_count);
        return;
    }
    if (placement_deal(&c->placement, places) != 0) {
        coordinator_fail(c, out, "no memory for the places of the blocks");
        return;
    }
    c->view.era++;
    c->view.start_step = c->has_kept ? c->kept_step : 0;
    c->view.is_restored = is_stored(c);
    for (size_t i = 0; i < c->members.count; i++) {
        c->members.items[i].has_finished = false;
        c->members.items[i].lost_step = 0;
    }
    c->digest[0] = 0;
    c->is_view_due = c->is_view_urgent = true;
    coordinator_note_progress(c);
    log_event(LOG_WARN, "back", "era=%" PRIu32 " step=%" PRIu64 " blocks_lost=%zu", c->view.era,
              c->view.start_step, orphans);
}

/* True when a view can be made: every block has a primary. */
static bool settle_blocks(struct coordinator *c, struct places places, struct outbox *out)
{
    if (placement_lose(&c->placement, places))
        c->is_view_due = c->is_view_urgent = true;
    bool is_lost = c->lost_ms != 0 && c->now_ms - c->lost_ms >= LOST_MS;
    if (is_lost || placement_orphans(&c->placement, places) > 0) {
        if (places.count == 0 || !is_lease_over(c))
            return false;
        begin_era(c, places, out);
        return true;
    }
    if (c->is_view_urgent || c->now_ms - c->view_ms < VIEW_EVERY_MS)
        return true; /* who has lost its learner here must hear so before it gets another */
    int planned = placement_plan(&c->placement, places, c->view.number + 1);
    if (planned < 0)
        coordinator_fail(c, out, "no memory for the places of the blocks");
    c->is_view_due = c->is_view_due || planned > 0;
    return true;
}

/* Lanes of workers that are gone or leave go to others at once. */
static void settle_lanes(struct coordinator *c)
{
    bool is_due = false;
    size_t hands = 0;
    for (size_t i = 0; i < c->members.count; i++)
        hands += c->members.items[i].who.party == PARTY_WORKER &&
                 c->members.items[i].state == MEMBER_HERE;
    bool is_needed = hands == 0 && !coordinator_may_be_empty(c);
    for (size_t i = 0; i < c->members.count && is_needed; i++) {
        struct member *m = &c->members.items[i]; /* the others have died since: it stays */
        if (m->who.party != PARTY_WORKER || m->state != MEMBER_LEAVING)
            continue;
        m->state = MEMBER_HERE;
        m->leaving_ms = 0;
        is_needed = false;
        hands++;
    }
    for (uint32_t lane = 0; lane < c->spec.settings->job.lanes && !is_due; lane++) {
        struct address who = {PARTY_WORKER, c->lane_owner[lane]};
        const struct member *m = members_find(&c->members, who);
        is_due = (m == NULL || m->state != MEMBER_HERE) && (hands > 0 || c->lane_owner[lane] != 0);
    }
    if (!is_due)
        return;
    coordinator_deal(c, true);
    c->is_view_urgent = c->is_view_due;
}

void coordinator_settle(struct coordinator *c, struct outbox *out)
{
    struct places places;
    if (c->view.number == 0 || coordinator_is_over(c))
        return;
    if (list_places(c, &places) != 0) {
        coordinator_fail(c, out, "no memory for a list of %zu members", c->members.count);
        return;
    }
    settle_lanes(c);
    bool can_publish = settle_blocks(c, places, out);
    free((void *)places.items);
    if (can_publish && c->is_view_due && !coordinator_is_over(c) &&
        (c->is_view_urgent || c->now_ms - c->view_ms >= VIEW_EVERY_MS))
        publish(c, out);
}
