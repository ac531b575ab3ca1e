#include "ps/shard_block.h"

#include <stdlib.h>
#include <string.h>
#include "common/optimizer.h"
#include "common/rounds.h"
#include "common/schedule.h"

int shard_block_create(struct shard_block *block, const struct shard_block_spec *spec)
{
    const struct block_spec *where = &spec->layout->blocks[spec->block_idx];
    const struct tensor_spec *tensor = &spec->layout->tensors[where->tensor_idx];
    const struct settings *settings = spec->settings;
    struct codec_grid grid = codec_grid_of(settings->exchange.codec, settings->job.seed,
                                           spec->layout, spec->block_idx);
    *block = (struct shard_block){
        .block_idx = spec->block_idx,
        .count = (size_t)(where->range.end - where->range.begin),
        .has_decay = tensor->has_decay,
        .update = tensor->update,
        .rate_scale = rounds_server_rate_scale(settings, tensor),
        .is_fed = true,
        .version = spec->has_clocks ? spec->step * spec->lane_count : spec->step,
        .captured = spec->step,
        .lane_count = spec->lane_count,
        .state_count = rounds_state_count(settings),
        .has_average = rounds_has_average(settings),
        .sums.open_lanes = codec_rounds(grid.codec) ? 0 : spec->lane_count,
        .sums.grid = grid,
    };
    for (size_t i = 0; i < block->state_count; i++) {
        block->state[i] = calloc(block->count, sizeof(float));
        if (block->state[i] == NULL)
            return ERR_NOMEM;
    }
    if (!spec->has_clocks)
        return 0;
    block->clocks = malloc(spec->lane_count * sizeof(*block->clocks));
    if (block->clocks == NULL)
        return ERR_NOMEM;
    for (uint32_t lane = 0; lane < spec->lane_count; lane++)
        block->clocks[lane] = spec->step;
    return 0;
}

void shard_block_free(struct shard_block *block)
{
    buffer_unref(block->weights);
    buffer_unref(block->previous);
    buffer_unref(block->encoded);
    for (size_t i = 0; i < SHARD_STATES_MAX; i++)
        free(block->state[i]);
    free(block->clocks);
    reduction_free(&block->sums);
    free(block->waiters);
    replicas_free(&block->replicas);
    *block = (struct shard_block){0};
}

size_t shard_block_bytes(const struct shard_block *block)
{
    return block->count * sizeof(float);
}

size_t shard_block_state_bytes(const struct shard_block *block)
{
    return shard_block_bytes(block) * (1 + block->state_count);
}

static size_t clock_bytes(const struct shard_block *block)
{
    return block->clocks == NULL ? 0 : block->lane_count * sizeof(*block->clocks);
}

int shard_block_init(struct shard_block *block, const struct layout *layout, uint64_t seed,
                     struct buffer_pool *pool)
{
    block->weights = buffer_pool_take(pool, shard_block_bytes(block));
    if (block->weights == NULL)
        return ERR_NOMEM;
    layout_init_block(layout, block->block_idx, seed, block->weights->data);
    if (block->has_average)
        memcpy(block->state[block->state_count - 1], block->weights->data,
               shard_block_bytes(block));
    block->is_ready = true;
    return 0;
}

/* Replies with the old weights may still be on their way: they keep their buffer. */
static int copy_state(struct shard_block *block, const unsigned char *from,
                      struct buffer_pool *pool)
{
    size_t bytes = shard_block_bytes(block);
    struct buffer *fresh = buffer_pool_take(pool, bytes);
    if (fresh == NULL)
        return ERR_NOMEM;
    memcpy(fresh->data, from, bytes);
    buffer_unref(block->weights);
    block->weights = fresh;
    shard_block_forget_encoded(block);
    for (size_t i = 0; i < block->state_count; i++)
        memcpy(block->state[i], from + (i + 1) * bytes, bytes);
    block->is_ready = true;
    return 0;
}

int shard_block_restore(struct shard_block *block, const struct message *state,
                        struct buffer_pool *pool)
{
    if (state->payload->size_bytes != shard_block_state_bytes(block))
        return ERR_PROTO;
    return copy_state(block, state->payload->data, pool);
}

static void forget_previous(struct shard_block *block)
{
    buffer_unref(block->previous);
    block->previous = NULL;
}

/* What is known of the step that made the present version, and of the one in work. */
static void forget_step(struct shard_block *block)
{
    forget_previous(block);
    block->pusher = 0;
    block->has_pushers = false;
}

int shard_block_clone(struct shard_block *block, const struct message *replica,
                      struct buffer_pool *pool)
{
    const unsigned char *from = replica->payload->data;
    size_t bytes = shard_block_state_bytes(block);
    if (replica->payload->size_bytes != bytes + clock_bytes(block))
        return ERR_PROTO;
    int err = copy_state(block, from, pool);
    if (err != 0)
        return err;
    if (block->clocks != NULL)
        memcpy(block->clocks, from + bytes, clock_bytes(block));
    forget_step(block);
    block->version = replica->key.step;
    return 0;
}

struct buffer *shard_block_capture(const struct shard_block *block, bool has_clocks,
                                   struct buffer_pool *pool)
{
    size_t bytes = shard_block_bytes(block), total = shard_block_state_bytes(block);
    struct buffer *whole = buffer_pool_take(pool, total + (has_clocks ? clock_bytes(block) : 0));
    if (whole == NULL)
        return NULL;
    unsigned char *to = whole->data;
    memcpy(to, block->weights->data, bytes);
    for (size_t i = 0; i < block->state_count; i++)
        memcpy(to + (i + 1) * bytes, block->state[i], bytes);
    if (has_clocks && block->clocks != NULL)
        memcpy(to + total, block->clocks, clock_bytes(block));
    return whole;
}

