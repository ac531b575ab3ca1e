#include "worker/nn/conv_kernels.h"

/* TALWEG_CONV_V4: the kernels were compiled for x86-64-v4 too (worker/CMakeLists.txt). */
#define TABLE(level) \
    void conv_multiply_##level(const struct conv_product *); \
    void winograd_tile_in_##level(const struct winograd_pixels *, const real *, real *, size_t); \
    void winograd_tile_out_##level(const struct winograd_pixels *, const real *, size_t, \
                                   const real *, real *); \
    void winograd_tile_out_grad_##level(const struct winograd_pixels *, const real *, real *, \
                                        size_t); \
    void winograd_taps_in_##level(const real *, size_t, size_t, real *, size_t); \
    void winograd_taps_grad_##level(const real *, size_t, size_t, bool, real *, size_t); \
    void conv_multiply_channels_##level(const real *, const uint32_t *, const real *, \
                                        const uint32_t *, size_t, size_t, real *); \
    static const struct conv_kernels table_##level = { \
        .multiply = conv_multiply_##level, \
        .tile_in = winograd_tile_in_##level, \
        .tile_out = winograd_tile_out_##level, \
        .tile_out_grad = winograd_tile_out_grad_##level, \
        .taps_in = winograd_taps_in_##level, \
        .taps_grad = winograd_taps_grad_##level, \
        .multiply_channels = conv_multiply_channels_##level, \
    };

TABLE(base)
#ifdef TALWEG_CONV_V4
TABLE(v4)
#endif

const struct conv_kernels *conv_kernels_of(enum simd_level level)
{
    if (level == SIMD_BASE)
        return &table_base;
#ifdef TALWEG_CONV_V4
    if (level == SIMD_V4 && simd_kernels_of(SIMD_V4) != NULL)
        return &table_v4;
#endif
    return NULL;
}

const struct conv_kernels *conv_kernels_best(void)
{
    const struct conv_kernels *v4 = conv_kernels_of(SIMD_V4);
    return v4 != NULL ? v4 : conv_kernels_of(SIMD_BASE);
}
