/* Products with packed matrices at each level of vector instructions against the plain loop, bit
 * for bit, and that loop against its formula in double. */
#include "worker/nn/panels.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/simd.h"
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"

#define TESTS(X)                                          \
    X(test_panels_multiply_the_same_bits_at_every_level)  \
    X(test_panels_multiply_is_its_formula)                \
    X(test_panels_multiply_a_turned_matrix_the_same)      \
    X(test_panels_multiply_part_of_what_was_packed)       \
    X(test_panels_multiply_writes_no_further)             \
    X(test_panels_multiply_a_row_alone_is_that_row)

enum { SIDE = 80, INNER = 600, GAP = 5, ROOM = SIDE * (INNER + GAP) };

struct bench {
    float A[ROOM], B[ROOM], panels[ROOM + 32 * INNER], start[SIDE * (SIDE + GAP)];
    float found[SIDE * (SIDE + GAP)], expected[SIDE * (SIDE + GAP)];
};

static struct bench bench;

struct size {
    size_t rows, cols, inner;
};

/* Around the sides of tiles, of panels and of blocks. */
static const struct size sizes[] = {
    {1, 1, 1},    {1, 32, 7},   {2, 33, 5},    {3, 31, 300}, {4, 64, 256},  {5, 16, 257},
    {6, 48, 2},   {7, 15, 3},   {8, 17, 9},    {9, 63, 255}, {10, 32, 512}, {11, 8, 513},
    {12, 65, 11}, {13, 70, 33}, {24, 32, 600}, {25, 79, 4},  {32, 64, 64},  {80, 80, 100},
};

typedef void (*panel_kernel)(const struct panel_product *product);

/* The kernel of a level; NULL: the processor does not have it. */
static panel_kernel kernel_of(enum simd_level level)
{
#ifdef __x86_64__
    if (level == SIMD_V3 && simd_kernels_of(SIMD_V3) != NULL)
        return panel_kernel_v3;
    if (level == SIMD_V4 && simd_kernels_of(SIMD_V4) != NULL)
        return panel_kernel_v4;
#endif
    return level == SIMD_BASE ? panels_multiply : NULL;
}

/* A product of this size whose C begins as `start`; the memory of A and of C has gaps. */
static struct panel_product make_product(struct size size, enum blas_form form, float *C)
{
    size_t B_stride = form == BLAS_PLAIN ? size.cols : size.inner;
    wave(bench.A, ROOM, 0.37, 1);
    wave(bench.B, ROOM, 1.13, 1);
    wave(bench.start, ARRAY_LEN(bench.start), 2.3, 1);
    memcpy(C, bench.start, sizeof(bench.start));
    panels_pack(size.inner, size.cols, (struct blas_matrix){bench.B, B_stride, form}, bench.panels);
    return (struct panel_product){.rows = size.rows,
                                  .cols = size.cols,
                                  .inner = size.inner,
                                  .A = bench.A,
                                  .A_stride = size.inner + GAP,
                                  .panels = bench.panels,
                                  .C = C,
                                  .C_stride = size.cols + GAP};
}

static void check_level(panel_kernel kernel, struct size size)
{
    struct panel_product product = make_product(size, BLAS_PLAIN, bench.expected);
    panels_multiply_plain(&product);
    product = make_product(size, BLAS_PLAIN, bench.found);
    kernel(&product);
    CU_ASSERT(memcmp(bench.found, bench.expected, sizeof(bench.found)) == 0);
}

static void test_panels_multiply_the_same_bits_at_every_level(void)
{
    for (int level = 0; level < SIMD_LEVEL_COUNT; level++) {
        panel_kernel kernel = kernel_of((enum simd_level)level);
        if (kernel == NULL)
            printf("[%s: not on this processor] ", simd_level_text((enum simd_level)level));
        for (size_t i = 0; kernel != NULL && i < ARRAY_LEN(sizes); i++)
            check_level(kernel, sizes[i]);
    }
}

/* The largest distance of what lies in found from start + A B. */
static double distance(const struct panel_product *p, enum blas_form form)
{
    size_t row_step = form == BLAS_PLAIN ? p->cols : 1;
    size_t col_step = form == BLAS_PLAIN ? 1 : p->inner;
    double worst = 0;
    for (size_t row = 0; row < p->rows; row++)
        for (size_t col = 0; col < p->cols; col++) {
            size_t at = row * p->C_stride + col;
            double sum = (double)bench.start[at];
            for (size_t i = 0; i < p->inner; i++)
                sum += (double)p->A[row * p->A_stride + i] *
                       (double)bench.B[i * row_step + col * col_step];
            worst = fmax(worst, fabs((double)p->C[at] - sum));
        }
    return worst;
}

