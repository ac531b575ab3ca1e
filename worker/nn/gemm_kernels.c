/* The product of gemm.h with vectors, compiled once for each level of instructions: a file in which
 * the compiler fuses a * b + c, always, as gemm_plain does by name. */
#include "worker/nn/gemm.h"

#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
/* Of 32 registers: 12 rows x 32 columns in 24, a row of the panel in 2. */
#define LANES 16
enum { SUM_ROWS = 12, MIDDLE_ROWS = 8, SUM_VECTORS = 2 };
#else
/* Of 16 registers: 6 rows x 16 columns in 12, a row of the panel in 2. */
#define LANES 8
enum { SUM_ROWS = 6, MIDDLE_ROWS = 6, SUM_VECTORS = 2 };
#endif

enum {
    TILE_ROWS = GEMM_TILE_ROWS,
    TILE_COLS = GEMM_TILE_COLS,
    SUM_COLS = SUM_VECTORS * LANES,
    LINE_BYTES = 64,
    LINE_REALS = LINE_BYTES / sizeof(float),
    UNROLL = 8, /* inner steps between two prefetches of a kind */
    SHORT_INNER = 64,
    FOUR = 4,
    EIGHT = 8
};

/* Wherever a float may lie. */
#define VECTOR(n) __attribute__((vector_size((n) * sizeof(float)), aligned(4), may_alias))
typedef float vector VECTOR(LANES);
typedef float four VECTOR(FOUR);
typedef float eight VECTOR(EIGHT);

#define INLINE static inline __attribute__((always_inline))

/* Cache lines of a matrix that will be read, in order, row by row. */
struct walk {
    uintptr_t at, skip;
    size_t row_lines, left; /* lines of a row, and those of this one that are still to come */
};

static struct walk walk_from(const float *at, size_t stride, size_t width)
{
    size_t lines = (width * sizeof(float) + LINE_BYTES - 1) / LINE_BYTES;
    return (struct walk){.at = (uintptr_t)at,
                         .skip = stride * sizeof(float) - lines * LINE_BYTES,
                         .row_lines = lines,
                         .left = lines};
}

INLINE void ask_for_line(struct walk *walk)
{
    __builtin_prefetch((const void *)walk->at, 0, 2);
    walk->at += LINE_BYTES;
    if (--walk->left == 0) {
        walk->at += walk->skip;
        walk->left = walk->row_lines;
    }
}

/* What a tile writes of `count` rows of C; returns the row behind them. */
INLINE const float *ask_for_rows(const float *C, size_t stride, size_t count)
{
    for (; count > 0; count--, C += stride) {
        __builtin_prefetch(C, 1);
        __builtin_prefetch(C + TILE_COLS / 2, 1);
    }
    return C;
}

enum start { START_ZERO, START_BIAS, START_C };

struct tile {
    const float *A; /* packed: [inner][TILE_ROWS] */
    const float *B; /* packed: [inner][TILE_COLS] */
    size_t inner;
    enum start start;
    const float *bias;
    float *C;
    size_t C_stride;

    /* What is asked for meanwhile: the next tile's C, and parts of what is packed next. */
    const float *C_next;
    struct walk *A_walk, *B_walk;
    size_t A_lines, B_lines;
};

/* rows, here and below: SUM_ROWS or fewer, known to the compiler where it is called. */
INLINE void start_sums(const struct tile *t, size_t row, size_t col, size_t rows,
                       vector sums[SUM_ROWS][SUM_VECTORS])
{
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (size_t v = 0; v < SUM_VECTORS; v++) {
            const float *C = t->C + (row + r) * t->C_stride + col + v * LANES;
            if (t->start == START_C)
                sums[r][v] = *(const vector *)C;
            else if (t->start == START_BIAS)
                sums[r][v] = *(const vector *)(t->bias + col + v * LANES);
            else
                sums[r][v] = (vector){0};
        }
}

INLINE void add_products(const float *A, const float *B, size_t rows,
                         vector sums[SUM_ROWS][SUM_VECTORS])
{
    vector right[SUM_VECTORS];
#pragma GCC unroll 2
    for (size_t v = 0; v < SUM_VECTORS; v++)
        right[v] = *(const vector *)(B + v * LANES);
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (size_t v = 0; v < SUM_VECTORS; v++)
            sums[r][v] += A[r] * right[v];
}

