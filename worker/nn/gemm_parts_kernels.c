/* Products in parts (gemm_parts.h) by vectors, for processors without tiles.  Compiled for
 * x86-64-v3: a file in which the compiler fuses a * b + c, always. */
#include "worker/nn/gemm.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include "worker/nn/gemm_parts.h"

enum { LANES = 8, VECTORS = 2, SUM_COLS = VECTORS * LANES, PARTS = GEMM_PARTS };
enum { STEP = GEMM_PARTS_STEP, COLS = GEMM_PARTS_COLS };

_Static_assert(COLS % SUM_COLS == 0, "a block of columns is whole sums");

typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

/* Some columns of the product, some of inner: B's parts are [PARTS][STEP][COLS]. */
struct block {
    size_t col, cols, begin, inner;
    float *B;
};

static void split_B(const struct gemm *p, const struct block *b)
{
    memset(b->B, 0, sizeof(float) * PARTS * STEP * COLS);
    for (size_t i = 0; i < b->inner; i++)
        for (size_t j = 0; j < b->cols; j++) {
            float parts[PARTS];
            gemm_split(blas_element(p->B, b->begin + i, b->col + j), parts);
            for (size_t k = 0; k < PARTS; k++)
                b->B[(k * STEP + i) * COLS + j] = parts[k];
        }
}

static void split_A(const struct gemm *p, const struct block *b, size_t row, float A[PARTS][STEP])
{
    memset(A, 0, sizeof(float) * PARTS * STEP);
    for (size_t i = 0; i < b->inner; i++) {
        float parts[PARTS];
        gemm_split(blas_element(p->A, row, b->begin + i), parts);
        for (size_t k = 0; k < PARTS; k++)
            A[k][i] = parts[k];
    }
}

/* C[0..SUM_COLS) += a row of A by those columns of B, as a tile's instruction does. */
static void add_step(const float *A, const float *B, float *C)
{
    vector even[VECTORS] = {0}, odd[VECTORS] = {0};
    for (size_t i = 0; i < STEP; i += 2, B += 2 * COLS)
        for (size_t v = 0; v < VECTORS; v++) {
            even[v] += A[i] * *(const vector *)(B + v * LANES);
            odd[v] += A[i + 1] * *(const vector *)(B + COLS + v * LANES);
        }
    for (size_t v = 0; v < VECTORS; v++)
        *(vector *)(C + v * LANES) += even[v] + odd[v];
}

/* Numbers too small to be normal count as zero, as they do in tiles: the caller has seen to it.
 * Never inlined, so that nothing is computed outside of that. */
static __attribute__((noinline)) void add_steps(const struct block *b, float A[PARTS][STEP],
                                                float *C)
{
    for (size_t j = 0; j < b->cols; j += SUM_COLS) {
        float sums[SUM_COLS] = {0};
        size_t bytes = gemm_at_most(b->cols - j, SUM_COLS) * sizeof(*sums);
        memcpy(sums, C + j, bytes);
        for (size_t i = 0; i < GEMM_PARTS_PRODUCTS; i++)
            add_step(A[gemm_parts_order[i].A],
                     b->B + gemm_parts_order[i].B * (size_t)STEP * COLS + j, sums);
        memcpy(C + j, sums, bytes);
    }
}

static void begin_row(const struct gemm *p, const struct block *b, float *C)
{
    if (p->bias != NULL)
        memcpy(C, p->bias + b->col, b->cols * sizeof(*C));
    else if (!p->keep)
        memset(C, 0, b->cols * sizeof(*C));
}

static void multiply_block(const struct gemm *p, const struct block *b)
{
    enum { FLUSH = 0x8040 }; /* results, and operands */
    unsigned state = _mm_getcsr();
    float A[PARTS][STEP];
    split_B(p, b);
    for (size_t row = 0; row < p->shape.rows; row++) {
        float *C = p->C + row * p->C_stride + b->col;
        if (b->begin == 0)
            begin_row(p, b, C);
        split_A(p, b, row, A);
        _mm_setcsr(state | FLUSH);
        add_steps(b, A, C);
        _mm_setcsr(state);
    }
}

/* GEMM_PARTS_KERNEL: the name of what this compilation makes (CMakeLists.txt). */
void GEMM_PARTS_KERNEL(const struct gemm *product)
{
    const struct blas_shape *shape = &product->shape;
    struct block b = {.B = product->scratch};
    for (b.col = 0; b.col < shape->cols; b.col += b.cols) {
        b.cols = gemm_at_most(shape->cols - b.col, COLS);
        for (b.begin = 0; b.begin < shape->inner; b.begin += b.inner) {
            b.inner = gemm_at_most(shape->inner - b.begin, STEP);
            multiply_block(product, &b);
        }
    }
    gemm_sum_columns(product);
}
