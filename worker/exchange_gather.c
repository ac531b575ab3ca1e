#include "worker/exchange_gather.h"

#include "worker/exchange_codec.h"
#include "worker/exchange_early.h"
#include "worker/exchange_lanes.h"
#include "worker/exchange_link.h"

enum {
    RETRY_FIRST_TIMES = 2, /* retry_ms, while too few answers were seen to judge by */
    RETRY_MAX_MS = 2000, /* asking is cheap, and slow answers breed slow ones */
    PULLS_A_ROUND = 256
};

static const double RETRY_SPREADS = 4.0;

/* The block is there as it is wanted. */
static bool is_gathered(const struct exchange *x, const struct exchange_block *block)
{
    if (!x->is_bsp && !x->has_weights)
        return block->is_next_here;
    return block->is_next_here && block->next_version == x->target;
}

static void reset(struct exchange *x)
{
    x->here_count = 0;
    x->pull_next = x->layout->block_count;
    for (size_t i = 0; i < x->layout->block_count; i++)
        x->blocks[i].is_next_here = x->blocks[i].is_asked = false;
}

void gather_restart(struct exchange *x)
{
    x->has_weights = false;
    x->is_stepping_back = false;
    x->target = 0;
    early_note_given_up(x);
    reset(x);
    links_clear(x);
}

void gather_next(struct exchange *x)
{
    x->target = x->version + 1;
    x->is_stepping_back = false;
    reset(x);
    links_clear(x);
}

/* As much at a time as pushes may have on their way. */
static void pull_more(struct exchange *x, struct outbox *out)
{
    uint64_t most = x->spec.settings->exchange.credit_bytes * x->shard_count;
    while (x->pull_next < x->layout->block_count && x->pulled_bytes < most) {
        uint32_t block_idx = (uint32_t)x->pull_next++;
        struct exchange_block *block = &x->blocks[block_idx];
        if (block->is_asked || is_gathered(x, block))
            continue;
        link_pull(x, block_idx, out);
        x->pulled_bytes += block->is_asked ? block_bytes(x, block_idx) : 0;
    }
}

void gather_pull(struct exchange *x, struct outbox *out)
{
    x->pulled_bytes = 0;
    for (size_t i = 0; i < x->layout->block_count; i++)
        x->pulled_bytes += x->blocks[i].is_asked ? block_bytes(x, i) : 0;
    x->pull_next = 0;
    pull_more(x, out);
}

/* The block is there. */
static void pull_next(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    size_t bytes = block_bytes(x, block_idx);
    x->pulled_bytes -= bytes < x->pulled_bytes ? bytes : x->pulled_bytes;
    pull_more(x, out);
}

/* What was gathered so far is too old.  A worker that has fallen behind gives its step up. */
static void raise_target(struct exchange *x, uint64_t version, struct outbox *out)
{
    x->target = version;
    x->is_stepping_back = false;
    x->here_count = 0;
    if (is_behind(x)) {
        links_clear(x);
        early_note_given_up(x);
        lanes_cancel(x, out);
    }
    gather_pull(x, out);
}

void gather_step_back(struct exchange *x, const struct message *lack, struct outbox *out)
{
    uint64_t step = lack->key.step;
    bool is_mine = false;
    for (uint32_t i = lack->key.lane_begin; i < lack->key.lane_end && i < x->lane_count; i++)
        is_mine |= x->lanes[i].is_mine;
    if (!x->is_bsp || !is_mine || step + 1 != x->target || (x->has_weights && step <= x->version))
        return;
    x->target = step;
    x->is_stepping_back = true;
    x->here_count = 0;
    for (uint32_t i = 0; i < x->layout->block_count; i++) {
        struct exchange_block *block = &x->blocks[i];
        block->is_next_here = block->is_next_here && block->next_version == step;
        x->here_count += block->is_next_here;
        if (!block->is_next_here)
            link_pull(x, i, out);
    }
    gather_swap(x, out);
}

/* A version that brings the block forward. */
static bool is_news(const struct exchange *x, const struct exchange_block *block,
                    const struct message *msg)
{
    uint64_t version = msg->key.step;
    if (version > x->step_count || version < x->start_step || !exchange_is_payload(x, msg))
        return false;
    if (x->is_bsp)
        return !(block->is_next_here && version <= block->next_version) &&
               !(x->has_weights && version <= x->version);
    if (x->has_weights)
        return version == x->target && !block->is_next_here && lanes_are_pushed(x, block);
    return !block->is_next_here;
}

/* It came while a thread that was called off may read the block as it was before. */
static void put_off(struct exchange *x, struct exchange_block *block, uint64_t version,
                    struct outbox *out)
{
    block->is_asked = false;
    if (version > x->target)
        raise_target(x, version, out);
}

