#ifndef COMMON_RANDOM_H
#define COMMON_RANDOM_H

/* random - bytes nobody can foresee, for run ids and incarnations.
 *
 * Only the mains draw them: what decides a weight is drawn from philox.h, and comes out the same
 * each time.
 *
 * Owner:    the process.  Thread: any, no state.  Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"

/* Fills bytes_out [size_bytes] from the kernel's generator.  ERR_IO when it gives none. */
MUST_USE int random_bytes(void *bytes_out, size_t size_bytes);

#endif
