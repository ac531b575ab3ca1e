#ifndef WORKER_NN_PANELS_H
#define WORKER_NN_PANELS_H

/* panels - products of a few rows with a matrix that is used again and again.
 *
 * A BLAS packs its right matrix anew in each product, which costs a recurrent network, whose every
 * step multiplies a few rows by the same weights, a good part of its time.  Here a matrix is packed
 * once, into panels of PANEL_COLS columns, and multiplied as often as one likes.
 *
 * Each element of C is a chain of fused multiplications and additions, inner index upwards, that
 * begins with what lies in C: the bits are the same at each level of vector instructions, and for
 * each number of rows.  A packed matrix may be multiplied in part: some of its rows, from any on;
 * some of its panels.
 *
 * Shapes:   A: [rows][inner], B: [inner][cols], C: [rows][cols], row major, A and C with a stride.
 *           panels: [panel][panel_rows][PANEL_COLS], columns that are not there are zero.
 * Owner:    the caller's arrays.  Thread: no state.
 * Memory:   none.
 * Source:   Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
 * Surprise: C is added to, unless the product says `anew`.
 */
#include <stdbool.h>
#include <stddef.h>
#include "worker/nn/blas.h"
#include "worker/nn/real.h"

enum { PANEL_COLS = 32 };

struct panel_product {
    size_t rows, cols, inner;
    const real *A;
    size_t A_stride;
    enum blas_form A_form; /* BLAS_TRANSPOSED: A lies as [inner][rows] */
    const real *panels;    /* of B: its first row and column here */
    size_t panel_rows;     /* that were packed; 0: inner */
    real *C;
    size_t C_stride;
    bool anew; /* C begins as zero, whatever lies there */
};

/* Reals that a packed matrix takes. */
size_t panels_count(size_t inner, size_t cols);

/* panels_out: [panels_count], any alignment; on a cache line it is read fastest. */
void panels_pack(size_t inner, size_t cols, struct blas_matrix B, real *panels_out);

/* C += A B, or C = A B. */
void panels_multiply(const struct panel_product *product);

/* The same bits by a plain loop: what the others are held to, and what computes in double. */
void panels_multiply_plain(const struct panel_product *product);

#ifndef TALWEG_REAL_DOUBLE
/* panel_kernels.c, compiled for each level (common/simd.h); base is there where the others are not.
 */
void panel_kernel_base(const struct panel_product *product);
void panel_kernel_v3(const struct panel_product *product);
void panel_kernel_v4(const struct panel_product *product);
#endif

#endif
