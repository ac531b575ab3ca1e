#include "common/pretrained.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/safetensors.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

enum { SEED = 7, BLOCK_BYTES = 28 };

enum { CONV = 2 * 3 * 2 * 4, DENSE = 6 * 5, WEIGHTS = CONV + 4 + DENSE };

static const struct tensor_spec tensors[] = {
    {.name = "c.weight", .dims = 4, .shape = {2, 3, 2, 4}, .init = INIT_HE, .init_scale = 1},
    {.name = "c.bias", .dims = 1, .shape = {4}},
    {.name = "d.weight", .dims = 2, .shape = {6, 5}, .init = INIT_HE, .init_scale = 1},
};

/* A folder, the layout, and a job's say. */
struct bench {
    char dir[PATH_MAX], path[PATH_MAX];
    struct op_spec ops[2];
    char *rename[1];
    struct model_spec model;
    struct layout *layout;
    float values[WEIGHTS], out[WEIGHTS];
};

static void set_up(struct bench *b)
{
    *b = (struct bench){.ops = {{.kind = OP_CONV2D, .name = "c"}, {.kind = OP_DENSE, .name = "d"}}};
    scratch_make(b->dir);
    strcpy(b->path, scratch_path(b->dir, "model.safetensors"));
    b->model = (struct model_spec){.op_count = 2, .ops = b->ops, .init_from = b->path};
    CU_ASSERT_FATAL(layout_create(tensors, ARRAY_LEN(tensors), BLOCK_BYTES, &b->layout, NULL) == 0);
    for (int i = 0; i < WEIGHTS; i++)
        b->values[i] = (float)(i + 1) * 0.25f;
}

static void tear_down(struct bench *b)
{
    layout_destroy(b->layout);
    scratch_remove(b->dir);
}

/* One tensor a row: our values under a name, in the shape and order that a file may have. */
static void write_file(const char *path, const struct safetensors_entry *entries, size_t count,
                       const float *const *values)
{
    struct safetensors *file = NULL;
    struct err_msg why = {""};
    if (safetensors_create(path, entries, count, &file, &why) != 0)
        printf("\n%s\n", why.text);
    CU_ASSERT_FATAL(file != NULL);
    for (size_t i = 0; i < count; i++) {
        size_t elements = 1;
        for (uint32_t d = 0; d < entries[i].dims; d++)
            elements *= entries[i].shape[d];
        CU_ASSERT_FATAL(safetensors_write(file, i, 0, values[i], elements, &why) == 0);
    }
    safetensors_close(file);
}

static void write_ours(const struct bench *b, const char *path)
{
    const struct safetensors_entry entries[] = {
        {.name = "c.weight", .dims = 4, .shape = {2, 3, 2, 4}},
        {.name = "c.bias", .dims = 1, .shape = {4}},
        {.name = "d.weight", .dims = 2, .shape = {6, 5}}};
    const float *values[] = {b->values, b->values + CONV, b->values + CONV + 4};
    write_file(path, entries, ARRAY_LEN(entries), values);
}

/* [rows][columns][in][out] -> [out][in][rows][columns] */
static void turn(const float *ours, uint32_t taps, uint32_t in, uint32_t out, float *theirs)
{
    for (uint32_t t = 0; t < taps; t++)
        for (uint32_t i = 0; i < in; i++)
            for (uint32_t o = 0; o < out; o++)
                theirs[(o * in + i) * taps + t] = ours[(t * in + i) * out + o];
}

static void write_theirs(const struct bench *b, const char *prefix)
{
    struct safetensors_entry entries[] = {{.dims = 4, .shape = {4, 2, 2, 3}},
                                          {.dims = 1, .shape = {4}},
                                          {.dims = 2, .shape = {5, 6}}};
    float conv[CONV], dense[DENSE];
    const float *values[] = {conv, b->values + CONV, dense};
    for (size_t i = 0; i < ARRAY_LEN(entries); i++)
        snprintf(entries[i].name, sizeof(entries[i].name), "%s%s", prefix, tensors[i].name);
    turn(b->values, 6, 2, 4, conv);
    turn(b->values + CONV + 4, 1, 6, 5, dense);
    write_file(b->path, entries, ARRAY_LEN(entries), values);
}

/* Opens, matches and reads all; the code of what went wrong, with a sentence. */
static int load(struct bench *b, struct err_msg *why)
{
    struct pretrained *pretrained = NULL;
    int err = pretrained_open(&b->model, &pretrained, why);
    if (err == 0)
        err = pretrained_match(pretrained, b->layout, why);
    if (err == 0)
        err = pretrained_read(pretrained, SEED, b->out, why);
    pretrained_close(pretrained);
    return err;
}

