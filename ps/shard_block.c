#include "ps/shard_block.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "ps/optimizer.h"
#include "ps/schedule.h"

int shard_block_create(struct shard_block *block, const struct layout *layout, uint32_t block_idx,
                       size_t state_count)
{
    const struct block_spec *spec = &layout->blocks[block_idx];
    *block = (struct shard_block){.block_idx = block_idx,
                                  .count = (size_t)(spec->range.end - spec->range.begin),
                                  .has_decay = layout->tensors[spec->tensor_idx].has_decay};
    for (size_t i = 0; i < state_count; i++) {
        block->state[i] = calloc(block->count, sizeof(float));
        if (block->state[i] == NULL)
            return ERR_NOMEM;
    }
    return 0;
}

void shard_block_free(struct shard_block *block)
{
    buffer_unref(block->weights);
    for (size_t i = 0; i < SHARD_STATES_MAX; i++)
        free(block->state[i]);
    reduction_free(&block->sums);
    free(block->waiters);
}

size_t shard_block_bytes(const struct shard_block *block)
{
    return block->count * sizeof(float);
}

int shard_block_init(struct shard_block *block, const struct layout *layout, uint64_t seed,
                     struct buffer_pool *pool)
{
    block->weights = buffer_pool_take(pool, shard_block_bytes(block));
    if (block->weights == NULL)
        return ERR_NOMEM;
    layout_init_block(layout, block->block_idx, seed, block->weights->data);
    block->version = 0;
    block->is_ready = true;
    return 0;
}

int shard_block_restore(struct shard_block *block, const struct message *state, size_t state_count,
                        struct buffer_pool *pool)
{
    size_t bytes = shard_block_bytes(block);
    if (state->payload->size_bytes != bytes * (1 + state_count))
        return ERR_PROTO;
    block->weights = buffer_pool_take(pool, bytes);
    if (block->weights == NULL)
        return ERR_NOMEM;
    const unsigned char *from = state->payload->data;
    memcpy(block->weights->data, from, bytes);
    for (size_t i = 0; i < state_count; i++)
        memcpy(block->state[i], from + (i + 1) * bytes, bytes);
    block->version = state->key.step;
    block->captured = state->key.step;
    block->is_ready = true;
    return 0;
}

struct buffer *shard_block_capture(const struct shard_block *block, size_t state_count,
                                   struct buffer_pool *pool)
{
    size_t bytes = shard_block_bytes(block);
    struct buffer *whole = buffer_pool_take(pool, bytes * (1 + state_count));
    if (whole == NULL)
        return NULL;
    unsigned char *to = whole->data;
    memcpy(to, block->weights->data, bytes);
    for (size_t i = 0; i < state_count; i++)
        memcpy(to + (i + 1) * bytes, block->state[i], bytes);
    return whole;
}

int shard_block_apply(struct shard_block *block, const struct shard_update *update)
{
    struct buffer *fresh = buffer_pool_take(update->pool, shard_block_bytes(block));
    if (fresh == NULL)
        return ERR_NOMEM;
    struct buffer *sum = reduction_take(&block->sums, update->root);
    assert(sum != NULL);
    struct update step = {
        .weights = block->weights->data,
        .grad = sum->data,
        .grad_scale = 1.0f / (float)update->sample_count,
        .state = {block->state[0], block->state[1]},
        .weights_out = fresh->data,
        .count = block->count,
        .has_decay = block->has_decay,
        .step = block->version,
        .rate = (float)schedule_rate(update->settings, block->version, update->step_count),
    };
    optimizer_apply(update->settings, &step);
    buffer_unref(sum);
    buffer_unref(block->weights);
    block->weights = fresh;
    block->version++;
    return 0;
}

int shard_block_wait(struct shard_block *block, struct address who, uint64_t version)
{
    for (size_t i = 0; i < block->waiter_count; i++)
        if (address_equal(block->waiters[i].who, who)) {
            block->waiters[i].version = version;
            return 0;
        }
    if (block->waiter_count == block->waiter_capacity) {
        size_t capacity = block->waiter_capacity == 0 ? 4 : 2 * block->waiter_capacity;
        struct shard_waiter *waiters = realloc(block->waiters, capacity * sizeof(*waiters));
        if (waiters == NULL)
            return ERR_NOMEM;
        block->waiters = waiters;
        block->waiter_capacity = capacity;
    }
    block->waiters[block->waiter_count++] = (struct shard_waiter){who, version};
    return 0;
}
