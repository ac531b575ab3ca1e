#include "common/document.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "common/file.h"
#include "common/utf8.h"

/* A struct document is a json_t under another name, so that jansson's stays in here. */
static struct document *outside(json_t *json)
{
    return (struct document *)json;
}

static json_t *inside(const struct document *document)
{
    return (json_t *)document;
}

struct document *document_object(void)
{
    return outside(json_object());
}

struct document *document_array(void)
{
    return outside(json_array());
}

/* Bytes of the UTF-8 character at a NUL-terminated text, 0 when there is none. */
static size_t character_bytes(const char *text)
{
    return utf8_character_bytes(text, strnlen(text, UTF8_BYTES_MAX));
}

static bool is_utf8(const char *text)
{
    for (size_t size_bytes; *text != '\0'; text += size_bytes)
        if ((size_bytes = character_bytes(text)) == 0)
            return false;
    return true;
}

/* A malloc'd copy in which each byte that belongs to no character is U+FFFD; NULL: no memory. */
static char *repair(const char *text)
{
    char *copy = malloc(3 * strlen(text) + 1), *next = copy;
    if (copy == NULL)
        return NULL;
    while (*text != '\0') {
        size_t size_bytes = character_bytes(text);
        const char *from = size_bytes == 0 ? "\xef\xbf\xbd" : text;
        size_t from_bytes = size_bytes == 0 ? 3 : size_bytes;
        memcpy(next, from, from_bytes);
        next += from_bytes;
        text += size_bytes == 0 ? 1 : size_bytes;
    }
    *next = '\0';
    return copy;
}

struct document *document_text(const char *text)
{
    if (is_utf8(text))
        return outside(json_string(text));
    char *copy = repair(text);
    json_t *json = copy == NULL ? NULL : json_string(copy);
    free(copy);
    return outside(json);
}

struct document *document_whole(int64_t value)
{
    return outside(json_integer(value));
}

struct document *document_real(double value)
{
    return outside(isfinite(value) ? json_real(value) : json_null());
}

struct document *document_truth(bool value)
{
    return outside(json_boolean(value));
}

struct document *document_null(void)
{
    return outside(json_null());
}

void document_destroy(struct document *document)
{
    json_decref(inside(document));
}

int document_put(struct document *object, const char *key, struct document *value)
{
    assert(object == NULL || document_is_object(object));
    assert(value == NULL || value != object);
    bool is_key_good = is_utf8(key);
    if (json_object_set_new(inside(object), key, inside(value)) == 0)
        return 0;
    return is_key_good ? ERR_NOMEM : ERR_INPUT;
}

int document_append(struct document *array, struct document *value)
{
    assert(array == NULL || document_is_array(array));
    assert(value == NULL || value != array);
    return json_array_append_new(inside(array), inside(value)) == 0 ? 0 : ERR_NOMEM;
}

/* What jansson will allocate follows from the nesting and the number of values: both are counted
 * first, by brackets and commas outside of texts. */
static int check_bounds(const char *bytes, size_t size_bytes, struct err_msg *why)
{
    size_t depth = 0, value_count = 1, line = 1;
    bool is_in_text = false;
    if (size_bytes > DOCUMENT_BYTES_MAX)
        return err_set(why, ERR_INPUT, "found %zu bytes, expected at most %d", size_bytes,
                       (int)DOCUMENT_BYTES_MAX);
    for (size_t i = 0; i < size_bytes; i++) {
        char c = bytes[i];
        line += c == '\n';
        if (c == '\0') /* after a number jansson would skip it */
            return err_set(why, ERR_INPUT, "line %zu: found a zero byte", line);
        if (is_in_text && c == '\\')
            i++;
        else if (c == '"')
            is_in_text = !is_in_text;
        if (is_in_text)
            continue;
        value_count += c == ',' || c == '[' || c == '{';
        depth += c == '[' || c == '{';
        depth -= (c == ']' || c == '}') && depth > 0;
        if (depth > DOCUMENT_DEPTH_MAX || value_count > DOCUMENT_VALUES_MAX)
            return err_set(why, ERR_INPUT, "line %zu: found more than %d %s", line,
                           depth > DOCUMENT_DEPTH_MAX ? DOCUMENT_DEPTH_MAX : DOCUMENT_VALUES_MAX,
                           depth > DOCUMENT_DEPTH_MAX ? "levels of nesting" : "values");
    }
    return 0;
}

