#ifndef DEPLOY_BENCH_PEAK_H
#define DEPLOY_BENCH_PEAK_H

/* peak - the most multiplications and additions in f32 that this core does in a second.
 *
 * Owner:    the caller.  Thread: any; each measures the core that it is on.  Memory: none.
 * Surprise: a call lasts some ten milliseconds.
 */

/* 1e9 a second, of the best level of instructions that this processor has: one short sample. */
double peak_gflops(void);

#endif
