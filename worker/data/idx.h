#ifndef WORKER_DATA_IDX_H
#define WORKER_DATA_IDX_H

/* idx - the format of MNIST: a big-endian header of sizes, then the numbers.
 *
 * Shapes:   magic 0 0 TYPE DIMS, DIMS sizes of 4 bytes, numbers; the first size counts samples.
 *           TYPE 0x08 u8, 0x0c i32, 0x0d f32, 0x0e f64.
 * Owner:    none: one function.  Thread: any.
 * Memory:   none of its own.
 * Source:   LeCun, Cortes, Burges, "The MNIST database of handwritten digits", file formats.
 * Surprise: none.
 */
#include "worker/data/rows.h"

enum { IDX_MAGIC_BYTES = 4 };

bool idx_is_magic(const unsigned char *bytes, size_t size_bytes);

/* Rows of an IDX file, plain or packed.  ERR_INPUT with a sentence: wrong magic, a type or a number
 * of dimensions that is not taken, cut short, too long. */
MUST_USE int idx_open(const char *path, struct rows_place *place, struct rows **rows_out,
                      struct err_msg *why);

#endif
