#include "common/layout.h"

#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include "common/batching.h"
#include "common/digest.h"
#include "common/philox.h"

static const uint64_t elements_max = (uint64_t)1 << 47;

uint64_t tensor_element_count(const struct tensor_spec *tensor)
{
    uint64_t count = 1;
    for (uint32_t d = 0; d < tensor->dims; d++) {
        if (tensor->shape[d] == 0 || count > elements_max / tensor->shape[d])
            return 0;
        count *= tensor->shape[d];
    }
    return count;
}

float tensor_rate_scale(const struct tensor_spec *tensor)
{
    bool is_unset = tensor->update == UPDATE_OPTIMIZER && tensor->rate_scale == 0.0f;
    return is_unset ? 1.0f : tensor->rate_scale;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names_differ(const struct tensor_spec *tensors, size_t count, struct err_msg *why)
{
    const char **names = malloc(count * sizeof(*names));
    if (names == NULL)
        return err_set(why, ERR_NOMEM, "no memory for %zu tensor names", count);
    for (size_t i = 0; i < count; i++)
        names[i] = tensors[i].name;
    qsort(names, count, sizeof(*names), compare_names);
    int err = 0;
    for (size_t i = 1; i < count && err == 0; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            err = err_set(why, ERR_INPUT, "two tensors are called \"%s\"; names must differ",
                          names[i]);
    free(names);
    return err;
}

static int check_tensor(const struct tensor_spec *tensor, struct err_msg *why)
{
    if (memchr(tensor->name, 0, sizeof(tensor->name)) == NULL || tensor->name[0] == 0)
        return err_set(why, ERR_INPUT, "a tensor's name must have 1 to %d bytes",
                       TENSOR_NAME_BYTES - 1);
    if (tensor->dims < 1 || tensor->dims > TENSOR_DIMS_MAX)
        return err_set(why, ERR_INPUT, "tensor \"%s\" has %u dimensions; expected 1 to %d",
                       tensor->name, tensor->dims, TENSOR_DIMS_MAX);
    if (tensor_element_count(tensor) == 0)
        return err_set(why, ERR_INPUT, "tensor \"%s\" has an empty or too large shape",
                       tensor->name);
    float most = tensor->update == UPDATE_AVERAGE ? 1 : RATE_SCALE_MAX;
    if (!(tensor->rate_scale >= 0 && tensor->rate_scale <= most))
        return err_set(why, ERR_INPUT, "tensor \"%s\" has a rate_scale of %g; expected 0 to %g",
                       tensor->name, (double)tensor->rate_scale, (double)most);
    return 0;
}

static int check(const struct tensor_spec *tensors, size_t count, uint32_t block_bytes,
                 struct err_msg *why)
{
    if (count == 0 || count > LAYOUT_TENSORS_MAX)
        return err_set(why, ERR_INPUT, "a model has %zu tensors; expected 1 to %d", count,
                       LAYOUT_TENSORS_MAX);
    if (block_bytes < sizeof(float) || block_bytes % sizeof(float) != 0)
        return err_set(why, ERR_INPUT, "a block of %u bytes; expected a multiple of 4",
                       block_bytes);
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        int err = check_tensor(&tensors[i], why);
        if (err != 0)
            return err;
        total += tensor_element_count(&tensors[i]); /* 2^16 tensors of 2^47: no overflow */
    }
    if (total / (block_bytes / sizeof(float)) + count > LAYOUT_BLOCKS_MAX)
        return err_set(why, ERR_INPUT, "a model of %llu weights in blocks of %u bytes has more "
                       "than %d blocks: larger exchange.block_bytes may help",
                       (unsigned long long)total, block_bytes, LAYOUT_BLOCKS_MAX);
    return check_names_differ(tensors, count, why);
}

int layout_describe(struct tensor_spec *tensors, size_t tensor_count, uint32_t block_bytes,
                    struct layout *layout_out, struct err_msg *why)
{
    int err = check(tensors, tensor_count, block_bytes, why);
    if (err != 0)
        return err;
    uint64_t block_elements = block_bytes / sizeof(float);
    *layout_out = (struct layout){
        .tensor_count = tensor_count, .tensors = tensors, .block_bytes = block_bytes};
    for (size_t i = 0; i < tensor_count; i++) {
        uint64_t count = tensor_element_count(&tensors[i]);
        layout_out->block_count += (size_t)((count + block_elements - 1) / block_elements);
        layout_out->weight_count += count;
    }
    return 0;
}

static void place_tensors(struct layout *layout)
{
    uint64_t at = 0;
    for (size_t i = 0; i < layout->tensor_count; i++) {
        layout->tensor_begin[i] = at;
        at += tensor_element_count(&layout->tensors[i]);
    }
    layout->tensor_begin[layout->tensor_count] = at;
}

static void cut_blocks(struct layout *layout)
{
    uint64_t block_elements = layout->block_bytes / sizeof(float);
    struct block_spec *block = layout->blocks;
    for (size_t i = 0; i < layout->tensor_count; i++) {
        uint64_t end = layout->tensor_begin[i + 1];
        for (uint64_t at = layout->tensor_begin[i]; at < end; at += block_elements, block++) {
            uint64_t stop = end - at < block_elements ? end : at + block_elements;
            *block = (struct block_spec){.tensor_idx = (uint32_t)i, .range = {at, stop}};
        }
    }
}

int layout_create(const struct tensor_spec *tensors, size_t tensor_count, uint32_t block_bytes,
                  struct layout **layout_out, struct err_msg *why)
{
    struct layout described;
    int err = layout_describe((struct tensor_spec *)tensors, tensor_count, block_bytes, &described,
                              why);
    if (err != 0)
        return err;
    struct layout *layout = malloc(sizeof(*layout));
    if (layout == NULL)
        goto fail;
    *layout = described;
    layout->tensors = calloc(tensor_count, sizeof(*layout->tensors));
    layout->tensor_begin = calloc(tensor_count + 1, sizeof(*layout->tensor_begin));
    if (layout->tensors == NULL || layout->tensor_begin == NULL)
        goto fail;
    memcpy(layout->tensors, tensors, tensor_count * sizeof(*tensors));
    place_tensors(layout);
    layout->blocks = calloc(layout->block_count, sizeof(*layout->blocks));
    if (layout->blocks == NULL)
        goto fail;
    cut_blocks(layout);
    *layout_out = layout;
    return 0;
fail:
    layout_destroy(layout);
    return err_set(why, ERR_NOMEM, "no memory for the layout of %zu tensors", tensor_count);
}

void layout_destroy(struct layout *layout)
{
    if (layout == NULL)
        return;
    free(layout->tensors);
    free(layout->tensor_begin);
    free(layout->blocks);
    free(layout);
}

struct range layout_tensor_blocks(const struct layout *layout, size_t tensor_idx)
{
    /* Blocks are sorted by where they begin: two binary searches. */
    struct range found = {0, 0};
    for (int side = 0; side < 2; side++) {
        uint64_t bound = layout->tensor_begin[tensor_idx + (size_t)side];
        size_t low = 0, high = layout->block_count;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (layout->blocks[middle].range.begin < bound)
                low = middle + 1;
            else
                high = middle;
        }
        *(side == 0 ? &found.begin : &found.end) = low;
    }
    return found;
}

