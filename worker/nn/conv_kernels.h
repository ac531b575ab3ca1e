#ifndef WORKER_NN_CONV_KERNELS_H
#define WORKER_NN_CONV_KERNELS_H

/* conv_kernels - the inner loops of convolutions, a table of them for each level of vector
 * instructions that conv_product.c, winograd_tiles.c and conv_depthwise.c are compiled for.
 *
 * conv_product is a matrix product whose left side is not a matrix in memory but wherever two lists
 * of offsets lead: element (i, k) is a[row_at[i] + inner_at[k]].  So the windows of an image are
 * multiplied where they lie, overlapping as they do, without a copy of them (im2col); BLAS cannot
 * be told that.
 *
 * Shapes:   as each struct says; strides and offsets in reals.
 * Owner:    the caller's arrays.  Thread: no state.
 * Memory:   none.
 * Source:   Winograd's tiles: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
 *           CVPR 2016, section 4.3: F(4x4, 3x3).
 * Surprise: no level may change a bit of what another gives: each number is one chain of fused
 *           multiply-adds in the order of k, whatever the width of a vector and of a tile.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/simd.h"
#include "worker/nn/real.h"

enum {
    CONV_COLS = 16,       /* what a product reads of b is rounded up to this many columns */
    CONV_PANEL = 32,      /* columns that are multiplied at a time */
    WINOGRAD_TILE = 4,    /* a tile gives 4 x 4 numbers out */
    WINOGRAD_SIDE = 6,    /* of 6 x 6 numbers in */
    WINOGRAD_POINTS = 36, /* which are transformed into as many */
    WINOGRAD_LANES = 16   /* channels are a multiple of this */
};

/* c[rows][cols] = start + a b.  Row i of c begins at c[c_at[i]]. */
struct conv_product {
    size_t rows, inner, cols;
    const real *a;
    const uint32_t *row_at;   /* [rows] */
    const uint32_t *inner_at; /* [inner] */
    const real *b;            /* [inner][b_stride] */
    size_t b_stride;          /* >= cols rounded up to CONV_COLS */
    real *c;
    const uint32_t *c_at; /* [rows] */
    const real *bias;     /* [cols]: each row starts with it; NULL: with 0, or with c */
    bool keep;            /* start with c */
    bool relu;            /* what is below 0 becomes 0 at the end */
};

/* A tile of pixels [side][side][channels] that lies in an image. */
struct winograd_pixels {
    size_t row_stride, col_stride; /* between pixels */
    size_t channels;               /* a multiple of WINOGRAD_LANES */
    size_t rows, cols;             /* of a tile out: how much of it lies on the image, 1..4 */
    bool relu;                     /* of a tile out: what is below 0 becomes 0 */
};

struct conv_kernels {
    void (*multiply)(const struct conv_product *product);

    /* points[36][channels], a point_stride apart, of a tile of 6 x 6 pixels: B^T d B. */
    void (*tile_in)(const struct winograd_pixels *pixels, const real *in, real *points,
                    size_t point_stride);
    /* The part of a tile that lies on the image, from its points: A^T m A + bias (NULL: none). */
    void (*tile_out)(const struct winograd_pixels *pixels, const real *points, size_t point_stride,
                     const real *bias, real *out);
    /* points of the gradient of a tile out of 4 x 4 pixels: A dY A^T. */
    void (*tile_out_grad)(const struct winograd_pixels *pixels, const real *out_grad, real *points,
                          size_t point_stride);
    /* points[36][count] of weight[9][count]: G w G^T; taps lie a tap_stride apart. */
    void (*taps_in)(const real *weight, size_t tap_stride, size_t count, real *points,
                    size_t point_stride);
    /* weight_grad[9][count] (+)= G^T dU G. */
    void (*taps_grad)(const real *points, size_t point_stride, size_t count, bool keep,
                      real *weight_grad, size_t tap_stride);

    /* sums[channels] += the products of what both lists of pixels hold, channel by channel:
     * a[a_at[k]][c] b[b_at[k]][c] for k in [0, count). */
    void (*multiply_channels)(const real *a, const uint32_t *a_at, const real *b,
                              const uint32_t *b_at, size_t count, size_t channels, real *sums);
};

/* The kernels of that level; NULL when this processor, or this build, does not have it.  SIMD_BASE
 * is what the whole of Talweg is compiled for. */
const struct conv_kernels *conv_kernels_of(enum simd_level level);

/* Those of the highest level that there is. */
const struct conv_kernels *conv_kernels_best(void);

#endif
