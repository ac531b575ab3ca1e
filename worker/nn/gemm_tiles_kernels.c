/* Products in parts (gemm_parts.h) by AMX, which multiplies tiles of 16 rows of 64 bytes.
 *
 * Four tiles are sums, so that each tile of A or B that is loaded is multiplied twice, and those
 * six that make a panel's step lie behind one another: Intel's "64 and IA-32 Architectures
 * Optimization Reference Manual", chapter 20, has both. */
#include "worker/nn/gemm.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include "worker/nn/gemm_parts.h"

enum {
    TILE = 16, /* rows of a tile, and columns of a tile of sums */
    ROW_BYTES = 64,
    TILE_BYTES = TILE * ROW_BYTES,
    PARTS = GEMM_PARTS,
    STEP = GEMM_PARTS_STEP,
    PANEL = GEMM_TILES_PANEL,
    PART_BYTES = 2 * TILE_BYTES,
    STEP_BYTES = PARTS * PART_BYTES
};

_Static_assert(ROW_BYTES == STEP * sizeof(uint16_t), "a tile's row has a step's numbers");
_Static_assert(PANEL == 2 * TILE, "a panel is two tiles wide");
_Static_assert(GEMM_TILES_PANEL_BYTES == GEMM_TILES_BLOCK_INNER / STEP * STEP_BYTES,
               "a panel is that large");

#define INLINE static inline __attribute__((always_inline))

/* All tiles whole.  Constant, since GCC 12 takes LDTILECFG to read no more than 8 bytes. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} config = {
    .palette = 1,
    .row_bytes = {ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES,
                  ROW_BYTES},
    .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE},
};

/* Rounded to bf16, which is the upper half: to the nearest, of two the even one. */
INLINE __m512i round_half(__m512i bits)
{
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    return _mm512_slli_epi32(_mm512_srli_epi32(_mm512_add_epi32(bits, half), 16), 16);
}

/* Into parts that add up to x: 24 bits are three times eight. */
INLINE void split(__m512 x, __m512i parts[PARTS])
{
    parts[0] = round_half(_mm512_castps_si512(x));
    __m512 rest = _mm512_sub_ps(x, _mm512_castsi512_ps(parts[0]));
    parts[1] = round_half(_mm512_castps_si512(rest));
    parts[2] = _mm512_castps_si512(_mm512_sub_ps(rest, _mm512_castsi512_ps(parts[1])));
}

INLINE __m512 load(const float *from, size_t count)
{
    unsigned all = (1U << TILE) - 1, mask = count < TILE ? (1U << count) - 1 : all;
    return _mm512_maskz_loadu_ps((__mmask16)mask, from);
}

/* Columns become rows. */
static void turn(const __m512i_u from[TILE], __m512i_u to[TILE])
{
    __m512i v[TILE];
    for (size_t i = 0; i < TILE; i += 2) {
        v[i] = _mm512_unpacklo_epi32(from[i], from[i + 1]);
        v[i + 1] = _mm512_unpackhi_epi32(from[i], from[i + 1]);
    }
    for (size_t i = 0; i < TILE; i += 4)
        for (size_t j = 0; j < 2; j++) {
            to[i + 2 * j] = _mm512_unpacklo_epi64(v[i + j], v[i + j + 2]);
            to[i + 2 * j + 1] = _mm512_unpackhi_epi64(v[i + j], v[i + j + 2]);
        }
    enum { EVEN = 0x88, ODD = 0xdd }; /* quarters of both */
    for (size_t i = 0; i < TILE; i += 8)
        for (size_t j = i; j < i + 4; j++) {
            v[j] = _mm512_shuffle_i32x4(to[j], to[j + 4], EVEN);
            v[j + 4] = _mm512_shuffle_i32x4(to[j], to[j + 4], ODD);
        }
    for (size_t j = 0; j < TILE / 2; j++) {
        to[j] = _mm512_shuffle_i32x4(v[j], v[j + 8], EVEN);
        to[j + 8] = _mm512_shuffle_i32x4(v[j], v[j + 8], ODD);
    }
}

/* A matrix as lines, which are multiplied number by number: rows of A, columns of B. */
struct lines {
    const float *data;
    size_t stride;
    bool is_along; /* neighbours in memory are of one line, else of one place in all lines */
};

static struct lines lines_from(struct lines l, size_t line, size_t begin)
{
    l.data += l.is_along ? line * l.stride + begin : begin * l.stride + line;
    return l;
}

/* Pairs of a line's neighbours, one in 32 bits: rows[part][line]. */
INLINE void pair_along(struct lines l, size_t count, size_t inner, __m512i_u *const rows[PARTS])
{
    static const uint16_t places[] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                      23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                      45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    __m512i upper = _mm512_loadu_si512(places), low[PARTS], high[PARTS];
    for (size_t i = 0; i < count; i++, l.data += l.stride) {
        split(load(l.data, inner), low);
        split(inner > TILE ? load(l.data + TILE, inner - TILE) : _mm512_setzero_ps(), high);
        for (size_t p = 0; p < PARTS; p++)
            rows[p][i] = _mm512_permutex2var_epi16(low[p], upper, high[p]);
    }
}

