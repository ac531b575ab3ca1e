/* Matrix products at each level of vector instructions, whatever their form, their size and what
 * they begin with, against the plain loop, bit for bit; that loop and OpenBLAS's product against
 * the formula in double. */
#include "worker/nn/gemm.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/simd.h"
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"

#define TESTS(X)                                      \
    X(test_gemm_is_the_same_bits_at_every_level)      \
    X(test_gemm_is_its_formula)                       \
    X(test_gemm_sums_the_columns_of_B)                \
    X(test_gemm_writes_no_further)                    \
    X(test_gemm_needs_no_more_scratch_than_it_says)   \
    X(test_gemm_of_a_row_alone_is_that_row)

/* GAP: strides are longer than rows. */
enum { GAP = 5, GUARD = 64 };
static const float guard_value = 1234.5F;

/* Around the sides of tiles, of panels and of blocks. */
static const struct blas_shape shapes[] = {
    {1, 1, 1},     {1, 32, 7},     {2, 33, 5},    {3, 31, 300},  {5, 16, 257},  {11, 65, 8},
    {12, 32, 256}, {13, 64, 9},    {24, 96, 512}, {25, 39, 513}, {131, 40, 33}, {132, 32, 24},
    {133, 33, 20}, {140, 33, 260}, {265, 34, 70}, {7, 1024, 66}, {5, 1025, 21}, {13, 1100, 30},
    {4, 32, 70},   {16, 64, 9},    {20, 35, 300}, {64, 96, 264}, {6, 64, 12},   {10, 32, 65},
    {18, 64, 31},  {22, 33, 80},   {128, 64, 40},
};

enum begin { BEGIN_ZERO, BEGIN_BIAS, BEGIN_C, BEGIN_COUNT };

struct bench {
    struct gemm product;
    float *A, *B, *C, *expected, *scratch, *sums, *bias;
    size_t C_count, scratch_count;
};

static float *make(size_t count, float speed)
{
    float *data = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    CU_ASSERT_FATAL(data != NULL);
    wave(data, count, speed, 1);
    return data;
}

/* forms: 1: A is turned, 2: B is. */
static struct bench bench_make(struct blas_shape s, unsigned forms, enum begin begin)
{
    bool A_turned = forms & 1, B_turned = forms & 2;
    size_t A_rows = A_turned ? s.inner : s.rows, A_stride = (A_turned ? s.rows : s.inner) + GAP;
    size_t B_rows = B_turned ? s.cols : s.inner, B_stride = (B_turned ? s.inner : s.cols) + GAP;
    struct bench b = {.C_count = s.rows * (s.cols + GAP), .scratch_count = gemm_scratch_count(s)};
    b.A = make(A_rows * A_stride, 0.37F);
    b.B = make(B_rows * B_stride, 1.13F);
    b.C = make(b.C_count, 2.3F);
    b.expected = make(b.C_count, 2.3F);
    b.bias = make(s.cols, 0.71F);
    b.sums = make(s.cols, 0);
    b.scratch = make(b.scratch_count + GUARD, 0);
    for (size_t i = 0; i < GUARD; i++)
        b.scratch[b.scratch_count + i] = guard_value;
    b.product = (struct gemm){.shape = s,
                              .A = {b.A, A_stride, A_turned ? BLAS_TRANSPOSED : BLAS_PLAIN},
                              .B = {b.B, B_stride, B_turned ? BLAS_TRANSPOSED : BLAS_PLAIN},
                              .bias = begin == BEGIN_BIAS ? b.bias : NULL,
                              .keep = begin == BEGIN_C,
                              .C = b.C,
                              .C_stride = s.cols + GAP,
                              .scratch = b.scratch};
    return b;
}

static void bench_free(struct bench *b)
{
    float *all[] = {b->A, b->B, b->C, b->expected, b->scratch, b->sums, b->bias};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
}

typedef void (*gemm_kernel)(const struct gemm *product);

/* The kernel of a level; NULL: the processor does not have it. */
static gemm_kernel kernel_of(enum simd_level level)
{
#ifdef __x86_64__
    if (level == SIMD_V3 && simd_kernels_of(SIMD_V3) != NULL)
        return gemm_kernel_v3;
    if (level == SIMD_V4 && simd_kernels_of(SIMD_V4) != NULL)
        return gemm_kernel_v4;
#endif
    return NULL;
}

/* Every form and beginning of every shape. */
static void for_all(void (*check)(struct bench *b, gemm_kernel kernel), gemm_kernel kernel)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (unsigned forms = 0; forms < 4; forms++)
            for (int begin = 0; begin < BEGIN_COUNT; begin++) {
                struct bench b = bench_make(shapes[i], forms, (enum begin)begin);
                check(&b, kernel);
                bench_free(&b);
            }
}

