#include "worker/nn/gemm.h"

#include <math.h>
#include "common/simd.h"
#include "worker/nn/gemm_parts.h"
#include "worker/nn/kernels.h"

enum { CACHE_LINE_REALS = 64 / sizeof(real) };

/* In whole steps, and no more than most. */
static size_t round_up(size_t count, size_t step, size_t most)
{
    return count >= most ? most : (count + step - 1) / step * step;
}

static size_t parts_scratch_count(struct blas_shape shape)
{
    size_t cols = round_up(shape.cols, GEMM_TILES_PANEL, GEMM_TILES_BLOCK_COLS);
    size_t tiles = (1 + cols / GEMM_TILES_PANEL) * GEMM_TILES_PANEL_BYTES / sizeof(real);
    size_t vectors = (size_t)GEMM_PARTS * GEMM_PARTS_STEP * GEMM_PARTS_COLS;
    return tiles > vectors ? tiles : vectors;
}

size_t gemm_scratch_count(struct blas_shape shape, enum products products)
{
    if (products == PRODUCTS_BF16X3)
        return parts_scratch_count(shape);
    size_t rows = round_up(shape.rows, GEMM_TILE_ROWS, GEMM_BLOCK_ROWS);
    size_t cols = round_up(shape.cols, GEMM_TILE_COLS, GEMM_BLOCK_COLS);
    size_t inner = round_up(shape.inner, 1, GEMM_BLOCK_INNER);
    return round_up(rows * inner, CACHE_LINE_REALS, SIZE_MAX) + inner * cols;
}

void gemm_sum_columns(const struct gemm *p)
{
    if (p->B_sums == NULL)
        return;
    kernel_zero(p->B_sums, p->shape.cols);
    for (size_t row = 0; row < p->shape.inner; row++)
        kernel_add_rows(p->B_sums, p->B.data + row * p->B.stride, 1, p->shape.cols);
}

void gemm_plain(const struct gemm *p)
{
    for (size_t row = 0; row < p->shape.rows; row++)
        for (size_t col = 0; col < p->shape.cols; col++) {
            real *C = p->C + row * p->C_stride + col;
            real sum = p->bias != NULL ? p->bias[col] : p->keep ? *C : 0;
            for (size_t i = 0; i < p->shape.inner; i++) {
#ifdef TALWEG_REAL_DOUBLE
                sum = fma(blas_element(p->A, row, i), blas_element(p->B, i, col), sum);
#else
                sum = fmaf(blas_element(p->A, row, i), blas_element(p->B, i, col), sum);
#endif
            }
            *C = sum;
        }
    gemm_sum_columns(p);
}

const char *gemm_kernels(void)
{
    return gemm_is_own() ? "Talweg" : blas_core_name();
}

bool gemm_has_room(size_t thread_count)
{
    return gemm_is_own() || blas_has_room(thread_count);
}

/* By OpenBLAS. */
static void multiply_elsewhere(const struct gemm *p)
{
    for (size_t row = 0; p->bias != NULL && row < p->shape.rows; row++)
        kernel_copy(p->C + row * p->C_stride, p->bias, p->shape.cols);
    blas_multiply(p->shape, p->A, p->B, p->keep || p->bias != NULL, p->C, p->C_stride);
    gemm_sum_columns(p);
}

#if !defined(TALWEG_REAL_DOUBLE) && defined(__x86_64__)
bool gemm_is_own(void)
{
    return simd_kernels_of(SIMD_V3) != NULL;
}

void gemm(const struct gemm *product)
{
    bool has_parts = product->products == PRODUCTS_BF16X3;
    if (has_parts && gemm_has_tiles())
        gemm_tiles_kernel_amx(product);
    else if (has_parts && gemm_is_own())
        gemm_parts_kernel_v3(product);
    else if (simd_kernels_of(SIMD_V4) != NULL)
        gemm_kernel_v4(product);
    else if (gemm_is_own())
        gemm_kernel_v3(product);
    else
        multiply_elsewhere(product);
}
#else
bool gemm_is_own(void)
{
    return false;
}

void gemm(const struct gemm *product)
{
    multiply_elsewhere(product);
}
#endif
