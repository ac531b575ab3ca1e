#include "worker/data/parts.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "common/digest.h"
#include "common/document.h"
#include "worker/data/npy.h"

/* One NPY file as the manifest has it. */
struct part_file {
    char path[PATH_MAX];
    const char *sha256; /* borrowed from the manifest */
};

static int join_path(const char *folder, const char *name, char out[PATH_MAX], struct err_msg *why)
{
    int length = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    if (length < 0 || length >= PATH_MAX)
        return err_set(why, ERR_INPUT, "%s: the path is too long", folder);
    return 0;
}

/* A manifest names files of its own folder only. */
static bool is_plain_name(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) < NAME_MAX;
}

static int read_entry(const char *folder, const struct document *entry, struct part_file *file,
                      struct err_msg *why)
{
    const char *name = NULL;
    int rc = document_get_text(entry, "file", &name, why);
    if (rc == 0)
        rc = document_get_text(entry, "sha256", &file->sha256, why);
    if (rc == 0 && !is_plain_name(name))
        rc = err_set(why, ERR_INPUT, "\"%s\" is not the name of a file beside it", name);
    if (rc < 0)
        return err_prefix(why, rc, "%s/manifest.json: ", folder);
    return join_path(folder, name, file->path, why);
}

/* Whether dtype and shape of an entry are those of the file's own header. */
static int check_form(const struct document *entry, const struct rows_form *form,
                      struct err_msg *why)
{
    const char *dtype = NULL;
    int rc = document_get_text(entry, "dtype", &dtype, why);
    const struct document *shape = document_get(entry, "shape");
    if (rc < 0)
        return rc;
    bool is_same = strcmp(dtype, npy_descr(form->type)) == 0 && document_is_array(shape) &&
                   document_count(shape) == form->dims + 1;
    for (uint32_t d = 0; is_same && d <= form->dims; d++) {
        int64_t side = 0;
        uint64_t expected = d == 0 ? form->count : form->shape[d - 1];
        rc = document_as_whole(document_at(shape, d), "shape", &side, why);
        if (rc < 0)
            return rc;
        is_same = side >= 0 && (uint64_t)side == expected;
    }
    return is_same ? 0 : err_set(why, ERR_INPUT, "dtype or shape is not what manifest.json says");
}

static bool is_same_kind(const struct rows_form *a, const struct rows_form *b)
{
    return a->type == b->type && a->dims == b->dims &&
           memcmp(a->shape, b->shape, a->dims * sizeof(a->shape[0])) == 0;
}

/* Opens one file and puts its rows behind those of *rows (NULL: the first). */
static int append_file(const struct part_file *file, const struct document *entry,
                       struct rows **rows, struct err_msg *why)
{
    struct rows_place nowhere = {.spool_dir = ""};
    struct rows *more = NULL;
    int rc = npy_open(file->path, &nowhere, &more, why);
    if (rc < 0)
        return rc;
    rc = check_form(entry, rows_form(more), why);
    if (rc == 0 && rows_is_spooled(more))
        rc = err_set(why, ERR_INPUT, "found a packed file, expected it as it was written");
    if (rc == 0 && *rows && !is_same_kind(rows_form(*rows), rows_form(more)))
        rc = err_set(why, ERR_INPUT, "dtype or shape is not that of the parts before it");
    if (rc < 0) {
        rows_close(more);
        return err_prefix(why, rc, "%s: ", file->path);
    }
    if (*rows)
        return rows_append(*rows, more) < 0 ? err_set(why, ERR_NOMEM, "out of memory") : 0;
    *rows = more;
    return 0;
}

static int add_part(const char *folder, const struct document *part, struct samples *out,
                    struct err_msg *why)
{
    struct part_file file;
    int rc = read_entry(folder, part, &file, why);
    if (rc == 0)
        rc = append_file(&file, part, &out->inputs, why);
    const struct document *labels = document_get(part, "labels");
    if (rc < 0 || !document_is_object(labels))
        return rc;
    rc = read_entry(folder, labels, &file, why);
    return rc < 0 ? rc : append_file(&file, labels, &out->labels, why);
}