/* The same of lines that lie across: rows[part][pair].  Adds each line to its sum; NULL: none. */
INLINE void pair_across(struct lines l, size_t count, size_t inner, float *sums,
                        __m512i_u *const rows[PARTS])
{
    const __mmask32 upper = 0xaaaaaaaaU;
    __m512i first[PARTS], second[PARTS];
    __m512 sum = load(sums, sums == NULL ? 0 : count);
    for (size_t i = 0; i < inner; i += 2, l.data += 2 * l.stride) {
        __m512 x = load(l.data, count);
        __m512 y = i + 1 < inner ? load(l.data + l.stride, count) : _mm512_setzero_ps();
        sum = _mm512_add_ps(_mm512_add_ps(sum, x), y);
        split(x, first);
        split(y, second);
        for (size_t p = 0; p < PARTS; p++)
            rows[p][i / 2] =
                _mm512_mask_blend_epi16(upper, _mm512_srli_epi32(first[p], 16), second[p]);
    }
    if (sums != NULL)
        memcpy(sums, &sum, count * sizeof(*sums));
}

/* A tile of each part, PART_BYTES apart, of up to TILE lines and STEP numbers of each, zeros
 * beyond.  turns: rows and columns of what the two above give are exchanged. */
INLINE void pack_tiles(struct lines l, size_t count, size_t inner, bool turns, float *sums,
                       char *out)
{
    __m512i_u turned[PARTS][TILE], *rows[PARTS];
    for (size_t p = 0; p < PARTS; p++) {
        rows[p] = turns ? turned[p] : (__m512i_u *)(out + p * PART_BYTES);
        if (count < TILE || inner < STEP)
            memset(rows[p], 0, TILE_BYTES);
    }
    if (l.is_along)
        pair_along(l, count, inner, rows);
    else
        pair_across(l, count, inner, sums, rows);
    for (size_t p = 0; turns && p < PARTS; p++)
        turn(rows[p], (__m512i_u *)(out + p * PART_BYTES));
}

/* Up to PANEL lines, a step's tiles after another's. */
static void pack_panel(struct lines l, size_t count, size_t inner, bool turns, float *sums,
                       char *out)
{
    for (size_t i = 0; i < inner; i += STEP, out += STEP_BYTES)
        for (size_t half = 0; half < 2; half++) {
            size_t first = half * TILE, left = count > first ? count - first : 0;
            pack_tiles(lines_from(l, first, i), gemm_at_most(left, TILE),
                       gemm_at_most(inner - i, STEP), turns, sums == NULL ? NULL : sums + first,
                       out + half * TILE_BYTES);
        }
}

/* A panel of A by one of B, onto C: [PANEL][PANEL], which begins with what lies at `begin`. */
struct tiles {
    const char *A, *B;
    size_t steps;
    const char *begin;
    char *C;
    size_t begin_bytes, C_bytes; /* from one row to the next */
    const char *C_next;          /* asked for meanwhile */
};

static void ask_for_rows(const struct tiles *t, size_t step)
{
    enum { ROWS = 4 };
    const char *at = t->C_next + step * ROWS * t->C_bytes;
    for (size_t i = 0; step < PANEL / ROWS && i < ROWS; i++, at += t->C_bytes) {
        _mm_prefetch(at, _MM_HINT_T0);
        _mm_prefetch(at + ROW_BYTES, _MM_HINT_T0);
    }
}

/* Tiles 0 to 3 are sums, 4 and 5 of A, 6 and 7 of B; the order is gemm_parts_order. */
#define LOAD_A(part) \
    _tile_loadd(4, A + (part)*PART_BYTES, ROW_BYTES); \
    _tile_loadd(5, A + (part)*PART_BYTES + TILE_BYTES, ROW_BYTES)
#define LOAD_B(part) \
    _tile_loadd(6, B + (part)*PART_BYTES, ROW_BYTES); \
    _tile_loadd(7, B + (part)*PART_BYTES + TILE_BYTES, ROW_BYTES)
#define MULTIPLY() \
    _tile_dpbf16ps(0, 4, 6); \
    _tile_dpbf16ps(1, 4, 7); \
    _tile_dpbf16ps(2, 5, 6); \
    _tile_dpbf16ps(3, 5, 7)

