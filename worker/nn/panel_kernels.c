/* The product of panels.h with vectors, compiled once for each level of instructions: the one file
 * in which the compiler fuses a * b + c, always, as panels_multiply_plain does by name. */
#include "worker/nn/panels.h"

#include <string.h>

#ifdef __AVX512F__
/* Of 32 registers: 12 rows x 32 columns in 24, a row of the panel in 2. */
enum { LANES = 16, TILE_ROWS = 12, TILE_COLS = 32 };
#else
/* Of 16 registers: 6 rows x 16 columns in 12, a row of the panel in 2. */
enum { LANES = 8, TILE_ROWS = 6, TILE_COLS = 16 };
#endif
enum { VECTORS = TILE_COLS / LANES };

/* Of a panel, so many rows at a time: 32 KiB, which stay in the first cache. */
enum { BLOCK_INNER = 256 };

/* Wherever a float may lie. */
typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)),
                                    may_alias));

struct tile {
    size_t inner;
    const float *A;
    size_t A_stride;
    const float *panel; /* its first row and column */
    float *C;
    size_t C_stride;
    bool is_turned, anew; /* as the product's A_form says */
};

#define INLINE static inline __attribute__((always_inline))

/* rows and is_turned are constants where this is called, so that sums are registers. */
INLINE void multiply_rows(const struct tile *t, size_t rows, bool is_turned)
{
    vector sums[TILE_ROWS][VECTORS];
    if (t->anew) {
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (size_t v = 0; v < VECTORS; v++)
                sums[r][v] = (vector){0};
    } else {
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (size_t v = 0; v < VECTORS; v++)
                sums[r][v] = *(const vector *)(t->C + r * t->C_stride + v * LANES);
    }
    size_t row_step = is_turned ? 1 : t->A_stride, step = is_turned ? t->A_stride : 1;
    const float *A = t->A, *panel = t->panel;
    for (size_t i = 0; i < t->inner; i++, A += step, panel += PANEL_COLS)
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (size_t v = 0; v < VECTORS; v++)
                sums[r][v] += A[r * row_step] * *(const vector *)(panel + v * LANES);
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (size_t v = 0; v < VECTORS; v++)
            *(vector *)(t->C + r * t->C_stride + v * LANES) = sums[r][v];
}

#define ROWS(n) \
    case n: \
        if (t->is_turned) \
            multiply_rows(t, n, true); \
        else \
            multiply_rows(t, n, false); \
        break;

static void multiply_tile(const struct tile *t, size_t rows)
{
    switch (rows) {
        ROWS(1)
        ROWS(2)
        ROWS(3)
        ROWS(4)
        ROWS(5)
        ROWS(6)
#if defined(__AVX512F__)
        ROWS(7)
        ROWS(8)
        ROWS(9)
        ROWS(10)
        ROWS(11)
        ROWS(12)
#endif
    default:
        break;
    }
}

/* A tile that reaches beyond the columns of C: on a copy. */
static void multiply_narrow(const struct tile *t, size_t rows, size_t cols)
{
    float copy[TILE_ROWS * TILE_COLS] = {0};
    struct tile whole = *t;
    whole.C = copy;
    whole.C_stride = TILE_COLS;
    for (size_t r = 0; r < rows; r++)
        memcpy(copy + r * TILE_COLS, t->C + r * t->C_stride, cols * sizeof(*copy));
    multiply_tile(&whole, rows);
    for (size_t r = 0; r < rows; r++)
        memcpy(t->C + r * t->C_stride, copy + r * TILE_COLS, cols * sizeof(*copy));
}

/* TILE_COLS columns, from `col`, of all rows, in tiles that are about as high as one another. */
static void multiply_columns(const struct panel_product *p, size_t begin, size_t inner, size_t col)
{
    bool is_turned = p->A_form == BLAS_TRANSPOSED;
    size_t row_step = is_turned ? 1 : p->A_stride, step = is_turned ? p->A_stride : 1;
    size_t panel_rows = p->panel_rows > 0 ? p->panel_rows : p->inner;
    size_t cols = p->cols - col < TILE_COLS ? p->cols - col : TILE_COLS;
    size_t tiles = (p->rows + TILE_ROWS - 1) / TILE_ROWS;
    const float *panel = p->panels + col / PANEL_COLS * PANEL_COLS * panel_rows + col % PANEL_COLS;
    for (size_t row = 0; tiles > 0; tiles--) {
        size_t rows = (p->rows - row + tiles - 1) / tiles;
        struct tile tile = {.inner = inner,
                            .A = p->A + row * row_step + begin * step,
                            .A_stride = p->A_stride,
                            .panel = panel + begin * PANEL_COLS,
                            .C = p->C + row * p->C_stride + col,
                            .C_stride = p->C_stride,
                            .is_turned = is_turned,
                            .anew = p->anew && begin == 0};
        if (cols == TILE_COLS)
            multiply_tile(&tile, rows);
        else
            multiply_narrow(&tile, rows, cols);
        row += rows;
    }
}

/* PANEL_KERNEL: the name of what this compilation makes (CMakeLists.txt). */
void PANEL_KERNEL(const struct panel_product *product)
{
    for (size_t begin = 0; begin < product->inner; begin += BLOCK_INNER) {
        size_t left = product->inner - begin;
        for (size_t col = 0; col < product->cols; col += TILE_COLS)
            multiply_columns(product, begin, left < BLOCK_INNER ? left : BLOCK_INNER, col);
    }
}
