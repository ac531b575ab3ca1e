#include "worker/data/samples.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include "worker/data/idx.h"
#include "worker/data/npy.h"
#include "worker/data/parts.h"
#include "worker/data/text.h"

void samples_close(struct samples *samples)
{
    rows_close(samples->inputs);
    rows_close(samples->labels);
    table_destroy(samples->table);
    vocabulary_clear(&samples->classes);
    *samples = (struct samples){0};
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), end_length = strlen(end);
    return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

static enum data_format format_of_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, "manifest.json") == 0)
        return FORMAT_SHARDS;
    return ends_with(path, ".txt") || ends_with(path, ".txt.gz") ? FORMAT_TEXT : FORMAT_CSV;
}

int samples_detect(const char *path, enum data_format *format_out, struct err_msg *why)
{
    struct stat status;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        *format_out = FORMAT_SHARDS;
        return 0;
    }
    struct inflate *in = NULL;
    unsigned char start[NPY_MAGIC_BYTES];
    size_t got = 0;
    int rc = inflate_open(path, &in, why);
    if (rc < 0)
        return rc;
    rc = inflate_read(in, start, sizeof(start), &got, why);
    inflate_close(in);
    if (rc == 0 && got == 0)
        return err_set(why, ERR_INPUT, "%s: is empty", path);
    if (npy_is_magic(start, got))
        *format_out = FORMAT_NPY;
    else if (idx_is_magic(start, got))
        *format_out = FORMAT_IDX;
    else
        *format_out = format_of_name(path);
    return rc;
}

static int open_array(const char *path, enum data_format format, struct rows_place *place,
                      struct rows **rows_out, struct err_msg *why)
{
    int rc = format == FORMAT_AUTO ? samples_detect(path, &format, why) : 0;
    if (rc < 0)
        return rc;
    if (format == FORMAT_IDX)
        return idx_open(path, place, rows_out, why);
    if (format == FORMAT_NPY)
        return npy_open(path, place, rows_out, why);
    return err_set(why, ERR_INPUT,
                   "%s: found neither IDX nor NPY, which labels of their own are in", path);
}

static int copy_words(const struct vocabulary *from, struct vocabulary *to)
{
    int rc = 0;
    for (size_t i = 0; from && rc == 0 && i < from->word_count; i++)
        rc = vocabulary_add(to, from->words[i]);
    return rc;
}

static int open_csv(const struct samples_spec *spec, struct rows_place *place, struct samples *out,
                    struct err_msg *why)
{
    if (*spec->labels)
        return err_set(why, ERR_INPUT,
                       "%s: the labels of a CSV are one of its columns (data.label_column): leave "
                       "the labels file \"%s\" out",
                       spec->inputs, spec->labels);
    if (spec->is_unlabelled && !spec->known.table)
        return err_set(why, ERR_INPUT,
                       "%s: is a CSV, but the training part is none, which would say what its "
                       "columns mean; expected the training part's format",
                       spec->inputs);
    int rc = 0;
    if (!spec->known.table)
        rc = table_learn(spec->inputs, &spec->table, &out->table, why);
    const struct table *table = spec->known.table ? spec->known.table : out->table;
    if (rc == 0)
        rc = table_encode(table, spec->inputs, place, &out->inputs,
                          spec->is_unlabelled ? NULL : &out->labels, why);
    if (rc == 0 && table_has_words(table))
        rc = table_digest(table, out->encoding);
    if (rc == 0)
        rc = copy_words(table_classes(table), &out->classes);
    return rc == ERR_NOMEM ? err_set(why, rc, "%s: out of memory", spec->inputs) : rc;
}

static int open_text(const struct samples_spec *spec, struct rows_place *place, struct samples *out,
                     struct err_msg *why)
{
    const struct vocabulary *known = spec->known.characters;
    if (*spec->labels)
        return err_set(why, ERR_INPUT,
                       "%s: the label of a text's character is the one that follows it: leave the "
                       "labels file \"%s\" out",
                       spec->inputs, spec->labels);
    if (spec->is_unlabelled && !known)
        return err_set(why, ERR_INPUT,
                       "%s: is a text, but the training part is none, which would say what its "
                       "characters are; expected the training part's format",
                       spec->inputs);
    int rc = known ? copy_words(known, &out->classes)
                   : text_learn(spec->inputs, &out->classes, why);
    if (rc == 0)
        rc = text_encode(spec->inputs, &out->classes, place, &out->inputs, why);
    if (rc == 0)
        rc = text_digest(&out->classes, out->encoding);
    return rc == ERR_NOMEM ? err_set(why, rc, "%s: out of memory", spec->inputs) : rc;
}

static int open_any(const struct samples_spec *spec, struct rows_place *place, struct samples *out,
                    struct err_msg *why)
{
    enum data_format format = spec->format;
    int rc = format == FORMAT_AUTO ? samples_detect(spec->inputs, &format, why) : 0;
    if (rc < 0)
        return rc;
    if (format == FORMAT_CSV)
        return open_csv(spec, place, out, why);
    if (format == FORMAT_TEXT)
        return open_text(spec, place, out, why);
    if (format == FORMAT_SHARDS && *spec->labels)
        return err_set(why, ERR_INPUT,
                       "%s: parts hold their labels: leave the labels file \"%s\" out",
                       spec->inputs, spec->labels);
    if (format == FORMAT_SHARDS)
        return parts_open(spec->inputs, place, out, why);
    rc = open_array(spec->inputs, format, place, &out->inputs, why);
    if (rc == 0 && *spec->labels)
        rc = open_array(spec->labels, spec->format, place, &out->labels, why);
    return rc;
}

int samples_open(const struct samples_spec *spec, struct rows_place *place, struct samples *out,
                 struct err_msg *why)
{
    *out = (struct samples){0};
    int rc = open_any(spec, place, out, why);
    if (rc == 0 && spec->is_unlabelled) {
        rows_close(out->labels); /* parts may hold some */
        out->labels = NULL;
    }
    if (rc == 0 && out->labels && rows_form(out->labels)->count != rows_form(out->inputs)->count)
        rc =
            err_set(why, ERR_INPUT, "%s holds %" PRIu64 " samples, but %s holds %" PRIu64 " labels",
                    rows_name(out->inputs), rows_form(out->inputs)->count, rows_name(out->labels),
                    rows_form(out->labels)->count);
    if (rc == 0 && out->labels)
        rc = rows_keep(out->labels, place, why);
    if (rc == 0)
        rc = rows_keep(out->inputs, place, why);
    if (rc < 0)
        samples_close(out);
    return rc;
}
