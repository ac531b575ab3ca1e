#ifndef COMMON_SIMD_H
#define COMMON_SIMD_H

/* simd - which level of vector instructions the long loops run at, found out by asking the
 * processor.
 *
 * Owner:    none.  Thread: no state.
 * Memory:   none; tables are static.
 * Source:   the levels are those of the x86-64 psABI, section 3.1.1.
 * Surprise: never by ifunc or target_clones, whose resolvers run before the thread sanitizer does.
 */
#include "common/simd_kernels.h"

enum simd_level { SIMD_BASE, SIMD_V3, SIMD_V4, SIMD_LEVEL_COUNT };

/* The kernels of that level; NULL when this processor, or this build, does not have it. */
const struct simd_kernels *simd_kernels_of(enum simd_level level);

/* Those that measured best of what this processor has: for long vectors, and for what only
 * computes, as philox does. */
const struct simd_kernels *simd_kernels_best(void);
const struct simd_kernels *simd_kernels_widest(void);

/* "base", "x86-64-v3", "x86-64-v4".  Static. */
const char *simd_level_text(enum simd_level level);

#endif
