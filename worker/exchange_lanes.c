#include "worker/exchange_lanes.h"

#include "common/rounds.h"
#include "worker/exchange_codec.h"
#include "worker/exchange_early.h"
#include "worker/exchange_gather.h"
#include "worker/exchange_link.h"

static bool is_dealt(const struct exchange_lane *lane)
{
    return lane->node.end != 0;
}

bool lanes_is_eval_due(const struct exchange *x, uint64_t version)
{
    uint64_t every = x->spec.settings->job.eval_every;
    if (every == 0)
        every = batching_epoch_steps(&x->batching);
    if (x->test_count == 0)
        return false;
    if (x->hold_step != 0)
        return version == x->hold_step;
    return version == x->step_count ||
           (version > x->start_step && rounds_is_due(x->spec.settings, every, version));
}

static void deal(struct exchange *x, enum message_kind kind, uint32_t lane, struct outbox *out)
{
    struct message task = message_of(x, kind);
    early_call_off(x, out); /* or all threads might wait for weights that this task is needed for */
    task.task = (struct lane_task){
        .step = x->version, .lane = lane, .weights = x->weights[x->now]};
    outbox_put(out, compute_address, &task);
    if (kind == MSG_TRAIN_LANE) {
        x->lanes[lane].is_training = true;
        x->lanes[lane].is_recalled = false;
        x->train_left++;
    } else {
        x->lanes[lane].is_evaluating = x->lanes[lane].is_eval_dealt = true;
        x->eval_left++;
    }
}

/* Evaluations come first: the version is read as long as they last. */
static void deal_evaluations(struct exchange *x, struct outbox *out)
{
    for (uint32_t lane = 0; lane < x->lane_count && lanes_is_eval_due(x, x->version); lane++)
        if (x->lanes[lane].is_mine && !x->lanes[lane].is_eval_dealt)
            deal(x, MSG_EVAL_LANE, lane, out);
}

/* Largest nodes of the maximal runs of this worker's lanes. */
static void plan_nodes(struct exchange *x)
{
    struct lane_node run = {0, 0}, node;
    for (uint32_t lane = 0; lane < x->lane_count; lane = node.end) {
        node = (struct lane_node){lane, lane + 1};
        if (!x->lanes[lane].is_mine)
            continue;
        if (lane >= run.end)
            for (run.begin = run.end = lane; run.end < x->lane_count; run.end++)
                if (!x->lanes[run.end].is_mine)
                    break;
        if (x->is_bsp)
            node = lane_node_within(run, lane);
        for (uint32_t i = node.begin; i < node.end; i++)
            x->lanes[i].node = node;
        x->node_count++;
    }
}

/* Frozen blocks have nothing to wait for: a node of theirs is whole as soon as it is dealt. */
static void pass_frozen(struct exchange *x, struct lane_node node, struct outbox *out)
{
    for (uint32_t i = (uint32_t)x->layout->block_count; i-- > 0;) {
        struct exchange_block *block = &x->blocks[i];
        struct held_node held = {.node = node};
        if (!block->is_frozen || block->is_next_here)
            continue;
        if (held_add(&block->held, &held) != 0) {
            exchange_give_up(x, ERR_NOMEM, "no memory for a node of lanes", out);
            return;
        }
        link_push(x, i, out);
    }
}

static void deal_steps(struct exchange *x, struct outbox *out)
{
    x->is_held = false;
    plan_nodes(x);
    for (uint32_t lane = 0; lane < x->lane_count; lane++)
        if (is_dealt(&x->lanes[lane]) && !x->lanes[lane].is_training)
            deal(x, MSG_TRAIN_LANE, lane, out);
    for (uint32_t lane = 0; lane < x->lane_count; lane++)
        if (is_dealt(&x->lanes[lane]) && x->lanes[lane].node.begin == lane)
            pass_frozen(x, x->lanes[lane].node, out);
}

void lanes_begin(struct exchange *x, struct outbox *out)
{
    x->node_count = 0;
    x->is_forgetting = false;
    early_take_over(x);
    for (uint32_t i = 0; i < x->lane_count; i++)
        x->lanes[i] = (struct exchange_lane){.is_mine = x->lanes[i].is_mine,
                                             .is_training = x->lanes[i].is_training};
    deal_evaluations(x, out);
    x->is_held = is_at_hold(x, x->version);
    if (!is_final(x) && !x->is_held)
        deal_steps(x, out);
}