void layout_init_block(const struct layout *layout, size_t block_idx, uint64_t seed, float *out)
{
    const struct block_spec *block = &layout->blocks[block_idx];
    const struct tensor_spec *tensor = &layout->tensors[block->tensor_idx];
    struct draw_key key = {.seed = seed, .lane = block->tensor_idx, .where = DRAW_INIT};
    uint64_t first = block->range.begin - layout->tensor_begin[block->tensor_idx];
    size_t count = (size_t)(block->range.end - block->range.begin);
    float scale = tensor->init_scale;
    switch (tensor->init) {
    case INIT_HE:
    case INIT_NORMAL:
        draw_fill_normal(&key, first, out, count);
        for (size_t i = 0; i < count; i++)
            out[i] *= scale;
        return;
    case INIT_XAVIER:
    case INIT_UNIFORM:
        draw_fill_uniform(&key, first, out, count);
        for (size_t i = 0; i < count; i++)
            out[i] = (2.0f * out[i] - 1.0f) * scale;
        return;
    case INIT_ONE:
        for (size_t i = 0; i < count; i++)
            out[i] = 1;
        return;
    case INIT_ZERO:
        memset(out, 0, count * sizeof(*out));
        return;
    }
}

/* Nothing for a tensor that is changed as all were before there was a choice. */
static void digest_update(struct digest *digest, const struct tensor_spec *tensor)
{
    char text[64];
    if (tensor->update == UPDATE_OPTIMIZER && tensor_rate_scale(tensor) == 1.0f)
        return;
    int length = snprintf(text, sizeof(text), "update %d %a\n", (int)tensor->update,
                          (double)tensor_rate_scale(tensor));
    digest_add(digest, text, (size_t)length);
}

int layout_digest(const struct layout *layout, char hex_out[65])
{
    struct digest *digest = digest_create();
    if (digest == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < layout->tensor_count; i++) {
        const struct tensor_spec *t = &layout->tensors[i];
        char text[256];
        int length = snprintf(text, sizeof(text), "%s %u %u,%u,%u,%u %d %a %d\n", t->name, t->dims,
                              t->shape[0], t->shape[1], t->shape[2], t->shape[3], (int)t->init,
                              (double)t->init_scale, (int)t->has_decay);
        digest_add(digest, text, (size_t)length);
        digest_update(digest, t);
    }
    digest_add(digest, &layout->block_bytes, sizeof(layout->block_bytes));
    digest_hex(digest, hex_out);
    digest_destroy(digest);
    return 0;
}
