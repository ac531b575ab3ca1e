#ifndef DEPLOY_BENCH_QUANTILE_H
#define DEPLOY_BENCH_QUANTILE_H

/* quantile - of samples: the smallest one that at least so large a share of them does not exceed
 * (nearest rank; no value is made up between two).
 *
 * Owner:    the caller.  Thread: any.  Memory: none.  Surprise: none.
 */
#include <stddef.h>

/* Sorts samples in place, as quantile_of wants them; none may be NaN. */
void quantile_sort(double *samples, size_t count);

/* sorted: [count]; share: 0..1.  0 when there is no sample. */
double quantile_of(const double *sorted, size_t count, double share);

/* Sorts in place; quantile 0.5. */
double quantile_median(double *samples, size_t count);

#endif
