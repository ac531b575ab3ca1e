#include "ps/shard_codec.h"

#include <string.h>
#include "common/sparse.h"

/* The job's, or f32 where no optimizer changes the block. */
static enum codec_kind codec_of(const struct shard_block *block)
{
    return block->sums.grid.codec;
}

bool shard_is_payload(const struct shard_block *block, const struct message *msg)
{
    enum codec_kind codec = msg->key.codec, expected = codec_of(block);
    bool is_expected = codec == expected || (codec == CODEC_F32 && expected == CODEC_SPARSE);
    return is_expected && codec_fits(codec, msg->payload->size_bytes, block->count);
}

int shard_decode(struct shard *shard, const struct shard_block *block, const struct message *msg,
                 struct buffer **floats_out)
{
    if (msg->key.codec == CODEC_F32) {
        *floats_out = buffer_ref(msg->payload);
        return 0;
    }
    struct buffer *floats = buffer_pool_take(shard->pool, shard_block_bytes(block));
    if (floats == NULL)
        return ERR_NOMEM;
    if (msg->key.codec == CODEC_SPARSE)
        memset(floats->data, 0, floats->size_bytes);
    int err = codec_decode(msg->key.codec, msg->payload->data, msg->payload->size_bytes,
                           floats->data, block->count);
    if (err != 0) {
        buffer_unref(floats);
        return err;
    }
    *floats_out = floats;
    return 0;
}

static struct buffer *encode(struct shard *shard, enum codec_kind codec, const float *values,
                             size_t count)
{
    struct buffer *encoded = buffer_pool_take(shard->pool, codec_bytes(codec, count));
    if (encoded != NULL)
        codec_encode(codec, values, count, encoded->data);
    return encoded;
}

/* Pairs of index and values[index] wherever a + b is not zero, if those are fewer bytes than all;
 * else, and without memory, NULL. */
static struct buffer *gather(struct shard *shard, const float *a, const float *b,
                             const float *values, size_t count)
{
    size_t pairs = sparse_count(a, b, count);
    size_t bytes = codec_bytes(CODEC_SPARSE, pairs == 0 ? 1 : pairs);
    if (bytes >= codec_bytes(CODEC_F32, count))
        return NULL;
    struct buffer *gathered = buffer_pool_take(shard->pool, bytes);
    if (gathered != NULL)
        sparse_gather(a, b, values, count, gathered->data);
    return gathered;
}

struct buffer *shard_encode_sum(struct shard *shard, const struct shard_block *block,
                                struct buffer *sum, enum codec_kind *codec_out)
{
    struct buffer *encoded = NULL;
    *codec_out = codec_of(block);
    if (codec_rounds(*codec_out))
        return encode(shard, *codec_out, sum->data, block->count);
    if (*codec_out == CODEC_SPARSE)
        encoded = gather(shard, sum->data, NULL, sum->data, block->count);
    if (encoded == NULL)
        *codec_out = CODEC_F32;
    return encoded == NULL ? buffer_ref(sum) : encoded;
}

/* Rounded by the version's own draws, so that all who are sent it have the same, whenever it was
 * made. */
static struct buffer *round_weights(struct shard *shard, const struct shard_block *block,
                                    const struct buffer *weights, uint64_t version)
{
    struct codec_grid grid = block->sums.grid;
    struct buffer *rounded = buffer_pool_take(shard->pool, weights->size_bytes);
    if (rounded == NULL)
        return NULL;
    grid.step = version;
    memcpy(rounded->data, weights->data, weights->size_bytes);
    codec_round_weights(&grid, rounded->data, block->count);
    struct buffer *encoded = encode(shard, grid.codec, rounded->data, block->count);
    buffer_unref(rounded);
    return encoded;
}

/* What the job ends with is sent as it is. */
static bool is_rounded(const struct shard *shard, const struct shard_block *block, uint64_t step)
{
    return codec_rounds(codec_of(block)) && step < shard->step_count;
}

struct buffer *shard_encode_weights(struct shard *shard, struct shard_block *block,
                                    const struct shard_waiter *waiter, enum codec_kind *codec_out)
{
    bool is_change = codec_of(block) == CODEC_SPARSE && block->encoded != NULL &&
                     waiter->has_base && waiter->version == block->version;
    uint64_t step = block->clocks != NULL && waiter->version > 0 ? waiter->version
                                                                 : shard_block_step(block);
    *codec_out = CODEC_F32;
    if (!is_change && !is_rounded(shard, block, step))
        return buffer_ref(block->weights);
    *codec_out = codec_of(block);
    if (block->encoded == NULL)
        block->encoded = round_weights(shard, block, block->weights, block->version);
    return block->encoded == NULL ? NULL : buffer_ref(block->encoded);
}

struct buffer *shard_encode_previous(struct shard *shard, const struct shard_block *block,
                                     enum codec_kind *codec_out)
{
    *codec_out = codec_rounds(codec_of(block)) ? codec_of(block) : CODEC_F32;
    if (block->update == UPDATE_FROZEN)
        return buffer_ref(block->weights);
    if (*codec_out == CODEC_F32)
        return buffer_ref(block->previous);
    return round_weights(shard, block, block->previous, block->version - 1);
}

void shard_encode_change(struct shard *shard, struct shard_block *block,
                         struct buffer *const parts[2])
{
    if (codec_of(block) != CODEC_SPARSE || parts[0] == NULL)
        return;
    block->encoded = gather(shard, parts[0]->data, parts[1] == NULL ? NULL : parts[1]->data,
                            block->weights->data, block->count);
}
