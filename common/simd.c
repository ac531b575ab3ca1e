#include "common/simd.h"

#include <assert.h>
#include "common/err.h"

extern const struct simd_kernels simd_table_base;

#ifdef __x86_64__
extern const struct simd_kernels simd_table_v3, simd_table_v4;

/* Clang before 16 does not know the levels by name: what they have beyond the one below. */
#ifdef __clang__
#define HAS_V3                                                                     \
    (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&           \
     __builtin_cpu_supports("fma"))
#define HAS_V4                                                                     \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&    \
     __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&   \
     __builtin_cpu_supports("avx512vl"))
#else
#define HAS_V3 __builtin_cpu_supports("x86-64-v3")
#define HAS_V4 __builtin_cpu_supports("x86-64-v4")
#endif

const struct simd_kernels *simd_kernels_of(enum simd_level level)
{
    switch (level) {
    case SIMD_BASE:
        return &simd_table_base;
    case SIMD_V3:
        return HAS_V3 ? &simd_table_v3 : NULL;
    case SIMD_V4:
        return HAS_V4 ? &simd_table_v4 : NULL;
    default:
        return NULL;
    }
}
#else
const struct simd_kernels *simd_kernels_of(enum simd_level level)
{
    return level == SIMD_BASE ? &simd_table_base : NULL;
}
#endif

/* v4 is left out: these loops wait for memory, or for the divider, whatever their width. */
const struct simd_kernels *simd_kernels_best(void)
{
    const struct simd_kernels *v3 = simd_kernels_of(SIMD_V3);
    return v3 != NULL ? v3 : simd_kernels_of(SIMD_BASE);
}

/* ResNet-18's initial weights take 31 ms at v4, 54 ms at v3. */
const struct simd_kernels *simd_kernels_widest(void)
{
    const struct simd_kernels *v4 = simd_kernels_of(SIMD_V4);
    return v4 != NULL ? v4 : simd_kernels_best();
}

const char *simd_level_text(enum simd_level level)
{
    static const char *const texts[] = {"base", "x86-64-v3", "x86-64-v4"};
    assert((size_t)level < ARRAY_LEN(texts));
    return texts[level];
}
