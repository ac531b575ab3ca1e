#ifndef WORKER_DATA_SCALING_H
#define WORKER_DATA_SCALING_H

/* scaling - the numbers of a sample as they are kept, to floats as the network takes them.
 *
 *     y = (x * scale - mean) / std, computed as (x - offset) * factor
 *     with offset = mean / scale and factor = scale / std
 *
 * Shapes:   a sample's elements, in file order.
 * Owner:    the dataset.  Thread: read-only once made.
 * Memory:   an offset and a factor an element, or one pair when there is one channel.
 * Source:   none.
 * Surprise: u8, u16 and f32 are computed in float, other types in double before the last rounding.
 */
#include "worker/data/norm.h"
#include "worker/data/rows.h"

struct scaling;

/* For samples of that many elements.  The norm is borrowed for the call.  ERR_NOMEM. */
MUST_USE int scaling_create(const struct norm *norm, enum rows_type type, size_t elements,
                            struct scaling **scaling_out);
void scaling_destroy(struct scaling *scaling);

/* Scales elements first..first+count of a sample, which start at `from`, to out [count]. */
void scaling_apply(const struct scaling *scaling, const void *from, size_t first, size_t count,
                   float *out);

#endif
