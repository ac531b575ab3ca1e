#include "common/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/document.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats go to the file as they lie");

enum { LENGTH_BYTES = 8, ALIGN_BYTES = 8, CHUNK_BYTES = 1 << 20 };

static const uint64_t elements_max = UINT64_C(1) << 60;
static const char metadata_key[] = "__metadata__";

struct safetensors {
    int fd;
    char *path;
    size_t count;
    struct safetensors_entry *entries; /* by begin */
    uint64_t data_begin_bytes;
    uint64_t size_bytes; /* of the whole file */
    bool is_any;         /* of other types than f32, too */
};

static int io_error(const struct safetensors *file, const char *what, struct err_msg *why)
{
    return err_set(why, ERR_IO, "%s: cannot %s: %s", file->path, what, strerror(errno));
}

static int write_all(const struct safetensors *file, const void *bytes, size_t size, uint64_t at,
                     struct err_msg *why)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t done = pwrite(file->fd, from, size, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done == 0)
            errno = ENOSPC;
        if (done <= 0)
            return io_error(file, "write", why);
        from += done;
        at += (uint64_t)done;
        size -= (size_t)done;
    }
    return 0;
}

static int read_all(const struct safetensors *file, void *bytes, size_t size, uint64_t at,
                    struct err_msg *why)
{
    char *to = bytes;
    while (size > 0) {
        ssize_t done = pread(file->fd, to, size, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return io_error(file, "read", why);
        if (done == 0)
            return err_set(why, ERR_IO, "%s: ends at byte %" PRIu64 "; expected %" PRIu64 " bytes",
                           file->path, at, file->size_bytes);
        to += done;
        at += (uint64_t)done;
        size -= (size_t)done;
    }
    return 0;
}

/* Elements of a shape; elements_max + 1 when there are too many. */
static uint64_t element_count(const struct safetensors_entry *entry)
{
    uint64_t count = 1;
    for (uint32_t d = 0; d < entry->dims; d++)
        if (entry->shape[d] == 0)
            return 0;
    for (uint32_t d = 0; d < entry->dims; d++) {
        if (count > elements_max / entry->shape[d])
            return elements_max + 1;
        count *= entry->shape[d];
    }
    return count;
}

static struct safetensors *allocate(const char *path, size_t count)
{
    struct safetensors *file = calloc(1, sizeof(*file));
    if (file == NULL)
        return NULL;
    file->fd = -1;
    file->count = count;
    file->path = strdup(path);
    file->entries = calloc(count > 0 ? count : 1, sizeof(*file->entries));
    if (file->path != NULL && file->entries != NULL)
        return file;
    safetensors_close(file);
    return NULL;
}

void safetensors_close(struct safetensors *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file->entries);
    free(file);
}

/* Fills in begin and end of the copied entries. */
static int place(struct safetensors *file, struct err_msg *why)
{
    uint64_t at = 0;
    for (size_t i = 0; i < file->count; i++) {
        struct safetensors_entry *entry = &file->entries[i];
        uint64_t count = element_count(entry);
        if (entry->dims > SAFETENSORS_DIMS_MAX || count > elements_max - at)
            return err_set(why, ERR_INPUT, "%s: tensor \"%s\" is too large", file->path,
                           entry->name);
        entry->type = NUMBER_F32;
        entry->begin_bytes = at * sizeof(float);
        at += count;
        entry->end_bytes = at * sizeof(float);
    }
    return 0;
}

static struct document *wholes(const uint64_t *values, size_t count)
{
    struct document *array = document_array();
    for (size_t i = 0; i < count && array != NULL; i++) {
        if (document_append(array, document_whole((int64_t)values[i])) < 0) {
            document_destroy(array);
            return NULL;
        }
    }
    return array;
}

static struct document *entry_document(const struct safetensors_entry *entry)
{
    uint64_t offsets[2] = {entry->begin_bytes, entry->end_bytes};
    struct document *object = document_object();
    if (object == NULL)
        return NULL;
    if (document_put(object, "dtype", document_text("F32")) < 0 ||
        document_put(object, "shape", wholes(entry->shape, entry->dims)) < 0 ||
        document_put(object, "data_offsets", wholes(offsets, 2)) < 0) {
        document_destroy(object);
        return NULL;
    }
    return object;
}

/* Readers for hubs look for a "format" there. */
static struct document *metadata_document(void)
{
    struct document *object = document_object();
    if (object != NULL && document_put(object, "format", document_text("pt")) < 0) {
        document_destroy(object);
        return NULL;
    }
    return object;
}

