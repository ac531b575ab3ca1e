#include "ps/shard_state.h"

#include <stdlib.h>
#include "common/rounds.h"

enum {
    FETCHES_IN_FLIGHT = 8,
    CHECKPOINT_COPIES = 2,
    COPY_RETRY_MS = 2000,
    COPY_RETRY_MS_MAX = 10000
};

bool shard_is_checkpoint(const struct shard *shard, uint64_t step)
{
    return step > 0 && shard_last_cut(shard, step) == step;
}

uint64_t shard_last_cut(const struct shard *shard, uint64_t step)
{
    uint64_t every = shard->spec.settings->checkpoint.every;
    uint64_t last = every > 0 ? rounds_last_due(shard->spec.settings, every, step) : 0;
    if (step >= shard->step_count)
        last = shard->step_count;
    else if (shard->hold_step != 0 && shard->hold_step <= step && shard->hold_step > last)
        last = shard->hold_step;
    for (size_t i = 0; i < SHARD_ASKED_MAX; i++)
        if (shard->asked[i] <= step && shard->asked[i] > last)
            last = shard->asked[i];
    return last;
}

bool shard_is_keeping_up(const struct shard *shard)
{
    return shard->copy_bytes < CHECKPOINT_COPIES * shard->state_bytes;
}

static void send_copy(struct shard *shard, struct shard_copy *copy, struct outbox *out)
{
    struct message state = shard_message(shard, MSG_BLOCK_STATE);
    state.key = (struct block_key){.step = copy->step, .block = copy->block};
    state.payload = copy->state;
    copy->sent_ms = shard->now_ms;
    outbox_put(out, shard->store, &state);
}

static struct shard_copy *add_copy(struct shard *shard)
{
    if (shard->copy_count == shard->copy_capacity) {
        size_t capacity = shard->copy_capacity == 0 ? 16 : 2 * shard->copy_capacity;
        struct shard_copy *copies = realloc(shard->copies, capacity * sizeof(*copies));
        if (copies == NULL)
            return NULL;
        shard->copies = copies;
        shard->copy_capacity = capacity;
    }
    return &shard->copies[shard->copy_count];
}

/* All lanes are exactly there: with clocks that is so since none is told of a later one before. */
static bool is_cut(const struct shard *shard, const struct shard_block *block)
{
    uint64_t step = shard_block_step(block);
    return block->captured != step && shard_is_checkpoint(shard, step) &&
           shard_block_newest(block) == step;
}

void shard_capture(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    if (shard->is_over || !is_cut(shard, block))
        return;
    struct shard_copy *copy = add_copy(shard);
    struct buffer *state =
        copy == NULL ? NULL : shard_block_capture(block, false, shard->pool);
    if (state == NULL) {
        shard_give_up(shard, ERR_NOMEM, "no memory for a checkpoint's copy of a block", out);
        return;
    }
    block->captured = shard_block_step(block);
    *copy = (struct shard_copy){.step = block->captured,
                                .block = block->block_idx,
                                .state = state,
                                .wait_ms = COPY_RETRY_MS};
    shard->copy_count++;
    shard->copy_bytes += state->size_bytes;
    send_copy(shard, copy, out);
}

static void drop_copy(struct shard *shard, size_t idx)
{
    shard->copy_bytes -= shard->copies[idx].state->size_bytes;
    buffer_unref(shard->copies[idx].state);
    shard->copies[idx] = shard->copies[--shard->copy_count];
}

void shard_drop_copies(struct shard *shard)
{
    while (shard->copy_count > 0)
        drop_copy(shard, shard->copy_count - 1);
}

/* A place for one more asked step: a free one, or of a step that every block has behind it. */
static uint64_t *asked_slot(struct shard *shard, uint64_t step, uint64_t oldest)
{
    for (size_t i = 0; i < SHARD_ASKED_MAX; i++)
        if (shard->asked[i] == step)
            return &shard->asked[i];
    for (size_t i = 0; i < SHARD_ASKED_MAX; i++)
        if (shard->asked[i] == 0 || shard->asked[i] < oldest)
            return &shard->asked[i];
    return NULL;
}

static bool has_copy(const struct shard *shard, uint64_t step, uint32_t block_idx)
{
    for (size_t i = 0; i < shard->copy_count; i++)
        if (shard->copies[i].step == step && shard->copies[i].block == block_idx)
            return true;
    return false;
}

/* The store may have had a block of this step and lost it with its coordinator, or failed to write
 * it: who asks gets it again. */
static void recall_captures(struct shard *shard, uint64_t step)
{
    for (size_t i = 0; i < shard->layout->block_count; i++) {
        struct shard_block *block = &shard->blocks[i];
        if (block->captured == step && !has_copy(shard, step, block->block_idx))
            block->captured = 0;
    }
}

