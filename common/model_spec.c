#include "common/model_spec.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/document.h"
#include "common/jobfile.h"
#include "common/nearest.h"
#include "common/setting_show.h"
#include "common/setting_value.h"

enum { PATH_BYTES = 128, COMMON_KEYS = 3 /* op, name, inputs: the first rows */ };

#define OP(kind) (1U << OP_##kind)
#define POOLS (OP(MAXPOOL2D) | OP(AVGPOOL2D))
#define ALL_OPS ((1U << OP_KIND_COUNT) - 1U)

static const char op_words[] = "dense conv2d maxpool2d avgpool2d global_avgpool relu tanh sigmoid "
                               "flatten dropout add";

/* A key of some kinds of operator. */
struct op_key {
    unsigned ops; /* which kinds take it, a bit each */
    struct setting setting;
};

#define KEY(ops_, key_, type_, field_, min_, max_, initial_, help_) \
    {.ops = ops_, \
     .setting = {.path = #key_, \
                 .type = SETTING_##type_, \
                 .offset = offsetof(struct op_spec, field_), \
                 .unit = "", \
                 .min = min_, \
                 .max = max_, \
                 .initial = initial_, \
                 .is_decisive = true, \
                 .help = help_}},

static const struct op_key keys[] = {
    {.ops = ALL_OPS,
     .setting = {.path = "op",
                 .type = SETTING_CHOICE,
                 .offset = offsetof(struct op_spec, kind),
                 .unit = "",
                 .choices = op_words,
                 .help = "which operator it is"}},
    KEY(ALL_OPS, name, NAME, name, 0, 0, "the operator and a running number: conv2d1",
        "begins the names of its tensors; others name it as their input")
        KEY(ALL_OPS, inputs, INPUTS, inputs, 0, 0, "the operator before",
            "what it takes: one, and two of the same shape for add")
            KEY(OP(DENSE), units, U32, units, 1, 16777216, NULL, "numbers out")
                KEY(OP(CONV2D), filters, U32, filters, 1, 65536, NULL, "channels out")
                    KEY(OP(CONV2D), kernel, PAIR, kernel, 1, 1024, NULL, "size of the window")
                        KEY(POOLS, kernel, PAIR, kernel, 1, 1024, "2", "size of the window") KEY(
                            OP(CONV2D), stride, PAIR, stride, 1, 1024, "1", "step of the window"){
                            .ops = POOLS,
                            .setting = {.path = "stride",
                                        .type = SETTING_PAIR,
                                        .offset = offsetof(struct op_spec, stride),
                                        .unit = "",
                                        .min = 1,
                                        .max = 1024,
                                        .initial = "kernel",
                                        .is_decisive = true,
                                        .help = "step of the window"}},
    KEY(OP(CONV2D) | POOLS, padding, PADDING, padding, 0, 1023, "0",
        "border on each side; same: as many out as in / stride, rounded up")
        KEY(OP(DROPOUT), rate, FLOAT, rate, 0, 0.99, "0.5",
            "share of inputs set to zero in training")
            KEY(OP(DENSE) | OP(CONV2D), bias, BOOL, bias, 0, 0, "true",
                "a number is added to each output"){
                .ops = OP(DENSE) | OP(CONV2D),
                .setting =
                    {.path = "init",
                     .type = SETTING_CHOICE,
                     .offset = offsetof(struct op_spec, init),
                     .unit = "",
                     .choices =
                         "zero he xavier",
                     .initial =
                         "he",
                     .is_decisive = true,
                     .help =
                         "how weights start: he: normal, for relu; xavier: uniform, for tanh and "
                         "sigmoid"}},
};

/* What is known while the list is read. */
struct reader {
    const struct jobfile *file;
    struct model_spec *model;
    size_t op_idx; /* of the operator being read */
    unsigned kind_counts[OP_KIND_COUNT];
    struct err_msg *why;
};

const char *op_kind_name(enum op_kind kind)
{
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
    };
    assert(kind < OP_KIND_COUNT);
    return names[kind];
}

static const struct op_key *find_key(enum op_kind kind, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if ((keys[i].ops >> kind & 1U) != 0 && strcmp(keys[i].setting.path, name) == 0)
            return &keys[i];
    }
    return NULL;
}

