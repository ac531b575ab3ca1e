#include "worker/data/rows.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are read as little endian");

enum { COPY_BYTES = 1 << 16 };

/* Bytes of the rows, counted over all segments, that lie in one file. */
struct segment {
    uint64_t begin, end; /* position among the bytes of all rows */
    uint64_t offset;     /* of begin in the file */
    int fd;
};

struct rows {
    struct rows_form form;
    uint64_t row_bytes;
    bool is_spooled;
    char *name;
    char *memory; /* all rows in native order, or NULL */
    struct segment *segments;
    size_t segment_count;
};

size_t rows_type_bytes(enum rows_type type)
{
    static const size_t bytes[] = {[ROWS_U8] = 1,  [ROWS_U16] = 2, [ROWS_I32] = 4,
                                   [ROWS_I64] = 8, [ROWS_F32] = 4, [ROWS_F64] = 8};
    return bytes[type];
}

size_t rows_elements(const struct rows_form *form)
{
    size_t elements = 1;
    for (uint32_t d = 0; d < form->dims; d++)
        elements *= form->shape[d];
    return elements;
}

int rows_check(const struct rows_form *form, const char *name, struct err_msg *why)
{
    if (form->count == 0)
        return err_set(why, ERR_INPUT, "%s: holds no samples", name);
    uint64_t elements = 1;
    for (uint32_t d = 0; d < form->dims; d++) {
        if (form->shape[d] == 0)
            return err_set(why, ERR_INPUT, "%s: a sample has a side of length 0", name);
        elements *= form->shape[d];
        if (elements > ROWS_ELEMENTS_MAX)
            return err_set(why, ERR_INPUT, "%s: a sample has over %d numbers, the most there is",
                           name, ROWS_ELEMENTS_MAX);
    }
    if (form->count > INT64_MAX / 8 / elements)
        return err_set(why, ERR_INPUT,
                       "%s: %" PRIu64 " samples of %" PRIu64 " numbers are too many", name,
                       form->count, elements);
    return 0;
}

static struct rows *make(const struct rows_form *form, const char *name, size_t segment_count)
{
    struct rows *rows = calloc(1, sizeof(*rows));
    if (!rows)
        return NULL;
    rows->form = *form;
    rows->row_bytes = rows_elements(form) * rows_type_bytes(form->type);
    rows->name = strdup(name);
    rows->segments = segment_count ? calloc(segment_count, sizeof(*rows->segments)) : NULL;
    if (rows->name && (rows->segments || segment_count == 0))
        return rows;
    rows_close(rows);
    return NULL;
}

void rows_close(struct rows *rows)
{
    if (!rows)
        return;
    for (size_t i = 0; i < rows->segment_count; i++)
        close(rows->segments[i].fd);
    free(rows->segments);
    free(rows->memory);
    free(rows->name);
    free(rows);
}

/* File order to machine order, in place. */
static void turn_bytes(const struct rows_form *form, void *elements, size_t count)
{
    if (!form->is_big_endian)
        return;
    char *at = elements;
    if (rows_type_bytes(form->type) == 4) {
        for (size_t i = 0; i < count; i++, at += 4) {
            uint32_t word;
            memcpy(&word, at, 4);
            word = __builtin_bswap32(word);
            memcpy(at, &word, 4);
        }
    } else if (rows_type_bytes(form->type) == 8) {
        for (size_t i = 0; i < count; i++, at += 8) {
            uint64_t word;
            memcpy(&word, at, 8);
            word = __builtin_bswap64(word);
            memcpy(at, &word, 8);
        }
    }
}

static int blame_size(const char *path, const struct rows_form *form, uint64_t found_bytes,
                      struct err_msg *why)
{
    uint64_t row_bytes = rows_elements(form) * rows_type_bytes(form->type);
    uint64_t wanted_bytes = form->count * row_bytes;
    return err_set(why, ERR_INPUT,
                   "%s: its header says %" PRIu64 " samples of %" PRIu64 " bytes, %" PRIu64
                   " bytes in all; found %s%" PRIu64 ": the file is %s",
                   path, form->count, row_bytes, wanted_bytes,
                   found_bytes > wanted_bytes ? "at least " : "", found_bytes,
                   found_bytes < wanted_bytes ? "cut short" : "longer than its header says");
}