static void multiply_tiles(const struct tiles *t)
{
    size_t below = TILE * t->begin_bytes;
    const char *A = t->A, *B = t->B;
    __asm__ volatile("" ::: "memory"); /* GCC 12 takes no tile load to read any */
    _tile_loadd(0, t->begin, t->begin_bytes);
    _tile_loadd(1, t->begin + ROW_BYTES, t->begin_bytes);
    _tile_loadd(2, t->begin + below, t->begin_bytes);
    _tile_loadd(3, t->begin + below + ROW_BYTES, t->begin_bytes);
    for (size_t s = 0; s < t->steps; s++, A += STEP_BYTES, B += STEP_BYTES) {
        ask_for_rows(t, s);
        LOAD_A(2);
        LOAD_B(0);
        MULTIPLY();
        LOAD_A(1);
        MULTIPLY();
        LOAD_B(1);
        MULTIPLY();
        LOAD_A(0);
        MULTIPLY();
        LOAD_B(2);
        MULTIPLY();
        LOAD_B(0);
        MULTIPLY();
    }
    below = TILE * t->C_bytes;
    _tile_stored(0, t->C, t->C_bytes);
    _tile_stored(1, t->C + ROW_BYTES, t->C_bytes);
    _tile_stored(2, t->C + below, t->C_bytes);
    _tile_stored(3, t->C + below + ROW_BYTES, t->C_bytes);
}

/* Where C has not so many rows or columns: on a copy. */
static void multiply_corner(struct tiles t, size_t rows, size_t cols)
{
    float copy[PANEL * PANEL] = {0};
    char *C = t.C;
    size_t C_bytes = t.C_bytes, bytes = cols * sizeof(float);
    for (size_t r = 0; r < rows; r++)
        memcpy(copy + r * PANEL, t.begin + r * t.begin_bytes, bytes);
    t.begin = t.C = (char *)copy;
    t.C_next = t.C;
    t.begin_bytes = t.C_bytes = PANEL * sizeof(float);
    multiply_tiles(&t);
    for (size_t r = 0; r < rows; r++)
        memcpy(C + r * C_bytes, copy + r * PANEL, bytes);
}

/* Some columns of the product, some of inner. */
struct block {
    size_t col, cols, begin, inner, steps;
    const char *A, *B; /* packed: a panel; all of them */
};

static void multiply_row(const struct gemm *p, const struct block *b, size_t row)
{
    static const float zeros[PANEL];
    size_t rows = gemm_at_most(p->shape.rows - row, PANEL), stride = p->C_stride;
    bool adds = b->begin > 0 || p->keep;
    for (size_t col = b->col; col < b->col + b->cols; col += PANEL) {
        size_t cols = gemm_at_most(b->col + b->cols - col, PANEL);
        float *C = p->C + row * stride + col;
        bool is_last = col + PANEL >= b->col + b->cols;
        const float *begin = adds ? C : p->bias != NULL ? p->bias + col : zeros;
        const float *next = is_last ? p->C + (row + PANEL) * stride + b->col : C + PANEL;
        struct tiles t = {.A = b->A,
                          .B = b->B + (col - b->col) / PANEL * b->steps * STEP_BYTES,
                          .steps = b->steps,
                          .begin = (const char *)begin,
                          .C = (char *)C,
                          .begin_bytes = adds ? stride * sizeof(float) : 0,
                          .C_bytes = stride * sizeof(float),
                          .C_next = (const char *)next};
        if (rows == PANEL && cols == PANEL)
            multiply_tiles(&t);
        else
            multiply_corner(t, rows, cols);
    }
}

static void multiply_block(const struct gemm *p, struct block b)
{
    struct lines A = {p->A.data, p->A.stride, p->A.form == BLAS_PLAIN};
    struct lines B = {p->B.data, p->B.stride, p->B.form == BLAS_TRANSPOSED};
    char *A_panel = (char *)p->scratch, *B_panel = A_panel + GEMM_TILES_PANEL_BYTES;
    b.steps = (b.inner + STEP - 1) / STEP;
    b.A = A_panel;
    b.B = B_panel;
    for (size_t col = 0; col < b.cols; col += PANEL, B_panel += b.steps * STEP_BYTES) {
        size_t count = gemm_at_most(b.cols - col, PANEL);
        float *sums = p->B_sums == NULL ? NULL : p->B_sums + b.col + col;
        if (sums != NULL && b.begin == 0)
            memset(sums, 0, count * sizeof(*sums));
        pack_panel(lines_from(B, b.col + col, b.begin), count, b.inner, B.is_along, sums, B_panel);
    }
    for (size_t row = 0; row < p->shape.rows; row += PANEL) {
        pack_panel(lines_from(A, row, b.begin), gemm_at_most(p->shape.rows - row, PANEL), b.inner,
                   !A.is_along, NULL, A_panel);
        multiply_row(p, &b, row);
    }
}

/* GEMM_TILES_KERNEL: the name of what this compilation makes (CMakeLists.txt). */
void GEMM_TILES_KERNEL(const struct gemm *product)
{
    const struct blas_shape *shape = &product->shape;
    struct block b = {0};
    _tile_loadconfig(&config);
    for (b.col = 0; b.col < shape->cols; b.col += b.cols) {
        b.cols = gemm_at_most(shape->cols - b.col, GEMM_TILES_BLOCK_COLS);
        for (b.begin = 0; b.begin < shape->inner; b.begin += b.inner) {
            b.inner = gemm_at_most(shape->inner - b.begin, GEMM_TILES_BLOCK_INNER);
            multiply_block(product, b);
        }
    }
    _tile_release();
}