void shard_ask_checkpoint(struct shard *shard, uint64_t step, struct outbox *out)
{
    uint64_t newest = 0, oldest = UINT64_MAX;
    if (shard->layout == NULL)
        return;
    if (shard->primary_count == 0)
        oldest = shard->start_step;
    for (size_t i = 0; i < shard->layout->block_count; i++) {
        const struct shard_block *block = &shard->blocks[i];
        if (block->role == ROLE_NONE || !block->is_ready)
            continue;
        uint64_t low = shard_block_step(block), high = shard_block_newest(block);
        oldest = low < oldest ? low : oldest;
        newest = high > newest && block->role == ROLE_PRIMARY ? high : newest;
    }
    uint64_t *slot = newest > step ? NULL : asked_slot(shard, step, oldest);
    if (slot == NULL && shard->primary_count == 0)
        return;
    if (slot == NULL) {
        struct message late = shard_message(shard, MSG_CHECKPOINT_LATE);
        late.outcome.step = step;
        late.outcome.newest = newest;
        outbox_put(out, shard_coordinator(), &late);
        return;
    }
    *slot = step;
    recall_captures(shard, step);
    shard_settle_all(shard, out);
}

static void ask_blocks(struct shard *shard, struct outbox *out)
{
    shard->fetch_ms = shard->now_ms;
    size_t asked = 0;
    for (size_t i = 0; i < shard->layout->block_count && asked < FETCHES_IN_FLIGHT; i++) {
        const struct shard_block *block = &shard->blocks[i];
        if (block->is_ready || (block->role != ROLE_PRIMARY && block->role != ROLE_BACKUP))
            continue;
        struct message fetch = shard_message(shard, MSG_BLOCK_FETCH);
        fetch.key = (struct block_key){.step = shard->start_step, .block = block->block_idx};
        outbox_put(out, shard->store, &fetch);
        asked++;
    }
}

static void take_state(struct shard *shard, const struct message *msg, struct outbox *out)
{
    struct shard_block *block = shard_find(shard, msg->key.block);
    if (block == NULL || block->is_ready || msg->key.step != shard->start_step ||
        (block->role != ROLE_PRIMARY && block->role != ROLE_BACKUP))
        return; /* asked for twice, answered twice */
    int err = shard_block_restore(block, msg, shard->pool);
    if (err != 0) {
        shard_give_up(shard, err,
                      "the checkpoint's state of a block has another size than the job's", out);
        return;
    }
    shard->fetch_ms = shard->now_ms; /* blocks are coming: what is missing is on its way */
    shard->ready_count++;
    shard_settle(shard, block, out);
    if (shard->ready_count % FETCHES_IN_FLIGHT == 0)
        ask_blocks(shard, out);
}

static void take_kept(struct shard *shard, const struct message *msg, struct outbox *out)
{
    bool was_behind = !shard_is_keeping_up(shard);
    shard->kept_ms = shard->now_ms;
    for (size_t i = shard->copy_count; i-- > 0;) {
        shard->copies[i].wait_ms = COPY_RETRY_MS;
        if (shard->copies[i].step == msg->key.step && shard->copies[i].block == msg->key.block)
            drop_copy(shard, i);
    }
    if (was_behind && shard_is_keeping_up(shard))
        shard_settle_all(shard, out);
}

void shard_hear_store(struct shard *shard, const struct message *msg, struct outbox *out)
{
    if (shard->view == 0 || !run_equal(msg->run, shard->run) || msg->era != shard->era)
        return;
    if (msg->kind == MSG_BLOCK_STATE)
        take_state(shard, msg, out);
    else if (msg->kind == MSG_BLOCK_KEPT)
        take_kept(shard, msg, out);
    else if (msg->kind == MSG_REFUSED)
        shard_give_up(shard, msg->outcome.code, msg->outcome.text, out);
}

/* As long as the store takes copies, what it has not had is on its way.  While it is silent, a few
 * are sent again, and less and less often: it may be busy with a slow disk, and what is sent to it
 * then waits in its memory. */
static void send_copies_again(struct shard *shard, struct outbox *out)
{
    size_t sent = 0;
    if (shard->copy_count == 0 || shard->now_ms - shard->kept_ms < COPY_RETRY_MS)
        return;
    for (size_t i = 0; i < shard->copy_count && sent < FETCHES_IN_FLIGHT; i++) {
        struct shard_copy *copy = &shard->copies[i];
        if (shard->now_ms - copy->sent_ms < copy->wait_ms)
            continue;
        copy->wait_ms = copy->wait_ms < COPY_RETRY_MS_MAX / 2 ? 2 * copy->wait_ms
                                                              : COPY_RETRY_MS_MAX;
        send_copy(shard, copy, out);
        sent++;
    }
}

void shard_keep_tick(struct shard *shard, struct outbox *out)
{
    if (shard->view == 0)
        return;
    if (shard->now_ms - shard->fetch_ms >= SHARD_RETRY_MS)
        ask_blocks(shard, out);
    send_copies_again(shard, out);
}

void shard_keep_again(struct shard *shard, struct outbox *out)
{
    ask_blocks(shard, out);
    for (size_t i = 0; i < shard->copy_count; i++)
        send_copy(shard, &shard->copies[i], out);
}
