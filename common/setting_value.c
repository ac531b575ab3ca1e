#include "common/setting_value.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/nearest.h"

enum { TEXT_BYTES = 512, WORD_BYTES = 48 };

static void *field_of(const struct setting *setting, void *base)
{
    return (char *)base + setting->offset;
}

int setting_refuse(const struct value_place *place, const struct job_value *value,
                   struct err_msg *why, const char *format, ...)
{
    char where[TEXT_BYTES], text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    jobfile_place(place->file, value, where, sizeof(where));
    return err_set(why, ERR_INPUT, "%s: %s: %s", where, place->path, text);
}

/* The sentence for a value that its row does not allow. */
static int refuse_value(const struct setting *setting, const struct job_value *value,
                        const struct value_place *place, struct err_msg *why)
{
    char found[TEXT_BYTES], expected[TEXT_BYTES], meant[WORD_BYTES + 32] = "";
    job_value_describe(value, found, sizeof(found));
    setting_expected(setting, expected, sizeof(expected));
    if (setting->type == SETTING_CHOICE && value->kind == JOB_TEXT) {
        struct nearest nearest = {.word = value->text};
        char words[64][WORD_BYTES];
        for (int i = 0; i < (int)ARRAY_LEN(words); i++) {
            setting_choice_word(setting, i, words[i], sizeof(words[i]));
            if (words[i][0] == '\0')
                break;
            nearest_offer(&nearest, words[i]);
        }
        if (nearest_word(&nearest) != NULL)
            snprintf(meant, sizeof(meant), "; did you mean \"%s\"?", nearest_word(&nearest));
    }
    return setting_refuse(place, value, why, "found %s, expected %s%s", found, expected, meant);
}

static bool is_number(const struct job_value *value)
{
    return value->kind == JOB_WHOLE || value->kind == JOB_REAL;
}

/* Also false for a number that is not one. */
static bool is_in_range(const struct setting *setting, double number)
{
    return number >= setting->min && number <= setting->max;
}

static bool keep_whole(const struct setting *setting, void *field, const struct job_value *value)
{
    if (value->kind != JOB_WHOLE || value->whole < 0 || !is_in_range(setting, value->real))
        return false;
    if (setting->type == SETTING_U64) {
        *(uint64_t *)field = (uint64_t)value->whole;
        return true;
    }
    *(uint32_t *)field = (uint32_t)value->whole; /* the row's max is below 2^32 */
    return true;
}

static bool keep_real(const struct setting *setting, void *field, const struct job_value *value)
{
    if (!is_number(value) || !is_in_range(setting, value->real))
        return false;
    if (setting->type == SETTING_FLOAT)
        *(float *)field = (float)value->real;
    else
        *(double *)field = value->real;
    return true;
}

static bool keep_choice(const struct setting *setting, void *field, const struct job_value *value)
{
    int choice_idx = value->kind == JOB_TEXT ? setting_choice_find(setting, value->text) : -1;
    if (choice_idx >= 0)
        *(int *)field = choice_idx; /* an enum of non-negative values has the form of an int */
    return choice_idx >= 0;
}

static bool keep_pair(const struct setting *setting, uint32_t *pair, const struct job_value *value)
{
    if (setting->type == SETTING_PADDING && value->kind == JOB_TEXT) {
        pair[0] = pair[1] = PADDING_SAME;
        return strcmp(value->text, "same") == 0;
    }
    if (value->kind == JOB_WHOLE)
        return keep_whole(setting, &pair[0], value) && keep_whole(setting, &pair[1], value);
    return value->kind == JOB_LIST && value->count == 2 &&
           keep_whole(setting, &pair[0], &value->items[0]) &&
           keep_whole(setting, &pair[1], &value->items[1]);
}

/* Malloc'd text of a text, or of a column's number; NULL and ok_out = false if it is neither. */
static char *text_of(const struct setting *setting, const struct job_value *value, bool *ok_out)
{
    bool takes_number = setting->type == SETTING_COLUMN || setting->type == SETTING_COLUMNS;
    char *text = NULL;
    *ok_out = true;
    if (value->kind == JOB_TEXT)
        return strdup(value->text);
    if (value->raw != NULL) /* --set job.name=7: a text all the same */
        return strdup(value->raw);
    if (takes_number && value->kind == JOB_WHOLE && value->whole >= 0)
        return asprintf(&text, "%lld", (long long)value->whole) < 0 ? NULL : text;
    *ok_out = false;
    return NULL;
}

static int keep_text(const struct setting *setting, char **field, const struct job_value *value,
                     bool *ok_out)
{
    char *text = text_of(setting, value, ok_out);
    if (!*ok_out)
        return 0;
    if (text == NULL)
        return ERR_NOMEM;
    free(*field);
    *field = text;
    return 0;
}

