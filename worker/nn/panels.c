#include "worker/nn/panels.h"

#include <math.h>
#include <string.h>
#include "common/simd.h"

enum { SQUARE = 8 }; /* turned at a time */

#ifndef TALWEG_REAL_DOUBLE
/* Wherever a float may lie. */
typedef float eight __attribute__((vector_size(SQUARE * sizeof(float)), aligned(sizeof(float)),
                                   may_alias));
#endif

size_t panels_count(size_t inner, size_t cols)
{
    return (cols + PANEL_COLS - 1) / PANEL_COLS * PANEL_COLS * inner;
}

/* width numbers of row i of B, from column `first`. */
static void copy_row(struct blas_matrix B, size_t i, size_t first, size_t width, real *out)
{
    if (B.form == BLAS_PLAIN) {
        memcpy(out, B.data + i * B.stride + first, width * sizeof(*out));
        return;
    }
    for (size_t j = 0; j < width; j++)
        out[j] = B.data[(first + j) * B.stride + i];
}

/* out[i][j] = in[j][i] of a square; out has the rows of a panel.  Shuffled within 16 bytes, which
 * is fast, until the last. */
static inline void turn_square(const real *in, size_t stride, real *out)
{
#ifdef TALWEG_REAL_DOUBLE
    for (size_t i = 0; i < SQUARE; i++)
        for (size_t j = 0; j < SQUARE; j++)
            out[i * PANEL_COLS + j] = in[j * stride + i];
#else
    eight rows[SQUARE], pairs[SQUARE], fours[SQUARE];
#pragma GCC unroll 8
    for (size_t j = 0; j < SQUARE; j++)
        rows[j] = *(const eight *)(in + j * stride);
#pragma GCC unroll 4
    for (size_t k = 0; k < SQUARE; k += 2) {
        eight left = rows[k], right = rows[k + 1];
        pairs[k] = __builtin_shufflevector(left, right, 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[k + 1] = __builtin_shufflevector(left, right, 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 4
    for (size_t k = 0; k < SQUARE / 2; k++) {
        size_t from = k / 2 * 4 + k % 2, to = 2 * k;
        eight left = pairs[from], right = pairs[from + 2];
        fours[to] = __builtin_shufflevector(left, right, 0, 1, 8, 9, 4, 5, 12, 13);
        fours[to + 1] = __builtin_shufflevector(left, right, 2, 3, 10, 11, 6, 7, 14, 15);
    }
#pragma GCC unroll 4
    for (size_t k = 0; k < SQUARE / 2; k++) {
        eight left = fours[k], right = fours[k + 4];
        *(eight *)(out + k * PANEL_COLS) =
            __builtin_shufflevector(left, right, 0, 1, 2, 3, 8, 9, 10, 11);
        *(eight *)(out + (k + 4) * PANEL_COLS) =
            __builtin_shufflevector(left, right, 4, 5, 6, 7, 12, 13, 14, 15);
    }
#endif
}

/* A panel that has all its columns: whose counts the compiler knows. */
static void pack_whole(size_t inner, struct blas_matrix B, size_t first, real *panel)
{
    if (B.form == BLAS_PLAIN) {
        const real *from = B.data + first;
        for (size_t i = 0; i < inner; i++, from += B.stride, panel += PANEL_COLS)
            memcpy(panel, from, PANEL_COLS * sizeof(*panel));
        return;
    }
    const real *from = B.data + first * B.stride;
    size_t i = 0;
    for (; i + SQUARE <= inner; i += SQUARE)
        for (size_t j = 0; j < PANEL_COLS; j += SQUARE)
            turn_square(from + j * B.stride + i, B.stride, panel + i * PANEL_COLS + j);
    for (; i < inner; i++)
        copy_row(B, i, first, PANEL_COLS, panel + i * PANEL_COLS);
}

void panels_pack(size_t inner, size_t cols, struct blas_matrix B, real *panels_out)
{
    size_t first = 0;
    for (; first + PANEL_COLS <= cols; first += PANEL_COLS, panels_out += PANEL_COLS * inner)
        pack_whole(inner, B, first, panels_out);
    if (first == cols)
        return;
    for (size_t i = 0; i < inner; i++, panels_out += PANEL_COLS) {
        copy_row(B, i, first, cols - first, panels_out);
        for (size_t j = cols - first; j < PANEL_COLS; j++)
            panels_out[j] = 0;
    }
}

/* One element of A B, added to sum. */
static real add_element(const struct panel_product *p, size_t row, size_t col, real sum)
{
    bool is_plain = p->A_form == BLAS_PLAIN;
    size_t row_step = is_plain ? p->A_stride : 1, step = is_plain ? 1 : p->A_stride;
    size_t panel_rows = p->panel_rows > 0 ? p->panel_rows : p->inner;
    const real *A = p->A + row * row_step;
    const real *b = p->panels + col / PANEL_COLS * PANEL_COLS * panel_rows + col % PANEL_COLS;
    for (size_t i = 0; i < p->inner; i++) {
#ifdef TALWEG_REAL_DOUBLE
        sum = fma(A[i * step], b[i * PANEL_COLS], sum);
#else
        sum = fmaf(A[i * step], b[i * PANEL_COLS], sum);
#endif
    }
    return sum;
}

void panels_multiply_plain(const struct panel_product *product)
{
    for (size_t row = 0; row < product->rows; row++)
        for (size_t col = 0; col < product->cols; col++) {
            real *C = product->C + row * product->C_stride + col;
            *C = add_element(product, row, col, product->anew ? 0 : *C);
        }
}

void panels_multiply(const struct panel_product *product)
{
#if defined(TALWEG_REAL_DOUBLE)
    panels_multiply_plain(product);
#elif !defined(__x86_64__)
    panel_kernel_base(product);
#else
    if (simd_kernels_of(SIMD_V4) != NULL)
        panel_kernel_v4(product);
    else if (simd_kernels_of(SIMD_V3) != NULL)
        panel_kernel_v3(product);
    else
        panels_multiply_plain(product);
#endif
}
