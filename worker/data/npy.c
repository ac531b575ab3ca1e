#include "worker/data/npy.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char magic_text[NPY_MAGIC_BYTES + 1] = "\x93NUMPY";
static const char *const descrs[] = {[ROWS_U8] = "|u1",
                                     [ROWS_U16] = "<u2",
                                     [ROWS_I32] = "<i4",
                                     [ROWS_I64] = "<i8",
                                     [ROWS_F32] = "<f4",
                                     [ROWS_F64] = "<f8"};

/* What is left to read of the header's dictionary. */
struct cursor {
    const char *at, *end;
    const char *path;
    struct err_msg *why;
};

bool npy_is_magic(const unsigned char *bytes, size_t size_bytes)
{
    return size_bytes >= NPY_MAGIC_BYTES && memcmp(bytes, magic_text, NPY_MAGIC_BYTES) == 0;
}

const char *npy_descr(enum rows_type type)
{
    return descrs[type];
}

static void skip_blanks(struct cursor *cursor)
{
    while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at) && *cursor->at)
        cursor->at++;
}

static bool take(struct cursor *cursor, char expected)
{
    skip_blanks(cursor);
    if (cursor->at == cursor->end || *cursor->at != expected)
        return false;
    cursor->at++;
    return true;
}

static int blame(const struct cursor *cursor, const char *expected)
{
    int left = cursor->end - cursor->at < 40 ? (int)(cursor->end - cursor->at) : 40;
    return err_set(cursor->why, ERR_INPUT, "%s: NPY header: found \"%.*s\", expected %s",
                   cursor->path, left, cursor->at, expected);
}

/* A quoted word without escapes, which is all that NumPy writes here. */
static int take_word(struct cursor *cursor, char *out, size_t room)
{
    skip_blanks(cursor);
    char quote = cursor->at < cursor->end ? *cursor->at : 0;
    if (quote != '\'' && quote != '"')
        return blame(cursor, "a quoted word");
    const char *begin = cursor->at + 1;
    const char *end = memchr(begin, quote, (size_t)(cursor->end - begin));
    if (!end || (size_t)(end - begin) >= room)
        return blame(cursor, "a short quoted word");
    memcpy(out, begin, (size_t)(end - begin));
    out[end - begin] = 0;
    cursor->at = end + 1;
    return 0;
}

static int take_descr(struct cursor *cursor, enum rows_type *type_out)
{
    skip_blanks(cursor);
    if (cursor->at < cursor->end && *cursor->at == '[')
        return err_set(cursor->why, ERR_INPUT,
                       "%s: holds records of named fields; expected one array of numbers",
                       cursor->path);
    char descr[16];
    int rc = take_word(cursor, descr, sizeof(descr));
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(descrs); i++) {
        if (strcmp(descr, descrs[i]) == 0) {
            *type_out = (enum rows_type)i;
            return 0;
        }
    }
    const char *what = descr[0] == '>'                      ? "a big-endian array"
                       : descr[0] == '|' && descr[1] == 'O' ? "an array of Python objects"
                                                            : "an array";
    return err_set(cursor->why, ERR_INPUT,
                   "%s: found %s of dtype %s; expected |u1, <u2, <i4, <i8, <f4 or <f8 (in "
                   "NumPy: array.astype('<f4'))",
                   cursor->path, what, descr);
}

static int take_truth(struct cursor *cursor, bool *out)
{
    skip_blanks(cursor);
    size_t left = (size_t)(cursor->end - cursor->at);
    *out = left >= 4 && memcmp(cursor->at, "True", 4) == 0;
    if (!*out && (left < 5 || memcmp(cursor->at, "False", 5) != 0))
        return blame(cursor, "True or False");
    cursor->at += *out ? 4 : 5;
    return 0;
}

static int take_size(struct cursor *cursor, uint64_t *out)
{
    skip_blanks(cursor);
    const char *begin = cursor->at;
    uint64_t value = 0;
    while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
        value = value * 10 + (uint64_t)(*cursor->at++ - '0');
        if (value > INT64_MAX / 16)
            return blame(cursor, "a smaller size");
    }
    *out = value;
    return cursor->at > begin ? 0 : blame(cursor, "a size");
}

static int take_shape(struct cursor *cursor, struct rows_form *form, bool *has_count_out)
{
    if (!take(cursor, '('))
        return blame(cursor, "a shape in brackets");
    form->dims = 0;
    *has_count_out = false;
    while (!take(cursor, ')')) {
        uint64_t size = 0;
        int rc = take_size(cursor, &size);
        if (rc < 0)
            return rc;
        if (*has_count_out && (form->dims == ROWS_DIMS_MAX || size > UINT32_MAX))
            return err_set(cursor->why, ERR_INPUT,
                           "%s: the shape of a sample has more than %d sides, or one beyond 2^32",
                           cursor->path, ROWS_DIMS_MAX);
        if (*has_count_out)
            form->shape[form->dims++] = (uint32_t)size;
        else
            form->count = size;
        *has_count_out = true;
        if (!take(cursor, ',') && (cursor->at == cursor->end || *cursor->at != ')'))
            return blame(cursor, "a comma or a closing bracket");
    }
    return 0;
}

enum { HAS_DESCR = 1, HAS_ORDER = 2, HAS_SHAPE = 4, HAS_ALL = 7 };