static int check_digest(const char *folder, const struct document *entry, struct err_msg *why)
{
    struct part_file file;
    char found[DIGEST_HEX_BYTES];
    int rc = read_entry(folder, entry, &file, why);
    if (rc == 0 && digest_file(file.path, found) < 0)
        rc = err_set(why, ERR_IO, "%s: cannot read", file.path);
    if (rc == 0 && strcmp(found, file.sha256) != 0)
        rc = err_set(why, ERR_INPUT,
                     "%s: its sha256 is %s, manifest.json says %.64s: the file is damaged",
                     file.path, found, file.sha256);
    return rc;
}

static int check_digests(const char *folder, const struct document *parts, struct err_msg *why)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < document_count(parts); i++) {
        const struct document *labels = document_get(document_at(parts, i), "labels");
        rc = check_digest(folder, document_at(parts, i), why);
        if (rc == 0 && document_is_object(labels))
            rc = check_digest(folder, labels, why);
    }
    return rc;
}

static int read_words(const struct document *manifest, struct samples *out, struct err_msg *why)
{
    const struct document *classes = document_get(manifest, "classes");
    const char *encoding = NULL, *word = NULL;
    int rc = document_get_text(manifest, "encoding", &encoding, why);
    for (size_t i = 0; rc == 0 && i < document_count(classes); i++) {
        rc = document_as_text(document_at(classes, i), "classes", &word, why);
        if (rc == 0 && vocabulary_add(&out->classes, word) < 0)
            rc = err_set(why, ERR_NOMEM, "too many classes for the memory there is");
    }
    if (rc == 0)
        snprintf(out->encoding, sizeof(out->encoding), "%s", encoding);
    return rc;
}

static uint64_t total_bytes(const struct rows *rows)
{
    const struct rows_form *form = rows_form(rows);
    return form->count * rows_elements(form) * rows_type_bytes(form->type);
}

static int open_all(const char *folder, const struct document *manifest,
                    const struct rows_place *place, struct samples *out, struct err_msg *why)
{
    const struct document *parts = document_get(manifest, "parts");
    int64_t rows = 0;
    int rc = document_get_whole(manifest, "rows", &rows, why);
    if (rc == 0)
        rc = read_words(manifest, out, why);
    if (rc == 0 && (document_count(parts) < 1 || document_count(parts) > PARTS_MAX))
        rc = err_set(why, ERR_INPUT, "parts: found %zu, expected a list of 1 to %d",
                     document_count(parts), PARTS_MAX);
    if (rc < 0)
        return err_prefix(why, rc, "%s/manifest.json: ", folder);
    for (size_t i = 0; rc == 0 && i < document_count(parts); i++)
        rc = add_part(folder, document_at(parts, i), out, why);
    if (rc < 0)
        return rc;
    uint64_t count = rows_form(out->inputs)->count;
    if (rows < 0 || (uint64_t)rows != count)
        return err_set(why, ERR_INPUT,
                       "%s/manifest.json: says %" PRId64 " rows, its parts hold %" PRIu64, folder,
                       rows, count);
    uint64_t size_bytes = total_bytes(out->inputs) + (out->labels ? total_bytes(out->labels) : 0);
    return size_bytes <= place->memory_bytes ? check_digests(folder, parts, why) : 0;
}

int parts_open(const char *path, struct rows_place *place, struct samples *out, struct err_msg *why)
{
    static const char name[] = "manifest.json";
    char folder[PATH_MAX], manifest_path[PATH_MAX];
    size_t length = strlen(path);
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, name) == 0)
        length = slash ? (size_t)(slash - path) : 0;
    snprintf(folder, sizeof(folder), "%.*s", (int)length, length ? path : ".");
    if (length == 0)
        snprintf(folder, sizeof(folder), "%s", slash ? "" : ".");
    struct document *manifest = NULL;
    int rc = join_path(folder, name, manifest_path, why);
    if (rc == 0)
        rc = document_load(manifest_path, &manifest, why);
    if (rc == 0)
        rc = open_all(folder, manifest, place, out, why);
    document_destroy(manifest);
    return rc;
}