/* Text of a stranger that goes into a sentence must not steer the reader's terminal. */
static void blank_control(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

int document_parse(const char *bytes, size_t size_bytes, struct document **document_out,
                   struct err_msg *why)
{
    int code = check_bounds(bytes, size_bytes, why);
    if (code != 0)
        return code;
    json_error_t error;
    json_t *json = json_loadb(bytes, size_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (json == NULL && json_error_code(&error) == json_error_out_of_memory)
        return err_set(why, ERR_NOMEM, "no memory to parse %zu bytes", size_bytes);
    if (json == NULL) {
        blank_control(error.text);
        return err_set(why, ERR_INPUT, "line %d, column %d: %s", error.line, error.column,
                       error.text);
    }
    *document_out = outside(json);
    return 0;
}

int document_load(const char *path, struct document **document_out, struct err_msg *why)
{
    char *bytes;
    size_t size_bytes;
    int code = file_read(path, DOCUMENT_BYTES_MAX, &bytes, &size_bytes, why);
    if (code != 0)
        return code;
    code = document_parse(bytes, size_bytes, document_out, why);
    free(bytes);
    return code == 0 ? 0 : err_prefix(why, code, "%s: ", path);
}

const struct document *document_get(const struct document *object, const char *key)
{
    return outside(json_object_get(inside(object), key));
}

size_t document_count(const struct document *document)
{
    return document_is_array(document) ? json_array_size(inside(document))
                                       : json_object_size(inside(document));
}

const struct document *document_at(const struct document *array, size_t idx)
{
    return outside(json_array_get(inside(array), idx));
}

const char *document_key_after(const struct document *object, const char *key)
{
    void *place = key == NULL ? json_object_iter(inside(object))
                              : json_object_iter_next(inside(object), json_object_key_to_iter(key));
    return json_object_iter_key(place);
}

bool document_is_object(const struct document *document)
{
    return json_is_object(inside(document));
}

bool document_is_array(const struct document *document)
{
    return json_is_array(inside(document));
}

bool document_is_null(const struct document *document)
{
    return json_is_null(inside(document));
}

enum { DESCRIPTION_BYTES = 64 };

static void describe(const json_t *json, char text_out[DESCRIPTION_BYTES])
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a text",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    if (json == NULL)
        snprintf(text_out, DESCRIPTION_BYTES, "nothing");
    else if (json_is_string(json))
        snprintf(text_out, DESCRIPTION_BYTES, "\"%.40s\"", json_string_value(json));
    else if (json_is_integer(json))
        snprintf(text_out, DESCRIPTION_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
    else if (json_is_real(json))
        snprintf(text_out, DESCRIPTION_BYTES, "%.17g", json_real_value(json));
    else
        snprintf(text_out, DESCRIPTION_BYTES, "%s", names[json_typeof(json)]);
    blank_control(text_out);
}

static int refuse(const struct document *value, const char *name, const char *expected,
                  struct err_msg *why)
{
    char found[DESCRIPTION_BYTES];
    describe(inside(value), found);
    return err_set(why, ERR_INPUT, "\"%.100s\": found %s, expected %s", name, found, expected);
}

int document_as_text(const struct document *value, const char *name, const char **out,
                     struct err_msg *why)
{
    if (!json_is_string(inside(value)))
        return refuse(value, name, "a text", why);
    *out = json_string_value(inside(value));
    return 0;
}

int document_as_whole(const struct document *value, const char *name, int64_t *out,
                      struct err_msg *why)
{
    if (!json_is_integer(inside(value)))
        return refuse(value, name, "a whole number", why);
    *out = json_integer_value(inside(value));
    return 0;
}

int document_as_real(const struct document *value, const char *name, double *out,
                     struct err_msg *why)
{
    if (!json_is_number(inside(value)) && !json_is_null(inside(value)))
        return refuse(value, name, "a number", why);
    *out = json_is_null(inside(value)) ? NAN : json_number_value(inside(value));
    return 0;
}

int document_as_truth(const struct document *value, const char *name, bool *out,
                      struct err_msg *why)
{
    if (!json_is_boolean(inside(value)))
        return refuse(value, name, "true or false", why);
    *out = json_is_true(inside(value));
    return 0;
}

int document_get_text(const struct document *object, const char *key, const char **out,
                      struct err_msg *why)
{
    return document_as_text(document_get(object, key), key, out, why);
}

int document_get_whole(const struct document *object, const char *key, int64_t *out,
                       struct err_msg *why)
{
    return document_as_whole(document_get(object, key), key, out, why);
}

int document_get_real(const struct document *object, const char *key, double *out,
                      struct err_msg *why)
{
    return document_as_real(document_get(object, key), key, out, why);
}

int document_get_truth(const struct document *object, const char *key, bool *out,
                       struct err_msg *why)
{
    return document_as_truth(document_get(object, key), key, out, why);
}

enum { INDENT = 2, ONE_LINE = -1 };

/* The fewest digits that read back to value; 15 always say a number that a person typed with 15. */
static size_t digits_of(double value)
{
    char text[40];
    for (size_t digits = 15; digits < 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", (int)digits, value);
        if (strtod(text, NULL) == value)
            return digits;
    }
    return 17;
}

static int print_scalar(const json_t *json, FILE *stream)
{
    size_t flags = JSON_ENCODE_ANY;
    if (json_is_real(json))
        flags |= (size_t)JSON_REAL_PRECISION(digits_of(json_real_value(json)));
    return json_dumpf(json, stream, flags);
}

static int print_key(const char *key, FILE *stream)
{
    json_t *text = json_string(key);
    int code = text == NULL ? -1 : json_dumpf(text, stream, JSON_ENCODE_ANY);
    json_decref(text);
    fputs(": ", stream);
    return code;
}

static bool is_container(const json_t *json)
{
    return json_is_object(json) || json_is_array(json);
}

static bool has_container(const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (is_container(json_array_get(array, i)))
            return true;
    return false;
}

/* What stands between members; indent: spaces before the next, or ONE_LINE. */
static void print_gap(bool is_first, int indent, FILE *stream)
{
    if (!is_first)
        fputc(',', stream);
    if (indent >= 0)
        fprintf(stream, "\n%*s", indent, "");
    else if (!is_first)
        fputc(' ', stream);
}

static int print_value(json_t *json, int indent, FILE *stream);

static int print_object(json_t *object, int indent, FILE *stream)
{
    int inner = indent < 0 ? ONE_LINE : indent + INDENT, code = 0;
    void *first = json_object_iter(object);
    fputc('{', stream);
    for (void *i = first; i != NULL && code == 0; i = json_object_iter_next(object, i)) {
        print_gap(i == first, inner, stream);
        code = print_key(json_object_iter_key(i), stream);
        if (code == 0)
            code = print_value(json_object_iter_value(i), inner, stream);
    }
    if (first != NULL && indent >= 0)
        fprintf(stream, "\n%*s", indent, "");
    fputc('}', stream);
    return code;
}

static int print_array(json_t *array, int indent, FILE *stream)
{
    if (!has_container(array))
        indent = ONE_LINE; /* a shape or a list of names stays on its line */
    int inner = indent < 0 ? ONE_LINE : indent + INDENT, code = 0;
    fputc('[', stream);
    for (size_t i = 0; i < json_array_size(array) && code == 0; i++) {
        print_gap(i == 0, inner, stream);
        code = print_value(json_array_get(array, i), inner, stream);
    }
    if (indent >= 0)
        fprintf(stream, "\n%*s", indent, "");
    fputc(']', stream);
    return code;
}

static int print_value(json_t *json, int indent, FILE *stream)
{
    if (json_is_object(json))
        return print_object(json, indent, stream);
    if (json_is_array(json))
        return print_array(json, indent, stream);
    return print_scalar(json, stream);
}

/* NULL: out of memory, the only way for a stream in memory to fail. */
static char *print_text(const struct document *document, bool is_pretty, size_t *size_out)
{
    char *text = NULL;
    FILE *stream = open_memstream(&text, size_out);
    if (stream == NULL)
        return NULL;
    int code = print_value(inside(document), is_pretty ? 0 : ONE_LINE, stream);
    if (is_pretty)
        fputc('\n', stream);
    bool has_failed = ferror(stream) != 0;
    if (fclose(stream) != 0 || has_failed || code != 0) {
        free(text);
        return NULL;
    }
    return text;
}

char *document_print(const struct document *document, bool is_pretty)
{
    size_t size_bytes;
    return print_text(document, is_pretty, &size_bytes);
}

int document_show(const struct document *document, FILE *stream)
{
    char *text = document == NULL ? NULL : document_print(document, true);
    if (text == NULL)
        return ERR_NOMEM;
    fputs(text, stream);
    free(text);
    return 0;
}

int document_save(const struct document *document, const char *path, struct err_msg *why)
{
    size_t size_bytes;
    char *text = print_text(document, true, &size_bytes);
    if (text == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory to print it", path);
    int code = file_replace(path, text, size_bytes, why);
    free(text);
    return code;
}
