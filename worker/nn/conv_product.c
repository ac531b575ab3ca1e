/* The product of conv_kernels.h: tiles of TILE_ROWS rows and two vectors of columns, whose sums
 * stay in registers over all of `inner`.  Eight rows of 512-bit vectors, or four of narrower ones,
 * are what the registers hold. */
#include "worker/nn/conv_kernels.h"

#include <string.h>
#include "worker/nn/conv_vector.h"

void CONV_NAME(conv_multiply)(const struct conv_product *p);

enum { TILE_ROWS = VECTOR_BYTES == 64 ? 8 : 4, TILE_VECTORS = 2 };

/* One tile; rows, vectors and is_whole are constants wherever this is made.  is_whole: all columns
 * of the vectors belong to the product. */
struct tile {
    size_t row, col;
    int rows, vectors;
    bool is_whole;
};

/* A vector of a row of c, or of the bias, of which the last columns may lie beyond the product. */
INLINE vector load_part(const real *from, size_t cols, bool is_whole)
{
    real part[LANES] = {0};
    if (is_whole || cols >= LANES)
        return load(from);
    memcpy(part, from, cols * sizeof(*part));
    return load(part);
}

INLINE void store_part(real *to, vector value, size_t cols, bool is_whole)
{
    real part[LANES];
    if (is_whole || cols >= LANES) {
        store(to, value);
        return;
    }
    store(part, value);
    memcpy(to, part, cols * sizeof(*part));
}

/* What the sums of a tile start with. */
INLINE void start_tile(const struct conv_product *p, struct tile t,
                       vector sums[TILE_ROWS][TILE_VECTORS])
{
    for (int j = 0; j < t.vectors; j++) {
        size_t col = t.col + (size_t)(j * LANES), cols = p->cols - col;
        vector start = p->bias ? load_part(p->bias + col, cols, t.is_whole) : (vector){0};
        UNROLLED
        for (int i = 0; i < t.rows; i++)
            sums[i][j] = start;
    }
    if (!p->keep)
        return;
    UNROLLED
    for (int i = 0; i < t.rows; i++) {
        const real *c = p->c + p->c_at[t.row + (size_t)i] + t.col;
        UNROLLED
        for (int j = 0; j < t.vectors; j++)
            sums[i][j] = load_part(c + j * LANES, p->cols - t.col - (size_t)(j * LANES),
                                   t.is_whole);
    }
}

INLINE void end_tile(const struct conv_product *p, struct tile t,
                     vector sums[TILE_ROWS][TILE_VECTORS])
{
    UNROLLED
    for (int i = 0; i < t.rows; i++) {
        real *c = p->c + p->c_at[t.row + (size_t)i] + t.col;
        UNROLLED
        for (int j = 0; j < t.vectors; j++)
            store_part(c + j * LANES, p->relu ? relu(sums[i][j]) : sums[i][j],
                       p->cols - t.col - (size_t)(j * LANES), t.is_whole);
    }
}

INLINE void multiply_tile(const struct conv_product *p, struct tile t)
{
    vector sums[TILE_ROWS][TILE_VECTORS];
    const real *a[TILE_ROWS], *b = p->b + t.col;
    start_tile(p, t, sums);
    UNROLLED
    for (int i = 0; i < t.rows; i++)
        a[i] = p->a + p->row_at[t.row + (size_t)i];
    for (size_t k = 0; k < p->inner; k++, b += p->b_stride) {
        size_t at = p->inner_at[k];
        vector right[TILE_VECTORS];
        UNROLLED
        for (int j = 0; j < t.vectors; j++)
            right[j] = load(b + j * LANES);
        UNROLLED
        for (int i = 0; i < t.rows; i++) {
            vector left = a[i][at] - (vector){0};
            UNROLLED
            for (int j = 0; j < t.vectors; j++)
                sums[i][j] = multiply_add(left, right[j], sums[i][j]);
        }
    }
    end_tile(p, t, sums);
}

INLINE void multiply_cols(const struct conv_product *p, size_t col, int vectors, bool is_whole)
{
    size_t row = 0;
    for (; row + TILE_ROWS <= p->rows; row += TILE_ROWS)
        multiply_tile(p, (struct tile){row, col, TILE_ROWS, vectors, is_whole});
    for (; TILE_ROWS > 4 && row + 4 <= p->rows; row += 4)
        multiply_tile(p, (struct tile){row, col, 4, vectors, is_whole});
    for (; row + 2 <= p->rows; row += 2)
        multiply_tile(p, (struct tile){row, col, 2, vectors, is_whole});
    for (; row < p->rows; row++)
        multiply_tile(p, (struct tile){row, col, 1, vectors, is_whole});
}

void CONV_NAME(conv_multiply)(const struct conv_product *p)
{
    for (size_t col = 0; col < p->cols; col += TILE_VECTORS * LANES) {
        size_t cols = p->cols - col;
        if (cols >= TILE_VECTORS * LANES)
            multiply_cols(p, col, TILE_VECTORS, true);
        else if (cols > LANES)
            multiply_cols(p, col, TILE_VECTORS, false);
        else
            multiply_cols(p, col, 1, cols == LANES);
    }
}