static bool loads(struct bench *b)
{
    struct err_msg why = {""};
    int err = load(b, &why);
    if (err != 0)
        printf("\n%s\n", why.text);
    return err == 0 && memcmp(b->out, b->values, sizeof(b->values)) == 0;
}

static bool refuses(struct bench *b, int code, const char *sentence)
{
    struct err_msg why = {""};
    int err = load(b, &why);
    if (err != code || strstr(why.text, sentence) == NULL)
        printf("\nsaid %d: %s\n", err, why.text);
    return err == code && strstr(why.text, sentence) != NULL;
}

static void test_pretrained_has_the_weights_of_a_file(void)
{
    struct bench b;
    set_up(&b);
    write_ours(&b, b.path);
    CU_ASSERT(loads(&b));
    b.model.init_from = b.dir; /* the folder that it lies in */
    CU_ASSERT(loads(&b));
    tear_down(&b);
}

static void test_pretrained_turns_what_pytorch_keeps_otherwise(void)
{
    struct bench b;
    set_up(&b);
    b.model.init_layout = INIT_LAYOUT_PYTORCH;
    write_theirs(&b, "");
    CU_ASSERT(loads(&b));
    tear_down(&b);
}

/* [in][out][rows][columns] */
static void test_pretrained_turns_a_transposed_convolution(void)
{
    const struct safetensors_entry entries[] = {
        {.name = "c.weight", .dims = 4, .shape = {2, 4, 2, 3}},
        {.name = "c.bias", .dims = 1, .shape = {4}},
        {.name = "d.weight", .dims = 2, .shape = {6, 5}}};
    struct bench b;
    float conv[CONV];
    set_up(&b);
    b.ops[0].kind = OP_CONV_TRANSPOSE2D;
    b.ops[1].kind = OP_EMBEDDING; /* which is alike */
    b.model.init_layout = INIT_LAYOUT_PYTORCH;
    for (uint32_t t = 0; t < 6; t++)
        for (uint32_t i = 0; i < 2; i++)
            for (uint32_t o = 0; o < 4; o++)
                conv[(i * 4 + o) * 6 + t] = b.values[(t * 2 + i) * 4 + o];
    const float *values[] = {conv, b.values + CONV, b.values + CONV + 4};
    write_file(b.path, entries, ARRAY_LEN(entries), values);
    CU_ASSERT(loads(&b));
    tear_down(&b);
}

static void test_pretrained_finds_tensors_by_other_names(void)
{
    static char plain[] = "c.bias=net.0.shift", star[] = "*=net.0.*", middle[] = "*.weight=w.*.w";
    struct bench b;
    set_up(&b);
    b.model.init_layout = INIT_LAYOUT_PYTORCH;
    b.model.init_rename = (struct text_list){1, b.rename};
    b.rename[0] = star;
    write_theirs(&b, "net.0.");
    CU_ASSERT(loads(&b));
    b.rename[0] = middle;
    CU_ASSERT(refuses(&b, ERR_INPUT, "has none of the model's tensors: \"w.d.w\""));
    b.rename[0] = plain;
    CU_ASSERT(refuses(&b, ERR_INPUT, "the first there is \"net.0.c.weight\""));
    tear_down(&b);
}

static void test_pretrained_begins_as_usual_with_what_is_missing(void)
{
    struct bench b;
    float expected[WEIGHTS];
    const struct safetensors_entry entries[] = {{.name = "d.weight", .dims = 2, .shape = {6, 5}},
                                                {.name = "other", .dims = 1, .shape = {4}}};
    set_up(&b);
    const float *values[] = {b.values + CONV + 4, b.values};
    struct err_msg why = {""};
    write_file(b.path, entries, 2, values);
    for (size_t i = 0; i < b.layout->block_count; i++)
        layout_init_block(b.layout, i, SEED, expected + b.layout->blocks[i].range.begin);
    memcpy(expected + CONV + 4, b.values + CONV + 4, DENSE * sizeof(float));
    CU_ASSERT_EQUAL(load(&b, &why), 0);
    CU_ASSERT_EQUAL(memcmp(b.out, expected, sizeof(expected)), 0);
    tear_down(&b);
}

static void test_pretrained_names_the_tensor_that_does_not_fit(void)
{
    struct bench b;
    set_up(&b);
    write_ours(&b, b.path);
    b.model.init_layout = INIT_LAYOUT_PYTORCH;
    CU_ASSERT(refuses(&b, ERR_INPUT, "tensor \"c.weight\", wanted for \"c.weight\", has shape "
                                     "[2, 3, 2, 4]; expected [4, 2, 2, 3]"));
    tear_down(&b);
}

