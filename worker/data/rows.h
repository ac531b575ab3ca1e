#ifndef WORKER_DATA_ROWS_H
#define WORKER_DATA_ROWS_H

/* rows - samples of fixed bytes at fixed offsets, in memory or in files.
 *
 * Whatever a data set was, from here on it is this.  Rows that fit the memory they may take are
 * held there; others stay in their file (or in a spool) and are read with pread as they are needed,
 * never mapped and never loaded whole, so a data set may be larger than the address space.
 *
 * Shapes:   count rows of [shape[0]]..[shape[dims-1]] elements; dims 0 is one element.
 * Owner:    who opened them.  Thread: rows_at and rows_read from any number of threads.
 * Memory:   at most what the rows_place gives, taken while opening; reading allocates nothing.
 * Source:   none.
 * Surprise: elements come out in the machine's byte order, whatever the file's.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "worker/data/inflate.h"
#include "worker/data/spool.h"

enum rows_type { ROWS_U8, ROWS_U16, ROWS_I32, ROWS_I64, ROWS_F32, ROWS_F64 };
enum { ROWS_DIMS_MAX = 3, ROWS_ELEMENTS_MAX = 1 << 28 };

/* What the rows of a file look like. */
struct rows_form {
    enum rows_type type;
    bool is_big_endian;            /* in the file */
    uint32_t dims;                 /* of one row, 0..ROWS_DIMS_MAX */
    uint32_t shape[ROWS_DIMS_MAX]; /* of one row, each >= 1 */
    uint64_t count;                /* rows, >= 1 */
};

/* Where rows may be put, and what is left of it: each opening takes its share off. */
struct rows_place {
    const char *spool_dir; /* "": TMPDIR or /tmp */
    uint64_t memory_bytes;
};

/* Elements first..first+count, counted from the start of a row; they may run on into later rows. */
struct rows_span {
    uint64_t row;
    size_t first, count;
};

struct rows;

size_t rows_type_bytes(enum rows_type type);
size_t rows_elements(const struct rows_form *form); /* of one row */

/* Bounds every size of a form that came from a file, so that no product of them overflows.
 * ERR_INPUT with a sentence that starts with name. */
MUST_USE int rows_check(const struct rows_form *form, const char *name, struct err_msg *why);

/* Reads a format's header up to the first row, and fills in the zeroed form.  An error comes with a
 * sentence. */
typedef int rows_header(struct inflate *in, struct rows_form *form, struct err_msg *why);

/* Rows from the header to the end of the file, which must hold exactly these rows: a plain file is
 * read in place, a packed one is unpacked once.  ERR_INPUT when it is shorter or longer; errors of
 * inflate_open and of read_header. */
MUST_USE int rows_open(const char *path, rows_header *read_header, struct rows_place *place,
                       struct rows **rows_out, struct err_msg *why);

/* Rows of what was spooled.  Consumes the spool, also on failure.  name is what sentences call
 * these rows. */
MUST_USE int rows_from_spool(struct spool *spool, const struct rows_form *form, const char *name,
                             struct rows **rows_out, struct err_msg *why);

/* Adds the rows of more, which are of the same form but for the count, after those of rows.
 * Consumes more, also on failure.  Neither may be in memory.  ERR_NOMEM. */
MUST_USE int rows_append(struct rows *rows, struct rows *more);

/* Takes the rows into memory when all of them fit; else they stay where they are. */
MUST_USE int rows_keep(struct rows *rows, struct rows_place *place, struct err_msg *why);

void rows_close(struct rows *rows);

/* Takes the memory that rows hold, if any, off a place. */
void rows_take_place(const struct rows *rows, struct rows_place *place);

bool rows_is_spooled(const struct rows *rows); /* they were unpacked or encoded */
const struct rows_form *rows_form(const struct rows *rows);
const char *rows_name(const struct rows *rows); /* a path, for sentences */

/* The first element of a row when rows are in memory, else NULL; borrowed until rows_close. */
const void *rows_at(const struct rows *rows, uint64_t row);

/* Reads elements; the span must lie inside the rows.  ERR_IO with a sentence. */
MUST_USE int rows_read(const struct rows *rows, struct rows_span span, void *out,
                       struct err_msg *why);

/* Elements as doubles, which is exact but for i64 beyond 2^53. */
void rows_widen(enum rows_type type, const void *elements, size_t count, double *out);

#endif
