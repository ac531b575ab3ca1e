#ifndef WORKER_DATA_PARTS_H
#define WORKER_DATA_PARTS_H

/* parts - a data set cut into NPY files, with a manifest that says what they must be.
 *
 * Shapes:   DIR/part-00000.npy [rows][...], DIR/part-00000.labels.npy, ..., DIR/manifest.json with
 *           rows, shape, dtype and sha256 of each file.
 * Owner:    none: functions only.  Thread: any.
 * Memory:   a window while writing; rows stay in the files until samples_open takes them.
 * Source:   none.
 * Surprise: digests are checked where the data fits memory; beyond that only sizes and headers are.
 */
#include "worker/data/samples.h"

enum { PARTS_MAX = 4096 };

/* Opens a folder of parts, or its manifest.  ERR_INPUT with a sentence that names the file:
 * missing, of another size, shape or digest than the manifest says. */
MUST_USE int parts_open(const char *path, struct rows_place *place, struct samples *out,
                        struct err_msg *why);

/* Writes samples as part_count parts (1..PARTS_MAX, at most one a sample) of nearly equal rows.
 * The folder appears whole, by a rename, or not at all.  ERR_INPUT when it is there and not empty;
 * ERR_IO. */
MUST_USE int parts_write(const struct samples *samples, const char *folder, uint32_t part_count,
                         struct err_msg *why);

#endif