/* Lanes that came in mid-step. */
static void deal_added(struct exchange *x, struct outbox *out)
{
    deal_evaluations(x, out);
    for (uint32_t i = 0; i < x->lane_count && !x->is_held && !is_behind(x) && !is_final(x); i++) {
        struct exchange_lane *lane = &x->lanes[i];
        if (!lane->is_mine || is_dealt(lane))
            continue;
        lane->node = (struct lane_node){i, i + 1};
        deal(x, MSG_TRAIN_LANE, i, out);
        pass_frozen(x, lane->node, out);
    }
}

void lanes_rejoin(struct exchange *x, struct outbox *out)
{
    lanes_cancel(x, out);
    gather_restart(x);
    gather_pull(x, out);
}

void lanes_take_view(struct exchange *x, const struct view *view, struct outbox *out)
{
    bool is_added = false, is_lost = false, is_standby = x->mine_count == 0;
    x->mine_count = 0;
    for (uint32_t i = 0; i < x->lane_count; i++) {
        uint32_t worker = view->lane_worker[i];
        bool is_mine =
            worker != NOBODY && view->workers[worker].incarnation == x->spec.incarnation;
        is_added |= is_mine && !x->lanes[i].is_mine;
        is_lost |= !is_mine && x->lanes[i].is_mine;
        x->lanes[i].is_mine = is_mine;
        x->mine_count += is_mine;
    }
    if (is_added || is_lost)
        early_call_off(x, out);
    if (is_added && !x->is_bsp && x->has_weights && !is_final(x))
        lanes_rejoin(x, out);
    else if (is_added && is_standby && x->is_stepping_back)
        lanes_rejoin(x, out); /* others have been at that step meanwhile */
    else if (x->is_held && x->has_weights && !is_at_hold(x, x->version) && !is_behind(x))
        deal_steps(x, out);
    else if (is_added && x->has_weights)
        deal_added(x, out);
    if (x->mine_count > 0 && !is_final(x) && (!x->has_weights || is_behind(x) || is_standby))
        gather_pull(x, out);
}

void lanes_cancel(struct exchange *x, struct outbox *out)
{
    struct message drop = message_of(x, MSG_DROP_LANES);
    early_call_off(x, out);
    drop.here.hand = x->early.hand;
    for (uint32_t i = 0; i < x->lane_count; i++)
        x->lanes[i].is_recalled = x->lanes[i].is_training;
    if (x->train_left > 0 || x->eval_left > 0)
        outbox_put(out, compute_address, &drop);
}

void lanes_cancel_lost(struct exchange *x, struct outbox *out)
{
    bool is_any = false;
    for (uint32_t i = 0; i < x->lane_count; i++) {
        const struct exchange_lane *lane = &x->lanes[i];
        is_any |= lane->is_training && !lane->is_mine && !lane->is_recalled;
    }
    if (is_any && x->eval_left == 0) /* so that what comes back is known to be training */
        lanes_cancel(x, out);
}

bool lanes_are_pushed(const struct exchange *x, const struct exchange_block *block)
{
    size_t done = 0;
    for (size_t i = 0; i < block->held.count; i++)
        done += block->held.nodes[i].is_sent;
    for (uint32_t i = 0; i < x->lane_count; i++)
        done += is_dealt(&x->lanes[i]) && x->lanes[i].is_void;
    return done >= x->node_count;
}

/* Leaves of a step that is over, or given up, are of no use. */
static bool is_wanted(const struct exchange *x, const struct message *msg)
{
    return x->has_weights && !is_behind(x) && msg->key.step == x->version &&
           msg->key.lane_begin < x->lane_count && is_dealt(&x->lanes[msg->key.lane_begin]);
}

/* Takes over sum.  ERR_NOMEM. */
static int hold(struct exchange *x, uint32_t block_idx, struct lane_node node, struct buffer *sum)
{
    struct held_node held = {.node = node};
    int err = exchange_encode(x, block_idx, sum, &held);
    buffer_unref(sum);
    return err == 0 ? held_add(&x->blocks[block_idx].held, &held) : err;
}