/* The sums that fit the registers, from row and col of the tile.  asks: for what comes next. */
INLINE void multiply_sums(const struct tile *t, size_t row, size_t col, size_t rows, bool asks)
{
    vector sums[SUM_ROWS][SUM_VECTORS];
    const float *A = t->A + row, *B = t->B + col, *C_next = t->C_next;
    size_t i = 0, A_left = asks ? t->A_lines : 0, B_left = asks ? t->B_lines : 0;
    size_t C_left = asks ? TILE_ROWS : 0;
    start_sums(t, row, col, rows, sums);
    for (; i + UNROLL <= t->inner; i += UNROLL) {
        if (A_left > 0) {
            ask_for_line(t->A_walk);
            A_left--;
        }
        if (B_left > 1) {
            ask_for_line(t->B_walk);
            ask_for_line(t->B_walk);
            B_left -= 2;
        }
        if (C_left > 0) {
            C_next = ask_for_rows(C_next, t->C_stride, 1);
            C_left--;
        }
#pragma GCC unroll 4
        for (size_t u = 0; u < UNROLL; u++, A += TILE_ROWS, B += TILE_COLS)
            add_products(A, B, rows, sums);
    }
    for (; A_left > 0; A_left--)
        ask_for_line(t->A_walk);
    for (; B_left > 0; B_left--)
        ask_for_line(t->B_walk);
    if (asks)
        ask_for_rows(C_next, t->C_stride, C_left);
    for (; i < t->inner; i++, A += TILE_ROWS, B += TILE_COLS)
        add_products(A, B, rows, sums);
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (size_t v = 0; v < SUM_VECTORS; v++)
            *(vector *)(t->C + (row + r) * t->C_stride + col + v * LANES) = sums[r][v];
}

/* Of so many rows that are left, or that many and some beyond, what is computed at a time. */
INLINE size_t height_of(size_t left)
{
    if (left <= FOUR)
        return FOUR;
    return left <= MIDDLE_ROWS ? MIDDLE_ROWS : SUM_ROWS;
}

/* No row is computed beyond these. */
static bool is_even(size_t rows)
{
    size_t row = 0;
    while (row < rows)
        row += height_of(rows - row);
    return row == rows;
}

/* The first rows of a tile, and what height_of says beyond them. */
static void multiply_tile(const struct tile *t, size_t rows)
{
    for (size_t row = 0, height; row < rows; row += height) {
        height = height_of(rows - row);
        for (size_t col = 0; col < TILE_COLS; col += SUM_COLS) {
            bool asks = row == 0 && col == 0;
            if (height == SUM_ROWS)
                multiply_sums(t, row, col, SUM_ROWS, asks);
            else if (height == MIDDLE_ROWS)
                multiply_sums(t, row, col, MIDDLE_ROWS, asks);
            else
                multiply_sums(t, row, col, FOUR, asks);
        }
    }
}

/* A tile that reaches beyond C: on a copy. */
static void multiply_corner(const struct tile *t, size_t rows, size_t cols)
{
    float copy[TILE_ROWS * TILE_COLS] = {0}, bias[TILE_COLS] = {0};
    struct tile whole = *t;
    whole.C = copy;
    whole.C_stride = TILE_COLS;
    whole.C_next = copy;
    whole.bias = bias;
    if (t->start == START_BIAS)
        memcpy(bias, t->bias, cols * sizeof(*bias));
    for (size_t r = 0; t->start == START_C && r < rows; r++)
        memcpy(copy + r * TILE_COLS, t->C + r * t->C_stride, cols * sizeof(*copy));
    multiply_tile(&whole, rows);
    for (size_t r = 0; r < rows; r++)
        memcpy(t->C + r * t->C_stride, copy + r * TILE_COLS, cols * sizeof(*copy));
}

/* Turns a square of four by four in each 16 bytes of four vectors. */
INLINE void turn_squares(vector v[FOUR])
{
#if LANES == 16
#define PICK(a, b, i, j, k, l)                                                                     \
    __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4, i + 8, j + 8, k + 8,     \
                            l + 8, i + 12, j + 12, k + 12, l + 12)
#else
#define PICK(a, b, i, j, k, l) \
    __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4)
