#include "deploy/bench/peak_loop.h"

#ifdef __AVX512F__
enum { VECTOR_BYTES = 64 };
#else
enum { VECTOR_BYTES = 32 };
#endif

/* So many sums at once hide an addition's latency (4 cycles, two a cycle: 8) and fit 16 registers
 * beside the two factors. */
enum { SUMS = 12, UNROLL = 8, WIDTH = VECTOR_BYTES / sizeof(float) };

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

static float run(uint64_t rounds)
{
    vector sums[SUMS], factor, addend, all = {0};
    for (int i = 0; i < WIDTH; i++) {
        factor[i] = 0.999f;
        addend[i] = 0.001f + (float)(rounds % 2) * 1e-6f; /* known at run time only */
    }
    for (int s = 0; s < SUMS; s++)
        sums[s] = addend * (float)(s + 1);
    for (uint64_t r = 0; r < rounds; r++)
        for (int u = 0; u < UNROLL; u++)
            for (int s = 0; s < SUMS; s++)
                sums[s] = sums[s] * factor + addend;
    for (int s = 0; s < SUMS; s++)
        all += sums[s];
    return all[0] + all[WIDTH - 1];
}

const struct peak_loop PEAK_LOOP = {.run = run, .flops = 2 * SUMS * UNROLL * WIDTH};
