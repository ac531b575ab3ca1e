#ifndef WORKER_NN_SMOOTH_KERNELS_H
#define WORKER_NN_SMOOTH_KERNELS_H

/* smooth_kernels - activations that give their derivative along with their value, since much of the
 * work is the same and what comes out does not tell it.
 *
 * As float each value is within 2e-7 max(|in|, 1) and each derivative within 5e-7; silu and
 * softplus are within 4 units in the last place.  As double they are libm's.
 *
 * Shapes:   [count].
 * Owner:    worker/nn.  Memory: none.  Thread: any.
 * Source:   Hendrycks and Gimpel 2016; Elfwing, Uchibe and Doya 2018 (silu).
 * Surprise: out may be in.
 */
#include <stddef.h>
#include "worker/nn/real.h"

/* out = f(in) and, unless it is NULL, slope = f'(in); slope is an array of its own. */
typedef void (*smooth_kernel)(real *out, real *slope, const real *in, size_t count);

/* in times the normal distribution's share below in. */
void kernel_gelu(real *out, real *slope, const real *in, size_t count);

/* in (1 + tanh(sqrt(2 / pi) (in + 0.044715 in^3))) / 2. */
void kernel_gelu_tanh(real *out, real *slope, const real *in, size_t count);

/* in / (1 + exp(-in)). */
void kernel_silu(real *out, real *slope, const real *in, size_t count);

/* log(1 + exp(in)). */
void kernel_softplus(real *out, real *slope, const real *in, size_t count);

/* The same functions as smooth_kernels.c is compiled for a level of vector instructions, with the
 * same bits; those above call the highest level's that this processor has. */
struct smooth_kernels {
    smooth_kernel gelu, gelu_tanh, silu, softplus;
};
const struct smooth_kernels *smooth_kernels_best(void);
extern const struct smooth_kernels smooth_kernels_base;

#endif
