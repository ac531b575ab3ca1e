#ifndef DEPLOY_BENCH_PEAK_LOOP_H
#define DEPLOY_BENCH_PEAK_LOOP_H

/* peak_loop - multiplications and additions that wait for nothing: what a core computes at most.
 *
 * The source is compiled once for each level of vector instructions (common/simd.h), with a * b + c
 * contracted, since here speed is asked for and not bits.
 *
 * Owner:    none.  Thread: no state.  Memory: none.
 * Surprise: none.
 */
#include <stdint.h>

struct peak_loop {
    float (*run)(uint64_t rounds); /* what comes out means nothing, but must be used */
    uint64_t flops;                /* of one round */
};

extern const struct peak_loop peak_loop_base, peak_loop_v3, peak_loop_v4;

#endif
