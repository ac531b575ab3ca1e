#ifndef WORKER_NN_KERNELS_H
#define WORKER_NN_KERNELS_H

/* kernels - the loops over elements that operators and losses share.
 *
 * Plain loops that the compiler vectorises without reordering or contracting anything: an element's
 * bits do not depend on where in the array it stands.
 *
 * Shapes:   [count] unless said; matrices [rows][cols], row major, without gaps.
 * Owner:    worker/nn.  Memory: none.  Thread: any.
 * Source:   exp, tanh: Moshier, Cephes 2.8, single/expf.c and single/tanhf.c.
 * Surprise: out may be the same array as an input (not a shifted one).
 */
#include <stddef.h>
#include <stdint.h>
#include "worker/nn/real.h"

void kernel_zero(real *out, size_t count);
void kernel_copy(real *out, const real *in, size_t count);
void kernel_add(real *out, const real *left, const real *right, size_t count);
void kernel_scale(real *out, const real *in, real factor, size_t count);
void kernel_multiply(real *out, const real *left, const real *right, size_t count);

/* out[rows][cols]: each row a copy of row[cols]. */
void kernel_fill_rows(real *out, const real *row, size_t rows, size_t cols);

/* sums[cols] += the rows of matrix[rows][cols], first to last. */
void kernel_add_rows(real *sums, const real *matrix, size_t rows, size_t cols);

/* out = values where key is wanted, and else 0. */
void kernel_where_equal(real *out, const int32_t *key, int32_t wanted, const real *values,
                        size_t count);

/* max(in, 0); a NaN stays a NaN. */
void kernel_relu(real *out, const real *in, size_t count);
/* in_grad = out_grad where out > 0. */
void kernel_relu_grad(real *in_grad, const real *out, const real *out_grad, size_t count);

/* in where in > 0, else slope times in. */
void kernel_leaky_relu(real *out, const real *in, real slope, size_t count);
/* in_grad = out_grad where out > 0, else slope times it. */
void kernel_leaky_relu_grad(real *in_grad, const real *out, const real *out_grad, real slope,
                            size_t count);

/* in where in > 0, else alpha (exp(in) - 1); as float within 4 units in the last place. */
void kernel_elu(real *out, const real *in, real alpha, size_t count);
/* in_grad = out_grad where out > 0, else out_grad (out + alpha). */
void kernel_elu_grad(real *in_grad, const real *out, const real *out_grad, real alpha,
                     size_t count);

/* As float within 1 unit in the last place, and an input beyond +-87.3 counts as +-87.3 (of the
 * same sign); as double, libm's. */
void kernel_exp(real *out, const real *in, size_t count);

/* As float within 2 units in the last place; as double, libm's. */
void kernel_tanh(real *out, const real *in, size_t count);
/* in_grad = out_grad (1 - out^2). */
void kernel_tanh_grad(real *in_grad, const real *out, const real *out_grad, size_t count);

/* 1 / (1 + exp(-in)); as float within 3 units in the last place for inputs within +-87. */
void kernel_sigmoid(real *out, const real *in, size_t count);
/* in_grad = out_grad out (1 - out). */
void kernel_sigmoid_grad(real *in_grad, const real *out, const real *out_grad, size_t count);

#endif
