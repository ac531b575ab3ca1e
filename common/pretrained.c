#include "common/pretrained.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/pretrained_files.h"

enum { LISTED_MAX = 20, SHAPE_BYTES = 128 };

struct pretrained {
    const struct model_spec *model;
    struct tensor_set *files;
    const struct layout *layout; /* NULL: not matched yet */
    size_t *sources;             /* [tensor_count]: number in files, or NOWHERE */
    bool *is_used;               /* [of files] */
};

static const size_t nowhere = SIZE_MAX;

int pretrained_open(const struct model_spec *model, struct pretrained **pretrained_out,
                    struct err_msg *why)
{
    struct pretrained *pretrained = calloc(1, sizeof(*pretrained));
    if (pretrained == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory", model->init_from);
    pretrained->model = model;
    int err = pretrained_open_files(model->init_from, &pretrained->files, why);
    if (err != 0) {
        pretrained_close(pretrained);
        return err_prefix(why, err, "model.init_from: ");
    }
    *pretrained_out = pretrained;
    return 0;
}

void pretrained_close(struct pretrained *pretrained)
{
    if (pretrained == NULL)
        return;
    tensor_set_close(pretrained->files);
    free(pretrained->sources);
    free(pretrained->is_used);
    free(pretrained);
}

/* The name that a rule gives to ours; false: the rule is not of it. */
static bool apply_rule(const char *rule, const char *ours, char theirs_out[SAFETENSORS_NAME_BYTES])
{
    const char *equals = strchr(rule, '='), *star = memchr(rule, '*', (size_t)(equals - rule));
    size_t length = strlen(ours), before = (size_t)((star != NULL ? star : equals) - rule);
    size_t after = star != NULL ? (size_t)(equals - star) - 1 : 0;
    if (length < before + after || memcmp(rule, ours, before) != 0 ||
        memcmp(ours + length - after, equals - after, after) != 0 ||
        (star == NULL && length != before))
        return false;
    const char *to = equals + 1, *to_star = strchr(to, '*');
    int head = (int)(to_star != NULL ? (size_t)(to_star - to) : strlen(to));
    snprintf(theirs_out, SAFETENSORS_NAME_BYTES, "%.*s%.*s%s", head, to,
             to_star != NULL ? (int)(length - before - after) : 0, ours + before,
             to_star != NULL ? to_star + 1 : "");
    return true;
}

static void name_there(const struct model_spec *model, const char *ours,
                       char theirs_out[SAFETENSORS_NAME_BYTES])
{
    for (size_t i = 0; i < model->init_rename.count; i++)
        if (apply_rule(model->init_rename.items[i], ours, theirs_out))
            return;
    snprintf(theirs_out, SAFETENSORS_NAME_BYTES, "%s", ours);
}

static size_t find(const struct tensor_set *files, const char *name)
{
    for (size_t i = 0; i < tensor_set_count(files); i++)
        if (strcmp(tensor_set_entry(files, i)->name, name) == 0)
            return i;
    return nowhere;
}

/* The operator that a tensor "<operator>.<suffix>" is of; NULL: none of the model. */
static const struct op_spec *op_of(const struct model_spec *model, const char *tensor)
{
    const char *dot = strrchr(tensor, '.');
    size_t length = dot == NULL ? 0 : (size_t)(dot - tensor);
    for (size_t i = 0; i < model->op_count; i++)
        if (strlen(model->ops[i].name) == length &&
            memcmp(model->ops[i].name, tensor, length) == 0)
            return &model->ops[i];
    return NULL;
}

/* How a tensor of ours, [rows][columns][in][out], lies there. */
enum order {
    ORDER_OURS,
    ORDER_OUT_FIRST, /* [out][in][rows][columns] */
    ORDER_IN_FIRST   /* [in][out][rows][columns] */
};

static enum order order_there(const struct model_spec *model, const struct tensor_spec *tensor)
{
    const struct op_spec *op = op_of(model, tensor->name);
    enum op_kind kind = op == NULL ? OP_DENSE : op->kind;
    if (model->init_layout != INIT_LAYOUT_PYTORCH || tensor->dims < 2 || kind == OP_EMBEDDING ||
        kind == OP_POSITIONAL_EMBEDDING)
        return ORDER_OURS;
    return kind == OP_CONV_TRANSPOSE2D ? ORDER_IN_FIRST : ORDER_OUT_FIRST;
}

static void shape_there(const struct tensor_spec *tensor, enum order order,
                        uint64_t shape_out[TENSOR_DIMS_MAX])
{
    uint32_t dims = tensor->dims;
    for (uint32_t d = 0; d < dims; d++)
        shape_out[d] = tensor->shape[d];
    for (uint32_t d = 2; order != ORDER_OURS && d < dims; d++)
        shape_out[d] = tensor->shape[d - 2];
    if (order == ORDER_OURS)
        return;
    shape_out[0] = tensor->shape[order == ORDER_OUT_FIRST ? dims - 1 : dims - 2];
    shape_out[1] = tensor->shape[order == ORDER_OUT_FIRST ? dims - 2 : dims - 1];
}

/* "[64, 3, 7, 7]" */
static void write_shape(const uint64_t *shape, uint32_t dims, char out[SHAPE_BYTES])
{
    size_t at = 1;
    snprintf(out, SHAPE_BYTES, "[");
    for (uint32_t d = 0; d < dims && at < SHAPE_BYTES; d++)
        at += (size_t)snprintf(out + at, SHAPE_BYTES - at, "%s%" PRIu64, d > 0 ? ", " : "",
                               shape[d]);
    if (at < SHAPE_BYTES)
        snprintf(out + at, SHAPE_BYTES - at, "]");
}

static int check_tensor(const struct pretrained *pretrained, const struct tensor_spec *tensor,
                        const struct safetensors_entry *entry, struct err_msg *why)
{
    const struct model_spec *model = pretrained->model;
    uint64_t shape[TENSOR_DIMS_MAX];
    char found[SHAPE_BYTES], expected[SHAPE_BYTES];
    if (entry->type == NUMBER_OTHER)
        return err_set(why, ERR_INPUT,
                       "model.init_from: %.300s: tensor \"%s\", wanted for \"%s\", has numbers of "
                       "a type that is not read; expected F32, F16 or BF16",
                       model->init_from, entry->name, tensor->name);
    shape_there(tensor, order_there(model, tensor), shape);
    if (entry->dims == tensor->dims &&
        memcmp(entry->shape, shape, tensor->dims * sizeof(*shape)) == 0)
        return 0;
    write_shape(entry->shape, entry->dims, found);
    write_shape(shape, tensor->dims, expected);
    return err_set(why, ERR_INPUT,
                   "model.init_from: %.300s: tensor \"%s\", wanted for \"%s\", has shape %s; "
                   "expected %s (model.init_layout)",
                   model->init_from, entry->name, tensor->name, found, expected);
}

static void log_tensor(const char *event, const char *name, size_t *count)
{
    char quoted[2 * SAFETENSORS_NAME_BYTES + 3];
    if ((*count)++ < LISTED_MAX)
        log_event(LOG_INFO, event, "tensor=%s", log_quote(quoted, sizeof(quoted), name));
}

static void log_match(const struct pretrained *pretrained)
{
    const struct layout *layout = pretrained->layout;
    size_t missing = 0, unused = 0;
    char quoted[2 * PATH_MAX];
    for (size_t i = 0; i < layout->tensor_count; i++)
        if (pretrained->sources[i] == nowhere)
            log_tensor("init_missing", layout->tensors[i].name, &missing);
    for (size_t i = 0; i < tensor_set_count(pretrained->files); i++)
        if (!pretrained->is_used[i])
            log_tensor("init_unused", tensor_set_entry(pretrained->files, i)->name, &unused);
    log_event(LOG_INFO, "init_from", "path=%s tensors=%zu missing=%zu unused=%zu",
              log_quote(quoted, sizeof(quoted), pretrained->model->init_from),
              layout->tensor_count - missing, missing, unused);
}

static int match_tensors(struct pretrained *pretrained, const struct layout *layout,
                         struct err_msg *why)
{
    size_t found_count = 0;
    char name[SAFETENSORS_NAME_BYTES] = "";
    for (size_t i = 0; i < layout->tensor_count; i++) {
        name_there(pretrained->model, layout->tensors[i].name, name);
        size_t source = find(pretrained->files, name);
        pretrained->sources[i] = source;
        if (source == nowhere)
            continue;
        int err = check_tensor(pretrained, &layout->tensors[i],
                               tensor_set_entry(pretrained->files, source), why);
        if (err != 0)
            return err;
        pretrained->is_used[source] = true;
        found_count++;
    }
    if (found_count > 0)
        return 0;
    bool is_empty = tensor_set_count(pretrained->files) == 0;
    return err_set(why, ERR_INPUT,
                   "model.init_from: %.300s: has none of the model's tensors: \"%s\", and others, "
                   "were looked for, and the first there is \"%s\" (model.init_rename)",
                   pretrained->model->init_from, name,
                   is_empty ? "" : tensor_set_entry(pretrained->files, 0)->name);
}

int pretrained_match(struct pretrained *pretrained, const struct layout *layout,
                     struct err_msg *why)
{
    free(pretrained->sources);
    free(pretrained->is_used);
    pretrained->sources = calloc(layout->tensor_count, sizeof(*pretrained->sources));
    pretrained->is_used =
        calloc(tensor_set_count(pretrained->files) + 1, sizeof(*pretrained->is_used));
    if (pretrained->sources == NULL || pretrained->is_used == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory", pretrained->model->init_from);
    int err = match_tensors(pretrained, layout, why);
    if (err != 0)
        return err;
    pretrained->layout = layout;
    log_match(pretrained);
    return 0;
}

/* A turned tensor: ours is [taps][in][out], theirs [out][in][taps] or [in][out][taps]. */
struct turn {
    size_t source;
    bool is_in_first;
    uint64_t taps, in, out;
    uint64_t first; /* element of ours that the range begins with */
    size_t count;
};

static struct turn turn_of(const struct pretrained *pretrained, const struct block_spec *block)
{
    const struct layout *layout = pretrained->layout;
    const struct tensor_spec *tensor = &layout->tensors[block->tensor_idx];
    struct turn turn = {.source = pretrained->sources[block->tensor_idx],
                        .is_in_first =
                            order_there(pretrained->model, tensor) == ORDER_IN_FIRST,
                        .taps = 1,
                        .in = tensor->shape[tensor->dims - 2],
                        .out = tensor->shape[tensor->dims - 1],
                        .first = block->range.begin - layout->tensor_begin[block->tensor_idx],
                        .count = (size_t)(block->range.end - block->range.begin)};
    for (uint32_t d = 0; d + 2 < tensor->dims; d++)
        turn.taps *= tensor->shape[d];
    return turn;
}

/* Scatters what one output has of its inputs, those from `low` on, over the range. */
static void scatter(const struct turn *turn, uint64_t output, const float *inputs, uint64_t low,
                    float *out)
{
    uint64_t end = turn->first + turn->count;
    for (uint64_t row = turn->first / turn->out; row * turn->out + output < end; row++) {
        uint64_t at = row * turn->out + output;
        uint64_t tap = row / turn->in, input = row % turn->in;
        if (at >= turn->first)
            out[at - turn->first] = inputs[input * turn->taps + tap - low];
    }
}

/* The same of one input's outputs, all of them. */
static void scatter_outputs(const struct turn *turn, uint64_t input, const float *outputs,
                            float *out)
{
    for (uint64_t output = 0; output < turn->out; output++)
        for (uint64_t tap = 0; tap < turn->taps; tap++) {
            uint64_t at = (tap * turn->in + input) * turn->out + output;
            if (at >= turn->first && at - turn->first < turn->count)
                out[at - turn->first] = outputs[output * turn->taps + tap];
        }
}

static int read_in_first(const struct pretrained *pretrained, const struct turn *turn, float *out,
                         struct err_msg *why)
{
    size_t row_count = (size_t)(turn->out * turn->taps);
    float *outputs = malloc(row_count * sizeof(*outputs));
    if (outputs == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory", pretrained->model->init_from);
    int err = 0;
    for (uint64_t input = 0; input < turn->in && err == 0; input++) {
        err = tensor_set_read(pretrained->files, turn->source, input * row_count, outputs,
                              row_count, why);
        if (err == 0)
            scatter_outputs(turn, input, outputs, out);
    }
    free(outputs);
    return err;
}

/* Of a matrix only the inputs that the range has are read, of a convolution all of an output's. */
static int read_out_first(const struct pretrained *pretrained, const struct turn *turn, float *out,
                       struct err_msg *why)
{
    uint64_t row_count = turn->in * turn->taps, low = 0, high = row_count;
    if (turn->taps == 1) {
        low = turn->first / turn->out;
        high = (turn->first + turn->count - 1) / turn->out + 1;
    }
    float *inputs = malloc((size_t)(high - low) * sizeof(*inputs));
    if (inputs == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory", pretrained->model->init_from);
    int err = 0;
    for (uint64_t output = 0; output < turn->out && err == 0; output++) {
        err = tensor_set_read(pretrained->files, turn->source, output * row_count + low, inputs,
                              (size_t)(high - low), why);
        if (err == 0)
            scatter(turn, output, inputs, low, out);
    }
    free(inputs);
    return err;
}

int pretrained_read_block(const struct pretrained *pretrained, size_t block_idx, uint64_t seed,
                          float *out, struct err_msg *why)
{
    const struct layout *layout = pretrained->layout;
    const struct block_spec *block = &layout->blocks[block_idx];
    size_t source = pretrained->sources[block->tensor_idx];
    if (source == nowhere) {
        layout_init_block(layout, block_idx, seed, out);
        return 0;
    }
    if (order_there(pretrained->model, &layout->tensors[block->tensor_idx]) != ORDER_OURS) {
        struct turn turn = turn_of(pretrained, block);
        return turn.is_in_first ? read_in_first(pretrained, &turn, out, why)
                                : read_out_first(pretrained, &turn, out, why);
    }
    return tensor_set_read(pretrained->files, source,
                           block->range.begin - layout->tensor_begin[block->tensor_idx], out,
                           (size_t)(block->range.end - block->range.begin), why);
}

int pretrained_read(const struct pretrained *pretrained, uint64_t seed, float *out,
                    struct err_msg *why)
{
    const struct layout *layout = pretrained->layout;
    int err = 0;
    for (size_t i = 0; i < layout->block_count && err == 0; i++)
        err = pretrained_read_block(pretrained, i, seed, out + layout->blocks[i].range.begin, why);
    return err;
}
