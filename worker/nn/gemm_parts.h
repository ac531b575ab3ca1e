#ifndef WORKER_NN_GEMM_PARTS_H
#define WORKER_NN_GEMM_PARTS_H

/* gemm_parts - matrix products in parts of bf16 (model.products = "bf16x3").
 *
 * Each number is the sum of three with 8 bits each, exactly, and of the nine products of parts the
 * six largest are added up in f32.  What is left out is less than the rounding of one product in
 * f32, and sums are shorter chains: the result is nearer to the exact one than gemm's own.
 *
 * Bits: inner goes in steps of GEMM_PARTS_STEP, zeros beyond its end.  In each, for each pair of
 * gemm_parts_order, C takes even + odd: two chains of fused multiplications and additions that
 * begin with zero, over the step's even places and its odd ones.  What is too small to be normal
 * counts as zero.  An instruction of AMX does that with a tile; vectors take many times as long.
 *
 * Shapes:   as gemm.h.  Owner: the caller's arrays.  Thread: no state.
 * Source:   Henry, Tang & Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
 *           Higher-Precision Computations", ARITH 2019; TDPBF16PS in Intel's "Instruction Set
 *           Extensions Programming Reference", 319433.
 * Surprise: an infinite operand gives NaN.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct gemm;

enum { GEMM_PARTS = 3, GEMM_PARTS_PRODUCTS = 6, GEMM_PARTS_STEP = 32 };

/* Which part of A is multiplied by which of B; 0 is the largest. */
extern const struct gemm_parts_pair {
    uint8_t A, B;
} gemm_parts_order[GEMM_PARTS_PRODUCTS];

/* Columns that gemm_parts_kernels.c takes at a time; rows of A and columns of B side by side in
 * gemm_tiles_kernels.c, and how much of each is packed, in the second cache. */
enum {
    GEMM_PARTS_COLS = 512,
    GEMM_TILES_PANEL = 32,
    GEMM_TILES_BLOCK_INNER = 256,
    GEMM_TILES_BLOCK_COLS = 512,
    GEMM_TILES_PANEL_BYTES =
        GEMM_TILES_PANEL * GEMM_TILES_BLOCK_INNER * GEMM_PARTS * (int)sizeof(uint16_t)
};

/* Rounded to bf16: to the nearest, of two the even one. */
static inline float gemm_round_part(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    bits = (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16 << 16;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* x as the sum of its parts. */
static inline void gemm_split(float x, float parts[GEMM_PARTS])
{
    parts[0] = gemm_round_part(x);
    parts[1] = gemm_round_part(x - parts[0]);
    parts[2] = x - parts[0] - parts[1];
}

/* This processor has tiles, and the system lets this process use them. */
bool gemm_has_tiles(void);

/* gemm of a product in parts: by a plain loop, which the others are held to; by vectors of
 * x86-64-v3; in tiles. */
void gemm_parts_plain(const struct gemm *product);
#ifndef TALWEG_REAL_DOUBLE
void gemm_parts_kernel_v3(const struct gemm *product);
void gemm_tiles_kernel_amx(const struct gemm *product);
#endif

#endif
