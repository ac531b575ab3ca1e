#ifndef WORKER_NN_GEMM_H
#define WORKER_NN_GEMM_H

/* gemm - general matrix products: of a network's dense layers, forward and backward.
 *
 * Ours on x86-64, with AVX2 or AVX-512, OpenBLAS's elsewhere.  A network's operands are
 * seldom in a cache when their product begins, so what is packed next is asked for while the
 * present tiles are computed, and so is C; a bias is what C begins with, and column sums (a bias's
 * gradient) are taken while B is packed.
 *
 * Ours: each element of C is a chain of fused multiplications and additions, inner index upwards,
 * that begins with zero, with the bias or with what lies in C.  So the bits are the same at both
 * levels of vector instructions, on every processor, and for each number of rows.
 *
 * Shapes:   A: [rows][inner], B: [inner][cols], C: [rows][cols], row major, with a stride each.
 * Owner:    the caller's arrays; C overlaps none of the others.  Thread: no state.
 * Memory:   gemm_scratch_count reals of the caller's; with OpenBLAS, what blas.h says.
 * Source:   Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/model_spec.h"
#include "worker/nn/blas.h"
#include "worker/nn/real.h"

struct gemm {
    struct blas_shape shape; /* inner > 0 */
    struct blas_matrix A, B;
    const real *bias; /* [cols], what each row of C begins with; NULL: zero, or as `keep` says */
    bool keep;        /* C begins with what lies there; without a bias */
    real *C;
    size_t C_stride;
    real *B_sums;  /* [cols], overwritten: the sum of each column of B, which is plain; or NULL */
    enum products products; /* with PRODUCTS_BF16X3 gemm_parts.h says what is computed */
    real *scratch; /* [gemm_scratch_count]; on a cache line it is fastest */
};

/* Reals that a product of at most this shape takes; of a dimension that is not known, SIZE_MAX. */
size_t gemm_scratch_count(struct blas_shape shape, enum products products);

/* This processor has what ours want: no product is OpenBLAS's. */
bool gemm_is_own(void);

/* What decides the bits of a product here: "Talweg", or OpenBLAS's kernels, "Haswell".  Static. */
const char *gemm_kernels(void);

/* Whether the address space has room for products in each of thread_count threads, beside scratch:
 * OpenBLAS tries for ever when it has none, so this is asked first. */
bool gemm_has_room(size_t thread_count);

/* C = A B + what it begins with. */
void gemm(const struct gemm *product);

static inline size_t gemm_at_most(size_t left, size_t most)
{
    return left < most ? left : most;
}

/* Fills B_sums, if it is wanted: row after row. */
void gemm_sum_columns(const struct gemm *product);

/* Ours by a plain loop, the same bits: what the others are held to. */
void gemm_plain(const struct gemm *product);

#ifndef TALWEG_REAL_DOUBLE
/* gemm_kernels.c, compiled for each level (common/simd.h). */
void gemm_kernel_v3(const struct gemm *product);
void gemm_kernel_v4(const struct gemm *product);
#endif

/* Rows of A and columns of B that are packed side by side, and how much of each at a time.  The
 * blocks stay in the second cache; a panel of B, 32 KiB, in the first. */
enum {
    GEMM_TILE_ROWS = 12,
    GEMM_TILE_COLS = 32,
    GEMM_BLOCK_ROWS = 11 * GEMM_TILE_ROWS,
    GEMM_BLOCK_INNER = 256,
    GEMM_BLOCK_COLS = 1024
};

#endif
