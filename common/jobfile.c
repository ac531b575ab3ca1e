#include "common/jobfile.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/arena.h"

enum {
    FILE_BYTES_MAX = 1 << 20,
    DEPTH_MAX = 32,
    ARENA_FIRST_BYTES = 16 << 10,
    ARENA_LIMIT_BYTES = 256 << 20, /* a file of FILE_BYTES_MAX bytes has 2^19 values at most */
    SHOWN_BYTES = 60               /* of a text in a message */
};

struct jobfile {
    struct arena *arena;
    char *name;
    bool is_set;
    const struct job_value *root;
};

/* The text on its way to libconfig. */
struct scan {
    const char *name;
    const char *at, *end; /* what is left of the source */
    char *copy;           /* what libconfig gets: twice the source and 3 bytes are enough */
    size_t copy_bytes;
    int line;
    int depth;
    char open[DEPTH_MAX + 1]; /* the brackets not closed yet, outermost first */
    char last;                /* last character of the last token; 0 before the first */
};

static void keep(struct scan *scan, const char *end)
{
    for (; scan->at < end; scan->at++) {
        scan->line += *scan->at == '\n';
        scan->copy[scan->copy_bytes++] = *scan->at;
    }
}

/* Behind the next mark, or NULL. */
static const char *find_end(const struct scan *scan, const char *from, const char *mark)
{
    size_t bytes = strlen(mark);
    const char *found = memmem(from, (size_t)(scan->end - from), mark, bytes);
    return found == NULL ? NULL : found + bytes;
}

static const char *string_end(const struct scan *scan)
{
    const char *at = scan->at + 1;
    while (at < scan->end && *at != '"')
        at += *at == '\\' && at + 1 < scan->end ? 2 : 1;
    return at < scan->end ? at + 1 : NULL;
}

static const char *name_end(const struct scan *scan)
{
    const char *at = scan->at;
    while (at < scan->end &&
           (isalnum((unsigned char)*at) || *at == '_' || *at == '-' || *at == '*'))
        at++;
    return at;
}

static bool is_hex(const char *digits)
{
    return digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
}

static const char *number_end(const struct scan *scan)
{
    const char *at = scan->at + (*scan->at == '+' || *scan->at == '-');
    bool has_exponent = !is_hex(at); /* at < end or at the NUL behind it */
    for (; at < scan->end; at++) {
        bool is_sign = (*at == '+' || *at == '-') && has_exponent && tolower(at[-1]) == 'e' &&
                       at - 1 > scan->at;
        if (!isalnum((unsigned char)*at) && *at != '.' && !is_sign)
            break;
    }
    return at;
}

/* libconfig keeps 32 bits of a whole number unless it ends in L: give it the L. */
static int keep_number(struct scan *scan, struct err_msg *why)
{
    const char *begin = scan->at, *end = number_end(scan);
    const char *digits = begin + (*begin == '+' || *begin == '-');
    bool has_hex = is_hex(digits);
    const char *at = digits + (has_hex ? 2 : 0);
    while (at < end && (has_hex ? isxdigit((unsigned char)*at) : isdigit((unsigned char)*at)))
        at++;
    bool has_suffix = at < end && *at == 'L' && (end - at == 1 || (end - at == 2 && at[1] == 'L'));
    bool is_whole = at > digits && (at == end || has_suffix);
    errno = 0;
    if (is_whole && has_hex && (strtoull(digits, NULL, 16) > INT64_MAX || errno != 0))
        errno = ERANGE;
    else if (is_whole && !has_hex)
        (void)strtoll(begin, NULL, 10);
    if (is_whole && errno != 0)
        return err_set(why, ERR_INPUT,
                       "%s:%d: found the whole number %.*s, which does not fit 64 bits", scan->name,
                       scan->line, (int)(end - begin < 40 ? end - begin : 40), begin);
    keep(scan, end);
    if (is_whole && !has_suffix)
        scan->copy[scan->copy_bytes++] = 'L';
    return 0;
}

