#include "common/op_keys.h"

#include <assert.h>
#include <string.h>

#define OP(kind) (UINT64_C(1) << OP_##kind)
#define ALL_OPS ((UINT64_C(1) << OP_KIND_COUNT) - 1U)
#define POOLS (OP(MAXPOOL2D) | OP(AVGPOOL2D))
#define NORMS (OP(BATCH_NORM) | OP(LAYER_NORM) | OP(GROUP_NORM))
#define RECURRENT (OP(LSTM) | OP(GRU))
#define IMAGE_CONVS (OP(CONV2D) | OP(CONV_TRANSPOSE2D))
#define CONVS (IMAGE_CONVS | OP(CONV1D))
#define WITH_BIAS (OP(DENSE) | CONVS)
#define WITH_INIT (OP(DENSE) | CONVS)
#define WITH_TENSORS \
    (OP(DENSE) | CONVS | NORMS | RECURRENT | OP(EMBEDDING) | OP(POSITIONAL_EMBEDDING))

const char op_words[] = "dense conv2d maxpool2d avgpool2d global_avgpool relu tanh sigmoid flatten "
                        "dropout add spatial_dropout drop_path batch_norm layer_norm group_norm "
                        "gelu silu leaky_relu elu softplus softmax mul concat sequence last "
                        "global_maxpool pad_channels embedding positional_embedding lstm gru "
                        "self_attention conv1d conv_transpose2d upsample2d";

static const char *const names[] = {
    [OP_DENSE] = "dense",
    [OP_CONV2D] = "conv2d",
    [OP_MAXPOOL2D] = "maxpool2d",
    [OP_AVGPOOL2D] = "avgpool2d",
    [OP_GLOBAL_AVGPOOL] = "global_avgpool",
    [OP_RELU] = "relu",
    [OP_TANH] = "tanh",
    [OP_SIGMOID] = "sigmoid",
    [OP_FLATTEN] = "flatten",
    [OP_DROPOUT] = "dropout",
    [OP_ADD] = "add",
    [OP_SPATIAL_DROPOUT] = "spatial_dropout",
    [OP_DROP_PATH] = "drop_path",
    [OP_BATCH_NORM] = "batch_norm",
    [OP_LAYER_NORM] = "layer_norm",
    [OP_GROUP_NORM] = "group_norm",
    [OP_GELU] = "gelu",
    [OP_SILU] = "silu",
    [OP_LEAKY_RELU] = "leaky_relu",
    [OP_ELU] = "elu",
    [OP_SOFTPLUS] = "softplus",
    [OP_SOFTMAX] = "softmax",
    [OP_MUL] = "mul",
    [OP_CONCAT] = "concat",
    [OP_SEQUENCE] = "sequence",
    [OP_LAST] = "last",
    [OP_GLOBAL_MAXPOOL] = "global_maxpool",
    [OP_PAD_CHANNELS] = "pad_channels",
    [OP_EMBEDDING] = "embedding",
    [OP_POSITIONAL_EMBEDDING] = "positional_embedding",
    [OP_LSTM] = "lstm",
    [OP_GRU] = "gru",
    [OP_SELF_ATTENTION] = "self_attention",
    [OP_CONV1D] = "conv1d",
    [OP_CONV_TRANSPOSE2D] = "conv_transpose2d",
    [OP_UPSAMPLE2D] = "upsample2d",
};

/* clang-format off */
#define ROW(ops_, key_, type_, field_, min_, max_, initial_, choices_, help_)      \
    {.ops = (ops_),                                                                \
     .setting = {.path = (key_), .type = SETTING_##type_,                          \
                 .offset = offsetof(struct op_spec, field_), .unit = "",           \
                 .min = (min_), .max = (max_), .initial = (initial_),              \
                 .choices = (choices_), .is_decisive = true, .help = (help_)}}
#define KEY(ops_, key_, type_, field_, min_, max_, initial_, help_)                \
    ROW(ops_, key_, type_, field_, min_, max_, initial_, NULL, help_)