/* Two files and their index, as model hubs have them. */
static void test_pretrained_reads_a_sharded_index(void)
{
    static const char index[] = "{\"metadata\":{},\"weight_map\":{\"c.weight\":\"a-1.safetensors\","
                                "\"d.weight\":\"a-2.safetensors\",\"c.bias\":\"a-1.safetensors\"}}";
    static const char out_of_it[] = "{\"weight_map\":{\"c.weight\":\"../a.safetensors\"}}";
    struct bench b;
    set_up(&b);
    const struct safetensors_entry first[] = {
        {.name = "c.weight", .dims = 4, .shape = {2, 3, 2, 4}},
        {.name = "c.bias", .dims = 1, .shape = {4}}};
    const struct safetensors_entry second[] = {{.name = "d.weight", .dims = 2, .shape = {6, 5}}};
    const float *values[] = {b.values, b.values + CONV, b.values + CONV + 4};
    write_file(scratch_path(b.dir, "a-1.safetensors"), first, 2, values);
    write_file(scratch_path(b.dir, "a-2.safetensors"), second, 1, values + 2);
    scratch_write(scratch_path(b.dir, "model.safetensors.index.json"), index, strlen(index));
    b.model.init_from = b.dir;
    CU_ASSERT(loads(&b));
    strcpy(b.path, scratch_path(b.dir, "some.json"));
    scratch_write(b.path, out_of_it, strlen(out_of_it));
    b.model.init_from = b.path;
    CU_ASSERT(refuses(&b, ERR_INPUT, "some.json: \"../a.safetensors\" is not a file beside it"));
    scratch_write(b.path, "{}", 2);
    CU_ASSERT(refuses(&b, ERR_INPUT, "has no object \"weight_map\""));
    tear_down(&b);
}

static void write_raw(const char *path, const char *header, const void *data, size_t bytes)
{
    unsigned char file[1024];
    uint64_t length = strlen(header);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    memcpy(file + 8 + length, data, bytes);
    scratch_write(path, file, 8 + length + bytes);
}

static void test_pretrained_reads_halves(void)
{
    /* 1, -2, the smallest above 0, infinity: of f16; 1, -2, 2^-133, 1.0078125: of bf16 */
    static const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7c00};
    static const uint16_t brain[] = {0x3f80, 0xc000, 0x0001, 0x3f81};
    static const float as_half[] = {1, -2, 0x1p-24f, INFINITY};
    static const float as_brain[] = {1, -2, 0x1p-133f, 1.0078125f};
    struct bench b;
    struct err_msg why = {""};
    set_up(&b);
    write_raw(b.path, "{\"c.bias\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]},"
                      "\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[8,16]}}",
              (const uint16_t[8]){half[0], half[1], half[2], half[3]}, 16);
    CU_ASSERT_EQUAL(load(&b, &why), 0);
    CU_ASSERT_EQUAL(memcmp(b.out + CONV, as_half, sizeof(as_half)), 0);
    write_raw(b.path, "{\"c.bias\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}",
              brain, 8);
    CU_ASSERT_EQUAL(load(&b, &why), 0);
    CU_ASSERT_EQUAL(memcmp(b.out + CONV, as_brain, sizeof(as_brain)), 0);
    write_raw(b.path, "{\"c.bias\":{\"dtype\":\"I16\",\"shape\":[4],\"data_offsets\":[0,8]}}",
              brain, 8);
    CU_ASSERT(refuses(&b, ERR_INPUT, "has numbers of a type that is not read"));
    write_raw(b.path, "{\"c.bias\":{\"dtype\":\"F7\",\"shape\":[4],\"data_offsets\":[0,8]}}",
              brain, 8);
    CU_ASSERT(refuses(&b, ERR_INPUT, "dtype is \"F7\""));
    tear_down(&b);
}

static void test_pretrained_says_what_is_not_there(void)
{
    struct bench b;
    set_up(&b);
    CU_ASSERT(refuses(&b, ERR_NOT_FOUND, "model.init_from: "));
    b.model.init_from = b.dir;
    CU_ASSERT(refuses(&b, ERR_NOT_FOUND, "has no model.safetensors.index.json"));
    tear_down(&b);
}

#define TESTS(X)                                                  \
    X(test_pretrained_has_the_weights_of_a_file)                  \
    X(test_pretrained_turns_what_pytorch_keeps_otherwise)         \
    X(test_pretrained_turns_a_transposed_convolution)             \
    X(test_pretrained_finds_tensors_by_other_names)               \
    X(test_pretrained_begins_as_usual_with_what_is_missing)       \
    X(test_pretrained_names_the_tensor_that_does_not_fit)         \
    X(test_pretrained_reads_a_sharded_index)                      \
    X(test_pretrained_reads_halves)                               \
    X(test_pretrained_says_what_is_not_there)

UNIT_MAIN("pretrained", TESTS)
