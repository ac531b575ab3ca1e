#ifndef WORKER_NN_ROW_KERNELS_H
#define WORKER_NN_ROW_KERNELS_H

/* row_kernels - what one number says of a row of numbers: its sum, its product with another.
 *
 * A row is summed in 32 parts (16 as double), each of every 32nd element, in runs of 2048 elements
 * whose sums are added in double: an order that depends on the row's length alone, and an error
 * that does not grow with it (measured, of 100 to 10 million: 6e-8 of the sum of the sizes).
 *
 * Shapes:   [count].
 * Owner:    worker/nn.  Memory: none.  Thread: any.
 * Surprise: none.
 */
#include <stddef.h>
#include "worker/nn/real.h"

double row_sum(const real *row, size_t count);

/* The sum of (row - center)^2. */
double row_squares(const real *row, real center, size_t count);

/* The sum of left (right - center). */
double row_product(const real *left, const real *right, real center, size_t count);

/* The largest, count >= 1; a NaN if there is one. */
real row_max(const real *row, size_t count);

#endif
