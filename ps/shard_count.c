#include "ps/shard_state.h"

#include <inttypes.h>
#include <stdio.h>
#include "common/vector_math.h"
#include "ps/shard_codec.h"

/* Of the coordinator's patience, how much a primary may use up before it makes no new version. */
static const double lease_share = 0.8;

/* Updates that a block may keep for its replicas once those of all blocks take up all that the
 * shard may hold for others. */
enum { UPDATES_WHEN_FULL = 4 };

static size_t updates_max(const struct shard *shard)
{
    bool is_full = shard->log_bytes > shard->spec.settings->exchange.parked_bytes;
    return is_full ? UPDATES_WHEN_FULL : REPLICA_UPDATES_MAX;
}

static bool has_lease(const struct shard *shard)
{
    double limit_ms = lease_share * 1000.0 * shard->spec.settings->cluster.silence_s;
    return (double)(shard->now_ms - shard->lease_ms) <= limit_ms;
}

/* Whether a new version may be made just now.  A checkpoint step waits while earlier copies fill
 * the memory allowed for them: the store's pace becomes the job's, instead of memory growing. */
static bool may_go_on(const struct shard *shard, struct shard_block *block)
{
    if (shard_is_checkpoint(shard, shard_block_step(block) + 1) && !shard_is_keeping_up(shard))
        return false;
    if (block->clocks == NULL && !shard_is_settled(block))
        return false;
    return has_lease(shard) && replicas_make_room(&block->replicas, updates_max(shard));
}

void shard_clear_sums(struct shard *shard, struct shard_block *block)
{
    shard->parked_bytes -= reduction_held_bytes(&block->sums);
    reduction_clear(&block->sums);
    block->is_void = false;
}

static int feed(struct shard *shard, struct shard_block *block, struct lane_node lanes,
                struct buffer *sum, struct outbox *out)
{
    struct replica_update update = {.lanes = lanes};
    if (!replicas_are_fed(&block->replicas))
        return 0;
    if (sum != NULL) {
        update.sum = shard_encode_sum(shard, block, sum, &update.codec);
        if (update.sum == NULL)
            return ERR_NOMEM;
    }
    shard_feed(shard, block, &update, out);
    buffer_unref(update.sum);
    return 0;
}

/* Makes the next version of parts, which are borrowed; [0] NULL: the step is left out, or changes
 * nothing.  A copy is sent the sum as one buffer, else the optimizer adds while it reads. */
static void make_version(struct shard *shard, struct shard_block *block, struct lane_node lanes,
                         struct buffer *parts[2], struct outbox *out)
{
    int err = 0;
    if (replicas_are_fed(&block->replicas))
        err = reduction_join(parts, shard->pool);
    struct shard_update update = {
        .settings = &shard->server_settings,
        .batching = &shard->batching,
        .step_count = shard->step_count,
        .lanes = lanes,
        .keeps_previous = !block->has_pushers, /* else, when one dies, another still has it */
        .parts = {parts[0], parts[1]},
        .pool = shard->pool,
    };
    if (err == 0)
        err = shard_block_apply(block, &update);
    if (err == 0) {
        shard_encode_change(shard, block, parts);
        err = feed(shard, block, lanes, parts[0], out);
    }
    if (err != 0)
        shard_give_up(shard, ERR_NOMEM, "no memory for the next version of a block", out);
}

/* In bsp, when the sum is whole. */
static void close_step(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    struct lane_node root = {0, block->lane_count};
    struct buffer *parts[2] = {NULL, NULL};
    if (!block->is_void && !reduction_has(&block->sums, root))
        return;
    if (!may_go_on(shard, block))
        return; /* tried again on a tick */
    shard->parked_bytes -= reduction_held_bytes(&block->sums);
    if (!block->is_void && block->update != UPDATE_FROZEN)
        (void)reduction_take_parts(&block->sums, root, parts);
    reduction_clear(&block->sums);
    block->is_void = false;
    make_version(shard, block, root, parts, out);
    buffer_unref(parts[0]);
    buffer_unref(parts[1]);
}

static void tell(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    if (!shard_is_settled(block))
        return;
    shard_answer_waiters(shard, block, out);
    shard_capture(shard, block, out);
}

void shard_settle(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    if (shard->is_over || block->role != ROLE_PRIMARY || !block->is_ready)
        return;
    tell(shard, block, out);
    uint64_t version = block->version;
    if (block->clocks == NULL)
        close_step(shard, block, out);
    if (block->version != version && !shard->is_over)
        tell(shard, block, out);
}

