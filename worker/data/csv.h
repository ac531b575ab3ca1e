#ifndef WORKER_DATA_CSV_H
#define WORKER_DATA_CSV_H

/* csv - the records of a text table, one after another, as cells.
 *
 * Quoted cells ("a ""b"", c"), line ends in quotes, CRLF, a byte order mark, empty lines (skipped).
 * Blanks around a cell that is not quoted are no part of it.
 *
 * Shapes:   a record is cell_count texts.
 * Owner:    who opened it.  Thread: one at a time.
 * Memory:   one record, at most CSV_RECORD_BYTES_MAX, and a window.
 * Source:   RFC 4180.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

enum { CSV_RECORD_BYTES_MAX = 1 << 26, CSV_CELLS_MAX = 1 << 20 };

struct csv;

/* Opens a file, plain or packed.  Errors as inflate_open. */
MUST_USE int csv_open(const char *path, char delimiter, struct csv **csv_out, struct err_msg *why);
void csv_close(struct csv *csv);

/* Goes to the next record: 1, 0 at the end, or ERR_INPUT, ERR_IO, ERR_NOMEM with a sentence that
 * names file and line. */
MUST_USE int csv_next(struct csv *csv, struct err_msg *why);

/* Of the record at hand; texts are borrowed until the next csv_next. */
size_t csv_cell_count(const struct csv *csv);
const char *csv_cell(const struct csv *csv, size_t cell_idx);
uint64_t csv_line(const struct csv *csv); /* where it starts, from 1 */
const char *csv_path(const struct csv *csv);

/* The number that a whole cell says, in decimal; false for anything else, also NaN, infinity, and
 * what is too large for a float. */
bool csv_number(const char *cell, double *out);

#endif
