#include "ps/shard_state.h"

#include <stdio.h>

/* Of cluster.answer_s, after which a job that stands still is ended. */
static const double SILENT_SHARE = 0.25;

enum { FEED_BYTES_MAX = 64 << 20, FEED_WAIT_MS_MAX = 5000, FILLED_MS = 1000 };

static struct address address_of(const struct replica *replica)
{
    return (struct address){PARTY_SHARD, replica->id};
}

static uint32_t first_wait_ms(const struct shard *shard)
{
    return shard->spec.settings->exchange.retry_ms;
}

static void restart_clock(const struct shard *shard, struct replica *replica)
{
    replica->sent_ms = replica->silent_ms = shard->now_ms;
    replica->wait_ms = first_wait_ms(shard);
}

static void end_filling(struct shard *shard, struct replica *replica)
{
    shard->filling_bytes -= replica->filling_bytes;
    replica->filling_bytes = 0;
}

static void drop(struct shard *shard, struct replica *replica)
{
    end_filling(shard, replica);
    *replica = (struct replica){0};
}

static void add_follower(struct shard *shard, struct shard_block *block, uint64_t id,
                         const struct shard_followers *followers)
{
    struct replica *free = block->replicas.items;
    while (free->id != 0)
        free++;
    *free = (struct replica){.id = id,
                             .since = shard->view,
                             .is_learner = id == followers->learner,
                             .is_counted = id == followers->backup,
                             .goal = block->version};
    if (followers->is_start && id == followers->backup) {
        free->is_sent = free->is_confirmed = true;
        free->acked = free->from = block->version;
    }
    restart_clock(shard, free);
}

/* A follower stays what it was; when a view in between may have emptied it, a learner or who is one
 * now, it is sent the state again, and answers wait for it as before. */
static void keep_follower(struct shard *shard, struct replica *replica,
                          const struct shard_followers *followers)
{
    bool is_emptied = replica->is_learner || replica->id == followers->learner;
    if (followers->is_doubtful && is_emptied) {
        replica->is_sent = replica->is_confirmed = false;
        replica->since = shard->view;
        replica->acked = 0;
        end_filling(shard, replica);
    }
    replica->is_learner = replica->id == followers->learner;
    replica->is_counted = replica->is_counted || !replica->is_learner;
}

void shard_name_followers(struct shard *shard, struct shard_block *block,
                          const struct shard_followers *followers)
{
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        struct replica *replica = &block->replicas.items[i];
        if (replica->id == 0)
            continue;
        if (replica->id == followers->backup || replica->id == followers->learner)
            keep_follower(shard, replica, followers);
        else
            drop(shard, replica);
    }
    if (followers->backup != 0 && replicas_find(&block->replicas, followers->backup) == NULL)
        add_follower(shard, block, followers->backup, followers);
    if (followers->learner != 0 && replicas_find(&block->replicas, followers->learner) == NULL)
        add_follower(shard, block, followers->learner, followers);
    replicas_trim(&block->replicas);
}

void shard_drop_followers(struct shard *shard, struct shard_block *block)
{
    for (size_t i = 0; i < REPLICAS_MAX; i++)
        drop(shard, &block->replicas.items[i]);
    replicas_free(&block->replicas);
}

static void send_update(struct shard *shard, const struct shard_block *block,
                        const struct replica *replica, uint64_t version, struct outbox *out)
{
    const struct replica_update *update = replicas_logged(&block->replicas, version);
    struct message msg = shard_message(shard, update->sum == NULL ? MSG_UPDATE_VOID : MSG_UPDATE);
    msg.key = (struct block_key){.step = version,
                                 .block = block->block_idx,
                                 .lane_begin = update->lanes.begin,
                                 .lane_end = update->lanes.end,
                                 .codec = update->codec};
    msg.payload = update->sum;
    if (update->sum != NULL)
        shard->totals.bytes_out += update->sum->size_bytes;
    outbox_put(out, address_of(replica), &msg);
}

static void send_state(struct shard *shard, struct shard_block *block, struct replica *replica,
                       struct outbox *out)
{
    struct message msg = shard_message(shard, MSG_REPLICA);
    msg.key = (struct block_key){.step = block->version, .block = block->block_idx};
    msg.payload = shard_block_capture(block, true, shard->pool);
    if (msg.payload == NULL) {
        shard_give_up(shard, ERR_NOMEM, "no memory for a copy of a block", out);
        return;
    }
    end_filling(shard, replica);
    replica->filling_bytes = msg.payload->size_bytes;
    shard->filling_bytes += replica->filling_bytes;
    shard->totals.bytes_out += msg.payload->size_bytes;
    replica->is_sent = true;
    replica->from = block->version;
    outbox_put(out, address_of(replica), &msg);
    buffer_unref(msg.payload);
    replicas_trim(&block->replicas);
}