#endif
    enum { B = LANES }; /* where the second of two vectors begins */
    vector low = PICK(v[0], v[1], 0, B, 1, B + 1), high = PICK(v[0], v[1], 2, B + 2, 3, B + 3);
    vector low2 = PICK(v[2], v[3], 0, B, 1, B + 1), high2 = PICK(v[2], v[3], 2, B + 2, 3, B + 3);
    v[0] = PICK(low, low2, 0, 1, B, B + 1);
    v[1] = PICK(low, low2, 2, 3, B + 2, B + 3);
    v[2] = PICK(high, high2, 0, 1, B, B + 1);
    v[3] = PICK(high, high2, 2, 3, B + 2, B + 3);
#undef PICK
}

/* Four numbers each of rows that are FOUR apart, side by side. */
INLINE vector load_fours(const float *const rows[LANES], size_t first, size_t at)
{
    four a = *(const four *)(rows[first] + at), b = *(const four *)(rows[first + 4] + at);
    eight ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
#if LANES == 16
    four c = *(const four *)(rows[first + 8] + at), d = *(const four *)(rows[first + 12] + at);
    eight cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    return ab;
#endif
}

/* out[i][r] = from[r][i] for LANES rows, of which `rows` are there; the others are the last again.
 * count: how many of a row's LANES numbers are written; `width` lie between two rows of out. */
INLINE void turn(const float *from, size_t stride, size_t rows, size_t inner, size_t count,
                 size_t width, float *out)
{
    const float *row[LANES];
    for (size_t r = 0; r < LANES; r++)
        row[r] = from + (r < rows ? r : rows - 1) * stride;
    size_t i = 0;
    for (; i + FOUR <= inner; i += FOUR) {
        vector v[FOUR];
#pragma GCC unroll 4
        for (size_t r = 0; r < FOUR; r++)
            v[r] = load_fours(row, r, i);
        turn_squares(v);
#pragma GCC unroll 4
        for (size_t r = 0; r < FOUR; r++)
            memcpy(out + (i + r) * width, &v[r], count * sizeof(float));
    }
    for (; i < inner; i++)
        for (size_t r = 0; r < count; r++)
            out[i * width + r] = row[r][i];
}

/* A part of the product: some rows, some columns, some of inner. */
struct block {
    size_t row, rows, col, cols, begin, inner;
};

/* Rows of A side by side: [inner][TILE_ROWS]. */
static void turn_tile(const float *from, size_t stride, size_t rows, size_t inner, float *out)
{
    enum { FIRST = LANES < TILE_ROWS ? LANES : TILE_ROWS, REST = TILE_ROWS - FIRST };
    turn(from, stride, gemm_at_most(rows, FIRST), inner, FIRST, TILE_ROWS, out);
    if (REST > 0) {
        size_t begin = rows > FIRST ? FIRST : rows - 1; /* a row that is there */
        turn(from + begin * stride, stride, rows > FIRST ? rows - FIRST : 1, inner, REST,
             TILE_ROWS, out + FIRST);
    }
}

/* One block of A: for each tile [inner][TILE_ROWS]. */
static void pack_A(const struct gemm *p, const struct block *b, float *out)
{
    size_t stride = p->A.stride;
    if (p->A.form == BLAS_PLAIN) {
        const float *from = p->A.data + b->row * stride + b->begin;
        for (size_t r = 0; r < b->rows; r += TILE_ROWS, out += TILE_ROWS * b->inner)
            turn_tile(from + r * stride, stride, gemm_at_most(b->rows - r, TILE_ROWS), b->inner,
                      out);
        return;
    }
    const float *from = p->A.data + b->begin * stride + b->row;
    for (size_t i = 0; i < b->inner; i++, from += stride, out += TILE_ROWS) {
        size_t r = 0;
        float *to = out;
        for (; r + TILE_ROWS <= b->rows; r += TILE_ROWS, to += TILE_ROWS * b->inner)
            memcpy(to, from + r, TILE_ROWS * sizeof(*to));
        for (size_t j = 0; r < b->rows && j < TILE_ROWS; j++)
            to[j] = r + j < b->rows ? from[r + j] : 0;
    }
}

