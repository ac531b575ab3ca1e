#include "worker/data/parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/digest.h"
#include "common/document.h"
#include "common/file.h"
#include "worker/data/npy.h"

enum { WINDOW_ELEMENTS = 1 << 15, WINDOW_BYTES = WINDOW_ELEMENTS * 8 };

/* A folder of parts being written. */
struct writer {
    char folder[PATH_MAX]; /* while it is not whole */
    char *window;          /* [WINDOW_BYTES] */
    struct err_msg *why;
};

/* Rows begin..end of a data set, which become one file. */
struct piece {
    const struct rows *rows;
    uint64_t begin, end;
    char name[40];
};

/* A file that is written and digested at once. */
struct sink {
    char path[PATH_MAX];
    int fd;
    struct digest *digest;
    uint64_t size_bytes;
};

static int blame(struct writer *writer, const char *path)
{
    return err_set(writer->why, ERR_IO, "%s: cannot write: %s", path, strerror(errno));
}

static int put(struct writer *writer, struct sink *sink, const char *bytes, size_t size_bytes)
{
    digest_add(sink->digest, bytes, size_bytes);
    sink->size_bytes += size_bytes;
    while (size_bytes > 0) {
        ssize_t part = write(sink->fd, bytes, size_bytes);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return blame(writer, sink->path);
        bytes += part;
        size_bytes -= (size_t)part;
    }
    return 0;
}

static struct rows_form form_of(const struct piece *piece)
{
    struct rows_form form = *rows_form(piece->rows);
    form.count = piece->end - piece->begin;
    form.is_big_endian = false;
    return form;
}

static int copy_rows(struct writer *writer, const struct piece *piece, struct sink *sink)
{
    struct rows_form form = form_of(piece);
    char header[NPY_WRITE_BYTES_MAX];
    size_t row_elements = rows_elements(&form), element_bytes = rows_type_bytes(form.type);
    int rc = put(writer, sink, header, npy_write_header(&form, header));
    uint64_t left = form.count * row_elements, done = 0;
    while (rc == 0 && left > 0) {
        size_t count = left < WINDOW_ELEMENTS ? (size_t)left : WINDOW_ELEMENTS;
        struct rows_span span = {piece->begin + done / row_elements, (size_t)(done % row_elements),
                                 count};
        rc = rows_read(piece->rows, span, writer->window, writer->why);
        if (rc == 0)
            rc = put(writer, sink, writer->window, count * element_bytes);
        left -= count;
        done += count;
    }
    return rc;
}

/* {"file", "rows", "shape", "dtype", "bytes", "sha256"}; NULL: out of memory. */
static struct document *describe(const struct piece *piece, uint64_t size_bytes, const char *sha256)
{
    struct rows_form form = form_of(piece);
    struct document *entry = document_object(), *shape = document_array();
    int rc = document_append(shape, document_whole((int64_t)form.count));
    for (uint32_t d = 0; d < form.dims; d++)
        rc |= document_append(shape, document_whole(form.shape[d]));
    rc |= document_put(entry, "file", document_text(piece->name));
    rc |= document_put(entry, "rows", document_whole((int64_t)form.count));
    rc |= document_put(entry, "shape", shape);
    rc |= document_put(entry, "dtype", document_text(npy_descr(form.type)));
    rc |= document_put(entry, "bytes", document_whole((int64_t)size_bytes));
    rc |= document_put(entry, "sha256", document_text(sha256));
    if (rc == 0)
        return entry;
    document_destroy(entry);
    return NULL;
}

