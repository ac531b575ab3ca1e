#include "common/model_spec.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/document.h"
#include "common/jobfile.h"
#include "common/nearest.h"
#include "common/op_keys.h"
#include "common/setting_show.h"
#include "common/setting_value.h"

enum { PATH_BYTES = 128 };

/* What is known while the list is read. */
struct reader {
    const struct jobfile *file;
    struct model_spec *model;
    size_t op_idx; /* of the operator being read */
    unsigned kind_counts[OP_KIND_COUNT];
    struct err_msg *why;
};

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
    size_t count;
    const struct op_key *keys = op_keys(&count);
    for (size_t i = 0; i < count; i++)
        if (op_key_is_of(&keys[i], kind))
            nearest_offer(&nearest, keys[i].setting.path);
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
        return refuse_found(reader, value, op_key_find(op->kind, "name"));
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

static int refuse_unknown(const struct reader *reader, const struct job_value *value,
                          const char *key)
{
    struct nearest nearest = {.word = value->text};
    nearest_offer(&nearest, "input");
    for (size_t i = 0; i < reader->op_idx; i++)
        nearest_offer(&nearest, reader->model->ops[i].name);
    const char *meant = nearest_word(&nearest);
    return refuse(reader, value, key, "no operator before it is called \"%.60s\"%s%s%s",
                  value->text, meant == NULL ? "" : "; did you mean \"", meant == NULL ? "" : meant,
                  meant == NULL ? "" : "\"?");
}

static int read_input(const struct reader *reader, const struct job_value *value,
                      const struct op_key *key, struct op_spec *op)
{
    if (value->kind != JOB_TEXT)
        return refuse_found(reader, value, key);
    int32_t op_idx = find_op(reader, value->text);
    if (op_idx < -1)
        return refuse_unknown(reader, value, "inputs");
    op->inputs[op->input_count++] = op_idx;
    return 0;
}

static int refuse_count(const struct reader *reader, const struct job_value *value, size_t found,
                        enum op_kind kind)
{
    struct op_inputs takes = op_kind_inputs(kind);
    if (takes.min == takes.max)
        return refuse(reader, value, "inputs", "found %zu names, and %s takes %zu", found,
                      op_kind_name(kind), takes.min);
    return refuse(reader, value, "inputs", "found %zu names, and %s takes %zu to %zu", found,
                  op_kind_name(kind), takes.min, takes.max);
}

static int read_inputs(const struct reader *reader, const struct job_value *group,
                       struct op_spec *op)
{
    const struct op_key *key = op_key_find(op->kind, "inputs");
    const struct job_value *value = member(group, "inputs");
    struct op_inputs takes = op_kind_inputs(op->kind);
    if (value == NULL && takes.min > 1)
        return refuse(reader, group, "inputs",
                      "missing: %s needs the names of two operators, as (\"relu1\", \"conv2d2\")",
                      op_kind_name(op->kind));
    if (value == NULL) {
        op->inputs[0] = (int32_t)reader->op_idx - 1;
        op->input_count = 1;
        return 0;
    }
    if (value->kind != JOB_TEXT && value->kind != JOB_LIST)
        return refuse_found(reader, value, key);
    const struct job_value *items = value->kind == JOB_LIST ? value->items : value;
    size_t count = value->kind == JOB_LIST ? value->count : 1;
    if (count < takes.min || count > takes.max)
        return refuse_count(reader, value, count, op->kind);
    for (size_t i = 0; i < count; i++) {
        int err = read_input(reader, &items[i], key, op);
        if (err != 0)
            return err;
    }
    return 0;
}

/* The operator whose weight it uses: one that is no input of the model. */
static int read_tie(const struct reader *reader, const struct job_value *group, struct op_spec *op)
{
    const struct op_key *key = op_key_find(op->kind, "tie");
    const struct job_value *value = key == NULL ? NULL : member(group, "tie");
    if (value == NULL)
        return 0;
    if (value->kind != JOB_TEXT)
        return refuse_found(reader, value, key);
    int32_t op_idx = find_op(reader, value->text);
    if (op_idx < 0)
        return refuse_unknown(reader, value, "tie");
    op->tied = (uint32_t)op_idx + 1;
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
    size_t count;
    return read_key(reader, group, &op_keys(&count)[0], op);
}

static int read_op(struct reader *reader, const struct job_value *group, struct op_spec *op)
{
    op->line = group->line;
    int err = read_kind(reader, group, op);
    for (size_t i = 0; err == 0 && i < group->count; i++) {
        if (op_key_find(op->kind, group->items[i].key) == NULL)
            err = refuse_key(reader, op->kind, &group->items[i]);
    }
    if (err == 0)
        err = read_name(reader, group, op);
    if (err == 0)
        err = read_inputs(reader, group, op);
    if (err == 0)
        err = read_tie(reader, group, op);
    size_t count;
    const struct op_key *keys = op_keys(&count);
    for (size_t i = OP_KEYS_COMMON; err == 0 && i < count; i++)
        if (op_key_is_of(&keys[i], op->kind) && keys[i].setting.type != SETTING_OPERATOR)
            err = read_key(reader, group, &keys[i], op);
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
            for (size_t k = 0; k < op->input_count; k++)
                is_used |= op->inputs[k] == (int32_t)i;
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
    struct model_spec model = *model_out;
    model.op_count = operators->count;
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
    size_t count;
    const struct op_key *keys = op_keys(&count);
    for (size_t i = 0; object != NULL && i < count; i++) {
        const struct setting *setting = &keys[i].setting;
        bool is_untied = setting->type == SETTING_OPERATOR && op->tied == 0;
        if (!op_key_is_of(&keys[i], op->kind) || is_untied)
            continue;
        if (setting->type == SETTING_INPUTS)
            object = put(object, setting->path, inputs_document(model, op));
        else if (setting->type == SETTING_OPERATOR)
            object = put(object, setting->path, document_text(model->ops[op->tied - 1].name));
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
    size_t count;
    const struct op_key *keys = op_keys(&count);
    for (size_t i = 0; i < model->op_count; i++) {
        const struct op_spec *op = &model->ops[i];
        fprintf(stream, "%s %s", op_kind_name(op->kind), op->name);
        for (size_t j = 0; j < op->input_count; j++)
            fprintf(stream, " %d", op->inputs[j]);
        for (size_t j = OP_KEYS_COMMON; j < count; j++) {
            if (!op_key_is_of(&keys[j], op->kind) || keys[j].setting.type == SETTING_OPERATOR)
                continue;
            fprintf(stream, " %s=", keys[j].setting.path);
            setting_write(&keys[j].setting, op, stream);
        }
        if (op->tied > 0)
            fprintf(stream, " tie=%u", op->tied - 1);
        fprintf(stream, "%s\n", op->padding_same ? " same" : "");
    }
}

void model_spec_print(FILE *stream, enum settings_form form)
{
    size_t count;
    const struct op_key *keys = op_keys(&count);
    for (size_t i = 0; i < OP_KEYS_COMMON; i++)
        setting_print(stream, form, &keys[i].setting, keys[i].setting.path);
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        for (size_t i = OP_KEYS_COMMON; i < count; i++) {
            char name[64];
            snprintf(name, sizeof(name), "%s.%s", op_kind_name((enum op_kind)kind),
                     keys[i].setting.path);
            if (op_key_is_of(&keys[i], (enum op_kind)kind))
                setting_print(stream, form, &keys[i].setting, name);
        }
    }
}
