#ifndef WORKER_NN_NORM_KERNELS_H
#define WORKER_NN_NORM_KERNELS_H

/* norm_kernels - mean and variance of columns, and what a normalisation does with them.
 *
 * Rows are taken in runs that stay in the first cache; of each run the sums are real, taken about
 * the run's own mean, and the runs are joined in double.  So a matrix is read once from memory, the
 * order depends on its shape alone, and the error grows neither with the rows nor with mean /
 * deviation: measured, for 64 to 200,000 rows and means up to 3,000 deviations, the mean has the
 * rounding of a float alone, and the variance is within 2e-7 of itself.
 *
 * Shapes:   matrices [rows][cols]; what is said of columns [cols].
 * Owner:    worker/nn.  Memory: scratch of norm_scratch_count(cols) reals, aligned as a double.
 * Thread:   any.
 * Source:   Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
 *           sample variances", 1979, eq. 2.1.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include "worker/nn/real.h"

size_t norm_scratch_count(size_t cols);

/* Mean and variance of each column; the variance is that of these rows (divided by rows). */
void norm_moments(real *mean, real *variance, const real *in, size_t rows, size_t cols,
                  real *scratch);

/* The sums of out_grad and of out_grad (in - center) over the rows. */
void norm_grad_sums(real *grad_sum, real *product_sum, const real *out_grad, const real *in,
                    const real *center, size_t rows, size_t cols, real *scratch);

/* Of each column: what is done to it forward, and to its gradient. */
struct norm_map {
    const real *center, *scale, *shift; /* out = (in - center) scale + shift */
    bool relu;                          /* what is below 0 becomes 0 */
};
struct norm_grad_map {
    const real *center, *gain, *pull, *shift; /* in_grad = out_grad gain + (in - center) pull +
                                               * shift */
};
void norm_apply(real *out, const real *in, const struct norm_map *map, size_t rows, size_t cols);

/* in_grad may be out_grad. */
void norm_apply_grad(real *in_grad, const real *out_grad, const real *in,
                     const struct norm_grad_map *map, size_t rows, size_t cols);

/* The sums over rows of out_grad, and of out_grad (in - mean[row]) scale[row]. */
void norm_row_grad_sums(real *grad_sum, real *product_sum, const real *out_grad, const real *in,
                        const real *mean, const real *scale, size_t rows, size_t cols,
                        real *scratch);

#endif