static const struct op_key keys[] = {
    ROW(ALL_OPS, "op", CHOICE, kind, 0, 0, NULL, op_words, "which operator it is"),
    KEY(ALL_OPS, "name", NAME, name, 0, 0, "the operator and a running number: conv2d1",
        "begins the names of its tensors; others name it as their input"),
    KEY(ALL_OPS, "inputs", INPUTS, inputs, 0, 0, "the operator before",
        "what it takes: one; two of one shape for add and mul, 2 to 8 for concat"),
    KEY(OP(DENSE), "units", U32, units, 0, 16777216, "0",
        "numbers out; 0: as many as the data has classes, or labels"),
    KEY(OP(EMBEDDING), "vocabulary", U32, vocabulary, 0, 16777216, "0",
        "rows of the table; 0: as many as the data has tokens"),
    KEY(OP(EMBEDDING) | RECURRENT, "units", U32, units, 1, 16777216, NULL,
        "numbers out, at each position"),
    KEY(OP(EMBEDDING), "deviation", FLOAT, deviation, 0, 100, "1",
        "of the normal numbers that the table starts with; GPTs take 0.02"),
    KEY(OP(POSITIONAL_EMBEDDING), "deviation", FLOAT, deviation, 0, 100, "0.02",
        "of the normal numbers that the table starts with"),
    KEY(RECURRENT, "reverse", BOOL, reverse, 0, 0, "false",
        "from the last position to the first"),
    KEY(OP(SELF_ATTENTION), "heads", U32, heads, 1, 65536, NULL,
        "parts that the width is cut into, each with a softmax of its own"),
    KEY(OP(SELF_ATTENTION), "causal", BOOL, causal, 0, 0, "false",
        "a position takes nothing from those behind it"),
    KEY(CONVS, "filters", U32, filters, 1, 65536, NULL, "channels out"),
    KEY(IMAGE_CONVS, "kernel", PAIR, kernel, 1, 1024, NULL, "size of the window"),
    KEY(POOLS, "kernel", PAIR, kernel, 1, 1024, "2", "size of the window"),
    KEY(IMAGE_CONVS, "stride", PAIR, stride, 1, 1024, "1", "step of the window"),
    KEY(POOLS, "stride", PAIR, stride, 1, 1024, "kernel", "step of the window"),
    KEY(OP(CONV1D), "kernel", U32, kernel, 1, 1024, NULL, "size of the window"),
    KEY(OP(CONV1D), "stride", U32, stride, 1, 1024, "1", "step of the window"),
    KEY(OP(CONV1D), "dilation", U32, dilation, 1, 1024, "1", "positions from tap to tap"),
    KEY(IMAGE_CONVS, "dilation", PAIR, dilation, 1, 1024, "1", "pixels from tap to tap"),
    KEY(OP(CONV1D) | OP(CONV2D), "groups", U32, groups, 1, 65536, "1",
        "parts of the channels that do not see each other; as many as channels: depthwise"),
    KEY(OP(CONV1D), "causal", BOOL, causal, 0, 0, "false",
        "all padding before the sequence: no position sees a later one"),
    KEY(OP(CONV2D), "winograd", BOOL, winograd, 0, 0, "true",
        "3x3 kernels of stride 1 in Winograd's form F(4,3): faster, less exact"),
    KEY(OP(CONV_TRANSPOSE2D), "padding", PAIR, padding, 0, 1023, "0",
        "rows and columns taken off each side of the output"),
    KEY(OP(CONV_TRANSPOSE2D), "output_padding", PAIR, output_padding, 0, 1023, "0",
        "rows and columns more behind the output"),
    KEY(OP(UPSAMPLE2D), "factor", U32, factor, 1, 64, "2", "pixels out for each row, column"),
    ROW(OP(UPSAMPLE2D), "mode", CHOICE, interpolation, 0, 0, "nearest", "nearest bilinear",
        "what is between pixels"),
    KEY(OP(CONV1D) | OP(CONV2D) | POOLS, "padding", PADDING, padding, 0, 1023, "0",
        "border on each side; same: as many out as in / stride, rounded up"),
    KEY(OP(DROPOUT), "rate", FLOAT, rate, 0, 0.99, "0.5",
        "share of inputs set to zero in training"),
    KEY(OP(SPATIAL_DROPOUT), "rate", FLOAT, rate, 0, 0.99, "0.5",
        "share of an image's channels, or a sequence's features, set to zero in training"),
    KEY(OP(DROP_PATH), "rate", FLOAT, rate, 0, 0.99, "0.1",
        "share of samples set to zero in training: of a branch that is added to another"),
    KEY(WITH_BIAS, "bias", BOOL, bias, 0, 0, "true", "a number is added to each output"),
    ROW(WITH_INIT, "init", CHOICE, init, 0, 0, "he", "zero he xavier",
        "how weights start: he: normal, for relu; xavier: uniform, for tanh and sigmoid"),
    KEY(WITH_TENSORS, "frozen", BOOL, frozen, 0, 0, "false",
        "its weights stay as they begin (model.init_from): no gradient, and no bytes in a step"),
    KEY(WITH_TENSORS, "rate", FLOAT, rate_scale, 1e-6, RATE_SCALE_MAX, "1",
        "what the learning rate is multiplied by for its weights"),
    KEY(OP(DENSE), "tie", OPERATOR, tied, 0, 0, "",
        "an operator before it whose weight it uses, turned: the embedding of the same words"),
    KEY(OP(BATCH_NORM), "momentum", FLOAT, momentum, 0, 1, "0.1",
        "share of each step in the running mean and variance, which evaluation uses"),
    KEY(NORMS, "epsilon", FLOAT, epsilon, 1e-12, 1, "1e-5", "added to the variance"),
    KEY(OP(GROUP_NORM), "groups", U32, groups, 1, 65536, "32",
        "how many groups of channels: a divisor of their number"),
    KEY(OP(LEAKY_RELU), "slope", FLOAT, slope, 0, 1, "0.01", "below zero it is slope times in"),
    KEY(OP(ELU), "alpha", FLOAT, slope, 0, 100, "1", "below zero it is alpha (exp(in) - 1)"),
    ROW(OP(GELU), "approximate", CHOICE, approximate, 0, 0, "none", "none tanh",
        "tanh: by the formula that older networks were trained with"),
    KEY(OP(PAD_CHANNELS), "channels", U32, channels, 1, 65536, NULL,
        "channels out: as many zeros before those that come in as behind, an odd one behind"),
};
/* clang-format on */

const struct op_key *op_keys(size_t *count_out)
{
    *count_out = ARRAY_LEN(keys);
    return keys;
}

const struct op_key *op_key_find(enum op_kind kind, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (op_key_is_of(&keys[i], kind) && strcmp(keys[i].setting.path, name) == 0)
            return &keys[i];
    return NULL;
}

const char *op_kind_name(enum op_kind kind)
{
    assert(kind < OP_KIND_COUNT);
    return names[kind];
}

struct op_inputs op_kind_inputs(enum op_kind kind)
{
    if (kind == OP_ADD || kind == OP_MUL)
        return (struct op_inputs){2, 2};
    if (kind == OP_CONCAT)
        return (struct op_inputs){2, OP_INPUTS_MAX};
    return (struct op_inputs){1, 1};
}
