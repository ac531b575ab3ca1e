#ifndef COMMON_PHILOX_STEPS_H
#define COMMON_PHILOX_STEPS_H

/* philox_steps - what philox.c does one by one and simd_kernels.c many at a time.
 *
 * Owner:    none.  Thread: no state.  Memory: none.
 * Source:   as common/philox.h.
 * Surprise: inline, so that loops around them can be vectorised.
 */
#include <math.h>
#include <stdint.h>
#include "common/elementary.h"

enum { PHILOX_ROUNDS = 10 };

/* Salmon et al., on Philox: multipliers, and the Weyl constants of the key schedule (golden ratio,
 * sqrt(3) - 1). */
static const uint32_t PHILOX_MULTIPLY_0 = 0xD2511F53, PHILOX_MULTIPLY_1 = 0xCD9E8D57;
static const uint32_t PHILOX_WEYL_0 = 0x9E3779B9, PHILOX_WEYL_1 = 0xBB67AE85;

/* ln((word + 1/2) / 2^32). */
static inline double philox_log_of(uint32_t word)
{
    return elementary_log(((double)(int32_t)(word ^ 0x80000000u) + 0x1p31 + 0.5) * 0x1p-32);
}

/* Box & Muller: two uniform words make two independent normal numbers, radius sqrt(-2 ln u), any
 * angle.  The angle is a quarter (top 2 bits) and a position in it (the other 30, as -pi/4..pi/4).
 */
static inline void philox_normal_pair(uint32_t radius_word, uint32_t angle_word,
                                      float pair_out[2])
{
    double radius = sqrt(-2 * philox_log_of(radius_word));
    double cosine, sine;
    elementary_turn((double)(int32_t)(angle_word << 2) * (0x1.921fb54442d18p+0 * 0x1p-32), &cosine,
                    &sine);
    /* Chosen by exact multiplication with 0, 1 or -1: a branch would keep the loop around from
     * being vectorised. */
    double odd = (double)(int32_t)(angle_word >> 30 & 1), even = 1 - odd;
    double side = radius - 2 * radius * (double)(int32_t)(angle_word >> 31);
    pair_out[0] = (float)(side * (even * cosine + odd * sine));
    pair_out[1] = (float)(side * (even * sine + odd * cosine));
}

#endif