static int keep_closed(struct scan *scan, const char *end, const char *what, struct err_msg *why)
{
    if (end == NULL)
        return err_set(why, ERR_INPUT, "%s:%d: the %s that begins here has no end", scan->name,
                       scan->line, what);
    keep(scan, end);
    return 0;
}

/* libconfig leaks a text that its grammar does not expect: these do not get there. */
static int keep_string(struct scan *scan, struct err_msg *why)
{
    bool is_in_list = scan->depth > 0 && scan->open[scan->depth - 1] != '{';
    bool is_expected = scan->last != '\0' &&
                       (strchr("=:([\"", scan->last) != NULL || (scan->last == ',' && is_in_list));
    if (!is_expected)
        return err_set(why, ERR_INPUT,
                       "%s:%d: found a text in quotes where a setting's name, or a value's end, "
                       "should be",
                       scan->name, scan->line);
    return keep_closed(scan, string_end(scan), "text", why);
}

static int keep_bracket(struct scan *scan, struct err_msg *why)
{
    if (strchr("{([", *scan->at) == NULL)
        scan->depth -= scan->depth > 0;
    else if (scan->depth == DEPTH_MAX)
        return err_set(why, ERR_INPUT, "%s:%d: brackets are nested deeper than %d", scan->name,
                       scan->line, DEPTH_MAX);
    else
        scan->open[scan->depth++] = *scan->at;
    keep(scan, scan->at + 1);
    return 0;
}

/* Keeps a comment or a space, which no grammar sees, and says whether there was one. */
static int keep_blank(struct scan *scan, bool *is_blank_out, struct err_msg *why)
{
    const char *at = scan->at;
    char next = at + 1 < scan->end ? at[1] : '\0';
    *is_blank_out = true;
    if (*at == '#' || (*at == '/' && next == '/')) {
        const char *end = find_end(scan, at, "\n");
        keep(scan, end == NULL ? scan->end : end);
        return 0;
    }
    if (*at == '/' && next == '*')
        return keep_closed(scan, find_end(scan, at + 2, "*/"), "comment", why);
    *is_blank_out = isspace((unsigned char)*at) != 0;
    if (*is_blank_out)
        keep(scan, at + 1);
    return 0;
}

static int keep_token(struct scan *scan, struct err_msg *why)
{
    const char *at = scan->at;
    if (*at == '"')
        return keep_string(scan, why);
    if (isdigit((unsigned char)*at) || strchr(".+-", *at) != NULL)
        return keep_number(scan, why);
    if (*at == '@')
        return err_set(why, ERR_INPUT, "%s:%d: found @, and a job file cannot include another",
                       scan->name, scan->line);
    if (strchr("{}()[]", *at) != NULL)
        return keep_bracket(scan, why);
    keep(scan, isalpha((unsigned char)*at) || *at == '*' ? name_end(scan) : at + 1);
    return 0;
}

/* text: closed by a NUL.  copy_out: malloc'd text for libconfig. */
static int prepare(const char *name, const char *text, size_t bytes, char **copy_out,
                   struct err_msg *why)
{
    if (bytes > FILE_BYTES_MAX)
        return err_set(why, ERR_INPUT, "%s: longer than %d bytes, which no job file is", name,
                       FILE_BYTES_MAX);
    if (memchr(text, '\0', bytes) != NULL)
        return err_set(why, ERR_INPUT, "%s: found a zero byte; a job file is text", name);
    struct scan scan = {.name = name, .at = text, .end = text + bytes, .line = 1};
    scan.copy = malloc(2 * bytes + 3);
    if (scan.copy == NULL)
        return err_set(why, ERR_NOMEM, "%s: out of memory", name);
    while (scan.at < scan.end) {
        bool is_blank = false;
        int err = keep_blank(&scan, &is_blank, why);
        if (err == 0 && !is_blank) {
            err = keep_token(&scan, why);
            scan.last = err == 0 ? scan.at[-1] : '\0';
        }
        if (err != 0) {
            free(scan.copy);
            return err;
        }
    }
    scan.copy[scan.copy_bytes++] = '\n'; /* a comment may end the file without one */
    scan.copy[scan.copy_bytes] = '\0';
    *copy_out = scan.copy;
    return 0;
}