static int open_plain(struct inflate *in, const struct rows_form *form, struct rows **rows_out,
                      struct err_msg *why)
{
    const char *path = inflate_path(in);
    struct rows *rows = make(form, path, 1);
    if (!rows)
        return err_set(why, ERR_NOMEM, "%s: out of memory", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status = {0};
    if (fd < 0 || fstat(fd, &status) != 0) {
        int rc = err_set(why, ERR_IO, "%s: cannot open: %s%s", path, strerror(errno),
                         errno == EMFILE ? " (see ulimit -n)" : "");
        if (fd >= 0)
            close(fd);
        rows_close(rows);
        return rc;
    }
    uint64_t size_bytes = (uint64_t)status.st_size, begin = inflate_offset(in);
    uint64_t found_bytes = size_bytes > begin ? size_bytes - begin : 0;
    uint64_t wanted_bytes = form->count * rows->row_bytes;
    rows->segments[0] = (struct segment){.end = wanted_bytes, .offset = begin, .fd = fd};
    rows->segment_count = 1;
    if (found_bytes != wanted_bytes) {
        rows_close(rows);
        return blame_size(path, form, found_bytes, why);
    }
    *rows_out = rows;
    return 0;
}

/* Copies the packed rows, and looks whether anything follows them. */
static int unpack(struct inflate *in, const struct rows_form *form, struct spool *spool,
                  struct err_msg *why)
{
    char chunk[COPY_BYTES];
    uint64_t wanted_bytes = form->count * (rows_elements(form) * rows_type_bytes(form->type));
    uint64_t done_bytes = 0;
    while (done_bytes < wanted_bytes) {
        uint64_t left = wanted_bytes - done_bytes;
        size_t got = 0;
        int rc =
            inflate_read(in, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk), &got, why);
        if (rc == 0 && got == 0)
            rc = blame_size(inflate_path(in), form, done_bytes, why);
        if (rc == 0)
            rc = spool_add(spool, chunk, got, why);
        if (rc < 0)
            return rc;
        done_bytes += got;
    }
    size_t more = 0;
    int rc = inflate_read(in, chunk, 1, &more, why);
    return rc == 0 && more ? blame_size(inflate_path(in), form, done_bytes + 1, why) : rc;
}

/* Rows from where `in` stands to the end of its file. */
static int open_stream(struct inflate *in, const struct rows_form *form, struct rows_place *place,
                       struct rows **rows_out, struct err_msg *why)
{
    int rc = rows_check(form, inflate_path(in), why);
    if (rc < 0)
        return rc;
    if (!inflate_is_packed(in))
        return open_plain(in, form, rows_out, why);
    struct spool *spool = NULL;
    if (spool_create(place->spool_dir, place->memory_bytes, &spool) < 0)
        return err_set(why, ERR_NOMEM, "%s: out of memory", inflate_path(in));
    rc = unpack(in, form, spool, why);
    if (rc < 0) {
        spool_destroy(spool);
        return rc;
    }
    rc = rows_from_spool(spool, form, inflate_path(in), rows_out, why);
    if (rc == 0)
        rows_take_place(*rows_out, place);
    return rc;
}

int rows_open(const char *path, rows_header *read_header, struct rows_place *place,
              struct rows **rows_out, struct err_msg *why)
{
    struct inflate *in = NULL;
    struct rows_form form = {0};
    int rc = inflate_open(path, &in, why);
    if (rc == 0)
        rc = read_header(in, &form, why);
    if (rc == 0)
        rc = open_stream(in, &form, place, rows_out, why);
    inflate_close(in);
    return rc;
}

int rows_from_spool(struct spool *spool, const struct rows_form *form, const char *name,
                    struct rows **rows_out, struct err_msg *why)
{
    struct spooled spooled;
    int rc = spool_take(spool, &spooled, why);
    if (rc < 0)
        return rc;
    struct rows *rows = make(form, name, 1);
    if (!rows) {
        free(spooled.memory);
        if (spooled.fd >= 0)
            close(spooled.fd);
        return err_set(why, ERR_NOMEM, "%s: out of memory", name);
    }
    assert(spooled.size_bytes == form->count * rows->row_bytes);
    rows->is_spooled = true;
    rows->memory = spooled.memory;
    if (spooled.fd >= 0) {
        rows->segments[0] = (struct segment){.end = spooled.size_bytes, .fd = spooled.fd};
        rows->segment_count = 1;
    } else {
        turn_bytes(form, rows->memory, (size_t)form->count * rows_elements(form));
    }
    *rows_out = rows;
    return 0;
}

