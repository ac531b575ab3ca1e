#include "worker/nn/gemm_parts.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include "common/simd.h"
#include "worker/nn/gemm.h"
#include "worker/nn/kernels.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* The smallest first, and one part of the two stays from each to the next. */
const struct gemm_parts_pair gemm_parts_order[GEMM_PARTS_PRODUCTS] = {{2, 0}, {1, 0}, {1, 1},
                                                                      {0, 1}, {0, 2}, {0, 0}};

#if defined(__x86_64__) && defined(__linux__)
/* The kernel saves tiles for a process that has asked for them (Linux 5.16,
 * Documentation/arch/x86/xstate.rst). */
static bool ask_for_tiles(void)
{
    enum { LEAF = 7, EDX_BF16 = 1 << 22, EDX_TILE = 1 << 24, BOTH = EDX_BF16 | EDX_TILE };
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    if (simd_kernels_of(SIMD_V4) == NULL || !__get_cpuid_count(LEAF, 0, &a, &b, &c, &d) ||
        (d & BOTH) != BOTH)
        return false;
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
#else
static bool ask_for_tiles(void)
{
    return false;
}
#endif

bool gemm_has_tiles(void)
{
    enum { UNKNOWN, NO, YES };
    static atomic_int known = UNKNOWN;
    int state = atomic_load(&known);
    if (state == UNKNOWN) {
        state = ask_for_tiles() ? YES : NO;
        atomic_store(&known, state);
    }
    return state == YES;
}

#ifndef TALWEG_REAL_DOUBLE
/* As an instruction on tiles takes numbers, and gives them. */
static float flush(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0F, x) : x;
}

/* The parts of a row's numbers from `begin` on, zeros beyond its end. */
static void split_row(struct blas_matrix matrix, size_t row, size_t begin, size_t end,
                      float parts[GEMM_PARTS][GEMM_PARTS_STEP])
{
    for (size_t i = 0; i < GEMM_PARTS_STEP; i++) {
        float split[GEMM_PARTS] = {0};
        if (begin + i < end)
            gemm_split(blas_element(matrix, row, begin + i), split);
        for (size_t k = 0; k < GEMM_PARTS; k++)
            parts[k][i] = flush(split[k]);
    }
}

static float add_pair(float sum, const float *A, const float *B)
{
    float even = 0, odd = 0;
    for (size_t i = 0; i < GEMM_PARTS_STEP; i += 2) {
        even = flush(fmaf(A[i], B[i], even));
        odd = flush(fmaf(A[i + 1], B[i + 1], odd));
    }
    return flush(flush(sum) + flush(even + odd));
}

/* A step of a row of A by all columns of B. */
static void add_step(const struct gemm *p, size_t row, size_t begin)
{
    float A[GEMM_PARTS][GEMM_PARTS_STEP], B[GEMM_PARTS][GEMM_PARTS_STEP];
    struct blas_matrix turned = p->B;
    turned.form = p->B.form == BLAS_PLAIN ? BLAS_TRANSPOSED : BLAS_PLAIN;
    split_row(p->A, row, begin, p->shape.inner, A);
    for (size_t col = 0; col < p->shape.cols; col++) {
        float *C = p->C + row * p->C_stride + col;
        split_row(turned, col, begin, p->shape.inner, B);
        for (size_t k = 0; k < GEMM_PARTS_PRODUCTS; k++)
            *C = add_pair(*C, A[gemm_parts_order[k].A], B[gemm_parts_order[k].B]);
    }
}

void gemm_parts_plain(const struct gemm *p)
{
    for (size_t row = 0; row < p->shape.rows; row++) {
        for (size_t col = 0; col < p->shape.cols; col++) {
            float *C = p->C + row * p->C_stride + col;
            *C = p->bias != NULL ? p->bias[col] : p->keep ? *C : 0;
        }
        for (size_t begin = 0; begin < p->shape.inner; begin += GEMM_PARTS_STEP)
            add_step(p, row, begin);
    }
    gemm_sum_columns(p);
}
#endif