static int keep_texts(const struct setting *setting, struct text_list *field,
                      const struct job_value *value, bool *ok_out)
{
    *ok_out = value->kind == JOB_LIST;
    if (!*ok_out)
        return 0;
    struct text_list list = {.items = calloc(value->count + 1, sizeof(*list.items))};
    int err = list.items == NULL ? ERR_NOMEM : 0;
    for (size_t i = 0; err == 0 && *ok_out && i < value->count; i++) {
        list.items[i] = text_of(setting, &value->items[i], ok_out);
        err = *ok_out && list.items[i] == NULL ? ERR_NOMEM : 0;
        list.count = i + 1;
    }
    struct text_list spent = list; /* of the two lists, the one to free */
    if (err == 0 && *ok_out) {
        spent = *field;
        *field = list;
    }
    for (size_t i = 0; i < spent.count; i++)
        free(spent.items[i]);
    free(spent.items);
    return err;
}

static int keep_reals(const struct setting *setting, struct real_list *field,
                      const struct job_value *value, bool *ok_out)
{
    *ok_out = value->kind == JOB_LIST;
    for (size_t i = 0; *ok_out && i < value->count; i++)
        *ok_out = is_number(&value->items[i]) && is_in_range(setting, value->items[i].real);
    if (!*ok_out)
        return 0;
    double *items = calloc(value->count + 1, sizeof(*items));
    if (items == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < value->count; i++)
        items[i] = value->items[i].real;
    free(field->items);
    *field = (struct real_list){.count = value->count, .items = items};
    return 0;
}

static int keep_value(const struct setting *setting, void *field, const struct job_value *value,
                      bool *ok_out)
{
    switch (setting->type) {
    case SETTING_U32:
    case SETTING_U64:
        *ok_out = keep_whole(setting, field, value);
        return 0;
    case SETTING_REAL:
    case SETTING_FLOAT:
        *ok_out = keep_real(setting, field, value);
        return 0;
    case SETTING_BOOL:
        *ok_out = value->kind == JOB_BOOL;
        if (*ok_out)
            *(bool *)field = value->truth;
        return 0;
    case SETTING_CHOICE:
        *ok_out = keep_choice(setting, field, value);
        return 0;
    case SETTING_PAIR:
    case SETTING_PADDING:
        *ok_out = keep_pair(setting, field, value);
        return 0;
    case SETTING_TEXT:
    case SETTING_PATH:
    case SETTING_COLUMN:
        return keep_text(setting, field, value, ok_out);
    case SETTING_COLUMNS:
    case SETTING_TEXTS:
        return keep_texts(setting, field, value, ok_out);
    case SETTING_REALS:
        return keep_reals(setting, field, value, ok_out);
    case SETTING_NAME:
    case SETTING_INPUTS:
    case SETTING_OPERATOR:
    case SETTING_OPERATORS:
        break;
    }
    assert(false); /* model_spec reads these itself */
    return 0;
}

int setting_assign(const struct setting *setting, void *base, const struct job_value *value,
                   const struct value_place *place, struct err_msg *why)
{
    bool is_allowed = false;
    int err = keep_value(setting, field_of(setting, base), value, &is_allowed);
    if (err != 0)
        return err_set(why, err, "%s: out of memory", place->path);
    return is_allowed ? 0 : refuse_value(setting, value, place, why);
}

int setting_assign_initial(const struct setting *setting, void *base)
{
    const char *initial = setting->initial;
    struct job_value value = {.kind = JOB_TEXT, .text = initial};
    switch (setting->type) {
    case SETTING_U32:
    case SETTING_U64:
    case SETTING_PAIR:
    case SETTING_PADDING:
        value.kind = JOB_WHOLE;
        value.whole = strtoll(initial, NULL, 10);
        value.real = (double)value.whole;
        break;
    case SETTING_REAL:
    case SETTING_FLOAT:
        value.kind = JOB_REAL;
        value.real = strtod(initial, NULL);
        break;
    case SETTING_BOOL:
        value.kind = JOB_BOOL;
        value.truth = strcmp(initial, "true") == 0;
        break;
    case SETTING_COLUMNS:
    case SETTING_TEXTS:
    case SETTING_REALS:
        value.kind = JOB_LIST; /* empty: no row starts with items */
        break;
    default:
        break;
    }
    bool is_allowed = false;
    int err = keep_value(setting, field_of(setting, base), &value, &is_allowed);
    assert(err != 0 || is_allowed); /* else the table contradicts itself */
    return err;
}

void setting_release(const struct setting *setting, void *base)
{
    void *field = field_of(setting, base);
    if (setting->type == SETTING_TEXT || setting->type == SETTING_PATH ||
        setting->type == SETTING_COLUMN) {
        free(*(char **)field);
        *(char **)field = NULL;
    } else if (setting->type == SETTING_COLUMNS || setting->type == SETTING_TEXTS) {
        struct text_list *list = field;
        for (size_t i = 0; i < list->count; i++)
            free(list->items[i]);
        free(list->items);
        *list = (struct text_list){0};
    } else if (setting->type == SETTING_REALS) {
        struct real_list *list = field;
        free(list->items);
        *list = (struct real_list){0};
    }
}
