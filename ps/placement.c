#include "ps/placement.h"

#include <stdlib.h>

struct dealt {
    uint64_t bytes;
    uint32_t idx;
};

static int larger_first(const void *a, const void *b)
{
    const struct dealt *left = a, *right = b;
    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? 1 : -1;
    return left->idx < right->idx ? -1 : left->idx > right->idx;
}

static uint32_t emptiest(const uint64_t *load, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (load[i] < load[best])
            best = i;
    return (uint32_t)best;
}

int placement_deal(const struct layout *layout, size_t shard_count, uint32_t *block_shard)
{
    struct dealt *blocks = calloc(layout->block_count, sizeof(*blocks));
    uint64_t *load = calloc(shard_count, sizeof(*load));
    if (blocks == NULL || load == NULL) {
        free(blocks);
        free(load);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < layout->block_count; i++) {
        const struct range *range = &layout->blocks[i].range;
        blocks[i] = (struct dealt){(range->end - range->begin) * sizeof(float), (uint32_t)i};
    }
    qsort(blocks, layout->block_count, sizeof(*blocks), larger_first);
    for (size_t i = 0; i < layout->block_count; i++) {
        uint32_t shard = emptiest(load, shard_count);
        block_shard[blocks[i].idx] = shard;
        load[shard] += blocks[i].bytes;
    }
    free(blocks);
    free(load);
    return 0;
}
