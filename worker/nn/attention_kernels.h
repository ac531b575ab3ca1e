#ifndef WORKER_NN_ATTENTION_KERNELS_H
#define WORKER_NN_ATTENTION_KERNELS_H

/* attention_kernels - softmax of a tile of scores, forward and back, at each level of vector
 * instructions that attention_kernels.c is compiled for.
 *
 * exp is real_math.h's.  A row is summed in 16 parts, each of every 16th element: the bits are the
 * same at each level, and whatever the columns that a mask hides.
 *
 * Shapes:   scores, scores_grad: [rows][stride]; what is said of rows [rows].
 * Owner:    op_self_attention.c.  Thread: no state.
 * Memory:   none.
 * Source:   Dao et al. 2022, "FlashAttention", algorithms 1 and 4.
 * Surprise: rows are written up to a multiple of ATTENTION_LANES beyond their columns.
 */
#include <stddef.h>
#include "worker/nn/real.h"

enum { ATTENTION_LANES = 16 };

struct attention_tile {
    size_t rows, cols;
    size_t seen;   /* row r sees its first min(seen + r, cols) columns, >= 1; others are masked */
    size_t stride; /* a multiple of ATTENTION_LANES, >= cols */
    real scale;
    real *scores;
    real *max, *sum;      /* forward: of scale times what the row saw; of exp of that - max */
    real *factor;         /* forward, out: what remains of sums made before max was raised */
    const real *log_sum;  /* backward */
    const real *inner;    /* backward: out . out_grad */
    real *scores_grad;    /* backward; in: of the softmax's output; out: of its input */
};

struct attention_kernels {
    /* scores = exp(scale scores - max), or 0 where masked; max and sum take the tile in. */
    void (*softmax)(const struct attention_tile *tile);

    /* scores = exp(scale scores - log_sum), scores_grad = scores (scores_grad - inner) scale; both
     * 0 where masked. */
    void (*softmax_grad)(const struct attention_tile *tile);
};

/* Those of the highest level that this processor has; and the base level's, for a test. */
const struct attention_kernels *attention_kernels_best(void);
extern const struct attention_kernels attention_kernels_base;

#endif