/* One panel of B, from this column: [inner][TILE_COLS]. */
static void pack_B(const struct gemm *p, const struct block *b, size_t col, float *out)
{
    size_t cols = gemm_at_most(p->shape.cols - col, TILE_COLS), stride = p->B.stride;
    if (p->B.form == BLAS_TRANSPOSED) {
        for (size_t j = 0; j < TILE_COLS; j += LANES) {
            size_t first = gemm_at_most(j, cols - 1); /* a column that is there */
            turn(p->B.data + (col + first) * stride + b->begin, stride,
                 gemm_at_most(j < cols ? cols - j : 1, LANES), b->inner, LANES, TILE_COLS, out + j);
        }
        return;
    }
    const float *from = p->B.data + b->begin * stride + col;
    if (cols < TILE_COLS)
        memset(out, 0, b->inner * TILE_COLS * sizeof(*out));
    for (size_t i = 0; i < b->inner; i++, from += stride, out += TILE_COLS)
        if (cols == TILE_COLS)
            memcpy(out, from, TILE_COLS * sizeof(*out));
        else
            memcpy(out, from, cols * sizeof(*out));
}

/* Adds a panel's columns to their sums, row after row. */
static void sum_panel(const struct gemm *p, const struct block *b, size_t col, const float *panel)
{
    size_t cols = gemm_at_most(p->shape.cols - col, TILE_COLS);
    float sums[TILE_COLS] = {0};
    if (b->begin > 0)
        memcpy(sums, p->B_sums + col, cols * sizeof(*sums));
    for (size_t i = 0; i < b->inner; i++)
        for (size_t j = 0; j < TILE_COLS; j++)
            sums[j] += panel[i * TILE_COLS + j];
    memcpy(p->B_sums + col, sums, cols * sizeof(*sums));
}

/* The lines of A's block that is packed next; none: lines_out is 0. */
static struct walk walk_A(const struct gemm *p, const struct block *next, size_t *lines_out)
{
    size_t rows = next->rows, inner = next->inner;
    bool is_plain = p->A.form == BLAS_PLAIN;
    *lines_out = 0;
    if (rows == 0 || inner == 0)
        return (struct walk){0};
    const float *at = p->A.data + (is_plain ? next->row * p->A.stride + next->begin
                                            : next->begin * p->A.stride + next->row);
    struct walk walk = walk_from(at, p->A.stride, is_plain ? inner : rows);
    *lines_out = walk.row_lines * (is_plain ? rows : inner);
    return walk;
}

/* The lines of the panel of B at this column. */
static struct walk walk_B(const struct gemm *p, const struct block *block, size_t col,
                          size_t *lines_out)
{
    bool is_plain = p->B.form == BLAS_PLAIN;
    *lines_out = 0;
    if (col >= block->col + block->cols)
        return (struct walk){0};
    size_t cols = gemm_at_most(block->col + block->cols - col, TILE_COLS);
    const float *at = p->B.data + (is_plain ? block->begin * p->B.stride + col
                                            : col * p->B.stride + block->begin);
    struct walk walk = walk_from(at, p->B.stride, is_plain ? cols : block->inner);
    *lines_out = walk.row_lines * (is_plain ? block->inner : cols);
    return walk;
}

/* A block of the product under way. */
struct work {
    const struct gemm *product;
    const struct block *block;
    const float *A;       /* packed */
    float *panels;        /* of B; the first block of rows packs them */
    size_t tiles, panel_count;
    struct walk A_walk, B_walk;
    size_t A_lines, B_lines; /* of a tile's share */
};

static void pack_panel(struct work *w, size_t panel)
{
    const struct block *b = w->block;
    size_t col = b->col + panel * TILE_COLS;
    float *out = w->panels + panel * TILE_COLS * b->inner;
    pack_B(w->product, b, col, out);
    if (w->product->B_sums != NULL)
        sum_panel(w->product, b, col, out);
}

static void multiply_one(struct work *w, size_t panel, size_t tile, size_t next_panel,
                         size_t next_tile)
{
    const struct gemm *p = w->product;
    const struct block *b = w->block;
    bool adds = b->begin > 0 || p->keep;
    size_t row = b->row + tile * TILE_ROWS, rows = gemm_at_most(b->row + b->rows - row, TILE_ROWS);
    size_t col = b->col + panel * TILE_COLS, cols = gemm_at_most(b->col + b->cols - col, TILE_COLS);
    size_t next = (b->row + next_tile * TILE_ROWS) * p->C_stride + b->col + next_panel * TILE_COLS;
    struct tile t = {.A = w->A + tile * TILE_ROWS * b->inner,
                     .B = w->panels + panel * TILE_COLS * b->inner,
                     .inner = b->inner,
                     .start = adds ? START_C : p->bias ? START_BIAS : START_ZERO,
                     .bias = p->bias ? p->bias + col : NULL,
                     .C = p->C + row * p->C_stride + col,
                     .C_stride = p->C_stride,
                     .C_next = p->C + next,
                     .A_walk = &w->A_walk,
                     .B_walk = &w->B_walk,
                     .A_lines = w->A_lines,
                     .B_lines = w->B_lines};
    if (cols == TILE_COLS && is_even(rows))
        multiply_tile(&t, rows);
    else
        multiply_corner(&t, rows, cols);
}

