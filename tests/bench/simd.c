/* simd - how fast each level's loops are, beside memcpy, on ranges that fit a cache or do not.
 *
 * Use:      bench_simd [SECONDS_A_FIGURE]        prints ns an element, best of several rounds
 * Surprise: none.
 */
#include "common/simd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"

enum { ELEMENTS_MAX = 4 << 20, ARRAYS = 6, ROUNDS = 40 };

static float *arrays[ARRAYS];

enum kernel { COPY, ADD, SUM, FINITE, SGD, MOMENTUM, ADAM, KERNEL_COUNT };

static const char *const names[] = {"memcpy", "add", "sum", "is_finite", "sgd", "momentum", "adam"};

static bool run(const struct simd_kernels *kernels, enum kernel kernel, size_t count)
{
    struct simd_step step = {.w = arrays[0], .out = arrays[0], .grad = arrays[1],
                             .grad2 = arrays[2], .first = arrays[3], .second = arrays[4],
                             .count = count, .scale = 1e-9f, .rate = 1e-9f, .momentum = 0.9f,
                             .beta1 = 0.9f, .rest1 = 0.1f, .beta2 = 0.99f, .rest2 = 0.01f,
                             .root_bias = 1.0f, .epsilon = 1e-8f, .keep = 1.0f};
    switch (kernel) {
    case COPY:
        memcpy(arrays[5], arrays[1], count * sizeof(float));
        return true;
    case ADD:
        kernels->add(arrays[5], arrays[1], count);
        return true;
    case SUM:
        kernels->sum(arrays[5], arrays[1], arrays[2], count);
        return true;
    case FINITE:
        return kernels->is_finite(arrays[1], count);
    case SGD:
        kernels->sgd(&step);
        return true;
    case MOMENTUM:
        kernels->momentum(&step);
        return true;
    default:
        kernels->adam(&step);
        return true;
    }
}

/* ns an element, the best round's. */
static double measure(const struct simd_kernels *kernels, enum kernel kernel, size_t count,
                      double seconds)
{
    double best = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin_us = clock_now_us(), end_us;
        double calls = 0.0;
        do {
            for (size_t done = 0; done < 65536; done += count, calls++)
                if (!run(kernels, kernel, count))
                    exit(1);
            end_us = clock_now_us();
        } while ((double)(end_us - begin_us) < seconds * 1e6 / ROUNDS);
        double ns = (double)(end_us - begin_us) * 1e3 / (calls * (double)count);
        best = ns < best ? ns : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    static const size_t counts[] = {1 << 10, 1 << 14, 1 << 18, 1 << 20, ELEMENTS_MAX};
    double seconds = argc > 1 ? atof(argv[1]) : 0.2;
    for (size_t i = 0; i < ARRAYS; i++) {
        arrays[i] = aligned_alloc(64, ELEMENTS_MAX * sizeof(float));
        if (arrays[i] == NULL)
            return 1;
        for (size_t k = 0; k < ELEMENTS_MAX; k++)
            arrays[i][k] = (float)(k % 1001) * 1e-3f;
    }
    printf("ns an element; %-9s", "KiB");
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
        printf(" %9zu", counts[i] * sizeof(float) >> 10);
    printf("\n");
    for (int kernel = COPY; kernel < KERNEL_COUNT; kernel++)
        for (int level = 0; level < (kernel == COPY ? 1 : SIMD_LEVEL_COUNT); level++) {
            const struct simd_kernels *kernels = simd_kernels_of((enum simd_level)level);
            if (kernels == NULL)
                continue;
            printf("%-12s %-11s", names[kernel], simd_level_text((enum simd_level)level));
            for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
                printf(" %9.4f", measure(kernels, (enum kernel)kernel, counts[i], seconds));
            printf("\n");
        }
    for (size_t i = 0; i < ARRAYS; i++)
        free(arrays[i]);
    return 0;
}
