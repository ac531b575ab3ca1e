#include "ps/shard_state.h"

#include <stdio.h>
#include "ps/shard_codec.h"

bool shard_is_settled(const struct shard_block *block)
{
    return replicas_have(&block->replicas, block->version);
}

/* A lane that is the asker's and whose gradient of a step before `clock` has not been counted here:
 * the answer would tell it that it has been. */
static bool is_behind(const struct shard *shard, const struct shard_block *block,
                      const struct shard_waiter *waiter, uint32_t *lane_out)
{
    for (uint32_t lane = 0; lane < block->lane_count; lane++)
        if (shard->lane_worker[lane] == waiter->who.id && block->clocks[lane] < waiter->version) {
            *lane_out = lane;
            return true;
        }
    return false;
}

static bool has_clock(const struct shard *shard, const struct shard_block *block, uint64_t clock)
{
    uint64_t floor = shard_last_cut(shard, clock);
    uint64_t staleness = shard->spec.settings->exchange.staleness;
    bool is_bounded = shard->spec.settings->exchange.consistency == CONSISTENCY_SSP;
    if (is_bounded && clock > staleness && clock - staleness > floor)
        floor = clock - staleness;
    return shard_block_step(block) >= floor;
}

static bool may_answer(const struct shard *shard, const struct shard_block *block,
                       const struct shard_waiter *waiter)
{
    uint32_t lane;
    if (!block->is_ready || !shard_is_settled(block))
        return false;
    if (block->clocks == NULL)
        return waiter->version <= block->version;
    return waiter->version == 0 || (has_clock(shard, block, waiter->version) &&
                                    !is_behind(shard, block, waiter, &lane));
}

static void answer(struct shard *shard, struct shard_block *block,
                   const struct shard_waiter *waiter, struct outbox *out)
{
    struct message weights = shard_message(shard, MSG_WEIGHTS);
    uint64_t step = shard_block_step(block);
    weights.key = (struct block_key){.step = step, .block = block->block_idx};
    if (block->clocks != NULL && waiter->version > 0) {
        uint64_t behind = waiter->version > step ? waiter->version - step : 0;
        shard->totals.staleness_count[behind < BEAT_STALENESS ? behind : BEAT_STALENESS - 1]++;
        weights.key.step = waiter->version;
    }
    if (block->update == UPDATE_FROZEN && waiter->has_base) {
        weights.kind = MSG_SAME;
        outbox_put(out, waiter->who, &weights);
        return;
    }
    weights.payload = shard_encode_weights(shard, block, waiter, &weights.key.codec);
    if (weights.payload == NULL) {
        shard_give_up(shard, ERR_NOMEM, "no memory for a block's weights on the wire", out);
        return;
    }
    shard->totals.bytes_out += weights.payload->size_bytes;
    outbox_put(out, waiter->who, &weights);
    buffer_unref(weights.payload);
}

void shard_answer_waiters(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    for (size_t i = block->waiter_count; i-- > 0;) {
        struct shard_waiter waiter = block->waiters[i];
        if (!may_answer(shard, block, &waiter))
            continue;
        block->waiters[i] = block->waiters[--block->waiter_count];
        answer(shard, block, &waiter, out);
    }
}

bool shard_answer_or_wait(struct shard *shard, struct shard_block *block,
                          const struct shard_waiter *waiter, struct outbox *out)
{
    if (may_answer(shard, block, waiter)) {
        answer(shard, block, waiter, out);
        return true;
    }
    if (shard_block_wait(block, waiter) != 0)
        shard_give_up(shard, ERR_NOMEM, "no memory for who waits for a block", out);
    return false;
}

bool shard_first_lack(const struct shard_block *block, struct lane_node *lanes_out)
{
    if (!block->is_ready || block->is_void)
        return false;
    if (block->clocks == NULL)
        return reduction_first_gap(&block->sums, block->lane_count, lanes_out);
    uint64_t slowest = shard_block_step(block);
    uint32_t lane = 0;
    while (block->clocks[lane] != slowest)
        lane++;
    *lanes_out = (struct lane_node){lane, lane};
    while (lanes_out->end < block->lane_count && block->clocks[lanes_out->end] == slowest)
        lanes_out->end++;
    return true;
}