static const struct job_value *member(const struct job_value *group, const char *key)
{
    for (size_t i = 0; i < group->count; i++) {
        if (strcmp(group->items[i].key, key) == 0)
            return &group->items[i];
    }
    return NULL;
}

__attribute__((format(printf, 4, 5))) static int refuse(const struct reader *reader,
                                                        const struct job_value *value,
                                                        const char *key, const char *format, ...)
{
    char path[PATH_BYTES], text[512];
    snprintf(path, sizeof(path), "model.operators[%zu]%s%s", reader->op_idx,
             key[0] == '\0' ? "" : ".", key);
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return setting_refuse(&(struct value_place){.file = reader->file, .path = path}, value,
                          reader->why, "%s", text);
}

static int refuse_found(const struct reader *reader, const struct job_value *value,
                        const struct op_key *key)
{
    char found[256], expected[256];
    job_value_describe(value, found, sizeof(found));
    setting_expected(&key->setting, expected, sizeof(expected));
    return refuse(reader, value, key->setting.path, "found %s, expected %s", found, expected);
}

static int refuse_key(const struct reader *reader, enum op_kind kind, const struct job_value *value)
{
    struct nearest nearest = {.word = value->key};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if ((keys[i].ops >> kind & 1U) != 0)
            nearest_offer(&nearest, keys[i].setting.path);
    }
    if (nearest_word(&nearest) != NULL)
        return refuse(reader, value, value->key, "unknown key of %s; did you mean \"%s\"?",
                      op_kind_name(kind), nearest_word(&nearest));
    return refuse(reader, value, value->key, "unknown key of %s; `talweg settings` lists all",
                  op_kind_name(kind));
}

/* The operator of a name before op_idx, or -2. */
static int32_t find_op(const struct reader *reader, const char *name)
{
    for (size_t i = 0; i < reader->op_idx; i++) {
        if (strcmp(reader->model->ops[i].name, name) == 0)
            return (int32_t)i;
    }
    return strcmp(name, "input") == 0 ? -1 : -2;
}

static bool is_name(const char *name)
{
    size_t count = strlen(name);
    for (size_t i = 0; i < count; i++) {
        if (!isalnum((unsigned char)name[i]) && strchr("_-.", name[i]) == NULL)
            return false;
    }
    return count > 0 && count < OP_NAME_BYTES;
}

static int read_name(struct reader *reader, const struct job_value *group, struct op_spec *op)
{
    const struct job_value *value = member(group, "name");
    unsigned number = ++reader->kind_counts[op->kind];
    if (value != NULL && (value->kind != JOB_TEXT || !is_name(value->text)))
        return refuse_found(reader, value, find_key(op->kind, "name"));
    if (value != NULL)
        snprintf(op->name, sizeof(op->name), "%s", value->text);
    else
        snprintf(op->name, sizeof(op->name), "%s%u", op_kind_name(op->kind), number);
    int32_t other_idx = find_op(reader, op->name);
    if (other_idx == -1)
        return refuse(reader, value, "name", "\"input\" is the name of the model's input");
    if (other_idx >= 0)
        return refuse(reader, value == NULL ? group : value, "name",
                      "\"%s\" is the name of model.operators[%d] already, and names are unique",
                      op->name, other_idx);
    return 0;
}

static int read_input(const struct reader *reader, const struct job_value *value,
                      const struct op_key *key, struct op_spec *op)
{
    if (value->kind != JOB_TEXT)
        return refuse_found(reader, value, key);
    int32_t op_idx = find_op(reader, value->text);
    if (op_idx >= -1) {
        op->inputs[op->input_count++] = op_idx;
        return 0;
    }
    struct nearest nearest = {.word = value->text};
    nearest_offer(&nearest, "input");
    for (size_t i = 0; i < reader->op_idx; i++)
        nearest_offer(&nearest, reader->model->ops[i].name);
    const char *meant = nearest_word(&nearest);
    return refuse(reader, value, "inputs", "no operator before it is called \"%.60s\"%s%s%s",
                  value->text, meant == NULL ? "" : "; did you mean \"", meant == NULL ? "" : meant,
                  meant == NULL ? "" : "\"?");
}