void gather_take(struct exchange *x, const struct message *msg, struct outbox *out)
{
    struct exchange_block *block = &x->blocks[msg->key.block];
    struct exchange_link *link = &x->links[block->link];
    if (is_final(x) || !is_news(x, block, msg))
        return; /* answered twice */
    if (early_is_read(x, block)) {
        put_off(x, block, msg->key.step, out);
        return;
    }
    if (exchange_decode(x, msg) != 0)
        return; /* it is asked for again */
    /* Karn and Partridge, "Improving Round-Trip Time Estimates in Reliable Transport Protocols",
     * SIGCOMM 1987: what was asked for again does not tell how long an answer takes.  Nor does what
     * is passed before anything is computed. */
    if (block->is_asked && block->asked_ms == block->begun_ms && !block->is_frozen)
        deadline_note(&link->answers, x->now_ms - block->begun_ms);
    link->heard_ms = x->now_ms;
    link->quiet_count = 0;
    x->totals.bytes_in += msg->payload == NULL ? 0 : msg->payload->size_bytes;
    block->is_next_here = true;
    block->next_version = msg->key.step;
    block->is_asked = false;
    link_answered(x, msg->key.block, out);
    if (x->is_bsp && block->next_version > x->target)
        raise_target(x, block->next_version, out);
    if (is_gathered(x, block)) {
        x->here_count++;
        pull_next(x, msg->key.block, out);
        early_block_here(x, msg->key.block, out);
    } else {
        link_pull(x, msg->key.block, out);
    }
    gather_swap(x, out);
}

void gather_resume(struct exchange *x, struct outbox *out)
{
    if (x->early.left > 0)
        return;
    if ((!x->has_weights || is_behind(x)) && x->mine_count > 0)
        gather_pull(x, out);
    gather_swap(x, out);
}

static uint64_t slowest(const struct exchange *x)
{
    uint64_t version = UINT64_MAX;
    for (size_t i = 0; i < x->layout->block_count; i++)
        if (x->blocks[i].next_version < version)
            version = x->blocks[i].next_version;
    return version;
}

void gather_swap(struct exchange *x, struct outbox *out)
{
    if (x->here_count < x->layout->block_count) {
        early_begin(x, out);
        return;
    }
    early_note_whole(x);
    lanes_cancel_lost(x, out);
    if (x->train_left > 0 || x->eval_left > 0 || (x->early.left > 0 && !x->early.has_hand))
        return;
    early_note_begun(x);
    x->now = 1 - x->now;
    x->version = x->is_bsp || x->has_weights ? x->target : slowest(x);
    x->has_weights = true;
    gather_next(x);
    lanes_begin(x, out);
}

/* How long each link may be silent before it is asked again. */
static void set_retry(struct exchange *x)
{
    uint64_t floor_ms = x->spec.settings->exchange.retry_ms;
    uint64_t max_ms = floor_ms > RETRY_MAX_MS ? floor_ms : RETRY_MAX_MS;
    for (size_t i = 0; i < x->shard_count; i++) {
        struct exchange_link *link = &x->links[i];
        uint64_t wait_ms = RETRY_FIRST_TIMES * floor_ms;
        if (link->answers.count >= DEADLINE_OBSERVATIONS_MIN)
            wait_ms = deadline_ms(&link->answers, RETRY_SPREADS, floor_ms, max_ms);
        for (uint32_t k = 0; k < link->quiet_count && wait_ms < max_ms; k++)
            wait_ms *= 2;
        link->retry_ms = wait_ms < max_ms ? wait_ms : max_ms;
        link->is_pulled = false;
    }
}

static bool is_due(const struct exchange *x, const struct exchange_block *block)
{
    if (!block->is_asked || block->link == NOBODY || is_gathered(x, block))
        return false;
    if (x->mine_count == 0 && block->held.count == 0)
        return false; /* who stands by sees to it that what it did counts, and no more */
    const struct exchange_link *link = &x->links[block->link];
    uint64_t moved_ms = link->heard_ms > block->asked_ms ? link->heard_ms : block->asked_ms;
    return x->now_ms - moved_ms >= link->retry_ms;
}

void gather_retry(struct exchange *x, struct outbox *out)
{
    size_t block_count = x->layout->block_count, seen = 0, pulled = 0;
    if (is_final(x))
        return;
    if (x->pull_next < block_count && x->mine_count > 0)
        gather_pull(x, out); /* what was asked for may have been given up meanwhile */
    set_retry(x);
    for (; seen < block_count && pulled < PULLS_A_ROUND; seen++) {
        uint32_t block_idx = (uint32_t)((x->retry_from + seen) % block_count);
        if (!is_due(x, &x->blocks[block_idx]))
            continue;
        link_pull(x, block_idx, out);
        x->links[x->blocks[block_idx].link].is_pulled = true;
        pulled++;
    }
    x->retry_from = (x->retry_from + seen) % block_count;
    for (size_t i = 0; i < x->shard_count; i++)
        x->links[i].quiet_count += x->links[i].is_pulled;
    links_unlock(x, out);
}
