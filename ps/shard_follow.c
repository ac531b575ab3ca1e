#include "ps/shard_state.h"

#include "ps/shard_codec.h"

/* The block, if the sender is its primary by this shard's view and this shard follows it. */
static struct shard_block *followed(struct shard *shard, struct address from,
                                    const struct message *msg)
{
    struct shard_block *block = shard_find(shard, msg->key.block);
    if (block == NULL || block->primary != from.id ||
        (block->role != ROLE_BACKUP && block->role != ROLE_LEARNER)) {
        shard->dropped_count++;
        return NULL;
    }
    return block;
}

static void confirm(struct shard *shard, struct address to, const struct shard_block *block,
                    struct outbox *out)
{
    struct message updated = shard_message(shard, MSG_UPDATED);
    updated.key = (struct block_key){.step = block->version, .block = block->block_idx};
    outbox_put(out, to, &updated);
}

static bool fits(const struct shard_block *block, const struct message *msg)
{
    struct lane_node lanes = {msg->key.lane_begin, msg->key.lane_end};
    uint32_t expected = block->clocks == NULL ? block->lane_count : 1;
    return lane_node_is_valid(lanes, block->lane_count) && lanes.end - lanes.begin == expected &&
           (msg->kind == MSG_UPDATE_VOID || shard_is_payload(block, msg));
}

/* By the view at least two workers have lanes: when one dies, another has the version before. */
static bool is_shared(const struct shard *shard, const struct shard_block *block)
{
    uint64_t first = 0;
    for (uint32_t lane = 0; lane < block->lane_count; lane++) {
        uint64_t worker = shard->lane_worker[lane];
        if (first != 0 && worker != 0 && worker != first)
            return true;
        first = worker == 0 ? first : worker;
    }
    return false;
}

/* ERR_PROTO, ERR_NOMEM, and nothing has changed. */
static int update(struct shard *shard, struct shard_block *block, const struct message *msg)
{
    struct shard_update update = {
        .settings = &shard->server_settings,
        .batching = &shard->batching,
        .step_count = shard->step_count,
        .lanes = {msg->key.lane_begin, msg->key.lane_end},
        .keeps_previous = !is_shared(shard, block),
        .pool = shard->pool,
    };
    int err = msg->payload == NULL ? 0 : shard_decode(shard, block, msg, &update.parts[0]);
    if (err == 0)
        err = shard_block_apply(block, &update);
    buffer_unref(update.parts[0]);
    return err;
}

void shard_take_update(struct shard *shard, struct address from, const struct message *msg,
                       struct outbox *out)
{
    struct shard_block *block = followed(shard, from, msg);
    if (block == NULL)
        return;
    if (!block->is_ready || !block->is_fed || !fits(block, msg)) {
        shard->dropped_count++;
        return;
    }
    int err = msg->key.step == block->version ? update(shard, block, msg) : 0;
    if (err == ERR_NOMEM)
        shard_give_up(shard, ERR_NOMEM, "no memory for the next version of a block", out);
    else if (err != 0)
        shard_refuse(shard, from, err, "an update that is not what its codec makes", out);
    else
        confirm(shard, from, block, out);
}

/* Taken when it is ahead of what is here or, with clocks, comes from a new primary: its version may
 * be made of other updates than ours of the same number. */
void shard_take_replica(struct shard *shard, struct address from, const struct message *msg,
                        struct outbox *out)
{
    struct shard_block *block = followed(shard, from, msg);
    if (block == NULL)
        return;
    bool is_wanted = !block->is_ready || !block->is_fed || msg->key.step > block->version;
    int err = is_wanted ? shard_block_clone(block, msg, shard->pool) : 0;
    if (err == ERR_NOMEM) {
        shard_give_up(shard, err, "no memory for a block that is sent to this shard", out);
        return;
    }
    if (err != 0) {
        shard_refuse(shard, from, err, "a block's state of another size than the job's", out);
        return;
    }
    block->is_fed = true;
    confirm(shard, from, block, out);
}