int rows_append(struct rows *rows, struct rows *more)
{
    assert(!rows->memory && !more->memory && rows->row_bytes == more->row_bytes);
    size_t count = rows->segment_count + more->segment_count;
    struct segment *segments = realloc(rows->segments, count * sizeof(*segments));
    if (!segments) {
        rows_close(more);
        return ERR_NOMEM;
    }
    rows->segments = segments;
    uint64_t shift = rows->form.count * rows->row_bytes;
    for (size_t i = 0; i < more->segment_count; i++) {
        struct segment segment = more->segments[i];
        segment.begin += shift;
        segment.end += shift;
        segments[rows->segment_count++] = segment;
    }
    rows->form.count += more->form.count;
    more->segment_count = 0; /* the files are rows' now */
    rows_close(more);
    return 0;
}

static int read_bytes(const struct rows *rows, uint64_t begin, size_t size_bytes, char *out,
                      struct err_msg *why)
{
    size_t low = 0, high = rows->segment_count; /* the last segment with .begin <= begin */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        *(rows->segments[middle].begin <= begin ? &low : &high) = middle;
    }
    const struct segment *segment = &rows->segments[low];
    while (size_bytes > 0) {
        if (begin == segment->end)
            segment++;
        uint64_t left = segment->end - begin;
        size_t want = left < size_bytes ? (size_t)left : size_bytes;
        ssize_t got =
            pread(segment->fd, out, want, (off_t)(segment->offset + (begin - segment->begin)));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(why, ERR_IO, "%s: cannot read: %s", rows->name,
                           got < 0 ? strerror(errno) : "the file became shorter");
        begin += (uint64_t)got;
        out += got;
        size_bytes -= (size_t)got;
    }
    return 0;
}

int rows_keep(struct rows *rows, struct rows_place *place, struct err_msg *why)
{
    uint64_t size_bytes = rows->form.count * rows->row_bytes;
    if (rows->memory || size_bytes > place->memory_bytes)
        return 0;
    char *memory = malloc((size_t)size_bytes);
    if (!memory)
        return 0; /* they can be read where they are */
    int rc = read_bytes(rows, 0, (size_t)size_bytes, memory, why);
    if (rc < 0) {
        free(memory);
        return rc;
    }
    turn_bytes(&rows->form, memory, (size_t)rows->form.count * rows_elements(&rows->form));
    rows->memory = memory;
    rows_take_place(rows, place);
    for (size_t i = 0; i < rows->segment_count; i++)
        close(rows->segments[i].fd);
    rows->segment_count = 0;
    return 0;
}

void rows_take_place(const struct rows *rows, struct rows_place *place)
{
    /* A spool may hold a little in memory where nothing may be. */
    uint64_t taken = rows->memory ? rows->form.count * rows->row_bytes : 0;
    place->memory_bytes -= taken < place->memory_bytes ? taken : place->memory_bytes;
}

bool rows_is_spooled(const struct rows *rows)
{
    return rows->is_spooled;
}

const struct rows_form *rows_form(const struct rows *rows)
{
    return &rows->form;
}

const char *rows_name(const struct rows *rows)
{
    return rows->name;
}

const void *rows_at(const struct rows *rows, uint64_t row)
{
    assert(row < rows->form.count);
    return rows->memory ? rows->memory + row * rows->row_bytes : NULL;
}

int rows_read(const struct rows *rows, struct rows_span span, void *out, struct err_msg *why)
{
    size_t element_bytes = rows_type_bytes(rows->form.type);
    uint64_t begin = span.row * rows->row_bytes + span.first * element_bytes;
    uint64_t end = begin + span.count * element_bytes;
    assert(span.row < rows->form.count && end <= rows->form.count * rows->row_bytes);
    if (rows->memory) {
        memcpy(out, rows->memory + begin, (size_t)(end - begin));
        return 0;
    }
    int rc = read_bytes(rows, begin, (size_t)(end - begin), out, why);
    if (rc == 0)
        turn_bytes(&rows->form, out, span.count);
    return rc;
}

void rows_widen(enum rows_type type, const void *elements, size_t count, double *out)
{
    const uint8_t *u8 = elements;
    const uint16_t *u16 = elements;
    const int32_t *i32 = elements;
    const int64_t *i64 = elements;
    const float *f32 = elements;
    for (size_t i = 0; i < count; i++) {
        if (type == ROWS_U8)
            out[i] = u8[i];
        else if (type == ROWS_U16)
            out[i] = u16[i];
        else if (type == ROWS_I32)
            out[i] = i32[i];
        else if (type == ROWS_I64)
            out[i] = (double)i64[i];
        else if (type == ROWS_F32)
            out[i] = (double)f32[i];
    }
    if (type == ROWS_F64)
        memcpy(out, elements, count * sizeof(double));
}