void shard_settle_all(struct shard *shard, struct outbox *out)
{
    for (size_t i = 0; shard->layout != NULL && i < shard->layout->block_count; i++)
        shard_settle(shard, &shard->blocks[i], out);
}

/* A gradient that is no number ends the job, by name. */
static void alarm_nonfinite(struct shard *shard, struct address from, const struct message *msg,
                            struct outbox *out)
{
    struct message alarm = shard_message(shard, MSG_ALARM);
    const struct layout *layout = shard->layout;
    const char *name = layout->tensors[layout->blocks[msg->key.block].tensor_idx].name;
    char who[40];
    snprintf(who, sizeof(who), "worker of incarnation %016" PRIx64, from.id);
    for (size_t i = 0; i < shard->worker_count; i++)
        if (shard->workers[i].incarnation == from.id)
            snprintf(who, sizeof(who), "worker %" PRIu32, shard->workers[i].rank);
    alarm.outcome.code = ERR_INPUT;
    alarm.outcome.step = msg->key.step;
    snprintf(alarm.outcome.text, sizeof(alarm.outcome.text),
             "%s sent a gradient of %s that is not finite, for lanes %" PRIu32 "..%" PRIu32
             " of step %" PRIu64,
             who, name, msg->key.lane_begin, msg->key.lane_end, msg->key.step);
    shard->refused_count++;
    outbox_put(out, shard_coordinator(), &alarm);
}

static bool is_push(const struct shard *shard, const struct shard_block *block,
                    const struct message *msg)
{
    struct lane_node node = {msg->key.lane_begin, msg->key.lane_end};
    bool is_void = msg->kind == MSG_VOID;
    bool is_frozen = block->update == UPDATE_FROZEN;
    if (is_void && shard->spec.settings->job.on_nonfinite != NONFINITE_SKIP)
        return false;
    return lane_node_is_valid(node, block->lane_count) && msg->key.step < shard->step_count &&
           (block->clocks == NULL || node.end - node.begin == 1) &&
           (is_void || (msg->kind == MSG_PASS) == is_frozen) &&
           (msg->kind != MSG_PUSH || shard_is_payload(block, msg));
}

static void refuse_push(struct shard *shard, struct address from, const struct message *msg,
                        struct outbox *out)
{
    const struct shard_block *block = &shard->blocks[msg->key.block];
    char text[256];
    snprintf(text, sizeof(text),
             "%s of block %" PRIu32 " step %" PRIu64 " lanes %" PRIu32 "..%" PRIu32
             " of %zu bytes; expected a step below %" PRIu64 ", %s of %" PRIu32
             " lanes, %zu bytes",
             message_kind_text(msg->kind), msg->key.block, msg->key.step, msg->key.lane_begin,
             msg->key.lane_end, msg->payload == NULL ? 0 : msg->payload->size_bytes,
             shard->step_count, block->clocks == NULL ? "an aligned run" : "one",
             block->lane_count, shard_block_bytes(block));
    shard_refuse(shard, from, ERR_PROTO, text, out);
}

static uint64_t expected_step(const struct shard_block *block, const struct message *msg)
{
    return block->clocks == NULL ? block->version : block->clocks[msg->key.lane_begin];
}

/* No block behind it is still to be made.  Workers keep room for such a one whatever they send
 * before its turn, so all of them will send it. */
static bool is_next(const struct shard *shard, const struct shard_block *block)
{
    for (size_t i = block->block_idx + (size_t)1; i < shard->layout->block_count; i++)
        if (shard->blocks[i].role == ROLE_PRIMARY && shard->blocks[i].version <= block->version)
            return false;
    return true;
}

/* What stands for a node of a frozen block, so that it is known which have come. */
static struct buffer *take_token(struct shard *shard)
{
    struct buffer *token = buffer_pool_take(shard->pool, sizeof(float));
    if (token != NULL)
        *(float *)token->data = 0.0f;
    return token;
}

/* Adds the node to the block's sum, unless too much waits for other lanes already: what is dropped
 * for that is asked for again when there is room. */
