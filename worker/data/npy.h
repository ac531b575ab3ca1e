#ifndef WORKER_DATA_NPY_H
#define WORKER_DATA_NPY_H

/* npy - NumPy's file of one array: a header that is a Python dictionary, then the numbers.
 *
 * Shapes:   versions 1, 2 and 3; C order; |u1 <u2 <i4 <i8 <f4 <f8; the first dimension counts
 *           samples.
 * Owner:    none: functions only.  Thread: any.
 * Memory:   none of its own but the header while it is read.
 * Source:   numpy/lib/format.py, "NPY format".
 * Surprise: none.
 */
#include "worker/data/rows.h"

enum { NPY_MAGIC_BYTES = 6, NPY_HEADER_BYTES_MAX = 1 << 16, NPY_WRITE_BYTES_MAX = 256 };

bool npy_is_magic(const unsigned char *bytes, size_t size_bytes);

/* Rows of an NPY file, plain or packed.  ERR_INPUT with a sentence: not NPY, Fortran order, big
 * endian, an object or other dtype that is not taken, cut short, too long. */
MUST_USE int npy_open(const char *path, struct rows_place *place, struct rows **rows_out,
                      struct err_msg *why);

/* The header of such an array, to out [NPY_WRITE_BYTES_MAX]; returns its bytes, a multiple of 64.
 */
size_t npy_write_header(const struct rows_form *form, char *out);

/* NumPy's name of a type, "<f4"; static. */
const char *npy_descr(enum rows_type type);

#endif
