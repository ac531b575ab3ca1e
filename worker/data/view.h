#ifndef WORKER_DATA_VIEW_H
#define WORKER_DATA_VIEW_H

/* view - one side of the samples, inputs or labels, as floats.
 *
 * Shapes:   a row becomes [elements] floats; with planes, [C][H*W] in the file becomes [H*W][C].
 * Owner:    the dataset.  Thread: read-only, any number.
 * Memory:   none of its own; reading uses the stack.
 * Source:   none.
 * Surprise: none.
 */
#include "worker/data/rows.h"
#include "worker/data/scaling.h"

struct view {
    const struct rows *rows;
    const struct scaling *scaling;
    size_t elements;    /* of a row */
    size_t plane_count; /* C when channels are to be put last, else 0 */
};

/* Reads one row to out [elements].  ERR_IO, ERR_INPUT when a number is not finite. */
MUST_USE int view_read(const struct view *view, uint64_t row, float *out, struct err_msg *why);

#endif