static void for_all_levels(void (*check)(struct bench *b, gemm_kernel kernel))
{
    for (int level = SIMD_V3; level < SIMD_LEVEL_COUNT; level++) {
        gemm_kernel kernel = kernel_of((enum simd_level)level);
        if (kernel == NULL)
            printf("[%s: not on this processor] ", simd_level_text((enum simd_level)level));
        else
            for_all(check, kernel);
    }
}

static void check_bits(struct bench *b, gemm_kernel kernel)
{
    kernel(&b->product);
    b->product.C = b->expected;
    gemm_plain(&b->product);
    CU_ASSERT(memcmp(b->C, b->expected, b->C_count * sizeof(*b->C)) == 0);
}

static void test_gemm_is_the_same_bits_at_every_level(void)
{
    for_all_levels(check_bits);
}

static double at(struct blas_matrix matrix, size_t row, size_t col)
{
    return (double)(matrix.form == BLAS_PLAIN ? matrix.data[row * matrix.stride + col]
                                              : matrix.data[col * matrix.stride + row]);
}

/* The largest distance of C from its formula; expected holds what lay in C. */
static double distance(const struct bench *b)
{
    const struct gemm *p = &b->product;
    double worst = 0;
    for (size_t row = 0; row < p->shape.rows; row++)
        for (size_t col = 0; col < p->shape.cols; col++) {
            size_t place = row * p->C_stride + col;
            double sum = p->bias ? (double)p->bias[col] : p->keep ? (double)b->expected[place] : 0;
            for (size_t i = 0; i < p->shape.inner; i++)
                sum += at(p->A, row, i) * at(p->B, i, col);
            worst = fmax(worst, fabs((double)p->C[place] - sum));
        }
    return worst;
}

static void check_formula(struct bench *b, gemm_kernel kernel)
{
    kernel(&b->product);
    CU_ASSERT(distance(b) < 1e-4);
}

static void test_gemm_is_its_formula(void)
{
    for_all(check_formula, gemm_plain);
    for_all(check_formula, gemm);
}

/* B_sums, where B is plain. */
static void check_sums(struct bench *b, gemm_kernel kernel)
{
    struct gemm *p = &b->product;
    if (p->B.form != BLAS_PLAIN)
        return;
    p->B_sums = b->sums;
    kernel(p);
    for (size_t col = 0; col < p->shape.cols; col++) {
        float sum = 0;
        for (size_t row = 0; row < p->shape.inner; row++)
            sum += p->B.data[row * p->B.stride + col];
        CU_ASSERT(memcmp(&sum, &b->sums[col], sizeof(sum)) == 0);
    }
}

static void test_gemm_sums_the_columns_of_B(void)
{
    for_all(check_sums, gemm_plain);
    for_all_levels(check_sums);
}

/* What lies between the rows of C, and behind it, stays. */
static void check_outside(struct bench *b, gemm_kernel kernel)
{
    const struct gemm *p = &b->product;
    int changed = 0;
    kernel(p);
    for (size_t i = 0; i < b->C_count; i++)
        changed += i % p->C_stride >= p->shape.cols &&
                   memcmp(&b->C[i], &b->expected[i], sizeof(float)) != 0;
    CU_ASSERT_EQUAL(changed, 0);
}

static void test_gemm_writes_no_further(void)
{
    for_all_levels(check_outside);
}

static void check_scratch(struct bench *b, gemm_kernel kernel)
{
    int changed = 0;
    kernel(&b->product);
    for (size_t i = 0; i < GUARD; i++)
        changed += b->scratch[b->scratch_count + i] != guard_value;
    CU_ASSERT_EQUAL(changed, 0);
}

static void test_gemm_needs_no_more_scratch_than_it_says(void)
{
    for_all_levels(check_scratch);
    const size_t any = SIZE_MAX;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct blas_shape s = shapes[i];
        size_t count = gemm_scratch_count(s);
        CU_ASSERT(gemm_scratch_count((struct blas_shape){any, s.cols, s.inner}) >= count);
        CU_ASSERT(gemm_scratch_count((struct blas_shape){s.rows, s.cols, any}) >= count);
    }
}

/* How many rows are multiplied at once does not matter to any of them. */
static void check_a_row(struct bench *b, gemm_kernel kernel)
{
    struct gemm *p = &b->product;
    kernel(p);
    size_t rows = p->shape.rows, A_step = p->A.form == BLAS_PLAIN ? p->A.stride : 1;
    p->C = b->expected;
    for (p->shape.rows = 1; rows > 0; rows--) {
        kernel(p);
        p->A.data += A_step;
        p->C += p->C_stride;
    }
    CU_ASSERT(memcmp(b->C, b->expected, b->C_count * sizeof(*b->C)) == 0);
}

static void test_gemm_of_a_row_alone_is_that_row(void)
{
    for_all_levels(check_a_row);
}

UNIT_MAIN("gemm", TESTS)