static void test_panels_multiply_is_its_formula(void)
{
    static const enum blas_form forms[] = {BLAS_PLAIN, BLAS_TRANSPOSED};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t f = 0; f < ARRAY_LEN(forms); f++) {
            struct panel_product product = make_product(sizes[i], forms[f], bench.found);
            panels_multiply(&product);
            CU_ASSERT(distance(&product, forms[f]) < 1e-4);
        }
}

/* Columns of a panel that are not there are zero, and infinity times zero is seen wherever it is
 * added. */
static void test_panels_multiply_writes_no_further(void)
{
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct panel_product product = make_product(sizes[i], BLAS_PLAIN, bench.found);
        for (size_t row = 0; row < product.rows; row++)
            bench.A[row * product.A_stride] = INFINITY;
        panels_multiply(&product);
        int changed = 0;
        for (size_t at = 0; at < ARRAY_LEN(bench.found); at++) {
            bool is_outside = at / product.C_stride >= product.rows ||
                              at % product.C_stride >= product.cols;
            changed += is_outside && bench.found[at] != bench.start[at];
        }
        CU_ASSERT_EQUAL(changed, 0);
        CU_ASSERT(panels_count(sizes[i].inner, sizes[i].cols) <= ARRAY_LEN(bench.panels));
    }
}

/* How many rows are multiplied at once does not matter to any of them. */
static void test_panels_multiply_a_row_alone_is_that_row(void)
{
    struct panel_product product = make_product(sizes[13], BLAS_PLAIN, bench.found);
    panels_multiply(&product);
    product = make_product(sizes[13], BLAS_PLAIN, bench.expected);
    size_t rows = product.rows;
    for (product.rows = 1; rows > 0; rows--) {
        panels_multiply(&product);
        product.A += product.A_stride;
        product.C += product.C_stride;
    }
    CU_ASSERT(memcmp(bench.found, bench.expected, sizeof(bench.found)) == 0);
}

/* What lies in A as [inner][rows], and a C that is begun anew: the bits of the plain product of a C
 * that is zero. */
static void check_turned(panel_kernel kernel, struct size size)
{
    static float turned[ROOM];
    struct panel_product product = make_product(size, BLAS_PLAIN, bench.expected);
    for (size_t row = 0; row < size.rows; row++) {
        memset(bench.expected + row * product.C_stride, 0, size.cols * sizeof(float));
        for (size_t i = 0; i < size.inner; i++)
            turned[i * (size.rows + GAP) + row] = bench.A[row * product.A_stride + i];
    }
    panels_multiply_plain(&product);
    product = make_product(size, BLAS_PLAIN, bench.found);
    product.A = turned;
    product.A_stride = size.rows + GAP;
    product.A_form = BLAS_TRANSPOSED;
    product.anew = true;
    for (size_t row = 0; row < size.rows; row++)
        bench.found[row * product.C_stride] = INFINITY;
    kernel(&product);
    CU_ASSERT(memcmp(bench.found, bench.expected, sizeof(bench.found)) == 0);
}

static void test_panels_multiply_a_turned_matrix_the_same(void)
{
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        check_turned(panels_multiply_plain, sizes[i]);
        for (int level = 0; level < SIMD_LEVEL_COUNT; level++) {
            panel_kernel kernel = kernel_of((enum simd_level)level);
            if (kernel != NULL)
                check_turned(kernel, sizes[i]);
        }
    }
}

/* Rows 10 to 40 of columns 32 on: of a matrix packed whole, and of that part alone. */
static void test_panels_multiply_part_of_what_was_packed(void)
{
    static float panels[ROOM];
    const size_t first = 10, rows = 30;
    const struct size size = {13, 70, 100};
    struct panel_product product = make_product(size, BLAS_PLAIN, bench.found);
    product.cols -= PANEL_COLS;
    product.inner = rows;
    product.panels += (100 + first) * PANEL_COLS;
    product.panel_rows = 100;
    panels_multiply(&product);
    memcpy(bench.expected, bench.start, sizeof(bench.start));
    panels_pack(rows, product.cols,
                (struct blas_matrix){bench.B + first * 70 + PANEL_COLS, 70, BLAS_PLAIN}, panels);
    product.panels = panels;
    product.panel_rows = 0;
    product.C = bench.expected;
    panels_multiply_plain(&product);
    CU_ASSERT(memcmp(bench.found, bench.expected, sizeof(bench.found)) == 0);
}

UNIT_MAIN("panels", TESTS)
