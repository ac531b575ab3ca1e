#include "common/simd.h"

#include <assert.h>
#include "common/err.h"

extern const struct simd_kernels simd_table_base;

#ifdef __x86_64__
extern const struct simd_kernels simd_table_v3, simd_table_v4;

const struct simd_kernels *simd_kernels_of(enum simd_level level)
{
    switch (level) {
    case SIMD_BASE:
        return &simd_table_base;
    case SIMD_V3:
        return __builtin_cpu_supports("x86-64-v3") ? &simd_table_v3 : NULL;
    case SIMD_V4:
        return __builtin_cpu_supports("x86-64-v4") ? &simd_table_v4 : NULL;
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

const char *simd_level_text(enum simd_level level)
{
    static const char *const texts[] = {"base", "x86-64-v3", "x86-64-v4"};
    assert((size_t)level < ARRAY_LEN(texts));
    return texts[level];
}
