#include "worker/exchange_codec.h"

#include <string.h>
#include "common/schedule.h"

/* The job's, or f32 where no optimizer changes the block. */
static enum codec_kind codec_of(const struct exchange *x, uint32_t block_idx)
{
    return x->blocks[block_idx].sums.grid.codec;
}

static size_t element_count(const struct exchange *x, uint32_t block_idx)
{
    return block_bytes(x, block_idx) / sizeof(float);
}

uint64_t exchange_payload_bytes(const struct exchange *x, uint32_t block_idx)
{
    size_t count = element_count(x, block_idx), keep = count;
    if (x->blocks[block_idx].is_frozen)
        return 0;
    if (codec_of(x, block_idx) != CODEC_SPARSE)
        return codec_bytes(codec_of(x, block_idx), count);
    keep = residual_keep(x->residual, block_idx, x->version);
    return keep == count ? codec_bytes(CODEC_F32, count) : codec_bytes(CODEC_SPARSE, keep);
}

static int encode_rest(struct exchange *x, uint32_t block_idx, const struct buffer *sum,
                       struct held_node *held)
{
    size_t count = element_count(x, block_idx);
    const struct block_spec *block = &x->layout->blocks[block_idx];
    const struct tensor_spec *tensor = &x->layout->tensors[block->tensor_idx];
    double rate = schedule_rate(x->spec.settings, x->version, x->step_count);
    struct residual_part part = {
        .block_idx = block_idx,
        .step = x->version,
        .node = held->node,
        .rate = (float)rate * tensor_rate_scale(tensor),
        .sum = sum->data,
        .weights = x->weights[x->now] + block->range.begin};
    bool is_whole = residual_keep(x->residual, block_idx, x->version) == count;
    held->codec = is_whole ? CODEC_F32 : CODEC_SPARSE;
    held->payload = buffer_pool_take(x->pool, (size_t)exchange_payload_bytes(x, block_idx));
    if (held->payload == NULL)
        return ERR_NOMEM;
    residual_add(x->residual, &x->batching, &part);
    residual_take(x->residual, &part, held->payload->data);
    return 0;
}

int exchange_encode(struct exchange *x, uint32_t block_idx, struct buffer *sum,
                    struct held_node *held)
{
    held->codec = codec_of(x, block_idx);
    if (held->codec == CODEC_SPARSE)
        return encode_rest(x, block_idx, sum, held);
    if (held->codec == CODEC_F32) {
        held->payload = buffer_ref(sum);
        return 0;
    }
    size_t count = element_count(x, block_idx);
    held->payload = buffer_pool_take(x->pool, codec_bytes(held->codec, count));
    if (held->payload == NULL)
        return ERR_NOMEM;
    codec_encode(held->codec, sum->data, count, held->payload->data);
    return 0;
}

enum codec_kind exchange_codec_wanted(const struct exchange *x, uint32_t block_idx)
{
    bool has_base = x->blocks[block_idx].is_frozen ||
                    (codec_of(x, block_idx) == CODEC_SPARSE && x->target == x->version + 1);
    return has_base && x->has_weights && !x->is_stepping_back ? CODEC_SPARSE : CODEC_F32;
}

bool exchange_is_payload(const struct exchange *x, const struct message *msg)
{
    enum codec_kind codec = msg->key.codec;
    bool has_base = x->has_weights && msg->key.step == x->version + 1;
    if (msg->kind == MSG_SAME)
        return x->has_weights && x->blocks[msg->key.block].is_frozen;
    return (codec == CODEC_F32 || codec == codec_of(x, msg->key.block)) &&
           (codec != CODEC_SPARSE || has_base) &&
           codec_fits(codec, msg->payload->size_bytes, element_count(x, msg->key.block));
}

int exchange_decode(struct exchange *x, const struct message *msg)
{
    uint64_t begin = x->layout->blocks[msg->key.block].range.begin;
    float *out = x->weights[1 - x->now] + begin;
    struct exchange_block *block = &x->blocks[msg->key.block];
    if (msg->key.codec == CODEC_SPARSE || (msg->kind == MSG_SAME && !block->is_in_both))
        memcpy(out, x->weights[x->now] + begin, block_bytes(x, msg->key.block));
    block->is_in_both = msg->kind == MSG_SAME;
    if (msg->kind == MSG_SAME)
        return 0;
    return codec_decode(msg->key.codec, msg->payload->data, msg->payload->size_bytes, out,
                        element_count(x, msg->key.block));
}