/* Tells who waits which gradients have not come; one of them may have been its own. */
static void send_lack(struct shard *shard, const struct shard_block *block,
                      const struct shard_waiter *waiter, struct outbox *out)
{
    struct message lack = shard_message(shard, MSG_LACK);
    struct lane_node lanes;
    uint32_t lane;
    lack.key.block = block->block_idx;
    if (!block->is_ready)
        return;
    if (block->clocks != NULL) {
        if (!is_behind(shard, block, waiter, &lane))
            return;
        lanes = (struct lane_node){lane, lane + 1};
        lack.key.step = block->clocks[lane];
    } else {
        if (waiter->version != block->version + 1 || !shard_first_lack(block, &lanes))
            return;
        lack.key.step = block->version;
    }
    lack.key.lane_begin = lanes.begin;
    lack.key.lane_end = lanes.end;
    outbox_put(out, waiter->who, &lack);
}

void shard_take_pull(struct shard *shard, struct address from, const struct message *msg,
                     struct outbox *out)
{
    struct shard_block *block = shard_find(shard, msg->key.block);
    struct shard_waiter waiter = {from, msg->key.step, msg->key.codec == CODEC_SPARSE};
    if (block == NULL || msg->key.step > shard->step_count) {
        shard_refuse(shard, from, ERR_PROTO, "pull of a block or a version that there is not", out);
        return;
    }
    if (block->role != ROLE_PRIMARY) {
        shard->dropped_count++;
        return;
    }
    if (!shard_answer_or_wait(shard, block, &waiter, out) && !shard->is_over)
        send_lack(shard, block, &waiter, out);
}

/* No shard has the version before the present one any more.  Perhaps a worker has; else only a
 * checkpoint can help. */
static void alarm_lost(struct shard *shard, const struct shard_block *block, struct address asker,
                       struct outbox *out)
{
    struct message alarm = shard_message(shard, MSG_ALARM);
    size_t idx = 0;
    while (idx < shard->worker_count && shard->workers[idx].incarnation != asker.id)
        idx++;
    if (idx == shard->worker_count) { /* of a view to come: it asks again */
        shard->dropped_count++;
        return;
    }
    alarm.outcome.code = ERR_LOST;
    alarm.outcome.step = block->version - 1;
    alarm.outcome.newest = shard->workers[idx].rank;
    snprintf(alarm.outcome.text, sizeof(alarm.outcome.text),
             "version %llu of block %u is lost", (unsigned long long)block->version - 1,
             block->block_idx);
    outbox_put(out, shard_coordinator(), &alarm);
}

/* When all workers died while some blocks had made a step and others had not, whoever comes next
 * needs the version that the others are at; and who comes while others are at that step may be
 * given lanes of it. */
void shard_take_pull_old(struct shard *shard, struct address from, const struct message *msg,
                         struct outbox *out)
{
    const struct shard_block *block = shard_serving(shard, msg->key.block);
    if (block == NULL || block->clocks != NULL || msg->key.step + 1 != block->version ||
        block->version == shard->start_step || /* there is none before */
        block->pusher != 0) { /* somebody works on the present one: all blocks have it */
        shard_take_pull(shard, from, msg, out);
        return;
    }
    if (block->previous == NULL && block->update != UPDATE_FROZEN) {
        alarm_lost(shard, block, from, out);
        return;
    }
    struct message weights = shard_message(shard, MSG_WEIGHTS);
    weights.key = (struct block_key){.step = msg->key.step, .block = block->block_idx};
    weights.payload = shard_encode_previous(shard, block, &weights.key.codec);
    if (weights.payload == NULL) {
        shard_give_up(shard, ERR_NOMEM, "no memory for a block's weights on the wire", out);
        return;
    }
    shard->totals.bytes_out += weights.payload->size_bytes;
    outbox_put(out, from, &weights);
    buffer_unref(weights.payload);
}
