#include "deploy/bench/quantile.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

void quantile_sort(double *samples, size_t count)
{
    if (count > 1)
        qsort(samples, count, sizeof(*samples), compare);
}

double quantile_of(const double *sorted, size_t count, double share)
{
    if (count == 0)
        return 0.0;
    double rank = ceil(share * (double)count);
    size_t idx = rank < 1.0 ? 0 : (size_t)rank - 1;
    return sorted[idx < count ? idx : count - 1];
}

double quantile_median(double *samples, size_t count)
{
    quantile_sort(samples, count);
    return quantile_of(samples, count, 0.5);
}
