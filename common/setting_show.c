#include "common/setting_show.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include "common/document.h"

static const void *field_of(const struct setting *setting, const void *base)
{
    return (const char *)base + setting->offset;
}

static const char *choice_of(const struct setting *setting, const void *field, char word_out[64])
{
    setting_choice_word(setting, *(const int *)field, word_out, 64);
    return word_out;
}

/* Adds value to the array, which is destroyed when that fails; returns the array or NULL. */
static struct document *append(struct document *array, struct document *value)
{
    if (array == NULL) {
        document_destroy(value);
        return NULL;
    }
    if (document_append(array, value) == 0)
        return array;
    document_destroy(array);
    return NULL;
}

static struct document *list_document(const struct setting *setting, const void *field)
{
    struct document *array = document_array();
    if (setting->type == SETTING_COLUMNS || setting->type == SETTING_TEXTS) {
        const struct text_list *list = field;
        for (size_t i = 0; array != NULL && i < list->count; i++)
            array = append(array, document_text(list->items[i]));
    } else if (setting->type == SETTING_REALS) {
        const struct real_list *list = field;
        for (size_t i = 0; array != NULL && i < list->count; i++)
            array = append(array, document_real(list->items[i]));
    } else {
        const uint32_t *pair = field;
        array = append(append(array, document_whole(pair[0])), document_whole(pair[1]));
    }
    return array;
}

struct document *setting_document(const struct setting *setting, const void *base)
{
    const void *field = field_of(setting, base);
    char word[64];
    switch (setting->type) {
    case SETTING_U32:
        return document_whole(*(const uint32_t *)field);
    case SETTING_U64:
        return document_whole((int64_t) * (const uint64_t *)field); /* every row's max fits */
    case SETTING_REAL:
        return document_real(*(const double *)field);
    case SETTING_FLOAT:
        return document_real((double)*(const float *)field);
    case SETTING_BOOL:
        return document_truth(*(const bool *)field);
    case SETTING_CHOICE:
        return document_text(choice_of(setting, field, word));
    case SETTING_TEXT:
    case SETTING_PATH:
    case SETTING_COLUMN:
        return document_text(*(char *const *)field);
    case SETTING_COLUMNS:
    case SETTING_TEXTS:
    case SETTING_REALS:
    case SETTING_PAIR:
    case SETTING_PADDING:
        return list_document(setting, field);
    case SETTING_NAME:
        return document_text(field);
    case SETTING_INPUTS:
    case SETTING_OPERATOR:
    case SETTING_OPERATORS:
        break;
    }
    return document_null();
}

static void write_text(const char *text, FILE *stream)
{
    fprintf(stream, "%zu:%s", strlen(text), text);
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static void write_list(const struct setting *setting, const void *field, FILE *stream)
{
    if (setting->type == SETTING_COLUMNS || setting->type == SETTING_TEXTS) {
        const struct text_list *list = field;
        for (size_t i = 0; i < list->count; i++)
            write_text(list->items[i], stream);
    } else if (setting->type == SETTING_REALS) {
        const struct real_list *list = field;
        for (size_t i = 0; i < list->count; i++)
            fprintf(stream, "%a ", list->items[i]);
    } else {
        const uint32_t *pair = field;
        fprintf(stream, "%" PRIu32 " %" PRIu32, pair[0], pair[1]);
    }
}

void setting_write(const struct setting *setting, const void *base, FILE *stream)
{
    const void *field = field_of(setting, base);
    char word[64];
    switch (setting->type) {
    case SETTING_U32:
        fprintf(stream, "%" PRIu32, *(const uint32_t *)field);
        break;
    case SETTING_U64:
        fprintf(stream, "%" PRIu64, *(const uint64_t *)field);
        break;
    case SETTING_REAL:
        fprintf(stream, "%a", *(const double *)field);
        break;
    case SETTING_FLOAT:
        fprintf(stream, "%a", (double)*(const float *)field);
        break;
    case SETTING_BOOL:
        fputs(*(const bool *)field ? "true" : "false", stream);
        break;
    case SETTING_CHOICE:
        fputs(choice_of(setting, field, word), stream);
        break;
    case SETTING_TEXT:
    case SETTING_COLUMN:
        write_text(*(char *const *)field, stream);
        break;
    case SETTING_PATH:
        write_text(file_name(*(char *const *)field), stream);
        break;
    case SETTING_COLUMNS:
    case SETTING_TEXTS:
    case SETTING_REALS:
    case SETTING_PAIR:
    case SETTING_PADDING:
        write_list(setting, field, stream);
        break;
    case SETTING_NAME:
    case SETTING_INPUTS:
    case SETTING_OPERATOR:
    case SETTING_OPERATORS:
        break;
    }
}
