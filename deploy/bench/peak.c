#include "deploy/bench/peak.h"

#include "common/clock.h"
#include "common/err.h"
#include "common/simd.h"
#include "deploy/bench/peak_loop.h"

enum { SAMPLE_NS = 4000000 };

/* Twice as many rounds each time, until they last long enough to be timed. */
static double time_loop(const struct peak_loop *loop)
{
    volatile float sink;
    for (uint64_t rounds = 1000;; rounds *= 2) {
        uint64_t begin_ns = clock_now_ns();
        sink = loop->run(rounds);
        uint64_t ns = clock_now_ns() - begin_ns;
        (void)sink;
        if (ns >= SAMPLE_NS)
            return (double)(rounds * loop->flops) / (double)ns;
    }
}

double peak_gflops(void)
{
    static const struct peak_loop *const loops[] = {
        [SIMD_BASE] = &peak_loop_base,
#ifdef __x86_64__
        [SIMD_V3] = &peak_loop_v3,
        [SIMD_V4] = &peak_loop_v4,
#endif
    };
    double best = 0.0;
    for (enum simd_level level = 0; level < (enum simd_level)ARRAY_LEN(loops); level++) {
        double found = simd_kernels_of(level) != NULL ? time_loop(loops[level]) : 0.0;
        best = found > best ? found : best;
    }
    return best;
}
