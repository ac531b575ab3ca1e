#ifndef TESTS_PARITY_REFERENCE_H
#define TESTS_PARITY_REFERENCE_H

/* reference - what tests against recorded numbers share with the scripts that recorded them.
 *
 * Owner:    tests of tests/reference.  Memory: none.
 * Surprise: none.
 */
#include <math.h>
#include "tests/unit/networks.h"

/* scale sin(0.37 k^2 + phase), k = 1..count. */
static inline void chirp(real *out, size_t count, double scale, double phase)
{
    for (size_t i = 0; i < count; i++) {
        double k = (double)(i + 1);
        out[i] = (real)(scale * sin(0.37 * k * k + phase));
    }
}

/* v = 0.9 v + g; w -= rate v, with g the mean over the batch; grad is the sum over it. */
static inline void momentum_step(real *weights, real *speed, const real *grad, size_t count,
                                 double rate, size_t batch)
{
    for (size_t i = 0; i < count; i++) {
        speed[i] = (real)(0.9 * (double)speed[i] + (double)grad[i] / (double)batch);
        weights[i] = (real)((double)weights[i] - rate * (double)speed[i]);
    }
}

#endif