/* The header's JSON, malloc'd; NULL when memory is out or a name is not UTF-8. */
static char *header_text(const struct safetensors *file)
{
    char *text = NULL;
    struct document *header = document_object();
    if (header == NULL || document_put(header, metadata_key, metadata_document()) < 0)
        goto fail;
    for (size_t i = 0; i < file->count; i++)
        if (document_put(header, file->entries[i].name, entry_document(&file->entries[i])) < 0)
            goto fail;
    text = document_print(header, false);
fail:
    document_destroy(header);
    return text;
}

static int write_header(struct safetensors *file, struct err_msg *why)
{
    char *text = header_text(file);
    if (text == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory for the header", file->path);
    size_t text_bytes = strlen(text);
    uint64_t padded = (text_bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    static const char spaces[ALIGN_BYTES] = "        ";
    file->data_begin_bytes = LENGTH_BYTES + padded;
    uint64_t data_bytes = file->count > 0 ? file->entries[file->count - 1].end_bytes : 0;
    file->size_bytes = file->data_begin_bytes + data_bytes;
    int err = write_all(file, &padded, sizeof(padded), 0, why);
    if (err == 0)
        err = write_all(file, text, text_bytes, LENGTH_BYTES, why);
    if (err == 0)
        err = write_all(file, spaces, padded - text_bytes, LENGTH_BYTES + text_bytes, why);
    free(text);
    return err;
}

/* A disk that is too small says so now, and not after hours. */
static int reserve(struct safetensors *file, struct err_msg *why)
{
    if (ftruncate(file->fd, (off_t)file->size_bytes) != 0)
        return io_error(file, "make it its full size", why);
    if (fallocate(file->fd, 0, 0, (off_t)file->size_bytes) == 0)
        return 0;
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR)
        return 0;
    return io_error(file, "take its full size from the disk", why);
}

int safetensors_create(const char *path, const struct safetensors_entry *entries, size_t count,
                       struct safetensors **file_out, struct err_msg *why)
{
    struct safetensors *file = allocate(path, count);
    if (file == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory for %zu tensors", path, count);
    if (count > 0)
        memcpy(file->entries, entries, count * sizeof(*entries));
    int err = place(file, why);
    if (err != 0)
        goto fail;
    file->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file->fd < 0) {
        err = io_error(file, "create", why);
        goto fail;
    }
    err = write_header(file, why);
    if (err == 0)
        err = reserve(file, why);
    if (err == 0) {
        *file_out = file;
        return 0;
    }
    unlink(path);
fail:
    safetensors_close(file);
    return err;
}

static int read_shape(const struct document *shape, struct safetensors_entry *entry,
                      struct err_msg *why)
{
    if (!document_is_array(shape) || document_count(shape) > SAFETENSORS_DIMS_MAX)
        return err_set(why, ERR_INPUT, "shape is no list of at most %d numbers",
                       SAFETENSORS_DIMS_MAX);
    entry->dims = (uint32_t)document_count(shape);
    for (uint32_t d = 0; d < entry->dims; d++) {
        int64_t length;
        int err = document_as_whole(document_at(shape, d), "shape", &length, why);
        if (err != 0)
            return err;
        if (length < 0)
            return err_set(why, ERR_INPUT, "shape has %" PRId64, length);
        entry->shape[d] = (uint64_t)length;
    }
    return 0;
}

/* offsets: bytes in the file's data, which is data_bytes long; each number has number_size. */
static int read_offsets(const struct document *offsets, uint64_t data_bytes, size_t number_size,
                        struct safetensors_entry *entry, struct err_msg *why)
{
    int64_t begin, end;
    if (!document_is_array(offsets) || document_count(offsets) != 2)
        return err_set(why, ERR_INPUT, "data_offsets is no pair of numbers");
    int err = document_as_whole(document_at(offsets, 0), "data_offsets", &begin, why);
    if (err == 0)
        err = document_as_whole(document_at(offsets, 1), "data_offsets", &end, why);
    if (err != 0)
        return err;
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return err_set(why, ERR_INPUT,
                       "data_offsets [%" PRId64 ", %" PRId64 "] do not lie in the %" PRIu64
                       " bytes of data",
                       begin, end, data_bytes);
    uint64_t count = element_count(entry);
    if (count > elements_max || (uint64_t)(end - begin) != count * number_size ||
        begin % (int64_t)number_size != 0)
        return err_set(why, ERR_INPUT,
                       "data_offsets [%" PRId64 ", %" PRId64 "] do not fit its shape", begin, end);
    entry->begin_bytes = (uint64_t)begin;
    entry->end_bytes = (uint64_t)end;
    return 0;
}

static int read_type(const struct document *object, bool is_any, size_t *number_size_out,
                     struct safetensors_entry *entry, struct err_msg *why)
{
    const char *dtype;
    int err = document_get_text(object, "dtype", &dtype, why);
    if (err != 0)
        return err;
    bool is_known = number_type_of(dtype, &entry->type, number_size_out);
    if (!is_known || (!is_any && entry->type != NUMBER_F32))
        return err_set(why, ERR_INPUT, "dtype is \"%.16s\"; expected %s", dtype,
                       is_any ? "one of the format's" : "\"F32\"");
    return 0;
}

static int read_entry(const struct safetensors *file, const struct document *object,
                      const char *name, struct safetensors_entry *entry, struct err_msg *why)
{
    size_t number_size = 0;
    size_t length = strlen(name);
    if (length >= sizeof(entry->name))
        return err_set(why, ERR_INPUT, "its name has %zu bytes; expected at most %zu", length,
                       sizeof(entry->name) - 1);
    memcpy(entry->name, name, length + 1);
    int err = read_type(object, file->is_any, &number_size, entry, why);
    if (err == 0)
        err = read_shape(document_get(object, "shape"), entry, why);
    if (err == 0)
        err = read_offsets(document_get(object, "data_offsets"),
                           file->size_bytes - file->data_begin_bytes, number_size, entry, why);
    return err;
}

static int compare_places(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;
    if (x->begin_bytes != y->begin_bytes)
        return x->begin_bytes < y->begin_bytes ? -1 : 1;
    if (x->end_bytes != y->end_bytes)
        return x->end_bytes < y->end_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int check_no_gap(const struct safetensors *file, struct err_msg *why)
{
    uint64_t at = 0;
    for (size_t i = 0; i < file->count; i++) {
        if (file->entries[i].begin_bytes != at)
            return err_set(why, ERR_INPUT,
                           "%s: tensor \"%s\" begins at byte %" PRIu64
                           " of the data; expected %" PRIu64,
                           file->path, file->entries[i].name, file->entries[i].begin_bytes, at);
        at = file->entries[i].end_bytes;
    }
    uint64_t data_bytes = file->size_bytes - file->data_begin_bytes;
    if (at != data_bytes)
        return err_set(why, ERR_INPUT,
                       "%s: has %" PRIu64 " bytes of data; its tensors have %" PRIu64, file->path,
                       data_bytes, at);
    return 0;
}

/* Fills in the entries from the parsed header; there is room for all of its members. */
static int read_entries(struct safetensors *file, const struct document *header,
                        struct err_msg *why)
{
    const char *name = NULL;
    while ((name = document_key_after(header, name)) != NULL) {
        if (strcmp(name, metadata_key) == 0)
            continue;
        struct safetensors_entry *entry = &file->entries[file->count];
        int err = read_entry(file, document_get(header, name), name, entry, why);
        if (err != 0)
            return err_prefix(why, err, "%s: tensor \"%.160s\": ", file->path, name);
        file->count++;
    }
    qsort(file->entries, file->count, sizeof(*file->entries), compare_places);
    return check_no_gap(file, why);
}

/* Reads length and text of the header and parses it. */
static int read_header(struct safetensors *file, struct document **header_out, struct err_msg *why)
{
    struct stat status;
    if (fstat(file->fd, &status) != 0)
        return io_error(file, "read", why);
    if (!S_ISREG(status.st_mode) || status.st_size < LENGTH_BYTES)
        return err_set(why, ERR_INPUT, "%s: is no safetensors file: it has %lld bytes", file->path,
                       (long long)status.st_size);
    file->size_bytes = (uint64_t)status.st_size;
    uint64_t length;
    int err = read_all(file, &length, sizeof(length), 0, why);
    if (err != 0)
        return err;
    if (length > file->size_bytes - LENGTH_BYTES || length > DOCUMENT_BYTES_MAX)
        return err_set(why, ERR_INPUT,
                       "%s: claims a header of %" PRIu64 " bytes; the file has %" PRIu64
                       " and %d are allowed",
                       file->path, length, file->size_bytes, (int)DOCUMENT_BYTES_MAX);
    file->data_begin_bytes = LENGTH_BYTES + length;
    char *text = malloc(length + 1);
    if (text == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory for its header", file->path);
    err = read_all(file, text, length, LENGTH_BYTES, why);
    if (err == 0) {
        err = document_parse(text, length, header_out, why);
        if (err != 0)
            err_prefix(why, err, "%s: header: ", file->path);
    }
    free(text);
    return err;
}

/* The parsed header's tensors into a new table. */
static int take_header(struct safetensors *file, struct err_msg *why)
{
    struct document *header = NULL;
    int err = read_header(file, &header, why);
    if (err != 0)
        return err;
    free(file->entries);
    file->entries = calloc(document_count(header) + 1, sizeof(*file->entries));
    if (file->entries == NULL)
        err = err_set(why, ERR_NOMEM, "%s: no memory for its tensors", file->path);
    else if (!document_is_object(header))
        err = err_set(why, ERR_INPUT, "%s: header is no JSON object", file->path);
    else
        err = read_entries(file, header, why);
    document_destroy(header);
    return err;
}

static int open_file(const char *path, bool is_any, struct safetensors **file_out,
                     struct err_msg *why)
{
    struct safetensors *file = allocate(path, 0);
    if (file == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory", path);
    file->is_any = is_any;
    int err;
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0) {
        int code = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        err = err_set(why, code, "%s: cannot open: %s", path, strerror(errno));
        goto fail;
    }
    err = take_header(file, why);
    if (err != 0)
        goto fail;
    *file_out = file;
    return 0;
fail:
    safetensors_close(file);
    return err;
}

int safetensors_open(const char *path, struct safetensors **file_out, struct err_msg *why)
{
    return open_file(path, false, file_out, why);
}

int safetensors_open_any(const char *path, struct safetensors **file_out, struct err_msg *why)
{
    return open_file(path, true, file_out, why);
}

size_t safetensors_count(const struct safetensors *file)
{
    return file->count;
}

const struct safetensors_entry *safetensors_entry(const struct safetensors *file, size_t idx)
{
    return &file->entries[idx];
}

/* Where a range of a tensor lies in the file. */
static int find(const struct safetensors *file, size_t idx, uint64_t first, size_t count,
                uint64_t *at_out, struct err_msg *why)
{
    const struct safetensors_entry *entry = idx < file->count ? &file->entries[idx] : NULL;
    if (entry != NULL && entry->type == NUMBER_OTHER)
        return err_set(why, ERR_INPUT, "%s: tensor \"%s\" has no F32, F16 or BF16", file->path,
                       entry->name);
    size_t number_size = entry == NULL ? sizeof(float) : number_bytes(entry->type);
    uint64_t length = entry == NULL ? 0 : (entry->end_bytes - entry->begin_bytes) / number_size;
    if (idx >= file->count || first > length || count > length - first)
        return err_set(why, ERR_INPUT,
                       "%s: tensor %zu of %zu has %" PRIu64
                       " elements; asked for %zu from %" PRIu64,
                       file->path, idx, file->count, length, count, first);
    *at_out = file->data_begin_bytes + entry->begin_bytes + first * number_size;
    return 0;
}

int safetensors_write(struct safetensors *file, size_t idx, uint64_t first, const float *values,
                      size_t count, struct err_msg *why)
{
    uint64_t at = 0;
    int err = find(file, idx, first, count, &at, why);
    return err != 0 ? err : write_all(file, values, count * sizeof(*values), at, why);
}

int safetensors_read(const struct safetensors *file, size_t idx, uint64_t first, float *out,
                     size_t count, struct err_msg *why)
{
    uint64_t at = 0;
    int err = find(file, idx, first, count, &at, why);
    if (err != 0)
        return err;
    enum number_type type = file->entries[idx].type;
    if (type == NUMBER_F32)
        return read_all(file, out, count * sizeof(*out), at, why);
    size_t size = count * number_bytes(type);
    void *bytes = malloc(size + 1);
    if (bytes == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory to read it", file->path);
    err = read_all(file, bytes, size, at, why);
    if (err == 0)
        number_to_floats(type, bytes, out, count);
    free(bytes);
    return err;
}

int safetensors_sync(struct safetensors *file, struct err_msg *why)
{
    return fsync(file->fd) == 0 ? 0 : io_error(file, "sync", why);
}

/* Adds the bytes at `at` to both digests; data begins at data_begin_bytes. */
static void digest_chunk(const struct safetensors *file, const char *chunk, size_t size,
                         uint64_t at, struct digest *whole, struct digest *data)
{
    digest_add(whole, chunk, size);
    if (data == NULL || at + size <= file->data_begin_bytes)
        return;
    size_t skip = at < file->data_begin_bytes ? (size_t)(file->data_begin_bytes - at) : 0;
    digest_add(data, chunk + skip, size - skip);
}

int safetensors_digest(const struct safetensors *file, struct digest *data, char hex_out[65],
                       uint64_t *bytes_out, struct err_msg *why)
{
    int err = 0;
    char *chunk = malloc(CHUNK_BYTES);
    struct digest *whole = digest_create();
    if (chunk == NULL || whole == NULL) {
        err = err_set(why, ERR_NOMEM, "%s: no memory to check it", file->path);
        goto fail;
    }
    for (uint64_t at = 0; at < file->size_bytes; at += CHUNK_BYTES) {
        uint64_t left = file->size_bytes - at;
        size_t size = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        err = read_all(file, chunk, size, at, why);
        if (err != 0)
            goto fail;
        digest_chunk(file, chunk, size, at, whole, data);
    }
    digest_hex(whole, hex_out);
    *bytes_out = file->size_bytes;
fail:
    digest_destroy(whole);
    free(chunk);
    return err;
}