static const char *copy_text(struct jobfile *file, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = arena_take(file->arena, bytes);
    return copy == NULL ? NULL : memcpy(copy, text, bytes);
}

static enum job_value_kind kind_of(const config_setting_t *from)
{
    switch (config_setting_type(from)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return JOB_WHOLE;
    case CONFIG_TYPE_FLOAT:
        return JOB_REAL;
    case CONFIG_TYPE_BOOL:
        return JOB_BOOL;
    case CONFIG_TYPE_STRING:
        return JOB_TEXT;
    case CONFIG_TYPE_GROUP:
        return JOB_GROUP;
    default:
        return JOB_LIST;
    }
}

/* Recursion is bounded: prepare refuses deep nesting. */
static int copy_value(struct jobfile *file, config_setting_t *from, struct job_value *to)
{
    to->kind = kind_of(from);
    to->line = (int)config_setting_source_line(from);
    if (config_setting_name(from) != NULL &&
        (to->key = copy_text(file, config_setting_name(from))) == NULL)
        return ERR_NOMEM;
    if (to->kind == JOB_WHOLE) {
        to->whole = config_setting_get_int64(from);
        to->real = (double)to->whole;
    } else if (to->kind == JOB_REAL) {
        to->real = config_setting_get_float(from);
    } else if (to->kind == JOB_BOOL) {
        to->truth = config_setting_get_bool(from) != 0;
    } else if (to->kind == JOB_TEXT) {
        const char *text = config_setting_get_string(from);
        to->text = copy_text(file, text == NULL ? "" : text);
        return to->text == NULL ? ERR_NOMEM : 0;
    } else {
        to->count = (size_t)config_setting_length(from);
        struct job_value *items = arena_take(file->arena, (to->count + 1) * sizeof(*items));
        if (items == NULL)
            return ERR_NOMEM;
        to->items = items;
        for (size_t i = 0; i < to->count; i++) {
            int err = copy_value(file, config_setting_get_elem(from, (unsigned)i), &items[i]);
            if (err != 0)
                return err;
        }
    }
    return 0;
}

static int create_file(const char *name, struct jobfile **file_out)
{
    struct jobfile *file = calloc(1, sizeof(*file));
    if (file == NULL)
        return ERR_NOMEM;
    file->name = strdup(name);
    int err = arena_create(ARENA_FIRST_BYTES, ARENA_LIMIT_BYTES, &file->arena);
    if (err != 0 || file->name == NULL) {
        jobfile_destroy(file);
        return ERR_NOMEM;
    }
    *file_out = file;
    return 0;
}

static int parse_copy(struct jobfile *file, const char *copy, struct err_msg *why)
{
    config_t config;
    config_init(&config);
    config_set_include_dir(&config, "/dev/null"); /* a second lock on @include */
    int err = 0;
    if (config_read_string(&config, copy) != CONFIG_TRUE) {
        err = err_set(why, ERR_INPUT, "%s:%d: %s", file->name, config_error_line(&config),
                      config_error_text(&config));
    } else {
        struct job_value *root = arena_take(file->arena, sizeof(*root));
        err = root == NULL ? ERR_NOMEM : copy_value(file, config_root_setting(&config), root);
        file->root = root;
        if (err != 0)
            err = err_set(why, err, "%s: out of memory", file->name);
    }
    config_destroy(&config);
    return err;
}

int jobfile_parse(const char *name, const char *text, size_t bytes, struct jobfile **file_out,
                  struct err_msg *why)
{
    char *copy = NULL;
    int err = prepare(name, text, bytes, &copy, why);
    if (err != 0)
        return err;
    struct jobfile *file = NULL;
    err = create_file(name, &file);
    if (err != 0)
        err = err_set(why, err, "%s: out of memory", name);
    else
        err = parse_copy(file, copy, why);
    free(copy);
    if (err != 0) {
        jobfile_destroy(file);
        return err;
    }
    *file_out = file;
    return 0;
}