static int write_piece(struct writer *writer, const struct piece *piece,
                       struct document **entry_out)
{
    struct sink sink = {.digest = digest_create()};
    int length = snprintf(sink.path, sizeof(sink.path), "%s/%s", writer->folder, piece->name);
    if (length < 0 || (size_t)length >= sizeof(sink.path) || !sink.digest) {
        digest_destroy(sink.digest);
        return err_set(writer->why, ERR_INPUT, "%s: path too long, or out of memory",
                       writer->folder);
    }
    sink.fd = open(sink.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int rc = sink.fd < 0 ? blame(writer, sink.path) : copy_rows(writer, piece, &sink);
    if (rc == 0 && fsync(sink.fd) != 0)
        rc = blame(writer, sink.path);
    if (sink.fd >= 0 && close(sink.fd) != 0 && rc == 0)
        rc = blame(writer, sink.path);
    if (rc == 0) {
        char hex[DIGEST_HEX_BYTES];
        digest_hex(sink.digest, hex);
        *entry_out = describe(piece, sink.size_bytes, hex);
        rc = *entry_out ? 0 : err_set(writer->why, ERR_NOMEM, "out of memory");
    }
    digest_destroy(sink.digest);
    return rc;
}

/* One part: its inputs, and its labels as a member of their entry. */
static int write_part(struct writer *writer, const struct samples *samples, uint32_t part_idx,
                      uint32_t part_count, struct document *parts)
{
    uint64_t count = rows_form(samples->inputs)->count;
    uint64_t each = count / part_count, extra = count % part_count;
    struct piece piece = {.rows = samples->inputs};
    piece.begin = each * part_idx + (part_idx < extra ? part_idx : extra);
    piece.end = piece.begin + each + (part_idx < extra ? 1 : 0);
    struct document *entry = NULL, *labels = NULL;
    snprintf(piece.name, sizeof(piece.name), "part-%05" PRIu32 ".npy", part_idx);
    int rc = write_piece(writer, &piece, &entry);
    if (rc == 0 && samples->labels) {
        piece.rows = samples->labels;
        snprintf(piece.name, sizeof(piece.name), "part-%05" PRIu32 ".labels.npy", part_idx);
        rc = write_piece(writer, &piece, &labels);
    }
    if (rc == 0 && labels)
        rc = document_put(entry, "labels", labels);
    if (rc < 0) {
        document_destroy(entry);
        return rc;
    }
    return document_append(parts, entry);
}

/* Takes over parts. */
static int save_manifest(struct writer *writer, const struct samples *samples,
                         struct document *parts)
{
    char path[PATH_MAX];
    const struct rows_form *form = rows_form(samples->inputs);
    struct document *manifest = document_object(), *shape = document_array();
    struct document *classes = document_array();
    int rc = document_put(manifest, "format", document_text("talweg-parts"));
    for (uint32_t d = 0; d < form->dims; d++)
        rc |= document_append(shape, document_whole(form->shape[d]));
    for (size_t i = 0; i < samples->classes.word_count; i++)
        rc |= document_append(classes, document_text(samples->classes.words[i]));
    rc |= document_put(manifest, "version", document_whole(1));
    rc |= document_put(manifest, "rows", document_whole((int64_t)form->count));
    rc |= document_put(manifest, "shape", shape);
    rc |= document_put(manifest, "dtype", document_text(npy_descr(form->type)));
    rc |= document_put(manifest, "classes", classes);
    rc |= document_put(manifest, "encoding", document_text(samples->encoding));
    rc |= document_put(manifest, "parts", parts);
    if (rc != 0)
        rc = err_set(writer->why, ERR_NOMEM, "out of memory");
    int length = snprintf(path, sizeof(path), "%s/manifest.json", writer->folder);
    if (rc == 0 && (length < 0 || (size_t)length >= sizeof(path)))
        rc = err_set(writer->why, ERR_INPUT, "%s: the path is too long", writer->folder);
    if (rc == 0)
        rc = document_save(manifest, path, writer->why);
    document_destroy(manifest);
    return rc;
}

static int write_all(struct writer *writer, const struct samples *samples, uint32_t part_count)
{
    struct document *parts = document_array();
    int rc = parts ? 0 : err_set(writer->why, ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; rc == 0 && i < part_count; i++)
        rc = write_part(writer, samples, i, part_count, parts);
    if (rc < 0) {
        document_destroy(parts);
        return rc;
    }
    rc = save_manifest(writer, samples, parts);
    return rc < 0 ? rc : file_sync_folder(writer->folder, writer->why);
}

/* Removes a folder of files. */
static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry = NULL;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(folder);
}

static int refuse_full(const char *folder, struct err_msg *why)
{
    DIR *dir = opendir(folder);
    if (!dir && errno == ENOENT)
        return 0;
    if (!dir)
        return err_set(why, ERR_IO, "%s: cannot use as a folder: %s", folder, strerror(errno));
    int rc = 0;
    const struct dirent *entry = NULL;
    while (rc == 0 && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = err_set(why, ERR_INPUT,
                         "%s: is not empty (it has \"%s\"); expected a new or an empty folder",
                         folder, entry->d_name);
    closedir(dir);
    return rc;
}

/* The folder takes its name: from here on it is there, and whole. */
static int reveal(struct writer *writer, const char *folder)
{
    char parent[PATH_MAX];
    snprintf(parent, sizeof(parent), "%s", folder);
    char *slash = strrchr(parent, '/');
    if (slash && slash > parent)
        *slash = 0;
    if (rename(writer->folder, folder) != 0)
        return err_set(
            writer->why, ERR_IO, "%s: cannot put the parts there: %s%s", folder, strerror(errno),
            errno == EBUSY || errno == EXDEV ? " (it is a mount point: name a folder inside it)"
                                             : "");
    return file_sync_folder(slash == parent ? "/" : slash ? parent : ".", writer->why);
}

int parts_write(const struct samples *samples, const char *folder, uint32_t part_count,
                struct err_msg *why)
{
    uint64_t count = rows_form(samples->inputs)->count;
    if (part_count < 1 || part_count > PARTS_MAX || part_count > count)
        return err_set(why, ERR_INPUT,
                       "%" PRIu32 " parts of %" PRIu64 " samples; expected 1 to %" PRIu64,
                       part_count, count, count < PARTS_MAX ? count : PARTS_MAX);
    char target[PATH_MAX - 64];
    int length = snprintf(target, sizeof(target), "%s", folder);
    if (length <= 0 || (size_t)length >= sizeof(target))
        return err_set(why, ERR_INPUT, "the folder's path is empty or too long");
    while (length > 1 && target[length - 1] == '/')
        target[--length] = 0;
    int rc = refuse_full(target, why);
    if (rc < 0)
        return rc;
    struct writer writer = {.window = malloc(WINDOW_BYTES), .why = why};
    if (!writer.window)
        return err_set(why, ERR_NOMEM, "out of memory");
    snprintf(writer.folder, sizeof(writer.folder), "%s.tmp-%ld", target, (long)getpid());
    if (mkdir(writer.folder, 0777) != 0) {
        rc = err_set(why, ERR_IO, "%s: cannot make the folder: %s", writer.folder, strerror(errno));
    } else {
        rc = write_all(&writer, samples, part_count);
        if (rc == 0)
            rc = reveal(&writer, target);
        if (rc < 0)
            remove_folder(writer.folder);
    }
    free(writer.window);
    return rc;
}