static int take_entry(struct cursor *cursor, struct rows_form *form, bool *is_fortran,
                      bool *has_count)
{
    char key[32];
    int rc = take_word(cursor, key, sizeof(key));
    if (rc < 0)
        return rc;
    if (!take(cursor, ':'))
        return blame(cursor, "a colon");
    if (strcmp(key, "descr") == 0)
        rc = take_descr(cursor, &form->type);
    else if (strcmp(key, "fortran_order") == 0)
        rc = take_truth(cursor, is_fortran);
    else if (strcmp(key, "shape") == 0)
        rc = take_shape(cursor, form, has_count);
    else
        return err_set(cursor->why, ERR_INPUT, "%s: NPY header: unknown key \"%s\"", cursor->path,
                       key);
    if (rc < 0)
        return rc;
    return key[0] == 'd' ? HAS_DESCR : key[0] == 'f' ? HAS_ORDER : HAS_SHAPE;
}

static int parse_header(struct cursor *cursor, struct rows_form *form)
{
    bool is_fortran = false, has_count = false;
    int seen = 0;
    if (!take(cursor, '{'))
        return blame(cursor, "a dictionary");
    while (!take(cursor, '}')) {
        int entry = take_entry(cursor, form, &is_fortran, &has_count);
        if (entry < 0)
            return entry;
        seen |= entry;
        if (!take(cursor, ',') && (cursor->at == cursor->end || *cursor->at != '}'))
            return blame(cursor, "a comma or the end of the dictionary");
    }
    if (seen != HAS_ALL)
        return err_set(cursor->why, ERR_INPUT,
                       "%s: NPY header lacks one of descr, fortran_order, shape", cursor->path);
    if (is_fortran)
        return err_set(cursor->why, ERR_INPUT,
                       "%s: found an array in Fortran order, expected C order (in NumPy: "
                       "numpy.ascontiguousarray(array))",
                       cursor->path);
    if (!has_count)
        return err_set(cursor->why, ERR_INPUT, "%s: holds a single number, expected an array",
                       cursor->path);
    return 0;
}

static int read_header(struct inflate *in, struct rows_form *form, struct err_msg *why)
{
    unsigned char start[NPY_MAGIC_BYTES + 2], size[4] = {0};
    int rc = inflate_read_header(in, start, sizeof(start), why);
    if (rc < 0)
        return rc;
    if (!npy_is_magic(start, sizeof(start)))
        return err_set(why, ERR_INPUT, "%s: not an NPY file: it does not start with \\x93NUMPY",
                       inflate_path(in));
    int version = start[NPY_MAGIC_BYTES];
    if (version < 1 || version > 3)
        return err_set(why, ERR_INPUT, "%s: NPY version %d, expected 1, 2 or 3", inflate_path(in),
                       version);
    rc = inflate_read_header(in, size, version == 1 ? 2 : 4, why);
    if (rc < 0)
        return rc;
    size_t header_bytes =
        size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
    if (header_bytes > NPY_HEADER_BYTES_MAX)
        return err_set(why, ERR_INPUT, "%s: NPY header of %zu bytes, expected at most %d",
                       inflate_path(in), header_bytes, NPY_HEADER_BYTES_MAX);
    char *header = malloc(header_bytes + 1);
    if (!header)
        return err_set(why, ERR_NOMEM, "%s: out of memory", inflate_path(in));
    rc = inflate_read_header(in, header, header_bytes, why);
    struct cursor cursor = {header, header + header_bytes, inflate_path(in), why};
    if (rc == 0)
        rc = parse_header(&cursor, form);
    free(header);
    return rc;
}

int npy_open(const char *path, struct rows_place *place, struct rows **rows_out,
             struct err_msg *why)
{
    return rows_open(path, read_header, place, rows_out, why);
}

size_t npy_write_header(const struct rows_form *form, char *out)
{
    enum { START_BYTES = NPY_MAGIC_BYTES + 4, ALIGN_BYTES = 64 };
    char shape[ROWS_DIMS_MAX * 12 + 1] = "";
    size_t used = 0;
    for (uint32_t d = 0; d < form->dims; d++)
        used += (size_t)snprintf(shape + used, sizeof(shape) - used, " %" PRIu32 "%s",
                                 form->shape[d], d + 1 < form->dims ? "," : "");
    int length = snprintf(out + START_BYTES, NPY_WRITE_BYTES_MAX - START_BYTES,
                          "{'descr': '%s', 'fortran_order': False, 'shape': (%" PRIu64 ",%s), }",
                          descrs[form->type], form->count, shape);
    size_t total = START_BYTES + (size_t)length + 1;
    size_t padded = (total + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    assert(padded <= NPY_WRITE_BYTES_MAX);
    memset(out + START_BYTES + length, ' ', padded - START_BYTES - (size_t)length);
    out[padded - 1] = '\n';
    memcpy(out, magic_text, NPY_MAGIC_BYTES);
    memcpy(out + NPY_MAGIC_BYTES, "\x01\x00", 2);
    out[NPY_MAGIC_BYTES + 2] = (char)((padded - START_BYTES) & 0xff);
    out[NPY_MAGIC_BYTES + 3] = (char)((padded - START_BYTES) >> 8);
    return padded;
}