void lanes_take_leaf(struct exchange *x, const struct message *msg, struct outbox *out)
{
    if (!is_wanted(x, msg) || x->blocks[msg->key.block].is_next_here ||
        x->blocks[msg->key.block].is_frozen)
        return;
    struct exchange_block *block = &x->blocks[msg->key.block];
    struct lane_node leaf = {msg->key.lane_begin, msg->key.lane_end};
    struct lane_node node = x->lanes[leaf.begin].node;
    struct buffer *sum = buffer_ref(msg->payload);
    int err = 0;
    if (node.end - node.begin > 1) {
        block->sums.grid.step = x->version;
        err = reduction_add(&block->sums, leaf, sum, x->pool);
        sum = err == 0 ? reduction_take(&block->sums, node) : NULL;
    }
    if (err == 0 && sum != NULL)
        err = hold(x, msg->key.block, node, sum);
    if (err == ERR_NOMEM)
        exchange_give_up(x, ERR_NOMEM, "no memory for a gradient", out);
    else if (err == 0 && sum != NULL)
        link_push(x, msg->key.block, out);
}

void lanes_take_void(struct exchange *x, const struct message *msg, struct outbox *out)
{
    if (!is_wanted(x, msg))
        return;
    x->lanes[msg->key.lane_begin].is_void = true;
    for (uint32_t i = 0; i < x->layout->block_count; i++)
        if (!x->blocks[i].is_next_here)
            link_void(x, i, msg->key.lane_begin, out);
}

static void count_off(struct exchange *x, struct exchange_lane *lane, bool is_training)
{
    if (is_training && lane->is_training) {
        lane->is_training = false;
        x->train_left--;
    } else if (!is_training && lane->is_evaluating) {
        lane->is_evaluating = false;
        x->eval_left--;
    }
}

/* Lanes are computed side by side: of one's time, so much has passed by it. */
static void note_time(struct exchange *x, const struct lane_result *lane)
{
    uint64_t at_once = x->spec.hello.thread_count;
    if (at_once == 0 || at_once > x->mine_count)
        at_once = x->mine_count == 0 ? 1 : x->mine_count;
    x->totals.compute_us += lane->compute_us / at_once;
    x->totals.data_us += lane->data_us / at_once;
}

void lanes_take_result(struct exchange *x, const struct message *msg, struct outbox *out)
{
    struct message result = message_of(x, msg->kind);
    bool is_training = msg->kind == MSG_LANE_DONE;
    count_off(x, &x->lanes[msg->lane.lane], is_training);
    note_time(x, &msg->lane);
    early_note_lane(x, &msg->lane);
    early_note_computed(x);
    if (!x->is_forgetting) {
        struct result kept = {msg->kind, msg->lane, x->now_ms};
        result.lane = msg->lane;
        outbox_put(out, coordinator_address, &result);
        results_note(&x->results, &kept);
        if (is_training)
            x->totals.sample_count += msg->lane.sample_count;
    }
    gather_swap(x, out);
}

/* A task does not tell its kind.  They are begun in order, and a lane's evaluation is dealt before
 * its training; so when one of two was begun, it was the evaluation.
 * Evaluations are done whatever happens to the step, unless its weights were taken back: nobody
 * else might do them.  So is the training of lanes that are still this worker's, for its loss. */
void lanes_take_dropped(struct exchange *x, const struct message *msg, struct outbox *out)
{
    uint32_t lane_idx = msg->task.lane;
    struct exchange_lane *lane = &x->lanes[lane_idx];
    bool is_training = lane->is_training;
    if (early_is_answered(x, &msg->task)) {
        gather_resume(x, out);
        return;
    }
    count_off(x, lane, is_training);
    if (!is_training && !x->is_forgetting)
        deal(x, MSG_EVAL_LANE, lane_idx, out);
    else if (is_training && x->has_weights && !is_behind(x) && lane->is_mine)
        deal(x, MSG_TRAIN_LANE, lane_idx, out);
    gather_swap(x, out);
}
