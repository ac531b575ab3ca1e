#include "worker/exchange_early.h"

#include "worker/exchange_lanes.h"

static const uint64_t ms_us = 1000;

/* Compute has had nothing to do since idle_ms. */
static void end_idle(struct exchange *x)
{
    if (x->early.idle_ms != 0)
        x->early.exposed_us += (x->now_ms - x->early.idle_ms) * ms_us;
    x->early.idle_ms = 0;
}

bool early_is_on(const struct exchange *x)
{
    return x->spec.settings->exchange.overlap &&
           x->spec.settings->exchange.consistency == CONSISTENCY_BSP;
}

static bool may_begin(const struct exchange *x)
{
    const struct exchange_early *early = &x->early;
    uint64_t next = x->version + 1;
    return early_is_on(x) && x->has_weights &&
           x->mine_count > 0 && !early->has_hand && early->left == 0 && x->train_left == 0 &&
           x->eval_left == 0 && x->target == next && next < x->step_count &&
           !is_at_hold(x, next) && !lanes_is_eval_due(x, next);
}

static void deal(struct exchange *x, uint32_t lane, struct outbox *out)
{
    struct message task = message_of(x, MSG_TRAIN_LANE);
    task.task = (struct lane_task){.step = x->version + 1,
                                   .lane = lane,
                                   .weights = x->weights[1 - x->now],
                                   .hand = x->early.hand};
    outbox_put(out, compute_address, &task);
    x->lanes[lane].is_early = true;
    x->early.left++;
}

void early_begin(struct exchange *x, struct outbox *out)
{
    if (!may_begin(x))
        return;
    end_idle(x);
    x->early.has_hand = true;
    x->early.hand++;
    x->early.begun_ms = x->now_ms;
    for (uint32_t lane = 0; lane < x->lane_count; lane++)
        if (x->lanes[lane].is_mine)
            deal(x, lane, out);
    x->early.lane_count = x->early.left;
    for (uint32_t i = 0; i < x->layout->block_count; i++) {
        const struct exchange_block *block = &x->blocks[i];
        x->blocks[i].is_told = false;
        if (block->is_next_here && block->next_version == x->target)
            early_block_here(x, i, out);
    }
}

void early_block_here(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    struct message here = message_of(x, MSG_BLOCK_HERE);
    if (!x->early.has_hand)
        return;
    here.here.hand = x->early.hand;
    here.here.block = block_idx;
    outbox_put(out, compute_address, &here);
    x->blocks[block_idx].is_told = true;
}

void early_call_off(struct exchange *x, struct outbox *out)
{
    struct message drop = message_of(x, MSG_DROP_LANES);
    end_idle(x);
    if (!x->early.has_hand)
        return;
    x->early.exposed_us += (x->now_ms - x->early.begun_ms) * ms_us;
    x->early.has_hand = false;
    drop.here.hand = x->early.hand;
    outbox_put(out, compute_address, &drop);
}

void early_take_over(struct exchange *x)
{
    for (uint32_t i = 0; i < x->lane_count; i++) {
        x->lanes[i].is_training = x->lanes[i].is_early;
        x->lanes[i].is_early = false;
    }
    x->train_left = x->early.left;
    x->early.left = 0;
    x->early.has_hand = false;
}

bool early_is_answered(struct exchange *x, const struct lane_task *task)
{
    struct exchange_lane *lane = &x->lanes[task->lane];
    if (!lane->is_early || task->hand != x->early.hand)
        return false;
    lane->is_early = false;
    x->early.left--;
    return true;
}

bool early_is_read(const struct exchange *x, const struct exchange_block *block)
{
    return x->early.left > 0 && block->is_told;
}

void early_note_push(struct exchange *x)
{
    if (x->early.push_ms == 0)
        x->early.push_ms = x->now_ms;
}

void early_note_computed(struct exchange *x)
{
    if (x->train_left == 0 && x->eval_left == 0 && x->early.push_ms != 0 &&
        x->early.whole_ms == 0)
        x->early.idle_ms = x->now_ms;
}

void early_note_whole(struct exchange *x)
{
    end_idle(x);
    if (x->early.whole_ms == 0)
        x->early.whole_ms = x->now_ms;
}

static void forget_step(struct exchange *x)
{
    x->early.push_ms = x->early.idle_ms = x->early.whole_ms = x->early.exposed_us = 0;
}

void early_note_begun(struct exchange *x)
{
    if (x->early.push_ms != 0) {
        x->totals.exchange_us += (x->early.whole_ms - x->early.push_ms) * ms_us;
        x->totals.exposed_us += x->early.exposed_us;
    }
    forget_step(x);
}

void early_note_given_up(struct exchange *x)
{
    forget_step(x);
}

void early_note_lane(struct exchange *x, const struct lane_result *lane)
{
    uint64_t threads = x->spec.hello.thread_count;
    if (threads == 0 || threads > x->early.lane_count)
        threads = x->early.lane_count;
    if (threads > 0)
        x->totals.exposed_us += lane->wait_us / threads;
}