static int read_inputs(const struct reader *reader, const struct job_value *group,
                       struct op_spec *op)
{
    const struct op_key *key = find_key(op->kind, "inputs");
    const struct job_value *value = member(group, "inputs");
    size_t wanted = op->kind == OP_ADD ? 2 : 1;
    if (value == NULL && op->kind == OP_ADD)
        return refuse(reader, group, "inputs",
                      "missing: add needs the names of two operators, as (\"relu1\", \"conv2d2\")");
    if (value == NULL) {
        op->inputs[0] = (int32_t)reader->op_idx - 1;
        op->input_count = 1;
        return 0;
    }
    if (value->kind != JOB_TEXT && value->kind != JOB_LIST)
        return refuse_found(reader, value, key);
    const struct job_value *items = value->kind == JOB_LIST ? value->items : value;
    size_t count = value->kind == JOB_LIST ? value->count : 1;
    if (count != wanted)
        return refuse(reader, value, "inputs", "found %zu names, and %s takes %zu", count,
                      op_kind_name(op->kind), wanted);
    for (size_t i = 0; i < count; i++) {
        int err = read_input(reader, &items[i], key, op);
        if (err != 0)
            return err;
    }
    return 0;
}

/* One key of the table: its value, or its default. */
static int read_key(const struct reader *reader, const struct job_value *group,
                    const struct op_key *key, struct op_spec *op)
{
    const struct setting *setting = &key->setting;
    const struct job_value *value = member(group, setting->path);
    if (value != NULL) {
        char path[PATH_BYTES];
        snprintf(path, sizeof(path), "model.operators[%zu].%s", reader->op_idx, setting->path);
        return setting_assign(setting, op, value,
                              &(struct value_place){.file = reader->file, .path = path},
                              reader->why);
    }
    if (setting->initial == NULL)
        return refuse(reader, group, setting->path, "missing: %s needs it (%s)",
                      op_kind_name(op->kind), setting->help);
    if (strcmp(setting->initial, "kernel") == 0) {
        memcpy(op->stride, op->kernel, sizeof(op->stride));
        return 0;
    }
    return setting_assign_initial(setting, op);
}

static int read_kind(const struct reader *reader, const struct job_value *group, struct op_spec *op)
{
    if (group->kind != JOB_GROUP) {
        char found[256];
        job_value_describe(group, found, sizeof(found));
        return refuse(reader, group, "", "found %s, expected a group, as { op = \"relu\"; }",
                      found);
    }
    if (member(group, "op") == NULL)
        return refuse(reader, group, "op", "missing: which operator is it? (%s)", op_words);
    return read_key(reader, group, &keys[0], op);
}

static int read_op(struct reader *reader, const struct job_value *group, struct op_spec *op)
{
    op->line = group->line;
    int err = read_kind(reader, group, op);
    for (size_t i = 0; err == 0 && i < group->count; i++) {
        if (find_key(op->kind, group->items[i].key) == NULL)
            err = refuse_key(reader, op->kind, &group->items[i]);
    }
    if (err == 0)
        err = read_name(reader, group, op);
    if (err == 0)
        err = read_inputs(reader, group, op);
    for (size_t i = COMMON_KEYS; err == 0 && i < ARRAY_LEN(keys); i++) {
        if ((keys[i].ops >> op->kind & 1U) != 0)
            err = read_key(reader, group, &keys[i], op);
    }
    if (op->padding[0] == PADDING_SAME) {
        op->padding_same = true;
        op->padding[0] = op->padding[1] = 0;
    }
    return err;
}

/* Every operator but the last must feed another: what nobody uses is a slip of the pen. */
static int check_used(struct reader *reader, const struct job_value *list)
{
    const struct model_spec *model = reader->model;
    for (size_t i = 0; i + 1 < model->op_count; i++) {
        bool is_used = false;
        for (size_t j = i + 1; !is_used && j < model->op_count; j++) {
            const struct op_spec *op = &model->ops[j];
            is_used =
                op->inputs[0] == (int32_t)i || (op->input_count > 1 && op->inputs[1] == (int32_t)i);
        }
        reader->op_idx = i;
        if (!is_used)
            return refuse(reader, &list->items[i], "",
                          "no operator takes the output of \"%s\", and it is not the last",
                          model->ops[i].name);
    }
    return 0;
}

