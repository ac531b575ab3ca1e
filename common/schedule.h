#ifndef COMMON_SCHEDULE_H
#define COMMON_SCHEDULE_H

/* schedule - the learning rate of a step: a pure function of the settings and the step's number.
 *
 * The first warmup_steps rise in a line to `rate`, which the last of them has.  From there on, with
 * s = step - warmup_steps:
 *     constant   rate
 *     step       rate * decay_factor ^ floor(s / decay_every), never below min_rate
 *     cosine     min_rate + (rate - min_rate) * (1 + cos(pi * s / (step_count - warmup_steps))) / 2
 *
 * Owner:    nobody.  Thread: no state.
 * Source:   Goyal et al. 2017, section 2.2 (warm-up); Loshchilov & Hutter 2017, eq. 5 (cosine).
 * Surprise: none.
 */
#include <stdint.h>
#include "common/settings.h"

/* step: 0 for the first; step_count: steps of the whole job. */
double schedule_rate(const struct settings *settings, uint64_t step, uint64_t step_count);

#endif
