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
#include "worker/nn/gemm_parts.h"

#define TESTS(X)                                      \
    X(test_gemm_is_the_same_bits_at_every_level)      \
    X(test_gemm_is_its_formula)                       \
    X(test_gemm_sums_the_columns_of_B)                \
    X(test_gemm_writes_no_further)                    \
    X(test_gemm_needs_no_more_scratch_than_it_says)   \
    X(test_gemm_of_a_row_alone_is_that_row)           \
    X(test_parts_are_nearer_than_f32)                 \
    X(test_parts_of_any_numbers_are_the_same_bits)

/* GAP: strides are longer than rows. */
enum { GAP = 5, GUARD = 64, LEVEL_COUNT = 4 };
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
static struct bench bench_make(struct blas_shape s, unsigned forms, enum begin begin,
                               enum products products)
{
    bool A_turned = forms & 1, B_turned = forms & 2;
    size_t A_rows = A_turned ? s.inner : s.rows, A_stride = (A_turned ? s.rows : s.inner) + GAP;
    size_t B_rows = B_turned ? s.cols : s.inner, B_stride = (B_turned ? s.inner : s.cols) + GAP;
    struct bench b = {.C_count = s.rows * (s.cols + GAP),
                      .scratch_count = gemm_scratch_count(s, products)};
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
                              .products = products,
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

struct level {
    const char *name;
    gemm_kernel kernel; /* NULL: the processor does not have it */
    enum products products;
};

static void find_levels(struct level levels_out[LEVEL_COUNT])
{
#ifdef __x86_64__
    bool has_v3 = simd_kernels_of(SIMD_V3) != NULL, has_v4 = simd_kernels_of(SIMD_V4) != NULL;
    bool has_tiles = gemm_has_tiles();
#endif
    const struct level levels[LEVEL_COUNT] = {
#ifdef __x86_64__
        {"x86-64-v3", has_v3 ? gemm_kernel_v3 : NULL, PRODUCTS_F32},
        {"x86-64-v4", has_v4 ? gemm_kernel_v4 : NULL, PRODUCTS_F32},
        {"bf16x3", has_v3 ? gemm_parts_kernel_v3 : NULL, PRODUCTS_BF16X3},
        {"bf16x3 by AMX", has_tiles ? gemm_tiles_kernel_amx : NULL, PRODUCTS_BF16X3},
#else
        {"x86-64", NULL, PRODUCTS_F32},
#endif
    };
    memcpy(levels_out, levels, sizeof(levels));
}

/* Every form and beginning of every shape; in parts, whose plain loop is slow, of the beginnings
 * one, in turn. */
static void for_all(void (*check)(struct bench *b, gemm_kernel kernel), gemm_kernel kernel,
                    enum products products)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (unsigned forms = 0; forms < 4; forms++)
            for (int begin = 0; begin < BEGIN_COUNT; begin++) {
                if (products == PRODUCTS_BF16X3 && (i + forms) % BEGIN_COUNT != (size_t)begin)
                    continue;
                struct bench b = bench_make(shapes[i], forms, (enum begin)begin, products);
                check(&b, kernel);
                bench_free(&b);
            }
}

static void for_all_levels(void (*check)(struct bench *b, gemm_kernel kernel))
{
    struct level levels[LEVEL_COUNT];
    find_levels(levels);
    for (int i = 0; i < LEVEL_COUNT && levels[i].name != NULL; i++)
        if (levels[i].kernel == NULL)
            printf("[%s: not on this processor] ", levels[i].name);
        else
            for_all(check, levels[i].kernel, levels[i].products);
}

static gemm_kernel plain_of(const struct bench *b)
{
    return b->product.products == PRODUCTS_BF16X3 ? gemm_parts_plain : gemm_plain;
}

static void check_bits(struct bench *b, gemm_kernel kernel)
{
    kernel(&b->product);
    b->product.C = b->expected;
    plain_of(b)(&b->product);
    CU_ASSERT(memcmp(b->C, b->expected, b->C_count * sizeof(*b->C)) == 0);
}

static void test_gemm_is_the_same_bits_at_every_level(void)
{
    for_all_levels(check_bits);
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
                sum += (double)blas_element(p->A, row, i) * (double)blas_element(p->B, i, col);
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
    for_all(check_formula, gemm_plain, PRODUCTS_F32);
    for_all(check_formula, gemm, PRODUCTS_F32);
    for_all(check_formula, gemm_parts_plain, PRODUCTS_BF16X3);
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
    for_all(check_sums, gemm_plain, PRODUCTS_F32);
    for_all(check_sums, gemm_parts_plain, PRODUCTS_BF16X3);
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
        size_t count = gemm_scratch_count(s, PRODUCTS_F32);
        struct blas_shape rows = {any, s.cols, s.inner}, inner = {s.rows, s.cols, any};
        CU_ASSERT(gemm_scratch_count(rows, PRODUCTS_F32) >= count);
        CU_ASSERT(gemm_scratch_count(inner, PRODUCTS_F32) >= count);
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

static double squares(const struct bench *b, const float *C)
{
    const struct gemm *p = &b->product;
    double sum_of_squares = 0;
    for (size_t row = 0; row < p->shape.rows; row++)
        for (size_t col = 0; col < p->shape.cols; col++) {
            double sum = 0;
            for (size_t i = 0; i < p->shape.inner; i++)
                sum += (double)blas_element(p->A, row, i) * (double)blas_element(p->B, i, col);
            double distance = (double)C[row * p->C_stride + col] - sum;
            sum_of_squares += distance * distance;
        }
    return sum_of_squares;
}

static void test_parts_are_nearer_than_f32(void)
{
    const struct blas_shape many = {30, 40, 500};
    struct bench b = bench_make(many, 0, BEGIN_ZERO, PRODUCTS_BF16X3);
    gemm_parts_plain(&b.product);
    b.product.C = b.expected;
    gemm_plain(&b.product);
    CU_ASSERT(squares(&b, b.C) < squares(&b, b.expected));
    bench_free(&b);
}

/* Of sizes so far apart that some are not normal, nor are some products, and zeros. */
static void spread(float *data, size_t count)
{
    static const int exponents[] = {0, -140, 3, -60, 61, -128, -9, 40};
    for (size_t i = 0; i < count; i++)
        data[i] = i % 11 == 0 ? 0 : ldexpf(data[i], exponents[i * 7 / 5 % ARRAY_LEN(exponents)]);
}

static void test_parts_of_any_numbers_are_the_same_bits(void)
{
    const struct blas_shape shape = {33, 40, 100};
    struct level levels[LEVEL_COUNT];
    find_levels(levels);
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (levels[i].kernel == NULL || levels[i].products != PRODUCTS_BF16X3)
            continue;
        for (unsigned forms = 0; forms < 4; forms++) {
            struct bench b = bench_make(shape, forms, BEGIN_C, PRODUCTS_BF16X3);
            spread(b.A, shape.rows * shape.inner);
            spread(b.B, shape.inner * shape.cols);
            spread(b.C, b.C_count);
            memcpy(b.expected, b.C, b.C_count * sizeof(*b.C));
            check_bits(&b, levels[i].kernel);
            bench_free(&b);
        }
    }
}

UNIT_MAIN("gemm", TESTS)
