#include "worker/gradient.h"

#include <stdlib.h>
#include <string.h>
#include "common/wrap.h"

enum { LOAN_ELEMENTS = sizeof(uint64_t) / sizeof(float) };

struct gradient {
    const struct layout *layout;
    struct buffer_pool *pool;
    struct wrap_pool *slices;
    struct buffer *flat; /* NULL: none yet, or own is there in its place */
    float *own;          /* the pool has nothing so large */
};

static void let_go(void *owner)
{
    buffer_unref(*(struct buffer **)owner);
}

int gradient_create(const struct layout *layout, struct buffer_pool *pool,
                    struct gradient **gradient_out)
{
    struct gradient *gradient = calloc(1, sizeof(*gradient));
    if (gradient == NULL)
        return ERR_NOMEM;
    *gradient = (struct gradient){.layout = layout, .pool = pool};
    int err = wrap_pool_create(let_go, &gradient->slices);
    if (err == 0 && gradient_begin(gradient) == NULL) {
        gradient->own = calloc((size_t)layout->weight_count, sizeof(float));
        err = gradient->own == NULL ? ERR_NOMEM : 0;
    }
    if (err != 0) {
        gradient_destroy(gradient);
        return err;
    }
    *gradient_out = gradient;
    return 0;
}

void gradient_destroy(struct gradient *gradient)
{
    if (gradient == NULL)
        return;
    buffer_unref(gradient->flat);
    wrap_pool_destroy(gradient->slices);
    free(gradient->own);
    free(gradient);
}

float *gradient_begin(struct gradient *gradient)
{
    if (gradient->own != NULL)
        return gradient->own;
    if (gradient->flat == NULL || !buffer_is_sole(gradient->flat)) {
        buffer_unref(gradient->flat);
        gradient->flat = buffer_pool_take(
            gradient->pool, (size_t)gradient->layout->weight_count * sizeof(float));
    }
    return gradient->flat == NULL ? NULL : gradient->flat->data;
}

static struct buffer *copy(struct gradient *gradient, const struct range *range)
{
    const float *from = gradient->own != NULL ? gradient->own : gradient->flat->data;
    size_t bytes = (size_t)(range->end - range->begin) * sizeof(float);
    struct buffer *block = buffer_pool_take(gradient->pool, bytes);
    if (block != NULL)
        memcpy(block->data, from + range->begin, bytes);
    return block;
}

struct buffer *gradient_block(struct gradient *gradient, size_t block_idx)
{
    const struct range *range = &gradient->layout->blocks[block_idx].range;
    if (gradient->own != NULL || range->begin % LOAN_ELEMENTS != 0)
        return copy(gradient, range);
    struct wrap *slice = wrap_pool_take(gradient->slices);
    if (slice == NULL)
        return NULL;
    struct buffer *flat = gradient->flat;
    *(struct buffer **)(void *)slice->owner = buffer_ref(flat);
    slice->buffer.data = (float *)flat->data + range->begin;
    slice->buffer.size_bytes = (size_t)(range->end - range->begin) * sizeof(float);
    slice->buffer.segment = flat->segment;
    return &slice->buffer;
}