void shard_block_forget_encoded(struct shard_block *block)
{
    buffer_unref(block->encoded);
    block->encoded = NULL;
}

/* What part of the step's samples the update is of. */
static double share_of(const struct shard_block *block, const struct shard_update *update,
                       uint64_t step)
{
    if (block->clocks == NULL)
        return 1.0;
    uint64_t samples = batching_step_samples(update->batching, step);
    struct range share = batching_eval_range(samples, block->lane_count, update->lanes.begin);
    return (double)(share.end - share.begin) / (double)samples;
}

static void make_weights(const struct shard_block *block, const struct shard_update *update,
                         uint64_t step, float *out)
{
    const struct settings *settings = update->settings;
    struct update change = {
        .weights = block->weights->data,
        .grad = update->parts[0]->data,
        .grad2 = update->parts[1] == NULL ? NULL : update->parts[1]->data,
        .grad_scale = rounds_sum_scale(settings, update->batching, step),
        .state = {block->state[0], block->state[1]},
        .weights_out = out,
        .count = block->count,
        .has_decay = block->has_decay,
        .step = block->version,
        .rate = (float)schedule_rate(settings, step, update->step_count) * block->rate_scale,
    };
    if (block->update == UPDATE_AVERAGE) {
        struct rounds_average average =
            rounds_average_of(settings, update->batching, step, block->rate_scale,
                              share_of(block, update, step));
        optimizer_average(&change, average.keep, average.scale);
    } else {
        optimizer_apply(settings, &change);
    }
}

/* The average takes in the weights as they are now.  With clocks a step is lane_count versions. */
static void move_average(struct shard_block *block, const struct shard_update *update,
                         uint64_t step)
{
    float *average = block->state[block->state_count - 1];
    struct update change = {.weights = average,
                            .grad = block->weights->data,
                            .weights_out = average,
                            .count = block->count};
    double share = rounds_average_share(update->settings, step);
    if (block->clocks != NULL)
        share /= block->lane_count;
    optimizer_average(&change, (float)(1.0 - share), (float)share);
}

/* With clocks, too, the sum is scaled by the samples of the whole step: one update of each lane
 * moves the weights as far as one step of bsp does. */
static int change_weights(struct shard_block *block, const struct shard_update *update,
                          uint64_t step)
{
    if (block->update == UPDATE_FROZEN || share_of(block, update, step) == 0.0)
        return 0;
    struct buffer *next = block->weights;
    if (!buffer_is_sole(block->weights))
        next = buffer_pool_take(update->pool, shard_block_bytes(block));
    if (next == NULL)
        return ERR_NOMEM;
    make_weights(block, update, step, next->data);
    if (next != block->weights)
        buffer_unref(block->weights);
    block->weights = next;
    if (block->has_average)
        move_average(block, update, step);
    return 0;
}

void shard_block_note_pusher(struct shard_block *block, uint64_t incarnation)
{
    forget_previous(block);
    block->has_pushers = block->has_pushers || (block->pusher != 0 && block->pusher != incarnation);
    if (block->pusher == 0)
        block->pusher = incarnation;
}

int shard_block_apply(struct shard_block *block, const struct shard_update *update)
{
    uint64_t *clock = block->clocks == NULL ? NULL : &block->clocks[update->lanes.begin];
    if (clock == NULL)
        forget_step(block);
    if (clock == NULL && update->keeps_previous)
        block->previous = buffer_ref(block->weights);
    uint64_t step = clock == NULL ? block->version : *clock;
    int err = update->parts[0] == NULL ? 0 : change_weights(block, update, step);
    if (err != 0)
        return err;
    shard_block_forget_encoded(block);
    if (clock != NULL)
        ++*clock;
    block->version++;
    return 0;
}

uint64_t shard_block_step(const struct shard_block *block)
{
    if (block->clocks == NULL)
        return block->version;
    uint64_t slowest = block->clocks[0];
    for (uint32_t lane = 1; lane < block->lane_count; lane++)
        if (block->clocks[lane] < slowest)
            slowest = block->clocks[lane];
    return slowest;
}

uint64_t shard_block_newest(const struct shard_block *block)
{
    if (block->clocks == NULL)
        return block->version;
    uint64_t fastest = block->clocks[0];
    for (uint32_t lane = 1; lane < block->lane_count; lane++)
        if (block->clocks[lane] > fastest)
            fastest = block->clocks[lane];
    return fastest;
}

int shard_block_wait(struct shard_block *block, const struct shard_waiter *asked)
{
    size_t count = 0, limit = block->clocks == NULL ? 1 : block->lane_count;
    struct shard_waiter *lowest = NULL;
    for (size_t i = 0; i < block->waiter_count; i++) {
        struct shard_waiter *waiter = &block->waiters[i];
        if (!address_equal(waiter->who, asked->who))
            continue;
        if (waiter->version == asked->version) {
            waiter->has_base = waiter->has_base && asked->has_base;
            return 0;
        }
        count++;
        if (lowest == NULL || waiter->version < lowest->version)
            lowest = waiter;
    }
    if (count >= limit) {
        *lowest = *asked;
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
    block->waiters[block->waiter_count++] = *asked;
    return 0;
}