static int park(struct shard *shard, struct shard_block *block, const struct message *msg)
{
    struct lane_node node = {msg->key.lane_begin, msg->key.lane_end};
    bool is_whole = node.end - node.begin == block->lane_count;
    bool is_frozen = msg->payload == NULL;
    size_t ceiling = shard->spec.settings->exchange.parked_bytes;
    size_t before = reduction_held_bytes(&block->sums);
    if (before == 0 && !is_whole && !is_frozen && shard->parked_bytes > 0 &&
        shard->parked_bytes + msg->payload->size_bytes > ceiling && !is_next(shard, block)) {
        shard->dropped_count++;
        return 0;
    }
    struct buffer *sum = is_frozen ? take_token(shard) : buffer_ref(msg->payload);
    if (sum == NULL)
        return ERR_NOMEM;
    block->sums.grid.step = block->version;
    int err = reduction_add(&block->sums, node, sum, shard->pool);
    shard->parked_bytes = shard->parked_bytes - before + reduction_held_bytes(&block->sums);
    return err == ERR_STALE ? 0 : err;
}

static void count_in_tree(struct shard *shard, struct shard_block *block,
                          const struct message *msg, struct outbox *out)
{
    int err = 0;
    if (msg->kind == MSG_VOID) {
        shard_clear_sums(shard, block);
        block->is_void = true;
    } else if (!block->is_void) {
        err = park(shard, block, msg);
    }
    if (err != 0)
        shard_give_up(shard, err, "no memory for a gradient", out);
    else
        shard_settle(shard, block, out);
}

/* No lane goes past a checkpoint's cut before all are there. */
static void count_by_clock(struct shard *shard, struct shard_block *block,
                           const struct message *msg, struct outbox *out)
{
    struct lane_node lane = {msg->key.lane_begin, msg->key.lane_end};
    struct buffer *parts[2] = {msg->payload, NULL};
    bool is_past_cut = shard_block_step(block) < shard_last_cut(shard, msg->key.step);
    if (!is_past_cut && may_go_on(shard, block)) {
        make_version(shard, block, lane, parts, out);
        shard_settle(shard, block, out);
    } else {
        shard->dropped_count++;
    }
}

/* msg with its numbers as they are added up.  False: it is not to be counted. */
static bool open_payload(struct shard *shard, struct address from, struct message *msg,
                         struct outbox *out)
{
    const struct shard_block *block = &shard->blocks[msg->key.block];
    struct buffer *floats = NULL;
    int err = shard_decode(shard, block, msg, &floats);
    if (err == ERR_NOMEM)
        shard_give_up(shard, err, "no memory for a gradient", out);
    else if (err != 0)
        refuse_push(shard, from, msg, out);
    if (err != 0)
        return false;
    msg->payload = floats;
    if (vector_is_finite(floats->data, block->count))
        return true;
    buffer_unref(floats);
    alarm_nonfinite(shard, from, msg, out);
    return false;
}

/* Who pushes waits for the next version, and has this one; of a frozen block they are alike. */
static struct shard_waiter pusher(const struct shard_block *block, struct address from,
                                  const struct message *msg)
{
    bool has_base = block->clocks == NULL || block->update == UPDATE_FROZEN;
    return (struct shard_waiter){from, msg->key.step + 1, has_base};
}

/* The block's step in work, from somebody who waits for its end; msg's payload is numbers. */
static void count(struct shard *shard, struct shard_block *block, struct address from,
                  const struct message *msg, struct outbox *out)
{
    struct shard_waiter waiter = pusher(block, from, msg);
    if (shard_block_wait(block, &waiter) != 0)
        shard_give_up(shard, ERR_NOMEM, "no memory for a push", out);
    else if (block->clocks == NULL)
        count_in_tree(shard, block, msg, out);
    else
        count_by_clock(shard, block, msg, out);
}

void shard_take_push(struct shard *shard, struct address from, const struct message *msg,
                     struct outbox *out)
{
    struct shard_block *block = shard_serving(shard, msg->key.block);
    if (block == NULL) {
        shard->dropped_count++;
        return;
    }
    if (!is_push(shard, block, msg)) {
        refuse_push(shard, from, msg, out);
        return;
    }
    uint64_t expected = expected_step(block, msg);
    if (msg->key.step > expected) {
        shard->dropped_count++;
        return;
    }
    struct message push = *msg;
    bool is_stale = msg->key.step < expected; /* counted already; the answer may have been lost */
    if (!is_stale && msg->payload != NULL && !open_payload(shard, from, &push, out))
        return;
    shard->totals.push_count++;
    shard->totals.bytes_in += msg->payload == NULL ? 0 : msg->payload->size_bytes;
    if (is_stale) {
        struct shard_waiter waiter = pusher(block, from, msg);
        shard_answer_or_wait(shard, block, &waiter, out);
        return;
    }
    if (block->clocks == NULL)
        shard_block_note_pusher(block, from.id);
    count(shard, block, from, &push, out);
    buffer_unref(push.payload);
}