/* From what it has on, while that is still kept; else the state of now. */
static void send_again(struct shard *shard, struct shard_block *block, struct replica *replica,
                       struct outbox *out)
{
    uint64_t wait_ms = 2 * replica->wait_ms;
    replica->sent_ms = shard->now_ms;
    replica->wait_ms = wait_ms < FEED_WAIT_MS_MAX ? wait_ms : FEED_WAIT_MS_MAX;
    if (!replica->is_confirmed || replicas_logged(&block->replicas, replica->acked) == NULL) {
        send_state(shard, block, replica, out);
        return;
    }
    for (uint64_t version = replica->acked; version < block->version; version++)
        send_update(shard, block, replica, version, out);
}

static void tell_filled(struct shard *shard, const struct shard_block *block,
                        struct replica *replica, struct outbox *out)
{
    if (replica->filled_ms != 0 && shard->now_ms - replica->filled_ms < FILLED_MS)
        return;
    struct message filled = shard_message(shard, MSG_FILLED);
    filled.key = (struct block_key){.step = replica->acked, .block = block->block_idx};
    replica->filled_ms = shard->now_ms;
    outbox_put(out, shard_coordinator(), &filled);
}

/* Everybody waits for a follower that does not answer, though it may well be there: only a view can
 * let this block go on without it. */
static void tell_silent(struct shard *shard, const struct shard_block *block,
                        struct replica *replica, struct outbox *out)
{
    double limit_ms = SILENT_SHARE * 1000.0 * shard->spec.settings->cluster.answer_s;
    if ((double)(shard->now_ms - replica->silent_ms) < limit_ms ||
        (replica->alarm_ms != 0 && shard->now_ms - replica->alarm_ms < FILLED_MS))
        return;
    struct message alarm = shard_message(shard, MSG_ALARM);
    alarm.outcome.code = ERR_TIMEOUT;
    alarm.outcome.step = shard_block_step(block);
    alarm.outcome.newest = block->block_idx;
    snprintf(alarm.outcome.text, sizeof(alarm.outcome.text),
             "a copy of block %u has not been confirmed for %.1f s", block->block_idx,
             limit_ms / 1000.0);
    replica->alarm_ms = shard->now_ms;
    outbox_put(out, shard_coordinator(), &alarm);
}

static void tend(struct shard *shard, struct shard_block *block, struct replica *replica,
                 struct outbox *out)
{
    size_t bytes = shard_block_state_bytes(block);
    if (replica->is_learner && replica->is_counted && replica_has(replica, replica->goal))
        tell_filled(shard, block, replica, out);
    if (replica->is_counted && !replica_has(replica, block->version))
        tell_silent(shard, block, replica, out);
    if (!replica->is_sent) {
        end_filling(shard, replica); /* what was sent before does not count any more */
        if (shard->filling_bytes == 0 || shard->filling_bytes + bytes <= FEED_BYTES_MAX) {
            restart_clock(shard, replica);
            send_state(shard, block, replica, out);
        }
    } else if (!replica_has(replica, block->version) &&
               shard->now_ms - replica->sent_ms >= replica->wait_ms) {
        send_again(shard, block, replica, out);
    }
}

void shard_feed_tick(struct shard *shard, struct outbox *out)
{
    for (size_t i = 0; shard->layout != NULL && i < shard->layout->block_count; i++) {
        struct shard_block *block = &shard->blocks[i];
        for (size_t j = 0; j < REPLICAS_MAX && block->role == ROLE_PRIMARY; j++)
            if (block->is_ready && block->replicas.items[j].id != 0 && !shard->is_over)
                tend(shard, block, &block->replicas.items[j], out);
    }
}

void shard_feed(struct shard *shard, struct shard_block *block,
                const struct replica_update *update, struct outbox *out)
{
    uint64_t version = block->version - 1;
    if (replicas_log(&block->replicas, version, update) != 0) {
        shard_give_up(shard, ERR_NOMEM, "no memory for an update", out);
        return;
    }
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        struct replica *replica = &block->replicas.items[i];
        if (replica->id == 0 || !replica->is_sent)
            continue;
        if (replica_has(replica, version))
            restart_clock(shard, replica);
        send_update(shard, block, replica, version, out);
    }
}

void shard_take_updated(struct shard *shard, struct address from, const struct message *msg,
                        struct outbox *out)
{
    struct shard_block *block = shard_serving(shard, msg->key.block);
    struct replica *replica = block == NULL ? NULL : replicas_find(&block->replicas, from.id);
    if (replica == NULL || msg->view < replica->since) {
        shard->dropped_count++;
        return;
    }
    if (replica->is_confirmed && msg->key.step <= replica->acked)
        return;
    replica->is_confirmed = true;
    replica->acked = msg->key.step;
    restart_clock(shard, replica);
    if (!replica->is_counted) {
        replica->is_counted = true;
        replica->goal = block->version;
    }
    bool was_filling = replica->filling_bytes > 0;
    if (replica_has(replica, replica->from))
        end_filling(shard, replica);
    replicas_trim(&block->replicas);
    shard_settle(shard, block, out);
    tend(shard, block, replica, out);
    if (was_filling && replica->filling_bytes == 0)
        shard_feed_tick(shard, out);
}
