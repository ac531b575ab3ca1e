#include "deploy/bench/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TENSORS_MAX = 192 };

struct tensor_list {
    size_t count;
    struct tensor_spec tensors[TENSORS_MAX];
};

static const char *const names[] = {"flat", "resnet50", "100m"};
_Static_assert(ARRAY_LEN(names) == BENCH_MODEL_COUNT, "a name each");

const char *bench_model_name(enum bench_model model)
{
    return names[model];
}

int bench_model_find(const char *name, enum bench_model *model_out)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *model_out = (enum bench_model)i;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

/* A tensor of rows x columns (0: of rows), named as printf says. */
static struct tensor_spec *add(struct tensor_list *list, uint32_t rows, uint32_t columns,
                               const char *format, ...) __attribute__((format(printf, 4, 5)));

static struct tensor_spec *add(struct tensor_list *list, uint32_t rows, uint32_t columns,
                               const char *format, ...)
{
    struct tensor_spec *tensor = &list->tensors[list->count++];
    *tensor = (struct tensor_spec){
        .dims = columns == 0 ? 1 : 2, .shape = {rows, columns}, .init = INIT_ZERO};
    va_list args;
    va_start(args, format);
    vsnprintf(tensor->name, sizeof(tensor->name), format, args);
    va_end(args);
    return tensor;
}

/* A convolution without bias, and the scale and shift that follow it: prefix "layer1.0.", suffix
 * "1": layer1.0.conv1 and layer1.0.bn1. */
struct convolution {
    const char *prefix, *suffix;
    uint32_t filters, channels, side;
};

static void add_convolution(struct tensor_list *list, struct convolution c)
{
    struct tensor_spec *weight =
        add(list, c.filters, c.channels, "%sconv%s.weight", c.prefix, c.suffix);
    weight->dims = 4;
    weight->shape[2] = weight->shape[3] = c.side;
    add(list, c.filters, 0, "%sbn%s.weight", c.prefix, c.suffix);
    add(list, c.filters, 0, "%sbn%s.bias", c.prefix, c.suffix);
}

/* 1x1 to width, 3x3, 1x1 to four times width; the first of a stage has a 1x1 beside it, since its
 * channels change. */
static void add_bottleneck(struct tensor_list *list, const char *prefix, uint32_t channels,
                           uint32_t width)
{
    add_convolution(list, (struct convolution){prefix, "1", width, channels, 1});
    add_convolution(list, (struct convolution){prefix, "2", width, width, 3});
    add_convolution(list, (struct convolution){prefix, "3", 4 * width, width, 1});
    if (channels != 4 * width)
        add_convolution(list, (struct convolution){prefix, "_side", 4 * width, channels, 1});
}

static void add_resnet50(struct tensor_list *list)
{
    static const uint32_t depths[] = {3, 4, 6, 3};
    uint32_t channels = 64;
    char prefix[32];
    add_convolution(list, (struct convolution){"", "1", 64, 3, 7});
    for (uint32_t stage = 0; stage < ARRAY_LEN(depths); stage++) {
        uint32_t width = 64U << stage;
        for (uint32_t i = 0; i < depths[stage]; i++) {
            snprintf(prefix, sizeof(prefix), "layer%u.%u.", stage + 1, i);
            add_bottleneck(list, prefix, channels, width);
            channels = 4 * width;
        }
    }
    add(list, 1000, channels, "fc.weight");
    add(list, 1000, 0, "fc.bias");
}

static void add_dense(struct tensor_list *list, const char *prefix, const char *name,
                      uint32_t outputs, uint32_t inputs)
{
    add(list, outputs, inputs, "%s%s.weight", prefix, name);
    add(list, outputs, 0, "%s%s.bias", prefix, name);
}

static void add_norm(struct tensor_list *list, const char *prefix, const char *name,
                     uint32_t width)
{
    add(list, width, 0, "%s%s.weight", prefix, name);
    add(list, width, 0, "%s%s.bias", prefix, name);
}

/* So many words that the sum is round. */
static void add_100m(struct tensor_list *list)
{
    enum { WIDTH = 1000, WORDS = 38909, PLACES = 1024, BLOCKS = 5 };
    char prefix[32];
    add(list, WORDS, WIDTH, "words");
    add(list, PLACES, WIDTH, "places");
    for (int i = 0; i < BLOCKS; i++) {
        snprintf(prefix, sizeof(prefix), "block%d.", i);
        add_norm(list, prefix, "norm1", WIDTH);
        add_dense(list, prefix, "attention", 3 * WIDTH, WIDTH);
        add_dense(list, prefix, "mix", WIDTH, WIDTH);
        add_norm(list, prefix, "norm2", WIDTH);
        add_dense(list, prefix, "widen", 4 * WIDTH, WIDTH);
        add_dense(list, prefix, "narrow", WIDTH, 4 * WIDTH);
    }
    add_norm(list, "", "norm", WIDTH);
}

int bench_model_layout(enum bench_model model, uint64_t bytes, uint32_t block_bytes,
                       struct layout **layout_out, struct err_msg *why)
{
    struct tensor_list list = {0};
    if (model == BENCH_RESNET50)
        add_resnet50(&list);
    else if (model == BENCH_100M)
        add_100m(&list);
    else if (bytes / 4 > 0 && bytes / 4 <= UINT32_MAX)
        add(&list, (uint32_t)(bytes / 4), 0, "weights");
    else
        return err_set(why, ERR_INPUT, "a model of %llu bytes: expected 4 to 16 GiB",
                       (unsigned long long)bytes);
    return layout_create(list.tensors, list.count, block_bytes, layout_out, why);
}