/* Panel by panel, each of which stays in the first cache for all tiles. */
static void multiply_panels(struct work *w)
{
    const struct block *b = w->block;
    for (size_t panel = 0; panel < w->panel_count; panel++) {
        if (b->row == 0) {
            size_t lines;
            pack_panel(w, panel);
            w->B_walk = walk_B(w->product, b, b->col + (panel + 1) * TILE_COLS, &lines);
            w->B_lines = (lines + w->tiles - 1) / w->tiles;
        }
        for (size_t tile = 0; tile < w->tiles; tile++) {
            bool is_last = tile + 1 == w->tiles;
            multiply_one(w, panel, tile, panel + is_last, is_last ? 0 : tile + 1);
        }
    }
}

/* Tile by tile: where inner is short, C is most of what moves, and is written row by row. */
static void multiply_tiles(struct work *w)
{
    for (size_t panel = 0; w->block->row == 0 && panel < w->panel_count; panel++)
        pack_panel(w, panel);
    for (size_t tile = 0; tile < w->tiles; tile++)
        for (size_t panel = 0; panel < w->panel_count; panel++) {
            bool is_last = panel + 1 == w->panel_count;
            multiply_one(w, panel, tile, is_last ? 0 : panel + 1, tile + is_last);
        }
}

static void multiply_block(const struct gemm *p, const struct block *b, const struct block *next,
                           float *panels)
{
    struct work w = {.product = p,
                     .block = b,
                     .A = p->scratch,
                     .panels = panels,
                     .tiles = (b->rows + TILE_ROWS - 1) / TILE_ROWS,
                     .panel_count = (b->cols + TILE_COLS - 1) / TILE_COLS};
    size_t lines;
    w.A_walk = walk_A(p, next, &lines);
    w.A_lines = (lines + w.panel_count * w.tiles - 1) / (w.panel_count * w.tiles);
    pack_A(p, b, p->scratch);
    if (b->inner <= SHORT_INNER)
        multiply_tiles(&w);
    else
        multiply_panels(&w);
}

/* One block of columns and of inner: all rows, in blocks that are about as high as one another. */
static void multiply_rows(const struct gemm *p, struct block b)
{
    size_t block_count = (p->shape.rows + GEMM_BLOCK_ROWS - 1) / GEMM_BLOCK_ROWS;
    size_t tiles = (p->shape.rows + block_count * TILE_ROWS - 1) / (block_count * TILE_ROWS);
    size_t height = tiles * TILE_ROWS;
    float *panels = p->scratch + (height * b.inner + LINE_REALS - 1) / LINE_REALS * LINE_REALS;
    for (b.row = 0; b.row < p->shape.rows; b.row += b.rows) {
        b.rows = gemm_at_most(p->shape.rows - b.row, height);
        struct block next = b;
        next.row += b.rows;
        if (next.row >= p->shape.rows) {
            next.row = 0;
            next.begin += b.inner;
        }
        next.rows = gemm_at_most(p->shape.rows - next.row, height);
        next.inner = next.begin < p->shape.inner
                         ? gemm_at_most(p->shape.inner - next.begin, GEMM_BLOCK_INNER)
                         : 0;
        multiply_block(p, &b, &next, panels);
    }
}

/* GEMM_KERNEL: the name of what this compilation makes (CMakeLists.txt). */
void GEMM_KERNEL(const struct gemm *product)
{
    const struct blas_shape *shape = &product->shape;
    struct block b = {0};
    for (b.col = 0; b.col < shape->cols; b.col += b.cols) {
        b.cols = gemm_at_most(shape->cols - b.col, GEMM_BLOCK_COLS);
        for (b.begin = 0; b.begin < shape->inner; b.begin += b.inner) {
            b.inner = gemm_at_most(shape->inner - b.begin, GEMM_BLOCK_INNER);
            multiply_rows(product, b);
        }
    }
}