int jobfile_load(const char *path, struct jobfile **file_out, struct err_msg *why)
{
    int err = 0;
    char *text = malloc(FILE_BYTES_MAX + 2);
    if (text == NULL)
        return err_set(why, ERR_NOMEM, "%s: out of memory", path);
    FILE *stream = fopen(path, "rbe");
    if (stream == NULL) {
        err = err_set(why, ERR_IO, "%s: cannot open the job file: %s", path, strerror(errno));
        goto done;
    }
    size_t bytes = fread(text, 1, FILE_BYTES_MAX + 1, stream);
    text[bytes] = '\0';
    if (ferror(stream))
        err = err_set(why, ERR_IO, "%s: cannot read the job file: %s", path, strerror(errno));
    else
        err = jobfile_parse(path, text, bytes, file_out, why);
    fclose(stream);
done:
    free(text);
    return err;
}

/* The one value of "value = TEXT;", or NULL when TEXT is not one value. */
static const struct job_value *parse_one(const char *text, struct jobfile **file_out)
{
    char *line = NULL;
    int bytes = asprintf(&line, "value = %s;", text);
    if (bytes < 0)
        return NULL;
    int err = jobfile_parse("--set", line, (size_t)bytes, file_out, NULL);
    free(line);
    if (err != 0 || (*file_out)->root->count != 1)
        return NULL;
    return &(*file_out)->root->items[0];
}

int jobfile_parse_set(const char *text, struct jobfile **file_out)
{
    struct jobfile *file = NULL;
    const struct job_value *parsed = parse_one(text, &file);
    struct job_value value = {.kind = JOB_TEXT};
    if (parsed != NULL) {
        value = *parsed;
    } else {
        jobfile_destroy(file);
        int err = create_file("--set", &file);
        if (err != 0)
            return err;
    }
    struct job_value *root = arena_take(file->arena, sizeof(*root));
    value.raw = copy_text(file, text);
    if (root == NULL || value.raw == NULL) {
        jobfile_destroy(file);
        return ERR_NOMEM;
    }
    if (parsed == NULL)
        value.text = value.raw;
    *root = value;
    file->root = root;
    file->is_set = true;
    *file_out = file;
    return 0;
}

void jobfile_destroy(struct jobfile *file)
{
    if (file == NULL)
        return;
    arena_destroy(file->arena);
    free(file->name);
    free(file);
}

const struct job_value *jobfile_root(const struct jobfile *file)
{
    return file->root;
}

bool jobfile_is_set(const struct jobfile *file)
{
    return file->is_set;
}

void jobfile_place(const struct jobfile *file, const struct job_value *value, char *text_out,
                   size_t bytes)
{
    if (file->is_set)
        snprintf(text_out, bytes, "from --set");
    else if (value == NULL || value->line < 1)
        snprintf(text_out, bytes, "%s", file->name);
    else
        snprintf(text_out, bytes, "%s:%d", file->name, value->line);
}

static void describe_text(const char *text, char *text_out, size_t bytes)
{
    char shown[SHOWN_BYTES + 1];
    size_t count = 0;
    for (; count < SHOWN_BYTES && text[count] != '\0'; count++)
        shown[count] = iscntrl((unsigned char)text[count]) ? '?' : text[count];
    shown[count] = '\0';
    snprintf(text_out, bytes, "the text \"%s%s\"", shown, text[count] == '\0' ? "" : "...");
}

void job_value_describe(const struct job_value *value, char *text_out, size_t bytes)
{
    switch (value->kind) {
    case JOB_WHOLE:
        snprintf(text_out, bytes, "the whole number %" PRId64, value->whole);
        break;
    case JOB_REAL:
        snprintf(text_out, bytes, "the real number %.15g", value->real);
        break;
    case JOB_BOOL:
        snprintf(text_out, bytes, "%s", value->truth ? "true" : "false");
        break;
    case JOB_TEXT:
        describe_text(value->text, text_out, bytes);
        break;
    case JOB_LIST:
        snprintf(text_out, bytes, value->count == 0 ? "an empty list" : "a list");
        break;
    case JOB_GROUP:
        snprintf(text_out, bytes, "a group { }");
        break;
    }
}