int model_spec_read(const struct jobfile *file, const struct job_value *operators,
                    struct model_spec *model_out, struct err_msg *why)
{
    struct value_place place = {.file = file, .path = "model.operators"};
    if (operators->kind != JOB_LIST || operators->count == 0) {
        char found[256];
        job_value_describe(operators, found, sizeof(found));
        return setting_refuse(&place, operators, why,
                              "found %s, expected a list of groups, as "
                              "( { op = \"dense\"; units = 10; } )",
                              found);
    }
    if (operators->count > OP_COUNT_MAX)
        return setting_refuse(&place, operators, why, "found %zu operators, expected at most %d",
                              operators->count, OP_COUNT_MAX);
    struct model_spec model = {.loss = model_out->loss, .op_count = operators->count};
    model.ops = calloc(model.op_count, sizeof(*model.ops));
    if (model.ops == NULL)
        return err_set(why, ERR_NOMEM, "model.operators: out of memory");
    struct reader reader = {.file = file, .model = &model, .why = why};
    int err = 0;
    for (; err == 0 && reader.op_idx < model.op_count; reader.op_idx++)
        err = read_op(&reader, &operators->items[reader.op_idx], &model.ops[reader.op_idx]);
    if (err == 0)
        err = check_used(&reader, operators);
    struct model_spec spent = model; /* of the old and the new, the one to free */
    if (err == 0) {
        spent = *model_out;
        *model_out = model;
    }
    model_spec_destroy(&spent);
    return err;
}

void model_spec_destroy(struct model_spec *model)
{
    free(model->ops);
    model->ops = NULL;
    model->op_count = 0;
}

/* Adds value under key; on failure destroys the object.  Returns the object or NULL. */
static struct document *put(struct document *object, const char *key, struct document *value)
{
    if (object == NULL) {
        document_destroy(value);
        return NULL;
    }
    if (document_put(object, key, value) == 0)
        return object;
    document_destroy(object);
    return NULL;
}

static struct document *inputs_document(const struct model_spec *model, const struct op_spec *op)
{
    struct document *array = document_array();
    for (size_t i = 0; array != NULL && i < op->input_count; i++) {
        const char *name = op->inputs[i] < 0 ? "input" : model->ops[op->inputs[i]].name;
        if (document_append(array, document_text(name)) != 0) {
            document_destroy(array);
            return NULL;
        }
    }
    return array;
}

static struct document *op_document(const struct model_spec *model, const struct op_spec *op)
{
    struct document *object = document_object();
    for (size_t i = 0; object != NULL && i < ARRAY_LEN(keys); i++) {
        const struct setting *setting = &keys[i].setting;
        if ((keys[i].ops >> op->kind & 1U) == 0)
            continue;
        if (setting->type == SETTING_INPUTS)
            object = put(object, setting->path, inputs_document(model, op));
        else if (setting->type == SETTING_PADDING && op->padding_same)
            object = put(object, setting->path, document_text("same"));
        else
            object = put(object, setting->path, setting_document(setting, op));
    }
    return object;
}

struct document *model_spec_document(const struct model_spec *model)
{
    struct document *array = document_array();
    for (size_t i = 0; array != NULL && i < model->op_count; i++) {
        if (document_append(array, op_document(model, &model->ops[i])) != 0) {
            document_destroy(array);
            return NULL;
        }
    }
    return array;
}

void model_spec_write(const struct model_spec *model, FILE *stream)
{
    for (size_t i = 0; i < model->op_count; i++) {
        const struct op_spec *op = &model->ops[i];
        fprintf(stream, "%s %s", op_kind_name(op->kind), op->name);
        for (size_t j = 0; j < op->input_count; j++)
            fprintf(stream, " %d", op->inputs[j]);
        for (size_t j = COMMON_KEYS; j < ARRAY_LEN(keys); j++) {
            if ((keys[j].ops >> op->kind & 1U) == 0)
                continue;
            fprintf(stream, " %s=", keys[j].setting.path);
            setting_write(&keys[j].setting, op, stream);
        }
        fprintf(stream, "%s\n", op->padding_same ? " same" : "");
    }
}

void model_spec_print(FILE *stream, enum settings_form form)
{
    for (size_t i = 0; i < COMMON_KEYS; i++)
        setting_print(stream, form, &keys[i].setting, keys[i].setting.path);
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        for (size_t i = COMMON_KEYS; i < ARRAY_LEN(keys); i++) {
            char name[64];
            snprintf(name, sizeof(name), "%s.%s", op_kind_name((enum op_kind)kind),
                     keys[i].setting.path);
            if ((keys[i].ops >> kind & 1U) != 0)
                setting_print(stream, form, &keys[i].setting, name);
        }
    }
}
